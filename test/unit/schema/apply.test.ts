// store.apply: what each step does to what is there, in memory, in fragments, after a reopen, at older positions, and for programs of before.
import { afterEach, describe, expect, it } from 'vitest'

import { eq, SchemaMismatchError, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'

const QUIET = { upkeep: 'manual', threads: 0 } as const

const before = table('flights', { id: t.int32(), origin: t.utf8(), delay: t.int16().nullable() }, { key: ['id'] })
const after = table(
  'flights',
  { id: t.int32(), origin: t.utf8(), delay: t.int16().nullable(), note: t.utf8().nullable(), seats: t.int32().default(180) },
  { key: ['id'] },
)

const root = (): MemoryRoot => new MemoryRoot()
const rows = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: from + i, origin: `o${(from + i) % 3}`, delay: i % 2 === 0 ? i : null }))

const stores: Store[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

async function opened(at: MemoryRoot): Promise<Store> {
  const store = await Store.open(at, QUIET)
  stores.push(store)
  return store
}

describe('adding a column', () => {
  it('gives rows of before its default or null: in memory, in fragments, after a flush and after a reopen', async () => {
    const place = root()
    const store = await opened(place)
    await store.create(before)
    await store.append(before, rows(0, 5))
    await store.flush()
    await store.append(before, rows(5, 5))
    const then = store.lsn
    const plan = await store.apply([after])
    expect(plan).toEqual({
      steps: [
        { table: 'flights', kind: 'addColumn', column: 'note', rewrites: false, losesData: false },
        { table: 'flights', kind: 'addColumn', column: 'seats', rewrites: false, losesData: false },
      ],
      lsn: store.lsn,
    })
    await store.append(after, { id: 100, origin: 'x', delay: 1, note: 'n', seats: 7 })
    await store.append(before, { id: 101, origin: 'y', delay: 2 })
    const check = async (s: Store): Promise<void> => {
      const all = await s.scan(after).toArray()
      expect(all).toHaveLength(12)
      expect(all.filter((row) => row.id < 10).every((row) => row.note === null && row.seats === 180)).toBe(true)
      expect(await s.get(after, 3)).toEqual({ id: 3, origin: 'o0', delay: null, note: null, seats: 180 })
      expect(await s.get(after, 7)).toEqual({ id: 7, origin: 'o1', delay: 2, note: null, seats: 180 })
      expect(await s.get(after, 100)).toEqual({ id: 100, origin: 'x', delay: 1, note: 'n', seats: 7 })
      expect(await s.get(after, 101)).toEqual({ id: 101, origin: 'y', delay: 2, note: null, seats: 180 })
      expect(await s.get(before, 100)).toEqual({ id: 100, origin: 'x', delay: 1 })
      expect(await s.scan(after, { where: eq('seats', 180) }).count()).toBe(11)
      expect(await s.scan(after).aggregate({ seats: { sum: 'seats' }, most: { max: 'seats' } })).toEqual({ seats: 11 * 180 + 7, most: 180 })
      await expect(s.scan(after, { at: then }).toArray()).rejects.toThrow(SchemaMismatchError)
      expect(await s.scan(before, { at: then }).count()).toBe(10)
    }
    await check(store)
    await store.flush()
    await check(store)
    await store.close()
    await check(await opened(place))
  })
})

describe('adding a table', () => {
  it('takes rows at once, and a second apply of the same definitions writes nothing', async () => {
    const store = await opened(root())
    await store.create(before)
    const other = table('airports', { code: t.utf8(), lat: t.float64() }, { key: ['code'] })
    expect((await store.apply([before, other])).steps).toEqual([{ table: 'airports', kind: 'addTable', rewrites: false, losesData: false }])
    await store.append(other, { code: 'AMS', lat: 52.3 })
    const { lsn } = store
    expect(await store.apply([other, before])).toEqual({ steps: [] })
    expect(store.lsn).toBe(lsn)
    expect(await store.get(other, 'AMS')).toEqual({ code: 'AMS', lat: 52.3 })
  })
})
