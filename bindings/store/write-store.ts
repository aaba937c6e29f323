// store/write-store.ts: the writing half of a store handle: each call is one commit that resolves once it is durable.

import { ClosedError, ConflictError, FencedError, TableExistsError } from '../errors.ts'
import { type ApplyOptions, Committer, Engine, Gates, inTurn, Intents, nextTableId, staleBranchNamed, WriteTracker } from '../engine/index.ts'
import { type AckMode, toHex } from '../format/index.ts'
import type { Epoch, Lsn } from '../log/index.ts'
import { repairOpen } from '../recovery/index.ts'
import { isTraced, lazily, newUlid, traced, ulidBytes, ulidText } from '../runtime/index.ts'
import {
  type AckModeOptions,
  type AnyTable,
  type BranchOptions,
  type At,
  type CommitResult,
  type Long,
  type OptimizeOptions,
  type OptimizeReport,
  type PendingWrite,
  type Predicate,
  type MergeOptions,
  type MergeResult,
  type RepairReport,
  type RevertOptions,
  sameDefinition,
  type SchemaPlan,
  schemaFromDefinition,
  type StageOptions,
  type TagOptions,
  type TransactOptions,
  type VacuumOptions,
  type VacuumReport,
  type WriteId,
  type WriteOptions,
} from '../table/index.ts'
import { BranchHandle } from './branch-handle.ts'
import { Branching } from './branching.ts'
import { type BranchWriter, BranchWriters } from './branch-writers.ts'
import { CommitWatch } from './commit-watch.ts'
import { checkKnown } from './known-options.ts'
import { Reporter } from './progress.ts'
import { auditOf } from './promotion.ts'
import { ReadHandle, type Watched } from './read-store.ts'
import { Recovering } from './recovering.ts'
import { factsOf, RowWriter } from './row-writer.ts'
import { checkDoorOptions } from './repair-door.ts'
import type { Merges, MergesHost } from './merges.ts'
import { Transactions } from './transactions.ts'
import { Upkeep } from './upkeep.ts'
import { Optimizing } from './optimizing.ts'
import type { ShipOptions } from './ship-options.ts'
import { Shipped } from './shipped.ts'
import { sweepTemporary } from './sweep-temporary.ts'
import type { Shipping } from './shipping.ts'
import { checkNotes } from './write-options.ts'
import { sealLoad, type StagedWriteHandle, Writes } from '../write/index.ts'
import type { Opened } from './wiring.ts'

/** Between two looks of a writer for records of others. */
const FOLLOW_MS = 1000

const vacuuming = /* #__PURE__ */ lazily(() => import('./vacuuming.ts'))

export class WriteHandle extends ReadHandle {
  private readonly engine: Engine
  private readonly committer: Committer
  private readonly upkeep: Upkeep
  private readonly optimizing: Optimizing
  private readonly recovering: Recovering
  private readonly writes: Writes
  private readonly rows: RowWriter
  private readonly branching: Branching
  /** Of branches. */
  protected readonly writers: BranchWriters
  /** Functions of transactions that run. */
  private readonly running = new Set<AbortController>()
  private readonly watch: CommitWatch
  private readonly mergesHost: MergesHost
  private readonly shipped: Shipped
  private merging: Merges | undefined

