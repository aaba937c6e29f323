// Types that no golden file has, written by flechette and apache-arrow: each value arrives as it was given.
import * as flechette from '@uwdata/flechette'
import * as arrow from 'apache-arrow'
import { describe, expect, it } from 'vitest'
import { columnsFromArrow, Store, table } from '../../bindings/index.ts'
import { KIND, messageAt } from '../../bindings/table/ipc-in.ts'

const { int8, int16, int32, int64, float16, float32, utf8, largeUtf8, binary, largeBinary, dateMillisecond, decimal, dictionary, list, largeList } = flechette
const { fixedSizeList, fixedSizeBinary, struct, map, field, bool, timestamp, timeNanosecond } = flechette

/** What comes out of a store that took the bytes, whole and in pieces. */
async function rowsThrough(bytes: Uint8Array): Promise<object[]> {
  const target = table('other', columnsFromArrow(bytes))
  async function* pieces(): AsyncGenerator<Uint8Array, undefined> {
    for (let at = 0; at < bytes.length; at += 100) yield await Promise.resolve(bytes.subarray(at, at + 100))
  }
  const found: object[][] = []
  for (const data of [bytes, pieces()]) {
    await using store = await Store.open('memory:')
    await store.create(target)
    await store.append(target, data as never)
    await store.flush()
    found.push(await store.scan(target).toArray())
  }
  expect(found[1]).toEqual(found[0])
  return found[0]!
}

/** Bytes of flechette, as a file and a stream. */
function written(columns: [string, flechette.Column<unknown>][]): Uint8Array[] {
  const made = flechette.tableFromColumns(columns)
  return (['file', 'stream'] as const).map((format) => flechette.tableToIPC(made, { format })!)
}

const ISO = (ms: number): Date => new Date(ms)
/** Name, type, values given, and how they are read where that differs. */
const CASES: [string, flechette.DataType, unknown[], unknown[]?][] = [
  ['float16', float16(), [0, -0.5, 65504, null, 2 ** -24, Infinity]],
  // flechette multiplies by the scale where it means its power of ten: with a scale of 1, values without their point come out right.
  ['decimal32', decimal(7, 1, 32), [125, null, -9_999_999], ['12.5', null, '-999999.9']],
  ['decimal64', decimal(18, 3, 64), [1.5, null, -0.001], ['1.500', null, '-0.001']],
  ['decimal256', decimal(38, 1, 256), [12.5, null, -3.5], ['12.5', null, '-3.5']],
  ['date64', dateMillisecond(), [ISO(0), null, ISO(86_400_001)]],
  ['time', timeNanosecond(), [1n, null, 86_399_999_999_999n]],
  ['zone', timestamp(flechette.TimeUnit.SECOND, 'Europe/Paris'), [ISO(1000), null, ISO(-5000)]],
  ['largeUtf8', largeUtf8(), ['a', null, 'Zürich', '']],
  ['largeBinary', largeBinary(), [Uint8Array.of(1, 2), null, new Uint8Array(0)]],
  ['largeList', largeList(field('x', int16(), true)), [[1, null], null, []]],
  [
    'map',
    map(utf8(), int32()),
    [
      [
        ['a', 1],
        ['b', null],
      ],
      null,
      [],
    ],
    [
      [
        { key: 'a', value: 1 },
        { key: 'b', value: null },
      ],
      null,
      [],
    ],
  ],
  ['dictionary of int64', dictionary(int64(), int8()), [5n, null, -7n, 5n]],
  ['dictionary of binary', dictionary(binary(), int16()), [Uint8Array.of(1), null, Uint8Array.of(2, 3), Uint8Array.of(1)]],
  ['dictionary in a list', list(field('x', dictionary(utf8(), int8()), true)), [['a', 'b', null], null, [], ['a']]],
  [
    'dictionary in a struct',
    struct([field('s', dictionary(utf8(), int32()), true), field('on', bool(), true)]),
    [{ s: 'a', on: true }, null, { s: null, on: null }],
  ],
  [
    'list in a fixed list',
    fixedSizeList(list(field('x', fixedSizeBinary(2), true)), 2),
    [
      [[Uint8Array.of(1, 2)], []],
      [null, [null]],
    ],
  ],
  ['vector', fixedSizeList(field('x', float32(), false), 2), [[1, 2], null, [3, 4]], [Float32Array.of(1, 2), null, Float32Array.of(3, 4)]],
]

describe('a column of', () => {
  it.each(CASES)('%s arrives as it was given', async (_name, type, values, wanted = values) => {
    for (const bytes of written([['c', flechette.columnFromArray(values, type)]])) {
      expect((await rowsThrough(bytes)).map((row) => (row as { c: unknown }).c)).toEqual(wanted)
    }
  })
})

describe('a stream of dictionaries', () => {
  const type = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32(), 3)
  const chunk = (values: string[]): arrow.Data<arrow.Utf8> => arrow.vectorFromArray(values, new arrow.Utf8()).data[0]!
  const first = chunk(['a', 'b'])
  const more = chunk(['c', 'd'])
  const other = chunk(['x', 'y', 'z'])
  const schema = new arrow.Schema([new arrow.Field('c', type, true)])
  const batch = (codes: number[], ...entries: arrow.Data<arrow.Utf8>[]): arrow.RecordBatch => {
    const data = arrow.makeData({ type, length: codes.length, nullCount: 0, data: Int32Array.from(codes), dictionary: new arrow.Vector(entries) })
    return new arrow.RecordBatch(schema, arrow.makeData({ type: new arrow.Struct(schema.fields), length: codes.length, nullCount: 0, children: [data] }))
  }
  const stream = (...batches: arrow.RecordBatch[]): Uint8Array => {
    const writer = new arrow.RecordBatchStreamWriter()
    for (const one of batches) writer.write(one)
    return writer.finish().toUint8Array(true)
  }
  /** isDelta of each dictionary message. */
  const deltas = (bytes: Uint8Array): boolean[] => {
    const found: boolean[] = []
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let at = 0; view.getUint32(at + 4, true) !== 0;) {
      const { kind, header, bodyStart, bodyBytes } = messageAt(bytes, at)
      if (kind === KIND.dictionaryBatch) found.push(header.bool(2))
      at = bodyStart + bodyBytes
    }
    return found
  }

  it('that grow by deltas has the values of both pieces', async () => {
    const bytes = stream(batch([1, 0], first), batch([3, 0, 2], first, more))
    expect((await rowsThrough(bytes)).map((row) => (row as { c: unknown }).c)).toEqual(['b', 'a', 'd', 'a', 'c'])
    expect(deltas(bytes)).toEqual([false, true])
  })

  it('that replace each other has the values of each in turn', async () => {
    const bytes = stream(batch([1, 0], first), batch([2, 0], other))
    expect((await rowsThrough(bytes)).map((row) => (row as { c: unknown }).c)).toEqual(['b', 'a', 'z', 'x'])
    expect(deltas(bytes)).toEqual([false, false])
  })
})
