import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  and,
  between,
  eq,
  gt,
  gte,
  InvalidConfigError,
  isNotNull,
  isNull,
  lt,
  lte,
  ne,
  not,
  oneOf,
  or,
  predicateFromText,
  SchemaMismatchError,
  startsWith,
  t,
  table,
} from '../../../bindings/index.ts'

const flights = table('flights', { id: t.int64(), delay: t.int16().nullable(), origin: t.utf8(), late: t.bool(), 'odd "name"': t.float64() })

type Loose = (column: string, value: unknown) => unknown
interface Spelled {
  readonly text: string
  readonly predicate: unknown
  /** How tightly it binds: 3 a test, 2 and, 1 or. */
  readonly level: number
}

const OPERATORS: readonly (readonly [string, Loose])[] = [
  ['=', eq as Loose],
  ['==', eq as Loose],
  ['!=', ne as Loose],
  ['<>', ne as Loose],
  ['>', gt as Loose],
  ['>=', gte as Loose],
  ['<', lt as Loose],
  ['<=', lte as Loose],
]

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`
const name = (column: string): string => (/^[a-z]+$/.test(column) ? column : `"${column.replaceAll('"', '""')}"`)

/** A column, a value of it, and the value as text. */
const cell: fc.Arbitrary<{ column: string; value: unknown; text: string }> = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => ({ column: 'id', value, text: String(value) })),
  fc.integer({ min: -32768, max: 32767 }).map((value) => ({ column: 'delay', value, text: String(value) })),
  fc.string({ unit: 'grapheme' }).map((value) => ({ column: 'origin', value, text: quoted(value) })),
  fc
    .double({ noNaN: true, noDefaultInfinity: true })
    .map((value) => ({ column: 'odd "name"', value: Object.is(value, -0) ? 0 : value, text: Object.is(value, -0) ? '0' : String(value) })),
)

const leaf: fc.Arbitrary<Spelled> = fc.oneof(
  fc
    .tuple(cell, fc.constantFrom(...OPERATORS))
    .map(([{ column, value, text }, [sign, make]]) => ({ text: `${name(column)} ${sign} ${text}`, predicate: make(column, value), level: 3 })),
  fc
    .boolean()
    .map((isNot) => ({ text: `delay is ${isNot ? 'NOT ' : ''}null`, predicate: isNot ? isNotNull('delay' as never) : isNull('delay' as never), level: 3 })),
  fc
    .array(fc.integer({ min: -99, max: 99 }), { maxLength: 4 })
    .map((values) => ({ text: `delay IN (${values.join(', ')})`, predicate: oneOf('delay' as never, values as never[]), level: 3 })),
  fc
    .tuple(fc.integer({ min: -99, max: 99 }), fc.integer({ min: -99, max: 99 }))
    .map(([from, to]) => ({ text: `delay between ${from} and ${to}`, predicate: between('delay' as never, from as never, to as never), level: 3 })),
  fc.string().map((prefix) => ({ text: `origin starts with ${quoted(prefix)}`, predicate: startsWith('origin' as never, prefix), level: 3 })),
  fc.constant({ text: 'late', predicate: eq('late' as never, true as never), level: 3 }),
)

const wrapped = (one: Spelled, level: number): string => (one.level < level ? `(${one.text})` : one.text)
const joined = (kind: 'and' | 'or', level: number, parts: readonly Spelled[]): Spelled => ({
  // A part of the same kind goes in parentheses: without them the text would say one flat list.
  text: parts.map((part) => wrapped(part, level + 1)).join(kind === 'and' ? '\n AND ' : ' or '),
  predicate: (kind === 'and' ? and : or)(...(parts.map((part) => part.predicate) as never[])),
  level,
})

const { tree } = fc.letrec<{ tree: Spelled }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.array(tie('tree'), { minLength: 2, maxLength: 3 }).map((parts) => joined('and', 2, parts)),
    fc.array(tie('tree'), { minLength: 2, maxLength: 3 }).map((parts) => joined('or', 1, parts)),
    tie('tree').map((one) => ({ text: `not ${wrapped(one, 3)}`, predicate: not(one.predicate as never), level: 3 })),
  ),
}))

describe('--where', () => {
  it('reads back what a predicate spells, with the fewest parentheses', () => {
    fc.assert(
      fc.property(tree, ({ text, predicate }) => {
        expect(JSON.stringify(predicateFromText(flights, text))).toBe(JSON.stringify(predicate))
      }),
      { numRuns: 500 },
    )
  })

  it('refuses any other text with the place of the fault', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(fc.constantFrom('delay', '>', '60', 'and', 'or', 'not', '(', ')', "'x'", 'is', 'null', 'in', ',', 'dely')).map((words) => words.join(' ')),
        ),
        (text) => {
          try {
            predicateFromText(flights, text)
          } catch (error) {
            expect(error instanceof InvalidConfigError || error instanceof SchemaMismatchError).toBe(true)
            const at = Number(/character (\d+)/.exec((error as Error).message)?.[1])
            expect(at).toBeGreaterThanOrEqual(1)
            expect(at).toBeLessThanOrEqual(text.length + 1)
          }
        },
      ),
      { numRuns: 500 },
    )
  })

  it('points at an unknown column and says which one is near', () => {
    expect(() => predicateFromText(flights, 'delay > 1 and dely > 3')).toThrow(
      /character 15: flights has no column "dely"; did you mean "delay"\?\n {2}delay > 1 and dely > 3\n {16}\^/,
    )
  })
})
