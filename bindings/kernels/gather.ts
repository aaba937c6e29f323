// kernels/gather.ts: rows of a column picked by number, for every layout.
//
// Two roads with one result: kernels, which need the whole source in their memory, for picks that are dense in it; loops here for the rest, so that ten
// rows out of three million cost ten rows. Invariant: picks were held against the source's row count before either road is taken.
import { assert } from '../assert.ts'
import { OffsetOverflowError } from '../errors.ts'
import { bitmapBytes } from './bitmap.ts'
import type { KernelInstance } from './instance.ts'
import { Output } from './output.ts'
import { childOf, makeVec, offsetsOf } from './vec-build.ts'
import type { Vec } from './vec.ts'

/** A missing row: yields null. */
export const NULL_INDEX = 0xffffffff
/** Most that one source may take of kernel memory; larger ones take the loops. */
const SOURCE_BYTES_MAX = 64 << 20
const OUTPUT_BYTES = 256 << 10
/** Below this the loops cost less than the calls. */
const KERNEL_ROWS_MIN = 32
const INT32_MAX = 0x7fffffff

/** A list of row numbers that lives on either side, copied across when first needed. Lives inside one scratch stretch. */
export class Picks {
  readonly count: number
  /** How many of them are NULL_INDEX. */
  readonly missing: number
  /** Whether they only go up. */
  readonly ordered: boolean
  #js: Uint32Array | undefined
  #at: number | undefined

  constructor(source: Uint32Array | number, count: number, missing: number, ordered: boolean) {
    this.count = count
    this.missing = missing
    this.ordered = ordered
    this.#js = typeof source === 'number' ? undefined : source
    this.#at = typeof source === 'number' ? source : undefined
  }

