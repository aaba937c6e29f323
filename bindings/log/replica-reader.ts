// log/replica-reader.ts: the reading side of one generation of a replica's log, as the store above folds it.
//
// It outlives a truncation (its head goes down) and, until its files are dropped, an install (it ends, and what it held stays readable).
// Invariant: nothing is appended through it; what it shows is durable on this node.
import { ClosedError, HistoryUnavailableError, ReadOnlyError } from '../errors.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'

import type { CommitLog, Digest, Epoch, LogBatch, LogListener, Lsn, Pin, Submission } from './commit-log.ts'
import type { NodeFile } from './node-file.ts'
import { Reclaim } from './reclaim.ts'
import type { ReceiveQueue } from './receive-queue.ts'
import { SegmentHistory } from './segment-history.ts'
import { openMark, type SegmentList } from './segment-list.ts'
import type { SegmentWriter } from './segment-writer.ts'

/** A log as it is between two truncations. */
export interface ReplicaLine {
  readonly segments: SegmentList
  readonly writer: SegmentWriter
  readonly queue: ReceiveQueue
}

export interface ReaderParts {
  readonly root: Root
  readonly world: World
  readonly node: NodeFile
  /** @throws FencedError */
  assertOwned(): void
}

export class ReplicaReader implements CommitLog {
  readonly epoch: Epoch = 0n as Epoch
  readonly shared = false as const
  readonly readOnly = true as const
  readonly reclaim: Reclaim = new Reclaim()
  readonly #o: ReaderParts
  readonly #history: SegmentHistory
  readonly #listeners = new Set<LogListener>()
  #line: ReplicaLine
  /** A newer generation took over at this head. */
  #replaced: number | undefined
  /** What is above is being cut off: decided, so that nobody begins to read it. */
  #cut: number = Infinity
  #failed: Error | undefined
  #closed = false

  constructor(o: ReaderParts, line: ReplicaLine) {
    this.#o = o
    this.#line = line
    this.#history = new SegmentHistory({
      root: o.root,
      world: o.world,
      segments: () => this.#line.segments,
      writer: () => (this.#replaced === undefined ? this.#line.writer : undefined),
      head: () => Number(this.head),
      end: () => ({ lsn: this.#replaced ?? this.#line.queue.durable, digest: this.#line.writer.digest }),
      checkOpen: () => {
        if (this.#closed) throw new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } })
      },
      ended: () => this.#ended(),
      assertOwned: () => o.assertOwned(),
      beforeTrim: (tail, oldest) => o.node.recordTail(tail, oldest),
    })
  }

  get head(): Lsn {
    return BigInt(Math.min(this.#replaced ?? this.#line.queue.durable, this.#cut)) as Lsn
  }

  get durableHead(): Lsn {
    return this.head
  }

  get submitted(): Lsn {
    return this.head
  }

  get tail(): Lsn {
    return BigInt(this.#line.segments.tail) as Lsn
  }

  get lineage(): CommitLog['lineage'] {
    return this.#line.segments.lineage(this.#o.node.facts).map(openMark)
  }

  get bytes(): number {
    return this.#line.segments.bytes
  }

  get segments(): number {
    return this.#line.segments.all.length
  }

  listen(listener: LogListener): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  submit(): Submission {
    throw new ReadOnlyError('a replica appends what its primary sends, nothing else', { details: {}, hint: 'Write to the primary, or promote this replica.' })
  }

  async append(): Promise<Submission> {
    return this.submit()
  }

  read(start: Lsn, o?: { end?: Lsn; signal?: AbortSignal }): AsyncGenerator<LogBatch> {
    return this.#history.read(start, o)
  }

  tailing(start: Lsn, o: { signal: AbortSignal }): AsyncGenerator<LogBatch> {
    return this.#history.tailing(start, o)
  }

  digestAt(lsn: Lsn): Promise<Digest> {
    return this.#history.digestAt(lsn)
  }

  trim(upTo: Lsn, o?: { dryRun?: boolean }): Promise<Lsn> {
    const dryRun = o?.dryRun === true
    return this.reclaim.reclaim(Number(upTo), dryRun, (limit) => this.#history.trim(limit, dryRun))
  }

  assertOwned(): void {
    this.#o.assertOwned()
  }

  async refresh(): Promise<Lsn> {
    return this.head
  }

  pin(start: Lsn, owner: string): Promise<Pin> {
    return this.reclaim.pin(start, owner, () => this.#line.segments.tail)
  }

  async sync(): Promise<Lsn> {
    return this.head
  }

  /** Ends this view; the log of the replica goes on. */
  async close(): Promise<void> {
    this.#closed = true
    this.#history.wake()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** A group is durable. @internal */
  tell(last: number): void {
    if (this.#closed) return
    const lsn = BigInt(last) as Lsn
    for (const listener of this.#listeners) listener.durable(lsn)
    this.#history.wake()
  }

  /** The log is to end there: the next steps take away what is above. @internal */
  cutting(last: number): void {
    this.#cut = last
    this.reclaim.cut(last)
  }

  /** The log was cut back, or its handle opened anew behind the cut. @internal */
  replace(line: ReplicaLine): void {
    this.#cut = Infinity
    this.#line = line
  }

  /** A newer generation is the log now. @internal */
  supersede(): void {
    this.#replaced = this.#line.queue.durable
    this.#history.wake()
  }

  /** @internal */
  fail(error: Error): void {
    if (this.#failed !== undefined || this.#closed) return
    this.#failed = error
    for (const listener of this.#listeners) listener.failed(error)
    this.#history.wake()
  }

  #ended(): Error | undefined {
    if (this.#failed !== undefined || this.#replaced === undefined) return this.#failed
    return new HistoryUnavailableError(`a new base took the place of this log, which ends at LSN ${this.#replaced}`, {
      details: { asked: BigInt(this.#replaced) + 1n, floor: BigInt(this.#replaced) },
    })
  }
}
