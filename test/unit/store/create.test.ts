// Making a store (recovery.md section 18, Create): VARVE is the commit point, whatever fails or dies around it.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, it } from 'vitest'

import { type OpenOptions, Store, StoreExistsError, t, table } from '../../../bindings/index.ts'
import { DirRoot, MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { systemTimers, type World } from '../../../bindings/runtime/index.ts'
import { failpoints, FakeFiles, fakeWorld, FaultyRoot, FP, type FailpointName } from '../../../bindings/testing/index.ts'
import { failure, opened, PLACES, QUIET, tempDirectory } from './places.ts'

const notes = table('notes', { id: t.int32() }, { key: ['id'] })
const POINTS: readonly FailpointName[] = [FP.open.probe, FP.open.beforeLock, FP.open.afterLock, FP.open.beforeEpoch, FP.open.afterVersionFile]

/** Fake files, and timers that run: an open may wait for a LOCK. */
function realTime(files: FakeFiles, pid = 1): World {
  return { ...fakeWorld({ files, host: { pid, isAlive: (other) => other === pid } }), timers: systemTimers }
}

/** Opens `root` again and proves that it is a whole store. */
async function works(root: Root | string, o: OpenOptions = {}): Promise<string> {
  const store = await Store.open(root, { ...QUIET, ...o })
  await store.create(notes)
  await store.append(notes, { id: 1 })
  expect(await store.scan(notes).count()).toBe(1)
  const { id } = store
  await store.close()
  const again = await Store.open(root, { ...QUIET, ...o })
  expect([again.id, await again.scan(notes).count()]).toEqual([id, 1])
  await again.close()
  return id
}

async function namesOf(root: Root): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list('')) names.push(name)
  return names
}

describe('given an error at a point of a first open, the next open makes or opens the store', () => {
  it.each(POINTS)('%s', async (point) => {
    const files = new FakeFiles()
    const world = realTime(files)
    const root = new DirRoot('/data', world)
    using armed = failpoints(world).arm(point, { error: 'permission', times: 1 })
    expect(await failure(() => Store.open(root, { ...QUIET, world }))).toMatchObject({ name: 'StorageError', class: 'permission' })
    expect(armed.fired).toBe(1)
    const names = await namesOf(root)
    if (point === FP.open.probe) expect(names, 'nothing is left and nothing removed').toEqual([])
    // Past the commit point nothing is ever removed.
    expect(names.includes('VARVE')).toBe(point === FP.open.afterVersionFile)
    if (point === FP.open.afterVersionFile) expect(names.some((name) => name.startsWith('log/'))).toBe(true)
    await works(root, { world })
  })
})

describe('given a crash at a point of a first open, the next open makes or opens the store', () => {
  it.each(POINTS.flatMap((point) => [1, 2, 3].map((seed) => [point, seed] as const)))('%s, seed %i', async (point, seed) => {
    const files = new FakeFiles()
    const world = realTime(files)
    using armed = failpoints(world).arm(point, { crash: true })
    const dying = Store.open(new DirRoot('/data', world), { ...QUIET, world })
    dying.catch(() => undefined)
    await armed.reached()
    const after = files.crash(seed)
    const next = realTime(after, 2)
    await works(new DirRoot('/data', next), { world: next })
  })
})

