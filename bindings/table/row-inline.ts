// table/row-inline.ts: the hot path of small commits: 1..64 rows checked and written straight as an inline batch (docs/format.md, "Inline batch").
//
//   per column, in stored order:  u8 flag (bits 0-1: 0 no nulls, 1 bitmap follows, 2 all null; bits 2-3: log2 of the width of lengths) | [bitmap] | values
//   fixed: rows * width bytes · bool: bitmap · utf8, binary: rows lengths, then the bytes · nested columns go through a Vec
//
// Invariant: the bytes equal those of rowsToBatch + the inline kernel. On a fault both sinks are as before the call and the error is rowsToBatch's.
import { assert } from '../assert.ts'
import type { TimeUnit } from '../format/index.ts'
import { encodeInlineInto, inlineBytes } from '../kernels/index.ts'
import { type ByteSink, byteSink, putText, reserve } from './byte-sink.ts'
import { cellsToVec } from './cell-vecs.ts'
import { jsonText } from './cells-json.ts'
import {
  bigInt,
  binary,
  type Cell,
  CellFault,
  date,
  decimal,
  fixedBinary,
  float,
  loneSurrogate,
  notUuid,
  noValue,
  smallInt,
  time,
  timestamp,
  wrongType,
} from './cells.ts'
import { keyKinds, putNumber } from './key-values.ts'
import { type RowPlan, rowPlan } from './row-plan.ts'
import { explainRows } from './rows-in.ts'
import { putUuid } from './text-forms.ts'
import type { TableView } from './view.ts'

/** Most rows of one call. */
export const INLINE_ROWS_MAX = 64

const BITMAP = 1
const ALL_NULL = 2

/** How a column is written; a switch over small integers stays fast where a call through a closure per column would not. */
const OP_NESTED = 0
const OP_BOOL = 1
const OP_I8 = 2
const OP_I16 = 3
const OP_I32 = 4
const OP_U8 = 5
const OP_U16 = 6
const OP_U32 = 7
const OP_I64 = 8
const OP_U64 = 9
const OP_F32 = 10
const OP_F64 = 11
const OP_TIMESTAMP = 12
const OP_DATE = 13
const OP_TIME32 = 14
const OP_TIME64 = 15
const OP_DECIMAL = 16
const OP_FIXED = 17
const OP_UUID = 18
const OP_UTF8 = 19
const OP_BINARY = 20
const OP_JSON = 21

interface Column {
  readonly cell: Cell
  readonly op: number
  /** Bytes of a fixed value; 0 for others. */
  readonly width: number
  /** Timestamps and times; of no meaning for others. */
  readonly unit: TimeUnit
  /** Its values: the gathered column, or for a stored column that the view does not name its default over and over. */
  readonly cells: unknown[]
}

/** Where the key column's values begin in the sink, after its flag. */
interface KeyPart {
  readonly stored: number
  readonly kind: ReturnType<typeof keyKinds>[number]
  readonly op: number
  readonly width: number
}

export class InlineRowWriter {
  readonly #plan: RowPlan
  readonly #columns: readonly Column[]
  readonly #key: readonly KeyPart[]
  /** One array per view column, reused. */
  readonly #cells: unknown[][]
  /** Texts of a column with more than one row, before their lengths are known to fit. */
  readonly #texts: ByteSink = byteSink(1024)
  readonly #lengths = new Uint32Array(INLINE_ROWS_MAX)
  /** Per stored column: first byte of its values (of its lengths for utf8 and binary). */
  readonly #starts: Uint32Array
  /** Bytes of one row without its texts. */
  readonly #rowBytes: number
  /** Per stored column: bytes of one length. */
  readonly #lengthBytes: Uint8Array
  /** Ends of the keys written by the last call, in the key sink. */
  readonly keyEnds: Uint32Array = new Uint32Array(INLINE_ROWS_MAX)

