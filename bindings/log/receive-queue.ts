// log/receive-queue.ts: records of another log on their way into this one (log.md section 1, `receive`): verified, framed for the next group, made durable.
//
// A batch is verified when it comes: order, shape, and the chain digest of its end, which only equal records of an equal history have. Then its frames are copied
// into the group that will be written next, so batches that come while a sync is under way share the next one.
// Invariant: nothing of a batch that does not verify is written; a group holds records of one epoch; promises resolve in LSN order, after the sync and the LOCK check.
import { ChainDigestError, EntryChecksumError, GapError } from '../errors-ship.ts'
import { decodeEpochRecord, DecodeError, FRAME_HEADER_BYTES, frameBytes, KIND_EPOCH, KIND_MARK, MARK_BYTES, PAYLOAD_BYTES_MAX } from '../format/index.ts'
import type { KernelInstance } from '../kernels/index.ts'

import { advanceIn } from './chain.ts'
import type { Digest } from './commit-log.ts'
import { sameBytes } from './digest.ts'
import { scanKernel } from './frame-cursor.ts'
import { GROUP_BYTES_MAX, GROUP_RECORDS_MAX, GroupBuffer } from './group-buffer.ts'
import { isSpace } from './segment-pool.ts'
import type { SegmentWriter } from './segment-writer.ts'

const KIND_LAST = 12
const FLAGS = 3
const TWO_32 = 4_294_967_296
/** Of the buffers that are kept for groups to come: one is written while others fill. */
const SPARE_BYTES_MAX = 2 * GROUP_BYTES_MAX

/** Offsets of `count` whole frames that lie one behind the other; marks between them are passed over. @throws EntryChecksumError when that is not what it is */
export function frameOffsets(bytes: Uint8Array, count: number): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const offsets = new Uint32Array(count)
  let at = 0
  for (let i = 0; i < count;) {
    if (at + FRAME_HEADER_BYTES > bytes.length) throw malformed(`${count} frames`, `they end at byte ${bytes.length} behind ${i}`)
    const kind = bytes[at + 12]!
    if (kind !== KIND_MARK) offsets[i++] = at
    at += frameBytes(Math.min(view.getUint32(at + 8, true), PAYLOAD_BYTES_MAX))
  }
  if (at > bytes.length) throw malformed(`${count} frames`, `they end at byte ${bytes.length}, the last one at ${at}`)
  return offsets
}

/** Records of one epoch within a batch. */
interface Run {
  readonly from: number
  readonly to: number
  readonly epoch: number
  readonly mandate: number
  readonly bytes: number
  /** digestAt the last one. */
  digest: Digest
}

interface Waiter {
  readonly last: number
  readonly resolve: (durable: number) => void
  readonly reject: (error: unknown) => void
}

export interface ReceiveOptions {
  readonly writer: SegmentWriter
  readonly storeId: Uint8Array
  readonly head: number
  /** digestAt(head). */
  readonly digest: Digest
  /** Epoch of record `head`; 0 = none. */
  readonly epoch: number
  /** By whose decision that record was written. */
  readonly mandate: number
  /** The same of records of that epoch whose epoch record does not come. */
  readonly mandateOf: (epoch: number) => number
  /** After each group, before the promises of its batches. */
  readonly onDurable: (last: number) => void
  /** The handle is dead: poisoned or fenced. */
  readonly onFailed: (error: Error) => void
}

export class ReceiveQueue {
  readonly #o: ReceiveOptions
  /** Verified, in order; the first may be in flight. */
  #groups: GroupBuffer[] = []
  #spares: GroupBuffer[] = []
  #inFlight = false
  #received: number
  #digest: Digest
  #epoch: number
  #mandate: number
  #durable: number
  #waiters: Waiter[] = []
  #end: Error | undefined
  #scheduled = false
  /** A group had too few bytes for what came while another one was written: the next ones are of the full bound. */
  #grown = false
  #durableEpoch: number
  #durableMandate: number

  constructor(o: ReceiveOptions) {
    this.#o = o
    this.#received = o.head
    this.#durable = o.head
    this.#digest = o.digest
    this.#epoch = o.epoch
    this.#mandate = o.mandate
    this.#durableEpoch = o.epoch
    this.#durableMandate = o.mandate
  }

  /** Verified; perhaps not durable. */
  get received(): number {
    return this.#received
  }

  get durable(): number {
    return this.#durable
  }

  /** Why nothing more is accepted. */
  get ended(): Error | undefined {
    return this.#end
  }

