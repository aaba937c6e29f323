// aggregate.ts: sums and extremes over the rows whose mask bit is set (mask 0: every row). Masks are padded with zero bits to 64.
//
// Integer sums are exact: low and high halves of 64-bit values are added apart. Float sums are pairwise over leaves of 128 rows, whatever the mask: a row
// that is masked out adds +0, so a sum depends on the rows alone. f32 is added as f64, and rows are read in groups of
// four. Extremes skip NaN.
import { code_at } from './arrow-concat'
import { bytes_compare } from './bytes'
import { SCRATCH } from './memory'

@inline
function word(mask: usize, row: u32, n: u32): u64 {
  if (mask) return load<u64>(mask + (row >> 3))
  return n - row >= 64 ? ~(<u64>0) : (<u64>1 << (n - row)) - 1
}

@inline
function sumNarrow<T>(p: usize, mask: usize, n: u32, out: usize): void {
  let total: i64 = 0
  for (let row: u32 = 0; row < n; row += 64) {
    let m = word(mask, row, n)
    const base = p + <usize>row * sizeof<T>()
    if (m == ~(<u64>0)) {
      for (let i: usize = 0; i < 64; i++) total += <i64>load<T>(base + i * sizeof<T>())
      continue
    }
    while (m) {
      total += <i64>load<T>(base + <usize>ctz<u64>(m) * sizeof<T>())
      m &= m - 1
    }
  }
  store<i64>(out, total & 0xffffffff)
  store<i64>(out, total >> 32, 8)
}

@inline
function sumWide<T>(p: usize, mask: usize, n: u32, out: usize): void {
  let low: u64 = 0
  let high: i64 = 0
  for (let row: u32 = 0; row < n; row += 64) {
    let m = word(mask, row, n)
    const base = p + (<usize>row << 3)
    if (m == ~(<u64>0)) {
      for (let i: usize = 0; i < 512; i += 8) {
        const x = load<T>(base + i)
        low += <u64>x & 0xffffffff
        high += <i64>(x >> 32)
      }
      continue
    }
    while (m) {
      const x = load<T>(base + (<usize>ctz<u64>(m) << 3))
      low += <u64>x & 0xffffffff
      high += <i64>(x >> 32)
      m &= m - 1
    }
  }
  store<u64>(out, low)
  store<i64>(out, high, 8)
}

/** Kinds as in arrow-sort, 0-7. The sum is low + high * 2^32: out = { i64 low, i64 high }. */
export function sum_ints(p: usize, kind: u32, mask: usize, n: u32, out: usize): void {
  if (kind == 0) sumNarrow<i8>(p, mask, n, out)
  else if (kind == 1) sumNarrow<i16>(p, mask, n, out)
  else if (kind == 2) sumNarrow<i32>(p, mask, n, out)
  else if (kind == 3) sumWide<i64>(p, mask, n, out)
  else if (kind == 4) sumNarrow<u8>(p, mask, n, out)
  else if (kind == 5) sumNarrow<u16>(p, mask, n, out)
  else if (kind == 6) sumNarrow<u32>(p, mask, n, out)
  else sumWide<u64>(p, mask, n, out)
}

const LEAF: u32 = 128

/** Two rows as f64, masked. */
@inline
function pair(p: usize, float32: u32, row: u32): v128 {
  return float32 ? f64x2.promote_low_f32x4(v128.load64_zero(p + (<usize>row << 2))) : v128.load(p + (<usize>row << 3))
}

@inline
function lanes(bits: u64): v128 {
  return i64x2.replace_lane(i64x2.splat(-(bits & 1)), 1, -((bits >> 1) & 1))
}

/** 64 rows in four lanes; row i goes to lane i mod 4. */
@inline
function leafHalf(p: usize, float32: u32, row: u32, m: u64, acc: usize): void {
  let a = v128.load(acc)
  let b = v128.load(acc, 16)
  if (m == ~(<u64>0)) {
    for (let i: u32 = 0; i < 64; i += 4) {
      a = f64x2.add(a, pair(p, float32, row + i))
      b = f64x2.add(b, pair(p, float32, row + i + 2))
    }
  } else {
    for (let i: u32 = 0; m; i += 4, m >>= 4) {
      a = f64x2.add(a, v128.and(pair(p, float32, row + i), lanes(m)))
      b = f64x2.add(b, v128.and(pair(p, float32, row + i + 2), lanes(m >> 2)))
    }
  }
  v128.store(acc, a)
  v128.store(acc, b, 16)
}

