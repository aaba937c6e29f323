// table/accumulators.ts: running sums, counts, extremes and distinct counts per group. Group 0 stands for "all rows" when no groups are given.
//
// Integers add exactly: partial sums in doubles, spilled to a bigint before they pass 2^52; 64 and 128 bits go by 32-bit limbs, so no bigint per row.
// Floats add pairwise in storage order: runs of 128 values are added one by one, the runs then joined like the carries of a binary counter (the
// summation of NumPy and Julia, made incremental). Invariant: a result depends on the sequence of values only, not on how batches cut it.

import { makeVec, minMaxVec, slice, sumVec, type ValueKind, type Vec } from '../kernels/index.ts'
import { type KeyEncoder, keyEncoder } from './key-encoder.ts'
import { grown, PairTable } from './key-tables.ts'
import { codesOf, compareBytes, fixedVec, isValid, numbersOf, validityOf, vecOfValue, wordsOf } from './vec-views.ts'
import type { ViewColumn } from './view.ts'

/** The group of every row; undefined: all rows are group 0. */
export type Groups = Uint32Array | undefined

const SPILL = 2 ** 52
/** Below this, a loop here costs less than the copy into kernel memory. */
const KERNEL_ROWS_MIN = 1024

/** Rows, or the rows that hold a value. */
export class CountAccumulator {
  #counts: Float64Array = new Float64Array(1)

  addRows(rows: number, groups: Groups, size: number): void {
    this.#counts = grown(this.#counts, size)
    const counts = this.#counts
    if (groups === undefined) counts[0]! += rows
    else for (let i = 0; i < rows; i++) counts[groups[i]!]!++
  }

  add(vec: Vec, groups: Groups, size: number): void {
    if (vec.validity === undefined || groups === undefined) {
      if (groups === undefined) this.addRows(vec.length - vec.nullCount, undefined, size)
      else this.addRows(vec.length, groups, size)
      return
    }
    this.#counts = grown(this.#counts, size)
    const { validity } = vec
    for (let i = 0; i < vec.length; i++) this.#counts[groups[i]!]! += (validity[i >> 3]! >> (i & 7)) & 1
  }

  at(group: number): number {
    return this.#counts[group] ?? 0
  }
}

/** Exact sums of integers of 8 to 128 bits. */
export class IntegerSum {
  readonly #kind: ValueKind
  readonly #limbs: number
  /** Limb sums, limb-major within a group. */
  #sums: Float64Array
  /** What was moved out of #sums, per group. */
  readonly #spilled = new Map<number, bigint>()

  constructor(kind: ValueKind) {
    this.#kind = kind
    this.#limbs = kind === 'i128' ? 4 : kind === 'i64' || kind === 'u64' ? 2 : 1
    this.#sums = new Float64Array(this.#limbs)
  }

  add(vec: Vec, groups: Groups, size: number): void {
    this.#sums = grown(this.#sums, size * this.#limbs)
    if (groups === undefined && this.#kind !== 'i128' && vec.length >= KERNEL_ROWS_MIN) this.#addSum(sumVec(vec, this.#kind))
    else if (this.#limbs > 1) this.#addLimbs(vec, groups)
    else if (groups === undefined) this.#addAll(vec)
    else this.#addGrouped(vec, groups)
  }

  at(group: number): bigint {
    return (this.#spilled.get(group) ?? 0n) + this.#pending(group)
  }

  #addSum(sum: number | bigint): void {
    if (typeof sum === 'bigint') this.#spilled.set(0, (this.#spilled.get(0) ?? 0n) + sum)
    else this.#addNumber(sum)
  }

  #addAll(vec: Vec): void {
    const cells = numbersOf(vec, this.#kind)
    const { validity, length } = vec
    let sum = 0
    if (validity === undefined) for (let i = 0; i < length; i++) sum += cells[i]!
    else for (let i = 0; i < length; i++) if (((validity[i >> 3]! >> (i & 7)) & 1) === 1) sum += cells[i]!
    this.#addNumber(sum)
  }

  /** At most 64 Ki values of at most 2^32 were added up: below 2^48, so that one check a batch is enough. */
  #addNumber(sum: number): void {
    this.#sums[0]! += sum
    if (Math.abs(this.#sums[0]!) > SPILL) this.#spill(0)
  }

  #addGrouped(vec: Vec, groups: Uint32Array): void {
    const cells = numbersOf(vec, this.#kind)
    const { validity, length } = vec
    const sums = this.#sums
    for (let i = 0; i < length; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) continue
      const group = groups[i]!
      const sum = sums[group]! + cells[i]!
      sums[group] = sum
      if (sum > SPILL || sum < -SPILL) this.#spill(group)
    }
  }

  #addLimbs(vec: Vec, groups: Groups): void {
    const limbs = this.#limbs
    const words = wordsOf(vec, limbs * 4)
    const unsigned = this.#kind === 'u64'
    const { validity, length } = vec
    const sums = this.#sums
    for (let i = 0; i < length; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) continue
      const group = groups === undefined ? 0 : groups[i]!
      const at = group * limbs
      const from = i * limbs
      let largest = 0
      for (let l = 0; l < limbs; l++) {
        // Lower limbs are unsigned; the top one carries the sign.
        const word = words[from + l]!
        const sum = sums[at + l]! + (l < limbs - 1 || unsigned ? word >>> 0 : word)
        sums[at + l] = sum
        if (sum > largest || -sum > largest) largest = Math.abs(sum)
      }
      if (largest > SPILL) this.#spill(group)
    }
  }

