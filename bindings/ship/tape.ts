// ship/tape.ts: a primary's log as the runs of records that go out to replicas, read once for all that are near its end.
//
//   log.recent  newest groups, in memory        near the end: every Shipper sends the same bytes
//   log.read    verified frames from the files  far behind: each Shipper has a reader of its own
//
// Invariant: the pieces of one reader are dense and in order, whole frames without marks, each with the chain digest at its end; nothing above the synced head.
import { frameBytes } from '../format/index.ts'
import { chainOver, type CommitLog, type Digest, type LogBatch, type Lsn, type RecentGroup } from '../log/index.ts'

/** Of one message, unless a single record is longer. */
const PIECE_BYTES_MAX = 1024 * 1024
const PIECE_RECORDS_MAX = 1024

/** Records first..last: their frames one after the other. */
export interface Piece {
  readonly first: number
  readonly last: number
  readonly bytes: Uint8Array
  /** digestAt(last). */
  readonly digest: Uint8Array
}

interface Run {
  readonly first: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  /** At the end of the run, where it is known. */
  readonly digest: Digest | undefined
}

export class Tape {
  readonly log: CommitLog
  readonly #following: Disposable | undefined
  readonly #listeners = new Set<() => void>()
  #isOver = false

  constructor(log: CommitLog) {
    this.log = log
    this.#following = log.recent?.follow()
    const wake = (): void => this.wake()
    log.listen({ durable: wake, failed: wake, rejected: () => {}, foreign: wake })
  }

  /** H: what a power cut would leave. */
  get head(): number {
    const { head, durableHead } = this.log
    return Number(head < durableHead ? head : durableHead)
  }

  /** Told at each append that is durable, and by wake(). */
  onAppend(listener: () => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  /** There is something to be told: C has moved. */
  wake(): void {
    if (!this.#isOver) for (const listener of this.#listeners) listener()
  }

  /** From the record after `lsn` on. */
  reader(lsn: number): TapeReader {
    return new TapeReader(this, lsn)
  }

  close(): void {
    this.#isOver = true
    this.#listeners.clear()
    this.#following?.[Symbol.dispose]()
  }
}

export class TapeReader {
  readonly #tape: Tape
  #at: number
  /** digestAt(at), where it is known. */
  #digest: Digest | undefined
  #run: Run | undefined
  #cold: AsyncIterator<LogBatch> | undefined

  constructor(tape: Tape, lsn: number) {
    this.#tape = tape
    this.#at = lsn
  }

  /** LSN of the last record handed out. */
  get at(): number {
    return this.#at
  }

  /** The next records, none above `end`; undefined at `end`. @throws HistoryUnavailableError, CorruptionError, StorageError */
  async next(end: number): Promise<Piece | undefined> {
    if (this.#at >= end) return undefined
    const { recent } = this.#tape.log
    const group = recent?.after(this.#at)
    if (group !== undefined) {
      await this.#endCold()
      if (group.first === this.#at + 1 && group.last <= end && group.bytes.length <= PIECE_BYTES_MAX) return this.#whole(group)
      this.#run = group
    } else if (this.#run === undefined || this.#run.first + this.#run.offsets.length <= this.#at + 1) this.#run = await this.#read(end)
    return await this.#cut(this.#run, end)
  }

  async close(): Promise<void> {
    await this.#endCold()
  }

  #whole({ first, last, bytes, digest }: RecentGroup): Piece {
    this.#run = undefined
    this.#at = last
    this.#digest = digest
    return { first, last, bytes, digest }
  }

  async #read(end: number): Promise<Run> {
    this.#cold ??= this.#tape.log.read(BigInt(this.#at) as Lsn, { end: BigInt(end) as Lsn })[Symbol.asyncIterator]()
    let next = await this.#cold.next()
    if (next.done === true) {
      // It was asked for up to an earlier end.
      this.#cold = this.#tape.log.read(BigInt(this.#at) as Lsn, { end: BigInt(end) as Lsn })[Symbol.asyncIterator]()
      next = await this.#cold.next()
    }
    const batch = next.value as LogBatch
    return { first: Number(batch.first), ...packed(batch), digest: undefined }
  }

  /** The records after `at` of a run, as many as make a message. */
  async #cut(run: Run, end: number): Promise<Piece> {
    const { bytes, offsets } = run
    const from = this.#at + 1 - run.first
    const start = offsets[from]!
    const countMax = Math.min(offsets.length - from, PIECE_RECORDS_MAX, end - this.#at)
    let count = 1
    while (count < countMax && endOf(bytes, offsets, from + count) - start <= PIECE_BYTES_MAX) count++
    const piece = bytes.subarray(start, endOf(bytes, offsets, from + count - 1))
    const isEnd = from + count === offsets.length
    if (isEnd && run.digest !== undefined) this.#digest = run.digest
    else {
      this.#digest ??= await this.#tape.log.digestAt(BigInt(this.#at) as Lsn)
      const own = offsets.subarray(from, from + count)
      this.#digest = chainOver(this.#digest, piece, start === 0 ? own : own.map((offset) => offset - start))
    }
    const first = this.#at + 1
    this.#at += count
    return { first, last: this.#at, bytes: piece, digest: this.#digest }
  }

  async #endCold(): Promise<void> {
    const cold = this.#cold
    this.#cold = undefined
    await cold?.return?.()
  }
}

function endOf(bytes: Uint8Array, offsets: Uint32Array, index: number): number {
  const at = offsets[index]!
  return at + frameBytes(new DataView(bytes.buffer, bytes.byteOffset + at, 12).getUint32(8, true))
}

/** Without the marks that may stand between the records. */
function packed({ bytes, offsets }: LogBatch): { readonly bytes: Uint8Array; readonly offsets: Uint32Array } {
  const ends = Array.from(offsets, (_, i) => endOf(bytes, offsets, i))
  const isDense = ends.every((end, i) => i + 1 === ends.length || end === offsets[i + 1])
  if (isDense) return { bytes, offsets }
  const lengths = ends.map((end, i) => end - offsets[i]!)
  const out = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0))
  const at = new Uint32Array(offsets.length)
  let used = 0
  for (let i = 0; i < lengths.length; i++) {
    out.set(bytes.subarray(offsets[i]!, ends[i]!), used)
    at[i] = used
    used += lengths[i]!
  }
  return { bytes: out, offsets: at }
}
