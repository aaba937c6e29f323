// cli/formats/arrow-in.ts: Arrow IPC files and streams through apache-arrow, one record batch at a time.
import { open } from 'node:fs/promises'
import type * as Arrow from 'apache-arrow'
import type { ArrowLike } from '../../index.ts'
import type { CellType, Field, NamedField, Unit } from '../column-type.ts'
import { loadArrow } from './arrow-codecs.ts'
import { takeNumbers } from './column-build.ts'
import { type Batch, type ByteCount, type RowNumbers, type Source, unreadable } from './source.ts'

const UNITS: readonly Unit[] = ['s', 'ms', 'us', 'ns']
const FILE_MAGIC = 'ARROW1'

type Reader = Arrow.AsyncRecordBatchFileReader | Arrow.AsyncRecordBatchStreamReader

export async function openArrow(bytes: ByteCount): Promise<Source> {
  const arrow = await loadArrow()
  const { reader, batchesTotal, closeFile } = await openReader(arrow, bytes)
  const { schema } = reader
  const fields = schema.fields.map((field): NamedField => ({ name: field.name, ...fieldOf(arrow, bytes, field) }))

  async function* batches(_fields: readonly NamedField[], numbers: RowNumbers | undefined): AsyncGenerator<Batch, undefined> {
    let read = 0
    try {
      for await (const batch of reader as AsyncIterable<Arrow.RecordBatch>) {
        if (batchesTotal !== undefined) bytes.done = Math.round(((bytes.total ?? 0) * ++read) / Math.max(1, batchesTotal))
        // A file without rows may still give one batch, of nothing.
        if (batch.numRows === 0) continue
        yield { rows: batch.numRows, data: (numbers === undefined ? batch : numbered(arrow, batch, numbers)) as unknown as ArrowLike }
      }
    } finally {
      await closeFile()
    }
  }

  return {
    format: 'arrow',
    fields,
    rowsTotal: undefined,
    batches,
    close: async () => {
      await reader.cancel()
      await closeFile()
    },
  }
}

interface OpenedReader {
  readonly reader: Reader
  /** Of a file; a stream does not know. */
  readonly batchesTotal: number | undefined
  readonly closeFile: () => Promise<void>
}

async function openReader(arrow: typeof Arrow, bytes: ByteCount): Promise<OpenedReader> {
  try {
    if (bytes.path !== undefined && (await isFileFormat(bytes.path))) {
      const file = await open(bytes.path)
      const reader = (await arrow.RecordBatchReader.from(file)) as Arrow.AsyncRecordBatchFileReader
      await reader.open()
      return { reader, batchesTotal: reader.numRecordBatches, closeFile: async () => await file.close() }
    }
    const reader = (await arrow.RecordBatchReader.from(bytes.read() as AsyncIterable<Uint8Array>)) as Arrow.AsyncRecordBatchStreamReader
    await reader.open()
    // An empty stream has no schema.
    if ((reader.schema as Arrow.Schema | undefined) === undefined) throw new Error('it has no schema')
    return { reader, batchesTotal: undefined, closeFile: async () => undefined }
  } catch (cause) {
    const hint = bytes.path === undefined ? 'A pipe takes the stream format; give an Arrow file by its path.' : 'Check that it is a whole Arrow file or stream.'
    throw unreadable(bytes, `is not Arrow: ${(cause as Error).message}`, hint, cause)
  }
}

async function isFileFormat(path: string): Promise<boolean> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(FILE_MAGIC.length), position: 0 })
    return buffer.subarray(0, bytesRead).toString('latin1') === FILE_MAGIC
  } finally {
    await file.close()
  }
}

