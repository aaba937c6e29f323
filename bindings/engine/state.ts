// engine/state.ts: a store's state at one LSN, made by folding the log from a checkpoint: catalog, memory layers, hidden rows.
//
// The one road from log to state: an open, a follower, time travel and the change feed all walk it.
// Its tables are those of main, or of the branch that it was loaded for; beside them a live state keeps those of branches in use (branch-state.ts).
// Invariant: after `applied = n` everything in records 1..n is in it and nothing else.

import { IntentVersionError, StoreTooNewError, VarveError } from '../errors.ts'
import { type BranchPath, Catalog, type CatalogTable, type Checkpoint, MAIN, MAIN_PATH } from '../catalog/index.ts'
import {
  type AuditRecord,
  type BranchRecord,
  ByteReader,
  type CommitRecord,
  decodeAudit,
  decodeBranch,
  decodeCommit,
  DecodeError,
  decodeEpochRecord,
  decodeFlush,
  decodeMode,
  decodeOptimize,
  decodePublish,
  decodeRollback,
  decodeSchemaRecord,
  decodeSeal,
  decodeVacuum,
  type DeletionVectorRef,
  type FlushRecord,
  FRAME_HEADER_BYTES,
  frameKind,
  InlineCommit,
  type ModeRecord,
  toHex,
  type OptimizeRecord,
  publishedCommit,
  type PublishRecord,
  type RollbackRecord,
  type SchemaRecord,
  type SealRecord,
  type TableChange,
  type TableSchema,
  type VacuumRecord,
} from '../format/index.ts'
import type { CommitLog, LogBatch, Lsn } from '../log/index.ts'
import { type TableContext, TableState } from '../table/index.ts'
import { BranchState, type StateView } from './branch-state.ts'
import { contradiction } from './contradiction.ts'
import { Replay } from './replay.ts'

export const KIND_EPOCH = 1
export const KIND_COMMIT = 2
export const KIND_SCHEMA = 3
export const KIND_SEAL = 4
export const KIND_PUBLISH = 5
export const KIND_ROLLBACK = 6
export const KIND_FLUSH = 7
export const KIND_OPTIMIZE = 8
export const KIND_BRANCH = 9
export const KIND_VACUUM = 10
export const KIND_AUDIT = 11
export const KIND_MODE = 12
/** No kind of a frame: a decision that came after the outcome of its write. */
export const SUPERSEDED = 0
const LENGTH_OFFSET = 8

export type StateRecord =
  | { readonly kind: typeof KIND_EPOCH; readonly epoch: number; readonly exclusive: boolean }
  /** `publish`: the commit is what this record made of its seal. */
  | { readonly kind: typeof KIND_COMMIT; readonly commit: CommitRecord; readonly publish?: PublishRecord }
  | { readonly kind: typeof KIND_SCHEMA; readonly schema: SchemaRecord }
  | { readonly kind: typeof KIND_FLUSH; readonly flush: FlushRecord }
  | { readonly kind: typeof KIND_OPTIMIZE; readonly optimize: OptimizeRecord }
  | { readonly kind: typeof KIND_SEAL; readonly seal: SealRecord }
  /** As it stands in the log; a state makes a commit of it. */
  | { readonly kind: typeof KIND_PUBLISH; readonly publish: PublishRecord }
  | { readonly kind: typeof KIND_ROLLBACK; readonly rollback: RollbackRecord }
  | { readonly kind: typeof KIND_BRANCH; readonly branch: BranchRecord }
  | { readonly kind: typeof KIND_VACUUM; readonly vacuum: VacuumRecord }
  | { readonly kind: typeof KIND_AUDIT; readonly audit: AuditRecord }
  | { readonly kind: typeof KIND_MODE; readonly mode: ModeRecord }
  | { readonly kind: typeof SUPERSEDED; readonly timeMs: number; readonly record: StateRecord }

export interface StateContext extends TableContext {
  /** Bitmap of the rows in a deletion vector file, verified. */
  loadVector(vector: DeletionVectorRef): Promise<Uint8Array>
}

