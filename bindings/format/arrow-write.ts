// format/arrow-write.ts: Arrow IPC messages, files and streams from Vecs, without apache-arrow (Arrow columnar format 1.5, "Serialization and IPC").
//
//   file   = ARROW1 00 00 | schema | dictionary* | batch* | end | footer | i32 bytes of footer | ARROW1
//   stream =               schema | (dictionary | batch)* | end            message = FFFFFFFF | i32 bytes of metadata | metadata, padded to 8 | body
//
// Buffers of a body lie in field order, each padded to 8 bytes; compressed ones are i64 plain length + LZ4 frame, or -1 + plain bytes where LZ4 does not pay.
// Invariant: equal input gives equal bytes: padding and the unused bits of bitmaps are zero.
import { assert } from '../assert.ts'
import { slice } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'

import { arrowSchema, footerBytes, HEADER, METADATA_V5, schemaMessage } from './arrow-schema.ts'
import type { ArrowField } from './arrow-schema.ts'
import { ByteWriter } from './bytes.ts'
import { encodeFlatbuffer } from './flatbuffer.ts'
import type { FlatTable, FlatValue } from './flatbuffer.ts'

export const FILE_MAGIC: Uint8Array = new Uint8Array([0x41, 0x52, 0x52, 0x4f, 0x57, 0x31])
/** Record batches of a fragment. */
export const BATCH_ROWS = 65_536
const ALIGN = 8
/** Shorter buffers are not worth a frame of LZ4. */
const COMPRESS_BYTES_MIN = 32
const EMPTY = new Uint8Array(0)
const ZERO_OFFSET = new Uint8Array(4)

/** LZ4 frame of one buffer. */
export type CompressBuffer = (bytes: Uint8Array) => Uint8Array

/** Where one column of one message lies: what a reader needs to fetch it alone. */
export interface Page {
  /** Byte of the first buffer, from the start of the output. */
  readonly offset: number
  /** Bytes up to the end of the last buffer, without its padding. */
  readonly bytes: number
  /** Preorder: rows and null count of each node. */
  readonly nodes: readonly number[]
  /** Stored bytes of each buffer; each starts at the next multiple of 8. */
  readonly buffers: readonly number[]
}

export interface ArrowWriterOptions {
  /** Absent: buffers are stored plain. */
  readonly compress?: CompressBuffer | undefined
  readonly metadata?: Readonly<Record<string, string>>
}

/** Writes messages one after the other into `out`. */
export class ArrowWriter {
  readonly out: ByteWriter = new ByteWriter(1 << 16)
  readonly #fields: readonly ArrowField[]
  readonly #schema: FlatTable
  readonly #compress: CompressBuffer | undefined
  readonly #dictionaries = new ByteWriter(64)
  readonly #batches = new ByteWriter(256)
  readonly #body = new ByteWriter(1 << 16)
  #nodes: number[] = []
  #buffers: number[] = []

  constructor(fields: readonly ArrowField[], o: ArrowWriterOptions = {}) {
    this.#fields = fields
    this.#schema = arrowSchema(fields, o.metadata)
    this.#compress = o.compress
  }

  startFile(): void {
    this.out.raw(FILE_MAGIC)
    this.out.u16(0)
    this.startStream()
  }

  startStream(): void {
    this.#frame(schemaMessage(this.#schema))
  }

