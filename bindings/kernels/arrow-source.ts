// kernels/arrow-source.ts: Arrow data of any library as plain buffers, told by shape and never by class.
//
// Known shapes: apache-arrow (Table.batches[].data, a Data tree with valueOffsets / nullBitmap / offset; any version with typeId on its types) and
// flechette (Table.children[].data[], batches with offsets / validity). Both number their types as Schema.fbs does. Whatever else has getChild() is
// read value by value. Sliced apache-arrow Data has its values and offsets cut already, but bitmaps and booleans start at bit `offset`.
// Invariant: row i of a node is value i, offsets i and i + 1, and bit `bitOffset` + i of the bitmaps.

/** What is read of a type. */
export interface SourceType {
  /** Type of Schema.fbs; -1 = dictionary. */
  readonly id: number
  /** As messages spell it: "float64". */
  readonly name: string
  /** int, decimal, float: width; dictionary: that of its codes. */
  readonly bits: number
  readonly signed: boolean
  /** timestamp and time: 0 s, 1 ms, 2 us, 3 ns; date: 0 day, 1 ms. */
  readonly unit: number
  /** timestamp: its zone; empty = none. */
  readonly timezone: string
  readonly precision: number
  readonly scale: number
  /** fixedSizeBinary: bytes; fixedSizeList: items. */
  readonly size: number
  readonly fieldNames: readonly string[]
}

export interface ArrowNode {
  readonly type: SourceType
  readonly length: number
  /** Undefined = no nulls. */
  readonly validity: Uint8Array | undefined
  readonly bitOffset: number
  readonly values: Uint8Array
  readonly offsets: Int32Array | BigInt64Array | undefined
  readonly children: readonly ArrowNode[]
  /** Buffers of Utf8View and BinaryView. */
  readonly buffers: readonly Uint8Array[]
  readonly dictionary: ArrowDictionarySource | undefined
}

export interface ArrowDictionarySource {
  /** The same object for the same dictionary: what is made of it is kept by this. */
  readonly identity: object
  readonly type: SourceType
  readonly chunks: () => readonly ArrowNode[]
}

/** A column in pieces, or a way to read it value by value. */
export interface ArrowColumn {
  readonly name: string
  readonly type: SourceType | undefined
  readonly chunks: readonly ArrowNode[]
  readonly at: ((row: number) => unknown) | undefined
}

export interface ArrowTableSource {
  readonly rows: number
  readonly columns: readonly ArrowColumn[]
}

/** Numbers of the types in Arrow (format/Schema.fbs, union Type); -1 as apache-arrow numbers dictionaries. */
export const ARROW = {
  dictionary: -1,
  null: 1,
  int: 2,
  float: 3,
  binary: 4,
  utf8: 5,
  bool: 6,
  decimal: 7,
  date: 8,
  time: 9,
  timestamp: 10,
  list: 12,
  struct: 13,
  /** A list of structs of key and value. */
  map: 17,
  fixedSizeBinary: 15,
  fixedSizeList: 16,
  duration: 18,
  largeBinary: 19,
  largeUtf8: 20,
  largeList: 21,
  binaryView: 23,
  utf8View: 24,
} as const

/** Fields of the pairs of a map. */
export const MAP_NAMES: readonly string[] = ['key', 'value']

/** An object of a library that is known by its properties only. */
export type Loose = Readonly<Record<string, any>>

/** Whether a value is a table or batch of some Arrow library. */
export function isArrowLike(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const it = value as Loose
  return typeof it['getChild'] === 'function' && Array.isArray(it['schema']?.fields) && typeof it['numRows'] === 'number'
}

/** The columns of a table or batch. */
export function arrowSource(value: unknown): ArrowTableSource {
  const it = value as Loose
  const rows = it['numRows'] as number
  const fields = it['schema'].fields as Loose[]
  return { rows, columns: fields.map((field, i) => arrowColumn(it, field, i, rows)) }
}

/** The type and the pieces of one vector (apache-arrow) or column (flechette); undefined for anything else. */
export function vectorSource(value: object): { readonly type: object; readonly chunks: readonly ArrowNode[] } | undefined {
  const it = value as Loose
  const pieces = it['data'] as unknown
  if (typeof it['type']?.typeId !== 'number' || !Array.isArray(pieces)) return undefined
  if (isFlechetteColumn(value)) return { type: it['type'] as object, chunks: pieces.map(nodeOfBatch) }
  return pieces.every(isData) ? { type: it['type'] as object, chunks: pieces.map(nodeOfData) } : undefined
}

