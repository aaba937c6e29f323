// kernels/aggregate.ts: counts, sums and extremes of a column, over all rows or those of a selection. Nulls are skipped, NaN too by extremes.
//
// Integer sums are exact. Float sums are pairwise in row order and do not depend on how rows were selected out: pieces are whole subtrees of one tree.
import { assert } from '../assert.ts'
import { bitmapAnd, bitmapIn, copyPadded, popcount } from './bitmap.ts'
import { compareByteStrings } from './byte-strings.ts'
import type { KernelInstance } from './instance.ts'
import { pieceEnd, pieceRows } from './pieces.ts'
import { scratch } from './scratch.ts'
import { kindCode } from './sort-keys.ts'
import { dictionaryOf, widthOf } from './vec-build.ts'
import type { ValueKind, Vec } from './vec.ts'

const KIND_I128 = 11
/** Rows of float pieces: a power of two of leaves of 128. */
const FLOAT_PIECE_ROWS = 1 << 14

/** Rows that are not null (and selected). */
export function countValid(v: Vec, selection?: Uint8Array): number {
  if (selection === undefined) return v.length - v.nullCount
  if (v.validity === undefined) return popcount(selection, v.length)
  return popcount(bitmapAnd(v.validity, selection, v.length), v.length)
}

/**
 * Sum of the values. i64, u64, i128: an exact bigint, of any size. Smaller integers: a number, exact up to 2^53 and the nearest double beyond (more than two
 * million rows of extremes). Floats: a number. bool and bytes have no sum.
 */
export function sumVec(v: Vec, kind: ValueKind, selection?: Uint8Array): number | bigint {
  if (kind === 'f32' || kind === 'f64') return sumFloats(v, kind, selection)
  const sum = sumBigInt(v, kind, selection)
  return kind === 'i64' || kind === 'u64' || kind === 'i128' ? sum : Number(sum)
}

export interface MinMax {
  readonly min: number | bigint | boolean | Uint8Array
  readonly max: number | bigint | boolean | Uint8Array
}

/** Least and greatest value, or undefined without any (only nulls and NaN). bigint for i64, u64, i128; bytes are copies. */
export function minMaxVec(v: Vec, kind: ValueKind, selection?: Uint8Array): MinMax | undefined {
  if (v.length === 0) return undefined
  if (v.layout.kind === 'bool') return minMaxBool(v, selection)
  if (v.layout.kind === 'dict') return minMaxDict(v, selection)
  if (v.layout.kind === 'var' || kind === 'bytes') return minMaxBytes(v, maskOf(v, selection))
  return minMaxNumbers(v, kind, selection)
}

/** Rows to look at: valid and selected; undefined = all. */
function maskOf(v: Vec, selection: Uint8Array | undefined): Uint8Array | undefined {
  if (selection === undefined) return v.validity
  return v.validity === undefined ? selection : bitmapAnd(v.validity, selection, v.length)
}

/** Runs over pieces of the values: p, first row of the mask (0 = every row), rows. */
function overPieces(v: Vec, selection: Uint8Array | undefined, rows: number, run: (k: KernelInstance, p: number, mask: number, n: number) => void): void {
  const width = widthOf(v.layout)
  const mask = maskOf(v, selection)
  scratch((k) => {
    const bits = mask === undefined ? 0 : bitmapIn(k, mask, v.length)
    const step = Math.min(rows, Math.ceil(v.length / 64) * 64)
    const source = k.arena.reserve(step * width)
    for (let first = 0; first < v.length; first += step) {
      const n = Math.min(step, v.length - first)
      k.u8.set(v.values.subarray(first * width, (first + n) * width), source)
      run(k, source, bits === 0 ? 0 : bits + (first >>> 3), n)
    }
  })
}

/** The exact sum of integers of any width. */
export function sumBigInt(v: Vec, kind: ValueKind, selection?: Uint8Array): bigint {
  const width = widthOf(v.layout)
  let sum = 0n
  if (kind === 'i128' && width === 16) {
    overPieces(v, selection, pieceRows(width), (k, p, mask, n) => {
      const out = k.arena.reserve(24)
      k.u8.fill(0, out, out + 24)
      const rows = mask === 0 ? 0 : k.arena.reserve(n * 4 + 32)
      k.exports.group_sum_128(p, 0, rows, rows === 0 ? n : k.exports.bits_to_indices(mask, n, rows), out)
      sum += (k.view.getBigInt64(out + 16, true) << 128n) + (k.view.getBigUint64(out + 8, true) << 64n) + k.view.getBigUint64(out, true)
    })
    return sum
  }
  const code = kindCode(kind === 'i128' ? 'i64' : kind, width)
  overPieces(v, selection, pieceRows(width), (k, p, mask, n) => {
    const out = k.arena.reserve(16)
    k.exports.sum_ints(p, code, mask, n, out)
    sum += (k.view.getBigInt64(out + 8, true) << 32n) + k.view.getBigInt64(out, true)
  })
  return sum
}

