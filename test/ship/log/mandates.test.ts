// By whose decision records were written (decision 0030): the log says it with the records, wherever they came from and whatever is gone of the log.
import { describe, expect, it } from 'vitest'

import { markOf } from '../../../bindings/format/index.ts'
import { type CommitLog, lsn, openSegmentLog, type ReplicaLog } from '../../../bindings/log/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { bootWorld, fill, follow, openPrimary, openReplica, STORE_ID } from './replica-kit.ts'

const PLAIN = { epoch: 1, firstLsn: 1 }
const CLAIMED = { epoch: 9, firstLsn: 62, mandate: 18 }
const LATER = { epoch: 10, firstLsn: 663, mandate: 18 }

/** 60 records of a plain start, 600 of who was opened with epoch 9, 300 of its next plain start; some ten segments. */
async function decided(): Promise<CommitLog> {
  const root = new MemoryRoot({})
  const lives = [
    [{}, 60],
    [{ epoch: 9 }, 600],
  ] as const
  for (const [o, records] of lives) {
    const log = await openPrimary(root, o)
    await fill(log, 0, records)
    await log.close()
  }
  const log = await openPrimary(root)
  await fill(log, 0, 300)
  return log
}

const lineageOf = (log: Pick<CommitLog, 'lineage'>) => log.lineage.map(({ epoch, firstLsn, mandate }) => markOf(epoch, firstLsn, mandate))

async function reopened(root: MemoryRoot, replica: ReplicaLog): Promise<ReplicaLog> {
  await replica.close()
  return await openReplica(root)
}

async function install(primary: CommitLog, replica: ReplicaLog, root: MemoryRoot, at: number, from: number): Promise<void> {
  const digest = (of: number) => primary.digestAt(lsn(of))
  const lineage = lineageOf(primary).filter(({ firstLsn }) => firstLsn <= at)
  const base = await replica.beginBase({ baseLsn: at, digest: await digest(at), logFrom: from, logDigest: await digest(from), lineage })
  for await (const { first, bytes, offsets } of primary.read(lsn(from), { end: lsn(at) }))
    await base.receive(Number(first), bytes, offsets, await digest(Number(first) + offsets.length - 1))
  const name = `checkpoints/${String(at).padStart(20, '0')}.ckpt`
  await root.put(base.placeOf(name), new TextEncoder().encode(`base ${at}`))
  await base.install({ manifestHash: new Uint8Array(32), checkpoints: [name] })
}

describe('the mandate of records', () => {
  it('is told by the log that wrote them, open for reading too', async () => {
    const primary = await decided()
    expect(lineageOf(primary)).toEqual([PLAIN, CLAIMED, LATER])
    expect(primary.segments).toBeGreaterThan(5)
  })

  it('comes along to a replica, over a reopen, and goes with records that are cut off', async () => {
    const primary = await decided()
    const root = new MemoryRoot({})
    let replica = await openReplica(root)
    await follow(primary, replica)
    expect(replica.lineage).toEqual([PLAIN, CLAIMED, LATER])
    for (const [at, marks] of [
      [800, [PLAIN, CLAIMED, LATER]],
      [662, [PLAIN, CLAIMED]],
      [400, [PLAIN, CLAIMED]],
      [61, [PLAIN]],
    ] as const) {
      replica = await reopened(root, replica)
      await replica.truncate(at, { checkpoints: [] })
      expect(replica.lineage).toEqual(marks)
      expect(lineageOf(replica.current)).toEqual(marks)
      replica = await reopened(root, replica)
      expect(replica.lineage).toEqual(marks)
    }
    await follow(primary, replica, { end: 100 })
    replica = await reopened(root, replica)
    await follow(primary, replica, { most: 7 })
    replica = await reopened(root, replica)
    expect(replica.lineage).toEqual([PLAIN, CLAIMED, LATER])
    const read = await openSegmentLog(root, { world: bootWorld(), storeId: STORE_ID, readOnly: true, follow: false })
    expect(lineageOf(read)).toEqual([PLAIN, CLAIMED, LATER])
  })

  it.each([
    [500, 300],
    [500, 500],
    [662, 662],
    [500, 61],
    [61, 30],
  ])('comes with a base at %d whose log begins behind %d, amid an epoch too', async (at, from) => {
    const primary = await decided()
    const root = new MemoryRoot({})
    let replica = await openReplica(root)
    await install(primary, replica, root, at, from)
    const last = at > 61 ? 18 : undefined
    expect(replica.lineage.at(-1)?.mandate).toBe(last)
    replica = await reopened(root, replica)
    expect(replica.lineage.at(-1)?.mandate).toBe(last)
    await follow(primary, replica, { end: 640 })
    expect(replica.lineage).toEqual([PLAIN, CLAIMED])
    replica = await reopened(root, replica)
    await follow(primary, replica)
    expect(replica.lineage).toEqual([PLAIN, CLAIMED, LATER])
  })

  it('is known of a log that was trimmed amid an epoch, and of the base that such a one sends', async () => {
    const primary = await decided()
    const tail = Number(await primary.trim(lsn(500)))
    expect(tail).toBeGreaterThan(62)
    expect(lineageOf(primary).map(({ epoch, mandate }) => ({ epoch, mandate }))).toEqual([
      { epoch: 9, mandate: 18 },
      { epoch: 10, mandate: 18 },
    ])
    const root = new MemoryRoot({})
    let replica = await openReplica(root)
    await install(primary, replica, root, 600, tail)
    expect(replica.lineage.at(-1)).toMatchObject({ epoch: 9, mandate: 18 })
    replica = await reopened(root, replica)
    await follow(primary, replica, { end: 620 })
    expect(replica.lineage.at(-1)).toMatchObject({ epoch: 9, mandate: 18 })
    // The replica frees its own log, too.
    await follow(primary, replica)
    await replica.current.trim(lsn(900))
    replica = await reopened(root, replica)
    expect(replica.lineage.at(-1)).toMatchObject({ epoch: 10, mandate: 18 })
  })
})
