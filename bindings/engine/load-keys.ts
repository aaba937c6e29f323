// engine/load-keys.ts: the keys of the rows that one write stages for a table: which of its own rows repeat a key, and where a key is among them.
//
// As long as rows arrive in strictly ascending key order nothing is kept but the key columns; the first step back builds a hash table over all of them,
// in kernel memory of its own, into which each further batch is put in one call.
// Invariant: of equal keys the last row stays; earlier ones, and deleted ones, are marked in `dropped` of their part.

import { compareKey, compareRows, isStrictlyAscending, keyParts, type KeyPart } from '../indexes/index.ts'
import { KeyTable, NO_ROW, type Vec } from '../kernels/index.ts'
import { type ColumnBatch, KeyRun, type KeyLayout, type RowKeys } from '../table/index.ts'
import type { TableSchema } from '../format/index.ts'
import { lastAt } from './last-at.ts'

/** One batch of the load. */
export interface LoadPart {
  /** Number of its first row in the load. */
  readonly base: number
  readonly rows: number
  /** Key columns in key order. */
  readonly keyVecs: readonly Vec[]
  /** Those that the write touches: none of a part that was refused. */
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
  private table: KeyTable | undefined
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
    if (this.table === undefined && this.follows(before, part)) return { part, duplicate: undefined }
    if (this.table === undefined) {
      // The parts before ascend strictly: nothing in them repeats.
      this.parts.pop()
      this.look()
      this.parts.push(part)
    }
    return { part, duplicate: this.put(part, refuse) }
  }

  private put(part: LoadPart, refuse: boolean): LoadDuplicate | undefined {
    const table = this.table!
    const distinct = table.size
    const before = table.put(part.keys)
    if (table.size - distinct === part.rows) return undefined
    for (let row = 0; row < part.rows; row++) {
      const earlier = before[row]!
      if (earlier === NO_ROW || this.isDropped(earlier)) continue
      if (refuse) {
        // A part with a repeated key counts for nothing: it only keeps its numbers, and its keys are none that the write touches.
        table.undo(before)
        const dropped = new Set(Array.from({ length: part.rows }, (_, i) => i))
        this.parts[this.parts.length - 1] = { ...part, keys: new KeyRun(this.layout.stride), dropped }
        return { first: earlier, second: part.base + row, part, row }
      }
      this.drop(earlier)
    }
    return undefined
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

  /** The row with this number is replaced or deleted. */
  isDropped(row: number): boolean {
    const held = this.partOf(row)
    return held.dropped?.has(row - held.base) === true
  }

  private look(): KeyTable {
    if (this.table !== undefined) return this.table
    this.table = new KeyTable(this.layout.stride, { lo: this.seed, hi: ~this.seed })
    for (const part of this.parts) this.put(part, false)
    return this.table
  }

  private follows(before: LoadPart | undefined, part: LoadPart): boolean {
    if (!isStrictlyAscending(this.keyParts, part.keyVecs, part.rows)) return false
    // An empty part has no last row to follow: what comes behind it is looked up.
    return before === undefined || (before.rows > 0 && (part.rows === 0 || compareRows(this.keyParts, before.keyVecs, before.rows - 1, part.keyVecs, 0) < 0))
  }

  /** Number in the load of the row with this key, or -1. */
  find(bytes: Uint8Array): number {
    const keys = new KeyRun(this.layout.stride)
    keys.push(bytes, 0, bytes.length)
    return this.findMany(keys)[0]!
  }

  /** The same for many keys. */
  findMany(keys: RowKeys): number[] {
    const { table } = this
    if (table === undefined) return Array.from({ length: keys.rows }, (_, row) => this.search(keys.data.subarray(keys.start(row), keys.end(row))))
    return Array.from(table.find(keys), (row) => (row === NO_ROW || this.isDropped(row) ? -1 : row))
  }

  /** Bisection: while there is no table all rows ascend, and none was dropped. */
  private search(bytes: Uint8Array): number {
    let low = 0
    let high = this.rows
    while (low < high) {
      const mid = (low + high) >>> 1
      const part = this.partOf(mid)
      const order = compareKey(this.keyParts, part.keyVecs, mid - part.base, bytes)
      if (order === 0) return mid
      if (order < 0) low = mid + 1
      else high = mid
    }
    return -1
  }

  partOf(row: number): LoadPart {
    return lastAt(this.parts, row, ({ base }) => base)
  }
}
