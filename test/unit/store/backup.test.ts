// backup() and Store.restore() at the public door: what is copied, what is refused, what a damaged or unfinished copy says.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, it } from 'vitest'

import {
  BackupMismatchError,
  columns,
  CorruptionError,
  HistoryUnavailableError,
  lsn,
  NotAStoreError,
  type OpenOptions,
  ReadOnlyError,
  type Root,
  Store,
  StoreExistsError,
  t,
  table,
} from '../../../bindings/index.ts'
import { DirRoot, MemoryRoot, openRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { FaultyRoot } from '../../../bindings/testing/index.ts'
import { failure, opened, QUIET, tempDirectory } from './places.ts'

const flights = table('flights', { id: t.int64(), origin: t.utf8(), delay: t.int16().nullable() }, { key: ['id'] })
const notes = table('notes', { text: t.utf8() })

const KINDS: readonly (readonly [string, () => string | Root, OpenOptions])[] = [
  ['memory', () => new MemoryRoot(), {}],
  ['directory', tempDirectory, {}],
  ['slots', () => new MemoryRoot(), { writers: 'shared', follow: false }],
]

function rows(from: number, count: number): (typeof flights.Insert)[] {
  return Array.from({ length: count }, (_, i) => ({ id: BigInt(from + i), origin: `A${(from + i) % 7}`, delay: i % 3 === 0 ? null : i % 100 }))
}

/** Enough to be staged as a fragment under a small inline limit. */
function bulk(from: number, count: number): ReturnType<typeof columns> {
  return columns({
    id: BigInt64Array.from({ length: count }, (_, i) => BigInt(from + i)),
    origin: Array.from({ length: count }, (_, i) => `B${i % 11}`),
    delay: Int16Array.from({ length: count }, (_, i) => i % 300),
  })
}

async function filled(place: string | Root, o: OpenOptions): Promise<Store> {
  const store = await opened(place, { ...o, inlineLimitBytes: 4096 })
  await store.create(flights, notes)
  await store.append(flights, rows(0, 20))
  await store.append(flights, bulk(1000, 3000) as never)
  await store.upsert(flights, rows(5, 3))
  await store.delete(flights, [1n, 1007n])
  await store.append(notes, [{ text: 'a' }, { text: 'b' }])
  await store.flush()
  await store.append(flights, rows(100, 10))
  return store
}

async function contents(store: Pick<Store, 'scan'>, at?: bigint): Promise<string> {
  const o = at === undefined ? {} : { at: lsn(at) }
  const all = [await store.scan(flights, { orderBy: 'id', ...o }).toArray(), await store.scan(notes, o).toArray()]
  return JSON.stringify(all, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value))
}

function rootOf(place: string | Root): Root {
  return typeof place === 'string' ? new DirRoot(place, defaultWorld()) : place
}

