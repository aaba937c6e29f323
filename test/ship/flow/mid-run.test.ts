// An address or an epoch changes in the very step of a run, over both transports: the run ends for that reason, its pins go, and a session of its own finishes (X11).
import { describe, expect, it } from 'vitest'

import { type RecoveryEvent, replicaId, sessionText } from '../../../bindings/ship/index.ts'
import type { Shipping } from '../../../bindings/store/index.ts'
import { tempDirectory } from '../../unit/store/places.ts'
import { Flow, WAYS } from './flow-kit.ts'

const R1 = replicaId('r1')

const CHANGES: readonly (readonly [string, string, (shipping: Shipping) => Promise<unknown>])[] = [
  [
    'endpoint change',
    'endpoint_changed',
    (shipping) => {
      const { endpoint } = shipping.registry.sender(R1)
      return shipping.assign([{ id: 'r1', endpoint: { ...endpoint, version: endpoint.version + 1 } }])
    },
  ],
  [
    'epoch raise',
    'epoch_advanced',
    (shipping) => {
      const { endpoint, role } = shipping.registry.sender(R1)
      return shipping.assign({ epoch: shipping.registry.epoch + 1, replicas: [{ id: R1, role, endpoint }] })
    },
  ],
]

describe.each(WAYS)('over $name', ({ make }) => {
  it.each(CHANGES)('X11 %s in the first step of a catch-up', async (_, reason, change) => {
    const flow = await Flow.open(make(), tempDirectory())
    // Several windows: what comes behind the first step is not all on its way yet.
    await flow.write(14_000)
    const replica = await flow.replica('r1', tempDirectory())
    // Listened to before anything is sent.
    const shipping = await flow.store.ship({ replicas: [], transport: flow.net.transport('primary'), verbose: true })
    flow.shipping = shipping
    let changing: Promise<unknown> | undefined
    shipping.log.subscribe(({ event, fields }) => {
      if (event === 'exec_step' && fields['kind'] === 'progress') changing ??= change(shipping)
    })
    await shipping.assign(flow.targets())
    await flow.equal()
    await changing
    const bySession = new Map<string, RecoveryEvent[]>()
    for (const each of shipping.log.eventsFor(R1)) {
      if (each.sessionId === null) continue
      const session = sessionText(each.sessionId)
      bySession.set(session, [...(bySession.get(session) ?? []), each])
    }
    expect(bySession.size).toBe(2)
    const [cut, whole] = [...bySession.values()]
    expect(cut!.filter(({ event }) => event === 'session_invalidated').map(({ detail }) => detail)).toEqual([expect.stringContaining(reason)])
    expect(cut!.filter(({ event }) => event === 'exec_resources_released').map(({ detail }) => detail)).toEqual([expect.stringContaining(reason)])
    expect(cut!.filter(({ event }) => /^(exec_completed|stream_opened|degraded)$/.test(event))).toEqual([])
    // Behind the change no step was told.
    expect(cut!.at(-1)!.event).toBe('exec_resources_released')
    const [plan] = whole!.filter(({ event }) => event === 'plan_catchup')
    // What the first session had brought is not sent again.
    expect(plan!.fields['start']).toBeGreaterThan(0)
    expect(whole!.filter(({ event }) => /^(exec_completed|stream_opened)$/.test(event)).map(({ event }) => event)).toEqual(['exec_completed', 'stream_opened'])
    expect((await flow.store.pins()).map(({ owner }) => owner)).toEqual(['stream'])
    expect(replica.status().epoch).toBe(shipping.registry.epoch)
  })
})
