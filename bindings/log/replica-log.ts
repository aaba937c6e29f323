// log/replica-log.ts: the log of a replica: what its primary sends, record for record, in segments of its own (log.md sections 1, 2, 5; shipping.md sections 7, 8, 11).
//
//   LOCK -> intents of a truncation or an install finished -> as any read-write open, but no record is added -> NODE says replica -> ready
//
// Frames are sealed anew under our own seeds; record bytes, and so every digest, are the primary's. A segment holds records of one epoch.
// Invariant: durableLsn is what survives a kill and a power cut now; nothing is written that the chain digest of the primary does not vouch for; a truncation or an
// install that was begun is finished, by this handle or by the next open, before anything else looks at the log.
import { ClosedError, FencedError, PoisonedError, StorageError, VarveError } from '../errors.ts'
import { ReplicaMismatchError } from '../errors-ship.ts'
import { FOOTER_BYTES, INTENT_NAME, stagedName } from '../format/index.ts'
import type { Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import { BaseWriter } from './base-writer.ts'
import { type Base, baseName, encodeBase, Generation, type LineageMark } from './bases.ts'
import { CLEAN_NAME, encodeClean } from './clean.ts'
import type { CommitLog, Digest, Lsn } from './commit-log.ts'
import type { Examined, IsGivenUp } from './examine.ts'
import { type Lock, type OpenRetry, takeLock } from './lock.ts'
import type { NodeFile } from './node-file.ts'
import type { NodeFacts, NodeState } from './node-state.ts'
import { RecentGroups } from './recent.ts'
import { ReceiveQueue } from './receive-queue.ts'
import { type ReplicaLine, ReplicaReader } from './replica-reader.ts'
import { dropLog, dropOlder, factsOfInstall, settleInstall, type StepParts, sweepLogIntents, truncateSteps, writeLogIntent } from './replica-steps.ts'
import { poison } from './segment-io.ts'
import { DEFAULT_RETRY, epochFloor, SEGMENT_BYTES, settleLog } from './segment-log.ts'
import { SegmentList } from './segment-list.ts'
import { SegmentWriter } from './segment-writer.ts'
import { belowCommitted, checkTruncation, type TruncateOptions } from './truncation.ts'

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
  /** Told once why nothing is received any more: poisoned or fenced. */
  readonly onFailed?: (error: Error) => void
  /** Of this root, held since there was no store in it: given back here when the open fails. */
  readonly lock?: Lock
  /** As SegmentLogOptions.isGivenUp. */
  readonly isGivenUp?: IsGivenUp
}

/**
 * Opens the log of a replica, of a new one or of a former primary too.
 *
 * @throws LockHeldError, OpenLockTimeoutError, CorruptionError, StoreTooNewError, StorageError; ReplicaMismatchError: the root is another replica's
 */
export async function openReplicaLog(root: Root, o: ReplicaLogOptions): Promise<ReplicaLog> {
  const { world, storeId, replicaId, floors = [], isGivenUp } = o
  const lock =
    o.lock ??
    (await takeLock(root, world, {
      retry: { ...DEFAULT_RETRY, ...o.openRetry },
      epochFloor: () => epochFloor(root, storeId, (node) => refuseOther(root, node, replicaId)),
      signal: o.signal,
    }))
  try {
    const generation = await sweepLogIntents({ root, world, storeId, lock: lock.epoch, check: () => lock.assertCurrent() })
    const facts = (lastLsn: number) => ({ role: 'replica' as const, replicaId, lock: lock.epoch, ownFrom: lastLsn + 1 })
    const { examined, node } = await settleLog(root, { world, storeId, floors, isTrimmedBelowFloors: true, lock, facts, keeps: true, isGivenUp, generation })
    return new ReplicaLog(root, o, lock, node, examined)
  } catch (error) {
    await lock.release().catch((cause: unknown) => world.logger.log({ level: 'warn', code: 'log.releaseFailed', error: cause }))
    throw error
  }
}

