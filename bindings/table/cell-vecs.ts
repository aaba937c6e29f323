// table/cell-vecs.ts: an array of JavaScript values as one column: a loop per type, so that each stays monomorphic.
//
// Invariant: the Vec is fresh (nothing passed in is kept), bit offsets are 0, rows under a null carry zero bytes or length 0, children of null
// structs are null or zero. A CellFault names the first wrong cell of the array, with the path below it.
import { OffsetOverflowError } from '../errors.ts'
import { layoutOf } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import { type ByteSink, byteSink, putText, reserve } from './byte-sink.ts'
import { jsonText } from './cells-json.ts'
import {
  bigInt,
  binary,
  type Cell,
  CellFault,
  date,
  decimal,
  fixedBinary,
  float,
  loneSurrogate,
  notUuid,
  noValue,
  quote,
  smallInt,
  time,
  timestamp,
  wrongType,
} from './cells.ts'
import { didYouMean } from './names.ts'
import { putUuid } from './text-forms.ts'

const NO_BYTES = new Uint8Array(0)
const VAR_BYTES_MAX = 0x7fff_ffff

/** Check `count` values and store them as a column. @throws CellFault, OffsetOverflowError */
export function cellsToVec(cell: Cell, cells: ArrayLike<unknown>, count: number): Vec {
  const { type } = cell
  switch (type.kind) {
    case 'bool':
      return bools(cell, cells, count)
    case 'int':
      return type.bits === 64 ? bigInts(cell, cells, count, type.signed) : smallInts(cell, cells, count, type.bits, type.signed)
    case 'float':
      return floats(cell, cells, count, type.bits)
    case 'utf8':
      return type.json ? jsons(cell, cells, count) : texts(cell, cells, count)
    case 'binary':
      return binaries(cell, cells, count)
    case 'fixedSizeBinary':
      return fixedBinaries(cell, cells, count, type.bytes, type.uuid === true)
    case 'timestamp':
      return words64(cell, cells, count, (value, i) => timestamp(cell, value, type.unit, i))
    case 'date':
      return words32(cell, cells, count, (value, i) => date(cell, value, i))
    case 'time':
      return type.unit === 's' || type.unit === 'ms'
        ? words32(cell, cells, count, (value, i) => time(cell, value, type.unit, i))
        : words64(cell, cells, count, (value, i) => time(cell, value, type.unit, i))
    case 'decimal':
      return decimals(cell, cells, count, type.precision, type.scale)
    case 'list':
      return lists(cell, cells, count)
    case 'struct':
      return structs(cell, cells, count)
    case 'fixedSizeList':
      return fixedLists(cell, cells, count, type.size)
  }
}

