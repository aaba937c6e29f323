// log/segment-writer.ts: makes groups durable in segments: one write, one data sync, one look at the LOCK (log.md sections 2 and 3).
//
// A group that does not fit rolls: the old segment gets its footer, the group becomes the birth of the next one, written and synced in a file without a name
// in the log before `link` gives it one. Invariant: nothing is acknowledged before its sync (`synced`) or write (`buffered`) and the LOCK check behind it;
// the chain digest of a group is known before the next group is finished.
import type { StorageError } from '../errors.ts'
import { FOOTER_BYTES, FOOTER_CLOSED, FOOTER_ROLLED, MARK_BYTES, SEGMENT_HEADER_BYTES, writeSegmentHeader } from '../format/index.ts'
import type { Root, SegmentFile } from '../root/index.ts'
import { FP, soon, type TimerHandle, type World } from '../runtime/index.ts'

import type { Digest } from './commit-log.ts'
import { hash64 } from './digest.ts'
import { sealFooter } from './footer.ts'
import { FRONT_OF, type GroupBuffer } from './group-buffer.ts'
import type { GroupSink } from './group-commit.ts'
import type { Lock } from './lock.ts'
import type { RecentGroups } from './recent.ts'
import { asFatal, NoRoom, poison, syncOf, writeTo } from './segment-io.ts'
import { type SegmentInfo, type SegmentList, segmentName } from './segment-list.ts'
import { type FreeSegment, isSpace, SegmentPool } from './segment-pool.ts'

const SEGMENT_BYTES_FIRST = 256 * 1024
const MARK_EVERY_BYTES = 256 * 1024
/** Between two marks, unless one group has more: a piece that goes to a replica ends at each of them. */
const MARK_RECORDS_MAX = 1024
/** A group of at most this many bytes is written where it was made: a thread would cost more than the copy. */
const WRITE_SYNC_BYTES_MAX = 64 * 1024
/** How often a refused caller makes us look whether there is room again. */
const SHORT_RETRY_MS = 20
/** Marks that queued groups may add to their frames. */
const MARKS_SPARE = 4 * MARK_BYTES

export interface WriterOptions {
  readonly root: Root
  readonly world: World
  readonly lock: Lock
  readonly storeId: Uint8Array
  readonly durability: 'synced' | 'buffered'
  readonly bufferedSyncMs: number
  readonly segmentBytes: number
  readonly segments: SegmentList
  /** Where the log ends: the next group follows it. */
  readonly lastLsn: number
  readonly digest: Digest
  /** By whose decision the owner writes; absent: each group says it. */
  readonly mandate?: number
  /** Told of each group: with `synced` when it is written and its sync is under way, else when it is acknowledged. */
  readonly recent: RecentGroups
  /** A background sync failed, or found the LOCK lost. */
  readonly onFatal: (error: Error) => void
}

interface Current {
  readonly info: SegmentInfo
  readonly file: SegmentFile
  records: number
  /** Since the last mark. */
  markBytes: number
  markRecords: number
}

export class SegmentWriter implements GroupSink {
  readonly epoch: number
  readonly pool: SegmentPool
  readonly #o: WriterOptions
  /** Of the last group hashed, which may not be acknowledged yet. */
  readonly #digest: Digest
  /** digestAt(last acknowledged). */
  readonly #acknowledged: Digest
  #current: Current | undefined
  #seed = 0n
  #group: GroupBuffer | undefined
  #groupStart = 0
  #done: (error: Error | null) => void = () => {}
  #hashing = false
  #syncedEarly = false
  /** Acknowledged. */
  #written: number
  #synced: number
  #syncing: Promise<void> | undefined
  #timer: TimerHandle | undefined
  #stopped = false
  #wish = SEGMENT_BYTES_FIRST
  #askedMs = -Infinity

  constructor(o: WriterOptions) {
    this.#o = o
    this.epoch = o.lock.epoch
    this.pool = new SegmentPool(o.root, o.world, o.lock, o.segments.generation.dir)
    this.#digest = o.digest.slice() as Digest
    this.#acknowledged = o.digest.slice() as Digest
    this.#written = o.lastLsn
    this.#synced = o.lastLsn
  }

  get seed(): bigint {
    return this.#seed
  }

  get short(): StorageError | undefined {
    const { short } = this.pool
    // Whoever is refused asks again later: by then the room may be there.
    if (short !== undefined) {
      const nowMs = this.#o.world.clock.monoMs()
      if (nowMs - this.#askedMs >= SHORT_RETRY_MS) {
        this.#askedMs = nowMs
        this.#prepareNext()
      }
    }
    return short
  }

