// table/columns-in.ts: data given column by column: `columns({ id: [1n, 2n], delay: Int16Array.of(3, 4) })` (api.md section 3).
//
// A typed array whose elements are the stored layout becomes the column without a copy; everything else is checked value by value, as rows are.
// Invariant: all columns are equally long, and known; a column left out follows the rules of rows.
import { SchemaMismatchError } from '../errors.ts'
import { layoutOf } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { BatchOptions } from './arrow-in.ts'
import type { ColumnBatch } from './batch.ts'
import { cellsToVec } from './cell-vecs.ts'
import { type Cell, CellFault, quote } from './cells.ts'
import { didYouMean } from './names.ts'
import { showValue } from './physical.ts'
import { type CellColumns, rowPlan, wrongRows } from './row-plan.ts'
import type { ColumnData } from './types-read.ts'
import type { TableView } from './view.ts'

/**
 * Columns as one batch in stored order.
 *
 * @throws SchemaMismatchError, NullKeyError as rowsToBatch; columns of unequal length: `flights columns: "delay" has 99 rows, "id" has 100`
 */
export function columnsToBatch(view: TableView, data: ColumnData<Readonly<Record<string, ArrayLike<unknown>>>>, o: BatchOptions = {}): ColumnBatch {
  const { given, count } = checked(view, data.columns)
  return encode(view, given, count, o.firstRow ?? 0)
}

/** As columnsToBatch, in batches of at most `targetRows` rows. */
export function* columnsToBatches(
  view: TableView,
  data: ColumnData<Readonly<Record<string, ArrayLike<unknown>>>>,
  o: BatchOptions = {},
): Generator<ColumnBatch, undefined> {
  const { given, count } = checked(view, data.columns)
  const target = o.targetRows ?? count
  if (count <= target) {
    if (count > 0) yield encode(view, given, count, o.firstRow ?? 0)
    return
  }
  for (let start = 0; start < count; start += target) {
    const end = Math.min(count, start + target)
    yield encode(
      view,
      given.map((cells) => cells && stretch(cells, start, end)),
      end - start,
      (o.firstRow ?? 0) + start,
    )
  }
}

function stretch(cells: ArrayLike<unknown>, start: number, end: number): ArrayLike<unknown> {
  if (ArrayBuffer.isView(cells)) return (cells as unknown as Uint8Array).subarray(start, end)
  return Array.prototype.slice.call(cells, start, end) as unknown[]
}

function checked(view: TableView, data: Readonly<Record<string, ArrayLike<unknown>>>): { given: CellColumns; count: number } {
  const table = view.schema.name
  const names = view.columns.map((column) => column.name)
  let first: { name: string; rows: number } | undefined
  for (const name of Object.keys(data)) {
    if (!view.byName.has(name)) {
      throw new SchemaMismatchError(`${table} columns: no column ${quote(name)}${didYouMean(name, names)}`, { details: { table, column: name } })
    }
    const cells: unknown = data[name]
    if (!isCells(cells)) {
      throw new SchemaMismatchError(`${table} columns: ${quote(name)} is ${showValue(cells)}, expected an array`, { details: { table, column: name } })
    }
    first ??= { name, rows: cells.length }
  }
  // In the order of the definition, so that the message does not depend on the order of what was given.
  const lengths = names.filter((name) => Object.hasOwn(data, name)).map((name) => ({ name, rows: data[name]!.length }))
  const longest = lengths.reduce((most, { rows }) => Math.max(most, rows), 0)
  const short = lengths.find(({ rows }) => rows !== longest)
  if (short !== undefined) {
    const full = lengths.find(({ rows }) => rows === longest)!
    const message = `${table} columns: ${quote(short.name)} has ${short.rows} rows, ${quote(full.name)} has ${full.rows}`
    throw new SchemaMismatchError(message, { details: { table, column: short.name } })
  }
  return { given: names.map((name) => (Object.hasOwn(data, name) ? data[name] : undefined)), count: first?.rows ?? 0 }
}

function isCells(value: unknown): value is ArrayLike<unknown> {
  if (Array.isArray(value)) return true
  if (ArrayBuffer.isView(value)) return !(value instanceof DataView)
  return typeof value === 'object' && value !== null && Number.isSafeInteger((value as { length?: unknown }).length)
}

function encode(view: TableView, given: CellColumns, count: number, firstRow: number): ColumnBatch {
  const plan = rowPlan(view)
  const columns: Vec[] = []
  try {
    for (let i = 0; i < plan.cells.length; i++) {
      const cell = plan.cells[i]!
      const cells = given[plan.sources[i]!]
      columns.push((cells && direct(cell, cells, count)) ?? cellsToVec(cell, cells ?? { length: 0 }, count))
    }
  } catch (fault) {
    if (fault instanceof CellFault) throw wrongRows(plan, given, count, firstRow, new Map())
    throw fault
  }
  return { length: count, columns }
}

/** A typed array that is the column already; undefined where values have to be looked at. */
function direct(cell: Cell, cells: ArrayLike<unknown>, count: number): Vec | undefined {
  if (!ArrayBuffer.isView(cells) || !isStoredForm(cell, cells)) return undefined
  const bytes = new Uint8Array(cells.buffer, cells.byteOffset, cells.byteLength)
  return {
    layout: layoutOf(cell.type),
    length: count,
    nullCount: 0,
    validity: undefined,
    values: bytes.byteOffset % 8 === 0 ? bytes : bytes.slice(),
    offsets: undefined,
    children: [],
    dictionary: undefined,
  }
}

/** Every element of such an array is a legal value. Times and dates of a checked range are not among them, nor int64 read as number. */
function isStoredForm(cell: Cell, cells: ArrayBufferView): boolean {
  const { type } = cell
  switch (type.kind) {
    case 'int':
      if (type.bits === 8) return type.signed ? cells instanceof Int8Array : cells instanceof Uint8Array
      if (type.bits === 16) return type.signed ? cells instanceof Int16Array : cells instanceof Uint16Array
      if (type.bits === 32) return type.signed ? cells instanceof Int32Array : cells instanceof Uint32Array
      return cell.as !== 'number' && (type.signed ? cells instanceof BigInt64Array : cells instanceof BigUint64Array)
    case 'float':
      // Of a tuple each value is looked at: NaN is none.
      return !cell.isTuple && (type.bits === 32 ? cells instanceof Float32Array : cells instanceof Float64Array)
    case 'timestamp':
      return (cell.as === 'bigint' || (cell.as === undefined && (type.unit === 'us' || type.unit === 'ns'))) && cells instanceof BigInt64Array
    case 'date':
      return cell.as === 'number' && cells instanceof Int32Array
    default:
      return false
  }
}
