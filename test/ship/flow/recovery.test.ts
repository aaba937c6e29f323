// The whole way through a real store and a real replica, for each thing that a hello can lead to, over both transports.
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { type RecoveryEventName, replicaId } from '../../../bindings/ship/index.ts'
import type { Shipping } from '../../../bindings/store/index.ts'
import { Acks } from '../../../bindings/store/ship-acks.ts'
import { tempDirectory } from '../../unit/store/places.ts'
import { Flow, until, WAYS } from './flow-kit.ts'

const events = (shipping: Shipping, id = 'r1'): RecoveryEventName[] => shipping.log.eventsFor(replicaId(id)).map(({ event }) => event)

interface Insides {
  readonly o: { readonly log: { readonly head: bigint; readonly tail: bigint; trim(lsn: bigint): Promise<bigint> } }
}
const logOf = (flow: Flow): Insides['o']['log'] => (flow.store as unknown as Insides).o.log

/** What the count of acknowledgements is told of R, from here on. */
function followed(): () => (number | undefined)[] {
  const spy = vi.spyOn(Acks.prototype, 'follow')
  onTestFinished(() => spy.mockRestore())
  return () => spy.mock.calls.map(([, , durableLsn]) => durableLsn)
}

const SMALL = { segmentBytes: 64 * 1024 }

/** A replica that got some, and then a log that begins behind it. */
async function leftBehind(flow: Flow): Promise<void> {
  await flow.write(200)
  await flow.bulk(3000)
  await flow.store.flush()
  await flow.replica('r1', tempDirectory())
  await flow.ship()
  await flow.equal()
  await flow.shipping!.close()
  await flow.write(1500)
  await flow.bulk(3000)
  await flow.store.flush()
  // A close leaves a checkpoint.
  await flow.store.close()
  await flow.reopen()
  const log = logOf(flow)
  await log.trim(log.head)
  expect(Number(log.tail)).toBeGreaterThan(Number(flow.replicas.get('r1')!.status().durable))
}

describe.each(WAYS)('X11 over $name', ({ make }) => {
  it('zero gap: nothing is sent but the hello', async () => {
    const flow = await Flow.open(make(), tempDirectory())
    await flow.write(50)
    await flow.replica('r1', tempDirectory())
    await flow.ship()
    await flow.equal()
    await flow.shipping!.close()
    const again = await flow.ship()
    await flow.equal()
    expect(events(again)).toContain('plan_zero_gap')
    expect(again.status().replicas[0]).toMatchObject({ records: 0, files: 0 })
  })

  it('catch-up with files, after the log was rolled', async () => {
    const flow = await Flow.open(make(), tempDirectory(), SMALL)
    await flow.write(50)
    await flow.replica('r1', tempDirectory())
    await flow.ship()
    await flow.equal()
    await flow.shipping!.close()
    await flow.write(3000)
    await flow.bulk(10_000)
    await flow.store.flush()
    const again = await flow.ship()
    await flow.equal()
    expect(events(again).filter((event) => event.startsWith('plan_'))).toEqual(['plan_catchup'])
  })

  it('truncation: what a lost primary had not promised is cut off, then the new history comes', async () => {
    const net = make()
    const flow = await Flow.open(net, tempDirectory(), SMALL)
    await flow.write(100)
    await flow.store.flush()
    await flow.replica('r1', tempDirectory())
    const first = await flow.ship({ ack: 'all' })
    await flow.equal()
    await flow.write(40)
    await flow.equal()
    // The primary as it is now; what it writes from here on is lost with it.
    const copy = tempDirectory()
    cpSync(flow.place as string, copy, { recursive: true })
    const promised = flow.replicas.get('r1')!.status().committed
    // A second voter that never answers: nothing more is promised.
    await first.assign([...flow.targets(), { id: 'r2', endpoint: '127.0.0.1:1' }])
    const lost = Array.from({ length: 30 }, (_, i) => flow.unpromised(i))
    await until(() => flow.replicas.get('r1')!.status().durable >= promised + 30n)
    expect(flow.replicas.get('r1')!.status().committed).toBe(promised)
    const ends = Promise.allSettled(lost)
    await flow.crash()
    await ends
    const heir = await flow.successor(copy)
    await heir.store.setAckMode('async', { force: true })
    await heir.write(25)
    const told = followed()
    const shipping = await heir.ship()
    await heir.equal()
    expect(events(shipping)).toContain('truncation_recorded')
    // Nothing of what had to go was ever counted.
    expect(told().length).toBeGreaterThan(0)
    for (const lsn of told()) expect(lsn).toBeLessThanOrEqual(Number(promised))
    expect(events(shipping)).not.toContain('escalated')
  })

  it('beyond retention with a checkpoint that can be trusted: rebuilt from it, then the tail', async () => {
    const flow = await Flow.open(make(), tempDirectory(), SMALL)
    await leftBehind(flow)
    await flow.write(30)
    const told = followed()
    const shipping = await flow.ship()
    await flow.equal()
    // Of what it held before the rebuild nothing counts.
    expect(new Set(told())).toEqual(new Set([undefined]))
    expect(events(shipping)).toEqual(expect.arrayContaining(['escalated', 'plan_rebuild_snapshot_tail', 'installed', 'exec_rebuild_completed']))
    await flow.write(50)
    await flow.store.flush()
    await flow.equal()
    await shipping.close()
    expect(await flow.store.pins()).toEqual([])
  })

  it('beyond retention with a checkpoint that cannot be trusted: a full base, and what is written meanwhile', async () => {
    const flow = await Flow.open(make(), tempDirectory(), SMALL)
    await leftBehind(flow)
    const folder = join(flow.place as string, 'checkpoints')
    for (const name of readdirSync(folder)) {
      const bytes = readFileSync(join(folder, name))
      bytes[bytes.length >> 1]! ^= 1
      writeFileSync(join(folder, name), bytes)
    }
    const shipping = await flow.ship()
    for (let i = 0; i < 20; i++) await flow.write(10)
    await flow.equal()
    expect(events(shipping)).toEqual(expect.arrayContaining(['escalated', 'plan_rebuild_full_base', 'installed', 'exec_rebuild_completed']))
    await flow.write(50)
    await flow.equal()
  })

  it('the address changes mid-run: the run ends, its pins go, the next session finishes', async () => {
    const net = make()
    const flow = await Flow.open(net, tempDirectory())
    await flow.write(4000)
    const root = tempDirectory()
    await flow.replica('r1', root)
    const shipping = await flow.ship({ verbose: true })
    await until(() => events(shipping).includes('exec_step'))
    await flow.replicas.get('r1')!.close()
    const { endpoint } = await flow.replica('r1', root)
    await shipping.assign([{ id: 'r1', endpoint: { data: endpoint.data, version: 5 } }])
    await flow.equal()
    const released = events(shipping).filter((event) => event === 'exec_resources_released').length
    const started = events(shipping).filter((event) => event === 'exec_catchup_started').length
    expect(released).toBe(started)
    expect((await flow.store.pins()).map(({ owner }) => owner)).toEqual(['stream'])
  })

  it('the epoch is raised mid-run: every session of the old one ends, a fresh one finishes', async () => {
    const flow = await Flow.open(make(), tempDirectory())
    await flow.write(4000)
    await flow.replica('r1', tempDirectory())
    const shipping = await flow.ship({ verbose: true })
    await until(() => events(shipping).includes('exec_step'))
    const epoch = shipping.registry.epoch + 1
    await shipping.assign({ epoch, replicas: [{ id: replicaId('r1'), role: 'voter', endpoint: shipping.registry.sender(replicaId('r1')).endpoint }] })
    await flow.equal()
    expect(flow.replicas.get('r1')!.status().epoch).toBe(epoch)
  })
})

