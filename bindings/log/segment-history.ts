// log/segment-history.ts: the reading side of a handle that owns its segments: verified records, digests, and what trimming takes away.
//
// Invariant: what a reader is handed was acknowledged; what is trimmed or cut away under a reader is history that is gone, never damage.
import { FP, type World } from '../runtime/index.ts'
import type { Root } from '../root/index.ts'

import type { Digest, LogBatch, Lsn } from './commit-log.ts'
import { digestOf } from './examine.ts'
import { readSegment, unavailable } from './segment-reader.ts'
import type { SegmentInfo, SegmentList } from './segment-list.ts'
import type { SegmentWriter } from './segment-writer.ts'
import { Wakeups } from './wakeups.ts'

/** What the handle knows, as it is at the moment of the question. */
export interface HistoryParts {
  readonly root: Root
  readonly world: World
  segments(): SegmentList
  /** The writer; undefined once there is none. */
  writer(): SegmentWriter | undefined
  head(): number
  /** The end of what the segments hold, which a cut under way has left behind: head is lower then. */
  end(): { readonly lsn: number; readonly digest: Digest }
  /** @throws ClosedError */
  checkOpen(): void
  /** Why nothing more will come. */
  ended(): Error | undefined
  /** @throws FencedError */
  assertOwned(): void
  /** Before a segment goes: which record is at the tail then is known, whether it has gone or not. */
  beforeTrim(tail: number, oldest: SegmentInfo): Promise<void>
}

export class SegmentHistory {
  readonly #o: HistoryParts
  readonly #wakeups = new Wakeups()

  constructor(o: HistoryParts) {
    this.#o = o
  }

  wake(): void {
    this.#wakeups.wake()
  }

  read(start: Lsn, o: { end?: Lsn; signal?: AbortSignal } = {}): AsyncGenerator<LogBatch> {
    return this.#readFrom(Number(start), o.end === undefined ? Infinity : Number(o.end), o.signal)
  }

  async *tailing(start: Lsn, o: { signal: AbortSignal }): AsyncGenerator<LogBatch> {
    let at = Number(start)
    for (;;) {
      o.signal.throwIfAborted()
      this.#o.checkOpen()
      const ended = this.#o.ended()
      if (ended !== undefined && at >= this.#o.head()) throw ended
      for await (const batch of this.#readFrom(at, this.#o.head(), o.signal)) {
        yield batch
        at = Number(batch.last)
      }
      if (at >= this.#o.head() && this.#o.ended() === undefined) await this.#wakeups.wait(o.signal)
    }
  }

  async digestAt(lsn: Lsn): Promise<Digest> {
    this.#o.checkOpen()
    const at = Number(lsn)
    const end = this.#o.end()
    const segments = this.#o.segments()
    if (at < segments.tail || at > end.lsn) throw unavailable(at, segments.tail, end.lsn)
    try {
      return await digestOf(this.#o.root, segments, at, end)
    } catch (error) {
      throw this.#readError(error, at, at + 1)
    }
  }

  /** Under the reclaim lock. @returns T afterwards; with `dryRun` what it would be */
  async trim(limit: number, dryRun: boolean): Promise<Lsn> {
    this.#o.checkOpen()
    const ended = this.#o.ended()
    if (ended !== undefined) throw ended
    const segments = this.#o.segments()
    const { all } = segments
    // What goes may be needed until the log is synced through what replaces it.
    const bound = Math.min(limit, this.#o.writer()?.synced ?? 0)
    const last = all.findLast(({ lastLsn }, i) => i < all.length - 1 && lastLsn <= bound)
    if (dryRun || last === undefined) return BigInt(last?.lastLsn ?? segments.tail) as Lsn
    await this.#dropOwed(segments)
    while (all.length > 1 && all[0]!.lastLsn <= bound) await this.#dropOldest(segments)
    return BigInt(segments.tail) as Lsn
  }

  /** What an earlier trim could not delete, or has deleted and was not told so. */
  async #dropOwed({ owed }: SegmentList): Promise<void> {
    while (owed.length > 0) {
      this.#o.assertOwned()
      await this.#o.root.delete(owed[0]!)
      owed.shift()
    }
  }

  async #dropOldest(segments: SegmentList): Promise<void> {
    const { failpoints } = this.#o.world
    await this.#o.beforeTrim(segments.tail, segments.all[0]!)
    if (failpoints.active) await failpoints.hit(FP.log.trim, { tail: segments.tail })
    this.#o.assertOwned()
    // T moves first: from here on nobody starts to read what goes.
    const oldest = segments.all.shift()!
    segments.owed.push(oldest.name)
    const writer = this.#o.writer()
    if (!oldest.own || writer === undefined || !(await writer.pool.recycle(oldest.name))) await this.#o.root.delete(oldest.name)
    segments.owed.shift()
  }

  /** To the head of when it begins, or before it. */
  async *#readFrom(start: number, until: number, signal: AbortSignal | undefined): AsyncGenerator<LogBatch> {
    const end = Math.min(until, this.#o.head())
    for (let at = start; at < end;) {
      this.#o.checkOpen()
      const segments = this.#o.segments()
      if (at < segments.tail) throw unavailable(at, segments.tail, this.#o.head())
      const info = segments.find(at + 1)
      // Cut away since this read began.
      if (info === undefined) throw unavailable(at + 1, segments.tail, this.#o.head())
      const batches = readSegment(this.#o.root, info, at, Math.min(end, info.lastLsn), { digestAt: (lsn) => this.digestAt(lsn), signal })
      for (;;) {
        let next: IteratorResult<LogBatch>
        try {
          next = await batches.next()
        } catch (error) {
          throw this.#readError(error, at, end)
        }
        if (next.done === true) break
        yield next.value
        at = Number(next.value.last)
      }
    }
  }

  /** A segment that was trimmed or cut away under a reader, who is at `at` and wants to get to `end`, is gone, or full of other records: that is no damage. */
  #readError(error: unknown, at: number, end: number): unknown {
    const { tail } = this.#o.segments()
    const head = this.#o.head()
    return at < tail || (at >= head && head < end) ? unavailable(at, tail, head, error) : error
  }
}