/** Which rows are null, noted while the values are walked. */
export class NullMask {
  bits: Uint8Array | undefined
  count = 0
  readonly #rows: number
  constructor(rows: number) {
    this.#rows = rows
  }
  clear(row: number): void {
    this.bits ??= allSet(this.#rows)
    this.bits[row >> 3]! &= ~(1 << (row & 7))
    this.count++
  }
}

/** A bitmap of `rows` ones, trailing bits zero. */
export function allSet(rows: number): Uint8Array {
  const bits = new Uint8Array((rows + 7) >> 3).fill(255)
  if ((rows & 7) !== 0) bits[bits.length - 1] = (1 << (rows & 7)) - 1
  return bits
}

/** The value to store: the fallback for undefined; null (noted in the mask) where null is allowed. */
function valueOrNull(cell: Cell, value: unknown, row: number, nulls: NullMask): unknown {
  const v = value === undefined ? cell.fallback : value
  if (v !== undefined && v !== null) return v
  if (v === undefined || !cell.nullable) throw noValue(cell, v, row)
  nulls.clear(row)
  return null
}

function vecOf(cell: Cell, length: number, nulls: NullMask, values: ArrayBufferView, offsets?: Int32Array, children: readonly Vec[] = []): Vec {
  return {
    layout: layoutOf(cell.type),
    length,
    nullCount: nulls.count,
    validity: nulls.bits,
    values: values instanceof Uint8Array ? values : new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    offsets,
    children,
    dictionary: undefined,
  }
}

function bools(cell: Cell, cells: ArrayLike<unknown>, count: number): Vec {
  const nulls = new NullMask(count)
  const bits = new Uint8Array((count + 7) >> 3)
  for (let i = 0; i < count; i++) {
    const value = cells[i]
    if (value === true) bits[i >> 3]! |= 1 << (i & 7)
    else if (value !== false) {
      const other = valueOrNull(cell, value, i, nulls)
      if (other === true) bits[i >> 3]! |= 1 << (i & 7)
      else if (other !== null && other !== false) throw wrongType(cell, other, i)
    }
  }
  return vecOf(cell, count, nulls, bits)
}

function smallInts(cell: Cell, cells: ArrayLike<unknown>, count: number, bits: 8 | 16 | 32, signed: boolean): Vec {
  const nulls = new NullMask(count)
  const out = smallIntArray(bits, signed, count)
  const low = signed ? -(2 ** (bits - 1)) : 0
  const high = signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1
  for (let i = 0; i < count; i++) {
    const value = cells[i]
    // The typed array wraps what does not fit, so what comes back equal was an integer in range.
    if (typeof value === 'number') {
      out[i] = value
      if (out[i] !== value) throw smallIntFault(cell, value, low, high, i)
    } else {
      const other = valueOrNull(cell, value, i, nulls)
      if (other !== null) out[i] = smallInt(cell, other, low, high, i)
    }
  }
  return vecOf(cell, count, nulls, out)
}

function smallIntFault(cell: Cell, value: number, low: number, high: number, row: number): CellFault {
  try {
    smallInt(cell, value, low, high, row)
  } catch (fault) {
    return fault as CellFault
  }
  return wrongType(cell, value, row)
}

function smallIntArray(bits: 8 | 16 | 32, signed: boolean, count: number): Int8Array | Int16Array | Int32Array | Uint8Array | Uint16Array | Uint32Array {
  if (bits === 8) return signed ? new Int8Array(count) : new Uint8Array(count)
  if (bits === 16) return signed ? new Int16Array(count) : new Uint16Array(count)
  return signed ? new Int32Array(count) : new Uint32Array(count)
}

function bigInts(cell: Cell, cells: ArrayLike<unknown>, count: number, signed: boolean): Vec {
  return words64(cell, cells, count, (value, i) => bigInt(cell, value, signed, i))
}

/** 64-bit integers; `check` gives the number or bigint to store. */
function words64(cell: Cell, cells: ArrayLike<unknown>, count: number, check: (value: unknown, row: number) => number | bigint): Vec {
  const nulls = new NullMask(count)
  const out = new BigInt64Array(count)
  const words = new Int32Array(out.buffer)
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    if (value === null) continue
    const checked = check(value, i)
    if (typeof checked === 'bigint') out[i] = checked
    else {
      words[2 * i] = checked | 0
      words[2 * i + 1] = Math.floor(checked / 0x1_0000_0000)
    }
  }
  return vecOf(cell, count, nulls, out)
}

function words32(cell: Cell, cells: ArrayLike<unknown>, count: number, check: (value: unknown, row: number) => number): Vec {
  const nulls = new NullMask(count)
  const out = new Int32Array(count)
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    if (value !== null) out[i] = check(value, i)
  }
  return vecOf(cell, count, nulls, out)
}

function floats(cell: Cell, cells: ArrayLike<unknown>, count: number, bits: 32 | 64): Vec {
  const nulls = new NullMask(count)
  const out = bits === 32 ? new Float32Array(count) : new Float64Array(count)
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    if (value !== null) out[i] = float(cell, value, bits === 32, i)
  }
  return vecOf(cell, count, nulls, out)
}

function texts(cell: Cell, cells: ArrayLike<unknown>, count: number): Vec {
  const nulls = new NullMask(count)
  const offsets = new Int32Array(count + 1)
  const sink = byteSink(Math.max(64, count * 8))
  for (let i = 0; i < count; i++) {
    const given = cells[i]
    const value = typeof given === 'string' ? given : valueOrNull(cell, given, i, nulls)
    if (value !== null) {
      if (typeof value !== 'string') throw wrongType(cell, value, i)
      if (!putText(sink, value)) throw loneSurrogate(value, i)
    }
    endOf(sink, offsets, i)
  }
  return vecOf(cell, count, nulls, sink.bytes.subarray(0, sink.at), offsets)
}

