// test/unit/kernels/columns-arrow.test.ts: columns of varve/kernels made of Arrow vectors and turned back into them: every type, sliced at odd offsets, in
// several chunks, with and without nulls; two libraries.
import * as arrow from 'apache-arrow'
import * as flechette from '@uwdata/flechette'
import { describe, expect, it } from 'vitest'

import {
  type ArrowType,
  allocate,
  columnOf,
  concat,
  filter,
  InvalidConfigError,
  kernelMemory,
  slice,
  take,
  toArray,
  toArrow,
  UnsupportedTypeError,
} from '../../../bindings/kernels/public.ts'
import { randomOf } from '../../kernel/vec-model.ts'

type U32 = () => number

const field = (name: string, type: arrow.DataType, nullable = true): arrow.Field => new arrow.Field(name, type, nullable)
const text = (u32: U32): string => 'aé€😀'.repeat(4).slice(0, (u32() % 6) * 2)
const bytes = (n: number) => (u32: U32) => Uint8Array.from({ length: n }, u32)
const list =
  <T>(item: (u32: U32) => T) =>
  (u32: U32) =>
    Array.from({ length: u32() % 4 }, () => (u32() % 5 === 0 ? null : item(u32)))
const int64 = (u32: U32): bigint => BigInt(u32()) * 3_000_000_007n - 2n ** 62n

/** Name, type, a value of it, and what the column's type is. */
const types: readonly (readonly [string, arrow.DataType, (u32: U32) => unknown, ArrowType])[] = [
  ['bool', new arrow.Bool(), (u32) => u32() % 2 === 0, { kind: 'bool' }],
  ['int8', new arrow.Int8(), (u32) => (u32() & 0xff) - 128, { kind: 'int', bits: 8, signed: true }],
  ['uint16', new arrow.Uint16(), (u32) => u32() & 0xffff, { kind: 'int', bits: 16, signed: false }],
  ['int32', new arrow.Int32(), (u32) => u32() | 0, { kind: 'int', bits: 32, signed: true }],
  ['uint32', new arrow.Uint32(), (u32) => u32(), { kind: 'int', bits: 32, signed: false }],
  ['int64', new arrow.Int64(), int64, { kind: 'int', bits: 64, signed: true }],
  ['uint64', new arrow.Uint64(), (u32) => BigInt(u32()) * 4_000_000_007n, { kind: 'int', bits: 64, signed: false }],
  ['float16', new arrow.Float16(), (u32) => (u32() % 100) / 4, { kind: 'float', bits: 16 }],
  ['float32', new arrow.Float32(), (u32) => Math.fround(u32() / 7), { kind: 'float', bits: 32 }],
  ['float64', new arrow.Float64(), (u32) => u32() / 7, { kind: 'float', bits: 64 }],
  [
    'decimal128',
    new arrow.Decimal(2, 30, 128),
    (u32) => Uint32Array.of(u32(), u32(), u32() % 1000, 0),
    { kind: 'decimal', bits: 128, precision: 30, scale: 2 },
  ],
  [
    'decimal256',
    new arrow.Decimal(3, 60, 256),
    (u32) => Uint32Array.of(u32(), u32(), u32(), 0, 0, 0, 0, 0),
    { kind: 'decimal', bits: 256, precision: 60, scale: 3 },
  ],
  ['date, days', new arrow.DateDay(), (u32) => (u32() % 20_000) * 86_400_000, { kind: 'date', unit: 'day' }],
  ['date, ms', new arrow.DateMillisecond(), (u32) => (u32() % 20_000) * 86_400_000, { kind: 'date', unit: 'ms' }],
  ['time, s', new arrow.TimeSecond(), (u32) => u32() % 86_400, { kind: 'time', unit: 's' }],
  ['time, ns', new arrow.TimeNanosecond(), (u32) => BigInt(u32()), { kind: 'time', unit: 'ns' }],
  ['timestamp, ms', new arrow.TimestampMillisecond(), (u32) => u32() * 1000, { kind: 'timestamp', unit: 'ms' }],
  ['timestamp, us, with a zone', new arrow.TimestampMicrosecond('Europe/Oslo'), (u32) => u32(), { kind: 'timestamp', unit: 'us', timezone: 'Europe/Oslo' }],
  ['duration', new arrow.DurationMillisecond(), (u32) => BigInt(u32()), { kind: 'duration', unit: 'ms' }],
  ['utf8', new arrow.Utf8(), text, { kind: 'utf8' }],
  ['binary', new arrow.Binary(), (u32) => bytes(u32() % 7)(u32), { kind: 'binary' }],
  ['fixedSizeBinary', new arrow.FixedSizeBinary(5), bytes(5), { kind: 'fixedSizeBinary', bytes: 5 }],
  [
    'dictionary of utf8',
    new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8()),
    (u32) => `k${u32() % 40}`,
    { kind: 'dictionary', values: { kind: 'utf8' }, bits: 8, signed: true, ordered: false },
  ],
  [
    'list of int32',
    new arrow.List(field('item', new arrow.Int32())),
    list((u32) => u32() | 0),
    { kind: 'list', item: { name: 'item', nullable: true, type: { kind: 'int', bits: 32, signed: true } } },
  ],
  [
    'list of list of utf8',
    new arrow.List(field('outer', new arrow.List(field('inner', new arrow.Utf8())))),
    list(list(text)),
    {
      kind: 'list',
      item: { name: 'outer', nullable: true, type: { kind: 'list', item: { name: 'inner', nullable: true, type: { kind: 'utf8' } } } },
    },
  ],
  [
    'struct',
    new arrow.Struct([field('a', new arrow.Int16()), field('b', new arrow.Utf8()), field('c', new arrow.Bool(), false)]),
    (u32) => ({ a: u32() % 5 === 0 ? null : u32() % 1000, b: text(u32), c: u32() % 2 === 0 }),
    {
      kind: 'struct',
      fields: [
        { name: 'a', nullable: true, type: { kind: 'int', bits: 16, signed: true } },
        { name: 'b', nullable: true, type: { kind: 'utf8' } },
        { name: 'c', nullable: false, type: { kind: 'bool' } },
      ],
    },
  ],
  [
    'fixedSizeList',
    new arrow.FixedSizeList(3, field('item', new arrow.Float32())),
    (u32) => [0, 1, 2].map(() => (u32() % 5 === 0 ? null : Math.fround(u32() / 7))),
    { kind: 'fixedSizeList', size: 3, item: { name: 'item', nullable: true, type: { kind: 'float', bits: 32 } } },
  ],
]

