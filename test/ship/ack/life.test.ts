import { describe, expect, it } from 'vitest'

import { lsn, Store } from '../../../bindings/index.ts'
import { listCheckpoints } from '../../../bindings/engine/index.ts'
import { openRoot } from '../../../bindings/root/index.ts'
import { defaultWorld, systemTimers } from '../../../bindings/runtime/index.ts'
import { type ShipHistoryParts, StoreHistory } from '../../../bindings/store/ship-history.ts'
import { failpoints, fakeWorld, FP } from '../../../bindings/testing/index.ts'
import { failure, PLACES } from '../../unit/store/places.ts'
import { Cluster, cluster, note, notes, partsOf, QUIET, settles, timed } from './cluster.ts'

let places = 0
const memory = (): string => `memory:ack-life-${++places}`

/** A process that finds the one before gone. */
const other = (): object => ({ ...fakeWorld({ host: { pid: 2, isAlive: (pid) => pid === 2 } }), timers: systemTimers })

/** Reopened with nothing counted yet. */
async function reopened(place: string, o: object = {}): Promise<Store> {
  return await Store.open(place, { ...QUIET, ...o })
}

describe.each(PLACES)('after an open, %s', (_name, place) => {
  it('A6 C is what it was: readers are there before any replica is', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    await one.store.append(notes, [note(1), note(2)])
    const c = one.store.lsn
    await one.store.close()
    await using store = await reopened(at)
    expect(store.lsn).toBe(c)
    expect(await store.get(notes, 2)).toEqual(note(2))
    expect(await store.scan(notes).count()).toBe(2)
    expect((await store.snapshot()).lsn).toBe(c)
    expect((await store.tables())[0]!.rows).toBe(2)
    const two = await new Cluster(store, ['r1', 'r2']).attach()
    expect(store.lsn).toBe(c)
    two.follow('r1', Number(c))
    two.ack('r1')
    // With the record of the new epoch.
    expect(Number(store.lsn)).toBe(Number(c) + 1)
    two.confirms('r1')
    await store.append(notes, note(3))
    expect(await store.scan(notes).count()).toBe(3)
  })

  it('a vacuum decides by what is committed: after an open it waits until everything that it has folded is', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    await one.store.append(notes, note(1))
    one.prompt.clear()
    const open = failure(() => one.store.append(notes, note(2)))
    await one.synced()
    const waits = one.local
    one.detach()
    await one.store.close()
    await open
    await using store = await reopened(at)
    const two = await new Cluster(store, ['r1', 'r2']).attach()
    two.follow('r1', waits, 'catching_up')
    const { log } = partsOf(store)
    const { submitted } = log
    const vacuum = store.vacuum({ keep: { versions: 1 } })
    await settles()
    expect([log.submitted, partsOf(store).state.catalog.fragmentFloor]).toEqual([submitted, 0])
    two.confirms('r1')
    await vacuum
    expect(partsOf(store).state.catalog.fragmentFloor).toBeLessThanOrEqual(Number(store.lsn))
  })

  it('the floor of a vacuum proves what was committed, should NODE have lost it', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    await one.store.append(notes, [note(1), note(2)])
    const root = await openRoot(at, defaultWorld())
    const before = (await root.get('NODE')).bytes.slice()
    for (let i = 3; i < 9; i++) await one.store.append(notes, note(i))
    await one.store.flush()
    await one.store.upsert(notes, note(1, 'again'))
    await one.store.flush()
    await one.store.optimize()
    await one.store.vacuum({ keep: { versions: 1 } })
    const floor = partsOf(one.store).state.catalog.fragmentFloor
    expect(floor).toBeGreaterThan(0)
    await one.store.close()
    await root.put('NODE', before)
    {
      await using reader = await Store.open(at, { readOnly: true, follow: false })
      expect(Number(reader.lsn)).toBeGreaterThanOrEqual(floor)
      expect(await reader.get(notes, 1)).toEqual(note(1, 'again'))
    }
    await using store = await reopened(at)
    expect(Number(store.lsn)).toBeGreaterThanOrEqual(floor)
    await using _snapshot = await store.snapshot()
    expect(await store.get(notes, 1)).toEqual(note(1, 'again'))
  })

  it('A8 what waits is folded for admission and hidden from readers, and is committed with the record of the new epoch only', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    await one.store.append(notes, note(1))
    const c = one.store.lsn
    one.prompt.clear()
    const open = one.store.upsert(notes, [note(1, 'new'), note(2)])
    await one.synced()
    const waits = one.local
    one.detach()
    const told = failure(() => open)
    await one.store.close()
    expect(await told).toMatchObject({ name: 'AckTimeoutError', lsn: BigInt(waits) })
    await using store = await reopened(at)
    expect(store.lsn).toBe(c)
    expect(await store.get(notes, 1)).toEqual(note(1))
    expect(await store.get(notes, 2)).toBeUndefined()
    expect(await store.scan(notes).toArray()).toEqual([note(1)])
    expect((await store.stats()).tables['notes']!.rows).toBe(1)
    {
      await using head = await store.snapshot(undefined, { readUncommitted: true })
      expect(await head.get(notes, 1)).toEqual(note(1, 'new'))
    }
    const two = await new Cluster(store, ['r1', 'r2']).attach()
    two.follow('r1', waits, 'catching_up')
    two.follow('r2', waits, 'catching_up')
    // Both have the record of the old epoch: that is not enough.
    expect(store.lsn).toBe(c)
    two.ack('r1', waits + 1)
    expect(Number(store.lsn)).toBe(waits + 1)
    expect(await store.get(notes, 1)).toEqual(note(1, 'new'))
    expect(await store.scan(notes).count()).toBe(2)
    two.confirms('r1')
    expect((await failure(() => store.append(notes, note(2)))).name).toBe('DuplicateKeyError')
  })

  it('A6 down replicas do not move C, and each open begins where the last one was', async () => {
    const at = place()
    const one = await cluster(at, 'all')
    await one.store.append(notes, note(1))
    const c = one.store.lsn
    await one.store.close()
    for (let i = 0; i < 3; i++) {
      await using store = await reopened(at)
      expect(store.lsn).toBe(c)
      const two = await new Cluster(store, ['r1', 'r2']).attach()
      two.follow('r1', Number(c))
      two.confirms('r1')
      expect(store.lsn).toBe(c)
    }
  })

  it('a branch and a tag that wait are not there for readers', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    await one.store.append(notes, note(1))
    one.prompt.clear()
    const branch = failure(() => one.store.branch('dev'))
    const tag = failure(() => one.store.tag('v1'))
    await one.synced()
    one.detach()
    await one.store.close()
    expect([(await branch).name, (await tag).name]).toEqual(['AckTimeoutError', 'AckTimeoutError'])
    await using store = await reopened(at)
    expect((await store.branches()).map(({ name }) => name)).toEqual(['main'])
    expect(await store.tags()).toEqual([])
    expect((await failure(() => store.get(notes, 1, { at: 'v1' }))).name).toBe('BranchNotFoundError')
    const two = await new Cluster(store, ['r1', 'r2']).attach()
    two.follow('r1')
    two.ack('r1')
    expect((await store.branches()).map(({ name }) => name)).toEqual(['main', 'dev'])
    expect(await store.get(notes, 1, { at: 'v1' })).toEqual(note(1))
  })

  it('B1 no base is made of what waits: a checkpoint above C would be taken for committed by the next open', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    await one.store.append(notes, [note(1), note(2)])
    await one.store.flush()
    const c = Number(one.store.lsn)
    one.prompt.clear()
    const open = failure(() => one.store.append(notes, note(3)))
    await one.synced()
    one.detach()
    await one.store.close()
    await open
    {
      await using store = await reopened(at)
      const parts = partsOf(store) as unknown as ShipHistoryParts
      const names: string[] = []
      for await (const { name } of parts.root.list('fragments/')) names.push(name)
      expect(names.length).toBeGreaterThan(0)
      // Of what is committed none can be made any more.
      using history = new StoreHistory({ ...parts, committed: () => c, damaged: new Set(names) })
      const refused = await failure(() => history.pinFullBase(c, 'hold'))
      for (const made of await listCheckpoints(parts.root)) expect(made).toBeLessThanOrEqual(c)
      expect(refused).toMatchObject({ name: 'PinRefusedError', message: expect.stringContaining(`up to C, ${c},`) })
    }
    await using store = await reopened(at)
    expect(store.lsn).toBe(lsn(c))
    expect(await store.scan(notes).count()).toBe(2)
  })

  it('async again: everything in the log counts, and no gate is in the way', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    await one.store.setAckMode('async')
    one.detach()
    await one.store.append(notes, note(1))
    await one.store.close()
    await using store = await reopened(at)
    expect(await store.get(notes, 1)).toEqual(note(1))
    await store.append(notes, note(2))
    expect(partsOf(store).acknowledgement.isFrozen).toBe(false)
  })

  it('a mode that was never committed is not the mode', async () => {
    const at = place()
    const one = await cluster(at, 'all')
    await one.store.append(notes, note(1))
    one.prompt.delete('r2' as never)
    const change = failure(() => one.store.setAckMode('async'))
    await one.synced()
    one.detach()
    await one.store.close()
    expect((await change).name).toBe('AckTimeoutError')
    await using store = await reopened(at)
    expect((await failure(() => store.append(notes, note(2)))).name).toBe('AckUnavailableError')
    const two = await new Cluster(store, ['r1', 'r2']).attach()
    two.follow('r1')
    two.confirms('r1')
    // Of all, one is missing: the change itself is not committed.
    expect(await store.scan(notes).count()).toBe(1)
    two.follow('r2')
    two.confirms('r2')
    await partsOf(store).acknowledgement.setMode('async')
    await store.append(notes, note(2))
    expect((await store.stats()).ackMode).toBe('async')
  })

  it('by force a store whose replicas are gone for good writes again', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    one.prompt.clear()
    const open = failure(() => one.store.append(notes, note(1)))
    await one.synced()
    one.detach()
    await one.store.close()
    await open
    {
      await using store = await reopened(at)
      expect(await store.scan(notes).count()).toBe(0)
      await store.setAckMode('async', { force: true })
      expect(await store.scan(notes).count()).toBe(1)
      await store.append(notes, note(2))
    }
    await using store = await reopened(at)
    expect(await store.scan(notes).count()).toBe(2)
  })

  it('open, create, ship: a program starts without replicas', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    await one.store.close()
    await using store = await reopened(at)
    await store.create(notes)
    const two = await new Cluster(store, ['r1', 'r2']).attach()
    two.follow('r1')
    two.confirms('r1')
    await store.append(notes, note(1))
  })
})

