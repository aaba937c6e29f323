import { describe, expect, it } from 'vitest'

import {
  BranchNotFoundError,
  columns,
  eq,
  gt,
  HistoryUnavailableError,
  lsn,
  Store,
  t,
  table,
  TableNotFoundError,
  UnsupportedRootError,
} from '../../../bindings/index.ts'
import { openRoot } from '../../../bindings/root/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'
import { failure, opened, PLACES } from '../store/places.ts'

const items = table('items', { id: t.int32(), name: t.utf8().dictionary(), n: t.int64().nullable() }, { key: ['id'] })
const log = table('log', { at: t.int32(), what: t.utf8() })
const item = (id: number, n: bigint | null = BigInt(id)) => ({ id, name: `item ${id % 5}`, n })
const many = (from: number, to: number, n?: bigint) => Array.from({ length: to - from }, (_, i) => item(from + i, n ?? BigInt(from + i)))

async function filled(root: string): Promise<Store> {
  const store = await opened(root)
  await store.create(items, log)
  await store.append(items, many(0, 100))
  await store.append(log, [
    { at: 1, what: 'one' },
    { at: 2, what: 'two' },
  ])
  return store
}

/** Every write and every move that could show through an older snapshot. */
const DISTURBANCES: readonly (readonly [string, (store: Store) => Promise<unknown>])[] = [
  ['an append', (store) => store.append(items, item(1000))],
  ['an upsert of every row', (store) => store.upsert(items, many(0, 100, -1n))],
  ['an update', (store) => store.update(items, { id: 7, n: 700n })],
  ['a delete', (store) => store.delete(items, [7, 8, 9])],
  ['a delete by predicate', (store) => store.deleteWhere(items, gt('n', 50n))],
  ['a replace', (store) => store.replace(items, many(50, 60, 5n))],
  ['a replace by nothing', (store) => store.replace(items, [])],
  ['a flush', (store) => store.flush()],
  ['a flush, then deletes', (store) => store.flush().then(() => store.delete(items, [1, 2, 3]))],
  ['an upsert, then a flush', (store) => store.upsert(items, many(0, 100, -2n)).then(() => store.flush())],
  ['a bulk append', (store) => store.append(items, bulk(1000, 40_000))],
  ['a bulk upsert over every row', (store) => store.upsert(items, bulk(0, 40_000))],
  ['a bulk replace', (store) => store.replace(items, bulk(20, 40_000))],
  ['two flushes around a bulk load', (store) => store.flush().then(() => store.upsert(items, bulk(0, 30_000)).then(() => store.flush()))],
]

function bulk(from: number, rows: number): ReturnType<typeof columns<{ id: Int32Array; name: string[]; n: BigInt64Array }>> {
  return columns({
    id: Int32Array.from({ length: rows }, (_, i) => from + i),
    name: Array.from({ length: rows }, () => 'bulk'),
    n: BigInt64Array.from({ length: rows }, () => 99n),
  })
}

