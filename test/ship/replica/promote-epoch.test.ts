// The epoch of a promotion, and a promotion that does not come to its end (shipping.md section 12).
import { expect, it, onTestFinished } from 'vitest'

import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { failure } from '../../unit/store/places.ts'
import { abandon, bootWorld, fill, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn } from './kit.ts'

async function following(
  root: MemoryRoot,
  failpoints?: FailpointRegistry,
): Promise<{ network: MemoryNetwork; primary: Primary; replica: Replica; head: number }> {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await primary.store.create(items)
  await fill(primary.store, 0, 20)
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

it('M5 says in the log what is given up', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await primary.store.create(items)
  await fill(primary.store, 0, 20)
  const heard: { readonly code: string }[] = []
  const replica = await replicaOn(network, new MemoryRoot({}), {
    world: { ...bootWorld(), logger: { log: (event: { readonly code: string }): void => void heard.push(event) } },
  })
  const head = await (await RawSender.connect(network, replica, primary)).catchUp(replica)
  const store = await replica.promote({ acceptLossAbove: head - 2 })
  onTestFinished(() => store.close())
  expect(heard.filter(({ code }) => code === 'ship.promoted')).toMatchObject([{ replicaId: 'r1', durable: head, committed: head, acceptLossAbove: head - 2 }])
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
