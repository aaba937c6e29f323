// proof/bits-take.ts: cases of arrow-bits.ts, arrow-filter.ts and arrow-take.ts.
import { bitAt, bitsOf, booleans, bytesOf, masks, NULL_INDEX, type Proofs, type Random, randomStrings, u32s } from './harness.ts'
import type { Case, Cases, Input } from './harness.ts'

/** A kernel that keeps the rows of `width` bytes under a selection; `group` = bytes that are read together. */
function filterOf(width: number, group: number, call: Case['call']): Cases {
  return function* (n, random) {
    for (const mask of masks(n, random)) {
      const src = bytesOf(random, n * width)
      const kept = rowsWhere(mask)
      const input: Input = { bytes: src, readable: Math.max(src.length + 16, Math.ceil(src.length / group) * group) }
      const outputs = [{ expected: pick(src, width, kept), slack: 16 }]
      yield { inputs: [input, bitsOf(mask, true)], outputs, call: (x, at) => call(x, [...at, n]), result: kept.length }
    }
  }
}

function rowsWhere(mask: readonly boolean[]): number[] {
  return mask.flatMap((bit, i) => (bit ? [i] : []))
}

/** Rows of `width` bytes by index; a missing one is zeros. */
function pick(src: Uint8Array, width: number, rows: readonly number[]): Uint8Array {
  const out = new Uint8Array(rows.length * width)
  for (const [k, row] of rows.entries()) if (row !== NULL_INDEX) out.set(src.subarray(row * width, (row + 1) * width), k * width)
  return out
}

/** n indices below `limit`; `missing`: some, or all where there is nothing to point at. */
function indices(n: number, limit: number, missing: boolean, random: Random): number[] {
  return Array.from({ length: n }, () => (missing && (limit === 0 || random.chance(0.2)) ? NULL_INDEX : random.below(Math.max(1, limit))))
}

function takeOf(width: number, call: (x: Parameters<Case['call']>[0], at: readonly number[], n: number, missing: number) => void): Cases {
  return function* (n, random) {
    for (const missing of [0, 1]) {
      const src = bytesOf(random, 50 * width)
      const rows = indices(n, 50, missing === 1, random)
      yield { inputs: [src, u32s(rows)], outputs: [{ expected: pick(src, width, rows) }], call: (x, at) => call(x, at, n, missing) }
    }
  }
}

