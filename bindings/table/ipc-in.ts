// table/ipc-in.ts: Arrow IPC bytes (stream or file format, whole or arriving in pieces) to batches of stored columns.
//
//   stream: { ffffffff | u32 metadata bytes | Message flatbuffer | body }…, then ffffffff 00000000; without the first mark before Arrow 0.15
//   file:   "ARROW1" 00 00 | the same messages | Footer | u32 footer bytes | "ARROW1"
//
// Bytes that arrive in pieces are read front to back in either format, at most one message ahead; whole files go by their footer.
// Invariant: bytes that are not Arrow end in SchemaMismatchError, and every length is bounded before it is waited for.
import { SchemaMismatchError, VarveError } from '../errors.ts'
import { DecodeError, type FlatReader, footerRange, readFlatbuffer, structI64 } from '../format/index.ts'
import { type BatchOptions, sourceToBatches } from './arrow-in.ts'
import { ARROW } from '../kernels/index.ts'
import type { ColumnBatch } from './batch.ts'
import { quote } from './cells.ts'
import { IpcDecoder } from './ipc-batches.ts'
import { type IpcField, readIpcSchema } from './ipc-schema.ts'
import { didYouMean } from './names.ts'
import { describeType } from './physical.ts'
import type { TableView } from './view.ts'

/** Pieces of bytes to pull from; undefined = the end. */
export type NextBytes = () => Promise<Uint8Array | undefined>

export const KIND = { schema: 1, dictionaryBatch: 2, recordBatch: 3 } as const
const MAGIC = Uint8Array.from('ARROW1', (c) => c.charCodeAt(0))
const CONTINUES = 0xffff_ffff
const METADATA_BYTES_MAX = 2 ** 28
const BODY_BYTES_MAX = 2 ** 32

/**
 * The rows of one whole Arrow IPC file or stream.
 *
 * @throws SchemaMismatchError: no Arrow, damaged, or it does not fit the table; NullKeyError
 */
export async function* ipcBytesToBatches(view: TableView, bytes: Uint8Array, o: BatchOptions = {}): AsyncGenerator<ColumnBatch, number> {
  if (!startsWithMagic(bytes)) {
    let given = false
    const next: NextBytes = () => {
      const first = given ? undefined : bytes
      given = true
      return Promise.resolve(first)
    }
    return yield* ipcPiecesToBatches(view, next, o)
  }
  return yield* told(view, fileBatches(view, bytes, o))
}

/**
 * The rows of Arrow IPC that arrives in pieces; several streams may follow each other.
 *
 * @returns the number of rows
 */
export async function* ipcPiecesToBatches(view: TableView, next: NextBytes, o: BatchOptions = {}): AsyncGenerator<ColumnBatch, number> {
  return yield* told(view, pieceBatches(view, new ByteQueue(next), o))
}

/** The file format, not a stream. */
export function isFile(bytes: Uint8Array): boolean {
  return startsWithMagic(bytes)
}

function startsWithMagic(bytes: Uint8Array): boolean {
  return MAGIC.every((byte, i) => bytes[i] === byte)
}

/** Faults of the bytes as errors of the call. */
async function* told(view: TableView, batches: AsyncGenerator<ColumnBatch, number>): AsyncGenerator<ColumnBatch, number> {
  try {
    return yield* batches
  } catch (cause) {
    throw explained(view.schema.name, cause)
  }
}

/** The error of the call for a fault of the bytes; anything else as it is. `table`: its name. */
export function explained(table: string, cause: unknown): unknown {
  const damaged = cause instanceof DecodeError || (cause instanceof VarveError && cause.code.startsWith('kernel.'))
  if (!damaged) return cause
  const hint = 'Pass an Arrow IPC file or stream that another Arrow reader takes.'
  return new SchemaMismatchError(`${table}: the bytes are not readable Arrow IPC: ${cause.message}`, { details: { table }, hint, cause })
}

