// A replica's log is cut back to where its primary's agrees (shipping.md section 7), and what readers see stays the fold of what is left.
import { describe, expect, it, onTestFinished } from 'vitest'

import { Store } from '../../../bindings/index.ts'
import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import {
  abandon,
  baseOf,
  bootWorld,
  copyTo,
  fill,
  filled,
  items,
  MemoryRoot,
  type Primary,
  primaryOn,
  RawSender,
  replicaOn,
  rowsOf,
  tempDirectory,
} from './kit.ts'

/** Two primaries with one history up to `agreed`: what each does after it, the other does not know. */
async function split(agreed: number): Promise<readonly [Primary, Primary]> {
  const root = new MemoryRoot({})
  const first = await primaryOn(root)
  await first.store.create(items)
  await fill(first.store, 0, agreed - Number(first.store.lsn))
  await first.store.close()
  const other = new MemoryRoot({})
  for await (const { name } of root.list('')) if (!name.startsWith('LOCK')) await copyTo(root, other, name)
  const [a, b] = [await primaryOn(root), await primaryOn(other)]
  await fill(a.store, 10_000, 10_040)
  await fill(b.store, 20_000, 20_060)
  return [a, b]
}

async function namesOf(root: MemoryRoot, which: RegExp): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list('')) if (which.test(name)) names.push(name)
  return names
}

async function ahead(root: string | MemoryRoot, o: { readonly world?: ReturnType<typeof bootWorld> } = {}) {
  const [old, fresh] = await split(60)
  const network = new MemoryNetwork(defaultWorld())
  const replica = await replicaOn(network, root, o)
  const sender = await RawSender.connect(network, replica, old, { epoch: 1 })
  await sender.catchUp(replica, { committed: 60 })
  while (replica.status().lsn < 60n) await new Promise((resolve) => setImmediate(resolve))
  return { old, fresh, network, replica, head: Number(old.store.lsn) }
}

