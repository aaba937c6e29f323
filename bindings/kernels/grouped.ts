// kernels/grouped.ts: running aggregates by group: counts, sums, distinct values. Each takes its column of the batch that its GroupTable took last.
//
// Integer sums are exact, of any size. Floats add pairwise in row order: runs of 128 values one by one, runs joined like the carries of a binary counter.
// Nulls are skipped. Invariant: a result depends on the sequence of values only, not on how batches cut it.
import { assert } from '../assert.ts'
import { countValid, sumBigInt } from './aggregate.ts'
import { bitmapAnd, popcount } from './bitmap.ts'
import { Room } from './group-memory.ts'
import type { GroupColumn, GroupTable } from './groups.ts'
import { bitsIn, bytesIn, type Interner, internerFor, PairInterner, type RowList, rowsIn, WIDEN, WORD_ROWS, wordsIn } from './interner.ts'
import { PairwiseSum } from './pairwise-sum.ts'
import { widthOf } from './vec-build.ts'
import type { ValueKind, Vec } from './vec.ts'

const SUM_BYTES = 16
const SUM_128_BYTES = 24
const FLOAT_BYTES = 16
/** group-sums.ts: a count of runs and 40 sums. */
const BLOCK_BYTES = 328
const POOL_BYTES = 16

/** What every aggregate has: its groups, and the rows of a batch that count. */
export abstract class Grouped {
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

  /** Runs over pieces of rows: the groups of the piece, its rows that count, its first row, how many it has. */
  protected pieces(mask: number, run: (groups: number, rows: RowList, first: number, n: number) => void): void {
    const { length, groupsAt, memory } = this.groups
    for (let first = 0; first < length; first += WORD_ROWS) {
      const n = Math.min(WORD_ROWS, length - first)
      run(groupsAt + first * 4, rowsIn(memory, mask, first, n), first, n)
    }
  }
}

/** Rows by group: all that count, or those that hold a value. */
export class GroupedCount extends Grouped {
  readonly #counts: Room
  #rows = 0

  constructor(groups: GroupTable) {
    super(groups)
    this.#counts = new Room(groups.memory, true)
  }

  /** The rows of the batch; with a column, those that are not null in it. */
  add(vec?: Vec): void {
    const { memory, length, selection, size } = this.groups
    if (this.groups.isWhole)
      return this.addRows(vec !== undefined ? countValid(vec, selection) : selection === undefined ? length : popcount(selection, length))
    const mask = vec === undefined ? this.selected() : this.maskOf(vec)
    const counts = this.#counts.ensure(size * 8)
    this.pieces(mask, (groups, rows) => memory.k.exports.group_count(groups, rows.at, rows.count, counts))
  }

  /** Rows that are known without their batch, where there are no columns to group by. */
  addRows(rows: number): void {
    assert(this.groups.isWhole, 'rows without a batch have no group')
    this.#rows += rows
  }

  /** By group. */
  counts(): Float64Array<ArrayBuffer> {
    if (this.groups.isWhole) return Float64Array.of(this.#rows)
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
  #whole = 0n

  constructor(groups: GroupTable, kind: ValueKind) {
    super(groups)
    assert(/^[iu]\d/.test(kind), 'a kind of integers', kind)
    this.#kind = kind
    this.#bytes = kind === 'i128' ? SUM_128_BYTES : SUM_BYTES
    this.#sums = new Room(groups.memory, true)
  }

  add(vec: Vec): void {
    if (this.groups.isWhole) {
      this.#whole += sumBigInt(vec, this.#kind, this.groups.selection)
      return
    }
    const { memory, size } = this.groups
    const { exports } = memory.k
    const mask = this.maskOf(vec)
    const sums = this.#sums.ensure(size * this.#bytes)
    const signed = this.#kind.startsWith('u') ? 0 : 1
    const wide = this.#kind === 'i128' && widthOf(vec.layout) === 16
    this.pieces(mask, (groups, rows, first, n) => {
      if (this.#kind === 'i128') {
        assert(wide, 'decimals have 16 bytes', vec.layout)
        exports.group_sum_128(bytesIn(memory, vec, first, first + n).data, groups, rows.at, rows.count, sums)
      } else {
        exports.group_sum_words(wordsIn(memory, vec, this.#kind, WIDEN.plain, first, n), signed, groups, rows.at, rows.count, sums)
      }
    })
  }

  /** The sum of a group: 0 without values. */
  at(group: number): bigint {
    if (this.groups.isWhole) return this.#whole
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
  readonly #pool: Room
  readonly #whole: PairwiseSum | undefined

  constructor(groups: GroupTable, kind: 'f32' | 'f64') {
    super(groups)
    this.#kind = kind
    this.#states = new Room(groups.memory, true)
    this.#blocks = new Room(groups.memory, true)
    this.#pool = new Room(groups.memory, true)
    this.#whole = groups.isWhole ? new PairwiseSum() : undefined
  }

  add(vec: Vec): void {
    if (this.#whole !== undefined) return this.#whole.add(vec, this.#kind, this.groups.selection)
    const { memory, size } = this.groups
    const { k } = memory
    const mask = this.maskOf(vec)
    const states = this.#states.ensure(size * FLOAT_BYTES)
    const pool = this.#pool.ensure(POOL_BYTES)
    this.pieces(mask, (groups, rows, first, n) => {
      const words = wordsIn(memory, vec, this.#kind, WIDEN.plain, first, n)
      for (let from = 0; ; this.#moreBlocks()) {
        from = k.exports.group_sum_floats(words, groups, rows.at, from, rows.count, states, pool)
        if (from === rows.count) return
      }
    })
  }

  /** By group: 0 without values. */
  sums(): Float64Array<ArrayBuffer> {
    if (this.#whole !== undefined) return Float64Array.of(this.#whole.sum)
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
    const pool = this.#pool.at >>> 2
    k.u32[pool] = at
    k.u32[pool + 2] = Math.floor(this.#blocks.bytes / BLOCK_BYTES)
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
    if (this.groups.isWhole) return
    // The numbers of the pairs are wanted by nobody: they go where the numbers of the values were.
    this.#pairs.number(groupsAt, numbers, size, this.#interner.size, mask, length, numbers)
  }

  counts(): Float64Array<ArrayBuffer> {
    if (this.groups.isWhole) return Float64Array.of(this.#interner.size)
    const counts = new Float64Array(this.groups.size)
    for (const group of this.#pairs.pairs().first) counts[group]!++
    return counts
  }
}