describe('a copy', () => {
  it('has what is committed, and shows it wherever it is opened', async () => {
    const { one } = await timed(memory(), 'quorum')
    await one.store.append(notes, [note(1), note(2)])
    const c = one.store.lsn
    one.prompt.clear()
    const open = failure(() => one.store.append(notes, note(3)))
    await one.synced()
    const [backup, restored] = [memory(), memory()]
    expect((await one.store.backup(backup)).lsn).toBe(c)
    await using reader = await Store.open(backup, { readOnly: true })
    expect(await reader.scan(notes).count()).toBe(2)
    await Store.restore(backup, restored)
    await using store = await reopened(restored)
    expect(store.lsn).toBe(c)
    expect(await store.scan(notes).count()).toBe(2)
    one.detach()
    await one.store.close()
    await open
  })
})

describe('a checkpoint', () => {
  it('is never above C', async () => {
    const at = memory()
    const { one, clock, world } = await timed(at, 'quorum')
    await one.store.append(notes, [note(1), note(2)])
    await one.store.flush()
    const { root } = partsOf(one.store)
    expect((await listCheckpoints(root))[0]).toBe(Number(one.store.lsn))
    one.prompt.clear()
    const open = failure(() => one.store.append(notes, note(3)))
    const flush = failure(() => one.store.flush())
    await settles()
    await clock.advance(6000)
    expect((await open).name).toBe('AckTimeoutError')
    expect((await flush).name).toBe('AckTimeoutError')
    expect((await listCheckpoints(root))[0]).toBe(Number(one.store.lsn))
    one.detach()
    await one.store.close()
    await using store = await reopened(at, { world })
    const late = failure(() => store.flush())
    expect((await late).name).toBe('AckUnavailableError')
    expect((await listCheckpoints(root))[0]).toBe(Number(store.lsn))
  })
})

