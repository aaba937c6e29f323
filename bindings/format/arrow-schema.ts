// format/arrow-schema.ts: Arrow fields and varve's column types, both ways (Arrow columnar format 1.5, Schema.fbs).
//
// Field metadata that varve adds: `varve:type` = the declared ColumnType as JSON, `varve:id` = the column id. The Arrow type itself may be narrower than
// declared: strings as dictionaries with unsigned codes. Invariant: what `arrowField` writes, `readArrowField` reads back as the same type and encoding.
import { UnsupportedTypeError } from '../errors.ts'
import { ARROW } from '../kernels/index.ts'

import { DecodeError } from './bytes.ts'
import { encodeFlatbuffer, readFlatbuffer } from './flatbuffer.ts'
import type { FlatReader, FlatTable, FlatValue } from './flatbuffer.ts'
import type { ColumnType, FieldDef, TimeUnit } from './types.ts'

/** A column of an Arrow file: its physical type, and how it is dictionary-encoded. */
export interface ArrowField {
  readonly name: string
  readonly nullable: boolean
  /** Type of the values; for dictionaries that of the dictionary. */
  readonly type: ColumnType
  readonly dictionary?: ArrowDictionary
  readonly metadata?: Readonly<Record<string, string>>
}

export interface ArrowDictionary {
  readonly id: number
  /** Bytes of a code. */
  readonly width: 1 | 2 | 4
  /** Codes are signed in what others write; varve writes unsigned ones, but int32 where a dictionary type was declared. */
  readonly signed?: true
}

export const METADATA_V5 = 4
export const HEADER = { schema: 1, dictionaryBatch: 2, recordBatch: 3 } as const
const UNITS: readonly TimeUnit[] = ['s', 'ms', 'us', 'ns']

/** The Schema table of `fields`. */
export function arrowSchema(fields: readonly ArrowField[], metadata: Readonly<Record<string, string>> = {}): FlatTable {
  return [{ as: 'i16', value: 0 }, { as: 'tables', value: fields.map(arrowField) }, keyValues(metadata)]
}

/** A Message of the schema, as bytes without its frame. */
export function schemaMessage(schema: FlatTable): Uint8Array<ArrayBuffer> {
  return encodeFlatbuffer([
    { as: 'i16', value: METADATA_V5 },
    { as: 'i8', value: HEADER.schema },
    { as: 'table', value: schema },
    { as: 'i64', value: 0 },
  ])
}

function arrowField(field: ArrowField): FlatTable {
  const { type } = field
  const metadata: Record<string, string> = { ...field.metadata }
  const extension = type.kind === 'utf8' && type.json ? 'arrow.json' : type.kind === 'fixedSizeBinary' && type.uuid ? 'arrow.uuid' : undefined
  if (extension !== undefined) {
    metadata['ARROW:extension:name'] = extension
    metadata['ARROW:extension:metadata'] = ''
  }
  const { dictionary } = field
  return [
    { as: 'string', value: field.name },
    { as: 'bool', value: field.nullable },
    { as: 'i8', value: ARROW[type.kind] },
    { as: 'table', value: typeTable(type) },
    dictionary && {
      as: 'table',
      value: [
        { as: 'i64', value: dictionary.id },
        { as: 'table', value: typeTable({ kind: 'int', bits: (dictionary.width * 8) as 8 | 16 | 32, signed: dictionary.signed ?? false }) },
        { as: 'bool', value: false },
      ],
    },
    { as: 'tables', value: childFields(type).map(arrowField) },
    keyValues(metadata),
  ]
}

/** The fields below a nested type. */
function childFields(type: ColumnType): readonly FieldDef[] {
  if (type.kind === 'struct') return type.fields
  return type.kind === 'list' || type.kind === 'fixedSizeList' ? [type.item] : []
}

function typeTable(type: ColumnType): FlatTable {
  switch (type.kind) {
    case 'int':
      return [
        { as: 'i32', value: type.bits },
        { as: 'bool', value: type.signed },
      ]
    case 'float':
      return [{ as: 'i16', value: type.bits === 32 ? 1 : 2 }]
    case 'fixedSizeBinary':
      return [{ as: 'i32', value: type.bytes }]
    case 'timestamp':
      return [{ as: 'i16', value: UNITS.indexOf(type.unit) }, type.tz === undefined ? undefined : { as: 'string', value: type.tz }]
    case 'date':
      return [{ as: 'i16', value: 0 }]
    case 'time':
      return [
        { as: 'i16', value: UNITS.indexOf(type.unit) },
        { as: 'i32', value: type.unit === 's' || type.unit === 'ms' ? 32 : 64 },
      ]
    case 'decimal':
      return [
        { as: 'i32', value: type.precision },
        { as: 'i32', value: type.scale },
        { as: 'i32', value: 128 },
      ]
    case 'fixedSizeList':
      return [{ as: 'i32', value: type.size }]
    default:
      return []
  }
}

function keyValues(entries: Readonly<Record<string, string>>): FlatValue | undefined {
  const keys = Object.keys(entries)
  if (keys.length === 0) return undefined
  return {
    as: 'tables',
    value: keys.map((key) => [
      { as: 'string', value: key },
      { as: 'string', value: entries[key]! },
    ]),
  }
}

