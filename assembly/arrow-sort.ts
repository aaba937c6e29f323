// arrow-sort.ts: stable orders of rows, as u32 indices.
//
// Every key becomes a column of u64 whose unsigned order is the key's order (sort_keys_*): integers biased, floats by IEEE total order with -0 = +0
// and NaN above all numbers in both directions, bytes by their first eight, dictionary codes by rank. A stable pass over any permutation sorts by one
// such column (LSD radix, digits of 8 bits, those that do not vary skipped), so several keys are passes from the last to the first.
import { valid } from './arrow-bits'
import { code_at } from './arrow-concat'
import { compare_rows, compare_tied, prefix64 } from './bytes'
import { SCRATCH } from './memory'

const ALL: u64 = ~(<u64>0)
const SIGN: u64 = <u64>1 << 63

@inline
function ints<T>(p: usize, stride: u32, n: u32, bias: u64, flip: u64, out: usize): void {
  for (let i: u32 = 0; i < n; i++, p += stride) store<u64>(out + (<usize>i << 3), (<u64>load<T>(p) + bias) ^ flip)
}

/** The same for i64 in a row: their bias is one bit. */
function longs(p: usize, n: u32, mask: u64, out: usize): void {
  const masks = i64x2.splat(mask)
  let i: u32 = 0
  for (; i + 4 <= n; i += 4) {
    const at = <usize>i << 3
    v128.store(out + at, v128.xor(v128.load(p + at), masks))
    v128.store(out + at, v128.xor(v128.load(p + at, 16), masks), 16)
  }
  for (; i < n; i++) store<u64>(out + (<usize>i << 3), load<u64>(p + (<usize>i << 3)) ^ mask)
}

@inline
function floatKey(bits: u64, sign: u64, infinity: u64, top: u64, desc: u32): u64 {
  if ((bits & (sign - 1)) > infinity) return top
  let key = bits == sign ? sign : bits & sign ? top - bits : bits | sign
  return desc ? top - key : key
}

/** Kinds: 0-3 i8..i64, 4-7 u8..u64, 8 f32, 9 f64, 10 bool. Rows are `stride` bytes apart. */
export function sort_keys_fixed(p: usize, kind: u32, stride: u32, n: u32, desc: u32, out: usize): void {
  const flip = desc ? ALL : 0
  if (kind == 0) ints<i8>(p, stride, n, SIGN, flip, out)
  else if (kind == 1) ints<i16>(p, stride, n, SIGN, flip, out)
  else if (kind == 2) ints<i32>(p, stride, n, SIGN, flip, out)
  else if (kind == 3 && stride == 8) longs(p, n, SIGN ^ flip, out)
  else if (kind == 3) ints<i64>(p, stride, n, SIGN, flip, out)
  else if (kind == 4) ints<u8>(p, stride, n, 0, flip, out)
  else if (kind == 5) ints<u16>(p, stride, n, 0, flip, out)
  else if (kind == 6) ints<u32>(p, stride, n, 0, flip, out)
  else if (kind == 7) ints<u64>(p, stride, n, 0, flip, out)
  else if (kind == 8) {
    for (let i: u32 = 0; i < n; i++, p += stride) {
      store<u64>(out + (<usize>i << 3), floatKey(load<u32>(p), 0x80000000, 0x7f800000, 0xffffffff, desc))
    }
  } else if (kind == 9) {
    for (let i: u32 = 0; i < n; i++, p += stride) store<u64>(out + (<usize>i << 3), floatKey(load<u64>(p), SIGN, 0x7ff0000000000000, ALL, desc))
  } else {
    for (let i: u32 = 0; i < n; i++) store<u64>(out + (<usize>i << 3), <u64>((load<u8>(p + (i >> 3)) >> (<u8>i & 7)) & 1) ^ (flip & 1))
  }
}

/** Up to 8 bytes of each row, from its start or (fixed width, no offsets) as given by p and `length`, as a big-endian number. */
export function sort_keys_bytes(offsets: usize, p: usize, stride: u32, length: u32, n: u32, desc: u32, out: usize): void {
  const flip = desc ? ALL : 0
  for (let i: u32 = 0; i < n; i++, p += stride) {
    let at = p
    let size = length
    if (offsets) {
      const first = load<u32>(offsets + (<usize>i << 2))
      at = p + first
      size = load<u32>(offsets + (<usize>i << 2), 4) - first
    }
    store<u64>(out + (<usize>i << 3), prefix64(at, size) ^ flip)
  }
}

/** ranks[code] of each row; a code outside (only under a null) counts as 0. */
export function sort_keys_codes(codes: usize, width: u32, n: u32, ranks: usize, entries: u32, desc: u32, out: usize): void {
  const flip = desc ? ALL : 0
  for (let i: u32 = 0; i < n; i++) {
    const code = code_at(codes, width, i)
    store<u64>(out + (<usize>i << 3), (code < entries ? <u64>load<u32>(ranks + (<usize>code << 2)) : 0) ^ flip)
  }
}

