// Wrong code that does not compile (api.md section 10, "Must not compile"): tsc reports an expected error that is not there.
// must-not-compile.test.ts holds this file against the list; a comment "case: <name>" opens each.

import { columns } from '../../bindings/table/column-data.ts'
import { t } from '../../bindings/table/columns.ts'
import { table } from '../../bindings/table/definition.ts'
import { and, eq, gt, isNull, lt, not, oneOf, or, startsWith } from '../../bindings/table/predicate.ts'
import type { Epoch } from '../../bindings/log/index.ts'
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
  { key: ['id'], index: ['origin'] },
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

// case: a key of an unknown column
// @ts-expect-error
table('x', { a: t.int8() }, { key: ['b'] })
// case: a key of a nullable column
// @ts-expect-error
table('x', { a: t.int8().nullable() }, { key: ['a'] })
// case: a key of a json column
// @ts-expect-error
table('x', { a: t.json() }, { key: ['a'] })
// case: an index of an unknown column
// @ts-expect-error
table('x', { a: t.int8() }, { index: ['b'] })
// @ts-expect-error
table('x', { a: t.int8() }, { index: ['a', ['a', 'b']] })
// case: dictionary() of an integer
// @ts-expect-error
t.int32().dictionary()
// case: a wrong default
// @ts-expect-error
t.int16().default('none')
// case: a null default
// @ts-expect-error
t.int16().nullable().default(null)
// case: Date for us/ns
// @ts-expect-error
t.timestamp('us', { as: 'date' })
// @ts-expect-error
t.timestamp('ns').typed<Date>()
export async function preciseAsDate(): Promise<Date | undefined> {
  const row = await store.scan(precise).first()
  // @ts-expect-error
  return row?.at
}

export async function rows(): Promise<void> {
  // case: rows: unknown column
  // @ts-expect-error
  await store.append(flights, { ...flight, dely: 3 })
  // @ts-expect-error
  await store.append(flights, [{ id: 1n, date: new Date(), origin: 'SFO', destination: 'JFK', dely: 3 }])
  // case: rows: wrong type
  // @ts-expect-error
  await store.append(flights, { ...flight, origin: 3 })
  // case: rows: missing column
  // @ts-expect-error
  await store.append(flights, { id: 1n, date: new Date(), origin: 'SFO' })
  // case: rows: null in a non-nullable column
  // @ts-expect-error
  await store.append(flights, { ...flight, origin: null })
  // case: rows: number for int64
  // @ts-expect-error
  await store.append(flights, { ...flight, id: 1 })
}

export async function columnArrays(): Promise<void> {
  // case: columns(): wrong cells
  // @ts-expect-error
  await store.append(seats, columns({ flight: [7n], row: ['3'] }))
  // case: columns(): missing column
  // @ts-expect-error
  await store.append(seats, columns({ flight: [7n] }))
  // case: columns(): BigInt64Array for int16
  // @ts-expect-error
  await store.append(seats, columns({ flight: [7n], row: BigInt64Array.of(3n) }))
}

export async function keys(): Promise<void> {
  // case: upsert on an unkeyed table
  // @ts-expect-error
  await store.upsert(events, { at: new Date(), kind: 'seat-taken' })
  // case: get on an unkeyed table
  // @ts-expect-error
  await store.get(events, {})
  // case: update on an unkeyed table
  // @ts-expect-error
  await store.update(events, { kind: 'seat-taken' })
  // case: delete on an unkeyed table
  // @ts-expect-error
  await store.delete(events, [])
  // case: update without the key
  // @ts-expect-error
  await store.update(flights, { delay: 3 })
  // case: a wrong key
  // @ts-expect-error
  await store.get(flights, '1')
  // @ts-expect-error
  await store.get(flights, { origin: 'SFO' })
  // case: a partial key
  // @ts-expect-error
  await store.get(seats, { flight: 7n })
  // case: a bare composite key
  // @ts-expect-error
  await store.get(seats, 7n)
}

