// arrow-bits.ts: validity and selection bitmaps (Arrow: least significant bit first).
//
// Invariant: a selection is padded with zero bits to 64, so its last word needs no mask; other bitmaps may carry junk behind n and are masked.
// Compressing a word by a mask: parallel suffix, Warren, Hacker's Delight 7-4.

/** Marks a missing row in index lists. */
export const NULL_INDEX: u32 = 0xffffffff

/** 256 entries of 8 bytes: the positions of the set bits of a byte, lowest first. */
export const POSITIONS: usize = memory.data(2048, 16)
let tablesReady: bool = false

/** Builds the position table once; every user calls it first. */
export function bits_tables(): void {
  if (tablesReady) return
  for (let byte: u32 = 0; byte < 256; byte++) {
    let at = POSITIONS + (byte << 3)
    for (let bit: u32 = 0; bit < 8; bit++) {
      if ((byte >> bit) & 1) store<u8>(at++, bit)
    }
  }
  tablesReady = true
}

/** Mask of the lowest `n` bits, n in 0..63. */
@inline
export function low_mask(n: u32): u64 {
  return (<u64>1 << n) - 1
}

/** Whether a row is valid; no bitmap = every row. */
@inline
export function valid(validity: usize, row: u32): bool {
  return !validity || ((<u32>load<u8>(validity + (row >> 3)) >> (row & 7)) & 1) != 0
}

/** 64 bits from any bit position; reads up to 9 bytes. */
@inline
function bits64(p: usize, bit: u32): u64 {
  const at = p + (bit >> 3)
  const shift = <u64>(bit & 7)
  const low = load<u64>(at) >> shift
  return shift ? low | (<u64>load<u8>(at, 8) << (64 - shift)) : low
}

/** Set bits among the first n. */
export function bits_popcount(p: usize, n: u32): u32 {
  let count: u64 = 0
  const end = p + ((n >> 6) << 3)
  for (const whole = p + ((n >> 8) << 5); p < whole; p += 32) {
    count += popcnt<u64>(load<u64>(p)) + popcnt<u64>(load<u64>(p, 8)) + (popcnt<u64>(load<u64>(p, 16)) + popcnt<u64>(load<u64>(p, 24)))
  }
  while (p < end) {
    count += popcnt<u64>(load<u64>(p))
    p += 8
  }
  if (n & 63) count += popcnt<u64>(load<u64>(p) & low_mask(n & 63))
  return <u32>count
}

/** Writes base + i as u32 for every set bit i of the word; needs 32 bytes of slack. Returns the end of what was written. */
@inline
export function word_positions(word: u64, base: u32, out: usize): usize {
  while (word) {
    const byte = <u32>word & 0xff
    const positions = v128.load_ext<u8>(POSITIONS + (byte << 3))
    const splat = i32x4.splat(base)
    v128.store(out, i32x4.add(splat, i32x4.extend_low_i16x8_u(positions)))
    v128.store(out, i32x4.add(splat, i32x4.extend_high_i16x8_u(positions)), 16)
    out += <usize>popcnt<u32>(byte) << 2
    word >>= 8
    base += 8
  }
  return out
}

/** u32 positions of the set bits of a selection; needs 32 bytes of slack behind the last one. Returns their number. */
export function bits_to_indices(sel: usize, n: u32, out: usize): u32 {
  bits_tables()
  const start = out
  for (let row: u32 = 0; row < n; row += 64, sel += 8) {
    out = word_positions(load<u64>(sel), row, out)
  }
  return <u32>(out - start) >> 2
}

