// A truncation and an install stopped at each of their calls to the root: whoever opens next finds the log before or the log after, and so does whoever only reads.
import { describe, expect, it } from 'vitest'

import { type CommitLog, currentGeneration, lsn, openSegmentLog, type ReplicaLog } from '../../../bindings/log/index.ts'
import { MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { FaultyRoot } from '../../../bindings/testing/faulty-root.ts'
import { bootWorld, contentOf, fill, follow, openPrimary, openReplica, partsOf, putCheckpoint, STORE_ID } from './replica-kit.ts'

const SEGMENT_BYTES = 4096

interface Case {
  readonly name: string
  /** Fewest calls of the root that it makes. */
  readonly calls: number
  /** The change itself. */
  change(replica: ReplicaLog, root: Root, primary: CommitLog): Promise<void>
  /** What the log may end with, for whoever opens it. */
  readonly ends: readonly number[]
}

const CASES: readonly Case[] = [
  { name: 'truncate to 80', calls: 15, change: (replica) => replica.truncate(80, { checkpoints: [] }), ends: [80, 140] },
  { name: 'truncate to nothing', calls: 15, change: (replica) => replica.truncate(0, { checkpoints: [] }), ends: [0, 140] },
  {
    name: 'install at 120',
    calls: 25,
    change: async (replica, root, primary) => {
      const digest = async (at: number): Promise<Uint8Array> => primary.digestAt(lsn(at))
      const lineage = [{ epoch: 1, firstLsn: 1 }]
      const base = await replica.beginBase({ baseLsn: 120, digest: await digest(120), logFrom: 100, logDigest: await digest(100), lineage })
      for await (const batch of primary.read(lsn(100), { end: lsn(120) })) {
        for (const { first, last, bytes, offsets } of partsOf(batch, 20)) await base.receive(first, bytes, offsets, await digest(last))
      }
      const name = 'checkpoints/00000000000000000120.ckpt'
      await root.put(base.placeOf(name), new TextEncoder().encode('checkpoint 120'))
      await base.install({ manifestHash: new Uint8Array(32), checkpoints: [name] })
    },
    ends: [120, 140],
  },
]

/** A replica at 140 that was closed and opened again, on a disk that remembers what was synced, behind a root whose calls are counted. */
async function begin(seed: number, primary: CommitLog): Promise<{ disk: MemoryRoot; root: FaultyRoot; replica: ReplicaLog }> {
  const disk = new MemoryRoot({ loseUnsynced: seed })
  const first = await openReplica(disk, { segmentBytes: SEGMENT_BYTES })
  await follow(primary, first, { end: 130, most: 30 })
  for (const at of [70, 110]) await putCheckpoint(disk, at)
  await first.close()
  const root = new FaultyRoot(disk)
  const replica = await openReplica(root, { segmentBytes: SEGMENT_BYTES })
  await follow(primary, replica, { end: 140, most: 3 })
  return { disk, root, replica }
}

/** Stops everything at the k-th call from now. @returns when it is reached, or false when the work ends before */
async function stopAt(root: FaultyRoot, k: number, work: () => Promise<unknown>): Promise<boolean> {
  let left = k
  const reached = new Promise<boolean>((resolve) => {
    root.plan(() => {
      if (--left > 0) return undefined
      resolve(true)
      return { wait: () => new Promise(() => {}) }
    })
  })
  const done = work().then(
    () => false,
    (error: unknown) => {
      if (left > 0) throw error
      return true
    },
  )
  return Promise.race([reached, done])
}

async function expectOneOf(log: Pick<CommitLog, 'read' | 'digestAt' | 'head' | 'tail'>, primary: CommitLog, ends: readonly number[]): Promise<void> {
  expect(ends).toContain(Number(log.head))
  expect(await log.digestAt(log.head)).toEqual(await primary.digestAt(log.head))
  const whole = (await contentOf(primary, Number(log.tail))).payloads
  expect((await contentOf(log as CommitLog)).payloads).toEqual(whole.slice(0, Number(log.head - log.tail)))
}

describe('stopped at every call', () => {
  it.each(CASES)('$name', { timeout: 120_000 }, async ({ change, ends, calls }) => {
    const primary = await openPrimary()
    await fill(primary, 0, 200)
    let k = 1
    for (; ; k++) {
      const seed = k * 31
      const { disk, root, replica } = await begin(seed, primary)
      if (!(await stopAt(root, k, () => change(replica, root, primary)))) break
      for (const state of [disk, disk.crash(seed), disk.crash(seed + 1)]) {
        // The log of a cut-off truncation is whole somewhere between the two; of an install it is one or the other, or is said to be under way.
        if (!(await currentGeneration(state)).isInstalling) {
          const floors = await floorsOf(state, primary)
          const reader = await openSegmentLog(state, { world: bootWorld(), storeId: STORE_ID, readOnly: true, follow: false, floors })
          await expectOneOf(reader, primary, ends[0]! < 120 ? Array.from({ length: 141 - ends[0]! }, (_, i) => ends[0]! + i) : ends)
        }
        // The next open is stopped too, then one goes through.
        const again = new FaultyRoot(state)
        await stopAt(again, 10 + (k % 25), () => openReplica(again, { segmentBytes: SEGMENT_BYTES }))
        const last = k % 2 === 0 ? state : state.crash(k)
        const opened = await openReplica(last, { segmentBytes: SEGMENT_BYTES })
        await expectOneOf(opened.current, primary, ends)
        expect(await last.exists('staging')).toBe(false)
        await follow(primary, opened)
        await expectOneOf(opened.current, primary, [201])
        await opened.close()
      }
    }
    expect(k).toBeGreaterThan(calls)
  })
})

/** As a store opens it: with the newest checkpoint, which these names stand for. */
async function floorsOf(root: Root, primary: CommitLog): Promise<{ readonly lsn: ReturnType<typeof lsn>; readonly digest: Uint8Array }[]> {
  const { base } = await currentGeneration(root)
  return base === undefined ? [] : [{ lsn: lsn(base.baseLsn), digest: await primary.digestAt(lsn(base.baseLsn)) }]
}
