// Every way to take the rows of a scan against a model: plain row objects, filtered, sorted and summed up in JavaScript.

import { tableFromIPC } from 'apache-arrow'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { t } from '../../bindings/table/columns.ts'
import { table } from '../../bindings/table/definition.ts'
import { and, between, eq, gt, gte, isNotNull, isNull, lt, lte, ne, not, oneOf, or, startsWith } from '../../bindings/table/predicate.ts'
import type { LooseAggregate } from '../../bindings/table/aggregate.ts'
import { type FakeGroup, fakeScan, fakeVersion, liveRows } from '../unit/table/fake-version.ts'

const many = table('many', {
  id: t.int64(),
  tiny: t.int8().nullable(),
  n: t.int32().nullable(),
  big: t.int64().nullable(),
  unsigned: t.uint64(),
  f: t.float64().nullable(),
  single: t.float32(),
  text: t.utf8().nullable(),
  word: t.utf8().dictionary().nullable(),
  flag: t.bool().nullable(),
  bytes: t.binary().nullable(),
  when: t.timestamp().nullable(),
  day: t.date(),
  price: t.decimal128(20, 2).nullable(),
  tags: t.list(t.utf8()),
  data: t.json().nullable(),
})
type Row = typeof many.Row
type Name = keyof Row

/** Tells prices from texts: no text is generated that looks like one. */
const DECIMAL = /^-?\d+\.\d\d$/

const orNull = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(arbitrary, { freq: 4 })
const float = fc.oneof(fc.double({ min: -1e6, max: 1e6, noNaN: true }), fc.constantFrom(NaN, 0, -0, 1.5, Infinity, -Infinity))
const word = fc.constantFrom('', 'a', 'ab', 'abc', 'b', 'é', '\u{10000}', '\uffee', 'JFK', 'SFO')
const cents = fc.bigInt({ min: -(10n ** 12n), max: 10n ** 12n })
const row: fc.Arbitrary<Row> = fc.record({
  id: fc.bigInt({ min: -(2n ** 40n), max: 2n ** 40n }),
  tiny: orNull(fc.integer({ min: -128, max: 127 })),
  n: orNull(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom(-(2 ** 31), 2 ** 31 - 1))),
  big: orNull(fc.oneof(fc.bigInt({ min: -5n, max: 5n }), fc.bigInt({ min: -(2n ** 56n), max: 2n ** 56n }))),
  unsigned: fc.oneof(fc.bigInt({ min: 0n, max: 3n }), fc.constant(2n ** 57n)),
  f: orNull(float),
  single: float.map(Math.fround),
  text: orNull(
    fc.oneof(
      word,
      fc.string({ unit: 'grapheme', maxLength: 5 }).filter((s) => !DECIMAL.test(s)),
    ),
  ),
  word: orNull(word),
  flag: orNull(fc.boolean()),
  bytes: orNull(fc.uint8Array({ maxLength: 3 })),
  when: orNull(fc.integer({ min: -5, max: 5 }).map((days) => new Date(days * 86_400_000))),
  day: fc.constantFrom('2026-11-21', '1969-12-31', '2000-02-29'),
  price: orNull(cents.map(decimal)),
  tags: fc.array(word, { maxLength: 2 }),
  data: orNull(fc.oneof(fc.record({ a: fc.integer({ min: 0, max: 2 }) }), fc.array(fc.boolean(), { maxLength: 2 }), word)),
})

const batch = fc.record({
  rows: fc.array(row, { maxLength: 12 }),
  deleted: fc.array(fc.nat(11), { maxLength: 4 }),
  cold: fc.boolean(),
  dict: fc.boolean(),
  stats: fc.boolean(),
})
const groups: fc.Arbitrary<FakeGroup[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('fragment' as const, 'fragment' as const, 'memory' as const),
    batches: fc.array(
      batch.map((b) => ({ ...b, deleted: [...new Set(b.deleted)].filter((i) => i < b.rows.length) })),
      { maxLength: 3 },
    ),
  }),
  { maxLength: 4 },
)

/** A predicate and what it means for a row. */
interface Condition {
  readonly p: any
  readonly test: (row: Row) => boolean
}

