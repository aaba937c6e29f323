// The log of recoveries: its ring, and what the policy writes into it (lines L of shipping.md section 16; the whole flow with executors is test/ship/flow).
import { describe, expect, it } from 'vitest'

import { CatchUpExecutor, RebuildExecutor, type RecoveryEvent, RecoveryLog, replicaId } from '../../../bindings/ship/index.ts'
import { bench, FakeIO, planned } from '../plan/fakes.ts'
import { catchingUp, FakeClock, hello, history, makeRegistry, makeSender, policy, R1, replica, shake } from './kit.ts'

function filled(count: number, capacity = 4): RecoveryLog {
  const log = new RecoveryLog({ clock: new FakeClock(), capacity })
  for (let i = 1; i <= count; i++) log.append('connected', i % 2 === 0 ? R1 : replicaId('r2'), null, `event ${i}`)
  return log
}

describe('L: the recovery log', () => {
  it('L1 the policy of a happy catch-up: added, session created, connected, handshake, stream opened, each with its session', () => {
    const context = policy()
    const registry = makeRegistry(context)
    registry.apply({ epoch: 1, replicas: [replica('r1')] })
    const sender = registry.sender(R1)
    context.clock.now = 5
    const id = catchingUp(sender)
    sender.recordProgress(id, 100)
    sender.streamOpened(sender.completeCatchUp(id).fence, { close: () => undefined })
    expect(context.log.eventsFor(R1).map(({ seq, at, sessionId, event }) => [seq, at - 1_700_000_000_000, sessionId, event])).toEqual([
      [1, 0, null, 'sender_added'],
      [2, 5, id, 'session_created'],
      [3, 5, id, 'connected'],
      [4, 5, id, 'handshake'],
      [5, 5, id, 'stream_opened'],
    ])
    expect(context.log.events()[3]).toMatchObject({
      detail: 'catch_up: gap_within_retention (need 71..100, tail=0 head=100)',
      fields: { outcome: 'catch_up', reason: 'gap_within_retention', replicaDurableLsn: 70, committedLsn: 100, matchLsn: 70 },
    })
  })

  it('L1 a happy catch-up through planner and executor logs each of its stations, in order', async () => {
    const b = bench()
    const plan = await planned(b)
    await new CatchUpExecutor(b.planner, plan, { io: new FakeIO() }).run()
    const stations = ['sender_added', 'session_created', 'connected', 'handshake', 'plan_catchup', 'exec_catchup_started', 'exec_completed']
    const events = b.log.eventsFor(R1).map((entry) => entry.event)
    expect(events.filter((event) => stations.includes(event))).toEqual(stations)
    expect(events.filter((event) => event.startsWith('session_'))).toEqual(['session_created'])
    expect(b.log.eventsFor(R1).at(-1)?.sessionId).toEqual(plan.fence.sessionId)
  })

  it('L1 each session that ends without completing has one terminal event', async () => {
    const b = bench()
    const sender = b.registry.sender(R1)
    const fail = new FakeIO()
    fail.before = () => {
      throw new Error('the link broke')
    }
    await expect(new CatchUpExecutor(b.planner, await planned(b), { io: fail }).run()).rejects.toThrow('the link broke')
    await expect(new RebuildExecutor(b.planner, await planned(b, 'rebuild'), { io: fail }).run()).rejects.toThrow('the link broke')
    b.history.refuse.add('full_base').add('snapshot')
    await expect(planned(b, 'rebuild')).rejects.toThrow(/pin/)
    sender.supersede('rebuild', 'assignment')
    sender.supersede('rebuild', 'assignment')
    b.registry.raiseEpoch(2)
    const raised = sender.attach(2, 'rebuild')
    sender.updateEndpoint({ data: 'two:1', version: 2 })
    sender.attach(2, 'rebuild')
    sender.stop()
    const terminal = ['session_superseded', 'session_invalidated', 'session_failed']
    const perSession = new Map<unknown, string[]>()
    for (const { event, sessionId } of b.log.eventsFor(R1)) {
      if (event === 'session_created') perSession.set(sessionId, [])
      if (terminal.includes(event)) perSession.get(sessionId)?.push(event)
    }
    expect(perSession.size).toBe(7)
    expect(perSession.get(raised)).toEqual(['session_invalidated'])
    expect([...perSession.values()].map((events) => events.join())).toEqual([
      'session_failed',
      'session_failed',
      'session_failed',
      'session_superseded',
      'session_invalidated',
      'session_invalidated',
      'session_invalidated',
    ])
  })

  it('L2 an escalation names its cause: the LSNs of a gap, the limit of a budget', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = sender.attach(1, 'catchup')
    sender.beginConnect(id)
    shake(sender, id, hello({ durableLsn: 10 }), history({ tailLsn: 30 }))
    expect(context.log.events().slice(-2)).toMatchObject([
      { event: 'escalated', sessionId: id, detail: 'gap_beyond_retention: need 11, tail=30' },
      { event: 'session_failed', sessionId: id },
    ])
    const other = makeSender(context)
    const budgeted = catchingUp(other, 70, { budget: { maxEntries: 7 } })
    other.recordProgress(budgeted, 100)
    other.checkBudget(budgeted)
    expect(context.log.events().find((entry) => entry.event === 'budget_escalated')?.detail).toMatch(/30 of 7 entries/)
  })

  it.each([
    [3, 0, ['event 1', 'event 2', 'event 3']],
    [4, 0, ['event 1', 'event 2', 'event 3', 'event 4']],
    [5, 1, ['event 2', 'event 3', 'event 4', 'event 5']],
    [11, 7, ['event 8', 'event 9', 'event 10', 'event 11']],
  ])('L2 a ring of four after %i events has dropped %i', (count, dropped, details) => {
    const log = filled(count)
    expect(log.dropped).toBe(dropped)
    expect(log.events().map((entry) => entry.detail)).toEqual(details)
    const seqs = log.events().map((entry) => entry.seq)
    expect(seqs).toEqual(seqs.map((_, i) => dropped + 1 + i))
  })

  it('L2 eventsFor keeps replicas apart; since gives what came after', () => {
    const log = filled(6)
    expect(log.eventsFor(R1).map((entry) => entry.detail)).toEqual(['event 4', 'event 6'])
    expect(log.eventsFor(replicaId('r3'))).toEqual([])
    expect(log.since(4).map((entry) => entry.seq)).toEqual([5, 6])
    expect(log.since(6)).toEqual([])
    expect(log.since(99)).toEqual([])
    expect(log.since(0).map((entry) => entry.seq)).toEqual([3, 4, 5, 6])
  })

  it('events are frozen, and so are their fields', () => {
    const log = filled(0)
    const fields = { lsn: 7 }
    log.append('installed', R1, null, 'at 7', fields)
    fields.lsn = 8
    const [event] = log.events()
    expect(event).toMatchObject({ fields: { lsn: 7 } })
    expect(Object.isFrozen(event) && Object.isFrozen(event!.fields)).toBe(true)
  })

  it('subscribers hear each event; one that throws is dropped, one that ended hears no more', () => {
    const log = filled(0)
    const heard: RecoveryEvent[] = []
    let calls = 0
    log.subscribe(() => {
      calls++
      throw new Error('a subscriber of its own')
    })
    const end = log.subscribe((event) => heard.push(event))
    log.append('connected', R1, null, 'one')
    log.append('connected', R1, null, 'two')
    end()
    log.append('connected', R1, null, 'three')
    expect(calls).toBe(1)
    expect(heard.map((event) => event.detail)).toEqual(['one', 'two'])
  })

  it('exec_step is kept when verbose only', () => {
    const quiet = filled(0)
    const verbose = new RecoveryLog({ clock: new FakeClock(), verbose: true })
    for (const log of [quiet, verbose]) log.append('exec_step', R1, null, 'step 1')
    expect([quiet.events().length, verbose.events().length]).toEqual([0, 1])
  })

  it.each([0, -1, 1.5])('a ring of %d events is refused', (capacity) => {
    expect(() => new RecoveryLog({ clock: new FakeClock(), capacity })).toThrow(RangeError)
  })
})
