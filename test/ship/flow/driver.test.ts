// ship() of a real store to replicas that keep what they are sent: sessions, streams, retries, assignments, the end. What a replica does with it is elsewhere.
import { expect, it } from 'vitest'

import type { Store } from '../../../bindings/index.ts'
import { t, table } from '../../../bindings/index.ts'
import { defaultWorld, fillWorld, seededRandom } from '../../../bindings/runtime/index.ts'
import { type Assignment, MemoryNetwork, replicaId } from '../../../bindings/ship/index.ts'
import type { ShipOptions, Shipping } from '../../../bindings/store/index.ts'
import { opened, tempDirectory } from '../../unit/store/places.ts'
import { FakeReplica, type FakeOptions } from './fake-replica.ts'

const people = table('people', { id: t.int64(), name: t.utf8() }, { key: ['id'] })

interface Rig {
  readonly store: Store
  readonly network: MemoryNetwork
  readonly replicas: Record<string, FakeReplica>
  readonly shipping: Shipping
  /** Writes so many rows, each a commit. */
  write(n: number): Promise<void>
}

const ids = ['r1', 'r2', 'r3']

/** Replicas `r1`... listening under their names. */
async function hosts(network: MemoryNetwork, n: number, o: FakeOptions = {}): Promise<Record<string, FakeReplica>> {
  const replicas: Record<string, FakeReplica> = {}
  for (const id of ids.slice(0, n)) {
    replicas[id] = new FakeReplica(o)
    await network.transport(id).listen(replicas[id], { data: id, version: 1 })
  }
  return replicas
}

let next = 0n
async function write(store: Store, n: number): Promise<void> {
  await Promise.all(Array.from({ length: n }, () => store.append(people, [{ id: ++next, name: `n${next}` }])))
}

async function shipped(
  o: { replicas?: number; rows?: number; fake?: FakeOptions; network?: MemoryNetwork; place?: string } & Omit<ShipOptions, 'replicas'> = {},
): Promise<Rig> {
  const { replicas: n = 1, rows = 20, fake, place = 'memory:', network = new MemoryNetwork(defaultWorld()), ...options } = o
  const store = await opened(place)
  await store.create(people)
  await write(store, rows)
  const replicas = await hosts(network, n, fake)
  const shipping = await store.ship({
    replicas: Object.keys(replicas).map((id) => ({ id, endpoint: id })),
    transport: network.transport('primary'),
    ...options,
  })
  return { store, network, replicas, shipping, write: (rowCount) => write(store, rowCount) }
}

async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise((resolve) => setImmediate(resolve))
}

/** Everything there, equal, and in sync. */
async function settled({ store, shipping, replicas }: Rig): Promise<void> {
  await until(() => shipping.status().replicas.every(({ state, lag }) => state === 'in_sync' && lag === 0))
  const log = (store as unknown as { o: { log: { head: bigint; digestAt(lsn: bigint): Promise<Uint8Array> } } }).o.log
  for (const { id } of shipping.status().replicas) {
    const replica = replicas[id]!
    expect(replica.durableLsn).toBe(Number(log.head))
    expect(Buffer.from(replica.records.digest())).toEqual(Buffer.from(await log.digestAt(log.head)))
  }
}

const events = (shipping: Shipping, id: string): string[] => shipping.log.eventsFor(replicaId(id)).map(({ event }) => event)
const count = (shipping: Shipping, id: string, event: string): number => events(shipping, id).filter((each) => each === event).length

