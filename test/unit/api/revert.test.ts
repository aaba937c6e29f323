import { describe, expect, it } from 'vitest'

import { columns, type Store, t, table } from '../../../bindings/index.ts'
import { defaultWorld, FailpointRegistry } from '../../../bindings/runtime/index.ts'
import { FP, rendezvous } from '../../../bindings/testing/index.ts'
import { collect, failure, opened, PLACES } from '../store/places.ts'

const items = table('items', { id: t.int32(), text: t.utf8().nullable() }, { key: ['id'] })
const log = table('log', { what: t.utf8(), n: t.int32() })

async function fresh(root: string, options: object = {}): Promise<Store> {
  const store = await opened(root, options)
  await store.create(items, log)
  return store
}

const many = (from: number, rows: number, salt: string) =>
  columns({ id: Int32Array.from({ length: rows }, (_, i) => from + i), text: Array.from({ length: rows }, (_, i) => `${salt} ${from + i}`) })
const contents = async (store: Store, at?: bigint): Promise<unknown[]> => {
  const o = at === undefined ? {} : { at: at as never }
  const texts = (rows: readonly object[]): string[] => rows.map((row) => JSON.stringify(row)).toSorted()
  return [texts(await store.scan(items, o).toArray()), texts(await store.scan(log, o).toArray())]
}

describe.each(PLACES)('revert, %s', (_name, place) => {
  it('brings the old contents back in a new commit, and history stays', async () => {
    const store = await fresh(place())
    await store.append(items, [{ id: 1, text: 'a' }, { id: 2, text: 'b' }, { id: 3 }])
    await store.append(log, [
      { what: 'x', n: 1 },
      { what: 'x', n: 1 },
      { what: 'y', n: 2 },
    ])
    const to = store.lsn
    const before = await contents(store)
    await store.delete(items, [1])
    await store.upsert(items, [{ id: 2, text: 'other' }, { id: 9 }])
    await store.replace(log, [{ what: 'x', n: 1 }])
    const between = await contents(store)
    const last = store.lsn
    const result = await store.revert(to, { message: 'as it was', author: 'me' })
    expect(result).toMatchObject({ replayed: false, lsn: store.lsn })
    expect(await contents(store)).toEqual(before)
    expect(await contents(store, last)).toEqual(between)
    expect(await collect(store.diff(to, store.lsn, { tables: [items] }))).toEqual([])
    const [commit] = await collect(store.changes({ from: last, follow: false }))
    expect(commit).toMatchObject({ message: 'as it was', author: 'me', lsn: result.lsn })
    // And back again.
    await store.revert(last)
    expect(await contents(store)).toEqual(between)
  })

  it('of some tables leaves the others alone', async () => {
    const store = await fresh(place())
    await store.append(items, { id: 1 })
    const to = store.lsn
    await store.append(log, { what: 'kept', n: 1 })
    await store.append(items, { id: 2 })
    await store.revert(to, { tables: [items] })
    expect(await store.scan(items).count()).toBe(1)
    expect(await store.scan(log).count()).toBe(1)
    await store.revert(to)
    expect(await store.scan(log).count()).toBe(0)
  })

  it('of many rows shares the files that are there still, and writes none again', async () => {
    const store = await fresh(place())
    await store.append(items, many(0, 30_000, 'first'))
    await store.append(log, columns({ what: Array.from({ length: 20_000 }, (_, i) => `w${i}`), n: new Int32Array(20_000) }))
    const to = store.lsn
    const before = await contents(store)
    await store.replace(items, many(0, 30_000, 'second'))
    await store.replace(log, [])
    const bytes = (await store.stats()).tables['items']!.bytes
    await store.revert(to)
    expect(await contents(store)).toEqual(before)
    // The old file is named again, the one between is named still.
    expect((await store.stats()).tables['items']!.fragments).toBe(2)
    expect((await store.stats()).tables['items']!.bytes).toBeLessThan(2.2 * bytes)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    expect(await store.pending()).toEqual([])
  })

  it('of many rows that are spread over a file copies them', async () => {
    const store = await fresh(place(), { inlineLimitBytes: 1024 })
    await store.append(items, many(0, 20_000, 'first'))
    const to = store.lsn
    const before = await contents(store)
    await store.upsert(items, columns({ id: Int32Array.from({ length: 2000 }, (_, i) => i * 10), text: Array.from({ length: 2000 }, () => 'changed') }))
    await store.delete(items, [1, 11, 21])
    await store.revert(to)
    expect(await contents(store)).toEqual(before)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
  })

  it('beside a write of another key: that one comes first, and what it wrote is taken back too', async () => {
    const world = { ...defaultWorld(), failpoints: new FailpointRegistry(defaultWorld().timers) }
    for (const [rows, inlineLimitBytes] of [
      [3, 256 * 1024],
      [200, 64],
    ] as const) {
      const store = await fresh(place(), { world, inlineLimitBytes })
      await store.append(items, many(0, rows, 'old'))
      const to = store.lsn
      const before = await contents(store)
      await store.upsert(items, many(0, rows, 'new'))
      using parked = rendezvous(world, FP.merge.beforePublish)
      const reverting = store.revert(to)
      await parked.reached({ timeoutMs: 10_000 })
      await store.upsert(items, { id: 5000, text: 'meanwhile' })
      parked.release()
      await reverting
      expect(await contents(store)).toEqual(before)
    }
  })

  it('to where it is already is a commit without rows; a table made since is emptied', async () => {
    const store = await opened(place())
    const start = store.lsn
    await store.create(items)
    await store.append(items, { id: 1 })
    const before = store.lsn
    expect((await store.revert(before)).rows).toBe(0)
    expect(store.lsn).toBe(before + 1n)
    await store.revert(start)
    expect(await store.scan(items).count()).toBe(0)
  })

  it('under an idempotency key happens once', async () => {
    const store = await fresh(place())
    const start = store.lsn
    await store.append(items, { id: 1 })
    const first = await store.revert(start, { idempotencyKey: 'k' })
    await store.append(items, { id: 2 })
    expect(await store.revert(start, { idempotencyKey: 'k' })).toMatchObject({ lsn: first.lsn, replayed: true })
    expect(await store.scan(items).count()).toBe(1)
    expect(await failure(() => store.revert(first.lsn, { idempotencyKey: 'k' }))).toMatchObject({ code: 'write.idempotency-mismatch' })
  })

  it('refuses options and positions that are none', async () => {
    const store = await fresh(place())
    expect(await failure(() => store.revert(0, { what: 1 } as never))).toMatchObject({ key: 'what' })
    expect(await failure(() => store.revert(1_000_000))).toMatchObject({ code: 'store.history-unavailable' })
  })
})
