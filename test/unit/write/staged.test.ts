// A staged write within one process: what its operations mean, what it leaves, and its moves (recovery.md section 2, api.md section 5).
import { tracingChannel } from 'node:diagnostics_channel'

import { describe, expect, it } from 'vitest'

import { columns, eq, gte, lsn, newWriteId, type WriteId } from '../../../bindings/index.ts'
import { contents, item, items, note, notes, Place } from './helpers.ts'

describe('what a staged write holds', () => {
  it('is invisible until it is published, then one commit over all its tables', async () => {
    const { store } = await Place.open()
    await store.append(items, [item(1), item(2)])
    const before = store.lsn
    const write = await store.stage({ message: 'nightly', author: 'ada' })
    expect(write.state).toBe('open')
    await write.append(items, [item(3), item(4)])
    expect(write.state).toBe('staged')
    await write.upsert(items, [item(1, 'new')])
    await write.delete(items, 2)
    await write.append(notes, [note(7), note(8)])
    expect(await contents(store)).toEqual({ items: ['1:x', '2:x'], notes: [] })
    const sealed = await write.seal()
    expect(write.state).toBe('sealed')
    expect(sealed).toBe(lsn(before + 1n))
    expect(await contents(store)).toEqual({ items: ['1:x', '2:x'], notes: [] })
    const result = await write.publish()
    expect(write.state).toBe('published')
    expect(result).toMatchObject({ lsn: lsn(before + 2n), writeId: write.id, rows: 6, replayed: false })
    expect(await contents(store)).toEqual({ items: ['1:new', '3:x', '4:x'], notes: ['7:n', '8:n'] })
    expect(await contents({ scan: (table, o) => store.scan(table, { ...o, at: before }) })).toEqual({ items: ['1:x', '2:x'], notes: [] })
    expect(await store.get(items, 1)).toEqual(item(1, 'new'))
  })

  it('takes rows in every form, streams of any length too', async () => {
    const { store } = await Place.open()
    await using write = await store.stage()
    await write.append(items, item(1))
    await write.append(items, columns({ id: Int32Array.of(2, 3), v: ['a', 'b'] }))
    await write.upsert(
      items,
      (async function* () {
        for (let from = 10; from < 5000; from += 500) yield Array.from({ length: 500 }, (_, i) => item(from + i))
      })(),
    )
    await write.replace(notes, [note(1), note(2)])
    expect((await write.publish()).rows).toBe(3 + 5000 + 2)
    expect(await store.scan(items).count()).toBe(5003)
    expect(await store.scan(notes).count()).toBe(2)
  })

  it.each<readonly [string, (write: Awaited<ReturnType<Place['store']['stage']>>) => Promise<unknown>, readonly string[]]>([
    ['an upsert after an append: the upsert', async (w) => (await w.append(items, item(5, 'a')), w.upsert(items, item(5, 'b'))), ['1:x', '2:x', '3:x', '5:b']],
    ['an upsert of what is there, twice: the later', async (w) => (await w.upsert(items, item(1, 'a')), w.upsert(items, item(1, 'b'))), ['1:b', '2:x', '3:x']],
    ['a delete after an append: gone', async (w) => (await w.append(items, item(5)), w.delete(items, 5)), ['1:x', '2:x', '3:x']],
    ['a delete after an upsert of what was there: gone', async (w) => (await w.upsert(items, item(1, 'a')), w.delete(items, [1])), ['2:x', '3:x']],
    ['an append after a delete: there', async (w) => (await w.delete(items, 1), w.append(items, item(1, 'again'))), ['1:again', '2:x', '3:x']],
    ['an upsert after a delete: there', async (w) => (await w.delete(items, 1), w.upsert(items, item(1, 'again'))), ['1:again', '2:x', '3:x']],
    ['a replace: nothing from before', async (w) => (await w.append(items, item(5)), w.replace(items, [item(9)])), ['9:x']],
    ['an upsert after a replace: both', async (w) => (await w.replace(items, [item(9)]), w.upsert(items, [item(1, 'a'), item(9, 'b')])), ['1:a', '9:b']],
    ['an append after a replace of a key from before: there', async (w) => (await w.replace(items, []), w.append(items, item(1, 'a'))), ['1:a']],
    ['a delete after a replace', async (w) => (await w.replace(items, [item(8), item(9)]), w.delete(items, [8, 1])), ['9:x']],
    ['deleteWhere: the store and the write', async (w) => (await w.append(items, [item(5), item(6, 'y')]), w.deleteWhere(items, gte('id', 3))), ['1:x', '2:x']],
    [
      'deleteWhere, then an append of the same key',
      async (w) => (await w.deleteWhere(items, eq('id', 3)), w.append(items, item(3, 'a'))),
      ['1:x', '2:x', '3:a'],
    ],
    ['a delete of what is not there: nothing', async (w) => w.delete(items, [77, 78]), ['1:x', '2:x', '3:x']],
    ['no rows: nothing', async (w) => w.append(items, []), ['1:x', '2:x', '3:x']],
  ])('operations on one table keep their order: %s', async (_name, stage, expected) => {
    for (const flushed of [false, true]) {
      const { store } = await Place.open()
      await store.append(items, [item(1), item(2), item(3)])
      if (flushed) await store.flush()
      const write = await store.stage()
      await stage(write)
      await write.publish()
      expect((await contents(store)).items).toEqual(expected)
    }
  })

  it('calls that are not waited for take effect in their order', async () => {
    const { store } = await Place.open()
    const write = await store.stage()
    const calls = [write.append(items, item(1, 'a')), write.upsert(items, item(1, 'b')), write.delete(items, 1), write.append(items, item(1, 'c'))]
    await write.publish()
    await Promise.all(calls)
    expect((await contents(store)).items).toEqual(['1:c'])
  })

  it('of a table without a key: appends, deletions of what is there and of its own, replace', async () => {
    const { store } = await Place.open()
    await store.append(notes, [note(1), note(2), note(3)])
    const write = await store.stage()
    await write.append(notes, [note(4), note(5)])
    await write.deleteWhere(notes, gte('at', 3))
    await write.append(notes, note(6))
    await write.publish()
    expect((await contents(store)).notes).toEqual(['1:n', '2:n', '6:n'])
    const second = await store.stage()
    await second.replace(notes, [note(9)])
    await second.append(notes, note(9))
    await second.publish()
    expect((await contents(store)).notes).toEqual(['9:n', '9:n'])
  })

  it('nothing at all is published as a commit of nothing', async () => {
    const { store } = await Place.open()
    const write = await store.stage('empty')
    const result = await write.publish()
    expect(result.rows).toBe(0)
    expect(store.lsn).toBe(result.lsn)
    expect(await store.outcome(write.id)).toBe('published')
  })
})

