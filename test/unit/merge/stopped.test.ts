// Merges that are interrupted: by writes to the target, by the end of a branch, by faults behind the seal.
import { describe, expect, it } from 'vitest'

import { CommitOutcomeUnknownError, StaleBranchError, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { failpoints, FP, rendezvous } from '../../../bindings/testing/index.ts'
import { simWorld } from '../../sim/sim-world.ts'
import { collect, failure } from '../store/places.ts'

const items = table('items', { id: t.int32(), a: t.utf8().nullable(), b: t.int32().nullable() }, { key: ['id'] })
const ROWS = 60

/** Small limits: a merge is sealed, in chunks. */
async function parted(inlineLimitBytes = 64): Promise<{ store: Store; sim: ReturnType<typeof simWorld>; root: MemoryRoot }> {
  const sim = simWorld({ seed: 7 })
  const root = new MemoryRoot()
  const store = await Store.open(root, { threads: 0, upkeep: 'manual', world: sim.world, inlineLimitBytes })
  await store.create(items)
  await store.append(
    items,
    Array.from({ length: ROWS }, (_, id) => ({ id, a: 'base', b: 0 })),
  )
  const dev = await store.branch('dev')
  await dev.upsert(
    items,
    Array.from({ length: ROWS / 2 }, (_, id) => ({ id, a: 'dev', b: 0 })),
  )
  // In memory: copied into a fragment, beside the row of both sides.
  await dev.upsert(items, { id: 40, a: 'dev', b: 0 })
  await store.upsert(items, [{ id: 0, a: 'base', b: 1 }])
  return { store, sim, root }
}

const rowOf = async (store: Store, id: number): Promise<string> => {
  const row = await store.get(items, id)
  return row === undefined ? '-' : `${row.a} ${row.b}`
}

describe.each([
  ['inline', 256 * 1024, [FP.merge.afterCapture, FP.merge.afterClassify, FP.merge.beforePublish]],
  [
    'sealed',
    64,
    [
      FP.merge.afterCapture,
      FP.merge.afterClassify,
      FP.merge.betweenChunks,
      FP.merge.beforePublish,
      FP.seal.beforeAppend,
      FP.seal.afterAppend,
      FP.publish.afterAdmit,
    ],
  ],
] as const)('a merge, %s', (_name, limit, points) => {
  it.each(points.map((point) => [point]))('parked at %s: what is written to the target meanwhile is in the result', async (point) => {
    const { store, sim } = await parted(limit)
    using parked = rendezvous(sim.world, point)
    const merging = store.merge('dev')
    await parked.reached()
    // A key that the merge writes, in another column; one it does not write; a new one.
    await store.upsert(items, [{ id: 3, a: 'base', b: 9 }, { id: ROWS - 1, a: 'main', b: 0 }, { id: 777 }])
    parked.release()
    await merging
    expect(await Promise.all([0, 3, 4, ROWS - 1, 777].map((id) => rowOf(store, id)))).toEqual(['dev 1', 'dev 9', 'dev 0', 'main 0', 'null null'])
    expect(await store.scan(items).count()).toBe(ROWS + 1)
    expect(await store.pending()).toEqual([])
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await store.close()
  })

  it('parked before it is published, its target deleted and made anew: StaleBranchError, nothing written', async () => {
    const { store, sim } = await parted(limit)
    const target = await store.branch('target')
    await target.upsert(items, { id: 1, a: 'base', b: 5 })
    using parked = rendezvous(sim.world, FP.merge.beforePublish)
    const merging = failure(() => store.merge('dev', { into: 'target' })).catch((error: unknown) => error)
    await parked.reached()
    const { lsn } = store
    if (limit < 1024) {
      // Its INTENT is there: the branch stays until the merge is decided.
      expect(await failure(() => store.deleteBranch('target'))).toMatchObject({ code: 'write.pending-intent' })
      parked.release()
      expect(String(await merging)).toMatch(/resolved/)
    } else {
      await store.deleteBranch('target')
      await store.branch('target')
      parked.release()
      expect(await merging).toBeInstanceOf(StaleBranchError)
      expect(await collect(store.changes({ from: lsn, branch: 'target', follow: false }))).toEqual([])
      expect(await collect(store.diff('main', 'target', { tables: [items] }))).toEqual([])
    }
    await store.close()
  })
})

describe('a merge that is sealed and not published', () => {
  async function stopped(): Promise<Awaited<ReturnType<typeof parted>>> {
    const place = await parted()
    {
      using _armed = failpoints(place.sim.world).arm(FP.promote.before, { error: 'io' })
      expect(await failure(() => place.store.merge('dev'))).toBeInstanceOf(CommitOutcomeUnknownError)
    }
    expect((await place.store.pending()).map(({ kind, state }) => `${kind} ${state}`)).toEqual(['merge sealed'])
    return place
  }

  it('is published by the next append on the same handle, without a reopen', async () => {
    const { store } = await stopped()
    await store.append(items, { id: 999 })
    expect(await store.pending()).toEqual([])
    expect(await Promise.all([0, 1, 999].map((id) => rowOf(store, id)))).toEqual(['dev 1', 'dev 0', 'null null'])
    // It is known that it was merged, too.
    expect((await store.merge('dev')).lsn).toBeUndefined()
    expect((await collect(store.audit({ kinds: ['rolledForward'] }))).map(({ tables }) => tables)).toEqual([['items']])
    await store.close()
  })

  it('is published by the next merge, which then has nothing to do', async () => {
    const { store } = await stopped()
    expect(await store.merge('dev')).toEqual({ fastForward: false, tables: {}, conflicts: [] })
    expect(await rowOf(store, 0)).toBe('dev 1')
    await store.close()
  })

  it('is published by the next open, and a second open changes nothing', async () => {
    const { store, sim, root } = await stopped()
    await store.close()
    for (let i = 0; i < 2; i++) {
      const again = await Store.open(root, { threads: 0, upkeep: 'manual', world: sim.world })
      expect(await Promise.all([0, 1, ROWS - 1].map((id) => rowOf(again, id)))).toEqual(['dev 1', 'dev 0', 'base 0'])
      expect(await again.pending()).toEqual([])
      expect((await again.merge('dev')).lsn).toBeUndefined()
      expect(await collect(again.audit({ kinds: ['rolledForward'] }))).toHaveLength(1)
      await again.close()
    }
  })

  it('aborted before the seal leaves nothing', async () => {
    const { store, sim } = await parted()
    const abort = new AbortController()
    using parked = rendezvous(sim.world, FP.merge.betweenChunks)
    const merging = failure(() => store.merge('dev', { signal: abort.signal }))
    await parked.reached()
    abort.abort(new Error('enough'))
    parked.release()
    expect(await merging).toMatchObject({ message: 'enough' })
    expect(await store.pending()).toEqual([])
    expect(await rowOf(store, 1)).toBe('base 0')
    expect((await store.merge('dev')).tables).toEqual({ items: { inserted: 0, updated: ROWS / 2 + 1, deleted: 0 } })
    await store.close()
  })
})
