// store/visible-log.ts: the log of a replica as its readers see it: it ends where the fold does, at what is committed (docs/shipping.md "Replica").
//
// Invariant: nothing above `seen` is handed out unless the caller names an end above it: uncommitted records are for those who ask for them.

import { ReadOnlyError } from '../errors.ts'
import type { CommitLog, Digest, Epoch, LogBatch, Lsn, Pin, Reclaim, Submission } from '../log/index.ts'
import { Wakeups } from '../log/index.ts'

export class VisibleLog implements CommitLog {
  readonly shared = false as const
  readonly readOnly = true as const
  readonly inner: CommitLog
  readonly reclaim: Reclaim
  private readonly wakeups = new Wakeups()
  private seen_ = 0
  private ended: Error | undefined
  /** Told of what is read. */
  onRead: ((bytes: number) => void) | undefined

  constructor(inner: CommitLog) {
    this.inner = inner
    this.reclaim = inner.reclaim
  }

  /** The fold has gone on. */
  show(lsn: number): void {
    this.seen_ = lsn
    this.wakeups.wake()
  }

  /** Whoever waits for the next record is told that there will be none. */
  end(error: Error): void {
    this.ended ??= error
    this.wakeups.wake()
  }

  get head(): Lsn {
    return BigInt(this.seen_) as Lsn
  }

  /** R: what readUncommitted shows. */
  get durableHead(): Lsn {
    return this.inner.durableHead
  }

  get submitted(): Lsn {
    return this.head
  }

  get tail(): Lsn {
    return this.inner.tail
  }

  get epoch(): Epoch {
    return this.inner.epoch
  }

  get lineage(): CommitLog['lineage'] {
    return this.inner.lineage
  }

  get bytes(): number {
    return this.inner.bytes
  }

  get segments(): number {
    return this.inner.segments
  }

  /** The fold tells. */
  listen(): Disposable {
    return { [Symbol.dispose]: () => undefined }
  }

  submit(): Submission {
    throw appended()
  }

  append(): Promise<Submission> {
    return Promise.reject(appended())
  }

  read(start: Lsn, { end = this.head, signal }: { end?: Lsn; signal?: AbortSignal } = {}): AsyncIterable<LogBatch> {
    const batches = this.inner.read(start, { end, ...(signal === undefined ? {} : { signal }) })
    return this.onRead === undefined ? batches : told(batches, this.onRead)
  }

  async *tailing(start: Lsn, { signal }: { signal: AbortSignal }): AsyncGenerator<LogBatch> {
    for (let at = start; ;) {
      signal.throwIfAborted()
      const { head } = this
      for await (const batch of this.inner.read(at, { end: head, signal })) {
        yield batch
        at = batch.last
      }
      if (at < this.head) continue
      if (this.ended !== undefined) throw this.ended
      await this.wakeups.wait(signal)
    }
  }

  digestAt(lsn: Lsn): Promise<Digest> {
    return this.inner.digestAt(lsn)
  }

  trim(upTo: Lsn, o?: { dryRun?: boolean }): Promise<Lsn> {
    return this.inner.trim(upTo, o)
  }

  assertOwned(): void {
    this.inner.assertOwned?.()
  }

  refresh(): Promise<Lsn> {
    return Promise.resolve(this.head)
  }

  pin(start: Lsn, owner: string): Promise<Pin> {
    return this.inner.pin(start, owner)
  }

  sync(): Promise<Lsn> {
    return Promise.resolve(this.head)
  }

  close(): Promise<void> {
    return this.inner.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** All of a log, whose reads are told: for a pass over it that somebody waits for. */
export function toldReads(log: CommitLog, onRead: (bytes: number) => void): CommitLog {
  const visible = new VisibleLog(log)
  visible.show(Number(log.durableHead))
  visible.onRead = onRead
  return visible
}

async function* told(batches: AsyncIterable<LogBatch>, onRead: (bytes: number) => void): AsyncGenerator<LogBatch> {
  for await (const batch of batches) {
    onRead(batch.bytes.length)
    yield batch
  }
}

function appended(): ReadOnlyError {
  return new ReadOnlyError('a replica appends what its primary sends, nothing else', { details: {}, hint: 'Write to the primary, or promote this replica.' })
}
