// kernels/grouped.ts: running aggregates by group: counts, sums, extremes, distinct values. Each takes its column of the batch that its GroupTable took last.
//
// Integer sums are exact, of any size. Floats add pairwise in row order: runs of 128 values one by one, runs joined like the carries of a binary counter.
// Nulls are skipped, NaN too by extremes. Invariant: a result depends on the sequence of values only, not on how batches cut it.
import { assert } from '../assert.ts'
import { bitmapAll, bitmapAnd, bitmapBytes } from './bitmap.ts'
import { Room } from './group-memory.ts'
import type { GroupColumn, GroupTable } from './groups.ts'
import { at, bitsIn, bytesIn, bytesPieceEnd, internerFor, PairInterner, WIDEN, WORD_ROWS, wordsIn } from './interner.ts'
import type { Interner } from './interner.ts'
import { dictionaryOf, makeVec, widthOf } from './vec-build.ts'
import type { Layout, ValueKind, Vec } from './vec.ts'

const SUM_BYTES = 16
const SUM_128_BYTES = 24
const FLOAT_BYTES = 16
/** group-sums.ts: a count of runs and 40 sums. */
const BLOCK_BYTES = 328

/** What every aggregate has: its groups, and the rows of a batch that count. */
abstract class Grouped {
  protected readonly groups: GroupTable
  readonly #mask: Room

  constructor(groups: GroupTable) {
    this.groups = groups
    this.#mask = new Room(groups.memory, false)
  }

  /** The rows of the batch that count and hold a value, as a bitmap in kernel memory; 0 = all. */
  protected maskOf(vec: Vec): number {
    const { selection, length, memory } = this.groups
    assert(vec.length === length, 'a column that is aggregated has the length of its batch', { rows: vec.length, batch: length })
    const { validity } = vec
    return bitsIn(
      memory,
      this.#mask,
      validity === undefined || selection === undefined ? (validity ?? selection) : bitmapAnd(validity, selection, length),
      length,
    )
  }

  protected selected(): number {
    return bitsIn(this.groups.memory, this.#mask, this.groups.selection, this.groups.length)
  }

  /** Runs over pieces of rows: numbers of groups, mask, first row, rows. */
  protected pieces(mask: number, run: (groups: number, mask: number, first: number, n: number) => void): void {
    const { length, groupsAt } = this.groups
    for (let first = 0; first < length; first += WORD_ROWS) run(groupsAt + first * 4, at(mask, first), first, Math.min(WORD_ROWS, length - first))
  }
}

/** Rows by group: all that count, or those that hold a value. */
export class GroupedCount extends Grouped {
  readonly #counts: Room

  constructor(groups: GroupTable) {
    super(groups)
    this.#counts = new Room(groups.memory, true)
  }

  /** The rows of the batch; with a column, those that are not null in it. */
  add(vec?: Vec): void {
    const { memory, groupsAt, length, size } = this.groups
    const mask = vec === undefined ? this.selected() : this.maskOf(vec)
    memory.k.exports.group_count(groupsAt, mask, length, this.#counts.ensure(size * 8))
  }

  /** By group. */
  counts(): Float64Array<ArrayBuffer> {
    const { memory, size } = this.groups
    const start = this.#counts.ensure(size * 8) >>> 2
    const words = memory.k.u32.subarray(start, start + size * 2)
    return Float64Array.from({ length: size }, (_, group) => words[2 * group]! + words[2 * group + 1]! * 2 ** 32)
  }
}

/** Exact sums of integers of 8 to 64 bits, and of 128-bit decimals. */
export class GroupedIntSum extends Grouped {
  readonly #kind: ValueKind
  readonly #bytes: number
  readonly #sums: Room

  constructor(groups: GroupTable, kind: ValueKind) {
    super(groups)
    assert(/^[iu]\d/.test(kind), 'a kind of integers', kind)
    this.#kind = kind
    this.#bytes = kind === 'i128' ? SUM_128_BYTES : SUM_BYTES
    this.#sums = new Room(groups.memory, true)
  }

