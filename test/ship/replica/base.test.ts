// A new base on a replica (shipping.md section 8): transfer, resume, the switch, what readers see meanwhile, and a crash at every point of it.
import { describe, expect, it } from 'vitest'

import type { ReadStore } from '../../../bindings/index.ts'
import type { Root } from '../../../bindings/root/index.ts'
import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { type Manifest, MemoryNetwork } from '../../../bindings/ship/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { failure, opened, QUIET } from '../../unit/store/places.ts'
import { abandon, baseOf, bootWorld, fill, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, rewritten, rowsOf, tempDirectory } from './kit.ts'

const ROOTS = [
  ['memory', () => new MemoryRoot({})],
  ['directory', () => tempDirectory()],
] as const

/** Rows in files and rows in the log. */
async function worked(primary: Primary, from: number, rounds = 3): Promise<void> {
  const { store } = primary
  if ((await store.tables()).length === 0) await store.create(items)
  for (let round = 0; round < rounds; round++) {
    await fill(store, from + round * 100, from + round * 100 + 80)
    await store.flush()
  }
  await store.delete(items, from + 3)
  await fill(store, from + 900, from + 920)
}

async function equal(replica: Replica, primary: Primary): Promise<void> {
  await replica.store.refresh()
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
  expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
}

/** The base of the primary as it is now, and the stream behind it. */
async function rebuilt(network: MemoryNetwork, replica: Replica, primary: Primary, session: number): Promise<RawSender> {
  const sender = await RawSender.connect(network, replica, primary, { session })
  const manifest = await sender.rebuild()
  await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
  await replica.ready()
  return sender
}

describe.each(ROOTS)('a base on a %s root', (_name, place) => {
  it('B12 an empty replica gets every file, one that has most of them the others, and the second rebuild none', async () => {
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await worked(primary, 0)
    const replica = await replicaOn(network, place())
    const first = await RawSender.connect(network, replica, primary, { session: 1 })
    await first.hello({ kind: 'rebuild' })
    const manifest = await baseOf(primary)
    const asked = await first.transfer(manifest)
    expect(asked.toSorted()).toEqual([manifest.checkpoint, ...manifest.files].map(({ name }) => name).toSorted())
    await first.install(manifest)
    await first.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
    await replica.ready()
    await equal(replica, primary)
    expect(replica.status()).toMatchObject({ generation: 1, durable: BigInt(manifest.baseLsn), lsn: BigInt(manifest.baseLsn) })
    const second = await RawSender.connect(network, replica, primary, { session: 2 })
    await second.hello({ kind: 'rebuild' })
    expect((await second.transfer(manifest)).filter((name) => !name.startsWith('checkpoints/'))).toEqual([])
    await second.install(manifest)
    expect(replica.status()).toMatchObject({ generation: 2 })
    await fill(primary.store, 2000, 2010)
    await primary.store.flush()
    const head = Number(primary.store.lsn)
    await second.grant(manifest.baseLsn, { committedLsn: head })
    await second.entries(manifest.baseLsn, head, { committedLsn: head })
    await second.durable(head)
    await equal(replica, primary)
    await replica.close()
  })

  it('B7 what was there above the base is gone after the install, and the replica goes on from it', async () => {
    const network = new MemoryNetwork(defaultWorld())
    const stale = await primaryOn()
    await worked(stale, 5000, 4)
    const root = place()
    const primary = await sameStore(stale)
    await worked(primary, 0, 1)
    const replica = await replicaOn(network, root)
    const before = await RawSender.connect(network, replica, stale, { session: 1 })
    await before.catchUp(replica, { committed: 5 })
    expect(Number(replica.status().durable)).toBeGreaterThan(Number(primary.store.lsn))
    const sender = await rebuilt(network, replica, primary, 2)
    expect(replica.status().durable).toBe(primary.store.lsn)
    await equal(replica, primary)
    await fill(primary.store, 3000, 3005)
    const head = Number(primary.store.lsn)
    await sender.entries(head - 5, head)
    await sender.durable(head)
    await equal(replica, primary)
    await replica.close()
    const again = await replicaOn(network, root, { endpoint: { data: 'again', version: 1 } })
    expect(again.status()).toMatchObject({ generation: 1, durable: BigInt(head), lsn: BigInt(head) })
    await equal(again, primary)
  })

  it('readers go on while a base is installed; a snapshot of before stays readable, a feed is told', async () => {
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await worked(primary, 0)
    const replica = await replicaOn(network, place())
    const first = await RawSender.connect(network, replica, primary, { session: 1 })
    const head = await first.catchUp(replica)
    const before = await rowsOf(replica.store)
    const snapshot = await replica.store.snapshot()
    const feed = failure(async () => {
      for await (const _commit of replica.store.changes({ tables: [items] }));
    })
    await worked(primary, 10_000)
    const waited = replica.store.waitCommitted(primary.store.lsn)
    const sender = await RawSender.connect(network, replica, primary, { session: 2 })
    await sender.hello({ kind: 'rebuild' })
    const manifest = await baseOf(primary)
    await sender.transfer(manifest)
    expect(await rowsOf(replica.store)).toEqual(before)
    await sender.install(manifest)
    await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
    while (Number(replica.status().lsn) < manifest.baseLsn) await new Promise((resolve) => setImmediate(resolve))
    expect((await feed).name).toBe('HistoryUnavailableError')
    await waited
    await equal(replica, primary)
    expect((await snapshot.scan(items).toArray()).toSorted((a, b) => a.id - b.id)).toEqual(before)
    expect(snapshot.lsn).toBe(BigInt(head))
    await snapshot[Symbol.asyncDispose]()
  })
})

