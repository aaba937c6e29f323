// error-codes.ts: the closed list of error codes: for each the class that carries it, its kind, hint and meaning (docs/errors.md is made of it).
//
// Invariant: codes are part of the API and never change; `kind` says what the caller does about it. A new code is worth it only if someone would handle or
// count it separately.

export type ErrorKind = 'invalid' | 'conflict' | 'fenced' | 'unavailable' | 'corrupt' | 'closed' | 'unsupported'

export type StorageErrorClass =
  | 'notFound'
  | 'exists'
  | 'precondition'
  | 'permission'
  | 'space'
  | 'timeout'
  | 'unavailable'
  | 'corrupt'
  | 'unsupported'
  | 'io'
  | 'unknown'

export type ErrorCode =
  | 'store.closed'
  | 'transaction.closed'
  | 'write.closed'
  | 'store.poisoned'
  | 'options.invalid'
  | 'options.limit'
  | 'options.name'
  | 'store.not-a-store'
  | 'store.exists'
  | 'backup.mismatch'
  | 'format.newer'
  | 'format.older'
  | 'store.read-only'
  | 'lock.held'
  | 'lock.timeout'
  | 'store.history-unavailable'
  | 'store.invariant'
  | 'root.not-found'
  | 'root.exists'
  | 'root.precondition'
  | 'root.permission'
  | 'root.space'
  | 'root.timeout'
  | 'root.unavailable'
  | 'root.corrupt'
  | 'root.io'
  | 'root.unknown'
  | 'root.unsupported'
  | 'log.corrupt'
  | 'fragment.corrupt'
  | 'index.corrupt'
  | 'checkpoint.corrupt'
  | 'coverage.corrupt'
  | 'staged.corrupt'
  | 'log.lsn-taken'
  | 'log.fenced'
  | 'write.outcome-unknown'
  | 'log.pin-refused'
  | 'log.pin-unresolved'
  | 'upkeep.vacuum'
  | 'table.schema-mismatch'
  | 'table.not-found'
  | 'table.exists'
  | 'table.unsupported-type'
  | 'schema.conflict'
  | 'branch.merge-conflict'
  | 'schema.unsupported-migration'
  | 'schema.data-loss'
  | 'write.null-key'
  | 'write.duplicate-key'
  | 'table.unkeyable-type'
  | 'write.conflict'
  | 'write.contention'
  | 'write.idempotency-mismatch'
  | 'write.already-published'
  | 'write.pending-intent'
  | 'write.damaged'
  | 'recovery.corrupt-intent'
  | 'recovery.intent-mismatch'
  | 'recovery.intent-version'
  | 'recovery.drift'
  | 'branch.not-found'
  | 'branch.exists'
  | 'branch.stale'
  | 'kernel.memory-exhausted'
  | 'kernel.memory-busy'
  | 'kernel.lz4-corrupt'
  | 'kernel.lz4-too-large'
  | 'kernel.lz4-unsupported'
  | 'kernel.dictionary-overflow'
  | 'kernel.offset-overflow'
  | 'kernel.run-not-sorted'

export interface ErrorInfo {
  readonly class: string
  readonly kind: ErrorKind
  readonly hint: string
  readonly meaning: string
}

