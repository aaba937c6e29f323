// Every column type through every door: in as rows, columns, Arrow, IPC and streams; out as rows, Arrow, IPC, columns; before and after flush and reopen.
import { Readable } from 'node:stream'

import { tableFromIPC } from 'apache-arrow'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { columns, eq, Store, t, table, type AnyTable } from '../../../bindings/index.ts'
import { collect, failure, opened, PLACES, QUIET } from '../store/places.ts'
import { everyRow, everyType } from '../table/every-type.ts'

type Row = Record<string, unknown>

/** Rows with ids 0 .. n - 1, the same ones in every run. */
const samples = (count: number, seed = 42): Row[] => fc.sample(everyRow, { seed, numRuns: count }).map((row, i) => ({ ...row, id: BigInt(i) }))
const byColumn = (rows: readonly Row[]): Record<string, unknown[]> =>
  Object.fromEntries(Object.keys(everyType.columns).map((name) => [name, rows.map((row) => row[name])]))
const all = async (store: Store, what: AnyTable = everyType): Promise<Row[]> => (await store.scan(what as never, { orderBy: 'id' } as never).toArray()) as Row[]

const FORMS: readonly (readonly [string, (rows: Row[], source: Store) => unknown])[] = [
  ['rows', (rows) => rows],
  ['columns', (rows) => columns(byColumn(rows))],
  ['an Arrow table', async (_rows, source) => await source.scan(everyType).toArrow()],
  ['IPC bytes', async (_rows, source) => await source.scan(everyType).toIpc()],
  ['a generator', (rows) => rows[Symbol.iterator]()],
  [
    'an async iterable of rows, arrays and columns',
    (rows) =>
      (async function* () {
        yield rows[0]
        yield rows.slice(1, 40)
        yield columns(byColumn(rows.slice(40)))
      })(),
  ],
  ['a web stream of arrays', (rows) => webStream([rows.slice(0, 3), rows.slice(3)])],
  ['a Node stream of IPC bytes', async (_rows, source) => Readable.from(pieces(await source.scan(everyType).toIpc()))],
  [
    'record batches',
    async (_rows, source) =>
      (async function* () {
        yield* (await source.scan(everyType, { batchRows: 7 }).toArrow()).batches
      })(),
  ],
]

function webStream(chunks: readonly unknown[]): ReadableStream<unknown> {
  return new ReadableStream<unknown>({
    start: (controller) => {
      for (const chunk of chunks) controller.enqueue(chunk)
      controller.close()
    },
  })
}

function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000)
}