const comparable: readonly Name[] = ['id', 'tiny', 'n', 'big', 'unsigned', 'f', 'single', 'text', 'word', 'bytes', 'when', 'day', 'price']
const leaf: fc.Arbitrary<Condition> = fc
  .record({ column: fc.constantFrom(...comparable), values: fc.tuple(row, row), op: fc.nat(9) })
  .map(({ column, values, op }) => condition(column, values[0][column], values[1][column], op))
const flagLeaf: fc.Arbitrary<Condition> = fc
  .boolean()
  .map((value) => ({ p: eq<Record<string, never>, string>('flag', value as never), test: (r) => r.flag === value }))
const where: fc.Arbitrary<Condition> = fc.letrec<{ tree: Condition }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    flagLeaf,
    fc.tuple(tie('tree'), tie('tree')).map(([a, b]): Condition => ({ p: and(a.p, b.p), test: (r) => a.test(r) && b.test(r) })),
    fc.tuple(tie('tree'), tie('tree')).map(([a, b]): Condition => ({ p: or(a.p, b.p), test: (r) => a.test(r) || b.test(r) })),
    tie('tree').map((a): Condition => ({ p: not(a.p), test: (r) => !a.test(r) })),
  ),
})).tree

function condition(column: Name, a: unknown, b: unknown, op: number): Condition {
  const c = column as never
  const isIn = (low: unknown, high: unknown) => (r: Row) => {
    const value = r[column]
    return comparesTo(value) && compareValues(value, low) >= 0 && compareValues(value, high) <= 0
  }
  const holds = (wanted: (sign: number) => boolean) => (r: Row) => comparesTo(r[column]) && wanted(compareValues(r[column], a))
  if (!comparesTo(a)) return { p: isNull(c), test: (r) => r[column] === null }
  switch (op) {
    case 0:
      return { p: eq(c, a as never), test: holds((sign) => sign === 0) }
    case 1:
      return { p: ne(c, a as never), test: (r) => !holds((sign) => sign === 0)(r) }
    case 2:
      return { p: gt(c, a as never), test: holds((sign) => sign > 0) }
    case 3:
      return { p: gte(c, a as never), test: holds((sign) => sign >= 0) }
    case 4:
      return { p: lt(c, a as never), test: holds((sign) => sign < 0) }
    case 5:
      return { p: lte(c, a as never), test: holds((sign) => sign <= 0) }
    case 6:
      return comparesTo(b) ? { p: between(c, a as never, b as never), test: isIn(a, b) } : { p: isNotNull(c), test: (r) => r[column] !== null }
    case 7:
      return comparesTo(b)
        ? { p: oneOf(c, [a, b] as never), test: (r) => comparesTo(r[column]) && [a, b].some((v) => compareValues(r[column], v) === 0) }
        : { p: oneOf(c, []), test: () => false }
    case 8:
      return typeof a === 'string' && (column === 'text' || column === 'word')
        ? { p: startsWith(c, firstOf(a)), test: (r) => typeof r[column] === 'string' && (r[column] as string).startsWith(firstOf(a)) }
        : { p: and(), test: () => true }
    default:
      return { p: isNotNull(c), test: (r) => r[column] !== null }
  }
}

function firstOf(text: string): string {
  return text === '' ? '' : String.fromCodePoint(text.codePointAt(0)!)
}

function comparesTo(value: unknown): boolean {
  return value !== null && !(typeof value === 'number' && Number.isNaN(value))
}

/** Order of two values that are neither null nor NaN. */
function compareValues(a: unknown, b: unknown): number {
  if (a instanceof Uint8Array) return Buffer.compare(a, b as Uint8Array)
  if (a instanceof Date) return a.getTime() - (b as Date).getTime()
  if (typeof a === 'string' && DECIMAL.test(a)) return Number(unscaled(a) - unscaled(b as string))
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string))
  return (a as number) < (b as number) ? -1 : (a as number) > (b as number) ? 1 : 0
}

function decimal(unscaledCents: bigint): string {
  const digits = String(unscaledCents < 0n ? -unscaledCents : unscaledCents).padStart(3, '0')
  return `${unscaledCents < 0n ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`
}

function unscaled(text: string): bigint {
  return BigInt(text.replace('.', ''))
}

/** NaN after numbers and nulls last, in both directions. */
function compareForOrder(a: unknown, b: unknown, descending: boolean): number {
  const rank = (value: unknown): number => (value === null ? 2 : comparesTo(value) ? 0 : 1)
  if (rank(a) !== rank(b) || rank(a) > 0) return rank(a) - rank(b)
  const sign = compareValues(a, b)
  return descending ? -sign : sign
}

