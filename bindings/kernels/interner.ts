// kernels/interner.ts: numbers for the values of one column, or for pairs of numbers, in first-seen order, over any number of batches.
//
// Numbers and booleans become words of 8 bytes, utf8, binary, decimals and fixed runs go by their bytes; a dictionary's entries are hashed once for each
// dictionary, rows then go by code. Null is a value; -0 is 0; every NaN is one value. The tables are those of assembly/group-table.ts.
// Invariant: equal values get equal numbers across batches, whatever layout each batch has; memory grows with distinct values only.
import { assert } from '../assert.ts'
import { bitmapAll, bitmapBytes } from './bitmap.ts'
import { take } from './columns.ts'
import { GroupMemory, Room } from './group-memory.ts'
import { pieceEnd, pieceRows } from './pieces.ts'
import { KIND_BOOL, kindCode } from './sort-keys.ts'
import { dictionaryOf, makeVec, offsetsOf, widthOf } from './vec-build.ts'
import type { Layout, ValueKind, Vec } from './vec.ts'

/** Rows that go through kernel memory at a time, as words: they and what they came from stay in the second-level cache. */
export const WORD_ROWS = 4096

/** Fields of a table's head, as u32 index. */
const SLOTS = 0
const MASK = 1
const DIRECT = 2
const SIZE = 3
const LIMIT = 4
const NULL = 5
const ENTRIES = 6
const DATA = 7
const CAPACITY = 8
const SEED = 9
const HEAD_BYTES = 64

const FIRST_SLOTS = 1024
/** Up to here slots are a grid that pairs index without hashing: 16 MiB. */
const GRID_SLOTS_MAX = 1 << 22
/** Up to here tables grow by four. */
const SMALL_SLOTS_MAX = 1 << 18

/** What group_widen does to words beyond widening. */
export const WIDEN = { plain: 0, least: 1, most: 2, equal: 3 } as const

/** Rows first .. first + n of a column of numbers or booleans as words in kernel memory; valid until the next call. */
export function wordsIn(memory: GroupMemory, vec: Vec, kind: ValueKind, mode: 0 | 1 | 2 | 3, first: number, n: number): number {
  const { k } = memory
  if (vec.layout.kind === 'bool') {
    const raw = memory.raw.ensure((n + 7) >>> 3)
    k.u8.set(vec.values.subarray(first >>> 3, (first + n + 7) >>> 3), raw)
    const words = memory.words.ensure(n * 8)
    k.exports.group_widen(raw, KIND_BOOL, mode, n, words)
    return words
  }
  const width = widthOf(vec.layout)
  const raw = memory.raw.ensure(n * width)
  k.u8.set(vec.values.subarray(first * width, (first + n) * width), raw)
  if (width === 8 && mode === WIDEN.plain) return raw
  const words = width === 8 ? raw : memory.words.ensure(n * 8)
  k.exports.group_widen(raw, kindCode(kind, width), mode, n, words)
  return words
}

/** A bitmap of n rows in kernel memory, padded with zero bits to 64; 0 for none. */
export function bitsIn(memory: GroupMemory, room: Room, bitmap: Uint8Array | undefined, n: number): number {
  if (bitmap === undefined) return 0
  const padded = bitmapBytes(n)
  const bytes = (n + 7) >>> 3
  const at = room.ensure(padded)
  const { u8 } = memory.k
  u8.set(bitmap.subarray(0, bytes), at)
  u8.fill(0, at + bytes, at + padded)
  if (n & 7) u8[at + bytes - 1]! &= (1 << (n & 7)) - 1
  return at
}

/** Rows of a piece: how many, and where they are listed; 0: they are the first ones. */
export interface RowList {
  readonly at: number
  readonly count: number
}

/** The rows among first .. first + n whose bit is set in the bitmap at `mask` (0: all), counted from the first; valid until the next call. */
export function rowsIn(memory: GroupMemory, mask: number, first: number, n: number): RowList {
  if (mask === 0) return { at: 0, count: n }
  const at = memory.rows.ensure(n * 4 + 32)
  return { at, count: memory.k.exports.bits_to_indices(mask + (first >>> 3), n, at) }
}

