// arrow-merge.ts: merging sorted runs, and composite keys as byte strings so that they merge like any other.
//
// Keys are the u64 columns of arrow-sort.ts, or those of keys_behind; rows are u32 indices; a run is (keys, rows, count). Stable: a before b on ties. The caller has put nulls
// aside or encoded them, and has asked keys_descent or keys_behind whether the runs ascend. Two runs of whole rows: arrow-pair.ts.
import { valid } from './arrow-bits'
import { compare_tied, prefix64 } from './bytes'

/** The first i in 1..n-1 with keys[i] < keys[i - 1], or n. */
export function keys_descent(keys: usize, n: u32): u32 {
  if (!n) return 0
  let before = load<u64>(keys)
  for (let i: u32 = 1; i < n; i++) {
    const key = load<u64>(keys + (<usize>i << 3))
    if (key < before) return i
    before = key
  }
  return n
}

const SIGN: u64 = <u64>1 << 63

/** By number of bytes: the mask of the low ones. */
const MASKS: usize = memory.data<u64>([
  0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff, 0xffffffffffffffff,
], 16)

@inline
function words(p: usize, q: usize): v128 {
  return v128.load64_lane(q, v128.load64_zero(p), 1)
}

@inline
function maskAt(bytes: u32): usize {
  return MASKS + (<usize>min<u32>(bytes, 8) << 3)
}

/** Whether n > 8 bytes are equal, of which the first eight are known to be. */
@inline
function equalBehind(a: usize, b: usize, n: u32): bool {
  const end = <usize>n
  if (n <= 16) return load<u64>(a + end - 8) == load<u64>(b + end - 8)
  let differ = v128.xor(v128.load(a + end - 16), v128.load(b + end - 16))
  for (let at: usize = 8; at + 16 < end; at += 16) differ = v128.or(differ, v128.xor(v128.load(a + at), v128.load(b + at)))
  return !v128.any_true(differ)
}

/**
 * Keys of `n` rows of a var column: the eight bytes behind the first `shared`, as a big-endian number.
 * Returns the first i whose row does not begin with the `shared` bytes at `like`, or is less than the row before it, or n; keys before it are written.
 */
export function keys_behind(offsets: usize, data: usize, like: usize, shared: u32, n: u32, keys: usize): u32 {
  const sign = i64x2.splat(SIGN)
  const headMask = load<u64>(maskAt(shared))
  const head = load<u64>(like) & headMask
  const headMasks = i64x2.splat(headMask)
  const heads = i64x2.splat(head)
  // The row before the next one, in lane 1, its sign bit turned: signed order is then the keys' order.
  let before = sign
  let i: u32 = 0
  while (i < n) {
    if (i + 2 <= n) {
      const at = offsets + (<usize>i << 2)
      const start = load<u32>(at)
      const middle = load<u32>(at, 4)
      const p = data + start
      const q = data + middle
      const pn = middle - start - shared
      const qn = load<u32>(at, 8) - middle - shared
      if (<i32>(pn | qn) >= 0) {
        const x = v128.and(words(p + shared, q + shared), words(maskAt(pn), maskAt(qn)))
        const pair = i8x16.shuffle(x, x, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8)
        const now = v128.xor(pair, sign)
        // Two rows that ascend, and begin as they should, are done; what else they may be is told below.
        let plain = i64x2.gt_s(now, i64x2.shuffle(before, now, 1, 2))
        if (shared) plain = v128.and(plain, i64x2.eq(v128.and(words(p, q), headMasks), heads))
        if (i64x2.bitmask(plain) == 3 && (shared <= 8 || (equalBehind(p, like, shared) && equalBehind(q, like, shared)))) {
          v128.store(keys + (<usize>i << 3), pair)
          before = now
          i += 2
          continue
        }
      }
    }
    for (const stop = min<u32>(i + 2, n); i < stop; i++) {
      const at = offsets + (<usize>i << 2)
      const p = data + load<u32>(at)
      const size = load<u32>(at, 4) - load<u32>(at)
      if (size < shared || (load<u64>(p) & headMask) != head) return i
      if (shared > 8 && !equalBehind(p, like, shared)) return i
      const key = prefix64(p + shared, size - shared)
      const last = <u64>i64x2.extract_lane(before, 1) ^ SIGN
      if (i && (key < last || (key == last && compare_tied(at - 4, data, shared, 0, 1) > 0))) return i
      store<u64>(keys + (<usize>i << 3), key)
      before = i64x2.splat(key ^ SIGN)
    }
  }
  return n
}