  /** The values of a dictionary; in a stream a later one replaces it. */
  dictionary(id: number, values: Vec): Page {
    const page = this.#column(values)
    const batch = this.#recordBatch(values.length, [page])
    const start = this.#message(
      HEADER.dictionaryBatch,
      [
        { as: 'i64', value: id },
        { as: 'table', value: batch },
      ],
      this.#dictionaries,
    )
    return { ...page, offset: page.offset + start }
  }

  /** One record batch; a Page per field. Dictionary fields take dict Vecs whose codes have the field's width. */
  batch(rows: number, columns: readonly Vec[]): Page[] {
    const pages = this.#fields.map((field, i) => {
      const vec = columns[i]!
      assert(vec.length === rows, 'columns of a batch have its rows', { field: field.name, rows, found: vec.length })
      if (field.dictionary === undefined) assert(vec.layout.kind !== 'dict', 'a plain field takes a plain Vec', field.name)
      else assert(vec.layout.kind === 'dict' && vec.layout.width === field.dictionary.width, 'codes have the width of their field', field.name)
      return this.#column(vec)
    })
    const start = this.#message(HEADER.recordBatch, this.#recordBatch(rows, pages), this.#batches)
    return pages.map((page) => ({ ...page, offset: page.offset + start }))
  }

  endStream(): void {
    this.out.u32(0xffff_ffff)
    this.out.u32(0)
  }

  /** End mark, footer and magic. @returns where the footer starts */
  endFile(metadata: Readonly<Record<string, string>> = {}): number {
    this.endStream()
    const footerAt = this.out.at
    const footer = footerBytes({ schema: this.#schema, dictionaries: this.#dictionaries.finish(), batches: this.#batches.finish(), metadata })
    this.out.raw(footer)
    this.out.u32(footer.length)
    this.out.raw(FILE_MAGIC)
    return footerAt
  }

  /** Bytes written since the last take; a stream hands them on as they come. */
  take(): Uint8Array<ArrayBuffer> {
    const bytes = this.out.finish()
    this.out.reset()
    return bytes
  }

  /** Appends a column to the body; the page's offset counts from the body's start. */
  #column(vec: Vec): Page {
    this.#nodes = []
    this.#buffers = []
    pad(this.#body, ALIGN)
    const offset = this.#body.at
    this.#vec(vec)
    return { offset, bytes: this.#body.at - offset, nodes: this.#nodes, buffers: this.#buffers }
  }

  #vec(vec: Vec): void {
    const { length, layout } = vec
    this.#nodes.push(length, vec.nullCount)
    this.#buffer(vec.nullCount === 0 ? EMPTY : bitmap(vec.validity!, length))
    switch (layout.kind) {
      case 'fixed':
      case 'dict':
        this.#buffer(vec.values.subarray(0, length * layout.width))
        break
      case 'bool':
        this.#buffer(bitmap(vec.values, length))
        break
      case 'var': {
        const offsets = vec.offsets!
        this.#buffer(rebased(offsets, length))
        this.#buffer(vec.values.subarray(offsets[0] ?? 0, offsets[length] ?? 0))
        break
      }
      case 'list':
        this.#buffer(rebased(vec.offsets!, length))
        this.#vec(slice(vec.children[0]!, vec.offsets![0] ?? 0, vec.offsets![length] ?? 0))
        break
      case 'struct':
        for (const child of vec.children) this.#vec(child)
        break
      case 'fsl':
        this.#vec(vec.children[0]!)
        break
    }
  }

  #buffer(bytes: Uint8Array): void {
    const body = this.#body
    pad(body, ALIGN)
    const start = body.at
    if (this.#compress === undefined || bytes.length === 0) {
      body.raw(bytes)
    } else {
      const frame = bytes.length < COMPRESS_BYTES_MIN ? undefined : this.#compress(bytes)
      if (frame === undefined || frame.length >= bytes.length) {
        body.u32(0xffff_ffff)
        body.u32(0xffff_ffff)
        body.raw(bytes)
      } else {
        body.u53(bytes.length)
        body.raw(frame)
      }
    }
    this.#buffers.push(body.at - start)
  }

  #recordBatch(rows: number, pages: readonly Page[]): FlatTable {
    const nodes = new ByteWriter(256)
    const buffers = new ByteWriter(512)
    for (const page of pages) {
      for (const number of page.nodes) nodes.u53(number)
      let at = page.offset
      for (const bytes of page.buffers) {
        at = Math.ceil(at / ALIGN) * ALIGN
        buffers.u53(at)
        buffers.u53(bytes)
        at += bytes
      }
    }
    const codec: FlatValue = {
      as: 'table',
      value: [
        { as: 'i8', value: 0 },
        { as: 'i8', value: 0 },
      ],
    }
    return [
      { as: 'i64', value: rows },
      { as: 'structs', count: nodes.at / 16, value: nodes.finish() },
      { as: 'structs', count: buffers.at / 16, value: buffers.finish() },
      this.#compress === undefined ? undefined : codec,
    ]
  }

  /** Frame, metadata and the body so far. @returns where the body starts in `out` */
  #message(kind: number, header: FlatTable, blocks: ByteWriter): number {
    const body = this.#body
    pad(body, ALIGN)
    const metadata = encodeFlatbuffer([
      { as: 'i16', value: METADATA_V5 },
      { as: 'i8', value: kind },
      { as: 'table', value: header },
      { as: 'i64', value: body.at },
    ])
    blocks.u53(this.out.at)
    blocks.u32(metadata.length + 8)
    blocks.u32(0)
    blocks.u53(body.at)
    this.#frame(metadata)
    const start = this.out.at
    this.out.raw(body.bytes.subarray(0, body.at))
    body.reset()
    return start
  }

  #frame(metadata: Uint8Array): void {
    this.out.u32(0xffff_ffff)
    this.out.u32(metadata.length)
    this.out.raw(metadata)
  }
}

