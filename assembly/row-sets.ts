// row-sets.ts: sets of row numbers as bitmaps and as ranges: logic, counting, conversion, and the containers of the VCOV file (kernels.md section 7).
//
// A range list is count x (u32 start, u32 end), half open, ascending, none empty, none touching the next; rows are below 0xFFFFFFFF. Its complement is the
// same words read from one word earlier (0 before the first start, 0xFFFFFFFF behind the last end): so one merge, `ranges_and`, serves and, or and andnot
// (De Morgan), and the result never holds touching ranges. Bitmaps are padded with zero bits to 64.
import { bits_popcount, bits_tables, low_mask, POSITIONS, word_positions } from './arrow-bits'
import { BAD_DATA } from './status'

const MAX: u32 = 0xffffffff
const CONTAINER_BYTES: u32 = 8192
const ARRAY: u32 = 0
const BITMAP: u32 = 1
const RUNS: u32 = 2

/** out = a op b over n bytes; op 0 and, 1 or, 2 and not, 3 not a (b unused), 4 xor. Nothing behind n is read or written. `out` may be a or b. */
export function bits_op(op: u32, a: usize, b: usize, n: u32, out: usize): void {
  let i: usize = 0
  const whole = <usize>(n & ~15)
  if (op == 0) {
    for (; i < whole; i += 16) v128.store(out + i, v128.and(v128.load(a + i), v128.load(b + i)))
  } else if (op == 1) {
    for (; i < whole; i += 16) v128.store(out + i, v128.or(v128.load(a + i), v128.load(b + i)))
  } else if (op == 2) {
    for (; i < whole; i += 16) v128.store(out + i, v128.andnot(v128.load(a + i), v128.load(b + i)))
  } else if (op == 3) {
    for (; i < whole; i += 16) v128.store(out + i, v128.not(v128.load(a + i)))
  } else {
    for (; i < whole; i += 16) v128.store(out + i, v128.xor(v128.load(a + i), v128.load(b + i)))
  }
  for (; i < n; i++) {
    const x = <u32>load<u8>(a + i)
    const y = op == 3 ? 0 : <u32>load<u8>(b + i)
    store<u8>(out + i, op == 0 ? x & y : op == 1 ? x | y : op == 2 ? x & ~y : op == 3 ? ~x : x ^ y)
  }
}

/** Set bits of a & b among the first n bytes; n is a multiple of 8. */
export function bits_and_card(a: usize, b: usize, n: u32): u32 {
  let c0: u64 = 0
  let c1: u64 = 0
  let i: usize = 0
  for (const whole = <usize>(n & ~63); i < whole; i += 64) {
    c0 += popcnt<u64>(load<u64>(a + i) & load<u64>(b + i)) + popcnt<u64>(load<u64>(a + i, 8) & load<u64>(b + i, 8))
    c1 += popcnt<u64>(load<u64>(a + i, 16) & load<u64>(b + i, 16)) + popcnt<u64>(load<u64>(a + i, 24) & load<u64>(b + i, 24))
    c0 += popcnt<u64>(load<u64>(a + i, 32) & load<u64>(b + i, 32)) + popcnt<u64>(load<u64>(a + i, 40) & load<u64>(b + i, 40))
    c1 += popcnt<u64>(load<u64>(a + i, 48) & load<u64>(b + i, 48)) + popcnt<u64>(load<u64>(a + i, 56) & load<u64>(b + i, 56))
  }
  for (; i < n; i += 8) c0 += popcnt<u64>(load<u64>(a + i) & load<u64>(b + i))
  return <u32>(c0 + c1)
}

/** Runs of set bits in n bytes; n is a multiple of 8. */
export function bits_runs(p: usize, n: u32): u32 {
  let runs: u64 = 0
  let carry: u64 = 0
  for (const end = p + n; p < end; p += 8) {
    const x = load<u64>(p)
    runs += popcnt<u64>(x & ~((x << 1) | carry))
    carry = x >> 63
  }
  return <u32>runs
}

/** One more than the highest set bit of n bytes, 0 when there is none; n is a multiple of 8. */
export function bits_end(p: usize, n: u32): u32 {
  while (n) {
    n -= 8
    const x = load<u64>(p + n)
    if (x) return (n << 3) + 64 - <u32>clz<u64>(x)
  }
  return 0
}

/** The ranges of n bytes of bitmap, each row raised by `base`. Needs 32 bytes of slack behind the last range. Returns their number. n is a multiple of 8. */
export function bits_to_ranges(p: usize, n: u32, base: u32, out: usize): u32 {
  bits_tables()
  const start = out
  let carry: u64 = 0
  for (const end = p + n; p < end; p += 8, base += 64) {
    const x = load<u64>(p)
    // Where a bit differs from the one before it: starts and ends in turn.
    out = word_positions(x ^ ((x << 1) | carry), base, out)
    carry = x >> 63
  }
  if (carry) {
    store<u32>(out, base)
    out += 4
  }
  return <u32>(out - start) >> 3
}