/** Records in log order. `records`: what they are, of those that somebody has decoded already. */
export type RecordBatch = Pick<LogBatch, 'bytes' | 'offsets'> & {
  readonly first: number | bigint
  readonly records?: readonly (StateRecord | undefined)[] | undefined
}

/** Records that change the structures of tables. */
const SETTLES: ReadonlySet<number> = new Set([KIND_COMMIT, KIND_FLUSH, KIND_SCHEMA, KIND_OPTIMIZE])
const NO_VECTORS: ReadonlyMap<string, Uint8Array> = new Map()

/** `isIdle`: asked before and after each record; true: this one need not be told. */
export interface Observer {
  (lsn: number, record: StateRecord, applied: boolean): void | Promise<void>
  readonly isIdle?: () => boolean
}

export class StoreState implements StateView {
  readonly catalog: Catalog
  readonly tables: Map<number, TableState> = new Map()
  readonly context: StateContext
  /** Whose records make up `tables`. */
  private readonly path: BranchPath
  /** Tables of other branches, by number. */
  private readonly attached = new Map<number, BranchState>()
  /** Log bytes that load() had to read: what the next open reads too, until there is a newer checkpoint. */
  replayedBytes = 0
  /** Called for each decoded record before and after it is applied; for the change feed. */
  observer: Observer | undefined
  /** Told of every record whose files may matter, once it is in the catalog: a vacuum that makes its plan. */
  folded: ((record: StateRecord) => void) | undefined

  private constructor(context: StateContext, catalog: Catalog, path: BranchPath) {
    this.context = context
    this.catalog = catalog
    this.path = path
  }

  /**
   * The state at `end` (default: the head), from the checkpoint, or from the start of the log.
   *
   * @param path  of the branch whose tables it has; the checkpoint has main's, so it is not above the first part of the path
   */
  static async load(
    context: StateContext,
    log: CommitLog,
    checkpoint: Checkpoint | undefined,
    end?: number,
    path: BranchPath = MAIN_PATH,
  ): Promise<StoreState> {
    const catalog = checkpoint?.catalog ?? new Catalog()
    const state = new StoreState(context, catalog, path)
    for (const table of catalog.tables.values()) state.tables.set(table.id, await restoreTable(context, table, catalog.lsn))
    const from = catalog.replayFrom
    const inlineFrom = new Map([...catalog.tables.values()].map((table) => [table.id, table.inlineFrom]))
    const folded = catalog.lsn
    for await (const batch of log.read(BigInt(from) as Lsn, end === undefined ? {} : { end: BigInt(end) as Lsn })) {
      await state.applyBatch(batch, folded, inlineFrom)
      state.replayedBytes += batch.bytes.length
    }
    for (const table of state.tables.values()) table.branch = state.branch
    return state
  }

  /** Number of the branch whose tables it has; 0 = main. */
  get branch(): number {
    return this.path.at(-1)!.branch
  }

  /** The tables of a branch; undefined: they are not in memory. */
  view(branch: number): StateView | undefined {
    return branch === this.branch ? this : this.attached.get(branch)
  }

  /** The tables that a record of the branch at `lsn` changes. */
  viewAt(lsn: number, branch: number): StateView | undefined {
    return branch === this.path.find(({ upto }) => lsn <= upto)!.branch ? this : this.attached.get(branch)
  }

  /** Tables of every branch that are in memory. */
  *everyTable(): Generator<TableState, undefined> {
    yield* this.tables.values()
    for (const { tables } of this.attached.values()) yield* tables.values()
  }

  /** Branches beside its own, those attached first first. */
  views(): IterableIterator<BranchState> {
    return this.attached.values()
  }

  /** Keep the tables of another branch from here on: `loaded` is that branch at the very LSN of this state, and is used up. */
  attach(loaded: StoreState): BranchState {
    const view = new BranchState(this, loaded)
    this.attached.set(view.branch, view)
    return view
  }

  detach(branch: number): void {
    this.attached.get(branch)?.stop()
    this.attached.delete(branch)
  }