/** A piece of a column of byte strings in kernel memory. */
export interface BytesPiece {
  /** 0: `width` bytes a row. */
  readonly offsets: number
  readonly data: number
  readonly width: number
}

/** Where the piece ends that begins at row `first`. */
export function bytesPieceEnd(vec: Vec, first: number): number {
  return vec.layout.kind === 'var' ? pieceEnd(offsetsOf(vec), first, vec.length) : Math.min(vec.length, first + pieceRows(widthOf(vec.layout)))
}

/** Rows first .. end of a var or fixed column; valid until the next call. */
export function bytesIn(memory: GroupMemory, vec: Vec, first: number, end: number): BytesPiece {
  const { k } = memory
  if (vec.layout.kind !== 'var') {
    const width = widthOf(vec.layout)
    const data = memory.raw.ensure((end - first) * width)
    k.u8.set(vec.values.subarray(first * width, end * width), data)
    return { offsets: 0, data, width }
  }
  const source = offsetsOf(vec)
  const from = source[first]!
  const data = memory.raw.ensure(source[end]! - from)
  const offsets = memory.offsets.ensure((end - first + 1) * 4)
  k.u8.set(vec.values.subarray(from, source[end]!), data)
  k.i32.set(source.subarray(first, end + 1), offsets >>> 2)
  // The data pointer is moved back instead of rebasing the offsets.
  return { offsets, data: data - from, width: 0 }
}

/** Numbers for the values of one column. */
export interface Interner {
  /** Distinct values seen, null included. */
  readonly size: number
  /** The number of null; -1 while none was seen. */
  readonly nullNumber: number
  /** Numbers of the rows whose bit is set in the bitmap at `mask` (0: all), as u32 at `out`. */
  number(vec: Vec, mask: number, out: number): void
  /** The values by number, in the plain layout. */
  values(): Vec
}

export function internerFor(memory: GroupMemory, kind: ValueKind, layout: Layout): Interner {
  assert(layout.kind === 'fixed' || layout.kind === 'bool' || layout.kind === 'var' || layout.kind === 'dict', 'a column that compares', layout.kind)
  if (kind === 'bytes' || kind === 'i128') return new BytesInterner(memory, layout)
  return new WordInterner(memory, kind, layout)
}

/** A hash table in kernel memory. */
class Table {
  readonly memory: GroupMemory
  readonly head: number
  readonly #entries: Room
  readonly #slotBytes: 4 | 8
  readonly #entryBytes: 4 | 8
  #slots = 0

  /** `slots`: a power of two; `direct`: the table never has more, and nothing is hashed. */
  constructor(memory: GroupMemory, of: 'words' | 'bytes', slots: number, direct: boolean) {
    this.memory = memory
    this.#slotBytes = of === 'words' ? 4 : 8
    this.#entryBytes = of === 'words' ? 8 : 4
    this.#entries = new Room(memory, true)
    this.head = memory.take(HEAD_BYTES)
    this.#set(DIRECT, direct ? 1 : 0)
    this.#set(SEED, memory.seed)
    this.#set(SEED + 1, ~memory.seed)
    this.#slots = memory.take(slots * this.#slotBytes)
    this.#set(SLOTS, this.#slots)
    this.#set(MASK, slots - 1)
    this.#limit(FIRST_SLOTS >> 1)
  }

  get size(): number {
    return this.field(SIZE)
  }

  get nullNumber(): number {
    return this.field(NULL) - 1
  }

  get entries(): number {
    return this.#entries.at
  }

  get isFull(): boolean {
    return this.field(SIZE) === this.field(LIMIT)
  }

  get isDirect(): boolean {
    return this.field(DIRECT) === 1
  }

  field(index: number): number {
    return this.memory.k.u32[(this.head >>> 2) + index]!
  }

  setData(at: number, capacity: number): void {
    this.#set(DATA, at)
    this.#set(CAPACITY, capacity)
  }

  /** Room for twice as many values or more. */
  grow(): void {
    const slots = this.field(MASK) + 1
    if (this.isDirect) return this.#limit(Math.min(slots + 1, this.field(LIMIT) * 4))
    this.resize(slots < SMALL_SLOTS_MAX ? slots * 4 : slots * 2, false)
  }