/** Sorts (keys, idx) in place by key, stably; keys2 and idx2 are as large. Uses 8 KiB of SCRATCH. */
function radix(keys: usize, idx: usize, keys2: usize, idx2: usize, n: u32, least: u64): void {
  memory.fill(SCRATCH, 0, 8192)
  const end = keys + (<usize>n << 3)
  for (let p = keys; p < end; p += 8) {
    const key = load<u64>(p) - least
    store<u64>(p, key)
    for (let digit: u32 = 0; digit < 8; digit++) {
      const at = SCRATCH + (digit << 10) + ((<usize>(key >> (<u64>digit << 3)) & 255) << 2)
      store<u32>(at, load<u32>(at) + 1)
    }
  }
  const firstKeys = keys
  const firstIdx = idx
  for (let digit: u32 = 0; digit < 8; digit++) {
    const counts = SCRATCH + (digit << 10)
    const shift = <u64>digit << 3
    if (load<u32>(counts + ((<usize>(load<u64>(keys) >> shift) & 255) << 2)) == n) continue
    let sum: u32 = 0
    for (let p = counts; p < counts + 1024; p += 4) {
      const count = load<u32>(p)
      store<u32>(p, sum)
      sum += count
    }
    for (let i: u32 = 0; i < n; i++) {
      const key = load<u64>(keys + (<usize>i << 3))
      const at = counts + ((<usize>(key >> shift) & 255) << 2)
      const to = load<u32>(at)
      store<u32>(at, to + 1)
      store<u64>(keys2 + (<usize>to << 3), key)
      store<u32>(idx2 + (<usize>to << 2), load<u32>(idx + (<usize>i << 2)))
    }
    const k = keys
    keys = keys2
    keys2 = k
    const x = idx
    idx = idx2
    idx2 = x
  }
  if (keys != firstKeys) {
    memory.copy(firstKeys, keys, <usize>n << 3)
    memory.copy(firstIdx, idx, <usize>n << 2)
  }
}

/**
 * One stable pass: perm (n rows; its keys and validity are addressed by row) is rewritten into out, valid rows by key, null rows behind them.
 * work = n keys, n keys, n indices. The sorted keys (less their minimum) stay at the start of work. Returns the number of valid rows.
 */
export function sort_pass(keys: usize, validity: usize, perm: usize, n: u32, out: usize, work: usize): u32 {
  let m: u32 = 0
  let least = ALL
  let before: u64 = 0
  let sorted = true
  for (let i: u32 = 0; i < n; i++) {
    const row = load<u32>(perm + (<usize>i << 2))
    if (!valid(validity, row)) continue
    const key = load<u64>(keys + (<usize>row << 3))
    sorted = sorted && key >= before
    before = key
    least = min<u64>(least, key)
    store<u64>(work + (<usize>m << 3), key)
    store<u32>(out + (<usize>m << 2), row)
    m++
  }
  if (m < n) {
    let at = m
    for (let i: u32 = 0; i < n; i++) {
      const row = load<u32>(perm + (<usize>i << 2))
      if (valid(validity, row)) continue
      store<u32>(out + (<usize>at << 2), row)
      at++
    }
  }
  if (!sorted) radix(work, out, work + (<usize>n << 3), work + (<usize>n << 4), m, least)
  return m
}

/** Stable merge sort of idx[0..n), rows with one prefix, by whole byte strings; tmp is as large; sign -1 = descending. */
function mergeSort(offsets: usize, data: usize, idx: usize, n: u32, tmp: usize, sign: i32): void {
  for (let first: u32 = 0; first < n; first += 8) {
    const stop = min<u32>(n, first + 8)
    for (let i = first + 1; i < stop; i++) {
      const row = load<u32>(idx + (<usize>i << 2))
      let j = i
      while (j > first) {
        const other = load<u32>(idx + (<usize>(j - 1) << 2))
        if (compare_tied(offsets, data, 0, other, row) * sign <= 0) break
        store<u32>(idx + (<usize>j << 2), other)
        j--
      }
      store<u32>(idx + (<usize>j << 2), row)
    }
  }
  let from = idx
  let to = tmp
  for (let run: u32 = 8; run < n; run <<= 1) {
    for (let first: u32 = 0; first < n; first += run << 1) {
      let a = first
      const mid = min<u32>(n, first + run)
      let b = mid
      const stop = min<u32>(n, mid + run)
      let at = to + (<usize>first << 2)
      while (a < mid && b < stop) {
        const ra = load<u32>(from + (<usize>a << 2))
        const rb = load<u32>(from + (<usize>b << 2))
        if (compare_tied(offsets, data, 0, ra, rb) * sign <= 0) {
          store<u32>(at, ra)
          a++
        } else {
          store<u32>(at, rb)
          b++
        }
        at += 4
      }
      memory.copy(at, from + (<usize>a << 2), <usize>(mid - a) << 2)
      at += <usize>(mid - a) << 2
      memory.copy(at, from + (<usize>b << 2), <usize>(stop - b) << 2)
    }
    const t = from
    from = to
    to = t
  }
  if (from != idx) memory.copy(idx, from, <usize>n << 2)
}

