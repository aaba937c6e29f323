// test/kernel/value-model.ts: cells as JavaScript values by kind, and their order: the oracle of comparing, sorting and aggregating.
import type { Layout, ValueKind, Vec } from '../../bindings/kernels/index.ts'
import { bytesOf, hexOf, type randomOf, type Row, rowAt } from './vec-model.ts'

export type Cell = null | boolean | number | bigint | Uint8Array

export const kinds: readonly ValueKind[] = ['i8', 'i16', 'i32', 'i64', 'u8', 'u16', 'u32', 'u64', 'f32', 'f64', 'i128', 'bool', 'bytes']

const WIDTHS: Readonly<Record<string, number>> = { i8: 1, i16: 2, i32: 4, i64: 8, u8: 1, u16: 2, u32: 4, u64: 8, f32: 4, f64: 8, i128: 16 }

/** A layout for values of a kind; `choice` picks among those of bytes. */
export function layoutFor(kind: ValueKind, choice: number): Layout {
  if (kind === 'bool') return { kind: 'bool' }
  if (kind === 'bytes') {
    const options: Layout[] = [
      { kind: 'var' },
      { kind: 'dict', width: 1 },
      { kind: 'dict', width: 2 },
      { kind: 'fixed', width: 3 },
      { kind: 'fixed', width: 16 },
    ]
    return options[choice % options.length]!
  }
  return { kind: 'fixed', width: WIDTHS[kind]! }
}

/** The value of row i. */
export function cellAt(v: Vec, kind: ValueKind, i: number): Cell {
  const row = rowAt(v, i)
  return row === null ? null : cellOf(row, kind)
}

/** A row of vec-model as a value. Integers may be stored narrower than their kind. */
export function cellOf(row: Row, kind: ValueKind): Cell {
  if (typeof row === 'boolean') return row
  const bytes = bytesOf(row as string)
  if (kind === 'bytes') return bytes
  const view = new DataView(bytes.buffer)
  if (kind === 'f32') return view.getFloat32(0, true)
  if (kind === 'f64') return view.getFloat64(0, true)
  let value = 0n
  for (let i = bytes.length - 1; i >= 0; i--) value = value * 256n + BigInt(bytes[i]!)
  if (!kind.startsWith('u') && bytes[bytes.length - 1]! >= 128) value -= 1n << BigInt(bytes.length * 8)
  return kind === 'i64' || kind === 'u64' || kind === 'i128' ? value : Number(value)
}

/** Nulls last, NaN before them, both directions; -0 = +0; bytes unsigned. */
export function compareCells(a: Cell, b: Cell, descending: boolean): number {
  const rank = (x: Cell): number => (x === null ? 2 : typeof x === 'number' && Number.isNaN(x) ? 1 : 0)
  if (rank(a) !== 0 || rank(b) !== 0) return rank(a) - rank(b)
  const sign = compareValues(a!, b!)
  return descending ? -sign : sign
}

export function compareValues(a: Exclude<Cell, null>, b: Exclude<Cell, null>): number {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Math.sign(Buffer.compare(a, b))
  return a < b ? -1 : a > b ? 1 : 0
}

const FLOATS = [0, -0, 1, -1, 0.5, Infinity, -Infinity, NaN, 1e300, -1e-300, 5e-324, 3.4028234663852886e38, 2 ** -149]

const HALVES = [0n, -1n, -(2n ** 63n), 2n ** 63n - 1n, 1n]

/** Random rows of a kind; `few`: from a handful of values, so that there are ties. */
export function rowsOfKind(kind: ValueKind, layout: Layout, n: number, nulls: number, few: boolean, random: ReturnType<typeof randomOf>): Row[] {
  const rows: Row[] = []
  for (let i = 0; i < n; i++) rows.push(random.chance(nulls) ? null : oneRow(kind, layout, few, random))
  return rows
}

function oneRow(kind: ValueKind, layout: Layout, few: boolean, random: ReturnType<typeof randomOf>): Row {
  if (kind === 'bool') return random.chance(0.5)
  if (kind === 'bytes') {
    const length = layout.kind === 'fixed' ? layout.width : random.below(few ? 3 : random.chance(0.3) ? 20 : 4)
    // Long shared prefixes, zeros and bytes above 127.
    return hexOf(Uint8Array.from({ length }, (_, i) => (i < 7 && length > 8 ? 7 : [0, 1, 127, 128, 255][random.below(few ? 2 : 5)]!)))
  }
  const width = layout.kind === 'fixed' ? layout.width : 0
  const bytes = new Uint8Array(width)
  const view = new DataView(bytes.buffer)
  if (kind === 'f32' || kind === 'f64') {
    const value = few ? FLOATS[random.below(8)]! : random.chance(0.2) ? FLOATS[random.below(FLOATS.length)]! : (random.u32() - 2 ** 31) / 1024
    if (kind === 'f32') view.setFloat32(0, value, true)
    else view.setFloat64(0, value, true)
    if (Number.isNaN(value) && random.chance(0.5)) bytes[width - 1]! |= 0x80
    return hexOf(bytes)
  }
  if (few || random.chance(0.3)) {
    const near = [0, 1, 2, -1, -2][random.below(5)]!
    bytes.fill(near < 0 ? 255 : 0)
    bytes[0] = near
    if (random.chance(0.1)) bytes[width - 1]! ^= 0x80
    // Halves that agree in one and differ in the other, below and above the sign of a half.
    if (width === 16 && random.chance(0.5)) for (const at of [0, 8]) view.setBigInt64(at, HALVES[random.below(few ? 3 : HALVES.length)]!, true)
  } else {
    for (let i = 0; i < width; i++) bytes[i] = random.u32()
  }
  return hexOf(bytes)
}
