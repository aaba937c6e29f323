import { describe, expect, it } from 'vitest'

import { eq, InvalidConfigError, lsn, newWriteId, Store } from '../../../bindings/index.ts'
import { FakeClock, failpoints, fakeWorld, FP } from '../../../bindings/testing/index.ts'
import { collect, failure } from '../../unit/store/places.ts'
import { cluster, Cluster, isPending, note, notes, partsOf, QUIET, timed } from './cluster.ts'

let places = 0
const place = (): string => `memory:ack-writes-${++places}`

describe('a commit', () => {
  it('A1 async resolves with no replica at all, and with an acker that nobody answers', async () => {
    const one = await cluster(place(), 'async', { silent: ['r1', 'r2'] })
    const { lsn: at } = await one.store.append(notes, note(1))
    expect(one.store.lsn).toBe(at)
    expect(one.told.at(-1)).toBe(Number(at))
    expect((await one.store.stats()).ackMode).toBe('async')
  })

  it('A1 quorum of two nodes is QuorumTooSmallError, and nothing has changed', async () => {
    await using store = await Store.open(place(), QUIET)
    const one = await new Cluster(store, ['r1']).attach()
    one.follow('r1')
    expect((await failure(() => store.setAckMode('quorum'))).name).toBe('QuorumTooSmallError')
    expect((await store.stats()).ackMode).toBe('async')
    await store.create(notes)
  })

  it('A2 quorum commits with one of two behind', async () => {
    const one = await cluster(place(), 'quorum')
    one.prompt.delete('r2' as never)
    await one.store.append(notes, note(1))
    expect(await one.store.get(notes, 1)).toEqual(note(1))
  })

  it('A2 quorum with both down is AckUnavailableError; the head is where it was', async () => {
    const one = await cluster(place(), 'quorum')
    one.state('r1', 'degraded')
    one.state('r2', 'disconnected')
    const { log } = partsOf(one.store)
    const head = log.submitted
    const writes: readonly ((store: Store) => Promise<unknown>)[] = [
      (store) => store.append(notes, note(1)),
      (store) => store.upsert(notes, note(1)),
      (store) => store.replace(notes, [note(1)]),
      (store) => store.delete(notes, 1),
      (store) => store.deleteWhere(notes, eq('id', 1)),
      (store) => store.transact((tx) => tx.append(notes, note(1))),
      (store) => store.stage('load'),
      (store) => store.flush(),
      (store) => store.optimize(),
      (store) => store.vacuum({ keep: { versions: 1 } }),
      (store) => store.tag('now'),
      (store) => store.branch('dev'),
      (store) => store.setAckMode('async'),
    ]
    for (const write of writes) {
      const error = await failure(() => write(one.store))
      expect(error, String(write)).toMatchObject({ name: 'AckUnavailableError', reachable: 1, neededNodes: 2 })
    }
    expect(log.submitted).toBe(head)
    expect(await one.store.scan(notes).count()).toBe(0)
    // What is there already needs nobody.
    await one.store.create(notes)
    one.state('r1', 'in_sync')
    await one.store.append(notes, note(1))
  })

  it('A2 allowIndeterminate writes all the same, and is told that it is open', async () => {
    const { one, clock } = await timed(place(), 'quorum')
    one.state('r1', 'degraded')
    one.state('r2', 'degraded')
    const commit = failure(() => one.store.append(notes, note(1), { allowIndeterminate: true }))
    await clock.advance(6000)
    expect(await commit).toMatchObject({ name: 'AckTimeoutError', durableNodes: 1, neededNodes: 2 })
    expect(await one.store.get(notes, 1)).toBeUndefined()
    one.state('r1', 'in_sync')
    await one.store.waitCommitted(lsn(one.local))
    expect(await one.store.get(notes, 1)).toEqual(note(1))
  })

  it('A3 all waits for the one behind: AckTimeoutError with counts; committed when it returns, and waitCommitted says so', async () => {
    const { one, clock } = await timed(place(), 'all')
    one.prompt.delete('r2' as never)
    const id = newWriteId()
    const commit = one.store.append(notes, note(1), { writeId: id })
    expect(await isPending(commit)).toBe(true)
    const failed = failure(() => commit)
    await clock.advance(4999)
    expect(await isPending(failed)).toBe(true)
    await clock.advance(2)
    const error = await failed
    expect(error).toMatchObject({ name: 'AckTimeoutError', durableNodes: 2, neededNodes: 3, lsn: BigInt(one.local) })
    expect(await one.store.outcome(id)).toBe('pending')
    expect(await one.store.get(notes, 1)).toBeUndefined()
    const waits = one.store.waitCommitted(error['lsn'] as never)
    expect(await isPending(waits)).toBe(true)
    one.confirms('r2')
    await waits
    expect(await one.store.get(notes, 1)).toEqual(note(1))
  })

  it('A3 waitCommitted ends with its signal, and with the store', async () => {
    const { one } = await timed(place(), 'quorum')
    const stop = new AbortController()
    const aborted = failure(() => one.store.waitCommitted(lsn(999), { signal: stop.signal }))
    const closed = failure(() => one.store.waitCommitted(lsn(999)))
    stop.abort(new Error('enough'))
    expect((await aborted).message).toBe('enough')
    await one.store.close()
    expect((await closed).name).toBe('ClosedError')
  })

  it('A3 later commits wait behind the open one, each for its own time', async () => {
    const { one, clock } = await timed(place(), 'quorum')
    one.prompt.clear()
    const first = failure(() => one.store.append(notes, note(1)))
    await clock.advance(3000)
    const second = one.store.append(notes, note(2))
    await clock.advance(2500)
    expect(await first).toMatchObject({ name: 'AckTimeoutError' })
    expect(await isPending(second)).toBe(true)
    one.ack('r1')
    await second
    expect(await one.store.scan(notes).count()).toBe(2)
  })

  it('A4 a local sync that fails fails the write whatever replicas say', async () => {
    const { one, world } = await timed(place(), 'quorum')
    one.prompt.clear()
    using _armed = failpoints(world).arm(FP.log.beforeSync, { error: 'io', times: 1 })
    const commit = failure(() => one.store.append(notes, note(1)))
    // A replica says that it has what this node could not sync.
    one.ack('r1', one.local + 1)
    one.ack('r2', one.local + 1)
    expect((await commit).name).toBe('PoisonedError')
    expect(one.told.at(-1)).toBe(one.local)
    expect((await failure(() => one.store.append(notes, note(2)))).name).toBe('PoisonedError')
  })

  it('A5 an acknowledgement in the tick of the timeout wins', async () => {
    const { one, clock } = await timed(place(), 'quorum')
    one.prompt.clear()
    const commit = one.store.append(notes, note(1))
    expect(await isPending(commit)).toBe(true)
    // Set after the gate's own: it falls due right behind it, in one tick.
    clock.timers.set(5000, () => one.ack('r1'))
    await clock.advance(5001)
    await commit
  })

  it('A5 a late acknowledgement moves C although nobody waits any more; one of an old session does not', async () => {
    const { one, clock } = await timed(place(), 'quorum')
    one.prompt.clear()
    const failed = failure(() => one.store.append(notes, note(1)))
    await clock.advance(5001)
    await failed
    const before = one.store.lsn
    expect(one.tracker.ack('r1' as never, { epoch: one.tracker.epoch, seq: 99 }, one.local)).toBe(false)
    expect(one.tracker.ack('r1' as never, { epoch: one.tracker.epoch - 1, seq: 1 }, one.local)).toBe(false)
    expect(one.store.lsn).toBe(before)
    one.ack('r2')
    expect(one.store.lsn).toBe(BigInt(one.local))
  })

  it('a key under which a commit is open is not written twice', async () => {
    const { one, clock } = await timed(place(), 'quorum')
    one.prompt.clear()
    const request = (): Promise<unknown> => one.store.append(notes, note(1), { idempotencyKey: 'job-1' })
    const failed = failure(request)
    await clock.advance(5001)
    expect((await failed).name).toBe('AckTimeoutError')
    const { log } = partsOf(one.store)
    const head = log.submitted
    expect((await failure(request)).name).toBe('AckTimeoutError')
    expect(log.submitted).toBe(head)
    one.ack('r1')
    expect(await request()).toMatchObject({ replayed: true, lsn: BigInt(one.local) })
  })

  it('admission sees what is open: a key that waits for replicas is taken', async () => {
    const { one } = await timed(place(), 'quorum')
    one.prompt.clear()
    const first = one.store.append(notes, note(1))
    expect((await failure(() => one.store.append(notes, note(1, 'other')))).name).toBe('DuplicateKeyError')
    const second = one.store.upsert(notes, note(1, 'second'))
    expect(await isPending(second)).toBe(true)
    one.ack('r2')
    await Promise.all([first, second])
    expect(await one.store.get(notes, 1)).toEqual(note(1, 'second'))
  })

  it('group commit: one round of acknowledgements for all that came together', async () => {
    const { one } = await timed(place(), 'quorum')
    one.prompt.clear()
    const commits = Array.from({ length: 300 }, (_, i) => one.store.append(notes, note(i)))
    expect(await isPending(commits[0]!)).toBe(true)
    const told = one.told.length
    one.ack('r1')
    await Promise.all(commits)
    expect(one.told.length - told).toBe(1)
    expect(await one.store.scan(notes).count()).toBe(300)
  })
})

