// ship/executor.ts: what both executors share: steps with a fence in front of and behind each, the budget, cancelling, and the one way out (docs/shipping.md).
//
//   check fence -> I/O -> check fence, record -> await onStep -> check fence -> check budget
//
// While a call is out, a timer looks at the budget, and whoever ends the session aborts the call. Invariants: on every way out the session is over before the pins
// go, the pins go once, and that is told, once and with the reason, before the promise settles; a session has one terminal event, whatever fails and where; behind
// the first failure no further I/O begins.

import { CancelledError, CatchUpBudgetError, ExecutorReusedError, SessionFencedError } from '../errors-ship.ts'
import { FP, type TimerHandle } from '../runtime/index.ts'
import { budgetCheckMs } from './budget.ts'
import type { PlanOwner } from './plan.ts'
import { noteFence, type Planner, textOf } from './planner.ts'
import type { RecoveryEventName } from './recovery-log.ts'
import type { Sender } from './sender.ts'
import type { EndReason } from './session-phase.ts'
import type { CatchUpIO, Fence, RecoveryPlan, RunResult, Step, StepKind, StreamGrant, StreamOptions, StreamSink } from './types.ts'

export const STEP_ENTRIES = 512
export const STEP_BYTES: number = 4 * 1024 * 1024

export interface ExecutorOptions {
  /** Waited for after each step. One that throws ends the run; at `complete` and `release` the replica is out of sync again, though it has what was sent. */
  readonly onStep?: (step: Step) => void | Promise<void>
  /** Aborting it is cancel(). */
  readonly signal?: AbortSignal
}

/** How a kind of run ends. */
export interface RunKind {
  readonly started: RecoveryEventName
  readonly completed: RecoveryEventName
  /** What an error of its I/O, or a refusal of what was recorded, means. */
  readonly reasonOf: (error: unknown) => EndReason
  /** The steps up to completion. */
  readonly work: (run: Run) => Promise<StreamGrant>
}

/** The first thing that went wrong. */
interface Failure {
  readonly reason: string
  readonly error: unknown
}

/** Of one plan, once. */
export class Run implements PlanOwner {
  readonly plan: RecoveryPlan
  readonly fence: Fence
  readonly sender: Sender
  /** What the result tells. */
  readonly counts = { achieved: 0, entries: 0, bytes: 0, fragmentsSent: 0, fragmentsReused: 0 }
  readonly #planner: Planner
  readonly #kind: RunKind
  readonly #o: ExecutorOptions
  readonly #abort = new AbortController()
  readonly #unsubscribe: () => void
  readonly #aborted = (): void => this.cancel(reasonText(this.#o.signal?.reason))
  #failure: Failure | undefined
  #isRunning = false
  #isOver = false
  #isComplete = false
  #hasGivenBack = false
  #steps = 0

  /** @throws PlanConsumedError, UnknownReplicaError */
  constructor(planner: Planner, plan: RecoveryPlan, kind: RunKind, o: ExecutorOptions) {
    this.#planner = planner
    this.#kind = kind
    this.#o = o
    this.plan = plan
    this.fence = plan.fence
    this.sender = planner.parts.registry.sender(plan.replicaId)
    planner.claim(plan, this)
    // Whoever ends the session ends the call that is out.
    this.#unsubscribe = this.sender.subscribe(({ ended, reason }) => {
      const { epoch, seq } = this.fence.sessionId
      if (ended?.epoch !== epoch || ended.seq !== seq) return
      this.#fail(reason, this.#fenced(reason))
      if (!this.#isRunning) this.#release(reason)
    })
    if (o.signal?.aborted === true) this.#aborted()
    else o.signal?.addEventListener('abort', this.#aborted, { once: true })
  }

