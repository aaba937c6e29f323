// engine/committer.ts: from admitted changes to acknowledged commits: one record each, one promise each, one fold per group.
//
// A change is applied to its tables when its record enters the log's queue (so that the next admission sees it) and acknowledged when the log says
// that the group is durable. The catalog follows the durable head only: it is what checkpoints are made of.
// Invariant: promises resolve in LSN order; after failed() nothing resolves.

import { assert } from '../assert.ts'
import { MAIN } from '../catalog/index.ts'
import { ClosedError, CommitOutcomeUnknownError, HistoryUnavailableError, LsnTakenError, PoisonedError, StorageError } from '../errors.ts'
import {
  type AuditFacts,
  type BranchChange,
  ByteWriter,
  type CommitRecord,
  encodeAudit,
  encodeBranch,
  encodeCommit,
  encodeFlush,
  encodeMode,
  encodeOptimize,
  encodePublish,
  encodeRollback,
  encodeSchemaRecord,
  encodeSeal,
  encodeVacuum,
  type FlushRecord,
  toHex,
  type Intent,
  type OptimizeRecord,
  type ModeRecord,
  publishedCommit,
  type PublishRecord,
  type RollbackRecord,
  type SchemaRecord,
  type TableChange,
  type VacuumRecord,
} from '../format/index.ts'
import type { CommitLog, LogRecord, Lsn } from '../log/index.ts'
import { newUlidBytes, ulidBytes, type World } from '../runtime/index.ts'
import { CHUNK_ROWS, type CommitResult, type TableState, type VectorBitmaps, type WriteOptions } from '../table/index.ts'
import { type AdmitOptions, type AdmittedChange, type ArmedWrite, type ChangeTracker, refuseWrittenSince } from './admitted.ts'
import { tableNotFound } from './bound.ts'
import type { AckOptions, CommitGate } from './commit-gate.ts'
import { refuseOutdated } from './conflict.ts'
import { commitResult } from './commit-result.ts'
import { type Decided, Decisions } from './decisions.ts'
import { applyForeign } from './foreign.ts'
import { KnownKeys } from './known-keys.ts'
import { branchNumber, NamesAhead, staleBranch, staleBranchNamed } from './names-ahead.ts'
import {
  applySchemaRecord,
  KIND_AUDIT,
  KIND_BRANCH,
  KIND_COMMIT,
  KIND_FLUSH,
  KIND_MODE,
  KIND_OPTIMIZE,
  KIND_PUBLISH,
  KIND_ROLLBACK,
  KIND_SCHEMA,
  KIND_SEAL,
  KIND_VACUUM,
  type StateRecord,
  type StoreState,
  SUPERSEDED,
} from './state.ts'
import { type CommitterHooks, expire, hasCommit, hasSeal, outcomeUnknown, type Queued, type Waiter } from './queued.ts'
import { VacuumsAhead } from './vacuums-ahead.ts'
import { creates, mergeParent, tablesOf } from './write-of.ts'

const NO_VECTORS: VectorBitmaps = new Map()

export class Committer {
  private readonly log: CommitLog
  private readonly state: StoreState
  private readonly world: World
  private readonly hooks: CommitterHooks
  private readonly tracker: ChangeTracker
  private readonly writer = new ByteWriter(16 * 1024)
  private readonly record: { kind: LogRecord['kind']; payload: Uint8Array } = { kind: KIND_COMMIT, payload: new Uint8Array(0) }
  private pending: Queued[] = []
  private pendingFrom = 0
  private readonly keys: KnownKeys
  private readonly decisions: Decisions
  /** Branches and tags, queued records included. */
  readonly names: NamesAhead
  private readonly vacuums: VacuumsAhead
  /** Commits wait for replicas, or may. */
  gate: CommitGate | undefined
  private catchingUp: Promise<void> | undefined
  /** Highest LSN of records that may be in the log or not; 0 = none. */
  private undecidedUpto = 0
  private lastTimeMs: number
  private parent: number
  private error: Error | undefined
  /** Highest LSN given out. */
  submitted: number
  /** How often queued records were taken back. */
  rewinds = 0