it('bootstrap, then the live stream; after close() nothing is pinned and nothing runs', async () => {
  const rig = await shipped({ replicas: 2, rows: 100 })
  const { store, shipping } = rig
  await settled(rig)
  await rig.write(50)
  await settled(rig)
  expect(shipping.status()).toMatchObject({ mode: 'async', total: 2, inSync: 2, throttled: false, fencedBy: 0 })
  expect(shipping.status().replicas.map(({ id, state, role }) => [id, state, role])).toEqual([
    ['r1', 'in_sync', 'voter'],
    ['r2', 'in_sync', 'voter'],
  ])
  expect(events(shipping, 'r1')).toEqual(
    expect.arrayContaining([
      'sender_added',
      'session_created',
      'connected',
      'handshake',
      'plan_catchup',
      'exec_catchup_started',
      'exec_completed',
      'stream_opened',
    ]),
  )
  expect((await store.pins()).map(({ owner }) => owner)).toEqual(['stream', 'stream'])
  await shipping.close()
  expect(await store.pins()).toEqual([])
  expect(shipping.closed).toBe(true)
  expect(rig.network.open).toEqual([])
  await expect(shipping.assign([])).rejects.toMatchObject({ code: 'store.closed' })
})

it('the store closes its shipping', async () => {
  const rig = await shipped()
  await settled(rig)
  await rig.store.close()
  expect(rig.shipping.closed).toBe(true)
  expect(rig.network.open).toEqual([])
})

it.each(Array.from({ length: 20 }, (_, seed) => seed))(
  'C9 handover while the writer appends at full speed: every LSN once, in order (seed %i)',
  async (seed) => {
    const random = seededRandom(seed)
    const network = new MemoryNetwork({ ...fillWorld(undefined), random })
    network.delay([0, 1 + (random.u32() % 3)])
    const rig = await shipped({ network, rows: 200 + (random.u32() % 2000), place: seed % 2 === 0 ? 'memory:' : tempDirectory() })
    // The oracle of the fake replica throws at any record that is not the next one.
    for (let i = 0; i < 20; i++) await rig.write(1 + (random.u32() % 256))
    await settled(rig)
    expect(count(rig.shipping, 'r1', 'stream_closed')).toBe(0)
  },
)

it('C11 a writer faster than the link: rounds end, the replica is degraded and slowing down is advised', async () => {
  const holder: { store?: Store } = {}
  const fake: FakeOptions = {
    ack: async (received) => {
      // While anything is on its way, more is written than went over.
      if (holder.store !== undefined) await write(holder.store, 60)
      return received
    },
  }
  const network = new MemoryNetwork(defaultWorld())
  const replicas = await hosts(network, 1, fake)
  const store = await opened('memory:')
  holder.store = store
  await store.create(people)
  await write(store, 100)
  const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary'), maxHandoverLag: 20 })
  await until(() => shipping.log.events().some(({ event }) => event === 'degraded'))
  const degraded = shipping.log.events().find(({ event }) => event === 'degraded')!
  expect(degraded.detail).toContain('throttle_advised')
  expect(shipping.status().replicas[0]!.lastError).toMatchObject({ code: 'ship.catch-up-not-converging' })
  const sessions = shipping.log.events().filter(({ event, seq }) => event === 'session_created' && seq < degraded.seq)
  expect(sessions.length).toBeLessThanOrEqual(8)
  // The pin of what it needs is held meanwhile.
  expect((await store.pins()).length).toBeGreaterThan(0)
  delete holder.store
  await until(() => shipping.status().inSync === 1)
  expect(replicas['r1']!.sessions.length).toBeGreaterThan(1)
})

it('C11 with backpressure throttle the same writer is slowed until the replica is in sync, and then no longer', async () => {
  const fake: FakeOptions = { ack: async (received) => (await new Promise((resolve) => setTimeout(resolve, 2)), received) }
  const rig = await shipped({ fake, maxHandoverLag: 20, backpressure: 'throttle', rows: 2000 })
  const { shipping, store } = rig
  let isWriting = true
  let wasThrottled = false
  const writers = Array.from({ length: 64 }, async () => {
    while (isWriting) {
      await write(store, 1)
      wasThrottled ||= shipping.status().throttled
    }
  })
  await until(() => shipping.status().inSync === 1 && shipping.log.events().some(({ event }) => event === 'stream_opened'))
  isWriting = false
  await Promise.all(writers)
  expect(shipping.log.events().some(({ event }) => event === 'degraded')).toBe(false)
  expect(shipping.status().throttled).toBe(false)
  expect(count(shipping, 'r1', 'session_created') === 1 || wasThrottled).toBe(true)
})

