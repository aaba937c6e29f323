// group-table.ts: hash tables that number values in first-seen order: words of 8 bytes (numbers, pairs of numbers) and runs of bytes.
//
// A table lives in caller memory and is carried over any number of calls. Its head, all u32:
//   0 slots   4 mask   8 direct   12 size   16 limit   20 null   24 entries   28 data   32 capacity   36 seed (u64)
// Hashes depend on the seed: chosen values must not be able to collide. `size` values have numbers, `limit` of them fit (half the slots, so that a probe ends); `null` is the number of null plus 1, 0 while none was seen.
// Words: a slot is u32 number + 1; entries are the words, by number. With `direct` the word's low bits are the slot and nothing is compared.
// Bytes: a slot is { u32 number + 1, u32 hash }; entries are u32 offsets (size + 1 of them) into `data`, of which `capacity` bytes exist.
// Invariant: the n-th new value gets number n and keeps it. A kernel that runs out of room returns where in the list of rows it stands; called again from there, it goes on.
import { bytes_equal } from './bytes'
import { NULL_INDEX } from './arrow-bits'
import { code_at } from './arrow-concat'
import { SCRATCH } from './memory'
import { xxh3_64 } from './xxh3'

const SLOTS: usize = 0
const MASK: usize = 4
const DIRECT: usize = 8
const SIZE: usize = 12
const LIMIT: usize = 16
const NULL: usize = 20
const ENTRIES: usize = 24
const DATA: usize = 28
const CAPACITY: usize = 32
const SEED: usize = 36

/** The i-th row of a list of rows; without a list, row i. */
@inline
export function rowAt(rows: usize, i: u32): u32 {
  return rows ? load<u32>(rows + (<usize>i << 2)) : i
}

/** Bit `row` of a bitmap; no bitmap has every bit set. */
@inline
function has(bits: usize, row: u32): bool {
  return !bits || ((load<u8>(bits + (row >>> 3)) >>> (<u8>row & 7)) & 1) != 0
}

/** Murmur3's 64-bit finaliser: words that differ anywhere differ in the low bits. */
@inline
function mix(x: u64): u64 {
  x = (x ^ (x >>> 33)) * 0xff51afd7ed558ccd
  x = (x ^ (x >>> 33)) * 0xc4ceb9fe1a85ec53
  return x ^ (x >>> 33)
}

@inline
function wordSlot(word: u64, direct: u32, mask: u32, seed: u64): u32 {
  return direct ? <u32>word & mask : <u32>mix(word ^ seed) & mask
}

/**
 * Numbers of the n rows listed in rows (u32; 0: rows 0 to n - 1), from place `from` on, into out (u32 by row; rows that are not listed are left as they are).
 * Words of null rows are not looked at. Returns n, or the place of the row for which the table has no room.
 */
export function group_words(words: usize, validity: usize, rows: usize, from: u32, n: u32, t: usize, out: usize): u32 {
  const slots = <usize>load<u32>(t, SLOTS)
  const slotMask = load<u32>(t, MASK)
  const direct = load<u32>(t, DIRECT)
  const seed = load<u64>(t, SEED)
  const limit = load<u32>(t, LIMIT)
  const entries = <usize>load<u32>(t, ENTRIES)
  let size = load<u32>(t, SIZE)
  for (let block = from; block < n; block += 64) {
    // Slots and entries of 64 rows are fetched without a branch, so that cache misses overlap; nearly all rows are known by then.
    const count = min<u32>(64, n - block)
    for (let j: u32 = 0; j < count; j++) {
      const word = load<u64>(words + (<usize>rowAt(rows, block + j) << 3))
      store<u32>(SCRATCH + (<usize>j << 2), load<u32>(slots + (<usize>wordSlot(word, direct, slotMask, seed) << 2)))
    }
    let left: u64 = 0
    for (let j: u32 = 0; j < count; j++) {
      const row = rowAt(rows, block + j)
      const number = load<u32>(SCRATCH + (<usize>j << 2))
      const taken = <u32>(number != 0)
      const same = <u32>(load<u64>(entries + (<usize>(number - taken) << 3)) == load<u64>(words + (<usize>row << 3)))
      store<u32>(out + (<usize>row << 2), number - 1)
      left |= <u64>(taken & (direct | same) & <u32>has(validity, row) ^ 1) << j
    }
    for (; left; left &= left - 1) {
      const j = <u32>ctz<u64>(left)
      const row = rowAt(rows, block + j)
      let number: u32 = 0
      if (!has(validity, row)) {
        number = load<u32>(t, NULL)
        if (!number) {
          if (size == limit) {
            store<u32>(t, size, SIZE)
            return block + j
          }
          store<u64>(entries + (<usize>size << 3), 0)
          number = ++size
          store<u32>(t, number, NULL)
        }
      } else {
        const word = load<u64>(words + (<usize>row << 3))
        let at = wordSlot(word, direct, slotMask, seed)
        while (true) {
          number = load<u32>(slots + (<usize>at << 2))
          if (!number || direct || load<u64>(entries + (<usize>(number - 1) << 3)) == word) break
          at = (at + 1) & slotMask
        }
        if (!number) {
          if (size == limit) {
            store<u32>(t, size, SIZE)
            return block + j
          }
          store<u64>(entries + (<usize>size << 3), word)
          number = ++size
          store<u32>(slots + (<usize>at << 2), number)
        }
      }
      store<u32>(out + (<usize>row << 2), number - 1)
    }
  }
  store<u32>(t, size, SIZE)
  return n
}

