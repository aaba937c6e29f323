// indexes/key-index.ts: the key index of one fragment, `.idx` (performance.md section 4; docs/format.md section "Key index").
//
//   0       4         8      12     16       20        24        28         32
//   | VIDX | version | rows left out | rows | buckets | rowBits | tagBits | startBytes | content … | 8 B XXH3-64 of all before |
//
// Keys by the top bits of their hash, bucket = (high * buckets) >> 32. Content, each part padded to 8 bytes:
//   u32 base of every 64 buckets | u16 start of each bucket and of the end, less its base | entries of tagBits + rowBits bits, little-endian bit order:
//   row in the low bits, tag = low bits of the hash above | print of each entry: the 8 bits of the hash above its tag (not in version 1)
//   startBytes 2 = the starts are u16 as said, 4 = they are u32 without bases.
// A fragment that is sorted by its key has a split-block bloom filter instead (VBLM, kernels.md section 5): rows are found by binary search.
//
// Invariant: a key that is in the fragment is never missed; a tag that agrees by chance costs one comparison in the key column.
import { assert } from '../assert.ts'
import { CorruptionError } from '../errors.ts'
import { DecodeError, hasCheck, writeCheck } from '../format/index.ts'
import { bitmapToIndices, BloomFilter, checkBuckets, probeBuckets, writeBuckets } from '../kernels/index.ts'
import type { BucketPlaces, BucketShape, Candidates } from '../kernels/index.ts'

const MAGIC = 0x58444956
const VERSION = 2
/** Without prints. */
const VERSION_1 = 1
const HEADER_BYTES = 32
const CHECK_BYTES = 8
const BLOOM_MAGIC = 0x4d4c4256
const GROUP_BUCKETS = 64
/** Entries of a bucket on average: a look-up of an absent key meets a tag and a print that agree in about 12 of a million cases. */
const BUCKET_ENTRIES = 12
const TAG_BITS_MAX = 12
/** Absent keys that pass: about 3 in 10,000. */
const BLOOM_BITS_PER_KEY = 20
/** Copying this many bytes costs about as much as a probe in kernel memory saves. */
const HASH_REPAYS_BYTES = 512

/** Answer of `probe`: the key may be in the fragment; look for it by binary search. */
export const BINARY_SEARCH = -1

/** One immutable index in memory. */
export interface KeyIndex {
  readonly rows: number
  /** Bytes of memory held. */
  readonly byteLength: number
  /**
   * Rows that may hold the key of this hash: their count, the rows in `hits` until the next probe. 0: certainly absent. BINARY_SEARCH: sorted fragment, may be there.
   */
  probe(low: number, high: number): number
  readonly hits: Uint32Array
  /** As `probe` of `count` hashes, (low, high) pairs, in one go: pairs (place of the hash, row); SEARCH_ROW for BINARY_SEARCH. */
  probeMany(hashes: Uint32Array, count: number): Candidates
  /** False: certainly absent. A look or two at memory, where probe() may compare a bucket's tags: for asking many fragments about one key. */
  mayHold(low: number, high: number): boolean
}

/** As the row of a candidate: the fragment is sorted, look for the key by binary search. */
export const SEARCH_ROW = 0xffff_ffff

/** More rows than any fragment has; keeps bit positions within 31 bits. */
const ROWS_MAX = 2 ** 26

/**
 * The index of the tuples of a unique constraint: buckets, without the rows that a null exempts.
 *
 * @param hashes  (low, high) pairs @param rowOf  ascending row of each; undefined: every row has one, in row order
 */
export function encodeUniqueIndex(hashes: Uint32Array, rowOf: Uint32Array | undefined, rows: number): Uint8Array<ArrayBuffer> {
  assert(rows > 0 && rows < ROWS_MAX, 'an index has 1 .. 2^26 - 1 rows', rows)
  return encodeBuckets(hashes, rowOf, rows)
}

/** `hashes`: (low, high) pairs of all rows in row order. `sorted`: rows ascend strictly by key. */
export function encodeKeyIndex(hashes: Uint32Array, rows: number, sorted: boolean): Uint8Array<ArrayBuffer> {
  assert(rows > 0 && rows < ROWS_MAX, 'an index has 1 .. 2^26 - 1 rows', rows)
  assert(hashes.length >= 2 * rows, 'a hash per row', { rows, words: hashes.length })
  return sorted ? BloomFilter.build(hashes.subarray(0, 2 * rows), BLOOM_BITS_PER_KEY).encode() : encodeBuckets(hashes, undefined, rows)
}

