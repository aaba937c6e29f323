// Runs against time and against what the primary does meanwhile: budgets, hanging calls, and what a rebuild makes of commits that come while its base moves.
import { describe, expect, it } from 'vitest'

import { CatchUpBudgetError, RebuildRequiredError } from '../../../bindings/errors-ship.ts'
import { HistoryUnavailableError } from '../../../bindings/errors.ts'
import { CatchUpExecutor, RebuildExecutor } from '../../../bindings/ship/index.ts'
import { failure } from '../../unit/store/places.ts'
import { bench, expectClean, FakeIO, forever, helloOf, planned, R1, stepper } from './fakes.ts'

describe('budget', () => {
  it('C7 a call that hangs: the timer aborts it, and the pins are gone in the same tick', async () => {
    const b = bench()
    const plan = await planned(b, 'catchup', helloOf(), { budget: { progressDeadlineMs: 2000 } })
    const io = new FakeIO()
    io.before = forever
    const run = failure(() => new CatchUpExecutor(b.planner, plan, { io }).run())
    await b.clock.advance(2000)
    expect([io.signals[0]!.aborted, b.history.open.length]).toEqual([false, 1])
    await b.clock.advance(500)
    expect([io.signals[0]!.aborted, b.history.open.length]).toEqual([true, 0])
    expect(await run).toBeInstanceOf(CatchUpBudgetError)
    expect(await run).toMatchObject({ verdict: 'progress_stalled' })
    expectClean(b, plan, 'budget_progress_stalled')
    expect(b.registry.sender(R1).state).toBe('needs_rebuild')
    expect(b.events()).toContain('budget_escalated')
  })

  it('bytes that went out count', async () => {
    const b = bench()
    const plan = await planned(b, 'catchup', helloOf(), { budget: { maxBytes: 199 } })
    const io = new FakeIO()
    expect(await failure(() => new CatchUpExecutor(b.planner, plan, { io, stepEntries: 10 }).run())).toMatchObject({ verdict: 'bytes_exceeded' })
    expect(io.calls).toEqual(['stream (70, 80]', 'stream (80, 90]'])
    expectClean(b, plan, 'budget_bytes_exceeded')
  })

  it('C8 behind a budget that was passed a catch-up is refused; a rebuild works and ends in sync', async () => {
    const b = bench()
    const plan = await planned(b, 'catchup', helloOf(), { budget: { maxEntries: 20 } })
    expect(await failure(() => new CatchUpExecutor(b.planner, plan, { io: new FakeIO(), stepEntries: 10 }).run())).toMatchObject({
      verdict: 'entries_exceeded',
    })
    const sender = b.registry.sender(R1)
    expect(sender.state).toBe('needs_rebuild')
    expect(() => sender.attach(1, 'catchup')).toThrow(RebuildRequiredError)
    const rebuild = await planned(b, 'rebuild')
    expect(await new RebuildExecutor(b.planner, rebuild, { io: new FakeIO() }).run()).toMatchObject({ state: 'in_sync', achieved: 100 })
    expect(sender.state).toBe('in_sync')
    expect(b.history.open).toEqual([])
  })

  it('X6 a stream that is slower than the deadline escalates; one that moves does not, however long it takes', async () => {
    for (const [tickMs, isSlow] of [
      [1500, false],
      [2600, true],
    ] as const) {
      const b = bench()
      const plan = await planned(b, 'catchup', helloOf(), { budget: { maxDurationMs: 0, progressDeadlineMs: 2000 } })
      const io = new FakeIO()
      io.stream = async (_fence, start, end, sink, signal) => {
        for (let at = start + 1; at <= end; at++) {
          await b.clock.timers.sleep(tickMs, signal)
          sink({ durableLsn: at, bytes: (at - start) * 10 })
        }
        return end
      }
      const run = new CatchUpExecutor(b.planner, plan, { io }).run().then(
        () => 'done',
        (error: Error) => error.name,
      )
      await b.clock.advance(60_000)
      expect(await run).toBe(isSlow ? 'CatchUpBudgetError' : 'done')
      if (!isSlow) continue
      expectClean(b, plan, 'budget_progress_stalled')
    }
  })

  it('the files of a rebuild are its progress: bytes that come keep it alive', async () => {
    for (const isMoving of [true, false]) {
      const b = bench()
      const plan = await planned(b, 'rebuild')
      const io = new FakeIO()
      io.sendFragments = async (_fence, _want, sink, signal) => {
        for (let n = 1; n <= 10; n++) {
          await b.clock.timers.sleep(10_000, signal)
          if (isMoving || n === 1) sink({ files: 0, bytes: n * 100 })
        }
      }
      const run = new RebuildExecutor(b.planner, plan, { io }).run().then(
        () => 'done',
        (error: Error) => error.name,
      )
      await b.clock.advance(120_000)
      expect(await run).toBe(isMoving ? 'done' : 'CatchUpBudgetError')
      expect(b.history.open).toEqual([])
    }
  })
})

