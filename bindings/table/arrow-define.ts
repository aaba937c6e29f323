// table/arrow-define.ts: the columns that can take Arrow data as it is: a definition from a file, a stream or a table of any library.
//
// docs/format.md, "Arrow types", is the list; a test holds it against this file. Invariant: a column made here takes every value of its Arrow type
// without loss; a type that has no such column is refused by its name and the column's.
import { InvalidNameError, UnsupportedTypeError } from '../errors.ts'
import type { ColumnType, FieldDef, TimeUnit } from '../format/index.ts'
import { ARROW, asBytes, isArrowLike, type Loose, MAP_NAMES, type SourceType, sourceType } from '../kernels/index.ts'
import { quote } from './cells.ts'
import { columnFromSpec } from './columns.ts'
import { specFromField } from './definition.ts'
import { ipcFields } from './ipc-in.ts'
import { EXTENSION_NAME, type IpcField } from './ipc-schema.ts'
import { checkColumnName } from './names.ts'
import type { ArrowLike } from './types-read.ts'
import type { Columns } from './types.ts'

const UNITS: readonly TimeUnit[] = ['s', 'ms', 'us', 'ns']
const DECIMAL_DIGITS_MAX = 38
const WHERE = 'columnsFromArrow'

/**
 * The columns of a table that takes the Arrow data as it is, in its order: give them to table() with the name and the key.
 *
 * @param data  Arrow IPC bytes (a file, or a stream from its schema on), or a Table or RecordBatch of any Arrow library
 * @throws UnsupportedTypeError: a type that no column takes without loss; InvalidNameError: a name that is taken, or that no column may have; SchemaMismatchError: the bytes are not Arrow
 * @example const trips = table('trips', columnsFromArrow(bytes))
 * @example const trips = table('trips', { ...columnsFromArrow(bytes), id: t.int64() }, { key: ['id'] }) // many writers mark every column nullable
 */
export function columnsFromArrow(data: Uint8Array | ArrowLike): Columns {
  const fields = data instanceof Uint8Array ? ipcFields(WHERE, asBytes(data)) : likeFields(data)
  if (fields.length === 0) throw new UnsupportedTypeError(`${WHERE}: the Arrow data has no columns`, { details: { type: 'struct<>' } })
  return Object.fromEntries(namedFields('', fields, true).map((field) => [field.name, columnFromSpec(specFromField(field))]))
}

function likeFields(data: ArrowLike): IpcField[] {
  if (!isArrowLike(data))
    throw new UnsupportedTypeError(`${WHERE}: expected Arrow data, got ${data === null ? 'null' : typeof data}`, { details: { type: typeof data } })
  return (data.schema.fields as readonly Loose[]).map(likeField)
}

function likeField(field: Loose): IpcField {
  const given = field['type'] as Loose
  const isDictionary = given['typeId'] === ARROW.dictionary
  const type = (isDictionary ? given['dictionary'] : given) as Loose
  const metadata = field['metadata'] as ReadonlyMap<string, string> | null | undefined
  return {
    name: String(field['name']),
    nullable: field['nullable'] === true,
    extension: metadata?.get(EXTENSION_NAME) ?? '',
    type: sourceType(type),
    children: ((type['children'] as readonly Loose[] | null | undefined) ?? []).map(likeField),
    dictionary: isDictionary ? { id: 0, type: sourceType(given) } : undefined,
  }
}

/** Fields side by side: each name once, and one that a column may have. `isTop`: columns, not fields of a struct. */
function namedFields(path: string, fields: readonly IpcField[], isTop: boolean): FieldDef[] {
  const names = new Set<string>()
  return fields.map((field) => {
    checkColumnName(path === '' ? WHERE : `${WHERE}: ${path}`, field.name)
    if (names.has(field.name)) throw new InvalidNameError(`${WHERE}: column ${quote(path + field.name)} is there twice`, { details: { name: field.name } })
    names.add(field.name)
    return { name: field.name, ...fieldDef(path + field.name, field, isTop) }
  })
}