/** Rows as values that compare: whatever apache-arrow gives for them. */
function rowsOf(vector: arrow.Vector): unknown[] {
  return Array.from({ length: vector.length }, (_, i) => plain(vector.get(i)))
}

function plain(value: unknown): unknown {
  if (value === null || value === undefined) return null
  if (value instanceof arrow.Vector) return rowsOf(value)
  if (value instanceof arrow.StructRow) return Object.fromEntries([...value].map(([name, inner]) => [name, plain(inner)]))
  if (ArrayBuffer.isView(value)) return [...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)]
  if (Array.isArray(value)) return value.map(plain)
  return typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)])) : value
}

function build(type: arrow.DataType, value: (u32: U32) => unknown, n: number, nulls: number, seed: number): arrow.Vector {
  const random = randomOf(seed)
  return arrow.vectorFromArray(
    Array.from({ length: n }, () => (random.chance(nulls) ? null : value(random.u32))),
    type,
  )
}

describe.each(types)('%s', (_name, type, value, expected) => {
  describe.each([0, 0.25])('with nulls at %d', (nulls) => {
    it('goes through a column and back, type and rows', () => {
      for (const n of [0, 1, 7, 8, 9, 64, 130]) {
        const vector = build(type, value, n, nulls, n + 1)
        const column = columnOf(vector)
        expect(column.type).toEqual(expected)
        expect(column.length).toBe(n)
        expect(column.nullCount).toBe(vector.nullCount)
        const back = toArrow(column, arrow)
        expect(rowsOf(back)).toEqual(rowsOf(vector))
        expect(String(back.type)).toBe(String(vector.type))
        expect(back.nullCount).toBe(vector.nullCount)
      }
    })

    it('is read from slices at every bit offset', () => {
      const vector = build(type, value, 90, nulls, 5)
      for (let start = 0; start < 18; start++) {
        for (const end of [start, start + 1, start + 40, 90]) {
          const part = vector.slice(start, end)
          const column = columnOf(part)
          expect(column.nullCount).toBe(part.nullCount)
          expect(rowsOf(toArrow(column, arrow)), `rows ${start}..${end}`).toEqual(rowsOf(vector).slice(start, end))
        }
      }
      expect(rowsOf(toArrow(columnOf(vector.slice(3, 60).slice(5, 50)), arrow))).toEqual(rowsOf(vector).slice(8, 53))
    })

    it('is read from several chunks, some of them slices or empty', () => {
      const parts = [build(type, value, 20, nulls, 1).slice(3, 20), build(type, value, 0, nulls, 2), build(type, value, 33, 0, 3), build(type, value, 9, 1, 4)]
      const vector = parts[0]!.concat(...parts.slice(1))
      expect(vector.data.length).toBeGreaterThan(2)
      expect(rowsOf(toArrow(columnOf(vector), arrow))).toEqual(rowsOf(vector))
    })

    it('is chosen, cut and put together as rows are', () => {
      const vector = build(type, value, 100, nulls, 6)
      const rows = rowsOf(vector)
      const column = columnOf(vector)
      const selection = Uint8Array.from({ length: 13 }, (_, i) => i * 37)
      const chosen = rows.filter((_, i) => ((selection[i >> 3]! >> (i & 7)) & 1) === 1)
      expect(rowsOf(toArrow(filter(column, selection), arrow))).toEqual(chosen)
      const indices = Uint32Array.from({ length: 150 }, (_, i) => (i * 31) % 100)
      expect(rowsOf(toArrow(take(column, indices), arrow))).toEqual([...indices].map((i) => rows[i]))
      expect(rowsOf(toArrow(slice(column, 11, 77), arrow))).toEqual(rows.slice(11, 77))
      expect(rowsOf(toArrow(concat([slice(column, 11, 77), column]), arrow))).toEqual([...rows.slice(11, 77), ...rows])
      expect(rowsOf(toArrow(take(column, Uint32Array.of(2, 0xffffffff)), arrow))).toEqual([rows[2], null])
    })
  })
})

