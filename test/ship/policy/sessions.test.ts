// Sessions and fencing of one sender: the lines S1 to S18 of shipping.md section 16 (S11 and S12: phases.test.ts; S19: streams.test.ts).
import { describe, expect, it } from 'vitest'

import {
  EpochMismatchError,
  InvalidEndpointError,
  ProgressRegressionError,
  RebuildRequiredError,
  SenderStoppedError,
  SessionActiveError,
  SessionFencedError,
  StaleEndpointError,
} from '../../../bindings/errors-ship.ts'
import { FencedError, InvalidConfigError } from '../../../bindings/errors.ts'
import { decideSource, Registry, type Sender, type SenderChange, type SessionId, type SessionKind, SessionSequence } from '../../../bindings/ship/index.ts'
import { Session } from '../../../bindings/ship/session.ts'
import { catchingUp, hello, history, makeSender, policy, R1, rebuilding, replica, shake } from './kit.ts'

/** Every mutation that carries a session id. */
const MUTATIONS: Readonly<Record<string, (sender: Sender, id: SessionId) => unknown>> = {
  beginConnect: (sender, id) => sender.beginConnect(id),
  checkHello: (sender, id) => sender.checkHello(id, hello()),
  recordHandshake: (sender, id) => shake(sender, id, hello(), history()),
  beginCatchUp: (sender, id) => sender.beginCatchUp(id),
  recordProgress: (sender, id) => sender.recordProgress(id, 80),
  recordTruncation: (sender, id) => sender.recordTruncation(id, 80),
  recordBytes: (sender, id) => sender.recordBytes(id, 80),
  checkBudget: (sender, id) => sender.checkBudget(id),
  completeCatchUp: (sender, id) => sender.completeCatchUp(id),
  selectSource: (sender, id) => sender.selectSource(id, decideSource(history(), 0)),
  beginTransfer: (sender, id) => sender.beginTransfer(id),
  recordTransfer: (sender, id) => sender.recordTransfer(id, 80),
  beginTailReplay: (sender, id) => sender.beginTailReplay(id),
  recordTail: (sender, id) => sender.recordTail(id, 80),
  beginSecondCatchUp: (sender, id) => sender.beginSecondCatchUp(id, 80),
  completeRebuild: (sender, id) => sender.completeRebuild(id),
}

