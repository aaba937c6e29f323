// bytes.ts: comparing byte strings as unsigned bytes, eight at a time.
//
// Little-endian words are swapped so that integer order is byte order. Both strings must be readable 7 bytes past their ends.

/** The first min(n, 8) bytes as a big-endian number, zero-padded at the low end. */
@inline
export function prefix64(p: usize, n: u32): u64 {
  const x = load<u64>(p)
  if (n >= 8) return bswap<u64>(x)
  return n ? bswap<u64>(x & ((<u64>1 << (<u64>n << 3)) - 1)) : 0
}

/** -1, 0 or 1: a against b, a shorter string before its extensions. */
export function bytes_compare(a: usize, an: u32, b: usize, bn: u32): i32 {
  let n = min<u32>(an, bn)
  while (n >= 8) {
    const x = load<u64>(a)
    const y = load<u64>(b)
    if (x != y) return bswap<u64>(x) < bswap<u64>(y) ? -1 : 1
    a += 8
    b += 8
    n -= 8
  }
  if (n) {
    // The bytes behind the n-th are shifted out.
    const away = (8 - <u64>n) << 3
    const x = load<u64>(a) << away
    const y = load<u64>(b) << away
    if (x != y) return bswap<u64>(x) < bswap<u64>(y) ? -1 : 1
  }
  return an == bn ? 0 : an < bn ? -1 : 1
}

/** Whether two byte strings of n bytes are equal. */
@inline
export function bytes_equal(a: usize, b: usize, n: u32): bool {
  while (n >= 8) {
    if (load<u64>(a) != load<u64>(b)) return false
    a += 8
    b += 8
    n -= 8
  }
  return !n || (load<u64>(a) ^ load<u64>(b)) << ((8 - <u64>n) << 3) == 0
}
