// Whether a node has everything that it ever confirmed (NODE, "whole"), which its record for candidates() carries: a disk that came back empty must not help to reach
// the count (M2b of shipping.md section 16). And what ends a base that was cut off.
import { describe, expect, it } from 'vitest'

import { readNode } from '../../../bindings/log/index.ts'
import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { candidates, forcePromotion, MemoryNetwork, type NodeRecord } from '../../../bindings/ship/index.ts'
import { observe } from '../../../bindings/shipping.ts'
import { type Replica, Store } from '../../../bindings/store/index.ts'
import { FaultyRoot } from '../../../bindings/testing/faulty-root.ts'
import { failure, opened, QUIET } from '../../unit/store/places.ts'
import { abandon, baseOf, bootWorld, fill, filled, items, MemoryRoot, type Primary, RawSender, replicaOn, turns } from './kit.ts'

type Network = MemoryNetwork

const cluster = (): Promise<{ readonly network: Network; readonly primary: Primary }> => filled(50)

function node(network: Network, name: string, root: MemoryRoot = new MemoryRoot({}), o: Parameters<typeof replicaOn>[2] = {}): Promise<Replica> {
  return replicaOn(network, root, { replicaId: name, endpoint: { data: name, version: 1 }, transport: network.transport(name), ...o })
}

/** A session of the primary: hello, a grant, and the records up to `upTo`. */
async function session(
  { network, primary }: { readonly network: Network; readonly primary: Primary },
  replica: Replica,
  o: { readonly epoch?: number; readonly session?: number; readonly mode?: 'catchup' | 'stream'; readonly upTo?: number } = {},
): Promise<RawSender> {
  const { mode = 'stream', upTo = Number(primary.store.lsn), ...fence } = o
  const sender = await RawSender.connect(network, replica, primary, fence)
  const { durableLsn } = await sender.hello({ replicaId: replica.replicaId })
  await sender.grant(durableLsn, { mode, target: mode === 'stream' ? 0 : upTo, committedLsn: 0 })
  if (durableLsn < upTo) {
    await sender.entries(durableLsn, upTo, { committedLsn: 0 })
    await sender.durable(upTo)
  }
  return sender
}

/** The primary is started again: the next epoch, or the one that is given. */
async function restarted(at: Awaited<ReturnType<typeof cluster>>, epoch?: number): Promise<Awaited<ReturnType<typeof cluster>>> {
  const { network, primary } = at
  await primary.store.close()
  const store = await opened(primary.root, { ...QUIET, ...(epoch === undefined ? {} : { epoch }) })
  return { network, primary: { ...primary, store } }
}

const isAmnesic = async ({ network }: { readonly network: Network }, name: string): Promise<boolean> =>
  (await observe(name, { transport: network.transport('somebody') })).isAmnesic

describe('M2b a disk that came back empty', () => {
  /** P and r1 hold a write that r2 lacks; then r1 begins anew, and P is gone while that catches up. */
  async function lost(): Promise<{ readonly at: Awaited<ReturnType<typeof cluster>>; readonly r1: Replica; readonly r2: Replica; readonly lsn: number }> {
    const at = await cluster()
    const before = await node(at.network, 'r1')
    const r2 = await node(at.network, 'r2')
    for (const each of [before, r2]) await (await session(at, each)).close()
    await at.primary.store.append(items, { id: 7000, name: 'acknowledged by P and r1' })
    const lsn = Number(at.primary.store.lsn)
    const stream = await session(at, before, { session: 2 })
    await stream.close()
    await before.close()
    const r1 = await node(at.network, 'r1')
    await (await session(at, r1, { session: 3, mode: 'catchup', upTo: lsn - 9 })).close()
    return { at, r1, r2, lsn }
  }

  const asked = (nodes: readonly Replica[], epoch: number): Promise<NodeRecord[]> => Promise.all(nodes.map((each) => each.fence({ epoch })))

  it('does not help to reach the count while it catches up: nobody is promoted without the acknowledged write', async () => {
    const { at, r1, r2, lsn } = await lost()
    const { id: storeId } = at.primary.store
    const records = await asked([r1, r2], 20)
    expect(records).toMatchObject([
      { id: 'r1', readableLsn: lsn - 9, isIntact: true, isAmnesic: true },
      { id: 'r2', readableLsn: lsn - 1, isIntact: true, isAmnesic: false },
    ])
    expect(candidates(records, 'quorum', 3, { storeId, epoch: 20 })).toMatchObject({ candidates: [], reason: 'too_few_records' })
    expect(await observe('r1', { transport: at.network.transport('somebody') })).toMatchObject({ isAmnesic: true })
    // What was never promised to be anywhere else is not asked for.
    expect(candidates(records, 'async', 3, { storeId, epoch: 20 })).toMatchObject({ candidates: [{ id: 'r2' }], mayLose: true })
    // What the caller knows is added to what the node knows, never set against it.
    expect(await r1.fence({ epoch: 20, isAmnesic: false })).toMatchObject({ isAmnesic: true })
    expect(await r2.fence({ epoch: 20, isAmnesic: true })).toMatchObject({ isAmnesic: true })
  })

  it('counts again from its first live stream on, and the write is there after the promotion', async () => {
    const { at, r1, r2, lsn } = await lost()
    await (await session(at, r1, { session: 4 })).close()
    const records = await asked([r1, r2], 20)
    expect(records).toMatchObject([
      { id: 'r1', readableLsn: lsn, isAmnesic: false },
      { id: 'r2', isAmnesic: false },
    ])
    expect(candidates(records, 'quorum', 3, { storeId: at.primary.store.id, epoch: 20 }).candidates).toMatchObject([{ id: 'r1' }])
    const store = await r1.promote({ epoch: 20, acceptLossAbove: lsn })
    await using all = await store.snapshot(undefined, { readUncommitted: true })
    expect(await all.get(items, 7000)).toMatchObject({ name: 'acknowledged by P and r1' })
    await store.close()
  })
})

