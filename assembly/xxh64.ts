// xxh64.ts: XXH64 with seed (xxHash doc/xxhash_spec.md "XXH64"): the hash of Parquet's filters. varve's own keys hash with XXH3 (xxh3.ts).
//
// Four 64-bit accumulators over stripes of 32 bytes, then words, a half word and bytes. Wasm has no 64-bit lane product wider than two, and the four
// accumulators already run side by side, so this stays scalar.
// Invariant: no byte outside p .. p+n is read.

const P1: u64 = 0x9e3779b185ebca87
const P2: u64 = 0xc2b2ae3d27d4eb4f
const P3: u64 = 0x165667b19e3779f9
const P4: u64 = 0x85ebca77c2b2ae63
const P5: u64 = 0x27d4eb2f165667c5

// @ts-ignore: decorator
@inline
function step(acc: u64, input: u64): u64 {
  return rotl<u64>(acc + input * P2, 31) * P1
}

// @ts-ignore: decorator
@inline
function join(h: u64, acc: u64): u64 {
  return (h ^ step(0, acc)) * P1 + P4
}

// @ts-ignore: decorator
@inline
function finish(h: u64): u64 {
  h ^= h >>> 33
  h *= P2
  h ^= h >>> 29
  h *= P3
  return h ^ (h >>> 32)
}

function hash64(p: usize, n: usize, seed: u64): u64 {
  const end = p + n
  let h: u64
  if (n >= 32) {
    let a = seed + P1 + P2
    let b = seed + P2
    let c = seed
    let d = seed - P1
    for (const last = end - 32; p <= last; p += 32) {
      a = step(a, load<u64>(p))
      b = step(b, load<u64>(p, 8))
      c = step(c, load<u64>(p, 16))
      d = step(d, load<u64>(p, 24))
    }
    h = join(join(join(join(rotl<u64>(a, 1) + rotl<u64>(b, 7) + rotl<u64>(c, 12) + rotl<u64>(d, 18), a), b), c), d)
  } else {
    h = seed + P5
  }
  h += <u64>n
  for (; p + 8 <= end; p += 8) h = rotl<u64>(h ^ step(0, load<u64>(p)), 27) * P1 + P4
  if (p + 4 <= end) {
    h = rotl<u64>(h ^ (<u64>load<u32>(p) * P1), 23) * P2 + P3
    p += 4
  }
  for (; p < end; p++) h = rotl<u64>(h ^ (<u64>load<u8>(p) * P5), 11) * P1
  return finish(h)
}

/** Hash of n bytes at p to 8 bytes at out. */
export function xxh64(p: usize, n: usize, seedLo: u32, seedHi: u32, out: usize): void {
  store<u64>(out, hash64(p, n, <u64>seedLo | (<u64>seedHi << 32)))
}

/** n values of `width` bytes back to back at p, each hashed as its bytes, seed 0; out: n u64. */
export function xxh64_fixed(p: usize, width: u32, n: u32, out: usize): void {
  for (const end = out + ((<usize>n) << 3); out < end; out += 8, p += width) store<u64>(out, hash64(p, width, 0))
}

/** n values of a var column, seed 0: int32 offsets (n + 1) into data; out: n u64. */
export function xxh64_var(offsets: usize, data: usize, n: u32, out: usize): void {
  for (const end = out + ((<usize>n) << 3); out < end; out += 8, offsets += 4) {
    const start = load<u32>(offsets)
    store<u64>(out, hash64(data + start, load<u32>(offsets, 4) - start, 0))
  }
}
