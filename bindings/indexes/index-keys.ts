// indexes/index-keys.ts: tuples of column values as bytes whose unsigned order is the order of the tuples (docs/format.md section "Sorted index").
//
//   part = u8 1 value · 2 NaN · 3 null (so numbers < NaN < null), then for a value:
//   integers, dates, times, timestamps: 8 bytes big-endian, signed ones with the top bit flipped · bool: 1 byte · decimals: 16 bytes, top bit flipped
//   floats: the bits of the float64 big-endian, all flipped when negative, else the top one; -0 is +0 · bytes: each 0 as 0 255, then 0 0
//
// The escapes are those of FoundationDB's tuple layer. Strings are cut to PART_BYTES_MAX bytes: cut values keep their order, but share a key with others that
// begin alike. Invariant: a < b as tuples gives key(a) <= key(b), and < unless a value was cut; no part's bytes begin another's of the same type.
import { assert } from '../assert.ts'
import { type ColumnType, valueKindOf } from '../format/index.ts'
import type { ValueKind, Vec } from '../kernels/index.ts'

/** Bytes of a string that count for its place. */
export const PART_BYTES_MAX = 128

const VALUE = 1
const NAN = 2
const NULL = 3
/** A bytes part at its longest: every byte escaped. */
const KEY_PART_BYTES_MAX: number = 2 * PART_BYTES_MAX + 3

/** Key codes whose values are not 8 bytes long. */
const BOOL = 4
const DECIMAL = 5
const BYTES = 6

const UNITS = ['s', 'ms', 'us', 'ns'] as const

/** How values of a type are encoded, as the file states it: an index is of use only while its columns still are. */
export function keyCode(type: ColumnType): number {
  switch (type.kind) {
    case 'int':
      return type.signed ? 1 : 2
    case 'float':
      return 3
    case 'bool':
      return BOOL
    case 'decimal':
      return DECIMAL | (type.scale << 8)
    case 'utf8':
    case 'binary':
    case 'fixedSizeBinary':
      return BYTES
    case 'date':
      return 7
    case 'time':
      return 8 | (UNITS.indexOf(type.unit) << 8)
    case 'timestamp':
      return 9 | (UNITS.indexOf(type.unit) << 8)
    default:
      assert(false, 'a column of an index is of a type that compares', type.kind)
  }
}

/** The bytes of a key's first columns. @param codes  of all columns, keyCode() */
export function leadingParts(key: Uint8Array, codes: readonly number[], columns: number): Uint8Array {
  let at = 0
  for (let i = 0; i < columns; i++) {
    if (key[at++] !== VALUE) continue
    const family = codes[i]! & 255
    if (family !== BYTES) at += family === BOOL ? 1 : family === DECIMAL ? 16 : 8
    else {
      while (key[at] !== 0 || key[at + 1] !== 0) at += key[at] === 0 ? 2 : 1
      at += 2
    }
  }
  return key.subarray(0, at)
}

/** Bytes that a key of so many columns takes at most. */
export function keyBytesMax(columns: number): number {
  return columns * KEY_PART_BYTES_MAX
}

/** Writes the part of one row at `at`; returns where it ends. */
export type PartWriter = (row: number, out: Uint8Array, at: number) => number

/** The parts of a column, row by row. */
export function partWriter(vec: Vec, type: ColumnType): PartWriter {
  const kind = valueKindOf(type)
  assert(kind !== undefined, 'a column of an index is of a type that compares', type.kind)
  const write = valueWriter(vec, kind)
  const { validity } = vec
  if (validity === undefined) return write
  return (row, out, at) => {
    if (((validity[row >> 3]! >> (row & 7)) & 1) !== 0) return write(row, out, at)
    out[at] = NULL
    return at + 1
  }
}

function valueWriter(vec: Vec, kind: ValueKind): PartWriter {
  const { values, layout, length } = vec
  const { buffer, byteOffset } = values
  switch (kind) {
    case 'bool':
      return (row, out, at) => {
        out[at] = VALUE
        out[at + 1] = (values[row >> 3]! >> (row & 7)) & 1
        return at + 2
      }
    case 'f32':
    case 'f64': {
      const cells = kind === 'f32' ? new Float32Array(buffer, byteOffset, length) : new Float64Array(buffer, byteOffset, length)
      return (row, out, at) => putFloat(cells[row]!, out, at)
    }
    case 'bytes':
      return layout.kind === 'fixed' ? fixedWriter(values, layout.width) : layout.kind === 'dict' ? dictionaryWriter(vec, layout.width) : varWriter(vec)
    case 'i128':
    case 'i64':
    case 'u64': {
      const words = new Uint32Array(buffer, byteOffset, (layout as { width: number }).width * (length / 4))
      const count = kind === 'i128' ? 4 : 2
      const flip = kind === 'u64' ? 0 : 0x8000_0000
      return (row, out, at) => {
        out[at++] = VALUE
        for (let w = count - 1; w >= 0; w--, at += 4) putU32(w === count - 1 ? words[row * count + w]! ^ flip : words[row * count + w]!, out, at)
        return at
      }
    }
    default: {
      const isSigned = kind.startsWith('i')
      const cells = smallCells(kind, vec)
      return (row, out, at) => putInteger(cells[row]!, isSigned, out, at)
    }
  }
}

