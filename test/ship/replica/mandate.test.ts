// By whose decision a primary is followed (decision 0030): a node that was fenced takes nobody who has passed the epoch of the fence by starting again.
import { describe, expect, it } from 'vitest'

import { mandateOfClaim, mandateOfPromotion } from '../../../bindings/format/index.ts'
import { type CommitLog, readNode } from '../../../bindings/log/index.ts'
import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { Replica, Store } from '../../../bindings/store/index.ts'
import { failure, opened } from '../../unit/store/places.ts'
import { bootWorld, fill, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, tempDirectory } from './kit.ts'

const F = 5

interface Fenced {
  readonly network: MemoryNetwork
  readonly root: MemoryRoot
  readonly primary: Primary
  readonly head: number
  replica: Replica
}

/** A replica that has followed epoch 1, which nobody decided on, and was fenced at F. */
async function fenced(failpoints?: FailpointRegistry): Promise<Fenced> {
  const network = new MemoryNetwork(defaultWorld())
  const root = new MemoryRoot({})
  const primary = await primaryOn()
  await primary.store.create(items)
  await fill(primary.store, 0, 20)
  const replica = await replicaOn(network, root, { world: bootWorld(failpoints) })
  const from = await RawSender.connect(network, replica, primary, { mandate: 0 })
  const all = { network, root, primary, replica, head: await from.catchUp(replica) }
  if (failpoints === undefined) await replica.fence({ epoch: F })
  return all
}

let places = 0
async function reopened(all: Fenced): Promise<void> {
  await all.replica.close()
  all.replica = await replicaOn(all.network, all.root, { endpoint: { data: `again ${++places}`, version: 1 } })
}

function greeted(all: Fenced, epoch: number, mandate: number): Promise<RawSender> {
  return RawSender.connect(all.network, all.replica, all.primary, { epoch, mandate })
}

async function refused(all: Fenced, epoch: number, mandate: number, held: number): Promise<void> {
  const before = all.replica.status()
  const isPromised = (await readNode(all.root))!.promised === mandateOfPromotion(held)
  const from = await greeted(all, epoch, mandate)
  expect(await failure(() => from.hello())).toMatchObject({
    name: 'StaleEpochError',
    held,
    seen: epoch,
    message: expect.stringMatching(
      isPromised && mandate === mandateOfClaim(held)
        ? `promoted at epoch ${held}, `
        : isPromised
          ? `promoted at epoch ${held}, and nobody .*open that primary with . epoch: ${held + 1} .$`
          : `fenced at epoch ${held}, and nobody has decided since.*open that primary with . epoch: ${held} .$`,
    ),
  })
  const { epoch: seen, session, durable } = all.replica.status()
  expect({ seen, session, durable }).toEqual({ seen: before.epoch, session: before.session, durable: before.durable })
}

async function taken(all: Fenced, epoch: number, mandate: number): Promise<void> {
  const from = await greeted(all, epoch, mandate)
  expect(await from.hello()).toMatchObject({ epochSeen: epoch })
  expect(await from.grant(all.head)).toBeGreaterThanOrEqual(all.head)
}

