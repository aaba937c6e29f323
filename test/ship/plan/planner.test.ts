// The planner: which pins a plan holds, in what order they are taken, and that none is left when anything on the way fails.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import {
  HistoryMovedError,
  NoSessionError,
  SessionFencedError,
  TransportError,
  UnknownReplicaError,
  WrongSessionKindError,
} from '../../../bindings/errors-ship.ts'
import { FencedError, PinRefusedError } from '../../../bindings/errors.ts'
import { CatchUpExecutor, type Hello, type PinKind, RebuildExecutor, replicaId } from '../../../bindings/ship/index.ts'
import { failure } from '../../unit/store/places.ts'
import { ASK, bench, type Bench, connected, digestOf, FakeIO, helloOf, planned, R1 } from './fakes.ts'

const stateOf = ({ registry }: Bench): string => registry.sender(R1).state

describe('P1 pins of a plan', () => {
  const cases: readonly (readonly [string, Partial<Hello> & { history?: string }, (b: Bench) => void, string, string[]])[] = [
    ['catch_up', { durableLsn: 70 }, () => undefined, 'catch_up', ['pin log 70']],
    ['bootstrap', { durableLsn: 0 }, (b) => (b.history.tail = 0), 'catch_up', ['pin log 0']],
    ['zero_gap', { durableLsn: 100 }, () => undefined, 'zero_gap', []],
    ['needs_rebuild', { durableLsn: 10 }, () => undefined, 'needs_rebuild', []],
    ['halt', { committedLsn: 101 }, () => undefined, 'halt', []],
    [
      'truncation and a catch-up',
      {
        durableLsn: 95,
        lineage: [
          { epoch: 1, firstLsn: 1 },
          { epoch: 2, firstLsn: 81 },
        ],
      },
      () => undefined,
      'catch_up',
      ['pin log 80'],
    ],
    [
      'a truncation alone',
      {
        durableLsn: 105,
        lineage: [
          { epoch: 1, firstLsn: 1 },
          { epoch: 2, firstLsn: 101 },
        ],
      },
      () => undefined,
      'catch_up',
      [],
    ],
  ]
  it.each(cases)('%s', async (_name, hello, set, outcome, trace) => {
    const b = bench()
    set(b)
    const plan = await planned(b, 'catchup', helloOf(hello))
    expect(plan.outcome).toBe(outcome)
    expect(b.history.trace).toEqual(trace)
    expect(plan.pins).toHaveLength(trace.length)
    expect(Object.isFrozen(plan) && Object.isFrozen(plan.pins)).toBe(true)
    expect(plan.pins.map(({ owner }) => owner)).toEqual(trace.map(() => plan.fence.sessionId))
  })

  it('a plan says what was decided, and a zero gap is complete when it is planned', async () => {
    const b = bench()
    const plan = await planned(b, 'catchup', helloOf({ durableLsn: 100 }))
    expect(plan).toMatchObject({ start: 100, target: 100, truncateTo: null, rebuild: null, grant: { cursor: 101, pinnedFrom: 100 } })
    expect(plan.grant!.fence).toBe(plan.fence)
    expect(stateOf(b)).toBe('in_sync')
    expect(b.events()).toEqual(['session_created', 'connected', 'handshake', 'plan_zero_gap'])
    const other = bench()
    const cut = await planned(
      other,
      'catchup',
      helloOf({
        durableLsn: 105,
        lineage: [
          { epoch: 1, firstLsn: 1 },
          { epoch: 2, firstLsn: 101 },
        ],
      }),
    )
    expect(cut).toMatchObject({ start: 100, target: 100, truncateTo: 100, grant: null })
    expect(other.events().at(-1)).toBe('plan_truncate_only')
  })

  it('L2 a full base names why it is one', async () => {
    const b = bench()
    b.history.checkpoint = { lsn: 50, trusted: false }
    const plan = await planned(b, 'rebuild')
    expect(plan.rebuild).toMatchObject({ source: 'full_base', baseLsn: 100, target: 100, reason: 'untrusted_checkpoint' })
    expect(b.log.eventsFor(R1).at(-1)).toMatchObject({ event: 'plan_rebuild_full_base', detail: expect.stringContaining('untrusted_checkpoint') })
    expect(b.history.trace).toEqual(['pin full_base 100'])
  })
})