describe('upkeep', () => {
  it('flush, optimize, vacuum, schema, branches, staged and large writes go through the same gate and end', async () => {
    const one = await cluster(memory(), 'quorum', { open: { inlineLimitBytes: 1024 } })
    const { store } = one
    const rows = (from: number): ReturnType<typeof note>[] => Array.from({ length: 200 }, (_, i) => note(from + i))
    await store.append(notes, rows(0))
    await store.flush()
    await store.append(notes, rows(200))
    await store.flush()
    await store.delete(notes, 3)
    const dev = await store.branch('dev')
    await dev.append(notes, note(9000))
    await store.merge('dev')
    await store.tag('v1')
    const write = await store.stage('load')
    await write.append(notes, rows(400))
    await write.seal()
    await write.publish()
    await store.optimize()
    await store.deleteTag('v1')
    await store.deleteBranch('dev')
    await store.vacuum({ keep: { versions: 1 } })
    expect(await store.scan(notes).count()).toBe(600)
    expect(Number(store.lsn)).toBe(one.local)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await store.close()
  })

  it('a large load that waits too long stays what it is: in the log, and committed when a replica is back', async () => {
    const { one, clock } = await timed(memory(), 'quorum')
    one.prompt.clear()
    const rows = Array.from({ length: 40_000 }, (_, i) => note(i))
    const load = failure(() => one.store.append(notes, rows))
    await settles(40)
    for (let i = 0; i < 4; i++) await clock.advance(2000)
    expect(await load).toMatchObject({ name: 'AckTimeoutError' })
    expect(await one.store.scan(notes).count()).toBe(0)
    one.ack('r1')
    expect(await one.store.scan(notes).count()).toBe(40_000)
    one.confirms('r1')
    await one.store.flush()
    expect((await one.store.verify({ level: 'all' })).problems).toEqual([])
  })

  it('a staged write whose seal waits too long is sealed when a replica is back', async () => {
    const { one, clock } = await timed(memory(), 'quorum')
    const write = await one.store.stage('load')
    await write.append(notes, note(1))
    one.prompt.clear()
    const seal = failure(() => write.seal())
    await settles(40)
    await clock.advance(6000)
    expect((await seal).name).toBe('AckTimeoutError')
    one.confirms('r1')
    await write.seal()
    await write.publish()
    expect(await one.store.get(notes, 1)).toEqual(note(1))
  })

  it('a vacuum deletes nothing before its record counts', async () => {
    const { one, clock } = await timed(memory(), 'quorum')
    const { store } = one
    await store.append(notes, note(1))
    await store.flush()
    await store.replace(notes, [note(2)])
    await store.flush()
    const { root } = partsOf(store)
    const files = async (): Promise<number> => {
      let count = 0
      for await (const _ of root.list('fragments/')) count++
      return count
    }
    const before = await files()
    one.prompt.clear()
    const vacuum = failure(() => store.vacuum({ keep: { versions: 1 } }))
    await settles(60)
    await clock.advance(6000)
    expect((await vacuum).name).toBe('AckTimeoutError')
    expect(await files()).toBe(before)
    one.confirms('r2')
    await store.vacuum({ keep: { versions: 1 } })
    expect(await files()).toBeLessThan(before)
    expect(await store.get(notes, 2)).toEqual(note(2))
  })
})

