// The epoch of a promotion, and a promotion that does not come to its end (shipping.md section 12).
import { expect, it, onTestFinished } from 'vitest'

import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { forcePromotion, MemoryNetwork, replicaId } from '../../../bindings/ship/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { FaultyRoot } from '../../../bindings/testing/faulty-root.ts'
import { failure, opened } from '../../unit/store/places.ts'
import { until } from '../flow/flow-kit.ts'
import { abandon, bootWorld, fill, filled, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn } from './kit.ts'

async function following(
  root: MemoryRoot,
  failpoints?: FailpointRegistry,
): Promise<{ network: MemoryNetwork; primary: Primary; replica: Replica; head: number }> {
  const { network, primary } = await filled(20)
  const replica = await replicaOn(network, root, { world: bootWorld(failpoints) })
  const from = await RawSender.connect(network, replica, primary)
  const head = await from.catchUp(replica)
  return { network, primary, replica, head }
}

it('is above that of a fence, by default and when another is asked for', async () => {
  const { primary, replica, head } = await following(new MemoryRoot({}))
  await replica.fence({ epoch: 7 })
  expect(await failure(() => replica.promote({ epoch: 6, acceptLossAbove: head }))).toMatchObject({ name: 'StaleEpochError', held: 7, seen: 6 })
  const store = await replica.promote({ acceptLossAbove: head })
  onTestFinished(() => store.close())
  expect(Number(store.epoch)).toBeGreaterThan(7)
  expect(store.id).toBe(primary.store.id)
  expect(await store.scan(items).count()).toBe(20)
})

it.each([
  ['a newer primary comes', { name: 'StaleEpochError', held: 9, seen: 5 }, (from: RawSender) => from.hello()],
  [
    'more is called committed than it has',
    { name: 'CommittedTruncationError' },
    async (from: RawSender, head: number) => {
      await from.hello()
      await from.grant(head, { committedLsn: head + 3 })
    },
  ],
])('is looked at again when nothing comes any more: meanwhile %s', async (_, refused, meanwhile) => {
  const failpoints = new FailpointRegistry()
  const root = new MemoryRoot({})
  const { network, primary, replica, head } = await following(root, failpoints)
  // So that it needs no `acceptLossAbove`.
  await primary.store.setAckMode('all', { force: true })
  const at = await (await RawSender.connect(network, replica, primary, { session: 2 })).catchUp(replica)
  expect(at).toBe(head + 1)
  const epoch = refused.name === 'StaleEpochError' ? 9 : 2
  failpoints.arm(FP.ship.promote, { times: 1, run: async () => meanwhile(await RawSender.connect(network, replica, primary, { epoch }), at) })
  expect(await failure(() => replica.promote({ epoch: 5 }))).toMatchObject(refused)
  expect(await failure(() => replica.promote({ epoch: 10 }))).toMatchObject({ name: 'ClosedError' })
  // It is a replica as before, and nothing holds it.
  const again = await replicaOn(network, root, { endpoint: { data: 'again', version: 1 } })
  expect(again.status()).toMatchObject({ role: 'replica', epoch, durable: BigInt(at) })
})

it('is refused by a replica that has failed; opened again it can be', async () => {
  const disk = new MemoryRoot({})
  const root = new FaultyRoot(disk)
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await primary.store.create(items)
  const replica = await replicaOn(network, root)
  const from = await RawSender.connect(network, replica, primary)
  const head = await from.catchUp(replica)
  await fill(primary.store, 0, 1)
  root.plan(({ method, name }) => (method === 'segment.datasync' && name.startsWith('log') ? { error: 'io' } : undefined))
  await from.entries(head, head + 1, { committedLsn: head })
  await from.refusal()
  const { failure: why } = replica.status()
  expect(why).toMatchObject({ name: 'PoisonedError' })
  const refused = await failure(() => replica.promote({ acceptLossAbove: 0 }))
  expect(refused).toMatchObject({ name: 'InvalidConfigError', message: expect.stringContaining('failed'), hint: expect.stringContaining('again') })
  expect(refused.cause).toBe(why)
  root.plan(undefined)
  await replica.close().catch(() => undefined)
  const again = await replicaOn(network, root, { endpoint: { data: 'again', version: 1 } })
  const store = await again.promote({ acceptLossAbove: 0 })
  onTestFinished(() => store.close())
  expect(await store.scan(items).count()).toBeLessThanOrEqual(1)
})

it('M5 says in the log what is given up', async () => {
  const { network, primary } = await filled(20)
  const heard: { readonly code: string }[] = []
  const replica = await replicaOn(network, new MemoryRoot({}), {
    world: { ...bootWorld(), logger: { log: (event: { readonly code: string }): void => void heard.push(event) } },
  })
  const head = await (await RawSender.connect(network, replica, primary)).catchUp(replica)
  const store = await replica.promote({ acceptLossAbove: head - 2 })
  onTestFinished(() => store.close())
  expect(heard.filter(({ code }) => code === 'ship.promoted')).toMatchObject([{ replicaId: 'r1', durable: head, committed: head, acceptLossAbove: head - 2 }])
  // In the log of shipping of what it has become, and in its audit for good.
  await using shipping = await store.ship({ replicas: [{ id: 'r9', endpoint: 'r9' }], transport: network.transport('heir') })
  const detail = `replica r1, epoch ${store.epoch}: kept up to LSN ${head}, ${head} was called committed; given up: what others have above ${head}`
  const fields = { epoch: Number(store.epoch), durable: head, committed: head, acceptLossAbove: head - 2, lostAbove: head, lostUpTo: undefined }
  expect(shipping.log.events()[0]).toMatchObject({ event: 'promoted', replicaId: 'r1', sessionId: null, detail, fields })
  const rows = []
  for await (const row of store.audit({ kinds: ['promotion'] })) rows.push(row)
  expect(rows).toMatchObject([{ by: 'varve:promotion', reason: detail, tables: [] }])
})

