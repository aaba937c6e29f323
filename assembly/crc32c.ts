// crc32c.ts: CRC-32C (Castagnoli, reflected 0x82F63B78, init and final xor all ones; RFC 3720 B.4).
//
// Slice-by-16: T[k][b] is the CRC register after byte b followed by k zero bytes. Longer inputs are folded first, by sparse multiples of the polynomial
// (test/kernel/crc32c.test.ts recomputes both), which needs no carry-less multiply:
//
//   from 8 KiB    x^(8*5275) + x^(8*4508) + x^(8*2751) + 1: byte i may be pushed forward to i+767, i+2524 and i+5275; four loads per 16 bytes
//   from 576 B    x^(8*266) + x^(8*143) + x^(8*121) + x^(8*88) + x^(8*71) + 1: to i+123, i+145, i+178, i+195, i+266; six loads per 16 bytes
//
// The first leaves 5275 bytes, which go through the second; that leaves 266 for the table.
import { SCRATCH } from './memory'

const POLY: u32 = 0x82f63b78
const TABLES: usize = memory.data(16 * 256 * 4, 64)
let built: bool = false

export function crc32c_init(): void {
  if (built) return
  for (let b: u32 = 0; b < 256; b++) {
    let c = b
    for (let k = 0; k < 8; k++) c = (c >>> 1) ^ (POLY & (0 - (c & 1)))
    store<u32>(TABLES + (b << 2), c)
  }
  for (let t: usize = 1; t < 16; t++) {
    for (let b: usize = 0; b < 256; b++) {
      const prev = load<u32>(TABLES + ((t - 1) << 10) + (b << 2))
      store<u32>(TABLES + (t << 10) + (b << 2), (prev >>> 8) ^ load<u32>(TABLES + ((prev & 255) << 2)))
    }
  }
  built = true
}

// @ts-ignore: decorator
@inline
function at(table: usize, b: u32): u32 {
  return load<u32>(TABLES + (table << 10) + ((<usize>(b & 255)) << 2))
}

/** Register update over n bytes; no init or final xor. */
export function crc32c_table(state: u32, p: usize, n: usize): u32 {
  let c = state
  while (n >= 16) {
    const a = load<u32>(p) ^ c
    const b = load<u32>(p, 4)
    const d = load<u32>(p, 8)
    const e = load<u32>(p, 12)
    // What does not wait for the register is added up first: a step then takes one lookup and three xors of latency.
    const rest = at(11, b) ^ at(10, b >>> 8) ^ at(9, b >>> 16) ^ at(8, b >>> 24)
      ^ at(7, d) ^ at(6, d >>> 8) ^ at(5, d >>> 16) ^ at(4, d >>> 24)
      ^ at(3, e) ^ at(2, e >>> 8) ^ at(1, e >>> 16) ^ at(0, e >>> 24)
    c = (at(15, a) ^ at(14, a >>> 8)) ^ (at(13, a >>> 16) ^ (at(12, a >>> 24) ^ rest))
    p += 16
    n -= 16
  }
  while (n > 0) {
    c = (c >>> 8) ^ at(0, c ^ load<u8>(p))
    p++
    n--
  }
  return c
}

/** Continues from a previous finished value (0 to start); returns a finished value. */
export function crc32c(crc: u32, p: usize, n: usize): u32 {
  if (n < NEAR_BYTES_MIN) return ~crc32c_table(~crc, p, n)
  const folded = n & ~(<usize>63)
  const state = n < FOLD_BYTES_MIN ? foldNear(~crc, p, folded) : fold(~crc, p, folded)
  return ~crc32c_table(state, p + folded, n - folded)
}

const NEAR_BYTES_MIN: usize = 576
const FOLD_BYTES_MIN: usize = 8192
const NEAR: usize = 767
const MIDDLE: usize = 2524
const FAR: usize = 5275
/** FAR rounded down to 64. */
const FAR_FOLDED: usize = 5248
/** FAR rounded up to 16: what stays in front of the window between steps. */
const HISTORY: usize = 5280
/** Multiple of 64; HISTORY + STEP <= SCRATCH_BYTES, and the window stays in the first-level cache. */
const STEP: usize = 16384

