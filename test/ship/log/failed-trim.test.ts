// A delete that fails while a log is trimmed: T had moved past the segment, the next trim took those behind it and left it, and no open took the log for one again.
import { describe, expect, it } from 'vitest'

import { type CommitLog, lsn, openSegmentLog, type ReplicaLog } from '../../../bindings/log/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FaultyRoot, type RootCall, type RootFault } from '../../../bindings/testing/faulty-root.ts'
import { failure } from '../../unit/store/places.ts'
import { bootWorld, fill, follow, openPrimary, openReplica, STORE_ID } from './replica-kit.ts'

const SMALL = { segmentBytes: 8 * 1024 }
const isSegment = (name: string): boolean => /^log\/\d{20}\.wal$/.test(name)

/** First LSNs of the segments that are there. */
const firsts = (disk: MemoryRoot): number[] =>
  disk
    .namesSync()
    .filter(isSegment)
    .map((name) => Number(name.slice(4, -4)))

interface Place {
  readonly disk: MemoryRoot
  readonly root: FaultyRoot
  readonly log: CommitLog
  readonly more: (to: number) => Promise<void>
  /** The checkpoint is at `at`. */
  readonly reopened: (at: number) => Promise<CommitLog>
}

async function primary(isOwn: boolean): Promise<Place> {
  const disk = new MemoryRoot({})
  const root = new FaultyRoot(disk)
  let log = await openPrimary(root, SMALL)
  await fill(log, 0, 900, 30)
  if (!isOwn) {
    await log.close()
    log = await openPrimary(root, SMALL)
  }
  const reopened = async (at: number): Promise<CommitLog> => {
    const floors = [{ lsn: lsn(at), digest: await log.digestAt(lsn(at)) }]
    await log.close()
    return await openSegmentLog(root, { world: bootWorld(), storeId: STORE_ID, floors, follow: false })
  }
  return { disk, root, log, more: (to) => fill(log, 0, to - Number(log.head), 30), reopened }
}

async function replica(isOwn: boolean): Promise<Place> {
  const source = await openPrimary(undefined, SMALL)
  const disk = new MemoryRoot({})
  const root = new FaultyRoot(disk)
  let mine: ReplicaLog = await openReplica(root, SMALL)
  const more = async (to: number): Promise<void> => {
    // One group after the other: many segments.
    while (Number(source.head) < to) {
      await fill(source, 0, 30, 30)
      await follow(source, mine)
    }
  }
  await more(900)
  if (!isOwn) {
    await mine.close()
    mine = await openReplica(root, SMALL)
  }
  const reopened = async (): Promise<CommitLog> => {
    await mine.close()
    return (await openReplica(root, SMALL)).current
  }
  return { disk, root, log: mine.current, more, reopened }
}

const FAULTS: readonly (readonly [string, boolean, (call: RootCall) => RootFault | undefined])[] = [
  ['a delete that did nothing', false, ({ method, name }) => (method === 'delete' && isSegment(name) ? { error: 'io' } : undefined)],
  ['a delete whose answer is lost', false, ({ method, name }) => (method === 'delete' && isSegment(name) ? { error: 'io', when: 'after' } : undefined)],
  ['a delete for which there is no room', false, ({ method, name }) => (method === 'delete' && isSegment(name) ? { error: 'space' } : undefined)],
  ['a recycling that did nothing', true, ({ method, name }) => (method === 'rename' && name.includes('/free-') ? { error: 'io' } : undefined)],
  [
    'a recycling whose answer is lost',
    true,
    ({ method, name }) => (method === 'rename' && name.includes('/free-') ? { error: 'io', when: 'after' } : undefined),
  ],
  ['a recycled file that does not open', true, ({ method, name }) => (method === 'segment' && name.includes('/free-') ? { error: 'io' } : undefined)],
]

