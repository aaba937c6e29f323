// kernels/bitmap-expression.ts: and, or and not over bitmaps of rows, with leaves that are made only when they can still matter.
//
// Invariant: the result is fresh and padded with zero bits to 64 rows. `and` makes no further leaf once no row is left, `or` once every row is in.
import { andInto, bitmapAll, bitmapBytes, bitmapNone, copyPadded, notInto, orInto, popcount, trim } from './bitmap.ts'

/** A bitmap, one that is made when it is needed (and then belongs to the evaluation, which may change it), or a combination of them. */
export type BitmapExpression =
  | Uint8Array
  | (() => Uint8Array)
  | { readonly and: readonly BitmapExpression[] }
  | { readonly or: readonly BitmapExpression[] }
  | { readonly not: BitmapExpression }

/**
 * The rows of an expression over n rows. `and` of nothing is every row, `or` of nothing none; `not` is the complement within the rows.
 *
 * @example evaluateBitmap({ and: [() => compare(delay, 'ge', 30), { not: () => isNull(airline) }] }, delay.length)
 */
export function evaluateBitmap(expression: BitmapExpression, n: number): Uint8Array {
  if (expression instanceof Uint8Array) return copyPadded(expression, n)
  if (typeof expression === 'function') {
    const made = expression()
    return made.length < bitmapBytes(n) ? copyPadded(made, n) : trim(made, n)
  }
  if ('not' in expression) {
    const bits = evaluateBitmap(expression.not, n)
    notInto(bits, n)
    return bits
  }
  const isAnd = 'and' in expression
  const [first, ...rest] = isAnd ? expression.and : expression.or
  if (first === undefined) return isAnd ? bitmapAll(n) : bitmapNone(n)
  const bits = evaluateBitmap(first, n)
  for (const each of rest) {
    if (popcount(bits, n) === (isAnd ? 0 : n)) break
    // A bitmap that was given is only read.
    const next = each instanceof Uint8Array ? each : evaluateBitmap(each, n)
    if (isAnd) andInto(bits, next, n)
    else orInto(bits, next, n)
  }
  return bits
}
