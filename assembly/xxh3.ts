// xxh3.ts: XXH3-64 with seed and the standard 192-byte secret (xxHash 0.8, doc/xxhash_spec.md "XXH3").
//
// Length classes: 0, 1-3, 4-8, 9-16, 17-128, 129-240 and > 240; the last walks 64-byte stripes, 16 to a block, in four v128 accumulators.
// A seed other than 0 changes the secret of the long class; the changed secret is kept for the next call with the same seed.
// Invariant: no byte outside p .. p+n is read.

const P32_1: u64 = 0x9e3779b1
const P32_2: u64 = 0x85ebca77
const P32_3: u64 = 0xc2b2ae3d
const P64_1: u64 = 0x9e3779b185ebca87
const P64_2: u64 = 0xc2b2ae3d27d4eb4f
const P64_3: u64 = 0x165667b19e3779f9
const P64_4: u64 = 0x85ebca77c2b2ae63
const P64_5: u64 = 0x27d4eb2f165667c5
const MX1: u64 = 0x165667919e3779f9
const MX2: u64 = 0x9fb21c651e98df25
const SECRET_BYTES: usize = 192
const STRIPES_PER_BLOCK: usize = 16

// prettier-ignore
const SECRET: usize = memory.data<u8>([
  0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
  0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
  0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
  0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
  0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
  0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
  0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
  0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
  0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
  0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
  0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
  0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
], 64)

/** Secret for `seededFor`; the plain one until a seed comes by. */
const SEEDED: usize = memory.data(192, 64)
const ACC: usize = memory.data(64, 64)
let seededFor: u64 = 0

/** XXH3-64 of n bytes at p. */
export function xxh3_64(p: usize, n: usize, seed: u64): u64 {
  if (n <= 16) {
    if (n > 8) return len9to16(p, n, seed)
    if (n >= 4) return len4to8(load<u32>(p), load<u32>(p + n - 4), n, seed)
    if (n > 0) return len1to3(p, n, seed)
    return avalanche64(seed ^ load<u64>(SECRET, 56) ^ load<u64>(SECRET, 64))
  }
  if (n <= 128) return len17to128(p, n, seed)
  if (n <= 240) return len129to240(p, n, seed)
  return hashLong(p, n, seed)
}

/** XXH3-64 of the 8 bytes of `value`, seed 0: the hash of an integer or float key. */
// @ts-ignore: decorator
@inline
export function xxh3_of_u64(value: u64): u64 {
  // len4to8 with n = 8: low word first, then the high word
  const keyed = rotl<u64>(value, 32) ^ (load<u64>(SECRET, 8) ^ load<u64>(SECRET, 16))
  return rrmxmx(keyed, 8)
}

/** Hash of n bytes at p to 8 bytes at out. */
export function xxh3(p: usize, n: usize, seedLo: u32, seedHi: u32, out: usize): void {
  store<u64>(out, xxh3_64(p, n, <u64>seedLo | (<u64>seedHi << 32)))
}

/** pairs: count x (u32 offset, u32 bytes); out: count u64. Seed 0. */
export function xxh3_batch(pairs: usize, count: u32, out: usize): void {
  const end = pairs + ((<usize>count) << 3)
  while (pairs < end) {
    store<u64>(out, xxh3_64(load<u32>(pairs), load<u32>(pairs, 4), 0))
    pairs += 8
    out += 8
  }
}

/** n values of `width` bytes back to back at p, each hashed as its bytes; out: n u64. */
export function xxh3_fixed(p: usize, width: u32, n: u32, out: usize): void {
  const end = out + ((<usize>n) << 3)
  if (width == 8) {
    while (out < end) {
      store<u64>(out, xxh3_of_u64(load<u64>(p)))
      p += 8
      out += 8
    }
    return
  }
  while (out < end) {
    store<u64>(out, xxh3_64(p, width, 0))
    p += width
    out += 8
  }
}

