// table/ipc-schema.ts: the schema of foreign Arrow IPC, with every type of Schema.fbs named, also those that no column can take.
//
// The decoder of fragments (format/arrow-read.ts) knows only what varve writes; data handed in may be wider: large offsets, views, date64, half floats,
// other decimals, dictionaries of anything. Invariant: the number of fields is bounded, whatever the offsets of a hostile flatbuffer point at.
import { DecodeError, type FlatReader } from '../format/index.ts'
import { ARROW, type SourceType, OTHER_NAMES } from '../kernels/index.ts'

export interface IpcField {
  readonly name: string
  readonly nullable: boolean
  /** ARROW:extension:name; empty = none. */
  readonly extension: string
  /** Of the values; for a dictionary those in the dictionary. */
  readonly type: SourceType
  readonly children: readonly IpcField[]
  readonly dictionary: { readonly id: number; readonly type: SourceType } | undefined
}

export const EXTENSION_NAME = 'ARROW:extension:name'
const FIELDS_MAX = 20_000
const UNITS = ['s', 'ms', 'us', 'ns']

/** Fields of a Schema table. @throws DecodeError */
export function readIpcSchema(schema: FlatReader): IpcField[] {
  if (schema.i16(0) !== 0) throw new DecodeError('a big-endian schema', 0)
  const budget = { fields: FIELDS_MAX }
  return schema.tables(1).map((field) => readField(field, budget))
}

function readField(field: FlatReader, budget: { fields: number }): IpcField {
  if (--budget.fields < 0) throw new DecodeError(`more than ${FIELDS_MAX} fields`, 0)
  const base = { name: field.string(0) ?? '', nullable: field.bool(1), extension: extensionOf(field) }
  const children = field.tables(5).map((child) => readField(child, budget))
  const type = readType(field.i8(2), field.table(3), children)
  const encoding = field.table(4)
  if (encoding === undefined) return { ...base, type, children, dictionary: undefined }
  const index = encoding.table(1)
  const bits = index?.i32(0) ?? 32
  if (bits !== 8 && bits !== 16 && bits !== 32 && bits !== 64) throw new DecodeError(`dictionary codes of ${bits} bits`, 0)
  const codes: SourceType = { ...plainType(ARROW.dictionary, `dictionary<${type.name}>`), bits, signed: index?.bool(1) ?? true }
  return { ...base, type, children, dictionary: { id: encoding.i64(0), type: codes } }
}

function extensionOf(field: FlatReader): string {
  for (const pair of field.tables(6)) if (pair.string(0) === EXTENSION_NAME) return pair.string(1) ?? ''
  return ''
}

function plainType(id: number, name: string): SourceType {
  return { id, name, bits: 0, signed: false, unit: 0, timezone: '', precision: 0, scale: 0, size: 0, fieldNames: [] }
}

function readType(id: number, table: FlatReader | undefined, children: readonly IpcField[]): SourceType {
  const i32 = (slot: number, absent = 0): number => table?.i32(slot, absent) ?? absent
  const i16 = (slot: number, absent = 0): number => table?.i16(slot, absent) ?? absent
  const item = children[0]?.type.name ?? ''
  switch (id) {
    case ARROW.int: {
      const bits = oneOf(i32(0), [8, 16, 32, 64])
      const signed = table?.bool(1) ?? false
      return { ...plainType(id, `${signed ? 'int' : 'uint'}${bits}`), bits, signed }
    }
    case ARROW.float: {
      const bits = oneOf([16, 32, 64][i16(0)] ?? 0, [16, 32, 64])
      return { ...plainType(id, `float${bits}`), bits }
    }
    case ARROW.decimal: {
      const bits = oneOf(i32(2, 128), [32, 64, 128, 256])
      return { ...plainType(id, `decimal${bits}(${i32(0)}, ${i32(1)})`), bits, precision: i32(0), scale: scaleOf(i32(1)) }
    }
    case ARROW.date: {
      const unit = oneOf(i16(0, 1), [0, 1])
      return { ...plainType(id, unit === 0 ? 'date32' : 'date64'), unit }
    }
    case ARROW.time: {
      const unit = oneOf(i16(0, 1), [0, 1, 2, 3])
      return { ...plainType(id, `time[${UNITS[unit]}]`), unit }
    }
    case ARROW.timestamp: {
      const unit = oneOf(i16(0), [0, 1, 2, 3])
      const timezone = table?.string(1) ?? ''
      return { ...plainType(id, `timestamp[${UNITS[unit]}${timezone === '' ? '' : `, ${timezone}`}]`), unit, timezone }
    }
    case ARROW.fixedSizeBinary:
      return { ...plainType(id, `fixedSizeBinary(${i32(0)})`), size: sizeOf(i32(0)) }
    case ARROW.fixedSizeList:
      return { ...plainType(id, `fixedSizeList(${i32(0)})<${item}>`), size: sizeOf(i32(0)) }
    case ARROW.list:
      return plainType(id, `list<${item}>`)
    case ARROW.largeList:
      return plainType(id, `largeList<${item}>`)
    case ARROW.struct: {
      const fieldNames = children.map((child) => child.name)
      return { ...plainType(id, `struct<${fieldNames.join(', ')}>`), fieldNames }
    }
    default:
      return plainType(id, OTHER_NAMES[id] ?? `type ${id}`)
  }
}

function oneOf(value: number, allowed: readonly number[]): number {
  if (!allowed.includes(value)) throw new DecodeError(`a width or unit of ${value}`, 0)
  return value
}

function sizeOf(size: number): number {
  if (size < 0) throw new DecodeError(`a size of ${size}`, 0)
  return size
}

/** Wider scales are outside every decimal there is, and would make the arithmetic of a conversion unbounded. */
function scaleOf(scale: number): number {
  if (scale < -100 || scale > 100) throw new DecodeError(`a scale of ${scale}`, 0)
  return scale
}
