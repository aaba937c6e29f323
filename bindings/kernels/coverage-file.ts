// kernels/coverage-file.ts: a set of rows as a self-checking file (kernels.md section 7; docs/format.md section "Row sets").
//
//   "VCOV" | u32 version 1 | u32 containers | containers | 8 B XXH3-64 of all before                    all little-endian
//   container of 65,536 rows: u32 key | u16 kind | u16 count-1 | data: 0 array of u16 · 1 bitmap of 8192 B · 2 runs of (u16 start, u16 length-1)
//   count is the number of rows (array, bitmap) or runs
//
// Invariant: one set, one file. The smallest container is written, ties prefer run, array, bitmap; containers ascend, none is empty, runs do not touch. Reading
// refuses anything else, so bytes that were read are the bytes that would be written.
import { assert } from '../assert.ts'
import { CorruptionError } from '../errors.ts'
import { xxh3Into } from './checksum.ts'
import { bitmapBytes } from './bitmap.ts'
import { bitsIn, rangesIn, reserveRanges, type RowWords, wordsOfBits, wordsOfRanges } from './coverage-words.ts'
import type { KernelInstance } from './instance.ts'

const MAGIC = 0x564f4356
const VERSION = 1
const HEADER_BYTES = 12
const CHECK_BYTES = 8
const KEY_BYTES = 4
/** kind and count, which the kernels write with the data. */
const PACKED_HEADER_BYTES = 4
const CONTAINER_ROWS = 65_536
const BITMAP_BYTES = CONTAINER_ROWS / 8
const DATA_BYTES: readonly ((count: number) => number)[] = [(count) => 2 * count, () => BITMAP_BYTES, (count) => 4 * count]

/** Reserves scratch that the caller gives back. */
export function packCoverage(k: KernelInstance, rows: RowWords): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = []
  let bytes = HEADER_BYTES + CHECK_BYTES
  const packed = k.arena.reserve(PACKED_HEADER_BYTES + BITMAP_BYTES + 16)
  for (const { key, bits } of containersOf(k, rows)) {
    const size = k.exports.container_pack(bits, packed)
    const part = new Uint8Array(KEY_BYTES + size)
    new DataView(part.buffer).setUint32(0, key, true)
    part.set(k.u8.subarray(packed, packed + size), KEY_BYTES)
    parts.push(part)
    bytes += part.length
  }
  const file = new Uint8Array(bytes)
  const view = new DataView(file.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint32(4, VERSION, true)
  view.setUint32(8, parts.length, true)
  let at = HEADER_BYTES
  for (const part of parts) {
    file.set(part, at)
    at += part.length
  }
  const check = checkOf(file)
  view.setUint32(at, check[0]!, true)
  view.setUint32(at + 4, check[1]!, true)
  return file
}

/** The containers that have rows, ascending: 8 KiB of bitmap each, in kernel memory until the next one is asked for. */
function* containersOf(k: KernelInstance, rows: RowWords): Generator<{ readonly key: number; readonly bits: number }> {
  if (rows.bits !== undefined) {
    const bytes = Math.ceil(rows.bits.length / BITMAP_BYTES) * BITMAP_BYTES
    const all = bitsIn(k, rows, bytes)
    for (let at = 0; at < bytes; at += BITMAP_BYTES) {
      if (k.exports.bits_end(all + at, BITMAP_BYTES) > 0) yield { key: at / BITMAP_BYTES, bits: all + at }
    }
    return
  }
  const ranges = rangesIn(k, rows)
  const bits = k.arena.reserve(BITMAP_BYTES)
  for (let done = 0, next = 0; done < rows.rangeCount;) {
    // A range that goes on behind a container is met again in the next one.
    const key = Math.max(next, Math.floor(rows.ranges![2 * done]! / CONTAINER_ROWS))
    k.u8.fill(0, bits, bits + BITMAP_BYTES)
    done += k.exports.ranges_to_bits(ranges + done * 8, rows.rangeCount - done, key * CONTAINER_ROWS, BITMAP_BYTES, bits)
    yield { key, bits }
    next = key + 1
  }
}

interface Container {
  readonly key: number
  readonly kind: number
  readonly count: number
  /** Where its data lies in kernel memory. */
  readonly data: number
  readonly runs: number
}

/**
 * The set in a file. Reserves scratch that the caller gives back.
 *
 * @param rowsMax  rows are below it
 * @throws CorruptionError coverage.corrupt
 */
