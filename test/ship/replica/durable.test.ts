// What must be on a replica's disk before something else may happen there, and what it says when its disk takes nothing more.
import { expect, it } from 'vitest'

import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { abandon, bootWorld, filled, MemoryRoot, primaryOn, RawSender, replicaOn, rewritten, rowsOf, turns } from './kit.ts'

it('files that a vacuum has doomed go behind the committed boundary: a power cut right behind them finds a state that does without', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await rewritten(primary, 200)
  const before = Number(primary.store.lsn)
  const root = new MemoryRoot({ loseUnsynced: 1 })
  // The mark of C is written some time later: that time does not come.
  const clock = new FakeClock()
  const replica = await replicaOn(network, root, { world: { ...bootWorld(), clock: clock.clock, timers: clock.timers } })
  const from = await RawSender.connect(network, replica, primary)
  await from.hello()
  await from.grant(0, { committedLsn: before })
  await from.entries(0, before, { committedLsn: before })
  await from.durable(before)
  while (Number(replica.status().lsn) < before) await turns(1)
  const files: string[] = []
  for await (const { name } of root.list('fragments/')) files.push(name)
  await primary.store.optimize()
  expect((await primary.store.vacuum({ keep: { versions: 1 } })).deleted).toBeGreaterThan(0)
  const head = Number(primary.store.lsn)
  await from.entries(before, head, { committedLsn: before })
  await from.durable(head)
  await from.send({ type: 'heartbeat', committedLsn: head, durableLsn: head })
  const isGone = async (): Promise<boolean> => (await Promise.all(files.map((name) => root.exists(name)))).includes(false)
  while (!(await isGone())) await turns(1)
  const cut = root.crash()
  network.crash('r1')
  abandon(replica)
  const again = await replicaOn(network, cut, { endpoint: { data: 'again', version: 1 } })
  expect(again.status()).toMatchObject({ committed: BigInt(head), lsn: BigInt(head) })
  expect(await rowsOf(again.store)).toEqual(await rowsOf(primary.store))
  expect(await again.store.verify()).toMatchObject({ ok: true, problems: [] })
})

it('K3 a log that takes nothing more says so: nothing is acknowledged, status() has the failure, and a new open goes on', async () => {
  const failpoints = new FailpointRegistry()
  const { network, primary } = await filled(60)
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root, { world: bootWorld(failpoints) })
  const from = await RawSender.connect(network, replica, primary)
  await from.hello()
  await from.grant(0)
  await from.entries(0, 20)
  await from.durable(20)
  from.heard.length = 0
  let told = 0
  replica.on('failed', ({ failure }) => void (failure !== undefined && told++))
  using _armed = failpoints.arm(FP.log.beforeSync, { error: 'io', times: 1 })
  await from.entries(20, 40)
  expect((await from.refusal()).name).toMatch(/PoisonedError|TransportError/)
  expect(from.heard.filter((message) => message.type === 'ack' && message.durableLsn > 20)).toEqual([])
  expect(replica.status().failure).toMatchObject({ name: 'PoisonedError' })
  expect(told).toBe(1)
  await replica.close().catch(() => undefined)
  const again = await replicaOn(network, root, { endpoint: { data: 'again', version: 1 } })
  expect(Number(again.status().durable)).toBeGreaterThanOrEqual(20)
  await (await RawSender.connect(network, again, primary, { session: 2 })).catchUp(again)
  expect(await rowsOf(again.store)).toEqual(await rowsOf(primary.store))
})
