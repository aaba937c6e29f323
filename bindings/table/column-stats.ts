// table/column-stats.ts: minimum, maximum, nulls and NaN of a column, as fragments keep them for pruning (performance.md section 5).
//
// Invariant: every value lies between min and max; byte strings are cut to 32 bytes, the maximum rounded up, so the bounds stay sound but need not be values.
import type { PageStats } from '../format/index.ts'
import { compareConst, minMaxVec, popcount, type ValueKind, type Vec } from '../kernels/index.ts'
import { compareBytes } from './vec-views.ts'

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
    default:
      return { nullCount, ...numberBounds(vec, kind) }
  }
}

/** Statistics of a whole dictionary column whose dictionary holds exactly its values. */
export function dictionaryStats(vec: Vec): PageStats {
  return { nullCount: vec.nullCount, ...shortened(vec.dictionary!) }
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

function numberBounds(vec: Vec, kind: ValueKind): Bounds {
  const { min, max } = minMaxVec(vec, kind) ?? {}
  const bounds = min === undefined ? {} : { min: min as number | bigint, max: max as number | bigint }
  if (kind !== 'f32' && kind !== 'f64') return bounds
  const hasNaN = popcount(compareConst(vec, kind, 'le', Infinity), vec.length) < vec.length - vec.nullCount
  // Zeros of either sign are one value.
  return min === undefined ? { hasNaN } : { min: min === 0 ? 0 : (min as number), max: max === 0 ? 0 : (max as number), hasNaN }
}

function boolBounds(vec: Vec): Bounds {
  const { min, max } = minMaxVec(vec, 'bool')!
  return { min: Number(min), max: Number(max) }
}

function bytesBounds(vec: Vec): Bounds {
  const { dictionary } = vec
  if (dictionary !== undefined && dictionary.length > DICTIONARY_SEARCH_MAX && dictionary.length > vec.length) return {}
  return shortened(vec)
}

/** Bounds of at most 32 bytes. */
function shortened(vec: Vec): Bounds {
  const { min, max } = minMaxVec(vec, 'bytes') ?? {}
  if (!(min instanceof Uint8Array) || !(max instanceof Uint8Array)) return {}
  const most = roundedUp(max)
  return { min: min.slice(0, BOUND_BYTES_MAX), ...(most === undefined ? {} : { max: most }) }
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
