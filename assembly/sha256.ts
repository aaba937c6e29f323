// sha256.ts: SHA-256 (FIPS 180-4): blocks, whole messages, record hashes and the chain digest of the log (log.md section 1).
//
// One message runs through the scalar compression; many run four at a time (sha256-x4.ts): four of one length that follow each other in step, all others
// each lane at its own place in its own message: a lane that is done takes the next message, so lengths need not match. First block (`local` masked) and
// tail (padding) of a lane are staged beside it; the rest is read in place. Invariant: outputs are big-endian digests of 32 bytes; messages are never written to.
import { compress_x4, compressSame_x4, digests_x4, sha256_x4 } from './sha256-x4'

// prettier-ignore
export const K256: usize = memory.data<u32>([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
], 64)
// prettier-ignore
const IV: usize = memory.data<u32>([0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19], 16)

const STATE: usize = memory.data(32, 16)
const TAIL: usize = memory.data(144, 16)

// ---- one message ---------------------------------------------------------------------------------------------------

/** Compresses `blocks` blocks at p into the 8 words at `state` (native words, not bytes). */
export function sha256(state: usize, p: usize, blocks: usize): void {
  let a0 = load<u32>(state)
  let b0 = load<u32>(state, 4)
  let c0 = load<u32>(state, 8)
  let d0 = load<u32>(state, 12)
  let e0 = load<u32>(state, 16)
  let f0 = load<u32>(state, 20)
  let g0 = load<u32>(state, 24)
  let h0 = load<u32>(state, 28)
  for (; blocks > 0; blocks--, p += 64) {
    let w0 = bswap<u32>(load<u32>(p))
    let w1 = bswap<u32>(load<u32>(p, 4))
    let w2 = bswap<u32>(load<u32>(p, 8))
    let w3 = bswap<u32>(load<u32>(p, 12))
    let w4 = bswap<u32>(load<u32>(p, 16))
    let w5 = bswap<u32>(load<u32>(p, 20))
    let w6 = bswap<u32>(load<u32>(p, 24))
    let w7 = bswap<u32>(load<u32>(p, 28))
    let w8 = bswap<u32>(load<u32>(p, 32))
    let w9 = bswap<u32>(load<u32>(p, 36))
    let w10 = bswap<u32>(load<u32>(p, 40))
    let w11 = bswap<u32>(load<u32>(p, 44))
    let w12 = bswap<u32>(load<u32>(p, 48))
    let w13 = bswap<u32>(load<u32>(p, 52))
    let w14 = bswap<u32>(load<u32>(p, 56))
    let w15 = bswap<u32>(load<u32>(p, 60))
    let a = a0
    let b = b0
    let c = c0
    let d = d0
    let e = e0
    let f = f0
    let g = g0
    let h = h0
    let k = K256
    while (true) {
      h = t1(h, e, f, g, w0 + load<u32>(k))
      d += h
      h += t2(a, b, c)
      g = t1(g, d, e, f, w1 + load<u32>(k, 4))
      c += g
      g += t2(h, a, b)
      f = t1(f, c, d, e, w2 + load<u32>(k, 8))
      b += f
      f += t2(g, h, a)
      e = t1(e, b, c, d, w3 + load<u32>(k, 12))
      a += e
      e += t2(f, g, h)
      d = t1(d, a, b, c, w4 + load<u32>(k, 16))
      h += d
      d += t2(e, f, g)
      c = t1(c, h, a, b, w5 + load<u32>(k, 20))
      g += c
      c += t2(d, e, f)
      b = t1(b, g, h, a, w6 + load<u32>(k, 24))
      f += b
      b += t2(c, d, e)
      a = t1(a, f, g, h, w7 + load<u32>(k, 28))
      e += a
      a += t2(b, c, d)
      h = t1(h, e, f, g, w8 + load<u32>(k, 32))
      d += h
      h += t2(a, b, c)
      g = t1(g, d, e, f, w9 + load<u32>(k, 36))
      c += g
      g += t2(h, a, b)
      f = t1(f, c, d, e, w10 + load<u32>(k, 40))
      b += f
      f += t2(g, h, a)
      e = t1(e, b, c, d, w11 + load<u32>(k, 44))
      a += e
      e += t2(f, g, h)
      d = t1(d, a, b, c, w12 + load<u32>(k, 48))
      h += d
      d += t2(e, f, g)
      c = t1(c, h, a, b, w13 + load<u32>(k, 52))
      g += c
      c += t2(d, e, f)
      b = t1(b, g, h, a, w14 + load<u32>(k, 56))
      f += b
      b += t2(c, d, e)
      a = t1(a, f, g, h, w15 + load<u32>(k, 60))
      e += a
      a += t2(b, c, d)
      k += 64
      if (k == K256 + 256) break
      w0 += s0(w1) + w9 + s1(w14)
      w1 += s0(w2) + w10 + s1(w15)
      w2 += s0(w3) + w11 + s1(w0)
      w3 += s0(w4) + w12 + s1(w1)
      w4 += s0(w5) + w13 + s1(w2)
      w5 += s0(w6) + w14 + s1(w3)
      w6 += s0(w7) + w15 + s1(w4)
      w7 += s0(w8) + w0 + s1(w5)
      w8 += s0(w9) + w1 + s1(w6)
      w9 += s0(w10) + w2 + s1(w7)
      w10 += s0(w11) + w3 + s1(w8)
      w11 += s0(w12) + w4 + s1(w9)
      w12 += s0(w13) + w5 + s1(w10)
      w13 += s0(w14) + w6 + s1(w11)
      w14 += s0(w15) + w7 + s1(w12)
      w15 += s0(w0) + w8 + s1(w13)
    }
    a0 += a
    b0 += b
    c0 += c
    d0 += d
    e0 += e
    f0 += f
    g0 += g
    h0 += h
  }
  store<u32>(state, a0)
  store<u32>(state, b0, 4)
  store<u32>(state, c0, 8)
  store<u32>(state, d0, 12)
  store<u32>(state, e0, 16)
  store<u32>(state, f0, 20)
  store<u32>(state, g0, 24)
  store<u32>(state, h0, 28)
}

