// test/unit/kernels/columns-calls.test.ts: the calls of varve/kernels on columns against plain arrays, and what they refuse.
import * as arrow from 'apache-arrow'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import {
  between,
  bitmapAll,
  bitmapAnd,
  bitmapAndNot,
  bitmapNot,
  bitmapOr,
  BloomFilter,
  type Column,
  columnOf,
  compare,
  type CompareOp,
  concat,
  count,
  decodeDictionary,
  encodeDictionary,
  evaluateBitmap,
  filter,
  filterMany,
  groupBy,
  inList,
  InvalidConfigError,
  isNotNull,
  isNull,
  isSorted,
  join,
  canonicalKeys,
  keyHashes,
  KeyTable,
  NO_ROW,
  mean,
  mergeRuns,
  minMax,
  popcount,
  RunNotSortedError,
  selectedRows,
  slice,
  sortIndices,
  startsWith,
  sum,
  take,
  takeMany,
  toArray,
  topK,
  unifyDictionaries,
  UnsupportedTypeError,
  xxh3,
  xxh3Column,
  xxh64,
  xxh64Column,
} from '../../../bindings/kernels/public.ts'

const text = fc.option(fc.string({ maxLength: 12, unit: 'grapheme' }), { freq: 4 })
const texts = fc.array(text, { maxLength: 200 })
const utf8 = (value: string): Uint8Array => new TextEncoder().encode(value)
const compareTexts = (a: string, b: string): number => Buffer.compare(utf8(a), utf8(b))

/** An int32 column with nulls, by way of Arrow. */
function ints(values: readonly (number | null)[]): Column<number> {
  return columnOf(arrow.vectorFromArray(values, new arrow.Int32()))
}
const intRows = fc.array(fc.option(fc.integer({ min: -50, max: 50 }), { freq: 5 }), { maxLength: 200 })

const holds: Readonly<Record<CompareOp, (sign: number) => boolean>> = {
  eq: (sign) => sign === 0,
  ne: (sign) => sign !== 0,
  lt: (sign) => sign < 0,
  le: (sign) => sign <= 0,
  gt: (sign) => sign > 0,
  ge: (sign) => sign >= 0,
}
const ops = Object.keys(holds) as CompareOp[]

