import { describe, expect, it } from 'vitest'

import { and, columns, DuplicateKeyError, eq, gt, lt, or, type Store, t, table, TableExistsError, TableNotFoundError } from '../../../bindings/index.ts'
import { collect, failure, opened, PLACES } from '../store/places.ts'

const keyed = table('keyed', { id: t.int32(), text: t.utf8().default('none'), n: t.float64().nullable() }, { key: ['id'] })
const plain = table('plain', { id: t.int32(), text: t.utf8().default('none'), n: t.float64().nullable() })
const row = (id: number, text = `text ${id}`, n: number | null = id) => ({ id, text, n })
const rows = (from: number, to: number, text?: string) => Array.from({ length: to - from }, (_, i) => row(from + i, text))
/** Above every limit of an inline write: goes through fragments. */
const bulk = (ids: readonly number[] | Int32Array, text = 'bulk') =>
  columns({ id: Int32Array.from(ids), text: Array.from(ids, () => text), n: Float64Array.from(ids, Number) })
const range = (from: number, to: number) => Int32Array.from({ length: to - from }, (_, i) => from + i)
const BULK_ROWS = 20_000

async function fresh(root: string, options: object = {}): Promise<Store> {
  const store = await opened(root, options)
  await store.create(keyed, plain)
  return store
}
const all = async (store: Store) => store.scan(keyed, { orderBy: 'id' }).toArray()
const ids = async (store: Store) => (await all(store)).map(({ id }) => id)

describe.each(PLACES)('create, %s', (_name, place) => {
  it('is one commit for several tables, and none for equal definitions', async () => {
    const store = await opened(place())
    const before = store.lsn
    await store.create(keyed, plain)
    expect(store.lsn).toBe(before + 1n)
    await store.create(keyed, plain)
    await store.create(table('keyed', keyed.columns, { key: ['id'] }))
    await store.create()
    expect(store.lsn).toBe(before + 1n)
    expect((await store.tables()).map(({ name }) => name)).toEqual(['keyed', 'plain'])
  })

  it('makes only what is missing', async () => {
    const store = await opened(place())
    await store.create(keyed)
    await store.append(keyed, row(1))
    await store.create(keyed, plain, plain)
    expect(await store.get(keyed, 1)).toEqual(row(1))
    expect((await store.tables()).length).toBe(2)
  })

  it('is TableExistsError for another definition, with a hint to apply(), and makes nothing at all', async () => {
    const store = await opened(place())
    await store.create(keyed)
    const before = store.lsn
    for (const other of [
      table('keyed', { id: t.int32(), text: t.utf8().default('none') }, { key: ['id'] }),
      table('keyed', { ...keyed.columns, more: t.bool().nullable() }, { key: ['id'] }),
      table('keyed', keyed.columns),
      table('keyed', { ...keyed.columns, text: t.utf8().default('other') }, { key: ['id'] }),
      table('keyed', { ...keyed.columns, n: t.float64() }, { key: ['id'] }),
      table('keyed', { ...keyed.columns, id: t.int64() }, { key: ['id'] }),
    ]) {
      const error = await failure(() => store.create(plain, other))
      expect(error).toBeInstanceOf(TableExistsError)
      expect(error).toMatchObject({ code: 'table.exists', table: 'keyed', hint: expect.stringContaining('apply') })
    }
    expect(store.lsn).toBe(before)
    expect(await failure(() => store.scan(plain).count())).toBeInstanceOf(TableNotFoundError)
    const twice = table('twice', { a: t.int8() })
    expect(await failure(() => store.create(twice, table('twice', { a: t.int16() })))).toBeInstanceOf(TableExistsError)
  })

  it('concurrent creates of one table agree', async () => {
    const store = await opened(place())
    await Promise.all([store.create(keyed), store.create(keyed), store.create(keyed, plain)])
    await store.append(keyed, row(1))
    expect((await store.tables()).map(({ name }) => name).toSorted()).toEqual(['keyed', 'plain'])
  })

  it('every write and read of an unknown table is TableNotFoundError', async () => {
    const store = await opened(place())
    const calls: (() => unknown)[] = [
      () => store.append(keyed, row(1)),
      () => store.append(keyed, []),
      () => store.append(keyed, bulk(range(0, BULK_ROWS))),
      () => store.upsert(keyed, row(1)),
      () => store.update(keyed, { id: 1, text: 'x' }),
      () => store.delete(keyed, 1),
      () => store.deleteWhere(keyed, eq('id', 1)),
      () => store.replace(keyed, []),
      () => store.transact((tx) => tx.upsert(keyed, row(1))),
      () => store.get(keyed, 1),
      () => store.getMany(keyed, [1]),
      () => store.has(keyed, 1),
      () => store.scan(keyed).toArray(),
      () => store.table('keyed'),
      () => collect(store.changes({ tables: [keyed], from: 0, follow: false })),
    ]
    for (const call of calls) expect(await failure(call)).toMatchObject({ name: 'TableNotFoundError', code: 'table.not-found', table: 'keyed' })
  })
})

