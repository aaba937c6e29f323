// kernels/arrow-strings.ts: utf8 and binary of Arrow, plain, large, views and dictionaries, as var and dict Vecs; strings are never decoded.
//
// Invariant: offsets and codes that leave were held against their buffers; codes are in the narrowest width, and a dictionary has no nulls.
import { BufferFault, localOffsets, type Nulls, validityTest } from './arrow-buffers.ts'
import { ARROW, type ArrowNode } from './arrow-source.ts'
import type { Layout, Vec } from './vec.ts'

/** Data and offsets of rows of a node of byte strings, fixed-size ones too. Views of the node where it has the bytes one after the other. */
export function byteStrings(node: ArrowNode, start: number, count: number): { values: Uint8Array; offsets: Int32Array } {
  if (node.type.id === ARROW.binaryView || node.type.id === ARROW.utf8View) return fromViews(node, start, count)
  if (node.type.id === ARROW.fixedSizeBinary) {
    const { size } = node.type
    if ((start + count) * size > node.values.length) throw new BufferFault(`${node.values.length} bytes of values for ${start + count} rows of ${size}`)
    return { values: node.values.subarray(start * size, (start + count) * size), offsets: Int32Array.from({ length: count + 1 }, (_, i) => i * size) }
  }
  const { first, last, offsets } = localOffsets(node, start, count, node.values.length)
  return { values: node.values.subarray(first, last), offsets }
}

const VIEW_BYTES = 16
const INLINE_BYTES_MAX = 12

/** Views of 16 bytes: length, then the bytes themselves, or four of them, a buffer number and an offset. */
function fromViews(node: ArrowNode, start: number, count: number): { values: Uint8Array; offsets: Int32Array } {
  if ((start + count) * VIEW_BYTES > node.values.length) throw new BufferFault(`${node.values.length} bytes of views for ${start + count} rows`)
  const view = new DataView(node.values.buffer, node.values.byteOffset, node.values.byteLength)
  const valid = validityTest(node.validity === undefined ? { count: 0, validity: undefined } : { count: 1, validity: node.validity })
  const offsets = new Int32Array(count + 1)
  for (let i = 0; i < count; i++) {
    const length = valid(node.bitOffset + start + i) ? view.getInt32((start + i) * VIEW_BYTES, true) : 0
    if (length < 0 || offsets[i]! + length > 0x7fff_ffff) throw new BufferFault(`a view of ${length} bytes at row ${start + i}`)
    offsets[i + 1] = offsets[i]! + length
  }
  const values = new Uint8Array(offsets[count]!)
  for (let i = 0; i < count; i++) {
    const length = offsets[i + 1]! - offsets[i]!
    if (length === 0) continue
    const at = (start + i) * VIEW_BYTES
    if (length <= INLINE_BYTES_MAX) values.set(node.values.subarray(at + 4, at + 4 + length), offsets[i])
    else {
      const buffer = node.buffers[view.getInt32(at + 8, true)]
      const from = view.getInt32(at + 12, true)
      if (buffer === undefined || from < 0 || from + length > buffer.length) throw new BufferFault(`a view outside its buffers at row ${start + i}`)
      values.set(buffer.subarray(from, from + length), offsets[i])
    }
  }
  return { values, offsets }
}

/** Rows of a dictionary-encoded node. Strings stay a dictionary; other values are looked up. */
export function dictionaryVec(node: ArrowNode, start: number, count: number, layout: Layout, entries: Vec, nulls: Nulls): Vec {
  const codes = codesOf(node, start, count)
  if (layout.kind === 'var') return dictVec(codes, count, entries, nulls)
  if (layout.kind !== 'fixed' && layout.kind !== 'bool') throw new BufferFault(`a dictionary of ${layout.kind} values`)
  const found = lookUp(codes, count, entries, nulls)
  const values = new Uint8Array(layout.kind === 'fixed' ? count * layout.width : (count + 7) >> 3)
  for (let i = 0; i < count; i++) {
    if (((found.bits[i >> 3]! >> (i & 7)) & 1) === 0) continue
    const code = codes[i]!
    if (layout.kind === 'bool') values[i >> 3]! |= ((entries.values[code >> 3]! >> (code & 7)) & 1) << (i & 7)
    else for (let k = 0; k < layout.width; k++) values[i * layout.width + k] = entries.values[code * layout.width + k]!
  }
  return {
    layout,
    length: count,
    nullCount: found.nulls,
    validity: found.nulls === 0 ? undefined : found.bits,
    values,
    offsets: undefined,
    children: [],
    dictionary: undefined,
  }
}