/** Digest of n bytes at p to 32 bytes at out. */
export function sha256_digest(p: usize, n: usize, out: usize): void {
  v128.store(STATE, v128.load(IV))
  v128.store(STATE, v128.load(IV, 16), 16)
  const whole = n >>> 6
  sha256(STATE, p, whole)
  if (n & 63) {
    const blocks = stageTail(TAIL, p + (whole << 6), n & 63, n)
    sha256(STATE, TAIL, blocks)
  } else {
    schedulePadding(n)
    compressPadding()
  }
  for (let i: u32 = 0; i < 32; i += 4) store<u32>(out + i, bswap<u32>(load<u32>(STATE + i)))
}

// @ts-ignore: decorator
@inline
function t1(h: u32, e: u32, f: u32, g: u32, kw: u32): u32 {
  // e of the round before comes last: what does not wait for it, or less long, is added first.
  return h + kw + (g ^ (e & (f ^ g))) + (rotr<u32>(e, 6) ^ rotr<u32>(e, 11) ^ rotr<u32>(e, 25))
}

// @ts-ignore: decorator
@inline
function t2(a: u32, b: u32, c: u32): u32 {
  return ((b & c) + (a & (b ^ c))) + (rotr<u32>(a, 2) ^ rotr<u32>(a, 13) ^ rotr<u32>(a, 22))
}

// @ts-ignore: decorator
@inline
function s0(x: u32): u32 {
  return rotr<u32>(x, 7) ^ rotr<u32>(x, 18) ^ (x >>> 3)
}

// @ts-ignore: decorator
@inline
function s1(x: u32): u32 {
  return rotr<u32>(x, 17) ^ rotr<u32>(x, 19) ^ (x >>> 10)
}

/**
 * The last `rest` bytes (< 64) of a message of `total` bytes with its padding; returns 1 or 2 blocks. Writes up to 15 bytes behind them: a call of memory.fill
 * costs more than the few bytes do.
 */
function stageTail(to: usize, from: usize, rest: usize, total: usize): usize {
  const blocks: usize = rest < 56 ? 1 : 2
  const end = to + (blocks << 6)
  memory.copy(to, from, rest)
  for (let at = to + rest; at < end; at += 16) v128.store(at, i64x2(0, 0))
  store<u8>(to + rest, 0x80)
  store<u64>(end - 8, bswap<u64>((<u64>total) << 3))
  return blocks
}

// ---- the last block of a multiple of 64 bytes -----------------------------------------------------------------------

/** K + W of that block: all of it is padding, so its words, and their schedule, are known by the length alone. */
const KW: usize = memory.data(256, 16)
/** The length that KW is of; at first none. */
let scheduled: usize = 1

