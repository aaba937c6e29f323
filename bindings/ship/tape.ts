// ship/tape.ts: a primary's log as the runs of records that go out to replicas, read once for all that are near its end.
//
//   log.recent  newest groups, in memory        near the end: every Shipper sends the same bytes
//   log.read    verified frames from the files  far behind: each Shipper has a reader of its own
//
// Where replicas are waited for, groups leave when they are written, in parallel with the sync of this node: `end` is above the head then, by one group at most.
// Invariant: the pieces of one reader are dense and in order, whole frames without marks, each with the chain digest at its end; nothing above `end`, which is the
// synced head again once the log has failed. Only memory is read above the head.
import { FRAME_HEADER_BYTES, frameBytes, KIND_MARK, readMarkPayload } from '../format/index.ts'
import { chainOver, type CommitLog, type Digest, type LogBatch, type Lsn, type RecentGroup } from '../log/index.ts'

/** Of one message, unless a single record is longer. */
const PIECE_BYTES_MAX = 1024 * 1024
export const PIECE_RECORDS_MAX = 1024

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
  /** Upwards: behind the first `count` records of the run the digest is known, and frames that are no records may follow. */
  readonly known: readonly { readonly count: number; readonly digest: Digest | undefined }[]
}

export class Tape {
  readonly log: CommitLog
  readonly #following: Disposable | undefined
  readonly #listening: Disposable
  readonly #listeners = new Set<() => void>()
  readonly #isAhead: (() => boolean) | undefined
  #isOver = false
  /** Why the log takes nothing more. */
  failure: Error | undefined

