// table/row-shapes.ts: rows (any objects) taken apart into one array per column.
//
// Rows of one program mostly share a few shapes: the same own keys in the same order on the same prototype. A shape is checked once, by Object.keys
// and names; rows after that only compare their keys with it, inside a for-in loop that engines run over cached key lists.
// Invariant: only own enumerable properties are read; every one of them is a column, or the row is refused.
import { CellFault, quote } from './cells.ts'
import { didYouMean } from './names.ts'
import { showValue } from './physical.ts'

interface Shape {
  readonly prototype: object | null
  readonly keys: readonly string[]
  /** Column of each key. */
  readonly slots: readonly number[]
  /** Columns without a key. */
  readonly absent: readonly number[]
}

const SHAPES_MAX = 8

export class RowShapes {
  readonly #places: ReadonlyMap<string, number>
  readonly #names: readonly string[]
  #shapes: Shape[] = []

  /** `names`: the columns, in the order of the arrays to fill. */
  constructor(names: readonly string[]) {
    this.#names = names
    this.#places = new Map(names.map((name, i) => [name, i]))
  }

  /** Put the values of `row` at place `at` of every column's array; undefined where it has none. @throws CellFault with index `at`: no object, or an unknown column */
  take(row: unknown, columns: readonly unknown[][], at: number): void {
    if (typeof row !== 'object' || row === null) throw notARow(row, at)
    const shapes = this.#shapes
    for (let s = 0; s < shapes.length; s++) {
      if (!fits(row as Record<string, unknown>, shapes[s]!, columns, at)) continue
      if (s > 0) {
        const found = shapes[s]!
        shapes[s] = shapes[s - 1]!
        shapes[s - 1] = found
      }
      return
    }
    this.#takeNew(row, columns, at)
  }

  #takeNew(row: object, columns: readonly unknown[][], at: number): void {
    if (Array.isArray(row) || ArrayBuffer.isView(row)) throw notARow(row, at)
    const keys = Object.keys(row)
    const slots: number[] = []
    for (const key of keys) {
      const place = this.#places.get(key)
      if (place === undefined) throw new CellFault(at, '', `no column ${quote(key)}${didYouMean(key, this.#names)}`)
      slots.push(place)
    }
    const absent = this.#names.map((_, i) => i).filter((i) => !slots.includes(i))
    for (let i = 0; i < keys.length; i++) columns[slots[i]!]![at] = (row as Record<string, unknown>)[keys[i]!]
    for (const place of absent) columns[place]![at] = undefined
    // for-in also lists what a prototype makes enumerable; such shapes are never cached.
    let count = 0
    for (const _ in row) count++
    if (count !== keys.length) return
    this.#shapes = [{ prototype: Object.getPrototypeOf(row) as object | null, keys, slots, absent }, ...this.#shapes].slice(0, SHAPES_MAX)
  }
}

function fits(row: Record<string, unknown>, shape: Shape, columns: readonly unknown[][], at: number): boolean {
  const { keys, slots, absent } = shape
  let i = 0
  for (const key in row) {
    if (i === keys.length || key !== keys[i]) return false
    columns[slots[i]!]![at] = row[key]
    i++
  }
  if (i !== keys.length || Object.getPrototypeOf(row) !== shape.prototype) return false
  for (let k = 0; k < absent.length; k++) columns[absent[k]!]![at] = undefined
  return true
}

function notARow(row: unknown, at: number): CellFault {
  return new CellFault(at, '', `expected a row, got ${showValue(row)}`)
}
