// errors.ts: the closed list of error classes; their codes, kinds and hints are error-codes.ts.
//
// Every class extends VarveError (error-base.ts) directly; those of what changes a store's shape are in errors-evolution.ts, those of kernels in
// errors-kernel.ts. `kind` says what the caller does about it, `code` what happened; messages may change, codes may not.
// Invariant: each thrown class has a code in CODES and a hint; details are machine-readable and mirrored as properties.

import type { ErrorCode, StorageErrorClass } from './error-codes.ts'
import { type ErrorInit, VarveError } from './error-base.ts'

export { CODES } from './error-codes.ts'
export type { ErrorCode, ErrorInfo, ErrorKind, StorageErrorClass } from './error-codes.ts'
export { VarveError } from './error-base.ts'
export type { ErrorInit } from './error-base.ts'
export {
  BranchExistsError,
  DataLossRefusedError,
  MergeConflictError,
  SchemaConflictError,
  StaleBranchError,
  UnsupportedMigrationError,
} from './errors-evolution.ts'
export {
  DictionaryOverflowError,
  KernelMemoryBusyError,
  KernelMemoryExhaustedError,
  Lz4CorruptError,
  Lz4TooLargeError,
  Lz4UnsupportedError,
  OffsetOverflowError,
  RunNotSortedError,
} from './errors-kernel.ts'

/** The handle was closed, or the transaction has settled. */
export class ClosedError extends VarveError {
  override readonly name: string = 'ClosedError'
  readonly what: string
  constructor(code: 'store.closed' | 'transaction.closed' | 'write.closed', message: string, init: ErrorInit<{ what: string }>) {
    super(code, message, init)
    this.what = init.details.what
  }
}

/** A write or sync of the log failed; nothing is retried on this handle. */
export class PoisonedError extends VarveError {
  override readonly name: string = 'PoisonedError'
  constructor(message: string, init: ErrorInit<object> = { details: {} }) {
    super('store.poisoned', message, init)
  }
}

/** An option or environment value is unknown or out of range. */
export class InvalidConfigError extends VarveError {
  override readonly name: string = 'InvalidConfigError'
  readonly key: string
  readonly value: unknown
  constructor(message: string, init: ErrorInit<{ key: string; value: unknown }>) {
    super('options.invalid', message, init)
    this.key = init.details.key
    this.value = init.details.value
  }
}

/** Above a stated bound; refused before any work. */
export class ResourceLimitError extends VarveError {
  override readonly name: string = 'ResourceLimitError'
  readonly limit: string
  readonly asked: unknown
  constructor(message: string, init: ErrorInit<{ limit: string; asked: unknown }>) {
    super('options.limit', message, init)
    this.limit = init.details.limit
    this.asked = init.details.asked
  }
}

/** An illegal table, column, branch, tag or object name. */
export class InvalidNameError extends VarveError {
  override readonly name: string = 'InvalidNameError'
  constructor(message: string, init: ErrorInit<{ name: string }>) {
    super('options.name', message, init)
  }
}

/** The root holds no varve store, or something else. */
export class NotAStoreError extends VarveError {
  override readonly name: string = 'NotAStoreError'
  readonly url: string
  constructor(message: string, init: ErrorInit<{ url: string }>) {
    super('store.not-a-store', message, init)
    this.url = init.details.url
  }
}

/** Creation was asked for and a store is there. */
export class StoreExistsError extends VarveError {
  override readonly name: string = 'StoreExistsError'
  readonly storeId: string
  constructor(message: string, init: ErrorInit<{ storeId: string }>) {
    super('store.exists', message, init)
    this.storeId = init.details.storeId
  }
}

/** The target of a backup holds one that this store cannot go on with: `lsn` is how far it reaches. */
export class BackupMismatchError extends VarveError {
  override readonly name: string = 'BackupMismatchError'
  readonly url: string
  readonly lsn: bigint
  /** ahead: further than the store, or than what was asked for; behind: the store has forgotten what comes next; diverged: another history. */
  readonly reason: 'ahead' | 'behind' | 'diverged'
  constructor(message: string, init: ErrorInit<{ url: string; lsn: bigint; reason: 'ahead' | 'behind' | 'diverged' }>) {
    super('backup.mismatch', message, init)
    this.url = init.details.url
    this.lsn = init.details.lsn
    this.reason = init.details.reason
  }
}

/** The store was written by a newer format version. */
export class StoreTooNewError extends VarveError {
  override readonly name: string = 'StoreTooNewError'
  readonly found: unknown
  readonly supported: unknown
  constructor(message: string, init: ErrorInit<{ found: unknown; supported: unknown }>) {
    super('format.newer', message, init)
    this.found = init.details.found
    this.supported = init.details.supported
  }
}

