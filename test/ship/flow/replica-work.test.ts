// What a replica says that it does with files that records name, or with a cut, puts off the end of a catch-up and of a live stream by standstill; that it is there does
// not (docs/shipping.md "Plans, pins and bases"). Time is a fake clock's.
import { expect, it, onTestFinished } from 'vitest'

import { Store, t, table } from '../../../bindings/index.ts'
import { digestInName } from '../../../bindings/format/index.ts'
import { MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { MemoryNetwork, replicaId } from '../../../bindings/ship/index.ts'
import { Replica, ship, type Shipping } from '../../../bindings/store/index.ts'
import { FakeClock, fakeWorld, FaultyRoot } from '../../../bindings/testing/index.ts'
import { QUIET } from '../../unit/store/places.ts'
import { FakeReplica } from './fake-replica.ts'

const people = table('people', { id: t.int64() }, { key: ['id'] })
/** Of CATCH_UP_BUDGET, and of STREAM_LIMITS. */
const DEADLINE_MS = 5000

interface Rig {
  readonly clock: FakeClock
  readonly store: Store
  readonly shipping: Shipping
  /** Nothing more becomes durable there. */
  stall(): void
  /** The replica says how much it has done. */
  says(done: number): Promise<void>
  state(): string
}

async function rig(isStalled = false): Promise<Rig> {
  const clock = new FakeClock()
  const world = fakeWorld({ clock })
  const network = new MemoryNetwork(world)
  const store = await Store.open(new MemoryRoot({}), { ...QUIET, world })
  await store.create(people)
  const replica = new FakeReplica({ ack: (lsn) => (isStalled ? undefined : lsn) })
  await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
  const shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary') })
  onTestFinished(() => shipping.close())
  return {
    clock,
    store,
    shipping,
    stall: () => (isStalled = true),
    says: async (done) => {
      const [epoch, session] = replica.sessions.at(-1)!.split('.').map(Number) as [number, number]
      await replica.links.at(-1)!.send({ epoch, session, message: { type: 'working', done } })
    },
    state: () => `${shipping.status().replicas[0]!.state} ${shipping.status().replicas[0]!.reason}`,
  }
}

it('in a catch-up', async () => {
  const { clock, shipping, says, state } = await rig(true)
  await clock.advance(100)
  for (let i = 1; i <= 4; i++) {
    expect(state()).toBe('catching_up catch_up')
    await says(i * 1000)
    await clock.advance(DEADLINE_MS - 1000)
  }
  // The same again is nothing more.
  await says(4000)
  await clock.advance(2000)
  const ended = shipping.log.eventsFor(replicaId('r1')).map(({ event, detail }) => `${event} ${detail}`)
  expect(ended).toContainEqual(expect.stringMatching(/^session_failed budget_progress_stalled/))
})

it('in a live stream', async () => {
  const { clock, store, shipping, stall, says, state } = await rig()
  await clock.advance(500)
  expect(state()).toBe('in_sync completed')
  stall()
  await store.append(people, { id: 1n })
  for (let i = 1; i <= 8; i++) {
    await clock.advance(DEADLINE_MS - 1000)
    expect(state()).toBe('in_sync completed')
    await says(i * 1000)
  }
  await says(8000)
  await clock.advance(DEADLINE_MS + 100)
  expect(shipping.log.eventsFor(replicaId('r1')).find(({ event }) => event === 'stream_closed')).toMatchObject({ detail: 'ack_timeout' })
})

it('a record whose files take a replica half a minute ends neither its stream nor the catch-up of one that was away', async () => {
  const clock = new FakeClock()
  const world = fakeWorld({ clock })
  const network = new MemoryNetwork(world)
  const store = await Store.open(new MemoryRoot({}), { ...QUIET, world })
  const tables = Array.from({ length: 4 }, (_, i) => table(`t${i}`, { id: t.int64() }, { key: ['id'] }))
  for (const each of tables) await store.create(each)
  // One file after the other, 3 s each.
  const root = new FaultyRoot(new MemoryRoot({}))
  let turn = Promise.resolve()
  const wait = (): Promise<void> => (turn = turn.then(() => new Promise<void>((resolve) => void clock.timers.set(3000, resolve))))
  root.plan(({ method, name }) => (method === 'put' && digestInName(name) !== undefined ? { wait } : undefined))
  const replica = await Replica.open(root as Root, { replicaId: 'r1', endpoint: { data: 'r1', version: 1 }, transport: network.transport('r1'), world })
  onTestFinished(() => replica.close())
  const begin = (): Promise<Shipping> => ship(store, { replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary') })
  const load = async (id: bigint): Promise<void> => {
    for (const each of tables) await store.append(each, { id })
    await store.flush()
  }
  const first = await begin()
  await clock.advance(500)
  await load(1n)
  await clock.advance(10_000)
  expect(first.status().replicas[0]).toMatchObject({ state: 'in_sync' })
  expect(Number(first.status().replicas[0]!.lag)).toBeGreaterThan(0)
  await clock.advance(30_000)
  expect(first.status().replicas[0]).toMatchObject({ state: 'in_sync', lag: 0 })
  expect(first.log.events().filter(({ event }) => event === 'stream_closed' || event === 'session_failed')).toEqual([])
  await first.close()
  await load(2n)
  const second = await begin()
  onTestFinished(() => second.close())
  await clock.advance(40_000)
  expect(second.status().replicas[0]).toMatchObject({ state: 'in_sync', lag: 0 })
  expect(
    second.log
      .events()
      .filter(({ event }) => event.startsWith('plan_'))
      .map(({ event }) => event),
  ).toEqual(['plan_catchup'])
  expect(second.log.events().some(({ event }) => event === 'session_failed')).toBe(false)
})
