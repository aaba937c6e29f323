// What a replica makes of words that contradict each other or come at a bad moment (shipping.md sections 8 and 11): manifests, records of a base, resent records,
// pieces of files, files that lie there already, links that fall silent or do not take what it says.
import { describe, expect, it } from 'vitest'

import { checkpointName } from '../../../bindings/catalog/index.ts'
import { encodeManifest } from '../../../bindings/format/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { type Link, type Manifest, manifestHash, MemoryNetwork, type Transport } from '../../../bindings/ship/index.ts'
import { BASE_KEPT_MS } from '../../../bindings/ship/host-base.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { baseOf, bootWorld, copyTo, fill, filled, items, MemoryRoot, primaryOn, RawSender, replicaOn, rowsOf, tempDirectory, turns } from './kit.ts'

describe('B9 a manifest that contradicts itself is refused before anything is done with it', () => {
  const other = new Uint8Array(32).fill(7)
  const CASES: readonly (readonly [string, (manifest: Manifest) => Manifest, string])[] = [
    ['it is of another store', (m) => ({ ...m, storeId: new Uint8Array(16).fill(9) }), 'StoreMismatchError'],
    [
      'a file has another hash than its name says',
      (m) => ({ ...m, files: m.files.map((file, i) => (i === 0 ? { ...file, hash: other } : file)) }),
      'ManifestHashError',
    ],
    [
      'its checkpoint is that of another version',
      (m) => ({ ...m, checkpoint: { ...m.checkpoint, name: checkpointName(m.baseLsn - 1) } }),
      'BoundaryMismatchError',
    ],
    [
      'a further checkpoint is not older than the base',
      (m) => ({ ...m, files: [{ ...m.checkpoint, name: checkpointName(m.baseLsn + 5) }, ...m.files] }),
      'BoundaryMismatchError',
    ],
    ['its log begins above its base', (m) => ({ ...m, logFrom: m.baseLsn + 1 }), 'ManifestHashError'],
    ['a file is none of a store', (m) => ({ ...m, files: [{ name: 'NODE', hash: other, bytes: 9 }, ...m.files] }), 'ManifestHashError'],
  ]
  it.each(CASES)('B9 %s', async (_, change, name) => {
    const { network, primary } = await filled(60)
    await primary.store.flush()
    await fill(primary.store, 60, 70)
    const root = new MemoryRoot({})
    const replica = await replicaOn(network, root)
    await (await RawSender.connect(network, replica, primary, { session: 1 })).catchUp(replica)
    const before = await rowsOf(replica.store)
    const manifest = change(await baseOf(primary))
    const sender = await RawSender.connect(network, replica, primary, { session: 2 })
    await sender.hello({ kind: 'rebuild' })
    await sender.send({ type: 'manifest', hash: manifestHash(manifest), bytes: encodeManifest(manifest) })
    expect(await sender.refusal()).toMatchObject({ name })
    expect(sender.heard.filter(({ type }) => type === 'want')).toEqual([])
    expect(await rowsOf(replica.store)).toEqual(before)
    expect((await RawSender.connect(network, replica, primary, { session: 3 }).then((next) => next.hello())).rebuildInProgress).toBeNull()
  })
})

it('B9 records above the base are none of it, and records of the log are not taken while a base is under way', async () => {
  const { network, primary } = await filled(60)
  const replica = await replicaOn(network)
  const manifest = await baseOf(primary)
  await fill(primary.store, 60, 80)
  const one = await RawSender.connect(network, replica, primary, { session: 1, serves: false })
  await one.hello({ kind: 'rebuild' })
  await one.manifest(manifest)
  await one.next('want')
  await one.send(await one.entriesOf(manifest.logFrom, manifest.baseLsn + 1, { base: true }))
  expect(await one.refusal()).toMatchObject({ name: 'GapError' })
  const two = await RawSender.connect(network, replica, primary, { session: 2, serves: false })
  await two.hello()
  await two.grant(0)
  await two.manifest(manifest)
  await two.next('want')
  await two.entries(0, 10)
  expect(await two.refusal()).toMatchObject({ name: 'NoSessionError' })
  expect(replica.status()).toMatchObject({ durable: 0n, generation: 0 })
})