describe('predicates', () => {
  it('compare numbers and texts with constants, nulls never', () => {
    fc.assert(
      fc.property(intRows, texts, fc.integer({ min: -60, max: 60 }), fc.string({ maxLength: 4 }), (numbers, words, constant, word) => {
        for (const op of ops) {
          expect([...selectedRows(compare(ints(numbers), op, constant), numbers.length)]).toEqual(
            numbers.flatMap((value, i) => (value !== null && holds[op](value - constant) ? [i] : [])),
          )
          for (const column of [columnOf(words), encodeDictionary(columnOf(words))!]) {
            expect([...selectedRows(compare(column, op, word), words.length)]).toEqual(
              words.flatMap((value, i) => (value !== null && holds[op](compareTexts(value, word)) ? [i] : [])),
            )
          }
        }
      }),
      { numRuns: 50 },
    )
  })

  it('compare columns row by row', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(text, text), { maxLength: 100 }), (pairs) => {
        const [a, b] = [columnOf(pairs.map(([left]) => left)), columnOf(pairs.map(([, right]) => right))]
        for (const op of ops) {
          const expected = pairs.flatMap(([left, right], i) => (left !== null && right !== null && holds[op](compareTexts(left, right)) ? [i] : []))
          expect([...selectedRows(compare(a, op, b), pairs.length)]).toEqual(expected)
          expect([...selectedRows(compare(encodeDictionary(a)!, op, b), pairs.length)]).toEqual(expected)
        }
      }),
      { numRuns: 30 },
    )
    expect([...selectedRows(compare(columnOf(Int32Array.of(1, 5)), 'lt', columnOf(Int32Array.of(2, 2))), 2)]).toEqual([0])
    expect(() => compare(columnOf(Int32Array.of(1)), 'lt', columnOf(Int32Array.of(2, 2)))).toThrow(RangeError)
    expect(() => compare(columnOf(Int32Array.of(1)), 'lt', columnOf(Int16Array.of(2)))).toThrow(InvalidConfigError)
  })

  it('are joined as bitmaps', () => {
    const column = columnOf(Int32Array.from({ length: 100 }, (_, i) => i))
    const low = compare(column, 'lt', 50)
    const third = inList(column, [3, 33, 66, 99])
    const rows = (bits: Uint8Array): number[] => [...selectedRows(bits, 100)]
    expect(rows(bitmapAnd(low, third, 100))).toEqual([3, 33])
    expect(rows(bitmapAndNot(third, low, 100))).toEqual([66, 99])
    expect(popcount(bitmapOr(low, third, 100), 100)).toBe(52)
    expect(popcount(bitmapNot(low, 100), 100)).toBe(50)
    expect(rows(between(column, 10, 12))).toEqual([10, 11, 12])
    expect(rows(evaluateBitmap({ and: [() => low, { or: [third, { not: { and: [] } }] }] }, 100))).toEqual([3, 33])
    expect(() => evaluateBitmap({ and: [{ not: () => new Uint8Array(12) }] }, 100)).toThrow(RangeError)
    expect(() => bitmapAnd(low, new Uint8Array(12), 100)).toThrow(RangeError)
    for (const n of [-1, 0.5, 2 ** 32]) expect(() => bitmapAll(n)).toThrow(RangeError)
  })

  it('know nulls, prefixes, decimals, booleans and bytes', () => {
    const words = columnOf(['SFO', null, 'SEA', 'LAX'])
    expect([...selectedRows(isNull(words), 4)]).toEqual([1])
    expect([...selectedRows(isNotNull(words), 4)]).toEqual([0, 2, 3])
    expect([...selectedRows(startsWith(words, 'S'), 4)]).toEqual([0, 2])
    const decimals = columnOf(arrow.vectorFromArray([Uint32Array.of(250, 0, 0, 0), Uint32Array.of(99, 0, 0, 0)], new arrow.Decimal(2, 20, 128)))
    expect([...selectedRows(compare(decimals, 'gt', 100n), 2)]).toEqual([0])
    const yes = columnOf(arrow.vectorFromArray([true, false, null], new arrow.Bool()))
    expect([...selectedRows(compare(yes, 'eq', true), 3)]).toEqual([0])
    const binary = columnOf(arrow.vectorFromArray([Uint8Array.of(1), Uint8Array.of(2)], new arrow.Binary()))
    expect([...selectedRows(compare(binary, 'ge', Uint8Array.of(1, 0)), 2)]).toEqual([1])
  })

  it('refuse constants of another type, selections that are too short, types without an order', () => {
    const numbers = ints([1, 2, 3])
    const lists = columnOf(arrow.vectorFromArray([[1]], new arrow.List(new arrow.Field('item', new arrow.Int32()))))
    expect(() => compare(numbers as Column, 'eq', 'three')).toThrow(InvalidConfigError)
    expect(() => compare(columnOf(['a']) as Column, 'eq', 3)).toThrow(/utf8 compared with a value of type number/)
    expect(() => compare(numbers as Column, 'eq', null)).toThrow(/null/)
    expect(() => inList(columnOf(arrow.vectorFromArray([true], new arrow.Bool())), [1])).toThrow(InvalidConfigError)
    expect(() => startsWith(numbers as Column, 1)).toThrow(InvalidConfigError)
    expect(() => startsWith(lists, 'a')).toThrow(UnsupportedTypeError)
    expect(() => compare(columnOf(arrow.vectorFromArray([1], new arrow.Float16())), 'eq', 1)).toThrow(UnsupportedTypeError)
    for (const call of [() => filter(numbers, new Uint8Array(0)), () => sum(numbers, new Uint8Array(0)), () => selectedRows(new Uint8Array(1), 9)]) {
      expect(call).toThrow(RangeError)
    }
  })
})

