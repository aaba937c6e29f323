import { describe, expect, it } from 'vitest'

import {
  and,
  between,
  columns,
  eq,
  gt,
  gte,
  isNotNull,
  isNull,
  lt,
  ne,
  not,
  oneOf,
  or,
  ResourceLimitError,
  startsWith,
  type Store,
  t,
  table,
} from '../../../bindings/index.ts'
import { collect, failure, opened, PLACES } from '../store/places.ts'

const items = table(
  'items',
  {
    id: t.int32(),
    name: t.utf8().nullable(),
    n: t.float64().nullable(),
    big: t.int64().default(7n),
    on: t.bool().nullable(),
    day: t.date().default('2026-01-01'),
  },
  { key: ['id'] },
)
type Insert = typeof items.Insert
const rows: Insert[] = Array.from({ length: 200 }, (_, id) => ({
  id,
  name: id % 7 === 0 ? null : `name ${id % 5}`,
  n: id % 11 === 0 ? null : id % 13 === 0 ? NaN : id / 4,
  on: id % 3 === 0 ? null : id % 2 === 0,
}))

/** The same rows in every place that rows can be: a bulk fragment, a flushed one, memory, with some updated and some deleted in each. */
async function scattered(root: string): Promise<Store> {
  const store = await opened(root)
  await store.create(items)
  const part = rows.slice(0, 80)
  await store.append(
    items,
    columns({
      id: part.map(({ id }) => id),
      name: part.map(({ name }) => name ?? null),
      n: part.map(({ n }) => n ?? null),
      on: part.map(({ on }) => on ?? null),
    }) as never,
  )
  await store.flush()
  await store.append(
    items,
    rows.slice(80, 150).map((row) => ({ ...row, name: 'old' })),
  )
  await store.append(items, { id: 1000 })
  await store.flush()
  await store.upsert(items, rows.slice(80, 150))
  await store.append(items, [...rows.slice(150), { id: 1001 }])
  await store.delete(items, [1000, 1001])
  return store
}
const whole = (row: Insert) => ({ big: 7n, day: '2026-01-01', ...row })

