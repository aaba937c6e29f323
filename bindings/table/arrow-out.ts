// table/arrow-out.ts: batches of stored columns as apache-arrow record batches and tables, by sharing their buffers.
//
// Every column has its declared Arrow type, whatever it is at rest: `dictionary()` columns are Dictionary<int32, utf8>, other strings utf8; uuid and json
// carry their extension names. apache-arrow is loaded by the first call, never by importing varve.
// Invariant: one dictionary per column and table (writers of apache-arrow know only one per field); nothing is copied but codes and mixed dictionaries.
import type * as Arrow from 'apache-arrow'

import { assert } from '../assert.ts'
import type { ColumnType, FieldDef, TimeUnit } from '../format/index.ts'
import { convertInts, decodeDictionary, encodeDictionary, unifyDictionaries, type Vec } from '../kernels/index.ts'
import type { ColumnBatch } from './batch.ts'
import type { ArrowTable, RecordBatch } from './types-read.ts'
import type { ViewColumn } from './view.ts'

type Library = typeof Arrow

/** Makes record batches of columns in the order of `columns`. */
export async function recordBatches(columns: readonly ViewColumn[]): Promise<(batch: ColumnBatch) => RecordBatch> {
  const library = await import('apache-arrow')
  const schema = schemaOf(library, columns)
  return (batch) => recordBatch(library, schema, columns, batch) as unknown as RecordBatch
}

/** All batches as one table. */
export async function arrowTable(columns: readonly ViewColumn[], batches: readonly ColumnBatch[]): Promise<ArrowTable> {
  const library = await import('apache-arrow')
  const schema = schemaOf(library, columns)
  const whole = withOneDictionary(columns, batches)
  return new library.Table(
    schema,
    whole.map((batch) => recordBatch(library, schema, columns, batch)),
  ) as unknown as ArrowTable
}

/** The Arrow schema of columns. */
export async function arrowSchemaOf(columns: readonly ViewColumn[]): Promise<Arrow.Schema> {
  return schemaOf(await import('apache-arrow'), columns)
}

function schemaOf(library: Library, columns: readonly ViewColumn[]): Arrow.Schema {
  return new library.Schema(columns.map(({ column }) => fieldOf(library, column)))
}

function fieldOf(library: Library, field: FieldDef): Arrow.Field {
  const { type } = field
  const extension = type.kind === 'utf8' && type.json ? 'arrow.json' : type.kind === 'fixedSizeBinary' && type.uuid ? 'arrow.uuid' : undefined
  const metadata =
    extension === undefined
      ? undefined
      : new Map([
          ['ARROW:extension:name', extension],
          ['ARROW:extension:metadata', ''],
        ])
  return new library.Field(field.name, typeOf(library, type), field.nullable, metadata)
}

const UNITS: Readonly<Record<TimeUnit, Arrow.TimeUnit>> = { s: 0, ms: 1, us: 2, ns: 3 }

function typeOf(library: Library, type: ColumnType): Arrow.DataType {
  switch (type.kind) {
    case 'bool':
      return new library.Bool()
    case 'int':
      return new library.Int(type.signed as never, type.bits as never)
    case 'float':
      return type.bits === 32 ? new library.Float32() : new library.Float64()
    case 'utf8':
      return type.dictionary ? new library.Dictionary(new library.Utf8(), new library.Int32()) : new library.Utf8()
    case 'binary':
      return new library.Binary()
    case 'fixedSizeBinary':
      return new library.FixedSizeBinary(type.bytes)
    case 'timestamp':
      return new library.Timestamp(UNITS[type.unit], type.tz ?? null)
    case 'date':
      return new library.DateDay()
    case 'time':
      return new library.Time(UNITS[type.unit] as never, (type.unit === 's' || type.unit === 'ms' ? 32 : 64) as never)
    case 'decimal':
      return new library.Decimal(type.scale, type.precision, 128)
    case 'list':
      return new library.List(fieldOf(library, type.item))
    case 'struct':
      return new library.Struct(type.fields.map((field) => fieldOf(library, field)))
    case 'fixedSizeList':
      return new library.FixedSizeList(type.size, fieldOf(library, type.item))
  }
}

function recordBatch(library: Library, schema: Arrow.Schema, columns: readonly ViewColumn[], batch: ColumnBatch): Arrow.RecordBatch {
  const children = columns.map(({ column }, i) => dataOf(library, schema.fields[i]!.type, column.type, batch.columns[i]!))
  const data = library.makeData({ type: new library.Struct(schema.fields), length: batch.length, nullCount: 0, children })
  return new library.RecordBatch(schema, data)
}