describe('a write that asks for more', () => {
  it('A9 waits for all in a store of mode quorum', async () => {
    const { one } = await timed(place(), 'quorum')
    one.prompt.delete('r2' as never)
    const commit = one.store.append(notes, note(1), { ack: 'all' })
    expect(await isPending(commit)).toBe(true)
    // Committed by the mode, and shown.
    expect(await one.store.get(notes, 1)).toEqual(note(1))
    one.confirms('r2')
    await commit
  })

  it('A9 times out on its own, committed all the same', async () => {
    const { one, clock } = await timed(place(), 'quorum')
    one.prompt.delete('r2' as never)
    const failed = failure(() => one.store.transact((tx) => tx.append(notes, note(1)), { ack: 'all' }))
    await clock.advance(5001)
    expect(await failed).toMatchObject({ name: 'AckTimeoutError', durableNodes: 2, neededNodes: 3 })
    expect(await one.store.get(notes, 1)).toEqual(note(1))
  })

  it('A9 waits for a majority in a store of mode async, where replicas are there to ask', async () => {
    const { one } = await timed(place(), 'async')
    one.prompt.clear()
    const commit = one.store.upsert(notes, note(1), { ack: 'quorum' })
    expect(await isPending(commit)).toBe(true)
    one.ack('r1')
    await commit
    one.state('r1', 'degraded')
    one.state('r2', 'degraded')
    expect((await failure(() => one.store.upsert(notes, note(2), { ack: 'quorum' }))).name).toBe('AckUnavailableError')
    await one.store.upsert(notes, note(3))
    await using alone = await Store.open(place(), QUIET)
    await alone.create(notes)
    expect((await failure(() => alone.append(notes, note(1), { ack: 'quorum' }))).name).toBe('AckUnavailableError')
    expect((await failure(() => alone.transact((tx) => tx.append(notes, note(1)), { ack: 'all' }))).name).toBe('AckUnavailableError')
    await alone.append(notes, note(1))
  })

  it('A9 may only be stronger than the mode', async () => {
    const { one } = await timed(place(), 'all')
    const error = await failure(() => one.store.append(notes, note(1), { ack: 'quorum' }))
    expect(error.name).toBe('AckModeWeakenedError')
    expect((await failure(() => one.store.delete(notes, 1, { ack: 'quorum' }))).name).toBe('AckModeWeakenedError')
    expect((await failure(() => one.store.transact((tx) => tx.append(notes, note(1)), { ack: 'quorum' }))).name).toBe('AckModeWeakenedError')
    expect((await failure(() => one.store.append(notes, note(1), { ack: 'async' as never }))).name).toBe('AckModeWeakenedError')
    await one.store.append(notes, note(1), { ack: 'all' })
  })
})