export function unpackCoverage(k: KernelInstance, bytes: Uint8Array, file: string, rowsMax: number): RowWords {
  const bits = k.arena.reserve(BITMAP_BYTES)
  const { containers, end } = readContainers(k, bytes, file, rowsMax, bits)
  const runs = containers.reduce((sum, container) => sum + container.runs, 0)
  const used = bitmapBytes(end)
  if (runs * 8 <= used) return joinRanges(k, containers, runs, bits)
  const whole = Math.ceil(used / BITMAP_BYTES) * BITMAP_BYTES
  const all = k.arena.reserve(whole)
  k.u8.fill(0, all, all + whole)
  for (const { key, kind, count, data } of containers) k.exports.container_unpack(kind, count, data, all + key * BITMAP_BYTES)
  return wordsOfBits(k, all, used)
}

/** Every header and every container's data held against the format. `bits` is room for one container. */
function readContainers(k: KernelInstance, bytes: Uint8Array, file: string, rowsMax: number, bits: number): { containers: Container[]; end: number } {
  const corrupt = (what: string, offset: number): CorruptionError =>
    new CorruptionError('coverage.corrupt', `${file}: ${what} at byte ${offset}`, { details: { file, offset } })
  if (bytes.length < HEADER_BYTES + CHECK_BYTES) throw corrupt(`${bytes.length} bytes, a row set has ${HEADER_BYTES + CHECK_BYTES} at least`, 0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const stop = bytes.length - CHECK_BYTES
  if (view.getUint32(0, true) !== MAGIC) throw corrupt('not a row set: another magic', 0)
  if (view.getUint32(4, true) !== VERSION) throw corrupt(`row set version ${view.getUint32(4, true)}, expected ${VERSION}`, 4)
  const check = checkOf(bytes)
  if (view.getUint32(stop, true) !== check[0] || view.getUint32(stop + 4, true) !== check[1]) throw corrupt('a row set whose check fails', stop)
  const start = k.copyIn(bytes)
  const containers: Container[] = []
  let at = HEADER_BYTES
  let end = 0
  for (let left = view.getUint32(8, true), previous = -1; left > 0; left--) {
    if (stop - at < KEY_BYTES + PACKED_HEADER_BYTES) throw corrupt('a container cut short', at)
    const key = view.getUint32(at, true)
    const kind = view.getUint16(at + 4, true)
    const count = view.getUint16(at + 6, true) + 1
    if (key <= previous || key >= CONTAINER_ROWS) throw corrupt(`container ${key} behind ${previous}`, at)
    const size = DATA_BYTES[kind]?.(count)
    if (size === undefined) throw corrupt(`container ${key} of kind ${kind}`, at + 4)
    if (size > stop - at - KEY_BYTES - PACKED_HEADER_BYTES) throw corrupt(`container ${key} of ${size} bytes, cut short`, at)
    const data = start + at + KEY_BYTES + PACKED_HEADER_BYTES
    if (k.exports.container_unpack(kind, count, data, bits) < 0) throw corrupt(`container ${key} that contradicts itself or is not the smallest`, at)
    end = key * CONTAINER_ROWS + k.exports.bits_end(bits, BITMAP_BYTES)
    if (end > rowsMax) throw corrupt(`row ${end - 1} in a set over ${rowsMax} rows`, at)
    containers.push({ key, kind, count, data, runs: k.exports.bits_runs(bits, BITMAP_BYTES) })
    previous = key
    at += KEY_BYTES + PACKED_HEADER_BYTES + size
  }
  if (at !== stop) throw corrupt(`${stop - at} bytes behind the last container`, at)
  return { containers, end }
}

/** The containers' runs in one list; a run that goes on in the next container becomes one with it. */
function joinRanges(k: KernelInstance, containers: readonly Container[], runs: number, bits: number): RowWords {
  const out = reserveRanges(k, runs)
  let count = 0
  for (const { key, kind, count: stated, data } of containers) {
    k.exports.container_unpack(kind, stated, data, bits)
    const to = out + count * 8
    const made = k.exports.bits_to_ranges(bits, BITMAP_BYTES, key * CONTAINER_ROWS, to)
    const word = to >>> 2
    if (count > 0 && k.u32[word - 1] === k.u32[word]) {
      // end, start of one row number: both go.
      k.u32.copyWithin(word - 1, word + 1, word + made * 2)
      count--
    }
    count += made
  }
  assert(count <= runs, 'as many ranges as there were runs at most', count)
  return wordsOfRanges(k, out, count)
}

function checkOf(file: Uint8Array): Uint32Array {
  const out = new Uint32Array(2)
  xxh3Into(file.subarray(0, file.length - CHECK_BYTES), out, 0)
  return out
}