function fieldDef(path: string, field: IpcField, isTop: boolean): Omit<FieldDef, 'name'> {
  const type = columnType(path, field)
  // Inside nested columns nothing is dictionary-encoded.
  const dictionary = isTop && field.dictionary !== undefined && type.kind === 'utf8' && type.json === undefined
  return { type: dictionary ? { kind: 'utf8', dictionary: true } : type, nullable: field.nullable || field.type.id === ARROW.null }
}

function columnType(path: string, field: IpcField): ColumnType {
  const { type, children, extension } = field
  if (field.dictionary !== undefined && isNested(type)) throw unsupported(path, field.dictionary.type.name)
  const item = (): FieldDef => {
    const child = children[0]
    if (child === undefined) throw unsupported(path, `${type.name} without an item`)
    return { name: 'item', ...fieldDef(`${path}[]`, child, false) }
  }
  switch (type.id) {
    // Nothing is lost of values that are all null.
    case ARROW.null:
    case ARROW.bool:
      return { kind: 'bool' }
    case ARROW.int:
      return { kind: 'int', bits: type.bits as 8 | 16 | 32 | 64, signed: type.signed }
    case ARROW.float:
      return { kind: 'float', bits: type.bits === 64 ? 64 : 32 }
    case ARROW.utf8:
    case ARROW.largeUtf8:
    case ARROW.utf8View:
      return extension === 'arrow.json' ? { kind: 'utf8', json: true } : { kind: 'utf8' }
    case ARROW.binary:
    case ARROW.largeBinary:
    case ARROW.binaryView:
      return { kind: 'binary' }
    case ARROW.fixedSizeBinary:
      if (type.size < 1) throw unsupported(path, type.name)
      return extension === 'arrow.uuid' && type.size === 16 ? { kind: 'fixedSizeBinary', bytes: 16, uuid: true } : { kind: 'fixedSizeBinary', bytes: type.size }
    case ARROW.date:
      // Some libraries keep instants in date64.
      return type.unit === 0 ? { kind: 'date' } : { kind: 'timestamp', unit: 'ms' }
    case ARROW.time:
      return { kind: 'time', unit: unitOf(path, type) }
    case ARROW.timestamp:
      return { kind: 'timestamp', unit: unitOf(path, type), ...(type.timezone === '' ? {} : { tz: type.timezone }) }
    case ARROW.decimal: {
      const { precision, scale } = type
      if (precision < 1 || precision > DECIMAL_DIGITS_MAX || scale < 0 || scale > precision) throw unsupported(path, type.name)
      return { kind: 'decimal', precision, scale }
    }
    case ARROW.list:
    case ARROW.largeList:
      return { kind: 'list', item: item() }
    case ARROW.map: {
      const entries = children[0]
      if (entries?.children.length !== 2) throw unsupported(path, `${type.name} without keys and values`)
      const pair = { ...entries, children: entries.children.map((child, i) => ({ ...child, name: MAP_NAMES[i]! })) }
      return { kind: 'list', item: { name: 'item', ...fieldDef(`${path}[]`, pair, false) } }
    }
    case ARROW.fixedSizeList: {
      if (type.size < 1) throw unsupported(path, type.name)
      const one = item()
      const isVector = one.type.kind === 'float' && one.type.bits === 32 && !one.nullable
      return { kind: 'fixedSizeList', size: type.size, item: one, ...(isVector ? { vector: true } : {}) }
    }
    case ARROW.struct:
      if (children.length === 0) throw unsupported(path, 'struct<>')
      return { kind: 'struct', fields: namedFields(`${path}.`, children, false) }
    default:
      throw unsupported(path, type.name)
  }
}

function isNested({ id }: SourceType): boolean {
  return id === ARROW.list || id === ARROW.largeList || id === ARROW.map || id === ARROW.fixedSizeList || id === ARROW.struct || id === ARROW.null
}

function unitOf(path: string, type: SourceType): TimeUnit {
  const unit = UNITS[type.unit]
  if (unit === undefined) throw unsupported(path, type.name)
  return unit
}

function unsupported(path: string, type: string): UnsupportedTypeError {
  return new UnsupportedTypeError(`${WHERE}: column ${quote(path)}: no column takes Arrow ${type} without loss`, {
    details: { type, column: path },
    hint: 'Convert the column first, or leave it out; docs/format.md lists the types.',
  })
}