function dataOf(library: Library, type: Arrow.DataType, stored: ColumnType, vec: Vec): Arrow.Data {
  if (stored.kind === 'utf8' && stored.dictionary) return dictionaryData(library, type as Arrow.Dictionary, vec)
  const plain = vec.layout.kind === 'dict' ? decodeDictionary(vec) : vec
  const { length, nullCount, validity, values, offsets, children } = plain
  const base = { type: type as never, length, nullCount, nullBitmap: validity ?? null }
  switch (stored.kind) {
    case 'utf8':
    case 'binary':
      return library.makeData({ ...base, valueOffsets: offsets!, data: values })
    case 'list':
      return library.makeData({ ...base, valueOffsets: offsets!, child: dataOf(library, type.children[0]!.type, stored.item.type, children[0]!) as never })
    case 'fixedSizeList':
      return library.makeData({ ...base, child: dataOf(library, type.children[0]!.type, stored.item.type, children[0]!) as never })
    case 'struct':
      return library.makeData({
        ...base,
        children: stored.fields.map((field, i) => dataOf(library, type.children[i]!.type, field.type, children[i]!)) as never,
      })
    default:
      return library.makeData({ ...base, data: arrayOf(stored, values, length) as never })
  }
}

/** Values of a fixed width, and bitmaps, as the typed array that apache-arrow holds for the type. */
function arrayOf(type: ColumnType, values: Uint8Array, length: number): ArrayBufferView {
  const { buffer, byteOffset } = values
  switch (type.kind) {
    case 'int':
      if (type.bits === 8) return type.signed ? new Int8Array(buffer, byteOffset, length) : values.subarray(0, length)
      if (type.bits === 16) return type.signed ? new Int16Array(buffer, byteOffset, length) : new Uint16Array(buffer, byteOffset, length)
      if (type.bits === 32) return type.signed ? new Int32Array(buffer, byteOffset, length) : new Uint32Array(buffer, byteOffset, length)
      return type.signed ? new BigInt64Array(buffer, byteOffset, length) : new BigUint64Array(buffer, byteOffset, length)
    case 'float':
      return type.bits === 32 ? new Float32Array(buffer, byteOffset, length) : new Float64Array(buffer, byteOffset, length)
    case 'timestamp':
      return new BigInt64Array(buffer, byteOffset, length)
    case 'date':
      return new Int32Array(buffer, byteOffset, length)
    case 'time':
      return type.unit === 's' || type.unit === 'ms' ? new Int32Array(buffer, byteOffset, length) : new BigInt64Array(buffer, byteOffset, length)
    case 'decimal':
      return new Uint32Array(buffer, byteOffset, length * 4)
    case 'fixedSizeBinary':
      return values.subarray(0, length * type.bytes)
    default:
      return values
  }
}

/** Vectors by dictionary, so that batches that share one share it in Arrow too. */
const vectors = new WeakMap<Vec, Arrow.Vector<Arrow.Utf8>>()

function dictionaryData(library: Library, type: Arrow.Dictionary, vec: Vec): Arrow.Data {
  const { dictionary, codes } = encoded(vec)
  let entries = vectors.get(dictionary)
  if (entries === undefined) {
    const data = library.makeData({
      type: type.dictionary as Arrow.Utf8,
      length: dictionary.length,
      nullCount: 0,
      valueOffsets: dictionary.offsets!,
      data: dictionary.values,
    })
    entries = new library.Vector([data])
    vectors.set(dictionary, entries)
  }
  const { length, nullCount, validity } = vec
  return library.makeData({ type: type as never, length, nullCount, nullBitmap: validity ?? null, data: codes as never, dictionary: entries as never })
}

/** int32 codes and their dictionary. */
function encoded(given: Vec): { dictionary: Vec; codes: Int32Array } {
  const vec = asDictionary(given)
  const { buffer, byteOffset } = vec.values
  const width = codeBytes(vec)
  const codes =
    width === 4
      ? new Int32Array(buffer, byteOffset, vec.length)
      : Int32Array.from(width === 1 ? vec.values.subarray(0, vec.length) : new Uint16Array(buffer, byteOffset, vec.length))
  return { dictionary: vec.dictionary!, codes }
}

/** A column that is plain at rest gets a dictionary of the distinct values of its rows. */
function asDictionary(vec: Vec): Vec {
  if (vec.layout.kind === 'dict') return vec
  const made = encodeDictionary(vec, vec.length)
  assert(made !== undefined, 'a dictionary of as many entries as rows is always possible', vec.length)
  return made
}

function codeBytes(vec: Vec): number {
  return vec.layout.kind === 'dict' ? vec.layout.width : 4
}

function withOneDictionary(columns: readonly ViewColumn[], batches: readonly ColumnBatch[]): readonly ColumnBatch[] {
  const unified = columns.map(({ column }, i) => {
    if (column.type.kind !== 'utf8' || !column.type.dictionary || batches.length === 0) return undefined
    const parts = batches.map((batch) => asDictionary(batch.columns[i]!))
    const first = parts[0]!.dictionary
    if (parts.every((part) => part.dictionary === first)) return parts
    const { dictionary, maps } = unifyDictionaries(parts.map((part) => part.dictionary!))
    return parts.map((part, p) => ({
      ...part,
      layout: { kind: 'dict', width: 4 } as const,
      values: convertInts(part.values, codeBytes(part), 4, false, part.length, maps[p]!),
      dictionary,
    }))
  })
  return batches.map((batch, b) => ({ length: batch.length, columns: batch.columns.map((vec, i) => unified[i]?.[b] ?? vec) }))
}