function schedulePadding(n: usize): void {
  if (n == scheduled) return
  scheduled = n
  store<u32>(KW, 0x80000000)
  for (let i: usize = 4; i < 56; i += 4) store<u32>(KW + i, 0)
  store<u32>(KW, <u32>((<u64>n) >> 29), 56)
  store<u32>(KW, <u32>(n << 3), 60)
  for (let i: usize = 64; i < 256; i += 4) {
    store<u32>(KW + i, s1(load<u32>(KW + i - 8)) + load<u32>(KW + i - 28) + s0(load<u32>(KW + i - 60)) + load<u32>(KW + i - 64))
  }
  for (let i: usize = 0; i < 256; i += 4) store<u32>(KW + i, load<u32>(KW + i) + load<u32>(K256 + i))
}

/** Compresses the scheduled block into STATE. */
function compressPadding(): void {
  let a = load<u32>(STATE)
  let b = load<u32>(STATE, 4)
  let c = load<u32>(STATE, 8)
  let d = load<u32>(STATE, 12)
  let e = load<u32>(STATE, 16)
  let f = load<u32>(STATE, 20)
  let g = load<u32>(STATE, 24)
  let h = load<u32>(STATE, 28)
  for (let k = KW; k < KW + 256; k += 32) {
    h = t1(h, e, f, g, load<u32>(k))
    d += h
    h += t2(a, b, c)
    g = t1(g, d, e, f, load<u32>(k, 4))
    c += g
    g += t2(h, a, b)
    f = t1(f, c, d, e, load<u32>(k, 8))
    b += f
    f += t2(g, h, a)
    e = t1(e, b, c, d, load<u32>(k, 12))
    a += e
    e += t2(f, g, h)
    d = t1(d, a, b, c, load<u32>(k, 16))
    h += d
    d += t2(e, f, g)
    c = t1(c, h, a, b, load<u32>(k, 20))
    g += c
    c += t2(d, e, f)
    b = t1(b, g, h, a, load<u32>(k, 24))
    f += b
    b += t2(c, d, e)
    a = t1(a, f, g, h, load<u32>(k, 28))
    e += a
    a += t2(b, c, d)
  }
  store<u32>(STATE, load<u32>(STATE) + a)
  store<u32>(STATE, load<u32>(STATE, 4) + b, 4)
  store<u32>(STATE, load<u32>(STATE, 8) + c, 8)
  store<u32>(STATE, load<u32>(STATE, 12) + d, 12)
  store<u32>(STATE, load<u32>(STATE, 16) + e, 16)
  store<u32>(STATE, load<u32>(STATE, 20) + f, 20)
  store<u32>(STATE, load<u32>(STATE, 24) + g, 24)
  store<u32>(STATE, load<u32>(STATE, 28) + h, 28)
}

// ---- many messages, four lanes ----------------------------------------------------------------------------------------

/** Word-major: word w of lane l at w * 16 + l * 4. */
const STATE4: usize = memory.data(128, 16)
/** Per lane 64 bytes: cursor, blocks left in place, tail blocks left, tail cursor, out, busy. */
const LANES: usize = memory.data(256, 16)
const CURSOR: usize = 0
const WHOLE: usize = 4
const TAILS: usize = 8
const TAIL_AT: usize = 12
const OUT: usize = 16
const BUSY: usize = 20
const HEAD: usize = 24
/** Per lane 64 bytes of masked first block, then 128 bytes of tail and 16 to spare. */
const STAGE_BYTES: usize = 208
const STAGE: usize = memory.data(4 * 208, 16)
/** State and stages of four messages of one length. */
const FOUR: usize = memory.data(128, 16)
const FOUR_STAGE: usize = memory.data(4 * 208, 16)

/** pairs: count x (u32 offset, u32 bytes); out: count digests of 32 bytes. */
export function sha256_batch(pairs: usize, count: u32, out: usize): void {
  run(pairs, 0, count, out, false)
}

/** Hash of the record bytes (8 .. 32 + length, `local` as 0) of the frames at p + offsets[i]; out: count x 32 bytes. */
export function record_hashes(p: usize, offsets: usize, count: u32, out: usize): void {
  run(offsets, p, count, out, true)
}

