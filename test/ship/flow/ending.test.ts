// The end of shipping, at any moment: no pin, no link, no timer is left, and nothing of it speaks afterwards.
import { expect, it } from 'vitest'

import { fillWorld, type TimerHandle, type World } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { opened } from '../../unit/store/places.ts'
import { type FakeOptions, FakeReplica } from './fake-replica.ts'
import { people, until } from './flow-kit.ts'

/** The timers of a process, counted. */
function countingWorld(): { readonly world: World; readonly open: Set<unknown> } {
  const base = fillWorld(undefined)
  const open = new Set<unknown>()
  const timers: World['timers'] = {
    ...base.timers,
    set: (ms, fn) => {
      const handle: TimerHandle = base.timers.set(ms, () => {
        open.delete(handle)
        fn()
      })
      open.add(handle)
      return handle
    },
    clear: (handle) => {
      open.delete(handle)
      base.timers.clear(handle)
    },
  }
  return { world: { ...base, timers }, open }
}

const HANGING = new Promise<never>(() => undefined)

const PHASES: readonly (readonly [
  string,
  FakeOptions & { readonly isCut?: boolean; readonly isAbsent?: boolean },
  (states: readonly string[], heard: FakeReplica) => boolean,
])[] = [
  ['while a connection is waited for', { isCut: true }, () => true],
  [
    'while the hello is waited for',
    { answer: (m) => (m.type === 'hello' ? ({ type: 'heartbeat', committedLsn: 0, durableLsn: 0 } as const) : undefined) },
    (_, r) => r.links.length > 0,
  ],
  [
    'while the grant is waited for',
    { answer: (m) => (m.type === 'grant' ? ({ type: 'heartbeat', committedLsn: 0, durableLsn: 0 } as const) : undefined) },
    (_, r) => r.heard.some(({ type }) => type === 'grant'),
  ],
  ['in the middle of a catch-up', { ack: (lsn) => (lsn > 300 ? HANGING : lsn) }, (_, r) => r.records.last > 300],
  ['in the live stream', {}, (states) => states.includes('in_sync')],
  ['while it rests before another try', { isAbsent: true }, () => true],
]

it.each(PHASES)('X9 close() %s', async (_, { isCut, isAbsent, ...fake }, isThere) => {
  const { world, open } = countingWorld()
  const network = new MemoryNetwork(world)
  const replica = new FakeReplica(fake)
  if (isAbsent !== true) await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
  if (isCut === true) network.partition('primary', 'r1')
  const store = await opened('memory:', { world })
  await store.create(people)
  await Promise.all(Array.from({ length: 1500 }, (__, i) => store.append(people, [{ id: BigInt(i), name: 'a', group: 1 }])))
  const before = open.size
  const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary') })
  const states: string[] = []
  shipping.on('state', ({ to }) => states.push(to))
  await until(() => isThere([...states, shipping.status().replicas[0]!.state], replica))
  await shipping.close()
  const told = shipping.log.events().length
  expect(await store.pins()).toEqual([])
  expect(network.open).toEqual([])
  expect(open.size).toBeLessThanOrEqual(before)
  expect(shipping.status().replicas.map(({ state }) => state)).toEqual(['stopped'])
  await store.append(people, [{ id: 10_000n, name: 'after', group: 1 }])
  await new Promise((resolve) => setImmediate(resolve))
  expect(shipping.log.events().length).toBe(told)
  await shipping.close()
})
