// predicate.ts: comparisons of a column with constants, to a bitmap. Nulls are the caller's business (it ands the validity in).
//
// Every comparison of numbers is a union of closed ranges (lo, hi): `x < c` is [least, c - 1]. The range list holds lo, hi pairs of the column's own
// type. Integers of up to 32 bits test (x - lo) <= (hi - lo) unsigned, which serves both signs. Rows go in groups of 16: the input must be readable
// up to a whole group, the output has 2 bytes per group; bits behind n are 0. NaN lies in no range.
import { code_at } from './arrow-concat'
import { bytes_compare, bytes_equal } from './bytes'

/** The bits of 16 rows from `row` on, those behind n as 0. */
@inline
export function put(out: usize, row: u32, n: u32, bits: u32): void {
  const rest = n - row
  store<u16>(out + (row >> 3), <u16>(rest >= 16 ? bits : bits & ((<u32>1 << rest) - 1)))
}

export function range_8(p: usize, n: u32, ranges: usize, count: u32, out: usize): void {
  const end = ranges + (<usize>count << 1)
  for (let row: u32 = 0; row < n; row += 16) {
    const x = v128.load(p + row)
    let hit = i8x16.splat(0)
    for (let r = ranges; r < end; r += 2) {
      const lo = v128.load_splat<u8>(r)
      hit = v128.or(hit, i8x16.le_u(i8x16.sub(x, lo), i8x16.sub(v128.load_splat<u8>(r, 1), lo)))
    }
    put(out, row, n, i8x16.bitmask(hit))
  }
}

export function range_16(p: usize, n: u32, ranges: usize, count: u32, out: usize): void {
  const end = ranges + (<usize>count << 2)
  for (let row: u32 = 0; row < n; row += 16) {
    const a = v128.load(p + (<usize>row << 1))
    const b = v128.load(p + (<usize>row << 1), 16)
    let hitA = i16x8.splat(0)
    let hitB = i16x8.splat(0)
    for (let r = ranges; r < end; r += 4) {
      const lo = v128.load_splat<u16>(r)
      const span = i16x8.sub(v128.load_splat<u16>(r, 2), lo)
      hitA = v128.or(hitA, i16x8.le_u(i16x8.sub(a, lo), span))
      hitB = v128.or(hitB, i16x8.le_u(i16x8.sub(b, lo), span))
    }
    put(out, row, n, i8x16.bitmask(i8x16.narrow_i16x8_s(hitA, hitB)))
  }
}

/** `float`: the values are f32, else integers of 32 bits. */
export function range_32(p: usize, n: u32, ranges: usize, count: u32, float: u32, out: usize): void {
  const end = ranges + (<usize>count << 3)
  for (let row: u32 = 0; row < n; row += 16, p += 64) {
    const a = v128.load(p)
    const b = v128.load(p, 16)
    const c = v128.load(p, 32)
    const d = v128.load(p, 48)
    let ha = i32x4.splat(0)
    let hb = ha
    let hc = ha
    let hd = ha
    if (float) {
      for (let r = ranges; r < end; r += 8) {
        const lo = v128.load_splat<u32>(r)
        const hi = v128.load_splat<u32>(r, 4)
        ha = v128.or(ha, v128.and(f32x4.ge(a, lo), f32x4.le(a, hi)))
        hb = v128.or(hb, v128.and(f32x4.ge(b, lo), f32x4.le(b, hi)))
        hc = v128.or(hc, v128.and(f32x4.ge(c, lo), f32x4.le(c, hi)))
        hd = v128.or(hd, v128.and(f32x4.ge(d, lo), f32x4.le(d, hi)))
      }
    } else {
      for (let r = ranges; r < end; r += 8) {
        const lo = v128.load_splat<u32>(r)
        const span = i32x4.sub(v128.load_splat<u32>(r, 4), lo)
        ha = v128.or(ha, i32x4.le_u(i32x4.sub(a, lo), span))
        hb = v128.or(hb, i32x4.le_u(i32x4.sub(b, lo), span))
        hc = v128.or(hc, i32x4.le_u(i32x4.sub(c, lo), span))
        hd = v128.or(hd, i32x4.le_u(i32x4.sub(d, lo), span))
      }
    }
    put(out, row, n, i8x16.bitmask(i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(ha, hb), i16x8.narrow_i32x4_s(hc, hd))))
  }
}

