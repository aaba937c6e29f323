// format/arrow-read.ts: Vecs from Arrow IPC files and streams: those varve writes, and others whose types varve has (Arrow columnar format 1.5).
//
// Invariant: every length, offset and code is checked against its buffer before a Vec leaves here, so kernels may trust it. Bytes that do not parse are
// DecodeError; types without a ColumnType UnsupportedTypeError.
import { UnsupportedTypeError } from '../errors.ts'
import type { Layout, Vec } from '../kernels/index.ts'

import { HEADER, readArrowSchema, readFooter } from './arrow-schema.ts'
import type { ArrowField, ArrowSchema } from './arrow-schema.ts'
import { codesOf, FILE_MAGIC } from './arrow-write.ts'
import { DecodeError } from './bytes.ts'
import { readFlatbuffer, structI64 } from './flatbuffer.ts'
import type { FlatReader } from './flatbuffer.ts'
import { layoutOf } from './types.ts'

/** Plain bytes of one LZ4 frame (or several); `bytes` is what the Arrow buffer states. */
export type DecompressBuffer = (frame: Uint8Array, bytes: number) => Uint8Array<ArrayBuffer>

export interface ArrowBatch {
  readonly length: number
  readonly columns: readonly Vec[]
}

export interface ArrowContent extends ArrowSchema {
  readonly batches: readonly ArrowBatch[]
}

/** A whole file or stream. */
export function readArrow(bytes: Uint8Array, decompress: DecompressBuffer): ArrowContent {
  const isFile = FILE_MAGIC.every((byte, i) => bytes[i] === byte)
  return isFile ? readFile(bytes, decompress) : readStream(bytes, decompress)
}

/** Offset and length of the footer of a file, from its last ten bytes. */
export function footerRange(bytes: Uint8Array): { start: number; end: number } {
  const end = bytes.length - 10
  const magicStands = end >= 12 && FILE_MAGIC.every((byte, i) => bytes[end + 4 + i] === byte)
  if (!magicStands) throw new DecodeError('no Arrow magic at the end', Math.max(0, end + 4))
  const length = new DataView(bytes.buffer, bytes.byteOffset + end, 4).getUint32(0, true)
  if (length > end - 8) throw new DecodeError(`a footer of ${length} bytes in a file of ${bytes.length}`, end)
  return { start: end - length, end }
}

function readFile(bytes: Uint8Array, decompress: DecompressBuffer): ArrowContent {
  const range = footerRange(bytes)
  const { schema, footer } = readFooter(bytes.slice(range.start, range.end))
  const state = new Decoder(schema, decompress)
  for (const slot of [2, 3]) {
    const blocks = footer.structs(slot, 24)
    for (let i = 0; i < blocks.count; i++) state.message(bytes, structI64(blocks.view, 24 * i))
  }
  return { ...schema, batches: state.batches }
}

function readStream(bytes: Uint8Array, decompress: DecompressBuffer): ArrowContent {
  let at = 0
  let state: Decoder | undefined
  while (at < bytes.length) {
    const message = frameAt(bytes, at)
    if (message === undefined) break
    if (message.kind === HEADER.schema) {
      if (state !== undefined) throw new DecodeError('a second schema', at)
      state = new Decoder(readArrowSchema(message.header), decompress)
      at = message.bodyStart
    } else {
      if (state === undefined) throw new DecodeError('a stream that does not start with its schema', at)
      at = state.message(bytes, at)
    }
  }
  if (state === undefined) throw new DecodeError('a stream without schema', 0)
  return { ...state.schema, batches: state.batches }
}

interface Frame {
  readonly kind: number
  readonly header: FlatReader
  readonly bodyStart: number
  readonly bodyEnd: number
}

/** The message at `at`; undefined at the end mark. */
function frameAt(bytes: Uint8Array, at: number): Frame | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (at < 0 || at + 4 > bytes.length) throw new DecodeError('a message outside the file', at)
  let start = at + 4
  let length = view.getUint32(at, true)
  if (length === 0xffff_ffff) {
    if (at + 8 > bytes.length) throw new DecodeError('a message cut short', at)
    length = view.getUint32(at + 4, true)
    start += 4
  }
  if (length === 0) return undefined
  if (length > bytes.length - start) throw new DecodeError(`a message of ${length} bytes, ${bytes.length - start} left`, at)
  const message = readFlatbuffer(bytes.slice(start, start + length))
  const header = message.table(2)
  if (header === undefined) throw new DecodeError('a message without header', at)
  const bodyStart = start + length
  const bodyBytes = message.i64(3)
  if (bodyBytes < 0 || bodyBytes > bytes.length - bodyStart) throw new DecodeError(`a body of ${bodyBytes} bytes, ${bytes.length - bodyStart} left`, at)
  return { kind: message.i8(1), header, bodyStart, bodyEnd: bodyStart + bodyBytes }
}

