// The executors: steps in their order with a fence on both sides of each, and one way out: session over, pins given back once, told before the promise settles.
import { describe, expect, it } from 'vitest'

import {
  CommittedTruncationError,
  CompletionRejectedError,
  ExecutorReusedError,
  FragmentHashError,
  PlanConsumedError,
  SessionFencedError,
  StaleEpochError,
  TransportError,
  TruncationUnsafeError,
  WrongSessionKindError,
} from '../../../bindings/errors-ship.ts'
import { HistoryUnavailableError } from '../../../bindings/errors.ts'
import { FP } from '../../../bindings/runtime/index.ts'
import { CatchUpExecutor, type Hello, RebuildExecutor, type RecoveryPlan, type SessionKind, type Step, type StepKind } from '../../../bindings/ship/index.ts'
import { failure } from '../../unit/store/places.ts'
import { bench, type Bench, expectClean, FakeIO, forever, helloOf, planned, R1, stepper } from './fakes.ts'

type Options = { readonly io: FakeIO; readonly onStep?: (step: Step) => void | Promise<void>; readonly signal?: AbortSignal; readonly stepEntries?: number }

function executorOf(b: Bench, plan: RecoveryPlan, o: Options): CatchUpExecutor | RebuildExecutor {
  return plan.rebuild === null ? new CatchUpExecutor(b.planner, plan, o) : new RebuildExecutor(b.planner, plan, o)
}

const AHEAD: Partial<Hello> = {
  durableLsn: 95,
  lineage: [
    { epoch: 1, firstLsn: 1 },
    { epoch: 2, firstLsn: 81 },
  ],
}

interface Kind {
  readonly name: string
  readonly session: SessionKind
  readonly hello: Partial<Hello>
  readonly set?: (b: Bench) => void
  readonly steps: readonly StepKind[]
  readonly calls: readonly string[]
  readonly pins: number
}

const KINDS: readonly Kind[] = [
  {
    name: 'catch-up',
    session: 'catchup',
    hello: {},
    steps: ['begin', 'progress', 'progress', 'progress', 'complete', 'release'],
    calls: ['stream (70, 80]', 'stream (80, 90]', 'stream (90, 100]'],
    pins: 1,
  },
  {
    name: 'catch-up behind a truncation',
    session: 'reassign',
    hello: AHEAD,
    steps: ['begin', 'truncate', 'progress', 'progress', 'complete', 'release'],
    calls: ['truncate 80', 'stream (80, 90]', 'stream (90, 100]'],
    pins: 1,
  },
  {
    name: 'truncation alone',
    session: 'catchup',
    hello: { ...AHEAD, durableLsn: 105, lineage: [AHEAD.lineage![0]!, { epoch: 2, firstLsn: 101 }] },
    steps: ['begin', 'truncate', 'complete', 'release'],
    calls: ['truncate 100'],
    pins: 0,
  },
  {
    name: 'snapshot with its tail',
    session: 'rebuild',
    hello: {},
    steps: ['begin', 'base', 'fragment', 'install', 'tail', 'complete', 'release'],
    calls: ['beginBase 50', 'sendFragments 4', 'install 50', 'stream (50, 100]'],
    pins: 2,
  },
  {
    name: 'full base',
    session: 'rebuild',
    hello: {},
    set: ({ history }) => (history.checkpoint = null),
    steps: ['begin', 'base', 'fragment', 'install', 'complete', 'release'],
    calls: ['beginBase 100', 'sendFragments 4', 'install 100'],
    pins: 1,
  },
]

async function ready({ session, hello, set }: Kind): Promise<{ readonly b: Bench; readonly plan: RecoveryPlan }> {
  const b = bench()
  set?.(b)
  const plan = await planned(b, session, helloOf(hello))
  b.events()
  b.history.trace.length = 0
  return { b, plan }
}

