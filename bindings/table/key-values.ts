// table/key-values.ts: canonical key bytes, of stored rows and of keys as callers give them: two keys are equal exactly when their bytes are.
//
//   integers, timestamps, dates, times: 8 bytes little-endian, sign-extended (unsigned: zero-extended) · bool: 1 byte · floats: float64, -0 as +0, one NaN (older stores may hold it; new keys may not)
//   decimal: 16 bytes · fixedSizeBinary, uuid: their bytes · utf8, binary: their bytes
//   several columns: one after another, where utf8 and binary parts are preceded by their length as u32
//
// Invariant: a value gives the same bytes from a plain column, from a dictionary, and as JavaScript has it.
import { assert } from '../assert.ts'
import { NullKeyError, SchemaMismatchError } from '../errors.ts'
import { valueKindOf } from '../format/index.ts'
import type { ValueKind, Vec } from '../kernels/index.ts'
import { type ByteSink, byteSink, reserve, sinkBytes } from './byte-sink.ts'
import { cellsToVec } from './cell-vecs.ts'
import { type Cell, CellFault, cellOf, quote } from './cells.ts'
import { didYouMean } from './names.ts'
import { showValue } from './physical.ts'
import { codesOf } from './vec-views.ts'
import type { TableView, ViewColumn } from './view.ts'

/** The value kinds of the view's key, in key order. */
export function keyKinds(view: TableView): readonly ValueKind[] {
  return view.key.map((column) => {
    const kind = valueKindOf(column.column.type)
    assert(kind !== undefined, 'a key column compares', column.name)
    return kind
  })
}

/** Append the key of one stored row. `vecs`: the key columns in key order, without nulls. */
export function keyBytesFromVecs(vecs: readonly Vec[], kinds: readonly ValueKind[], row: number, sink: ByteSink): void {
  const tuple = vecs.length > 1
  for (let k = 0; k < vecs.length; k++) putPart(vecs[k]!, kinds[k]!, row, tuple, sink)
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
      const { values, offsets } = vec.dictionary!
      const code = codesOf(vec)[row]!
      putRun(values, offsets![code]!, offsets![code + 1]! - offsets![code]!, tuple, sink)
      return
    }
    default:
      assert(false, 'a key column is fixed, bool, var or dict', layout.kind)
  }
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
  if (view.key.length === 0) throw keyless(view)
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

/** The error for a call that needs a key, on a table without one. */
export function keyless(view: TableView): SchemaMismatchError {
  const table = view.schema.name
  return new SchemaMismatchError(`${table} has no key: it takes append, deleteWhere and replace`, {
    details: { table },
    hint: 'Define the table with a key, or use append, deleteWhere and replace.',
  })
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
