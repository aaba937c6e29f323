// kernels/predicate.ts: comparisons of a column with constants, as bitmaps padded with zero bits to 64 rows.
//
// Two-valued: a null or NaN cell compares false. Numbers turn into closed ranges of what the column stores (predicate-ranges.ts), bytes compare unsigned,
// dictionary columns are judged once per entry. Invariant: bit i is set exactly when row i is valid and the comparison holds.
import { assert } from '../assert.ts'
import { andInto, bitmapBytes, bitmapNot, copyPadded } from './bitmap.ts'
import { compareByteStrings } from './byte-strings.ts'
import type { KernelInstance } from './instance.ts'
import { pieceEnd, pieceRows } from './pieces.ts'
import { inRanges, inSorted, rangesIn, rangesOf } from './predicate-ranges.ts'
import type { Range } from './predicate-ranges.ts'
import { scratch } from './scratch.ts'
import { dictionaryOf, offsetsOf } from './vec-build.ts'
import type { ValueKind, Vec } from './vec.ts'

export type CompareOp = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'
/** number: i8..u32, f32, f64; bigint: i64, u64, i128; Uint8Array: bytes; boolean: bool. */
export type Constant = number | bigint | boolean | Uint8Array

/** Above this many ranges a sorted list is searched instead. */
const RANGES_MAX = 16

/** Rows whose value stands in that relation to the constant. `ne` holds for valid values only: api.md's `ne` is the complement of `eq`. */
export function compareConst(v: Vec, kind: ValueKind, op: CompareOp, constant: Constant): Uint8Array<ArrayBuffer> {
  if (v.layout.kind === 'bool') return compareBool(v, op, constant)
  if (constant instanceof Uint8Array) return compareBytes(v, constant, ACCEPT[op])
  return withNulls(v, inRanges(v, kind, rangesOf(v, kind, op, constant)))
}

/** Rows within low and high, both included. */
export function between(v: Vec, kind: ValueKind, low: Constant, high: Constant): Uint8Array<ArrayBuffer> {
  if (v.layout.kind === 'bool' || low instanceof Uint8Array) {
    const bits = compareConst(v, kind, 'ge', low)
    andInto(bits, compareConst(v, kind, 'le', high), v.length)
    return bits
  }
  const [from] = rangesOf(v, kind, 'ge', low)
  const [to] = rangesOf(v, kind, 'le', high as number | bigint)
  const range = from && to && ({ low: from.low, high: to.high } as Range)
  return withNulls(v, inRanges(v, kind, range !== undefined && range.low <= range.high ? [range] : []))
}

/** Rows equal to one of the values. */
export function inList(v: Vec, kind: ValueKind, values: readonly Constant[]): Uint8Array<ArrayBuffer> {
  if (v.layout.kind === 'bool') {
    const [yes, no] = [values.includes(true), values.includes(false)]
    if (yes && no) return notNullBitmap(v)
    return yes || no ? compareBool(v, 'eq', yes) : new Uint8Array(bitmapBytes(v.length))
  }
  if (kind === 'bytes') return inBytes(v, values as readonly Uint8Array[])
  const ranges = (values as readonly (number | bigint)[]).flatMap((value) => rangesOf(v, kind, 'eq', value))
  if (ranges.length <= RANGES_MAX) return withNulls(v, inRanges(v, kind, ranges))
  return withNulls(v, inSorted(v, kind, ranges))
}

/** Rows of a var, dict or fixed column of bytes that begin with the prefix. */
export function startsWith(v: Vec, prefix: Uint8Array): Uint8Array<ArrayBuffer> {
  return compareBytes(v, prefix, STARTS_WITH)
}

/** Null rows. */
export function isNullBitmap(v: Vec): Uint8Array<ArrayBuffer> {
  return v.validity === undefined ? new Uint8Array(bitmapBytes(v.length)) : bitmapNot(v.validity, v.length)
}

/** Rows that are not null. */
export function notNullBitmap(v: Vec): Uint8Array<ArrayBuffer> {
  return v.validity === undefined ? bitmapNot(new Uint8Array(bitmapBytes(v.length)), v.length) : copyPadded(v.validity, v.length)
}

// What compare_bytes accepts: 1 less, 2 equal, 4 greater; 8 starts with.
const ACCEPT: Readonly<Record<CompareOp, number>> = { eq: 2, ne: 5, lt: 1, le: 3, gt: 4, ge: 6 }
const STARTS_WITH = 8

