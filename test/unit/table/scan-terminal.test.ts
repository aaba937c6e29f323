import * as arrow from 'apache-arrow'
import * as flechette from '@uwdata/flechette'
import { describe, expect, it } from 'vitest'

import { t } from '../../../bindings/table/columns.ts'
import { table } from '../../../bindings/table/definition.ts'
import { gte } from '../../../bindings/table/predicate.ts'
import { type FakeGroup, fakeScan, fakeVersion, liveRows } from './fake-version.ts'

const kinds = table('kinds', {
  id: t.int64(),
  safe: t.int64({ as: 'number' }),
  u8: t.uint8(),
  i32: t.int32(),
  maybe: t.int32().nullable(),
  f32: t.float32(),
  f64: t.float64(),
  word: t.utf8().dictionary().nullable(),
  text: t.utf8(),
  flag: t.bool(),
  when: t.timestamp('ms', { tz: 'UTC' }),
  micros: t.timestamp('us'),
  stamp: t.timestamp('s', { as: 'number' }),
  day: t.date(),
  days: t.date({ as: 'number' }),
  clock: t.time('s'),
  price: t.decimal128(10, 2),
  uid: t.uuid(),
  raw: t.fixedSizeBinary(3),
  tags: t.list(t.utf8()),
  point: t.struct({ x: t.float64(), y: t.int8().nullable() }),
  vec: t.vector(2),
  data: t.json(),
})
type Row = typeof kinds.Row

const row = (i: number): Row => ({
  id: BigInt(i) * 2n ** 40n,
  safe: i * 1e12,
  u8: i % 256,
  i32: -i,
  maybe: i % 3 === 0 ? null : i,
  f32: i / 2,
  f64: i / 3,
  word: i % 4 === 0 ? null : `w${i % 5}`,
  text: `text ${i}`,
  flag: i % 2 === 0,
  when: new Date(i * 1000),
  micros: BigInt(i),
  stamp: i,
  day: `2026-01-${String((i % 28) + 1).padStart(2, '0')}`,
  days: i,
  clock: i,
  price: `${i}.25`,
  uid: `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`,
  raw: Uint8Array.of(i % 256, 1, 2),
  tags: Array.from({ length: i % 3 }, (_, k) => `t${k}`),
  point: { x: i, y: i % 5 === 0 ? null : 1 },
  vec: Float32Array.of(i, 1),
  data: { i },
})
const rows = (first: number, count: number): Row[] => Array.from({ length: count }, (_, i) => row(first + i))
const groups: FakeGroup[] = [
  {
    batches: [
      { rows: rows(0, 30), dict: true, deleted: [0, 7, 8, 29] },
      { rows: rows(30, 9), dict: true },
    ],
  },
  {
    batches: [
      { rows: rows(39, 50), cold: true },
      { rows: rows(89, 1), deleted: [0] },
    ],
  },
  { kind: 'memory', batches: [{ rows: rows(90, 5) }] },
]
const live = liveRows(groups) as Row[]

describe('toColumns', () => {
  it('gives typed arrays where a column reads as plain numbers, arrays of values else', async () => {
    const columns = await fakeScan(kinds, fakeVersion(kinds, groups)).toColumns()
    for (const name of Object.keys(kinds.columns) as (keyof Row)[]) expect(Array.from(columns[name] as never), name).toEqual(live.map((r) => r[name]))
    const types = Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, (column as object).constructor.name]))
    expect(types).toMatchObject({
      id: 'BigInt64Array',
      safe: 'Float64Array',
      u8: 'Uint8Array',
      i32: 'Int32Array',
      maybe: 'Array',
      f32: 'Float32Array',
      f64: 'Float64Array',
    })
    expect(types).toMatchObject({
      word: 'Array',
      flag: 'Array',
      when: 'Array',
      micros: 'BigInt64Array',
      day: 'Array',
      days: 'Int32Array',
      clock: 'Int32Array',
      stamp: 'Float64Array',
    })
  })

  it('gives arrays that are the caller’s own', async () => {
    const scan = fakeScan(kinds, fakeVersion(kinds, [{ batches: [{ rows: rows(0, 4) }] }]), { select: ['i32', 'id'] })
    const first = await scan.toColumns()
    ;(first['i32'] as unknown as Int32Array).fill(99)
    structuredClone(first['id'], { transfer: [(first['id'] as unknown as BigInt64Array).buffer] })
    expect(await scan.toColumns()).toEqual({ i32: Int32Array.of(0, -1, -2, -3), id: BigInt64Array.from([0n, 1n, 2n, 3n].map((i) => i * 2n ** 40n)) })
  })

  it('gives empty columns of no rows', async () => {
    expect(await fakeScan(kinds, fakeVersion(kinds, []), { select: ['i32', 'text'] }).toColumns()).toEqual({ i32: new Int32Array(0), text: [] })
  })
})

