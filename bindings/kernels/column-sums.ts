// kernels/column-sums.ts: aggregates of columns, over all rows, those of a selection, or by group, for varve/kernels: the kernels of aggregate.ts, groups.ts
// and grouped.ts on columns that know their type.
//
// Nulls are skipped, NaN too by extremes. Integer sums are exact, of any size; float sums are pairwise in row order.
import { InvalidConfigError } from '../errors.ts'
import { countValid, minMaxVec, sumVec } from './aggregate.ts'
import { checkColumn, sameRows, selectionOf, wrongType } from './column-checks.ts'
import type { Column } from './column.ts'
import { typed } from './column.ts'
import { type ArrowType, kindOfType, layoutOfType } from './column-type.ts'
import { GroupedExtreme } from './grouped-extreme.ts'
import { GroupedCount, GroupedDistinct, GroupedFloatSum, GroupedIntSum } from './grouped.ts'
import { GroupTable } from './groups.ts'
import type { GroupColumn } from './groups.ts'
import type { Vec } from './vec.ts'

/**
 * Rows that are not null, of all or of the selection.
 *
 * @throws RangeError for a selection that is too short
 * @cost none without a selection
 * @example count(delay, late)
 */
export function count(column: Column, selection?: Uint8Array): number {
  checkColumn(column)
  return countValid(column, selectionOf(selection, column.length))
}

/**
 * Sum of the values; 0 without any.
 *
 * @param selection  bitmap of the rows to add; all when left out
 * @returns a bigint for 64 bits and decimals (unscaled), exact; a number otherwise: floats pairwise, smaller integers exact up to 2^53
 * @throws RangeError for a selection that is too short; InvalidConfigError (key `column`) for what cannot be added
 * @cost one pass
 * @example sum(columnOf(Float64Array.of(0.5, 0.25))) // 0.75
 */
export function sum<V extends number | bigint>(column: Column<V>, selection?: Uint8Array): V {
  checkColumn(column)
  const { type } = column
  checkAddable(type)
  const total = sumVec(column, kindOfType(type), selectionOf(selection, column.length))
  return (type.kind === 'decimal' ? BigInt(total) : total) as V
}

/**
 * Mean of the values: their sum by their number, as a double; undefined without any. Decimals unscaled. Errors as `sum`.
 *
 * @example mean(columnOf(Int8Array.of(1, 2))) // 1.5
 */
export function mean(column: Column<number> | Column<bigint>, selection?: Uint8Array): number | undefined {
  const n = count(column, selection)
  return n === 0 ? undefined : Number(sum(column as Column<number | bigint>, selection)) / n
}

/**
 * Least and greatest value, or undefined without any (only nulls and NaN).
 *
 * @throws RangeError for a selection that is too short; UnsupportedTypeError nested types, float16, decimal256
 * @cost one pass; dictionary columns look at the entries in use
 * @example minMax(columnOf(['LAX', 'SFO'])) // { min: 'LAX', max: 'SFO' }
 */
