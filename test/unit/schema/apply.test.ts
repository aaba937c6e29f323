// store.apply: what each step does to what is there, in memory, in fragments, after a reopen, at older positions, and for programs of before.
import { afterEach, describe, expect, it } from 'vitest'

import {
  type AnyTable,
  type Column,
  type Commit,
  columns,
  ConflictError,
  DataLossRefusedError,
  DuplicateKeyError,
  eq,
  gt,
  gte,
  InvalidConfigError,
  lt,
  type ReadStore,
  SchemaMismatchError,
  Store,
  t,
  table,
  TableNotFoundError,
  UnsupportedMigrationError,
} from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'

const QUIET = { upkeep: 'manual', threads: 0 } as const

const before = table('flights', { id: t.int32(), origin: t.utf8(), delay: t.int16().nullable() }, { key: ['id'] })
const after = table(
  'flights',
  { id: t.int32(), origin: t.utf8(), delay: t.int16().nullable(), note: t.utf8().nullable(), seats: t.int32().default(180) },
  { key: ['id'] },
)

const rows = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: from + i, origin: `o${(from + i) % 3}`, delay: i % 2 === 0 ? i : null }))

const stores: ReadStore[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

async function opened(at: MemoryRoot, o: object = {}): Promise<Store> {
  const store = await Store.open(at, { ...QUIET, ...o })
  stores.push(store)
  return store
}

/** A check after each way that rows may take: as they are, flushed, reopened, and folded from the log by a reader. */
async function everywhere(place: MemoryRoot, store: Store, check: (s: ReadStore) => Promise<void>): Promise<Store> {
  await check(store)
  const reader = await Store.open(place, { readOnly: true })
  await check(reader)
  await reader.close()
  await store.flush()
  await check(store)
  await store.close()
  const again = await opened(place)
  await check(again)
  return again
}

describe('adding a column', () => {
  it('gives rows of before its default or null: in memory, in fragments, after a flush and after a reopen', async () => {
    const place = new MemoryRoot()
    const store = await opened(place)
    await store.create(before)
    await store.append(before, rows(0, 5))
    await store.flush()
    await store.append(before, rows(5, 5))
    const then = store.lsn
    const plan = await store.apply([after])
    expect(plan).toEqual({
      steps: [
        { table: 'flights', kind: 'addColumn', column: 'note', rewrites: false, losesData: false },
        { table: 'flights', kind: 'addColumn', column: 'seats', rewrites: false, losesData: false },
      ],
      lsn: store.lsn,
    })
    await store.append(after, { id: 100, origin: 'x', delay: 1, note: 'n', seats: 7 })
    await store.append(before, { id: 101, origin: 'y', delay: 2 })
    await everywhere(place, store, async (s) => {
      const all = await s.scan(after).toArray()
      expect(all).toHaveLength(12)
      expect(all.filter((row) => row.id < 10).every((row) => row.note === null && row.seats === 180)).toBe(true)
      expect(await s.get(after, 3)).toEqual({ id: 3, origin: 'o0', delay: null, note: null, seats: 180 })
      expect(await s.get(after, 7)).toEqual({ id: 7, origin: 'o1', delay: 2, note: null, seats: 180 })
      expect(await s.get(after, 100)).toEqual({ id: 100, origin: 'x', delay: 1, note: 'n', seats: 7 })
      expect(await s.get(after, 101)).toEqual({ id: 101, origin: 'y', delay: 2, note: null, seats: 180 })
      expect(await s.get(before, 100)).toEqual({ id: 100, origin: 'x', delay: 1 })
      expect(await s.scan(after, { where: eq('seats', 180) }).count()).toBe(11)
      expect(await s.scan(after).aggregate({ seats: { sum: 'seats' }, most: { max: 'seats' } })).toEqual({ seats: 11 * 180 + 7, most: 180 })
      // A scan at an older position sees the columns of then.
      await expect(s.scan(after, { at: then }).toArray()).rejects.toThrow(SchemaMismatchError)
      expect(await s.scan(before, { at: then }).count()).toBe(10)
    })
  })

  it('a default that changes leaves rows as they read before', async () => {
    const place = new MemoryRoot()
    const store = await opened(place)
    const at = (value: number) => table('c', { id: t.int32(), n: t.int32().default(value) }, { key: ['id'] })
    await store.create(table('c', { id: t.int32() }, { key: ['id'] }))
    await store.append(table('c', { id: t.int32() }, { key: ['id'] }), [{ id: 1 }, { id: 2 }])
    await store.flush()
    await store.apply([at(5)])
    await store.append(at(5), { id: 3 })
    expect((await store.apply([at(6)])).steps.map(({ kind }) => kind)).toEqual(['setDefault'])
    await store.append(at(6), { id: 4 })
    await everywhere(place, store, async (s) => {
      expect((await s.scan(at(6), { orderBy: 'id' }).toArray()).map(({ n }) => n)).toEqual([5, 5, 5, 6])
    })
  })
})

describe('adding a table', () => {
  it('takes rows at once, and a second apply of the same definitions writes nothing', async () => {
    const store = await opened(new MemoryRoot())
    await store.create(before)
    const other = table('airports', { code: t.utf8(), lat: t.float64() }, { key: ['code'] })
    expect((await store.apply([before, other])).steps).toEqual([{ table: 'airports', kind: 'addTable', rewrites: false, losesData: false }])
    await store.append(other, { code: 'AMS', lat: 52.3 })
    const { lsn } = store
    expect(await store.apply([other, before])).toEqual({ steps: [] })
    expect(store.lsn).toBe(lsn)
    expect(await store.get(other, 'AMS')).toEqual({ code: 'AMS', lat: 52.3 })
  })

  it('a dry run says what would be done and does nothing', async () => {
    const store = await opened(new MemoryRoot())
    await store.create(before)
    const { lsn } = store
    expect((await store.apply([after], { dryRun: true })).steps).toHaveLength(2)
    expect(store.lsn).toBe(lsn)
    await expect(store.scan(after).count()).rejects.toThrow(SchemaMismatchError)
    await expect(store.apply([after], { dry: true } as object)).rejects.toThrow(InvalidConfigError)
  })
})

describe('widening', () => {
  const narrow = table(
    'wide',
    { id: t.int16(), a: t.int8(), b: t.uint16().nullable(), c: t.float32(), d: t.date(), e: t.utf8(), f: t.uint8().default(9) },
    { key: ['id'] },
  )
  const wide = table(
    'wide',
    { id: t.int64(), a: t.int64(), b: t.uint64().nullable(), c: t.float64(), d: t.timestamp('ms'), e: t.utf8().dictionary(), f: t.int32().default(9) },
    { key: ['id'] },
  )
  const row = (i: number) => ({
    id: i,
    a: (i % 120) - 5,
    b: i % 5 === 0 ? null : Math.abs(i) * 3,
    c: i / 2,
    d: `2026-01-${String((Math.abs(i) % 28) + 1).padStart(2, '0')}`,
    e: `e${Math.abs(i) % 4}`,
  })
  const read = (i: number) => ({
    id: BigInt(i),
    a: BigInt((i % 120) - 5),
    b: i % 5 === 0 ? null : BigInt(Math.abs(i) * 3),
    c: i / 2,
    d: new Date(`2026-01-${String((Math.abs(i) % 28) + 1).padStart(2, '0')}`),
    e: `e${Math.abs(i) % 4}`,
    f: 9,
  })

  it('casts on the way out: values, keys, bounds, predicates, aggregates and groups are those of the wide type', async () => {
    const place = new MemoryRoot()
    const store = await opened(place)
    await store.create(narrow)
    await store.append(
      narrow,
      Array.from({ length: 90 }, (_, i) => row(i - 30)),
    )
    await store.flush()
    await store.append(
      narrow,
      Array.from({ length: 40 }, (_, i) => row(60 + i)),
    )
    await store.apply([wide])
    const big = { id: 5_000_000_000n, a: 2n ** 40n, b: 2n ** 63n, c: 1e300, d: new Date('2026-06-01T12:30:00Z'), e: 'new', f: -1 }
    await store.append(wide, big)
    await store.upsert(wide, { ...read(7), e: 'seven' })
    await store.upsert(wide, { ...read(77), e: 'seven' })
    const ids = Array.from({ length: 130 }, (_, i) => i - 30)
    await everywhere(place, store, async (s) => {
      const all = await s.scan(wide, { orderBy: 'id' }).toArray()
      expect(all).toEqual([...ids.map((i) => (i === 7 || i === 77 ? { ...read(i), e: 'seven' } : read(i))), big])
      for (const id of [-30, 0, 42, 88, 99]) expect(await s.get(wide, BigInt(id))).toEqual(read(id))
      expect(await s.get(wide, 5_000_000_000n)).toEqual(big)
      expect(await s.get(wide, -31n)).toBeUndefined()
      expect(await s.scan(wide, { where: gte('id', 90n) }).count()).toBe(11)
      expect(await s.scan(wide, { where: lt('a', -4n) }).count()).toBe(ids.filter((i) => (i % 120) - 5 < -4).length)
      expect(await s.scan(wide, { where: gt('b', 2n ** 40n) }).count()).toBe(1)
      const day = new Date('2026-01-15')
      expect(await s.scan(wide, { where: eq('d', day) }).count()).toBe(ids.filter((i) => read(i).d.getTime() === day.getTime()).length)
      expect(await s.scan(wide, { where: gt('d', new Date('2026-01-28')) }).count()).toBe(1)
      const sums = await s
        .scan(wide, { where: lt('id', 1000n) })
        .aggregate({ a: { sum: 'a' }, first: { min: 'd' }, last: { max: 'd' }, most: { max: 'b' }, mean: { avg: 'c' } })
      expect(sums).toEqual({
        a: ids.reduce((sum, i) => sum + BigInt((i % 120) - 5), 0n),
        first: new Date('2026-01-01'),
        last: new Date('2026-01-28'),
        most: BigInt(Math.max(...ids.map((i) => (i % 5 === 0 ? 0 : Math.abs(i) * 3)))),
        mean: ids.reduce((sum, i) => sum + i / 2, 0) / ids.length,
      })
      const groups = await s.scan(wide).aggregate({ n: 'count' }, { by: ['e'] })
      expect(groups.reduce((sum, { n }) => sum + n, 0)).toBe(131)
      expect(groups.find(({ e }) => e === 'seven')).toEqual({ e: 'seven', n: 2 })
      expect((await s.scan(wide, { where: eq('a', -5n), select: ['f'] }).toArray()).every(({ f }) => f === 9)).toBe(true)
    })
  })

  it('keeps one row a key, whichever definition wrote it: appends meet the older rows, upserts and deletes replace them', async () => {
    const store = await opened(new MemoryRoot())
    await store.create(narrow)
    await store.append(narrow, [row(1), row(2), row(3)])
    await store.flush()
    await store.append(narrow, [row(4), row(5)])
    await store.apply([wide])
    await expect(store.append(wide, read(2))).rejects.toThrow('exists')
    await expect(store.append(wide, read(5))).rejects.toThrow('exists')
    await store.upsert(wide, columns({ id: [2n, 5n, 6n], a: [1n, 1n, 1n], b: [null, null, null], c: [0, 0, 0], d: [0, 0, 0], e: ['x', 'x', 'x'] }))
    await store.update(wide, [
      { id: 3n, e: 'u' },
      { id: 4n, e: 'u' },
    ])
    await store.delete(wide, [1n])
    expect((await store.scan(wide, { orderBy: 'id' }).toArray()).map(({ id, e }) => `${id}${e}`)).toEqual(['2x', '3u', '4u', '5x', '6x'])
    expect(await store.deleteWhere(wide, gte('d', new Date('2026-01-01')))).toMatchObject({ rows: 2 })
    await store.transact(async (tx) => {
      expect(await tx.get(wide, 6n)).toMatchObject({ e: 'x' })
      tx.upsert(wide, read(7))
    })
    expect(await store.scan(wide).count()).toBe(4)
    await expect(store.scan(narrow).count()).rejects.toThrow(SchemaMismatchError)
  })

  it('a unique column stays unique over rows of either type', async () => {
    const store = await opened(new MemoryRoot())
    const old = table('u', { id: t.int32(), n: t.int32() }, { key: ['id'], unique: [['n']] })
    const now = table('u', { id: t.int32(), n: t.int64() }, { key: ['id'], unique: [['n']] })
    await store.create(old)
    await store.append(old, { id: 1, n: 10 })
    await store.flush()
    await store.append(old, { id: 2, n: 20 })
    await store.apply([now])
    for (const n of [10n, 20n]) await expect(store.append(now, { id: 3, n })).rejects.toThrow(DuplicateKeyError)
    await store.append(now, { id: 3, n: 30n })
    await expect(store.append(now, { id: 4, n: 30n })).rejects.toThrow(DuplicateKeyError)
    await store.upsert(now, { id: 3, n: 31n })
    await store.append(now, { id: 4, n: 30n })
    expect(await store.scan(now).count()).toBe(4)
  })
})

describe('adding a unique constraint', () => {
  const loose = table('u', { id: t.int32(), mail: t.utf8().nullable(), city: t.utf8() }, { key: ['id'] })
  const strict = table('u', { id: t.int32(), mail: t.utf8().nullable(), city: t.utf8() }, { key: ['id'], unique: [['mail']] })

  it('is validated over the rows that are there, and enforced from then on, also after a reopen', async () => {
    const place = new MemoryRoot()
    const store = await opened(place)
    await store.create(loose)
    await store.append(loose, [
      { id: 1, mail: 'a', city: 'x' },
      { id: 2, mail: null, city: 'x' },
      { id: 3, mail: 'b', city: 'x' },
    ])
    await store.flush()
    await store.append(loose, [
      { id: 4, mail: 'a', city: 'x' },
      { id: 5, mail: null, city: 'x' },
    ])
    const { lsn } = store
    for (const o of [{}, { dryRun: true }]) await expect(store.apply([strict], o)).rejects.toThrow(DuplicateKeyError)
    expect(store.lsn).toBe(lsn)
    await store.delete(loose, [1])
    expect((await store.apply([strict])).steps).toEqual([{ table: 'u', kind: 'addUnique', column: 'mail', rewrites: false, losesData: false }])
    for (const mail of ['a', 'b']) await expect(store.append(strict, { id: 9, mail, city: 'y' })).rejects.toThrow(DuplicateKeyError)
    await store.append(loose, { id: 6, mail: 'c', city: 'y' })
    await expect(store.append(loose, { id: 7, mail: 'c', city: 'y' })).rejects.toThrow(DuplicateKeyError)
    const again = await everywhere(place, store, async (s) => expect(await s.scan(strict).count()).toBe(5))
    await expect(again.append(strict, { id: 9, mail: 'c', city: 'y' })).rejects.toThrow(DuplicateKeyError)
    expect((await again.apply([loose])).steps.map(({ kind }) => kind)).toEqual(['dropUnique'])
    await again.append(loose, { id: 9, mail: 'c', city: 'y' })
  })

  it('over a new column: null exempts the rows of before, a default is the same value in all of them', async () => {
    const store = await opened(new MemoryRoot())
    await store.create(loose)
    await store.append(loose, [
      { id: 1, mail: 'a', city: 'x' },
      { id: 2, mail: 'b', city: 'x' },
      { id: 3, mail: 'b', city: 'y' },
    ])
    const of = (extra: Column<any, any, any>, unique: readonly string[]): AnyTable =>
      table('u', { ...loose.columns, extra }, { key: ['id'], unique: [unique] } as never) as unknown as AnyTable
    await expect(store.apply([of(t.int32().default(1), ['extra'])])).rejects.toThrow(UnsupportedMigrationError)
    await expect(store.apply([of(t.int32().default(1), ['mail', 'extra'])])).rejects.toThrow(DuplicateKeyError)
    expect((await store.apply([of(t.int32().default(1), ['mail', 'city', 'extra'])], { dryRun: true })).steps).toHaveLength(2)
    expect((await store.apply([of(t.int32().nullable(), ['extra'])])).steps).toHaveLength(2)
  })
})

describe('a rename', () => {
  const renamed = table(
    'departures',
    { no: t.int32().renamedFrom('id'), origin: t.utf8(), delay: t.int16().nullable() },
    { key: ['no'], renamedFrom: 'flights' },
  )

  it('keeps data, history readable by old and new name at their LSNs', async () => {
    const place = new MemoryRoot()
    const store = await opened(place)
    await store.create(before)
    await store.append(before, rows(0, 4))
    await store.flush()
    await store.append(before, rows(4, 2))
    const then = store.lsn
    await using held = await store.snapshot()
    expect((await store.apply([renamed])).steps.map(({ table: name, kind, column }) => [name, kind, column])).toEqual([
      ['departures', 'renameTable', undefined],
      ['departures', 'renameColumn', 'no'],
    ])
    await store.append(renamed, { no: 9, origin: 'x', delay: 0 })
    expect(await held.scan(before).count()).toBe(6)
    const same = await everywhere(place, store, async (s) => {
      expect(await s.get(renamed, 5)).toEqual({ no: 5, origin: 'o2', delay: null })
      expect(await s.scan(renamed, { where: gt('no', 3) }).count()).toBe(3)
      await expect(s.get(before, 5)).rejects.toThrow(TableNotFoundError)
      expect(await s.get(before, 5, { at: then })).toEqual({ id: 5, origin: 'o2', delay: null })
      expect(await s.scan(before, { at: then }).count()).toBe(6)
      await expect(s.scan(renamed, { at: then }).toArray()).rejects.toThrow(TableNotFoundError)
      expect((await s.tables()).map(({ name, rows: count }) => [name, count])).toEqual([['departures', 7]])
      expect((await s.tables(then)).map(({ name }) => name)).toEqual(['flights'])
    })
    expect(await same.apply([renamed])).toEqual({ steps: [] })
  })

  it('frees the name: another table takes it in the same call', async () => {
    const place = new MemoryRoot()
    const store = await opened(place)
    await store.create(before)
    await store.append(before, rows(0, 3))
    const fresh = table('flights', { code: t.utf8() })
    expect((await store.apply([renamed, fresh])).steps.map(({ kind }) => kind)).toEqual(['renameTable', 'renameColumn', 'addTable'])
    await store.append(fresh, { code: 'KL1' })
    await everywhere(place, store, async (s) => {
      expect(await s.scan(fresh).toArray()).toEqual([{ code: 'KL1' }])
      expect(await s.scan(renamed).count()).toBe(3)
    })
  })
})

describe('dropping', () => {
  it('without allowDataLoss is refused, with every step that would lose data', async () => {
    const store = await opened(new MemoryRoot())
    await store.create(before)
    await store.append(before, rows(0, 3))
    const { lsn } = store
    const less = table('flights', { id: t.int32(), origin: t.utf8() }, { key: ['id'] })
    await expect(store.apply([less])).rejects.toThrow(DataLossRefusedError)
    await expect(store.apply([], { drop: ['flights'] })).rejects.toThrow(DataLossRefusedError)
    await expect(store.apply([less], { dryRun: true })).rejects.toThrow(DataLossRefusedError)
    expect(store.lsn).toBe(lsn)
    expect(await store.scan(before).count()).toBe(3)
  })

  it('a column: it is not read any more, and one of its name that comes later is another', async () => {
    const place = new MemoryRoot()
    const store = await opened(place)
    await store.create(before)
    await store.append(before, rows(0, 3))
    await store.flush()
    await store.append(before, rows(3, 3))
    const then = store.lsn
    const less = table('flights', { origin: t.utf8(), id: t.int32() }, { key: ['id'] })
    await store.apply([less], { allowDataLoss: true })
    await store.append(less, { id: 50, origin: 'z' })
    await expect(store.append(before, rows(60, 1))).rejects.toThrow(SchemaMismatchError)
    await store.apply([before])
    await everywhere(place, store, async (s) => {
      const all = await s.scan(before).toArray()
      expect(all).toHaveLength(7)
      expect(all.every(({ delay }) => delay === null)).toBe(true)
      expect((await s.scan(before, { at: then }).toArray()).some(({ delay }) => delay !== null)).toBe(true)
    })
  })

  it('a table: gone for readers from there on, there before, and made anew it is another one', async () => {
    const place = new MemoryRoot()
    const store = await opened(place)
    await store.create(before)
    await store.append(before, rows(0, 3))
    await store.flush()
    await store.append(before, rows(3, 1))
    const then = store.lsn
    await using held = await store.snapshot()
    expect((await store.apply([], { drop: ['flights', 'nothing'], allowDataLoss: true })).steps).toEqual([
      { table: 'flights', kind: 'dropTable', rewrites: false, losesData: true },
    ])
    await expect(store.append(before, rows(9, 1))).rejects.toThrow(TableNotFoundError)
    await expect(store.get(before, 1)).rejects.toThrow(TableNotFoundError)
    expect(await held.scan(before).count()).toBe(4)
    expect(await store.scan(before, { at: then }).count()).toBe(4)
    expect(await store.tables()).toEqual([])
    const told: string[] = []
    for await (const { kind, tables } of store.audit()) if (kind !== 'epoch') told.push(`${kind} ${tables.join()}`)
    expect(told.at(-1)).toBe('schema flights')
    expect(told.every((text) => text.endsWith(' flights'))).toBe(true)
    await store.create(before)
    await store.append(before, rows(1, 1))
    await everywhere(place, store, async (s) => {
      expect(await s.scan(before).toArray()).toEqual(rows(1, 1))
      expect(await s.scan(before, { at: then }).count()).toBe(4)
      expect((await s.verify({ level: 'all' })).problems).toEqual([])
    })
  })
})

describe('null', () => {
  const strict = table('flights', { id: t.int32(), origin: t.utf8(), delay: t.int16() }, { key: ['id'] })

  it('is forbidden once no live row has one, and allowed again at any time', async () => {
    const store = await opened(new MemoryRoot())
    await store.create(before)
    await store.append(before, rows(0, 4))
    await store.flush()
    await store.append(before, rows(10, 2))
    for (const o of [{}, { dryRun: true }]) {
      const error = await store.apply([strict], o).catch((cause: unknown) => cause)
      expect(error).toBeInstanceOf(UnsupportedMigrationError)
      expect((error as UnsupportedMigrationError).step).toEqual({ table: 'flights', kind: 'forbidNull', column: 'delay' })
    }
    await store.delete(before, [1, 3])
    await expect(store.apply([strict])).rejects.toThrow('forbidNull flights.delay')
    await store.delete(before, 11)
    await store.apply([strict])
    await expect(store.append(before, { id: 20, origin: 'o', delay: 1 })).rejects.toThrow(SchemaMismatchError)
    await store.append(strict, { id: 20, origin: 'o', delay: 1 })
    expect((await store.apply([before])).steps.map(({ kind }) => kind)).toEqual(['allowNull'])
    await store.append(before, { id: 21, origin: 'o', delay: null })
    expect(await store.scan(before).count()).toBe(5)
  })
})

describe('what is under way', () => {
  it('a transaction over a definition that changes runs again', async () => {
    const store = await opened(new MemoryRoot())
    await store.create(before)
    let runs = 0
    await store.transact(async (tx) => {
      tx.append(before, { id: 1, origin: 'a', delay: 1 })
      if (runs++ === 0) await store.apply([after])
    })
    expect(runs).toBe(2)
    expect(await store.get(after, 1)).toEqual({ id: 1, origin: 'a', delay: 1, note: null, seats: 180 })
  })

  it('columns and streams that were begun before the change are written as the new definition has them', async () => {
    const store = await opened(new MemoryRoot(), { inlineLimitBytes: 256 * 1024 })
    const first = table('s', { gone: t.int32().nullable(), id: t.int32(), n: t.int16() }, { key: ['id'] })
    const code = table('s', { id: t.int32(), n: t.int16() }, { key: ['id'] })
    const next = table('s', { id: t.int32(), n: t.int16(), extra: t.utf8().default('d') }, { key: ['id'] })
    await store.create(first)
    async function* stream(): AsyncGenerator<object> {
      yield { id: 1, n: 1 }
      await store.apply([next], { allowDataLoss: true })
      yield { id: 2, n: 2 }
    }
    await store.append(code, stream() as never)
    expect(await store.scan(next, { orderBy: 'id' }).toArray()).toEqual([
      { id: 1, n: 1, extra: 'd' },
      { id: 2, n: 2, extra: 'd' },
    ])
  })

  it('a stream that was begun before a column took no null any more is refused where it has one, and nothing of it is there', async () => {
    const store = await opened(new MemoryRoot(), { inlineLimitBytes: 256 * 1024 })
    const loose = table('s', { id: t.int32(), n: t.int16().nullable() }, { key: ['id'] })
    const strict = table('s', { id: t.int32(), n: t.int16() }, { key: ['id'] })
    await store.create(loose)
    async function* stream(): AsyncGenerator<object> {
      yield { id: 1, n: 1 }
      await store.apply([strict])
      yield { id: 2, n: null }
    }
    await expect(store.append(loose, stream() as never)).rejects.toThrow(SchemaMismatchError)
    expect(await store.scan(strict).count()).toBe(0)
    expect(await store.pending()).toEqual([])
    await store.append(strict, [{ id: 2, n: 2 }])
    expect(await store.scan(strict).count()).toBe(1)
  })

  it('a staged write of before is published into a definition that takes its rows, and not into a stricter one', async () => {
    const place = new MemoryRoot()
    const store = await opened(place)
    await store.create(before)
    const write = await store.stage()
    await write.append(before, rows(0, 4))
    await write.seal()
    const strictly = await store.stage()
    await strictly.append(before, rows(100, 4))
    await strictly.seal()
    const open = await store.stage()
    await open.append(before, rows(200, 2))
    await store.apply([after])
    await expect(open.append(before, rows(210, 2))).rejects.toThrow(ConflictError)
    await open.rollback()
    await write.publish()
    expect(await store.get(after, 2)).toEqual({ id: 2, origin: 'o2', delay: 2, note: null, seats: 180 })
    const strict = table('flights', { ...after.columns, delay: t.int16() }, { key: ['id'] })
    await store.delete(after, [1, 3])
    await store.apply([strict])
    await expect(strictly.publish()).rejects.toThrow(ConflictError)
    expect((await store.staged()).map(({ state }) => state)).toEqual(['sealed'])
    await strictly.rollback()
    expect(await store.scan(strict).count()).toBe(2)
  })

  it('the change feed tells definitions with the commits, and rows as they are at each commit', async () => {
    const store = await opened(new MemoryRoot())
    await store.create(before)
    await store.append(before, rows(0, 1))
    await store.apply([after])
    await store.append(after, { id: 5, origin: 'x', delay: 1, note: 'n', seats: 3 })
    await store.apply([], { drop: ['flights'], allowDataLoss: true })
    const all: Commit<[]>[] = []
    for await (const commit of store.changes({ from: 0, follow: false })) all.push(commit)
    expect(all.map(({ schema, counts }) => [schema.join(), Object.keys(counts).join()])).toEqual([
      ['flights', ''],
      ['', 'flights'],
      ['flights', ''],
      ['', 'flights'],
      ['flights', ''],
    ])
    const told: object[] = []
    const one = await opened(new MemoryRoot())
    await one.create(before)
    await one.append(before, rows(0, 1))
    await one.apply([after])
    await one.append(after, { id: 5, origin: 'x', delay: 1, note: 'n', seats: 3 })
    for await (const commit of one.changes({ from: 0, follow: false, tables: [before] })) for await (const change of commit) told.push(change)
    // By the new definition the rows of before cannot be shown, those behind can.
    const later: unknown[] = []
    for await (const commit of one.changes({ from: 0, follow: false, tables: [after] })) {
      try {
        for await (const change of commit) later.push(change.kind)
      } catch (error) {
        later.push((error as Error).name, commit.counts['flights'])
      }
    }
    expect(later).toEqual(['SchemaMismatchError', { inserted: 1, updated: 0, deleted: 0 }, 'insert'])
    expect(told).toEqual([
      { table: 'flights', kind: 'insert', after: { id: 0, origin: 'o0', delay: 0 } },
      { table: 'flights', kind: 'insert', after: { id: 5, origin: 'x', delay: 1 } },
    ])
  })
})

describe('a shared log', () => {
  it('two writers: the other one sees the definitions at their LSN, and its older programs go on', async () => {
    const place = new MemoryRoot()
    const one = await opened(place, { writers: 'shared' })
    await one.create(before)
    const two = await opened(place, { writers: 'shared' })
    await two.append(before, rows(0, 2))
    await one.apply([after])
    await two.append(before, rows(2, 2))
    await two.append(after, { id: 9, origin: 'x', delay: 0, note: 'n', seats: 1 })
    await one.refresh()
    expect(await one.scan(after).count()).toBe(5)
    const [x, y] = await Promise.all([
      one.apply([table('p', { a: t.int8() })]),
      two.apply([table('q', { a: t.int8() }), table('flights', { ...after.columns, late: t.bool().nullable() }, { key: ['id'] })]),
    ])
    expect([x, y].map(({ steps }) => steps.length)).toEqual([1, 2])
    await one.refresh()
    expect((await one.tables()).map(({ name }) => name).toSorted()).toEqual(['flights', 'p', 'q'])
    await one.apply([], { drop: ['p'], allowDataLoss: true })
    await expect(two.append(table('p', { a: t.int8() }), { a: 1 })).rejects.toThrow(TableNotFoundError)
  })
})
