import * as arrow from 'apache-arrow'
import * as flechette from '@uwdata/flechette'
import { describe, expect, it } from 'vitest'
import { NullKeyError, SchemaMismatchError } from '../../../bindings/errors.ts'
import { arrowToBatches, isArrowLike } from '../../../bindings/table/arrow-in.ts'
import type { ColumnBatch } from '../../../bindings/table/batch.ts'
import { t } from '../../../bindings/table/columns.ts'
import { table } from '../../../bindings/table/definition.ts'
import { rowReader } from '../../../bindings/table/rows-out.ts'
import type { Columns } from '../../../bindings/table/types.ts'
import type { TableView } from '../../../bindings/table/view.ts'
import { viewOf } from './every-type.ts'

function readAll(view: TableView, batches: Iterable<ColumnBatch>): Record<string, unknown>[] {
  const read = rowReader(view.columns)
  const rows: Record<string, unknown>[] = []
  for (const { columns, length } of batches) {
    for (const vec of columns) {
      expect(vec.length).toBe(length)
      expect(vec.validity === undefined).toBe(vec.nullCount === 0)
      if (vec.layout.kind === 'fixed' || vec.layout.kind === 'dict') expect(vec.values.byteOffset % 8).toBe(0)
    }
    const inOrder = view.columns.map((column) => columns[column.index]!)
    for (let i = 0; i < length; i++) rows.push(read(inOrder, i))
  }
  return rows
}

const one = (column: unknown): TableView => viewOf(table('t', { x: column } as unknown as Columns))

function tableOf(data: Record<string, arrow.Data | readonly arrow.Data[]>): arrow.Table {
  return new arrow.Table(Object.fromEntries(Object.entries(data).map(([name, pieces]) => [name, new arrow.Vector([pieces].flat() as arrow.Data[])])))
}

const vector = (values: readonly unknown[], type: arrow.DataType): arrow.Data => arrow.vectorFromArray(values as never, type as never).data[0]!

const strings = ['SFO', null, 'Zürich', '', '🛫🛫🛫🛫', 'a string that is longer than twelve bytes', null, 'x']