describe.each(PLACES)('every column type, %s', (_name, place) => {
  it.each(FORMS)('goes in as %s', async (_what, make) => {
    const rows = samples(100)
    const source = await opened('memory:')
    await source.create(everyType)
    await source.append(everyType, rows as never)
    const root = place()
    const store = await opened(root)
    await store.create(everyType)
    expect(await store.append(everyType, (await make(rows, source)) as never)).toMatchObject({ rows: 100 })
    expect(await all(store)).toEqual(rows)
    await store.flush()
    expect(await all(store)).toEqual(rows)
    await store.close()
    const again = await opened(root)
    expect(await all(again)).toEqual(rows)
    expect(await again.get(everyType as never, 57n as never)).toEqual(rows[57])
  })

  it('comes out the same as rows, columns, Arrow, IPC and batches, from memory and from fragments', async () => {
    const rows = samples(300, 7)
    const store = await opened(place())
    await store.create(everyType)
    await store.append(everyType, rows.slice(0, 100) as never)
    await store.flush()
    await store.append(everyType, columns(byColumn(rows.slice(100, 200))) as never)
    await store.upsert(everyType as never, rows.slice(200) as never)
    const again = await opened('memory:')
    await again.create(everyType)
    const sorted = { orderBy: 'id' } as never
    for (const out of [
      columns((await store.scan(everyType, sorted).toColumns()) as never),
      await store.scan(everyType, sorted).toArrow(),
      await store.scan(everyType, sorted).toIpc(),
      tableFromIPC(await store.scan(everyType, sorted).toIpc()),
      await collect(store.scan(everyType, sorted).rows()),
    ]) {
      await again.replace(everyType, out as never)
      expect(await all(again)).toEqual(rows)
    }
    const batches = store.scan(everyType, { batchRows: 33 }).batches()
    await again.replace(everyType, batches as never)
    expect(await all(again)).toEqual(rows)
    for (const [i, row] of rows.entries()) expect(await store.get(everyType as never, BigInt(i) as never)).toEqual(row)
    await using snapshot = await store.snapshot()
    expect(snapshot.getSync(everyType as never, 150n as never)).toEqual(rows[150])
    expect(await store.getMany(everyType as never, [0n, 299n] as never)).toEqual([rows[0], rows[299]])
  })

  it('survives bulk loads, updates, transactions and replaces', async () => {
    const some = samples(200, 9)
    const rows: Row[] = Array.from({ length: 20_000 }, (_, i) => ({ ...some[i % 200], id: BigInt(i) }))
    const store = await opened(place())
    await store.create(everyType)
    await store.append(everyType, columns(byColumn(rows)) as never)
    expect(await store.get(everyType as never, 12_345n as never)).toEqual(rows[12_345])
    await store.update(everyType as never, { id: 5n, text: 'patched' } as never)
    expect(await store.get(everyType as never, 5n as never)).toEqual({ ...rows[5], text: 'patched' })
    await store.transact(async (tx) => {
      tx.upsert(everyType as never, { ...rows[6], id: 20_001n } as never)
      expect(await tx.get(everyType as never, 20_001n as never)).toEqual({ ...rows[6], id: 20_001n })
      await tx.update(everyType as never, { id: 7n, text: null } as never)
    })
    expect(await store.get(everyType as never, 7n as never)).toEqual({ ...rows[7], text: null })
    expect(await store.get(everyType as never, 20_001n as never)).toEqual({ ...rows[6], id: 20_001n })
    expect(await store.scan(everyType).count()).toBe(20_001)
  }, 120_000)
})

describe('what is handed out', () => {
  const blobs = table('blobs', { id: t.int32(), data: t.binary(), vec: t.vector(2).nullable() }, { key: ['id'] })

  it('a row is a fresh plain object each time; bytes may be kept', async () => {
    const store = await opened('memory:')
    await store.create(blobs)
    const data = Uint8Array.of(1, 2, 3)
    const pending = store.append(blobs, { id: 1, data })
    await pending
    data.fill(9)
    const first = (await store.get(blobs, 1))!
    const second = (await store.get(blobs, 1))!
    expect(first).not.toBe(second)
    expect(Object.getPrototypeOf(first)).toBe(Object.prototype)
    expect(first.data).toEqual(Uint8Array.of(1, 2, 3))
    await store.upsert(
      blobs,
      Array.from({ length: 3000 }, (_, id) => ({ id, data: new Uint8Array(50).fill(id) })),
    )
    await store.flush()
    await store.upsert(
      blobs,
      Array.from({ length: 3000 }, (_, id) => ({ id, data: new Uint8Array(50).fill(id + 1) })),
    )
    expect(first.data).toEqual(Uint8Array.of(1, 2, 3))
  })

  it('results are transferable', async () => {
    const store = await opened('memory:')
    await store.create(blobs)
    await store.append(blobs, { id: 7, data: Uint8Array.of(1) })
    const ipc = await store.scan(blobs).toIpc()
    const cols = await store.scan(blobs, { select: ['id'] }).toColumns()
    const moved = structuredClone(ipc, { transfer: [ipc.buffer as ArrayBuffer] })
    expect(tableFromIPC(moved).numRows).toBe(1)
    expect([...structuredClone(cols.id, { transfer: [cols.id.buffer as ArrayBuffer] })]).toEqual([7])
    expect(await store.get(blobs, 7)).toEqual({ id: 7, data: Uint8Array.of(1), vec: null })
  })

  it('handles are not cloneable', async () => {
    const store = await opened('memory:')
    expect(() => structuredClone(store)).toThrow()
  })
})

