import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { KernelMemoryExhaustedError } from '../../bindings/errors.ts'
import { joinKeys, type KeyColumn, KeyTable, kernels, NO_ROW, repeatedKeys } from '../../bindings/kernels/index.ts'
import { hex, noise } from './bytes.ts'

const SEED = { lo: 0x1234_5678, hi: 0x9abc_def0 }

/** Keys back to back: of one length when `stride` is not 0. */
function columnOf(keys: readonly Uint8Array[], stride = 0): KeyColumn {
  const data = new Uint8Array(Buffer.concat(keys))
  if (stride > 0) return { rows: keys.length, stride, data, ends: undefined }
  let end = 0
  return { rows: keys.length, stride: 0, data, ends: Uint32Array.from(keys, (key) => (end += key.length)) }
}

/** What a Map says: of each key its newest row before, over batches. */
class OracleTable {
  readonly #rows = new Map<string, number>()
  #next = 0
  put(keys: readonly Uint8Array[]): number[] {
    return keys.map((key) => {
      const before = this.#rows.get(hex(key)) ?? NO_ROW
      this.#rows.set(hex(key), this.#next++)
      return before
    })
  }
  find(keys: readonly Uint8Array[]): number[] {
    return keys.map((key) => this.#rows.get(hex(key)) ?? NO_ROW)
  }
  get size(): number {
    return this.#rows.size
  }
}

/** Few distinct keys of one length each batch, or of lengths that are prefixes of each other. */
const fixedKeys = (stride: number): fc.Arbitrary<Uint8Array[]> =>
  fc.array(
    fc.integer({ min: 0, max: 40 }).map((n) => noise(stride, n + 1)),
    { maxLength: 257 },
  )
const textKeys = fc.array(
  fc
    .tuple(fc.constantFrom('', 'customer/', 'customer/0000', 'a'), fc.constantFrom('', '0', '1', '00', '\0', 'é'))
    .map(([a, b]) => new TextEncoder().encode(a + b)),
  { maxLength: 257 },
)

describe('a table of keys', () => {
  const cases: [string, number, fc.Arbitrary<Uint8Array[]>][] = [
    ...Array.from({ length: 16 }, (_, i): [string, number, fc.Arbitrary<Uint8Array[]>] => [`of ${i + 1} bytes`, i + 1, fixedKeys(i + 1)]),
    ['of 40 bytes', 40, fixedKeys(40)],
    ['of text with shared prefixes', 0, textKeys],
  ]
  for (const [name, stride, keys] of cases) {
    it(`answers as a Map, over batches, keys ${name}`, () => {
      fc.assert(
        fc.property(fc.array(keys, { maxLength: 4 }), keys, (batches, asked) => {
          const table = new KeyTable(stride, SEED)
          const oracle = new OracleTable()
          for (const batch of batches) {
            expect(Array.from(table.put(columnOf(batch, stride)))).toEqual(oracle.put(batch))
            expect(Array.from(table.find(columnOf(asked, stride)))).toEqual(oracle.find(asked))
          }
          expect(table.rows).toBe(batches.reduce((sum, batch) => sum + batch.length, 0))
          expect(table.size).toBe(oracle.size)
        }),
        { numRuns: 12 },
      )
    })
  }

  it('grows over many batches and forgets nothing', () => {
    const table = new KeyTable(8, SEED)
    const keys = noise(8 * 50_000, 3)
    let first = 0
    for (const rows of [1, 700, 703, 704, 705, 20_000, 27_187]) {
      const data = keys.subarray(8 * first, 8 * (first + rows))
      expect(table.put({ rows, stride: 8, data, ends: undefined }).every((row) => row === NO_ROW)).toBe(true)
      first += rows
    }
    expect(first).toBe(50_000)
    const found = table.find({ rows: 50_000, stride: 8, data: keys, ends: undefined })
    expect(found.every((row, i) => row === i)).toBe(true)
    expect(table.find({ rows: 1000, stride: 8, data: noise(8000, 99), ends: undefined }).every((row) => row === NO_ROW)).toBe(true)
    expect(table.byteLength).toBeGreaterThan(50_000 * 8)
  })

  it('takes a put back: keys that were there name their old rows again', () => {
    fc.assert(
      fc.property(textKeys, textKeys, (old, batch) => {
        const table = new KeyTable(0, SEED)
        const oracle = new OracleTable()
        table.put(columnOf(old))
        oracle.put(old)
        const before = oracle.find(batch)
        const answered = table.put(columnOf(batch))
        table.undo(answered)
        const found = table.find(columnOf(batch))
        before.forEach((row, i) => {
          if (row !== NO_ROW) expect(found[i]).toBe(row)
          // A key that only this batch has names its first row there.
          else expect(found[i]).toBe(old.length + batch.findIndex((key) => hex(key) === hex(batch[i]!)))
        })
      }),
      { numRuns: 40 },
    )
  })

  it('tells keys apart that have one hash in common', () => {
    // Truncated to the 32 bits that a slot holds, 200,000 hashes have collisions: found by the table itself, told apart by the bytes.
    const data = noise(8 * 200_000, 8)
    const table = new KeyTable(8, { lo: 0, hi: 0 })
    table.put({ rows: 200_000, stride: 8, data, ends: undefined })
    expect(table.size).toBe(new Set(new BigUint64Array(data.buffer)).size)
  })

  it('is full with a typed error, and answers as before', () => {
    const table = new KeyTable(8, SEED, { limitBytes: 1 << 20 })
    const keys = noise(8 * 200_000, 4)
    const batch = (from: number, rows: number): KeyColumn => ({ rows, stride: 8, data: keys.subarray(8 * from, 8 * (from + rows)), ends: undefined })
    table.put(batch(0, 1000))
    expect(() => table.put(batch(1000, 199_000))).toThrow(KernelMemoryExhaustedError)
    expect(table.rows).toBe(1000)
    expect(table.find(batch(0, 1000)).every((row, i) => row === i)).toBe(true)
    expect(table.put(batch(1000, 1000)).every((row) => row === NO_ROW)).toBe(true)
  })

  it('refuses keys of another length, and keys that contradict themselves', () => {
    const table = new KeyTable(8, SEED)
    expect(() => table.put({ rows: 2, stride: 4, data: noise(8), ends: undefined })).toThrow(RangeError)
    expect(() => table.put({ rows: 2, stride: 0, data: noise(8), ends: Uint32Array.of(4, 8) })).toThrow(RangeError)
    expect(() => table.undo(new Uint32Array(1))).toThrow(RangeError)
    table.put({ rows: 1, stride: 8, data: noise(8), ends: undefined })
    expect(() => table.undo(Uint32Array.of(1))).toThrow(RangeError)

    const varying = new KeyTable(0, SEED)
    const bad: Readonly<Record<string, KeyColumn>> = {
      'no ends': { rows: 2, stride: 0, data: noise(8), ends: undefined },
      'fewer ends than rows': { rows: 3, stride: 0, data: noise(8), ends: Uint32Array.of(4, 8) },
      'an end before its beginning': { rows: 3, stride: 0, data: noise(8), ends: Uint32Array.of(4, 3, 8) },
      'ends behind the data': { rows: 2, stride: 0, data: noise(8), ends: Uint32Array.of(4, 9) },
      'half a row': { rows: 0.5, stride: 0, data: noise(8), ends: Uint32Array.of(8) },
      'rows below 0': { rows: -1, stride: 0, data: noise(8), ends: Uint32Array.of(8) },
    }
    for (const [why, keys] of Object.entries(bad)) {
      expect(() => varying.put(keys), why).toThrow(RangeError)
      expect(() => varying.find(keys), why).toThrow(RangeError)
    }
    expect(varying.rows).toBe(0)
    for (const stride of [-1, 0.5, NaN]) expect(() => new KeyTable(stride, SEED)).toThrow(RangeError)
  })
})

describe('a batch against itself and another', () => {
  it('repeated keys name the row before, and a batch without any says so', () => {
    fc.assert(
      fc.property(textKeys, (keys) => {
        const expected = new OracleTable().put(keys)
        const found = repeatedKeys(columnOf(keys))
        if (expected.every((row) => row === NO_ROW)) expect(found).toBeUndefined()
        else expect(Array.from(found!)).toEqual(expected)
      }),
    )
  })

  it('a join gives each probe key its newest build row', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 16 }).chain((stride) => fc.tuple(fc.constant(stride), fixedKeys(stride), fixedKeys(stride), fc.boolean(), fc.boolean())),
        ([stride, build, probe, buildVaries, probeVaries]) => {
          const oracle = new OracleTable()
          oracle.put(build)
          const expected = oracle.find(probe)
          const { rows, found } = joinKeys(columnOf(build, buildVaries ? 0 : stride), columnOf(probe, probeVaries ? 0 : stride))
          expect(Array.from(rows)).toEqual(expected)
          expect(found).toBe(expected.filter((row) => row !== NO_ROW).length)
        },
      ),
      { numRuns: 80 },
    )
    expect(kernels().arena.usedBytes).toBe(0)
  })

  it('lengths 0..257 at every alignment of the keys', () => {
    const k = kernels()
    for (let n = 0; n <= 257; n++) {
      const keys = Array.from({ length: n }, (_, i) => noise(5, (i % 100) + 1))
      const expected = new OracleTable().put(keys)
      const bytes = columnOf(keys, 5).data
      const mark = k.arena.mark()
      const slots = k.arena.reserve(512 * 8)
      const before = k.arena.reserve(n * 4)
      const data = k.arena.reserve(bytes.length + 16) + (n & 15)
      k.u8.fill(0, slots, slots + 512 * 8)
      k.u8.set(bytes, data)
      const added = k.exports.table_put(slots, 511, data, 0, 5, 0, n, 1, 2, before)
      expect(added).toBe(Math.min(n, 100))
      expect(Array.from(k.u32.subarray(before >>> 2, (before >>> 2) + n)), `${n} keys`).toEqual(expected)
      k.arena.rewind(mark)
    }
  })
})