/** The fields of a file, or of a stream from its schema on. @throws SchemaMismatchError that starts with `where` */
export function ipcFields(where: string, bytes: Uint8Array): IpcField[] {
  try {
    if (isFile(bytes)) return readIpcSchema(footerSchema(bytes).schema)
    const { kind, header } = messageAt(bytes, 0)
    if (kind !== KIND.schema) throw new DecodeError('a stream that does not start with its schema', 0)
    return readIpcSchema(header)
  } catch (cause) {
    throw explained(where, cause)
  }
}

/** The footer of a file, and the schema in it. */
export function footerSchema(bytes: Uint8Array): { footer: FlatReader; schema: FlatReader } {
  const range = footerRange(bytes)
  const footer = readFlatbuffer(bytes.slice(range.start, range.end))
  const schema = footer.table(1)
  if (schema === undefined) throw new DecodeError('a footer without schema', range.start)
  return { footer, schema }
}

/** The messages of a file, dictionaries first. */
export function* fileMessages(bytes: Uint8Array, footer: FlatReader): Generator<MessageAt, undefined> {
  let total = 0
  for (const slot of [2, 3]) {
    const blocks = footer.structs(slot, 24)
    for (let i = 0; i < blocks.count; i++) {
      const at = structI64(blocks.view, 24 * i)
      const message = messageAt(bytes, at)
      total += message.bodyStart + message.bodyBytes - at
      // The same bytes listed again and again are no file, only work without end.
      if (total > bytes.length) throw new DecodeError('messages that overlap', at)
      yield message
    }
  }
}

async function* fileBatches(view: TableView, bytes: Uint8Array, o: BatchOptions): AsyncGenerator<ColumnBatch, number> {
  const { footer, schema } = footerSchema(bytes)
  const decoder = new IpcDecoder(checkedFields(view, schema))
  let rows = 0
  for (const message of fileMessages(bytes, footer)) {
    rows += yield* decodeMessage(view, decoder, message, bytes.subarray(message.bodyStart, message.bodyStart + message.bodyBytes), rows, o)
  }
  return rows
}

export interface Message {
  readonly kind: number
  readonly header: FlatReader
  readonly bodyBytes: number
}

export interface MessageAt extends Message {
  readonly bodyStart: number
}

export function messageAt(bytes: Uint8Array, at: number): MessageAt {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (at < 0 || at + 8 > bytes.length) throw new DecodeError('a message outside the file', at)
  const marked = view.getUint32(at, true) === CONTINUES
  const start = marked ? at + 8 : at + 4
  const length = view.getUint32(marked ? at + 4 : at, true)
  if (length > bytes.length - start) throw new DecodeError(`a message of ${length} bytes, ${bytes.length - start} left`, at)
  const message = messageOf(bytes.slice(start, start + length), at)
  if (message.bodyBytes > bytes.length - start - length)
    throw new DecodeError(`a body of ${message.bodyBytes} bytes, ${bytes.length - start - length} left`, at)
  return { ...message, bodyStart: start + length }
}

function messageOf(metadata: Uint8Array, at: number): Message {
  const message = readFlatbuffer(metadata)
  const header = message.table(2)
  if (header === undefined) throw new DecodeError('a message without header', at)
  const bodyBytes = message.i64(3)
  if (bodyBytes < 0 || bodyBytes > BODY_BYTES_MAX) throw new DecodeError(`a body of ${bodyBytes} bytes`, at)
  return { kind: message.i8(1), header, bodyBytes }
}