export interface BaseOptions {
  /** B */
  readonly baseLsn: number
  /** digestAt(baseLsn). */
  readonly digest: Uint8Array
  /** Records above it belong to the base. */
  readonly logFrom: number
  /** digestAt(logFrom). */
  readonly logDigest: Uint8Array
  /** Up to baseLsn. */
  readonly lineage: readonly LineageMark[]
}

/** @throws ReplicaMismatchError: the root is that of a replica with another id. A former primary's is whose it is from here on */
function refuseOther(root: Root, node: NodeState | undefined, replicaId: string): void {
  if (node?.role !== 'replica' || node.replicaId === undefined || node.replicaId === replicaId) return
  throw new ReplicaMismatchError(`${root.url} is replica ${node.replicaId}, not ${replicaId}`, {
    details: { replicaId, found: node.replicaId },
    hint: `Open it as ${node.replicaId}: what it has confirmed was confirmed under that id. Another replica begins in an empty folder.`,
  })
}

export class ReplicaLog implements AsyncDisposable {
  /** The facts of this node: fence, committed boundary, history floor. */
  readonly node: NodeFile
  readonly #root: Root
  readonly #o: ReplicaLogOptions
  readonly #lock: Lock
  #line: ReplicaLine
  #reader: ReplicaReader
  /** The base being transferred. */
  #base: { readonly writer: BaseWriter; readonly line: ReplicaLine } | undefined
  /** Views of older generations, whose files are still there. */
  #older: ReplicaReader[] = []
  /** A truncation or an install under way. */
  #change: Promise<void> | undefined
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
    return this.#line.segments.lineage(this.node.facts)
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
    if (this.#change !== undefined) return this.#settled().then(() => this.#line.queue.receive(first, bytes, offsets, digest))
    return this.#line.queue.receive(first, bytes, offsets, digest)
  }

  /**
   * Gives up every record above `last`; afterwards the next one is last + 1. At the very head: nothing to do.
   *
   * @throws CommittedTruncationError, TruncationUnsafeError, SnapshotAboveTruncationError: nothing was changed; PoisonedError, FencedError: the next open finishes it
   */
  truncate(last: number, o: TruncateOptions): Promise<void> {
    return this.#changing(() => this.#truncate(last, o))
  }

  /**
   * Begins the log of the next generation beside this one. What an earlier base left is dropped.
   *
   * @throws CommittedTruncationError: the base is below what this replica was promised
   */
  beginBase(o: BaseOptions): Promise<BaseWriter> {
    return this.#changing(() => this.#beginBase(o))
  }

  /** It is folded: what the open has read and kept goes. */
  letGo(): void {
    this.#line.segments.letGo()
  }

