// kernels/column-order.ts: orders of rows by columns, for varve/kernels: the kernels of sort.ts and merge.ts on columns that know their type.
//
// Order: numbers by value, utf8 and binary by unsigned bytes, false before true; NaN after every number and nulls last, ascending or descending. Stable.
import { inBounds, sameRows, sameTypes } from './column-checks.ts'
import type { Column } from './column.ts'
import { kindOfType } from './column-type.ts'
import { mergeRuns as mergeVecs } from './merge.ts'
import { isSorted as isSortedVecs, type OrderCheck, type SortKey, sortIndices as sortVecs, topK as topVecs } from './sort.ts'

/** A column to sort by: ascending, or as stated. */
export type OrderBy = Column | { readonly column: Column; readonly descending?: boolean }

function keysOf(keys: readonly OrderBy[]): { readonly keys: SortKey[]; readonly n: number } {
  const parts = keys.map((key) => (key !== null && typeof key === 'object' && 'column' in key ? key : { column: key, descending: false }))
  const n = sameRows(parts.map(({ column }) => column))
  if (parts.length === 0) throw new RangeError('no columns to order by: one at least expected')
  return { n, keys: parts.map(({ column, descending }) => ({ vec: column, kind: kindOfType(column.type), descending: descending === true })) }
}

/**
 * Row numbers in the order of the keys, most significant first: for `take`.
 *
 * @throws RangeError without keys, or for columns of several lengths; UnsupportedTypeError nested types, float16, decimal256
 * @cost radix passes over 8 bytes a key; byte strings compare where their first 8 bytes are equal
 * @example take(origin, sortIndices([{ column: delay, descending: true }, origin]))
 */
export function sortIndices(keys: readonly OrderBy[]): Uint32Array<ArrayBuffer> {
  const order = keysOf(keys)
  return sortVecs(order.keys, order.n)
}

/**
 * The first `count` of `sortIndices`, without sorting what cannot be among them.
 *
 * @throws RangeError unless `count` is a whole number from 0 on; errors of `sortIndices`
 * @example topK([{ column: delay, descending: true }], 10)
 */
export function topK(keys: readonly OrderBy[], count: number): Uint32Array<ArrayBuffer> {
  if (!Number.isSafeInteger(count) || count < 0) throw new RangeError(`the first ${count} rows: a whole number from 0 on expected`)
  const order = keysOf(keys)
  return topVecs(order.keys, order.n, count)
}

/**
 * Whether rows ascend by the columns, and the first one that does not.
 *
 * @throws RangeError and UnsupportedTypeError as `sortIndices`
 * @cost one pass
 * @example isSorted([columnOf(Int32Array.of(1, 2, 2))]) // { sorted: true, strict: false, row: -1 }
 */
export function isSorted(columns: readonly Column[]): OrderCheck {
  const order = keysOf(columns)
  return isSortedVecs(order.keys, order.n)
}

/**
 * The order that merges sorted runs: row numbers into the runs put one after the other; ties keep the order of the runs.
 *
 * @param runs  per run its key columns, most significant first, ascending
 * @throws RunNotSortedError { row } for a run that does not ascend; RangeError for runs of several numbers of keys; InvalidConfigError (key `column`) for
 *   keys of several types; UnsupportedTypeError
 * @cost a tournament of pairwise merges
 * @example take(concat([a, b]), mergeRuns([[a], [b]]))
 */
export function mergeRuns(runs: readonly (readonly Column[])[]): Uint32Array<ArrayBuffer> {
  const [head] = runs
  if (head === undefined) return new Uint32Array(0)
  for (const run of runs) if (run.length !== head.length) throw new RangeError(`runs of ${head.length} and ${run.length} key columns: one number expected`)
  for (const i of head.keys()) sameTypes(runs.map((run) => run[i]!))
  return inBounds(() => mergeVecs(runs.map((run) => keysOf(run).keys)))
}
