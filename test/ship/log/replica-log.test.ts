// What a replica's log does with what its primary sends (log.md section 8, line "Replica").
import { describe, expect, it } from 'vitest'

import { FencedError } from '../../../bindings/errors.ts'
import { frameOffsets, type LogBatch, lsn, openSegmentLog, readNode } from '../../../bindings/log/index.ts'
import { ChainDigestError, EntryChecksumError, GapError } from '../../../bindings/errors-ship.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FP } from '../../../bindings/runtime/index.ts'
import { FakeClock } from '../../../bindings/testing/fake-clock.ts'
import { record } from '../../../bindings/testing/contracts/log-records.ts'
import { bootWorld, contentOf, fill, follow, openPrimary, openReplica, parkAt, partsOf, STORE_ID } from './replica-kit.ts'

async function batchesOf(log: Awaited<ReturnType<typeof openPrimary>>): Promise<LogBatch[]> {
  const found: LogBatch[] = []
  for await (const batch of log.read(lsn(0))) found.push(batch)
  return found
}

describe('receive', () => {
  it('makes the same log, record for record, with the same digests, over many segments', async () => {
    const primary = await openPrimary()
    await fill(primary, 0, 3000)
    const replica = await openReplica(new MemoryRoot({}))
    await follow(primary, replica)
    expect(replica.durableLsn).toBe(3001)
    expect(replica.current.segments).toBeGreaterThan(3)
    expect(await contentOf(replica.current)).toEqual(await contentOf(primary))
    for (const at of [0, 1, 2, 777, 1024, 1025, 3000]) expect(await replica.digestAt(at)).toEqual(await primary.digestAt(lsn(at)))
    expect(replica.lineage).toEqual([{ epoch: 1, firstLsn: 1 }])
    await replica.close()
    await primary.close()
  })

  it('takes batches of any size, one record at a time or all at once, before the ones before are durable', async () => {
    const primary = await openPrimary()
    await fill(primary, 0, 2500)
    for (const most of [1, 7, 5000]) {
      const replica = await openReplica(new MemoryRoot({}))
      await follow(primary, replica, { most })
      expect(await contentOf(replica.current)).toEqual(await contentOf(primary))
      await replica.close()
    }
  })

  it('begins a segment where the epoch changes, within one batch too', async () => {
    const root = new MemoryRoot({})
    for (let life = 0; life < 4; life++) {
      const primary = await openPrimary(root)
      await fill(primary, life * 10, life * 10 + 10)
      await primary.close()
    }
    const primary = await openPrimary(root)
    const replica = await openReplica(new MemoryRoot({}))
    const whole = new Uint8Array(64 * 1024)
    let used = 0
    for (const { bytes } of await batchesOf(primary)) {
      whole.set(bytes, used)
      used += bytes.length
    }
    const count = Number(primary.head)
    await replica.receive(1, whole.subarray(0, used), frameOffsets(whole.subarray(0, used), count), await primary.digestAt(primary.head))
    expect(replica.lineage).toEqual(primary.lineage.map(({ epoch, firstLsn }) => ({ epoch: Number(epoch), firstLsn: Number(firstLsn) })))
    expect(replica.lineage).toHaveLength(5)
    expect(await contentOf(replica.current)).toEqual(await contentOf(primary))
  })

  it('K1 refuses a gap, another digest and frames that are none, and writes nothing of them', async () => {
    const primary = await openPrimary()
    await fill(primary, 0, 400)
    const replica = await openReplica(new MemoryRoot({}))
    await follow(primary, replica, { end: 100 })
    const before = await contentOf(replica.current)
    const [part] = partsOf((await batchesOf(primary))[0]!, 400)
    const { bytes } = part!
    const upTo = async (from: number, to: number, digest = to) =>
      replica.receive(from, bytes, part!.offsets.subarray(from - 1, to), await primary.digestAt(lsn(digest)))
    await expect(upTo(102, 110)).rejects.toThrow(GapError)
    await expect(upTo(100, 110)).rejects.toThrow(GapError)
    await expect(upTo(101, 110, 109)).rejects.toThrow(ChainDigestError)
    const flipped = bytes.slice()
    flipped[part!.offsets[105]! + 33]! ^= 1
    await expect(replica.receive(101, flipped, part!.offsets.subarray(100, 110), await primary.digestAt(lsn(110)))).rejects.toThrow(ChainDigestError)
    const [swapped] = [part!.offsets.slice(100, 110)]
    ;[swapped[3], swapped[4]] = [swapped[4]!, swapped[3]!]
    await expect(replica.receive(101, bytes, swapped, await primary.digestAt(lsn(110)))).rejects.toThrow(EntryChecksumError)
    await expect(replica.receive(101, bytes.subarray(0, part!.offsets[109]! + 8), part!.offsets.subarray(100, 110), new Uint8Array(32))).rejects.toThrow(
      EntryChecksumError,
    )
    expect(replica.receivedLsn).toBe(100)
    expect(await contentOf(replica.current)).toEqual(before)
    await follow(primary, replica)
    expect(await contentOf(replica.current)).toEqual(await contentOf(primary))
  })

  it('reopens with no record added, after a clean close and after none, and goes on', async () => {
    const primary = await openPrimary()
    const root = new MemoryRoot({})
    for (const [round, isClean] of [true, false, true, false].entries()) {
      await fill(primary, round * 300, round * 300 + 300)
      const replica = await openReplica(root)
      expect(replica.durableLsn).toBe(round === 0 ? 0 : round * 300 + 1)
      await follow(primary, replica)
      replica.recordCommitted(round * 300 + 100)
      await replica.recordFence({ epoch: 7, session: round, promised: 0, decision: '' })
      if (isClean) await replica.close()
    }
    const replica = await openReplica(root)
    expect(await contentOf(replica.current)).toEqual(await contentOf(primary))
    expect(replica.node.facts).toMatchObject({ role: 'replica', replicaId: 'r1', epochSeen: 7, session: 3 })
    expect(replica.committed).toBeGreaterThanOrEqual(700)
  })

  it('keeps the beginning of an append whose end has not come, over a reopen too', async () => {
    const primary = await openPrimary()
    for (let i = 0; i < 20; i++) await primary.append([record(3 * i), record(3 * i + 1), record(3 * i + 2)])
    for (let end = 1; end <= Number(primary.head); end++) {
      const root = new MemoryRoot({})
      const replica = await openReplica(root)
      await follow(primary, replica, { end })
      if (end % 2 === 0) await replica.close()
      const again = await openReplica(root)
      expect(again.durableLsn).toBe(end)
      await follow(primary, again)
      await again.close()
      const last = await openReplica(root)
      expect(await contentOf(last.current)).toEqual(await contentOf(primary))
      await last.close()
    }
  })
})

