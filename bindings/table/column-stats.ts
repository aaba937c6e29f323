// table/column-stats.ts: minimum, maximum, nulls and NaN of a column, as fragments keep them for pruning (performance.md section 5).
//
// Invariant: every value lies between min and max; byte strings are cut to 32 bytes, the maximum rounded up, so the bounds stay sound but need not be values.
import type { PageStats } from '../format/index.ts'
import type { ValueKind, Vec } from '../kernels/index.ts'
import { codesOf, compareBytes, isValid } from './vec-views.ts'

const BOUND_BYTES_MAX = 32
/** Larger dictionaries are not searched for the statistics of one batch. */
const DICTIONARY_SEARCH_MAX = 4096

/** Statistics of one run of rows; `kind` undefined: only nulls are counted. */
export function columnStats(vec: Vec, kind: ValueKind | undefined): PageStats {
  const { nullCount, length } = vec
  if (kind === undefined || nullCount === length) return { nullCount }
  switch (kind) {
    case 'bytes':
      return { nullCount, ...bytesBounds(vec) }
    case 'bool':
      return { nullCount, ...boolBounds(vec) }
    case 'f32':
    case 'f64':
      return { nullCount, ...floatBounds(vec, kind) }
    case 'i64':
    case 'u64':
      return { nullCount, ...wideBounds(vec, kind === 'i64') }
    case 'i128':
      return { nullCount, ...decimalBounds(vec) }
    default:
      return { nullCount, ...intBounds(vec, kind) }
  }
}

/** Statistics of a whole dictionary column whose dictionary holds exactly its values. */
export function dictionaryStats(vec: Vec): PageStats {
  return { nullCount: vec.nullCount, ...shortened(vec.dictionary!, () => true) }
}

/** Statistics of two runs of one column together. */
export function mergeStats(a: PageStats, b: PageStats, rowsA: number, rowsB: number): PageStats {
  const nullCount = a.nullCount + b.nullCount
  const hasNaN = a.hasNaN === undefined && b.hasNaN === undefined ? {} : { hasNaN: (a.hasNaN ?? false) || (b.hasNaN ?? false) }
  // A side of nulls or NaN only has no bounds and none to add; a side with values and without bounds makes them unknown.
  const emptyA = a.min === undefined && a.max === undefined && (a.nullCount === rowsA || a.hasNaN === true)
  const emptyB = b.min === undefined && b.max === undefined && (b.nullCount === rowsB || b.hasNaN === true)
  const min = emptyA ? b.min : emptyB ? a.min : lesser(a.min, b.min)
  const max = emptyA ? b.max : emptyB ? a.max : greater(a.max, b.max)
  return { nullCount, ...(min === undefined ? {} : { min }), ...(max === undefined ? {} : { max }), ...hasNaN }
}

type Bound = PageStats['min']
type Bounds = Pick<PageStats, 'min' | 'max' | 'hasNaN'>

function lesser(a: Bound, b: Bound): Bound {
  if (a === undefined || b === undefined) return undefined
  return isLess(b, a) ? b : a
}

function greater(a: Bound, b: Bound): Bound {
  if (a === undefined || b === undefined) return undefined
  return isLess(a, b) ? b : a
}

function isLess(a: NonNullable<Bound>, b: NonNullable<Bound>): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return compareBytes(a, 0, a.length, b, 0, b.length) < 0
  return a < b
}

function intBounds(vec: Vec, kind: 'i8' | 'i16' | 'i32' | 'u8' | 'u16' | 'u32'): Bounds {
  const { buffer, byteOffset } = vec.values
  const Cells = { i8: Int8Array, i16: Int16Array, i32: Int32Array, u8: Uint8Array, u16: Uint16Array, u32: Uint32Array }[kind]
  const cells = new Cells(buffer as ArrayBuffer, byteOffset, vec.length)
  let min = Infinity
  let max = -Infinity
  if (vec.validity === undefined) {
    for (let i = 0; i < cells.length; i++) {
      const value = cells[i]!
      if (value < min) min = value
      if (value > max) max = value
    }
  } else {
    for (let i = 0; i < cells.length; i++) {
      if (!isValid(vec, i)) continue
      const value = cells[i]!
      if (value < min) min = value
      if (value > max) max = value
    }
  }
  return { min, max }
}

