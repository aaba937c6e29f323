// The driver over a real store and real replicas while something else happens: what is pinned between a run and its stream, plans that are out of date before they
// run, removals amid recoveries, and what a rebuild says that it has achieved (X9, B6).
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { TransportError } from '../../../bindings/errors-ship.ts'
import type { OpenOptions } from '../../../bindings/index.ts'
import type { Hold } from '../../../bindings/log/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork, type RecoveryEvent, type RecoveryEventName, replicaId, type Transport, type WireFrame } from '../../../bindings/ship/index.ts'
import type { Shipping } from '../../../bindings/store/index.ts'
import { StoreHistory } from '../../../bindings/store/ship-history.ts'
import { Flow, type Net, until } from './flow-kit.ts'

const SMALL: OpenOptions = { segmentBytes: 64 * 1024, upkeep: 'manual' }

function memory(onDeliver: (from: string, to: string, frame: WireFrame) => void = () => undefined): Net & { readonly network: MemoryNetwork } {
  const network = new MemoryNetwork(defaultWorld(), { onDeliver })
  return { network, transport: (node) => network.transport(node), place: (node) => ({ data: node, version: 1 }) }
}

interface Insides {
  readonly o: {
    readonly log: { readonly head: bigint; readonly tail: bigint; readonly reclaim: { list(): readonly Hold[] }; trim(lsn: bigint): Promise<bigint> }
  }
}
const logOf = (flow: Flow): Insides['o']['log'] => (flow.store as unknown as Insides).o.log
const owners = (flow: Flow): string[] =>
  logOf(flow)
    .reclaim.list()
    .map(({ owner }) => owner)

const eventsOf = (shipping: Shipping, id = 'r1'): RecoveryEvent[] => shipping.log.eventsFor(replicaId(id))
const named = (shipping: Shipping, event: RecoveryEventName, id = 'r1'): RecoveryEvent[] => eventsOf(shipping, id).filter((each) => each.event === event)

/** The log begins behind everything that is there: who has nothing of it gets a base. */
async function forgotten(flow: Flow, rows = 1500): Promise<void> {
  await flow.write(rows)
  await flow.bulk(2000)
  await flow.store.flush()
  await flow.store.close()
  await flow.reopen()
  await logOf(flow).trim(logOf(flow).head)
  expect(logOf(flow).tail).toBeGreaterThan(0n)
}

describe('between a run and the stream that follows it', () => {
  it.each([
    ['a catch-up', false],
    ['a rebuild', true],
  ])('%s: the pin of the stream is there when those of the run go, so that nothing between them can be reclaimed', async (_, isRebuild) => {
    const net = memory()
    const flow = await Flow.open(net, new MemoryRoot({}), SMALL)
    if (isRebuild) await forgotten(flow)
    else await flow.write(300)
    await flow.replica('r1', new MemoryRoot({}))
    net.network.partition('primary', 'r1')
    const shipping = await flow.ship()
    const held: string[][] = []
    shipping.log.subscribe(({ event, detail }) => void (event === 'exec_resources_released' && detail === '' && held.push(owners(flow))))
    net.network.heal()
    await flow.equal()
    expect(held).toEqual([['stream']])
    expect(named(shipping, isRebuild ? 'exec_rebuild_completed' : 'exec_completed')).toHaveLength(1)
  })
})

