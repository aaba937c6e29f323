// table/types-merge.ts: the types of merges and reverts (api.md sections 6 and 8). Types only.

import type { Lsn } from '../log/index.ts'
import type { AnyTable } from './types.ts'
import type { AckWriteOptions } from './types-ack.ts'
import type { WriteOptions } from './types-store.ts'

/** A row that both sides made something else of. A side is absent where it has no row; of a table without a key there is only `kind`, once. */
export interface MergeConflict {
  table: string
  key: object
  kind: 'bothAdded' | 'bothChanged' | 'deletedChanged' | 'changedDeleted'
  base?: object
  /** The target's. */
  ours?: object
  /** The source's. */
  theirs?: object
}

export interface MergeOptions extends Omit<WriteOptions, keyof AckWriteOptions> {
  /** The branch that the source is merged into. Default "main". */
  into?: string
  /** "column" (default): a row changed on both sides is a conflict where one column was, to two values; "row": wherever both changed it. */
  granularity?: 'column' | 'row'
  /** Nothing is written; the result has what would be, with the conflicts that are left. */
  dryRun?: boolean
  /**
   * "fail" (default): MergeConflictError. "ours", "theirs": that side's row, or of a row that both changed its columns in conflict. A function: the row as it shall
   * be, undefined for none; so `(c) => c.theirs` takes what the source did, its deletes included.
   */
  onConflict?: 'fail' | 'ours' | 'theirs' | ((c: MergeConflict) => object | undefined)
}

export interface MergeResult {
  /** Absent when there was nothing to merge, and of a dry run. */
  lsn?: Lsn
  /** The target had nothing that the source had not. */
  fastForward: boolean
  tables: Record<string, { inserted: number; updated: number; deleted: number }>
  /** The first 1,000, as they were decided by `onConflict`. */
  conflicts: MergeConflict[]
}

export interface RevertOptions extends Omit<WriteOptions, keyof AckWriteOptions> {
  /** Default: all. */
  tables?: readonly AnyTable[]
}
