import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SchemaMismatchError } from '../../../bindings/errors.ts'
import { t } from '../../../bindings/table/columns.ts'
import { schemaFromDefinition, table } from '../../../bindings/table/definition.ts'
import { compilePredicate, tupleEquality } from '../../../bindings/table/predicate-eval.ts'
import {
  and,
  between,
  eq,
  gt,
  gte,
  isNotNull,
  isNull,
  lt,
  lte,
  ne,
  nodeOf,
  not,
  oneOf,
  or,
  predicateFromJSON,
  startsWith,
} from '../../../bindings/table/predicate.ts'
import { resolveView } from '../../../bindings/table/resolve-view.ts'
import type { AnyTable, Predicate } from '../../../bindings/table/types.ts'
import type { TableView } from '../../../bindings/table/view.ts'
import { cases, KINDS, passes, vecOf, viewOf, type Stored } from './predicate-model.ts'

const flights = table(
  'flights',
  {
    id: t.int64(),
    leg: t.int16(),
    origin: t.utf8().dictionary(),
    delay: t.int16().nullable(),
    late: t.bool(),
    extra: t.json(),
  },
  { key: ['id', 'leg'] },
)

function view(of: AnyTable): TableView {
  return resolveView(of, schemaFromDefinition(of, 1))
}

/** Indexes of the rows of one column that pass. */
function rowsOf(kind: string, values: readonly Stored[], p: Predicate<any>): number[] {
  const compiled = compilePredicate(p, viewOf([kind]))
  const bitmap = compiled.eval(
    compiled.columns.map(() => vecOf(kind, values)),
    values.length,
  )
  return values.flatMap((_, i) => ((bitmap[i >> 3]! >> (i & 7)) & 1 ? [i] : []))
}

// The constructors without the types of a table: what is compiled here is checked at run time.
const on = { eq, ne, gt, gte, lt, lte, between, oneOf, startsWith } as unknown as Record<string, (column: string, ...values: unknown[]) => Predicate<any>>

