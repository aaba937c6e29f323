// table/column-cache.ts: decoded columns of record batches, shared by all snapshots since fragments never change (performance.md section 5).
//
// Invariant: `bytes` is the sum of what the entries hold and stays within the limit, except that the newest entry is always kept. An entry that was put
// out stays valid for whoever holds its Vec: buffers belong to the JavaScript heap.
import type { Vec } from '../kernels/index.ts'

export const COLUMN_CACHE_BYTES: number = 256 * 1024 * 1024

export interface CacheEntry {
  readonly vec: Vec
  readonly bytes: number
  /** Where the owner finds it: cleared when the entry is put out. */
  readonly slots: CacheSlots
  readonly slot: number
  newer: CacheEntry | undefined
  older: CacheEntry | undefined
  /** What the owner derived from the entry; goes with it. */
  derived: unknown
}

/** The entries of one owner by place. */
export type CacheSlots = (CacheEntry | undefined)[]

export class ColumnCache {
  readonly limitBytes: number
  bytes = 0
  hits = 0
  misses = 0
  /** Look-ups that a fragment's key filter ended. */
  filterSkips = 0
  #newest: CacheEntry | undefined
  #oldest: CacheEntry | undefined

  constructor(limitBytes: number = COLUMN_CACHE_BYTES) {
    this.limitBytes = limitBytes
  }

  /** A hit: the entry is the last to go. */
  touch(entry: CacheEntry): void {
    this.hits++
    if (entry === this.#newest) return
    this.#unlink(entry)
    this.#link(entry)
  }

  /** A miss was filled. Replaces what the slot held. */
  put(slots: CacheSlots, slot: number, vec: Vec, bytes: number): void {
    this.misses++
    const before = slots[slot]
    if (before !== undefined) this.#remove(before)
    const entry: CacheEntry = { vec, bytes, slots, slot, newer: undefined, older: undefined, derived: undefined }
    slots[slot] = entry
    this.#link(entry)
    this.bytes += bytes
    while (this.bytes > this.limitBytes && this.#oldest !== entry) this.#remove(this.#oldest!)
  }

  /** The owner is gone. */
  drop(slots: CacheSlots): void {
    for (const entry of slots) if (entry !== undefined) this.#remove(entry)
  }

  #remove(entry: CacheEntry): void {
    this.#unlink(entry)
    entry.slots[entry.slot] = undefined
    this.bytes -= entry.bytes
  }

  #link(entry: CacheEntry): void {
    entry.older = this.#newest
    entry.newer = undefined
    if (this.#newest === undefined) this.#oldest = entry
    else this.#newest.newer = entry
    this.#newest = entry
  }

  #unlink(entry: CacheEntry): void {
    if (entry.newer === undefined) this.#newest = entry.older
    else entry.newer.older = entry.older
    if (entry.older === undefined) this.#oldest = entry.newer
    else entry.older.newer = entry.newer
    entry.newer = undefined
    entry.older = undefined
  }
}
