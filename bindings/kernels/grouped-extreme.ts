// kernels/grouped-extreme.ts: the running least or greatest value of a column, by group.
//
// Nulls and NaN are skipped; of equal values (0 and -0 are) the first stays; bytes are in unsigned order. Byte strings keep a copy of each group's winner.
// Invariant: a result depends on the sequence of values only, not on how batches cut it; memory grows with groups and the length of their winners.
import { assert } from '../assert.ts'
import { type MinMax, minMaxVec } from './aggregate.ts'
import { bitmapAll, bitmapBytes } from './bitmap.ts'
import { compareByteStrings } from './byte-strings.ts'
import { Room } from './group-memory.ts'
import { Grouped } from './grouped.ts'
import type { GroupColumn, GroupTable } from './groups.ts'
import { bytesIn, bytesPieceEnd, rowsIn, WIDEN, wordsIn } from './interner.ts'
import { dictionaryOf, makeVec, nullVec, widthOf } from './vec-build.ts'
import type { Layout, ValueKind, Vec } from './vec.ts'

type Cell = MinMax['min']

const POOL_BYTES = 16

/** The least or greatest value by group. */
export class GroupedExtreme extends Grouped {
  readonly #kind: ValueKind
  readonly #layout: Layout
  readonly #most: boolean
  readonly #best: Room
  /** Byte strings: the winners, and { u32 data, u32 used, u32 capacity }. */
  readonly #data: Room
  readonly #pool: Room
  readonly #codes: Room
  #whole: Cell | undefined

  /** `of`: the column in its plain layout. */
  constructor(groups: GroupTable, of: GroupColumn, which: 'min' | 'max') {
    super(groups)
    this.#kind = of.kind
    this.#layout = of.layout
    this.#most = which === 'max'
    this.#best = new Room(groups.memory, true)
    this.#data = new Room(groups.memory, false)
    this.#codes = new Room(groups.memory, false)
    this.#pool = new Room(groups.memory, true)
  }

  add(vec: Vec): void {
    if (this.groups.isWhole) return this.#addWhole(vec)
    const mask = this.maskOf(vec)
    if (this.#kind === 'bytes') return vec.layout.kind === 'dict' ? this.#addCodes(vec, vec.layout.width, mask) : this.#addBytes(vec, mask)
    const { memory, size } = this.groups
    const { exports } = memory.k
    if (this.#kind === 'i128') {
      assert(widthOf(vec.layout) === 16, 'decimals have 16 bytes', vec.layout)
      const best = this.#best.ensure(size * 32)
      const most = this.#most ? 1 : 0
      return this.pieces(mask, (groups, rows, first, n) =>
        exports.group_extreme_128(bytesIn(memory, vec, first, first + n).data, most, groups, rows.at, rows.count, best),
      )
    }
    const best = this.#best.ensure(size * 16)
    const float = isFloat(this.#kind) ? 1 : 0
    const mode = this.#most ? WIDEN.most : WIDEN.least
    this.pieces(mask, (groups, rows, first, n) =>
      exports.group_least(wordsIn(memory, vec, this.#kind, mode, first, n), float, groups, rows.at, rows.count, best),
    )
  }

  /** One row per group; null where no value was seen. */
  values(): Vec {
    if (this.groups.isWhole) return this.#wholeVec()
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

  #addWhole(vec: Vec): void {
    const found = minMaxVec(vec, this.#kind, this.groups.selection)
    const value = this.#most ? found?.max : found?.min
    if (value === undefined) return
    const best = this.#whole
    // Of equal values the first stays: 0 and -0 are equal, and the lanes of the kernel do not tell which came first.
    if (best === undefined || (this.#most ? isLess(best, value) : isLess(value, best))) {
      this.#whole = value === 0 && isFloat(this.#kind) ? firstZero(vec, this.groups.selection) : value
    }
  }

  #wholeVec(): Vec {
    const value = this.#whole
    const layout = this.#layout
    if (value === undefined) return nullVec(layout, 1)
    if (value instanceof Uint8Array) return makeVec(layout, 1, { values: value, offsets: layout.kind === 'var' ? Int32Array.of(0, value.length) : undefined })
    if (typeof value === 'boolean') return makeVec(layout, 1, { values: Uint8Array.of(value ? 1 : 0, 0, 0, 0, 0, 0, 0, 0) })
    const view = new DataView(new ArrayBuffer(16))
    if (this.#kind === 'f32') view.setFloat32(0, Number(value), true)
    else if (this.#kind === 'f64') view.setFloat64(0, Number(value), true)
    else {
      view.setBigInt64(0, BigInt.asIntN(64, BigInt(value)), true)
      view.setBigInt64(8, BigInt(value) >> 64n, true)
    }
    return makeVec(layout, 1, { values: new Uint8Array(view.buffer) })
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
    const pool = this.#pool.ensure(POOL_BYTES)
    const groups = groupsAt + first * 4
    const rows = rowsIn(memory, mask, first, n)
    for (let from = 0; ;) {
      const most = this.#most ? 1 : 0
      from = k.exports.group_extreme_bytes(offsets, data, width, codes, codeWidth, most, groups, rows.at, from, rows.count, best, pool)
      if (from === rows.count) return
      const row = rows.at === 0 ? from : k.u32[(rows.at >>> 2) + from]!
      const fields = pool >>> 2
      const used = k.u32[fields + 1]!
      const moved = this.#data.ensure(used + Math.max(4096, 2 * lengthAt(row)), used)
      k.u32[fields] = moved
      k.u32[fields + 2] = this.#data.bytes
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

function isFloat(kind: ValueKind): boolean {
  return kind === 'f32' || kind === 'f64'
}

/** The first zero, with its sign, of a column of floats that has one among the rows that count. */
function firstZero({ values, length, validity, layout }: Vec, selection: Uint8Array | undefined): number {
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength)
  const width = widthOf(layout)
  for (let row = 0; row < length; row++) {
    const bit = 1 << (row & 7)
    if (validity !== undefined && (validity[row >> 3]! & bit) === 0) continue
    if (selection !== undefined && (selection[row >> 3]! & bit) === 0) continue
    const value = width === 4 ? view.getFloat32(row * 4, true) : view.getFloat64(row * 8, true)
    if (value === 0) return value
  }
  return 0
}

function lengthOfLongest({ length, offsets }: Vec): number {
  let longest = 0
  for (let i = 0; i < length; i++) longest = Math.max(longest, offsets![i + 1]! - offsets![i]!)
  return longest
}

function isLess(a: Cell, b: Cell): boolean {
  return a instanceof Uint8Array ? compareByteStrings(a, b as Uint8Array) < 0 : a < b
}