describe('the moves of a staged write', () => {
  it('a second publish and a second seal resolve with the first result', async () => {
    const { store } = await Place.open()
    const write = await store.stage()
    await write.append(items, item(1))
    const sealed = await write.seal()
    expect(await write.seal()).toBe(sealed)
    const first = await write.publish()
    const head = store.lsn
    expect(await write.publish()).toEqual(first)
    expect(await write.seal()).toBe(sealed)
    expect(store.lsn).toBe(head)
  })

  it('two publishes at once are one', async () => {
    const { store } = await Place.open()
    const write = await store.stage()
    await write.append(items, item(1))
    const [a, b] = await Promise.all([write.publish(), write.publish()])
    expect(a).toEqual(b)
    expect((await contents(store)).items).toEqual(['1:x'])
  })

  it('rows for one that is sealed, published or rolled back are refused', async () => {
    const { store } = await Place.open()
    const closed = { code: 'write.closed', what: 'staged write' }
    const sealed = await store.stage()
    await sealed.append(items, item(1))
    await sealed.seal()
    await expect(sealed.append(items, item(2))).rejects.toMatchObject(closed)
    await sealed.publish()
    await expect(sealed.upsert(items, item(2))).rejects.toMatchObject(closed)
    const gone = await store.stage()
    await gone.rollback()
    await expect(gone.delete(items, 1)).rejects.toMatchObject(closed)
    await expect(gone.seal()).rejects.toMatchObject(closed)
    await expect(gone.publish()).rejects.toMatchObject(closed)
  })

  it('a roll-back twice is fine, after a publish it is AlreadyPublishedError', async () => {
    const { store } = await Place.open()
    const write = await store.stage()
    await write.append(items, item(1))
    await write.rollback('changed my mind')
    await write.rollback()
    expect(write.state).toBe('rolledBack')
    expect(await store.outcome(write.id)).toBe('rolledBack')
    const other = await store.stage()
    await other.append(items, item(1))
    const { lsn: at } = await other.publish()
    await expect(other.rollback()).rejects.toMatchObject({ code: 'write.already-published', writeId: other.id, lsn: at })
    expect((await contents(store)).items).toEqual(['1:x'])
  })

  it('a sealed write is rolled back by a record, and its files go', async () => {
    const place = await Place.open()
    const write = await place.store.stage()
    await write.append(items, item(1))
    await write.seal()
    expect(await place.staging()).not.toEqual([])
    await write.rollback('not wanted')
    expect(await place.staging()).toEqual([])
    expect(await place.store.outcome(write.id)).toBe('rolledBack')
    expect((await contents(place.store)).items).toEqual([])
    const rows = []
    for await (const row of place.store.audit()) if (row.writeId === write.id) rows.push([row.kind, row.reason])
    expect(rows).toContainEqual(['rollback', 'not wanted'])
  })

  it('leaving scope unsealed rolls back and leaves no directory; sealed, it stays', async () => {
    const place = await Place.open()
    let id: WriteId
    {
      await using write = await place.store.stage()
      await write.append(items, item(1))
      expect((await place.staging()).filter((name) => name.endsWith('INTENT'))).toEqual([`${write.id}/INTENT`])
      id = write.id
    }
    expect(await place.staging()).toEqual([])
    expect(await place.store.outcome(id)).toBe('rolledBack')
    {
      await using write = await place.store.stage()
      await write.append(items, item(1))
      await write.seal()
      id = write.id
    }
    expect(await place.store.outcome(id)).toBe('pending')
    expect((await place.store.staged()).map(({ writeId }) => writeId)).toEqual([id])
    const resumed = await place.store.resume(id)
    expect(resumed.state).toBe('sealed')
    await resumed.publish()
    expect((await contents(place.store)).items).toEqual(['1:x'])
    expect(await place.staging()).toEqual([])
  })

  it('an open write that no row was given to leaves nothing and says nothing', async () => {
    const place = await Place.open()
    const head = place.store.lsn
    {
      await using write = await place.store.stage()
      expect(write.state).toBe('open')
    }
    expect(place.store.lsn).toBe(head)
    expect(await place.staging()).toEqual([])
  })

  it('a closed store takes its unsealed writes along', async () => {
    const place = await Place.open()
    const write = await place.store.stage()
    await write.append(items, item(1))
    await place.store.close()
    expect(await place.staging()).toEqual([])
    await expect(write.publish()).rejects.toMatchObject({ kind: 'closed' })
  })
})

