// The sorted index of a fragment against row-by-row evaluation of predicates, and files that are not what was written.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkSorted, encodeSorted, keyCode, RowMarks, SortedIndex, type SortedIdentity } from '../../../bindings/indexes/index.ts'
import { valueKindOf } from '../../../bindings/format/index.ts'
import { sortIndices, type Vec } from '../../../bindings/kernels/index.ts'
import { sortedAccess, type SortedAccess } from '../../../bindings/table/index-access.ts'
import { compilePredicate } from '../../../bindings/table/predicate-eval.ts'
import { predicateFromJSON } from '../../../bindings/table/predicate.ts'
import type { PredicateNode } from '../../../bindings/table/predicate.ts'
import { type Case, cases, passes, type Stored, vecOf, viewOf } from '../table/predicate-model.ts'

const FRAGMENT = 'ab'.repeat(32)

interface Built {
  readonly file: Uint8Array
  readonly identity: SortedIdentity
}

/** An index over some of the columns (by place) of stored rows. */
function build({ view, kinds, rows }: Pick<Case, 'view' | 'kinds' | 'rows'>, places: readonly number[], blockEntries: number): Built {
  const columns = places.map((place) => view.schema.columns[place]!)
  const vecs: Vec[] = places.map((place) =>
    vecOf(
      kinds[place]!,
      rows.map((row) => row[place] ?? null),
    ),
  )
  const file = encodeSorted({ fragment: FRAGMENT, rows: rows.length, columns, vecs, blockEntries })
  return { file, identity: { fragment: FRAGMENT, rows: rows.length, columns: columns.map(({ id, type }) => ({ id, code: keyCode(type) })) } }
}

/** Rows in the ranges of an access, and the blocks that were read for them. */
function rowsOf({ file, identity }: Built, access: Pick<SortedAccess, 'ranges'>): { readonly rows: boolean[]; readonly blocks: Set<number> } {
  const index = new SortedIndex(file.subarray(0, SortedIndex.headLength(file.subarray(0, 200), identity)), identity)
  const spans = access.ranges.map((range) => ({ range, ...index.span(range) }))
  const marks = new RowMarks(
    identity.rows,
    spans.reduce((sum, { atMost }) => sum + atMost, 0),
  )
  const blocks = new Set<number>()
  for (const { range, first, last, atMost } of spans) {
    const before = marks.count
    for (let block = first; block <= last; block++) {
      const bytes = file.subarray(index.offsets[block], index.offsets[block + 1])
      expect(index.checks(block, bytes)).toBe(true)
      index.mark(block, bytes, range, marks)
      blocks.add(block)
    }
    expect(marks.count - before).toBeLessThanOrEqual(atMost)
  }
  const bits = marks.within(0, identity.rows) ?? new Uint8Array(identity.rows)
  const rows = Array.from({ length: identity.rows }, (_, row) => ((bits[row >> 3]! >> (row & 7)) & 1) === 1)
  expect(rows.filter(Boolean).length).toBe(marks.count)
  return { rows, blocks }
}

function accessOf({ view, predicate }: Pick<Case, 'view' | 'predicate'>, places: readonly number[]): SortedAccess | undefined {
  const compiled = compilePredicate(predicateFromJSON(predicate as never), view)
  return sortedAccess(
    compiled,
    view.schema,
    places.map((place) => view.schema.columns[place]!.id),
  )
}

const chosen = cases
  .filter(({ rows }) => rows.length > 0)
  .chain((made) =>
    fc.record({
      made: fc.constant(made),
      places: fc.shuffledSubarray(
        made.kinds.map((_, i) => i),
        { minLength: 1 },
      ),
      blockEntries: fc.integer({ min: 1, max: 40 }),
    }),
  )

/** A predicate that index and oracle are asked for over hand-made rows. */
function ask(
  kinds: readonly string[],
  rows: readonly (readonly Stored[])[],
  predicate: PredicateNode,
  blockEntries = 4,
): { found: number[]; access: SortedAccess } {
  const made = { view: viewOf(kinds), kinds, rows, predicate }
  const places = kinds.map((_, i) => i)
  const access = accessOf(made, places)!
  const { rows: found } = rowsOf(build(made, places, blockEntries), access)
  return { found: found.flatMap((is, row) => (is ? [row] : [])), access }
}

