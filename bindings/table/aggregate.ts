// table/aggregate.ts: aggregates of a scan, plain and grouped: what was asked, fed batch by batch, turned into results of the view's types.
//
// Rules (api.md section 4): nulls are skipped; sum of nothing is 0; avg, min and max of nothing are null; min and max skip NaN as well, sum and avg do
// not; int64 sums are exact and RangeError beyond int64; groups come in first-seen order and null is a group.
// Grouping and adding are kernels (kernels/groups.ts, kernels/grouped.ts); without columns to group by, every row is in one group.
// Invariant: memory grows with groups and distinct values, not with rows, and is given back by dispose. A group of batches whose statistics answer
// everything is not read.

import { InvalidConfigError, UnsupportedTypeError } from '../errors.ts'
import { type ColumnDef, layoutOf, valueKindOf } from '../format/index.ts'
import { GroupedCount, GroupedDistinct, GroupedExtreme, GroupedFloatSum, GroupedIntSum, GroupTable, type ValueKind } from '../kernels/index.ts'
import type { ColumnBatch, ColumnStats, SourceGroup } from './batch.ts'
import { type GroupKey, groupKey } from './group-keys.ts'
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

/** One run of an aggregate. To be disposed of when it ended, however it did. */
export class Aggregation implements Disposable {
  /** What the scan has to load, in the order in which `add` takes it. */
  readonly columns: readonly ColumnDef[]
  /** Share of a batch's rows from which it costs less to pass over the others than to gather those that count. */
  readonly wholeFrom: number
  readonly #by: readonly string[]
  readonly #keys: readonly { readonly place: number; readonly key: GroupKey }[]
  readonly #groups: GroupTable
  readonly #inputs: Inputs
  readonly #results: readonly { readonly name: string; readonly reader: Reader }[]

