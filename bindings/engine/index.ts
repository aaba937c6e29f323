export { HideSet, NOW, placesOf, READ_ROUNDS } from './admission.ts'
export { bindTo, tableNotFound } from './bound.ts'
export type { Bound } from './bound.ts'
export { listCheckpoints, newestCheckpoint, readCheckpoint, readCheckpointFile, writeCheckpoint } from './checkpoints.ts'
export type { AdmitOptions, AdmittedChange, ArmedWrite } from './admitted.ts'
export { isIndeterminate } from './commit-gate.ts'
export type { Acker, AckOptions, Attached, CommitGate } from './commit-gate.ts'
export { commitResult } from './commit-result.ts'
export { promotedRef, storeFragment } from './cutter.ts'
export { Committer } from './committer.ts'
export { conflict, redefined } from './conflict.ts'
export { branchNumber, staleBranch, staleBranchNamed } from './names-ahead.ts'
export { inTurn } from './in-turn.ts'
export { keyBytesOf, keyText } from './key-text.ts'
export { Engine, rowGates } from './engine.ts'
export type { EngineLimits, EngineParts, LayoutLock } from './engine.ts'
export { armArea, FusedWrite, participantOf, retireArea } from './fused.ts'
export { Cutter } from './cutter.ts'
export { namesOf, whileAlive } from './record-files.ts'
export { flushTable } from './flush.ts'
export { Gates } from './gates.ts'
export { givenUpOf } from './given-up.ts'
export type { GateMode, GateOptions, GateRequest, HeldGates } from './gates.ts'
export { Intents, PARTICIPANTS_MAX, schemaDigest } from './intents.ts'
export type { ArmOptions, BranchName, SealOptions } from './intents.ts'
export { load } from './load.ts'
export type { LoadOp } from './load.ts'
export { getRow, getRowSync, hasRow, ReadPoint, scanAt } from './read.ts'
export type { HeldPoint, ReadContext, Row } from './read.ts'
export {
  decodeRecord,
  KIND_AUDIT,
  KIND_BRANCH,
  KIND_COMMIT,
  KIND_EPOCH,
  KIND_FLUSH,
  KIND_MODE,
  KIND_OPTIMIZE,
  KIND_PUBLISH,
  KIND_ROLLBACK,
  KIND_SCHEMA,
  KIND_SEAL,
  KIND_VACUUM,
  nextTableId,
  readInline,
  StoreState,
} from './state.ts'
export type { BranchState, StateView } from './branch-state.ts'
export { BranchViews } from './branch-views.ts'
export { loadPosition } from './positions.ts'
export type { Position, PositionSource } from './positions.ts'
export type { RecordBatch, StateContext, StateRecord } from './state.ts'
export { WriteTracker } from './tracker.ts'
export { refuseMerged } from './candidate-tuples.ts'
export { lateTuples } from './load-tuples.ts'
export { refuseTuples, RowTuples, tupleOf } from './unique.ts'
export { UniqueAudit } from './unique-audit.ts'
export { TransactionState } from './transaction.ts'
export { deleteWhere, updateRows } from './where.ts'
export { deleteChange, deleteKeys, encodeBatch, inlineChange, writeBatch, writeRows } from './write-rows.ts'
export { Binder } from './bound.ts'
export { commitsOnly, feed, keysOnly } from './changes.ts'
export type { FeedChange, FeedCommit, FeedLog, FeedOptions } from './changes.ts'
export { type Holder, markNames, neededFiles, type WalkSource } from './name-walk.ts'
export { NamedFiles } from './named-files.ts'
export { diffPoints } from './diff.ts'
export { isCompatible } from './plan-schema.ts'
export { applySchema, checkApplyOptions } from './schema-apply.ts'
export type { ApplyOptions } from './schema-apply.ts'
export { keysOf, Pile, portionsOf, readRows, rowsNotInBoth, rowsOnlyIn, sameFragments } from './diff-rows.ts'
export type { KeyedBatch, Picked, RowSelection, RowShape, TableAt } from './diff-rows.ts'
export { verifyStore } from './verify.ts'
export type { VerifyOutcome } from './verify.ts'
export { TableStage } from './table-stage.ts'
export { FUSED_BYTES_MAX, FUSED_FILES_MAX, intentFiles } from './finish.ts'
export type { FinishedTable, LargeLoad, LoadSealer } from './finish.ts'
export { DataDigest, requestDigest } from './request.ts'