/** After a sort_pass over 8-byte prefixes: orders each group of m equal sorted prefixes by the whole strings. tmp = m indices. */
export function sort_ties(offsets: usize, data: usize, sortedKeys: usize, m: u32, idx: usize, tmp: usize, desc: u32): void {
  const sign = desc ? -1 : 1
  let first: u32 = 0
  while (first < m) {
    const key = load<u64>(sortedKeys + (<usize>first << 3))
    let stop = first + 1
    while (stop < m && load<u64>(sortedKeys + (<usize>stop << 3)) == key) stop++
    if (stop - first > 1) mergeSort(offsets, data, idx + (<usize>first << 2), stop - first, tmp, sign)
    first = stop
  }
}

/** ranks[row] of the rows of a var column in the order idx: equal strings share a rank. */
export function sort_ranks(offsets: usize, data: usize, idx: usize, n: u32, ranks: usize): void {
  let rank: u32 = 0
  for (let i: u32 = 0; i < n; i++) {
    const row = load<u32>(idx + (<usize>i << 2))
    if (i && compare_rows(offsets, data, load<u32>(idx + (<usize>(i - 1) << 2)), row)) rank++
    store<u32>(ranks + (<usize>row << 2), rank)
  }
}

/** Where signs[i] is 0: the sign of row i - 1 against row i by this key, nulls last. signs[0] stays 0. */
export function adjacent_keys(keys: usize, validity: usize, n: u32, signs: usize): void {
  for (let i: u32 = 1; i < n; i++) {
    if (load<u8>(signs + i)) continue
    const a = valid(validity, i - 1)
    const b = valid(validity, i)
    let sign: i32 = <i32>b - <i32>a
    if (a && b) {
      const x = load<u64>(keys + (<usize>(i - 1) << 3))
      const y = load<u64>(keys + (<usize>i << 3))
      sign = <i32>(x > y) - <i32>(x < y)
    }
    store<i8>(signs + i, <i8>sign)
  }
}

export function adjacent_bytes(offsets: usize, data: usize, validity: usize, n: u32, signs: usize): void {
  for (let i: u32 = 1; i < n; i++) {
    if (load<u8>(signs + i)) continue
    const a = valid(validity, i - 1)
    const b = valid(validity, i)
    store<i8>(signs + i, <i8>(a && b ? compare_rows(offsets, data, i - 1, i) : <i32>b - <i32>a))
  }
}

/** The first row that is less than the one before, or n. strict[0] (u32) = whether no row before that one equals its predecessor. */
export function first_descent(signs: usize, n: u32, strict: usize): u32 {
  let equal: u32 = 0
  let i: u32 = 1
  for (; i < n; i++) {
    const sign = load<i8>(signs + i)
    if (sign > 0) break
    equal |= <u32>(sign == 0)
  }
  store<u32>(strict, equal ? 0 : 1)
  return min<u32>(i, n)
}

/** out[i] = first + i. */
export function row_numbers(out: usize, first: u32, n: u32): void {
  for (let i: u32 = 0; i < n; i++) store<u32>(out + (<usize>i << 2), first + i)
}

/** Keeps the least `count` keys of the valid rows in a heap (greatest at the root, where it is left). Returns the number of valid rows. */
export function least_keys(keys: usize, validity: usize, n: u32, count: u32, heap: usize): u32 {
  let size: u32 = 0
  let seen: u32 = 0
  for (let row: u32 = 0; row < n; row++) {
    if (!valid(validity, row)) continue
    seen++
    const key = load<u64>(keys + (<usize>row << 3))
    if (size < count) {
      let at = size++
      while (at) {
        const up = (at - 1) >> 1
        const parent = load<u64>(heap + (<usize>up << 3))
        if (parent >= key) break
        store<u64>(heap + (<usize>at << 3), parent)
        at = up
      }
      store<u64>(heap + (<usize>at << 3), key)
    } else if (key < load<u64>(heap)) {
      let at: u32 = 0
      while (true) {
        let child = at * 2 + 1
        if (child >= size) break
        if (child + 1 < size && load<u64>(heap + (<usize>(child + 1) << 3)) > load<u64>(heap + (<usize>child << 3))) child++
        const below = load<u64>(heap + (<usize>child << 3))
        if (below <= key) break
        store<u64>(heap + (<usize>at << 3), below)
        at = child
      }
      store<u64>(heap + (<usize>at << 3), key)
    }
  }
  return seen
}

/** The valid rows whose key is at most the one at `limit`; returns their number. */
export function rows_up_to(keys: usize, validity: usize, n: u32, limit: usize, out: usize): u32 {
  const most = load<u64>(limit)
  let count: u32 = 0
  for (let row: u32 = 0; row < n; row++) {
    store<u32>(out + (<usize>count << 2), row)
    count += <u32>(load<u64>(keys + (<usize>row << 3)) <= most && valid(validity, row))
  }
  return count
}
