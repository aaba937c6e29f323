// An old primary that is started again, however often, between the fence of a promotion and its end (decision 0030): it commits nothing, and follows afterwards.
import { describe, expect, it } from 'vitest'

import { mandateOfPromotion } from '../../../bindings/format/index.ts'
import { failure } from '../../unit/store/places.ts'
import { until } from './flow-kit.ts'
import { idsOf, NAMES, OLD, range, Three, write } from './three.ts'

/** It is started, ships, and is refused by every fenced node: it writes no more. */
async function isRefused(three: Three, held: number): Promise<void> {
  const store = await three.start(OLD)
  const shipping = await three.ship(OLD, store)
  await until(() => shipping.status().fencedBy > 0)
  expect(shipping.status()).toMatchObject({ fencedBy: held, inSync: 0 })
  expect(shipping.log.events().filter(({ event }) => event === 'fenced')).toMatchObject(
    Array.from({ length: 2 }, () => ({ fields: { held: Number(store.epoch), seen: held } })),
  )
  expect(await failure(() => write(store, [900]))).toMatchObject({ name: 'FencedError', hint: expect.stringContaining(`{ epoch: ${held} }`) })
  await shipping.close()
  await store.close()
}

describe.each(['quorum', 'all', 'async'] as const)('mode %s', (mode) => {
  it.each([1, 2, 3, 5])('M4 an old primary that is started %d times above a fence without room commits nothing, and follows who is promoted', async (times) => {
    const { three, store, shipping } = await Three.found(mode)
    const fence = Number(store.epoch) + 1
    await shipping.close()
    await store.close()
    const records = await three.fence(fence)
    for (let i = 0; i < times; i++) await isRefused(three, fence)
    const { name, store: heir } = await three.promote(records, fence)
    const next = await three.ship(name, heir)
    await until(() => next.status().inSync === 1)
    if (mode !== 'all') await write(heir, [100])
    // It has not heard of that.
    await isRefused(three, fence)
    await three.follow(OLD)
    // Its epochs may be above those of its successor, and nobody decided on them: it follows, and they are cut off.
    await until(() => next.status().inSync === 2)
    await write(heir, [101])
    await next.settled()
    expect(next.status()).toMatchObject({ fencedBy: 0, halted: 0 })
    const rows = [...range(0, 20), ...(mode === 'all' ? [] : [100]), 101]
    expect(await idsOf(heir)).toEqual(rows)
    for (const replica of three.followers.values()) {
      await until(() => replica.status().lsn === heir.lsn)
      expect(await idsOf(replica.store)).toEqual(rows)
      expect(await replica.store.verify({ against: three.roots.get(name)! as never })).toMatchObject({ ok: true, problems: [] })
    }
  })
})

it('M4 a primary that was in sync when its nodes were fenced at an epoch which it has passed commits nothing more', async () => {
  const { three, store, shipping } = await Three.found('quorum')
  // A service that has heard of epoch 1 asks n3, which was away since; n2 has followed epoch 4 by now.
  await three.followers.get('n3')!.close()
  await shipping.close()
  await store.close()
  for (let i = 0; i < 2; i++) await (await three.start(OLD)).close()
  const late = await three.start(OLD)
  const again = await three.ship(OLD, late)
  await until(() => again.status().inSync === 1)
  await write(late, [50])
  await three.follow('n3')
  await three.fence(2, ['n3'])
  await until(() => again.status().fencedBy === 2)
  expect(await failure(() => write(late, [51]))).toMatchObject({ name: 'FencedError' })
  // n2 has seen more than that.
  expect(await failure(() => three.fence(2, ['n2']))).toMatchObject({ name: 'StaleEpochError', held: 4 })
  await again.close()
  await late.close()
  // The service asks again, with what it was told.
  const records = await three.fence(5)
  const { name, store: heir } = await three.promote(records, 5)
  expect(name).toBe('n2')
  const next = await three.ship(name, heir)
  await until(() => next.status().inSync === 1)
  expect(await idsOf(heir)).toEqual([...range(0, 20), 50])
})

it('M4 fences that came to nothing: opened with their epoch the primary goes on, also where starts of its own have taken that epoch', async () => {
  const { three, store, shipping } = await Three.found('quorum')
  await shipping.close()
  await store.close()
  await three.fence(2)
  for (let i = 0; i < 3; i++) await isRefused(three, 2)
  const claimed = await three.start(OLD, { epoch: 2 })
  expect(Number(claimed.epoch)).toBe(5)
  const next = await three.ship(OLD, claimed)
  await until(() => next.status().inSync === 2)
  await write(claimed, [100])
  await next.close()
  await claimed.close()
  // A plain start goes on by the decision that was taken.
  const later = await three.start(OLD)
  const last = await three.ship(OLD, later)
  await until(() => last.status().inSync === 2)
  await write(later, [101])
  expect(await idsOf(later)).toEqual([...range(0, 20), 100, 101])
})

it('M4 opened with the epoch of a fence that was believed to have come to nothing, a primary is refused where the one promoted at it was followed', async () => {
  const { three, store, shipping } = await Three.found('quorum')
  await shipping.close()
  await store.close()
  const records = await three.fence(2)
  const { name, store: heir } = await three.promote(records, 2)
  const next = await three.ship(name, heir)
  await until(() => next.status().inSync === 1)
  await write(heir, [100])
  for (let i = 0; i < 4; i++) await (await three.start(OLD)).close()
  const claimed = await three.start(OLD, { epoch: 2 })
  expect(claimed.epoch).toBeGreaterThan(heir.epoch)
  const other = await three.ship(OLD, claimed)
  await until(() => other.status().fencedBy === 2)
  expect(await failure(() => write(claimed, [900]))).toMatchObject({ name: 'FencedError' })
  // The one that was promoted has not heard of it.
  await write(heir, [101])
  expect(next.status()).toMatchObject({ fencedBy: 0, inSync: 1 })
})

it('M1 an old primary that comes back with plain starts beyond its successor does not outrank what the successor has committed', async () => {
  const { three, store, shipping } = await Three.found('quorum')
  await shipping.close()
  await store.close()
  const { name, store: heir } = await three.promote(await three.fence(2), 2)
  const next = await three.ship(name, heir)
  await until(() => next.status().inSync === 1)
  await write(heir, [100, 101])
  // n1 knows of nothing: its epochs pass that of its successor, and its log has their records alone.
  for (let i = 0; i < 9; i++) await (await three.start(OLD)).close()
  await next.close()
  await heir.close()
  // n1 comes back as a follower, and who was promoted is lost: n1 and another one are what there is.
  await three.follow(OLD)
  const other = NAMES.find((each) => each !== name && each !== OLD)!
  const records = await three.fence(20, [OLD, other])
  expect(records).toMatchObject([
    { id: OLD, lastMandate: 0, lastEpoch: 10 },
    { id: other, lastMandate: mandateOfPromotion(2), lastEpoch: Number(heir.epoch) },
  ])
  const { name: won, store: last } = await three.promote(records, 20)
  expect(won).toBe(other)
  const sender = await three.ship(won, last)
  await until(() => sender.status().inSync === 1)
  await write(last, [102])
  const rows = [...range(0, 20), 100, 101, 102]
  expect(await idsOf(last)).toEqual(rows)
  const follower = three.followers.get(OLD)!
  await until(() => follower.status().lsn === last.lsn)
  expect(await idsOf(follower.store)).toEqual(rows)
  expect(await follower.store.verify({ against: three.roots.get(won)! as never })).toMatchObject({ ok: true, problems: [] })
})
