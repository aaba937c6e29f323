// key-index.ts: the bucketed fingerprints of a fragment's key index (docs/format.md "Key index"): building, checking and probing them in bulk.
//
// Keys by the top bits of their hash: bucket = floor(high * (buckets / 2^32)) in float64, which is what writers have always computed. Starts: `narrow` = u32
// base of every 64 buckets and u16 less it, else u32. Entries of `bits` bits, little-endian bit order: row in the low rowBits, tag = low hash bits above.
// Invariant: whatever an index says, index_check reads nothing outside it; the others are for an index that passed it.
import { BAD_DATA } from './status'

const GROUP_SHIFT: u32 = 6

// @ts-ignore: decorator
@inline
function bucket_of(high: u32, scale: f64): usize {
  return <usize>(<u32>(<f64>high * scale))
}

// @ts-ignore: decorator
@inline
function scale_of(buckets: u32): f64 {
  return <f64>buckets / 4294967296
}

/**
 * Counting sort of n hashes (u64) by bucket. starts: buckets + 2 u32, zeroed; afterwards starts[b] is where bucket b begins and starts[buckets] = n.
 * entries: n u32 in their order, tag << rowBits | row; `rows`: the row of each hash, u32, or 0 = its place; prints: n bytes in the order of the entries, the 8
 * bits of the hash above the tag. Returns whether starts fit u16 above their group's base.
 */
export function index_sort(
  hashes: usize, n: u32, buckets: u32, rowBits: u32, tagBits: u32, starts: usize, entries: usize, rows: usize, prints: usize,
): u32 {
  const scale = scale_of(buckets)
  const end = hashes + (<usize>n << 3)
  for (let p = hashes; p < end; p += 8) {
    const count = starts + (bucket_of(load<u32>(p, 4), scale) << 2)
    store<u32>(count, load<u32>(count, 8) + 1, 8)
  }
  // starts[b + 2] counted bucket b; as a running sum starts[b + 1] becomes the place of its next entry.
  let sum: u32 = 0
  let base: u32 = 0
  let narrow: u32 = 1
  for (let b: u32 = 0; b <= buckets; b++) {
    const at = starts + (<usize>b << 2)
    sum += load<u32>(at, 4)
    store<u32>(at, sum, 4)
    // The start of bucket b is `sum` before its own entries are counted in.
    if ((b & ((1 << GROUP_SHIFT) - 1)) == 0) base = sum
    if (sum - base > 0xffff) narrow = 0
  }
  const mask: u32 = (1 << tagBits) - 1
  for (let place: u32 = 0; place < n; place++, hashes += 8) {
    const row = rows ? load<u32>(rows + (<usize>place << 2)) : place
    const next = starts + (bucket_of(load<u32>(hashes, 4), scale) << 2)
    const at = load<u32>(next, 4)
    store<u32>(next, at + 1, 4)
    const low = load<u32>(hashes)
    store<u32>(entries + (<usize>at << 2), ((low & mask) << rowBits) | row)
    store<u8>(prints + <usize>at, <u8>(low >>> tagBits))
  }
  return narrow
}

/** Starts as they are stored: to `bases` and `relative`, or, when bases is 0, as u32 to `relative`. buckets + 1 of them. */
export function index_starts(starts: usize, buckets: u32, bases: usize, relative: usize): void {
  if (!bases) {
    memory.copy(relative, starts, (<usize>buckets + 1) << 2)
    return
  }
  let base: u32 = 0
  for (let b: usize = 0; b <= <usize>buckets; b++) {
    const start = load<u32>(starts + (b << 2))
    if ((b & ((1 << GROUP_SHIFT) - 1)) == 0) {
      base = start
      store<u32>(bases + ((b >>> GROUP_SHIFT) << 2), base)
    }
    store<u16>(relative + (b << 1), <u16>(start - base))
  }
}

/** n entries of `bits` bits one after the other; writes ceil(n * bits / 32) words. */
export function index_pack(entries: usize, n: u32, bits: u32, out: usize): void {
  let word: u64 = 0
  let filled: u32 = 0
  for (const end = entries + (<usize>n << 2); entries < end; entries += 4) {
    word |= <u64>load<u32>(entries) << filled
    filled += bits
    if (filled >= 32) {
      store<u32>(out, <u32>word)
      out += 4
      word >>>= 32
      filled -= 32
    }
  }
  if (filled) store<u32>(out, <u32>word)
}

