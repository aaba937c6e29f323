// The primary's end of a link: what it sends of a real store's log, how far it goes without an answer, when it gives up.
import { expect, it, onTestFinished } from 'vitest'

import { type Store, t, table } from '../../../bindings/index.ts'
import { CommittedTruncationError } from '../../../bindings/errors-ship.ts'
import type { Message } from '../../../bindings/format/index.ts'
import type { CommitLog, Lsn } from '../../../bindings/log/index.ts'
import type { Root } from '../../../bindings/root/index.ts'
import { fillWorld, type World } from '../../../bindings/runtime/index.ts'
import type { Fence, ReplicaId, ShipPin } from '../../../bindings/ship/index.ts'
import { Peer, PEER_TIMEOUTS } from '../../../bindings/ship/peer.ts'
import { Shipper, STREAM_LIMITS, type StreamLimits } from '../../../bindings/ship/shipper.ts'
import { Tape } from '../../../bindings/ship/tape.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { opened, PLACES, tempDirectory } from '../../unit/store/places.ts'
import { FakeReplica } from './fake-replica.ts'
import { linkPair } from './link-pair.ts'

const people = table('people', { id: t.int64(), name: t.utf8() }, { key: ['id'] })
const FENCE: Fence = { replicaId: 'r1' as ReplicaId, epoch: 1, sessionId: { epoch: 1, seq: 1 }, endpointVersion: 1 }
const never = new AbortController().signal

const insides = (store: Store): { readonly log: CommitLog; readonly root: Root } => (store as unknown as { o: { log: CommitLog; root: Root } }).o

const noPin = (lsn: number): ShipPin & { at: number } => ({
  id: 'p',
  kind: 'log',
  lsn,
  owner: 'stream',
  valid: true,
  onLimit: undefined,
  at: lsn,
  advance(next) {
    this.at = next
  },
  release() {},
  [Symbol.dispose]() {},
})

interface Rig {
  readonly tape: Tape
  readonly peer: Peer
  readonly shipper: Shipper
}

function rig(
  store: Store,
  replica: FakeReplica,
  o: { world?: World; limits?: Partial<StreamLimits>; committed?: () => number } = {},
): Rig & { readonly cut: () => void } {
  const { log, root } = insides(store)
  const world = o.world ?? fillWorld(undefined)
  const tape = new Tape(log)
  const [here, there] = linkPair()
  const committed = o.committed ?? (() => tape.head)
  const peer = new Peer(here, { world, epoch: 1, session: 1, root, committed, head: () => tape.head, timeouts: PEER_TIMEOUTS })
  void replica.serve(there)
  const shipper = new Shipper({ peer, tape, world, fence: FENCE, committed, limits: { ...STREAM_LIMITS, ...o.limits } })
  onTestFinished(async () => {
    await peer.close()
    tape.close()
  })
  return { tape, peer, shipper, cut: () => here.cut(new Error('cut')) }
}

async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise((resolve) => setImmediate(resolve))
}

it.each(PLACES)('a catch-up from the files of the log, then the live stream from memory: every record once, in order, same digest (%s)', async (_, place) => {
  const store = await opened(place(), { segmentBytes: 64 * 1024 })
  const { log } = insides(store)
  await store.create(people)
  for (let i = 0; i < 300; i++) await Promise.all(Array.from({ length: 10 }, (_, j) => store.append(people, [{ id: BigInt(i * 10 + j), name: `n${i}` }])))
  const replica = new FakeReplica()
  const { tape, peer, shipper } = rig(store, replica)
  await peer.hello({ replicaId: 'r1', storeId: new Uint8Array(16), endpointVersion: 1, mandate: 0, decision: '', kind: 'catchup' }, never)
  const target = tape.head
  const progress: number[] = []
  expect(await shipper.stream(FENCE, 0, target - 100, ({ durableLsn }) => progress.push(durableLsn), never)).toBe(target - 100)
  expect(replica.durableLsn).toBe(target - 100)
  expect(progress).toEqual([...new Set(progress)].sort((a, b) => a - b))
  expect(progress.at(-1)).toBe(target - 100)
  // The rest and what is written meanwhile.
  const stop = new AbortController()
  const pin = noPin(target - 100)
  const over = shipper.follow(target - 100, pin, stop.signal).catch((error: unknown) => error)
  for (let i = 0; i < 200; i++)
    await Promise.all(Array.from({ length: 16 }, (_, j) => store.append(people, [{ id: BigInt(100_000 + i * 16 + j), name: 'x'.repeat(i) }])))
  await until(() => replica.durableLsn === Number(log.head) && pin.at === replica.durableLsn)
  expect(Buffer.from(replica.records.digest())).toEqual(Buffer.from(await log.digestAt(log.head)))
  expect(replica.committedLsn).toBe(Number(log.head))
  const why = new Error('enough')
  stop.abort(why)
  expect(await over).toBe(why)
})

