// table/vec-views.ts: typed views of a Vec's buffers, and small Vecs built from raw values. Nothing here copies a column.
//
// Invariant: fixed and dict values are aligned to 8 bytes in their ArrayBuffer (kernels/vec.ts), so a view of any element type is legal.

import type { ValueKind, Vec } from '../kernels/index.ts'

export type NumberArray = Int8Array | Int16Array | Int32Array | Uint8Array | Uint16Array | Uint32Array | Float32Array | Float64Array

/** Whether row i holds a value. */
export function isValid(vec: Vec, i: number): boolean {
  return vec.validity === undefined || ((vec.validity[i >> 3]! >> (i & 7)) & 1) === 1
}

/** The values of a fixed Vec of up to 32 bits or a float, as numbers. */
export function numbersOf(vec: Vec, kind: ValueKind): NumberArray {
  const { buffer, byteOffset } = vec.values
  switch (kind) {
    case 'i8':
      return new Int8Array(buffer, byteOffset, vec.length)
    case 'i16':
      return new Int16Array(buffer, byteOffset, vec.length)
    case 'i32':
      return new Int32Array(buffer, byteOffset, vec.length)
    case 'u8':
      return new Uint8Array(buffer, byteOffset, vec.length)
    case 'u16':
      return new Uint16Array(buffer, byteOffset, vec.length)
    case 'u32':
      return new Uint32Array(buffer, byteOffset, vec.length)
    case 'f32':
      return new Float32Array(buffer, byteOffset, vec.length)
    case 'f64':
      return new Float64Array(buffer, byteOffset, vec.length)
    default:
      throw new TypeError(`no number view of ${kind}`)
  }
}

/** The codes of a dict Vec. */
export function codesOf(vec: Vec): Uint8Array | Uint16Array | Uint32Array {
  const { buffer, byteOffset } = vec.values
  const width = vec.layout.kind === 'dict' ? vec.layout.width : 4
  if (width === 1) return new Uint8Array(buffer, byteOffset, vec.length)
  return width === 2 ? new Uint16Array(buffer, byteOffset, vec.length) : new Uint32Array(buffer, byteOffset, vec.length)
}

/** A fixed Vec over `values`; `validity` undefined = every row valid. */
export function fixedVec(width: number, length: number, values: ArrayBufferView, validity?: { bits: Uint8Array; nullCount: number }): Vec {
  return {
    layout: { kind: 'fixed', width },
    length,
    nullCount: validity?.nullCount ?? 0,
    validity: validity !== undefined && validity.nullCount > 0 ? validity.bits : undefined,
    values: new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength),
    offsets: undefined,
    children: [],
    dictionary: undefined,
  }
}

/** Unsigned byte order of two runs of bytes: negative, 0 or positive. */
export function compareBytes(a: Uint8Array, aStart: number, aEnd: number, b: Uint8Array, bStart: number, bEnd: number): number {
  const n = Math.min(aEnd - aStart, bEnd - bStart)
  for (let i = 0; i < n; i++) {
    const difference = a[aStart + i]! - b[bStart + i]!
    if (difference !== 0) return difference
  }
  return aEnd - aStart - (bEnd - bStart)
}

/** Bytes that the buffers of a Vec hold for its rows; a shared dictionary counts once per Vec. */
export function bytesOfVec(vec: Vec): number {
  let bytes = vec.validity === undefined ? 0 : (vec.length + 7) >> 3
  switch (vec.layout.kind) {
    case 'fixed':
      bytes += vec.length * vec.layout.width
      break
    case 'bool':
      bytes += (vec.length + 7) >> 3
      break
    case 'dict':
      bytes += vec.length * vec.layout.width
      break
    case 'var':
      bytes += 4 * (vec.length + 1) + (vec.offsets![vec.length]! - vec.offsets![0]!)
      break
    case 'list':
      bytes += 4 * (vec.length + 1)
      break
    default:
      break
  }
  for (const child of vec.children) bytes += bytesOfVec(child)
  return vec.dictionary === undefined ? bytes : bytes + bytesOfVec(vec.dictionary)
}

/** A fixed Vec of one row. */
export function vecOfValue(kind: ValueKind, value: number | bigint): Vec {
  const view = new DataView(new ArrayBuffer(16))
  const width = kind === 'i128' ? 16 : Number(kind.slice(1)) / 8
  if (kind === 'i128') {
    view.setBigInt64(0, BigInt.asIntN(64, BigInt(value)), true)
    view.setBigInt64(8, BigInt(value) >> 64n, true)
  } else if (kind === 'i64' || kind === 'u64') {
    view.setBigInt64(0, BigInt.asIntN(64, BigInt(value)), true)
  }
  const vec = fixedVec(width, 1, view)
  if (width <= 4 || kind === 'f64') numbersOf(vec, kind)[0] = Number(value)
  return vec
}