  constructor(view: TableView) {
    const plan = rowPlan(view)
    this.#plan = plan
    this.#cells = view.columns.map(() => Array.from({ length: INLINE_ROWS_MAX }, () => undefined))
    this.#columns = plan.cells.map((cell, i) => ({
      cell,
      ...opOf(cell),
      unit: cell.type.kind === 'timestamp' || cell.type.kind === 'time' ? cell.type.unit : 'ms',
      cells: this.#cells[plan.sources[i]!] ?? Array.from({ length: INLINE_ROWS_MAX }, () => cell.fallback),
    }))
    const kinds = keyKinds(view)
    this.#key = view.key.map((column, i) => {
      const { op, width } = this.#columns[column.index]!
      return { stored: column.index, kind: kinds[i]!, op, width }
    })
    this.#starts = new Uint32Array(plan.cells.length)
    this.#rowBytes = this.#columns.reduce((bytes, { width }) => bytes + 2 + width, 0)
    this.#lengthBytes = new Uint8Array(plan.cells.length)
  }

  /**
   * Append the inline batch of 1..64 rows to `out` and, for a keyed table, the canonical key bytes of each row to `keys` (their ends: `keyEnds`).
   *
   * @throws SchemaMismatchError, NullKeyError as rowsToBatch; both sinks are left as they were
   */
  write(rows: readonly object[], out: ByteSink, keys?: ByteSink, firstRow = 0): void {
    const count = rows.length
    assert(count >= 1 && count <= INLINE_ROWS_MAX, 'an inline writer takes 1..64 rows', count)
    const outStart = out.at
    const keysStart = keys?.at ?? 0
    const cells = this.#cells
    try {
      const { shapes } = this.#plan
      for (let row = 0; row < count; row++) shapes.take(rows[row], cells, row)
      const columns = this.#columns
      if (count === 1) this.#writeRow(out)
      else for (let i = 0; i < columns.length; i++) this.#writeColumn(columns[i]!, i, count, out)
      if (keys !== undefined && this.#key.length > 0) this.#writeKeys(count, out, keys)
    } catch (fault) {
      out.at = outStart
      if (keys !== undefined) keys.at = keysStart
      if (fault instanceof CellFault) throw explainRows(this.#plan, rows, firstRow)
      throw fault
    } finally {
      // Nothing of the caller's is kept.
      for (let c = 0; c < cells.length; c++) {
        const column = cells[c]!
        for (let row = 0; row < count; row++) column[row] = undefined
      }
    }
  }

  /** A single row, which has no bitmaps: one loop over the columns, the usual types without a call. */
  #writeRow(out: ByteSink): void {
    const columns = this.#columns
    const starts = this.#starts
    reserve(out, this.#rowBytes)
    let { bytes, view, at } = out
    for (let i = 0; i < columns.length; i++) {
      const column = columns[i]!
      const { cell, op } = column
      let value = column.cells[0]
      if (value === undefined) value = cell.fallback
      if (value === null || value === undefined) {
        if (value === undefined || (!cell.nullable && op !== OP_JSON)) throw noValue(cell, value, 0)
        if (cell.nullable) {
          bytes[at++] = ALL_NULL
          continue
        }
      }
      if (op >= OP_UTF8 || op === OP_NESTED) {
        out.at = at
        if (op === OP_NESTED) this.#writeColumn(column, i, 1, out)
        else this.#writeOneVar(cell, op, value, i, out)
        // What came may have used up the room for the rest, or moved the bytes.
        reserve(out, this.#rowBytes)
        bytes = out.bytes
        view = out.view
        at = out.at
        continue
      }
      bytes[at++] = 0
      starts[i] = at
      switch (op) {
        case OP_I16:
          if (typeof value !== 'number' || (value << 16) >> 16 !== value) smallInt(cell, value, -32_768, 32_767, 0)
          view.setInt16(at, value as number, true)
          at += 2
          break
        case OP_I32:
          if (typeof value !== 'number' || (value | 0) !== value) smallInt(cell, value, -2_147_483_648, 2_147_483_647, 0)
          view.setInt32(at, value as number, true)
          at += 4
          break
        case OP_I64:
          putI64(view, at, bigInt(cell, value, true, 0))
          at += 8
          break
        case OP_TIMESTAMP:
          putI64(view, at, timestamp(cell, value, column.unit, 0))
          at += 8
          break
        case OP_F64:
          view.setFloat64(at, float(cell, value, false, 0), true)
          at += 8
          break
        case OP_BOOL:
          if (typeof value !== 'boolean') throw wrongType(cell, value, 0)
          bytes[at++] = value ? 1 : 0
          break
        default:
          out.at = at
          putFixed(column, value, 0, out)
          at += column.width
      }
    }
    out.at = at
  }

  /** One value: written where it goes if one byte holds its length, which is nearly always. */
  #writeOneVar(cell: Cell, op: number, value: unknown, index: number, out: ByteSink): void {
    const head = out.at
    reserve(out, 2)
    out.at = head + 2
    putVar(cell, op, value, 0, out)
    const length = out.at - head - 2
    const bytes = length < 0x100 ? 1 : length < 0x1_0000 ? 2 : 4
    if (bytes > 1) {
      reserve(out, bytes - 1)
      out.bytes.copyWithin(head + 1 + bytes, head + 2, out.at)
      out.at += bytes - 1
    }
    out.bytes[head] = (bytes >> 1) << 2
    putLength(out, head + 1, bytes, length)
    this.#starts[index] = head + 1
    this.#lengthBytes[index] = bytes
  }

  #writeColumn(column: Column, index: number, count: number, out: ByteSink): void {
    const { cell, cells, op, width } = column
    if (op === OP_NESTED) {
      const vecs = [cellsToVec(cell, cells, count)]
      reserve(out, inlineBytes(vecs, 0, count))
      out.at = encodeInlineInto(vecs, 0, count, out.bytes, out.at)
      return
    }
    let nulls = 0
    for (let row = 0; row < count; row++) {
      let value = cells[row]
      if (value === undefined) {
        value = cell.fallback
        cells[row] = value
      }
      if (value === null || value === undefined) {
        if (value === undefined || !cell.nullable) {
          if (value === null && op === OP_JSON) continue
          throw noValue(cell, value, row)
        }
        nulls++
      }
    }
    reserve(out, 2 + ((count + 7) >> 3) + count * Math.max(width, 5))
    if (nulls === count) {
      out.bytes[out.at++] = ALL_NULL
      return
    }
    if (op >= OP_UTF8) {
      this.#writeVar(column, index, count, nulls, out)
      return
    }
    out.bytes[out.at++] = nulls === 0 ? 0 : BITMAP
    if (nulls > 0) putValidity(cells, count, out)
    this.#starts[index] = out.at
    if (op === OP_BOOL) {
      putBools(cell, cells, count, out)
      return
    }
    for (let row = 0; row < count; row++) {
      const value = cells[row]
      if (value === null) {
        for (let i = 0; i < width; i++) out.bytes[out.at + i] = 0
      } else putFixed(column, value, row, out)
      out.at += width
    }
  }

  /** utf8, binary, json: lengths of the narrowest width, then the bytes. */
  #writeVar(column: Column, index: number, count: number, nulls: number, out: ByteSink): void {
    const { cell, cells, op } = column
    const texts = this.#texts
    const lengths = this.#lengths
    texts.at = 0
    let longest = 0
    for (let row = 0; row < count; row++) {
      const before = texts.at
      // null is no value here, except in a json column that is not nullable, where it is the value null.
      if (cells[row] !== null || (op === OP_JSON && !cell.nullable)) putVar(cell, op, cells[row], row, texts)
      const length = texts.at - before
      lengths[row] = length
      if (length > longest) longest = length
    }
    const bytes = longest < 0x100 ? 1 : longest < 0x1_0000 ? 2 : 4
    out.bytes[out.at++] = ((bytes >> 1) << 2) | (nulls === 0 ? 0 : BITMAP)
    if (nulls > 0) putValidity(cells, count, out)
    this.#starts[index] = out.at
    this.#lengthBytes[index] = bytes
    reserve(out, count * bytes + texts.at)
    for (let row = 0; row < count; row++, out.at += bytes) putLength(out, out.at, bytes, lengths[row]!)
    out.bytes.set(texts.bytes.subarray(0, texts.at), out.at)
    out.at += texts.at
  }

  /** Keys come from the bytes just written: they are checked already, and key columns have no bitmap. */
  #writeKeys(count: number, out: ByteSink, keys: ByteSink): void {
    const parts = this.#key
    const ends = this.keyEnds
    if (parts.length === 1 && (parts[0]!.op === OP_I64 || parts[0]!.op === OP_TIMESTAMP)) {
      const bytes = count * 8
      reserve(keys, bytes)
      const from = this.#starts[parts[0]!.stored]!
      const { view } = keys
      for (let i = 0; i < bytes; i += 4) view.setInt32(keys.at + i, out.view.getInt32(from + i, true), true)
      for (let row = 0; row < count; row++) ends[row] = keys.at += 8
      return
    }
    for (let row = 0; row < count; row++) {
      for (let k = 0; k < parts.length; k++) this.#writeKeyPart(parts[k]!, row, count, parts.length > 1, out, keys)
      ends[row] = keys.at
    }
  }

  #writeKeyPart(part: KeyPart, row: number, count: number, tuple: boolean, out: ByteSink, keys: ByteSink): void {
    const start = this.#starts[part.stored]!
    if (part.op === OP_BOOL) {
      reserve(keys, 1)
      keys.bytes[keys.at++] = (out.bytes[start + (row >> 3)]! >> (row & 7)) & 1
      return
    }
    if (part.width > 0) {
      if (part.kind === 'bytes' || part.kind === 'i128') putRun(out.bytes, start + row * part.width, part.width, keys)
      else putNumber(out.bytes, start + row * part.width, part.kind, keys)
      return
    }
    const width = this.#lengthBytes[part.stored]!
    let at = start + count * width
    for (let before = 0; before < row; before++) at += lengthAt(out.bytes, start + before * width, width)
    const length = lengthAt(out.bytes, start + row * width, width)
    reserve(keys, 4)
    if (tuple) {
      keys.view.setUint32(keys.at, length, true)
      keys.at += 4
    }
    putRun(out.bytes, at, length, keys)
  }
}

