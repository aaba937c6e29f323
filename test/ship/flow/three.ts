// Three nodes of which each may become the primary: what the tests of promotions are made of.
import { expect, onTestFinished } from 'vitest'

import type { Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { type AckMode, candidates, MemoryNetwork, type NodeRecord } from '../../../bindings/ship/index.ts'
import { type PromoteOptions, Replica, type Shipping } from '../../../bindings/store/index.ts'
import { opened } from '../../unit/store/places.ts'
import { people, until } from './flow-kit.ts'

export const NAMES = ['n1', 'n2', 'n3'] as const
export type Name = (typeof NAMES)[number]
export const OLD = 'n1'

/** n1 writes, n2 and n3 follow; each of them may become something else. */
export class Three {
  readonly network: MemoryNetwork = new MemoryNetwork(defaultWorld())
  readonly roots: Map<Name, MemoryRoot> = new Map(NAMES.map((name) => [name, new MemoryRoot({})]))
  readonly followers: Map<Name, Replica> = new Map()
  readonly open: Set<{ close(): Promise<void> }> = new Set()
  readonly mode: AckMode
  version = 0

  constructor(mode: AckMode) {
    this.mode = mode
    onTestFinished(async () => {
      for (const each of this.open) await each.close().catch(() => undefined)
    })
  }

  async follow(name: Name): Promise<void> {
    const transport = this.network.transport(name)
    const replica = await Replica.open(this.roots.get(name)!, { replicaId: name, endpoint: { data: name, version: 1 }, transport })
    this.followers.set(name, replica)
    this.open.add(replica)
  }

  async start(name: Name, o: { readonly epoch?: number } = {}): Promise<Store> {
    const store = await opened(this.roots.get(name) as never, o)
    this.open.add(store)
    return store
  }

  async ship(name: Name, store: Store): Promise<Shipping> {
    this.version++
    const replicas = NAMES.filter((each) => each !== name).map((id) => ({ id, endpoint: { data: id, version: this.version } }))
    const transport = this.network.transport(name)
    return await store.ship({ replicas, ack: this.mode, transport, ackTimeoutMs: 1000, allowIndeterminate: true })
  }

  /** A cluster that has written 20 rows under `store`. */
  static async found(mode: AckMode): Promise<{ readonly three: Three; readonly store: Store; readonly shipping: Shipping }> {
    const three = new Three(mode)
    const store = await three.start(OLD)
    await store.create(people)
    await three.follow('n2')
    await three.follow('n3')
    const shipping = await three.ship(OLD, store)
    await until(() => shipping.status().inSync === 2)
    await write(store, range(0, 20))
    await shipping.settled()
    return { three, store, shipping }
  }

  fence(epoch: number, names: readonly Name[] = ['n2', 'n3']): Promise<NodeRecord[]> {
    return Promise.all(names.map((name) => this.followers.get(name)!.fence({ epoch })))
  }

  /** @returns who it is, open for writing */
  async promote(records: readonly NodeRecord[], epoch: number): Promise<{ readonly name: Name; readonly store: Store }> {
    const { candidates: found, detail } = candidates(records, this.mode, NAMES.length, { storeId: records[0]!.storeId, epoch })
    expect(found, detail).not.toEqual([])
    const name = found[0]!.id as string as Name
    return { name, store: await this.become(name, { epoch, ...(this.mode === 'async' ? { acceptLossAbove: found[0]!.readableLsn } : {}) }) }
  }

  /** That follower, whatever others hold. */
  async become(name: Name, o: PromoteOptions): Promise<Store> {
    const store = await this.followers.get(name)!.promote(o)
    this.open.add(store)
    this.followers.delete(name)
    return store
  }
}

export const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i)

export async function write(store: Store, ids: readonly number[]): Promise<void> {
  await Promise.all(ids.map((id) => store.upsert(people, [{ id: BigInt(id), name: `row ${id}`, group: 0 }])))
}

export async function idsOf(store: Pick<Store, 'scan'>): Promise<number[]> {
  const rows = (await store.scan(people).toArray()) as { id: bigint }[]
  return rows.map(({ id }) => Number(id)).sort((a, b) => a - b)
}
