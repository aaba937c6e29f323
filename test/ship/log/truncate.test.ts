// Truncation of a replica's log (shipping.md section 7, T4 to T9 at the level of the log), and what its intent does for a crash.
import { describe, expect, it } from 'vitest'

import { CommittedTruncationError, GapError, SnapshotAboveTruncationError, TruncationUnsafeError } from '../../../bindings/errors-ship.ts'
import { HistoryUnavailableError } from '../../../bindings/errors.ts'
import { type CommitLog, lsn, openSegmentLog, type ReplicaLog } from '../../../bindings/log/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { record } from '../../../bindings/testing/contracts/log-records.ts'
import { bootWorld, contentOf, fill, follow, openPrimary, openReplica, parkAt, putCheckpoint, STORE_ID } from './replica-kit.ts'

const NONE = { checkpoints: [] } as const

/** A replica at the head of a primary that appended records one by one and in threes, in two epochs. */
async function pair(root = new MemoryRoot({}), world = bootWorld()): Promise<{ primary: CommitLog; replica: ReplicaLog; root: MemoryRoot }> {
  const at = new MemoryRoot({})
  const first = await openPrimary(at, { segmentBytes: 4096 })
  await fill(first, 0, 60, 7)
  await first.close()
  const primary = await openPrimary(at, { segmentBytes: 4096 })
  for (let i = 0; i < 10; i++) await primary.append([record(i), record(i + 1), record(i + 2)])
  const replica = await openReplica(root, { world, segmentBytes: 4096 })
  await follow(primary, replica, { most: 13 })
  return { primary, replica, root }
}

async function drained(reading: AsyncIterator<unknown>): Promise<void> {
  while ((await reading.next()).done !== true);
}

async function expectPrefix(replica: ReplicaLog, primary: CommitLog, at: number): Promise<void> {
  expect(replica.durableLsn).toBe(at)
  const [ours, theirs] = [await contentOf(replica.current), await contentOf(primary)]
  expect(ours.payloads).toEqual(theirs.payloads.slice(0, at))
  expect(await replica.digestAt(at)).toEqual(await primary.digestAt(lsn(at)))
}

