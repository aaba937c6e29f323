// table/row-plan.ts: what writing through a view needs, made once per view, and how a wrong cell becomes the error a caller sees.
//
// Invariant: `cells` follows the stored schema; a stored column that the view does not name has source -1 and takes its default, else null.
import { NullKeyError, SchemaMismatchError } from '../errors.ts'
import type { Vec } from '../kernels/index.ts'
import { cellsToVec } from './cell-vecs.ts'
import { type Cell, CellFault, cellOf } from './cells.ts'
import { RowShapes } from './row-shapes.ts'
import type { TableView } from './view.ts'

export interface RowPlan {
  readonly view: TableView
  /** One per stored column. */
  readonly cells: readonly Cell[]
  /** Per stored column: its place among the view's columns, or -1. */
  readonly sources: readonly number[]
  readonly shapes: RowShapes
}

const plans = new WeakMap<TableView, RowPlan>()

export function rowPlan(view: TableView): RowPlan {
  let plan = plans.get(view)
  if (plan === undefined) {
    plan = makePlan(view)
    plans.set(view, plan)
  }
  return plan
}

function makePlan(view: TableView): RowPlan {
  const { key, unique } = view.schema
  const tuples = new Set(unique.flat())
  const sources = view.schema.columns.map((_, index) => view.columns.findIndex((column) => column.index === index))
  return {
    view,
    cells: view.schema.columns.map((column, i) =>
      cellOf(column, view.columns[sources[i]!]?.spec, key.includes(column.id), key.includes(column.id) || tuples.has(column.id)),
    ),
    sources,
    shapes: new RowShapes(view.columns.map((column) => column.name)),
  }
}

/** What a message calls the data: rows are counted from `firstRow`. */
export interface Fault {
  readonly fault: CellFault
  /** Stored column; undefined = the row itself. */
  readonly column: string | undefined
}

/** Values by view column; undefined = the column was not given. */
export type CellColumns = readonly (ArrayLike<unknown> | undefined)[]

const NOTHING: ArrayLike<unknown> = { length: 0 }

/** Stored columns from values by view column. @throws CellFault */
export function vecsOf(plan: RowPlan, columns: CellColumns, count: number): Vec[] {
  const { cells, sources } = plan
  const vecs: Vec[] = []
  for (let i = 0; i < cells.length; i++) vecs.push(cellsToVec(cells[i]!, columns[sources[i]!] ?? NOTHING, count))
  return vecs
}

/** Most wrong rows that are counted. */
const WRONG_ROWS_MAX = 100
const LOOK_ROWS = 512

/**
 * The error for data that has a wrong row: names the first one, counts up to 100.
 *
 * @param rowFaults rows that are wrong as such, by place
 */
export function wrongRows(plan: RowPlan, columns: CellColumns, count: number, firstRow: number, rowFaults: ReadonlyMap<number, CellFault>): Error {
  let first: Fault | undefined
  let total = 0
  for (let start = 0; start < count && total < WRONG_ROWS_MAX; start += LOOK_ROWS) {
    const end = Math.min(count, start + LOOK_ROWS)
    if (isSound(plan, columns, start, end, rowFaults)) continue
    for (let row = start; row < end && total < WRONG_ROWS_MAX; row++) {
      const found = faultOfRow(plan, columns, row, rowFaults)
      if (found === undefined) continue
      first ??= found
      total++
    }
  }
  // Data that changed while it was read (a getter, a row shared with other code) may be sound on the second look.
  first ??= { fault: new CellFault(0, '', 'changed while it was read'), column: undefined }
  return errorOf(plan.view, first, firstRow, Math.max(1, total))
}

function isSound(plan: RowPlan, columns: CellColumns, start: number, end: number, rowFaults: ReadonlyMap<number, CellFault>): boolean {
  if (rowFaults.size > 0) for (let row = start; row < end; row++) if (rowFaults.has(row)) return false
  try {
    vecsOf(
      plan,
      columns.map((cells) => cells && sliceOf(cells, start, end)),
      end - start,
    )
    return true
  } catch (fault) {
    if (fault instanceof CellFault) return false
    throw fault
  }
}

function sliceOf(cells: ArrayLike<unknown>, start: number, end: number): unknown[] {
  const out: unknown[] = []
  for (let i = start; i < end; i++) out.push(cells[i])
  return out
}

/** The first fault of one row: the row itself, then its columns in the order of the definition, then the stored columns that it does not name. */
function faultOfRow(plan: RowPlan, columns: CellColumns, row: number, rowFaults: ReadonlyMap<number, CellFault>): Fault | undefined {
  const whole = rowFaults.get(row)
  if (whole !== undefined) return { fault: new CellFault(row, whole.path, whole.message), column: undefined }
  const { cells, sources, view } = plan
  const order = cells.map((_, i) => i).toSorted((a, b) => (sources[a]! < 0 ? cells.length : sources[a]!) - (sources[b]! < 0 ? cells.length : sources[b]!))
  for (const i of order) {
    try {
      cellsToVec(cells[i]!, [columns[sources[i]!]?.[row]], 1)
    } catch (fault) {
      if (!(fault instanceof CellFault)) throw fault
      return { fault: new CellFault(row, fault.path, fault.message, fault.nullKey), column: view.schema.columns[i]!.name }
    }
  }
  return undefined
}

/** `flights.data.seat row 3: expected int16, got string "late"` */
export function errorOf(view: TableView, { fault, column }: Fault, firstRow: number, total: number): Error {
  const table = view.schema.name
  const row = firstRow + fault.index
  if (column === undefined) return new SchemaMismatchError(`${table} row ${row}: ${fault.message}`, detailsOf({ table, row, total }))
  const message = `${table}.${column}${fault.path} row ${row}: ${fault.message}`
  if (fault.nullKey) return new NullKeyError(message, detailsOf({ table, column, row, total }))
  return new SchemaMismatchError(message, detailsOf({ table, column, row, total }))
}

function detailsOf<D extends object>(details: D): { details: D } {
  return { details }
}