describe('pins that are refused', () => {
  it('P2 snapshot_tail pins the snapshot, then the log; when the log is refused the snapshot goes too', async () => {
    const b = bench()
    const plan = await planned(b, 'rebuild')
    expect(plan.rebuild).toMatchObject({ source: 'snapshot_tail', baseLsn: 50, target: 100 })
    expect(b.history.trace).toEqual(['pin snapshot 50', 'pin log 50'])
    expect(b.history.granted.map(({ isRebuild }) => isRebuild)).toEqual([true, true])
    const other = bench()
    other.history.refuse.add('log')
    const error = await failure(() => planned(other, 'rebuild'))
    expect(error).toBeInstanceOf(PinRefusedError)
    expect(error.cause).toBeInstanceOf(PinRefusedError)
    expect(other.history.trace).toEqual(['pin snapshot 50', 'pin log 50', 'release snapshot 50'])
    other.inOrder()
    expect(other.registry.sender(R1).session()).toBeNull()
    expect(stateOf(other)).toBe('needs_rebuild')
    expect(other.log.eventsFor(R1).filter(({ event }) => event === 'log_pin_failed')).toHaveLength(1)
    expect(other.registry.sender(R1).status().reason).toBe('log_pin_failed_during_rebuild')
  })

  it.each([
    ['snapshot', 'rebuild', 'snapshot_pin_failed', 'needs_rebuild'],
    ['full_base', 'rebuild', 'full_base_pin_failed', 'needs_rebuild'],
    ['log', 'catchup', 'log_pin_failed', 'disconnected'],
  ] as const)('P3 %s', async (kind, session, event, state) => {
    const b = bench()
    if (kind === 'full_base') b.history.checkpoint = null
    b.history.refuse.add(kind)
    expect(await failure(() => planned(b, session))).toBeInstanceOf(PinRefusedError)
    expect(b.events()).toContain(event)
    expect(stateOf(b)).toBe(state)
    expect(b.registry.sender(R1).session()).toBeNull()
    expect(b.history.open).toEqual([])
  })

  it('P4 without a sender, a session, or one of the right kind nothing is pinned', async () => {
    const b = bench()
    const hello = helloOf()
    expect(await failure(() => b.planner.planRebuild(replicaId('r9'), hello, ASK))).toBeInstanceOf(UnknownReplicaError)
    expect(await failure(() => b.planner.planRebuild(R1, hello, ASK))).toBeInstanceOf(NoSessionError)
    expect(await failure(() => b.planner.planRecovery(R1, hello, ASK))).toBeInstanceOf(NoSessionError)
    const id = connected(b)
    expect(await failure(() => b.planner.planRebuild(R1, hello, ASK))).toBeInstanceOf(WrongSessionKindError)
    b.registry.sender(R1).invalidate(id, 'test', 'disconnected')
    connected(b, 'rebuild')
    expect(await failure(() => b.planner.planRecovery(R1, hello, ASK))).toBeInstanceOf(WrongSessionKindError)
    expect(b.history.trace).toEqual([])
    expect(b.registry.sender(R1).session()).not.toBeNull()
  })

  it('P9 history that moves between reading and pinning ends the plan', async () => {
    for (const kind of ['catchup', 'rebuild'] as const) {
      const b = bench()
      b.history.pinned = () => (b.history.tail = 90)
      // The log pin of a rebuild is taken after the tail has moved: refused, not moved.
      const error = await failure(() => planned(b, kind))
      expect(error).toBeInstanceOf(kind === 'catchup' ? HistoryMovedError : PinRefusedError)
      expect(b.history.open).toEqual([])
      expect(b.registry.sender(R1).session()).toBeNull()
    }
    const b = bench()
    b.history.checkpoint = null
    b.history.pinned = () => (b.history.tail = 101)
    expect(await failure(() => planned(b, 'rebuild'))).toBeInstanceOf(HistoryMovedError)
    expect(b.history.open).toEqual([])
    expect(stateOf(b)).toBe('needs_rebuild')
  })

  it('a session that ends while history is read again leaves none', async () => {
    const b = bench()
    b.history.looked = (n) => n === 1 && b.registry.raiseEpoch(2)
    expect(await failure(() => planned(b))).toBeInstanceOf(SessionFencedError)
    expect(b.history.trace).toEqual(['pin log 70', 'release log 70'])
    b.inOrder()
  })

  it('a session that ends while a pin is taken leaves none', async () => {
    const b = bench()
    b.history.pinned = () => void b.registry.raiseEpoch(2)
    expect(await failure(() => planned(b))).toBeInstanceOf(SessionFencedError)
    expect(b.history.trace).toEqual(['pin log 70', 'release log 70'])
    b.inOrder()
    expect(stateOf(b)).toBe('disconnected')
  })
})

