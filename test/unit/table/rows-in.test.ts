import { describe, expect, it } from 'vitest'
import { NullKeyError, SchemaMismatchError } from '../../../bindings/errors.ts'
import { byteSink } from '../../../bindings/table/byte-sink.ts'
import { t } from '../../../bindings/table/columns.ts'
import { schemaFromDefinition, table } from '../../../bindings/table/definition.ts'
import { describeType } from '../../../bindings/table/physical.ts'
import { resolveView } from '../../../bindings/table/resolve-view.ts'
import { InlineRowWriter } from '../../../bindings/table/row-inline.ts'
import { rowsToBatch } from '../../../bindings/table/rows-in.ts'
import { rowReader } from '../../../bindings/table/rows-out.ts'
import type { AnyTable } from '../../../bindings/table/types.ts'
import type { TableView } from '../../../bindings/table/view.ts'

function viewOf(definition: AnyTable): TableView {
  return resolveView(definition, schemaFromDefinition(definition, 1))
}

const flights = table(
  'flights',
  {
    id: t.int64(),
    date: t.timestamp('ms'),
    origin: t.utf8().dictionary(),
    delay: t.int16().nullable(),
    price: t.decimal128(7, 2).nullable(),
    tag: t.uuid().nullable(),
    data: t.json<unknown>().nullable(),
    vec: t.vector(3).nullable(),
    day: t.date().nullable(),
    at: t.timestamp('s').nullable(),
    us: t.timestamp('us').nullable(),
    clock: t.time('ms').nullable(),
    u8: t.uint8().nullable(),
    u64: t.uint64().nullable(),
    f32: t.float32().nullable(),
    n: t.int64({ as: 'number' }).nullable(),
    hash: t.fixedSizeBinary(4).nullable(),
    blob: t.binary().nullable(),
    ok: t.bool().default(true),
    tags: t.list(t.utf8()).nullable(),
    seat: t.struct({ row: t.int16(), letter: t.utf8().nullable() }).nullable(),
    box: t.fixedSizeList(2, t.int32().nullable()).nullable(),
  },
  { key: ['id'] },
)
const view = viewOf(flights)
const good = { id: 1n, date: new Date(0), origin: 'SFO' }

const cyclic: Record<string, unknown> = {}
cyclic['self'] = cyclic

