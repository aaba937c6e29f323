// Files that are dead at the frozen target (shipping.md section 11, fragment gate): a record counts without them, and what needs them is given up first.
import { describe, expect, it } from 'vitest'

import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { isNotFound } from '../../../bindings/root/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { failure } from '../../unit/store/places.ts'
import { abandon, bootWorld, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, rowsOf } from './kit.ts'

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
  const { deleted } = await primary.store.vacuum({ keep: { versions: 1 } })
  expect(deleted).toBeGreaterThan(0)
  return { network, primary, head: Number(primary.store.lsn) }
}

/** Answers every `want`, calling dead what is gone, until so much is durable or the link is over. @returns how many were dead */
async function serve(from: RawSender, { root }: Primary, upTo: number): Promise<number> {
  let dead = 0
  while (!from.ended) {
    const at = from.heard.findIndex(({ type }) => type === 'want' || type === 'ack')
    const [message] = at < 0 ? [] : from.heard.splice(at, 1)
    if (message?.type === 'ack' && message.durableLsn >= upTo) break
    for (const { name, hash, bytes: total } of message?.type === 'want' ? message.files : []) {
      const bytes = await root.get(name).then(
        (found) => found.bytes,
        (error: unknown) => {
          if (!isNotFound(error)) throw error
          return undefined
        },
      )
      if (bytes === undefined) dead++
      await from.send({ type: 'fragment', hash, offset: 0, total, dead: bytes === undefined, bytes: bytes ?? new Uint8Array() }).catch(() => undefined)
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  return dead
}

describe('files that are dead at the target', () => {
  it('H12 a catch-up goes on without them; versions below the target are history that is not there, also after a power cut right behind the acknowledgement', async () => {
    const { network, primary, head } = await vacuumed()
    const root = new MemoryRoot({ loseUnsynced: 1 })
    const replica = await replicaOn(network, root)
    const from = await RawSender.connect(network, replica, primary, { serves: false })
    await from.hello()
    await from.grant(0, { mode: 'catchup', target: head, elideDead: true, committedLsn: head })
    await from.entries(0, head, { committedLsn: head })
    expect(await serve(from, primary, head)).toBeGreaterThan(0)
    const cut = root.crash()
    network.crash('r1')
    abandon(replica)
    await from.close()
    const again = await replicaOn(network, cut, { endpoint: { data: 'again', version: 1 } })
    const next = await RawSender.connect(network, again, primary, { session: 2 })
    await next.hello()
    await next.send({ type: 'heartbeat', committedLsn: head, durableLsn: head })
    await next.grant(head, { committedLsn: head })
    await again.store.refresh()
    expect(await rowsOf(again.store)).toEqual(await rowsOf(primary.store))
    expect(await failure(() => again.store.snapshot(3))).toMatchObject({ name: 'HistoryUnavailableError', floor: BigInt(head) })
  })

  it.each([
    ['of a grant that wants every file', { elideDead: false }],
    ['of records above the target', { elideDead: true, target: 3 }],
  ])('%s are needed: the link ends, and no record counts without them', async (_, grant) => {
    const { network, primary, head } = await vacuumed()
    const replica = await replicaOn(network, new MemoryRoot({}), { world: bootWorld() })
    const from = await RawSender.connect(network, replica, primary, { serves: false })
    await from.hello()
    await from.grant(0, { mode: 'catchup', target: head, committedLsn: head, ...grant })
    await from.entries(0, head, { most: 1, committedLsn: head }).catch(() => undefined)
    await serve(from, primary, head)
    expect(await from.refusal()).toMatchObject({ name: 'TransportError', message: expect.stringContaining('dead') })
    expect(Number(replica.status().durable)).toBeLessThan(head)
  })
})
