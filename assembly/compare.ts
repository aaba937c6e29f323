// compare.ts: comparisons of two columns row by row, to a bitmap. Nulls are the caller's business (it ands both validities in).
//
// Rows go in groups of 16: inputs of fixed width must be readable up to a whole group, the output has 2 bytes per group; bits behind n are 0.
// Only eq, ne, lt and le are here: the others swap sides. Unsigned integers get their sign bit flipped, which turns their order into the signed one.
// NaN stands in no relation, not even ne.
import { code_at } from './arrow-concat'
import { bytes_compare, bytes_equal } from './bytes'
import { put } from './predicate'

const EQ: u32 = 0
const NE: u32 = 1
const LT: u32 = 2

@inline
function test8(op: u32, x: v128, y: v128): v128 {
  return op == EQ ? i8x16.eq(x, y) : op == NE ? i8x16.ne(x, y) : op == LT ? i8x16.lt_s(x, y) : i8x16.le_s(x, y)
}

@inline
function test16(op: u32, x: v128, y: v128): v128 {
  return op == EQ ? i16x8.eq(x, y) : op == NE ? i16x8.ne(x, y) : op == LT ? i16x8.lt_s(x, y) : i16x8.le_s(x, y)
}

@inline
function test32(op: u32, x: v128, y: v128): v128 {
  return op == EQ ? i32x4.eq(x, y) : op == NE ? i32x4.ne(x, y) : op == LT ? i32x4.lt_s(x, y) : i32x4.le_s(x, y)
}

@inline
function test64(op: u32, x: v128, y: v128): v128 {
  return op == EQ ? i64x2.eq(x, y) : op == NE ? i64x2.ne(x, y) : op == LT ? i64x2.lt_s(x, y) : i64x2.le_s(x, y)
}

@inline
function testF32(op: u32, x: v128, y: v128): v128 {
  return op == EQ ? f32x4.eq(x, y) : op == NE ? v128.or(f32x4.lt(x, y), f32x4.gt(x, y)) : op == LT ? f32x4.lt(x, y) : f32x4.le(x, y)
}

@inline
function testF64(op: u32, x: v128, y: v128): v128 {
  return op == EQ ? f64x2.eq(x, y) : op == NE ? v128.or(f64x2.lt(x, y), f64x2.gt(x, y)) : op == LT ? f64x2.lt(x, y) : f64x2.le(x, y)
}

@inline
function four(op: u32, float: bool, a: usize, b: usize, bias: v128): v128 {
  const x = v128.load(a)
  const y = v128.load(b)
  return float ? testF32(op, x, y) : test32(op, v128.xor(x, bias), v128.xor(y, bias))
}

@inline
function loop32(op: u32, float: bool, a: usize, b: usize, n: u32, bias: v128, out: usize): void {
  for (let row: u32 = 0; row < n; row += 16, a += 64, b += 64) {
    const low = i16x8.narrow_i32x4_s(four(op, float, a, b, bias), four(op, float, a + 16, b + 16, bias))
    const high = i16x8.narrow_i32x4_s(four(op, float, a + 32, b + 32, bias), four(op, float, a + 48, b + 48, bias))
    put(out, row, n, i8x16.bitmask(i8x16.narrow_i16x8_s(low, high)))
  }
}

@inline
function loop64(op: u32, float: bool, a: usize, b: usize, n: u32, bias: v128, out: usize): void {
  for (let row: u32 = 0; row < n; row += 16) {
    let bits: u32 = 0
    for (let k: u32 = 0; k < 16; k += 2, a += 16, b += 16) {
      const x = v128.load(a)
      const y = v128.load(b)
      bits |= <u32>i64x2.bitmask(float ? testF64(op, x, y) : test64(op, v128.xor(x, bias), v128.xor(y, bias))) << k
    }
    put(out, row, n, bits)
  }
}

function loop128(op: u32, a: usize, b: usize, n: u32, out: usize): void {
  for (let row: u32 = 0; row < n; row += 16) {
    let bits: u32 = 0
    const stop = min<u32>(16, n - row)
    for (let k: u32 = 0; k < stop; k++, a += 16, b += 16) {
      const al = load<u64>(a)
      const ah = load<i64>(a, 8)
      const bl = load<u64>(b)
      const bh = load<i64>(b, 8)
      const equal = al == bl && ah == bh
      const less = ah < bh || (ah == bh && al < bl)
      bits |= <u32>(op == EQ ? equal : op == NE ? !equal : op == LT ? less : less || equal) << k
    }
    put(out, row, n, bits)
  }
}