function run(list: usize, base: usize, count: u32, out: usize, frames: bool): void {
  let next: u32 = 0
  let busy: u32 = 0
  for (let lane: usize = 0; lane < 4; lane++) store<u32>(LANES + (lane << 6), 0, BUSY)
  while (true) {
    for (let lane: usize = 0; lane < 4; lane++) {
      if (load<u32>(LANES + (lane << 6), BUSY)) continue
      // Four of one length go in step and leave the lanes, which wait, to the rest.
      while (count - next >= 4 && areEqual(list, base, next, frames)) {
        four(list, base, next, out + ((<usize>next) << 5), frames)
        next += 4
      }
      if (next == count) break
      begin(lane, start(list, base, next, frames), bytes(list, base, next, frames), out + ((<usize>next) << 5), frames)
      next++
      busy++
    }
    if (busy == 0) return
    if (busy == 1 && next == count) {
      // One message left: the scalar compression is quicker than a quarter-used vector.
      for (let lane: usize = 0; lane < 4; lane++) if (load<u32>(LANES + (lane << 6), BUSY)) finishScalar(lane)
      return
    }
    compress_x4(STATE4, block(0), block(1), block(2), block(3))
    for (let lane: usize = 0; lane < 4; lane++) busy -= advance(lane)
  }
}

// @ts-ignore: decorator
@inline
function start(list: usize, base: usize, i: u32, frames: bool): usize {
  return frames ? base + load<u32>(list + ((<usize>i) << 2)) + 8 : load<u32>(list + ((<usize>i) << 3))
}

// @ts-ignore: decorator
@inline
function bytes(list: usize, base: usize, i: u32, frames: bool): usize {
  return frames ? load<u32>(start(list, base, i, true)) + 24 : load<u32>(list + ((<usize>i) << 3), 4)
}

function areEqual(list: usize, base: usize, i: u32, frames: bool): bool {
  const n = bytes(list, base, i, frames)
  return n == bytes(list, base, i + 1, frames) && n == bytes(list, base, i + 2, frames) && n == bytes(list, base, i + 3, frames)
}

/** Four messages of one length, from message i on. */
function four(list: usize, base: usize, i: u32, out: usize, frames: bool): void {
  for (let w: usize = 0; w < 8; w++) v128.store(FOUR + (w << 4), v128.load32_splat(IV + (w << 2)))
  const n = bytes(list, base, i, frames)
  let p0 = start(list, base, i, frames)
  let p1 = start(list, base, i + 1, frames)
  let p2 = start(list, base, i + 2, frames)
  let p3 = start(list, base, i + 3, frames)
  let whole = n >>> 6
  const rest = n & 63
  if (frames && whole > 0) {
    stageHead(FOUR_STAGE, p0)
    stageHead(FOUR_STAGE + STAGE_BYTES, p1)
    stageHead(FOUR_STAGE + 2 * STAGE_BYTES, p2)
    stageHead(FOUR_STAGE + 3 * STAGE_BYTES, p3)
    compress_x4(FOUR, FOUR_STAGE, FOUR_STAGE + STAGE_BYTES, FOUR_STAGE + 2 * STAGE_BYTES, FOUR_STAGE + 3 * STAGE_BYTES)
    p0 += 64
    p1 += 64
    p2 += 64
    p3 += 64
    whole--
  }
  sha256_x4(FOUR, p0, p1, p2, p3, whole)
  if (rest) {
    const end = whole << 6
    const blocks = stageTail(FOUR_STAGE, p0 + end, rest, n)
    stageTail(FOUR_STAGE + STAGE_BYTES, p1 + end, rest, n)
    stageTail(FOUR_STAGE + 2 * STAGE_BYTES, p2 + end, rest, n)
    stageTail(FOUR_STAGE + 3 * STAGE_BYTES, p3 + end, rest, n)
    if (frames && n < 64) for (let at = FOUR_STAGE; at < FOUR_STAGE + 4 * STAGE_BYTES; at += STAGE_BYTES) store<u16>(at, 0, 6)
    sha256_x4(FOUR, FOUR_STAGE, FOUR_STAGE + STAGE_BYTES, FOUR_STAGE + 2 * STAGE_BYTES, FOUR_STAGE + 3 * STAGE_BYTES, blocks)
  } else {
    schedulePadding(n)
    compressSame_x4(FOUR, KW)
  }
  digests_x4(FOUR, out)
}

/** The first block of record bytes with `local`, which is bytes 6 and 7, as 0. */
function stageHead(to: usize, p: usize): void {
  for (let i: usize = 0; i < 64; i += 16) v128.store(to + i, v128.load(p + i))
  store<u16>(to, 0, 6)
}

