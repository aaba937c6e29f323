// group-sums.ts: running counts, sums and extremes by group: row i of a piece belongs to group groups[i] (u32; groups 0: all rows to group 0).
//
// Words come from group_widen. Accumulators are records by group in caller memory, zeroed before their first use. The n rows that count are listed in rows
// (u32; 0: rows 0 to n - 1). Nothing here checks group numbers: they come from group-table.ts, and the caller made room for them.
// Floats add pairwise in row order: runs of 128 values one by one, runs joined like the carries of a binary counter (the summation of NumPy and Julia,
// made incremental), so that a sum depends on the sequence of its values only. Invariant: where no room is left, the place in the list to go on from is returned.
import { code_at } from './arrow-concat'
import { bytes_compare } from './bytes'
import { rowAt } from './group-table'

@inline
function groupOf(groups: usize, row: u32): usize {
  return groups ? <usize>load<u32>(groups + (<usize>row << 2)) : 0
}

/** counts (u64 by group) grow by the rows. */
export function group_count(groups: usize, rows: usize, n: u32, counts: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const row = rowAt(rows, i)
    const at = counts + (groupOf(groups, row) << 3)
    store<u64>(at, load<u64>(at) + 1)
  }
}

/** sums: { u64 low, i64 high } by group, a 128-bit integer. Words are signed or not. */
export function group_sum_words(words: usize, signed: u32, groups: usize, rows: usize, n: u32, sums: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const row = rowAt(rows, i)
    const x = load<u64>(words + (<usize>row << 3))
    const at = sums + (groupOf(groups, row) << 4)
    const low = load<u64>(at) + x
    store<u64>(at, low)
    store<i64>(at, load<i64>(at, 8) + <i64>(low < x) + (signed ? <i64>x >> 63 : 0), 8)
  }
}

/** Values of 16 bytes, two's complement; sums: { u64 low, u64 middle, i64 high } by group, a 192-bit integer. */
export function group_sum_128(p: usize, groups: usize, rows: usize, n: u32, sums: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const row = rowAt(rows, i)
    const x = load<u64>(p + (<usize>row << 4))
    const y = load<u64>(p + (<usize>row << 4), 8)
    const at = sums + groupOf(groups, row) * 24
    const low = load<u64>(at) + x
    store<u64>(at, low)
    const carried = y + <u64>(low < x)
    const middle = load<u64>(at, 8) + carried
    store<u64>(at, middle, 8)
    // y + carry wraps only when y is all ones; the value's sign stands for all its higher bits.
    store<i64>(at, load<i64>(at, 16) + <i64>(carried < y) + <i64>(middle < carried) + (<i64>y >> 63), 16)
  }
}

const RUN: u32 = 128
/** { u64 full runs, f64 sums[40] }: sums[l] is a sum of 2^l runs, where bit l of the number of full runs is set. */
const BLOCK: usize = 328

/** A full run joins the sums whose bits the count of runs is about to clear. */
@inline
function carry(block: usize, run: f64): void {
  const full = load<u64>(block)
  store<u64>(block, full + 1)
  let level = block + 8
  let sum = run
  for (let k = full; k & 1; k >>>= 1, level += 8) sum = load<f64>(level) + sum
  store<f64>(level, sum)
}

/**
 * Words are f64. states: { f64 run, u32 values in it, u32 block + 1 } by group; a group gets a block with its first full run: pool = { u32 blocks, u32 used,
 * u32 room }. Returns n, or the place (from `from` on) of the row for which the pool has no block.
 */
export function group_sum_floats(words: usize, groups: usize, rows: usize, from: u32, n: u32, states: usize, pool: usize): u32 {
  for (let i = from; i < n; i++) {
    const row = rowAt(rows, i)
    const at = states + (groupOf(groups, row) << 4)
    const count = load<u32>(at, 8) + 1
    const run = load<f64>(at) + load<f64>(words + (<usize>row << 3))
    if (count < RUN) {
      store<f64>(at, run)
      store<u32>(at, count, 8)
      continue
    }
    let block = load<u32>(at, 12)
    if (!block) {
      const used = load<u32>(pool, 4)
      if (used == load<u32>(pool, 8)) return i
      block = used + 1
      store<u32>(pool, block, 4)
      store<u32>(at, block, 12)
      store<u64>(<usize>load<u32>(pool) + <usize>used * BLOCK, 0)
    }
    carry(<usize>load<u32>(pool) + <usize>(block - 1) * BLOCK, run)
    store<f64>(at, 0)
    store<u32>(at, 0, 8)
  }
  return n
}

