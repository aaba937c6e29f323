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

/** Rows a and b of a var column. */
@inline
export function compare_rows(offsets: usize, data: usize, a: u32, b: u32): i32 {
  const pa = offsets + (<usize>a << 2)
  const pb = offsets + (<usize>b << 2)
  const fa = load<u32>(pa)
  const fb = load<u32>(pb)
  return bytes_compare(data + fa, load<u32>(pa, 4) - fa, data + fb, load<u32>(pb, 4) - fb)
}

/** The same for rows whose first `shared` + 8 bytes, zero-padded behind `shared`, are equal. */
@inline
export function compare_tied(offsets: usize, data: usize, shared: u32, a: u32, b: u32): i32 {
  const pa = offsets + (<usize>a << 2)
  const pb = offsets + (<usize>b << 2)
  const fa = load<u32>(pa) + shared
  const fb = load<u32>(pb) + shared
  const an = load<u32>(pa, 4) - fa
  const bn = load<u32>(pb, 4) - fb
  // A row of less than eight bytes equals the other's prefix but for zeros at the end: the shorter one comes first.
  if (min<u32>(an, bn) < 8) return <i32>(an > bn) - <i32>(an < bn)
  return bytes_compare(data + fa + 8, an - 8, data + fb + 8, bn - 8)
}
