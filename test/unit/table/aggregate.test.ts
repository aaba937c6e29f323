import { describe, expect, it } from 'vitest'

import { limitKernels } from '../../../bindings/kernels/index.ts'
import { t } from '../../../bindings/table/columns.ts'
import { table } from '../../../bindings/table/definition.ts'
import { gte } from '../../../bindings/table/predicate.ts'
import type { LooseAggregate } from '../../../bindings/table/aggregate.ts'
import type { AnyTable } from '../../../bindings/table/types.ts'
import { type FakeGroup, fakeScan, fakeVersion } from './fake-version.ts'

const group = (rows: readonly object[], more: object = {}): FakeGroup => ({ batches: [{ rows, ...more }] })

async function aggregate(of: AnyTable, groups: readonly FakeGroup[], spec: Record<string, LooseAggregate>, options: object = {}): Promise<any> {
  return fakeScan(of, fakeVersion(of, groups), options).aggregate(spec as never)
}

async function grouped(of: AnyTable, groups: readonly FakeGroup[], spec: Record<string, LooseAggregate>, by: string[], options: object = {}): Promise<any> {
  return fakeScan(of, fakeVersion(of, groups), options).aggregate(spec as never, { by: by as never })
}

const numbers = table('numbers', {
  k: t.utf8().dictionary().nullable(),
  i: t.int64().nullable(),
  u: t.uint64().nullable(),
  safe: t.int64({ as: 'number' }).nullable(),
  word: t.uint32().nullable(),
  f: t.float64().nullable(),
  single: t.float32().nullable(),
  price: t.decimal128(38, 2).nullable(),
})
const one = (values: object): object => ({ k: null, i: null, u: null, safe: null, word: null, f: null, single: null, price: null, ...values })

describe('aggregates of no rows', () => {
  it('are 0 for sums and counts, null for the others', async () => {
    const spec = {
      n: 'count',
      some: { count: 'i' },
      kinds: { distinct: 'k' },
      i: { sum: 'i' },
      s: { sum: 'safe' },
      f: { sum: 'f' },
      p: { sum: 'price' },
      avg: { avg: 'i' },
      min: { min: 'k' },
      max: { max: 'f' },
    } as const
    const expected = { n: 0, some: 0, kinds: 0, i: 0n, s: 0, f: 0, p: '0.00', avg: null, min: null, max: null }
    expect(await aggregate(numbers, [], spec)).toEqual(expected)
    expect(await aggregate(numbers, [group([one({})], { deleted: [0] })], spec)).toEqual(expected)
    expect(await grouped(numbers, [], spec, ['k'])).toEqual([])
  })

  it('count null rows but nothing in them', async () => {
    expect(
      await aggregate(numbers, [group([one({}), one({})])], {
        n: 'count',
        some: { count: 'f' },
        kinds: { distinct: 'f' },
        max: { max: 'f' },
        avg: { avg: 'f' },
      }),
    ).toEqual({
      n: 2,
      some: 0,
      kinds: 0,
      max: null,
      avg: null,
    })
  })
})