/** The batch with a column of row numbers before its own. */
function numbered(arrow: typeof Arrow, batch: Arrow.RecordBatch, numbers: RowNumbers): Arrow.RecordBatch {
  const ids = arrow.makeData({ type: new arrow.Int64(), data: takeNumbers(numbers, batch.numRows) })
  const fields = [new arrow.Field(numbers.column, ids.type, false), ...batch.schema.fields]
  const type = new arrow.Struct(fields)
  const data = arrow.makeData({ type, length: batch.numRows, nullCount: 0, children: [ids, ...batch.data.children] })
  return new arrow.RecordBatch(new arrow.Schema(fields), data as Arrow.Data<Arrow.Struct>)
}

function fieldOf(arrow: typeof Arrow, bytes: ByteCount, field: Arrow.Field): Field {
  return { type: typeOf(arrow, bytes, field), nullable: field.nullable || arrow.DataType.isNull(field.type) }
}

/** As docs/format.md, "Arrow types", has it. */
function typeOf(arrow: typeof Arrow, bytes: ByteCount, field: Arrow.Field): CellType {
  const { DataType } = arrow
  const extension = field.metadata.get('ARROW:extension:name')
  let type = field.type as Arrow.DataType
  const isDictionary = DataType.isDictionary(type)
  if (isDictionary) type = (type as Arrow.Dictionary).dictionary
  if (DataType.isUtf8(type) || DataType.isLargeUtf8(type) || DataType.isUtf8View(type)) {
    if (extension === 'arrow.json') return { kind: 'json' }
    return isDictionary ? { kind: 'utf8', dictionary: true } : { kind: 'utf8' }
  }
  // Nothing is lost of values that are all null.
  if (DataType.isBool(type) || DataType.isNull(type)) return { kind: 'bool' }
  if (DataType.isInt(type)) return { kind: 'int', bits: type.bitWidth, signed: type.isSigned }
  if (DataType.isFloat(type)) return { kind: 'float', bits: type.precision === arrow.Precision.DOUBLE ? 64 : 32 }
  if (DataType.isBinary(type) || DataType.isLargeBinary(type) || DataType.isBinaryView(type)) return { kind: 'binary' }
  if (DataType.isFixedSizeBinary(type)) return extension === 'arrow.uuid' ? { kind: 'uuid' } : { kind: 'fixedSizeBinary', size: type.byteWidth }
  // Some libraries keep instants in date64.
  if (DataType.isDate(type)) return type.unit === arrow.DateUnit.DAY ? { kind: 'date' } : { kind: 'timestamp', unit: 'ms' }
  if (DataType.isTime(type)) return { kind: 'time', unit: UNITS[type.unit]! }
  if (DataType.isTimestamp(type)) {
    const tz = type.timezone ?? ''
    return { kind: 'timestamp', unit: UNITS[type.unit]!, ...(tz === '' ? {} : { tz }) }
  }
  if (DataType.isDecimal(type)) return { kind: 'decimal', precision: type.precision, scale: type.scale }
  if (DataType.isMap(type)) {
    const [key, value] = type.children[0]!.type.children
    const pair: NamedField[] = [
      { name: 'key', ...fieldOf(arrow, bytes, key!) },
      { name: 'value', ...fieldOf(arrow, bytes, value!) },
    ]
    return { kind: 'list', item: { type: { kind: 'struct', fields: pair }, nullable: false } }
  }
  if (DataType.isList(type) || DataType.isLargeList(type)) return { kind: 'list', item: fieldOf(arrow, bytes, type.children[0]!) }
  if (DataType.isFixedSizeList(type)) {
    const item = fieldOf(arrow, bytes, type.children[0]!)
    if (item.type.kind === 'float' && item.type.bits === 32 && !item.nullable) return { kind: 'vector', size: type.listSize }
    return { kind: 'fixedSizeList', size: type.listSize, item }
  }
  if (DataType.isStruct(type)) return { kind: 'struct', fields: type.children.map((child) => ({ name: child.name, ...fieldOf(arrow, bytes, child) })) }
  throw unreadable(
    bytes,
    `column ${JSON.stringify(field.name)} has type ${String(type)}, which has no place in a table`,
    'Leave the column out, or convert it first.',
  )
}
