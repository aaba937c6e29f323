// A replica becomes the primary, and the primary of before comes back as a replica (shipping.md section 12; M3, M4, M5).
import { describe, expect, it, onTestFinished } from 'vitest'

import { type Root, Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { candidates, MemoryNetwork } from '../../../bindings/ship/index.ts'
import { Replica, type Shipping } from '../../../bindings/store/index.ts'
import { failure, opened, QUIET, tempDirectory } from '../../unit/store/places.ts'
import { people, until } from '../flow/flow-kit.ts'

interface Node {
  readonly name: string
  readonly root: Root
  replica: Replica | undefined
}

type Shipped = Awaited<ReturnType<typeof opened>>

class Cluster {
  readonly network: MemoryNetwork = new MemoryNetwork(defaultWorld())
  readonly nodes: Node[]
  primary: Node
  store!: Shipped
  shipping!: Shipping

  constructor(names: readonly string[]) {
    this.nodes = names.map((name) => ({ name, root: new MemoryRoot({}), replica: undefined }))
    this.primary = this.nodes[0]!
    onTestFinished(async () => {
      await this.shipping?.close().catch(() => undefined)
      for (const { replica } of this.nodes) await replica?.close().catch(() => undefined)
      await this.store?.close().catch(() => undefined)
    })
  }

  async follow(node: Node): Promise<void> {
    node.replica = await Replica.open(node.root, {
      replicaId: node.name,
      endpoint: { data: node.name, version: 1 },
      transport: this.network.transport(node.name),
      openRetry: { delaysMs: [0, 0] },
    })
  }

  /** From the primary to every other node, which listens or will. */
  async ship(ack: 'async' | 'quorum'): Promise<void> {
    const replicas = this.nodes.filter((node) => node !== this.primary).map(({ name }) => ({ id: name, endpoint: name }))
    this.shipping = await this.store.ship({ replicas, transport: this.network.transport(this.primary.name), ack, ackTimeoutMs: 1000 })
  }

  async write(from: number, count: number): Promise<void> {
    for (let i = from; i < from + count; i++) await this.store.append(people, { id: BigInt(i), name: `person ${i}`, group: i % 3 })
  }

  async ids(store: Pick<Store, 'scan'> = this.store): Promise<number[]> {
    return (await store.scan(people).toArray()).map(({ id }) => Number(id)).toSorted((a, b) => a - b)
  }

  async start(ack: 'async' | 'quorum'): Promise<void> {
    this.store = await opened(this.primary.root, QUIET)
    await this.store.create(people)
    for (const node of this.nodes) if (node !== this.primary) await this.follow(node)
    await this.ship(ack)
    await this.shipping.settled({ signal: AbortSignal.timeout(30_000) })
  }

  /** The primary is gone from the network; its process lives on. */
  isolate(): void {
    for (const node of this.nodes) if (node !== this.primary) this.network.partition(this.primary.name, node.name)
  }

  /** The winner among the nodes that can be asked, fenced before they are compared. */
  async promote(): Promise<void> {
    const epoch = Number(this.store.epoch) + 1
    const asked = this.nodes.filter((node) => node !== this.primary && node.replica !== undefined)
    const records = await Promise.all(asked.map(({ replica }) => replica!.fence({ epoch })))
    const { candidates: found } = candidates(records, 'quorum', this.nodes.length, { storeId: this.store.id, epoch })
    const winner = asked.find(({ name }) => name === found[0]?.id)!
    this.store = (await winner.replica!.promote({ epoch })) as Shipped
    winner.replica = undefined
    this.primary = winner
  }
}

const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i)