/** Register after n bytes (a multiple of 64, >= FOLD_BYTES_MIN). q[i] = data[i] ^ q[i-767] ^ q[i-2524] ^ q[i-5275]; q before the start is 0. */
function fold(state: u32, p: usize, n: usize): u32 {
  const end = p + n
  const window = SCRATCH + HISTORY
  memory.fill(SCRATCH, 0, HISTORY)
  // The register goes into the first 4 bytes.
  let first = i32x4(0, 0, 0, 0)
  first = i32x4.replace_lane(first, 0, state)
  while (p < end) {
    const size = end - p < STEP ? end - p : STEP
    const stop = window + size
    for (let q = window; q < stop; q += 64, p += 64) {
      v128.store(q, v128.xor(v128.xor(first, v128.load(p)), v128.xor(v128.xor(v128.load(q - NEAR), v128.load(q - MIDDLE)), v128.load(q - FAR))))
      first = i32x4(0, 0, 0, 0)
      tap(q + 16, p + 16)
      tap(q + 32, p + 32)
      tap(q + 48, p + 48)
    }
    memory.copy(SCRATCH, SCRATCH + size, HISTORY)
  }
  // In the last FAR bytes take back what was pushed from within them: r[j] = q[j] ^ q[j-767] ^ q[j-2524], sources in the window only.
  const q = SCRATCH + HISTORY - FAR
  const r = SCRATCH + 8192
  memory.copy(r, q, NEAR)
  // 16 at a time; a step past MIDDLE or FAR writes bytes that the next loop or nobody reads.
  for (let j = NEAR; j < MIDDLE; j += 16) v128.store(r + j, v128.xor(v128.load(q + j), v128.load(q + j - NEAR)))
  for (let j = MIDDLE; j < FAR; j += 16) {
    v128.store(r + j, v128.xor(v128.xor(v128.load(q + j), v128.load(q + j - NEAR)), v128.load(q + j - MIDDLE)))
  }
  return crc32c_table(foldNear(0, r, FAR_FOLDED), r + FAR_FOLDED, FAR - FAR_FOLDED)
}

// @ts-ignore: decorator
@inline
function tap(q: usize, p: usize): void {
  v128.store(q, v128.xor(v128.load(p), v128.xor(v128.xor(v128.load(q - NEAR), v128.load(q - MIDDLE)), v128.load(q - FAR))))
}

const N1: usize = 123
const N2: usize = 145
const N3: usize = 178
const N4: usize = 195
const N5: usize = 266
/** N5 rounded up to 16: zeros in front of the window. */
const NEAR_HISTORY: usize = 272
/** Behind everything that `fold` uses, whose last bytes come through here too. */
const NEAR_WINDOW: usize = SCRATCH + 22016 + NEAR_HISTORY

/** Register after n bytes (a multiple of 64, 320 .. FOLD_BYTES_MIN): five sources at most 266 bytes back, so that little is left for the table. */
function foldNear(state: u32, p: usize, n: usize): u32 {
  memory.fill(NEAR_WINDOW - NEAR_HISTORY, 0, NEAR_HISTORY)
  let first = i32x4.replace_lane(i32x4(0, 0, 0, 0), 0, state)
  const end = NEAR_WINDOW + n
  for (let q = NEAR_WINDOW; q < end; q += 64, p += 64) {
    v128.store(q, v128.xor(first, near(v128.load(p), q)))
    first = i32x4(0, 0, 0, 0)
    v128.store(q, near(v128.load(p, 16), q + 16), 16)
    v128.store(q, near(v128.load(p, 32), q + 32), 32)
    v128.store(q, near(v128.load(p, 48), q + 48), 48)
  }
  // In the last N5 bytes take back what was pushed from within them: the same sum with zeros in front, out of place, the furthest source left out.
  const r = SCRATCH + 512
  const w = SCRATCH + NEAR_HISTORY
  memory.fill(SCRATCH + NEAR_HISTORY - 208, 0, 208)
  memory.copy(w, end - N5, N5)
  for (let j: usize = 0; j < N5; j += 16) {
    const q = w + j
    v128.store(r + 64 + j, v128.xor(v128.xor(v128.load(q), v128.load(q - N1)), v128.xor(v128.xor(v128.load(q - N2), v128.load(q - N3)), v128.load(q - N4))))
  }
  return crc32c_table(0, r + 64, N5)
}

// @ts-ignore: decorator
@inline
function near(data: v128, q: usize): v128 {
  const a = v128.xor(v128.load(q - N1), v128.load(q - N2))
  const b = v128.xor(v128.load(q - N3), v128.load(q - N4))
  return v128.xor(v128.xor(data, v128.load(q - N5)), v128.xor(a, b))
}

/** CRC of A followed by B (n bytes): the register of A is carried over n zero bytes by squaring, then B's is added. */
export function crc32c_combine(a: u32, b: u32, n: u32): u32 {
  return shifted(a, n) ^ b
}

/** a * x^(8n) modulo the polynomial, bit-reflected. */
function shifted(a: u32, n: u32): u32 {
  // power = x^8, x^16, x^32, ... in reflected form: x^0 is bit 31.
  let power: u32 = 1 << 23
  while (n) {
    if (n & 1) a = multiply(a, power)
    power = multiply(power, power)
    n >>>= 1
  }
  return a
}

function multiply(a: u32, b: u32): u32 {
  let product: u32 = 0
  for (let bit = 0; bit < 32; bit++) {
    product ^= b & (0 - (a >>> 31))
    a <<= 1
    b = (b >>> 1) ^ (POLY & (0 - (b & 1)))
  }
  return product
}
