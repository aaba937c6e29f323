// proof/concat-predicate.ts: cases of arrow-concat.ts and predicate.ts.
import { bitAt, bitsOf, booleans, bytesOf, compareBytes, NULL_INDEX, type Proofs, type Random, randomStrings, type Strings, u32s } from './harness.ts'
import type { Case, Cases, Input } from './harness.ts'

/** Little-endian integers of `width` bytes. */
export function integers(bytes: Uint8Array, width: number, signed: boolean): bigint[] {
  const values: bigint[] = []
  for (let at = 0; at < bytes.length; at += width) {
    let value = 0n
    for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i]!)
    values.push(signed ? BigInt.asIntN(width * 8, value) : value)
  }
  return values
}

export function integerBytes(values: readonly bigint[], width: number): Uint8Array {
  const out = new Uint8Array(values.length * width)
  for (const [k, value] of values.entries()) for (let i = 0; i < width; i++) out[k * width + i] = Number((value >> BigInt(8 * i)) & 255n)
  return out
}

/** Random rows with the extremes and near-equal ones often. */
export function rowsOf(random: Random, n: number, width: number): Uint8Array {
  const out = bytesOf(random, n * width)
  for (let k = 0; k < n; k++) {
    if (random.chance(0.6)) out.fill([0, 255][random.below(2)]!, k * width, (k + 1) * width)
    if (random.chance(0.3)) out[k * width] = random.below(4)
    if (random.chance(0.1)) out[(k + 1) * width - 1] = [127, 128][random.below(2)]!
  }
  return out
}

/** Results come as whole 16-row groups of bits. */
function groupBits(hits: readonly boolean[]): Uint8Array {
  return bitsOf([...hits, ...Array<boolean>(-hits.length & 15).fill(false)])
}

/** Readable up to a whole group of 16 rows. */
function grouped(bytes: Uint8Array, width: number): Input {
  return { bytes, readable: Math.max(bytes.length + 16, Math.ceil(bytes.length / width / 16) * 16 * width) }
}

type RangeCall = (x: Parameters<Case['call']>[0], p: number, n: number, ranges: number, count: number, out: number) => void

function rangesOf(width: number, signed: boolean, call: RangeCall): Cases {
  return function* (n, random) {
    for (const count of [0, 1, 3]) {
      const p = rowsOf(random, n, width)
      const rows = integers(p, width, signed)
      const bounds = integers(rowsOf(random, count * 2, width), width, signed)
      if (count > 0 && n > 0) bounds[0] = rows[random.below(n)]!
      const ranges: [bigint, bigint][] = []
      for (let r = 0; r < count; r++)
        ranges.push(bounds[2 * r]! <= bounds[2 * r + 1]! ? [bounds[2 * r]!, bounds[2 * r + 1]!] : [bounds[2 * r + 1]!, bounds[2 * r]!])
      const hits = rows.map((row) => ranges.some(([lo, hi]) => lo <= row && row <= hi))
      const inputs = [grouped(p, width), integerBytes(ranges.flat(), width)]
      yield { inputs, outputs: [{ expected: groupBits(hits) }], call: (x, at) => call(x, at[0]!, n, at[1]!, count, at[2]!) }
    }
  }
}

const FLOATS = [0, -0, 1, -1, 1.5, Infinity, -Infinity, NaN, 3.4028234663852886e38, 2 ** -149]

function floatRanges(width: 4 | 8, call: RangeCall): Cases {
  const pack = (values: readonly number[]): Uint8Array => new Uint8Array((width === 4 ? Float32Array.from(values) : Float64Array.from(values)).buffer)
  return function* (n, random) {
    const pickOne = (): number => (random.chance(0.5) ? FLOATS[random.below(FLOATS.length)]! : random.below(200) - 100)
    for (const count of [0, 1, 3]) {
      const rows = Array.from({ length: n }, pickOne)
      const ranges = Array.from({ length: count }, () => {
        const [a, b] = [pickOne() || 0, pickOne() || 0]
        return a <= b ? [a, b] : [b, a]
      })
      // What is stored is rounded to the width.
      const stored = width === 4 ? [...Float32Array.from(rows)] : rows
      const bounds = ranges.map((range) => (width === 4 ? [...Float32Array.from(range)] : range))
      const hits = stored.map((row) => bounds.some(([lo, hi]) => lo! <= row && row <= hi!))
      const inputs = [grouped(pack(rows), width), pack(ranges.flat())]
      yield { inputs, outputs: [{ expected: groupBits(hits) }], call: (x, at) => call(x, at[0]!, n, at[1]!, count, at[2]!) }
    }
  }
}

function* both(first: Iterable<Case>, second: Iterable<Case>): Iterable<Case> {
  yield* first
  yield* second
}

/** Rows as byte strings: of any length, or all of `width` bytes. */
function rowStrings(n: number, random: Random, width: number): Strings {
  if (width === 0) return randomStrings(n, random)
  const data = rowsOf(random, n, width)
  return { rows: Array.from({ length: n }, (_, i) => data.subarray(i * width, (i + 1) * width)), offsets: new Uint8Array(0), data }
}

