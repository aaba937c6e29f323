// log/segment-log.ts: the log of a local root: opening it for writing, and the handle (log.md sections 2, 3, 6, 7).
//
//   LOCK -> free files unlinked, directory synced -> CLEAN -> examine -> seal the newest segment -> epoch record in a new one -> ready
//
// Invariant: H is what this handle acknowledged; every name is given or taken away only after a look at the LOCK; after a fatal error nothing is acknowledged.
import { ClosedError, VarveError } from '../errors.ts'
import { encodeEpochRecord, FOOTER_BYTES, KIND_EPOCH, WRITER_ID_BYTES } from '../format/index.ts'
import type { Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import { CLEAN_NAME, encodeClean, readClean } from './clean.ts'
import type { AppendOptions, CommitLog, Digest, Epoch, LogBatch, LogListener, LogRecord, Lsn, Pin, Submission } from './commit-log.ts'
import { digestOf, examine, headOf, listSegments } from './examine.ts'
import { GroupCommit } from './group-commit.ts'
import { Lock, type OpenRetry, takeLock } from './lock.ts'
import { encodeNode, NODE_NAME, type NodeState, readNode } from './node-state.ts'
import { ReadOnlyLog } from './read-only-log.ts'
import { RecentGroups } from './recent.ts'
import { Reclaim } from './reclaim.ts'
import { sealNewest } from './repair-tail.ts'
import { readSegment, unavailable } from './segment-reader.ts'
import { LOG_PREFIX, type SegmentList } from './segment-list.ts'
import { SegmentWriter } from './segment-writer.ts'
import { Wakeups } from './wakeups.ts'

export interface SegmentLogOptions {
  readonly world: World
  /** 16 bytes. */
  readonly storeId: Uint8Array
  readonly readOnly?: boolean
  /** Default synced. */
  readonly durability?: 'synced' | 'buffered'
  /** Default 0: a lone writer is not delayed. */
  readonly groupCommitMs?: number
  /** Default 100. */
  readonly bufferedSyncMs?: number
  /** Default 16 MiB. */
  readonly segmentBytes?: number
  /** Read-only: keep up with the writer by itself. Default true. */
  readonly follow?: boolean
  /** Valid checkpoints: the log must reach them with an equal digest, and begin at or below the highest. */
  readonly floors?: readonly { readonly lsn: Lsn; readonly digest: Uint8Array }[]
  readonly openRetry?: Partial<OpenRetry>
  readonly signal?: AbortSignal
  /** Read-only: what lies above is not part of the log. */
  readonly until?: Lsn | undefined
}

const DEFAULT_RETRY: OpenRetry = { delaysMs: [50, 100, 200, 400, 800], cleanupStale: true }
const SEGMENT_BYTES = 16 * 1024 * 1024

/** A log of this root: the writing one, which takes the LOCK, or one that only reads. */
export type SegmentLog = SegmentWriteLog | ReadOnlyLog

/**
 * Opens the log of a local or memory root.
 *
 * @throws LockHeldError, OpenLockTimeoutError, CorruptionError, StoreTooNewError, StorageError
 * @cost some five syncs and one segment of 256 KiB; reads what is above the newest floor
 */
export async function openSegmentLog(root: Root, o: SegmentLogOptions): Promise<SegmentLog> {
  const floors = (o.floors ?? []).map(({ lsn, digest }) => ({ lsn: Number(lsn), digest }))
  if (o.readOnly === true) {
    const until = o.until === undefined ? undefined : Number(o.until)
    return ReadOnlyLog.open(root, { world: o.world, storeId: o.storeId, floors, follow: o.follow ?? true, until })
  }
  const lock = await takeLock(root, o.world, {
    retry: { ...DEFAULT_RETRY, ...o.openRetry },
    epochFloor: () => epochFloor(root, o.storeId),
    signal: o.signal,
  })
  try {
    return await openLocked(root, o, floors, lock)
  } catch (error) {
    await lock.release().catch((cause: unknown) => o.world.logger.log({ level: 'warn', code: 'log.releaseFailed', error: cause }))
    throw error
  }
}

/** The highest epoch that NODE or the newest segment states. Damage is met again, with its address, when the log is examined. */
async function epochFloor(root: Root, storeId: Uint8Array): Promise<number> {
  let floor = (await readNode(root))?.epochSeen ?? 0
  const newest = (await listSegments(root)).at(-1)
  if (newest !== undefined) {
    try {
      floor = Math.max(floor, (await headOf(root, newest.name, newest.firstLsn, storeId)).epoch)
    } catch (error) {
      if (!(error instanceof VarveError)) throw error
    }
  }
  return floor
}

async function openLocked(root: Root, o: SegmentLogOptions, floors: readonly { lsn: number; digest: Uint8Array }[], lock: Lock): Promise<SegmentWriteLog> {
  const { world, storeId } = o
  const check = () => {
    if (!lock.isCurrent()) throw lock.fencedError()
  }
  // First the free files: an owner that was parked before a birth finds its file gone, and what it linked before is in the list below.
  if (await unlinkFree(root)) await root.syncDir(LOG_PREFIX.slice(0, -1))
  const clean = await readClean(root)
  const examined = await examine(root, { storeId, clean, floors })
  check()
  await putNode(root, world, storeId, lock.epoch)
  if (examined.newest !== undefined) await sealNewest(root, examined.newest, { world, digest: examined.digest, check })
  if (world.failpoints.active) await world.failpoints.hit(FP.open.beforeEpoch)
  const log = new SegmentWriteLog(root, o, lock, examined)
  await log.begin()
  return log
}

/** @returns whether there is a log at all */
async function unlinkFree(root: Root): Promise<boolean> {
  const free: string[] = []
  let any = false
  for await (const { name } of root.list(LOG_PREFIX)) {
    any = true
    if (name.startsWith(`${LOG_PREFIX}free-`)) free.push(name)
  }
  if (free.length > 0) await root.delete(free)
  return any
}

async function putNode(root: Root, world: World, storeId: Uint8Array, epoch: number): Promise<void> {
  if (world.failpoints.active) await world.failpoints.hit(FP.log.node)
  const before = await readNode(root)
  const state: NodeState = {
    replicaId: undefined,
    role: 'primary',
    session: 0,
    committedLsn: 0,
    historyFloorLsn: 0,
    ...before,
    seq: (before?.seq ?? 0) + 1,
    storeId,
    epochSeen: epoch,
  }
  await root.put(NODE_NAME, encodeNode(state))
}

export class SegmentWriteLog implements CommitLog {
  readonly epoch: Epoch
  readonly shared = false as const
  readonly readOnly = false as const
  readonly #root: Root
  readonly #world: World
  readonly #storeId: Uint8Array
  readonly #lock: Lock
  readonly #segments: SegmentList
  readonly #writer: SegmentWriter
  readonly #commit: GroupCommit
  readonly reclaim: Reclaim = new Reclaim()
  readonly recent: RecentGroups = new RecentGroups()
  readonly #wakeups = new Wakeups()
  #closing: Promise<void> | undefined
  #closed = false

  /** @internal use openSegmentLog */
  constructor(root: Root, o: SegmentLogOptions, lock: Lock, at: { readonly segments: SegmentList; readonly lastLsn: number; readonly digest: Digest }) {
    this.#root = root
    this.#world = o.world
    this.#storeId = o.storeId
    this.#lock = lock
    this.#segments = at.segments
    this.epoch = BigInt(lock.epoch) as Epoch
    this.#writer = new SegmentWriter({
      root,
      world: o.world,
      lock,
      storeId: o.storeId,
      durability: o.durability ?? 'synced',
      bufferedSyncMs: o.bufferedSyncMs ?? 100,
      segmentBytes: o.segmentBytes ?? SEGMENT_BYTES,
      segments: at.segments,
      lastLsn: at.lastLsn,
      digest: at.digest,
      recent: this.recent,
      onFatal: (error) => this.#commit.fail(error, true),
    })
    this.#commit = new GroupCommit(this.#writer, { head: at.lastLsn, groupCommitMs: o.groupCommitMs ?? 0, timers: o.world.timers })
    this.#commit.listen({ durable: () => this.#wakeups.wake(), failed: () => this.#wakeups.wake(), rejected: () => {} })
  }

  /** The epoch record, as the birth of this handle's first segment. @internal */
  async begin(): Promise<void> {
    const payload = encodeEpochRecord({ epoch: this.#lock.epoch, writerId: this.#world.random.bytes(WRITER_ID_BYTES), mode: 'exclusive' })
    try {
      await this.#commit.append([{ kind: KIND_EPOCH, payload }])
    } catch (error) {
      await this.#writer.abandon()
      throw error
    }
  }

  get head(): Lsn {
    return BigInt(this.#commit.head) as Lsn
  }

  get durableHead(): Lsn {
    return BigInt(this.#writer.synced) as Lsn
  }

  get submitted(): Lsn {
    return BigInt(this.#commit.submitted) as Lsn
  }

  get tail(): Lsn {
    return BigInt(this.#segments.tail) as Lsn
  }

  get lineage(): readonly { readonly epoch: Epoch; readonly firstLsn: Lsn }[] {
    return this.#segments.lineage().map(({ epoch, firstLsn }) => ({ epoch: BigInt(epoch) as Epoch, firstLsn: BigInt(firstLsn) as Lsn }))
  }

  get bytes(): number {
    return this.#segments.bytes
  }

  get segments(): number {
    return this.#segments.all.length
  }

  listen(listener: LogListener): void {
    this.#commit.listen(listener)
  }

  submit(records: readonly LogRecord[], o?: { expect?: Lsn }): Submission {
    return this.#commit.submit(records, o?.expect)
  }

  append(records: readonly LogRecord[], o?: AppendOptions): Promise<Submission> {
    return this.#commit.append(records, o)
  }

  async *read(start: Lsn, o: { end?: Lsn; signal?: AbortSignal } = {}): AsyncGenerator<LogBatch> {
    const end = o.end === undefined ? this.#commit.head : Math.min(Number(o.end), this.#commit.head)
    yield* this.#readFrom(Number(start), end, o.signal)
  }

  async *tailing(start: Lsn, o: { signal: AbortSignal }): AsyncGenerator<LogBatch> {
    let at = Number(start)
    for (;;) {
      o.signal.throwIfAborted()
      this.#checkOpen()
      if (this.#commit.ended !== undefined && at >= this.#commit.head) throw this.#commit.ended
      for await (const batch of this.#readFrom(at, this.#commit.head, o.signal)) {
        yield batch
        at = Number(batch.last)
      }
      if (at >= this.#commit.head && this.#commit.ended === undefined) await this.#wakeups.wait(o.signal)
    }
  }

  async digestAt(lsn: Lsn): Promise<Digest> {
    this.#checkOpen()
    const at = Number(lsn)
    const head = this.#commit.head
    if (at < this.#segments.tail || at > head) throw unavailable(at, this.#segments.tail, head)
    return this.#orTrimmed(at, () => digestOf(this.#root, this.#segments, at, { lsn: head, digest: this.#writer.digest }))
  }

  trim(upTo: Lsn, o?: { dryRun?: boolean }): Promise<Lsn> {
    return this.reclaim.reclaim(Number(upTo), o?.dryRun === true, async (limit) => {
      this.#checkOpen()
      if (this.#commit.ended !== undefined) throw this.#commit.ended
      // What goes may be needed until the log is synced through what replaces it.
      const bound = Math.min(limit, this.#writer.synced)
      const { all } = this.#segments
      if (o?.dryRun === true) return BigInt(all.findLast(({ lastLsn }, i) => i < all.length - 1 && lastLsn <= bound)?.lastLsn ?? this.#segments.tail) as Lsn
      while (all.length > 1 && all[0]!.lastLsn <= bound) await this.#dropOldest()
      return this.tail
    })
  }

  async #dropOldest(): Promise<void> {
    const { failpoints } = this.#world
    if (failpoints.active) await failpoints.hit(FP.log.trim, { tail: this.#segments.tail })
    this.assertOwned()
    // T moves first: from here on nobody starts to read what goes.
    const oldest = this.#segments.all.shift()!
    if (!oldest.own || !(await this.#writer.pool.recycle(oldest.name))) await this.#root.delete(oldest.name)
  }

  assertOwned(): void {
    this.#checkOpen()
    if (this.#commit.ended !== undefined) throw this.#commit.ended
    if (this.#lock.isCurrent()) return
    const error = this.#lock.fencedError()
    this.#commit.fail(error, true)
    throw error
  }

  async refresh(): Promise<Lsn> {
    this.#checkOpen()
    return this.head
  }

  pin(start: Lsn, owner: string): Promise<Pin> {
    return this.reclaim.pin(start, owner, () => this.#segments.tail)
  }

  async sync(): Promise<Lsn> {
    await this.#commit.flush()
    await this.#writer.sync().catch((error: unknown) => {
      if (error instanceof VarveError) this.#commit.fail(error, true)
      throw error
    })
    return this.durableHead
  }

  /** Flushes, seals, writes CLEAN, releases the LOCK. A poisoned or fenced handle only gives back what it holds. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    let failed: unknown
    try {
      if (this.#commit.ended === undefined) {
        await this.sync()
        this.#end()
        await this.#closeCleanly()
      }
    } catch (error) {
      failed = error
    }
    this.#end()
    await this.#writer.abandon()
    try {
      if (this.#world.failpoints.active) await this.#world.failpoints.hit(FP.log.afterClean)
      await this.#lock.release()
    } catch (error) {
      failed ??= error
    }
    if (failed !== undefined) throw failed
  }

  async #closeCleanly(): Promise<void> {
    const digest = this.#writer.digest
    const closed = await this.#writer.close()
    if (this.#world.failpoints.active) await this.#world.failpoints.hit(FP.log.beforeClean)
    if (closed === undefined || !this.#lock.isCurrent()) throw this.#lock.fencedError()
    const { info, records } = closed
    const mark = { storeId: this.#storeId, lsn: info.lastLsn, count: records, digest, segment: info.name, bytes: info.used + FOOTER_BYTES }
    await this.#root.put(CLEAN_NAME, encodeClean(mark))
  }

  closeSync(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#commit.ended === undefined) {
      try {
        const { flight, open } = this.#commit.pending()
        this.#commit.acknowledge(this.#writer.closeSync(flight, open))
      } catch (error) {
        this.#world.logger.log({ level: 'error', code: 'log.closeFailed', error })
      }
    }
    this.#end()
    this.#lock.releaseSync()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #end(): void {
    this.#closed = true
    this.#commit.fail(new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } }), false)
    this.#wakeups.wake()
  }

  async *#readFrom(start: number, end: number, signal: AbortSignal | undefined): AsyncGenerator<LogBatch> {
    for (let at = start; at < end;) {
      this.#checkOpen()
      if (at < this.#segments.tail) throw unavailable(at, this.#segments.tail, this.#commit.head)
      const info = this.#segments.find(at + 1)!
      const batches = readSegment(this.#root, info, at, Math.min(end, info.lastLsn), { digestAt: (lsn) => this.digestAt(lsn), signal })
      for (;;) {
        const position = at
        const next = await this.#orTrimmed(position, () => batches.next())
        if (next.done === true) break
        yield next.value
        at = Number(next.value.last)
      }
    }
  }

  /** A segment that was trimmed under a reader is gone, or full of other records: that is no damage. */
  async #orTrimmed<T>(at: number, read: () => Promise<T>): Promise<T> {
    try {
      return await read()
    } catch (error) {
      if (at < this.#segments.tail) throw unavailable(at, this.#segments.tail, this.#commit.head, error)
      throw error
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } })
  }
}
