// indexes/key-index.ts: the key index of one fragment, `.idx` (performance.md section 4; docs/format.md section "Key index").
//
//   0       4         8      12     16       20        24        28         32
//   | VIDX | version | 0 | rows | buckets | rowBits | tagBits | startBytes | content … | 8 B XXH3-64 of all before |
//
// Keys by the top bits of their hash, bucket = (high * buckets) >> 32. Content, each part padded to 8 bytes:
//   u32 base of every 64 buckets | u16 start of each bucket and of the end, less its base | entries of tagBits + rowBits bits, little-endian bit order:
//   row in the low bits, tag = low bits of the hash above. startBytes 2 = the starts are u16 as said, 4 = they are u32 without bases.
// A fragment that is sorted by its key has a split-block bloom filter instead (VBLM, kernels.md section 5): rows are found by binary search.
//
// Invariant: a key that is in the fragment is never missed; a tag that agrees by chance costs one comparison in the key column.
import { assert } from '../assert.ts'
import { CorruptionError } from '../errors.ts'
import { DecodeError, hasCheck, writeCheck } from '../format/index.ts'
import { BloomFilter } from '../kernels/index.ts'

const MAGIC = 0x58444956
const VERSION = 1
const HEADER_BYTES = 32
const CHECK_BYTES = 8
const BLOOM_MAGIC = 0x4d4c4256
const GROUP_BUCKETS = 64
/** Entries of a bucket on average: a probe of an absent key meets a false tag in 12 of 4,096 cases. */
const BUCKET_ENTRIES = 12
const TAG_BITS_MAX = 12
const BLOOM_BITS_PER_KEY = 10

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
  /** False: certainly absent. A look or two at memory, where probe() may compare a bucket's tags: for asking many fragments about one key. */
  mayHold(low: number, high: number): boolean
}

/** Candidates of many keys: pairs (place of the hash, row); row 0xFFFFFFFF = binary search. */
export interface Candidates {
  readonly count: number
  /** 2 * count entries. */
  readonly pairs: Uint32Array
}

export const SEARCH_ROW = 0xffff_ffff

/** More rows than any fragment has; keeps bit positions within 31 bits. */
const ROWS_MAX = 2 ** 26

/** `hashes`: (low, high) pairs of all rows in row order. `sorted`: rows ascend strictly by key. */
export function encodeKeyIndex(hashes: Uint32Array, rows: number, sorted: boolean): Uint8Array<ArrayBuffer> {
  assert(rows > 0 && rows < ROWS_MAX, 'an index has 1 .. 2^26 - 1 rows', rows)
  assert(hashes.length >= 2 * rows, 'a hash per row', { rows, words: hashes.length })
  return sorted ? BloomFilter.build(hashes.subarray(0, 2 * rows), BLOOM_BITS_PER_KEY).encode() : encodeBuckets(hashes, rows)
}

function encodeBuckets(hashes: Uint32Array, rows: number): Uint8Array<ArrayBuffer> {
  const buckets = Math.max(1, Math.ceil(rows / BUCKET_ENTRIES))
  const rowBits = Math.max(1, 32 - Math.clz32(Math.max(0, rows - 1)))
  const tagBits = Math.min(TAG_BITS_MAX, 32 - rowBits)
  const scale = buckets / 0x1_0000_0000
  // Counting sort by bucket: starts[b + 1] first counts, then is the place of the bucket's next entry.
  const starts = new Uint32Array(buckets + 2)
  const bucketOf = new Uint32Array(rows)
  for (let i = 0; i < rows; i++) {
    const bucket = Math.floor(hashes[2 * i + 1]! * scale)
    bucketOf[i] = bucket
    starts[bucket + 2]!++
  }
  for (let b = 2; b <= buckets + 1; b++) starts[b]! += starts[b - 1]!
  const entries = new Uint32Array(rows)
  const tagMask = (1 << tagBits) - 1
  for (let i = 0; i < rows; i++) entries[starts[bucketOf[i]! + 1]!++] = (((hashes[2 * i]! & tagMask) << rowBits) | i) >>> 0
  // Now starts[b] is where bucket b begins and starts[buckets] the end.
  return writeBuckets({ rows, buckets, rowBits, tagBits, starts, entries })
}

function writeBuckets(o: {
  rows: number
  buckets: number
  rowBits: number
  tagBits: number
  starts: Uint32Array
  entries: Uint32Array
}): Uint8Array<ArrayBuffer> {
  const { rows, buckets, rowBits, tagBits, starts, entries } = o
  const bits = rowBits + tagBits
  const groups = Math.ceil((buckets + 1) / GROUP_BUCKETS)
  let narrow = true
  for (let b = 0; b <= buckets; b++) if (starts[b]! - starts[b - (b % GROUP_BUCKETS)]! > 0xffff) narrow = false
  const startBytes = narrow ? 2 : 4
  const at = layoutBuckets(buckets, rows, bits, startBytes)
  const file = newFile({ rows, buckets, rowBits, tagBits, startBytes }, at.end - HEADER_BYTES)
  if (narrow) {
    const bases = new Uint32Array(file.buffer, at.bases, groups)
    const relative = new Uint16Array(file.buffer, at.starts, buckets + 1)
    for (let g = 0; g < groups; g++) bases[g] = starts[g * GROUP_BUCKETS]!
    for (let b = 0; b <= buckets; b++) relative[b] = starts[b]! - bases[Math.floor(b / GROUP_BUCKETS)]!
  } else {
    new Uint32Array(file.buffer, at.starts, buckets + 1).set(starts.subarray(0, buckets + 1))
  }
  const words = new Uint32Array(file.buffer, at.entries, at.entryWords)
  for (let i = 0; i < rows; i++) {
    const bit = i * bits
    const word = bit >>> 5
    const shift = bit & 31
    words[word]! |= entries[i]! << shift
    if (shift + bits > 32) words[word + 1]! |= entries[i]! >>> (32 - shift)
  }
  writeCheck(file)
  return file
}

