// arrow-pair.ts: two sorted runs of one u64 key as row numbers, in one pass: nothing but the rows is written.
//
// The keys of both runs lie in one column, by row: a row number is a place, so a step moves one number on, and the other side's place follows from how many rows
// are out. A step still waits for the one before it (load, compare, choose: nine cycles), so the output is cut in four parts (where each begins in a and b is
// found by bisection: "merge path", Odeh and others 2012), merged in lockstep without a branch on keys, and without a look at the ends for as many steps as the
// shortest side has rows.

/** Rows [a, a + an) and [b, b + bn): how many of a are among the first `count` rows of their merge. */
function cut(keys: usize, a: u32, an: u32, b: u32, bn: u32, count: u32): u32 {
  let low: u32 = count > bn ? count - bn : 0
  let high = min<u32>(an, count)
  while (low < high) {
    const mid = (low + high) >> 1
    if (load<u64>(keys + (<usize>(b + count - mid - 1) << 3)) < load<u64>(keys + (<usize>(a + mid) << 3))) high = mid
    else low = mid + 1
  }
  return low
}

/** One step at the rows at address a and `sum` - a; returns the next a. */
@inline
function step(keys: usize, a: usize, sum: usize, out: usize, ties: usize): usize {
  const b = sum - a
  const x = load<u64>(a)
  const y = load<u64>(b)
  store<u32>(out, <u32>((select<usize>(b, a, y < x) - keys) >> 3))
  if (x == y && ties) tie(ties, out)
  return select<usize>(a, a + 8, y < x)
}

/** Notes where a row of a is put that equals one of b: ties[0] = how many are noted. */
function tie(ties: usize, out: usize): void {
  const count = load<u32>(ties)
  store<u32>(ties + (<usize>count << 2), <u32>out, 4)
  store<u32>(ties, count + 1)
}

/** What is left of one part: rows at [a, aEnd) and [b, bEnd); b goes on until bLast. */
function finish(keys: usize, a: usize, aEnd: usize, b: usize, bEnd: usize, bLast: usize, out: usize, ties: usize): void {
  while (a < aEnd && b < bEnd) {
    const next = step(keys, a, a + b, out, ties)
    b += 8 - (next - a)
    a = next
    out += 4
  }
  while (a < aEnd) {
    if (ties && b < bLast && load<u64>(a) == load<u64>(b)) tie(ties, out)
    store<u32>(out, <u32>((a - keys) >> 3))
    a += 8
    out += 4
  }
  while (b < bEnd) {
    store<u32>(out, <u32>((b - keys) >> 3))
    b += 8
    out += 4
  }
}

/**
 * Merges rows [a, a + an) and [b, b + bn), whose keys lie at keys + 8 * row, a first on ties: an + bn row numbers to `out`.
 * `ties` (0 = none wanted): room for 1 + an u32: the number of rows of a whose key is one of b's, and where in `out` they are, in no order.
 */
export function merge_pair(keys: usize, a: u32, an: u32, b: u32, bn: u32, out: usize, ties: usize): void {
  if (ties) store<u32>(ties, 0)
  const quarter = (an + bn) >> 2
  const i1 = cut(keys, a, an, b, bn, quarter)
  const i2 = cut(keys, a, an, b, bn, quarter * 2)
  const i3 = cut(keys, a, an, b, bn, quarter * 3)
  let a0 = keys + (<usize>a << 3)
  const b0 = keys + (<usize>b << 3)
  let a1 = a0 + (<usize>i1 << 3)
  let a2 = a0 + (<usize>i2 << 3)
  let a3 = a0 + (<usize>i3 << 3)
  const aEnd0 = a1
  const aEnd1 = a2
  const aEnd2 = a3
  const aEnd3 = a0 + (<usize>an << 3)
  const bEnd0 = b0 + (<usize>(quarter - i1) << 3)
  const bEnd1 = b0 + (<usize>(quarter * 2 - i2) << 3)
  const bEnd2 = b0 + (<usize>(quarter * 3 - i3) << 3)
  const bEnd3 = b0 + (<usize>bn << 3)
  // The sum of both addresses of a part grows by one row at each step.
  let s0 = a0 + b0
  let s1 = a1 + bEnd0
  let s2 = a2 + bEnd1
  let s3 = a3 + bEnd2
  const away = <usize>quarter << 2
  while (true) {
    const left = min<usize>(
      min<usize>(min<usize>(aEnd0 - a0, bEnd0 + a0 - s0), min<usize>(aEnd1 - a1, bEnd1 + a1 - s1)),
      min<usize>(min<usize>(aEnd2 - a2, bEnd2 + a2 - s2), min<usize>(aEnd3 - a3, bEnd3 + a3 - s3)),
    )
    if (!left) break
    for (const stop = s0 + left; s0 < stop; s0 += 8) {
      a0 = step(keys, a0, s0, out, ties)
      a1 = step(keys, a1, s1, out + away, ties)
      a2 = step(keys, a2, s2, out + away * 2, ties)
      a3 = step(keys, a3, s3, out + away * 3, ties)
      s1 += 8
      s2 += 8
      s3 += 8
      out += 4
    }
  }
  finish(keys, a0, aEnd0, s0 - a0, bEnd0, bEnd3, out, ties)
  finish(keys, a1, aEnd1, s1 - a1, bEnd1, bEnd3, out + away, ties)
  finish(keys, a2, aEnd2, s2 - a2, bEnd2, bEnd3, out + away * 2, ties)
  finish(keys, a3, aEnd3, s3 - a3, bEnd3, bEnd3, out + away * 3, ties)
}
