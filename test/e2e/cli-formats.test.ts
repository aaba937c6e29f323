import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as flechette from '@uwdata/flechette'
import { tableFromIPC, tableToIPC, tableFromArrays } from 'apache-arrow'
import { parquetReadObjects } from 'hyparquet'
import { describe, expect, it } from 'vitest'
import { columnsFromArrow, Store, t, table } from '../../bindings/index.ts'
import { cli, ok, tempFolder, SOURCES } from './cli-run.ts'

/** Every flat type, with and without nulls, and values at their ends. */
const flat = table(
  'every',
  {
    id: t.int64(),
    flag: t.bool().nullable(),
    i8: t.int8().nullable(),
    i16: t.int16(),
    i32: t.int32().nullable(),
    i64: t.int64().nullable(),
    u8: t.uint8(),
    u16: t.uint16().nullable(),
    u32: t.uint32().nullable(),
    u64: t.uint64().nullable(),
    f32: t.float32().nullable(),
    f64: t.float64().nullable(),
    text: t.utf8().nullable(),
    word: t.utf8().dictionary().nullable(),
    solid: t.utf8(),
    raw: t.binary().nullable(),
    four: t.fixedSizeBinary(4).nullable(),
    ref: t.uuid().nullable(),
    doc: t.json().nullable(),
    s: t.timestamp('s').nullable(),
    ms: t.timestamp('ms', { tz: 'UTC' }).nullable(),
    us: t.timestamp('us').nullable(),
    ns: t.timestamp('ns').nullable(),
    day: t.date().nullable(),
    clock: t.time('ms').nullable(),
    exact: t.time('us').nullable(),
    price: t.decimal128(20, 4).nullable(),
  },
  { key: ['id'] },
)
const nested = table(
  'nested',
  {
    id: t.int64(),
    list: t.list(t.int32().nullable()).nullable(),
    pair: t.struct({ a: t.int64(), b: t.utf8().nullable() }).nullable(),
    trio: t.fixedSizeList(3, t.int16()),
    vec: t.vector(2).nullable(),
  },
  { key: ['id'] },
)

const EMPTY: Partial<typeof flat.Insert> = {}
const ROWS: (typeof flat.Insert)[] = [
  {
    id: 1n,
    flag: true,
    i8: -128,
    i16: 32767,
    i32: -(2 ** 31),
    i64: -(2n ** 63n),
    u8: 255,
    u16: 65535,
    u32: 2 ** 32 - 1,
    u64: 2n ** 64n - 1n,
    f32: 1.5,
    f64: 0.1,
    text: 'plain',
    word: 'red',
    solid: 'x',
    raw: Uint8Array.of(0, 1, 255),
    four: Uint8Array.of(1, 2, 3, 4),
    ref: '550e8400-e29b-41d4-a716-446655440000',
    doc: { a: [1, null, 'é'], b: '' },
    s: new Date(-1000),
    ms: new Date(978307260123),
    us: 978307260000001n,
    ns: -1n,
    day: '1969-12-31',
    clock: 86_399_999,
    exact: 1n,
    price: '-1234567890123456.7890',
  },
  { ...EMPTY, id: 2n, i16: 0, u8: 0, solid: '', text: '', word: '', raw: new Uint8Array(0), f64: NaN, f32: -Infinity, flag: false },
  {
    ...EMPTY,
    id: 3n,
    i16: -1,
    u8: 1,
    solid: ' a "b", c\n;\td ',
    text: "tabs\tand\r\nlines, 'quotes' and \u2028",
    word: '00501',
    i64: 9007199254740993n,
    f64: -0,
    doc: 'text',
  },
  { ...EMPTY, id: 4n, i16: 1, u8: 2, solid: 'null', text: '日本 \u{1F600}', word: 'null', doc: [], day: '2026-11-21' },
]
const NESTED: (typeof nested.Insert)[] = [
  { id: 1n, list: [1, null, 3], pair: { a: 2n ** 62n, b: 'x, "y"' }, trio: [1, 2, 3], vec: [0.5, -1] },
  { id: 2n, list: [], pair: { a: -1n, b: null }, trio: [0, 0, 0] },
  { id: 3n, trio: [-1, 0, 1] },
]

