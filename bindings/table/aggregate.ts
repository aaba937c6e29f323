// table/aggregate.ts: aggregates of a scan, plain and grouped: what was asked, fed batch by batch, turned into results of the view's types.
//
// Rules (api.md section 4): nulls are skipped; sum of nothing is 0; avg, min and max of nothing are null; min and max skip NaN as well, sum and avg do
// not; int64 sums are exact and RangeError beyond int64; groups come in first-seen order and null is a group.
// Invariant: memory grows with groups and distinct values, not with rows. A group of batches whose statistics answer everything is not read.

import { InvalidConfigError, UnsupportedTypeError } from '../errors.ts'
import { type ColumnDef, layoutOf, valueKindOf } from '../format/index.ts'
import type { ValueKind } from '../kernels/index.ts'
import { CountAccumulator, DistinctCount, type Extreme, extremeOf, extremeRow, FloatSum, type Groups, IntegerSum } from './accumulators.ts'
import type { ColumnBatch, ColumnStats, SourceGroup } from './batch.ts'
import { Grouper } from './group-by.ts'
import { decimalText, describeType } from './physical.ts'
import { cellReader } from './rows-out.ts'
import { columnOf, sortableColumn } from './scan-plan.ts'
import { vecOfValue } from './vec-views.ts'
import type { TableView, ViewColumn } from './view.ts'

/** Aggregate<T> without the types of one table. */
export type LooseAggregate =
  | 'count'
  | { readonly count: string }
  | { readonly distinct: string }
  | { readonly sum: string }
  | { readonly avg: string }
  | { readonly min: string }
  | { readonly max: string }

/** One run of an aggregate. */
export class Aggregation {
  /** What the scan has to load, in the order in which `add` takes it. */
  readonly columns: readonly ColumnDef[]
  readonly #by: readonly string[]
  readonly #byPlaces: readonly number[]
  readonly #grouper: Grouper | undefined
  readonly #inputs: Inputs
  readonly #results: readonly { readonly name: string; readonly reader: (size: number) => (group: number) => unknown }[]

