// Promotions over real stores: what was acknowledged survives each of them, what was not is cut off for good, and whoever was primary before comes back as a
// follower (M3 to M5 of shipping.md section 16).
import { expect, it, onTestFinished } from 'vitest'

import type { Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { type AckMode, candidates, MemoryNetwork, replicaId, type Transport, type WireFrame } from '../../../bindings/ship/index.ts'
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
    this.shipping = await this.store.ship({ replicas, ack: this.mode, transport, ackTimeoutMs: 1000, allowIndeterminate: true })
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

/** Acknowledgements of live streams get lost. */
function withoutAcks(transport: Transport): Transport {
  return {
    listen: (host, endpoint) => transport.listen(host, endpoint),
    async connect(endpoint, signal) {
      const link = await transport.connect(endpoint, signal)
      async function* frames(): AsyncGenerator<WireFrame> {
        for await (const frame of link.frames) if (frame.message.type !== 'ack') yield frame
      }
      return { send: (frame) => link.send(frame), frames: frames(), close: (reason) => link.close(reason), bufferedBytes: 0, peer: link.peer }
    },
  }
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

it.each(['quorum', 'all'] as const)(
  'M4 %s: an old primary that lives on behind a partition commits nothing; healed, it is fenced, then follows without what it wrote',
  async (mode) => {
    const three = await Three.found(mode)
    await three.write(range(0, 50))
    await three.equal()
    const old = { name: three.primary, store: three.store, shipping: three.shipping }
    const fenced: number[] = []
    old.shipping.on('fenced', () => void fenced.push(1))
    for (const follower of three.followers.keys()) three.network.partition(old.name, follower)
    await three.promote()
    await three.ship()
    // Both write. Of three nodes two are a majority; all of them are what nobody has before the old primary is back.
    const open = await Promise.allSettled(range(100, 50).map((id) => three.write([id])))
    expect(new Set(open.map(({ status }) => status))).toEqual(new Set([mode === 'quorum' ? 'fulfilled' : 'rejected']))
    expect(await idsOf(three.store)).toEqual([...range(0, 50), ...(mode === 'quorum' ? range(100, 50) : [])])
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
    const plans = three.shipping.log.eventsFor(replicaId(old.name)).map(({ event }) => event)
    expect(plans).toContain('truncation_recorded')
    expect(plans.filter((event) => event.startsWith('plan_rebuild') || event === 'escalated')).toEqual([])
    // The one that it wrote alone is nowhere, on its own disk neither.
    for (const replica of three.followers.values()) {
      await using all = await replica.store.snapshot()
      expect(await idsOf(all)).toEqual(await idsOf(three.store))
    }
  },
)

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

it('M5 what a promotion says it keeps is what is there, while its primary writes', async () => {
  const three = await Three.found('async')
  let isOver = false
  const writing = (async () => {
    for (let id = 0; !isOver; id += 10) await three.write(range(id, 10)).catch(() => undefined)
  })()
  const replica = three.followers.get('n2')!
  await until(() => replica.status().durable > 100n)
  const seen = replica.status().durable
  three.followers.delete('n2')
  const store = await replica.promote({ acceptLossAbove: 1 })
  onTestFinished(() => store.close())
  isOver = true
  await writing
  const { value: promotion } = await store.audit({ kinds: ['promotion'] }).next()
  const kept = /kept up to LSN (\d+), (\d+) was called committed/.exec(promotion!.reason!)!.slice(1).map(Number)
  // Its own record stands behind that of its epoch.
  expect(kept[0]).toBe(Number(promotion!.lsn) - 2)
  expect(kept[0]).toBeGreaterThanOrEqual(Number(seen))
  expect(kept[1]).toBeLessThanOrEqual(kept[0]!)
  await three.store.close()
})

it('M4 an old primary that is started again above the epoch of its successor cuts off nothing that the successor may have promised', async () => {
  const three = await Three.found('quorum')
  await three.write(range(0, 20))
  await three.equal()
  const old = three.primary
  await three.shipping.close()
  await three.store.close()
  const successor = await three.promote()
  const [witness] = [...three.followers.keys()] as [string]
  const replica = three.followers.get(witness)!
  const common = replica.status().durable
  const given = (transport: Transport = three.network.transport(three.primary)): Parameters<Store['ship']>[0] => ({
    replicas: [...NAMES].filter((name) => name !== three.primary).map((id) => ({ id, endpoint: { data: id, version: ++three.version } })),
    ack: 'quorum',
    transport,
    ackTimeoutMs: 1000,
    allowIndeterminate: true,
  })
  // What the successor writes is durable on both, and neither hears a word of that.
  three.shipping = await three.store.ship(given(withoutAcks(three.network.transport(successor))))
  await expect(three.write([100])).rejects.toMatchObject({ name: 'AckTimeoutError' })
  await until(() => replica.status().durable > common)
  const held = replica.status().durable
  expect(replica.status().committed).toBeLessThanOrEqual(common)
  await three.shipping.close()
  await three.store.close()
  three.network.heal()
  // Nobody has asked the nodes who may be the primary.
  three.store = await opened(three.roots.get(old) as never, { epoch: 50 })
  three.primary = old
  three.shipping = await three.store.ship(given())
  await until(() => three.shipping.status().halted === 1)
  expect(three.shipping.status().replicas.find(({ id }) => id === witness)).toMatchObject({ state: 'halted', reason: 'split_history' })
  await expect(three.write([900])).rejects.toMatchObject({ name: 'AckTimeoutError' })
  expect(replica.status().durable).toBe(held)
  await three.shipping.close()
  await three.store.close()
  // The successor goes on, above it.
  three.store = await opened(three.roots.get(successor) as never, { epoch: 60 })
  three.primary = successor
  await three.ship()
  await three.write([101])
  await three.follow(old)
  await until(() => three.shipping.status().inSync === 2)
  await three.equal()
  expect(await idsOf(three.store)).toEqual([...range(0, 20), 100, 101])
})
