// engine/load-keys.ts: the keys of the rows that one write stages for a table: which of its own rows repeat a key, and where a key is among them.
//
// As long as rows arrive in strictly ascending key order nothing is kept but the key columns; the first step back builds a hash index over all of them.
// Invariant: of equal keys the last row stays; earlier ones, and deleted ones, are marked in `dropped` of their part.

import { compareRows, isStrictlyAscending, keyParts, type KeyPart } from '../indexes/index.ts'
import type { Vec } from '../kernels/index.ts'
import { type ColumnBatch, hashKey, KeyRun, type KeyLayout, MemoryIndex } from '../table/index.ts'
import type { TableSchema } from '../format/index.ts'

/** One batch of the load. */
export interface LoadPart {
  /** Number of its first row in the load. */
  readonly base: number
  readonly rows: number
  /** Key columns in key order. */
  readonly keyVecs: readonly Vec[]
  readonly keys: KeyRun
  /** Rows that a later row of the load replaces. */
  dropped: Set<number> | undefined
}

export interface LoadDuplicate {
  readonly first: number
  readonly second: number
  readonly part: LoadPart
  readonly row: number
}

export class LoadKeys {
  readonly parts: LoadPart[] = []
  private readonly layout: KeyLayout
  private readonly keyParts: readonly KeyPart[]
  private readonly seed: number
  private index: MemoryIndex | undefined
  rows = 0

  constructor(schema: TableSchema, layout: KeyLayout, seed: number) {
    this.layout = layout
    this.keyParts = keyParts(schema)
    this.seed = seed
  }

  /** Take the next batch. Returns the first pair of equal keys when `refuse`, else drops the earlier rows. */
  add(batch: ColumnBatch, refuse: boolean): { part: LoadPart; duplicate: LoadDuplicate | undefined } {
    const keys = new KeyRun(this.layout.stride)
    this.layout.push(batch.columns, 0, batch.length, keys)
    const keyVecs = this.keyParts.map((each) => batch.columns[each.index]!)
    const part: LoadPart = { base: this.rows, rows: batch.length, keyVecs, keys, dropped: undefined }
    const before = this.parts.at(-1)
    this.parts.push(part)
    this.rows += batch.length
    if (this.index === undefined && this.follows(before, part)) return { part, duplicate: undefined }
    if (this.index === undefined) {
      // The parts before ascend strictly: nothing in them repeats.
      this.parts.pop()
      this.look()
      this.parts.push(part)
    }
    const duplicate = this.put(part, refuse)
    if (duplicate !== undefined) this.giveUp(part, duplicate)
    return { part, duplicate }
  }

  private put(part: LoadPart, refuse: boolean): LoadDuplicate | undefined {
    const { keys } = part
    for (let row = 0; row < part.rows; row++) {
      const start = keys.start(row)
      const end = keys.end(row)
      const earlier = this.index!.put(hashKey(keys.data, start, end, this.seed), keys.data, start, end, part.base + row)
      if (earlier < 0 || this.isDropped(earlier)) continue
      if (refuse) return { first: earlier, second: part.base + row, part, row }
      this.drop(earlier)
    }
    return undefined
  }

  /** A part with a repeated key counts for nothing. */
  private giveUp(part: LoadPart, { first, row }: LoadDuplicate): void {
    const { keys } = part
    const start = keys.start(row)
    const end = keys.end(row)
    this.index!.put(hashKey(keys.data, start, end, this.seed), keys.data, start, end, first)
    part.dropped = new Set(Array.from({ length: part.rows }, (_, i) => i))
  }

  /** The row with this key goes. @returns whether there was one */
  remove(bytes: Uint8Array): boolean {
    const row = this.find(bytes)
    if (row < 0) return false
    this.drop(row)
    return true
  }

  /** The row with this number goes. */
  drop(row: number): void {
    const held = this.partOf(row)
    ;(held.dropped ??= new Set()).add(row - held.base)
    // From here on keys have to be looked up: the order alone no longer tells them apart.
    this.look()
  }

  private isDropped(row: number): boolean {
    const held = this.partOf(row)
    return held.dropped?.has(row - held.base) === true
  }

  private look(): MemoryIndex {
    if (this.index !== undefined) return this.index
    this.index = new MemoryIndex((ref, bytes, start, end) => {
      const held = this.partOf(ref)
      return held.keys.equals(ref - held.base, bytes, start, end)
    })
    for (const part of this.parts) this.put(part, false)
    return this.index
  }

  private follows(before: LoadPart | undefined, part: LoadPart): boolean {
    if (!isStrictlyAscending(this.keyParts, part.keyVecs, part.rows)) return false
    return before === undefined || part.rows === 0 || before.rows === 0 || compareRows(this.keyParts, before.keyVecs, before.rows - 1, part.keyVecs, 0) < 0
  }

  /** Number in the load of the row with this key, or -1. */
  find(bytes: Uint8Array): number {
    if (this.index !== undefined) {
      const row = this.index.find(hashKey(bytes, 0, bytes.length, this.seed), bytes, 0, bytes.length)
      return row < 0 || this.isDropped(row) ? -1 : row
    }
    for (const part of this.parts) for (let row = 0; row < part.rows; row++) if (part.keys.equals(row, bytes, 0, bytes.length)) return part.base + row
    return -1
  }

  partOf(row: number): LoadPart {
    let low = 0
    let high = this.parts.length - 1
    while (low < high) {
      const mid = (low + high + 1) >> 1
      if (this.parts[mid]!.base <= row) low = mid
      else high = mid - 1
    }
    return this.parts[low]!
  }
}