describe.each(KINDS)('$name', (kind) => {
  it('X2 X4 runs its steps in order, gives its pins back, and says so', async () => {
    const { b, plan } = await ready(kind)
    const io = new FakeIO()
    const { steps, onStep } = stepper()
    const result = await executorOf(b, plan, { io, onStep, stepEntries: 10 }).run()
    expect(io.calls).toEqual(kind.calls)
    expect(steps.map((step) => step.kind)).toEqual(kind.steps)
    expect(steps.map(({ index }) => index)).toEqual(steps.map((_, i) => i))
    expect(steps.every(({ lsn }, i) => i === 0 || lsn >= steps[i - 1]!.lsn)).toBe(true)
    expect(result).toMatchObject({ state: 'in_sync', achieved: 100, grant: { cursor: 101, pinnedFrom: 100, fence: plan.fence } })
    expect(plan.pins).toHaveLength(kind.pins)
    expectClean(b, plan, /^$/)
    const started = kind.session === 'rebuild' ? 'exec_rebuild_started' : 'exec_catchup_started'
    const completed = kind.session === 'rebuild' ? 'exec_rebuild_completed' : 'exec_completed'
    const events = b.events()
    expect(events[0]).toBe(started)
    expect(events.slice(-2)).toEqual(['exec_resources_released', completed])
    expect(b.registry.sender(R1).state).toBe('in_sync')
  })

  it('X1 a failure of the I/O at any step leaves nothing behind', async () => {
    for (let at = 0; at < kind.calls.length; at++) {
      const { b, plan } = await ready(kind)
      const io = new FakeIO()
      io.before = (_call, n) => {
        if (n === at) throw new TransportError('cut')
      }
      const executor = executorOf(b, plan, { io, stepEntries: 10 })
      expect(await failure(() => executor.run())).toBeInstanceOf(TransportError)
      expect(io.calls).toHaveLength(at + 1)
      expectClean(b, plan, kind.session === 'rebuild' ? 'transfer_failed' : 'transport_failed')
      expect(b.registry.sender(R1).state).toBe(kind.session === 'rebuild' ? 'needs_rebuild' : 'degraded')
    }
  })

  it.each(kind.steps.map((step, at) => [step, at] as const))(
    'X1 X5 a hook that fails at %s (step %i) ends the session once, and says so with the release',
    async (step, at) => {
      const isComplete = step === 'complete' || step === 'release'
      const open = kind.session === 'rebuild' ? 'needs_rebuild' : 'disconnected'
      for (const hook of ['onStep', 'failpoint'] as const) {
        const { b, plan } = await ready(kind)
        const io = new FakeIO()
        using _armed = hook === 'failpoint' ? b.failpoints.arm(FP.ship.stepHook, { error: 'io', after: at, times: 1 }) : undefined
        const onStep = ({ index }: Step): void => {
          if (hook === 'onStep' && index === at) throw new Error('hook')
        }
        const error = await failure(() => executorOf(b, plan, { io, onStep, stepEntries: 10 }).run())
        expect(error).toMatchObject({ name: 'CancelledError', reason: 'step_hook_failed', ...(hook === 'onStep' ? { cause: new Error('hook') } : {}) })
        expect(error.message).toContain(`failed at ${step}`)
        expectClean(b, plan, 'step_hook_failed')
        const events = b.log.eventsFor(R1).filter(({ sessionId }) => sessionId?.seq === plan.fence.sessionId.seq)
        expect(events.slice(-2).map(({ event, detail }) => [event, detail])).toEqual([
          ['session_invalidated', 'step_hook_failed'],
          ['exec_resources_released', 'step_hook_failed'],
        ])
        expect(b.registry.sender(R1).status()).toMatchObject({ state: isComplete ? 'degraded' : open, reason: 'step_hook_failed' })
      }
    },
  )

  it('X3 an epoch that is raised behind step 1 ends the run before the next call', async () => {
    const { b, plan } = await ready(kind)
    const io = new FakeIO()
    const onStep = ({ index }: Step): void => {
      if (index === 1) b.registry.raiseEpoch(2)
    }
    const executor = executorOf(b, plan, { io, onStep, stepEntries: 10 })
    expect(await failure(() => executor.run())).toBeInstanceOf(SessionFencedError)
    expect(io.calls).toHaveLength(1)
    expectClean(b, plan, 'epoch_advanced:1->2')
    expect(b.events()).toEqual(expect.arrayContaining(['session_invalidated', 'exec_resources_released']))
    expect(b.registry.sender(R1).state).toBe('disconnected')
  })

  it('X3 the fence is looked at behind each call and each hook, also where nobody tells that the session is over', async () => {
    for (const [place, at] of [
      ['io', 0],
      ['hook', 0],
      ['hook', 1],
    ] as const) {
      const { b, plan } = await ready(kind)
      const sender = b.registry.sender(R1)
      sender.subscribe = () => () => undefined
      const io = new FakeIO()
      io.before = (_call, n) => void (place === 'io' && n === at && b.registry.raiseEpoch(2))
      const { steps, onStep } = stepper()
      const hook = (step: Step): void => {
        onStep(step)
        if (place === 'hook' && step.index === at) b.registry.raiseEpoch(2)
      }
      expect(await failure(() => executorOf(b, plan, { io, onStep: hook, stepEntries: 10 }).run())).toBeInstanceOf(SessionFencedError)
      expect([io.calls.length, steps.length]).toEqual(place === 'io' ? [1, 1] : [at, at + 1])
      expectClean(b, plan, /./)
    }
  })

  it('what was granted must hold until the pins are given back', async () => {
    const { b, plan } = await ready(kind)
    const onStep = (step: Step): void => {
      if (step.kind === 'complete') b.registry.raiseEpoch(2)
    }
    expect(await failure(() => executorOf(b, plan, { io: new FakeIO(), onStep }).run())).toBeInstanceOf(SessionFencedError)
    expectClean(b, plan, 'epoch_advanced:1->2')
    expect(b.registry.sender(R1).state).toBe('disconnected')
  })

  it('a plan whose session is over before it has an executor is given back, cancelled or run', async () => {
    for (const how of ['cancel', 'run'] as const) {
      const { b, plan } = await ready(kind)
      b.registry.raiseEpoch(2)
      const io = new FakeIO()
      const executor = executorOf(b, plan, { io })
      if (how === 'cancel') executor.cancel('superseded')
      else expect(await failure(() => executor.run())).toBeInstanceOf(SessionFencedError)
      expectClean(b, plan, how === 'cancel' ? 'superseded' : /./)
      expect(io.calls).toEqual([])
    }
  })

  it('listens to its sender for as long as it runs', async () => {
    for (const fails of [false, true]) {
      const { b, plan } = await ready(kind)
      const sender = b.registry.sender(R1)
      const subscribe = sender.subscribe.bind(sender)
      let listeners = 0
      sender.subscribe = (fn) => {
        const end = subscribe(fn)
        listeners++
        return () => {
          listeners--
          end()
        }
      }
      const io = new FakeIO()
      if (fails) io.before = () => Promise.reject(new TransportError('cut'))
      const executor = executorOf(b, plan, { io })
      expect(listeners).toBe(1)
      await executor.run().catch(() => undefined)
      expect(listeners).toBe(0)
    }
  })

  it('X5 cancelled before the run, during I/O, by a signal, or when it is over', async () => {
    const state = kind.session === 'rebuild' ? 'needs_rebuild' : 'disconnected'
    const before = await ready(kind)
    const early = executorOf(before.b, before.plan, { io: new FakeIO() })
    early.cancel('not now')
    expectClean(before.b, before.plan, 'not now')
    expect(before.b.registry.sender(R1).status()).toMatchObject({ state, reason: 'not now' })
    expect(await failure(() => early.run())).toMatchObject({ name: 'CancelledError', reason: 'not now' })
    expectClean(before.b, before.plan, 'not now')

    for (const how of ['cancel', 'signal'] as const) {
      const { b, plan } = await ready(kind)
      const io = new FakeIO()
      const stop = new AbortController()
      const executor = executorOf(b, plan, { io, signal: stop.signal })
      io.before = (_call, n) => {
        if (n === kind.calls.length - 1 || kind.session !== 'rebuild') {
          if (how === 'cancel') executor.cancel('stopped')
          else stop.abort('stopped')
          return forever()
        }
        return undefined
      }
      expect(await failure(() => executor.run())).toMatchObject({ name: 'CancelledError', reason: 'stopped' })
      expect(io.signals.at(-1)!.aborted).toBe(true)
      expectClean(b, plan, 'stopped')
      expect(b.registry.sender(R1).status()).toMatchObject({ state, reason: 'stopped' })
    }

    const { b, plan } = await ready(kind)
    const done = executorOf(b, plan, { io: new FakeIO() })
    await done.run()
    done.cancel('late')
    expectClean(b, plan, /^$/)
    expect(b.registry.sender(R1).state).toBe('in_sync')
    const aborted = await ready(kind)
    const gone = executorOf(aborted.b, aborted.plan, { io: new FakeIO(), signal: AbortSignal.abort('shut') })
    expect(await failure(() => gone.run())).toMatchObject({ reason: 'shut' })
    expectClean(aborted.b, aborted.plan, 'shut')
  })

  it('X7 an executor runs once, and a plan has one executor', async () => {
    const { b, plan } = await ready(kind)
    const executor = executorOf(b, plan, { io: new FakeIO() })
    expect(() => executorOf(b, plan, { io: new FakeIO() })).toThrow(PlanConsumedError)
    const running = executor.run()
    expect(await failure(() => executor.run())).toBeInstanceOf(ExecutorReusedError)
    await running
    expect(await failure(() => executor.run())).toBeInstanceOf(ExecutorReusedError)
    expectClean(b, plan, /^$/)
    const other = await ready(kind)
    other.b.planner.cancelPlan(other.plan, 'superseded')
    expect(() => executorOf(other.b, other.plan, { io: new FakeIO() })).toThrow(PlanConsumedError)
  })

  it('a session that ends elsewhere while a call is out ends the run at once', async () => {
    for (const [end, reason] of [
      [(b: Bench) => void b.registry.sender(R1).supersede(kind.session, 'assignment'), 'assignment'],
      [(b: Bench) => b.registry.sender(R1).stop(), 'sender_stopped'],
      [(b: Bench) => b.history.open[0]?.onLimit!('retention_exceeded'), 'retention_exceeded'],
      [(b: Bench) => b.registry.apply({ epoch: 1, replicas: [] }), 'sender_stopped'],
    ] as const) {
      const { b, plan } = await ready(kind)
      if (reason === 'retention_exceeded' && plan.pins.length === 0) continue
      const io = new FakeIO()
      io.before = (_call, n) => (n === 0 ? (end(b), forever()) : undefined)
      const error = await failure(() => executorOf(b, plan, { io }).run())
      expect(error).toBeInstanceOf(SessionFencedError)
      expect(error.message).toContain(reason)
      expect(io.calls).toHaveLength(1)
      expect(b.history.open).toEqual([])
      expect(b.log.eventsFor(R1).findLast(({ event }) => event === 'exec_resources_released')!.detail).toBe(reason)
      expect(b.clock.pending).toBe(0)
    }
    // Before it runs, too: nobody will run it.
    const { b, plan } = await ready(kind)
    const executor = executorOf(b, plan, { io: new FakeIO() })
    b.registry.raiseEpoch(2)
    expectClean(b, plan, 'epoch_advanced:1->2')
    expect(await failure(() => executor.run())).toBeInstanceOf(SessionFencedError)
    expectClean(b, plan, 'epoch_advanced:1->2')
  })

  it.each([FP.ship.stepHook])('%s', async (name) => {
    const { b, plan } = await ready(kind)
    using armed = b.failpoints.arm(name, { error: 'io', after: 1, times: 1 })
    expect(await failure(() => executorOf(b, plan, { io: new FakeIO() }).run())).toMatchObject({ reason: 'step_hook_failed' })
    expect(armed.fired).toBe(1)
    expectClean(b, plan, 'step_hook_failed')
  })
})

