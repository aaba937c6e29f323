// Assignments, epochs and counts: the lines R of shipping.md section 16; ids and endpoints.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import {
  DuplicateReplicaError,
  InvalidEndpointError,
  InvalidReplicaIdError,
  SenderStoppedError,
  SessionFencedError,
  StaleEndpointError,
  StaleEpochError,
  UnknownReplicaError,
} from '../../../bindings/errors-ship.ts'
import { FencedError } from '../../../bindings/errors.ts'
import { checkedEndpoint, parseAddress, Registry, type ReplicaId, type ReplicaState, replicaId, type SenderChange } from '../../../bindings/ship/index.ts'
import { agreement, catchingUp, hello, history, makeRegistry, policy, R1, replica, shake } from './kit.ts'

const R2 = replicaId('r2')
const R3 = replicaId('r3')

function snapshot(registry: Registry): string {
  return JSON.stringify(registry.status())
}

describe('R: registry and assignment', () => {
  it('R1 two replicas, recover for one: both added in order, one session', () => {
    const context = policy()
    const registry = makeRegistry(context)
    const result = registry.apply({ epoch: 1, replicas: [replica('r2'), replica('r1')], recover: { [R2]: 'bootstrap' } })
    expect(result).toEqual({ added: [R1, R2], removed: [], updated: [], created: [R2], superseded: [], failed: [] })
    expect(registry.sender(R1).session()).toBeNull()
    expect(registry.sender(R2).session()).toMatchObject({ kind: 'bootstrap', phase: 'init' })
    expect(context.log.eventsFor(R2).map((entry) => entry.event)).toEqual(['sender_added', 'session_created'])
  })

  it('R2 add, remove, keep and move in one apply: exact lists, kept senders keep identity and progress', () => {
    const context = policy()
    const registry = makeRegistry(context)
    registry.apply({ epoch: 1, replicas: ['r1', 'r2', 'r3', 'r5'].map((name) => replica(name)) })
    const kept = registry.sender(R1)
    const id = catchingUp(kept)
    kept.recordProgress(id, 85)
    const moved = registry.sender(R2)
    const gone = registry.sender(R3)
    const result = registry.apply({
      epoch: 1,
      replicas: [replica('r6'), replica('r4'), replica('r2', 2), { ...replica('r5'), role: 'learner' }, replica('r1')],
    })
    expect(result).toEqual({ added: ['r4', 'r6'], removed: ['r3'], updated: ['r2', 'r5'], created: [], superseded: [], failed: [] })
    expect(registry.sender(R1)).toBe(kept)
    expect(kept.session()).toMatchObject({ id, recoveredTo: 85 })
    expect(registry.sender(R2)).toBe(moved)
    expect(moved.endpoint.version).toBe(2)
    expect(gone.state).toBe('stopped')
    expect(() => gone.attach(1, 'catchup')).toThrow(SenderStoppedError)
    expect(() => registry.sender(R3)).toThrow(UnknownReplicaError)
    expect(context.log.eventsFor(R3).map((entry) => entry.event)).toEqual(['sender_added', 'sender_removed'])
    expect([registry.has(R3), registry.has(R2)]).toEqual([false, true])
    expect(registry.sender(replicaId('r5')).role).toBe('learner')
  })

  it('R3 another address of the same replica: sender kept, session ended, the next apply makes one with another id', () => {
    const context = policy()
    const registry = makeRegistry(context)
    registry.apply({ epoch: 1, replicas: [replica('r1')], recover: { [R1]: 'catchup' } })
    const sender = registry.sender(R1)
    const first = sender.session()!.id
    const moved = registry.apply({ epoch: 1, replicas: [{ ...replica('r1'), endpoint: { data: 'moved:1', version: 2 } }] })
    expect(moved.updated).toEqual([R1])
    expect(registry.sender(R1)).toBe(sender)
    expect(sender.status()).toMatchObject({ session: null, endpoint: { data: 'moved:1', version: 2 } })
    expect(context.log.eventsFor(R1).slice(-2)).toMatchObject([
      { event: 'endpoint_changed', detail: 'r1:7001 version 1 -> moved:1 version 2' },
      { event: 'session_invalidated', sessionId: first, detail: 'endpoint_changed' },
    ])
    const next = registry.apply({ epoch: 1, replicas: [{ ...replica('r1'), endpoint: { data: 'moved:1', version: 2 } }], recover: { [R1]: 'reassign' } })
    expect(next).toMatchObject({ created: [R1], updated: [] })
    expect(sender.session()!.id).toEqual({ epoch: 1, seq: 2 })
  })

  it.each([
    ['R4 a lower epoch', { epoch: 1, replicas: [replica('r1', 2), replica('r9')] }, StaleEpochError],
    ['R4 no epoch', { epoch: 0, replicas: [] }, RangeError],
    ['R9 one replica twice', { epoch: 3, replicas: [replica('r1', 2), replica('r9'), replica('r1', 3)] }, DuplicateReplicaError],
    ['R9 an id that is none', { epoch: 3, replicas: [replica('r1', 2), { ...replica('r9'), id: 'no id' as ReplicaId }] }, InvalidReplicaIdError],
    ['an endpoint that is stale', { epoch: 3, replicas: [replica('r1', 3), replica('r2', 1)] }, StaleEndpointError],
    ['an endpoint that is none', { epoch: 3, replicas: [replica('r1', 3), { ...replica('r9'), endpoint: { data: '', version: 1 } }] }, InvalidEndpointError],
  ])('%s is refused, and nothing changes', (_, assignment, refusal) => {
    const context = policy()
    const registry = makeRegistry(context)
    registry.apply({ epoch: 2, replicas: [replica('r1', 2), replica('r2', 2), replica('r3')], recover: { [R1]: 'catchup', [R3]: 'catchup' } })
    const before = snapshot(registry)
    const senders = registry.all()
    const events = context.log.events().length
    expect(() => registry.apply(assignment)).toThrow(refusal)
    expect(snapshot(registry)).toBe(before)
    expect(registry.all()).toEqual(senders)
    expect(registry.epoch).toBe(2)
    expect(context.log.events()).toHaveLength(events)
  })

  it('R5 recover for an unknown replica fails, the others are applied', () => {
    const registry = makeRegistry()
    const result = registry.apply({
      epoch: 1,
      replicas: [replica('r1'), replica('r2')],
      recover: { [replicaId('zz')]: 'catchup', [R2]: 'no kind' as 'catchup', [R1]: 'catchup' },
    })
    expect(result).toMatchObject({ added: [R1, R2], created: [R1], superseded: [] })
    expect(result.failed.map((failure) => [failure.id, failure.error.split(':')[0]])).toEqual([
      ['r2', 'RangeError'],
      ['zz', 'UnknownReplicaError'],
    ])
  })

  it('R5 recovering twice supersedes with the reason assignment, not endpoint_changed', () => {
    const context = policy()
    const registry = makeRegistry(context)
    const assignment = { epoch: 1, replicas: [replica('r1')], recover: { [R1]: 'catchup' as const } }
    registry.apply(assignment)
    const stale = registry.sender(R1).session()!.id
    expect(registry.apply(assignment)).toMatchObject({ created: [], superseded: [R1], failed: [] })
    expect(context.log.events().find((entry) => entry.event === 'session_superseded')).toMatchObject({ sessionId: stale, detail: 'assignment' })
    expect(context.log.events().some((entry) => entry.detail.includes('endpoint_changed') || entry.event === 'session_invalidated')).toBe(false)
    expect(() => registry.sender(R1).beginConnect(stale)).toThrow(SessionFencedError)
  })

  it('R5 a replica that is not named in recover keeps its session; a newer epoch ends it', () => {
    const registry = makeRegistry()
    const replicas = [replica('r1'), replica('r2')]
    registry.apply({ epoch: 1, replicas, recover: { [R1]: 'catchup' } })
    const { id } = registry.sender(R1).session()!
    registry.apply({ epoch: 1, replicas, recover: { [R2]: 'catchup' } })
    expect(registry.sender(R1).session()?.id).toBe(id)
    registry.apply({ epoch: 2, replicas })
    expect(registry.all().map((sender) => [sender.epoch, sender.session()])).toEqual([
      [2, null],
      [2, null],
    ])
    expect(registry.epoch).toBe(2)
  })

  it('R6 raiseEpoch(2) ends the sessions and streams of epoch 1, in order; a sender that is at 2 is untouched', () => {
    const context = policy()
    const registry = makeRegistry(context)
    registry.apply({ epoch: 1, replicas: ['r4', 'r3', 'r2', 'r1'].map((name) => replica(name)), recover: { [R1]: 'catchup', [R2]: 'catchup' } })
    registry.sender(R3).updateEpoch(2)
    const ahead = registry.sender(R3).attach(2, 'catchup')
    const closed: string[] = []
    const live = registry.sender(replicaId('r4'))
    const of = hello({ replicaId: live.id })
    const id = live.attach(1, 'catchup')
    live.beginConnect(id)
    live.recordHandshake(id, of, history(), agreement(of, history()))
    live.streamOpened(live.completeCatchUp(id).fence, { close: (reason) => void closed.push(reason) })
    expect(registry.raiseEpoch(2)).toEqual(['r1', 'r2', 'r4'])
    expect(closed).toEqual(['epoch_advanced:1->2'])
    expect(registry.sender(R3).session()?.id).toBe(ahead)
    for (const hit of [R1, R2]) {
      expect(context.log.eventsFor(hit).at(-1)).toMatchObject({ event: 'session_invalidated', detail: 'epoch_advanced:1->2' })
    }
    expect(registry.raiseEpoch(2)).toEqual([])
    expect(registry.raiseEpoch(1)).toEqual([])
    expect(registry.epoch).toBe(2)
  })

  it('R7 R = 100, 70 and 10 with T = 49: zero_gap, catch_up, needs_rebuild; the counts add up', () => {
    const registry = makeRegistry()
    registry.apply({ epoch: 1, replicas: ['r1', 'r2', 'r3'].map((name) => replica(name)) })
    const outcomes = [100, 70, 10].map((durableLsn, i) => {
      const sender = registry.all()[i]!
      const id = sender.attach(1, 'catchup')
      sender.beginConnect(id)
      const { outcome } = shake(sender, id, hello({ replicaId: sender.id, durableLsn }), history({ tailLsn: 49 }))
      if (outcome === 'needs_rebuild') return outcome
      if (outcome === 'catch_up') {
        sender.beginCatchUp(id)
        sender.recordProgress(id, 100)
      }
      sender.completeCatchUp(id)
      return outcome
    })
    expect(outcomes).toEqual(['zero_gap', 'catch_up', 'needs_rebuild'])
    expect(registry.status()).toMatchObject({ total: 3, inSync: 2, needsRebuild: 1, recovering: 0, degraded: 0, disconnected: 0 })
  })

  it('R7 every state is counted once, and the counts add up to the total', () => {
    const registry = makeRegistry()
    const bring: Readonly<Record<ReplicaState, (id: ReplicaId) => void>> = {
      disconnected: () => undefined,
      connecting: (id) => registry.sender(id).beginConnect(registry.sender(id).attach(1, 'catchup')),
      catching_up: (id) => catching(id),
      rebuilding: (id) => {
        const sender = registry.sender(id)
        const session = sender.attach(1, 'rebuild')
        sender.beginConnect(session)
        shake(sender, session, hello({ replicaId: id, durableLsn: 10 }), history({ tailLsn: 30 }))
        sender.selectSource(session, { source: 'full_base', baseLsn: 100, target: 100, reason: 'no_checkpoint' })
        sender.beginTransfer(session)
      },
      in_sync: (id) => {
        const session = catching(id)
        registry.sender(id).recordProgress(session, 100)
        registry.sender(id).completeCatchUp(session)
      },
      degraded: (id) => registry.sender(id).fail(catching(id), 'transport_failed'),
      needs_rebuild: (id) => registry.sender(id).markNeedsRebuild('lineage_conflict'),
      halted: (id) => registry.sender(id).halt('split_history'),
      stopped: (id) => registry.sender(id).stop(),
    }
    const catching = (id: ReplicaId) => {
      const sender = registry.sender(id)
      const session = sender.attach(1, 'catchup')
      sender.beginConnect(session)
      shake(sender, session, hello({ replicaId: id, durableLsn: 70 }), history())
      sender.beginCatchUp(session)
      return session
    }
    const states = Object.keys(bring) as ReplicaState[]
    registry.apply({ epoch: 1, replicas: states.map((state) => replica(state)) })
    for (const state of states) {
      bring[state](replicaId(state))
      expect(registry.sender(replicaId(state)).state).toBe(state)
    }
    const { epoch, fencedBy, total, senders, ...counts } = registry.status()
    expect({ epoch, fencedBy, total }).toEqual({ epoch: 1, fencedBy: 0, total: 9 })
    expect(senders.map((status) => status.replicaId)).toEqual([...states].sort())
    expect(counts).toEqual({ inSync: 1, recovering: 2, rebuilding: 1, needsRebuild: 1, degraded: 1, disconnected: 1, halted: 1, stopped: 1 })
    expect(Object.values(counts).reduce((sum, n) => sum + n)).toBe(total)
  })

  it('R8 stopAll stops each; all() is in order of ids; a removed sender refuses everything', () => {
    const context = policy()
    const registry = makeRegistry(context)
    registry.apply({ epoch: 1, replicas: ['b', 'a.2', 'B', 'a'].map((name) => replica(name)), recover: { [replicaId('a')]: 'catchup' } })
    registry.apply({ epoch: 1, replicas: ['b', 'a.2', 'B', 'a', '0'].map((name) => replica(name)) })
    expect(registry.all().map((sender) => sender.id)).toEqual(['0', 'B', 'a', 'a.2', 'b'])
    registry.stopAll()
    expect(registry.status()).toMatchObject({ total: 5, stopped: 5 })
    for (const sender of registry.all()) expect(() => sender.attach(1, 'catchup')).toThrow(SenderStoppedError)
    expect(context.log.events().filter((entry) => entry.detail === 'sender_stopped')).toHaveLength(1)
    const removed = registry.all()
    expect(registry.apply({ epoch: 2, replicas: [] }).removed).toEqual(['0', 'B', 'a', 'a.2', 'b'])
    for (const sender of removed) expect(() => sender.updateEpoch(3)).toThrow(SenderStoppedError)
    expect(registry.status()).toMatchObject({ total: 0, stopped: 0 })
  })

  it('R8 an assignment after stopAll makes new senders of those it names', () => {
    const registry = makeRegistry()
    registry.apply({ epoch: 1, replicas: [replica('r1')] })
    const old = registry.sender(R1)
    registry.stopAll()
    expect(registry.apply({ epoch: 1, replicas: [replica('r1')], recover: { [R1]: 'catchup' } })).toMatchObject({ removed: [R1], added: [R1], created: [R1] })
    expect(registry.sender(R1)).not.toBe(old)
  })

  it('a hello that has seen a newer epoch fences every sender, once', () => {
    const context = policy()
    const registry = makeRegistry(context)
    const fenced: number[] = []
    const changes: SenderChange[] = []
    registry.onFenced((seen) => fenced.push(seen))
    registry.apply({ epoch: 1, replicas: ['r1', 'r2', 'r3'].map((name) => replica(name)), recover: { [R2]: 'catchup' } })
    registry.subscribe((change) => changes.push(change))
    const sender = registry.sender(R1)
    const id = sender.attach(1, 'catchup')
    const other = registry.sender(R2).session()!.id
    sender.beginConnect(id)
    changes.length = 0
    expect(() => shake(sender, id, hello({ epochSeen: 4 }), history())).toThrow(FencedError)
    expect(fenced).toEqual([4])
    expect(registry.fencedBy).toBe(4)
    expect(changes).toEqual([
      { replicaId: R1, from: 'connecting', to: 'disconnected', reason: 'fenced', ended: id },
      { replicaId: R2, from: 'disconnected', to: 'disconnected', reason: 'fenced', ended: other },
    ])
    for (const name of [R1, R2, R3]) {
      expect(registry.sender(name).status()).toMatchObject({ state: 'disconnected', session: null })
      expect(() => registry.sender(name).attach(1, 'catchup')).toThrow(FencedError)
      expect(context.log.eventsFor(name).filter((entry) => entry.event === 'fenced')).toHaveLength(1)
    }
    expect(context.log.eventsFor(R1).map((entry) => entry.event)).toContain('handshake_failed')
    // Told again, or late: nothing more.
    registry.fence(4, R2)
    registry.fence(3, R2)
    expect(fenced).toEqual([4])
    // A replica that is assigned afterwards is fenced too.
    registry.apply({ epoch: 1, replicas: [replica('r9')] })
    expect(() => registry.sender(replicaId('r9')).attach(1, 'catchup')).toThrow(FencedError)
  })

  it.each([0, -1, 1.5, Number.NaN, Number.MAX_SAFE_INTEGER])('no registry is of epoch %d, and none is raised to it', (epoch) => {
    expect(() => makeRegistry(policy(), epoch)).toThrow(RangeError)
    expect(() => makeRegistry().raiseEpoch(epoch)).toThrow(RangeError)
  })

  it('R10 the same facts in any order lead to the same decision', () => {
    type Fact = 'endpoint' | 'epoch' | 'hello' | 'ack' | 'degraded' | 'role'
    const decide = (order: readonly Fact[], R: number, tail: number): unknown => {
      const registry = makeRegistry()
      registry.apply({ epoch: 1, replicas: [replica('r1')] })
      const sender = registry.sender(R1)
      const at = history({ tailLsn: tail })
      const of = hello({ durableLsn: R, epochSeen: 1 })
      const facts: Record<Fact, () => void> = {
        endpoint: () => sender.updateEndpoint({ data: 'b:1', version: 2 }),
        epoch: () => registry.raiseEpoch(2),
        hello: () => {
          if (sender.session() === null) {
            const id = sender.attach(sender.epoch, R < tail && sender.state === 'needs_rebuild' ? 'rebuild' : 'catchup')
            sender.beginConnect(id)
            shake(sender, id, of, at)
          }
        },
        ack: () => sender.recordDurable({ replicaId: R1, epoch: 1, sessionId: { epoch: 1, seq: 1 }, endpointVersion: 1 }, R),
        degraded: () => sender.markDegraded('ack_timeout'),
        role: () => sender.updateRole('learner'),
      }
      for (const fact of order) facts[fact]()
      // Whatever was under way: the next hello decides from the facts.
      if (sender.session() !== null) sender.invalidate(sender.session()!.id, 'cancelled', 'disconnected')
      facts.hello()
      const { state, epoch, endpoint, session } = sender.status()
      return { state, epoch, endpoint, phase: session?.phase, handshake: session?.handshake ?? null, recoveredTo: session?.recoveredTo }
    }
    const facts: Fact[] = ['endpoint', 'epoch', 'hello', 'ack', 'degraded', 'role']
    fc.assert(
      fc.property(fc.shuffledSubarray(facts, { minLength: facts.length }), fc.constantFrom(0, 49, 50, 100), (order, R) => {
        expect(decide(order, R, 50)).toEqual(decide(facts, R, 50))
      }),
      { numRuns: 720 },
    )
  })
})