@inline
function hits64(p: usize, low: v128, high: v128, bias: v128, float: bool): u32 {
  let bits: u32 = 0
  for (let k: u32 = 0; k < 16; k += 2) {
    const x = v128.xor(v128.load(p + (<usize>k << 3)), bias)
    const hit = float ? v128.and(f64x2.ge(x, low), f64x2.le(x, high)) : v128.and(i64x2.ge_s(x, low), i64x2.le_s(x, high))
    bits |= <u32>i64x2.bitmask(hit) << k
  }
  return bits
}

/** `mode` 0: i64, 1: u64 (values and ranges), 2: f64. */
export function range_64(p: usize, n: u32, ranges: usize, count: u32, mode: u32, out: usize): void {
  const end = ranges + (<usize>count << 4)
  const bias = i64x2.splat(mode == 1 ? i64.MIN_VALUE : 0)
  for (let row: u32 = 0; row < n; row += 16, p += 128) {
    let bits: u32 = 0
    for (let r = ranges; r < end; r += 16) {
      const low = v128.xor(v128.load_splat<u64>(r), bias)
      const high = v128.xor(v128.load_splat<u64>(r, 8), bias)
      bits |= mode == 2 ? hits64(p, low, high, bias, true) : hits64(p, low, high, bias, false)
    }
    put(out, row, n, bits)
  }
}

@inline
function le128(aHigh: i64, aLow: u64, bHigh: i64, bLow: u64): bool {
  return aHigh < bHigh || (aHigh == bHigh && aLow <= bLow)
}

/** 16-byte two's complement. */
export function range_128(p: usize, n: u32, ranges: usize, count: u32, out: usize): void {
  const end = ranges + (<usize>count << 5)
  for (let row: u32 = 0; row < n; row += 16) {
    let bits: u32 = 0
    const stop = min<u32>(16, n - row)
    for (let k: u32 = 0; k < stop; k++, p += 16) {
      const low = load<u64>(p)
      const high = load<i64>(p, 8)
      for (let r = ranges; r < end; r += 32) {
        if (le128(load<i64>(r, 8), load<u64>(r), high, low) && le128(high, low, load<i64>(r, 24), load<u64>(r, 16))) bits |= <u32>1 << k
      }
    }
    put(out, row, n, bits)
  }
}

/**
 * A row of `width` bytes as i64: `mode` 0 sign-extended, 1 zero-extended, 2 u64 with its order moved to i64, 3 the bits of a float as f64, -0 as +0.
 * Any order serves a search for equals; NaN has bits that no list holds.
 */
@inline
function wide(p: usize, width: u32, mode: u32): i64 {
  if (mode == 3) return reinterpret<i64>((width == 4 ? <f64>load<f32>(p) : load<f64>(p)) + 0.0)
  if (width == 1) return mode ? <i64>load<u8>(p) : <i64>load<i8>(p)
  if (width == 2) return mode ? <i64>load<u16>(p) : <i64>load<i16>(p)
  if (width == 4) return mode ? <i64>load<u32>(p) : <i64>load<i32>(p)
  return mode == 2 ? load<i64>(p) ^ i64.MIN_VALUE : load<i64>(p)
}

/** Numbers that occur in a sorted list of `m` i64 (in the same form as the rows). */
export function in_sorted(p: usize, width: u32, mode: u32, n: u32, list: usize, m: u32, out: usize): void {
  for (let row: u32 = 0; row < n; row += 16) {
    let bits: u32 = 0
    const stop = min<u32>(16, n - row)
    for (let k: u32 = 0; k < stop; k++, p += width) {
      const x = wide(p, width, mode)
      let at = list
      for (let length = m; length > 1; ) {
        const half = length >> 1
        // No branch on the data: the searches of several rows then overlap in the processor.
        const mid = at + (<usize>half << 3)
        at = select<usize>(mid, at, load<i64>(mid) <= x)
        length -= half
      }
      if (m && load<i64>(at) == x) bits |= <u32>1 << k
    }
    put(out, row, n, bits)
  }
}