  constructor(log: CommitLog, state: StoreState, world: World, tracker: ChangeTracker, hooks: CommitterHooks) {
    this.log = log
    this.state = state
    this.decisions = new Decisions(state.catalog)
    this.keys = new KnownKeys(state.catalog, () => this.gate)
    this.names = new NamesAhead(state.catalog)
    this.vacuums = new VacuumsAhead(state.catalog)
    this.world = world
    this.hooks = hooks
    this.tracker = tracker
    this.lastTimeMs = state.catalog.timeMs
    this.submitted = state.applied
    this.parent = state.applied
    log.listen({
      durable: (last) => (this.gate ?? this).durable(Number(last)),
      failed: (error) => this.fail(error),
      rejected: (first, error) => {
        this.takeBack(Number(first), error)
        if (error instanceof LsnTakenError) this.catchUpSoon()
      },
      unknown: (first, last, error) => this.tellUnknown(Number(first), Number(last), error),
      foreign: () => this.catchUpSoon(),
    })
  }

  private catchUpSoon(): void {
    this.caughtUp().catch((cause: unknown) => this.world.logger.log({ level: 'warn', code: 'log.catchUpFailed', cause }))
  }

  /** Shared logs: other writers appended, or it is not known what became of a slot; nothing is admitted before caughtUp(). */
  private get isBehind(): boolean {
    return this.undecidedUpto > 0 || this.catchingUp !== undefined || Number(this.log.head) > this.submitted
  }

  /**
   * Shared logs: resolves when the state is that of the log's head again.
   *
   * @throws StorageError when the log cannot be read; CorruptionError; FencedError
   */
  async caughtUp(): Promise<void> {
    this.assertAlive()
    while (this.isBehind && this.error === undefined) {
      // Own records in flight come first: durable() or takeBack() says what became of them.
      if (this.undecidedUpto === 0 && this.inFlight > 0) return
      await (this.catchingUp ??= this.catchUp().finally(() => {
        this.catchingUp = undefined
      }))
    }
    this.assertAlive()
  }

  private async catchUp(): Promise<void> {
    const { log, state, tracker } = this
    if (this.undecidedUpto > 0) {
      await this.resolveUnknown()
      this.undecidedUpto = 0
      if (this.inFlight > 0) return
    }
    const head = log.head
    if (Number(head) <= state.applied) return
    await applyForeign(state, log, tracker, head)
    this.submitted = state.applied
    this.parent = state.applied
    this.lastTimeMs = Math.max(this.lastTimeMs, state.catalog.timeMs)
    this.hooks.durable(state.applied)
  }

  /** @throws StorageError: it cannot be told yet; of the write that waits for it nothing is in the log */
  private async resolveUnknown(): Promise<void> {
    try {
      await this.log.resolveUnknown?.()
    } catch (cause) {
      if (!(cause instanceof CommitOutcomeUnknownError)) throw cause
      throw new StorageError(`it is not known yet whether LSN ${this.undecidedUpto} is in the log, and nothing can follow it before it is`, {
        details: { op: 'get', name: 'log/', class: 'unavailable' },
        cause,
      })
    }
  }

  /** The promises say that nobody knows; the records stay until the log does. */
  private tellUnknown(first: number, last: number, cause: Error): void {
    this.undecidedUpto = last
    for (let i = this.pendingFrom; i < this.pending.length; i++) {
      const queued = this.pending[i]!
      if (queued.lsn >= first && queued.lsn <= last) queued.reject(outcomeUnknown(queued, cause))
    }
    // Nobody tells of these before somebody asks.
    for (const waiter of this.waiters.splice(0)) waiter.resolve()
  }

  /** Commits given to the log and not acknowledged yet. */
  get inFlight(): number {
    return this.pending.length - this.pendingFrom
  }

  /** Whether a commit of this id waits for its group. */
  isPending(writeIdHex: string): boolean {
    return hasCommit(this.pending, this.pendingFrom, writeIdHex)
  }

