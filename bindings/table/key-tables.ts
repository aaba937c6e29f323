// table/key-tables.ts: hash tables from raw values to small numbers in first-seen order: the inner loops of grouping and distinct.
//
// Invariant: the n-th value that is new gets number n; a number once given never changes. Open addressing with linear probing, load at most one half;
// a slot holds number + 1, so that a fresh Int32Array is an empty table.

const FIRST_SLOTS = 1024

/** Above this many cells a pair table hashes instead of indexing directly: 16 MiB of numbers. */
const DIRECT_CELLS_MAX = 1 << 22

/** Numbers for values of 4 or 8 bytes, handed in as two 32-bit halves. */
export class WordTable {
  size = 0
  lo: Int32Array = new Int32Array(FIRST_SLOTS >> 1)
  hi: Int32Array = new Int32Array(FIRST_SLOTS >> 1)
  #slots: Int32Array = new Int32Array(FIRST_SLOTS)
  #mask = FIRST_SLOTS - 1

  numberOf(lo: number, hi: number): number {
    let at = mix(Math.imul(lo, 0x9e3779b1) ^ Math.imul(hi, 0x85ebca77)) & this.#mask
    for (;;) {
      const found = this.#slots[at]!
      if (found === 0) break
      if (this.lo[found - 1] === lo && this.hi[found - 1] === hi) return found - 1
      at = (at + 1) & this.#mask
    }
    const number = this.reserve(lo, hi)
    this.#slots[at] = number + 1
    if (this.size * 2 > this.#slots.length) this.#rehash()
    return number
  }

  /** A number that no value finds: the place of null. */
  reserve(lo = 0, hi = 0): number {
    if (this.size === this.lo.length) {
      this.lo = grown(this.lo, this.size + 1)
      this.hi = grown(this.hi, this.size + 1)
    }
    this.lo[this.size] = lo
    this.hi[this.size] = hi
    return this.size++
  }

  #rehash(): void {
    const old = this.#slots
    const slots = new Int32Array(old.length * 2)
    const mask = slots.length - 1
    for (const found of old) {
      if (found === 0) continue
      let at = mix(Math.imul(this.lo[found - 1]!, 0x9e3779b1) ^ Math.imul(this.hi[found - 1]!, 0x85ebca77)) & mask
      while (slots[at] !== 0) at = (at + 1) & mask
      slots[at] = found
    }
    this.#slots = slots
    this.#mask = mask
  }
}

/** Numbers for runs of bytes; keeps a copy of each distinct run, back to back. */
export class BytesTable {
  size = 0
  data: Uint8Array = new Uint8Array(4096)
  /** size + 1 entries are valid. */
  offsets: Int32Array = new Int32Array(FIRST_SLOTS >> 1)
  #hashes: Int32Array = new Int32Array(FIRST_SLOTS >> 1)
  #slots: Int32Array = new Int32Array(FIRST_SLOTS)
  #mask = FIRST_SLOTS - 1

  numberOf(bytes: Uint8Array, start: number, end: number): number {
    const hash = hashBytes(bytes, start, end)
    let at = hash & this.#mask
    for (;;) {
      const found = this.#slots[at]!
      if (found === 0) break
      if (this.#hashes[found - 1] === hash && this.#equals(found - 1, bytes, start, end)) return found - 1
      at = (at + 1) & this.#mask
    }
    const number = this.reserve(bytes, start, end, hash)
    this.#slots[at] = number + 1
    if (this.size * 2 > this.#slots.length) this.#rehash()
    return number
  }

  /** A number that no value finds: the place of null. */
  reserve(bytes: Uint8Array = EMPTY, start = 0, end = 0, hash = 0): number {
    const number = this.size
    if (number + 2 > this.offsets.length) {
      this.offsets = grown(this.offsets, number + 2)
      this.#hashes = grown(this.#hashes, number + 2)
    }
    const from = this.offsets[number]!
    const to = from + (end - start)
    if (to > this.data.length) this.data = grown(this.data, to)
    this.data.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), from)
    this.offsets[number + 1] = to
    this.#hashes[number] = hash
    this.size = number + 1
    return number
  }