class Decoder {
  readonly schema: ArrowSchema
  readonly batches: ArrowBatch[] = []
  readonly #decompress: DecompressBuffer
  readonly #dictionaries = new Map<number, Vec>()

  constructor(schema: ArrowSchema, decompress: DecompressBuffer) {
    this.schema = schema
    this.#decompress = decompress
  }

  /** Decodes the message at `at`. @returns where the next one starts */
  message(bytes: Uint8Array, at: number): number {
    const frame = frameAt(bytes, at)
    if (frame === undefined) throw new DecodeError('an end mark in place of a message', at)
    const body = bytes.subarray(frame.bodyStart, frame.bodyEnd)
    if (frame.kind === HEADER.dictionaryBatch) this.#dictionary(frame, body)
    else if (frame.kind === HEADER.recordBatch) this.batches.push(this.#batch(frame, body))
    else throw new DecodeError(`a message of kind ${frame.kind}`, at)
    return frame.bodyEnd
  }

  #dictionary(frame: Frame, body: Uint8Array): void {
    const id = frame.header.i64(0)
    const data = frame.header.table(1)
    const field = this.schema.fields.find((candidate) => candidate.dictionary?.id === id)
    if (data === undefined || field === undefined) throw new DecodeError(`a dictionary ${id} without field or data`, frame.bodyStart)
    if (frame.header.bool(2)) throw new UnsupportedTypeError('delta dictionaries are not read', { details: { type: 'delta dictionary' } })
    const parts = new Parts(data, body, this.#decompress)
    this.#dictionaries.set(id, checkVec(parts.vec(layoutOf(field.type)), id))
  }

  #batch(frame: Frame, body: Uint8Array): ArrowBatch {
    const parts = new Parts(frame.header, body, this.#decompress)
    const columns = this.schema.fields.map((field) => checkVec(parts.column(field, this.#dictionaries), field.name))
    const length = frame.header.i64(0)
    for (const column of columns)
      if (column.length !== length) throw new DecodeError(`a column of ${column.length} rows in a batch of ${length}`, frame.bodyStart)
    return { length, columns }
  }
}

/** Walks nodes and buffers of one RecordBatch table. */
class Parts {
  readonly #nodes: { count: number; view: DataView }
  readonly #buffers: { count: number; view: DataView }
  readonly #body: Uint8Array
  readonly #decompress: DecompressBuffer | undefined
  #node = 0
  #buffer = 0

  constructor(batch: FlatReader, body: Uint8Array, decompress: DecompressBuffer) {
    this.#nodes = batch.structs(1, 16)
    this.#buffers = batch.structs(2, 16)
    this.#body = body
    const compression = batch.table(3)
    if (compression !== undefined && compression.i8(0) !== 0) {
      throw new UnsupportedTypeError('Arrow bodies compressed with another codec than LZ4', { details: { type: `codec ${compression.i8(0)}` } })
    }
    this.#decompress = compression === undefined ? undefined : decompress
  }

  column(field: ArrowField, dictionaries: ReadonlyMap<number, Vec>): Vec {
    if (field.dictionary === undefined) return this.vec(layoutOf(field.type))
    const codes = this.vec({ kind: 'fixed', width: field.dictionary.width })
    const dictionary = dictionaries.get(field.dictionary.id)
    if (dictionary === undefined) throw new DecodeError(`column ${field.name}: dictionary ${field.dictionary.id} is missing`, 0)
    return { ...codes, layout: { kind: 'dict', width: field.dictionary.width }, dictionary }
  }

  vec(layout: Layout): Vec {
    if (this.#node >= this.#nodes.count) throw new DecodeError('fewer nodes than fields', 0)
    const at = 16 * this.#node++
    const rows = structI64(this.#nodes.view, at)
    const nullCount = structI64(this.#nodes.view, at + 8)
    return buildVec(layout, rows, nullCount, {
      buffer: () => this.#next(),
      child: (child) => this.vec(child),
    })
  }

  #next(): Uint8Array {
    if (this.#buffer >= this.#buffers.count) throw new DecodeError('fewer buffers than fields', 0)
    const at = 16 * this.#buffer++
    const offset = structI64(this.#buffers.view, at)
    const bytes = structI64(this.#buffers.view, at + 8)
    if (offset < 0 || bytes < 0 || bytes > this.#body.length - offset) throw new DecodeError(`a buffer of ${bytes} bytes outside its body`, offset)
    return plainBuffer(this.#body.subarray(offset, offset + bytes), this.#decompress)
  }
}

/** The content of a stored buffer, in memory of its own and aligned. */
function plainBuffer(stored: Uint8Array, decompress: DecompressBuffer | undefined): Uint8Array {
  if (decompress === undefined || stored.length === 0) return stored.slice()
  if (stored.length < 8) throw new DecodeError(`a compressed buffer of ${stored.length} bytes`, 0)
  const view = new DataView(stored.buffer, stored.byteOffset, 8)
  const bytes = view.getBigInt64(0, true)
  if (bytes === -1n) return stored.slice(8)
  if (bytes < 0n || bytes > 0x7fff_ffffn) throw new DecodeError(`a plain length of ${bytes}`, 0)
  return decompress(stored.subarray(8), Number(bytes))
}

/** Where `buildVec` takes the next buffer and the next child from, in Arrow's preorder. */
export interface VecParts {
  buffer(): Uint8Array
  child(layout: Layout): Vec
}

/** A Vec of `layout` from its parts, each held against the length it needs. */
export function buildVec(layout: Layout, rows: number, nullCount: number, parts: VecParts): Vec {
  if (rows < 0 || nullCount < 0 || nullCount > rows) throw new DecodeError(`${nullCount} nulls in ${rows} rows`, 0)
  const bits = parts.buffer()
  const validity = nullCount === 0 ? undefined : atLeast(bits, (rows + 7) >> 3, 'validity')
  const base = { layout, length: rows, nullCount, validity, dictionary: undefined }
  const none = { values: EMPTY, offsets: undefined, children: [] }
  switch (layout.kind) {
    case 'fixed':
    case 'dict':
      return { ...base, ...none, values: atLeast(parts.buffer(), rows * layout.width, 'values') }
    case 'bool':
      return { ...base, ...none, values: atLeast(parts.buffer(), (rows + 7) >> 3, 'values') }
    case 'var': {
      const offsets = readOffsets(parts.buffer(), rows)
      return { ...base, ...none, offsets, values: atLeast(parts.buffer(), offsets[rows]!, 'values') }
    }
    case 'list': {
      const offsets = readOffsets(parts.buffer(), rows)
      const child = parts.child(layout.item)
      if (offsets[rows]! > child.length) throw new DecodeError(`a list ends at ${offsets[rows]} of ${child.length} items`, 0)
      return { ...base, ...none, offsets, children: [child] }
    }
    case 'struct': {
      const children = layout.fields.map((field) => parts.child(field))
      for (const child of children) if (child.length !== rows) throw new DecodeError(`a struct field of ${child.length} rows in ${rows}`, 0)
      return { ...base, ...none, children }
    }
    case 'fsl': {
      const child = parts.child(layout.item)
      if (child.length !== rows * layout.size) throw new DecodeError(`${child.length} items in ${rows} lists of ${layout.size}`, 0)
      return { ...base, ...none, children: [child] }
    }
  }
}

const EMPTY = new Uint8Array(0)

function atLeast(bytes: Uint8Array, needed: number, what: string): Uint8Array {
  if (bytes.length < needed) throw new DecodeError(`${what} of ${bytes.length} bytes, ${needed} needed`, 0)
  return bytes.byteOffset % 8 === 0 ? bytes : bytes.slice()
}

function readOffsets(bytes: Uint8Array, rows: number): Int32Array {
  if (rows === 0) return new Int32Array(1)
  const enough = atLeast(bytes, 4 * (rows + 1), 'offsets')
  return new Int32Array(enough.buffer, enough.byteOffset, rows + 1)
}

/** Offsets ascend from 0 or more, and codes are in their dictionary. @returns `vec` */
function checkVec(vec: Vec, name: string | number): Vec {
  const { offsets, length } = vec
  if (offsets !== undefined) {
    let previous = 0
    for (let i = 0; i <= length; i++) {
      const offset = offsets[i]!
      if (offset < previous) throw new DecodeError(`column ${name}: offset ${offset} of row ${i} goes back`, 4 * i)
      previous = offset
    }
  }
  for (const child of vec.children) checkVec(child, name)
  const size = vec.dictionary?.length
  if (size !== undefined) {
    const codes = codesOf(vec)
    const { validity } = vec
    for (let i = 0; i < length; i++) {
      if (codes[i]! < size) continue
      const isNull = validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0
      if (!isNull) throw new DecodeError(`column ${name}: code ${codes[i]} of row ${i} is not in the dictionary of ${size}`, i)
    }
  }
  return vec
}
