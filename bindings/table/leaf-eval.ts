// table/leaf-eval.ts: one test of a predicate on one column, to a bitmap.
//
// A dictionary column is tested on its entries, then its codes are looked up.
// Invariant: the bitmap has ((length + 63) >> 6) * 8 bytes, is aligned to 8 and holds zeros behind `length`, under nulls and for NaN.

import { assert } from '../assert.ts'
import type { ValueKind, Vec } from '../kernels/index.ts'
import { compareBytes as compareConstantBytes } from './predicate-leaf.ts'
import type { ByteOp, Constant, Leaf } from './predicate-leaf.ts'
import { codesOf, compareBytes, numbersOf } from './vec-views.ts'

/** `kind`: undefined only for types that do not compare, whose leaves ask for null or not. */
export function leafBitmap(leaf: Leaf, kind: ValueKind | undefined, vec: Vec, length: number): Uint8Array {
  assert(vec.length === length, 'columns of a predicate have the rows of the batch', vec.length)
  const out = new Uint8Array(((length + 63) >> 6) << 3)
  switch (leaf.test) {
    case 'never':
      return out
    case 'null':
      if (vec.validity === undefined) return out
      return maskTail(invert(copyInto(out, vec.validity, length)), length)
    case 'valid':
      return maskTail(vec.validity === undefined ? out.fill(255) : copyInto(out, vec.validity, length), length)
    case 'bool':
      copyInto(out, vec.values, length)
      if (leaf.value === 0) invert(out)
      break
    case 'range':
      assert(kind !== undefined, 'a range is tested on a column that has an order')
      numbers(out, vec, kind, leaf.from, leaf.to)
      break
    case 'in':
      if (vec.layout.kind === 'dict') return dictionary(leaf, vec, length)
      assert(kind !== undefined, 'a list is tested on a column that compares')
      if (kind === 'bytes') byteTest(out, vec, (data, start, end) => containsBytes(leaf.values as readonly Uint8Array[], data, start, end))
      else members(out, vec, kind, leaf.values)
      break
    case 'bytes': {
      if (vec.layout.kind === 'dict') return dictionary(leaf, vec, length)
      const { op, value } = leaf
      byteTest(out, vec, (data, start, end) => acceptsBytes(op, value, data, start, end))
      break
    }
    case 'byteRange': {
      if (vec.layout.kind === 'dict') return dictionary(leaf, vec, length)
      const { from, to } = leaf
      byteTest(out, vec, (data, start, end) => {
        return compareBytes(data, start, end, from, 0, from.length) >= 0 && compareBytes(data, start, end, to, 0, to.length) <= 0
      })
      break
    }
  }
  if (vec.validity !== undefined) for (let i = 0; i < (length + 7) >> 3; i++) out[i] = (out[i] as number) & (vec.validity[i] as number)
  return maskTail(out, length)
}

function numbers(out: Uint8Array, vec: Vec, kind: ValueKind, from: number | bigint, to: number | bigint): void {
  const n = vec.length
  if (kind === 'i64' || kind === 'u64') {
    const { buffer, byteOffset } = vec.values
    const values = kind === 'i64' ? new BigInt64Array(buffer, byteOffset, n) : new BigUint64Array(buffer, byteOffset, n)
    for (let i = 0; i < n; i++) {
      const x = values[i] as bigint
      if (x >= from && x <= to) out[i >> 3] = (out[i >> 3] as number) | (1 << (i & 7))
    }
  } else if (kind === 'i128') {
    for (let i = 0; i < n; i++) {
      const x = int128(vec, i)
      if (x >= from && x <= to) out[i >> 3] = (out[i >> 3] as number) | (1 << (i & 7))
    }
  } else {
    const values = numbersOf(vec, kind)
    const low = Number(from)
    const high = Number(to)
    for (let i = 0; i < n; i++) {
      const x = values[i] as number
      if (x >= low && x <= high) out[i >> 3] = (out[i >> 3] as number) | (1 << (i & 7))
    }
  }
}

