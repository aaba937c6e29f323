// bloom.ts: split-block bloom filter, bit for bit the layout of Parquet (parquet-format BloomFilter.md), over 64-bit hashes.
//
// Block = 8 u32. Hash h: block ((h >> 32) * blocks) >> 32; in word i, bit (u32(h) * SALT[i]) >> 27.
// Wasm has no per-lane shift: the bit is made bytewise, 1 << (k & 7) by table lookup in the byte k >> 3 of its word, 0 in the others.

// prettier-ignore
const SALT: usize = memory.data<u32>([0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31], 16)

/** n hashes (u64) into the filter of `blocks` blocks at f. */
export function sbbf_insert(f: usize, blocks: u32, hashes: usize, n: u32): void {
  const saltLow = v128.load(SALT)
  const saltHigh = v128.load(SALT, 16)
  const end = hashes + ((<usize>n) << 3)
  for (; hashes < end; hashes += 8) {
    const at = f + blockOf(load<u32>(hashes, 4), blocks)
    const key = v128.load32_splat(hashes)
    v128.store(at, v128.or(v128.load(at), mask(key, saltLow)))
    v128.store(at, v128.or(v128.load(at, 16), mask(key, saltHigh)), 16)
  }
}

/** Bit i of out = hash i may be present; out gets whole u64 words, spare bits 0. Returns the hits. */
export function sbbf_probe(f: usize, blocks: u32, hashes: usize, n: u32, out: usize): u32 {
  const saltLow = v128.load(SALT)
  const saltHigh = v128.load(SALT, 16)
  let hits: u32 = 0
  let left = n
  while (left > 0) {
    const run = left < 64 ? left : 64
    let word: u64 = 0
    for (let i: u32 = 0; i < run; i++, hashes += 8) {
      const at = f + blockOf(load<u32>(hashes, 4), blocks)
      const key = v128.load32_splat(hashes)
      const missing = v128.or(v128.andnot(mask(key, saltLow), v128.load(at)), v128.andnot(mask(key, saltHigh), v128.load(at, 16)))
      word |= (<u64>(!v128.any_true(missing))) << (<u64>i)
    }
    store<u64>(out, word)
    hits += <u32>popcnt<u64>(word)
    out += 8
    left -= run
  }
  return hits
}

/** dst |= src; bytes is a multiple of 32. */
export function sbbf_merge(dst: usize, src: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i += 32) {
    v128.store(dst + i, v128.or(v128.load(dst + i), v128.load(src + i)))
    v128.store(dst + i, v128.or(v128.load(dst + i, 16), v128.load(src + i, 16)), 16)
  }
}

// @ts-ignore: decorator
@inline
function blockOf(high: u32, blocks: u32): usize {
  return (<usize>(((<u64>high) * (<u64>blocks)) >>> 32)) << 5
}

// @ts-ignore: decorator
@inline
function mask(key: v128, salt: v128): v128 {
  const bit = i32x4.shr_u(i32x4.mul(key, salt), 27)
  const k = v128.shuffle<u8>(bit, bit, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)
  // In the byte that holds the bit the index is k & 7, in the three others it is 8 or more.
  const index = v128.xor(k, i8x16(0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24))
  return v128.swizzle(i8x16(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0), index)
}