  /** The dead handle's error, or undefined. */
  get failure(): Error | undefined {
    return this.error
  }

  assertAlive(): void {
    if (this.error !== undefined) throw this.error
  }

  /** Whether a commit under this idempotency key is known: then only `replay` may answer. */
  knows(key: string): boolean {
    return this.keys.has(key)
  }

  /** The result of the same request made before under this idempotency key, or undefined. @throws IdempotencyMismatchError */
  replay(key: string, request: Uint8Array): Promise<CommitResult> | CommitResult | undefined {
    return this.keys.replay(key, request)
  }

  /** Queue one commit. Admission must have been made against the state as it is now, without a turn of the event loop between. */
  commit(
    admitted: readonly AdmittedChange[],
    rows: number,
    o: (WriteOptions & AdmitOptions) | undefined,
    request?: Uint8Array,
    armed?: ArmedWrite,
  ): Promise<CommitResult> {
    this.assertAlive()
    if (this.log.shared) this.admitShared(admitted, o)
    if (armed !== undefined) this.decisions.admit(armed.writeId, armed.baseLsn, armed.seal !== undefined)
    o?.signal?.throwIfAborted()
    for (const { table, change } of admitted) {
      this.assertThere(table)
      if (change.schemaVersion !== table.schema.version) refuseOutdated(table, change)
    }
    const sealedFor = armed?.seal === undefined ? undefined : this.numberOf(armed.seal.intent)
    const branch = admitted[0]?.table.branch ?? sealedFor ?? o?.branch ?? MAIN
    assert((sealedFor ?? branch) === branch && admitted.every(({ table }) => table.branch === branch), 'a commit changes tables of one branch')
    // Once it is in the log it must fold, here and at every open.
    for (const { change } of admitted)
      assert(change.inline === undefined || change.inline.rows <= CHUNK_ROWS, 'an inline change fits a chunk', change.inline?.rows)
    const writeId = armed?.writeId ?? (o?.writeId === undefined ? newUlidBytes(this.world) : ulidBytes(o.writeId))
    const timeMs = this.nextTime()
    const merge = armed?.seal?.intent.merge ?? o?.merge
    const commit: CommitRecord = {
      branch,
      parent: this.parent,
      timeMs,
      writeId,
      ...(o?.author === undefined ? {} : { author: o.author }),
      ...(o?.message === undefined ? {} : { message: o.message }),
      ...(o?.idempotencyKey === undefined || request === undefined ? {} : { idempotency: { key: o.idempotencyKey, request } }),
      ...(armed === undefined ? {} : { isArmed: true as const }),
      ...(merge === undefined ? {} : { merge: mergeParent(merge) }),
      changes: admitted.length === 1 ? [admitted[0]!.change] : admitted.map((each) => each.change),
    }
    this.vacuums.refuse({ kind: KIND_COMMIT, commit })
    this.writer.reset()
    const record = this.encodeCommit(commit, armed)
    const lsn = this.submit(record.publish === undefined ? KIND_COMMIT : KIND_PUBLISH, o)
    this.parent = lsn
    if (armed !== undefined) this.decisions.queue(toHex(writeId), lsn, 'published')
    this.applied(() => {
      admitted.forEach((each, i) => {
        // Of a publish what the log makes of it, so that this handle and the next one apply the same.
        const change = record.commit.changes[i]!
        each.table.apply(lsn, change, each.vectors ?? NO_VECTORS, each.keys)
        if (this.tracker.tracking) this.tracker.changed(lsn, each)
      })
    })
    const result = this.wait<CommitResult>(lsn, record, commitResult(lsn, writeId, timeMs, rows, false))
    if (armed === undefined && o?.writeId !== undefined) result.then(() => this.decisions.remember(toHex(writeId))).catch(() => undefined)
    if (commit.idempotency !== undefined) this.keys.queue(commit.idempotency.key, commit.idempotency.request, lsn, result)
    return result
  }

