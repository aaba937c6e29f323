// kernels/bitmap.ts: validity bitmaps and selections as JavaScript owns them: bit i of byte i >> 3, least significant first.
//
// Invariant: bitmaps made here are padded with zero bits to 64 rows; bitmaps given may be shorter (ceil(n / 8) bytes) and may carry junk behind row n.
import type { KernelInstance } from './instance.ts'
import { scratch } from './scratch.ts'

/** Bytes of a bitmap of n rows, padded to whole 64-bit words. */
export function bitmapBytes(n: number): number {
  return Math.ceil(n / 64) * 8
}

/** A bitmap of n zero bits. */
export function bitmapNone(n: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bitmapBytes(n))
}

/** A bitmap of n one bits. */
export function bitmapAll(n: number): Uint8Array<ArrayBuffer> {
  const bits = new Uint8Array(bitmapBytes(n))
  bits.fill(0xff, 0, n >>> 3)
  if (n & 7) bits[n >>> 3] = (1 << (n & 7)) - 1
  return bits
}

/** Whether bit i is set. */
export function bitAt(bitmap: Uint8Array, i: number): boolean {
  return ((bitmap[i >>> 3]! >>> (i & 7)) & 1) === 1
}

/** Set bits among the first n. */
export function popcount(bitmap: Uint8Array, n: number): number {
  return popcountRange(bitmap, 0, n)
}

/** Set bits among rows start .. end - 1. */
export function popcountRange(bitmap: Uint8Array, start: number, end: number): number {
  if (start >= end) return 0
  const first = start >>> 3
  const last = (end - 1) >>> 3
  const headMask = (0xff << (start & 7)) & 0xff
  const tailMask = 0xff >>> (7 - ((end - 1) & 7))
  if (first === last) return ones(bitmap[first]! & headMask & tailMask)
  if (end - start > SMALL_ROWS) return popcountFrom(bitmap, first, end) - ones(bitmap[first]! & ~headMask)
  let count = ones(bitmap[first]! & headMask) + ones(bitmap[last]! & tailMask)
  for (let i = first + 1; i < last; i++) count += ones(bitmap[i]!)
  return count
}

/** Set bits from byte `first` to bit `end`, a piece at a time: a long bitmap needs no more kernel memory than a short one. */
function popcountFrom(bitmap: Uint8Array, first: number, end: number): number {
  return scratch((k) => {
    const stop = (end + 7) >>> 3
    const at = k.arena.reserve(Math.min(PIECE_BYTES, stop - first))
    let count = 0
    for (let from = first; from < stop; from += PIECE_BYTES) {
      k.u8.set(bitmap.subarray(from, Math.min(stop, from + PIECE_BYTES)), at)
      count += k.exports.bits_popcount(at, Math.min(PIECE_BYTES * 8, end - from * 8))
    }
    return count
  })
}

/** Row numbers of the set bits among the first n, ascending. */
export function bitmapToIndices(bitmap: Uint8Array, n: number): Uint32Array<ArrayBuffer> {
  if (n <= SMALL_ROWS) return smallIndices(bitmap, n)
  return scratch((k) => {
    const sel = bitmapIn(k, bitmap, n)
    const out = k.arena.reserve(n * 4 + 32)
    const count = k.exports.bits_to_indices(sel, n, out)
    return k.u32.slice(out >>> 2, (out >>> 2) + count)
  })
}

/** Rows in both; both bitmaps cover n rows. */
export function bitmapAnd(a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  return combine('and', a, b, n)
}

/** Rows in either. */
export function bitmapOr(a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  return combine('or', a, b, n)
}

/** Rows in a and not in b. */
export function bitmapAndNot(a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  return combine('andnot', a, b, n)
}

/** Rows in one of them and not in the other. */
export function bitmapXor(a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  return combine('xor', a, b, n)
}

/** Rows not in a. */
export function bitmapNot(a: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  return combine('not', a, a, n)
}

/** Whether two bitmaps hold the same of n rows. */
export function bitmapEqual(a: Uint8Array, b: Uint8Array, n: number): boolean {
  return popcount(combine('xor', a, b, n), n) === 0
}

/** out &= b over n rows. */
export function andInto(out: Uint8Array, b: Uint8Array, n: number): void {
  combineInto('and', out, b, n)
}

/** out |= b over n rows; bits of b behind n do not get in. */
export function orInto(out: Uint8Array, b: Uint8Array, n: number): void {
  combineInto('or', out, b, n)
}

/** out = not out over n rows. */
export function notInto(out: Uint8Array, n: number): void {
  combineInto('not', out, out, n)
}

/** Clears the bits behind row n. */
export function trim<B extends ArrayBufferLike>(bitmap: Uint8Array<B>, n: number): Uint8Array<B> {
  if (n & 7) bitmap[n >>> 3]! &= (1 << (n & 7)) - 1
  return bitmap.fill(0, (n + 7) >>> 3)
}

