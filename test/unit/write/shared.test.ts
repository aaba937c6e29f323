// Staged writes and sealed loads on a log that several writers share: the same rules, decided by who takes the slot (recovery.md section 4).
import { afterEach, describe, expect, it } from 'vitest'

import { columns, ConflictError, Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { contents, item, items, note, notes } from './helpers.ts'

const stores: Store[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

async function writers(count: number, o: { sealMode?: 'fused' | 'separate'; inlineLimitBytes?: number; follow?: boolean } = {}): Promise<Store[]> {
  const root = new MemoryRoot()
  const opened: Store[] = []
  for (let i = 0; i < count; i++) {
    const store = await Store.open(root, { writers: 'shared', upkeep: 'manual', threads: 0, publishRetries: 100, ...o })
    stores.push(store)
    opened.push(store)
  }
  await opened[0]!.create(items, notes)
  for (const store of opened) await store.refresh()
  return opened
}

describe('outcome() on a handle that has not seen it yet', () => {
  it('of a write that another writer committed, published or rolled back: refreshes before it answers', async () => {
    const [a, b] = (await writers(2, { follow: false })) as [Store, Store]
    const commit = await b.append(notes, note(1))
    expect(await a.outcome(commit.writeId)).toBe('published')
    const write = await a.stage()
    await write.append(notes, note(2))
    await write.seal()
    const { lsn } = await (await b.resume(write.id)).publish()
    expect(lsn).toBeGreaterThan(a.lsn)
    expect(await a.outcome(write.id)).toBe('published')
    const dropped = await b.stage()
    await dropped.append(notes, note(3))
    await dropped.seal()
    expect(await a.outcome(dropped.id)).toBe('pending')
    await dropped.rollback()
    expect(await a.outcome(dropped.id)).toBe('rolledBack')
  })
})

describe('a staged write beside other writers', () => {
  it('is seen by all, sealed by one and published by another', async () => {
    const [a, b] = (await writers(2)) as [Store, Store]
    await a.upsert(items, [item(1), item(2)])
    const write = await a.stage()
    await write.upsert(items, item(1, 'new'))
    await write.delete(items, 2)
    await write.seal()
    await b.upsert(items, item(3))
    await b.flush()
    expect((await b.staged()).map(({ writeId }) => writeId)).toEqual([write.id])
    const { lsn } = await (await b.resume(write.id)).publish()
    expect((await contents(b)).items).toEqual(['1:new', '3:x'])
    await a.refresh()
    expect((await contents(a)).items).toEqual(['1:new', '3:x'])
    expect(await write.publish()).toMatchObject({ lsn, rows: 2 })
    await expect(write.rollback()).rejects.toMatchObject({ code: 'write.already-published' })
  })

  it('is a conflict when another writer wrote one of its keys, also unseen', async () => {
    const [a, b] = (await writers(2)) as [Store, Store]
    const write = await a.stage()
    await write.upsert(items, [item(1, 'a'), item(2, 'a')])
    await write.seal()
    await b.refresh()
    await b.upsert(items, item(2, 'b'))
    await expect(write.publish()).rejects.toMatchObject({ code: 'write.conflict', keys: [{ id: 2 }] })
    expect(write.state).toBe('sealed')
    await write.rollback()
    await b.refresh()
    expect(await b.outcome(write.id)).toBe('rolledBack')
    expect((await contents(b)).items).toEqual(['2:b'])
  })

  it('rolled back by another writer, its owner is fenced', async () => {
    const [a, b] = (await writers(2)) as [Store, Store]
    const write = await a.stage()
    await write.upsert(items, item(1, 'a'))
    await write.seal()
    await b.refresh()
    await (await b.resume(write.id)).rollback('by b')
    await expect(write.publish()).rejects.toMatchObject({ code: 'log.fenced', scope: 'write' })
    expect(write.state).toBe('rolledBack')
    expect((await contents(a)).items).toEqual([])
  })

  it('many at once, on one table each and on one together: one chain, each row once', async () => {
    const open = await writers(4)
    await Promise.all(
      open.map(async (store, i) => {
        for (let n = 0; n < 5; n++) {
          const write = await store.stage()
          await write.upsert(items, item(100 * i + n))
          await write.append(notes, note(100 * i + n))
          await write.publish()
        }
      }),
    )
    for (const store of open) {
      await store.refresh()
      const { items: keyed, notes: unkeyed } = await contents(store)
      expect([keyed.length, unkeyed.length]).toEqual([20, 20])
      expect((await store.verify({ level: 'all' })).problems).toEqual([])
      expect((await store.stats()).pending).toBe(0)
    }
  })

  it('published by all its handles at once: one commit', async () => {
    const open = await writers(3)
    const write = await open[0]!.stage()
    await write.append(notes, [note(1), note(2)])
    await write.seal()
    for (const store of open) await store.refresh()
    const handles = await Promise.all(open.slice(1).map((store) => store.resume(write.id)))
    const results = await Promise.all([write, ...handles].map((handle) => handle.publish()))
    expect(new Set(results.map(({ lsn }) => lsn)).size).toBe(1)
    await open[2]!.refresh()
    expect((await contents(open[2]!)).notes).toEqual(['1:n', '2:n'])
  })
})

describe.each(['fused', 'separate'] as const)('loads of several writers, sealMode %s', (sealMode) => {
  const batch = (from: number, v: string) => columns({ id: Int32Array.from({ length: 50 }, (_, i) => from + i), v: Array.from({ length: 50 }, () => v) })

  it('of other keys: all are there', async () => {
    const open = await writers(3, { sealMode, inlineLimitBytes: 0 })
    await Promise.all(open.map((store, i) => store.upsert(items, batch(1000 * i, `w${i}`))))
    for (const store of open) {
      await store.refresh()
      expect(await store.scan(items).count()).toBe(150)
    }
  })

  it('of the same keys: what is published is one after the other, whole', async () => {
    const open = await writers(3, { sealMode, inlineLimitBytes: 0 })
    const results = await Promise.allSettled(open.map((store, i) => store.upsert(items, batch(0, `w${i}`))))
    expect(results.some(({ status }) => status === 'fulfilled')).toBe(true)
    for (const result of results) if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(ConflictError)
    for (const store of open) {
      await store.refresh()
      const { items: rows } = await contents(store)
      expect(rows.length).toBe(50)
      expect(new Set(rows.map((row) => row.split(':')[1])).size).toBe(1)
      expect((await store.stats()).pending).toBe(0)
    }
  })
})
