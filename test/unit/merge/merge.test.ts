import { describe, expect, it } from 'vitest'

import { type At, columns, InvalidConfigError, type MergeConflict, MergeConflictError, type Store, t, table } from '../../../bindings/index.ts'
import { collect, failure, opened, PLACES } from '../store/places.ts'

const items = table(
  'items',
  {
    id: t.int32(),
    a: t.utf8().nullable(),
    b: t.int32().nullable(),
    blob: t.binary().nullable(),
    tags: t.list(t.utf8()).nullable(),
    at: t.struct({ x: t.int32(), y: t.utf8().nullable() }).nullable(),
  },
  { key: ['id'] },
)
const wide = table('wide', { k1: t.utf8(), k2: t.int64(), k3: t.bool(), v: t.utf8().nullable() }, { key: ['k1', 'k2', 'k3'] })
const log = table('log', { what: t.utf8(), n: t.int32() })

async function fresh(root: string, options: object = {}): Promise<Store> {
  const store = await opened(root, options)
  await store.create(items, wide, log)
  return store
}

const rowsAt = async (store: Store, at: At): Promise<Map<number, object>> =>
  new Map((await store.scan(items, { at }).toArray()).map((row) => [row.id, Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null))]))
const logAt = async (store: Store, at: At): Promise<string[]> => (await store.scan(log, { at }).toArray()).map(({ what, n }) => `${what}${n}`).toSorted()
const many = (from: number, rows: number, salt: string, step = 1) =>
  columns({ id: Int32Array.from({ length: rows }, (_, i) => from + i * step), a: Array.from({ length: rows }, (_, i) => `${salt} ${from + i * step}`) })