  /** @throws StaleBranchError, TableNotFoundError: records may not follow on it any more */
  private assertThere(table: TableState): void {
    const view = this.state.view(table.branch)
    if (view === undefined || !this.names.isLive(table.branch)) throw staleBranch(this.state.catalog.branches, table.branch)
    // One whose record was taken back may have left its number to another.
    if (view.tables.get(table.id) !== table || table.isDropped) throw tableNotFound(table.name)
  }

  /** The branch that a write was prepared for. @throws StaleBranchError */
  numberOf(intent: Intent): number {
    const number = branchNumber(this.state.catalog.branches, intent)
    if (number !== undefined && this.names.isLive(number)) return number
    throw staleBranchNamed(intent.branch, intent.branchId)
  }

  /** Whether a write of this id is sealed, decided, queued, or among the last commits of this handle whose ids were given. */
  hasWrite(writeIdHex: string): boolean {
    return this.decisions.knows(writeIdHex) || this.isPending(writeIdHex)
  }

  private encodeCommit(commit: CommitRecord, armed: ArmedWrite | undefined): StateRecord & { kind: typeof KIND_COMMIT } {
    if (armed?.seal === undefined) {
      encodeCommit(this.writer, commit)
      return { kind: KIND_COMMIT, commit }
    }
    const { seal, generations = [], recovery } = armed
    const publish: PublishRecord = { sealLsn: seal.lsn, generations, commit, ...(recovery === undefined ? {} : { recovery }) }
    encodePublish(this.writer, publish)
    return { kind: KIND_COMMIT, commit: publishedCommit(seal, publish), publish }
  }

  /** The outcome that is durable or queued of a write with an Intent. */
  decisionOf(writeIdHex: string): Decided | undefined {
    return this.decisions.of(writeIdHex)
  }

  /** Queue a seal: from here on recovery knows the write. A second one of the same write replaces the first. */
  seal(intent: Intent, changes: readonly TableChange[]): Promise<number> {
    this.assertAlive()
    const writeId = ulidBytes(intent.writeId)
    const isAgain = this.state.catalog.outcomes.pending.has(toHex(writeId))
    this.decisions.admit(writeId, Number(intent.baseLsn), isAgain)
    const record = { timeMs: this.nextTime(), writeId, intent, changes }
    this.writer.reset()
    encodeSeal(this.writer, record)
    const lsn = this.submit(KIND_SEAL)
    return this.wait(lsn, { kind: KIND_SEAL, seal: record }, lsn)
  }

  /** Queue the roll-back of a write; `sealLsn` 0: it was not sealed. @throws FencedError when it is decided already */
  rollback(rollback: Omit<RollbackRecord, 'timeMs'>, baseLsn: number): Promise<number> {
    this.assertAlive()
    this.decisions.admit(rollback.writeId, baseLsn, rollback.sealLsn > 0)
    const record: RollbackRecord = { ...rollback, timeMs: this.nextTime() }
    this.writer.reset()
    encodeRollback(this.writer, record)
    const lsn = this.submit(KIND_ROLLBACK)
    this.decisions.queue(toHex(record.writeId), lsn, 'rolledBack')
    return this.wait(lsn, { kind: KIND_ROLLBACK, rollback: record }, lsn)
  }

  /** Queue a note of what repair did. */
  audit(facts: AuditFacts): Promise<number> {
    this.assertAlive()
    const record = { timeMs: this.nextTime(), id: newUlidBytes(this.world), facts }
    this.writer.reset()
    encodeAudit(this.writer, record)
    const lsn = this.submit(KIND_AUDIT)
    return this.wait(lsn, { kind: KIND_AUDIT, audit: record }, lsn)
  }

  /** Whether a vacuum, in the log or in its queue, has named the file. */
  isDead(name: string): boolean {
    return this.vacuums.has(name)
  }

  /** Records that were queued and are not in the catalog yet. */
  *onTheirWay(): Generator<StateRecord, undefined> {
    for (let i = this.pendingFrom; i < this.pending.length; i++) yield this.pending[i]!.record
  }

