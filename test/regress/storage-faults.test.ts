// Found by the storage-fault matrix: a roll-back waited for ever, without a pause, on a handle whose log had failed under it, and close() with it; an open that
// failed half-way through taking the LOCK left it held until the process ended; the error of a lost seal named no write.
import { expect, it } from 'vitest'

import { PoisonedError, Store, t, table } from '../../bindings/index.ts'
import { DirRoot, MemoryRoot } from '../../bindings/root/index.ts'
import { FaultyRoot, type RootFault, type RootMethod } from '../../bindings/testing/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const items = table('items', { id: t.int32(), v: t.utf8() }, { key: ['id'] })
const OPTIONS = { threads: 0, upkeep: 'manual' } as const

it('a roll-back whose record met a failing log rejects, again too, and close() comes to its end', async () => {
  const { world } = simWorld({ seed: 1 })
  const root = new FaultyRoot(new DirRoot('/data/store', world))
  const store = await Store.open(root, { world, ...OPTIONS })
  await store.create(items)
  const write = await store.stage()
  await write.append(items, { id: 1, v: 'x' })
  root.plan(({ method }) => (method === 'segment.datasync' ? { error: 'io' } : undefined))
  await expect(write.rollback()).rejects.toBeInstanceOf(PoisonedError)
  await expect(write.rollback()).rejects.toMatchObject({ kind: 'closed' })
  root.plan(undefined)
  await store.close().catch((error: unknown) => expect(error).toMatchObject({ kind: 'closed' }))
})

it.each<[RootMethod, RootFault]>([
  ['putIfAbsent', { error: 'io', when: 'after' }],
  ['hold', { error: 'permission' }],
  ['get', { error: 'io' }],
  ['isCurrent', { error: 'io' }],
])('given an open that failed at %s of its LOCK (%o), then the same process can open', async (method, fault) => {
  const { world } = simWorld({ seed: 1 })
  const root = new FaultyRoot(new DirRoot('/data/store', world))
  root.failAt(1, fault, (call) => call.method === method && call.name.startsWith('LOCK'))
  await expect(Store.open(root, { world, ...OPTIONS })).rejects.toMatchObject({ name: 'StorageError' })
  root.plan(undefined)
  const store = await Store.open(root, { world, ...OPTIONS, openRetry: { delaysMs: [], cleanupStale: false } })
  await store.close()
})

it('given a seal whose answer is lost for good, then the error names the write and says that its intent is kept', async () => {
  const { world } = simWorld({ seed: 1 })
  const root = new FaultyRoot(new MemoryRoot())
  const store = await Store.open(root, { world, ...OPTIONS, writers: 'shared', follow: false })
  await store.create(items)
  const write = await store.stage()
  await write.append(items, { id: 1, v: 'x' })
  root.plan(({ name }) => (/^log\/[0-9]+$/.test(name) ? { error: 'timeout', when: 'after' } : undefined))
  await expect(write.seal()).rejects.toMatchObject({ name: 'CommitOutcomeUnknownError', writeId: write.id, intentKept: true })
  root.plan(undefined)
  await store.refresh()
  expect(await store.outcome(write.id)).toBe('pending')
  await store.close()
})