/** Sets the bits first .. end - 1, first < end. */
@inline
function set_bits(bits: usize, first: u32, end: u32): void {
  const at = bits + ((first >> 6) << 3)
  const last = bits + (((end - 1) >> 6) << 3)
  const head = ~low_mask(first & 63)
  const tail = ~(<u64>0) >> (63 - <u64>((end - 1) & 63))
  if (at == last) {
    store<u64>(at, load<u64>(at) | (head & tail))
    return
  }
  store<u64>(at, load<u64>(at) | head)
  for (let p = at + 8; p < last; p += 8) store<u64>(p, ~(<u64>0))
  store<u64>(last, load<u64>(last) | tail)
}

/**
 * Sets the rows of the ranges within base .. base + 8n - 1 in n bytes of bitmap, row `base` at bit 0; n is a multiple of 8, base + 8n at most 2^32.
 * Returns how many ranges end within.
 */
export function ranges_to_bits(ranges: usize, count: u32, base: u32, n: u32, bits: usize): u32 {
  const stop = <u64>base + (<u64>n << 3)
  for (let i: u32 = 0; i < count; i++, ranges += 8) {
    const first = load<u32>(ranges)
    const end = load<u32>(ranges, 4)
    if (<u64>first >= stop) return i
    const from = max<u32>(first, base)
    const to = <u32>min<u64>(end, stop)
    if (from < to) set_bits(bits, from - base, <u32>(<u64>to - <u64>base))
    if (<u64>end > stop) return i
  }
  return count
}

/** Ascending rows (repeats allowed) as ranges, at most n; 0xFFFFFFFF when a row is smaller than the one before it, or no row at all. */
export function rows_to_ranges(rows: usize, n: u32, out: usize): u32 {
  if (!n) return 0
  let first = load<u32>(rows)
  let end = first
  const start = out
  for (const stop = rows + (<usize>n << 2); rows < stop; rows += 4) {
    const row = load<u32>(rows)
    if (row + 1 < end || row == MAX) return MAX
    if (row > end) {
      store<u32>(out, first)
      store<u32>(out, end, 4)
      out += 8
      first = row
    }
    end = row + 1
  }
  store<u32>(out, first)
  store<u32>(out, end, 4)
  return (<u32>(out - start) >> 3) + 1
}

/** The rows of ranges one by one. */
export function ranges_to_rows(ranges: usize, count: u32, out: usize): void {
  for (const stop = ranges + (<usize>count << 3); ranges < stop; ranges += 8) {
    const end = load<u32>(ranges, 4)
    for (let row = load<u32>(ranges); row < end; row++, out += 4) store<u32>(out, row)
  }
}

/** Common rows of two range lists, room for an + bn ranges. Returns the number of ranges. Every step is free of unpredictable branches. */
export function ranges_and(a: usize, an: u32, b: usize, bn: u32, out: usize): u32 {
  const start = out
  const aEnd = a + (<usize>an << 3)
  const bEnd = b + (<usize>bn << 3)
  while (a < aEnd && b < bEnd) {
    const ae = load<u32>(a, 4)
    const be = load<u32>(b, 4)
    const first = max<u32>(load<u32>(a), load<u32>(b))
    const end = min<u32>(ae, be)
    store<u32>(out, first)
    store<u32>(out, end, 4)
    out += <usize>(first < end) << 3
    a += <usize>(ae <= be) << 3
    b += <usize>(be <= ae) << 3
  }
  return <u32>(out - start) >> 3
}

/** How many rows two range lists have in common. */
export function ranges_and_card(a: usize, an: u32, b: usize, bn: u32): u32 {
  let rows: u32 = 0
  const aEnd = a + (<usize>an << 3)
  const bEnd = b + (<usize>bn << 3)
  while (a < aEnd && b < bEnd) {
    const ae = load<u32>(a, 4)
    const be = load<u32>(b, 4)
    const first = max<u32>(load<u32>(a), load<u32>(b))
    const end = min<u32>(ae, be)
    rows += max<u32>(first, end) - first
    a += <usize>(ae <= be) << 3
    b += <usize>(be <= ae) << 3
  }
  return rows
}

/** Puts the words around a range list that make it, read from 4 bytes earlier, its complement of count + 1 ranges. */
@inline
function frame(ranges: usize, count: u32): void {
  store<u32>(ranges - 4, 0)
  store<u32>(ranges + (<usize>count << 3), MAX)
}