  #pending(group: number): bigint {
    let sum = 0n
    for (let l = this.#limbs - 1; l >= 0; l--) sum = (sum << 32n) + BigInt(this.#sums[group * this.#limbs + l] ?? 0)
    return sum
  }

  #spill(group: number): void {
    this.#spilled.set(group, (this.#spilled.get(group) ?? 0n) + this.#pending(group))
    this.#sums.fill(0, group * this.#limbs, (group + 1) * this.#limbs)
  }
}

const RUN = 128

/** Pairwise sums of float32 and float64. */
export class FloatSum {
  readonly #kind: ValueKind
  /** The run being added, and how many values came so far. */
  #runs: Float64Array = new Float64Array(1)
  #counts: Float64Array = new Float64Array(1)
  /** #levels[l][group]: a sum of 2^l runs, where bit l of the number of full runs is set. */
  readonly #levels: Float64Array[] = []

  constructor(kind: ValueKind) {
    this.#kind = kind
  }

  add(vec: Vec, groups: Groups, size: number): void {
    this.#runs = grown(this.#runs, size)
    this.#counts = grown(this.#counts, size)
    const cells = numbersOf(vec, this.#kind)
    const { validity, length } = vec
    if (groups === undefined && validity === undefined) return this.#addAll(cells, length)
    const runs = this.#runs
    const counts = this.#counts
    for (let i = 0; i < length; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) continue
      const group = groups === undefined ? 0 : groups[i]!
      runs[group]! += cells[i]!
      if (++counts[group]! % RUN === 0) this.#carry(group)
    }
  }