describe.each(PLACES)('append and upsert, %s', (_name, place) => {
  it('say in CommitResult where, when and how many rows; LSNs are dense', async () => {
    const store = await fresh(place())
    const before = store.lsn
    const one = await store.append(keyed, row(1))
    const two = await store.append(keyed, rows(2, 5))
    const three = await store.upsert(keyed, [row(1, 'new'), row(9)])
    expect([one.lsn, two.lsn, three.lsn]).toEqual([before + 1n, before + 2n, before + 3n])
    expect([one.rows, two.rows, three.rows]).toEqual([1, 3, 2])
    expect(one.replayed).toBe(false)
    expect(one.writeId).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/)
    expect(one.time).toBeInstanceOf(Date)
    expect(two.time >= one.time).toBe(true)
    expect(store.lsn).toBe(three.lsn)
  })

  it.each([
    ['an empty array', []],
    ['empty columns', columns({ id: new Int32Array(0), text: [], n: [] })],
    ['an empty generator', (function* (): Generator<(typeof keyed)['Insert']> {})()],
    ['an empty stream', (async function* (): AsyncGenerator<(typeof keyed)['Insert']> {})()],
  ])('of nothing (%s) are commits of no rows', async (_what, nothing) => {
    const store = await fresh(place())
    const before = store.lsn
    const result = await store.append(keyed, nothing as never)
    expect(result).toMatchObject({ rows: 0, lsn: before + 1n })
    expect(await store.upsert(keyed, [])).toMatchObject({ rows: 0 })
    expect(await store.scan(keyed).count()).toBe(0)
  })

  it('resolves in the order of the calls, whatever the form of the data', async () => {
    const store = await fresh(place())
    const order: number[] = []
    await Promise.all([
      store.append(plain, row(0)).then(() => order.push(0)),
      store.append(plain, rows(0, 3)).then(() => order.push(1)),
      store.append(plain, row(2)).then(() => order.push(2)),
    ])
    expect(order).toEqual([0, 1, 2])
  })

  it('append refuses a key that is stored: in memory, flushed, bulk loaded, reopened', async () => {
    const root = place()
    const store = await fresh(root)
    const first = await store.append(keyed, row(1))
    const refused = async (where: Store, id: number, since: bigint) => {
      for (const data of [row(id), [row(50_000), row(id)], columns({ id: [id] })]) {
        const error = await failure(() => where.append(keyed, data as never))
        expect(error).toBeInstanceOf(DuplicateKeyError)
        expect(error).toMatchObject({ code: 'write.duplicate-key', table: 'keyed', columns: ['id'], values: { id } })
        expect(error.message).toBe(`keyed row ${Array.isArray(data) ? 1 : 0}: key { id: ${id} } exists since LSN ${since}`)
      }
      const stored = await failure(() => where.append(keyed, bulk([...range(100_000, 100_000 + BULK_ROWS), id])))
      expect(stored.message).toBe(`keyed row ${BULK_ROWS}: key { id: ${id} } exists since LSN ${since}`)
      expect(await where.has(keyed, 50_000)).toBe(false)
      expect(await where.has(keyed, 100_000)).toBe(false)
    }
    await refused(store, 1, first.lsn)
    const second = await store.append(keyed, bulk(range(10, BULK_ROWS)))
    await refused(store, 10, second.lsn)
    await refused(store, BULK_ROWS - 1, second.lsn)
    await store.flush()
    expect((await failure(() => store.append(keyed, row(1)))).message).toMatch(/^keyed row 0: key \{ id: 1 \} exists since LSN \d+$/)
    await store.close()
    const again = await opened(root)
    expect(await failure(() => again.append(keyed, row(1)))).toBeInstanceOf(DuplicateKeyError)
    await refused(again, 12, second.lsn)
    expect(await again.scan(keyed).count()).toBe(BULK_ROWS - 9)
  })

  it('append refuses a key twice in one call, naming both rows; upsert keeps the last', async () => {
    const store = await fresh(place())
    const twice = [...rows(0, 8, 'first'), row(3, 'again')]
    for (const data of [twice, columns({ id: twice.map(({ id }) => id), text: twice.map(({ text }) => text) })]) {
      const error = await failure(() => store.append(keyed, data as never))
      expect(error).toBeInstanceOf(DuplicateKeyError)
      expect(error.message).toBe('keyed rows 3 and 8: key { id: 3 } twice in one append; upsert keeps the last')
      expect(error).toMatchObject({ columns: ['id'], values: { id: 3 }, rows: [3, 8] })
    }
    const many = [...range(0, BULK_ROWS), 77]
    const error = await failure(() => store.append(keyed, bulk(many)))
    expect(error.message).toBe(`keyed rows 77 and ${BULK_ROWS}: key { id: 77 } twice in one append; upsert keeps the last`)
    expect(await store.scan(keyed).count()).toBe(0)
    expect(await store.upsert(keyed, twice)).toMatchObject({ rows: 8 })
    expect(await store.get(keyed, 3)).toEqual(row(3, 'again'))
    expect(await store.upsert(keyed, [row(3, 'a'), row(3, 'b'), row(3, 'c')])).toMatchObject({ rows: 1 })
    expect(await store.get(keyed, 3)).toEqual(row(3, 'c'))
    const replaced = await failure(() => store.replace(keyed, [row(1), row(1)]))
    expect(replaced).toBeInstanceOf(DuplicateKeyError)
    expect(replaced.message).toContain('keyed rows 0 and 1: key { id: 1 } twice in one replace')
    expect(await store.scan(keyed).count()).toBe(8)
  })

  it('a bulk upsert keeps the last of equal keys, within a batch, across batches and fragments', async () => {
    const store = await fresh(place())
    await store.append(keyed, rows(0, 10, 'old'))
    const result = await store.upsert(
      keyed,
      (async function* () {
        yield bulk(range(0, BULK_ROWS), 'first')
        yield bulk([5, 5, 6, 300_000], 'second')
        for (let part = 0; part < 14; part++) yield bulk(range(400_000 + part * BULK_ROWS, 400_000 + (part + 1) * BULK_ROWS), 'far')
        yield bulk([6, 7, 400_001, 400_001], 'third')
      })() as never,
    )
    expect(result.rows).toBe(BULK_ROWS + 1 + 14 * BULK_ROWS)
    expect(await store.scan(keyed).count()).toBe(result.rows)
    const texts = await store.getMany(keyed, [4, 5, 6, 7, 300_000, 400_000, 400_001])
    expect(texts.map((each) => each?.text)).toEqual(['first', 'second', 'third', 'third', 'second', 'far', 'third'])
    expect(await store.scan(keyed, { where: or(eq('id', 6), eq('id', 400_001)) }).count()).toBe(2)
    expect(await store.scan(keyed, { where: eq('text', 'old') }).count()).toBe(0)
  }, 120_000)

  it('a write that fails leaves nothing, in rows, columns and streams', async () => {
    const store = await fresh(place())
    const before = store.lsn
    const bad = [row(1), { id: 2, text: 5 }, row(3)]
    expect(await failure(() => store.append(keyed, bad as never))).toMatchObject({ code: 'table.schema-mismatch', row: 1, column: 'text' })
    expect(await failure(() => store.append(plain, [...rows(0, 30_000), { id: 'x' }] as never))).toMatchObject({ row: 30_000 })
    const broken = new Error('source broke')
    const stream = (async function* () {
      yield bulk(range(0, BULK_ROWS))
      yield row(1_000_000)
      throw broken
    })()
    expect(await failure(() => store.append(plain, stream as never))).toBe(broken)
    const late = (async function* () {
      yield bulk(range(0, BULK_ROWS))
      yield [row(1_000_000), { id: 1_000_001, text: null }]
    })()
    expect(await failure(() => store.append(plain, late as never))).toMatchObject({ code: 'table.schema-mismatch', row: BULK_ROWS + 1 })
    expect(store.lsn).toBe(before)
    expect(await store.scan(plain).count()).toBe(0)
    await store.append(keyed, row(1))
    expect(await ids(store)).toEqual([1])
  })

  it('takes rows of class instances and leaves what it was given as it was', async () => {
    class Note {
      id: number
      text = 'classy'
      constructor(id: number) {
        this.id = id
      }
      get shout(): string {
        return this.text.toUpperCase()
      }
    }
    const store = await fresh(place())
    const notes = Object.freeze([Object.freeze(new Note(1)), Object.freeze(new Note(2))])
    await store.append(keyed, notes)
    expect(await all(store)).toEqual([row(1, 'classy', null), row(2, 'classy', null)])
    const mine = [row(3)]
    const pending = store.append(keyed, mine)
    await pending
    mine[0]!.text = 'changed'
    expect((await store.get(keyed, 3))?.text).toBe('text 3')
    const out = (await store.get(keyed, 3))!
    ;(out as { text: string }).text = 'mine'
    expect((await store.get(keyed, 3))?.text).toBe('text 3')
  })

  it('fills what is left out: the default, else null, else an error', async () => {
    const store = await fresh(place())
    await store.append(keyed, [{ id: 1 }, { id: 2, text: undefined, n: undefined }, { id: 3, n: null }])
    await store.append(keyed, columns({ id: [4, 5] }))
    expect(await all(store)).toEqual([1, 2, 3, 4, 5].map((id) => row(id, 'none', null)))
    expect(await failure(() => store.append(keyed, { text: 'no id' } as never))).toMatchObject({
      message: 'keyed.id row 0: missing, and the column has no default',
    })
  })
})