/** Whether the row at bi, of key y, comes before the row at ai, of key x. No offsets: keys alone decide. */
@inline
function precedes(offsets: usize, data: usize, shared: u32, x: u64, ai: usize, y: u64, bi: usize): usize {
  if (offsets && x == y) return <usize>(compare_tied(offsets, data, shared, load<u32>(bi), load<u32>(ai)) < 0)
  return <usize>(y < x)
}

/** Merges until one side is used up, then copies the other. No branch depends on keys that differ. */
function mergeOne(offsets: usize, data: usize, shared: u32, ak: usize, ai: usize, aEnd: usize, bk: usize, bi: usize, bEnd: usize, ok: usize, oi: usize): void {
  while (ak < aEnd && bk < bEnd) {
    const a = load<u64>(ak)
    const b = load<u64>(bk)
    const second = precedes(offsets, data, shared, a, ai, b, bi)
    const first = second ^ 1
    store<u64>(ok, select<u64>(b, a, <bool>second))
    store<u32>(oi, load<u32>(select<usize>(bi, ai, <bool>second)))
    ok += 8
    oi += 4
    ak += first << 3
    ai += first << 2
    bk += second << 3
    bi += second << 2
  }
  const rest = aEnd - ak
  memory.copy(ok, ak, rest)
  memory.copy(oi, ai, rest >> 1)
  memory.copy(ok + rest, bk, bEnd - bk)
  memory.copy(oi + (rest >> 1), bi, (bEnd - bk) >> 1)
}

/**
 * Merges (keys, rows) a and b, a first on ties; with `offsets`, rows of equal keys are compared by their bytes behind the `shared` ones first.
 * A step waits for the one before it, so the output is cut in two halves (where the halves begin in a and b is found by bisection) that are merged in
 * lockstep.
 */