  /** Removes the logs of older generations: their readers are closed. */
  async dropOld(): Promise<void> {
    this.#checkOpen()
    for (const reader of this.#older) await reader.close()
    this.#older = []
    await dropOlder(this.#root, this.generation.number, () => this.#assertOwned())
  }

  /** What is older is refused from now on, after a restart too: durable when it resolves. */
  async recordFence({ epoch, session, promised, decision }: { readonly epoch: number } & Pick<NodeFacts, 'session' | 'promised' | 'decision'>): Promise<void> {
    this.#checkOpen()
    // No number is claimed twice: the highest one stays, whomever this node follows.
    const epochSeen = Math.max(this.node.facts.epochSeen, epoch)
    await this.node.update({ epochSeen, followed: epoch === epochSeen ? 0 : epoch, session, promised, decision })
  }

  /** Never down; durable some 20 ms later, and at close. */
  recordCommitted(lsn: number): void {
    this.node.noteCommitted(lsn)
  }

  /** Versions below cannot be read here: files of theirs are not fetched, by the word of who is followed now. */
  async recordHistoryFloor(lsn: number): Promise<void> {
    this.#checkOpen()
    const { historyFloorLsn, followed, epochSeen, promised } = this.node.facts
    await this.node.settle({ historyFloorLsn: Math.max(lsn, historyFloorLsn), floorEpoch: followed || epochSeen, floorMandate: promised })
  }

  /** Everything that was ever confirmed from here is here: durable when it resolves. */
  async recordWhole(): Promise<void> {
    this.#checkOpen()
    await this.node.settle({ isWhole: true })
  }

  async #settled(): Promise<void> {
    while (this.#change !== undefined) await this.#change
  }

  async #changing<T>(change: () => Promise<T>): Promise<T> {
    await this.#settled()
    this.#checkOpen()
    const running = change()
    this.#change = running
      .then(() => {})
      .catch(() => {})
      .finally(() => (this.#change = undefined))
    return running
  }

  async #truncate(last: number, o: TruncateOptions): Promise<void> {
    const { failpoints } = this.#o.world
    const { queue, writer, segments } = this.#line
    await queue.drain()
    this.#checkOpen()
    if (last === queue.durable) return
    const { historyFloorLsn: floor } = this.node.facts
    checkTruncation(last, {
      ...o,
      head: queue.durable,
      committed: this.committed,
      floor,
      segments,
      holds: this.#reader.reclaim.list().filter(({ yields }) => !yields),
    })
    const parts = this.#stepParts()
    if (failpoints.active) await failpoints.hit(FP.ship.truncateIntent, { lsn: last })
    await this.#decided(async () => {
      const writeId = await writeLogIntent(parts, 'truncate', last, this.generation.number)
      this.#reader.cutting(last)
      if (failpoints.active) await failpoints.hit(FP.ship.afterTruncateIntent, { lsn: last })
      await writer.abandon()
      const cut = await truncateSteps(parts, this.generation, last)
      if (this.node.facts.ownFrom > last + 1) await this.node.update({ ownFrom: last + 1 })
      await this.#root.delete(stagedName(writeId, INTENT_NAME))
      const kept = segments.all.filter(({ firstLsn }) => firstLsn <= last)
      if (cut.info !== undefined) kept.splice(-1, 1, { ...cut.info, own: kept.at(-1)!.own })
      this.#line = this.#lineAt({ segments: new SegmentList(kept, segments.generation, segments.owed), lastLsn: last, digest: cut.digest })
      this.#reader.replace(this.#line)
    })
  }