describe('what the I/O says decides where the replica goes', () => {
  it.each([
    ['catchup', new CommittedTruncationError('x'), 'halted', 'committed_truncation'],
    ['catchup', new TruncationUnsafeError('x'), 'needs_rebuild', 'truncation_unsafe'],
    ['catchup', new FragmentHashError('x'), 'degraded', 'hash_mismatch'],
    ['catchup', new HistoryUnavailableError('x', { details: { asked: 1n, floor: 2n } }), 'degraded', 'transport_failed'],
    ['catchup', new StaleEpochError('x', { details: { held: 5, seen: 1 } }), 'disconnected', 'fenced'],
    ['rebuild', new CommittedTruncationError('x'), 'halted', 'committed_truncation'],
    ['rebuild', new FragmentHashError('x'), 'needs_rebuild', 'hash_mismatch'],
    ['rebuild', new TransportError('x'), 'needs_rebuild', 'transfer_failed'],
    ['rebuild', new StaleEpochError('x', { details: { held: 5, seen: 1 } }), 'needs_rebuild', 'fenced'],
  ] as const)('of a %s: %s', async (session, error, state, reason) => {
    const { b, plan } = await ready({ ...KINDS[session === 'catchup' ? 1 : 3]!, session })
    const io = new FakeIO()
    io.before = () => Promise.reject(error)
    expect(await failure(() => executorOf(b, plan, { io }).run())).toBe(error)
    expect(b.registry.sender(R1).state).toBe(state === 'needs_rebuild' && reason === 'fenced' ? 'disconnected' : state)
    expectClean(b, plan, reason)
    expect(b.registry.fencedBy).toBe(reason === 'fenced' ? 5 : 0)
  })

  it('C2 a stream that says less than the target was reached is asked on; one that ends short is refused', async () => {
    const { b, plan } = await ready(KINDS[0]!)
    const io = new FakeIO()
    // Ends early, as a link does when a step has its bytes.
    io.reaches = (end) => (end === 100 && io.calls.length === 1 ? 85 : end)
    const { steps, onStep } = stepper()
    expect(await executorOf(b, plan, { io, onStep }).run()).toMatchObject({ achieved: 100, entries: 30 })
    expect(io.calls).toEqual(['stream (70, 100]', 'stream (85, 100]'])
    expect(steps.filter(({ kind }) => kind === 'progress').map(({ lsn }) => lsn)).toEqual([85, 100])
    for (const reaches of [() => 70, () => 101, () => 84.5]) {
      const other = await ready(KINDS[0]!)
      const wrong = new FakeIO()
      wrong.reaches = reaches
      await failure(() => executorOf(other.b, other.plan, { io: wrong }).run())
      expectClean(other.b, other.plan, 'completion_rejected')
      expect(other.b.registry.sender(R1).state).toBe('degraded')
      expect(other.b.events()).toContain('completion_rejected')
    }
  })

  it('what is durable beyond a step, because the link sends ahead, is recorded with its own step', async () => {
    const { b, plan } = await ready(KINDS[0]!)
    const io = new FakeIO()
    const aheads: unknown[] = []
    io.stream = (_fence, _start, end, sink, _signal, o) => {
      aheads.push(o?.ahead)
      sink({ durableLsn: 100, bytes: 10 })
      return Promise.resolve(end)
    }
    const { steps, onStep } = stepper()
    expect(await executorOf(b, plan, { io, onStep, stepEntries: 10 }).run()).toMatchObject({ entries: 30, bytes: 30 })
    expect(steps.filter(({ kind }) => kind === 'progress').map(({ lsn }) => lsn)).toEqual([80, 90, 100])
    expect(aheads).toEqual([100, 100, 100])
  })

  it('C2 T1 a truncation at another LSN than the owed one is refused', async () => {
    const { b, plan } = await ready(KINDS[1]!)
    const io = new FakeIO()
    io.truncate = () => Promise.resolve(79)
    expect(await failure(() => executorOf(b, plan, { io }).run())).toMatchObject({ name: 'TruncationMismatchError' })
    expectClean(b, plan, 'completion_rejected')
    expect(io.calls).toEqual([])
  })

  it('completion refused by the session: degraded', async () => {
    const { b, plan } = await ready(KINDS[0]!)
    const sender = b.registry.sender(R1)
    sender.completeCatchUp = () => {
      throw new CompletionRejectedError('no')
    }
    expect(await failure(() => executorOf(b, plan, { io: new FakeIO() }).run())).toBeInstanceOf(CompletionRejectedError)
    expectClean(b, plan, 'completion_rejected')
    expect(sender.state).toBe('degraded')
  })
})

