// A sweep of many writes decides them in runs: what comes of it is what deciding them one by one makes (recovery.md sections 5 and 7).
import { describe, expect, it } from 'vitest'

import { seededRandom } from '../../../bindings/runtime/index.ts'
import { failpoints } from '../../../bindings/testing/index.ts'
import { auditAll, contents, damage, type Forged, items, notes, Place } from './forge.ts'

interface Outcome {
  readonly rows: Awaited<ReturnType<typeof contents>>
  readonly decided: readonly string[]
  readonly staging: readonly string[]
  readonly pending: readonly string[]
  readonly syncs: number
}

/** The same writes from a seed, swept; `isSlow`: one by one. */
async function swept(seed: number, count: number, isSlow: boolean): Promise<Outcome> {
  const place = await Place.open()
  const random = seededRandom(seed)
  const pick = (n: number): number => random.u32() % n
  const order = new Map<string, number>()
  const made: Forged[] = []
  for (let i = 0; i < count; i++) {
    const some = Array.from(new Set([pick(60), pick(60), pick(60)]))
    const kind = pick(12)
    let forged: Forged
    if (kind < 3) forged = await place.armed({ rows: [i] })
    else if (kind < 6) forged = await place.sealed({ rows: [1000 + i] })
    else if (kind < 9) forged = await place.sealed({ table: items, rows: some })
    else if (kind === 9) forged = await place.sealed({ mode: 'hold', rows: [2000 + i] })
    else if (kind === 10) forged = await place.sealed({ kind: 'replace', rule: 'exact', rows: [3000 + i] })
    else {
      const isGone = pick(2) === 0
      forged = await place.sealed({ alter: (intent) => ({ ...intent, branchId: isGone ? '01JD0000000000000000000000' : intent.branchId }) })
    }
    order.set(forged.id, i)
    made.push(forged)
    if (pick(6) === 0) await damage(place.root, made[pick(made.length)]!.files[0]!, 'flip').catch(() => undefined)
    if (pick(5) === 0) await place.store.upsert(items, { id: pick(60), v: `other ${i}` })
  }
  place.kill()
  if (isSlow) failpoints(place.world).count()
  const store = await place.start()
  const syncs = place.root.calls.filter(({ method }) => method === 'segment.datasync').length
  const decided = (await auditAll(store))
    .filter(({ by }) => by === 'varve:recovery')
    .map(({ writeId, kind, reason }) => `${order.get(writeId!)} ${kind} ${reason ?? ''}`)
  const rows = await contents(store)
  const pending = (await store.pending()).map(({ writeId, decision }) => `${order.get(writeId)} ${decision.kind}`)
  const staging = (await place.staging()).map((name) => name.replace(/^staging\/([^/]+)\/.*/, (_, id: string) => `${order.get(id)}`))
  await place.close()
  // A second sweep has nothing to add.
  const again = await place.start()
  expect((await auditAll(again)).filter(({ by }) => by === 'varve:recovery')).toHaveLength(decided.length)
  expect(await contents(again)).toEqual(rows)
  await again.close()
  return { rows, decided, staging, pending, syncs }
}

describe('deciding in runs', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('is deciding one by one: same rows, same decisions in the same order, seed %i', async (seed) => {
    const fast = await swept(seed, 60, false)
    const slow = await swept(seed, 60, true)
    expect({ ...fast, syncs: 0 }).toEqual({ ...slow, syncs: 0 })
    expect(fast.decided.length).toBeGreaterThan(20)
  })

  it('takes a sync for a group of writes, not one each', async () => {
    const place = await Place.open()
    for (let i = 0; i < 100; i++) await (i % 2 === 0 ? place.sealed({ rows: [i] }) : place.sealed({ table: items, rows: [i] }))
    const store = await place.killed()
    const syncs = place.root.calls.filter(({ method }) => method === 'segment.datasync').length
    expect(syncs).toBeLessThan(12)
    const { notes: unkeyed, items: keyed } = await contents(store)
    expect([unkeyed.length, keyed.length]).toEqual([50, 50])
    expect(await place.staging()).toEqual([])
    await store.append(notes, { at: 1, text: 'x' })
    expect(await contents(await place.killed())).toEqual({ items: keyed, notes: [...unkeyed, 1].toSorted((a, b) => a - b) })
  })

  it.each(['io', 'permission'] as const)('a fault in the middle is loud (%s), and the next open ends it', async (error) => {
    const place = await Place.open()
    const ids: string[] = []
    for (let i = 0; i < 40; i++) ids.push((await (i % 3 === 0 ? place.armed({ rows: [i] }) : place.sealed({ rows: [i] }))).id)
    place.kill()
    place.root.plan(({ method, name }) => (method === 'get' && name.includes(ids[25]!) ? { error } : undefined))
    await expect(place.start()).rejects.toMatchObject({ name: 'StorageError', class: error })
    place.root.plan(undefined)
    const store = await place.start()
    expect((await contents(store)).notes).toEqual(Array.from({ length: 40 }, (_, i) => i).filter((i) => i % 3 !== 0))
    const rows = (await auditAll(store)).filter(({ by }) => by === 'varve:recovery')
    expect(new Set(rows.map(({ writeId }) => writeId)).size).toBe(40)
    expect(rows).toHaveLength(40)
  })
})