/** Sum of f32 (float32 = 1) or f64 values. Leaves are added in pairs, pairs of pairs and so on; what has no partner waits for the end. */
export function sum_floats(p: usize, float32: u32, mask: usize, n: u32): f64 {
  const acc = SCRATCH
  const stack = SCRATCH + 64
  let leaves: u32 = 0
  let depth: usize = 0
  for (let row: u32 = 0; row < n; row += LEAF) {
    v128.store(acc, f64x2.splat(0))
    v128.store(acc, f64x2.splat(0), 16)
    leafHalf(p, float32, row, word(mask, row, n), acc)
    if (row + 64 < n) leafHalf(p, float32, row + 64, word(mask, row + 64, n), acc)
    let sum = load<f64>(acc) + load<f64>(acc, 8) + (load<f64>(acc, 16) + load<f64>(acc, 24))
    leaves++
    for (let k = leaves; !(k & 1); k >>= 1) sum = load<f64>(stack + (--depth << 3)) + sum
    store<f64>(stack + (depth++ << 3), sum)
  }
  if (!depth) return 0
  let total = load<f64>(stack + (--depth << 3))
  while (depth) total = load<f64>(stack + (--depth << 3)) + total
  return total
}

/** Whether 16 bytes of values are compared at once; Wasm has no order of unsigned 64-bit lanes. */
@inline
function inLanes<T>(): bool {
  return !(sizeof<T>() == 8 && isInteger<T>() && !isSigned<T>())
}

@inline
function laneLeast<T>(a: v128, x: v128): v128 {
  if (isFloat<T>()) return v128.pmin<T>(a, x)
  if (sizeof<T>() == 8) return v128.bitselect(x, a, i64x2.gt_s(a, x))
  return v128.min<T>(a, x)
}

@inline
function laneMost<T>(a: v128, x: v128): v128 {
  if (isFloat<T>()) return v128.pmax<T>(a, x)
  if (sizeof<T>() == 8) return v128.bitselect(x, a, i64x2.gt_s(x, a))
  return v128.max<T>(a, x)
}

/** Words of 64 rows that all count go by lanes, others row by row. NaN loses every comparison, so it stays out of both. */
@inline
function extremes<T>(p: usize, mask: usize, n: u32, out: usize): u32 {
  let count: u32 = 0
  let least: T = isFloat<T>() ? <T>Infinity : <T>(isSigned<T>() ? ((<u64>1 << (8 * sizeof<T>() - 1)) - 1) : ~(<u64>0))
  let most: T = isFloat<T>() ? <T>-Infinity : <T>(isSigned<T>() ? <u64>1 << (8 * sizeof<T>() - 1) : 0)
  let low = v128.splat<T>(least)
  let high = v128.splat<T>(most)
  for (let row: u32 = 0; row < n; row += 64) {
    let m = word(mask, row, n)
    const base = p + <usize>row * sizeof<T>()
    if (inLanes<T>()) {
      if (m == ~(<u64>0)) {
        for (let at: usize = 0; at < 64 * sizeof<T>(); at += 16) {
          const x = v128.load(base + at)
          low = laneLeast<T>(low, x)
          high = laneMost<T>(high, x)
          if (isFloat<T>()) count += <u32>popcnt<i32>(sizeof<T>() == 4 ? i32x4.bitmask(v128.eq<T>(x, x)) : i64x2.bitmask(v128.eq<T>(x, x)))
        }
        if (!isFloat<T>()) count += 64
        continue
      }
    }
    while (m) {
      const x = load<T>(base + <usize>ctz<u64>(m) * sizeof<T>())
      m &= m - 1
      if (isFloat<T>()) {
        if (x != x) continue
      }
      count++
      least = x < least ? x : least
      most = x > most ? x : most
    }
  }
  v128.store(SCRATCH, low)
  v128.store(SCRATCH, high, 16)
  for (let at: usize = SCRATCH; at < SCRATCH + 16; at += sizeof<T>()) {
    least = min<T>(least, load<T>(at))
    most = max<T>(most, load<T>(at, 16))
  }
  store<T>(out, least)
  store<T>(out, most, 16)
  return count
}

