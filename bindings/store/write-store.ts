// store/write-store.ts: the writing half of a store handle: each call is one commit that resolves once it is durable.

import { ClosedError, ConflictError, FencedError, TableExistsError } from '../errors.ts'
import {
  type ApplyOptions,
  applySchema,
  checkApplyOptions,
  Committer,
  deleteKeys,
  deleteWhere,
  Engine,
  Gates,
  inTurn,
  Intents,
  load,
  nextTableId,
  type LoadOp,
  updateRows,
  writeBatch,
  writeRows,
  WriteTracker,
} from '../engine/index.ts'
import { concat } from '../kernels/index.ts'
import type { Epoch, Lsn } from '../log/index.ts'
import { repairOpen } from '../recovery/index.ts'
import { isTraced, newUlid, traced, type TraceMessage, ulidBytes, ulidText } from '../runtime/index.ts'
import {
  type AnyTable,
  batchBytes,
  type ColumnBatch,
  type CommitResult,
  INLINE_ROWS_MAX,
  isRows,
  keyless,
  type Long,
  type OptimizeOptions,
  type OptimizeReport,
  type PendingWrite,
  type Predicate,
  type RepairReport,
  sameDefinition,
  type SchemaPlan,
  schemaFromDefinition,
  type StageOptions,
  toBatches,
  type TransactOptions,
  type WriteId,
  type WriteOptions,
} from '../table/index.ts'
import { CommitWatch } from './commit-watch.ts'
import { Reporter } from './progress.ts'
import { ReadHandle, type Watched } from './read-store.ts'
import { Recovering } from './recovering.ts'
import { checkDoorOptions } from './repair-door.ts'
import { Transactions } from './transactions.ts'
import { Upkeep } from './upkeep.ts'
import { Optimizing } from './optimizing.ts'
import { checkNotes, stageOptionsOf, withAgain } from './write-options.ts'
import { sealLoad, type StagedWriteHandle, Writes } from '../write/index.ts'
import type { Opened } from './wiring.ts'

/** Above it a batch is staged however few bytes it has: the memory layer takes at most a chunk at a time. */
const INLINE_BATCH_ROWS_MAX = 16_384
/** Between two looks of a writer for records of others. */
const FOLLOW_MS = 1000
const SWEEP_AFTER_MS = 60_000
/** No writer leaves a temporary file alone for so long. */
const TEMPORARY_MS = 3_600_000

export class WriteHandle extends ReadHandle {
  private readonly engine: Engine
  private readonly committer: Committer
  private readonly upkeep: Upkeep
  private readonly optimizing: Optimizing
  private readonly recovering: Recovering
  private readonly writes: Writes
  private readonly transactions: Transactions
  private readonly watch: CommitWatch

