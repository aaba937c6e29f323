// test/kernel/sort.test.ts: sorting, order checks and merges against a comparison of plain values.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isSorted, mergeRuns, nullVec, slice, sortIndices, type SortKey, take, topK, type ValueKind, type Vec } from '../../bindings/kernels/index.ts'
import { lengths, randomOf, vecOf } from './vec-model.ts'
import { cellAt, compareCells, kinds, layoutFor, rowsOfKind } from './value-model.ts'

const runs = { numRuns: 300 }

interface KeySpec {
  readonly kind: ValueKind
  readonly descending: boolean
  readonly layout: number
  readonly few: boolean
  readonly nulls: number
}

const keySpecs: fc.Arbitrary<KeySpec> = fc.record({
  kind: fc.constantFrom(...kinds),
  descending: fc.boolean(),
  layout: fc.nat(5),
  few: fc.boolean(),
  nulls: fc.constantFrom(0, 0.2),
})

function keyOf(spec: KeySpec, n: number, seed: number): SortKey {
  const layout = layoutFor(spec.kind, spec.layout)
  return { vec: vecOf(layout, rowsOfKind(spec.kind, layout, n, spec.nulls, spec.few, randomOf(seed)), seed), kind: spec.kind, descending: spec.descending }
}

/** Nulls last, NaN before them, in both directions; then the row number. */
function compareRows(keys: readonly SortKey[], a: number, b: number): number {
  for (const key of keys) {
    const sign = compareCells(cellAt(key.vec, key.kind, a), cellAt(key.vec, key.kind, b), key.descending === true)
    if (sign !== 0) return sign
  }
  return 0
}

function oracle(keys: readonly SortKey[], n: number): number[] {
  return Array.from({ length: n }, (_, i) => i).sort((a, b) => compareRows(keys, a, b) || a - b)
}

function ascending(keys: readonly SortKey[]): SortKey[] {
  return keys.map(({ vec, kind }) => ({ vec, kind }))
}

describe('sortIndices', () => {
  it('sorts by one key of every kind, stably, nulls and NaN last in both directions', () => {
    fc.assert(
      fc.property(keySpecs, lengths, fc.integer(), (spec, n, seed) => {
        const key = keyOf(spec, n, seed)
        expect([...sortIndices([key], n)]).toEqual(oracle([key], n))
      }),
      { numRuns: 1000 },
    )
  })

  it('sorts by several keys', () => {
    fc.assert(
      fc.property(fc.array(keySpecs, { minLength: 2, maxLength: 4 }), lengths, fc.integer(), (specs, n, seed) => {
        const keys = specs.map((spec, i) => keyOf({ ...spec, few: i < specs.length - 1 }, n, seed + i))
        expect([...sortIndices(keys, n)]).toEqual(oracle(keys, n))
        expect([...topK(keys, n, 10)]).toEqual(oracle(keys, n).slice(0, 10))
      }),
      runs,
    )
  })

  it('finds the first few of many by every kind, ties and nulls included', () => {
    fc.assert(
      fc.property(keySpecs, keySpecs, fc.integer({ min: 200, max: 700 }), fc.nat(60), fc.integer(), (a, b, n, count, seed) => {
        const keys = [keyOf(a, n, seed), keyOf(b, n, seed + 1)]
        expect([...topK(keys, n, count)]).toEqual(oracle(keys, n).slice(0, count))
        const nulls: SortKey = { vec: nullVec({ kind: 'fixed', width: 4 }, n), kind: 'i32' }
        expect([...topK([nulls, keys[0]!], n, count)]).toEqual(oracle([nulls, keys[0]!], n).slice(0, count))
      }),
      runs,
    )
  })

  it('sorts many rows with long shared prefixes', () => {
    const random = randomOf(9)
    const prefix = Buffer.from('https://example.org/').toString('hex')
    const rows = Array.from({ length: 5000 }, () => prefix + random.below(3000).toString(16).padStart(4, '0').slice(0, 4))
    const key: SortKey = { vec: vecOf({ kind: 'var' }, rows), kind: 'bytes' }
    expect([...sortIndices([key], rows.length)]).toEqual(oracle([key], rows.length))
    const back: SortKey = { ...key, descending: true }
    expect([...sortIndices([back], rows.length)]).toEqual(oracle([back], rows.length))
  })

  it('sorts int64 extremes as signed numbers', () => {
    const values = [0n, -1n, 1n, 2n ** 63n - 1n, -(2n ** 63n), 255n, -256n]
    const rows = values.map((value) => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigInt64LE(value)
      return bytes.toString('hex')
    })
    const order = sortIndices([{ vec: vecOf({ kind: 'fixed', width: 8 }, rows), kind: 'i64' }], rows.length)
    expect([...order].map((i) => values[i])).toEqual(values.toSorted((a, b) => (a < b ? -1 : 1)))
  })
})

