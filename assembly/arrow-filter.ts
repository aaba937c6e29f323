// arrow-filter.ts: keeps the rows of a fixed-width column whose selection bit is set.
//
// Words of 64 rows: zero words are skipped, all-one words copied, the rest compressed by table and swizzle. The source must be readable 16 bytes
// past its last row, that of filter_32 and filter_64 to the end of a group of 8 and of 4 rows; the output needs 16 bytes of slack behind its last row.
// Selections are padded with zero bits to 64.
import { POSITIONS, bits_tables } from './arrow-bits'

/** 16 swizzles of four 4-byte lanes, then 4 swizzles of two 8-byte lanes. */
const LANES_32: usize = memory.data(256, 16)
const LANES_64: usize = memory.data(64, 16)
let ready: bool = false

function lanes(table: usize, count: u32, width: u32): void {
  for (let mask: u32 = 0; mask < 1 << count; mask++) {
    let at = table + (mask << 4)
    for (let lane: u32 = 0; lane < count; lane++) {
      if (!((mask >> lane) & 1)) continue
      for (let b: u32 = 0; b < width; b++) store<u8>(at++, lane * width + b)
    }
  }
}

function prepare(): void {
  if (ready) return
  bits_tables()
  lanes(LANES_32, 4, 4)
  lanes(LANES_64, 2, 8)
  ready = true
}

@inline
function copy_rows(out: usize, src: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i += 64) {
    v128.store(out + i, v128.load(src + i))
    v128.store(out + i, v128.load(src + i, 16), 16)
    v128.store(out + i, v128.load(src + i, 32), 32)
    v128.store(out + i, v128.load(src + i, 48), 48)
  }
}

/** Each filter returns the number of rows kept. */
export function filter_8(src: usize, sel: usize, n: u32, out: usize): u32 {
  prepare()
  const start = out
  for (let row: u32 = 0; row < n; row += 64, sel += 8, src += 64) {
    let m = load<u64>(sel)
    if (m == ~(<u64>0)) {
      copy_rows(out, src, 64)
      out += 64
      continue
    }
    let s = src
    while (m) {
      const byte = <u32>m & 0xff
      const rows = i8x16.swizzle(v128.load64_zero(s), v128.load64_zero(POSITIONS + (byte << 3)))
      store<u64>(out, i64x2.extract_lane(rows, 0))
      out += popcnt<u32>(byte)
      s += 8
      m >>= 8
    }
  }
  return <u32>(out - start)
}

export function filter_16(src: usize, sel: usize, n: u32, out: usize): u32 {
  prepare()
  const start = out
  const twice = i16x8.splat(0x0202)
  const odd = i16x8.splat(0x0100)
  for (let row: u32 = 0; row < n; row += 64, sel += 8, src += 128) {
    let m = load<u64>(sel)
    if (m == ~(<u64>0)) {
      copy_rows(out, src, 128)
      out += 128
      continue
    }
    let s = src
    while (m) {
      const byte = <u32>m & 0xff
      // Position i becomes the byte pair (2i, 2i + 1).
      const pairs = i16x8.add(i16x8.mul(v128.load_ext<u8>(POSITIONS + (byte << 3)), twice), odd)
      v128.store(out, i8x16.swizzle(v128.load(s), pairs))
      out += <usize>popcnt<u32>(byte) << 1
      s += 16
      m >>= 8
    }
  }
  return <u32>(out - start) >> 1
}

export function filter_32(src: usize, sel: usize, n: u32, out: usize): u32 {
  prepare()
  const start = out
  for (let row: u32 = 0; row < n; row += 64, sel += 8, src += 256) {
    let m = load<u64>(sel)
    if (m == ~(<u64>0)) {
      copy_rows(out, src, 256)
      out += 256
      continue
    }
    let s = src
    while (m) {
      const low = <usize>m & 15
      v128.store(out, i8x16.swizzle(v128.load(s), v128.load(LANES_32 + (low << 4))))
      out += <usize>popcnt<u32>(<u32>low) << 2
      const high = (<usize>m >> 4) & 15
      v128.store(out, i8x16.swizzle(v128.load(s, 16), v128.load(LANES_32 + (high << 4))))
      out += <usize>popcnt<u32>(<u32>high) << 2
      s += 32
      m >>= 8
    }
  }
  return <u32>(out - start) >> 2
}

export function filter_64(src: usize, sel: usize, n: u32, out: usize): u32 {
  prepare()
  const start = out
  for (let row: u32 = 0; row < n; row += 64, sel += 8, src += 512) {
    let m = load<u64>(sel)
    if (!m) continue
    if (m == ~(<u64>0)) {
      copy_rows(out, src, 512)
      out += 512
      continue
    }
    let s = src
    if (popcnt<u64>(m) <= 8) {
      while (m) {
        store<u64>(out, load<u64>(s + (<usize>ctz<u64>(m) << 3)))
        out += 8
        m &= m - 1
      }
      continue
    }
    while (m) {
      const a = <usize>m & 3
      v128.store(out, i8x16.swizzle(v128.load(s), v128.load(LANES_64 + (a << 4))))
      out += <usize>popcnt<u32>(<u32>a) << 3
      const b = (<usize>m >> 2) & 3
      v128.store(out, i8x16.swizzle(v128.load(s, 16), v128.load(LANES_64 + (b << 4))))
      out += <usize>popcnt<u32>(<u32>b) << 3
      s += 32
      m >>= 4
    }
  }
  return <u32>(out - start) >> 3
}

export function filter_128(src: usize, sel: usize, n: u32, out: usize): u32 {
  const start = out
  for (let row: u32 = 0; row < n; row += 64, sel += 8, src += 1024) {
    let m = load<u64>(sel)
    while (m) {
      v128.store(out, v128.load(src + (<usize>ctz<u64>(m) << 4)))
      out += 16
      m &= m - 1
    }
  }
  return <u32>(out - start) >> 4
}

/** Any width: runs of kept rows are copied as one piece. */
export function filter_n(src: usize, sel: usize, n: u32, width: u32, out: usize): u32 {
  let kept: u32 = 0
  for (let row: u32 = 0; row < n; row += 64, sel += 8) {
    let m = load<u64>(sel)
    while (m) {
      const first = <u32>ctz<u64>(m)
      const rest = ~(m >> first)
      const run = <u32>ctz<u64>(rest) // 64 when every bit is set
      const bytes = run * width
      memory.copy(out, src + (row + first) * width, bytes)
      out += bytes
      kept += run
      m = first + run >= 64 ? 0 : m & ~low_run(first + run)
    }
  }
  return kept
}

/** Bits 0..end-1, end in 1..63. */
@inline
function low_run(end: u32): u64 {
  return (<u64>1 << end) - 1
}