/** The store was written by a format version no longer read. */
export class StoreTooOldError extends VarveError {
  override readonly name: string = 'StoreTooOldError'
  readonly found: unknown
  readonly supported: unknown
  constructor(message: string, init: ErrorInit<{ found: unknown; supported: unknown }>) {
    super('format.older', message, init)
    this.found = init.details.found
    this.supported = init.details.supported
  }
}

/** A write through a read-only handle. */
export class ReadOnlyError extends VarveError {
  override readonly name: string = 'ReadOnlyError'
  constructor(message: string, init: ErrorInit<object> = { details: {} }) {
    super('store.read-only', message, init)
  }
}

/** Another live writer holds the LOCK. */
export class LockHeldError extends VarveError {
  override readonly name: string = 'LockHeldError'
  readonly holder: unknown
  constructor(message: string, init: ErrorInit<{ holder: unknown }>) {
    super('lock.held', message, init)
    this.holder = init.details.holder
  }
}

/** All open attempts met a held lock. */
export class OpenLockTimeoutError extends VarveError {
  override readonly name: string = 'OpenLockTimeoutError'
  readonly attempts: number
  readonly waitedMs: number
  readonly holder: unknown
  constructor(message: string, init: ErrorInit<{ attempts: number; waitedMs: number; holder: unknown }>) {
    super('lock.timeout', message, init)
    this.attempts = init.details.attempts
    this.waitedMs = init.details.waitedMs
    this.holder = init.details.holder
  }
}

/** That position is below a floor or after the head. */
export class HistoryUnavailableError extends VarveError {
  override readonly name: string = 'HistoryUnavailableError'
  readonly asked: unknown
  readonly floor: unknown
  constructor(message: string, init: ErrorInit<{ asked: unknown; floor: unknown }>) {
    super('store.history-unavailable', message, init)
    this.asked = init.details.asked
    this.floor = init.details.floor
  }
}

/** A state that cannot be. */
export class InvariantError extends VarveError {
  override readonly name: string = 'InvariantError'
  readonly expected: unknown
  readonly observed: unknown
  constructor(message: string, init: ErrorInit<{ expected: unknown; observed: unknown }>) {
    super('store.invariant', message, init)
    this.expected = init.details.expected
    this.observed = init.details.observed
  }
}

/** A root operation failed. */
export class StorageError extends VarveError {
  override readonly name: string = 'StorageError'
  readonly op: string
  readonly class: StorageErrorClass
  constructor(message: string, init: ErrorInit<{ op: string; name: string; class: StorageErrorClass }>) {
    super(storageCode(init.details.class), message, init)
    this.op = init.details.op
    this.class = init.details.class
  }
}

/** The root lacks a feature that was asked for. */
export class UnsupportedRootError extends VarveError {
  override readonly name: string = 'UnsupportedRootError'
  readonly feature: string
  constructor(message: string, init: ErrorInit<{ feature: string }>) {
    super('root.unsupported', message, init)
    this.feature = init.details.feature
  }
}

/** Bytes fail their check or contradict the log. */
export class CorruptionError extends VarveError {
  override readonly name: string = 'CorruptionError'
  readonly file: string
  readonly offset: number | undefined
  readonly lsn: bigint | undefined
  readonly laterOffset: number | undefined
  constructor(
    code: 'log.corrupt' | 'fragment.corrupt' | 'index.corrupt' | 'checkpoint.corrupt' | 'coverage.corrupt' | 'staged.corrupt',
    message: string,
    init: ErrorInit<{ file: string; offset?: number | undefined; lsn?: bigint | undefined; laterOffset?: number | undefined }>,
  ) {
    super(code, message, init)
    this.file = init.details.file
    this.offset = init.details.offset
    this.lsn = init.details.lsn
    this.laterOffset = init.details.laterOffset
  }
}

/** Another append took the position (internal). */
export class LsnTakenError extends VarveError {
  override readonly name: string = 'LsnTakenError'
  readonly head: bigint
  constructor(message: string, init: ErrorInit<{ head: bigint }>) {
    super('log.lsn-taken', message, init)
    this.head = init.details.head
  }
}