/** n integers of 1, 2, 4 or 8 bytes, hashed as their 8-byte little-endian sign- or zero-extended form. */
export function xxh3_ints(p: usize, width: u32, signed: u32, n: u32, out: usize): void {
  const end = out + ((<usize>n) << 3)
  if (width == 8) {
    xxh3_fixed(p, 8, n, out)
  } else if (width == 4) {
    if (signed) {
      for (; out < end; out += 8, p += 4) store<u64>(out, xxh3_of_u64(<u64>(<i64>load<i32>(p))))
    } else {
      for (; out < end; out += 8, p += 4) store<u64>(out, xxh3_of_u64(<u64>load<u32>(p)))
    }
  } else if (width == 2) {
    for (; out < end; out += 8, p += 2) store<u64>(out, xxh3_of_u64(signed ? <u64>(<i64>load<i16>(p)) : <u64>load<u16>(p)))
  } else {
    for (; out < end; out += 8, p += 1) store<u64>(out, xxh3_of_u64(signed ? <u64>(<i64>load<i8>(p)) : <u64>load<u8>(p)))
  }
}

/** n floats of 4 or 8 bytes, hashed as 8-byte float64 with -0 as +0 and one NaN. */
export function xxh3_floats(p: usize, width: u32, n: u32, out: usize): void {
  const end = out + ((<usize>n) << 3)
  for (; out < end; out += 8, p += width) {
    const x: f64 = width == 8 ? load<f64>(p) : <f64>load<f32>(p)
    let bits: u64 = 0
    if (x != x) bits = 0x7ff8000000000000
    else if (x != 0) bits = reinterpret<u64>(x)
    store<u64>(out, xxh3_of_u64(bits))
  }
}

/** n booleans of a bitmap, each hashed as one byte 0 or 1. */
export function xxh3_bools(bits: usize, n: u32, out: usize): void {
  const no = avalanche64(oneByte(0))
  const yes = avalanche64(oneByte(1))
  for (let i: u32 = 0; i < n; i++) {
    const bit = ((<u32>load<u8>(bits + (i >>> 3))) >>> (i & 7)) & 1
    store<u64>(out + ((<usize>i) << 3), bit ? yes : no)
  }
}

/** n values of a var column: int32 offsets (n + 1) into data; out: n u64. */
export function xxh3_var(offsets: usize, data: usize, n: u32, out: usize): void {
  const end = out + ((<usize>n) << 3)
  let start: u32 = load<u32>(offsets)
  for (; out < end; out += 8) {
    offsets += 4
    const stop = load<u32>(offsets)
    store<u64>(out, xxh3_64(data + start, stop - start, 0))
    start = stop
  }
}

function oneByte(value: u64): u64 {
  const combined: u64 = (value << 16) | (value << 24) | value | (1 << 8)
  return combined ^ (<u64>(load<u32>(SECRET) ^ load<u32>(SECRET, 4)))
}

// @ts-ignore: decorator
@inline
function avalanche64(h: u64): u64 {
  h ^= h >>> 33
  h *= P64_2
  h ^= h >>> 29
  h *= P64_3
  return h ^ (h >>> 32)
}

// @ts-ignore: decorator
@inline
function avalanche(h: u64): u64 {
  h ^= h >>> 37
  h *= MX1
  return h ^ (h >>> 32)
}

// @ts-ignore: decorator
@inline
function rrmxmx(h: u64, n: u64): u64 {
  h ^= rotl<u64>(h, 49) ^ rotl<u64>(h, 24)
  h *= MX2
  h ^= (h >>> 35) + n
  h *= MX2
  return h ^ (h >>> 28)
}

/** Low half xor high half of the 128-bit product. */
// @ts-ignore: decorator
@inline
function fold(a: u64, b: u64): u64 {
  const al = a & 0xffffffff
  const ah = a >>> 32
  const bl = b & 0xffffffff
  const bh = b >>> 32
  const ll = al * bl
  const hl = ah * bl
  const cross = (ll >>> 32) + (hl & 0xffffffff) + al * bh
  return ((hl >>> 32) + (cross >>> 32) + ah * bh) ^ ((cross << 32) | (ll & 0xffffffff))
}

