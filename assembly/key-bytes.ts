// key-bytes.ts: canonical bytes of composite keys, column by column over all rows of a batch (docs/format.md "Keys").
//
// Row i's next part goes to out + cursors[i] (u32, moved on behind it), or, where every key has one length and `cursors` is 0, to out + i * stride.
// Invariant: equal tuples have equal bytes: numbers as 8 bytes, -0 as +0, one NaN, strings of a tuple behind their u32 length. No nulls.
import { code_at } from './arrow-concat'
import { BAD_ROOM } from './status'

// @ts-ignore: decorator
@inline
function place(out: usize, stride: u32, cursors: usize, i: u32, bytes: u32): usize {
  if (!cursors) return out + <usize>i * stride
  const cursor = cursors + (<usize>i << 2)
  const at = load<u32>(cursor)
  store<u32>(cursor, at + bytes)
  return out + at
}

/** The row of a var column that row i stands for: itself, or its code in a dictionary of `entries` (a code outside it reads entry 0). */
// @ts-ignore: decorator
@inline
function entry_of(codes: usize, width: u32, entries: u32, i: u32): u32 {
  if (!width) return i
  const code = code_at(codes, width, i)
  return code < entries ? code : 0
}

/** ends[i] += extra + the bytes of row i of a var column. width 0 = no codes. */
export function key_measure(offsets: usize, codes: usize, width: u32, entries: u32, extra: u32, n: u32, ends: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const at = offsets + (<usize>entry_of(codes, width, entries, i) << 2)
    const end = ends + (<usize>i << 2)
    store<u32>(end, load<u32>(end) + extra + load<u32>(at, 4) - load<u32>(at))
  }
}

/** Lengths to ends, and to starts in `cursors`: n u32 each. Returns the sum, or BAD_ROOM when it passes 31 bits. */
export function key_places(ends: usize, cursors: usize, n: u32): i32 {
  let sum: u64 = 0
  for (let i: usize = 0; i < <usize>n << 2; i += 4) {
    store<u32>(cursors + i, <u32>sum)
    sum += <u64>load<u32>(ends + i)
    store<u32>(ends + i, <u32>sum)
  }
  return sum > 0x7fffffff ? BAD_ROOM : <i32>sum
}

/** Integers of 1, 2, 4 or 8 bytes as 8 bytes, sign- or zero-extended. */
export function key_ints(p: usize, width: u32, signed: u32, n: u32, out: usize, stride: u32, cursors: usize): void {
  for (let i: u32 = 0; i < n; i++, p += width) {
    let value: u64
    if (width == 8) value = load<u64>(p)
    else if (width == 4) value = signed ? <u64>load<i32>(p) : <u64>load<u32>(p)
    else if (width == 2) value = signed ? <u64>load<i16>(p) : <u64>load<u16>(p)
    else value = signed ? <u64>load<i8>(p) : <u64>load<u8>(p)
    store<u64>(place(out, stride, cursors, i, 8), value)
  }
}

/** Floats of 4 or 8 bytes as float64. */
export function key_floats(p: usize, width: u32, n: u32, out: usize, stride: u32, cursors: usize): void {
  for (let i: u32 = 0; i < n; i++, p += width) {
    const x: f64 = width == 8 ? load<f64>(p) : <f64>load<f32>(p)
    let bits: u64 = 0
    if (x != x) bits = 0x7ff8000000000000
    else if (x != 0) bits = reinterpret<u64>(x)
    store<u64>(place(out, stride, cursors, i, 8), bits)
  }
}

/** Booleans of a bitmap as a byte each. */
export function key_bools(bits: usize, n: u32, out: usize, stride: u32, cursors: usize): void {
  for (let i: u32 = 0; i < n; i++) store<u8>(place(out, stride, cursors, i, 1), (load<u8>(bits + (i >>> 3)) >>> <u8>(i & 7)) & 1)
}

/** Values of `width` bytes as they are. */
export function key_fixed(p: usize, width: u32, n: u32, out: usize, stride: u32, cursors: usize): void {
  for (let i: u32 = 0; i < n; i++, p += width) copy_short(place(out, stride, cursors, i, width), p, width)
}

/** Rows of a var column, each behind its length when `prefix` (of 4 bytes) is not 0. */
export function key_bytes(
  offsets: usize, data: usize, codes: usize, width: u32, entries: u32, prefix: u32, n: u32, out: usize, cursors: usize,
): void {
  for (let i: u32 = 0; i < n; i++) {
    const at = offsets + (<usize>entry_of(codes, width, entries, i) << 2)
    const from = load<u32>(at)
    const length = load<u32>(at, 4) - from
    const to = place(out, 0, cursors, i, prefix + length)
    if (prefix) store<u32>(to, length)
    copy_short(to + prefix, data + from, length)
  }
}

/** memory.copy by words: its call costs more than a short string. Reads up to 7 bytes past the input; writes n bytes. */
// @ts-ignore: decorator
@inline
function copy_short(to: usize, from: usize, n: u32): void {
  if (n > 64) {
    memory.copy(to, from, n)
    return
  }
  const end = to + n
  for (; to + 8 <= end; to += 8, from += 8) store<u64>(to, load<u64>(from))
  let rest = load<u64>(from)
  for (; to < end; to++, rest >>= 8) store<u8>(to, <u8>rest)
}
