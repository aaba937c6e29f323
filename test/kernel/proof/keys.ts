// proof/keys.ts: cases of compare.ts, key-bytes.ts, key-search.ts, key-table.ts, key-index.ts and the lists of 16-byte integers.
import { integerBytes, integers, rowsOf } from './concat-predicate.ts'
import { bitAt, bitsOf, bytesOf, compareBytes, NULL_INDEX, type Proofs, type Random, randomStrings, u32s, u64s } from './harness.ts'
import type { Case, Input, Output } from './harness.ts'

const NOTHING = new Uint8Array(0)

function groupBits(hits: readonly boolean[]): Uint8Array {
  return bitsOf([...hits, ...Array<boolean>(-hits.length & 15).fill(false)])
}

function grouped(bytes: Uint8Array, width: number): Input {
  return { bytes, readable: Math.max(bytes.length + 16, Math.ceil(bytes.length / width / 16) * 16 * width) }
}

const join = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

const RELATIONS: readonly ((a: number | bigint, b: number | bigint) => boolean)[] = [
  (a, b) => a === b,
  // NaN stands in no relation, not even this one.
  (a, b) => a < b !== a > b,
  (a, b) => a < b,
  (a, b) => a <= b,
]

function floats(n: number, random: Random, width: number): { bytes: Uint8Array; values: number[] } {
  const some = [0, -0, 1, -1, NaN, Infinity, -Infinity, 0.5]
  const list = Array.from({ length: n }, () => some[random.below(some.length)]!)
  const array = width === 4 ? Float32Array.from(list) : Float64Array.from(list)
  return { bytes: new Uint8Array(array.buffer), values: [...array] }
}

/** Rows of `first`, so that there are equal ones. */
function alike(first: Uint8Array, width: number, random: Random): Uint8Array {
  const out = rowsOf(random, first.length / width, width)
  for (let at = 0; at < out.length; at += width) if (random.chance(0.4)) out.set(first.subarray(at, at + width), at)
  return out
}

/** A column of byte strings as compare_byte_columns takes it: entries by code, by offsets or of one width. */
interface ByteColumn {
  readonly rows: readonly (Uint8Array | undefined)[]
  readonly codes: Uint8Array
  readonly offsets: Uint8Array
  readonly data: Uint8Array
  /** codes?, code width, entries, offsets?, data, width */
  readonly words: readonly [boolean, number, number, boolean, number]
}

function byteColumn(n: number, random: Random, shape: number): ByteColumn {
  if (shape === 0) {
    const { rows, offsets, data } = randomStrings(n, random, 3)
    return { rows, codes: NOTHING, offsets, data, words: [false, 0, 0, true, 0] }
  }
  if (shape === 1) {
    const data = rowsOf(random, n, 2)
    return {
      rows: Array.from({ length: n }, (_, i) => data.subarray(i * 2, i * 2 + 2)),
      codes: NOTHING,
      offsets: NOTHING,
      data,
      words: [false, 0, 0, false, 2],
    }
  }
  const width = shape === 2 ? 1 : 2
  const entries = randomStrings(20, random, 3)
  const codes = Array.from({ length: n }, () => random.below(22))
  const packed = integerBytes(codes.map(BigInt), width)
  return { rows: codes.map((code) => entries.rows[code]), codes: packed, offsets: entries.offsets, data: entries.data, words: [true, width, 20, true, 0] }
}

/** Where each key's bytes go: at a stride, or at cursors that move on. */
function* placed(
  parts: readonly Uint8Array[],
  inputs: readonly Input[],
  call: (x: Parameters<Case['call']>[0], at: readonly number[], out: number, stride: number, cursors: number) => void,
): Iterable<Case> {
  const width = parts[0]?.length ?? 0
  const stride = width + 3
  const before = Uint8Array.from({ length: Math.max(0, parts.length * stride - 3) }, (_, i) => i * 7)
  const spread = before.slice()
  for (const [i, part] of parts.entries()) spread.set(part, i * stride)
  yield { inputs, outputs: [{ before, expected: spread }], call: (x, at) => call(x, at, at[inputs.length]!, stride, 0) }
  yield { inputs, outputs: atCursors(parts), call: (x, at) => call(x, at, at[inputs.length]!, 0, at[inputs.length + 1]!) }
}

function atCursors(parts: readonly Uint8Array[]): Output[] {
  const ends = [0]
  for (const part of parts) ends.push(ends.at(-1)! + part.length)
  return [{ expected: join(parts) }, { before: u32s(ends.slice(0, -1)), expected: u32s(ends.slice(1)) }]
}