it('B11 what came of a base is kept for a day, not longer', async () => {
  const { network, primary } = await filled(60)
  await primary.store.flush()
  const root = tempDirectory()
  const replica = await replicaOn(network, root)
  const cut = await RawSender.connect(network, replica, primary, { session: 1, serves: false })
  await cut.hello({ kind: 'rebuild' })
  await cut.manifest(await baseOf(primary))
  await cut.next('want')
  await cut.close()
  await replica.close()
  for (const [laterMs, isKept] of [
    [BASE_KEPT_MS - 60_000, true],
    [BASE_KEPT_MS + 60_000, false],
  ] as const) {
    const world = bootWorld()
    const later = { ...world, clock: { ...world.clock, nowMs: () => defaultWorld().clock.nowMs() + laterMs, monoMs: () => defaultWorld().clock.monoMs() } }
    const again = await replicaOn(network, root, { world: later, endpoint: { data: `later ${laterMs}`, version: 1 } })
    const next = await RawSender.connect(network, again, primary, { session: 2 })
    expect((await next.hello({ kind: 'rebuild' })).rebuildInProgress === null).toBe(!isKept)
    await next.close()
    await again.close()
  }
})

it('B7 files of the state before a base stay for as long as somebody reads that, and go behind it', async () => {
  const { network, primary } = await filled(60)
  await primary.store.flush()
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  const first = await RawSender.connect(network, replica, primary, { session: 1 })
  await first.catchUp(replica)
  const rows = await rowsOf(replica.store)
  const reader = await replica.store.snapshot()
  await primary.store.upsert(
    items,
    rows.map(({ id }) => ({ id, name: `again ${id}` })),
  )
  await primary.store.flush()
  await primary.store.optimize()
  expect((await primary.store.vacuum({ keep: { versions: 1 } })).deleted).toBeGreaterThan(0)
  const manifest = await baseOf(primary)
  const old: string[] = []
  for await (const { name } of root.list('fragments/')) if (!manifest.files.some((file) => file.name === name)) old.push(name)
  expect(old.length).toBeGreaterThan(0)
  const sender = await RawSender.connect(network, replica, primary, { session: 2 })
  await sender.hello({ kind: 'rebuild' })
  await sender.transfer(manifest)
  await sender.install(manifest)
  await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
  await replica.ready()
  await turns()
  for (const name of old) expect(await root.exists(name), name).toBe(true)
  expect((await reader.scan(items).toArray()).toSorted((x, y) => x.id - y.id)).toEqual(rows)
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
  await reader[Symbol.asyncDispose]()
  for (const name of old) while (await root.exists(name)) await turns(1)
  expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
})

it('a file that lay there before the base, and that a record on its way names, is not deleted behind the base', async () => {
  const { network, primary } = await filled(60)
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  const first = await RawSender.connect(network, replica, primary, { session: 1 })
  await first.catchUp(replica)
  // Of the state before somebody still reads: what is left of it is cleared away later.
  const reader = await replica.store.snapshot()
  const manifest = await baseOf(primary)
  await primary.store.flush()
  const head = Number(primary.store.lsn)
  const names: string[] = []
  for await (const { name } of primary.root.list('fragments/')) if (!manifest.files.some((file) => file.name === name)) names.push(name)
  expect(names.length).toBeGreaterThan(0)
  for (const name of names) await root.put(name, (await primary.root.get(name)).bytes)
  // Nothing names it, now or later.
  const stray = `fragments/00/${'00'.repeat(32)}.arrow`
  await root.put(stray, new Uint8Array(9))
  const sender = await RawSender.connect(network, replica, primary, { session: 2 })
  await sender.hello({ kind: 'rebuild' })
  await sender.transfer(manifest)
  await sender.install(manifest)
  const stream = await RawSender.connect(network, replica, primary, { session: 3, serves: false })
  await stream.hello()
  await stream.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
  await stream.entries(manifest.baseLsn, head, { committedLsn: manifest.baseLsn })
  // It was there, so it is not asked for; the record waits for another file, which is not.
  const want = await stream.next('want')
  expect(want.files.filter(({ name }) => names.includes(name))).toEqual([])
  expect(replica.status()).toMatchObject({ durable: BigInt(manifest.baseLsn), received: BigInt(head) })
  await reader[Symbol.asyncDispose]()
  while (await root.exists(stray)) await turns(1)
  for (const name of names) expect(await root.exists(name), name).toBe(true)
  for (const { name, hash } of want.files) {
    const { bytes } = await primary.root.get(name)
    await stream.send({ type: 'fragment', hash, offset: 0, total: bytes.length, dead: false, bytes })
  }
  await stream.durable(head)
  await stream.send({ type: 'heartbeat', committedLsn: head, durableLsn: head })
  while (Number(replica.status().lsn) < head) await turns(1)
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
  expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
})

