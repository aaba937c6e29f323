// The phases of a session: every pair of them, completions and their refusals, truncations that are owed, rebuilds (S11, S12, T1, B2 to B5).
import { describe, expect, it } from 'vitest'

import {
  BaseIncompleteError,
  CompletionRejectedError,
  FrozenTargetError,
  NotReadyError,
  NoTailError,
  PhaseError,
  ProgressRegressionError,
  TruncationMismatchError,
  TruncationNotRequiredError,
  WrongSessionKindError,
} from '../../../bindings/errors-ship.ts'
import { CatchUpExecutor, type RebuildDecision, type Sender, type SessionId, type SessionPhase } from '../../../bindings/ship/index.ts'
import { type EndReason, ENDINGS, type Move, MOVES, phaseAfter } from '../../../bindings/ship/session-phase.ts'
import { Session } from '../../../bindings/ship/session.ts'
import { bench, FakeIO, helloOf, planned } from '../plan/fakes.ts'
import { catchingUp, hello, history, makeSender, marks, policy, R1, rebuilding, shake } from './kit.ts'

const PHASES: readonly SessionPhase[] = ['init', 'connecting', 'handshake', 'catchup', 'transfer', 'tail_replay', 'completed', 'invalidated']
/** The table of section 3, written a second time: from, to. */
const LEGAL = new Set([
  'init connecting',
  'connecting handshake',
  'handshake catchup',
  'handshake completed',
  'catchup completed',
  'handshake transfer',
  'transfer tail_replay',
  'transfer completed',
  'tail_replay completed',
  ...['init', 'connecting', 'handshake', 'catchup', 'transfer', 'tail_replay'].map((from) => `${from} invalidated`),
])
const PAIRS = PHASES.flatMap((from) => PHASES.map((to) => [from, to] as const))
const MOVES_TO = (to: SessionPhase): Move[] => (Object.keys(MOVES) as Move[]).filter((move) => Object.values(MOVES[move]).includes(to))

const SNAPSHOT: RebuildDecision = { source: 'snapshot_tail', baseLsn: 50, target: 100, reason: 'trusted_checkpoint_replayable_tail' }
const FULL: RebuildDecision = { source: 'full_base', baseLsn: 100, target: 100, reason: 'no_checkpoint' }

/** A session brought into `phase` by its own moves. */
function sessionIn(phase: SessionPhase): Session {
  const isRebuild = phase === 'transfer' || phase === 'tail_replay'
  const session = new Session({ replicaId: R1, epoch: 1, sessionId: { epoch: 1, seq: 1 }, endpointVersion: 1 }, isRebuild ? 'rebuild' : 'catchup', {})
  const road: Partial<Record<SessionPhase, readonly Move[]>> = {
    connecting: ['beginConnect'],
    handshake: ['beginConnect', 'recordHandshake'],
    catchup: ['beginConnect', 'recordHandshake', 'beginCatchUp'],
    transfer: ['beginConnect', 'recordHandshake', 'beginTransfer'],
    tail_replay: ['beginConnect', 'recordHandshake', 'beginTransfer', 'beginTailReplay'],
    completed: ['beginConnect', 'recordHandshake', 'completeCatchUp'],
    invalidated: ['invalidate'],
  }
  for (const move of road[phase] ?? []) session.move(move)
  expect(session.phase).toBe(phase)
  return session
}