describe('integer sums', () => {
  it('are exact to the ends of int64, whatever the way there', async () => {
    const top = 2n ** 63n - 1n
    const rows = [top, top, -top, 5n, -5n].map((i) => one({ i }))
    expect(await aggregate(numbers, [group(rows)], { s: { sum: 'i' } })).toEqual({ s: top })
    expect(await aggregate(numbers, [group([one({ i: -(2n ** 63n) })])], { s: { sum: 'i' } })).toEqual({ s: -(2n ** 63n) })
  })

  it.each([
    ['i', [2n ** 63n - 1n, 1n], 'numbers.i: the sum 9223372036854775808 is beyond int64'],
    ['i', [-(2n ** 63n), -1n], 'numbers.i: the sum -9223372036854775809 is beyond int64'],
    ['u', [2n ** 64n - 1n, 1n], 'numbers.u: the sum 18446744073709551616 is beyond uint64'],
    ['safe', [2 ** 53 - 1, 1], 'numbers.safe: the sum 9007199254740992 is not a safe integer; read the column as int64 bigint'],
  ])('of %s reject beyond the range of the result', async (column, values, message) => {
    const rows = (values as unknown[]).map((value) => one({ [column]: value }))
    await expect(aggregate(numbers, [group(rows)], { s: { sum: column } })).rejects.toThrow(new RangeError(message))
    await expect(grouped(numbers, [group(rows)], { s: { sum: column } }, ['k'])).rejects.toThrow(RangeError)
    expect(typeof (await aggregate(numbers, [group(rows)], { a: { avg: column } })).a).toBe('number')
  })

  it('stay exact when the parts pass 2^52', async () => {
    // 2^20 values of 2^32 - 1 reach 2^52 in the plain and in the limb sums.
    const rows = Array.from({ length: 1 << 12 }, () => one({ word: 2 ** 32 - 1, u: 2n ** 32n - 1n, k: 'x' }))
    const groups = Array.from({ length: 1 << 8 }, () => group(rows))
    const version = fakeVersion(numbers, [groups[0]!])
    // The same batch again and again: what matters is the sum.
    const batch = version.groups[0]!.batches[0]!
    Object.assign(version.groups[0]!, { batches: groups.map(() => batch), liveRows: 1 << 20, rows: 1 << 20 })
    const scan = fakeScan(numbers, version)
    const word = (2 ** 32 - 1) * 2 ** 20
    const u = (2n ** 32n - 1n) * 2n ** 20n
    expect(await scan.aggregate({ word: { sum: 'word' }, u: { sum: 'u' }, mean: { avg: 'word' } } as never)).toEqual({ word, u, mean: 2 ** 32 - 1 })
    expect(await scan.aggregate({ word: { sum: 'word' }, u: { sum: 'u' } } as never, { by: ['k'] as never })).toEqual([{ k: 'x', word, u }])
  })

  it('of decimals keep every digit', async () => {
    const rows = ['99999999999999999999999999999999.99', '0.01', '-0.02', '-100000000000000000000000000000000.00'].map((price) => one({ price }))
    expect(await aggregate(numbers, [group(rows)], { s: { sum: 'price' }, low: { min: 'price' }, high: { max: 'price' } })).toEqual({
      s: '-0.02',
      low: '-100000000000000000000000000000000.00',
      high: '99999999999999999999999999999999.99',
    })
    expect(await aggregate(numbers, [group([one({ price: '0.10' }), one({ price: '0.25' })])], { a: { avg: 'price' } })).toEqual({ a: 0.175 })
  })

  it('averages use the exact sum', async () => {
    const rows = [2n ** 62n, 2n ** 62n, 2n ** 62n + 3n].map((i) => one({ i }))
    expect((await aggregate(numbers, [group(rows)], { a: { avg: 'i' } })).a).toBe(2 ** 62)
    // A sum past 2^53 whose mean still has a fraction.
    const eight = Array.from({ length: 8 }, (_, row) => one({ i: 2n ** 51n + (row === 7 ? 4n : 0n) }))
    expect((await aggregate(numbers, [group(eight)], { a: { avg: 'i' } })).a).toBe(2 ** 51 + 0.5)
  })
})

describe('float sums', () => {
  /** Runs of 128 one by one; equal numbers of runs are joined first. */
  function pairwise(values: readonly number[]): number {
    const levels: (number | undefined)[] = []
    let at = 0
    for (; at + 128 <= values.length; at += 128) {
      let sum = values.slice(at, at + 128).reduce((a, b) => a + b, 0)
      let l = 0
      for (; levels[l] !== undefined; l++) {
        sum = levels[l]! + sum
        levels[l] = undefined
      }
      levels[l] = sum
    }
    let sum = values.slice(at).reduce((a, b) => a + b, 0)
    for (const level of levels) if (level !== undefined) sum = level + sum
    return sum
  }
  const values = Array.from({ length: 1500 }, (_, i) => (i % 7 === 3 ? null : Math.sin(i) * 10 ** (i % 17)))
  const present = values.filter((v) => v !== null)

  it.each([[[1500]], [[700, 800]], [[1, 127, 128, 129, 300, 815]]])('are pairwise in storage order, however %j cuts the batches', async (cuts) => {
    let at = 0
    const groups = cuts.map((n) => group(values.slice(at, (at += n)).map((f) => one({ f, single: f, k: 'a' }))))
    const expected = pairwise(present)
    const result = await aggregate(numbers, groups, { s: { sum: 'f' }, a: { avg: 'f' }, single: { sum: 'single' } })
    expect(result).toEqual({ s: expected, a: expected / present.length, single: pairwise(present.map(Math.fround)) })
    expect(await grouped(numbers, groups, { s: { sum: 'f' } }, ['k'])).toEqual([{ k: 'a', s: expected }])
    const dense = present.map((f) => one({ f }))
    expect(await aggregate(numbers, [group(dense.slice(0, 333)), group(dense.slice(333))], { s: { sum: 'f' } })).toEqual({ s: expected })
  })

  it('lose less than adding one by one', async () => {
    const rows = Array.from({ length: 40_000 }, () => one({ f: 0.1 }))
    const { s } = await aggregate(numbers, [group(rows)], { s: { sum: 'f' } })
    expect(Math.abs(s - 4000)).toBeLessThan(1e-10)
  })

  it('carry NaN and infinity, which min and max do not take for numbers', async () => {
    const rows = [1, NaN, Infinity].map((f) => one({ f }))
    expect(
      await aggregate(numbers, [group(rows)], { s: { sum: 'f' }, low: { min: 'f' }, high: { max: 'f' }, n: { count: 'f' }, kinds: { distinct: 'f' } }),
    ).toEqual({
      s: NaN,
      low: 1,
      high: Infinity,
      n: 3,
      kinds: 3,
    })
    expect(await aggregate(numbers, [group([one({ f: NaN })])], { low: { min: 'f' }, high: { max: 'f' } })).toEqual({ low: null, high: null })
  })
})

