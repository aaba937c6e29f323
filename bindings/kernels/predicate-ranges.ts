// kernels/predicate-ranges.ts: numeric comparisons as closed ranges of the column's physical type, and the kernels that test them.
//
// Bounds are clamped to what the column can store, so constants may lie outside of it; float bounds step to the next representable value, which makes
// `x < c` exactly `x <= previous(c)`. Invariant: a range list holds no empty range; no range at all means no row.
import { assert } from '../assert.ts'
import { bitmapBytes } from './bitmap.ts'
import type { KernelInstance } from './instance.ts'
import { pieceRows } from './pieces.ts'
import type { CompareOp, Constant } from './predicate.ts'
import { scratch } from './scratch.ts'
import { widthOf } from './vec-build.ts'
import type { ValueKind, Vec } from './vec.ts'

/** Both ends included. Floats are numbers, integers bigints. */
export type Range = { readonly low: number; readonly high: number } | { readonly low: bigint; readonly high: bigint }

/** The ranges of values that stand in that relation to the constant. */
export function rangesOf(v: Vec, kind: ValueKind, op: CompareOp, constant: Constant): Range[] {
  assert(typeof constant === 'number' || typeof constant === 'bigint', 'a numeric column is compared with a number', constant)
  if (op === 'ne') return [...rangesOf(v, kind, 'lt', constant), ...rangesOf(v, kind, 'gt', constant)]
  if (kind === 'f32' || kind === 'f64') return floatRanges(kind, op, Number(constant))
  return intRanges(kind, widthOf(v.layout), op, constant)
}

function intRanges(kind: ValueKind, width: number, op: Exclude<CompareOp, 'ne'>, constant: number | bigint): Range[] {
  const bits = BigInt(width * 8)
  const least = kind.startsWith('u') ? 0n : -(1n << (bits - 1n))
  const most = kind.startsWith('u') ? (1n << bits) - 1n : (1n << (bits - 1n)) - 1n
  let down: bigint
  let up: bigint
  if (typeof constant === 'bigint') {
    down = constant
    up = constant
  } else {
    if (Number.isNaN(constant)) return []
    if (!Number.isFinite(constant)) return op === 'eq' || constant > 0 === op.startsWith('g') ? [] : [{ low: least, high: most }]
    down = BigInt(Math.floor(constant))
    up = BigInt(Math.ceil(constant))
  }
  let low = least
  let high = most
  if (op === 'eq') {
    low = up
    high = down
  } else if (op === 'lt') high = up - 1n
  else if (op === 'le') high = down
  else if (op === 'gt') low = down + 1n
  else low = up
  if (low < least) low = least
  if (high > most) high = most
  return low <= high ? [{ low, high }] : []
}

function floatRanges(kind: 'f32' | 'f64', op: Exclude<CompareOp, 'ne'>, c: number): Range[] {
  if (Number.isNaN(c)) return []
  // The nearest values of the column's type at or below and at or above c.
  const near = kind === 'f32' ? Math.fround(c) : c
  const down = near <= c ? near : step(near, -1, kind)
  const up = near >= c ? near : step(near, 1, kind)
  if (op === 'eq') return down === up ? [{ low: down, high: up }] : []
  if (op === 'le') return [{ low: -Infinity, high: down }]
  if (op === 'ge') return [{ low: up, high: Infinity }]
  if (op === 'lt') return up === -Infinity ? [] : [{ low: -Infinity, high: step(up, -1, kind) }]
  return down === Infinity ? [] : [{ low: step(down, 1, kind), high: Infinity }]
}

const scratchFloat = new DataView(new ArrayBuffer(8))

/** The neighbour of x in its type; zeros have the smallest numbers as neighbours. */
function step(x: number, direction: 1 | -1, kind: 'f32' | 'f64'): number {
  const view = scratchFloat
  if (kind === 'f32') {
    if (x === 0) return direction * 2 ** -149
    view.setFloat32(0, x)
    view.setInt32(0, view.getInt32(0) + (x > 0 ? direction : -direction))
    return view.getFloat32(0)
  }
  if (x === 0) return direction * Number.MIN_VALUE
  view.setFloat64(0, x)
  view.setBigInt64(0, view.getBigInt64(0) + BigInt(x > 0 ? direction : -direction))
  return view.getFloat64(0)
}

