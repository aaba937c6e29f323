import { describe, expect, it } from 'vitest'

import { columns, eq, gt, type Progress, Store, t, table } from '../../../bindings/index.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { failure, opened, PLACES, QUIET } from '../store/places.ts'

const items = table('items', { id: t.int32(), text: t.utf8().nullable() }, { key: ['id'] })
const bulk = (from: number, rows = 20_000) => columns({ id: Int32Array.from({ length: rows }, (_, i) => from + i) })
const turn = () => new Promise((resolve) => setImmediate(resolve))

async function fresh(root: string, options: object = {}): Promise<Store> {
  const store = await opened(root, options)
  await store.create(items)
  return store
}

/** A source that tells whether it was started and let go. */
function source(chunk: (n: number) => unknown, before: () => Promise<unknown> = turn) {
  const told = { pulls: 0, returns: 0 }
  const iterable = {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        const n = told.pulls++
        await before()
        return { done: false, value: chunk(n) }
      },
      return: async () => {
        told.returns++
        return { done: true, value: undefined }
      },
    }),
  }
  return { told, iterable: iterable as never }
}

describe.each(PLACES)('an aborted signal, %s', (_name, place) => {
  it('rejects every write with its reason before any effect', async () => {
    const store = await fresh(place())
    await store.append(items, { id: 1 })
    const before = store.lsn
    const reason = new Error('changed my mind')
    const o = { signal: AbortSignal.abort(reason) }
    const { told, iterable } = source((n) => ({ id: n }))
    const calls: (() => unknown)[] = [
      () => store.append(items, { id: 2 }, o),
      () => store.append(items, [], o),
      () => store.append(items, bulk(100), o),
      () => store.append(items, iterable, o),
      () => store.upsert(items, { id: 1, text: 'x' }, o),
      () => store.update(items, { id: 1, text: 'x' }, o),
      () => store.delete(items, 1, o),
      () => store.deleteWhere(items, eq('id', 1), o),
      () => store.replace(items, [], o),
      () => store.transact((tx) => tx.delete(items, 1), o),
      () => store.flush(o),
      () => store.verify(o),
    ]
    for (const call of calls) expect(await failure(call)).toBe(reason)
    expect(told).toEqual({ pulls: 0, returns: 0 })
    expect(store.lsn).toBe(before)
    expect(await store.scan(items).toArray()).toEqual([{ id: 1, text: null }])
  })

  it('a write that is in the log already resolves', async () => {
    const store = await fresh(place())
    const abort = new AbortController()
    const writes = [
      store.append(items, { id: 1 }, { signal: abort.signal }),
      store.append(items, [{ id: 2 }, { id: 3 }], { signal: abort.signal }),
      store.upsert(items, { id: 1, text: 'x' }, { signal: abort.signal }),
    ]
    abort.abort(new Error('too late'))
    expect((await Promise.all(writes)).map(({ rows }) => rows)).toEqual([1, 2, 1])
    expect(await store.scan(items).count()).toBe(3)
  })

  it('ends a stream that is being read: reason, return() of the source, nothing written', async () => {
    const store = await fresh(place())
    const before = store.lsn
    for (const chunk of [(n: number) => ({ id: n }), (n: number) => bulk(n * 20_000), (n: number) => [{ id: n }]]) {
      for (const op of ['append', 'upsert', 'replace'] as const) {
        const abort = new AbortController()
        const reason = new Error('enough')
        const { told, iterable } = source(chunk)
        const write = store[op].bind(store) as Store['append']
        const writing = write(items, iterable, { signal: abort.signal })
        writing.catch(() => undefined)
        while (told.pulls < 5) await turn()
        abort.abort(reason)
        expect(await failure(() => writing)).toBe(reason)
        expect(told.returns).toBe(1)
      }
    }
    expect(store.lsn).toBe(before)
    expect(await store.scan(items).count()).toBe(0)
  })

  it('does not wait for a source that never comes back', async () => {
    const store = await fresh(place())
    const abort = new AbortController()
    const reason = new Error('hung')
    const { told, iterable } = source(
      (n) => ({ id: n }),
      () => new Promise(() => undefined),
    )
    const writing = store.append(items, iterable, { signal: abort.signal })
    writing.catch(() => undefined)
    while (told.pulls < 1) await turn()
    abort.abort(reason)
    expect(await failure(() => writing)).toBe(reason)
    expect(told.returns).toBe(1)
  })

  it('a source that fails is told apart from one that is let go', async () => {
    const store = await fresh(place())
    const broken = new Error('broken pipe')
    const { told, iterable } = source((n) => {
      if (n === 3) throw broken
      return { id: n }
    })
    expect(await failure(() => store.append(items, iterable))).toBe(broken)
    expect(told.returns).toBe(0)
    const many = source((n) => Array.from({ length: 70_000 }, (_, i) => (n === 1 ? { id: 'x' } : { id: n * 70_000 + i })))
    expect(await failure(() => store.append(items, many.iterable))).toMatchObject({ code: 'table.schema-mismatch', row: 70_000 })
    expect(many.told.returns).toBe(1)
    expect(await store.scan(items).count()).toBe(0)
  })

  it('ends scans under way with its reason', async () => {
    const store = await fresh(place())
    await store.append(items, bulk(0, 100_000))
    for (const read of ['rows', 'batches'] as const) {
      const abort = new AbortController()
      const reason = new Error('seen enough')
      const iterator = store.scan(items, { signal: abort.signal, batchRows: 1000 })[read]() as AsyncIterator<unknown>
      await iterator.next()
      abort.abort(reason)
      expect(await failure(() => iterator.next())).toBe(reason)
    }
    const abort = new AbortController()
    const reason = new Error('stop')
    const running = store.scan(items, { signal: abort.signal, orderBy: 'id desc', where: gt('id', 5) }).toArray()
    abort.abort(reason)
    expect(await failure(() => running)).toBe(reason)
  })

  it('breaking out of a scan releases it, and the scan can be run again', async () => {
    const store = await fresh(place())
    await store.append(items, bulk(0, 50_000))
    const scan = store.scan(items, { orderBy: 'id' })
    for await (const row of scan.rows()) if (row.id === 10) break
    for await (const batch of scan) {
      expect(batch.numRows).toBeGreaterThan(0)
      break
    }
    expect(await scan.count()).toBe(50_000)
    expect(await store.pins()).toEqual([])
  })

  it('ends the wait of an open for the lock', async () => {
    const root = place()
    await fresh(root)
    const abort = new AbortController()
    const reason = new Error('somebody else may')
    const opening = Store.open(root, { ...QUIET, signal: abort.signal, openRetry: { delaysMs: [60_000] } })
    opening.catch(() => undefined)
    for (let i = 0; i < 20; i++) await turn()
    abort.abort(reason)
    expect(await failure(() => opening)).toBe(reason)
  })
})