describe('a sorted index', () => {
  test('finds every row that passes a predicate, over every type, and no other where it says so', () => {
    let used = 0
    let exact = 0
    fc.assert(
      fc.property(chosen, ({ made, places, blockEntries }) => {
        const access = accessOf(made, places)
        if (access === undefined) return
        used++
        if (access.isExact) exact++
        const { rows: found } = rowsOf(build(made, places, blockEntries), access)
        made.rows.forEach((row, i) => {
          const wanted = passes(made.predicate, made.kinds, row)
          if (wanted) expect(found[i], `row ${i} is missed`).toBe(true)
          if (access.isExact && !wanted) expect(found[i], `row ${i} is too much`).toBe(false)
        })
      }),
      { numRuns: 1500 },
    )
    expect(used).toBeGreaterThan(300)
    expect(exact).toBeGreaterThan(100)
  })

  test('holds every row once, and decodes as a whole', () => {
    fc.assert(
      fc.property(chosen, ({ made, places, blockEntries }) => {
        const { file, identity } = build(made, places, blockEntries)
        checkSorted(file, identity)
        expect(rowsOf({ file, identity }, { ranges: [{ from: new Uint8Array(0), to: undefined }] }).rows.every(Boolean)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('keeps numbers, NaN and null apart, and -0 with 0', () => {
    const rows = [[1.5], [-0], [Number.NaN], [null], [0], [-Infinity], [Infinity]]
    const of = (predicate: PredicateNode): number[] => ask(['float64'], rows, predicate, 2).found
    expect(of({ op: 'eq', column: 'c0', value: 0 })).toEqual([1, 4])
    expect(of({ op: 'gte', column: 'c0', value: 0 })).toEqual([0, 1, 4, 6])
    expect(of({ op: 'lt', column: 'c0', value: 0 })).toEqual([5])
    expect(of({ op: 'isNull', column: 'c0' })).toEqual([3])
    expect(of({ op: 'isNotNull', column: 'c0' })).toEqual([0, 1, 2, 4, 5, 6])
  })

  test('looks no further than a string counts: values that are cut are found, and the predicate is asked about them', () => {
    const long = 'x'.repeat(127)
    const rows = [[`${long}`], [`${long}a`], [`${long}ab`], [`${long}b`], ['w'], ['y']]
    const of = (op: string, value: string): ReturnType<typeof ask> => ask(['utf8'], rows, { op, column: 'c0', value } as PredicateNode, 2)
    expect(of('eq', `${long}ab`)).toMatchObject({ found: [1, 2], access: { isExact: false } })
    expect(of('lt', `${long}ab`)).toMatchObject({ found: [0, 1, 2, 4], access: { isExact: false } })
    expect(of('gt', `${long}a`)).toMatchObject({ found: [1, 2, 3, 5], access: { isExact: false } })
    expect(of('gt', long)).toMatchObject({ found: [1, 2, 3, 5], access: { isExact: true } })
    expect(of('eq', long)).toMatchObject({ found: [0], access: { isExact: true } })
    expect(ask(['utf8'], rows, { op: 'startsWith', column: 'c0', prefix: `${long}ab` })).toMatchObject({ found: [1, 2], access: { isExact: false } })
    expect(ask(['utf8'], rows, { op: 'startsWith', column: 'c0', prefix: `${long}a` })).toMatchObject({ found: [1, 2], access: { isExact: true } })
  })

  test('reads the blocks of a range only', () => {
    const rows = Array.from({ length: 1000 }, (_, i) => [(i * 7919) % 1000])
    const made = { view: viewOf(['int32']), kinds: ['int32'], rows, predicate: { op: 'between', column: 'c0', from: 100, to: 109 } as PredicateNode }
    const built = build(made, [0], 10)
    expect(rowsOf(built, accessOf(made, [0])!).blocks.size).toBeLessThanOrEqual(2)
    const one = { ...made, predicate: { op: 'eq', column: 'c0', value: 5000 } as PredicateNode }
    expect(rowsOf(built, accessOf(one, [0])!).blocks.size).toBe(0)
  })

  test('serves the beginning of its columns, and says what is left to the predicate', () => {
    const rows = Array.from({ length: 60 }, (_, i) => [i % 3, i % 5, i % 4])
    const kinds = ['int8', 'int16', 'int32']
    const where = (...of: [string, string, number][]): PredicateNode => ({
      op: 'and',
      of: of.map(([op, column, value]) => ({ op, column, value }) as PredicateNode),
    })
    expect(ask(kinds, rows, where(['eq', 'c0', 1], ['eq', 'c1', 2])).access).toMatchObject({ isExact: true, depth: 2, label: 'c0, c1, c2' })
    expect(ask(kinds, rows, where(['eq', 'c0', 1], ['gt', 'c1', 2])).access).toMatchObject({ isExact: true, depth: 2 })
    expect(ask(kinds, rows, where(['eq', 'c0', 1], ['eq', 'c2', 2])).access).toMatchObject({ isExact: false, depth: 1 })
    expect(ask(kinds, rows, where(['gt', 'c0', 1], ['eq', 'c1', 2])).access).toMatchObject({ isExact: false, depth: 1 })
    expect(accessOf({ view: viewOf(kinds), predicate: where(['eq', 'c1', 2]) }, [0, 1, 2])).toBeUndefined()
  })

  test('leads to the first rows of an order by any number of its columns, and to the last values of the first', () => {
    fc.assert(
      fc.property(chosen, fc.integer({ min: 1, max: 90 }), ({ made, places, blockEntries }, entries) => {
        const { file, identity } = build(made, places, blockEntries)
        const index = new SortedIndex(file, identity)
        const read = (block: number): Uint8Array => file.subarray(index.offsets[block], index.offsets[block + 1])
        const sorted = (columns: readonly number[], descending: boolean): number[] =>
          Array.from(
            sortIndices(
              columns.map((place) => {
                const values = made.rows.map((row) => row[place] ?? null)
                return { vec: vecOf(made.kinds[place]!, values), kind: valueKindOf(made.view.schema.columns[place]!.type)!, descending }
              }),
              made.rows.length,
            ),
          )
        for (let prefix = 1; prefix <= places.length; prefix++) {
          const range = index.leading(entries, prefix, read)
          if (range === undefined) continue
          if (typeof range === 'number') throw new Error('every block is at hand')
          const { rows } = rowsOf({ file, identity }, { ranges: [range] })
          const order = sorted(places.slice(0, prefix), false)
          expect(order.slice(0, entries).every((row) => rows[row])).toBe(true)
          // With a row comes every row that equals it, and every one before: what is found is a beginning of the order.
          const last = order.findLastIndex((row) => rows[row])
          expect(order.slice(0, last + 1).every((row) => rows[row])).toBe(true)
        }
        const range = index.trailing(entries, read)
        if (range === undefined) return
        if (typeof range === 'number') throw new Error('every block is at hand')
        expect(index.trailing(entries, () => undefined)).toBeTypeOf('number')
        const { rows } = rowsOf({ file, identity }, { ranges: [range] })
        const order = sorted(places.slice(0, 1), true)
        expect(order.slice(0, entries).every((row) => rows[row])).toBe(true)
        const last = order.findLastIndex((row) => rows[row])
        expect(order.slice(0, last + 1).every((row) => rows[row])).toBe(true)
      }),
      { numRuns: 400 },
    )
  })

  test('has the same bytes when it is made again', () => {
    fc.assert(
      fc.property(chosen, ({ made, places, blockEntries }) => {
        expect(build(made, places, blockEntries).file).toEqual(build(made, places, blockEntries).file)
      }),
      { numRuns: 50 },
    )
  })
})

describe('the file of a sorted index', () => {
  const rows = Array.from({ length: 300 }, (_, i) => [`${'air'.repeat(i % 3)}${(i * 37) % 23}`, (i * 101) % 7, i % 11 === 0 ? null : i / 8] as Stored[])
  const kinds = ['utf8', 'int16', 'float64']
  const made = { view: viewOf(kinds), kinds, rows }
  const { file, identity } = build(made, [0, 1, 2], 32)

  test('with any bit flipped is refused, whatever byte it is', () => {
    for (let at = 0; at < file.length; at++) {
      const broken = file.slice()
      broken[at]! ^= 1 << (at % 8)
      expect(() => checkSorted(broken, identity), `byte ${at}`).toThrow(/at byte \d+$/)
    }
  })

  test('cut short or with more behind it is refused', () => {
    for (let end = 0; end < file.length; end += 3) expect(() => checkSorted(file.subarray(0, end), identity), `${end} bytes`).toThrow()
    const more = new Uint8Array(file.length + 1)
    more.set(file)
    expect(() => checkSorted(more, identity)).toThrow()
  })

  test.each<[string, Partial<SortedIdentity>]>([
    ['another fragment', { fragment: 'cd'.repeat(32) }],
    ['another number of rows', { rows: 299 }],
    ['other columns', { columns: identity.columns.map(({ id, code }) => ({ id: id + 1, code })) }],
    ['columns in another order', { columns: identity.columns.toReversed() }],
    ['fewer columns', { columns: identity.columns.slice(0, 2) }],
    ['a column that was of another type', { columns: identity.columns.map(({ id }) => ({ id, code: 7 })) }],
  ])('is not believed for %s', (_, other) => {
    expect(() => checkSorted(file, { ...identity, ...other })).toThrow()
  })
})

describe('rows that an index names', () => {
  test('are the same as a list and as a bitmap, in pieces of any place and length', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(5999), { maxLength: 400 }), fc.nat(90), fc.integer({ min: 1, max: 2000 }), (rows, first, n) => {
        const list = new RowMarks(6000, rows.length)
        const bitmap = new RowMarks(6000, 6000)
        for (const row of rows) for (const marks of [list, bitmap]) marks.add(row)
        for (let start = 64 * first; start < 6000; start += 64 * Math.ceil(n / 64)) {
          const count = Math.min(n, 6000 - start)
          const wanted = Array.from({ length: count }, (_, i) => (rows.includes(start + i) ? 1 : 0))
          for (const bits of [list.within(start, count), bitmap.within(start, count)]) {
            if (!wanted.includes(1)) expect(bits).toBeUndefined()
            else expect(wanted.map((_, i) => (bits![i >> 3]! >> (i & 7)) & 1)).toEqual(wanted)
          }
        }
      }),
      { numRuns: 60 },
    )
  })
})