export const BITS_TAKE: Proofs = {
  *bits_popcount(n, random) {
    for (const mask of masks(n, random)) {
      yield { inputs: [bitsOf(mask)], outputs: [], call: (x, at) => x.bits_popcount(at[0]!, n), result: mask.filter(Boolean).length }
    }
  },
  *bits_to_indices(n, random) {
    for (const mask of masks(n, random)) {
      const rows = rowsWhere(mask)
      const outputs = [{ expected: u32s(rows), slack: 32 }]
      yield { inputs: [bitsOf(mask, true)], outputs, call: (x, at) => x.bits_to_indices(at[0]!, n, at[1]!), result: rows.length }
    }
  },
  *concat_bits(n, random) {
    for (let pair = 0; pair < 64; pair++) {
      const [from, to] = [pair >> 3, pair & 7]
      const src = bytesOf(random, Math.ceil((from + n) / 8))
      const before = bytesOf(random, Math.ceil((to + n) / 8))
      const bits = Array.from({ length: to + n }, (_, i) => bitAt(i < to ? before : src, i < to ? i : from + i - to) === 1)
      const outputs = [n === 0 ? { expected: before, before } : { expected: bitsOf(bits), before }]
      yield { inputs: [src], outputs, call: (x, at) => x.concat_bits(at[1]!, to, at[0]!, from, n) }
    }
  },
  *fill_bits(n, random) {
    for (let to = 0; to < 8; to++) {
      const before = bytesOf(random, Math.ceil((to + n) / 8))
      const bits = Array.from({ length: to + n }, (_, i) => i >= to || bitAt(before, i) === 1)
      yield { inputs: [], outputs: [n === 0 ? { expected: before, before } : { expected: bitsOf(bits), before }], call: (x, at) => x.fill_bits(at[0]!, to, n) }
    }
  },
  *filter_bits(n, random) {
    for (const mask of masks(n, random)) {
      const src = bytesOf(random, Math.ceil(n / 8))
      const kept = rowsWhere(mask).map((row) => bitAt(src, row) === 1)
      const result = kept.filter(Boolean).length
      yield { inputs: [src, bitsOf(mask, true)], outputs: [{ expected: bitsOf(kept) }], call: (x, at) => x.filter_bits(at[0]!, at[1]!, n, at[2]!), result }
    }
  },
  *take_bits(n, random) {
    for (const present of [true, false]) {
      const src = bytesOf(random, 11)
      const rows = indices(n, 88, true, random)
      const bits = rows.map((row) => row !== NULL_INDEX && (!present || bitAt(src, row) === 1))
      const call: Case['call'] = (x, at) => x.take_bits(present ? at[0]! : 0, at[1]!, n, at[2]!)
      yield { inputs: [src, u32s(rows)], outputs: [{ expected: bitsOf(bits) }], call, result: bits.filter(Boolean).length }
    }
  },

  filter_8: filterOf(1, 8, (x, [src, sel, out, n]) => x.filter_8(src!, sel!, n!, out!)),
  filter_16: filterOf(2, 16, (x, [src, sel, out, n]) => x.filter_16(src!, sel!, n!, out!)),
  // Rows are read in groups of 8 and of 4.
  filter_32: filterOf(4, 32, (x, [src, sel, out, n]) => x.filter_32(src!, sel!, n!, out!)),
  filter_64: filterOf(8, 32, (x, [src, sel, out, n]) => x.filter_64(src!, sel!, n!, out!)),
  filter_128: filterOf(16, 16, (x, [src, sel, out, n]) => x.filter_128(src!, sel!, n!, out!)),
  *filter_n(n, random) {
    for (const width of [1, 3, 12, 20]) yield* filterOf(width, 1, (x, [src, sel, out, count]) => x.filter_n(src!, sel!, count!, width, out!))(n, random)
  },

  *indices_check(n, random) {
    const lists = [
      indices(n, 1000, true, random),
      indices(n, 1000, false, random).toSorted((a, b) => a - b),
      [...indices(n, 9, false, random).toSorted(), NULL_INDEX].slice(-n),
    ]
    if (n > 0) {
      // One that is out of range, first, last or anywhere.
      for (const at of [0, n - 1, random.below(n)]) lists.push(lists[0]!.map((row, i) => (i === at ? 1000 + random.below(5) : row)))
      lists.push(lists[0]!.with(n - 1, NULL_INDEX - 1))
    }
    for (const list of n === 0 ? [[]] : lists) {
      const bad = list.some((row) => row !== NULL_INDEX && row >= 1000)
      const falls = list.some((row, i) => i > 0 && row < list[i - 1]!) ? 1 : 0
      const output = bad ? { expected: new Uint8Array(0), slack: 4 } : { expected: u32s([falls]) }
      const result = bad ? -1 : list.filter((row) => row === NULL_INDEX).length
      yield { inputs: [u32s(list)], outputs: [output], call: (x, at) => x.indices_check(at[0]!, n, 1000, at[1]!), result }
    }
  },
  take_8: takeOf(1, (x, [src, idx, out], n, missing) => x.take_8(src!, idx!, n, out!, missing)),
  take_16: takeOf(2, (x, [src, idx, out], n, missing) => x.take_16(src!, idx!, n, out!, missing)),
  take_32: takeOf(4, (x, [src, idx, out], n, missing) => x.take_32(src!, idx!, n, out!, missing)),
  take_64: takeOf(8, (x, [src, idx, out], n, missing) => x.take_64(src!, idx!, n, out!, missing)),
  take_128: takeOf(16, (x, [src, idx, out], n) => x.take_128(src!, idx!, n, out!)),
  *take_n(n, random) {
    for (const width of [1, 3, 12, 20]) yield* takeOf(width, (x, [src, idx, out], count) => x.take_n(src!, idx!, count, width, out!))(n, random)
  },
  *var_offsets(n, random) {
    const { rows, offsets } = randomStrings(40, random)
    const view = new DataView(offsets.buffer)
    const list = indices(n, 40, true, random)
    const ends = [0]
    for (const row of list) ends.push(ends.at(-1)! + (row === NULL_INDEX ? 0 : rows[row]!.length))
    const starts = list.map((row) => (row === NULL_INDEX ? 0 : view.getUint32(row * 4, true)))
    const call: Case['call'] = (x, at) => x.var_offsets(at[0]!, at[1]!, n, at[2]!, at[3]!)
    yield { inputs: [offsets, u32s(list)], outputs: [{ expected: u32s(starts) }, { expected: u32s(ends) }], call, result: ends.at(-1)! }
  },
  *var_gather(n, random) {
    for (const ordered of [0, 1]) {
      const { rows, offsets, data } = randomStrings(n + 3, random, 24)
      const view = new DataView(offsets.buffer)
      const any = indices(n, n + 3, false, random)
      // In order: a dense run with a gap now and then.
      const list = ordered === 1 ? booleans(random, n + 3, 0.97).flatMap((bit, i) => (bit ? [i] : [])) : any
      const ends = [0]
      for (const row of list) ends.push(ends.at(-1)! + rows[row]!.length)
      const starts = list.map((row) => view.getUint32(row * 4, true))
      const expected = new Uint8Array(Buffer.concat(list.map((row) => rows[row]!)))
      const call: Case['call'] = (x, at) => x.var_gather(at[0]!, at[1]!, list.length, at[2]!, at[3]!, ordered)
      yield { inputs: [u32s(starts), u32s(ends), data], outputs: [{ expected, slack: 16 }], call }
    }
  },
}