/** Rows of a that are not in b, room for an + bn + 1 ranges. Writes the 4 bytes before and behind b. */
export function ranges_andnot(a: usize, an: u32, b: usize, bn: u32, out: usize): u32 {
  frame(b, bn)
  return ranges_and(a, an, b - 4, bn + 1, out)
}

/** Rows of either, room for an + bn + 2 ranges. Writes the 4 bytes before and behind a and b, and before out. */
export function ranges_or(a: usize, an: u32, b: usize, bn: u32, out: usize): u32 {
  frame(a, an)
  frame(b, bn)
  // The rows of neither; the union is what lies between them. Where row 0 is of neither, the first of them begins before the union does.
  const fromZero = (an && !load<u32>(a)) || (bn && !load<u32>(b))
  const at = fromZero ? out + 4 : out - 4
  if (fromZero) store<u32>(out, 0)
  const stop = at + (<usize>ranges_and(a - 4, an + 1, b - 4, bn + 1, at) << 3)
  if (stop == at || load<u32>(stop - 4) != MAX) {
    // Row 0xFFFFFFFE is of one.
    store<u32>(stop, MAX)
    return <u32>(stop + 4 - out) >> 3
  }
  return <u32>(stop - 4 - out) >> 3
}

@inline
function kind_of(rows: u32, runs: u32): u32 {
  const smallest = min<u32>(min<u32>(runs << 2, rows << 1), CONTAINER_BYTES)
  return runs << 2 == smallest ? RUNS : rows << 1 == smallest ? ARRAY : BITMAP
}

/** The container of 8192 bytes of bitmap that are not all zero: u16 kind, u16 count - 1, data; needs 16 bytes of slack. Returns its bytes, at most 8196. */
export function container_pack(bits: usize, out: usize): u32 {
  bits_tables()
  const rows = bits_popcount(bits, 65536)
  const runs = bits_runs(bits, CONTAINER_BYTES)
  const kind = kind_of(rows, runs)
  store<u16>(out, <u16>kind)
  store<u16>(out, <u16>((kind == RUNS ? runs : rows) - 1), 2)
  const data = out + 4
  if (kind == BITMAP) {
    memory.copy(data, bits, CONTAINER_BYTES)
    return 4 + CONTAINER_BYTES
  }
  let to = data
  let carry: u64 = 0
  for (let row: u32 = 0; row < 65536; row += 64, bits += 8) {
    let x = load<u64>(bits)
    if (kind == RUNS) {
      const edges = x ^ ((x << 1) | carry)
      carry = x >> 63
      x = edges
    }
    let base = row
    while (x) {
      const byte = <u32>x & 0xff
      v128.store(to, i16x8.add(i16x8.splat(<i16>base), v128.load_ext<u8>(POSITIONS + (byte << 3))))
      to += <usize>popcnt<u32>(byte) << 1
      x >>= 8
      base += 8
    }
  }
  if (kind == ARRAY) return 4 + (rows << 1)
  if (carry) store<u16>(to, 0)
  // Ends become lengths less 1; an end of 65,536 is 0 here and comes out right.
  for (let i: u32 = 0; i < runs; i++) {
    const run = data + (<usize>i << 2)
    store<u16>(run, load<u16>(run, 2) - 1 - load<u16>(run), 2)
  }
  return 4 + (runs << 2)
}

/**
 * The 8192 bytes of bitmap of a container; its data was checked to lie in the file. Returns its rows, or BAD_DATA when they are not in order, not as many
 * as stated, or another kind would be smaller.
 */
export function container_unpack(kind: u32, count: u32, data: usize, bits: usize): i32 {
  if (kind == BITMAP) {
    memory.copy(bits, data, CONTAINER_BYTES)
  } else {
    memory.fill(bits, 0, CONTAINER_BYTES)
    // One more than the last row so far; 0 before the first.
    let end: u32 = 0
    for (let i: u32 = 0; i < count; i++) {
      if (kind == ARRAY) {
        const row = <u32>load<u16>(data + (<usize>i << 1))
        if (row < end) return BAD_DATA
        const at = bits + (row >> 3)
        store<u8>(at, <u32>load<u8>(at) | (<u32>1 << (row & 7)))
        end = row + 1
      } else {
        const run = data + (<usize>i << 2)
        const first = <u32>load<u16>(run)
        const stop = first + <u32>load<u16>(run, 2) + 1
        if (stop > 65536 || (i && first <= end)) return BAD_DATA
        set_bits(bits, first, stop)
        end = stop
      }
    }
  }
  const rows = bits_popcount(bits, 65536)
  const runs = bits_runs(bits, CONTAINER_BYTES)
  return rows && (kind == RUNS ? runs : rows) == count && kind_of(rows, runs) == kind ? <i32>rows : BAD_DATA
}
