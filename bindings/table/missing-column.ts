// table/missing-column.ts: a column for rows that are older than it: what it was added with, or nulls.
//
// Invariant: a default that changes later changes no row that is there.

import type { ColumnDef } from '../format/index.ts'
import { layoutOf } from '../format/index.ts'
import { nullVec, type Vec } from '../kernels/index.ts'
import { cellsToVec } from './cell-vecs.ts'
import { cellOf } from './cells.ts'

export function missingVec(column: ColumnDef, rows: number): Vec {
  const { initial = column.default } = column
  if (initial === undefined || initial === null) return nullVec(layoutOf(column.type), rows)
  return cellsToVec(cellOf({ ...column, default: initial }, undefined, false), new Array<undefined>(rows).fill(undefined), rows)
}