const SHOTS: readonly (readonly [string, AnyTable, readonly unknown[], readonly unknown[]])[] = [
  ['int8', table('k', { id: t.int8(), v: t.int8().nullable() }, { key: ['id'] }), [-128, 0, 127], [-128, 0, 127]],
  ['int16', table('k', { id: t.int16(), v: t.int8().nullable() }, { key: ['id'] }), [-32768, 5], [-32768, 5]],
  ['int32', table('k', { id: t.int32(), v: t.int8().nullable() }, { key: ['id'] }), [-(2 ** 31), 2 ** 31 - 1], [-(2 ** 31), 2 ** 31 - 1]],
  ['uint8', table('k', { id: t.uint8(), v: t.int8().nullable() }, { key: ['id'] }), [0, 255], [0, 255]],
  ['uint16', table('k', { id: t.uint16(), v: t.int8().nullable() }, { key: ['id'] }), [0, 65535], [0, 65535]],
  ['uint32', table('k', { id: t.uint32(), v: t.int8().nullable() }, { key: ['id'] }), [0, 2 ** 32 - 1], [0, 2 ** 32 - 1]],
  [
    'int64',
    table('k', { id: t.int64(), v: t.int8().nullable() }, { key: ['id'] }),
    [-(2n ** 63n), 0n, 5, 2n ** 63n - 1n],
    [-(2n ** 63n), 0n, 5n, 2n ** 63n - 1n],
  ],
  ['uint64', table('k', { id: t.uint64(), v: t.int8().nullable() }, { key: ['id'] }), [0n, 2n ** 64n - 1n], [0n, 2n ** 64n - 1n]],
  ['int64 as number', table('k', { id: t.int64({ as: 'number' }), v: t.int8().nullable() }, { key: ['id'] }), [-5, 2 ** 53 - 1], [-5, 2 ** 53 - 1]],
  ['float32', table('k', { id: t.float32(), v: t.int8().nullable() }, { key: ['id'] }), [-0.5, 1.25, Infinity], [-0.5, 1.25, Infinity]],
  ['float64', table('k', { id: t.float64(), v: t.int8().nullable() }, { key: ['id'] }), [-0.1, Number.MAX_VALUE, Infinity], [-0.1, Number.MAX_VALUE, Infinity]],
  ['bool', table('k', { id: t.bool(), v: t.int8().nullable() }, { key: ['id'] }), [true, false], [true, false]],
  ['utf8', table('k', { id: t.utf8(), v: t.int8().nullable() }, { key: ['id'] }), ['', 'ä', '🛫', 'x'.repeat(5000)], ['', 'ä', '🛫', 'x'.repeat(5000)]],
  ['dictionary', table('k', { id: t.utf8().dictionary(), v: t.int8().nullable() }, { key: ['id'] }), ['SFO', '', 'JFK'], ['SFO', '', 'JFK']],
  [
    'binary',
    table('k', { id: t.binary(), v: t.int8().nullable() }, { key: ['id'] }),
    [Uint8Array.of(), Uint8Array.of(0), Uint8Array.of(0, 0)],
    [Uint8Array.of(), Uint8Array.of(0), Uint8Array.of(0, 0)],
  ],
  [
    'fixedSizeBinary',
    table('k', { id: t.fixedSizeBinary(3), v: t.int8().nullable() }, { key: ['id'] }),
    [Uint8Array.of(1, 2, 3), Uint8Array.of(1, 2, 4)],
    [Uint8Array.of(1, 2, 3), Uint8Array.of(1, 2, 4)],
  ],
  [
    'uuid',
    table('k', { id: t.uuid(), v: t.int8().nullable() }, { key: ['id'] }),
    ['018F4E3C-0000-7000-8000-00000000000a', '018f4e3c-0000-7000-8000-00000000000b'],
    ['018f4e3c-0000-7000-8000-00000000000a', '018f4e3c-0000-7000-8000-00000000000b'],
  ],
  ['timestamp s', table('k', { id: t.timestamp('s'), v: t.int8().nullable() }, { key: ['id'] }), [new Date(5000), 6], [new Date(5000), new Date(6000)]],
  ['timestamp ms', table('k', { id: t.timestamp(), v: t.int8().nullable() }, { key: ['id'] }), [new Date(-5), 6], [new Date(-5), new Date(6)]],
  ['timestamp us', table('k', { id: t.timestamp('us'), v: t.int8().nullable() }, { key: ['id'] }), [5n, new Date(1)], [5n, 1000n]],
  ['timestamp ns', table('k', { id: t.timestamp('ns'), v: t.int8().nullable() }, { key: ['id'] }), [-5n, 7n], [-5n, 7n]],
  ['date', table('k', { id: t.date(), v: t.int8().nullable() }, { key: ['id'] }), ['2026-11-21', '1969-12-31'], ['2026-11-21', '1969-12-31']],
  ['date as number', table('k', { id: t.date({ as: 'number' }), v: t.int8().nullable() }, { key: ['id'] }), [-1, 20000], [-1, 20000]],
  ['time s', table('k', { id: t.time('s'), v: t.int8().nullable() }, { key: ['id'] }), [0, 86399], [0, 86399]],
  ['time ns', table('k', { id: t.time('ns'), v: t.int8().nullable() }, { key: ['id'] }), [0n, 86_399_999_999_999n], [0n, 86_399_999_999_999n]],
  [
    'decimal128',
    table('k', { id: t.decimal128(38, 2), v: t.int8().nullable() }, { key: ['id'] }),
    ['-12.30', 5, 10n ** 30n],
    ['-12.30', '5.00', `${10n ** 30n}.00`],
  ],
]

