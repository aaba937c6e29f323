// kernels/checksum.ts: XXH3-64 and CRC-32C over bytes of the JavaScript heap, and batch hashing of columns for filters and key indexes.
//
// Hashes are pairs of u32 (lo, hi) so that no BigInt is made per item; batches return 2 * n words, item i at 2i (lo) and 2i + 1 (hi).
// Key rules (kernels.md section 5): integers hash as their 8-byte sign- or zero-extended form, floats as float64 with -0 as +0 and one NaN, bool as one byte.
import { InvariantError } from '../errors.ts'
import { bytesIn, type KernelBytes, lengthOf, placeIn, viewOf } from './buffer.ts'
import { kernels } from './instance.ts'
import type { KernelInstance } from './instance.ts'
import { varColumn } from './sort-keys.ts'
import type { ValueKind, Vec } from './vec.ts'

/** 64 bits as two unsigned words. */
export interface Hash64Parts {
  readonly lo: number
  readonly hi: number
}

/**
 * XXH3-64 of bytes, as two words: no bigint is made.
 *
 * @param bytes  any length; a KernelBuffer is read in place
 * @param seed  low and high word; 0 when left out
 * @throws RangeError for a seed that is no pair of words; InvalidConfigError (keys `bytes`, `buffer`) for a stale view, a released buffer or what is no Uint8Array, as every call that takes bytes;
 *   KernelMemoryExhaustedError
 * @cost one copy in, unless the bytes are in kernel memory
 * @example const { lo, hi } = xxh3(bytes)
 */
export function xxh3(bytes: KernelBytes, seed?: Hash64Parts): Hash64Parts {
  if (seed !== undefined) checkSeed(seed)
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const out = hashBytes(k, bytes, seed?.lo ?? 0, seed?.hi ?? 0) >>> 2
    return { lo: k.u32[out]!, hi: k.u32[out + 1]! }
  } finally {
    k.arena.rewind(mark)
  }
}

/** As `xxh3`, written to out[at] (lo) and out[at + 1] (hi): no object per call. */
export function xxh3Into(bytes: KernelBytes, out: Uint32Array, at: number): void {
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const result = hashBytes(k, bytes, 0, 0) >>> 2
    out[at] = k.u32[result]!
    out[at + 1] = k.u32[result + 1]!
  } finally {
    k.arena.rewind(mark)
  }
}

/**
 * As `xxh3`, as one bigint: for headers, not for hot paths.
 *
 * @param seed  0 .. 2^64 - 1
 * @throws RangeError for another seed; errors of `xxh3`
 * @example xxh3BigInt(bytes) === 0x2d06800538d394c2n // of no bytes
 */
export function xxh3BigInt(bytes: KernelBytes, seed = 0n): bigint {
  if (!(typeof seed === 'bigint' && seed >= 0n && seed < 1n << 64n)) throw new RangeError(`seed ${seed}: a bigint from 0 to 2^64 - 1 expected`)
  const { lo, hi } = xxh3(bytes, { lo: Number(seed & 0xffffffffn), hi: Number(seed >> 32n) })
  return (BigInt(hi) << 32n) | BigInt(lo)
}

/** XXH3-64 (seed 0) of each value of a fixed-width or var column; a dictionary column hashes its dictionary once. Nulls hash as whatever lies there. */
export function xxh3Column(vec: Vec, kind: ValueKind): Uint32Array<ArrayBuffer> {
  if (vec.layout.kind === 'dict') return hashesByCode(vec, kind)
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const n = vec.length
    const out = k.arena.reserve(n * 8)
    if (vec.layout.kind === 'var') {
      const { offsets, data } = varColumn(k, vec)
      k.exports.xxh3_var(offsets, data, n, out)
    } else if (vec.layout.kind === 'bool') {
      k.exports.xxh3_bools(k.copyIn(vec.values.subarray(0, (n + 7) >>> 3)), n, out)
    } else if (vec.layout.kind === 'fixed') {
      const width = vec.layout.width
      const values = k.copyIn(vec.values.subarray(0, n * width))
      hashFixed(k, values, width, kind, n, out)
    } else {
      throw new InvariantError(`invariant broken: a column of layout ${vec.layout.kind} is not hashed`, {
        details: { expected: 'fixed, bool, var or dict', observed: vec.layout.kind },
      })
    }
    return k.u32.slice(out >>> 2, (out >>> 2) + n * 2)
  } finally {
    k.arena.rewind(mark)
  }
}

/** XXH3-64 (seed 0) of n values of a var column given as its parts: int32 offsets (n + 1) and data. */
export function xxh3Var(offsets: Int32Array, data: Uint8Array, n: number): Uint32Array<ArrayBuffer> {
  const vec: Vec = { layout: { kind: 'var' }, length: n, nullCount: 0, validity: undefined, values: data, offsets, children: [], dictionary: undefined }
  return xxh3Column(vec, 'bytes')
}