function putRun(from: Uint8Array, start: number, length: number, sink: ByteSink): void {
  reserve(sink, length)
  if (length <= 32) for (let i = 0; i < length; i++) sink.bytes[sink.at + i] = from[start + i]!
  else sink.bytes.set(from.subarray(start, start + length), sink.at)
  sink.at += length
}

function lengthAt(bytes: Uint8Array, at: number, width: number): number {
  if (width === 1) return bytes[at]!
  if (width === 2) return bytes[at]! | (bytes[at + 1]! << 8)
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

function putLength(out: ByteSink, at: number, width: number, length: number): void {
  if (width === 1) out.bytes[at] = length
  else if (width === 2) out.view.setUint16(at, length, true)
  else out.view.setUint32(at, length, true)
}

function putValidity(cells: readonly unknown[], count: number, out: ByteSink): void {
  for (let start = 0; start < count; start += 8) {
    let bits = 0
    for (let row = start; row < count && row < start + 8; row++) if (cells[row] !== null) bits |= 1 << (row & 7)
    out.bytes[out.at++] = bits
  }
}

function putBools(cell: Cell, cells: readonly unknown[], count: number, out: ByteSink): void {
  for (let start = 0; start < count; start += 8) {
    let bits = 0
    for (let row = start; row < count && row < start + 8; row++) {
      const value = cells[row]
      if (value === true) bits |= 1 << (row & 7)
      else if (value !== false && value !== null) throw wrongType(cell, value, row)
    }
    out.bytes[out.at++] = bits
  }
}

/** One value of a fixed width at the cursor, which the caller moves. */
function putFixed(column: Column, value: unknown, row: number, out: ByteSink): void {
  const { cell, op, unit } = column
  const { bytes, view, at } = out
  switch (op) {
    case OP_I16:
      if (typeof value !== 'number' || (value << 16) >> 16 !== value) smallInt(cell, value, -32_768, 32_767, row)
      view.setInt16(at, value as number, true)
      return
    case OP_I32:
      if (typeof value !== 'number' || (value | 0) !== value) smallInt(cell, value, -2_147_483_648, 2_147_483_647, row)
      view.setInt32(at, value as number, true)
      return
    case OP_I64:
      putI64(view, at, bigInt(cell, value, true, row))
      return
    case OP_TIMESTAMP:
      putI64(view, at, timestamp(cell, value, unit, row))
      return
    case OP_F64:
      view.setFloat64(at, float(cell, value, false, row), true)
      return
    case OP_F32:
      view.setFloat32(at, float(cell, value, true, row), true)
      return
    case OP_I8:
      view.setInt8(at, smallInt(cell, value, -128, 127, row))
      return
    case OP_U8:
      bytes[at] = smallInt(cell, value, 0, 255, row)
      return
    case OP_U16:
      view.setUint16(at, smallInt(cell, value, 0, 65_535, row), true)
      return
    case OP_U32:
      view.setUint32(at, smallInt(cell, value, 0, 4_294_967_295, row), true)
      return
    case OP_U64:
      putI64(view, at, bigInt(cell, value, false, row))
      return
    case OP_DATE:
      view.setInt32(at, date(cell, value, row), true)
      return
    case OP_TIME32:
    case OP_TIME64: {
      const units = time(cell, value, unit, row)
      if (op === OP_TIME32) view.setInt32(at, units, true)
      else putI64(view, at, units)
      return
    }
    case OP_DECIMAL: {
      const { precision, scale } = cell.type as { precision: number; scale: number }
      const unscaled = decimal(cell, value, precision, scale, row)
      view.setBigInt64(at, BigInt.asIntN(64, unscaled), true)
      view.setBigInt64(at + 8, unscaled >> 64n, true)
      return
    }
    case OP_UUID:
      if (typeof value !== 'string' || !putUuid(bytes, at, value)) throw notUuid(cell, value, row)
      return
    default:
      bytes.set(fixedBinary(cell, value, (cell.type as { bytes: number }).bytes, row), at)
  }
}

function putI64(view: DataView, at: number, value: number | bigint): void {
  if (typeof value === 'bigint') view.setBigInt64(at, value, true)
  else {
    view.setInt32(at, value | 0, true)
    view.setInt32(at + 4, Math.floor(value / 0x1_0000_0000), true)
  }
}

/** One utf8, json or binary value. */
function putVar(cell: Cell, op: number, value: unknown, row: number, sink: ByteSink): void {
  if (op === OP_UTF8) {
    if (typeof value !== 'string') throw wrongType(cell, value, row)
    if (!putText(sink, value)) throw loneSurrogate(value, row)
  } else if (op === OP_JSON) putText(sink, jsonText(value, row))
  else {
    const run = binary(cell, value, row)
    putRun(run, 0, run.length, sink)
  }
}

function opOf(cell: Cell): { op: number; width: number } {
  const { type } = cell
  switch (type.kind) {
    case 'bool':
      return { op: OP_BOOL, width: 0 }
    case 'int': {
      const small = type.signed ? [OP_I8, OP_I16, OP_I32, OP_I64] : [OP_U8, OP_U16, OP_U32, OP_U64]
      return { op: small[Math.log2(type.bits) - 3]!, width: type.bits / 8 }
    }
    case 'float':
      return { op: type.bits === 32 ? OP_F32 : OP_F64, width: type.bits / 8 }
    case 'utf8':
      return { op: type.json ? OP_JSON : OP_UTF8, width: 0 }
    case 'binary':
      return { op: OP_BINARY, width: 0 }
    case 'fixedSizeBinary':
      return { op: type.uuid ? OP_UUID : OP_FIXED, width: type.bytes }
    case 'timestamp':
      return { op: OP_TIMESTAMP, width: 8 }
    case 'date':
      return { op: OP_DATE, width: 4 }
    case 'time':
      return type.unit === 's' || type.unit === 'ms' ? { op: OP_TIME32, width: 4 } : { op: OP_TIME64, width: 8 }
    case 'decimal':
      return { op: OP_DECIMAL, width: 16 }
    default:
      return { op: OP_NESTED, width: 0 }
  }
}
