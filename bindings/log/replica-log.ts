// log/replica-log.ts: the log of a replica: what its primary sends, record for record, in segments of its own (log.md sections 1, 2, 5; shipping.md sections 7, 8, 11).
//
//   LOCK -> intents of a truncation or an install finished -> as any read-write open, but no record is added -> NODE says replica -> ready
//
// Frames are sealed anew under our own seeds; record bytes, and so every digest, are the primary's. A segment holds records of one epoch.
// Invariant: durableLsn is what survives a kill and a power cut now; nothing is written that the chain digest of the primary does not vouch for; a truncation or an
// install that was begun is finished, by this handle or by the next open, before anything else looks at the log.
import { ClosedError } from '../errors.ts'
import { FOOTER_BYTES } from '../format/index.ts'
import type { Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import type { Generation, LineageMark } from './bases.ts'
import { CLEAN_NAME, encodeClean } from './clean.ts'
import type { CommitLog, Digest, Lsn } from './commit-log.ts'
import type { Examined } from './examine.ts'
import { type Lock, type OpenRetry, takeLock } from './lock.ts'
import type { NodeFile } from './node-file.ts'
import { RecentGroups } from './recent.ts'
import { ReceiveQueue } from './receive-queue.ts'
import { type ReplicaLine, ReplicaReader } from './replica-reader.ts'
import { DEFAULT_RETRY, epochFloor, SEGMENT_BYTES, settleLog } from './segment-log.ts'
import type { SegmentList } from './segment-list.ts'
import { SegmentWriter } from './segment-writer.ts'

export interface ReplicaLogOptions {
  readonly world: World
  /** 16 bytes: of the primary's store. */
  readonly storeId: Uint8Array
  readonly replicaId: string
  /** Valid checkpoints: the log must reach them with an equal digest, and begin at or below the highest. */
  readonly floors?: readonly { readonly lsn: number; readonly digest: Uint8Array }[]
  readonly openRetry?: Partial<OpenRetry>
  /** Default 16 MiB. */
  readonly segmentBytes?: number
  readonly signal?: AbortSignal
}

/**
 * Opens the log of a replica, of a new one or of a former primary too.
 *
 * @throws LockHeldError, OpenLockTimeoutError, CorruptionError, StoreTooNewError, StorageError
 */
export async function openReplicaLog(root: Root, o: ReplicaLogOptions): Promise<ReplicaLog> {
  const { world, storeId, replicaId, floors = [] } = o
  const lock = await takeLock(root, world, {
    retry: { ...DEFAULT_RETRY, ...o.openRetry },
    epochFloor: () => epochFloor(root, storeId, false),
    signal: o.signal,
  })
  try {
    const facts = (lastLsn: number) => ({ role: 'replica' as const, replicaId, lock: lock.epoch, ownFrom: lastLsn + 1 })
    const { examined, node } = await settleLog(root, { world, storeId, floors, lock, facts })
    return new ReplicaLog(root, o, lock, node, examined)
  } catch (error) {
    await lock.release().catch((cause: unknown) => world.logger.log({ level: 'warn', code: 'log.releaseFailed', error: cause }))
    throw error
  }
}

export class ReplicaLog implements AsyncDisposable {
  /** The facts of this node: fence, committed boundary, history floor. */
  readonly node: NodeFile
  readonly #root: Root
  readonly #o: ReplicaLogOptions
  readonly #lock: Lock
  #line: ReplicaLine
  #reader: ReplicaReader
  #end: Error | undefined
  #closing: Promise<void> | undefined

  /** @internal use openReplicaLog */
  constructor(root: Root, o: ReplicaLogOptions, lock: Lock, node: NodeFile, at: Examined) {
    this.#root = root
    this.#o = o
    this.#lock = lock
    this.node = node
    this.#line = this.#lineAt(at)
    this.#reader = this.#readerOf(this.#line)
  }

  /** R. */
  get durableLsn(): number {
    return this.#line.queue.durable
  }

  /** Verified and on its way to the disk: what comes next follows it. */
  get receivedLsn(): number {
    return this.#line.queue.received
  }

  /** T. */
  get tailLsn(): number {
    return this.#line.segments.tail
  }

  get generation(): Generation {
    return this.#line.segments.generation
  }

  get lineage(): readonly LineageMark[] {
    return this.#line.segments.lineage(this.node.facts.tailEpoch)
  }

  /** RC: the highest committed boundary that this replica was ever told. */
  get committed(): number {
    return this.node.committed
  }

  /** The reading side of the present generation: another object after an install. */
  get current(): CommitLog {
    return this.#reader
  }

  /** digestAt(lsn), T..R. @throws HistoryUnavailableError */
  digestAt(lsn: number): Promise<Digest> {
    return this.#reader.digestAt(BigInt(lsn) as Lsn)
  }

  /**
   * Records of the primary, as they are there: whole frames at `offsets` of `bytes`, which are copied. May be called again before the last call has resolved.
   *
   * @param first must be receivedLsn + 1
   * @param digest digestAt of the last of them, as the primary has it
   * @returns the LSN durable here: at least that of the last of them
   * @throws GapError, EntryChecksumError, ChainDigestError (nothing was written); StorageError space (nothing was written); PoisonedError, FencedError
   */
  receive(first: number, bytes: Uint8Array, offsets: Uint32Array, digest: Uint8Array): Promise<number> {
    return this.#line.queue.receive(first, bytes, offsets, digest)
  }

  /** What is older is refused from now on, after a restart too: durable when it resolves. */
  async recordFence(epoch: number, session: number): Promise<void> {
    this.#checkOpen()
    await this.node.update({ epochSeen: epoch, session })
  }

  /** Never down; durable some 20 ms later, and at close. */
  recordCommitted(lsn: number): void {
    this.node.noteCommitted(lsn)
  }

  /** Versions below cannot be read here: files of theirs are not fetched. */
  async recordHistoryFloor(lsn: number): Promise<void> {
    this.#checkOpen()
    if (lsn > this.node.facts.historyFloorLsn) await this.node.update({ historyFloorLsn: lsn })
  }

  /** Flushes, seals, writes CLEAN, releases the LOCK. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Writes and syncs what was received as far as it fits, releases the LOCK; no CLEAN. */
  closeSync(): void {
    if (this.#closing !== undefined) return
    this.#closing = Promise.resolve()
    if (this.#end === undefined) {
      try {
        const { flight, open } = this.#line.queue.pending()
        this.#line.writer.closeSync(flight, open)
      } catch (error) {
        this.#o.world.logger.log({ level: 'error', code: 'log.closeFailed', error })
      }
    }
    this.#stop(closed())
    this.node.closeSync(() => this.#lock.isCurrent())
    this.#lock.releaseSync()
  }

  async #close(): Promise<void> {
    let failed: unknown
    const { queue, writer } = this.#line
    try {
      await queue.drain()
      if (this.#end === undefined) {
        this.#stop(closed())
        await this.#closeCleanly()
      }
    } catch (error) {
      failed = error
    }
    this.#stop(closed())
    await this.#reader.close()
    await writer.abandon()
    try {
      await this.node.close(() => this.#lock.isCurrent())
      if (this.#o.world.failpoints.active) await this.#o.world.failpoints.hit(FP.log.afterClean)
      await this.#lock.release()
    } catch (error) {
      failed ??= error
    }
    if (failed !== undefined) throw failed
  }

  async #closeCleanly(): Promise<void> {
    const { writer, segments } = this.#line
    const { digest } = writer
    const sealed = await writer.close()
    if (!this.#lock.isCurrent()) throw this.#lock.fencedError()
    // Nothing was received: what is there was sealed when it was opened.
    if (sealed === undefined) return
    const { failpoints } = this.#o.world
    if (failpoints.active) await failpoints.hit(FP.log.beforeClean)
    const { info, records } = sealed
    const mark = { storeId: this.#o.storeId, lsn: info.lastLsn, count: records, digest, segment: info.name, bytes: info.used + FOOTER_BYTES }
    await this.#root.put(CLEAN_NAME, encodeClean({ ...mark, generation: segments.generation.number }))
  }

  #lineAt(at: { readonly segments: SegmentList; readonly lastLsn: number; readonly digest: Digest }): ReplicaLine {
    const { world, storeId, segmentBytes = SEGMENT_BYTES } = this.#o
    const { segments, lastLsn, digest } = at
    const onFailed = (error: Error): void => this.#fail(error)
    const writer = new SegmentWriter({
      root: this.#root,
      world,
      lock: this.#lock,
      storeId,
      durability: 'synced',
      bufferedSyncMs: 0,
      segmentBytes,
      segments,
      lastLsn,
      digest,
      // Nobody follows a replica.
      recent: new RecentGroups(),
      onFatal: onFailed,
    })
    const epoch = segments.newest?.epoch ?? segments.generation.base?.epoch ?? 0
    const onDurable = (last: number): void => this.#reader.tell(last)
    return { segments, writer, queue: new ReceiveQueue({ writer, storeId, head: lastLsn, digest, epoch, onDurable, onFailed }) }
  }

  #readerOf(line: ReplicaLine): ReplicaReader {
    return new ReplicaReader({ root: this.#root, world: this.#o.world, node: this.node, assertOwned: () => this.#assertOwned() }, line)
  }

  #assertOwned(): void {
    this.#checkOpen()
    if (this.#lock.isCurrent()) return
    const error = this.#lock.fencedError()
    this.#fail(error)
    throw error
  }

  #checkOpen(): void {
    if (this.#end !== undefined) throw this.#end
  }

  /** Poisoned or fenced: reads go on, nothing is received. */
  #fail(error: Error): void {
    this.#stop(error)
    this.#reader.fail(error)
  }

  #stop(error: Error): void {
    this.#end ??= error
    this.#line.queue.fail(error)
  }
}

function closed(): ClosedError {
  return new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } })
}
