// table/ipc-now.ts: whole Arrow IPC bytes to batches without a turn of the event loop: what a transaction takes, which checks its writes at once.
//
// Where the host has no zstd, the decoder is loaded when it is first wanted: such bodies are refused here with a word on what to do instead.
import { SchemaMismatchError } from '../errors.ts'
import { DecodeError } from '../format/index.ts'
import { type BatchOptions, sourceToBatches } from './arrow-in.ts'
import type { ColumnBatch } from './batch.ts'
import { IpcDecoder } from './ipc-batches.ts'
import { checkedFields, explained, fileMessages, footerSchema, isFile, KIND, type MessageAt, messageAt } from './ipc-in.ts'
import type { TableView } from './view.ts'

/** @throws SchemaMismatchError: no Arrow, damaged, zstd, or it does not fit the table; NullKeyError */
export function ipcBatchesNow(view: TableView, bytes: Uint8Array, o: BatchOptions = {}): ColumnBatch[] {
  try {
    return isFile(bytes) ? fileBatches(view, bytes, o) : streamBatches(view, bytes, o)
  } catch (cause) {
    throw explained(view.schema.name, cause)
  }
}

function fileBatches(view: TableView, bytes: Uint8Array, o: BatchOptions): ColumnBatch[] {
  const { footer, schema } = footerSchema(bytes)
  const into = new Intake(view, o)
  into.decoder = new IpcDecoder(checkedFields(view, schema))
  for (const message of fileMessages(bytes, footer)) into.take(bytes, message)
  return into.batches
}

const END_MARK_BYTES = 8

function streamBatches(view: TableView, bytes: Uint8Array, o: BatchOptions): ColumnBatch[] {
  const into = new Intake(view, o)
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length === 0) throw new DecodeError('no bytes', 0)
  for (let at = 0; at < bytes.length;) {
    if (at + END_MARK_BYTES > bytes.length) throw new DecodeError('a message cut short', at)
    const marked = words.getUint32(at, true) === 0xffff_ffff
    if (words.getUint32(marked ? at + 4 : at, true) === 0) {
      if (into.decoder === undefined) throw new DecodeError('a stream without schema', at)
      // Another stream may follow, with dictionaries of its own.
      into.decoder = undefined
      at += marked ? END_MARK_BYTES : 4
      continue
    }
    const message = messageAt(bytes, at)
    if (message.kind === KIND.schema) {
      if (into.decoder !== undefined) throw new DecodeError('a second schema', at)
      into.decoder = new IpcDecoder(checkedFields(view, message.header))
    } else into.take(bytes, message)
    at = message.bodyStart + message.bodyBytes
  }
  return into.batches
}

class Intake {
  readonly batches: ColumnBatch[] = []
  decoder: IpcDecoder | undefined
  private readonly view: TableView
  private readonly o: BatchOptions
  private rows = 0

  constructor(view: TableView, o: BatchOptions) {
    this.view = view
    this.o = o
  }

  take(bytes: Uint8Array, { kind, header, bodyStart, bodyBytes }: MessageAt): void {
    if (kind !== KIND.dictionaryBatch && kind !== KIND.recordBatch) return
    const { decoder, view } = this
    if (decoder === undefined) throw new DecodeError('a stream that does not start with its schema', bodyStart)
    if (!decoder.isReady(kind === KIND.recordBatch ? header : IpcDecoder.dataOf(header))) {
      const table = view.schema.name
      throw new SchemaMismatchError(`${table}: Arrow IPC compressed with zstd cannot be read inside a transaction on this host, which has no zstd of its own`, {
        details: { table },
        hint: 'Decode the bytes first (tableFromIPC), write them with LZ4, or write them outside the transaction.',
      })
    }
    const body = bytes.subarray(bodyStart, bodyStart + bodyBytes)
    if (kind === KIND.dictionaryBatch) {
      decoder.dictionary(header, body)
      return
    }
    const source = decoder.batch(header, body)
    this.batches.push(...sourceToBatches(view, source, { ...this.o, firstRow: (this.o.firstRow ?? 0) + this.rows }))
    this.rows += source.rows
  }
}
