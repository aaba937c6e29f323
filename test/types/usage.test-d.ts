// Right code that compiles, with the types it must give: the usage of api.md section 10 as far as types go. Nothing here runs.

import { columns } from '../../bindings/table/column-data.ts'
import { t } from '../../bindings/table/columns.ts'
import { table } from '../../bindings/table/definition.ts'
import { and, between, eq, gt, gte, isNull, lt, not, oneOf, or, startsWith } from '../../bindings/table/predicate.ts'
import type { AnyTable, InsertOf, KeyedTable, RowOf } from '../../bindings/table/types.ts'
import type { ArrowTable } from '../../bindings/table/types-read.ts'
import type { ReadStore, Store } from '../../bindings/table/types-store.ts'

const flights = table(
  'flights',
  {
    id: t.int64(),
    date: t.timestamp('ms'),
    origin: t.utf8().dictionary(),
    destination: t.utf8().dictionary(),
    delay: t.int16().nullable(),
    distance: t.int16().nullable(),
  },
  { key: ['id'], index: ['origin', ['origin', 'date']] },
)
const seats = table('seats', { flight: t.int64(), row: t.int16(), taken: t.bool().default(false), holder: t.utf8().nullable() }, { key: ['flight', 'row'] })
const events = table('events', {
  at: t.timestamp(),
  kind: t.utf8().typed<'seat-taken' | 'seat-freed'>(),
  data: t.json<{ seat: number }>().nullable(),
  vec: t.vector(3).nullable(),
})
const precise = table('precise', { at: t.timestamp('us'), on: t.date({ as: 'date' }) })

declare const store: Store
declare const reader: ReadStore
const flight: typeof flights.Insert = { id: 1n, date: new Date(0), origin: 'SFO', destination: 'JFK' }

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare function same<A, B>(...differ: Equal<A, B> extends true ? [] : [expected: A, found: B]): void

// Rows are plain: what is read, what is written, the key, the patch.
type Flight = { id: bigint; date: Date; origin: string; destination: string; delay: number | null; distance: number | null }
same<typeof flights.Row, Flight>()
same<
  typeof flights.Insert,
  {
    id: bigint
    date: number | Date
    origin: string
    destination: string
    delay?: number | null | undefined
    distance?: number | null | undefined
  }
>()
same<typeof flights.Key, { id: bigint }>()
same<typeof seats.Key, { flight: bigint; row: number }>()
same<typeof seats.Row, { flight: bigint; row: number; taken: boolean; holder: string | null }>()
same<(typeof seats.Insert)['taken'], boolean | undefined>()
same<typeof events.Row, { at: Date; kind: 'seat-taken' | 'seat-freed'; data: { seat: number } | null; vec: Float32Array | null }>()
same<typeof precise.Row, { at: bigint; on: Date }>()
same<(typeof precise.Insert)['at'], bigint | Date>()

// Every constructor.
const every = {
  bool: t.bool(),
  small: t.uint32(),
  big: t.int64(),
  asNumber: t.uint64({ as: 'number' }),
  float: t.float32(),
  binary: t.binary(),
  fixed: t.fixedSizeBinary(4),
  uuid: t.uuid(),
  json: t.json<{ a: 1 }>(),
  seconds: t.timestamp('s', { tz: 'UTC' }),
  nanosAsNumber: t.timestamp('ns', { as: 'number' }),
  date: t.date(),
  days: t.date({ as: 'number' }),
  time: t.time(),
  nanos: t.time('ns'),
  decimal: t.decimal128(10, 2),
  list: t.list(t.int8().nullable()),
  struct: t.struct({ a: t.int8(), b: t.utf8().default('x') }),
  triple: t.fixedSizeList(3, t.bool()),
  vector: t.vector(3),
  branded: t.utf8().typed<string & { readonly brand: 'id' }>(),
  optional: t.utf8().nullable().typed<'a' | null>(),
} as const
same<
  RowOf<typeof every>,
  {
    bool: boolean
    small: number
    big: bigint
    asNumber: number
    float: number
    binary: Uint8Array
    fixed: Uint8Array
    uuid: string
    json: { a: 1 }
    seconds: Date
    nanosAsNumber: number
    date: string
    days: number
    time: number
    nanos: bigint
    decimal: string
    list: (number | null)[]
    struct: { a: number; b: string }
    triple: boolean[]
    vector: Float32Array
    branded: string & { readonly brand: 'id' }
    optional: 'a' | null
  }
>()
same<InsertOf<typeof every>['struct'], { a: number; b?: string | undefined }>()
same<InsertOf<typeof every>['decimal'], string | number | bigint>()
same<InsertOf<typeof every>['nanosAsNumber'], number | Date>()

// Tables are values: any of them is an AnyTable, those with a key a KeyedTable.
export const anyTables: readonly AnyTable[] = [flights, seats, events, table('x', { a: t.int8() })]
export const keyedTables: readonly KeyedTable[] = [flights, seats]