describe('a node that was fenced', () => {
  it.each([F, F + 1, F + 100])('refuses who came to epoch %d by starting again, also after a restart of its own', async (epoch) => {
    const all = await fenced()
    await refused(all, epoch, 0, F)
    await reopened(all)
    await refused(all, epoch, 0, F)
    await refused(all, epoch, mandateOfPromotion(F - 1), F)
    // Its record is what it was.
    expect(await all.replica.fence({ epoch: F })).toMatchObject({ epochSeen: F, readableLsn: all.head })
  })

  it('answers who is below as ever: the epoch tells', async () => {
    const all = await fenced()
    expect(await (await greeted(all, F - 1, mandateOfClaim(F - 1))).hello()).toMatchObject({ epochSeen: F })
  })

  it.each([
    ['opened with the epoch of the fence', F, mandateOfClaim(F)],
    ['opened with it, and started again since', F + 9, mandateOfClaim(F)],
    ['opened with it where the epoch was taken', F + 3, mandateOfClaim(F)],
    ['promoted at it', F + 1, mandateOfPromotion(F)],
    ['promoted above it', F + 7, mandateOfPromotion(F + 3)],
    ['promoted at it, started again since, and meets this node only now', F + 50, mandateOfPromotion(F)],
  ])('follows who was %s', async (_, epoch, mandate) => {
    const all = await fenced()
    await taken(all, epoch, mandate)
    await reopened(all)
    await taken(all, epoch + 1, mandate)
  })

  it('that follows who was promoted refuses who was opened with the epoch of that fence, and whoever starts again above it', async () => {
    const all = await fenced()
    await taken(all, F + 1, mandateOfPromotion(F))
    await refused(all, F + 9, 0, F)
    await refused(all, F + 9, mandateOfClaim(F), F)
    await reopened(all)
    await refused(all, F + 9, mandateOfClaim(F), F)
    await taken(all, F + 2, mandateOfPromotion(F))
  })

  it('twice holds to the later fence; asked again for the earlier one it refuses that', async () => {
    const all = await fenced()
    await all.replica.fence({ epoch: F + 4 })
    await all.replica.fence({ epoch: F + 4 })
    expect(await failure(() => all.replica.fence({ epoch: F }))).toMatchObject({ name: 'StaleEpochError', held: F + 4 })
    await refused(all, F + 20, mandateOfPromotion(F), F + 4)
    await taken(all, F + 20, mandateOfClaim(F + 4))
  })

  it('by two services, each of which believes in its own fence, follows the later one', async () => {
    const all = await fenced()
    await all.replica.fence({ epoch: F + 1 })
    // Claims F + 1, by the decision at F.
    await refused(all, F + 1, mandateOfPromotion(F), F + 1)
    await taken(all, F + 2, mandateOfPromotion(F + 1))
  })

  it('takes nobody whose mandate is above its epoch: it would be bound to what no primary can come up with', async () => {
    const all = await fenced()
    const from = await greeted(all, F + 1, mandateOfPromotion(F + 1) + 1)
    expect(await failure(() => from.hello())).toMatchObject({ name: 'UnknownFrameError' })
  })

  it('holds to it where the fence could not be written, and makes it durable when it is asked again', async () => {
    const failpoints = new FailpointRegistry()
    const all = await fenced(failpoints)
    failpoints.arm(FP.ship.beforeEpochPersist, { error: 'io', times: 1 })
    expect(await failure(() => all.replica.fence({ epoch: F }))).toMatchObject({ class: 'io' })
    await refused(all, F + 3, 0, F)
    expect(await readNode(all.root)).toMatchObject({ promised: 0 })
    await all.replica.fence({ epoch: F })
    expect(await readNode(all.root)).toMatchObject({ promised: mandateOfClaim(F), epochSeen: F, session: 0 })
    await reopened(all)
    await refused(all, F + 3, 0, F)
  })
})

describe('two writers of one epoch', () => {
  it('are told apart by the mandate, whatever their sessions are', async () => {
    const all = await fenced(new FailpointRegistry())
    const from = await RawSender.connect(all.network, all.replica, all.primary, { epoch: F, session: 7, mandate: mandateOfClaim(F) })
    await from.hello()
    // Session 1, by a lower mandate.
    await refused(all, F, mandateOfClaim(F) - 1, F)
    await refused(all, F, 0, F)
    expect(await (await greeted(all, F, mandateOfClaim(F))).hello()).toMatchObject({ epochSeen: F })
    expect(all.replica.status().session).toBe(7)
  })
})

describe('a former primary', () => {
  it('that is fenced at the very epoch that it wrote in promises that, and keeps it', async () => {
    const network = new MemoryNetwork(defaultWorld())
    const root = new MemoryRoot({})
    const former = await primaryOn(root)
    await former.store.create(items)
    const epoch = Number(former.store.epoch)
    await former.store.close()
    const all: Fenced = { network, root, primary: await primaryOn(), head: 0, replica: await replicaOn(network, root) }
    expect(await readNode(root)).toMatchObject({ epochSeen: epoch, session: 0, promised: 0 })
    for (const again of [1, 2]) expect(await all.replica.fence({ epoch }), `${again}`).toMatchObject({ epochSeen: epoch })
    expect(await readNode(root)).toMatchObject({ epochSeen: epoch, session: 0, promised: mandateOfClaim(epoch) })
  })
})

describe('a promoted node that had followed somebody', () => {
  it('can be fenced at the epoch that it wrote in: the session was of another primary', async () => {
    const all = await fenced(new FailpointRegistry())
    await taken(all, F + 1, mandateOfPromotion(F))
    const store = await all.replica.promote({ acceptLossAbove: all.head })
    const epoch = Number(store.epoch)
    await store.close()
    await reopened(all)
    expect(await all.replica.fence({ epoch })).toMatchObject({ epochSeen: epoch })
    expect(await readNode(all.root)).toMatchObject({ epochSeen: epoch, session: 0 })
  })
})