describe('rows', () => {
  it('of several columns are taken and filtered together', () => {
    fc.assert(
      fc.property(texts, fc.array(fc.nat(), { maxLength: 100 }), fc.uint8Array({ minLength: 25, maxLength: 25 }), (words, picks, selection) => {
        const n = words.length
        const column = columnOf(words)
        const codes = encodeDictionary(column)!
        const indices = Uint32Array.from(n === 0 ? [] : picks, (pick) => pick % n)
        const [a, b] = takeMany([column, codes], indices)
        expect(toArray(a)).toEqual([...indices].map((i) => words[i]))
        expect(toArray(b)).toEqual(toArray(a))
        const [c, d] = filterMany([column, codes], selection)
        const kept = words.filter((_, i) => ((selection[i >> 3]! >> (i & 7)) & 1) === 1)
        expect(toArray(c)).toEqual(kept)
        expect(toArray(d)).toEqual(kept)
        expect(toArray(decodeDictionary(codes))).toEqual(words)
        expect(toArray(concat([column, codes, slice(column, 0, n >> 1)]))).toEqual([...words, ...words, ...words.slice(0, n >> 1)])
      }),
      { numRuns: 60 },
    )
  })

  it('that are not there, and columns that do not fit, are refused', () => {
    const numbers = ints([1, 2, 3])
    expect(() => take(numbers, Uint32Array.of(0, 3))).toThrow(RangeError)
    expect(() =>
      take(
        columnOf(Int32Array.from({ length: 100 })),
        Uint32Array.from({ length: 99 }, () => 100),
      ),
    ).toThrow(RangeError)
    expect(() => takeMany([numbers, ints([1])], Uint32Array.of(0))).toThrow(RangeError)
    expect(() => filterMany([numbers, ints([1])], new Uint8Array(8))).toThrow(RangeError)
    for (const [start, end] of [
      [-1, 2],
      [2, 1],
      [0, 4],
      [0.5, 2],
    ] as const) {
      expect(() => slice(numbers, start, end)).toThrow(RangeError)
    }
    expect(() => concat([])).toThrow(RangeError)
    expect(() => concat<unknown>([numbers, columnOf(['a'])])).toThrow(InvalidConfigError)
    expect(() => encodeDictionary(numbers)).toThrow(InvalidConfigError)
    expect(() => unifyDictionaries([columnOf(['a'])])).toThrow(InvalidConfigError)
  })

  it('of dictionaries share one after they were unified', () => {
    fc.assert(
      fc.property(fc.array(texts, { minLength: 1, maxLength: 4 }), (lists) => {
        const columns = unifyDictionaries(lists.map((each) => encodeDictionary(columnOf(each))!))
        expect(columns.map(toArray)).toEqual(lists)
        expect(new Set(columns.map((column) => column.dictionary)).size).toBe(1)
      }),
      { numRuns: 40 },
    )
  })

  it('are given up as a dictionary when there are too many values', () => {
    expect(encodeDictionary(columnOf(['a', 'b', 'c']), 2)).toBeUndefined()
    const codes = encodeDictionary(columnOf(['a', 'b', 'a']), 2)!
    expect(encodeDictionary(codes)).toBe(codes)
  })
})

