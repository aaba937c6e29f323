// table/types-store.ts: the types of writing, the store, changes and watching (api.md sections 5 to 8). Types only.
//
// Members for branches, schema changes, optimize, vacuum, backup and repair arrive with those features.

import type { Digest, Epoch, Lsn } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import type { AckMode, AckModeOptions, AckWriteOptions } from './types-ack.ts'
import type { BackupOptions, BackupReport } from './types-backup.ts'
import type { Branching, ReadBranches } from './types-branches.ts'
import type { Stats } from './types-stats.ts'
import type { VacuumOptions, VacuumReport } from './types-vacuum.ts'
import type { RepairReport } from './types-repair.ts'
import type { SchemaPlan } from './types-schema.ts'
import type { MergeOptions, MergeResult, RevertOptions } from './types-merge.ts'
import type { AnyTable, KeyedTable, Predicate } from './types.ts'
import type { OptimizeOptions, OptimizeReport } from './types-upkeep.ts'
import type { At, Bulk, Chunk, KeyArg, Long, PinId, Reader, Rows, Snapshot, Stream, WriteId } from './types-read.ts'

export interface WriteOptions extends Long, AckWriteOptions {
  /** Kept in the commit; with author at most 4 KiB. */
  message?: string
  author?: string
  /**
   * One effect, however often the call is made again: at most 128 bytes, remembered for 7 days or 100,000 commits, whichever is longer. The same request again
   * resolves with the first result and `replayed: true`, another one under the key rejects with IdempotencyMismatchError. While a write under the key is sealed and
   * being decided the call waits for its outcome; one of stage() that is sealed and that nobody publishes or rolls back makes it PendingIntentError { writeIds }.
   */
  idempotencyKey?: string
  /**
   * Default: a new ULID; name it to ask outcome() later. newWriteId() makes one. InvalidConfigError when a write of this id is known to this handle: staged, sealed,
   * decided or queued, large or recent. Ids of small commits are not kept, so that no commit of an earlier process has it is the caller's word. A retry under a known
   * idempotencyKey may name the id again.
   */
  writeId?: WriteId
}

export interface CommitResult {
  readonly lsn: Lsn
  readonly writeId: WriteId
  readonly time: Date
  /** Written, changed or removed. */
  readonly rows: number
  readonly replayed: boolean
}

/** Writes inside transact: checked at once, written at commit. */
export interface SyncWriter {
  append<T extends AnyTable>(table: T, data: Bulk<T>): void
  append<T extends AnyTable>(table: T, rows: Rows<T>): void
  upsert<T extends KeyedTable>(table: T, data: Bulk<T>): void
  upsert<T extends KeyedTable>(table: T, rows: Rows<T>): void
  delete<T extends KeyedTable>(table: T, key: KeyArg<T> | readonly KeyArg<T>[]): void
  deleteWhere<T extends AnyTable>(table: T, where: Predicate<T['Filter']>): Promise<number>
  /** Reads: hence a promise. */
  update<T extends KeyedTable>(table: T, patch: T['Update'] | readonly T['Update'][]): Promise<number>
  replace<T extends AnyTable>(table: T, rows: Rows<T> | Bulk<T>): void
}

/** Each call is one commit and resolves once durable. Rows are the last overload: compilers report that one. */
export interface Writer {
  append<T extends AnyTable>(table: T, data: Bulk<T> | Stream<T>, o?: WriteOptions): Promise<CommitResult>
  /** Keyed: an existing key is DuplicateKeyError. */
  append<T extends AnyTable>(table: T, rows: Rows<T>, o?: WriteOptions): Promise<CommitResult>
  upsert<T extends KeyedTable>(table: T, data: Bulk<T> | Stream<T>, o?: WriteOptions): Promise<CommitResult>
  /** Whole rows; of equal keys in one call the last wins. */
  upsert<T extends KeyedTable>(table: T, rows: Rows<T>, o?: WriteOptions): Promise<CommitResult>
  /** Key and changed columns; absent keys are skipped (see `rows`). */
  update<T extends KeyedTable>(table: T, patch: T['Update'] | readonly T['Update'][], o?: WriteOptions): Promise<CommitResult>
  /** Absent keys are skipped. */
  delete<T extends KeyedTable>(table: T, key: KeyArg<T> | readonly KeyArg<T>[], o?: WriteOptions): Promise<CommitResult>
  deleteWhere<T extends AnyTable>(table: T, where: Predicate<T['Filter']>, o?: WriteOptions): Promise<CommitResult>
  replace<T extends AnyTable>(table: T, data: Rows<T> | Bulk<T> | Stream<T>, o?: WriteOptions): Promise<CommitResult>
  transact<R>(fn: (tx: Transaction) => Promise<R> | R, o?: TransactOptions): Promise<R>
  /**
   * A write in several steps and over several tables, of any size, that becomes one commit when it is published; sealed, it outlives this process.
   *
   * @param o  a message, or options
   * @throws ResourceLimitError, InvalidConfigError, ClosedError
   * @cost nothing until the first row; then files under staging/
   * @example await using write = await store.stage('nightly load'); await write.append(events, rows); await write.publish()
   */
  stage(o?: string | StageOptions): Promise<StagedWrite>
}

