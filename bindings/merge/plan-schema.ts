// merge/plan-schema.ts: what a merge does to the definitions of the target (recovery.md section 13). Pure.
//
// A table is its id, its definitions a list of versions that only grows. Definitions are made on one branch and brought to others by merges, so that of two
// branches one has all versions that the other has; where that is not so, the same table was defined two ways.
// Invariant: rows of the source can be read on the target afterwards, whatever version they were written under.

import { SchemaConflictError } from '../errors.ts'
import { canonicalJson, type TableSchema } from '../format/index.ts'

/** A table of one side. */
export interface SideTable {
  readonly schemas: readonly TableSchema[]
  /** Its rows are not those of the base. */
  readonly isChanged: boolean
}

export interface SchemaPlan {
  readonly create: readonly TableSchema[]
  /** Ascending by version within a table. */
  readonly alter: readonly TableSchema[]
  /** Ids. */
  readonly drop: readonly number[]
}

/** @throws SchemaConflictError */
export function planSchema(base: SideTable | undefined, theirs: SideTable | undefined, ours: SideTable | undefined): SchemaPlan {
  if (theirs === undefined) {
    if (base === undefined || ours === undefined) return NOTHING
    if (ours.isChanged || ours.schemas.length > base.schemas.length) throw conflict(ours, 'the source has dropped it, and the target has changed it')
    return { ...NOTHING, drop: [latest(ours).tableId] }
  }
  if (ours === undefined) {
    if (base === undefined) return { ...NOTHING, create: theirs.schemas.slice(0, 1), alter: theirs.schemas.slice(1) }
    if (theirs.isChanged || theirs.schemas.length > base.schemas.length) throw conflict(theirs, 'the target has dropped it, and the source has changed it')
    return NOTHING
  }
  const known = new Map(ours.schemas.map((schema) => [schema.version, schema]))
  for (const schema of theirs.schemas) {
    const own = known.get(schema.version)
    if (own !== undefined && canonicalJson(own) !== canonicalJson(schema))
      throw conflict(theirs, 'both sides have changed its definition', columnBetween(own, schema))
  }
  const { version } = latest(ours)
  return { ...NOTHING, alter: theirs.schemas.filter((schema) => schema.version > version) }
}

const NOTHING: SchemaPlan = { create: [], alter: [], drop: [] }

function latest({ schemas }: SideTable): TableSchema {
  return schemas.at(-1)!
}

/** The first column that the two define in two ways. */
function columnBetween(a: TableSchema, b: TableSchema): string | undefined {
  const columns = new Map(a.columns.map((column) => [column.id, column]))
  for (const column of b.columns) {
    const other = columns.get(column.id)
    columns.delete(column.id)
    if (other === undefined || canonicalJson(other) !== canonicalJson(column)) return column.name
  }
  return [...columns.values()][0]?.name
}

function conflict(table: SideTable, what: string, column?: string): SchemaConflictError {
  const { name } = latest(table)
  return new SchemaConflictError(`table ${JSON.stringify(name)}${column === undefined ? '' : `, column ${JSON.stringify(column)}`}: ${what}`, {
    details: { table: name, ...(column === undefined ? {} : { column }) },
  })
}