const thrown = (fn: () => unknown): unknown => {
  try {
    fn()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

describe('S: senders, sessions, fencing', () => {
  it('S1 a new sender is disconnected, without a session, at the endpoint and epoch it was given', () => {
    const sender = makeSender(policy(), 3)
    expect(sender.status()).toEqual({
      replicaId: R1,
      role: 'voter',
      state: 'disconnected',
      reason: '',
      epoch: 3,
      endpoint: { data: 'r1:7001', version: 1 },
      session: null,
      streaming: false,
      durableLsn: 0,
      committedLsn: 0,
    })
  })

  it('S2 attaching at its epoch gives an active session in init', () => {
    const sender = makeSender()
    const id = sender.attach(1, 'bootstrap')
    expect(id).toEqual({ epoch: 1, seq: 1 })
    expect(sender.session()).toMatchObject({ id, kind: 'bootstrap', phase: 'init' })
  })

  it.each([4, 6])('S2 attaching at epoch %i to a sender at 5 is refused and changes nothing', (epoch) => {
    const sender = makeSender(policy(), 5)
    const before = sender.status()
    expect(thrown(() => sender.attach(epoch, 'catchup'))).toMatchObject({ name: 'EpochMismatchError', held: 5, seen: epoch, details: { replicaId: R1 } })
    expect(() => sender.attach(epoch, 'catchup')).toThrow(EpochMismatchError)
    expect(sender.status()).toEqual(before)
  })

  it('S3 attaching beside an active session is refused by its id; superseding ends it with the reason and gives a greater id', () => {
    const context = policy()
    const sender = makeSender(context)
    const first = sender.attach(1, 'catchup')
    expect(thrown(() => sender.attach(1, 'catchup'))).toMatchObject({ name: 'SessionActiveError', details: { sessionId: first } })
    expect(() => sender.attach(1, 'catchup')).toThrow(SessionActiveError)
    const second = sender.supersede('reassign', 'operator asked')
    expect(second.seq).toBeGreaterThan(first.seq)
    expect(sender.session()).toMatchObject({ id: second, kind: 'reassign', phase: 'init' })
    expect(context.log.events().map((entry) => [entry.event, entry.sessionId, entry.detail])).toEqual([
      ['session_created', first, 'catchup'],
      ['session_superseded', first, 'operator asked'],
      ['session_created', second, 'reassign'],
    ])
  })

  it('S3 superseding that is refused leaves the session it found', () => {
    const sender = makeSender()
    sender.markNeedsRebuild('lineage_conflict')
    const id = sender.attach(1, 'rebuild')
    const before = sender.session()
    expect(() => sender.supersede('catchup', 'assignment')).toThrow(RebuildRequiredError)
    expect(() => sender.supersede('rebuild', 'assignment', { budget: { maxEntries: -1 } })).toThrow(RangeError)
    expect(sender.session()).toEqual(before)
    sender.beginConnect(id)
  })

  it.each(Object.keys(MUTATIONS))('S4 %s of a session older than an epoch raise is fenced and leaves the new session as it is', (name) => {
    for (const kind of ['catchup', 'rebuild'] as const) {
      const sender = makeSender()
      const stale = sender.attach(1, kind)
      sender.updateEpoch(2)
      const id = sender.attach(2, kind)
      sender.beginConnect(id)
      const before = JSON.stringify(sender.status())
      expect(() => MUTATIONS[name]!(sender, stale)).toThrow(SessionFencedError)
      expect(() => MUTATIONS[name]!(sender, { epoch: 2, seq: 9 })).toThrow(SessionFencedError)
      expect(JSON.stringify(sender.status())).toBe(before)
    }
  })

  it.each([
    ['replicaId', 'r2'],
    ['epoch', 2],
    ['endpointVersion', 2],
    ['sessionId', { epoch: 1, seq: 2 }],
  ])('S4 a fence with another %s is no valid mutation', (field, value) => {
    const sender = makeSender()
    sender.attach(1, 'catchup')
    const { fence } = sender.session()!
    expect(() => sender.checkFence(fence)).not.toThrow()
    expect(() => sender.checkFence({ ...fence, [field]: value })).toThrow(SessionFencedError)
  })

  it('S5 completing a session that was superseded is refused; the new one is still active', () => {
    const sender = makeSender()
    const stale = catchingUp(sender)
    sender.recordProgress(stale, 100)
    const id = sender.supersede('catchup', 'assignment')
    const before = sender.status()
    expect(() => sender.completeCatchUp(stale)).toThrow(SessionFencedError)
    expect(sender.status()).toEqual(before)
    expect(sender.session()?.id).toBe(id)
    expect(sender.state).toBe('disconnected')
  })

  it('S6 a session from before an endpoint change cannot complete; the replica is disconnected and a new one attaches', () => {
    const sender = makeSender()
    const stale = catchingUp(sender)
    sender.recordProgress(stale, 100)
    expect(sender.updateEndpoint({ data: 'elsewhere:1', version: 2 })).toBe(true)
    expect(sender.state).toBe('disconnected')
    expect(() => sender.completeCatchUp(stale)).toThrow(SessionFencedError)
    const id = sender.attach(1, 'catchup')
    expect(sender.session()?.fence).toEqual({ replicaId: R1, epoch: 1, sessionId: id, endpointVersion: 2 })
  })

  it('S7 an epoch raised mid catch-up ends the session; recovery goes on at the new epoch with a fresh id', () => {
    const context = policy()
    const sender = makeSender(context)
    const stale = catchingUp(sender)
    expect(sender.updateEpoch(2)).toBe(true)
    expect(sender.status()).toMatchObject({ state: 'disconnected', reason: 'epoch_advanced:1->2', epoch: 2, session: null })
    expect(context.log.events().at(-1)).toMatchObject({ event: 'session_invalidated', sessionId: stale, detail: 'epoch_advanced:1->2' })
    const id = catchingUp(sender, 70)
    expect(id).toEqual({ epoch: 2, seq: 1 })
    sender.recordProgress(id, 100)
    sender.completeCatchUp(id)
    expect(sender.state).toBe('in_sync')
  })

  it.each([1, 2])('S7 raising the epoch to %i when it is at 2 does nothing', (epoch) => {
    const sender = makeSender(policy(), 2)
    const id = sender.attach(2, 'catchup')
    expect(sender.updateEpoch(epoch)).toBe(false)
    expect(sender.session()?.id).toBe(id)
  })

  it.each([
    ['data', { data: 'b:1', control: 'c:1', version: 2 }],
    ['control', { data: 'a:1', control: 'd:1', version: 2 }],
    ['control, taken away', { data: 'a:1', version: 2 }],
    ['only the version', { data: 'a:1', control: 'c:1', version: 2 }],
  ])('S8 an endpoint with another %s ends the session', (_, endpoint) => {
    const context = policy()
    const sender = makeMovable(context)
    const id = sender.attach(1, 'catchup')
    expect(sender.updateEndpoint(endpoint)).toBe(true)
    expect(sender.status()).toMatchObject({ session: null, endpoint })
    expect(context.log.events().at(-1)).toMatchObject({ event: 'session_invalidated', sessionId: id, detail: 'endpoint_changed' })
  })

  it.each([
    ['an identical endpoint', { data: 'a:1', control: 'c:1', version: 5 }, undefined],
    ['a lower version', { data: 'a:1', control: 'c:1', version: 4 }, StaleEndpointError],
    ['another address of the same version', { data: 'b:1', control: 'c:1', version: 5 }, StaleEndpointError],
    ['another control address of the same version', { data: 'a:1', version: 5 }, StaleEndpointError],
    ['no address', { data: '', version: 6 }, InvalidEndpointError],
    ['no version', { data: 'a:1', version: 0.5 }, InvalidEndpointError],
  ])('S8 the session survives %s', (_, endpoint, refusal) => {
    const sender = makeMovable(policy(), 5)
    const id = sender.attach(1, 'catchup')
    if (refusal === undefined) expect(sender.updateEndpoint(endpoint)).toBe(false)
    else expect(() => sender.updateEndpoint(endpoint)).toThrow(refusal)
    expect(sender.session()?.id).toBe(id)
    expect(sender.endpoint).toEqual({ data: 'a:1', control: 'c:1', version: 5 })
  })

  it('S9 five reconnects, an endpoint change and an epoch raise: one sender, six sessions, ids grow', () => {
    const registry = new Registry(policy(), 1)
    registry.apply({ epoch: 1, replicas: [replica('r1')] })
    const sender = registry.sender(R1)
    const ids: SessionId[] = []
    for (let cycle = 0; cycle < 5; cycle++) {
      const id = catchingUp(sender)
      ids.push(id)
      sender.fail(id, 'transport_failed')
      expect(sender.state).toBe('degraded')
    }
    registry.apply({ epoch: 1, replicas: [replica('r1', 2)] })
    registry.raiseEpoch(2)
    ids.push(catchingUp(sender))
    expect(registry.sender(R1)).toBe(sender)
    expect(ids.map((id) => `${id.epoch}.${id.seq}`)).toEqual(['1.1', '1.2', '1.3', '1.4', '1.5', '2.1'])
  })

  it('S10 stopping ends the session; every later call is refused, the second stop does nothing', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = catchingUp(sender)
    sender.stop()
    expect(context.log.events().at(-1)).toMatchObject({ event: 'session_invalidated', sessionId: id, detail: 'sender_stopped' })
    const seq = context.log.events().length
    sender.stop()
    const { fence } = new Session({ replicaId: R1, epoch: 1, sessionId: id, endpointVersion: 1 }, 'catchup', {})
    for (const call of [
      ...Object.values(MUTATIONS).map((mutation) => () => mutation(sender, id)),
      () => sender.attach(1, 'catchup'),
      () => sender.supersede('catchup', 'assignment'),
      () => sender.updateEpoch(2),
      () => sender.updateEndpoint({ data: 'b:1', version: 2 }),
      () => sender.updateRole('learner'),
      () => sender.checkFence(fence),
      () => sender.streamOpened(fence, { close: () => undefined }),
      () => sender.clearHalt({ confirm: 'r1' }),
    ]) {
      expect(call).toThrow(SenderStoppedError)
    }
    // Giving something up never throws: there is nothing to give up.
    for (const gone of [
      sender.invalidate(id, 'late', 'degraded'),
      sender.fail(id, 'transport_failed'),
      sender.markDegraded('late'),
      sender.markNeedsRebuild('late'),
      sender.halt('late'),
      sender.streamClosed(fence, 'late'),
      sender.recordDurable(fence, 100),
    ]) {
      expect(gone).toBe(false)
    }
    sender.fence(9, R1)
    expect(sender.status()).toMatchObject({ state: 'stopped', reason: 'sender_stopped', session: null })
    expect(context.log.events()).toHaveLength(seq)
  })

  it('S13 a range that ends before it starts cannot be recorded', () => {
    const session = new Session({ replicaId: R1, epoch: 1, sessionId: { epoch: 1, seq: 1 }, endpointVersion: 1 }, 'catchup', {})
    session.move('beginConnect')
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    sender.beginConnect(id)
    const whole = shake(sender, id, hello({ durableLsn: 70 }), history())
    expect(() => session.handshaken({ ...whole, target: 69 })).toThrow(RangeError)
    expect(session.status()).toMatchObject({ phase: 'connecting', start: 0, target: 0 })
    session.handshaken({ ...whole, target: 70 })
  })

  it.each([70, 71, 80])('S13 progress to %i after 80 is a regression', (lsn) => {
    const sender = makeSender()
    const id = catchingUp(sender)
    expect(() => sender.recordProgress(id, 70)).toThrow(ProgressRegressionError)
    sender.recordProgress(id, 80)
    expect(() => sender.recordProgress(id, lsn)).toThrow(ProgressRegressionError)
    expect(sender.session()?.recoveredTo).toBe(80)
  })

  it.each([Number.NaN, 80.5, Infinity])('S13 %d is no progress', (lsn) => {
    const sender = makeSender()
    expect(() => sender.recordProgress(catchingUp(sender), lsn)).toThrow(RangeError)
  })

  it('S13 progress after the completion is refused', () => {
    const sender = makeSender()
    const id = catchingUp(sender)
    sender.recordProgress(id, 100)
    sender.completeCatchUp(id)
    expect(() => sender.recordProgress(id, 101)).toThrow(SessionFencedError)
  })

  it('S14 what session() and status() hand out cannot reach the sender', () => {
    const sender = makeSender()
    const id = catchingUp(sender)
    const before = JSON.stringify(sender.status())
    const poke = (target: object): void => {
      for (const [key, value] of Object.entries(target)) {
        expect(Reflect.set(target, key, 'poked'), key).toBe(false)
        if (typeof value === 'object' && value !== null) poke(value)
      }
    }
    poke(sender.status())
    expect(() => ((sender.session() as { target: number }).target = 1000)).toThrow(TypeError)
    expect(() => ((id as { seq: number }).seq = 7)).toThrow(TypeError)
    expect(JSON.stringify(sender.status())).toBe(before)
    sender.recordProgress(id, 100)
    sender.completeCatchUp(id)
  })

  it('S15 needs_rebuild survives an endpoint change, an epoch raise and an assignment; only a rebuild attaches', () => {
    const registry = new Registry(policy(), 1)
    registry.apply({ epoch: 1, replicas: [replica('r1')] })
    const sender = registry.sender(R1)
    sender.markNeedsRebuild('gap_beyond_retention')
    registry.apply({ epoch: 1, replicas: [replica('r1', 2)] })
    expect(sender.state).toBe('needs_rebuild')
    registry.raiseEpoch(2)
    expect(sender.state).toBe('needs_rebuild')
    const result = registry.apply({ epoch: 3, replicas: [replica('r1', 2)], recover: { [R1]: 'catchup' } })
    expect(result.failed).toEqual([{ id: R1, error: expect.stringContaining('RebuildRequiredError') }])
    expect(sender.status()).toMatchObject({ state: 'needs_rebuild', reason: 'gap_beyond_retention', session: null })
    for (const kind of ['bootstrap', 'catchup', 'reassign'] satisfies SessionKind[]) expect(() => sender.attach(3, kind)).toThrow(RebuildRequiredError)
    expect(sender.attach(3, 'rebuild')).toEqual({ epoch: 3, seq: 1 })
  })

  it.each<readonly [string, (sender: Sender, id: SessionId) => unknown]>([
    ['an epoch raise', (sender) => sender.updateEpoch(2)],
    ['an endpoint change', (sender) => sender.updateEndpoint({ data: 'b:1', version: 2 })],
    ['a newer primary', (sender) => sender.fence(7, R1)],
    ['a cancel that says disconnected', (sender, id) => sender.invalidate(id, 'closed', 'disconnected')],
    ['a failing transport', (sender, id) => sender.fail(id, 'transport_failed')],
    ['a hello of another replica', (sender, id) => sender.fail(id, 'replica_mismatch')],
  ])('S15 a rebuild that is owed is still owed after %s in the middle of it', (_, event) => {
    const sender = makeSender()
    sender.markNeedsRebuild('lineage_conflict')
    const id = rebuilding(sender)
    sender.selectSource(id, decideSource(history(), 0))
    sender.beginTransfer(id)
    expect(sender.state).toBe('rebuilding')
    event(sender, id)
    expect(sender.status()).toMatchObject({ state: 'needs_rebuild', session: null })
    expect(() => sender.attach(sender.epoch, 'catchup')).toThrow()
  })

  it('S15 superseding a rebuild that is owed by another keeps the debt', () => {
    const sender = makeSender()
    sender.markNeedsRebuild('lineage_conflict')
    rebuilding(sender)
    sender.supersede('rebuild', 'assignment')
    expect(sender.state).toBe('needs_rebuild')
  })

  it('S16 halted survives everything but clearHalt with the right confirm string', () => {
    const context = policy()
    const registry = new Registry(context, 1)
    registry.apply({ epoch: 1, replicas: [replica('r1')] })
    const sender = registry.sender(R1)
    sender.halt('primary_behind')
    sender.updateEndpoint({ data: 'b:1', version: 2 })
    registry.raiseEpoch(2)
    registry.fence(3, R1)
    sender.markDegraded('late')
    sender.markNeedsRebuild('late')
    sender.halt('later')
    registry.apply({ epoch: 4, replicas: [{ ...replica('r1', 3), role: 'learner' }], recover: { [R1]: 'rebuild' } })
    for (const kind of ['catchup', 'rebuild'] as const) expect(() => sender.attach(4, kind)).toThrow(/halted: primary_behind/)
    expect(() => registry.clearHalt(R1, { confirm: 'yes' })).toThrow(InvalidConfigError)
    expect(sender.status()).toMatchObject({ state: 'halted', reason: 'primary_behind', epoch: 4 })
    expect(registry.clearHalt(R1, { confirm: 'r1' })).toBe(true)
    expect(sender.status()).toMatchObject({ state: 'disconnected', reason: 'halt_cleared' })
    expect(context.log.events().at(-1)).toMatchObject({ event: 'halt_cleared', replicaId: R1, detail: 'primary_behind' })
    expect(registry.clearHalt(R1, { confirm: 'r1' })).toBe(false)
    sender.attach(4, 'catchup')
  })

  it.each(['split_history', 'committed_truncation'] as const)(
    'S16 clearing %s gives the replica up: it owes a rebuild, which such a handshake no longer halts',
    (reason) => {
      const sender = makeSender()
      const at = history({ headLsn: 100, lineage: [{ epoch: 1, firstLsn: 1 }] })
      const of =
        reason === 'split_history'
          ? hello({ committedLsn: 90 })
          : hello({ durableLsn: 120, committedLsn: 90, lineage: [{ epoch: 2, firstLsn: 60 }], epochSeen: 1 })
      const conflict = reason === 'split_history' ? { replicaSound: true } : undefined
      const attempt = (kind: SessionKind) => {
        const id = sender.attach(1, kind)
        sender.beginConnect(id)
        return { id, handshake: shake(sender, id, of, at, conflict) }
      }
      expect(attempt('catchup').handshake).toMatchObject({ outcome: 'halt', reason })
      expect(sender.status()).toMatchObject({ state: 'halted', reason, session: null })
      sender.clearHalt({ confirm: 'r1' })
      expect(sender.state).toBe('needs_rebuild')
      const { id, handshake } = attempt('rebuild')
      expect(handshake).toMatchObject({ outcome: 'halt', reason })
      expect(sender.session()).toMatchObject({ id, phase: 'handshake' })
      const decision = decideSource(at, of.committedLsn)
      sender.selectSource(id, decision)
      sender.beginTransfer(id)
      sender.recordTransfer(id, decision.target)
      sender.completeRebuild(id)
      // Paid for: the same facts halt again.
      sender.markDegraded('ack_timeout')
      expect(attempt('rebuild').handshake.outcome).toBe('halt')
      expect(sender.state).toBe('halted')
    },
  )

  it('S16 a halt that nobody cleared stops a rebuild too', () => {
    const sender = makeSender()
    sender.markNeedsRebuild('gap_beyond_retention')
    const id = sender.attach(1, 'rebuild')
    sender.beginConnect(id)
    expect(shake(sender, id, hello({ durableLsn: 130, committedLsn: 120 }), history()).reason).toBe('primary_behind')
    expect(sender.state).toBe('halted')
    sender.clearHalt({ confirm: 'r1' })
    expect(sender.state).toBe('needs_rebuild')
  })

  it('S17 invalidating or failing another session changes nothing', () => {
    const sender = makeSender()
    const stale = sender.attach(1, 'catchup')
    sender.supersede('catchup', 'assignment')
    const before = sender.status()
    expect(sender.invalidate(stale, 'late', 'needs_rebuild')).toBe(false)
    expect(sender.fail(stale, 'transport_failed')).toBe(false)
    expect(sender.status()).toEqual(before)
  })

  it.each(['in_sync', 'stopped', 'connecting', 'catching_up', 'rebuilding'] as const)('S17 no session is invalidated into %s', (to) => {
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    expect(() => sender.invalidate(id, 'no', to)).toThrow(RangeError)
    expect(sender.session()?.id).toBe(id)
  })

  it('S18 a second registry on one open store goes on counting; a restart takes a new epoch, so every id is greater', () => {
    const sequence = new SessionSequence()
    const before: SessionId[] = []
    for (let ship = 0; ship < 2; ship++) {
      const registry = new Registry({ ...policy(), sequence }, 1)
      registry.apply({ epoch: 1, replicas: [replica('r1'), replica('r2')], recover: { [R1]: 'catchup', ['r2' as typeof R1]: 'bootstrap' } })
      for (const sender of registry.all()) before.push(sender.session()!.id)
    }
    expect(before.map((id) => id.seq)).toEqual([1, 2, 3, 4])
    const reopened = makeSender(policy(), 2).attach(2, 'catchup')
    for (const id of before) expect(reopened.epoch > id.epoch || (reopened.epoch === id.epoch && reopened.seq > id.seq)).toBe(true)
  })

  it('a newer primary, once met, fences every attach below its epoch', () => {
    const sender = makeSender()
    sender.fence(3, R1)
    expect(thrown(() => sender.attach(1, 'catchup'))).toMatchObject({ name: 'FencedError', scope: 'primary', held: 1n, seen: 3n })
    sender.updateEpoch(2)
    expect(() => sender.attach(2, 'catchup')).toThrow(FencedError)
    sender.updateEpoch(3)
    sender.attach(3, 'catchup')
  })

  it('a primary of its own epoch or an older one fences nothing; a newer one once', () => {
    const context = policy()
    const sender = makeSender(context, 3)
    const id = sender.attach(3, 'catchup')
    for (const seen of [1, 3]) sender.fence(seen, R1)
    expect(sender.session()?.id).toBe(id)
    for (const seen of [5, 5, 4]) sender.fence(seen, R1)
    expect(context.log.events().filter((entry) => entry.event === 'fenced')).toMatchObject([{ sessionId: id, fields: { seen: 5, held: 3 } }])
  })

  it('says of every mark whether it changed anything', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = catchingUp(sender)
    sender.recordProgress(id, 100)
    sender.completeCatchUp(id)
    const marks = () => [sender.markDegraded('lag_exceeded'), sender.markNeedsRebuild('lineage_conflict'), sender.halt('split_history')]
    expect(marks()).toEqual([true, true, true])
    expect(marks()).toEqual([false, false, false])
    expect(context.log.since(3).map((entry) => entry.event)).toEqual(['degraded', 'escalated', 'halted'])
  })

  it('tells a state again when its reason is another one', () => {
    const sender = makeSender()
    const told: string[] = []
    sender.subscribe(({ from, to, reason }) => told.push(`${from} ${to} ${reason}`))
    for (const reason of ['gap_beyond_retention', 'gap_beyond_retention', 'retention_exceeded']) sender.markNeedsRebuild(reason)
    sender.updateEndpoint({ data: 'b:1', version: 2 })
    expect(told).toEqual(['disconnected needs_rebuild gap_beyond_retention', 'needs_rebuild needs_rebuild retention_exceeded'])
  })

  it('tells each change of state and each end of a session once, and drops a listener that throws', () => {
    const sender = makeSender()
    const changes: SenderChange[] = []
    sender.subscribe(() => {
      throw new Error('a listener of its own')
    })
    const end = sender.subscribe((change) => changes.push(change))
    const first = sender.attach(1, 'catchup')
    sender.invalidate(first, 'cancelled', 'disconnected')
    const second = catchingUp(sender)
    sender.fail(second, 'transport_failed')
    sender.fail(second, 'transport_failed')
    const third = sender.attach(1, 'catchup')
    sender.fail(third, 'connect_failed')
    end()
    sender.stop()
    const told = { replicaId: R1, ended: null }
    expect(changes).toEqual([
      { replicaId: R1, from: 'disconnected', to: 'disconnected', reason: 'cancelled', ended: first },
      { ...told, from: 'disconnected', to: 'connecting', reason: 'connected' },
      { ...told, from: 'connecting', to: 'catching_up', reason: 'catch_up' },
      { replicaId: R1, from: 'catching_up', to: 'degraded', reason: 'transport_failed', ended: second },
      { replicaId: R1, from: 'degraded', to: 'degraded', reason: 'transport_failed', ended: third },
    ])
  })
})

/** A sender at a:1 and c:1. */
function makeMovable(context = policy(), version = 1): Sender {
  const registry = new Registry(context, 1)
  registry.apply({ epoch: 1, replicas: [{ ...replica('r1'), endpoint: { data: 'a:1', control: 'c:1', version } }] })
  return registry.sender(R1)
}
