// runtime/parking.ts: where a failpoint holds those that arrive until a test lets them go.
//
// Invariant: nobody waits for ever. Both the world's timers and the machine's bound a wait, since a simulated clock may stand still.
import { systemTimers } from './clock.ts'
import { FailpointError } from './failpoint-error.ts'
import type { TimerHandle, World } from './world.ts'

type Timers = Pick<World['timers'], 'set' | 'clear'>

export class Parking {
  /** Somebody waited longer than allowed. */
  overdue = false
  readonly #name: string
  readonly #timers: readonly Timers[]
  readonly #leave: (() => void)[] = []
  readonly #arrived: (() => void)[] = []
  #open = false
  #reached = false

  /** @param name  of the failpoint, for messages */
  constructor(name: string, timers?: Partial<World['timers']>) {
    this.#name = name
    const own = timers?.set === undefined || timers.clear === undefined || timers === systemTimers ? [] : [timers as Timers]
    this.#timers = [...own, systemTimers]
  }

  arrive(): void {
    this.#reached = true
    for (const tell of this.#arrived.splice(0)) tell()
  }

  /** Resolves at release(). Rejects after `boundMs`. */
  park(boundMs: number): Promise<void> {
    if (this.#open) return Promise.resolve()
    return this.#bounded(this.#leave, boundMs, () => {
      this.overdue = true
      return `parked for ${boundMs / 1000} s and not released`
    })
  }

  /** Resolves once somebody has arrived. Rejects after `boundMs`. */
  reached(boundMs: number): Promise<void> {
    if (this.#reached) return Promise.resolve()
    return this.#bounded(this.#arrived, boundMs, () => `nobody arrived within ${boundMs / 1000} s`)
  }

  release(): void {
    this.#open = true
    for (const leave of this.#leave.splice(0)) leave()
  }

  #bounded(list: (() => void)[], boundMs: number, failed: () => string): Promise<void> {
    return new Promise((resolve, reject) => {
      const handles: TimerHandle[] = []
      const stop = (): void => {
        for (const [i, handle] of handles.entries()) this.#timers[i]!.clear(handle)
      }
      const done = (): void => {
        stop()
        resolve()
      }
      list.push(done)
      for (const timers of this.#timers) {
        handles.push(
          timers.set(boundMs, () => {
            stop()
            const at = list.indexOf(done)
            if (at >= 0) list.splice(at, 1)
            reject(new FailpointError(`${this.#name}: ${failed()}`))
          }),
        )
      }
    })
  }
}