  /** Queue the names of a vacuum: they are dead for everything that is admitted from here on. */
  vacuum(vacuum: Omit<VacuumRecord, 'timeMs'>): Promise<number> {
    this.assertAlive()
    const record: VacuumRecord = { ...vacuum, timeMs: this.nextTime() }
    this.writer.reset()
    encodeVacuum(this.writer, record)
    const lsn = this.submit(KIND_VACUUM)
    this.vacuums.queue(lsn, record)
    return this.wait(lsn, { kind: KIND_VACUUM, vacuum: record }, lsn)
  }

  /** Queue a change of the acknowledgement mode. */
  mode(change: Omit<ModeRecord, 'timeMs' | 'id'>, gate: CommitGate): Promise<number> {
    this.assertAlive()
    const record: ModeRecord = { ...change, timeMs: this.nextTime(), id: newUlidBytes(this.world) }
    this.writer.reset()
    encodeMode(this.writer, record)
    const lsn = this.submit(KIND_MODE, { allowIndeterminate: change.forced })
    gate.queued(lsn, record)
    return this.wait(lsn, { kind: KIND_MODE, mode: record }, lsn)
  }

  /** Queue a flush; the caller has checked it against the state as it is now. */
  flush(table: TableState, flush: Omit<FlushRecord, 'timeMs' | 'writeId' | 'branch'> & { readonly writeId?: Uint8Array }): Promise<number> {
    this.assertAlive()
    this.assertThere(table)
    const record: FlushRecord = { ...flush, branch: table.branch, writeId: flush.writeId ?? newUlidBytes(this.world), timeMs: this.nextTime() }
    this.vacuums.refuse({ kind: KIND_FLUSH, flush: record })
    this.writer.reset()
    encodeFlush(this.writer, record)
    const lsn = this.submit(KIND_FLUSH)
    this.applied(() => table.applyFlush(lsn, record))
    return this.wait(lsn, { kind: KIND_FLUSH, flush: record }, lsn)
  }

  /** Queue a change of names, which the caller has checked against `names` as they are now. @returns its LSN, and the id of its record */
  branch(change: BranchChange): Promise<{ readonly lsn: number; readonly id: Uint8Array }> {
    this.assertAlive()
    if (change.op === 'create') this.refuseGone(change.parent, change.from)
    if (change.op === 'tag') this.refuseGone(change.branch, change.lsn)
    const record = { timeMs: this.nextTime(), id: newUlidBytes(this.world), change }
    this.writer.reset()
    encodeBranch(this.writer, record)
    const lsn = this.submit(KIND_BRANCH)
    this.names.queue(lsn, change)
    return this.wait(lsn, { kind: KIND_BRANCH, branch: record }, { lsn, id: record.id })
  }

  /** @throws HistoryUnavailableError: files of that version may be gone, and nothing holds it yet */
  private refuseGone(branch: number, lsn: number): void {
    const { branches } = this.state.catalog
    const { floor } = this.vacuums
    if (lsn >= floor || branches.holds(branch, lsn)) return
    throw new HistoryUnavailableError(`LSN ${lsn} is below the floor ${floor}: a vacuum took what it needs`, {
      details: { asked: BigInt(lsn), floor: BigInt(floor) },
    })
  }

  /**
   * Queue an optimize of these tables, all of one branch; the caller has checked it against the state as it is now, in this very step.
   *
   * @throws FencedError (scope write) when the write is decided already
   */
  optimize(tables: readonly TableState[], optimize: Omit<OptimizeRecord, 'timeMs' | 'branch'>, baseLsn: number): Promise<number> {
    this.assertAlive()
    for (const table of tables) this.assertThere(table)
    const { branch } = tables[0]!
    const id = toHex(optimize.writeId)
    this.decisions.admit(optimize.writeId, baseLsn, optimize.sealLsn > 0)
    const record: OptimizeRecord = { ...optimize, branch, timeMs: this.nextTime() }
    this.vacuums.refuse({ kind: KIND_OPTIMIZE, optimize: record })
    this.writer.reset()
    encodeOptimize(this.writer, record)
    const lsn = this.submit(KIND_OPTIMIZE)
    this.decisions.queue(id, lsn, 'published')
    this.applied(() => {
      for (const part of record.parts) tables.find((table) => table.id === part.tableId)!.applyOptimize(lsn, part)
    })
    return this.wait(lsn, { kind: KIND_OPTIMIZE, optimize: record }, lsn)
  }

