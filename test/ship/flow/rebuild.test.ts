// Rebuilds of real replicas by real stores: away past retention, cheap where most is shared, resumed, one after the other, and after a primary was set back.
import { cp } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'

import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork, type RecoveryEvent, type RecoveryEventName, type ReplicaId, replicaId } from '../../../bindings/ship/index.ts'
import { tempDirectory } from '../../unit/store/places.ts'
import { Flow, type Net, until, WAYS } from './flow-kit.ts'

const R1 = replicaId('r1')
/** So that there is something to trim. */
const SMALL = { segmentBytes: 64 * 1024, upkeep: 'manual' } as const

/** Writes until two checkpoints cover what was there, and lets go of everything but the newest version. */
async function forget(flow: Flow): Promise<void> {
  const end = flow.store.lsn
  for (let checkpoint = 0; checkpoint < 3; checkpoint++) {
    await flow.write(1000)
    await flow.store.flush()
    await flow.store.close()
    await flow.reopen()
  }
  const { tail } = await flow.store.vacuum({ keep: { versions: 1 } })
  expect(tail).toBeGreaterThan(end)
}

function events(flow: Flow, event: RecoveryEventName, id: ReplicaId = R1): RecoveryEvent[] {
  return flow.shipping!.log.eventsFor(id).filter((entry) => entry.event === event)
}

/** What the last rebuild sent and found there. */
function rebuilt(flow: Flow): { fragmentsSent: number; fragmentsReused: number; bytes: number } {
  return events(flow, 'exec_rebuild_completed').at(-1)!.fields as { fragmentsSent: number; fragmentsReused: number; bytes: number }
}

/** As many files, of `rows` rows each. */
async function files(flow: Flow, count: number, rows: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await flow.bulk(rows)
    await flow.store.flush()
  }
}

/** Equal, once readers of the replica see what was installed: those of the state before are told that it is gone. */
async function equal(flow: Flow, id = 'r1'): Promise<void> {
  await until(() => flow.replicas.get(id)!.status().lsn === flow.store.lsn)
  await flow.equal()
}

async function rebuild(flow: Flow): Promise<ReturnType<typeof rebuilt>> {
  const before = events(flow, 'exec_rebuild_completed').length
  flow.shipping!.registry.sender(R1).markNeedsRebuild('asked_for')
  await until(() => events(flow, 'exec_rebuild_completed').length > before)
  await equal(flow)
  return rebuilt(flow)
}

function memory(o: ConstructorParameters<typeof MemoryNetwork>[1] = {}): Net & { network: MemoryNetwork } {
  const network = new MemoryNetwork(defaultWorld(), o)
  return { network, transport: (node) => network.transport(node), place: (node) => ({ data: node, version: 1 }) }
}

describe.each(WAYS)('over $name', ({ make }) => {
  it('X11 a replica that was away past retention is rebuilt, then follows the live stream', async () => {
    const flow = await Flow.open(make(), new MemoryRoot({}), SMALL)
    await flow.write(50)
    await flow.replica('r1', new MemoryRoot({}))
    await flow.ship()
    await flow.equal()
    await flow.shipping!.close()
    await flow.bulk(20_000)
    await forget(flow)
    await flow.ship()
    await equal(flow)
    expect(events(flow, 'escalated')[0]!.detail).toMatch(/gap_beyond_retention/)
    for (const event of ['exec_rebuild_started', 'installed', 'exec_rebuild_completed', 'stream_opened'] as const) expect(events(flow, event)).toHaveLength(1)
    await flow.write(100)
    await flow.equal()
    await flow.shipping!.close()
    expect(await flow.store.pins()).toEqual([])
  })
})

it('B12 an empty replica is sent everything, one that holds 96 % of the files the rest, a second rebuild no file at all', async () => {
  const flow = await Flow.open(memory(), new MemoryRoot({}), SMALL)
  await files(flow, 100, 1000)
  await forget(flow)
  await flow.replica('r1', new MemoryRoot({}))
  await flow.ship()
  await equal(flow)
  const whole = rebuilt(flow)
  expect(whole.fragmentsSent).toBeGreaterThan(100)
  expect(whole.fragmentsReused).toBe(0)
  await flow.shipping!.close()
  await files(flow, 1, 1000)
  await forget(flow)
  await flow.ship()
  await equal(flow)
  const little = rebuilt(flow)
  expect(little.fragmentsReused / (little.fragmentsReused + little.fragmentsSent)).toBeGreaterThan(0.95)
  expect(little.bytes / whole.bytes).toBeLessThan(0.05)
  const nothing = await rebuild(flow)
  expect(nothing.fragmentsSent).toBeLessThanOrEqual(1)
  expect(nothing.fragmentsReused).toBeGreaterThan(100)
})