function floatBounds(vec: Vec, kind: 'f32' | 'f64'): Bounds {
  const { buffer, byteOffset } = vec.values
  const cells = kind === 'f32' ? new Float32Array(buffer, byteOffset, vec.length) : new Float64Array(buffer, byteOffset, vec.length)
  let min = Infinity
  let max = -Infinity
  let hasNaN = false
  for (let i = 0; i < cells.length; i++) {
    if (vec.validity !== undefined && !isValid(vec, i)) continue
    const value = cells[i]!
    if (value < min) min = value
    if (value > max) max = value
    if (value !== value) hasNaN = true
  }
  // Zeros of either sign are one value.
  return min > max ? { hasNaN } : { min: min === 0 ? 0 : min, max: max === 0 ? 0 : max, hasNaN }
}

function wideBounds(vec: Vec, signed: boolean): Bounds {
  const { buffer, byteOffset } = vec.values
  const low = new Uint32Array(buffer, byteOffset, 2 * vec.length)
  const high = signed ? new Int32Array(buffer, byteOffset, 2 * vec.length) : low
  const { validity } = vec
  let min = -1
  let max = -1
  for (let i = 0; i < vec.length; i++) {
    if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) continue
    if (min < 0) min = max = i
    const top = high[2 * i + 1]!
    const minTop = high[2 * min + 1]!
    if (top < minTop || (top === minTop && low[2 * i]! < low[2 * min]!)) min = i
    const maxTop = high[2 * max + 1]!
    if (top > maxTop || (top === maxTop && low[2 * i]! > low[2 * max]!)) max = i
  }
  const cells = signed ? new BigInt64Array(buffer as ArrayBuffer, byteOffset, vec.length) : new BigUint64Array(buffer as ArrayBuffer, byteOffset, vec.length)
  return { min: cells[min]!, max: cells[max]! }
}

function decimalBounds(vec: Vec): Bounds {
  const cells = new DataView(vec.values.buffer, vec.values.byteOffset, 16 * vec.length)
  let min: bigint | undefined
  let max: bigint | undefined
  for (let i = 0; i < vec.length; i++) {
    if (!isValid(vec, i)) continue
    const value = (cells.getBigInt64(16 * i + 8, true) << 64n) | cells.getBigUint64(16 * i, true)
    if (min === undefined || value < min) min = value
    if (max === undefined || value > max) max = value
  }
  return { min: min!, max: max! }
}

function boolBounds(vec: Vec): Bounds {
  let some = 0
  let all = 1
  for (let i = 0; i < vec.length; i++) {
    if (!isValid(vec, i)) continue
    const bit = (vec.values[i >> 3]! >> (i & 7)) & 1
    some |= bit
    all &= bit
  }
  return { min: all, max: some }
}

function bytesBounds(vec: Vec): Bounds {
  if (vec.layout.kind !== 'dict') return shortened(vec, (i) => isValid(vec, i))
  const dictionary = vec.dictionary!
  if (dictionary.length > DICTIONARY_SEARCH_MAX && dictionary.length > vec.length) return {}
  const used = new Uint8Array(dictionary.length)
  const codes = codesOf(vec)
  for (let i = 0; i < vec.length; i++) if (vec.validity === undefined || isValid(vec, i)) used[codes[i]!] = 1
  return shortened(dictionary, (i) => used[i] === 1)
}

function shortened(vec: Vec, counts: (i: number) => boolean): Bounds {
  const width = vec.layout.kind === 'fixed' ? vec.layout.width : 0
  const start = (i: number): number => (width > 0 ? width * i : vec.offsets![i]!)
  const { values } = vec
  let min = -1
  let max = -1
  for (let i = 0; i < vec.length; i++) {
    if (!counts(i)) continue
    if (min < 0) min = max = i
    else if (compareBytes(values, start(i), start(i + 1), values, start(min), start(min + 1)) < 0) min = i
    else if (compareBytes(values, start(i), start(i + 1), values, start(max), start(max + 1)) > 0) max = i
  }
  if (min < 0) return {}
  const least = values.slice(start(min), Math.min(start(min) + BOUND_BYTES_MAX, start(min + 1)))
  const most = roundedUp(values.subarray(start(max), start(max + 1)))
  return { min: least, ...(most === undefined ? {} : { max: most }) }
}

/** At most 32 bytes that are not below `bytes`; undefined when there are none. */
function roundedUp(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.length <= BOUND_BYTES_MAX) return bytes.slice()
  for (let end = BOUND_BYTES_MAX; end > 0; end--) {
    if (bytes[end - 1]! === 0xff) continue
    const bound = bytes.slice(0, end)
    bound[end - 1]!++
    return bound
  }
  return undefined
}