  /**
   * @param seed  of the hashes of groups
   * @throws InvalidConfigError, SchemaMismatchError, UnsupportedTypeError when the request does not fit the view
   */
  constructor(view: TableView, spec: Readonly<Record<string, LooseAggregate>>, by: readonly string[], seed: number) {
    const columns = by.map((name) => columnOf(view, name))
    const keys = columns.map((column) => groupKey(column))
    this.#by = by
    this.#groups = new GroupTable(
      keys.map(({ of }) => of),
      { seed },
    )
    this.#inputs = new Inputs(view, this.#groups)
    this.#keys = columns.map((column, i) => ({ place: this.#inputs.place(column), key: keys[i]! }))
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
    this.wholeFrom = by.length === 0 ? WHOLE_FROM : WHOLE_FROM_GROUPED
  }

  /** `selection`: the rows of the batch that count; undefined = all. */
  add(batch: ColumnBatch, selection?: Uint8Array): void {
    const keys = this.#keys.map(({ place, key }) => key.encode(batch.columns[place]!, selection))
    this.#groups.assign(keys, batch.length, selection)
    this.#inputs.feed(batch)
  }

  /** Takes the answer for a whole group from its statistics; false: it has to be read. Only for groups whose every live row counts. */
  addFromStatistics(group: SourceGroup): boolean {
    return this.#by.length === 0 && this.#inputs.feedStatistics(group)
  }

  /** One row of results, or, grouped, one per group in first-seen order. */
  *results(): Generator<undefined, Record<string, unknown> | Record<string, unknown>[]> {
    const names = [...this.#by, ...this.#results.map(({ name }) => name)]
    const columns = this.#by.length === 0 ? [] : this.#groups.keys()
    const cells = columns.map((values, i) => this.#keys[i]!.key.cells(values))
    for (const { reader } of this.#results) {
      yield
      cells.push(reader())
    }
    const rows: Record<string, unknown>[] = []
    const { size } = this.#groups
    for (let group = 0; group < size; group++) {
      const row: Record<string, unknown> = {}
      for (let i = 0; i < names.length; i++) row[names[i]!] = cells[i]!(group)
      rows.push(row)
      if (group % GROUPS_PER_STEP === GROUPS_PER_STEP - 1) yield
    }
    return this.#by.length === 0 ? rows[0]! : rows
  }

  [Symbol.dispose](): void {
    this.#groups[Symbol.dispose]()
  }
}

const GROUPS_PER_STEP = 4096

// Measured on sums of int64 and float64: whole columns go through kernels that skip rows by bitmap, groups are written for each row on its own.
const WHOLE_FROM = 0.03
const WHOLE_FROM_GROUPED = 0.3

/** Makes the reader of a result in the end, when every batch was added. */
type Reader = () => (group: number) => unknown

type Sum = { readonly exact: GroupedIntSum } | { readonly float: GroupedFloatSum }

interface ExtremeOf {
  readonly place: number
  readonly extreme: GroupedExtreme
  readonly which: 'min' | 'max'
}

/** The aggregates that the asked-for results share: the sum and the average of a column add it up once. */
class Inputs {
  readonly columns: ViewColumn[] = []
  readonly #view: TableView
  readonly #groups: GroupTable
  #rows: GroupedCount | undefined
  readonly #counts = new Map<number, GroupedCount>()
  readonly #sums = new Map<number, Sum>()
  readonly #extremes = new Map<string, ExtremeOf>()
  readonly #distincts = new Map<number, { readonly key: GroupKey; readonly distinct: GroupedDistinct }>()

  constructor(view: TableView, groups: GroupTable) {
    this.#view = view
    this.#groups = groups
  }

  /** Where the column is among the loaded ones; added when new. */
  place(column: ViewColumn): number {
    const place = this.columns.indexOf(column)
    return place >= 0 ? place : this.columns.push(column) - 1
  }

  /** Makes the aggregates of one result; returns what reads it in the end. */
  result(name: string, aggregate: LooseAggregate): Reader {
    if (aggregate === 'count') {
      const rows = (this.#rows ??= new GroupedCount(this.#groups))
      return () => byGroup(rows.counts())
    }
    const [verb, column, ...more] = typeof aggregate === 'object' && aggregate !== null ? Object.entries(aggregate).flat() : []
    if (more.length === 0 && typeof column === 'string') {
      switch (verb) {
        case 'count': {
          const counts = this.#count(columnOf(this.#view, column))
          return () => byGroup(counts.counts())
        }
        case 'distinct': {
          const distinct = this.#distinct(columnOf(this.#view, column))
          return () => byGroup(distinct.counts())
        }
        case 'sum':
          return this.#sumResult(this.#summable(column, 'sum'))
        case 'avg':
          return this.#avgResult(this.#summable(column, 'avg'))
        case 'min':
        case 'max':
          return this.#extremeResult(sortableColumn(this.#view, column, verb), verb)
        default:
          break
      }
    }
    const expected = '"count" or one of count, distinct, sum, avg, min, max with a column, such as { sum: "distance" }'
    throw new InvalidConfigError(`aggregate of ${this.#view.table.name}: ${JSON.stringify(name)} must be ${expected}`, {
      details: { key: name, value: aggregate },
    })
  }

  /** The batch whose groups were assigned last. */
  feed({ columns }: ColumnBatch): void {
    this.#rows?.add()
    for (const [place, counts] of this.#counts) counts.add(columns[place]!)
    for (const [place, sum] of this.#sums) ('exact' in sum ? sum.exact : sum.float).add(columns[place]!)
    for (const { place, extreme } of this.#extremes.values()) extreme.add(columns[place]!)
    for (const [place, { key, distinct }] of this.#distincts) distinct.add(key.encode(columns[place]!, this.#groups.selection))
  }

  feedStatistics(group: SourceGroup): boolean {
    if (this.#sums.size > 0 || this.#distincts.size > 0) return false
    const complete = group.liveRows === group.rows
    if (!complete && (this.#counts.size > 0 || this.#extremes.size > 0)) return false
    const stats = this.columns.map(({ column }) => group.stats(column.id))
    for (const place of this.#counts.keys()) if (stats[place] === undefined) return false
    for (const { place, which } of this.#extremes.values()) {
      if (!statesExtreme(stats[place], valueKindOf(this.columns[place]!.column.type)!, which, group.rows)) return false
    }
    this.#rows?.addRows(group.liveRows)
    for (const [place, counts] of this.#counts) counts.addRows(group.rows - stats[place]!.nullCount)
    this.#groups.assign([], 1)
    for (const { place, extreme, which } of this.#extremes.values()) {
      const value = stats[place]![which]
      const { type } = this.columns[place]!.column
      if (value !== undefined) extreme.add(vecOfValue(valueKindOf(type)!, value as number | bigint))
    }
    return true
  }

  #count(column: ViewColumn): GroupedCount {
    return once(this.#counts, this.place(column), () => new GroupedCount(this.#groups))
  }

  #distinct(column: ViewColumn): GroupedDistinct {
    return once(this.#distincts, this.place(column), () => {
      const key = groupKey(column)
      return { key, distinct: new GroupedDistinct(this.#groups, key.of) }
    }).distinct
  }

  #sum(column: ViewColumn): Sum {
    const kind = valueKindOf(column.column.type)!
    return once(this.#sums, this.place(column), () =>
      kind === 'f32' || kind === 'f64' ? { float: new GroupedFloatSum(this.#groups, kind) } : { exact: new GroupedIntSum(this.#groups, kind) },
    )
  }

  #summable(name: string, verb: string): ViewColumn {
    const column = columnOf(this.#view, name)
    const { kind } = column.column.type
    if (kind === 'int' || kind === 'float' || kind === 'decimal') return column
    const type = describeType(column.column.type)
    throw new UnsupportedTypeError(`${this.#view.table.name}.${name}: ${type} has no ${verb}`, { details: { type } })
  }

  #sumResult(column: ViewColumn): Reader {
    const sum = this.#sum(column)
    if ('float' in sum) return () => byGroup(sum.float.sums())
    const where = `${this.#view.table.name}.${column.name}`
    return () => (group) => sumCell(column, where, sum.exact.at(group))
  }

  #avgResult(column: ViewColumn): Reader {
    const sum = this.#sum(column)
    const counter = this.#count(column)
    const { type } = column.column
    const scale = type.kind === 'decimal' ? type.scale : 0
    return () => {
      const counts = counter.counts()
      const floats = 'float' in sum ? sum.float.sums() : undefined
      return (group) => {
        const n = counts[group]!
        if (n === 0) return null
        return 'exact' in sum ? mean(sum.exact.at(group), n, scale) : floats![group]! / n
      }
    }
  }

  #extremeResult(column: ViewColumn, which: 'min' | 'max'): Reader {
    const place = this.place(column)
    const { type } = column.column
    const { extreme } = once(this.#extremes, `${place}:${which}`, () => {
      const of = { kind: valueKindOf(type)!, layout: layoutOf(type) }
      return { place, which, extreme: new GroupedExtreme(this.#groups, of, which) }
    })
    return () => cellReader(column, extreme.values())
  }
}

function byGroup(values: Float64Array): (group: number) => number {
  return (group) => values[group]!
}

/** Whether statistics tell the smallest (largest) value exactly. Bytes may be shortened there, and zeros lose their sign. */
function statesExtreme(stats: ColumnStats | undefined, kind: ValueKind, which: 'min' | 'max', rows: number): boolean {
  if (stats === undefined || kind === 'bytes') return false
  const value = stats[which]
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
