// sha256-x4.ts: SHA-256 compressions of four blocks at once, one message per 32-bit lane (FIPS 180-4).
//
// state4: 8 x 4 u32, word-major (word w of lane l at w * 16 + l * 4), native words. A round waits for the round before it; the schedule's next word but
// fifteen does not, so each round has one beside it, which fills the vector units. The words lie in memory: 24 values do not fit 16 registers anyway.
import { K256 } from './sha256'

/** The schedule of four blocks: 64 x 4 u32. */
const W4: usize = memory.data(1024, 16)

/** Compresses `blocks` blocks of each of four messages. */
export function sha256_x4(state4: usize, p0: usize, p1: usize, p2: usize, p3: usize, blocks: usize): void {
  for (let i: usize = 0; i < blocks; i++) {
    const at = i << 6
    compress_x4(state4, p0 + at, p1 + at, p2 + at, p3 + at)
  }
}

export function compress_x4(state4: usize, p0: usize, p1: usize, p2: usize, p3: usize): void {
  for (let q: usize = 0; q < 64; q += 16) fourWords(W4 + (q << 2), p0 + q, p1 + q, p2 + q, p3 + q)
  let a = v128.load(state4)
  let b = v128.load(state4, 16)
  let c = v128.load(state4, 32)
  let d = v128.load(state4, 48)
  let e = v128.load(state4, 64)
  let f = v128.load(state4, 80)
  let g = v128.load(state4, 96)
  let h = v128.load(state4, 112)
  let k = K256
  let w = W4
  // a ^ b of a round is b ^ c of the next.
  let x: v128
  let y = v128.xor(b, c)
  for (; k < K256 + 192; k += 32, w += 128) {
    h = t1(h, e, f, g, i32x4.add(v128.load(w), v128.load32_splat(k)))
    d = i32x4.add(d, h)
    x = v128.xor(a, b)
    h = i32x4.add(h, t2(a, v128.xor(b, v128.and(x, y))))
    nextWord(w)
    g = t1(g, d, e, f, i32x4.add(v128.load(w, 16), v128.load32_splat(k, 4)))
    c = i32x4.add(c, g)
    y = v128.xor(h, a)
    g = i32x4.add(g, t2(h, v128.xor(a, v128.and(y, x))))
    nextWord(w + 16)
    f = t1(f, c, d, e, i32x4.add(v128.load(w, 32), v128.load32_splat(k, 8)))
    b = i32x4.add(b, f)
    x = v128.xor(g, h)
    f = i32x4.add(f, t2(g, v128.xor(h, v128.and(x, y))))
    nextWord(w + 32)
    e = t1(e, b, c, d, i32x4.add(v128.load(w, 48), v128.load32_splat(k, 12)))
    a = i32x4.add(a, e)
    y = v128.xor(f, g)
    e = i32x4.add(e, t2(f, v128.xor(g, v128.and(y, x))))
    nextWord(w + 48)
    d = t1(d, a, b, c, i32x4.add(v128.load(w, 64), v128.load32_splat(k, 16)))
    h = i32x4.add(h, d)
    x = v128.xor(e, f)
    d = i32x4.add(d, t2(e, v128.xor(f, v128.and(x, y))))
    nextWord(w + 64)
    c = t1(c, h, a, b, i32x4.add(v128.load(w, 80), v128.load32_splat(k, 20)))
    g = i32x4.add(g, c)
    y = v128.xor(d, e)
    c = i32x4.add(c, t2(d, v128.xor(e, v128.and(y, x))))
    nextWord(w + 80)
    b = t1(b, g, h, a, i32x4.add(v128.load(w, 96), v128.load32_splat(k, 24)))
    f = i32x4.add(f, b)
    x = v128.xor(c, d)
    b = i32x4.add(b, t2(c, v128.xor(d, v128.and(x, y))))
    nextWord(w + 96)
    a = t1(a, f, g, h, i32x4.add(v128.load(w, 112), v128.load32_splat(k, 28)))
    e = i32x4.add(e, a)
    y = v128.xor(b, c)
    a = i32x4.add(a, t2(b, v128.xor(c, v128.and(y, x))))
    nextWord(w + 112)
  }
  for (; k < K256 + 256; k += 32, w += 128) {
    h = t1(h, e, f, g, i32x4.add(v128.load(w), v128.load32_splat(k)))
    d = i32x4.add(d, h)
    x = v128.xor(a, b)
    h = i32x4.add(h, t2(a, v128.xor(b, v128.and(x, y))))
    g = t1(g, d, e, f, i32x4.add(v128.load(w, 16), v128.load32_splat(k, 4)))
    c = i32x4.add(c, g)
    y = v128.xor(h, a)
    g = i32x4.add(g, t2(h, v128.xor(a, v128.and(y, x))))
    f = t1(f, c, d, e, i32x4.add(v128.load(w, 32), v128.load32_splat(k, 8)))
    b = i32x4.add(b, f)
    x = v128.xor(g, h)
    f = i32x4.add(f, t2(g, v128.xor(h, v128.and(x, y))))
    e = t1(e, b, c, d, i32x4.add(v128.load(w, 48), v128.load32_splat(k, 12)))
    a = i32x4.add(a, e)
    y = v128.xor(f, g)
    e = i32x4.add(e, t2(f, v128.xor(g, v128.and(y, x))))
    d = t1(d, a, b, c, i32x4.add(v128.load(w, 64), v128.load32_splat(k, 16)))
    h = i32x4.add(h, d)
    x = v128.xor(e, f)
    d = i32x4.add(d, t2(e, v128.xor(f, v128.and(x, y))))
    c = t1(c, h, a, b, i32x4.add(v128.load(w, 80), v128.load32_splat(k, 20)))
    g = i32x4.add(g, c)
    y = v128.xor(d, e)
    c = i32x4.add(c, t2(d, v128.xor(e, v128.and(y, x))))
    b = t1(b, g, h, a, i32x4.add(v128.load(w, 96), v128.load32_splat(k, 24)))
    f = i32x4.add(f, b)
    x = v128.xor(c, d)
    b = i32x4.add(b, t2(c, v128.xor(d, v128.and(x, y))))
    a = t1(a, f, g, h, i32x4.add(v128.load(w, 112), v128.load32_splat(k, 28)))
    e = i32x4.add(e, a)
    y = v128.xor(b, c)
    a = i32x4.add(a, t2(b, v128.xor(c, v128.and(y, x))))
  }
  v128.store(state4, i32x4.add(v128.load(state4), a))
  v128.store(state4, i32x4.add(v128.load(state4, 16), b), 16)
  v128.store(state4, i32x4.add(v128.load(state4, 32), c), 32)
  v128.store(state4, i32x4.add(v128.load(state4, 48), d), 48)
  v128.store(state4, i32x4.add(v128.load(state4, 64), e), 64)
  v128.store(state4, i32x4.add(v128.load(state4, 80), f), 80)
  v128.store(state4, i32x4.add(v128.load(state4, 96), g), 96)
  v128.store(state4, i32x4.add(v128.load(state4, 112), h), 112)
}