describe('B7 a second base before the version of the first is committed leaves readers where they are', () => {
  it.each([
    ['it is installed', undefined],
    ['its install fails', 'io'],
  ] as const)('%s', async (_, error) => {
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await worked(primary, 0)
    const root = new MemoryRoot({})
    const failpoints = new FailpointRegistry()
    const replica = await replicaOn(network, root, { world: bootWorld(failpoints) })
    const head = await (await RawSender.connect(network, replica, primary, { session: 1 })).catchUp(replica)
    const before = await rowsOf(replica.store)
    const stay = async (): Promise<void> => {
      await using snapshot = await replica.store.snapshot()
      expect(snapshot.lsn).toBe(BigInt(head))
      expect((await snapshot.scan(items).toArray()).toSorted((a, b) => a.id - b.id)).toEqual(before)
    }
    for (const session of [2, 3]) {
      await worked(primary, session * 5000, 1)
      const sender = await RawSender.connect(network, replica, primary, { session })
      await sender.hello({ kind: 'rebuild' })
      const manifest = await baseOf(primary)
      await sender.transfer(manifest)
      if (session === 3 && error !== undefined) {
        failpoints.arm(FP.ship.installIntent, { error, times: 1 })
        await failure(() => sender.install(manifest))
      } else await sender.install(manifest)
      await stay()
    }
    expect(replica.status().generation).toBe(error === undefined ? 2 : 1)
    await rebuilt(network, replica, primary, 4)
    await equal(replica, primary)
  })
})