describe('orders', () => {
  it('are those of a stable sort: nulls last, several keys, descending', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.option(fc.integer({ min: 0, max: 5 })), text), { maxLength: 150 }), fc.boolean(), fc.nat(10), (rows, descending, k) => {
        const keys = [{ column: ints(rows.map(([number]) => number)), descending }, columnOf(rows.map(([, word]) => word))]
        const signed = <T>(a: T | null, b: T | null, order: (a: T, b: T) => number): number =>
          a === null || b === null ? Number(a === null) - Number(b === null) : order(a, b)
        const expected = rows
          .map((_, i) => i)
          .toSorted(
            (i, j) => signed(rows[i]![0], rows[j]![0], (a, b) => (descending ? b - a : a - b)) || signed(rows[i]![1], rows[j]![1], compareTexts) || i - j,
          )
        expect([...sortIndices(keys)]).toEqual(expected)
        expect([...topK(keys, k)]).toEqual(expected.slice(0, k))
      }),
      { numRuns: 60 },
    )
  })

  it('merge runs', () => {
    fc.assert(
      fc.property(fc.array(texts, { minLength: 1, maxLength: 5 }), (lists) => {
        const runs = lists.map((each) => {
          const column = columnOf(each)
          return take(column, sortIndices([column]))
        })
        const merged = take(concat(runs), mergeRuns(runs.map((run) => [run])))
        expect(isSorted([merged]).sorted).toBe(true)
        expect(merged.length).toBe(lists.flat().length)
      }),
      { numRuns: 40 },
    )
  })

  it('that are claimed and not there are refused', () => {
    expect(() => mergeRuns([[ints([1, 2])], [ints([3, 1])]])).toThrow(RunNotSortedError)
    expect(isSorted([ints([1, 3, 2])])).toEqual({ sorted: false, strict: false, row: 2 })
    expect(() => mergeRuns([[ints([1])], []])).toThrow(RangeError)
    expect(() => mergeRuns([[ints([1])], [columnOf(['a'])]])).toThrow(InvalidConfigError)
    expect(() => sortIndices([])).toThrow(RangeError)
    expect(() => sortIndices([ints([1]), ints([1, 2])])).toThrow(RangeError)
    expect(() => topK([ints([1])], -1)).toThrow(RangeError)
    expect([...mergeRuns([])]).toEqual([])
  })
})