// @ts-ignore: decorator
@inline
function mix16(p: usize, secret: usize, seed: u64): u64 {
  return fold(load<u64>(p) ^ (load<u64>(secret) + seed), load<u64>(p, 8) ^ (load<u64>(secret, 8) - seed))
}

function len1to3(p: usize, n: usize, seed: u64): u64 {
  const combined: u32 = ((<u32>load<u8>(p)) << 16) | ((<u32>load<u8>(p + (n >>> 1))) << 24) | (<u32>load<u8>(p + n - 1)) | ((<u32>n) << 8)
  return avalanche64((<u64>combined) ^ ((<u64>(load<u32>(SECRET) ^ load<u32>(SECRET, 4))) + seed))
}

// @ts-ignore: decorator
@inline
function len4to8(first: u32, last: u32, n: usize, seed: u64): u64 {
  const s = seed ^ ((<u64>bswap<u32>(<u32>seed)) << 32)
  const flip = (load<u64>(SECRET, 8) ^ load<u64>(SECRET, 16)) - s
  return rrmxmx(((<u64>last) + ((<u64>first) << 32)) ^ flip, n)
}

// @ts-ignore: decorator
@inline
function len9to16(p: usize, n: usize, seed: u64): u64 {
  const lo = load<u64>(p) ^ ((load<u64>(SECRET, 24) ^ load<u64>(SECRET, 32)) + seed)
  const hi = load<u64>(p + n - 8) ^ ((load<u64>(SECRET, 40) ^ load<u64>(SECRET, 48)) - seed)
  return avalanche((<u64>n) + bswap<u64>(lo) + hi + fold(lo, hi))
}

function len17to128(p: usize, n: usize, seed: u64): u64 {
  const end = p + n
  let acc: u64 = (<u64>n) * P64_1
  if (n > 32) {
    if (n > 64) {
      if (n > 96) {
        acc += mix16(p + 48, SECRET + 96, seed)
        acc += mix16(end - 64, SECRET + 112, seed)
      }
      acc += mix16(p + 32, SECRET + 64, seed)
      acc += mix16(end - 48, SECRET + 80, seed)
    }
    acc += mix16(p + 16, SECRET + 32, seed)
    acc += mix16(end - 32, SECRET + 48, seed)
  }
  acc += mix16(p, SECRET, seed)
  acc += mix16(end - 16, SECRET + 16, seed)
  return avalanche(acc)
}

function len129to240(p: usize, n: usize, seed: u64): u64 {
  let acc: u64 = (<u64>n) * P64_1
  for (let i: usize = 0; i < 128; i += 16) acc += mix16(p + i, SECRET + i, seed)
  acc = avalanche(acc)
  let last = mix16(p + n - 16, SECRET + (136 - 17), seed)
  const rounds = n & ~(<usize>15)
  for (let i: usize = 128; i < rounds; i += 16) last += mix16(p + i, SECRET + i - 128 + 3, seed)
  return avalanche(acc + last)
}

function secretFor(seed: u64): usize {
  if (seed == 0) return SECRET
  if (seed != seededFor) {
    for (let i: usize = 0; i < SECRET_BYTES; i += 16) {
      store<u64>(SEEDED + i, load<u64>(SECRET + i) + seed)
      store<u64>(SEEDED + i, load<u64>(SECRET + i, 8) - seed, 8)
    }
    seededFor = seed
  }
  return SEEDED
}

/** Two 32x32 products per lane pair: even words times odd words of (input ^ secret), added to the accumulators with the swapped input. */
// @ts-ignore: decorator
@inline
function evens(a: v128, b: v128): v128 {
  return v128.shuffle<u32>(a, b, 0, 2, 4, 6)
}

// @ts-ignore: decorator
@inline
function odds(a: v128, b: v128): v128 {
  return v128.shuffle<u32>(a, b, 1, 3, 5, 7)
}

// @ts-ignore: decorator
@inline
function swap(a: v128): v128 {
  return v128.shuffle<u64>(a, a, 1, 0)
}