describe('replica ids', () => {
  it.each(['r', 'a.b_c:d-e', 'A'.repeat(128), '0'])('%s is one', (text) => expect(replicaId(text)).toBe(text))
  it.each(['', 'a b', 'ä', 'a/b', 'A'.repeat(129), 'a\n', 7 as unknown as string, undefined as unknown as string])('%j is none', (text) =>
    expect(() => replicaId(text)).toThrow(InvalidReplicaIdError),
  )
})

describe('endpoints', () => {
  it('are copied and frozen', () => {
    const given = { data: 'a:1', control: 'b:1', version: 3, more: true }
    const made = checkedEndpoint(given)
    given.data = 'z:1'
    expect(made).toEqual({ data: 'a:1', control: 'b:1', version: 3 })
    expect(Object.isFrozen(made)).toBe(true)
    expect('control' in checkedEndpoint({ data: 'a:1', version: 1 })).toBe(false)
  })

  it.each([
    { data: '', version: 1 },
    { data: 'a:1', control: '', version: 1 },
    { data: 'a'.repeat(1025), version: 1 },
    { data: 'a:1', version: 0 },
    { data: 'a:1', version: 1.5 },
    { data: undefined as unknown as string, version: 1 },
  ])('%j is none', (endpoint) => expect(() => checkedEndpoint(endpoint)).toThrow(InvalidEndpointError))

  it.each([
    ['localhost:7000', 'localhost', 7000],
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['[::1]:65535', '::1', 65535],
    ['db-1.example.org:443', 'db-1.example.org', 443],
  ])('%s is taken apart', (address, host, port) => expect(parseAddress(address)).toEqual({ host, port }))

  it.each(['', 'localhost', ':7000', 'a:65536', '::1:7000', 'a:b', 'a: 1', '[]:1', 'a:1:2'])('%j is no host:port', (address) =>
    expect(() => parseAddress(address)).toThrow(InvalidEndpointError),
  )
})
