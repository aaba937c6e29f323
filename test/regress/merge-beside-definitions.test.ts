// A merge, or a revert, that had decided about its rows when a column was added wrote them under the new definition in the columns of the old one: a record that
// nobody can read. The handle was poisoned, the store did not open again, and neither did any replica.
import { describe, expect, it } from 'vitest'

import { type AnyTable, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { FP, rendezvous } from '../../bindings/testing/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const columns = { id: t.int32(), a: t.utf8().nullable(), b: t.int32().nullable() }
const items = table('items', columns, { key: ['id'] })
const loose = table('loose', { x: t.int32() })
const ROWS = 40

const LATER: readonly (readonly [string, AnyTable])[] = [
  ['a column is added', table('items', { ...columns, c: t.utf8().default('c') }, { key: ['id'] })],
  ['a column is dropped', table('items', { id: columns.id, b: columns.b }, { key: ['id'] })],
  ['a column is renamed', table('items', { id: columns.id, other: t.utf8().nullable().renamedFrom('a'), b: columns.b }, { key: ['id'] })],
  ['a column is widened', table('items', { ...columns, b: t.int64().nullable() }, { key: ['id'] })],
  ['an index is added', table('items', columns, { key: ['id'], index: ['b'] })],
]

const { afterCapture, afterClassify, beforePublish } = FP.merge
const POINTS = {
  inline: { merge: [afterCapture, afterClassify, beforePublish], revert: [beforePublish] },
  sealed: {
    merge: [afterCapture, afterClassify, beforePublish, FP.seal.beforeAppend, FP.seal.afterAppend, FP.publish.afterAdmit],
    revert: [beforePublish, FP.seal.beforeAppend, FP.seal.afterAppend, FP.publish.afterAdmit],
  },
} as const

async function prepared(inlineLimitBytes: number): Promise<{ store: Store; sim: ReturnType<typeof simWorld>; root: MemoryRoot }> {
  const sim = simWorld({ seed: 7 })
  const root = new MemoryRoot()
  const store = await Store.open(root, { threads: 0, upkeep: 'manual', world: sim.world, inlineLimitBytes })
  await store.create(items)
  await store.create(loose)
  await store.append(items, rows(0, ROWS, 'base'))
  await store.append(loose, [{ x: 1 }, { x: 2 }])
  await store.tag('base')
  const dev = await store.branch('dev')
  await dev.upsert(items, rows(0, ROWS / 2, 'dev'))
  await dev.append(loose, { x: 3 })
  await store.upsert(items, rows(ROWS / 2, ROWS, 'main'))
  return { store, sim, root }
}

function rows(from: number, end: number, a: string): { id: number; a: string; b: number }[] {
  return Array.from({ length: end - from }, (_, i) => ({ id: from + i, a, b: from + i }))
}

describe.each([
  ['inline', 256 * 1024],
  ['sealed', 64],
] as const)('%s', (name, limit) => {
  describe.each(LATER)('%s', (_what, later) => {
    it.each([...POINTS[name].merge.map((point) => [point, 'merge'] as const), ...POINTS[name].revert.map((point) => [point, 'revert'] as const)])(
      'while it is parked at %s: %s',
      async (point, what) => {
        const { store, sim, root } = await prepared(limit)
        {
          using parked = rendezvous(sim.world, point)
          const writing = what === 'merge' ? store.merge('dev') : store.revert('base')
          await parked.reached()
          // It may have to wait for the write.
          const applying = store.apply([later], { allowDataLoss: true })
          await Promise.race([applying, sim.world.timers.sleep(0).then(() => sim.world.timers.sleep(0))])
          parked.release()
          await Promise.all([applying, writing])
        }
        const shown = async (from: Store): Promise<{ id: number }[]> =>
          ((await from.scan(await from.table('items')).toArray()) as unknown as { id: number }[]).toSorted((x, y) => x.id - y.id)
        const before = await shown(store)
        expect(before).toHaveLength(ROWS)
        const count = await store.scan(loose).count()
        expect(count).toBe(what === 'merge' ? 3 : 2)
        expect((await store.verify()).problems).toEqual([])
        await store.close()
        await using again = await Store.open(root, { threads: 0, upkeep: 'manual', world: sim.world })
        expect(await shown(again)).toEqual(before)
      },
    )
  })
})