  /** Without rows: resolve() and fold() tell what records make of the catalog, which it takes over. */
  static ofCatalog(context: StateContext, catalog: Catalog, path: BranchPath = MAIN_PATH): StoreState {
    return new StoreState(context, catalog, path)
  }

  get applied(): number {
    return this.catalog.lsn
  }

  byName(name: string): TableState | undefined {
    for (const table of this.tables.values()) if (table.name === name && !table.isDropped) return table
    return undefined
  }

  /** The id of the next new table; queued ones are counted. */
  get nextTableId(): number {
    let next = this.catalog.nextTableId
    for (const id of this.tables.keys()) next = Math.max(next, id + 1)
    return next
  }

  /** Records up to `head` are durable: what only older versions show goes. */
  settle(head: number): void {
    settleTables(this.tables, head)
    for (const { tables } of this.attached.values()) settleTables(tables, head)
  }

  /** Records from `first` on never were; `isComing`: one that is still queued makes the table. */
  takeBack(first: number, isComing: (tableId: number) => boolean): void {
    for (const { tables, catalog } of [this, ...this.attached.values()]) {
      for (const [id, table] of tables) {
        if (!catalog.tables.has(id) && !isComing(id)) tables.delete(id)
        else table.takeBack(first)
      }
    }
  }

  /** Apply a batch; records at or below `folded` (in the checkpoint already) only give their inline rows. */
  async applyBatch(batch: RecordBatch, folded: number = this.applied, inlineFrom?: ReadonlyMap<number, number>): Promise<void> {
    let lsn = Number(batch.first)
    const { observer } = this
    const wants = (): boolean => observer !== undefined && observer.isIdle?.() !== true
    const replay = observer === undefined || observer.isIdle !== undefined ? new Replay(batch.bytes) : undefined
    const inline = new InlineCommit()
    try {
      for (let i = 0; i < batch.offsets.length; i++) {
        const known = batch.records?.[i]
        const isTaken =
          known === undefined &&
          lsn > folded &&
          replay !== undefined &&
          this.folded === undefined &&
          !wants() &&
          readInline(inline, batch.bytes, batch.offsets[i]!) &&
          this.replayCommit(lsn, inline, replay)
        if (isTaken) {
          lsn++
          continue
        }
        const found = known ?? decodeRecord(batch.bytes, batch.offsets[i]!, lsn)
        const record = lsn <= folded ? found : this.resolve(lsn, found)
        if (lsn <= folded) {
          const commit = this.oldCommit(lsn, record)
          if (commit !== undefined) this.applyOldRows(lsn, commit, inlineFrom, replay)
        } else if (replay === undefined || record.kind !== KIND_COMMIT || wants() || !this.replayCommit(lsn, record.commit, replay)) {
          finishRuns(replay, lsn)
          if (wants()) await observer!(lsn, record, false)
          const vectors = this.viewAt(lsn, branchOf(record)) === undefined ? undefined : vectorsOf(record)
          this.applyRecord(lsn, record, vectors === undefined ? NO_VECTORS : await this.loadVectors(vectors))
          if (wants()) await observer!(lsn, record, true)
        }
        lsn++
      }
    } finally {
      // Also when a record cannot be read: the catalog has folded the ones before it, and their rows belong with it.
      finishRuns(replay, lsn)
    }
  }

