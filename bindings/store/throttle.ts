// store/throttle.ts: slows writers down while a replica cannot keep up: so many writes in each interval, fewer with every step. Nobody is stopped for good.

import type { World } from '../runtime/index.ts'

const INTERVAL_MS = 20
const WRITES_FIRST = 256
const WRITES_LEAST = 4

export class Throttle {
  private readonly timers: World['timers']
  private readonly slowing = new Set<string>()
  /** Of one interval; 0: as many as want to. */
  private writes = 0
  private left = 0
  private interval: Promise<void> | undefined

  constructor(timers: World['timers']) {
    this.timers = timers
  }

  get isOn(): boolean {
    return this.slowing.size > 0
  }

  /** Each time it is asked for again while it is on, a quarter of the writes pass. */
  set(id: string, on: boolean): void {
    if (!on) {
      this.slowing.delete(id)
      if (!this.isOn) this.writes = 0
      return
    }
    this.slowing.add(id)
    this.writes = this.writes === 0 ? WRITES_FIRST : Math.max(WRITES_LEAST, this.writes >>> 2)
  }

  clear(): void {
    this.slowing.clear()
    this.writes = 0
  }

  /** Before a write; undefined: it may go on. Who waited asks again. */
  room(): Promise<void> | undefined {
    if (!this.isOn) return undefined
    if (this.interval === undefined) {
      this.left = this.writes
      this.interval = new Promise((resolve) =>
        this.timers.set(INTERVAL_MS, () => {
          this.interval = undefined
          resolve()
        }),
      )
    }
    return this.left-- > 0 ? undefined : this.interval
  }
}
