// table/memory-index.ts: the memory layer's hash index: canonical key bytes to row reference; open addressing, linear probe, 16 sub-tables by top hash bits.
//
// Invariant: a key has at most one slot, which names its newest row; slots are replaced, never removed. Sub-tables double alone, so that no insert pays
// for rehashing everything. The hash is seeded per process: it is no format, and chosen keys must not be able to collide.

import type { KeyColumn } from '../kernels/index.ts'

const SUB_TABLES = 16
const FIRST_SLOTS = 16
/** A sub-table without a key. */
const EMPTY: Uint32Array = new Uint32Array(2)

/** Canonical key bytes of some rows. */
export interface RowKeys extends KeyColumn {
  start(row: number): number
  end(row: number): number
}

/** Canonical key bytes of the rows of a chunk: a fixed stride, or ends for keys of varying length. */
export class KeyRun implements RowKeys {
  readonly stride: number
  data: Uint8Array
  /** Of keys of varying length; entries behind `rows` are unspecified. */
  ends: Uint32Array | undefined
  rows = 0

  /** `stride` 0 = keys of varying length. */
  constructor(stride: number) {
    this.stride = stride
    this.data = new Uint8Array(64 * (stride === 0 ? 16 : stride))
    this.ends = stride === 0 ? new Uint32Array(64) : undefined
  }

  get byteLength(): number {
    return this.data.length + (this.ends?.byteLength ?? 0)
  }

  start(row: number): number {
    return this.ends === undefined ? row * this.stride : row === 0 ? 0 : this.ends[row - 1]!
  }

  end(row: number): number {
    return this.ends === undefined ? (row + 1) * this.stride : this.ends[row]!
  }

  push(bytes: Uint8Array, start: number, end: number): void {
    const at = this.start(this.rows)
    const length = end - start
    if (at + length > this.data.length) {
      const larger = new Uint8Array(Math.max(at + length, this.data.length * 2))
      larger.set(this.data)
      this.data = larger
    }
    if (length <= 32) for (let i = 0; i < length; i++) this.data[at + i] = bytes[start + i]!
    else this.data.set(bytes.subarray(start, end), at)
    if (this.ends !== undefined) {
      if (this.rows === this.ends.length) {
        const larger = new Uint32Array(this.ends.length * 2)
        larger.set(this.ends)
        this.ends = larger
      }
      this.ends[this.rows] = at + length
    }
    this.rows++
  }

  /** Append all keys of another run of this stride. */
  pushMany(keys: KeyColumn): void {
    const { data, ends, rows } = keys
    if (rows === 0) return
    const at = this.start(this.rows)
    const length = ends === undefined ? rows * this.stride : ends[rows - 1]!
    if (at + length > this.data.length) {
      const larger = new Uint8Array(Math.max(at + length, at === 0 ? 0 : this.data.length * 2))
      larger.set(this.data.subarray(0, at))
      this.data = larger
    }
    this.data.set(data.subarray(0, length), at)
    if (this.ends !== undefined) {
      const count = this.rows + rows
      if (count > this.ends.length) {
        const larger = new Uint32Array(Math.max(count, this.rows === 0 ? 0 : this.ends.length * 2))
        larger.set(this.ends.subarray(0, this.rows))
        this.ends = larger
      }
      for (let row = 0; row < rows; row++) this.ends[this.rows + row] = at + ends![row]!
    }
    this.rows += rows
  }

  truncate(rows: number): void {
    if (rows < this.rows) this.rows = rows
  }

  equals(row: number, bytes: Uint8Array, start: number, end: number): boolean {
    const from = this.start(row)
    if (this.end(row) - from !== end - start) return false
    for (let i = 0, n = end - start; i < n; i++) if (this.data[from + i] !== bytes[start + i]) return false
    return true
  }
}

/** 32 bits of a seeded multiplicative hash (the mixing steps of MurmurHash3, public domain). */
export function hashKey(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let h = seed
  let i = start
  for (; i + 4 <= end; i += 4) {
    let k = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    k = Math.imul(k, 0xcc9e2d51)
    k = (k << 15) | (k >>> 17)
    h ^= Math.imul(k, 0x1b873593)
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
  }
  let tail = 0
  for (let shift = 0; i < end; i++, shift += 8) tail |= bytes[i]! << shift
  h ^= Math.imul(tail, 0xcc9e2d51) ^ (end - start)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

export class MemoryIndex {
  /** Per sub-table: pairs of hash and row reference + 1 (0 = empty). */
  private readonly tables: Uint32Array[] = []
  private readonly counts: Uint32Array = new Uint32Array(SUB_TABLES)
  private readonly equals: (ref: number, bytes: Uint8Array, start: number, end: number) => boolean

  constructor(equals: (ref: number, bytes: Uint8Array, start: number, end: number) => boolean) {
    this.equals = equals
    for (let i = 0; i < SUB_TABLES; i++) this.tables.push(EMPTY)
  }

  get byteLength(): number {
    let bytes = 0
    for (const table of this.tables) bytes += table.byteLength
    return bytes
  }

  /** The newest row of the key, or -1. */
  find(hash: number, bytes: Uint8Array, start: number, end: number): number {
    const table = this.tables[hash >>> 28]!
    const mask = table.length / 2 - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const ref = table[slot * 2 + 1]!
      if (ref === 0) return -1
      if (table[slot * 2] === hash && this.equals(ref - 1, bytes, start, end)) return ref - 1
    }
  }

  /** Make `ref` the newest row of the key; returns the one before, or -1. */
  put(hash: number, bytes: Uint8Array, start: number, end: number, ref: number): number {
    const sub = hash >>> 28
    let table = this.tables[sub]!
    if (table === EMPTY) table = this.tables[sub] = new Uint32Array(FIRST_SLOTS * 2)
    else if (this.counts[sub]! * 10 >= (table.length / 2) * 7) table = this.double(sub)
    const mask = table.length / 2 - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const held = table[slot * 2 + 1]!
      if (held === 0) {
        table[slot * 2] = hash
        table[slot * 2 + 1] = ref + 1
        this.counts[sub]!++
        return -1
      }
      if (table[slot * 2] === hash && this.equals(held - 1, bytes, start, end)) {
        table[slot * 2 + 1] = ref + 1
        return held - 1
      }
    }
  }

  private double(sub: number): Uint32Array {
    const old = this.tables[sub]!
    const larger = new Uint32Array(old.length * 2)
    const mask = larger.length / 2 - 1
    for (let i = 0; i < old.length; i += 2) {
      if (old[i + 1] === 0) continue
      let slot = old[i]! & mask
      while (larger[slot * 2 + 1] !== 0) slot = (slot + 1) & mask
      larger[slot * 2] = old[i]!
      larger[slot * 2 + 1] = old[i + 1]!
    }
    this.tables[sub] = larger
    return larger
  }
}