/** Compresses into each lane one block that is the same for all: kw are its 64 schedule words, each with its constant added. */
export function compressSame_x4(state4: usize, kw: usize): void {
  let a = v128.load(state4)
  let b = v128.load(state4, 16)
  let c = v128.load(state4, 32)
  let d = v128.load(state4, 48)
  let e = v128.load(state4, 64)
  let f = v128.load(state4, 80)
  let g = v128.load(state4, 96)
  let h = v128.load(state4, 112)
  // With no schedule beside it a round is as long as its way from e to e: the sum is added twice, each time last.
  let t: v128
  let x: v128
  let y = v128.xor(b, c)
  for (let k = kw; k < kw + 256; k += 32) {
    t = i32x4.add(i32x4.add(h, v128.load32_splat(k)), choice(e, f, g))
    h = sum1(e)
    d = i32x4.add(i32x4.add(d, t), h)
    t = i32x4.add(t, h)
    x = v128.xor(a, b)
    h = i32x4.add(i32x4.add(t, v128.xor(b, v128.and(x, y))), sum0(a))
    t = i32x4.add(i32x4.add(g, v128.load32_splat(k, 4)), choice(d, e, f))
    g = sum1(d)
    c = i32x4.add(i32x4.add(c, t), g)
    t = i32x4.add(t, g)
    y = v128.xor(h, a)
    g = i32x4.add(i32x4.add(t, v128.xor(a, v128.and(y, x))), sum0(h))
    t = i32x4.add(i32x4.add(f, v128.load32_splat(k, 8)), choice(c, d, e))
    f = sum1(c)
    b = i32x4.add(i32x4.add(b, t), f)
    t = i32x4.add(t, f)
    x = v128.xor(g, h)
    f = i32x4.add(i32x4.add(t, v128.xor(h, v128.and(x, y))), sum0(g))
    t = i32x4.add(i32x4.add(e, v128.load32_splat(k, 12)), choice(b, c, d))
    e = sum1(b)
    a = i32x4.add(i32x4.add(a, t), e)
    t = i32x4.add(t, e)
    y = v128.xor(f, g)
    e = i32x4.add(i32x4.add(t, v128.xor(g, v128.and(y, x))), sum0(f))
    t = i32x4.add(i32x4.add(d, v128.load32_splat(k, 16)), choice(a, b, c))
    d = sum1(a)
    h = i32x4.add(i32x4.add(h, t), d)
    t = i32x4.add(t, d)
    x = v128.xor(e, f)
    d = i32x4.add(i32x4.add(t, v128.xor(f, v128.and(x, y))), sum0(e))
    t = i32x4.add(i32x4.add(c, v128.load32_splat(k, 20)), choice(h, a, b))
    c = sum1(h)
    g = i32x4.add(i32x4.add(g, t), c)
    t = i32x4.add(t, c)
    y = v128.xor(d, e)
    c = i32x4.add(i32x4.add(t, v128.xor(e, v128.and(y, x))), sum0(d))
    t = i32x4.add(i32x4.add(b, v128.load32_splat(k, 24)), choice(g, h, a))
    b = sum1(g)
    f = i32x4.add(i32x4.add(f, t), b)
    t = i32x4.add(t, b)
    x = v128.xor(c, d)
    b = i32x4.add(i32x4.add(t, v128.xor(d, v128.and(x, y))), sum0(c))
    t = i32x4.add(i32x4.add(a, v128.load32_splat(k, 28)), choice(f, g, h))
    a = sum1(f)
    e = i32x4.add(i32x4.add(e, t), a)
    t = i32x4.add(t, a)
    y = v128.xor(b, c)
    a = i32x4.add(i32x4.add(t, v128.xor(c, v128.and(y, x))), sum0(b))
  }
  v128.store(state4, i32x4.add(v128.load(state4), a))
  v128.store(state4, i32x4.add(v128.load(state4, 16), b), 16)
  v128.store(state4, i32x4.add(v128.load(state4, 32), c), 32)
  v128.store(state4, i32x4.add(v128.load(state4, 48), d), 48)
  v128.store(state4, i32x4.add(v128.load(state4, 64), e), 64)
  v128.store(state4, i32x4.add(v128.load(state4, 80), f), 80)
  v128.store(state4, i32x4.add(v128.load(state4, 96), g), 96)
  v128.store(state4, i32x4.add(v128.load(state4, 112), h), 112)
}