  constructor(o: Opened) {
    super(o)
    const { root, log, state, world, cache, options, events, context } = o
    const tracker = new WriteTracker()
    const { metering } = o
    let durableAt = state.applied
    let durableMs = world.clock.monoMs()
    this.watch = new CommitWatch(o.written, durableMs)
    // Dropped since, or of a branch that is gone: it has no name any more.
    const nameOf = (branch: number, tableId: number): string => state.view(branch)?.tables.get(tableId)?.name ?? `table ${tableId}`
    this.committer = new Committer(log, state, world, tracker, {
      durable: (head) => {
        state.settle(head)
        metering.record('varve.group.size', head - durableAt)
        metering.settle(cache, o.kernelBytes())
        durableAt = head
        durableMs = world.clock.monoMs()
        this.upkeep.look()
        this.writes.look()
      },
      committed: ({ lsn, writeId, branch, changes, durationMs }) => {
        this.watch.committed(changes, durationMs, durableMs)
        if (metering.isOn) {
          // Of a commit that touches several tables none is named.
          const [first] = changes
          const table = first !== undefined && changes.every(({ tableId }) => tableId === first.tableId) ? nameOf(branch, first.tableId) : undefined
          metering.add('varve.commits', 1, table)
          metering.record('varve.commit.duration', durationMs, table)
        }
        if (!events.wants('commit')) return
        const tables = [...new Set(changes.map(({ tableId }) => nameOf(branch, tableId)))]
        const rows = changes.reduce((sum, change) => sum + change.inserted + change.updated + change.deleted, 0)
        events.emit('commit', { lsn: BigInt(lsn) as Lsn, writeId: ulidText(writeId) as WriteId, tables, rows, durationMs })
      },
      schemaChanged: (lsn, tables) => events.emit('schema', { lsn: BigInt(lsn) as Lsn, tables: [...tables] }),
      failed: (error) => {
        if (error instanceof FencedError) events.emit('fenced', { held: error.held as Epoch, seen: error.seen as Epoch })
        else events.emit('poisoned', { cause: error })
      },
    })
    o.acknowledgement.bind(this.committer)
    this.engine = new Engine({
      root,
      log,
      state,
      store: state,
      committer: this.committer,
      tracker,
      gates: new Gates(world),
      intents: new Intents(state.catalog, world, {
        writerId: newUlid(world),
        epoch: String(log.epoch),
        host: world.host.name,
        pid: world.host.pid,
        started: world.host.processStartTime,
      }),
      world,
      cache,
      limits: {
        inlineLimitBytes: options.inlineLimitBytes,
        writeBytes: options.memory.writeBytes,
        transactionBytes: options.memory.transactionBytes,
        sortBytes: options.memory.sortBytes,
        publishRetries: options.publishRetries,
      },
      missingColumn: (column, rows) => context.missingColumn(column, rows),
      check: () => this.check(),
      retireDeferred: (writeId, cause) => events.emit('retireDeferred', { writeId: writeId as WriteId, cause }),
    })
    this.upkeep = new Upkeep(this.engine, { ...o, looked: () => this.optimizing.look() }, options.upkeep === 'auto', (table) => this.writers.leaseTable(table))
    this.writes = new Writes({
      engine: this.engine,
      read: this.context,
      stateAt: (lsn, branch) => o.history.load({ branch, lsn }),
      retireDeferred: (writeId, cause) => events.emit('retireDeferred', { writeId: writeId as WriteId, cause }),
      publishing: (publish) => this.publishing(publish),
    })
    this.optimizing = new Optimizing({
      engine: this.engine,
      events,
      metering,
      writes: this.writes,
      lease: (table) => this.writers.leaseTable(table),
      isSealed: options.sealMode === 'separate',
      isAutomatic: options.upkeep === 'auto',
    })
    const main = this.writerOf(this.engine, this.writes)
    this.rows = main.rows
    this.writers = new BranchWriters(main, o.branches, (engine, writes) => this.writerOf(engine, writes))
    this.recovering = new Recovering(o, this.writes, (intent) => this.writers.lease(intent))
    this.branching = new Branching({
      engine: this.engine,
      history: o.history,
      writable: () => this.writable(),
      heal: () => this.recovering.heal(),
      workedOn: (branchId) => this.recovering.workedOn(branchId),
    })
    this.mergesHost = {
      o,
      pins: this.pinned,
      pointAt: (at) => this.reads.pointAt(at),
      use: (branch, run) => this.writers.use(branch, ({ writes }) => run(writes)),
    }
    this.shipped = new Shipped(o, this.committer)
    o.isPending = (id) => this.committer.isPending(id)
    if (options.upkeep === 'auto') void sweepTemporary(o.root, o.world, this.closing.signal)
    if (log.shared) {
      o.catchUp = async () => {
        await log.refresh()
        await this.committer.caughtUp()
      }
      if (options.follow) void this.followOthers()
    }
  }

  private writerOf(engine: Engine, writes: Writes): BranchWriter {
    const heal = (given?: WriteOptions): Promise<void> | undefined => this.gated(given) ?? this.recovering.heal()
    const confirmed = (given: WriteOptions, written: Promise<CommitResult>): Promise<CommitResult> => this.o.acknowledgement.confirmed(given, written)
    const writable = (given?: WriteOptions): void => this.admitted(given)
    const facts = (table: AnyTable | undefined): { storeId: string; table?: string } => this.facts(table)
    const transactions = new Transactions({
      engine,
      context: this.context,
      writable,
      heal,
      confirmed,
      keyFree: (key, signal) => this.writes.keyFree(key, signal, heal),
      room: (signal) => this.upkeep.room(signal),
      conflicted: () => this.o.metering.add('varve.conflicts', 1),
      running: this.running,
    })
    engine.sealer = { always: this.o.options.sealMode === 'separate', publish: (large) => sealLoad(writes, large) }
    return { engine, writes, rows: new RowWriter({ engine, writes, transactions, writable, ready: (given) => this.ready(given), heal, confirmed, facts }) }
  }