describe.each(PLACES)('merge, %s', (_name, place) => {
  it('brings what the branch did, and what it did not do stays', async () => {
    const store = await fresh(place())
    await store.append(items, [{ id: 1, a: 'x' }, { id: 2, a: 'x' }, { id: 3, a: 'x' }, { id: 4 }])
    const dev = await store.branch('dev')
    await dev.upsert(items, [
      { id: 1, a: 'dev' },
      { id: 5, a: 'new' },
    ])
    await dev.delete(items, [3])
    await dev.append(log, { what: 'dev', n: 1 })
    await store.upsert(items, [{ id: 2, a: 'main' }, { id: 6 }])
    await store.append(log, { what: 'main', n: 1 })
    const result = await store.merge('dev', { message: 'why', author: 'who' })
    expect(result).toEqual({
      lsn: store.lsn,
      fastForward: false,
      tables: { items: { inserted: 1, updated: 1, deleted: 1 }, log: { inserted: 1, updated: 0, deleted: 0 } },
      conflicts: [],
    })
    expect(await rowsAt(store, 'main')).toEqual(
      new Map<number, object>([
        [1, { id: 1, a: 'dev' }],
        [2, { id: 2, a: 'main' }],
        [4, { id: 4 }],
        [5, { id: 5, a: 'new' }],
        [6, { id: 6 }],
      ]),
    )
    expect(await logAt(store, 'main')).toEqual(['dev1', 'main1'])
    expect(await logAt(store, 'dev')).toEqual(['dev1'])
    const [commit] = await collect(store.changes({ from: Number(store.lsn) - 1, follow: false }))
    expect(commit).toMatchObject({ message: 'why', author: 'who' })
  })

  it('merge twice: no-op, in both directions, until something new is there', async () => {
    const store = await fresh(place())
    await store.append(items, { id: 1 })
    const dev = await store.branch('dev')
    expect(await store.merge('dev')).toEqual({ fastForward: false, tables: {}, conflicts: [] })
    await dev.upsert(items, { id: 2 })
    expect((await store.merge('dev')).lsn).toBe(store.lsn)
    const { lsn } = store
    expect(await store.merge('dev')).toEqual({ fastForward: false, tables: {}, conflicts: [] })
    expect(store.lsn).toBe(lsn)
    // Main has a merge commit that dev has not.
    const back = await store.merge('main', { into: 'dev' })
    expect(back).toMatchObject({ tables: {}, fastForward: true })
    expect(await store.merge('main', { into: 'dev' })).toEqual({ fastForward: false, tables: {}, conflicts: [] })
    await dev.upsert(items, { id: 2, a: 'again' })
    expect((await store.merge('dev')).tables).toEqual({ items: { inserted: 0, updated: 1, deleted: 0 } })
    expect(await rowsAt(store, 'main')).toEqual(await rowsAt(store, 'dev'))
  })

  it('a branch whose edits net to zero is merged: the merge is recorded, without rows', async () => {
    const store = await fresh(place())
    await store.append(items, [{ id: 1, a: 'x' }, { id: 2 }])
    const dev = await store.branch('dev')
    await dev.upsert(items, { id: 1, a: 'other' })
    await dev.delete(items, [2])
    await dev.upsert(items, [{ id: 1, a: 'x' }, { id: 2 }])
    await store.upsert(items, { id: 2, a: 'main' })
    const result = await store.merge('dev')
    expect(result).toMatchObject({ tables: {}, lsn: store.lsn })
    expect(await rowsAt(store, 'main')).toEqual(
      new Map<number, object>([
        [1, { id: 1, a: 'x' }],
        [2, { id: 2, a: 'main' }],
      ]),
    )
    expect(await store.merge('dev')).toEqual({ fastForward: false, tables: {}, conflicts: [] })
  })

  it('fast forward rewrites no fragment', async () => {
    const store = await fresh(place())
    await store.append(items, many(0, 20_000, 'base'))
    const dev = await store.branch('dev')
    await dev.upsert(items, many(10_000, 20_000, 'dev'))
    await dev.append(log, columns({ what: Array.from({ length: 20_000 }, (_, i) => `w${i}`), n: new Int32Array(20_000) }))
    await dev.delete(items, [1, 2, 3])
    const files = (await store.stats()).tables
    const result = await store.merge('dev')
    expect(result).toMatchObject({
      fastForward: true,
      tables: { items: { inserted: 10_000, updated: 10_000, deleted: 3 }, log: { inserted: 20_000, updated: 0, deleted: 0 } },
    })
    expect(await store.scan(items).count()).toBe(29_997)
    expect(await collect(store.diff('dev', 'main', { tables: [items] }))).toEqual([])
    const after = (await store.stats()).tables
    // Two files: the one of main, and the one that dev has.
    expect(after['items']!.fragments).toBe(files['items']!.fragments + 1)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    expect((await store.get(items, 15_000))?.a).toBe('dev 15000')
  })

  it('a source that advances during the merge is not included', async () => {
    const store = await fresh(place())
    const dev = await store.branch('dev')
    await dev.append(items, [{ id: 1 }, { id: 2 }])
    await store.append(items, { id: 1, a: 'ours' })
    let asked = 0
    const late: Promise<unknown>[] = []
    await store.merge('dev', {
      onConflict: ({ theirs }) => {
        asked++
        late.push(dev.append(items, { id: 3 }))
        return theirs
      },
    })
    await Promise.all(late)
    expect(asked).toBe(1)
    expect([...(await rowsAt(store, 'main')).keys()].sort()).toEqual([1, 2])
    expect((await store.merge('dev')).tables).toEqual({ items: { inserted: 1, updated: 0, deleted: 0 } })
  })

  it('a target that moves during the merge is looked at again', async () => {
    const store = await fresh(place())
    await store.append(items, [
      { id: 1, a: 'x' },
      { id: 2, a: 'x' },
    ])
    const dev = await store.branch('dev')
    await dev.upsert(items, [
      { id: 1, b: 1, a: 'x' },
      { id: 2, a: 'dev' },
    ])
    await store.upsert(items, { id: 2, a: 'main' })
    let writes: Promise<unknown> | undefined
    const conflicts: MergeConflict[] = []
    const result = await store.merge('dev', {
      onConflict: (conflict) => {
        conflicts.push(conflict)
        writes ??= store.upsert(items, { id: 1, a: 'meanwhile' })
        return conflict.ours
      },
    })
    await writes
    // The second look sees what was written: both columns are there.
    expect((await rowsAt(store, 'main')).get(1)).toEqual({ id: 1, a: 'meanwhile', b: 1 })
    expect(conflicts.map(({ key }) => key)).toEqual([{ id: 2 }, { id: 2 }])
    expect(result.conflicts).toHaveLength(1)
  })

  describe('conflicts', () => {
    async function conflicting(root: string): Promise<Store> {
      const store = await fresh(root)
      await store.append(items, [
        { id: 1, a: 'base', b: 0 },
        { id: 2, a: 'base', b: 0 },
        { id: 3, a: 'base', b: 0 },
        { id: 4, a: 'base', b: 0 },
      ])
      const dev = await store.branch('dev')
      await dev.upsert(items, [
        { id: 1, a: 'dev', b: 0 },
        { id: 4, a: 'base', b: 7 },
        { id: 9, a: 'dev' },
      ])
      await dev.delete(items, [2])
      await dev.upsert(items, { id: 3, a: 'dev', b: 0 })
      await store.upsert(items, [
        { id: 1, a: 'main', b: 1 },
        { id: 2, a: 'main', b: 0 },
        { id: 4, a: 'main', b: 0 },
        { id: 9, a: 'main' },
      ])
      await store.delete(items, [3])
      return store
    }

    it('fail: nothing is written, and the error has them', async () => {
      const store = await conflicting(place())
      const { lsn } = store
      const error = await failure(() => store.merge('dev'))
      expect(error).toBeInstanceOf(MergeConflictError)
      expect(error).toMatchObject({ code: 'branch.merge-conflict', kind: 'conflict', total: 4 })
      const conflicts = (error as unknown as MergeConflictError).conflicts as MergeConflict[]
      expect(conflicts.map(({ key, kind }) => `${(key as { id: number }).id} ${kind}`).sort()).toEqual([
        '1 bothChanged',
        '2 deletedChanged',
        '3 changedDeleted',
        '9 bothAdded',
      ])
      const none = { blob: null, tags: null, at: null }
      expect(conflicts.find(({ kind }) => kind === 'bothChanged')).toEqual({
        table: 'items',
        key: { id: 1 },
        kind: 'bothChanged',
        base: { id: 1, a: 'base', b: 0, ...none },
        ours: { id: 1, a: 'main', b: 1, ...none },
        theirs: { id: 1, a: 'dev', b: 0, ...none },
      })
      expect('theirs' in conflicts.find(({ kind }) => kind === 'deletedChanged')!).toBe(false)
      expect(store.lsn).toBe(lsn)
      expect(await store.pending()).toEqual([])
    })

    it.each([
      ['ours', { 1: { a: 'main', b: 1 }, 2: { a: 'main', b: 0 }, 4: { a: 'main', b: 7 }, 9: { a: 'main' } }],
      ['theirs', { 1: { a: 'dev', b: 1 }, 3: { a: 'dev', b: 0 }, 4: { a: 'main', b: 7 }, 9: { a: 'dev' } }],
    ] as const)('%s: that side, and columns that only one side changed from both', async (side, expected) => {
      const store = await conflicting(place())
      const result = await store.merge('dev', { onConflict: side })
      expect(result.conflicts).toHaveLength(4)
      expect(await rowsAt(store, 'main')).toEqual(new Map(Object.entries(expected).map(([id, row]) => [Number(id), { id: Number(id), ...row }])))
    })

    it('a function decides each: a row, or none', async () => {
      const store = await conflicting(place())
      await store.merge('dev', { onConflict: ({ kind, key }) => (kind === 'bothAdded' ? undefined : { ...key, a: `decided ${kind}` }) })
      expect(await rowsAt(store, 'main')).toEqual(
        new Map(
          [1, 2, 3]
            .map((id): [number, object] => [id, { id, a: `decided ${['bothChanged', 'deletedChanged', 'changedDeleted'][id - 1]!}` }])
            .concat([[4, { id: 4, a: 'main', b: 7 }]]),
        ),
      )
    })

    it('a function that gives theirs takes what the source did, its deletes included', async () => {
      const [one, other] = [await conflicting(place()), await conflicting(place())]
      await one.merge('dev', { onConflict: ({ theirs }) => theirs, granularity: 'row' })
      await other.merge('dev', { onConflict: 'theirs', granularity: 'row' })
      expect(await rowsAt(one, 'main')).toEqual(await rowsAt(other, 'main'))
      expect((await rowsAt(one, 'main')).get(1)).toEqual({ id: 1, a: 'dev', b: 0 })
    })

    it('what a function throws comes through, and a row of another key is refused; nothing is written', async () => {
      const store = await conflicting(place())
      const { lsn } = store
      const error = new Error('mine')
      expect(
        await failure(() =>
          store.merge('dev', {
            onConflict: () => {
              throw error
            },
          }),
        ),
      ).toBe(error)
      expect(await failure(() => store.merge('dev', { onConflict: () => ({ id: 77 }) }))).toBeInstanceOf(InvalidConfigError)
      expect(await failure(() => store.merge('dev', { onConflict: ({ key }) => ({ ...key, unknown: 1 }) }))).toMatchObject({ code: 'table.schema-mismatch' })
      expect(store.lsn).toBe(lsn)
    })

    it('granularity row: whatever both changed is a conflict', async () => {
      const store = await conflicting(place())
      expect(await failure(() => store.merge('dev', { granularity: 'row' }))).toMatchObject({ total: 5 })
    })

    it('a dry run writes nothing and tells what would be, conflicts too', async () => {
      const store = await conflicting(place())
      const { lsn } = store
      const result = await store.merge('dev', { dryRun: true })
      expect(result.conflicts).toHaveLength(4)
      expect(result.lsn).toBeUndefined()
      expect(result.tables).toEqual({ items: { inserted: 0, updated: 1, deleted: 0 } })
      expect(store.lsn).toBe(lsn)
    })

    it('of many the first 1,000 are told, and how many there are', async () => {
      const store = await fresh(place())
      const dev = await store.branch('dev')
      await dev.append(items, many(0, 1500, 'dev'))
      await store.append(items, many(0, 1500, 'main'))
      const error = await failure(() => store.merge('dev'))
      expect(error).toMatchObject({ total: 1500 })
      expect(error['conflicts']).toHaveLength(1000)
    })
  })

  it('compares by bytes: null, empty, binary, lists and structs, and ["a, b"] is not ["a","b"]', async () => {
    const store = await fresh(place())
    const bytes = (...all: number[]): Uint8Array => Uint8Array.from(all)
    const base = [
      { id: 1, tags: ['a', 'b'] },
      { id: 2, a: '' },
      { id: 3, blob: bytes(1, 2) },
      { id: 4, at: { x: 1, y: null } },
      { id: 5, tags: [] },
    ]
    await store.append(items, base)
    const dev = await store.branch('dev')
    const changed = [
      { id: 1, tags: ['a, b'] },
      { id: 2, a: null },
      { id: 3, blob: bytes(1, 2, 0) },
      { id: 4, at: { x: 1, y: '' } },
      { id: 5, tags: null },
    ]
    await dev.upsert(items, changed)
    // The same bytes, written anew, are no change.
    await store.upsert(items, base)
    expect((await store.merge('dev')).tables).toEqual({ items: { inserted: 0, updated: 5, deleted: 0 } })
    expect(await rowsAt(store, 'main')).toEqual(await rowsAt(store, 'dev'))
  })

  it('("a|b", 1) and ("a", ...) are other keys, also with a U+001F in them', async () => {
    const store = await fresh(place())
    const dev = await store.branch('dev')
    await store.append(wide, [
      { k1: 'a|b', k2: 1n, k3: true, v: 'main' },
      { k1: 'a\u001f', k2: 1n, k3: true },
    ])
    await dev.append(wide, [
      { k1: 'a', k2: 1n, k3: true, v: 'dev' },
      { k1: 'a|b', k2: 1n, k3: false, v: 'dev' },
      { k1: 'a', k2: 2n, k3: true },
    ])
    expect((await store.merge('dev')).tables).toEqual({ wide: { inserted: 3, updated: 0, deleted: 0 } })
    expect(await store.scan(wide).count()).toBe(5)
    const other = await store.branch('other')
    await other.upsert(wide, { k1: 'a|b', k2: 1n, k3: true, v: 'other' })
    await store.upsert(wide, { k1: 'a|b', k2: 1n, k3: true, v: 'ours' })
    expect(await failure(() => store.merge('other'))).toMatchObject({ total: 1 })
  })

  it('many rows that both sides changed are written as a staged write, in one commit', async () => {
    const store = await fresh(place(), { inlineLimitBytes: 4096 })
    await store.append(items, many(0, 30_000, 'base'))
    const dev = await store.branch('dev')
    await dev.upsert(items, many(0, 10_000, 'dev', 3))
    await dev.delete(
      items,
      Array.from({ length: 500 }, (_, i) => i * 3 + 1),
    )
    await store.upsert(
      items,
      columns({
        id: Int32Array.from({ length: 2000 }, (_, i) => i * 3),
        a: Array.from({ length: 2000 }, (_, i) => `base ${i * 3}`),
        b: new Int32Array(2000).fill(5),
      }),
    )
    const { lsn } = store
    const result = await store.merge('dev')
    expect(result.tables).toEqual({ items: { inserted: 0, updated: 10_000, deleted: 500 } })
    expect(await store.scan(items).count()).toBe(29_500)
    expect(await store.get(items, 3000)).toMatchObject({ a: 'dev 3000', b: 5 })
    expect(await store.get(items, 9000)).toMatchObject({ a: 'dev 9000', b: null })
    expect(await store.get(items, 4)).toBeUndefined()
    expect((await collect(store.changes({ from: lsn, follow: false }))).map((commit) => commit.counts)).toEqual([
      { items: { inserted: 0, updated: 10_000, deleted: 500 } },
    ])
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    expect(await store.pending()).toEqual([])
  })

  it('a branch of a branch that has nothing of its own is nothing to merge, also when the one between has gone on', async () => {
    const store = await fresh(place())
    await store.append(items, { id: 1 })
    const between = await store.branch('between')
    await store.branch('leaf', { from: 'between' })
    await between.append(items, { id: 2 })
    await store.append(items, { id: 3 })
    const { lsn } = store
    expect(await store.merge('leaf')).toEqual({ fastForward: false, tables: {}, conflicts: [] })
    expect(store.lsn).toBe(lsn)
    expect((await store.merge('between')).tables).toEqual({ items: { inserted: 1, updated: 0, deleted: 0 } })
  })

  it('criss-cross: merges to and fro leave both with all', async () => {
    const store = await fresh(place())
    await store.append(items, [
      { id: 1, a: 'x' },
      { id: 2, a: 'x' },
    ])
    const dev = await store.branch('dev')
    await dev.upsert(items, { id: 1, a: 'dev' })
    await store.upsert(items, { id: 2, a: 'main' })
    await store.merge('dev')
    await dev.upsert(items, { id: 1, a: 'dev 2' })
    await store.merge('main', { into: 'dev' })
    await store.upsert(items, { id: 2, a: 'main 2' })
    await store.merge('dev')
    await store.merge('main', { into: 'dev' })
    const all = new Map<number, object>([
      [1, { id: 1, a: 'dev 2' }],
      [2, { id: 2, a: 'main 2' }],
    ])
    expect(await rowsAt(store, 'main')).toEqual(all)
    expect(await rowsAt(store, 'dev')).toEqual(all)
  })

  it('between two branches, neither of them main', async () => {
    const store = await fresh(place())
    await store.append(items, { id: 1 })
    const dev = await store.branch('dev')
    await dev.upsert(items, { id: 2 })
    const fix = await store.branch('fix', { from: 'dev' })
    await fix.upsert(items, { id: 3 })
    await store.upsert(items, { id: 4 })
    await store.merge('fix', { into: 'dev' })
    expect([...(await rowsAt(store, 'dev')).keys()].sort()).toEqual([1, 2, 3])
    expect([...(await rowsAt(store, 'main')).keys()].sort()).toEqual([1, 4])
    await store.merge('fix')
    expect([...(await rowsAt(store, 'main')).keys()].sort()).toEqual([1, 2, 3, 4])
    expect((await store.merge('dev')).tables).toEqual({})
  })

  it('survives a reopen: what was merged is known, from the log and from a checkpoint', async () => {
    const root = place()
    let store = await fresh(root)
    const keep = root.startsWith('memory') ? await opened(root, { readOnly: true }).catch(() => undefined) : undefined
    await store.append(items, { id: 1 })
    const dev = await store.branch('dev')
    await dev.upsert(items, { id: 2 })
    await store.merge('dev')
    for (const flush of [false, true]) {
      if (flush) await store.flush()
      await store.close()
      store = await opened(root)
      expect(await store.merge('dev')).toEqual({ fastForward: false, tables: {}, conflicts: [] })
      const again = await store.branch('dev')
      await again.upsert(items, { id: 2, a: String(flush) })
      expect((await store.merge('dev')).tables).toEqual({ items: { inserted: 0, updated: 1, deleted: 0 } })
    }
    await keep?.close()
  })

  it('what the next merge begins with outlives a vacuum that keeps one version', async () => {
    const store = await fresh(place(), { inlineLimitBytes: 512 })
    await store.append(items, many(0, 3000, 'base'))
    const dev = await store.branch('dev')
    await dev.upsert(items, many(0, 1000, 'dev'))
    await store.merge('dev')
    // The version of dev that was merged is nobody's head any more, and its file is replaced.
    await dev.upsert(items, many(0, 1000, 'dev 2'))
    await store.upsert(items, many(2000, 500, 'main'))
    await store.optimize()
    await store.flush()
    const report = await store.vacuum({ keep: { versions: 1 } })
    expect(report.floor).toBeGreaterThan(0n)
    await store.upsert(items, { id: 1, a: 'main too' })
    expect(await failure(() => store.merge('dev'))).toMatchObject({ total: 1 })
    expect((await store.merge('dev', { onConflict: 'ours' })).tables).toEqual({ items: { inserted: 0, updated: 999, deleted: 0 } })
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
  })

  it('an idempotency key makes it happen once', async () => {
    const store = await fresh(place())
    const dev = await store.branch('dev')
    await dev.append(items, { id: 1 })
    const first = await store.merge('dev', { idempotencyKey: 'k' })
    expect((await store.merge('dev', { idempotencyKey: 'k' })).lsn).toBe(first.lsn)
    await dev.append(items, { id: 2 })
    expect((await store.merge('dev', { idempotencyKey: 'k' })).lsn).toBe(first.lsn)
    expect(await store.scan(items).count()).toBe(1)
    expect(await failure(() => store.merge('dev', { idempotencyKey: 'k', onConflict: 'ours' }))).toMatchObject({ code: 'write.idempotency-mismatch' })
  })

  it('refuses names and options that are none', async () => {
    const store = await fresh(place())
    expect(await failure(() => store.merge('nothing'))).toMatchObject({ code: 'branch.not-found' })
    await store.branch('dev')
    expect(await failure(() => store.merge('dev', { into: 'nothing' }))).toMatchObject({ code: 'branch.not-found' })
    for (const wrong of [{ granularity: 'cell' }, { onConflict: 'mine' }, { dryRun: 1 }, { what: 1 }]) {
      expect(await failure(() => store.merge('dev', wrong as never))).toBeInstanceOf(InvalidConfigError)
    }
  })
})
