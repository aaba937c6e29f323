import { describe, expect, it } from 'vitest'

import {
  and,
  BranchNotFoundError,
  columns,
  eq,
  gt,
  HistoryUnavailableError,
  lsn,
  SchemaMismatchError,
  type Store,
  t,
  table,
  TableNotFoundError,
} from '../../../bindings/index.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { collect, failure, opened, PLACES } from '../store/places.ts'

const items = table('items', { id: t.utf8(), n: t.int32().nullable() }, { key: ['id'] })
const log = table('log', { what: t.utf8() })
const BULK_ROWS = 20_000
const bulk = (from: number, rows = BULK_ROWS) =>
  columns({ id: Array.from({ length: rows }, (_, i) => `k${from + i}`), n: Int32Array.from({ length: rows }, (_, i) => from + i) })

async function fresh(root: string, options: object = {}): Promise<Store> {
  const store = await opened(root, options)
  await store.create(items, log)
  return store
}

type Images = 'after' | 'both' | 'none'
/** Every change after a position, in the order they come. */
async function changesSince(store: Store, from: bigint, images: Images = 'both'): Promise<unknown[]> {
  const all: unknown[] = []
  for await (const commit of store.changes({ from: lsn(from), tables: [items, log], images, follow: false }))
    for await (const change of commit) all.push(change)
  return all
}