describe('groups', () => {
  const cities = table('cities', { country: t.utf8().nullable(), kind: t.utf8().dictionary(), rank: t.int32().nullable(), capital: t.bool(), x: t.float64() })
  const city = (country: string | null, kind: string, rank: number | null, capital = false, x = 0): object => ({ country, kind, rank, capital, x })

  it('come in first-seen order over all batches, nulls as one group', async () => {
    const groups = [group([city('FR', 'a', 1), city(null, 'a', 2)]), group([city('DE', 'b', 3), city(null, 'b', null), city('FR', 'a', 5)], { dict: true })]
    expect(await grouped(cities, groups, { n: 'count', best: { min: 'rank' }, sum: { sum: 'rank' } }, ['country'])).toEqual([
      { country: 'FR', n: 2, best: 1, sum: 6 },
      { country: null, n: 2, best: 2, sum: 2 },
      { country: 'DE', n: 1, best: 3, sum: 3 },
    ])
    expect(await grouped(cities, groups, { n: 'count', kinds: { distinct: 'rank' } }, ['kind', 'country'])).toEqual([
      { kind: 'a', country: 'FR', n: 2, kinds: 2 },
      { kind: 'a', country: null, n: 1, kinds: 1 },
      { kind: 'b', country: 'DE', n: 1, kinds: 1 },
      { kind: 'b', country: null, n: 1, kinds: 0 },
    ])
  })

  it('take -0 for 0, and every NaN for one value', async () => {
    const groups = [group([0, -0, NaN, -NaN, 1].map((x) => city('FR', 'a', 1, true, x)))]
    expect(await grouped(cities, groups, { n: 'count' }, ['x'])).toEqual([
      { x: 0, n: 2 },
      { x: NaN, n: 2 },
      { x: 1, n: 1 },
    ])
  })

  it('grow from a grid to a table when there are many', async () => {
    const rows = Array.from({ length: 6000 }, (_, i) => city(`c${i % 3000}`, `k${i % 2500}`, i % 2900))
    const result = await grouped(cities, [group(rows.slice(0, 100)), group(rows.slice(100))], { n: 'count', low: { min: 'rank' } }, ['country', 'kind', 'rank'])
    const expected = new Map<string, any>()
    for (const { country, kind, rank } of rows as any[]) {
      const key = `${country}|${kind}|${rank}`
      const found = expected.get(key) ?? { country, kind, rank, n: 0, low: rank }
      found.n++
      expected.set(key, found)
    }
    expect(result).toEqual([...expected.values()])
  })

  it('that pass the limit of kernel memory are a typed error; the next aggregate works', async () => {
    const groups = [group(Array.from({ length: 40_000 }, (_, i) => city('FR', 'a', i)))]
    limitKernels(1 << 20)
    try {
      await expect(grouped(cities, groups, { n: 'count', x: { sum: 'x' } }, ['rank'])).rejects.toMatchObject({ code: 'kernel.memory-exhausted' })
      expect(await grouped(cities, groups, { n: 'count' }, ['country'])).toEqual([{ country: 'FR', n: 40_000 }])
    } finally {
      limitKernels(512 << 20)
    }
    expect(await grouped(cities, groups, { n: 'count' }, ['rank'])).toHaveLength(40_000)
  })

  it('are those of the rows that pass, whether most do or few', async () => {
    const groups = Array.from({ length: 3 }, (_, g) =>
      group(Array.from({ length: 700 }, (_, i) => city(i % 5 === 0 ? null : `c${i % 11}`, `k${i % 3}`, (i * 7 + g) % 100, i % 2 === 0, i / 7))),
    )
    for (const least of [5, 50, 72, 98]) {
      const rows = groups.flatMap(({ batches }) => batches[0]!.rows as any[]).filter(({ rank }) => rank >= least)
      const expected = new Map<string, any>()
      for (const { country, kind, rank, x } of rows) {
        const found = expected.get(`${country}|${kind}`) ?? { country, kind, n: 0, sum: 0, low: x, kinds: new Set() }
        found.n++
        found.sum += rank
        found.low = Math.min(found.low, x)
        found.kinds.add(rank)
        expected.set(`${country}|${kind}`, found)
      }
      const spec = { n: 'count', sum: { sum: 'rank' }, low: { min: 'x' }, kinds: { distinct: 'rank' } } as const
      const where = gte<any, string>('rank', least)
      expect(await grouped(cities, groups, spec, ['country', 'kind'], { where })).toEqual([...expected.values()].map((e) => ({ ...e, kinds: e.kinds.size })))
      const xs = rows.map(({ x }) => x)
      expect(await aggregate(cities, groups, { n: 'count', some: { count: 'country' }, high: { max: 'x' }, avg: { avg: 'rank' } }, { where })).toEqual({
        n: rows.length,
        some: rows.filter(({ country }) => country !== null).length,
        high: Math.max(...xs),
        avg: rows.reduce((sum, { rank }) => sum + rank, 0) / rows.length,
      })
    }
  })

  it('follow the filter and the limit', async () => {
    const groups = [group([city('FR', 'a', 1), city('DE', 'a', 7), city('IT', 'a', 9), city('FR', 'b', 8)])]
    expect(await grouped(cities, groups, { n: 'count' }, ['country'], { where: gte<any, string>('rank', 5) })).toEqual([
      { country: 'DE', n: 1 },
      { country: 'IT', n: 1 },
      { country: 'FR', n: 1 },
    ])
    expect(await grouped(cities, groups, { n: 'count' }, ['country'], { limit: 2 })).toEqual([
      { country: 'FR', n: 1 },
      { country: 'DE', n: 1 },
    ])
    expect(await grouped(cities, groups, { n: 'count' }, ['country'], { orderBy: 'rank desc', limit: 2 })).toEqual([
      { country: 'IT', n: 1 },
      { country: 'FR', n: 1 },
    ])
    expect(await aggregate(cities, groups, { n: { sum: 'rank' } }, { orderBy: 'rank desc', limit: 2 })).toEqual({ n: 17 })
  })
})

