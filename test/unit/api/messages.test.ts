// The messages of api.md section 9, word for word: people search for them, and tools show them.
import { Table, tableFromArrays, TimestampMillisecond, vectorFromArray } from 'apache-arrow'
import { describe, expect, it } from 'vitest'

import {
  columns,
  DuplicateKeyError,
  InvalidNameError,
  NullKeyError,
  SchemaMismatchError,
  type Store,
  t,
  table,
  UnkeyableTypeError,
  UnsupportedTypeError,
  VarveError,
} from '../../../bindings/index.ts'
import { failure, opened } from '../store/places.ts'

const flights = table('flights', { id: t.int64(), date: t.timestamp('ms'), origin: t.utf8().dictionary(), delay: t.int16().nullable() }, { key: ['id'] })
const good = (id: bigint) => ({ id, date: new Date(0), origin: 'SFO', delay: 1 })
/** Good rows with a wrong one at a place. */
const at = (row: number, wrong: object): object[] => [...Array.from({ length: row }, (_, i) => good(BigInt(i + 1000))), { ...good(1n), ...wrong }]

async function fresh(): Promise<Store> {
  const store = await opened('memory:')
  await store.create(flights)
  return store
}

const WRONG_ROWS: readonly (readonly [string, object[], typeof SchemaMismatchError | typeof NullKeyError, object])[] = [
  ['flights.delay row 3: expected int16 or null, got string "late"', at(3, { delay: 'late' }), SchemaMismatchError, { column: 'delay', row: 3, total: 1 }],
  ['flights.delay row 2: 40000 is outside int16 (-32768..32767)', at(2, { delay: 40_000 }), SchemaMismatchError, { column: 'delay', row: 2, total: 1 }],
  ['flights row 3: no column "dely"; did you mean "delay"?', at(3, { dely: 5 }), SchemaMismatchError, { row: 3, total: 1 }],
  [
    'flights.origin row 0: missing, and the column has no default',
    [{ id: 1n, date: new Date(0) }],
    SchemaMismatchError,
    { column: 'origin', row: 0, total: 1 },
  ],
  ['flights.date row 9: invalid Date', at(9, { date: new Date('no') }), SchemaMismatchError, { column: 'date', row: 9, total: 1 }],
  ['flights.id row 1: 9007199254740992 is not a safe integer; write it as a bigint', at(1, { id: 2 ** 53 }), SchemaMismatchError, { column: 'id', row: 1 }],
  ['flights.id row 4: a key cannot be null', at(4, { id: null }), NullKeyError, { column: 'id', row: 4 }],
]