describe('truncate', () => {
  it('T8 cuts at any LSN, whatever append or segment that is in, and goes on from there', async () => {
    const { primary } = await pair()
    for (let at = 0; at <= Number(primary.head); at++) {
      const root = new MemoryRoot({})
      const replica = await openReplica(root, { segmentBytes: 4096 })
      await follow(primary, replica, { most: 13 })
      await replica.truncate(at, NONE)
      await expectPrefix(replica, primary, at)
      if (at % 3 === 0) {
        await replica.close()
        const again = await openReplica(root, { segmentBytes: 4096 })
        await expectPrefix(again, primary, at)
        await follow(primary, again)
        await expectPrefix(again, primary, Number(primary.head))
        await again.close()
      } else {
        await follow(primary, replica)
        await expectPrefix(replica, primary, Number(primary.head))
        await replica.close()
      }
      const last = await openReplica(root, { segmentBytes: 4096 })
      await expectPrefix(last, primary, Number(primary.head))
    }
  })

  it('T8 is nothing to do at the very head, and three rounds of ahead and back end where they should', async () => {
    const { primary, replica } = await pair()
    const head = Number(primary.head)
    await replica.truncate(head, NONE)
    expect(replica.durableLsn).toBe(head)
    for (const at of [head - 5, head - 17, 3]) {
      await replica.truncate(at, NONE)
      await expectPrefix(replica, primary, at)
      await follow(primary, replica)
      await expectPrefix(replica, primary, head)
    }
  })

  it('T8 has one of both orders when records come meanwhile', async () => {
    const { primary, replica } = await pair()
    await fill(primary, 100, 140)
    const parts: Promise<unknown>[] = []
    const cut = replica.truncate(50, NONE)
    parts.push(follow(primary, replica).catch((error: unknown) => error))
    await cut
    const [outcome] = await Promise.all(parts)
    expect(outcome).toBeInstanceOf(GapError)
    await expectPrefix(replica, primary, 50)
    await follow(primary, replica)
    await expectPrefix(replica, primary, Number(primary.head))
  })

  it('T6 gives up nothing that was promised', async () => {
    const { primary, replica } = await pair()
    replica.recordCommitted(40)
    await expect(replica.truncate(39, NONE)).rejects.toThrow(CommittedTruncationError)
    await expectPrefix(replica, primary, Number(primary.head))
    await replica.truncate(40, NONE)
    await expectPrefix(replica, primary, 40)
  })

  it('T7 does not take from a reader what it shows', async () => {
    const { primary, replica } = await pair()
    const hold = replica.current.reclaim.hold(52, 0, { owner: 'snapshot', isPoint: true })
    await expect(replica.truncate(50, NONE)).rejects.toThrow(SnapshotAboveTruncationError)
    hold.release()
    await replica.truncate(50, NONE)
    await expectPrefix(replica, primary, 50)
  })

  it('T4 T5 needs a checkpoint at or below, with the records it needs still there, once the log is trimmed', async () => {
    const { replica } = await pair()
    await replica.current.trim(lsn(45))
    const tail = replica.tailLsn
    expect(tail).toBeGreaterThan(10)
    await expect(replica.truncate(60, NONE)).rejects.toThrow(TruncationUnsafeError)
    await expect(replica.truncate(60, { checkpoints: [{ lsn: 61, replayFrom: tail }] })).rejects.toThrow(TruncationUnsafeError)
    await expect(replica.truncate(60, { checkpoints: [{ lsn: 55, replayFrom: tail - 1 }] })).rejects.toThrow(TruncationUnsafeError)
    await expect(replica.truncate(tail - 1, { checkpoints: [{ lsn: 5, replayFrom: 0 }] })).rejects.toThrow(TruncationUnsafeError)
    await expect(replica.truncate(1000, NONE)).rejects.toThrow(TruncationUnsafeError)
    // Nothing would be left that says what its end was.
    await expect(replica.truncate(tail, { checkpoints: [{ lsn: tail, replayFrom: tail }] })).rejects.toThrow(TruncationUnsafeError)
    await replica.truncate(60, { checkpoints: [{ lsn: 55, replayFrom: tail }] })
    expect(replica.durableLsn).toBe(60)
  })

  it('drops checkpoints above, keeps those at or below', async () => {
    const { replica, root } = await pair()
    for (const at of [20, 50, 51, 80]) await putCheckpoint(root, at)
    await replica.truncate(50, NONE)
    const names: string[] = []
    for await (const { name } of root.list('checkpoints/')) names.push(name)
    expect(names.map((name) => Number(name.slice(12, 32)))).toEqual([20, 50])
  })

  it('tells readers of what is gone that it is history, not damage', async () => {
    const { replica } = await pair()
    const reading = replica.current.read(lsn(0))[Symbol.asyncIterator]()
    await reading.next()
    await replica.truncate(10, NONE)
    await expect(drained(reading)).rejects.toThrow(HistoryUnavailableError)
  })

  it.each([FP.ship.afterTruncateIntent, FP.ship.afterDropCheckpoints, FP.ship.afterCut])(
    'T8 whoever reads while it is at %s gets what stays, and hears of the rest that it is history, not damage',
    async (point) => {
      const failpoints = new FailpointRegistry()
      const { primary, replica } = await pair(new MemoryRoot({}), bootWorld(failpoints))
      const head = replica.durableLsn
      const theirs = await contentOf(primary)
      const { current } = replica
      // Begun before the cut, at every place of the log.
      const begun = Array.from({ length: head }, (_, start) => current.read(lsn(start))[Symbol.asyncIterator]())
      for (const reading of begun) await reading.next()
      const at = 57
      let reached!: () => void
      let goOn!: () => void
      const arrived = new Promise<void>((resolve) => (reached = resolve))
      const gate = new Promise<void>((resolve) => (goOn = resolve))
      failpoints.arm(point, { times: 1, run: () => (reached(), gate) })
      const cut = replica.truncate(at, NONE)
      await arrived
      expect([current.head, replica.durableLsn]).toEqual([lsn(at), head])
      expect((await contentOf(current)).payloads).toEqual(theirs.payloads.slice(0, at))
      const errors = (await Promise.all(begun.map((reading) => drained(reading).catch((error: unknown) => error)))).filter((error) => error !== undefined)
      expect(errors.map((error) => (error as Error).name)).toEqual(errors.map(() => 'HistoryUnavailableError'))
      expect(errors.length > 0).toBe(point === FP.ship.afterCut)
      for (let each = 0; each <= head; each++) {
        const [ours, primarys] = await Promise.all([replica.digestAt(each).catch((error: Error) => error), primary.digestAt(lsn(each))])
        if (each > at && ours instanceof Error) expect(ours, `digest at ${each}`).toBeInstanceOf(HistoryUnavailableError)
        else expect(ours, `digest at ${each}`).toEqual(primarys)
      }
      goOn()
      await cut
      await expectPrefix(replica, primary, at)
      await follow(primary, replica)
      await expectPrefix(replica, primary, head)
    },
  )

  it('Replica: clean close at 90, truncated to 80, a crash at every step, of the process or of the power: opens at 80', async () => {
    const points = [FP.ship.truncateIntent, FP.ship.afterTruncateIntent, FP.ship.afterDropCheckpoints, FP.ship.afterCut]
    for (const point of points) {
      for (let seed = 0; seed < 12; seed++) {
        const { primary, replica: before, root: disk } = await pair(new MemoryRoot({ loseUnsynced: seed }))
        for (const at of [70, 85]) await putCheckpoint(disk, at)
        await before.close()
        const world = bootWorld()
        const replica = await openReplica(disk, { world, segmentBytes: 4096 })
        const parked = parkAt(world, point)
        replica.truncate(80, NONE).catch(() => {})
        await parked
        const root = seed % 3 === 0 ? disk : disk.crash(seed)
        const again = await openReplica(root, { segmentBytes: 4096 })
        // Before the intent is there nothing is decided.
        await expectPrefix(again, primary, point === FP.ship.truncateIntent ? Number(primary.head) : 80)
        expect(await root.exists('staging')).toBe(false)
        await follow(primary, again)
        await again.close()
        const last = await openReplica(root, { segmentBytes: 4096 })
        await expectPrefix(last, primary, Number(primary.head))
        // Whoever only reads believes it too.
        const reader = await openSegmentLog(root, { world: bootWorld(), storeId: STORE_ID, readOnly: true, follow: false })
        expect(await contentOf(reader)).toEqual(await contentOf(primary))
      }
    }
  })

  it('a crash of the power amid the next open, too', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const { primary, replica: before, root: disk } = await pair(new MemoryRoot({ loseUnsynced: seed }))
      await before.close()
      const first = bootWorld()
      const replica = await openReplica(disk, { world: first, segmentBytes: 4096 })
      const parked = parkAt(first, FP.ship.afterTruncateIntent)
      replica.truncate(62, NONE).catch(() => {})
      await parked
      let root = disk.crash(seed)
      for (const point of [FP.ship.afterDropCheckpoints, FP.ship.afterCut, FP.log.node]) {
        const world = bootWorld()
        const stopped = parkAt(world, point)
        openReplica(root, { world, segmentBytes: 4096 }).catch(() => {})
        await stopped
        root = root.crash(seed + 1)
      }
      const again = await openReplica(root, { segmentBytes: 4096 })
      await expectPrefix(again, primary, 62)
    }
  })
})