/** The Footer of a file. `dictionaries` and `batches`: File.fbs Block structs of 24 bytes each. */
export function footerBytes(o: {
  readonly schema: FlatTable
  readonly dictionaries: Uint8Array
  readonly batches: Uint8Array
  readonly metadata?: Readonly<Record<string, string>>
}): Uint8Array<ArrayBuffer> {
  return encodeFlatbuffer([
    { as: 'i16', value: METADATA_V5 },
    { as: 'table', value: o.schema },
    { as: 'structs', count: o.dictionaries.length / 24, value: o.dictionaries },
    { as: 'structs', count: o.batches.length / 24, value: o.batches },
    keyValues(o.metadata ?? {}),
  ])
}

export interface ArrowSchema {
  readonly fields: readonly ArrowField[]
  readonly metadata: Readonly<Record<string, string>>
}

/** A Schema table as fields. @throws DecodeError, UnsupportedTypeError */
export function readArrowSchema(table: FlatReader): ArrowSchema {
  if (table.i16(0) !== 0) throw new UnsupportedTypeError('a big-endian Arrow schema', { details: { type: 'big-endian' } })
  return { fields: table.tables(1).map(readArrowField), metadata: readKeyValues(table, 2) }
}

export function readFooter(bytes: Uint8Array): { schema: ArrowSchema; footer: FlatReader; metadata: Readonly<Record<string, string>> } {
  const footer = readFlatbuffer(bytes)
  const schema = footer.table(1)
  if (schema === undefined) throw new DecodeError('a footer without schema', 0)
  return { schema: readArrowSchema(schema), footer, metadata: readKeyValues(footer, 4) }
}

function readArrowField(table: FlatReader): ArrowField {
  const name = table.string(0) ?? ''
  const metadata = readKeyValues(table, 6)
  const type = readType(table, name, metadata)
  const field = { name, nullable: table.bool(1), type, metadata }
  const encoding = table.table(4)
  if (encoding === undefined) return field
  const index = encoding.table(1)
  const bits = index?.i32(0, 32) ?? 32
  if (bits !== 8 && bits !== 16 && bits !== 32) throw unsupported(`${name}: dictionary codes of ${bits} bits`)
  const signed = index?.bool(1, false) ?? true
  const dictionary = { id: encoding.i64(0), width: (bits / 8) as 1 | 2 | 4, ...(signed ? { signed } : {}) }
  return { ...field, dictionary }
}

function readType(table: FlatReader, name: string, metadata: Readonly<Record<string, string>>): ColumnType {
  const code = table.i8(2)
  const type = table.table(3)
  const extension = metadata['ARROW:extension:name']
  switch (code) {
    case ARROW.int:
      return { kind: 'int', bits: oneOf(type?.i32(0) ?? 0, [8, 16, 32, 64], name), signed: type?.bool(1) ?? false }
    case ARROW.float:
      return { kind: 'float', bits: type?.i16(0) === 1 ? 32 : oneOf((type?.i16(0) ?? 0) * 32, [64], name) }
    case ARROW.binary:
      return { kind: 'binary' }
    case ARROW.utf8:
      return extension === 'arrow.json' ? { kind: 'utf8', json: true } : { kind: 'utf8' }
    case ARROW.bool:
      return { kind: 'bool' }
    case ARROW.decimal:
      oneOf(type?.i32(2, 128) ?? 128, [128], name)
      return { kind: 'decimal', precision: type?.i32(0) ?? 0, scale: type?.i32(1) ?? 0 }
    case ARROW.date:
      oneOf(type?.i16(0, 1) ?? 1, [0], name)
      return { kind: 'date' }
    case ARROW.time:
      return { kind: 'time', unit: unitOf(type?.i16(0, 1) ?? 1, name) }
    case ARROW.timestamp: {
      const tz = type?.string(1)
      return { kind: 'timestamp', unit: unitOf(type?.i16(0) ?? 0, name), ...(tz === undefined ? {} : { tz }) }
    }
    case ARROW.fixedSizeBinary: {
      const bytes = type?.i32(0) ?? 0
      return extension === 'arrow.uuid' ? { kind: 'fixedSizeBinary', bytes, uuid: true } : { kind: 'fixedSizeBinary', bytes }
    }
    case ARROW.list:
      return { kind: 'list', item: readChildren(table, name, 1)[0]! }
    case ARROW.struct:
      return { kind: 'struct', fields: readChildren(table, name, undefined) }
    case ARROW.fixedSizeList:
      return { kind: 'fixedSizeList', size: type?.i32(0) ?? 0, item: readChildren(table, name, 1)[0]! }
    default:
      throw unsupported(`${name}: Arrow type ${code}`)
  }
}

function readChildren(table: FlatReader, name: string, count: number | undefined): FieldDef[] {
  const children = table.tables(5).map(readArrowField)
  if (count !== undefined && children.length !== count) throw new DecodeError(`${name}: ${children.length} child fields, ${count} expected`, 0)
  return children.map((child) => {
    if (child.dictionary !== undefined) throw unsupported(`${name}.${child.name}: a dictionary inside a nested column`)
    return { name: child.name, type: child.type, nullable: child.nullable }
  })
}

function readKeyValues(table: FlatReader, slot: number): Readonly<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const pair of table.tables(slot)) found[pair.string(0) ?? ''] = pair.string(1) ?? ''
  return found
}

function unitOf(code: number, name: string): TimeUnit {
  const unit = UNITS[code]
  if (unit === undefined) throw unsupported(`${name}: time unit ${code}`)
  return unit
}

function oneOf<T extends number>(value: number, allowed: readonly T[], name: string): T {
  if (!(allowed as readonly number[]).includes(value)) throw unsupported(`${name}: a width or unit of ${value}`)
  return value as T
}

function unsupported(what: string): UnsupportedTypeError {
  return new UnsupportedTypeError(`not supported here: ${what}`, { details: { type: what } })
}
