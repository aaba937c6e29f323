// kernels/column-out.ts: columns back to Arrow vectors of the caller's library, and to JavaScript values.
//
// The Arrow library is never imported here: the caller hands it in. Invariant: what leaves has exactly the rows and the type of the column; bitmaps begin at
// bit 0.
import { UnsupportedTypeError } from '../errors.ts'
import { checkColumn, noLibrary } from './column-checks.ts'
import type { Column } from './column.ts'
import { type ArrowField, type ArrowTimeUnit, type ArrowType, typeName } from './column-type.ts'
import { convertInts, decodeDictionary } from './dictionary.ts'
import { childOf, dictionaryOf, offsetsOf } from './vec-build.ts'
import type { Vec } from './vec.ts'

/** What `toArrow` needs of apache-arrow: hand in the module. */
export interface ArrowLibrary {
  readonly makeData: (props: any) => any
  readonly Vector: new (data: any) => any
  readonly Field: new (name: string, type: any, nullable?: boolean) => any
  readonly Bool: new () => any
  readonly Int: new (signed: any, bits: any) => any
  readonly Float: new (precision: any) => any
  readonly Decimal: new (scale: number, precision: number, bits?: number) => any
  readonly Date_: new (unit: any) => any
  readonly Time: new (unit: any, bits: any) => any
  readonly Timestamp: new (unit: any, timezone?: string | null) => any
  readonly Duration: new (unit: any) => any
  readonly Utf8: new () => any
  readonly Binary: new () => any
  readonly FixedSizeBinary: new (bytes: number) => any
  readonly List: new (item: any) => any
  readonly Struct: new (fields: any) => any
  readonly FixedSizeList: new (size: number, item: any) => any
  readonly Dictionary: new (values: any, indices: any, id?: number | null, ordered?: boolean | null) => any
}

/**
 * The column as a vector of one chunk.
 *
 * @param arrow  the apache-arrow module: `import * as arrow from 'apache-arrow'`
 * @throws InvalidConfigError (keys `column`, `arrow`) for what is no column or not the module
 * @cost no copy, but for dictionary codes of another width; the vector shares the buffers of the column
 * @example toArrow(filter(columnOf(vector), selection), arrow)
 */
export function toArrow<L extends ArrowLibrary>(column: Column, arrow: L): InstanceType<L['Vector']> {
  checkColumn(column)
  if (typeof arrow?.Vector !== 'function' || typeof arrow.makeData !== 'function') throw noLibrary(arrow)
  return new arrow.Vector([dataOf(arrow, column, column.type, libraryType(arrow, column.type))]) as InstanceType<L['Vector']>
}

const UNIT: Readonly<Record<ArrowTimeUnit, number>> = { s: 0, ms: 1, us: 2, ns: 3 }

function libraryType(arrow: ArrowLibrary, type: ArrowType): any {
  const fieldOf = (field: ArrowField): any => new arrow.Field(field.name, libraryType(arrow, field.type), field.nullable)
  switch (type.kind) {
    case 'bool':
      return new arrow.Bool()
    case 'int':
      return new arrow.Int(type.signed, type.bits)
    case 'float':
      return new arrow.Float(type.bits === 16 ? 0 : type.bits === 32 ? 1 : 2)
    case 'decimal':
      return new arrow.Decimal(type.scale, type.precision, type.bits)
    case 'date':
      return new arrow.Date_(type.unit === 'day' ? 0 : 1)
    case 'time':
      return new arrow.Time(UNIT[type.unit], type.unit === 's' || type.unit === 'ms' ? 32 : 64)
    case 'timestamp':
      return new arrow.Timestamp(UNIT[type.unit], type.timezone ?? null)
    case 'duration':
      return new arrow.Duration(UNIT[type.unit])
    case 'utf8':
      return new arrow.Utf8()
    case 'binary':
      return new arrow.Binary()
    case 'fixedSizeBinary':
      return new arrow.FixedSizeBinary(type.bytes)
    case 'list':
      return new arrow.List(fieldOf(type.item))
    case 'struct':
      return new arrow.Struct(type.fields.map(fieldOf))
    case 'fixedSizeList':
      return new arrow.FixedSizeList(type.size, fieldOf(type.item))
    case 'dictionary':
      return new arrow.Dictionary(libraryType(arrow, type.values), new arrow.Int(type.signed, type.bits), null, type.ordered)
  }
}

