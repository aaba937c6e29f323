// A link that is not the current one (shipping.md sections 11 and 17, I3): whatever comes over it, nothing of the replica changes.
import { describe, expect, it, onTestFinished } from 'vitest'

import { encodeManifest, type Message } from '../../../bindings/format/index.ts'
import { manifestHash, MemoryNetwork } from '../../../bindings/ship/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { FaultyRoot } from '../../../bindings/testing/faulty-root.ts'
import { baseOf, fill, filled, MemoryRoot, type Primary, RawSender, replicaOn, turns } from './kit.ts'

const HELD = 20

interface Cluster {
  readonly root: MemoryRoot
  readonly network: MemoryNetwork
  readonly primary: Primary
  readonly replica: Replica
  readonly current: RawSender
}

/** A replica at HELD, all of it committed but five, under session 5.3. */
async function cluster(): Promise<Cluster> {
  const { network, primary } = await filled(40)
  await primary.store.flush()
  const root = new MemoryRoot({})
  const replica = await replicaOn(network, root)
  const current = await RawSender.connect(network, replica, primary, { epoch: 5, session: 3 })
  await current.hello()
  await current.grant(0)
  await current.entries(0, HELD, { committedLsn: HELD - 5 })
  await current.durable(HELD)
  await replica.store.refresh()
  return { root, network, primary, replica, current }
}

/** What a message could change. */
async function stateOf({ root, replica }: Cluster): Promise<unknown> {
  const { epoch, session, durable, received, committed, lsn, generation } = replica.status()
  const names: string[] = []
  for await (const { name } of root.list('')) if (!name.startsWith('NODE')) names.push(name)
  return { epoch, session, durable, received, committed, lsn, generation, names: names.toSorted() }
}

const MESSAGES: readonly (readonly [string, (from: RawSender, o: Cluster) => Promise<Message>])[] = [
  ['heartbeat', async () => ({ type: 'heartbeat', committedLsn: HELD, durableLsn: HELD })],
  ['grant', async () => ({ type: 'grant', mode: 'stream', start: HELD, target: 0, committedLsn: HELD, elideDead: false })],
  ['entries', (from) => from.entriesOf(HELD, HELD + 10, { committedLsn: HELD + 10 })],
  ['entries that are there already', (from) => from.entriesOf(0, HELD, { committedLsn: HELD })],
  ['fragment', async () => ({ type: 'fragment', hash: new Uint8Array(32).fill(1), offset: 0, total: 1, dead: false, bytes: new Uint8Array(1) })],
  ['truncate', async () => ({ type: 'truncate', lsn: HELD - 5 })],
  [
    'manifest',
    async (_, { primary }) => {
      const manifest = await baseOf(primary)
      return { type: 'manifest', hash: manifestHash(manifest), bytes: encodeManifest(manifest) }
    },
  ],
  ['install', async () => ({ type: 'install', manifestHash: new Uint8Array(32) })],
]

describe.each([
  ['an older epoch', { epoch: 4, session: 9 }, 'StaleEpochError'],
  ['an older session of the epoch', { epoch: 5, session: 2 }, 'SessionFencedError'],
] as const)('K2 over a link of %s', (_, fence, name) => {
  it.each(MESSAGES)('%s changes nothing and ends it', async (__, message) => {
    const all = await cluster()
    const before = await stateOf(all)
    const stale = await RawSender.connect(all.network, all.replica, all.primary, fence)
    expect(await stale.hello()).toMatchObject({ epochSeen: 5, durableLsn: HELD })
    await stale.send(await message(stale, all))
    expect(await stale.refusal()).toMatchObject({ name })
    await all.replica.store.refresh()
    expect(await stateOf(all)).toEqual(before)
    // The current one goes on.
    await all.current.entries(HELD, HELD + 10, { committedLsn: HELD })
    expect(await all.current.durable(HELD + 10)).toMatchObject({ durableLsn: HELD + 10 })
  })
})

describe('K2 over the link of a fenced primary', () => {
  it.each(MESSAGES)('%s changes nothing behind the fence of a promotion', async (_, message) => {
    const all = await cluster()
    await all.replica.fence({ epoch: 6 })
    const before = await stateOf(all)
    const late = await RawSender.connect(all.network, all.replica, all.primary, { epoch: 5, session: 4 })
    await late.hello()
    await late.send(await message(late, all))
    expect(await late.refusal()).toMatchObject({ name: 'StaleEpochError' })
    await all.replica.store.refresh()
    expect(await stateOf(all)).toEqual(before)
  })
})

describe('before its hello', () => {
  it.each(MESSAGES)('%s is refused, under the fence of the current link too', async (_, message) => {
    const all = await cluster()
    const before = await stateOf(all)
    const from = await RawSender.connect(all.network, all.replica, all.primary, { epoch: 5, session: 3 })
    await from.send(await message(from, all))
    expect(await from.refusal()).toMatchObject({ name: 'NoSessionError' })
    expect(await stateOf(all)).toEqual(before)
  })
})

describe('over a link that observes', () => {
  it.each(MESSAGES)('%s changes nothing', async (what, message) => {
    const all = await cluster()
    const before = await stateOf(all)
    const observer = await RawSender.connect(all.network, all.replica, all.primary, { epoch: 5, session: 3 })
    await observer.hello({ kind: 'observe' })
    await observer.send(await message(observer, all))
    if (what === 'heartbeat') await observer.send({ type: 'install', manifestHash: new Uint8Array(32) })
    expect(await observer.refusal()).toMatchObject({ name: 'SessionFencedError' })
    await all.replica.store.refresh()
    expect(await stateOf(all)).toEqual(before)
  })
})

// The next session waited for all of it, longer than it waits for an answer.
it('a replica does not go on verifying itself for a link that is over', async () => {
  const { network, primary } = await filled(0)
  await fill(primary.store, 0, 5000)
  const root = new FaultyRoot(new MemoryRoot({}))
  const replica = await replicaOn(network, root, { segmentBytes: 16 * 1024 })
  const sender = await RawSender.connect(network, replica, primary)
  await sender.catchUp(replica)
  let segments = 0
  for await (const { name } of root.list('log/')) if (/\d{20}\.wal$/.test(name)) segments++
  expect(segments).toBeGreaterThan(4)

  let reads = 0
  let go: (() => void) | undefined
  root.plan(({ method, name }) => {
    if (method !== 'segment.read' || !name.startsWith('log/')) return undefined
    reads++
    return { wait: () => new Promise<void>((resolve) => (go = resolve)) }
  })
  onTestFinished(() => {
    root.plan(undefined)
    go?.()
  })
  await sender.send({ type: 'verifySelf', upTo: Number(replica.status().durable) })
  while (go === undefined) await turns()
  const next = await RawSender.connect(network, replica, primary, { session: 2 })
  let isAnswered = false
  const answered = next.hello().then(() => (isAnswered = true))
  await turns()
  for (let i = 0; i < 100 && !isAnswered; i++) {
    go()
    await turns()
  }
  await answered
  expect(reads).toBeLessThan(4)
})
