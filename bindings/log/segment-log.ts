// log/segment-log.ts: the log of a local root: opening it for writing, and the handle (log.md sections 2, 3, 6, 7).
//
//   LOCK -> free files unlinked, directory synced -> CLEAN -> examine -> seal the newest segment -> epoch record in a new one -> ready
//
// Invariant: H is what this handle acknowledged; every name is given or taken away only after a look at the LOCK; after a fatal error nothing is acknowledged.
import { ClosedError, ReadOnlyError, VarveError } from '../errors.ts'
import {
  DECISION_BYTES,
  encodeEpochRecord,
  FOOTER_BYTES,
  KIND_EPOCH,
  mandateOfClaim,
  mandateOfPromotion,
  NO_DECISION,
  toHex,
  WRITER_ID_BYTES,
} from '../format/index.ts'
import type { Root } from '../root/index.ts'
import { FP, lazily, type World } from '../runtime/index.ts'

import { CLEAN_NAME, encodeClean, readClean } from './clean.ts'
import type { AppendOptions, CommitLog, Digest, Epoch, LogBatch, LogListener, LogRecord, Lsn, Pin, Submission } from './commit-log.ts'
import { currentGeneration, type Generation } from './bases.ts'
import { examine, type Examined, type Floor, headOf, type IsGivenUp, listSegments } from './examine.ts'
import { GroupCommit } from './group-commit.ts'
import { Lock, type OpenRetry, takeLock } from './lock.ts'
import { NodeFile } from './node-file.ts'
import { FRESH_NODE, type NodeFacts, type NodeState, readNode } from './node-state.ts'
import { ReadOnlyLog } from './read-only-log.ts'
import { RecentGroups } from './recent.ts'
import { Reclaim } from './reclaim.ts'
import { sealNewest } from './repair-tail.ts'
import { SegmentHistory } from './segment-history.ts'
import { openMark, type SegmentList } from './segment-list.ts'
import { SegmentWriter } from './segment-writer.ts'

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
  /** The caller folds it next and calls letGo(): what is read of it is kept until then, some MiB of it. */
  readonly keeps?: boolean
  /** Read-only: what lies above is not part of the log. */
  readonly until?: Lsn | undefined
  /** To claim, at least. */
  readonly epoch?: number | undefined
  /** Makes a primary of a replica: it writes under this epoch or a higher one, by the decision that was taken at `fencedAt`. Without it, a replica's log is not opened for writing. */
  readonly promote?: { readonly epoch: number; readonly fencedAt: number }
  /** Whether no record at or below an LSN is needed: asked where some are missing. Default: all are. */
  readonly isGivenUp?: IsGivenUp
}

const replicaSteps = /* #__PURE__ */ lazily(() => import('./replica-steps.ts'))

export const DEFAULT_RETRY: OpenRetry = { delaysMs: [50, 100, 200, 400, 800], cleanupStale: true }
export const SEGMENT_BYTES: number = 16 * 1024 * 1024

/** A log of this root: the writing one, which takes the LOCK, or one that only reads. */
export type SegmentLog = SegmentWriteLog | ReadOnlyLog

/**
 * Opens the log of a local or memory root.
 *
 * @throws LockHeldError, OpenLockTimeoutError, CorruptionError, StoreTooNewError, StorageError; ReadOnlyError for a replica's
 * @cost some five syncs and one segment of 256 KiB; reads what is above the newest floor
 */
export async function openSegmentLog(root: Root, o: SegmentLogOptions): Promise<SegmentLog> {
  const floors = (o.floors ?? []).map(({ lsn, digest }) => ({ lsn: Number(lsn), digest }))
  if (o.readOnly === true) {
    const until = o.until === undefined ? undefined : Number(o.until)
    return ReadOnlyLog.open(root, { world: o.world, storeId: o.storeId, floors, follow: o.follow ?? true, until, keeps: o.keeps, isGivenUp: o.isGivenUp })
  }
  const lock = await takeLock(root, o.world, {
    retry: { ...DEFAULT_RETRY, ...o.openRetry },
    epochFloor: async () => {
      const known = await epochFloor(root, o.storeId, (node) => o.promote === undefined && refuseReplica(root, node))
      return Math.max(known, (o.promote?.epoch ?? o.epoch ?? 0) - 1)
    },
    signal: o.signal,
  })
  try {
    return await openLocked(root, o, floors, lock)
  } catch (error) {
    await lock.release().catch((cause: unknown) => o.world.logger.log({ level: 'warn', code: 'log.releaseFailed', error: cause }))
    throw error
  }
}

/**
 * The highest epoch that NODE or the newest segment states. Damage is met again, with its address, when the log is examined.
 *
 * @param refuse throws where NODE says that the root is not for who opens it
 */
export async function epochFloor(root: Root, storeId: Uint8Array, refuse: (node: NodeState | undefined) => void): Promise<number> {
  const node = await readNode(root)
  refuse(node)
  let floor = node?.epochSeen ?? 0
  const newest = (await listSegments(root, (await currentGeneration(root)).dir)).at(-1)
  if (newest !== undefined) {
    try {
      floor = Math.max(floor, (await headOf(root, newest.name, newest.firstLsn, storeId)).epoch)
    } catch (error) {
      if (!(error instanceof VarveError)) throw error
    }
  }
  return floor
}

