// A rebuild that goes on for long without a byte of a file on its way: the replica reads what it has, stores records, puts a state together (shipping.md section 8).
// What it says of that is progress; that it is there is none. Time is a fake clock's.
import { expect, it, onTestFinished, vi } from 'vitest'

import { Store, t, table } from '../../../bindings/index.ts'
import type { Message } from '../../../bindings/format/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { MemoryNetwork, replicaId } from '../../../bindings/ship/index.ts'
import { Peer } from '../../../bindings/ship/peer.ts'
import { ship, type Shipping } from '../../../bindings/store/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'
import { QUIET } from '../../unit/store/places.ts'
import { FakeReplica } from './fake-replica.ts'

const people = table('people', { id: t.int64(), name: t.utf8() }, { key: ['id'] })
/** Of REBUILD_BUDGET. */
const DEADLINE_MS = 15_000

interface Rig {
  readonly clock: FakeClock
  readonly replica: FakeReplica
  readonly shipping: Shipping
  /** The last question of the primary's that the replica has not answered. */
  readonly owed: () => Message['type'] | undefined
  say(message: Message): Promise<void>
  state(): string
}

/** A replica that is to be rebuilt, and answers nothing about its base by itself. */
async function rig(rows: number): Promise<Rig> {
  const clock = new FakeClock()
  const world = fakeWorld({ clock })
  const network = new MemoryNetwork(world)
  const store = await Store.open(new MemoryRoot({}), { ...QUIET, world })
  await store.create(people)
  await Promise.all(Array.from({ length: rows }, (_, i) => store.append(people, { id: BigInt(i), name: 'x'.repeat(50) })))
  let owed: Message['type'] | undefined
  const replica = new FakeReplica({
    answer: (message) => {
      if (message.type === 'manifest' || message.type === 'install') owed = message.type
      // Nothing that is to be answered.
      return message.type === 'entries' && message.base ? { type: 'heartbeat', committedLsn: 0, durableLsn: 0 } : undefined
    },
  })
  await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
  const shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary') })
  onTestFinished(() => shipping.close())
  await clock.advance(100)
  shipping.registry.sender(replicaId('r1')).markNeedsRebuild('asked_for')
  await clock.advance(300)
  expect(owed).toBe('manifest')
  return {
    clock,
    replica,
    shipping,
    owed: () => owed,
    say: async (message) => {
      const [epoch, session] = replica.sessions.at(-1)!.split('.').map(Number) as [number, number]
      await replica.links.at(-1)!.send({ epoch, session, message })
    },
    state: () => `${shipping.status().replicas[0]!.state} ${shipping.status().replicas[0]!.reason}`,
  }
}

const allThere: Message = { type: 'want', lsn: 0, files: [] }

it('what the replica does with what it has is progress: its files, the records of the base, its new state', async () => {
  const { clock, replica, say, owed, state } = await rig(20)
  let done = 0
  const works = async (): Promise<void> => {
    for (let i = 0; i < 4; i++) {
      await say({ type: 'working', done: (done += 1000) })
      await clock.advance(DEADLINE_MS - 2000)
    }
    expect(state()).toMatch(/^rebuilding/)
  }
  const { length } = replica.sessions
  await works()
  await say(allThere)
  await works()
  await say(allThere)
  await clock.advance(100)
  expect(owed()).toBe('install')
  await works()
  expect(replica.sessions).toHaveLength(length)
})

it.each([
  ['says nothing', [] as number[]],
  ['says the same again', [500, 500, 500, 400]],
])('a replica that is there and %s runs out of its budget', async (_, told) => {
  const { clock, say, shipping, state } = await rig(20)
  await say({ type: 'working', done: 500 })
  for (let i = 0; i < 4; i++) {
    await clock.advance(DEADLINE_MS / 4 - 100)
    if (told[i] !== undefined) await say({ type: 'working', done: told[i]! })
  }
  expect(state()).toMatch(/^rebuilding/)
  await clock.advance(2000)
  const ended = shipping.log.eventsFor(replicaId('r1')).map(({ event, detail }) => `${event} ${detail}`)
  expect(ended).toContainEqual(expect.stringMatching(/^session_failed budget_progress_stalled/))
})

it('the records of a base are progress as they go out', async () => {
  const send = Peer.prototype.send
  let pieces = 0
  const { clock, say, owed, state } = await rig(4000)
  const spy = vi.spyOn(Peer.prototype, 'send').mockImplementation(async function (this: Peer, message) {
    if (message.type === 'entries' && message.base) {
      pieces++
      await new Promise<void>((resolve) => void clock.timers.set(DEADLINE_MS - 1000, resolve))
    }
    await send.call(this, message)
  })
  onTestFinished(() => spy.mockRestore())
  await say(allThere)
  await clock.advance(4 * DEADLINE_MS)
  expect(pieces).toBeGreaterThan(2)
  expect(state()).toMatch(/^rebuilding/)
  await say(allThere)
  await clock.advance(100)
  expect(owed()).toBe('install')
})