  /** @throws ExecutorReusedError; SessionFencedError, CancelledError, CatchUpBudgetError, what the I/O throws */
  async run(): Promise<RunResult> {
    if (this.#isRunning) throw new ExecutorReusedError(`the run for replica ${this.plan.replicaId} has begun already`, this.#details())
    this.#isRunning = true
    try {
      this.#check()
      this.log(this.#kind.started, `(${this.plan.start}, ${this.plan.target}]`)
      const grant = await this.#kind.work(this)
      this.#isComplete = true
      await this.#told('complete', this.counts.achieved, 0)
      this.#checkGrant()
      this.#giveBack()
      await this.#told('release', this.counts.achieved, 0)
      this.#release('')
      this.log(this.#kind.completed, `at ${this.counts.achieved}`, this.counts)
      return { state: 'in_sync', ...this.counts, grant }
    } catch (error) {
      // What came first is why.
      const { reason, error: cause } = this.#failure ?? this.#fail(this.#reasonOf(error), error)
      this.#end(reason, cause)
      throw cause
    }
  }

  /** Ends the session and whatever call is out. After the end nothing happens. */
  cancel(reason: string): void {
    if (this.#failure !== undefined || this.#isOver || this.#isComplete) return
    this.#fail(
      reason,
      new CancelledError(`the run for replica ${this.plan.replicaId} was cancelled: ${reason}`, { details: { ...this.#details().details, reason } }),
    )
    this.#planner.endSession(this.plan, reason)
    if (!this.#isRunning) this.#release(reason)
  }

  /** One call of I/O, with a fence on both sides of it. */
  async io<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.checkFence()
    const timer = this.#watchBudget()
    try {
      const answer = await Promise.race([this.#stopped, call(this.#abort.signal)])
      this.#check()
      this.checkFence()
      return answer as T
    } finally {
      timer.stop()
    }
  }

  /** After what was recorded: tell, then see whether it may go on. */
  async step(kind: StepKind, lsn: number, bytes: number): Promise<void> {
    await this.#told(kind, lsn, bytes)
    this.checkFence()
    this.#checkBudget()
    this.#check()
  }

  /**
   * Records from `start` to `end` in steps.
   *
   * @param record  of what is durable there
   */
  async stream(
    io: Pick<CatchUpIO, 'stream'>,
    kind: StepKind,
    {
      start,
      end,
      entries,
      bytes: maxBytes,
      elideDead,
    }: { readonly start: number; readonly end: number; readonly entries: number; readonly bytes: number; readonly elideDead: boolean },
    record: (lsn: number) => void,
  ): Promise<void> {
    const { sender, fence, counts } = this
    const o: StreamOptions = { elideDead, ahead: end, maxBytes }
    let at = start
    while (at < end) {
      let sent = 0
      let recorded = at
      const upTo = Math.min(end, at + entries)
      const take = (lsn: number): void => {
        if (lsn <= recorded) return
        record(lsn)
        counts.entries += lsn - recorded
        recorded = lsn
      }
      // Recorded as it comes, so that a step over a slow link is not taken for a standstill. The sender refuses what is not of this session.
      const sink: StreamSink = ({ durableLsn, bytes }) => {
        if (this.#failure !== undefined) return
        if (bytes > sent) {
          sender.recordBytes(fence.sessionId, bytes - sent)
          counts.bytes += bytes - sent
          sent = bytes
        }
        take(Math.min(durableLsn, upTo))
      }
      const reached = await this.io((signal) => io.stream(fence, at, upTo, sink, signal, o))
      if (reached <= at) throw new RangeError(`the link says that ${reached} is durable after (${at}, ${upTo}] was sent`)
      take(reached)
      at = reached
      counts.achieved = reached
      await this.step(kind, reached, sent)
    }
  }

  /** Bytes that were verified there. */
  recordBytes(bytes: number): void {
    if (this.#failure !== undefined || bytes <= 0) return
    this.sender.recordBytes(this.fence.sessionId, bytes)
    this.counts.bytes += bytes
  }

  /** @throws SessionFencedError */
  checkFence(): void {
    this.#check()
    this.sender.checkFence(this.fence)
  }

  /** Completed, and what was granted still holds. @throws SessionFencedError */
  #checkGrant(): void {
    const { sender, fence } = this
    if (sender.state !== 'in_sync' || sender.epoch !== fence.epoch || sender.endpoint.version !== fence.endpointVersion) {
      throw this.#fail(sender.status().reason, this.#fenced(sender.status().reason)).error
    }
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  #checkBudget(): void {
    if (this.#failure !== undefined) return
    const verdict = this.#quietly(() => this.sender.checkBudget(this.fence.sessionId))
    if (verdict === 'ok') return
    const details = { ...this.#details().details, verdict }
    const error = new CatchUpBudgetError(`the recovery of replica ${this.plan.replicaId} went over its budget: ${verdict}`, { details })
    throw this.#fail(`budget_${verdict}`, error).error
  }

  /** What this run does to its session is not news to it. */
  #isQuiet = false
  #quietly<T>(work: () => T): T {
    this.#isQuiet = true
    try {
      return work()
    } finally {
      this.#isQuiet = false
    }
  }

  #watchBudget(): { stop(): void } {
    const { timers } = this.#planner.parts.world
    const everyMs = budgetCheckMs(this.sender.session()!.budget)
    if (everyMs === undefined) return { stop: () => undefined }
    let timer: TimerHandle | undefined
    const look = (): void => {
      timer = undefined
      try {
        this.sender.checkFence(this.fence)
        this.#checkBudget()
      } catch {
        return
      }
      timer = timers.set(everyMs, look)
    }
    timer = timers.set(everyMs, look)
    return { stop: () => timer !== undefined && timers.clear(timer) }
  }

  async #told(kind: StepKind, lsn: number, bytes: number): Promise<void> {
    const step: Step = Object.freeze({ index: this.#steps++, kind, lsn, bytes })
    this.log('exec_step', `${step.index} ${kind} at ${lsn}`, { ...step })
    const { failpoints } = this.#planner.parts.world
    try {
      if (failpoints.active) await failpoints.hit(FP.ship.stepHook, { kind, index: step.index })
      await this.#o.onStep?.(step)
    } catch (cause) {
      if (this.#failure !== undefined) throw this.#failure.error
      const reason = 'step_hook_failed'
      const error = new CancelledError(`onStep of the run for replica ${this.plan.replicaId} failed at ${kind}: ${textOf(cause)}`, {
        details: { ...this.#details().details, reason },
        cause,
      })
      throw this.#fail(reason, error).error
    }
  }

  /** Resolves never; rejects with the first failure. */
  readonly #stopped: Promise<never> = new Promise((_, reject) => {
    this.#abort.signal.addEventListener('abort', () => reject(this.#failure?.error as Error), { once: true })
  })

  #fail(reason: string, error: unknown): Failure {
    if (this.#isQuiet) return { reason, error }
    if (this.#failure === undefined) {
      this.#failure = { reason, error }
      this.#stopped.catch(() => undefined)
      this.#abort.abort(error)
    }
    return this.#failure
  }

  /** A newer primary that was met ends every session, this one too. */
  #reasonOf(error: unknown): string {
    const { registry } = this.#planner.parts
    const { replicaId, fence } = this.plan
    const isFenced = this.#quietly(() => noteFence(registry, replicaId, fence.epoch, error))
    return isFenced ? 'fenced' : this.#kind.reasonOf(error)
  }

  /** The session is over, then the pins go. */
  #end(reason: string, error: unknown): void {
    const { sender, fence, plan } = this
    if (this.#isComplete) {
      // Nothing is left to invalidate, and the run that was to hand it on ends here.
      this.log('session_invalidated', reason, { reason, isComplete: true })
      sender.markDegraded(reason, textOf(error))
    } else if (error instanceof CancelledError) this.#planner.endSession(plan, reason)
    else sender.fail(fence.sessionId, reason as EndReason, textOf(error))
    this.#release(reason)
  }

  #giveBack(): void {
    if (this.#hasGivenBack) return
    this.#hasGivenBack = true
    this.#unsubscribe()
    this.#o.signal?.removeEventListener('abort', this.#aborted)
    this.#planner.release(this.plan)
  }

  #release(reason: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#giveBack()
    this.log('exec_resources_released', reason, { reason, pins: this.plan.pins.length })
  }

  #fenced(reason: string): SessionFencedError {
    return new SessionFencedError(`the session of the run for replica ${this.plan.replicaId} is over: ${reason}`, this.#details())
  }

  #details(): { readonly details: { readonly replicaId: string; readonly sessionId: Fence['sessionId'] } } {
    return { details: { replicaId: this.plan.replicaId, sessionId: this.fence.sessionId } }
  }

  log(event: RecoveryEventName, detail: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#planner.parts.log.append(event, this.plan.replicaId, this.fence.sessionId, detail, fields)
  }
}

/** Why a signal was aborted. */
function reasonText(reason: unknown): string {
  if (typeof reason === 'string') return reason
  return reason instanceof CancelledError ? reason.reason : reason instanceof Error ? reason.message : 'aborted'
}