describe('M2b a node that is not whole, promoted by hand', () => {
  async function behind(mode: 'async' | 'quorum'): Promise<{ readonly at: Awaited<ReturnType<typeof cluster>>; readonly r1: Replica; readonly head: number }> {
    const at = await cluster()
    if (mode !== 'async') await at.primary.store.setAckMode(mode)
    const head = Number(at.primary.store.lsn)
    const r1 = await node(at.network, 'r1')
    const sender = await session(at, r1, { mode: 'catchup' })
    await sender.send({ type: 'heartbeat', committedLsn: head, durableLsn: head })
    while (r1.status().lsn < BigInt(head)) await turns(1)
    await sender.close()
    return { at, r1, head }
  }

  it('is refused, and goes on as a replica; in sync once more it is promoted', async () => {
    const { at, r1, head } = await behind('quorum')
    const refusal = await failure(() => r1.promote({ epoch: 7 }))
    expect(refusal).toMatchObject({ name: 'InvalidConfigError', message: expect.stringContaining('once confirmed'), hint: expect.stringContaining(`${head}`) })
    const sender = await session(at, r1, { session: 2 })
    await sender.close()
    const store = await r1.promote({ epoch: 7 })
    expect(Number(store.epoch)).toBe(7)
    await store.close()
  })

  it.each([['acceptLossAbove'], ['forcePromotion']])('is promoted by whoever says what may be lost: %s', async (how) => {
    const { at, r1, head } = await behind('quorum')
    const record = await r1.fence({ epoch: 7 })
    expect(record).toMatchObject({ isAmnesic: true })
    const forced = forcePromotion([record], r1.replicaId, { storeId: at.primary.store.id, epoch: 7, acceptLossAbove: head })
    const store = await r1.promote({ epoch: 7, ...(how === 'forcePromotion' ? { forced } : { acceptLossAbove: head }) })
    expect(Number(store.epoch)).toBe(8)
    await store.close()
  })

  it('in mode async is any other node: nothing rests there on what it confirmed', async () => {
    const { r1, head } = await behind('async')
    const store = await r1.promote({ epoch: 7, acceptLossAbove: head })
    expect(Number(store.epoch)).toBe(7)
    await store.close()
  })
})