describe.each(PLACES)('a snapshot, %s', (_name, place) => {
  it.each(DISTURBANCES)('shows what was there before %s', async (_what, disturb) => {
    const store = await filled(place())
    await using snapshot = await store.snapshot()
    const scan = snapshot.scan(items, { orderBy: 'id' })
    const before = await scan.toArray()
    expect(before).toEqual(many(0, 100))
    await disturb(store)
    expect(await scan.toArray()).toEqual(before)
    expect(await snapshot.scan(items, { orderBy: 'id' }).toArray()).toEqual(before)
    expect(await snapshot.scan(items).count()).toBe(100)
    expect(await snapshot.scan(items, { where: eq('id', 7) }).toArray()).toEqual([item(7)])
    expect(await snapshot.scan(items).aggregate({ sum: { sum: 'n' } })).toEqual({ sum: 4950n })
    expect(await snapshot.get(items, 7)).toEqual(item(7))
    expect(snapshot.getSync(items, 8)).toEqual(item(8))
    expect(snapshot.getSync(items, 1000)).toBeUndefined()
    expect(await snapshot.has(items, 1000)).toBe(false)
    expect(await snapshot.getMany(items, [99, 1000, 0])).toEqual([item(99), undefined, item(0)])
    expect(await snapshot.scan(log).toArray()).toEqual([
      { at: 1, what: 'one' },
      { at: 2, what: 'two' },
    ])
    // The same through `at`, from the store and after a reopen of the same history.
    expect(await store.scan(items, { at: snapshot.lsn, orderBy: 'id' }).toArray()).toEqual(before)
  })

  it('has the LSN and the time of the commit it stands on', async () => {
    const store = await filled(place())
    const done = await store.append(log, { at: 3, what: 'three' })
    await using snapshot = await store.snapshot()
    expect(snapshot.lsn).toBe(done.lsn)
    expect(snapshot.lsn).toBe(store.lsn)
    expect(snapshot.time).toEqual(done.time)
    await using older = await store.snapshot(lsn(done.lsn - 1n))
    expect(older.lsn).toBe(done.lsn - 1n)
    expect(older.time <= done.time).toBe(true)
    expect(await older.scan(log).count()).toBe(2)
    expect(older.getSync(items, 5)).toEqual(item(5))
  })

  it('is a pin of owner "reader" while it is held', async () => {
    const store = await filled(place())
    expect(await store.pins()).toEqual([])
    const snapshot = await store.snapshot()
    const [pin, ...others] = await store.pins()
    expect(others).toEqual([])
    expect(pin).toMatchObject({ owner: 'reader', lsn: snapshot.lsn })
    expect(pin!.heldMs).toBeGreaterThanOrEqual(0)
    expect((await store.stats()).pins).toBe(1)
    await snapshot[Symbol.asyncDispose]()
    expect(await store.pins()).toEqual([])
  })

  it('raises snapshotHeld once when held longer than memory.snapshotWarnMs', async () => {
    const time = new FakeClock()
    const store = await opened(place(), { memory: { snapshotWarnMs: 5000 }, world: { clock: time.clock, timers: time.timers } })
    const held: object[] = []
    store.on('snapshotHeld', (event) => held.push(event))
    const short = await store.snapshot()
    const long = await store.snapshot()
    await time.advance(4000)
    await short[Symbol.asyncDispose]()
    expect(held).toEqual([])
    await time.advance(1000)
    expect(held).toEqual([{ lsn: long.lsn, heldMs: 5000 }])
    await time.advance(60_000)
    expect(held).toHaveLength(1)
    await long[Symbol.asyncDispose]()
  })

  it('does not see a table that was created later', async () => {
    const store = await filled(place())
    await using snapshot = await store.snapshot()
    const later = table('later', { id: t.int32() }, { key: ['id'] })
    await store.create(later)
    await store.append(later, { id: 1 })
    for (const call of [() => snapshot.get(later, 1), () => snapshot.getSync(later, 1), () => snapshot.scan(later).count()]) {
      expect(await failure(call)).toBeInstanceOf(TableNotFoundError)
    }
    expect(await store.has(later, 1)).toBe(true)
  })

  it('reads at an older position, never at a newer one', async () => {
    const store = await filled(place())
    const older = store.lsn
    await store.upsert(items, item(1, 111n))
    await using snapshot = await store.snapshot()
    await store.upsert(items, item(1, 222n))
    expect((await snapshot.get(items, 1, { at: older }))?.n).toBe(1n)
    expect((await snapshot.get(items, 1))?.n).toBe(111n)
    expect((await snapshot.scan(items, { at: older, where: eq('id', 1) }).first())?.n).toBe(1n)
    expect(await failure(() => snapshot.get(items, 1, { at: store.lsn }))).toBeInstanceOf(HistoryUnavailableError)
  })

  it('rejects with the reason of a signal that is aborted already', async () => {
    const store = await filled(place())
    await using snapshot = await store.snapshot()
    const reason = new Error('enough')
    const signal = AbortSignal.abort(reason)
    for (const reader of [store, snapshot]) {
      for (const call of [
        () => reader.get(items, 1, { signal }),
        () => reader.getMany(items, [1], { signal }),
        () => reader.getMany(items, [], { signal }),
        () => reader.has(items, 1, { signal }),
        () => reader.scan(items, { signal }).toArray(),
        () => reader.scan(items, { signal }).count(),
        () => reader.scan(items, { signal }).rows().next(),
      ]) {
        expect(await failure(call)).toBe(reason)
      }
    }
  })
})