describe.each(PLACES)('the change feed, %s', (_name, place) => {
  it('starts after `from`, and goes on where the last one ended: nothing skipped, nothing repeated', async () => {
    const store = await fresh(place())
    const results = []
    for (let i = 0; i < 10; i++) results.push(await store.append(items, { id: `${i}` }))
    const lsns = results.map(({ lsn: at }) => at)
    const seen: bigint[] = []
    let from = lsn(lsns[0]! - 1n)
    for (let part = 0; part < 5; part++) {
      let taken = 0
      for await (const commit of store.changes({ from, tables: [items], follow: false })) {
        seen.push(commit.lsn)
        from = commit.lsn
        if (++taken === 3) break
      }
    }
    expect(seen).toEqual(lsns)
    expect(await collect(store.changes({ from: store.lsn, tables: [items], follow: false }))).toEqual([])
    expect((await collect(store.changes({ from: Number(lsns[8]), tables: [items], follow: false }))).map((commit) => commit.lsn)).toEqual([lsns[9]])
  })

  it('from 0 is everything: schema commits, then commits with their notes', async () => {
    const store = await fresh(place())
    const done = await store.append(items, { id: 'a', n: 1 }, { message: 'why', author: 'who' })
    const commits = await collect(store.changes({ from: 0, tables: [items, log], follow: false }))
    expect(commits).toHaveLength(2)
    expect(commits[0]).toMatchObject({ schema: ['items', 'log'], counts: {}, branch: 'main' })
    expect(await collect(commits[0]!)).toEqual([])
    expect(commits[1]).toMatchObject({
      lsn: done.lsn,
      writeId: done.writeId,
      time: done.time,
      branch: 'main',
      message: 'why',
      author: 'who',
      schema: [],
      counts: { items: { inserted: 1, updated: 0, deleted: 0 } },
    })
    expect('message' in (commits[0] as object)).toBe(false)
  })

  it('default `from` is the head at the time of the call', async () => {
    const store = await fresh(place())
    await store.append(items, { id: 'before' })
    const feed = store.changes({ tables: [items] })
    await store.append(items, { id: 'after' })
    const first = await feed.next()
    expect(await collect(first.value as AsyncIterable<unknown>)).toEqual([{ table: 'items', kind: 'insert', after: { id: 'after', n: null } }])
    await feed.return?.()
  })

  it('tells inserts, updates with the row before, deletes with key and row', async () => {
    const store = await fresh(place())
    await store.append(items, [
      { id: 'a', n: 1 },
      { id: 'b', n: 2 },
      { id: 'c', n: 3 },
    ])
    const from = store.lsn
    await store.upsert(items, [
      { id: 'a', n: 10 },
      { id: 'd', n: 4 },
    ])
    await store.update(items, { id: 'b', n: null })
    await store.delete(items, ['c', 'absent'])
    await store.deleteWhere(items, eq('id', 'd'))
    const expected = [
      { table: 'items', kind: 'update', before: { id: 'a', n: 1 }, after: { id: 'a', n: 10 } },
      { table: 'items', kind: 'insert', after: { id: 'd', n: 4 } },
      { table: 'items', kind: 'update', before: { id: 'b', n: 2 }, after: { id: 'b', n: null } },
      { table: 'items', kind: 'delete', key: { id: 'c' }, before: { id: 'c', n: 3 } },
      { table: 'items', kind: 'delete', key: { id: 'd' }, before: { id: 'd', n: 4 } },
    ]
    expect(await changesSince(store, from)).toEqual(expected)
    expect(await changesSince(store, from, 'after')).toEqual(expected.map(({ before: _, ...change }) => change))
    expect(await changesSince(store, from, 'none')).toEqual([])
    // The same from fragments.
    await store.flush()
    await store.append(log, { what: 'more' })
    expect((await changesSince(store, from)).slice(0, 5)).toEqual(expected)
  })

  it('images "none" still counts', async () => {
    const store = await fresh(place())
    await store.append(items, [{ id: 'a' }, { id: 'b' }])
    const from = store.lsn
    await store.transact(async (tx) => {
      tx.upsert(items, [{ id: 'a', n: 1 }, { id: 'c' }])
      tx.delete(items, 'b')
      tx.append(log, [{ what: 'x' }, { what: 'y' }])
    })
    for (const images of ['none', 'after', 'both'] as const) {
      const [commit, ...more] = await collect(store.changes({ from, tables: [items, log], images, follow: false }))
      expect(more).toEqual([])
      expect(commit!.counts).toEqual({ items: { inserted: 1, updated: 1, deleted: 1 }, log: { inserted: 2, updated: 0, deleted: 0 } })
      expect((await collect(commit!)).length).toBe(images === 'none' ? 0 : 5)
    }
  })

  it('leaves out commits that touch none of `tables`, and their rows of other tables', async () => {
    const store = await fresh(place())
    const from = store.lsn
    await store.append(items, { id: 'a' })
    await store.append(log, { what: 'one' })
    const both = await store.transact((tx) => {
      tx.append(log, { what: 'two' })
      tx.append(items, { id: 'b' })
      return 1
    })
    expect(both).toBe(1)
    const commits = await collect(store.changes({ from, tables: [log], follow: false }))
    expect(commits).toHaveLength(2)
    const changes = await Promise.all(commits.map((commit) => collect(commit)))
    expect(changes.flat()).toEqual([
      { table: 'log', kind: 'insert', after: { what: 'one' } },
      { table: 'log', kind: 'insert', after: { what: 'two' } },
    ])
  })

  it('without `tables` gives every commit without rows', async () => {
    const store = await fresh(place())
    await store.append(items, [{ id: 'a' }, { id: 'b' }])
    await store.append(log, { what: 'x' })
    await store.flush()
    const commits = await collect(store.changes({ from: 0, follow: false }))
    expect(commits.map(({ counts, schema }) => [counts, schema])).toEqual([
      [{}, ['items', 'log']],
      [{ items: { inserted: 2, updated: 0, deleted: 0 } }, []],
      [{ log: { inserted: 1, updated: 0, deleted: 0 } }, []],
    ])
    for (const commit of commits) expect(await collect(commit as AsyncIterable<unknown>)).toEqual([])
  })

  it('never shows flushes, checkpoints or epochs', async () => {
    const root = place()
    const store = await fresh(root)
    await store.append(items, { id: 'a' })
    await store.flush()
    await store.append(items, { id: 'b' })
    await store.flush()
    await store.close()
    const again = await opened(root)
    await again.flush()
    expect((await collect(again.changes({ from: 0, tables: [items], follow: false }))).length).toBe(3)
    expect((await collect(again.changes({ from: 0, follow: false }))).length).toBe(3)
  })

  it('a bulk load is inserts and updates, a bulk delete deletes, whatever was flushed between', async () => {
    const store = await fresh(place())
    await store.append(items, [
      { id: 'k5', n: -5 },
      { id: 'k7', n: -7 },
    ])
    await store.flush()
    await store.upsert(items, { id: 'k7', n: -77 })
    const from = store.lsn
    await store.upsert(items, bulk(0))
    await store.flush()
    await store.deleteWhere(items, and(gt('n', 3), gt('n', 9)))
    const [load, gone] = await collect(store.changes({ from, tables: [items], images: 'both', follow: false }))
    expect(load!.counts).toEqual({ items: { inserted: BULK_ROWS - 2, updated: 2, deleted: 0 } })
    const loaded = await collect(load!)
    expect(loaded).toHaveLength(BULK_ROWS)
    const updates = loaded.filter(({ kind }) => kind === 'update')
    expect(updates.toSorted((x, y) => (x.kind === 'update' && y.kind === 'update' ? x.after.n! - y.after.n! : 0))).toEqual([
      { table: 'items', kind: 'update', before: { id: 'k5', n: -5 }, after: { id: 'k5', n: 5 } },
      { table: 'items', kind: 'update', before: { id: 'k7', n: -77 }, after: { id: 'k7', n: 7 } },
    ])
    expect(gone!.counts).toEqual({ items: { inserted: 0, updated: 0, deleted: BULK_ROWS - 10 } })
    const deleted = await collect(gone!)
    expect(deleted).toHaveLength(BULK_ROWS - 10)
    expect(deleted[0]).toEqual({ table: 'items', kind: 'delete', key: { id: 'k10' }, before: { id: 'k10', n: 10 } })
  })

  it('replace is deletes, then inserts; on a keyed table the net change per key', async () => {
    const store = await fresh(place())
    await store.append(items, [
      { id: 'a', n: 1 },
      { id: 'b', n: 2 },
    ])
    await store.append(log, [{ what: 'one' }, { what: 'two' }])
    await store.flush()
    await store.append(log, { what: 'three' })
    const from = store.lsn
    await store.replace(items, [
      { id: 'b', n: 20 },
      { id: 'c', n: 3 },
    ])
    await store.replace(log, { what: 'new' })
    expect(await changesSince(store, from)).toEqual([
      { table: 'items', kind: 'update', before: { id: 'b', n: 2 }, after: { id: 'b', n: 20 } },
      { table: 'items', kind: 'insert', after: { id: 'c', n: 3 } },
      { table: 'items', kind: 'delete', key: { id: 'a' }, before: { id: 'a', n: 1 } },
      { table: 'log', kind: 'delete', key: {}, before: { what: 'one' } },
      { table: 'log', kind: 'delete', key: {}, before: { what: 'two' } },
      { table: 'log', kind: 'delete', key: {}, before: { what: 'three' } },
      { table: 'log', kind: 'insert', after: { what: 'new' } },
    ])
  })

  it('deletes of an unkeyed table have the row under any images but none', async () => {
    const store = await fresh(place())
    await store.append(log, [{ what: 'x' }, { what: 'y' }])
    const from = store.lsn
    await store.deleteWhere(log, eq('what', 'x'))
    const expected = [{ table: 'log', kind: 'delete', key: {}, before: { what: 'x' } }]
    expect(await changesSince(store, from, 'both')).toEqual(expected)
    expect(await changesSince(store, from, 'after')).toEqual(expected)
    expect(await changesSince(store, from, 'none')).toEqual([])
  })

  it('tells long keys apart that begin alike', async () => {
    const store = await fresh(place())
    const long = 'x'.repeat(200)
    await store.append(items, { id: `${long}1`, n: 1 })
    const from = store.lsn
    await store.transact((tx) => {
      tx.delete(items, `${long}1`)
      tx.append(items, { id: `${long}2`, n: 2 })
    })
    expect(await changesSince(store, from)).toEqual([
      { table: 'items', kind: 'insert', after: { id: `${long}2`, n: 2 } },
      { table: 'items', kind: 'delete', key: { id: `${long}1` }, before: { id: `${long}1`, n: 1 } },
    ])
  })

  it('the rows of a commit can be read later, twice, or never', async () => {
    const store = await fresh(place())
    const from = store.lsn
    await store.append(items, { id: 'a', n: 1 })
    await store.upsert(items, { id: 'a', n: 2 })
    await store.delete(items, 'a')
    const commits = await collect(store.changes({ from, tables: [items], images: 'both', follow: false }))
    await store.replace(items, { id: 'z' })
    await store.flush()
    const read = async () => (await Promise.all(commits.map((commit) => collect(commit)))).flat()
    const expected = [
      { table: 'items', kind: 'insert', after: { id: 'a', n: 1 } },
      { table: 'items', kind: 'update', before: { id: 'a', n: 1 }, after: { id: 'a', n: 2 } },
      { table: 'items', kind: 'delete', key: { id: 'a' }, before: { id: 'a', n: 2 } },
    ]
    expect(await read()).toEqual(expected)
    expect(await read()).toEqual(expected)
  })

  it('replays to the state of the store', async () => {
    const store = await fresh(place())
    await store.append(items, bulk(0))
    await store.flush()
    await store.transact(async (tx) => {
      tx.upsert(items, [{ id: 'k1', n: 0 }, { id: 'new' }])
      await tx.deleteWhere(items, gt('n', 100))
    })
    await store.update(items, { id: 'k2', n: 22 })
    await store.delete(items, ['k3', 'k4'])
    await store.replace(items, [{ id: 'k5', n: 5 }, { id: 'k6' }], { message: 'replace' })
    await store.upsert(items, bulk(5))
    const rows = new Map<string, unknown>()
    for await (const commit of store.changes({ from: 0, tables: [items], follow: false })) {
      const counts = { inserted: 0, updated: 0, deleted: 0 }
      for await (const change of commit) {
        if (change.kind === 'delete') {
          expect(rows.delete(change.key.id)).toBe(true)
          counts.deleted++
        } else {
          expect(rows.has(change.after.id)).toBe(change.kind === 'update')
          rows.set(change.after.id, change.after)
          counts[change.kind === 'insert' ? 'inserted' : 'updated']++
        }
      }
      // A replace counts what went and what came; its changes are net.
      if (commit.message !== 'replace' && commit.schema.length === 0) expect(commit.counts).toEqual({ items: counts })
    }
    const stored = await store.scan(items).toArray()
    expect(rows.size).toBe(stored.length)
    for (const row of stored) expect(rows.get(row.id)).toEqual(row)
  })
})

