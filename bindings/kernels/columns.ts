// kernels/columns.ts: rows of columns chosen by number (take), by bitmap (filter) or by range (slice).
//
// Results own their buffers, except where rows were left as they are: slice gives views, a filter that keeps every row gives the column itself, and
// dictionaries are shared. Invariant: values under a null are unspecified, everything else equals a row-by-row copy.
import { assert } from '../assert.ts'
import { bitmapBytes, bitmapIn, popcount, popcountRange, sliceBits } from './bitmap.ts'
import { Output } from './output.ts'
import { gather, isDense, NULL_INDEX, Picks } from './gather.ts'
import type { KernelInstance } from './instance.ts'
import { pieceRows } from './pieces.ts'
import { scratch } from './scratch.ts'
import { childOf, emptyVec, makeVec, offsetsOf } from './vec-build.ts'
import type { Vec } from './vec.ts'

/** Fewer kept rows than one in this many are gathered instead. */
const SPARSE = 16

/**
 * Rows by number, in the order given; 0xFFFFFFFF gives null.
 *
 * @throws InvariantError when an index is neither that nor below v.length; OffsetOverflowError above 2 GiB of var data
 */
export function take(v: Vec, indices: Uint32Array): Vec {
  return takeMany([v], indices)[0]!
}

/** `take` of the same rows from several columns of one length. */
export function takeMany(vs: readonly Vec[], indices: Uint32Array): Vec[] {
  const rows = vs[0]?.length ?? 0
  return scratch((k) => {
    const picks = picksOf(k, indices, rows)
    return vs.map((v) => {
      assert(v.length === rows, 'columns taken together have one length', v.length)
      return inner(k, () => gather(k, v, picks))
    })
  })
}

/** Rows whose bit is set. `selectedCount` saves counting them when known. */
export function filter(v: Vec, selection: Uint8Array, selectedCount?: number): Vec {
  return filterMany([v], selection, v.length, selectedCount)[0]!
}

/** `filter` of several columns of n rows by one selection, which is copied and counted once. */
export function filterMany(vs: readonly Vec[], selection: Uint8Array, n: number, selectedCount?: number): Vec[] {
  for (const v of vs) assert(v.length === n, 'columns filtered together have the length of their selection', v.length)
  const count = selectedCount ?? popcount(selection, n)
  if (count === n) return [...vs]
  if (count === 0) return vs.map((v) => ({ ...emptyVec(v.layout), dictionary: v.dictionary }))
  return scratch((k) => {
    const chosen = new Selection(k, selection, n, count)
    // A column that needs the row numbers must not make them inside its own stretch of scratch.
    if (count * SPARSE < n || vs.some(needsPicks)) chosen.picks()
    return vs.map((v) => inner(k, () => filterOne(k, v, chosen)))
  })
}

/** Rows start .. end - 1, as views where the alignment of buffers permits. */
export function slice(v: Vec, start: number, end: number): Vec {
  assert(start >= 0 && start <= end && end <= v.length, 'a slice lies inside its column', { start, end, length: v.length })
  if (start === 0 && end === v.length) return v
  const n = end - start
  const nullCount = v.validity === undefined ? 0 : n - popcountRange(v.validity, start, end)
  const base = { validity: nullCount === 0 ? undefined : sliceBits(v.validity!, start, n), nullCount, dictionary: v.dictionary }
  switch (v.layout.kind) {
    case 'fixed':
    case 'dict': {
      const { width } = v.layout
      const view = v.values.subarray(start * width, end * width)
      return makeVec(v.layout, n, { ...base, values: (view.byteOffset & 7) === 0 ? view : view.slice() })
    }
    case 'bool':
      return makeVec(v.layout, n, { ...base, values: sliceBits(v.values, start, n) })
    case 'var':
      return makeVec(v.layout, n, { ...base, values: v.values, offsets: offsetsOf(v).subarray(start, end + 1) })
    case 'list':
      return makeVec(v.layout, n, { ...base, children: v.children, offsets: offsetsOf(v).subarray(start, end + 1) })
    case 'struct':
      return makeVec(v.layout, n, { ...base, children: v.children.map((child) => slice(child, start, end)) })
    case 'fsl':
      return makeVec(v.layout, n, { ...base, children: [slice(childOf(v, 0), start * v.layout.size, end * v.layout.size)] })
  }
}

/** A selection in kernel memory; its row numbers are made when first asked for. */
class Selection {
  readonly n: number
  readonly count: number
  readonly bits: number
  readonly #k: KernelInstance
  #picks: Picks | undefined

  constructor(k: KernelInstance, selection: Uint8Array, n: number, count: number) {
    this.#k = k
    this.n = n
    this.count = count
    this.bits = bitmapIn(k, selection, n)
  }