function encodeBuckets(hashes: Uint32Array, rowOf: Uint32Array | undefined, rows: number): Uint8Array<ArrayBuffer> {
  const entries = rowOf?.length ?? rows
  const buckets = Math.max(1, Math.ceil(entries / BUCKET_ENTRIES))
  const rowBits = Math.max(1, 32 - Math.clz32(Math.max(0, rows - 1)))
  const shape = { rows, entries, buckets, rowBits, tagBits: Math.min(TAG_BITS_MAX, 32 - rowBits) }
  const { file } = writeBuckets(shape, hashes, rowOf, (narrow) => {
    const startBytes = narrow ? 2 : 4
    const at = layoutBuckets(buckets, entries, rowBits + shape.tagBits, startBytes, true)
    return { file: newFile({ ...shape, startBytes }, at.end - HEADER_BYTES), at }
  })
  writeCheck(file)
  return file
}

interface FilePlaces extends BucketPlaces {
  readonly end: number
}

function layoutBuckets(buckets: number, count: number, bits: number, startBytes: number, hasPrints: boolean): FilePlaces {
  const bases = startBytes === 2 ? HEADER_BYTES : 0
  const starts = HEADER_BYTES + (startBytes === 2 ? round8(4 * Math.ceil((buckets + 1) / GROUP_BUCKETS)) : 0)
  const entries = starts + round8(startBytes * (buckets + 1))
  const entryWords = Math.ceil((count * bits) / 32)
  const prints = entries + round8(4 * entryWords)
  return { bases, starts, entries, entryWords, prints: hasPrints ? prints : 0, end: hasPrints ? prints + round8(count) : prints }
}

interface Header extends BucketShape {
  readonly startBytes: number
}

function newFile(header: Header, contentBytes: number): Uint8Array<ArrayBuffer> {
  const file = new Uint8Array(HEADER_BYTES + contentBytes + CHECK_BYTES)
  new Uint32Array(file.buffer, 0, 8).set([
    MAGIC,
    VERSION,
    header.rows - header.entries,
    header.rows,
    header.buckets,
    header.rowBits,
    header.tagBits,
    header.startBytes,
  ])
  return file
}

/** @throws DecodeError whatever is wrong with the bytes, or when they index another number of rows */
export function decodeKeyIndex(bytes: Uint8Array, rows: number): KeyIndex {
  if (bytes.length < HEADER_BYTES + CHECK_BYTES || bytes.length % 8 !== 0) throw new DecodeError(`a key index of ${bytes.length} bytes`, 0)
  const file = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice()
  const words = new Uint32Array(file.buffer, file.byteOffset, file.length / 4)
  if (words[0] === BLOOM_MAGIC) return decodeBloom(file, rows)
  if (words[0] !== MAGIC) throw new DecodeError('not a key index', 0)
  if (!hasCheck(file)) throw new DecodeError('a key index whose check fails', 0)
  if (words[1] !== VERSION && words[1] !== VERSION_1) throw new DecodeError(`key index version ${words[1]}`, 4)
  const header: Header = { rows: words[3]!, entries: words[3]! - words[2]!, buckets: words[4]!, rowBits: words[5]!, tagBits: words[6]!, startBytes: words[7]! }
  if (header.rows !== rows) throw new DecodeError(`a key index of ${header.rows} rows for ${rows}`, 12)
  const { entries, buckets, rowBits, tagBits, startBytes } = header
  const isSound = rows < ROWS_MAX && entries >= 0 && buckets > 0 && rowBits > 0 && rowBits + tagBits <= 32 && (startBytes === 2 || startBytes === 4)
  const at = layoutBuckets(buckets, entries, rowBits + tagBits, startBytes, words[1] === VERSION)
  if (!isSound || at.end + CHECK_BYTES !== file.length) throw new DecodeError('a key index that contradicts its header', 8)
  const tags = checkBuckets(header, file, at)
  if (tags === undefined) throw new DecodeError('a key index that names rows it does not have', HEADER_BYTES)
  return new BucketIndex(header, file, at, tags)
}

function decodeBloom(file: Uint8Array, rows: number): KeyIndex {
  let filter: BloomFilter
  try {
    filter = BloomFilter.decode(file, 'key index')
  } catch (cause) {
    if (cause instanceof CorruptionError) throw new DecodeError(cause.message, 0)
    throw cause
  }
  if (filter.keys !== rows) throw new DecodeError(`a filter of ${filter.keys} keys for ${rows} rows`, 16)
  return new BloomIndex(filter)
}

class BloomIndex implements KeyIndex {
  readonly rows: number
  readonly hits: Uint32Array = new Uint32Array(0)
  readonly #filter: BloomFilter

  constructor(filter: BloomFilter) {
    this.rows = filter.keys
    this.#filter = filter
  }

  get byteLength(): number {
    return 32 * this.#filter.blocks
  }

  probe(low: number, high: number): number {
    return this.#filter.probeOne(low, high) ? BINARY_SEARCH : 0
  }