function sorted(rows: readonly Row[], order: readonly { column: Name; descending: boolean }[]): Row[] {
  return rows.toSorted((a, b) => {
    for (const { column, descending } of order) {
      const sign = compareForOrder(a[column], b[column], descending)
      if (sign !== 0) return sign
    }
    return 0
  })
}

const orderBy = fc.array(fc.record({ column: fc.constantFrom(...comparable), descending: fc.boolean() }), { maxLength: 3 })

const SUMS: readonly Name[] = ['id', 'tiny', 'n', 'big', 'unsigned', 'f', 'single', 'price']
const SPEC: Record<string, LooseAggregate> = { rows: 'count' }
for (const column of Object.keys(many.columns) as Name[]) SPEC[`count ${column}`] = { count: column }
for (const column of Object.keys(many.columns) as Name[]) SPEC[`distinct ${column}`] = { distinct: column }
for (const column of comparable) SPEC[`min ${column}`] = { min: column }
for (const column of comparable) SPEC[`max ${column}`] = { max: column }
for (const column of SUMS) SPEC[`sum ${column}`] = { sum: column }
for (const column of SUMS) SPEC[`avg ${column}`] = { avg: column }

function modelAggregate(rows: readonly Row[]): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const [name, aggregate] of Object.entries(SPEC)) {
    if (aggregate === 'count') {
      result[name] = rows.length
      continue
    }
    const [verb, column] = Object.entries(aggregate)[0] as [string, Name]
    const values = rows.map((r) => r[column]).filter((value) => value !== null)
    const ordered = verb === 'min' || verb === 'max' ? values.filter(comparesTo).toSorted(compareValues) : []
    if (verb === 'count') result[name] = values.length
    if (verb === 'distinct') result[name] = new Set(values.map(identity)).size
    // Of equal values (0 and -0) the first in storage order is kept.
    if (verb === 'min') result[name] = ordered[0] ?? null
    if (verb === 'max') result[name] = ordered.find((value) => compareValues(value, ordered.at(-1)) === 0) ?? null
    if (verb === 'sum') result[name] = modelSum(column, values)
    if (verb === 'avg') result[name] = values.length === 0 ? null : average(column, values)
  }
  return result
}

function modelSum(column: Name, values: readonly unknown[]): unknown {
  if (column === 'price') return decimal((values as string[]).reduce((sum, v) => sum + unscaled(v), 0n))
  if (column === 'id' || column === 'big' || column === 'unsigned') return (values as bigint[]).reduce((sum, v) => sum + v, 0n)
  return (values as number[]).reduce((sum, v) => sum + v, 0)
}

function average(column: Name, values: readonly unknown[]): number {
  const sum = modelSum(column, values)
  return Number(sum) / values.length
}

function identity(value: unknown): string {
  if (value instanceof Uint8Array) return `bytes ${[...value].join()}`
  if (value instanceof Date) return `date ${value.getTime()}`
  if (typeof value === 'number') return `number ${Object.is(value, -0) ? 0 : value}`
  if (typeof value === 'bigint') return `big ${value}`
  return JSON.stringify(value)
}

/** Equal but for the last places of floats, whose order of adding is tested apart. */
function expectAggregates(actual: Record<string, unknown>, expected: Record<string, unknown>): void {
  expect(Object.keys(actual)).toEqual(Object.keys(expected))
  for (const [name, value] of Object.entries(expected)) {
    const got = actual[name]
    if (typeof value === 'number' && typeof got === 'number' && Number.isFinite(value) && /^(sum|avg) /.test(name)) {
      expect(Math.abs(got - value), name).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(value)) + 1e-3 * Number(/ (f|single)$/.test(name)))
    } else {
      expect(got, name).toEqual(typeof value === 'number' && value === 0 ? got : value)
      if (typeof value === 'number' && value === 0) expect(Math.abs(got as number), name).toBe(0)
    }
  }
}

const RUNS = { numRuns: 150 }