describe('conversions without loss', () => {
  const cases: readonly (readonly [string, arrow.DataType, readonly unknown[], unknown, readonly unknown[]])[] = [
    ['int8 to int16', new arrow.Int8(), [-128, null, 127], t.int16().nullable(), [-128, null, 127]],
    ['int8 to int64', new arrow.Int8(), [-128, null, 127], t.int64().nullable(), [-128n, null, 127n]],
    ['int16 to int32', new arrow.Int16(), [-32_768, 5], t.int32(), [-32_768, 5]],
    ['int32 to int64', new arrow.Int32(), [-(2 ** 31), 2 ** 31 - 1], t.int64(), [-(2n ** 31n), 2n ** 31n - 1n]],
    ['uint8 to int16', new arrow.Uint8(), [255, 0], t.int16(), [255, 0]],
    ['uint16 to uint32', new arrow.Uint16(), [65_535], t.uint32(), [65_535]],
    ['uint32 to int64', new arrow.Uint32(), [2 ** 32 - 1], t.int64(), [2n ** 32n - 1n]],
    ['uint32 to uint64', new arrow.Uint32(), [2 ** 32 - 1], t.uint64(), [2n ** 32n - 1n]],
    ['int16 to float32', new arrow.Int16(), [-32_768, 1], t.float32(), [-32_768, 1]],
    ['int32 to float64', new arrow.Int32(), [2 ** 31 - 1], t.float64(), [2 ** 31 - 1]],
    ['float16 to float32', new arrow.Float16(), [1.5, -2, 65_504, 5.960464477539063e-8], t.float32(), [1.5, -2, 65_504, 5.960464477539063e-8]],
    ['float32 to float64', new arrow.Float32(), [0.5, null, -1.25], t.float64().nullable(), [0.5, null, -1.25]],
    ['utf8', new arrow.Utf8(), strings, t.utf8().nullable(), strings],
    ['large utf8', new arrow.LargeUtf8(), strings, t.utf8().nullable(), strings],
    ['utf8 view', new arrow.Utf8View(), strings, t.utf8().nullable(), strings],
    ['dictionary to utf8', new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8()), strings, t.utf8().nullable(), strings],
    ['dictionary to dictionary', new arrow.Dictionary(new arrow.Utf8(), new arrow.Uint16()), strings, t.utf8().dictionary().nullable(), strings],
    ['dictionary of int32 to int64', new arrow.Dictionary(new arrow.Int32(), new arrow.Int32()), [7, null, 7, -1], t.int64().nullable(), [7n, null, 7n, -1n]],
    ['utf8 to binary', new arrow.Utf8(), ['ab', ''], t.binary(), [Uint8Array.of(97, 98), new Uint8Array(0)]],
    ['utf8 to json', new arrow.Utf8(), ['{"a":1}', 'null', null], t.json().nullable(), [{ a: 1 }, null, null]],
    ['date64 to date', new arrow.DateMillisecond(), [new Date(86_400_000), null], t.date().nullable(), ['1970-01-02', null]],
    ['date32 to date', new arrow.DateDay(), [new Date(-86_400_000)], t.date(), ['1969-12-31']],
    ['timestamp s to ms', new arrow.TimestampSecond(), [1000, -1000], t.timestamp('ms'), [new Date(1000), new Date(-1000)]],
    ['timestamp ms to ns', new arrow.TimestampMillisecond(), [-1, 1_700_000_000_123], t.timestamp('ns'), [-1_000_000n, 1_700_000_000_123_000_000n]],
    ['timestamp us to ms that divides', new arrow.TimestampMicrosecond(), [5, -7], t.timestamp('ms'), [new Date(5), new Date(-7)]],
    ['date64 to timestamp', new arrow.DateMillisecond(), [new Date(1), null], t.timestamp('us').nullable(), [1000n, null]],
    ['time s to ns', new arrow.TimeSecond(), [86_399], t.time('ns'), [86_399_000_000_000n]],
    ['time us to ms that divides', new arrow.TimeMicrosecond(), [5000n], t.time('ms'), [5]],
    ['null to anything nullable', new arrow.Null(), [null, null], t.list(t.utf8()).nullable(), [null, null]],
    [
      'list',
      new arrow.List(new arrow.Field('item', new arrow.Int8(), true)),
      [[1, null], [], null, [3]],
      t.list(t.int16().nullable()).nullable(),
      [[1, null], [], null, [3]],
    ],
    [
      'fixed-size list to list',
      new arrow.FixedSizeList(2, new arrow.Field('item', new arrow.Int8(), true)),
      [
        [1, 2],
        [3, 4],
      ],
      t.list(t.int8()),
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [
      'struct by names',
      new arrow.Struct([new arrow.Field('b', new arrow.Utf8(), true), new arrow.Field('a', new arrow.Int8(), true)]),
      [{ a: 1, b: 'x' }, null, { a: 2, b: null }],
      t.struct({ a: t.int16(), b: t.utf8().nullable(), c: t.bool().nullable() }).nullable(),
      [{ a: 1, b: 'x', c: null }, null, { a: 2, b: null, c: null }],
    ],
  ]

  it.each(cases)('%s', (_name, type, values, column, expected) => {
    const view = one(column)
    const data = vector(values, type)
    expect(readAll(view, arrowToBatches(view, tableOf({ x: data }))).map((row) => row['x'])).toEqual(expected)
    // Slices start inside a byte of the bitmaps and anywhere in the buffers.
    const repeated = Array.from({ length: 41 }, (_, i) => values[i % values.length])
    const wanted = Array.from({ length: 41 }, (_, i) => expected[i % expected.length])
    for (const [start, end] of [
      [0, 41],
      [1, 41],
      [3, 30],
      [13, 14],
      [8, 24],
      [41, 41],
    ] as const) {
      const sliced = tableOf({ x: vector(repeated, type) }).slice(start, end)
      expect(readAll(view, arrowToBatches(view, sliced, { targetRows: 7 })).map((row) => row['x'])).toEqual(wanted.slice(start, end))
    }
  })

  it.each(cases.filter(([name]) => !name.includes('view')))('%s, from flechette', (_name, type, values, column, expected) => {
    const view = one(column)
    const ipc = arrow.tableToIPC(tableOf({ x: [vector(values, type), vector(values, type)] }))
    const read = flechette.tableFromIPC(ipc)
    expect(readAll(view, arrowToBatches(view, read as never)).map((row) => row['x'])).toEqual([...expected, ...expected])
  })

  it('takes decimals of the same and of a wider scale', () => {
    const view = one(t.decimal128(20, 4))
    const type = new arrow.Decimal(2, 10, 128)
    const data = arrow.makeData({ type, length: 2, data: new Uint32Array([150, 0, 0, 0, 0xffffff6a, 0xffffffff, 0xffffffff, 0xffffffff]) })
    expect(readAll(view, arrowToBatches(view, tableOf({ x: data })))).toEqual([{ x: '1.5000' }, { x: '-1.5000' }])
  })

  it('takes columns in pieces of their own, in any order, and adds what is missing', () => {
    const view = viewOf(table('t', { a: t.int64(), b: t.utf8().default('none'), c: t.int16().nullable() }, { key: ['a'] }))
    const a = [vector([1n, 2n], new arrow.Int64()), vector([3n], new arrow.Int64())]
    const c = [vector([1, null], new arrow.Int16()), vector([3], new arrow.Int16())]
    expect(readAll(view, arrowToBatches(view, tableOf({ c, a })))).toEqual([
      { a: 1n, b: 'none', c: 1 },
      { a: 2n, b: 'none', c: null },
      { a: 3n, b: 'none', c: 3 },
    ])
  })

  it('shares buffers and one dictionary between batches', () => {
    const view = viewOf(table('t', { a: t.float64(), d: t.utf8().dictionary() }))
    const floats = new Float64Array(100).map((_, i) => i)
    const d = vector(
      Array.from({ length: 100 }, (_, i) => `v${i % 10}`),
      new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()),
    )
    const batches = [...arrowToBatches(view, tableOf({ a: arrow.makeData({ type: new arrow.Float64(), data: floats }), d }), { targetRows: 32 })]
    expect(batches.map((batch) => batch.length)).toEqual([32, 32, 32, 4])
    for (const { columns } of batches) {
      expect(columns[0]!.values.buffer).toBe(floats.buffer)
      expect(columns[1]!.dictionary).toBe(batches[0]!.columns[1]!.dictionary)
      expect(columns[1]!.layout).toEqual({ kind: 'dict', width: 1 })
    }
  })

  it('reads a library of which only getChild().get() is known', () => {
    const view = viewOf(table('t', { id: t.int64(), day: t.date().nullable() }, { key: ['id'] }))
    const other = {
      schema: { fields: [{ name: 'day' }, { name: 'id' }] },
      numRows: 3,
      getChild: (name: string) => (name === 'id' ? { get: (i: number) => BigInt(i) } : ['2026-01-01', undefined, null]),
    }
    expect(isArrowLike(other)).toBe(true)
    expect(readAll(view, arrowToBatches(view, other, { targetRows: 2 }))).toEqual([
      { id: 0n, day: '2026-01-01' },
      { id: 1n, day: null },
      { id: 2n, day: null },
    ])
  })

  it('takes batches padded with nulls to equal lengths', () => {
    const view = viewOf(table('t', { a: t.int32(), b: t.utf8().nullable(), c: t.bool().nullable() }))
    const batch = new arrow.RecordBatch({
      a: arrow.makeData({ type: new arrow.Int32(), data: Int32Array.of(1, 2, 3) }) as never,
      b: vector(['x'], new arrow.Utf8()) as never,
      c: vector([true], new arrow.Bool()) as never,
    })
    expect(readAll(view, arrowToBatches(view, batch))).toEqual([
      { a: 1, b: 'x', c: true },
      { a: 2, b: null, c: null },
      { a: 3, b: null, c: null },
    ])
  })
})