it('K1 records that are sent again under another digest are refused, also when they are equal', async () => {
  const { network, primary } = await filled(40)
  const replica = await replicaOn(network)
  const wrong = new Uint8Array(32).fill(3)
  for (const [session, end] of [
    [1, 20],
    [2, 30],
  ] as const) {
    const from = await RawSender.connect(network, replica, primary, { session })
    await from.hello()
    await from.grant(Number(replica.status().durable))
    await from.entries(Number(replica.status().durable), 20)
    if (session === 1) await from.durable(20)
    await from.send({ ...(await from.entriesOf(5, end)), digest: wrong })
    expect(await from.refusal()).toMatchObject({ name: 'ChainDigestError' })
    expect(replica.status().durable).toBe(20n)
  }
})

it('K2 a link of the newest session itself may come again, and the one before it is over', async () => {
  const { network, primary } = await filled(40)
  const replica = await replicaOn(network)
  const first = await RawSender.connect(network, replica, primary, { session: 4 })
  await first.hello()
  await first.grant(0)
  await first.entries(0, 10)
  await first.durable(10)
  const again = await RawSender.connect(network, replica, primary, { session: 4 })
  expect(await again.hello()).toMatchObject({ durableLsn: 10 })
  expect(await first.refusal()).toMatchObject({ name: 'SessionFencedError' })
  await again.grant(10)
  await again.entries(10, 20)
  await again.durable(20)
})

it('B8 a file is asked for three times in all; a piece that states another length is one of them', async () => {
  const { network, primary } = await filled(60)
  await primary.store.flush()
  const head = Number(primary.store.lsn)
  const replica = await replicaOn(network)
  const from = await RawSender.connect(network, replica, primary, { serves: false })
  await from.hello()
  await from.grant(0)
  await from.entries(0, head)
  const file = (await from.next('want')).files[0]!
  const { bytes } = await primary.root.get(file.name)
  const piece = { type: 'fragment', hash: file.hash, offset: 0, total: bytes.length, dead: false } as const
  const asked = [file.name]
  for (const wrong of [
    { ...piece, bytes: bytes.with(50, bytes[50]! ^ 1) },
    { ...piece, total: bytes.length + 1, bytes },
  ]) {
    await from.send(wrong)
    asked.push(...(await from.next('want')).files.map(({ name }) => name))
  }
  await from.send({ ...piece, bytes: bytes.with(60, bytes[60]! ^ 1) })
  expect(await from.refusal()).toMatchObject({ name: 'FragmentHashError' })
  expect(from.heard.filter(({ type }) => type === 'want')).toEqual([])
  expect(asked).toEqual([file.name, file.name, file.name])
  expect(replica.status().durable).toBe(0n)
})