it('C10 debt first: a cursor at 50 with the head at 100 sends 51 before anything that is appended now', async () => {
  const store = await opened('memory:')
  await store.create(people)
  for (let i = 0; i < 100; i++) await store.append(people, [{ id: BigInt(i), name: 'a' }])
  const replica = new FakeReplica()
  const { peer, shipper, tape } = rig(store, replica)
  await shipper.stream(FENCE, 0, 50, () => {}, never)
  const appended = store.append(people, [{ id: 1000n, name: 'late' }])
  void shipper.follow(50, noPin(50), AbortSignal.timeout(60_000)).catch(() => undefined)
  const { lsn } = await appended
  await until(() => replica.durableLsn === tape.head)
  expect(replica.records.last).toBe(Number(lsn))
  await peer.close()
})

it('C10 an idle primary with debt is drained by the timer alone', async () => {
  const clock = new FakeClock()
  const store = await opened('memory:')
  await store.create(people)
  for (let i = 0; i < 20; i++) await store.append(people, [{ id: BigInt(i), name: 'a' }])
  const replica = new FakeReplica()
  const { shipper, tape } = rig(store, replica, { world: { ...fillWorld(undefined), clock: clock.clock, timers: clock.timers } })
  // No listener ever hears of an append.
  Object.defineProperty(tape, 'onAppend', { value: () => ({ [Symbol.dispose]() {} }) })
  let head = 5
  Object.defineProperty(tape, 'head', { get: () => head })
  void shipper.follow(0, noPin(0), never).catch(() => undefined)
  await until(() => replica.durableLsn === 5)
  head = 15
  await clock.advance(19)
  expect(replica.durableLsn).toBe(5)
  await clock.advance(1)
  await until(() => replica.durableLsn === 15)
})

it('never more than the window goes out without an answer', async () => {
  const store = await opened(tempDirectory())
  await store.create(people)
  for (let i = 0; i < 40; i++) await store.append(people, [{ id: BigInt(i), name: 'a'.repeat(1000) }])
  const replica = new FakeReplica({ ack: () => undefined })
  const { shipper } = rig(store, replica, { limits: { windowEntries: 8 } })
  const stop = new AbortController()
  const over = shipper.follow(0, noPin(0), stop.signal).catch((error: unknown) => error)
  await until(() => replica.records.last === 8)
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
  expect(replica.records.last).toBe(8)
  stop.abort(new Error('enough'))
  await over
})

it.each([
  ['nothing becomes durable any more: ack_timeout', { ackTimeoutMs: 5000 }, 'ack_timeout'],
  ['the replica is further behind than allowed: lag_exceeded', { maxLag: 10 }, 'lag_exceeded'],
] as const)('%s', async (_, limits, reason) => {
  const clock = new FakeClock()
  const store = await opened('memory:')
  await store.create(people)
  for (let i = 0; i < 20; i++) await store.append(people, [{ id: BigInt(i), name: 'a' }])
  const replica = new FakeReplica({ ack: () => 3 })
  const { shipper } = rig(store, replica, { limits, world: { ...fillWorld(undefined), clock: clock.clock, timers: clock.timers } })
  const ended = shipper.follow(0, noPin(0), never)
  let end: Awaited<typeof ended> | undefined
  void ended.then((value) => (end = value))
  for (let i = 0; i < 100 && end === undefined; i++) {
    // Not silent: it is the durable LSN that stands still.
    await clock.advance(100)
  }
  expect(end?.reason).toBe(reason)
})