describe('M2b a disk that came back empty, and a primary that was started again', () => {
  /** As lost(), and then P is started again: what it tells as C may be older than what it has acknowledged. */
  async function lostBehind(o: { readonly root?: MemoryRoot | FaultyRoot; readonly failpoints?: FailpointRegistry } = {}): Promise<{
    readonly at: Awaited<ReturnType<typeof cluster>>
    readonly r1: Replica
    readonly r2: Replica
    readonly sender: RawSender
    readonly stale: number
    readonly lsn: number
    /** Of the record of its epoch. */
    readonly begins: number
  }> {
    const before = await cluster()
    const first = await node(before.network, 'r1')
    const r2 = await node(before.network, 'r2')
    for (const each of [first, r2]) await (await session(before, each)).close()
    await before.primary.store.append(items, { id: 7000, name: 'acknowledged by P and r1' })
    const lsn = Number(before.primary.store.lsn)
    await (await session(before, first, { session: 2 })).close()
    await first.close()
    const at = await restarted(before)
    const begins = Number(at.primary.store.lsn)
    expect(begins).toBe(lsn + 1)
    const r1 = await node(at.network, 'r1', o.root as MemoryRoot | undefined, o.failpoints === undefined ? {} : { world: bootWorld(o.failpoints) })
    const stale = lsn - 9
    const sender = await RawSender.connect(at.network, r1, at.primary, { epoch: 2 })
    await sender.hello()
    await sender.grant(0, { mode: 'catchup', target: stale, committedLsn: stale })
    await sender.entries(0, stale, { committedLsn: stale })
    await sender.durable(stale)
    await sender.grant(stale, { mode: 'stream', committedLsn: stale })
    return { at, r1, r2, sender, stale, lsn, begins }
  }

  it.each(['stale C', 'the write', 'the record of its epoch'])('counts when it has the record of that epoch: the stream has come to %s', async (what) => {
    const { at, r1, r2, sender, stale, lsn, begins } = await lostBehind()
    const upTo = { 'stale C': stale, 'the write': lsn, 'the record of its epoch': begins }[what]!
    if (upTo > stale) {
      await sender.entries(stale, upTo, { committedLsn: stale, most: 1 })
      await sender.durable(upTo)
    }
    const isWhole = upTo === begins
    expect(await isAmnesic(at, 'r1')).toBe(!isWhole)
    await sender.close()
    const records = await Promise.all([r1, r2].map((each) => each.fence({ epoch: 20 })))
    expect(records).toMatchObject([
      { id: 'r1', readableLsn: upTo, isAmnesic: !isWhole },
      { id: 'r2', readableLsn: lsn - 1, isAmnesic: false },
    ])
    const found = candidates(records, 'quorum', 3, { storeId: at.primary.store.id, epoch: 20 })
    expect(found).toMatchObject(isWhole ? { candidates: [{ id: 'r1' }] } : { candidates: [], reason: 'too_few_records' })
  })

  it('is whole durably so before it acknowledges that record', async () => {
    const disk = new MemoryRoot({ loseUnsynced: 9 })
    const failpoints = new FailpointRegistry()
    const { at, r1, sender, stale, begins } = await lostBehind({ root: disk, failpoints })
    await sender.entries(stale, begins - 1, { committedLsn: stale })
    await sender.durable(begins - 1)
    expect(await readNode(disk.crash())).toMatchObject({ isWhole: false })
    failpoints.arm(FP.ship.beforeAck, { crash: true })
    await sender.entries(begins - 1, begins, { committedLsn: stale })
    await failpoints.crashed
    abandon(r1)
    const left = disk.crash()
    expect(await readNode(left)).toMatchObject({ isWhole: true })
    await node(at.network, 'r1', left, { endpoint: { data: 'again', version: 1 } })
    expect((await observe('again', { transport: at.network.transport('somebody') })).isAmnesic).toBe(false)
  })

  it('acknowledges nothing of it where NODE cannot say so, and says it in the next session', async () => {
    const disk = new MemoryRoot({ loseUnsynced: 9 })
    const root = new FaultyRoot(disk)
    const { at, r1, sender, stale, begins } = await lostBehind({ root })
    // Nor where C, which follows lazily, is what the disk fails at first: NODE is put anew then.
    root.plan(({ method, name }) => (name === 'NODE' && (method === 'segment.write' || method === 'put') ? { error: 'io' } : undefined))
    await sender.entries(stale, begins, { committedLsn: stale })
    expect(await sender.refusal()).toMatchObject({ name: 'StorageError' })
    expect(sender.heard.filter((message) => message.type === 'ack' && message.durableLsn >= begins)).toEqual([])
    root.plan(undefined)
    expect(await readNode(disk.crash())).toMatchObject({ isWhole: false })
    await (await session(at, r1, { epoch: 2, session: 2 })).close()
    expect(await readNode(disk.crash())).toMatchObject({ isWhole: true })
  })

  it('counts when it has what was committed when its stream began, of the primary of the same epoch too', async () => {
    const at = await cluster()
    await node(at.network, 'r1')
    await (await session(at, await node(at.network, 'r2'))).close()
    const lsn = Number(at.primary.store.lsn)
    const again = await node(at.network, 'r1', undefined, { endpoint: { data: 'again', version: 1 } })
    const sender = await RawSender.connect(at.network, again, at.primary, { session: 3 })
    await sender.hello()
    // The target of its catch-up was frozen; what was committed since is told with the stream.
    await sender.grant(0, { mode: 'catchup', target: lsn - 9, committedLsn: lsn - 9 })
    await sender.entries(0, lsn - 9, { committedLsn: lsn - 9 })
    await sender.durable(lsn - 9)
    await sender.grant(lsn - 9, { mode: 'stream', committedLsn: lsn - 1 })
    for (const [upTo, isWhole] of [
      [lsn - 9, false],
      [lsn - 2, false],
      [lsn - 1, true],
    ] as const) {
      const from = Number(again.status().durable)
      if (upTo > from) {
        await sender.entries(from, upTo, { committedLsn: lsn - 1 })
        await sender.durable(upTo)
      }
      expect(await isAmnesic(at, 'again'), `at ${upTo} of ${lsn - 1}`).toBe(!isWhole)
    }
  })

  it('is no more whole by a promotion that was cut off before its record; by one that was not it is', async () => {
    const { at, r1, sender, stale } = await lostBehind()
    await sender.close()
    await r1.close()
    for (const [point, isWhole] of [
      [FP.open.beforeEpoch, false],
      [undefined, true],
    ] as const) {
      const disk = new MemoryRoot({ loseUnsynced: 11 })
      const failpoints = new FailpointRegistry()
      const name = point === undefined ? 'whole' : 'cut'
      const replica = await node(at.network, name, disk, { world: bootWorld(failpoints) })
      await (await session(at, replica, { epoch: 2, session: 5, mode: 'catchup', upTo: stale })).close()
      if (point === undefined) await (await replica.promote({ acceptLossAbove: stale })).close()
      else {
        failpoints.arm(point, { crash: true })
        replica.promote({ acceptLossAbove: stale }).catch(() => undefined)
        await failpoints.crashed
        abandon(replica)
      }
      const left = disk.crash()
      expect(await readNode(left), name).toMatchObject({ role: 'primary', isWhole })
      await node(at.network, name, left, { endpoint: { data: `${name} again`, version: 1 } })
      expect(await isAmnesic(at, `${name} again`), name).toBe(!isWhole)
    }
  })
})