describe('messages of wrong data', () => {
  it.each(WRONG_ROWS)('%s', async (message, rows, type, details) => {
    const store = await fresh()
    const before = store.lsn
    const forms: (() => unknown)[] = [
      () => store.append(flights, rows as never),
      () => store.upsert(flights, rows as never),
      () => store.replace(flights, rows as never),
      () => store.append(flights, (rows as object[])[Symbol.iterator]() as never),
      () => store.append(flights, asStream(rows) as never),
      () => store.transact((tx) => tx.append(flights, rows as never)),
      () => store.transact((tx) => tx.replace(flights, rows as never)),
    ]
    for (const form of forms) {
      const error = await failure(form)
      expect(error).toBeInstanceOf(type)
      expect(error.message).toBe(message)
      expect(error).toMatchObject({ table: 'flights', kind: 'invalid', details: { table: 'flights', ...details } })
      expect(error['retryable']).toBe(false)
      expect(error['hint']).toMatch(/^[A-Z].*\.$/)
    }
    expect(store.lsn).toBe(before)
  })

  it('counts wrong rows up to 100 and names the first', async () => {
    const store = await fresh()
    const rows = Array.from({ length: 500 }, (_, i) => (i < 3 ? good(BigInt(i)) : { ...good(BigInt(i)), delay: 'late' }))
    const error = await failure(() => store.append(flights, rows as never))
    expect(error).toMatchObject({ row: 3, details: { total: 100 } })
    const few = await failure(() => store.append(flights, rows.slice(0, 10) as never))
    expect(few).toMatchObject({ row: 3, details: { total: 7 } })
  })

  it('flights columns: "delay" has 99 rows, "id" has 100', async () => {
    const store = await fresh()
    const error = await failure(() =>
      store.append(
        flights,
        columns({ id: new BigInt64Array(100), delay: new Int16Array(99), date: new Array(100).fill(0), origin: new Array(100).fill('x') }) as never,
      ),
    )
    expect(error).toBeInstanceOf(SchemaMismatchError)
    expect(error.message).toMatch(/^flights columns: "\w+" has \d+ rows, "\w+" has \d+$/)
    expect(error.message).toContain('"delay" has 99 rows')
  })

  it('flights.origin: Arrow float64 cannot become utf8', async () => {
    const store = await fresh()
    const date = vectorFromArray([new Date(0)], new TimestampMillisecond())
    const arrow = tableFromArrays({ id: BigInt64Array.of(1n), origin: Float64Array.of(1) }).assign(new Table({ date }))
    const error = await failure(() => store.append(flights, arrow as never))
    expect(error).toBeInstanceOf(SchemaMismatchError)
    expect(error.message).toBe('flights.origin: Arrow float64 cannot become utf8')
  })

  it('columns name the wrong cell as rows do', async () => {
    const store = await fresh()
    const base = { id: [1n, 2n], date: [0, 0], origin: ['a', 'b'] }
    for (const [wrong, message] of [
      [{ ...base, delay: [1, 'late'] }, 'flights.delay row 1: expected int16 or null, got string "late"'],
      [{ ...base, delay: [1, 40_000] }, 'flights.delay row 1: 40000 is outside int16 (-32768..32767)'],
      [{ ...base, delay: Int32Array.of(1, 40_000) }, 'flights.delay row 1: 40000 is outside int16 (-32768..32767)'],
      [{ id: [1n, null], date: [0, 0], origin: ['a', 'b'] }, 'flights.id row 1: a key cannot be null'],
    ] as const) {
      expect((await failure(() => store.append(flights, columns(wrong) as never))).message).toBe(message)
      expect((await failure(() => store.transact((tx) => tx.append(flights, columns(wrong) as never)))).message).toBe(message)
    }
    const unknown = await failure(() => store.append(flights, columns({ ...base, dely: [1, 2] }) as never))
    expect(unknown.message).toMatch(/no column "dely"; did you mean "delay"\?$/)
    const missing = await failure(() => store.append(flights, columns({ id: [1n], date: [0] }) as never))
    expect(missing.message).toMatch(/^flights\.origin.*missing, and the column has no default$/)
  })

  it('flights rows 2 and 7: key { id: 42n } twice in one append; upsert keeps the last', async () => {
    const store = await fresh()
    const rows = Array.from({ length: 8 }, (_, i) => good(i === 2 || i === 7 ? 42n : BigInt(i)))
    for (const form of [() => store.append(flights, rows), () => store.transact((tx) => tx.append(flights, rows))]) {
      const error = await failure(form)
      expect(error).toBeInstanceOf(DuplicateKeyError)
      expect(error.message).toBe('flights rows 2 and 7: key { id: 42n } twice in one append; upsert keeps the last')
      expect(error).toMatchObject({ table: 'flights', columns: ['id'], values: { id: 42n }, rows: [2, 7], code: 'write.duplicate-key' })
    }
  })

  it('flights row 0: key { id: 42n } exists since LSN n', async () => {
    const store = await fresh()
    const { lsn } = await store.append(flights, good(42n))
    for (const form of [() => store.append(flights, good(42n)), () => store.transact((tx) => tx.append(flights, good(42n)))]) {
      const error = await failure(form)
      expect(error).toBeInstanceOf(DuplicateKeyError)
      expect(error.message).toBe(`flights row 0: key { id: 42n } exists since LSN ${lsn}`)
      expect(error).toMatchObject({ table: 'flights', columns: ['id'], values: { id: 42n }, rows: [0] })
    }
    await store.append(flights, good(1n))
    const third = await failure(() => store.transact((tx) => tx.append(flights, [good(7n), good(8n), good(42n)])))
    expect(third.message).toBe(`flights row 2: key { id: 42n } exists since LSN ${lsn}`)
  })

  it.each([
    ['null', null],
    ['a number', 5],
    ['a string', 'rows'],
    ['undefined', undefined],
    ['an array of numbers', [1, 2]],
    ['an array of arrays', [[1]]],
    ['a function', () => []],
    ['a Date', new Date(0)],
    ['a typed array', Float64Array.of(1)],
  ])('data that is %s is SchemaMismatchError', async (_what, data) => {
    const store = await fresh()
    const before = store.lsn
    for (const call of [
      () => store.append(flights, data as never),
      () => store.upsert(flights, data as never),
      () => store.replace(flights, data as never),
      () => store.transact((tx) => tx.append(flights, data as never)),
    ]) {
      expect(await failure(call)).toMatchObject({ code: 'table.schema-mismatch', table: 'flights' })
    }
    expect(store.lsn).toBe(before)
  })

  it('a date with more precision than unit "s" holds is refused, not rounded', async () => {
    const store = await opened('memory:')
    const seconds = table('seconds', { at: t.timestamp('s') })
    await store.create(seconds)
    await store.append(seconds, [{ at: new Date(5000) }, { at: 7 }])
    expect(await store.scan(seconds).toArray()).toEqual([{ at: new Date(5000) }, { at: new Date(7000) }])
    expect(await failure(() => store.append(seconds, { at: new Date(5001) }))).toBeInstanceOf(SchemaMismatchError)
  })

  it.each([
    ['undefined', undefined],
    ['a function', { f: () => 1 }],
    ['a bigint', { n: 1n }],
    ['NaN', { n: NaN }],
    ['a cycle', cycle()],
  ])('json that JSON.stringify would drop or change is refused: %s', async (_what, data) => {
    const store = await opened('memory:')
    const docs = table('docs', { data: t.json() })
    await store.create(docs)
    expect(await failure(() => store.append(docs, { data }))).toBeInstanceOf(SchemaMismatchError)
    expect(await store.scan(docs).count()).toBe(0)
  })
})