// @ts-ignore: decorator
@inline
function start_of(bases: usize, starts: usize, b: usize): u32 {
  if (!bases) return load<u32>(starts + (b << 2))
  return load<u32>(bases + ((b >>> GROUP_SHIFT) << 2)) + load<u16>(starts + (b << 1))
}

/** Entry i; reads up to 7 bytes past the last word. */
// @ts-ignore: decorator
@inline
function entry_at(entries: usize, i: u32, bits: u32): u32 {
  const bit = <u64>i * <u64>bits
  return <u32>(load<u64>(entries + (<usize>(bit >>> 5) << 2)) >>> (bit & 31))
}

/**
 * Are the starts ascending from 0 to `n` and every row below `rows`? Writes 8 u32 a bucket at `tags`: one bit for each value of the low 8 bits of its tags.
 * 1, or BAD_DATA.
 */
export function index_check(bases: usize, starts: usize, entries: usize, buckets: u32, n: u32, rows: u32, rowBits: u32, tagBits: u32, tags: usize): i32 {
  const bits = rowBits + tagBits
  const rowMask: u32 = rowBits == 32 ? 0xffffffff : (1 << rowBits) - 1
  const tagMask: u32 = ((1 << tagBits) - 1) & 0xff
  memory.fill(tags, 0, <usize>buckets << 5)
  if (start_of(bases, starts, 0) || start_of(bases, starts, buckets) != n) return BAD_DATA
  let i: u32 = 0
  for (let b: usize = 0; b < <usize>buckets; b++, tags += 32) {
    const end = start_of(bases, starts, b + 1)
    if (end < i || end > n) return BAD_DATA
    for (; i < end; i++) {
      const entry = entry_at(entries, i, bits)
      if ((entry & rowMask) >= rows) return BAD_DATA
      const tag = (entry >>> rowBits) & tagMask
      const word = tags + (<usize>(tag >>> 5) << 2)
      store<u32>(word, load<u32>(word) | (<u32>1 << (tag & 31)))
    }
  }
  return 1
}

/**
 * Candidates of hashes: pairs (place of the hash, row) to `pairs`, at most `cap` of them; prints: of index_sort, or 0 = none. state: u32 place, u32 entry of its bucket to go on with (0, 0 at
 * first); moved on, place = n when all are done. Returns the pairs written.
 */
export function index_probe(
  bases: usize, starts: usize, entries: usize, buckets: u32, rowBits: u32, tagBits: u32, hashes: usize, n: u32, state: usize, pairs: usize, cap: u32,
  prints: usize,
): u32 {
  const scale = scale_of(buckets)
  const bits = rowBits + tagBits
  const rowMask: u32 = rowBits == 32 ? 0xffffffff : (1 << rowBits) - 1
  const tagMask: u32 = (1 << tagBits) - 1
  let place = load<u32>(state)
  let skip = load<u32>(state, 4)
  let count: u32 = 0
  for (; place < n; place++) {
    const hash = hashes + (<usize>place << 3)
    const b = bucket_of(load<u32>(hash, 4), scale)
    const first = start_of(bases, starts, b)
    const end = start_of(bases, starts, b + 1)
    const low = load<u32>(hash)
    const tag = low & tagMask
    const print = <u8>(low >>> tagBits)
    for (let i = first + skip; i < end; i++) {
      const entry = entry_at(entries, i, bits)
      if (((entry >>> rowBits) & tagMask) != tag || (prints && load<u8>(prints + <usize>i) != print)) continue
      if (count == cap) {
        store<u32>(state, place)
        store<u32>(state, i - first, 4)
        return count
      }
      const to = pairs + (<usize>count << 3)
      store<u32>(to, place)
      store<u32>(to, entry & rowMask, 4)
      count++
    }
    skip = 0
  }
  store<u32>(state, n)
  store<u32>(state, 0, 4)
  return count
}