describe('keys of every type that can be one', () => {
  it.each(SHOTS)('%s: found, absent, duplicate, updated, deleted, before and after a flush', async (_what, definition, keys, read) => {
    const store = await opened('memory:')
    await store.create(definition)
    await store.append(definition, keys.map((id, v) => ({ id, v })) as never)
    for (let pass = 0; pass < 2; pass++) {
      for (const [v, id] of keys.entries()) {
        expect(await store.get(definition as never, id as never)).toEqual({ id: read[v], v })
        expect(await store.get(definition as never, { id } as never)).toEqual({ id: read[v], v })
        expect(await store.get(definition as never, read[v] as never)).toEqual({ id: read[v], v })
        expect(await failure(() => store.append(definition, { id } as never))).toMatchObject({ code: 'write.duplicate-key' })
        expect(await failure(() => store.append(definition, columns({ id: [id] }) as never))).toMatchObject({ code: 'write.duplicate-key' })
      }
      await store.flush()
    }
    const [first, last] = [keys[0], keys.at(-1)]
    await store.update(definition as never, { id: first, v: 100 } as never)
    await store.upsert(definition as never, columns({ id: [last], v: [101] }) as never)
    expect(await store.get(definition as never, first as never)).toEqual({ id: read[0], v: keys.length === 1 ? 101 : 100 })
    expect(await store.get(definition as never, last as never)).toEqual({ id: read.at(-1), v: 101 })
    expect(await store.delete(definition as never, keys as never)).toMatchObject({ rows: keys.length })
    expect(await store.scan(definition).count()).toBe(0)
    expect(await store.has(definition as never, first as never)).toBe(false)
  })

  it('composite keys of several types, null parts refused', async () => {
    const seats = table(
      'seats',
      { flight: t.int64(), day: t.date(), code: t.utf8(), blob: t.binary(), row: t.int16(), v: t.int32().nullable() },
      { key: ['flight', 'day', 'code', 'blob'] },
    )
    const store = await opened('memory:')
    await store.create(seats)
    const blob = Uint8Array.of(1)
    // Parts that run into each other when they are only put together.
    const rows = [
      { flight: 1n, day: '2026-01-01', code: 'ab', blob: Uint8Array.of(99), row: 1, v: 0 },
      { flight: 1n, day: '2026-01-01', code: 'a', blob: Uint8Array.of(98, 99), row: 1, v: 1 },
      { flight: 1n, day: '2026-01-01', code: '', blob: Uint8Array.of(97, 98, 99), row: 1, v: 2 },
      { flight: 1n, day: '2026-01-02', code: 'ab', blob: Uint8Array.of(99), row: 1, v: 3 },
    ]
    await store.append(seats, rows)
    for (let pass = 0; pass < 2; pass++) {
      for (const { row: _, v, ...key } of rows) expect((await store.get(seats, key))?.v).toBe(v)
      await store.flush()
    }
    expect(await store.get(seats, { code: 'a', blob: Uint8Array.of(98, 99), day: '2026-01-01', flight: 1n })).toMatchObject({ v: 1 })
    expect(await failure(() => store.append(seats, { flight: 1n, day: null, code: '', blob, row: 1 } as never))).toMatchObject({
      name: 'NullKeyError',
      code: 'write.null-key',
      message: 'seats.day row 0: a key cannot be null',
      table: 'seats',
      column: 'day',
      row: 0,
    })
    for (const key of [{ flight: 1n }, { flight: 1n, day: '2026-01-01', code: 'a', blob, row: 1 }, 1n, [1n, '2026-01-01', 'a', blob]]) {
      expect(await failure(() => store.get(seats, key as never))).toMatchObject({ code: 'table.schema-mismatch' })
    }
    expect(await failure(() => store.get(seats, { flight: 1n, day: null, code: '', blob } as never))).toMatchObject({ code: 'write.null-key' })
    expect(await store.scan(seats, { where: eq('code', 'a') }).count()).toBe(1)
  })

  it('-0 and 0 are one key, and NaN is none', async () => {
    const floats = table('floats', { id: t.float64(), v: t.int32() }, { key: ['id'] })
    const store = await opened('memory:')
    await store.create(floats)
    await store.append(floats, { id: 0, v: 1 })
    await store.upsert(floats, { id: -0, v: 3 })
    for (const write of [() => store.upsert(floats, { id: NaN, v: 4 }), () => store.get(floats, NaN), () => store.delete(floats, NaN)]) {
      expect(await failure(write)).toMatchObject({ code: 'table.schema-mismatch', message: expect.stringContaining('NaN cannot be in a key') })
    }
    expect(await store.scan(floats).count()).toBe(1)
    expect((await store.get(floats, 0))?.v).toBe(3)
  })

  it('defaults fill the key too', async () => {
    const shards = table('shards', { id: t.int32(), shard: t.utf8().default('main'), v: t.int32() }, { key: ['id', 'shard'] })
    const store = await opened('memory:')
    await store.create(shards)
    await store.append(shards, { id: 1, v: 1 })
    expect(await failure(() => store.append(shards, { id: 1, shard: 'main', v: 2 }))).toMatchObject({ code: 'write.duplicate-key' })
    expect((await store.get(shards, { id: 1, shard: 'main' }))?.v).toBe(1)
  })
})

