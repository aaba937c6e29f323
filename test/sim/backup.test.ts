// A backup and a restore that are cut off at any call: what is there then is the older backup, or says that it is not finished; the next run goes on.

import { describe, expect, it } from 'vitest'

import { columns, NotAStoreError, type ReadStore, type Root, Store, t, table } from '../../bindings/index.ts'
import { DirRoot, MemoryRoot } from '../../bindings/root/index.ts'
import type { World } from '../../bindings/runtime/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { simWorld } from './sim-world.ts'

const flights = table('flights', { id: t.int64(), origin: t.utf8() }, { key: ['id'] })
/** Of the calls of a run, how many apart two cuts are. */
const STRIDE = Number(process.env['VARVE_STRIDE'] ?? 7)

function bulk(from: number, count: number): never {
  return columns({
    id: BigInt64Array.from({ length: count }, (_, i) => BigInt(from + i)),
    origin: Array.from({ length: count }, (_, i) => `B${i % 11}`),
  }) as never
}

/** Process `n` of a machine whose disk is `files`; earlier ones are dead. */
function worldOf(n: number, files: FakeFiles): World {
  const host = { pid: n, processStartTime: String(n), isAlive: (pid: number) => pid >= n }
  return simWorld({ seed: n, files, host, startMs: 1_700_000_000_000 + n * 1000 }).world
}

function targetOn(files: FakeFiles, n: number): Root {
  return new DirRoot('/data/copy', worldOf(n, files))
}

async function contents(store: Pick<ReadStore, 'scan'>): Promise<string> {
  const rows = await store.scan(flights, { orderBy: 'id' }).toArray()
  return rows.map(({ id, origin }) => `${id} ${origin}`).join('\n')
}

async function sourceOf(writers: 'shared' | 'exclusive'): Promise<{ root: Root; store: Store }> {
  const root = new MemoryRoot()
  const store = await Store.open(root, {
    world: worldOf(1, new FakeFiles()),
    threads: 0,
    upkeep: 'manual',
    inlineLimitBytes: 2048,
    segmentBytes: 64 * 1024,
    writers,
    follow: false,
  })
  await store.create(flights)
  for (let i = 0; i < 5; i++) await store.append(flights, { id: BigInt(i), origin: 'SFO' })
  await store.append(flights, bulk(1000, 600))
  await store.flush()
  return { root, store }
}

/** A handle of process `n`, whose backups and restores hold the lock of the target under that process. */
function reader(root: Root, n: number): Promise<ReadStore> {
  return Store.open(root, { readOnly: true, follow: false, world: worldOf(n, new FakeFiles()) })
}

describe.each(['exclusive', 'shared'] as const)('a backup of a store with %s writers that is cut off at any call', (writers) => {
  it.each(['kill', 'power cut'] as const)('leaves what was whole before, or says that it is not finished, and the next run finishes it: %s', async (how) => {
    const { root, store } = await sourceOf(writers)
    const empty = new FakeFiles()
    const older = new FakeFiles()
    const first = await store.backup(targetOn(older, 1))
    const before = await contents(store)
    await store.append(flights, bulk(5000, 500))
    await store.upsert(flights, { id: 3n, origin: 'LAX' })
    await store.flush()
    await store.append(flights, { id: 9n, origin: 'OAK' })
    const after = await contents(store)
    let unfinished = 0
    let kept = 0
    let whole = 0
    for (const start of [empty, older]) {
      for (let k = 1; ; k += STRIDE) {
        const files = start.image(k, 'all')
        const second = await reader(root, 2)
        files.stopAt(k)
        const failed = await second.backup(targetOn(files, 2)).then(
          () => false,
          () => true,
        )
        await second.close()
        if (!files.stopped) break
        const left = how === 'kill' ? files.restart() : files.crash(k)
        const seen = await Store.open(targetOn(left, 3), { readOnly: true, world: worldOf(3, left) }).catch((error: unknown) => error as Error)
        if (seen instanceof Error) {
          expect(seen, `cut at call ${k}`).toBeInstanceOf(NotAStoreError)
          expect(start, `cut at call ${k}: the older backup is gone`).toBe(empty)
          unfinished++
        } else {
          const isOlder = seen.lsn === first.lsn && start === older
          expect(isOlder || seen.lsn === store.lsn, `cut at call ${k}: LSN ${seen.lsn}`).toBe(true)
          expect(await contents(seen), `cut at call ${k}`).toBe(isOlder ? before : after)
          expect((await seen.verify({ level: 'all' })).problems, `cut at call ${k}`).toEqual([])
          await seen.close()
          if (isOlder) kept++
          else whole++
        }
        expect(failed || whole > 0).toBe(true)
        const third = await reader(root, 4)
        const report = await third.backup(targetOn(left, 4))
        expect(report.lsn).toBe(store.lsn)
        await third.close()
        // What an earlier run left was perhaps never synced: a run vouches for all that it counts on.
        const survived = left.crash(k)
        const copy = await Store.open(targetOn(survived, 5), { readOnly: true, world: worldOf(5, survived) })
        expect(await contents(copy), `cut at call ${k}, run again`).toBe(after)
        expect((await copy.verify({ level: 'all' })).problems, `cut at call ${k}, run again`).toEqual([])
        await copy.close()
      }
    }
    await store.close()
    expect(unfinished).toBeGreaterThan(10)
    expect(kept).toBeGreaterThan(10)
    expect(whole).toBeGreaterThan(0)
  })

  it('a restore that is cut off is no store, and goes on when asked again', async () => {
    const { root, store } = await sourceOf(writers)
    const rows = await contents(store)
    await store.close()
    let unfinished = 0
    for (let k = 1; ; k += STRIDE) {
      const files = new FakeFiles()
      files.stopAt(k)
      const newId = k % 2 === 0
      await Store.restore(root, targetOn(files, 2), { newId, world: worldOf(2, files) }).catch(() => undefined)
      if (!files.stopped) break
      const left = k % 4 < 2 ? files.crash(k) : files.restart()
      const seen = await Store.open(targetOn(left, 3), { create: 'never', threads: 0, world: worldOf(3, left) }).catch((error: unknown) => error as Error)
      if (seen instanceof Error) {
        expect(seen, `cut at call ${k}`).toBeInstanceOf(NotAStoreError)
        unfinished++
        await Store.restore(root, targetOn(left, 4), { newId, world: worldOf(4, left) })
      } else await seen.close()
      const survived = left.crash(k)
      const restored = await Store.open(targetOn(survived, 5), { create: 'never', threads: 0, world: worldOf(5, survived) })
      expect(await contents(restored), `cut at call ${k}`).toBe(rows)
      await restored.append(flights, { id: 77n, origin: 'JFK' })
      expect((await restored.verify({ level: 'all' })).problems, `cut at call ${k}`).toEqual([])
      await restored.close()
    }
    expect(unfinished).toBeGreaterThan(10)
  })
})
