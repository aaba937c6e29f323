// kernels/column-keys.ts: keys of one or several columns, for varve/kernels: canonical bytes, hashes and joins (keys.ts, key-table.ts) of columns that know
// their type.
//
// Invariant: two keys are equal exactly when their canonical bytes are; a key with a null in it equals nothing.
import { InvalidConfigError } from '../errors.ts'
import { bitmapAnd, bitmapToIndices, popcount } from './bitmap.ts'
import { checkColumn, sameRows, sameTypes } from './column-checks.ts'
import type { Column } from './column.ts'
import { kindOfType } from './column-type.ts'
import { takeMany } from './columns.ts'
import { joinKeys, type KeyColumn, NO_ROW } from './key-table.ts'
import { canonicalKeys as canonicalVecs, keyHashes as hashVecs } from './keys.ts'
import type { ValueKind, Vec } from './vec.ts'

function kindsOf(columns: readonly Column[]): ValueKind[] {
  if (columns.length === 0) throw new RangeError('a key of no columns: one at least expected')
  for (const column of columns) checkColumn(column)
  return columns.map(({ type }) => kindOfType(type))
}

function withoutNulls(columns: readonly Column[]): void {
  const column = columns.findIndex(({ nullCount }) => nullCount > 0)
  if (column < 0) return
  throw new InvalidConfigError(`key column ${column} has nulls`, {
    details: { key: 'column', value: 'null' },
    hint: 'Leave the rows with a null in their key out: filter by isNotNull.',
  })
}

/**
 * The canonical bytes of each key: for `KeyTable`. Integers of any width are 8 bytes, floats float64 with -0 as +0 and one NaN, decimals of 128 bits 16 bytes,
 * texts their bytes, behind their length where a key has several columns.
 *
 * @param columns  in key order, of one length, without nulls; dictionaries give the bytes of their values
 * @throws InvalidConfigError (key `column`) for nulls; RangeError; UnsupportedTypeError nested types, float16, decimal256; OffsetOverflowError at 2 GiB
 * @cost one pass a column
 * @example table.put(canonicalKeys([airline, flight]))
 */
export function canonicalKeys(columns: readonly Column[]): KeyColumn {
  const kinds = kindsOf(columns)
  sameRows(columns)
  withoutNulls(columns)
  return canonicalVecs(columns, kinds)
}

/**
 * XXH3-64 (seed 0) of the key of each row: of one column as `xxh3Column`, of several of their canonical bytes. Errors as `canonicalKeys`.
 *
 * @returns 2 words a row: low, high
 * @example BloomFilter.build(keyHashes([airline, flight]))
 */
export function keyHashes(columns: readonly Column[]): Uint32Array<ArrayBuffer> {
  const kinds = kindsOf(columns)
  const rows = sameRows(columns)
  withoutNulls(columns)
  return hashVecs(columns, kinds, rows)
}

/**
 * Hash join: of each probe row the build row with the same key, the last one where there are several, or 0xFFFFFFFF, which `take` turns into null. A null in
 * a key matches nothing.
 *
 * @param build  key columns of the side that is looked up
 * @param probe  as many key columns of the same types
 * @returns a build row per probe row, and how many were found
 * @throws InvalidConfigError (key `column`) for columns of several types; RangeError, UnsupportedTypeError, OffsetOverflowError as `canonicalKeys`
 * @cost one hash a row of both sides; all keys in kernel memory
 * @example const names = take(airportName, join([airportCode], [origin]).rows)
 */
export function join(build: readonly Column[], probe: readonly Column[]): { readonly rows: Uint32Array<ArrayBuffer>; readonly found: number } {
  const kinds = kindsOf(build)
  if (probe.length !== build.length) throw new RangeError(`keys of ${build.length} and ${probe.length} columns are joined: one number expected`)
  for (const i of build.keys()) sameTypes([build[i]!, probe[i]!])
  const left = complete(build, sameRows(build))
  const right = complete(probe, sameRows(probe))
  const joined = joinKeys(canonicalVecs(left.vecs, kinds), canonicalVecs(right.vecs, kinds))
  const buildRow = (row: number): number => (row === NO_ROW || left.rows === undefined ? row : left.rows[row]!)
  if (right.rows === undefined) return { rows: left.rows === undefined ? joined.rows : joined.rows.map(buildRow), found: joined.found }
  const rows = new Uint32Array(probe[0]!.length).fill(NO_ROW)
  right.rows.forEach((row, i) => {
    rows[row] = buildRow(joined.rows[i]!)
  })
  return { rows, found: joined.found }
}

/** The rows without a null: all (`rows` undefined), or their numbers. */
function complete(columns: readonly Vec[], n: number): { readonly vecs: readonly Vec[]; readonly rows: Uint32Array | undefined } {
  let valid: Uint8Array | undefined
  for (const { validity } of columns) if (validity !== undefined) valid = valid === undefined ? validity : bitmapAnd(valid, validity, n)
  if (valid === undefined || popcount(valid, n) === n) return { vecs: columns, rows: undefined }
  const rows = bitmapToIndices(valid, n)
  return { vecs: takeMany(columns, rows), rows }
}