it('P8 a replica that is away holds log back up to the limit: then it needs a rebuild, the pin goes, and it gets one when it is back', async () => {
  const flow = await Flow.open(WAYS[0]!.make(), tempDirectory(), SMALL)
  const root = tempDirectory()
  await flow.replica('r1', root)
  const shipping = await flow.ship({ retention: { maxPinnedBytes: 128 * 1024 } })
  await flow.write(50)
  await flow.equal()
  await flow.replicas.get('r1')!.close()
  await until(() => shipping.status().degraded === 1)
  expect((await flow.store.pins()).length).toBe(1)
  for (let i = 0; i < 10; i++) await flow.write(500)
  await until(() => shipping.status().needsRebuild === 1)
  expect(shipping.status().replicas[0]!.reason).toBe('retention_exceeded')
  expect(await flow.store.pins()).toEqual([])
  await flow.store.flush()
  const { endpoint } = await flow.replica('r1', root)
  await shipping.assign([{ id: 'r1', endpoint: { data: endpoint.data, version: 2 } }])
  await flow.equal()
  expect(events(shipping)).toContain('exec_rebuild_completed')
})

it('C12 everything is delivered twice: nothing changes, and newer rows stay', async () => {
  const net = WAYS[0]!.make()
  const flow = await Flow.open(net, tempDirectory())
  await flow.write(500)
  await flow.replica('r1', tempDirectory())
  net.network!.duplicate(0.2)
  net.network!.delay([0, 2])
  const shipping = await flow.ship()
  for (let i = 0; i < 10; i++) {
    await flow.write(20)
    net.network!.cut('primary', 'r1')
    await until(() => shipping.status().inSync === 1)
  }
  await flow.equal()
})

it('a store in mode quorum loses a replica and goes on; what it acknowledged is on two nodes', async () => {
  const net = WAYS[0]!.make()
  const flow = await Flow.open(net, tempDirectory())
  await flow.replica('r1', tempDirectory())
  await flow.replica('r2', tempDirectory())
  const shipping = await flow.ship({ ack: 'quorum' })
  await shipping.settled()
  await flow.write(100)
  expect(shipping.status()).toMatchObject({ mode: 'quorum' })
  const durable = (): bigint[] => Array.from(flow.replicas.values(), (replica) => replica.status().durable)
  expect(durable().some((lsn) => lsn >= flow.store.lsn)).toBe(true)
  await flow.replicas.get('r2')!.close()
  await flow.write(100)
  expect(flow.replicas.get('r1')!.status().durable).toBeGreaterThanOrEqual(flow.store.lsn)
  await flow.equal(['r1'], 1)
})

it('a store opened anew after shipping refuses another mode than its log says', async () => {
  const net = WAYS[0]!.make()
  const flow = await Flow.open(net, tempDirectory())
  await flow.replica('r1', tempDirectory())
  await flow.ship({ ack: 'all' })
  await flow.equal()
  await flow.write(3)
  await flow.shipping!.close()
  await expect(flow.ship({ ack: 'async' })).rejects.toMatchObject({ code: 'ship.ack-mode-mismatch' })
  await expect(flow.store.ship({ replicas: flow.targets().slice(0, 1), transport: net.transport('primary'), ack: 'quorum' })).rejects.toMatchObject({
    code: expect.stringMatching(/ship\.(ack-mode-mismatch|quorum-too-small)/) as unknown,
  })
  expect(await flow.store.pins()).toEqual([])
  await flow.ship({ ack: 'all' })
  await flow.equal()
})
