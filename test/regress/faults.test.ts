// Errors of the file system: what once came out wrong, each with the call that showed it.

import { expect, it } from 'vitest'

import { PoisonedError, StorageError, Store, t, table } from '../../bindings/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const items = table('items', { id: t.int32() }, { key: ['id'] })

// The errno of a failed close of the LOCK's descriptor reached the caller as it was.
it('rejects close() with a StorageError when the descriptor of the LOCK does not close', async () => {
  const files = new FakeFiles()
  const store = await Store.open('/data/store', { world: simWorld({ seed: 1, files }).world, threads: 0 })
  files.failAt(1, { error: 'EIO', effect: 'whole' }, ({ op, path }) => op === 'close' && path.includes('LOCK'))
  await expect(store.close()).rejects.toBeInstanceOf(StorageError)
})

// Every later write was refused with the StorageError of that one look, retryable by its kind, and no reopen was asked for.
it('poisons a buffered store whose LOCK cannot be looked at after a sync', async () => {
  const files = new FakeFiles()
  const store = await Store.open('/data/store', { world: simWorld({ seed: 1, files }).world, threads: 0, durability: 'buffered' })
  await store.create(items)
  await store.upsert(items, { id: 1 })
  files.failAt(1, { error: 'EACCES' }, ({ op, path }) => op === 'stat' && path.includes('LOCK'))
  await expect(store.sync()).rejects.toBeInstanceOf(PoisonedError)
  await expect(store.upsert(items, { id: 2 })).rejects.toBeInstanceOf(PoisonedError)
  expect(await store.scan(items).count()).toBe(1)
  await store.close()
})