describe('B6 what is written while a base is copied', () => {
  it.each([0, 20])(
    'B6 %i entries: replica durable, receive cursor, what readers see, next LSN, recorded completion and reported state all equal achieved',
    async (entries) => {
      let isHeld = false
      const { promise: amid, resolve } = Promise.withResolvers<void>()
      const net = memory((from, _to, { message }) => {
        if (from !== 'primary' || message.type !== 'fragment' || isHeld) return
        isHeld = true
        net.network.partition('primary', 'r1')
        resolve()
      })
      const flow = await Flow.open(net, new MemoryRoot({}), SMALL)
      await forgotten(flow)
      // No checkpoint: a full base, at the head of now.
      for await (const { name } of (flow.place as MemoryRoot).list('checkpoints/')) {
        const { bytes } = await (flow.place as MemoryRoot).get(name)
        await (flow.place as MemoryRoot).put(name, bytes.with(bytes.length >> 1, bytes[bytes.length >> 1]! ^ 1))
      }
      const base = Number(flow.store.lsn)
      const replica = await flow.replica('r1', new MemoryRoot({}))
      const shipping = await flow.ship()
      // Until the stream has said more, the completion is what is known of it.
      let completed: { readonly durable: bigint; readonly received: bigint; readonly reported: bigint; readonly generation: number } | undefined
      shipping.log.subscribe(({ event }) => {
        if (event !== 'exec_rebuild_completed') return
        const { durable, received, generation } = replica.status()
        completed = { durable, received, generation, reported: shipping.status().replicas[0]!.durableLsn }
      })
      await amid
      for (let i = 0; i < entries; i++) await flow.write(1)
      net.network.heal()
      await until(() => completed !== undefined)
      const [plan] = named(shipping, 'plan_rebuild_full_base')
      expect(plan!.fields).toMatchObject({ baseLsn: base, target: base })
      const achieved = base + entries
      const at = BigInt(achieved)
      expect(completed).toEqual({ durable: at, received: at, reported: at, generation: 1 })
      expect(named(shipping, 'exec_rebuild_completed')[0]!.fields).toMatchObject({ achieved })
      expect(named(shipping, 'installed')[0]!.fields).toMatchObject({ baseLsn: base })
      await flow.equal()
      expect(replica.status()).toMatchObject({ durable: at, received: at, lsn: at, committed: at })
      expect(replica.store.lsn).toBe(at)
      // The stream began behind it: what is written now is the next one.
      const stream = named(shipping, 'stream_opened')[0]!
      expect(JSON.stringify(stream)).toContain(String(achieved + 1))
      await flow.write(1)
      await flow.equal()
      expect(replica.status()).toMatchObject({ durable: at + 1n, received: at + 1n })
    },
  )
})

it('B9 a rebuild whose link breaks, and then nobody there: needs_rebuild all the while, no pin left, the old state readable; it is done when the replica is back', async () => {
  let isArmed = false
  let isGone = false
  const inner = memory((from, _to, { message }) => {
    if (!isArmed || from !== 'primary' || message.type !== 'fragment') return
    isArmed = false
    isGone = true
    inner.network.cut('primary', 'r1')
  })
  const transport = (node: string): Transport => {
    const each = inner.transport(node)
    const connect: Transport['connect'] = (to, signal) => (isGone ? Promise.reject(new TransportError(`nobody at ${to.data}`)) : each.connect(to, signal))
    return { ...each, connect }
  }
  const net: Net = { ...inner, transport }
  const flow = await Flow.open(net, new MemoryRoot({}), SMALL)
  await flow.write(50)
  const replica = await flow.replica('r1', new MemoryRoot({}))
  await flow.ship()
  await flow.equal()
  const before = await flow.rows(replica.store)
  await flow.shipping!.close()
  await forgotten(flow)
  isArmed = true
  const shipping = await flow.ship()
  await until(() => named(shipping, 'connect_failed').length > 1)
  expect(shipping.status().replicas[0]!.state).toMatch(/needs_rebuild|connecting/)
  expect(named(shipping, 'session_failed').map(({ detail }) => detail.split(':')[0])).toEqual(
    expect.arrayContaining(['gap_beyond_retention', 'transfer_failed']),
  )
  expect(named(shipping, 'exec_rebuild_completed')).toEqual([])
  expect(owners(flow)).toEqual([])
  expect(replica.status().generation).toBe(0)
  expect(await flow.rows(replica.store)).toEqual(before)
  expect(await replica.store.verify()).toMatchObject({ ok: true })
  isGone = false
  await until(() => replica.status().generation === 1)
  await flow.equal()
})