describe('a node is whole', () => {
  it('after a restart as before it, durably so before its first acknowledgement under a live stream', async () => {
    const at = await cluster()
    const root = new MemoryRoot({ loseUnsynced: 5 })
    const failpoints = new FailpointRegistry()
    const replica = await node(at.network, 'r1', root, { world: bootWorld(failpoints) })
    expect(await readNode(root)).toBeUndefined()
    await (await session(at, replica, { mode: 'catchup', upTo: 20 })).close()
    expect(await readNode(root)).toMatchObject({ isWhole: false })
    failpoints.arm(FP.ship.beforeAck, { crash: true })
    session(at, replica, { session: 2 }).catch(() => undefined)
    await failpoints.crashed
    abandon(replica)
    const left = root.crash()
    expect(await readNode(left)).toMatchObject({ isWhole: true })
    const again = await node(at.network, 'r1', left, { endpoint: { data: 'again', version: 1 } })
    expect(await again.fence({ epoch: 9 })).toMatchObject({ isAmnesic: false })
    await again.close()
    const third = await node(at.network, 'r1', left, { endpoint: { data: 'third', version: 1 } })
    expect(await third.fence({ epoch: 9 })).toMatchObject({ isAmnesic: false })
  })

  it('when it was the primary, and comes back as a replica; a copy of it is not', async () => {
    const root = new MemoryRoot({})
    const network = new MemoryNetwork(defaultWorld())
    const store = await opened(root)
    await node(network, 'r1')
    const transport = network.transport('primary')
    const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: { data: 'r1', version: 1 } }], ack: 'all', transport })
    await shipping.settled()
    await store.create(items)
    await fill(store, 0, 5)
    // It has a NODE, since the log names a mode.
    const [backup, copy] = [new MemoryRoot({}), new MemoryRoot({})]
    await store.backup(backup as never)
    await store.close()
    await Store.restore(backup as never, copy as never)
    expect(await (await node(network, 'old', root)).fence({ epoch: 9 })).toMatchObject({ isAmnesic: false, isIntact: true })
    expect(await readNode(copy)).toMatchObject({ isWhole: false })
  })

  it('B15 no more when a base took the place of its log, until the stream behind that', async () => {
    const at = await cluster()
    const root = new MemoryRoot({})
    const replica = await node(at.network, 'r1', root)
    await (await session(at, replica)).close()
    await fill(at.primary.store, 100, 160)
    await at.primary.store.flush()
    const sender = await RawSender.connect(at.network, replica, at.primary, { session: 2 })
    await sender.hello({ kind: 'rebuild' })
    const manifest = await baseOf(at.primary)
    await sender.transfer(manifest)
    expect(await readNode(root)).toMatchObject({ isWhole: true })
    await sender.install(manifest)
    expect(await readNode(root)).toMatchObject({ isWhole: false })
    await sender.grant(manifest.baseLsn, { mode: 'tail', target: manifest.baseLsn, committedLsn: manifest.baseLsn })
    expect(await readNode(root)).toMatchObject({ isWhole: false })
    await sender.close()
    expect(await replica.fence({ epoch: 2 })).toMatchObject({ isAmnesic: true, state: 'degraded' })
    const stream = await session(await restarted(at, 3), replica, { epoch: 3 })
    expect(await readNode(root)).toMatchObject({ isWhole: true })
    await stream.close()
    expect(await replica.fence({ epoch: 4 })).toMatchObject({ isAmnesic: false })
  })

  it('B15 behind a base with all that it was told is committed: killed then, it counts and can be promoted', async () => {
    const at = await cluster()
    const root = new MemoryRoot({ loseUnsynced: 13 })
    const replica = await node(at.network, 'r1', root)
    await (await session(at, replica)).close()
    await fill(at.primary.store, 100, 160)
    const sender = await RawSender.connect(at.network, replica, at.primary, { session: 2 })
    const manifest = await sender.rebuild()
    await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
    const left = root.crash()
    abandon(replica)
    const again = await node(at.network, 'r1', left, { endpoint: { data: 'again', version: 1 } })
    expect(await again.fence({ epoch: 4 })).toMatchObject({ isAmnesic: false, isIntact: true, readableLsn: manifest.baseLsn })
    const store = await again.promote({ epoch: 4, acceptLossAbove: manifest.baseLsn })
    expect(await store.scan(items).count()).toBe(110)
    await store.close()
  })

  it.each([
    [FP.ship.beforeSwitch, true],
    [FP.ship.afterSwitch, false],
  ])('B15 as the log says that a kill at %s leaves: %s', async (point, isWhole) => {
    const at = await cluster()
    const root = new MemoryRoot({ loseUnsynced: 7 })
    const failpoints = new FailpointRegistry()
    const replica = await node(at.network, 'r1', root, { world: bootWorld(failpoints) })
    await (await session(at, replica)).close()
    await fill(at.primary.store, 100, 160)
    const sender = await RawSender.connect(at.network, replica, at.primary, { session: 2 })
    await sender.hello({ kind: 'rebuild' })
    const manifest = await baseOf(at.primary)
    failpoints.arm(point, { crash: true })
    void sender
      .transfer(manifest)
      .then(() => sender.install(manifest))
      .catch(() => undefined)
    await failpoints.crashed
    abandon(replica)
    const again = await node(at.network, 'r1', root.crash(), { endpoint: { data: 'again', version: 1 } })
    expect(again.status().generation).toBe(isWhole ? 0 : 1)
    expect(await again.fence({ epoch: 9 })).toMatchObject({ isAmnesic: !isWhole })
  })
})

describe.each(['catchup', 'stream'] as const)('a grant of mode %s', (mode) => {
  it('ends a base that was cut off: the replica can be promoted again, and after a restart too', async () => {
    const at = await cluster()
    const root = new MemoryRoot({})
    const replica = await node(at.network, 'r1', root)
    await (await session(at, replica)).close()
    const cut = await RawSender.connect(at.network, replica, at.primary, { session: 2, serves: false })
    await cut.hello({ kind: 'rebuild' })
    await cut.manifest(await baseOf(at.primary))
    await cut.next('want')
    await cut.close()
    expect(await replica.fence({ epoch: 2 })).toMatchObject({ state: 'rebuilding' })
    await (await session(at, replica, { epoch: 3, mode })).close()
    expect(await replica.fence({ epoch: 4 })).toMatchObject({ state: 'degraded' })
    expect(await observe('r1', { transport: at.network.transport('somebody') })).toMatchObject({ rebuildInProgress: false })
    await replica.close()
    const again = await node(at.network, 'r1', root, { endpoint: { data: 'again', version: 1 } })
    expect(await again.fence({ epoch: 4 })).toMatchObject({ state: 'degraded', isAmnesic: false })
  })
})