describe('the answer about VARVE', () => {
  it('lost: the name is read back, and the open succeeds', async () => {
    const root = new FaultyRoot(new MemoryRoot())
    root.plan(({ method, name }) => (method === 'putIfAbsent' && name === 'VARVE' ? { error: 'timeout', when: 'after' } : undefined))
    const store = await opened(root, { create: 'must' })
    root.plan(undefined)
    await store.close()
    expect(await works(root)).toBe(store.id)
  })

  it('lost, and the name cannot be read: the error is told and everything stays', async () => {
    const root = new FaultyRoot(new MemoryRoot())
    let gone = false
    root.plan(({ method, name }) => {
      if (name !== 'VARVE') return undefined
      if (method === 'putIfAbsent') return ((gone = true), { error: 'timeout', when: 'after' })
      return method === 'get' && gone ? { error: 'permission' } : undefined
    })
    expect(await failure(() => Store.open(root, QUIET))).toMatchObject({ name: 'StorageError' })
    root.plan(undefined)
    expect(await namesOf(root.inner)).toContain('VARVE')
    await works(root)
  })

  it('refused before it was written: the next open goes on with the same id', async () => {
    const root = new FaultyRoot(new MemoryRoot())
    root.failAt(1, { error: 'space' }, ({ method, name }) => method === 'putIfAbsent' && name === 'VARVE')
    expect(await failure(() => Store.open(root, QUIET))).toMatchObject({ class: 'space' })
    expect(await namesOf(root.inner)).not.toContain('VARVE')
    await works(root)
  })

  it("another's: StoreExistsError under create must, else that store is opened", async () => {
    for (const create of ['must', 'if-missing'] as const) {
      const inner = new MemoryRoot()
      const root = new FaultyRoot(inner)
      const other = new MemoryRoot()
      const first = await Store.open(other, QUIET)
      await first.close()
      // Between the look at VARVE and the LOCK another process makes a whole store here.
      let copied = false
      root.plan(({ method, name }) => {
        if (copied || method !== 'putIfAbsent' || !name.startsWith('LOCK.')) return undefined
        copied = true
        return { wait: async () => void (await copy(other, inner)) }
      })
      if (create === 'must') expect(await failure(() => Store.open(root, { ...QUIET, create }))).toMatchObject({ name: 'StoreExistsError', storeId: first.id })
      else expect((await opened(root, { create })).id).toBe(first.id)
    }
  })
})

async function copy(from: Root, to: Root): Promise<void> {
  for (const name of await namesOf(from)) {
    const { bytes } = await from.get(name)
    await to.put(name, bytes)
  }
}

describe.each(PLACES)('sixteen creators at once, %s', (_name, place) => {
  it('make one store', async () => {
    const root = place()
    const delaysMs = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    const ids = await Promise.all(
      Array.from({ length: 16 }, async () => {
        try {
          const store = await Store.open(root, { ...QUIET, openRetry: { delaysMs } })
          await store.close()
          return store.id
        } catch (error) {
          return (error as Error).name
        }
      }),
    )
    const stores = new Set(ids.filter((id) => /^[0-9a-f]{32}$/.test(id)))
    expect(stores.size).toBe(1)
    // The LOCK has one holder: who met it to the end of its patience says so, and nothing else.
    expect(ids.filter((id) => !stores.has(id) && id !== 'OpenLockTimeoutError' && id !== 'LockHeldError')).toEqual([])
    expect(await works(root)).toBe([...stores][0])
  })

  it('of which only one may insist on making it', async () => {
    const root = place()
    const outcomes = await Promise.allSettled(
      Array.from({ length: 16 }, async () => {
        const store = await Store.open(root, { ...QUIET, create: 'must', openRetry: { delaysMs: [1, 2, 4, 8, 16, 32, 64, 128] } })
        await store.close()
      }),
    )
    expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBe(1)
    expect(outcomes.some((each) => each.status === 'rejected' && each.reason instanceof StoreExistsError)).toBe(true)
  })
})

describe('a directory with files of somebody else', () => {
  it('is untouched, also where part of it looks like ours', async () => {
    const directory = tempDirectory()
    mkdirSync(join(directory, 'log'))
    writeFileSync(join(directory, 'log', 'access.log'), 'GET /')
    writeFileSync(join(directory, 'index.html'), '<p>')
    const before = readdirSync(directory, { recursive: true })
    expect(await failure(() => Store.open(directory, QUIET))).toMatchObject({ name: 'NotAStoreError' })
    expect(readdirSync(directory, { recursive: true })).toEqual(before)
  })
})