  /** @param isAhead  whether records leave before they are synced here now; undefined: never, nor may they in a log that does not sync each group */
  constructor(log: CommitLog, isAhead?: () => boolean) {
    this.log = log
    this.#isAhead = isAhead
    this.#following = log.recent?.follow(
      isAhead === undefined
        ? {}
        : {
            isAhead,
            added: () => {
              if (isAhead()) this.wake()
            },
          },
    )
    this.#listening = log.listen({
      durable: (last) => {
        // Those that left before are known already.
        if (isAhead?.() !== true || log.recent === undefined || log.recent.end < Number(last)) this.wake()
      },
      failed: (error) => {
        this.failure = error
        this.wake()
      },
      rejected: () => {},
      foreign: () => this.wake(),
    })
  }

  /** H: what a power cut would leave. */
  get head(): number {
    const { head, durableHead } = this.log
    return Number(head < durableHead ? head : durableHead)
  }

  /** What may leave. */
  get end(): number {
    const { head } = this
    return this.#isAhead?.() === true && this.failure === undefined ? Math.max(head, this.log.recent?.end ?? 0) : head
  }

  /** Resolves when what left before its sync is durable here, or never will be. */
  async settled(): Promise<void> {
    const { log } = this
    if (this.#isAhead !== undefined && this.failure === undefined && log.recent !== undefined && log.recent.end > this.head)
      await log.sync().catch(() => undefined)
  }

  /** Told when there is more that may leave, at the end of the log, and by wake(). */
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
    this.#listening[Symbol.dispose]()
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

  /** The next records, none above `end`; undefined at `end`, or where none can be had yet. @throws HistoryUnavailableError, CorruptionError, StorageError */
  async next(end: number): Promise<Piece | undefined> {
    if (this.#at >= end) {
      // Nothing is held for a reader that has everything: neither what it has read last, nor the segment that it was read from.
      this.#run = undefined
      if (this.#cold !== undefined) await this.#endCold()
      return undefined
    }
    const { recent } = this.#tape.log
    const group = recent?.after(this.#at)
    if (group !== undefined) {
      await this.#endCold()
      if (group.first === this.#at + 1 && group.last <= end && group.bytes.length <= PIECE_BYTES_MAX) return this.#whole(group)
      this.#run = { ...group, known: [{ count: group.offsets.length, digest: group.digest }] }
    } else if (this.#run === undefined || this.#run.first + this.#run.offsets.length <= this.#at + 1) {
      if (this.#at >= this.#tape.head) return undefined
      this.#run = await this.#read()
    }
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

  /** As far as the log is synced, whatever was asked for: a read that ends with each window of a stream would open and search the segment again for the next. */
  async #read(): Promise<Run> {
    const reading = (): AsyncIterator<LogBatch> => this.#tape.log.read(BigInt(this.#at) as Lsn, { end: BigInt(this.#tape.head) as Lsn })[Symbol.asyncIterator]()
    this.#cold ??= reading()
    let next = await this.#cold.next()
    // The head was further back when it was begun.
    if (next.done === true) next = await (this.#cold = reading()).next()
    const batch = next.value as LogBatch
    return { first: Number(batch.first), bytes: batch.bytes, offsets: batch.offsets, known: marksOf(batch) }
  }

  /** The records after `at` of a run, as many as make a message. */
  async #cut(run: Run, end: number): Promise<Piece> {
    const { bytes, offsets } = run
    const from = this.#at + 1 - run.first
    const start = offsets[from]!
    const countMax = Math.min(offsets.length - from, PIECE_RECORDS_MAX, end - this.#at)
    let count = 1
    while (count < countMax && endOf(bytes, offsets, from + count) - start <= PIECE_BYTES_MAX) count++
    const known = knownIn(run, from, count)
    if (known !== undefined) count = known.count - from
    const piece = bytes.subarray(start, endOf(bytes, offsets, from + count - 1))
    const own = start === 0 ? offsets.subarray(from, from + count) : offsets.subarray(from, from + count).map((offset) => offset - start)
    if (known !== undefined) this.#digest = known.digest
    else {
      this.#digest ??= await this.#tape.log.digestAt(BigInt(this.#at) as Lsn)
      this.#digest = chainOver(this.#digest, piece, own)
    }
    const isDense = !run.known.some((each) => each.count > from && each.count < from + count)
    const first = this.#at + 1
    this.#at += count
    return { first, last: this.#at, bytes: isDense ? piece : packed(piece, own), digest: this.#digest! }
  }

  async #endCold(): Promise<void> {
    const cold = this.#cold
    this.#cold = undefined
    await cold?.return?.()
  }
}

function endOf(bytes: Uint8Array, offsets: Uint32Array, index: number): number {
  const at = offsets[index]!
  // Asked of every record: a view of each would cost more than what is looked at.
  const length = bytes[at + 8]! | (bytes[at + 9]! << 8) | (bytes[at + 10]! << 16) | (bytes[at + 11]! << 24)
  return at + frameBytes(length >>> 0)
}

/**
 * Where the log says what the digest is, nothing is hashed for it: the replica's own chain is what proves it. So a piece of up to `count` records ends at a mark, unless
 * that makes it much shorter and the next mark is out of reach from there.
 */
function knownIn({ known }: Run, from: number, count: number): { readonly count: number; readonly digest: Digest } | undefined {
  const last = known.findLastIndex((each) => each.digest !== undefined && each.count > from && each.count <= from + count)
  const found = known[last]
  if (found?.digest === undefined) return undefined
  const next = known[last + 1]
  const isWorth = found.count - from >= count / 2 || (next !== undefined && next.count - found.count <= PIECE_RECORDS_MAX)
  return isWorth ? { count: found.count, digest: found.digest } : undefined
}

/** What stands between the records of a batch: marks, whose digests are those of the records before them. */
function marksOf({ bytes, offsets }: LogBatch): Run['known'] {
  const known: Run['known'][number][] = []
  for (let i = 1; i < offsets.length; i++) {
    const end = endOf(bytes, offsets, i - 1)
    if (end === offsets[i]) continue
    const digest = bytes[end + 12] === KIND_MARK ? (readMarkPayload(bytes, end + FRAME_HEADER_BYTES).digest.slice() as Digest) : undefined
    known.push({ count: i, digest })
  }
  return known
}

/** The records alone. */
function packed(bytes: Uint8Array, offsets: Uint32Array): Uint8Array {
  const out = new Uint8Array(bytes.length)
  let used = 0
  for (let i = 0; i < offsets.length;) {
    const start = offsets[i]!
    let end = start
    // One copy for what lies together.
    while (i < offsets.length && offsets[i] === end) end = endOf(bytes, offsets, i++)
    out.set(bytes.subarray(start, end), used)
    used += end - start
  }
  return out.subarray(0, used)
}
