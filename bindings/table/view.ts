// table/view.ts: the code's definition of a table held against the stored one (api.md section 1: "the code's definition is a view").

import type { ColumnDef, ColumnType, TableSchema } from '../format/index.ts'
import type { AnyTable } from './types.ts'

/** What a column of a definition carries at run time (`table.columns[name].spec`). */
export interface ColumnSpec {
  readonly type: ColumnType
  readonly nullable: boolean
  /** As handed to default(); absent = none. */
  readonly default?: unknown
  /** The reader's choice of JavaScript type; absent = the type's default. */
  readonly as?: 'number' | 'bigint' | 'date' | 'string'
  readonly renamedFrom?: string
  /** list and fixedSizeList: the item; struct: its fields in order. Carries what `type` does not: `as` and defaults of nested values. Absent = plain. */
  readonly children?: readonly ColumnSpec[]
}

export interface ViewColumn {
  readonly name: string
  readonly column: ColumnDef
  readonly spec: ColumnSpec
  /** Place in the stored schema's columns. */
  readonly index: number
}

export interface TableView {
  readonly table: AnyTable
  readonly schema: TableSchema
  /** The definition's columns, in its order. */
  readonly columns: readonly ViewColumn[]
  readonly byName: ReadonlyMap<string, ViewColumn>
  readonly key: readonly ViewColumn[]
}