/** The next pin is granted, and not told before it is let go. */
function heldPin(): { readonly granted: Promise<void>; readonly go: () => void } {
  const [granted, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { pinLog } = StoreHistory.prototype
  const spy = vi.spyOn(StoreHistory.prototype, 'pinLog').mockImplementationOnce(async function (this: StoreHistory, start, owner, o) {
    const pin = await pinLog.call(this, start, owner, o)
    granted.resolve()
    await held.promise
    return pin
  })
  onTestFinished(() => {
    held.resolve()
    spy.mockRestore()
  })
  return { granted: granted.promise, go: () => held.resolve() }
}

describe('X9 a plan that is out of date before it is run', () => {
  const CHANGES: readonly (readonly [string, string, string, (flow: Flow, shipping: Shipping) => Promise<unknown>])[] = [
    [
      'the address changed',
      'endpoint_changed',
      'address_change',
      (_flow, shipping) => shipping.assign([{ id: 'r1', endpoint: { data: 'elsewhere', version: 2 } }]),
    ],
    [
      'the epoch was raised',
      'epoch_advanced',
      'epoch_bump',
      (_flow, shipping) => {
        const { registry } = shipping
        return shipping.assign({
          epoch: registry.epoch + 1,
          replicas: [{ id: replicaId('r1'), role: 'voter', endpoint: registry.sender(replicaId('r1')).endpoint }],
        })
      },
    ],
    [
      'another session was begun',
      'assignment',
      'superseded',
      async (_flow, shipping) => void shipping.registry.sender(replicaId('r1')).supersede('catchup', 'assignment', {}),
    ],
  ]

  it.each(CHANGES)('X9 %s: it is cancelled, its pin given back, nothing of it was sent; the next session finishes', async (_, reason, cancelled, change) => {
    const sent: string[] = []
    const net = memory((from, _to, { epoch, session, message }) => void (from === 'primary' && sent.push(`${epoch}.${session} ${message.type}`)))
    const flow = await Flow.open(net, new MemoryRoot({}))
    await flow.write(200)
    const root = new MemoryRoot({})
    const replica = await flow.replica('r1', root)
    await net.network.transport('r1').listen((replica as unknown as { host: Parameters<ReturnType<Net['transport']>['listen']>[0] }).host, {
      data: 'elsewhere',
      version: 1,
    })
    const pin = heldPin()
    const shipping = await flow.ship()
    await pin.granted
    const stale = shipping.status().replicas[0]!.session!
    const changing = change(flow, shipping)
    pin.go()
    await changing
    await flow.equal()
    const of = eventsOf(shipping).filter(({ sessionId }) => sessionId !== null && `${sessionId.epoch}.${sessionId.seq}` === stale)
    expect(of.filter(({ event }) => /^(exec_|stream_)/.test(event))).toEqual([])
    expect(
      of.some(({ event, detail }) => /^session_(invalidated|superseded)$/.test(event) && detail.includes(reason)),
      JSON.stringify(of),
    ).toBe(true)
    expect(of.filter(({ event }) => event === 'plan_cancelled').map(({ detail }) => detail)).toEqual([cancelled])
    expect(sent.filter((text) => text.startsWith(`${stale} `)).map((text) => text.split(' ')[1])).toEqual(['hello'])
    expect(owners(flow)).toEqual(['stream'])
  })

  it.each(CHANGES)('X9 %s in the step that made the plan: it is cancelled as such, and not run', async (_, reason, cancelled, change) => {
    const sent: string[] = []
    const net = memory((from, _to, { epoch, session, message }) => void (from === 'primary' && sent.push(`${epoch}.${session} ${message.type}`)))
    const flow = await Flow.open(net, new MemoryRoot({}))
    await flow.write(200)
    const replica = await flow.replica('r1', new MemoryRoot({}))
    await net.network.transport('r1').listen((replica as unknown as { host: Parameters<ReturnType<Net['transport']>['listen']>[0] }).host, {
      data: 'elsewhere',
      version: 1,
    })
    // Listened to before anything is planned.
    const shipping = await flow.store.ship({ replicas: [], transport: net.transport('primary') })
    flow.shipping = shipping
    let changing: Promise<unknown> | undefined
    let stale = ''
    shipping.log.subscribe(({ event, sessionId }) => {
      if (event !== 'plan_catchup' || sessionId === null || changing !== undefined) return
      stale = `${sessionId.epoch}.${sessionId.seq}`
      changing = change(flow, shipping)
    })
    await shipping.assign(flow.targets())
    await until(() => changing !== undefined)
    await changing
    await flow.equal()
    const of = eventsOf(shipping).filter(({ sessionId }) => sessionId !== null && `${sessionId.epoch}.${sessionId.seq}` === stale)
    expect(of.filter(({ event }) => /^(exec_|stream_)/.test(event))).toEqual([])
    expect(of.filter(({ event }) => /^session_(invalidated|superseded)$/.test(event)).map(({ detail }) => detail)).toEqual([expect.stringContaining(reason)])
    expect(of.filter(({ event }) => event === 'plan_cancelled').map(({ detail }) => detail)).toEqual([cancelled])
    expect(sent.filter((text) => text.startsWith(`${stale} `)).map((text) => text.split(' ')[1])).toEqual(['hello'])
    expect(owners(flow)).toEqual(['stream'])
  })

  it.each([
    ['shipping closes', (shipping: Shipping): Promise<unknown> => shipping.close()],
    ['the replica is removed', (shipping: Shipping): Promise<unknown> => shipping.assign([])],
  ])('X9 %s: it is not run, and waited for until its pin is gone', async (_, end) => {
    const sent: string[] = []
    const net = memory((from, _to, { message }) => void (from === 'primary' && sent.push(message.type)))
    const flow = await Flow.open(net, new MemoryRoot({}))
    await flow.write(200)
    await flow.replica('r1', new MemoryRoot({}))
    const pin = heldPin()
    const shipping = await flow.ship()
    await pin.granted
    let isOver = false
    const ending = end(shipping).then(() => (isOver = true))
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
    // Its pin is still being taken.
    expect(isOver).toBe(false)
    expect(owners(flow)).toHaveLength(1)
    pin.go()
    await ending
    expect(owners(flow)).toEqual([])
    expect(net.network.open).toEqual([])
    expect(
      eventsOf(shipping)
        .map(({ event }) => event)
        .filter((event) => /^(exec_|stream_)/.test(event)),
    ).toEqual([])
    // An error tells that the link is over.
    expect(sent.filter((type) => type !== 'error')).toEqual(['hello'])
    expect(eventsOf(shipping).some(({ event }) => event === 'plan_cancelled' || event === 'session_invalidated')).toBe(true)
  })
})

it('X9 a removal amid three recoveries drains that replica, and does not touch the others', async () => {
  const ids = ['r1', 'r2', 'r3'] as const
  const net = memory()
  const flow = await Flow.open(net, new MemoryRoot({}))
  await flow.write(3000)
  for (const id of ids) await flow.replica(id, new MemoryRoot({}))
  const shipping = await flow.ship({ verbose: true })
  // Each is amid its catch-up.
  await until(() => ids.every((id) => named(shipping, 'exec_step', id).length > 0))
  const sessions = new Map(shipping.status().replicas.map(({ id, session }) => [id, session]))
  const isAmid = named(shipping, 'exec_completed', 'r2').length === 0
  const result = await shipping.assign(flow.targets().filter(({ id }) => id !== 'r2'))
  expect(result).toMatchObject({ removed: ['r2'], updated: [], created: [], superseded: [] })
  expect(isAmid).toBe(true)
  expect(net.network.open.filter((link) => JSON.stringify(link).includes('r2'))).toEqual([])
  const ended = named(shipping, 'exec_resources_released', 'r2')
  expect(ended.map(({ detail }) => detail)).toEqual(['sender_stopped'])
  flow.replicas.delete('r2')
  await flow.equal()
  for (const id of ['r1', 'r3']) {
    expect(named(shipping, 'session_created', id)).toHaveLength(1)
    expect(named(shipping, 'exec_completed', id)).toHaveLength(1)
    const { sessionId } = named(shipping, 'exec_completed', id)[0]!
    expect(`${sessionId!.epoch}.${sessionId!.seq}`).toBe(sessions.get(id))
  }
  expect(owners(flow)).toEqual(['stream', 'stream'])
  expect(shipping.status()).toMatchObject({ total: 2, inSync: 2 })
})