  async #beginBase(o: BaseOptions): Promise<BaseWriter> {
    if (o.baseLsn < this.committed) throw belowCommitted(`a base at ${o.baseLsn}`, o.baseLsn, this.committed)
    await this.#dropBase()
    const generation = this.generation.number + 1
    await dropLog(this.#root, generation, () => this.#assertOwned())
    const base: Base = {
      generation,
      baseLsn: o.baseLsn,
      digest: o.digest as Digest,
      tailLsn: o.logFrom,
      tailDigest: o.logDigest as Digest,
      epoch: o.lineage.findLast(({ firstLsn }) => firstLsn <= o.logFrom)?.epoch ?? 0,
      lineage: o.lineage,
      manifestHash: new Uint8Array(32),
      checkpoints: [],
      install: '',
    }
    const line = this.#lineAt({ segments: new SegmentList([], new Generation(base)), lastLsn: o.logFrom, digest: o.logDigest as Digest })
    const writer = new BaseWriter(
      base,
      line,
      (its, whole, filled) => this.#changing(() => this.#install(its, whole, filled)),
      async (its) => {
        if (this.#base?.writer === its) await this.#changing(() => this.#dropBase())
      },
    )
    this.#base = { writer, line }
    return writer
  }

  async #dropBase(): Promise<void> {
    const base = this.#base
    if (base === undefined) return
    this.#base = undefined
    base.line.queue.fail(closed())
    await base.line.writer.abandon()
    await dropLog(this.#root, base.line.segments.generation.number, () => this.#assertOwned())
  }

  async #install(writer: BaseWriter, given: Base, line: ReplicaLine): Promise<void> {
    if (this.#base?.writer !== writer) throw closed()
    await this.#line.queue.drain()
    if (given.baseLsn < this.committed) throw belowCommitted(`a base at ${given.baseLsn}`, given.baseLsn, this.committed)
    const { failpoints } = this.#o.world
    const parts = this.#stepParts()
    if (failpoints.active) await failpoints.hit(FP.ship.installIntent, { lsn: given.baseLsn })
    await this.#decided(async () => {
      const install = await writeLogIntent(parts, 'install', given.baseLsn, given.generation)
      const base: Base = { ...given, install }
      // What the manifest names is durable, the intent is: one name is missing.
      if (failpoints.active) await failpoints.hit(FP.ship.afterManifest, { lsn: base.baseLsn })
      this.#assertOwned()
      if (failpoints.active) await failpoints.hit(FP.ship.beforeSwitch, { lsn: base.baseLsn })
      await this.#root.putIfAbsent(baseName(base.generation), encodeBase(base))
      if (failpoints.active) await failpoints.hit(FP.ship.afterSwitch, { lsn: base.baseLsn })
      // The base may end below what was confirmed before: the tail behind it is on its way.
      await this.node.update(factsOfInstall(base))
      await settleInstall(parts, base)
      await this.#root.delete(stagedName(install, INTENT_NAME))
      const before = this.#line
      this.#base = undefined
      this.#line = line
      this.#older.push(this.#reader)
      this.#reader.supersede()
      this.#reader = this.#readerOf(line)
      before.queue.fail(closed())
      await before.writer.abandon()
    })
  }

  /** From here on the outcome is on the disk: a failure is the end of this handle, and the next open goes on from there. */
  async #decided(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      const failed = error instanceof VarveError && !(error instanceof StorageError) ? error : poison('a change of the log did not come to its end', error)
      this.#fail(failed)
      throw failed
    }
  }

  #stepParts(): StepParts {
    return { root: this.#root, world: this.#o.world, storeId: this.#o.storeId, lock: this.#lock.epoch, check: () => this.#assertOwned() }
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
    await this.#settled()
    if (this.#end === undefined) await this.#dropBase().catch((error: unknown) => this.#o.world.logger.log({ level: 'warn', code: 'log.closeFailed', error }))
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
    for (const reader of [...this.#older, this.#reader]) await reader.close()
    await writer.abandon()
    try {
      // Whatever becomes of NODE, the root is free.
      await this.node.close(() => this.#lock.isCurrent()).catch((error: unknown) => (failed ??= error))
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
    const onFailed = (error: Error): void => {
      if (this.#line.segments === segments || error instanceof FencedError) return this.#fail(error)
      // A base under way is given up alone: its sender begins anew.
      queue.fail(error instanceof PoisonedError && error.cause instanceof StorageError ? error.cause : error)
    }
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
    const mandate = segments.newest?.mandate ?? segments.generation.mandateOf(epoch)
    const mandateOf = (its: number): number => segments.generation.mandateOf(its)
    const onDurable = (last: number): void => {
      // Of a base under way nobody reads.
      if (this.#line.segments === segments) this.#reader.tell(last)
    }
    const queue = new ReceiveQueue({ writer, storeId, head: lastLsn, digest, epoch, mandate, mandateOf, onDurable, onFailed })
    return { segments, writer, queue }
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
    const isNew = this.#end === undefined
    this.#stop(error)
    this.#reader.fail(error)
    if (isNew) this.#o.onFailed?.(error)
  }

  #stop(error: Error): void {
    this.#end ??= error
    this.#line.queue.fail(error)
    this.#base?.line.queue.fail(error)
  }
}

function closed(): ClosedError {
  return new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } })
}