function layoutBuckets(
  buckets: number,
  rows: number,
  bits: number,
  startBytes: number,
): { bases: number; starts: number; entries: number; entryWords: number; end: number } {
  const bases = HEADER_BYTES
  const starts = bases + (startBytes === 2 ? round8(4 * Math.ceil((buckets + 1) / GROUP_BUCKETS)) : 0)
  const entries = starts + round8(startBytes * (buckets + 1))
  const entryWords = Math.ceil((rows * bits) / 32)
  return { bases, starts, entries, entryWords, end: entries + round8(4 * entryWords) }
}

interface Header {
  readonly rows: number
  readonly buckets: number
  readonly rowBits: number
  readonly tagBits: number
  readonly startBytes: number
}

function newFile(header: Header, contentBytes: number): Uint8Array<ArrayBuffer> {
  const file = new Uint8Array(HEADER_BYTES + contentBytes + CHECK_BYTES)
  new Uint32Array(file.buffer, 0, 8).set([MAGIC, VERSION, 0, header.rows, header.buckets, header.rowBits, header.tagBits, header.startBytes])
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
  if (words[1] !== VERSION) throw new DecodeError(`key index version ${words[1]}`, 4)
  const header: Header = { rows: words[3]!, buckets: words[4]!, rowBits: words[5]!, tagBits: words[6]!, startBytes: words[7]! }
  if (header.rows !== rows) throw new DecodeError(`a key index of ${header.rows} rows for ${rows}`, 12)
  const { buckets, rowBits, tagBits, startBytes } = header
  const isSound = rows < ROWS_MAX && buckets > 0 && rowBits > 0 && rowBits + tagBits <= 32 && (startBytes === 2 || startBytes === 4)
  const at = layoutBuckets(buckets, rows, rowBits + tagBits, startBytes)
  if (!isSound || at.end + CHECK_BYTES !== file.length) throw new DecodeError('a key index that contradicts its header', 8)
  return new BucketIndex(header, file, at)
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

  mayHold(low: number, high: number): boolean {
    return this.#filter.probeOne(low, high)
  }
}

class BucketIndex implements KeyIndex {
  readonly rows: number
  hits: Uint32Array = new Uint32Array(8)
  readonly byteLength: number
  readonly #buckets: number
  readonly #scale: number
  readonly #rowBits: number
  readonly #bits: number
  readonly #tagMask: number
  readonly #rowMask: number
  readonly #bases: Uint32Array | undefined
  readonly #starts: Uint16Array | Uint32Array
  readonly #entries: Uint32Array
  /** Per bucket one bit for each value of the tag's low 8 bits: in memory only, about 5 % of absent keys pass. */
  readonly #tagBits: Uint32Array

  constructor(header: Header, file: Uint8Array, at: { bases: number; starts: number; entries: number; entryWords: number }) {
    const { buffer, byteOffset } = file
    this.rows = header.rows
    this.byteLength = file.length + header.buckets * 32
    this.#buckets = header.buckets
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
    assert(this.#start(this.#buckets) === header.rows, 'the last bucket ends with the rows', header.rows)
    this.#tagBits = this.#collectTags()
  }

  #collectTags(): Uint32Array {
    const bitsOfTags = new Uint32Array(this.#buckets * 8)
    for (let bucket = 0; bucket < this.#buckets; bucket++) {
      const end = this.#start(bucket + 1)
      for (let i = this.#start(bucket); i < end; i++) {
        const tag = (this.#entry(i) >>> this.#rowBits) & this.#tagMask & 0xff
        bitsOfTags[bucket * 8 + (tag >>> 5)]! |= 1 << (tag & 31)
      }
    }
    return bitsOfTags
  }

  #entry(i: number): number {
    const bit = i * this.#bits
    const word = Math.floor(bit / 32)
    const shift = bit % 32
    let entry = this.#entries[word]! >>> shift
    if (shift + this.#bits > 32) entry |= this.#entries[word + 1]! << (32 - shift)
    return entry
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
    let count = 0
    let i = this.#start(bucket)
    for (let bit = Math.imul(i, bits); i < end; i++, bit += bits) {
      const word = bit >>> 5
      const shift = bit & 31
      let entry = entries[word]! >>> shift
      if (shift + bits > 32) entry |= entries[word + 1]! << (32 - shift)
      if (((entry >>> rowBits) & tagMask) !== tag) continue
      if (count === this.hits.length) this.#moreHits()
      this.hits[count++] = (entry & this.#rowMask) >>> 0
    }
    return count
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

/** Candidates of `count` keys in one pass; `hashes` are (low, high) pairs. */
export function probeMany(index: KeyIndex, hashes: Uint32Array, count: number): Candidates {
  let pairs = new Uint32Array(64)
  let found = 0
  for (let i = 0; i < count; i++) {
    const hits = index.probe(hashes[2 * i]!, hashes[2 * i + 1]!)
    const rows = hits === BINARY_SEARCH ? 1 : hits
    if (2 * (found + rows) > pairs.length) {
      const more = new Uint32Array(Math.max(2 * pairs.length, 2 * (found + rows)))
      more.set(pairs)
      pairs = more
    }
    for (let k = 0; k < rows; k++, found++) {
      pairs[2 * found] = i
      pairs[2 * found + 1] = hits === BINARY_SEARCH ? SEARCH_ROW : index.hits[k]!
    }
  }
  return { count: found, pairs: pairs.subarray(0, 2 * found) }
}

function round8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}