  /** Slots made anew; numbers stay. Words may have been changed before. */
  resize(slots: number, direct: boolean): void {
    const { k } = this.memory
    const old = this.#slots
    const oldMask = this.field(MASK)
    // Both regions are there before anything changes, so that an error leaves the table as it was.
    const next = this.memory.take(slots * this.#slotBytes)
    this.#limit(direct ? this.field(LIMIT) : slots >> 1)
    this.#slots = next
    this.#set(SLOTS, this.#slots)
    this.#set(MASK, slots - 1)
    this.#set(DIRECT, direct ? 1 : 0)
    if (this.#slotBytes === 4) k.exports.group_rehash_words(this.head)
    else k.exports.group_rehash_bytes(this.head, old, oldMask)
    k.arena.release(old)
  }

  #limit(limit: number): void {
    // Byte tables have one offset more than values.
    this.#set(ENTRIES, this.#entries.ensure((limit + 1) * this.#entryBytes))
    this.#set(LIMIT, limit)
  }

  #set(index: number, value: number): void {
    this.memory.k.u32[(this.head >>> 2) + index] = value
  }
}

/** Integers, floats and booleans. */
class WordInterner implements Interner {
  readonly #memory: GroupMemory
  readonly #kind: ValueKind
  readonly #layout: Layout
  readonly #table: Table

  constructor(memory: GroupMemory, kind: ValueKind, layout: Layout) {
    this.#memory = memory
    this.#kind = kind
    this.#layout = layout
    // Values of 8 and 16 bits are their own slots.
    const bits = layout.kind === 'fixed' ? layout.width * 8 : 1
    const direct = bits <= 16 && kind !== 'f32' && kind !== 'f64'
    this.#table = new Table(memory, 'words', direct ? 1 << bits : FIRST_SLOTS, direct)
  }

  get size(): number {
    return this.#table.size
  }

  get nullNumber(): number {
    return this.#table.nullNumber
  }

