// Declared indexes on stores: built by optimize, used by scans and deletes, told by explain and stats; damaged ones cost nothing but time.
import { describe, expect, it } from 'vitest'

import { and, between, columns, eq, gt, gte, isNull, lt, not, oneOf, or, type Predicate, startsWith, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import type { Explain } from '../../../bindings/table/index.ts'

const flights = table(
  'flights',
  { id: t.int64(), date: t.timestamp('ms'), origin: t.utf8().dictionary(), delay: t.int16().nullable() },
  { key: ['id'], index: ['origin', ['origin', 'date'], 'delay'] },
)
type Flight = typeof flights.Row

/** Every append becomes a fragment of its own, large enough for an index to pay. */
const STAGED = { threads: 0, upkeep: 'manual', inlineLimitBytes: 0 } as const
const ROWS = 20_000
const AIRPORTS = Array.from({ length: 100 }, (_, i) => `A${String(i).padStart(2, '0')}`)

const flight = (i: number): Flight => ({
  id: BigInt(i),
  date: new Date(86_400_000 * (Math.floor(i / 100) % 50)),
  origin: AIRPORTS[(i * 37) % 100]!,
  delay: i % 211 === 0 ? null : (i * 53) % 500,
})
const some = (from: number, to: number): Flight[] => Array.from({ length: to - from }, (_, i) => flight(from + i))

async function opened(root = new MemoryRoot(), rows = ROWS): Promise<Store> {
  const store = await Store.open(root, STAGED)
  await store.create(flights)
  if (rows > 0) await store.append(flights, some(0, rows))
  return store
}

const pruned = ({ pruned: list }: Explain): Record<string, number> => Object.fromEntries(list.map(({ by, fragments }) => [by, fragments]))

describe('declared indexes', () => {
  it('are built by optimize, after which coverage is whole; rows that come later lower it, and a scan finds them all the same', async () => {
    const store = await opened()
    const coverage = async (): Promise<Record<string, number>> =>
      Object.fromEntries(Object.entries((await store.stats()).tables['flights']!.coverage).map(([name, { share }]) => [name, share]))
    expect(await coverage()).toEqual({ id: 1, origin: 0, 'origin, date': 0, delay: 0 })
    await store.optimize()
    expect(await coverage()).toEqual({ id: 1, origin: 1, 'origin, date': 1, delay: 1 })
    await store.append(flights, some(ROWS, 2 * ROWS))
    expect(await coverage()).toEqual({ id: 1, origin: 0.5, 'origin, date': 0.5, delay: 0.5 })
    expect(await store.scan(flights, { where: eq('origin', 'A07') }).count()).toBe((2 * ROWS) / 100)
    const report = await store.optimize()
    expect(report.tables['flights']).toMatchObject({ coverageAfter: 1 })
    expect(await coverage()).toEqual({ id: 1, origin: 1, 'origin, date': 1, delay: 1 })
    expect((await store.optimize()).lsn).toBeUndefined()
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await store.close()
  })

  it('are shown by tables(), and a table made from the stored definition has them', async () => {
    const store = await opened(undefined, 0)
    expect((await store.tables())[0]).toMatchObject({ key: ['id'], index: [['origin'], ['origin', 'date'], ['delay']] })
    await store.close()
  })

  it('give every scan the rows that reading all gives', async () => {
    const store = await opened()
    const all = some(0, ROWS)
    await store.optimize()
    const day = (n: number): Date => new Date(86_400_000 * n)
    const cases: readonly [string, Parameters<typeof flights.where>[0], (row: Flight) => boolean][] = [
      ['equality', eq('origin', 'A42'), ({ origin }) => origin === 'A42'],
      ['equality of two columns', and(eq('origin', 'A42'), eq('date', day(6))), ({ origin, date }) => origin === 'A42' && +date === +day(6)],
      [
        'equality and range',
        and(eq('origin', 'A42'), between('date', day(5), day(9))),
        ({ origin, date }) => origin === 'A42' && date >= day(5) && date <= day(9),
      ],
      ['a list', oneOf('origin', ['A01', 'A99', 'none']), ({ origin }) => ['A01', 'A99'].includes(origin)],
      ['a prefix', startsWith('origin', 'A42'), ({ origin }) => origin.startsWith('A42')],
      ['a range', and(gte('delay', 490), lt('delay', 495)), ({ delay }) => delay !== null && delay >= 490 && delay < 495],
      ['null', isNull('delay'), ({ delay }) => delay === null],
      ['an index and more', and(eq('origin', 'A42'), gt('delay', 250)), ({ origin, delay }) => origin === 'A42' && delay !== null && delay > 250],
      ['either', or(eq('origin', 'A42'), eq('origin', 'A43')), ({ origin }) => origin === 'A42' || origin === 'A43'],
      ['a negation beside an index', and(eq('origin', 'A42'), not(eq('date', day(6)))), ({ origin, date }) => origin === 'A42' && +date !== +day(6)],
      ['nothing', and(eq('origin', 'A42'), eq('origin', 'A43')), () => false],
      ['keys', oneOf('id', [5n, 19_999n, 70_000n]), ({ id }) => id === 5n || id === 19_999n],
    ]
    for (const [what, where, test] of cases) {
      const wanted = all.filter(test)
      const scan = store.scan(flights, { where })
      expect(await scan.toArray(), what).toEqual(wanted)
      expect(await scan.count(), what).toBe(wanted.length)
      expect((await scan.explain()).index, what).toBeDefined()
      const top = store.scan(flights, { where, orderBy: ['delay desc', 'id'], limit: 5 })
      expect(await top.toArray(), what).toEqual(wanted.toSorted((a, b) => (b.delay ?? -1) - (a.delay ?? -1) || Number(a.id - b.id)).slice(0, 5))
      const { sum } = await scan.aggregate({ sum: { sum: 'delay' } })
      expect(Number(sum ?? 0), what).toBe(wanted.reduce((total, row) => total + (row.delay ?? 0), 0))
    }
    await store.close()
  })

  it('serve older snapshots, hidden rows and rows of transactions', async () => {
    const store = await opened()
    await store.optimize()
    const where = eq<typeof flights.Filter, 'origin'>('origin', 'A42')
    const before = await store.scan(flights, { where }).toArray()
    const snapshot = await store.snapshot()
    const gone = before.slice(0, 10).map(({ id }) => id)
    await store.delete(flights, gone)
    await store.upsert(flights, [{ ...before[20]!, origin: 'A43' }])
    const after = await store.scan(flights, { where }).toArray()
    expect(after).toEqual(before.filter(({ id }, i) => !gone.includes(id) && i !== 20))
    expect(await snapshot.scan(flights, { where }).toArray()).toEqual(before)
    await store.transact(async (tx) => {
      await tx.delete(flights, [after[0]!.id])
      tx.append(flights, [{ ...flight(90_000), origin: 'A42' }])
      expect((await tx.scan(flights, { where }).toArray()).map(({ id }) => id)).toEqual([...after.slice(1).map(({ id }) => id), 90_000n])
    })
    await snapshot[Symbol.asyncDispose]()
    await store.close()
  })

  it('lead to the first rows of an order, past rows that are hidden', async () => {
    const store = await opened()
    await store.optimize()
    await store.deleteWhere(flights, and(gte('delay', 495), eq('origin', 'A42')))
    const left = some(0, ROWS).filter(({ delay, origin }) => !(delay !== null && delay >= 495 && origin === 'A42'))
    const scan = (o: object): ReturnType<typeof store.scan<typeof flights>> => store.scan(flights, { limit: 7, ...o })
    const top = scan({ orderBy: ['delay desc', 'id'] })
    const byDelay = left.toSorted((x, y) => (y.delay ?? -1) - (x.delay ?? -1) || Number(x.id - y.id))
    expect(await top.toArray()).toEqual(byDelay.slice(0, 7))
    expect(await top.explain()).toMatchObject({ index: 'delay', coverage: 1 })
    expect(await store.scan(flights, { orderBy: ['delay desc', 'id'] }).first()).toEqual(byDelay[0])
    const byOrigin = left.toSorted((x, y) => (x.origin < y.origin ? -1 : x.origin > y.origin ? 1 : +x.date - +y.date || Number(x.id - y.id)))
    expect(await scan({ orderBy: ['origin', 'date', 'id'] }).toArray()).toEqual(byOrigin.slice(0, 7))
    expect(await scan({ orderBy: ['origin', 'date', 'id'], limit: 25_000 }).toArray()).toEqual(byOrigin)
    expect((await scan({ orderBy: ['id'] }).explain()).index).toBeUndefined()
    await store.close()
  })

  it('are used by deletes by predicate', async () => {
    const root = new MemoryRoot()
    const store = await opened(root)
    await store.optimize()
    const { rows } = await store.deleteWhere(flights, and(eq('origin', 'A42'), lt('delay', 250)))
    expect(rows).toBe(some(0, ROWS).filter(({ origin, delay }) => origin === 'A42' && delay !== null && delay < 250).length)
    expect(await store.scan(flights, { where: and(eq('origin', 'A42'), lt('delay', 250)) }).count()).toBe(0)
    expect(await store.scan(flights, { where: eq('origin', 'A42') }).count()).toBe(ROWS / 100 - rows)
    await store.close()
  })
})

describe('explain', () => {
  it('names the index, what it covers and what is left to scan', async () => {
    const store = await opened()
    const scan = (): ReturnType<typeof store.scan<typeof flights, 'id'>> =>
      store.scan(flights, { select: ['id'], where: and(eq('origin', 'A42'), eq('date', new Date(86_400_000 * 6))) })
    const without = await scan().explain()
    expect(without).toMatchObject({ fragments: 1, coverage: 0, pruned: [] })
    expect(without.index).toBeUndefined()
    await store.optimize()
    const cold = await scan().explain()
    expect(cold).toMatchObject({ fragments: 1, index: 'origin, date', coverage: 1 })
    expect(await scan().count()).toBe(4)
    const warm = await scan().explain()
    expect(warm).toMatchObject({ fragments: 1, index: 'origin, date', coverage: 1 })
    expect(warm.bytes).toBeLessThan(without.bytes)
    await store.append(flights, some(ROWS, 2 * ROWS))
    const half = await scan().explain()
    expect(half).toMatchObject({ fragments: 2, index: 'origin, date', coverage: 0.5 })
    expect(half.text).toContain('  uses the index origin, date, which covers 50 % of the rows; scans 1 fragment without it\n')
    await store.close()
  })

  it('prunes by statistics, by the filter of a key and by an index that is in memory', async () => {
    const store = await opened()
    await store.optimize()
    // Ids that are not there, between the bounds of those that are: even rows go.
    await store.deleteWhere(flights, eq('origin', 'A41'))
    const nowhere = store.scan(flights, { where: eq('origin', 'A42x') })
    expect(pruned(await nowhere.explain())).toEqual({})
    expect(await nowhere.count()).toBe(0)
    const known = await nowhere.explain()
    expect(known.fragments + (pruned(known)['index'] ?? 0)).toBe(1)
    expect(pruned(await store.scan(flights, { where: eq('origin', 'Z') }).explain())).toEqual({ statistics: 1 })
    expect(await store.scan(flights, { where: eq('id', 1_000_000n) }).explain()).toMatchObject({ fragments: 0, pruned: [{ fragments: 1, by: 'statistics' }] })
    await store.close()
  })

  it('reads nothing', async () => {
    const root = new MemoryRoot()
    const first = await opened(root)
    await first.optimize()
    await first.close()
    const store = await Store.open(root, STAGED)
    let reads = 0
    const { get } = root
    root.get = (...args: Parameters<typeof get>) => {
      reads++
      return get.apply(root, args)
    }
    await store.scan(flights, { where: eq('origin', 'A42') }).explain()
    expect(reads).toBe(0)
    await store.scan(flights, { where: eq('origin', 'A42') }).count()
    expect(reads).toBeGreaterThan(0)
    await store.close()
  })
})

describe('an index file that is not what it was', () => {
  const damages: readonly [string, (root: MemoryRoot, name: string) => Promise<unknown>][] = [
    ['gone', (root, name) => root.delete(name)],
    ['empty', (root, name) => root.put(name, new Uint8Array(0))],
    ['cut short', async (root, name) => root.put(name, (await root.get(name)).bytes.slice(0, 1000))],
    ['of another format', (root, name) => root.put(name, new Uint8Array(40_000).fill(7))],
    ['flipped in its head', async (root, name) => root.put(name, flipped((await root.get(name)).bytes, 100))],
    ['flipped in every block', async (root, name) => root.put(name, flipped((await root.get(name)).bytes, 4000, 50))],
  ]
  function flipped(bytes: Uint8Array, from: number, step = bytes.length): Uint8Array {
    const out = bytes.slice()
    for (let at = from; at < out.length; at += step) out[at]! ^= 16
    return out
  }

  it.each(damages)('%s: the fragment is scanned, it is told, and the next optimize builds it again', async (_, damage) => {
    const root = new MemoryRoot()
    const first = await opened(root)
    await first.optimize()
    await first.close()
    for await (const { name } of root.list('indexes/')) await damage(root, name)

    const told: string[] = []
    const store = await Store.open(root, { ...STAGED, world: { logger: { log: ({ code }: { code: string }) => void told.push(code) } } })
    const scan = store.scan(flights, { where: eq('origin', 'A42') })
    const wanted = some(0, ROWS).filter(({ origin }) => origin === 'A42')
    expect(await scan.toArray()).toEqual(wanted)
    expect(await scan.toArray()).toEqual(wanted)
    expect(told.filter((code) => code === 'index.damaged').length).toBeGreaterThan(0)
    expect(await store.get(flights, 77n)).toEqual(flight(77))
    const before = told.length
    await store.optimize()
    expect(await scan.toArray()).toEqual(wanted)
    const again = store.scan(flights, { where: eq('origin', 'A42') })
    expect(await again.toArray()).toEqual(wanted)
    expect(await again.explain()).toMatchObject({ index: expect.stringMatching(/^origin/) })
    expect(told.slice(before).filter((code) => code === 'index.damaged')).toEqual([])
    await store.close()
  })
})

it('columns of every kind that has an order can be indexed, over a store', async () => {
  const every = table(
    'every',
    {
      n: t.int32(),
      bool: t.bool().nullable(),
      u64: t.uint64(),
      f32: t.float32().nullable(),
      f64: t.float64(),
      text: t.utf8().nullable(),
      blob: t.binary(),
      hash: t.fixedSizeBinary(4),
      uuid: t.uuid(),
      at: t.timestamp('ns').nullable(),
      day: t.date(),
      clock: t.time('us'),
      price: t.decimal128(30, 4).nullable(),
    },
    { index: ['bool', 'u64', 'f32', 'f64', 'text', 'blob', 'hash', 'uuid', 'at', 'day', 'clock', 'price'] },
  )
  const store = await Store.open(new MemoryRoot(), STAGED)
  await store.create(every)
  const value = (n: number): typeof every.Insert => ({
    n,
    bool: n % 97 === 0 ? true : n % 2 === 0 ? false : null,
    u64: 2n ** 63n + BigInt(n),
    f32: n % 5 === 0 ? Number.NaN : n % 7 === 0 ? null : -n / 4,
    f64: n === 40 ? -0 : n - 40,
    text: n % 3 === 0 ? null : `t\u0000${n % 200}`,
    blob: Uint8Array.of(n & 255, 0, n >> 8),
    hash: Uint8Array.of(0, n & 255, 0, n >> 8),
    uuid: `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
    at: n % 4 === 0 ? null : BigInt(n - 3000) * 10n ** 15n,
    day: new Date(86_400_000 * (n - 3000)).toISOString().slice(0, 10),
    clock: BigInt(n) * 1_000_000n,
    price: n % 6 === 0 ? null : `${n - 3000}.0025`,
  })
  const rows = Array.from({ length: 6000 }, (_, n) => value(n))
  await store.append(every, rows)
  await store.optimize()
  type Filter = typeof every.Filter
  const asked: readonly [Predicate<Filter>, number][] = [
    [eq('bool', true), 62],
    [eq('u64', 2n ** 63n + 5n), 1],
    [between('f32', -20, -10), rows.filter(({ f32 }) => f32! <= -10 && f32! >= -20).length],
    [eq('f64', 0), 1],
    [startsWith('text', 't\u0000199'), rows.filter(({ text }) => text?.startsWith('t\u0000199')).length],
    [eq('blob', Uint8Array.of(7, 0, 3)), 1],
    [eq('hash', Uint8Array.of(0, 7, 0, 3)), 1],
    [startsWith('uuid', '00000000-0000-4000-8000-00000000123'), 10],
    [lt('at', -2990n * 10n ** 15n), 7],
    [eq('day', value(17).day), 1],
    [gt('clock', 5_990_000_000n), 9],
    [between('price', '-3', 3), rows.filter(({ price }) => price !== null && Number(price) >= -3 && Number(price) <= 3).length],
  ]
  for (const [where, count] of asked) {
    const scan = store.scan(every, { where })
    const { index } = await scan.explain()
    expect([index, await scan.count()], JSON.stringify(where)).toEqual([(where as unknown as { column: string }).column, count])
  }
  await store.close()
})

it('a wide table of columns is loaded and indexed through threads as inline', async () => {
  const counted = async (threads: number): Promise<number> => {
    const store = await Store.open(new MemoryRoot(), { ...STAGED, threads })
    await store.create(flights)
    const n = 70_000
    const data = columns({
      id: BigInt64Array.from({ length: n }, (_, i) => BigInt(i)),
      date: BigInt64Array.from({ length: n }, (_, i) => BigInt(i)),
      origin: Array.from({ length: n }, (_, i) => AIRPORTS[i % 100]!),
      delay: Int16Array.from({ length: n }, (_, i) => i % 500),
    })
    await store.append(flights, data as never)
    await store.optimize()
    const found = await store.scan(flights, { where: eq('origin', 'A42') }).count()
    await store.close()
    return found
  }
  expect(await counted(1)).toBe(700)
  expect(await counted(0)).toBe(700)
})

describe('a definition that changes', () => {
  const before = table('events', { id: t.int32(), code: t.int16(), day: t.date(), kind: t.utf8() }, { key: ['id'] })
  const rowAt = (id: number): typeof before.Row => ({
    id,
    code: id % 700,
    day: new Date(86_400_000 * (id % 900)).toISOString().slice(0, 10),
    kind: `k${id % 600}`,
  })
  const rows = Array.from({ length: 6000 }, (_, id) => rowAt(id))
  const shareOf = async (store: Store, label: string): Promise<number | undefined> => (await store.stats()).tables['events']!.coverage[label]?.share

  it('gets an index for rows that are there by the next optimize, and goes without one that was dropped', async () => {
    const store = await Store.open(new MemoryRoot(), STAGED)
    await store.create(before)
    await store.append(before, rows)
    const added = table('events', before.columns, { key: ['id'], index: ['code', ['kind', 'code']] })
    expect((await store.apply([added])).steps.map(({ kind, column }) => [kind, column])).toEqual([
      ['addIndex', 'code'],
      ['addIndex', 'kind, code'],
    ])
    expect(await shareOf(store, 'code')).toBe(0)
    const scan = (): ReturnType<typeof store.scan<typeof added>> => store.scan(added, { where: eq('code', 77) })
    const wanted = rows.filter(({ code }) => code === 77)
    expect(await scan().toArray()).toEqual(wanted)
    await store.optimize()
    expect(await shareOf(store, 'kind, code')).toBe(1)
    expect(await scan().toArray()).toEqual(wanted)
    expect((await scan().explain()).index).toBe('code')
    await store.apply([table('events', before.columns, { key: ['id'], index: [['kind', 'code']] })])
    expect(await shareOf(store, 'code')).toBeUndefined()
    expect(await scan().toArray()).toEqual(wanted)
    expect((await scan().explain()).index).toBeUndefined()
    await store.close()
  })

  it('keeps an index over an integer that was widened and a column that was renamed; one over a date that became a timestamp is built again', async () => {
    const told: string[] = []
    const store = await Store.open(new MemoryRoot(), { ...STAGED, world: { logger: { log: ({ code }: { code: string }) => void told.push(code) } } })
    const first = table('events', before.columns, { key: ['id'], index: ['code', 'day', 'kind'] })
    await store.create(first)
    await store.append(first, rows)
    await store.optimize()
    const onDate = { where: eq<typeof first.Filter, 'day'>('day', rowAt(17).day), select: ['id'] } as const
    const onDay = rows.filter((_, i) => i % 900 === 17).map(({ id }) => id)
    expect((await store.scan(first, onDate).toArray()).map(({ id }) => id)).toEqual(onDay)
    await using snapshot = await store.snapshot()
    const later = table(
      'events',
      { id: t.int32(), code: t.int32(), day: t.timestamp('ms'), sort: t.utf8().renamedFrom('kind') },
      { key: ['id'], index: ['code', 'day', 'sort'] },
    )
    await store.apply([later])
    const wanted = rows.filter(({ code }) => code === 77).map(({ id }) => id)
    const ids = async (where: Predicate<typeof later.Filter>): Promise<number[]> =>
      (await store.scan(later, { where, select: ['id'] }).toArray()).map(({ id }) => id)
    expect(await ids(eq('code', 77))).toEqual(wanted)
    expect(await ids(eq('sort', 'k5'))).toEqual(rows.filter(({ kind }) => kind === 'k5').map(({ id }) => id))
    expect(told).not.toContain('index.damaged')
    const day = eq<typeof later.Filter, 'day'>('day', new Date(86_400_000 * 17))
    expect(await ids(day)).toEqual(onDay)
    expect((await snapshot.scan(first, onDate).toArray()).map(({ id }) => id)).toEqual(onDay)
    expect(told.filter((code) => code === 'index.damaged')).toHaveLength(1)
    await store.optimize()
    expect(await ids(day)).toEqual(onDay)
    expect((await store.scan(later, { where: day }).explain()).index).toBe('day')
    expect(told.filter((code) => code === 'index.damaged')).toHaveLength(1)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await store.close()
  })
})

it('branches share the indexes of the fragments they share', async () => {
  const store = await opened()
  await store.optimize()
  const dev = await store.branch('dev')
  const where = eq<typeof flights.Filter, 'origin'>('origin', 'A42')
  const before = await store.scan(flights, { where }).toArray()
  await dev.deleteWhere(flights, and(where, lt('delay', 250)))
  await dev.append(flights, [{ ...flight(90_000), origin: 'A42' }])
  await store.upsert(flights, [{ ...before[0]!, origin: 'A43' }])
  const here = (await dev.scan(flights, { where }).toArray()).map(({ id }) => id)
  expect(here).toEqual([...before.filter(({ delay }) => delay === null || delay >= 250).map(({ id }) => id), 90_000n])
  expect((await dev.scan(flights, { where }).explain()).index).toMatch(/^origin/)
  expect((await store.scan(flights, { where }).toArray()).map(({ id }) => id)).toEqual(before.slice(1).map(({ id }) => id))
  await store.close()
})

it('a damaged index is found by verify and built again by repair, byte for byte', async () => {
  const seats = table('seats', { id: t.int32(), row: t.int32(), holder: t.utf8() }, { key: ['id'], index: ['holder'] })
  const root = new MemoryRoot()
  const store = await Store.open(root, STAGED)
  await store.create(seats)
  await store.append(
    seats,
    Array.from({ length: 5000 }, (_, i) => ({ id: (i * 7) % 5000, row: i, holder: `h${i % 900}` })),
  )
  await store.optimize()
  const files = new Map<string, Uint8Array>()
  for await (const { name } of root.list('indexes/')) files.set(name, (await root.get(name)).bytes)
  // Of the key and of the declaration.
  expect(files.size).toBe(2)
  for (const [name, bytes] of files) {
    const damaged = bytes.slice()
    damaged[bytes.length >> 1]! ^= 1
    await root.put(name, damaged)
  }
  const { problems } = await store.verify({ level: 'all' })
  expect(problems.map(({ code, file }) => [code, file]).toSorted()).toEqual([...files.keys()].map((name) => ['index.corrupt', name]).toSorted())
  expect(await store.repair({ confirm: true })).toMatchObject({ actions: [...files].map(() => ({ kind: 'rebuild-index', done: true })) })
  for (const [name, bytes] of files) expect((await root.get(name)).bytes, name).toEqual(bytes)
  expect((await store.verify({ level: 'all' })).problems).toEqual([])
  await store.close()
})