/** @throws ReadOnlyError */
function refuseReplica(root: Root, node: NodeState | undefined): void {
  if (node?.role !== 'replica') return
  throw new ReadOnlyError(`${root.url} is a replica: its records are its primary's`, {
    details: { url: root.url },
    hint: 'Open it for reading only, follow it with Replica.open, or promote it.',
  })
}

async function openLocked(root: Root, o: SegmentLogOptions, floors: readonly Floor[], lock: Lock): Promise<SegmentWriteLog> {
  const { world, storeId } = o
  let generation: Generation | undefined
  const decided = o.promote !== undefined ? mandateOfPromotion(o.promote.fencedAt) : o.epoch !== undefined ? mandateOfClaim(o.epoch) : 0
  if (o.promote !== undefined) {
    const { checkVote, sweepLogIntents } = await replicaSteps()
    checkVote(root, decided, (await readNode(root)) ?? FRESH_NODE)
    generation = await sweepLogIntents({ root, world, storeId, lock: lock.epoch, check: () => lock.assertCurrent() })
  }
  const facts = (lastLsn: number, { committedLsn, mandate, promised, decision, isWhole }: NodeFacts): Partial<NodeFacts> => ({
    role: 'primary',
    epochSeen: lock.epoch,
    session: 0,
    followed: 0,
    // A plain start decides nothing.
    mandate: Math.max(mandate, decided),
    promised: Math.max(promised, decided),
    // The same again for as long as nothing else is decided. Files of older versions have none.
    decision: decided > mandate || (mandate > 0 && decision === NO_DECISION) ? toHex(world.random.bytes(DECISION_BYTES)) : decision,
    // Of a replica that lacks what it once confirmed the record of the epoch below makes what it has the log that counts.
    isWhole: isWhole || lastLsn === 0,
    // What the log does not hold is not committed: other records will take the LSNs of those that were given up.
    committedLsn: Math.min(committedLsn, lastLsn),
    ...(o.promote === undefined ? {} : { promotedEpoch: lock.epoch }),
  })
  const { examined, node } = await settleLog(root, { world, storeId, floors, lock, facts, keeps: o.keeps, isGivenUp: o.isGivenUp, generation })
  if (world.failpoints.active) await world.failpoints.hit(FP.open.beforeEpoch)
  const log = new SegmentWriteLog(root, o, lock, node, examined)
  await log.begin()
  return log
}

export interface SettleOptions {
  readonly world: World
  readonly storeId: Uint8Array
  readonly floors: readonly Floor[]
  readonly lock: Lock
  /** The log may begin above the floors: the caller sees to what is below. */
  readonly isTrimmedBelowFloors?: boolean
  readonly keeps?: boolean | undefined
  readonly isGivenUp?: IsGivenUp | undefined
  /** The newest, where it was looked at under this LOCK. */
  readonly generation?: Generation | undefined
  /** What NODE is to say from now on. @param before  what it says */
  readonly facts: (lastLsn: number, before: NodeFacts) => Partial<NodeFacts>
}

/** Under the LOCK: the log of the newest generation, examined, and its newest segment sealed: the next record goes into a new one. */
export async function settleLog(root: Root, o: SettleOptions): Promise<{ readonly examined: Examined; readonly node: NodeFile }> {
  const { world, storeId, floors, lock } = o
  const check = (): void => lock.assertCurrent()
  const generation = o.generation ?? (await currentGeneration(root))
  // First the free files: an owner that was parked before a birth finds its file gone, and what it linked before is in the list below.
  const hadFree = await unlinkFree(root, generation)
  const listed = await listSegments(root, generation.dir)
  if (hadFree || listed.length > 0) await root.syncDir(generation.dir.slice(0, -1))
  const clean = await readClean(root)
  const { isTrimmedBelowFloors = false, keeps, isGivenUp } = o
  const examined = await examine(root, { generation, storeId, clean, floors, listed, isTrimmedBelowFloors, keeps, isGivenUp })
  const { owed } = examined.segments
  if (owed.length > 0) world.logger.log({ level: 'warn', code: 'log.leftBehind', names: owed })
  check()
  const node = await NodeFile.open(root, world, storeId, (before) => ({
    // Where NODE was lost, or is older than the base.
    historyFloorLsn: Math.max(before.historyFloorLsn, generation.base?.baseLsn ?? 0),
    ...o.facts(examined.lastLsn, before),
  }))
  if (examined.newest !== undefined) await sealNewest(root, examined.newest, { world, digest: examined.digest, check })
  return { examined, node }
}

/** @returns whether there was any */
async function unlinkFree(root: Root, { dir }: Generation): Promise<boolean> {
  const first = `${dir}free-`
  const free: string[] = []
  for await (const { name } of root.list(dir, { after: first })) if (name.startsWith(first)) free.push(name)
  if (free.length > 0) await root.delete(free)
  return free.length > 0
}