  /** Shared logs: what others commit shows here without being asked for. */
  private async followOthers(): Promise<void> {
    const { world } = this.o
    const { signal } = this.closing
    for (;;) {
      await world.timers.sleep(FOLLOW_MS, signal).catch(() => undefined)
      if (signal.aborted || this.committer.failure !== undefined) return
      await this.o.catchUp().catch((cause: unknown) => {
        if (!signal.aborted) world.logger.log({ level: 'warn', code: 'follow.failed', cause })
      })
    }
  }

  /** What a crash left is decided before the first call. @throws what a sweep refuses or meets */
  async recover(): Promise<void> {
    try {
      await this.optimizing.ready()
      await this.recovering.open()
      // Nothing is flushed and no checkpoint made of what contradicts itself.
      if (this.recovering.hasDrifted) {
        await this.optimizing.stop()
        await this.upkeep.stop()
      }
      const { promotion } = this.o
      if (promotion !== undefined && !this.recovering.hasDrifted) {
        const facts = auditOf(promotion, Number(this.epoch))
        await inTurn(this.engine, undefined, () => this.committer.audit(facts))
      }
      this.o.acknowledgement.opened()
    } catch (error) {
      await this.close().catch((cause: unknown) => this.o.world.logger.log({ level: 'warn', code: 'open.releaseFailed', cause }))
      throw error
    }
  }

  protected override pendingNow(): Promise<PendingWrite[]> {
    return this.recovering.pending()
  }

  /** Undecided writes whose owner is gone come first, and a sealed one under the same idempotency key; then room for rows in memory. undefined: nothing to wait for. */
  private ready(o: WriteOptions | undefined): Promise<void> | undefined {
    const key = o?.idempotencyKey
    return (
      this.gated(o) ??
      this.recovering.heal() ??
      (key === undefined ? undefined : this.writes.keyFree(key, o?.signal, () => this.recovering.heal())) ??
      this.upkeep.room(o?.signal) ??
      this.shipped.throttle.room()
    )
  }

  /** What counts replicas is loaded by the first write that asks for them. */
  private gated(o: WriteOptions | undefined): Promise<void> | undefined {
    return o?.ack === undefined ? undefined : this.o.acknowledgement.ready()
  }

  protected override watched(): Promise<Watched> {
    const nowMs = this.o.world.clock.monoMs()
    return Promise.resolve({ commits: this.watch.commits(nowMs), writes: this.watch.writes() })
  }

  protected override bytesSinceCheckpoint(): number {
    return this.upkeep.bytesSinceCheckpoint
  }

  // tables

  async create(...tables: readonly AnyTable[]): Promise<void> {
    this.writable()
    await this.recovering.heal()
    await inTurn(this.engine, undefined, () => this.createNow(tables))
  }

  private async createNow(tables: readonly AnyTable[]): Promise<void> {
    const { state } = this.o
    const fresh: AnyTable[] = []
    for (const table of tables) {
      const there = state.byName(table.name)
      if (there === undefined) {
        const twin = fresh.find((each) => each.name === table.name)
        if (twin === undefined) fresh.push(table)
        else if (!sameDefinition(table, schemaFromDefinition(twin, 1))) throw tableExists(table.name)
      } else if (!sameDefinition(table, there.schema)) throw tableExists(table.name)
    }
    if (fresh.length === 0) {
      // What is committed needs no replica to be there: a program that opens, creates, and then ships.
      const { catalog } = state
      if (this.committer.inFlight === 0 && tables.every(({ name }) => (catalog.byName(name)?.createdLsn ?? Number.POSITIVE_INFINITY) <= this.head)) return
      return this.committer.drained()
    }
    const schemas = fresh.map((table, i) => schemaFromDefinition(table, nextTableId(state) + i))
    await this.committer.schema({ create: schemas })
  }

  /**
   * Change what the store's tables are: those given become as defined, tables not named stay.
   *
   * @cost reads the columns that must be looked at first (a column that shall take no null any more); everything else is one record
   */
  async apply(tables: readonly AnyTable[], o: ApplyOptions = {}): Promise<SchemaPlan> {
    this.writable()
    const { applySchema, checkApplyOptions } = await import('./applying.ts')
    checkApplyOptions(o)
    await this.recovering.heal()
    return await applySchema(this.engine, tables, o)
  }

