// Where replicas are waited for, records leave in parallel with the sync of the primary (decision 0027): what a replica has before its primary is never counted,
// and is kept, or cut, as the primary's disk says.
import { expect, it, onTestFinished } from 'vitest'

import type { Root, Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { candidates, MemoryNetwork } from '../../../bindings/ship/index.ts'
import { Replica } from '../../../bindings/store/index.ts'
import { FaultyRoot, type RootFault } from '../../../bindings/testing/index.ts'
import { opened } from '../../unit/store/places.ts'
import { FakeReplica } from './fake-replica.ts'
import { Flow, people, until, WAYS } from './flow-kit.ts'

const person = (id: number): { id: bigint; name: string; group: number } => ({ id: BigInt(id), name: `name ${id}`, group: id % 5 })

/** A root whose log is synced when the test says so. */
class SlowLog {
  readonly root: FaultyRoot
  /** Syncs of the log that were asked for. */
  asked = 0
  /** Told of each of them. */
  onAsk: () => void = () => {}
  #release: () => void = () => {}

  constructor(inner: Root) {
    this.root = new FaultyRoot(inner)
  }

  /** From here on syncs of the log wait for release(). */
  hold(): { error?: RootFault['error'] } {
    const { promise, resolve } = Promise.withResolvers<void>()
    const fault: { error?: RootFault['error']; wait: () => Promise<void> } = { wait: () => promise }
    this.#release = resolve
    this.root.plan(({ method, name }) => {
      if (method !== 'segment.datasync' || !name.startsWith('log/')) return undefined
      this.asked++
      this.onAsk()
      return fault as RootFault
    })
    return fault
  }

  release(): void {
    this.root.plan(undefined)
    this.#release()
  }
}

/** A primary on a slow disk and two replicas in sync. */
async function three(ack: 'async' | 'quorum' | 'all', inner: MemoryRoot = new MemoryRoot({})): Promise<{ flow: Flow; disk: SlowLog; inner: MemoryRoot }> {
  const disk = new SlowLog(inner)
  const flow = await Flow.open(WAYS[0]!.make(), disk.root)
  for (const id of ['r1', 'r2']) await flow.replica(id, new MemoryRoot({}))
  const shipping = await flow.ship({ ack })
  await shipping.settled({ signal: AbortSignal.timeout(30_000) })
  await flow.write(5)
  await shipping.settled({ signal: AbortSignal.timeout(30_000) })
  // What tests that fail leave waiting would keep the store from closing.
  onTestFinished(() => disk.release())
  return { flow, disk, inner }
}

const standing = (flow: Flow): number[] => [...flow.replicas.values()].map((replica) => Number(replica.status().durable))

/** A write that is under way on a disk that does not answer, and which both replicas have. */
async function ahead(
  flow: Flow,
  disk: SlowLog,
): Promise<{ readonly head: number; readonly fault: { error?: RootFault['error'] }; readonly outcome: Promise<unknown>; readonly isOver: () => boolean }> {
  const head = Number(flow.shipping!.status().durableLsn)
  const fault = disk.hold()
  let over = false
  const outcome = flow.store.upsert(people, [person(1000)]).then(
    (result) => ((over = true), result),
    (error: unknown) => ((over = true), error),
  )
  await until(() => standing(flow).every((lsn) => lsn === head + 1))
  return { head, fault, outcome, isOver: () => over }
}

it.each(['quorum', 'all'] as const)('A4 %s: acknowledgements of replicas that come before the sync here wait for it', async (mode) => {
  const { flow, disk } = await three(mode)
  const { head, outcome, isOver } = await ahead(flow, disk)
  // The acknowledgements are here, and nothing comes of them.
  await until(() => flow.shipping!.status().replicas.every(({ durableLsn }) => Number(durableLsn) === head + 1))
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
  expect(isOver()).toBe(false)
  expect(flow.shipping!.status()).toMatchObject({ durableLsn: BigInt(head), committedLsn: BigInt(head) })
  expect(flow.shipping!.status().replicas.map(({ lag }) => lag)).toEqual([0, 0])
  expect(flow.store.lsn).toBe(BigInt(head))
  for (const replica of flow.replicas.values()) expect(Number(replica.status().committed)).toBeLessThanOrEqual(head)
  disk.release()
  expect(await outcome).toMatchObject({ lsn: BigInt(head + 1) })
  await flow.equal()
})

it('A4 a sync that fails here fails the write although both replicas have it; they are cut, and take what the next writer finds', async () => {
  const { flow, disk, inner } = await three('quorum')
  const { head, fault, outcome } = await ahead(flow, disk)
  await until(() => flow.shipping!.status().replicas.every(({ durableLsn }) => Number(durableLsn) === head + 1))
  fault.error = 'io'
  disk.release()
  expect(await outcome).toMatchObject({ code: 'store.poisoned' })
  expect(flow.shipping!.status().committedLsn).toBe(BigInt(head))
  // The streams that sent it end; the sessions after them cut it. Nobody has forgotten anything.
  await until(() => standing(flow).every((lsn) => lsn === head))
  await until(() => flow.shipping!.status().inSync === 2)
  expect(flow.shipping!.log.events().some(({ event }) => event === 'amnesia')).toBe(false)
  expect(flow.shipping!.status().committedLsn).toBe(BigInt(head))
  for (const replica of flow.replicas.values()) expect(Number(replica.status().committed)).toBe(head)
  await flow.crash()
  // The bytes are in the file: the next writer finds them, or not.
  const heir = await flow.successor(inner)
  await heir.ship()
  await heir.equal()
  await heir.write(3)
  await heir.equal()
})

it.each([1, 2, 3, 4, 5, 6])('a primary that loses its power between sending and its sync: replicas follow what its disk kept (seed %i)', async (seed) => {
  const { flow, disk, inner } = await three('quorum', new MemoryRoot({ loseUnsynced: seed }))
  const { head } = await ahead(flow, disk)
  const left = inner.crash(seed)
  await flow.shipping!.close()
  const heir = await flow.successor(left)
  // The record was lost or kept; an epoch follows.
  const found = Number(logOf(heir.store).head) - 1
  expect([head, head + 1]).toContain(found)
  const shipping = await heir.ship()
  await shipping.settled({ signal: AbortSignal.timeout(30_000) })
  await heir.equal()
  const wasCut = shipping.log.events().filter(({ event }) => event === 'truncation_recorded').length
  expect(wasCut).toBe(found === head ? 2 : 0)
  expect(await heir.store.get(people, 1000n)).toEqual(found === head ? undefined : expect.objectContaining({ id: 1000n }))
  await heir.write(3)
  await heir.equal()
})

it('a session that begins while a group is being synced waits for it: what a replica has of it is no other history', async () => {
  const { flow, disk } = await three('quorum')
  const { head, outcome, isOver } = await ahead(flow, disk)
  const sessions = (): number => flow.shipping!.log.events().filter(({ event }) => event === 'connected').length
  const before = sessions()
  flow.net.network!.cut('primary', 'r1')
  await until(() => sessions() > before)
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  expect(isOver()).toBe(false)
  disk.release()
  expect(await outcome).toMatchObject({ lsn: BigInt(head + 1) })
  await flow.equal()
  const events = flow.shipping!.log.events().map(({ event }) => event)
  expect(events).not.toContain('truncation_recorded')
  expect(events).not.toContain('amnesia')
})

it('what is committed when shipping ends is told before the link goes, though no records take it along', async () => {
  const { flow } = await three('all')
  for (let round = 0; round < 5; round++) {
    await flow.write(3)
    await flow.shipping!.close()
    for (const replica of flow.replicas.values()) await until(() => replica.status().connected === false)
    expect([...flow.replicas.values()].map((replica) => replica.status().committed)).toEqual([flow.store.lsn, flow.store.lsn])
    await (await flow.ship()).settled({ signal: AbortSignal.timeout(30_000) })
  }
})

it('M1 a replica that has what its primary lost wins the promotion, and the primary of before takes it', async () => {
  const { flow, disk, inner } = await three('quorum', new MemoryRoot({ loseUnsynced: 3 }))
  const { head } = await ahead(flow, disk)
  const lost = Array.from({ length: 40 }, (_, i) => inner.crash(i + 1))
  await flow.shipping!.close()
  const epoch = 1 + Math.max(...[...flow.replicas.values()].map((replica) => replica.status().epoch))
  const records = await Promise.all([...flow.replicas.values()].map((replica) => replica.fence({ epoch })))
  const answer = candidates(records, 'quorum', 3, { storeId: records[0]!.storeId, epoch })
  expect(answer.candidates[0]).toMatchObject({ readableLsn: head + 1 })
  const winner = answer.candidates[0]!.id
  const store = await flow.replicas.get(winner)!.promote({ epoch })
  onTestFinished(() => store.close())
  flow.replicas.delete(winner)
  const back = await Promise.any(lost.map((root, i) => without(root, head, flow, `old${i}`)))
  expect(Number(back.status().durable)).toBe(head)
  flow.replicas.set('old', back)
  const shipping = await store.ship({ replicas: targets(flow), transport: flow.net.transport(winner) })
  await shipping.settled({ signal: AbortSignal.timeout(30_000) })
  expect(await store.get(people, 1000n)).toMatchObject({ id: 1000n })
  await until(() => [...flow.replicas.values()].every((replica) => replica.store.lsn === store.lsn))
  for (const replica of flow.replicas.values()) expect(await flow.rows(replica.store)).toEqual(await flow.rows(store))
  await shipping.close()
})

it.each(['async', 'quorum'] as const)(
  '%s: frames come in order, each record once; ahead of the sync where replicas are waited for, and only there',
  async (ack) => {
    const network = new MemoryNetwork(defaultWorld())
    const disk = new SlowLog(new MemoryRoot({}))
    const store = await opened(disk.root)
    const log = logOf(store)
    let before = 0
    const replica = (): FakeReplica =>
      new FakeReplica({
        ack: (received) => {
          if (received > Number(log.durableHead)) before++
          return received
        },
      })
    const [r1, r2] = [replica(), replica()]
    await network.transport('r1').listen(r1, { data: 'r1', version: 1 })
    await network.transport('r2').listen(r2, { data: 'r2', version: 1 })
    const targetsOf = ['r1', 'r2'].map((id) => ({ id, endpoint: id }))
    await using shipping = await store.ship({ replicas: targetsOf, transport: network.transport('primary'), ack })
    await shipping.settled({ signal: AbortSignal.timeout(30_000) })
    await store.create(people)
    onTestFinished(() => disk.release())
    let first = 0
    disk.onAsk = () => {
      if (r1.records.last > Number(log.durableHead)) first++
    }
    for (let i = 0; i < 40; i++) {
      const asked = disk.asked
      disk.hold()
      const writes = Array.from({ length: 1 + (i % 5) }, (_, j) => store.upsert(people, [person(i * 10 + j)]))
      await until(() => disk.asked > asked)
      if (ack === 'quorum') await until(() => r1.records.last > Number(log.durableHead))
      else for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
      disk.release()
      await Promise.all(writes)
    }
    // The oracle refuses a record out of order, or a digest that is not that of what came.
    await until(() => [r1, r2].every(({ durableLsn }) => durableLsn === Number(store.lsn)))
    expect(Buffer.from(r1.records.digest())).toEqual(Buffer.from(await log.digestAt(log.head)))
    // Each group is there before its sync is begun here.
    expect(first).toBe(ack === 'quorum' ? 40 : 0)
    if (ack === 'quorum') expect(before).toBeGreaterThanOrEqual(40)
    else expect(before).toBe(0)
  },
)

function logOf(store: Store): { readonly head: bigint; readonly durableHead: bigint; digestAt(lsn: bigint): Promise<Uint8Array> } {
  return (store as unknown as { o: { log: { readonly head: bigint; readonly durableHead: bigint; digestAt(lsn: bigint): Promise<Uint8Array> } } }).o.log
}

function targets(flow: Flow): { id: string; endpoint: string }[] {
  return Array.from(flow.replicas, ([id, { endpoint }]) => ({ id, endpoint: endpoint.data }))
}

/** A follower on what a power cut left, where it left nothing above `head`; rejects where it left more. */
async function without(root: MemoryRoot, head: number, flow: Flow, id: string): Promise<Replica> {
  const world = defaultWorld()
  const back = await Replica.open(root, {
    replicaId: 'old',
    endpoint: { data: id, version: 1 },
    transport: flow.net.transport(id),
    // After a boot, so that the LOCK of the one before is stale.
    world: { ...world, host: { ...world.host, bootId: 'the next one' } },
  })
  onTestFinished(() => back.close())
  if (Number(back.status().durable) !== head) throw new Error('it kept the record')
  return back
}
