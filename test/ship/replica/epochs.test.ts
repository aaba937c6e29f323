// Which epochs a replica takes, and whose folder it is: what would leave a node without a primary, or under another's name, is refused before it is kept.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'

import { EPOCH_MAX } from '../../../bindings/options.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { fenceReplica, MemoryNetwork } from '../../../bindings/ship/index.ts'
import { fence, Replica } from '../../../bindings/store/index.ts'
import { fromHex } from '../../../bindings/format/index.ts'
import { failure, opened } from '../../unit/store/places.ts'
import { fill, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, tempDirectory } from './kit.ts'

interface Following {
  readonly network: MemoryNetwork
  readonly root: MemoryRoot
  readonly primary: Primary
  readonly replica: Replica
  readonly from: RawSender
  readonly head: number
}

async function following(): Promise<Following> {
  const network = new MemoryNetwork(defaultWorld())
  const root = new MemoryRoot({})
  const primary = await primaryOn()
  await primary.store.create(items)
  await fill(primary.store, 0, 20)
  const replica = await replicaOn(network, root)
  const from = await RawSender.connect(network, replica, primary)
  return { network, root, primary, replica, from, head: await from.catchUp(replica) }
}

type Fence = (all: Following, epoch: number) => Promise<unknown>

const FENCES: readonly (readonly [string, Fence])[] = [
  ['by its own process', ({ replica }, epoch) => replica.fence({ epoch })],
  ['by its address', ({ network, replica }, epoch) => fence(replica.endpoint.data, { epoch, transport: network.transport('caller') })],
  [
    'over a link',
    ({ network, primary, replica: { endpoint } }, epoch) =>
      fenceReplica({ transport: network.transport('caller'), endpoint, world: defaultWorld(), epoch, storeId: fromHex(primary.store.id) }),
  ],
]

describe.each(FENCES)('a fence %s', (how, fenced) => {
  it.each([EPOCH_MAX + 1, Number.MAX_SAFE_INTEGER])('at epoch %d is refused, and kept nowhere: the node can be promoted', async (epoch) => {
    const all = await following()
    const name = how === 'over a link' ? 'UnknownFrameError' : 'InvalidConfigError'
    expect(await failure(() => fenced(all, epoch))).toMatchObject({ name, message: expect.stringContaining(String(EPOCH_MAX)) })
    expect(all.replica.status().epoch).toBe(1)
    const store = await all.replica.promote({ acceptLossAbove: all.head })
    onTestFinished(() => store.close())
    expect(store.epoch).toBe(2n)
  })

  it('at the epoch of a primary that it has followed is refused: that primary would go on', async () => {
    const all = await following()
    expect(await failure(() => fenced(all, 1))).toMatchObject({ name: 'StaleEpochError', held: 1, message: expect.stringContaining('more than 1') })
    expect(all.replica.status()).toMatchObject({ connected: true, epoch: 1 })
    await fill(all.primary.store, 20, 25)
    await all.from.entries(all.head, all.head + 5)
    await all.from.durable(all.head + 5)
  })

  it('at the epoch of a fence says the same again, until a primary of that epoch came', async () => {
    const all = await following()
    expect(await fenced(all, 5)).toMatchObject({ epochSeen: 5, readableLsn: all.head })
    expect(await fenced(all, 5)).toMatchObject({ epochSeen: 5, readableLsn: all.head })
    await all.replica.close()
    const replica = await replicaOn(all.network, all.root, { endpoint: { data: 'again', version: 1 } })
    expect(await fenced({ ...all, replica }, 5)).toMatchObject({ epochSeen: 5, readableLsn: all.head })
    await (await RawSender.connect(all.network, replica, all.primary, { epoch: 5 })).hello()
    expect(await failure(() => fenced({ ...all, replica }, 5))).toMatchObject({ name: 'StaleEpochError', held: 5, seen: 5 })
    expect(await fenced({ ...all, replica }, 6)).toMatchObject({ epochSeen: 6 })
  })

  it('at the highest epoch leaves a node that is promoted, ships, and is opened again', async () => {
    const all = await following()
    await fenced(all, EPOCH_MAX)
    const promoted = await all.replica.promote({ epoch: EPOCH_MAX, acceptLossAbove: all.head })
    expect(promoted.epoch).toBe(BigInt(EPOCH_MAX) + 1n)
    await promoted.close()
    const store = await opened(all.root)
    expect(store.epoch).toBe(BigInt(EPOCH_MAX) + 2n)
    const other = await replicaOn(all.network, new MemoryRoot({}), { replicaId: 'r2', endpoint: { data: 'other', version: 1 } })
    await using shipping = await store.ship({ replicas: [{ id: 'r2', endpoint: 'other' }], transport: all.network.transport('heir') })
    await shipping.settled({ signal: AbortSignal.timeout(10_000) })
    expect(other.status()).toMatchObject({ durable: store.lsn, epoch: EPOCH_MAX + 2 })
  })
})

