// table/rows-out.ts: stored columns back to JavaScript values, and to row objects of one constant shape.
//
// Readers are made once per column and take (vec, row). The typed view of the last Vec is kept, so that a walk over a batch makes one view and a
// point read makes none. Row objects come from a function generated per set of columns: property names are then constants to the engine.
// Invariant: what is handed out never changes later: binary values are views of buffers that nobody writes again.
import type { ColumnType } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import { decimalText } from './physical.ts'
import { dateText, uuidText } from './text-forms.ts'
import type { ColumnSpec, ViewColumn } from './view.ts'

export type CellReader = (vec: Vec, row: number) => unknown
export type RowReader = (vecs: readonly Vec[], row: number) => Record<string, unknown>

/** A reader of the rows of one Vec. */
export function cellReader(column: ViewColumn, vec: Vec): (row: number) => unknown {
  const read = cellReaderOf(column)
  return (row) => read(vec, row)
}

/** A reader of a column's values, as its `as` has it; null where there is none. RangeError: an int64 read as number that is not a safe integer. */
export function cellReaderOf(column: ViewColumn): CellReader {
  const read = valueReader(column.column.type, column.spec, column.name)
  return (vec, row) => (vec.validity !== undefined && ((vec.validity[row >> 3]! >> (row & 7)) & 1) === 0 ? null : read(vec, row))
}

/** A reader of whole rows: `vecs` in the order of `columns`. Each call gives a fresh plain object. */
export function rowReader(columns: readonly ViewColumn[]): RowReader {
  const readers = columns.map(cellReaderOf)
  const names = columns.map((column) => column.name)
  return generatedRowReader(names, readers) ?? plainRowReader(names, readers)
}

/** Undefined where the host forbids making code from text. */
function generatedRowReader(names: readonly string[], readers: readonly CellReader[]): RowReader | undefined {
  const fields = names.map((name, i) => `[${JSON.stringify(name)}]: r${i}(vecs[${i}], row)`)
  const parameters = readers.map((_, i) => `r${i}`)
  try {
    // The text holds nothing but numbers and column names as JSON strings.
    // oxlint-disable-next-line no-new-func, typescript/no-implied-eval
    const make = new Function(...parameters, `return (vecs, row) => ({ ${fields.join(', ')} })`) as (...all: CellReader[]) => RowReader
    return make(...readers)
  } catch (cause) {
    if (cause instanceof EvalError || (cause instanceof Error && cause.name === 'EvalError')) return undefined
    throw cause
  }
}

/** The same, property by property. */
export function plainRowReader(names: readonly string[], readers: readonly CellReader[]): RowReader {
  return (vecs, row) => {
    const out: Record<string, unknown> = {}
    for (let i = 0; i < names.length; i++) out[names[i]!] = readers[i]!(vecs[i]!, row)
    return out
  }
}

/** Reads a value that is not null. `name`: for messages. */
function valueReader(type: ColumnType, spec: Pick<ColumnSpec, 'as' | 'children'> | undefined, name: string): CellReader {
  switch (type.kind) {
    case 'bool':
      return (vec, row) => ((vec.values[row >> 3]! >> (row & 7)) & 1) === 1
    case 'int':
      return type.bits === 64 ? bigReader(type.signed, spec?.as === 'number', name) : smallReader(type.bits, type.signed)
    case 'float':
      return floatReader(type.bits)
    case 'utf8':
      return type.json ? jsonReader() : textReader()
    case 'binary':
      return binaryAt
    case 'fixedSizeBinary': {
      const { bytes } = type
      if (type.uuid) return (vec, row) => uuidText(vec.values, row * 16)
      return (vec, row) => vec.values.subarray(row * bytes, row * bytes + bytes)
    }
    case 'timestamp':
      if (spec?.as === 'number') return bigReader(true, true, name)
      if (spec?.as === 'bigint' || type.unit === 'us' || type.unit === 'ns') return bigReader(true, false, name)
      return dateTimeReader(type.unit === 's' ? 1000 : 1, name)
    case 'date': {
      const days = smallReader(32, true)
      if (spec?.as === 'number') return days
      if (spec?.as === 'date') return (vec, row) => dateOf((days(vec, row) as number) * DAY_MS, name)
      return (vec, row) => dateText(days(vec, row) as number)
    }
    case 'time':
      return type.unit === 's' || type.unit === 'ms' ? smallReader(32, true) : bigReader(true, false, name)
    case 'decimal': {
      const { scale } = type
      return (vec, row) => decimalText(decimalAt(vec.values, row), scale)
    }
    case 'list': {
      const item = nullable(valueReader(type.item.type, spec?.children?.[0], `${name}[]`))
      return (vec, row) => itemsOf(item, vec.children[0]!, vec.offsets![row]!, vec.offsets![row + 1]!)
    }
    case 'fixedSizeList': {
      const { size } = type
      if (type.vector) return (vec, row) => vectorAt(vec.children[0]!, row, size)
      const item = nullable(valueReader(type.item.type, spec?.children?.[0], `${name}[]`))
      return (vec, row) => itemsOf(item, vec.children[0]!, row * size, row * size + size)
    }
    case 'struct': {
      const names = type.fields.map((field) => field.name)
      const fields = type.fields.map((field, i) => nullable(valueReader(field.type, spec?.children?.[i], `${name}.${field.name}`)))
      const read = generatedRowReader(names, fields) ?? plainRowReader(names, fields)
      return (vec, row) => read(vec.children, row)
    }
  }
}

