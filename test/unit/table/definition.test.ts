import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InvalidNameError, SchemaMismatchError, UnkeyableTypeError, UnsupportedTypeError } from '../../../bindings/errors.ts'
import { declaredIndexes, indexLabel, type TableSchema } from '../../../bindings/format/index.ts'
import { specOf, t } from '../../../bindings/table/columns.ts'
import { decodeDefault, definitionOf, sameDefinition, schemaFromDefinition, table, tableFromSchema } from '../../../bindings/table/definition.ts'
import { didYouMean } from '../../../bindings/table/names.ts'
import { describeType } from '../../../bindings/table/physical.ts'
import { dateText, parseDate } from '../../../bindings/table/text-forms.ts'
import { resolveView } from '../../../bindings/table/resolve-view.ts'
import type { AnyTable, Column } from '../../../bindings/table/types.ts'

type AnyColumn = Column<any, any, any>
// As JavaScript callers see it: what the compiler would refuse is checked at run time too.
const loose = table as unknown as (name: unknown, columns: Record<string, unknown>, options?: object) => AnyTable

const flights = table(
  'flights',
  {
    id: t.int64(),
    date: t.timestamp('ms', { tz: 'UTC' }),
    origin: t.utf8().dictionary(),
    delay: t.int16().nullable(),
    carrier: t.utf8().default('??'),
  },
  { key: ['id'], unique: [['date', 'origin']], index: ['origin'] },
)

/** [column, its type as messages spell it]. */
const TYPES: readonly (readonly [AnyColumn, string])[] = [
  [t.bool(), 'bool'],
  [t.int8(), 'int8'],
  [t.int16(), 'int16'],
  [t.int32(), 'int32'],
  [t.int64(), 'int64'],
  [t.uint8(), 'uint8'],
  [t.uint16(), 'uint16'],
  [t.uint32(), 'uint32'],
  [t.uint64(), 'uint64'],
  [t.float32(), 'float32'],
  [t.float64(), 'float64'],
  [t.utf8(), 'utf8'],
  [t.utf8().dictionary(), 'dictionary<utf8>'],
  [t.binary(), 'binary'],
  [t.fixedSizeBinary(5), 'fixedSizeBinary(5)'],
  [t.uuid(), 'uuid'],
  [t.json(), 'json'],
  [t.timestamp(), 'timestamp[ms]'],
  [t.timestamp('ns', { tz: 'Europe/Berlin' }), 'timestamp[ns, Europe/Berlin]'],
  [t.date(), 'date'],
  [t.time('us'), 'time[us]'],
  [t.decimal128(10, 2), 'decimal128(10, 2)'],
  [t.list(t.int32().nullable()), 'list<int32 or null>'],
  [t.struct({ a: t.int8(), b: t.list(t.utf8()) }), 'struct<"a": int8, "b": list<utf8>>'],
  [t.fixedSizeList(3, t.bool()), 'fixedSizeList(3)<bool>'],
  [t.vector(8), 'vector(8)'],
]

