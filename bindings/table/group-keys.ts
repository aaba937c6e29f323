// table/group-keys.ts: the columns that rows are grouped by or counted distinctly, as the grouping kernels take them.
//
// Types that compare go as they are. json, lists and structs do not compare: they become numbers by a canonical text of what is read, and are grouped by
// those. Invariant: equal values get equal numbers across batches; a stored null stays null, the json value null is a value.

import { layoutOf, valueKindOf } from '../format/index.ts'
import type { GroupColumn, Vec } from '../kernels/index.ts'
import { cellReader, cellReaderOf } from './rows-out.ts'
import { fixedVec, isValid } from './vec-views.ts'
import type { ViewColumn } from './view.ts'

export interface GroupKey {
  readonly of: GroupColumn
  /** The column as the kernels take it. `selection`: the rows that count; undefined = all. */
  encode(vec: Vec, selection: Uint8Array | undefined): Vec
  /** Reader of what the kernels gave back, as the view's column reads it. */
  cells(values: Vec): (group: number) => unknown
}

export function groupKey(column: ViewColumn): GroupKey {
  const { type } = column.column
  const kind = valueKindOf(type)
  if (kind === undefined) return new CanonicalKey(column)
  return { of: { kind, layout: layoutOf(type) }, encode: (vec) => vec, cells: (values) => cellReader(column, values) }
}

/** By what is read: slow, and rarely asked. */
class CanonicalKey implements GroupKey {
  readonly of: GroupColumn = { kind: 'u32', layout: { kind: 'fixed', width: 4 } }
  readonly #read: (vec: Vec, row: number) => unknown
  readonly #numbers = new Map<string, number>()
  readonly #values: unknown[] = []

  constructor(column: ViewColumn) {
    this.#read = cellReaderOf(column)
  }

  encode(vec: Vec, selection: Uint8Array | undefined): Vec {
    const numbers = new Uint32Array(vec.length)
    for (let i = 0; i < vec.length; i++) {
      if (!isValid(vec, i) || (selection !== undefined && ((selection[i >> 3]! >> (i & 7)) & 1) === 0)) continue
      const value = this.#read(vec, i)
      const key = canonical(value)
      let number = this.#numbers.get(key)
      if (number === undefined) {
        number = this.#values.push(value) - 1
        this.#numbers.set(key, number)
      }
      numbers[i] = number
    }
    return { ...fixedVec(4, vec.length, numbers), validity: vec.validity, nullCount: vec.nullCount }
  }

  cells(values: Vec): (group: number) => unknown {
    const numbers = new Uint32Array(values.values.buffer, values.values.byteOffset, values.length)
    return (group) => (isValid(values, group) ? this.#values[numbers[group]!] : null)
  }
}

/** One text per value, equal exactly for equal values; never empty. */
function canonical(value: unknown): string {
  if (value === null) return 'null'
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'number':
      return Number.isNaN(value) ? 'NaN' : String(value === 0 ? 0 : value)
    case 'bigint':
      return `${value}n`
    case 'object':
      break
    default:
      return value === true ? 'true' : 'false'
  }
  if (value instanceof Date) return `date:${value.getTime()}`
  if (value instanceof Uint8Array) return `bytes:${value.join()}`
  if (value instanceof Float32Array) return `[${Array.from(value, canonical).join()}]`
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  const entries = Object.entries(value as object).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([name, v]) => `${JSON.stringify(name)}:${canonical(v)}`).join()}}`
}
