// upkeep/pacer.ts: how fast a run of upkeep may go: its turns of the event loop, its place behind commits, its bytes a second and its time.
//
// Invariant: between two turns of the event loop a run works some milliseconds; while commits wait for their group a run in the background does nothing, and
// goes on when those that were queued then are durable, so that a busy store is not waited for for ever.

import type { World } from '../runtime/index.ts'
import { soon } from '../runtime/index.ts'

/** As table/pace.ts: half a frame. */
const WORK_MS = 8
/** A debt of bytes below this is not slept off. */
const SLEEP_MS_MIN = 5

export interface PacerOptions {
  readonly world: World
  /** Throws when the store is closed. */
  readonly check: () => void
  /** Bytes read and written a second; undefined: as fast as it goes. */
  readonly bytesPerSecond?: number | undefined
  /** Time after which no further group is begun. */
  readonly budgetMs?: number | undefined
  /** Commits that wait, to be let through first; undefined: nobody waits. */
  readonly commits?: (() => Promise<void> | undefined) | undefined
  /** Told of rows that went by. */
  readonly onRows?: ((rows: number) => void) | undefined
}

export class Pacer {
  private readonly o: PacerOptions
  private readonly startedMs: number
  private turnMs: number
  private bytes = 0

  constructor(o: PacerOptions) {
    this.o = o
    this.startedMs = this.turnMs = o.world.clock.monoMs()
  }

  /** No further group is to be begun. */
  get isOver(): boolean {
    const { budgetMs, world } = this.o
    return budgetMs !== undefined && world.clock.monoMs() - this.startedMs >= budgetMs
  }

  /** Between pieces of work on this thread. Rejects with the signal's reason, or ClosedError; undefined = go on. */
  step(bytes: number, signal: AbortSignal): Promise<void> | undefined {
    signal.throwIfAborted()
    this.o.check()
    this.bytes += bytes
    const now = this.o.world.clock.monoMs()
    return now - this.turnMs < WORK_MS && this.debtMs(now) < SLEEP_MS_MIN ? undefined : this.turn(signal)
  }

  async wrote(bytes: number, signal: AbortSignal): Promise<void> {
    this.bytes += bytes
    await this.step(0, signal)
  }

  rows(rows: number): void {
    this.o.onRows?.(rows)
  }

  private async turn(signal: AbortSignal): Promise<void> {
    const { world, commits } = this.o
    await new Promise<void>((resolve) => soon(resolve))
    // What they fail with is their callers' to hear.
    await commits?.()?.catch(() => undefined)
    const debtMs = this.debtMs(world.clock.monoMs())
    if (debtMs >= SLEEP_MS_MIN) await world.timers.sleep(debtMs, signal)
    this.turnMs = world.clock.monoMs()
    signal.throwIfAborted()
    this.o.check()
  }

  /** How far it is ahead of its bytes a second. */
  private debtMs(now: number): number {
    const { bytesPerSecond } = this.o
    return bytesPerSecond === undefined ? 0 : (this.bytes / bytesPerSecond) * 1000 - (now - this.startedMs)
  }
}
