// table/key-encoder.ts: turns the values of one column into small numbers in first-seen order, for grouping and distinct counts.
//
// Null is a value; -0 is 0; every NaN is one value; utf8 and binary go by bytes. Dictionary columns go by their codes: an entry is hashed once per
// dictionary, not once per row. Types that do not compare (json, lists, structs) go by a canonical text of what is read.
// Invariant: equal values get equal numbers across batches, whatever layout each batch has.

import { layoutOf, valueKindOf } from '../format/index.ts'
import type { Layout, ValueKind, Vec } from '../kernels/index.ts'
import { BytesTable, grown, WordTable } from './key-tables.ts'
import { cellReader } from './rows-out.ts'
import type { ViewColumn } from './view.ts'
import { codesOf, fixedVec, isValid, validityOf, wordsOf } from './vec-views.ts'

export interface KeyEncoder {
  /** Distinct values seen, null included. */
  readonly size: number
  /** The number of null; -1 while none was seen. */
  readonly nullNumber: number
  /** The number of every row, into out[0 .. vec.length). */
  encode(vec: Vec, out: Uint32Array): void
  /** Reader of the values seen, as the view's column reads them. */
  cells(): (number: number) => unknown
}

export function keyEncoder(column: ViewColumn): KeyEncoder {
  const { type } = column.column
  const kind = valueKindOf(type)
  if (kind === undefined) return new CanonicalEncoder(column)
  const layout = layoutOf(type)
  if (layout.kind === 'bool') return new SmallEncoder(column, layout)
  if (layout.kind === 'fixed' && kind !== 'bytes') {
    if (layout.width <= 2) return new SmallEncoder(column, layout)
    if (layout.width <= 8) return new WordEncoder(column, layout.width as 4 | 8, kind)
  }
  return new BytesEncoder(column, layout)
}

/** Booleans and integers of 8 and 16 bits: the value is the place in a table. */
class SmallEncoder implements KeyEncoder {
  size = 0
  nullNumber = -1
  readonly #column: ViewColumn
  readonly #width: 0 | 1 | 2
  readonly #numbers: Int32Array
  #values: Int32Array = new Int32Array(64)

  constructor(column: ViewColumn, layout: Layout) {
    this.#column = column
    this.#width = layout.kind === 'fixed' ? (layout.width as 1 | 2) : 0
    this.#numbers = new Int32Array(1 << (this.#width === 0 ? 1 : this.#width * 8))
  }

