// indexes/sorted-index.ts: the sorted index of one fragment, `.idx` (docs/format.md section "Sorted index"): its head in memory, its blocks as they are needed.
//
//   header: "VSIX" | u32 version 1, rows, entries per block, blocks, directory bytes | 8 B XXH3-64 of the directory | 32 B SHA-256 of the fragment
//           | u16 columns, per column u32 id, u16 key code | zeros to a multiple of 8 | 8 B XXH3-64 of the header before
//   directory: per block varint bytes, 8 B XXH3-64, first key; then the last key of all. A key is varint bytes shared with the key before, varint length, rest
//   block: u8 mode (0 rows less the least, 1 ascending: each less the one before) | u8 bits | varint least or first row | rows packed, 4 zero bytes
//          | varint distinct keys, per key: its key (not the first, which the directory has), varint entries (unless there is one key, or one key an entry)
//
// An entry is a row; entries ascend by key (index-keys.ts), then as the sort left them. The first keys are the zone map: a reader fetches the head, then only
// the blocks on the borders of a range and between them; of those between it reads the rows alone.
// Invariant: a block is believed after its hash agrees with the directory, that after its hash with the header, and the header only for the fragment it names.
import { ByteReader, DecodeError, hasCheck, toHex, xxh3Bytes } from '../format/index.ts'
import { popcount } from '../kernels/index.ts'
import { behind, BEHIND_NUMBERS, leadingParts } from './index-keys.ts'
import { RowMarks } from './row-marks.ts'

export const SORTED_MAGIC = 0x58495356
export const SORTED_VERSION = 1
/** Entries of a block but the last. */
export const BLOCK_ENTRIES = 512
export const FIXED_BYTES = 66
export const CHECK_BYTES = 8
/** Behind the packed rows, so that four bytes can be read from any of them. */
export const PACK_PADDING = 4
export const MODE_ASCENDING = 1
const COLUMN_BYTES = 6
const ROWS_MAX = 2 ** 26

/** Keys from `from` on and below `to`; `to` undefined: to the end. */
export interface KeyRange {
  readonly from: Uint8Array
  readonly to: Uint8Array | undefined
}

export interface IndexColumn {
  readonly id: number
  /** keyCode() of its type; undefined: any, for who reads no values. */
  readonly code?: number | undefined
}

/** What the file must say of itself to be believed. */
export interface SortedIdentity {
  /** SHA-256 of the fragment, hex. */
  readonly fragment: string
  readonly rows: number
  readonly columns: readonly IndexColumn[]
}

/** Blocks that a range touches. */
export interface Span {
  readonly first: number
  /** Inclusive; below `first`: none. */
  readonly last: number
  /** Entries within the range: all of its blocks, and those between the first and the last. */
  readonly atMost: number
  readonly atLeast: number
}

/** A block's checked bytes, where they are at hand. */
export type ReadBlock = (block: number) => Uint8Array | undefined

export function headerBytes(columns: number): number {
  return Math.ceil((FIXED_BYTES + COLUMN_BYTES * columns) / 8) * 8 + CHECK_BYTES
}

export class SortedIndex {
  readonly rows: number
  readonly blocks: number
  /** Bytes of header and directory: where the first block starts. */
  readonly headBytes: number
  /** Offset of each block in the file, and where the last one ends. */
  readonly offsets: Float64Array
  /** Memory held. */
  readonly byteLength: number
  readonly #blockEntries: number
  readonly #hashes: Uint8Array
  readonly #firstKeys: readonly Uint8Array[]
  readonly #lastKey: Uint8Array
  readonly #codes: readonly number[]

  /**
   * How many bytes from the start of the file the head has, from its first bytes.
   * @throws DecodeError whatever is wrong with them, or when they are of another fragment or of other columns
   */
  static headLength(bytes: Uint8Array, identity: SortedIdentity): number {
    return readHeader(bytes, identity).headBytes
  }

