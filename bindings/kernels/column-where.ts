// kernels/column-where.ts: which rows of a column stand in a relation to a constant, as bitmaps: the kernels of predicate.ts for varve/kernels.
//
// Two-valued: a null or NaN compares false. Bitmaps have bit i of byte i >> 3 for row i and zero bits behind, to a multiple of 64; join them with bitmapAnd,
// bitmapOr, bitmapNot, bitmapAndNot of bitmap.ts.
import { InvalidConfigError } from '../errors.ts'
import { bitmapToIndices } from './bitmap.ts'
import { bitsOfRows, checkColumn, rowCount, sameRows, sameTypes, wrongType } from './column-checks.ts'
import type { Column } from './column.ts'
import { type ArrowType, kindOfType, typeName } from './column-type.ts'
import {
  between as betweenVec,
  type CompareOp,
  compareConst,
  type Constant,
  inList as inListVec,
  isNullBitmap,
  notNullBitmap,
  startsWith as startsWithVec,
} from './predicate.ts'
import { compareColumns } from './predicate-columns.ts'

const encoder = new TextEncoder()

const OPS: ReadonlySet<unknown> = new Set<CompareOp>(['eq', 'ne', 'lt', 'le', 'gt', 'ge'])

/**
 * Rows whose value stands in that relation to a constant, or to the value of the same row of another column. Numbers compare by value; utf8 and binary by
 * unsigned bytes.
 *
 * @param other  number or bigint for numbers, dates, times and decimals (unscaled); string or bytes for utf8; bytes for binary; boolean for bool; or a column
 *   of the same type and length
 * @throws InvalidConfigError (key `constant`) for a constant of another type, (key `column`) for a column of one, (key `op`) for no comparison; RangeError for a column of another length;
 *   UnsupportedTypeError nested types, float16, decimal256
 * @cost one pass; dictionary columns compare each entry once
 * @example compare(columnOf(Int16Array.of(75, 12)), 'gt', 60) // bit 0
 */
export function compare<V>(column: Column<V>, op: CompareOp, other: NoInfer<V> | Column<NoInfer<V>>): Uint8Array<ArrayBuffer> {
  checkColumn(column)
  if (!OPS.has(op)) throw invalid('op', String(op), `a comparison by ${String(op)}`, `Compare by one of ${[...OPS].join(', ')}.`)
  const kind = kindOfType(column.type)
  if (!isColumn(other)) return compareConst(column, kind, op, constantOf(column.type, other))
  sameRows([column, other])
  sameTypes([column, other])
  return compareColumns(column, other, kind, op)
}

function isColumn(value: unknown): value is Column {
  return typeof value === 'object' && value !== null && 'layout' in value
}

/**
 * Rows from low to high, both included. Constants and errors as `compare`.
 *
 * @example between(delay, 0, 15)
 */
export function between<V>(column: Column<V>, low: NoInfer<V>, high: NoInfer<V>): Uint8Array<ArrayBuffer> {
  checkColumn(column)
  const kind = kindOfType(column.type)
  return betweenVec(column, kind, constantOf(column.type, low), constantOf(column.type, high))
}

/**
 * Rows whose value is one of the list. Constants and errors as `compare`.
 *
 * @cost one pass; long lists are sorted and searched
 * @example inList(origin, ['SFO', 'OAK'])
 */
export function inList<V>(column: Column<V>, values: readonly NoInfer<V>[]): Uint8Array<ArrayBuffer> {
  checkColumn(column)
  if (!Array.isArray(values)) throw invalid('constant', typeof values, 'a list of values that is no array', 'Hand in an array of values.')
  const kind = kindOfType(column.type)
  return inListVec(
    column,
    kind,
    values.map((value) => constantOf(column.type, value)),
  )
}

/**
 * Rows of a utf8 or binary column that begin with the prefix, byte by byte.
 *
 * @throws InvalidConfigError (keys `column`, `constant`)
 * @example startsWith(columnOf(['SFO', 'LAX']), 'S')
 */
export function startsWith<V>(column: Column<V>, prefix: NoInfer<V>): Uint8Array<ArrayBuffer> {
  checkColumn(column)
  const { type } = column
  const bytes = constantOf(type, prefix)
  if (!(bytes instanceof Uint8Array)) throw wrongType(type, 'utf8 or binary')
  return startsWithVec(column, bytes)
}

/**
 * Null rows.
 *
 * @cost copies the validity bitmap
 * @example isNull(columnOf(['a', null])) // bit 1
 */
export function isNull(column: Column): Uint8Array<ArrayBuffer> {
  checkColumn(column)
  return isNullBitmap(column)
}

/**
 * Rows that are not null.
 *
 * @cost copies the validity bitmap
 * @example filter(delay, isNotNull(delay))
 */
export function isNotNull(column: Column): Uint8Array<ArrayBuffer> {
  checkColumn(column)
  return notNullBitmap(column)
}

/**
 * Numbers of the rows whose bit is set, ascending: for `take`.
 *
 * @param rows  how many rows the selection covers
 * @throws RangeError for a selection that is too short, or rows that are no whole number below 2^32
 * @example selectedRows(compare(delay, 'gt', 60), delay.length)
 */
export function selectedRows(selection: Uint8Array, rows: number): Uint32Array<ArrayBuffer> {
  return bitmapToIndices(bitsOfRows(selection, rowCount(rows)), rows)
}

/** A constant as the kernels take it. */
function constantOf(type: ArrowType, value: unknown): Constant {
  switch (kindOfType(type)) {
    case 'bool':
      if (typeof value === 'boolean') return value
      break
    case 'bytes': {
      const text = type.kind === 'utf8' || (type.kind === 'dictionary' && type.values.kind === 'utf8')
      if (text && typeof value === 'string') return encoder.encode(value)
      if (value instanceof Uint8Array) return value
      break
    }
    default:
      if (typeof value === 'number' || typeof value === 'bigint') return value
  }
  const found = value === null ? 'null' : typeof value
  throw invalid(
    'constant',
    found,
    `a column of type ${typeName(type)} compared with a value of type ${found}`,
    'Compare with a value of the type of the column.',
  )
}

function invalid(key: string, value: string, message: string, hint: string): InvalidConfigError {
  return new InvalidConfigError(message, { details: { key, value }, hint })
}