it('B7 a base that comes when nothing can be read yet is cleaned up behind as well, once it can be', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await worked(primary, 0)
  const root = new MemoryRoot({})
  let replica = await replicaOn(network, root)
  let last: Manifest | undefined
  await (await RawSender.connect(network, replica, primary, { session: 1 })).catchUp(replica)
  for (const session of [2, 3]) {
    await worked(primary, session * 5000, 1)
    await primary.store.optimize()
    const sender = await RawSender.connect(network, replica, primary, { session })
    await sender.hello({ kind: 'rebuild' })
    const manifest = (last = await baseOf(primary))
    await sender.transfer(manifest)
    await sender.install(manifest)
    if (session === 2) {
      await replica.close()
      replica = await replicaOn(network, root, { endpoint: { data: 'again', version: 1 } })
      expect(replica.status().lsn).toBe(0n)
    } else {
      await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
      await replica.ready()
    }
  }
  await equal(replica, primary)
  const names = async (which: RegExp): Promise<string[]> => (await namesIn(root)).filter((name) => which.test(name))
  await expect.poll(() => names(/^(fragments|indexes)\//), { timeout: 30_000 }).toEqual(last!.files.map(({ name }) => name).toSorted())
  expect(await names(/^bases\//)).toHaveLength(1)
})

describe('a base that is refused', () => {
  it.each([
    ['B9 a manifest that does not have its hash', 'ManifestHashError', { hash: new Uint8Array(32).fill(9) }],
    ['B9 a manifest of no sense', 'ManifestHashError', { bytes: new Uint8Array(100) }],
  ])('%s', async (_, name, damage) => {
    const { primary, sender, replica, before } = await following()
    await sender.manifest(await baseOf(primary), damage)
    expect(await sender.refusal()).toMatchObject({ name })
    expect(await rowsOf(replica.store)).toEqual(before)
    expect(replica.status().generation).toBe(0)
  })

  it('B9 an install of another manifest, or before everything is there', async () => {
    const { primary, sender, replica, before, network } = await following({ serves: false })
    const manifest = await baseOf(primary)
    await sender.manifest(manifest)
    await sender.next('want')
    await sender.send({ type: 'install', manifestHash: new Uint8Array(32) })
    expect(await sender.refusal()).toMatchObject({ name: 'ManifestHashError' })
    const next = await RawSender.connect(network, replica, primary, { session: 3, serves: false })
    await next.hello({ kind: 'rebuild' })
    await next.manifest(manifest)
    await next.next('want')
    await failure(() => next.install(manifest))
    expect(await next.refusal()).toMatchObject({ name: 'BaseIncompleteError' })
    expect(await rowsOf(replica.store)).toEqual(before)
  })

  it('B13 a base below what was called committed, whoever asks', async () => {
    const { primary, sender, replica, before } = await following()
    const manifest = await baseOf(primary)
    await sender.grant(0, { committedLsn: manifest.baseLsn + 1 })
    await sender.manifest(manifest)
    expect(await sender.refusal()).toMatchObject({ name: 'CommittedTruncationError' })
    expect(await rowsOf(replica.store)).toEqual(before)
    expect(replica.status().generation).toBe(0)
  })

  it('B6 what is committed on the primary while a base is on its way is no promise yet: the base is installed', async () => {
    const { primary, sender, replica } = await following()
    const manifest = await baseOf(primary)
    const above = manifest.baseLsn + 20
    await sender.send({ type: 'heartbeat', committedLsn: above, durableLsn: above })
    await sender.transfer(manifest)
    await sender.send({ type: 'heartbeat', committedLsn: above, durableLsn: above })
    expect(await sender.install(manifest)).toBe(manifest.baseLsn)
    await sender.send({ type: 'heartbeat', committedLsn: above, durableLsn: above })
    await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
    await equal(replica, primary)
    expect(replica.status()).toMatchObject({ generation: 1, committed: BigInt(manifest.baseLsn) })
    await fill(primary.store, 5000, 5020)
    await sender.entries(manifest.baseLsn, above, { committedLsn: manifest.baseLsn })
    await sender.durable(above)
    await sender.send({ type: 'heartbeat', committedLsn: above, durableLsn: above })
    while (replica.status().lsn < BigInt(above)) await new Promise((resolve) => setImmediate(resolve))
    await equal(replica, primary)
  })

  it('B8 a file that fails its hash three times ends the session, and what was there stays', async () => {
    const { primary, replica, before, network } = await following()
    const sender = await RawSender.connect(network, replica, primary, {
      session: 4,
      onFile: (name, bytes) => (name.startsWith('checkpoints/') ? bytes.with(40, bytes[40]! ^ 1) : bytes),
    })
    await sender.hello({ kind: 'rebuild' })
    await sender.manifest(await baseOf(primary))
    expect(await sender.refusal()).toMatchObject({ name: 'FragmentHashError' })
    expect(await rowsOf(replica.store)).toEqual(before)
    expect(await replica.store.verify()).toMatchObject({ ok: true })
  })
})

it('B11 a transfer that was cut off goes on with what is missing, also after a restart', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await worked(primary, 0, 6)
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  const manifest = await baseOf(primary)
  const cut = await RawSender.connect(network, replica, primary, { session: 1, serves: false })
  await cut.hello({ kind: 'rebuild' })
  await cut.manifest(manifest)
  const want = await cut.next('want')
  const half = want.files.filter(({ name }) => !name.startsWith('checkpoints/')).slice(0, 4)
  for (const { name, hash } of half) {
    const { bytes } = await primary.root.get(name)
    await cut.send({ type: 'fragment', hash, offset: 0, total: bytes.length, dead: false, bytes })
  }
  while (!(await Promise.all(half.map(({ name }) => root.exists(name)))).every(Boolean)) await new Promise((resolve) => setImmediate(resolve))
  await cut.close()
  await replica.close()
  const again = await replicaOn(network, root)
  const next = await RawSender.connect(network, again, primary, { session: 2 })
  expect((await next.hello({ kind: 'rebuild' })).rebuildInProgress).toHaveLength(32)
  const asked = await next.transfer(manifest)
  expect(asked).toHaveLength(want.files.length - half.length)
  await next.install(manifest)
  await next.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
  await again.ready()
  await equal(again, primary)
})

describe('B10 a crash of the replica', () => {
  const points = [FP.ship.beforeFragmentLink, FP.ship.installIntent, FP.ship.afterManifest, FP.ship.beforeSwitch, FP.ship.afterSwitch]
  it.each(points)('at %s leaves the old state or the new one, and the next session finishes', async (point) => {
    const network = new MemoryNetwork(defaultWorld())
    const stale = await primaryOn()
    await worked(stale, 5000, 2)
    const primary = await sameStore(stale)
    await worked(primary, 0, 3)
    const root = new MemoryRoot({ loseUnsynced: 11 })
    const failpoints = new FailpointRegistry()
    const replica = await replicaOn(network, root, { world: bootWorld(failpoints) })
    const before = await RawSender.connect(network, replica, stale, { session: 1 })
    await before.catchUp(replica, { committed: 20 })
    const held = replica.status().durable
    const sender = await RawSender.connect(network, replica, primary, { session: 2 })
    await sender.hello({ kind: 'rebuild' })
    const manifest = await baseOf(primary)
    failpoints.arm(point, { crash: true })
    void (async () => {
      await sender.transfer(manifest)
      await sender.install(manifest)
    })().catch(() => undefined)
    await failpoints.crashed
    abandon(replica)
    const left = root.crash()
    const again = await replicaOn(network, left, { endpoint: { data: 'again', version: 1 } })
    const { generation, durable } = again.status()
    expect([
      { generation: 0, durable: held },
      { generation: 1, durable: BigInt(manifest.baseLsn) },
    ]).toContainEqual({ generation, durable })
    if (generation === 0 && again.store.lsn > 0n) expect((await again.store.verify()).ok).toBe(true)
    await rebuilt(network, again, primary, 3)
    await equal(again, primary)
    expect(await strayNames(left)).toEqual([])
  })
})

async function following(o: { readonly serves?: boolean } = {}): Promise<{
  readonly network: MemoryNetwork
  readonly primary: Primary
  readonly replica: Replica
  readonly sender: RawSender
  readonly before: Awaited<ReturnType<typeof rowsOf>>
}> {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await worked(primary, 0)
  const replica = await replicaOn(network)
  const first = await RawSender.connect(network, replica, primary, { session: 1 })
  await first.catchUp(replica)
  const before = await rowsOf(replica.store)
  await worked(primary, 10_000)
  const sender = await RawSender.connect(network, replica, primary, { session: 2, ...o })
  await sender.hello({ kind: 'rebuild' })
  return { network, primary, replica, sender, before }
}

/** A store of the same id with a history of its own. */
async function sameStore(other: Primary): Promise<Primary> {
  const root = new MemoryRoot({})
  await root.put('VARVE', (await other.root.get('VARVE')).bytes)
  return await primaryOn(root)
}

/** What a crash may leave that nobody needs: notes of files are of use to the next base. */
async function strayNames(root: Root): Promise<string[]> {
  return (await namesIn(root)).filter((name) => /\.tmp$|^staging\/base\/(?!verified$)/.test(name))
}

async function namesIn(root: Root): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list('')) names.push(name)
  return names
}