  /** @param head  the file's first headLength() bytes or more @throws DecodeError */
  constructor(head: Uint8Array, identity: SortedIdentity) {
    const header = readHeader(head, identity)
    if (head.length < header.headBytes) throw new DecodeError(`${head.length} bytes of a head of ${header.headBytes}`, head.length)
    const directory = head.subarray(header.headerBytes, header.headBytes)
    if (toHex(xxh3Bytes(directory)) !== header.directoryHash) throw new DecodeError('a directory whose check fails', header.headerBytes)
    const { rows, blocks, blockEntries, headBytes } = header
    this.#codes = identity.columns.map(({ code }) => code ?? 0)
    this.rows = rows
    this.blocks = blocks
    this.headBytes = headBytes
    this.#blockEntries = blockEntries
    this.offsets = new Float64Array(blocks + 1)
    this.#hashes = new Uint8Array(CHECK_BYTES * blocks)
    const keys: Uint8Array[] = []
    const reader = new ByteReader(directory, 0, directory.length)
    let key: Uint8Array = new Uint8Array(0)
    let keyBytes = 0
    this.offsets[0] = headBytes
    for (let block = 0; block < blocks; block++) {
      this.offsets[block + 1] = this.offsets[block]! + reader.varint()
      this.#hashes.set(reader.raw(CHECK_BYTES), CHECK_BYTES * block)
      keys.push((key = nextKey(reader, key)))
      keyBytes += key.length
    }
    this.#lastKey = nextKey(reader, key)
    if (reader.left !== 0) throw new DecodeError(`${reader.left} bytes behind a directory`, headBytes - reader.left)
    this.#firstKeys = keys
    this.byteLength = 16 * blocks + keyBytes + 64 * blocks
  }

