// kernels/lz4.ts: LZ4 frames (lz4_Frame_format.md 1.6) around the block kernels: what Arrow IPC bodies and log payloads are compressed with.
//
//   magic 04224D18 | FLG | BD | [content size 8] | [dictionary id 4] | HC | { u32 size (top bit: stored raw) | bytes | [xxh32] }… | 0 u32 | [content xxh32]
//
// Written: version 01, independent blocks of at most 4 MiB, no checksums (Arrow has its own). Read: linked blocks, every checksum, skippable frames, several
// frames in a row. Invariant: nothing is allocated for a stated length that the input cannot reach; every length read is bounded before it is used.
import { KernelMemoryExhaustedError, Lz4CorruptError, Lz4TooLargeError, Lz4UnsupportedError } from '../errors.ts'
import { bytesIn, type KernelBytes, lengthOf, viewOf } from './buffer.ts'
import { kernels } from './instance.ts'
import type { KernelInstance } from './instance.ts'

const MAGIC = 0x184d2204
const MAGIC_LEGACY = 0x184c2102
const MAGIC_SKIPPABLE = 0x184d2a50
const FLG_WRITTEN = 0x60
const BD_WRITTEN = 0x70
const BLOCK_BYTES_MAX = 4 * 1024 * 1024
const HEADER_BYTES_MIN = 7
const RAW = 0x80000000
/** One byte of a block yields at most 255 bytes of output. */
const RATIO_MAX = 255
const BAD_ROOM = -2

/**
 * Most bytes `lz4FrameEncode` returns for n bytes.
 *
 * @throws RangeError unless a whole number from 0 on
 * @example lz4FrameBound(0) // 11
 */
export function lz4FrameBound(bytes: number): number {
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`an lz4 frame of ${bytes} bytes: a whole number from 0 on expected`)
  return HEADER_BYTES_MIN + bytes + 4 * Math.ceil(bytes / BLOCK_BYTES_MAX) + 4
}

/**
 * One LZ4 frame of the bytes, as Arrow IPC takes it: version 01, independent blocks of at most 4 MiB, no checksums; blocks that do not shrink are stored raw.
 *
 * @param bytes  any length; a KernelBuffer is read in place
 * @returns at most `lz4FrameBound(bytes.byteLength)` bytes
 * @throws InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @cost one copy in, unless the bytes are in kernel memory, and one out
 * @example const frame = lz4FrameEncode(bytes)
 */
export function lz4FrameEncode(bytes: KernelBytes): Uint8Array<ArrayBuffer> {
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const n = lengthOf(bytes)
    const src = bytesIn(k, bytes)
    const cap = lz4FrameBound(n)
    const dst = k.arena.reserve(cap)
    return k.copyOut(dst, lz4FrameEncodeInto(k, src, n, dst, cap))
  } finally {
    k.arena.rewind(mark)
  }
}

/**
 * As `lz4FrameEncode`, from and to the instance's memory.
 *
 * @param cap  at least `lz4FrameBound(n)`
 * @returns bytes written at dst
 */
export function lz4FrameEncodeInto(k: KernelInstance, src: number, n: number, dst: number, cap: number): number {
  if (cap < lz4FrameBound(n))
    throw new KernelMemoryExhaustedError(`lz4: ${cap} bytes of room for a frame of ${n} bytes`, { details: { wanted: lz4FrameBound(n), limit: cap } })
  const { view, u8 } = k
  view.setUint32(dst, MAGIC, true)
  u8[dst + 4] = FLG_WRITTEN
  u8[dst + 5] = BD_WRITTEN
  u8[dst + 6] = (k.exports.xxh32(dst + 4, 2, 0) >>> 8) & 255
  let at = dst + HEADER_BYTES_MIN
  for (let from = 0; from < n; from += BLOCK_BYTES_MAX) {
    const size = Math.min(BLOCK_BYTES_MAX, n - from)
    const packed = k.exports.lz4_block_encode(src + from, size, at + 4, size - 1)
    if (packed > 0) {
      view.setUint32(at, packed, true)
      at += 4 + packed
    } else {
      view.setUint32(at, (size | RAW) >>> 0, true)
      u8.copyWithin(at + 4, src + from, src + from + size)
      at += 4 + size
    }
  }
  view.setUint32(at, 0, true)
  return at + 4 - dst
}

/**
 * Decode LZ4 frames: linked blocks, all checksums (verified), skippable frames, several frames in a row.
 *
 * @param statedLength  what the container says the output holds: exactly that many bytes come out; left out, as many as the frames hold
 * @throws Lz4CorruptError damaged bytes, or another length; Lz4TooLargeError a stated length the input cannot reach; Lz4UnsupportedError dictionary, legacy frame;
 *   RangeError for a stated length that is no whole number from 0 on; InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @cost one copy in, unless the bytes are in kernel memory, and one out
 * @example lz4FrameDecode(frame, bytes.length)
 */
