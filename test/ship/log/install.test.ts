// A replica's log beginning anew from a base (shipping.md section 8, B7, B10, B13 at the level of the log), and what every opener makes of generations.
import { describe, expect, it } from 'vitest'

import { BaseIncompleteError, ChainDigestError, CommittedTruncationError } from '../../../bindings/errors-ship.ts'
import { CorruptionError, FencedError, HistoryUnavailableError, ReadOnlyError } from '../../../bindings/errors.ts'
import { toHex } from '../../../bindings/format/index.ts'
import {
  type CommitLog,
  currentGeneration,
  decodeBase,
  encodeBase,
  lsn,
  openSegmentLog,
  readNode,
  type ReplicaLog,
  settledGeneration,
  surveyLog,
} from '../../../bindings/log/index.ts'
import { MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { FP } from '../../../bindings/runtime/index.ts'
import { FaultyRoot } from '../../../bindings/testing/index.ts'
import { FakeClock } from '../../../bindings/testing/fake-clock.ts'
import { bootWorld, contentOf, fill, follow, openPrimary, openReplica, parkAt, partsOf, putCheckpoint, STORE_ID } from './replica-kit.ts'

const HASH = new Uint8Array(32).fill(3)

/** Another history than the primary's, longer than the base will be. */
async function strayed(root: Root): Promise<ReplicaLog> {
  const other = await openPrimary(new MemoryRoot({}))
  await fill(other, 5000, 5149)
  const replica = await openReplica(root)
  await follow(other, replica)
  await other.close()
  return replica
}

/** Everything of a base at `at` with its log above `from`, up to the switch. */
async function transfer(primary: CommitLog, replica: ReplicaLog, at: number, from: number) {
  const lineage = primary.lineage.map(({ epoch, firstLsn }) => ({ epoch: Number(epoch), firstLsn: Number(firstLsn) })).filter(({ firstLsn }) => firstLsn <= at)
  const base = await replica.beginBase({
    baseLsn: at,
    digest: await primary.digestAt(lsn(at)),
    logFrom: from,
    logDigest: await primary.digestAt(lsn(from)),
    lineage,
  })
  for await (const batch of primary.read(lsn(from), { end: lsn(at) })) {
    for (const { first, last, bytes, offsets } of partsOf(batch, 9)) await base.receive(first, bytes, offsets, await primary.digestAt(lsn(last)))
  }
  return base
}

async function installAt(primary: CommitLog, replica: ReplicaLog, root: Root, at: number, from: number): Promise<void> {
  const base = await transfer(primary, replica, at, from)
  const name = `checkpoints/${String(at).padStart(20, '0')}.ckpt`
  await root.put(base.placeOf(name), new TextEncoder().encode(`base ${at}`))
  await base.install({ manifestHash: HASH, checkpoints: [name] })
}

/** A base at `at` with all its log; what is returned sends the first records of that. */
async function startOf(primary: CommitLog, replica: ReplicaLog, at: number): Promise<() => Promise<number>> {
  const base = await replica.beginBase({
    baseLsn: at,
    digest: await primary.digestAt(lsn(at)),
    logFrom: 0,
    logDigest: await primary.digestAt(lsn(0)),
    lineage: [{ epoch: 1, firstLsn: 1 }],
  })
  return async () => {
    for await (const batch of primary.read(lsn(0), { end: lsn(at) })) {
      for (const { first, last, bytes, offsets } of partsOf(batch, 9)) return base.receive(first, bytes, offsets, await primary.digestAt(lsn(last)))
    }
    throw new Error('nothing was read')
  }
}

async function checkpointsOf(root: Root): Promise<Record<number, string>> {
  const found: Record<number, string> = {}
  for await (const { name } of root.list('checkpoints/')) found[Number(name.slice(12, 32))] = new TextDecoder().decode((await root.get(name)).bytes)
  return found
}

async function primaryOf(records = 200): Promise<CommitLog> {
  const root = new MemoryRoot({})
  const first = await openPrimary(root)
  await fill(first, 0, 50)
  await first.close()
  const primary = await openPrimary(root)
  await fill(primary, 50, records)
  return primary
}

describe('install', () => {
  it('B7 leaves exactly the base, nothing of a longer log that was there', async () => {
    const primary = await primaryOf()
    for (const [at, from] of [
      [120, 100],
      [120, 120],
      [120, 0],
      [51, 30],
    ] as const) {
      const root = new MemoryRoot({})
      const replica = await strayed(root)
      for (const old of [60, 120, 140]) await putCheckpoint(root, old)
      await installAt(primary, replica, root, at, from)
      expect([replica.durableLsn, replica.receivedLsn, replica.tailLsn, replica.generation.number]).toEqual([at, at, from, 1])
      expect(await replica.digestAt(at)).toEqual(await primary.digestAt(lsn(at)))
      expect(await checkpointsOf(root)).toEqual({ [at]: `base ${at}` })
      expect(replica.node.facts.historyFloorLsn).toBe(at)
      // Straight on, and after a reopen.
      await follow(primary, replica, { end: 170 })
      await replica.dropOld()
      expect(await root.exists('log')).toBe(false)
      await replica.close()
      const again = await openReplica(root, { floors: [{ lsn: at, digest: await primary.digestAt(lsn(at)) }] })
      await follow(primary, again)
      expect((await contentOf(again.current, at)).payloads).toEqual((await contentOf(primary, at)).payloads)
      expect(await again.digestAt(from)).toEqual(await primary.digestAt(lsn(from)))
      expect(again.lineage).toEqual([
        { epoch: 1, firstLsn: 1 },
        { epoch: 2, firstLsn: 52 },
      ])
      await again.close()
    }
  })

  it('the history floor is that of the base, whatever the log before had, and what is left out behind it raises it again', async () => {
    const primary = await primaryOf()
    for (const [former, at] of [
      [0, 120],
      [60, 120],
      // Amid a catch-up that leaves files out, up to an LSN that is not there yet.
      [549, 120],
      [549, 51],
    ] as const) {
      const root = new MemoryRoot({ loseUnsynced: former + at })
      const replica = await strayed(root)
      await replica.recordHistoryFloor(former)
      await installAt(primary, replica, root, at, at - 20)
      expect(replica.node.facts.historyFloorLsn).toBe(at)
      const floorAfter = async (crashed: MemoryRoot): Promise<number> => {
        const again = await openReplica(crashed)
        await again.close()
        return again.node.facts.historyFloorLsn
      }
      expect(await floorAfter(root.crash(1))).toBe(at)
      await replica.recordHistoryFloor(at - 1)
      expect(replica.node.facts.historyFloorLsn).toBe(at)
      await replica.recordHistoryFloor(at + 30)
      expect(await floorAfter(root.crash(2))).toBe(at + 30)
      // And down again.
      await installAt(primary, replica, root, at + 10, at)
      expect(await floorAfter(root.crash(3))).toBe(at + 10)
    }
  })

  it('one base after another: the newest counts, the older logs go', async () => {
    const primary = await primaryOf(400)
    const root = new MemoryRoot({})
    const replica = await strayed(root)
    for (const [round, at] of [100, 200, 300].entries()) {
      await installAt(primary, replica, root, at, at - 20)
      expect(replica.generation.number).toBe(round + 1)
    }
    await replica.close()
    const again = await openReplica(root)
    expect([again.generation.number, again.durableLsn, again.tailLsn]).toEqual([3, 300, 280])
    const names: string[] = []
    for await (const { name } of root.list('')) names.push(name)
    expect(names.filter((name) => /^(log|bases)/.test(name)).map((name) => name.split('/')[0])).not.toContain('log.0000000002')
    expect(names).toContain('bases/0000000003')
    expect(names.filter((name) => name.startsWith('bases/'))).toHaveLength(1)
  })

  it('keeps the old log readable for whoever reads it, until it is dropped', async () => {
    const primary = await primaryOf()
    const root = new MemoryRoot({})
    const replica = await strayed(root)
    const old = replica.current
    const before = await contentOf(old)
    await installAt(primary, replica, root, 120, 100)
    expect(replica.current).not.toBe(old)
    await follow(primary, replica)
    expect(await contentOf(old)).toEqual(before)
    await expect(
      old
        .tailing(old.head, { signal: AbortSignal.timeout(5000) })
        [Symbol.asyncIterator]()
        .next(),
    ).rejects.toThrow(HistoryUnavailableError)
    await replica.dropOld()
    await expect(contentOf(old)).rejects.toThrow()
  })

  it('B13 installs nothing below what was promised', async () => {
    const primary = await primaryOf()
    const root = new MemoryRoot({})
    const replica = await strayed(root)
    const before = await contentOf(replica.current)
    replica.recordCommitted(121)
    await expect(transfer(primary, replica, 120, 100)).rejects.toThrow(CommittedTruncationError)
    const base = await transfer(primary, replica, 130, 100)
    replica.recordCommitted(131)
    const name = 'checkpoints/00000000000000000130.ckpt'
    await root.put(base.placeOf(name), HASH)
    await expect(base.install({ manifestHash: HASH, checkpoints: [name] })).rejects.toThrow(CommittedTruncationError)
    expect(await contentOf(replica.current)).toEqual(before)
    expect(await checkpointsOf(root)).toEqual({})
  })

  it('refuses records that do not lead from where the base begins to its digest, and a base that is not whole', async () => {
    const primary = await primaryOf()
    const other = await primaryOf()
    const root = new MemoryRoot({})
    const replica = await strayed(root)
    await expect(transfer(other, replica, 120, 100).then((base) => installFrom(base))).rejects.toThrow(BaseIncompleteError)
    async function installFrom(base: Awaited<ReturnType<typeof transfer>>): Promise<void> {
      await base.install({ manifestHash: HASH, checkpoints: [] })
    }
    const base = await replica.beginBase({
      baseLsn: 120,
      digest: await primary.digestAt(lsn(120)),
      logFrom: 100,
      logDigest: await primary.digestAt(lsn(100)),
      lineage: [],
    })
    for await (const batch of other.read(lsn(100), { end: lsn(120) })) {
      await expect(base.receive(101, batch.bytes, batch.offsets, await other.digestAt(batch.last))).rejects.toThrow(ChainDigestError)
    }
    await expect(base.install({ manifestHash: HASH, checkpoints: ['checkpoints/00000000000000000120.ckpt'] })).rejects.toThrow(BaseIncompleteError)
    await base.abort()
    expect(replica.durableLsn).toBe(150)
    await replica.close()
    expect((await currentGeneration(root)).number).toBe(0)
    expect(await root.exists('log.0000000001')).toBe(false)
  })

  it('B10 a crash at every point, of the process or of the power: the old log or the new one, never a mix', async () => {
    const primary = await primaryOf()
    const wanted = { 100: 'other 100', 120: 'base 120' }
    for (const point of [FP.ship.installIntent, FP.ship.afterManifest, FP.ship.beforeSwitch, FP.ship.afterSwitch, undefined]) {
      for (let seed = 0; seed < 10; seed++) {
        const disk = new MemoryRoot({ loseUnsynced: seed })
        const first = await strayed(disk)
        const old = await contentOf(first.current)
        await first.close()
        const world = bootWorld()
        const replica = await openReplica(disk, { world })
        // Of what is given up by the base.
        await replica.recordHistoryFloor(140)
        for (const at of [60, 120, 140]) await putCheckpoint(disk, at)
        const base = await transfer(primary, replica, 120, 100)
        const names = Object.entries(wanted).map(([at]) => `checkpoints/${at.padStart(20, '0')}.ckpt`)
        for (const [i, text] of Object.values(wanted).entries()) await disk.put(base.placeOf(names[i]!), new TextEncoder().encode(text))
        const parked = point === undefined ? undefined : parkAt(world, point)
        const installed = base.install({ manifestHash: HASH, checkpoints: names })
        await (parked ?? installed)
        let root = seed % 3 === 0 ? disk : disk.crash(seed)
        if (seed % 3 === 2) {
          // And once more, while the next open is about it.
          const stopped = bootWorld()
          const reached = parkAt(stopped, FP.log.node)
          openReplica(root, { world: stopped }).catch(() => {})
          await reached
          root = root.crash(seed + 7)
        }
        const isNew = point === FP.ship.afterSwitch || point === undefined
        const again = await openReplica(root)
        expect(again.generation.number).toBe(isNew ? 1 : 0)
        if (isNew) {
          expect(again.durableLsn).toBe(120)
          expect(toHex(await again.digestAt(120))).toBe(toHex(await primary.digestAt(lsn(120))))
          expect(await checkpointsOf(root)).toEqual(wanted)
          expect(again.node.facts.historyFloorLsn).toBe(120)
          expect(await root.exists('log')).toBe(false)
          await follow(primary, again)
        } else {
          expect(await contentOf(again.current)).toEqual(old)
          expect(again.node.facts.historyFloorLsn).toBe(140)
          expect(Object.keys(await checkpointsOf(root))).toEqual(['60', '120', '140'])
          expect(await root.exists('log.0000000001')).toBe(false)
        }
        expect(await root.exists('staging')).toBe(false)
        await again.close()
        await (await openReplica(root)).close()
      }
    }
  })

  it('a base says itself what it is, and no bit of it can change', () => {
    const base = {
      generation: 7,
      baseLsn: 2 ** 40,
      digest: new Uint8Array(32).fill(1) as never,
      tailLsn: 5,
      tailDigest: new Uint8Array(32).fill(2) as never,
      epoch: 3,
      lineage: [
        { epoch: 1, firstLsn: 1 },
        { epoch: 3, firstLsn: 2 ** 33 },
      ],
      manifestHash: HASH,
      checkpoints: [4, 2 ** 40],
      install: '01M7ZP8FCVCJKZSQRE4CWJ2A60',
    }
    const bytes = encodeBase(base)
    expect(decodeBase(bytes, 7)).toEqual(base)
    expect(decodeBase(encodeBase({ ...base, lineage: [], checkpoints: [] }), 7)).toEqual({ ...base, lineage: [], checkpoints: [] })
    expect(() => decodeBase(bytes, 8)).toThrow(CorruptionError)
    for (let i = 0; i < bytes.length; i++) {
      const flipped = bytes.slice()
      flipped[i]! ^= 1
      expect(() => decodeBase(flipped, 7)).toThrow(CorruptionError)
    }
  })
})

describe('openers of generations', () => {
  const reading = async (primary: CommitLog, root: Root) =>
    openSegmentLog(root, { world: bootWorld(), storeId: STORE_ID, readOnly: true, follow: false, floors: [await floorOf(primary)] })
  const floorOf = async (primary: CommitLog) => ({ lsn: lsn(120), digest: await primary.digestAt(lsn(120)) })

  async function installed(): Promise<{ primary: CommitLog; root: MemoryRoot }> {
    const primary = await primaryOf()
    const root = new MemoryRoot({})
    const replica = await strayed(root)
    await installAt(primary, replica, root, 120, 100)
    await follow(primary, replica, { end: 150 })
    await replica.close()
    return { primary, root }
  }

  it('read-only: the log of the newest one, and what comes while it is open', async () => {
    const { primary, root } = await installed()
    const reader = await reading(primary, root)
    expect([reader.tail, reader.head]).toEqual([100n, 150n])
    const replica = await openReplica(root)
    // Record by record: the newest group counts though the LOCK says nothing of its epoch.
    for (let end = 151; end <= 160; end++) {
      await follow(primary, replica, { end })
      expect(await reader.refresh()).toBe(BigInt(end))
    }
    const second = await reading(primary, root)
    expect(second.head).toBe(160n)
    expect((await contentOf(second)).payloads).toEqual((await contentOf(primary, 100)).payloads.slice(0, 60))
  })

  it('whoever only opens it waits for an install to be settled, and is told when nobody settles it', async () => {
    const primary = await primaryOf()
    const root = new MemoryRoot({})
    const world = bootWorld()
    const replica = await openReplica(root, { world })
    const parked = parkAt(world, FP.ship.afterSwitch)
    installAt(primary, replica, root, 120, 100).catch(() => {})
    await parked
    const clock = new FakeClock()
    const waiting = settledGeneration(root, { timers: clock.timers }).catch((error: unknown) => error)
    await clock.advance(10_000)
    expect(await waiting).toMatchObject({ code: 'root.unavailable' })
    const again = await openReplica(root)
    expect((await settledGeneration(root, { timers: clock.timers })).number).toBe(1)
    await again.close()
  })

  it('a reader goes over an install with the log that holds what it has shown, and is told when none does', async () => {
    const primary = await primaryOf(300)
    for (const isHeld of [true, false]) {
      const root = new MemoryRoot({})
      const replica = await openReplica(root)
      await follow(primary, replica, { end: 100 })
      const reader = await openSegmentLog(root, { world: bootWorld(), storeId: STORE_ID, readOnly: true, follow: false })
      expect(reader.head).toBe(100n)
      await installAt(primary, replica, root, 200, isHeld ? 90 : 150)
      await follow(primary, replica, { end: 210 })
      if (isHeld) {
        expect(await reader.refresh()).toBe(210n)
        expect((await contentOf(reader)).payloads).toEqual((await contentOf(primary, 90)).payloads.slice(0, 120))
      } else await expect(reader.refresh()).rejects.toThrow(HistoryUnavailableError)
    }
  })

  it('survey reads the newest one, from where it begins', async () => {
    const { primary, root } = await installed()
    const survey = await surveyLog(root, STORE_ID)
    expect([survey.tail, survey.lastLsn, survey.damage]).toEqual([100, 150, undefined])
    expect(survey.digest).toEqual(await primary.digestAt(lsn(150)))
  })

  it('writing is for a promotion: it goes on in the same log, under a higher epoch', async () => {
    const { primary, root } = await installed()
    await expect(openPrimary(root)).rejects.toThrow(ReadOnlyError)
    const promoted = await openPrimary(root, { promote: { epoch: 40, fencedAt: 40 }, floors: [await floorOf(primary)] })
    expect(Number(promoted.epoch)).toBeGreaterThanOrEqual(40)
    expect(promoted.head).toBe(151n)
    expect(await promoted.digestAt(lsn(150))).toEqual(await primary.digestAt(lsn(150)))
    await fill(promoted, 0, 10)
    await promoted.close()
    expect((await readNode(root))?.role).toBe('primary')
    const again = await openPrimary(root, { floors: [await floorOf(primary)] })
    expect(again.head).toBe(162n)
    await again.close()
    // And back: it follows again.
    const replica = await openReplica(root)
    expect(replica.durableLsn).toBe(162)
    expect((await readNode(root))?.role).toBe('replica')
  })

  it('damage is met in any generation: a base that is gone, one that the log does not reach, a log of another store', async () => {
    const { primary, root } = await installed()
    const open = (at: Root) => reading(primary, at)
    await expect(openSegmentLog(root, { world: bootWorld(), storeId: STORE_ID, readOnly: true, follow: false })).rejects.toThrow(CorruptionError)
    const base = (await root.get('bases/0000000001')).bytes
    await root.delete('bases/0000000001')
    await expect(open(root)).rejects.toThrow(CorruptionError)
    const decoded = decodeBase(base, 1)
    for (const wrong of [
      { ...decoded, baseLsn: 151 },
      { ...decoded, digest: HASH as never },
      { ...decoded, tailDigest: HASH as never },
      { ...decoded, tailLsn: 101 },
    ]) {
      await root.put('bases/0000000001', encodeBase(wrong))
      await expect(open(root)).rejects.toThrow(CorruptionError)
    }
    await root.put('bases/0000000001', base)
    expect((await open(root)).head).toBe(150n)
  })
})

describe('a base whose records cannot be written', () => {
  it('is given up alone, with what the disk said: the log goes on, and nobody is told that it failed', async () => {
    const primary = await openPrimary()
    await fill(primary, 0, 100)
    const root = new FaultyRoot(new MemoryRoot({}))
    const told: Error[] = []
    const replica = await openReplica(root, { onFailed: (error) => told.push(error) })
    await follow(primary, replica, { end: 20 })
    const receive = await startOf(primary, replica, 60)
    root.plan(({ method, name }) => (method === 'segment.datasync' && name.startsWith('log.') ? { error: 'io' } : undefined))
    await expect(receive()).rejects.toMatchObject({ name: 'StorageError', class: 'io' })
    await expect(receive()).rejects.toMatchObject({ name: 'StorageError', class: 'io' })
    await follow(primary, replica, { end: 30 })
    root.plan(undefined)
    await installAt(primary, replica, root, 60, 0)
    await follow(primary, replica)
    expect([told, replica.durableLsn, replica.generation.number]).toEqual([[], 101, 1])
    await replica.close()
  })

  it("fails the log with it where the LOCK is another one's, and says so once", async () => {
    const primary = await openPrimary()
    await fill(primary, 0, 100)
    const root = new MemoryRoot({})
    const told: Error[] = []
    const before = await openReplica(root, { onFailed: (error) => told.push(error) })
    await follow(primary, before, { end: 20 })
    const receive = await startOf(primary, before, 60)
    const after = await openReplica(root)
    await expect(receive()).rejects.toThrow(FencedError)
    await expect(follow(primary, before, { end: 30 })).rejects.toThrow(FencedError)
    expect(told).toEqual([expect.any(FencedError)])
    await before.close().catch(() => {})
    await follow(primary, after)
    await after.close()
  })
})
