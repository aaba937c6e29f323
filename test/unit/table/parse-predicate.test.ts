import { describe, expect, it } from 'vitest'
import { InvalidConfigError, SchemaMismatchError } from '../../../bindings/errors.ts'
import { t } from '../../../bindings/table/columns.ts'
import { schemaFromDefinition, table } from '../../../bindings/table/definition.ts'
import { parsePredicate } from '../../../bindings/table/parse-predicate.ts'
import { resolveView } from '../../../bindings/table/resolve-view.ts'

const flights = table('flights', {
  id: t.int64(),
  delay: t.int16().nullable(),
  origin: t.utf8(),
  late: t.bool(),
  price: t.decimal128(10, 2),
  ratio: t.float64(),
  at: t.timestamp('ms'),
  exact: t.timestamp('ns'),
  on: t.date(),
  clock: t.time('ms'),
  ref: t.uuid(),
  raw: t.binary(),
  extra: t.json(),
  'and so': t.int8(),
  'größe.cm': t.int8(),
})
const view = resolveView(flights, schemaFromDefinition(flights, 1))
const parse = (text: string): unknown => parsePredicate(text, view)
const test = (op: string, column: string, value: unknown): object => ({ op, column, value })

describe('predicates as text', () => {
  it.each([
    ['delay > 60', test('gt', 'delay', 60)],
    ['delay>=-1.5', test('gte', 'delay', -1.5)],
    ['delay < 1e3', test('lt', 'delay', 1000)],
    ['delay <= .5', test('lte', 'delay', 0.5)],
    ['delay = 0', test('eq', 'delay', 0)],
    ['delay == +7', test('eq', 'delay', 7)],
    ['delay != 1', test('ne', 'delay', 1)],
    ['delay <> 1', test('ne', 'delay', 1)],
    ['id = 9007199254740993', test('eq', 'id', 9007199254740993n)],
    ['id > 1.5', test('gt', 'id', 1.5)],
    ["origin = 'it''s'", test('eq', 'origin', "it's")],
    ["origin = ''", test('eq', 'origin', '')],
    ['late', test('eq', 'late', true)],
    ['late = FALSE', test('eq', 'late', false)],
    ['price = 12.30', test('eq', 'price', '12.30')],
    ["price < '0.1'", test('lt', 'price', '0.1')],
    ['ratio = 0.1', test('eq', 'ratio', 0.1)],
    ["at >= '2001-01-01'", test('gte', 'at', 978307200000n)],
    ["at >= '2001-01-01 01:00+01:00'", test('gte', 'at', 978307200000n)],
    ["at >= '2001-01-01T00:00:00.123Z'", test('gte', 'at', 978307200123n)],
    ["exact = '1970-01-01T00:00:00.000000007'", test('eq', 'exact', 7n)],
    ["exact = '1969-12-31 23:00 -0130'", test('eq', 'exact', 1800_000_000_000n)],
    ['at > 5', test('gt', 'at', 5n)],
    ["on = '2001-02-03'", test('eq', 'on', '2001-02-03')],
    ["clock < '12:30'", test('lt', 'clock', 45_000_000n)],
    ["clock < '00:00:00.001'", test('lt', 'clock', 1n)],
    ["ref = '550e8400-e29b-41d4-a716-446655440000'", test('eq', 'ref', '550e8400-e29b-41d4-a716-446655440000')],
    ["raw = x'00fF'", test('eq', 'raw', Uint8Array.of(0, 255))],
    ["raw = X''", test('eq', 'raw', new Uint8Array(0))],
    ['"and so" = 1', test('eq', 'and so', 1)],
    ['größe.cm = 1', test('eq', 'größe.cm', 1)],
    ['delay is null', { op: 'isNull', column: 'delay' }],
    ['extra IS NOT NULL', { op: 'isNotNull', column: 'extra' }],
    ['delay between 1 and 2', { op: 'between', column: 'delay', from: 1, to: 2 }],
    ["origin in ('SFO', 'LAX')", { op: 'oneOf', column: 'origin', values: ['SFO', 'LAX'] }],
    ['delay in ()', { op: 'oneOf', column: 'delay', values: [] }],
    ['delay not in (1)', { op: 'not', of: { op: 'oneOf', column: 'delay', values: [1] } }],
    ["origin starts with 'S'", { op: 'startsWith', column: 'origin', prefix: 'S' }],
    ["on not starts with '2001'", { op: 'not', of: { op: 'startsWith', column: 'on', prefix: '2001' } }],
  ])('%s', (text, expected) => {
    expect(parse(text)).toEqual(expected)
    expect(parse(` ( ${text})\n`)).toEqual(expected)
  })

  it('binds not before and before or', () => {
    expect(parse("delay > 60 and origin = 'a' or not late and on = '2001-01-01'")).toEqual({
      op: 'or',
      of: [
        { op: 'and', of: [test('gt', 'delay', 60), test('eq', 'origin', 'a')] },
        { op: 'and', of: [{ op: 'not', of: test('eq', 'late', true) }, test('eq', 'on', '2001-01-01')] },
      ],
    })
    expect(parse('late and (late or late) and delay between 1 and 2 and late')).toMatchObject({ op: 'and', of: [{}, { op: 'or' }, { op: 'between' }, {}] })
  })

  it.each([
    ['', 1, 'expected a column, got the end'],
    ['delay >', 8, 'expected a value, got the end'],
    ['delay > and', 9, 'expected a value; texts go in single quotes, got "and"'],
    ['origin = "SFO"', 10, 'expected a value; texts go in single quotes, got "SFO"'],
    ['delay > 60 late', 12, 'expected "and", "or" or the end, got "late"'],
    ['(delay > 60', 12, 'expected ")", got the end'],
    ['delay', 6, 'expected an operator after "delay", got the end'],
    ["origin = 'SFO", 10, 'the quote is not closed'],
    ['delay > 60 ; late', 12, 'unexpected ";"'],
    ['delay = null', 9, 'null compares with nothing; write "delay is null"'],
    ['delay is 3', 10, 'expected "null" or "not null" after "is", got "3"'],
    ['delay between 1 or 2', 17, 'expected "and" and the upper end, got "or"'],
    ['delay in (1 2)', 13, 'expected ",", got "2"'],
    ['delay not 3', 11, 'expected "in" or "starts with" after "not", got "3"'],
    ['late)', 5, 'expected "and", "or" or the end, got ")"'],
    ['not '.repeat(300) + 'late', 801, 'nested more than 200 deep'],
  ])('%j does not parse', (text, character, message) => {
    expect(() => parse(text)).toThrow(InvalidConfigError)
    expect(() => parse(text)).toThrow(`predicate, character ${character}: ${message}\n`)
  })

  it.each([
    ['late and dely > 60', 10, 'flights has no column "dely"; did you mean "delay"?'],
    ["delay > 'late'", 9, 'flights.delay in a predicate: expected int16, got string "late"'],
    ['late > true', 8, 'flights.late in a predicate: bool has no order'],
    ['extra = 1', 9, 'flights.extra in a predicate: json cannot be compared'],
    ['origin in (1)', 11, 'flights.origin in a predicate: expected utf8, got 1'],
    ["at > 'tomorrow'", 6, '"tomorrow" is no timestamp[ms]'],
    ["at > '2001-02-30'", 6, '"2001-02-30" is no timestamp[ms]'],
    ["at > '2001-01-01T00:00:00.0001'", 6, '"2001-01-01T00:00:00.0001" is no timestamp[ms]'],
    ["clock > '25:00'", 9, '"25:00" is no time[ms]'],
    ["on > '2001'", 6, '"2001" is no date'],
    ["delay starts with '1'", 19, 'flights.delay in a predicate: int16 is not read as text'],
  ])('%j does not fit the table', (text, character, message) => {
    expect(() => parse(text)).toThrow(SchemaMismatchError)
    expect(() => parse(text)).toThrow(`predicate, character ${character}: ${message}`)
  })

  it('points at the place', () => {
    expect(() => parse('late and\tdely > 60')).toThrow('\n  late and dely > 60\n           ^')
  })
})