describe('what does not fit', () => {
  const refused: readonly (readonly [arrow.DataType, readonly unknown[], unknown, string])[] = [
    [new arrow.Float64(), [1], t.utf8(), 't.x: Arrow float64 cannot become utf8'],
    [new arrow.Float64(), [1], t.utf8().dictionary(), 't.x: Arrow float64 cannot become utf8'],
    [new arrow.Float64(), [1], t.float32(), 't.x: Arrow float64 cannot become float32'],
    [new arrow.Int32(), [1], t.int16(), 't.x: Arrow int32 cannot become int16'],
    [new arrow.Int8(), [1], t.uint16(), 't.x: Arrow int8 cannot become uint16'],
    [new arrow.Uint16(), [1], t.int16(), 't.x: Arrow uint16 cannot become int16'],
    [new arrow.Int64(), [1n], t.float64(), 't.x: Arrow int64 cannot become float64'],
    [new arrow.Utf8(), ['1'], t.int32(), 't.x: Arrow utf8 cannot become int32'],
    [new arrow.Binary(), [Uint8Array.of(1)], t.utf8(), 't.x: Arrow binary cannot become utf8'],
    [new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()), ['a'], t.int32(), 't.x: Arrow utf8 cannot become int32'],
    [new arrow.Bool(), [true], t.int8(), 't.x: Arrow bool cannot become int8'],
    [new arrow.Int8(), [1, null], t.int8(), 't.x row 1: expected int8, got null'],
    [new arrow.Null(), [null], t.int8(), 't.x row 0: expected int8, got null'],
    [new arrow.TimestampMillisecond(), [1000, 1001], t.timestamp('s'), 't.x row 1: a value has more precision than timestamp[s] holds'],
    [new arrow.DateMillisecond(), [new Date(1)], t.date(), 't.x row 0: a value has more precision than date holds'],
    [new arrow.Utf8(), ['1', '{'], t.json(), 't.x row 1: the text is not json'],
    [new arrow.List(new arrow.Field('item', new arrow.Utf8(), true)), [['a']], t.list(t.int8()), 't.x[]: Arrow utf8 cannot become int8'],
    [new arrow.List(new arrow.Field('item', new arrow.Int8(), true)), [[1], [2, null]], t.list(t.int8()), 't.x[1] row 1: expected int8, got null'],
    [new arrow.Struct([new arrow.Field('a', new arrow.Float64(), true)]), [{ a: 1 }], t.struct({ a: t.int8() }), 't.x.a: Arrow float64 cannot become int8'],
    [new arrow.Struct([new arrow.Field('z', new arrow.Int8(), true)]), [{ z: 1 }], t.struct({ a: t.int8().nullable() }), 't.x: Arrow struct<z> cannot become'],
  ]

  it.each(refused)('%s: %#', (type, values, column, message) => {
    const view = one(column)
    const data = tableOf({ x: vector(values, type) })
    expect(() => readAll(view, arrowToBatches(view, data))).toThrow(SchemaMismatchError)
    expect(() => readAll(view, arrowToBatches(view, data))).toThrow(message)
  })

  const keyed = viewOf(table('flights', { id: t.int64(), delay: t.int16().nullable(), origin: t.utf8() }, { key: ['id'] }))

  it('names unknown and missing columns', () => {
    const id = vector([1n], new arrow.Int64())
    expect(() => readAll(keyed, arrowToBatches(keyed, tableOf({ id, dely: id })))).toThrow('flights: no column "dely"; did you mean "delay"?')
    expect(() => readAll(keyed, arrowToBatches(keyed, tableOf({ id })))).toThrow('flights.origin: missing, and the column has no default')
  })

  it('names the row of a null in a key, over all batches', () => {
    const ids = vector([1n, 2n, 3n, null, 5n], new arrow.Int64())
    const origin = vector(['a', 'b', 'c', 'd', 'e'], new arrow.Utf8())
    const read = (): unknown => readAll(keyed, arrowToBatches(keyed, tableOf({ id: ids, origin }), { targetRows: 2, firstRow: 10 }))
    expect(read).toThrow(NullKeyError)
    expect(read).toThrow('flights.id row 13: a key cannot be null')
  })

  const broken: readonly (readonly [string, arrow.Data, unknown])[] = [
    ['offsets that go back', arrow.makeData({ type: new arrow.Utf8(), length: 3, valueOffsets: Int32Array.of(0, 5, 3, 6), data: new Uint8Array(6) }), t.utf8()],
    ['offsets past the data', arrow.makeData({ type: new arrow.Utf8(), length: 1, valueOffsets: Int32Array.of(0, 7), data: new Uint8Array(6) }), t.utf8()],
    ['negative offsets', arrow.makeData({ type: new arrow.Utf8(), length: 1, valueOffsets: Int32Array.of(-4, 2), data: new Uint8Array(6) }), t.utf8()],
    ['too few values', arrow.makeData({ type: new arrow.Int32(), length: 9, data: Int32Array.of(1, 2) }), t.int32()],
    ['too few bits', arrow.makeData({ type: new arrow.Bool(), length: 99, data: Uint8Array.of(1) }), t.bool()],
    [
      'a short bitmap',
      arrow.makeData({ type: new arrow.Int8(), length: 20, nullCount: 3, data: new Int8Array(20), nullBitmap: Uint8Array.of(1) }),
      t.int8().nullable(),
    ],
    [
      'a code outside the dictionary',
      arrow.makeData({
        type: new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()),
        length: 2,
        data: Int32Array.of(0, 3),
        dictionary: arrow.vectorFromArray(['a', 'b', 'c'], new arrow.Utf8()),
      }),
      t.utf8(),
    ],
    [
      'a negative code',
      arrow.makeData({
        type: new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8()),
        length: 1,
        data: Int8Array.of(-1),
        dictionary: arrow.vectorFromArray(['a'], new arrow.Utf8()),
      }),
      t.utf8(),
    ],
  ]

  it.each(broken)('refuses %s', (_name, data, column) => {
    const view = one(column)
    expect(() => readAll(view, arrowToBatches(view, tableOf({ x: data })))).toThrow(/^t\.x: the Arrow data contradicts itself: /)
  })

  it('refuses bytes that are no UTF-8, and values cut inside a character', () => {
    const view = one(t.utf8())
    const bytes = new TextEncoder().encode('aüb')
    const cut = arrow.makeData({ type: new arrow.Utf8(), length: 2, valueOffsets: Int32Array.of(0, 2, 4), data: bytes })
    expect(() => readAll(view, arrowToBatches(view, tableOf({ x: cut })))).toThrow('t.x row 0: the bytes are not UTF-8')
    const junk = arrow.makeData({ type: new arrow.Utf8(), length: 2, valueOffsets: Int32Array.of(0, 1, 2), data: Uint8Array.of(65, 0xff) })
    expect(() => readAll(view, arrowToBatches(view, tableOf({ x: junk })))).toThrow('t.x row 1: the bytes are not UTF-8')
  })
})