/** A newer epoch exists. */
export class FencedError extends VarveError {
  override readonly name: string = 'FencedError'
  readonly scope: string
  readonly held: bigint
  readonly seen: bigint
  constructor(message: string, init: ErrorInit<{ scope: string; held: bigint; seen: bigint }>) {
    // A primary that took another epoch would be a second one.
    const lost = 'Another primary took over: close this store and follow that one with Replica.open. Where none was promoted: open this one with'
    const gone = 'Where one was and is gone for good: promote a replica behind a new fence.'
    const hint = init.details.scope === 'primary' ? `${lost} { epoch: ${init.details.seen} }. ${gone}` : undefined
    super('log.fenced', message, hint === undefined ? init : { hint, ...init })
    this.scope = init.details.scope
    this.held = init.details.held
    this.seen = init.details.seen
  }
}

/** The write may have been published. */
export class CommitOutcomeUnknownError extends VarveError {
  override readonly name: string = 'CommitOutcomeUnknownError'
  readonly writeId: string
  readonly intentKept: boolean
  constructor(message: string, init: ErrorInit<{ writeId: string; intentKept: boolean }>) {
    super('write.outcome-unknown', message, init)
    this.writeId = init.details.writeId
    this.intentKept = init.details.intentKept
  }
}

/** That history can no longer be held. */
export class PinRefusedError extends VarveError {
  override readonly name: string = 'PinRefusedError'
  readonly asked: bigint
  readonly tail: bigint
  readonly floor: bigint
  constructor(message: string, init: ErrorInit<{ asked: bigint; tail: bigint; floor: bigint }>) {
    super('log.pin-refused', message, init)
    this.asked = init.details.asked
    this.tail = init.details.tail
    this.floor = init.details.floor
  }
}

/** What holds history back cannot be read: nothing is reclaimed. */
export class PinUnresolvedError extends VarveError {
  override readonly name: string = 'PinUnresolvedError'
  readonly pin: string
  constructor(message: string, init: ErrorInit<{ pin: string }>) {
    super('log.pin-unresolved', message, init)
    this.pin = init.details.pin
  }
}

/** A vacuum that stopped part-way. */
export class VacuumError extends VarveError {
  override readonly name: string = 'VacuumError'
  /** Files that are gone. */
  readonly deleted: number
  /** Files that were to go and may be there. */
  readonly left: number
  constructor(message: string, init: ErrorInit<{ deleted: number; left: number }>) {
    super('upkeep.vacuum', message, init)
    this.deleted = init.details.deleted
    this.left = init.details.left
  }
}

/** Wrong type, unknown or missing column. */
export class SchemaMismatchError extends VarveError {
  override readonly name: string = 'SchemaMismatchError'
  readonly table: string
  readonly column: string | undefined
  readonly row: number | undefined
  constructor(message: string, init: ErrorInit<{ table: string; column?: string | undefined; row?: number | undefined }>) {
    super('table.schema-mismatch', message, init)
    this.table = init.details.table
    this.column = init.details.column
    this.row = init.details.row
  }
}

/** No such table at this position. */
export class TableNotFoundError extends VarveError {
  override readonly name: string = 'TableNotFoundError'
  readonly table: string
  constructor(message: string, init: ErrorInit<{ table: string }>) {
    super('table.not-found', message, init)
    this.table = init.details.table
  }
}

/** A table of that name has another definition. */
export class TableExistsError extends VarveError {
  override readonly name: string = 'TableExistsError'
  readonly table: string
  constructor(message: string, init: ErrorInit<{ table: string }>) {
    super('table.exists', message, init)
    this.table = init.details.table
  }
}

/** A column type is not supported here. */
export class UnsupportedTypeError extends VarveError {
  override readonly name: string = 'UnsupportedTypeError'
  readonly type: string
  constructor(message: string, init: ErrorInit<{ type: string; column?: string }>) {
    super('table.unsupported-type', message, init)
    this.type = init.details.type
  }
}

/** Null in a key. */
export class NullKeyError extends VarveError {
  override readonly name: string = 'NullKeyError'
  readonly table: string
  readonly column: string
  readonly row: number
  constructor(message: string, init: ErrorInit<{ table: string; column: string; row: number }>) {
    super('write.null-key', message, init)
    this.table = init.details.table
    this.column = init.details.column
    this.row = init.details.row
  }
}

/** A key twice in one append, or present already. */
export class DuplicateKeyError extends VarveError {
  override readonly name: string = 'DuplicateKeyError'
  readonly table: string
  readonly columns: readonly string[]
  readonly values: unknown
  readonly rows: readonly number[]
  constructor(message: string, init: ErrorInit<{ table: string; columns: readonly string[]; values: unknown; rows: readonly number[] }>) {
    super('write.duplicate-key', message, init)
    this.table = init.details.table
    this.columns = init.details.columns
    this.values = init.details.values
    this.rows = init.details.rows
  }
}

