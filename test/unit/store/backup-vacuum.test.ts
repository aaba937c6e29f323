// Backups of stores that vacuum has been through, or goes through meanwhile: what is copied is what can still be read, and nothing of it is missing.
import { describe, expect, it } from 'vitest'

import { columns, HistoryUnavailableError, lsn, type OpenOptions, type Root, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { failure, opened, tempDirectory } from './places.ts'

const items = table('items', { id: t.int32(), n: t.int64() }, { key: ['id'] })

const KINDS: readonly (readonly [string, () => string | Root, OpenOptions])[] = [
  ['memory', () => new MemoryRoot(), {}],
  ['directory', tempDirectory, {}],
  ['slots', () => new MemoryRoot(), { writers: 'shared', follow: false }],
]

const rows = (from: number, count: number, n: number): never =>
  columns({ id: Int32Array.from({ length: count }, (_, i) => from + i), n: BigInt64Array.from({ length: count }, () => BigInt(n)) }) as never

async function contents(store: Pick<Store, 'scan'>, at?: bigint): Promise<string> {
  const all = await store.scan(items, { orderBy: 'id', ...(at === undefined ? {} : { at: lsn(at) }) }).toArray()
  return all.map(({ id, n }) => `${id}:${n}`).join(' ')
}

/** Many versions: rows replaced in large loads and small commits, log enough for several segments. */
async function worked(place: string | Root, o: OpenOptions, rounds = 6): Promise<Store> {
  const store = await opened(place, { ...o, inlineLimitBytes: 4096, segmentBytes: 64 * 1024 })
  await store.create(items)
  await work(store, 0, rounds)
  return store
}

async function work(store: Store, from: number, rounds: number): Promise<void> {
  for (let n = from; n < from + rounds; n++) {
    await store.upsert(items, rows(0, 800, n))
    for (let i = 0; i < 40; i++) await store.upsert(items, rows((i * 97) % 800, 60, n * 1000 + i))
    await store.flush()
    await store.optimize()
  }
}

describe.each(KINDS)('a backup of a store behind a vacuum, %s', (_kind, place, options) => {
  it('begins where the source begins, and holds all that can be read there', async () => {
    const store = await worked(place(), options)
    const { floor, tail, deleted } = await store.vacuum({ keep: { versions: 2 } })
    // Where several may write, a file is left alone until it is old enough.
    if (options.writers === undefined) expect(deleted).toBeGreaterThan(0)
    expect(tail).toBeGreaterThan(0n)
    const [target, to, then] = [place(), place(), place()]
    const report = await store.backup(target)
    const copy = await opened(target, { readOnly: true })
    expect((await copy.stats()).log.tail).toBe(tail)
    expect((await copy.verify({ level: 'all' })).problems).toEqual([])
    expect(await contents(copy)).toBe(await contents(store))
    expect(await contents(copy, floor)).toBe(await contents(store, floor))
    expect(await failure(() => contents(copy, floor - 1n))).toBeInstanceOf(HistoryUnavailableError)
    expect(await failure(() => Store.restore(target, place(), { at: lsn(floor - 1n) }))).toBeInstanceOf(HistoryUnavailableError)
    await Store.restore(target, to)
    const restored = await opened(to, options)
    await restored.upsert(items, rows(0, 5, 1))
    expect((await restored.verify({ level: 'all' })).problems).toEqual([])
    expect(await Store.restore(target, then, { at: floor, newId: true })).toMatchObject({ lsn: floor })
    const old = await opened(then, { ...options })
    expect(await contents(old)).toBe(await contents(store, floor))
    expect((await old.verify({ level: 'all' })).problems).toEqual([])
    // And on, behind another vacuum of the source.
    await work(store, 50, 2)
    const next = await store.backup(target)
    expect(next.lsn).toBeGreaterThan(report.lsn)
    const newer = await opened(target, { readOnly: true })
    expect(await contents(newer)).toBe(await contents(store))
    expect((await newer.verify({ level: 'all' })).problems).toEqual([])
  })

  it('of a chain keeps what the source forgets, until the log between is gone', async () => {
    const store = await worked(place(), options, 3)
    const target = place()
    const first = await store.backup(target)
    const before = await contents(store)
    await work(store, 10, 1)
    // Files of versions between two backups may be gone by the second one.
    await store.vacuum({ keep: { versions: 45 } })
    const kept = (await store.stats()).log.tail <= first.lsn
    expect(kept).toBe(true)
    await store.backup(target)
    const copy = await opened(target, { readOnly: true })
    expect((await copy.stats()).log.tail).toBe(0n)
    expect((await copy.verify({ level: 'all' })).problems).toEqual([])
    expect(await contents(copy)).toBe(await contents(store))
    await work(store, 20, 4)
    await store.vacuum({ keep: { versions: 1 } })
    const { tail } = (await store.stats()).log
    expect(tail).toBeGreaterThan(copy.lsn)
    expect(await failure(() => store.backup(target))).toMatchObject({ code: 'backup.mismatch', reason: 'behind', lsn: copy.lsn })
    expect(before.length).toBeGreaterThan(0)
  })

  it('has all its files while vacuum runs beside it', async () => {
    const store = await worked(place(), options)
    for (let round = 0; round < 3; round++) {
      await work(store, 100 + round, 1)
      const target = place()
      const vacuums: Promise<unknown>[] = []
      const report = await store.backup(target, {
        onProgress: () => void (vacuums.length < 3 && vacuums.push(store.vacuum({ keep: { versions: 1 } }))),
      })
      await Promise.all(vacuums)
      const copy = await opened(target, { readOnly: true })
      expect(copy.lsn).toBe(report.lsn)
      expect((await copy.verify({ level: 'all' })).problems).toEqual([])
      expect(await contents(copy)).toBe(await contents(store))
    }
    // One that begins while a vacuum is under way.
    await work(store, 200, 2)
    const vacuum = store.vacuum({ keep: { versions: 1 } })
    const target = place()
    await store.backup(target)
    await vacuum
    expect((await (await opened(target, { readOnly: true })).verify({ level: 'all' })).problems).toEqual([])
  })

  it('by a reader beside the vacuum of a writer is whole, or says that history is gone', async () => {
    const source = place()
    const store = await worked(source, options)
    let whole = 0
    for (let round = 0; round < 4; round++) {
      await work(store, 300 + round, 1)
      const reader = await opened(source, { readOnly: true, follow: false })
      const target = place()
      let vacuum: Promise<unknown> | undefined
      const result = await reader
        .backup(target, { onProgress: (p) => void (vacuum ??= round % 2 === 0 || p.phase === 'files' ? store.vacuum({ keep: { versions: 1 } }) : undefined) })
        .catch((error: unknown) => error as Error)
      await vacuum
      await reader.close()
      if (result instanceof Error) expect(result).toBeInstanceOf(HistoryUnavailableError)
      else {
        whole++
        expect((await (await opened(target, { readOnly: true })).verify({ level: 'all' })).problems).toEqual([])
      }
      const after = await opened(source, { readOnly: true, follow: false })
      await after.backup(place())
      await after.close()
    }
    expect(whole).toBeGreaterThanOrEqual(0)
  })
})