  receive(first: number, bytes: Uint8Array, offsets: Uint32Array, digest: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) throw this.#end
      if (first !== this.#received + 1) {
        throw new GapError(`record ${first} does not follow ${this.#received}`, {
          details: { expected: BigInt(this.#received + 1), got: BigInt(first) },
        })
      }
      if (offsets.length > 0) this.#accept(first, bytes, offsets, digest)
      if (this.#received <= this.#durable) return resolve(this.#durable)
      this.#waiters.push({ last: this.#received, resolve, reject })
      this.#schedule()
    })
  }

  /** Resolves when what was received so far is durable or refused. */
  async drain(): Promise<void> {
    while (this.#waiters.length > 0)
      await new Promise<void>((resolve) => this.#waiters.push({ last: this.#received, resolve: () => resolve(), reject: () => resolve() }))
  }

  /** Nothing more; those who wait are told. */
  fail(error: Error): void {
    if (this.#end !== undefined) return
    this.#end = error
    this.#groups = []
    this.#received = this.#durable
    const waiters = this.#waiters
    this.#waiters = []
    for (const { reject } of waiters) reject(error)
  }

  /** For closeSync: the group that is being written and the next one. */
  pending(): { readonly flight: GroupBuffer | undefined; readonly open: GroupBuffer | undefined } {
    const [first, second] = this.#groups
    return this.#inFlight ? { flight: first, open: second } : { flight: undefined, open: first }
  }

  #accept(first: number, bytes: Uint8Array, offsets: Uint32Array, digest: Uint8Array): void {
    const kernel = scanKernel()
    const { arena } = kernel
    const mark = arena.mark()
    try {
      const at = kernel.copyIn(bytes)
      const list = arena.reserve(offsets.length * 4)
      kernel.u32.set(offsets, list >>> 2)
      const runs = runsOf(kernel, at, bytes.length, { first, offsets, epoch: this.#epoch, mandate: this.#mandate, mandateOf: this.#o.mandateOf }).map(
        (run) => ({ ...run, digest: this.#digest }),
      )
      let chained = this.#digest
      for (const run of runs) run.digest = chained = advanceIn(kernel, chained, at, list + run.from * 4, run.to - run.from)
      if (!sameBytes(chained, digest)) {
        const last = first + offsets.length - 1
        throw new ChainDigestError(`records ${first} to ${last} do not continue this log: its digest at ${last} would be another one`, {
          details: { first: BigInt(first), last: BigInt(last) },
        })
      }
      for (const run of runs) this.#add(kernel, at, offsets, run)
    } finally {
      arena.rewind(mark)
    }
  }

  /** digestAt(received). */
  get digest(): Digest {
    return this.#digest
  }

  #add(kernel: KernelInstance, at: number, offsets: Uint32Array, run: Run): void {
    const count = run.to - run.from
    let group = this.#groups.length > (this.#inFlight ? 1 : 0) ? this.#groups.at(-1)! : undefined
    if (group === undefined || group.epoch !== run.epoch || !group.fits(run.bytes + MARK_BYTES, count)) {
      this.#grown ||= group !== undefined && group.epoch === run.epoch && group.bytes + run.bytes + MARK_BYTES > group.capacityBytes
      group = this.#take(run.bytes + MARK_BYTES, count)
      group.begin(this.#received + 1, run.epoch, this.#o.writer.seed, run.mandate)
      this.#groups.push(group)
    }
    group.addFrames(kernel, at, offsets, run.from, run.to, run.digest)
    this.#received += count
    this.#digest = run.digest
    this.#epoch = run.epoch
    this.#mandate = run.mandate
  }

  #take(bytes: number, records: number): GroupBuffer {
    const least = this.#grown ? Math.max(bytes, GROUP_BYTES_MAX) : bytes
    const at = this.#spares.findIndex((spare) => spare.fits(least, records))
    if (at >= 0) return this.#spares.splice(at, 1)[0]!
    const small = this.#grown ? undefined : GroupBuffer.small()
    if (small?.fits(bytes, records) === true) return small
    return GroupBuffer.of(Math.max(bytes, GROUP_BYTES_MAX), Math.max(records, GROUP_RECORDS_MAX))
  }

  /** Its memory costs more to make than to keep: while records come, groups follow one another. */
  #keep(group: GroupBuffer): void {
    group.reset()
    if (this.#grown) this.#spares = this.#spares.filter(({ capacityBytes }) => capacityBytes >= GROUP_BYTES_MAX)
    const kept = this.#spares.reduce((sum, { capacityBytes }) => sum + capacityBytes, 0)
    if (kept + group.capacityBytes <= SPARE_BYTES_MAX && (!this.#grown || group.capacityBytes >= GROUP_BYTES_MAX)) this.#spares.push(group)
  }

  #schedule(): void {
    if (this.#scheduled || this.#inFlight) return
    this.#scheduled = true
    // What comes in the same turn goes along.
    queueMicrotask(() => {
      this.#scheduled = false
      this.#start()
    })
  }

  #start(): void {
    const group = this.#groups[0]
    if (this.#inFlight || group === undefined || this.#end !== undefined) return
    group.close(this.#o.storeId)
    this.#inFlight = true
    this.#o.writer.commit(group, this.#done)
  }

  /** Not a byte was written: the sender sends it again when there is room. */
  #giveBack(error: Error): void {
    this.#groups = []
    this.#received = this.#durable
    this.#digest = this.#o.writer.digest
    this.#epoch = this.#durableEpoch
    this.#mandate = this.#durableMandate
    const waiters = this.#waiters
    this.#waiters = []
    for (const { reject } of waiters) reject(error)
  }

  readonly #done = (error: Error | null): void => {
    this.#inFlight = false
    if (this.#end !== undefined) return
    const group = this.#groups.shift()!
    if (error !== null) return isSpace(error) ? this.#giveBack(error) : this.#o.onFailed(error)
    this.#durable = group.last
    this.#durableEpoch = group.epoch
    this.#durableMandate = group.mandate
    this.#keep(group)
    this.#o.onDurable(this.#durable)
    while (this.#waiters.length > 0 && this.#waiters[0]!.last <= this.#durable) this.#waiters.shift()!.resolve(this.#durable)
    this.#start()
  }
}

/** Splits a batch where the epoch changes or a group would be too long, and checks the order and shape of its frames. @throws EntryChecksumError */
function runsOf(
  kernel: KernelInstance,
  at: number,
  length: number,
  batch: { readonly first: number; readonly offsets: Uint32Array } & Pick<ReceiveOptions, 'epoch' | 'mandate' | 'mandateOf'>,
): Omit<Run, 'digest'>[] {
  const { first, offsets } = batch
  const words = kernel.u32
  const runs: Omit<Run, 'digest'>[] = []
  let { epoch, mandate } = batch
  let [from, bytes, end] = [0, 0, 0]
  for (let i = 0; i < offsets.length; i++) {
    const offset = offsets[i]!
    const lsn = first + i
    if ((offset & 7) !== 0 || offset < end || offset + FRAME_HEADER_BYTES > length) throw malformed(`record ${lsn}`, `its frame is said to lie at ${offset}`)
    const w = (at + offset) >>> 2
    const payload = words[w + 2]!
    const head = words[w + 3]!
    const kind = head & 255
    const its = words[w + 6]! + words[w + 7]! * TWO_32
    const total = payload <= PAYLOAD_BYTES_MAX ? frameBytes(payload) : Infinity
    if (offset + total > length) throw malformed(`record ${lsn}`, `its ${payload} bytes reach beyond the ${length} that came`)
    if (kind < 1 || kind > KIND_LAST || ((head >>> 8) & 255) > FLAGS) throw malformed(`record ${lsn}`, `kind ${kind}, flags ${(head >>> 8) & 255}`)
    if (words[w + 4]! + words[w + 5]! * TWO_32 !== lsn) throw malformed(`record ${lsn}`, `its frame is of ${words[w + 4]! + words[w + 5]! * TWO_32}`)
    if (its < epoch || its === 0) throw malformed(`record ${lsn}`, `its epoch ${its} follows ${epoch}`)
    if (i > from && (its !== epoch || bytes + total > GROUP_BYTES_MAX || i - from >= GROUP_RECORDS_MAX)) {
      runs.push({ from, to: i, epoch, mandate, bytes })
      ;[from, bytes] = [i, 0]
    }
    if (its !== epoch)
      mandate =
        kind === KIND_EPOCH
          ? mandateIn(kernel.u8.subarray(at + offset + FRAME_HEADER_BYTES, at + offset + FRAME_HEADER_BYTES + payload), lsn)
          : batch.mandateOf(its)
    epoch = its
    bytes += total
    end = offset + total
  }
  runs.push({ from, to: offsets.length, epoch, mandate, bytes })
  return runs
}

/** @throws EntryChecksumError */
function mandateIn(payload: Uint8Array, lsn: number): number {
  try {
    return decodeEpochRecord(payload).mandate ?? 0
  } catch (cause) {
    if (!(cause instanceof DecodeError)) throw cause
    throw malformed(`record ${lsn}`, cause.message)
  }
}

function malformed(what: string, why: string): EntryChecksumError {
  return new EntryChecksumError(`${what}: ${why}`, { details: {} })
}
