// kernels/bloom.ts: split-block bloom filter of 64-bit key hashes, with the header it has at rest (kernels.md section 5; blocks: parquet-format BloomFilter.md).
//
//   0      4         8        12     16     24                       32
//   | VBLM | version | blocks | hash | keys | xxh3 of bytes 0..24 + blocks | blocks x 32 bytes
//
// Invariant: a key that was inserted is always found; the bytes are a function of the set of hashes and the number of blocks alone.
import { CorruptionError } from '../errors.ts'
import { type KernelBytes, settled, settledWords } from './buffer.ts'
import { kernels } from './instance.ts'

export const BLOOM_HEADER_BYTES = 32
export const BLOOM_BITS_PER_KEY = 16
const BLOCK_BYTES = 32
const VERSION = 1
const HASH_XXH3_64 = 1
const MAGIC = 0x4d4c4256 // VBLM
/** Hashes copied into kernel memory at a time. */
const BATCH_HASHES = 65_536
/** Copying this many blocks costs about as much as one probe in JavaScript saves. */
const KEYS_REPAY_BLOCKS = 8

const SALT_0 = 0x47b6137b
const SALT_1 = 0x44974d91
const SALT_2 = 0x8824ad5b | 0
const SALT_3 = 0xa2b7289d | 0
const SALT_4 = 0x705495c7
const SALT_5 = 0x2df1424b
const SALT_6 = 0x9efc4947 | 0
const SALT_7 = 0x5c6bfb31

/**
 * A split-block bloom filter over key hashes given as (lo, hi) word pairs: a key that was inserted is always found, one that was not nearly never.
 *
 * @example BloomFilter.build(xxh3Column(keys)).probeMany(xxh3Column(others)).hits
 */
export class BloomFilter {
  readonly blocks: number
  /** Keys inserted, as told by the builder. */
  readonly keys: number
  readonly #words: Uint32Array

  private constructor(words: Uint32Array, keys: number) {
    this.#words = words
    this.blocks = words.length >>> 3
    this.keys = keys
  }

  /**
   * Build from hashes.
   *
   * @param hashes  2 words a key: lo, hi; as `xxh3Column` gives them
   * @param bitsPerKey  16: about 0.13 % false positives
   * @throws RangeError for half a hash, or bits that are no number from 0 on; InvalidConfigError (key `bytes`) for a stale view, or no Uint32Array;
   *   KernelMemoryExhaustedError
   */
  static build(hashes: Uint32Array, bitsPerKey: number = BLOOM_BITS_PER_KEY): BloomFilter {
    if (!(typeof bitsPerKey === 'number' && bitsPerKey >= 0)) throw new RangeError(`a bloom filter of ${bitsPerKey} bits a key: a number from 0 on expected`)
    const keys = wholeHashes(hashes).length >>> 1
    return BloomFilter.buildWithBlocks(hashes, Math.max(1, Math.ceil((keys * bitsPerKey) / (8 * BLOCK_BYTES))))
  }

  /** As `build`, of 32-byte blocks by number: filters of as many can be merged. @throws RangeError unless a whole number from 1 on; errors of `build` */
  static buildWithBlocks(given: Uint32Array, blocks: number): BloomFilter {
    if (!Number.isSafeInteger(blocks) || blocks < 1) throw new RangeError(`a bloom filter of ${blocks} blocks: a whole number from 1 on expected`)
    const hashes = wholeHashes(given)
    const k = kernels()
    const mark = k.arena.mark()
    try {
      const keys = hashes.length >>> 1
      const f = k.arena.reserve(blocks * BLOCK_BYTES)
      const batch = k.arena.reserve(Math.min(keys, BATCH_HASHES) * 8)
      k.u8.fill(0, f, f + blocks * BLOCK_BYTES)
      for (let i = 0; i < keys; i += BATCH_HASHES) {
        const n = Math.min(BATCH_HASHES, keys - i)
        k.u32.set(hashes.subarray(2 * i, 2 * (i + n)), batch >>> 2)
        k.exports.sbbf_insert(f, blocks, batch, n)
      }
      return new BloomFilter(k.u32.slice(f >>> 2, (f >>> 2) + blocks * 8), keys)
    } finally {
      k.arena.rewind(mark)
    }
  }