function dictionaryOf(random: Random, entries: number): { codes(n: number, width: number, wild: boolean): number[] } {
  return {
    codes: (n, width, wild) =>
      Array.from({ length: n }, () => (wild && random.chance(0.1) ? Math.min(2 ** (8 * width) - 1, entries + random.below(3)) : random.below(entries))),
  }
}

export const CONCAT_PREDICATE: Proofs = {
  *rebase_offsets(n, random) {
    for (const delta of [0, 77, -12_345]) {
      const values = Array.from({ length: n }, () => 100_000 + random.below(1_000_000))
      const outputs = [{ expected: u32s(values.map((value) => value + delta)) }]
      yield { inputs: [u32s(values)], outputs, call: (x, at) => x.rebase_offsets(at[0]!, n, delta, at[1]!) }
    }
  },
  *int_convert(n, random) {
    for (const from of [1, 2, 4, 8]) {
      for (const to of [1, 2, 4, 8]) {
        for (const signed of from === 8 ? [1] : [0, 1]) {
          const src = rowsOf(random, n, from)
          const expected = integerBytes(integers(src, from, signed === 1), to)
          yield { inputs: [src], outputs: [{ expected }], call: (x, at) => x.int_convert(at[0]!, from, to, signed, n, at[1]!) }
        }
      }
    }
  },
  *codes_remap(n, random) {
    const map = Array.from({ length: 40 }, () => random.below(200))
    for (const from of [1, 2, 4]) {
      for (const to of [1, 2, 4]) {
        const codes = dictionaryOf(random, 40).codes(n, from, true)
        const expected = integerBytes(
          codes.map((code) => BigInt(map[code] ?? 0)),
          to,
        )
        const src = integerBytes(codes.map(BigInt), from)
        yield { inputs: [src, u32s(map)], outputs: [{ expected }], call: (x, at) => x.codes_remap(at[0]!, from, n, at[1]!, 40, to, at[2]!) }
      }
    }
  },
  *codes_to_indices(n, random) {
    for (const width of [1, 2, 4]) {
      for (const shape of ['no nulls', 'nulls', 'wild under nulls', 'wild']) {
        const valid = booleans(random, n, shape === 'no nulls' ? 1 : 0.8)
        const codes = dictionaryOf(random, 40).codes(n, width, shape === 'wild')
        if (shape === 'wild under nulls') for (let i = 0; i < n; i++) if (!valid[i]) codes[i] = 200
        const bad = codes.some((code, i) => valid[i] && code >= 40)
        const expected = u32s(codes.map((code, i) => (valid[i] ? code : NULL_INDEX)))
        const call: Case['call'] = (x, at) => x.codes_to_indices(at[0]!, width, shape === 'no nulls' ? 0 : at[1]!, n, 40, at[2]!)
        yield { inputs: [integerBytes(codes.map(BigInt), width), bitsOf(valid)], outputs: [{ expected }], call, result: bad ? 0 : 1 }
      }
    }
  },
  *dict_intern(n, random) {
    for (const nulls of [false, true]) {
      for (const room of [1000, 3]) {
        const { rows, offsets, data } = randomStrings(n, random, 12)
        const repeated = rows.map((row, i) => (i > 2 && random.chance(0.5) ? rows[random.below(i)]! : row))
        const input = room === 3 ? { rows, offsets, data } : stringsAgain(repeated, random)
        const valid = booleans(random, n, nulls ? 0.7 : 1)
        const slots = 1024
        // Two entries are there before; the table does not know them, as after nothing but their bytes were carried over.
        const known = [Uint8Array.of(9, 9), new Uint8Array(0)]
        const entries: Uint8Array[] = [...known]
        const codes: number[] = []
        let spent = false
        for (const [i, row] of input.rows.entries()) {
          if (!valid[i]) codes.push(0)
          else {
            let code = entries.findIndex((entry, e) => e >= known.length && compareBytes(entry, row) === 0)
            if (code < 0 && entries.length === known.length + room) {
              spent = true
              break
            }
            if (code < 0) code = entries.push(row) - 1
            codes.push(code)
          }
        }
        const ends = [0]
        for (const entry of entries) ends.push(ends.at(-1)! + entry.length)
        const joined = new Uint8Array(Buffer.concat(entries))
        const outputs = [
          { expected: new Uint8Array(0), slack: slots * 8, before: new Uint8Array(slots * 8) },
          { expected: u32s(ends), before: u32s([0, 2, 2]) },
          { expected: joined, before: Uint8Array.of(9, 9), padding: 7 },
          { expected: u32s(codes) },
        ]
        const call: Case['call'] = (x, at) =>
          x.dict_intern(at[0]!, at[1]!, nulls ? at[2]! : 0, n, at[3]!, slots - 1, at[4]!, at[5]!, known.length, known.length + room, at[6]!)
        yield { inputs: [input.offsets, input.data, bitsOf(valid)], outputs, call, result: spent ? NULL_INDEX : entries.length }
      }
    }
  },

  range_8: (n, random) => both(rangesOf(1, true, (x, ...a) => x.range_8(...a))(n, random), rangesOf(1, false, (x, ...a) => x.range_8(...a))(n, random)),
  range_16: (n, random) => both(rangesOf(2, true, (x, ...a) => x.range_16(...a))(n, random), rangesOf(2, false, (x, ...a) => x.range_16(...a))(n, random)),
  *range_32(n, random) {
    for (const signed of [true, false]) yield* rangesOf(4, signed, (x, p, rows, ranges, count, out) => x.range_32(p, rows, ranges, count, 0, out))(n, random)
    yield* floatRanges(4, (x, p, rows, ranges, count, out) => x.range_32(p, rows, ranges, count, 1, out))(n, random)
  },
  *range_64(n, random) {
    yield* rangesOf(8, true, (x, p, rows, ranges, count, out) => x.range_64(p, rows, ranges, count, 0, out))(n, random)
    yield* rangesOf(8, false, (x, p, rows, ranges, count, out) => x.range_64(p, rows, ranges, count, 1, out))(n, random)
    yield* floatRanges(8, (x, p, rows, ranges, count, out) => x.range_64(p, rows, ranges, count, 2, out))(n, random)
  },
  range_128: rangesOf(16, true, (x, ...a) => x.range_128(...a)),
  *in_sorted(n, random) {
    for (const width of [1, 2, 4, 8]) {
      for (const mode of width === 8 ? [0, 2] : [0, 1]) {
        const p = rowsOf(random, n, width)
        const rows = integers(p, width, mode === 0)
        for (const m of [0, 1, 2, 5, 33]) {
          const wanted = [...integers(rowsOf(random, m, width), width, mode === 0), ...rows].slice(0, m)
          const list = wanted.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
          const set = new Set(list)
          const stored = integerBytes(mode === 2 ? list.map((value) => value - (1n << 63n)) : list, 8)
          const outputs = [{ expected: groupBits(rows.map((row) => set.has(row))) }]
          yield { inputs: [p, stored], outputs, call: (x, at) => x.in_sorted(at[0]!, width, mode, n, at[1]!, list.length, at[2]!) }
        }
      }
    }
  },
  *compare_bytes(n, random) {
    for (const width of [0, 1, 8, 11]) {
      const { rows, offsets, data } = rowStrings(n, random, width)
      const constants = [n > 0 ? rows[random.below(n)]! : Uint8Array.of(1), new Uint8Array(0), rowsOf(random, 1, 9)]
      for (const c of constants) {
        for (const accept of [1, 2, 3, 4, 5, 6, 7, 8]) {
          const hits = rows.map((row) => (accept === 8 ? compareBytes(row.subarray(0, c.length), c) === 0 : ((accept >> (compareBytes(row, c) + 1)) & 1) === 1))
          const call: Case['call'] = (x, at) => x.compare_bytes(width === 0 ? at[0]! : 0, at[1]!, width, n, at[2]!, c.length, accept, at[3]!)
          yield { inputs: [offsets, data, c], outputs: [{ expected: groupBits(hits) }], call }
        }
      }
    }
  },
  *in_sorted_bytes(n, random) {
    for (const width of [0, 1, 8, 11]) {
      const { rows, offsets, data } = rowStrings(n, random, width)
      for (const m of [0, 1, 7]) {
        const wanted = [...randomStrings(m, random).rows.slice(0, m >> 1), ...rows].slice(0, m).toSorted(compareBytes)
        const list = stringsAgain(wanted, random)
        const hits = rows.map((row) => wanted.some((one) => compareBytes(one, row) === 0))
        const call: Case['call'] = (x, at) => x.in_sorted_bytes(width === 0 ? at[0]! : 0, at[1]!, width, n, at[2]!, at[3]!, wanted.length, at[4]!)
        yield { inputs: [offsets, data, list.offsets, list.data], outputs: [{ expected: groupBits(hits) }], call }
      }
    }
  },
  *codes_to_bits(n, random) {
    for (const width of [1, 2, 4]) {
      for (const entries of [1, 40, 256]) {
        // Bits of entries that are not there are 0, and 32 bytes are readable.
        const dictBits = new Uint8Array(32)
        dictBits.set(bitsOf(booleans(random, entries)))
        const codes = dictionaryOf(random, entries).codes(n, width, width > 1 || entries < 250)
        const hits = codes.map((code) => code < entries && bitAt(dictBits, code) === 1)
        const src = integerBytes(codes.map(BigInt), width)
        yield { inputs: [src, dictBits], outputs: [{ expected: groupBits(hits) }], call: (x, at) => x.codes_to_bits(at[0]!, width, n, at[1]!, entries, at[2]!) }
      }
    }
  },
}

/** The rows laid out anew. */
function stringsAgain(rows: readonly Uint8Array[], random: Random): Strings {
  const lead = random.below(3)
  const ends = [lead]
  for (const row of rows) ends.push(ends.at(-1)! + row.length)
  return { rows, offsets: u32s(ends), data: new Uint8Array(Buffer.concat([bytesOf(random, lead), ...rows])) }
}
