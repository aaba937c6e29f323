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
  let count = ones(bitmap[first]! & headMask) + ones(bitmap[last]! & tailMask)
  let i = first + 1
  for (; i < last && (bitmap.byteOffset + i) & 3; i++) count += ones(bitmap[i]!)
  const words = (last - i) >>> 2
  if (words > 0) {
    const view = new Uint32Array(bitmap.buffer, bitmap.byteOffset + i, words)
    for (let w = 0; w < words; w++) count += ones(view[w]!)
    i += words * 4
  }
  for (; i < last; i++) count += ones(bitmap[i]!)
  return count
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
  const out = copyPadded(a, n)
  andInto(out, b, n)
  return out
}

/** Rows in either. */
export function bitmapOr(a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  const out = copyPadded(a, n)
  orInto(out, b, n)
  return out
}

/** Rows not in a. */
export function bitmapNot(a: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bitmapBytes(n))
  const bytes = (n + 7) >>> 3
  for (let i = 0; i < bytes; i++) out[i] = ~a[i]!
  return trim(out, n)
}

/** Rows in a and not in b. */
export function bitmapAndNot(a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  const out = copyPadded(a, n)
  const bytes = (n + 7) >>> 3
  for (let i = 0; i < bytes; i++) out[i]! &= ~b[i]!
  return out
}

/** out &= b over n rows. */
export function andInto(out: Uint8Array, b: Uint8Array, n: number): void {
  const bytes = (n + 7) >>> 3
  let i = 0
  if (((out.byteOffset | b.byteOffset) & 3) === 0) {
    const words = bytes >>> 2
    const x = new Uint32Array(out.buffer, out.byteOffset, words)
    const y = new Uint32Array(b.buffer, b.byteOffset, words)
    for (let w = 0; w < words; w++) x[w]! &= y[w]!
    i = words * 4
  }
  for (; i < bytes; i++) out[i]! &= b[i]!
}

/** out |= b over n rows; bits of b behind n do not get in. */
export function orInto(out: Uint8Array, b: Uint8Array, n: number): void {
  const bytes = (n + 7) >>> 3
  for (let i = 0; i < bytes; i++) out[i]! |= b[i]!
  trim(out, n)
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
  const out = new Uint8Array(bitmapBytes(n))
  const bytes = (n + 7) >>> 3
  for (let i = 0; i < bytes; i++) out[i] = (bitmap[first + i]! >>> shift) | ((bitmap[first + i + 1] ?? 0) << (8 - shift))
  return trim(out, n)
}

/** Copies a bitmap of n rows into kernel memory, padded with zero bits to 64. */
export function bitmapIn(k: KernelInstance, bitmap: Uint8Array, n: number): number {
  const bytes = (n + 7) >>> 3
  const padded = bitmapBytes(n)
  const at = k.arena.reserve(padded)
  const u8 = k.u8
  u8.fill(0, at + bytes, at + padded)
  u8.set(bitmap.subarray(0, bytes), at)
  if (n & 7) u8[at + bytes - 1]! &= (1 << (n & 7)) - 1
  return at
}

/** Below this, a loop here costs less than the copies into and out of kernel memory. */
const SMALL_ROWS = 512

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
