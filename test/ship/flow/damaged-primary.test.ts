// A record or a file of the primary cannot be read any more, and a live stream is what comes to it: the stream fails each time that it is opened. Time is a fake clock's.
import { expect, it, onTestFinished } from 'vitest'

import { Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { MemoryNetwork, replicaId } from '../../../bindings/ship/index.ts'
import { Replica, ship, type Shipping } from '../../../bindings/store/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'
import { QUIET } from '../../unit/store/places.ts'
import { people } from './flow-kit.ts'

const row = (id: number): { id: bigint; name: string; group: number } => ({ id: BigInt(id), name: `name ${id}`, group: 0 })
const endpoint = { data: 'r1', version: 1 }

/** A primary whose replica lacks what is not committed, a record or a file of which is damaged. */
async function damaged(what: 'record' | 'file'): Promise<{ clock: FakeClock; shipping: Shipping }> {
  const clock = new FakeClock()
  const world = fakeWorld({ clock })
  const network = new MemoryNetwork(world)
  const root = new MemoryRoot({})
  const open = (): Promise<Store> => Store.open(root, { ...QUIET, world })
  const shipped = (store: Store): Promise<Shipping> =>
    ship(store, { replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary'), ack: 'all', allowIndeterminate: true })
  const replica = await Replica.open(new MemoryRoot({}), { replicaId: 'r1', endpoint, transport: network.transport('r1'), world })
  onTestFinished(() => replica.close())
  let store = await open()
  await store.create(people)
  const before = await shipped(store)
  await clock.advance(500)
  await store.append(people, [row(0)])
  await clock.advance(500)
  expect(before.status()).toMatchObject({ inSync: 1, replicas: [{ lag: 0 }] })
  network.partition('primary', 'r1')
  const write = (what === 'record' ? store.append(people, [row(1)]) : store.flush()).then(
    () => undefined,
    (error: unknown) => error,
  )
  await clock.advance(10_000)
  expect(await write).toMatchObject({ name: 'AckTimeoutError' })
  await before.close()
  await store.close()
  // What was written is not in memory.
  store = await open()
  await damage(root, what)
  network.heal()
  const shipping = await shipped(store)
  onTestFinished(() => shipping.close())
  return { clock, shipping }
}

async function damage(root: MemoryRoot, what: 'record' | 'file'): Promise<void> {
  for await (const { name, size } of root.list(what === 'record' ? 'log/' : 'fragments/')) {
    const { bytes } = await root.get(name)
    const at = what === 'record' ? Buffer.from(bytes).indexOf('name 1') : size >> 1
    if (at >= 0) root.corrupt(name, at, Uint8Array.of(bytes[at]! ^ 1))
  }
}

it.each([
  ['record', 'log.corrupt'],
  ['file', 'ship.fragment-hash'],
] as const)('a %s that is damaged here is tried again in pauses that double, and status() says why meanwhile', async (what, code) => {
  const { clock, shipping } = await damaged(what)
  const opened = (): number => shipping.log.eventsFor(replicaId('r1')).filter(({ event }) => event === 'stream_opened').length
  await clock.advance(10_000)
  // 100 + 200 + ... + 6400 ms, a fifth more or less.
  expect(opened()).toBeGreaterThanOrEqual(5)
  expect(opened()).toBeLessThanOrEqual(9)
  await clock.advance(30_000)
  expect(opened()).toBeLessThanOrEqual(13)
  const [r1] = shipping.status().replicas
  expect(r1).toMatchObject({ state: 'degraded', reason: 'stream_send_failed', lastError: { code } })
})