async function filled(): Promise<{ folder: string; store: string }> {
  const folder = await tempFolder()
  const store = join(folder, 'store')
  await using opened = await Store.open(store)
  await opened.create(flat, nested)
  // Two commits, so that what is exported comes in batches with dictionaries of their own.
  await opened.append(flat, ROWS.slice(0, 2))
  await opened.flush()
  await opened.append(flat, ROWS.slice(2))
  await opened.append(nested, NESTED)
  return { folder, store }
}

async function rowsOf(path: string, of: typeof flat | typeof nested): Promise<object[]> {
  await using store = await Store.open(path, { readOnly: true })
  return await store.scan(of as typeof flat, { orderBy: 'id' }).toArray()
}

describe('export and import', () => {
  it.each(['csv', 'tsv', 'ndjson', 'arrow', 'arrows', 'parquet'])('%s brings every flat value back into an equal table', async (format) => {
    const { folder, store } = await filled()
    const file = join(folder, `every.${format}`)
    const report = (await ok(['export', store, 'every', '-o', file, '--json'])).json() as { rows: number; bytes: number }
    expect(report).toMatchObject({ rows: ROWS.length, bytes: (await stat(file)).size, format })
    const copy = join(folder, 'copy')
    await using opened = await Store.open(copy)
    await opened.create(flat)
    await opened.close()
    expect((await ok(['import', copy, 'every', file, '--json'])).json()).toMatchObject({ rows: ROWS.length, created: false })
    expect(await rowsOf(copy, flat)).toEqual(await rowsOf(store, flat))
  })

  it.each(['csv', 'ndjson', 'arrow', 'arrows'])('%s brings nested values back', async (format) => {
    const { folder, store } = await filled()
    const file = join(folder, `nested.${format}`)
    await ok(['export', store, 'nested', '-o', file])
    const copy = join(folder, 'copy')
    await using opened = await Store.open(copy)
    await opened.create(nested)
    await opened.close()
    await ok(['import', copy, 'nested', file])
    expect(await rowsOf(copy, nested)).toEqual(await rowsOf(store, nested))
  })

  it("makes a new table of another writer's types as docs/format.md has it: nulls, maps, instants in date64", async () => {
    const folder = await tempFolder()
    const { columnFromArray, dateMillisecond, map, nullType, tableFromColumns, utf8, int32 } = flechette
    const made = tableFromColumns([
      ['id', columnFromArray([1, 2, 3], int32())],
      ['none', columnFromArray([null, null, null], nullType())],
      ['at', columnFromArray([new Date(0), null, new Date(1234)], dateMillisecond())],
      [
        'tags',
        columnFromArray(
          [
            [['a', 1]],
            null,
            [
              ['b', 2],
              ['c', null],
            ],
          ],
          map(utf8(), int32()),
        ),
      ],
    ])
    const file = join(folder, 'other.arrow')
    await writeFile(file, flechette.tableToIPC(made, { format: 'file' })!)
    const store = join(folder, 'store')
    await ok(['import', store, 'other', file])
    const { columns } = (await ok(['schema', store, 'other', '--json'])).json() as { columns: Record<string, string> }
    const derived = columnsFromArrow(new Uint8Array(await readFile(file)))
    await using opened = await Store.open(store, { readOnly: true })
    const other = table('other', derived)
    expect(columns).toEqual({
      id: 'int32 or null',
      none: 'bool or null',
      at: 'timestamp[ms] or null',
      tags: 'list<struct<"key": utf8, "value": int32 or null>> or null',
    })
    expect(await opened.scan(other).toArray()).toEqual([
      { id: 1, none: null, at: new Date(0), tags: [{ key: 'a', value: 1 }] },
      { id: 2, none: null, at: null, tags: null },
      {
        id: 3,
        none: null,
        at: new Date(1234),
        tags: [
          { key: 'b', value: 2 },
          { key: 'c', value: null },
        ],
      },
    ])
  })

  it.each(['arrow', 'arrows', 'parquet'])('%s makes a new table with the types of the old one', async (format) => {
    const { folder, store } = await filled()
    const file = join(folder, `every.${format}`)
    await ok(['export', store, 'every', '-o', file])
    await ok(['import', store, 'again', file, '--key', 'id'])
    const [before, after] = await Promise.all(
      ['every', 'again'].map(async (name) => (await ok(['schema', store, name, '--json'])).json() as { columns: Record<string, string> }),
    )
    const expected = { ...before!.columns }
    // Parquet starts at milliseconds and knows no dictionaries; the file format of Arrow wants one dictionary for all, so texts are plain.
    if (format === 'parquet') expected['s'] = 'timestamp[ms] or null'
    if (format !== 'arrows') expected['word'] = 'utf8 or null'
    expect(after!.columns).toEqual(expected)
    const [first, second] = await Promise.all(
      ['every', 'again'].map(async (name) =>
        (await ok(['scan', store, name, '--order-by', 'id', '--select', 'id,i64,f64,text,word,us,price,doc', '--json'])).lines(),
      ),
    )
    expect(second).toEqual(first)
  })

  it('writes files that other readers open', async () => {
    const { folder, store } = await filled()
    const arrow = await ok(['export', store, 'every', '-o', join(folder, 'x.arrow'), '--order-by', 'id'])
    expect(arrow.stdout).toMatch(/x\.arrow: 4 rows/)
    const read = tableFromIPC(await readFile(join(folder, 'x.arrow')))
    expect([...read.getChild('text')!]).toEqual(['plain', '', ROWS[2]!.text, ROWS[3]!.text])
    await ok(['export', store, 'every', '-o', join(folder, 'x.parquet'), '--where', 'id <= 2', '--order-by', 'id', '--select', 'id,i64,text'])
    const buffer = await readFile(join(folder, 'x.parquet'))
    const file = buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength)
    expect(await parquetReadObjects({ file })).toEqual([
      { id: 1n, i64: -(2n ** 63n), text: 'plain' },
      { id: 2n, i64: null, text: '' },
    ])
  })

  it('writes an empty table in every format, and reads it', async () => {
    const { folder, store } = await filled()
    for (const format of ['csv', 'tsv', 'arrow', 'arrows', 'parquet']) {
      const file = join(folder, `none.${format}`)
      await ok(['export', store, 'every', '-o', file, '--where', 'id > 99'])
      await ok(['import', store, `none-${format}`, file, '--key', 'id'])
    }
    expect((await ok(['tables', store, '--json'])).json().filter(({ name }: { name: string }) => name.startsWith('none-'))).toMatchObject(
      Array.from({ length: 5 }, () => ({ rows: 0, key: ['id'] })),
    )
  })

  it('pipes from one store into another', async () => {
    const { folder, store } = await filled()
    for (const format of ['csv', 'ndjson']) {
      const { stdout } = await ok(['export', store, 'every', '--format', format])
      expect((await ok(['import', join(folder, 'copy'), `via-${format}`, '-', '--format', format, '--json'], stdout)).json()).toMatchObject({
        rows: ROWS.length,
      })
    }
    const bytes = tableToIPC(tableFromArrays({ a: Int32Array.of(1, 2), b: ['x', null] }), 'stream')
    await ok(['import', join(folder, 'copy'), 'arrow', '-', '--format', 'arrow', '--add-id', 'row'], bytes)
    expect((await ok(['scan', join(folder, 'copy'), 'arrow', '--order-by', 'row', '--json'])).lines()).toEqual([
      { row: '0', a: 1, b: 'x' },
      { row: '1', a: 2, b: null },
    ])
  })

  it('names the place where a file is damaged, and leaves no partial file behind', async () => {
    const { folder, store } = await filled()
    await ok(['export', store, 'every', '-o', join(folder, 'x.parquet')])
    const whole = await readFile(join(folder, 'x.parquet'))
    await writeFile(join(folder, 'cut.parquet'), whole.subarray(0, whole.length - 100))
    await writeFile(join(folder, 'not.arrow'), 'nothing of the kind')
    await writeFile(join(folder, 'bad.ndjson'), '{"a":1}\n{"a":\n')
    await writeFile(join(folder, 'array.ndjson'), '[{"a":1}]\n')
    await writeFile(join(folder, 'empty.csv'), '')
    await writeFile(join(folder, 'twice.csv'), 'a,a\n1,2\n')
    for (const [file, message] of [
      ['cut.parquet', 'is not Parquet'],
      ['not.arrow', 'is not Arrow'],
      ['bad.ndjson', 'line 2:'],
      ['array.ndjson', 'line 1 holds an array'],
      ['empty.csv', 'is empty'],
      ['twice.csv', 'two columns are named "a"'],
    ] as const) {
      const result = await cli(['import', store, 'x', join(folder, file)])
      expect([result.code, result.stderr]).toEqual([1, expect.stringContaining(message)])
    }
    expect((await ok(['tables', store, '--json'])).json().map(({ name }: { name: string }) => name)).toEqual(['every', 'nested'])
    const nowhere = await cli(['export', store, 'every', '-o', join(folder, 'none', 'x.csv')])
    expect([nowhere.code, nowhere.stderr]).toEqual([1, expect.stringContaining('cannot be written')])
  })

  it('refuses numbers that the columns of the table cannot hold, from every format', async () => {
    const { folder, store } = await filled()
    await writeFile(join(folder, 'defs.json'), JSON.stringify({ name: 'small', columns: { id: 'int8 or null', us: 'timestamp[s] or null' } }))
    await ok(['init', join(folder, 'other'), '--table', join(folder, 'defs.json')])
    for (const format of ['csv', 'ndjson', 'arrow', 'parquet']) {
      const wide = join(folder, `wide.${format}`)
      await ok(['import', store, `w-${format}`, '-', '--format', 'csv', '--type', 'id=int64'], 'id\n1\n300\n')
      await ok(['export', store, `w-${format}`, '-o', wide])
      const ids = await cli(['import', join(folder, 'other'), 'small', wide])
      expect([format, ids.code, ids.stderr]).toEqual([format, 1, expect.stringMatching(/300|int64 cannot become int8/)])
      const fine = join(folder, `fine.${format}`)
      await ok(['export', store, 'every', '--select', 'us', '--where', 'us is not null', '-o', fine])
      const times = await cli(['import', join(folder, 'other'), 'small', fine])
      expect([format, times.code, times.stderr]).toEqual([format, 1, expect.stringMatching(/more digits|cannot become|precision/)])
    }
    expect((await ok(['tables', join(folder, 'other'), '--json'])).json()).toMatchObject([{ name: 'small', rows: 0 }])
  })

  it('imports a long CSV file in bounded memory', async () => {
    const folder = await tempFolder()
    const file = join(folder, 'long.csv')
    const line = (i: number): string =>
      `${i},2001-01-01T00:00:${String(i % 60).padStart(2, '0')},${i % 181},airport ${i % 300},${'some text that goes on '.repeat(4)}${i % 1000}`
    const part = Array.from({ length: 50_000 }, (_, i) => line(i)).join('\n')
    const parts = 16
    await writeFile(file, `id,at,delay,origin,note\n${Array.from({ length: parts }, () => part).join('\n')}\n`)
    const { size } = await stat(file)
    expect(size).toBeGreaterThan(100 * 1024 * 1024)
    // A heap that could not hold the file's rows, nor a quarter of them; from the sources, which take more of it themselves.
    const result = await cli(['import', join(folder, 'store'), 'long', file, '--json'], '', ['--max-old-space-size=96'], SOURCES)
    expect(result.stderr).toBe('')
    expect(result.json()).toMatchObject({ rows: parts * 50_000, bytesIn: size })
  })
})