export function lz4FrameDecode(bytes: KernelBytes, statedLength?: number): Uint8Array<ArrayBuffer> {
  const view = viewOf(bytes)
  const n = view.byteLength
  const room = statedLength === undefined ? framesYield(view) : statedLength
  checkStated(n, room)
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const src = bytesIn(k, bytes)
    const dst = k.arena.reserve(room)
    const made = decodeFrames({ k, src, at: src, end: src + n }, dst, dst + room) - dst
    if (statedLength !== undefined) checkMade(src, n, made, statedLength)
    return k.copyOut(dst, made)
  } finally {
    k.arena.rewind(mark)
  }
}

/** As `lz4FrameDecode`, from and to the instance's memory; fills exactly `statedLength` bytes at dst. */
export function lz4FrameDecodeInto(k: KernelInstance, src: number, n: number, dst: number, statedLength: number): void {
  checkStated(n, statedLength)
  checkMade(src, n, decodeFrames({ k, src, at: src, end: src + n }, dst, dst + statedLength) - dst, statedLength)
}

function checkMade(src: number, n: number, made: number, stated: number): void {
  if (made !== stated) throw corrupt({ src, at: src + n, end: src + n }, `${made} bytes decoded, ${stated} stated`)
}

/** Decodes frames one behind the other; returns the end of the output. */
function decodeFrames(input: Input, dst: number, outEnd: number): number {
  let out = dst
  let frames = 0
  while (input.at < input.end) {
    const magic = readU32(input, 'magic')
    if ((magic & 0xfffffff0) >>> 0 === MAGIC_SKIPPABLE) {
      skip(input, readU32(input, 'skippable size'), 'skippable frame')
      continue
    }
    if (magic === MAGIC_LEGACY) throw new Lz4UnsupportedError('lz4: legacy frame', { details: { feature: 'legacy frame' } })
    if (magic !== MAGIC) throw corrupt(input, `magic ${magic.toString(16)}`)
    out = decodeFrame(input, out, outEnd)
    frames++
  }
  if (frames === 0 && outEnd > dst) throw corrupt(input, 'no frame')
  return out
}

/** Most bytes that frames yield: what their headers state, else what their blocks can hold. Stops where the decoder will. */
function framesYield(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const n = bytes.byteLength
  let total = 0
  for (let at = 0; at + HEADER_BYTES_MIN <= n;) {
    const magic = view.getUint32(at, true)
    if ((magic & 0xfffffff0) >>> 0 === MAGIC_SKIPPABLE) {
      if (at + 8 > n) break
      at += 8 + view.getUint32(at + 4, true)
      continue
    }
    if (magic !== MAGIC) break
    const flg = bytes[at + 4]!
    const hasSize = (flg & 8) !== 0
    const blockBytesMax = 1 << (8 + 2 * ((bytes[at + 5]! >>> 4) & 7))
    if (hasSize && at + 14 <= n) total += view.getUint32(at + 6, true) + view.getUint32(at + 10, true) * 4_294_967_296
    at += HEADER_BYTES_MIN + (hasSize ? 8 : 0) + ((flg & 1) !== 0 ? 4 : 0)
    for (let word = 1; word !== 0 && at + 4 <= n;) {
      word = view.getUint32(at, true)
      const size = word & 0x7fffffff
      const stored = Math.min(size, n - at - 4)
      if (!hasSize) total += word >= RAW ? stored : Math.min(stored * RATIO_MAX, blockBytesMax)
      at += 4 + size + (word !== 0 && (flg & 16) !== 0 ? 4 : 0)
    }
    if ((flg & 4) !== 0) at += 4
  }
  return total
}

interface Input {
  readonly k: KernelInstance
  readonly src: number
  at: number
  readonly end: number
}

interface FrameHeader {
  readonly linked: boolean
  readonly blockChecksum: boolean
  readonly contentChecksum: boolean
  /** -1 = not stated. */
  readonly contentBytes: number
  readonly blockBytesMax: number
}

/** Decodes one frame behind its magic; returns the end of the output. */
function decodeFrame(input: Input, start: number, outEnd: number): number {
  const { k } = input
  const header = readHeader(input)
  let out = start
  while (true) {
    const word = readU32(input, 'block size')
    if (word === 0) break
    const size = word & 0x7fffffff
    if (size > header.blockBytesMax) throw corrupt(input, `block of ${size} bytes, the frame allows ${header.blockBytesMax}`)
    const at = input.at
    skip(input, size, 'block')
    if (header.blockChecksum) {
      const sum = k.exports.xxh32(at, size, 0) >>> 0
      if (readU32(input, 'block checksum') !== sum) throw corrupt(input, 'block checksum mismatch')
    }
    const room = Math.min(outEnd - out, header.blockBytesMax)
    if (word >= RAW) {
      if (size > room) throw corrupt(input, 'more bytes than stated')
      k.u8.copyWithin(out, at, at + size)
      out += size
      continue
    }
    const made = k.exports.lz4_block_decode(at, size, out, room, header.linked ? start : out)
    if (made < 0) throw corrupt(input, made === BAD_ROOM ? 'more bytes than stated' : 'bad block')
    out += made
  }
  if (header.contentBytes >= 0 && out - start !== header.contentBytes) {
    throw corrupt(input, `${out - start} bytes decoded, the frame states ${header.contentBytes}`)
  }
  if (header.contentChecksum) {
    const sum = k.exports.xxh32(start, out - start, 0) >>> 0
    if (readU32(input, 'content checksum') !== sum) throw corrupt(input, 'content checksum mismatch')
  }
  return out
}

