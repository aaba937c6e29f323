// How far the primary's end of a link goes: by the bytes that are not acknowledged, by the end that was asked for, by what the replica has confirmed.
import { expect, it, onTestFinished } from 'vitest'

import { type Store, t, table } from '../../../bindings/index.ts'
import type { CommitLog } from '../../../bindings/log/index.ts'
import type { Root } from '../../../bindings/root/index.ts'
import { fillWorld } from '../../../bindings/runtime/index.ts'
import type { Fence, ReplicaId, ShipPin } from '../../../bindings/ship/index.ts'
import { EntryGate } from '../../../bindings/ship/host-entries.ts'
import type { ReplicaParts } from '../../../bindings/ship/host-parts.ts'
import { walkFrames } from '../../../bindings/ship/host-walk.ts'
import { Peer } from '../../../bindings/ship/peer.ts'
import { Shipper, STREAM_LIMITS, type StreamLimits } from '../../../bindings/ship/shipper.ts'
import { Tape } from '../../../bindings/ship/tape.ts'
import { failure, opened, tempDirectory } from '../../unit/store/places.ts'
import { FakeReplica, type FakeOptions } from './fake-replica.ts'
import { linkPair } from './link-pair.ts'

const people = table('people', { id: t.int64(), name: t.utf8() }, { key: ['id'] })
const FENCE: Fence = { replicaId: 'r1' as ReplicaId, epoch: 1, sessionId: { epoch: 1, seq: 1 }, endpointVersion: 1 }
const never = new AbortController().signal
const PIN = { lsn: 0, advance: () => undefined, release: () => undefined } as unknown as ShipPin

const insides = (store: Store): { readonly log: CommitLog; readonly root: Root } => (store as unknown as { o: { log: CommitLog; root: Root } }).o

async function turns(count = 30): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

async function until(is: () => boolean): Promise<void> {
  while (!is()) await turns(1)
}

async function rig(fake: FakeOptions, limits: Partial<StreamLimits> = {}) {
  const store = await opened('memory:')
  await store.create(people)
  const { log, root } = insides(store)
  const tape = new Tape(log)
  const world = fillWorld(undefined)
  const replica = new FakeReplica(fake)
  const [here, there] = linkPair()
  const committed = (): number => tape.head
  const peer = new Peer(here, { world, epoch: 1, session: 1, root, committed, head: () => tape.head })
  void replica.serve(there)
  const shipper = new Shipper({ peer, tape, world, fence: FENCE, committed, limits: { ...STREAM_LIMITS, ...limits } })
  onTestFinished(async () => {
    await peer.close()
    tape.close()
  })
  let next = 0
  const write = async (rows: number, bytes = 10): Promise<void> => {
    for (let i = 0; i < rows; i++) await store.append(people, [{ id: BigInt(next++), name: 'x'.repeat(bytes) }])
  }
  return { store, log, tape, peer, shipper, replica, there, write }
}

it('no more bytes go out without an answer than the window has, whatever their number; with answers it goes on', async () => {
  let isAnswering = false
  const one = await rig({ ack: (received) => (isAnswering ? received : undefined) }, { windowBytes: 5000 })
  const stop = new AbortController()
  const over = one.shipper.follow(0, PIN, stop.signal).catch(() => undefined)
  await until(() => one.replica.records.last === one.tape.head)
  const before = one.replica.records.last
  for (let i = 0; i < 20; i++) {
    await one.write(1, 1000)
    await turns(5)
  }
  const sent = one.replica.records.last - before
  expect(sent).toBeGreaterThanOrEqual(4)
  expect(sent).toBeLessThanOrEqual(6)
  isAnswering = true
  await one.there.send({
    epoch: 1,
    session: 1,
    message: { type: 'ack', receivedLsn: one.replica.records.last, durableLsn: one.replica.records.last, appliedLsn: 0 },
  })
  await until(() => one.replica.durableLsn === one.tape.head)
  stop.abort(new Error('enough'))
  await over
})

it('a replica that stands elsewhere than it was granted from is sent nothing', async () => {
  const one = await rig({ answer: (message) => (message.type === 'grant' ? { type: 'grantAck', durableLsn: 3 } : undefined) })
  await one.write(20)
  expect(await failure(() => one.shipper.stream(FENCE, 5, 10, () => undefined, never))).toMatchObject({ name: 'GapError', expected: 5n, got: 3n })
  const end = await one.shipper.follow(5, PIN, never)
  expect(end).toMatchObject({ reason: 'stream_send_failed', cause: { name: 'GapError' } })
  expect(one.replica.records.last).toBe(0)
})

it('a run goes on under the grant of the one before only from where the replica has confirmed to be', async () => {
  const one = await rig({ ack: (received) => Math.min(received, 10) })
  await one.write(40)
  expect(await one.shipper.stream(FENCE, 0, 10, () => undefined, never, { ahead: 40 })).toBe(10)
  await until(() => one.replica.records.last === 40)
  // It has received everything; what it has durable ends at 10.
  expect(await failure(() => one.shipper.stream(FENCE, 20, 40, () => undefined, never))).toMatchObject({ name: 'GapError', expected: 20n, got: 10n })
})

