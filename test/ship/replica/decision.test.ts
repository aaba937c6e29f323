// One number, two decisions (decision 0035): a node follows the one that came to it first, and says so before it answers.
import { describe, expect, it } from 'vitest'

import { mandateOfClaim, mandateOfPromotion } from '../../../bindings/format/index.ts'
import { decodeNode, encodeNode, NODE_NAME, readNode } from '../../../bindings/log/index.ts'
import { FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import type { MemoryNetwork } from '../../../bindings/ship/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { failure, opened } from '../../unit/store/places.ts'
import { bootWorld, filled, MemoryRoot, type Primary, RawSender, replicaOn } from './kit.ts'

const F = 5
const A = 'aa'.repeat(16)
const B = 'bb'.repeat(16)

interface Voter {
  readonly network: MemoryNetwork
  readonly root: MemoryRoot
  readonly primary: Primary
  readonly head: number
  replica: Replica
}

/** It has followed somebody whom nobody decided on, and is fenced at F. */
async function voter(failpoints?: FailpointRegistry): Promise<Voter> {
  const { network, primary, head } = await filled(20)
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root, { world: bootWorld(failpoints) })
  const from = await RawSender.connect(network, replica, primary, { mandate: 0 })
  await from.catchUp(replica)
  await replica.fence({ epoch: F })
  return { network, root, primary, head, replica }
}

let places = 0
async function reopened(all: Voter): Promise<void> {
  await all.replica.close()
  all.replica = await replicaOn(all.network, all.root, { endpoint: { data: `voter ${++places}`, version: 1 } })
}

async function hello(all: Voter, epoch: number, mandate: number, decision: string): Promise<{ readonly epochSeen: number }> {
  return await (await RawSender.connect(all.network, all.replica, all.primary, { epoch, mandate, decision })).hello()
}

async function refused(all: Voter, epoch: number, mandate: number, decision: string): Promise<void> {
  expect(await failure(() => hello(all, epoch, mandate, decision))).toMatchObject({
    name: 'StaleEpochError',
    held: F,
    seen: epoch,
    details: { mandate, promised: mandate, isSettled: false },
  })
}

describe.each([
  ['opened with the epoch of one fence', mandateOfClaim(F)],
  ['promoted behind one fence', mandateOfPromotion(F)],
])('of two that were %s', (_, mandate) => {
  it('the first one is followed, over starts of its own and of the node; the other one never, whatever epoch it comes to', async () => {
    const all = await voter()
    expect(await readNode(all.root)).toMatchObject({ promised: mandateOfClaim(F), decision: '' })
    expect(await hello(all, F + 2, mandate, A)).toMatchObject({ epochSeen: F + 2 })
    expect(await readNode(all.root)).toMatchObject({ promised: mandate, decision: A })
    for (const epoch of [F + 1, F + 2, F + 9]) await refused(all, epoch, mandate, B)
    await reopened(all)
    for (const epoch of [F + 1, F + 2, F + 9]) await refused(all, epoch, mandate, B)
    expect(await hello(all, F + 3, mandate, A)).toMatchObject({ epochSeen: F + 3 })
    expect(all.replica.status().epoch).toBe(F + 3)
  })

  it('neither is, once somebody is fenced or decided on above them', async () => {
    const all = await voter()
    await hello(all, F + 1, mandate, A)
    await all.replica.fence({ epoch: F + 4 })
    expect(await readNode(all.root)).toMatchObject({ promised: mandateOfClaim(F + 4), decision: '' })
    for (const decision of [A, B]) expect(await failure(() => hello(all, F + 9, mandate, decision))).toMatchObject({ name: 'StaleEpochError', held: F + 4 })
    expect(await hello(all, F + 5, mandateOfPromotion(F + 4), B)).toMatchObject({ epochSeen: F + 5 })
    expect(await failure(() => hello(all, F + 5, mandateOfPromotion(F + 4), A))).toMatchObject({ name: 'StaleEpochError', held: F + 4 })
  })

  it('one whose answer could not be made durable has the vote all the same, as long as this process lives', async () => {
    const failpoints = new FailpointRegistry()
    const all = await voter(failpoints)
    failpoints.arm(FP.ship.beforeEpochPersist, { error: 'io', times: 1 })
    expect(await failure(() => hello(all, F + 1, mandate, A))).toMatchObject({ name: 'StorageError' })
    expect(await readNode(all.root)).toMatchObject({ promised: mandateOfClaim(F), decision: '' })
    await refused(all, F + 1, mandate, B)
    await hello(all, F + 1, mandate, A)
    expect(await readNode(all.root)).toMatchObject({ promised: mandate, decision: A })
  })
})

