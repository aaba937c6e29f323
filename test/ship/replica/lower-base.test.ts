// A base below the history floor of the log before it (shipping.md sections 8 and 11): what was left out, or not there, of that log is no matter of the new one.
import { expect, it } from 'vitest'

import { lsn } from '../../../bindings/index.ts'
import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { failure } from '../../unit/store/places.ts'
import { abandon, baseOf, bootWorld, fill, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, rewritten, rowsOf } from './kit.ts'

/** Raises the floor of a replica that was promised version 2 at most to the head of that primary. */
const RAISED = {
  'a catch-up that leaves files out': async (sender: RawSender, { store }: Primary) => {
    const head = Number(store.lsn)
    const { durableLsn } = await sender.hello()
    await sender.grant(durableLsn, { mode: 'catchup', target: head, elideDead: true, committedLsn: 2 })
    await sender.entries(durableLsn, head - 1, { most: 1, committedLsn: 2 })
    await sender.durable(head - 1)
  },
  'a base': async (sender: RawSender, primary: Primary) => {
    await sender.hello({ kind: 'rebuild' })
    const manifest = await baseOf(primary)
    await sender.transfer(manifest)
    await sender.install(manifest)
  },
}

it.each(
  Object.entries(RAISED).flatMap(([what, raise]) => [false, true].flatMap((isRead) => [false, true].map((isKilled) => ({ what, raise, isRead, isKilled })))),
)(
  'B7 behind $what, readers: $isRead, killed at the switch: $isKilled: it is shown and promoted with no further record',
  async ({ raise, isRead, isKilled }) => {
    const network = new MemoryNetwork(defaultWorld())
    const stale = await primaryOn()
    await rewritten(stale, 100)
    await stale.store.optimize()
    expect((await stale.store.vacuum({ keep: { versions: 1 } })).deleted).toBeGreaterThan(0)
    const other = new MemoryRoot({})
    await other.put('VARVE', (await stale.root.get('VARVE')).bytes)
    const primary = await primaryOn(other)
    await primary.store.create(items)
    await fill(primary.store, 0, 1)
    await primary.store.flush()
    const manifest = await baseOf(primary)
    const { baseLsn } = manifest
    expect(baseLsn).toBeLessThan(Number(stale.store.lsn) - 1)

    const root = new MemoryRoot({ loseUnsynced: 5 })
    const failpoints = new FailpointRegistry()
    let replica = await replicaOn(network, root, { world: bootWorld(failpoints) })
    let session = 1
    if (isRead) {
      const first = await RawSender.connect(network, replica, stale, { session: session++ })
      await first.hello()
      await first.grant(0, { committedLsn: 2 })
      await first.entries(0, 2)
      await first.durable(2)
      await replica.ready()
    }
    const before = await RawSender.connect(network, replica, stale, { session: session++, elides: true })
    await raise(before, stale)
    let sender = await RawSender.connect(network, replica, primary, { session: session++ })
    await sender.hello({ kind: 'rebuild' })
    if (isKilled) failpoints.arm(FP.ship.afterSwitch, { crash: true })
    const installed = sender.transfer(manifest).then(() => sender.install(manifest))
    if (isKilled) {
      installed.catch(() => undefined)
      await failpoints.crashed
      const left = root.crash()
      network.crash('r1')
      abandon(replica)
      replica = await replicaOn(network, left, { endpoint: { data: 'again', version: 1 } })
      sender = await RawSender.connect(network, replica, primary, { session })
      expect((await sender.hello()).durableLsn).toBe(baseLsn)
    } else await installed
    await sender.grant(baseLsn, { committedLsn: baseLsn })
    await replica.ready()
    await expect.poll(() => replica.store.lsn).toBe(BigInt(baseLsn))
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
    expect(await replica.store.verify({ against: primary.root, level: 'all' })).toMatchObject({ ok: true })
    expect(await failure(() => replica.store.snapshot(lsn(baseLsn - 1)))).toMatchObject({ name: 'HistoryUnavailableError', floor: BigInt(baseLsn) })
    const promoted = await replica.promote({ acceptLossAbove: baseLsn })
    expect(await rowsOf(promoted)).toEqual(await rowsOf(primary.store))
    await promoted.close()
  },
)