const wrong: readonly (readonly [Record<string, unknown>, string])[] = [
  [{ delay: 'late' }, 'flights.delay row 3: expected int16 or null, got string "late"'],
  [{ delay: 40_000 }, 'flights.delay row 3: 40000 is outside int16 (-32768..32767)'],
  [{ delay: 1.5 }, 'flights.delay row 3: expected int16 or null, got 1.5'],
  [{ delay: Number.NaN }, 'flights.delay row 3: expected int16 or null, got NaN'],
  [{ dely: 1 }, 'flights row 3: no column "dely"; did you mean "delay"?'],
  [{ zzzzzzz: 1 }, 'flights row 3: no column "zzzzzzz"'],
  [{ origin: undefined }, 'flights.origin row 3: missing, and the column has no default'],
  [{ origin: null }, 'flights.origin row 3: expected utf8, got null'],
  [{ origin: '\ud800x' }, 'flights.origin row 3: "\\ud800x" has a lone surrogate, which UTF-8 cannot hold'],
  [{ date: new Date(Number.NaN) }, 'flights.date row 3: invalid Date'],
  [{ date: '2026-11-21' }, 'flights.date row 3: expected timestamp[ms], got string "2026-11-21"'],
  [{ date: 1e300 }, 'flights.date row 3: 1e+300 is not a safe integer; write it as a bigint'],
  [{ date: 8.64e15 + 1 }, 'flights.date row 3: 8640000000000001 is outside what a Date holds (-8640000000000000..8640000000000000)'],
  [{ id: 9007199254740994 }, 'flights.id row 3: 9007199254740994 is not a safe integer; write it as a bigint'],
  [{ id: 2n ** 63n }, 'flights.id row 3: 9223372036854775808 is outside int64 (-9223372036854775808..9223372036854775807)'],
  [{ id: '7' }, 'flights.id row 3: expected int64, got string "7"'],
  [{ id: null }, 'flights.id row 3: a key cannot be null'],
  [{ at: new Date(1500) }, 'flights.at row 3: 1970-01-01T00:00:01.500Z has more precision than timestamp[s] holds'],
  [{ us: 2n ** 63n }, 'flights.us row 3: 9223372036854775808 is outside timestamp[us] (-9223372036854775808..9223372036854775807)'],
  [{ clock: 86_400_000 }, 'flights.clock row 3: 86400000 is outside time[ms] (0..86399999)'],
  [{ clock: -1 }, 'flights.clock row 3: -1 is outside time[ms] (0..86399999)'],
  [{ u8: 256 }, 'flights.u8 row 3: 256 is outside uint8 (0..255)'],
  [{ u8: -1 }, 'flights.u8 row 3: -1 is outside uint8 (0..255)'],
  [{ u64: -1 }, 'flights.u64 row 3: -1 is outside uint64 (0..18446744073709551615)'],
  [{ u64: -1n }, 'flights.u64 row 3: -1 is outside uint64 (0..18446744073709551615)'],
  [{ f32: 1e300 }, 'flights.f32 row 3: 1e+300 is outside float32 (-3.4028234663852886e+38..3.4028234663852886e+38)'],
  [{ n: 2n ** 60n }, 'flights.n row 3: 1152921504606846976n is not a safe integer, and the column is read as number'],
  [{ price: '12.345' }, 'flights.price row 3: 12.345 has more than 2 digits after the point'],
  [{ price: 123_456 }, 'flights.price row 3: 123456 is outside decimal128(7, 2)'],
  [{ price: 'x' }, 'flights.price row 3: "x" is not a decimal number'],
  [{ price: true }, 'flights.price row 3: expected decimal128(7, 2) or null, got true'],
  [{ tag: 'nope' }, 'flights.tag row 3: "nope" is not a uuid'],
  [{ tag: '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4g5g' }, 'flights.tag row 3: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4g5g" is not a uuid'],
  [{ data: { a: undefined } }, 'flights.data.a row 3: json cannot hold undefined'],
  [{ data: [1, Number.NaN] }, 'flights.data[1] row 3: json cannot hold NaN'],
  [{ data: { deep: [{ n: 5n }] } }, 'flights.data.deep[0].n row 3: json cannot hold bigint 5n'],
  [{ data: () => 1 }, 'flights.data row 3: json cannot hold function'],
  [{ data: new Map([[1, 2]]) }, 'flights.data row 3: json cannot hold Map'],
  [{ data: cyclic }, 'flights.data.self row 3: json cannot hold a cycle'],
  [{ vec: [1, 2] }, 'flights.vec row 3: 2 values, expected vector(3)'],
  [{ vec: [1, 2, 'x'] }, 'flights.vec[2] row 3: expected float32, got string "x"'],
  [{ vec: 'x' }, 'flights.vec row 3: expected vector(3) or null, got string "x"'],
  [{ day: '2026-02-30' }, 'flights.day row 3: "2026-02-30" is not a date (YYYY-MM-DD)'],
  [{ day: new Date(1) }, 'flights.day row 3: 1970-01-01T00:00:00.001Z is not UTC midnight; date holds whole days'],
  [{ hash: new Uint8Array(3) }, 'flights.hash row 3: 3 bytes, expected fixedSizeBinary(4)'],
  [{ blob: 'x' }, 'flights.blob row 3: expected binary or null, got string "x"'],
  [{ ok: null }, 'flights.ok row 3: expected bool, got null'],
  [{ ok: 1 }, 'flights.ok row 3: expected bool, got 1'],
  [{ tags: ['a', 2] }, 'flights.tags[1] row 3: expected utf8, got 2'],
  [{ tags: ['a', null] }, 'flights.tags[1] row 3: expected utf8, got null'],
  [{ seat: { row: 'x' } }, 'flights.seat.row row 3: expected int16, got string "x"'],
  [{ seat: {} }, 'flights.seat.row row 3: missing, and the column has no default'],
  [{ seat: { row: 1, lettr: 'a' } }, 'flights.seat row 3: no field "lettr"; did you mean "letter"?'],
  [{ seat: [1] }, `flights.seat row 3: expected ${describeType(view.byName.get('seat')!.spec.type)} or null, got an array`],
  [{ box: [1] }, 'flights.box row 3: 1 values, expected fixedSizeList(2)<int32 or null>'],
  [{ box: [1, 'x'] }, 'flights.box[1] row 3: expected int32 or null, got string "x"'],
]

describe('rows that do not fit', () => {
  it.each(wrong)('names table, column and row: %#', (cells, message) => {
    const rows = [good, good, good, { ...good, ...cells }, good]
    for (const write of [() => rowsToBatch(view, rows), () => new InlineRowWriter(view).write(rows, byteSink())]) {
      let error: unknown
      try {
        write()
      } catch (caught) {
        error = caught
      }
      expect((error as Error | undefined)?.message).toBe(message)
      expect(error).toBeInstanceOf(message.endsWith('a key cannot be null') ? NullKeyError : SchemaMismatchError)
      expect((error as SchemaMismatchError).details).toMatchObject({ table: 'flights', row: 3, total: 1 })
    }
  })

  it('names the first wrong row, not the first wrong column, and counts the wrong rows', () => {
    const rows = Array.from({ length: 10 }, () => ({ ...good }) as Record<string, unknown>)
    rows[7]!['id'] = 'x'
    rows[2]!['box'] = 5
    rows[4]!['nope'] = 5
    rows[4]!['delay'] = 'x'
    expect(() => rowsToBatch(view, rows, { firstRow: 1000 })).toThrow('flights.box row 1002: expected fixedSizeList(2)<int32 or null> or null, got 5')
    try {
      rowsToBatch(view, rows)
    } catch (error) {
      expect((error as SchemaMismatchError).details).toEqual({ table: 'flights', column: 'box', row: 2, total: 3 })
    }
  })

  it('counts up to 100 wrong rows', () => {
    const rows = Array.from({ length: 5000 }, (_, i) => (i < 1000 ? good : { ...good, delay: 'x' }))
    try {
      rowsToBatch(view, rows)
      expect.unreachable()
    } catch (error) {
      expect((error as SchemaMismatchError).details).toEqual({ table: 'flights', column: 'delay', row: 1000, total: 100 })
    }
  })

  it.each([[null], [5], ['x'], [[good]], [undefined]])('refuses what is no object as a row: %#', (row) => {
    expect(() => rowsToBatch(view, [good, row as never])).toThrow(/^flights row 1: expected a row, got /)
  })
})