it('K4 a file that is being deleted as one that nothing names is no file of the record that names it: it is asked for again', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await worked(primary, 0)
  const gate = Promise.withResolvers<void>()
  const reached = Promise.withResolvers<void>()
  class Gated extends MemoryRoot {
    gated = false
    override async delete(names: string | readonly string[], o?: { sync?: boolean }): Promise<void> {
      if (this.gated && [names].flat().some((name) => name.startsWith('fragments/'))) {
        reached.resolve()
        await gate.promise
      }
      await super.delete(names, o)
    }
  }
  const root = new Gated({})
  const replica = await replicaOn(network, root)
  const manifest = await baseOf(primary)
  await fill(primary.store, 3000, 3050)
  await primary.store.flush()
  const first = await RawSender.connect(network, replica, primary, { session: 1 })
  const head = await first.catchUp(replica, { committed: 5 })
  // The file of the flush is there, and the base does not know it.
  root.gated = true
  const sender = await RawSender.connect(network, replica, primary, { session: 2 })
  await sender.hello({ kind: 'rebuild' })
  await sender.transfer(manifest)
  await sender.install(manifest)
  await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
  await reached.promise
  await sender.entries(manifest.baseLsn, head, { committedLsn: head })
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve))
  gate.resolve()
  await sender.durable(head)
  while (replica.status().lsn < BigInt(head)) await new Promise((resolve) => setImmediate(resolve))
  await equal(replica, primary)
  expect(await replica.store.verify({ level: 'all' })).toMatchObject({ ok: true, problems: [] })
})