  // rows of main; those of a branch are store/branch-handle.ts

  append(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.rows.append(table, data, o)
  }

  upsert(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.rows.upsert(table, data, o)
  }

  replace(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.rows.replace(table, data, o)
  }

  update(table: AnyTable, patch: object | readonly object[], o?: WriteOptions): Promise<CommitResult> {
    return this.rows.update(table, patch, o)
  }

  delete(table: AnyTable, key: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.rows.delete(table, key, o)
  }

  deleteWhere(table: AnyTable, where: Predicate<any>, o?: WriteOptions): Promise<CommitResult> {
    return this.rows.deleteWhere(table, where, o)
  }

  transact<R>(fn: (tx: never) => Promise<R> | R, o?: TransactOptions): Promise<R> {
    return this.rows.transact(fn, o)
  }

  stage(given?: string | StageOptions): Promise<StagedWriteHandle> {
    return this.rows.stage(given)
  }

  /** As writable(); nothing is prepared that replicas could not confirm. @throws AckUnavailableError, AckModeWeakenedError */
  private admitted(o?: WriteOptions): void {
    this.writable(o)
    this.o.acknowledgement.admit(o)
  }

  private writable(o?: WriteOptions): void {
    this.check()
    this.committer.assertAlive()
    if (o === undefined) return
    checkNotes(o)
    o.signal?.throwIfAborted()
    if (o.writeId === undefined) return
    ulidBytes(o.writeId)
    // A retry may say everything again, its id included: it gets the result of then.
    if (o.idempotencyKey === undefined || !this.writes.knowsKey(o.idempotencyKey)) this.writes.refuseTaken(o.writeId)
  }

  // staged writes

  private publishing(publish: () => Promise<CommitResult>): Promise<CommitResult> {
    const counted = (): Promise<CommitResult> =>
      publish().catch((error: unknown) => {
        if (error instanceof ConflictError) this.o.metering.add('varve.conflicts', 1)
        throw error
      })
    return isTraced('commit') ? traced('commit', this.facts(undefined), counted, factsOf) : counted()
  }

  async resume(id: WriteId): Promise<StagedWriteHandle> {
    this.writable()
    await this.o.catchUp()
    const { outcomes } = this.o.state.catalog
    const hex = toHex(ulidBytes(id))
    const found = outcomes.pending.get(hex) ?? outcomes.of(hex)
    // What the handle says of itself is what the log says: its seal, or its end.
    if (found !== undefined) await this.committer.gate?.reached(found.lsn)
    const seal = outcomes.pending.get(hex)
    using lease = seal === undefined ? undefined : await this.writers.lease(seal.intent)
    return (lease?.parts ?? this.writes).resume(id)
  }

  // branches and tags

  async branch(name: string, o?: BranchOptions): Promise<BranchHandle> {
    const found = await this.branching.branch(name, o)
    const { branches } = this.o.state.catalog
    const assertLive = (): void => {
      if (!branches.isLive(found.branch)) throw staleBranchNamed(found.name, found.branchId)
    }
    return new BranchHandle({
      ...found,
      state: this.o.state,
      committed: () => this.head,
      reads: this.readsOf(found.branch, assertLive),
      writers: this.writers,
      optimize: (writer, o) => this.optimizeOf(writer, o),
      assertLive,
    })
  }

  deleteBranch(name: string): Promise<void> {
    return this.branching.deleteBranch(name)
  }

  tag(name: string, o?: TagOptions): Promise<void> {
    return this.branching.tag(name, o)
  }

  deleteTag(name: string): Promise<void> {
    return this.branching.deleteTag(name)
  }

  // branches put together

  async merge(source: string, o: MergeOptions = {}): Promise<MergeResult> {
    await this.readied(o)
    return (await this.merges()).merge(source, o)
  }

  async revert(to: At, o: RevertOptions = {}): Promise<CommitResult> {
    await this.readied(o)
    return (await this.merges()).revert(to, o)
  }

  /** What few processes ever call is loaded by the first call. */
  private async merges(): Promise<Merges> {
    const { Merges } = await import('./merges.ts')
    return (this.merging ??= new Merges(this.mergesHost))
  }