describe('what a staged write refuses before anything is on disk', () => {
  it.each<readonly [string, (write: Awaited<ReturnType<Place['store']['stage']>>) => Promise<unknown>, object]>([
    ['an unknown column', (w) => w.append(items, { id: 5, nope: 1 } as never), { code: 'table.schema-mismatch' }],
    ['a wrong type', (w) => w.append(items, { id: 'five', v: 'x' } as never), { code: 'table.schema-mismatch' }],
    ['a key twice in one append', (w) => w.append(items, [item(5), item(5)]), { code: 'write.duplicate-key' }],
    ['a key twice in one replace', (w) => w.replace(items, [item(5), item(5)]), { code: 'write.duplicate-key' }],
    ['a key that is there', (w) => w.append(items, item(1)), { code: 'write.duplicate-key' }],
    ['an upsert on a table without a key', (w) => w.upsert(notes as never, note(1) as never), { kind: 'invalid' }],
    ['an unknown table', (w) => w.append({ ...items, name: 'nope' } as never, item(1) as never), { kind: 'invalid' }],
    ['an unknown column in a predicate', (w) => w.deleteWhere(items, eq('nope' as never, 1 as never)), { kind: 'invalid' }],
  ])('%s', async (_name, stage, error) => {
    const place = await Place.open()
    await place.store.append(items, item(1))
    const calls = place.files.calls.length
    const write = await place.store.stage()
    await expect(stage(write)).rejects.toMatchObject(error)
    expect(place.files.calls.slice(calls).filter(({ path, to }) => `${path} ${to ?? ''}`.includes('/staging/'))).toEqual([])
    // The write goes on without the call that failed.
    await write.append(items, item(6))
    await write.publish()
    expect((await contents(place.store)).items).toEqual(['1:x', '6:x'])
  })

  it('a key that this write has appended already, and not what came before in it', async () => {
    const { store } = await Place.open()
    const write = await store.stage()
    await write.append(items, item(5, 'a'))
    await expect(write.append(items, [item(6), item(5, 'b')])).rejects.toMatchObject({ code: 'write.duplicate-key' })
    await write.publish()
    expect((await contents(store)).items).toEqual(['5:a'])
  })

  it('options out of range, and an id that is known', async () => {
    const { store } = await Place.open()
    await expect(store.stage({ idempotencyKey: 'x'.repeat(129) })).rejects.toMatchObject({ code: 'options.limit' })
    await expect(store.stage('m'.repeat(5000))).rejects.toMatchObject({ code: 'options.limit' })
    await expect(store.stage({ holdUntil: new Date(Number.NaN) })).rejects.toMatchObject({ code: 'options.invalid', key: 'holdUntil' })
    await expect(store.stage({ nope: 1 } as never)).rejects.toMatchObject({ code: 'options.invalid', key: 'nope' })
    await expect(store.stage({ writeId: 'no ulid' as WriteId })).rejects.toMatchObject({ kind: 'invalid' })
    await expect(store.stage({ signal: AbortSignal.abort(new Error('stop')) })).rejects.toThrow('stop')
    const writeId = newWriteId()
    const write = await store.stage({ writeId })
    expect(write.id).toBe(writeId)
    await write.append(items, item(1))
    await expect(store.stage({ writeId })).rejects.toMatchObject({ code: 'options.invalid', key: 'writeId' })
    await write.publish()
    await expect(store.stage({ writeId })).rejects.toMatchObject({ code: 'options.invalid', key: 'writeId' })
  })
})

