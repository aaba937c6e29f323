// table/terminal.ts: batches of a scan as what callers take: pieces of a stated length, an Arrow IPC stream, plain columns.
//
// Invariant: streams and columns own their memory, so that callers may change them or transfer them to another thread; pieces are views.

import { type ArrowField, ArrowStreamWriter, type ColumnType, valueKindOf } from '../format/index.ts'
import { concat, decodeDictionary, encodeDictionary, slice, type Vec } from '../kernels/index.ts'
import type { ColumnBatch } from './batch.ts'
import { cellReaderOf } from './rows-out.ts'
import { fixedVec, numbersOf } from './vec-views.ts'
import type { ViewColumn } from './view.ts'

/** The batch in pieces of at most `rows` rows; itself when it is small enough. Slices share the buffers where bit offsets allow. */
export function* splitBatch(batch: ColumnBatch, rows: number): Generator<ColumnBatch, undefined> {
  if (batch.length <= rows) {
    yield batch
    return
  }
  for (let from = 0; from < batch.length; from += rows) {
    const to = Math.min(batch.length, from + rows)
    yield { length: to - from, columns: batch.columns.map((vec) => slice(vec, from, to)) }
  }
}

/** Work in pieces of a few milliseconds: whoever runs it may do something else after each. */
export type Steps<R> = Generator<undefined, R>

/** One Arrow IPC stream: schema, one dictionary per dictionary column, the batches. Owns its bytes. */
export function* ipcStream(columns: readonly ViewColumn[], batches: readonly ColumnBatch[]): Steps<Uint8Array> {
  const fields = columns.map(({ name, column }, id): ArrowField => ({
    name,
    nullable: column.nullable,
    type: column.type,
    // Declared as int32 codes: what every Arrow reader takes, and what toArrow hands out.
    ...(isDictionary(column.type) ? { dictionary: { id, width: 4, signed: true } } : {}),
  }))
  const writer = new ArrowStreamWriter(fields)
  const unified: (readonly Vec[] | undefined)[] = []
  for (const [i, { column }] of columns.entries()) {
    unified.push(isDictionary(column.type) ? withOneDictionary(batches.map((batch) => batch.columns[i]!)) : undefined)
    yield
  }
  for (const [b, batch] of batches.entries()) {
    writer.write(
      batch.length,
      batch.columns.map((vec, i) => unified[i]?.[b] ?? decodeDictionary(vec)),
    )
    yield
  }
  return writer.finish()
}

function isDictionary(type: ColumnType): boolean {
  return type.kind === 'utf8' && type.dictionary === true
}

/** Many readers know one dictionary per column and stream, so that the batches' dictionaries become one. */
function withOneDictionary(parts: readonly Vec[]): Vec[] {
  if (parts.length === 0) return []
  const whole = concat(parts)
  const encoded = whole.layout.kind === 'dict' ? whole : encodeDictionary(whole, whole.length)!
  let at = 0
  return parts.map(({ length }) => slice(encoded, at, (at += length)))
}

/** Columns as typed arrays where the column reads as number or bigint and cannot be null, else as arrays of values. Owns its arrays. */
export function* columnsOf(columns: readonly ViewColumn[], batches: readonly ColumnBatch[]): Steps<Record<string, unknown>> {
  const rows = batches.reduce((sum, { length }) => sum + length, 0)
  const out: [string, unknown][] = []
  for (const [i, column] of columns.entries()) {
    const parts = batches.map((batch) => batch.columns[i]!)
    out.push([column.name, typedColumn(column, parts, rows) ?? (yield* valuesOf(column, parts, rows))])
    yield
  }
  return Object.fromEntries(out)
}

function* valuesOf(column: ViewColumn, parts: readonly Vec[], rows: number): Steps<unknown[] | Float64Array> {
  const read = cellReaderOf(column)
  // 64-bit integers read as number that cannot be null: typed like the others, but checked value by value.
  const numbers = column.spec.as === 'number' && !column.column.nullable
  const values: unknown[] | Float64Array = numbers ? new Float64Array(rows) : Array.from({ length: rows })
  let at = 0
  for (const vec of parts) {
    for (let i = 0; i < vec.length; i++) values[at++] = read(vec, i) as number
    yield
  }
  return values
}

/** Undefined where the column does not read as plain numbers. */
function typedColumn(column: ViewColumn, parts: readonly Vec[], rows: number): ArrayBufferView | undefined {
  const { type, nullable } = column.column
  const kind = valueKindOf(type)
  if (nullable || kind === undefined) return undefined
  const wide = kind === 'i64' || kind === 'u64'
  if ((wide && column.spec.as === 'number') || !isStoredAsRead(column)) return undefined
  const width = wide ? 8 : Number(kind.slice(1)) / 8
  const bytes = new Uint8Array(rows * width)
  let at = 0
  for (const { values, length } of parts) {
    bytes.set(values.subarray(0, length * width), at)
    at += length * width
  }
  if (wide) return kind === 'i64' ? new BigInt64Array(bytes.buffer) : new BigUint64Array(bytes.buffer)
  return numbersOf({ ...fixedVec(width, rows, bytes) }, kind)
}

/** Whether the column reads as the very numbers or bigints that are stored. */
function isStoredAsRead({ column: { type }, spec }: ViewColumn): boolean {
  switch (type.kind) {
    case 'int':
    case 'float':
    case 'time':
      return true
    case 'timestamp':
      return spec.as === 'bigint' || type.unit === 'us' || type.unit === 'ns'
    case 'date':
      return spec.as === 'number'
    default:
      return false
  }
}
