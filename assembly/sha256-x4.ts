// sha256-x4.ts: one SHA-256 compression of four blocks at once, one message per 32-bit lane (FIPS 180-4).
//
// state4: 8 x 4 u32, word-major (word w of lane l at w * 16 + l * 4), native words. The 16 schedule words live in locals.
import { K256 } from './sha256'

/** Compresses `blocks` blocks of each of four messages. */
export function sha256_x4(state4: usize, p0: usize, p1: usize, p2: usize, p3: usize, blocks: usize): void {
  for (let i: usize = 0; i < blocks; i++) {
    const at = i << 6
    compress_x4(state4, p0 + at, p1 + at, p2 + at, p3 + at)
  }
}

export function compress_x4(state4: usize, p0: usize, p1: usize, p2: usize, p3: usize): void {
  const x0 = bytesSwapped(v128.load(p0))
  const y0 = bytesSwapped(v128.load(p1))
  const z0 = bytesSwapped(v128.load(p2))
  const u0 = bytesSwapped(v128.load(p3))
  const xyl0 = v128.shuffle<u32>(x0, y0, 0, 4, 1, 5)
  const zul0 = v128.shuffle<u32>(z0, u0, 0, 4, 1, 5)
  const xyh0 = v128.shuffle<u32>(x0, y0, 2, 6, 3, 7)
  const zuh0 = v128.shuffle<u32>(z0, u0, 2, 6, 3, 7)
  let w0 = v128.shuffle<u64>(xyl0, zul0, 0, 2)
  let w1 = v128.shuffle<u64>(xyl0, zul0, 1, 3)
  let w2 = v128.shuffle<u64>(xyh0, zuh0, 0, 2)
  let w3 = v128.shuffle<u64>(xyh0, zuh0, 1, 3)
  const x1 = bytesSwapped(v128.load(p0, 16))
  const y1 = bytesSwapped(v128.load(p1, 16))
  const z1 = bytesSwapped(v128.load(p2, 16))
  const u1 = bytesSwapped(v128.load(p3, 16))
  const xyl1 = v128.shuffle<u32>(x1, y1, 0, 4, 1, 5)
  const zul1 = v128.shuffle<u32>(z1, u1, 0, 4, 1, 5)
  const xyh1 = v128.shuffle<u32>(x1, y1, 2, 6, 3, 7)
  const zuh1 = v128.shuffle<u32>(z1, u1, 2, 6, 3, 7)
  let w4 = v128.shuffle<u64>(xyl1, zul1, 0, 2)
  let w5 = v128.shuffle<u64>(xyl1, zul1, 1, 3)
  let w6 = v128.shuffle<u64>(xyh1, zuh1, 0, 2)
  let w7 = v128.shuffle<u64>(xyh1, zuh1, 1, 3)
  const x2 = bytesSwapped(v128.load(p0, 32))
  const y2 = bytesSwapped(v128.load(p1, 32))
  const z2 = bytesSwapped(v128.load(p2, 32))
  const u2 = bytesSwapped(v128.load(p3, 32))
  const xyl2 = v128.shuffle<u32>(x2, y2, 0, 4, 1, 5)
  const zul2 = v128.shuffle<u32>(z2, u2, 0, 4, 1, 5)
  const xyh2 = v128.shuffle<u32>(x2, y2, 2, 6, 3, 7)
  const zuh2 = v128.shuffle<u32>(z2, u2, 2, 6, 3, 7)
  let w8 = v128.shuffle<u64>(xyl2, zul2, 0, 2)
  let w9 = v128.shuffle<u64>(xyl2, zul2, 1, 3)
  let w10 = v128.shuffle<u64>(xyh2, zuh2, 0, 2)
  let w11 = v128.shuffle<u64>(xyh2, zuh2, 1, 3)
  const x3 = bytesSwapped(v128.load(p0, 48))
  const y3 = bytesSwapped(v128.load(p1, 48))
  const z3 = bytesSwapped(v128.load(p2, 48))
  const u3 = bytesSwapped(v128.load(p3, 48))
  const xyl3 = v128.shuffle<u32>(x3, y3, 0, 4, 1, 5)
  const zul3 = v128.shuffle<u32>(z3, u3, 0, 4, 1, 5)
  const xyh3 = v128.shuffle<u32>(x3, y3, 2, 6, 3, 7)
  const zuh3 = v128.shuffle<u32>(z3, u3, 2, 6, 3, 7)
  let w12 = v128.shuffle<u64>(xyl3, zul3, 0, 2)
  let w13 = v128.shuffle<u64>(xyl3, zul3, 1, 3)
  let w14 = v128.shuffle<u64>(xyh3, zuh3, 0, 2)
  let w15 = v128.shuffle<u64>(xyh3, zuh3, 1, 3)
  let a = v128.load(state4)
  let b = v128.load(state4, 16)
  let c = v128.load(state4, 32)
  let d = v128.load(state4, 48)
  let e = v128.load(state4, 64)
  let f = v128.load(state4, 80)
  let g = v128.load(state4, 96)
  let h = v128.load(state4, 112)
  let k = K256
  // a ^ b of a round is b ^ c of the next.
  let x: v128
  let y = v128.xor(b, c)
  while (true) {
    h = t1(h, e, f, g, i32x4.add(w0, v128.load32_splat(k)))
    d = i32x4.add(d, h)
    x = v128.xor(a, b)
    h = i32x4.add(h, t2(a, v128.xor(b, v128.and(x, y))))
    g = t1(g, d, e, f, i32x4.add(w1, v128.load32_splat(k, 4)))
    c = i32x4.add(c, g)
    y = v128.xor(h, a)
    g = i32x4.add(g, t2(h, v128.xor(a, v128.and(y, x))))
    f = t1(f, c, d, e, i32x4.add(w2, v128.load32_splat(k, 8)))
    b = i32x4.add(b, f)
    x = v128.xor(g, h)
    f = i32x4.add(f, t2(g, v128.xor(h, v128.and(x, y))))
    e = t1(e, b, c, d, i32x4.add(w3, v128.load32_splat(k, 12)))
    a = i32x4.add(a, e)
    y = v128.xor(f, g)
    e = i32x4.add(e, t2(f, v128.xor(g, v128.and(y, x))))
    d = t1(d, a, b, c, i32x4.add(w4, v128.load32_splat(k, 16)))
    h = i32x4.add(h, d)
    x = v128.xor(e, f)
    d = i32x4.add(d, t2(e, v128.xor(f, v128.and(x, y))))
    c = t1(c, h, a, b, i32x4.add(w5, v128.load32_splat(k, 20)))
    g = i32x4.add(g, c)
    y = v128.xor(d, e)
    c = i32x4.add(c, t2(d, v128.xor(e, v128.and(y, x))))
    b = t1(b, g, h, a, i32x4.add(w6, v128.load32_splat(k, 24)))
    f = i32x4.add(f, b)
    x = v128.xor(c, d)
    b = i32x4.add(b, t2(c, v128.xor(d, v128.and(x, y))))
    a = t1(a, f, g, h, i32x4.add(w7, v128.load32_splat(k, 28)))
    e = i32x4.add(e, a)
    y = v128.xor(b, c)
    a = i32x4.add(a, t2(b, v128.xor(c, v128.and(y, x))))
    h = t1(h, e, f, g, i32x4.add(w8, v128.load32_splat(k, 32)))
    d = i32x4.add(d, h)
    x = v128.xor(a, b)
    h = i32x4.add(h, t2(a, v128.xor(b, v128.and(x, y))))
    g = t1(g, d, e, f, i32x4.add(w9, v128.load32_splat(k, 36)))
    c = i32x4.add(c, g)
    y = v128.xor(h, a)
    g = i32x4.add(g, t2(h, v128.xor(a, v128.and(y, x))))
    f = t1(f, c, d, e, i32x4.add(w10, v128.load32_splat(k, 40)))
    b = i32x4.add(b, f)
    x = v128.xor(g, h)
    f = i32x4.add(f, t2(g, v128.xor(h, v128.and(x, y))))
    e = t1(e, b, c, d, i32x4.add(w11, v128.load32_splat(k, 44)))
    a = i32x4.add(a, e)
    y = v128.xor(f, g)
    e = i32x4.add(e, t2(f, v128.xor(g, v128.and(y, x))))
    d = t1(d, a, b, c, i32x4.add(w12, v128.load32_splat(k, 48)))
    h = i32x4.add(h, d)
    x = v128.xor(e, f)
    d = i32x4.add(d, t2(e, v128.xor(f, v128.and(x, y))))
    c = t1(c, h, a, b, i32x4.add(w13, v128.load32_splat(k, 52)))
    g = i32x4.add(g, c)
    y = v128.xor(d, e)
    c = i32x4.add(c, t2(d, v128.xor(e, v128.and(y, x))))
    b = t1(b, g, h, a, i32x4.add(w14, v128.load32_splat(k, 56)))
    f = i32x4.add(f, b)
    x = v128.xor(c, d)
    b = i32x4.add(b, t2(c, v128.xor(d, v128.and(x, y))))
    a = t1(a, f, g, h, i32x4.add(w15, v128.load32_splat(k, 60)))
    e = i32x4.add(e, a)
    y = v128.xor(b, c)
    a = i32x4.add(a, t2(b, v128.xor(c, v128.and(y, x))))
    k += 64
    if (k == K256 + 256) break
    w0 = i32x4.add(i32x4.add(w0, s0(w1)), i32x4.add(w9, s1(w14)))
    w1 = i32x4.add(i32x4.add(w1, s0(w2)), i32x4.add(w10, s1(w15)))
    w2 = i32x4.add(i32x4.add(w2, s0(w3)), i32x4.add(w11, s1(w0)))
    w3 = i32x4.add(i32x4.add(w3, s0(w4)), i32x4.add(w12, s1(w1)))
    w4 = i32x4.add(i32x4.add(w4, s0(w5)), i32x4.add(w13, s1(w2)))
    w5 = i32x4.add(i32x4.add(w5, s0(w6)), i32x4.add(w14, s1(w3)))
    w6 = i32x4.add(i32x4.add(w6, s0(w7)), i32x4.add(w15, s1(w4)))
    w7 = i32x4.add(i32x4.add(w7, s0(w8)), i32x4.add(w0, s1(w5)))
    w8 = i32x4.add(i32x4.add(w8, s0(w9)), i32x4.add(w1, s1(w6)))
    w9 = i32x4.add(i32x4.add(w9, s0(w10)), i32x4.add(w2, s1(w7)))
    w10 = i32x4.add(i32x4.add(w10, s0(w11)), i32x4.add(w3, s1(w8)))
    w11 = i32x4.add(i32x4.add(w11, s0(w12)), i32x4.add(w4, s1(w9)))
    w12 = i32x4.add(i32x4.add(w12, s0(w13)), i32x4.add(w5, s1(w10)))
    w13 = i32x4.add(i32x4.add(w13, s0(w14)), i32x4.add(w6, s1(w11)))
    w14 = i32x4.add(i32x4.add(w14, s0(w15)), i32x4.add(w7, s1(w12)))
    w15 = i32x4.add(i32x4.add(w15, s0(w0)), i32x4.add(w8, s1(w13)))
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
function t1(h: v128, e: v128, f: v128, g: v128, kw: v128): v128 {
  const sum = v128.xor(v128.xor(rot(e, 6), rot(e, 11)), rot(e, 25))
  const choice = v128.xor(g, v128.and(e, v128.xor(f, g)))
  return i32x4.add(i32x4.add(i32x4.add(h, kw), choice), sum)
}

// @ts-ignore: decorator
@inline
function t2(a: v128, majority: v128): v128 {
  const sum = v128.xor(v128.xor(rot(a, 2), rot(a, 13)), rot(a, 22))
  return i32x4.add(sum, majority)
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