describe('toArrow and toIpc', () => {
  const simple = ['id', 'i32', 'maybe', 'f64', 'word', 'text', 'flag', 'point', 'tags'] as const
  const plain = (r: Row): unknown => ({
    id: r.id,
    i32: r.i32,
    maybe: r.maybe,
    f64: r.f64,
    word: r.word,
    text: r.text,
    flag: r.flag,
    point: r.point,
    tags: r.tags,
  })
  const fromArrow = (r: any): unknown => ({ ...r.toJSON(), point: r.point.toJSON(), tags: [...r.tags] })

  it('hold the rows of the scan', async () => {
    const made = await fakeScan(kinds, fakeVersion(kinds, groups), { select: simple }).toArrow()
    expect(made).toBeInstanceOf(arrow.Table)
    expect(made.toArray().map(fromArrow)).toEqual(live.map(plain))
  })

  it('are read by two Arrow libraries, every column', async () => {
    const bytes = await fakeScan(kinds, fakeVersion(kinds, groups)).toIpc()
    const mine = arrow.tableFromIPC(bytes)
    expect(mine.numRows).toBe(live.length)
    expect(
      mine
        .select([...simple])
        .toArray()
        .map(fromArrow),
    ).toEqual(live.map(plain))
    const other = flechette.tableFromIPC(bytes, { useBigInt: true, useDate: true })
    expect(other.numRows).toBe(live.length)
    expect(Array.from(other.getChild('word')!)).toEqual(live.map((r) => r.word))
    expect(Array.from(other.getChild('when')!)).toEqual(live.map((r) => r.when))
    expect(Array.from(other.getChild('vec')!, (v) => [...(v as Float32Array)])).toEqual(live.map((r) => [...r.vec]))
  })

  it('keep the types of the definition', async () => {
    const { schema } = arrow.tableFromIPC(await fakeScan(kinds, fakeVersion(kinds, groups)).toIpc())
    const types = Object.fromEntries(schema.fields.map((field) => [field.name, String(field.type)]))
    expect(types).toMatchObject({
      id: 'Int64',
      safe: 'Int64',
      u8: 'Uint8',
      f32: 'Float32',
      word: 'Dictionary<Int32, Utf8>',
      text: 'Utf8',
      flag: 'Bool',
      day: 'Date32<DAY>',
    })
    expect(schema.fields.filter((field) => field.nullable).map((field) => field.name)).toEqual(['maybe', 'word'])
    expect(schema.fields.find((field) => field.name === 'uid')!.metadata.get('ARROW:extension:name')).toBe('arrow.uuid')
  })

  it('of no rows have the schema', async () => {
    const scan = fakeScan(kinds, fakeVersion(kinds, []), { select: ['word', 'id'] })
    const empty = await scan.toArrow()
    expect(empty.numRows).toBe(0)
    expect(empty.schema.fields.map((field) => (field as arrow.Field).name)).toEqual(['word', 'id'])
    expect(arrow.tableFromIPC(await scan.toIpc()).numRows).toBe(0)
  })

  it('of a scan in batches agree with the rows, filtered and split', async () => {
    const scan = fakeScan(kinds, fakeVersion(kinds, groups), { select: simple, where: gte<any, string>('maybe', 20), batchRows: 7 })
    const expected = live.filter((r) => r.maybe !== null && r.maybe >= 20).map(plain)
    const seen: unknown[] = []
    for await (const batch of scan) {
      expect(batch.numRows).toBeLessThanOrEqual(7)
      seen.push(...batch.toArray().map(fromArrow))
    }
    expect(seen).toEqual(expected)
    expect((await scan.toArrow()).toArray().map(fromArrow)).toEqual(expected)
  })

  it('of a scan without columns still count the rows', async () => {
    const scan = fakeScan(kinds, fakeVersion(kinds, groups), { select: [] })
    expect((await scan.toArray()).length).toBe(live.length)
    expect(await scan.toColumns()).toEqual({})
  })
})
