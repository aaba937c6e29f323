import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import {
  type At,
  columns,
  HistoryUnavailableError,
  InvalidConfigError,
  type KeyedTable,
  type Store,
  t,
  table,
  TableNotFoundError,
} from '../../../bindings/index.ts'
import { everyRow, everyType } from '../table/every-type.ts'
import { collect, failure, opened, PLACES } from '../store/places.ts'

const items = table('items', { id: t.int32(), text: t.utf8().nullable(), n: t.float64().nullable(), tags: t.list(t.utf8()).nullable() }, { key: ['id'] })
const log = table('log', { what: t.utf8() })

async function fresh(root: string): Promise<Store> {
  const store = await opened(root)
  await store.create(items, log)
  return store
}

const kinds = async (store: Store, from: At, to: At): Promise<string[]> =>
  (await collect(store.diff(from, to, { tables: [items] }))).map((change) => `${change.kind} ${String((change.after ?? change.key).id)}`).sort()

describe.each(PLACES)('diff, %s', (_name, place) => {
  it('tells the net effect between two positions, forwards and backwards, whatever a flush has moved', async () => {
    const store = await fresh(place())
    await store.append(items, [{ id: 1, text: 'a' }, { id: 2, text: 'b' }, { id: 3, text: 'c' }, { id: 4 }])
    const from = store.lsn
    await store.upsert(items, [{ id: 2, text: 'other' }, { id: 5 }])
    await store.upsert(items, { id: 5, text: 'again' })
    await store.delete(items, [3])
    await store.upsert(items, { id: 1, text: 'changed' })
    await store.flush()
    await store.upsert(items, { id: 1, text: 'a' })
    const to = store.lsn
    expect(await kinds(store, from, to)).toEqual(['delete 3', 'insert 5', 'update 2'])
    expect(await kinds(store, to, from)).toEqual(['delete 5', 'insert 3', 'update 2'])
    expect(await kinds(store, to, to)).toEqual([])
    expect(await kinds(store, from, 'main')).toEqual(['delete 3', 'insert 5', 'update 2'])
    expect(await collect(store.diff(from, to, { tables: [items], images: 'both' }))).toContainEqual({
      table: 'items',
      kind: 'update',
      before: { id: 2, text: 'b', n: null, tags: null },
      after: { id: 2, text: 'other', n: null, tags: null },
    })
    await store.flush()
    expect(await kinds(store, from, to)).toEqual(['delete 3', 'insert 5', 'update 2'])
  })

  it('compares by the bytes of values: ["a, b"] is not ["a","b"], an empty text is not a null, -0 is not 0', async () => {
    const store = await fresh(place())
    await store.append(items, [
      { id: 1, tags: ['a', 'b'] },
      { id: 2, text: '' },
      { id: 3, n: 0 },
      { id: 4, tags: [] },
      { id: 5, n: Number.NaN },
      { id: 6, text: 'same', tags: ['x'] },
    ])
    const from = store.lsn
    await store.upsert(items, [
      { id: 1, tags: ['a, b'] },
      { id: 2, text: null },
      { id: 3, n: -0 },
      { id: 4, tags: null },
      { id: 5, n: Number.NaN },
      { id: 6, text: 'same', tags: ['x'] },
    ])
    expect(await kinds(store, from, store.lsn)).toEqual(['update 1', 'update 2', 'update 3', 'update 4'])
  })

  it('takes a table that one side lacks as one without rows', async () => {
    const store = await opened(place())
    const before = store.lsn
    await store.create(items)
    await store.append(items, [{ id: 1 }, { id: 2 }])
    expect(await kinds(store, before, store.lsn)).toEqual(['insert 1', 'insert 2'])
    expect(await kinds(store, store.lsn, before)).toEqual(['delete 1', 'delete 2'])
  })

  it('refuses a table without a key, one that neither side has, images it has not, and positions that are not there', async () => {
    const store = await fresh(place())
    expect(await failure(() => collect(store.diff(0, store.lsn, { tables: [log] })))).toBeInstanceOf(InvalidConfigError)
    expect(await failure(() => collect(store.diff(0, store.lsn, { tables: [table('none', { a: t.bool() }, { key: ['a'] })] })))).toBeInstanceOf(
      TableNotFoundError,
    )
    expect(await failure(() => collect(store.diff(0, 1, { tables: [items], images: 'none' as never })))).toMatchObject({ key: 'images' })
    expect(await failure(() => collect(store.diff(0, Number(store.lsn) + 1, { tables: [items] })))).toBeInstanceOf(HistoryUnavailableError)
  })

  it('ends where its consumer leaves it, and where the store is closed under it', async () => {
    const store = await fresh(place())
    await store.append(
      items,
      Array.from({ length: 50 }, (_, id) => ({ id })),
    )
    for await (const change of store.diff(0, store.lsn, { tables: [items] })) {
      expect(change.kind).toBe('insert')
      break
    }
    expect(await store.pins()).toEqual([])
    const stream = store.diff(0, store.lsn, { tables: [items] })
    await stream.next()
    expect((await store.pins()).length).toBe(2)
    await store.close()
    expect(await failure(() => stream.next())).toMatchObject({ code: 'store.closed' })
  })
})