it('M5 a forced promotion is logged with the range that the records named, and is of the replica that it was asked for', async () => {
  const { network, replica, head } = await following(new MemoryRoot({}))
  const record = await replica.fence({ epoch: 3 })
  const other = { ...record, id: replicaId('r2'), readableLsn: head + 4 }
  const context = { storeId: record.storeId, epoch: 3, acceptLossAbove: head }
  const forced = forcePromotion([record, other], replica.replicaId, context)
  expect(await failure(() => replica.promote({ acceptLossAbove: head, forced: { ...forced, id: other.id } }))).toMatchObject({ name: 'InvalidConfigError' })
  const store = await replica.promote({ acceptLossAbove: head, forced })
  onTestFinished(() => store.close())
  await using shipping = await store.ship({ replicas: [{ id: 'r9', endpoint: 'r9' }], transport: network.transport('heir') })
  const [promoted] = shipping.log.events().filter(({ event }) => event === 'promoted')
  expect(promoted).toMatchObject({ detail: expect.stringContaining(`given up: ${head + 1}..${head + 4}`), fields: { lostAbove: head, lostUpTo: head + 4 } })
})

it('a primary whose replicas were fenced by a promotion that nobody won goes on at the epoch that the error names', async () => {
  const { network, primary, replica } = await following(new MemoryRoot({}))
  await replica.fence({ epoch: 9 })
  const targets = { replicas: [{ id: 'r1', endpoint: replica.endpoint.data }], transport: network.transport('primary') }
  const shipping = await primary.store.ship(targets)
  await until(() => shipping.status().fencedBy === 9)
  const refused = await failure(() => primary.store.append(items, { id: 99, name: 'late' }))
  expect(refused).toMatchObject({ name: 'FencedError', seen: 9n, hint: expect.stringContaining('{ epoch: 9 }') })
  await primary.store.close()
  await using again = await opened(primary.root, { epoch: 9 })
  expect(Number(again.epoch)).toBe(9)
  await using next = await again.ship(targets)
  await again.append(items, { id: 99, name: 'in time' })
  await next.settled({ signal: AbortSignal.timeout(10_000) })
  expect(replica.status().durable).toBe(again.lsn)
})

it('an epoch that is known to be used is not taken again, and readers claim none', async () => {
  const root = new MemoryRoot({})
  await (await opened(root, { epoch: 5 })).close()
  const store = await opened(root, { epoch: 2 })
  expect(Number(store.epoch)).toBe(6)
  await store.close()
  expect(await failure(() => opened(root, { epoch: 9, readOnly: true }))).toMatchObject({ name: 'InvalidConfigError', key: 'epoch' })
})

it('is the one that is asked for where that is the highest', async () => {
  const { replica, head } = await following(new MemoryRoot({}))
  const store = await replica.promote({ epoch: 12, acceptLossAbove: head })
  onTestFinished(() => store.close())
  expect(Number(store.epoch)).toBe(12)
})

it('a promotion that fails before it begins leaves a replica that can be promoted', async () => {
  const failpoints = new FailpointRegistry()
  const { network, primary, replica, head } = await following(new MemoryRoot({}), failpoints)
  failpoints.arm(FP.ship.promote, { error: 'io', times: 1 })
  expect(await failure(() => replica.promote({ acceptLossAbove: head }))).toMatchObject({ class: 'io' })
  await fill(primary.store, 20, 25)
  const next = await RawSender.connect(network, replica, primary, { session: 2 })
  const end = await next.catchUp(replica)
  const store = await replica.promote({ acceptLossAbove: end })
  onTestFinished(() => store.close())
  expect(await store.scan(items).count()).toBe(25)
})

it('a crash in a promotion leaves a replica that follows, or is promoted', async () => {
  const failpoints = new FailpointRegistry()
  const root = new MemoryRoot({ loseUnsynced: 3 })
  const { network, primary, replica, head } = await following(root, failpoints)
  failpoints.arm(FP.ship.promote, { crash: true })
  void replica.promote({ acceptLossAbove: head }).catch(() => undefined)
  await failpoints.crashed
  abandon(replica)
  const again = await replicaOn(network, root.crash(), { endpoint: { data: 'again', version: 1 } })
  expect(again.status()).toMatchObject({ role: 'replica', durable: BigInt(head) })
  await fill(primary.store, 20, 30)
  const next = await RawSender.connect(network, again, primary, { session: 2 })
  const end = await next.catchUp(again)
  const store = await again.promote({ acceptLossAbove: end })
  onTestFinished(() => store.close())
  expect(await store.scan(items).count()).toBe(30)
})