it('T8 what a reader was shown of records that were cut off is not what it is shown of those that took their place', async () => {
  const root = new MemoryRoot({})
  const agreed = await primaryOn(root)
  await agreed.store.create(items)
  await fill(agreed.store, 0, 20)
  await agreed.store.close()
  const other = new MemoryRoot({})
  for await (const { name } of root.list('')) if (!name.startsWith('LOCK')) await copyTo(root, other, name)
  const [old, fresh] = [await primaryOn(root), await primaryOn(other)]
  await fill(old.store, 1000, 1010)
  await fill(fresh.store, 2000, 2010)
  const head = Number(old.store.lsn)
  expect(Number(fresh.store.lsn)).toBe(head)
  const network = new MemoryNetwork(defaultWorld())
  const replica = await replicaOn(network)
  const first = await RawSender.connect(network, replica, old, { epoch: 1 })
  await first.catchUp(replica, { committed: 20 })
  while (replica.status().lsn < 20n) await turns(1)
  const shown = async (): Promise<number[]> => {
    await using all = await replica.store.snapshot(undefined, { readUncommitted: true })
    expect(all.lsn).toBe(BigInt(head))
    return (await all.scan(items).toArray()).map(({ id }) => id).filter((id) => id >= 1000)
  }
  expect(Math.max(...(await shown()))).toBe(1009)
  const next = await RawSender.connect(network, replica, fresh, { epoch: 3 })
  await next.hello()
  await next.send({ type: 'truncate', lsn: 20 })
  await next.next('truncated')
  await next.grant(20, { committedLsn: 20 })
  await next.entries(20, head, { committedLsn: 20 })
  await next.durable(head)
  expect(Math.min(...(await shown()))).toBe(2000)
  await next.send({ type: 'heartbeat', committedLsn: head, durableLsn: head })
  while (replica.status().lsn < BigInt(head)) await turns(1)
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(fresh.store))
})

it('N4 a primary that falls silent for three seconds is let go; one that is heard of is not', async () => {
  const clock = new FakeClock()
  const { network, primary } = await filled(40)
  const replica = await replicaOn(network, new MemoryRoot({}), { world: { ...bootWorld(), clock: clock.clock, timers: clock.timers } })
  const connecting = RawSender.connect(network, replica, primary)
  const from = await connecting
  await from.hello()
  await from.grant(0)
  for (let second = 0; second < 10; second++) {
    await from.send({ type: 'heartbeat', committedLsn: 0, durableLsn: 0 })
    await turns()
    await clock.advance(1000)
  }
  expect(replica.status().connected).toBe(true)
  await clock.advance(4000)
  await turns()
  expect(replica.status().connected).toBe(false)
  expect(await from.refusal()).toMatchObject({ name: 'TransportError' })
})

it('K3 what becomes durable while an acknowledgement is still going out is acknowledged behind it', async () => {
  const { network, primary, head } = await filled(40)
  const [out, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let acks = 0
  const slow = (link: Link): Link => {
    const { send } = link
    return Object.create(link, {
      frames: { get: () => link.frames },
      bufferedBytes: { get: () => link.bufferedBytes },
      close: { value: link.close.bind(link) },
      send: {
        value: async (frame: Parameters<Link['send']>[0]) => {
          await send.call(link, frame)
          if (frame.message.type !== 'ack' || ++acks > 1) return
          out.resolve()
          await held.promise
        },
      },
    }) as Link
  }
  const transport = (node: string): Transport => {
    const inner = network.transport(node)
    return { ...inner, listen: (host, endpoint) => inner.listen({ accept: (link) => host.accept(slow(link)) }, endpoint) }
  }
  const replica = await replicaOn({ transport }, new MemoryRoot({}))
  const from = await RawSender.connect(network, replica, primary)
  await from.hello()
  await from.grant(0)
  await from.entries(0, 10, { committedLsn: 0 })
  await out.promise
  await from.entries(10, head, { most: 5, committedLsn: 0 })
  while (Number(replica.status().durable) < head) await turns(1)
  expect(from.heard.filter(({ type }) => type === 'ack')).toHaveLength(1)
  held.resolve()
  await turns()
  expect(from.heard.flatMap((message) => (message.type === 'ack' ? [message.durableLsn] : [])).at(-1)).toBe(head)
})
