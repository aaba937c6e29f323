// A vacuum that is cut off at any call of the file system: whatever is left, every version that was to stay is there, and the next vacuum takes the rest.

import { describe, expect, it } from 'vitest'

import { columns, type ReadStore, Store, t, table } from '../../bindings/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import type { World } from '../../bindings/runtime/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { simWorld } from './sim-world.ts'

const items = table('items', { id: t.int32(), group: t.utf8(), n: t.int64() }, { key: ['id'], index: ['group'] })
const lines = table('lines', { at: t.int64() })
const PLACE = '/data/store'
const keep = { versions: 3 } as const
const ORPHAN = `fragments/ab/ab${'0'.repeat(62)}.arrow`
/** Of the calls of a vacuum, how many apart two cuts are. */
const STRIDE = Number(process.env['VARVE_STRIDE'] ?? 3)

function rows(from: number, count: number, n: number): never {
  return columns({
    id: Int32Array.from({ length: count }, (_, i) => from + i),
    group: Array.from({ length: count }, (_, i) => `g${i % 5}`),
    n: BigInt64Array.from({ length: count }, () => BigInt(n)),
  }) as never
}

/** Process `n` of a machine whose disk is `files`; earlier ones are dead. */
function worldOf(n: number, files: FakeFiles): World {
  const host = { pid: n, processStartTime: String(n), isAlive: (pid: number) => pid >= n }
  return simWorld({ seed: n, files, host, startMs: 1_700_000_000_000 + n * 1000 }).world
}

function open(n: number, files: FakeFiles): Promise<Store> {
  return Store.open(PLACE, { world: worldOf(n, files), threads: 0, upkeep: 'manual', inlineLimitBytes: 600, segmentBytes: 64 * 1024 })
}

async function contents(store: Pick<ReadStore, 'scan'>, at?: string | bigint): Promise<string> {
  const o = at === undefined ? {} : { at: at as never }
  const found = await store.scan(items, { ...o, orderBy: 'id' }).toArray()
  const notes = await store.scan(lines, o).toArray()
  return [...found.map(({ id, group, n }) => `${id} ${group} ${n}`), ...notes.map(({ at: each }) => String(each)).toSorted()].join('\n')
}

/** A store with files of every kind that are needed and not, and what its kept positions show. */
async function made(): Promise<{ files: FakeFiles; shown: ReadonlyMap<string | bigint, string> }> {
  const files = new FakeFiles()
  const store = await open(1, files)
  await store.create(items, lines)
  await store.append(items, rows(0, 500, 1))
  await store.flush()
  await store.tag('v1')
  await store.upsert(items, rows(100, 300, 2))
  await store.append(lines, { at: 1n })
  await store.flush()
  const dev = await store.branch('dev')
  await dev.upsert(items, rows(400, 200, 3))
  await dev.delete(items, [401, 402])
  const gone = await store.branch('gone')
  await gone.replace(items, rows(0, 400, 4))
  await store.deleteBranch('gone')
  await store.upsert(items, rows(0, 500, 5))
  await store.optimize()
  await store.flush()
  await store.replace(items, rows(0, 450, 6))
  const kept: bigint[] = []
  for (let n = 7; n < 10; n++) {
    const { lsn } = await store.upsert(items, rows(n * 10, 200, n))
    kept.push(lsn)
    await store.append(lines, { at: BigInt(n) }).then((result) => kept.push(result.lsn))
    await store.flush()
  }
  await store.optimize()
  await store.flush()
  const shown = new Map<string | bigint, string>()
  for (const at of ['main', 'dev', 'v1', ...kept.slice(-3)]) shown.set(at, await contents(store, at))
  await store.close()
  await new DirRoot(PLACE, worldOf(1, files)).put(ORPHAN, new Uint8Array(7))
  return { files, shown }
}

async function holds(store: ReadStore, shown: ReadonlyMap<string | bigint, string>, label: string): Promise<void> {
  for (const [at, right] of shown) expect(await contents(store, at), `${label}: ${at}`).toBe(right)
  expect((await store.verify({ level: 'all' })).problems, label).toEqual([])
}

describe('a crash in vacuum', () => {
  it.each(['kill', 'power cut'] as const)('never loses a reachable file, and a re-run converges: %s', { timeout: 300_000 }, async (how) => {
    const { files: start, shown } = await made()
    let cuts = 0
    let late = 0
    for (let k = 1; ; k += STRIDE) {
      const label = `cut at call ${k}`
      const files = start.image(k, 'all')
      const store = await open(2, files)
      files.stopAt(k)
      await store.vacuum({ keep }).catch(() => undefined)
      if (!files.stopped) {
        files.plan(undefined)
        await store.close()
        break
      }
      store.close().catch(() => undefined)
      cuts++
      const left = how === 'kill' ? files.restart() : files.crash(k)
      const next = await open(3, left)
      await holds(next, shown, label)
      // What a kill left was perhaps never synced.
      const { deleted } = await next.vacuum({ keep })
      if (deleted === 0) late++
      await holds(next, shown, `${label}, run again`)
      expect(await next.vacuum({ keep }), `${label}, once more`).toMatchObject({ deleted: 0, checkpoints: 0 })
      expect(left.contents(`${PLACE}/${ORPHAN}`), label).toBeUndefined()
      const survived = left.crash(k)
      next.close().catch(() => undefined)
      const last = await open(4, survived)
      await holds(last, shown, `${label}, run again and cut`)
      await last.close()
    }
    expect(cuts).toBeGreaterThan(20)
    expect(late).toBeGreaterThan(0)
  })
})
