// A replica that a base has brought further than the node that is promoted: the base of the new primary ends below the one before it, and that is where it is then.
import { expect, it } from 'vitest'

import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { replicaId } from '../../../bindings/ship/index.ts'
import { bootWorld } from '../replica/kit.ts'
import { Flow, until, WAYS } from './flow-kit.ts'

const [memory] = WAYS

it.each([
  ['is not', false],
  ['is', true],
])('B7 a rebuild at a lower base is shown and can be promoted while nothing is written; the replica %s killed at its switch', async (_, isKilled) => {
  const flow = await Flow.open(memory!.make(), new MemoryRoot({}), { inlineLimitBytes: 4096, segmentBytes: 64 * 1024 })
  const disk = new MemoryRoot({ loseUnsynced: 3 })
  await flow.replica('r1', disk)
  await flow.replica('r2', new MemoryRoot({}))
  await flow.write(30)
  await flow.ship()
  await flow.equal()
  const shared = flow.store.lsn
  await flow.shipping!.close()
  const r2 = flow.replicas.get('r2')!
  flow.replicas.delete('r2')

  // The log goes on and is trimmed, so that r1 gets a base, and dies before it is told that its version is committed.
  for (let i = 0; i < 2; i++) {
    await flow.write(250)
    await flow.bulk(500)
    await flow.store.flush()
    await flow.store.optimize()
  }
  await flow.store.vacuum({ keep: { versions: 1 } })
  await flow.store.flush()
  expect((await flow.store.stats()).log.floor).toBeGreaterThan(shared)
  const first = await killedAtSwitch(flow, disk)
  await flow.ship()
  const afterFirst = await first()
  await flow.crash()

  const heir = await flow.successor('', await r2.promote({ acceptLossAbove: shared }))
  heir.replicas.clear()
  const r1 = await heir.replica('r1', afterFirst, { world: bootWorld() })
  const { durable } = r1.status()
  expect(durable).toBeGreaterThan(heir.store.lsn)
  let root = afterFirst
  if (isKilled) {
    await r1.close()
    const second = await killedAtSwitch(heir, root)
    await heir.ship()
    root = await second()
    await heir.shipping!.close()
    await heir.replica('r1', root, { world: bootWorld() })
  }
  await heir.ship()
  const replica = heir.replicas.get('r1')!
  await heir.shipping!.settled({ replicas: 1, signal: AbortSignal.timeout(30_000) })
  await until(() => replica.store.lsn === heir.store.lsn)
  expect(replica.status()).toMatchObject({ durable: heir.store.lsn, generation: 2 })
  expect(heir.store.lsn).toBeLessThan(durable)
  const rows = await heir.rows(heir.store)
  expect(await heir.rows(replica.store)).toEqual(rows)
  const rebuilt = heir.shipping!.log.eventsFor(replicaId('r1')).filter(({ event }) => event === 'exec_rebuild_completed')
  expect(rebuilt).toHaveLength(isKilled ? 0 : 1)
  const { lsn } = heir.store
  await heir.crash()
  const promoted = await replica.promote({ acceptLossAbove: lsn })
  expect(await heir.rows(promoted)).toEqual(rows)
  expect(await promoted.verify({ level: 'all' })).toMatchObject({ ok: true })
  await promoted.close()
})

/** r1, opened anew on `disk`, dies at the switch to the next base. @returns what is on its disk then */
async function killedAtSwitch(flow: Flow, disk: MemoryRoot): Promise<() => Promise<MemoryRoot>> {
  const failpoints = new FailpointRegistry()
  await flow.replicas.get('r1')?.close()
  await flow.replica('r1', disk, { world: bootWorld(failpoints) })
  failpoints.arm(FP.ship.afterSwitch, { crash: true })
  return async () => {
    await failpoints.crashed
    const left = disk.crash()
    flow.net.network!.crash('r1')
    flow.replicas.delete('r1')
    return left
  }
}
