// oracles/key-bytes.ts: canonical bytes of composite keys, byte by byte in plain TypeScript (docs/format.md section "Keys").
//
// Invariant: equal tuples have equal bytes: parts of fixed length in canonical form, parts of varying length behind their u32 length.
import type { KeyPart } from '../../../bindings/indexes/index.ts'
import type { ValueKind, Vec } from '../../../bindings/kernels/index.ts'

export class KeyBytes {
  readonly offsets: Int32Array
  readonly data: Uint8Array

  constructor(parts: readonly KeyPart[], vecs: readonly Vec[], rows: number) {
    const offsets = new Int32Array(rows + 1)
    const stride = parts.reduce((sum, part) => sum + (part.bytes === 0 ? 4 : part.bytes), 0)
    for (let row = 0; row < rows; row++) offsets[row + 1] = stride
    parts.forEach((part, i) => {
      if (part.bytes === 0) addLengths(vecs[i]!, rows, offsets)
    })
    for (let row = 0; row < rows; row++) offsets[row + 1]! += offsets[row]!
    this.offsets = offsets
    this.data = new Uint8Array(offsets[rows]!)
    const at = offsets.slice(0, rows)
    parts.forEach((part, i) => writePart(part, vecs[i]!, rows, this.data, at))
  }
}

function addLengths(vec: Vec, rows: number, ends: Int32Array): void {
  const source = vec.dictionary ?? vec
  const codes = vec.dictionary === undefined ? undefined : codesOf(vec)
  const offsets = source.offsets!
  for (let row = 0; row < rows; row++) {
    const at = codes === undefined ? row : codes[row]!
    ends[row + 1]! += offsets[at + 1]! - offsets[at]!
  }
}

/** Writes the part of every row at at[row] and moves at[row] behind it. */
function writePart(part: KeyPart, vec: Vec, rows: number, data: Uint8Array, at: Int32Array): void {
  const { kind } = part
  if (kind === 'bytes') return writeBytes(part, vec, rows, data, at)
  if (kind === 'bool') {
    for (let row = 0; row < rows; row++) data[at[row]!++] = (vec.values[row >> 3]! >> (row & 7)) & 1
    return
  }
  if (kind === 'f32' || kind === 'f64') return writeFloats(kind, vec, rows, data, at)
  const width = vec.layout.kind === 'fixed' ? vec.layout.width : part.bytes
  const signed = kind.charCodeAt(0) === 105 /* i */
  for (let row = 0; row < rows; row++) {
    const from = row * width
    const to = at[row]!
    for (let i = 0; i < width; i++) data[to + i] = vec.values[from + i]!
    const fill = signed && vec.values[from + width - 1]! >= 0x80 ? 0xff : 0
    for (let i = width; i < part.bytes; i++) data[to + i] = fill
    at[row] = to + part.bytes
  }
}

function writeBytes(part: KeyPart, vec: Vec, rows: number, data: Uint8Array, at: Int32Array): void {
  const source = vec.dictionary ?? vec
  const codes = vec.dictionary === undefined ? undefined : codesOf(vec)
  const { values } = source
  for (let row = 0; row < rows; row++) {
    const entry = codes === undefined ? row : codes[row]!
    const start = part.bytes > 0 ? entry * part.bytes : source.offsets![entry]!
    const length = part.bytes > 0 ? part.bytes : source.offsets![entry + 1]! - start
    let to = at[row]!
    if (part.bytes === 0) for (let i = 0; i < 4; i++) data[to++] = length >>> (8 * i)
    for (let i = 0; i < length; i++) data[to++] = values[start + i]!
    at[row] = to
  }
}

const word = new Float64Array(1)
const wordBytes = new Uint8Array(word.buffer)

function writeFloats(kind: ValueKind, vec: Vec, rows: number, data: Uint8Array, at: Int32Array): void {
  const { buffer, byteOffset } = vec.values
  const cells = kind === 'f32' ? new Float32Array(buffer, byteOffset, rows) : new Float64Array(buffer, byteOffset, rows)
  for (let row = 0; row < rows; row++) {
    const value = cells[row]!
    word[0] = value === 0 ? 0 : Number.isNaN(value) ? Number.NaN : value
    for (let i = 0; i < 8; i++) data[at[row]!++] = wordBytes[i]!
  }
}

function codesOf(vec: Vec): Uint8Array | Uint16Array | Uint32Array {
  const { buffer, byteOffset } = vec.values
  const width = vec.layout.kind === 'dict' ? vec.layout.width : 4
  if (width === 1) return vec.values
  return width === 2 ? new Uint16Array(buffer, byteOffset, vec.length) : new Uint32Array(buffer, byteOffset, vec.length)
}
