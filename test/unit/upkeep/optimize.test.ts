// Optimize on stores: fewer fragments, the same rows, the same history (recovery.md sections 10 and 18).
import { describe, expect, it } from 'vitest'

import { eq, gte, lt, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'

const items = table('items', { id: t.int32(), v: t.utf8() }, { key: ['id'] })
const notes = table('notes', { at: t.int32(), text: t.utf8().nullable(), blob: t.binary().nullable() })

/** Every append and upsert becomes a fragment of its own. */
const STAGED = { threads: 0, upkeep: 'manual', inlineLimitBytes: 0 } as const

const some = (from: number, to: number, v = 'x'): { id: number; v: string }[] =>
  Array.from({ length: to - from }, (_, i) => ({ id: from + i, v: `${v}${from + i}` }))

async function fragmentsOf(store: Store, name: string): Promise<number> {
  return (await store.stats()).tables[name]!.fragments
}

describe('a table with a key', () => {
  it('comes out as one fragment in key order, without deleted rows, and every version before stays as it was', async () => {
    const root = new MemoryRoot()
    const store = await Store.open(root, STAGED)
    await store.create(items)
    await store.append(items, some(20, 40))
    await store.append(items, some(0, 20))
    const { lsn } = await store.upsert(items, some(10, 30, 'y'))
    await store.delete(items, [3, 33])
    const before = await store.scan(items, { orderBy: 'id' }).toArray()
    expect(await fragmentsOf(store, 'items')).toBe(3)
    const snapshot = await store.snapshot()

    const report = await store.optimize()
    expect(report.tables['items']).toMatchObject({ fragmentsBefore: 3, fragmentsAfter: 1, coverageAfter: 1 })
    expect(await fragmentsOf(store, 'items')).toBe(1)
    expect(await store.scan(items).toArray()).toEqual(before)
    expect(await store.get(items, 25)).toEqual({ id: 25, v: 'y25' })
    expect(await store.get(items, 3)).toBeUndefined()
    expect(await snapshot.scan(items, { orderBy: 'id' }).toArray()).toEqual(before)
    const old = await store.snapshot(lsn)
    expect(await old.scan(items).count()).toBe(40)
    expect(await old.get(items, 3)).toEqual({ id: 3, v: 'x3' })

    await store.upsert(items, some(0, 5, 'z'))
    await store.deleteWhere(items, gte('id', 35))
    const after = await store.scan(items, { orderBy: 'id' }).toArray()
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await snapshot[Symbol.asyncDispose]()
    await old[Symbol.asyncDispose]()
    await store.close()

    const again = await Store.open(root, { readOnly: true })
    expect(await again.scan(items, { orderBy: 'id' }).toArray()).toEqual(after)
    await using past = await again.snapshot(lsn)
    expect(await past.scan(items).count()).toBe(40)
    await again.close()
  })
})

describe('a table without a key', () => {
  it('keeps the order of its rows, nulls, empty and non-empty blobs', async () => {
    const root = new MemoryRoot()
    const store = await Store.open(root, STAGED)
    await store.create(notes)
    for (let i = 0; i < 5; i++) {
      await store.append(notes, [
        { at: i, text: null, blob: null },
        { at: i, text: '', blob: new Uint8Array(0) },
        { at: i, text: `t${i}`, blob: Uint8Array.of(i, 0) },
      ])
    }
    await store.deleteWhere(notes, eq('at', 2))
    const before = await store.scan(notes).toArray()
    await store.optimize()
    expect(await fragmentsOf(store, 'notes')).toBe(1)
    expect(await store.scan(notes).toArray()).toEqual(before)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await store.close()
  })
})

describe('an optimize', () => {
  it('right behind another publishes nothing', async () => {
    const store = await Store.open(new MemoryRoot(), STAGED)
    await store.create(items, notes)
    for (let i = 0; i < 4; i++) await store.append(items, some(i * 10, i * 10 + 10))
    expect((await store.optimize()).lsn).toBeDefined()
    const { lsn } = store
    expect((await store.optimize()).lsn).toBeUndefined()
    expect(store.lsn).toBe(lsn)
    await store.close()
  })

  it('of a table whose rows are all deleted leaves no fragment; of none, of one and of an empty table nothing is published', async () => {
    const store = await Store.open(new MemoryRoot(), STAGED)
    await store.create(items, notes)
    expect((await store.optimize()).lsn).toBeUndefined()
    await store.append(items, some(0, 10))
    expect((await store.optimize()).lsn).toBeUndefined()
    await store.append(items, some(10, 20))
    await store.deleteWhere(items, lt('id', 100))
    expect((await store.optimize()).lsn).toBeDefined()
    expect(await fragmentsOf(store, 'items')).toBe(0)
    expect(await store.scan(items).count()).toBe(0)
    await store.append(items, some(0, 3))
    expect(await store.scan(items).count()).toBe(3)
    await store.close()
  })
})