describe('evaluation of predicates', () => {
  it('agrees with the row-by-row oracle on every type, nulls and NaN included', () => {
    fc.assert(
      fc.property(cases, ({ view, kinds, rows, predicate }) => {
        const compiled = compilePredicate(predicate as unknown as Predicate<any>, view)
        const vecs = compiled.columns.map((column) => {
          const place = Number(column.name.slice(1))
          return vecOf(
            kinds[place]!,
            rows.map((row) => row[place] ?? null),
          )
        })
        const bitmap = compiled.eval(vecs, rows.length)
        expect(rows.map((_, i) => Boolean((bitmap[i >> 3]! >> (i & 7)) & 1))).toEqual(rows.map((row) => passes(predicate, kinds, row)))
        expect(bitmap.length).toBe(Math.ceil(rows.length / 64) * 8)
        for (let i = rows.length; i < bitmap.length * 8; i++) expect((bitmap[i >> 3]! >> (i & 7)) & 1).toBe(0)
      }),
      { numRuns: 1500 },
    )
  })

  it('accepts each row by p or by not(p), never by both', () => {
    fc.assert(
      fc.property(cases, ({ view, kinds, rows, predicate }) => {
        const p = predicate as unknown as Predicate<any>
        const count = (q: Predicate<any>): number => {
          const compiled = compilePredicate(q, view)
          const vecs = compiled.columns.map((column) => {
            const place = Number(column.name.slice(1))
            return vecOf(
              kinds[place]!,
              rows.map((row) => row[place] ?? null),
            )
          })
          return compiled.eval(vecs, rows.length).reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
        }
        expect(count(p) + count(not(p))).toBe(rows.length)
        expect(count(and(p, not(p)))).toBe(0)
        expect(count(or(p, not(p)))).toBe(rows.length)
        expect(count(not(not(p)))).toBe(count(p))
      }),
      { numRuns: 300 },
    )
  })

  it('keeps its meaning through JSON and structured clones', () => {
    fc.assert(
      fc.property(cases, ({ view, predicate }) => {
        const made = nodeOf(predicate) as unknown as Predicate<any>
        const root = compilePredicate(made, view).root
        expect(compilePredicate(predicateFromJSON(JSON.parse(JSON.stringify(made))), view).root).toEqual(root)
        expect(compilePredicate(JSON.parse(JSON.stringify(made)) as Predicate<any>, view).root).toEqual(root)
        expect(compilePredicate(structuredClone(made), view).root).toEqual(root)
      }),
      { numRuns: 300 },
    )
  })

  it('compares constants between and beyond the values of the column exactly', () => {
    expect(rowsOf('int16', [1, 2, null], on['gt']!('c0', 1.5))).toEqual([1])
    expect(rowsOf('int16', [1, 2, null], on['eq']!('c0', 1.5))).toEqual([])
    expect(rowsOf('int16', [1, 2, null], on['ne']!('c0', 1.5))).toEqual([0, 1, 2])
    expect(rowsOf('int16', [1, 2, null], on['lt']!('c0', 1e6))).toEqual([0, 1])
    expect(rowsOf('int16', [1, 2, null], on['gt']!('c0', 1e6))).toEqual([])
    expect(rowsOf('seconds', [0n, 1n, 2n], on['lte']!('c0', new Date(1500)))).toEqual([0, 1])
    expect(rowsOf('decimal', [1230n, 1231n], on['gt']!('c0', '12.301'))).toEqual([1])
    expect(rowsOf('date', [0, 1], on['gte']!('c0', '1970-01-02'))).toEqual([1])
    expect(rowsOf('float32', [Math.fround(0.1)], on['eq']!('c0', 0.1))).toEqual([0])
    expect(rowsOf('float32', [Infinity, 1], on['gt']!('c0', 1e39))).toEqual([0])
  })

  it('never matches NaN, except by not', () => {
    expect(rowsOf('float64', [Number.NaN, 1, null], on['gte']!('c0', -Infinity))).toEqual([1])
    expect(rowsOf('float64', [Number.NaN, 1, null], not(on['gte']!('c0', -Infinity)))).toEqual([0, 2])
    expect(rowsOf('float64', [Number.NaN, 1, null], isNotNull('c0' as never))).toEqual([0, 1])
  })

  it('orders strings by code point, not by UTF-16 unit', () => {
    expect(rowsOf('utf8', ['\u{ff61}', '\u{1f600}'], on['gt']!('c0', '\u{ff61}'))).toEqual([1])
  })

  it('matches prefixes of uuids and dates by their text', () => {
    const uuid = Uint8Array.from(Buffer.from('550e8400e29b41d4a716446655440000', 'hex'))
    for (const prefix of ['', '5', '550e8400', '550e8400-', '550e8400-e29b-4', '550e8400-e29b-41d4-a716-446655440000']) {
      expect(rowsOf('uuid', [uuid], on['startsWith']!('c0', prefix)), prefix).toEqual([0])
    }
    for (const prefix of ['6', '550e84000', '550e8400e', '550e8400-e29b-41d4-a716-4466554400001', 'x']) {
      expect(rowsOf('uuid', [uuid], on['startsWith']!('c0', prefix)), prefix).toEqual([])
    }
    expect(rowsOf('date', [-1, 0, 30, 31, 365], on['startsWith']!('c0', '1970-01'))).toEqual([1, 2])
    expect(() => rowsOf('date', [0], on['startsWith']!('c0', '+'))).toThrow(SchemaMismatchError)
  })

  it('is true for and() and false for or()', () => {
    expect(rowsOf('bool', [1, null], and())).toEqual([0, 1])
    expect(rowsOf('bool', [1, null], or())).toEqual([])
    expect(rowsOf('bool', [1, null], on['oneOf']!('c0', []))).toEqual([])
  })
})

