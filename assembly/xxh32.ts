// xxh32.ts: XXH32 (xxHash spec, "XXH32 algorithm"), the checksum of LZ4 frame headers, blocks and content.
const P1: u32 = 0x9e3779b1
const P2: u32 = 0x85ebca77
const P3: u32 = 0xc2b2ae3d
const P4: u32 = 0x27d4eb2f
const P5: u32 = 0x165667b1

export function xxh32(p: usize, n: usize, seed: u32): u32 {
  const end = p + n
  let h: u32
  if (n >= 16) {
    let a = seed + P1 + P2
    let b = seed + P2
    let c = seed
    let d = seed - P1
    const stop = end - 16
    do {
      a = rotl<u32>(a + load<u32>(p) * P2, 13) * P1
      b = rotl<u32>(b + load<u32>(p, 4) * P2, 13) * P1
      c = rotl<u32>(c + load<u32>(p, 8) * P2, 13) * P1
      d = rotl<u32>(d + load<u32>(p, 12) * P2, 13) * P1
      p += 16
    } while (p <= stop)
    h = rotl<u32>(a, 1) + rotl<u32>(b, 7) + rotl<u32>(c, 12) + rotl<u32>(d, 18)
  } else {
    h = seed + P5
  }
  h += <u32>n
  for (; end - p >= 4; p += 4) h = rotl<u32>(h + load<u32>(p) * P3, 17) * P4
  for (; p < end; p++) h = rotl<u32>(h + (<u32>load<u8>(p)) * P5, 11) * P1
  h ^= h >>> 15
  h *= P2
  h ^= h >>> 13
  h *= P3
  return h ^ (h >>> 16)
}
