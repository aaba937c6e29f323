// store/replica-node.ts: a replica without its link: the log that it receives, the state that is folded of it, and what reads that (docs/shipping.md "Replica").
//
//   link -> host (ship/host.ts) -> receive -> log -> fold, up to min(R, C) -> readers
//
// Invariant: what the host was told is durable is so; readers see one generation at a time, whole, and never what the primary has not called committed.

import { checkpointName, type PendingSeal } from '../catalog/index.ts'
import { decodeRecord, listCheckpoints, NamedFiles, newestCheckpoint, readCheckpoint } from '../engine/index.ts'
import { ClosedError, CorruptionError, FencedError, PoisonedError, UnsupportedRootError } from '../errors.ts'
import { StoreMismatchError } from '../errors-ship.ts'
import { fromHex, isContentName, toHex } from '../format/index.ts'
import { chainOver, type CommitLog, type Lock, type Lsn, openReplicaLog, type ReplicaLog, takeLock } from '../log/index.ts'
import type { ResolvedOptions } from '../options.ts'
import { isNotFound, type Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'
import { type BaseTarget, baseUnderWay, type EpochMark, gap, type Manifest, type ReceivedRecords, type ReplicaId, type ReplicaParts } from '../ship/index.ts'
import type { Events } from './events.ts'
import { checkVacant, found, type Known, readIdentity } from './founding.ts'
import { Metering } from './metering.ts'
import { ReplicaFold } from './replica-fold.ts'
import { ReplicaHandle } from './replica-store.ts'
import { ReplicaUpkeep } from './replica-upkeep.ts'
import { VisibleLog } from './visible-log.ts'
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
  private readonly o: NodeOptions
  private readonly metering: Metering
  private readonly closing = new AbortController()
  /** The LOCK of a root that holds no store yet. */
  private place: Lock | undefined
  private log_: ReplicaLog | undefined
  private view: View | undefined
  /** Views of older generations that are still read. */
  private readonly retiring = new Set<Promise<void>>()
  /** Its state is replaced, as soon as there is another one. */
  private outdated: View | undefined
  /** Files that lay here when a base came, until it is known which of them are needed; and those that records on their way have named since. */
  private strays: Set<string> | undefined
  private claimed: Set<string> | undefined
  private fold: ReplicaFold | undefined
  failure: Error | undefined

  private constructor(o: NodeOptions) {
    this.o = o
    this.root = o.root
    this.world = o.world
    this.replicaId = o.replicaId
    this.metering = new Metering(o.options.meter, o.world, o.root.url)
  }

  static async open(o: NodeOptions): Promise<ReplicaNode> {
    const node = new ReplicaNode(o)
    const identity = await readIdentity(o.root)
    const storeId = o.storeId ?? (identity === undefined ? undefined : fromHex(identity.storeId))
    if (identity !== undefined && storeId !== undefined && identity.storeId !== toHex(storeId)) throw storeMismatch(identity.storeId, storeId)
    if (storeId !== undefined) await node.found(storeId)
    else {
      // Nothing to lock yet, but a place that is taken: for another replica, and for whoever would make a store of it.
      await checkVacant(o.root)
      node.place = await takeLock(o.root, o.world, { retry: o.options.openRetry, epochFloor: () => Promise.resolve(0), signal: o.options.signal })
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

  get session(): number {
    return this.log_?.node.facts.session ?? 0
  }

  get durableLsn(): number {
    return this.log_?.durableLsn ?? 0
  }

  get committedLsn(): number {
    return this.log_?.committed ?? 0
  }

  get appliedLsn(): number {
    return this.view?.opened.state.applied ?? 0
  }

  get generation(): number {
    return this.log_?.generation.number ?? 0
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

  async found(storeId: Uint8Array): Promise<void> {
    const { root, world, o } = this
    await this.leavePlace()
    const { opened } = await found(
      root,
      world,
      { ...o.options, readOnly: false, create: 'if-missing', writers: 'exclusive' },
      (known) => this.openLog(known, storeId),
      (log) => log.close(),
      storeId,
    )
    this.log_ = opened
    this.storeId = storeId
    this.rebuildInProgress = (await baseUnderWay(root, world)) ?? null
    await this.begin()
  }

  private async openLog({ storeId, layout, mark }: Known, wanted: Uint8Array): Promise<ReplicaLog> {
    const { root, world, o } = this
    if (toHex(storeId) !== toHex(wanted)) throw storeMismatch(toHex(storeId), wanted)
    if (layout === 'slots' || mark !== undefined) {
      throw new UnsupportedRootError(`${root.url}: a replica has a root of its own, with a log of segments`, { details: { feature: 'segments' } })
    }
    return await openReplicaLog(root, {
      world,
      storeId,
      replicaId: this.replicaId,
      segmentBytes: o.options.segmentBytes,
      openRetry: o.options.openRetry,
      ...(o.options.signal === undefined ? {} : { signal: o.options.signal }),
    })
  }

  // the view of readers

  /** What is committed here is folded, if it can be: below the oldest checkpoint there is nothing to begin with. */
  private async begin(): Promise<void> {
    const log = this.log_!
    const upto = Math.min(log.durableLsn, log.committed)
    const [newest] = await this.trusted(upto)
    const checkpoint = newest === undefined ? undefined : await readCheckpoint(this.root, this.storeId!, newest.lsn)
    if (checkpoint === undefined && log.tailLsn > 0) return
    const inner = log.current
    const visible = new VisibleLog(inner)
    visible.show(upto)
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
    const { checkpointBytes } = this.o
    const settleCommitted = (): Promise<void> => log.node.update({ committedLsn: log.committed })
    const upkeep = new ReplicaUpkeep({ opened, log: inner, settleCommitted, ...(checkpointBytes === undefined ? {} : { checkpointBytes }) })
    const fold = new ReplicaFold({
      state: opened.state,
      log: inner,
      world: this.world,
      durable: log.durableLsn,
      committed: log.committed,
      folded: (bytes) => {
        visible.show(opened.state.applied)
        upkeep.folded(bytes)
      },
      failed: (error) => {
        opened.failure = this.failure = error as Error
        this.world.logger.log({ level: 'error', code: 'replica.foldFailed', cause: error })
        this.o.changed('failed')
      },
    })
    opened.catchUp = () => this.settled()
    const { outdated } = this
    this.outdated = undefined
    this.fold = fold
    this.view = { log: inner, visible, opened, handle: new ReplicaHandle(opened), upkeep, fold, frozen }
    fold.commit(log.committed)
    upkeep.look()
    if (outdated !== undefined) this.retire(outdated)
    this.o.changed('ready')
  }

  // records

  async fence(epoch: number, session: number): Promise<void> {
    await this.log_!.recordFence(epoch, session)
  }

  async pendingSeals(): Promise<readonly PendingSeal[]> {
    const log = this.log_
    if (log === undefined) return []
    const named = new NamedFiles()
    const own = this.view?.log === log.current ? this.view.opened.state.catalog : undefined
    const catalog = own ?? (await newestCheckpoint(this.root, this.storeId!, log.durableLsn))?.catalog
    const lsns = new Map<string, number>()
    const from = catalog?.lsn ?? log.tailLsn
    for (const seal of catalog?.outcomes.pending.values() ?? []) {
      named.seals.set(toHex(seal.writeId), seal)
      lsns.set(toHex(seal.writeId), seal.lsn)
    }
    for await (const batch of log.current.read(BigInt(from) as Lsn)) {
      let lsn = Number(batch.first)
      for (const offset of batch.offsets) {
        const record = decodeRecord(batch.bytes, offset, lsn)
        named.ofRecord(record)
        if ('seal' in record) lsns.set(toHex(record.seal.writeId), lsn)
        lsn++
      }
    }
    return [...named.seals].map(([id, seal]) => ({ ...seal, lsn: lsns.get(id)! }))
  }

  async receive(records: ReceivedRecords): Promise<void> {
    try {
      await this.log_!.receive(records.first, records.bytes, records.offsets, records.digest)
    } catch (error) {
      // The log takes no more: nothing but a new open helps.
      if (error instanceof PoisonedError || error instanceof FencedError) this.failed(error)
      throw error
    }
    this.fold?.add(records)
  }

  commit(lsn: number): void {
    const log = this.log_
    if (log === undefined || lsn <= log.committed) return
    log.recordCommitted(lsn)
    if (this.fold !== undefined) this.fold.commit(lsn)
    else this.beginLate()
  }

  private beginning: Promise<void> | undefined

  private beginLate(): void {
    this.beginning ??= this.tryToBegin()
      .catch((error: unknown) => this.failed(error))
      .finally(() => {
        this.beginning = undefined
      })
  }

  private async tryToBegin(): Promise<void> {
    for (let tried = -1; this.fold === undefined && this.committedLsn > tried;) {
      tried = this.committedLsn
      await this.begin()
    }
  }

  private failed(error: unknown): void {
    this.failure = error as Error
    this.o.changed('failed')
  }

  async raiseFloor(lsn: number): Promise<void> {
    await this.log_!.recordHistoryFloor(lsn)
  }

  fileFound(name: string): void {
    this.claimed?.add(name)
  }

  async verifySelf(upTo: number): Promise<{ readonly ok: boolean; readonly firstBad: number }> {
    const log = this.log_!
    const end = Math.min(upTo, log.durableLsn)
    const [newest] = await this.trusted(end)
    let at = Math.max(newest?.lsn ?? 0, log.tailLsn)
    try {
      let digest = await log.digestAt(at)
      for await (const batch of log.current.read(BigInt(at) as Lsn, { end: BigInt(end) as Lsn, signal: this.closing.signal })) {
        digest = chainOver(digest, batch.bytes, batch.offsets)
        at = Number(batch.last)
      }
      const ok = toHex(digest) === toHex(await log.digestAt(end))
      return { ok, firstBad: ok ? 0 : end }
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      return { ok: false, firstBad: at + 1 }
    }
  }

  // cutting back

  async truncate(lsn: number): Promise<Uint8Array> {
    const log = this.log_!
    if (lsn > log.durableLsn) throw gap(log.durableLsn, lsn)
    if (lsn === log.durableLsn) return await log.digestAt(lsn)
    await this.beginning
    await this.fold?.settled()
    const cut = async (): Promise<void> => {
      await log.truncate(lsn, { checkpoints: await this.trusted(lsn) })
      this.fold?.cut(lsn)
      this.view?.opened.history.forget(lsn)
      this.view?.upkeep.cut(lsn)
      if (this.world.failpoints.active) await this.world.failpoints.hit(FP.ship.afterRefold, { lsn })
    }
    await (this.view === undefined ? cut() : this.view.upkeep.exclusively(cut))
    this.o.changed('truncated')
    return await log.digestAt(lsn)
  }

  /** Checkpoints at or below `lsn` that are what the log says. */
  private async trusted(lsn: number): Promise<{ readonly lsn: number; readonly replayFrom: number }[]> {
    const trusted: { readonly lsn: number; readonly replayFrom: number }[] = []
    for (const each of await listCheckpoints(this.root)) {
      if (each > lsn) continue
      try {
        const { catalog, digest } = await readCheckpoint(this.root, this.storeId!, each)
        const held = await this.digestAt(each)
        if (held === undefined || toHex(held) === toHex(digest)) trusted.push({ lsn: each, replayFrom: catalog.replayFrom })
      } catch (error) {
        if (isNotFound(error)) continue
        if (!(error instanceof CorruptionError)) throw error
        this.o.events.keep('checkpointInvalid', { file: checkpointName(each) })
      }
    }
    return trusted
  }

  // a new base

  async beginBase(manifest: Manifest, manifestHash: Uint8Array): Promise<BaseTarget> {
    const { baseLsn, digest, logFrom, logDigest, lineage } = manifest
    const base = await this.log_!.beginBase({ baseLsn, digest, logFrom, logDigest, lineage })
    this.rebuildInProgress = manifestHash
    return {
      receive: async ({ first, bytes, offsets, digest: stated }) => void (await base.receive(first, bytes, offsets, stated)),
      abandon: () => base.abort(),
      install: async (checkpoints) => {
        await this.beginning
        const before = this.view
        const install = async (): Promise<void> => {
          const there = await this.contentNames()
          if (before !== undefined) before.frozen.floor = this.log_!.node.facts.historyFloorLsn
          for (const [name, bytes] of checkpoints) await this.root.put(base.placeOf(name), bytes)
          await base.install({ manifestHash, checkpoints: [...checkpoints.keys()] })
          this.claimed = new Set()
          this.strays = there
        }
        try {
          await (before === undefined ? install() : before.upkeep.exclusively(install))
        } catch (error) {
          if (before !== undefined) before.frozen.floor = undefined
          throw error
        }
        await this.replaced()
      },
    }
  }

  /** A new generation is the log: its state takes the place of the one that readers have. */
  private async replaced(): Promise<void> {
    this.rebuildInProgress = null
    this.outdated ??= this.view
    await this.fold?.stop()
    await this.view?.upkeep.stop()
    this.fold = undefined
    await this.begin()
    if (this.outdated === undefined) await this.cleanUp()
    this.o.changed('installed')
  }

  /** Its readers go on until they are done; then what only they needed goes. */
  private retire(view: View): void {
    const retiring = view.handle
      .retire(this.closing.signal)
      .then(() => this.cleanUp())
      .catch((cause: unknown) => {
        if (!this.closing.signal.aborted) this.world.logger.log({ level: 'warn', code: 'replica.cleanUpFailed', cause })
      })
    this.retiring.add(retiring)
    void retiring.finally(() => this.retiring.delete(retiring))
  }

  /** The log of the generation before, and the files that nothing of this one names. */
  private async cleanUp(): Promise<void> {
    if (this.closing.signal.aborted || this.view === undefined) return
    await this.log_!.dropOld()
    const { strays, claimed } = this
    if (strays === undefined || claimed === undefined) return
    await this.view.upkeep.clean(strays, claimed)
    this.strays = this.claimed = undefined
  }

  private async contentNames(): Promise<Set<string>> {
    const names = new Set<string>()
    for (const prefix of ['fragments/', 'indexes/']) for await (const { name } of this.root.list(prefix)) if (isContentName(name)) names.add(name)
    return names
  }

  /** The fold is where it may be. */
  async settled(): Promise<void> {
    await this.beginning
    await this.fold?.settled()
  }

  async close(): Promise<void> {
    this.closing.abort(new ClosedError('store.closed', 'the replica is closed', { details: { what: 'store' } }))
    await this.beginning
    await this.fold?.stop()
    const views = [this.view, this.outdated]
    for (const view of new Set(views)) {
      await view?.upkeep.stop()
      await view?.handle.close()
    }
    await Promise.all(this.retiring)
    await this.leavePlace()
    await this.log_?.close()
  }

  private async leavePlace(): Promise<void> {
    const { place } = this
    this.place = undefined
    await place?.release()
  }
}

function storeMismatch(found: string, wanted: Uint8Array): StoreMismatchError {
  return new StoreMismatchError(`this root holds store ${found}, not ${toHex(wanted)}`, { details: { storeId: found, asked: toHex(wanted) } })
}