describe('predicates refused', () => {
  it('throws RangeError for NaN and invalid dates when they are made', () => {
    expect(() => flights.where(gt('delay', Number.NaN))).toThrow(RangeError)
    expect(() => flights.where(oneOf('delay', [1, Number.NaN]))).toThrow(RangeError)
    expect(() => on['between']!('at', new Date(0), new Date(Number.NaN))).toThrow(RangeError)
  })

  const compile = (p: Predicate<any>): unknown => compilePredicate(p, view(flights))
  it.each([
    ['an unknown column', on['eq']!('dely', 1), 'flights: no column "dely"; did you mean "delay"?'],
    ['a string against a number', on['gt']!('delay', 'late'), 'flights.delay in a predicate: expected int16, got string "late"'],
    ['null', on['eq']!('delay', null), 'flights.delay in a predicate: expected int16, got null'],
    ['a bigint against int16', on['eq']!('delay', 4n), 'flights.delay in a predicate: expected int16, got 4n'],
    ['json', on['eq']!('extra', 1), 'flights.extra in a predicate: json cannot be compared'],
    ['gt on bool', on['gt']!('late', true), 'flights.late in a predicate: bool has no order'],
    ['startsWith on a number', on['startsWith']!('delay', '1'), 'flights.delay in a predicate: int16 is not read as text, which startsWith needs'],
    ['an unsafe integer', on['eq']!('id', 2 ** 53), 'flights.id in a predicate: 9007199254740992 is not a safe integer; write it as a bigint'],
    ['one deep inside', and(not(or(on['eq']!('late', 1)))), 'flights.late in a predicate: expected bool, got 1'],
    ['something else', { op: 'like', column: 'origin' } as unknown as Predicate<any>, 'expected a predicate, got object with op "like"'],
    ['a column named like a method', on['eq']!('constructor', 1), 'flights: no column "constructor"'],
  ])('throws SchemaMismatchError for %s', (_, p, message) => {
    expect(() => compile(p)).toThrow(SchemaMismatchError)
    expect(() => compile(p)).toThrow(message)
  })

  it('does not change when what was handed in changes', () => {
    const bytes = Uint8Array.of(1)
    const date = new Date(0)
    const list = [bytes]
    const p = on['oneOf']!('a', list)
    const q = on['eq']!('a', date)
    bytes[0] = 2
    date.setTime(1)
    list.push(bytes)
    expect(JSON.stringify([p, q])).toBe('[{"op":"oneOf","column":"a","values":[{"$base64":"AQ=="}]},{"op":"eq","column":"a","value":{"$date":0}}]')
    expect(Object.isFrozen(p)).toBe(true)
  })
})

describe('keys that a predicate fixes', () => {
  const keys = (p: Predicate<any>): unknown => tupleEquality(compilePredicate(p, view(flights)), view(flights).schema.key)
  it('are found in conjunctions of eq and oneOf over the whole key', () => {
    expect(keys(flights.where(and(eq('id', 1n), and(eq('leg', 2), gt('delay', 5)))))).toEqual([[1n, 2]])
    expect(keys(flights.where(and(oneOf('id', [1n, 2n]), oneOf('leg', [3, 4]))))).toEqual([
      [1n, 3],
      [1n, 4],
      [2n, 3],
      [2n, 4],
    ])
    expect(keys(flights.where(and(oneOf('id', [1n, 2n]), eq('id', 2n), eq('leg', 3))))).toEqual([[2n, 3]])
    expect(keys(flights.where(and(eq('id', 1n), eq('id', 2n), eq('leg', 3))))).toEqual([])
    expect(keys(flights.where(and(between('id', 7n, 7n), eq('leg', 1e9))))).toEqual([])
  })
  it('are not found when a part is open', () => {
    expect(keys(flights.where(eq('id', 1n)))).toBeUndefined()
    expect(keys(flights.where(or(eq('id', 1n), eq('leg', 2))))).toBeUndefined()
    expect(keys(flights.where(and(eq('id', 1n), not(eq('leg', 2)))))).toBeUndefined()
    expect(keys(flights.where(and(gt('id', 1n), eq('leg', 2), isNull('delay'))))).toBeUndefined()
  })
})

it('has a model for every type that compares', () => {
  expect(Object.keys(KINDS).length).toBeGreaterThan(20)
  expect(flights.where(startsWith('origin', 'S'))).toEqual({ op: 'startsWith', column: 'origin', prefix: 'S' })
  expect(flights.where(ne('delay', 1))).toEqual({ op: 'ne', column: 'delay', value: 1 })
  expect([gte, lt, lte].map((make) => flights.where(make('delay', 1)))).toHaveLength(3)
})
