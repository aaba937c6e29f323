// test/kernel/columns-arrow.test.ts: the column kernels on buffers that apache-arrow built, against its own row-by-row builds.
import { Bool, Dictionary, Field, Float64, Int16, Int32, Int64, List, Struct, Utf8, vectorFromArray, type Data, type DataType, type Vector } from 'apache-arrow'
import { describe, expect, it } from 'vitest'
import { concat, decodeDictionary, filter, type Layout, makeVec, slice, take, type Vec } from '../../bindings/kernels/index.ts'
import { randomOf, rowsOf, selectionFor } from './vec-model.ts'

/** One chunk of Arrow as a Vec, without its slice: children and offsets as they are. */
function vecOfData(data: Data, layout: Layout): Vec {
  const validity = data.nullCount > 0 ? data.nullBitmap : undefined
  const bytes = (buffer: ArrayBufferView): Uint8Array =>
    new Uint8Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) as ArrayBuffer)
  const base = { validity, nullCount: data.nullCount }
  switch (layout.kind) {
    case 'fixed':
    case 'bool':
      return makeVec(layout, data.length, { ...base, values: bytes(data.values as ArrayBufferView) })
    case 'var':
      return makeVec(layout, data.length, { ...base, values: bytes(data.values as ArrayBufferView), offsets: data.valueOffsets })
    case 'list':
      return makeVec(layout, data.length, { ...base, offsets: data.valueOffsets, children: [vecOfData(data.children[0]!, layout.item)] })
    case 'struct':
      return makeVec(layout, data.length, { ...base, children: layout.fields.map((field, i) => vecOfData(data.children[i]!, field)) })
    case 'dict': {
      const dictionary = vecOfData((data.dictionary as Vector).data[0]!, { kind: 'var' })
      return makeVec(layout, data.length, { ...base, values: bytes(data.values as ArrayBufferView), dictionary })
    }
    case 'fsl':
      throw new Error('not used here')
  }
}

const i32: Layout = { kind: 'fixed', width: 4 }
const cases: [string, DataType, Layout, (u32: () => number) => unknown][] = [
  ['int16', new Int16(), { kind: 'fixed', width: 2 }, (u32) => (u32() & 0xffff) - 32_768],
  ['int32', new Int32(), i32, (u32) => u32() | 0],
  ['int64', new Int64(), { kind: 'fixed', width: 8 }, (u32) => BigInt(u32()) * 5n - 2n ** 33n],
  ['float64', new Float64(), { kind: 'fixed', width: 8 }, (u32) => u32() / 3],
  ['bool', new Bool(), { kind: 'bool' }, (u32) => u32() % 2 === 0],
  ['utf8', new Utf8(), { kind: 'var' }, (u32) => 'aé€😀'.repeat(3).slice(0, (u32() % 5) * 2)],
  ['dictionary', new Dictionary(new Utf8(), new Int32()), { kind: 'dict', width: 4 }, (u32) => `k${u32() % 40}`],
  ['list', new List(new Field('item', new Int32(), true)), { kind: 'list', item: i32 }, (u32) => Array.from({ length: u32() % 4 }, () => u32() | 0)],
  [
    'struct',
    new Struct([new Field('a', new Int32(), true), new Field('b', new Utf8(), true)]),
    { kind: 'struct', fields: [i32, { kind: 'var' }] },
    (u32) => ({ a: u32() | 0, b: `s${u32() % 9}` }),
  ],
]

describe.each(cases)('columns built by apache-arrow: %s', (_, type, layout, value) => {
  const build = (rows: readonly unknown[]): Vec => vecOfData(vectorFromArray(rows, type).data[0]!, layout)
  const plain = (v: Vec): unknown => rowsOf(decodeDictionary(v))

  it.each([0, 0.2])('filter, take and concat equal building the chosen rows (nulls %d)', (nulls) => {
    for (const n of [1, 8, 63, 64, 65, 130, 257]) {
      const random = randomOf(n)
      const rows = Array.from({ length: n }, () => (random.chance(nulls) ? null : value(random.u32)))
      const vec = build(rows)
      const { bits, chosen } = selectionFor(n, 5, n)
      expect(plain(filter(vec, bits))).toEqual(plain(build(chosen.map((i) => rows[i]))))
      const idx = Uint32Array.from({ length: n + 7 }, () => random.below(n))
      expect(plain(take(vec, idx))).toEqual(plain(build([...idx].map((i) => rows[i]))))
      const cut = random.below(n)
      expect(plain(concat([slice(vec, cut, n), build(rows), slice(vec, 0, cut)]))).toEqual(plain(build([...rows.slice(cut), ...rows, ...rows.slice(0, cut)])))
    }
  })
})