it('a replica that says nothing for three heartbeats is a failed transport', async () => {
  const clock = new FakeClock()
  const store = await opened('memory:')
  await store.create(people)
  const replica = new FakeReplica({ isSilent: true })
  const { peer, shipper } = rig(store, replica, { world: { ...fillWorld(undefined), clock: clock.clock, timers: clock.timers } })
  await peer.hello({ replicaId: 'r1', storeId: new Uint8Array(16), endpointVersion: 1, mandate: 0, decision: '', kind: 'catchup' }, never)
  const ended = shipper.follow(0, noPin(0), never)
  await until(() => replica.durableLsn > 0)
  await clock.advance(2900)
  expect(peer.ended).toBeUndefined()
  // While it was silent it was told three times that we are here.
  expect(replica.heard.filter(({ type }) => type === 'heartbeat').length).toBeGreaterThanOrEqual(2)
  await clock.advance(500)
  expect(peer.ended).toMatchObject({ code: 'ship.transport' })
  expect(await ended).toMatchObject({ reason: 'stream_send_failed', cause: { code: 'ship.transport' } })
})

it('an answer that does not come in time ends the link; a refusal arrives as its own class', async () => {
  const clock = new FakeClock()
  const world: World = { ...fillWorld(undefined), clock: clock.clock, timers: clock.timers }
  const store = await opened('memory:')
  const { peer } = rig(store, new FakeReplica(), { world })
  const digest = peer.digestAt(1, never).catch((error: unknown) => error)
  await clock.advance(5300)
  expect(await digest).toMatchObject({ code: 'ship.transport', details: { awaited: 'digestReply' } })
  const answer = (m: Message): undefined => {
    if (m.type === 'truncate') throw new CommittedTruncationError('no')
  }
  const { peer: other } = rig(store, new FakeReplica({ answer }))
  await expect(other.truncate(1, never)).rejects.toMatchObject({ name: 'CommittedTruncationError' })
})

it('a moved C is told at once although there is nothing to send', async () => {
  const store = await opened('memory:')
  await store.create(people)
  let committed = 1
  const replica = new FakeReplica()
  const { shipper, tape } = rig(store, replica, { committed: () => committed })
  void shipper.follow(0, noPin(0), never).catch(() => undefined)
  await until(() => replica.durableLsn === tape.head)
  expect(replica.committedLsn).toBe(1)
  committed = 2
  await until(() => replica.committedLsn === 2)
})

it('files that a replica asks for come in pieces, and a name that is none of a store ends the link', async () => {
  const store = await opened(tempDirectory())
  await store.create(people)
  await store.append(
    people,
    Array.from({ length: 60_000 }, (_, i) => ({ id: BigInt(i), name: `name ${i} ${(i * 7919) % 104_729}` })),
  )
  await store.flush()
  const { root } = insides(store)
  const files: { name: string; hash: Uint8Array; bytes: number }[] = []
  for await (const { name, size } of root.list('fragments/')) files.push({ name, bytes: size, hash: Buffer.from(/([0-9a-f]{64})/.exec(name)![1]!, 'hex') })
  expect(files.some(({ bytes }) => bytes > 256 * 1024)).toBe(true)
  const { peer } = rig(store, new FakeReplica())
  await peer.close()
  const [here, there] = linkPair()
  const world = fillWorld(undefined)
  const sender = new Peer(here, { world, epoch: 1, session: 1, root, committed: () => 0, head: () => 0 })
  await there.send({ epoch: 1, session: 1, message: { type: 'want', lsn: 2, files } })
  const got = new Map<string, Uint8Array[]>()
  let pending = files.reduce((sum, { bytes }) => sum + bytes, 0)
  for await (const { message } of there.frames) {
    if (message.type !== 'fragment') continue
    expect(message.bytes.length).toBeLessThanOrEqual(256 * 1024)
    const key = Buffer.from(message.hash).toString('hex')
    const pieces = got.get(key) ?? []
    expect(message.offset).toBe(pieces.reduce((sum, piece) => sum + piece.length, 0))
    got.set(key, [...pieces, message.bytes])
    pending -= message.bytes.length
    if (pending === 0) break
  }
  for (const { name, hash } of files) {
    expect(Buffer.concat(got.get(Buffer.from(hash).toString('hex'))!).equals(Buffer.from((await root.get(name)).bytes))).toBe(true)
  }
  const [mine, theirs] = linkPair()
  const strict = new Peer(mine, { world, epoch: 1, session: 1, root, committed: () => 0, head: () => 0 })
  await theirs.send({ epoch: 1, session: 1, message: { type: 'want', lsn: 2, files: [{ name: 'VARVE', hash: new Uint8Array(32), bytes: 10 }] } })
  await until(() => strict.ended !== undefined)
  expect(strict.ended).toMatchObject({ code: 'ship.fragment-missing' })
  await sender.close()
})