  /**
   * A filter from its blocks alone, copied.
   *
   * @param given  whole blocks of 32 bytes, one at least
   * @param keys  how many were inserted; 0 when unknown
   * @throws RangeError for any other length; InvalidConfigError (key `bytes`) for a stale view
   */
  static ofBlocks(given: Uint8Array, keys: number): BloomFilter {
    const bytes = settled(given)
    if (bytes.length === 0 || bytes.length % BLOCK_BYTES !== 0) {
      throw new RangeError(`a bloom filter of ${bytes.length} bytes: whole blocks of ${BLOCK_BYTES} bytes expected, one at least`)
    }
    const words = new Uint32Array(bytes.length / 4)
    new Uint8Array(words.buffer).set(bytes)
    return new BloomFilter(words, keys)
  }

  /**
   * Read a filter with its header; the checksum is verified.
   *
   * @param source  what the bytes are, for the message of the error
   * @throws CorruptionError index.corrupt; InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
   */
  static decode(given: KernelBytes, source: string): BloomFilter {
    const bytes = settled(given)
    const bad = (why: string): CorruptionError => new CorruptionError('index.corrupt', `${source}: bloom filter: ${why}`, { details: { file: source } })
    if (bytes.byteLength < BLOOM_HEADER_BYTES + BLOCK_BYTES) throw bad(`${bytes.byteLength} bytes, at least ${BLOOM_HEADER_BYTES + BLOCK_BYTES} expected`)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (view.getUint32(0, true) !== MAGIC) throw bad('no magic')
    const blocks = view.getUint32(8, true)
    const size = BLOOM_HEADER_BYTES + blocks * BLOCK_BYTES
    if (blocks < 1 || size !== bytes.byteLength) throw bad(`${blocks} blocks stated, ${bytes.byteLength} bytes there`)
    const sum = checksum(bytes)
    if (view.getUint32(24, true) !== sum[0]! || view.getUint32(28, true) !== sum[1]!) throw bad('checksum mismatch')
    if (view.getUint32(4, true) !== VERSION) throw bad(`version ${view.getUint32(4, true)}, expected ${VERSION}`)
    if (view.getUint32(12, true) !== HASH_XXH3_64) throw bad(`hash ${view.getUint32(12, true)}, expected ${HASH_XXH3_64}`)
    return BloomFilter.ofBlocks(bytes.subarray(BLOOM_HEADER_BYTES), view.getUint32(16, true) + view.getUint32(20, true) * 4_294_967_296)
  }