/** Kinds as in arrow-sort, 0-9, and 11 = 16-byte two's complement. out = { least, 16 bytes; most, 16 bytes }. Returns the number of rows looked at. */
export function min_max(p: usize, kind: u32, mask: usize, n: u32, out: usize): u32 {
  if (kind == 0) return extremes<i8>(p, mask, n, out)
  if (kind == 1) return extremes<i16>(p, mask, n, out)
  if (kind == 2) return extremes<i32>(p, mask, n, out)
  if (kind == 3) return extremes<i64>(p, mask, n, out)
  if (kind == 4) return extremes<u8>(p, mask, n, out)
  if (kind == 5) return extremes<u16>(p, mask, n, out)
  if (kind == 6) return extremes<u32>(p, mask, n, out)
  if (kind == 7) return extremes<u64>(p, mask, n, out)
  if (kind == 8) return extremes<f32>(p, mask, n, out)
  if (kind == 9) return extremes<f64>(p, mask, n, out)
  return extremes128(p, mask, n, out)
}

@inline
function less128(a: usize, b: usize): bool {
  const high = load<i64>(a, 8)
  const other = load<i64>(b, 8)
  return high < other || (high == other && load<u64>(a) < load<u64>(b))
}

function extremes128(p: usize, mask: usize, n: u32, out: usize): u32 {
  let count: u32 = 0
  for (let row: u32 = 0; row < n; row += 64) {
    let m = word(mask, row, n)
    while (m) {
      const at = p + ((<usize>row + <usize>ctz<u64>(m)) << 4)
      m &= m - 1
      if (!count || less128(at, out)) v128.store(out, v128.load(at))
      if (!count || less128(out + 16, at)) v128.store(out, v128.load(at), 16)
      count++
    }
  }
  return count
}

/** Byte strings (offsets, or `width` bytes each): out = { u32 row of the least, u32 row of the greatest }. Returns the number of rows looked at. */
export function min_max_bytes(offsets: usize, data: usize, width: u32, mask: usize, n: u32, out: usize): u32 {
  let count: u32 = 0
  let least: u32 = 0
  let most: u32 = 0
  for (let row: u32 = 0; row < n; row += 64) {
    let m = word(mask, row, n)
    while (m) {
      const at = row + <u32>ctz<u64>(m)
      m &= m - 1
      if (!count++) {
        least = at
        most = at
      } else if (compareAt(offsets, data, width, at, least) < 0) {
        least = at
      } else if (compareAt(offsets, data, width, at, most) > 0) {
        most = at
      }
    }
  }
  store<u32>(out, least)
  store<u32>(out, most, 4)
  return count
}

@inline
function compareAt(offsets: usize, data: usize, width: u32, a: u32, b: u32): i32 {
  if (!offsets) return bytes_compare(data + <usize>a * width, width, data + <usize>b * width, width)
  const pa = offsets + (<usize>a << 2)
  const pb = offsets + (<usize>b << 2)
  const fa = load<u32>(pa)
  const fb = load<u32>(pb)
  return bytes_compare(data + fa, load<u32>(pa, 4) - fa, data + fb, load<u32>(pb, 4) - fb)
}

/** Sets the bit of every code that occurs in a masked row; bits (zeroed) has one per entry. */
export function codes_used(codes: usize, width: u32, mask: usize, n: u32, entries: u32, bits: usize): void {
  for (let row: u32 = 0; row < n; row += 64) {
    let m = word(mask, row, n)
    while (m) {
      const code = code_at(codes, width, row + <u32>ctz<u64>(m))
      m &= m - 1
      if (code < entries) store<u8>(bits + (code >> 3), load<u8>(bits + (code >> 3)) | (<u8>1 << (<u8>code & 7)))
    }
  }
}
