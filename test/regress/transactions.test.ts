// Transactions: what once went wrong, each with the smallest input that showed it.

import { expect, it } from 'vitest'

import { DuplicateKeyError, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'

const items = table('items', { id: t.int32(), n: t.int32() }, { key: ['id'] })
const lines = table('lines', { text: t.utf8() })

const rows = (count: number, n: number): { id: number; n: number }[] => Array.from({ length: count }, (_, id) => ({ id, n }))

// A change of more rows than a chunk of the memory layer was queued, could not be folded, and the store never opened again.
it('commits more rows than a chunk holds, in one transaction and in one update, and opens again', async () => {
  const root = new MemoryRoot()
  const store = await Store.open(root, { threads: 0 })
  await store.create(items, lines)
  await store.transact((tx) => {
    tx.append(items, rows(70_000, 1))
    tx.append(
      lines,
      Array.from({ length: 70_000 }, (_, i) => ({ text: `${i}` })),
    )
  })
  expect((await store.update(items, rows(70_000, 2))).rows).toBe(70_000)
  await store.transact((tx) =>
    tx.replace(
      lines,
      Array.from({ length: 66_000 }, (_, i) => ({ text: `${i}` })),
    ),
  )
  const seen: unknown[] = []
  for await (const commit of store.changes({ from: 0, tables: [items], follow: false })) seen.push(commit.counts['items'])
  expect(seen.at(-1)).toEqual({ inserted: 0, updated: 70_000, deleted: 0 })
  await store.close()
  const again = await Store.open(root, { threads: 0 })
  expect(await again.scan(items).aggregate({ rows: 'count', sum: { sum: 'n' } })).toEqual({ rows: 70_000, sum: 140_000 })
  expect(await again.scan(lines).count()).toBe(66_000)
  expect((await again.verify({ level: 'all' })).problems).toEqual([])
  await again.close()
})

// Deleting the row again, or replacing the table, let an append of a key that was there pass.
it('refuses an append of a key that is there, whatever the transaction does afterwards', async () => {
  const store = await Store.open('memory:', { threads: 0 })
  await store.create(items)
  await store.append(items, { id: 1, n: 1 })
  await expect(
    store.transact((tx) => {
      tx.append(items, { id: 1, n: 2 })
      tx.delete(items, 1)
    }),
  ).rejects.toBeInstanceOf(DuplicateKeyError)
  await expect(
    store.transact((tx) => {
      tx.append(items, { id: 1, n: 2 })
      tx.replace(items, [])
    }),
  ).rejects.toBeInstanceOf(DuplicateKeyError)
  await store.transact((tx) => {
    tx.delete(items, 1)
    tx.append(items, { id: 1, n: 3 })
  })
  expect(await store.get(items, 1)).toEqual({ id: 1, n: 3 })
  await store.close()
})

// Two patches of one key were counted as two rows.
it('counts a key once in an update', async () => {
  const store = await Store.open('memory:', { threads: 0 })
  await store.create(items)
  await store.append(items, { id: 1, n: 1 })
  const patches = [
    { id: 1, n: 2 },
    { id: 1, n: 3 },
  ]
  expect(await store.transact((tx) => tx.update(items, patches))).toBe(1)
  expect((await store.update(items, patches)).rows).toBe(1)
  await store.close()
})