export class SegmentWriteLog implements CommitLog {
  readonly epoch: Epoch
  readonly shared = false as const
  readonly readOnly = false as const
  readonly #root: Root
  readonly #world: World
  readonly #storeId: Uint8Array
  /** The mandate that its records say. */
  readonly #writtenBy: number
  readonly #lock: Lock
  readonly #segments: SegmentList
  readonly #writer: SegmentWriter
  readonly #commit: GroupCommit
  readonly reclaim: Reclaim = new Reclaim()
  readonly recent: RecentGroups = new RecentGroups()
  readonly #history: SegmentHistory
  /** The facts of this node. */
  readonly node: NodeFile
  #closing: Promise<void> | undefined
  #closed = false

  /** @internal use openSegmentLog */
  constructor(root: Root, o: SegmentLogOptions, lock: Lock, node: NodeFile, at: Examined) {
    this.#root = root
    this.node = node
    this.#world = o.world
    this.#storeId = o.storeId
    this.#lock = lock
    this.#segments = at.segments
    this.epoch = BigInt(lock.epoch) as Epoch
    // Within one log it never falls: whoever goes on behind a decision goes on by it, though NODE does not say so (a store that was restored).
    this.#writtenBy = Math.max(node.facts.mandate, at.segments.lineage(node.facts).at(-1)?.mandate ?? 0)
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
      mandate: this.#writtenBy,
      recent: this.recent,
      onFatal: (error) => this.#commit.fail(error, true),
    })
    this.#commit = new GroupCommit(this.#writer, { head: at.lastLsn, groupCommitMs: o.groupCommitMs ?? 0, timers: o.world.timers })
    this.#history = new SegmentHistory({
      root,
      world: o.world,
      segments: () => this.#segments,
      writer: () => this.#writer,
      head: () => this.#commit.head,
      end: () => ({ lsn: this.#commit.head, digest: this.#writer.digest }),
      checkOpen: () => this.#checkOpen(),
      ended: () => this.#commit.ended,
      assertOwned: () => this.assertOwned(),
      beforeTrim: (tail, oldest) => this.node.recordTail(tail, oldest),
    })
    this.#commit.listen({ durable: () => this.#history.wake(), failed: () => this.#history.wake(), rejected: () => {} })
  }

  /** The epoch record, as the birth of this handle's first segment. @internal */
  async begin(): Promise<void> {
    const payload = encodeEpochRecord({
      epoch: this.#lock.epoch,
      writerId: this.#world.random.bytes(WRITER_ID_BYTES),
      mode: 'exclusive',
      mandate: this.#writtenBy,
    })
    try {
      await this.#commit.append([{ kind: KIND_EPOCH, payload }])
      await this.node.settle({ isWhole: true })
    } catch (error) {
      await this.#writer.abandon()
      await this.node.close(() => false)
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

  get lineage(): CommitLog['lineage'] {
    return this.#segments.lineage(this.node.facts).map(openMark)
  }

  get bytes(): number {
    return this.#segments.bytes
  }

  bytesAbove(lsn: number): number {
    return this.#segments.bytesAbove(lsn)
  }

  get segments(): number {
    return this.#segments.all.length
  }

  listen(listener: LogListener): Disposable {
    return this.#commit.listen(listener)
  }

  submit(records: readonly LogRecord[], o?: { expect?: Lsn }): Submission {
    return this.#commit.submit(records, o?.expect)
  }

  append(records: readonly LogRecord[], o?: AppendOptions): Promise<Submission> {
    return this.#commit.append(records, o)
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

  /** C: what this node was told last, or was told before it was opened. */
  get committed(): number {
    return this.node.committed
  }

  /** Never down; durable some 20 ms later, and at close. */
  recordCommitted(lsn: number): void {
    this.node.noteCommitted(lsn)
  }

  get promotedEpoch(): number {
    return this.node.facts.promotedEpoch
  }

  get mandate(): number {
    return this.node.facts.mandate
  }

  get decision(): string {
    return this.node.facts.decision
  }

  async settleCommitted(lsn: Lsn): Promise<void> {
    this.assertOwned()
    await this.node.update({ committedLsn: Number(lsn) })
  }

  assertOwned(): void {
    this.#checkOpen()
    if (this.#commit.ended !== undefined) throw this.#commit.ended
    if (this.#lock.isCurrent()) return
    const error = this.#lock.fencedError()
    this.#commit.fail(error, true)
    throw error
  }

  letGo(): void {
    this.#segments.letGo()
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
      // Whatever becomes of NODE, the root is free.
      await this.node.close(() => this.#lock.isCurrent()).catch((error: unknown) => (failed ??= error))
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
    const mark = {
      storeId: this.#storeId,
      lsn: info.lastLsn,
      count: records,
      digest,
      segment: info.name,
      bytes: info.used + FOOTER_BYTES,
      generation: this.#segments.generation.number,
    }
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
    this.node.closeSync(() => this.#lock.isCurrent())
    this.#lock.releaseSync()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #end(): void {
    this.#closed = true
    this.#commit.fail(new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } }), false)
    this.#history.wake()
  }

  #checkOpen(): void {
    if (this.#closed) throw new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } })
  }
}
