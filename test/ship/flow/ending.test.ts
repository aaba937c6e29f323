// The end of shipping, at any moment: no pin, no link, no timer is left, and nothing of it speaks afterwards.
import { expect, it } from 'vitest'

import type { CommitLog } from '../../../bindings/log/index.ts'
import { fillWorld, type TimerHandle, type World } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork, TcpTransport } from '../../../bindings/ship/index.ts'
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

it('X9 a store that shipped and ended it again and again has no more listeners on its log than before', async () => {
  const network = new MemoryNetwork(fillWorld(undefined))
  const store = await opened('memory:')
  const { log } = store as unknown as { log: CommitLog }
  let listening = 0
  const listen = log.listen.bind(log)
  log.listen = (listener) => {
    const own = listen(listener)
    listening++
    return {
      [Symbol.dispose]: () => {
        listening--
        own[Symbol.dispose]()
      },
    }
  }
  for (let n = 0; n < 3; n++) {
    const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary') })
    expect(listening).toBeGreaterThan(0)
    await shipping.close()
    expect(listening).toBe(0)
  }
})

it.each([
  ['at once', 0],
  ['while the replica at an address is asked for its id', 1],
])('X9 the close of a store ends a ship() that is under way: %s', async (_when, asked) => {
  const { world, open } = countingWorld()
  const network = new MemoryNetwork(world)
  const replica = new FakeReplica({ answer: (m) => (m.type === 'hello' ? ({ type: 'heartbeat', committedLsn: 0, durableLsn: 0 } as const) : undefined) })
  await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
  const store = await opened('memory:', { world })
  const started = store.ship({ replicas: ['r1'], transport: network.transport('primary') }).catch((error: unknown) => error)
  await until(() => replica.heard.length >= asked)
  await store.close()
  expect(await started).toMatchObject({ code: 'store.closed' })
  expect(network.open).toEqual([])
  expect(open.size).toBe(0)
})

it('X9 no socket is left when shipping has ended', async () => {
  const base = fillWorld(undefined)
  const sockets = new Set<unknown>()
  const connect: World['network']['connect'] = async (address, o) => {
    const stream = await base.network.connect(address, o)
    sockets.add(stream)
    void stream.closed.then(() => sockets.delete(stream))
    return stream
  }
  const world: World = { ...base, network: { ...base.network, connect } }
  const listening = await new TcpTransport({}).listen(new FakeReplica({}), { data: '127.0.0.1:0', version: 1 })
  const store = await opened('memory:')
  await store.create(people)
  const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: listening.endpoint.data }], transport: new TcpTransport({ world }) })
  await until(() => shipping.status().inSync === 1)
  expect(sockets.size).toBe(1)
  await shipping.close()
  expect(sockets.size).toBe(0)
  await listening[Symbol.asyncDispose]()
})

it('X9 ship() behind a close() that nobody waited for begins when that has ended', async () => {
  const network = new MemoryNetwork(fillWorld(undefined))
  const replica = new FakeReplica({})
  await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
  const store = await opened('memory:')
  await store.create(people)
  const o = { replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary') }
  const first = await store.ship(o)
  await until(() => first.status().inSync === 1)
  const closing = first.close()
  const second = await store.ship(o)
  await until(() => second.status().inSync === 1)
  await closing
  expect(first.status().replicas.map(({ state }) => state)).toEqual(['stopped'])
})
