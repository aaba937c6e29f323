// key-table.ts: a hash table over canonical key bytes: which rows of a batch have a key that an earlier row has (join of incoming keys, duplicates, upserts).
//
// Keys lie back to back in `data`: `stride` bytes each, or up to ends[i] (u32) where `ends` is not 0. A slot is u32 hash | u32 row + 1 (0 = empty); open
// addressing, linear probe, mask + 1 slots (a power of two), at least one empty. The hash is XXH3-64 under the caller's seed, upper half: chosen keys must
// not be able to collide. Rows go through in groups: the group's slots are touched before the first is compared, so that cache misses overlap.
// Invariant: a row matches exactly when its bytes are equal; a key has one slot, which names its newest row.
import { bytes_equal } from './bytes'
import { SCRATCH } from './memory'
import { NONE } from './status'
import { xxh3_64 } from './xxh3'

const GROUP: u32 = 64

// @ts-ignore: decorator
@inline
function start_of(ends: usize, stride: u32, row: u32): u32 {
  return ends ? (row ? load<u32>(ends + (<usize>(row - 1) << 2)) : 0) : row * stride
}

// @ts-ignore: decorator
@inline
function end_of(ends: usize, stride: u32, row: u32): u32 {
  return ends ? load<u32>(ends + (<usize>row << 2)) : (row + 1) * stride
}

// @ts-ignore: decorator
@inline
function hash_of(data: usize, ends: usize, stride: u32, row: u32, seed: u64): u32 {
  const from = start_of(ends, stride, row)
  return <u32>(xxh3_64(data + from, end_of(ends, stride, row) - from, seed) >>> 32)
}

/** Hashes of rows first .. first + n - 1 (n <= GROUP) to SCRATCH; touches their slots. */
function hash_group(slots: usize, mask: u32, data: usize, ends: usize, stride: u32, first: u32, n: u32, seed: u64): void {
  let touched: u32 = 0
  for (let i: u32 = 0; i < n; i++) {
    const hash = hash_of(data, ends, stride, first + i, seed)
    store<u32>(SCRATCH + (<usize>i << 2), hash)
    touched |= load<u32>(slots + (<usize>(hash & mask) << 3), 4)
  }
  // Kept, so that the loads above are.
  store<u32>(SCRATCH + (<usize>GROUP << 2), touched)
}

/** The slot of the key of n bytes at p, or the empty one where it would go. */
// @ts-ignore: decorator
@inline
function seek(slots: usize, mask: u32, data: usize, ends: usize, stride: u32, hash: u32, p: usize, n: u32): usize {
  let at = hash & mask
  while (true) {
    const slot = slots + (<usize>at << 3)
    const held = load<u32>(slot, 4)
    if (!held) return slot
    if (load<u32>(slot) == hash) {
      const from = start_of(ends, stride, held - 1)
      if (end_of(ends, stride, held - 1) - from == n && bytes_equal(data + from, p, n)) return slot
    }
    at = (at + 1) & mask
  }
}

/**
 * Rows first .. first + n - 1 become the newest of their keys. before[i] = the row that was, or NONE. Returns how many keys are new.
 * Writes n u32 at `before`, and slots; at least n + 1 slots are empty.
 */
export function table_put(slots: usize, mask: u32, data: usize, ends: usize, stride: u32, first: u32, n: u32, seedLo: u32, seedHi: u32, before: usize): u32 {
  const seed = <u64>seedLo | (<u64>seedHi << 32)
  let added: u32 = 0
  for (let base: u32 = 0; base < n; base += GROUP) {
    const count = min<u32>(GROUP, n - base)
    hash_group(slots, mask, data, ends, stride, first + base, count, seed)
    for (let i: u32 = 0; i < count; i++) {
      const row = first + base + i
      const hash = load<u32>(SCRATCH + (<usize>i << 2))
      const from = start_of(ends, stride, row)
      const slot = seek(slots, mask, data, ends, stride, hash, data + from, end_of(ends, stride, row) - from)
      const held = load<u32>(slot, 4)
      store<u32>(slot, hash)
      store<u32>(slot, row + 1, 4)
      // 0 - 1 is NONE.
      store<u32>(before + (<usize>(base + i) << 2), held - 1)
      added += <u32>!held
    }
  }
  return added
}

/** out[i] = the newest row with key i of another run of keys (theirs), or NONE. Returns the matches. Writes n u32. */
export function table_find(
  slots: usize, mask: u32, data: usize, ends: usize, stride: u32,
  theirs: usize, theirEnds: usize, n: u32, seedLo: u32, seedHi: u32, out: usize,
): u32 {
  const seed = <u64>seedLo | (<u64>seedHi << 32)
  let found: u32 = 0
  for (let base: u32 = 0; base < n; base += GROUP) {
    const count = min<u32>(GROUP, n - base)
    hash_group(slots, mask, theirs, theirEnds, stride, base, count, seed)
    for (let i: u32 = 0; i < count; i++) {
      const row = base + i
      const from = start_of(theirEnds, stride, row)
      const slot = seek(slots, mask, data, ends, stride, load<u32>(SCRATCH + (<usize>i << 2)), theirs + from, end_of(theirEnds, stride, row) - from)
      const held = load<u32>(slot, 4)
      store<u32>(out + (<usize>row << 2), held - 1)
      found += <u32>(held != 0)
    }
  }
  return found
}

/** Takes back what the newest row numbers of rows first .. first + n - 1 changed, last one first: `before` as table_put wrote it. New keys stay, and name their row. */
export function table_undo(slots: usize, mask: u32, data: usize, ends: usize, stride: u32, first: u32, n: u32, seedLo: u32, seedHi: u32, before: usize): void {
  const seed = <u64>seedLo | (<u64>seedHi << 32)
  for (let i = n; i-- > 0; ) {
    const held = load<u32>(before + (<usize>i << 2))
    if (held == NONE) continue
    const row = first + i
    const from = start_of(ends, stride, row)
    const slot = seek(slots, mask, data, ends, stride, hash_of(data, ends, stride, row, seed), data + from, end_of(ends, stride, row) - from)
    store<u32>(slot, held + 1, 4)
  }
}

/** The slots of a table of `count` slots into a larger, empty one. */
export function table_grow(old: usize, count: u32, slots: usize, mask: u32): void {
  for (const end = old + (<usize>count << 3); old < end; old += 8) {
    const held = load<u32>(old, 4)
    if (!held) continue
    const hash = load<u32>(old)
    let at = hash & mask
    while (load<u32>(slots + (<usize>at << 3), 4)) at = (at + 1) & mask
    store<u64>(slots + (<usize>at << 3), load<u64>(old))
  }
}
