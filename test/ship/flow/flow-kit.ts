// A real store and real replicas, over the memory network or over TCP on loopback.
import { expect, onTestFinished } from 'vitest'

import { type Column, type OpenOptions, type Root, type Store, t, type Table, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { type Endpoint, MemoryNetwork, TcpTransport, type Transport } from '../../../bindings/ship/index.ts'
import { Replica, type ReplicaOptions, type Shipping, type ShipOptions } from '../../../bindings/store/index.ts'
import { opened, tempDirectory } from '../../unit/store/places.ts'

export const people: Table<
  'people',
  { id: Column<bigint, bigint, 'number'>; name: Column<string, string, 'order'>; group: Column<number, number, 'number'> },
  ['id']
> = table('people', { id: t.int64(), name: t.utf8(), group: t.int32() }, { key: ['id'] })

export interface Way {
  readonly name: string
  /** Fresh for one test. */
  readonly make: () => Net
}
export interface Net {
  readonly network: MemoryNetwork | undefined
  transport(node: string): Transport
  /** Where a node listens. */
  place(node: string): Endpoint
}

export const WAYS: readonly Way[] = [
  {
    name: 'memory',
    make: () => {
      const network = new MemoryNetwork(defaultWorld(), { asBytes: true })
      return { network, transport: (node) => network.transport(node), place: (node) => ({ data: node, version: 1 }) }
    },
  },
  { name: 'tcp', make: () => ({ network: undefined, transport: () => new TcpTransport(), place: () => ({ data: '127.0.0.1:0', version: 1 }) }) },
]

export const ROOTS: readonly (readonly [string, () => string | Root])[] = [
  ['memory', () => new MemoryRoot({})],
  ['directory', tempDirectory],
]

export class Flow {
  readonly net: Net
  readonly place: string | Root
  store!: Store
  shipping: Shipping | undefined
  readonly replicas: Map<string, Replica> = new Map()
  readonly roots: Map<string, string | Root> = new Map()
  readonly #options: OpenOptions
  #next = 0

  private constructor(net: Net, place: string | Root, options: OpenOptions) {
    this.net = net
    this.place = place
    this.#options = options
  }

  static async open(net: Net, place: string | Root, options: OpenOptions = {}): Promise<Flow> {
    const flow = new Flow(net, place, options)
    await flow.reopen()
    await flow.store.create(people)
    onTestFinished(() => flow.close())
    return flow
  }

  async reopen(): Promise<void> {
    this.store = await opened(this.place as string, this.#options)
  }

  /** Another primary, of another root, for the same replicas. @param store  what a promotion of that root has opened */
  async successor(place: string | Root, store?: Store): Promise<Flow> {
    const world = defaultWorld()
    // After a boot, so that the LOCK of the one before is stale.
    const heir = new Flow(this.net, place, { ...this.#options, world: { ...world, host: { ...world.host, bootId: 'the next one' } } })
    if (store === undefined) await heir.reopen()
    else heir.store = store
    for (const [id, replica] of this.replicas) heir.replicas.set(id, replica)
    heir.#next = 1_000_000
    onTestFinished(async () => {
      await heir.shipping?.close()
      await store?.close()
    })
    return heir
  }

  /** The primary is gone without a word. */
  async crash(): Promise<void> {
    await this.shipping?.close()
    this.store[Symbol.dispose]()
  }

  /** A write that nobody will confirm. */
  unpromised(n: number): Promise<unknown> {
    return this.store.append(people, [{ id: BigInt(-1 - n), name: 'lost', group: 0 }], { allowIndeterminate: true })
  }

  async replica(id: string, root: string | Root, o: Partial<ReplicaOptions> = {}): Promise<Replica> {
    const replica = await Replica.open(root, { replicaId: id, endpoint: this.net.place(id), transport: this.net.transport(id), ...o })
    this.replicas.set(id, replica)
    this.roots.set(id, root)
    return replica
  }

  targets(): { id: string; endpoint: string }[] {
    return Array.from(this.replicas, ([id, { endpoint }]) => ({ id, endpoint: endpoint.data }))
  }

  async ship(o: Omit<ShipOptions, 'replicas'> = {}): Promise<Shipping> {
    this.shipping = await this.store.ship({ replicas: this.targets(), transport: this.net.transport('primary'), ...o })
    return this.shipping
  }

  /** So many commits of one row, some of them over rows that are there. */
  async write(commits: number): Promise<void> {
    const writes: Promise<unknown>[] = []
    for (let i = 0; i < commits; i++) {
      const n = this.#next++
      if (n % 7 === 6) writes.push(this.store.delete(people, BigInt(n - 3)))
      else writes.push(this.store.upsert(people, [{ id: BigInt(n % 11 === 10 ? n - 10 : n), name: `name ${n}`, group: n % 5 }]))
    }
    await Promise.all(writes)
  }

  /** One commit of many rows: it becomes a file. */
  async bulk(rows: number): Promise<void> {
    const from = (this.#next += rows) - rows
    await this.store.append(
      people,
      Array.from({ length: rows }, (_, i) => ({ id: BigInt(1_000_000 + from + i), name: `bulk ${from + i} ${(i * 7919) % 10_007}`, group: i % 9 })),
    )
  }

  /** Everything there, in sync, readable, and equal: chain, state, files, rows. */
  async equal(ids: readonly string[] = [...this.replicas.keys()], replicas: number = ids.length): Promise<void> {
    await this.shipping!.settled({ replicas, signal: AbortSignal.timeout(30_000) }).catch((error: unknown) => {
      const told = this.shipping!.log.events().map(({ replicaId: id, event, detail }) => `${id ?? ''} ${event} ${detail}`)
      throw new Error(
        `not settled:\n${told.slice(-30).join('\n')}\n${JSON.stringify(this.shipping!.status(), (_, v: unknown) => (typeof v === 'bigint' ? Number(v) : v))}`,
        { cause: error },
      )
    })
    for (const id of ids) {
      const replica = this.replicas.get(id)!
      // Not waitCommitted(): that is of one handle, and a rebuild brings another.
      await until(() => replica.store.lsn >= this.store.lsn)
      expect(replica.status().durable).toBe(this.store.lsn)
      expect(await this.rows(replica.store)).toEqual(await this.rows(this.store))
      expect(await replica.store.verify({ against: this.place as string })).toMatchObject({ ok: true, problems: [] })
    }
  }

  async rows(store: Pick<Store, 'scan'>): Promise<unknown[]> {
    const rows = (await store.scan(people).toArray()) as { id: bigint }[]
    return rows.sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  async close(): Promise<void> {
    await this.shipping?.close()
    for (const replica of this.replicas.values()) await replica.close().catch(() => undefined)
  }
}

export async function until(is: () => boolean): Promise<void> {
  const limit = AbortSignal.timeout(30_000)
  while (!is()) {
    limit.throwIfAborted()
    await new Promise((resolve) => setImmediate(resolve))
  }
}