function begin(lane: usize, p: usize, n: usize, out: usize, masked: bool): void {
  const at = LANES + (lane << 6)
  const stage = STAGE + lane * STAGE_BYTES
  for (let w: usize = 0; w < 8; w++) store<u32>(STATE4 + (w << 4) + (lane << 2), load<u32>(IV + (w << 2)))
  const whole = n >>> 6
  const tails = stageTail(stage + 64, p + (whole << 6), n & 63, n)
  let head: u32 = 0
  if (masked) {
    if (whole > 0) {
      stageHead(stage, p)
      head = 1
    } else {
      store<u16>(stage + 64, 0, 6)
    }
  }
  store<u32>(at, p, CURSOR)
  store<u32>(at, whole, WHOLE)
  store<u32>(at, tails, TAILS)
  store<u32>(at, stage + 64, TAIL_AT)
  store<u32>(at, out, OUT)
  store<u32>(at, 1, BUSY)
  store<u32>(at, head, HEAD)
}

/** Address of the lane's next block; an idle lane chews its stage. */
// @ts-ignore: decorator
@inline
function block(lane: usize): usize {
  const at = LANES + (lane << 6)
  if (load<u32>(at, HEAD)) return STAGE + lane * STAGE_BYTES
  return load<u32>(at, WHOLE) ? load<u32>(at, CURSOR) : load<u32>(at, TAIL_AT)
}

/** Moves a lane past the block just compressed; 1 when its message is done. */
function advance(lane: usize): u32 {
  const at = LANES + (lane << 6)
  if (!load<u32>(at, BUSY)) return 0
  const whole = load<u32>(at, WHOLE)
  if (whole) {
    store<u32>(at, 0, HEAD)
    store<u32>(at, whole - 1, WHOLE)
    store<u32>(at, load<u32>(at, CURSOR) + 64, CURSOR)
    return 0
  }
  const tails = load<u32>(at, TAILS) - 1
  store<u32>(at, tails, TAILS)
  if (tails) {
    store<u32>(at, load<u32>(at, TAIL_AT) + 64, TAIL_AT)
    return 0
  }
  const out: usize = load<u32>(at, OUT)
  for (let w: usize = 0; w < 8; w++) store<u32>(out + (w << 2), bswap<u32>(load<u32>(STATE4 + (w << 4) + (lane << 2))))
  store<u32>(at, 0, BUSY)
  return 1
}

function finishScalar(lane: usize): void {
  const at = LANES + (lane << 6)
  for (let w: usize = 0; w < 8; w++) store<u32>(STATE + (w << 2), load<u32>(STATE4 + (w << 4) + (lane << 2)))
  if (load<u32>(at, HEAD)) {
    sha256(STATE, STAGE + lane * STAGE_BYTES, 1)
    sha256(STATE, load<u32>(at, CURSOR) + 64, load<u32>(at, WHOLE) - 1)
  } else {
    sha256(STATE, load<u32>(at, CURSOR), load<u32>(at, WHOLE))
  }
  sha256(STATE, load<u32>(at, TAIL_AT), load<u32>(at, TAILS))
  const out: usize = load<u32>(at, OUT)
  for (let i: u32 = 0; i < 32; i += 4) store<u32>(out + i, bswap<u32>(load<u32>(STATE + i)))
}

// ---- chain digest -------------------------------------------------------------------------------------------------------

const LINK: usize = memory.data(64, 16)
/** state (32 bytes, in and out): digest = SHA-256(digest || hashes[i]) for each i; every digest to digestsOut too, unless 0. */
export function chain_advance(state: usize, hashes: usize, count: u32, digestsOut: usize): void {
  schedulePadding(64)
  for (let i: u32 = 0; i < count; i++, hashes += 32) {
    v128.store(LINK, v128.load(state))
    v128.store(LINK, v128.load(state, 16), 16)
    v128.store(LINK, v128.load(hashes), 32)
    v128.store(LINK, v128.load(hashes, 16), 48)
    v128.store(STATE, v128.load(IV))
    v128.store(STATE, v128.load(IV, 16), 16)
    sha256(STATE, LINK, 1)
    compressPadding()
    for (let w: usize = 0; w < 32; w += 4) store<u32>(state + w, bswap<u32>(load<u32>(STATE + w)))
    if (digestsOut) {
      v128.store(digestsOut, v128.load(state))
      v128.store(digestsOut, v128.load(state, 16), 16)
      digestsOut += 32
    }
  }
}