describe('readers', () => {
  it('see nothing that waits: get, scan, tables, feed, time travel, stats, backup; readUncommitted does', async () => {
    const { one } = await timed(place(), 'quorum')
    const { store } = one
    await store.append(notes, note(1))
    const committed = store.lsn
    one.prompt.clear()
    const open = store.upsert(notes, [note(1, 'new'), note(2)])
    expect(await isPending(open)).toBe(true)
    expect(one.local).toBeGreaterThan(Number(committed))
    expect(await store.get(notes, 1)).toEqual(note(1))
    expect(await store.getMany(notes, [1, 2])).toEqual([note(1), undefined])
    expect(await store.has(notes, 2)).toBe(false)
    expect(await store.scan(notes).count()).toBe(1)
    expect((await store.tables())[0]!.rows).toBe(1)
    expect(store.lsn).toBe(committed)
    expect((await failure(() => store.get(notes, 1, { at: lsn(one.local) }))).name).toBe('HistoryUnavailableError')
    const stats = await store.stats()
    expect(stats).toMatchObject({ lsn: committed, committedLsn: committed, durableLsn: BigInt(one.local), ackMode: 'quorum' })
    expect(stats.tables['notes']!.rows).toBe(1)
    const seen = await collect(store.changes({ from: 0, tables: [notes], follow: false }))
    expect(seen.at(-1)!.lsn).toBe(committed)
    {
      await using now = await store.snapshot()
      expect(await now.get(notes, 1)).toEqual(note(1))
      await using head = await store.snapshot(undefined, { readUncommitted: true })
      expect(head.lsn).toBe(BigInt(one.local))
      expect(await head.get(notes, 1)).toEqual(note(1, 'new'))
      expect(await head.scan(notes).count()).toBe(2)
    }
    expect((await failure(() => store.snapshot(committed, { readUncommitted: true }))).name).toBe('InvalidConfigError')
    expect((await store.backup('memory:ack-backup')).lsn).toBe(committed)
    one.ack('r1')
    await open
    expect(await store.get(notes, 1)).toEqual(note(1, 'new'))
    await using head = await store.snapshot(undefined, { readUncommitted: true })
    expect(head.lsn).toBe(store.lsn)
  })

  it('a feed that follows hands a commit out when it is committed', async () => {
    const { one } = await timed(place(), 'quorum')
    const feed = one.store.changes({ tables: [notes] })
    const next = feed.next()
    one.prompt.clear()
    const open = one.store.append(notes, note(1))
    expect(await isPending(next)).toBe(true)
    expect(await isPending(open)).toBe(true)
    one.ack('r2')
    const { lsn: at } = await open
    expect((await next).value).toMatchObject({ lsn: at })
    await feed.return?.()
  })

  it('a feed that was there before the mode stops at C too', async () => {
    const { one } = await timed(place(), 'async')
    const feed = one.store.changes({ tables: [notes] })
    const first = feed.next()
    const { lsn: at } = await one.store.append(notes, note(1))
    expect((await first).value).toMatchObject({ lsn: at })
    const second = feed.next()
    await one.store.setAckMode('quorum')
    one.prompt.clear()
    const open = one.store.append(notes, note(2))
    expect(await isPending(second)).toBe(true)
    one.ack('r1')
    expect((await second).value).toMatchObject({ lsn: (await open).lsn })
    await feed.return?.()
  })

  it('a commit event is told when the commit counts', async () => {
    const { one } = await timed(place(), 'quorum')
    const told: bigint[] = []
    one.store.on('commit', ({ lsn: at }) => told.push(at))
    one.prompt.clear()
    const open = one.store.append(notes, note(1))
    expect(await isPending(open)).toBe(true)
    expect(told).toEqual([])
    one.ack('r1')
    expect(told).toEqual([(await open).lsn])
  })
})

