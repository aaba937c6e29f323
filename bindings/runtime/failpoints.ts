// runtime/failpoints.ts: named places where a test makes something go wrong (recovery.md section 15).
//
// A site reads `failpoints.active` first, so an unarmed store pays one field load and builds no string. A registry belongs to one World, not to the
// process: tests run in parallel and two stores in one test fail differently.
import { StorageError, type StorageErrorClass } from '../errors.ts'

import type { Failpoints, World } from './world.ts'

type Context = Readonly<Record<string, unknown>>

export interface FailpointAction {
  /** Throw: a StorageError of this class, or this very error. */
  readonly error?: StorageErrorClass | Error
  /** Wait on the world's clock before going on; asynchronous sites only. */
  readonly delayMs?: number
  /** Run this; it may throw, or (asynchronous sites) be waited for. */
  readonly run?: (context: Context) => unknown
  /** How often it acts; default: every time. */
  readonly times?: number
  /** Arrivals that pass before it acts; default 0. */
  readonly after?: number
  /** Acts only where this is true; other arrivals do not count. */
  readonly when?: (context: Context) => boolean
}

export interface ArmedFailpoint extends Disposable {
  /** Arrivals so far, and how many of them were acted on. */
  readonly hits: number
  readonly fired: number
}

interface Armed {
  readonly action: FailpointAction
  hits: number
  fired: number
}

const NO_CONTEXT: Context = Object.freeze({})

/** For worlds that test nothing: never active. */
export const NO_FAILPOINTS: Failpoints = Object.freeze({ active: false, hit: async () => {}, hitSync: () => {} })

/** The armed points of one world. @example const fp = new FailpointRegistry(world.timers); using armed = fp.arm('log.beforeSync', { error: 'io', times: 1 }) */
export class FailpointRegistry implements Failpoints {
  readonly #armed = new Map<string, Armed[]>()
  readonly #timers: Pick<World['timers'], 'sleep'> | undefined
  readonly #seen = new Map<string, number>()

  constructor(timers?: Pick<World['timers'], 'sleep'>) {
    this.#timers = timers
  }

  get active(): boolean {
    return this.#armed.size > 0 || this.#counting
  }

  #counting = false
  /** Counts every arrival from now on, armed or not: how a test learns which points a workload passes. */
  count(): ReadonlyMap<string, number> {
    this.#counting = true
    return this.#seen
  }

  arm(name: string, action: FailpointAction): ArmedFailpoint {
    const armed: Armed = { action, hits: 0, fired: 0 }
    this.#armed.set(name, [...(this.#armed.get(name) ?? []), armed])
    return {
      get hits() {
        return armed.hits
      },
      get fired() {
        return armed.fired
      },
      [Symbol.dispose]: () => {
        const rest = (this.#armed.get(name) ?? []).filter((other) => other !== armed)
        if (rest.length === 0) this.#armed.delete(name)
        else this.#armed.set(name, rest)
      },
    }
  }

  async hit(name: string, context: Context = NO_CONTEXT): Promise<void> {
    for (const armed of this.#due(name, context)) {
      const { delayMs, run, error } = armed.action
      if (delayMs !== undefined) await this.#timers?.sleep(delayMs)
      if (run !== undefined) await run(context)
      if (error !== undefined) throw toError(error, name)
    }
  }

  hitSync(name: string, context: Context = NO_CONTEXT): void {
    for (const armed of this.#due(name, context)) {
      armed.action.run?.(context)
      if (armed.action.error !== undefined) throw toError(armed.action.error, name)
    }
  }

  #due(name: string, context: Context): readonly Armed[] {
    if (this.#counting) this.#seen.set(name, (this.#seen.get(name) ?? 0) + 1)
    const due: Armed[] = []
    for (const armed of this.#armed.get(name) ?? []) {
      const { after = 0, times = Infinity, when } = armed.action
      if (when !== undefined && !when(context)) continue
      armed.hits++
      if (armed.hits <= after || armed.fired >= times) continue
      armed.fired++
      due.push(armed)
    }
    return due
  }
}

function toError(error: StorageErrorClass | Error, name: string): Error {
  return typeof error === 'string' ? new StorageError(`failpoint ${name}: ${error}`, { details: { op: name, name, class: error } }) : error
}
