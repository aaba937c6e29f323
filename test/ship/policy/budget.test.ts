// Catch-up and its budget: the lines C1 to C6 and C8 of shipping.md section 16, and the budget of a rebuild.
import { describe, expect, it } from 'vitest'

import { CompletionRejectedError, FrozenTargetError, RebuildRequiredError } from '../../../bindings/errors-ship.ts'
import { budgetCheckMs, CATCH_UP_BUDGET, decideSource, REBUILD_BUDGET, resolveBudget } from '../../../bindings/ship/index.ts'
import { catchingUp, hello, history, makeSender, policy, rebuilding, shake } from './kit.ts'

const OFF = { maxDurationMs: 0, maxEntries: 0, maxBytes: 0, progressDeadlineMs: 0 }

describe('C: catch-up', () => {
  it.each([{}, { budget: OFF }, { bypass: true }])('C1 the target is frozen at the handshake, whatever is committed meanwhile (%j)', (o) => {
    const sender = makeSender()
    const id = catchingUp(sender, 70, o)
    expect(sender.session()).toMatchObject({ start: 70, target: 100, recoveredTo: 70 })
    // The primary goes on to 200: no later handshake can reach this session.
    expect(() => shake(sender, id, hello({ durableLsn: 70 }), history({ headLsn: 200, committedLsn: 200 }))).toThrow()
    sender.recordProgress(id, 99)
    expect(() => sender.recordProgress(id, 101)).toThrow(FrozenTargetError)
    sender.recordProgress(id, 100)
    expect(() => sender.recordProgress(id, 101)).toThrow(FrozenTargetError)
    expect(sender.completeCatchUp(id).cursor).toBe(101)
  })

  it('C2 70, 85, 100 completes; at 50 of (0, 100] completion is refused, and the executor ends the session', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = catchingUp(sender, 0)
    sender.recordProgress(id, 50)
    expect(() => sender.completeCatchUp(id)).toThrow(CompletionRejectedError)
    expect(sender.session()?.phase).toBe('catchup')
    sender.fail(id, 'completion_rejected', 'at 50 of 100')
    expect(sender.status()).toMatchObject({ state: 'degraded', reason: 'completion_rejected', session: null })
    expect(context.log.events().map((entry) => entry.event)).toContain('completion_rejected')
    const next = catchingUp(sender, 70)
    sender.recordProgress(next, 85)
    sender.recordProgress(next, 100)
    sender.completeCatchUp(next)
    expect(sender.state).toBe('in_sync')
  })

  it('C3 maxDurationMs 10,000: fine at 10,000, over it at 10,001', () => {
    const context = policy()
    const sender = makeSender(context)
    context.clock.now = 500
    const id = catchingUp(sender, 70, { budget: { ...OFF, maxDurationMs: 10_000 } })
    context.clock.now = 10_500
    expect(sender.checkBudget(id)).toBe('ok')
    expect(sender.state).toBe('catching_up')
    context.clock.now = 10_501
    expect(sender.checkBudget(id)).toBe('duration_exceeded')
    expect(sender.status()).toMatchObject({ state: 'needs_rebuild', reason: 'budget_duration_exceeded', session: null })
    expect(context.log.events().slice(-2)).toMatchObject([
      { event: 'budget_escalated', fields: { reason: 'budget_duration_exceeded' }, detail: expect.stringContaining('10001 of 10000 ms') },
      { event: 'session_failed', sessionId: id },
    ])
  })

  it.each([
    [0, 20, 20, 'ok'],
    [0, 20, 21, 'entries_exceeded'],
    [70, 50, 100, 'ok'],
    [70, 30, 100, 'ok'],
    [70, 29, 100, 'entries_exceeded'],
  ] as const)('C4 from R = %i with maxEntries %i, at %i: %s', (R, maxEntries, lsn, verdict) => {
    const sender = makeSender()
    const id = catchingUp(sender, R, { budget: { ...OFF, maxEntries } })
    sender.recordProgress(id, lsn)
    expect(sender.checkBudget(id)).toBe(verdict)
    expect(sender.state).toBe(verdict === 'ok' ? 'catching_up' : 'needs_rebuild')
  })

  it('C4 maxBytes counts what was sent', () => {
    const sender = makeSender()
    const id = catchingUp(sender, 70, { budget: { ...OFF, maxBytes: 1000 } })
    sender.recordBytes(id, 600)
    sender.recordBytes(id, 400)
    expect(sender.checkBudget(id)).toBe('ok')
    expect(() => sender.recordBytes(id, -1)).toThrow(RangeError)
    sender.recordBytes(id, 1)
    expect(sender.checkBudget(id)).toBe('bytes_exceeded')
    expect(sender.status()).toMatchObject({ state: 'needs_rebuild', reason: 'budget_bytes_exceeded' })
  })

  it.each([
    [[12_000], 17_000, 'ok'],
    [[12_000], 17_001, 'progress_stalled'],
    [[], 5_000, 'ok'],
    [[], 5_001, 'progress_stalled'],
    [[4_000, 8_000], 13_000, 'ok'],
  ] as const)('C5 progressDeadlineMs 5,000, progress at %j: at %i %s', (at, now, verdict) => {
    const context = policy()
    const sender = makeSender(context)
    const id = catchingUp(sender, 70, { budget: { ...OFF, progressDeadlineMs: 5_000 } })
    at.forEach((ms, i) => {
      context.clock.now = ms
      sender.recordProgress(id, 71 + i)
    })
    context.clock.now = now
    expect(sender.checkBudget(id)).toBe(verdict)
  })

  it('C5 in a catch-up bytes are no progress, a truncation that is owed is', () => {
    const context = policy()
    const sender = makeSender(context)
    const at = history({ lineage: [{ epoch: 1, firstLsn: 1 }], headLsn: 120, committedLsn: 120 })
    const id = sender.attach(1, 'catchup', { budget: { ...OFF, progressDeadlineMs: 5_000 } })
    sender.beginConnect(id)
    shake(
      sender,
      id,
      hello({
        durableLsn: 105,
        lineage: [
          { epoch: 1, firstLsn: 1 },
          { epoch: 2, firstLsn: 101 },
        ],
        epochSeen: 1,
      }),
      at,
    )
    sender.beginCatchUp(id)
    context.clock.now = 4_000
    sender.recordTruncation(id, 100)
    context.clock.now = 8_000
    sender.recordBytes(id, 1_000)
    expect(sender.checkBudget(id)).toBe('ok')
    context.clock.now = 9_001
    expect(sender.checkBudget(id)).toBe('progress_stalled')
  })

  it.each([{ budget: OFF }, { bypass: true, budget: { maxEntries: 1 } }])('C6 all limits off: it never escalates (%j)', (o) => {
    const context = policy()
    const sender = makeSender(context)
    const id = catchingUp(sender, 0, o)
    sender.recordProgress(id, 100)
    sender.recordBytes(id, 2 ** 50)
    context.clock.now = 2 ** 40
    expect(sender.checkBudget(id)).toBe('ok')
  })

  it('C6 two limits at once: the duration is reported first, then entries, then bytes', () => {
    const run = (budget: Partial<typeof OFF>): string => {
      const context = policy()
      const sender = makeSender(context)
      const id = catchingUp(sender, 0, { budget: { ...OFF, ...budget } })
      sender.recordProgress(id, 50)
      sender.recordBytes(id, 50)
      context.clock.now = 50
      return sender.checkBudget(id)
    }
    const all = { maxDurationMs: 10, maxEntries: 10, maxBytes: 10, progressDeadlineMs: 10 }
    expect(run(all)).toBe('duration_exceeded')
    expect(run({ ...all, maxDurationMs: 0 })).toBe('entries_exceeded')
    expect(run({ ...all, maxDurationMs: 0, maxEntries: 0 })).toBe('bytes_exceeded')
    expect(run({ ...all, maxDurationMs: 0, maxEntries: 0, maxBytes: 0 })).toBe('progress_stalled')
  })

  it('C6 a clock that was set back violates nothing', () => {
    const context = policy()
    const sender = makeSender(context)
    context.clock.now = 1_000_000
    const id = catchingUp(sender, 70, { budget: { ...OFF, maxDurationMs: 10, progressDeadlineMs: 10 } })
    context.clock.now = 0
    expect(sender.checkBudget(id)).toBe('ok')
    sender.recordProgress(id, 71)
    context.clock.now = 11
    expect(sender.checkBudget(id)).toBe('progress_stalled')
  })

  it('C6 before the catch-up begins nothing is spent', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = sender.attach(1, 'catchup', { budget: { maxDurationMs: 1 } })
    context.clock.now = 1_000
    expect(sender.checkBudget(id)).toBe('ok')
  })

  it('C8 after an escalation only a rebuild attaches; it works and ends in sync', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = catchingUp(sender, 70, { budget: { maxEntries: 1 } })
    sender.recordProgress(id, 100)
    sender.checkBudget(id)
    expect(() => sender.attach(1, 'catchup')).toThrow(RebuildRequiredError)
    const rebuild = rebuilding(sender)
    sender.selectSource(rebuild, decideSource(history(), 0))
    sender.beginTransfer(rebuild)
    sender.recordTransfer(rebuild, 100)
    sender.completeRebuild(rebuild)
    expect(sender.state).toBe('in_sync')
    sender.markDegraded('ack_timeout')
    sender.attach(1, 'catchup')
  })
})