/** `onProgress` is told of each append, upsert and replace of the write, unless the call brings its own. */
export interface StageOptions extends Omit<WriteOptions, keyof AckWriteOptions> {
  /**
   * Sealed and not published by then, by the newest record or the clock of the machine that opens: the next read-write open rolls it back, reason "expired". No timer runs:
   * until that open it can still be published. Default: kept until someone decides.
   */
  holdUntil?: Date
}

/**
 * What is staged is invisible to every reader until publish(). Operations on one table take effect in the order of their calls.
 *
 * A call that is refused before it has taken rows (a bad row, a duplicate key) leaves the write as it was. One that fails behind rows that it has taken leaves it in
 * its state for rollback() only: later calls on it reject with ClosedError, `cause` the failure. One whose INTENT cannot be written ends it: rolledBack.
 *
 * The signal of stage(): aborted before the seal, or inside seal() or publish(), it rolls the write back, and the call rejects with its reason; once the commit is
 * queued publish() resolves as published. Aborted while a sealed write lies idle it changes nothing, then and later: seal() and publish() go on without it.
 */
export interface StagedWrite extends AsyncDisposable {
  readonly id: WriteId
  /** open -> staged (first write) -> sealed -> published | rolledBack. */
  readonly state: 'open' | 'staged' | 'sealed' | 'published' | 'rolledBack'
  append<T extends AnyTable>(table: T, data: Chunk<T> | Stream<T>, o?: Long): Promise<void>
  upsert<T extends KeyedTable>(table: T, data: Chunk<T> | Stream<T>, o?: Long): Promise<void>
  /** Absent keys are skipped. */
  delete<T extends KeyedTable>(table: T, key: KeyArg<T> | readonly KeyArg<T>[]): Promise<void>
  /** The rows that match now, those of this write included. */
  deleteWhere<T extends AnyTable>(table: T, where: Predicate<T['Filter']>): Promise<void>
  replace<T extends AnyTable>(table: T, data: Chunk<T> | Stream<T>, o?: Long): Promise<void>
  /**
   * Durable: survives crash and reopen; no more rows afterwards. Resolves with the LSN of the seal; with that of the commit where nothing was sealed because
   * another write under its idempotency key was published, and on a handle of resume() to a write that is published.
   *
   * @throws CorruptionError staged.corrupt, PendingIntentError, IdempotencyMismatchError, FencedError, StorageError
   */
  seal(): Promise<Lsn>
  /**
   * Seals first when needed; twice: the same result.
   *
   * @throws ConflictError when another commit wrote a key of this write, or changed a table that it replaces: a sealed write stays sealed, for rollback();
   * FencedError when it was rolled back by someone else; DamagedStagedWriteError; CommitOutcomeUnknownError
   */
  publish(): Promise<CommitResult>
  /** Twice: fine. @throws AlreadyPublishedError */
  rollback(reason?: string): Promise<void>
  /** Leaving scope unsealed rolls back; sealed, it stays for resume(). */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * An `idempotencyKey` makes the writes of a transaction happen once: when it runs again, `fn` runs, its writes are dropped, and onCommitted gets the first
 * result with `replayed: true`. A retry may read and write other rows than the first try, so the key stands for the tables written, which must be the same (else
 * IdempotencyMismatchError), and not for their rows: reusing it for another transaction over the same tables is answered with the first one's result.
 */
export interface TransactOptions extends WriteOptions {
  /** Default 5. */
  retries?: number
  /** Default "serializable". */
  isolation?: 'serializable' | 'snapshot'
  /** Told once, when something was written; what it throws is logged. */
  onCommitted?: (r: CommitResult) => void
}

export interface Transaction extends Reader, SyncWriter {
  readonly lsn: Lsn
  readonly attempt: number
  readonly signal: AbortSignal
}

/** Unknown keys and bad values: InvalidConfigError { key, value }. */
export interface OpenOptions extends Long {
  /** "must": StoreExistsError; "never" on nothing: NotAStoreError. Default "if-missing". */
  create?: 'if-missing' | 'must' | 'never'
  /** No lock, no writes at all. */
  readOnly?: boolean
  /** Readers, and writers of a shared log: keep up with other writers by itself (default true); false: refresh() by hand. */
  follow?: boolean
  /** "synced" (default): a resolved commit survives power loss; "buffered": a killed process only. */
  durability?: 'synced' | 'buffered'
  /**
   * How a new store keeps its log: "exclusive" (default on memory and local roots), segments of one writer; "shared" (default elsewhere), slots that any number
   * of writers compete for. A store that is there keeps the one it was made with; of a shared one an "exclusive" open fences every earlier writer.
   */
  writers?: 'shared' | 'exclusive'
  /**
   * Claim at least this epoch: of a primary whose replicas were fenced at it by a promotion that nobody won. It says that somebody has decided that this one goes
   * on, and stays said: never while a promotion is under way. No logs are compared: a number above that of a promotion gives up what was committed by that.
   * Default: the next one, and nothing decided. Of a log with one writer.
   */
  epoch?: number
  /**
   * How large writes of append, upsert and replace become durable: "fused" (default), in one record; "separate", sealed first, so that a crash while their files
   * get their final names loses no work. Writes above 64 files or 1 GiB, and staged ones, are always sealed first; large deletes and flushes never, since they
   * can be done again from what is there.
   */
  sealMode?: 'fused' | 'separate'
  /** Holds a group of commits open for company; 0. */
  groupCommitMs?: number
  /** What a power loss may cost under "buffered"; 100. */
  bufferedSyncMs?: number
  /** 16 MiB. */
  segmentBytes?: number
  /** Above it a write is staged as fragments; 256 KiB. */
  inlineLimitBytes?: number
  /** For publishing against other writers of a shared root; a root with one writer never needs a retry. */
  publishRetries?: number
  /** A held lock is tried again after each delay (default 50, 100, 200, 400, 800); cleanupStale: outrank a lock whose process is gone (default true). */
  openRetry?: { delaysMs?: readonly number[]; cleanupStale?: boolean }
  memory?: {
    /** Decoded pages and indexes; 256 MiB. */
    cacheBytes?: number
    /** Rows not yet flushed; 64 MiB. */
    writeBytes?: number
    /** Wasm arena; 512 MiB. */
    kernelBytes?: number
    /** 64 MiB. */
    transactionBytes?: number
    /** 256 MiB. */
    sortBytes?: number
    /** 10 min. */
    snapshotWarnMs?: number
  }
  /** auto: flush, checkpoint, optimize in the background; never vacuum. */
  upkeep?: 'auto' | 'manual'
  /** 0: all work on this thread; auto: min(4, cores - 1). */
  threads?: number | 'auto'
  meter?: Meter
  /** A Partial<World>. */
  world?: object
}

export interface ReadStore extends Reader, ReadBranches, AsyncDisposable {
  readonly id: string
  readonly lsn: Lsn
  readonly epoch: Epoch
  readonly readOnly: boolean
  readonly closed: boolean
  /** `readUncommitted`: also what is durable here and waits for replicas; it may be gone when this store is not the primary any more. Without `at` only. */
  snapshot(at?: At, o?: { readUncommitted?: boolean }): Promise<Snapshot>
  /** Resolves when the commit at `lsn` counts: at once unless commits wait for replicas. @throws ClosedError; the signal's reason */
  waitCommitted(lsn: Lsn, o?: { signal?: AbortSignal }): Promise<void>
  changes<const T extends readonly AnyTable[] = []>(o?: ChangesOptions<T>): AsyncIterableIterator<Commit<T>>
  /**
   * What became of the rows of keyed tables from one version to another, which may be the older one: the net effect, at most one change per key, in no order.
   * Versions are held while it runs.
   *
   * @throws TableNotFoundError, SchemaMismatchError, HistoryUnavailableError, BranchNotFoundError; InvalidConfigError for a table without a key
   * @cost reads the rows that the versions do not share, whatever the size of the tables; memory for a portion of them
   * @example for await (const c of store.diff(before, store.lsn, { tables: [flights] })) console.log(c.kind)
   */
  diff<const T extends readonly AnyTable[]>(
    from: At,
    to: At,
    o: { tables: T; images?: Exclude<Images, 'none'>; signal?: AbortSignal },
  ): AsyncIterableIterator<Change<T[number]>>
  tables(at?: At): Promise<TableInfo[]>
  /** As stored; rows are typed `object`. TableNotFoundError. */
  table(name: string, at?: At): Promise<AnyTable>
  /** See other writers' commits; resolves with the new head. */
  refresh(): Promise<Lsn>
  stats(): Promise<Stats>
  /** Every write that is not decided yet, with what a sweep would do about it. Reads what they sealed. */
  pending(): Promise<PendingWrite[]>
  /** The sealed ones of store.stage(): publish or roll them back through resume(). Reads what they sealed, so that a damaged one is told (decision refuse). */
  staged(): Promise<PendingWrite[]>
  pins(): Promise<PinInfo[]>
  /**
   * What became of a write. Unknown: nothing of it is in the retained log; a write that was never sealed and is gone counts as that too. Where others write, it
   * refreshes before it says so; a reader with `follow: false` answers as of its head. Pending: also while its record waits for replicas.
   *
   * @throws InvalidConfigError, StorageError
   */
  outcome(id: WriteId): Promise<'published' | 'rolledBack' | 'pending' | 'unknown'>
  audit(o?: { from?: Lsn; kinds?: string[] }): AsyncIterableIterator<AuditRow>
  /**
   * Never throws for what it finds: { ok, problems }. `against`: a store or backup whose log must be the same as far as both reach; where they part is a problem
   * `backup.mismatch` with the first LSN that differs.
   */
  verify(o?: Long & { level?: 'log' | 'files' | 'all'; against?: string | URL | Root }): Promise<VerifyReport>
  /**
   * A verified copy of the store as it is, or was at `at`, while commits go on; onto an older backup of this store only what is new. What it holds opens read-only as
   * a store; Store.restore() makes a store of it. One that was cut off is not there for a reader: the backup before it is, and the next run goes on.
   *
   * @throws StoreExistsError when something else is there; BackupMismatchError; HistoryUnavailableError; CorruptionError for a file of the store that is damaged;
   * LockHeldError, OpenLockTimeoutError while another backup goes there; StorageError
   * @cost reads the retained log, and every file that the target lacks
   * @example const { lsn, copied } = await store.backup('/backups/data')
   */
  backup(target: string | URL | Root, o?: BackupOptions): Promise<BackupReport>
  /** A throwing listener is logged. */
  on<E extends keyof StoreEvents>(event: E, listener: (e: StoreEvents[E]) => void): Disposable
  /** Idempotent. */
  close(): Promise<void>
}

/** Reads and writes go to branch main. */
export interface Store extends ReadStore, Writer, Branching, Disposable {
  /**
   * Make the store's tables what these definitions say; tables not named stay, a table that is there already as defined costs nothing. Renames go by `renamedFrom`.
   * Rows are not rewritten: they are read through the new definition, and older positions through the one of then.
   *
   * @param o  `drop`: tables to drop; `allowDataLoss`: dropping tables and columns is meant; `dryRun`: say what would be done, or refuse what would be refused
   * @throws UnsupportedMigrationError a step that cannot be made, or that rows stand against; DuplicateKeyError rows share what is to be unique;
   * DataLossRefusedError, SchemaConflictError, InvalidConfigError
   * @cost one record; reads the columns that shall take no null any more, or be unique
   * @example await store.apply([flights, airports], { drop: ['scratch'], allowDataLoss: true })
   */
  apply(tables: readonly AnyTable[], o?: Long & { drop?: readonly string[]; allowDataLoss?: boolean; dryRun?: boolean }): Promise<SchemaPlan>
  /** One commit; an equal definition is a no-op; another is TableExistsError. */
  create(...tables: AnyTable[]): Promise<void>
  /**
   * Three-way merge of a branch (or a tag) into another one: what it did since the newest position that both have in common, in one commit. What is written to it
   * meanwhile is not in it. Nothing to merge: no commit, no `lsn`.
   *
   * @throws MergeConflictError, SchemaConflictError: nothing was written; BranchNotFoundError; StaleBranchError; ConflictError: the target was written to all the time
   * @cost reads the rows that differ; fragments that go over in large part are shared
   * @example await store.merge('dev', { onConflict: 'theirs' })
   */
  merge(source: string, o?: MergeOptions): Promise<MergeResult>
  /** A new commit in which the tables are as they were at `to`; history stays. @throws ConflictError: a table was written to all the time */
  revert(to: At, o?: RevertOptions): Promise<CommitResult>
  /** A handle to a sealed write of any process, or to one that is decided. @throws InvalidConfigError when nothing of that id is known; AckTimeoutError: its record is not committed */
  resume(id: WriteId): Promise<StagedWrite>
  /** Durability barrier for everything resolved before; returns the durable head. */
  sync(): Promise<Lsn>
  /** Memory layer to fragments. */
  flush(o?: Long): Promise<void>
  /**
   * Fewer, full fragments without deleted rows, and every index that is declared, of main (a Branch has its own): what `upkeep: "auto"` does in the background where
   * it pays, for every branch in use, done now and wholly. Rows and history stay. A second one right behind it publishes nothing.
   *
   * @throws PendingIntentError while a staged write is undecided; the signal's reason, and nothing has changed
   * @cost reads and writes the fragments that are small, or have more than a tenth of their rows deleted; commits go on meanwhile
   */
  optimize(o?: OptimizeOptions): Promise<OptimizeReport>
  /**
   * Deletes the files of versions that `keep` lets go and nothing holds, those that failed writes left, and the log that no kept version needs. Older positions are
   * `HistoryUnavailableError` from then on. Tags, branches, open snapshots, feeds, scans and pending writes keep what they need, and are named in the report.
   *
   * @throws InvalidConfigError without `keep`; PinUnresolvedError: something that holds history back cannot be read, and nothing is reclaimed; VacuumError: stopped
   * part-way, run it again; DriftError, FencedError, StorageError; the signal's reason
   * @cost reads the log from the oldest kept version on, and lists every file; commits go on meanwhile
   * @example await store.vacuum({ keep: { days: 7 } })
   */
  vacuum(o: VacuumOptions): Promise<VacuumReport>
  /**
   * Put right what can be while the store is open: indexes, checkpoints, INTENTs that cannot be read; a preview unless `confirm`. Store.repair() does the rest.
   *
   * @throws PendingIntentError: a write is not decided; InvalidConfigError: the log of an open store is not cut
   * @cost reads and verifies everything the store has
   */
  repair(o?: { confirm?: boolean; dropAfter?: Lsn }): Promise<RepairReport>
  /**
   * Change whom commits wait for: a record of the log, committed by the mode before it; every later commit counts by the new one. The mode it has already: nothing is done.
   *
   * @throws QuorumTooSmallError, AckUnavailableError: nothing has changed; AckTimeoutError: it may yet change; InvalidConfigError: a shared log takes "async" only
   * @example await store.setAckMode('quorum')
   */
  setAckMode(mode: AckMode, o?: AckModeOptions): Promise<void>
}

/** both: also the row before (one lookup a row in the older version); none: counts only. */
export type Images = 'after' | 'both' | 'none'

export interface ChangesOptions<T extends readonly AnyTable[]> {
  /** Exclusive: the last LSN you finished. Default: now; 0: everything. */
  from?: Lsn | number
  /** None: commits without rows. */
  tables?: T
  images?: Images
  /** Its history: of what it stands on up to where it begins, then its own. Default: main. */
  branch?: string
  /** false ends at the head; else it waits. */
  follow?: boolean
  signal?: AbortSignal
}

export type Change<T extends AnyTable> = T extends AnyTable
  ?
      | { readonly table: T['name']; readonly kind: 'insert'; readonly after: T['Row']; readonly before?: undefined }
      | { readonly table: T['name']; readonly kind: 'update'; readonly after: T['Row']; readonly before?: T['Row'] }
      | { readonly table: T['name']; readonly kind: 'delete'; readonly key: T['Key']; readonly before?: T['Row']; readonly after?: undefined }
  : never

/** Rows stream from storage, in storage order within a table; read them or not. */
export interface Commit<T extends readonly AnyTable[]> extends AsyncIterable<Change<T[number]>> {
  readonly lsn: Lsn
  readonly writeId: WriteId
  readonly time: Date
  readonly branch: string
  readonly author?: string
  readonly message?: string
  readonly counts: Readonly<Record<string, { inserted: number; updated: number; deleted: number }>>
  /** Tables whose definition changed. */
  readonly schema: readonly string[]
}

export interface StoreEvents {
  commit: { lsn: Lsn; writeId: WriteId; tables: string[]; rows: number; durationMs: number }
  recovered: { writeId: WriteId; decision: string }
  deferred: { writeId: WriteId; reason: string }
  retireDeferred: { writeId: WriteId; cause: unknown }
  intentShadowed: { writeId: WriteId; path: string }
  checkpointFailed: { lsn: Lsn; cause: unknown }
  checkpointInvalid: { file: string }
  fenced: { held: Epoch; seen: Epoch }
  poisoned: { cause: unknown }
  snapshotHeld: { lsn: Lsn; heldMs: number }
  upkeep: { job: 'flush' | 'checkpoint' | 'optimize'; table?: string; durationMs: number }
  schema: { lsn: Lsn; tables: string[] }
  close: {}
}

/** Counters (add) and histograms (record); values are numbers, never bigint. */
export interface Meter {
  add(name: string, value: number, attributes?: Record<string, string>): void
  record(name: string, value: number, attributes?: Record<string, string>): void
}

export interface TableInfo {
  name: string
  rows: number
  key: readonly string[]
  /** Columns of each declared index; absent when there is none. */
  index?: readonly (readonly string[])[]
  columns: { name: string; type: string; nullable: boolean; default?: unknown }[]
  since: Lsn
}

/** What recovery would do about a write, as data: the rows of the tables of docs/recovery.md that matched. */
export interface Decision {
  readonly kind: 'refuse' | 'retire' | 'discard' | 'wait' | 'rollback' | 'rebase' | 'rollForward' | 'keep' | 'defer'
  readonly writeId: string
  /** The row that decided: `d6`. */
  readonly rule: string
  /** Of a rollback or discard: what its record says; of a refusal: the class of the error. */
  readonly reason?: string
  /** The INTENT file is unreadable and the seal decided. */
  readonly shadowed?: true
  readonly evidence: readonly Evidence[]
}

/** One thing that was seen and mattered. */
export interface Evidence {
  /** Row of a table: `p4`, `d7`. */
  readonly rule: string
  readonly what: string
  readonly table?: string
  readonly files?: readonly string[]
}

export interface PendingWrite {
  writeId: WriteId
  kind: string
  mode: 'auto' | 'hold'
  /** armed: files may exist, no rows yet; sealed: durable, not published; unreadable: its INTENT file is damaged or newer. */
  state: 'armed' | 'sealed' | 'unreadable'
  branch: string
  ageMs: number
  owner: string
  /** What a sweep would do, and why. */
  decision: Decision
  message?: string
  /** Of stage(): past it a sweep rolls the write back. */
  holdUntil?: Date
}

export interface PinInfo {
  id: PinId
  owner: string
  lsn: Lsn
  heldMs: number
}

export interface AuditRow {
  lsn: Lsn
  time: Date
  writeId?: WriteId
  kind: string
  by: string
  /** Whose write it was, where `by` is not who wrote it. */
  for?: string
  reason?: string
  tables: string[]
  /** Of a write that recovery decided: what became of each table's part. */
  outcomes?: { table: string; op: string; outcome: string }[]
}

export interface VerifyReport {
  ok: boolean
  lsn: Lsn
  digest: Digest
  checked: { records: number; files: number; bytes: number }
  problems: { code: string; file: string; offset?: number; lsn?: Lsn; message: string }[]
  /** What came of `against`. */
  against?: Comparison
}

/** Another place held against this store, up to the highest LSN that both have. */
export interface Comparison {
  url: string
  /** Where the log there ends. */
  head: Lsn
  /** The highest LSN of both. */
  lsn: Lsn
  equal: boolean
  /** Chain digest at `lsn`, where they agree. */
  digest?: Uint8Array
  /** SHA-256 of the folded state at `lsn`. */
  state?: Uint8Array
  /** Files of that state whose bytes are the same there. */
  files: number
}