it('a claim that is followed is not passed by a promotion behind that fence: it may have committed since', async () => {
  const all = await voter()
  await hello(all, F + 1, mandateOfClaim(F), A)
  expect(await failure(() => hello(all, F + 2, mandateOfPromotion(F), B))).toMatchObject({
    name: 'StaleEpochError',
    message: expect.stringContaining(`follows another node that was opened with { epoch: ${F} }`),
    details: { mandate: mandateOfPromotion(F), promised: mandateOfClaim(F), isSettled: false },
  })
  await reopened(all)
  await hello(all, F + 3, mandateOfClaim(F), A)
  await hello(all, F + 4, mandateOfPromotion(F + 1), B)
})

it('a NODE of an older version knows of no decision: the first one that comes is kept', async () => {
  const all = await voter()
  await hello(all, F + 1, mandateOfPromotion(F), A)
  await all.replica.close()
  const { bytes } = await all.root.get(NODE_NAME)
  await all.root.put(NODE_NAME, encodeNode({ ...decodeNode(bytes)!, decision: '' }))
  await reopened(all)
  expect(await hello(all, F + 2, mandateOfPromotion(F), B)).toMatchObject({ epochSeen: F + 2 })
  await refused(all, F + 3, mandateOfPromotion(F), A)
})

describe('the id of a decision', () => {
  const decisionOf = async (root: MemoryRoot): Promise<readonly [number, string]> => {
    const { mandate, decision } = (await readNode(root))!
    return [mandate, decision]
  }

  it('is made with it, and stays for as long as nothing else is decided', async () => {
    const root = new MemoryRoot({})
    const start = async (o: { readonly epoch?: number } = {}): Promise<readonly [number, string]> => {
      await (await opened(root, o)).close()
      return await decisionOf(root)
    }
    expect(await start()).toEqual([0, ''])
    const first = await start({ epoch: 4 })
    expect(first).toEqual([mandateOfClaim(4), expect.stringMatching(/^[0-9a-f]{32}$/)])
    expect(await start({ epoch: 4 })).toEqual(first)
    expect(await start()).toEqual(first)
    expect(await start({ epoch: 3 })).toEqual(first)
    const second = await start({ epoch: 9 })
    expect(second[1]).not.toBe(first[1])
    expect(await start()).toEqual(second)
    // Written before there were any.
    const { bytes } = await root.get(NODE_NAME)
    await root.put(NODE_NAME, encodeNode({ ...decodeNode(bytes)!, decision: '' }))
    const third = await start()
    expect(third).toEqual([mandateOfClaim(9), expect.stringMatching(/^[0-9a-f]{32}$/)])
    expect(await start({ epoch: 9 })).toEqual(third)
  })

  it('of a promotion is its own, and is what the node has voted for when it follows again', async () => {
    const all = await voter()
    const store = await all.replica.promote({ epoch: F, acceptLossAbove: all.head })
    const epoch = Number(store.epoch)
    await store.close()
    const [mandate, decision] = await decisionOf(all.root)
    expect([mandate, decision.length]).toEqual([mandateOfPromotion(F), 32])
    await reopened(all)
    expect(await decisionOf(all.root)).toEqual([mandate, decision])
    await refused(all, epoch + 1, mandate, A)
    expect(await hello(all, epoch + 1, mandate, decision)).toMatchObject({ epochSeen: epoch + 1 })
  })
})
