// What a replica believes (shipping.md sections 8, 11): nothing that lies there under the right name, and nothing that a manifest merely says.
import { expect, it } from 'vitest'

import { sha256 } from '../../../bindings/kernels/index.ts'
import { checkpointName } from '../../../bindings/catalog/index.ts'
import type { Root } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { baseOf, fill, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, rowsOf, tempDirectory } from './kit.ts'

const PLACES = [
  ['memory', () => new MemoryRoot({})],
  ['directory', () => tempDirectory()],
] as const

/** Rows that make a file of several pieces. */
async function large(): Promise<{ primary: Primary; head: number }> {
  const primary = await primaryOn()
  await primary.store.create(items)
  await primary.store.append(
    items,
    Array.from({ length: 20_000 }, (_, id) => ({ id, name: `a name that does not repeat ${id * 7919}` })),
  )
  await primary.store.flush()
  return { primary, head: Number(primary.store.lsn) }
}

async function names(root: Root): Promise<string[]> {
  const found: string[] = []
  for await (const { name } of root.list('fragments/')) found.push(name)
  return found
}

it('a file of the right name and length but other bytes is not believed: it is asked for and replaced', async () => {
  const { primary, head } = await large()
  const root = new MemoryRoot({})
  const network = new MemoryNetwork(defaultWorld())
  const replica = await replicaOn(network, root)
  await (await RawSender.connect(network, replica, primary, { session: 1 })).hello()
  for (const name of await names(primary.root)) {
    const { bytes } = await primary.root.get(name)
    await root.put(name, bytes.with(bytes.length - 9, bytes.at(-9)! ^ 1))
  }
  const from = await RawSender.connect(network, replica, primary, { session: 2 })
  await from.catchUp(replica)
  expect(from.files).toEqual(expect.arrayContaining(await names(primary.root)))
  expect(replica.status().durable).toBe(BigInt(head))
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
  expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
})

it('K4 the link breaks between any two records: what a later one publishes of an earlier one is asked for', async () => {
  const { primary } = await large()
  const write = await primary.store.stage()
  await write.append(
    items,
    Array.from({ length: 500 }, (_, id) => ({ id: 50_000 + id, name: `staged ${id}` })),
  )
  await write.seal()
  const sealed = Number(primary.store.lsn)
  await fill(primary.store, 60_000, 60_003)
  await write.publish()
  const head = Number(primary.store.lsn)
  expect(head).toBeGreaterThan(sealed + 1)
  const network = new MemoryNetwork(defaultWorld())
  const expected = await rowsOf(primary.store)
  for (let at = 1; at < head; at++) {
    const root = new MemoryRoot({})
    const opened = await replicaOn(network, root)
    const first = await RawSender.connect(network, opened, primary, { session: 1 })
    await first.hello()
    await first.grant(0, { committedLsn: at })
    await first.entries(0, at, { committedLsn: at })
    await first.durable(at)
    while (opened.status().lsn < BigInt(at)) await new Promise((resolve) => setImmediate(resolve))
    let replica = opened
    if (at % 2 === 0) {
      await opened.close()
      replica = await replicaOn(network, root)
    }
    const second = await RawSender.connect(network, replica, primary, { session: 2 })
    await second.catchUp(replica)
    expect(await rowsOf(replica.store), `cut after ${at}`).toEqual(expected)
    expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
    await replica.close()
  }
})

it.each(PLACES)(
  'B8 one flipped byte in a file of many pieces: asked for again, and whole; three times: the link ends and the name is not taken (%s)',
  async (_, place) => {
    const { primary, head } = await large()
    const network = new MemoryNetwork(defaultWorld())
    const replica = await replicaOn(network, place())
    const flip = (bytes: Uint8Array): Uint8Array => bytes.with(bytes.length - 9, bytes.at(-9)! ^ 1)
    const never = await RawSender.connect(network, replica, primary, {
      session: 1,
      onFile: (name, bytes) => (name.startsWith('fragments/') ? flip(bytes) : bytes),
    })
    await never.hello()
    await never.grant(0)
    await never.entries(0, head)
    expect(await never.refusal()).toMatchObject({ name: 'FragmentHashError' })
    expect(Number(replica.status().durable)).toBeLessThan(head)
    let damaged = 0
    const once = await RawSender.connect(network, replica, primary, {
      session: 2,
      onFile: (name, bytes) => (name.startsWith('fragments/') && bytes.length > 100_000 && damaged++ === 0 ? flip(bytes) : bytes),
    })
    await once.catchUp(replica)
    expect(damaged).toBeGreaterThan(1)
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
    expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
  },
)

it('B9 a manifest whose checkpoint is that of another version is refused before the switch, and what was there stays', async () => {
  const primary = await primaryOn()
  await primary.store.create(items)
  await fill(primary.store, 0, 50)
  const older = await baseOf(primary)
  await fill(primary.store, 50, 100)
  const manifest = await baseOf(primary)
  expect(manifest.baseLsn).toBeGreaterThan(older.baseLsn)
  const network = new MemoryNetwork(defaultWorld())
  const replica = await replicaOn(network)
  const first = await RawSender.connect(network, replica, primary, { session: 1 })
  await first.hello()
  await first.grant(0, { committedLsn: 20 })
  await first.entries(0, 30, { committedLsn: 20 })
  await first.durable(30)
  await replica.store.refresh()
  const before = await rowsOf(replica.store)
  const { bytes } = await primary.root.get(older.checkpoint.name)
  const sender = await RawSender.connect(network, replica, primary, { session: 2, onFile: (name, own) => (name === manifest.checkpoint.name ? bytes : own) })
  await sender.hello({ kind: 'rebuild' })
  const wrong = { ...manifest, checkpoint: { name: checkpointName(manifest.baseLsn), hash: sha256(bytes), bytes: bytes.length } }
  await sender.transfer(wrong)
  await sender.install(wrong).catch(() => undefined)
  expect(await sender.refusal()).toMatchObject({ name: 'BoundaryMismatchError' })
  expect(replica.status()).toMatchObject({ generation: 0, durable: 30n, lsn: 20n })
  expect(await rowsOf(replica.store)).toEqual(before)
})

it('a grant that begins beyond what is there is refused', async () => {
  const primary = await primaryOn()
  await primary.store.create(items)
  await fill(primary.store, 0, 20)
  const network = new MemoryNetwork(defaultWorld())
  const replica = await replicaOn(network)
  const from = await RawSender.connect(network, replica, primary)
  await from.hello()
  await from.send({ type: 'grant', mode: 'catchup', start: 5, target: 10, committedLsn: 10, elideDead: false })
  expect(await from.refusal()).toMatchObject({ name: 'GapError', expected: 1n, got: 6n })
  expect(replica.status().committed).toBe(0n)
})
