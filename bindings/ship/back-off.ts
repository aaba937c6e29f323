// ship/back-off.ts: how long to wait before a replica is tried again: 100 ms x 2^n, +-20 %, at most 10 s; from the beginning after a success.
//
// The pauses are for replicas that answer and whose sessions fail. One that does not answer at all is looked for in between, every 120 to 150 ms for the first ten
// seconds: a look is a connection and a hello that changes nothing, and whoever is back is not left waiting for the end of a long pause.
// A live stream that was opened is no success yet: where a record or a file cannot be read here, or not be kept there, each of them fails at once.
import type { World } from '../runtime/index.ts'

const FIRST_MS = 100
const MAX_MS = 10_000
const JITTER = 0.2
const LOOK_MS = 150
const LOOKING_MS = 10_000
const U32 = 4_294_967_296

export class BackOff {
  readonly #random: World['random']
  #failures = 0
  /** Since when nobody answers. */
  #silentMs: number | undefined

  constructor(random: World['random']) {
    this.#random = random
  }

  /** After a failure. */
  nextMs(): number {
    const ms = Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(30, this.#failures++))
    return ms * (1 - JITTER + (2 * JITTER * this.#random.u32()) / U32)
  }

  /** A success. */
  reset(): void {
    this.#failures = 0
  }

  /** A live stream is over: one that lasted as long as the longest pause was a success, whatever came of it. */
  lasted(ms: number): void {
    if (ms >= MAX_MS) this.reset()
  }

  answered(): void {
    this.#silentMs = undefined
  }

  unanswered(nowMs: number): void {
    this.#silentMs ??= nowMs
  }

  /** How long until the next look; undefined: there is none. */
  lookMs(nowMs: number): number | undefined {
    if (this.#silentMs === undefined || nowMs - this.#silentMs >= LOOKING_MS) return undefined
    return LOOK_MS * (1 - (JITTER * this.#random.u32()) / U32)
  }
}