function sumFloats(v: Vec, kind: ValueKind, selection: Uint8Array | undefined): number {
  assert(widthOf(v.layout) === (kind === 'f32' ? 4 : 8), 'floats are stored as they are', v.layout)
  // Sums of subtrees, one per power of two, as the kernel does inside a piece.
  const stack: number[] = []
  let pieces = 0
  overPieces(v, selection, FLOAT_PIECE_ROWS, (k, p, mask, n) => {
    let sum = k.exports.sum_floats(p, kind === 'f32' ? 1 : 0, mask, n)
    pieces++
    for (let left = pieces; n === FLOAT_PIECE_ROWS && left % 2 === 0; left /= 2) sum = stack.pop()! + sum
    stack.push(sum)
  })
  return stack.reduceRight((right, left) => left + right, 0)
}

function minMaxBool(v: Vec, selection: Uint8Array | undefined): MinMax | undefined {
  const mask = maskOf(v, selection)
  const total = mask === undefined ? v.length : popcount(mask, v.length)
  const yes = popcount(mask === undefined ? v.values : bitmapAnd(v.values, mask, v.length), v.length)
  return total === 0 ? undefined : { min: yes === total, max: yes > 0 }
}

function minMaxNumbers(v: Vec, kind: ValueKind, selection: Uint8Array | undefined): MinMax | undefined {
  const width = widthOf(v.layout)
  const code = kind === 'i128' && width === 16 ? KIND_I128 : kindCode(kind === 'i128' ? 'i64' : kind, width)
  let min: number | bigint | undefined
  let max: number | bigint | undefined
  overPieces(v, selection, pieceRows(width), (k, p, mask, n) => {
    const out = k.arena.reserve(32)
    if (k.exports.min_max(p, code, mask, n, out) === 0) return
    const low = readNumber(k.view, out, kind, width)
    const high = readNumber(k.view, out + 16, kind, width)
    if (min === undefined || low < min) min = low
    if (max === undefined || high > max) max = high
  })
  return min === undefined || max === undefined ? undefined : { min, max }
}

function readNumber(view: DataView, at: number, kind: ValueKind, width: number): number | bigint {
  if (kind === 'f32') return view.getFloat32(at, true)
  if (kind === 'f64') return view.getFloat64(at, true)
  const signed = !kind.startsWith('u')
  if (width === 16) return (view.getBigInt64(at + 8, true) << 64n) | view.getBigUint64(at, true)
  const big = kind === 'i64' || kind === 'u64' || kind === 'i128'
  if (width === 8) return signed ? view.getBigInt64(at, true) : view.getBigUint64(at, true)
  const value =
    width === 4
      ? signed
        ? view.getInt32(at, true)
        : view.getUint32(at, true)
      : width === 2
        ? signed
          ? view.getInt16(at, true)
          : view.getUint16(at, true)
        : signed
          ? view.getInt8(at)
          : view.getUint8(at)
  return big ? BigInt(value) : value
}

function minMaxBytes(v: Vec, mask: Uint8Array | undefined): MinMax | undefined {
  const width = v.layout.kind === 'fixed' ? v.layout.width : 0
  const { offsets, length } = v
  const start = (row: number): number => (offsets === undefined ? row * width : offsets[row]!)
  let min: Uint8Array | undefined
  let max: Uint8Array | undefined
  scratch((k) => {
    const bits = mask === undefined ? 0 : bitmapIn(k, mask, length)
    for (let first = 0; first < length;) {
      const end = offsets === undefined ? Math.min(length, first + pieceRows(width)) : pieceEnd(offsets, first, length)
      const mark = k.arena.mark()
      const out = k.arena.reserve(8)
      const at = offsets === undefined ? 0 : k.arena.reserve((end - first + 1) * 4)
      if (offsets !== undefined) k.i32.set(offsets.subarray(first, end + 1), at >>> 2)
      const data = k.copyIn(v.values.subarray(start(first), start(end))) - (offsets === undefined ? 0 : start(first))
      if (k.exports.min_max_bytes(at, data, width, bits === 0 ? 0 : bits + (first >>> 3), end - first, out) > 0) {
        const row = (word: number): Uint8Array => v.values.subarray(start(first + k.u32[word]!), start(first + k.u32[word]! + 1))
        const [low, high] = [row(out >>> 2), row((out >>> 2) + 1)]
        if (min === undefined || compareByteStrings(low, min) < 0) min = low
        if (max === undefined || compareByteStrings(high, max) > 0) max = high
      }
      k.arena.rewind(mark)
      first = end
    }
  })
  return min === undefined || max === undefined ? undefined : { min: (min as Uint8Array).slice(), max: (max as Uint8Array).slice() }
}

function minMaxDict(v: Vec, selection: Uint8Array | undefined): MinMax | undefined {
  const dictionary = dictionaryOf(v)
  const width = widthOf(v.layout)
  const mask = maskOf(v, selection)
  const used = scratch((k) => {
    const bits = mask === undefined ? 0 : bitmapIn(k, mask, v.length)
    const codes = k.copyIn(v.values.subarray(0, v.length * width))
    const bytes = (dictionary.length + 7) >>> 3
    const out = k.arena.reserve(bytes)
    k.u8.fill(0, out, out + bytes)
    k.exports.codes_used(codes, width, bits, v.length, dictionary.length, out)
    return copyPadded(k.u8.subarray(out, out + bytes), dictionary.length)
  })
  return dictionary.length === 0 ? undefined : minMaxBytes(dictionary, used)
}