  /** What a record is in this state: a publish becomes the commit that it makes of its seal, a decision that came too late becomes nothing. */
  resolve(lsn: number, record: StateRecord): StateRecord {
    const { outcomes } = this.catalog
    if (record.kind === KIND_COMMIT) return record.commit.isArmed === true ? this.unlessDecided(record, record.commit.writeId, record.commit.timeMs) : record
    if (record.kind === KIND_FLUSH) return this.unlessDecided(record, record.flush.writeId, record.flush.timeMs)
    if (record.kind === KIND_OPTIMIZE) return this.unlessDecided(record, record.optimize.writeId, record.optimize.timeMs)
    if (record.kind !== KIND_PUBLISH) return record
    const { commit, sealLsn } = record.publish
    const id = toHex(commit.writeId)
    if (outcomes.of(id) !== undefined) return { kind: SUPERSEDED, timeMs: commit.timeMs, record }
    const seal = outcomes.pending.get(id)
    if (seal === undefined || seal.lsn !== sealLsn)
      throw contradiction(lsn, new DecodeError(`it publishes seal ${sealLsn}, the pending one is ${seal?.lsn ?? 'none'}`, 0))
    return { kind: KIND_COMMIT, commit: publishedCommit(seal, record.publish), publish: record.publish }
  }

  private unlessDecided(record: StateRecord, writeId: Uint8Array, timeMs: number): StateRecord {
    return this.catalog.outcomes.of(toHex(writeId)) === undefined ? record : { kind: SUPERSEDED, timeMs, record }
  }

  /** The commit of a record that a checkpoint has folded, unless it came after the outcome of its write. */
  private oldCommit(lsn: number, record: StateRecord): CommitRecord | undefined {
    const commit = record.kind === KIND_COMMIT ? record.commit : record.kind === KIND_PUBLISH ? record.publish.commit : undefined
    if (commit === undefined || (record.kind === KIND_COMMIT && commit.isArmed !== true)) return commit
    const outcome = this.catalog.outcomes.of(toHex(commit.writeId))
    return outcome === undefined || outcome.lsn === lsn ? commit : undefined
  }

  private applyOldRows(lsn: number, commit: CommitRecord, inlineFrom: ReadonlyMap<number, number> | undefined, replay: Replay | undefined): void {
    if (this.viewAt(lsn, commit.branch) !== this) return
    for (const change of commit.changes) {
      const from = inlineFrom?.get(change.tableId) ?? 0
      const table = this.tables.get(change.tableId)
      if (from === 0 || lsn < from || table === undefined) continue
      if (replay?.take(table, lsn, rowsOnly(change)) !== true) table.applyRows(lsn, change)
    }
  }

  /** Fold now, add its rows with those of its neighbours. False, and nothing done: it must be applied by itself. */
  private replayCommit(lsn: number, commit: CommitRecord, replay: Replay): boolean {
    const view = this.viewAt(lsn, commit.branch)
    if (view !== undefined) {
      if (commit.changes.length !== 1) return false
      const change = commit.changes[0]!
      const table = view.tables.get(change.tableId)
      if (table === undefined || !replay.take(table, lsn, change)) return false
    }
    try {
      this.catalog.foldCommit(lsn, commit, view?.catalog.tables ?? null)
    } catch (cause) {
      throw contradiction(lsn, cause)
    }
    this.folded?.({ kind: KIND_COMMIT, commit })
    return true
  }

  applyRecord(lsn: number, record: StateRecord, vectors: ReadonlyMap<string, Uint8Array>): void {
    try {
      this.fold(lsn, record)
      const view = this.viewAt(lsn, branchOf(record))
      if (view === undefined) return
      const { tables } = view
      if (record.kind === KIND_COMMIT) for (const change of record.commit.changes) tableOf(view, change.tableId, lsn).apply(lsn, change, vectors)
      if (record.kind === KIND_SCHEMA) applySchemaRecord(view, lsn, record.schema)
      if (record.kind === KIND_FLUSH) tables.get(record.flush.tableId)!.applyFlush(lsn, record.flush)
      if (record.kind === KIND_OPTIMIZE) for (const part of record.optimize.parts) tables.get(part.tableId)!.applyOptimize(lsn, part)
      if (SETTLES.has(record.kind)) settleTables(tables, lsn)
    } catch (cause) {
      if (cause instanceof VarveError && cause.kind !== 'corrupt') throw cause
      throw contradiction(lsn, cause)
    }
  }