  add(vec: Vec): void {
    const { memory, size } = this.groups
    const { exports } = memory.k
    const mask = this.maskOf(vec)
    const sums = this.#sums.ensure(size * this.#bytes)
    const signed = this.#kind.startsWith('u') ? 0 : 1
    const wide = this.#kind === 'i128' && widthOf(vec.layout) === 16
    this.pieces(mask, (groups, bits, first, n) => {
      if (this.#kind === 'i128') {
        assert(wide, 'decimals have 16 bytes', vec.layout)
        exports.group_sum_128(bytesIn(memory, vec, first, first + n).data, groups, bits, n, sums)
      } else {
        exports.group_sum_words(wordsIn(memory, vec, this.#kind, WIDEN.plain, first, n), signed, groups, bits, n, sums)
      }
    })
  }

  /** The sum of a group: 0 without values. */
  at(group: number): bigint {
    const { memory, size } = this.groups
    const from = this.#sums.ensure(size * this.#bytes) + group * this.#bytes
    const { view } = memory.k
    let sum = view.getBigInt64(from + this.#bytes - 8, true)
    // Most sums are small: their high half only repeats the sign.
    if (this.#bytes === SUM_BYTES) {
      const low = view.getBigInt64(from, true)
      if ((sum === 0n && low >= 0n) || (sum === -1n && low < 0n)) return low
    }
    for (let word = this.#bytes - 16; word >= 0; word -= 8) sum = (sum << 64n) + view.getBigUint64(from + word, true)
    return sum
  }
}

/** Pairwise sums of f32 and f64. */
export class GroupedFloatSum extends Grouped {
  readonly #kind: 'f32' | 'f64'
  readonly #states: Room
  readonly #blocks: Room
  /** { u32 blocks, u32 used, u32 room } */
  readonly #pool: number

  constructor(groups: GroupTable, kind: 'f32' | 'f64') {
    super(groups)
    this.#kind = kind
    this.#states = new Room(groups.memory, true)
    this.#blocks = new Room(groups.memory, true)
    this.#pool = groups.memory.take(16)
  }

  add(vec: Vec): void {
    const { memory, size } = this.groups
    const { k } = memory
    const mask = this.maskOf(vec)
    const states = this.#states.ensure(size * FLOAT_BYTES)
    this.pieces(mask, (groups, bits, first, n) => {
      const words = wordsIn(memory, vec, this.#kind, WIDEN.plain, first, n)
      for (let row = 0; ; this.#moreBlocks()) {
        row = k.exports.group_sum_floats(words, groups, bits, row, n, states, this.#pool)
        if (row === n) return
      }
    })
  }

  /** By group: 0 without values. */
  sums(): Float64Array<ArrayBuffer> {
    const { memory, size } = this.groups
    const { k } = memory
    const states = this.#states.ensure(size * FLOAT_BYTES)
    const out = memory.words.ensure(size * 8)
    k.exports.group_float_sums(states, this.#blocks.at, size, out)
    return k.f64.slice(out >>> 3, (out >>> 3) + size)
  }

  #moreBlocks(): void {
    const { k } = this.groups.memory
    const at = this.#blocks.ensure(this.#blocks.bytes + BLOCK_BYTES)
    k.u32[this.#pool >>> 2] = at
    k.u32[(this.#pool >>> 2) + 2] = Math.floor(this.#blocks.bytes / BLOCK_BYTES)
  }
}

/** The least or greatest value by group. */
export class GroupedExtreme extends Grouped {
  readonly #kind: ValueKind
  readonly #layout: Layout
  readonly #most: boolean
  readonly #best: Room
  /** Byte strings: the winners, and { u32 data, u32 used, u32 capacity }. */
  readonly #data: Room
  readonly #pool: number
  readonly #codes: Room

  /** `of`: the column in its plain layout. */
  constructor(groups: GroupTable, of: GroupColumn, which: 'min' | 'max') {
    super(groups)
    this.#kind = of.kind
    this.#layout = of.layout
    this.#most = which === 'max'
    this.#best = new Room(groups.memory, true)
    this.#data = new Room(groups.memory, false)
    this.#codes = new Room(groups.memory, false)
    this.#pool = groups.memory.take(16)
  }

  add(vec: Vec): void {
    const mask = this.maskOf(vec)
    if (this.#kind === 'bytes') return vec.layout.kind === 'dict' ? this.#addCodes(vec, vec.layout.width, mask) : this.#addBytes(vec, mask)
    const { memory, size } = this.groups
    const { exports } = memory.k
    if (this.#kind === 'i128') {
      assert(widthOf(vec.layout) === 16, 'decimals have 16 bytes', vec.layout)
      const best = this.#best.ensure(size * 32)
      const most = this.#most ? 1 : 0
      return this.pieces(mask, (groups, bits, first, n) => exports.group_extreme_128(bytesIn(memory, vec, first, first + n).data, most, groups, bits, n, best))
    }
    const best = this.#best.ensure(size * 16)
    const float = isFloat(this.#kind) ? 1 : 0
    const mode = this.#most ? WIDEN.most : WIDEN.least
    this.pieces(mask, (groups, bits, first, n) => exports.group_least(wordsIn(memory, vec, this.#kind, mode, first, n), float, groups, bits, n, best))
  }

  /** One row per group; null where no value was seen. */
  values(): Vec {
    const { memory, size } = this.groups
    const bytes = this.#kind === 'i128' ? 32 : 16
    const best = this.#best.ensure(size * bytes)
    const { k } = memory
    const seenAt = this.#kind === 'i128' ? 16 : this.#kind === 'bytes' ? 12 : 8
    const validity = bitmapAll(size)
    const u32 = k.u32
    for (let group = 0, word = (best + seenAt) >>> 2; group < size; group++, word += bytes >>> 2) {
      if (u32[word] === 0) validity[group >>> 3]! &= ~(1 << (group & 7))
    }
    if (this.#kind === 'bytes') return this.#bytesOf(best, size, validity)
    if (this.#layout.kind === 'bool') return makeVec(this.#layout, size, { validity, values: this.#boolsOf(best, size) })
    return makeVec(this.#layout, size, { validity, values: this.#numbersOf(best, size) })
  }

  #addBytes(vec: Vec, mask: number): void {
    const { memory } = this.groups
    for (let first = 0; first < vec.length;) {
      const end = bytesPieceEnd(vec, first)
      const { offsets, data, width } = bytesIn(memory, vec, first, end)
      this.#offer(offsets, data, width, 0, 0, mask, first, end - first, (row) =>
        width > 0 ? width : vec.offsets![first + row + 1]! - vec.offsets![first + row]!,
      )
      first = end
    }
  }

  #addCodes(vec: Vec, codeWidth: number, mask: number): void {
    const { memory, length } = this.groups
    const dictionary = dictionaryOf(vec)
    const { offsets, data } = bytesIn(memory, dictionary, 0, dictionary.length)
    const codes = this.#codes.ensure(length * codeWidth)
    memory.k.u8.set(vec.values.subarray(0, length * codeWidth), codes)
    const longest = lengthOfLongest(dictionary)
    this.#offer(offsets, data, dictionary.length, codes, codeWidth, mask, 0, length, () => longest)
  }

  #offer(
    offsets: number,
    data: number,
    width: number,
    codes: number,
    codeWidth: number,
    mask: number,
    first: number,
    n: number,
    lengthAt: (row: number) => number,
  ): void {
    const { memory, size, groupsAt } = this.groups
    const { k } = memory
    const best = this.#best.ensure(size * 16)
    const groups = groupsAt + first * 4
    for (let row = 0; ;) {
      row = k.exports.group_extreme_bytes(offsets, data, width, codes, codeWidth, this.#most ? 1 : 0, groups, at(mask, first), row, n, best, this.#pool)
      if (row === n) return
      const pool = this.#pool >>> 2
      const used = k.u32[pool + 1]!
      k.u32[pool] = this.#data.ensure(used + Math.max(4096, 2 * lengthAt(row)), used)
      k.u32[pool + 2] = this.#data.bytes
    }
  }

  #numbersOf(best: number, size: number): Uint8Array {
    const { k } = this.groups.memory
    const width = widthOf(this.#layout)
    if (this.#kind === 'i128') {
      const out = new Uint8Array(size * 16)
      for (let group = 0; group < size; group++) out.set(k.u8.subarray(best + group * 32, best + group * 32 + 16), group * 16)
      return out
    }
    if (isFloat(this.#kind)) {
      const floats = width === 4 ? new Float32Array(size) : new Float64Array(size)
      const sign = this.#most ? -1 : 1
      for (let group = 0, word = best >>> 3; group < size; group++, word += 2) floats[group] = k.f64[word]! * sign
      return new Uint8Array(floats.buffer)
    }
    const words = new Uint32Array(size * 2)
    const flip = this.#most ? 0xffffffff : 0
    const flipTop = this.#kind === 'u64' ? flip ^ 0x80000000 : flip
    const u32 = k.u32
    for (let group = 0, word = best >>> 2; group < size; group++, word += 4) {
      words[2 * group] = u32[word]! ^ flip
      words[2 * group + 1] = u32[word + 1]! ^ flipTop
    }
    const bytes = new Uint8Array(words.buffer)
    if (width === 8) return bytes
    const narrow = new Uint8Array(size * width)
    for (let group = 0; group < size; group++) for (let b = 0; b < width; b++) narrow[group * width + b] = bytes[group * 8 + b]!
    return narrow
  }

  #boolsOf(best: number, size: number): Uint8Array {
    const bits = new Uint8Array(bitmapBytes(size))
    const u32 = this.groups.memory.k.u32
    for (let group = 0; group < size; group++) {
      const word = u32[(best >>> 2) + group * 4]! ^ (this.#most ? 1 : 0)
      bits[group >>> 3]! |= (word & 1) << (group & 7)
    }
    return bits
  }

  #bytesOf(best: number, size: number, validity: Uint8Array): Vec {
    const { u8, u32 } = this.groups.memory.k
    const fixed = this.#layout.kind === 'fixed' ? this.#layout.width : 0
    const offsets = new Int32Array(size + 1)
    for (let group = 0, word = (best >>> 2) + 1; group < size; group++, word += 4) {
      offsets[group + 1] = offsets[group]! + (fixed > 0 ? fixed : u32[word]!)
    }
    const values = new Uint8Array(offsets[size]!)
    for (let group = 0, word = best >>> 2; group < size; group++, word += 4) {
      const from = this.#data.at + u32[word]!
      values.set(u8.subarray(from, from + u32[word + 1]!), offsets[group])
    }
    if (fixed > 0) return makeVec(this.#layout, size, { validity, values })
    return makeVec({ kind: 'var' }, size, { validity, values, offsets })
  }
}

/** Distinct values other than null, by group. */
export class GroupedDistinct extends Grouped {
  readonly #interner: Interner
  readonly #pairs: PairInterner
  readonly #numbers: Room

  constructor(groups: GroupTable, of: GroupColumn) {
    super(groups)
    this.#interner = internerFor(groups.memory, of.kind, of.layout)
    this.#pairs = new PairInterner(groups.memory)
    this.#numbers = new Room(groups.memory, true)
  }

  add(vec: Vec): void {
    const { length, groupsAt, size } = this.groups
    const mask = this.maskOf(vec)
    const numbers = this.#numbers.ensure(length * 4)
    this.#interner.number(vec, mask, numbers)
    // The numbers of the pairs are wanted by nobody: they go where the numbers of the values were.
    this.#pairs.number(groupsAt, numbers, size, this.#interner.size, mask, length, numbers)
  }

  counts(): Float64Array<ArrayBuffer> {
    const counts = new Float64Array(this.groups.size)
    for (const group of this.#pairs.pairs().first) counts[group]!++
    return counts
  }
}

function isFloat(kind: ValueKind): boolean {
  return kind === 'f32' || kind === 'f64'
}

function lengthOfLongest({ length, offsets }: Vec): number {
  let longest = 0
  for (let i = 0; i < length; i++) longest = Math.max(longest, offsets![i + 1]! - offsets![i]!)
  return longest
}