/** Four words of each message to four vectors at `to`, transposed and in native order. */
// @ts-ignore: decorator
@inline
function fourWords(to: usize, p0: usize, p1: usize, p2: usize, p3: usize): void {
  const x = bytesSwapped(v128.load(p0))
  const y = bytesSwapped(v128.load(p1))
  const z = bytesSwapped(v128.load(p2))
  const u = bytesSwapped(v128.load(p3))
  const xyl = v128.shuffle<u32>(x, y, 0, 4, 1, 5)
  const zul = v128.shuffle<u32>(z, u, 0, 4, 1, 5)
  const xyh = v128.shuffle<u32>(x, y, 2, 6, 3, 7)
  const zuh = v128.shuffle<u32>(z, u, 2, 6, 3, 7)
  v128.store(to, v128.shuffle<u64>(xyl, zul, 0, 2))
  v128.store(to, v128.shuffle<u64>(xyl, zul, 1, 3), 16)
  v128.store(to, v128.shuffle<u64>(xyh, zuh, 0, 2), 32)
  v128.store(to, v128.shuffle<u64>(xyh, zuh, 1, 3), 48)
}

/** The digests of the four lanes to out, 32 bytes each. */
export function digests_x4(state4: usize, out: usize): void {
  for (let half: usize = 0; half < 32; half += 16) {
    const at = state4 + (half << 2)
    const a = v128.load(at)
    const b = v128.load(at, 16)
    const c = v128.load(at, 32)
    const d = v128.load(at, 48)
    const abl = v128.shuffle<u32>(a, b, 0, 4, 1, 5)
    const cdl = v128.shuffle<u32>(c, d, 0, 4, 1, 5)
    const abh = v128.shuffle<u32>(a, b, 2, 6, 3, 7)
    const cdh = v128.shuffle<u32>(c, d, 2, 6, 3, 7)
    v128.store(out + half, bytesSwapped(v128.shuffle<u64>(abl, cdl, 0, 2)))
    v128.store(out + half, bytesSwapped(v128.shuffle<u64>(abl, cdl, 1, 3)), 32)
    v128.store(out + half, bytesSwapped(v128.shuffle<u64>(abh, cdh, 0, 2)), 64)
    v128.store(out + half, bytesSwapped(v128.shuffle<u64>(abh, cdh, 1, 3)), 96)
  }
}