describe('table()', () => {
  it('is frozen data, with the key and options as given', () => {
    expect(flights).toEqual({ name: 'flights', columns: flights.columns, key: ['id'], unique: [['date', 'origin']], index: ['origin'] })
    for (const part of [flights, flights.columns, flights.key, definitionOf(flights).unique, definitionOf(flights).index, flights.columns.id]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
    expect(table('x', { a: t.int8() }).key).toEqual([])
    expect(definitionOf(table('x', { a: t.int8() }, { renamedFrom: 'y' })).renamedFrom).toBe('y')
    expect('$' in flights.columns.id).toBe(false)
  })

  it('keeps its own copies of what it was given', () => {
    const columns: Record<string, AnyColumn> = { a: t.int8(), b: t.int8() }
    const key = ['a']
    const bytes = Uint8Array.of(1)
    columns['c'] = t.binary().default(bytes)
    const made = loose('x', columns, { key })
    bytes[0] = 9
    key.push('b')
    delete columns['a']
    expect(Object.keys(made.columns)).toEqual(['a', 'b', 'c'])
    expect(made.key).toEqual(['a'])
    expect(specOf(made.columns['c']).default).toEqual(Uint8Array.of(1))
  })

  it('makes a new column with every method', () => {
    const plain = t.utf8()
    const changed = plain.dictionary().nullable().default('x').renamedFrom('old').typed<'x' | null>()
    expect(specOf(plain)).toEqual({ type: { kind: 'utf8' }, nullable: false })
    expect(specOf(changed)).toEqual({ type: { kind: 'utf8', dictionary: true }, nullable: true, default: 'x', renamedFrom: 'old' })
    expect(specOf(t.list(t.int64({ as: 'number' }))).children).toEqual([{ type: { kind: 'int', bits: 64, signed: true }, nullable: false, as: 'number' }])
  })

  it.each(['a', '_', 'A-b.c_9', 'x'.repeat(128)])('takes the table name %j', (name) => {
    expect(loose(name, { a: t.int8() }).name).toBe(name)
  })
  it.each(['', '1a', '-a', 'a b', 'é', 'a/b', 'x'.repeat(129), 7, null])('refuses the table name %j', (name) => {
    expect(() => loose(name, { a: t.int8() })).toThrow(InvalidNameError)
  })
  it.each(['a', ' ', 'é', 'asc', 'a desc ', 'x'.repeat(255), '1', 'constructor', '"'])('takes the column name %j', (name) => {
    expect(Object.keys(loose('x', { [name]: t.int8() }, { key: [name] }).columns)).toEqual([name])
  })
  it.each(['', 'x asc', 'x desc', ' asc', 'a\nb', 'a\u0080', '\ud800', 'é'.repeat(128), '__proto__'])('refuses the column name %j', (name) => {
    const columns = Object.fromEntries([[name, t.int8()]])
    expect(() => loose('x', columns)).toThrow(InvalidNameError)
    expect(() => loose('x', { s: t.list(t.struct(columns)) })).toThrow(InvalidNameError)
    expect(() => loose('x', { s: t.int8().renamedFrom(name) })).toThrow(InvalidNameError)
  })

  it.each(['json', 'list<int32 or null>', 'struct<"a": int8, "b": list<utf8>>', 'fixedSizeList(3)<bool>', 'vector(8)'])(
    'refuses %s in key, unique and index',
    (type) => {
      const column = TYPES.find(([, name]) => name === type)![0]
      for (const options of [{ key: ['a'] }, { unique: [['a']] }, { index: ['a'] }, { index: [['a']] }]) {
        expect(() => loose('x', { a: column }, options)).toThrow(UnkeyableTypeError)
        expect(() => loose('x', { a: column }, options)).toThrow(`x.a: ${type} cannot be part of`)
      }
    },
  )
  it('refuses a nullable key, but not a nullable column in unique or index', () => {
    expect(() => loose('x', { a: t.int8().nullable() }, { key: ['a'] })).toThrow(
      new UnkeyableTypeError('x.a: a key column cannot be nullable', { details: { column: 'a' } }),
    )
    expect(loose('x', { a: t.int8().nullable() }, { unique: [['a']], index: ['a'] }).name).toBe('x')
  })
  it.each([
    [{ key: ['ide'] }, 'x key: no column "ide"; did you mean "id"?'],
    [{ key: ['toString'] }, 'x key: no column "toString"'],
    [{ unique: [['id', 'b']] }, 'x unique: no column "b"'],
    [{ unique: [[]] }, 'x unique: names no column'],
    [{ index: ['zzz'] }, 'x index: no column "zzz"'],
    [{ index: [['id', 'zzz']] }, 'x index: no column "zzz"'],
    [{ index: [['id', 'id']] }, 'x index: column "id" is named twice'],
    [{ index: [[]] }, 'x index: names no column'],
    [{ index: ['id', ['id']] }, 'x index: ["id"] is declared twice'],
    [{ key: ['id', 'id'] }, 'x key: column "id" is named twice'],
  ])('refuses the options %j', (options, message) => {
    expect(() => loose('x', { id: t.int8() }, options)).toThrow(SchemaMismatchError)
    expect(() => loose('x', { id: t.int8() }, options)).toThrow(message)
  })
  it('refuses a table without columns and columns that are none', () => {
    expect(() => loose('x', {})).toThrow(SchemaMismatchError)
    for (const column of [null, 'int8', {}, () => 1]) expect(() => loose('x', { a: column })).toThrow(UnsupportedTypeError)
    expect(() => definitionOf({} as AnyTable)).toThrow(SchemaMismatchError)
  })
  it.each([
    () => t.decimal128(0, 0),
    () => t.decimal128(39, 2),
    () => t.decimal128(5, 6),
    () => t.decimal128(5, -1),
    () => t.decimal128(5.5, 1),
    () => t.fixedSizeBinary(0),
    () => t.vector(2 ** 31),
    () => t.fixedSizeList(1.5, t.bool()),
    () => t.struct({}),
    () => t.timestamp('m' as 's'),
    () => t.time('h' as 's'),
    () => t.timestamp('ms', { tz: '' }),
    () => t.int64({ as: 'date' as 'number' }),
    () => t.date({ as: 'bigint' as 'number' }),
    () => (t.int8() as unknown as { dictionary(): void }).dictionary(),
    () => (t.json() as unknown as { dictionary(): void }).dictionary(),
    () => t.list(undefined as unknown as AnyColumn),
  ])('refuses the type of %s', (make) => {
    expect(make).toThrow(UnsupportedTypeError)
  })
})

describe('defaults', () => {
  /** [column, default as handed in, stored JSON form, what tableFromSchema gives back when it differs]. */
  const DEFAULTS: readonly (readonly [AnyColumn, unknown, unknown, unknown?])[] = [
    [t.bool(), false, false],
    [t.int16(), -5, -5],
    [t.int64(), 5n, { $bigint: '5' }],
    [t.int64({ as: 'number' }), 5, { $bigint: '5' }, 5n],
    [t.uint64(), 2n ** 64n - 1n, { $bigint: '18446744073709551615' }],
    [t.float64(), -0, { $number: '-0' }],
    [t.float64(), Number.NaN, { $number: 'NaN' }],
    [t.float32(), 0.1, Math.fround(0.1), Math.fround(0.1)],
    [t.utf8(), 'é', 'é'],
    [t.binary(), Uint8Array.of(1, 255), { $base64: 'Af8=' }],
    [t.fixedSizeBinary(1), Uint8Array.of(7), { $base64: 'Bw==' }],
    [t.uuid(), '550E8400-e29b-41d4-a716-446655440000', { $base64: 'VQ6EAOKbQdSnFkRmVUQAAA==' }, '550e8400-e29b-41d4-a716-446655440000'],
    [t.json(), { a: [1, null] }, '{"a":[1,null]}'],
    [t.json(), { $bigint: '5' }, '{"$bigint":"5"}'],
    [t.timestamp(), new Date(1500), { $bigint: '1500' }],
    [t.timestamp('s'), 7, { $bigint: '7' }, new Date(7000)],
    [t.timestamp('us'), new Date(2), { $bigint: '2000' }, 2000n],
    [t.date(), '2026-11-21', 20778],
    [t.date({ as: 'date' }), new Date(86_400_000), 1, '1970-01-02'],
    [t.time('ms'), 1, 1],
    [t.time('ns'), 1n, { $bigint: '1' }],
    [t.decimal128(5, 2), '12.3', { $bigint: '1230' }, '12.30'],
    [t.decimal128(38, 0), 7n, { $bigint: '7' }, '7'],
    [t.list(t.int64().nullable()), [1n, null], [{ $bigint: '1' }, null]],
    [t.struct({ a: t.int8(), b: t.utf8().default('x') }), { a: 1 }, { a: 1, b: 'x' }, { a: 1, b: 'x' }],
    [t.vector(2), [1, 2], [1, 2], Float32Array.of(1, 2)],
    [t.fixedSizeList(1, t.bool()), [true], [true]],
  ]
  it.each(DEFAULTS as [AnyColumn, unknown, unknown, unknown?][])('%# of a column is stored as JSON and read back', (column, given, stored, back = given) => {
    const made = loose('x', { a: column.default(given) })
    const schema = JSON.parse(JSON.stringify(schemaFromDefinition(made, 1))) as TableSchema
    expect(schema.columns[0]!.default).toEqual(stored)
    const again = tableFromSchema(schema)
    expect(specOf(again.columns['a']).default).toEqual(back)
    expect(sameDefinition(again, schema)).toBe(true)
    expect(sameDefinition(made, schema)).toBe(true)
    expect(decodeDefault(schema.columns[0]!)).toBeDefined()
  })
  it('are absent where there is none', () => {
    expect(decodeDefault(schemaFromDefinition(flights, 1).columns[0]!)).toBeUndefined()
  })
  it.each([
    [t.int16(), 40000, 'x.a: default: 40000 is outside int16 (-32768..32767)'],
    [t.int16(), 1.5, 'x.a: default: expected int16, got 1.5'],
    [t.int64(), 2 ** 53, 'x.a: default: 9007199254740992 is not a safe integer; write it as a bigint'],
    [t.utf8(), 3, 'x.a: default: expected utf8, got 3'],
    [t.utf8(), null, 'x.a: default: expected utf8, got null'],
    [t.utf8().nullable(), null, 'x.a: default: expected utf8, got null'],
    [t.uuid(), 'abc', 'x.a: default: expected uuid, got string "abc"'],
    [t.timestamp('s'), new Date(1), 'x.a: default: Date 1970-01-01T00:00:00.001Z has more precision than timestamp[s] holds'],
    [t.timestamp(), new Date(Number.NaN), 'x.a: default: invalid Date'],
    [t.date(), '2026-02-30', 'x.a: default: expected date as "2026-11-21", got string "2026-02-30"'],
    [t.time('s'), 86_400, 'x.a: default: 86400 is outside time[s] (0..86399)'],
    [t.decimal128(5, 2), '1.234', 'x.a: default: 1.234 has more digits than decimal128(5, 2) holds'],
    [t.decimal128(5, 2), 1000, 'x.a: default: 1000 is outside decimal128(5, 2)'],
    [t.json(), { a: undefined }, 'x.a: default: JSON cannot hold undefined at /a'],
    [t.json(), [Number.NaN], 'x.a: default: JSON cannot hold NaN at /0'],
    [t.fixedSizeBinary(2), Uint8Array.of(1), 'x.a: default: 1 bytes, expected 2'],
    [t.list(t.int8()), [1, 'x'], 'x.a: default: item 1: expected int8, got string "x"'],
    [t.vector(2), [1], 'x.a: default: 1 items, expected 2'],
    [t.struct({ a: t.int8() }), { a: 1, b: 2 }, 'x.a: default: no field "b"'],
    [t.struct({ a: t.int8() }), {}, 'x.a: default: field "a": expected int8, got undefined'],
  ] as const)('%# that does not fit is refused', (column, given, message) => {
    expect(() => loose('x', { a: (column as AnyColumn).default(given) })).toThrow(SchemaMismatchError)
    expect(() => loose('x', { a: (column as AnyColumn).default(given) })).toThrow(message)
  })
})

describe('schemas', () => {
  it('number columns from 1 and name key, unique and index by id', () => {
    const schema = schemaFromDefinition(flights, 7)
    expect(schema).toMatchObject({ tableId: 7, version: 1, name: 'flights', key: [1], unique: [[2, 3]], index: [3] })
    expect(schema.columns.map(({ id, name, nullable }) => [id, name, nullable])).toEqual([
      [1, 'id', false],
      [2, 'date', false],
      [3, 'origin', false],
      [4, 'delay', true],
      [5, 'carrier', false],
    ])
    expect(JSON.parse(JSON.stringify(schema))).toEqual(schema)
  })

  it.each(TYPES)('%# spells its type, differs from every other type and survives the store', (column, spelled) => {
    const schema = schemaFromDefinition(loose('x', { a: column }), 1)
    expect(describeType(schema.columns[0]!.type)).toBe(spelled)
    for (const [other] of TYPES) expect(sameDefinition(loose('x', { a: other }), schema)).toBe(other === column)
    expect(schemaFromDefinition(tableFromSchema(schema), 1)).toEqual(schema)
  })

  const same = (columns: Record<string, AnyColumn>, options: object): boolean => sameDefinition(loose('x', columns, options), base)
  const a = t.int64()
  const b = t.utf8().nullable()
  const base = schemaFromDefinition(loose('x', { a, b }, { key: ['a'], unique: [['a', 'b'], ['b']], index: ['b', 'a'] }), 3)
  const options = { key: ['a'], unique: [['b'], ['b', 'a']], index: ['a', 'b'] }
  it('are the same for another order of columns, constraints and indexes, another `as`, and another version', () => {
    expect(same({ b, a }, options)).toBe(true)
    expect(same({ a: t.int64({ as: 'number' }), b: b.typed<'x' | null>() }, options)).toBe(true)
    expect(sameDefinition(loose('x', { a, b }, options), { ...base, version: 9, columns: base.columns.map((column) => ({ ...column, id: column.id })) })).toBe(
      true,
    )
  })
  it('differ by name, type, nullability, default, key, unique and index', () => {
    expect(sameDefinition(loose('y', { a, b }, options), base)).toBe(false)
    expect(same({ a: t.int32(), b }, options)).toBe(false)
    expect(same({ a, b: t.utf8() }, options)).toBe(false)
    expect(same({ a, b: b.default('x') }, options)).toBe(false)
    expect(same({ a, b, c: a }, options)).toBe(false)
    expect(same({ a, b }, { ...options, key: [] })).toBe(false)
    expect(same({ a, b }, { ...options, unique: [['b']] })).toBe(false)
    expect(same({ a, b }, { ...options, index: [] })).toBe(false)
  })
  it('keep the order of the columns of an index, not that of the indexes; a list of one column is that column', () => {
    const of = (...index: (string | string[])[]): AnyTable => loose('x', { a, b }, { key: ['a'], index })
    const schema = schemaFromDefinition(of('b', ['a', 'b']), 1)
    expect(schema.index).toEqual([2, [1, 2]])
    expect(declaredIndexes(schema).map((columns) => indexLabel(schema, columns))).toEqual(['b', 'a, b'])
    expect(definitionOf(tableFromSchema(schema)).index).toEqual(['b', ['a', 'b']])
    expect(sameDefinition(of(['a', 'b'], ['b']), schema)).toBe(true)
    expect(sameDefinition(of('b', ['b', 'a']), schema)).toBe(false)
  })
  it('keep the order of a composite key', () => {
    const schema = schemaFromDefinition(loose('x', { a, c: a }, { key: ['a', 'c'] }), 1)
    expect(sameDefinition(loose('x', { c: a, a }, { key: ['a', 'c'] }), schema)).toBe(true)
    expect(sameDefinition(loose('x', { a, c: a }, { key: ['c', 'a'] }), schema)).toBe(false)
  })
})

describe('views', () => {
  const schema = schemaFromDefinition(flights, 1)
  it('name the columns of the code in its order, at their stored places', () => {
    const part = table('flights', { origin: t.utf8().dictionary().typed<'SFO'>(), id: t.int64({ as: 'number' }) }, { key: ['id'] })
    const view = resolveView(part, schema)
    expect(view.columns.map(({ name, index, column, spec }) => [name, index, column.id, spec.as])).toEqual([
      ['origin', 2, 3, undefined],
      ['id', 0, 1, 'number'],
    ])
    expect(view.key.map((column) => column.name)).toEqual(['id'])
    expect([...view.byName.keys()]).toEqual(['origin', 'id'])
    expect(view.table).toBe(part)
    expect(view.schema).toBe(schema)
  })
  it.each([
    [{ id: t.int64(), dely: t.int16() }, ['id'], 'flights: the store has no column "dely"; did you mean "delay"?'],
    [{ id: t.int32() }, ['id'], 'flights: column "id" is int32 in the code and int64 in the store'],
    [{ id: t.int64(), delay: t.int16() }, ['id'], 'flights: column "delay" is int16 in the code and int16 or null in the store'],
    [{ id: t.int64(), date: t.timestamp('ms') }, ['id'], 'column "date" is timestamp[ms] in the code and timestamp[ms, UTC] in the store'],
    [{ id: t.int64() }, [], 'flights: the key is none in the code and "id" in the store'],
    [{ id: t.int64(), carrier: t.utf8() }, ['carrier', 'id'], 'the key is "carrier", "id" in the code and "id" in the store'],
  ])('%# that do not fit are refused with both definitions', (columns, key, message) => {
    const make = (): unknown => resolveView(loose('flights', columns, { key }), schema)
    expect(make).toThrow(SchemaMismatchError)
    expect(make).toThrow(message)
    expect(make).toThrow('store: flights(id int64, date timestamp[ms, UTC], origin dictionary<utf8>, delay int16 or null, carrier utf8; key id)')
  })
})

describe('dates as text', () => {
  it('are read back for every day number', () => {
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), (day) => {
        expect(parseDate(dateText(day))).toBe(day)
      }),
    )
  })
  it('are those of Date where it reaches', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1e8, max: 1e8 }), (day) => {
        expect(dateText(day)).toBe(new Date(day * 86_400_000).toISOString().replace(/T.*/, ''))
      }),
    )
  })
  it.each(['2026-2-3', '2026-02-29', '2026-13-01', '2026-00-10', '2026-01-00', '26-01-01', '2026-01-01T00:00:00Z', '', ' 2026-01-01', '+2026-01-01'])(
    'are not %j',
    (text) => {
      expect(parseDate(text)).toBeUndefined()
    },
  )
})

it('suggests near names only', () => {
  expect(didYouMean('dely', ['id', 'delay'])).toBe('; did you mean "delay"?')
  expect(didYouMean('ORIGIN', ['origin'])).toBe('; did you mean "origin"?')
  expect(didYouMean('oriign', ['origin'])).toBe('; did you mean "origin"?')
  expect(didYouMean('xyz', ['origin', 'id'])).toBe('')
  expect(didYouMean('', ['a'])).toBe('')
})