it('getSync is UnsupportedRootError { feature: "sync-read" } where the root cannot block', async () => {
  const memory = await openRoot('memory:', fakeWorld())
  const root = new Proxy(memory, {
    get: (target, name) => {
      if (name === 'caps') return { ...target.caps, syncRead: false }
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  await using store = await Store.open(root, { threads: 0, upkeep: 'manual' })
  await store.create(items)
  await store.append(items, item(1))
  await using snapshot = await store.snapshot()
  expect(await snapshot.get(items, 1)).toEqual(item(1))
  const error = await failure(() => snapshot.getSync(items, 1))
  expect(error).toBeInstanceOf(UnsupportedRootError)
  expect(error).toMatchObject({ code: 'root.unsupported', feature: 'sync-read' })
})

describe.each(PLACES)('time travel, %s', (_name, place) => {
  it('reads by LSN: a branded one, a plain number, a bigint out of JSON', async () => {
    const store = await filled(place())
    const first = await store.upsert(items, item(1, 10n))
    const second = await store.upsert(items, item(1, 20n))
    await store.delete(items, 1)
    expect((await store.get(items, 1, { at: first.lsn }))?.n).toBe(10n)
    expect((await store.get(items, 1, { at: Number(second.lsn) }))?.n).toBe(20n)
    const { lsn: text } = JSON.parse(JSON.stringify(second)) as { lsn: string }
    expect(text).toBe(String(second.lsn))
    expect((await store.get(items, 1, { at: lsn(text) }))?.n).toBe(20n)
    expect(await store.get(items, 1)).toBeUndefined()
    expect(await store.has(items, 1, { at: second.lsn })).toBe(true)
    expect((await store.getMany(items, [1, 2], { at: second.lsn })).map((row) => row?.n)).toEqual([20n, 2n])
    expect(await store.scan(items, { at: second.lsn }).count()).toBe(100)
  })

  it('reads by Date: the last commit whose time is at or before it', async () => {
    const time = new FakeClock(Date.UTC(2026, 0, 1))
    const store = await opened(place(), { world: { clock: time.clock, timers: time.timers } })
    await store.create(items)
    await time.advance(1000)
    const first = await store.append(items, item(1, 1n))
    await time.advance(1000)
    const second = await store.upsert(items, item(1, 2n))
    await time.advance(1000)
    await store.upsert(items, item(1, 3n))
    const at = async (date: Date) => (await store.get(items, 1, { at: date }))?.n
    expect(await at(first.time)).toBe(1n)
    expect(await at(new Date(second.time.getTime() - 1))).toBe(1n)
    expect(await at(second.time)).toBe(2n)
    expect(await at(new Date(second.time.getTime() + 500))).toBe(2n)
    expect(await at(new Date(Date.UTC(2100, 0, 1)))).toBe(3n)
    expect(await at(new Date(first.time.getTime() - 1))).toBeUndefined()
    expect(await failure(() => at(new Date(Number.NaN)))).toBeInstanceOf(RangeError)
    await using snapshot = await store.snapshot(second.time)
    expect(snapshot.lsn).toBe(second.lsn)
    expect(snapshot.time).toEqual(second.time)
  })

  it('reads by Date before the first commit: the table is not there yet', async () => {
    const store = await filled(place())
    expect(await failure(() => store.scan(items, { at: new Date(0) }).count())).toBeInstanceOf(TableNotFoundError)
  })

  it('knows "main", and refuses unknown names with BranchNotFoundError', async () => {
    const store = await filled(place())
    expect(await store.get(items, 3, { at: 'main' })).toEqual(item(3))
    for (const call of [
      () => store.get(items, 3, { at: 'v1' }),
      () => store.getMany(items, [3], { at: 'v1' }),
      () => store.has(items, 3, { at: 'v1' }),
      () => store.scan(items, { at: 'v1' }).toArray(),
      () => store.snapshot('v1'),
      () => store.tables('v1'),
      () => store.table('items', 'v1'),
    ]) {
      const error = await failure(call)
      expect(error).toBeInstanceOf(BranchNotFoundError)
      expect(error).toMatchObject({ branch: 'v1', code: 'branch.not-found' })
    }
  })

  it('refuses positions after the head, and what is no position', async () => {
    const store = await filled(place())
    const { lsn: head } = store
    const error = await failure(() => store.get(items, 3, { at: lsn(head + 1n) }))
    expect(error).toBeInstanceOf(HistoryUnavailableError)
    expect(error).toMatchObject({ code: 'store.history-unavailable', asked: head + 1n, floor: 0n })
    expect(await failure(() => store.snapshot(lsn(head + 5n)))).toBeInstanceOf(HistoryUnavailableError)
    expect(await failure(() => store.get(items, 3, { at: -1 }))).toBeInstanceOf(RangeError)
    expect(await failure(() => store.get(items, 3, { at: 1.5 }))).toBeInstanceOf(RangeError)
    expect(await failure(() => store.get(items, 3, { at: Number.NaN }))).toBeInstanceOf(RangeError)
  })

  it('is TableNotFoundError before the table existed, also for the empty store', async () => {
    const store = await opened(place())
    await store.create(items)
    const before = store.lsn
    await store.create(log)
    expect(await failure(() => store.scan(log, { at: before }).count())).toBeInstanceOf(TableNotFoundError)
    expect(await failure(() => store.get(items, 1, { at: 0 }))).toMatchObject({ code: 'table.not-found', table: 'items' })
    expect(await store.tables(0)).toEqual([])
    expect((await store.tables(before)).map((each) => each.name)).toEqual(['items'])
    expect((await store.table('items', before)).key).toEqual(['id'])
    expect(await failure(() => store.table('log', before))).toBeInstanceOf(TableNotFoundError)
  })

  it('counts the rows of then in tables(at)', async () => {
    const store = await filled(place())
    const then = store.lsn
    await store.delete(items, [1, 2, 3])
    await store.flush()
    expect((await store.tables(then)).map(({ name, rows }) => [name, rows])).toEqual([
      ['items', 100],
      ['log', 2],
    ])
    expect((await store.tables()).map(({ name, rows }) => [name, rows])).toEqual([
      ['items', 97],
      ['log', 2],
    ])
  })

  it('gives the same rows at every LSN before and after flushes and a reopen', async () => {
    const root = place()
    const store = await filled(root)
    const seen = new Map<bigint, unknown>()
    const note = async () => seen.set(store.lsn, await store.scan(items, { orderBy: 'id' }).toArray())
    await note()
    await store.upsert(items, many(10, 20, 1n))
    await note()
    await store.flush()
    await store.delete(items, [10, 50])
    await note()
    await store.append(items, bulk(200, 30_000))
    await note()
    await store.deleteWhere(items, gt('id', 1000))
    await note()
    await store.flush()
    await store.replace(items, many(1, 4, 9n))
    await note()
    await store.close()
    const again = await opened(root)
    for (const [at, rows] of seen) expect(await again.scan(items, { at: lsn(at), orderBy: 'id' }).toArray()).toEqual(rows)
  })

  it('a scan takes its snapshot at the first use and keeps it', async () => {
    const store = await filled(place())
    const scan = store.scan(items)
    await store.append(items, item(500))
    expect(await scan.count()).toBe(101)
    await store.append(items, item(501))
    expect(await scan.count()).toBe(101)
    expect((await scan.toArray()).length).toBe(101)
    expect(await store.scan(items).count()).toBe(102)
  })
})