/**
 * CRC-32C (Castagnoli) of bytes.
 *
 * @param bytes  any length; a KernelBuffer is read in place
 * @param previous  the CRC of what comes before them; 0 to start
 * @returns u32
 * @throws RangeError for a previous CRC that is no integer; InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @cost one copy in, unless the bytes are in kernel memory; of at most 1 MiB at a time
 * @example crc32c(second, crc32c(first)) // of both, one after the other
 */
export function crc32c(bytes: KernelBytes, previous = 0): number {
  checkWord('CRC', previous)
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const n = lengthOf(bytes)
    const place = n > PIECE_BYTES ? placeIn(k, bytes) : bytesIn(k, bytes)
    if (place >= 0) return k.exports.crc32c(previous, place, n) >>> 0
    // What is long goes through one piece of kernel memory, so that no limit bounds its length.
    const heap = viewOf(bytes)
    const at = k.arena.reserve(PIECE_BYTES)
    let crc = previous
    for (let start = 0; start < n; start += PIECE_BYTES) {
      const piece = heap.subarray(start, start + PIECE_BYTES)
      k.u8.set(piece, at)
      crc = k.exports.crc32c(crc, at, piece.byteLength)
    }
    return crc >>> 0
  } finally {
    k.arena.rewind(mark)
  }
}

const PIECE_BYTES = 1 << 20

/**
 * CRC-32C of A followed by B, from the CRCs of both: for parts that were computed apart.
 *
 * @param bytesB  length of B, below 2^53
 * @returns u32
 * @throws RangeError for a length that is no whole number from 0 on, or CRCs that are no integers
 * @cost some hundred nanoseconds, whatever the length
 * @example crc32cCombine(crc32c(a), crc32c(b), b.length)
 */
export function crc32cCombine(a: number, b: number, bytesB: number): number {
  checkWord('CRC', a)
  checkWord('CRC', b)
  if (!Number.isSafeInteger(bytesB) || bytesB < 0) throw new RangeError(`${bytesB} bytes: a whole number from 0 on expected`)
  // The kernel counts in 32 bits; that many zero bytes leave every register as it was.
  return kernels().exports.crc32c_combine(a, b, bytesB % CRC32C_PERIOD_BYTES) >>> 0
}

/** The polynomial is x + 1 times a primitive one of degree 31, so x has order 2^31 - 1 modulo it, and x^8, too. */
const CRC32C_PERIOD_BYTES = 2 ** 31 - 1

/** Signed words are words, too: bitwise operators give them. */
function checkWord(name: string, value: number): void {
  if (!Number.isInteger(value)) throw new RangeError(`${name} ${value}: an integer of 32 bits expected`)
}

/** Throws RangeError unless a seed is two words: a bigint or a number would be taken for no seed. */
export function checkSeed({ lo, hi }: Hash64Parts): void {
  checkWord('seed.lo', lo)
  checkWord('seed.hi', hi)
}

function hashBytes(k: KernelInstance, bytes: KernelBytes, lo: number, hi: number): number {
  const n = lengthOf(bytes)
  const at = bytesIn(k, bytes)
  const out = k.arena.reserve(8)
  k.exports.xxh3(at, n, lo, hi, out)
  return out
}

function hashFixed(k: KernelInstance, values: number, width: number, kind: ValueKind, n: number, out: number): void {
  switch (kind) {
    case 'i8':
    case 'i16':
    case 'i32':
    case 'i64':
      k.exports.xxh3_ints(values, width, 1, n, out)
      break
    case 'u8':
    case 'u16':
    case 'u32':
    case 'u64':
      k.exports.xxh3_ints(values, width, 0, n, out)
      break
    case 'f32':
    case 'f64':
      k.exports.xxh3_floats(values, width, n, out)
      break
    default:
      k.exports.xxh3_fixed(values, width, n, out)
  }
}

function hashesByCode(vec: Vec, kind: ValueKind): Uint32Array<ArrayBuffer> {
  const distinct = xxh3Column(vec.dictionary!, kind)
  const n = vec.length
  const width = vec.layout.kind === 'dict' ? vec.layout.width : 4
  const { buffer, byteOffset } = vec.values
  const codes = width === 1 ? vec.values : width === 2 ? new Uint16Array(buffer, byteOffset, n) : new Uint32Array(buffer, byteOffset, n)
  const out = new Uint32Array(n * 2)
  const size = distinct.length >>> 1
  for (let i = 0; i < n; i++) {
    const code = codes[i]!
    // A null row may carry any code.
    if (code >= size) continue
    out[2 * i] = distinct[2 * code]!
    out[2 * i + 1] = distinct[2 * code + 1]!
  }
  return out
}
