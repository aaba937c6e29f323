// What an open asks of a root for its segments: each is opened and read once, whatever the checks and the fold want of it.

import { describe, expect, it } from 'vitest'

import { Store, t, table } from '../../../bindings/index.ts'
import type { CommitLog, Lsn } from '../../../bindings/log/index.ts'
import { openSegmentLog } from '../../../bindings/log/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FaultyRoot, fakeWorld } from '../../../bindings/testing/index.ts'

const kv = table('kv', { k: t.int32(), v: t.int32() }, { key: ['k'] })
const STORE_ID = new Uint8Array(16).fill(7)
const OPENS = 5

/** Names of segments by how often they were opened. */
function openedSegments(root: FaultyRoot): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { method, name } of root.calls) if (method === 'segment' && /^log\/\d+\.wal$/.test(name)) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}

async function logOf(root: MemoryRoot, keeps: boolean): Promise<{ log: CommitLog; root: FaultyRoot }> {
  const counted = new FaultyRoot(root)
  return { root: counted, log: await openSegmentLog(counted, { world: fakeWorld(), storeId: STORE_ID, keeps }) }
}

async function readAll(log: CommitLog): Promise<number[]> {
  const lsns: number[] = []
  for await (const { first, last } of log.read(0n as Lsn)) for (let lsn = Number(first); lsn <= Number(last); lsn++) lsns.push(lsn)
  return lsns
}

describe('segments at an open', () => {
  it('are opened once each by a store that reopens, fold included', async () => {
    const memory = new MemoryRoot()
    for (let i = 0; i < OPENS; i++) {
      await using store = await Store.open(memory, { threads: 0, upkeep: 'manual', world: fakeWorld() })
      if (i === 0) await store.create(kv)
      await store.upsert(kv, [{ k: i, v: i }])
    }
    const root = new FaultyRoot(memory)
    const before = new Set(memory.namesSync().filter((name) => name.startsWith('log/')))
    await using store = await Store.open(root, { threads: 0, upkeep: 'manual', world: fakeWorld() })
    expect((await store.scan(kv).toArray()).length).toBe(OPENS)
    const old = [...openedSegments(root)].filter(([name]) => before.has(name)).sort(([a], [b]) => (a < b ? -1 : 1))
    expect(old.length).toBe(OPENS)
    // The newest one a second time: its head states the epoch to outrank, before the LOCK is taken.
    expect(old.map(([, times]) => times)).toEqual([...Array.from({ length: OPENS - 1 }, () => 1), 2])
  })

  it('are read from what was verified until the open is over, and from the file afterwards', async () => {
    const memory = new MemoryRoot()
    for (let i = 0; i < OPENS; i++) await (await logOf(memory, false)).log.close()
    const { log, root } = await logOf(memory, true)
    const opened = root.calls.length
    const lsns = await readAll(log)
    expect(lsns).toEqual(Array.from({ length: OPENS + 1 }, (_, i) => i + 1))
    // Its own segment, which was not there to be verified.
    expect(root.calls.slice(opened).filter(({ method }) => method === 'segment').length).toBe(1)
    log.letGo!()
    const kept = root.calls.length
    expect(await readAll(log)).toEqual(lsns)
    expect(root.calls.slice(kept).filter(({ method }) => method === 'segment').length).toBe(OPENS + 1)
    await log.close()
  })

  it('tells a disk that fails behind the last record as what it is', async () => {
    const { log, root } = await logOf(new MemoryRoot(), false)
    root.failAt(1, { error: 'io' }, ({ method }) => method === 'segment.close')
    await expect(readAll(log)).rejects.toMatchObject({ name: 'StorageError' })
    await log.close()
  })
})