describe('abort', () => {
  it('before the seal rolls back and rejects with the reason', async () => {
    const place = await Place.open()
    const abort = new AbortController()
    const write = await place.store.stage({ signal: abort.signal })
    await write.append(items, item(1))
    abort.abort(new Error('enough'))
    await expect(write.publish()).rejects.toThrow('enough')
    expect(write.state).toBe('rolledBack')
    expect(await place.staging()).toEqual([])
    expect((await contents(place.store)).items).toEqual([])
  })

  it('of one call leaves that call out', async () => {
    const { store } = await Place.open()
    const write = await store.stage()
    const abort = new AbortController()
    await write.append(items, item(1))
    const rows = async function* () {
      yield [item(2)]
      abort.abort(new Error('enough'))
      yield [item(3)]
    }
    await expect(write.append(items, rows(), { signal: abort.signal })).rejects.toThrow('enough')
    await write.publish()
    expect((await contents(store)).items).toEqual(['1:x'])
  })
})

describe('who watches', () => {
  it('is told of the publish as of a commit, and counts its conflicts', async () => {
    const counts: Record<string, number> = {}
    const meter = { add: (name: string, value: number) => void (counts[name] = (counts[name] ?? 0) + value), record: () => undefined }
    const { store } = await Place.open({ meter })
    const commits: unknown[] = []
    using _sub = store.on('commit', ({ writeId, tables, rows }) => commits.push({ writeId, tables, rows }))
    const traced: unknown[] = []
    const onEnd = (message: unknown): void => void traced.push((message as { writeId?: unknown }).writeId)
    tracingChannel('varve:commit').asyncEnd.subscribe(onEnd)
    const write = await store.stage()
    await write.upsert(items, item(1))
    await write.append(notes, note(1))
    await write.publish()
    tracingChannel('varve:commit').asyncEnd.unsubscribe(onEnd)
    expect(commits).toEqual([{ writeId: write.id, tables: ['items', 'notes'], rows: 2 }])
    expect(traced).toEqual([write.id])
    const late = await store.stage()
    await late.upsert(items, item(1, 'late'))
    await store.upsert(items, item(1, 'first'))
    await expect(late.publish()).rejects.toMatchObject({ code: 'write.conflict' })
    expect(counts['varve.conflicts']).toBe(1)
  })
})