export function minMax<V>(column: Column<V>, selection?: Uint8Array): { readonly min: V; readonly max: V } | undefined {
  checkColumn(column)
  const found = minMaxVec(column, kindOfType(column.type), selectionOf(selection, column.length))
  if (found === undefined) return undefined
  const value = valueOf(column.type)
  return { min: value(found.min) as V, max: value(found.max) as V }
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

function valueOf(type: ArrowType): (value: number | bigint | boolean | Uint8Array) => unknown {
  if (type.kind === 'dictionary') return valueOf(type.values)
  if (type.kind === 'utf8') return (value) => decoder.decode(value as Uint8Array)
  return type.kind === 'decimal' ? (value) => BigInt(value as number | bigint) : (value) => value
}

function checkAddable(type: ArrowType): void {
  const addable = type.kind === 'int' || type.kind === 'float' || type.kind === 'decimal' || type.kind === 'duration'
  if (!addable) throw wrongType(type, 'a number, decimal or duration')
}

/** What to compute by group: one of these per name. */
export type Aggregate =
  /** Rows; of a column those that are not null. */
  | { readonly count: true | Column }
  /** Distinct values other than null. */
  | { readonly distinct: Column }
  | { readonly sum: Column<number> | Column<bigint> }
  | { readonly mean: Column<number> | Column<bigint> }
  | { readonly min: Column }
  | { readonly max: Column }

/** What an aggregate gives, one value per group. */
export type Aggregated<A> = A extends { readonly min: infer C } | { readonly max: infer C }
  ? C
  : A extends { readonly sum: infer C }
    ? C extends Column<infer V>
      ? readonly V[]
      : never
    : Float64Array<ArrayBuffer>

export interface Groups<K extends readonly Column[], A extends Readonly<Record<string, Aggregate>>> {
  /** How many groups there are, in the order their first rows came. */
  readonly size: number
  /** The value of each key by group: columns of `size` rows. */
  readonly keys: { -readonly [I in keyof K]: K[I] }
  /** The aggregates by name: counts and means as numbers (NaN for the mean of nothing), sums as values, extremes as columns. */
  readonly values: { readonly [N in keyof A]: Aggregated<A[N]> }
  /** The group of every row; what stands at rows that were not selected means nothing. */
  readonly groupOfRow: Uint32Array<ArrayBuffer>
}

/**
 * Group rows by the values of one or several columns and aggregate them. Null is a value of a key; -0 is 0, every NaN is one value.
 *
 * @param keys  columns of one length; none: one group of all rows
 * @param aggregates  by name; their columns have the length of the keys
 * @param selection  bitmap of the rows that count; all when left out
 * @param o.seed  a random integer of 32 bits where the values are a stranger's: known hashes can be made to collide, which takes quadratic time
 * @throws RangeError for columns or selections that do not fit, or a seed that is no integer; InvalidConfigError (key `column`) for sums of what cannot be added, (key `aggregate`) for
 *   what is no aggregate; UnsupportedTypeError nested types, float16, decimal256; KernelMemoryExhaustedError when groups and their aggregates pass 512 MiB
 * @cost one hash look-up a row and key, one pass per aggregate
 * @example groupBy([origin], { n: { count: true }, late: { max: delay } }).values.n
 */
export function groupBy<const K extends readonly Column[], const A extends Readonly<Record<string, Aggregate>>>(
  keys: K,
  aggregates: A,
  selection?: Uint8Array,
  o: { readonly seed?: number } = {},
): Groups<K, A> {
  const { seed = 0 } = o
  if (!Number.isInteger(seed)) throw new RangeError(`seed ${seed}: an integer of 32 bits expected`)
  for (const [name, aggregate] of Object.entries(aggregates)) checkAggregate(name, aggregate)
  const used = Object.values(aggregates).flatMap((aggregate) => Object.values(aggregate).filter((column) => column !== true) as Column[])
  const n = sameRows([...keys, ...used])
  const chosen = selectionOf(selection, n)
  const groups = new GroupTable(keys.map(groupColumn), { seed })
  try {
    const running = Object.entries(aggregates).map(([name, aggregate]) => ({ name, run: runningOf(groups, aggregate) }))
    groups.assign(keys, n, chosen)
    const values = Object.fromEntries(running.map(({ name, run }) => [name, run()]))
    const vecs = groups.keys()
    return {
      size: groups.size,
      keys: vecs.map((vec, i) => plainTyped(vec, keys[i]!.type)),
      values,
      groupOfRow: groups.groups(),
    } as unknown as Groups<K, A>
  } finally {
    groups[Symbol.dispose]()
  }
}

const AGGREGATES: ReadonlySet<string> = new Set(['count', 'distinct', 'sum', 'mean', 'min', 'max'])

function checkAggregate(name: string, aggregate: Aggregate): void {
  const [[what, column] = [], ...more] = Object.entries(aggregate ?? {})
  if (more.length === 0 && what !== undefined && AGGREGATES.has(what) && (column !== true || what === 'count')) return
  throw new InvalidConfigError(`aggregate ${name} is none`, {
    details: { key: 'aggregate', value: name },
    hint: `Give one of ${[...AGGREGATES].join(', ')} with a column, or { count: true }.`,
  })
}

/** Groups come in the plain layout of their column. */
function groupColumn({ type }: Column): GroupColumn {
  return { kind: kindOfType(type), layout: layoutOfType(type.kind === 'dictionary' ? type.values : type) }
}

function plainTyped(vec: Vec, type: ArrowType): Column {
  return typed(vec, type.kind === 'dictionary' ? type.values : type)
}

/** An aggregate on these groups; what it gives is asked for after the batch was assigned. */
function runningOf(groups: GroupTable, aggregate: Aggregate): () => unknown {
  if ('count' in aggregate) {
    const counts = new GroupedCount(groups)
    return () => {
      counts.add(aggregate.count === true ? undefined : aggregate.count)
      return counts.counts()
    }
  }
  if ('distinct' in aggregate) {
    const column = aggregate.distinct
    const distinct = new GroupedDistinct(groups, groupColumn(column))
    return () => {
      distinct.add(column)
      return distinct.counts()
    }
  }
  if ('min' in aggregate || 'max' in aggregate) {
    const column = 'min' in aggregate ? aggregate.min : aggregate.max
    const extreme = new GroupedExtreme(groups, groupColumn(column), 'min' in aggregate ? 'min' : 'max')
    return () => {
      extreme.add(column)
      return plainTyped(extreme.values(), column.type)
    }
  }
  if ('sum' in aggregate) return sumsOf(groups, aggregate.sum)
  const sums = sumsOf(groups, aggregate.mean)
  const counts = new GroupedCount(groups)
  return () => {
    const totals = sums()
    counts.add(aggregate.mean)
    return counts.counts().map((n, group) => Number(totals[group]!) / n)
  }
}

function sumsOf(groups: GroupTable, column: Column<number> | Column<bigint>): () => readonly (number | bigint)[] {
  const { type } = column
  checkAddable(type)
  const kind = kindOfType(type)
  if (kind === 'f32' || kind === 'f64') {
    const sums = new GroupedFloatSum(groups, kind)
    return () => {
      sums.add(column)
      return Array.from(sums.sums())
    }
  }
  const sums = new GroupedIntSum(groups, kind)
  const big = kind === 'i64' || kind === 'u64' || type.kind === 'decimal'
  return () => {
    sums.add(column)
    return Array.from({ length: groups.size }, (_, group) => (big ? sums.at(group) : Number(sums.at(group))))
  }
}