describe('steps', () => {
  it('X4 a range of 5,000 entries gives 10 steps of progress', async () => {
    const b = bench()
    Object.assign(b.history, { head: 5000, committed: 5000, tail: 0 })
    const plan = await planned(b, 'bootstrap', helloOf({ durableLsn: 0 }))
    const { steps, onStep } = stepper()
    const result = await new CatchUpExecutor(b.planner, plan, { io: new FakeIO(), onStep }).run()
    const progress = steps.filter(({ kind }) => kind === 'progress')
    expect(progress.map(({ lsn }) => lsn)).toEqual([512, 1024, 1536, 2048, 2560, 3072, 3584, 4096, 4608, 5000])
    expect(result).toMatchObject({ entries: 5000, bytes: 50_000 })
    expect(progress.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(50_000)
  })

  it('a catch-up is no rebuild, and neither runs what needs none', async () => {
    const b = bench()
    const plan = await planned(b)
    expect(() => new RebuildExecutor(b.planner, plan, { io: new FakeIO() })).toThrow(WrongSessionKindError)
    const other = bench()
    const rebuild = await planned(other, 'rebuild')
    expect(() => new CatchUpExecutor(other.planner, rebuild, { io: new FakeIO() })).toThrow(WrongSessionKindError)
    const third = bench()
    const zero = await planned(third, 'catchup', helloOf({ durableLsn: 100 }))
    expect(() => new CatchUpExecutor(third.planner, zero, { io: new FakeIO() })).toThrow(WrongSessionKindError)
    for (const [at, made] of [
      [b, plan],
      [other, rebuild],
    ] as const) {
      at.planner.cancelPlan(made, 'test')
      expect(at.history.open).toEqual([])
    }
  })

  it('a base that was installed elsewhere than agreed is refused', async () => {
    const { b, plan } = await ready(KINDS[3]!)
    const io = new FakeIO()
    io.install = () => Promise.resolve(51)
    expect(await failure(() => new RebuildExecutor(b.planner, plan, { io }).run())).toMatchObject({ name: 'BoundaryMismatchError' })
    expectClean(b, plan, 'transfer_failed')
  })
})
