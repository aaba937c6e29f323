// Files that are dead at the frozen target (shipping.md section 11, fragment gate): what needs them is given up for good before a record counts without them.
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { ReplicaLog } from '../../../bindings/log/replica-log.ts'
import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork, replicaId } from '../../../bindings/ship/index.ts'
import type { Replica, Store } from '../../../bindings/store/index.ts'
import { failure, opened, QUIET } from '../../unit/store/places.ts'
import { abandon, bootWorld, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, rewritten, rowsOf, turns } from './kit.ts'

/** A primary whose vacuum has taken the files of its first versions, while its log still has them. */
async function vacuumed(): Promise<{ network: MemoryNetwork; primary: Primary; head: number }> {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await rewritten(primary, 100)
  await primary.store.optimize()
  expect((await primary.store.vacuum({ keep: { versions: 1 } })).deleted).toBeGreaterThan(0)
  return { network, primary, head: Number(primary.store.lsn) }
}

it('H12 what was skipped is history that is not there, also after a power cut right behind the acknowledgement', async () => {
  const { network, primary, head } = await vacuumed()
  const root = new MemoryRoot({ loseUnsynced: 1 })
  const replica = await replicaOn(network, root)
  const from = await RawSender.connect(network, replica, primary, { elides: true })
  await from.hello()
  await from.grant(0, { mode: 'catchup', target: head, elideDead: true, committedLsn: head })
  await from.entries(0, head, { committedLsn: head })
  await from.durable(head)
  const cut = root.crash()
  network.crash('r1')
  abandon(replica)
  const again = await replicaOn(network, cut, { endpoint: { data: 'again', version: 1 } })
  const next = await RawSender.connect(network, again, primary, { session: 2 })
  await next.hello()
  await next.grant(head, { committedLsn: head })
  await again.store.refresh()
  expect(await rowsOf(again.store)).toEqual(await rowsOf(primary.store))
  expect(await failure(() => again.store.snapshot(3))).toMatchObject({ name: 'HistoryUnavailableError', floor: BigInt(head) })
})

it('H12 files of records above the target are needed, whatever the sender calls them', async () => {
  const { network, primary, head } = await vacuumed()
  const replica = await replicaOn(network)
  const from = await RawSender.connect(network, replica, primary, { elides: true })
  await from.hello()
  await from.grant(0, { mode: 'catchup', target: 3, elideDead: true, committedLsn: head })
  await from.entries(0, head, { most: 1, committedLsn: head }).catch(() => undefined)
  expect(await from.refusal()).toMatchObject({ name: 'TransportError', message: expect.stringContaining('dead') })
  expect(Number(replica.status().durable)).toBeLessThan(head)
})