  /** Advance the catalog alone: the tables of a live writer have the change already. */
  fold(lsn: number, record: StateRecord): void {
    const { catalog } = this
    const tables = this.viewAt(lsn, branchOf(record))?.catalog.tables ?? null
    if (record.kind === KIND_COMMIT) catalog.foldCommit(lsn, record.commit, tables)
    else if (record.kind === KIND_SCHEMA) catalog.foldSchema(lsn, record.schema, tables)
    else if (record.kind === KIND_FLUSH) catalog.foldFlush(lsn, record.flush, tables)
    else if (record.kind === KIND_OPTIMIZE) catalog.foldOptimize(lsn, record.optimize, tables)
    else if (record.kind === KIND_BRANCH) this.foldBranch(lsn, record.branch)
    else if (record.kind === KIND_EPOCH) catalog.foldEpoch(lsn, record.epoch, record.exclusive)
    else if (record.kind === KIND_SEAL) catalog.foldSeal(lsn, record.seal)
    else if (record.kind === KIND_ROLLBACK) catalog.foldRollback(lsn, record.rollback)
    else if (record.kind === KIND_VACUUM) catalog.foldVacuum(lsn, record.vacuum)
    else if (record.kind === KIND_AUDIT) catalog.foldAudit(lsn, record.audit.timeMs)
    else if (record.kind === KIND_MODE) catalog.foldMode(lsn, record.mode)
    else if (record.kind === SUPERSEDED) catalog.foldSuperseded(lsn, record.timeMs)
    else throw new DecodeError('a publish that was not resolved', 0)
    this.folded?.(record)
  }

  private foldBranch(lsn: number, record: BranchRecord): void {
    this.catalog.foldBranch(lsn, record)
    if (record.change.op === 'delete') this.detach(record.change.branch)
  }

  async loadVectors(refs: readonly DeletionVectorRef[]): Promise<ReadonlyMap<string, Uint8Array>> {
    const bitmaps = await Promise.all(refs.map((ref) => this.context.loadVector(ref)))
    return new Map(refs.map((ref, i) => [ref.digest, bitmaps[i]!]))
  }
}

/** The branch whose tables a record changes; main where it changes none. */
export function branchOf(record: StateRecord): number {
  if (record.kind === KIND_COMMIT) return record.commit.branch
  if (record.kind === KIND_SCHEMA) return record.schema.branch ?? MAIN
  if (record.kind === KIND_OPTIMIZE) return record.optimize.branch
  return record.kind === KIND_FLUSH ? record.flush.branch : MAIN
}

/** A table that record `lsn` brings to a branch. */
function createTable({ context, branch }: StateView, schema: TableSchema, lsn: number): TableState {
  const table = TableState.create(context, schema, lsn)
  table.branch = branch
  return table
}

/** The id of the next new table; queued ones are counted. */
export function nextTableId({ catalog, tables }: StateView): number {
  let next = catalog.nextTableId
  for (const id of tables.keys()) next = Math.max(next, id + 1)
  return next
}

/** What a schema record does to the tables; the catalog is the fold's. */
export function applySchemaRecord(view: StateView, lsn: number, { create, alter = [], drop = [] }: Pick<SchemaRecord, 'create' | 'alter' | 'drop'>): void {
  for (const schema of create) view.tables.set(schema.tableId, createTable(view, schema, lsn))
  for (const schema of alter) tableOf(view, schema.tableId, lsn).alter(lsn, schema)
  for (const id of drop) tableOf(view, id, lsn).drop(lsn)
}

function settleTables(tables: Map<number, TableState>, head: number): void {
  for (const [id, table] of tables) {
    table.settle(head)
    if (table.isGone) tables.delete(id)
  }
}

function tableOf({ tables }: StateView, tableId: number, lsn: number): TableState {
  const table = tables.get(tableId)
  if (table === undefined) throw new DecodeError(`record ${lsn} changes table ${tableId}, which is not there`, 0)
  return table
}

async function restoreTable(context: StateContext, table: CatalogTable, lsn: number): Promise<TableState> {
  const refs = table.fragments.flatMap((fragment) => (fragment.vector === undefined ? [] : [fragment.vector]))
  const bitmaps = await Promise.all(refs.map((ref) => context.loadVector(ref)))
  return TableState.restore(context, table, lsn, new Map(refs.map((ref, i) => [ref.digest, bitmaps[i]!])))
}