describe('rows that fit', () => {
  const read = rowReader(view.columns)

  it('gives defaults and nulls to what is left out, in every shape of row', () => {
    class Flight {
      id = 2n
      origin = 'LAX'
      date = 5
      get late(): boolean {
        return true
      }
    }
    const inherited = Object.assign(Object.create({ delay: 7 }) as object, good)
    const batch = rowsToBatch(view, [good, new Flight(), inherited, { ...good, ok: undefined, delay: undefined }, { origin: 'x', id: 3, date: 1 }])
    const rows = Array.from({ length: 5 }, (_, i) => read(batch.columns, i))
    expect(rows[0]).toMatchObject({ id: 1n, date: new Date(0), origin: 'SFO', delay: null, ok: true, data: null })
    expect(rows[1]).toMatchObject({ id: 2n, date: new Date(5), origin: 'LAX', ok: true })
    expect(rows.map((row) => row['delay'])).toEqual([null, null, null, null, null])
    expect(rows[4]).toMatchObject({ id: 3n })
  })

  it('reads back what was written, in every type', () => {
    const row = {
      id: -(2n ** 63n),
      date: new Date(-1),
      origin: 'Zürich 🛫',
      delay: -32_768,
      price: '-12345.60',
      tag: '0190A1B2-C3D4-7E5F-8A9B-0C1D2E3F4051',
      data: { a: [1, 'x', null, { b: true }] },
      vec: new Float32Array([1, -2, 0.5]),
      day: '2024-02-29',
      at: new Date(-1000),
      us: -5n,
      clock: 86_399_999,
      u8: 255,
      u64: 2n ** 64n - 1n,
      f32: 0.5,
      n: -9_007_199_254_740_991,
      hash: Uint8Array.of(1, 2, 3, 4),
      blob: new Uint8Array(0),
      ok: false,
      tags: ['a', '', 'ü'],
      seat: { row: 3, letter: null },
      box: [null, -7],
    }
    const batch = rowsToBatch(view, [row])
    expect(read(batch.columns, 0)).toEqual({ ...row, tag: row.tag.toLowerCase() })
  })

  it('takes other spellings of the same value', () => {
    const batch = rowsToBatch(view, [
      { id: 5, date: 7, origin: '', price: 12, us: new Date(1), vec: [1, 2, 3], day: new Date(86_400_000), n: 7n },
      { id: 6, date: 7n, origin: '', price: 12.5, us: 1000, day: 1 },
      { id: 7, date: 7n, origin: '', price: '1.500e1'.slice(0, 5), day: '1970-01-02' },
    ])
    const rows = [0, 1, 2].map((i) => read(batch.columns, i))
    expect(rows[0]).toMatchObject({ id: 5n, date: new Date(7), price: '12.00', us: 1000n, vec: new Float32Array([1, 2, 3]), day: '1970-01-02', n: 7 })
    expect(rows[1]).toMatchObject({ price: '12.50', us: 1000n, day: '1970-01-02' })
    expect(rows[2]).toMatchObject({ price: '1.50', day: '1970-01-02' })
  })

  it('keeps the json value null in a column that is not nullable', () => {
    const events = viewOf(table('events', { data: t.json() }))
    const batch = rowsToBatch(events, [{ data: null }])
    expect(batch.columns[0]!.nullCount).toBe(0)
    expect(rowReader(events.columns)(batch.columns, 0)).toEqual({ data: null })
  })

  it('writes around stored columns that the code does not name', () => {
    const stored = schemaFromDefinition(
      table('flights', { a: t.utf8().default('??'), id: t.int64(), b: t.decimal128(5, 2).default('1.50'), c: t.int8().nullable() }, { key: ['id'] }),
      1,
    )
    const old = resolveView(table('flights', { id: t.int64() }, { key: ['id'] }), stored)
    const batch = rowsToBatch(old, [{ id: 1n }, { id: 2n }])
    const now = resolveView(
      table('flights', { id: t.int64(), a: t.utf8().default('??'), b: t.decimal128(5, 2).default('1.50'), c: t.int8().nullable() }, { key: ['id'] }),
      stored,
    )
    const inStoredOrder = now.columns.map((column) => batch.columns[column.index]!)
    expect(rowReader(now.columns)(inStoredOrder, 1)).toEqual({ id: 2n, a: '??', b: '1.50', c: null })
  })
})
