import { describe, expect, it } from 'vitest'

import { ClosedError, eq, lsn, newWriteId, type ReadStore, type Snapshot, Store, t, table } from '../../../bindings/index.ts'
import { failure, opened, PLACES, QUIET } from './places.ts'

const notes = table('notes', { id: t.int32(), text: t.utf8() }, { key: ['id'] })
const row = (id: number) => ({ id, text: `text ${id}` })

async function filled(root: string, rows = 10): Promise<Store> {
  const store = await opened(root)
  await store.create(notes)
  await store.append(
    notes,
    Array.from({ length: rows }, (_, id) => row(id)),
  )
  return store
}

const READS: readonly (readonly [string, (store: ReadStore) => unknown])[] = [
  ['get', (store) => store.get(notes, 1)],
  ['getMany', (store) => store.getMany(notes, [1])],
  ['has', (store) => store.has(notes, 1)],
  ['scan.toArray', (store) => store.scan(notes).toArray()],
  ['scan.first', (store) => store.scan(notes).first()],
  ['scan.count', (store) => store.scan(notes).count()],
  ['scan.toArrow', (store) => store.scan(notes).toArrow()],
  ['scan.toIpc', (store) => store.scan(notes).toIpc()],
  ['scan.toColumns', (store) => store.scan(notes).toColumns()],
  ['scan.aggregate', (store) => store.scan(notes).aggregate({ n: 'count' })],
  ['scan.explain', (store) => store.scan(notes).explain()],
  ['scan.rows', (store) => store.scan(notes).rows().next()],
  ['scan.batches', (store) => store.scan(notes).batches().next()],
  ['snapshot', (store) => store.snapshot()],
  ['waitCommitted', (store) => store.waitCommitted(lsn(1))],
  ['changes', (store) => store.changes({ from: 0 }).next()],
  ['tables', (store) => store.tables()],
  ['table', (store) => store.table('notes')],
  ['refresh', (store) => store.refresh()],
  ['stats', (store) => store.stats()],
  ['pins', (store) => store.pins()],
  ['outcome', (store) => store.outcome(newWriteId())],
  ['audit', (store) => (store.audit() as AsyncIterableIterator<unknown>).next()],
  ['verify', (store) => store.verify()],
  ['on', (store) => store.on('commit', () => undefined)],
]
const WRITES: readonly (readonly [string, (store: Store) => unknown])[] = [
  ['create', (store) => store.create(notes)],
  ['append', (store) => store.append(notes, row(100))],
  ['upsert', (store) => store.upsert(notes, row(100))],
  ['update', (store) => store.update(notes, { id: 1, text: 'x' })],
  ['delete', (store) => store.delete(notes, 1)],
  ['deleteWhere', (store) => store.deleteWhere(notes, eq('id', 1))],
  ['replace', (store) => store.replace(notes, [])],
  ['transact', (store) => store.transact(() => 1)],
  ['sync', (store) => store.sync()],
  ['flush', (store) => store.flush()],
]

