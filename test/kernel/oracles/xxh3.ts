// oracles/xxh3.ts: XXH3-64 and XXH32 from their specification, in BigInt, one byte at a time where it matters. Slow and plain.

const MASK = (1n << 64n) - 1n
const P32_1 = 0x9e3779b1n
const P32_2 = 0x85ebca77n
const P32_3 = 0xc2b2ae3dn
const P64_1 = 0x9e3779b185ebca87n
const P64_2 = 0xc2b2ae3d27d4eb4fn
const P64_3 = 0x165667b19e3779f9n
const P64_4 = 0x85ebca77c2b2ae63n
const P64_5 = 0x27d4eb2f165667c5n
const MX1 = 0x165667919e3779f9n
const MX2 = 0x9fb21c651e98df25n

const SECRET = bytesOf(
  'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f' +
    'cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c' +
    '3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8' +
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364' +
    'eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e' +
    '2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
)

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g)!, (pair) => Number.parseInt(pair, 16))
}

function read(bytes: Uint8Array, at: number, width: number): bigint {
  let value = 0n
  for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i]!)
  return value
}

const rotl = (x: bigint, n: bigint): bigint => ((x << n) | (x >> (64n - n))) & MASK
const swap = (x: bigint, width: number): bigint => {
  let out = 0n
  for (let i = 0; i < width; i++) out = (out << 8n) | ((x >> BigInt(8 * i)) & 255n)
  return out
}
const fold = (a: bigint, b: bigint): bigint => {
  const product = a * b
  return (product & MASK) ^ (product >> 64n)
}
const avalanche = (h: bigint): bigint => {
  h = ((h ^ (h >> 37n)) * MX1) & MASK
  return h ^ (h >> 32n)
}
const avalanche64 = (h: bigint): bigint => {
  h = ((h ^ (h >> 33n)) * P64_2) & MASK
  h = ((h ^ (h >> 29n)) * P64_3) & MASK
  return h ^ (h >> 32n)
}
const mix16 = (p: Uint8Array, at: number, s: number, seed: bigint): bigint =>
  fold(read(p, at, 8) ^ ((read(SECRET, s, 8) + seed) & MASK), read(p, at + 8, 8) ^ ((read(SECRET, s + 8, 8) - seed) & MASK))

export function oracleXxh3(p: Uint8Array, seed = 0n): bigint {
  const n = p.length
  const N = BigInt(n)
  if (n === 0) return avalanche64(seed ^ read(SECRET, 56, 8) ^ read(SECRET, 64, 8))
  if (n <= 3) {
    const combined = (BigInt(p[0]!) << 16n) | (BigInt(p[n >> 1]!) << 24n) | BigInt(p[n - 1]!) | (N << 8n)
    return avalanche64(combined ^ (((read(SECRET, 0, 4) ^ read(SECRET, 4, 4)) + seed) & MASK))
  }
  if (n <= 8) {
    const s = seed ^ (swap(seed & 0xffffffffn, 4) << 32n)
    let h = (read(p, n - 4, 4) + (read(p, 0, 4) << 32n)) ^ (((read(SECRET, 8, 8) ^ read(SECRET, 16, 8)) - s) & MASK)
    h ^= rotl(h, 49n) ^ rotl(h, 24n)
    h = (h * MX2) & MASK
    h ^= ((h >> 35n) + N) & MASK
    h = (h * MX2) & MASK
    return h ^ (h >> 28n)
  }
  if (n <= 16) {
    const lo = read(p, 0, 8) ^ (((read(SECRET, 24, 8) ^ read(SECRET, 32, 8)) + seed) & MASK)
    const hi = read(p, n - 8, 8) ^ (((read(SECRET, 40, 8) ^ read(SECRET, 48, 8)) - seed) & MASK)
    return avalanche((N + swap(lo, 8) + hi + fold(lo, hi)) & MASK)
  }
  if (n <= 128) {
    let acc = (N * P64_1) & MASK
    for (let i = (n - 1) >> 5; i >= 0; i--) acc += mix16(p, 16 * i, 32 * i, seed) + mix16(p, n - 16 * (i + 1), 32 * i + 16, seed)
    return avalanche(acc & MASK)
  }
  if (n <= 240) {
    let acc = (N * P64_1) & MASK
    for (let i = 0; i < 8; i++) acc += mix16(p, 16 * i, 16 * i, seed)
    acc = avalanche(acc & MASK)
    for (let i = 8; i < n >> 4; i++) acc += mix16(p, 16 * i, 16 * (i - 8) + 3, seed)
    acc += mix16(p, n - 16, 136 - 17, seed)
    return avalanche(acc & MASK)
  }
  return long(p, seed)
}

function long(p: Uint8Array, seed: bigint): bigint {
  const n = p.length
  const secret = new Uint8Array(192)
  const view = new DataView(secret.buffer)
  for (let i = 0; i < 192; i += 16) {
    view.setBigUint64(i, (read(SECRET, i, 8) + seed) & MASK, true)
    view.setBigUint64(i + 8, (read(SECRET, i + 8, 8) - seed) & MASK, true)
  }
  const acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
  const stripe = (at: number, s: number): void => {
    for (let lane = 0; lane < 8; lane++) {
      const value = read(p, at + 8 * lane, 8)
      const key = value ^ read(secret, s + 8 * lane, 8)
      acc[lane ^ 1] = (acc[lane ^ 1]! + value) & MASK
      acc[lane] = (acc[lane]! + (key & 0xffffffffn) * (key >> 32n)) & MASK
    }
  }
  const stripes = (n - 1) >> 6
  for (let i = 0; i < stripes; i++) {
    stripe(64 * i, 8 * (i % 16))
    if (i % 16 === 15)
      for (let lane = 0; lane < 8; lane++) acc[lane] = (((acc[lane]! ^ (acc[lane]! >> 47n) ^ read(secret, 128 + 8 * lane, 8)) & MASK) * P32_1) & MASK
  }
  stripe(n - 64, 121)
  let result = (BigInt(n) * P64_1) & MASK
  for (let i = 0; i < 4; i++) result += fold(acc[2 * i]! ^ read(secret, 11 + 16 * i, 8), acc[2 * i + 1]! ^ read(secret, 19 + 16 * i, 8))
  return avalanche(result & MASK)
}

/** XXH32, seed 0. */
export function oracleXxh32(p: Uint8Array): number {
  const rot = (x: number, n: number): number => (x << n) | (x >>> (32 - n))
  const word = (at: number): number => Number(read(p, at, 4)) | 0
  const [p1, p2, p3, p4, p5] = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1] as const
  let at = 0
  let h: number = p5
  if (p.length >= 16) {
    const lanes = [(p1 + p2) | 0, p2, 0, -p1 | 0]
    for (; at + 16 <= p.length; at += 16) for (let i = 0; i < 4; i++) lanes[i] = Math.imul(rot(lanes[i]! + Math.imul(word(at + 4 * i), p2), 13), p1)
    h = rot(lanes[0]!, 1) + rot(lanes[1]!, 7) + rot(lanes[2]!, 12) + rot(lanes[3]!, 18)
  }
  h = (h + p.length) | 0
  for (; at + 4 <= p.length; at += 4) h = Math.imul(rot((h + Math.imul(word(at), p3)) | 0, 17), p4)
  for (; at < p.length; at++) h = Math.imul(rot((h + Math.imul(p[at]!, p5)) | 0, 11), p1)
  h = Math.imul(h ^ (h >>> 15), p2)
  h = Math.imul(h ^ (h >>> 13), p3)
  return (h ^ (h >>> 16)) >>> 0
}
