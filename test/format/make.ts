// Makes the stores that are kept here, one folder for each format: run it with a checkout of the version whose format it is.
//
//   node test/format/make.ts <checkout> <folder>        for example: node test/format/make.ts /tmp/old test/format/v1
//
// The folder gets `segments/` and `slots/`, stores as that version left them, and `expected.json`: every definition and value in them. Nothing here is run by the
// tests: they open what was made (golden.test.ts).
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

import type * as Varve from '../../bindings/index.ts'
import { plain } from './values.ts'

const [checkout = '', folder = ''] = process.argv.slice(2)
const { columns, gte, lt, Store, t, table } = (await import(pathToFileURL(resolve(checkout, 'bindings/index.ts')).href)) as typeof Varve

const types = table(
  'types',
  {
    id: t.int64(),
    bool: t.bool().nullable(),
    i8: t.int8().nullable(),
    i16: t.int16().default(-7),
    i32: t.int32().nullable(),
    u8: t.uint8().nullable(),
    u16: t.uint16().nullable(),
    u32: t.uint32().nullable(),
    u64: t.uint64().nullable(),
    f32: t.float32().nullable(),
    f64: t.float64().nullable(),
    text: t.utf8().nullable(),
    words: t.utf8().dictionary().nullable(),
    bytes: t.binary().nullable(),
    fixed: t.fixedSizeBinary(3).nullable(),
    uuid: t.uuid().nullable(),
    json: t.json().nullable(),
    seconds: t.timestamp('s').nullable(),
    millis: t.timestamp('ms', { tz: 'Europe/Paris' }).nullable(),
    micros: t.timestamp('us').nullable(),
    nanos: t.timestamp('ns').nullable(),
    day: t.date().nullable(),
    time: t.time('ms').nullable(),
    fine: t.time('ns').nullable(),
    money: t.decimal128(12, 2).nullable(),
    list: t.list(t.int32().nullable()).nullable(),
    pair: t.struct({ x: t.float64(), label: t.utf8().nullable() }).nullable(),
    three: t.fixedSizeList(3, t.int16()).nullable(),
    vector: t.vector(4).nullable(),
  },
  { key: ['id'], index: ['day'] },
)
const flights = table('flights', { origin: t.utf8(), no: t.int32(), delay: t.int16().nullable() }, { key: ['origin', 'no'] })
const notes = table('notes', { n: t.int32(), body: t.utf8() })
const many = table('many', { n: t.int32(), half: t.float32() })
const none = table('none', { x: t.int8() })

const row = (i: number): Record<string, unknown> =>
  i % 7 === 3
    ? { id: BigInt(i) }
    : {
        id: BigInt(i),
        bool: i % 2 === 0,
        i8: (i % 255) - 127,
        i16: i * 3,
        i32: -i * 70_000,
        u8: i % 256,
        u16: i % 65_536,
        u32: 4_000_000_000 + i,
        u64: 2n ** 63n + BigInt(i),
        f32: i / 4,
        f64: i % 11 === 0 ? NaN : i % 11 === 1 ? -0 : i / 3,
        text: `text ${i} ${'äö😀'.repeat(i % 3)}`,
        words: ['north', 'south', 'east'][i % 3],
        bytes: Uint8Array.of(i & 255, 0, 255),
        fixed: Uint8Array.of(1, 2, i & 255),
        uuid: `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`,
        json: { a: [i, null, 'x'] },
        seconds: new Date(1_700_000_000_000 + i * 1000),
        millis: new Date(1_700_000_000_123 + i),
        micros: 1_700_000_000_000_001n + BigInt(i),
        nanos: -1n - BigInt(i),
        day: `2026-0${(i % 9) + 1}-1${i % 10}`,
        time: i * 1000,
        fine: BigInt(i) * 1_000_000_007n,
        money: `${i}.${String(i % 100).padStart(2, '0')}`,
        list: i % 5 === 0 ? [] : [i, null, -i],
        pair: { x: i / 7, label: i % 2 === 0 ? null : `p${i}` },
        three: [i, -i, 0],
        vector: [i, 0.5, -0.25, 1e10],
      }

const WORLD = { host: { name: 'golden', pid: 1, bootId: 'golden', processStartTime: '1', isAlive: () => false } }
const stores: Record<string, unknown> = {}
let tables: Record<string, unknown> = {}
for (const layout of ['segments', 'slots'] as const) {
  const place = resolve(folder, layout)
  mkdirSync(place, { recursive: true })
  const store = await Store.open(place, {
    create: 'must',
    upkeep: 'manual',
    threads: 0,
    writers: layout === 'segments' ? 'exclusive' : 'shared',
    segmentBytes: 256 * 1024,
    inlineLimitBytes: 16 * 1024,
    world: WORLD,
  })
  await store.create(types, flights, notes, many, none)
  const rows = (from: number, count: number): Record<string, unknown>[] => Array.from({ length: count }, (_, i) => row(from + i))
  await store.append(types, rows(0, 60) as never)
  await store.flush()
  await store.append(
    flights,
    columns({
      origin: Array.from({ length: 900 }, (_, i) => `AP${i % 30}`),
      no: Array.from({ length: 900 }, (_, i) => i),
      delay: Array.from({ length: 900 }, (_, i) => (i % 4 === 0 ? null : i)),
    }),
  )
  await store.append(many, columns({ n: Int32Array.from({ length: 4000 }, (_, i) => i), half: Float32Array.from({ length: 4000 }, (_, i) => i / 2) }))
  const middle = store.lsn
  const atMiddle: Record<string, number> = {}
  for (const each of [types, flights, notes, many, none]) atMiddle[each.name] = await store.scan(each).count()
  await store.upsert(types, rows(50, 40) as never)
  await store.delete(types, [3n, 51n])
  await store.deleteWhere(many, gte('n', 2500))
  await store.deleteWhere(flights, lt('no', 40))
  // A flush of the table makes a deletion vector of so many hidden rows.
  await store.append(many, { n: 5000, half: 0.5 })
  await store.flush()
  await store.upsert(flights, { origin: 'AP1', no: 31, delay: -5 })
  await store.append(
    notes,
    Array.from({ length: 30 }, (_, i) => ({ n: i, body: `note ${i}` })),
    { author: 'golden', message: 'notes', idempotencyKey: 'notes-1' },
  )
  await store.update(types, { id: 5n, text: 'changed' } as never)
  const write = await store.stage({ message: 'waits' })
  await write.append(notes, [{ n: 100, body: 'staged' }])
  await write.upsert(flights, [{ origin: 'AP1', no: 61, delay: 77 }])
  await write.seal()
  // The same in every layout.
  tables = {}
  for (const info of await store.tables()) {
    const found = await store.scan(await store.table(info.name)).toArray()
    tables[info.name] = { key: info.key, columns: plain(info.columns), rows: found.map(plain) }
  }
  stores[layout] = { lsn: String(store.lsn), middle: String(middle), atMiddle, staged: write.id }
  await store.close()
}
writeFileSync(join(resolve(folder), 'expected.json'), `${JSON.stringify({ stores, tables })}\n`)