/** A whole IPC stream of batches; dictionaries are written when they first appear and again when another takes their place. */
export class ArrowStreamWriter {
  readonly #writer: ArrowWriter
  readonly #fields: readonly ArrowField[]
  readonly #last = new Map<number, Vec>()

  constructor(fields: readonly ArrowField[], o: ArrowWriterOptions = {}) {
    this.#fields = fields
    this.#writer = new ArrowWriter(fields, o)
    this.#writer.startStream()
  }

  write(rows: number, columns: readonly Vec[]): void {
    const widened = columns.map((vec, i) => {
      const { dictionary } = this.#fields[i]!
      if (dictionary === undefined) return vec
      if (this.#last.get(dictionary.id) !== vec.dictionary) {
        this.#last.set(dictionary.id, vec.dictionary!)
        this.#writer.dictionary(dictionary.id, vec.dictionary!)
      }
      return withCodeWidth(vec, dictionary.width)
    })
    this.#writer.batch(rows, widened)
  }

  /** What was written since the last take. */
  take(): Uint8Array<ArrayBuffer> {
    return this.#writer.take()
  }

  finish(): Uint8Array<ArrayBuffer> {
    this.#writer.endStream()
    return this.#writer.take()
  }
}

/** A dict Vec with codes of `width` bytes, which must hold them. */
function withCodeWidth(vec: Vec, width: 1 | 2 | 4): Vec {
  assert(vec.layout.kind === 'dict', 'codes belong to a dict Vec', vec.layout.kind)
  if (vec.layout.width === width) return vec
  const from = codesOf(vec)
  const to = width === 1 ? new Uint8Array(vec.length) : width === 2 ? new Uint16Array(vec.length) : new Uint32Array(vec.length)
  for (let i = 0; i < vec.length; i++) to[i] = from[i]!
  return { ...vec, layout: { kind: 'dict', width }, values: new Uint8Array(to.buffer) }
}

/** The codes of a dict Vec as a typed array of its `length`. */
export function codesOf(vec: Vec): Uint8Array | Uint16Array | Uint32Array {
  assert(vec.layout.kind === 'dict', 'codes belong to a dict Vec', vec.layout.kind)
  const { width } = vec.layout
  const { values, length } = vec
  if (width === 1) return values.subarray(0, length)
  const bytes = values.byteOffset % width === 0 ? values : values.slice()
  return width === 2 ? new Uint16Array(bytes.buffer, bytes.byteOffset, length) : new Uint32Array(bytes.buffer, bytes.byteOffset, length)
}

function bitmap(bits: Uint8Array, length: number): Uint8Array {
  const bytes = (length + 7) >> 3
  if (length % 8 === 0) return bits.subarray(0, bytes)
  const mask = (1 << (length % 8)) - 1
  if ((bits[bytes - 1]! & ~mask) === 0) return bits.subarray(0, bytes)
  const copy = bits.slice(0, bytes)
  copy[bytes - 1]! &= mask
  return copy
}

function rebased(offsets: Int32Array, length: number): Uint8Array {
  if (length === 0) return ZERO_OFFSET
  const first = offsets[0]!
  if (first === 0) return new Uint8Array(offsets.buffer, offsets.byteOffset, 4 * (length + 1))
  const out = new Int32Array(length + 1)
  for (let i = 0; i <= length; i++) out[i] = offsets[i]! - first
  return new Uint8Array(out.buffer)
}

function pad(out: ByteWriter, unit: number): void {
  while (out.at % unit !== 0) out.u8(0)
}