function nullable(read: CellReader): CellReader {
  return (vec, row) => (vec.validity !== undefined && ((vec.validity[row >> 3]! >> (row & 7)) & 1) === 0 ? null : read(vec, row))
}

const DAY_MS = 86_400_000

function smallReader(bits: 8 | 16 | 32, signed: boolean): CellReader {
  if (bits === 8) return signed ? (vec, row) => (vec.values[row]! << 24) >> 24 : (vec, row) => vec.values[row]
  if (bits === 16) {
    return signed
      ? (vec, row) => ((vec.values[2 * row]! | (vec.values[2 * row + 1]! << 8)) << 16) >> 16
      : (vec, row) => vec.values[2 * row]! | (vec.values[2 * row + 1]! << 8)
  }
  return signed ? (vec, row) => wordAt(vec.values, 4 * row) : (vec, row) => wordAt(vec.values, 4 * row) >>> 0
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}

/** 64-bit integers as bigint, or as number where that is exact. */
function bigReader(signed: boolean, asNumber: boolean, name: string): CellReader {
  if (asNumber) {
    return (vec, row) => {
      const low = wordAt(vec.values, 8 * row) >>> 0
      const high = wordAt(vec.values, 8 * row + 4)
      const value = (signed ? high : high >>> 0) * 0x1_0000_0000 + low
      if (!Number.isSafeInteger(value)) throw unsafe(vec, row, signed, name)
      return value
    }
  }
  let last: Vec | undefined
  let view: BigInt64Array | BigUint64Array | undefined
  return (vec, row) => {
    if (vec === last) {
      view ??= viewOf(vec, signed)
      return view[row]
    }
    // The first read of a Vec makes no view of it: point reads go from Vec to Vec.
    last = vec
    view = undefined
    return bigAt(vec.values, 8 * row, signed)
  }
}

function viewOf(vec: Vec, signed: boolean): BigInt64Array | BigUint64Array {
  const { buffer, byteOffset } = vec.values
  return signed ? new BigInt64Array(buffer, byteOffset, vec.length) : new BigUint64Array(buffer, byteOffset, vec.length)
}

const scratch = new Int32Array(2)
const scratchSigned = new BigInt64Array(scratch.buffer)
const scratchUnsigned = new BigUint64Array(scratch.buffer)
const scratchFloat64 = new Float64Array(scratch.buffer)
const scratchFloat32 = new Float32Array(scratch.buffer)

function bigAt(bytes: Uint8Array, at: number, signed: boolean): bigint {
  scratch[0] = wordAt(bytes, at)
  scratch[1] = wordAt(bytes, at + 4)
  return signed ? scratchSigned[0]! : scratchUnsigned[0]!
}

function unsafe(vec: Vec, row: number, signed: boolean, name: string): RangeError {
  return new RangeError(`${name}: ${bigAt(vec.values, 8 * row, signed)} is not a safe integer; read the column as bigint`)
}