describe('statistics', () => {
  const t1 = table('t1', { n: t.int32().nullable(), f: t.float64(), s: t.utf8(), at: t.timestamp() })
  const at = (n: number | null, f = 1): object => ({ n, f, s: 'x', at: new Date(1000) })

  it('answer counts and extremes of whole groups without reading', async () => {
    const version = fakeVersion(t1, [group([at(1), at(null), at(7)]), group([at(-3, 2)])])
    const spec = { rows: 'count', n: { count: 'n' }, low: { min: 'n' }, high: { max: 'n' }, f: { max: 'f' }, at: { min: 'at' } }
    expect(await fakeScan(t1, version).aggregate(spec as never)).toEqual({ rows: 4, n: 3, low: -3, high: 7, f: 2, at: new Date(1000) })
    expect(version.loads).toEqual([])
  })

  it('are not trusted where rows are hidden, for bytes, or for the sign of a zero', async () => {
    const version = fakeVersion(t1, [group([at(1, 0), at(9, -0)], { deleted: [1] })])
    expect(await fakeScan(t1, version).aggregate({ high: { max: 'n' } } as never)).toEqual({ high: 1 })
    const bytes = fakeVersion(t1, [group([at(1, -0)])])
    expect(await fakeScan(t1, bytes).aggregate({ s: { min: 's' } } as never)).toEqual({ s: 'x' })
    expect(Object.is(((await fakeScan(t1, bytes).aggregate({ f: { min: 'f' } } as never)) as any).f, -0)).toBe(true)
    expect([...version.loads, ...bytes.loads]).toEqual([['n'], ['s'], ['f']])
  })

  it('answer for the groups of which every row passes the filter', async () => {
    const version = fakeVersion(t1, [group([at(1), at(2)]), group([at(5), at(6)]), group([at(2), at(8)])])
    expect(await fakeScan(t1, version, { where: gte<any, string>('n', 5) }).aggregate({ n: 'count', high: { max: 'n' } } as never)).toEqual({ n: 3, high: 8 })
    expect(version.loads).toEqual([['n']])
  })
})

describe('an aggregate that does not fit', () => {
  it.each([
    [{ s: { sum: 'k' } }, 'numbers.k: dictionary<utf8> has no sum'],
    [{ s: { sum: 'prise' } }, 'numbers: no column "prise"; did you mean "price"?'],
    [{ s: { median: 'i' } }, 'aggregate of numbers: "s" must be "count" or one of count, distinct, sum, avg, min, max'],
    [{ s: 'sum' }, 'aggregate of numbers: "s" must be'],
    [{ s: { sum: 'i', avg: 'i' } }, 'aggregate of numbers: "s" must be'],
    [{ s: null }, 'aggregate of numbers: "s" must be'],
  ])('%j', async (spec, message) => {
    await expect(aggregate(numbers, [], spec as never)).rejects.toThrow(message)
  })

  it('names a result like a column it groups by', async () => {
    await expect(grouped(numbers, [], { k: 'count' }, ['k'])).rejects.toThrow('"k" names a column of "by" and a result')
  })
})
