// arrow-take.ts: gathers rows by u32 index; index 0xFFFFFFFF yields a zero (the caller writes the null bit with take_bits).
//
// Invariant: indices were held against the row count by indices_check before any gather runs. Variable-length columns go in two steps:
// var_offsets (where each row comes from, where it goes), then var_gather (the bytes), so that the caller can size and slice the output.
import { NULL_INDEX } from './arrow-bits'

/**
 * The number of missing indices, or -1 when one is neither missing nor below `limit`. descents (u32) = 0 when the list
 * ascends, missing ones counting as greatest, else 1.
 */
export function indices_check(idx: usize, n: u32, limit: u32, descents: usize): i32 {
  const all = i32x4.splat(-1)
  const bound = i32x4.splat(limit)
  let missing = i32x4.splat(0)
  let bad = missing
  let down = missing
  let count: i32 = 0
  let fall: u32 = 0
  let k: u32 = 0
  if (n) {
    const x = load<u32>(idx)
    if (x == NULL_INDEX) count++
    else if (x >= limit) return -1
    k = 1
  }
  for (; k + 4 <= n; k += 4) {
    const at = idx + (<usize>k << 2)
    const x = v128.load(at)
    const none = i32x4.eq(x, all)
    missing = i32x4.sub(missing, none)
    bad = v128.or(bad, v128.andnot(i32x4.ge_u(x, bound), none))
    down = v128.or(down, i32x4.lt_u(x, v128.load(at - 4)))
  }
  if (v128.any_true(bad)) return -1
  count += i32x4.extract_lane(missing, 0) + i32x4.extract_lane(missing, 1) + i32x4.extract_lane(missing, 2) + i32x4.extract_lane(missing, 3)
  if (v128.any_true(down)) fall = 1
  for (; k < n; k++) {
    const x = load<u32>(idx + (<usize>k << 2))
    if (x == NULL_INDEX) count++
    else if (x >= limit) return -1
    if (x < load<u32>(idx + (<usize>(k - 1) << 2))) fall = 1
  }
  store<u32>(descents, fall)
  return count
}

@inline
function gather<T>(src: usize, idx: usize, n: u32, out: usize, missing: u32): void {
  const end = idx + (<usize>n << 2)
  if (!missing) {
    while (idx < end) {
      store<T>(out, load<T>(src + <usize>load<u32>(idx) * sizeof<T>()))
      idx += 4
      out += sizeof<T>()
    }
    return
  }
  while (idx < end) {
    const i = load<u32>(idx)
    const none = i == NULL_INDEX
    const value = load<T>(src + <usize>select<u32>(0, i, none) * sizeof<T>())
    store<T>(out, select<T>(<T>0, value, none))
    idx += 4
    out += sizeof<T>()
  }
}

/** `missing` = whether the list may hold missing indices. */
export function take_8(src: usize, idx: usize, n: u32, out: usize, missing: u32): void {
  gather<u8>(src, idx, n, out, missing)
}

export function take_16(src: usize, idx: usize, n: u32, out: usize, missing: u32): void {
  gather<u16>(src, idx, n, out, missing)
}

export function take_32(src: usize, idx: usize, n: u32, out: usize, missing: u32): void {
  gather<u32>(src, idx, n, out, missing)
}

export function take_64(src: usize, idx: usize, n: u32, out: usize, missing: u32): void {
  gather<u64>(src, idx, n, out, missing)
}

export function take_128(src: usize, idx: usize, n: u32, out: usize): void {
  const end = idx + (<usize>n << 2)
  const zero = i64x2.splat(0)
  while (idx < end) {
    const i = load<u32>(idx)
    v128.store(out, i == NULL_INDEX ? zero : v128.load(src + (<usize>i << 4)))
    idx += 4
    out += 16
  }
}

export function take_n(src: usize, idx: usize, n: u32, width: u32, out: usize): void {
  const end = idx + (<usize>n << 2)
  while (idx < end) {
    const i = load<u32>(idx)
    if (i == NULL_INDEX) memory.fill(out, 0, width)
    else memory.copy(out, src + i * width, width)
    idx += 4
    out += width
  }
}

/** starts[k] = first byte (or child row) of row idx[k], out[k + 1] = where it ends when the rows are put together; out[0] = 0. Returns the total. */
export function var_offsets(offsets: usize, idx: usize, n: u32, starts: usize, out: usize): f64 {
  const end = idx + (<usize>n << 2)
  let total: u64 = 0
  store<u32>(out, 0)
  while (idx < end) {
    const i = load<u32>(idx)
    out += 4
    if (i == NULL_INDEX) {
      store<u32>(starts, 0)
    } else {
      const at = offsets + (<usize>i << 2)
      const first = load<u32>(at)
      store<u32>(starts, first)
      total += <u64>(load<u32>(at, 4) - first)
    }
    store<u32>(out, <u32>total)
    starts += 4
    idx += 4
  }
  return <f64>total
}

const RUN: u32 = 32

/**
 * Copies row k from data + starts[k] to out + offsets[k], up to offsets[k + 1]. `ordered`: starts never go back, so that 32 rows whose first and last lie
 * as far apart in the source as in the output are one piece. Reads 16 bytes past a row, needs 16 bytes of slack behind the output.
 */
export function var_gather(starts: usize, offsets: usize, n: u32, data: usize, out: usize, ordered: u32): void {
  let k: u32 = 0
  while (k < n) {
    let stop = n
    if (ordered) {
      stop = min<u32>(n, k + RUN)
      const s = starts + (<usize>k << 2)
      const o = offsets + (<usize>k << 2)
      const last = <usize>(stop - 1 - k) << 2
      const first = load<u32>(o)
      if (load<u32>(s + last) - load<u32>(s) == load<u32>(o + last) - first) {
        memory.copy(out + first, data + load<u32>(s), load<u32>(o + last, 4) - first)
        k = stop
        continue
      }
    }
    let from = load<u32>(offsets + (<usize>k << 2))
    for (; k < stop; k++) {
      const to = load<u32>(offsets + (<usize>k << 2), 4)
      const source = data + load<u32>(starts + (<usize>k << 2))
      const length = to - from
      const target = out + from
      if (length <= 16) {
        v128.store(target, v128.load(source))
      } else if (length <= 32) {
        v128.store(target, v128.load(source))
        v128.store(target + length - 16, v128.load(source + length - 16))
      } else {
        memory.copy(target, source, length)
      }
      from = to
    }
  }
}