  probeMany(hashes: Uint32Array, count: number): Candidates {
    const { bitmap, hits } = this.#filter.probeMany(hashes.subarray(0, 2 * count))
    const pairs = new Uint32Array(2 * hits).fill(SEARCH_ROW)
    bitmapToIndices(bitmap, count).forEach((place, i) => (pairs[2 * i] = place))
    return { count: hits, pairs }
  }

  mayHold(low: number, high: number): boolean {
    return this.#filter.probeOne(low, high)
  }
}

class BucketIndex implements KeyIndex {
  readonly rows: number
  hits: Uint32Array = new Uint32Array(8)
  readonly byteLength: number
  readonly #header: BucketShape
  readonly #file: Uint8Array
  readonly #places: BucketPlaces
  readonly #scale: number
  readonly #rowBits: number
  readonly #bits: number
  readonly #tagMask: number
  readonly #rowMask: number
  readonly #bases: Uint32Array | undefined
  readonly #starts: Uint16Array | Uint32Array
  readonly #entries: Uint32Array
  readonly #prints: Uint8Array | undefined
  readonly #tagWidth: number
  /** Per bucket one bit for each value of the tag's low 8 bits: in memory only, about 5 % of absent keys pass. */
  readonly #tagBits: Uint32Array

  /** @param tags  of checkBuckets */
  constructor(header: Header, file: Uint8Array, at: BucketPlaces, tags: Uint32Array) {
    const { buffer, byteOffset } = file
    this.#header = header
    this.#file = file
    this.#places = at
    this.#tagBits = tags
    this.rows = header.rows
    this.byteLength = file.length + header.buckets * 32
    this.#scale = header.buckets / 0x1_0000_0000
    this.#rowBits = header.rowBits
    this.#bits = header.rowBits + header.tagBits
    this.#tagMask = (1 << header.tagBits) - 1
    this.#rowMask = header.rowBits === 32 ? 0xffff_ffff : (1 << header.rowBits) - 1
    const narrow = header.startBytes === 2
    this.#bases = narrow ? new Uint32Array(buffer, byteOffset + at.bases, Math.ceil((header.buckets + 1) / GROUP_BUCKETS)) : undefined
    this.#starts = narrow
      ? new Uint16Array(buffer, byteOffset + at.starts, header.buckets + 1)
      : new Uint32Array(buffer, byteOffset + at.starts, header.buckets + 1)
    this.#entries = new Uint32Array(buffer, byteOffset + at.entries, at.entryWords)
    this.#prints = at.prints === 0 ? undefined : file.subarray(at.prints, at.prints + header.entries)
    this.#tagWidth = header.tagBits
  }

  mayHold(low: number, high: number): boolean {
    const bucket = Math.floor((high >>> 0) * this.#scale)
    const tag = low & this.#tagMask & 0xff
    return ((this.#tagBits[bucket * 8 + (tag >>> 5)]! >>> (tag & 31)) & 1) !== 0
  }

  probe(low: number, high: number): number {
    const bucket = Math.floor((high >>> 0) * this.#scale)
    const end = this.#start(bucket + 1)
    const entries = this.#entries
    const bits = this.#bits
    const rowBits = this.#rowBits
    const tagMask = this.#tagMask
    const tag = low & tagMask
    const prints = this.#prints
    const print = (low >>> this.#tagWidth) & 0xff
    let count = 0
    let i = this.#start(bucket)
    for (let bit = Math.imul(i, bits); i < end; i++, bit += bits) {
      const word = bit >>> 5
      const shift = bit & 31
      let entry = entries[word]! >>> shift
      if (shift + bits > 32) entry |= entries[word + 1]! << (32 - shift)
      if (((entry >>> rowBits) & tagMask) !== tag || (prints !== undefined && prints[i] !== print)) continue
      if (count === this.hits.length) this.#moreHits()
      this.hits[count++] = (entry & this.#rowMask) >>> 0
    }
    return count
  }

  probeMany(hashes: Uint32Array, count: number): Candidates {
    // The index is copied into kernel memory, which few hashes do not repay.
    if (count * HASH_REPAYS_BYTES < this.#file.length) return this.#probeFew(hashes, count)
    return probeBuckets(this.#header, this.#file, this.#places, hashes, count)
  }

  #probeFew(hashes: Uint32Array, count: number): Candidates {
    const pairs: number[] = []
    for (let place = 0; place < count; place++) {
      const hits = this.probe(hashes[2 * place]!, hashes[2 * place + 1]!)
      for (let i = 0; i < hits; i++) pairs.push(place, this.hits[i]!)
    }
    return { count: pairs.length / 2, pairs: Uint32Array.from(pairs) }
  }

  #start(bucket: number): number {
    const start = this.#starts[bucket]!
    return this.#bases === undefined ? start : start + this.#bases[bucket >>> 6]!
  }

  #moreHits(): void {
    const more = new Uint32Array(2 * this.hits.length)
    more.set(this.hits)
    this.hits = more
  }
}

function round8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}
