// table/ipc-batches.ts: the record and dictionary batches of foreign Arrow IPC as Arrow nodes over the bytes of their body.
//
// Nothing is converted here; lengths are held against buffers where values are taken (kernels/arrow-buffers.ts).
// Invariant: every buffer lies inside its body and shares no byte with another, and no stated length makes an allocation that the input does not pay for.
import { DecodeError, type FlatReader, structI64 } from '../format/index.ts'
import { ARROW, type ArrowDictionarySource, type ArrowNode, type ArrowTableSource, lz4FrameDecode, nativeZstd, zstdContentBytes } from '../kernels/index.ts'
import type { IpcField } from './ipc-schema.ts'
import { plainZstd, type ZstdDecode, zstdFrameDecode, ZSTD_RATIO_MAX } from './ipc-zstd.ts'

const LZ4_FRAME = 0
const ZSTD = 1
const PLAIN_BYTES_MAX = 2 ** 30
/** Rows that a batch may state beyond what its bytes could hold at a bit a row: columns of nulls have no bytes. */
const FREE_ROWS = 2 ** 24

export class IpcDecoder {
  readonly fields: readonly IpcField[]
  readonly #dictionaryFields = new Map<number, IpcField>()
  readonly #dictionaries = new Map<number, ArrowDictionarySource>()
  #zstd: ZstdDecode | undefined = nativeZstd()

  constructor(fields: readonly IpcField[]) {
    this.fields = fields
    this.#collect(fields)
  }

  #collect(fields: readonly IpcField[]): void {
    for (const field of fields) {
      if (field.dictionary !== undefined && !this.#dictionaryFields.has(field.dictionary.id)) this.#dictionaryFields.set(field.dictionary.id, field)
      this.#collect(field.children)
    }
  }

  /** Whether the bodies of a batch can be read without preparing. */
  isReady(batch: FlatReader): boolean {
    return batch.table(3)?.i8(0) !== ZSTD || this.#zstd !== undefined
  }

  /** Load what the bodies of a batch need to be read. */
  async prepare(batch: FlatReader): Promise<void> {
    if (this.isReady(batch)) return
    this.#zstd = await plainZstd()
  }