function members(out: Uint8Array, vec: Vec, kind: ValueKind, list: readonly Constant[]): void {
  const n = vec.length
  const wanted = new Set(list)
  const { buffer, byteOffset } = vec.values
  if (kind === 'i64' || kind === 'u64') {
    const values = kind === 'i64' ? new BigInt64Array(buffer, byteOffset, n) : new BigUint64Array(buffer, byteOffset, n)
    for (let i = 0; i < n; i++) if (wanted.has(values[i] as bigint)) out[i >> 3] = (out[i >> 3] as number) | (1 << (i & 7))
  } else if (kind === 'i128') {
    for (let i = 0; i < n; i++) if (wanted.has(int128(vec, i))) out[i >> 3] = (out[i >> 3] as number) | (1 << (i & 7))
  } else {
    const values = numbersOf(vec, kind)
    for (let i = 0; i < n; i++) if (wanted.has(values[i] as number)) out[i >> 3] = (out[i >> 3] as number) | (1 << (i & 7))
  }
}

function int128(vec: Vec, row: number): bigint {
  const view = new DataView(vec.values.buffer, vec.values.byteOffset + row * 16, 16)
  return (view.getBigInt64(8, true) << 64n) | view.getBigUint64(0, true)
}

function byteTest(out: Uint8Array, vec: Vec, test: (data: Uint8Array, start: number, end: number) => boolean): void {
  const { values, offsets, layout } = vec
  const width = layout.kind === 'fixed' ? layout.width : 0
  for (let i = 0; i < vec.length; i++) {
    const start = offsets === undefined ? i * width : (offsets[i] as number)
    const end = offsets === undefined ? start + width : (offsets[i + 1] as number)
    if (test(values, start, end)) out[i >> 3] = (out[i >> 3] as number) | (1 << (i & 7))
  }
}

function acceptsBytes(op: ByteOp, value: Uint8Array, data: Uint8Array, start: number, end: number): boolean {
  if (op === 'prefix') return end - start >= value.length && compareBytes(data, start, start + value.length, value, 0, value.length) === 0
  if (op === 'eq' && end - start !== value.length) return false
  const order = compareBytes(data, start, end, value, 0, value.length)
  switch (op) {
    case 'eq':
      return order === 0
    case 'lt':
      return order < 0
    case 'lte':
      return order <= 0
    case 'gt':
      return order > 0
    case 'gte':
      return order >= 0
  }
}

function containsBytes(sorted: readonly Uint8Array[], data: Uint8Array, start: number, end: number): boolean {
  const value = data.subarray(start, end)
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    const order = compareConstantBytes(value, sorted[middle] as Uint8Array)
    if (order === 0) return true
    if (order < 0) high = middle
    else low = middle + 1
  }
  return false
}

function dictionary(leaf: Leaf, vec: Vec, length: number): Uint8Array {
  const entries = vec.dictionary as Vec
  const accepted = leafBitmap(leaf, 'bytes', entries, entries.length)
  const out = new Uint8Array(((length + 63) >> 6) << 3)
  const codes = codesOf(vec)
  for (let i = 0; i < length; i++) {
    const code = codes[i] as number
    if (((accepted[code >> 3] ?? 0) >> (code & 7)) & 1) out[i >> 3] = (out[i >> 3] as number) | (1 << (i & 7))
  }
  if (vec.validity !== undefined) for (let i = 0; i < (length + 7) >> 3; i++) out[i] = (out[i] as number) & (vec.validity[i] as number)
  return out
}

function copyInto(out: Uint8Array, bitmap: Uint8Array, length: number): Uint8Array {
  out.set(bitmap.subarray(0, (length + 7) >> 3))
  return out
}

function invert(bitmap: Uint8Array): Uint8Array {
  for (let i = 0; i < bitmap.length; i++) bitmap[i] = ~(bitmap[i] as number)
  return bitmap
}

function maskTail(bitmap: Uint8Array, length: number): Uint8Array {
  bitmap.fill(0, (length + 7) >> 3)
  if ((length & 7) !== 0) bitmap[length >> 3] = (bitmap[length >> 3] as number) & ((1 << (length & 7)) - 1)
  return bitmap
}