function finishRuns(replay: Replay | undefined, lsn: number): void {
  try {
    replay?.finish()
  } catch (cause) {
    throw contradiction(lsn, cause)
  }
}

/** What of an old change still matters: the rows it brought and the rows of the memory layer it hid. */
function rowsOnly(change: TableChange): TableChange {
  const { tableId, schemaVersion, inserted, updated, deleted, inline, hideRows } = change
  return {
    tableId,
    schemaVersion,
    op: 'upsert',
    inserted,
    updated,
    deleted,
    ...(inline === undefined ? {} : { inline }),
    ...(hideRows === undefined ? {} : { hideRows }),
  }
}

function vectorsOf(record: StateRecord): readonly DeletionVectorRef[] | undefined {
  if (record.kind !== KIND_COMMIT) return undefined
  let vectors: DeletionVectorRef[] | undefined
  for (const change of record.commit.changes) if (change.deletionVectors !== undefined) (vectors ??= []).push(...change.deletionVectors)
  return vectors
}

/** Reads the frame at `offset`, where it is a commit of that kind. False: decodeRecord says what it is. */
export function readInline(commit: InlineCommit, bytes: Uint8Array, offset: number): boolean {
  if (frameKind(bytes, offset) !== KIND_COMMIT) return false
  const start = offset + FRAME_HEADER_BYTES
  return commit.read(bytes, start, start + u32(bytes, offset + LENGTH_OFFSET))
}

/** Decode the frame at `offset`. @throws CorruptionError, StoreTooNewError for a kind this version does not know */
export function decodeRecord(bytes: Uint8Array, offset: number, lsn: number): StateRecord {
  const kind = frameKind(bytes, offset)
  const length = u32(bytes, offset + LENGTH_OFFSET)
  const start = offset + FRAME_HEADER_BYTES
  const r = new ByteReader(bytes, start, start + length)
  try {
    switch (kind) {
      case KIND_COMMIT:
        return { kind, commit: decodeCommit(r) }
      case KIND_SCHEMA:
        return { kind, schema: decodeSchemaRecord(r) }
      case KIND_FLUSH:
        return { kind, flush: decodeFlush(r) }
      case KIND_OPTIMIZE:
        return { kind, optimize: decodeOptimize(r) }
      case KIND_EPOCH: {
        const epoch = decodeEpochRecord(bytes.subarray(start, start + length))
        return { kind, epoch: epoch.epoch, exclusive: epoch.mode === 'exclusive' }
      }
      case KIND_SEAL:
        return { kind, seal: decodeSeal(r, lsn) }
      case KIND_PUBLISH:
        return { kind, publish: decodePublish(r) }
      case KIND_ROLLBACK:
        return { kind, rollback: decodeRollback(r) }
      case KIND_BRANCH:
        return { kind, branch: decodeBranch(r) }
      case KIND_VACUUM:
        return { kind, vacuum: decodeVacuum(r) }
      case KIND_AUDIT:
        return { kind, audit: decodeAudit(r) }
      case KIND_MODE:
        return { kind, mode: decodeMode(r) }
      default:
        throw new StoreTooNewError(`record ${lsn} has kind ${kind}, which this version does not know`, {
          details: {
            found: kind,
            supported: [
              KIND_EPOCH,
              KIND_COMMIT,
              KIND_SCHEMA,
              KIND_SEAL,
              KIND_PUBLISH,
              KIND_ROLLBACK,
              KIND_FLUSH,
              KIND_OPTIMIZE,
              KIND_BRANCH,
              KIND_VACUUM,
              KIND_AUDIT,
              KIND_MODE,
            ],
          },
        })
    }
  } catch (cause) {
    if (cause instanceof StoreTooNewError || cause instanceof IntentVersionError) throw cause
    throw contradiction(lsn, cause)
  }
}

function u32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}
