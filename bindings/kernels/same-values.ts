// kernels/same-values.ts: two columns of one layout compared value by value, as a bitmap padded with zero bits to 64 rows.
//
// What is compared is what a row stores: the bits of numbers (so that -0 is not 0 and a NaN is itself), the bytes of texts whether or not they are
// dictionary-encoded, items and fields of nested values. A null equals a null and nothing else, whatever lies under it.
// Invariant: bit i is set exactly when row i of both columns would be written as the same bytes.
import { assert } from '../assert.ts'
import { bitAt, bitmapAnd, bitmapBytes, bitmapOr } from './bitmap.ts'
import { isNullBitmap } from './predicate.ts'
import { compareColumns } from './predicate-columns.ts'
import { childOf, dictionaryOf, offsetsOf, widthOf } from './vec-build.ts'
import type { ValueKind, Vec } from './vec.ts'

/** Rows where both columns hold the same value. @throws InvariantError when their lengths or layouts differ */
export function sameValues(a: Vec, b: Vec): Uint8Array<ArrayBuffer> {
  assert(a.length === b.length, 'columns compared row by row have one length', [a.length, b.length])
  const kind = kindOf(a, b)
  const same = kind === undefined ? sameNested(a, b) : compareColumns(a, b, kind, 'eq')
  if (kind === undefined || a.nullCount === 0 || b.nullCount === 0) return same
  return bitmapOr(same, bitmapAnd(isNullBitmap(a), isNullBitmap(b), a.length), a.length)
}

/** How their bytes are compared in kernels; undefined: nested. */
function kindOf(a: Vec, b: Vec): ValueKind | undefined {
  const { kind } = a.layout
  if (kind === 'bool') return 'bool'
  if (kind === 'var' || kind === 'dict') return 'bytes'
  if (kind !== 'fixed') return undefined
  const width = widthOf(a.layout)
  assert(b.layout.kind === 'fixed' && widthOf(b.layout) === width, 'values of one width', [width, b.layout.kind])
  return width === 1 ? 'u8' : width === 2 ? 'u16' : width === 4 ? 'u32' : width === 8 ? 'u64' : width === 16 ? 'i128' : 'bytes'
}

function sameNested(a: Vec, b: Vec): Uint8Array<ArrayBuffer> {
  const bits = new Uint8Array(bitmapBytes(a.length))
  for (let row = 0; row < a.length; row++) if (sameAt(a, row, b, row)) bits[row >> 3]! |= 1 << (row & 7)
  return bits
}

function sameAt(a: Vec, i: number, b: Vec, j: number): boolean {
  const isNull = isNullAt(a, i)
  if (isNull !== isNullAt(b, j)) return false
  if (isNull) return true
  switch (a.layout.kind) {
    case 'bool':
      return bitAt(a.values, i) === bitAt(b.values, j)
    case 'fixed': {
      const width = widthOf(a.layout)
      return sameBytes(a.values, i * width, (i + 1) * width, b.values, j * width, (j + 1) * width)
    }
    case 'list': {
      const [x, y] = [offsetsOf(a), offsetsOf(b)]
      return sameRun(childOf(a, 0), x[i]!, childOf(b, 0), y[j]!, x[i + 1]! - x[i]!, y[j + 1]! - y[j]!)
    }
    case 'fsl': {
      const { size } = a.layout
      return sameRun(childOf(a, 0), i * size, childOf(b, 0), j * size, size, size)
    }
    case 'struct':
      return a.children.every((child, field) => sameAt(child, i, childOf(b, field), j))
    default: {
      const [x, y] = [textAt(a, i), textAt(b, j)]
      return sameBytes(x.bytes, x.start, x.end, y.bytes, y.start, y.end)
    }
  }
}

function sameRun(a: Vec, i: number, b: Vec, j: number, n: number, m: number): boolean {
  if (n !== m) return false
  for (let at = 0; at < n; at++) if (!sameAt(a, i + at, b, j + at)) return false
  return true
}

function isNullAt(v: Vec, row: number): boolean {
  return v.validity !== undefined && !bitAt(v.validity, row)
}

function textAt(v: Vec, row: number): { readonly bytes: Uint8Array; readonly start: number; readonly end: number } {
  if (v.layout.kind === 'dict') {
    const { width } = v.layout
    let code = 0
    for (let i = width - 1; i >= 0; i--) code = code * 256 + v.values[row * width + i]!
    return textAt(dictionaryOf(v), code)
  }
  const offsets = offsetsOf(v)
  return { bytes: v.values, start: offsets[row]!, end: offsets[row + 1]! }
}

function sameBytes(a: Uint8Array, i: number, iEnd: number, b: Uint8Array, j: number, jEnd: number): boolean {
  if (iEnd - i !== jEnd - j) return false
  for (let at = i, to = j; at < iEnd; at++, to++) if (a[at] !== b[to]) return false
  return true
}
