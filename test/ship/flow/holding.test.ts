// What a replica's task holds of the primary's log, and lets go of: the pin of a stream that never came to be, of a stream that falls behind, of a replica that is
// away (shipping.md section 9). Time is a fake clock's.
import { expect, it, onTestFinished, vi } from 'vitest'

import { Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { MemoryNetwork, type RecoveryEventName, replicaId, type ShipPin } from '../../../bindings/ship/index.ts'
import { ship, type Shipping, type ShipOptions } from '../../../bindings/store/index.ts'
import { StoreHistory } from '../../../bindings/store/ship-history.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'
import { QUIET } from '../../unit/store/places.ts'
import { FakeReplica, type FakeOptions } from './fake-replica.ts'

const people = table('people', { id: t.int64(), name: t.utf8() }, { key: ['id'] })

interface Rig {
  readonly clock: FakeClock
  readonly network: MemoryNetwork
  readonly store: Store
  readonly replica: FakeReplica
  readonly shipping: Shipping
  write(rows: number): Promise<void>
  /** Who holds something of the log. */
  owners(): string[]
  events(): RecoveryEventName[]
}

async function rig(o: Omit<ShipOptions, 'replicas'> = {}, fake: FakeOptions = {}): Promise<Rig> {
  const clock = new FakeClock()
  const world = fakeWorld({ clock })
  const network = new MemoryNetwork(world)
  const store = await Store.open(new MemoryRoot({}), { ...QUIET, world, segmentBytes: 64 * 1024 })
  await store.create(people)
  const replica = new FakeReplica(fake)
  await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
  const shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary'), ...o })
  onTestFinished(() => shipping.close())
  let next = 0
  const { log } = (store as unknown as { o: { log: { reclaim: { list(): { owner: string }[] } } } }).o
  return {
    clock,
    network,
    store,
    replica,
    shipping,
    write: async (rows) => {
      await Promise.all(Array.from({ length: rows }, () => store.append(people, { id: BigInt(next++), name: 'x'.repeat(100) })))
    },
    owners: () => log.reclaim.list().map(({ owner }) => owner),
    events: () => shipping.log.eventsFor(replicaId('r1')).map(({ event }) => event),
  }
}

async function turns(count = 30): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

it.each([
  ['its replica is removed', (shipping: Shipping): Promise<unknown> => shipping.assign([])],
  ['its address changes', (shipping: Shipping): Promise<unknown> => shipping.assign([{ id: 'r1', endpoint: { data: 'nowhere', version: 2 } }])],
])('the pin of a stream goes when %s before the stream begins', async (_, change) => {
  const [granted, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { pinLog } = StoreHistory.prototype
  const spy = vi.spyOn(StoreHistory.prototype, 'pinLog').mockImplementation(async function (this: StoreHistory, start, owner, o) {
    const pin = await pinLog.call(this, start, owner, o)
    if (owner === 'stream') {
      granted.resolve()
      await held.promise
    }
    return pin
  })
  onTestFinished(() => spy.mockRestore())
  const { clock, shipping, owners, events } = await rig()
  await clock.advance(10)
  await granted.promise
  expect(owners()).toContain('stream')
  const changing = change(shipping)
  await turns()
  held.resolve()
  await changing
  await clock.advance(10)
  await turns()
  expect(owners()).toEqual([])
  expect(events()).not.toContain('stream_opened')
})

it('a task that ends late takes nothing from the session that its replica has by then', async () => {
  const [asked, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { pinFullBase } = StoreHistory.prototype
  const spy = vi.spyOn(StoreHistory.prototype, 'pinFullBase').mockImplementation(async function (this: StoreHistory, lsn, owner) {
    const pin = await pinFullBase.call(this, lsn, owner)
    asked.resolve()
    await held.promise
    return pin
  })
  onTestFinished(() => spy.mockRestore())
  const { clock, shipping, owners, write } = await rig({ ack: 'all' })
  await clock.advance(100)
  expect(shipping.status().inSync).toBe(1)
  shipping.registry.sender(replicaId('r1')).markNeedsRebuild('asked_for')
  await clock.advance(500)
  await asked.promise
  const changing = [shipping.assign([]), shipping.assign([{ id: 'r1', endpoint: 'r1' }])]
  await clock.advance(500)
  expect(shipping.status().inSync).toBe(1)
  held.resolve()
  await Promise.all(changing)
  await clock.advance(100)
  expect([shipping.status().inSync, owners()]).toEqual([1, ['stream']])
  const written = write(3)
  await clock.advance(100)
  await written
  expect(shipping.status()).toMatchObject({ committedLsn: shipping.status().durableLsn })
})

it('a lease that is lost closes the stream, or ends the hold behind it, and no rebuild is owed', async () => {
  const pins: ShipPin[] = []
  const { pinLog } = StoreHistory.prototype
  const spy = vi.spyOn(StoreHistory.prototype, 'pinLog').mockImplementation(async function (this: StoreHistory, start, owner, o) {
    pins.push(await pinLog.call(this, start, owner, o))
    return pins.at(-1)!
  })
  onTestFinished(() => spy.mockRestore())
  const { clock, network, shipping, owners, events } = await rig()
  const state = (): string => `${shipping.status().replicas[0]!.state} ${shipping.status().replicas[0]!.reason}`
  await clock.advance(100)
  pins.at(-1)!.onLimit!('lease_lost')
  expect(state()).toBe('degraded lease_lost')
  await clock.advance(2000)
  expect([shipping.status().inSync, owners()]).toEqual([1, ['stream']])
  network.crash('r1')
  network.cut('r1')
  await clock.advance(10)
  expect(owners()).toEqual(['stream'])
  pins.at(-1)!.onLimit!('lease_lost')
  expect([state(), owners()]).toEqual([expect.stringMatching(/^degraded/), []])
  expect(events()).not.toContain('escalated')
})

it('P8 a live stream over the limit: the stream is closed and a rebuild owed, then its pin goes', async () => {
  const { clock, shipping, write, owners, events } = await rig(
    { autoRebuild: false, retention: { maxPinnedBytes: 96 * 1024 } },
    { ack: (lsn) => Math.min(lsn, 3) },
  )
  await clock.advance(100)
  expect(shipping.status().inSync).toBe(1)
  const seen: string[] = []
  shipping.log.subscribe(({ event, detail }) => void seen.push(`${event} ${detail} with ${owners().length}`))
  await write(1500)
  await clock.advance(1100)
  expect(shipping.status().replicas[0]).toMatchObject({ state: 'needs_rebuild', reason: 'retention_exceeded' })
  expect(seen.find((line) => line.startsWith('stream_closed'))).toMatch(/retention_exceeded.* with 1$/)
  expect(owners()).toEqual([])
  expect(events()).not.toContain('degraded')
})

it('a primary that is idle for hours keeps its replicas in sync, whose links may break meanwhile', async () => {
  const { clock, network, shipping, write, owners, events } = await rig({ retention: { maxPinAgeMs: 5000, degradedPinMs: 60_000 } })
  await clock.advance(100)
  await write(3)
  await clock.advance(20_000)
  expect([shipping.status().inSync, owners()]).toEqual([1, ['stream']])
  network.cut('r1')
  await clock.advance(20_000)
  await write(3)
  await clock.advance(1000)
  expect([shipping.status().inSync, owners()]).toEqual([1, ['stream']])
  // One link that broke, and nothing else.
  expect(events().filter((event) => event === 'stream_closed')).toHaveLength(1)
  expect(events()).not.toContain('retention_exceeded')
})

it('a break after an idle spell costs no rebuild', async () => {
  const { clock, network, shipping, write, events } = await rig({ retention: { maxPinAgeMs: 5000, degradedPinMs: 60_000 } })
  await clock.advance(4800)
  network.crash('r1')
  network.cut('r1')
  await clock.advance(3000)
  await write(2)
  // The log that the replica lacks is younger than the limit.
  await clock.advance(4000)
  expect(shipping.status().replicas[0]).toMatchObject({ state: 'degraded' })
  expect(events()).not.toContain('escalated')
  await clock.advance(3000)
  expect(shipping.status().replicas[0]).toMatchObject({ state: 'needs_rebuild', reason: 'retention_exceeded' })
})

it('a degraded replica keeps its pin for as long as it may, and not longer', async () => {
  const { clock, network, owners, shipping, write } = await rig({ retention: { degradedPinMs: 5000 } })
  await clock.advance(100)
  network.crash('r1')
  network.cut('r1')
  await clock.advance(10)
  await write(10)
  expect([shipping.status().degraded, owners()]).toEqual([1, ['stream']])
  await clock.advance(4900)
  expect(owners()).toEqual(['stream'])
  await clock.advance(200)
  expect(owners()).toEqual([])
})

it('X9 a degraded replica that is removed lets its pin go with it', async () => {
  const { clock, network, owners, shipping } = await rig()
  await clock.advance(100)
  network.crash('r1')
  network.cut('r1')
  await clock.advance(10)
  expect([shipping.status().degraded, owners()]).toEqual([1, ['stream']])
  await shipping.assign([])
  expect(owners()).toEqual([])
})

it('a replica that comes back holds one pin: that of its new stream', async () => {
  const { clock, network, owners, shipping, replica, write } = await rig({ retention: { degradedPinMs: 60_000 } })
  for (let i = 0; i < 3; i++) {
    await clock.advance(500)
    expect([shipping.status().inSync, owners()]).toEqual([1, ['stream']])
    network.cut('r1')
    await write(5)
  }
  await clock.advance(500)
  expect(owners()).toEqual(['stream'])
  expect(replica.durableLsn).toBe(Number(shipping.status().durableLsn))
})
