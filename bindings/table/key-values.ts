// table/key-values.ts: canonical key bytes: two keys are equal exactly when their bytes are (memory layer, key indexes, filters, duplicate checks).
//
//   integers, timestamps, dates, times: 8 bytes little-endian, sign-extended (unsigned: zero-extended) · bool: 1 byte · floats: float64, -0 as +0, one NaN
//   decimal: 16 bytes · fixedSizeBinary, uuid: their bytes · utf8, binary: their bytes
//   several columns: one after another, where utf8 and binary parts are preceded by their length as u32
//
// Invariant: the same value gives the same bytes from a Vec, a dictionary and a JavaScript value.
import { assert } from '../assert.ts'
import { NullKeyError, SchemaMismatchError } from '../errors.ts'
import { valueKindOf } from '../format/index.ts'
import type { ValueKind, Vec } from '../kernels/index.ts'
import { type ByteSink, byteSink, reserve, sinkBytes } from './byte-sink.ts'
import { cellsToVec } from './cell-vecs.ts'
import { type Cell, CellFault, cellOf, quote } from './cells.ts'
import { didYouMean } from './names.ts'
import { showValue } from './physical.ts'
import { type CellReader, cellReaderOf } from './rows-out.ts'
import type { TableView, ViewColumn } from './view.ts'

/** The value kinds of the view's key, in key order. */
export function keyKinds(view: TableView): readonly ValueKind[] {
  return view.key.map((column) => {
    const kind = valueKindOf(column.column.type)
    assert(kind !== undefined, 'a key column compares', column.name)
    return kind
  })
}

/** Bytes of one part of a key; undefined = varying. */
export function keyPartBytes(column: ViewColumn): number | undefined {
  const { type } = column.column
  switch (type.kind) {
    case 'bool':
      return 1
    case 'utf8':
    case 'binary':
      return undefined
    case 'fixedSizeBinary':
      return type.bytes
    case 'decimal':
      return 16
    default:
      return 8
  }
}

/** Bytes of every key of the view, or 0 when they vary. */
export function keyStride(view: TableView): number {
  let bytes = 0
  for (const column of view.key) {
    const part = keyPartBytes(column)
    if (part === undefined) return 0
    bytes += part
  }
  return bytes
}

/** Append the key of one row. `vecs`: the key columns in key order, without nulls. */
export function keyBytesFromVecs(vecs: readonly Vec[], kinds: readonly ValueKind[], row: number, sink: ByteSink): void {
  const tuple = vecs.length > 1
  for (let k = 0; k < vecs.length; k++) putPart(vecs[k]!, kinds[k]!, row, tuple, sink)
}

/** The keys of rows [0, count) as one column of bytes (var). */
export function keyBytesColumn(vecs: readonly Vec[], kinds: readonly ValueKind[], count: number): Vec {
  const sink = byteSink(Math.max(64, count * 8 * vecs.length))
  const offsets = new Int32Array(count + 1)
  for (let row = 0; row < count; row++) {
    keyBytesFromVecs(vecs, kinds, row, sink)
    offsets[row + 1] = sink.at
  }
  return {
    layout: { kind: 'var' },
    length: count,
    nullCount: 0,
    validity: undefined,
    values: sink.bytes.subarray(0, sink.at),
    offsets,
    children: [],
    dictionary: undefined,
  }
}

function putPart(vec: Vec, kind: ValueKind, row: number, tuple: boolean, sink: ByteSink): void {
  const { layout } = vec
  switch (layout.kind) {
    case 'fixed':
      if (kind === 'bytes' || kind === 'i128') putRun(vec.values, row * layout.width, layout.width, false, sink)
      else putNumber(vec.values, row * layout.width, kind, sink)
      return
    case 'bool':
      reserve(sink, 1)
      sink.bytes[sink.at++] = (vec.values[row >> 3]! >> (row & 7)) & 1
      return
    case 'var':
      putRun(vec.values, vec.offsets![row]!, vec.offsets![row + 1]! - vec.offsets![row]!, tuple, sink)
      return
    case 'dict': {
      const dictionary = vec.dictionary!
      const code = codeAt(vec.values, layout.width, row)
      const start = dictionary.offsets![code]!
      putRun(dictionary.values, start, dictionary.offsets![code + 1]! - start, tuple, sink)
      return
    }
    default:
      assert(false, 'a key column is fixed, bool, var or dict', layout.kind)
  }
}

function codeAt(codes: Uint8Array, width: 1 | 2 | 4, row: number): number {
  if (width === 1) return codes[row]!
  if (width === 2) return codes[2 * row]! | (codes[2 * row + 1]! << 8)
  return (codes[4 * row]! | (codes[4 * row + 1]! << 8) | (codes[4 * row + 2]! << 16) | (codes[4 * row + 3]! << 24)) >>> 0
}

function putRun(from: Uint8Array, start: number, length: number, prefixed: boolean, sink: ByteSink): void {
  reserve(sink, length + 4)
  if (prefixed) {
    sink.view.setUint32(sink.at, length, true)
    sink.at += 4
  }
  const { bytes } = sink
  if (length <= 32) for (let i = 0; i < length; i++) bytes[sink.at + i] = from[start + i]!
  else bytes.set(from.subarray(start, start + length), sink.at)
  sink.at += length
}

const word = new DataView(new ArrayBuffer(8))