// ---- tables ---------------------------------------------------------------------------------------------------------------------------------------------

/** Keys back to back: of one length, or with their ends. */
function keysOf(n: number, random: Random, fixed: boolean): { rows: Uint8Array[]; data: Uint8Array; ends: Uint8Array; stride: number } {
  const pool = Array.from({ length: 1 + (n >> 1) }, (_, i) => (fixed ? integerBytes([BigInt(i * 2_654_435_761)], 12) : bytesOf(random, random.below(20))))
  const rows = Array.from({ length: n }, () => pool[random.below(pool.length)]!)
  const ends: number[] = []
  for (const row of rows) ends.push((ends.at(-1) ?? 0) + row.length)
  return { rows, data: join(rows), ends: fixed ? NOTHING : u32s(ends), stride: fixed ? 12 : 0 }
}

/** before[i] of each row, and the newest row of each key. */
function put(rows: readonly Uint8Array[], newest: Map<string, number>, first = 0): number[] {
  return rows.map((row, i) => {
    const key = Buffer.from(row).toString('hex')
    const before = newest.get(key) ?? NULL_INDEX
    newest.set(key, first + i)
    return before
  })
}

const slotsFor = (n: number): number => 2 ** Math.ceil(Math.log2(2 * n + 2))
const SEED = [0x1234_5678, 0x9abc_def0] as const
const emptySlots = (slots: number): Output => ({ before: new Uint8Array(slots * 8), expected: NOTHING, slack: slots * 8 })

// ---- key index ------------------------------------------------------------------------------------------------------------------------------------------

interface Index {
  readonly hashes: bigint[]
  readonly buckets: number
  readonly rowBits: number
  readonly tagBits: number
  readonly starts: number[]
  readonly entries: number[]
  readonly prints: number[]
  readonly bases: number[]
  readonly relative: number[]
  readonly packed: Uint8Array
}

const bucketOf = (hash: bigint, buckets: number): number => Math.floor(Number(hash >> 32n) * (buckets / 2 ** 32))

function indexOf(n: number, random: Random, buckets: number, tagBits: number): Index {
  const hashes = Array.from({ length: n }, () => (BigInt(random.u32()) << 32n) | BigInt(random.u32()))
  const rowBits = Math.max(1, Math.ceil(Math.log2(n + 1)))
  const rows = hashes.map((_, row) => row).toSorted((a, b) => bucketOf(hashes[a]!, buckets) - bucketOf(hashes[b]!, buckets))
  const starts = Array.from({ length: buckets + 1 }, (_, b) => hashes.filter((hash) => bucketOf(hash, buckets) < b).length)
  const entries = rows.map((row) => Number(hashes[row]! & ((1n << BigInt(tagBits)) - 1n)) * 2 ** rowBits + row)
  const prints = rows.map((row) => Number((hashes[row]! >> BigInt(tagBits)) & 0xffn))
  const bases = starts.filter((_, b) => b % 64 === 0)
  const bits = rowBits + tagBits
  let all = 0n
  for (const [i, entry] of entries.entries()) all |= BigInt(entry) << BigInt(i * bits)
  return {
    hashes,
    buckets,
    rowBits,
    tagBits,
    starts,
    entries,
    prints,
    bases,
    relative: starts.map((start, b) => start - bases[b >> 6]!),
    packed: integerBytes([all], Math.ceil((n * bits) / 32) * 4),
  }
}

const u16s = (values: readonly number[]): Uint8Array => new Uint8Array(Uint16Array.from(values).buffer)

/** Starts as narrow (bases and u16) or wide (u32). */
const startInputs = (index: Index, narrow: boolean): Uint8Array[] => (narrow ? [u32s(index.bases), u16s(index.relative)] : [NOTHING, u32s(index.starts)])

