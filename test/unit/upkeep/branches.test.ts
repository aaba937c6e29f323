// Optimize of the tables of a branch: files that others read stay, history and merges see the same rows.
import { describe, expect, it } from 'vitest'

import { type Branch, eq, PendingIntentError, StaleBranchError, type Store } from '../../../bindings/index.ts'
import { type FailpointName, FP } from '../../../bindings/runtime/index.ts'
import { failpoints, rendezvous } from '../../../bindings/testing/index.ts'
import { contents, item, items, note, notes, Place } from '../write/helpers.ts'

const STAGED = { inlineLimitBytes: 0 } as const
/** Rows that make upkeep look once. */
const ROWS = 66
const LONG = 'x'.repeat(8 * 1024)
const SEALED = { inlineLimitBytes: 0, sealMode: 'separate' } as const

/** Two fragments of each table on main, two more on the branch, rows of both replaced and deleted there. */
async function filled(options: object = STAGED): Promise<{ place: Place; dev: Branch }> {
  const place = await Place.open(options)
  const { store } = place
  for (const id of [1, 5]) {
    await store.append(items, [item(id), item(id + 20)])
    await store.append(notes, [note(id), note(id + 20)])
  }
  const dev = await store.branch('dev')
  for (const id of [9, 13]) {
    await dev.append(items, [item(id), item(id + 20)])
    await dev.append(notes, [note(id), note(id + 20)])
  }
  await dev.upsert(items, item(25, 'dev'))
  await dev.delete(items, 1)
  await dev.deleteWhere(notes, eq('at', 5))
  return { place, dev }
}

function fragmentsOf(store: Store, branch: string): number[] {
  type View = { tables: Map<number, { now: { fragments: readonly unknown[] } }> }
  const { state } = (
    store as unknown as { engine: { parts: { state: View & { catalog: { branches: { named(name: string): { id: number } } }; view(id: number): View } } } }
  ).engine.parts
  const view = branch === 'main' ? state : state.view(state.catalog.branches.named(branch).id)
  return [...view.tables.values()].map(({ now }) => now.fragments.length)
}

describe('Branch.optimize', () => {
  it.each([
    ['fused', STAGED],
    ['sealed', SEALED],
  ])('%s: writes the fragments of the branch anew; main, older versions, a reopen and a merge see the rows as they were', async (_, options) => {
    const { place, dev } = await filled(options)
    const [main, before] = [await contents(place.store), await contents(dev)]
    const then = dev.lsn
    const report = await dev.optimize()
    expect(report.lsn).toBeDefined()
    expect(report.skipped).toEqual([])
    expect(report.tables).toMatchObject({ items: { fragmentsAfter: 1 }, notes: { fragmentsAfter: 1 } })
    expect(fragmentsOf(place.store, 'dev')).toEqual([1, 1])
    expect(fragmentsOf(place.store, 'main')).toEqual([2, 2])
    expect(await contents(dev)).toEqual(before)
    expect(await contents(place.store)).toEqual(main)
    expect((await dev.optimize()).lsn).toBeUndefined()
    await dev.upsert(items, item(60, 'after'))
    expect((await dev.scan(items, { at: then as never }).toArray()).length).toBe(before.items.length)
    const store = await place.reopen()
    expect(await contents(store)).toEqual(main)
    const again = await store.branch('dev')
    expect((await contents(again)).items).toEqual([...before.items, '60:after'].toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)))
    expect(fragmentsOf(store, 'dev')[1]).toBe(1)
    await store.upsert(items, item(5, 'main'))
    await store.merge('dev')
    expect((await contents(store)).items).toEqual(
      [...before.items.filter((row) => !row.startsWith('5:')), '5:main', '60:after'].toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)),
    )
    expect((await contents(store)).notes).toEqual(before.notes)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
  })

  it.each([
    [FP.optimize.beforeReindex, STAGED, false],
    [FP.optimize.beforePublish, STAGED, false],
    [FP.seal.afterAppend, SEALED, true],
    [FP.optimize.beforePublish, SEALED, true],
  ] as [FailpointName, object, boolean][])('stopped at %s is decided by the next open on its branch', async (point, options, isDone) => {
    const { place, dev } = await filled(options)
    const before = await contents(dev)
    const main = await contents(place.store)
    const crash = failpoints(place.sim.world).arm(point, { crash: true })
    void dev.optimize().catch(() => undefined)
    await crash.reached()
    crash[Symbol.dispose]()
    const store = await place.kill(STAGED)
    const again = await store.branch('dev', { create: 'never' })
    expect(await contents(again)).toEqual(before)
    expect(await contents(store)).toEqual(main)
    expect(await place.staging()).toEqual([])
    expect(fragmentsOf(store, 'dev').every((count) => (count === 1) === isDone)).toBe(true)
    expect(fragmentsOf(store, 'main')).toEqual([2, 2])
    expect(((await again.optimize()).lsn === undefined) === isDone).toBe(true)
  })

  it('is refused while a write to the same branch is not decided, not because of one to another', async () => {
    const { place, dev } = await filled()
    const write = await dev.stage()
    await write.append(notes, note(70))
    await write.seal()
    await expect(dev.optimize()).rejects.toBeInstanceOf(PendingIntentError)
    expect((await place.store.optimize()).lsn).toBeDefined()
    await write.publish()
    expect((await dev.optimize()).lsn).toBeDefined()
    expect((await contents(dev)).notes).toContain('70:n')
  })

  it('of a branch that is deleted meanwhile publishes nothing', async () => {
    const { place, dev } = await filled()
    const rv = rendezvous(place.sim.world, FP.optimize.beforePublish)
    const optimizing = dev.optimize().catch((error: unknown) => error)
    await rv.reached()
    const deleting = place.store.deleteBranch('dev').catch((error: unknown) => error)
    rv.release()
    // Whoever comes first: a branch that is worked on is not deleted.
    const [optimized, deleted] = [await optimizing, await deleting]
    rv[Symbol.dispose]()
    if (deleted === undefined) expect(optimized).toBeInstanceOf(StaleBranchError)
    else expect(deleted).toBeInstanceOf(PendingIntentError)
    expect(fragmentsOf(place.store, 'main')).toEqual([2, 2])
  })
})

describe('in the background', () => {
  it('tables of a branch in use are compacted too, and main stays as it is', async () => {
    const place = await Place.open({ upkeep: 'auto', memory: { writeBytes: 512 * 1024 } })
    await place.store.append(items, item(0))
    await place.store.flush()
    const dev = await place.store.branch('dev')
    const told = new Promise<string | undefined>((resolve) => {
      place.store.on('upkeep', ({ job, table: name }) => job === 'optimize' && resolve(name))
    })
    for (let look = 1; look <= 9; look++) {
      for (let i = 0; i < ROWS; i++) await dev.append(items, item(look * ROWS + i, LONG))
      await place.store.flush()
    }
    expect(await told).toBe('items')
    expect(fragmentsOf(place.store, 'dev')[0]).toBeLessThan(10)
    expect(fragmentsOf(place.store, 'main')[0]).toBe(1)
    expect(await dev.scan(items).count()).toBe(1 + 9 * ROWS)
    expect(await place.store.scan(items).count()).toBe(1)
    expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
  })
})
