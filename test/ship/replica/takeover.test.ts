// What is on its way when something else comes (shipping.md section 11): records behind a file that is missing, and what a link still does when a newer one is greeted.
import { expect, it } from 'vitest'

import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import type { Root } from '../../../bindings/root/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { FaultyRoot } from '../../../bindings/testing/index.ts'
import { bootWorld, fill, filled, items, MemoryRoot, primaryOn, RawSender, replicaOn, rowsOf, turns } from './kit.ts'

it('K4 records behind one whose file is missing wait with it, however many messages come', async () => {
  const { network, primary } = await filled(100)
  const before = Number(primary.store.lsn)
  await primary.store.flush()
  const flushed = Number(primary.store.lsn)
  await fill(primary.store, 100, 130)
  const head = Number(primary.store.lsn)
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  const from = await RawSender.connect(network, replica, primary, { serves: false })
  await from.hello()
  await from.grant(0, { committedLsn: head })
  await from.entries(0, before, { committedLsn: head })
  await from.durable(before)
  await from.entries(before, flushed, { committedLsn: head })
  const want = await from.next('want')
  await from.entries(flushed, head, { most: 5, committedLsn: head })
  await turns()
  expect(replica.status()).toMatchObject({ received: BigInt(head), durable: BigInt(before) })
  for (const { name, hash } of want.files) {
    expect(await root.exists(name)).toBe(false)
    const { bytes } = await primary.root.get(name)
    await from.send({ type: 'fragment', hash, offset: 0, total: bytes.length, dead: false, bytes })
  }
  await from.durable(head)
  await replica.store.refresh()
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
})

it('K3 what is sent again is acknowledged up to what is there, not beyond', async () => {
  const { network, primary } = await filled(40)
  const replica = await replicaOn(network)
  const first = await RawSender.connect(network, replica, primary, { session: 1 })
  await first.hello()
  await first.grant(0)
  await first.entries(0, 20)
  await first.durable(20)
  const second = await RawSender.connect(network, replica, primary, { session: 2 })
  await second.hello()
  await second.grant(20)
  await second.entries(0, 10)
  expect(await second.next('ack')).toMatchObject({ receivedLsn: 20, durableLsn: 20 })
  await second.entries(0, 20)
  expect(await second.next('ack')).toMatchObject({ receivedLsn: 20, durableLsn: 20 })
})

it('K2 a newer session is greeted when nothing of the one before is on its way to the log any more', async () => {
  const failpoints = new FailpointRegistry()
  const { network, primary } = await filled(40)
  const replica = await replicaOn(network, new MemoryRoot({}), { world: bootWorld(failpoints) })
  const first = await RawSender.connect(network, replica, primary, { epoch: 1 })
  await first.hello()
  await first.grant(0)
  await first.entries(0, 10)
  await first.durable(10)
  using parked = failpoints.arm(FP.ship.beforeApply, { park: true, times: 1 })
  await first.entries(10, 20)
  await parked.reached()
  const second = await RawSender.connect(network, replica, primary, { epoch: 2 })
  let greeted = false
  const greeting = second.hello().then((reply) => {
    greeted = true
    return reply
  })
  await turns()
  expect(greeted).toBe(false)
  parked.release()
  // It says where the log stands, and stands there until it is told to go on.
  const { durableLsn } = await greeting
  await turns()
  expect(replica.status().durable).toBe(BigInt(durableLsn))
})

it.each([
  ['a newer session', { epoch: 1, session: 2 }],
  ['a newer epoch', { epoch: 2, session: 1 }],
])('K2 %s that comes amid a truncation hears of the log behind it', async (_, fence) => {
  const failpoints = new FailpointRegistry()
  const { network, primary } = await filled(40)
  const replica = await replicaOn(network, new MemoryRoot({}), { world: bootWorld(failpoints) })
  const first = await RawSender.connect(network, replica, primary, { epoch: 1 })
  await first.hello()
  await first.grant(0)
  await first.entries(0, 20, { committedLsn: 5 })
  await first.durable(20)
  using parked = failpoints.arm(FP.ship.afterTruncateIntent, { park: true, times: 1 })
  await first.send({ type: 'truncate', lsn: 10 })
  await parked.reached()
  const second = await RawSender.connect(network, replica, primary, fence)
  const greeting = second.hello()
  await turns()
  parked.release()
  const { durableLsn } = await greeting
  expect(durableLsn).toBe(10)
  await second.grant(10)
  await second.entries(10, 30, { committedLsn: 30 })
  await second.durable(30)
  expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
})

it.each([
  ['a file', 200, 'put'],
  ['a file of many pieces', 20_000, 'putLarge'],
] as const)('%s that is being stored when the replica is closed is there or not, but not later', async (_, rows, method) => {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await primary.store.create(items)
  await fill(primary.store, 0, rows)
  await primary.store.flush()
  const root = new FaultyRoot(new MemoryRoot({}))
  const replica = await replicaOn(network, root as Root)
  const from = await RawSender.connect(network, replica, primary)
  await from.hello()
  await from.grant(0)
  const [asked, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  root.plan((call) => (call.method === method && call.name.startsWith('fragments/') ? { wait: () => (asked.resolve(), held.promise) } : undefined))
  await from.entries(0, Number(primary.store.lsn))
  await asked.promise
  // Whoever comes next is greeted meanwhile.
  await (await RawSender.connect(network, replica, primary, { session: 2 })).hello()
  let isClosed = false
  const closing = replica.close().then(() => (isClosed = true))
  await turns()
  expect(isClosed).toBe(false)
  root.plan(undefined)
  held.resolve()
  await closing
  const { length } = root.calls
  await turns()
  expect(root.calls.slice(length)).toEqual([])
})

it('K2 a second hello over one link is refused, and the replica answers on', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await primary.store.create(items)
  const replica = await replicaOn(network)
  for (const kind of ['catchup', 'fence'] as const) {
    const from = await RawSender.connect(network, replica, primary, { session: 1 })
    await from.hello()
    await from.hello({ kind }).catch(() => undefined)
    expect(await from.refusal()).toMatchObject({ name: 'SessionFencedError' })
  }
  const next = await RawSender.connect(network, replica, primary, { session: 2 })
  expect(await next.hello()).toMatchObject({ replicaId: 'r1' })
})
