export { accessPaths, selectRows } from './access-paths.ts'
export type { AccessPath } from './access-paths.ts'
export { columnsFromArrow } from './arrow-define.ts'
export type { BatchSource, ColumnBatch, ColumnStats, SourceGroup, TableVersion } from './batch.ts'
export { buildIndexes, lackingIndexes, withIndexes } from './build-indexes.ts'
export type { BuildIndexesOptions } from './build-indexes.ts'
export type { BuiltIndex, IndexSpec } from './encode-index.ts'
export { byteSink } from './byte-sink.ts'
export type { ByteSink } from './byte-sink.ts'
export { ColumnCache } from './column-cache.ts'
export { storedDefault } from './cells.ts'
export { columns } from './column-data.ts'
export { coverageOf } from './coverage.ts'
export { widened } from './column-fit.ts'
export { columnStats } from './column-stats.ts'
export { specOf, t } from './columns.ts'
export { definitionOf, sameDefinition, schemaFromDefinition, table, tableFromSchema } from './definition.ts'
export { fragmentStats } from './fragment-group.ts'
export { FragmentReader } from './fragment-reader.ts'
export type { EncodedFragment } from './fragment-writer.ts'
export { batchBytes, batchesOf, isRows } from './input-kind.ts'
export { findKeys, findKeysNow } from './find-keys.ts'
export type { FoundRows } from './find-keys.ts'
export { KeyLayout } from './key-layout.ts'
export type { Tuples } from './key-layout.ts'
export { keyObjectFromBytes } from './key-object.ts'
export { formatKey, keyless, putKeyValue } from './key-values.ts'
export { KeyRun } from './memory-index.ts'
export type { RowKeys } from './memory-index.ts'
export { CHUNK_ROWS, MemoryChunk } from './memory-layer.ts'
export { collectPlaces, overlayVersion } from './overlay.ts'
export { missingVec } from './missing-column.ts'
export { Pace } from './pace.ts'
export { checkedPatches } from './patch-in.ts'
export { describeType } from './physical.ts'
export { findKey, findKeySync, readPlace, readPlaceSync } from './point-read.ts'
export type { Place, RowVecs } from './point-read.ts'
export { compilePredicate } from './predicate-eval.ts'
export type { CompiledPredicate } from './predicate-eval.ts'
export { predicateFromText } from './predicate-text.ts'
export { and, between, eq, gt, gte, isNotNull, isNull, lt, lte, ne, not, oneOf, or, predicateFromJSON, startsWith } from './predicate.ts'
export { compareConstants } from './predicate-leaf.ts'
export { mayMatch } from './prune.ts'
export { refitBatch } from './refit.ts'
export { resolveView } from './resolve-view.ts'
export { INLINE_ROWS_MAX, InlineRowWriter } from './row-inline.ts'
export { rowsToBatch } from './rows-in.ts'
export { rowReader } from './rows-out.ts'
export type { RowReader } from './rows-out.ts'
export type { LooseScanOptions } from './scan-plan.ts'
export { createScan } from './scan.ts'
export { toBatches } from './stream-in.ts'
export { TableState } from './table-state.ts'
export type { LiveFragment, Structure, TableContext, VectorBitmaps } from './table-state.ts'
export type { TableView, ViewColumn } from './view.ts'
export type {
  AnyTable,
  Column,
  Columns,
  Flavour,
  InsertOf,
  KeyColumn,
  KeyedTable,
  Predicate,
  RowOf,
  Show,
  Sortable,
  Table,
  TableOptions,
  Textual,
  Val,
} from './types.ts'
export type {
  Aggregate,
  ArrowLike,
  ArrowTable,
  At,
  Bulk,
  Chunk,
  ColumnData,
  ColumnOut,
  Explain,
  KeyArg,
  Long,
  Name,
  OrderBy,
  PinId,
  Progress,
  Reader,
  RecordBatch,
  Result,
  Rows,
  Scan,
  ScanOptions,
  Snapshot,
  Stream,
  WriteId,
} from './types-read.ts'
export type {
  AuditRow,
  Change,
  ChangesOptions,
  Commit,
  CommitResult,
  Comparison,
  Decision,
  Evidence,
  Images,
  Meter,
  OpenOptions,
  PendingWrite,
  PinInfo,
  ReadStore,
  StagedWrite,
  StageOptions,
  Store,
  StoreEvents,
  SyncWriter,
  TableInfo,
  Transaction,
  TransactOptions,
  VerifyReport,
  WriteOptions,
  Writer,
} from './types-store.ts'
export { createTableWorkers, encodeFragmentOn, FragmentRows } from './worker-tasks.ts'
export type { VacuumKeep, VacuumOptions, VacuumReport } from './types-vacuum.ts'
export type { Branch, BranchId, BranchInfo, BranchOptions, TagInfo, TagOptions } from './types-branches.ts'
export { checkBranchName } from './names.ts'
export type { MergeConflict, MergeOptions, MergeResult, RevertOptions } from './types-merge.ts'
export type { BackupOptions, BackupReport, RestoreOptions } from './types-backup.ts'
export type { SchemaPlan } from './types-schema.ts'
export type { AckMode, AckModeOptions, AckWriteOptions } from './types-ack.ts'
export type { CommitStats, Stats, TableStats, WriteStats } from './types-stats.ts'
export type { LostCommit, LostHistory, RepairAction, RepairKind, RepairProblem, RepairRefusal, RepairReport } from './types-repair.ts'
export type { OptimizeOptions, OptimizeReport } from './types-upkeep.ts'
