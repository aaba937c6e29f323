import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cellFromJson, cellFromText, cellJson, cellText, guessJson, guessText } from '../../../bindings/cli/cell-text.ts'
import { type CellType, parseField, typeText } from '../../../bindings/cli/column-type.ts'

const type = (text: string): CellType => parseField(text).type

/** Values as a store hands them out. */
const VALUES: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  bool: fc.boolean(),
  int8: fc.integer({ min: -128, max: 127 }),
  uint32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  uint64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  float32: fc.float(),
  float64: fc.double(),
  utf8: fc.string({ unit: 'grapheme' }),
  // JSON has no -0.
  json: fc
    .jsonValue()
    .map((value): unknown => JSON.parse(JSON.stringify(value)))
    .filter((value) => value !== null),
  binary: fc.uint8Array(),
  'fixedSizeBinary(3)': fc.uint8Array({ minLength: 3, maxLength: 3 }),
  uuid: fc.uuid(),
  'timestamp[s]': fc.integer({ min: -(2 ** 33), max: 2 ** 33 }).map((n) => new Date(n * 1000)),
  'timestamp[ms, UTC]': fc.date({ noInvalidDate: true, min: new Date('0000-01-01T00:00:00Z'), max: new Date('9999-12-31T00:00:00Z') }),
  'timestamp[us]': fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  'timestamp[ns]': fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  date: fc
    .date({ noInvalidDate: true, min: new Date('0000-01-01T00:00:00Z'), max: new Date('9999-12-31T00:00:00Z') })
    .map((date) => date.toISOString().slice(0, 10)),
  'time[s]': fc.integer({ min: 0, max: 86_399 }),
  'time[ms]': fc.integer({ min: 0, max: 86_399_999 }),
  'time[us]': fc.bigInt({ min: 0n, max: 86_399_999_999n }),
  'time[ns]': fc.bigInt({ min: 0n, max: 86_399_999_999_999n }),
  'decimal128(10, 2)': fc.integer().map((n) => (n / 100).toFixed(2)),
  'list<int64 or null>': fc.array(fc.option(fc.bigInt({ min: -5n, max: 2n ** 62n }))),
  'vector(2)': fc.tuple(fc.float(), fc.float()).map((pair) => Float32Array.from(pair)),
  'struct<"a": timestamp[ns], "b": list<binary> or null>': fc.record({ a: fc.bigInt({ min: 0n, max: 2n ** 60n }), b: fc.option(fc.array(fc.uint8Array())) }),
}

/** Instants compare by their number: text gives bigint where the store gives Date. */
function plain(of: CellType, value: unknown): unknown {
  if (of.kind !== 'timestamp' || value === null) return value
  return value instanceof Date ? BigInt(value.getTime()) / (of.unit === 's' ? 1000n : 1n) : value
}

describe('values as text and as JSON', () => {
  it.each(Object.keys(VALUES))('%s reads back what it writes', (text) => {
    const of = type(text)
    fc.assert(
      fc.property(VALUES[text]!, (value) => {
        expect(plain(of, cellFromText(of, cellText(of, value)))).toEqual(plain(of, value))
        expect(plain(of, cellFromJson(of, JSON.parse(JSON.stringify(cellJson(of, value)))))).toEqual(plain(of, value))
      }),
    )
  })

  it.each([
    ['timestamp[us]', 978307260000001n, '2001-01-01T00:01:00.000001'],
    ['timestamp[ms, UTC]', new Date(978307260123), '2001-01-01T00:01:00.123Z'],
    ['timestamp[s]', new Date(-1000), '1969-12-31T23:59:59'],
    ['time[ms]', 45_296_007, '12:34:56.007'],
    ['binary', Uint8Array.of(1, 2, 255), 'AQL/'],
  ])('writes %s %s as %s', (of, value, text) => {
    expect(cellText(type(of), value)).toBe(text)
  })

  it.each([
    ['timestamp[us]', '2001-01-01 00:01', 978307260000000n],
    ['timestamp[us]', '2001-01-01T01:01:00+01:00', 978307260000000n],
    ['timestamp[us]', '2001-01-01', 978307200000000n],
    ['timestamp[us]', '42', 42n],
    ['timestamp[ns]', '2001-01-01T00:00:00.5', 978307200500000000n],
    ['timestamp[s]', '2001-01-01T00:00:01.000Z', 978307201n],
    ['bool', 'YES', true],
    ['bool', '0', false],
    ['int16', ' 7 ', 7],
    ['float64', '-inf', -Infinity],
  ])('reads %s from %s', (of, text, value) => {
    expect(cellFromText(type(of), text)).toEqual(value)
  })

  it.each([
    ['int8', '128'],
    ['int8', '1.5'],
    ['uint64', '-1'],
    ['int64', '9223372036854775808'],
    ['float64', '1,5'],
    ['bool', 'maybe'],
    ['timestamp[us]', '2001-02-30T00:00:00'],
    ['timestamp[us]', '2001-01-01T24:00:00'],
    ['timestamp[ms]', '2001-01-01T00:00:00.0001'],
    ['timestamp[s]', '2001-01-01T00:00:00.500'],
    ['time[s]', '25:00:00'],
    ['binary', 'no base64!'],
    ['list<int8>', '{"a":1}'],
    ['json', '{'],
  ])('refuses %s from %j', (of, text) => {
    expect(() => cellFromText(type(of), text)).toThrow(/is no |is outside|has more digits/)
  })

  it.each([
    [['1', '-2'], 'int64'],
    [['1', '2.5'], 'float64'],
    [['1e3'], 'float64'],
    [['007', '1'], 'utf8'],
    [['9223372036854775808'], 'utf8'],
    [['true', 'False'], 'bool'],
    [['true', '1'], 'utf8'],
    [['2001-01-01'], 'date'],
    [['2001-01-01', '2001-01-01T00:00:01'], 'timestamp[ms]'],
    [['2001-01-01T00:00:01.123456'], 'timestamp[us]'],
    [['2001-01-01T00:00:01Z', '2001-01-01T00:00:01.1234567+01:00'], 'timestamp[ns, UTC]'],
    [['2001-01-01T00:00:01Z', '2001-01-01T00:00:01'], 'utf8'],
    [['2001-02-30'], 'utf8'],
    [['SFO', '1'], 'utf8'],
  ])('guesses %j to be %s', (texts, expected) => {
    expect(typeText(texts.reduce<CellType | undefined>((seen, text) => guessText(text, seen), undefined)!)).toBe(expected)
  })

  it.each([
    [[1, 2], 'int64'],
    [[1, 2.5], 'float64'],
    [[true], 'bool'],
    [['2001-01-01T00:00:00Z'], 'timestamp[ms, UTC]'],
    [['12', '13'], 'utf8'],
    [[{ a: 1 }, [2]], 'json'],
    [[1, { a: 1 }], 'json'],
    [[1, 'x'], 'json'],
    [[1.5, 'NaN', '-Infinity'], 'float64'],
    [[true, 1], 'json'],
    [['x', '2001-01-01'], 'utf8'],
    [[12345678901234567890n], 'int64'],
  ])('guesses JSON values, case %#', (values, expected) => {
    expect(typeText((values as unknown[]).reduce<CellType | undefined>((seen, value) => guessJson(value, seen), undefined)!)).toBe(expected)
  })
})
