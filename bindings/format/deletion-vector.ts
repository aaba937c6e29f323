// format/deletion-vector.ts: a set of row numbers as a self-checking file (`.dv`, kernels.md section 7; docs/format.md section "Row sets").
//
//   "VCOV" | u32 version 1 | u32 containers | containers | 8 B XXH3-64 of all before
//   container of 65,536 rows: u32 key | u16 kind | u16 count-1 | data: 0 array of u16 · 1 bitmap of 8192 B · 2 runs of (u16 start, u16 length-1)
//   count is the number of rows (array, bitmap: rows; runs: runs)
//
// Invariant: the smallest container is chosen, ties prefer run, array, bitmap; so equal sets give equal bytes. Containers ascend and none is empty.
import { DecodeError } from './bytes.ts'
import { hasCheck, writeCheck } from './self-check.ts'

const MAGIC = 0x564f4356
const VERSION = 1
const HEADER_BYTES = 12
const CHECK_BYTES = 8
const CONTAINER_ROWS = 65_536
const BITMAP_BYTES = CONTAINER_ROWS / 8
const ARRAY = 0
const BITMAP = 1
const RUNS = 2

/** Rows ascending, each once. */
export function encodeRowSet(rows: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const containers: Container[] = []
  let from = 0
  while (from < rows.length) {
    const key = Math.floor(rows[from]! / CONTAINER_ROWS)
    let end = from + 1
    while (end < rows.length && Math.floor(rows[end]! / CONTAINER_ROWS) === key) end++
    containers.push(planContainer(rows, from, end, key))
    from = end
  }
  const bytes = containers.reduce((sum, container) => sum + 8 + container.bytes, HEADER_BYTES + CHECK_BYTES)
  const out = new Uint8Array(bytes)
  const view = new DataView(out.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint32(4, VERSION, true)
  view.setUint32(8, containers.length, true)
  let at = HEADER_BYTES
  for (const container of containers) {
    writeContainer(view, at, rows, container)
    at += 8 + container.bytes
  }
  writeCheck(out)
  return out
}

/** The rows set in the first `length` bits of `bitmap`. */
export function encodeRowBitmap(bitmap: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  return encodeRowSet(rowsOfBitmap(bitmap, length))
}

/** Row numbers of set bits, ascending. */
export function rowsOfBitmap(bitmap: Uint8Array, length: number): Uint32Array {
  const rows: number[] = []
  for (let byte = 0; byte << 3 < length; byte++) {
    let bits = bitmap[byte]!
    while (bits !== 0) {
      const row = (byte << 3) + (31 - Math.clz32(bits & -bits))
      if (row < length) rows.push(row)
      bits &= bits - 1
    }
  }
  return Uint32Array.from(rows)
}

/** The rows, ascending. @throws DecodeError whatever is wrong with the bytes */
export function decodeRowSet(bytes: Uint8Array): Uint32Array {
  const rows: number[] = []
  walk(bytes, (row) => rows.push(row))
  return Uint32Array.from(rows)
}

/** A bitmap over `length` rows. @throws DecodeError also for a row past `length` */
export function decodeRowBitmap(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const bitmap = new Uint8Array((length + 7) >> 3)
  walk(bytes, (row) => {
    if (row >= length) throw new DecodeError(`row ${row} in a set over ${length} rows`, 0)
    bitmap[row >> 3]! |= 1 << (row & 7)
  })
  return bitmap
}

interface Container {
  readonly key: number
  readonly from: number
  readonly end: number
  readonly kind: 0 | 1 | 2
  readonly count: number
  /** Bytes of data. */
  readonly bytes: number
}

function planContainer(rows: ArrayLike<number>, from: number, end: number, key: number): Container {
  let runs = 1
  for (let i = from + 1; i < end; i++) if (rows[i]! !== rows[i - 1]! + 1) runs++
  const count = end - from
  const smallest = Math.min(4 * runs, 2 * count, BITMAP_BYTES)
  const kind = 4 * runs === smallest ? RUNS : 2 * count === smallest ? ARRAY : BITMAP
  return { key, from, end, kind, count: kind === RUNS ? runs : count, bytes: smallest }
}

function writeContainer(view: DataView, at: number, rows: ArrayLike<number>, container: Container): void {
  const { key, from, end, kind } = container
  const base = key * CONTAINER_ROWS
  view.setUint32(at, key, true)
  view.setUint16(at + 4, kind, true)
  view.setUint16(at + 6, container.count - 1, true)
  let to = at + 8
  if (kind === ARRAY) {
    for (let i = from; i < end; i++, to += 2) view.setUint16(to, rows[i]! - base, true)
  } else if (kind === BITMAP) {
    for (let i = from; i < end; i++) {
      const row = rows[i]! - base
      view.setUint8(to + (row >> 3), view.getUint8(to + (row >> 3)) | (1 << (row & 7)))
    }
  } else {
    let start = from
    for (let i = from + 1; i <= end; i++) {
      if (i < end && rows[i]! === rows[i - 1]! + 1) continue
      view.setUint16(to, rows[start]! - base, true)
      view.setUint16(to + 2, i - start - 1, true)
      to += 4
      start = i
    }
  }
}

function walk(bytes: Uint8Array, emit: (row: number) => void): void {
  if (bytes.length < HEADER_BYTES + CHECK_BYTES || !hasCheck(bytes)) throw new DecodeError('a row set whose check fails', 0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint32(0, true) !== MAGIC) throw new DecodeError('not a row set', 0)
  if (view.getUint32(4, true) !== VERSION) throw new DecodeError(`row set version ${view.getUint32(4, true)}`, 4)
  const end = bytes.length - CHECK_BYTES
  let at = HEADER_BYTES
  let previous = -1
  for (let left = view.getUint32(8, true); left > 0; left--) {
    if (end - at < 8) throw new DecodeError('a container cut short', at)
    const key = view.getUint32(at, true)
    const kind = view.getUint16(at + 4, true)
    const count = view.getUint16(at + 6, true) + 1
    const data = kind === ARRAY ? 2 * count : kind === BITMAP ? BITMAP_BYTES : kind === RUNS ? 4 * count : -1
    if (key <= previous || key >= CONTAINER_ROWS || data < 0 || data > end - at - 8) throw new DecodeError(`a container ${key} of kind ${kind}`, at)
    walkContainer(view, at + 8, kind, count, key * CONTAINER_ROWS, emit)
    previous = key
    at += 8 + data
  }
  if (at !== end) throw new DecodeError(`${end - at} bytes behind a row set`, at)
}

function walkContainer(view: DataView, at: number, kind: number, count: number, base: number, emit: (row: number) => void): void {
  if (kind === ARRAY) {
    for (let i = 0; i < count; i++) emit(base + view.getUint16(at + 2 * i, true))
  } else if (kind === BITMAP) {
    for (let row = 0; row < CONTAINER_ROWS; row++) if ((view.getUint8(at + (row >> 3)) >> (row & 7)) & 1) emit(base + row)
  } else {
    for (let i = 0; i < count; i++) {
      const start = view.getUint16(at + 4 * i, true)
      const length = view.getUint16(at + 4 * i + 2, true) + 1
      for (let row = start; row < start + length; row++) emit(base + row)
    }
  }
}