  /** Header and blocks of a filter of XXH3-64 hashes: what is stored. */
  encode(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(BLOOM_HEADER_BYTES + this.#words.byteLength)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, MAGIC, true)
    view.setUint32(4, VERSION, true)
    view.setUint32(8, this.blocks, true)
    view.setUint32(12, HASH_XXH3_64, true)
    view.setUint32(16, this.keys % 4_294_967_296, true)
    view.setUint32(20, Math.floor(this.keys / 4_294_967_296), true)
    bytes.set(this.bytes, BLOOM_HEADER_BYTES)
    const sum = checksum(bytes)
    view.setUint32(24, sum[0]!, true)
    view.setUint32(28, sum[1]!, true)
    return bytes
  }

  /** The blocks, without header; not a copy. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.#words.buffer, this.#words.byteOffset, this.#words.byteLength)
  }

  /** May the key be present? Plain JavaScript: a single probe is cheaper than a call into Wasm. */
  probeOne(lo: number, hi: number): boolean {
    const words = this.#words
    const blocks = this.blocks
    // (hi * blocks) >> 32 without 64-bit integers: both halves of hi give products below 2^48.
    const block = Math.floor(((hi >>> 16) * blocks + Math.floor(((hi & 0xffff) * blocks) / 65_536)) / 65_536)
    const at = block << 3
    // Four words at a time without a branch between them: about half of all bits are set, so a branch per word is foretold wrong every other time.
    const first =
      (words[at]! >>> (Math.imul(lo, SALT_0) >>> 27)) &
      (words[at + 1]! >>> (Math.imul(lo, SALT_1) >>> 27)) &
      (words[at + 2]! >>> (Math.imul(lo, SALT_2) >>> 27)) &
      (words[at + 3]! >>> (Math.imul(lo, SALT_3) >>> 27))
    if ((first & 1) === 0) return false
    const second =
      (words[at + 4]! >>> (Math.imul(lo, SALT_4) >>> 27)) &
      (words[at + 5]! >>> (Math.imul(lo, SALT_5) >>> 27)) &
      (words[at + 6]! >>> (Math.imul(lo, SALT_6) >>> 27)) &
      (words[at + 7]! >>> (Math.imul(lo, SALT_7) >>> 27))
    return (second & 1) !== 0
  }

  /** Bit i of the bitmap = key i may be present; whole 64-bit words, spare bits 0. Errors as `build`. */
  probeMany(given: Uint32Array): { readonly bitmap: Uint8Array<ArrayBuffer>; readonly hits: number } {
    const hashes = wholeHashes(given)
    const n = hashes.length >>> 1
    const bitmap = new Uint8Array(((n + 63) >>> 6) << 3)
    // The blocks are copied into kernel memory, which few keys do not repay.
    if (n * KEYS_REPAY_BLOCKS < this.blocks) return this.#probeFew(hashes, n, bitmap)
    const k = kernels()
    const mark = k.arena.mark()
    try {
      const f = k.copyIn(this.bytes)
      const batch = k.arena.reserve(Math.min(n, BATCH_HASHES) * 8)
      const out = k.arena.reserve(Math.min(bitmap.byteLength, BATCH_HASHES / 8))
      let hits = 0
      for (let i = 0; i < n; i += BATCH_HASHES) {
        const count = Math.min(BATCH_HASHES, n - i)
        k.u32.set(hashes.subarray(2 * i, 2 * (i + count)), batch >>> 2)
        hits += k.exports.sbbf_probe(f, this.blocks, batch, count, out)
        bitmap.set(k.u8.subarray(out, out + (((count + 63) >>> 6) << 3)), i >>> 3)
      }
      return { bitmap, hits }
    } finally {
      k.arena.rewind(mark)
    }
  }

  #probeFew(hashes: Uint32Array, n: number, bitmap: Uint8Array<ArrayBuffer>): { readonly bitmap: Uint8Array<ArrayBuffer>; readonly hits: number } {
    let hits = 0
    for (let i = 0; i < n; i++) {
      if (!this.probeOne(hashes[2 * i]!, hashes[2 * i + 1]!)) continue
      bitmap[i >>> 3]! |= 1 << (i & 7)
      hits++
    }
    return { bitmap, hits }
  }

  /** The filter of both key sets. @throws RangeError unless both have as many blocks */
  merge(other: BloomFilter): BloomFilter {
    if (other.blocks !== this.blocks) throw new RangeError(`bloom filters of ${this.blocks} and ${other.blocks} blocks are merged: one number expected`)
    const words = this.#words.slice()
    for (let i = 0; i < words.length; i++) words[i]! |= other.#words[i]!
    return new BloomFilter(words, this.keys + other.keys)
  }
}

/** Two words a key, which stay what they are while kernels run. */
function wholeHashes(given: Uint32Array): Uint32Array {
  const hashes = settledWords(given)
  if (hashes.length % 2 !== 0) throw new RangeError(`${hashes.length} words of hashes: two a key expected`)
  return hashes
}

/** XXH3-64 of the first 24 bytes and the blocks: the 8 checksum bytes between are left out. */
function checksum(bytes: Uint8Array): readonly [number, number] {
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const out = k.arena.reserve(8)
    const at = k.arena.reserve(bytes.byteLength)
    const u8 = k.u8
    u8.set(bytes.subarray(0, 24), at)
    u8.set(bytes.subarray(BLOOM_HEADER_BYTES), at + 24)
    k.exports.xxh3(at, bytes.byteLength - 8, 0, 0, out)
    return [k.u32[out >>> 2]!, k.u32[(out >>> 2) + 1]!]
  } finally {
    k.arena.rewind(mark)
  }
}