export function predicates(): void {
  // case: predicates: unknown column
  // @ts-expect-error
  store.scan(flights, { where: gt('dely', 60) })
  // case: predicates: string against number
  // @ts-expect-error
  store.scan(flights, { where: gt('delay', '60') })
  // case: predicates: string against number, nested
  // @ts-expect-error
  store.scan(flights, { where: and(eq('origin', 'SFO'), not(or(gt('delay', '60')))) })
  // case: predicates: null
  // @ts-expect-error
  store.scan(flights, { where: eq('delay', null) })
  // case: predicates: json
  // @ts-expect-error
  store.scan(events, { where: eq('data', { seat: 3 }) })
  // @ts-expect-error
  store.scan(events, { where: isNull('data') })
  // case: predicates: gt on bool
  // @ts-expect-error
  store.scan(seats, { where: gt('taken', false) })
  // case: predicates: startsWith on a number
  // @ts-expect-error
  store.scan(flights, { where: startsWith('delay', '6') })
  // case: predicates: another table's predicate
  const late = flights.where(gt('delay', 60))
  // @ts-expect-error
  store.scan(seats, { where: late })
  // @ts-expect-error
  seats.where(late)
  // case: predicates: a value outside a string union
  // @ts-expect-error
  store.scan(events, { where: oneOf('kind', ['seat-sold']) })
}

export async function reads(): Promise<void> {
  // case: unknown select
  // @ts-expect-error
  store.scan(flights, { select: ['dely'] })
  // case: unknown orderBy
  // @ts-expect-error
  store.scan(flights, { orderBy: 'dely desc' })
  // @ts-expect-error
  store.scan(flights, { orderBy: ['id', 'delay down'] })
  // case: sum of a string
  // @ts-expect-error
  await store.scan(flights).aggregate({ total: { sum: 'origin' } })
  // case: a column not selected
  const [row] = await store.scan(flights, { select: ['origin'] }).toArray()
  // @ts-expect-error
  void row?.delay
  // case: a nullable used as its value
  const whole = await store.scan(flights).first()
  // @ts-expect-error
  whole?.delay.toFixed()
  // case: an Epoch as a position
  // @ts-expect-error
  store.scan(flights, { at: {} as Epoch })
}

export async function writesOnReadStore(): Promise<void> {
  // case: any write on a ReadStore
  // @ts-expect-error
  await reader.append(flights, flight)
  // @ts-expect-error
  await reader.upsert(flights, flight)
  // @ts-expect-error
  await reader.update(flights, { id: 1n })
  // @ts-expect-error
  await reader.delete(flights, 1n)
  // @ts-expect-error
  await reader.deleteWhere(events, lt('at', new Date(0)))
  // @ts-expect-error
  await reader.replace(events, [])
  // @ts-expect-error
  await reader.transact(() => {})
  // @ts-expect-error
  await reader.create(flights)
  // @ts-expect-error
  await reader.stage()
  // @ts-expect-error
  await reader.resume((await reader.staged())[0]!.writeId)
}

export async function feed(): Promise<void> {
  for await (const commit of store.changes({ tables: [flights, seats] })) {
    for await (const change of commit) {
      // case: a table outside the feed's list
      // @ts-expect-error
      if (change.table === 'events') return
    }
  }
}

export async function stagedWrites(): Promise<void> {
  const write = await store.stage()
  // case: a staged upsert or delete on an unkeyed table
  // @ts-expect-error
  await write.upsert(events, { at: 0, kind: 'seat-taken' })
  // @ts-expect-error
  await write.delete(events, 1n)
  // @ts-expect-error
  await write.append(flights, { ...flight, nope: 1 })
  // @ts-expect-error
  await write.deleteWhere(flights, lt('at', new Date(0)))
  // @ts-expect-error
  await store.resume('01HF7Z9AJ0AY0YR3FW14AXWQDP')
}

export async function transactions(): Promise<void> {
  await store.transact((tx) => {
    // case: a stream inside a transaction
    tx.append(
      flights,
      // @ts-expect-error
      (async function* () {
        yield flight
      })(),
    )
    // @ts-expect-error
    tx.append(flights, new ReadableStream())
  })
}