describe.each(PLACES)('reading, %s', (_name, place) => {
  const PREDICATES: readonly (readonly [string, ReturnType<typeof items.where>, (row: Insert) => boolean])[] = [
    ['eq', items.where(eq('id', 5)), ({ id }) => id === 5],
    ['eq of the key outside every range', items.where(eq('id', -1)), () => false],
    ['ne, null', items.where(ne('name', 'name 1')), ({ name }) => name !== 'name 1'],
    ['gt, NaN and null', items.where(gt('n', 20)), ({ n }) => n != null && n > 20],
    ['gte', items.where(gte('id', 190)), ({ id }) => id >= 190],
    ['lt', items.where(lt('n', 5)), ({ n }) => n != null && n < 5],
    ['between', items.where(between('id', 70, 90)), ({ id }) => id >= 70 && id <= 90],
    ['oneOf', items.where(oneOf('name', ['name 1', 'name 3', 'absent'])), ({ name }) => name === 'name 1' || name === 'name 3'],
    ['oneOf nothing', items.where(oneOf('id', [])), () => false],
    ['startsWith', items.where(startsWith('name', 'name')), ({ name }) => name != null],
    ['isNull', items.where(isNull('on')), ({ on }) => on == null],
    ['isNotNull', items.where(isNotNull('n')), ({ n }) => n != null],
    ['bool', items.where(eq('on', true)), ({ on }) => on === true],
    ['bigint', items.where(eq('big', 7n)), () => true],
    ['date', items.where(lt('day', '2026-01-02')), () => true],
    ['and', items.where(and(gt('id', 10), lt('id', 150), eq('name', 'name 2'))), ({ id, name }) => id > 10 && id < 150 && name === 'name 2'],
    ['or', items.where(or(eq('id', 3), isNull('name'))), ({ id, name }) => id === 3 || name === null],
    ['and()', items.where(and()), () => true],
    ['or()', items.where(or()), () => false],
  ]

  it.each(PREDICATES)('%s: rows, counts and its opposite', async (_what, where, test) => {
    const store = await scattered(place())
    const expected = rows.filter(test).map(whole)
    expect(await store.scan(items, { where, orderBy: 'id' }).toArray()).toEqual(expected)
    expect(await store.scan(items, { where }).count()).toBe(expected.length)
    const rest = await store.scan(items, { where: not(where) }).count()
    expect(expected.length + rest).toBe(rows.length)
    expect(await store.scan(items, { where }).aggregate({ n: 'count' })).toEqual({ n: expected.length })
  })

  it('order: NaN after numbers, nulls last, in both directions', async () => {
    const store = await scattered(place())
    const finite = rows.filter(({ n }) => n != null && !Number.isNaN(n)).length
    const nans = rows.filter(({ n }) => Number.isNaN(n)).length
    for (const direction of ['asc', 'desc'] as const) {
      const values = (await store.scan(items, { orderBy: [`n ${direction}`, 'id'], select: ['n'] }).toArray()).map(({ n }) => n)
      const numbers = values.slice(0, finite) as number[]
      expect(numbers).toEqual(numbers.toSorted((a, b) => (direction === 'asc' ? a - b : b - a)))
      expect(values.slice(finite, finite + nans).every(Number.isNaN)).toBe(true)
      expect(values.slice(finite + nans).every((value) => value === null)).toBe(true)
    }
  })

  it('limit, first, batchRows, select', async () => {
    const store = await scattered(place())
    expect(await store.scan(items, { limit: 0 }).toArray()).toEqual([])
    expect((await store.scan(items, { limit: 7 }).toArray()).length).toBe(7)
    expect(await store.scan(items, { limit: 7 }).count()).toBe(7)
    expect(await store.scan(items, { orderBy: 'id desc', limit: 3, select: ['id'] }).toArray()).toEqual([{ id: 199 }, { id: 198 }, { id: 197 }])
    expect((await store.scan(items, { orderBy: 'id desc' }).first())?.id).toBe(199)
    expect(await store.scan(items, { where: eq('id', -5) }).first()).toBeUndefined()
    for await (const batch of store.scan(items, { batchRows: 16, select: ['on', 'id'] })) {
      expect(batch.numRows).toBeLessThanOrEqual(16)
      expect(batch.numCols).toBe(2)
    }
    expect(Object.keys((await store.scan(items, { select: ['on', 'id'] }).first())!)).toEqual(['on', 'id'])
  })

  it.each([
    ['an unknown column in select', { select: ['nope'] }, 'table.schema-mismatch'],
    ['an unknown column in orderBy', { orderBy: 'nope desc' }, 'table.schema-mismatch'],
    ['an unknown column in where', { where: eq('nope' as never, 1 as never) }, 'table.schema-mismatch'],
    ['a wrong value in where', { where: eq('id' as never, 'one' as never) }, 'table.schema-mismatch'],
    ['a negative limit', { limit: -1 }, 'options.invalid'],
    ['a fraction as limit', { limit: 1.5 }, 'options.invalid'],
    ['batchRows of 0', { batchRows: 0 }, 'options.invalid'],
  ])('refuses %s', async (_what, options, code) => {
    const store = await scattered(place())
    const error = await failure(() => store.scan(items, options as never).toArray())
    expect(error).toMatchObject({ code })
  })

  it('a NaN in a predicate is RangeError', async () => {
    expect(() => eq('n' as never, NaN as never)).toThrow(RangeError)
    expect(() => between('n' as never, 1 as never, NaN as never)).toThrow(RangeError)
    expect(() => oneOf('n' as never, [1, NaN] as never)).toThrow(RangeError)
  })

  it('aggregates: of no rows, nulls skipped, exact bigint sums, beyond int64 RangeError', async () => {
    const store = await scattered(place())
    const none = { where: items.where(eq('id', -1)) }
    expect(
      await store.scan(items, none).aggregate({
        n: 'count',
        a: { sum: 'n' },
        b: { sum: 'big' },
        c: { avg: 'n' },
        d: { min: 'name' },
        e: { max: 'big' },
        f: { distinct: 'name' },
        g: { count: 'name' },
      }),
    ).toEqual({ n: 0, a: 0, b: 0n, c: null, d: null, e: null, f: 0, g: 0 })
    const told = await store
      .scan(items)
      .aggregate({ n: 'count', named: { count: 'name' }, names: { distinct: 'name' }, sum: { sum: 'big' }, least: { min: 'id' }, most: { max: 'name' } })
    expect(told).toEqual({ n: 200, named: rows.filter(({ name }) => name != null).length, names: 5, sum: 1400n, least: 0, most: 'name 4' })
    await store.update(items, [
      { id: 1, big: 2n ** 63n - 1n },
      { id: 2, big: -(2n ** 62n) },
    ])
    expect(await store.scan(items).aggregate({ sum: { sum: 'big' } })).toEqual({ sum: 2n ** 63n - 1n - 2n ** 62n + 198n * 7n })
    await store.update(items, { id: 2, big: 2n ** 62n })
    expect(await failure(() => store.scan(items).aggregate({ sum: { sum: 'big' } }))).toBeInstanceOf(RangeError)
    const grouped = await store.scan(items).aggregate({ n: 'count', top: { max: 'id' } }, { by: ['on', 'name'] })
    expect(grouped.reduce((sum, { n }) => sum + n, 0)).toBe(200)
    expect(grouped.find(({ on, name }) => on === null && name === null)).toMatchObject({ n: rows.filter((row) => row.on == null && row.name == null).length })
  })

  it('orderBy alone above memory.sortBytes is ResourceLimitError; with a limit it is not', async () => {
    const store = await opened(place(), { memory: { sortBytes: 10_000 } })
    await store.create(items)
    await store.append(items, columns({ id: Int32Array.from({ length: 20_000 }, (_, i) => i) }) as never)
    const error = await failure(() => store.scan(items, { orderBy: 'id desc' }).toArray())
    expect(error).toBeInstanceOf(ResourceLimitError)
    expect(error).toMatchObject({ code: 'options.limit', limit: 'memory.sortBytes' })
    expect((await store.scan(items, { orderBy: 'id desc', limit: 2 }).toArray()).map(({ id }) => id)).toEqual([19_999, 19_998])
  })

  it('getMany keeps the order asked, repeats included; has and get agree', async () => {
    const store = await scattered(place())
    const keys = [199, 0, 5, 5, 1000, 82, -3]
    const found = await store.getMany(items, keys)
    expect(found).toEqual(keys.map((id) => (rows[id] === undefined ? undefined : whole(rows[id]))))
    expect(await store.getMany(items, new Set(keys).values())).toHaveLength(6)
    for (const id of keys) expect(await store.has(items, id)).toBe((await store.get(items, id)) !== undefined)
    expect(await store.getMany(items, [])).toEqual([])
  })

  it('explain says what a scan would read, and reads no data', async () => {
    const store = await scattered(place())
    const explained = await store.scan(items, { where: eq('id', 20) }).explain()
    expect(explained).toMatchObject({ lsn: store.lsn })
    expect(explained.coverage).toBeGreaterThanOrEqual(0)
    expect(explained.coverage).toBeLessThanOrEqual(1)
    expect(explained.fragments + explained.pruned.reduce((sum, { fragments }) => sum + fragments, 0)).toBeGreaterThanOrEqual(1)
    expect(explained.memoryRows).toBeGreaterThan(0)
    expect(explained.text).toContain('items')
    expect(JSON.parse(JSON.stringify(explained, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)))).toBeTypeOf('object')
  })

  it('every terminal method sees the same rows', async () => {
    const store = await scattered(place())
    const scan = store.scan(items, { where: gt('id', 50), orderBy: 'id' })
    const array = await scan.toArray()
    expect(array).toEqual(rows.slice(51).map(whole))
    expect(await collect(scan.rows())).toEqual(array)
    expect(await scan.count()).toBe(array.length)
    expect(await scan.first()).toEqual(array[0])
    expect((await scan.toArrow()).numRows).toBe(array.length)
    const cols = await scan.toColumns()
    expect([...cols.id]).toEqual(array.map(({ id }) => id))
    expect(cols.id).toBeInstanceOf(Int32Array)
    expect(cols.big).toBeInstanceOf(BigInt64Array)
    expect(cols.name).toEqual(array.map(({ name }) => name))
    let n = 0
    for await (const batch of scan) n += batch.numRows
    expect(n).toBe(array.length)
  })
})
