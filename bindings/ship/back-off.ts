// ship/back-off.ts: how long to wait before a replica is tried again: 100 ms x 2^n, +-20 %, at most 10 s; from the beginning after a success.
import type { World } from '../runtime/index.ts'

const FIRST_MS = 100
const MAX_MS = 10_000
const JITTER = 0.2
const U32 = 4_294_967_296

export class BackOff {
  readonly #random: World['random']
  #failures = 0

  constructor(random: World['random']) {
    this.#random = random
  }

  /** After a failure. */
  nextMs(): number {
    const ms = Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(30, this.#failures++))
    return ms * (1 - JITTER + (2 * JITTER * this.#random.u32()) / U32)
  }

  reset(): void {
    this.#failures = 0
  }
}