  #equals(number: number, bytes: Uint8Array, start: number, end: number): boolean {
    let p = this.offsets[number]!
    if (this.offsets[number + 1]! - p !== end - start) return false
    const data = this.data
    for (let i = start; i < end; i++, p++) if (data[p] !== bytes[i]) return false
    return true
  }

  #rehash(): void {
    const old = this.#slots
    const slots = new Int32Array(old.length * 2)
    const mask = slots.length - 1
    for (const found of old) {
      if (found === 0) continue
      let at = this.#hashes[found - 1]! & mask
      while (slots[at] !== 0) at = (at + 1) & mask
      slots[at] = found
    }
    this.#slots = slots
    this.#mask = mask
  }
}

/** Numbers for pairs of numbers: a grid while it is small (two array reads a row), a WordTable beyond. */
export class PairTable {
  size = 0
  /** The pair behind each number. */
  first: Int32Array = new Int32Array(64)
  second: Int32Array = new Int32Array(64)
  #grid: Int32Array = new Int32Array(0)
  #rows = 0
  #bits = 0
  #words: WordTable | undefined

  /** Replaces firsts[i] by the number of (firsts[i], seconds[i]); every first is below firstCount, every second below secondCount. */
  combine(firsts: Uint32Array, seconds: Uint32Array, length: number, firstCount: number, secondCount: number): void {
    this.#makeRoom(firstCount, secondCount)
    if (this.#words !== undefined) return this.#combineHashed(firsts, seconds, length, this.#words)
    const grid = this.#grid
    const bits = this.#bits
    for (let i = 0; i < length; i++) {
      const cell = (firsts[i]! << bits) | seconds[i]!
      let number = grid[cell]!
      if (number === 0) {
        this.#add(firsts[i]!, seconds[i]!)
        number = this.size
        grid[cell] = number
      }
      firsts[i] = number - 1
    }
  }

  #combineHashed(firsts: Uint32Array, seconds: Uint32Array, length: number, words: WordTable): void {
    for (let i = 0; i < length; i++) {
      const number = words.numberOf(firsts[i]!, seconds[i]!)
      if (number === this.size) this.#add(firsts[i]!, seconds[i]!)
      firsts[i] = number
    }
  }

  #add(first: number, second: number): void {
    if (this.size === this.first.length) {
      this.first = grown(this.first, this.size + 1)
      this.second = grown(this.second, this.size + 1)
    }
    this.first[this.size] = first
    this.second[this.size] = second
    this.size++
  }

  #makeRoom(firstCount: number, secondCount: number): void {
    if (this.#words !== undefined || (firstCount <= this.#rows && secondCount <= 1 << this.#bits)) return
    const rows = Math.max(this.#rows, ceilPowerOfTwo(firstCount))
    const width = Math.max(1 << this.#bits, ceilPowerOfTwo(secondCount))
    if (rows * width > DIRECT_CELLS_MAX) {
      this.#words = new WordTable()
      for (let i = 0; i < this.size; i++) this.#words.numberOf(this.first[i]!, this.second[i]!)
      this.#grid = new Int32Array(0)
      return
    }
    this.#rows = rows
    this.#bits = 31 - Math.clz32(width)
    this.#grid = new Int32Array(rows * width)
    for (let i = 0; i < this.size; i++) this.#grid[(this.first[i]! << this.#bits) | this.second[i]!] = i + 1
  }
}

/** The array itself when it has `length` entries, else a copy with at least twice as many; new entries are 0. */
export function grown<A extends Uint8Array | Int32Array | Uint32Array | Float64Array | BigInt64Array>(array: A, length: number): A {
  if (array.length >= length) return array
  const copy = new (array.constructor as new (n: number) => A)(Math.max(length, array.length * 2, 64))
  ;(copy as Uint8Array).set(array as Uint8Array)
  return copy
}

const EMPTY = new Uint8Array(0)

function ceilPowerOfTwo(n: number): number {
  return n <= 1 ? 1 : 2 ** (32 - Math.clz32(n - 1))
}

/** Murmur3's 32-bit finaliser: every input bit reaches the low bits that pick the slot. */
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

/** FNV-1a, finished by `mix`. */
function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let h = 0x811c9dc5 | 0
  for (let i = start; i < end; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193)
  return mix(h)
}
