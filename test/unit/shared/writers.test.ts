// Several writers of one store whose log is kept as slots: nothing lost, nothing doubled, one linear history, first committer wins.
import { afterEach, describe, expect, it } from 'vitest'

import { columns, ConflictError, eq, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'

const seats = table('seats', { id: t.int64(), taken: t.int32() }, { key: ['id'] })
const events = table('events', { who: t.utf8(), n: t.int32() })

const stores: Store[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

async function writers(count: number): Promise<Store[]> {
  const root = new MemoryRoot()
  const opened: Store[] = []
  for (let i = 0; i < count; i++) {
    const store = await Store.open(root, { writers: 'shared', upkeep: 'manual', publishRetries: 100 })
    stores.push(store)
    opened.push(store)
  }
  return opened
}

describe('writers of a shared log', () => {
  it('append to disjoint tables: one linear chain, no error', async () => {
    const open = await writers(4)
    const tables = open.map((_, i) => table(`t${i}`, { n: t.int32() }))
    await Promise.all(open.map((store, i) => store.create(tables[i]!)))
    await Promise.all(
      open.map(async (store, i) => {
        for (let n = 0; n < 25; n++) await store.append(tables[i]!, { n })
      }),
    )
    for (const store of open) {
      await store.refresh()
      for (const each of tables) expect(await store.scan(each).count()).toBe(25)
    }
    const digests = await Promise.all(open.map(async (store) => (await store.verify({ level: 'log' })).digest))
    expect(new Set(digests.map(String)).size).toBe(1)
  })

  it('append to one unkeyed table together: every row once', async () => {
    const open = await writers(4)
    await Promise.all(open.map((store) => store.create(events)))
    await Promise.all(
      open.map(async (store, i) => {
        for (let n = 0; n < 25; n++) await store.append(events, { who: `w${i}`, n })
      }),
    )
    const [first] = open
    await first!.refresh()
    const rows = await first!.scan(events).toArray()
    expect(rows.length).toBe(100)
    expect(new Set(rows.map((row) => `${row.who} ${row.n}`)).size).toBe(100)
  })

  it('upsert one key: in each round one wins, the others get ConflictError that names the key', async () => {
    const open = await writers(4)
    await open[0]!.create(seats)
    for (const store of open) await store.refresh()
    for (let round = 0; round < 10; round++) {
      for (const store of open) await store.refresh()
      const results = await Promise.allSettled(open.map((store, i) => store.upsert(seats, { id: 7n, taken: i })))
      const won = results.filter((result) => result.status === 'fulfilled')
      const lost = results.filter((result) => result.status === 'rejected')
      expect(won.length).toBe(1)
      for (const { reason } of lost) {
        expect(reason).toBeInstanceOf(ConflictError)
        expect((reason as ConflictError).keys).toEqual([{ id: 7n }])
      }
      await open[0]!.refresh()
      const at = results.findIndex((result) => result.status === 'fulfilled')
      expect((await open[0]!.get(seats, { id: 7n }))?.taken).toBe(at)
    }
  })

  it('count up in transactions: no update is lost', async () => {
    const open = await writers(3)
    await open[0]!.create(seats)
    await open[0]!.upsert(seats, { id: 1n, taken: 0 })
    await Promise.all(
      open.map(async (store) => {
        await store.refresh()
        for (let n = 0; n < 20; n++) {
          await store.transact(
            async (tx) => {
              const seat = await tx.get(seats, { id: 1n })
              tx.upsert(seats, { id: 1n, taken: seat!.taken + 1 })
            },
            { retries: 1000 },
          )
        }
      }),
    )
    await open[1]!.refresh()
    expect((await open[1]!.get(seats, { id: 1n }))?.taken).toBe(60)
  })

  it('create the same table together: it is made once', async () => {
    const open = await writers(4)
    await Promise.all(open.map((store) => store.create(seats)))
    for (const store of open) {
      await store.refresh()
      expect((await store.tables()).map(({ name }) => name)).toEqual(['seats'])
    }
  })

  it('reopen: everything acknowledged by any of them is there', async () => {
    const root = new MemoryRoot()
    const a = await Store.open(root, { writers: 'shared' })
    const b = await Store.open(root)
    await a.create(events)
    await Promise.all([a.append(events, { who: 'a', n: 1 }), b.refresh().then(() => b.append(events, { who: 'b', n: 1 }))])
    await a.close()
    await b.close()
    const again = await Store.open(root)
    stores.push(again)
    expect(await again.scan(events).count()).toBe(2)
    const reader = await Store.open(root, { readOnly: true })
    expect(await reader.scan(events).count()).toBe(2)
    await reader.close()
  })
})

describe('a writer of a shared log', () => {
  it('sees what others commit without being asked, and with follow: false only at a refresh', async () => {
    const root = new MemoryRoot()
    const a = await Store.open(root, { writers: 'shared' })
    const b = await Store.open(root)
    const c = await Store.open(root, { follow: false })
    stores.push(a, b, c)
    await a.create(events)
    await a.append(events, { who: 'a', n: 1 })
    await expect.poll(() => b.lsn, { timeout: 5000 }).toBe(a.lsn)
    expect(await b.scan(events).count()).toBe(1)
    expect(c.lsn).toBeLessThan(a.lsn)
    await c.refresh()
    expect(c.lsn).toBe(a.lsn)
  })

  it('that opens exclusively fences the ones before it', async () => {
    const root = new MemoryRoot()
    const a = await Store.open(root, { writers: 'shared', follow: false })
    stores.push(a)
    await a.create(events)
    const b = await Store.open(root, { writers: 'exclusive' })
    stores.push(b)
    await b.append(events, { who: 'b', n: 1 })
    await expect(a.append(events, { who: 'a', n: 1 })).rejects.toMatchObject({ code: 'log.fenced' })
    await b.append(events, { who: 'b', n: 2 })
    expect(await b.scan(events).count()).toBe(2)
  })

  it('is told by ContentionError when each of its tries lost, and nothing of it is there', async () => {
    const root = new MemoryRoot()
    const a = await Store.open(root, { writers: 'shared', follow: false, publishRetries: 0 })
    const b = await Store.open(root, { follow: false })
    stores.push(a, b)
    await b.create(events)
    await a.refresh()
    const both = await Promise.allSettled([b.append(events, { who: 'b', n: 1 }), a.append(events, { who: 'a', n: 1 })])
    const lost = both.filter((result) => result.status === 'rejected')
    for (const { reason } of lost) expect(reason).toMatchObject({ code: 'write.contention', retryable: true })
    await a.refresh()
    expect(await a.scan(events).count()).toBe(2 - lost.length)
  })
})

describe('loads into a shared store', () => {
  const columnsOf = (from: number, rows: number, taken: number) =>
    columns({
      id: BigInt64Array.from({ length: rows }, (_, i) => BigInt(from + i)),
      taken: new Int32Array(rows).fill(taken),
    })

  it('that race with commits and each other keep every row, each key once', async () => {
    const root = new MemoryRoot()
    const open: Store[] = []
    for (let i = 0; i < 3; i++) {
      const store = await Store.open(root, { writers: 'shared', publishRetries: 100, inlineLimitBytes: 1024, follow: false })
      open.push(store)
      stores.push(store)
    }
    const [a, b, c] = open as [Store, Store, Store]
    await a.create(seats, events)
    await b.refresh()
    await c.refresh()
    await Promise.all([
      a.append(seats, columnsOf(0, 500, 1)),
      b.append(seats, columnsOf(1000, 500, 2)),
      (async () => {
        for (let n = 0; n < 10; n++) await c.append(events, { who: 'c', n })
      })(),
    ])
    // The same keys, by load and one by one.
    await Promise.all([
      a.upsert(seats, columnsOf(250, 1000, 3)),
      (async () => {
        for (let n = 0; n < 10; n++) await c.append(events, { who: 'd', n })
      })(),
      b.flush(),
    ])
    for (const store of open) {
      await store.refresh()
      expect(await store.scan(seats).count()).toBe(1500)
      expect(await store.scan(seats, { where: eq('taken', 3) }).count()).toBe(1000)
      expect(await store.scan(events).count()).toBe(20)
    }
    const names: string[] = []
    for await (const { name } of root.list('staging/')) names.push(name)
    expect(names).toEqual([])
    expect((await b.verify({ level: 'all' })).problems).toEqual([])
  })

  it('staged by one writer and published after others have written: other keys commute, the same key is a conflict', async () => {
    const root = new MemoryRoot()
    const a = await Store.open(root, { writers: 'shared' })
    const b = await Store.open(root)
    stores.push(a, b)
    await a.create(seats)
    await b.refresh()
    const write = await a.stage('nightly')
    await write.upsert(seats, [
      { id: 1n, taken: 1 },
      { id: 2n, taken: 1 },
    ])
    await write.seal()
    await b.refresh()
    await b.upsert(seats, { id: 3n, taken: 9 })
    await write.publish()
    await b.refresh()
    expect(await b.scan(seats).count()).toBe(3)
    const second = await a.stage('again')
    await second.upsert(seats, [{ id: 1n, taken: 2 }])
    await second.seal()
    await b.refresh()
    await b.upsert(seats, { id: 1n, taken: 5 })
    await expect(second.publish()).rejects.toBeInstanceOf(ConflictError)
    await second.rollback()
    await a.refresh()
    expect((await a.get(seats, { id: 1n }))?.taken).toBe(5)
  })
})