const thrown = (fn: () => unknown): unknown => {
  try {
    fn()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

describe('S11: phases', () => {
  it('has 64 pairs', () => expect(PAIRS).toHaveLength(64))

  it.each(PAIRS)('S11 %s to %s is as the table has it', (from, to) => {
    const moves = MOVES_TO(to)
    const roads = moves.filter((move) => {
      const session = sessionIn(from)
      try {
        session.move(move)
      } catch (error) {
        expect(error).toBeInstanceOf(PhaseError)
        expect(error).toMatchObject({ from, to, details: { replicaId: R1, sessionId: { epoch: 1, seq: 1 } } })
        expect(session.phase).toBe(from)
        return false
      }
      expect(session.phase).toBe(to)
      return true
    })
    expect(roads.length > 0).toBe(LEGAL.has(`${from} ${to}`))
  })

  it('S11 each move leads to one phase, and a move from nowhere names it', () => {
    for (const move of Object.keys(MOVES) as Move[]) {
      expect(new Set(Object.values(MOVES[move])).size, move).toBe(1)
      expect(() => phaseAfter('completed', move, R1, { epoch: 1, seq: 1 })).toThrow(PhaseError)
      expect(() => phaseAfter('invalidated', move, R1, { epoch: 1, seq: 1 })).toThrow(PhaseError)
    }
  })

  it('S11 invalidating twice keeps the first reason; nothing goes on after it', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = catchingUp(sender)
    expect(sender.invalidate(id, 'cancelled by hand', 'disconnected')).toBe(true)
    expect(sender.invalidate(id, 'again', 'needs_rebuild')).toBe(false)
    expect(sender.fail(id, 'hash_mismatch')).toBe(false)
    expect(sender.status()).toMatchObject({ state: 'disconnected', reason: 'cancelled by hand' })
    expect(context.log.events().filter((entry) => entry.event.startsWith('session_') && entry.event !== 'session_created')).toMatchObject([
      { event: 'session_invalidated', detail: 'cancelled by hand' },
    ])
  })
})

/** Steps that need an earlier one, tried on a sender whose session is in `phase`. */
const STEPS: readonly (readonly [name: string, phases: readonly SessionPhase[], call: (sender: Sender, id: SessionId) => unknown])[] = [
  ['beginConnect', ['connecting', 'handshake', 'catchup'], (sender, id) => sender.beginConnect(id)],
  ['checkHello', ['init', 'handshake', 'catchup'], (sender, id) => sender.checkHello(id, hello())],
  ['recordHandshake', ['init', 'handshake', 'catchup'], (sender, id) => shake(sender, id, hello(), history())],
  ['beginCatchUp', ['init', 'connecting', 'catchup'], (sender, id) => sender.beginCatchUp(id)],
  ['recordProgress', ['init', 'connecting', 'handshake'], (sender, id) => sender.recordProgress(id, 100)],
  ['recordTruncation', ['init', 'connecting'], (sender, id) => sender.recordTruncation(id, 100)],
  ['recordBytes', ['init', 'connecting', 'handshake'], (sender, id) => sender.recordBytes(id, 100)],
  ['completeCatchUp', ['init', 'connecting'], (sender, id) => sender.completeCatchUp(id)],
]

describe('S12: steps out of their order', () => {
  it.each(STEPS.flatMap(([name, phases, call]) => phases.map((phase) => [name, phase, call] as const)))('S12 %s in %s is a PhaseError', (_, phase, call) => {
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    if (phase !== 'init') sender.beginConnect(id)
    if (phase === 'handshake' || phase === 'catchup') shake(sender, id, hello({ durableLsn: 70 }), history())
    if (phase === 'catchup') sender.beginCatchUp(id)
    const before = sender.status()
    expect(thrown(() => call(sender, id))).toMatchObject({ name: 'PhaseError', from: phase })
    expect(sender.status()).toEqual(before)
  })

  it('S12 completing from a handshake with a gap, or before it is covered, is refused; with an empty range it is in sync', () => {
    const sender = makeSender()
    const gap = sender.attach(1, 'catchup')
    sender.beginConnect(gap)
    shake(sender, gap, hello({ durableLsn: 70 }), history())
    expect(() => sender.completeCatchUp(gap)).toThrow(CompletionRejectedError)
    sender.beginCatchUp(gap)
    sender.recordProgress(gap, 99)
    expect(thrown(() => sender.completeCatchUp(gap))).toMatchObject({
      name: 'CompletionRejectedError',
      details: { recoveredTo: 99, target: 100, sessionId: gap },
    })
    expect(sender.session()).toMatchObject({ phase: 'catchup', recoveredTo: 99 })
    const empty = sender.supersede('catchup', 'assignment')
    sender.beginConnect(empty)
    shake(sender, empty, hello(), history())
    expect(sender.completeCatchUp(empty)).toMatchObject({ cursor: 101, pinnedFrom: 100, fence: { sessionId: empty } })
    expect(sender.state).toBe('in_sync')
  })
})

describe('T: truncation that is owed', () => {
  const ahead = hello({ durableLsn: 105, lineage: marks([1, 1], [2, 101]) })
  const at = history({ lineage: marks([1, 1], [3, 101]), headLsn: 104 })

  function owing(): { sender: Sender; id: SessionId } {
    const sender = makeSender(policy(), 3)
    const id = sender.attach(3, 'catchup')
    sender.beginConnect(id)
    expect(shake(sender, id, ahead, at)).toMatchObject({ start: 100, target: 100, truncateTo: 100 })
    return { sender, id }
  }

  it('T1 it must be recorded, with its LSN, before the session completes', () => {
    const { sender, id } = owing()
    expect(() => sender.completeCatchUp(id)).toThrow(CompletionRejectedError)
    sender.beginCatchUp(id)
    expect(() => sender.completeCatchUp(id)).toThrow(CompletionRejectedError)
    expect(thrown(() => sender.recordTruncation(id, 101))).toMatchObject({ name: 'TruncationMismatchError', details: { lsn: 101, owed: 100 } })
    expect(() => sender.recordTruncation(id, 99)).toThrow(TruncationMismatchError)
    expect(() => sender.completeCatchUp(id)).toThrow(CompletionRejectedError)
    sender.recordTruncation(id, 100)
    expect(() => sender.recordTruncation(id, 100)).toThrow(TruncationNotRequiredError)
    expect(sender.completeCatchUp(id)).toMatchObject({ cursor: 101 })
    expect(sender.status()).toMatchObject({ state: 'in_sync', durableLsn: 100 })
  })

  it('T1 what the replica last said of itself is known: its hello, its truncation, its progress', () => {
    const context = policy()
    const sender = makeSender(context, 3)
    const id = sender.attach(3, 'catchup')
    sender.beginConnect(id)
    shake(sender, id, { ...ahead, committedLsn: 60 }, { ...at, headLsn: 110, committedLsn: 110 })
    expect(sender.status()).toMatchObject({ durableLsn: 105, committedLsn: 60 })
    sender.beginCatchUp(id)
    sender.recordTruncation(id, 100)
    expect(sender.status().durableLsn).toBe(100)
    expect(context.log.events().at(-1)).toMatchObject({ event: 'truncation_recorded', sessionId: id, fields: { lsn: 100 } })
    sender.recordProgress(id, 107)
    expect(sender.status().durableLsn).toBe(107)
  })

  it('T1 a truncation alone may be recorded straight after the handshake', () => {
    const { sender, id } = owing()
    sender.recordTruncation(id, 100)
    sender.completeCatchUp(id)
    expect(sender.state).toBe('in_sync')
  })

  it('T3 a truncation comes before the first record', async () => {
    const b = bench()
    const plan = await planned(b, 'catchup', helloOf({ durableLsn: 95, lineage: marks([1, 1], [2, 81]) }))
    expect(plan).toMatchObject({ start: 80, target: 100, truncateTo: 80 })
    const io = new FakeIO()
    await new CatchUpExecutor(b.planner, plan, { io }).run()
    expect(io.calls).toEqual(['truncate 80', 'stream (80, 100]'])
  })

  it('T1 none is owed: TruncationNotRequiredError', () => {
    const sender = makeSender()
    const id = catchingUp(sender)
    expect(() => sender.recordTruncation(id, 70)).toThrow(TruncationNotRequiredError)
  })

  it.each([
    ['truncation_unsafe', 'needs_rebuild', 'truncation_escalated'],
    ['committed_truncation', 'halted', 'halted'],
  ] as const)('T4, T6 %s leaves the replica %s', (reason, state, event) => {
    const context = policy()
    const sender = makeSender(context)
    const id = catchingUp(sender)
    expect(sender.fail(id, reason, 'newest checkpoint 103 > 100')).toBe(true)
    expect(sender.status()).toMatchObject({ state, reason, session: null })
    expect(context.log.events().map((entry) => entry.event)).toContain(event)
    expect(context.log.events().filter((entry) => entry.event === 'session_failed')).toHaveLength(1)
  })
})

describe('B: rebuild sessions', () => {
  function transferring(decision: RebuildDecision): { sender: Sender; id: SessionId } {
    const sender = makeSender()
    const id = rebuilding(sender)
    sender.selectSource(id, decision)
    sender.beginTransfer(id)
    expect(sender.state).toBe('rebuilding')
    return { sender, id }
  }

  it('B2 snapshot and tail: the tail waits for the whole base', () => {
    const { sender, id } = transferring(SNAPSHOT)
    sender.recordTransfer(id, 30)
    expect(thrown(() => sender.beginTailReplay(id))).toMatchObject({ name: 'BaseIncompleteError', details: { transferredTo: 30, baseLsn: 50 } })
    expect(() => sender.beginTailReplay(id)).toThrow(BaseIncompleteError)
    expect(() => sender.recordTransfer(id, 51)).toThrow(FrozenTargetError)
    sender.recordTransfer(id, 50)
    expect(() => sender.completeRebuild(id)).toThrow(NotReadyError)
    sender.beginTailReplay(id)
    expect(() => sender.recordTail(id, 50)).toThrow(ProgressRegressionError)
    sender.recordTail(id, 99)
    expect(() => sender.completeRebuild(id)).toThrow(NotReadyError)
    expect(() => sender.recordTail(id, 101)).toThrow(FrozenTargetError)
    sender.recordTail(id, 100)
    expect(sender.completeRebuild(id)).toMatchObject({ cursor: 101, pinnedFrom: 100 })
    expect(sender.status()).toMatchObject({ state: 'in_sync', durableLsn: 100 })
  })

  it('B2 a checkpoint at the target has an empty tail', () => {
    const { sender, id } = transferring({ ...SNAPSHOT, baseLsn: 100 })
    sender.recordTransfer(id, 100)
    expect(() => sender.completeRebuild(id)).toThrow(NotReadyError)
    sender.beginTailReplay(id)
    expect(sender.completeRebuild(id)).toMatchObject({ cursor: 101 })
  })

  it('B3 a full base completes at its target, and has no tail', () => {
    const { sender, id } = transferring(FULL)
    sender.recordTransfer(id, 99)
    expect(() => sender.completeRebuild(id)).toThrow(NotReadyError)
    sender.recordTransfer(id, 100)
    expect(() => sender.beginTailReplay(id)).toThrow(NoTailError)
    expect(() => sender.recordTail(id, 101)).toThrow(PhaseError)
    expect(sender.completeRebuild(id)).toMatchObject({ cursor: 101 })
  })

  it('B4 a rebuild session refuses every catch-up method, a catch-up session every rebuild method', () => {
    const sender = makeSender()
    const id = rebuilding(sender)
    const before = sender.status()
    const catchUp = [
      () => sender.beginCatchUp(id),
      () => sender.recordProgress(id, 80),
      () => sender.recordTruncation(id, 80),
      () => sender.completeCatchUp(id),
    ]
    for (const call of catchUp) expect(call).toThrow(WrongSessionKindError)
    expect(sender.status()).toEqual(before)
    const other = makeSender()
    const otherId = catchingUp(other)
    const otherBefore = other.status()
    const rebuild = [
      () => other.selectSource(otherId, FULL),
      () => other.beginTransfer(otherId),
      () => other.recordTransfer(otherId, 80),
      () => other.beginTailReplay(otherId),
      () => other.recordTail(otherId, 80),
      () => other.beginSecondCatchUp(otherId, 110),
      () => other.completeRebuild(otherId),
    ]
    for (const call of rebuild) expect(call).toThrow(WrongSessionKindError)
    expect(other.status()).toEqual(otherBefore)
  })

  it('B4 the source is selected in the handshake, once', () => {
    const sender = makeSender()
    const id = sender.attach(1, 'rebuild')
    expect(() => sender.selectSource(id, FULL)).toThrow(PhaseError)
    sender.beginConnect(id)
    expect(() => sender.selectSource(id, FULL)).toThrow(PhaseError)
    shake(sender, id, hello({ durableLsn: 10 }), history({ tailLsn: 30 }))
    expect(() => sender.beginTransfer(id)).toThrow(PhaseError)
    expect(() => sender.selectSource(id, { ...FULL, target: Number.NaN })).toThrow(RangeError)
    sender.selectSource(id, FULL)
    expect(() => sender.selectSource(id, SNAPSHOT)).toThrow(PhaseError)
    expect(sender.session()?.source).toEqual(FULL)
    sender.beginTransfer(id)
    expect(() => sender.selectSource(id, SNAPSHOT)).toThrow(PhaseError)
    expect(() => sender.beginTransfer(id)).toThrow(PhaseError)
  })

  it.each(['init', 'connecting', 'handshake'] as const)('B4 nothing of a rebuild is done in %s', (phase) => {
    const sender = makeSender()
    const id = phase === 'handshake' ? rebuilding(sender) : sender.attach(1, 'rebuild')
    if (phase === 'connecting') sender.beginConnect(id)
    const before = sender.status()
    for (const call of [
      () => sender.beginTransfer(id),
      () => sender.recordTransfer(id, 50),
      () => sender.recordBytes(id, 50),
      () => sender.beginTailReplay(id),
      () => sender.recordTail(id, 60),
      () => sender.beginSecondCatchUp(id, 110),
      () => sender.completeRebuild(id),
    ]) {
      expect(thrown(call)).toMatchObject({ name: 'PhaseError', from: phase })
    }
    expect(sender.status()).toEqual(before)
  })

  it('B4 a session that completed is completed, on either path', () => {
    const { handshake, fence } = (() => {
      const sender = makeSender()
      catchingUp(sender)
      return sender.session()!
    })()
    const sessions = { catchup: new Session(fence, 'catchup', {}), rebuild: new Session(fence, 'rebuild', {}) }
    for (const session of Object.values(sessions)) {
      session.move('beginConnect')
      session.handshaken(handshake!)
    }
    sessions.catchup.beginCatchUp(0)
    sessions.catchup.progress(100, 0)
    sessions.catchup.completeCatchUp()
    sessions.rebuild.selectSource(FULL)
    sessions.rebuild.beginTransfer(0)
    sessions.rebuild.transfer(100, 0)
    sessions.rebuild.completeRebuild()
    expect(Object.values(sessions).map((session) => session.phase)).toEqual(['completed', 'completed'])
    expect(() => sessions.catchup.completeCatchUp()).toThrow(PhaseError)
    expect(() => sessions.rebuild.completeRebuild()).toThrow(PhaseError)
  })

  it('B5 transfer and tail never go back', () => {
    const { sender, id } = transferring(SNAPSHOT)
    sender.recordTransfer(id, 40)
    for (const lsn of [40, 39, 0]) expect(() => sender.recordTransfer(id, lsn)).toThrow(ProgressRegressionError)
    sender.recordTransfer(id, 50)
    sender.beginTailReplay(id)
    expect(() => sender.recordTransfer(id, 51)).toThrow(PhaseError)
    sender.recordTail(id, 70)
    for (const lsn of [70, 69, 51]) expect(() => sender.recordTail(id, lsn)).toThrow(ProgressRegressionError)
    expect(sender.session()).toMatchObject({ transferredTo: 50, replayedTo: 70 })
  })

  it('B5 an abort keeps its first reason, and has no effect after the completion', () => {
    const { sender, id } = transferring(FULL)
    expect(sender.fail(id, 'hash_mismatch')).toBe(true)
    expect(sender.fail(id, 'transfer_failed')).toBe(false)
    expect(sender.status()).toMatchObject({ state: 'needs_rebuild', reason: 'hash_mismatch' })
    const done = transferring(FULL)
    done.sender.recordTransfer(done.id, 100)
    done.sender.completeRebuild(done.id)
    expect(done.sender.fail(done.id, 'transfer_failed')).toBe(false)
    expect(done.sender.invalidate(done.id, 'late', 'needs_rebuild')).toBe(false)
    expect(done.sender.state).toBe('in_sync')
  })

  it.each([
    ['snapshot_tail', SNAPSHOT, 150],
    ['full_base', FULL, 150],
    ['full_base above its target', { ...FULL, baseLsn: 120 }, 150],
    ['full_base with nothing new', FULL, 100],
  ] as const)('B6 a second catch-up after %s is frozen too, and what is achieved is its end', (_, decision, target2) => {
    const context = policy()
    const { sender, id } = { sender: makeSender(context), id: { epoch: 1, seq: 1 } }
    rebuilding(sender)
    sender.selectSource(id, decision)
    sender.beginTransfer(id)
    expect(() => sender.beginSecondCatchUp(id, target2)).toThrow(NotReadyError)
    sender.recordTransfer(id, decision.baseLsn)
    const record = (lsn: number): void => (decision.source === 'full_base' ? sender.recordTransfer(id, lsn) : sender.recordTail(id, lsn))
    if (decision.source === 'snapshot_tail') {
      expect(() => sender.beginSecondCatchUp(id, target2)).toThrow(NotReadyError)
      sender.beginTailReplay(id)
      record(100)
    }
    expect(() => sender.beginSecondCatchUp(id, 99)).toThrow(RangeError)
    context.clock.now = 60_000
    sender.beginSecondCatchUp(id, target2, { maxEntries: 40 })
    expect(() => sender.beginSecondCatchUp(id, target2)).toThrow(PhaseError)
    expect(sender.checkBudget(id)).toBe('ok')
    if (target2 > 100) {
      expect(() => sender.completeRebuild(id)).toThrow(NotReadyError)
      expect(() => record(target2 + 1)).toThrow(FrozenTargetError)
      record(130)
      expect(sender.checkBudget(id)).toBe('ok')
      record(target2)
      expect(sender.session()).toMatchObject({ secondTarget: target2 })
    }
    expect(sender.completeRebuild(id)).toMatchObject({ cursor: target2 + 1, pinnedFrom: target2 })
    expect(context.log.events().some((entry) => entry.event === 'second_catchup')).toBe(true)
  })

  it('B6 a second catch-up has a budget of its own, counted anew', () => {
    const { sender, id } = transferring(FULL)
    sender.recordTransfer(id, 100)
    sender.beginSecondCatchUp(id, 200, { maxEntries: 30 })
    sender.recordTransfer(id, 130)
    expect(sender.checkBudget(id)).toBe('ok')
    sender.recordTransfer(id, 131)
    expect(sender.checkBudget(id)).toBe('entries_exceeded')
    expect(sender.status()).toMatchObject({ state: 'needs_rebuild', reason: 'budget_entries_exceeded' })
  })
})

/** The table of states of section 3, written a second time: reason, state after a catch-up, state after a rebuild, event beside the end of the session. */
const ENDS: readonly (readonly [EndReason, string, string, string])[] = [
  ['connect_failed', 'disconnected', 'disconnected', 'connect_failed'],
  ['protocol_version', 'disconnected', 'disconnected', 'handshake_failed'],
  ['replica_mismatch', 'disconnected', 'disconnected', 'handshake_failed'],
  ['store_mismatch', 'halted', 'halted', 'handshake_failed'],
  ['transport_failed', 'degraded', 'needs_rebuild', ''],
  ['transfer_failed', 'degraded', 'needs_rebuild', ''],
  ['hash_mismatch', 'degraded', 'needs_rebuild', ''],
  ['log_pin_failed', 'disconnected', 'needs_rebuild', 'log_pin_failed'],
  ['log_pin_failed_during_rebuild', 'disconnected', 'needs_rebuild', 'log_pin_failed'],
  ['snapshot_pin_failed', 'needs_rebuild', 'needs_rebuild', 'snapshot_pin_failed'],
  ['full_base_pin_failed', 'needs_rebuild', 'needs_rebuild', 'full_base_pin_failed'],
  ['history_moved', 'disconnected', 'needs_rebuild', ''],
  ['completion_rejected', 'degraded', 'needs_rebuild', 'completion_rejected'],
  ['not_converging', 'degraded', 'needs_rebuild', ''],
  ['truncation_unsafe', 'needs_rebuild', 'needs_rebuild', 'truncation_escalated'],
  ['committed_truncation', 'halted', 'halted', 'halted'],
  ['budget_duration_exceeded', 'needs_rebuild', 'needs_rebuild', 'budget_escalated'],
  ['budget_entries_exceeded', 'needs_rebuild', 'needs_rebuild', 'budget_escalated'],
  ['budget_bytes_exceeded', 'needs_rebuild', 'needs_rebuild', 'budget_escalated'],
  ['budget_progress_stalled', 'needs_rebuild', 'needs_rebuild', 'budget_escalated'],
  ['retention_exceeded', 'needs_rebuild', 'needs_rebuild', 'retention_exceeded'],
  ['lease_lost', 'disconnected', 'needs_rebuild', ''],
]

describe('where a session that ends leaves its replica', () => {
  it('has a line for each reason', () => expect(ENDS.map(([reason]) => reason).sort()).toEqual(Object.keys(ENDINGS).sort()))

  it.each(ENDS)('%s: %s of a catch-up, %s of a rebuild', (reason, catchup, rebuild, event) => {
    for (const [kind, state] of [
      ['catchup', catchup],
      ['rebuild', rebuild],
    ] as const) {
      const context = policy()
      const sender = makeSender(context)
      const id = kind === 'catchup' ? catchingUp(sender) : rebuilding(sender)
      expect(sender.fail(id, reason, 'as it came')).toBe(true)
      expect(sender.status()).toMatchObject({ state, session: null, streaming: false })
      const events = context.log.events().filter((entry) => entry.event !== 'handshake')
      if (event !== '') expect(events.map((entry) => entry.event)).toContain(event)
      const ends = events.filter((entry) => ['session_invalidated', 'session_failed'].includes(entry.event))
      expect(ends).toMatchObject([{ sessionId: id, detail: `${reason}: as it came` }])
      expect(ends[0]!.event).toBe(['retention_exceeded', 'lease_lost'].includes(reason) ? 'session_invalidated' : 'session_failed')
      // A catch-up attaches unless a rebuild is owed or a person must look.
      if (state === 'disconnected' || state === 'degraded') sender.attach(1, 'catchup')
      else expect(() => sender.attach(1, 'catchup')).toThrow()
    }
  })
})