function arrowColumn(table: Loose, field: Loose, index: number, rows: number): ArrowColumn {
  const name = String(field['name'])
  const batches: unknown = Array.isArray(table['batches']) ? table['batches'] : isData(table['data']) ? [table] : undefined
  if (Array.isArray(batches) && batches.every((batch: Loose) => isData(batch['data']?.children?.[index]))) {
    const chunks = batches.map((batch: Loose) => nodeOfData(batch['data'].children[index] as Loose))
    return { name, type: sourceType(field['type'] as Loose), chunks, at: undefined }
  }
  const column: unknown = table['children']?.[index]
  if (isFlechetteColumn(column)) {
    return { name, type: sourceType(column['type'] as Loose), chunks: (column['data'] as Loose[]).map(nodeOfBatch), at: undefined }
  }
  return { name, type: undefined, chunks: [], at: valueReader(table, name, rows) }
}

function isData(value: unknown): value is Loose {
  const it = value as Loose | null | undefined
  return (
    typeof it === 'object' &&
    it !== null &&
    typeof it['type']?.typeId === 'number' &&
    typeof it['length'] === 'number' &&
    'nullCount' in it &&
    !('validity' in it)
  )
}

function isFlechetteColumn(value: unknown): value is Loose {
  const it = value as Loose | null | undefined
  return (
    typeof it === 'object' &&
    it !== null &&
    typeof it['type']?.typeId === 'number' &&
    Array.isArray(it['data']) &&
    it['data'].every((batch: unknown) => typeof batch === 'object' && batch !== null && 'validity' in batch)
  )
}

/** Any other library: get(i), at(i), or an index. */
function valueReader(table: Loose, name: string, rows: number): (row: number) => unknown {
  const column = table['getChild'](name) as Loose | null | undefined
  if (typeof column?.['get'] === 'function') return (row) => column['get'](row) as unknown
  if (typeof column?.['at'] === 'function') return (row) => column['at'](row) as unknown
  const items = column !== null && column !== undefined && Symbol.iterator in column ? Array.from(column as unknown as Iterable<unknown>) : undefined
  if (items === undefined || items.length < rows) throw new TypeError(`column ${JSON.stringify(name)} has neither get(), at() nor ${rows} values`)
  return (row) => items[row]
}

function nodeOfData(data: Loose): ArrowNode {
  const type = sourceType(data['type'] as Loose)
  const bitmap = data['nullBitmap'] as Uint8Array | undefined
  // nullCount is 0 where a bitmap was dropped, and counts the bits where it is not known.
  const hasNulls = bitmap !== undefined && bitmap !== null && bitmap.length > 0 && (data['nullCount'] as number) !== 0
  return {
    type,
    length: data['length'] as number,
    validity: hasNulls ? bitmap : undefined,
    bitOffset: (data['offset'] as number | undefined) ?? 0,
    values: bytesOf(data['values']),
    offsets: offsetsOf(data['valueOffsets']),
    children: ((data['children'] as Loose[] | undefined) ?? []).map(nodeOfData),
    buffers: ((data['variadicBuffers'] as unknown[] | undefined) ?? []).map(bytesOf),
    dictionary: type.id === ARROW.dictionary ? dictionaryOf(data['dictionary'] as Loose, data['type'].dictionary as Loose, nodeOfData) : undefined,
  }
}

function nodeOfBatch(batch: Loose): ArrowNode {
  const type = sourceType(batch['type'] as Loose)
  const bitmap = batch['validity'] as Uint8Array | undefined
  return {
    type,
    length: batch['length'] as number,
    validity: bitmap !== undefined && bitmap !== null && bitmap.length > 0 && (batch['nullCount'] as number) !== 0 ? bitmap : undefined,
    bitOffset: 0,
    values: bytesOf(batch['values']),
    offsets: offsetsOf(batch['offsets']),
    children: ((batch['children'] as Loose[] | undefined) ?? []).map(nodeOfBatch),
    buffers: ((batch['data'] as unknown[] | undefined) ?? []).map(bytesOf),
    dictionary: type.id === ARROW.dictionary ? dictionaryOf(batch['dictionary'] as Loose, batch['type'].dictionary as Loose, nodeOfBatch) : undefined,
  }
}

/** `holder`: apache-arrow's Vector or flechette's Column; both have their pieces under `data`. */
function dictionaryOf(holder: Loose | undefined, type: Loose, nodeOf: (piece: Loose) => ArrowNode): ArrowDictionarySource {
  const pieces = (holder?.['data'] as Loose[] | undefined) ?? []
  return { identity: holder ?? pieces, type: sourceType(type), chunks: () => pieces.map(nodeOf) }
}