function readHeader(input: Input): FrameHeader {
  const { k } = input
  const start = input.at
  if (input.end - start < 3) throw corrupt(input, 'truncated header')
  const flg = k.u8[start]!
  const bd = k.u8[start + 1]!
  const hasSize = (flg & 8) !== 0
  const hasDictionary = (flg & 1) !== 0
  const fields = 2 + (hasSize ? 8 : 0) + (hasDictionary ? 4 : 0)
  skip(input, fields + 1, 'header')
  // The checksum is looked at first: a flipped bit is damage, not an unknown feature.
  if (k.u8[start + fields] !== ((k.exports.xxh32(start, fields, 0) >>> 8) & 255)) throw corrupt(input, 'header checksum mismatch')
  if (flg >>> 6 !== 1) throw new Lz4UnsupportedError(`lz4: frame version ${flg >>> 6}`, { details: { feature: 'version' } })
  if (hasDictionary) throw new Lz4UnsupportedError('lz4: frame with a dictionary id', { details: { feature: 'dictionary' } })
  if ((flg & 2) !== 0 || (bd & 0x8f) !== 0)
    throw new Lz4UnsupportedError('lz4: reserved bits set in the frame header', { details: { feature: 'reserved bits' } })
  const code = bd >>> 4
  if (code < 4) throw corrupt(input, `block size code ${code}`)
  const contentBytes = hasSize ? k.view.getUint32(start + 2, true) + k.view.getUint32(start + 6, true) * 4_294_967_296 : -1
  return { linked: (flg & 32) === 0, blockChecksum: (flg & 16) !== 0, contentChecksum: (flg & 4) !== 0, contentBytes, blockBytesMax: 1 << (8 + 2 * code) }
}

function readU32(input: Input, what: string): number {
  const at = input.at
  skip(input, 4, what)
  return input.k.view.getUint32(at, true)
}

function skip(input: Input, bytes: number, what: string): void {
  if (bytes > input.end - input.at) throw corrupt(input, `truncated ${what}`)
  input.at += bytes
}

/** Refuses a stated length that no input of n bytes can reach, before anything is allocated for it. */
function checkStated(n: number, stated: number): void {
  if (!(Number.isInteger(stated) && stated >= 0)) throw new RangeError(`${stated} bytes to decode: a whole number from 0 on expected`)
  const limit = n * RATIO_MAX
  if (stated > limit)
    throw new Lz4TooLargeError(`lz4: ${stated} bytes stated over ${n} bytes of input, which yield at most ${limit}`, { details: { stated, limit } })
}

function corrupt(input: Omit<Input, 'k'>, why: string): Lz4CorruptError {
  return new Lz4CorruptError(`lz4: ${why} (offset ${input.at - input.src} of ${input.end - input.src})`, { details: { offset: input.at - input.src } })
}

/**
 * One LZ4 block of the bytes, whose length must travel beside it.
 *
 * @param bytesMax  most bytes of the block; one less than the input when left out
 * @returns undefined when the block would be longer than that
 * @throws RangeError for no number; InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @example const block = lz4BlockEncode(bytes) ?? bytes
 */
export function lz4BlockEncode(bytes: KernelBytes, bytesMax: number = lengthOf(bytes) - 1): Uint8Array<ArrayBuffer> | undefined {
  if (!(typeof bytesMax === 'number' && !Number.isNaN(bytesMax))) throw new RangeError(`a block of at most ${bytesMax} bytes: a number expected`)
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const n = bytes.byteLength
    // No block is longer than its bytes as literals.
    const cap = Math.max(0, Math.min(Math.floor(bytesMax), n + Math.ceil(n / RATIO_MAX) + 16))
    const src = bytesIn(k, bytes)
    const dst = k.arena.reserve(cap)
    const packed = k.exports.lz4_block_encode(src, n, dst, cap)
    return packed > 0 ? k.copyOut(dst, packed) : undefined
  } finally {
    k.arena.rewind(mark)
  }
}

/**
 * Decode one LZ4 block of exactly `statedLength` bytes. Errors as `lz4FrameDecode`.
 *
 * @example lz4BlockDecode(block, bytes.length)
 */
export function lz4BlockDecode(bytes: KernelBytes, statedLength: number): Uint8Array<ArrayBuffer> {
  const n = viewOf(bytes).byteLength
  checkStated(n, statedLength)
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const src = bytesIn(k, bytes)
    const dst = k.arena.reserve(statedLength)
    const made = k.exports.lz4_block_decode(src, n, dst, statedLength, dst)
    if (made !== statedLength) {
      throw new Lz4CorruptError(`lz4: block of ${n} bytes: ${made < 0 ? 'damaged' : `${made} bytes decoded`}, ${statedLength} stated`)
    }
    return k.copyOut(dst, statedLength)
  } finally {
    k.arena.rewind(mark)
  }
}