// @ts-ignore: decorator
@inline
function scramble(acc: v128, secret: v128): v128 {
  const x = v128.xor(v128.xor(acc, i64x2.shr_u(acc, 47)), secret)
  return i64x2.mul(x, i64x2.splat(0x9e3779b1))
}

function hashLong(p: usize, n: usize, seed: u64): u64 {
  const secret = secretFor(seed)
  let a0 = i64x2(P32_3, P64_1)
  let a1 = i64x2(P64_2, P64_3)
  let a2 = i64x2(P64_4, P32_2)
  let a3 = i64x2(P64_5, P32_1)
  const end = p + n
  // Stripes before the last one; the last, which ends at `end` and may overlap, has its own secret offset.
  let stripes = (n - 1) >>> 6
  while (true) {
    const inBlock = stripes < STRIPES_PER_BLOCK ? stripes : STRIPES_PER_BLOCK
    const stop = secret + (inBlock << 3)
    for (let s = secret; s < stop; s += 8, p += 64) {
      const d0 = v128.load(p)
      const d1 = v128.load(p, 16)
      const d2 = v128.load(p, 32)
      const d3 = v128.load(p, 48)
      const k0 = v128.xor(d0, v128.load(s))
      const k1 = v128.xor(d1, v128.load(s, 16))
      const k2 = v128.xor(d2, v128.load(s, 32))
      const k3 = v128.xor(d3, v128.load(s, 48))
      const l01 = evens(k0, k1)
      const h01 = odds(k0, k1)
      const l23 = evens(k2, k3)
      const h23 = odds(k2, k3)
      a0 = i64x2.add(a0, i64x2.add(swap(d0), i64x2.extmul_low_i32x4_u(l01, h01)))
      a1 = i64x2.add(a1, i64x2.add(swap(d1), i64x2.extmul_high_i32x4_u(l01, h01)))
      a2 = i64x2.add(a2, i64x2.add(swap(d2), i64x2.extmul_low_i32x4_u(l23, h23)))
      a3 = i64x2.add(a3, i64x2.add(swap(d3), i64x2.extmul_high_i32x4_u(l23, h23)))
    }
    // A full block is scrambled only when more input follows it: (n - 1) / 1024 full blocks.
    if (inBlock < STRIPES_PER_BLOCK) break
    stripes -= STRIPES_PER_BLOCK
    const s = secret + 128
    a0 = scramble(a0, v128.load(s))
    a1 = scramble(a1, v128.load(s, 16))
    a2 = scramble(a2, v128.load(s, 32))
    a3 = scramble(a3, v128.load(s, 48))
  }
  p = end - 64
  const s = secret + 121
  const d0 = v128.load(p)
  const d1 = v128.load(p, 16)
  const d2 = v128.load(p, 32)
  const d3 = v128.load(p, 48)
  const k0 = v128.xor(d0, v128.load(s))
  const k1 = v128.xor(d1, v128.load(s, 16))
  const k2 = v128.xor(d2, v128.load(s, 32))
  const k3 = v128.xor(d3, v128.load(s, 48))
  a0 = i64x2.add(a0, i64x2.add(swap(d0), i64x2.extmul_low_i32x4_u(evens(k0, k1), odds(k0, k1))))
  a1 = i64x2.add(a1, i64x2.add(swap(d1), i64x2.extmul_high_i32x4_u(evens(k0, k1), odds(k0, k1))))
  a2 = i64x2.add(a2, i64x2.add(swap(d2), i64x2.extmul_low_i32x4_u(evens(k2, k3), odds(k2, k3))))
  a3 = i64x2.add(a3, i64x2.add(swap(d3), i64x2.extmul_high_i32x4_u(evens(k2, k3), odds(k2, k3))))
  v128.store(ACC, a0)
  v128.store(ACC, a1, 16)
  v128.store(ACC, a2, 32)
  v128.store(ACC, a3, 48)
  let result: u64 = (<u64>n) * P64_1
  for (let i: usize = 0; i < 64; i += 16) result += fold(load<u64>(ACC + i) ^ load<u64>(secret + 11 + i), load<u64>(ACC + i, 8) ^ load<u64>(secret + 11 + i, 8))
  return avalanche(result)
}
