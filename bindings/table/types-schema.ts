// table/types-schema.ts: the types of schema changes (api.md section 6). Types only.

import type { Lsn } from '../log/index.ts'

/** What apply() does, or with `dryRun` would do. No steps: the store has these definitions. */
export interface SchemaPlan {
  /**
   * In order. `kind`: addTable, renameTable, dropTable, addColumn, renameColumn, dropColumn, widen, allowNull, forbidNull, setDefault, addUnique, dropUnique,
   * addIndex, dropIndex. `column`: also the columns of a constraint or index.
   */
  steps: { table: string; kind: string; column?: string; rewrites: boolean; losesData: boolean }[]
  /** Of the record; absent when nothing was written. */
  lsn?: Lsn
}
