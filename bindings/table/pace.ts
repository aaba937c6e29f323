// table/pace.ts: manners of a long read: it gives the event loop its turn, notices abort and close, and reports progress.
//
// Invariant: between two turns of the event loop a read works about WORK_MS, whatever the data; nothing is checked per row.

import { soon, type World } from '../runtime/index.ts'
import type { Long, Progress } from './types-read.ts'

/** Half a frame at 60 Hz: long enough that yielding costs little, short enough that a server stays responsive. */
const WORK_MS = 8
const REPORT_MS = 100

export interface PaceOptions extends Long {
  readonly world: World
  /** Throws ClosedError when the store was closed. */
  readonly check: () => void
  readonly table: string
  readonly phase: string
  /** undefined: not known. */
  readonly total: number | undefined
}

export class Pace {
  readonly #o: PaceOptions
  #listener: ((p: Progress) => void) | undefined
  readonly #startedMs: number
  #turnMs: number
  #reportedMs: number
  #done = 0

  constructor(o: PaceOptions) {
    this.#o = o
    this.#listener = o.onProgress
    this.#startedMs = this.#turnMs = this.#reportedMs = o.world.clock.monoMs()
    this.#report(0, this.#startedMs)
  }

  /** Call between batches, or every few thousand rows; `done` undefined: as before. Rejects with the signal's reason, or with ClosedError; undefined = go on at once. */
  step(done: number | undefined): Promise<void> | undefined {
    this.check()
    if (done !== undefined) this.#done = done
    const now = this.#o.world.clock.monoMs()
    if (this.#listener !== undefined && now - this.#reportedMs >= REPORT_MS) this.#report(this.#done, now)
    return now - this.#turnMs < WORK_MS ? undefined : this.#turn()
  }

  /** Throws the signal's reason, or ClosedError. */
  check(): void {
    this.#o.signal?.throwIfAborted()
    this.#o.check()
  }

  /** The work waited for I/O: the loop had its turn. */
  rested(): void {
    this.#turnMs = this.#o.world.clock.monoMs()
  }

  /** The last report. */
  finish(done: number): void {
    this.#report(done, this.#o.world.clock.monoMs())
  }

  async #turn(): Promise<void> {
    await new Promise<void>((resolve) => soon(resolve))
    this.rested()
    this.check()
  }

  #report(done: number, now: number): void {
    if (this.#listener === undefined) return
    this.#reportedMs = now
    const { phase, table, total } = this.#o
    try {
      this.#listener({ phase, done, ...(total === undefined ? {} : { total }), unit: 'rows', table, elapsedMs: now - this.#startedMs })
    } catch (error) {
      this.#listener = undefined
      this.#o.world.logger.log({
        level: 'warn',
        code: 'progress.listener-failed',
        table,
        message: `the progress listener threw and was dropped: ${String(error)}`,
      })
    }
  }
}
