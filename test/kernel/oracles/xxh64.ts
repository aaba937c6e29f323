// oracles/xxh64.ts: XXH64 from its specification (xxHash doc/xxhash_spec.md), in BigInt. Slow and plain.

const MASK = (1n << 64n) - 1n
const P1 = 0x9e3779b185ebca87n
const P2 = 0xc2b2ae3d27d4eb4fn
const P3 = 0x165667b19e3779f9n
const P4 = 0x85ebca77c2b2ae63n
const P5 = 0x27d4eb2f165667c5n

function read(bytes: Uint8Array, at: number, width: number): bigint {
  let value = 0n
  for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i]!)
  return value
}

const rotl = (x: bigint, bits: bigint): bigint => ((x << bits) | (x >> (64n - bits))) & MASK
const round = (acc: bigint, lane: bigint): bigint => (rotl((acc + lane * P2) & MASK, 31n) * P1) & MASK

export function oracleXxh64(bytes: Uint8Array, seed = 0n): bigint {
  const n = bytes.length
  let at = 0
  let hash = (seed + P5) & MASK
  if (n >= 32) {
    const lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed & MASK, (seed - P1) & MASK]
    for (; at + 32 <= n; at += 32) for (let i = 0; i < 4; i++) lanes[i] = round(lanes[i]!, read(bytes, at + 8 * i, 8))
    hash = (rotl(lanes[0]!, 1n) + rotl(lanes[1]!, 7n) + rotl(lanes[2]!, 12n) + rotl(lanes[3]!, 18n)) & MASK
    for (const lane of lanes) hash = ((hash ^ round(0n, lane)) * P1 + P4) & MASK
  }
  hash = (hash + BigInt(n)) & MASK
  for (; at + 8 <= n; at += 8) hash = (rotl(hash ^ round(0n, read(bytes, at, 8)), 27n) * P1 + P4) & MASK
  if (at + 4 <= n) {
    hash = (rotl(hash ^ ((read(bytes, at, 4) * P1) & MASK), 23n) * P2 + P3) & MASK
    at += 4
  }
  for (; at < n; at++) hash = (rotl(hash ^ ((BigInt(bytes[at]!) * P5) & MASK), 11n) * P1) & MASK
  hash = ((hash ^ (hash >> 33n)) * P2) & MASK
  hash = ((hash ^ (hash >> 29n)) * P3) & MASK
  return hash ^ (hash >> 32n)
}