describe('definitions', () => {
  it('wrong names are InvalidNameError with the name', () => {
    for (const name of ['', '1a', 'a b', 'ä', 'a'.repeat(129), '-']) {
      expect(() => table(name, { a: t.int8() })).toThrow(InvalidNameError)
    }
    for (const name of ['', 'a\n', 'a desc', 'b asc', 'ä'.repeat(128)]) {
      expect(() => table('ok', { [name]: t.int8() })).toThrow(InvalidNameError)
    }
    expect(table('A_1.x-y', { 'ä column': t.int8() }).name).toBe('A_1.x-y')
  })

  it('a list, struct, vector or json as key is UnkeyableTypeError', () => {
    for (const column of [t.list(t.int8()), t.struct({ a: t.int8() }), t.vector(2), t.json()]) {
      expect(() => table('bad', { a: column }, { key: ['a'] as never })).toThrow(UnkeyableTypeError)
    }
  })

  it('types out of range are UnsupportedTypeError', () => {
    expect(() => table('bad', { a: t.decimal128(39, 2) })).toThrow(UnsupportedTypeError)
    expect(() => table('bad', { a: t.decimal128(5, 6) })).toThrow(UnsupportedTypeError)
    expect(() => table('bad', { a: t.fixedSizeBinary(0) })).toThrow(UnsupportedTypeError)
    expect(() => table('bad', { a: t.vector(0) })).toThrow(UnsupportedTypeError)
  })
})

it('every error says what to do, and is JSON', async () => {
  const store = await fresh()
  await store.append(flights, good(42n))
  const error = await failure(() => store.append(flights, good(42n)))
  expect(error).toBeInstanceOf(VarveError)
  expect(JSON.parse(JSON.stringify(error))).toMatchObject({
    name: 'DuplicateKeyError',
    code: 'write.duplicate-key',
    kind: 'invalid',
    hint: expect.stringMatching(/\.$/),
    details: { table: 'flights', values: { id: '42' } },
  })
})

function cycle(): object {
  const a: Record<string, unknown> = {}
  a['self'] = a
  return a
}

async function* asStream(rows: readonly object[]): AsyncGenerator<object> {
  yield* rows
}
