// ship/rebuild-executor.ts: runs the plan of a rebuild: base, its files, install, then the tail (snapshot) or what was committed meanwhile (full base).
//
// Source, base and targets are the plan's, whatever has become of them since: its pins see to it that they are still there.

import {
  AchievedBelowTargetError,
  BaseIncompleteError,
  BoundaryMismatchError,
  CommittedTruncationError,
  FragmentHashError,
  FrozenTargetError,
  ManifestHashError,
  NotReadyError,
  NoTailError,
  PhaseError,
  ProgressRegressionError,
  WrongSessionKindError,
} from '../errors-ship.ts'
import { type ExecutorOptions, Run, type RunKind, STEP_BYTES, STEP_ENTRIES } from './executor.ts'
import type { Planner } from './planner.ts'
import type { RebuildDecision } from './rebuild-source.ts'
import type { EndReason } from './session-phase.ts'
import type { RebuildIO, RecoveryPlan, RunResult, StreamGrant } from './types.ts'

export interface RebuildExecutorOptions extends ExecutorOptions {
  readonly io: RebuildIO
  /** Of a full base: replay what was committed while it moved before the stream takes over. Default true. */
  readonly secondCatchUp?: boolean
}

/**
 * Runs one plan of a rebuild, once.
 *
 * @example const { achieved, fragmentsReused } = await new RebuildExecutor(planner, plan, { io }).run()
 */
export class RebuildExecutor {
  readonly #run: Run

  /** @throws PlanConsumedError; WrongSessionKindError: the plan is no rebuild */
  constructor(planner: Planner, plan: RecoveryPlan, o: RebuildExecutorOptions) {
    const { rebuild } = plan
    if (rebuild === null) {
      throw new WrongSessionKindError(`the plan for replica ${plan.replicaId} is ${plan.outcome}, not a rebuild`, {
        details: { replicaId: plan.replicaId, sessionId: plan.fence.sessionId },
      })
    }
    this.#run = new Run(planner, plan, { ...REBUILD, work: (run) => rebuilt(run, rebuild, o, () => committedNow(planner)) }, o)
  }

  /**
   * @throws ExecutorReusedError; SessionFencedError, CancelledError, CatchUpBudgetError, CommittedTruncationError, BoundaryMismatchError, FragmentHashError,
   *   TransportError, and what else the I/O throws: the session is over, the pins are given back, and the replica keeps what it has staged
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
  AchievedBelowTargetError,
  BaseIncompleteError,
  FrozenTargetError,
  NotReadyError,
  NoTailError,
  PhaseError,
  ProgressRegressionError,
  RangeError,
  WrongSessionKindError,
]

const REBUILD: Omit<RunKind, 'work'> = {
  started: 'exec_rebuild_started',
  completed: 'exec_rebuild_completed',
  reasonOf: (error): EndReason => {
    if (error instanceof CommittedTruncationError) return 'committed_truncation'
    if (error instanceof FragmentHashError || error instanceof ManifestHashError) return 'hash_mismatch'
    return REFUSED.some((each) => error instanceof each) ? 'completion_rejected' : 'transfer_failed'
  },
}

async function committedNow({ parts }: Planner): Promise<number> {
  return (await parts.history.read({ positions: true })).committedLsn
}

async function rebuilt(
  run: Run,
  rebuild: NonNullable<RecoveryPlan['rebuild']>,
  { io, secondCatchUp = true }: RebuildExecutorOptions,
  committed: () => Promise<number>,
): Promise<StreamGrant> {
  const { sender, fence, counts } = run
  const { sessionId } = fence
  const { source, baseLsn, target, manifest } = rebuild
  run.checkFence()
  sender.selectSource(sessionId, decisionOf(rebuild))
  sender.beginTransfer(sessionId)
  await run.step('begin', 0, 0)
  await transfer(run, io, rebuild)
  const installed = await run.io((signal) => io.install(fence, signal))
  if (installed !== baseLsn) {
    throw new BoundaryMismatchError(`the replica installed a base at ${installed}, it was sent that at ${baseLsn}`, {
      details: { replicaId: fence.replicaId, sessionId, expected: baseLsn, actual: installed },
    })
  }
  sender.recordTransfer(sessionId, baseLsn)
  counts.achieved = baseLsn
  run.log('installed', `base at ${baseLsn}`, { baseLsn, files: manifest.files.length, sent: counts.fragmentsSent })
  await run.step('install', baseLsn, 0)
  const pieces = { entries: STEP_ENTRIES, bytes: STEP_BYTES, elideDead: false }
  if (source === 'snapshot_tail') {
    sender.beginTailReplay(sessionId)
    await run.stream(io, 'tail', { start: baseLsn, end: target, ...pieces }, (lsn) => sender.recordTail(sessionId, lsn))
  } else if (secondCatchUp) {
    const end = await run.io(committed)
    if (end > baseLsn) {
      sender.beginSecondCatchUp(sessionId, end)
      await run.stream(io, 'second_catchup', { start: baseLsn, end, ...pieces }, (lsn) => sender.recordTransfer(sessionId, lsn))
    }
  }
  run.checkFence()
  if (counts.achieved < target) {
    throw new AchievedBelowTargetError(`the rebuild of replica ${fence.replicaId} ended at ${counts.achieved}, below its target ${target}`, {
      details: { replicaId: fence.replicaId, sessionId, achieved: counts.achieved, target },
    })
  }
  return sender.completeRebuild(sessionId)
}

/** The manifest, then what the replica lacks of it. */
async function transfer(run: Run, io: RebuildIO, { baseLsn, manifest }: NonNullable<RecoveryPlan['rebuild']>): Promise<void> {
  const { fence, counts } = run
  const want = await run.io((signal) => io.beginBase(fence, manifest, signal))
  counts.fragmentsReused = manifest.files.length + 1 - want.length
  await run.step('base', baseLsn, 0)
  let [files, bytes] = [0, 0]
  const before = counts.bytes
  await run.io((signal) =>
    io.sendFragments(
      fence,
      want,
      (progress) => {
        run.recordBytes(progress.bytes - bytes)
        files = Math.max(files, progress.files)
        bytes = Math.max(bytes, progress.bytes)
        counts.fragmentsSent = files
      },
      signal,
    ),
  )
  await run.step('fragment', baseLsn, counts.bytes - before)
}

function decisionOf({ source, baseLsn, target, reason }: NonNullable<RecoveryPlan['rebuild']>): RebuildDecision {
  return { source, baseLsn, target, reason: reason as RebuildDecision['reason'] }
}