describe.each(PLACES)('following the change feed, %s', (_name, place) => {
  it('waits for commits until its signal aborts, and rejects with the reason', async () => {
    const store = await fresh(place())
    const abort = new AbortController()
    const reason = new Error('seen enough')
    const seen: unknown[] = []
    const reading = (async () => {
      for await (const commit of store.changes({ tables: [items], signal: abort.signal })) {
        for await (const change of commit) seen.push(change.kind === 'delete' ? change.key : change.after)
        if (seen.length === 3) abort.abort(reason)
      }
    })()
    await store.append(items, { id: 'a' })
    await store.append(log, { what: 'not asked for' })
    await store.append(items, [{ id: 'b' }, { id: 'c' }])
    expect(await failure(() => reading)).toBe(reason)
    expect(seen).toEqual([
      { id: 'a', n: null },
      { id: 'b', n: null },
      { id: 'c', n: null },
    ])
    expect(await store.pins()).toEqual([])
  })

  it('rejects with the reason while it waits, and at once for an aborted signal', async () => {
    const store = await fresh(place())
    const abort = new AbortController()
    const reason = new Error('stop')
    const waiting = store.changes({ tables: [items], signal: abort.signal }).next()
    await new Promise((resolve) => setImmediate(resolve))
    abort.abort(reason)
    expect(await failure(() => waiting)).toBe(reason)
    expect(await failure(() => store.changes({ from: 0, signal: abort.signal, follow: false }).next())).toBe(reason)
    expect(await store.pins()).toEqual([])
  })

  it('break releases the pin; so does return() while it waits', async () => {
    const store = await fresh(place())
    await store.append(items, { id: 'a' })
    for await (const commit of store.changes({ from: 0, tables: [items] })) {
      expect((await store.pins()).map(({ owner }) => owner)).toEqual(['stream'])
      expect(commit.lsn > 0n).toBe(true)
      break
    }
    expect(await store.pins()).toEqual([])
    const feed = store.changes({ tables: [items] })
    const waiting = feed.next()
    await new Promise((resolve) => setImmediate(resolve))
    expect(await store.pins()).toHaveLength(1)
    await feed.return?.()
    expect(await waiting).toEqual({ done: true, value: undefined })
    expect(await store.pins()).toEqual([])
    await store.append(items, { id: 'b' })
  })

  it('the reader sets the pace, and its pin goes along', async () => {
    const store = await fresh(place())
    const from = store.lsn
    const feed = store.changes({ from, tables: [items] })
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.append(items, { id: `${i}` })))
    const first = await feed.next()
    expect((first.value as { lsn: bigint }).lsn).toBe(from + 1n)
    expect((await store.pins())[0]?.lsn).toBe(from)
    await feed.next()
    expect((await store.pins())[0]?.lsn).toBe(from + 1n)
    for (let i = 2; i < 100; i++) await feed.next()
    expect((await store.pins())[0]?.lsn).toBe(store.lsn - 1n)
    await feed.return?.()
  })

  it('a feed that is behind for memory.snapshotWarnMs raises snapshotHeld; one that waits at the head does not', async () => {
    const time = new FakeClock()
    const store = await fresh(place(), { memory: { snapshotWarnMs: 1000 }, world: { clock: time.clock, timers: time.timers } })
    const held: { lsn: bigint }[] = []
    store.on('snapshotHeld', (event) => held.push(event))
    const feed = store.changes({ tables: [items] })
    const waiting = feed.next()
    await time.advance(5000)
    expect(held).toEqual([])
    const from = store.lsn
    await store.append(items, { id: 'a' })
    await waiting
    await store.append(items, { id: 'b' })
    await time.advance(2500)
    expect(held.map(({ lsn: at }) => at)).toEqual([from])
    await feed.return?.()
    await time.advance(5000)
    expect(held).toHaveLength(1)
  })

  it('several feeds see the same', async () => {
    const store = await fresh(place())
    const read = async () => {
      const kinds: string[] = []
      for await (const commit of store.changes({ from: 0, tables: [items] })) {
        for await (const change of commit) kinds.push(change.kind)
        if (kinds.length === 30) return kinds
      }
      return kinds
    }
    const readers = [read(), read(), read()]
    for (let i = 0; i < 30; i++) await store.append(items, { id: `${i}` })
    const [one, ...others] = await Promise.all(readers)
    expect(one).toHaveLength(30)
    for (const other of others) expect(other).toEqual(one)
  })

  it('a read-only handle follows the writer', async () => {
    const root = place()
    const store = await fresh(root)
    const reader = await opened(root, { readOnly: true })
    const later = table('later', { a: t.int32() })
    const reading = (async () => {
      const seen: unknown[] = []
      for await (const commit of reader.changes()) {
        seen.push([commit.counts, commit.schema])
        if (seen.length === 2) return seen
      }
      return seen
    })()
    await new Promise((resolve) => setImmediate(resolve))
    await store.create(later)
    await store.append(later, { a: 1 })
    expect(await reading).toEqual([
      [{}, ['later']],
      [{ later: { inserted: 1, updated: 0, deleted: 0 } }, []],
    ])
  })
})

describe.each(PLACES)('what the change feed refuses, %s', (_name, place) => {
  it.each([
    ['a position after the head', { from: 1_000_000 }, HistoryUnavailableError],
    ['a negative position', { from: -1 }, RangeError],
    ['a fraction', { from: 1.5 }, RangeError],
    ['an unknown branch', { branch: 'dev' }, BranchNotFoundError],
    ['unknown images', { images: 'before' }, Error],
    ['an unknown table', { tables: [table('nope', { a: t.int8() })] }, TableNotFoundError],
    ['another definition of a table', { tables: [table('items', { id: t.int64() }, { key: ['id'] })] }, SchemaMismatchError],
  ])('%s', async (_what, options, type) => {
    const store = await fresh(place())
    expect(await failure(() => store.changes(options as never).next())).toBeInstanceOf(type)
    expect(await store.pins()).toEqual([])
    expect(await collect(store.changes({ branch: 'main', follow: false }))).toEqual([])
  })
})