/** Eight canonical bytes of the number of `kind` at `from[at]`, which need not be aligned. */
export function putNumber(from: Uint8Array, at: number, kind: ValueKind, sink: ByteSink): void {
  reserve(sink, 8)
  const { bytes, view } = sink
  const to = sink.at
  sink.at = to + 8
  switch (kind) {
    case 'i64':
    case 'u64':
      for (let i = 0; i < 8; i++) bytes[to + i] = from[at + i]!
      return
    case 'i32':
    case 'u32': {
      const low = from[at]! | (from[at + 1]! << 8) | (from[at + 2]! << 16) | (from[at + 3]! << 24)
      view.setInt32(to, low, true)
      view.setInt32(to + 4, kind === 'i32' ? low >> 31 : 0, true)
      return
    }
    case 'i16':
    case 'u16': {
      const low = from[at]! | (from[at + 1]! << 8)
      const value = kind === 'i16' ? (low << 16) >> 16 : low
      view.setInt32(to, value, true)
      view.setInt32(to + 4, value >> 31, true)
      return
    }
    case 'i8':
    case 'u8': {
      const value = kind === 'i8' ? (from[at]! << 24) >> 24 : from[at]!
      view.setInt32(to, value, true)
      view.setInt32(to + 4, value >> 31, true)
      return
    }
    default: {
      const width = kind === 'f32' ? 4 : 8
      for (let i = 0; i < width; i++) word.setUint8(i, from[at + i]!)
      const value = width === 4 ? word.getFloat32(0, true) : word.getFloat64(0, true)
      // Adding +0 turns -0 into +0; a NaN may carry any payload, so its bytes are written out.
      if (Number.isNaN(value)) {
        view.setInt32(to, 0, true)
        view.setInt32(to + 4, 0x7ff8_0000, true)
      } else view.setFloat64(to, value + 0, true)
    }
  }
}

interface KeyPart {
  readonly column: ViewColumn
  readonly cell: Cell
  readonly kind: ValueKind
  readonly read: CellReader
}

const parts = new WeakMap<TableView, readonly KeyPart[]>()

function keyParts(view: TableView): readonly KeyPart[] {
  let made = parts.get(view)
  if (made === undefined) {
    const kinds = keyKinds(view)
    made = view.key.map((column, i) => ({
      column,
      cell: { ...cellOf(column.column, column.spec, true), fallback: undefined },
      kind: kinds[i]!,
      read: cellReaderOf(column),
    }))
    parts.set(view, made)
  }
  return made
}

/**
 * The canonical bytes of a key as callers give it: `42n`, or `{ flight: 7n, row: 3 }`.
 *
 * @throws SchemaMismatchError: wrong type, a part missing, a name that is no key column; NullKeyError
 */
export function keyBytesFromValue(view: TableView, key: unknown): Uint8Array<ArrayBuffer> {
  const sink = byteSink(32)
  putKeyValue(view, key, sink)
  return sinkBytes(sink)
}

/** As keyBytesFromValue, appended to a sink. */
export function putKeyValue(view: TableView, key: unknown, sink: ByteSink): void {
  const all = keyParts(view)
  const only = all.length === 1 ? all[0]! : undefined
  if (typeof key !== 'object' || key === null || key instanceof Date || ArrayBuffer.isView(key)) {
    if (only === undefined) {
      const names = view.key.map((column) => column.name).join(', ')
      throw mismatch(view, undefined, `the key is { ${names} }, got ${showValue(key)}`)
    }
    putOne(view, only, key, false, sink)
    return
  }
  for (const name of Object.keys(key)) {
    if (!all.some((part) => part.column.name === name)) {
      const near = didYouMean(
        name,
        all.map((part) => part.column.name),
      )
      throw mismatch(view, undefined, `${quote(name)} is not a column of the key${near}`)
    }
  }
  for (const part of all) {
    const value = Object.hasOwn(key, part.column.name) ? (key as Record<string, unknown>)[part.column.name] : undefined
    putOne(view, part, value, all.length > 1, sink)
  }
}

function putOne(view: TableView, part: KeyPart, value: unknown, tuple: boolean, sink: ByteSink): void {
  if (part.kind === 'i64' && typeof value === 'bigint' && part.column.column.type.kind === 'int' && BigInt.asIntN(64, value) === value) {
    reserve(sink, 8)
    sink.view.setBigInt64(sink.at, value, true)
    sink.at += 8
    return
  }
  if (value === undefined) throw mismatch(view, part.column.name, 'missing in the key')
  try {
    putPart(cellsToVec(part.cell, [value], 1), part.kind, 0, tuple, sink)
  } catch (fault) {
    if (!(fault instanceof CellFault)) throw fault
    const table = view.schema.name
    const column = part.column.name
    if (fault.nullKey) throw new NullKeyError(`${table}.${column}: a key cannot be null`, { details: { table, column, row: 0 } })
    throw mismatch(view, column, fault.message)
  }
}

function mismatch(view: TableView, column: string | undefined, reason: string): SchemaMismatchError {
  const table = view.schema.name
  return new SchemaMismatchError(`${table}${column === undefined ? ' key' : `.${column}`}: ${reason}`, { details: { table, column } })
}

/** The key of one row as an object, as the change feed and errors show it. `vecs`: the key columns in key order. */
export function keyObjectFromVecs(view: TableView, vecs: readonly Vec[], row: number): Record<string, unknown> {
  return Object.fromEntries(keyParts(view).map((part, k) => [part.column.name, part.read(vecs[k]!, row)]))
}

/** `{ id: 42n }`: a key object as messages show it. */
export function formatKey(key: Readonly<Record<string, unknown>>): string {
  const entries = Object.entries(key).map(([name, value]) => `${/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name)}: ${formatValue(value)}`)
  return `{ ${entries.join(', ')} }`
}

function formatValue(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'string') return quote(value)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid Date' : value.toISOString()
  if (value instanceof Uint8Array)
    return `0x${Array.from(value.subarray(0, 32), (byte) => byte.toString(16).padStart(2, '0')).join('')}${value.length > 32 ? '…' : ''}`
  return String(value)
}