/** From the schedule word at w the one 16 on. */
// @ts-ignore: decorator
@inline
function nextWord(w: usize): void {
  const sum = i32x4.add(i32x4.add(v128.load(w), s0(v128.load(w, 16))), i32x4.add(v128.load(w, 144), s1(v128.load(w, 224))))
  v128.store(w, sum, 256)
}

// @ts-ignore: decorator
@inline
function bytesSwapped(x: v128): v128 {
  return v128.shuffle<u8>(x, x, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12)
}

// @ts-ignore: decorator
@inline
function rot(x: v128, n: i32): v128 {
  return v128.or(i32x4.shr_u(x, n), i32x4.shl(x, 32 - n))
}

// @ts-ignore: decorator
@inline
function sum1(e: v128): v128 {
  return v128.xor(v128.xor(rot(e, 6), rot(e, 11)), rot(e, 25))
}

// @ts-ignore: decorator
@inline
function sum0(a: v128): v128 {
  return v128.xor(v128.xor(rot(a, 2), rot(a, 13)), rot(a, 22))
}

// @ts-ignore: decorator
@inline
function choice(e: v128, f: v128, g: v128): v128 {
  return v128.xor(g, v128.and(e, v128.xor(f, g)))
}

// @ts-ignore: decorator
@inline
function t1(h: v128, e: v128, f: v128, g: v128, kw: v128): v128 {
  return i32x4.add(i32x4.add(i32x4.add(h, kw), choice(e, f, g)), sum1(e))
}

// @ts-ignore: decorator
@inline
function t2(a: v128, majority: v128): v128 {
  return i32x4.add(sum0(a), majority)
}

// @ts-ignore: decorator
@inline
function s0(x: v128): v128 {
  return v128.xor(v128.xor(rot(x, 7), rot(x, 18)), i32x4.shr_u(x, 3))
}

// @ts-ignore: decorator
@inline
function s1(x: v128): v128 {
  return v128.xor(v128.xor(rot(x, 17), rot(x, 19)), i32x4.shr_u(x, 10))
}
