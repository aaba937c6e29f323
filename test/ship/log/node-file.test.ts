// NODE where its disk fails: a fact that only memory has is not taken for one that is durable.
import { expect, it, onTestFinished } from 'vitest'

import { decodeNode, readNode, type ReplicaLog } from '../../../bindings/log/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FaultyRoot, type RootCall } from '../../../bindings/testing/faulty-root.ts'
import { failure } from '../../unit/store/places.ts'
import { openReplica } from './replica-kit.ts'

const ofNode = ({ method, name }: RootCall): boolean => name === 'NODE' && /^put$|^segment/.test(method)

/** What the next open would find, were the power cut now. */
const durable = (disk: MemoryRoot): ReturnType<typeof readNode> => readNode(disk.crash())

async function place(): Promise<{ readonly disk: MemoryRoot; readonly root: FaultyRoot; readonly log: ReplicaLog }> {
  const disk = new MemoryRoot({ loseUnsynced: 3 })
  const root = new FaultyRoot(disk)
  const log = await openReplica(root)
  onTestFinished(() => log.close().catch(() => undefined))
  return { disk, root, log }
}

const FACTS = [
  ['historyFloorLsn', 7, (log) => log.recordHistoryFloor(7)],
  ['tailEpoch', 3, (log) => log.node.recordTail(0, { epoch: 3, lastLsn: 8 })],
  ['isWhole', true, (log) => log.recordWhole()],
] as const satisfies readonly (readonly [string, unknown, (log: ReplicaLog) => Promise<void>])[]

it.each(FACTS)('%s is written again after a write of it that failed, not at once when it is durable', async (name, value, write) => {
  const { disk, root, log } = await place()
  root.plan((call) => (ofNode(call) ? { error: 'io' } : undefined))
  expect(await failure(() => write(log))).toMatchObject({ name: 'StorageError' })
  expect(await failure(() => write(log)), 'while the disk fails').toMatchObject({ name: 'StorageError' })
  expect((await durable(disk))?.[name]).not.toBe(value)
  root.plan(undefined)
  await write(log)
  expect((await durable(disk))?.[name]).toBe(value)
  const before = root.calls.length
  await write(log)
  expect(root.calls.slice(before).filter(ofNode)).toEqual([])
})

it.each(FACTS)('%s is durable for whoever asks while another one writes it', async (name, value, write) => {
  const { disk, root, log } = await place()
  const [asked, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  root.plan((call) => (call.method === 'segment.datasync' && call.name === 'NODE' ? { wait: () => (asked.resolve(), held.promise) } : undefined))
  onTestFinished(() => held.resolve())
  const first = write(log)
  await asked.promise
  let isTold = false
  const second = write(log).then(() => (isTold = true))
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  expect(isTold).toBe(false)
  held.resolve()
  await Promise.all([first, second])
  expect((await durable(disk))?.[name]).toBe(value)
})

it('what a write failed of is written at the latest when the log is closed', async () => {
  const { disk, root, log } = await place()
  root.failAt(1, { error: 'io' }, ofNode)
  expect(await failure(() => log.recordFence({ epoch: 4, session: 2, promised: 0, decision: '' }))).toMatchObject({ name: 'StorageError' })
  expect(await durable(disk)).toMatchObject({ epochSeen: 0, session: 0 })
  await log.close()
  expect(await durable(disk)).toMatchObject({ epochSeen: 4, session: 2 })
})

const FENCE = { epoch: 9, session: 3, promised: 18, decision: 'd9'.repeat(16) }

const KEPT = [
  ...FACTS,
  ['epochSeen', 9, (log) => log.recordFence(FENCE)],
  ['promised', 18, (log) => log.recordFence(FENCE)],
  ['decision', FENCE.decision, (log) => log.recordFence(FENCE)],
  ['mandate', 19, (log) => log.node.update({ mandate: 19 })],
  ['promotedEpoch', 9, (log) => log.node.update({ promotedEpoch: 9 })],
  // What is waited for: a weaker mode counts from when NODE says it.
  ['committedLsn', 5, (log) => log.node.update({ committedLsn: 5 })],
] as const satisfies readonly (readonly [string, unknown, (log: ReplicaLog) => Promise<void>])[]

it.each(KEPT)('%s stands, once it was written, whichever byte of either slot turns over', async (name, value, write) => {
  const { disk, log } = await place()
  // Each slot has been the one that is written first.
  for (let round = 1; round <= 2; round++) {
    await write(log)
    const { bytes } = await disk.crash().get('NODE')
    expect(bytes).toHaveLength(1024)
    const lost = [...bytes.keys()].filter((at) => decodeNode(bytes.map((byte, i) => (i === at ? byte ^ (1 << (at % 8)) : byte)))?.[name] !== value)
    expect(lost).toEqual([])
    if (name === 'committedLsn') continue
    // C alone goes into one slot.
    log.recordCommitted(100 * round)
    await expect.poll(async () => (await durable(disk))?.committedLsn, { interval: 2 }).toBe(100 * round)
  }
})