it('what a stale session answers is not heard', async () => {
  const store = await opened('memory:')
  const { root } = insides(store)
  const [here, there] = linkPair()
  const peer = new Peer(here, { world: fillWorld(undefined), epoch: 2, session: 5, root, committed: () => 0, head: () => 0 })
  const ack = { type: 'ack', receivedLsn: 9, durableLsn: 9, appliedLsn: 9 } as const
  await there.send({ epoch: 2, session: 4, message: ack })
  await there.send({ epoch: 1, session: 5, message: ack })
  await there.send({ epoch: 2, session: 5, message: { ...ack, durableLsn: 3 } })
  await until(() => peer.durableLsn > 0)
  expect(peer.durableLsn).toBe(3)
  await peer.close()
})

it('the tape cuts anywhere: readers that begin and stop at any LSN are told the digest of the log', async () => {
  const store = await opened(tempDirectory(), { segmentBytes: 64 * 1024 })
  const { log } = insides(store)
  const tape = new Tape(log)
  onTestFinished(() => tape.close())
  await store.create(people)
  await Promise.all(Array.from({ length: 400 }, (_, i) => store.append(people, [{ id: BigInt(i), name: 'b'.repeat(i) }])))
  for (const [start, end] of [
    [0, 1],
    [1, 2],
    [7, 250],
    [250, tape.head],
    [tape.head - 1, tape.head],
  ] as const) {
    for (const isHot of [true, false]) {
      const { head, durableHead } = log
      const cold = { head, durableHead, read: log.read.bind(log), digestAt: log.digestAt.bind(log), listen: () => {} } as unknown as CommitLog
      const reader = (isHot ? tape : new Tape(cold)).reader(start)
      let at = start
      for (let piece = await reader.next(end); piece !== undefined; piece = await reader.next(end)) {
        expect(piece.first).toBe(at + 1)
        at = piece.last
        expect(Buffer.from(piece.digest)).toEqual(Buffer.from(await log.digestAt(BigInt(at) as Lsn)))
      }
      expect(at).toBe(end)
      await reader.close()
    }
  }
})

it('a reader of the tape that has everything holds nothing: the read of the log is over, and another one begins when there is more', async () => {
  const store = await opened(tempDirectory(), { segmentBytes: 64 * 1024 })
  const { log } = insides(store)
  await store.create(people)
  let open = 0
  const read: CommitLog['read'] = async function* (from, o) {
    open++
    try {
      yield* log.read(from, o)
    } finally {
      open--
    }
  }
  const cold = {
    get head() {
      return log.head
    },
    get durableHead() {
      return log.durableHead
    },
    read,
    digestAt: log.digestAt.bind(log),
    listen: () => {},
  }
  const reader = new Tape(cold as unknown as CommitLog).reader(0)
  for (let round = 0; round < 3; round++) {
    await store.append(people, [{ id: BigInt(round), name: 'one more' }])
    const head = Number(log.head)
    let at = reader.at
    for (let piece = await reader.next(head); piece !== undefined; piece = await reader.next(head)) {
      expect(open).toBe(1)
      expect(Buffer.from(piece.digest)).toEqual(Buffer.from(await log.digestAt(BigInt((at = piece.last)) as Lsn)))
    }
    expect(at).toBe(head)
    expect(open).toBe(0)
  }
})
