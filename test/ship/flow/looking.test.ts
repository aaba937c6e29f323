// A replica that does not answer is looked for between the attempts; one that answers and fails is not. Time is a fake clock's.
import { expect, it, onTestFinished } from 'vitest'

import { Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { MemoryNetwork, replicaId, type Transport } from '../../../bindings/ship/index.ts'
import { ship, type Shipping } from '../../../bindings/store/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'
import { QUIET } from '../../unit/store/places.ts'
import { FakeReplica, type FakeOptions } from './fake-replica.ts'

const people = table('people', { id: t.int64() }, { key: ['id'] })
const endpoint = { data: 'r1', version: 1 }

interface Rig {
  readonly clock: FakeClock
  readonly network: MemoryNetwork
  readonly replica: FakeReplica
  readonly shipping: Shipping
  /** Of the primary, so far. */
  readonly connects: () => number
  readonly sessions: () => number
  readonly inSync: () => boolean
  /** Its process ends; nobody listens. */
  readonly lose: () => Promise<void>
  readonly listen: () => Promise<void>
}

async function rig(fake: FakeOptions = {}): Promise<Rig> {
  const clock = new FakeClock()
  const world = fakeWorld({ clock })
  const network = new MemoryNetwork(world)
  const store = await Store.open(new MemoryRoot({}), { ...QUIET, world })
  await store.create(people)
  const replica = new FakeReplica(fake)
  let connects = 0
  const inner = network.transport('primary')
  const transport: Transport = { listen: inner.listen, connect: (to, signal) => (connects++, inner.connect(to, signal)) }
  const listen = async (): Promise<void> => void (await network.transport('r1').listen(replica, endpoint))
  await listen()
  const shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: 'r1' }], transport })
  onTestFinished(() => shipping.close())
  await clock.advance(500)
  return {
    clock,
    network,
    replica,
    shipping,
    connects: () => connects,
    sessions: () => shipping.log.eventsFor(replicaId('r1')).filter(({ event }) => event === 'session_created').length,
    inSync: () => shipping.status().inSync === 1,
    listen,
    lose: async () => {
      network.crash('r1')
      network.cut('r1')
      await clock.advance(1)
    },
  }
}

it.each([100, 350, 1000, 1400, 3000, 8000])('who is back after %i ms is in sync within a look, and few sessions were begun', async (awayMs) => {
  const { clock, inSync, sessions, lose, listen } = await rig()
  expect(inSync()).toBe(true)
  const before = sessions()
  await lose()
  await clock.advance(awayMs)
  expect(inSync()).toBe(false)
  await listen()
  await clock.advance(160)
  expect(inSync()).toBe(true)
  // 100, 200, 400 ...: the looks between are no sessions.
  expect(sessions() - before).toBeLessThanOrEqual(2 + Math.log2(awayMs / 80 + 1))
})

it('after ten seconds of silence only the back-off asks', async () => {
  const { clock, connects, sessions, lose } = await rig()
  await lose()
  await clock.advance(11_000)
  const [asked, begun] = [connects(), sessions()]
  expect(asked - begun).toBeGreaterThan(50)
  await clock.advance(60_000)
  expect(connects() - asked).toBe(sessions() - begun)
  expect(sessions() - begun).toBeGreaterThanOrEqual(4)
})

it('K6 one that answers and fails is not looked for: its pauses double', async () => {
  let isBroken = false
  const { clock, network, connects, sessions, inSync } = await rig({
    answer: (message) => {
      if (isBroken && message.type === 'grant') throw new Error('it fails')
      return undefined
    },
  })
  expect(inSync()).toBe(true)
  const before = connects()
  isBroken = true
  network.cut('primary', 'r1')
  await clock.advance(10_000)
  // 100 + 200 + ... + 6400 ms, a fifth more or less.
  expect(connects() - before).toBeGreaterThanOrEqual(6)
  expect(connects() - before).toBeLessThanOrEqual(9)
  expect(connects()).toBe(sessions())
})

it('a shipping that closes during a look leaves nothing behind', async () => {
  const { clock, network, shipping, lose, listen } = await rig()
  await lose()
  // Connecting is held up: the look waits.
  await listen()
  network.partition('primary', 'r1')
  await clock.advance(2000)
  await shipping.close()
  network.heal()
  await clock.advance(0)
  expect(network.open).toEqual([])
})