const NO_BYTES = new Uint8Array(0)

function bytesOf(values: unknown): Uint8Array {
  if (values instanceof Uint8Array) return values
  if (ArrayBuffer.isView(values)) return new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength)
  return Array.isArray(values) && values.length > 0 ? Uint8Array.from(values as number[]) : NO_BYTES
}

function offsetsOf(offsets: unknown): Int32Array | BigInt64Array | undefined {
  if (offsets === undefined || offsets === null) return undefined
  if (offsets instanceof Int32Array || offsets instanceof BigInt64Array) return offsets
  if (ArrayBuffer.isView(offsets) && 'length' in offsets) {
    // Other arrays of offsets (flechette may give numbers): kept exact by way of bigint.
    return BigInt64Array.from(Array.from(offsets as unknown as ArrayLike<number>), BigInt)
  }
  return undefined
}

const UNIT_NAMES = ['s', 'ms', 'us', 'ns']
/** Names of Arrow's types that are told apart by their number alone, as messages spell them. */
export const OTHER_NAMES: Readonly<Record<number, string>> = {
  1: 'null',
  4: 'binary',
  5: 'utf8',
  6: 'bool',
  11: 'interval',
  14: 'union',
  17: 'map',
  18: 'duration',
  19: 'largeBinary',
  20: 'largeUtf8',
  22: 'runEndEncoded',
  23: 'binaryView',
  24: 'utf8View',
  25: 'listView',
  26: 'largeListView',
}

/** A type of apache-arrow or flechette. */
export function sourceType(type: Loose): SourceType {
  const id = type['typeId'] as number
  const children = (type['children'] as Loose[] | undefined) ?? []
  const parts = {
    id,
    bits: (type['bitWidth'] as number | undefined) ?? (id === ARROW.float ? [16, 32, 64][type['precision'] as number]! : id === ARROW.decimal ? 128 : 0),
    signed: ((type['isSigned'] ?? type['signed']) as boolean | undefined) ?? false,
    unit: (type['unit'] as number | undefined) ?? 0,
    timezone: (type['timezone'] as string | null | undefined) ?? '',
    precision: (type['precision'] as number | undefined) ?? 0,
    scale: (type['scale'] as number | undefined) ?? 0,
    size: ((type['stride'] ?? type['byteWidth'] ?? type['listSize']) as number | undefined) ?? 0,
    fieldNames: children.map((child) => String(child['name'])),
  }
  if (id === ARROW.dictionary) {
    const indices = type['indices'] as Loose | undefined
    parts.bits = (indices?.['bitWidth'] as number | undefined) ?? 32
    parts.signed = ((indices?.['isSigned'] ?? indices?.['signed']) as boolean | undefined) ?? true
  }
  if (id === ARROW.fixedSizeBinary) parts.size = ((type['byteWidth'] ?? type['stride']) as number | undefined) ?? 0
  if (id === ARROW.fixedSizeList) parts.size = ((type['listSize'] ?? type['stride']) as number | undefined) ?? 0
  return { ...parts, name: typeText(type, parts) }
}

function typeText(type: Loose, parts: Omit<SourceType, 'name'>): string {
  const item = (): string => {
    const child = (type['children'] as Loose[] | undefined)?.[0]?.['type'] as Loose | undefined
    return child === undefined ? '' : sourceType(child).name
  }
  switch (parts.id) {
    case ARROW.dictionary:
      return `dictionary<${sourceType(type['dictionary'] as Loose).name}>`
    case ARROW.int:
      return `${parts.signed ? 'int' : 'uint'}${parts.bits}`
    case ARROW.float:
      return `float${parts.bits}`
    case ARROW.decimal:
      return `decimal${parts.bits}(${parts.precision}, ${parts.scale})`
    case ARROW.date:
      return parts.unit === 0 ? 'date32' : 'date64'
    case ARROW.time:
      return `time[${UNIT_NAMES[parts.unit] ?? '?'}]`
    case ARROW.timestamp:
      return `timestamp[${UNIT_NAMES[parts.unit] ?? '?'}${parts.timezone === '' ? '' : `, ${parts.timezone}`}]`
    case ARROW.fixedSizeBinary:
      return `fixedSizeBinary(${parts.size})`
    case ARROW.fixedSizeList:
      return `fixedSizeList(${parts.size})<${item()}>`
    case ARROW.list:
      return `list<${item()}>`
    case ARROW.largeList:
      return `largeList<${item()}>`
    case ARROW.struct:
      return `struct<${parts.fieldNames.join(', ')}>`
    default:
      return OTHER_NAMES[parts.id] ?? `type ${parts.id}`
  }
}