  /** Whether a write of this branch other than this one is sealed, durably or not yet, and undecided. */
  hasSealed(branchId: string, exceptHex?: string): boolean {
    for (const [id, { intent }] of this.state.catalog.outcomes.pending) {
      if (id !== exceptHex && intent.branchId === branchId && this.decisions.of(id) === undefined) return true
    }
    return hasSeal(this.pending, this.pendingFrom, branchId, exceptHex)
  }

  /** Queue definitions: new ones, next versions, dropped tables. Admission knows them at once. */
  schema(change: Omit<SchemaRecord, 'timeMs' | 'writeId'>): Promise<number> {
    this.assertAlive()
    const view = this.state.view(change.branch ?? MAIN)
    assert(view !== undefined, 'definitions change of a branch that is in memory', change.branch)
    const record: SchemaRecord = { timeMs: this.nextTime(), writeId: newUlidBytes(this.world), ...change }
    this.writer.reset()
    encodeSchemaRecord(this.writer, record)
    const lsn = this.submit(KIND_SCHEMA)
    this.applied(() => applySchemaRecord(view, lsn, record))
    return this.wait(lsn, { kind: KIND_SCHEMA, schema: record }, lsn)
  }

  /** Resolves when everything queued before is acknowledged, or taken back. @throws StorageError when that cannot be told */
  async drained(): Promise<void> {
    for (const { submitted, rewinds } = this; this.inFlight > 0 && this.pending[this.pendingFrom]!.lsn <= submitted && this.rewinds === rewinds;) {
      if (this.undecidedUpto > 0) await this.caughtUp()
      else {
        this.gate?.waiting()
        const startedMs = this.world.clock.monoMs()
        await new Promise<void>((resolve, reject) => this.waiters.push({ lsn: submitted, resolve, reject, startedMs }))
      }
    }
    await this.gate?.settled()
  }

  private readonly waiters: Waiter[] = []

  /** Who has waited since `beforeMs` or longer is told so; the records stay. @returns since when the next one waits */
  expire(beforeMs: number, error: (lsn: number) => Error): number | undefined {
    return expire(this.pending, this.pendingFrom, this.waiters, beforeMs, error)
  }

  /** @throws LsnTakenError when the state is behind the log; ConflictError when somebody wrote a key of it since its first try */
  private admitShared(admitted: readonly AdmittedChange[], o: (WriteOptions & AdmitOptions) | undefined): void {
    if (this.isBehind) throw behind(this.log.head)
    if (o?.conflictsSince === undefined) return
    refuseWrittenSince(this.tracker, admitted, o.conflictsSince)
  }

  private submit(kind: LogRecord['kind'], o?: AckOptions): number {
    this.gate?.admit(o)
    this.record.kind = kind
    this.record.payload = this.writer.bytes.subarray(0, this.writer.at)
    if (this.log.shared && this.isBehind) throw behind(this.log.head)
    const { last } = this.log.submit([this.record], this.log.shared ? { expect: BigInt(this.submitted) as Lsn } : undefined)
    this.submitted = Number(last)
    return this.submitted
  }

  /** The record is queued: if its change cannot be applied, this handle no longer knows what the log says, and must not go on. */
  private applied(apply: () => void): void {
    try {
      apply()
    } catch (cause) {
      const error = new PoisonedError(`a queued record could not be applied: ${cause instanceof Error ? cause.message : String(cause)}`, { details: {}, cause })
      this.fail(error)
      throw error
    }
  }

