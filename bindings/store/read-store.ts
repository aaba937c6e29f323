// store/read-store.ts: the reading half of a store handle: look-ups, scans, snapshots, changes, what there is.
//
// Invariant: every read is at one LSN at or below the durable head; a handle that is closed answers ClosedError.

import { MAIN } from '../catalog/index.ts'
import { ClosedError, FencedError, HistoryUnavailableError, InvalidConfigError, PoisonedError } from '../errors.ts'
import { Binder, commitsOnly, feed, type FeedOptions, type ReadContext, type Row, staleBranch, tableNotFound } from '../engine/index.ts'
import { MAIN_BRANCH, toHex } from '../format/index.ts'
import type { CommitLog, Epoch, Lsn } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import { showAs, ulidBytes } from '../runtime/index.ts'
import {
  type AnyTable,
  type At,
  type AuditRow,
  type BackupOptions,
  type BackupReport,
  type BranchInfo,
  type Images,
  type LooseScanOptions,
  type PendingWrite,
  type PinInfo,
  type Scan,
  type Stats,
  type StoreEvents,
  type TableInfo,
  type TagInfo,
  tableFromSchema,
  type VerifyReport,
  type WriteId,
} from '../table/index.ts'
import { branchInfos, tagInfos } from './branching.ts'
import { commitsOf } from './commit-watch.ts'
import { tableInfos, tableStats } from './describe.ts'
import type { DiffHost, DiffRequest } from './diff-stream.ts'
import { FeedHandle } from './feed-handle.ts'
import { checkKnown } from './known-options.ts'
import { LEASED, Pins, pinsOf } from './pins.ts'
import { observing, pendingOf } from './recovering.ts'
import { Reads } from './reads.ts'
import { type Outcome, outcomeOf } from '../write/index.ts'
import { type ReadOptions, SnapshotHandle, type SnapshotOptions } from './snapshot.ts'
import type { VerifyOptions } from './verify-door.ts'
import type { Opened } from './wiring.ts'

const FEED_OPTIONS: readonly string[] = ['from', 'tables', 'images', 'branch', 'follow', 'signal'] satisfies (keyof FeedRequest)[]

interface FeedRequest {
  readonly from?: Lsn | number
  readonly tables?: readonly AnyTable[]
  readonly images?: Images
  readonly branch?: string
  readonly follow?: boolean
  readonly signal?: AbortSignal
}

/** Of stats: what only time tells. */
export type Watched = Pick<Stats, 'commits' | 'writes'>

export class ReadHandle {
  protected readonly o: Opened
  protected readonly context: ReadContext
  protected readonly closing: AbortController = new AbortController()
  protected readonly pinned: Pins
  protected readonly reads: Reads
  private closed_: Promise<void> | undefined
  readonly id: string

  constructor(o: Opened) {
    this.o = o
    this.id = toHex(o.storeId)
    this.pinned = new Pins({
      world: o.world,
      warnMs: o.options.memory.snapshotWarnMs,
      head: () => this.head,
      held: (lsn, heldMs) => o.events.emit('snapshotHeld', { lsn: BigInt(lsn) as Lsn, heldMs }),
      reclaim: o.log.reclaim,
      tail: () => Number(o.log.tail),
      lease: o.log.shared && !o.options.readOnly ? (lsn) => o.log.pin(BigInt(lsn) as Lsn, LEASED) : undefined,
      isNamed: (branch, lsn) => {
        const { branches, merges } = o.state.catalog
        return branches.holds(branch, lsn) || merges.holds(branches, branch, lsn)
      },
    })
    this.context = {
      world: o.world,
      sortBytes: o.options.memory.sortBytes,
      missingColumn: (column, rows) => o.context.missingColumn(column, rows),
      check: () => this.check(),
      hold: (point) => this.pinned.brief(point),
    }
    this.reads = this.readsOf(MAIN, () => undefined)
  }

  protected readsOf(branch: number, assertLive: () => void): Reads {
    return new Reads({ o: this.o, context: this.context, pins: this.pinned, branch, assertLive, facts: (table) => this.facts(table) })
  }

