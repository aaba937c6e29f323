// arrow-concat.ts: putting columns together: offsets, integer widths, dictionaries.
//
// A dictionary under construction = an open-addressing table of (u32 hash, u32 entry + 1) slots, entry offsets and entry bytes, all in caller memory:
// it can be carried over any number of calls. Load stays at or below one half (the caller sizes it).
import { NULL_INDEX } from './arrow-bits'
import { bytes_equal } from './bytes'

/** out[i] = src[i] + delta for n offsets. */
export function rebase_offsets(src: usize, n: u32, delta: i32, out: usize): void {
  const splat = i32x4.splat(delta)
  let i: u32 = 0
  for (; i + 4 <= n; i += 4) v128.store(out + (<usize>i << 2), i32x4.add(v128.load(src + (<usize>i << 2)), splat))
  for (; i < n; i++) store<i32>(out + (<usize>i << 2), load<i32>(src + (<usize>i << 2)) + delta)
}

@inline
function convert<F, T>(src: usize, n: u32, out: usize): void {
  for (const end = src + <usize>n * sizeof<F>(); src < end; src += sizeof<F>()) {
    store<T>(out, <T>load<F>(src))
    out += sizeof<T>()
  }
}

@inline
function convertFrom<F>(src: usize, to: u32, n: u32, out: usize): void {
  if (to == 1) convert<F, u8>(src, n, out)
  else if (to == 2) convert<F, u16>(src, n, out)
  else if (to == 4) convert<F, u32>(src, n, out)
  else convert<F, u64>(src, n, out)
}

/** Integers of `from` bytes as integers of `to` bytes, sign- or zero-extended, or cut. */
export function int_convert(src: usize, from: u32, to: u32, signed: u32, n: u32, out: usize): void {
  if (from == 1) {
    if (signed) convertFrom<i8>(src, to, n, out)
    else convertFrom<u8>(src, to, n, out)
  } else if (from == 2) {
    if (signed) convertFrom<i16>(src, to, n, out)
    else convertFrom<u16>(src, to, n, out)
  } else if (from == 4) {
    if (signed) convertFrom<i32>(src, to, n, out)
    else convertFrom<u32>(src, to, n, out)
  } else {
    convertFrom<i64>(src, to, n, out)
  }
}

@inline
export function code_at(codes: usize, width: u32, row: u32): u32 {
  if (width == 1) return load<u8>(codes + row)
  if (width == 2) return load<u16>(codes + (<usize>row << 1))
  return load<u32>(codes + (<usize>row << 2))
}

@inline
function put_code(codes: usize, width: u32, row: u32, code: u32): void {
  if (width == 1) store<u8>(codes + row, code)
  else if (width == 2) store<u16>(codes + (<usize>row << 1), code)
  else store<u32>(codes + (<usize>row << 2), code)
}

/** out[i] = map[codes[i]]; a code outside the map (only under a null) becomes 0. */
export function codes_remap(codes: usize, from: u32, n: u32, map: usize, entries: u32, to: u32, out: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const code = code_at(codes, from, i)
    put_code(out, to, i, code < entries ? load<u32>(map + (<usize>code << 2)) : 0)
  }
}

/** Codes as u32 indices into the dictionary, missing under a null. Returns false when a valid row has a code outside the dictionary. */
export function codes_to_indices(codes: usize, width: u32, validity: usize, n: u32, entries: u32, out: usize): u32 {
  let good: u32 = 1
  for (let i: u32 = 0; i < n; i++) {
    let code = code_at(codes, width, i)
    if (validity && !((load<u8>(validity + (i >> 3)) >> (<u8>i & 7)) & 1)) code = NULL_INDEX
    else if (code >= entries) good = 0
    store<u32>(out + (<usize>i << 2), code)
  }
  return good
}

/** Multiply-and-fold hash of a byte string; reads up to 7 bytes past its end. */
@inline
function hash_bytes(p: usize, n: u32): u32 {
  let h: u64 = <u64>n * 0x9e3779b97f4a7c15
  while (n >= 8) {
    h = (h ^ load<u64>(p)) * 0xff51afd7ed558ccd
    h ^= h >> 29
    p += 8
    n -= 8
  }
  if (n) {
    h = (h ^ (load<u64>(p) & (((<u64>1) << (<u64>n << 3)) - 1))) * 0xff51afd7ed558ccd
    h ^= h >> 29
  }
  h *= 0x9e3779b97f4a7c15
  return <u32>(h >> 32)
}

/**
 * Finds or adds each valid row of a var column; codes[i] = its entry (0 under a null). `count` entries are there before.
 * Returns the number of entries after, or 0xFFFFFFFF once it would pass `limit` (the table is then spent).
 */
export function dict_intern(
  offsets: usize, data: usize, validity: usize, n: u32,
  table: usize, mask: u32, entryOffsets: usize, entryData: usize, count: u32, limit: u32, codes: usize,
): u32 {
  for (let i: u32 = 0; i < n; i++) {
    let code: u32 = 0
    if (!validity || (load<u8>(validity + (i >> 3)) >> (<u8>i & 7)) & 1) {
      const first = load<u32>(offsets + (<usize>i << 2))
      const length = load<u32>(offsets + (<usize>i << 2), 4) - first
      const p = data + first
      const hash = hash_bytes(p, length)
      let slot = hash & mask
      while (true) {
        const at = table + (<usize>slot << 3)
        const entry = load<u32>(at, 4)
        if (!entry) {
          if (count >= limit) return NULL_INDEX
          const begin = load<u32>(entryOffsets + (<usize>count << 2))
          memory.copy(entryData + begin, p, length)
          code = count++
          store<u32>(entryOffsets + (<usize>count << 2), begin + length)
          store<u32>(at, hash)
          store<u32>(at, count, 4)
          break
        }
        if (load<u32>(at) == hash) {
          const begin = load<u32>(entryOffsets + (<usize>(entry - 1) << 2))
          if (load<u32>(entryOffsets + (<usize>entry << 2)) - begin == length && bytes_equal(entryData + begin, p, length)) {
            code = entry - 1
            break
          }
        }
        slot = (slot + 1) & mask
      }
    }
    store<u32>(codes + (<usize>i << 2), code)
  }
  return count
}