async function names(root: Root, prefix: string): Promise<string[]> {
  const found: string[] = []
  for await (const { name } of root.list(prefix)) found.push(name)
  return found
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

describe.each(KINDS)('a backup of a store, %s', (_kind, place, options) => {
  it('is a store that opens read-only and has the rows and the digest of its source', async () => {
    const store = await filled(place(), options)
    const target = place()
    const report = await store.backup(target)
    expect(report.lsn).toBe(store.lsn)
    expect(report.copied).toBeGreaterThan(3)
    const copy = await opened(target, { readOnly: true })
    expect(copy.id).toBe(store.id)
    expect(copy.lsn).toBe(report.lsn)
    expect(await contents(copy)).toBe(await contents(store))
    const verified = await copy.verify({ level: 'all' })
    expect(verified.problems).toEqual([])
    expect(hex(verified.digest)).toBe(hex(report.digest))
    expect(hex((await store.verify({ level: 'log' })).digest)).toBe(hex(report.digest))
    expect(await contents(copy, 4n)).toBe(await contents(store, 4n))
  })

  it('is not written to, and is no place for another store', async () => {
    const store = await filled(place(), options)
    const target = place()
    await store.backup(target)
    const error = await failure(() => Store.open(target, QUIET))
    expect(error).toBeInstanceOf(ReadOnlyError)
    expect(error.hint).toContain('Store.restore')
    const other = await filled(place(), options)
    expect(await failure(() => other.backup(target))).toBeInstanceOf(StoreExistsError)
    const taken = place()
    await filled(taken, options)
    expect(await failure(() => store.backup(taken))).toBeInstanceOf(StoreExistsError)
  })

  it('onto an older one copies only what is new', async () => {
    const store = await filled(place(), options)
    const target = place()
    const first = await store.backup(target)
    const again = await store.backup(target)
    expect(again).toMatchObject({ lsn: first.lsn, copied: 0, copiedBytes: 0, files: first.files, bytes: first.bytes })
    const before = await opened(target, { readOnly: true })
    await store.append(flights, bulk(10_000, 2000) as never)
    await store.upsert(flights, rows(3, 2))
    const next = await store.backup(target)
    expect(next.copied).toBeLessThan(first.copied)
    expect(next.copiedBytes).toBeLessThan(first.copiedBytes)
    // A reader of the older one reads on as it was.
    expect(before.lsn).toBe(first.lsn)
    expect(await before.refresh()).toBe(first.lsn)
    const copy = await opened(target, { readOnly: true })
    expect(copy.lsn).toBe(store.lsn)
    expect(await contents(copy)).toBe(await contents(store))
    expect((await copy.verify({ level: 'all' })).problems).toEqual([])
    expect(await contents(copy, first.lsn)).toBe(await contents(before))
  })

  it('at an older position ends there, and refuses to go back', async () => {
    const store = await filled(place(), options)
    const target = place()
    const at = lsn(store.lsn - 2n)
    const report = await store.backup(target, { at })
    expect(report.lsn).toBe(at)
    const copy = await opened(target, { readOnly: true })
    expect(copy.lsn).toBe(at)
    expect(await contents(copy)).toBe(await contents(store, at))
    expect(await failure(() => store.backup(target, { at: lsn(at - 1n) }))).toMatchObject({ code: 'backup.mismatch', reason: 'ahead', lsn: at })
    expect(await failure(() => store.backup(place(), { at: lsn(store.lsn + 1n) }))).toBeInstanceOf(HistoryUnavailableError)
  })

  it('goes on from a read-only handle as it does from the writer', async () => {
    const source = place()
    const store = await filled(source, options)
    const target = place()
    await store.backup(target)
    await store.append(flights, rows(500, 5))
    const reader = await opened(source, { readOnly: true })
    const report = await reader.backup(target)
    expect(report.lsn).toBe(store.lsn)
    expect(await contents(await opened(target, { readOnly: true }))).toBe(await contents(store))
  })

  it('is restored to a store of the same id that goes on by itself', async () => {
    const store = await filled(place(), options)
    const [target, to] = [place(), place()]
    const { digest, lsn: head } = await store.backup(target)
    const report = await Store.restore(target, to)
    expect(report.lsn).toBe(head)
    expect(hex(report.digest)).toBe(hex(digest))
    const restored = await opened(to, options)
    expect(restored.id).toBe(store.id)
    expect(await contents(restored)).toBe(await contents(store))
    await restored.append(flights, rows(9000, 4))
    await store.append(flights, rows(8000, 1))
    await store.append(flights, rows(8001, 1))
    expect(await restored.scan(flights).count()).toBe((await store.scan(flights).count()) + 2)
    // Two stores of one id have parted: neither is taken for the other.
    await store.backup(target)
    expect(await failure(() => restored.backup(target))).toMatchObject({ code: 'backup.mismatch' })
    await restored.append(flights, rows(9100, 9))
    await restored.append(flights, rows(9200, 9))
    const parted = await failure(() => restored.backup(target))
    expect(parted).toBeInstanceOf(BackupMismatchError)
    expect(parted).toMatchObject({ reason: 'diverged', lsn: store.lsn })
    expect(parted.message).toContain(String(store.lsn))
    await restored.close()
    const again = await opened(to, { readOnly: true })
    expect((await again.verify({ level: 'all' })).problems).toEqual([])
  })

  it('is restored as it was, by LSN and by time', async () => {
    const store = await filled(place(), options)
    const target = place()
    await store.backup(target)
    for (const at of [2n, 4n, 6n, store.lsn]) {
      const to = place()
      const report = await Store.restore(target, to, { at: lsn(at) })
      expect(report.lsn).toBe(at)
      const restored = await opened(to, options)
      expect(await contents(restored, at)).toBe(await contents(store, at))
      await restored.close()
    }
    const to = place()
    const report = await Store.restore(target, to, { at: new Date(Date.now() + 60_000) })
    expect(report.lsn).toBe(store.lsn)
  })

  it('is restored under a new id, in every mark and checkpoint', async () => {
    const store = await filled(place(), options)
    const [target, to] = [place(), place()]
    const { digest } = await store.backup(target)
    const report = await Store.restore(target, to, { newId: true })
    expect(hex(report.digest)).toBe(hex(digest))
    const restored = await opened(to, options)
    expect(restored.id).not.toBe(store.id)
    expect(await contents(restored)).toBe(await contents(store))
    await restored.append(flights, rows(9000, 4))
    expect((await restored.verify({ level: 'all' })).problems).toEqual([])
    expect(await failure(() => restored.backup(target))).toBeInstanceOf(StoreExistsError)
  })

  it('has branches and tags, and is restored as it was at a tag', async () => {
    const store = await filled(place(), options)
    await store.tag('before', { message: 'as loaded' })
    const tagged = await contents(store)
    const tagLsn = (await store.tags()).find(({ name }) => name === 'before')!.lsn
    const dev = await store.branch('dev')
    await dev.upsert(flights, bulk(1000, 2000) as never)
    await dev.append(notes, { text: 'on dev' })
    await store.delete(flights, [2n])
    await store.flush()
    const target = place()
    const report = await store.backup(target)
    const copy = await opened(target, { readOnly: true })
    expect(await copy.branches()).toEqual(await store.branches())
    expect(await copy.tags()).toEqual(await store.tags())
    expect(await contents(copy)).toBe(await contents(store))
    expect(await copy.scan(notes, { at: 'dev' }).count()).toBe(await dev.scan(notes).count())
    expect((await copy.verify({ level: 'all' })).problems).toEqual([])
    const [to, then] = [place(), place()]
    await Store.restore(target, to)
    const restored = await opened(to, options)
    const again = await restored.branch('dev')
    expect(await again.scan(flights, { orderBy: 'id' }).toArray()).toEqual(await dev.scan(flights, { orderBy: 'id' }).toArray())
    await again.append(notes, { text: 'goes on' })
    expect(await Store.restore(target, then, { at: 'before' })).toMatchObject({ lsn: tagLsn })
    expect(tagLsn).toBeLessThan(report.lsn)
    expect(await contents(await opened(then, { readOnly: true }))).toBe(tagged)
  })

  it('has the history of its source as far as both reach, and verify says where another parts', async () => {
    const source = place()
    const store = await filled(source, options)
    const [target, to] = [place(), place()]
    const { lsn: head } = await store.backup(target)
    await store.append(flights, rows(500, 5))
    await Store.restore(target, to)
    const restored = await opened(to, options)
    await restored.append(flights, rows(600, 5))
    const copy = await opened(target, { readOnly: true })
    for (const [one, other] of [
      [store, target],
      [copy, source],
      [copy, to],
    ] as const) {
      expect(await one.verify({ level: 'log', against: other as string })).toMatchObject({ ok: true, problems: [], against: { equal: true } })
    }
    for (const [one, other] of [
      [store, to],
      [restored, source],
    ] as const) {
      const { ok, problems } = await one.verify({ level: 'log', against: other as string })
      expect([ok, problems]).toMatchObject([false, [{ code: 'backup.mismatch', lsn: head + 1n }]])
    }
    const foreign = place()
    await filled(foreign, options)
    expect((await store.verify({ level: 'log', against: foreign as string })).problems).toMatchObject([{ code: 'backup.mismatch', lsn: 1n }])
    expect(await failure(() => store.verify({ against: place() as string }))).toBeInstanceOf(NotAStoreError)
  })

  it('is held against its source file by file: the first one whose bytes differ is named', async () => {
    const [from, target] = [place(), place()]
    const store = await filled(from, options)
    await store.backup(target)
    const same = await store.verify({ level: 'files', against: target as string })
    expect(same).toMatchObject({ ok: true, against: { equal: true, lsn: store.lsn } })
    expect(same.against!.files).toBeGreaterThan(0)
    expect(same.against!.digest).toEqual(same.digest)
    const names: string[] = []
    const root = await openRoot(target, defaultWorld())
    for await (const { name } of root.list('fragments/')) names.push(name)
    const name = names.toSorted()[0]!
    const bytes = (await root.get(name)).bytes.slice()
    bytes[bytes.length >> 1]! ^= 1
    await root.put(name, bytes)
    const differs = await store.verify({ level: 'files', against: target as string })
    expect(differs).toMatchObject({ ok: false, against: { equal: false }, problems: [{ code: 'backup.mismatch', file: name, lsn: store.lsn }] })
    // The chains agree all the same: only the bytes tell.
    expect(await store.verify({ level: 'log', against: target as string })).toMatchObject({ ok: true, against: { equal: true, files: 0 } })
  })

  it('is restored to an empty place only', async () => {
    const store = await filled(place(), options)
    const [target, to] = [place(), place()]
    await store.backup(target)
    await Store.restore(target, to)
    expect(await failure(() => Store.restore(target, to))).toBeInstanceOf(StoreExistsError)
    expect(await failure(() => Store.restore(target, target))).toBeInstanceOf(StoreExistsError)
    expect(await failure(() => Store.restore(place(), place()))).toBeInstanceOf(NotAStoreError)
  })

  it('keeps a sealed write with its files, so that it can be published after a restore', async () => {
    const store = await filled(place(), { ...options, sealMode: 'separate' })
    const write = await store.stage('waits')
    await write.append(flights, bulk(50_000, 2000) as never)
    await write.seal()
    const [target, to] = [place(), place()]
    const report = await store.backup(target)
    expect(report).toMatchObject({ pending: [write.id], pendingLost: [] })
    await Store.restore(target, to)
    const restored = await opened(to, options)
    const before = await restored.scan(flights).count()
    const resumed = await restored.resume(write.id)
    await resumed.publish()
    expect(await restored.scan(flights).count()).toBe(before + 2000)
    expect((await restored.verify({ level: 'all' })).problems).toEqual([])
  })

  it('names a sealed write whose files are gone from staging by now', async () => {
    const store = await filled(place(), { ...options, sealMode: 'separate' })
    const write = await store.stage('decided later')
    await write.append(flights, bulk(50_000, 2000) as never)
    const sealed = await write.seal()
    await write.publish()
    const target = place()
    const report = await store.backup(target, { at: sealed })
    expect(report).toMatchObject({ lsn: sealed, pending: [], pendingLost: [write.id] })
    expect(await (await opened(target, { readOnly: true })).outcome(write.id)).toBe('pending')
  })

  it('stops at a signal, is no store then, and goes on when asked again', async () => {
    const store = await filled(place(), options)
    const target = place()
    const stop = new AbortController()
    const aborted = failure(() =>
      store.backup(target, { signal: stop.signal, onProgress: (p) => (p.phase === 'files' ? stop.abort(new Error('enough')) : undefined) }),
    )
    expect((await aborted).message).toBe('enough')
    const unfinished = await failure(() => Store.open(target, { ...QUIET, readOnly: true }))
    expect(unfinished).toBeInstanceOf(NotAStoreError)
    expect(unfinished.message).toContain('not finished')
    expect(await failure(() => Store.open(target, QUIET))).toBeInstanceOf(ReadOnlyError)
    await store.backup(target)
    expect(await contents(await opened(target, { readOnly: true }))).toBe(await contents(store))
  })

  it('copies no file that is damaged, and says which', async () => {
    const source = place()
    const store = await filled(source, options)
    const root = rootOf(source)
    const [name] = await names(root, 'fragments/')
    const { bytes } = await root.get(name!)
    const bad = bytes.slice()
    bad[bad.length >> 1]! ^= 1
    await root.put(name!, bad)
    const error = await failure(() => store.backup(place()))
    expect(error).toBeInstanceOf(CorruptionError)
    expect(error).toMatchObject({ code: 'fragment.corrupt', file: name })
  })

  it('is of one position while commits go on', async () => {
    const store = await filled(place(), { ...options, upkeep: 'auto' })
    let isOver = false
    const writing = (async () => {
      for (let n = 0; !isOver; n++) {
        await store.upsert(flights, n % 5 === 0 ? (bulk(20_000 + n * 100, 500) as never) : rows(n % 50, 3))
        await store.append(notes, [{ text: `n${n}` }])
      }
    })()
    const target = place()
    for (let round = 0; round < 4; round++) {
      const started = store.lsn
      const report = await store.backup(target)
      expect(report.lsn).toBeGreaterThanOrEqual(started)
      const copy = await opened(target, { readOnly: true })
      expect(await contents(copy)).toBe(await contents(store, report.lsn))
      await copy.close()
    }
    isOver = true
    await writing
    expect((await (await opened(target, { readOnly: true })).verify({ level: 'all' })).problems).toEqual([])
  })

  it('is listed among the pins while it is made', async () => {
    const store = await filled(place(), options)
    const owners: string[] = []
    const looks: Promise<void>[] = []
    const look = async (): Promise<void> => void owners.push(...(await store.pins()).map(({ owner }) => owner))
    await store.backup(place(), { onProgress: () => looks.push(look()) })
    await Promise.all(looks)
    expect(owners).toContain('backup')
    expect(await store.pins()).toEqual([])
  })

  it('is not repaired: the next run puts it right', async () => {
    const store = await filled(place(), options)
    const target = place()
    await store.backup(target)
    const root = rootOf(target)
    const [lost] = await names(root, 'fragments/')
    await root.delete(lost!)
    expect(await failure(() => Store.repair(target, { confirm: true }))).toBeInstanceOf(ReadOnlyError)
    expect(await store.backup(target)).toMatchObject({ copied: 1 })
    expect((await (await opened(target, { readOnly: true })).verify({ level: 'all' })).problems).toEqual([])
  })

  it('reports its progress, first and last', async () => {
    const store = await filled(place(), options)
    const seen: string[] = []
    await store.backup(place(), { onProgress: (p) => seen.push(`${p.phase} ${p.done === p.total ? 'end' : p.done}`) })
    expect(seen[0]).toBe('log 0')
    expect(seen.at(-1)).toBe('files end')
  })
})

it('a store whose log takes no more is still backed up as far as it is durable', async () => {
  const root = new FaultyRoot(new MemoryRoot())
  const store = await filled(root, {})
  const head = store.lsn
  const before = await contents(store)
  root.plan(({ method }) => (method === 'segment.write' || method === 'segment.datasync' ? { error: 'io' } : undefined))
  expect(await failure(() => store.append(flights, rows(7000, 1)))).toMatchObject({ code: 'store.poisoned' })
  root.plan(undefined)
  const target = new MemoryRoot()
  expect(await store.backup(target)).toMatchObject({ lsn: head })
  expect(await contents(await opened(target, { readOnly: true }))).toBe(before)
})

it('a folder with files of somebody else is no target', async () => {
  const store = await filled('memory:', {})
  const directory = tempDirectory()
  writeFileSync(join(directory, 'thesis.doc'), 'dear')
  expect(await failure(() => store.backup(directory))).toBeInstanceOf(StoreExistsError)
})