/** A column that cannot be a key. */
export class UnkeyableTypeError extends VarveError {
  override readonly name: string = 'UnkeyableTypeError'
  readonly column: string
  constructor(message: string, init: ErrorInit<{ column: string }>) {
    super('table.unkeyable-type', message, init)
    this.column = init.details.column
  }
}

/** Another commit won. */
export class ConflictError extends VarveError {
  override readonly name: string = 'ConflictError'
  readonly table: string
  readonly keys: readonly unknown[]
  readonly total: number
  readonly lsn: bigint
  constructor(message: string, init: ErrorInit<{ table: string; keys: readonly unknown[]; total: number; lsn: bigint }>) {
    super('write.conflict', message, init)
    this.table = init.details.table
    this.keys = init.details.keys
    this.total = init.details.total
    this.lsn = init.details.lsn
  }
}

/** The retry budget was used up without a conflict. */
export class ContentionError extends VarveError {
  override readonly name: string = 'ContentionError'
  readonly rounds: number
  constructor(message: string, init: ErrorInit<{ rounds: number }>) {
    super('write.contention', message, init)
    this.rounds = init.details.rounds
  }
}

/** An idempotency key used with another request. */
export class IdempotencyMismatchError extends VarveError {
  override readonly name: string = 'IdempotencyMismatchError'
  readonly key: string
  constructor(message: string, init: ErrorInit<{ key: string }>) {
    super('write.idempotency-mismatch', message, init)
    this.key = init.details.key
  }
}

/** Roll-back was asked for after the write was published. */
export class AlreadyPublishedError extends VarveError {
  override readonly name: string = 'AlreadyPublishedError'
  readonly writeId: string
  readonly lsn: bigint
  constructor(message: string, init: ErrorInit<{ writeId: string; lsn: bigint }>) {
    super('write.already-published', message, init)
    this.writeId = init.details.writeId
    this.lsn = init.details.lsn
  }
}

/** An undecided write is in the way. */
export class PendingIntentError extends VarveError {
  override readonly name: string = 'PendingIntentError'
  readonly writeIds: readonly string[]
  constructor(message: string, init: ErrorInit<{ writeIds: readonly string[] }>) {
    super('write.pending-intent', message, init)
    this.writeIds = init.details.writeIds
  }
}

/** A held staged write lost files. */
export class DamagedStagedWriteError extends VarveError {
  override readonly name: string = 'DamagedStagedWriteError'
  readonly writeId: string
  readonly files: readonly string[]
  constructor(message: string, init: ErrorInit<{ writeId: string; files: readonly string[] }>) {
    super('write.damaged', message, init)
    this.writeId = init.details.writeId
    this.files = init.details.files
  }
}

/** INTENT cannot be read. */
export class CorruptIntentError extends VarveError {
  override readonly name: string = 'CorruptIntentError'
  readonly path: string
  readonly reason: string
  constructor(message: string, init: ErrorInit<{ path: string; reason: string }>) {
    super('recovery.corrupt-intent', message, init)
    this.path = init.details.path
    this.reason = init.details.reason
  }
}

/** INTENT and seal of one write disagree. */
export class IntentMismatchError extends VarveError {
  override readonly name: string = 'IntentMismatchError'
  readonly path: string
  readonly reason: string
  constructor(message: string, init: ErrorInit<{ path: string; reason: string }>) {
    super('recovery.intent-mismatch', message, init)
    this.path = init.details.path
    this.reason = init.details.reason
  }
}

/** INTENT was written by a newer engine. */
export class IntentVersionError extends VarveError {
  override readonly name: string = 'IntentVersionError'
  readonly found: number
  readonly supported: number
  constructor(message: string, init: ErrorInit<{ path: string; found: number; supported: number }>) {
    super('recovery.intent-version', message, init)
    this.found = init.details.found
    this.supported = init.details.supported
  }
}

/** Bytes that look committed and that no record explains. */
export class DriftError extends VarveError {
  override readonly name: string = 'DriftError'
  readonly state: 'covered' | 'uncovered' | 'unknown'
  constructor(message: string, init: ErrorInit<{ state: 'covered' | 'uncovered' | 'unknown'; files?: readonly string[] }>) {
    super('recovery.drift', message, init)
    this.state = init.details.state
  }
}

/** No such tag or branch. */
export class BranchNotFoundError extends VarveError {
  override readonly name: string = 'BranchNotFoundError'
  readonly branch: string
  constructor(message: string, init: ErrorInit<{ branch: string }>) {
    super('branch.not-found', message, init)
    this.branch = init.details.branch
  }
}

function storageCode(cls: StorageErrorClass): ErrorCode {
  return cls === 'notFound' ? 'root.not-found' : `root.${cls}`
}