describe('the mode', () => {
  it('A9 is one record: in the audit, and what the next open finds', async () => {
    const at = place()
    const clock = new FakeClock()
    const world = fakeWorld({ clock })
    const one = await cluster(at, 'quorum', { open: { world } })
    const before = one.local
    await one.store.setAckMode('all')
    expect(one.local).toBe(before + 1)
    await one.store.setAckMode('all')
    expect(one.local).toBe(before + 1)
    const rows = await collect(one.store.audit({ kinds: ['mode'] }))
    expect(rows.map(({ reason }) => reason)).toEqual(['async -> quorum', 'quorum -> all'])
    await one.store.close()
    await using again = await Store.open(at, { ...QUIET, world })
    expect((await again.stats()).ackMode).toBe('all')
  })

  it.each(['async', 'quorum'] as const)('A9 a weaker one (%s) is committed by the one before it', async (mode) => {
    const { one } = await timed(place(), 'all')
    one.prompt.delete('r2' as never)
    const change = one.store.setAckMode(mode)
    expect(await isPending(change)).toBe(true)
    const write = one.store.append(notes, note(1))
    expect(await isPending(write)).toBe(true)
    one.ack('r2', one.local - 1)
    await change
    await write
    expect((await one.store.stats()).ackMode).toBe(mode)
    await one.store.append(notes, note(2))
  })

  it('a stronger one counts from its record on, which the one before it commits', async () => {
    const { one } = await timed(place(), 'async')
    one.prompt.clear()
    await one.store.setAckMode('quorum')
    const write = one.store.append(notes, note(1))
    expect(await isPending(write)).toBe(true)
    one.ack('r1')
    await write
  })

  it('by force it counts at once, with what was open before it', async () => {
    const { one, clock } = await timed(place(), 'quorum')
    one.prompt.clear()
    const open = one.store.append(notes, note(1))
    expect(await isPending(open)).toBe(true)
    one.state('r1', 'disconnected')
    one.state('r2', 'disconnected')
    await one.store.setAckMode('async', { force: true })
    await open
    await one.store.append(notes, note(2))
    expect((await collect(one.store.audit({ kinds: ['mode'] }))).at(-1)!.reason).toBe('quorum -> async, forced')
    await clock.advance(6000)
    expect(await one.store.scan(notes).count()).toBe(2)
  })

  it('a failure at its record leaves the mode as it was', async () => {
    const { one, world } = await timed(place(), 'async')
    using _armed = failpoints(world).arm(FP.ship.modeRecord, { error: 'unavailable', times: 1 })
    await failure(() => one.store.setAckMode('quorum'))
    expect((await one.store.stats()).ackMode).toBe('async')
    await one.store.append(notes, note(1))
    await one.store.setAckMode('quorum')
    expect((await one.store.stats()).ackMode).toBe('quorum')
  })

  it('refuses what is no mode', async () => {
    await using store = await Store.open(place(), QUIET)
    expect(await failure(() => store.setAckMode('most' as never))).toBeInstanceOf(InvalidConfigError)
    expect(await failure(() => store.setAckMode('quorum', { now: true } as never))).toBeInstanceOf(InvalidConfigError)
  })
})