describe('a scan equals the model', () => {
  it('as rows, whatever the filter, order, limit and selection', () =>
    fc.assert(
      fc.asyncProperty(
        groups,
        fc.option(where, { nil: undefined }),
        orderBy,
        fc.option(fc.nat(30), { nil: undefined }),
        fc.option(fc.shuffledSubarray(Object.keys(many.columns) as Name[]), { nil: undefined }),
        async (data, condition, order, limit, select) => {
          const scan = fakeScan(many, fakeVersion(many, data), {
            ...(condition === undefined ? {} : { where: condition.p }),
            ...(order.length === 0 ? {} : { orderBy: order.map(({ column, descending }) => (descending ? `${column} desc` : column)) }),
            ...(limit === undefined ? {} : { limit }),
            ...(select === undefined ? {} : { select }),
          })
          const matching = (liveRows(data) as Row[]).filter((r) => condition?.test(r) ?? true)
          const names = select ?? (Object.keys(many.columns) as Name[])
          const expected = sorted(matching, order)
            .slice(0, limit ?? Infinity)
            .map((r) => Object.fromEntries(names.map((name) => [name, r[name]])))
          expect(await scan.toArray()).toEqual(expected)
          expect(await scan.first()).toEqual(expected[0])
          expect(await scan.count()).toBe(expected.length)
          const one: unknown[] = []
          for await (const r of scan.rows()) one.push(r)
          expect(one).toEqual(expected)
          const columns = await scan.toColumns()
          for (const name of names) expect(Array.from(columns[name] as never), name).toEqual(expected.map((r) => r[name]))
          const read = tableFromIPC(await scan.toIpc())
          if (names.length > 0) expect(read.numRows).toBe(expected.length)
          for (const name of names.filter((n) => n === 'text' || n === 'word' || n === 'big' || n === 'n')) {
            expect([...read.getChild(name)!], name).toEqual(expected.map((r) => r[name]))
          }
          const explained = await scan.explain()
          expect(explained.fragments + explained.pruned.reduce((sum, p) => sum + p.fragments, 0)).toBeLessThanOrEqual(data.length)
        },
      ),
      RUNS,
    ))

  it('count(p) + count(not p) is the number of rows', () =>
    fc.assert(
      fc.asyncProperty(groups, where, async (data, condition) => {
        const version = fakeVersion(many, data)
        const yes = await fakeScan(many, version, { where: condition.p }).count()
        const no = await fakeScan(many, version, { where: not(condition.p) }).count()
        expect(yes + no).toBe(liveRows(data).length)
        expect(yes).toBe((liveRows(data) as Row[]).filter(condition.test).length)
      }),
      RUNS,
    ))

  it('as aggregates, plain', () =>
    fc.assert(
      fc.asyncProperty(groups, fc.option(where, { nil: undefined }), async (data, condition) => {
        const scan = fakeScan(many, fakeVersion(many, data), condition === undefined ? {} : { where: condition.p })
        const matching = (liveRows(data) as Row[]).filter((r) => condition?.test(r) ?? true)
        expectAggregates(await scan.aggregate(SPEC as never), modelAggregate(matching))
      }),
      RUNS,
    ))

  it('as aggregates, grouped by any columns, in first-seen order', () =>
    fc.assert(
      fc.asyncProperty(
        groups,
        fc.option(where, { nil: undefined }),
        fc.shuffledSubarray(Object.keys(many.columns) as Name[], { minLength: 1, maxLength: 3 }),
        async (data, condition, by) => {
          const scan = fakeScan(many, fakeVersion(many, data), condition === undefined ? {} : { where: condition.p })
          const matching = (liveRows(data) as Row[]).filter((r) => condition?.test(r) ?? true)
          const members = new Map<string, Row[]>()
          for (const r of matching) {
            const key = by.map((name) => (r[name] === null ? 'null' : identity(r[name]))).join('|')
            members.set(key, [...(members.get(key) ?? []), r])
          }
          const actual = (await scan.aggregate(SPEC as never, { by: by as never })) as unknown as Record<string, unknown>[]
          expect(actual.length).toBe(members.size)
          for (const [g, rows] of [...members.values()].entries()) {
            for (const name of by) expect(identity(actual[g]![name])).toEqual(identity(rows[0]![name]))
            const results = Object.fromEntries(Object.entries(actual[g]!).filter(([name]) => name in SPEC))
            expectAggregates(results, modelAggregate(rows))
          }
        },
      ),
      RUNS,
    ))
})