describe('aggregates', () => {
  it('of numbers, with and without a selection', () => {
    fc.assert(
      fc.property(intRows, fc.uint8Array({ minLength: 25, maxLength: 25 }), (rows, selection) => {
        const column = ints(rows)
        const chosen = rows.filter((value, i): value is number => value !== null && ((selection[i >> 3]! >> (i & 7)) & 1) === 1)
        const total = chosen.reduce((a, b) => a + b, 0)
        expect(count(column, selection)).toBe(chosen.length)
        expect(sum(column, selection)).toBe(total)
        expect(mean(column, selection)).toBe(chosen.length === 0 ? undefined : total / chosen.length)
        expect(minMax(column, selection)).toEqual(chosen.length === 0 ? undefined : { min: Math.min(...chosen), max: Math.max(...chosen) })
      }),
      { numRuns: 60 },
    )
  })

  it('are exact where doubles are not', () => {
    const big = columnOf(BigInt64Array.of(2n ** 63n - 1n, 2n ** 63n - 1n, 1n))
    expect(sum(big)).toBe(2n ** 64n - 1n)
    const words = [Uint32Array.of(0xffffffff, 0xffffffff, 0xffffffff, 0x4), Uint32Array.of(2, 0, 0, 0), null]
    const decimals = columnOf(arrow.vectorFromArray(words, new arrow.Decimal(2, 38, 128)))
    expect(sum(decimals)).toBe(5n * 2n ** 96n + 1n)
    expect(sum(decimals, Uint8Array.of(2))).toBe(2n)
    expect(minMax(decimals)).toEqual({ min: 2n, max: 5n * 2n ** 96n - 1n })
  })

  it('of texts and dictionaries are texts', () => {
    const words = columnOf(['SFO', null, 'LAX', 'SEA'])
    expect(minMax(words)).toEqual({ min: 'LAX', max: 'SFO' })
    expect(minMax(encodeDictionary(words)!, Uint8Array.of(0b1010))).toEqual({ min: 'SEA', max: 'SEA' })
    expect(minMax(columnOf([null]))).toBeUndefined()
  })

  it('of what cannot be added are refused', () => {
    const dates = columnOf(arrow.vectorFromArray([0], new arrow.DateDay()))
    expect(() => sum(dates)).toThrow(InvalidConfigError)
    expect(() => sum(columnOf(['a']) as Column)).toThrow(InvalidConfigError)
    expect(() => minMax(columnOf(arrow.vectorFromArray([[1]], new arrow.List(new arrow.Field('item', new arrow.Int32())))))).toThrow(UnsupportedTypeError)
  })

  it('by group are those of the rows of each group', () => {
    const rows = fc.array(fc.tuple(fc.option(fc.constantFrom('a', 'b', 'c')), fc.boolean(), fc.option(fc.integer({ min: -9, max: 9 }))), { maxLength: 120 })
    fc.assert(
      fc.property(rows, fc.option(fc.uint8Array({ minLength: 15, maxLength: 15 }), { nil: undefined }), (given, selection) => {
        const words = columnOf(given.map(([word]) => word))
        const flags = columnOf(
          arrow.vectorFromArray(
            given.map(([, flag]) => flag),
            new arrow.Bool(),
          ),
        )
        const numbers = ints(given.map(([, , number]) => number))
        const wide = columnOf(BigInt64Array.from(given, ([, , number]) => BigInt(number ?? 0)))
        const floats = columnOf(Float64Array.from(given, ([, , number]) => (number ?? 0) / 4))
        const aggregates = {
          rows: { count: true },
          some: { count: numbers },
          total: { sum: numbers },
          wide: { sum: wide },
          floats: { sum: floats },
          mean: { mean: numbers },
          least: { min: numbers },
          last: { max: words },
          distinct: { distinct: numbers },
        } as const
        const made = groupBy([encodeDictionary(words)!, flags], aggregates, selection)
        const chosen = given.flatMap((row, i) => (selection === undefined || ((selection[i >> 3]! >> (i & 7)) & 1) === 1 ? [{ row, i }] : []))
        const groups = Map.groupBy(chosen, ({ row: [word, flag] }) => JSON.stringify([word, flag]))
        expect(made.size).toBe(groups.size)
        const [wordOf, flagOf] = made.keys
        expect([...groups.keys()]).toEqual(toArray(wordOf).map((word, g) => JSON.stringify([word, toArray(flagOf)[g]])))
        const least = toArray(made.values.least)
        const last = toArray(made.values.last)
        for (const [g, members] of [...groups.values()].entries()) {
          const values = members.flatMap(({ row: [, , number] }) => (number === null ? [] : [number]))
          const total = values.reduce((a, b) => a + b, 0)
          expect(made.values.rows[g]).toBe(members.length)
          expect(made.values.some[g]).toBe(values.length)
          expect(made.values.total[g]).toBe(total)
          expect(made.values.wide[g]).toBe(BigInt(total))
          expect(made.values.floats[g]).toBe(total / 4)
          expect(made.values.mean[g]).toBe(values.length === 0 ? Number.NaN : total / values.length)
          expect(made.values.distinct[g]).toBe(new Set(values).size)
          expect(least[g]).toBe(values.length === 0 ? null : Math.min(...values))
          expect(last[g]).toBe(members[0]!.row[0])
          for (const { i } of members) expect(made.groupOfRow[i]).toBe(g)
        }
      }),
      { numRuns: 60 },
    )
  })

  it('without keys are those of all rows', () => {
    const made = groupBy([], { n: { count: true }, km: { sum: columnOf(Int32Array.of(1, 2, 3)) } })
    expect(made.size).toBe(1)
    expect([...made.values.n]).toEqual([3])
    expect(made.values.km).toEqual([6])
    expect(() => groupBy([columnOf(['a'])], { km: { sum: columnOf(Int32Array.of(1, 2)) } })).toThrow(RangeError)
    expect(() => groupBy([columnOf(['a'])], { n: { count: true } }, undefined, { seed: 0.5 })).toThrow(RangeError)
    const words = columnOf(['a', 'b', 'a'])
    for (const seed of [0, 1, 0xffff_ffff, -1]) expect([...groupBy([words], { n: { count: true } }, undefined, { seed }).values.n]).toEqual([2, 1])
    expect(() => groupBy([columnOf(['a'])], { km: { sum: columnOf(['a']) as Column } })).toThrow(InvalidConfigError)
  })
})