describe.each(PLACES)('update, %s', (_name, place) => {
  it('changes the named columns only; absent keys are skipped and not counted', async () => {
    const store = await fresh(place())
    await store.append(keyed, rows(0, 5))
    expect(await store.update(keyed, { id: 1, text: 'new' })).toMatchObject({ rows: 1 })
    expect(await store.update(keyed, [{ id: 2, n: null }, { id: 77, n: 5 }, { id: 3 }])).toMatchObject({ rows: 2 })
    expect(await store.update(keyed, { id: 99, text: 'absent' })).toMatchObject({ rows: 0 })
    expect(await store.update(keyed, [])).toMatchObject({ rows: 0 })
    expect(await all(store)).toEqual([row(0), row(1, 'new'), row(2, 'text 2', null), row(3), row(4)])
  })

  it('lays several patches of one key over each other, later ones on top', async () => {
    const store = await fresh(place())
    await store.append(keyed, row(1))
    expect(
      await store.update(keyed, [
        { id: 1, text: 'a', n: 10 },
        { id: 1, text: 'b' },
        { id: 1, n: undefined },
      ]),
    ).toMatchObject({ rows: 1 })
    expect(await store.get(keyed, 1)).toEqual(row(1, 'b', 10))
  })

  it('works on flushed, bulk loaded and reopened rows', async () => {
    const root = place()
    const store = await fresh(root)
    await store.append(keyed, bulk(range(0, BULK_ROWS)))
    await store.update(keyed, { id: 5, text: 'one' })
    await store.flush()
    await store.update(keyed, [
      { id: 5, n: -1 },
      { id: 6, n: -2 },
    ])
    await store.close()
    const again = await opened(root)
    await again.update(keyed, { id: 6, text: 'two' })
    expect(await again.getMany(keyed, [5, 6, 7])).toEqual([row(5, 'one', -1), row(6, 'two', -2), row(7, 'bulk', 7)])
    expect(await again.scan(keyed).count()).toBe(BULK_ROWS)
  })

  it('refuses wrong patches before anything is written, present key or not', async () => {
    const store = await fresh(place())
    await store.append(keyed, rows(0, 3))
    const before = store.lsn
    for (const [patch, message] of [
      [{ id: 1, txt: 'x' }, 'keyed row 0: no column "txt"; did you mean "text"?'],
      [{ id: 99, txt: 'x' }, 'keyed row 0: no column "txt"; did you mean "text"?'],
      [
        [
          { id: 0, text: 'fine' },
          { id: 1, text: 7 },
        ],
        'keyed.text row 1: expected utf8, got 7',
      ],
      [
        [
          { id: 0, text: 'fine' },
          { id: 99, text: 7 },
        ],
        'keyed.text row 1: expected utf8, got 7',
      ],
      [{ id: 1, text: null }, 'keyed.text row 0: expected utf8, got null'],
    ] as const) {
      const error = await failure(() => store.update(keyed, patch as never))
      expect(error).toMatchObject({ code: 'table.schema-mismatch' })
      expect(error.message).toBe(message)
    }
    expect(await failure(() => store.update(keyed, { text: 'no key' } as never))).toMatchObject({ code: 'table.schema-mismatch' })
    expect(await failure(() => store.update(keyed, { id: null, text: 'null key' } as never))).toMatchObject({ code: 'write.null-key' })
    expect(store.lsn).toBe(before)
    expect((await store.get(keyed, 0))?.text).toBe('text 0')
  })

  it('takes values as the code reads them, and leaves columns alone that the code does not name', async () => {
    const wide = table(
      'wide',
      { id: t.int64(), big: t.int64(), at: t.timestamp('us'), day: t.date(), json: t.json(), note: t.utf8().nullable(), blob: t.binary().nullable() },
      { key: ['id'] },
    )
    const narrow = table(
      'wide',
      { id: t.int64({ as: 'number' }), big: t.int64({ as: 'number' }), at: t.timestamp('us', { as: 'number' }), day: t.date({ as: 'number' }) },
      { key: ['id'] },
    )
    const store = await opened(place())
    await store.create(wide)
    const blob = Uint8Array.of(1, 2, 3)
    await store.append(wide, { id: 1n, big: 2n ** 62n, at: 5n, day: '2026-11-21', json: { a: [1] }, note: 'kept', blob })
    await store.update(narrow, { id: 1, at: 1_000_000, day: 3 })
    expect(await store.get(wide, 1n)).toEqual({ id: 1n, big: 2n ** 62n, at: 1_000_000n, day: '1970-01-04', json: { a: [1] }, note: 'kept', blob })
    await store.transact((tx) => tx.update(narrow, { id: 1, at: 7 }))
    expect(await store.get(wide, 1n)).toEqual({ id: 1n, big: 2n ** 62n, at: 7n, day: '1970-01-04', json: { a: [1] }, note: 'kept', blob })
    expect(await failure(() => store.update(narrow, { id: 1, note: 'unknown to this code' } as never))).toMatchObject({ code: 'table.schema-mismatch' })
  })

  it('concurrent updates of one row all count', async () => {
    const store = await fresh(place())
    await store.append(keyed, row(1, 'x', 0))
    await store.flush()
    await Promise.all([store.update(keyed, { id: 1, text: 'a' }), store.update(keyed, { id: 1, n: 5 }), store.update(keyed, { id: 1, text: 'b' })])
    expect(await store.get(keyed, 1)).toEqual(row(1, 'b', 5))
  })
})

