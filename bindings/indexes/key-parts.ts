// indexes/key-parts.ts: keys of stored rows held against a sought key, without decoding either (docs/format.md section "Keys").
//
// A sought key is its canonical bytes: 8 bytes little-endian for integers, times and floats, 1 for bool, 16 for decimals, the bytes of utf8 and binary;
// in a tuple parts of varying length stand behind their u32 length. Key order: numbers by value (NaN last), bytes unsigned, tuples part by part.
// Invariant: compareKey is 0 exactly when the canonical bytes of the row are the sought ones.
import { layoutOf, valueKindOf } from '../format/index.ts'
import type { TableSchema } from '../format/index.ts'
import { isSorted, slice } from '../kernels/index.ts'
import type { ValueKind, Vec } from '../kernels/index.ts'

const KERNEL_ROWS_MIN = 32

export interface KeyPart {
  /** Place in the schema's columns. */
  readonly index: number
  readonly kind: ValueKind
  /** Bytes of a part that never varies; 0 = varying. */
  readonly bytes: number
}

/** The key columns of a table in key order; empty = unkeyed. */
export function keyParts(schema: TableSchema): readonly KeyPart[] {
  return tupleParts(schema, schema.key)
}

/** Columns of a table as parts of a tuple, in the order of `ids`. */
export function tupleParts(schema: TableSchema, ids: readonly number[]): readonly KeyPart[] {
  return ids.map((id) => {
    const index = schema.columns.findIndex((column) => column.id === id)
    const { type } = schema.columns[index]!
    const kind = valueKindOf(type)!
    const layout = layoutOf(type)
    const bytes = kind === 'bytes' ? (layout.kind === 'fixed' ? layout.width : 0) : kind === 'bool' ? 1 : kind === 'i128' ? 16 : 8
    return { index, kind, bytes }
  })
}

/** Order of the key of `row` against the sought one. `vecs`: one per part, no nulls. */
export function compareKey(parts: readonly KeyPart[], vecs: readonly Vec[], row: number, sought: Uint8Array): number {
  let at = 0
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!
    let bytes = part.bytes
    if (bytes === 0) {
      bytes = sought.length - at
      if (parts.length > 1) {
        bytes = readU32(sought, at)
        at += 4
      }
    }
    const order = comparePart(part.kind, vecs[i]!, row, sought, at, bytes)
    if (order !== 0) return order
    at += bytes
  }
  return 0
}

/** Order of the first part of a key alone. `isTuple`: the key has more parts. */
export function compareFirstPart(part: KeyPart, isTuple: boolean, vec: Vec, row: number, sought: Uint8Array): number {
  if (part.bytes > 0) return comparePart(part.kind, vec, row, sought, 0, part.bytes)
  return isTuple ? comparePart(part.kind, vec, row, sought, 4, readU32(sought, 0)) : comparePart(part.kind, vec, row, sought, 0, sought.length)
}

function comparePart(kind: ValueKind, vec: Vec, row: number, sought: Uint8Array, at: number, bytes: number): number {
  const { values } = vec
  switch (kind) {
    case 'bool':
      return ((values[row >> 3]! >> (row & 7)) & 1) - sought[at]!
    case 'bytes':
      return compareBytes(vec, row, sought, at, bytes)
    case 'f32':
    case 'f64': {
      const stored = floatAt(vec, kind, row)
      const wanted = readF64(sought, at)
      if (stored < wanted) return -1
      if (stored > wanted) return 1
      return stored === wanted ? 0 : Number(Number.isNaN(stored)) - Number(Number.isNaN(wanted))
    }
    default: {
      // Integers from the top word down; only the top one carries the sign.
      const width = vec.layout.kind === 'fixed' ? vec.layout.width : 8
      const signed = kind.charCodeAt(0) === 105 /* i */
      const words = bytes >> 2
      for (let w = words - 1; w >= 0; w--) {
        const mine = wordAt(values, row * width, width, w, signed)
        const theirs = readU32(sought, at + 4 * w)
        if (mine !== theirs) return signed && w === words - 1 ? (mine | 0) - (theirs | 0) : mine - theirs
      }
      return 0
    }
  }
}

/** Word `w` of an integer of `width` bytes, sign- or zero-extended. */
function wordAt(values: Uint8Array, at: number, width: number, w: number, signed: boolean): number {
  if (4 * w + 4 <= width) return readU32(values, at + 4 * w)
  let word = 0
  if (w === 0) for (let i = 0; i < width; i++) word |= values[at + i]! << (8 * i)
  if (!signed || values[at + width - 1]! < 0x80) return word >>> 0
  return w === 0 ? (word | (-1 << (8 * width))) >>> 0 : 0xffff_ffff
}

function floatAt(vec: Vec, kind: 'f32' | 'f64', row: number): number {
  const { buffer, byteOffset } = vec.values
  return kind === 'f32' ? new Float32Array(buffer, byteOffset + 4 * row, 1)[0]! : new Float64Array(buffer, byteOffset + 8 * row, 1)[0]!
}

const f64Bytes = new Uint8Array(8)
const f64Value = new Float64Array(f64Bytes.buffer)

function readF64(bytes: Uint8Array, at: number): number {
  for (let i = 0; i < 8; i++) f64Bytes[i] = bytes[at + i]!
  return f64Value[0]!
}

function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