  at(group: number): number {
    let sum = this.#runs[group] ?? 0
    let full = Math.floor((this.#counts[group] ?? 0) / RUN)
    for (let l = 0; full > 0; l++, full = Math.floor(full / 2)) if (full % 2 === 1) sum = this.#levels[l]![group]! + sum
    return sum
  }

  #addAll(cells: ArrayLike<number>, length: number): void {
    let i = 0
    while (i < length) {
      const end = Math.min(length, i + RUN - (this.#counts[0]! % RUN))
      let run = this.#runs[0]!
      this.#counts[0]! += end - i
      for (; i < end; i++) run += cells[i]!
      this.#runs[0] = run
      if (this.#counts[0]! % RUN === 0) this.#carry(0)
    }
  }

  /** The run is full: join it with the levels whose bits the count just cleared. */
  #carry(group: number): void {
    let sum = this.#runs[group]!
    this.#runs[group] = 0
    let full = this.#counts[group]! / RUN - 1
    let l = 0
    for (; full % 2 === 1; full = (full - 1) / 2, l++) sum = this.#levels[l]![group]! + sum
    if (l === this.#levels.length) this.#levels.push(new Float64Array(this.#runs.length))
    const level = grown(this.#levels[l]!, this.#runs.length)
    level[group] = sum
    this.#levels[l] = level
  }
}

/** The smallest or largest value; NaN is skipped, as null is. */
export interface Extreme {
  add(vec: Vec, groups: Groups, size: number): void
  /** One row per group; null where no value was seen. */
  finish(size: number): Vec
}

/**
 * A Vec with the same extreme as `vec`: of one row where a kernel finds it. Floats stay as they are: of 0 and -0 the first one counts, and which that is
 * must not depend on how long batches are.
 */
export function extremeRow(vec: Vec, kind: ValueKind, sign: 1 | -1): Vec {
  if (vec.length < KERNEL_ROWS_MIN || kind === 'f32' || kind === 'f64') return vec
  const found = minMaxVec(vec, kind)
  if (found === undefined) return slice(vec, 0, 0)
  const value = sign > 0 ? found.min : found.max
  if (typeof value === 'number' || typeof value === 'bigint') return vecOfValue(kind, value)
  const bytes = value as Uint8Array
  if (vec.layout.kind === 'fixed') return makeVec(vec.layout, 1, { values: bytes })
  return makeVec({ kind: 'var' }, 1, { values: bytes, offsets: Int32Array.of(0, bytes.length) })
}

export function extremeOf(kind: ValueKind, width: number, sign: 1 | -1): Extreme {
  if (kind === 'bytes' || kind === 'bool') return new BytesExtreme(width, sign)
  if (kind === 'i64' || kind === 'u64' || kind === 'i128') return new LimbExtreme(kind, width, sign)
  return new NumberExtreme(kind, width, sign)
}

class NumberExtreme implements Extreme {
  readonly #kind: ValueKind
  readonly #width: number
  readonly #sign: 1 | -1
  #best: Float64Array = new Float64Array(1)
  #seen: Uint8Array = new Uint8Array(1)

  constructor(kind: ValueKind, width: number, sign: 1 | -1) {
    this.#kind = kind
    this.#width = width
    this.#sign = sign
  }

  add(vec: Vec, groups: Groups, size: number): void {
    const best = (this.#best = grown(this.#best, size))
    const seen = (this.#seen = grown(this.#seen, size))
    const cells = numbersOf(vec, this.#kind)
    const { validity, length } = vec
    const sign = this.#sign
    for (let i = 0; i < length; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) continue
      const group = groups === undefined ? 0 : groups[i]!
      const value = cells[i]!
      // False for NaN either way; the second test keeps it out where nothing was seen yet.
      if (seen[group] === 0 ? value === value : sign > 0 ? value < best[group]! : value > best[group]!) {
        best[group] = value
        seen[group] = 1
      }
    }
  }

  finish(size: number): Vec {
    this.#best = grown(this.#best, size)
    this.#seen = grown(this.#seen, size)
    const raw = new ArrayBuffer(((size * this.#width + 7) >> 3) << 3)
    const vec = fixedVec(
      this.#width,
      size,
      new Uint8Array(raw),
      validityOf(size, (g) => this.#seen[g] === 1),
    )
    const cells = numbersOf(vec, this.#kind)
    for (let g = 0; g < size; g++) cells[g] = this.#best[g]!
    return vec
  }
}

class LimbExtreme implements Extreme {
  readonly #unsigned: boolean
  readonly #limbs: number
  readonly #sign: 1 | -1
  #best: Int32Array
  #seen: Uint8Array = new Uint8Array(1)

  constructor(kind: ValueKind, width: number, sign: 1 | -1) {
    this.#unsigned = kind === 'u64'
    this.#limbs = width / 4
    this.#sign = sign
    this.#best = new Int32Array(this.#limbs)
  }

  add(vec: Vec, groups: Groups, size: number): void {
    const limbs = this.#limbs
    const best = (this.#best = grown(this.#best, size * limbs))
    const seen = (this.#seen = grown(this.#seen, size))
    const words = wordsOf(vec, limbs * 4)
    const { validity, length } = vec
    const sign = this.#sign
    const flip = this.#unsigned ? 0x80000000 | 0 : 0
    for (let i = 0; i < length; i++) {
      if (validity !== undefined && ((validity[i >> 3]! >> (i & 7)) & 1) === 0) continue
      const group = groups === undefined ? 0 : groups[i]!
      let l = limbs - 1
      while (l > 0 && words[i * limbs + l] === best[group * limbs + l]) l--
      const a = words[i * limbs + l]!
      const b = best[group * limbs + l]!
      const less = l === limbs - 1 ? (a ^ flip) < (b ^ flip) : a >>> 0 < b >>> 0
      if (seen[group] === 1 && (a === b || less !== sign > 0)) continue
      for (let k = 0; k < limbs; k++) best[group * limbs + k] = words[i * limbs + k]!
      seen[group] = 1
    }
  }

  finish(size: number): Vec {
    this.#best = grown(this.#best, size * this.#limbs)
    this.#seen = grown(this.#seen, size)
    return fixedVec(
      this.#limbs * 4,
      size,
      this.#best,
      validityOf(size, (g) => this.#seen[g] === 1),
    )
  }
}

class BytesExtreme implements Extreme {
  /** 0: var. */
  readonly #width: number
  readonly #sign: 1 | -1
  readonly #best: (Uint8Array | undefined)[] = []

  constructor(width: number, sign: 1 | -1) {
    this.#width = width
    this.#sign = sign
  }

  add(vec: Vec, groups: Groups): void {
    const { length, layout } = vec
    if (layout.kind === 'dict') return this.#addCodes(vec, vec.dictionary!, groups)
    const width = layout.kind === 'fixed' ? layout.width : 0
    for (let i = 0; i < length; i++) {
      if (!isValid(vec, i)) continue
      const start = width > 0 ? i * width : vec.offsets![i]!
      this.#offer(groups === undefined ? 0 : groups[i]!, vec.values, start, width > 0 ? start + width : vec.offsets![i + 1]!)
    }
  }

  /** Compares each pair of group and entry once. */
  #addCodes(vec: Vec, dictionary: Vec, groups: Groups): void {
    const codes = codesOf(vec)
    const offsets = dictionary.offsets!
    const met = groups === undefined ? new Uint8Array(dictionary.length) : undefined
    const last: number[] = []
    for (let i = 0; i < vec.length; i++) {
      if (!isValid(vec, i)) continue
      const code = codes[i]!
      const group = groups === undefined ? 0 : groups[i]!
      if (met !== undefined) {
        if (met[code] === 1) continue
        met[code] = 1
      } else {
        if (last[group] === code) continue
        last[group] = code
      }
      this.#offer(group, dictionary.values, offsets[code]!, offsets[code + 1]!)
    }
  }

  #offer(group: number, bytes: Uint8Array, start: number, end: number): void {
    const best = this.#best[group]
    if (best === undefined || compareBytes(bytes, start, end, best, 0, best.length) * this.#sign < 0) this.#best[group] = bytes.slice(start, end)
  }

  finish(size: number): Vec {
    const validity = validityOf(size, (g) => this.#best[g] !== undefined)
    const offsets = new Int32Array(size + 1)
    for (let g = 0; g < size; g++) offsets[g + 1] = offsets[g]! + (this.#width > 0 ? this.#width : (this.#best[g]?.length ?? 0))
    const data = new Uint8Array(offsets[size]!)
    for (let g = 0; g < size; g++) if (this.#best[g] !== undefined) data.set(this.#best[g]!, offsets[g]!)
    if (this.#width > 0) return fixedVec(this.#width, size, data, validity)
    return { ...fixedVec(1, size, data, validity), layout: { kind: 'var' }, offsets }
  }
}

/** Distinct values other than null. */
export class DistinctCount {
  readonly #encoder: KeyEncoder
  readonly #pairs = new PairTable()
  #numbers: Uint32Array = new Uint32Array(0)
  #scratch: Uint32Array = new Uint32Array(0)
  #counts: Float64Array | undefined

  constructor(column: ViewColumn) {
    this.#encoder = keyEncoder(column)
  }

  add(vec: Vec, groups: Groups, size: number): void {
    if (this.#numbers.length < vec.length) {
      this.#numbers = new Uint32Array(vec.length)
      this.#scratch = new Uint32Array(vec.length)
    }
    this.#encoder.encode(vec, this.#numbers)
    if (groups === undefined) return
    this.#counts = undefined
    this.#scratch.set(groups.subarray(0, vec.length))
    this.#pairs.combine(this.#scratch, this.#numbers, vec.length, size, this.#encoder.size)
  }

  /** `grouped`: whether groups were given. */
  at(group: number, grouped: boolean): number {
    if (!grouped) return this.#encoder.size - (this.#encoder.nullNumber < 0 ? 0 : 1)
    this.#counts ??= this.#countPairs()
    return this.#counts[group] ?? 0
  }

  #countPairs(): Float64Array {
    const { first, second, size } = this.#pairs
    let counts: Float64Array = new Float64Array(64)
    for (let i = 0; i < size; i++) {
      counts = grown(counts, first[i]! + 1)
      if (second[i] !== this.#encoder.nullNumber) counts[first[i]!]!++
    }
    return counts
  }
}