function endOf(sink: ByteSink, offsets: Int32Array, row: number): void {
  if (sink.at > VAR_BYTES_MAX) throw new OffsetOverflowError(`${sink.at} bytes in one column of one batch`, { details: { bytes: sink.at } })
  offsets[row + 1] = sink.at
}

function jsons(cell: Cell, cells: ArrayLike<unknown>, count: number): Vec {
  const nulls = new NullMask(count)
  const offsets = new Int32Array(count + 1)
  const sink = byteSink(Math.max(64, count * 16))
  for (let i = 0; i < count; i++) {
    const given = cells[i]
    const value = given === undefined ? cell.fallback : given
    if (value === undefined) throw noValue(cell, value, i)
    // null in a nullable column is no value; elsewhere it is the json value null.
    if (value === null && cell.nullable) nulls.clear(i)
    else putText(sink, jsonText(value, i))
    endOf(sink, offsets, i)
  }
  return vecOf(cell, count, nulls, sink.bytes.subarray(0, sink.at), offsets)
}

function binaries(cell: Cell, cells: ArrayLike<unknown>, count: number): Vec {
  const nulls = new NullMask(count)
  const offsets = new Int32Array(count + 1)
  const sink = byteSink(Math.max(64, count * 16))
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    if (value !== null) {
      const bytes = binary(cell, value, i)
      reserve(sink, bytes.length)
      sink.bytes.set(bytes, sink.at)
      sink.at += bytes.length
    }
    endOf(sink, offsets, i)
  }
  return vecOf(cell, count, nulls, sink.bytes.subarray(0, sink.at), offsets)
}

function fixedBinaries(cell: Cell, cells: ArrayLike<unknown>, count: number, width: number, uuid: boolean): Vec {
  const nulls = new NullMask(count)
  const out = new Uint8Array(count * width)
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    if (value === null) continue
    if (!uuid) out.set(fixedBinary(cell, value, width, i), i * width)
    else if (typeof value !== 'string' || !putUuid(out, i * width, value)) throw notUuid(cell, value, i)
  }
  return vecOf(cell, count, nulls, out)
}

function decimals(cell: Cell, cells: ArrayLike<unknown>, count: number, precision: number, scale: number): Vec {
  const nulls = new NullMask(count)
  const out = new BigInt64Array(count * 2)
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    if (value === null) continue
    const unscaled = decimal(cell, value, precision, scale, i)
    out[2 * i] = BigInt.asIntN(64, unscaled)
    out[2 * i + 1] = unscaled >> 64n
  }
  return vecOf(cell, count, nulls, out)
}

/** An array, or a typed array where numbers are asked for. */
function itemsOf(cell: Cell, value: unknown, row: number): ArrayLike<unknown> {
  if (Array.isArray(value)) return value
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return value as unknown as ArrayLike<unknown>
  throw wrongType(cell, value, row)
}

function lists(cell: Cell, cells: ArrayLike<unknown>, count: number): Vec {
  const nulls = new NullMask(count)
  const offsets = new Int32Array(count + 1)
  const items: unknown[] = []
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    if (value !== null) {
      const own = itemsOf(cell, value, i)
      for (let k = 0; k < own.length; k++) items.push(own[k])
    }
    offsets[i + 1] = items.length
  }
  const child = under(
    () => cellsToVec(cell.children[0]!, items, items.length),
    (at) => {
      let row = 0
      while (offsets[row + 1]! <= at) row++
      return { row, path: `[${at - offsets[row]!}]` }
    },
  )
  return vecOf(cell, count, nulls, NO_BYTES, offsets, [child])
}

function fixedLists(cell: Cell, cells: ArrayLike<unknown>, count: number, size: number): Vec {
  const nulls = new NullMask(count)
  const item = cell.children[0]!
  if (item.type.kind === 'float' && item.type.bits === 32 && !item.nullable) return vectors(cell, cells, count, size)
  const items: unknown[] = []
  const filler = zeroValue(item)
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    const own = value === null ? undefined : itemsOf(cell, value, i)
    if (own !== undefined && own.length !== size) throw new CellFault(i, '', `${own.length} values, expected ${cell.typeName}`)
    for (let k = 0; k < size; k++) items.push(own === undefined ? filler : own[k])
  }
  const child = under(
    () => cellsToVec(item, items, items.length),
    (at) => ({ row: Math.floor(at / size), path: `[${at % size}]` }),
  )
  return vecOf(cell, count, nulls, NO_BYTES, undefined, [child])
}