describe('rebuild', () => {
  it('B6 what was committed while the base moved is replayed up to what was committed when it was installed', async () => {
    const b = bench()
    b.history.checkpoint = null
    const plan = await planned(b, 'rebuild')
    const io = new FakeIO()
    io.held = 1
    io.before = (call) => {
      if (call === 'sendFragments') Object.assign(b.history, { head: 120, committed: 120 })
      // Frozen: what comes later is the stream's.
      if (call === 'stream') Object.assign(b.history, { head: 200, committed: 200 })
    }
    const { steps, onStep } = stepper()
    const result = await new RebuildExecutor(b.planner, plan, { io, onStep }).run()
    expect(io.calls).toEqual(['beginBase 100', 'sendFragments 3', 'install 100', 'stream (100, 120]'])
    expect(result).toMatchObject({ achieved: 120, entries: 20, fragmentsSent: 3, fragmentsReused: 1, grant: { cursor: 121, pinnedFrom: 120 } })
    expect(steps.map(({ kind }) => kind)).toEqual(['begin', 'base', 'fragment', 'install', 'second_catchup', 'complete', 'release'])
    expect(b.events()).toEqual(expect.arrayContaining(['installed', 'second_catchup', 'exec_rebuild_completed']))
    expect(b.registry.sender(R1).status()).toMatchObject({ state: 'in_sync', durableLsn: 120 })
    const skipped = bench()
    skipped.history.checkpoint = null
    const other = await planned(skipped, 'rebuild')
    Object.assign(skipped.history, { head: 120, committed: 120 })
    expect(await new RebuildExecutor(skipped.planner, other, { io: new FakeIO(), secondCatchUp: false }).run()).toMatchObject({ achieved: 100 })
  })

  it('B14 a tail entry that is missing: needs_rebuild, never in sync', async () => {
    for (const checkpoint of [null, { lsn: 50, trusted: true }]) {
      const b = bench()
      b.history.checkpoint = checkpoint
      const plan = await planned(b, 'rebuild')
      const io = new FakeIO()
      const states: string[] = []
      b.registry.sender(R1).subscribe(({ to }) => void states.push(to))
      io.before = (call) => {
        if (call === 'install') Object.assign(b.history, { head: 120, committed: 120 })
        if (call === 'stream') throw new HistoryUnavailableError('gone', { details: { asked: 101n, floor: 110n } })
      }
      expect(await failure(() => new RebuildExecutor(b.planner, plan, { io }).run())).toBeInstanceOf(HistoryUnavailableError)
      expectClean(b, plan, 'transfer_failed')
      expect(b.registry.sender(R1).state).toBe('needs_rebuild')
      expect(states).not.toContain('in_sync')
    }
  })

  it('a base below the target of its plan never ends as in sync', async () => {
    const b = bench()
    b.history.checkpoint = null
    const pin = b.history.pinFullBase.bind(b.history)
    b.history.pinFullBase = (_lsn, owner) => pin(90, owner)
    const error = await failure(async () => {
      const plan = await planned(b, 'rebuild')
      await new RebuildExecutor(b.planner, plan, { io: new FakeIO(), secondCatchUp: false }).run()
    })
    expect(error).toMatchObject({ name: 'AchievedBelowTargetError', details: { achieved: 90, target: 100 } })
    expect(b.registry.sender(R1).state).toBe('needs_rebuild')
    expect(b.history.open).toEqual([])
  })

  it('B16 what was planned is run, whatever the source would be now', async () => {
    const b = bench()
    const plan = await planned(b, 'rebuild')
    expect(plan.rebuild).toMatchObject({ source: 'snapshot_tail', baseLsn: 50 })
    Object.assign(b.history, { tail: 80, checkpoint: { lsn: 50, trusted: false }, head: 300, committed: 300 })
    const io = new FakeIO()
    expect(await new RebuildExecutor(b.planner, plan, { io }).run()).toMatchObject({ achieved: 100 })
    expect(io.calls).toEqual(['beginBase 50', 'sendFragments 4', 'install 50', 'stream (50, 100]'])
  })
})