describe.each(PLACES)('delete and deleteWhere, %s', (_name, place) => {
  it('skip absent keys, count each key once', async () => {
    const store = await fresh(place())
    await store.append(keyed, rows(0, 10))
    expect(await store.delete(keyed, 3)).toMatchObject({ rows: 1 })
    expect(await store.delete(keyed, 3)).toMatchObject({ rows: 0 })
    expect(await store.delete(keyed, { id: 4 })).toMatchObject({ rows: 1 })
    expect(await store.delete(keyed, [5, { id: 5 }, 5, 99, 6])).toMatchObject({ rows: 2 })
    expect(await store.delete(keyed, [])).toMatchObject({ rows: 0 })
    expect(await ids(store)).toEqual([0, 1, 2, 7, 8, 9])
    expect(await store.get(keyed, 3)).toBeUndefined()
    await store.append(keyed, row(3, 'back'))
    expect(await store.get(keyed, 3)).toEqual(row(3, 'back'))
  })

  it('deleteWhere counts what it removed: keyed and unkeyed, in memory and in fragments', async () => {
    const root = place()
    const store = await fresh(root)
    await store.append(keyed, rows(0, 10))
    await store.append(plain, [...rows(0, 10), ...rows(0, 10)])
    expect(await store.deleteWhere(keyed, gt('id', 7))).toMatchObject({ rows: 2 })
    expect(await store.deleteWhere(plain, gt('id', 7))).toMatchObject({ rows: 4 })
    expect(await store.deleteWhere(plain, gt('id', 7))).toMatchObject({ rows: 0 })
    await store.flush()
    await store.append(plain, row(7))
    await store.append(plain, bulk([...range(0, BULK_ROWS)]))
    expect(await store.deleteWhere(plain, eq('id', 7))).toMatchObject({ rows: 4 })
    expect(await store.deleteWhere(keyed, and(gt('id', 2), lt('id', 5)))).toMatchObject({ rows: 2 })
    expect(await ids(store)).toEqual([0, 1, 2, 5, 6, 7])
    expect(await store.deleteWhere(plain, and())).toMatchObject({ rows: 14 + BULK_ROWS - 1 })
    expect(await store.scan(plain).count()).toBe(0)
    await store.close()
    const again = await opened(root)
    expect(await again.scan(plain).count()).toBe(0)
    expect(await ids(again)).toEqual([0, 1, 2, 5, 6, 7])
  })

  it('refuses keys of the wrong shape', async () => {
    const store = await fresh(place())
    for (const key of ['1', 1.5, 2 ** 40, { id: 1, text: 'x' }, {}, undefined]) {
      expect(await failure(() => store.delete(keyed, key as never))).toMatchObject({ code: 'table.schema-mismatch' })
      expect(await failure(() => store.get(keyed, key as never))).toMatchObject({ code: 'table.schema-mismatch' })
    }
    expect(await failure(() => store.delete(keyed, null as never))).toMatchObject({ code: 'write.null-key' })
  })

  it('upsert, update, delete and get of an unkeyed table are errors, not silence', async () => {
    const store = await fresh(place())
    await store.append(plain, row(1))
    const before = store.lsn
    for (const call of [
      () => store.upsert(plain as never, row(1) as never),
      () => store.upsert(plain as never, bulk(range(0, BULK_ROWS)) as never),
      () => store.update(plain as never, { id: 1 } as never),
      () => store.delete(plain as never, 1 as never),
      () => store.delete(plain as never, {} as never),
      () => store.get(plain as never, 1 as never),
      () => store.get(plain as never, {} as never),
      () => store.has(plain as never, {} as never),
      () => store.getMany(plain as never, [{}] as never),
      () => store.transact((tx) => tx.upsert(plain as never, row(1) as never)),
      () => store.transact((tx) => tx.delete(plain as never, {} as never)),
      () => store.transact((tx) => tx.update(plain as never, { text: 'x' } as never)),
    ]) {
      expect(await failure(call)).toMatchObject({ code: 'table.schema-mismatch', table: 'plain' })
    }
    expect(store.lsn).toBe(before)
  })
})

