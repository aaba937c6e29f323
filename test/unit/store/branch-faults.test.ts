// Branches where something goes wrong or somebody else is there too: failpoints, a full disk, two writers of one log, idle branches dropped from memory.

import { describe, expect, it } from 'vitest'

import { columns, lt, StaleBranchError, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { failpoints, FaultyRoot, FP, rendezvous } from '../../../bindings/testing/index.ts'
import { simWorld } from '../../sim/sim-world.ts'
import { failure, opened } from './places.ts'

const rows = table('rows', { id: t.int32(), text: t.utf8().nullable() }, { key: ['id'] })

async function ids(store: Pick<Store, 'scan'>, at?: string): Promise<number[]> {
  const found = await store.scan(rows, at === undefined ? {} : { at }).toArray()
  return found.map(({ id }) => id).toSorted((a, b) => a - b)
}

async function named(store: Store): Promise<string[]> {
  return (await store.branches()).slice(1).map(({ name }) => name)
}

describe('a fault', () => {
  const points = [
    [FP.branch.beforeCreate, [], 'StorageError'],
    [FP.branch.afterCreate, ['dev'], 'CommitOutcomeUnknownError'],
  ] as const
  it.each(points)('at %s leaves no branch, or a whole one; the handle works on', async (point, left, name) => {
    const { world } = simWorld({ seed: 1 })
    const store = await opened('memory:', { world })
    await store.create(rows)
    {
      using armed = failpoints(world).arm(point, { error: 'io', times: 1 })
      expect(await failure(() => store.branch('dev'))).toMatchObject({ name })
      expect(armed.fired).toBe(1)
    }
    expect(await named(store)).toEqual(left)
    const dev = await store.branch('dev')
    await dev.append(rows, { id: 1 })
    expect(await ids(dev)).toEqual([1])
  })

  const deletes = [
    [FP.branch.beforeDelete, ['dev']],
    [FP.branch.afterDelete, []],
  ] as const
  it.each(deletes)('at %s leaves the branch as it was, or none', async (point, left) => {
    const { world } = simWorld({ seed: 1 })
    const store = await opened('memory:', { world })
    await store.create(rows)
    await store.branch('dev')
    {
      using armed = failpoints(world).arm(point, { error: 'io', times: 1 })
      await failure(() => store.deleteBranch('dev'))
      expect(armed.fired).toBe(1)
    }
    expect(await named(store)).toEqual(left)
    await (await store.branch('dev')).append(rows, { id: 1 })
    await store.deleteBranch('dev')
    expect(await named(store)).toEqual([])
  })

  it('at the record of a branch says that nobody knows, or that it is there', async () => {
    const { world } = simWorld({ seed: 1 })
    const store = await opened('memory:', { world })
    await store.create(rows)
    using _armed = failpoints(world).arm(FP.log.beforeWrite, { error: 'io', times: 1 })
    expect(await failure(() => store.branch('dev'))).toMatchObject({ name: 'PoisonedError' })
  })

  it('of storage on a live branch is an error, not an orphan', async () => {
    const root = new FaultyRoot(new MemoryRoot())
    let store = await Store.open(root, { upkeep: 'manual', threads: 0, inlineLimitBytes: 0 })
    await store.create(rows)
    const dev = await store.branch('dev')
    await dev.append(rows, columns({ id: Int32Array.from({ length: 40_000 }, (_, i) => i) }))
    await dev.deleteWhere(rows, lt('id', 20_000))
    const write = await dev.stage()
    await write.append(rows, { id: 90_000 })
    await write.seal()
    await store.close()
    let hits = 0
    root.plan(({ method, name }) => (method === 'get' && name.endsWith('.dv') && ++hits > 0 ? { error: 'notFound' } : undefined))
    expect(await failure(() => Store.open(root, { upkeep: 'manual', threads: 0 }))).toMatchObject({ name: 'CorruptionError' })
    expect(hits).toBeGreaterThan(0)
    root.plan(undefined)
    store = await Store.open(root, { upkeep: 'manual', threads: 0 })
    expect(await store.staged()).toMatchObject([{ writeId: write.id, branch: 'dev' }])
    await store.close()
  })
})

describe('two creators of one name', () => {
  it('in one process make one branch, and one of two that insist on it is refused', async () => {
    const store = await opened('memory:')
    await store.create(rows)
    const [a, b] = await Promise.all([store.branch('dev'), store.branch('dev')])
    expect(a.branchId).toBe(b.branchId)
    const made = await Promise.allSettled([1, 2, 3].map(() => store.branch('must', { create: 'must' })))
    expect(made.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected', 'rejected'])
    const mixed = await Promise.allSettled([store.tag('x'), store.branch('x', { create: 'must' }), store.tag('x')])
    expect(mixed.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    const many = await Promise.all(Array.from({ length: 50 }, (_, i) => store.branch(`b${i}`)))
    expect(new Set(many.map(({ branchId }) => branchId)).size).toBe(50)
  })

  it('a branch made while its parent goes begins on what is there, or is refused', async () => {
    const store = await opened('memory:')
    await store.create(rows)
    await store.branch('dev')
    const [made] = await Promise.allSettled([store.branch('sub', { from: 'dev' }), store.deleteBranch('dev')])
    if (made.status === 'rejected') expect(made.reason).toMatchObject({ name: 'BranchNotFoundError' })
    else expect(await ids(made.value)).toEqual([])
  })

  it('through two writers of a shared log make one; each sees what the other writes to it', async () => {
    const root = new MemoryRoot()
    const options = { writers: 'shared', upkeep: 'manual', threads: 0, publishRetries: 100, follow: false } as const
    const [a, b] = [await Store.open(root, options), await Store.open(root, options)]
    await a.create(rows)
    await b.refresh()
    const [left, right] = await Promise.all([a.branch('dev'), b.branch('dev')])
    expect(left.branchId).toBe(right.branchId)
    await Promise.all(Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? left : right).append(rows, { id: i })))
    await a.refresh()
    await b.refresh()
    const all = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    expect(await ids(left)).toEqual(all)
    expect(await ids(right)).toEqual(all)
    expect(await ids(a)).toEqual([])
    // One key at a time: one of the two wins.
    const raced = await Promise.allSettled([left.append(rows, { id: 50, text: 'a' }), right.append(rows, { id: 50, text: 'b' })])
    expect(raced.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    await a.deleteBranch('dev')
    await expect(right.append(rows, { id: 60 })).rejects.toThrow(StaleBranchError)
    await a.close()
    await b.close()
  })
})

describe('a delete of a branch', () => {
  it('waits for a load into it, and the next write is refused', async () => {
    const { world } = simWorld({ seed: 1 })
    const store = await opened('memory:', { world, inlineLimitBytes: 0 })
    await store.create(rows)
    const dev = await store.branch('dev')
    using parked = rendezvous(world, FP.promote.before)
    const loading = dev.append(rows, columns({ id: Int32Array.from({ length: 100 }, (_, i) => i) }))
    await parked.reached({ timeoutMs: 10_000 })
    const deleting = store.deleteBranch('dev')
    parked.release()
    expect((await loading).rows).toBe(100)
    await deleting
    expect(await named(store)).toEqual([])
    await expect(dev.append(rows, { id: 1 })).rejects.toThrow(StaleBranchError)
  })
})

describe('a writer parked between seal and publish', () => {
  it('on one branch lets a write on another proceed, and publishes then', async () => {
    const { world } = simWorld({ seed: 1 })
    const store = await opened('memory:', { world, sealMode: 'separate', inlineLimitBytes: 0 })
    await store.create(rows)
    const dev = await store.branch('dev')
    using parked = rendezvous(world, FP.promote.before)
    const loading = dev.append(rows, columns({ id: Int32Array.from({ length: 100 }, (_, i) => i) }))
    await parked.reached({ timeoutMs: 10_000 })
    expect((await store.pending()).map(({ state, branch }) => `${state} on ${branch}`)).toEqual(['sealed on dev'])
    const main = await store.append(rows, columns({ id: Int32Array.of(5, 6) }))
    expect(main.rows).toBe(2)
    await (await store.branch('other')).append(rows, { id: 7 })
    parked.release()
    expect((await loading).rows).toBe(100)
    expect(await dev.scan(rows).count()).toBe(100)
    expect(await ids(store)).toEqual([5, 6])
    expect(await ids(store, 'other')).toEqual([5, 6, 7])
  })
})

describe('branches that are not used', () => {
  it('leave memory and come back as they were, whatever was done to them', async () => {
    const store = await opened('memory:')
    await store.create(rows)
    await store.append(rows, [{ id: 1 }, { id: 2 }])
    const all = await Promise.all(Array.from({ length: 40 }, (_, i) => store.branch(`b${i}`)))
    for (const round of [0, 1]) {
      for (const [i, branch] of all.entries()) await branch.upsert(rows, { id: 100 + 2 * i + round, text: `${round}` })
      await store.flush()
      await store.append(rows, { id: 10 + round })
    }
    const { state } = (store as unknown as { o: { state: { views(): Iterable<unknown> } } }).o
    expect([...state.views()].length).toBeLessThan(12)
    for (const [i, branch] of all.entries()) expect(await ids(branch)).toEqual([1, 2, 100 + 2 * i, 101 + 2 * i])
    expect(await ids(store)).toEqual([1, 2, 10, 11])
  })

  it('stay while a staged write of them is open', async () => {
    const store = await opened('memory:')
    await store.create(rows)
    const dev = await store.branch('dev')
    const write = await dev.stage()
    await write.upsert(rows, { id: 1, text: 'staged' })
    for (let i = 0; i < 30; i++) await (await store.branch(`b${i}`)).append(rows, { id: i })
    await dev.append(rows, { id: 2 })
    await write.upsert(rows, { id: 3, text: 'staged' })
    await write.publish()
    expect(await ids(dev)).toEqual([1, 2, 3])
  })
})

describe('a branch and main', () => {
  it('that write one table around a checkpoint that leaves rows in memory keep their rows apart when the store is opened again', async () => {
    const sim = simWorld({ seed: 3 })
    const root = new MemoryRoot()
    const store = await opened(root, { world: sim.world })
    await store.create(rows)
    const dev = await store.branch('dev')
    await store.append(rows, { id: 1 })
    const parked = rendezvous(sim.world, FP.flush.beforePublish)
    const flushing = store.flush()
    await parked.reached()
    // Behind the cut of the flush, and below its checkpoint: the rows of main are read from the log again, those of dev are not main's.
    await store.append(rows, { id: 2 })
    await dev.append(rows, [{ id: 3 }, { id: 4 }])
    await store.append(rows, { id: 5 })
    parked.release()
    await flushing
    parked[Symbol.dispose]()
    await using reader = await Store.open(root, { readOnly: true, follow: false })
    expect(await ids(reader)).toEqual([1, 2, 5])
    expect(await ids(reader, 'dev')).toEqual([3, 4])
    expect(await reader.get(rows, 3)).toBeUndefined()
    expect((await reader.verify()).problems).toEqual([])
  })

  it('a write to a branch behind its deletion, which is on its way to the log, is refused', async () => {
    const sim = simWorld({ seed: 4 })
    const root = new MemoryRoot()
    const store = await opened(root, { world: sim.world })
    await store.create(rows)
    const dev = await store.branch('dev')
    await dev.append(rows, { id: 1 })
    const writing = rendezvous(sim.world, FP.log.beforeWrite)
    const deleting = store.deleteBranch('dev')
    await writing.reached()
    const writes = [
      failure(() => dev.append(rows, { id: 2 })),
      failure(() => dev.transact((tx) => tx.append(rows, [{ id: 3 }]))),
      failure(() => dev.append(rows, columns({ id: Int32Array.from({ length: 40_000 }, (_, i) => 10 + i) }))),
    ]
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
    writing.release()
    await deleting
    writing[Symbol.dispose]()
    for (const error of await Promise.all(writes)) expect(error).toBeInstanceOf(StaleBranchError)
    const again = await store.branch('dev')
    expect(await ids(again)).toEqual([])
    await using reader = await Store.open(root, { readOnly: true, follow: false })
    expect(await ids(reader, 'dev')).toEqual([])
    expect((await reader.verify()).problems).toEqual([])
  })
})
