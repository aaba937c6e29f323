// What varve/kernels does not let through when types are checked, and what its calls give: tsc reports an expected error that is not there.
import * as arrow from 'apache-arrow'

import {
  allocate,
  type Column,
  columnOf,
  compare,
  concat,
  crc32c,
  filter,
  groupBy,
  inList,
  join,
  minMax,
  sum,
  take,
  takeMany,
  toArray,
  toArrow,
  xxh3,
} from '../../bindings/kernels/public.ts'

const numbers = columnOf(Int32Array.of(1))
const wide = columnOf(BigInt64Array.of(1n))
const texts = columnOf(['a', null])
const vector = columnOf(arrow.vectorFromArray([1], new arrow.Int32()))

export const typed: [Column<number>, Column<bigint>, Column<string>] = [numbers, wide, texts]
export const sums: [number, bigint] = [sum(numbers), sum(wide)]
export const extremes: { readonly min: string; readonly max: string } | undefined = minMax(texts)
export const values: (string | null)[] = toArray(filter(texts, new Uint8Array(8)))
export const pair: [Column<string>, Column<bigint>] = takeMany([texts, wide], Uint32Array.of(0))
export const back: arrow.Vector = toArrow(numbers, arrow)
const groups = groupBy([texts, wide], { n: { count: true }, total: { sum: wide }, mean: { mean: numbers }, last: { max: texts } })
export const grouped: [Column<string>, Column<bigint>, Float64Array, readonly bigint[], Float64Array, Column<string>] = [
  groups.keys[0],
  groups.keys[1],
  groups.values.n,
  groups.values.total,
  groups.values.mean,
  groups.values.last,
]
// Of an Arrow vector the values are not known: any constant passes here, and is held against the type when it is called.
compare(vector, 'eq', 1)
compare(vector, 'eq', 1n)
compare(texts, 'lt', texts)

// case: constants of another type
// @ts-expect-error a bigint against 32 bits
compare(numbers, 'eq', 5n)
// @ts-expect-error a number against 64 bits
compare(wide, 'eq', 5)
// @ts-expect-error a number against text
compare(texts, 'eq', 5)
// @ts-expect-error no such relation
compare(texts, 'like', 'a')
// @ts-expect-error one of them is no text
inList(texts, ['a', 5])
// @ts-expect-error columns of several types
compare(numbers, 'lt', wide)

// case: columns of another type
// @ts-expect-error texts are not added
sum(texts)
// @ts-expect-error columns of several types
concat([numbers, texts])
// @ts-expect-error row numbers are a Uint32Array
take(numbers, [0])
// @ts-expect-error an array of numbers says no width: use a typed array
columnOf([1, 2])
// @ts-expect-error an aggregate of two kinds of columns
groupBy([texts], { total: { sum: texts } })
// @ts-expect-error keys are columns
join(texts, texts)
// @ts-expect-error no such aggregate
groupBy([texts], { total: { median: numbers } })
// @ts-expect-error no such result
export const missing: unknown = groups.values.median

// case: bytes
// @ts-expect-error text is no bytes
crc32c('text')
// @ts-expect-error nor is an array of another width
xxh3(Uint32Array.of(1))
// @ts-expect-error a fill is asynchronous
void allocate(10).fill((view) => view.fill(1))
// @ts-expect-error columns have no buffers to write to
numbers.length = 3