  private async readied(o: WriteOptions): Promise<void> {
    this.admitted(o)
    for (let room = this.ready(o); room !== undefined; room = this.ready(o)) await room
    // What was merged by a record that is not committed may come to nothing.
    await this.committer.drained()
    this.writable(o)
  }

  // durability and upkeep

  async sync(): Promise<Lsn> {
    this.check()
    await this.committer.drained()
    return this.log.sync()
  }

  async flush(o: Long = {}): Promise<void> {
    this.admitted(o)
    await this.recovering.heal()
    await this.committer.drained()
    await this.upkeep.flushAll(new Reporter(this.o.world, o.onProgress), o.signal)
  }

  optimize(o: OptimizeOptions = {}): Promise<OptimizeReport> {
    return this.optimizeOf({ engine: this.engine, writes: this.writes }, o)
  }

  private optimizeOf(place: Pick<BranchWriter, 'engine' | 'writes'>, o: OptimizeOptions): Promise<OptimizeReport> {
    if (!isTraced('optimize')) return this.optimizeNow(place, o)
    return traced(
      'optimize',
      this.facts(undefined),
      () => this.optimizeNow(place, o),
      ({ lsn }) => (lsn === undefined ? {} : { lsn }),
    )
  }

  private async optimizeNow(place: Pick<BranchWriter, 'engine' | 'writes'>, o: OptimizeOptions): Promise<OptimizeReport> {
    this.admitted(o)
    await this.recovering.heal()
    await this.committer.drained()
    return this.optimizing.optimize(place, o, await this.recovering.pending())
  }

  vacuum(o: VacuumOptions): Promise<VacuumReport> {
    if (!isTraced('vacuum')) return this.vacuumNow(o)
    return traced(
      'vacuum',
      this.facts(undefined),
      () => this.vacuumNow(o),
      ({ lsn }) => (lsn === undefined ? {} : { lsn }),
    )
  }

  private async vacuumNow(o: VacuumOptions): Promise<VacuumReport> {
    this.admitted()
    // What is above C may be taken back by a newer primary: nothing is decided by it.
    if (this.o.acknowledgement.isFrozen && o.dryRun !== true) await this.waitCommitted(BigInt(this.o.state.applied) as Lsn, o)
    return (await vacuuming()).vacuumStore({ o: this.o, engine: this.engine, recovering: this.recovering, closing: this.closing.signal }, o)
  }

  /** Change whom commits wait for. */
  async setAckMode(mode: AckMode, o: AckModeOptions = {}): Promise<void> {
    this.writable()
    await this.o.acknowledgement.setMode(mode, checkKnown('setAckMode', o, ['force']))
  }

  ship(o: ShipOptions): Promise<Shipping> {
    this.writable()
    return this.shipped.ship(o)
  }

  async repair(o: { confirm?: boolean; dropAfter?: Lsn } = {}): Promise<RepairReport> {
    checkDoorOptions('repair', o, ['confirm', 'dropAfter'])
    this.writable()
    await this.committer.drained()
    const { root, world, log, storeId, state, context } = this.o
    // Others write beside this call: what nothing names yet may be about to be named.
    const parts = { root, world, log, storeId, state, context: () => context, isShared: true }
    return await repairOpen(parts, async (facts) => BigInt(await inTurn(this.engine, undefined, () => this.committer.audit(facts))) as Lsn, o)
  }

  protected override async shut(): Promise<void> {
    for (const each of this.running) each.abort(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
    this.o.acknowledgement.close()
    try {
      await this.optimizing.stop()
      await this.writes.close(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
      await this.committer.drained().catch(() => undefined)
      if (this.committer.failure === undefined) {
        await this.upkeep.settle().catch((cause: unknown) => this.o.world.logger.log({ level: 'warn', code: 'close.settleFailed', cause }))
      }
      this.recovering.stop()
      await this.upkeep.stop()
      await this.committer.drained().catch(() => undefined)
    } finally {
      // Not before: what was written last may wait for replicas.
      await this.shipped.close()
      this.committer.fail(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
      await super.shut()
    }
  }

  [Symbol.dispose](): void {
    if (this.closed) return
    this.log.closeSync?.()
    this.o.acknowledgement.giveUp()
    this.committer.fail(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
    // What needs no waiting was done; the rest (threads, descriptors) ends in the background.
    this.close().catch((cause: unknown) => this.o.world.logger.log({ level: 'warn', code: 'close.failed', cause }))
  }
}

function tableExists(name: string): TableExistsError {
  return new TableExistsError(`table ${JSON.stringify(name)} has another definition`, { details: { table: name } })
}
