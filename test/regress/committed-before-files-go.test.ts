// What NODE calls committed is what an open shows first. A vacuum once let files go before NODE knew of the version that no longer needs them: after a power cut the
// store, or a replica, came back at an older version whose files were gone.

import { describe, expect, it } from 'vitest'

import { type NodeState, readNode } from '../../bindings/log/index.ts'
import { defaultWorld } from '../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../bindings/ship/index.ts'
import { items, MemoryRoot, primaryOn, RawSender, replicaOn } from '../ship/replica/kit.ts'

/** Notes what NODE said when files went, as a power cut in that moment would leave it. */
class WatchedRoot extends MemoryRoot {
  readonly said: (NodeState | undefined)[] = []

  override async delete(names: string | readonly string[], o?: { sync?: boolean }): Promise<void> {
    if ([names].flat().some((name) => name.startsWith('fragments/'))) this.said.push(await readNode(this))
    return super.delete(names, o)
  }
}

const rows = (round: number): { id: number; name: string }[] => Array.from({ length: 300 }, (_, id) => ({ id, name: `round ${round}` }))

describe('C is durable before the files of a vacuum go', () => {
  it('on a primary', async () => {
    const root = new WatchedRoot({})
    const { store } = await primaryOn(root)
    await store.create(items)
    for (let round = 0; round < 4; round++) {
      await store.upsert(items, rows(round))
      await store.flush()
    }
    await store.optimize()
    const needed = Number(store.lsn)
    const { deleted } = await store.vacuum({ keep: { versions: 1 } })
    expect(deleted).toBeGreaterThan(0)
    expect(root.said.length).toBeGreaterThan(0)
    for (const node of root.said) expect(node?.committedLsn).toBeGreaterThanOrEqual(needed)
    await store.close()
  })

  it('on a replica', async () => {
    const root = new WatchedRoot({})
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await primary.store.create(items)
    const replica = await replicaOn(network, root)
    const sender = await RawSender.connect(network, replica, primary)
    await sender.hello()
    await sender.grant(0)
    const follow = async (): Promise<void> => {
      const head = Number(primary.store.lsn)
      await sender.entries(Number(replica.status().durable), head, { committedLsn: head, most: 20 })
      await sender.durable(head)
      await replica.store.refresh()
    }
    for (let round = 0; round < 4; round++) {
      await primary.store.upsert(items, rows(round))
      await primary.store.flush()
    }
    await follow()
    await primary.store.optimize()
    const needed = Number(primary.store.lsn)
    await primary.store.vacuum({ keep: { versions: 1 } })
    await follow()
    while (root.said.length === 0) await new Promise((resolve) => setImmediate(resolve))
    for (const node of root.said) expect(node?.committedLsn).toBeGreaterThanOrEqual(needed)
    await replica.close()
  })
})