  /** Offset in kernel memory. */
  at(k: KernelInstance): number {
    if (this.#at === undefined) {
      this.#at = k.arena.reserve(this.count * 4)
      k.u32.set(this.#js!, this.#at >>> 2)
    }
    return this.#at
  }

  rows(k: KernelInstance): Uint32Array {
    this.#js ??= k.u32.slice(this.#at! >>> 2, (this.#at! >>> 2) + this.count)
    return this.#js
  }
}

/** The picked rows as a new column. Reserves scratch that the caller gives back. */
export function gather(k: KernelInstance, v: Vec, picks: Picks): Vec {
  const n = picks.count
  const validity = gatherValidity(k, v, picks)
  switch (v.layout.kind) {
    case 'fixed':
    case 'dict':
      return makeVec(v.layout, n, { ...validity, values: gatherFixed(k, v.values, v.length, v.layout.width, picks), dictionary: v.dictionary })
    case 'bool':
      return makeVec(v.layout, n, { ...validity, values: gatherBits(k, v.values, v.length, picks).bits })
    case 'var': {
      const { offsets, values } = gatherVar(k, v, picks)
      return makeVec(v.layout, n, { ...validity, offsets, values })
    }
    case 'list': {
      const { offsets, child } = gatherList(k, v, picks)
      return makeVec(v.layout, n, { ...validity, offsets, children: [child] })
    }
    case 'struct':
      return makeVec(v.layout, n, { ...validity, children: v.children.map((child) => gather(k, child, picks)) })
    case 'fsl':
      return makeVec(v.layout, n, { ...validity, children: [gatherFixedList(k, v, v.layout.size, picks)] })
  }
}

/** Whether that many picks from a column of `rows` go through the kernels. */
export function isDense(count: number, rows: number): boolean {
  return count >= KERNEL_ROWS_MIN && count * 4 >= rows
}

function dense(rows: number, bytes: number, picks: Picks): boolean {
  return isDense(picks.count, rows) && bytes <= SOURCE_BYTES_MAX
}

function gatherValidity(k: KernelInstance, v: Vec, picks: Picks): { validity: Uint8Array | undefined; nullCount: number } {
  if (v.validity === undefined && picks.missing === 0) return { validity: undefined, nullCount: 0 }
  const { bits, ones } = gatherBits(k, v.validity, v.length, picks)
  return { validity: bits, nullCount: picks.count - ones }
}

/** `source` undefined = all ones. Missing rows give 0. */
function gatherBits(k: KernelInstance, source: Uint8Array | undefined, rows: number, picks: Picks): { bits: Uint8Array; ones: number } {
  const n = picks.count
  const bytes = (n + 7) >>> 3
  if (dense(rows, rows >>> 3, picks)) {
    const src = source === undefined ? 0 : k.copyIn(source.subarray(0, (rows + 7) >>> 3))
    const out = k.arena.reserve(bytes)
    const ones = k.exports.take_bits(src, picks.at(k), n, out)
    const bits = new Uint8Array(bitmapBytes(n))
    bits.set(k.u8.subarray(out, out + bytes))
    return { bits, ones }
  }
  const bits = new Uint8Array(bitmapBytes(n))
  const idx = picks.rows(k)
  let ones = 0
  for (let i = 0; i < n; i++) {
    const row = idx[i]!
    if (row === NULL_INDEX || (source !== undefined && ((source[row >>> 3]! >>> (row & 7)) & 1) === 0)) continue
    bits[i >>> 3]! |= 1 << (i & 7)
    ones++
  }
  return { bits, ones }
}

/** Rows of `width` bytes; missing rows are zero. */
function gatherFixed(k: KernelInstance, values: Uint8Array, rows: number, width: number, picks: Picks): Uint8Array {
  const n = picks.count
  if (width === 0 || n === 0) return new Uint8Array(n * width)
  if (!dense(rows, rows * width, picks)) {
    const out = new Uint8Array(n * width)
    gatherLoop(values, width, picks.rows(k), out)
    return out
  }
  const src = k.copyIn(values.subarray(0, rows * width))
  const idx = picks.at(k)
  const step = Math.max(64, Math.floor(OUTPUT_BYTES / width))
  const out = new Output(k, n * width, Math.min(n, step) * width)
  for (let first = 0; first < n; first += step) {
    const count = Math.min(step, n - first)
    takeInto(k, src, idx + first * 4, count, width, out.at, picks.missing)
    out.wrote(count * width)
  }
  return out.finish()
}

function takeInto(k: KernelInstance, src: number, idx: number, n: number, width: number, out: number, missing: number): void {
  const x = k.exports
  if (width === 4) x.take_32(src, idx, n, out, missing)
  else if (width === 8) x.take_64(src, idx, n, out, missing)
  else if (width === 1) x.take_8(src, idx, n, out, missing)
  else if (width === 2) x.take_16(src, idx, n, out, missing)
  else if (width === 16) x.take_128(src, idx, n, out)
  else x.take_n(src, idx, n, width, out)
}

function gatherLoop(values: Uint8Array, width: number, idx: Uint32Array, out: Uint8Array): void {
  if (width % 4 === 0 && (values.byteOffset & 3) === 0) {
    const words = width / 4
    const source = new Uint32Array(values.buffer, values.byteOffset, values.byteLength >>> 2)
    const target = new Uint32Array(out.buffer, out.byteOffset, out.byteLength >>> 2)
    let at = 0
    for (let i = 0; i < idx.length; i++) {
      const row = idx[i]!
      if (row === NULL_INDEX) {
        at += words
        continue
      }
      for (let from = row * words, end = from + words; from < end; from++) target[at++] = source[from]!
    }
    return
  }
  let at = 0
  for (let i = 0; i < idx.length; i++) {
    const row = idx[i]!
    if (row === NULL_INDEX) {
      at += width
      continue
    }
    for (let from = row * width, end = from + width; from < end; from++) out[at++] = values[from]!
  }
}

interface Spans {
  /** First byte or child row of each picked row. */
  readonly starts: Uint32Array
  readonly offsets: Int32Array<ArrayBuffer>
  /** Where starts and offsets lie in kernel memory, when they were made there. */
  readonly kernel: { readonly starts: number; readonly offsets: number } | undefined
}

/** Where the picked rows of a var or list column come from and go to. */
function gatherSpans(k: KernelInstance, v: Vec, picks: Picks, inKernel: boolean): Spans {
  const n = picks.count
  const from = offsetsOf(v)
  let total = 0
  let spans: Spans
  if (inKernel) {
    const source = k.arena.reserve((v.length + 1) * 4)
    k.i32.set(from.subarray(0, v.length + 1), source >>> 2)
    const starts = k.arena.reserve(n * 4)
    const out = k.arena.reserve((n + 1) * 4)
    total = k.exports.var_offsets(source, picks.at(k), n, starts, out)
    const offsets = k.i32.slice(out >>> 2, (out >>> 2) + n + 1)
    spans = { starts: k.u32.subarray(starts >>> 2, (starts >>> 2) + n), offsets, kernel: { starts, offsets: out } }
  } else {
    const idx = picks.rows(k)
    const starts = new Uint32Array(n)
    const offsets = new Int32Array(n + 1)
    for (let i = 0; i < n; i++) {
      const row = idx[i]!
      if (row !== NULL_INDEX) {
        const first = from[row]!
        starts[i] = first
        total += from[row + 1]! - first
      }
      offsets[i + 1] = total
    }
    spans = { starts, offsets, kernel: undefined }
  }
  if (total > INT32_MAX)
    throw new OffsetOverflowError(`a column of ${total} bytes (or list items) passes the 2 GiB of its offsets`, { details: { bytes: total } })
  return spans
}

function gatherVar(k: KernelInstance, v: Vec, picks: Picks): { offsets: Int32Array; values: Uint8Array } {
  const n = picks.count
  const from = offsetsOf(v)
  const base = from[0]!
  const bytes = from[v.length]! - base
  const inKernel = dense(v.length, bytes, picks)
  const spans = gatherSpans(k, v, picks, inKernel)
  const { offsets } = spans
  if (spans.kernel === undefined) {
    const values = new Uint8Array(offsets[n]!)
    copySpans(v.values, spans.starts, offsets, values)
    return { offsets, values }
  }
  const data = k.copyIn(v.values.subarray(base, base + bytes)) - base
  const longest = longestPiece(offsets, n)
  const out = new Output(k, offsets[n]!, longest + 16)
  // Output in pieces: whole rows, at least one.
  for (let first = 0; first < n;) {
    const end = pieceEnd(offsets, first, n)
    const begin = offsets[first]!
    k.exports.var_gather(spans.kernel.starts + first * 4, spans.kernel.offsets + first * 4, end - first, data, out.at - begin, picks.ordered ? 1 : 0)
    out.wrote(offsets[end]! - begin)
    first = end
  }
  return { offsets, values: out.finish() }
}

function longestPiece(offsets: Int32Array, n: number): number {
  let longest = 0
  for (let first = 0; first < n;) {
    const end = pieceEnd(offsets, first, n)
    longest = Math.max(longest, offsets[end]! - offsets[first]!)
    first = end
  }
  return longest
}

/** The last row boundary that keeps the piece from `first` within OUTPUT_BYTES, at least one row on. */
function pieceEnd(offsets: Int32Array, first: number, n: number): number {
  const bound = offsets[first]! + OUTPUT_BYTES
  if (offsets[n]! <= bound) return n
  let low = first + 1
  let high = n
  while (low < high) {
    const mid = (low + high + 1) >>> 1
    if (offsets[mid]! <= bound) low = mid
    else high = mid - 1
  }
  return low
}

const SHORT_BYTES = 48

function copySpans(source: Uint8Array, starts: Uint32Array, offsets: Int32Array, out: Uint8Array): void {
  for (let i = 0; i < starts.length; i++) {
    let to = offsets[i]!
    const end = offsets[i + 1]!
    let from = starts[i]!
    if (end - to > SHORT_BYTES) out.set(source.subarray(from, from + end - to), to)
    else while (to < end) out[to++] = source[from++]!
  }
}

function gatherList(k: KernelInstance, v: Vec, picks: Picks): { offsets: Int32Array; child: Vec } {
  const n = picks.count
  const child = childOf(v, 0)
  const spans = gatherSpans(k, v, picks, dense(v.length, 0, picks))
  const total = spans.offsets[n]!
  const rows = new Uint32Array(total)
  let at = 0
  for (let i = 0; i < n; i++) {
    const end = spans.offsets[i + 1]!
    for (let row = spans.starts[i]!; at < end;) rows[at++] = row++
  }
  return { offsets: spans.offsets, child: gather(k, child, new Picks(rows, total, 0, picks.ordered)) }
}

function gatherFixedList(k: KernelInstance, v: Vec, size: number, picks: Picks): Vec {
  const child = childOf(v, 0)
  const n = picks.count
  assert(n * size <= INT32_MAX, 'a fixed-size list has at most 2^31 items', n * size)
  // Vectors: a list is one wide value.
  if (child.layout.kind === 'fixed' && child.validity === undefined && size > 0) {
    return makeVec(child.layout, n * size, { values: gatherFixed(k, child.values, v.length, child.layout.width * size, picks) })
  }
  const idx = picks.rows(k)
  const rows = new Uint32Array(n * size)
  let at = 0
  for (let i = 0; i < n; i++) {
    const row = idx[i]!
    for (let j = 0; j < size; j++) rows[at++] = row === NULL_INDEX ? NULL_INDEX : row * size + j
  }
  return gather(k, child, new Picks(rows, n * size, picks.missing * size, picks.ordered))
}