it('C13 a replica that restarts at 40 % goes on from what it has; three broken links in one recovery converge', async () => {
  let links = 0
  const network = new MemoryNetwork(defaultWorld())
  const broken = new Set<number>()
  const replica: FakeReplica = new FakeReplica({
    ack: (received) => {
      const step = Math.floor(received / 1000)
      if (step > 0 && step <= 3 && !broken.has(step)) {
        broken.add(step)
        links++
        network.cut('primary', 'r1')
      }
      return received
    },
  })
  await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
  const store = await opened('memory:')
  await store.create(people)
  await write(store, 5000)
  const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary') })
  const rig: Rig = { store, network, shipping, replicas: { r1: replica }, write: (n) => write(store, n) }
  await settled(rig)
  expect(links).toBe(3)
  const starts = shipping.log
    .eventsFor(replicaId('r1'))
    .filter(({ event }) => event === 'plan_catchup')
    .map(({ fields }) => fields['start'] as number)
  expect(starts.length).toBe(4)
  expect(starts[0]).toBe(0)
  for (let i = 1; i < starts.length; i++) expect(starts[i]!).toBeGreaterThan(starts[i - 1]!)
  expect(count(shipping, 'r1', 'degraded')).toBe(3)
  expect(count(shipping, 'r1', 'plan_rebuild_full_base')).toBe(0)
})

it('X8 a link that fails mid catch-up leaves degraded, not needs_rebuild; the next session resumes', async () => {
  const network = new MemoryNetwork(defaultWorld())
  let isCut = false
  const fake: FakeOptions = {
    ack: (received) => {
      if (!isCut && received > 600) {
        isCut = true
        network.cut('primary', 'r1')
      }
      return received
    },
  }
  const rig = await shipped({ rows: 3000, fake, network })
  const states: string[] = []
  rig.shipping.on('state', ({ to }) => states.push(to))
  await settled(rig)
  expect(states).toContain('degraded')
  expect(states).not.toContain('needs_rebuild')
  expect(events(rig.shipping, 'r1')).not.toContain('escalated')
})

it('X9 the same assignment twice starts nothing; a removal drains only that replica', async () => {
  const rig = await shipped({ replicas: 3 })
  const { shipping, replicas, store } = rig
  await settled(rig)
  const before = ids.map((id) => replicas[id]!.sessions.length)
  const given = ids.map((id) => ({ id, endpoint: id }))
  expect(await shipping.assign(given)).toMatchObject({ added: [], removed: [], updated: [], created: [], superseded: [], failed: [] })
  await rig.write(10)
  await settled(rig)
  expect(ids.map((id) => replicas[id]!.sessions.length)).toEqual(before)
  expect(await shipping.assign(given.slice(0, 2))).toMatchObject({ removed: ['r3'] })
  expect(rig.network.open.length).toBe(2)
  expect((await store.pins()).length).toBe(2)
  await rig.write(10)
  await settled(rig)
  expect(ids.slice(0, 2).map((id) => replicas[id]!.sessions.length)).toEqual(before.slice(0, 2))
})

it('a new address is gone to in a session of its own, the old link is let go first', async () => {
  const rig = await shipped()
  const { shipping, replicas, network } = rig
  await settled(rig)
  const moved = replicas['r1']!
  await network.transport('r1').listen(moved, { data: 'elsewhere', version: 1 })
  await shipping.assign([{ id: 'r1', endpoint: 'elsewhere' }])
  await rig.write(5)
  await settled(rig)
  expect(network.open.length).toBe(1)
  expect(shipping.status().replicas[0]!.endpoint).toEqual({ data: 'elsewhere', version: 2 })
  expect(count(shipping, 'r1', 'endpoint_changed')).toBe(1)
  expect(new Set(moved.sessions).size).toBe(moved.sessions.length)
  await expect(shipping.assign([{ id: 'r1', endpoint: { data: 'r1', version: 1 } }])).rejects.toMatchObject({ code: 'ship.stale-endpoint' })
  expect(shipping.status().inSync).toBe(1)
})

