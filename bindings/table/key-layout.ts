// table/key-layout.ts: canonical key bytes of stored rows (docs/format.md section "Keys"): equal keys have equal bytes, whatever their physical type.
//
// One column: integers, timestamps, dates and times as 8 bytes little-endian, sign- or zero-extended; bool one byte; floats as float64 with -0 as +0 and
// one NaN; decimals 16 bytes; utf8, binary and fixed binary as they are. A tuple: the parts in key order, parts of varying length behind their u32 length.

import { assert } from '../assert.ts'
import { layoutOf, type TableSchema, valueKindOf } from '../format/index.ts'
import type { ValueKind, Vec } from '../kernels/index.ts'
import type { KeyRun } from './memory-index.ts'

interface KeyPart {
  /** Place in the schema's columns. */
  readonly index: number
  readonly kind: ValueKind
  /** Bytes of a part that never varies; 0 = varying. */
  readonly bytes: number
}

export class KeyLayout {
  readonly parts: readonly KeyPart[]
  /** Bytes of every key, 0 = varying. */
  readonly stride: number
  private scratch: Uint8Array = new Uint8Array(64)
  private view: DataView = new DataView(this.scratch.buffer)

  private constructor(parts: readonly KeyPart[]) {
    this.parts = parts
    this.stride = parts.some((part) => part.bytes === 0) ? 0 : parts.reduce((sum, part) => sum + part.bytes, 0)
  }

  /** undefined for an unkeyed table. */
  static of(schema: TableSchema): KeyLayout | undefined {
    if (schema.key.length === 0) return undefined
    return new KeyLayout(
      schema.key.map((id) => {
        const index = schema.columns.findIndex((column) => column.id === id)
        const type = schema.columns[index]!.type
        const kind = valueKindOf(type)
        assert(kind !== undefined, 'a key column compares', type.kind)
        const layout = layoutOf(type)
        const bytes = kind === 'bytes' ? (layout.kind === 'fixed' ? layout.width : 0) : kind === 'bool' ? 1 : kind === 'i128' ? 16 : 8
        return { index, kind, bytes }
      }),
    )
  }

  /** Append the keys of rows [from, to) to `keys`. `columns`: the table's columns, or at least those of the key, at their schema places. */
  push(columns: readonly (Vec | undefined)[], from: number, to: number, keys: KeyRun): void {
    const { parts } = this
    if (parts.length === 1 && parts[0]!.bytes === 8) return this.pushWords(columns[parts[0]!.index]!, parts[0]!.kind, from, to, keys)
    for (let row = from; row < to; row++) {
      let at = 0
      for (const part of parts) at = this.write(columns[part.index]!, part, row, at)
      keys.push(this.scratch, 0, at)
    }
  }

  private pushWords(vec: Vec, kind: ValueKind, from: number, to: number, keys: KeyRun): void {
    // 64-bit integers are stored as they are.
    if (kind === 'i64' || kind === 'u64') return keys.pushMany(vec.values.subarray(from * 8, to * 8), to - from)
    for (let row = from; row < to; row++) {
      this.word(vec, kind, row, 0)
      keys.push(this.scratch, 0, 8)
    }
  }

  private write(vec: Vec, part: KeyPart, row: number, at: number): number {
    const { kind } = part
    if (kind === 'bytes') {
      let values = vec.values
      let start: number
      let end: number
      if (vec.layout.kind === 'dict') {
        const code = codeAt(vec, row)
        values = vec.dictionary!.values
        start = vec.dictionary!.offsets![code]!
        end = vec.dictionary!.offsets![code + 1]!
      } else if (vec.layout.kind === 'fixed') {
        start = row * vec.layout.width
        end = start + vec.layout.width
      } else {
        start = vec.offsets![row]!
        end = vec.offsets![row + 1]!
      }
      const length = end - start
      this.reserve(at + length + 4)
      if (this.parts.length > 1 && part.bytes === 0) {
        this.view.setUint32(at, length, true)
        at += 4
      }
      for (let i = 0; i < length; i++) this.scratch[at + i] = values[start + i]!
      return at + length
    }
    this.reserve(at + 16)
    if (kind === 'bool') {
      this.scratch[at] = (vec.values[row >> 3]! >> (row & 7)) & 1
      return at + 1
    }
    if (kind === 'i128') {
      for (let i = 0; i < 16; i++) this.scratch[at + i] = vec.values[row * 16 + i]!
      return at + 16
    }
    this.word(vec, kind, row, at)
    return at + 8
  }

  private word(vec: Vec, kind: ValueKind, row: number, at: number): void {
    const { scratch, view } = this
    const { values } = vec
    const width = vec.layout.kind === 'fixed' ? vec.layout.width : 8
    if (kind === 'f32' || kind === 'f64') {
      const source = new DataView(values.buffer, values.byteOffset + row * width, width)
      const value = kind === 'f32' ? source.getFloat32(0, true) : source.getFloat64(0, true)
      view.setFloat64(at, value === 0 ? 0 : Number.isNaN(value) ? Number.NaN : value, true)
      return
    }
    const from = row * width
    for (let i = 0; i < width; i++) scratch[at + i] = values[from + i]!
    const fill = kind.charCodeAt(0) === 105 /* i */ && scratch[at + width - 1]! >= 0x80 ? 0xff : 0
    for (let i = width; i < 8; i++) scratch[at + i] = fill
  }

  private reserve(bytes: number): void {
    if (bytes <= this.scratch.length) return
    const larger = new Uint8Array(bytes * 2)
    larger.set(this.scratch)
    this.scratch = larger
    this.view = new DataView(larger.buffer)
  }
}

function codeAt(vec: Vec, row: number): number {
  const { values } = vec
  const width = vec.layout.kind === 'dict' ? vec.layout.width : 1
  let code = 0
  for (let i = width - 1; i >= 0; i--) code = code * 256 + values[row * width + i]!
  return code
}
