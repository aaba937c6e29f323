// Promotions over real stores: what was acknowledged survives each of them, what was not is cut off for good, and whoever was primary before comes back as a
// follower (M3 to M5 of shipping.md section 16).
import { expect, it, onTestFinished } from 'vitest'

import type { Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { type AckMode, candidates, MemoryNetwork, replicaId } from '../../../bindings/ship/index.ts'
import { Replica, type Shipping } from '../../../bindings/store/index.ts'
import { opened } from '../../unit/store/places.ts'
import { people, until } from './flow-kit.ts'

const NAMES = ['n1', 'n2', 'n3'] as const

/** Three nodes; one is the primary, the others follow it or are away. */
class Three {
  readonly network: MemoryNetwork = new MemoryNetwork(defaultWorld())
  readonly roots: Map<string, MemoryRoot> = new Map(NAMES.map((name) => [name, new MemoryRoot({})]))
  readonly followers: Map<string, Replica> = new Map()
  readonly mode: AckMode
  primary = 'n1'
  store!: Store
  shipping!: Shipping
  version = 0

  constructor(mode: AckMode) {
    this.mode = mode
    onTestFinished(async () => {
      await this.shipping.close()
      for (const replica of this.followers.values()) await replica.close()
    })
  }

  static async found(mode: AckMode): Promise<Three> {
    const three = new Three(mode)
    three.store = await opened(three.roots.get('n1') as never)
    await three.store.create(people)
    for (const name of ['n2', 'n3']) await three.follow(name)
    await three.ship()
    return three
  }

  async follow(name: string): Promise<Replica> {
    const replica = await Replica.open(this.roots.get(name)!, {
      replicaId: name,
      endpoint: { data: name, version: 1 },
      transport: this.network.transport(name),
    })
    this.followers.set(name, replica)
    return replica
  }

  /** Every other node is a voter, there or not. */
  async ship(): Promise<void> {
    this.version++
    const replicas = NAMES.filter((name) => name !== this.primary).map((id) => ({ id, endpoint: { data: id, version: this.version } }))
    const transport = this.network.transport(this.primary)
    this.shipping = await this.store.ship({ replicas, ack: this.mode, transport, ackTimeoutMs: 300, allowIndeterminate: true })
    const present = replicas.filter(({ id }) => this.followers.has(id)).length
    await until(() => this.shipping.status().inSync === present)
  }

  /** Fences the followers, and promotes the one that may be. @returns who it is */
  async promote(o: { readonly acceptLossAbove?: number } = {}): Promise<string> {
    const epoch = Math.max(...[...this.followers.values()].map((replica) => replica.status().epoch)) + 1
    const records = await Promise.all([...this.followers.values()].map((replica) => replica.fence({ epoch })))
    const { storeId } = records[0]!
    const answer = candidates(records, this.mode, NAMES.length, { storeId, epoch })
    expect(answer.reason, answer.detail).toBe('ok')
    const winner = answer.candidates[0]!.id
    this.store = await this.followers.get(winner)!.promote({ epoch, ...o })
    this.followers.delete(winner)
    this.primary = winner
    return winner
  }

  /** Commits of one row each. */
  async write(ids: readonly number[]): Promise<void> {
    await Promise.all(ids.map((id) => this.store.upsert(people, [{ id: BigInt(id), name: `of ${this.primary}`, group: 0 }])))
  }

  async equal(): Promise<void> {
    await this.shipping.settled({ signal: AbortSignal.timeout(30_000) })
    for (const replica of this.followers.values()) {
      await until(() => replica.status().lsn === this.store.lsn)
      expect(await idsOf(replica.store)).toEqual(await idsOf(this.store))
      expect(await replica.store.verify({ against: this.roots.get(this.primary)! as never })).toMatchObject({ ok: true, problems: [] })
    }
  }
}

async function idsOf(store: Pick<Store, 'scan'>): Promise<number[]> {
  const rows = (await store.scan(people).toArray()) as { id: bigint }[]
  return rows.map(({ id }) => Number(id)).sort((a, b) => a - b)
}

const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i)