describe.each(PLACES)('a closed store, %s', (_name, place) => {
  it.each([...READS, ...WRITES])('answers %s with ClosedError', async (_method, call) => {
    const store = await filled(place())
    await store.close()
    expect(store.closed).toBe(true)
    const error = await failure(() => call(store))
    expect(error).toBeInstanceOf(ClosedError)
    expect(error).toMatchObject({ code: 'store.closed', kind: 'closed', what: 'store' })
  })

  it.each(READS)('answers %s with ClosedError on a read-only handle', async (_method, call) => {
    const root = place()
    await filled(root)
    const reader = await opened(root, { readOnly: true })
    await reader.close()
    expect(await failure(() => call(reader))).toMatchObject({ code: 'store.closed' })
  })

  it('closes once: every close() is the same', async () => {
    const store = await filled(place())
    let closes = 0
    store.on('close', () => closes++)
    await Promise.all([store.close(), store.close()])
    await store.close()
    await store[Symbol.asyncDispose]()
    store[Symbol.dispose]()
    expect(closes).toBe(1)
  })

  it('refuses new calls as soon as close() was called, and writes what was queued before', async () => {
    const root = place()
    const store = await filled(root)
    const queued = Array.from({ length: 50 }, (_, i) => store.append(notes, row(1000 + i)))
    const closing = store.close()
    expect(store.closed).toBe(true)
    expect(await failure(() => store.append(notes, row(5000)))).toBeInstanceOf(ClosedError)
    expect(await failure(() => store.get(notes, 1))).toBeInstanceOf(ClosedError)
    const results = await Promise.all(queued)
    expect(results.every((result) => result.rows === 1)).toBe(true)
    await closing
    const again = await opened(root)
    expect(await again.scan(notes).count()).toBe(60)
  })

  it('`using` writes queued commits, synchronously', async () => {
    const root = place()
    let queued: Promise<unknown>[] = []
    {
      using store = await Store.open(root, QUIET)
      await store.create(notes)
      queued = Array.from({ length: 20 }, (_, id) => store.append(notes, row(id)))
    }
    const outcomes = await Promise.allSettled(queued)
    const again = await opened(root, { openRetry: { delaysMs: [1, 2, 5, 10, 50, 100] } })
    expect(await again.scan(notes).count()).toBe(20)
    expect(outcomes.map((each) => each.status)).toEqual(queued.map(() => 'fulfilled'))
  })

  it('`await using` closes at the end of the scope', async () => {
    const root = place()
    let outer: Store
    {
      await using store = await Store.open(root, QUIET)
      outer = store
      await store.create(notes)
    }
    expect(outer.closed).toBe(true)
    await opened(root, { openRetry: { delaysMs: [] } })
  })

  it('keeps answering what needs no store: lsn, id, epoch', async () => {
    const store = await filled(place())
    const { lsn: head, id, epoch } = store
    await store.close()
    expect([store.lsn, store.id, store.epoch, store.readOnly]).toEqual([head, id, epoch, false])
  })
})