it('a reader of the tape stops where it was told to, amid a group that was written at once, and begins there again', async () => {
  const store = await opened(tempDirectory())
  const { log } = insides(store)
  const tape = new Tape(log)
  onTestFinished(() => tape.close())
  const from = tape.head
  await store.create(people)
  await Promise.all(Array.from({ length: 300 }, (_, i) => store.append(people, [{ id: BigInt(i), name: 'a' }])))
  const starts: number[] = []
  for (let at = from; at < tape.head; at = log.recent!.after(at)!.last) starts.push(at)
  const large = starts.find((at) => log.recent!.after(at)!.last - at > 10)
  expect(large).toBeDefined()
  const reader = tape.reader(large!)
  for (const end of [large! + 1, large! + 7, log.recent!.after(large!)!.last]) {
    const piece = (await reader.next(end))!
    expect([piece.last, reader.at]).toEqual([end, end])
    expect(Buffer.from(piece.digest)).toEqual(Buffer.from(await log.digestAt(BigInt(end) as never)))
    expect(await reader.next(end)).toBeUndefined()
  }
  await reader.close()
})

it('pieces that are read from the files follow one another, and each states the digest of its end, whether a mark stands there or not', async () => {
  const store = await opened(tempDirectory())
  const { log } = insides(store)
  await store.create(people)
  for (let i = 0; i < 4000; i += 100) await Promise.all(Array.from({ length: 100 }, (_, j) => store.append(people, [{ id: BigInt(i + j), name: 'a' }])))
  // Nothing is in memory for a tape that comes now.
  const tape = new Tape(log)
  onTestFinished(() => tape.close())
  const { end } = tape
  for (const step of [end, 1500, 333]) {
    const reader = tape.reader(0)
    let at = 0
    let pieces = 0
    for (let upto = Math.min(end, step); at < end; upto = Math.min(end, upto + step)) {
      for (let piece = await reader.next(upto); piece !== undefined; piece = await reader.next(upto)) {
        expect(piece.first).toBe(at + 1)
        expect(walkFrames(piece.bytes, piece.first, piece.last - at)).toHaveLength(piece.last - at)
        at = piece.last
        expect(Buffer.from(piece.digest).equals(await log.digestAt(BigInt(at) as never)), `digest at ${at}`).toBe(true)
        pieces++
      }
      expect(at).toBe(upto)
    }
    expect(pieces).toBeGreaterThan(1)
    await reader.close()
  }
})

it('groups are kept in memory for as long as a tape is there, and not longer', async () => {
  const store = await opened('memory:')
  const { log } = insides(store)
  const first = new Tape(log)
  await store.create(people)
  const at = first.head - 1
  expect(log.recent!.after(at)).toBeDefined()
  const second = new Tape(log)
  first.close()
  first.close()
  expect(log.recent!.after(at)).toBeDefined()
  second.close()
  expect(log.recent!.after(at)).toBeUndefined()
  await store.append(people, [{ id: 1n, name: 'unheard' }])
  expect(log.recent!.after(at)).toBeUndefined()
})

it('a replica takes at most some four groups of records ahead of its disk, and goes on when they are there', async () => {
  const store = await opened('memory:')
  const { log } = insides(store)
  await store.create(people)
  await Promise.all(Array.from({ length: 8000 }, (_, i) => store.append(people, [{ id: BigInt(i), name: 'a' }])))
  const tape = new Tape(log)
  onTestFinished(() => tape.close())
  const writing: (() => void)[] = []
  const parts = {
    world: fillWorld(undefined),
    durableLsn: 0,
    pendingSeals: async () => [],
    receive: () => new Promise<void>((resolve) => writing.push(resolve)),
  } as unknown as ReplicaParts
  const gate = await EntryGate.open(parts, {
    durable: () => undefined,
    failed: (error) => expect.fail(String(error)),
    files: () => expect.fail('no record names a file'),
  })
  const reader = tape.reader(0)
  let most = 0
  for (let piece = await reader.next(tape.end); piece !== undefined; piece = await reader.next(tape.end)) {
    const { first, last, bytes, digest } = piece
    const room = gate.take({ type: 'entries', first, count: last - first + 1, committedLsn: 0, digest, base: false, bytes })
    most = Math.max(most, gate.received - gate.durable)
    while (room !== undefined && gate.received - gate.durable > 4096) {
      writing.shift()!()
      await turns(1)
    }
    await room
  }
  await reader.close()
  expect(most).toBeGreaterThan(4096)
  expect(most).toBeLessThanOrEqual(4096 + 1024)
  for (const written of writing) written()
  await gate.drained()
  expect(gate.durable).toBe(tape.end)
})