it('an epoch raised mid-run ends every session of the old one; each replica is in sync again under the new', async () => {
  const rig = await shipped({ replicas: 2, rows: 3000 })
  const { shipping } = rig
  await until(() => shipping.status().replicas.some(({ state }) => state === 'catching_up' || state === 'in_sync'))
  const epoch = shipping.registry.epoch + 1
  const assignment: Assignment = { epoch, replicas: ['r1', 'r2'].map((id) => ({ id: replicaId(id), role: 'voter', endpoint: { data: id, version: 1 } })) }
  await shipping.assign(assignment)
  await settled(rig)
  for (const id of ['r1', 'r2']) expect(rig.replicas[id]!.sessions.at(-1)).toMatch(new RegExp(`^${epoch}\\.`))
  await expect(shipping.assign({ ...assignment, epoch: epoch - 1, replicas: [] })).rejects.toMatchObject({ code: 'ship.stale-epoch' })
  expect(shipping.status().total).toBe(2)
})

it('a replica that has seen a newer epoch stops the primary everywhere: no link, no pin, no write', async () => {
  const rig = await shipped({ replicas: 2 })
  const { shipping, store, replicas, network } = rig
  await settled(rig)
  const fenced: unknown[] = []
  shipping.on('fenced', (event) => fenced.push(event))
  replicas['r2']!.epochSeen = 9
  network.cut('primary', 'r2')
  await until(() => fenced.length > 0)
  expect(fenced).toEqual([{ held: 1, seen: 9 }])
  await expect(store.append(people, [{ id: 1n, name: 'late' }])).rejects.toMatchObject({ code: 'log.fenced', details: { scope: 'primary' } })
  await until(() => network.open.length === 0)
  await until(() => shipping.status().disconnected === 2)
  await shipping.close()
  expect(await store.pins()).toEqual([])
})