describe('variants of a type become the plain one', () => {
  const texts = ['a', null, 'a longer text than twelve bytes', '', 'é'.repeat(300)]

  it.each([
    ['largeUtf8', new arrow.LargeUtf8()],
    ['utf8View', new arrow.Utf8View()],
  ])('%s', (_name, type) => {
    const vector = arrow.vectorFromArray(texts, type)
    expect(columnOf(vector).type).toEqual({ kind: 'utf8' })
    expect(toArray(columnOf(vector))).toEqual(texts)
    expect(toArray(columnOf(vector.slice(1, 4)))).toEqual(texts.slice(1, 4))
  })

  it('largeList', () => {
    const rows = [[1, null], null, [], [2, 3, 4]]
    const vector = arrow.vectorFromArray(rows, new arrow.LargeList(field('item', new arrow.Int32())))
    expect(toArray(columnOf(vector))).toEqual(rows)
    expect(columnOf(vector).type.kind).toBe('list')
  })

  it('dictionaries of numbers are looked up, nulls in them too', () => {
    const vector = arrow.vectorFromArray([5, 7, null, 5], new arrow.Dictionary(new arrow.Int32(), new arrow.Uint8()))
    expect(columnOf(vector).type).toEqual({ kind: 'int', bits: 32, signed: true })
    expect(toArray(columnOf(vector))).toEqual([5, 7, null, 5])
  })

  it('dictionaries of several chunks become one', () => {
    const type = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32())
    const a = arrow.vectorFromArray(['x', 'y', 'x'], type)
    const b = arrow.vectorFromArray(['z', 'x', null], type)
    const column = columnOf(new arrow.Vector([...a.data, ...b.data]))
    expect(column.layout).toEqual({ kind: 'dict', width: 1 })
    expect(toArray(column)).toEqual(['x', 'y', 'x', 'z', 'x', null])
  })
})