describe('a node that has met a higher epoch', () => {
  it('follows who was decided on later at a lower one, over a restart too, and refuses the higher one from then on', async () => {
    const all = await fenced(new FailpointRegistry())
    await taken(all, 40, 0)
    const old = await greeted(all, 41, 0)
    expect(await old.hello()).toMatchObject({ epochSeen: 41 })
    await taken(all, F + 1, mandateOfPromotion(F))
    expect(await readNode(all.root)).toMatchObject({ epochSeen: 41, followed: F + 1, promised: mandateOfPromotion(F) })
    await refused(all, 42, 0, F)
    await reopened(all)
    await refused(all, 42, mandateOfClaim(F), F)
    // Of one mandate the epoch tells, as ever.
    expect(await (await greeted(all, F, mandateOfPromotion(F))).hello()).toMatchObject({ epochSeen: F + 1 })
    await taken(all, F + 2, mandateOfPromotion(F))
    // A fence is above every number that was ever met here, and so is what is claimed.
    expect(await failure(() => all.replica.fence({ epoch: 40 }))).toMatchObject({ name: 'StaleEpochError', held: 41 })
    expect(await all.replica.fence({ epoch: 41 })).toMatchObject({ epochSeen: 41 })
    expect(await readNode(all.root)).toMatchObject({ epochSeen: 41, followed: 0, session: 0, promised: mandateOfClaim(41) })
    await refused(all, 60, mandateOfPromotion(40), 41)
    const store = await all.replica.promote({ acceptLossAbove: all.head })
    expect(store.epoch).toBeGreaterThan(41)
    await store.close()
  })
})

describe('a node that was not fenced', () => {
  it('follows whoever starts, a blank one too', async () => {
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await primary.store.create(items)
    const replica = await replicaOn(network)
    for (const epoch of [1, 2, 7]) {
      expect(await (await RawSender.connect(network, replica, primary, { epoch, mandate: 0 })).hello()).toMatchObject({ epochSeen: epoch })
    }
  })
})

describe('the mandate of a node', () => {
  const mandateAt = async (root: MemoryRoot): Promise<number> => (await readNode(root))!.mandate

  it('grows with an explicit claim alone, and a plain start keeps it', async () => {
    const root = new MemoryRoot({})
    const found: [number, number][] = []
    for (const epoch of [undefined, undefined, 9, undefined, 4, 9, 20]) {
      const store = await opened(root, epoch === undefined ? {} : { epoch })
      found.push([Number(store.epoch), await mandateAt(root)])
      await store.close()
    }
    expect(found).toEqual([
      [1, 0],
      [2, 0],
      [9, 18],
      [10, 18],
      [11, 18],
      [12, 18],
      [20, 40],
    ])
  })

  it.each([
    ['at the fence', {}, mandateOfPromotion(F), F + 1],
    ['at the fence, as it was asked for', { epoch: F }, mandateOfPromotion(F), F + 1],
    ['above the fence', { epoch: F + 9 }, mandateOfPromotion(F + 9), F + 9],
  ])('that is promoted is that of the promotion: %s', async (_, o, mandate, epoch) => {
    const all = await fenced()
    const store = await all.replica.promote({ ...o, acceptLossAbove: all.head })
    expect([await mandateAt(all.root), Number(store.epoch)]).toEqual([mandate, epoch])
    await store.close()
    await (await opened(all.root)).close()
    expect(await mandateAt(all.root)).toBe(mandate)
    // It comes back as a follower, and follows nobody of before.
    await reopened(all)
    await refused(all, F + 50, mandateOfClaim(F), epoch === F + 9 ? F + 9 : F)
    await taken(all, F + 50, mandateOfPromotion(F + 20))
  })

  it('that is promoted without a fence is that of the epoch it claims', async () => {
    const network = new MemoryNetwork(defaultWorld())
    const root = new MemoryRoot({})
    const primary = await primaryOn()
    await primary.store.create(items)
    const replica = await replicaOn(network, root)
    const head = await (await RawSender.connect(network, replica, primary, { epoch: 3, mandate: 0 })).catchUp(replica)
    const store = await replica.promote({ acceptLossAbove: head })
    expect([Number(store.epoch), await mandateAt(root)]).toEqual([4, mandateOfPromotion(4)])
    await store.close()
  })

  it('stays behind where a backup is made of it', async () => {
    const [from, saved, to] = [tempDirectory(), tempDirectory(), tempDirectory()]
    const store = await opened(from, { epoch: 9 })
    await store.create(items)
    await store.setAckMode('quorum')
    await store.setAckMode('async', { force: true })
    await store.backup(saved)
    await store.close()
    await Store.restore(saved, to)
    const restored = await opened(to)
    const { log } = restored as unknown as { log: CommitLog }
    expect(log.mandate).toBe(0)
    // Its records are what they were, and what is written behind them ranks no lower.
    expect(log.lineage.map(({ epoch, mandate }) => [Number(epoch), mandate])).toEqual([
      [9, mandateOfClaim(9)],
      [10, mandateOfClaim(9)],
    ])
    await restored.close()
  })
})