it('S18 session ids grow over a second ship() and over a reopen', async () => {
  const place = tempDirectory()
  const network = new MemoryNetwork(defaultWorld())
  const first = await shipped({ place, network, rows: 3 })
  await settled(first)
  await first.shipping.close()
  const replica = first.replicas['r1']!
  const options: ShipOptions = { replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary') }
  const again = await first.store.ship(options)
  await settled({ ...first, shipping: again })
  await expect(first.store.ship(options)).rejects.toMatchObject({ code: 'options.invalid' })
  // Not closed in an orderly way.
  first.store[Symbol.dispose]()
  const store = await opened(place)
  const third = await store.ship(options)
  await until(() => third.status().inSync === 1)
  const numbers = replica.sessions.map((text) => text.split('.').map(Number) as [number, number])
  for (let i = 1; i < numbers.length; i++) {
    const [[epoch, seq], [nextEpoch, nextSeq]] = [numbers[i - 1]!, numbers[i]!]
    expect(nextEpoch > epoch || (nextEpoch === epoch && nextSeq > seq)).toBe(true)
  }
})

it('S19 a session that is attached while the stream is live closes the stream first', async () => {
  const rig = await shipped()
  const { shipping } = rig
  await settled(rig)
  const sender = shipping.registry.sender(replicaId('r1'))
  const before = shipping.log.events().at(-1)!.seq
  const id = sender.attach(sender.epoch, 'catchup')
  const told = shipping.log.since(before).map(({ event }) => event)
  expect(told).toEqual(['stream_closed', 'session_created'])
  await settled(rig)
  // It was that session that was run.
  expect(rig.replicas['r1']!.sessions.at(-1)).toBe(`${id.epoch}.${id.seq}`)
})

it('K6 a link that flaps 20 times causes catch-ups only', async () => {
  const rig = await shipped()
  const { shipping, network } = rig
  for (let i = 0; i < 20; i++) {
    await rig.write(20)
    await until(() => shipping.status().inSync === 1)
    network.cut('primary', 'r1')
  }
  await settled(rig)
  expect(events(shipping, 'r1').filter((event) => event.startsWith('plan_rebuild') || event === 'escalated')).toEqual([])
  expect((await rig.store.pins()).map(({ owner }) => owner)).toEqual(['stream'])
})

it('R7 three replicas at different places: in step, behind, and beyond what the log keeps', async () => {
  const place = tempDirectory()
  const store = await opened(place, { segmentBytes: 64 * 1024 })
  const log = (store as unknown as { o: { log: { tail: bigint; head: bigint; trim(lsn: bigint): Promise<bigint> } } }).o.log
  await store.create(people)
  const network = new MemoryNetwork(defaultWorld())
  const replicas = await hosts(network, 3)
  // Each is fed up to its place before.
  const fed = await store.ship({ replicas: [{ id: 'r3', endpoint: 'r3' }], transport: network.transport('primary') })
  await write(store, 10)
  await settled({ store, network, shipping: fed, replicas, write: () => Promise.resolve() })
  await fed.assign([{ id: 'r2', endpoint: 'r2' }])
  await write(store, 2000)
  await settled({ store, network, shipping: fed, replicas, write: () => Promise.resolve() })
  await fed.assign([{ id: 'r1', endpoint: 'r1' }])
  await write(store, 2000)
  await settled({ store, network, shipping: fed, replicas, write: () => Promise.resolve() })
  await fed.close()
  await log.trim(BigInt(replicas['r2']!.durableLsn))
  expect(Number(log.tail)).toBeGreaterThan(replicas['r3']!.durableLsn)
  expect(Number(log.tail)).toBeLessThanOrEqual(replicas['r2']!.durableLsn)
  const shipping = await store.ship({ replicas: ids.map((id) => ({ id, endpoint: id })), transport: network.transport('primary'), autoRebuild: false })
  await until(() => shipping.status().inSync === 2 && shipping.status().needsRebuild === 1)
  expect(events(shipping, 'r1')).toContain('plan_zero_gap')
  expect(events(shipping, 'r2')).toContain('plan_catchup')
  expect(shipping.status().replicas[2]).toMatchObject({ id: 'r3', state: 'needs_rebuild', reason: 'gap_beyond_retention' })
  const { total, inSync, recovering, rebuilding, needsRebuild, degraded, disconnected, halted } = shipping.status()
  expect(inSync + recovering + rebuilding + needsRebuild + degraded + disconnected + halted).toBe(total)
})

it('an address alone is asked for its id', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const replica = new FakeReplica({
    answer: (m) =>
      m.type === 'hello' && m.kind === 'observe'
        ? {
            type: 'helloReply',
            protocol: m.protocol,
            replicaId: 'the-one',
            storeId: undefined,
            epochSeen: 0,
            durableLsn: 0,
            committedLsn: 0,
            tailLsn: 0,
            lineage: null,
            digest: new Uint8Array(32),
            checkpoints: [],
            rebuildInProgress: null,
            isWhole: true,
            elided: null,
          }
        : undefined,
  })
  await network.transport('r').listen(replica, { data: 'somewhere', version: 1 })
  const store = await opened('memory:')
  const shipping = await store.ship({ replicas: ['somewhere'], transport: network.transport('primary') })
  expect(shipping.status().replicas[0]!.id).toBe('the-one')
  await until(() => shipping.status().inSync === 1)
})

it.each([
  [{}, 'replicas'],
  [{ replicas: [], retries: 3 }, 'retries'],
  [{ replicas: [], ack: 'most' }, 'ack'],
  [{ replicas: [], ack: 'all', mode: 'async' }, 'mode'],
  [{ replicas: [], maxParallelRebuilds: 0 }, 'maxParallelRebuilds'],
  [{ replicas: [], retention: { maxPinned: 1 } }, 'maxPinned'],
  [{ replicas: [], backpressure: 'hard' }, 'backpressure'],
] as const)('options that are none are refused: %o', async (options, key) => {
  const store = await opened('memory:')
  await expect(store.ship(options as never)).rejects.toMatchObject({ code: 'options.invalid', details: { key } })
})