describe('questions to the replica', () => {
  const parted: Partial<Hello> = {
    durableLsn: 95,
    lineage: [
      { epoch: 1, firstLsn: 1 },
      { epoch: 2, firstLsn: 81 },
    ],
  }

  it('the digest at the match point is asked for only where the hello does not have it', async () => {
    const asked: number[] = []
    const ask = { ...ASK, digestAt: (lsn: number) => (asked.push(lsn), Promise.resolve(digestOf(lsn))) }
    const b = bench()
    connected(b)
    await b.planner.planRecovery(R1, helloOf(), ask)
    expect(asked).toEqual([])
    const other = bench()
    connected(other)
    expect((await other.planner.planRecovery(R1, helloOf(parted), ask)).truncateTo).toBe(80)
    expect(asked).toEqual([80])
  })

  it('of digests that differ the replica verifies its own chain, and that decides', async () => {
    for (const [ok, committedLsn, outcome, reason] of [
      [true, 60, 'halt', 'split_history'],
      [false, 60, 'needs_rebuild', 'replica_corrupt'],
      [true, 0, 'needs_rebuild', 'lineage_conflict'],
    ] as const) {
      const b = bench()
      connected(b)
      const plan = await b.planner.planRecovery(R1, helloOf({ committedLsn, history: 'two' }), { ...ASK, verifySelf: () => Promise.resolve({ ok }) })
      expect(plan).toMatchObject({ outcome, proof: { reason }, pins: [] })
      expect(b.history.trace).toEqual([])
    }
  })

  it('a question that fails is a link that failed: degraded, and nothing is pinned', async () => {
    const b = bench()
    connected(b)
    const ask = { ...ASK, digestAt: () => Promise.reject(new TransportError('cut')) }
    expect(await failure(() => b.planner.planRecovery(R1, helloOf(parted), ask))).toBeInstanceOf(TransportError)
    expect(stateOf(b)).toBe('degraded')
    expect(b.history.trace).toEqual([])
  })

  it('a newer epoch that the replica has seen fences every sender', async () => {
    const b = bench()
    connected(b)
    expect(await failure(() => b.planner.planRecovery(R1, helloOf({ epochSeen: 4 }), ASK))).toBeInstanceOf(FencedError)
    expect(b.registry.fencedBy).toBe(4)
    expect(b.history.trace).toEqual([])
  })
})

describe('P7 cancelPlan', () => {
  it.each([
    ['catchup', 'disconnected'],
    ['rebuild', 'needs_rebuild'],
  ] as const)('of a %s', async (kind, state) => {
    const b = bench()
    const plan = await planned(b, kind)
    b.history.trace.length = 0
    b.events()
    b.planner.cancelPlan(plan, 'address_change')
    b.planner.cancelPlan(plan, 'again')
    expect(b.history.granted.map(({ releases }) => releases)).toEqual(plan.pins.map(() => 1))
    // The session first, then the pins, the last one first.
    expect(b.events()).toEqual(['session_invalidated', 'plan_cancelled'])
    expect(b.history.trace).toEqual(kind === 'catchup' ? ['release log 70'] : ['release log 50', 'release snapshot 50'])
    b.inOrder()
    expect(b.log.events().at(-1)).toMatchObject({ event: 'plan_cancelled', detail: 'address_change' })
    expect(b.registry.sender(R1).status()).toMatchObject({ state, reason: 'address_change', session: null })
  })

  it('leaves a newer session alone', async () => {
    const b = bench()
    const plan = await planned(b)
    const next = b.registry.sender(R1).supersede('catchup', 'superseded')
    b.planner.cancelPlan(plan, 'late')
    expect(b.registry.sender(R1).session()!.id).toEqual(next)
    expect(b.history.open).toEqual([])
  })

  it('of a plan that runs cancels the run', async () => {
    const b = bench()
    const plan = await planned(b)
    const io = new FakeIO()
    io.before = () => b.planner.cancelPlan(plan, 'superseded')
    expect(await failure(() => new CatchUpExecutor(b.planner, plan, { io }).run())).toMatchObject({ name: 'CancelledError', reason: 'superseded' })
    expect(b.history.open).toEqual([])
  })
})