/** Rows whose value lies in one of the ranges; nulls not looked at. */
export function inRanges(v: Vec, kind: ValueKind, ranges: readonly Range[]): Uint8Array<ArrayBuffer> {
  if (ranges.length === 0) return new Uint8Array(bitmapBytes(v.length))
  const width = widthOf(v.layout)
  return scratch((k) => {
    const table = k.arena.reserve(ranges.length * 2 * width)
    const view = k.view
    for (const [i, { low, high }] of ranges.entries()) {
      putValue(view, table + i * 2 * width, width, kind, low)
      putValue(view, table + (i * 2 + 1) * width, width, kind, high)
    }
    const x = k.exports
    const count = ranges.length
    const mode = kind === 'f64' ? 2 : kind.startsWith('u') ? 1 : 0
    return rangesIn(k, v, width, (p, n, out) => {
      if (width === 1) x.range_8(p, n, table, count, out)
      else if (width === 2) x.range_16(p, n, table, count, out)
      else if (width === 4) x.range_32(p, n, table, count, kind === 'f32' ? 1 : 0, out)
      else if (width === 8) x.range_64(p, n, table, count, mode, out)
      else x.range_128(p, n, table, count, out)
    })
  })
}

/** Rows equal to the one value of one of many ranges; nulls not looked at. */
export function inSorted(v: Vec, kind: ValueKind, ranges: readonly Range[]): Uint8Array<ArrayBuffer> {
  const width = widthOf(v.layout)
  if (width === 16) return inSorted128(v, ranges)
  const float = kind === 'f32' || kind === 'f64'
  const bias = kind.startsWith('u') && width === 8 ? 1n << 63n : 0n
  // Floats are looked up by the bits of their float64; -0 + 0 is 0, as the kernel makes it.
  const values = float
    ? new BigInt64Array(Float64Array.from(ranges, ({ low }) => Number(low) + 0).buffer).sort()
    : BigInt64Array.from(ranges, ({ low }) => BigInt.asIntN(64, BigInt(low) - bias)).sort()
  return scratch((k) => {
    const list = k.copyIn(new Uint8Array(values.buffer))
    const mode = float ? 3 : bias > 0n ? 2 : kind.startsWith('u') ? 1 : 0
    return rangesIn(k, v, width, (p, n, out) => k.exports.in_sorted(p, width, mode, n, list, values.length, out))
  })
}

function inSorted128(v: Vec, ranges: readonly Range[]): Uint8Array<ArrayBuffer> {
  const values = ranges.map(({ low }) => BigInt(low)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  return scratch((k) => {
    const list = k.arena.reserve(values.length * 16)
    for (const [i, value] of values.entries()) putValue(k.view, list + i * 16, 16, 'i128', value)
    return rangesIn(k, v, 16, (p, n, out) => k.exports.in_sorted_128(p, n, list, values.length, out))
  })
}

/** Runs a kernel over the fixed-width rows, a piece at a time. The kernel may read up to a whole group of 16 rows. */
export function rangesIn(k: KernelInstance, v: Vec, width: number, run: (p: number, n: number, out: number) => void): Uint8Array<ArrayBuffer> {
  const bits = new Uint8Array(bitmapBytes(v.length))
  const step = Math.min(pieceRows(width), Math.ceil(v.length / 64) * 64)
  const source = k.arena.reserve(step * width)
  const out = k.arena.reserve(bitmapBytes(step))
  const { u8 } = k
  for (let first = 0; first < v.length; first += step) {
    const n = Math.min(step, v.length - first)
    u8.set(v.values.subarray(first * width, (first + n) * width), source)
    run(source, n, out)
    bits.set(u8.subarray(out, out + ((n + 7) >>> 3)), first >>> 3)
  }
  return bits
}

function putValue(view: DataView, at: number, width: number, kind: ValueKind, value: number | bigint): void {
  if (kind === 'f32') view.setFloat32(at, Number(value), true)
  else if (kind === 'f64') view.setFloat64(at, Number(value), true)
  else if (width === 16) {
    view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true)
    view.setBigInt64(at + 8, BigInt.asIntN(64, BigInt(value) >> 64n), true)
  } else if (width === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true)
  else if (width === 4) view.setInt32(at, Number(value), true)
  else if (width === 2) view.setInt16(at, Number(value), true)
  else view.setInt8(at, Number(value))
}