function compareBytes(vec: Vec, row: number, sought: Uint8Array, at: number, bytes: number): number {
  const span = spanOf(vec, row)
  const shared = Math.min(bytes, span.end - span.start)
  for (let i = 0; i < shared; i++) {
    const difference = span.values[span.start + i]! - sought[at + i]!
    if (difference !== 0) return difference
  }
  return span.end - span.start - bytes
}

interface Span {
  values: Uint8Array
  start: number
  end: number
}

const spans: readonly [Span, Span] = [
  { values: new Uint8Array(0), start: 0, end: 0 },
  { values: new Uint8Array(0), start: 0, end: 0 },
]

/** Where the bytes of a row lie; one of two reused objects. */
function spanOf(vec: Vec, row: number, which: 0 | 1 = 0): Span {
  const span = spans[which]
  if (vec.layout.kind === 'fixed') {
    span.values = vec.values
    span.start = row * vec.layout.width
    span.end = span.start + vec.layout.width
    return span
  }
  let source = vec
  let at = row
  if (vec.layout.kind === 'dict') {
    const { width } = vec.layout
    at = 0
    for (let i = width - 1; i >= 0; i--) at = at * 256 + vec.values[row * width + i]!
    source = vec.dictionary!
  }
  span.values = source.values
  span.start = source.offsets![at]!
  span.end = source.offsets![at + 1]!
  return span
}

/** Key order of two stored rows. */
export function compareRows(parts: readonly KeyPart[], a: readonly Vec[], rowA: number, b: readonly Vec[], rowB: number): number {
  for (let i = 0; i < parts.length; i++) {
    const order = compareStored(parts[i]!, a[i]!, rowA, b[i]!, rowB)
    if (order !== 0) return order
  }
  return 0
}

function compareStored(part: KeyPart, a: Vec, rowA: number, b: Vec, rowB: number): number {
  const { kind } = part
  if (kind === 'bytes') {
    const x = spanOf(a, rowA, 0)
    const y = spanOf(b, rowB, 1)
    const shared = Math.min(x.end - x.start, y.end - y.start)
    for (let i = 0; i < shared; i++) {
      const difference = x.values[x.start + i]! - y.values[y.start + i]!
      if (difference !== 0) return difference
    }
    return x.end - x.start - (y.end - y.start)
  }
  if (kind === 'bool') return ((a.values[rowA >> 3]! >> (rowA & 7)) & 1) - ((b.values[rowB >> 3]! >> (rowB & 7)) & 1)
  if (kind === 'f32' || kind === 'f64') {
    const x = floatAt(a, kind, rowA)
    const y = floatAt(b, kind, rowB)
    if (x < y) return -1
    if (x > y) return 1
    return x === y ? 0 : Number(Number.isNaN(x)) - Number(Number.isNaN(y))
  }
  const signed = kind.charCodeAt(0) === 105 /* i */
  const widthA = a.layout.kind === 'fixed' ? a.layout.width : 8
  const widthB = b.layout.kind === 'fixed' ? b.layout.width : 8
  const words = part.bytes >> 2
  for (let w = words - 1; w >= 0; w--) {
    const x = wordAt(a.values, rowA * widthA, widthA, w, signed)
    const y = wordAt(b.values, rowB * widthB, widthB, w, signed)
    if (x !== y) return signed && w === words - 1 ? (x | 0) - (y | 0) : x - y
  }
  return 0
}

/** Rows of `vecs` ascend strictly by key. */
export function isStrictlyAscending(parts: readonly KeyPart[], vecs: readonly Vec[], rows: number): boolean {
  const only = parts.length === 1 ? parts[0]! : undefined
  if (only !== undefined && only.bytes === 8 && only.kind !== 'f32' && only.kind !== 'f64') return integersAscend(vecs[0]!, only.kind, rows)
  // Rows that do not ascend mostly show it early, and few rows cost less here than in kernel memory.
  const first = Math.min(rows, KERNEL_ROWS_MIN)
  for (let row = 1; row < first; row++) if (compareRows(parts, vecs, row - 1, vecs, row) >= 0) return false
  if (rows === first) return true
  return isSorted(
    parts.map(({ kind }, i) => ({ vec: vecs[i]!.length === rows ? vecs[i]! : slice(vecs[i]!, 0, rows), kind })),
    rows,
  ).strict
}

function integersAscend(vec: Vec, kind: ValueKind, rows: number): boolean {
  const { buffer, byteOffset } = vec.values
  const signed = kind.charCodeAt(0) === 105 /* i */
  const width = vec.layout.kind === 'fixed' ? vec.layout.width : 8
  if (width === 8) {
    const low = new Uint32Array(buffer, byteOffset, 2 * rows)
    const high = signed ? new Int32Array(buffer, byteOffset, 2 * rows) : low
    for (let i = 2; i < 2 * rows; i += 2) {
      const order = high[i + 1]! - high[i - 1]! || low[i]! - low[i - 2]!
      if (order <= 0) return false
    }
    return true
  }
  const Cells = width === 1 ? (signed ? Int8Array : Uint8Array) : width === 2 ? (signed ? Int16Array : Uint16Array) : signed ? Int32Array : Uint32Array
  const cells = new Cells(buffer as ArrayBuffer, byteOffset, rows)
  for (let i = 1; i < rows; i++) if (cells[i]! <= cells[i - 1]!) return false
  return true
}
