// root/back-off.ts: how long to wait before the same request is made again (roots.md section 4): full jitter, a bounded number of attempts, a deadline.
//
// Invariant: at most `attempts` attempts and none that begins after the deadline; waits and dice are the world's, so a seed gives the same waits.
import { StorageError } from '../errors.ts'
import type { World } from '../runtime/index.ts'

export interface RetryOptions {
  /** Requests in all. Default 8. */
  readonly attempts: number
  /** The first wait is 0..baseMs, and doubles. Default 50. */
  readonly baseMs: number
  /** No wait is longer. Default 5,000. */
  readonly capMs: number
  /** No attempt begins later than this after the first. Default 30,000. */
  readonly deadlineMs: number
}

export const RETRY: RetryOptions = Object.freeze({ attempts: 8, baseMs: 50, capMs: 5_000, deadlineMs: 30_000 })

export type BackOffWorld = Pick<World, 'clock' | 'timers' | 'random'>

export class BackOff {
  /** Waits so far. */
  waits = 0
  readonly #world: BackOffWorld
  readonly #o: RetryOptions
  readonly #endMs: number

  constructor(world: BackOffWorld, o: Partial<RetryOptions> = {}) {
    this.#world = world
    this.#o = { ...RETRY, ...o }
    this.#endMs = world.clock.monoMs() + this.#o.deadlineMs
  }

  /** Waits before the next attempt. @returns false when there is to be none */
  async next(error?: unknown, signal?: AbortSignal): Promise<boolean> {
    if (this.waits + 1 >= this.#o.attempts) return false
    const { random, timers, clock } = this.#world
    const bound = Math.min(this.#o.capMs, this.#o.baseMs * 2 ** this.waits)
    this.waits++
    const waitMs = Math.max((random.u32() / 2 ** 32) * bound, Math.min(retryAfterMs(error), this.#o.capMs))
    if (clock.monoMs() + waitMs > this.#endMs) return false
    await timers.sleep(waitMs, signal, true)
    return true
  }
}

/** Runs something that changes nothing, again and again while the place is unavailable. */
export async function readAgain<T>(world: BackOffWorld, read: () => Promise<T>, o: Partial<RetryOptions> = {}, signal?: AbortSignal): Promise<T> {
  let backOff: BackOff | undefined
  for (;;) {
    try {
      return await read()
    } catch (error) {
      if (!isPassing(error)) throw error
      backOff ??= new BackOff(world, o)
      if (!(await backOff.next(error, signal))) throw error
    }
  }
}

/** Whether the same read may succeed a moment later. */
function isPassing(error: unknown): boolean {
  return error instanceof StorageError && (error.class === 'unavailable' || error.class === 'timeout' || error.class === 'unknown')
}

/** What the place itself asked for (`Retry-After`), in milliseconds. */
function retryAfterMs(error: unknown): number {
  const asked = error instanceof StorageError ? error.details['retryAfterMs'] : undefined
  return typeof asked === 'number' && asked > 0 ? asked : 0
}
