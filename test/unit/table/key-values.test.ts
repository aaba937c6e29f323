import { describe, expect, it } from 'vitest'
import { NullKeyError, SchemaMismatchError } from '../../../bindings/errors.ts'
import { encodeDictionary, type Vec } from '../../../bindings/kernels/index.ts'
import { t } from '../../../bindings/table/columns.ts'
import { table } from '../../../bindings/table/definition.ts'
import { KeyLayout } from '../../../bindings/table/key-layout.ts'
import { formatKey, keyBytesFromValue } from '../../../bindings/table/key-values.ts'
import { KeyRun } from '../../../bindings/table/memory-index.ts'
import { rowsToBatch } from '../../../bindings/table/rows-in.ts'
import type { Columns } from '../../../bindings/table/types.ts'
import type { TableView } from '../../../bindings/table/view.ts'
import { viewOf } from './every-type.ts'

function keyed(columns: Record<string, unknown>, key: readonly string[] = Object.keys(columns)): TableView {
  return viewOf(table('k', columns as unknown as Columns, { key: key as never }))
}
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('canonical key bytes', () => {
  it.each([
    [t.int64(), -2n, 'feffffffffffffff'],
    [t.int64({ as: 'number' }), -2, 'feffffffffffffff'],
    [t.int16(), -2, 'feffffffffffffff'],
    [t.int8(), 5, '0500000000000000'],
    [t.int32(), -1, 'ffffffffffffffff'],
    [t.uint8(), 255, 'ff00000000000000'],
    [t.uint16(), 65_535, 'ffff000000000000'],
    [t.uint32(), 2 ** 32 - 1, 'ffffffff00000000'],
    [t.uint64(), 2n ** 64n - 1n, 'ffffffffffffffff'],
    [t.bool(), true, '01'],
    [t.float64(), -0, '0000000000000000'],
    [t.float64(), 1, '000000000000f03f'],
    [t.float32(), 1, '000000000000f03f'],
    [t.utf8(), 'ü', 'c3bc'],
    [t.utf8().dictionary(), '', ''],
    [t.binary(), Uint8Array.of(1, 2), '0102'],
    [t.fixedSizeBinary(3), Uint8Array.of(1, 2, 3), '010203'],
    [t.uuid(), '0190A1B2-C3D4-7E5F-8A9B-0C1D2E3F4051', '0190a1b2c3d47e5f8a9b0c1d2e3f4051'],
    [t.timestamp('s'), new Date(-1000), 'ffffffffffffffff'],
    [t.timestamp('ns'), new Date(1), '40420f0000000000'],
    [t.date(), '1969-12-31', 'ffffffffffffffff'],
    [t.time('ms'), 5, '0500000000000000'],
    [t.decimal128(10, 2), '-0.01', 'ffffffffffffffffffffffffffffffff'],
  ])('%#', (column, value, bytes) => {
    const view = keyed({ id: column })
    expect(hex(keyBytesFromValue(view, value))).toBe(bytes)
    expect(hex(keyBytesFromValue(view, { id: value }))).toBe(bytes)
    const layout = KeyLayout.of(view.schema)!
    const keys = new KeyRun(layout.stride)
    layout.push(rowsToBatch(view, [{ id: value }]).columns, 0, 1, keys)
    expect(hex(keys.data.slice(0, keys.end(0)))).toBe(bytes)
  })

  it('of several columns cannot be confused', () => {
    const view = keyed({ a: t.utf8(), b: t.utf8(), n: t.int16() })
    expect(hex(keyBytesFromValue(view, { a: 'x', b: 'yz', n: 1 }))).toBe('0100000078' + '02000000797a' + '0100000000000000')
    expect(keyBytesFromValue(view, { a: 'x', b: 'yz', n: 1 })).not.toEqual(keyBytesFromValue(view, { n: 1, b: 'z', a: 'xy' }))
  })
})

it('are the same from a dictionary as from plain strings', () => {
  for (const columns of [{ a: t.utf8() }, { a: t.utf8(), b: t.utf8() }]) {
    const view = keyed(columns)
    const rows = ['SFO', '', 'Zürich', 'SFO', 'x'.repeat(50)].map((a) => ({ a, ...('b' in columns ? { b: `${a}!` } : {}) }))
    const plain = rowsToBatch(view, rows).columns
    const encoded = plain.map((vec) => encodeDictionary(vec, vec.length)!)
    const keysOf = (vecs: readonly Vec[]): string[] => {
      const keys = new KeyRun(0)
      KeyLayout.of(view.schema)!.push(vecs, 0, rows.length, keys)
      return rows.map((_, i) => hex(keys.data.slice(keys.start(i), keys.end(i))))
    }
    expect(encoded[0]!.layout.kind).toBe('dict')
    expect(keysOf(encoded)).toEqual(keysOf(plain))
    expect(keysOf(encoded)).toEqual(rows.map((row) => hex(keyBytesFromValue(view, row))))
  }
})

describe('keys that callers get wrong', () => {
  const flights = viewOf(table('flights', { id: t.int64(), delay: t.int16() }, { key: ['id'] }))
  const seats = viewOf(table('seats', { flight: t.int64(), row: t.int16(), taken: t.bool() }, { key: ['flight', 'row'] }))
  it.each([
    [flights, 'x', 'flights.id: expected int64, got string "x"'],
    [flights, undefined, 'flights.id: missing in the key'],
    [flights, {}, 'flights.id: missing in the key'],
    [flights, { id: undefined }, 'flights.id: missing in the key'],
    [flights, { idd: 1n }, 'flights key: "idd" is not a column of the key; did you mean "id"?'],
    [flights, { id: 1n, delay: 3 }, 'flights key: "delay" is not a column of the key'],
    [flights, new Date(5), 'flights.id: expected int64, got Date 1970-01-01T00:00:00.005Z'],
    [flights, 2n ** 63n, 'flights.id: 9223372036854775808 is outside int64 (-9223372036854775808..9223372036854775807)'],
    [seats, 7n, 'seats key: the key is { flight, row }, got 7n'],
    [seats, { flight: 7n }, 'seats.row: missing in the key'],
    [seats, { flight: 7n, row: 40_000 }, 'seats.row: 40000 is outside int16 (-32768..32767)'],
  ])('%#', (view, key, message) => {
    expect(() => keyBytesFromValue(view, key)).toThrow(SchemaMismatchError)
    expect(() => keyBytesFromValue(view, key)).toThrow(message)
  })

  it('null', () => {
    for (const key of [null, { id: null }]) {
      expect(() => keyBytesFromValue(flights, key)).toThrow(NullKeyError)
      expect(() => keyBytesFromValue(flights, key)).toThrow('flights.id: a key cannot be null')
    }
  })
})

it('formats keys as messages show them', () => {
  expect(formatKey({ id: 42n })).toBe('{ id: 42n }')
  expect(formatKey({ flight: 7n, 'row no': 3, name: 'a"b', at: new Date(0), hash: Uint8Array.of(1, 255), ok: true })).toBe(
    '{ flight: 7n, "row no": 3, name: "a\\"b", at: 1970-01-01T00:00:00.000Z, hash: 0x01ff, ok: true }',
  )
})
