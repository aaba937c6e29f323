// Fragments whose rows are hidden by thousands of commits, or thousands at once, while snapshots from before, between and after are held.

import { expect, it } from 'vitest'

import { gte, lt, type Snapshot, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'

const items = table('items', { id: t.int32(), n: t.int32() }, { key: ['id'] })
const ROWS = 12_000

const rows = function* (): Generator<{ id: number; n: number }> {
  for (let id = 0; id < ROWS; id++) yield { id, n: 0 }
}

interface Held {
  readonly snapshot: Snapshot
  /** Rows that have n = 0 there, and all. */
  readonly untouched: number
  readonly all: number
}

async function check({ snapshot, untouched, all }: Held, what: string): Promise<void> {
  expect(await snapshot.scan(items).count(), `${what}: all`).toBe(all)
  expect(await snapshot.scan(items, { where: lt('n', 1) }).count(), `${what}: untouched`).toBe(untouched)
  expect(await snapshot.scan(items).aggregate({ rows: 'count', low: { min: 'id' } }), what).toMatchObject({ rows: all })
}

it('shows each snapshot its rows across 6,000 commits that hide one row each, flushes between', { timeout: 120_000 }, async () => {
  const root = new MemoryRoot()
  let store = await Store.open(root, { threads: 0, inlineLimitBytes: 1000 })
  await store.create(items)
  await store.append(items, rows())
  const follower = await Store.open(root, { readOnly: true, follow: false })
  const held: Held[] = [{ snapshot: await store.snapshot(), untouched: ROWS, all: ROWS }]
  let touched = 0
  let gone = 0
  for (let round = 0; round < 6; round++) {
    const writes: Promise<unknown>[] = []
    for (let i = 0; i < 1000; i++) {
      const id = round * 1000 + i
      if (i % 10 === 0) {
        writes.push(store.delete(items, id))
        gone++
      } else {
        writes.push(store.upsert(items, { id, n: 1 }))
        touched++
      }
      if (writes.length === 200) await Promise.all(writes.splice(0))
    }
    await Promise.all(writes)
    const counts = { untouched: ROWS - touched - gone, all: ROWS - gone }
    held.push({ snapshot: await store.snapshot(), ...counts })
    await follower.refresh()
    held.push({ snapshot: await follower.snapshot(), ...counts })
    if (round % 2 === 1) await store.flush()
    for (const [i, each] of held.entries()) await check(each, `round ${round}, snapshot ${i}`)
    expect(await held[0]!.snapshot.get(items, round * 1000)).toEqual({ id: round * 1000, n: 0 })
    expect(await held.at(-1)!.snapshot.get(items, round * 1000)).toBeUndefined()
    expect(held.at(-2)!.snapshot.getSync(items, round * 1000 + 1)).toEqual({ id: round * 1000 + 1, n: 1 })
  }
  // Thousands of rows by one commit: a history entry of its own kind.
  expect((await store.deleteWhere(items, gte('id', 6500))).rows).toBe(ROWS - 6500)
  held.push({ snapshot: await store.snapshot(), untouched: 500, all: 6500 - gone })
  await store.upsert(items, { id: 7000, n: 1 })
  for (const [i, each] of held.entries()) await check(each, `after the sweep, snapshot ${i}`)
  for (const { snapshot } of held) await snapshot[Symbol.asyncDispose]()
  await store.flush()
  expect((await store.verify({ level: 'all' })).problems).toEqual([])
  await follower.close()
  await store.close()
  store = await Store.open(root, { threads: 0 })
  expect(await store.scan(items).count()).toBe(6501 - gone)
  expect(await store.scan(items, { where: lt('n', 1) }).count()).toBe(500)
  await store.close()
})
