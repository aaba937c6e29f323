// table/batch.ts: the shapes that reads are made of: batches of columns, and one immutable version of a table to read from.
//
// Invariant: a TableVersion never changes; whoever holds one reads the same rows for as long as it likes.

import type { ColumnDef, TableSchema } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { AccessPath, Foreseen, Selection } from './access-paths.ts'

/** Rows by column, in the order of the schema (or of a stated selection). Every Vec has `length` rows. */
export interface ColumnBatch {
  readonly length: number
  readonly columns: readonly Vec[]
}

/** Statistics of one column over a fragment or a record batch. */
export interface ColumnStats {
  readonly nullCount: number
  /** In the column's ValueKind: number (<= 32 bits, floats, bool as 0/1), bigint (64 and 128 bits), Uint8Array (bytes; may be a shortened lower bound). Absent: unknown, or no value. */
  readonly min?: number | bigint | Uint8Array
  /** As min; for bytes possibly a rounded-up upper bound. */
  readonly max?: number | bigint | Uint8Array
  /** Floats: whether a NaN is present. */
  readonly hasNaN?: boolean
}

/** One run of at most 64 Ki stored rows: a record batch of a fragment, or a chunk of the memory layer. */
export interface BatchSource {
  readonly rows: number
  /** Bitmap of rows that live at this version; undefined = all. */
  live(): Uint8Array | undefined
  readonly liveCount: number
  /** Statistics of one column over this batch, where the file has them; as SourceGroup.stats, they cover hidden rows too. */
  stats?(columnId: number): ColumnStats | undefined
  /** Decoded columns in the order asked (old schema versions already mapped: missing columns come as defaults or nulls). Strings may be `dict`. Cached; sync when `ready`. */
  load(columns: readonly ColumnDef[], signal?: AbortSignal): Promise<readonly Vec[]>
  /** As load, blocking; memory and local roots. */
  loadSync(columns: readonly ColumnDef[]): readonly Vec[]
  /** Everything asked is in memory: loadSync does no I/O. */
  ready(columns: readonly ColumnDef[]): boolean
}

/** A fragment, or the memory layer (one pseudo-fragment without statistics), at one version. */
export interface SourceGroup {
  readonly kind: 'fragment' | 'memory'
  /** "<lsn>.<ordinal>" of a fragment. */
  readonly id: string
  readonly rows: number
  readonly liveRows: number
  /** Bytes of the file; 0 for memory. */
  readonly bytes: number
  /** Statistics over the whole group by column id; undefined when unknown. They cover hidden rows too: good for pruning, not for min/max answers unless liveRows == rows. */
  stats(columnId: number): ColumnStats | undefined
  /** Compressed bytes that reading these columns costs; for explain(). */
  bytesOf(columns: readonly ColumnDef[]): number
  readonly batches: readonly BatchSource[]
  /** The rows that may pass, by the best of these paths; undefined: all may. Absent: the group has no index. */
  select?(paths: readonly AccessPath[], signal?: AbortSignal): Selection | undefined | Promise<Selection | undefined>
  /** What `select` would do, without I/O; undefined: it would not use an index. */
  foresee?(paths: readonly AccessPath[]): Foreseen | undefined
  /** The group has the index of a path. */
  covers?(path: AccessPath): boolean
}

export interface TableVersion {
  /** Position that this version shows. */
  readonly lsn: bigint
  readonly schema: TableSchema
  readonly liveRows: number
  /** In storage order. */
  readonly groups: readonly SourceGroup[]
}