it('X9 close() in the middle of a rebuild leaves no pin and no link, and the replica as it was; the next shipping finishes it', async () => {
  let sent = 0
  const { promise: amid, resolve } = Promise.withResolvers<void>()
  const net = memory({ onDeliver: (from, _to, { message }) => void (from === 'primary' && message.type === 'fragment' && ++sent === 10 && resolve()) })
  const flow = await Flow.open(net, new MemoryRoot({}), SMALL)
  await files(flow, 40, 500)
  await forget(flow)
  const replica = await flow.replica('r1', new MemoryRoot({}))
  const shipping = await flow.ship()
  await amid
  await shipping.close()
  expect(await flow.store.pins()).toEqual([])
  expect(net.network.open).toEqual([])
  expect(replica.status()).toMatchObject({ generation: 0, durable: 0n })
  await flow.ship()
  await equal(flow)
  expect(replica.status().generation).toBe(1)
})

it('B11 a link that breaks mid transfer: the next session sends what was missing', async () => {
  let sent = 0
  let breakAfter = 30
  const net = memory({
    onDeliver: (from, _to, { message }) => {
      if (from !== 'primary' || message.type !== 'fragment') return
      if (message.offset + message.bytes.length === message.total && ++sent === breakAfter) {
        breakAfter = 0
        net.network.cut('primary', 'r1')
      }
    },
  })
  const flow = await Flow.open(net, new MemoryRoot({}), SMALL)
  await files(flow, 60, 500)
  await forget(flow)
  await flow.replica('r1', new MemoryRoot({}))
  await flow.ship()
  await equal(flow)
  expect(events(flow, 'exec_rebuild_started')).toHaveLength(2)
  expect(events(flow, 'session_failed').at(-1)!.detail).toMatch(/transfer_failed/)
  const { fragmentsSent, fragmentsReused } = rebuilt(flow)
  expect(fragmentsReused).toBeGreaterThanOrEqual(29)
  // Together little more than everything once.
  expect(sent).toBeLessThanOrEqual(fragmentsSent + fragmentsReused + 1)
})

it('X10 with one rebuild at a time three replicas are rebuilt one after the other, the one least behind first; a failure of one changes no other', async () => {
  const net = memory()
  const flow = await Flow.open(net, new MemoryRoot({}), SMALL)
  const ids = ['r1', 'r2', 'r3'] as const
  for (const id of ids) await flow.replica(id, new MemoryRoot({}))
  await flow.ship()
  // r3 leaves first, r1 last.
  for (const gone of [3, 2, 1]) {
    await flow.write(200)
    await flow.equal(ids.slice(0, gone))
    await flow.shipping!.assign(flow.targets().slice(0, gone - 1))
  }
  await forget(flow)
  await flow.ship({ maxParallelRebuilds: 1 })
  for (const id of ids) await until(() => flow.replicas.get(id)!.status().lsn === flow.store.lsn)
  await flow.equal()
  const steps = flow.shipping!.log.events().filter(({ event }) => event === 'exec_rebuild_started' || event === 'exec_rebuild_completed')
  expect(steps.map(({ event, replicaId: id }) => `${id} ${event}`)).toEqual(ids.flatMap((id) => [`${id} exec_rebuild_started`, `${id} exec_rebuild_completed`]))
  for (const id of ids) expect(events(flow, 'session_failed', replicaId(id)).map(({ detail }) => detail.split(':')[0])).toEqual(['gap_beyond_retention'])
})

it('B7, S16 a primary that was set back halts; cleared by a person, the replica is rebuilt and shows nothing of what it held before', async () => {
  const [place, saved] = [tempDirectory(), tempDirectory()]
  const flow = await Flow.open(memory(), place)
  await flow.write(100)
  await flow.store.close()
  await cp(place, saved, { recursive: true })
  await flow.reopen()
  await flow.write(150)
  await flow.replica('r1', new MemoryRoot({}))
  await flow.ship()
  await flow.equal()
  const held = flow.replicas.get('r1')!.status().durable
  await flow.store.close()
  // The backup goes on as if nothing had been.
  const back = await Flow.open(flow.net, saved)
  back.replicas.set('r1', flow.replicas.get('r1')!)
  await back.ship()
  await until(() => back.shipping!.status().halted === 1)
  expect(back.shipping!.status().replicas[0]).toMatchObject({ state: 'halted', reason: 'primary_behind' })
  expect(flow.replicas.get('r1')!.status().durable).toBe(held)
  await back.write(1000)
  back.shipping!.clearHalt('r1', { confirm: 'r1' })
  await until(() => back.shipping!.status().halted === 1)
  expect(back.shipping!.status().replicas[0]).toMatchObject({ state: 'halted', reason: 'split_history' })
  expect(flow.replicas.get('r1')!.status().durable).toBe(held)
  back.shipping!.clearHalt('r1', { confirm: 'r1' })
  await equal(back)
  expect(rebuilt(back)).toBeDefined()
  await back.write(50)
  await back.equal()
})
