// key-search.ts: many 64-bit integers in one strictly ascending column of them.
//
// Each search goes on from where the last one ended: doubling steps until the key is passed, then a bisection of what lies between. Keys that ascend too
// walk the column once; any other order costs a bisection each.

/** The first row that is not less. Rows below `low` are less, rows from `high` on are greater or equal. */
// @ts-ignore: decorator
@inline
function bisect(column: usize, low: u32, high: u32, key: i64, bias: i64): u32 {
  while (low < high) {
    const mid = (low + high) >>> 1
    const less = <u32>((load<i64>(column + (<usize>mid << 3)) ^ bias) < key)
    low = select<u32>(mid + 1, low, less)
    high = select<u32>(high, mid, less)
  }
  return low
}

/**
 * out[i] = the row of keys[i] in the column of n rows, or 0xFFFFFFFF. Both are u64, ordered as signed or unsigned; the column ascends strictly (else a key
 * may be missed, nothing more). Returns the number found. Writes count u32.
 */
export function search_words(column: usize, n: u32, signed: u32, keys: usize, count: u32, out: usize): u32 {
  const bias: i64 = signed ? 0 : i64.MIN_VALUE
  let found: u32 = 0
  let at: u32 = 0
  for (const end = keys + (<usize>count << 3); keys < end; keys += 8, out += 4) {
    const key = load<i64>(keys) ^ bias
    let low = at
    let high = n
    if (low < n && (load<i64>(column + (<usize>low << 3)) ^ bias) < key) {
      for (let step: u32 = 1; step < n - low; step <<= 1) {
        if ((load<i64>(column + (<usize>(low + step) << 3)) ^ bias) >= key) {
          high = low + step
          break
        }
        low += step
      }
      low++
    } else {
      high = low
      if (low && (load<i64>(column + (<usize>(low - 1) << 3)) ^ bias) >= key) low = 0
    }
    at = bisect(column, low, high, key, bias)
    const hit = at < n && (load<i64>(column + (<usize>at << 3)) ^ bias) == key
    store<u32>(out, hit ? at : 0xffffffff)
    found += <u32>hit
  }
  return found
}