  private wait<T>(lsn: number, record: StateRecord, value: T): Promise<T> {
    const startedMs = this.world.clock.monoMs()
    this.gate?.waiting()
    return new Promise<T>((resolve, reject) => {
      this.pending.push({ lsn, record, resolve: resolve as (value: never) => void, reject, value, startedMs })
    })
  }

  /** max(now, time of the record before): times in records never decrease. */
  private nextTime(): number {
    const now = Math.floor(this.world.clock.nowMs())
    if (now > this.lastTimeMs) this.lastTimeMs = now
    return this.lastTimeMs
  }

  /** Records up to `last` are committed. */
  durable(last: number): void {
    if (this.error !== undefined) return
    const { pending, state } = this
    let at = this.pendingFrom
    const from = at
    const redefined: [lsn: number, names: readonly string[]][] = []
    for (; at < pending.length && pending[at]!.lsn <= last; at++) {
      const { lsn, record } = pending[at]!
      assert(record.kind !== SUPERSEDED, 'what was admitted is not superseded', lsn)
      if (record.kind === KIND_SCHEMA) redefined.push([lsn, tablesOf(state, record.schema)])
      state.fold(lsn, record)
    }
    this.decisions.settle(last)
    this.names.settle(last)
    this.vacuums.settle(last)
    this.keys.settle(last)
    this.tracker.settle?.(last)
    this.hooks.durable(last)
    const now = this.world.clock.monoMs()
    for (let i = from; i < at; i++) {
      const { lsn, record, resolve, value, startedMs } = pending[i]!
      resolve(value as never)
      if (record.kind === KIND_COMMIT)
        this.hooks.committed({ lsn, writeId: record.commit.writeId, branch: record.commit.branch, changes: record.commit.changes, durationMs: now - startedMs })
    }
    for (const [lsn, names] of redefined) this.hooks.schemaChanged(lsn, names)
    this.pendingFrom = at
    if (at === pending.length) {
      this.pending = []
      this.pendingFrom = 0
    } else if (at > 4096) {
      this.pending = pending.slice(at)
      this.pendingFrom = 0
    }
    while (this.waiters.length > 0 && this.waiters[0]!.lsn <= last) this.waiters.shift()!.resolve()
  }

  /** No room on the disk: what was queued from `first` on was not written, its LSNs are given again, and the handle goes on. */
  private takeBack(first: number, error: Error): void {
    if (this.error !== undefined) return
    const { pending, state } = this
    let at = this.pendingFrom
    while (at < pending.length && pending[at]!.lsn < first) at++
    const refused = pending.splice(at)
    if (refused.length > 0) this.rewinds++
    this.decisions.takeBack(first)
    this.names.takeBack(first)
    this.vacuums.takeBack(first)
    this.keys.takeBack(first)
    this.gate?.takeBack(first)
    this.tracker.takeBack?.(first)
    if (this.undecidedUpto >= first) this.undecidedUpto = 0
    state.takeBack(first, (id) => pending.some(({ record }) => creates(record, id)))
    this.submitted = first - 1
    this.parent = Math.min(this.parent, this.submitted)
    for (const { reject } of refused) reject(error)
    for (const waiter of this.waiters) waiter.lsn = Math.min(waiter.lsn, this.submitted)
    if (this.inFlight === 0) for (const waiter of this.waiters.splice(0)) waiter.resolve()
  }

  /** No further commit: the log failed, or the store is closing. */
  fail(error: Error): void {
    if (this.error !== undefined) return
    this.error = error
    for (let i = this.pendingFrom; i < this.pending.length; i++) this.pending[i]!.reject(error)
    this.pending = []
    this.pendingFrom = 0
    for (const waiter of this.waiters.splice(0)) waiter.reject(error)
    if (!(error instanceof ClosedError)) this.hooks.failed(error)
  }
}

function behind(head: Lsn): LsnTakenError {
  return new LsnTakenError(`other writers appended up to LSN ${head}`, { details: { head } })
}