/** fixedSizeList of float32 without nulls: straight into one buffer. */
function vectors(cell: Cell, cells: ArrayLike<unknown>, count: number, size: number): Vec {
  const nulls = new NullMask(count)
  const item = cell.children[0]!
  const out = new Float32Array(count * size)
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    if (value === null) continue
    const own = itemsOf(cell, value, i)
    if (own.length !== size) throw new CellFault(i, '', `${own.length} values, expected ${cell.typeName}`)
    if (own instanceof Float32Array) out.set(own, i * size)
    else {
      for (let k = 0; k < size; k++) {
        const v = own[k]
        if (typeof v !== 'number') throw new CellFault(i, `[${k}]`, noValue(item, v, i).message)
        try {
          out[i * size + k] = float(item, v, true, i)
        } catch (fault) {
          throw new CellFault(i, `[${k}]`, (fault as Error).message)
        }
      }
    }
  }
  const child = vecOf(item, count * size, new NullMask(count * size), out)
  return vecOf(cell, count, nulls, NO_BYTES, undefined, [child])
}

function structs(cell: Cell, cells: ArrayLike<unknown>, count: number): Vec {
  const nulls = new NullMask(count)
  const fields = cell.children
  const names = fields.map((field) => field.name)
  const known = new Set(names)
  const columns: unknown[][] = fields.map(() => new Array<unknown>(count))
  const fillers = fields.map(zeroValue)
  for (let i = 0; i < count; i++) {
    const value = valueOrNull(cell, cells[i], i, nulls)
    if (value === null) {
      for (let f = 0; f < fields.length; f++) columns[f]![i] = fillers[f]
      continue
    }
    if (typeof value !== 'object' || Array.isArray(value) || ArrayBuffer.isView(value)) throw wrongType(cell, value, i)
    for (const name of Object.keys(value)) {
      if (!known.has(name)) throw new CellFault(i, '', `no field ${quote(name)}${didYouMean(name, names)}`)
    }
    for (let f = 0; f < fields.length; f++) columns[f]![i] = Object.hasOwn(value, names[f]!) ? (value as Record<string, unknown>)[names[f]!] : undefined
  }
  let first: CellFault | undefined
  const children: Vec[] = []
  for (let f = 0; f < fields.length; f++) {
    try {
      children.push(
        under(
          () => cellsToVec(fields[f]!, columns[f]!, count),
          (at) => ({ row: at, path: `.${names[f]!}` }),
        ),
      )
    } catch (fault) {
      if (!(fault instanceof CellFault)) throw fault
      if (first === undefined || fault.index < first.index) first = fault
    }
  }
  if (first !== undefined) throw first
  return vecOf(cell, count, nulls, NO_BYTES, undefined, children)
}

/** Run `make` for a child; its faults are told in terms of the parent's rows. */
function under(make: () => Vec, place: (at: number) => { row: number; path: string }): Vec {
  try {
    return make()
  } catch (fault) {
    if (!(fault instanceof CellFault)) throw fault
    const { row, path } = place(fault.index)
    throw new CellFault(row, path + fault.path, fault.message, fault.nullKey)
  }
}

/** What a child carries under a null parent: null, or else a value whose bytes are zero. */
function zeroValue(cell: Cell): unknown {
  if (cell.nullable) return null
  const { type } = cell
  switch (type.kind) {
    case 'bool':
      return false
    case 'utf8':
      return type.json ? null : ''
    case 'binary':
      return NO_BYTES
    case 'fixedSizeBinary':
      return type.uuid ? '00000000-0000-0000-0000-000000000000' : new Uint8Array(type.bytes)
    case 'list':
      return []
    case 'struct':
      return Object.fromEntries(cell.children.map((field) => [field.name, zeroValue(field)]))
    case 'fixedSizeList':
      return Array.from({ length: type.size }, () => zeroValue(cell.children[0]!))
    default:
      return 0
  }
}