describe('diff of much', () => {
  it('goes through rows that do not fit its share of memory in portions', async () => {
    const wide = table('wide', { id: t.int32(), body: t.binary() }, { key: ['id'] })
    const store = await opened('memory:')
    await store.create(wide)
    // Every one another, so that no dictionary makes them small.
    const body = (id: number, salt: number): Uint8Array => {
      const bytes = new Uint8Array(16_384).fill(salt)
      new DataView(bytes.buffer).setInt32(4, id)
      return bytes
    }
    const rows = (from: number, count: number, salt: number) =>
      columns({ id: Int32Array.from({ length: count }, (_, i) => from + i), body: Array.from({ length: count }, (_, i) => body(from + i, salt)) })
    for (let from = 0; from < 7500; from += 2500) await store.append(wide, rows(from, 2500, 1))
    const from = store.lsn
    for (let at = 0; at < 7500; at += 2500) await store.upsert(wide, rows(at + 1000, 2500, at === 0 ? 1 : 2))
    const seen = new Map<number, string>()
    for await (const change of store.diff(from, store.lsn, { tables: [wide] })) {
      expect(seen.has(change.after!.id)).toBe(false)
      seen.set(change.after!.id, `${change.kind} ${change.after!.body[0]}`)
    }
    const expected = Array.from({ length: 5000 }, (_, i) => [3500 + i, i < 4000 ? 'update 2' : 'insert 2'] as const)
    expect([...seen].sort(([a], [b]) => a - b)).toEqual(expected)
  })
})

describe('diff of every column type', () => {
  it('applied to one version gives the other', () =>
    fc.assert(
      fc.asyncProperty(fc.array(everyRow, { maxLength: 12 }), fc.array(everyRow, { maxLength: 12 }), fc.boolean(), async (first, second, flush) => {
        const every = everyType as KeyedTable
        const store = await opened('memory:')
        await store.create(every)
        await store.upsert(every, first)
        const from = store.lsn
        if (flush) await store.flush()
        // Some rows as they were, some changed in one column, some new.
        await store.upsert(every, [
          ...second,
          ...first.map((row, i) => (i % 3 === 0 ? { ...row, ...second[i % Math.max(1, second.length)], id: row['id'] } : row)),
        ])
        await store.delete(every, first.filter((_, i) => i % 4 === 3).map((row) => row['id']) as never)
        const rowsAt = async (at: At) =>
          new Map((await store.scan(every, { at }).toArray()).map((row) => [(row as Record<string, unknown>)['id'], row as object]))
        const rows = await rowsAt(from)
        for await (const change of store.diff(from, store.lsn, { tables: [every], images: 'both' })) {
          const id = ((change.after ?? change.key) as Record<string, unknown>)['id']
          expect(rows.get(id)).toEqual(change.before)
          if (change.kind === 'delete') rows.delete(id)
          else rows.set(id, change.after)
        }
        const key = ([a]: [unknown, object], [b]: [unknown, object]): number => ((a as bigint) < (b as bigint) ? -1 : 1)
        expect([...rows].sort(key)).toEqual([...(await rowsAt(store.lsn))].sort(key))
        await store.close()
      }),
      { numRuns: 40 },
    ))
})