it('P8 a pin over its limit: the session is invalidated, then the pin goes', async () => {
  for (const kind of ['catchup', 'rebuild'] as const) {
    const b = bench()
    const plan = await planned(b, kind)
    b.events()
    const seen: string[] = []
    b.log.subscribe(({ event }) => void seen.push(event))
    b.history.granted[0]!.onLimit!('retention_exceeded')
    seen.push(...b.history.trace.filter((line) => line.startsWith('release')))
    expect(seen).toEqual(['retention_exceeded', 'session_invalidated'])
    expect(b.registry.sender(R1).status()).toMatchObject({ state: 'needs_rebuild', reason: 'retention_exceeded', session: null })
    b.planner.cancelPlan(plan, 'over')
    expect(b.history.open).toEqual([])
  }
})

it('P11 random plans, each with a random failure on the way, leave no pin', async () => {
  const kinds: readonly PinKind[] = ['log', 'snapshot', 'full_base']
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        kind: fc.constantFrom('catchup' as const, 'rebuild' as const),
        durableLsn: fc.integer({ min: 0, max: 120 }),
        committedLsn: fc.integer({ min: 0, max: 101 }),
        tail: fc.integer({ min: 0, max: 60 }),
        checkpoint: fc.option(fc.record({ lsn: fc.integer({ min: 1, max: 100 }), trusted: fc.boolean() })),
        refuse: fc.option(fc.constantFrom(...kinds)),
        moves: fc.boolean(),
        fails: fc.integer({ min: -1, max: 8 }),
        how: fc.constantFrom('io', 'hook', 'cancel', 'epoch', 'plan', 'stop', 'limit'),
      }),
      async ({ kind, durableLsn, committedLsn, tail, checkpoint, refuse, moves, fails, how }) => {
        const b = bench()
        Object.assign(b.history, { tail, checkpoint })
        if (refuse !== null) b.history.refuse.add(refuse)
        if (moves) b.history.pinned = () => (b.history.tail += 20)
        const hello = helloOf({ durableLsn, committedLsn })
        let plan
        try {
          plan = await planned(b, kind, hello)
        } catch {
          expect(b.history.open).toEqual([])
          expect(b.registry.sender(R1).session()).toBeNull()
          return
        }
        if (plan.rebuild === null && plan.outcome !== 'catch_up') {
          expect(b.history.trace).toEqual([])
          return
        }
        const io = new FakeIO()
        const stop = new AbortController()
        let n = 0
        const hurt = (place: 'io' | 'hook'): void => {
          if (n++ !== fails) return
          if (how === 'epoch') b.registry.raiseEpoch(2)
          else if (how === 'stop') stop.abort('stopped')
          else if (how === 'plan') b.planner.cancelPlan(plan, 'cancelled')
          else if (how === 'limit') for (const pin of b.history.open) pin.onLimit?.('retention_exceeded')
          else if (how === 'cancel') executor.cancel('cancelled')
          else if (how === place) throw new TransportError('hurt')
        }
        io.before = () => hurt('io')
        const o = { io, signal: stop.signal, onStep: () => hurt('hook') }
        const executor = plan.rebuild === null ? new CatchUpExecutor(b.planner, plan, { ...o, stepEntries: 16 }) : new RebuildExecutor(b.planner, plan, o)
        const ended = await executor.run().then(
          () => true,
          () => false,
        )
        b.inOrder()
        expect(b.history.open).toEqual([])
        expect(b.history.granted.every(({ releases }) => releases === 1)).toBe(true)
        expect(b.registry.sender(R1).session()).toBeNull()
        const released = b.log.eventsFor(R1).filter(({ event }) => event === 'exec_resources_released')
        expect(released).toHaveLength(1)
        const isHurt = fails >= 0 && n > fails
        if (!isHurt) expect([ended, stateOf(b)]).toEqual([true, 'in_sync'])
        if (ended) expect(released[0]!.detail).toBe('')
        else expect(stateOf(b)).not.toBe('in_sync')
        expect(b.clock.pending).toBe(0)
      },
    ),
    { numRuns: 400 },
  )
})
