// kernels/column-bits.ts: bitmaps of rows joined and counted, for varve/kernels: the kernels of bitmap.ts, with the lengths of what callers hand in held first.
//
// Invariant: what is made here has zero bits behind row n, to a multiple of 64. Bitmaps handed in may be longer and carry anything there.
import { InvalidConfigError } from '../errors.ts'
import {
  bitmapAll as allBits,
  bitmapAnd as andBits,
  bitmapAndNot as andNotBits,
  bitmapNone as noBits,
  bitmapNot as notBits,
  bitmapOr as orBits,
  popcount as countBits,
} from './bitmap.ts'
import { type BitmapExpression, evaluateBitmap as evaluateBits } from './bitmap-expression.ts'
import { bitsOfRows, rowCount } from './column-checks.ts'

/**
 * A bitmap of n zero bits.
 *
 * @throws RangeError unless n is a whole number below 2^32
 * @example bitmapNone(100).length // 16
 */
export function bitmapNone(n: number): Uint8Array<ArrayBuffer> {
  return noBits(rowCount(n))
}

/** A bitmap of n one bits. Errors as `bitmapNone`. @example bitmapAll(3)[0] // 7 */
export function bitmapAll(n: number): Uint8Array<ArrayBuffer> {
  return allBits(rowCount(n))
}

/**
 * Rows in both.
 *
 * @param n  rows that the bitmaps cover
 * @throws RangeError for a bitmap of fewer bits; InvalidConfigError (key `bytes`) for a stale view
 * @cost one pass
 * @example bitmapAnd(compare(delay, 'gt', 60), startsWith(origin, 'S'), n)
 */
export function bitmapAnd(a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  return andBits(bitsOfRows(a, rowCount(n)), bitsOfRows(b, n), n)
}

/** Rows in either. Errors as `bitmapAnd`. @example bitmapOr(early, late, n) */
export function bitmapOr(a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  return orBits(bitsOfRows(a, rowCount(n)), bitsOfRows(b, n), n)
}

/** Rows in a and not in b. Errors as `bitmapAnd`. @example bitmapAndNot(late, cancelled, n) */
export function bitmapAndNot(a: Uint8Array, b: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  return andNotBits(bitsOfRows(a, rowCount(n)), bitsOfRows(b, n), n)
}

/** Rows not in a. Errors as `bitmapAnd`. @example bitmapNot(late, n) // nulls, too: they are in no comparison */
export function bitmapNot(a: Uint8Array, n: number): Uint8Array<ArrayBuffer> {
  return notBits(bitsOfRows(a, rowCount(n)), n)
}

/** How many of the first n bits are set. Errors as `bitmapAnd`. @example popcount(late, n) */
export function popcount(bitmap: Uint8Array, n: number): number {
  return countBits(bitsOfRows(bitmap, rowCount(n)), n)
}

/**
 * The rows of an expression of and, or and not over bitmaps. A leaf given as a function is made only when it can still matter; what it gives belongs to the
 * evaluation. `and` of nothing is every row, `or` of nothing none.
 *
 * @param n  rows that the bitmaps cover
 * @throws RangeError for a bitmap of fewer bits; InvalidConfigError (key `bytes`) for a stale view, (key `expression`) for no expression
 * @cost one pass a leaf; `and` stops when no row is left, `or` when every row is in
 * @example evaluateBitmap({ and: [() => compare(delay, 'ge', 30), { not: () => isNull(airline) }] }, delay.length)
 */
export function evaluateBitmap(expression: BitmapExpression, n: number): Uint8Array {
  return evaluateBits(heldToRows(expression, rowCount(n)), n)
}

function heldToRows(expression: BitmapExpression, n: number): BitmapExpression {
  if (expression instanceof Uint8Array) return bitsOfRows(expression, n)
  if (typeof expression === 'function') return () => bitsOfRows(expression(), n)
  const { and, or, not } = (typeof expression === 'object' && expression !== null ? expression : {}) as Partial<Record<'and' | 'or' | 'not', unknown>>
  const parts = (of: readonly unknown[]): BitmapExpression[] => of.map((part) => heldToRows(part as BitmapExpression, n))
  if (not !== undefined) return { not: heldToRows(not as BitmapExpression, n) }
  if (Array.isArray(and)) return { and: parts(and) }
  if (Array.isArray(or)) return { or: parts(or) }
  throw new InvalidConfigError('an expression over bitmaps is expected', {
    details: { key: 'expression', value: Object.prototype.toString.call(expression) },
    hint: 'Give a bitmap, a function that makes one, or { and: […] }, { or: […] }, { not: … } of expressions.',
  })
}
