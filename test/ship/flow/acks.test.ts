// What the driver tells the count of acknowledgements, and what a store that ships in mode quorum does without its replicas.
import { expect, it } from 'vitest'

import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { AckTracker, MemoryNetwork, RecoveryLog, Registry, replicaId, SessionSequence, Tape } from '../../../bindings/ship/index.ts'
import { Acks } from '../../../bindings/store/ship-acks.ts'
import type { Shipped } from '../../../bindings/store/shipped.ts'
import { opened } from '../../unit/store/places.ts'
import { FakeReplica } from './fake-replica.ts'
import { people, until } from './flow-kit.ts'

const [r1, r2] = [replicaId('r1'), replicaId('r2')]

async function counting(): Promise<{ acks: Acks; tracker: AckTracker; log: RecoveryLog; registry: Registry }> {
  const { clock } = defaultWorld()
  const store = await opened('memory:')
  const { o } = store as unknown as { o: Shipped['o'] }
  const log = new RecoveryLog({ clock })
  const registry = new Registry({ storeId: store.id, clock, log, sequence: new SessionSequence() }, 1)
  const tracker = new AckTracker({ epoch: 1, firstLsn: 1 })
  const acks = new Acks({ shipped: { o } as Shipped, tracker, tape: new Tape(o.log), registry, log, ackTimeoutMs: 5000, allowIndeterminate: false })
  registry.apply({ epoch: 1, replicas: [r1, r2].map((id) => ({ id, role: 'voter', endpoint: { data: id, version: 1 } })) })
  acks.assign(registry.all())
  acks.durable(10)
  return { acks, tracker, log, registry }
}

it('B15 a rebuilt replica counts from its first acknowledgement of the stream, not from what was installed', async () => {
  const { acks, tracker, log } = await counting()
  const session = { epoch: 1, seq: 1 }
  acks.follow(r1, session, undefined)
  acks.state(r1, 'rebuilding')
  acks.state(r1, 'in_sync')
  expect(tracker.committedIn('quorum')).toBe(0)
  acks.ack(r1, session, 8)
  expect(tracker.committedIn('quorum')).toBe(8)
  expect(log.events().some(({ event }) => event === 'amnesia')).toBe(false)
})

it('a replica with less than it once confirmed does not count before it is in sync again, and the log says so', async () => {
  const { acks, tracker, log } = await counting()
  acks.follow(r1, { epoch: 1, seq: 1 }, 5)
  acks.state(r1, 'in_sync')
  acks.ack(r1, { epoch: 1, seq: 1 }, 9)
  expect(tracker.committedIn('quorum')).toBe(9)
  acks.unfollow(r1, { epoch: 1, seq: 1 })
  expect(tracker.reachable).toBe(1)
  acks.follow(r1, { epoch: 1, seq: 2 }, 2)
  acks.state(r1, 'catching_up')
  expect(tracker.isAmnesic(r1)).toBe(true)
  expect(log.events().find(({ event }) => event === 'amnesia')?.fields).toMatchObject({ confirmed: 9, durable: 2 })
  acks.state(r1, 'in_sync')
  expect(tracker.isAmnesic(r1)).toBe(false)
})

it('what a replica confirmed and this node did not sync is not forgotten by being cut', async () => {
  const { acks, tracker, log } = await counting()
  acks.follow(r1, { epoch: 1, seq: 1 }, 10)
  acks.state(r1, 'in_sync')
  acks.ack(r1, { epoch: 1, seq: 1 }, 14)
  expect(tracker.committedIn('quorum')).toBe(10)
  acks.unfollow(r1, { epoch: 1, seq: 1 })
  acks.follow(r1, { epoch: 1, seq: 2 }, 10)
  expect(tracker.isAmnesic(r1)).toBe(false)
  expect(log.events().some(({ event }) => event === 'amnesia')).toBe(false)
})

it('L1 moves of C are in the log, one a second at most', async () => {
  const { acks, log } = await counting()
  for (const lsn of [3, 4, 9]) acks.committed(lsn)
  const moved = log.events().filter(({ event }) => event === 'commit_advanced')
  expect(moved).toMatchObject([{ replicaId: null, sessionId: null, detail: 'to 3', fields: { lsn: 3 } }])
})

it('mode quorum without replicas: shipping begins, writes are refused, and go on when one comes', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const store = await opened('memory:')
  await store.create(people)
  const shipping = await store.ship({
    replicas: [
      { id: 'r1', endpoint: 'r1' },
      { id: 'r2', endpoint: 'r2' },
    ],
    transport: network.transport('primary'),
    ack: 'quorum',
  })
  const row = { id: 1n, name: 'a', group: 1 }
  await expect(store.append(people, [row])).rejects.toMatchObject({ code: 'ship.ack-unavailable' })
  const replica = new FakeReplica()
  await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
  await until(() => shipping.status().inSync === 1)
  const { lsn } = await store.append(people, [row])
  expect(replica.durableLsn).toBeGreaterThanOrEqual(Number(lsn))
  await until(() => replica.committedLsn >= Number(lsn))
  expect(shipping.status()).toMatchObject({ mode: 'quorum', committedLsn: lsn })
})

it('mode quorum needs two voters', async () => {
  const store = await opened('memory:')
  const transport = new MemoryNetwork(defaultWorld()).transport('primary')
  const learner = { id: 'r2', endpoint: 'r2', role: 'learner' } as const
  await expect(store.ship({ replicas: [{ id: 'r1', endpoint: 'r1' }, learner], transport, ack: 'quorum' })).rejects.toMatchObject({
    code: 'ship.quorum-too-small',
  })
  expect(await store.pins()).toEqual([])
  await using shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: 'r1' }, learner], transport, ack: 'async' })
  expect(shipping.status().total).toBe(2)
})