/** One group, every row: eight runs at a time, each one by one. state: { f64 run, u32 values in it, u32 0, block }. */
export function sum_runs(words: usize, n: u32, state: usize): void {
  let run = load<f64>(state)
  let count = load<u32>(state, 8)
  const block = state + 16
  let p = words
  const end = words + (<usize>n << 3)
  while (p < end) {
    if (!count) {
      while (end - p >= 8 * RUN * 8) {
        let a: f64 = 0, b: f64 = 0, c: f64 = 0, d: f64 = 0, e: f64 = 0, f: f64 = 0, g: f64 = 0, h: f64 = 0
        for (const stop = p + RUN * 8; p < stop; p += 8) {
          a += load<f64>(p)
          b += load<f64>(p, RUN * 8)
          c += load<f64>(p, RUN * 16)
          d += load<f64>(p, RUN * 24)
          e += load<f64>(p, RUN * 32)
          f += load<f64>(p, RUN * 40)
          g += load<f64>(p, RUN * 48)
          h += load<f64>(p, RUN * 56)
        }
        p += 7 * RUN * 8
        carry(block, a)
        carry(block, b)
        carry(block, c)
        carry(block, d)
        carry(block, e)
        carry(block, f)
        carry(block, g)
        carry(block, h)
      }
      if (p >= end) break
    }
    const left = <u32>((end - p) >>> 3)
    const some = min<u32>(left, RUN - count)
    for (const stop = p + (<usize>some << 3); p < stop; p += 8) run += load<f64>(p)
    count += some
    if (count == RUN) {
      carry(block, run)
      run = 0
      count = 0
    }
  }
  store<f64>(state, run)
  store<u32>(state, count, 8)
}

/** The sum of a run and the block (0: none) behind it. */
export function sum_of_runs(state: usize, block: usize): f64 {
  let sum = load<f64>(state)
  if (!block) return sum
  let level = block + 8
  for (let full = load<u64>(block); full; full >>>= 1, level += 8) if (full & 1) sum = load<f64>(level) + sum
  return sum
}

/** The same for every group, into out (f64 by group). */
export function group_float_sums(states: usize, blocks: usize, size: u32, out: usize): void {
  for (let group: u32 = 0; group < size; group++) {
    const at = states + (<usize>group << 4)
    const block = load<u32>(at, 12)
    store<f64>(out + (<usize>group << 3), sum_of_runs(at, block ? blocks + <usize>(block - 1) * BLOCK : 0))
  }
}

/** Ordered words (floats: as f64, NaN skipped; equal values: the first stays). best: { word, u64 seen } by group; the least word wins. */
export function group_least(words: usize, float: u32, groups: usize, rows: usize, n: u32, best: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const row = rowAt(rows, i)
    const x = load<i64>(words + (<usize>row << 3))
    const at = best + (groupOf(groups, row) << 4)
    const old = load<i64>(at)
    if (load<u64>(at, 8)) {
      if (float ? !(reinterpret<f64>(x) < reinterpret<f64>(old)) : x >= old) continue
    } else if (float && reinterpret<f64>(x) != reinterpret<f64>(x)) {
      continue
    }
    store<i64>(at, x)
    store<u64>(at, 1, 8)
  }
}

/** Values of 16 bytes, two's complement; `most`: the greatest instead. best: { value, u64 seen, u64 0 } by group. */
export function group_extreme_128(p: usize, most: u32, groups: usize, rows: usize, n: u32, best: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const row = rowAt(rows, i)
    const x = p + (<usize>row << 4)
    const at = best + (groupOf(groups, row) << 5)
    if (load<u64>(at, 16)) {
      const high = load<i64>(x, 8)
      const other = load<i64>(at, 8)
      if (high == other) {
        if (most ? load<u64>(x) <= load<u64>(at) : load<u64>(x) >= load<u64>(at)) continue
      } else if (most ? high < other : high > other) {
        continue
      }
    }
    v128.store(at, v128.load(x))
    store<u64>(at, 1, 16)
  }
}

/**
 * Byte strings: u32 offsets, or `width` bytes each; with codes, row i is entry codes[i] of `width` entries (codes beyond are passed over). best: { u32 start, u32 length, u32 room, u32 seen } by group, the
 * bytes in pool = { u32 data, u32 used, u32 capacity }; a longer winner moves to a place of twice the size. Returns n, or the place of the row that has no room.
 */
export function group_extreme_bytes(
  offsets: usize, data: usize, width: u32, codes: usize, codeWidth: u32, most: u32, groups: usize, rows: usize, from: u32, n: u32, best: usize, pool: usize,
): u32 {
  const kept = <usize>load<u32>(pool)
  for (let i = from; i < n; i++) {
    const row = rowAt(rows, i)
    const entry = codes ? code_at(codes, codeWidth, row) : row
    if (codes && entry >= width) continue
    let p = data + <usize>entry * width
    let length = width
    if (offsets) {
      const first = load<u32>(offsets + (<usize>entry << 2))
      p = data + first
      length = load<u32>(offsets + (<usize>entry << 2), 4) - first
    }
    const at = best + (groupOf(groups, row) << 4)
    if (load<u32>(at, 12)) {
      const order = bytes_compare(p, length, kept + load<u32>(at), load<u32>(at, 4))
      if (most ? order <= 0 : order >= 0) continue
    }
    if (length > load<u32>(at, 8)) {
      const used = load<u32>(pool, 4)
      const left = load<u32>(pool, 8) - used
      if (length > left) return i
      // Doubled, so that what is left behind in the pool stays below what is in use; the exact length where no more is there.
      const room = min<u32>(max<u32>(length << 1, 16), left)
      store<u32>(pool, used + room, 4)
      store<u32>(at, used)
      store<u32>(at, room, 8)
    }
    memory.copy(kept + load<u32>(at), p, length)
    store<u32>(at, length, 4)
    store<u32>(at, 1, 12)
  }
  return n
}