function smallCells(kind: 'i8' | 'i16' | 'i32' | 'u8' | 'u16' | 'u32', { values: { buffer, byteOffset }, length }: Vec): ArrayLike<number> {
  const Cells = { i8: Int8Array, i16: Int16Array, i32: Int32Array, u8: Uint8Array, u16: Uint16Array, u32: Uint32Array }[kind]
  return new Cells(buffer as ArrayBuffer, byteOffset, length)
}

function fixedWriter(values: Uint8Array, width: number): PartWriter {
  return (row, out, at) => putBytes(values, row * width, width, out, at)
}

function varWriter({ values, offsets }: Vec): PartWriter {
  return (row, out, at) => putBytes(values, offsets![row]!, offsets![row + 1]! - offsets![row]!, out, at)
}

function dictionaryWriter(vec: Vec, width: 1 | 2 | 4): PartWriter {
  const codes = smallCells(width === 1 ? 'u8' : width === 2 ? 'u16' : 'u32', vec)
  const write = varWriter(vec.dictionary!)
  return (row, out, at) => write(codes[row]!, out, at)
}

/** A constant of a predicate; `isExact` false: it was cut, and its key stands for other values too. Number, bigint or bytes by the type's ValueKind. */
export function putConstant(
  type: ColumnType,
  value: number | bigint | Uint8Array,
  out: Uint8Array,
  at: number,
): { readonly end: number; readonly isExact: boolean } {
  const kind = valueKindOf(type)
  if (value instanceof Uint8Array) return { end: putBytes(value, 0, value.length, out, at), isExact: value.length < PART_BYTES_MAX }
  if (kind === 'f32' || kind === 'f64') return { end: putFloat(Number(value), out, at), isExact: true }
  if (kind === 'bool') {
    out[at] = VALUE
    out[at + 1] = Number(value)
    return { end: at + 2, isExact: true }
  }
  const words = kind === 'i128' ? 4 : 2
  let rest = BigInt(value) + (kind!.startsWith('u') ? 0n : 1n << BigInt(32 * words - 1))
  out[at] = VALUE
  for (let w = words - 1; w >= 0; w--, rest >>= 32n) putU32(Number(rest & 0xffff_ffffn), out, at + 1 + 4 * w)
  return { end: at + 1 + 4 * words, isExact: true }
}

/** The bytes that keys of strings with this beginning begin with; false: the beginning was cut. */
export function putPrefix(prefix: Uint8Array, out: Uint8Array, at: number): { readonly end: number; readonly isExact: boolean } {
  const end = putBytes(prefix, 0, prefix.length, out, at)
  return { end: end - 2, isExact: prefix.length <= PART_BYTES_MAX }
}

/** Beginnings of parts: of every value but NaN and null, of what follows those, of null, of what follows it. */
export const FIRST_VALUE: number = VALUE
export const BEHIND_NUMBERS: number = NAN
export const NULL_PART: number = NULL

/** The least key that is greater than every key which begins with these bytes; undefined: there is none. */
export function behind(key: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  let length = key.length
  while (length > 0 && key[length - 1] === 255) length--
  if (length === 0) return undefined
  const next = key.slice(0, length)
  next[length - 1]!++
  return next
}

function putInteger(value: number, isSigned: boolean, out: Uint8Array, at: number): number {
  out[at] = VALUE
  putU32(isSigned ? (value < 0 ? 0x7fff_ffff : 0x8000_0000) : 0, out, at + 1)
  putU32(value, out, at + 5)
  return at + 9
}

const float = new Float64Array(1)
const floatWords = new Uint32Array(float.buffer)

function putFloat(value: number, out: Uint8Array, at: number): number {
  if (Number.isNaN(value)) {
    out[at] = NAN
    return at + 1
  }
  // -0 + 0 is 0.
  float[0] = value + 0
  const [low, high] = floatWords as unknown as [number, number]
  const isNegative = high >= 0x8000_0000
  out[at] = VALUE
  putU32(isNegative ? ~high : high ^ 0x8000_0000, out, at + 1)
  putU32(isNegative ? ~low : low, out, at + 5)
  return at + 9
}

function putU32(word: number, out: Uint8Array, at: number): void {
  out[at] = word >>> 24
  out[at + 1] = word >>> 16
  out[at + 2] = word >>> 8
  out[at + 3] = word
}

function putBytes(source: Uint8Array, start: number, length: number, out: Uint8Array, at: number): number {
  out[at++] = VALUE
  const end = start + Math.min(length, PART_BYTES_MAX)
  for (let i = start; i < end; i++) {
    const byte = source[i]!
    out[at++] = byte
    if (byte === 0) out[at++] = 255
  }
  out[at] = 0
  out[at + 1] = 0
  return at + 2
}