export function merge_keys(
  offsets: usize, data: usize, shared: u32, ak: usize, ai: usize, an: u32, bk: usize, bi: usize, bn: u32, ok: usize, oi: usize,
): void {
  const aEnd = ak + (<usize>an << 3)
  const bEnd = bk + (<usize>bn << 3)
  if (!an || !bn || !precedes(offsets, data, shared, load<u64>(aEnd - 8), ai + (<usize>(an - 1) << 2), load<u64>(bk), bi)) {
    // Runs that do not overlap are the common case of a compaction.
    memory.copy(ok, ak, <usize>an << 3)
    memory.copy(oi, ai, <usize>an << 2)
    memory.copy(ok + (<usize>an << 3), bk, <usize>bn << 3)
    memory.copy(oi + (<usize>an << 2), bi, <usize>bn << 2)
    return
  }
  const half = (an + bn) >> 1
  // The least i such that the first half is a[0..i) and b[0..half - i).
  let low: u32 = half > bn ? half - bn : 0
  let high = min<u32>(an, half)
  while (low < high) {
    const mid = (low + high) >> 1
    const i = <usize>mid
    const j = <usize>(half - mid - 1)
    if (precedes(offsets, data, shared, load<u64>(ak + (i << 3)), ai + (i << 2), load<u64>(bk + (j << 3)), bi + (j << 2))) high = mid
    else low = mid + 1
  }
  const i = <usize>low
  const j = <usize>(half - low)
  const aMid = ak + (i << 3)
  const bMid = bk + (j << 3)
  let a2 = aMid
  let a2i = ai + (i << 2)
  let b2 = bMid
  let b2i = bi + (j << 2)
  let o2 = ok + (<usize>half << 3)
  let o2i = oi + (<usize>half << 2)
  while (ak < aMid && bk < bMid && a2 < aEnd && b2 < bEnd) {
    const x = load<u64>(ak)
    const y = load<u64>(bk)
    const x2 = load<u64>(a2)
    const y2 = load<u64>(b2)
    const s = precedes(offsets, data, shared, x, ai, y, bi)
    const s2 = precedes(offsets, data, shared, x2, a2i, y2, b2i)
    store<u64>(ok, select<u64>(y, x, <bool>s))
    store<u64>(o2, select<u64>(y2, x2, <bool>s2))
    store<u32>(oi, load<u32>(select<usize>(bi, ai, <bool>s)))
    store<u32>(o2i, load<u32>(select<usize>(b2i, a2i, <bool>s2)))
    const f = s ^ 1
    const f2 = s2 ^ 1
    ok += 8
    oi += 4
    o2 += 8
    o2i += 4
    ak += f << 3
    ai += f << 2
    bk += s << 3
    bi += s << 2
    a2 += f2 << 3
    a2i += f2 << 2
    b2 += s2 << 3
    b2i += s2 << 2
  }
  mergeOne(offsets, data, shared, ak, ai, aMid, bk, bi, bMid, ok, oi)
  mergeOne(offsets, data, shared, a2, a2i, aEnd, b2, b2i, bEnd, o2, o2i)
}

// Composite keys as byte strings whose unsigned order is the order of the keys: per key 0 + bytes, or 1 for null. Fixed keys are their u64, big-endian;
// byte strings double each 0 as 0 255 and end with 0 0, so that a shorter string comes before its extensions whatever follows.

/** lengths[i] += the encoded length of row i. */
export function encode_measure(offsets: usize, data: usize, validity: usize, n: u32, lengths: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    let size: u32 = 1
    if (valid(validity, i)) {
      if (offsets) {
        let p = data + load<u32>(offsets + (<usize>i << 2))
        const end = data + load<u32>(offsets + (<usize>i << 2), 4)
        size += 2 + <u32>(end - p)
        for (; p < end; p++) size += <u32>(load<u8>(p) == 0)
      } else {
        size += 8
      }
    }
    const at = lengths + (<usize>i << 2)
    store<u32>(at, load<u32>(at) + size)
  }
}

/** Writes u64 keys at base + cursors[i] and moves the cursors on. */
export function encode_keys(keys: usize, validity: usize, n: u32, cursors: usize, base: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const cursor = cursors + (<usize>i << 2)
    const at = load<u32>(cursor)
    const p = base + at
    if (valid(validity, i)) {
      store<u8>(p, 0)
      store<u64>(p, bswap<u64>(load<u64>(keys + (<usize>i << 3))), 1)
      store<u32>(cursor, at + 9)
    } else {
      store<u8>(p, 1)
      store<u32>(cursor, at + 1)
    }
  }
}

export function encode_bytes(offsets: usize, data: usize, validity: usize, n: u32, cursors: usize, base: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const cursor = cursors + (<usize>i << 2)
    let to = base + load<u32>(cursor)
    if (valid(validity, i)) {
      store<u8>(to++, 0)
      let p = data + load<u32>(offsets + (<usize>i << 2))
      const end = data + load<u32>(offsets + (<usize>i << 2), 4)
      for (; p < end; p++) {
        const byte = load<u8>(p)
        store<u8>(to++, byte)
        if (!byte) store<u8>(to++, 255)
      }
      store<u16>(to, 0)
      to += 2
    } else {
      store<u8>(to++, 1)
    }
    store<u32>(cursor, to - base)
  }
}