describe('the LOCK of a replica', () => {
  it('K2 an owner that was taken for dead changes nothing any more, in the log or in NODE', async () => {
    const primary = await openPrimary()
    await fill(primary, 0, 300)
    const root = new MemoryRoot({})
    const told: Error[] = []
    const before = await openReplica(root, { onFailed: (error) => told.push(error) })
    await follow(primary, before, { end: 100 })
    await before.recordFence({ epoch: 3, session: 1, promised: 0, decision: '' })
    const after = await openReplica(root)
    await after.recordFence({ epoch: 3, session: 2, promised: 0, decision: '' })
    await expect(follow(primary, before, { end: 150 })).rejects.toThrow(FencedError)
    await expect(before.truncate(50, { checkpoints: [] })).rejects.toThrow(FencedError)
    expect(told).toEqual([expect.any(FencedError)])
    await before.recordFence({ epoch: 9, session: 9, promised: 0, decision: '' }).catch(() => {})
    await before.close().catch(() => {})
    await follow(primary, after)
    expect((await readNode(root))?.session).toBe(2)
    await after.close()
    expect(await contentOf((await openReplica(root)).current)).toEqual(await contentOf(primary))
  })

  it('a group that was being written when the LOCK went is not part of the log of a reader', async () => {
    const primary = await openPrimary()
    await fill(primary, 0, 300)
    const root = new MemoryRoot({})
    const world = bootWorld()
    const before = await openReplica(root, { world })
    await follow(primary, before, { end: 100 })
    const parked = parkAt(world, FP.log.beforeWrite)
    follow(primary, before, { end: 120 }).catch(() => {})
    await parked
    const after = await openReplica(root)
    await follow(primary, after, { end: 110 })
    const reader = await openSegmentLog(root, { world: bootWorld(), storeId: STORE_ID, readOnly: true, follow: false })
    expect(reader.head).toBe(110n)
    expect(await reader.digestAt(lsn(110))).toEqual(await primary.digestAt(lsn(110)))
  })
})

describe('NODE of a replica', () => {
  it('M5 does not call committed, once it is the primary, what it never had: those LSNs are taken by other records', async () => {
    const primary = await openPrimary()
    await fill(primary, 0, 8)
    const root = new MemoryRoot({})
    const replica = await openReplica(root)
    await follow(primary, replica)
    const { durableLsn } = replica
    replica.recordCommitted(durableLsn + 12)
    await replica.close()
    expect((await readNode(root))?.committedLsn).toBe(durableLsn + 12)
    const promoted = await openSegmentLog(root, { world: bootWorld(), storeId: STORE_ID, promote: { epoch: 9, fencedAt: 9 } })
    expect((await readNode(root))?.committedLsn).toBe(durableLsn)
    await promoted.close()
  })

  it('has the committed boundary soon after it was told, never lower, and at once when the log is closed', async () => {
    const root = new MemoryRoot({})
    const clock = new FakeClock()
    const replica = await openReplica(root, { world: { ...bootWorld(), timers: clock.timers } })
    replica.recordCommitted(5)
    replica.recordCommitted(3)
    expect(replica.committed).toBe(5)
    expect((await readNode(root))?.committedLsn).toBe(0)
    await clock.advance(50)
    expect((await readNode(root))?.committedLsn).toBe(5)
    for (let told = 6; told < 40; told++) {
      replica.recordCommitted(told)
      if (told % 5 === 0) await clock.advance(50)
    }
    await replica.recordFence({ epoch: 4, session: 7, promised: 0, decision: '' })
    expect((await readNode(root))?.committedLsn).toBe(39)
    replica.recordCommitted(41)
    await replica.close()
    expect(await readNode(root)).toMatchObject({ committedLsn: 41, epochSeen: 4, session: 7 })
  })

  it('is whole whatever part of its last write a power cut keeps', async () => {
    for (let seed = 0; seed < 30; seed++) {
      const disk = new MemoryRoot({ loseUnsynced: seed })
      const replica = await openReplica(disk)
      for (let session = 1; session <= 1 + (seed % 4); session++) await replica.recordFence({ epoch: 2, session: session, promised: 0, decision: '' })
      const last = replica.recordFence({ epoch: 2, session: 50, promised: 0, decision: '' })
      if (seed % 2 === 0) await last
      const node = await readNode(disk.crash(seed))
      expect(node?.epochSeen).toBe(2)
      if (seed % 2 === 0) expect(node?.session).toBe(50)
      else expect([1 + (seed % 4), 50]).toContain(node?.session)
      await last
    }
  })
})
