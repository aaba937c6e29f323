// ship/catch-up-executor.ts: runs the plan of a catch-up: [truncate] first, then the records in steps, up to the frozen target.

import {
  CommittedTruncationError,
  CompletionRejectedError,
  FragmentHashError,
  FrozenTargetError,
  PhaseError,
  ProgressRegressionError,
  SnapshotAboveTruncationError,
  TruncationMismatchError,
  TruncationNotRequiredError,
  TruncationUnsafeError,
  WrongSessionKindError,
} from '../errors-ship.ts'
import { type ExecutorOptions, Run, type RunKind, STEP_BYTES, STEP_ENTRIES } from './executor.ts'
import type { Planner } from './planner.ts'
import type { EndReason } from './session-phase.ts'
import type { CatchUpIO, RecoveryPlan, RunResult, StreamGrant } from './types.ts'

export interface CatchUpExecutorOptions extends ExecutorOptions {
  readonly io: CatchUpIO
  /** Records of one step. Default 512. */
  readonly stepEntries?: number
  /** Bytes of records after which a step ends early. Default 4 MiB. */
  readonly stepBytes?: number
}

/**
 * Runs one plan of a catch-up, once.
 *
 * @example const { achieved, grant } = await new CatchUpExecutor(planner, plan, { io }).run()
 */
export class CatchUpExecutor {
  readonly #run: Run

  /** @throws PlanConsumedError; WrongSessionKindError: the plan is no catch-up */
  constructor(planner: Planner, plan: RecoveryPlan, o: CatchUpExecutorOptions) {
    if (plan.outcome !== 'catch_up' || plan.rebuild !== null) {
      throw new WrongSessionKindError(`the plan for replica ${plan.replicaId} is ${plan.rebuild === null ? plan.outcome : 'a rebuild'}, not a catch-up`, {
        details: { replicaId: plan.replicaId, sessionId: plan.fence.sessionId },
      })
    }
    this.#run = new Run(planner, plan, { ...CATCH_UP, work: (run) => catchUp(run, o) }, o)
  }

  /**
   * @throws ExecutorReusedError; SessionFencedError, CancelledError, CatchUpBudgetError, CommittedTruncationError, TruncationUnsafeError, CompletionRejectedError,
   *   TransportError, and what else the I/O throws: the session is over and the pins are given back
   */
  run(): Promise<RunResult> {
    return this.#run.run()
  }

  /** Ends the run and its session for `reason`; after the end nothing happens. */
  cancel(reason: string): void {
    this.#run.cancel(reason)
  }
}

const REFUSED = [
  CompletionRejectedError,
  FrozenTargetError,
  PhaseError,
  ProgressRegressionError,
  RangeError,
  TruncationMismatchError,
  TruncationNotRequiredError,
  WrongSessionKindError,
]

const CATCH_UP: Omit<RunKind, 'work'> = {
  started: 'exec_catchup_started',
  completed: 'exec_completed',
  reasonOf: (error): EndReason => {
    if (error instanceof CommittedTruncationError) return 'committed_truncation'
    if (error instanceof TruncationUnsafeError || error instanceof SnapshotAboveTruncationError) return 'truncation_unsafe'
    if (error instanceof FragmentHashError) return 'hash_mismatch'
    return REFUSED.some((each) => error instanceof each) ? 'completion_rejected' : 'transport_failed'
  },
}

async function catchUp(run: Run, { io, stepEntries = STEP_ENTRIES, stepBytes = STEP_BYTES }: CatchUpExecutorOptions): Promise<StreamGrant> {
  const { plan, sender, fence, counts } = run
  const { sessionId } = fence
  const { start, target, truncateTo, elideDead } = plan
  run.checkFence()
  sender.beginCatchUp(sessionId)
  counts.achieved = start
  await run.step('begin', start, 0)
  if (truncateTo !== null) {
    const cut = await run.io((signal) => io.truncate(fence, truncateTo, signal))
    sender.recordTruncation(sessionId, cut)
    await run.step('truncate', cut, 0)
  }
  await run.stream(io, 'progress', { start, end: target, entries: stepEntries, bytes: stepBytes, elideDead }, (lsn) => sender.recordProgress(sessionId, lsn))
  run.checkFence()
  return sender.completeCatchUp(sessionId)
}