describe('other sources', () => {
  it('flechette columns are told by their shape', () => {
    const table = flechette.tableFromArrays(
      { a: [1, null, 3], b: ['x', 'y', null], c: [[1], null, [2, 3]], d: [true, false, null] },
      { types: { a: flechette.int32(), b: flechette.dictionary(flechette.utf8()), c: flechette.list(flechette.float64()), d: flechette.bool() } },
    )
    expect(toArray(columnOf(table.getChild('a')))).toEqual([1, null, 3])
    expect(toArray(columnOf(table.getChild('b')))).toEqual(['x', 'y', null])
    expect(toArray(columnOf(table.getChild('c')))).toEqual([[1], null, [2, 3]])
    expect(rowsOf(toArrow(columnOf(table.getChild('d')), arrow))).toEqual([true, false, null])
    expect(rowsOf(toArrow(columnOf(table.getChild('b')), arrow))).toEqual(['x', 'y', null])
  })

  it('typed arrays of every kind are shared', () => {
    const arrays = [
      Int8Array.of(-1, 2),
      Uint8Array.of(1, 200),
      Int16Array.of(-300, 2),
      Uint16Array.of(1, 60_000),
      Int32Array.of(-1, 2),
      Uint32Array.of(1, 4_000_000_000),
      Float32Array.of(0.5, -1),
      Float64Array.of(0.1, -1),
    ]
    for (const values of arrays) {
      expect(toArray(columnOf(values))).toEqual([...values])
      expect(columnOf(values).values.buffer).toBe(values.buffer)
    }
    expect(toArray(columnOf(BigInt64Array.of(-1n, 2n ** 62n)))).toEqual([-1n, 2n ** 62n])
    expect(toArray(columnOf(BigUint64Array.of(2n ** 64n - 1n)))).toEqual([2n ** 64n - 1n])
    // At an odd place, where no view of int64 could be.
    expect(toArray(columnOf(new Int32Array(new ArrayBuffer(16), 4, 3)))).toEqual([0, 0, 0])
    expect(columnOf(Buffer.from([1, 2])).type).toEqual({ kind: 'int', bits: 8, signed: false })
    expect(toArray(columnOf(new Float64Array(0)))).toEqual([])
  })

  it('texts with nulls, of any length', () => {
    const texts = ['a', null, '', '😀é', undefined, 'x'.repeat(10_000), '\u{feff}b']
    expect(toArray(columnOf(texts))).toEqual(texts.map((each) => each ?? null))
    expect(columnOf(texts).nullCount).toBe(2)
    expect(toArray(columnOf([]))).toEqual([])
    expect(columnOf(['a']).validity).toBeUndefined()
  })

  it('a typed array in kernel memory is copied out, and one whose memory moved is refused', () => {
    using buffer = allocate(16)
    const view = new Int32Array(buffer.bytes.buffer, buffer.bytes.byteOffset, 4)
    view.set([4, 3, 2, 1])
    const column = columnOf(view)
    allocate(kernelMemory().bytes).release()
    expect(view.length).toBe(0)
    expect(toArray(column)).toEqual([4, 3, 2, 1])
    expect(() => columnOf(view)).toThrow(InvalidConfigError)
  })
})

describe('what is no column', () => {
  it.each([
    ['null', arrow.vectorFromArray([null], new arrow.Null())],
    [
      'map',
      new arrow.Vector([
        arrow.makeData({
          type: new arrow.Map_(field('entries', new arrow.Struct([field('k', new arrow.Utf8()), field('v', new arrow.Utf8())])) as never),
          length: 0,
        } as never),
      ]),
    ],
    ['interval', arrow.vectorFromArray([Int32Array.of(1, 2)], new arrow.IntervalDayTime())],
  ])('Arrow %s is refused by name', (name, vector) => {
    expect(() => columnOf(vector as arrow.Vector)).toThrow(UnsupportedTypeError)
    expect(() => columnOf(vector as arrow.Vector)).toThrow(new RegExp(name, 'i'))
  })

  it('other values are refused', () => {
    for (const value of [undefined, null, 5, 'text', {}, { data: [], length: 3 }, new DataView(new ArrayBuffer(8)), new Uint8ClampedArray(3), ['a', 5]]) {
      expect(() => columnOf(value as never)).toThrow(InvalidConfigError)
    }
  })

  it('a vector that contradicts its lengths is refused', () => {
    const short = changed(arrow.vectorFromArray([1, 2, 3], new arrow.Int32()).data[0]!, { length: 300, values: Int32Array.of(1) })
    expect(() => columnOf({ type: short.type, length: 300, data: [short] })).toThrow(/contradicts itself/)
    const back = changed(arrow.vectorFromArray(['a', 'b'], new arrow.Utf8()).data[0]!, { valueOffsets: Int32Array.of(0, 9, 1) })
    expect(() => columnOf({ type: back.type, length: 2, data: [back] })).toThrow(InvalidConfigError)
    const codes = arrow.vectorFromArray(['a', 'b'], new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8())).data[0]!
    const outside = changed(codes, { values: Int8Array.of(0, 5) })
    expect(() => columnOf({ type: codes.type, length: 2, data: [outside] })).toThrow(/code 5/)
  })
})

/** The same data with other parts. */
function changed(data: arrow.Data, parts: object): arrow.Data {
  return Object.create(data, Object.fromEntries(Object.entries(parts).map(([name, value]) => [name, { value: value as unknown }]))) as arrow.Data
}