  constructor(o: Opened) {
    super(o)
    const { root, log, state, world, cache, options, events, context } = o
    const tracker = new WriteTracker()
    const { metering } = o
    let durableAt = state.applied
    let durableMs = world.clock.monoMs()
    this.watch = new CommitWatch(o.written, durableMs)
    // Committed on a branch, or dropped since: the main branch may not have it.
    const nameOf = (tableId: number): string => state.tables.get(tableId)?.name ?? `table ${tableId}`
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
      committed: ({ lsn, writeId, changes, durationMs }) => {
        this.watch.committed(changes, durationMs, durableMs)
        if (metering.isOn) {
          // Of a commit that touches several tables none is named.
          const [first] = changes
          const table = first !== undefined && changes.every(({ tableId }) => tableId === first.tableId) ? nameOf(first.tableId) : undefined
          metering.add('varve.commits', 1, table)
          metering.record('varve.commit.duration', durationMs, table)
        }
        if (!events.wants('commit')) return
        const tables = [...new Set(changes.map((change) => state.tables.get(change.tableId)?.name ?? `table ${change.tableId}`))]
        const rows = changes.reduce((sum, change) => sum + change.inserted + change.updated + change.deleted, 0)
        events.emit('commit', { lsn: BigInt(lsn) as Lsn, writeId: ulidText(writeId) as WriteId, tables, rows, durationMs })
      },
      schemaChanged: (lsn, tables) => events.emit('schema', { lsn: BigInt(lsn) as Lsn, tables: [...tables] }),
      failed: (error) => {
        if (error instanceof FencedError) events.emit('fenced', { held: error.held as Epoch, seen: error.seen as Epoch })
        else events.emit('poisoned', { cause: error })
      },
    })
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
    this.optimizing = new Optimizing({ engine: this.engine, events, metering, isAutomatic: options.upkeep === 'auto' })
    this.upkeep = new Upkeep(this.engine, { ...o, looked: () => this.optimizing.look() }, options.upkeep === 'auto')
    this.writes = new Writes({
      engine: this.engine,
      read: this.context,
      stateAt: (lsn, branch) => o.history.load({ branch, lsn }),
      retireDeferred: (writeId, cause) => events.emit('retireDeferred', { writeId: writeId as WriteId, cause }),
      publishing: (publish) => this.publishing(publish),
    })
    this.engine.sealer = { always: options.sealMode === 'separate', publish: (large) => sealLoad(this.writes, large) }
    this.recovering = new Recovering(o, this.writes)
    this.transactions = new Transactions({
      engine: this.engine,
      context: this.context,
      writable: (given) => this.writable(given),
      heal: () => this.recovering.heal(),
      keyFree: (key, signal) => this.writes.keyFree(key, signal, () => this.recovering.heal()),
      room: (signal) => this.upkeep.room(signal),
      conflicted: () => metering.add('varve.conflicts', 1),
    })
    o.isPending = (id) => this.committer.isPending(id)
    if (options.upkeep === 'auto') void this.sweepTemporary()
    if (log.shared) {
      o.catchUp = async () => {
        await log.refresh()
        await this.committer.caughtUp()
      }
      if (options.follow) void this.followOthers()
    }
  }

  /** Temporary files of processes that were killed: not before this handle has been open for a while, since it walks the whole root. */
  private async sweepTemporary(): Promise<void> {
    const { root, world } = this.o
    const { signal } = this.closing
    await world.timers.sleep(SWEEP_AFTER_MS, signal).catch(() => undefined)
    if (signal.aborted || root.sweepTemporary === undefined) return
    await root.sweepTemporary(world.clock.nowMs() - TEMPORARY_MS, { signal }).catch((cause: unknown) => {
      if (!signal.aborted) world.logger.log({ level: 'warn', code: 'sweep.temporaryFailed', cause })
    })
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
      await this.recovering.open()
      // Nothing is flushed and no checkpoint made of what contradicts itself.
      if (this.recovering.hasDrifted) {
        await this.optimizing.stop()
        await this.upkeep.stop()
      }
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
      this.recovering.heal() ??
      (key === undefined ? undefined : this.writes.keyFree(key, o?.signal, () => this.recovering.heal())) ??
      this.upkeep.room(o?.signal)
    )
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
    if (fresh.length === 0) return this.committer.drained()
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
    checkApplyOptions(o)
    await this.recovering.heal()
    return await applySchema(this.engine, tables, o)
  }

  // rows

  append(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write(table, 'append', data, o)
  }

  upsert(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write(table, 'upsert', data, o)
  }

  replace(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write(table, 'replace', data, o)
  }

  private write(table: AnyTable, op: LoadOp, data: unknown, o: WriteOptions | undefined): Promise<CommitResult> {
    if (!isTraced('commit')) return this.writeNow(table, op, data, o)
    return traced('commit', this.facts(table), () => this.writeNow(table, op, data, o), factsOf)
  }

  private writeNow(table: AnyTable, op: LoadOp, data: unknown, o: WriteOptions | undefined): Promise<CommitResult> {
    try {
      this.writable(o)
      if (op === 'upsert' && table.key.length === 0) throw keyless(this.engine.binder.bind(table).view)
      const room = this.ready(o)
      if (room !== undefined) return room.then(() => this.writeNow(table, op, data, o))
      if (op !== 'replace' && isRows(data)) {
        const rows = Array.isArray(data) ? (data as readonly object[]) : [data as object]
        if (rows.length > 0 && rows.length <= INLINE_ROWS_MAX && o?.onProgress === undefined) {
          if (this.log.shared) return this.writeRowsInTurn(table, op, rows, o)
          const written = writeRows(this.engine, table, op, rows, o)
          if (written !== undefined) return written
        }
      }
      return this.writeData(table, op, data, o)
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  private async writeRowsInTurn(table: AnyTable, op: 'append' | 'upsert', rows: readonly object[], o: WriteOptions | undefined): Promise<CommitResult> {
    const written = await inTurn(this.engine, o, async (again) => writeRows(this.engine, table, op, rows, withAgain(o, again)))
    return written ?? this.writeData(table, op, rows, o)
  }

  /** Inline when it is small, staged as fragments when it is large. */
  private async writeData(table: AnyTable, op: LoadOp, data: unknown, o: WriteOptions | undefined): Promise<CommitResult> {
    const { view } = this.engine.binder.bind(table)
    const source = toBatches(view, data, o?.signal === undefined ? {} : { signal: o.signal })
    const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
    const head: ColumnBatch[] = []
    let bytes = 0
    let rows = 0
    try {
      for (;;) {
        const next = await iterator.next()
        if (next.done === true) break
        head.push(next.value)
        rows += next.value.length
        bytes += batchBytes(next.value)
        if (bytes > this.engine.parts.limits.inlineLimitBytes || rows > INLINE_BATCH_ROWS_MAX)
          return await load(this.engine, table, op, joined(head, iterator), o, view.schema)
      }
    } finally {
      await iterator.return?.(undefined as never)
    }
    o?.signal?.throwIfAborted()
    return this.reported(op, table.name, o, () =>
      inTurn(this.engine, o, (again) => writeBatch(this.engine, table, op, oneBatch(head, view.schema.columns.length), withAgain(o, again), view.schema)),
    )
  }

  /** For commits that are one step: progress is their beginning and their end. */
  private async reported(phase: string, table: string, o: WriteOptions | undefined, write: () => Promise<CommitResult>): Promise<CommitResult> {
    if (o?.onProgress === undefined) return write()
    const reporter = new Reporter(this.o.world, o.onProgress)
    reporter.tell({ phase, done: 0, unit: 'rows', table })
    const result = await write()
    reporter.tell({ phase, done: result.rows, unit: 'rows', table })
    return result
  }

  update(table: AnyTable, patch: object | readonly object[], o?: WriteOptions): Promise<CommitResult> {
    return this.attempt('update', table, o, () =>
      inTurn(this.engine, o, async () => updateRows(this.engine, table, Array.isArray(patch) ? (patch as readonly object[]) : [patch as object], o)),
    )
  }

  delete(table: AnyTable, key: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.attempt('delete', table, o, () =>
      inTurn(this.engine, o, async (again) => deleteKeys(this.engine, table, Array.isArray(key) ? (key as readonly unknown[]) : [key], withAgain(o, again))),
    )
  }

  deleteWhere(table: AnyTable, where: Predicate<any>, o?: WriteOptions): Promise<CommitResult> {
    return this.attempt('deleteWhere', table, o, () => inTurn(this.engine, o, () => deleteWhere(this.engine, table, where, o)))
  }

  private attempt(phase: string, table: AnyTable, o: WriteOptions | undefined, write: () => Promise<CommitResult>): Promise<CommitResult> {
    const fn = o?.onProgress === undefined ? write : () => this.reported(phase, table.name, o, write)
    return isTraced('commit') ? traced('commit', this.facts(table), () => this.attemptNow(o, fn), factsOf) : this.attemptNow(o, fn)
  }

  private attemptNow(o: WriteOptions | undefined, fn: () => Promise<CommitResult>): Promise<CommitResult> {
    try {
      this.writable(o)
      const room = this.ready(o)
      return room === undefined ? fn() : room.then(() => this.attemptNow(o, fn))
    } catch (error) {
      return Promise.reject(error as Error)
    }
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

  // transactions

  transact<R>(fn: (tx: never) => Promise<R> | R, o: TransactOptions = {}): Promise<R> {
    if (!isTraced('commit')) return this.transactions.run(fn, o)
    let committed: CommitResult | undefined
    const onCommitted = (result: CommitResult): void => {
      committed = result
      o.onCommitted?.(result)
    }
    return traced(
      'commit',
      this.facts(undefined),
      () => this.transactions.run(fn, { ...o, onCommitted }),
      () => (committed === undefined ? {} : factsOf(committed)),
    )
  }

  // staged writes

  async stage(given?: string | StageOptions): Promise<StagedWriteHandle> {
    const o = stageOptionsOf(given)
    this.writable(o)
    await this.recovering.heal()
    return this.writes.stage(o)
  }

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
    return this.writes.resume(id)
  }

  // durability and upkeep

  async sync(): Promise<Lsn> {
    this.check()
    await this.committer.drained()
    return this.log.sync()
  }

  async flush(o: Long = {}): Promise<void> {
    this.writable(o)
    await this.recovering.heal()
    await this.committer.drained()
    await this.upkeep.flushAll(new Reporter(this.o.world, o.onProgress), o.signal)
  }

  optimize(o: OptimizeOptions = {}): Promise<OptimizeReport> {
    if (!isTraced('optimize')) return this.optimizeNow(o)
    return traced(
      'optimize',
      this.facts(undefined),
      () => this.optimizeNow(o),
      ({ lsn }) => (lsn === undefined ? {} : { lsn }),
    )
  }

  private async optimizeNow(o: OptimizeOptions): Promise<OptimizeReport> {
    this.writable(o)
    await this.recovering.heal()
    await this.committer.drained()
    return this.optimizing.optimize(o)
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
    this.transactions.abort(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
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
      this.committer.fail(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
      await super.shut()
    }
  }

  [Symbol.dispose](): void {
    if (this.closed) return
    this.log.closeSync?.()
    this.committer.fail(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
    // What needs no waiting was done; the rest (threads, descriptors) ends in the background.
    this.close().catch((cause: unknown) => this.o.world.logger.log({ level: 'warn', code: 'close.failed', cause }))
  }
}

/** The batches read already, then the rest. */
async function* joined(head: readonly ColumnBatch[], rest: Iterator<ColumnBatch> | AsyncIterator<ColumnBatch>): AsyncGenerator<ColumnBatch, undefined> {
  yield* head
  for (;;) {
    const next = await rest.next()
    if (next.done === true) return
    yield next.value
  }
}

function oneBatch(batches: readonly ColumnBatch[], columnCount: number): ColumnBatch {
  if (batches.length === 1) return batches[0]!
  const filled = batches.filter((batch) => batch.length > 0)
  if (filled.length <= 1) return filled[0] ?? batches[0] ?? { length: 0, columns: [] }
  return {
    length: filled.reduce((sum, batch) => sum + batch.length, 0),
    columns: Array.from({ length: columnCount }, (_, i) => concat(filled.map((batch) => batch.columns[i]!))),
  }
}

/** What a tracing channel is told of a commit. */
function factsOf({ lsn, writeId, rows }: CommitResult): TraceMessage {
  return { lsn, writeId, rows }
}

function tableExists(name: string): TableExistsError {
  return new TableExistsError(`table ${JSON.stringify(name)} has another definition`, { details: { table: name } })
}