/** Once armed, the next look into a segment waits. */
class SlowOnce extends MemoryRoot {
  isArmed = false
  goOn!: () => void
  readonly #gate = new Promise<void>((resolve) => (this.goOn = resolve))
  #arrive!: () => void
  readonly arrived = new Promise<void>((resolve) => (this.#arrive = resolve))

  constructor() {
    super({})
  }

  override async segment(...args: Parameters<MemoryRoot['segment']>): ReturnType<MemoryRoot['segment']> {
    if (this.isArmed && 'open' in args[1] && args[1].open === 'read') {
      this.isArmed = false
      this.#arrive()
      await this.#gate
    }
    return await super.segment(...args)
  }
}

async function next(network: MemoryNetwork, replica: Replica, primary: Primary, session: number): Promise<RawSender> {
  const sender = await RawSender.connect(network, replica, primary, { epoch: 3, session })
  await sender.hello()
  return sender
}

async function follows(replica: Replica, sender: RawSender, primary: Primary): Promise<void> {
  const head = Number(primary.store.lsn)
  const at = await sender.grant(Number(replica.status().durable), { committedLsn: head })
  // Acknowledgements of what was cut off since.
  sender.heard.length = 0
  await sender.entries(at, head)
  await sender.durable(head)
  await replica.store.refresh()
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
  expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
}

describe.each([
  ['memory', () => new MemoryRoot({})],
  ['directory', () => tempDirectory()],
] as const)('truncation on a %s root', (_name, place) => {
  it('T2 cuts to the match point with its digest, and what the other primary has follows', async () => {
    const { fresh, network, replica } = await ahead(place())
    const before = await rowsOf(replica.store)
    const sender = await next(network, replica, fresh, 1)
    await sender.send({ type: 'truncate', lsn: 60 })
    const cut = await sender.next('truncated')
    await sender.send({ type: 'digestReq', lsn: 60 })
    expect(cut).toMatchObject({ lsn: 60, digest: (await sender.next('digestReply')).digest })
    expect(replica.status()).toMatchObject({ durable: 60n, received: 60n, lsn: 60n, committed: 60n })
    expect(await rowsOf(replica.store)).toEqual(before)
    await follows(replica, sender, fresh)
    await replica.close()
  })

  it('T2 what the other primary calls committed before the cut is no promise about records that are to be cut off', async () => {
    const { fresh, network, replica } = await ahead(place())
    const sender = await next(network, replica, fresh, 1)
    const head = Number(fresh.store.lsn)
    await sender.send({ type: 'heartbeat', committedLsn: head, durableLsn: head })
    await sender.send({ type: 'truncate', lsn: 60 })
    expect(await sender.next('truncated')).toMatchObject({ lsn: 60 })
    expect(replica.status()).toMatchObject({ durable: 60n, lsn: 60n, committed: 60n })
    await follows(replica, sender, fresh)
    await replica.close()
  })
})

it('T6 below what was called committed it is refused, and nothing is changed', async () => {
  const { fresh, network, replica, head } = await ahead(new MemoryRoot({}))
  const sender = await next(network, replica, fresh, 1)
  await sender.send({ type: 'truncate', lsn: 59 })
  expect(await sender.refusal()).toMatchObject({ name: 'CommittedTruncationError' })
  expect(replica.status()).toMatchObject({ durable: BigInt(head), lsn: 60n })
  expect(await replica.store.verify()).toMatchObject({ ok: true })
})

it('T7 a reader of what would go refuses it; when the reader is done it succeeds', async () => {
  const { fresh, network, replica, head } = await ahead(new MemoryRoot({}))
  const reader = await replica.store.snapshot(undefined, { readUncommitted: true })
  expect(reader.lsn).toBe(BigInt(head))
  const refused = await next(network, replica, fresh, 1)
  await refused.send({ type: 'truncate', lsn: 60 })
  expect(await refused.refusal()).toMatchObject({ name: 'SnapshotAboveTruncationError' })
  expect(replica.status().durable).toBe(BigInt(head))
  await reader[Symbol.asyncDispose]()
  const sender = await next(network, replica, fresh, 2)
  await sender.send({ type: 'truncate', lsn: 60 })
  await sender.next('truncated')
  await follows(replica, sender, fresh)
})

it('T8 who asks for uncommitted rows while they are cut off gets what stays, whether asked before the cut or in the midst of it', async () => {
  const failpoints = new FailpointRegistry()
  const root = new SlowOnce()
  const { fresh, network, replica, head } = await ahead(root, { world: bootWorld(failpoints) })
  const before = await rowsOf(replica.store)
  const arrivals: string[] = []
  failpoints.arm(FP.ship.afterCut, {
    times: 1,
    run: async () => {
      arrivals.push('cut')
      root.goOn()
      for (const snapshot of [early, replica.store.snapshot(undefined, { readUncommitted: true })]) {
        await using shown = await snapshot
        expect(shown.lsn).toBe(60n)
        expect((await shown.scan(items).toArray()).toSorted((a, b) => a.id - b.id)).toEqual(before)
        arrivals.push('shown')
      }
    },
  })
  const sender = await next(network, replica, fresh, 1)
  root.isArmed = true
  const early = replica.store.snapshot(undefined, { readUncommitted: true })
  await root.arrived
  expect(replica.status().durable).toBe(BigInt(head))
  await sender.send({ type: 'truncate', lsn: 60 })
  await sender.next('truncated')
  expect(arrivals).toEqual(['cut', 'shown', 'shown'])
  await follows(replica, sender, fresh)
})

it('T8 who asks for uncommitted rows while they are cut off, and others come in their place, gets what is there then', async () => {
  const root = new SlowOnce()
  const { fresh, network, replica, head } = await ahead(root)
  const sender = await next(network, replica, fresh, 1)
  root.isArmed = true
  const early = replica.store.snapshot(undefined, { readUncommitted: true })
  await root.arrived
  await sender.send({ type: 'truncate', lsn: 60 })
  await sender.next('truncated')
  const end = Number(fresh.store.lsn)
  expect(end).toBeGreaterThan(head)
  const at = await sender.grant(60, { committedLsn: 60 })
  await sender.entries(at, end, { committedLsn: 60 })
  await sender.durable(end)
  root.goOn()
  await using shown = await early
  expect(shown.lsn).toBe(BigInt(end))
  expect((await shown.scan(items).toArray()).toSorted((a, b) => a.id - b.id)).toEqual(await rowsOf(fresh.store))
  // It holds what it shows, and nothing else is left of it.
  expect(await replica.store.pins()).toMatchObject([{ lsn: BigInt(end), owner: 'reader' }])
})

it('T8 at the very head nothing happens; three times ahead and cut again the state is the fold each time', async () => {
  const { old, fresh, network, replica, head } = await ahead(new MemoryRoot({}))
  const same = await next(network, replica, fresh, 1)
  await same.send({ type: 'truncate', lsn: head })
  expect(await same.next('truncated')).toMatchObject({ lsn: head })
  expect(replica.status().durable).toBe(BigInt(head))
  for (let round = 0; round < 3; round++) {
    const to = round % 2 === 0 ? fresh : old
    const sender = await next(network, replica, to, 10 + round)
    await sender.send({ type: 'truncate', lsn: 60 })
    await sender.next('truncated')
    const end = Number(to.store.lsn)
    const at = await sender.grant(60, { committedLsn: 60 })
    await sender.entries(at, end, { committedLsn: 60 })
    await sender.durable(end)
    expect(replica.status()).toMatchObject({ durable: BigInt(end), lsn: 60n })
    await using all = await replica.store.snapshot(undefined, { readUncommitted: true })
    expect((await all.scan(items).toArray()).toSorted((a, b) => a.id - b.id)).toEqual(await rowsOf(to.store))
  }
})

it('T8 one that races records comes before or behind them, never between', async () => {
  const { old, network, replica, head } = await ahead(new MemoryRoot({}))
  await fill(old.store, 30_000, 30_100)
  const sender = await next(network, replica, old, 1)
  await sender.grant(head, { committedLsn: 60 })
  const messages = await Promise.all(Array.from({ length: 20 }, (_, i) => sender.entriesOf(head + i * 5, head + i * 5 + 5, { committedLsn: 60 })))
  await Promise.all([...messages.map((message) => sender.send(message)), sender.send({ type: 'truncate', lsn: 60 })])
  await sender.next('truncated')
  const { durable } = replica.status()
  expect(durable).toBe(60n)
  await follows(replica, sender, old)
})

it('a checkpoint of the history that was cut off is not what a replica begins with', async () => {
  const [old, fresh] = await split(60)
  await fill(old.store, 30_000, 30_060)
  const foreign = (await baseOf(fresh)).checkpoint
  const root = new MemoryRoot({})
  const network = new MemoryNetwork(defaultWorld())
  const replica = await replicaOn(network, root)
  const sender = await RawSender.connect(network, replica, old, { epoch: 1 })
  await sender.catchUp(replica)
  expect(replica.status().durable).toBeGreaterThan(fresh.store.lsn)
  await replica.close()
  for await (const { name } of root.list('checkpoints/')) await root.delete(name)
  await root.put(foreign.name, (await fresh.root.get(foreign.name)).bytes)
  const again = await replicaOn(network, root)
  expect(again.status().lsn).toBe(old.store.lsn)
  expect(await rowsOf(again.store)).toEqual(await rowsOf(old.store))
})

it('a former primary that was cut back shows what follows to readers beside it', async () => {
  const [old, fresh] = await split(60)
  await old.store.close()
  const network = new MemoryNetwork(defaultWorld())
  const replica = await replicaOn(network, old.root)
  const sender = await next(network, replica, fresh, 1)
  await sender.send({ type: 'truncate', lsn: 60 })
  await sender.next('truncated')
  await follows(replica, sender, fresh)
  const reader = await Store.open(old.root, { readOnly: true, follow: false })
  onTestFinished(() => reader.close())
  expect(reader.lsn).toBe(fresh.store.lsn)
  expect(await rowsOf(reader)).toEqual(await rowsOf(fresh.store))
})

describe('T9 a crash of the replica', () => {
  it.each([FP.ship.truncateIntent, FP.ship.afterTruncateIntent, FP.ship.afterCut, FP.ship.afterDropCheckpoints, FP.ship.afterRefold])(
    'at %s leaves the log before or behind the cut, and the next session finishes it',
    async (point) => {
      const root = new MemoryRoot({ loseUnsynced: 5 })
      const failpoints = new FailpointRegistry()
      const { fresh, network, replica, head } = await ahead(root, { world: bootWorld(failpoints) })
      const sender = await next(network, replica, fresh, 1)
      failpoints.arm(point, { crash: true })
      await sender.send({ type: 'truncate', lsn: 60 })
      await failpoints.crashed
      abandon(replica)
      const again = await replicaOn(network, root.crash(), { endpoint: { data: 'again', version: 1 } })
      expect([BigInt(head), 60n]).toContain(again.status().durable)
      const after = await next(network, again, fresh, 2)
      await after.send({ type: 'truncate', lsn: 60 })
      await after.next('truncated')
      await follows(again, after, fresh)
    },
  )
})

describe('K3 a crash of the replica', () => {
  it.each([FP.ship.beforeEpochPersist, FP.ship.afterEpochPersist, FP.ship.beforeApply, FP.ship.afterApply, FP.ship.beforeAck])(
    'at %s keeps all that was acknowledged, and a new session goes on',
    async (point) => {
      const root = new MemoryRoot({ loseUnsynced: 9 })
      const failpoints = new FailpointRegistry()
      const network = new MemoryNetwork(defaultWorld())
      const primary = await primaryOn()
      await primary.store.create(items)
      await fill(primary.store, 0, 200)
      const replica = await replicaOn(network, root, { world: bootWorld(failpoints) })
      const first = await RawSender.connect(network, replica, primary, { session: 1 })
      await first.hello()
      await first.grant(0)
      await first.entries(0, 50)
      const told = (await first.durable(50)).durableLsn
      failpoints.arm(point, { crash: true })
      void (async () => {
        const second = await RawSender.connect(network, replica, primary, { session: 2 })
        await second.hello()
        await second.grant(50)
        await second.entries(50, 200, { most: 10 })
      })().catch(() => undefined)
      await failpoints.crashed
      abandon(replica)
      const again = await replicaOn(network, root.crash(), { endpoint: { data: 'again', version: 1 } })
      expect(Number(again.status().durable)).toBeGreaterThanOrEqual(told)
      const sender = await next(network, again, primary, 3)
      await follows(again, sender, primary)
    },
  )
})

it('files that only cut records named go with them; what a kept record names stays, and what comes again is asked for again', async () => {
  const [old, fresh] = await split(60)
  const many = (from: number): { id: number; name: string }[] => Array.from({ length: 20_000 }, (_, i) => ({ id: from + i, name: `many ${from + i}` }))
  const network = new MemoryNetwork(defaultWorld())
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  // Of both histories.
  await old.store.append(items, many(100_000))
  await old.store.append(items, many(200_000))
  await fresh.store.append(items, many(200_000))
  const sender = await RawSender.connect(network, replica, old, { epoch: 1 })
  await sender.catchUp(replica, { committed: 60 })
  while (replica.status().lsn < 60n) await new Promise((resolve) => setImmediate(resolve))
  const files = (of: MemoryRoot): Promise<string[]> => namesOf(of, /^(fragments|indexes)\//)
  expect((await files(root)).length).toBeGreaterThan(2)
  const back = await next(network, replica, fresh, 1)
  await back.send({ type: 'truncate', lsn: 60 })
  await back.next('truncated')
  expect(await files(root)).toEqual([])
  await follows(replica, back, fresh)
  expect((await files(root)).length).toBeGreaterThan(0)
  expect(await files(root)).toEqual(await files(fresh.root as MemoryRoot))
})

it('a record that stays keeps its files, folded or not', async () => {
  const [old] = await split(60)
  const network = new MemoryNetwork(defaultWorld())
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  const many = Array.from({ length: 20_000 }, (_, i) => ({ id: 100_000 + i, name: `many ${i}` }))
  await old.store.append(items, many)
  const at = Number(old.store.lsn)
  await fill(old.store, 90_000, 90_010)
  const sender = await RawSender.connect(network, replica, old, { epoch: 1 })
  await sender.catchUp(replica, { committed: 60 })
  while (replica.status().lsn < 60n) await new Promise((resolve) => setImmediate(resolve))
  const again = await RawSender.connect(network, replica, old, { epoch: 1, session: 2 })
  await again.hello()
  await again.send({ type: 'truncate', lsn: at })
  await again.next('truncated')
  await follows(replica, again, old)
})

it('T8 a truncation behind a base whose version is not committed yet: readers stay until it is', async () => {
  const { network, primary } = await filled(60)
  const replica = await replicaOn(network)
  const first = await RawSender.connect(network, replica, primary, { epoch: 1 })
  const committed = await first.catchUp(replica)
  const before = await rowsOf(replica.store)
  await fill(primary.store, 100, 140)
  await primary.store.flush()
  const manifest = await baseOf(primary)
  // What readers have was folded of records that the log no longer holds.
  expect(manifest.logFrom).toBeGreaterThan(committed)
  const sender = await RawSender.connect(network, replica, primary, { epoch: 1, session: 2 })
  await sender.hello({ kind: 'rebuild' })
  await sender.transfer(manifest)
  await sender.install(manifest)
  await fill(primary.store, 200, 220)
  const head = Number(primary.store.lsn)
  await sender.grant(manifest.baseLsn, { committedLsn: committed })
  await sender.entries(manifest.baseLsn, head, { committedLsn: committed })
  await sender.durable(head)
  const back = await next(network, replica, primary, 3)
  for (const lsn of [head - 5, manifest.baseLsn]) {
    await back.send({ type: 'truncate', lsn })
    expect((await back.next('truncated')).lsn).toBe(lsn)
    expect(replica.status()).toMatchObject({ durable: BigInt(lsn), lsn: BigInt(committed) })
    expect(await rowsOf(replica.store)).toEqual(before)
  }
  // The checkpoint of the base lies there, above the log that is shown.
  expect(await replica.store.verify()).toMatchObject({ ok: true, problems: [] })
  await follows(replica, back, primary)
})

it('T8 files of what a truncation cut behind a base whose version is not committed yet go with what was before the base', async () => {
  const [old, fresh] = await split(60)
  const many = (from: number): { id: number; name: string }[] => Array.from({ length: 20_000 }, (_, i) => ({ id: from + i, name: `many ${from + i}` }))
  await old.store.append(items, many(100_000))
  await fresh.store.append(items, many(200_000))
  const network = new MemoryNetwork(defaultWorld())
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  const first = await RawSender.connect(network, replica, old, { epoch: 1 })
  await first.hello()
  await first.grant(0, { committedLsn: 30 })
  await first.entries(0, 30)
  await first.durable(30)
  while (replica.status().lsn < 30n) await new Promise((resolve) => setImmediate(resolve))
  const manifest = await baseOf(old, 60)
  expect(manifest.baseLsn).toBe(60)
  const sender = await RawSender.connect(network, replica, old, { epoch: 1, session: 2 })
  await sender.hello({ kind: 'rebuild' })
  await sender.transfer(manifest)
  await sender.install(manifest)
  const head = Number(old.store.lsn)
  await sender.grant(60, { committedLsn: 30 })
  await sender.entries(60, head, { committedLsn: 30 })
  await sender.durable(head)
  const back = await next(network, replica, fresh, 1)
  await back.send({ type: 'truncate', lsn: 60 })
  await back.next('truncated')
  await follows(replica, back, fresh)
  const files = (of: MemoryRoot): Promise<string[]> => namesOf(of, /^(fragments|indexes)\//)
  const wanted = await files(fresh.root as MemoryRoot)
  expect(wanted.length).toBeGreaterThan(0)
  await expect.poll(() => files(root), { timeout: 30_000 }).toEqual(wanted)
})

it('a folder that was empty is locked throughout the first contact', async () => {
  const primary = await primaryOn()
  await primary.store.create(items)
  const network = new MemoryNetwork(defaultWorld())
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  const locks = async (): Promise<[string, string][]> => {
    const found: [string, string][] = []
    for await (const { name } of root.list('')) if (name.startsWith('LOCK')) found.push([name, Buffer.from((await root.get(name)).bytes).toString('hex')])
    return found
  }
  const before = await locks()
  expect(before).toHaveLength(1)
  await (await RawSender.connect(network, replica, primary)).catchUp(replica)
  expect(await locks()).toEqual(before)
  expect(await rowsOf(replica.store)).toEqual([])
})