/** Puts the numbers of a word table into its slots, which are new and zeroed. */
export function group_rehash_words(t: usize): void {
  const slots = <usize>load<u32>(t, SLOTS)
  const mask = load<u32>(t, MASK)
  const direct = load<u32>(t, DIRECT)
  const seed = load<u64>(t, SEED)
  const entries = <usize>load<u32>(t, ENTRIES)
  const size = load<u32>(t, SIZE)
  const empty = load<u32>(t, NULL)
  for (let number: u32 = 1; number <= size; number++) {
    if (number == empty) continue
    let at = wordSlot(load<u64>(entries + (<usize>(number - 1) << 3)), direct, mask, seed)
    while (load<u32>(slots + (<usize>at << 2))) at = (at + 1) & mask
    store<u32>(slots + (<usize>at << 2), number)
  }
}

/** Words of short strings are mixed one after the other, longer strings are left to XXH3. Reads up to 7 bytes past the string. */
@inline
function hashBytes(p: usize, n: u32, seed: u64): u32 {
  if (n > 32) return <u32>xxh3_64(p, n, seed)
  let h = seed ^ (<u64>n * 0x9e3779b97f4a7c15)
  let left = n
  for (; left > 8; left -= 8, p += 8) h = mix(h ^ load<u64>(p))
  if (left) h = mix(h ^ (load<u64>(p) << ((8 - <u64>left) << 3)))
  return <u32>h
}

/** As group_words for byte strings: u32 offsets, or, without them, `width` bytes each. Reads up to 7 bytes past the last row. */
export function group_bytes(offsets: usize, data: usize, width: u32, validity: usize, rows: usize, from: u32, n: u32, t: usize, out: usize): u32 {
  const slots = <usize>load<u32>(t, SLOTS)
  const slotMask = load<u32>(t, MASK)
  const limit = load<u32>(t, LIMIT)
  const entries = <usize>load<u32>(t, ENTRIES)
  const kept = <usize>load<u32>(t, DATA)
  const capacity = load<u32>(t, CAPACITY)
  const seed = load<u64>(t, SEED)
  let size = load<u32>(t, SIZE)
  let i = from
  for (; i < n; i++) {
    const row = rowAt(rows, i)
    let number: u32 = 0
    if (!has(validity, row)) {
      number = load<u32>(t, NULL)
      if (!number) {
        if (size == limit) break
        store<u32>(entries + (<usize>size << 2), load<u32>(entries + (<usize>size << 2)), 4)
        number = ++size
        store<u32>(t, number, NULL)
      }
    } else {
      let p = data + <usize>row * width
      let length = width
      if (offsets) {
        const first = load<u32>(offsets + (<usize>row << 2))
        p = data + first
        length = load<u32>(offsets + (<usize>row << 2), 4) - first
      }
      const hash = hashBytes(p, length, seed)
      let at = hash & slotMask
      while (true) {
        const slot = slots + (<usize>at << 3)
        number = load<u32>(slot)
        if (!number) break
        if (load<u32>(slot, 4) == hash) {
          const entry = entries + (<usize>(number - 1) << 2)
          const start = load<u32>(entry)
          if (load<u32>(entry, 4) - start == length && bytes_equal(kept + start, p, length)) break
        }
        at = (at + 1) & slotMask
      }
      if (!number) {
        const start = load<u32>(entries + (<usize>size << 2))
        if (size == limit || length > capacity - start) break
        memory.copy(kept + start, p, length)
        store<u32>(entries + (<usize>size << 2), start + length, 4)
        number = ++size
        store<u32>(slots + (<usize>at << 3), number)
        store<u32>(slots + (<usize>at << 3), hash, 4)
      }
    }
    store<u32>(out + (<usize>row << 2), number - 1)
  }
  store<u32>(t, size, SIZE)
  return i
}