describe('the budget of a rebuild', () => {
  it('is ended by a standstill of 15 s only; verified bytes are progress', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = rebuilding(sender)
    sender.selectSource(id, decideSource(history(), 0))
    sender.beginTransfer(id)
    for (let at = 15_000; at <= 300_000; at += 15_000) {
      context.clock.now = at
      expect(sender.checkBudget(id)).toBe('ok')
      sender.recordBytes(id, 2 ** 40)
    }
    context.clock.now += 15_000
    sender.recordBytes(id, 0)
    context.clock.now += 1
    expect(sender.checkBudget(id)).toBe('progress_stalled')
    expect(sender.status()).toMatchObject({ state: 'needs_rebuild', reason: 'budget_progress_stalled' })
  })

  it('takes every step forward for progress: the base, the change to its tail, the tail', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = rebuilding(sender)
    sender.selectSource(id, { source: 'snapshot_tail', baseLsn: 50, target: 100, reason: 'trusted_checkpoint_replayable_tail' })
    sender.beginTransfer(id)
    for (const step of [() => sender.recordTransfer(id, 50), () => sender.beginTailReplay(id), () => sender.recordTail(id, 60)]) {
      context.clock.now += 15_000
      step()
      expect(sender.session()?.lastProgressAt).toBe(context.clock.now)
    }
    context.clock.now += 15_000
    expect(sender.checkBudget(id)).toBe('ok')
    context.clock.now += 1
    expect(sender.checkBudget(id)).toBe('progress_stalled')
  })

  it('ends with the base: the second catch-up counts its own bytes, and they are no progress', () => {
    const context = policy()
    const sender = makeSender(context)
    const id = rebuilding(sender)
    sender.selectSource(id, decideSource(history(), 0))
    sender.beginTransfer(id)
    sender.recordBytes(id, 1_000_000)
    sender.recordTransfer(id, 100)
    sender.beginSecondCatchUp(id, 120, { maxBytes: 1_000 })
    sender.recordBytes(id, 1_000)
    context.clock.now = 5_000
    sender.recordBytes(id, 0)
    expect(sender.checkBudget(id)).toBe('ok')
    context.clock.now = 5_001
    expect(sender.checkBudget(id)).toBe('progress_stalled')
  })

  it('counts the entries of a tail, not the LSNs of its base', () => {
    const sender = makeSender()
    const id = rebuilding(sender, { budget: { maxEntries: 20 } })
    sender.selectSource(id, { source: 'snapshot_tail', baseLsn: 50, target: 100, reason: 'trusted_checkpoint_replayable_tail' })
    sender.beginTransfer(id)
    sender.recordTransfer(id, 50)
    expect(sender.checkBudget(id)).toBe('ok')
    sender.beginTailReplay(id)
    sender.recordTail(id, 70)
    expect(sender.checkBudget(id)).toBe('ok')
    sender.recordTail(id, 71)
    expect(sender.checkBudget(id)).toBe('entries_exceeded')
  })
})

describe('budgets', () => {
  it('have the defaults of the documentation', () => {
    expect(CATCH_UP_BUDGET).toEqual({ maxDurationMs: 30_000, maxEntries: 1_000_000, maxBytes: 8 * 1024 ** 3, progressDeadlineMs: 5_000 })
    expect(REBUILD_BUDGET).toEqual({ ...OFF, progressDeadlineMs: 15_000 })
  })

  it.each([-1, Number.NaN, 'ten'])('refuse a limit of %s', (limit) => {
    expect(() => resolveBudget({ maxEntries: limit as number }, CATCH_UP_BUDGET)).toThrow(/maxEntries/)
  })

  it('are looked at four times within the deadline, at least once a second, and never without a limit of time', () => {
    expect(budgetCheckMs(CATCH_UP_BUDGET)).toBe(1_000)
    expect(budgetCheckMs({ ...OFF, progressDeadlineMs: 200 })).toBe(50)
    expect(budgetCheckMs({ ...OFF, maxDurationMs: 200 })).toBe(1_000)
    expect(budgetCheckMs({ ...OFF, maxEntries: 1, maxBytes: 1 })).toBeUndefined()
  })
})