describe('a definition of the code is a view of the stored one', () => {
  const full = table('people', { id: t.int32(), name: t.utf8(), age: t.int16().nullable(), role: t.utf8().default('guest') }, { key: ['id'] })

  it('reads what it names, and writes around what it does not: default, else null', async () => {
    const narrow = table('people', { id: t.int32(), name: t.utf8() }, { key: ['id'] })
    const store = await opened('memory:')
    await store.create(full)
    await store.append(narrow, { id: 1, name: 'Ada' })
    await store.append(narrow, columns({ id: [2], name: ['Grace'] }))
    expect(await store.get(full, 1)).toEqual({ id: 1, name: 'Ada', age: null, role: 'guest' })
    expect(await store.get(full, 2)).toEqual({ id: 2, name: 'Grace', age: null, role: 'guest' })
    expect(await store.get(narrow, 1)).toEqual({ id: 1, name: 'Ada' })
    expect(await store.scan(narrow, { orderBy: 'id' }).toArray()).toEqual([
      { id: 1, name: 'Ada' },
      { id: 2, name: 'Grace' },
    ])
  })

  it('cannot write around a column without default that is not nullable', async () => {
    const store = await opened('memory:')
    await store.create(full)
    const nameless = table('people', { id: t.int32(), age: t.int16().nullable() }, { key: ['id'] })
    expect(await store.scan(nameless).toArray()).toEqual([])
    const before = store.lsn
    for (const call of [
      () => store.append(nameless, { id: 1, age: 3 }),
      () => store.append(nameless, columns({ id: [1] })),
      () => store.transact((tx) => tx.upsert(nameless, { id: 1, age: 3 })),
    ]) {
      expect(await failure(call)).toMatchObject({ code: 'table.schema-mismatch', column: 'name' })
    }
    expect(store.lsn).toBe(before)
  })

  it.each([
    ['a column that the store lacks', table('people', { id: t.int32(), name: t.utf8(), email: t.utf8() }, { key: ['id'] })],
    ['another type', table('people', { id: t.int32(), name: t.binary() }, { key: ['id'] })],
    ['another key', table('people', { id: t.int32(), name: t.utf8() }, { key: ['id', 'name'] })],
    ['no key', table('people', { id: t.int32(), name: t.utf8() })],
  ])('is SchemaMismatchError with both definitions for %s', async (_what, other) => {
    const store = await opened('memory:')
    await store.create(full)
    for (const call of [
      () => store.scan(other).toArray(),
      () => store.append(other as never, { id: 1, name: 'x' } as never),
      () => store.transact((tx) => tx.append(other as never, { id: 1, name: 'x' } as never)),
    ]) {
      const error = await failure(call)
      expect(error).toMatchObject({ code: 'table.schema-mismatch', table: 'people' })
      expect(error.message).toContain('code:')
      expect(error.message).toContain('store:')
    }
  })

  it('two programs may read one column differently', async () => {
    const store = await opened('memory:')
    const asBig = table('n', { id: t.int64(), at: t.timestamp('us') }, { key: ['id'] })
    const asNumber = table('n', { id: t.int64({ as: 'number' }), at: t.timestamp('us', { as: 'number' }) }, { key: ['id'] })
    await store.create(asBig)
    await store.create(asNumber)
    await store.append(asBig, { id: 1n, at: 5n })
    await store.append(asNumber, { id: 2, at: 6 })
    expect(await store.get(asNumber, 1)).toEqual({ id: 1, at: 5 })
    expect(await store.get(asBig, 2n)).toEqual({ id: 2n, at: 6n })
    await store.append(asBig, { id: 2n ** 60n, at: 7n })
    expect(await failure(() => store.get(asNumber, (2n ** 60n) as never))).toBeInstanceOf(RangeError)
    expect(await failure(() => store.scan(asNumber).toArray())).toBeInstanceOf(RangeError)
    expect(await failure(() => store.append(asNumber, { id: 2 ** 53, at: 1 }))).toMatchObject({ name: expect.stringMatching(/RangeError|SchemaMismatchError/) })
  })
})

describe('a row of many bytes', () => {
  it('is staged above inlineLimitBytes, however few rows it is in', async () => {
    const files = table('files', { name: t.utf8(), data: t.binary() }, { key: ['name'] })
    await using store = await Store.open('memory:', { ...QUIET, segmentBytes: 1 << 20 })
    await store.create(files)
    const data = new Uint8Array(3 << 20).map((_, i) => i * 7)
    await store.append(files, { name: 'big', data })
    const before = (await store.stats()).log.bytes
    await store.upsert(files, [
      { name: 'big', data },
      { name: 'other', data },
    ])
    expect((await store.stats()).log.bytes - before).toBeLessThan(100_000)
    expect((await store.get(files, 'big'))?.data).toEqual(data)
    await store.update(files, { name: 'big', data: data.subarray(5) })
    expect((await store.get(files, 'big'))?.data.length).toBe(data.length - 5)
    await store.transact((tx) => tx.upsert(files, { name: 'tx', data }))
    await store.flush()
    expect((await store.get(files, 'tx'))?.data).toEqual(data)
    expect(await store.scan(files).count()).toBe(3)
  })
})
