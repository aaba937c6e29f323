// Files that are dead at the frozen target (shipping.md section 11, fragment gate): what needs them is given up for good before a record counts without them.
import { expect, it } from 'vitest'

import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { failure } from '../../unit/store/places.ts'
import { abandon, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, rowsOf } from './kit.ts'

/** A primary whose vacuum has taken the files of its first versions, while its log still has them. */
async function vacuumed(): Promise<{ network: MemoryNetwork; primary: Primary; head: number }> {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await primary.store.create(items)
  for (let round = 0; round < 3; round++) {
    await primary.store.upsert(
      items,
      Array.from({ length: 100 }, (_, id) => ({ id, name: `round ${round}` })),
    )
    await primary.store.flush()
  }
  await primary.store.optimize()
  expect((await primary.store.vacuum({ keep: { versions: 1 } })).deleted).toBeGreaterThan(0)
  return { network, primary, head: Number(primary.store.lsn) }
}

it('H12 what was skipped is history that is not there, also after a power cut right behind the acknowledgement', async () => {
  const { network, primary, head } = await vacuumed()
  const root = new MemoryRoot({ loseUnsynced: 1 })
  const replica = await replicaOn(network, root)
  const from = await RawSender.connect(network, replica, primary, { elides: true })
  await from.hello()
  await from.grant(0, { mode: 'catchup', target: head, elideDead: true, committedLsn: head })
  await from.entries(0, head, { committedLsn: head })
  await from.durable(head)
  const cut = root.crash()
  network.crash('r1')
  abandon(replica)
  const again = await replicaOn(network, cut, { endpoint: { data: 'again', version: 1 } })
  const next = await RawSender.connect(network, again, primary, { session: 2 })
  await next.hello()
  await next.grant(head, { committedLsn: head })
  await again.store.refresh()
  expect(await rowsOf(again.store)).toEqual(await rowsOf(primary.store))
  expect(await failure(() => again.store.snapshot(3))).toMatchObject({ name: 'HistoryUnavailableError', floor: BigInt(head) })
})

it('H12 files of records above the target are needed, whatever the sender calls them', async () => {
  const { network, primary, head } = await vacuumed()
  const replica = await replicaOn(network)
  const from = await RawSender.connect(network, replica, primary, { elides: true })
  await from.hello()
  await from.grant(0, { mode: 'catchup', target: 3, elideDead: true, committedLsn: head })
  await from.entries(0, head, { most: 1, committedLsn: head }).catch(() => undefined)
  expect(await from.refusal()).toMatchObject({ name: 'TransportError', message: expect.stringContaining('dead') })
  expect(Number(replica.status().durable)).toBeLessThan(head)
})
