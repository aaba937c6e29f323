// ship/rebuild-slots.ts: how many replicas are rebuilt at once, the one that is least behind first.
import type { World } from '../runtime/index.ts'

/** Those who ask at about the same time are put in order. */
const GATHER_MS = 20

interface Waiting {
  readonly lag: () => number
  readonly grant: () => void
}

export class RebuildSlots {
  readonly #timers: World['timers']
  readonly #askers: () => number
  readonly #max: number
  #free: number
  #waiting: Waiting[] = []
  #isGathering = false

  /** @param askers  how many there are who may ask: when nobody else is left, nobody is waited for */
  constructor(timers: World['timers'], max: number, askers: () => number) {
    this.#timers = timers
    this.#askers = askers
    this.#free = this.#max = max
  }

  /** Resolves when there is a place. @throws the signal's reason */
  async take(lag: () => number, signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiting: Waiting = { lag, grant: resolve }
    const abort = (): void => {
      if (!this.#waiting.includes(waiting)) return
      this.#waiting = this.#waiting.filter((other) => other !== waiting)
      reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    this.#waiting.push(waiting)
    this.#gather()
    try {
      await promise
    } finally {
      signal.removeEventListener('abort', abort)
    }
    let isHeld = true
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return
        isHeld = false
        this.#free++
        this.#gather()
      },
    }
  }

  #gather(): void {
    if (this.#isGathering || this.#free === 0 || this.#waiting.length === 0) return
    if (this.#waiting.length + this.#max - this.#free >= this.#askers()) return this.#grant()
    this.#isGathering = true
    this.#timers.set(GATHER_MS, () => {
      this.#isGathering = false
      this.#grant()
    })
  }

  #grant(): void {
    const byLag = this.#waiting.map((each) => ({ each, lag: each.lag() })).sort((a, b) => a.lag - b.lag)
    for (const { each } of byLag.slice(0, this.#free)) {
      this.#free--
      this.#waiting = this.#waiting.filter((other) => other !== each)
      each.grant()
    }
  }
}