it('H12 a record whose file is gone counts when it is written down that what needs it cannot be read, not before', async () => {
  const { network, primary, head } = await vacuumed()
  const replica = await replicaOn(network)
  const from = await RawSender.connect(network, replica, primary, { elides: true })
  await from.hello()
  await from.grant(0, { mode: 'catchup', target: head, elideDead: true })
  // A disk that takes its time over NODE.
  const [asked, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { recordHistoryFloor } = ReplicaLog.prototype
  const spy = vi.spyOn(ReplicaLog.prototype, 'recordHistoryFloor').mockImplementation(async function (this: ReplicaLog, lsn) {
    asked.resolve()
    await held.promise
    await recordHistoryFloor.call(this, lsn)
  })
  onTestFinished(() => spy.mockRestore())
  await from.entries(0, head, { most: 1, committedLsn: 0 })
  await asked.promise
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
  const { durable } = replica.status()
  expect(Number(durable)).toBeLessThan(head)
  const acked = from.heard.flatMap((message) => (message.type === 'ack' ? [message.durableLsn] : []))
  expect(Math.max(0, ...acked)).toBeLessThanOrEqual(Number(durable))
  held.resolve()
  await from.durable(head)
  expect(await failure(() => replica.store.snapshot(3))).toMatchObject({ name: expect.stringMatching(/HistoryUnavailableError|NotAStoreError/) as string })
})

it('H12 amid such a catch-up readers stay where they were; after a crash there nothing is shown, promoted or compared before it is done', async () => {
  const { network, primary, head } = await vacuumed()
  const root = new MemoryRoot({ loseUnsynced: 1 })
  const replica = await replicaOn(network, root)
  const from = await RawSender.connect(network, replica, primary, { elides: true })
  await from.hello()
  // Two records, of which no file is gone, and then most of the others.
  await from.grant(0, { mode: 'catchup', target: head, elideDead: true, committedLsn: head })
  await from.entries(0, 2, { committedLsn: head })
  await from.durable(2)
  await replica.store.refresh()
  expect(replica.store.lsn).toBe(2n)
  await from.entries(2, head - 1, { most: 1, committedLsn: head })
  await from.durable(head - 1)
  await replica.store.refresh()
  expect(replica.status().durable).toBe(BigInt(head - 1))
  expect(replica.store.lsn).toBeLessThan(BigInt(head - 1))
  // What is shown is whole.
  await rowsOf(replica.store)
  expect(await failure(() => replica.promote({ acceptLossAbove: 0 }))).toMatchObject({
    name: 'InvalidConfigError',
    message: expect.stringContaining('left out'),
    hint: expect.any(String),
  })
  expect(replica.status()).toMatchObject({ connected: true })
  const cut = root.crash()
  network.crash('r1')
  abandon(replica)
  const failpoints = new FailpointRegistry()
  const again = await replicaOn(network, cut, { endpoint: { data: 'again', version: 1 }, world: bootWorld(failpoints) })
  expect(again.status()).toMatchObject({ lsn: 0n, durable: BigInt(head - 1) })
  expect(await failure(() => again.promote({ acceptLossAbove: 0 }))).toMatchObject({ name: 'InvalidConfigError', message: expect.stringContaining('left out') })
  expect(await again.fence({ epoch: 2 })).toMatchObject({ isIntact: false })
  // Whoever waits is told what goes wrong before there is anything to read.
  failpoints.arm(FP.checkpoint.beforeWrite, { error: 'io', times: 1 })
  const waiting = failure(() => again.ready())
  const next = await RawSender.connect(network, again, primary, { epoch: 2, elides: true })
  await next.hello()
  await next.grant(head - 1, { mode: 'catchup', target: head, elideDead: true, committedLsn: head })
  await next.entries(head - 1, head, { committedLsn: head })
  await next.durable(head)
  expect(await waiting).toBe(again.status().failure)
  // The disk is well again, and C stays where it is.
  await next.grant(head, { committedLsn: head })
  await again.ready()
  expect(again.status()).toMatchObject({ lsn: BigInt(head), failure: undefined })
  network.crash('again')
  abandon(again)
  await again.close()
  const last = await replicaOn(network, cut, { endpoint: { data: 'last', version: 1 } })
  await last.ready()
  expect(await rowsOf(last.store)).toEqual(await rowsOf(primary.store))
  expect(await last.store.verify({ against: primary.root, level: 'all' })).toMatchObject({ ok: true })
})

describe('amid such a catch-up, cut off', () => {
  /** r1 ends in the midst of one by the old primary; r2 has the log before the vacuum, whose files it needs. */
  async function cutOff(): Promise<{ network: MemoryNetwork; primary: Primary; r1: Replica; r2: Replica; floor: number }> {
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await rewritten(primary, 100)
    const r2 = await replicaOn(network, new MemoryRoot({}), { replicaId: 'r2', endpoint: { data: 'r2', version: 1 }, transport: network.transport('r2') })
    const shared = Number(primary.store.lsn)
    const shipping = await primary.store.ship({ replicas: [{ id: 'r2', endpoint: 'r2' }], transport: network.transport('primary') })
    await shipping.settled({ signal: AbortSignal.timeout(20_000) })
    await shipping.close()
    await primary.store.optimize()
    expect((await primary.store.vacuum({ keep: { versions: 1 } })).deleted).toBeGreaterThan(0)
    const floor = Number(primary.store.lsn)
    const r1 = await replicaOn(network)
    const sender = await RawSender.connect(network, r1, primary, { elides: true, mandate: 0 })
    await sender.hello()
    await sender.grant(0, { mode: 'catchup', target: floor, elideDead: true, committedLsn: 2 })
    await sender.entries(0, shared - 1, { most: 1, committedLsn: 2 })
    await sender.durable(shared - 1)
    await sender.close()
    return { network, primary, r1, r2, floor }
  }

  /** @returns the reasons of its handshakes, and whether a base came */
  async function followed(network: MemoryNetwork, store: Store, r1: Replica): Promise<{ reasons: unknown[]; isRebuilt: boolean }> {
    const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: r1.endpoint.data }], transport: network.transport('next'), elideDead: true })
    onTestFinished(() => shipping.close())
    await shipping.settled({ signal: AbortSignal.timeout(20_000) })
    const events = shipping.log.eventsFor(replicaId('r1'))
    while (r1.store.lsn < store.lsn) await turns(1)
    expect(await rowsOf(r1.store)).toEqual(await rowsOf(store))
    return {
      reasons: events.flatMap(({ event, fields }) => (event === 'handshake' ? [fields['reason']] : [])),
      isRebuilt: events.some(({ event }) => event === 'exec_rebuild_completed'),
    }
  }

  it('H12 another primary, whose versions need what was called dead, gives it a base', async () => {
    const { network, r1, r2, floor } = await cutOff()
    const store = await r2.promote({ acceptLossAbove: 0 })
    onTestFinished(() => store.close())
    expect(store.lsn).toBeLessThanOrEqual(BigInt(floor))
    expect(await followed(network, store, r1)).toEqual({ reasons: ['fragments_reclaimed', expect.any(String)], isRebuilt: true })
    expect(r1.store.lsn).toBe(store.lsn)
    expect(await r1.store.verify({ level: 'all' })).toMatchObject({ ok: true })
  })

  it('H12 the primary of whose word it was goes on where it was, started again too', async () => {
    const { network, primary, r1, floor } = await cutOff()
    await primary.store.close()
    const store = await opened(primary.root, QUIET)
    expect(await followed(network, store, r1)).toEqual({ reasons: ['gap_within_retention'], isRebuilt: false })
    expect(await failure(() => r1.store.snapshot(3))).toMatchObject({ name: 'HistoryUnavailableError' })
    expect(store.lsn).toBeGreaterThan(BigInt(floor))
  })
})
