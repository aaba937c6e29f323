// engine/write-of.ts: which write or table a record is about.

import { MAIN } from '../catalog/index.ts'
import { changedTables, type IntentMerge, type MergeParent, type SchemaRecord } from '../format/index.ts'
import {
  KIND_BRANCH,
  KIND_COMMIT,
  KIND_FLUSH,
  KIND_MODE,
  KIND_OPTIMIZE,
  KIND_ROLLBACK,
  KIND_SCHEMA,
  KIND_SEAL,
  type StateRecord,
  type StoreState,
} from './state.ts'

/** The write that a record is about, and whether there is an INTENT that recovery finds. */
export function writeOf(record: StateRecord): { readonly id: Uint8Array | undefined; readonly intentKept: boolean } {
  switch (record.kind) {
    case KIND_COMMIT:
      return { id: record.commit.writeId, intentKept: record.commit.isArmed === true }
    case KIND_SEAL:
      return { id: record.seal.writeId, intentKept: true }
    case KIND_ROLLBACK:
      return { id: record.rollback.writeId, intentKept: true }
    case KIND_FLUSH:
      return { id: record.flush.writeId, intentKept: true }
    case KIND_OPTIMIZE:
      return { id: record.optimize.writeId, intentKept: true }
    case KIND_BRANCH:
      return { id: record.branch.id, intentKept: false }
    case KIND_MODE:
      return { id: record.mode.id, intentKept: false }
    case KIND_SCHEMA:
      return { id: record.schema.writeId, intentKept: false }
    default:
      return { id: undefined, intentKept: false }
  }
}

export function creates(record: StateRecord, tableId: number): boolean {
  return record.kind === KIND_SCHEMA && record.schema.create.some((schema) => schema.tableId === tableId)
}

/** Names of the tables that a schema record changes; asked before it is folded. */
export function tablesOf(state: StoreState, schema: SchemaRecord): string[] {
  return changedTables(schema, (id) => state.view(schema.branch ?? MAIN)?.catalog.table(id)?.name)
}

/** What a record of a merge says of where it came from. */
export function mergeParent({ branch, sourceLsn, baseBranch, baseLsn }: IntentMerge): MergeParent {
  return { source: branch, sourceLsn: Number(sourceLsn), base: baseBranch, baseLsn: Number(baseLsn) }
}
