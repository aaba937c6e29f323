// One fence number that is decided on twice (decision 0035): every node follows one of the two, so one of them at most commits anything.
import { describe, expect, it } from 'vitest'

import type { Store } from '../../../bindings/index.ts'
import { candidates, type NodeRecord } from '../../../bindings/ship/index.ts'
import type { ReplicaProgress, Shipping } from '../../../bindings/store/index.ts'
import { failure } from '../../unit/store/places.ts'
import { until } from './flow-kit.ts'
import { idsOf, OLD, range, Three, write } from './three.ts'

const F = 2

interface Two {
  readonly three: Three
  readonly records: readonly NodeRecord[]
  /** n2, that n1 follows. */
  readonly won: Store
  readonly winning: Shipping
  /** n3, that nobody does. */
  readonly lost: Store
}

/** n2 and n3 are promoted behind one fence: the answer of one of them was lost, or two services are at it. Whom n1 follows has committed row 100. */
async function twice(before?: (lost: Store, three: Three) => Promise<void>): Promise<Two> {
  const { three, store, shipping } = await Three.found('quorum')
  await shipping.close()
  await store.close()
  const records = await three.fence(F)
  const [won, lost] = [await three.become('n2', { epoch: F }), await three.become('n3', { epoch: F })]
  expect(lost.epoch).toBe(won.epoch)
  await before?.(lost, three)
  const winning = await three.ship('n2', won)
  await three.follow(OLD)
  await until(() => winning.status().inSync === 1)
  await write(won, [100])
  return { three, records, won, winning, lost }
}

function at(shipping: Shipping, id: string): ReplicaProgress {
  return shipping.status().replicas.find((replica) => replica.id === id)!
}

describe('two promotions behind one fence', () => {
  it('one is followed, and goes on over starts of its own; the other one commits nothing and is told what to do', async () => {
    const { three, won, winning, lost } = await twice()
    const n1 = three.followers.get(OLD)!
    await until(() => n1.status().committed >= won.lsn)
    const losing = await three.ship('n3', lost)
    await until(() => losing.status().fencedBy === F)
    expect(at(losing, OLD).lastError).toMatchObject({
      code: 'ship.stale-epoch',
      message: expect.stringMatching(/n1 follows another node that was promoted at epoch 2, .*has committed since.*fence the nodes anew, above 2/),
    })
    expect(await failure(() => write(lost, [900]))).toMatchObject({ name: 'FencedError', hint: expect.stringContaining('decided on twice') })
    await write(won, [101])
    await winning.close()
    await won.close()
    const again = await three.start('n2')
    const next = await three.ship('n2', again)
    await until(() => next.status().inSync === 1)
    await write(again, [102])
    expect(next.status()).toMatchObject({ fencedBy: 0 })
    expect(await idsOf(again)).toEqual([...range(0, 20), 100, 101, 102])
  })

  it('the other one as a follower fences nobody: it keeps its vote, until something else is decided', async () => {
    const { three, won, winning, lost } = await twice()
    await lost.close()
    await three.follow('n3')
    await until(() => at(winning, 'n3').lastError?.code === 'ship.stale-epoch')
    expect(winning.status()).toMatchObject({ fencedBy: 0, inSync: 1 })
    await write(won, [101])
    await winning.close()
    await won.close()
    // Fenced anew it follows what is decided there.
    await three.fence(20, ['n3', OLD])
    const claimed = await three.start('n2', { epoch: 20 })
    const next = await three.ship('n2', claimed)
    await until(() => next.status().inSync === 1 && (at(next, 'n3').state === 'in_sync' || at(next, 'n3').state === 'halted'))
    if (at(next, 'n3').state === 'halted') next.clearHalt('n3', { confirm: 'n3' })
    await until(() => next.status().inSync === 2)
    await write(claimed, [102])
    await next.settled()
    const follower = three.followers.get('n3')!
    await until(() => follower.status().lsn === claimed.lsn)
    expect(await idsOf(follower.store)).toEqual([...range(0, 20), 100, 101, 102])
  })

  it('a longer log of the other one does not win the next promotion over what was committed', async () => {
    const { three, winning, won, lost } = await twice(async (store, all) => {
      const alone = await all.ship('n3', store)
      // Nobody is there to confirm them.
      for (const id of range(900, 5)) expect(await failure(() => write(store, [id]))).toMatchObject({ name: 'AckTimeoutError' })
      await alone.close()
    })
    await until(() => three.followers.get(OLD)!.status().committed >= won.lsn)
    await winning.close()
    await won.close()
    await lost.close()
    await three.follow('n3')
    const records = await three.fence(20, ['n3', OLD])
    const [other, n1] = records as [NodeRecord, NodeRecord]
    expect(other.lastMandate).toBe(n1.lastMandate)
    expect(other.readableLsn).toBeGreaterThan(n1.readableLsn)
    const { name, store: heir } = await three.promote(records, 20)
    expect(name).toBe(OLD)
    expect(await idsOf(heir)).toEqual([...range(0, 20), 100])
    // Had n1 never heard that it is committed, nobody could tell; with the record of n2 somebody could.
    const unheard = { ...n1, committedLsn: 0 }
    const { storeId } = n1
    expect(candidates([other, unheard], 'quorum', 3, { storeId, epoch: 20 })).toMatchObject({ candidates: [], reason: 'two_decisions' })
    const third = { ...unheard, id: 'n2' as NodeRecord['id'] }
    expect(candidates([other, unheard, third], 'quorum', 3, { storeId, epoch: 20 })).toMatchObject({ candidates: [{ id: OLD }, { id: 'n2' }] })
  })
})