function dataOf(arrow: ArrowLibrary, given: Vec, type: ArrowType, made: any): any {
  // A column that was put together of plain and dictionary pieces is plain.
  const v = type.kind === 'dictionary' ? given : decodeDictionary(given)
  const base = { type: made, length: v.length, nullCount: v.nullCount, nullBitmap: v.validity ?? null }
  switch (v.layout.kind) {
    case 'fixed':
      return arrow.makeData({ ...base, data: v.values.subarray(0, v.length * v.layout.width) })
    case 'bool':
      return arrow.makeData({ ...base, data: v.values })
    case 'var':
      return arrow.makeData({ ...base, valueOffsets: offsetsOf(v).subarray(0, v.length + 1), data: v.values })
    case 'list': {
      const item = type as ArrowType & { kind: 'list' }
      const child = dataOf(arrow, childOf(v, 0), item.item.type, made.children[0].type)
      return arrow.makeData({ ...base, valueOffsets: offsetsOf(v).subarray(0, v.length + 1), child })
    }
    case 'fsl': {
      const item = type as ArrowType & { kind: 'fixedSizeList' }
      return arrow.makeData({ ...base, child: dataOf(arrow, childOf(v, 0), item.item.type, made.children[0].type) })
    }
    case 'struct': {
      const { fields } = type as ArrowType & { kind: 'struct' }
      const children = fields.map((field, i) => dataOf(arrow, childOf(v, i), field.type, made.children[i].type))
      return arrow.makeData({ ...base, children })
    }
    case 'dict': {
      const { values } = type as ArrowType & { kind: 'dictionary' }
      const entries = dictionaryOf(v)
      const dictionary = new arrow.Vector([dataOf(arrow, entries, values, made.dictionary)])
      return arrow.makeData({ ...base, data: codesAs(v, v.layout.width, made.indices.bitWidth as number), dictionary })
    }
  }
}

function codesAs(v: Vec, width: number, bits: number): Uint8Array {
  return convertInts(v.values, width, bits / 8, false, v.length)
}

/**
 * The rows as JavaScript values: null, number, bigint (64 bits; decimals unscaled), boolean, string, Uint8Array (copies), arrays of lists, objects of
 * structs. Times, dates and timestamps are the numbers they are stored as.
 *
 * @throws UnsupportedTypeError float16
 * @cost one JavaScript value a row: for tests and small results
 * @example toArray(columnOf(['a', null])) // ['a', null]
 */
export function toArray<V>(column: Column<V>): (V | null)[] {
  checkColumn(column)
  const read = readerOf(column, column.type)
  return Array.from({ length: column.length }, (_, row) => read(row) as V | null)
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

function readerOf(given: Vec, type: ArrowType): (row: number) => unknown {
  if (type.kind === 'dictionary') return readerOf(decodeDictionary(given), type.values)
  const v = decodeDictionary(given)
  const value = valueReader(v, type)
  const { validity } = v
  if (validity === undefined) return value
  return (row) => (((validity[row >>> 3]! >>> (row & 7)) & 1) === 0 ? null : value(row))
}

function valueReader(v: Vec, type: ArrowType): (row: number) => unknown {
  switch (v.layout.kind) {
    case 'bool':
      return (row) => ((v.values[row >>> 3]! >>> (row & 7)) & 1) === 1
    case 'var': {
      const offsets = offsetsOf(v)
      const bytes = (row: number): Uint8Array => v.values.subarray(offsets[row]!, offsets[row + 1]!)
      return type.kind === 'utf8' ? (row) => decoder.decode(bytes(row)) : (row) => bytes(row).slice()
    }
    case 'list': {
      const offsets = offsetsOf(v)
      const item = readerOf(childOf(v, 0), (type as ArrowType & { kind: 'list' }).item.type)
      return (row) => Array.from({ length: offsets[row + 1]! - offsets[row]! }, (_, i) => item(offsets[row]! + i))
    }
    case 'fsl': {
      const { size } = v.layout
      const item = readerOf(childOf(v, 0), (type as ArrowType & { kind: 'fixedSizeList' }).item.type)
      return (row) => Array.from({ length: size }, (_, i) => item(row * size + i))
    }
    case 'struct': {
      const fields = (type as ArrowType & { kind: 'struct' }).fields.map((field, i) => [field.name, readerOf(childOf(v, i), field.type)] as const)
      return (row) => Object.fromEntries(fields.map(([name, read]) => [name, read(row)]))
    }
    default:
      return fixedReader(v, type)
  }
}

function fixedReader(v: Vec, type: ArrowType): (row: number) => unknown {
  const width = v.layout.kind === 'fixed' ? v.layout.width : 0
  const view = new DataView(v.values.buffer, v.values.byteOffset, v.values.byteLength)
  if (type.kind === 'fixedSizeBinary') return (row) => v.values.slice(row * width, (row + 1) * width)
  if (type.kind === 'float') {
    if (type.bits === 16) throw new UnsupportedTypeError('no values of float16', { details: { type: typeName(type) } })
    return type.bits === 32 ? (row) => view.getFloat32(row * 4, true) : (row) => view.getFloat64(row * 8, true)
  }
  const signed = type.kind !== 'int' || type.signed
  if (type.kind === 'decimal') return (row) => integer(view, row * width, width)
  switch (width) {
    case 1:
      return signed ? (row) => view.getInt8(row) : (row) => view.getUint8(row)
    case 2:
      return signed ? (row) => view.getInt16(row * 2, true) : (row) => view.getUint16(row * 2, true)
    case 4:
      return signed ? (row) => view.getInt32(row * 4, true) : (row) => view.getUint32(row * 4, true)
    default:
      return signed ? (row) => view.getBigInt64(row * 8, true) : (row) => view.getBigUint64(row * 8, true)
  }
}

/** A signed integer of 4, 8, 16 or 32 bytes. */
function integer(view: DataView, at: number, width: number): bigint {
  if (width === 4) return BigInt(view.getInt32(at, true))
  let value = view.getBigInt64(at + width - 8, true)
  for (let word = width - 16; word >= 0; word -= 8) value = (value << 64n) | view.getBigUint64(at + word, true)
  return value
}