describe('promotion', () => {
  it('M3 nodes are fenced, compared and promoted three times over: committed writes are there, what was cut off never comes back', async () => {
    const cluster = new Cluster(['a', 'b', 'c'])
    await cluster.start('quorum')
    await cluster.write(0, 10)
    const expected = range(0, 10)
    for (let round = 1; round <= 3; round++) {
      const old = cluster.primary
      const { store, shipping } = cluster
      cluster.isolate()
      // Nobody confirms it.
      expect(await failure(() => store.append(people, { id: BigInt(900 + round), name: 'lost', group: 0 }))).toMatchObject({
        kind: expect.any(String) as string,
      })
      await cluster.promote()
      await shipping.close()
      await store.close()
      cluster.network.heal()
      await cluster.follow(old)
      await cluster.ship('quorum')
      await cluster.shipping.settled({ signal: AbortSignal.timeout(30_000) })
      await cluster.write(round * 100, 10)
      expected.push(...range(round * 100, 10))
      await cluster.shipping.settled({ signal: AbortSignal.timeout(30_000) })
      expect(await cluster.ids()).toEqual(expected)
      for (const { replica } of cluster.nodes) {
        if (replica === undefined) continue
        await replica.store.waitCommitted(cluster.store.lsn, { signal: AbortSignal.timeout(30_000) })
        expect(await cluster.ids(replica.store)).toEqual(expected)
        expect(await replica.store.verify({ against: cluster.primary.root })).toMatchObject({ ok: true })
      }
    }
  })

  it('M4 the old primary writes on while it is cut off: nothing of it commits, on heal it is fenced, and it comes back by catch-up', async () => {
    const cluster = new Cluster(['a', 'b', 'c'])
    await cluster.start('quorum')
    await cluster.write(0, 5)
    const old = cluster.primary
    const { store, shipping } = cluster
    cluster.isolate()
    const late = failure(() => store.append(people, { id: 500n, name: 'late', group: 0 }, { allowIndeterminate: true } as never))
    await cluster.promote()
    await cluster.ship('quorum')
    await cluster.shipping.settled({ replicas: 1, signal: AbortSignal.timeout(30_000) })
    await cluster.write(100, 5)
    cluster.network.heal()
    await until(() => shipping.status().fencedBy > 0)
    expect((await late).name).toMatch(/AckTimeoutError|FencedError|AckUnavailableError/)
    expect(await cluster.ids(store)).toEqual(range(0, 5))
    await shipping.close()
    await store.close()
    await cluster.follow(old)
    await cluster.shipping.settled({ signal: AbortSignal.timeout(30_000) })
    await old.replica!.store.waitCommitted(cluster.store.lsn, { signal: AbortSignal.timeout(30_000) })
    expect(old.replica!.status().generation).toBe(0)
    expect(await cluster.ids(old.replica!.store)).toEqual([...range(0, 5), ...range(100, 5)])
  })

  it('M5 in mode async a promotion says what it gives up; a replica that lacks more is refused', async () => {
    const cluster = new Cluster(['a', 'b'])
    await cluster.start('async')
    await cluster.write(0, 5)
    await cluster.shipping.settled({ signal: AbortSignal.timeout(30_000) })
    const { replica } = cluster.nodes[1]!
    const head = Number(cluster.store.lsn)
    expect(await failure(() => replica!.promote())).toMatchObject({ name: 'InvalidConfigError', key: 'acceptLossAbove' })
    expect(await failure(() => replica!.promote({ acceptLossAbove: head + 1 }))).toMatchObject({ name: 'CommittedTruncationError' })
    expect(replica!.status().connected).toBe(true)
    const store = await replica!.promote({ acceptLossAbove: head })
    onTestFinished(() => store.close())
    expect(await cluster.ids(store)).toEqual(range(0, 5))
    expect(Number(store.epoch)).toBeGreaterThan(Number(cluster.store.epoch))
    await store.append(people, { id: 77n, name: 'new', group: 1 })
    expect(await cluster.ids(store)).toEqual([...range(0, 5), 77])
  })

  it('the root of a replica is not opened for writing otherwise', async () => {
    const cluster = new Cluster(['a', 'b'])
    await cluster.start('async')
    const { replica, root } = cluster.nodes[1]!
    await replica!.close()
    expect(await failure(() => Store.open(root, QUIET))).toMatchObject({ name: 'ReadOnlyError' })
    const reader = await Store.open(root, { readOnly: true, follow: false })
    expect(reader.id).toBe(cluster.store.id)
    await reader.close()
  })

  it.each([
    ['a private memory root', () => 'memory:'],
    ['a directory', () => tempDirectory()],
  ])('of a replica on %s hands out the store that it was', async (_, place) => {
    const network = new MemoryNetwork(defaultWorld())
    const store = await opened(new MemoryRoot({}), QUIET)
    await store.create(people)
    const replica = await Replica.open(place(), { replicaId: 'r', endpoint: { data: 'r', version: 1 }, transport: network.transport('r') })
    onTestFinished(() => replica.close())
    const shipping = await store.ship({ replicas: [{ id: 'r', endpoint: 'r' }], transport: network.transport('p') })
    onTestFinished(() => shipping.close())
    await store.append(people, { id: 1n, name: 'one', group: 1 })
    await shipping.settled({ signal: AbortSignal.timeout(30_000) })
    const promoted = await replica.promote({ acceptLossAbove: store.lsn })
    onTestFinished(() => promoted.close())
    await promoted.append(people, { id: 2n, name: 'two', group: 1 })
    expect(await promoted.scan(people).count()).toBe(2)
  })
})