describe('closing', () => {
  it('waits for what a replica can still confirm', async () => {
    const one = await cluster(memory(), 'quorum')
    one.prompt.clear()
    const open = one.store.append(notes, note(1))
    await settles()
    const closed = one.store.close()
    await settles()
    one.ack('r2')
    await open
    await closed
  })

  it('does not wait where nobody is left to ask: what is open rejects with AckTimeoutError', async () => {
    const { one } = await timed(memory(), 'quorum')
    one.prompt.clear()
    const opens = [1, 2, 3].map((id) => failure(() => one.store.append(notes, note(id))))
    await settles()
    one.state('r1', 'degraded')
    one.state('r2', 'disconnected')
    // Time stands still: nothing here can have waited.
    await one.store.close()
    for (const open of opens) expect((await open).name).toBe('AckTimeoutError')
  })

  it('is not held up when shipping ends under it', async () => {
    const { one } = await timed(memory(), 'all')
    one.prompt.clear()
    const open = failure(() => one.store.append(notes, note(1)))
    await settles()
    const closed = one.store.close()
    await one.synced()
    one.detach()
    await closed
    expect((await open).name).toBe('AckTimeoutError')
  })

  it('waits at most as long as a write does', async () => {
    const { one, clock } = await timed(memory(), 'all')
    one.prompt.clear()
    const open = failure(() => one.store.append(notes, note(1)))
    await settles()
    const closed = one.store.close()
    await settles()
    await clock.advance(5100)
    await settles()
    await clock.advance(5100)
    await closed
    expect((await open).name).toBe('AckTimeoutError')
  })

  it('at once (using) leaves what is open in the log', async () => {
    const at = memory()
    const one = await cluster(at, 'quorum')
    one.prompt.clear()
    const open = failure(() => one.store.append(notes, note(1)))
    await settles()
    one.store[Symbol.dispose]()
    expect((await open).name).toBe('AckTimeoutError')
  })
})

describe('a kill', () => {
  it('loses at most the mark of C: what is committed shows when the replicas are asked again', async () => {
    const at = memory()
    const { one, world } = await timed(at, 'quorum')
    await one.store.append(notes, note(1))
    const c = one.store.lsn
    one.isKilled = true
    failpoints(world).crash()
    await using store = await reopened(at, { world: other() })
    expect(store.lsn).toBeLessThanOrEqual(c)
    const two = await new Cluster(store, ['r1', 'r2']).attach()
    two.follow('r1', Number(c))
    two.ack('r1')
    expect(store.lsn).toBeGreaterThan(c)
    expect(await store.get(notes, 1)).toEqual(note(1))
    await store.waitCommitted(lsn(c))
  })

  it('at the record of the mode leaves the old one or the new one', async () => {
    const at = memory()
    const { one, world } = await timed(at, 'async')
    one.isKilled = true
    using _armed = failpoints(world).arm(FP.ship.modeRecord, { crash: true })
    void one.store.setAckMode('quorum').catch(() => undefined)
    await settles()
    await using store = await reopened(at, { world: other() })
    expect((await store.stats()).ackMode).toBe('async')
    await store.append(notes, note(1))
  })
})