  encode(vec: Vec, out: Uint32Array): void {
    const { values, length, validity } = vec
    const numbers = this.#numbers
    const cells = this.#width === 2 ? new Uint16Array(values.buffer, values.byteOffset, length) : values
    const bits = this.#width === 0
    for (let i = 0; i < length; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) {
        if (this.nullNumber < 0) this.nullNumber = this.#add(0)
        out[i] = this.nullNumber
        continue
      }
      const value = bits ? (values[i >> 3]! >> (i & 7)) & 1 : cells[i]!
      let number = numbers[value]!
      if (number === 0) numbers[value] = number = this.#add(value) + 1
      out[i] = number - 1
    }
  }

  cells(): (number: number) => unknown {
    const validity = validityOf(this.size, (i) => i !== this.nullNumber)
    if (this.#width > 0) {
      const raw = this.#width === 1 ? Uint8Array.from(this.#values) : Uint16Array.from(this.#values)
      return cellReader(this.#column, fixedVec(this.#width, this.size, raw, validity))
    }
    const ones = validityOf(this.size, (i) => this.#values[i] === 1).bits
    return cellReader(this.#column, { ...fixedVec(1, this.size, ones, validity), layout: { kind: 'bool' } })
  }

  #add(value: number): number {
    this.#values = grown(this.#values, this.size + 1)
    this.#values[this.size] = value
    return this.size++
  }
}

/** Numbers of 32 and 64 bits. */
class WordEncoder implements KeyEncoder {
  nullNumber = -1
  readonly #column: ViewColumn
  readonly #width: 4 | 8
  readonly #kind: ValueKind
  readonly #table = new WordTable()

  constructor(column: ViewColumn, width: 4 | 8, kind: ValueKind) {
    this.#column = column
    this.#width = width
    this.#kind = kind
  }

  get size(): number {
    return this.#table.size
  }

  encode(vec: Vec, out: Uint32Array): void {
    const { length, validity } = vec
    const words = wordsOf(vec, this.#width)
    const wide = this.#width === 8
    const float = this.#kind === 'f32' || this.#kind === 'f64'
    const table = this.#table
    // Sorted and clustered columns repeat: the last value is remembered.
    let lastLo = 0
    let lastHi = 0
    let last = -1
    for (let i = 0; i < length; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) {
        if (this.nullNumber < 0) this.nullNumber = table.reserve()
        out[i] = this.nullNumber
        continue
      }
      let lo = wide ? words[2 * i]! : words[i]!
      let hi = wide ? words[2 * i + 1]! : 0
      if (float) {
        const top = wide ? hi : lo
        const rest = wide ? lo : 0
        const infinity = wide ? 0x7ff00000 : 0x7f800000
        if ((top & 0x7fffffff) === 0 && rest === 0) {
          lo = 0
          hi = 0
        } else if ((top & 0x7fffffff) > infinity || ((top & 0x7fffffff) === infinity && rest !== 0)) {
          lo = wide ? 0 : 0x7fc00000
          hi = wide ? 0x7ff80000 : 0
        }
      }
      if (last < 0 || lo !== lastLo || hi !== lastHi) {
        last = table.numberOf(lo, hi)
        lastLo = lo
        lastHi = hi
      }
      out[i] = last
    }
  }

  cells(): (number: number) => unknown {
    const { size, lo, hi } = this.#table
    const words = new Int32Array((size * this.#width) >> 2)
    for (let i = 0; i < size; i++) {
      if (this.#width === 4) words[i] = lo[i]!
      else {
        words[2 * i] = lo[i]!
        words[2 * i + 1] = hi[i]!
      }
    }
    const validity = validityOf(size, (i) => i !== this.nullNumber)
    return cellReader(this.#column, fixedVec(this.#width, size, words, validity))
  }
}

/** utf8, binary (plain or dictionary-encoded) and fixed runs of bytes, decimals among them. */
class BytesEncoder implements KeyEncoder {
  nullNumber = -1
  readonly #column: ViewColumn
  readonly #layout: Layout
  readonly #table = new BytesTable()
  /** number + 1 by code, of the dictionary seen last: the batches of a fragment often share one. */
  #remap: Int32Array = new Int32Array(0)
  #dictionary: Vec | undefined

  constructor(column: ViewColumn, layout: Layout) {
    this.#column = column
    this.#layout = layout
  }

  get size(): number {
    return this.#table.size
  }

  encode(vec: Vec, out: Uint32Array): void {
    if (vec.nullCount > 0 && this.nullNumber < 0) {
      // Groups come in first-seen order, so null takes its number at the first null row and not before.
      const firstNull = firstInvalid(vec)
      if (firstNull > 0) this.#encodeRange(vec, out, 0, firstNull)
      this.nullNumber = this.#table.reserve()
      return this.#encodeRange(vec, out, firstNull, vec.length)
    }
    this.#encodeRange(vec, out, 0, vec.length)
  }

  #encodeRange(vec: Vec, out: Uint32Array, from: number, to: number): void {
    if (vec.layout.kind === 'dict') this.#encodeCodes(vec, vec.dictionary!, out, from, to)
    else if (vec.layout.kind === 'var') this.#encodeVar(vec, out, from, to)
    else this.#encodeFixed(vec, vec.layout.kind === 'fixed' ? vec.layout.width : 1, out, from, to)
  }

  #encodeCodes(vec: Vec, dictionary: Vec, out: Uint32Array, from: number, to: number): void {
    if (this.#dictionary !== dictionary) {
      this.#dictionary = dictionary
      this.#remap = new Int32Array(dictionary.length)
    }
    const remap = this.#remap
    const codes = codesOf(vec)
    const { validity } = vec
    const offsets = dictionary.offsets!
    for (let i = from; i < to; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) {
        out[i] = this.nullNumber
        continue
      }
      const code = codes[i]!
      let number = remap[code]!
      if (number === 0) remap[code] = number = this.#table.numberOf(dictionary.values, offsets[code]!, offsets[code + 1]!) + 1
      out[i] = number - 1
    }
  }

  #encodeVar(vec: Vec, out: Uint32Array, from: number, to: number): void {
    const { values, validity } = vec
    const offsets = vec.offsets!
    for (let i = from; i < to; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) out[i] = this.nullNumber
      else out[i] = this.#table.numberOf(values, offsets[i]!, offsets[i + 1]!)
    }
  }

  #encodeFixed(vec: Vec, width: number, out: Uint32Array, from: number, to: number): void {
    const { values, validity } = vec
    for (let i = from; i < to; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) out[i] = this.nullNumber
      else out[i] = this.#table.numberOf(values, i * width, (i + 1) * width)
    }
  }

  cells(): (number: number) => unknown {
    const { size, data, offsets } = this.#table
    const validity = validityOf(size, (i) => i !== this.nullNumber)
    if (this.#layout.kind === 'var') {
      const vec = fixedVec(1, size, data, validity)
      return cellReader(this.#column, { ...vec, layout: { kind: 'var' }, offsets: offsets.subarray(0, size + 1) })
    }
    // Null was reserved without bytes, so fixed rows behind it have to move up to their places.
    const width = this.#layout.kind === 'fixed' ? this.#layout.width : 1
    const raw = new Uint8Array(size * width)
    for (let i = 0; i < size; i++) raw.set(data.subarray(offsets[i]!, offsets[i + 1]!), i * width)
    return cellReader(this.#column, fixedVec(width, size, raw, validity))
  }
}

/** Everything else, by what is read: slow, and rarely asked. */
class CanonicalEncoder implements KeyEncoder {
  nullNumber = -1
  readonly #column: ViewColumn
  readonly #numbers = new Map<string, number>()
  readonly #values: unknown[] = []

  constructor(column: ViewColumn) {
    this.#column = column
  }

  get size(): number {
    return this.#values.length
  }

  encode(vec: Vec, out: Uint32Array): void {
    const read = cellReader(this.#column, vec)
    for (let i = 0; i < vec.length; i++) {
      // A stored null and the json value null read alike; only the stored one is the null of counts and distinct.
      const stored = isValid(vec, i)
      const value = stored ? read(i) : null
      const key = stored ? canonical(value) : ''
      let number = this.#numbers.get(key)
      if (number === undefined) {
        number = this.#values.push(value) - 1
        this.#numbers.set(key, number)
        if (!stored) this.nullNumber = number
      }
      out[i] = number
    }
  }

  cells(): (number: number) => unknown {
    return (number) => this.#values[number]
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

function firstInvalid(vec: Vec): number {
  let i = 0
  while (isValid(vec, i)) i++
  return i
}