export async function writing(arrow: ArrowTable, ipc: Uint8Array, web: ReadableStream<Uint8Array>): Promise<void> {
  await store.create(flights, seats, events)
  await store.append(flights, [flight, { ...flight, delay: -4 }, { ...flight, date: 0 }])
  await store.append(seats, columns({ flight: [7n, 7n], row: Int16Array.of(3, 4) }))
  await store.append(
    flights,
    (function* () {
      for (let i = 0; i < 3; i++) yield flight
    })(),
  )
  await store.upsert(
    flights,
    (async function* () {
      yield [flight, flight]
      yield flight
      yield ipc
    })(),
    { signal: AbortSignal.timeout(1), onProgress: (p) => p.done + p.unit.length },
  )
  await store.upsert(flights, arrow)
  await store.upsert(flights, ipc)
  await store.append(flights, web)
  await store.replace(events, [])
  const { lsn } = await store.upsert(flights, flight, { message: 'late news', idempotencyKey: 'job-17' })
  await store.update(seats, { flight: 7n, row: 4, holder: 'Ada' })
  await store.delete(flights, [3n, { id: 4n }])
  await store.delete(seats, { flight: 7n, row: 3 })
  await store.deleteWhere(events, lt('at', new Date(0)))
  same<typeof lsn, Awaited<ReturnType<typeof store.sync>>>()
}

export async function reading(): Promise<void> {
  const one = await store.get(flights, 2n)
  same<typeof one, Flight | undefined>()
  same<Awaited<ReturnType<typeof store.has>>, boolean>()
  await store.get(flights, { id: 2n }, { at: new Date(), signal: AbortSignal.abort() })
  const many = await store.getMany(seats, [{ flight: 7n, row: 3 }])
  same<(typeof many)[0], typeof seats.Row | undefined>()
  const late = await store
    .scan(flights, { select: ['origin', 'delay'], where: and(gt('delay', 60), or(eq('origin', 'SFO'), startsWith('destination', 'J'))) })
    .toArray()
  same<typeof late, { origin: string; delay: number | null }[]>()
  const quiet = flights.where(and(not(gt('delay', 0)), between('date', new Date(0), new Date())))
  await store.scan(flights, { where: quiet, at: 'v1' }).count()
  await reader.scan(flights, { where: oneOf('origin', new Set(['SFO', 'LAX'])), at: 12 }).count()
  await store.scan(precise, { where: and(gte('at', 5n), gte('at', new Date()), eq('on', new Date(0))) }).count()
  const worst = await store.scan(flights, { orderBy: ['delay desc', 'id'], limit: 10 }).first()
  same<typeof worst, Flight | undefined>()
  const cols = await store.scan(flights, { select: ['id', 'delay', 'origin'] }).toColumns()
  same<typeof cols.id, BigInt64Array | BigUint64Array>()
  same<typeof cols.delay, (number | null)[]>()
  let n = 0
  for await (const batch of store.scan(flights, { batchRows: 1024 })) n += batch.numRows
  for await (const row of store.scan(seats).rows()) n += row.row
}

export async function aggregates(): Promise<void> {
  const sums = await store.scan(flights).aggregate({ n: 'count', km: { sum: 'distance' }, ids: { sum: 'id' }, mean: { avg: 'delay' }, last: { max: 'date' } })
  same<typeof sums, { n: number; km: number; ids: bigint; mean: number | null; last: Date | null }>()
  const by = await store
    .scan(flights, { where: isNull('distance') })
    .aggregate({ n: 'count', kinds: { distinct: 'origin' }, top: { max: 'delay' } }, { by: ['origin'] })
  same<typeof by, { origin: string; n: number; kinds: number; top: number | null }[]>()
}

export async function transaction(): Promise<void> {
  const taken = await store.transact(
    async (tx) => {
      const seat = await tx.get(seats, { flight: 7n, row: 3 })
      if (!seat || seat.taken) return false
      tx.upsert(seats, { ...seat, taken: true })
      tx.append(events, { at: new Date(), kind: 'seat-taken', data: { seat: seat.row } })
      return true
    },
    { retries: 8, onCommitted: (r) => r.lsn },
  )
  same<typeof taken, boolean>()
}

export async function staged(): Promise<void> {
  await using write = await store.stage({ message: 'nightly', holdUntil: new Date(0) })
  await write.append(events, { at: new Date(), kind: 'seat-freed' })
  await write.upsert(seats, (async function* () {})() as AsyncIterable<typeof seats.Insert>)
  await write.delete(flights, [1n, 2n])
  await write.deleteWhere(flights, gt('delay', 60))
  await write.replace(events, [])
  same<typeof write.state, 'open' | 'staged' | 'sealed' | 'published' | 'rolledBack'>()
  const sealed = await write.seal()
  same<typeof sealed, typeof store.lsn>()
  const [first] = await store.staged()
  if (first !== undefined) same<Awaited<ReturnType<Awaited<ReturnType<typeof store.resume>>['publish']>>['rows'], number>()
}

export async function feed(): Promise<void> {
  for await (const commit of store.changes({ from: 0, tables: [flights, seats], images: 'both', follow: false })) {
    for await (const change of commit) {
      if (change.table === 'seats' && change.kind === 'update') same<typeof change.after, typeof seats.Row>()
      else if (change.kind === 'delete') same<typeof change.key, typeof flights.Key | typeof seats.Key>()
    }
  }
  await using snap = await store.snapshot()
  same<ReturnType<typeof snap.getSync>, object | undefined>()
  using sub = store.on('commit', (e) => e.durationMs)
  void sub
}