it.each(['a replica', 'a store that reads beside it', 'a store that is opened for writing'])(
  'without its NODE %s shows nothing below the base',
  async (what) => {
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await rewritten(primary, 100)
    // A tag that is older than the base: an older checkpoint comes with it, and the records behind that.
    await primary.store.tag('old')
    const tagged = Number(primary.store.lsn)
    await primary.store.upsert(items, { id: 1, name: 'newer' })
    await primary.store.flush()
    await primary.store.optimize()
    const root = new MemoryRoot({})
    const replica = await replicaOn(network, root)
    const sender = await rebuilt(network, replica, primary, 1)
    const floor = BigInt((await baseOf(primary)).baseLsn)
    expect(floor).toBeGreaterThan(BigInt(tagged + 1))
    await sender.close()
    await replica.close()
    await root.delete(['NODE'])
    let store: ReadStore
    if (what === 'a replica') {
      const again = await replicaOn(network, root, { endpoint: { data: 'again', version: 1 } })
      const next = await RawSender.connect(network, again, primary, { session: 2 })
      await next.hello()
      await next.grant(Number(floor), { committedLsn: Number(floor) })
      await again.ready()
      ;({ store } = again)
    } else store = await opened(root, what === 'a store that is opened for writing' ? QUIET : { ...QUIET, readOnly: true })
    for (const at of [tagged + 1, Number(floor) - 1]) {
      expect(await failure(() => store.snapshot(at)), `at ${at}`).toMatchObject({ name: 'HistoryUnavailableError', floor })
    }
    expect(await store.scan(items).count()).toBe(100)
  },
)