  picks(): Picks {
    if (this.#picks === undefined) {
      const out = this.#k.arena.reserve(this.count * 4 + 32)
      const made = this.#k.exports.bits_to_indices(this.bits, this.n, out)
      assert(made === this.count, 'the stated count is the number of set bits', { stated: this.count, set: made })
      this.#picks = new Picks(out, this.count, 0, true)
    }
    return this.#picks
  }
}

function needsPicks(v: Vec): boolean {
  const { kind } = v.layout
  return kind === 'var' || kind === 'list' || kind === 'fsl' || (kind === 'struct' && v.children.some(needsPicks))
}

function filterOne(k: KernelInstance, v: Vec, s: Selection): Vec {
  const { kind } = v.layout
  if (s.count * SPARSE < s.n || kind === 'var' || kind === 'list' || kind === 'fsl') return gather(k, v, s.picks())
  let validity: Uint8Array | undefined
  let nullCount = 0
  if (v.validity !== undefined) {
    const kept = filterBits(k, v.validity, s)
    validity = kept.bits
    nullCount = s.count - kept.ones
  }
  const base = { validity, nullCount, dictionary: v.dictionary }
  switch (v.layout.kind) {
    case 'fixed':
    case 'dict':
      return makeVec(v.layout, s.count, { ...base, values: filterFixed(k, v.values, v.layout.width, s) })
    case 'bool':
      return makeVec(v.layout, s.count, { ...base, values: filterBits(k, v.values, s).bits })
    default:
      return makeVec(v.layout, s.count, { ...base, children: v.children.map((child) => filterOne(k, child, s)) })
  }
}

function filterBits(k: KernelInstance, source: Uint8Array, s: Selection): { bits: Uint8Array; ones: number } {
  return inner(k, () => {
    const bytes = (s.count + 7) >>> 3
    const src = bitmapIn(k, source, s.n)
    const out = k.arena.reserve(bytes)
    const ones = k.exports.filter_bits(src, s.bits, s.n, out)
    const bits = new Uint8Array(bitmapBytes(s.count))
    bits.set(k.u8.subarray(out, out + bytes))
    return { bits, ones }
  })
}

function filterFixed(k: KernelInstance, values: Uint8Array, width: number, s: Selection): Uint8Array {
  if (width === 0) return new Uint8Array(0)
  return inner(k, () => {
    const step = pieceRows(width)
    const source = k.arena.reserve(Math.min(s.n, step) * width)
    const out = new Output(k, s.count * width, Math.min(s.n, step) * width + 16)
    const { u8 } = k
    for (let first = 0; first < s.n; first += step) {
      const rows = Math.min(step, s.n - first)
      u8.set(values.subarray(first * width, (first + rows) * width), source)
      out.wrote(filterInto(k, source, s.bits + (first >>> 3), rows, width, out.at) * width)
    }
    return out.finish()
  })
}

function filterInto(k: KernelInstance, src: number, sel: number, n: number, width: number, out: number): number {
  const x = k.exports
  if (width === 4) return x.filter_32(src, sel, n, out)
  if (width === 8) return x.filter_64(src, sel, n, out)
  if (width === 1) return x.filter_8(src, sel, n, out)
  if (width === 2) return x.filter_16(src, sel, n, out)
  if (width === 16) return x.filter_128(src, sel, n, out)
  return x.filter_n(src, sel, n, width, out)
}

/** Scratch inside scratch, so that one column's copies make room for the next one's. */
function inner<T>(k: KernelInstance, run: () => T): T {
  const mark = k.arena.mark()
  try {
    return run()
  } finally {
    k.arena.rewind(mark)
  }
}

/** An index list with its bounds checked: here when it is short for its column, else in kernel memory, where it is needed anyway. */
function picksOf(k: KernelInstance, indices: Uint32Array, rows: number): Picks {
  const n = indices.length
  if (!isDense(n, rows)) {
    const { missing, ordered } = checkIndices(indices, rows)
    return new Picks(indices, n, missing, ordered)
  }
  const at = k.arena.reserve(n * 4)
  k.u32.set(indices, at >>> 2)
  const descents = k.arena.reserve(4)
  const missing = k.exports.indices_check(at, n, rows, descents)
  if (missing < 0) checkIndices(indices, rows)
  return new Picks(at, n, missing, missing === 0 && k.u32[descents >>> 2] === 0)
}

/** Throws for an index outside the column. */
function checkIndices(indices: Uint32Array, rows: number): { missing: number; ordered: boolean } {
  let missing = 0
  let ordered = true
  let before = 0
  for (let i = 0; i < indices.length; i++) {
    const row = indices[i]!
    if (row >= rows) {
      assert(row === NULL_INDEX, 'indices lie inside their column', { index: row, at: i, rows })
      missing++
      continue
    }
    if (ordered && row < before) ordered = false
    before = row
  }
  return { missing, ordered: ordered && missing === 0 }
}
