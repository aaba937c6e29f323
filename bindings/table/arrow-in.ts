// table/arrow-in.ts: tables and batches of any Arrow library to batches of stored columns, by column name and without loss (api.md section 3).
//
// Columns may come in pieces of their own; every batch given out lies within one piece of each, so that buffers are shared and not joined.
// Invariant: a batch has at most `targetRows` rows; missing columns follow the rules of rows (default, else null, else an error).
import { NullKeyError, SchemaMismatchError } from '../errors.ts'
import { type ArrowColumn, arrowSource, type ArrowTableSource, BufferFault, isArrowLike, type Vec } from '../kernels/index.ts'
import { convert, type DictionaryCache } from './arrow-convert.ts'
import { TypeFault } from './arrow-faults.ts'
import type { ColumnBatch } from './batch.ts'
import { cellsToVec } from './cell-vecs.ts'
import { type Cell, CellFault, quote } from './cells.ts'
import { didYouMean } from './names.ts'
import { errorOf, type RowPlan, rowPlan } from './row-plan.ts'
import type { TableView } from './view.ts'

export { isArrowLike }

export interface BatchOptions {
  /** Number of the first row in messages; 0. */
  readonly firstRow?: number
  /** Most rows of a batch; 65 536. */
  readonly targetRows?: number
}

export const TARGET_ROWS = 65_536

/**
 * The rows of an Arrow table or batch, by column in stored order.
 *
 * @throws SchemaMismatchError: an unknown or missing column, a type that would lose something, buffers that contradict their lengths; NullKeyError
 */
export function* arrowToBatches(view: TableView, data: object, o: BatchOptions = {}): Generator<ColumnBatch, undefined> {
  yield* sourceToBatches(view, sourceOf(view, data), o)
}

/** As arrowToBatches, for a source that is known. */
export function* sourceToBatches(view: TableView, source: ArrowTableSource, o: BatchOptions = {}): Generator<ColumnBatch, undefined> {
  const plan = rowPlan(view)
  const readers = readersOf(plan, source.columns)
  const firstRow = o.firstRow ?? 0
  const target = o.targetRows ?? TARGET_ROWS
  for (let row = 0; row < source.rows;) {
    let count = Math.min(target, source.rows - row)
    for (const reader of readers) count = explained(plan, reader, firstRow + row, () => reader.room(count))
    const columns: Vec[] = []
    for (const reader of readers) columns.push(explained(plan, reader, firstRow + row, () => reader.take(row, count)))
    yield { length: count, columns }
    row += count
  }
}

function sourceOf(view: TableView, data: object): ArrowTableSource {
  try {
    return arrowSource(data)
  } catch (cause) {
    const table = view.schema.name
    throw new SchemaMismatchError(`${table}: the Arrow data cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      details: { table },
      cause,
    })
  }
}

interface ColumnReader {
  readonly cell: Cell
  /** Rows of the current piece, at most `count`; moves on to the next piece at the end of one. */
  room(count: number): number
  /** Rows [row, row + count) of the whole; inside the current piece. */
  take(row: number, count: number): Vec
}

function readersOf(plan: RowPlan, columns: readonly ArrowColumn[]): ColumnReader[] {
  const { view } = plan
  const table = view.schema.name
  const names = view.columns.map((column) => column.name)
  for (const { name } of columns) {
    if (!view.byName.has(name)) {
      throw new SchemaMismatchError(`${table}: no column ${quote(name)}${didYouMean(name, names)}`, { details: { table, column: name } })
    }
  }
  return view.schema.columns.map((stored, i) => {
    const cell = plan.cells[i]!
    const given = plan.sources[i]! < 0 ? undefined : columns.find((column) => column.name === stored.name)
    if (given !== undefined) return given.at === undefined ? chunkReader(given, cell) : valueReader(given.at, cell)
    if (cell.fallback === undefined) {
      throw new SchemaMismatchError(`${table}.${stored.name}: missing, and the column has no default`, { details: { table, column: stored.name } })
    }
    return absentReader(cell)
  })
}

/** Outlives a call: the batches of one file come one by one, and share their dictionaries. */
const dictionaries: DictionaryCache = new WeakMap()

function chunkReader(column: ArrowColumn, cell: Cell): ColumnReader {
  const { chunks } = column
  let chunk = 0
  let base = 0
  let at = 0
  return {
    cell,
    room(count) {
      while (chunk < chunks.length && at === chunks[chunk]!.length) {
        base += at
        at = 0
        chunk++
      }
      if (chunk === chunks.length) throw new BufferFault(`column ${quote(column.name)} ends at row ${base}`)
      return Math.min(count, chunks[chunk]!.length - at)
    },
    take(row, count) {
      const vec = convert(chunks[chunk]!, row - base, count, cell, dictionaries)
      at += count
      return vec
    },
  }
}

/** A library of which only get() is known. */
function valueReader(at: (row: number) => unknown, cell: Cell): ColumnReader {
  return {
    cell,
    room: (count) => count,
    take(row, count) {
      const cells: unknown[] = []
      // In Arrow a missing value is null, whatever the library calls it.
      for (let i = 0; i < count; i++) cells.push(at(row + i) ?? null)
      return cellsToVec(cell, cells, count)
    },
  }
}

function absentReader(cell: Cell): ColumnReader {
  let last: Vec | undefined
  return {
    cell,
    room: (count) => count,
    take: (_row, count) => (last?.length === count ? last : (last = cellsToVec(cell, { length: count }, count))),
  }
}

/** Faults in the words of api.md section 9. */
function explained<T>(plan: RowPlan, reader: ColumnReader, firstRow: number, read: () => T): T {
  const { view } = plan
  const table = view.schema.name
  try {
    return read()
  } catch (fault) {
    const column = view.schema.columns[plan.cells.indexOf(reader.cell)]!.name
    if (fault instanceof CellFault) throw errorOf(view, { fault, column }, firstRow, 1)
    if (fault instanceof TypeFault) throw new SchemaMismatchError(`${table}.${column}${fault.path}: ${fault.message}`, { details: { table, column } })
    if (fault instanceof NullKeyError || fault instanceof SchemaMismatchError) throw fault
    if (fault instanceof BufferFault || fault instanceof TypeError || fault instanceof RangeError) {
      throw new SchemaMismatchError(`${table}.${column}: the Arrow data contradicts itself: ${fault.message}`, { details: { table, column }, cause: fault })
    }
    throw fault
  }
}