describe('a primary that was opened with an epoch, and is a replica before it has met anybody', () => {
  it('is promoted at a number above, the next one if none is named, and is told so', async () => {
    const { three, store, shipping } = await Three.found('quorum')
    await shipping.close()
    await store.close()
    await (await three.start(OLD, { epoch: 7 })).close()
    await three.follow(OLD)
    const again = three.followers.get(OLD)!
    expect(await failure(() => again.promote({ epoch: 7 }))).toMatchObject({
      name: 'StaleEpochError',
      message: expect.stringContaining('n1 was itself decided on at epoch 7'),
      hint: expect.not.stringContaining('empty folder'),
    })
    const heir = await again.promote()
    three.open.add(heir)
    const next = await three.ship(OLD, heir)
    await until(() => next.status().inSync === 2)
    await write(heir, [100])
  })
})

describe('a node that follows one', () => {
  it('is not promoted at the same number', async () => {
    const { three, store, shipping } = await Three.found('quorum')
    await shipping.close()
    await store.close()
    // n2 is promoted at 7 and claims that; n3 has met no fence.
    const won = await three.become('n2', { epoch: 7 })
    const winning = await three.ship('n2', won)
    await until(() => winning.status().inSync === 1)
    const n3 = three.followers.get('n3')!
    expect(n3.status().epoch).toBe(7)
    expect(await failure(() => n3.promote({ epoch: 7 }))).toMatchObject({ name: 'StaleEpochError', held: 7, hint: expect.stringContaining('decided on twice') })
    await write(won, [100])
  })
})

describe('a claim of the epoch of a fence, and a promotion behind it', () => {
  it('the promotion does not cut off what the claim has committed', async () => {
    const { three, store, shipping } = await Three.found('quorum')
    await shipping.close()
    await store.close()
    await three.fence(F)
    // One service gives up and opens n1 again; the other one, which knows nothing of that, promotes n2.
    const heir = await three.become('n2', { epoch: F })
    const claimed = await three.start(OLD, { epoch: F })
    const first = await three.ship(OLD, claimed)
    await until(() => first.status().inSync === 1)
    await write(claimed, [100])
    await until(() => three.followers.get('n3')!.status().committed >= claimed.lsn)
    const other = await three.ship('n2', heir)
    await until(() => other.status().fencedBy === F)
    expect(await failure(() => write(heir, [900]))).toMatchObject({ name: 'FencedError' })
    await write(claimed, [101])
    // Back as a follower it has its own vote, which is one: it stops nobody.
    await other.close()
    await heir.close()
    await three.follow('n2')
    await until(() => at(first, 'n2').lastError?.code === 'ship.stale-epoch')
    expect(first.status()).toMatchObject({ fencedBy: 0, inSync: 1 })
    await write(claimed, [102])
    await until(() => three.followers.get('n3')!.status().committed >= claimed.lsn)
    await first.close()
    await claimed.close()
    const { name, store: last } = await three.promote(await three.fence(20, ['n2', 'n3']), 20)
    expect(name).toBe('n3')
    expect(await idsOf(last)).toEqual([...range(0, 20), 100, 101, 102])
  })
})

describe('{ epoch } passed to two stores', () => {
  it('is one decision for as long as it is the same start of the same node, and two of two nodes', async () => {
    const { three, store, shipping } = await Three.found('quorum')
    await shipping.close()
    await store.close()
    // n2 is promoted at 3, comes back, and both it and n1 are opened with epoch 5.
    const second = await three.become('n2', { epoch: 3 })
    await second.close()
    const claims = [await three.start(OLD, { epoch: 5 }), await three.start('n2', { epoch: 5 })] as const
    const first = await three.ship(OLD, claims[0])
    await until(() => first.status().inSync === 1)
    await write(claims[0], [100])
    await until(() => three.followers.get('n3')!.status().committed >= claims[0].lsn)
    const other = await three.ship('n2', claims[1])
    await until(() => other.status().fencedBy === 5)
    await first.close()
    await claims[0].close()
    const again = await three.start(OLD, { epoch: 5 })
    const last = await three.ship(OLD, again)
    await until(() => last.status().inSync === 1)
    await write(again, [101])
    expect(await idsOf(again)).toEqual([...range(0, 20), 100, 101])
  })
})
