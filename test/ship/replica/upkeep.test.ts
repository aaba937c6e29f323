// What a replica does by itself: checkpoints that are those of its primary to the byte, files that its vacuums have doomed, and what is left behind a new base.
import { describe, expect, it } from 'vitest'

import type { Root } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { fill, filled, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, rewritten, rowsOf } from './kit.ts'

async function filesOf(root: Root, prefix: string): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list(prefix)) names.push(name)
  return names.toSorted()
}

const contentOf = async (root: Root): Promise<string[]> => [...(await filesOf(root, 'fragments/')), ...(await filesOf(root, 'indexes/'))]

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve))
}

/** Everything that is new at the primary, and nothing of it is still being worked on. */
async function follow(sender: RawSender, replica: Replica, primary: Primary): Promise<void> {
  const at = Number(replica.status().durable)
  const head = Number(primary.store.lsn)
  await sender.entries(at, head, { committedLsn: head, most: 20 })
  await sender.durable(head)
  await replica.store.refresh()
}

async function setUp(o: { readonly checkpointBytes?: number } = {}) {
  const { network, primary } = await filled(0)
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root, o)
  const sender = await RawSender.connect(network, replica, primary)
  await sender.hello()
  await sender.grant(0)
  return { network, primary, root, replica, sender }
}

it('writes checkpoints by the bytes that it has folded, equal to those of its primary at the same LSN to the byte', async () => {
  const { primary, root, replica, sender } = await setUp({ checkpointBytes: 4096 })
  const mine: Record<string, Uint8Array> = {}
  for (let round = 0; round < 12; round++) {
    await fill(primary.store, round * 100, round * 100 + 60)
    // The primary makes one at each flush.
    await primary.store.flush()
    for (const name of await filesOf(primary.root, 'checkpoints/')) mine[name] = (await primary.root.get(name)).bytes
    await follow(sender, replica, primary)
    await until(async () => (await filesOf(root, 'checkpoints/')).length > 0)
  }
  const theirs = await filesOf(root, 'checkpoints/')
  expect(theirs.length).toBeGreaterThan(3)
  const common = theirs.filter((name) => name in mine)
  expect(common.length).toBeGreaterThan(0)
  for (const name of common) expect((await root.get(name)).bytes).toEqual(mine[name])
  await replica.close()
})

it('starts from its own checkpoint after a restart', async () => {
  const { network, primary, root, replica, sender } = await setUp({ checkpointBytes: 4096 })
  await fill(primary.store, 0, 400)
  await follow(sender, replica, primary)
  await until(async () => (await filesOf(root, 'checkpoints/')).length > 0)
  await replica.close()
  const again = await replicaOn(network, root)
  expect(await rowsOf(again.store)).toEqual(await rowsOf(primary.store))
})

describe('a vacuum of the primary', () => {
  async function vacuumed() {
    const all = await setUp()
    const { primary, replica, sender } = all
    for (let round = 0; round < 4; round++) {
      await primary.store.upsert(
        items,
        Array.from({ length: 300 }, (_, id) => ({ id, name: `round ${round}` })),
      )
      await primary.store.flush()
    }
    await follow(sender, replica, primary)
    return all
  }

  it('takes its files on the replica too', async () => {
    const { primary, root, replica, sender } = await vacuumed()
    const before = await contentOf(root)
    expect(before).toEqual(await contentOf(primary.root))
    await primary.store.optimize()
    const { deleted } = await primary.store.vacuum({ keep: { versions: 1 } })
    expect(deleted).toBeGreaterThan(0)
    await follow(sender, replica, primary)
    const left = await contentOf(primary.root)
    await until(async () => (await contentOf(root)).length <= left.length)
    expect(await contentOf(root)).toEqual(left)
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
    expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
  })

  it('leaves what a reader of the replica shows until it is done', async () => {
    const { primary, root, replica, sender } = await vacuumed()
    const snapshot = await replica.store.snapshot()
    const rows = await rowsOf(replica.store)
    const before = await contentOf(root)
    await primary.store.optimize()
    await primary.store.vacuum({ keep: { versions: 1 } })
    await follow(sender, replica, primary)
    expect(await contentOf(root)).toEqual(expect.arrayContaining(before))
    expect((await snapshot.scan(items).toArray()).toSorted((a, b) => a.id - b.id)).toEqual(rows)
    await snapshot[Symbol.asyncDispose]()
    await fill(primary.store, 1000, 1001)
    await follow(sender, replica, primary)
    const left = await contentOf(primary.root)
    await until(async () => (await contentOf(root)).length <= left.length)
    expect(await contentOf(root)).toEqual(left)
  })
})

it('behind a new base, files that nothing names any more go with the log of before', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await rewritten(primary, 300)
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  const first = await RawSender.connect(network, replica, primary, { session: 1 })
  await first.catchUp(replica)
  await primary.store.optimize()
  await primary.store.vacuum({ keep: { versions: 1 } })
  await fill(primary.store, 500, 520)
  const sender = await RawSender.connect(network, replica, primary, { session: 2 })
  const manifest = await sender.rebuild()
  await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
  await until(async () => replica.status().lsn === BigInt(manifest.baseLsn))
  const left = manifest.files.map(({ name }) => name).filter((name) => !name.startsWith('checkpoints/'))
  await until(async () => (await contentOf(root)).length <= left.length && (await filesOf(root, 'log/')).length === 0)
  expect(await contentOf(root)).toEqual(left.toSorted())
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
})