/** The first n bits as a bitmap of its own. */
export function copyPadded(bitmap: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bitmapBytes(n))
  out.set(bitmap.subarray(0, (n + 7) >>> 3))
  return trim(out, n)
}

/** n bits from bit `start` on, moved to bit 0; a view when start is a multiple of 8. */
export function sliceBits(bitmap: Uint8Array, start: number, n: number): Uint8Array {
  const first = start >>> 3
  const shift = start & 7
  if (shift === 0) return bitmap.subarray(first, first + ((n + 7) >>> 3))
  const bytes = (n + 7) >>> 3
  if (n > SMALL_ROWS) {
    return scratch((k) => {
      const source = k.copyIn(bitmap.subarray(first, first + bytes + 1))
      const out = k.arena.reserve(bitmapBytes(n))
      k.u8.fill(0, out + bytes, out + bitmapBytes(n))
      k.exports.concat_bits(out, 0, source, shift, n)
      return k.copyOut(out, bitmapBytes(n))
    })
  }
  const out = new Uint8Array(bitmapBytes(n))
  for (let i = 0; i < bytes; i++) out[i] = (bitmap[first + i]! >>> shift) | ((bitmap[first + i + 1] ?? 0) << (8 - shift))
  return trim(out, n)
}

/** Copies a bitmap of n rows into kernel memory, padded with zero bits to 64. */
export function bitmapIn(k: KernelInstance, bitmap: Uint8Array, n: number): number {
  const bytes = (n + 7) >>> 3
  const padded = bitmapBytes(n)
  const at = k.arena.reserve(padded)
  const u8 = k.u8
  // One that is shorter than its rows has zeros there.
  const given = Math.min(bytes, bitmap.length)
  u8.fill(0, at + given, at + padded)
  u8.set(given === bitmap.length ? bitmap : bitmap.subarray(0, given), at)
  if (n & 7) u8[at + bytes - 1]! &= (1 << (n & 7)) - 1
  return at
}

const PIECE_BYTES = 32 << 10
/** Up to this, a loop here costs less than the copies into and out of kernel memory. */
const SMALL_ROWS = 512
/** The same for logic, which copies two bitmaps in and one out. */
const SMALL_LOGIC_ROWS = 2048

// op of bits_op.
const BIT_OP = { and: 0, or: 1, andnot: 2, not: 3, xor: 4 } as const

type BitOp = keyof typeof BIT_OP

function combine(op: BitOp, a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  if (n > SMALL_ROWS)
    return trim(
      scratch((k) => k.copyOut(combineIn(k, op, a, b, n), bitmapBytes(n))),
      n,
    )
  const out = new Uint8Array(bitmapBytes(n))
  combineSmall(op, a, b, n, out)
  return out
}

function combineInto(op: BitOp, out: Uint8Array, b: Uint8Array, n: number): void {
  if (n <= SMALL_LOGIC_ROWS) return combineSmall(op, out, b, n, out)
  scratch((k) => {
    const at = combineIn(k, op, out, b, n)
    out.set(k.u8.subarray(at, at + ((n + 7) >>> 3)))
  })
  if (n & 7) out[n >>> 3]! &= (1 << (n & 7)) - 1
}

/** The result in kernel memory, whole words; bits behind n may be set. */
function combineIn(k: KernelInstance, op: BitOp, a: Uint8Array, b: Uint8Array, n: number): number {
  const at = bitmapIn(k, a, n)
  k.exports.bits_op(BIT_OP[op], at, op === 'not' ? at : bitmapIn(k, b, n), bitmapBytes(n), at)
  return at
}

function combineSmall(op: BitOp, a: Uint8Array, b: Uint8Array, n: number, out: Uint8Array): void {
  const bytes = (n + 7) >>> 3
  if (op === 'and') for (let i = 0; i < bytes; i++) out[i] = a[i]! & b[i]!
  else if (op === 'or') for (let i = 0; i < bytes; i++) out[i] = a[i]! | b[i]!
  else if (op === 'andnot') for (let i = 0; i < bytes; i++) out[i] = a[i]! & ~b[i]!
  else if (op === 'xor') for (let i = 0; i < bytes; i++) out[i] = a[i]! ^ b[i]!
  else for (let i = 0; i < bytes; i++) out[i] = ~a[i]!
  if (n & 7) out[n >>> 3]! &= (1 << (n & 7)) - 1
}

function smallIndices(bitmap: Uint8Array, n: number): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(popcount(bitmap, n))
  let at = 0
  for (let i = 0; at < out.length; i++) {
    let byte = bitmap[i]!
    while (byte !== 0 && at < out.length) {
      const low = byte & -byte
      out[at++] = i * 8 + (31 - Math.clz32(low))
      byte ^= low
    }
  }
  return out
}

function ones(x: number): number {
  x -= (x >>> 1) & 0x55555555
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333)
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