type Codes = ArrayLike<number>

function codesOf(node: ArrowNode, start: number, count: number): Codes {
  const { bits, signed } = node.type
  const width = bits / 8
  const end = (start + count) * width
  if (end > node.values.length) throw new BufferFault(`${node.values.length} bytes of codes for ${start + count} rows`)
  let bytes = node.values.subarray(start * width, end)
  if (bytes.byteOffset % 8 !== 0) bytes = bytes.slice()
  const { buffer, byteOffset } = bytes
  if (bits === 8) return signed ? new Int8Array(buffer, byteOffset, count) : bytes
  if (bits === 16) return signed ? new Int16Array(buffer, byteOffset, count) : new Uint16Array(buffer, byteOffset, count)
  if (bits === 32) return signed ? new Int32Array(buffer, byteOffset, count) : new Uint32Array(buffer, byteOffset, count)
  return Float64Array.from(new BigInt64Array(buffer, byteOffset, count), Number)
}

/** Validity of rows, nulls of the dictionary included; every other code is in the dictionary. */
function lookUp(codes: Codes, count: number, entries: Vec, nulls: Nulls): { bits: Uint8Array; nulls: number } {
  const bits = new Uint8Array((count + 7) >> 3)
  const rowValid = validityTest(nulls)
  const entryValid = validityTest({ count: entries.nullCount, validity: entries.validity })
  let none = 0
  for (let i = 0; i < count; i++) {
    if (!rowValid(i)) none++
    else {
      const code = codes[i]!
      if (!(code >= 0 && code < entries.length)) throw new BufferFault(`code ${code} of row ${i} in a dictionary of ${entries.length}`)
      if (entryValid(code)) bits[i >> 3]! |= 1 << (i & 7)
      else none++
    }
  }
  return { bits, nulls: none }
}

function dictVec(codes: Codes, count: number, entries: Vec, nulls: Nulls): Vec {
  const width: 1 | 2 | 4 = entries.length <= 0x100 ? 1 : entries.length <= 0x1_0000 ? 2 : 4
  const out = width === 1 ? new Uint8Array(count) : width === 2 ? new Uint16Array(count) : new Uint32Array(count)
  const size = entries.length
  let validity = nulls.validity
  let nullCount = nulls.count
  if (nullCount === 0 && entries.nullCount === 0) {
    for (let i = 0; i < count; i++) {
      const code = codes[i]!
      if (!(code >= 0 && code < size)) throw new BufferFault(`code ${code} of row ${i} in a dictionary of ${size}`)
      out[i] = code
    }
  } else {
    const found = lookUp(codes, count, entries, nulls)
    for (let i = 0; i < count; i++) if (((found.bits[i >> 3]! >> (i & 7)) & 1) === 1) out[i] = codes[i]!
    validity = found.bits
    nullCount = found.nulls
  }
  return {
    layout: { kind: 'dict', width },
    length: count,
    nullCount,
    validity: nullCount === 0 ? undefined : validity,
    values: new Uint8Array(out.buffer),
    offsets: undefined,
    children: [],
    dictionary: withoutNulls(entries),
  }
}

const cleaned = new WeakMap<Vec, Vec>()

/** A dictionary has no nulls: rows that pointed at one are null themselves, and the entry is never asked for. */
function withoutNulls(entries: Vec): Vec {
  if (entries.nullCount === 0) return entries
  let vec = cleaned.get(entries)
  if (vec === undefined) {
    vec = { ...entries, nullCount: 0, validity: undefined }
    cleaned.set(entries, vec)
  }
  return vec
}