/**
 * a op b for n rows of `width` bytes: op 0 eq, 1 ne, 2 lt, 3 le; kind 0 signed integers (two's complement), 1 unsigned (up to 8 bytes), 2 floats (4 or 8).
 */
export function compare_columns(a: usize, b: usize, width: u32, kind: u32, n: u32, op: u32, out: usize): void {
  if (width == 1) {
    const bias = i8x16.splat(kind ? i8.MIN_VALUE : 0)
    for (let row: u32 = 0; row < n; row += 16) {
      put(out, row, n, i8x16.bitmask(test8(op, v128.xor(v128.load(a + row), bias), v128.xor(v128.load(b + row), bias))))
    }
  } else if (width == 2) {
    const bias = i16x8.splat(kind ? i16.MIN_VALUE : 0)
    for (let row: u32 = 0; row < n; row += 16, a += 32, b += 32) {
      const low = test16(op, v128.xor(v128.load(a), bias), v128.xor(v128.load(b), bias))
      const high = test16(op, v128.xor(v128.load(a, 16), bias), v128.xor(v128.load(b, 16), bias))
      put(out, row, n, i8x16.bitmask(i8x16.narrow_i16x8_s(low, high)))
    }
  } else if (width == 4) {
    if (kind == 2) loop32(op, true, a, b, n, i32x4.splat(0), out)
    else loop32(op, false, a, b, n, i32x4.splat(kind ? i32.MIN_VALUE : 0), out)
  } else if (width == 8) {
    if (kind == 2) loop64(op, true, a, b, n, i64x2.splat(0), out)
    else loop64(op, false, a, b, n, i64x2.splat(kind ? i64.MIN_VALUE : 0), out)
  } else {
    loop128(op, a, b, n, out)
  }
}

// A column of byte strings for compare_byte_columns: 6 u32. Codes 0: rows are entries; offsets 0: entries have `width` bytes each.
const CODES: usize = 0
const CODE_WIDTH: usize = 4
const ENTRIES: usize = 8
const OFFSETS: usize = 12
const DATA: usize = 16
const WIDTH: usize = 20

/** The entry of a row; a code outside the dictionary (only under a null) is entry 0xFFFFFFFF. */
@inline
function entry(column: usize, row: u32): u32 {
  const codes = load<u32>(column, CODES)
  if (!codes) return row
  const code = code_at(codes, load<u32>(column, CODE_WIDTH), row)
  return code < load<u32>(column, ENTRIES) ? code : 0xffffffff
}

@inline
function start(column: usize, row: u32): u32 {
  const offsets = load<u32>(column, OFFSETS)
  return offsets ? load<u32>(offsets + (row << 2)) : row * load<u32>(column, WIDTH)
}

/** Rows of two columns of byte strings; their order must be among `accept`: 1 less, 2 equal, 4 greater. Strings must be readable 7 bytes past their ends. */
export function compare_byte_columns(a: usize, b: usize, n: u32, accept: u32, out: usize): void {
  const dataA = load<u32>(a, DATA)
  const dataB = load<u32>(b, DATA)
  for (let row: u32 = 0; row < n; row += 16) {
    let bits: u32 = 0
    const stop = min<u32>(16, n - row)
    for (let k: u32 = 0; k < stop; k++) {
      const i = entry(a, row + k)
      const j = entry(b, row + k)
      if (i == 0xffffffff || j == 0xffffffff) continue
      const p = start(a, i)
      const q = start(b, j)
      const pn = start(a, i + 1) - p
      const qn = start(b, j + 1) - q
      if (accept == 2) {
        if (pn == qn && bytes_equal(dataA + p, dataB + q, pn)) bits |= <u32>1 << k
      } else if ((accept >> (bytes_compare(dataA + p, pn, dataB + q, qn) + 1)) & 1) bits |= <u32>1 << k
    }
    put(out, row, n, bits)
  }
}
