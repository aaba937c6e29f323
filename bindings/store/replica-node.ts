// store/replica-node.ts: a replica without its link: the log that it receives, the state that is folded of it, and what reads that (docs/shipping.md "Replica").
//
//   link -> host (ship/host.ts) -> receive -> log -> fold, up to min(R, C) -> readers
//
// Invariant: what the host was told is durable is so; readers see one generation at a time, whole, and never what the primary has not called committed.

import type { Catalog, Checkpoint, PendingSeal } from '../catalog/index.ts'
import { givenUpOf, listCheckpoints, newestCheckpoint } from '../engine/index.ts'
import { ClosedError, FencedError, PoisonedError, UnsupportedRootError } from '../errors.ts'
import { StoreMismatchError } from '../errors-ship.ts'
import { fromHex, NO_DECISION, toHex } from '../format/index.ts'
import { type BaseWriter, type CommitLog, FRESH_NODE, type Lock, openReplicaLog, type ReplicaLog, takeLock } from '../log/index.ts'
import type { ResolvedOptions } from '../options.ts'
import type { Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'
import {
  type AcceptedFence,
  type AckMode,
  type BaseTarget,
  baseUnderWay,
  type Elided,
  endBase,
  type EpochMark,
  gap,
  type Manifest,
  type ReceivedRecords,
  type ReplicaId,
  type ReplicaParts,
  type SelfCheck,
  VerifiedFiles,
} from '../ship/index.ts'
import type { Events } from './events.ts'
import { checkVacant, found, type Known, readIdentity } from './founding.ts'
import { Metering } from './metering.ts'
import { ReplicaFold } from './replica-fold.ts'
import { Leftovers } from './replica-leftovers.ts'
import { checkChain, type CheckpointSource, modeBehind, namedBehind, newestTrusted, pendingSealsOf, trustedPoints } from './replica-reads.ts'
import { ReplicaHandle } from './replica-store.ts'
import { contentNames, ReplicaUpkeep } from './replica-upkeep.ts'
import { sweepTemporary } from './sweep-temporary.ts'
import { makeCheckpoint } from './ship-base.ts'
import { toldReads, VisibleLog } from './visible-log.ts'
import { WrittenBytes } from './watched-root.ts'
import { type Opened, wireState } from './wiring.ts'

export interface NodeOptions {
  readonly root: Root
  readonly world: World
  readonly options: ResolvedOptions
  readonly replicaId: ReplicaId
  readonly events: Events
  /** Of the store that it shall hold; undefined: of whichever primary comes first. */
  readonly storeId: Uint8Array | undefined
  readonly signal: AbortSignal | undefined
  readonly checkpointBytes?: number
  /** What readers see, or what status() says, has changed. */
  readonly changed: (what: 'ready' | 'installed' | 'truncated' | 'failed') => void
}

/** One generation as readers see it. */
interface View {
  readonly log: CommitLog
  readonly visible: VisibleLog
  readonly opened: Opened
  readonly handle: ReplicaHandle
  readonly upkeep: ReplicaUpkeep
  readonly fold: ReplicaFold
  /** Of a generation that is replaced: where its history begins. */
  readonly frozen: { floor: number | undefined }
}

const NO_DIGEST = new Uint8Array(32)

export class ReplicaNode implements ReplicaParts {
  readonly root: Root
  readonly world: World
  readonly replicaId: ReplicaId
  storeId: Uint8Array | undefined
  rebuildInProgress: Uint8Array | null = null
  readonly verified: VerifiedFiles
  private readonly o: NodeOptions
  private readonly metering: Metering
  private readonly closing = new AbortController()
  /** The LOCK of a root that holds no store yet. */
  private place: Lock | undefined
  private log_: ReplicaLog | undefined
  private view: View | undefined
  private readonly leftovers: Leftovers
  /** Its state is replaced, as soon as there is another one. */
  private outdated: View | undefined
  private fold: ReplicaFold | undefined
  private sweeping: Promise<void> | undefined
  /** Told of what the cut or the install that is under way waits for, in bytes about. */
  private told: ((bytes: number) => void) | undefined
  private readonly worked = (bytes: number): void => this.told?.(bytes)
  failure: Error | undefined

  private constructor(o: NodeOptions) {
    this.o = o
    this.root = o.root
    this.world = o.world
    this.replicaId = o.replicaId
    this.verified = new VerifiedFiles(o.root, o.world)
    this.metering = new Metering(o.options.meter, o.world, o.root.url)
    this.leftovers = new Leftovers({
      world: o.world,
      signal: this.closing.signal,
      upkeep: () => (this.isOutdated ? undefined : this.view?.upkeep),
      dropOldLogs: () => this.log_!.dropOld(),
    })
  }

  static async open(o: NodeOptions): Promise<ReplicaNode> {
    const node = new ReplicaNode(o)
    const identity = await readIdentity(o.root)
    const storeId = o.storeId ?? (identity === undefined ? undefined : fromHex(identity.storeId))
    if (identity !== undefined && storeId !== undefined && identity.storeId !== toHex(storeId)) throw storeMismatch(identity.storeId, storeId)
    if (storeId !== undefined) {
      try {
        await node.found(storeId, o.signal)
      } catch (error) {
        // Of what was opened nobody holds anything.
        await node.log_?.close().catch((cause: unknown) => o.world.logger.log({ level: 'warn', code: 'open.releaseFailed', cause }))
        throw error
      }
    } else {
      // Nothing to lock yet, but a place that is taken: for another replica, and for whoever would make a store of it.
      await checkVacant(o.root)
      node.place = await takeLock(o.root, o.world, { retry: o.options.openRetry, epochFloor: () => Promise.resolve(0), signal: o.signal })
    }
    return node
  }

  // facts

  /** What can be read now; undefined: nothing yet. */
  get handle(): ReplicaHandle | undefined {
    return this.view?.handle
  }

  get log(): ReplicaLog | undefined {
    return this.log_
  }

  get epochSeen(): number {
    return this.log_?.node.facts.epochSeen ?? 0
  }

  get followed(): number {
    const facts = this.log_?.node.facts
    return facts === undefined ? 0 : facts.followed || facts.epochSeen
  }

  get session(): number {
    return this.log_?.node.facts.session ?? 0
  }

  get promised(): number {
    return this.log_?.node.facts.promised ?? 0
  }

  get decision(): string {
    return this.log_?.node.facts.decision ?? NO_DECISION
  }

  get durableLsn(): number {
    return this.log_?.durableLsn ?? 0
  }

  get committedLsn(): number {
    return this.log_?.committed ?? 0
  }

  get isWhole(): boolean {
    return this.log_?.node.facts.isWhole ?? false
  }

  /** Amid a catch-up that leaves files out: the version that its log ends at is not whole. */
  get elided(): Elided | null {
    const { historyFloorLsn: lsn, floorEpoch: epoch, floorMandate: mandate } = this.log_?.node.facts ?? FRESH_NODE
    return this.durableLsn < lsn ? { lsn, epoch, mandate } : null
  }

  get appliedLsn(): number {
    return this.view?.opened.state.applied ?? 0
  }

  get generation(): number {
    return this.log_?.generation.number ?? 0
  }

  get tailLsn(): number {
    return this.log_?.tailLsn ?? 0
  }

  get lineage(): readonly EpochMark[] | null {
    return this.log_?.lineage ?? []
  }

  async digestAt(lsn: number): Promise<Uint8Array | undefined> {
    if (lsn === 0) return NO_DIGEST
    const log = this.log_
    return log === undefined || lsn < log.tailLsn || lsn > log.durableLsn ? undefined : await log.digestAt(lsn)
  }

  checkpoints(): Promise<readonly number[]> {
    return listCheckpoints(this.root)
  }

  // founding

  async found(storeId: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { root, world, o } = this
    const { opened } = await found(
      root,
      world,
      { ...o.options, readOnly: false, create: 'if-missing', writers: 'exclusive' },
      (known) => this.openLog(known, storeId, signal),
      (log) => log.close(),
      storeId,
    )
    this.log_ = opened
    this.storeId = storeId
    this.rebuildInProgress = (await baseUnderWay(root, world)) ?? null
    await this.begin()
    opened.letGo()
    this.sweeping = sweepTemporary(root, world, this.closing.signal)
  }

  private async openLog({ storeId, layout, mark }: Known, wanted: Uint8Array, signal: AbortSignal | undefined): Promise<ReplicaLog> {
    const { root, world, o } = this
    if (toHex(storeId) !== toHex(wanted)) throw storeMismatch(toHex(storeId), wanted)
    if (layout === 'slots' || mark !== undefined) {
      throw new UnsupportedRootError(`${root.url}: a replica has a root of its own, with a log of segments`, { details: { feature: 'segments' } })
    }
    // Nobody else gets in between the empty place and the store.
    const { place: lock } = this
    this.place = undefined
    return await openReplicaLog(root, {
      ...(lock === undefined ? {} : { lock }),
      world,
      storeId,
      replicaId: this.replicaId,
      // Nothing but a new open helps; of a node that has failed nothing is deleted, so its readers stay.
      onFailed: (error) => this.failed(error),
      segmentBytes: o.options.segmentBytes,
      openRetry: o.options.openRetry,
      isGivenUp: givenUpOf(root, world, storeId),
      ...(signal === undefined ? {} : { signal }),
    })
  }

  // the view of readers

  /** What is committed here is folded, if it can be: below the oldest checkpoint there is nothing to begin with. */
  private async begin(): Promise<void> {
    const log = this.log_!
    const upto = Math.min(log.durableLsn, log.committed)
    const floor = log.node.facts.historyFloorLsn
    const checkpoint = await this.checkpointFrom(floor, upto)
    if (checkpoint === undefined && log.tailLsn > 0) return
    // Between here and the floor files were left out.
    if (upto < floor) return
    const inner = log.current
    const visible = new VisibleLog(inner)
    visible.show(upto)
    visible.onRead = this.worked
    const frozen: View['frozen'] = { floor: undefined }
    const opened = await wireState({
      root: this.root,
      world: this.world,
      options: this.o.options,
      storeId: this.storeId!,
      log: visible,
      checkpoint,
      end: upto,
      isBackup: false,
      historyFloor: () => frozen.floor ?? log.node.facts.historyFloorLsn,
      events: this.o.events,
      metering: this.metering,
      written: new WrittenBytes(),
      release: async () => undefined,
    })
    visible.onRead = undefined
    const { checkpointBytes } = this.o
    const settleCommitted = (): Promise<void> => log.node.update({ committedLsn: log.committed })
    const upkeep = new ReplicaUpkeep({
      opened,
      log: inner,
      settleCommitted,
      isReadBefore: () => this.leftovers.isReadBefore,
      worked: this.worked,
      ...(checkpointBytes === undefined ? {} : { checkpointBytes }),
    })
    const fold = new ReplicaFold({
      state: opened.state,
      log: inner,
      world: this.world,
      durable: log.durableLsn,
      committed: log.committed,
      folded: (bytes) => {
        visible.show(opened.state.applied)
        this.worked(bytes)
        upkeep.folded(bytes)
      },
      // The state at the floor and above takes the place of this one, which is folded no further: deletion vectors on the way may be missing.
      beyond: () => this.beginLate(() => this.beginAnew()),
      failed: (error) => {
        opened.failure = this.failure = error as Error
        this.world.logger.log({ level: 'error', code: 'replica.foldFailed', cause: error })
        this.o.changed('failed')
      },
    })
    // Raised while the state was put together.
    if (log.node.facts.historyFloorLsn > floor) frozen.floor = floor
    fold.holdBelow(log.node.facts.historyFloorLsn)
    opened.catchUp = () => this.settled()
    const { outdated } = this
    this.outdated = undefined
    this.fold = fold
    this.view = { log: inner, visible, opened, handle: new ReplicaHandle(opened), upkeep, fold, frozen }
    fold.commit(log.committed)
    if (outdated !== undefined) this.leftovers.behind(outdated.handle.retire(this.closing.signal, outdated.log === inner ? upto : Infinity))
    upkeep.look()
    this.o.changed('ready')
  }

  // records

  async fence(newest: AcceptedFence): Promise<void> {
    await this.log_!.recordFence(newest)
  }

  async granted(): Promise<void> {
    if (this.rebuildInProgress !== null) await endBase(this.root)
    this.rebuildInProgress = null
    // What failed to begin when it was due: C may not move for long.
    if (this.fold === undefined) this.beginLate()
  }

  async whole(): Promise<void> {
    await this.log_!.recordWhole()
  }

  async pendingSeals(): Promise<readonly PendingSeal[]> {
    const log = this.log_
    if (log === undefined) return []
    return await pendingSealsOf(log.current, await this.newestCatalog())
  }

  /** Of the fold; where there is none yet, of the newest checkpoint. */
  private async newestCatalog(): Promise<Catalog | undefined> {
    const log = this.log_!
    if (this.view?.log === log.current) return this.view.opened.state.catalog
    return (await newestCheckpoint(this.root, this.storeId!, log.durableLsn))?.catalog
  }

  /** What follows this log may have been acknowledged by no weaker one. */
  async modeBehind(): Promise<AckMode> {
    return this.log_ === undefined ? 'async' : await modeBehind(this.log_.current, await this.newestCatalog(), this.committedLsn)
  }

  async receive(records: ReceivedRecords): Promise<void> {
    await this.log_!.receive(records.first, records.bytes, records.offsets, records.digest)
    if (this.fold !== undefined) this.fold.add(records)
    else if (this.view === undefined && this.canBegin) this.beginLate()
  }

  commit(lsn: number): void {
    const log = this.log_
    if (log === undefined || lsn <= log.committed) return
    log.recordCommitted(lsn)
    if (this.fold !== undefined) this.fold.commit(lsn)
    else this.beginLate()
  }

  private beginning: Promise<unknown> | undefined
  /** Why the last try to begin failed: the next one may succeed. */
  private notBegun: unknown

  private beginLate(begin: () => Promise<unknown> = () => this.tryToBegin()): void {
    if (this.beginning !== undefined) return
    if (this.failure === this.notBegun) this.failure = undefined
    this.beginning = begin()
      .catch((error: unknown) => {
        this.notBegun = error instanceof PoisonedError || error instanceof FencedError ? undefined : error
        this.failed(error)
      })
      .finally(() => {
        this.beginning = undefined
        this.fold?.commit(this.committedLsn)
      })
  }

  private async tryToBegin(): Promise<void> {
    for (let tried = -1; this.fold === undefined && this.committedLsn > tried;) {
      tried = this.committedLsn
      await this.begin()
    }
    this.leftovers.look()
  }

  private failed(error: unknown): void {
    this.failure = error as Error
    this.o.changed('failed')
  }

  /** Readers stay where they are until what lies behind the files that are left out is here. */
  async raiseFloor(lsn: number): Promise<void> {
    const { log_: log, view, fold } = this
    if (view !== undefined) view.frozen.floor ??= log!.node.facts.historyFloorLsn
    fold?.holdBelow(lsn)
    await log!.recordHistoryFloor(lsn)
  }

  /** The state that readers have goes on being read, and no further. @returns it */
  private async beginAnew(): Promise<View | undefined> {
    const before = (this.outdated ??= this.view)
    await this.fold?.stop()
    await this.view?.upkeep.stop()
    this.fold = undefined
    await this.begin()
    return before
  }

  private get canBegin(): boolean {
    const floor = this.log_?.node.facts.historyFloorLsn ?? 0
    return floor > 0 && this.durableLsn >= floor && this.committedLsn >= floor
  }

  /** The newest trusted one up to `upto`; where files below `floor` were left out and none is above it, one is made there: of records alone. */
  private async checkpointFrom(floor: number, upto: number): Promise<Checkpoint | undefined> {
    const found = await newestTrusted(this.checkpointSource, upto)
    const log = this.log_!
    const isWhole = (found?.lsn ?? 0) >= floor || (found === undefined && log.tailLsn > 0)
    if (upto < floor || isWhole) return found
    await makeCheckpoint({ root: this.root, world: this.world, storeId: this.storeId!, log: toldReads(log.current, this.worked) }, floor)
    return await newestTrusted(this.checkpointSource, upto)
  }

  claim(name: string): Promise<void> {
    return this.leftovers.claim(name)
  }

  async verifySelf(upTo: number, until?: AbortSignal): Promise<SelfCheck> {
    const log = this.log_
    // Before the first contact there is nothing that could be wrong.
    if (log === undefined) return { ok: true, firstBad: 0, ackMode: 'async' }
    const end = Math.min(upTo, log.durableLsn)
    if (this.elided !== null) return { ok: false, firstBad: log.durableLsn, ackMode: 'async' }
    const newest = await newestTrusted(this.checkpointSource, end)
    const signal = until === undefined ? this.closing.signal : AbortSignal.any([until, this.closing.signal])
    const found = await checkChain(log, Math.max(newest?.lsn ?? 0, log.tailLsn), end, signal)
    // A disk that damages its log is not believed about its files.
    if (!found.ok) await this.verified.clear()
    return { ...found, ackMode: found.ok ? await this.modeBehind() : 'async' }
  }

  // cutting back

  truncate(lsn: number, worked: (bytes: number) => void): Promise<Uint8Array> {
    return this.telling(worked, () => this.cutTo(lsn))
  }

  private async telling<T>(worked: (bytes: number) => void, work: () => Promise<T>): Promise<T> {
    this.told = worked
    try {
      return await work()
    } finally {
      if (this.told === worked) this.told = undefined
    }
  }

  private async cutTo(lsn: number): Promise<Uint8Array> {
    const log = this.log_!
    if (lsn > log.durableLsn) throw gap(log.durableLsn, lsn)
    if (lsn === log.durableLsn) return await log.digestAt(lsn)
    await this.beginning
    await this.fold?.settled()
    const named = await this.namedBehindFold()
    const cut = async (): Promise<void> => {
      await log.truncate(lsn, { checkpoints: await trustedPoints(this.checkpointSource, lsn) })
      this.fold?.cut(lsn)
      this.view?.opened.history.forget(lsn)
      if (this.world.failpoints.active) await this.world.failpoints.hit(FP.ship.afterRefold, { lsn })
    }
    await (this.view === undefined ? cut() : this.view.upkeep.exclusively(cut))
    // Before the link hears of it: no record that could name one of them again is on its way. What is needed of an outdated state the clean-up behind the base knows.
    if (this.isOutdated) this.leftovers.leave(named)
    else await this.view?.upkeep.drop(named).catch((cause: unknown) => this.world.logger.log({ level: 'warn', code: 'replica.cleanUpFailed', cause }))
    this.o.changed('truncated')
    return await log.digestAt(lsn)
  }

  /** Files that records name which are not folded: what of them is cut off may be all that named one. */
  private async namedBehindFold(): Promise<Set<string>> {
    const { log_: log, view, isOutdated } = this
    if (view === undefined) return new Set()
    const { catalog, applied } = view.opened.state
    return await namedBehind(toldReads(log!.current, this.worked), isOutdated ? undefined : catalog, applied)
  }

  /** Readers are shown a generation that a base has replaced: what that has folded says nothing of the log. */
  get isOutdated(): boolean {
    return this.view !== undefined && this.view.log !== this.log_?.current
  }

  private get checkpointSource(): CheckpointSource {
    return { root: this.root, storeId: this.storeId!, events: this.o.events, digestAt: (lsn) => this.digestAt(lsn) }
  }

  // a new base

  async beginBase(manifest: Manifest, manifestHash: Uint8Array): Promise<BaseTarget> {
    const { baseLsn, digest, logFrom, logDigest, lineage } = manifest
    await this.verified.drop(this.view?.opened.damaged ?? [])
    // One that is under way goes on, whatever its base was.
    if (this.rebuildInProgress === null) await this.verified.renew()
    const base = await this.log_!.beginBase({ baseLsn, digest, logFrom, logDigest, lineage })
    this.rebuildInProgress = manifestHash
    return {
      // Whoever could go on by the log is rebuilt for another reason.
      doubts: this.durableLsn >= logFrom,
      receive: async ({ first, bytes, offsets, digest: stated }) => void (await base.receive(first, bytes, offsets, stated)),
      abandon: () => base.abort(),
      install: (checkpoints, worked) => this.telling(worked, () => this.install(base, manifestHash, checkpoints)),
    }
  }

  private async install(base: BaseWriter, manifestHash: Uint8Array, checkpoints: ReadonlyMap<string, Uint8Array>): Promise<void> {
    await this.beginning
    const before = this.view
    const held = before?.frozen.floor
    const install = async (): Promise<void> => {
      const there = await contentNames(this.root, this.worked)
      // Another base may have been installed before, and its version not be committed yet.
      if (before !== undefined) before.frozen.floor ??= this.log_!.node.facts.historyFloorLsn
      for (const [name, bytes] of checkpoints) await this.root.put(base.placeOf(name), bytes).then(() => this.worked(bytes.length))
      await base.install({ manifestHash, checkpoints: [...checkpoints.keys()] })
      this.leftovers.from(there)
    }
    await (before === undefined ? install() : before.upkeep.exclusively(install)).catch((error: unknown) => {
      if (before !== undefined && this.failure === undefined) before.frozen.floor = held
      throw error
    })
    await this.replaced()
  }

  /** A new generation is the log: its state takes the place of the one that readers have. */
  private async replaced(): Promise<void> {
    this.rebuildInProgress = null
    // Of what was read before the clean-up is behind its last reader.
    if ((await this.beginAnew()) === undefined) this.leftovers.look()
    this.o.changed('installed')
  }

  /** The fold is where it may be. */
  async settled(): Promise<void> {
    await this.beginning
    await this.fold?.settled()
  }

  async close(): Promise<void> {
    this.closing.abort(new ClosedError('store.closed', 'the replica is closed', { details: { what: 'store' } }))
    try {
      await this.beginning
      await this.fold?.stop()
      for (const view of new Set([this.view, this.outdated])) {
        await view?.upkeep.stop()
        await view?.handle.close()
      }
      await this.leftovers.settled()
      await this.sweeping
      await this.verified.save()
    } finally {
      const { place } = this
      this.place = undefined
      await place?.release()
      await this.log_?.close()
    }
  }
}

/** @param found  lower-case hex */
function storeMismatch(found: string, wanted: Uint8Array): StoreMismatchError {
  return new StoreMismatchError(`this root holds store ${found}, not ${toHex(wanted)}`, { details: { storeId: found, asked: toHex(wanted) } })
}