  /** @throws InvalidConfigError, SchemaMismatchError, UnsupportedTypeError when the request does not fit the view */
  constructor(view: TableView, spec: Readonly<Record<string, LooseAggregate>>, by: readonly string[]) {
    const keys = by.map((name) => columnOf(view, name))
    this.#by = by
    this.#inputs = new Inputs(view, by.length > 0)
    this.#byPlaces = keys.map((column) => this.#inputs.place(column))
    this.#grouper = keys.length > 0 ? new Grouper(keys) : undefined
    this.#results = Object.entries(spec).map(([name, aggregate]) => {
      // A row is a plain object: assigning this property would set its prototype and lose the value.
      if (name === '__proto__')
        throw new InvalidConfigError(`aggregate of ${view.table.name}: "__proto__" cannot name a result`, { details: { key: name, value: aggregate } })
      if (by.includes(name)) {
        throw new InvalidConfigError(`aggregate of ${view.table.name}: ${JSON.stringify(name)} names a column of "by" and a result; rename the result`, {
          details: { key: name, value: aggregate },
        })
      }
      return { name, reader: this.#inputs.result(name, aggregate) }
    })
    this.columns = this.#inputs.columns.map(({ column }) => column)
  }

  add(batch: ColumnBatch): void {
    if (this.#grouper === undefined) return this.#inputs.feed(batch, undefined, 1)
    const groups = this.#grouper.assign(
      this.#byPlaces.map((place) => batch.columns[place]!),
      batch.length,
    )
    this.#inputs.feed(batch, groups, this.#grouper.size)
  }

  /** Takes the answer for a whole group from its statistics; false: it has to be read. Only for groups whose every live row counts. */
  addFromStatistics(group: SourceGroup): boolean {
    return this.#grouper === undefined && this.#inputs.feedStatistics(group)
  }

  /** One row of results, or, grouped, one per group in first-seen order. */
  *results(): Generator<undefined, Record<string, unknown> | Record<string, unknown>[]> {
    if (this.#grouper === undefined) return Object.fromEntries(this.#results.map(({ name, reader }) => [name, reader(1)(0)]))
    const { size } = this.#grouper
    const keys = this.#grouper.cells()
    const readers = this.#results.map(({ reader }) => reader(size))
    const names = [...this.#by, ...this.#results.map(({ name }) => name)]
    const cells = [...keys, ...readers]
    const rows: Record<string, unknown>[] = []
    for (let group = 0; group < size; group++) {
      const row: Record<string, unknown> = {}
      for (let i = 0; i < names.length; i++) row[names[i]!] = cells[i]!(group)
      rows.push(row)
      if (group % GROUPS_PER_STEP === GROUPS_PER_STEP - 1) yield
    }
    return rows
  }
}

const GROUPS_PER_STEP = 4096

type Sum = { readonly exact: IntegerSum } | { readonly float: FloatSum }

/** The accumulators that the asked-for results share: the sum and the average of a column add it up once. */
class Inputs {
  readonly columns: ViewColumn[] = []
  readonly #view: TableView
  readonly #grouped: boolean
  #rows: CountAccumulator | undefined
  readonly #counts = new Map<number, CountAccumulator>()
  readonly #sums = new Map<number, Sum>()
  readonly #extremes = new Map<string, { readonly place: number; readonly extreme: Extreme; readonly sign: 1 | -1 }>()
  readonly #distincts = new Map<number, DistinctCount>()

  constructor(view: TableView, grouped: boolean) {
    this.#view = view
    this.#grouped = grouped
  }

  /** Where the column is among the loaded ones; added when new. */
  place(column: ViewColumn): number {
    const place = this.columns.indexOf(column)
    return place >= 0 ? place : this.columns.push(column) - 1
  }

  /** Makes the accumulators of one result; returns what reads it in the end. */
  result(name: string, aggregate: LooseAggregate): (size: number) => (group: number) => unknown {
    if (aggregate === 'count') {
      const rows = (this.#rows ??= new CountAccumulator())
      return () => (group) => rows.at(group)
    }
    const [verb, column, ...more] = typeof aggregate === 'object' && aggregate !== null ? Object.entries(aggregate).flat() : []
    if (more.length === 0 && typeof column === 'string') {
      switch (verb) {
        case 'count': {
          const counts = this.#count(columnOf(this.#view, column))
          return () => (group) => counts.at(group)
        }
        case 'distinct': {
          const distinct = this.#distinct(columnOf(this.#view, column))
          return () => (group) => distinct.at(group, this.#grouped)
        }
        case 'sum':
          return this.#sumResult(this.#summable(column, 'sum'))
        case 'avg':
          return this.#avgResult(this.#summable(column, 'avg'))
        case 'min':
        case 'max':
          return this.#extremeResult(sortableColumn(this.#view, column, verb), verb === 'min' ? 1 : -1)
        default:
          break
      }
    }
    const expected = '"count" or one of count, distinct, sum, avg, min, max with a column, such as { sum: "distance" }'
    throw new InvalidConfigError(`aggregate of ${this.#view.table.name}: ${JSON.stringify(name)} must be ${expected}`, {
      details: { key: name, value: aggregate },
    })
  }

  feed(batch: ColumnBatch, groups: Groups, size: number): void {
    this.#rows?.addRows(batch.length, groups, size)
    for (const [place, counts] of this.#counts) counts.add(batch.columns[place]!, groups, size)
    for (const [place, sum] of this.#sums) ('exact' in sum ? sum.exact : sum.float).add(batch.columns[place]!, groups, size)
    for (const { place, extreme, sign } of this.#extremes.values()) {
      const vec = batch.columns[place]!
      extreme.add(groups === undefined ? extremeRow(vec, valueKindOf(this.columns[place]!.column.type)!, sign) : vec, groups, size)
    }
    for (const [place, distinct] of this.#distincts) distinct.add(batch.columns[place]!, groups, size)
  }

  feedStatistics(group: SourceGroup): boolean {
    if (this.#sums.size > 0 || this.#distincts.size > 0) return false
    const complete = group.liveRows === group.rows
    if (!complete && (this.#counts.size > 0 || this.#extremes.size > 0)) return false
    const stats = this.columns.map(({ column }) => group.stats(column.id))
    for (const place of this.#counts.keys()) if (stats[place] === undefined) return false
    for (const { place, sign } of this.#extremes.values()) {
      if (!statesExtreme(stats[place], valueKindOf(this.columns[place]!.column.type)!, sign, group.rows)) return false
    }
    this.#rows?.addRows(group.liveRows, undefined, 1)
    for (const [place, counts] of this.#counts) counts.addRows(group.rows - stats[place]!.nullCount, undefined, 1)
    for (const { place, extreme, sign } of this.#extremes.values()) {
      const value = sign > 0 ? stats[place]!.min : stats[place]!.max
      const { type } = this.columns[place]!.column
      if (value !== undefined) extreme.add(vecOfValue(valueKindOf(type)!, value as number | bigint), undefined, 1)
    }
    return true
  }

  #count(column: ViewColumn): CountAccumulator {
    return once(this.#counts, this.place(column), () => new CountAccumulator())
  }

  #distinct(column: ViewColumn): DistinctCount {
    return once(this.#distincts, this.place(column), () => new DistinctCount(column))
  }

  #sum(column: ViewColumn): Sum {
    const kind = valueKindOf(column.column.type)!
    return once(this.#sums, this.place(column), () => (kind === 'f32' || kind === 'f64' ? { float: new FloatSum(kind) } : { exact: new IntegerSum(kind) }))
  }

  #summable(name: string, verb: string): ViewColumn {
    const column = columnOf(this.#view, name)
    const { kind } = column.column.type
    if (kind === 'int' || kind === 'float' || kind === 'decimal') return column
    const type = describeType(column.column.type)
    throw new UnsupportedTypeError(`${this.#view.table.name}.${name}: ${type} has no ${verb}`, { details: { type } })
  }

  #sumResult(column: ViewColumn): () => (group: number) => unknown {
    const sum = this.#sum(column)
    if ('float' in sum) return () => (group) => sum.float.at(group)
    const where = `${this.#view.table.name}.${column.name}`
    return () => (group) => sumCell(column, where, sum.exact.at(group))
  }

  #avgResult(column: ViewColumn): () => (group: number) => unknown {
    const sum = this.#sum(column)
    const counts = this.#count(column)
    const { type } = column.column
    const scale = type.kind === 'decimal' ? type.scale : 0
    return () => (group) => {
      const n = counts.at(group)
      if (n === 0) return null
      return 'float' in sum ? sum.float.at(group) / n : mean(sum.exact.at(group), n, scale)
    }
  }

  #extremeResult(column: ViewColumn, sign: 1 | -1): (size: number) => (group: number) => unknown {
    const place = this.place(column)
    const { extreme } = once(this.#extremes, `${place}:${sign}`, () => {
      const layout = layoutOf(column.column.type)
      return { place, sign, extreme: extremeOf(valueKindOf(column.column.type)!, layout.kind === 'fixed' ? layout.width : 0, sign) }
    })
    return (size) => cellReader(column, extreme.finish(size))
  }
}

/** Whether statistics tell the smallest (largest) value exactly. Bytes may be shortened there, and zeros lose their sign. */
function statesExtreme(stats: ColumnStats | undefined, kind: ValueKind, sign: 1 | -1, rows: number): boolean {
  if (stats === undefined || kind === 'bytes') return false
  const value = sign > 0 ? stats.min : stats.max
  if (value === undefined) return stats.nullCount === rows
  return typeof value === 'bigint' || (typeof value === 'number' && !((kind === 'f32' || kind === 'f64') && value === 0))
}

const RANGES: Readonly<Partial<Record<ValueKind, readonly [low: bigint, high: bigint, name: string]>>> = {
  i64: [-(2n ** 63n), 2n ** 63n - 1n, 'int64'],
  u64: [0n, 2n ** 64n - 1n, 'uint64'],
}

/** A sum as the view reads the column. @throws RangeError when it does not fit */
function sumCell(column: ViewColumn, where: string, sum: bigint): number | bigint | string {
  const { type } = column.column
  if (type.kind === 'decimal') return decimalText(sum, type.scale)
  const range = RANGES[valueKindOf(type)!]
  if (range !== undefined) {
    const [low, high, name] = range
    if (sum < low || sum > high) throw new RangeError(`${where}: the sum ${sum} is beyond ${name}`)
    if (column.spec.as !== 'number') return sum
  }
  const number = Number(sum)
  if (!Number.isSafeInteger(number)) throw new RangeError(`${where}: the sum ${sum} is not a safe integer; read the column as int64 bigint`)
  return number
}

/** sum / n, correct to the last place or nearly so however long the sum is. */
function mean(sum: bigint, n: number, scale: number): number {
  if (scale > 0) return Number(decimalText(sum, scale)) / n
  const number = Number(sum)
  if (Number.isSafeInteger(number)) return number / n
  const count = BigInt(n)
  return Number(sum / count) + Number(sum % count) / n
}

function once<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) map.set(key, (value = make()))
  return value
}