  get room(): number {
    const current = this.#current
    const here = current === undefined ? 0 : current.info.size - current.info.used - MARKS_SPARE - FOOTER_BYTES
    return Math.max(here, this.pool.largest - FRONT_OF.header - MARKS_SPARE - FOOTER_BYTES)
  }

  /** Synced through this LSN. */
  get synced(): number {
    return this.#synced
  }

  get digest(): Digest {
    return this.#acknowledged.slice() as Digest
  }

  commit(group: GroupBuffer, done: (error: Error | null) => void): void {
    this.#group = group
    this.#done = done
    if (this.#o.world.failpoints.active) {
      this.#commitSlowly(group).then(
        () => this.#finish(null),
        (error: unknown) => this.#finish(asFatal(error)),
      )
      return
    }
    const current = this.#current
    if (current === undefined || !this.#fits(current, group)) {
      this.#roll(group).then(
        () => this.#finish(null),
        (error: unknown) => this.#finish(asFatal(error)),
      )
      return
    }
    const bytes = group.view(this.#prepare(current, group))
    if (this.#o.durability === 'synced' && bytes.length <= WRITE_SYNC_BYTES_MAX) return this.#writeSmall(current, bytes)
    current.file.write(current.info.used, bytes, this.#onWritten)
    if (this.#o.durability === 'buffered') this.#hash(group)
  }

  /** Into bytes that are allocated already, so it is a copy into the page cache; only the sync is worth a thread. */
  #writeSmall(current: Current, bytes: Uint8Array): void {
    try {
      current.file.writeSync(current.info.used, bytes)
    } catch (error) {
      return this.#finish(poison('a write failed', error))
    }
    this.#onWritten(null)
  }

  /** Syncs what is acknowledged; resolves when that is durable. */
  async sync(): Promise<void> {
    const target = this.#written
    while (this.#synced < target) await this.#syncOnce()
  }

  /** Footer, sync, truncate; undefined when the LOCK is lost: then there is nothing to vouch for. */
  async close(): Promise<{ readonly info: SegmentInfo; readonly records: number } | undefined> {
    this.#stop()
    await this.#syncing
    const current = this.#current
    let closed: { info: SegmentInfo; records: number } | undefined
    if (current !== undefined && this.#o.lock.isCurrent()) {
      const at = current.info.used
      await this.#seal(current, FOOTER_CLOSED, this.#digest)
      this.#synced = this.#written
      await current.file.truncate(at + FOOTER_BYTES)
      current.info.size = at + FOOTER_BYTES
      closed = { info: current.info, records: current.records }
    }
    await this.abandon()
    return closed
  }

  /** Gives files back without a word in them: after a failure, or at the end of close. */
  async abandon(): Promise<void> {
    this.#stop()
    const current = this.#current
    this.#current = undefined
    try {
      await current?.file.close()
      await this.pool.drain()
    } catch (error) {
      this.#o.world.logger.log({ level: 'warn', code: 'log.closeFailed', error })
    }
  }

  /** Writes and syncs the groups in the present segment, as far as they fit. @returns the last LSN that is durable */
  closeSync(flight: GroupBuffer | undefined, open: GroupBuffer | undefined): number {
    this.#stop()
    const current = this.#current
    let last = this.#written
    if (current !== undefined && this.#o.lock.isCurrent()) {
      let { used } = current.info
      if (flight !== undefined && flight === this.#group && this.#groupStart > 0) {
        // Its asynchronous write may or may not have happened: the same bytes at the same place.
        current.file.writeSync(used, this.#flightView(flight))
        used += this.#flightView(flight).length
        last = flight.last
      }
      if (open !== undefined && open.first === last + 1 && used + open.bytes + FOOTER_BYTES <= current.info.size) {
        open.finish(this.#seed, false)
        current.file.writeSync(used, open.view('frames'))
        last = open.last
      }
      current.file.datasyncSync()
      if (!this.#o.lock.isCurrent()) last = this.#written
      this.#written = last
      this.#synced = last
    }
    try {
      current?.file.closeSync()
    } catch {
      // A call is under way: the descriptor ends with it or with the process.
    }
    this.pool.drainSync()
    return last
  }

  #flightView(group: GroupBuffer): Uint8Array {
    return group.view(this.#groupStart > group.bytes ? 'mark' : 'frames')
  }

  #fits(current: Current, group: GroupBuffer): boolean {
    // A segment is of one epoch: what a replica receives changes it.
    return current.info.epoch === group.epoch && current.info.used + MARK_BYTES + group.bytes + FOOTER_BYTES <= current.info.size
  }

  /** Seals the group for the present segment. */
  #prepare(current: Current, group: GroupBuffer): 'frames' | 'mark' {
    const syncedBefore = this.#synced >= group.first - 1
    const marked = current.markBytes >= MARK_EVERY_BYTES || current.markRecords + group.count > MARK_RECORDS_MAX
    if (marked) {
      current.info.points.push({ lsn: group.first - 1, offset: current.info.used, digest: this.#digest.slice() as Digest })
      current.markBytes = 0
      current.markRecords = 0
      group.finish(this.#seed, syncedBefore, { digest: this.#digest, storeId: this.#o.storeId })
    } else {
      group.finish(this.#seed, syncedBefore)
    }
    const start = marked ? 'mark' : 'frames'
    this.#groupStart = group.bytes + FRONT_OF[start]
    return start
  }

  readonly #onWritten = (error: Error | null): void => {
    if (this.#stopped) return
    if (error !== null) return this.#finish(poison('a write failed', error))
    if (this.#o.durability === 'buffered') return this.#finish(null)
    const { recent } = this.#o
    if (recent.isAhead) {
      // The way over another node is longer than the sync here, and starting that costs a change of threads: the group leaves first, in this turn.
      this.#hash(this.#group!)
      recent.add(this.#group!, this.#digest)
      return soon(() => {
        if (!this.#stopped) this.#current!.file.datasync(this.#onSynced)
      })
    }
    // The sync goes out first; the digest is computed in its shadow.
    this.#hashing = true
    this.#syncedEarly = false
    this.#current!.file.datasync(this.#onSynced)
    this.#hash(this.#group!)
    recent.add(this.#group!, this.#digest)
    this.#hashing = false
    if (this.#syncedEarly) this.#finish(null)
  }

  readonly #onSynced = (error: Error | null): void => {
    if (error !== null) return this.#finish(poison('a sync failed', error))
    if (this.#hashing) this.#syncedEarly = true
    else this.#finish(null)
  }

  #hash(group: GroupBuffer): void {
    group.advance(this.#digest)
  }

  /** The group is where its durability wants it; what is left is the look at the LOCK. */
  #finish(error: Error | null): void {
    const group = this.#group
    if (group === undefined) return
    this.#group = undefined
    const bytes = this.#groupStart
    this.#groupStart = 0
    if (this.#stopped) return
    let failed = error
    if (failed === null) {
      try {
        if (!this.#o.lock.isCurrent()) failed = this.#o.lock.fencedError()
      } catch (cause) {
        failed = poison('the LOCK could not be looked at', cause)
      }
    }
    if (failed !== null) {
      if (!isSpace(failed)) this.#stop()
      return this.#done(failed)
    }
    const current = this.#current!
    const last = group.last
    if (bytes > 0) {
      // A birth has accounted for itself.
      current.info.used += bytes
      current.markBytes += bytes
      current.markRecords += group.count
      current.records += group.count
    }
    // A birth syncs under both durabilities, and everything before it too.
    if (bytes === 0 || this.#o.durability === 'synced') this.#synced = last
    current.info.lastLsn = last
    this.#acknowledged.set(this.#digest)
    this.#written = last
    if (bytes > 0) this.#prepareNext()
    if (this.#synced < last) this.#armSync()
    this.#o.recent.add(group, this.#digest)
    this.#done(null)
  }

  /** With failpoints armed: the same steps, each behind its point. */
  async #commitSlowly(group: GroupBuffer): Promise<void> {
    const { failpoints } = this.#o.world
    await failpoints.hit(FP.log.beforeWrite, { first: group.first, last: group.last })
    const current = this.#current
    if (current === undefined || !this.#fits(current, group)) return this.#roll(group)
    const view = group.view(this.#prepare(current, group))
    // In two halves, so that whatever goes wrong in between leaves a torn group.
    const half = view.length >>> 1
    await writeTo(current.file, current.info.used, view.subarray(0, half))
    await failpoints.hit(FP.log.shortWrite)
    await writeTo(current.file, current.info.used + half, view.subarray(half))
    this.#hash(group)
    if (this.#o.durability === 'synced') {
      this.#o.recent.add(group, this.#digest)
      await failpoints.hit(FP.log.beforeSync)
      await syncOf(current.file)
      await failpoints.hit(FP.log.afterSync)
    }
    await failpoints.hit(FP.log.beforeLockCheck)
  }

  async #roll(group: GroupBuffer): Promise<void> {
    const { world, lock, storeId, segments, segmentBytes } = this.#o
    const { failpoints } = world
    const need = FRONT_OF.header + group.bytes + FOOTER_BYTES
    const old = this.#current
    // No byte is written before there is a place for the whole group.
    const free = await this.pool.take(need, this.#nextSize()).catch((error: unknown) => {
      throw isSpace(error) ? new NoRoom(error) : error
    })
    if (this.#stopped) return
    if (failpoints.active) await failpoints.hit(FP.log.roll, { first: group.first })
    const seed = new DataView(world.random.bytes(8).slice().buffer).getBigUint64(0, true)
    const before = this.#digest.slice() as Digest
    group.finish(seed, true, { digest: before, storeId })
    const mandate = this.#o.mandate ?? group.mandate
    writeSegmentHeader(group.header(), { epoch: group.epoch, firstLsn: group.first, seed, mandate }, hash64)
    await Promise.all([old === undefined ? undefined : this.#seal(old, FOOTER_ROLLED, before), this.#birth(free, group)])
    if (failpoints.active) await failpoints.hit(FP.log.beforeLockCheck)
    const name = segmentName(group.first, segments.generation.dir)
    await this.pool.giveName(free, name)
    const info: SegmentInfo = {
      name,
      firstLsn: group.first,
      lastLsn: group.last,
      epoch: group.epoch,
      seed,
      mandate,
      used: FRONT_OF.header + group.bytes,
      size: free.size,
      sealed: false,
      own: true,
      points: [{ lsn: group.first - 1, offset: SEGMENT_HEADER_BYTES, digest: before }],
      allPoints: true,
    }
    this.#seed = seed
    this.#current = { info, file: free.file, records: group.count, markBytes: group.bytes, markRecords: group.count }
    if (old !== undefined) this.#giveBack(old.file)
    if (!lock.isCurrent()) throw lock.fencedError()
    segments.all.push(info)
    this.#wish = Math.min(segmentBytes, free.size * 2)
  }

  /** A background sync may still be under way in it. */
  #giveBack(file: SegmentFile): void {
    const syncing = this.#syncing ?? Promise.resolve()
    syncing
      .catch(() => {})
      .then(() => file.close())
      .catch((error: unknown) => this.#o.world.logger.log({ level: 'warn', code: 'log.closeFailed', error }))
  }

  /** Writes and syncs header, mark and first group where no name of the log leads. */
  async #birth(free: FreeSegment, group: GroupBuffer): Promise<void> {
    await writeTo(free.file, 0, group.view('header'))
    const synced = syncOf(free.file)
    this.#hash(group)
    await synced
  }

  #nextSize(): number {
    return Math.min(this.#o.segmentBytes, this.#wish)
  }

  #prepareNext(): void {
    const bytes = this.#nextSize()
    if (!this.#stopped && !this.pool.has(bytes)) this.pool.prepare(bytes)
  }

  /** Footer behind the last record, then a sync of records and footer. */
  async #seal(current: Current, reason: number, digest: Digest): Promise<void> {
    const { failpoints } = this.#o.world
    // A footer says that everything before it was synced when it was written.
    if (this.#synced < this.#written) {
      await this.#syncing
      await syncOf(current.file)
    }
    if (failpoints.active) await failpoints.hit(FP.log.beforeFooter, { reason })
    const { info } = current
    const footer = sealFooter(
      { reason, records: current.records, firstLsn: info.firstLsn, lastLsn: this.#written, bytesUsed: info.used, digest },
      info.epoch,
      info.seed,
    )
    await writeTo(current.file, info.used, footer)
    await syncOf(current.file)
    info.sealed = true
    if (failpoints.active) await failpoints.hit(FP.log.afterFooter, { reason })
  }

  #armSync(): void {
    if (this.#timer !== undefined || this.#syncing !== undefined || this.#stopped) return
    this.#timer = this.#o.world.timers.set(this.#o.bufferedSyncMs, () => {
      this.#timer = undefined
      this.#syncOnce().then(
        () => {
          if (this.#synced < this.#written) this.#armSync()
        },
        (error: unknown) => this.#o.onFatal(asFatal(error)),
      )
    })
  }

  #syncOnce(): Promise<void> {
    this.#syncing ??= this.#syncNow().finally(() => (this.#syncing = undefined))
    return this.#syncing
  }

  /** A sync covers what was written when it began, no more: a group that is being written meanwhile is not in it. */
  async #syncNow(): Promise<void> {
    const current = this.#current
    const covers = this.#written
    if (current === undefined) return
    const { failpoints } = this.#o.world
    if (failpoints.active) await failpoints.hit(FP.log.beforeSync)
    await syncOf(current.file).catch((error: unknown) => {
      throw poison('a sync failed', error)
    })
    if (failpoints.active) await failpoints.hit(FP.log.afterSync)
    let isCurrent: boolean
    try {
      isCurrent = this.#o.lock.isCurrent()
    } catch (cause) {
      throw poison('the LOCK could not be looked at', cause)
    }
    if (!isCurrent) throw this.#o.lock.fencedError()
    this.#synced = Math.max(this.#synced, covers)
  }

  #stop(): void {
    this.#stopped = true
    if (this.#timer !== undefined) this.#o.world.timers.clear(this.#timer)
    this.#timer = undefined
  }
}
