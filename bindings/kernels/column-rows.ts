// kernels/column-rows.ts: rows of columns chosen, cut and put together, for varve/kernels: the kernels of columns.ts, concat.ts and dictionary.ts on columns
// that know their type.
//
// Results own their buffers, except where rows were left as they are (decision 0002): a filter that keeps every row gives the column itself, slices are views.
import { settledWords } from './buffer.ts'
import { bitsOfRows, checkColumn, inBounds, sameRows, sameTypes, wrongType } from './column-checks.ts'
import type { Column } from './column.ts'
import { typed } from './column.ts'
import type { ArrowType } from './column-type.ts'
import { filterMany as filterVecs, slice as sliceVec, takeMany as takeVecs } from './columns.ts'
import { concat as concatVecs } from './concat.ts'
import { convertInts, decodeDictionary as decodeVec, encodeDictionary as encodeVec, unifyDictionaries as unifyVecs } from './dictionary.ts'
import { dictionaryOf, makeVec } from './vec-build.ts'
import type { Vec } from './vec.ts'

function retyped<V>(vec: Vec, of: Column<V>): Column<V> {
  return vec === of ? of : typed(vec, of.type)
}

/**
 * Rows by number, in the order given; 0xFFFFFFFF gives null.
 *
 * @param indices  row numbers below column.length; repeats are fine
 * @throws RangeError for a row that is not there; OffsetOverflowError above 2 GiB of text
 * @cost copies the rows taken
 * @example take(columnOf(Int32Array.of(10, 20, 30)), Uint32Array.of(2, 0)) // 30, 10
 */
export function take<V>(column: Column<V>, indices: Uint32Array): Column<V> {
  return takeMany([column], indices)[0]!
}

/**
 * `take` of the same rows from several columns of one length; the row numbers are checked once. Errors as `take`.
 *
 * @example const [origins, delays] = takeMany([origin, delay], rows)
 */
export function takeMany<const C extends readonly Column[]>(columns: C, indices: Uint32Array): { -readonly [I in keyof C]: C[I] } {
  sameRows(columns)
  const rows = settledWords(indices)
  const vecs = inBounds(() => takeVecs(columns, rows))
  return vecs.map((vec, i) => retyped(vec, columns[i]!)) as { -readonly [I in keyof C]: C[I] }
}

/**
 * Rows whose bit is set.
 *
 * @param selection  bit i of byte i >> 3 = row i; at least column.length bits
 * @throws RangeError for a selection that is too short; OffsetOverflowError
 * @cost copies the rows kept; none when all are
 * @example filter(delay, compare(delay, 'gt', 60))
 */
export function filter<V>(column: Column<V>, selection: Uint8Array): Column<V> {
  return filterMany([column], selection)[0]!
}

/**
 * `filter` of several columns of one length by one selection, which is copied in and counted once. Errors as `filter`.
 *
 * @example const [origins, delays] = filterMany([origin, delay], selection)
 */
export function filterMany<const C extends readonly Column[]>(columns: C, selection: Uint8Array): { -readonly [I in keyof C]: C[I] } {
  const n = sameRows(columns)
  return filterVecs(columns, bitsOfRows(selection, n), n).map((vec, i) => retyped(vec, columns[i]!)) as { -readonly [I in keyof C]: C[I] }
}

/**
 * Rows start .. end - 1.
 *
 * @throws RangeError outside 0 <= start <= end <= column.length
 * @cost views of the column's buffers; bitmaps are copied where `start` is no multiple of 8
 * @example slice(column, 100, 200)
 */
export function slice<V>(column: Column<V>, start: number, end: number): Column<V> {
  checkColumn(column)
  const whole = Number.isInteger(start) && Number.isInteger(end)
  if (!(whole && start >= 0 && start <= end && end <= column.length)) throw new RangeError(`rows ${start}..${end} of a column of ${column.length}`)
  return retyped(sliceVec(column, start, end), column)
}

/**
 * All rows of columns of one type, in order. Dictionaries that differ are unified in first-seen order; beside plain text they are decoded.
 *
 * @throws RangeError without columns; InvalidConfigError (key `column`) for columns of several types; OffsetOverflowError above 2 GiB of text; DictionaryOverflowError
 * @cost copies every row; none for a single column
 * @example concat([columnOf(['a']), columnOf(['b', null])])
 */
export function concat<V>(columns: readonly Column<V>[]): Column<V> {
  const [head] = columns
  if (columns.length === 0) throw new RangeError('no columns to put together: one at least expected')
  sameTypes(columns)
  const vec = concatVecs(columns)
  return typed(vec, plainUnless(vec, columns.find((column) => column.type.kind === 'dictionary')?.type ?? head!.type))
}

/** The type of what a column of that type became: plain, when it has no codes any more. */
function plainUnless(vec: Vec, type: ArrowType): ArrowType {
  return type.kind === 'dictionary' && vec.layout.kind !== 'dict' ? type.values : type
}

/**
 * A utf8 or binary column as codes of its distinct values, in first-seen order.
 *
 * @param distinctMax  give up above this many distinct values; the rows of the column when left out
 * @returns undefined when given up
 * @throws RangeError for a bound below 0; InvalidConfigError (key `column`) for a column of another type
 * @cost one hash a row
 * @example encodeDictionary(columnOf(['a', 'b', 'a']))
 */
export function encodeDictionary<V>(column: Column<V>, distinctMax?: number): Column<V> | undefined {
  checkColumn(column)
  const { type, length } = column
  const most = distinctMax ?? length
  if (!(most >= 0)) throw new RangeError(`${most} distinct values at most: a number from 0 on expected`)
  if (type.kind === 'dictionary') return column
  if (type.kind !== 'utf8' && type.kind !== 'binary') throw wrongType(type, 'utf8 or binary')
  const vec = encodeVec(column, most)
  return vec && typed(vec, { kind: 'dictionary', values: type, bits: 32, signed: true, ordered: false })
}

/**
 * The rows of a dictionary column as plain bytes; any other column as it is.
 *
 * @throws OffsetOverflowError above 2 GiB of text
 * @cost copies the value of every row
 * @example decodeDictionary(columnOf(table.getChild('origin')))
 */
export function decodeDictionary<V>(column: Column<V>): Column<V> {
  checkColumn(column)
  return column.type.kind === 'dictionary' ? typed(decodeVec(column), column.type.values) : column
}

/**
 * The same dictionary columns with one dictionary, so that equal codes mean equal values.
 *
 * @throws InvalidConfigError (key `column`) for a column that has no dictionary, or another type of values
 * @cost one hash per dictionary entry, one look-up a row
 * @example const [a, b] = unifyDictionaries([january, february])
 */
export function unifyDictionaries<V>(columns: readonly Column<V>[]): Column<V>[] {
  sameTypes(columns)
  for (const { type } of columns) if (type.kind !== 'dictionary') throw wrongType(type, 'dictionary')
  const { dictionary, width, maps } = unifyVecs(columns.map(dictionaryOf))
  return columns.map((column, i) => {
    const from = column.layout.kind === 'dict' ? column.layout.width : 4
    const { validity, nullCount } = column
    const values = convertInts(column.values, from, width, false, column.length, maps[i]!)
    return typed(makeVec({ kind: 'dict', width }, column.length, { validity, nullCount, values, dictionary }), column.type)
  })
}