function withNulls(v: Vec, bits: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (v.validity !== undefined) andInto(bits, v.validity, v.length)
  return bits
}

function compareBool(v: Vec, op: CompareOp, constant: Constant): Uint8Array<ArrayBuffer> {
  assert(typeof constant === 'boolean', 'a bool column is compared with a boolean', constant)
  const holds = (value: boolean): boolean => {
    const sign = Number(value) - Number(constant)
    return ((ACCEPT[op] >> (sign + 1)) & 1) === 1
  }
  const [yes, no] = [holds(true), holds(false)]
  if (yes && no) return notNullBitmap(v)
  if (!yes && !no) return new Uint8Array(bitmapBytes(v.length))
  return withNulls(v, yes ? copyPadded(v.values, v.length) : bitmapNot(v.values, v.length))
}

function compareBytes(v: Vec, constant: Uint8Array, accept: number): Uint8Array<ArrayBuffer> {
  if (v.layout.kind === 'dict') return byEntry(v, compareBytes(dictionaryOf(v), constant, accept))
  return scratch((k) => {
    const c = k.copyIn(constant)
    const run = (offsets: number, data: number, width: number, n: number, out: number): void =>
      k.exports.compare_bytes(offsets, data, width, n, c, constant.length, accept, out)
    return withNulls(v, overBytes(k, v, run))
  })
}

function inBytes(v: Vec, values: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  if (v.layout.kind === 'dict') return byEntry(v, inBytes(dictionaryOf(v), values))
  const sorted = values.toSorted(compareByteStrings)
  return scratch((k) => {
    const total = sorted.reduce((sum, value) => sum + value.length, 0)
    const offsets = k.arena.reserve((sorted.length + 1) * 4)
    const data = k.arena.reserve(total)
    let at = 0
    k.u32[offsets >>> 2] = 0
    for (const [i, value] of sorted.entries()) {
      k.u8.set(value, data + at)
      at += value.length
      k.u32[(offsets >>> 2) + i + 1] = at
    }
    const run = (rowOffsets: number, rows: number, width: number, n: number, out: number): void =>
      k.exports.in_sorted_bytes(rowOffsets, rows, width, n, offsets, data, sorted.length, out)
    return withNulls(v, overBytes(k, v, run))
  })
}

type BytesKernel = (offsets: number, data: number, width: number, n: number, out: number) => void

/** Runs a kernel over the rows of a var or fixed column, a piece at a time. */
function overBytes(k: KernelInstance, v: Vec, run: BytesKernel): Uint8Array<ArrayBuffer> {
  const bits = new Uint8Array(bitmapBytes(v.length))
  const offsets = v.layout.kind === 'var' ? offsetsOf(v) : undefined
  const width = v.layout.kind === 'fixed' ? v.layout.width : 0
  assert(offsets !== undefined || v.layout.kind === 'fixed', 'a column of bytes', v.layout.kind)
  for (let first = 0; first < v.length;) {
    const end = offsets === undefined ? Math.min(v.length, first + pieceRows(width)) : pieceEnd(offsets, first, v.length)
    const n = end - first
    const mark = k.arena.mark()
    const out = k.arena.reserve(bitmapBytes(n))
    if (offsets === undefined) {
      run(0, k.copyIn(v.values.subarray(first * width, end * width)), width, n, out)
    } else {
      const at = k.arena.reserve((n + 1) * 4)
      k.i32.set(offsets.subarray(first, end + 1), at >>> 2)
      run(at, k.copyIn(v.values.subarray(offsets[first]!, offsets[end]!)) - offsets[first]!, 0, n, out)
    }
    bits.set(k.u8.subarray(out, out + ((n + 7) >>> 3)), first >>> 3)
    k.arena.rewind(mark)
    first = end
  }
  return bits
}

/** Rows of a dict column whose entry's bit is set. */
function byEntry(v: Vec, entryBits: Uint8Array): Uint8Array<ArrayBuffer> {
  const { layout } = v
  assert(layout.kind === 'dict', 'a dict column', layout.kind)
  const entries = dictionaryOf(v).length
  return scratch((k) => {
    const bytes = Math.max(32, entryBits.length)
    const table = k.arena.reserve(bytes)
    k.u8.fill(0, table, table + bytes)
    k.u8.set(entryBits, table)
    const run = (p: number, n: number, out: number): void => k.exports.codes_to_bits(p, layout.width, n, table, entries, out)
    return withNulls(v, rangesIn(k, v, layout.width, run))
  })
}