describe('hashes of columns', () => {
  it('are those of the values; null rows give 0', () => {
    fc.assert(
      fc.property(texts, (words) => {
        const column = columnOf(words)
        const expected = (hash: (bytes: Uint8Array) => { lo: number; hi: number }): number[] =>
          words.flatMap((word) => {
            if (word === null) return [0, 0]
            const { lo, hi } = hash(utf8(word))
            return [lo, hi]
          })
        expect([...xxh3Column(column)]).toEqual(expected(xxh3))
        expect([...xxh64Column(column)]).toEqual(expected(xxh64))
        const codes = encodeDictionary(column)!
        expect(xxh3Column(codes)).toEqual(xxh3Column(column))
        expect(xxh64Column(codes)).toEqual(xxh64Column(column))
      }),
      { numRuns: 40 },
    )
  })

  it('of one value are one, in every width', () => {
    const expected = xxh3Column(columnOf(BigInt64Array.of(-3n)))
    for (const column of [columnOf(Int8Array.of(-3)), columnOf(Int16Array.of(-3)), columnOf(Int32Array.of(-3))]) expect(xxh3Column(column)).toEqual(expected)
    expect(xxh3Column(columnOf(Float32Array.of(-0)))).toEqual(xxh3Column(columnOf(Float64Array.of(0))))
    expect(() => xxh64Column(columnOf(arrow.vectorFromArray([true], new arrow.Bool())))).toThrow(InvalidConfigError)
  })

  it('fill bloom filters', () => {
    const keys = columnOf(Array.from({ length: 1000 }, (_, i) => `key ${i}`))
    const filterOf = BloomFilter.build(xxh3Column(keys))
    expect(filterOf.probeMany(xxh3Column(keys)).hits).toBe(1000)
    expect(BloomFilter.decode(filterOf.encode(), 'test').probeMany(xxh3Column(slice(keys, 10, 20))).hits).toBe(10)
  })
})

describe('keys', () => {
  it('are joined on several columns; nulls match nothing, the last of equal build rows wins', () => {
    const side = fc.array(fc.tuple(fc.option(fc.integer({ min: 0, max: 5 }), { freq: 6 }), fc.option(fc.constantFrom('', 'a', 'ab', 'b'), { freq: 6 })), {
      maxLength: 60,
    })
    fc.assert(
      fc.property(side, side, fc.boolean(), (build, probe, coded) => {
        const columns = (rows: typeof build): Column[] => {
          const words = columnOf(rows.map(([, word]) => word))
          return [ints(rows.map(([number]) => number)), coded && rows === probe ? encodeDictionary(words)! : words]
        }
        const last = new Map<string, number>()
        build.forEach((row, i) => {
          if (!row.includes(null)) last.set(JSON.stringify(row), i)
        })
        const expected = probe.map((row) => last.get(JSON.stringify(row)) ?? NO_ROW)
        const { rows, found } = join(columns(build), columns(probe))
        expect([...rows]).toEqual(expected)
        expect(found).toBe(expected.filter((row) => row !== NO_ROW).length)
        const [numbers] = columns(build)
        expect(toArray(take(numbers!, rows))).toEqual(expected.map((row) => (row === NO_ROW ? null : build[row]![0])))
      }),
      { numRuns: 60 },
    )
  })

  it('hash as the column does, or by their canonical bytes', () => {
    const [a, b] = [columnOf(Int16Array.of(1, -2)), columnOf(['x', 'yz'])] as const
    expect(keyHashes([a])).toEqual(xxh3Column(a))
    const { data, ends } = canonicalKeys([a, b])
    const { lo, hi } = xxh3(data.subarray(ends![0], ends![1]))
    expect([...keyHashes([a, b])].slice(2)).toEqual([lo, hi])
  })

  it('are remembered from batch to batch by a table', () => {
    const table = new KeyTable(8, { lo: 1, hi: 2 })
    expect([...table.put(canonicalKeys([columnOf(Int32Array.of(5, 6))]))]).toEqual([NO_ROW, NO_ROW])
    expect([...table.put(canonicalKeys([columnOf(BigInt64Array.of(6n, 7n))]))]).toEqual([1, NO_ROW])
  })

  it('with nulls, of other types or numbers of columns are refused', () => {
    expect(() => canonicalKeys([ints([1, null])])).toThrow(InvalidConfigError)
    expect(() => keyHashes([columnOf(['a', null])])).toThrow(/key column 0 has nulls/)
    expect(() => keyHashes([])).toThrow(RangeError)
    expect(() => join([ints([1])], [columnOf(['a'])])).toThrow(InvalidConfigError)
    expect(() => join([ints([1])], [ints([1]), ints([1])])).toThrow(RangeError)
  })
})
