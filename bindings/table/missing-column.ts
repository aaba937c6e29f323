// table/missing-column.ts: a column for rows that are older than it: its default, or nulls.

import type { ColumnDef } from '../format/index.ts'
import { layoutOf } from '../format/index.ts'
import { nullVec, type Vec } from '../kernels/index.ts'
import { cellsToVec } from './cell-vecs.ts'
import { cellOf } from './cells.ts'

export function missingVec(column: ColumnDef, rows: number): Vec {
  if (column.default === undefined) return nullVec(layoutOf(column.type), rows)
  return cellsToVec(cellOf(column, undefined, false), new Array<undefined>(rows).fill(undefined), rows)
}