describe.each(PLACES)('what is under way when a store closes, %s', (_name, place) => {
  it('ends row and batch iterators: their next call is ClosedError', async () => {
    const store = await filled(place())
    const rows = store.scan(notes).rows()
    const batches = store.scan(notes, { batchRows: 2 }).batches()
    expect((await rows.next()).value).toEqual(row(0))
    expect((await batches.next()).value?.numRows).toBe(2)
    await store.close()
    expect(await failure(() => rows.next())).toMatchObject({ code: 'store.closed' })
    expect(await failure(() => batches.next())).toMatchObject({ code: 'store.closed' })
  })

  it('ends snapshots: every method is ClosedError', async () => {
    const store = await filled(place())
    const snapshot = await store.snapshot()
    const scan = snapshot.scan(notes)
    expect(await scan.count()).toBe(10)
    await store.close()
    const calls: ((each: Snapshot) => unknown)[] = [
      (each) => each.get(notes, 1),
      (each) => each.getMany(notes, [1]),
      (each) => each.has(notes, 1),
      (each) => each.getSync(notes, 1),
      (each) => each.scan(notes).toArray(),
      () => scan.toArray(),
    ]
    for (const call of calls) expect(await failure(() => call(snapshot))).toBeInstanceOf(ClosedError)
    await snapshot[Symbol.asyncDispose]()
  })

  it('ends feeds that wait, and feeds between two commits', async () => {
    const store = await filled(place())
    const waiting = store.changes({ tables: [notes] }).next()
    const between = store.changes({ from: 0, tables: [notes] })
    await between.next()
    const commits = store.changes({ from: 0 })
    await commits.next()
    await new Promise((resolve) => setImmediate(resolve))
    const closing = store.close()
    expect(await failure(() => waiting)).toMatchObject({ code: 'store.closed' })
    expect(await failure(() => between.next())).toMatchObject({ code: 'store.closed' })
    expect(await failure(() => commits.next())).toMatchObject({ code: 'store.closed' })
    await closing
  })

  it('ends the rows of a commit that the feed handed out', async () => {
    const store = await filled(place())
    for await (const commit of store.changes({ from: 0, tables: [notes] })) {
      if (commit.schema.length > 0) continue
      const changes = commit[Symbol.asyncIterator]()
      await changes.next()
      await store.close()
      expect(await failure(() => changes.next())).toMatchObject({ code: 'store.closed' })
      break
    }
  })

  it('ends a transaction whose function still runs: nothing of it is written', async () => {
    const root = place()
    const store = await filled(root)
    let go: () => void = () => undefined
    const gate = new Promise<void>((resolve) => (go = resolve))
    let aborted: unknown
    const running = store.transact(async (tx) => {
      tx.signal.addEventListener('abort', () => (aborted = tx.signal.reason))
      tx.upsert(notes, row(77))
      await gate
      return 'done'
    })
    running.catch(() => undefined)
    await new Promise((resolve) => setImmediate(resolve))
    const closing = store.close()
    expect(aborted).toBeInstanceOf(ClosedError)
    go()
    expect(await failure(() => running)).toBeInstanceOf(ClosedError)
    await closing
    const again = await opened(root)
    expect(await again.has(notes, 77)).toBe(false)
  })

  it('lets flushes end or be refused, in any order with close, and loses nothing', async () => {
    const root = place()
    const store = await filled(root, 500)
    const calls = [store.flush(), store.append(notes, row(9000)), store.flush(), store.close(), store.flush(), store.append(notes, row(9001))]
    const outcomes = await Promise.allSettled(calls)
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(ClosedError)
    expect(outcomes.map(({ status }) => status).filter((_, i) => i === 1 || i === 3)).toEqual(['fulfilled', 'fulfilled'])
    expect(outcomes.at(-1)!.status).toBe('rejected')
    const again = await opened(root)
    expect(await again.scan(notes).count()).toBe(501)
    expect(await again.verify({ level: 'all' })).toMatchObject({ ok: true })
  })

  it('ends a stream that is being loaded: nothing of it is written and its source is let go', async () => {
    const root = place()
    const store = await filled(root)
    let returned = false
    let pulled = 0
    const source: AsyncIterable<(typeof notes.Insert)[]> = {
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          await new Promise((resolve) => setImmediate(resolve))
          return { done: false, value: [row(1000 + pulled++)] }
        },
        return: async () => {
          returned = true
          return { done: true, value: undefined }
        },
      }),
    }
    const loading = store.append(notes, source)
    loading.catch(() => undefined)
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
    await store.close()
    expect(await failure(() => loading)).toBeInstanceOf(ClosedError)
    expect(returned).toBe(true)
    const again = await opened(root)
    expect(await again.scan(notes).count()).toBe(10)
  })
})

describe.each(PLACES)('a snapshot, %s', (_name, place) => {
  it('is ClosedError after its own release, twice is fine, and the store goes on', async () => {
    const store = await filled(place())
    const snapshot = await store.snapshot()
    const scan = snapshot.scan(notes)
    const rows = snapshot.scan(notes).rows()
    await rows.next()
    await snapshot[Symbol.asyncDispose]()
    await snapshot[Symbol.asyncDispose]()
    for (const call of [
      () => snapshot.get(notes, 1),
      () => snapshot.getMany(notes, [1]),
      () => snapshot.getMany(notes, []),
      () => snapshot.has(notes, 1),
      () => snapshot.getSync(notes, 1),
      () => snapshot.scan(notes).count(),
      () => scan.count(),
      () => rows.next(),
    ]) {
      expect(await failure(call)).toMatchObject({ code: 'store.closed', what: 'snapshot' })
    }
    expect(await store.scan(notes).count()).toBe(10)
  })
})