/** Moves the slots of a bytes table (mask + 1 of them at `old`) to its new ones, which are zeroed. */
export function group_rehash_bytes(t: usize, old: usize, oldMask: u32): void {
  const slots = <usize>load<u32>(t, SLOTS)
  const mask = load<u32>(t, MASK)
  for (let from: u32 = 0; from <= oldMask; from++) {
    const slot = load<u64>(old + (<usize>from << 3))
    if (!slot) continue
    let at = <u32>(slot >>> 32) & mask
    while (load<u32>(slots + (<usize>at << 3))) at = (at + 1) & mask
    store<u64>(slots + (<usize>at << 3), slot)
  }
}

/**
 * Codes of the listed rows that `map` (u32 by code, 0 = not met yet) does not know, in first-seen order, into out; they are marked in map. A null row and a code
 * beyond the entries stand for null, listed once as NULL_INDEX; `nulls` says that it need not be listed. Returns how many were listed.
 */
export function group_new_codes(codes: usize, width: u32, validity: usize, rows: usize, n: u32, map: usize, entries: u32, nulls: u32, out: usize): u32 {
  let count: u32 = 0
  for (let i: u32 = 0; i < n; i++) {
    const row = rowAt(rows, i)
    const code = code_at(codes, width, row)
    if (code >= entries || !has(validity, row)) {
      if (nulls) continue
      nulls = 1
      store<u32>(out + (<usize>count << 2), NULL_INDEX)
      count++
    } else if (!load<u32>(map + (<usize>code << 2))) {
      store<u32>(map + (<usize>code << 2), 1)
      store<u32>(out + (<usize>count << 2), code)
      count++
    }
  }
  return count
}

/** map[codes[i]] = numbers[i] + 1 for n codes; NULL_INDEX is passed over. */
export function group_map_codes(codes: usize, numbers: usize, n: u32, map: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const code = load<u32>(codes + (<usize>i << 2))
    if (code != NULL_INDEX) store<u32>(map + (<usize>code << 2), load<u32>(numbers + (<usize>i << 2)) + 1)
  }
}

/** Numbers of rows whose codes are all in map; null rows and codes beyond the entries get `empty`. Writes every row. */
export function group_codes(codes: usize, width: u32, validity: usize, n: u32, map: usize, entries: u32, empty: u32, out: usize): void {
  for (let row: u32 = 0; row < n; row++) {
    const code = code_at(codes, width, row)
    const number = code < entries && has(validity, row) ? load<u32>(map + (<usize>code << 2)) - 1 : empty
    store<u32>(out + (<usize>row << 2), number)
  }
}

/** out[i] = first[i] * 2^shift + second[i], as words; shift 32 at most. */
export function group_pairs(first: usize, second: usize, shift: u32, n: u32, out: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    store<u64>(out + (<usize>i << 3), (<u64>load<u32>(first + (<usize>i << 2)) << shift) | load<u32>(second + (<usize>i << 2)))
  }
}

@inline
function widen<T>(p: usize, flip: u64, n: u32, out: usize): void {
  for (let i: u32 = 0; i < n; i++) store<u64>(out + (<usize>i << 3), <u64><i64>load<T>(p + <usize>i * sizeof<T>()) ^ flip)
}

const SIGN: u64 = 0x8000000000000000

/**
 * Values of a kind (as in arrow-sort, 0-9; 10 = bits) as words: integers sign- or zero-extended, f32 as f64. mode 0: nothing else. 1: order, so that the
 * smaller word (as i64; floats as f64) is the smaller value. 2: order, reversed. 3: equality, -0 as 0 and one NaN. out may be p when values are words.
 */
export function group_widen(p: usize, kind: u32, mode: u32, n: u32, out: usize): void {
  const reversed = mode == 2
  const ordered = mode == 1 || reversed
  const flip: u64 = reversed ? ~(<u64>0) : 0
  if (kind == 0) widen<i8>(p, flip, n, out)
  else if (kind == 1) widen<i16>(p, flip, n, out)
  else if (kind == 2) widen<i32>(p, flip, n, out)
  else if (kind == 3) widen<i64>(p, flip, n, out)
  else if (kind == 4) widen<u8>(p, flip, n, out)
  else if (kind == 5) widen<u16>(p, flip, n, out)
  else if (kind == 6) widen<u32>(p, flip, n, out)
  else if (kind == 7) widen<u64>(p, ordered ? flip ^ SIGN : 0, n, out)
  else if (kind == 10) {
    for (let i: u32 = 0; i < n; i++) store<u64>(out + (<usize>i << 3), <u64>((load<u8>(p + (i >>> 3)) >>> (<u8>i & 7)) & 1) ^ flip)
  } else {
    for (let i: u32 = 0; i < n; i++) {
      let x = kind == 8 ? <f64>load<f32>(p + (<usize>i << 2)) : load<f64>(p + (<usize>i << 3))
      if (reversed) x = -x
      let word = reinterpret<u64>(x)
      if (mode == 3) {
        if (x != x) word = 0x7ff8000000000000
        else if (x == 0) word = 0
      }
      store<u64>(out + (<usize>i << 3), word)
    }
  }
}