it('M3 a chain of three promotions: every committed write is there, none that was cut off comes back, and each old primary follows', async () => {
  const three = await Three.found('quorum')
  const committed: number[] = []
  const lost: number[] = []
  for (let round = 0; round < 3; round++) {
    const from = round * 1000
    await three.write(range(from, 100))
    committed.push(...range(from, 100))
    await three.equal()
    // Cut off, the primary writes what nobody confirms, and is gone.
    for (const follower of three.followers.keys()) three.network.partition(three.primary, follower)
    three.network.cut(three.primary)
    const alone = range(from + 500, 5)
    const results = await Promise.allSettled(alone.map((id) => three.write([id])))
    expect(results.map(({ status }) => status)).toEqual(alone.map(() => 'rejected'))
    lost.push(...alone)
    const old = three.primary
    const head = three.store.lsn
    await three.shipping.close()
    await three.store.close()
    three.network.heal()
    expect(await three.promote()).not.toBe(old)
    await three.ship()
    await three.write([from + 900])
    committed.push(from + 900)
    // It comes back with a tail of its own.
    const back = await three.follow(old)
    expect(back.status().durable).toBeGreaterThanOrEqual(head)
    await until(() => three.shipping.status().inSync === 2)
    await three.equal()
    const plans = three.shipping.log.eventsFor(replicaId(old)).map(({ event }) => event)
    expect(plans).toContain('truncation_recorded')
    expect(plans.filter((event) => event === 'escalated' || event === 'halted')).toEqual([])
    expect(await idsOf(three.store)).toEqual(committed.toSorted((a, b) => a - b))
  }
  const ids = new Set(await idsOf(three.store))
  expect(lost.filter((id) => ids.has(id))).toEqual([])
})

it('M4 an old primary that lives on behind a partition commits nothing; healed, it is fenced, then follows without what it wrote', async () => {
  const three = await Three.found('quorum')
  await three.write(range(0, 50))
  await three.equal()
  const old = { name: three.primary, store: three.store, shipping: three.shipping }
  const fenced: number[] = []
  old.shipping.on('fenced', () => void fenced.push(1))
  for (const follower of three.followers.keys()) three.network.partition(old.name, follower)
  await three.promote()
  await three.ship()
  await three.write(range(100, 50))
  // Both write; one of them commits.
  await expect(old.store.upsert(people, [{ id: 777n, name: 'nobody else has it', group: 1 }])).rejects.toMatchObject({ name: 'AckTimeoutError' })
  expect(await idsOf(old.store)).toEqual(range(0, 50))
  three.network.heal()
  await until(() => fenced.length > 0)
  await expect(old.store.upsert(people, [{ id: 778n, name: 'too late', group: 1 }])).rejects.toMatchObject({ kind: 'fenced' })
  expect(fenced).toHaveLength(1)
  expect(old.shipping.status().inSync).toBe(0)
  await old.shipping.close()
  await old.store.close()
  await three.follow(old.name)
  await until(() => three.shipping.status().inSync === 2)
  await three.equal()
  expect(await idsOf(three.store)).toEqual([...range(0, 50), ...range(100, 50)])
  expect(three.shipping.log.eventsFor(replicaId(old.name)).map(({ event }) => event)).toContain('truncation_recorded')
})

it('M5 in async a promotion must say what it gives up; the old primary that comes back is cut to it', async () => {
  const three = await Three.found('async')
  await three.write(range(0, 50))
  await three.equal()
  const old = three.primary
  for (const follower of three.followers.keys()) three.network.partition(old, follower)
  three.network.cut(old)
  await three.write(range(500, 5))
  await three.shipping.close()
  await three.store.close()
  three.network.heal()
  const kept = Number(three.followers.get('n2')!.status().durable)
  await expect(three.promote()).rejects.toMatchObject({ name: 'InvalidConfigError', key: 'acceptLossAbove' })
  await expect(three.promote({ acceptLossAbove: kept + 1 })).rejects.toMatchObject({ name: 'CommittedTruncationError' })
  await three.promote({ acceptLossAbove: kept })
  await three.ship()
  await three.write(range(100, 10))
  await three.follow(old)
  await until(() => three.shipping.status().inSync === 2)
  await three.equal()
  expect(three.shipping.log.eventsFor(replicaId(old)).map(({ event }) => event)).toContain('truncation_recorded')
  expect(await idsOf(three.store)).toEqual([...range(0, 50), ...range(100, 10)])
})
