import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

import { describe, expect, it } from 'vitest'

import { InvalidConfigError, LockHeldError, NotAStoreError, OpenLockTimeoutError, Store, StoreExistsError, t, table } from '../../../bindings/index.ts'
import { failure, opened, PLACES, QUIET, tempDirectory } from './places.ts'

const notes = table('notes', { id: t.int32(), text: t.utf8() }, { key: ['id'] })

describe('options of Store.open', () => {
  it.each([
    [{ creat: 'must' }, 'creat', 'must'],
    [{ create: 'maybe' }, 'create', 'maybe'],
    [{ readOnly: 1 }, 'readOnly', 1],
    [{ follow: 'yes' }, 'follow', 'yes'],
    [{ durability: 'fast' }, 'durability', 'fast'],
    [{ writers: 'many' }, 'writers', 'many'],
    [{ sealMode: 'both' }, 'sealMode', 'both'],
    [{ groupCommitMs: -1 }, 'groupCommitMs', -1],
    [{ groupCommitMs: 1.5 }, 'groupCommitMs', 1.5],
    [{ bufferedSyncMs: 0 }, 'bufferedSyncMs', 0],
    [{ segmentBytes: 10 }, 'segmentBytes', 10],
    [{ inlineLimitBytes: Number.POSITIVE_INFINITY }, 'inlineLimitBytes', Number.POSITIVE_INFINITY],
    [{ publishRetries: -2 }, 'publishRetries', -2],
    [{ openRetry: { delaysMs: 50 } }, 'openRetry.delaysMs', 50],
    [{ openRetry: { cleanupStale: 'no' } }, 'openRetry.cleanupStale', 'no'],
    [{ openRetry: { delays: [] } }, 'openRetry.delays', []],
    [{ memory: 5 }, 'memory', 5],
    [{ memory: { cacheByte: 1 } }, 'memory.cacheByte', 1],
    [{ memory: { writeBytes: 1 } }, 'memory.writeBytes', 1],
    [{ memory: { kernelBytes: 0 } }, 'memory.kernelBytes', 0],
    [{ memory: { transactionBytes: 0 } }, 'memory.transactionBytes', 0],
    [{ memory: { sortBytes: Number.NaN } }, 'memory.sortBytes', Number.NaN],
    [{ memory: { snapshotWarnMs: -5 } }, 'memory.snapshotWarnMs', -5],
    [{ upkeep: 'sometimes' }, 'upkeep', 'sometimes'],
    [{ threads: -1 }, 'threads', -1],
    [{ threads: 'all' }, 'threads', 'all'],
    [{ meter: 3 }, 'meter', 3],
    [{ world: 'flat' }, 'world', 'flat'],
    [{ signal: {} }, 'signal', {}],
    [{ onProgress: true }, 'onProgress', true],
  ])('refuses %j with its key and value', async (options, key, value) => {
    const error = await failure(() => Store.open('memory:', options as never))
    expect(error).toBeInstanceOf(InvalidConfigError)
    expect(error).toMatchObject({ code: 'options.invalid', key, value, details: { key, value } })
    expect(error.message).toContain(key)
  })

  it('takes every documented option, and undefined for any of them', async () => {
    const store = await opened('memory:', {
      create: 'if-missing',
      readOnly: false,
      follow: true,
      durability: 'buffered',
      writers: 'exclusive',
      sealMode: 'fused',
      groupCommitMs: 1,
      bufferedSyncMs: 5,
      segmentBytes: 1 << 20,
      inlineLimitBytes: 1000,
      publishRetries: 3,
      openRetry: { delaysMs: [1, 2], cleanupStale: false },
      memory: { cacheBytes: 1 << 20, writeBytes: 1 << 20, kernelBytes: 1 << 28, transactionBytes: 1000, sortBytes: 1000, snapshotWarnMs: 50 },
      upkeep: 'manual',
      threads: 0,
      meter: { add: () => undefined, record: () => undefined },
      world: {},
      signal: new AbortController().signal,
      onProgress: () => undefined,
    })
    expect(store.closed).toBe(false)
    const plain = await Store.open('memory:', { threads: 0, upkeep: undefined, memory: { cacheBytes: undefined } } as never)
    await plain.close()
  })

  it('rejects with the reason of a signal that is aborted already, before anything is made', async () => {
    const directory = tempDirectory()
    const reason = new Error('not today')
    expect(await failure(() => Store.open(directory, { ...QUIET, signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(readdirSync(directory)).toEqual([])
  })
})

describe.each(PLACES)('create modes of Store.open, %s', (_name, place) => {
  it('"if-missing" makes a store where there is none and opens the one that is there', async () => {
    const root = place()
    const first = await opened(root)
    const { id } = first
    expect(id).toMatch(/^[0-9a-f]{32}$/)
    await first.create(notes)
    await first.close()
    const second = await opened(root, { create: 'if-missing' })
    expect(second.id).toBe(id)
    expect((await second.tables()).map((each) => each.name)).toEqual(['notes'])
  })

  it('"must" makes a store, and is StoreExistsError with the id of the one that is there', async () => {
    const root = place()
    const first = await opened(root, { create: 'must' })
    const { id } = first
    await first.close()
    const error = await failure(() => Store.open(root, { ...QUIET, create: 'must' }))
    expect(error).toBeInstanceOf(StoreExistsError)
    expect(error).toMatchObject({ code: 'store.exists', storeId: id })
    const again = await opened(root)
    expect(again.id).toBe(id)
  })

  it('"never" opens what is there, and is NotAStoreError on nothing', async () => {
    const root = place()
    const error = await failure(() => Store.open(root, { ...QUIET, create: 'never' }))
    expect(error).toBeInstanceOf(NotAStoreError)
    expect(error).toMatchObject({ code: 'store.not-a-store', kind: 'invalid' })
    await (await opened(root)).close()
    await opened(root, { create: 'never' })
  })

  it('readOnly on nothing is NotAStoreError and makes nothing', async () => {
    const root = place()
    expect(await failure(() => Store.open(root, { readOnly: true }))).toBeInstanceOf(NotAStoreError)
    expect(await failure(() => Store.open(root, { ...QUIET, create: 'never' }))).toBeInstanceOf(NotAStoreError)
  })
})

describe('a directory that holds something else', () => {
  it.each([
    ['a file of someone else', (directory: string) => writeFileSync(join(directory, 'thesis.doc'), 'dear')],
    ['a folder with files of someone else', (directory: string) => (mkdirSync(join(directory, 'src')), writeFileSync(join(directory, 'src', 'a.c'), 'int'))],
  ])('is NotAStoreError for %s, and is left as it was', async (_what, fill) => {
    const directory = tempDirectory()
    fill(directory)
    const before = readdirSync(directory, { recursive: true })
    for (const options of [{}, { create: 'must' }, { create: 'never' }, { readOnly: true }] as const) {
      const error = await failure(() => Store.open(directory, { ...QUIET, ...options }))
      expect(error).toBeInstanceOf(NotAStoreError)
    }
    expect(readdirSync(directory, { recursive: true })).toEqual(before)
  })

  it('is an error for a path that is a file', async () => {
    const file = join(tempDirectory(), 'file')
    writeFileSync(file, 'x')
    expect(await failure(() => Store.open(file, QUIET))).toMatchObject({ name: 'InvalidConfigError', message: expect.stringContaining('a file is in its way') })
  })

  it('readOnly leaves a missing directory missing', async () => {
    const directory = tempDirectory()
    await failure(() => Store.open(join(directory, 'absent'), { readOnly: true }))
    await failure(() => Store.open(join(directory, 'absent'), { ...QUIET, create: 'never' }))
    expect(readdirSync(directory)).toEqual([])
  })
})

describe('ways to name a root', () => {
  it('takes a path, a file: text and a file: URL for the same directory', async () => {
    const directory = join(tempDirectory(), 'with space')
    const first = await opened(directory)
    const { id } = first
    await first.close()
    for (const root of [pathToFileURL(directory), pathToFileURL(directory).href]) {
      const store = await Store.open(root, QUIET)
      expect(store.id).toBe(id)
      await store.close()
    }
  })

  it('"memory:" is private, "memory:name" is shared within the process', async () => {
    const one = await opened('memory:')
    const two = await opened('memory:')
    expect(one.id).not.toBe(two.id)
    const name = `memory:shared-${process.pid}`
    const writer = await opened(name)
    await writer.create(notes)
    await writer.append(notes, { id: 1, text: 'a' })
    const reader = await opened(name, { readOnly: true })
    expect(reader.id).toBe(writer.id)
    expect(await reader.get(notes, 1)).toEqual({ id: 1, text: 'a' })
  })
})

describe.each(PLACES)('a second writer in one process, %s', (_name, place) => {
  it('is LockHeldError with who holds it when no retry is asked for', async () => {
    const root = place()
    await opened(root)
    const error = await failure(() => Store.open(root, { ...QUIET, openRetry: { delaysMs: [] } }))
    expect(error).toBeInstanceOf(LockHeldError)
    expect(error).toMatchObject({ code: 'lock.held', kind: 'unavailable', retryable: true, holder: { pid: process.pid } })
    expect(error.message).toContain(String(process.pid))
  })

  it('is OpenLockTimeoutError after every retry met the lock', async () => {
    const root = place()
    await opened(root)
    const error = await failure(() => Store.open(root, { ...QUIET, openRetry: { delaysMs: [1, 1] } }))
    expect(error).toBeInstanceOf(OpenLockTimeoutError)
    expect(error).toMatchObject({ code: 'lock.timeout', attempts: 3, holder: { pid: process.pid } })
  })

  it('opens when the first one lets go while it waits', async () => {
    const root = place()
    const first = await opened(root)
    const waiting = Store.open(root, { ...QUIET, openRetry: { delaysMs: [1, 5, 20, 50, 100, 200, 400] } })
    await first.close()
    const second = await waiting
    expect(second.epoch > first.epoch).toBe(true)
    await second.close()
  })

  it('leaves the lock alone when the open fails, and a closed store gives it back', async () => {
    const root = place()
    const first = await opened(root)
    await failure(() => Store.open(root, { ...QUIET, openRetry: { delaysMs: [] } }))
    await first.create(notes)
    await first.append(notes, { id: 1, text: 'still the owner' })
    await first.close()
    const second = await opened(root, { openRetry: { delaysMs: [] } })
    expect(await second.get(notes, 1)).toEqual({ id: 1, text: 'still the owner' })
  })
})
