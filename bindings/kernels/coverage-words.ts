// kernels/coverage-words.ts: how a set of rows is held, and set algebra on it: the inside of Coverage.
//
// Sorted disjoint half-open ranges, or a bitmap from row 0 on when that is smaller: 8 bytes a range against a bit for every row up to the last one.
// Invariant: ranges never touch and the form follows from the rows alone, so equal sets have equal words.
import { bitmapBytes } from './bitmap.ts'
import type { KernelInstance } from './instance.ts'

/** A set of rows: one of ranges and bits is there. */
export interface RowWords {
  /** start, end, start, end, … */
  readonly ranges: Uint32Array<ArrayBuffer> | undefined
  /** Whole 64-bit words, the last of them not zero. */
  readonly bits: Uint8Array<ArrayBuffer> | undefined
  readonly rangeCount: number
  /** One more than the highest row. */
  readonly end: number
}

/** op of bits_op. */
export type SetOp = 'and' | 'or' | 'andnot'

const BIT_OP: Readonly<Record<SetOp, number>> = { and: 0, or: 1, andnot: 2 }
/** Room before a range list in kernel memory: the kernels write a word there to read the list as its complement. */
const BEFORE_BYTES = 8
/** Room behind a range list: such a word, and stores of 32 bytes behind the last range. */
const BEHIND_BYTES = 40

/** Two of them and what is counted stay in the first-level cache or near it. */
const PIECE_BYTES = 32 << 10

export const NO_ROWS: RowWords = { ranges: new Uint32Array(0), bits: undefined, rangeCount: 0, end: 0 }

/** Room for a list of ranges in kernel memory, with what the kernels need around it. */
export function reserveRanges(k: KernelInstance, count: number): number {
  return k.arena.reserve(BEFORE_BYTES + count * 8 + BEHIND_BYTES) + BEFORE_BYTES
}

/** The smaller form of `count` ranges at `at` (reserveRanges). */
export function wordsOfRanges(k: KernelInstance, at: number, count: number): RowWords {
  if (count === 0) return NO_ROWS
  const from = at >>> 2
  const end = k.u32[from + count * 2 - 1]!
  const bytes = bitmapBytes(end)
  if (count * 8 <= bytes) return { ranges: k.u32.slice(from, from + count * 2), bits: undefined, rangeCount: count, end }
  const bits = k.arena.reserve(bytes)
  k.u8.fill(0, bits, bits + bytes)
  k.exports.ranges_to_bits(at, count, 0, bytes, bits)
  return { ranges: undefined, bits: k.copyOut(bits, bytes), rangeCount: count, end }
}

/** The smaller form of `bytes` bytes of bitmap at `at`: whole words. */
export function wordsOfBits(k: KernelInstance, at: number, bytes: number): RowWords {
  const end = k.exports.bits_end(at, bytes) >>> 0
  const used = bitmapBytes(end)
  const rangeCount = k.exports.bits_runs(at, used)
  if (rangeCount * 8 > used) return { ranges: undefined, bits: k.copyOut(at, used), rangeCount, end }
  const out = reserveRanges(k, rangeCount)
  k.exports.bits_to_ranges(at, used, 0, out)
  return wordsOfRanges(k, out, rangeCount)
}

/** A copy of the set's ranges in kernel memory. */
export function rangesIn(k: KernelInstance, rows: RowWords): number {
  const at = reserveRanges(k, rows.rangeCount)
  if (rows.bits === undefined) k.u32.set(rows.ranges!, at >>> 2)
  else k.exports.bits_to_ranges(k.copyIn(rows.bits), rows.bits.length, 0, at)
  return at
}

/** A bitmap of the set's first 8 * `bytes` rows in kernel memory; `bytes` is a multiple of 8. */
export function bitsIn(k: KernelInstance, rows: RowWords, bytes: number): number {
  const at = k.arena.reserve(bytes)
  const given = rows.bits === undefined ? 0 : Math.min(bytes, rows.bits.length)
  k.u8.fill(0, at + given, at + bytes)
  if (rows.bits === undefined) k.exports.ranges_to_bits(rangesIn(k, rows), rows.rangeCount, 0, bytes, at)
  else k.u8.set(given < rows.bits.length ? rows.bits.subarray(0, given) : rows.bits, at)
  return at
}

/** Both sets have rows. Reserves scratch that the caller gives back, as all of these do. */
export function combine(k: KernelInstance, op: SetOp, a: RowWords, b: RowWords): RowWords {
  const rows = op === 'or' ? Math.max(a.end, b.end) : op === 'and' ? Math.min(a.end, b.end) : a.end
  const bytes = bitmapBytes(rows)
  if (throughBits(a, b, bytes)) {
    const left = bitsIn(k, a, bytes)
    k.exports.bits_op(BIT_OP[op], left, bitsIn(k, b, bytes), bytes, left)
    return wordsOfBits(k, left, bytes)
  }
  const out = reserveRanges(k, a.rangeCount + b.rangeCount + 2)
  const run = op === 'and' ? k.exports.ranges_and : op === 'or' ? k.exports.ranges_or : k.exports.ranges_andnot
  return wordsOfRanges(k, out, run(rangesIn(k, a), a.rangeCount, rangesIn(k, b), b.rangeCount, out))
}

/** Rows in both; both have some. */
export function commonCount(k: KernelInstance, a: RowWords, b: RowWords): number {
  const bytes = bitmapBytes(Math.min(a.end, b.end))
  if (a.bits !== undefined && b.bits !== undefined) return commonBits(k, a.bits, b.bits, bytes)
  if (throughBits(a, b, bytes)) return k.exports.bits_and_card(bitsIn(k, a, bytes), bitsIn(k, b, bytes), bytes) >>> 0
  return k.exports.ranges_and_card(rangesIn(k, a), a.rangeCount, rangesIn(k, b), b.rangeCount) >>> 0
}

/** In pieces, so that what was copied is counted while it lies in the nearest cache. */
function commonBits(k: KernelInstance, a: Uint8Array, b: Uint8Array, bytes: number): number {
  const room = Math.min(bytes, PIECE_BYTES)
  const [x, y] = [k.arena.reserve(room), k.arena.reserve(room)]
  const { u8 } = k
  let count = 0
  for (let first = 0; first < bytes; first += PIECE_BYTES) {
    const end = Math.min(bytes, first + PIECE_BYTES)
    u8.set(a.subarray(first, end), x)
    u8.set(b.subarray(first, end), y)
    count += k.exports.bits_and_card(x, y, end - first)
  }
  return count
}

/** Rows of the set. */
export function countRows(k: KernelInstance, rows: RowWords): number {
  if (rows.bits !== undefined) return k.exports.bits_popcount(k.copyIn(rows.bits), rows.end) >>> 0
  const ranges = rows.ranges!
  let count = 0
  for (let i = 0; i < ranges.length; i += 2) count += ranges[i + 1]! - ranges[i]!
  return count
}

/** Whether going through bitmaps of that size costs less than going through ranges; two lists of ranges stay ranges. */
function throughBits(a: RowWords, b: RowWords, bytes: number): boolean {
  if (a.bits !== undefined && b.bits !== undefined) return true
  const bits = a.bits ?? b.bits
  return bits !== undefined && bytes <= bits.length + 8 * (a.rangeCount + b.rangeCount)
}