describe('progress', () => {
  const chunks = async function* (count: number) {
    for (let n = 0; n < count; n++) {
      await turn()
      yield bulk(n * 20_000)
    }
  }

  it('of a load: first and last, rising, at most ten a second between', async () => {
    const time = new FakeClock()
    const store = await fresh('memory:', { world: { clock: time.clock, timers: time.timers } })
    const told: Progress[] = []
    const loading = store.append(items, chunks(20) as never, { onProgress: (p) => told.push(p) })
    let done = false
    void loading.finally(() => (done = true))
    while (!done) {
      await time.advance(10)
      await turn()
    }
    expect(told.length).toBeGreaterThanOrEqual(2)
    expect(told.at(-1)).toMatchObject({ done: 400_000, unit: 'rows', table: 'items' })
    for (const [i, each] of told.entries()) {
      expect(typeof each.elapsedMs).toBe('number')
      expect(typeof each.phase).toBe('string')
      if (i > 0) expect(each.done).toBeGreaterThanOrEqual(told[i - 1]!.done)
      if (i > 1 && i < told.length - 1) expect(each.elapsedMs - told[i - 1]!.elapsedMs).toBeGreaterThanOrEqual(100)
    }
  })

  it.each([
    ['one row', (store: Store, onProgress: (p: Progress) => void) => store.append(items, { id: 1 }, { onProgress })],
    ['some rows', (store: Store, onProgress: (p: Progress) => void) => store.append(items, [{ id: 2 }, { id: 3 }], { onProgress })],
    ['a small stream', (store: Store, onProgress: (p: Progress) => void) => store.upsert(items, chunksOfRows() as never, { onProgress })],
    ['a bulk load', (store: Store, onProgress: (p: Progress) => void) => store.upsert(items, bulk(0), { onProgress })],
    ['a scan', (store: Store, onProgress: (p: Progress) => void) => store.scan(items, { onProgress }).toArray()],
    ['a delete by predicate', (store: Store, onProgress: (p: Progress) => void) => store.deleteWhere(items, gt('id', 0), { onProgress })],
    ['a flush', (store: Store, onProgress: (p: Progress) => void) => store.flush({ onProgress })],
    ['a verify', (store: Store, onProgress: (p: Progress) => void) => store.verify({ onProgress })],
  ])('of %s is told at least at its end', async (_what, run) => {
    const store = await fresh('memory:')
    await store.append(items, [{ id: 100 }, { id: 200 }])
    const told: Progress[] = []
    await run(store, (p) => told.push(p))
    expect(told.length).toBeGreaterThan(0)
    expect(told.at(-1)!.done).toBeGreaterThan(0)
  })

  it('of an open is told', async () => {
    const told: Progress[] = []
    await opened('memory:', { onProgress: (p) => told.push(p) })
    expect(told.length).toBeGreaterThan(0)
  })

  it('a throwing listener is logged and dropped', async () => {
    const logged: unknown[] = []
    const store = await fresh('memory:', { world: { logger: { log: (entry: unknown) => logged.push(entry) } } })
    let calls = 0
    const result = await store.append(items, chunks(5) as never, {
      onProgress: () => {
        calls++
        throw new Error('listener')
      },
    })
    expect(result.rows).toBe(100_000)
    expect(calls).toBe(1)
    expect(logged).toHaveLength(1)
  })
})

async function* chunksOfRows(): AsyncGenerator<{ id: number }> {
  yield { id: 5 }
  yield { id: 6 }
}