  number(vec: Vec, mask: number, out: number): void {
    const memory = this.#memory
    const mode = this.#kind === 'f32' || this.#kind === 'f64' ? WIDEN.equal : WIDEN.plain
    const validity = bitsIn(memory, memory.validity, vec.validity, vec.length)
    for (let first = 0; first < vec.length; first += WORD_ROWS) {
      const n = Math.min(WORD_ROWS, vec.length - first)
      const words = wordsIn(memory, vec, this.#kind, mode, first, n)
      numberWords(this.#table, words, at(validity, first), rowsIn(memory, mask, first, n), out + first * 4)
    }
  }

  values(): Vec {
    const { k } = this.#memory
    const n = this.#table.size
    const validity = withoutBit(n, this.nullNumber)
    if (this.#layout.kind === 'bool') {
      const bits = new Uint8Array(bitmapBytes(n))
      const entries = this.#table.entries
      for (let i = 0; i < n; i++) bits[i >>> 3]! |= (k.u8[entries + i * 8]! & 1) << (i & 7)
      return makeVec(this.#layout, n, { validity, values: bits })
    }
    const width = widthOf(this.#layout)
    if (this.#kind === 'f32') {
      const floats = Float32Array.from(k.f64.subarray(this.#table.entries >>> 3, (this.#table.entries >>> 3) + n))
      return makeVec(this.#layout, n, { validity, values: new Uint8Array(floats.buffer) })
    }
    if (width === 8) return makeVec(this.#layout, n, { validity, values: k.copyOut(this.#table.entries, n * 8) })
    const out = this.#memory.raw.ensure(n * width)
    k.exports.int_convert(this.#table.entries, 8, width, 1, n, out)
    return makeVec(this.#layout, n, { validity, values: k.copyOut(out, n * width) })
  }
}

function numberWords(table: Table, words: number, validity: number, rows: RowList, out: number): void {
  const { exports } = table.memory.k
  for (let from = 0; ; table.grow()) {
    from = exports.group_words(words, validity, rows.at, from, rows.count, table.head, out)
    if (from === rows.count) return
  }
}

/** utf8, binary (plain or as dictionary) and fixed runs of bytes, decimals among them. */
class BytesInterner implements Interner {
  readonly #memory: GroupMemory
  readonly #layout: Layout
  readonly #table: Table
  readonly #data: Room
  readonly #codes: Room
  readonly #codesValidity: Room
  readonly #list: Room
  /** Number + 1 by code, of the dictionary seen last: the batches of a fragment often share one. */
  readonly #map: Room
  #dictionary: Vec | undefined

  constructor(memory: GroupMemory, layout: Layout) {
    this.#memory = memory
    this.#layout = layout
    this.#table = new Table(memory, 'bytes', FIRST_SLOTS, false)
    this.#data = new Room(memory, false)
    this.#codes = new Room(memory, false)
    this.#codesValidity = new Room(memory, false)
    this.#list = new Room(memory, false)
    this.#map = new Room(memory, false)
    this.#growData(4096)
  }

  get size(): number {
    return this.#table.size
  }

  get nullNumber(): number {
    return this.#table.nullNumber
  }

  number(vec: Vec, mask: number, out: number): void {
    if (vec.layout.kind === 'dict') return this.#numberCodes(vec, dictionaryOf(vec), vec.layout.width, mask, out)
    const validity = bitsIn(this.#memory, this.#memory.validity, vec.validity, vec.length)
    for (let first = 0; first < vec.length;) {
      const end = bytesPieceEnd(vec, first)
      const piece = bytesIn(this.#memory, vec, first, end)
      const { k } = this.#memory
      const rows = rowsIn(this.#memory, mask, first, end - first)
      for (let from = 0; ;) {
        from = k.exports.group_bytes(piece.offsets, piece.data, piece.width, at(validity, first), rows.at, from, rows.count, this.#table.head, out + first * 4)
        if (from === rows.count) break
        const row = first + (rows.at === 0 ? from : k.u32[(rows.at >>> 2) + from]!)
        if (this.#table.isFull) this.#table.grow()
        else this.#growData(piece.width > 0 ? piece.width : vec.offsets![row + 1]! - vec.offsets![row]!)
      }
      first = end
    }
  }

  #numberCodes(vec: Vec, dictionary: Vec, width: number, mask: number, out: number): void {
    const memory = this.#memory
    const { k } = memory
    const entries = dictionary.length
    if (this.#dictionary !== dictionary) {
      this.#map.ensure(entries * 4)
      k.u8.fill(0, this.#map.at, this.#map.at + entries * 4)
      this.#dictionary = dictionary
    }
    const validity = bitsIn(memory, this.#codesValidity, vec.validity, vec.length)
    for (let first = 0; first < vec.length; first += WORD_ROWS) {
      const n = Math.min(WORD_ROWS, vec.length - first)
      const codes = this.#codes.ensure(n * width)
      const list = this.#list.ensure(n * 8)
      k.u8.set(vec.values.subarray(first * width, (first + n) * width), codes)
      const knowsNull = this.nullNumber >= 0 ? 1 : 0
      const rows = rowsIn(memory, mask, first, n)
      const count = k.exports.group_new_codes(codes, width, at(validity, first), rows.at, rows.count, this.#map.at, entries, knowsNull, list)
      if (count > 0) {
        const numbers = list + n * 4
        this.number(take(dictionary, k.u32.slice(list >>> 2, (list >>> 2) + count)), 0, numbers)
        k.exports.group_map_codes(list, numbers, count, this.#map.at)
      }
      k.exports.group_codes(codes, width, at(validity, first), n, this.#map.at, entries, this.nullNumber, out + first * 4)
    }
  }

  values(): Vec {
    const { k } = this.#memory
    const n = this.#table.size
    const offsets = k.i32.slice(this.#table.entries >>> 2, (this.#table.entries >>> 2) + n + 1)
    const data = k.copyOut(this.#data.at, offsets[n]!)
    const validity = withoutBit(n, this.nullNumber)
    if (this.#layout.kind !== 'fixed') return makeVec({ kind: 'var' }, n, { validity, values: data, offsets })
    const { width } = this.#layout
    const raw = new Uint8Array(n * width)
    // Null has no bytes: what is behind it moves up by a row.
    const before = this.nullNumber < 0 ? data.length : this.nullNumber * width
    raw.set(data.subarray(0, before))
    if (before < data.length) raw.set(data.subarray(before), before + width)
    return makeVec(this.#layout, n, { validity, values: raw })
  }

  /** Room for `bytes` more. */
  #growData(bytes: number): void {
    const used = this.#memory.k.u32[(this.#table.entries >>> 2) + this.#table.size]!
    this.#table.setData(this.#data.ensure(used + bytes, used), this.#data.bytes)
  }
}

/** Numbers for pairs of numbers: a grid while it is small, hashed beyond. */
export class PairInterner {
  readonly #memory: GroupMemory
  readonly #table: Table
  /** Bits of the second number in a word. */
  #shift = 5
  #rows = 32

  constructor(memory: GroupMemory) {
    this.#memory = memory
    this.#table = new Table(memory, 'words', this.#rows << this.#shift, true)
  }

  get size(): number {
    return this.#table.size
  }

  /** Numbers of (first, second), n each as u32 in kernel memory, at `out`, which may be one of them. Numbers are below the counts. */
  number(first: number, second: number, firstCount: number, secondCount: number, mask: number, n: number, out: number): void {
    this.#makeRoom(firstCount, secondCount)
    const { exports } = this.#memory.k
    const words = this.#memory.words.ensure(WORD_ROWS * 8)
    for (let row = 0; row < n; row += WORD_ROWS) {
      const rows = Math.min(WORD_ROWS, n - row)
      exports.group_pairs(first + row * 4, second + row * 4, this.#shift, rows, words)
      numberWords(this.#table, words, 0, rowsIn(this.#memory, mask, row, rows), out + row * 4)
    }
  }

  /** The pair behind each number. */
  pairs(): { readonly first: Uint32Array; readonly second: Uint32Array } {
    const n = this.#table.size
    const words = this.#words()
    const first = new Uint32Array(n)
    const second = new Uint32Array(n)
    const mask = 2 ** this.#shift - 1
    for (let i = 0; i < n; i++) {
      first[i] = this.#shift === 32 ? words[2 * i + 1]! : words[2 * i]! >>> this.#shift
      second[i] = (words[2 * i]! & mask) >>> 0
    }
    return { first, second }
  }

  #words(): Uint32Array {
    const start = this.#table.entries >>> 2
    return this.#memory.k.u32.subarray(start, start + this.#table.size * 2)
  }

  #makeRoom(firstCount: number, secondCount: number): void {
    if (!this.#table.isDirect || (firstCount <= this.#rows && secondCount <= 2 ** this.#shift)) return
    const { first, second } = this.pairs()
    const rows = Math.max(this.#rows, ceilPowerOfTwo(firstCount))
    const width = Math.max(2 ** this.#shift, ceilPowerOfTwo(secondCount))
    // An eighth of the limit at most: pairs that are few may lie far apart.
    const direct = rows * width <= Math.min(GRID_SLOTS_MAX, this.#memory.limitBytes / 32)
    this.#rows = rows
    this.#shift = direct ? Math.log2(width) : 32
    const words = this.#words()
    for (let i = 0; i < first.length; i++) {
      words[2 * i] = direct ? first[i]! * width + second[i]! : second[i]!
      words[2 * i + 1] = direct ? 0 : first[i]!
    }
    this.#table.resize(direct ? rows * width : Math.max(FIRST_SLOTS, 4 * ceilPowerOfTwo(first.length)), direct)
  }
}

/** The part of a bitmap (0: none) that begins at a row, which is a multiple of 8. */
function at(bits: number, row: number): number {
  return bits === 0 ? 0 : bits + (row >>> 3)
}

/** Bits of n rows, all but one set; undefined when that one is below 0. */
function withoutBit(n: number, row: number): Uint8Array | undefined {
  if (row < 0) return undefined
  const bits = bitmapAll(n)
  bits[row >>> 3]! &= ~(1 << (row & 7))
  return bits
}

function ceilPowerOfTwo(n: number): number {
  return n <= 1 ? 1 : 2 ** (32 - Math.clz32(n - 1))
}