  get lsn(): Lsn {
    return BigInt(this.head) as Lsn
  }

  get epoch(): Epoch {
    // A reader beside a writer holds none of its own: the newest one it has read of.
    return this.readOnly ? (BigInt(this.o.state.catalog.fence) as Epoch) : this.o.log.epoch
  }

  get readOnly(): boolean {
    return this.o.options.readOnly
  }

  get closed(): boolean {
    return this.closed_ !== undefined
  }

  toJSON(): object {
    const { id, lsn, readOnly, closed } = this
    return { id, lsn: String(lsn), readOnly, closed }
  }

  /** C: nothing newer is shown. */
  protected get head(): number {
    return this.o.acknowledgement.committed
  }

  protected get log(): CommitLog {
    return this.o.log
  }

  protected check(): void {
    if (this.closed) throw new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } })
    if (this.o.failure !== undefined) throw this.o.failure
  }

  protected facts(table: AnyTable | undefined): { storeId: string; table?: string } {
    return table === undefined ? { storeId: this.id } : { storeId: this.id, table: table.name }
  }

  // of main; those of a branch are store/branch-handle.ts

  get(table: AnyTable, key: unknown, o?: ReadOptions): Promise<Row | undefined> {
    return this.reads.get(table, key, o)
  }

  getMany(table: AnyTable, keys: Iterable<unknown>, o?: ReadOptions): Promise<(Row | undefined)[]> {
    return this.reads.getMany(table, keys, o)
  }

  has(table: AnyTable, key: unknown, o?: ReadOptions): Promise<boolean> {
    return this.reads.has(table, key, o)
  }

  scan(table: AnyTable, options?: LooseScanOptions & { at?: At }): Scan<AnyTable, Row> {
    return this.reads.scan(table, options)
  }

  snapshot(at?: At, o?: SnapshotOptions): Promise<SnapshotHandle> {
    return this.reads.snapshot(at, o)
  }

  async waitCommitted(lsn: Lsn, o?: { signal?: AbortSignal }): Promise<void> {
    this.check()
    const { world, acknowledgement } = this.o
    const wanted = Number(lsn)
    const { signal: closing } = this.closing
    const signal = o?.signal === undefined ? closing : AbortSignal.any([o.signal, closing])
    while (this.head < wanted) {
      signal.throwIfAborted()
      if (!(await acknowledgement.reach(wanted, signal))) await world.timers.sleep(1, signal, true)
      this.check()
    }
  }

  // the change feed

  changes(o: FeedRequest = {}): FeedHandle<unknown> {
    const from = o.from === undefined ? this.head : Number(o.from)
    const stop = new AbortController()
    return new FeedHandle(this.feed(o, from, stop.signal), () => stop.abort())
  }

  private async *feed(o: FeedRequest, from: number, stopped: AbortSignal): AsyncGenerator<unknown, undefined> {
    this.check()
    o.signal?.throwIfAborted()
    const { tables = [], images = 'after', follow = true } = checkKnown('changes', o, FEED_OPTIONS)
    await this.checkFeed(from, images)
    const signals = [this.closing.signal, stopped]
    const signal = AbortSignal.any(o.signal === undefined ? signals : [o.signal, ...signals])
    const { state, branches, history } = this.o
    const branch = await history.branchNamed(o.branch ?? MAIN_BRANCH)
    const binder = branch === state.branch ? this.o.binder : new Binder(await branches.view(branch))
    for (const table of tables) binder.bind(table)
    const check = (): void => {
      this.check()
      if (!state.catalog.branches.isLive(branch)) throw staleBranch(state.catalog.branches, branch)
    }
    const options: FeedOptions = { tables, images, signal, end: follow ? undefined : this.lsn, check, branch, branches: () => state.catalog.branches }
    const pin = this.pinned.hold({ lsn: from, branch }, 'stream')
    try {
      const commits =
        tables.length === 0
          ? commitsOnly(this.o.acknowledgement.feedLog, (id) => state.tables.get(id)?.name, from, options)
          : feed(this.o.acknowledgement.feedLog, await this.o.history.load({ branch, lsn: from }), from, options, this.context)
      for await (const commit of commits) {
        yield commit
        // Asked for the next one: this one is done with.
        pin.advance(Number(commit.lsn))
        o.signal?.throwIfAborted()
      }
    } catch (error) {
      if (this.closed) throw new ClosedError('store.closed', 'the store was closed', { details: { what: 'store' }, cause: error })
      if (stopped.aborted) return
      o.signal?.throwIfAborted()
      throw error
    } finally {
      pin.release()
    }
  }

  /** @throws RangeError, HistoryUnavailableError, InvalidConfigError */
  private async checkFeed(from: number, images: Images): Promise<void> {
    if (!Number.isSafeInteger(from) || from < 0) throw new RangeError(`\`from\` is not a position: ${from}`)
    const floor = await this.o.history.floor()
    if (from < floor || from > this.head) {
      throw new HistoryUnavailableError(`position ${from} is not between the floor ${floor} and the head ${this.head}`, {
        details: { asked: BigInt(from), floor: BigInt(floor) },
      })
    }
    if (images !== 'after' && images !== 'both' && images !== 'none') {
      throw new InvalidConfigError(`no images ${JSON.stringify(images)}`, { details: { key: 'images', value: images } })
    }
  }

  diff(from: At, to: At, o: DiffRequest): FeedHandle<unknown> {
    const stop = new AbortController()
    const host: DiffHost = {
      context: this.context,
      pins: this.pinned,
      pointAt: (at) => this.reads.pointAt(at),
      isClosed: () => this.closed,
      closing: this.closing.signal,
    }
    return new FeedHandle(diffed(host, from, to, o, stop.signal), () => stop.abort())
  }

  // what there is

  async tables(at?: At): Promise<TableInfo[]> {
    const state = await this.reads.stateAt(at)
    return tableInfos(state)
  }

  async table(name: string, at?: At): Promise<AnyTable> {
    const state = await this.reads.stateAt(at)
    const table = state.catalog.byName(name)
    if (table === undefined) throw tableNotFound(name)
    return tableFromSchema(table.schemas.at(-1)!)
  }

  async branches(): Promise<BranchInfo[]> {
    this.check()
    return branchInfos(await this.o.acknowledgement.state())
  }

  async tags(): Promise<TagInfo[]> {
    this.check()
    return tagInfos(await this.o.acknowledgement.state())
  }

  async refresh(): Promise<Lsn> {
    this.check()
    await this.o.catchUp()
    return this.lsn
  }

  async stats(): Promise<Stats> {
    this.check()
    const { acknowledgement, log, cache, metering } = this.o
    const state = await acknowledgement.state()
    metering.settle(cache, this.o.kernelBytes())
    const { tables, writeBytes } = tableStats(state, this.head)
    return {
      lsn: this.lsn,
      durableLsn: log.durableHead,
      committedLsn: this.lsn,
      ackMode: acknowledgement.mode,
      tables,
      log: {
        segments: log.segments,
        bytes: log.bytes,
        bytesSinceCheckpoint: this.bytesSinceCheckpoint(),
        tail: log.tail,
        floor: BigInt(await this.o.history.floor()) as Lsn,
      },
      memory: { cacheBytes: cache.bytes, writeBytes, kernelBytes: this.o.kernelBytes() },
      pins: this.pinned.size,
      pending: state.catalog.outcomes.pending.size,
      supersededOutcomes: state.catalog.outcomes.superseded,
      ...(await this.watched()),
    }
  }

  protected async watched(): Promise<Watched> {
    return { commits: await commitsOf(this.log, this.head, this.o.world.clock.nowMs()) }
  }

  protected bytesSinceCheckpoint(): number {
    return this.log.bytes
  }

  async pending(): Promise<PendingWrite[]> {
    this.check()
    return this.pendingNow()
  }

  protected pendingNow(): Promise<PendingWrite[]> {
    return pendingOf(observing(this.o))
  }

  async staged(): Promise<PendingWrite[]> {
    this.check()
    // Nothing is sealed: nothing needs to be listed.
    if (this.o.state.catalog.outcomes.pending.size === 0) return []
    const pending = await this.pendingNow()
    return pending.filter(({ mode, state }) => mode === 'hold' && state === 'sealed')
  }

  async pins(): Promise<PinInfo[]> {
    this.check()
    return pinsOf(this.pinned, this.o.state.catalog.branches, this.o.world)
  }

  async outcome(id: WriteId): Promise<Outcome> {
    this.check()
    const bytes = ulidBytes(id)
    const found = await this.outcomeHere(bytes)
    if (found === 'published' || found === 'rolledBack' || !(await this.seesMore())) return found
    return this.outcomeHere(bytes)
  }

  private outcomeHere(id: Uint8Array): Promise<Outcome> {
    const { root, log, state } = this.o
    return outcomeOf({ root, log, state, committed: this.head, isQueued: (hex) => this.o.isPending(hex) }, id)
  }

  /** Catch up with other writers, where that is this handle's to do; whether its head has moved. @throws StorageError when the log cannot be read */
  private async seesMore(): Promise<boolean> {
    const { log, options, state } = this.o
    if (options.readOnly ? !options.follow : !log.shared) return false
    const before = state.applied
    try {
      await this.o.catchUp()
    } catch (error) {
      // The handle is over: what it has seen is all it can tell.
      if (!(error instanceof PoisonedError || error instanceof FencedError)) throw error
    }
    return state.applied > before
  }

  async *audit(o: { from?: Lsn; kinds?: string[] } = {}): AsyncGenerator<AuditRow, undefined> {
    this.check()
    const names = (id: number): string => this.o.state.tables.get(id)?.name ?? `table ${id}`
    const { auditRows, checkKinds } = await import('./audit.ts')
    checkKinds(checkKnown('audit', o, ['from', 'kinds']).kinds)
    const { outcomes, timeMs } = this.o.state.catalog
    const source = { log: this.log, names, outcomes, timeMs }
    for await (const row of auditRows(source, o.from ?? this.log.tail, this.lsn)) {
      this.check()
      if (o.kinds === undefined || o.kinds.includes(row.kind)) yield row
    }
  }

  async verify(o: VerifyOptions = {}): Promise<VerifyReport> {
    this.check()
    return await (await import('./verify-door.ts')).verifyOpened(this.o, o)
  }

  async backup(target: string | URL | Root, o: BackupOptions = {}): Promise<BackupReport> {
    this.check()
    // What was acknowledged before the call is in it, and nothing that the source could lose again. A log that takes no more still has what it has.
    await this.log.sync().catch((error: unknown) => {
      if (!(error instanceof PoisonedError || error instanceof FencedError)) throw error
    })
    const head = Math.min(this.head, Number(this.log.durableHead))
    // From the oldest version that can be read on; what a vacuum under way takes is no longer among them.
    const pin = await this.log.reclaim.exclusively(async () =>
      this.pinned.hold({ lsn: Math.max(Number(this.log.tail), this.o.fragmentFloor()), branch: MAIN }, 'backup'),
    )
    try {
      // Few processes ever make one: its modules are loaded by the first call.
      return await (await import('./backup.ts')).backupStore(this.o, target, head, o)
    } finally {
      pin.release()
    }
  }

  on<E extends keyof StoreEvents>(event: E, listener: (e: StoreEvents[E]) => void): Disposable {
    this.check()
    return this.o.events.on(event, listener)
  }

  close(): Promise<void> {
    this.closed_ ??= this.shut().finally(() => this.o.events.emit('close', {}))
    return this.closed_
  }

  protected async shut(): Promise<void> {
    this.closing.abort(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
    await this.o.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

showAs(ReadHandle, (handle) => handle.toJSON())

/** Loaded by the first call. */
async function* diffed(host: DiffHost, from: At, to: At, o: DiffRequest, stopped: AbortSignal): AsyncGenerator<unknown, undefined> {
  yield* (await import('./diff-stream.ts')).diffStream(host, from, to, o, stopped)
}