  /** A RecordBatch message: `header` its table. */
  batch(header: FlatReader, body: Uint8Array): ArrowTableSource {
    const parts = new Parts(header, body, this.#dictionaries, this.#zstd)
    const rows = parts.rows
    const columns = this.fields.map((field) => {
      const node = parts.node(field)
      if (node.length !== rows) throw new DecodeError(`column ${field.name} of ${node.length} rows in a batch of ${rows}`, 0)
      return { name: field.name, type: node.type, chunks: [node], at: undefined }
    })
    return { rows, columns }
  }

  /** The RecordBatch table of a DictionaryBatch message. */
  static dataOf(header: FlatReader): FlatReader {
    const data = header.table(1)
    if (data === undefined) throw new DecodeError('a dictionary without data', 0)
    return data
  }

  /** A DictionaryBatch message: new, or more of the one there is. */
  dictionary(header: FlatReader, body: Uint8Array): void {
    const id = header.i64(0)
    const field = this.#dictionaryFields.get(id)
    if (field === undefined) throw new DecodeError(`dictionary ${id}, which no field has`, 0)
    const before = header.bool(2) ? (this.#dictionaries.get(id)?.chunks() ?? []) : []
    const piece = new Parts(IpcDecoder.dataOf(header), body, this.#dictionaries, this.#zstd).node({ ...field, dictionary: undefined })
    const chunks = [...before, piece]
    this.#dictionaries.set(id, { identity: chunks, type: field.type, chunks: () => chunks })
  }
}

/** Walks the nodes and buffers of one RecordBatch table, in preorder. */
class Parts {
  readonly rows: number
  readonly #nodes: { count: number; view: DataView }
  readonly #buffers: { count: number; view: DataView }
  readonly #variadic: { count: number; view: DataView }
  readonly #body: Uint8Array
  readonly #dictionaries: ReadonlyMap<number, ArrowDictionarySource>
  readonly #zstd: ZstdDecode | undefined
  /** -1 = not compressed. */
  readonly #codec: number
  #node = 0
  #buffer = 0
  #view = 0
  /** Of the buffers taken. */
  #storedBytes = 0

  constructor(batch: FlatReader, body: Uint8Array, dictionaries: ReadonlyMap<number, ArrowDictionarySource>, zstd: ZstdDecode | undefined) {
    this.rows = batch.i64(0)
    this.#nodes = batch.structs(1, 16)
    this.#buffers = batch.structs(2, 16)
    this.#variadic = batch.structs(4, 8)
    this.#body = body
    this.#dictionaries = dictionaries
    this.#zstd = zstd
    const compression = batch.table(3)
    this.#codec = compression === undefined ? -1 : compression.i8(0)
    if (this.#codec > ZSTD) throw new DecodeError(`an unknown compression ${this.#codec}`, 0)
    this.#checkRows(this.rows)
  }

  #checkRows(rows: number): void {
    const possible = this.#body.length * 8 * (this.#codec < 0 ? 1 : this.#codec === LZ4_FRAME ? 255 : ZSTD_RATIO_MAX) + FREE_ROWS
    if (rows < 0 || rows > Math.min(possible, 0x7fff_ffff)) throw new DecodeError(`${rows} rows in a body of ${this.#body.length} bytes`, 0)
  }

  node(field: IpcField): ArrowNode {
    if (this.#node >= this.#nodes.count) throw new DecodeError('fewer nodes than fields', 0)
    const at = 16 * this.#node++
    const length = structI64(this.#nodes.view, at)
    const nullCount = structI64(this.#nodes.view, at + 8)
    this.#checkRows(length)
    const { dictionary } = field
    const base = {
      type: dictionary?.type ?? field.type,
      length,
      bitOffset: 0,
      values: EMPTY,
      offsets: undefined,
      children: [],
      buffers: [],
      dictionary: undefined,
    }
    if (field.type.id === ARROW.null && dictionary === undefined) return { ...base, validity: undefined }
    const bits = this.#next()
    if (nullCount !== 0 && bits.length * 8 < length) throw new DecodeError(`${nullCount} nulls and a bitmap of ${bits.length} bytes for ${length} rows`, 0)
    const validity = nullCount === 0 ? undefined : bits
    if (dictionary !== undefined) {
      const values = this.#next()
      const source = this.#dictionaries.get(dictionary.id) ?? { identity: NO_ENTRIES, type: field.type, chunks: () => NO_ENTRIES }
      return held({ ...base, validity, values, dictionary: source })
    }
    return held({ ...base, validity, ...this.#parts(field) })
  }

  /** What a node has behind its bitmap. */
  #parts(field: IpcField): Partial<ArrowNode> {
    switch (field.type.id) {
      case ARROW.binary:
      case ARROW.utf8:
        return { offsets: offsets32(this.#next()), values: this.#next() }
      case ARROW.largeBinary:
      case ARROW.largeUtf8:
        return { offsets: offsets64(this.#next()), values: this.#next() }
      case ARROW.binaryView:
      case ARROW.utf8View:
        return { values: this.#next(), buffers: this.#viewBuffers() }
      case ARROW.list:
      case ARROW.map:
        return { offsets: offsets32(this.#next()), children: this.#children(field) }
      case ARROW.largeList:
        return { offsets: offsets64(this.#next()), children: this.#children(field) }
      case ARROW.struct:
      case ARROW.fixedSizeList:
        return { children: this.#children(field) }
      default:
        return { values: this.#next() }
    }
  }

  #children(field: IpcField): ArrowNode[] {
    return field.children.map((child) => this.node(child))
  }

  #viewBuffers(): Uint8Array[] {
    if (this.#view >= this.#variadic.count) throw new DecodeError('fewer buffer counts than view columns', 0)
    const count = structI64(this.#variadic.view, 8 * this.#view++)
    if (count < 0 || count > this.#buffers.count) throw new DecodeError(`${count} buffers of a view column`, 0)
    return Array.from({ length: count }, () => this.#next())
  }

  #next(): Uint8Array {
    if (this.#buffer >= this.#buffers.count) throw new DecodeError('fewer buffers than fields', 0)
    const at = 16 * this.#buffer++
    const offset = structI64(this.#buffers.view, at)
    const bytes = structI64(this.#buffers.view, at + 8)
    if (offset < 0 || bytes < 0 || bytes > this.#body.length - offset) throw new DecodeError(`a buffer of ${bytes} bytes outside its body`, offset)
    // Each column takes what its buffers hold: a body read again for each of thousands of columns would be work without end.
    this.#storedBytes += bytes
    if (this.#storedBytes > this.#body.length) throw new DecodeError('buffers that overlap', offset)
    const stored = this.#body.subarray(offset, offset + bytes)
    return this.#codec < 0 || bytes === 0 ? stored : this.#plain(stored)
  }

  /** i64 plain length (-1: stored as it is), then the compressed bytes. */
  #plain(stored: Uint8Array): Uint8Array {
    if (stored.length < 8) throw new DecodeError(`a compressed buffer of ${stored.length} bytes`, 0)
    const stated = new DataView(stored.buffer, stored.byteOffset, 8).getBigInt64(0, true)
    const packed = stored.subarray(8)
    if (stated === -1n) return packed
    if (stated < 0n || stated > BigInt(PLAIN_BYTES_MAX)) throw new DecodeError(`a plain length of ${stated}`, 0)
    const bytes = Number(stated)
    if (bytes === 0) return EMPTY
    // apache-arrow for JavaScript states the compressed length (apache/arrow-js pull request 470): then the frame itself knows better.
    const isPacked = bytes === packed.length
    if (this.#codec === LZ4_FRAME) return lz4FrameDecode(packed, isPacked ? undefined : bytes)
    const plain = (isPacked ? zstdContentBytes(packed) : undefined) ?? bytes
    if (plain > PLAIN_BYTES_MAX) throw new DecodeError(`a plain length of ${plain}`, 0)
    return zstdFrameDecode(packed, plain, this.#zstd!)
  }
}

const EMPTY = new Uint8Array(0)

/** A row takes a bit at least, in some buffer of its own; structs and lists of fixed size have theirs in their children, and nulls take none. */
function held(node: ArrowNode): ArrowNode {
  const { length, validity, values, offsets, children } = node
  const bytes = (validity?.length ?? 0) + values.length + (offsets?.byteLength ?? 0)
  if (length > 8 * bytes && (children.length === 0 || offsets !== undefined)) throw new DecodeError(`${length} rows in buffers of ${bytes} bytes`, 0)
  return node
}
const NO_ENTRIES: readonly ArrowNode[] = []

function offsets32(bytes: Uint8Array): Int32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  return new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2)
}

function offsets64(bytes: Uint8Array): BigInt64Array {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice()
  return new BigInt64Array(aligned.buffer, aligned.byteOffset, aligned.length >> 3)
}