export const KEYS: Proofs = {
  *compare_columns(n, random) {
    for (const width of [1, 2, 4, 8, 16]) {
      for (const kind of width === 16 ? [0] : width < 4 ? [0, 1] : [0, 1, 2]) {
        const a = rowsOf(random, n, width)
        const b = alike(a, width, random)
        const [fa, fb] = [floats(n, random, width), floats(n, random, width)]
        const [x, y] = kind === 2 ? [fa.values, fb.values] : [integers(a, width, kind === 0), integers(b, width, kind === 0)]
        for (const [op, holds] of RELATIONS.entries()) {
          const hits = x.map((value, i) => holds(value, y[i]!))
          const inputs = kind === 2 ? [grouped(fa.bytes, width), grouped(fb.bytes, width)] : [grouped(a, width), grouped(b, width)]
          yield { inputs, outputs: [{ expected: groupBits(hits) }], call: (k, at) => k.compare_columns(at[0]!, at[1]!, width, kind, n, op, at[2]!) }
        }
      }
    }
  },
  *compare_byte_columns(n, random) {
    for (const shapes of [
      [0, 0],
      [1, 1],
      [0, 2],
      [3, 1],
      [2, 3],
    ] as const) {
      const [a, b] = [byteColumn(n, random, shapes[0]), byteColumn(n, random, shapes[1])]
      for (const accept of [1, 2, 3, 4, 5, 6]) {
        const hits = a.rows.map((row, i) => row !== undefined && b.rows[i] !== undefined && ((accept >> (compareBytes(row, b.rows[i]) + 1)) & 1) === 1)
        yield {
          inputs: [a, b].flatMap((column) => [column.codes, column.offsets, column.data, new Uint8Array(24)]),
          outputs: [{ expected: groupBits(hits) }],
          addresses: (view, at) => {
            for (const [c, { words }] of [a, b].entries()) {
              const [codes, offsets, data, head] = at.slice(c * 4) as [number, number, number, number]
              for (const [i, word] of [words[0] ? codes : 0, words[1], words[2], words[3] ? offsets : 0, data, words[4]].entries())
                view.setUint32(head + i * 4, word, true)
            }
          },
          call: (x, at) => x.compare_byte_columns(at[3]!, at[7]!, n, accept, at[8]!),
        }
      }
    }
  },
  *in_sorted_128(n, random) {
    const p = rowsOf(random, n, 16)
    const rows = integers(p, 16, true)
    for (const m of [0, 1, 2, 5, 33]) {
      const list = [...integers(rowsOf(random, m, 16), 16, true), ...rows].slice(m >> 1, m + (m >> 1)).toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
      const set = new Set(list)
      const inputs = [p, integerBytes(list, 16)]
      yield {
        inputs,
        outputs: [{ expected: groupBits(rows.map((row) => set.has(row))) }],
        call: (x, at) => x.in_sorted_128(at[0]!, n, at[1]!, list.length, at[2]!),
      }
    }
  },

  *key_measure(n, random) {
    for (const width of [0, 1, 2, 4]) {
      const { rows, offsets } = randomStrings(width === 0 ? n : 30, random)
      const codes = Array.from({ length: n }, (_, i) => (width === 0 ? i : random.below(32)))
      const start = codes.map(() => random.below(1000))
      // A code outside the dictionary counts as entry 0.
      const expected = u32s(codes.map((code, i) => start[i]! + 4 + (rows[code] ?? rows[0]!).length))
      const call: Case['call'] = (x, at) => x.key_measure(at[0]!, at[1]!, width, 30, 4, n, at[2]!)
      yield { inputs: [offsets, width === 0 ? NOTHING : integerBytes(codes.map(BigInt), width)], outputs: [{ before: u32s(start), expected }], call }
    }
  },
  *key_places(n, random) {
    for (const most of [100, 0x4000_0000]) {
      const lengths = Array.from({ length: n }, () => random.below(most))
      const ends = [0]
      for (const length of lengths) ends.push(ends.at(-1)! + length)
      const outputs = [{ before: u32s(lengths), expected: u32s(ends.slice(1)) }, { expected: u32s(ends.slice(0, -1)) }]
      yield { inputs: [], outputs, call: (x, at) => x.key_places(at[0]!, at[1]!, n), result: ends.at(-1)! > 0x7fff_ffff ? -2 : ends.at(-1)! }
    }
  },
  *key_ints(n, random) {
    for (const width of [1, 2, 4, 8]) {
      for (const signed of [0, 1]) {
        const p = rowsOf(random, n, width)
        const parts = integers(p, width, signed === 1).map((value) => u64s([value]))
        yield* placed(parts, [p], (x, at, out, stride, cursors) => x.key_ints(at[0]!, width, signed, n, out, stride, cursors))
      }
    }
  },
  *key_floats(n, random) {
    for (const width of [4, 8]) {
      const { bytes, values } = floats(n, random, width)
      for (let i = 0; i < n; i++) if (Number.isNaN(values[i])) bytes[(i + 1) * width - 1]! |= random.below(2) << 7
      const view = new DataView(new ArrayBuffer(8))
      const parts = values.map((value) => {
        view.setFloat64(0, value === 0 ? 0 : value)
        return u64s([Number.isNaN(value) ? 0x7ff8_0000_0000_0000n : view.getBigUint64(0)])
      })
      yield* placed(parts, [bytes], (x, at, out, stride, cursors) => x.key_floats(at[0]!, width, n, out, stride, cursors))
    }
  },
  *key_bools(n, random) {
    const p = bytesOf(random, Math.ceil(n / 8))
    const parts = Array.from({ length: n }, (_, i) => Uint8Array.of(bitAt(p, i)))
    yield* placed(parts, [p], (x, at, out, stride, cursors) => x.key_bools(at[0]!, n, out, stride, cursors))
  },
  *key_fixed(n, random) {
    for (const width of [1, 3, 8, 16, 20, 70]) {
      const p = rowsOf(random, n, width)
      const parts = Array.from({ length: n }, (_, i) => p.subarray(i * width, (i + 1) * width))
      yield* placed(parts, [p], (x, at, out, stride, cursors) => x.key_fixed(at[0]!, width, n, out, stride, cursors))
    }
  },
  *key_bytes(n, random) {
    for (const width of [0, 1, 2, 4]) {
      for (const prefix of [0, 4]) {
        const { rows, offsets, data } = randomStrings(width === 0 ? n : 30, random, 30)
        const codes = Array.from({ length: n }, (_, i) => (width === 0 ? i : random.below(32)))
        const parts = codes.map((code) => {
          const row = rows[code] ?? rows[0]!
          return prefix === 0 ? row : join([u32s([row.length]), row])
        })
        const inputs = [offsets, data, width === 0 ? NOTHING : integerBytes(codes.map(BigInt), width)]
        yield { inputs, outputs: atCursors(parts), call: (x, at) => x.key_bytes(at[0]!, at[1]!, at[2]!, width, 30, prefix, n, at[3]!, at[4]!) }
      }
    }
  },
  *search_words(n, random) {
    for (const signed of [0, 1]) {
      for (const ascending of [true, false]) {
        const order = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0)
        const column = [...new Set(integers(rowsOf(random, n, 8), 8, signed === 1))].toSorted(order)
        const asked = Array.from({ length: 40 }, () =>
          column.length > 0 && random.chance(0.6) ? column[random.below(column.length)]! : integers(rowsOf(random, 1, 8), 8, signed === 1)[0]!,
        )
        if (ascending) asked.sort(order)
        const expected = asked.map((key) => column.indexOf(key))
        const call: Case['call'] = (x, at) => x.search_words(at[0]!, column.length, signed, at[1]!, asked.length, at[2]!)
        const outputs = [{ expected: u32s(expected.map((row) => (row < 0 ? NULL_INDEX : row))) }]
        yield { inputs: [u64s(column), u64s(asked)], outputs, call, result: expected.filter((row) => row >= 0).length }
      }
    }
  },

  *table_put(n, random) {
    for (const fixed of [true, false]) {
      const { rows, data, ends, stride } = keysOf(n, random, fixed)
      const newest = new Map<string, number>()
      const expected = u32s(put(rows, newest))
      const slots = slotsFor(n)
      const call: Case['call'] = (x, at) => x.table_put(at[2]!, slots - 1, at[0]!, fixed ? 0 : at[1]!, stride, 0, n, ...SEED, at[3]!)
      yield { inputs: [data, ends], outputs: [emptySlots(slots), { expected }], call, result: newest.size }
    }
  },
  *table_find(n, random) {
    for (const fixed of [true, false]) {
      const ours = keysOf(n, random, fixed)
      const others = keysOf(n + 5, random, fixed)
      // Some of ours among theirs.
      const theirs = others.rows.map((row) => (n > 0 && random.chance(0.5) ? ours.rows[random.below(n)]! : row))
      const theirEnds = theirs.map((_, i) => theirs.slice(0, i + 1).reduce((sum, row) => sum + row.length, 0))
      const newest = new Map<string, number>()
      put(ours.rows, newest)
      const found = theirs.map((row) => newest.get(Buffer.from(row).toString('hex')) ?? NULL_INDEX)
      const slots = slotsFor(n)
      yield {
        inputs: [ours.data, ours.ends, join(theirs), fixed ? NOTHING : u32s(theirEnds)],
        outputs: [emptySlots(slots), { expected: NOTHING, slack: n * 4 }, { expected: u32s(found) }],
        call: (x, at) => {
          const ends = fixed ? 0 : at[1]!
          x.table_put(at[4]!, slots - 1, at[0]!, ends, ours.stride, 0, n, ...SEED, at[5]!)
          return x.table_find(at[4]!, slots - 1, at[0]!, ends, ours.stride, at[2]!, fixed ? 0 : at[3]!, theirs.length, ...SEED, at[6]!)
        },
        result: found.filter((row) => row !== NULL_INDEX).length,
      }
    }
  },
  *table_undo(n, random) {
    for (const fixed of [true, false]) {
      const { rows, data, ends, stride } = keysOf(n, random, fixed)
      const first = n >> 1
      const newest = new Map<string, number>()
      put(rows.slice(0, first), newest)
      // Keys that came with what is taken back stay, and name the first of their rows.
      for (const [i, row] of rows.entries()) {
        const key = Buffer.from(row).toString('hex')
        if (!newest.has(key)) newest.set(key, i)
      }
      const slots = slotsFor(n)
      yield {
        inputs: [data, ends],
        outputs: [emptySlots(slots), { expected: NOTHING, slack: n * 4 }, { expected: u32s(rows.map((row) => newest.get(Buffer.from(row).toString('hex'))!)) }],
        call: (x, at) => {
          const shared = [at[2]!, slots - 1, at[0]!, fixed ? 0 : at[1]!, stride] as const
          x.table_put(...shared, 0, first, ...SEED, at[3]!)
          x.table_put(...shared, first, n - first, ...SEED, at[3]!)
          x.table_undo(...shared, first, n - first, ...SEED, at[3]!)
          return x.table_find(...shared, at[0]!, fixed ? 0 : at[1]!, n, ...SEED, at[4]!)
        },
        result: n,
      }
    }
  },
  *table_grow(n, random) {
    const { rows, data, stride } = keysOf(n, random, true)
    const newest = new Map<string, number>()
    put(rows, newest)
    const slots = slotsFor(n)
    yield {
      inputs: [data],
      outputs: [
        emptySlots(slots),
        { expected: NOTHING, slack: n * 4 },
        emptySlots(slots * 4),
        { expected: u32s(rows.map((row) => newest.get(Buffer.from(row).toString('hex'))!)) },
      ],
      call: (x, at) => {
        x.table_put(at[1]!, slots - 1, at[0]!, 0, stride, 0, n, ...SEED, at[2]!)
        x.table_grow(at[1]!, slots, at[3]!, slots * 4 - 1)
        return x.table_find(at[3]!, slots * 4 - 1, at[0]!, 0, stride, at[0]!, 0, n, ...SEED, at[4]!)
      },
      result: n,
    }
  },

  *index_sort(n, random) {
    for (const [buckets, tagBits] of [
      [1, 0],
      [7, 9],
      [130, 20],
    ] as const) {
      const index = indexOf(n, random, buckets, tagBits)
      const outputs: Output[] = [
        { before: new Uint8Array((buckets + 2) * 4), expected: u32s(index.starts), slack: 4 },
        { expected: u32s(index.entries) },
        { expected: Uint8Array.from(index.prints) },
      ]
      yield {
        inputs: [u64s(index.hashes)],
        outputs,
        call: (x, at) => x.index_sort(at[0]!, n, buckets, index.rowBits, tagBits, at[1]!, at[2]!, 0, at[3]!),
        result: 1,
      }
      // The same rows by name.
      const rows = Array.from({ length: n }, (_, row) => row)
      yield {
        inputs: [u64s(index.hashes), u32s(rows)],
        outputs,
        call: (x, at) => x.index_sort(at[0]!, n, buckets, index.rowBits, tagBits, at[2]!, at[3]!, at[1]!, at[4]!),
        result: 1,
      }
    }
  },
  *index_starts(n, random) {
    for (const buckets of [1, 63, 64, 130]) {
      const index = indexOf(n, random, buckets, 4)
      for (const narrow of [true, false]) {
        const [bases, relative] = startInputs(index, narrow)
        const call: Case['call'] = (x, at) => x.index_starts(at[0]!, buckets, narrow ? at[1]! : 0, at[2]!)
        yield { inputs: [u32s(index.starts)], outputs: [{ expected: bases! }, { expected: relative! }], call }
      }
    }
  },
  *index_pack(n, random) {
    for (const tagBits of [0, 7, 20]) {
      const index = indexOf(n, random, 5, tagBits)
      yield { inputs: [u32s(index.entries)], outputs: [{ expected: index.packed }], call: (x, at) => x.index_pack(at[0]!, n, index.rowBits + tagBits, at[1]!) }
    }
  },
  *index_check(n, random) {
    for (const [buckets, tagBits, narrow] of [
      [1, 0, false],
      [7, 9, true],
      [130, 20, true],
      [130, 5, false],
    ] as const) {
      const index = indexOf(n, random, buckets, tagBits)
      const [bases, relative] = startInputs(index, narrow)
      const tags = new Uint8Array(buckets * 32)
      for (const hash of index.hashes) {
        const tag = Number(hash & BigInt(Math.min(255, 2 ** tagBits - 1)))
        tags[bucketOf(hash, buckets) * 32 + (tag >> 3)]! |= 1 << (tag & 7)
      }
      const call: Case['call'] = (x, at) => x.index_check(narrow ? at[0]! : 0, at[1]!, at[2]!, buckets, n, n, index.rowBits, tagBits, at[3]!)
      yield { inputs: [bases!, relative!, index.packed], outputs: [{ expected: tags }], call, result: 1 }
      // Starts that fall, leave the rows, or begin elsewhere; a row that is not there.
      const lie = relative!.slice()
      lie[random.below(lie.length)]! ^= 1 << random.below(8)
      yield {
        inputs: [bases!, lie, index.packed],
        outputs: [{ expected: NOTHING, slack: tags.length }],
        call,
        ...(startsHold(index, lie, narrow) ? {} : { result: -1 }),
      }
      if (n > 1 && n < 2 ** index.rowBits) {
        const wrong = integerBytes([BigInt(2 ** index.rowBits - 1)], index.packed.length)
        yield { inputs: [bases!, relative!, wrong], outputs: [{ expected: NOTHING, slack: tags.length }], call, result: -1 }
      }
    }
  },
  *index_probe(n, random) {
    for (const [buckets, tagBits, narrow] of [
      [1, 0, false],
      [7, 9, true],
      [130, 20, false],
    ] as const) {
      const index = indexOf(n, random, buckets, tagBits)
      const hasPrints = random.chance(0.5)
      const [bases, relative] = startInputs(index, narrow)
      const asked = Array.from({ length: 1 + (n % 20) }, () =>
        n > 0 && random.chance(0.7) ? index.hashes[random.below(n)]! : (BigInt(random.u32()) << 32n) | BigInt(random.u32()),
      )
      const mask = (1n << BigInt(tagBits + (hasPrints ? 8 : 0))) - 1n
      const pairs = asked.flatMap((hash, place) =>
        index.hashes.flatMap((other, row) =>
          bucketOf(other, buckets) === bucketOf(hash, buckets) && (other & mask) === (hash & mask) ? [[place, row] as const] : [],
        ),
      )
      const cap = random.chance(0.5) ? pairs.length + 3 : 1 + (pairs.length >> 1)
      const written = pairs.slice(0, cap)
      const next = pairs[cap]
      const skipped =
        next === undefined ? 0 : index.entries.findIndex((entry) => entry % 2 ** index.rowBits === next[1]) - index.starts[bucketOf(asked[next[0]]!, buckets)]!
      const state = u32s(next === undefined ? [asked.length, 0] : [next[0], skipped])
      yield {
        inputs: [bases!, relative!, index.packed, u64s(asked), Uint8Array.from(index.prints)],
        outputs: [{ before: u32s([0, 0]), expected: state }, { expected: u32s(written.flat()) }],
        call: (x, at) => {
          const prints = hasPrints ? at[4]! : 0
          return x.index_probe(narrow ? at[0]! : 0, at[1]!, at[2]!, buckets, index.rowBits, tagBits, at[3]!, asked.length, at[5]!, at[6]!, cap, prints)
        },
        result: written.length,
      }
    }
  },
}

/** Whether changed starts still ascend from 0 to the rows: then only the tags differ. */
function startsHold(index: Index, bytes: Uint8Array, narrow: boolean): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const starts = index.starts.map((_, b) => (narrow ? index.bases[b >> 6]! + view.getUint16(b * 2, true) : view.getUint32(b * 4, true)))
  return starts[0] === 0 && starts.at(-1) === index.hashes.length && starts.every((start, b) => b === 0 || start >= starts[b - 1]!)
}
