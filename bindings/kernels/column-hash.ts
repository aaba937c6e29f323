// kernels/column-hash.ts: 64-bit hashes of the rows of a column, for varve/kernels: checksum.ts and xxh64.ts on columns that know their type.
//
// Hashes are pairs of u32, as the bloom filters take them: row i at 2i (low word) and 2i + 1 (high word). Invariant: null rows hash to 0.
import { xxh3Column as xxh3Vec } from './checksum.ts'
import { checkColumn, wrongType } from './column-checks.ts'
import type { Column } from './column.ts'
import { kindOfType } from './column-type.ts'
import { decodeDictionary } from './dictionary.ts'
import { xxh64Column as xxh64Vec } from './xxh64.ts'

/**
 * XXH3-64 (seed 0) of each value: integers as 8 bytes (sign- or zero-extended), floats as float64 with -0 as +0 and one NaN, bool as one byte, utf8 and binary
 * as their bytes, so that a value hashes alike in every width it is stored in. Null rows give 0.
 *
 * @returns 2 words a row: low, high
 * @throws UnsupportedTypeError nested types, float16, decimal256
 * @cost one pass; dictionary columns hash each entry once
 * @example BloomFilter.build(xxh3Column(columnOf(['a', 'b'])))
 */
export function xxh3Column(column: Column): Uint32Array<ArrayBuffer> {
  checkColumn(column)
  return withoutNulls(column, xxh3Vec(column, kindOfType(column.type)))
}

/**
 * XXH64 (seed 0) of each value as it is stored: what Parquet's bloom filters ask for. Null rows give 0.
 *
 * @returns 2 words a row: low, high
 * @throws InvalidConfigError (key `column`) bool; UnsupportedTypeError nested types
 * @cost one pass; dictionaries are decoded
 * @example decodeParquetBloom(bytes, 'chunk 0').probeMany(xxh64Column(ids))
 */
export function xxh64Column(column: Column): Uint32Array<ArrayBuffer> {
  checkColumn(column)
  const kind = kindOfType(column.type)
  if (kind === 'bool') throw wrongType(column.type, 'numbers or bytes')
  return withoutNulls(column, xxh64Vec(decodeDictionary(column)))
}

function withoutNulls({ validity, length }: Column, hashes: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  if (validity === undefined) return hashes
  for (let row = 0; row < length; row++) if (((validity[row >>> 3]! >>> (row & 7)) & 1) === 0) hashes.fill(0, 2 * row, 2 * row + 2)
  return hashes
}
