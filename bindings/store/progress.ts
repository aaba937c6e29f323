// store/progress.ts: what a caller's onProgress hears of a call: the first, the last, and at most ten a second between.
//
// Invariant: a listener that throws is logged and dropped; the call goes on.

import type { World } from '../runtime/index.ts'
import type { Progress } from '../table/index.ts'

const REPORT_MS = 100

export type Step = Omit<Progress, 'elapsedMs'>

export class Reporter {
  private readonly world: World
  private readonly startedMs: number
  private listener: ((p: Progress) => void) | undefined
  private reportedMs = Number.NEGATIVE_INFINITY

  constructor(world: World, listener: ((p: Progress) => void) | undefined) {
    this.world = world
    this.listener = listener
    this.startedMs = world.clock.monoMs()
  }

  /** A step between: told unless another one was just told. */
  step(step: Step): void {
    if (this.listener !== undefined && this.world.clock.monoMs() - this.reportedMs >= REPORT_MS) this.tell(step)
  }

  /** The first or the last. */
  tell(step: Step): void {
    if (this.listener === undefined) return
    const now = this.world.clock.monoMs()
    this.reportedMs = now
    try {
      this.listener({ ...step, elapsedMs: now - this.startedMs })
    } catch (cause) {
      this.listener = undefined
      this.world.logger.log({ level: 'warn', code: 'progress.listener-failed', phase: step.phase, cause })
    }
  }
}