/** Every code, with the class that carries it, its kind and the default hint. `root.unsupported` is shared with StorageError. */
export const CODES: Readonly<Record<ErrorCode, ErrorInfo>> = {
  'store.closed': {
    class: 'ClosedError',
    kind: 'closed',
    hint: 'Open the store again, or stop using the handle.',
    meaning: 'The handle was closed, or the transaction has settled.',
  },
  'transaction.closed': {
    class: 'ClosedError',
    kind: 'closed',
    hint: 'Open the store again, or stop using the handle.',
    meaning: 'The handle was closed, or the transaction has settled.',
  },
  'write.closed': {
    class: 'ClosedError',
    kind: 'closed',
    hint: 'Open the store again, or stop using the handle.',
    meaning: 'The handle was closed, or the transaction has settled.',
  },
  'store.poisoned': {
    class: 'PoisonedError',
    kind: 'closed',
    hint: 'Reopen the store to see what is on disk.',
    meaning: 'A write or sync of the log failed; nothing is retried on this handle.',
  },
  'options.invalid': {
    class: 'InvalidConfigError',
    kind: 'invalid',
    hint: 'Correct the option.',
    meaning: 'An option or environment value is unknown or out of range.',
  },
  'options.limit': {
    class: 'ResourceLimitError',
    kind: 'invalid',
    hint: 'Split the work, or raise the limit.',
    meaning: 'Above a stated bound; refused before any work.',
  },
  'options.name': {
    class: 'InvalidNameError',
    kind: 'invalid',
    hint: 'Choose a legal name.',
    meaning: 'An illegal table, column, branch, tag or object name.',
  },
  'store.not-a-store': {
    class: 'NotAStoreError',
    kind: 'invalid',
    hint: 'Check the path, or open with create.',
    meaning: 'The root holds no varve store, or something else.',
  },
  'store.exists': {
    class: 'StoreExistsError',
    kind: 'conflict',
    hint: 'Open it instead, or choose another root.',
    meaning: 'Creation was asked for and a store is there.',
  },
  'backup.mismatch': {
    class: 'BackupMismatchError',
    kind: 'conflict',
    hint: 'Back up into an empty place.',
    meaning: 'The target of a backup holds one that this store cannot go on with.',
  },
  'format.newer': { class: 'StoreTooNewError', kind: 'unsupported', hint: 'Upgrade varve.', meaning: 'The store was written by a newer format version.' },
  'format.older': {
    class: 'StoreTooOldError',
    kind: 'unsupported',
    hint: 'Open it with an older varve and export.',
    meaning: 'The store was written by a format version no longer read.',
  },
  'store.read-only': { class: 'ReadOnlyError', kind: 'invalid', hint: 'Open the store without readOnly.', meaning: 'A write through a read-only handle.' },
  'lock.held': {
    class: 'LockHeldError',
    kind: 'unavailable',
    hint: 'Close the other writer, or open readOnly.',
    meaning: 'Another live writer holds the LOCK.',
  },
  'lock.timeout': {
    class: 'OpenLockTimeoutError',
    kind: 'unavailable',
    hint: 'Close the other writer, or open readOnly; varve unlock shows whose lock it is.',
    meaning: 'All open attempts met a held lock.',
  },
  'store.history-unavailable': {
    class: 'HistoryUnavailableError',
    kind: 'invalid',
    hint: 'Ask for a position between the floor and the head.',
    meaning: 'That position is below a floor or after the head.',
  },
  'store.invariant': { class: 'InvariantError', kind: 'corrupt', hint: 'Report this as a bug; nothing was changed.', meaning: 'A state that cannot be.' },
  'root.not-found': { class: 'StorageError', kind: 'invalid', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.exists': { class: 'StorageError', kind: 'conflict', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.precondition': { class: 'StorageError', kind: 'conflict', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.permission': { class: 'StorageError', kind: 'invalid', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.space': { class: 'StorageError', kind: 'unavailable', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.timeout': { class: 'StorageError', kind: 'unavailable', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.unavailable': { class: 'StorageError', kind: 'unavailable', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.corrupt': { class: 'StorageError', kind: 'corrupt', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.io': { class: 'StorageError', kind: 'unavailable', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.unknown': { class: 'StorageError', kind: 'unavailable', hint: 'See class and cause.', meaning: 'A root operation failed.' },
  'root.unsupported': {
    class: 'UnsupportedRootError',
    kind: 'unsupported',
    hint: 'Use a root that has the feature.',
    meaning: 'The root lacks a feature that was asked for.',
  },
  'log.corrupt': {
    class: 'CorruptionError',
    kind: 'corrupt',
    hint: 'Run varve doctor: it tells what varve repair can put right from what needs a backup.',
    meaning: 'Bytes fail their check or contradict the log.',
  },
  'fragment.corrupt': {
    class: 'CorruptionError',
    kind: 'corrupt',
    hint: 'Run varve doctor: it tells what varve repair can put right from what needs a backup.',
    meaning: 'Bytes fail their check or contradict the log.',
  },
  'index.corrupt': {
    class: 'CorruptionError',
    kind: 'corrupt',
    hint: 'Run varve doctor: it tells what varve repair can put right from what needs a backup.',
    meaning: 'Bytes fail their check or contradict the log.',
  },
  'checkpoint.corrupt': {
    class: 'CorruptionError',
    kind: 'corrupt',
    hint: 'Run varve doctor: it tells what varve repair can put right from what needs a backup.',
    meaning: 'Bytes fail their check or contradict the log.',
  },
  'coverage.corrupt': {
    class: 'CorruptionError',
    kind: 'corrupt',
    hint: 'Run varve doctor: it tells what varve repair can put right from what needs a backup.',
    meaning: 'Bytes fail their check or contradict the log.',
  },
  'staged.corrupt': {
    class: 'CorruptionError',
    kind: 'corrupt',
    hint: 'Run varve doctor: it tells what varve repair can put right from what needs a backup.',
    meaning: 'Bytes fail their check or contradict the log.',
  },
  'log.lsn-taken': { class: 'LsnTakenError', kind: 'conflict', hint: 'Fold and admit again.', meaning: 'Another append took the position (internal).' },
  'log.fenced': { class: 'FencedError', kind: 'fenced', hint: 'Reopen the store to take a new epoch.', meaning: 'A newer epoch exists.' },
  'write.outcome-unknown': {
    class: 'CommitOutcomeUnknownError',
    kind: 'unavailable',
    hint: 'Ask store.outcome(writeId) before writing again.',
    meaning: 'The write may have been published.',
  },
  'log.pin-unresolved': {
    class: 'PinUnresolvedError',
    kind: 'corrupt',
    hint: 'Run varve doctor; delete the tag or branch if it is not needed.',
    meaning: 'Something that holds history back cannot be read; nothing is reclaimed.',
  },
  'upkeep.vacuum': { class: 'VacuumError', kind: 'unavailable', hint: 'Run vacuum again.', meaning: 'Stopped part-way; what it deleted nobody needs.' },
  'log.pin-refused': { class: 'PinRefusedError', kind: 'unavailable', hint: 'Start from a newer position.', meaning: 'That history can no longer be held.' },
  'table.schema-mismatch': {
    class: 'SchemaMismatchError',
    kind: 'invalid',
    hint: 'Make the data fit the definition.',
    meaning: 'Wrong type, unknown or missing column.',
  },
  'table.not-found': { class: 'TableNotFoundError', kind: 'invalid', hint: 'Create the table first.', meaning: 'No such table at this position.' },
  'table.exists': {
    class: 'TableExistsError',
    kind: 'invalid',
    hint: 'Use apply() to change a definition.',
    meaning: 'A table of that name has another definition.',
  },
  'table.unsupported-type': {
    class: 'UnsupportedTypeError',
    kind: 'unsupported',
    hint: 'Choose another column type.',
    meaning: 'A column type is not supported here.',
  },
  'schema.conflict': {
    class: 'SchemaConflictError',
    kind: 'conflict',
    hint: 'Leave one definition of the two.',
    meaning: 'One table or column is defined two ways.',
  },
  'branch.merge-conflict': {
    class: 'MergeConflictError',
    kind: 'conflict',
    hint: 'Say what shall be by onConflict, or change the rows on one side, and merge again.',
    meaning: 'Both sides of a merge changed the same rows; nothing was written.',
  },
  'schema.unsupported-migration': {
    class: 'UnsupportedMigrationError',
    kind: 'unsupported',
    hint: 'Add a new column or table, and write the rows there.',
    meaning: 'apply() cannot make this step.',
  },
  'schema.data-loss': {
    class: 'DataLossRefusedError',
    kind: 'invalid',
    hint: 'Pass allowDataLoss if that is what you want.',
    meaning: 'A step would lose rows or columns, and allowDataLoss was not given.',
  },
  'write.null-key': { class: 'NullKeyError', kind: 'invalid', hint: 'Give every key column a value.', meaning: 'Null in a key.' },
  'write.duplicate-key': {
    class: 'DuplicateKeyError',
    kind: 'invalid',
    hint: 'Use upsert, or remove the duplicate.',
    meaning: 'A key twice in one append, or present already.',
  },
  'table.unkeyable-type': {
    class: 'UnkeyableTypeError',
    kind: 'unsupported',
    hint: 'Choose a key column of another type.',
    meaning: 'A column that cannot be a key.',
  },
  'write.conflict': { class: 'ConflictError', kind: 'conflict', hint: 'Read again and decide again, or use transact.', meaning: 'Another commit won.' },
  'write.contention': { class: 'ContentionError', kind: 'unavailable', hint: 'Try again later.', meaning: 'The retry budget was used up without a conflict.' },
  'write.idempotency-mismatch': {
    class: 'IdempotencyMismatchError',
    kind: 'invalid',
    hint: 'Use a new key for a new request.',
    meaning: 'An idempotency key used with another request.',
  },
  'write.already-published': {
    class: 'AlreadyPublishedError',
    kind: 'invalid',
    hint: 'Delete or replace the rows instead; a published write stays.',
    meaning: 'Roll-back of a write that is published.',
  },
  'write.pending-intent': {
    class: 'PendingIntentError',
    kind: 'unavailable',
    hint: 'Publish or roll back the pending write; varve staged ls shows it.',
    meaning: 'An undecided write is in the way.',
  },
  'write.damaged': {
    class: 'DamagedStagedWriteError',
    kind: 'corrupt',
    hint: 'Roll the write back and stage it again.',
    meaning: 'A held staged write lost files.',
  },
  'recovery.corrupt-intent': {
    class: 'CorruptIntentError',
    kind: 'corrupt',
    hint: 'Run varve repair: it moves the file to quarantine.',
    meaning: 'An INTENT file cannot be read.',
  },
  'recovery.intent-mismatch': {
    class: 'IntentMismatchError',
    kind: 'corrupt',
    hint: 'Run varve doctor.',
    meaning: 'INTENT and seal of one write disagree.',
  },
  'recovery.intent-version': {
    class: 'IntentVersionError',
    kind: 'unsupported',
    hint: 'Upgrade varve, or open read-only.',
    meaning: 'An INTENT written by a newer engine.',
  },
  'recovery.drift': {
    class: 'DriftError',
    kind: 'corrupt',
    hint: 'Run varve doctor.',
    meaning: 'Bytes that look committed and that no record explains.',
  },
  'branch.not-found': { class: 'BranchNotFoundError', kind: 'invalid', hint: 'Check the name of the tag or branch.', meaning: 'No such tag or branch.' },
  'branch.exists': { class: 'BranchExistsError', kind: 'invalid', hint: 'Choose another name.', meaning: 'A tag or branch has the name already.' },
  'branch.stale': {
    class: 'StaleBranchError',
    kind: 'conflict',
    hint: 'Take the branch again with store.branch(name).',
    meaning: 'The branch was deleted, or deleted and made again.',
  },
  'kernel.memory-exhausted': {
    class: 'KernelMemoryExhaustedError',
    kind: 'unavailable',
    hint: 'Raise memory.kernelBytes, or work in smaller pieces.',
    meaning: 'The kernel arena reached its limit.',
  },
  'kernel.memory-busy': {
    class: 'KernelMemoryBusyError',
    kind: 'invalid',
    hint: 'Wait for the pending read.',
    meaning: 'Growth was asked for while a read into a view is pending.',
  },
  'kernel.lz4-corrupt': { class: 'Lz4CorruptError', kind: 'corrupt', hint: 'Restore the file from a backup.', meaning: 'LZ4 bytes are damaged.' },
  'kernel.lz4-too-large': {
    class: 'Lz4TooLargeError',
    kind: 'unsupported',
    hint: 'Check the file; raise the bound if it is right.',
    meaning: 'A stated size is over the bound.',
  },
  'kernel.lz4-unsupported': {
    class: 'Lz4UnsupportedError',
    kind: 'unsupported',
    hint: 'Recompress without that feature.',
    meaning: 'An LZ4 frame feature that is not supported.',
  },
  'kernel.dictionary-overflow': {
    class: 'DictionaryOverflowError',
    kind: 'unsupported',
    hint: 'Use fewer distinct values or a plain column.',
    meaning: 'More distinct values than the index width holds.',
  },
  'kernel.offset-overflow': {
    class: 'OffsetOverflowError',
    kind: 'unsupported',
    hint: 'Split the batch.',
    meaning: 'More than 2 GiB of values in one column.',
  },
  'kernel.run-not-sorted': { class: 'RunNotSortedError', kind: 'corrupt', hint: 'Sort the run first.', meaning: 'Input that claimed an order has none.' },
}
