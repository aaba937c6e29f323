// table/leaf-eval.ts: one test of a predicate on one column, to a bitmap, by the kernels.
//
// Invariant: the bitmap is fresh, has ((length + 63) >> 6) * 8 bytes and holds zeros behind `length`, under nulls and for NaN.

import { assert } from '../assert.ts'
import { between, bitmapNone, compareConst, inList, isNullBitmap, notNullBitmap, startsWith } from '../kernels/index.ts'
import type { CompareOp, ValueKind, Vec } from '../kernels/index.ts'
import type { ByteOp, Leaf } from './predicate-leaf.ts'

const KERNEL_OP: Readonly<Record<Exclude<ByteOp, 'prefix'>, CompareOp>> = { eq: 'eq', lt: 'lt', lte: 'le', gt: 'gt', gte: 'ge' }

/** `kind`: undefined only for types that do not compare, of which can only be asked whether they are null. */
export function leafBitmap(leaf: Leaf, kind: ValueKind | undefined, vec: Vec, length: number): Uint8Array {
  assert(vec.length === length, 'columns of a predicate have the rows of the batch', vec.length)
  switch (leaf.test) {
    case 'never':
      return bitmapNone(length)
    case 'null':
      return isNullBitmap(vec)
    case 'valid':
      return notNullBitmap(vec)
    default:
  }
  assert(kind !== undefined, 'a comparison is of a type that compares', leaf.test)
  switch (leaf.test) {
    case 'bool':
      return compareConst(vec, kind, 'eq', leaf.value === 1)
    case 'range':
      return leaf.from === leaf.to ? compareConst(vec, kind, 'eq', leaf.from) : between(vec, kind, leaf.from, leaf.to)
    case 'byteRange':
      return between(vec, kind, leaf.from, leaf.to)
    case 'in':
      return inList(vec, kind, leaf.values)
    case 'bytes':
      return leaf.op === 'prefix' ? startsWith(vec, leaf.value) : compareConst(vec, kind, KERNEL_OP[leaf.op], leaf.value)
  }
}