function floatReader(bits: 32 | 64): CellReader {
  if (bits === 32) {
    return (vec, row) => {
      scratch[0] = wordAt(vec.values, 4 * row)
      return scratchFloat32[0]
    }
  }
  return (vec, row) => {
    scratch[0] = wordAt(vec.values, 8 * row)
    scratch[1] = wordAt(vec.values, 8 * row + 4)
    return scratchFloat64[0]
  }
}

function dateTimeReader(msPerUnit: number, name: string): CellReader {
  return (vec, row) => dateOf((wordAt(vec.values, 8 * row + 4) * 0x1_0000_0000 + (wordAt(vec.values, 8 * row) >>> 0)) * msPerUnit, name)
}

function dateOf(ms: number, name: string): Date {
  const date = new Date(ms)
  if (Number.isNaN(date.getTime())) throw new RangeError(`${name}: ${ms} ms is outside what a Date holds; read the column as number or bigint`)
  return date
}

function decimalAt(bytes: Uint8Array, row: number): bigint {
  return (bigAt(bytes, 16 * row + 8, true) << 64n) | bigAt(bytes, 16 * row, false)
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
/** Up to this many bytes a loop over ASCII beats the decoder. */
const LOOP_BYTES_MAX = 24

/** UTF-8 bytes as a string. */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= LOOP_BYTES_MAX) {
    let text = ''
    let at = start
    for (; at < end; at++) {
      const byte = bytes[at]!
      if (byte > 0x7f) break
      text += ASCII[byte]!
    }
    if (at === end) return text
  }
  return decoder.decode(bytes.subarray(start, end))
}

const ASCII: readonly string[] = Array.from({ length: 128 }, (_, i) => String.fromCharCode(i))

/** Decoded strings by dictionary: every batch of a fragment may share one. */
const decoded = new WeakMap<Vec, (string | undefined)[]>()

function textReader(): (vec: Vec, row: number) => string {
  let last: Vec | undefined
  let texts: (string | undefined)[] = []
  return (vec, row) => {
    if (vec.layout.kind !== 'dict') return textOf(vec.values, vec.offsets![row]!, vec.offsets![row + 1]!)
    const dictionary = vec.dictionary!
    if (dictionary !== last) {
      texts = textsOf(dictionary)
      last = dictionary
    }
    const code = codeAt(vec.values, vec.layout.width, row)
    return (texts[code] ??= textOf(dictionary.values, dictionary.offsets![code]!, dictionary.offsets![code + 1]!))
  }
}

function textsOf(dictionary: Vec): (string | undefined)[] {
  let texts = decoded.get(dictionary)
  if (texts === undefined) {
    texts = new Array<string | undefined>(dictionary.length)
    decoded.set(dictionary, texts)
  }
  return texts
}

function codeAt(codes: Uint8Array, width: 1 | 2 | 4, row: number): number {
  if (width === 1) return codes[row]!
  if (width === 2) return codes[2 * row]! | (codes[2 * row + 1]! << 8)
  return wordAt(codes, 4 * row) >>> 0
}

/** Parsed anew for every row: the values are the caller's to change. */
function jsonReader(): CellReader {
  const text = textReader()
  return (vec, row) => JSON.parse(text(vec, row)) as unknown
}

function binaryAt(vec: Vec, row: number): Uint8Array {
  if (vec.layout.kind === 'dict') {
    const dictionary = vec.dictionary!
    const code = codeAt(vec.values, vec.layout.width, row)
    return dictionary.values.subarray(dictionary.offsets![code]!, dictionary.offsets![code + 1]!)
  }
  return vec.values.subarray(vec.offsets![row]!, vec.offsets![row + 1]!)
}

function itemsOf(item: CellReader, child: Vec, start: number, end: number): unknown[] {
  const out: unknown[] = []
  for (let i = start; i < end; i++) out.push(item(child, i))
  return out
}

/** A copy: a view of one row would keep the whole batch alive, and callers normalise vectors in place. */
function vectorAt(child: Vec, row: number, size: number): Float32Array {
  const start = child.values.byteOffset + row * size * 4
  return new Float32Array(child.values.buffer.slice(start, start + size * 4))
}
