// kernels/bloom-parquet.ts: split-block filters as Parquet stores them: a BloomFilterHeader in Thrift's compact protocol, then the blocks (parquet-format
// BloomFilter.md and parquet.thrift; thrift-compact-protocol.md).
//
//   header: 1 numBytes i32 | 2 algorithm { 1 BLOCK } | 3 hash { 1 XXHASH } | 4 compression { 1 UNCOMPRESSED }; keys are XXH64 (seed 0) of the plain value
//
// Invariant: nothing outside `bytes` is read, whatever they say; another algorithm, hash or compression is refused by name.
import { CorruptionError } from '../errors.ts'
import { BloomFilter } from './bloom.ts'
import { type KernelBytes, viewOf } from './buffer.ts'

const BLOCK_BYTES = 32
/** parquet-format bounds a filter: 128 MiB. */
const BYTES_MAX = 128 * 1024 * 1024

const I32 = 5
const BINARY = 8
const STRUCT = 12
const DEPTH_MAX = 8

/**
 * Read a filter of a Parquet file: probe it with hashes of xxh64 or xxh64Column. Its number of keys is unknown: 0.
 *
 * @param given  header and blocks; what follows them is left alone
 * @param source  what the bytes are, for the message of the error
 * @throws CorruptionError index.corrupt
 * @example decodeParquetBloom(bytes, 'chunk 0').probeMany(xxh64Column(ids))
 */
export function decodeParquetBloom(given: KernelBytes, source: string): BloomFilter {
  const bytes = viewOf(given)
  const reader = new CompactReader(bytes, source)
  let size = -1
  const kinds = [0, 0, 0]
  reader.struct((id, type) => {
    if (id === 1 && type === I32) size = reader.int()
    else if (id >= 2 && id <= 4 && type === STRUCT) {
      reader.struct((choice, of) => {
        kinds[id - 2] = choice
        reader.skip(of, 1)
      })
    } else reader.skip(type, 0)
  })
  const names = ['algorithm', 'hash', 'compression']
  kinds.forEach((choice, i) => {
    if (choice !== 1) throw reader.bad(`${names[i]!} ${choice}, expected 1`)
  })
  if (size < BLOCK_BYTES || size > BYTES_MAX || size % BLOCK_BYTES !== 0) throw reader.bad(`${size} bytes of blocks stated`)
  if (size > bytes.length - reader.at) throw reader.bad(`${size} bytes of blocks stated, ${bytes.length - reader.at} there`)
  return BloomFilter.ofBlocks(bytes.subarray(reader.at, reader.at + size), 0)
}

/**
 * Header and blocks for a Parquet file, of a filter of XXH64 hashes.
 *
 * @example encodeParquetBloom(BloomFilter.build(xxh64Column(ids)))
 */
export function encodeParquetBloom(filter: BloomFilter): Uint8Array<ArrayBuffer> {
  const blocks = filter.bytes
  const header = [(1 << 4) | I32]
  for (let rest = blocks.length * 2; ; rest = Math.floor(rest / 128)) {
    header.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    if (rest <= 0x7f) break
  }
  // Three unions whose first, empty member is set, and the end of the header.
  for (let field = 0; field < 3; field++) header.push((1 << 4) | STRUCT, (1 << 4) | STRUCT, 0, 0)
  header.push(0)
  const out = new Uint8Array(header.length + blocks.length)
  out.set(header)
  out.set(blocks, header.length)
  return out
}

/** As much of the compact protocol as a header of integers and unions takes; of anything else the lengths, to pass over it. */
class CompactReader {
  readonly #bytes: Uint8Array
  readonly #source: string
  at = 0

  constructor(bytes: Uint8Array, source: string) {
    this.#bytes = bytes
    this.#source = source
  }

  bad(why: string): CorruptionError {
    return new CorruptionError('index.corrupt', `${this.#source}: Parquet bloom filter: ${why}`, { details: { file: this.#source, offset: this.at } })
  }

  /** The fields of a struct; `take` reads the value of each. */
  struct(take: (id: number, type: number) => void): void {
    for (let id = 0; ;) {
      const head = this.#byte()
      if (head === 0) return
      id = head >> 4 === 0 ? this.int() : id + (head >> 4)
      take(id, head & 15)
    }
  }

  /** A zigzag varint of at most 64 bits; exact up to 2^53. */
  int(): number {
    const raw = this.#varint()
    return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2
  }

  skip(type: number, depth: number): void {
    if (type === 1 || type === 2) return
    if (type >= 3 && type <= 6) {
      if (type === 3) this.#byte()
      else this.#varint()
    } else if (type === 7) this.#pass(8)
    else if (type === BINARY) this.#pass(this.#varint())
    else if (type === STRUCT && depth < DEPTH_MAX) this.struct((_, of) => this.skip(of, depth + 1))
    else throw this.bad(`a field of type ${type} in its header`)
  }

  #varint(): number {
    let value = 0
    for (let scale = 1, i = 0; i < 10; i++, scale *= 128) {
      const byte = this.#byte()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    throw this.bad('an integer of more than ten bytes in its header')
  }

  #byte(): number {
    if (this.at >= this.#bytes.length) throw this.bad('its header ends early')
    return this.#bytes[this.at++]!
  }

  #pass(bytes: number): void {
    if (bytes > this.#bytes.length - this.at) throw this.bad('its header ends early')
    this.at += bytes
  }
}
