// Five tables in one write, and something goes wrong at each failpoint it passes, for the k-th time it passes it: all five, or none (recovery.md section 18).
import { describe, expect, it } from 'vitest'

import { gte, type KeyedTable, type StagedWrite, Store, t, table } from '../../../bindings/index.ts'
import { type FailpointName, failpoints, FP } from '../../../bindings/testing/index.ts'
import { Place } from './helpers.ts'

const keyed = Array.from({ length: 3 }, (_, i) => table(`keyed${i}`, { id: t.int32(), v: t.int32() }, { key: ['id'] })) as unknown as KeyedTable[]
const plain = Array.from({ length: 2 }, (_, i) => table(`plain${i}`, { v: t.int32() }))
const POINTS: readonly FailpointName[] = [FP.intent, FP.stage, FP.seal, FP.promote, FP.publish, FP.retire].flatMap((group) =>
  Object.values<FailpointName>(group),
)

const row = (id: number, v: number): never => ({ id, v }) as never

async function open(): Promise<Place> {
  const at = await Place.open()
  await at.store.create(...keyed, ...plain)
  for (const one of keyed) await at.store.append(one, [row(1, 0), row(2, 0)])
  for (const one of plain) await at.store.append(one, [{ v: 0 }, { v: 5 }])
  return at
}

/** An upsert, a deletion, a replace, an append, and deletions by predicate with rows of its own. */
async function fill(write: StagedWrite): Promise<void> {
  await write.upsert(keyed[0]!, [row(1, 1), row(3, 1)])
  await write.delete(keyed[1]!, [2 as never])
  await write.replace(keyed[2]!, [row(9, 1)])
  await write.append(plain[0]!, [{ v: 1 }])
  await write.deleteWhere(plain[1]!, gte('v', 5))
  await write.append(plain[1]!, [{ v: 1 }])
}

async function seen(store: Store): Promise<string> {
  const texts: string[] = []
  for (const one of [...keyed, ...plain]) {
    const rows = (await store.scan(one).toArray()) as unknown as { id?: number; v: number }[]
    texts.push(
      rows
        .map(({ id, v }) => `${id ?? ''}:${v}`)
        .toSorted()
        .join(' '),
    )
  }
  return texts.join(' | ')
}

const BEFORE = '1:0 2:0 | 1:0 2:0 | 1:0 2:0 | :0 :5 | :0 :5'
const AFTER = '1:1 2:0 3:1 | 1:0 | 9:1 | :0 :1 :5 | :0 :1'

/** How often each point is passed by a write that nothing happens to. */
async function passed(): Promise<ReadonlyMap<FailpointName, number>> {
  const at = await open()
  const registry = failpoints(at.sim.world)
  const before = new Map(registry.count())
  const write = await at.store.stage()
  await fill(write)
  await write.publish()
  expect(await seen(at.store)).toBe(AFTER)
  const counts = registry.count()
  return new Map(POINTS.map((point) => [point, (counts.get(point) ?? 0) - (before.get(point) ?? 0)]))
}

describe('five tables in one write', () => {
  it.each(['crash', 'error'] as const)(
    '%s at each point it passes: all five or none, before and after the next open, and once',
    async (action) => {
      const counts = await passed()
      let cells = 0
      for (const [point, count] of counts) {
        for (const after of new Set([0, Math.floor(count / 2), count - 1])) {
          if (after < 0 || after >= count) continue
          const what = `${action} at ${point}, arrival ${after + 1} of ${count}`
          const at = await open()
          const armed = failpoints(at.sim.world).arm(point, { after, times: 1, ...(action === 'crash' ? { crash: true } : { error: 'permission' }) })
          const write = await at.store.stage()
          const work = (async () => {
            await fill(write)
            await write.publish()
          })()
          if (action === 'crash') {
            work.catch(() => undefined)
            await armed.reached()
          } else {
            await work.catch(() => undefined)
            expect([BEFORE, AFTER], what).toContain(await seen(at.store))
            armed[Symbol.dispose]()
          }
          await at.kill()
          const first = await seen(at.store)
          expect([BEFORE, AFTER], what).toContain(first)
          const outcome = await at.store.outcome(write.id)
          expect(outcome === 'published', `${what}: ${outcome}`).toBe(first === AFTER)
          if (outcome === 'pending') {
            await (await at.store.resume(write.id)).publish()
            expect(await seen(at.store), what).toBe(AFTER)
          }
          expect(await at.staging(), what).toEqual([])
          const last = await seen(at.store)
          await at.kill()
          expect(await seen(at.store), `${what}, opened again`).toBe(last)
          expect((await at.store.verify({ level: 'all' })).problems, what).toEqual([])
          cells++
        }
      }
      expect(cells).toBeGreaterThan(30)
    },
    120_000,
  )
})
