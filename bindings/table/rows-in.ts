// table/rows-in.ts: rows (plain objects or class instances) to one batch of columns in stored order, checked as api.md section 9 words it.
//
// The values are gathered per column first and each column is then encoded by one loop; only when something is wrong are rows looked at one by one,
// so that the first wrong row (not the first wrong column) is the one named.
import type { ColumnBatch } from './batch.ts'
import { CellFault } from './cells.ts'
import { type RowPlan, rowPlan, vecsOf, wrongRows } from './row-plan.ts'
import type { TableView } from './view.ts'

export interface RowsOptions {
  /** Number of the first row in messages; 0. */
  readonly firstRow?: number
}

/**
 * Check rows and store them by column, in the order of the stored schema.
 *
 * @throws SchemaMismatchError, NullKeyError: naming the first wrong row, `details.total` wrong rows (counted up to 100); OffsetOverflowError: over 2 GiB in one column
 */
export function rowsToBatch(view: TableView, rows: readonly object[], o: RowsOptions = {}): ColumnBatch {
  const plan = rowPlan(view)
  const columns: unknown[][] = view.columns.map(() => new Array<unknown>(rows.length))
  try {
    for (let i = 0; i < rows.length; i++) plan.shapes.take(rows[i], columns, i)
    return { length: rows.length, columns: vecsOf(plan, columns, rows.length) }
  } catch (fault) {
    if (fault instanceof CellFault) throw explainRows(plan, rows, o.firstRow ?? 0)
    throw fault
  }
}

/** The error for rows of which one is wrong. */
export function explainRows(plan: RowPlan, rows: readonly unknown[], firstRow: number): Error {
  const columns: unknown[][] = plan.view.columns.map(() => new Array<unknown>(rows.length))
  const rowFaults = new Map<number, CellFault>()
  for (let i = 0; i < rows.length; i++) {
    try {
      plan.shapes.take(rows[i], columns, i)
    } catch (fault) {
      if (!(fault instanceof CellFault)) throw fault
      rowFaults.set(i, fault)
    }
  }
  return wrongRows(plan, columns, rows.length, firstRow, rowFaults)
}