/** 16-byte integers that occur in a sorted list of `m` of them. */
export function in_sorted_128(p: usize, n: u32, list: usize, m: u32, out: usize): void {
  for (let row: u32 = 0; row < n; row += 16) {
    let bits: u32 = 0
    const stop = min<u32>(16, n - row)
    for (let k: u32 = 0; k < stop; k++, p += 16) {
      const low = load<u64>(p)
      const high = load<i64>(p, 8)
      let at = list
      for (let length = m; length > 1; ) {
        const half = length >> 1
        const mid = at + (<usize>half << 4)
        at = select<usize>(mid, at, le128(load<i64>(mid, 8), load<u64>(mid), high, low))
        length -= half
      }
      if (m && load<u64>(at) == low && load<i64>(at, 8) == high) bits |= <u32>1 << k
    }
    put(out, row, n, bits)
  }
}

/** Rows of `width` bytes or, with offsets, of any length; their order against c must be among `accept`: 1 less, 2 equal, 4 greater, 8 starts with c. */
export function compare_bytes(offsets: usize, data: usize, width: u32, n: u32, c: usize, cn: u32, accept: u32, out: usize): void {
  let p = data
  let length = width
  for (let row: u32 = 0; row < n; row += 16) {
    let bits: u32 = 0
    const stop = min<u32>(16, n - row)
    for (let k: u32 = 0; k < stop; k++) {
      if (offsets) {
        const at = offsets + (<usize>(row + k) << 2)
        const first = load<u32>(at)
        p = data + first
        length = load<u32>(at, 4) - first
      }
      if (accept == 2) {
        if (length == cn && bytes_equal(p, c, cn)) bits |= <u32>1 << k
      } else if (accept == 8) {
        if (length >= cn && bytes_equal(p, c, cn)) bits |= <u32>1 << k
      } else {
        const sign = bytes_compare(p, length, c, cn)
        if ((accept >> (sign + 1)) & 1) bits |= <u32>1 << k
      }
      p += width
    }
    put(out, row, n, bits)
  }
}

/** Rows that occur in a sorted list of m byte strings. */
export function in_sorted_bytes(offsets: usize, data: usize, width: u32, n: u32, listOffsets: usize, listData: usize, m: u32, out: usize): void {
  let p = data
  let length = width
  for (let row: u32 = 0; row < n; row += 16) {
    let bits: u32 = 0
    const stop = min<u32>(16, n - row)
    for (let k: u32 = 0; k < stop; k++) {
      if (offsets) {
        const at = offsets + (<usize>(row + k) << 2)
        const first = load<u32>(at)
        p = data + first
        length = load<u32>(at, 4) - first
      }
      let low: u32 = 0
      let high = m
      while (low < high) {
        const mid = (low + high) >> 1
        const at = listOffsets + (<usize>mid << 2)
        const first = load<u32>(at)
        const sign = bytes_compare(p, length, listData + first, load<u32>(at, 4) - first)
        if (!sign) {
          bits |= <u32>1 << k
          break
        }
        if (sign < 0) high = mid
        else low = mid + 1
      }
      p += width
    }
    put(out, row, n, bits)
  }
}

/** Bit i = bit codes[i] of the dictionary's own result (32 readable bytes at least); a code outside gives 0. */
export function codes_to_bits(codes: usize, width: u32, n: u32, dictBits: usize, entries: u32, out: usize): void {
  if (width == 1) {
    // The 256 bits as two swizzle tables; an index behind a table gives 0, so entries that are not there must be 0 in dictBits.
    const first = v128.load(dictBits)
    const second = v128.load(dictBits, 16)
    const bitOf = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128)
    const seven = i8x16.splat(7)
    const sixteen = i8x16.splat(16)
    for (let row: u32 = 0; row < n; row += 16) {
      const c = v128.load(codes + row)
      const byte = i8x16.shr_u(c, 3)
      const table = v128.or(i8x16.swizzle(first, byte), i8x16.swizzle(second, i8x16.sub(byte, sixteen)))
      const bit = i8x16.swizzle(bitOf, v128.and(c, seven))
      put(out, row, n, i8x16.bitmask(i8x16.eq(v128.and(table, bit), bit)))
    }
    return
  }
  for (let row: u32 = 0; row < n; row += 16) {
    let bits: u32 = 0
    const stop = min<u32>(16, n - row)
    for (let k: u32 = 0; k < stop; k++) {
      const c = code_at(codes, width, row + k)
      if (c < entries) bits |= ((<u32>load<u8>(dictBits + (c >> 3)) >> (c & 7)) & 1) << k
    }
    put(out, row, n, bits)
  }
}