async function* decodeMessage(
  view: TableView,
  decoder: IpcDecoder,
  { kind, header }: Message,
  body: Uint8Array,
  rowsBefore: number,
  o: BatchOptions,
): AsyncGenerator<ColumnBatch, number> {
  if (kind !== KIND.dictionaryBatch && kind !== KIND.recordBatch) return 0
  await decoder.prepare(kind === KIND.recordBatch ? header : IpcDecoder.dataOf(header))
  if (kind === KIND.dictionaryBatch) {
    decoder.dictionary(header, body)
    return 0
  }
  const source = decoder.batch(header, body)
  yield* sourceToBatches(view, source, { ...o, firstRow: (o.firstRow ?? 0) + rowsBefore })
  return source.rows
}

async function* pieceBatches(view: TableView, queue: ByteQueue, o: BatchOptions): AsyncGenerator<ColumnBatch, number> {
  let rows = 0
  let streams = 0
  while (await queue.has(1)) {
    if ((await queue.has(8)) && startsWithMagic(queue.peek(8))) return rows + (yield* filePieces(view, queue, rows, o))
    rows += yield* streamBatches(view, queue, rows, o)
    streams++
  }
  if (streams === 0) throw new DecodeError('no bytes', 0)
  return rows
}

/** A file that arrives in pieces. */
async function* filePieces(view: TableView, queue: ByteQueue, rowsBefore: number, o: BatchOptions): AsyncGenerator<ColumnBatch, number> {
  if (!(await startsWithSchema(queue))) {
    // apache-arrow's writer leaves the schema to the footer: the file has to be read to its end before any of it.
    return yield* fileBatches(view, await queue.takeAll(), { ...o, firstRow: (o.firstRow ?? 0) + rowsBefore })
  }
  queue.take(8)
  const rows = yield* streamBatches(view, queue, rowsBefore, o)
  // What follows the end mark is the footer, which repeats what was read.
  await queue.drain()
  return rows
}

async function startsWithSchema(queue: ByteQueue): Promise<boolean> {
  if (!(await queue.has(16))) return true
  const head = queue.peek(16)
  const marked = u32(head.subarray(8)) === CONTINUES
  const start = marked ? 16 : 12
  const length = u32(head.subarray(start - 4))
  if (length === 0 || length > METADATA_BYTES_MAX || !(await queue.has(start + length))) return length !== 0
  return messageOf(queue.peek(start + length).slice(start), start).kind === KIND.schema
}

async function* streamBatches(view: TableView, queue: ByteQueue, rowsBefore: number, o: BatchOptions): AsyncGenerator<ColumnBatch, number> {
  let decoder: IpcDecoder | undefined
  let rows = 0
  for (;;) {
    const at = queue.offset
    const message = await nextMessage(queue)
    if (message === undefined) {
      if (decoder === undefined) throw new DecodeError('a stream without schema', at)
      return rows
    }
    if (message.kind === KIND.schema) {
      if (decoder !== undefined) throw new DecodeError('a second schema', at)
      decoder = new IpcDecoder(checkedFields(view, message.header))
      if (!(await queue.has(message.bodyBytes))) throw new DecodeError('a message cut short', at)
      queue.take(message.bodyBytes)
      continue
    }
    if (decoder === undefined) throw new DecodeError('a stream that does not start with its schema', at)
    if (!(await queue.has(message.bodyBytes))) throw new DecodeError(`a body of ${message.bodyBytes} bytes, ${queue.ready} left`, queue.offset)
    rows += yield* decodeMessage(view, decoder, message, queue.take(message.bodyBytes), rowsBefore + rows, o)
  }
}

/** The next message without its body; undefined at the end mark, or where the bytes end between two messages. */
async function nextMessage(queue: ByteQueue): Promise<Message | undefined> {
  const at = queue.offset
  if (!(await queue.has(1))) return undefined
  if (!(await queue.has(4))) throw new DecodeError('a message cut short', at)
  let length = u32(queue.take(4))
  if (length === CONTINUES) {
    if (!(await queue.has(4))) throw new DecodeError('a message cut short', at)
    length = u32(queue.take(4))
  }
  if (length === 0) return undefined
  if (length > METADATA_BYTES_MAX) throw new DecodeError(`a message of ${length} bytes`, at)
  if (!(await queue.has(length))) throw new DecodeError(`a message of ${length} bytes, ${queue.ready} left`, at)
  return messageOf(queue.take(length).slice(), at)
}