it('the hello of a primary of an epoch that none can have is refused as a frame, and kept nowhere', async () => {
  const { network, root, primary, replica } = await following()
  const late = await RawSender.connect(network, replica, primary, { epoch: 2 * EPOCH_MAX + 1 })
  await late.send({
    type: 'hello',
    protocol: 1,
    replicaId: 'r1',
    storeId: fromHex(primary.store.id),
    endpointVersion: 1,
    mandate: 0,
    decision: '',
    kind: 'bootstrap',
  })
  expect(await late.refusal()).toMatchObject({ name: 'UnknownFrameError' })
  expect(replica.status()).toMatchObject({ connected: true, epoch: 1 })
  await replica.close()
  expect((await replicaOn(network, root, { endpoint: { data: 'again', version: 1 } })).status().epoch).toBe(1)
})

it.each([0, 1.5, Number.NaN, EPOCH_MAX + 1, Number.MAX_SAFE_INTEGER])(
  'a promotion to epoch %d, and an open at it, are refused before anything is done',
  async (epoch) => {
    const { replica, head } = await following()
    expect(await failure(() => replica.promote({ epoch, acceptLossAbove: head }))).toMatchObject({ name: 'InvalidConfigError', key: 'epoch', value: epoch })
    expect(await failure(() => opened(new MemoryRoot({}), { epoch }))).toMatchObject({ name: 'InvalidConfigError', key: 'epoch' })
    await using store = await replica.promote({ acceptLossAbove: head })
    expect(store.epoch).toBe(2n)
  },
)

describe('the folder of a replica', () => {
  it('is not opened under another id, and stays what it was', async () => {
    const { network, root, replica, head } = await following()
    await replica.close()
    const refused = await failure(() => replicaOn(network, root, { replicaId: 'somebody-else' }))
    expect(refused).toMatchObject({ name: 'ReplicaMismatchError', message: expect.stringMatching(/is replica r1, not somebody-else/) })
    const again = await replicaOn(network, root, { endpoint: { data: 'again', version: 1 } })
    expect(again.status()).toMatchObject({ replicaId: 'r1', durable: BigInt(head) })
  })

  it('takes any id where it was a primary: of the first one, and of one that was promoted', async () => {
    const { network, root, primary, replica, head } = await following()
    const heir = await replica.promote({ acceptLossAbove: head })
    await heir.close()
    await primary.store.close()
    for (const [place, id] of [
      [root, 'any'],
      [primary.root, 'other'],
    ] as const) {
      const back = await replicaOn(network, place, { replicaId: id, endpoint: { data: id, version: 1 } })
      expect(back.status()).toMatchObject({ replicaId: id, role: 'replica' })
    }
  })

  it.each(['./', 'nowhere'])('is not made by create: never (%s)', async (below) => {
    const folder = tempDirectory()
    const o = { replicaId: 'r1', listen: '127.0.0.1:0', create: 'never' } as const
    expect(await failure(() => Replica.open(join(folder, below), o))).toMatchObject({ name: 'NotAStoreError' })
    expect(readdirSync(folder)).toEqual([])
  })

  it('is not made of a primary by create: never, and a replica that is there is opened by it', async () => {
    const folder = tempDirectory()
    const o = { replicaId: 'r1', listen: '127.0.0.1:0', create: 'never' } as const
    await (await opened(folder)).close()
    const before = readdirSync(folder, { recursive: true })
    expect(await failure(() => Replica.open(folder, o))).toMatchObject({
      name: 'InvalidConfigError',
      message: expect.stringContaining('is a primary already'),
      hint: expect.stringContaining('varve serve'),
    })
    expect(readdirSync(folder, { recursive: true })).toEqual(before)
    await (await Replica.open(folder, { ...o, create: 'if-missing' })).close()
    await (await Replica.open(folder, o)).close()
    expect(await failure(() => Replica.open(folder, { ...o, create: 'must' as never }))).toMatchObject({ name: 'InvalidConfigError', key: 'create' })
  })
})