describe('isSorted', () => {
  it('names the first row that is less than the one before it, and tells equal neighbours', () => {
    fc.assert(
      fc.property(fc.array(keySpecs, { minLength: 1, maxLength: 3 }), lengths, fc.integer(), fc.boolean(), (specs, n, seed, presort) => {
        const random = ascending(specs.map((spec, i) => keyOf(spec, n, seed + i)))
        const order = sortIndices(random, n)
        const keys = presort ? random.map(({ vec, kind }) => ({ vec: take(vec, order), kind })) : random
        let row = -1
        let strict = true
        for (let i = 1; i < n && row < 0; i++) {
          const sign = compareRows(keys, i - 1, i)
          if (sign > 0) row = i
          if (sign >= 0) strict = false
        }
        expect(isSorted(keys, n)).toEqual({ sorted: row < 0, strict, row })
        if (presort) expect(row).toBe(-1)
      }),
      runs,
    )
  })
})

describe('mergeRuns', () => {
  /** Splits n sorted rows of the keys into runs: each run is a random subset in order. */
  function splitRuns(keys: readonly SortKey[], n: number, count: number, seed: number): SortKey[][] {
    const random = randomOf(seed)
    const members: number[][] = Array.from({ length: count }, () => [])
    for (let i = 0; i < n; i++) members[random.below(count)]!.push(i)
    return members.map((rows) => {
      const part = keys.map(({ vec, kind }) => ({ vec: take(vec, Uint32Array.from(rows)), kind }))
      const order = sortIndices(part, rows.length)
      return part.map(({ vec, kind }) => ({ vec: take(vec, order), kind }))
    })
  }

  it('merges one to six runs stably, for every kind and for several keys', () => {
    fc.assert(
      fc.property(fc.array(keySpecs, { minLength: 1, maxLength: 3 }), lengths, fc.integer({ min: 1, max: 6 }), fc.integer(), (specs, n, count, seed) => {
        const keys = ascending(specs.map((spec, i) => keyOf({ ...spec, few: spec.few || i < specs.length - 1 }, n, seed + i)))
        const parts = splitRuns(keys, n, count, seed)
        const cells = parts.flatMap((run) => {
          const length = run[0]!.vec.length
          return Array.from({ length }, (_, i) => run.map((key) => cellAt(key.vec, key.kind, i)))
        })
        const expected = Array.from({ length: n }, (_, i) => i).sort((a, b) => {
          for (let key = 0; key < keys.length; key++) {
            const sign = compareCells(cells[a]![key]!, cells[b]![key]!, false)
            if (sign !== 0) return sign
          }
          return a - b
        })
        expect([...mergeRuns(parts)]).toEqual(expected)
      }),
      { numRuns: 600 },
    )
  })

  it('keeps byte order across multi-byte characters and shared prefixes of 7, 8 and 9 bytes', () => {
    const texts = ['abcdefg', 'abcdefgh', 'abcdefghi', 'abcdefgz', 'abcdefg\u0000', 'abcdefgé', 'é', 'zz', '€', '😀', '\uffee', '']
    const rows = texts.map((text) => Buffer.from(text).toString('hex'))
    const sorted = rows.toSorted()
    const key = (part: readonly string[]): SortKey[] => [{ vec: vecOf({ kind: 'var' }, part), kind: 'bytes' }]
    const a = sorted.filter((_, i) => i % 3 === 0)
    const b = sorted.filter((_, i) => i % 3 !== 0)
    const both = [...a, ...b]
    expect([...mergeRuns([key(a), key(b)])].map((i) => both[i])).toEqual(sorted)
    const pair = (part: readonly string[]): SortKey[] => [
      {
        vec: vecOf(
          { kind: 'bool' },
          part.map(() => true),
        ),
        kind: 'bool',
      },
      ...key(part),
    ]
    expect([...mergeRuns([pair(a), pair(b)])].map((i) => both[i])).toEqual(sorted)
  })

  it('merges int64 extremes as signed numbers', () => {
    const values = [-(2n ** 63n), -(2n ** 63n) + 1n, -256n, -1n, 0n, 1n, 255n, 2n ** 63n - 2n, 2n ** 63n - 1n]
    const run = (part: readonly bigint[]): SortKey[] => {
      const rows = part.map((value) => Buffer.from(BigInt64Array.of(value).buffer).toString('hex'))
      return [{ vec: vecOf({ kind: 'fixed', width: 8 }, rows), kind: 'i64' }]
    }
    for (const modulus of [2, 3, 4]) {
      const a = values.filter((_, i) => i % modulus === 0)
      const b = values.filter((_, i) => i % modulus !== 0)
      expect([...mergeRuns([run(a), run(b)])].map((i) => [...a, ...b][i])).toEqual(values)
    }
  })

  it('refuses a run that is not sorted and names its row', () => {
    const run = (rows: readonly string[]): SortKey[] => [{ vec: vecOf({ kind: 'fixed', width: 1 }, rows), kind: 'i8' }]
    expect(() => mergeRuns([run(['01', '02']), run(['01', '7f', '80'])])).toThrow(expect.objectContaining({ name: 'RunNotSortedError', row: 2 }))
  })

  it('refuses any disorder, in any run, with any kind of key', () => {
    fc.assert(
      fc.property(fc.array(keySpecs, { minLength: 1, maxLength: 2 }), lengths, lengths, fc.integer(), (specs, n, m, seed) => {
        const sortedRun = (length: number, at: number): SortKey[] =>
          splitRuns(ascending(specs.map((spec, i) => keyOf(spec, length, at + i))), length, 1, at)[0]!
        const good = sortedRun(n, seed)
        const other = ascending(specs.map((spec, i) => keyOf(spec, m, seed + 9 + i)))
        const { sorted, row } = isSorted(other, m)
        if (sorted) expect(mergeRuns([good, other]).length).toBe(n + m)
        else expect(() => mergeRuns([good, other])).toThrow(expect.objectContaining({ name: 'RunNotSortedError', row }))
      }),
      runs,
    )
  })

  it('merges long interleaved, disjoint and equal runs', () => {
    const random = randomOf(77)
    const rows = (n: number, from: number, step: number): string[] => {
      let at = from
      return Array.from({ length: n }, () => {
        at += random.below(step)
        const bytes = Buffer.alloc(8)
        bytes.writeBigInt64LE(BigInt(at))
        return bytes.toString('hex')
      })
    }
    const shapes = [
      [rows(5000, -3000, 5), rows(4000, -3000, 6)],
      [rows(5000, 0, 5), rows(100, 0, 200)],
      [rows(100, 0, 200), rows(5000, 0, 5)],
      [rows(300, 9000, 2), rows(300, 0, 2)],
      [rows(300, 0, 2), rows(300, 9000, 2)],
      [rows(300, 0, 1), rows(301, 0, 1), rows(302, 0, 1)],
    ]
    for (const parts of shapes) {
      const values = parts.flat().map((hex) => Buffer.from(hex, 'hex').readBigInt64LE())
      const expected = values.map((_, i) => i).sort((a, b) => (values[a]! < values[b]! ? -1 : values[a]! > values[b]! ? 1 : a - b))
      expect([...mergeRuns(parts.map((part): SortKey[] => [{ vec: vecOf({ kind: 'fixed', width: 8 }, part), kind: 'i64' }]))]).toEqual(expected)
    }
  })

  it('orders byte strings of equal beginnings by what lies behind, be they few or many', () => {
    const random = randomOf(78)
    const key = (rows: readonly string[]): SortKey[] => [{ vec: vecOf({ kind: 'var' }, rows), kind: 'bytes' }]
    for (const [n, heads, tails] of [
      [700, 1_000_000, 9],
      [700, 3000, 9],
      [700, 3000, 1],
      [700, 20, 400],
      [60, 10, 9],
    ] as const) {
      for (const shared of ['', 'user-', 'https://example.com/']) {
        const text = (): string => `${shared}${String(random.below(heads)).padStart(8, '0')}${random.below(tails) || ''}`
        const sides = [0, 1].map(() => Array.from({ length: n }, () => Buffer.from(text()).toString('hex')).toSorted())
        const both = sides.flat()
        const expected = both.map((_, i) => i).sort((a, b) => (both[a]! < both[b]! ? -1 : both[a]! > both[b]! ? 1 : a - b))
        expect([...mergeRuns(sides.map(key))]).toEqual(expected)
      }
    }
  })

  it('orders a few long groups of one beginning, which lie in both runs', () => {
    const key = (rows: readonly string[]): SortKey[] => [{ vec: vecOf({ kind: 'var' }, rows), kind: 'bytes' }]
    const plain = (n: number, side: string): string[] => Array.from({ length: n }, (_, i) => `${side}${String(i).padStart(9, '0')}`)
    const group = (tails: readonly number[]): string[] => tails.map((tail) => `mmmmmmmm${tail}`)
    const sides = [
      [...plain(400, 'a'), ...group([1, 3, 3, 5, 9]), ...plain(400, 'y')],
      [...plain(300, 'b'), ...group([0, 2, 3, 4, 4, 6]), ...plain(300, 'z')],
    ].map((rows) => rows.map((row) => Buffer.from(row).toString('hex')))
    const both = sides.flat()
    const expected = both.map((_, i) => i).sort((a, b) => (both[a]! < both[b]! ? -1 : both[a]! > both[b]! ? 1 : a - b))
    expect([...mergeRuns(sides.map(key))]).toEqual(expected)
  })

  it('names the row that is out of order, wherever a piece of its run ends', () => {
    const good = Array.from({ length: 40_000 }, (_, i) => i)
    const vecs = (values: readonly number[]): SortKey[][] => [
      [
        {
          vec: vecOf(
            { kind: 'fixed', width: 8 },
            values.map(
              (value) =>
                `${value
                  .toString(16)
                  .padStart(4, '0')
                  .replace(/(..)(..)/, '$2$1')}000000000000`,
            ),
          ),
          kind: 'i64',
        },
      ],
      [
        {
          vec: vecOf(
            { kind: 'var' },
            values.map((value) => `2f2f2f${value.toString(16).padStart(8, '0')}`),
          ),
          kind: 'bytes',
        },
      ],
    ]
    const ordered = vecs(good)
    for (const row of [1, 16_383, 16_384, 16_385, 32_768, 39_999]) {
      const broken = vecs(good.map((value) => (value === row ? row - 1 : value === row - 1 ? row : value)))
      for (const [i, run] of broken.entries()) {
        expect(() => mergeRuns([ordered[i]!, run])).toThrow(expect.objectContaining({ name: 'RunNotSortedError', row }))
      }
    }
  })

  it('merges runs of different physical widths, of dictionaries and of slices', () => {
    const narrow: Vec = vecOf({ kind: 'fixed', width: 1 }, ['ff', '05'])
    const wide: Vec = vecOf({ kind: 'fixed', width: 4 }, ['00000080', '04000000'])
    expect([...mergeRuns([[{ vec: narrow, kind: 'i64' }], [{ vec: wide, kind: 'i64' }]])]).toEqual([2, 0, 3, 1])
    const dict = vecOf({ kind: 'dict', width: 1 }, ['99', '01', '03', null])
    const plain = vecOf({ kind: 'var' }, ['02', null])
    expect([...mergeRuns([[{ vec: slice(dict, 1, 4), kind: 'bytes' }], [{ vec: plain, kind: 'bytes' }]])]).toEqual([0, 3, 1, 2, 4])
  })
})