describe.each([
  ['primary', primary],
  ['replica', replica],
] as const)('the log of a %s', (_, make) => {
  it.each(FAULTS)('goes on trimming behind %s without a gap, and opens', async (_name, isOwn, fault) => {
    const { disk, root, log, more, reopened } = await make(isOwn)
    const all = firsts(disk)
    expect(all.length).toBeGreaterThan(5)
    /** From the oldest to the newest that was there: none is missing between them. */
    const isDense = (): boolean => all.slice(all.indexOf(firsts(disk)[0]!)).every((first) => firsts(disk).includes(first))
    const upTo = (i: number): Promise<unknown> => log.trim(lsn(all[i]! - 1))

    let left = 2
    root.plan((call) => {
      const struck = left === 0 ? undefined : fault(call)
      if (struck !== undefined) left--
      return struck
    })
    expect(await failure(() => upTo(2))).toMatchObject({ name: 'StorageError' })
    expect(isDense()).toBe(true)
    await failure(() => upTo(3))
    expect(isDense()).toBe(true)
    root.plan(undefined)
    expect(await upTo(4)).toBe(lsn(all[4]! - 1))
    expect(firsts(disk)[0]).toBe(all[4])
    expect(isDense()).toBe(true)
    await more(1000)
    const end = Number(log.head)
    const again = await reopened(all[4]! + 3)
    expect(Number(again.tail)).toBe(all[4]! - 1)
    expect(Number(again.head)).toBeGreaterThanOrEqual(end)
    await again.close()
  })

  it('that is opened while a segment is still owed begins with it', async () => {
    const { disk, root, log, reopened } = await make(false)
    const all = firsts(disk)
    root.plan(({ method, name }) => (method === 'delete' && isSegment(name) ? { error: 'io' } : undefined))
    for (const i of [2, 3, 4]) expect(await failure(() => log.trim(lsn(all[i]! - 1)))).toMatchObject({ name: 'StorageError' })
    expect(firsts(disk)).toEqual(expect.arrayContaining(all))
    root.plan(undefined)
    const again = await reopened(all[4]! + 3)
    expect(again.tail).toBe(0n)
    expect(await again.trim(lsn(all[4]! - 1))).toBe(lsn(all[4]! - 1))
    expect(firsts(disk)[0]).toBe(all[4])
    await again.close()
  })
})

// NODE had the epoch of the last segment that was to go: a trim that ended before left T in an older epoch, and a replica that ended exactly there was halted.
describe('the epoch of the record at T', () => {
  const EPOCHS = 5

  /** Each epoch has two segments or more. */
  async function ofManyEpochs(root: FaultyRoot): Promise<CommitLog> {
    for (let epoch = 1; ; epoch++) {
      const log = await openPrimary(root, SMALL)
      await fill(log, 0, 240, 30)
      if (epoch === EPOCHS) return log
      await log.close()
    }
  }

  /** Of the record at an LSN; undefined: not known. */
  const epochIn = (marks: readonly { readonly epoch: bigint | number; readonly firstLsn: bigint | number }[], at: number): number | undefined => {
    const mark = marks.findLast(({ firstLsn }) => Number(firstLsn) <= at)
    return mark === undefined ? undefined : Number(mark.epoch)
  }

  it.each(['before', 'after'] as const)('is known wherever a trim ends whose delete fails %s it struck', async (when) => {
    for (let k = 1; k < 12; k++) {
      const [disk, other] = [new MemoryRoot({ loseUnsynced: 3 }), new MemoryRoot({ loseUnsynced: 4 })]
      const [root, its] = [new FaultyRoot(disk), new FaultyRoot(other)]
      const primary = await ofManyEpochs(root)
      const full = primary.lineage
      let replica = await openReplica(its, SMALL)
      await follow(primary, replica, { most: 30 })
      await replica.close()
      replica = await openReplica(its, SMALL)
      for (const [log, where] of [
        [primary, root],
        [replica.current, its],
      ] as const) {
        const floor = lsn(Number(log.head) - 1)
        where.failAt(k, { error: 'io', when }, ({ method, name }) => method === 'delete' && isSegment(name))
        await log.trim(floor).catch((error: unknown) => expect(error).toMatchObject({ name: 'StorageError' }))
        where.plan(undefined)
        const tail = Number(log.tail)
        expect(epochIn(log.lineage, tail), `${k}, in the handle`).toBe(epochIn(full, tail))
      }
      const floors = [{ lsn: primary.head, digest: await primary.digestAt(primary.head) }]
      const [a, b] = [await openPrimary(disk.crash(), { ...SMALL, floors }), await openReplica(other.crash(), SMALL)]
      for (const [lineage, tail] of [
        [a.lineage, Number(a.tail)],
        [b.lineage, b.tailLsn],
      ] as const) {
        if (tail > 0) expect(epochIn(lineage, tail), `${k}, at ${tail}, opened again`).toBe(epochIn(full, tail))
      }
      await a.close()
      await b.close()
      await replica.close()
      await primary.close()
    }
  })
})