describe.each(PLACES)('replace, %s', (_name, place) => {
  it('takes everything out and puts these rows in, keyed and unkeyed, small and bulk', async () => {
    const root = place()
    const store = await fresh(root)
    await store.append(keyed, rows(0, 10))
    await store.append(plain, rows(0, 10))
    expect(await store.replace(keyed, rows(8, 12, 'new'))).toMatchObject({ rows: 14 })
    expect(await all(store)).toEqual(rows(8, 12, 'new'))
    expect(await store.replace(plain, rows(3, 4))).toMatchObject({ rows: 11 })
    await store.flush()
    expect(await store.replace(keyed, bulk(range(0, BULK_ROWS)))).toMatchObject({ rows: 4 + BULK_ROWS })
    expect(await store.scan(keyed).count()).toBe(BULK_ROWS)
    expect(await store.scan(keyed, { where: eq('text', 'new') }).count()).toBe(0)
    expect(await store.get(keyed, 9)).toEqual(row(9, 'bulk', 9))
    expect(await store.replace(plain, [])).toMatchObject({ rows: 1 })
    expect(await store.scan(plain).count()).toBe(0)
    expect(await store.replace(plain, [])).toMatchObject({ rows: 0 })
    await store.close()
    const again = await opened(root)
    expect(await again.scan(keyed).count()).toBe(BULK_ROWS)
    expect(await again.scan(plain).count()).toBe(0)
    await again.replace(keyed, { id: 1 })
    expect(await ids(again)).toEqual([1])
  })

  it('takes a stream', async () => {
    const store = await fresh(place())
    await store.append(keyed, rows(0, 10))
    const stream = (async function* () {
      yield row(20)
      yield bulk(range(100, 100 + BULK_ROWS))
    })()
    expect(await store.replace(keyed, stream as never)).toMatchObject({ rows: 10 + 1 + BULK_ROWS })
    expect(await store.has(keyed, 5)).toBe(false)
    expect(await store.get(keyed, 20)).toEqual(row(20))
  })
})