/** Copies n bits to bit `dstBit` of dst. Bits before stay, bits behind in the last byte become 0; no byte behind it is written. */
export function concat_bits(dst: usize, dstBit: u32, src: usize, srcBit: u32, n: u32): void {
  if (!n) return
  dst += dstBit >> 3
  const head = dstBit & 7
  if (head) {
    const room: u32 = 8 - head
    const k = min<u32>(room, n)
    const bits = <u32>(bits64(src, srcBit) & low_mask(k))
    store<u8>(dst, <u8>((<u32>load<u8>(dst) & <u32>low_mask(head)) | (bits << head)))
    if (n <= room) return
    dst++
    srcBit += k
    n -= k
  }
  if (!(srcBit & 7)) {
    memory.copy(dst, src + (srcBit >> 3), n >> 3)
    dst += n >> 3
    srcBit += n & ~7
  } else {
    for (let words = n >> 6; words; words--) {
      store<u64>(dst, bits64(src, srcBit))
      dst += 8
      srcBit += 64
    }
    for (let bytes = (n & 63) >> 3; bytes; bytes--) {
      store<u8>(dst++, <u8>bits64(src, srcBit))
      srcBit += 8
    }
  }
  if (n & 7) store<u8>(dst, <u8>(bits64(src, srcBit) & low_mask(n & 7)))
}

/** Sets n bits from bit `dstBit` on; bits behind in the last byte become 0. */
export function fill_bits(dst: usize, dstBit: u32, n: u32): void {
  if (!n) return
  dst += dstBit >> 3
  const head = dstBit & 7
  if (head) {
    const room: u32 = 8 - head
    const k = min<u32>(room, n)
    store<u8>(dst, <u8>((<u32>load<u8>(dst) & <u32>low_mask(head)) | (<u32>low_mask(k) << head)))
    if (n <= room) return
    dst++
    n -= k
  }
  memory.fill(dst, 0xff, n >> 3)
  if (n & 7) store<u8>(dst + (n >> 3), <u8>low_mask(n & 7))
}

/** The bits of x under m, moved together at the low end. */
function compress(x: u64, m: u64): u64 {
  x &= m
  let mk = ~m << 1
  for (let shift: u64 = 1; shift < 64; shift <<= 1) {
    let mp = mk ^ (mk << 1)
    mp ^= mp << 2
    mp ^= mp << 4
    mp ^= mp << 8
    mp ^= mp << 16
    mp ^= mp << 32
    const mv = mp & m
    m = (m ^ mv) | (mv >> shift)
    const t = x & mv
    x = (x ^ t) | (t >> shift)
    mk &= ~mp
  }
  return x
}

/** Keeps the bits of src under the selection. Writes ceil(kept / 8) bytes, junk-free; returns the number of ones among them. */
export function filter_bits(src: usize, sel: usize, n: u32, out: usize): u32 {
  let ones: u64 = 0
  let acc: u64 = 0
  let fill: u64 = 0
  for (let row: u32 = 0; row < n; row += 64, sel += 8, src += 8) {
    const m = load<u64>(sel)
    if (!m) continue
    const x = load<u64>(src)
    const bits = m == ~(<u64>0) ? x : compress(x, m)
    const k = popcnt<u64>(m)
    ones += popcnt<u64>(bits)
    acc |= bits << fill
    if (fill + k >= 64) {
      store<u64>(out, acc)
      out += 8
      acc = fill ? bits >> (64 - fill) : 0
      fill = fill + k - 64
    } else {
      fill += k
    }
  }
  for (; <i64>fill > 0; fill -= 8) {
    store<u8>(out++, <u8>acc)
    acc >>= 8
  }
  return <u32>ones
}

/** Bit k = bit idx[k] of src (src 0: every bit set); a missing index gives 0. Writes ceil(n / 8) bytes; returns the number of ones. */
export function take_bits(src: usize, idx: usize, n: u32, out: usize): u32 {
  let ones: u32 = 0
  for (let k: u32 = 0; k < n; k += 8) {
    const m = min<u32>(8, n - k)
    let byte: u32 = 0
    for (let j: u32 = 0; j < m; j++) {
      const i = load<u32>(idx)
      idx += 4
      if (i == NULL_INDEX) continue
      byte |= (src ? (<u32>load<u8>(src + (i >> 3)) >> (i & 7)) & 1 : 1) << j
    }
    store<u8>(out++, byte)
    ones += popcnt<u32>(byte)
  }
  return ones
}