  /** The blocks of a range, from the directory alone. */
  span({ from, to }: KeyRange): Span {
    if (to !== undefined && compareKeys(from, to) >= 0) return NOTHING
    if (compareKeys(this.#lastKey, from) < 0) return NOTHING
    // Entries equal to `from` may start in the block before the first whose first key is not below it.
    const first = Math.max(0, this.#firstAtOrAbove(from) - 1)
    const last = (to === undefined ? this.blocks : this.#firstAtOrAbove(to)) - 1
    if (last < first) return NOTHING
    const atLeast = Math.max(0, last - first - 1) * this.#blockEntries
    return { first, last, atMost: this.#endOf(last) - first * this.#blockEntries, atLeast }
  }

  /**
   * The range of the first `entries` entries by the first `columns` columns, and of all others that equal the last of them there; undefined: it would be all.
   * A number: the block that must be read first. Needs the key codes in the identity.
   */
  leading(entries: number, columns: number, read: ReadBlock): KeyRange | number | undefined {
    if (entries > this.rows) return undefined
    const key = this.#keyAt(entries - 1, read)
    return typeof key === 'number' ? key : { from: new Uint8Array(0), to: behind(leadingParts(key, this.#codes, columns)) }
  }

  /** As leading, of the greatest values of the first column; NaN and nulls are left out, which come last in either order. */
  trailing(entries: number, read: ReadBlock): KeyRange | number | undefined {
    const numbers = Uint8Array.of(BEHIND_NUMBERS)
    // The last block that starts with a value may end in others.
    const block = this.#firstAtOrAbove(numbers) - 1
    if (block < 0) return undefined
    const bytes = read(block)
    if (bytes === undefined) return block
    const first = block * this.#blockEntries + entriesBelow(bytes, this.#countOf(block), this.#firstKeys[block]!, numbers) - entries
    if (first < 0) return undefined
    const key = this.#keyAt(first, read)
    return typeof key === 'number' ? key : { from: leadingParts(key, this.#codes, 1), to: numbers }
  }

  #keyAt(entry: number, read: ReadBlock): Uint8Array | number {
    const block = Math.floor(entry / this.#blockEntries)
    const bytes = read(block)
    return bytes === undefined ? block : keyOf(bytes, this.#countOf(block), this.#firstKeys[block]!, entry - block * this.#blockEntries)
  }

  #countOf(block: number): number {
    return this.#endOf(block) - block * this.#blockEntries
  }

  /** The bytes of a block are those that were written. */
  checks(block: number, bytes: Uint8Array): boolean {
    const found = xxh3Bytes(bytes)
    for (let i = 0; i < CHECK_BYTES; i++) if (found[i] !== this.#hashes[CHECK_BYTES * block + i]) return false
    return true
  }

  /**
   * Adds the block's rows whose keys are in the range.
   * @param bytes  of the block, checked @throws DecodeError what no writer writes
   */
  mark(block: number, bytes: Uint8Array, { from, to }: KeyRange, marks: RowMarks): void {
    const { start, end } = this.#within(block, bytes, from, to)
    if (end > start) markRows(bytes, end, start, marks)
  }

  /** The entries of a block that a range covers; keys are looked at only where the directory does not tell. */
  #within(block: number, bytes: Uint8Array, from: Uint8Array, to: Uint8Array | undefined): { start: number; end: number } {
    const count = this.#countOf(block)
    const next = block + 1 < this.blocks ? this.#firstKeys[block + 1]! : this.#lastKey
    const startsInside = compareKeys(this.#firstKeys[block]!, from) >= 0
    const endsInside = to === undefined || compareKeys(next, to) < 0
    if (startsInside && endsInside) return { start: 0, end: count }
    const first = this.#firstKeys[block]!
    const start = startsInside ? 0 : entriesBelow(bytes, count, first, from)
    return { start, end: endsInside ? count : entriesBelow(bytes, count, first, to) }
  }

  #endOf(block: number): number {
    return Math.min(this.rows, (block + 1) * this.#blockEntries)
  }

  /** The first block whose first key is not below `key`; `blocks`: none. */
  #firstAtOrAbove(key: Uint8Array): number {
    let low = 0
    let high = this.blocks
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareKeys(this.#firstKeys[middle]!, key) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

const NOTHING: Span = { first: 0, last: -1, atMost: 0, atLeast: 0 }

/** Unsigned byte order, shorter first. */
export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) if (a[i] !== b[i]) return a[i]! - b[i]!
  return a.length - b.length
}

interface Header {
  readonly rows: number
  readonly blockEntries: number
  readonly blocks: number
  readonly headerBytes: number
  readonly headBytes: number
  readonly directoryHash: string
}

function readHeader(bytes: Uint8Array, { fragment, rows, columns }: SortedIdentity): Header {
  const length = headerBytes(columns.length)
  if (bytes.length < length) throw new DecodeError(`a sorted index of ${bytes.length} bytes`, bytes.length)
  const view = new DataView(bytes.buffer, bytes.byteOffset, length)
  if (view.getUint32(0, true) !== SORTED_MAGIC) throw new DecodeError('not a sorted index', 0)
  if (view.getUint32(4, true) !== SORTED_VERSION) throw new DecodeError(`sorted index version ${view.getUint32(4, true)}`, 4)
  if (!hasCheck(bytes.subarray(0, length))) throw new DecodeError('a header whose check fails, or of another number of columns', 0)
  const blockEntries = view.getUint32(12, true)
  const blocks = view.getUint32(16, true)
  if (view.getUint32(8, true) !== rows) throw new DecodeError(`an index of ${view.getUint32(8, true)} rows for ${rows}`, 8)
  if (blockEntries === 0 || blocks !== Math.ceil(rows / blockEntries) || rows >= ROWS_MAX) throw new DecodeError(`${blocks} blocks of ${blockEntries}`, 12)
  if (toHex(bytes.subarray(32, 64)) !== fragment) throw new DecodeError('an index of another fragment', 32)
  if (view.getUint16(64, true) !== columns.length) throw new DecodeError('an index of another number of columns', 64)
  columns.forEach(({ id, code }, i) => {
    const at = FIXED_BYTES + COLUMN_BYTES * i
    if (view.getUint32(at, true) !== id || (code !== undefined && view.getUint16(at + 4, true) !== code))
      throw new DecodeError('an index of other columns, or of their types before', at)
  })
  const headBytes = length + view.getUint32(20, true)
  return { rows, blockEntries, blocks, headerBytes: length, headBytes, directoryHash: toHex(bytes.subarray(24, 32)) }
}

function nextKey(reader: ByteReader, before: Uint8Array): Uint8Array {
  const shared = reader.varint()
  if (shared > before.length) throw new DecodeError('a key that shares more than there is', reader.at)
  const rest = reader.blob()
  const key = new Uint8Array(shared + rest.length)
  key.set(before.subarray(0, shared))
  key.set(rest, shared)
  return key
}

/** Where the rows of a block lie, and how they are packed. */
interface Packed {
  readonly ascending: boolean
  readonly bits: number
  readonly base: number
  /** First byte of the packed rows. */
  readonly at: number
}

function packedOf(bytes: Uint8Array): Packed {
  const reader = new ByteReader(bytes, 0, bytes.length)
  const mode = reader.u8()
  const bits = reader.u8()
  if (mode > MODE_ASCENDING || bits > 26) throw new DecodeError(`rows of mode ${mode} in ${bits} bits`, 0)
  return { ascending: mode === MODE_ASCENDING, bits, base: reader.varint(), at: reader.at }
}

/** Bytes of the packed rows of a block and their padding. */
export function packedBytes(entries: number, bits: number): number {
  return Math.ceil((entries * bits) / 8) + PACK_PADDING
}

/** Adds the rows of entries start .. end - 1 of a block. */
function markRows(bytes: Uint8Array, end: number, start: number, marks: RowMarks): void {
  const { ascending, bits, base, at } = packedOf(bytes)
  if (at + packedBytes(end, bits) > bytes.length) throw new DecodeError('rows cut short', at)
  const mask = 2 ** bits - 1
  let row = base
  // Ascending rows are sums of all before them.
  for (let i = ascending ? 0 : start, bit = bits * i; i < end; i++, bit += bits) {
    const from = at + (bit >>> 3)
    const shift = bit & 7
    const word = (bytes[from]! | (bytes[from + 1]! << 8) | (bytes[from + 2]! << 16) | (bytes[from + 3]! << 24)) >>> shift
    const value = (shift + bits > 32 ? word | (bytes[from + 4]! << (32 - shift)) : word) & mask
    row = ascending ? row + value : base + value
    if (i < start) continue
    if (row >= marks.rows) throw new DecodeError(`row ${row} of ${marks.rows}`, from)
    marks.add(row)
  }
}

/** The keys of a block, in order. */
class BlockKeys {
  /** Of the key at hand: bytes it shares with the one before, what follows them, entries. The first is whole. */
  shared = 0
  rest: Uint8Array
  run: number
  length: number
  readonly #reader: ByteReader
  readonly #distinct: number
  readonly #entries: number
  #passed = 1

  constructor(bytes: Uint8Array, entries: number, first: Uint8Array) {
    const { bits, at } = packedOf(bytes)
    const start = at + packedBytes(entries, bits)
    if (start >= bytes.length) throw new DecodeError('a block without keys', start)
    this.#reader = new ByteReader(bytes, start, bytes.length)
    this.#distinct = this.#reader.varint()
    this.#entries = entries
    if (this.#distinct === 0 || this.#distinct > entries) throw new DecodeError(`${this.#distinct} keys of ${entries} entries`, start)
    this.rest = first
    this.length = first.length
    this.run = this.#run()
  }

  /** False: there is no other. */
  next(): boolean {
    if (this.#passed++ === this.#distinct) return false
    this.shared = this.#reader.varint()
    this.rest = this.#reader.blob()
    if (this.shared > this.length) throw new DecodeError('a key that shares more than there is', this.#reader.at)
    this.length = this.shared + this.rest.length
    this.run = this.#run()
    return true
  }

  #run(): number {
    return this.#distinct === 1 ? this.#entries : this.#distinct === this.#entries ? 1 : this.#reader.varint()
  }
}

/** Entries of a block whose keys are below `bound`. `first`: the block's first key. */
function entriesBelow(bytes: Uint8Array, entries: number, first: Uint8Array, bound: Uint8Array): number {
  const keys = new BlockKeys(bytes, entries, first)
  let before = 0
  // What the key before has in common with the bound; it is below it. A key that shares more with that one than this is below it too.
  let common = 0
  do {
    if (keys.shared <= common) {
      common = keys.shared + commonBytes(keys.rest, keys.shared, bound)
      if (isAtOrAbove(keys.rest, keys.shared, common, bound)) return before
    }
    before += keys.run
  } while (keys.next())
  if (before !== entries) throw new DecodeError(`keys of ${before} entries for ${entries}`, bytes.length)
  return before
}

/** The key of one entry of a block. */
function keyOf(bytes: Uint8Array, entries: number, first: Uint8Array, entry: number): Uint8Array {
  const keys = new BlockKeys(bytes, entries, first)
  let key = first
  let passed = keys.run
  while (passed <= entry && keys.next()) {
    const own = new Uint8Array(keys.length)
    own.set(key.subarray(0, keys.shared))
    own.set(keys.rest, keys.shared)
    key = own
    passed += keys.run
  }
  if (passed <= entry) throw new DecodeError(`keys of ${passed} entries for ${entries}`, bytes.length)
  return key
}

/** How many bytes of `rest`, which stands at `at` of a key, are those of the bound there. */
function commonBytes(rest: Uint8Array, at: number, bound: Uint8Array): number {
  const most = Math.min(rest.length, bound.length - at)
  let i = 0
  while (i < most && rest[i] === bound[at + i]) i++
  return i
}

/** Whether a key that ends in `rest` from `at` on, and agrees with the bound in `common` bytes, is not below it. */
function isAtOrAbove(rest: Uint8Array, at: number, common: number, bound: Uint8Array): boolean {
  if (common === bound.length) return true
  return common < at + rest.length && rest[common - at]! > bound[common]!
}

/** Decodes every block and holds it against the directory: what verify does beyond the digest. @throws DecodeError */
export function checkSorted(file: Uint8Array, identity: SortedIdentity): void {
  const index = new SortedIndex(file, identity)
  if (index.offsets[index.blocks] !== file.length) throw new DecodeError(`${file.length} bytes, the directory has ${index.offsets[index.blocks]}`, file.length)
  const marks = new RowMarks(identity.rows, identity.rows)
  for (let block = 0; block < index.blocks; block++) {
    const bytes = file.subarray(index.offsets[block], index.offsets[block + 1])
    if (!index.checks(block, bytes)) throw new DecodeError(`block ${block}: its check fails`, index.offsets[block]!)
    index.mark(block, bytes, { from: new Uint8Array(0), to: undefined }, marks)
  }
  const marked = popcount(marks.within(0, identity.rows) ?? new Uint8Array(0), identity.rows)
  if (marks.count !== identity.rows || marked !== identity.rows) throw new DecodeError(`${marked} of ${identity.rows} rows`, 0)
}