function u32(bytes: Uint8Array): number {
  return (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0
}

/** Fields that all are columns, of types that can be one: a message tells which is not before any data is read. */
export function checkedFields(view: TableView, schema: FlatReader): IpcField[] {
  const fields = readIpcSchema(schema)
  const table = view.schema.name
  for (const field of fields) {
    const { name } = field
    const column = view.byName.get(name)
    if (column === undefined) {
      const near = didYouMean(name, view.byName.keys())
      throw new SchemaMismatchError(`${table}: no column ${quote(name)}${near}`, { details: { table, column: name } })
    }
    const other = unreadable(field)
    if (other !== undefined) {
      throw new SchemaMismatchError(`${table}.${name}${other.path}: Arrow ${other.type} cannot become ${describeType(column.spec.type)}`, {
        details: { table, column: name },
      })
    }
  }
  return fields
}

/** Types that some column takes. */
const READABLE: ReadonlySet<number> = new Set(Object.values(ARROW).filter((id) => id !== ARROW.duration))

/** The type that has no place in a column, and where it is below the field; the walk over the buffers passes the others only. */
function unreadable(field: IpcField): { path: string; type: string } | undefined {
  if (!READABLE.has(field.type.id)) return { path: '', type: field.type.name }
  for (const child of field.children) {
    const below = unreadable(child)
    if (below !== undefined) return { path: `.${child.name}${below.path}`, type: below.type }
  }
  return undefined
}

/** Bytes that came in pieces, to be taken in other pieces; joined only where a piece ends inside what is asked. */
class ByteQueue {
  readonly #next: NextBytes
  #pieces: Uint8Array[] = []
  #ended = false
  /** Bytes here and not taken. */
  ready = 0
  /** Bytes taken. */
  offset = 0

  constructor(next: NextBytes) {
    this.#next = next
  }

  /** Whether `count` bytes are there; pulls until they are. */
  async has(count: number): Promise<boolean> {
    while (this.ready < count && !this.#ended) {
      const piece = await this.#next()
      if (piece === undefined) this.#ended = true
      else if (piece.length > 0) {
        this.#pieces.push(piece)
        this.ready += piece.length
      }
    }
    return this.ready >= count
  }

  peek(count: number): Uint8Array {
    const first = this.#pieces[0]
    if (count === 0 || first === undefined) return new Uint8Array(0)
    if (first.length < count) this.#join(count)
    return this.#pieces[0]!.subarray(0, count)
  }

  take(count: number): Uint8Array {
    const bytes = this.peek(count)
    if (count === 0) return bytes
    const first = this.#pieces[0]!
    if (first.length === count) this.#pieces.shift()
    else this.#pieces[0] = first.subarray(count)
    this.ready -= count
    this.offset += count
    return bytes
  }

  /** Everything up to the end, as one piece. */
  async takeAll(): Promise<Uint8Array> {
    await this.has(Number.POSITIVE_INFINITY)
    return this.take(this.ready)
  }

  /** Read to the end and forget. */
  async drain(): Promise<void> {
    this.offset += this.ready
    this.#pieces = []
    this.ready = 0
    for (;;) {
      const piece = await this.#next()
      if (piece === undefined) return
      this.offset += piece.length
    }
  }

  /** Makes the first `count` bytes one piece. */
  #join(count: number): void {
    const joined = new Uint8Array(count)
    let at = 0
    while (at < count) {
      const piece = this.#pieces.shift()!
      const part = piece.subarray(0, count - at)
      joined.set(part, at)
      at += part.length
      if (part.length < piece.length) this.#pieces.unshift(piece.subarray(part.length))
    }
    this.#pieces.unshift(joined)
  }
}
