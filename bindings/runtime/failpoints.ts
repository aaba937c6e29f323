// runtime/failpoints.ts: makes something go wrong at a named place (failpoint-names.ts; recovery.md section 15).
//
// A site reads `failpoints.active` first, so a store without armed points pays one field load, builds no string and makes no promise. A registry belongs to one
// World, not to the process: tests run in parallel, and two stores in one test fail differently.
// Invariant: an armed point that never acted fails its test when it is disposed; a parked site goes on or fails within PARK_MS; after a crash no site settles.
import type { ErrorCode, StorageErrorClass } from '../errors.ts'

import { errorOf, FailpointError } from './failpoint-error.ts'
import { FAILPOINTS, type FailpointName } from './failpoint-names.ts'
import { Parking } from './parking.ts'
import { seededRandom } from './random.ts'
import type { Failpoints, World } from './world.ts'

type Context = Readonly<Record<string, unknown>>
type Sleeper = Pick<World['timers'], 'sleep'> & Partial<World['timers']>

export interface FailpointAction {
  /** Throw, before the effect: a StorageError of this class, the error that carries this code, or this very error. */
  readonly error?: StorageErrorClass | ErrorCode | Error
  /** Let the effect happen, then throw: a lost acknowledgement. Only where the site wraps its effect (`around`). */
  readonly errorAfterEffect?: StorageErrorClass | ErrorCode | Error
  /** The process is dead from here on: this and every later arrival never settles, and what `onCrash` was given is called. */
  readonly crash?: true
  /** Wait on the world's clock before going on; asynchronous sites only. */
  readonly delayMs?: number
  /** Run this; it may throw, or (asynchronous sites) be waited for. */
  readonly run?: (context: Context) => unknown
  /** Wait for release() or the end of the scope, 30 s at most; asynchronous sites only. */
  readonly park?: true
  /** Answer yes where a site asks `enabled`: the store then behaves as on a lesser storage. */
  readonly enable?: true

  /** How often it acts; default: every time. */
  readonly times?: number
  /** Arrivals that pass before it acts; default 0. */
  readonly after?: number
  /** The share of arrivals it acts on, drawn from the registry's seed; default 1. */
  readonly probability?: number
  /** Acts only where this is true; other arrivals do not count. */
  readonly when?: (context: Context) => boolean
  /** Disposing it is no failure when it never acted. */
  readonly mayMiss?: true
}

export interface ArmedFailpoint extends Disposable {
  readonly name: FailpointName
  /** Arrivals so far, and how many of them were acted on. */
  readonly hits: number
  readonly fired: number
  /** Resolves when it acts for the first time. @throws FailpointError after `timeoutMs` (default 10 s) of the world's time or of real time */
  reached(o?: { timeoutMs?: number }): Promise<void>
  /** Lets those go on that are parked, and whoever would park later. */
  release(): void
}

interface Armed {
  readonly action: FailpointAction
  readonly parking: Parking
  hits: number
  fired: number
}

const PARK_MS = 30_000
const REACH_MS = 10_000
const NO_CONTEXT: Context = Object.freeze({})
const NAMES: ReadonlySet<string> = /* #__PURE__ */ new Set(FAILPOINTS)

/** For worlds that test nothing: never active. */
export const NO_FAILPOINTS: Failpoints = Object.freeze({
  active: false,
  stopped: false,
  hit: async () => {},
  hitSync: () => {},
  around: <T>(_name: FailpointName, _context: Context, effect: () => Promise<T>): Promise<T> => effect(),
  aroundSync: <T>(_name: FailpointName, _context: Context, effect: () => T): T => effect(),
  enabled: () => false,
})

/**
 * The armed points of one world.
 *
 * @example const points = new FailpointRegistry(world.timers, { seed: 7 }); using armed = points.arm(FP.log.beforeSync, { error: 'io', times: 1 })
 */
export class FailpointRegistry implements Failpoints {
  active = false
  stopped = false
  readonly #armed = new Map<FailpointName, Armed[]>()
  readonly #timers: Sleeper | undefined
  readonly #random: World['random']
  readonly #seen = new Map<FailpointName, number>()
  readonly #crashHooks: (() => void)[] = []
  #counting = false

  /** @param timers  of the world it belongs to: delays and parks wait there */
  constructor(timers?: Sleeper, o: { readonly seed?: number } = {}) {
    this.#timers = timers
    this.#random = seededRandom(o.seed ?? 1)
  }

  /** Counts every arrival from now on, armed or not: how a test learns which points a workload passes. */
  count(): ReadonlyMap<FailpointName, number> {
    this.#counting = true
    this.#look()
    return this.#seen
  }

  /** Resolves when the world stops. */
  get crashed(): Promise<void> {
    return this.stopped ? Promise.resolve() : new Promise((resolve) => this.onCrash(resolve))
  }

  /** Called once, when the world stops: a real process may kill itself here. */
  onCrash(hook: () => void): void {
    this.#crashHooks.push(hook)
  }

  /** The world stops as killed. What a crash point does; a test may do it at any other moment. */
  crash(): void {
    if (this.stopped) return
    this.stopped = true
    this.#look()
    for (const hook of this.#crashHooks) hook()
  }

  arm(name: FailpointName, action: FailpointAction): ArmedFailpoint {
    if (!NAMES.has(name)) throw new FailpointError(`no failpoint is called ${String(name)}`)
    const armed: Armed = { action, parking: new Parking(name, this.#timers), hits: 0, fired: 0 }
    this.#armed.set(name, [...(this.#armed.get(name) ?? []), armed])
    this.#look()
    return {
      name,
      get hits() {
        return armed.hits
      },
      get fired() {
        return armed.fired
      },
      reached: (o) => armed.parking.reached(o?.timeoutMs ?? REACH_MS),
      release: () => armed.parking.release(),
      [Symbol.dispose]: () => this.#disarm(name, armed),
    }
  }

  async hit(name: FailpointName, context: Context = NO_CONTEXT): Promise<void> {
    await this.#act(name, context, false)
  }

  hitSync(name: FailpointName, context: Context = NO_CONTEXT): void {
    this.#actSync(name, context, false)
  }

  async around<T>(name: FailpointName, context: Context, effect: () => Promise<T>): Promise<T> {
    const after = await this.#act(name, context, true)
    const result = await effect()
    if (this.stopped) return never()
    if (after !== undefined) throw after
    return result
  }

  aroundSync<T>(name: FailpointName, context: Context, effect: () => T): T {
    const after = this.#actSync(name, context, true)
    const result = effect()
    if (this.stopped) throw new FailpointError(`${name}: the world has stopped`)
    if (after !== undefined) throw after
    return result
  }

  enabled(name: FailpointName, context: Context = NO_CONTEXT): boolean {
    return this.#due(name, context, true).length > 0
  }

  /** @returns what to throw once the effect has happened */
  async #act(name: FailpointName, context: Context, wraps: boolean): Promise<Error | undefined> {
    if (this.stopped) return never()
    let after: Error | undefined
    for (const { action, parking } of this.#due(name, context, false)) {
      if (action.delayMs !== undefined) await this.#sleep(name, action.delayMs)
      if (action.run !== undefined) await action.run(context)
      if (action.park === true) await parking.park(PARK_MS)
      if (action.crash === true) this.crash()
      if (this.stopped) return never()
      if (action.error !== undefined) throw errorOf(action.error, name)
      after ??= lostAnswer(name, action, wraps)
    }
    return after
  }

  #actSync(name: FailpointName, context: Context, wraps: boolean): Error | undefined {
    if (this.stopped) throw new FailpointError(`${name}: the world has stopped`)
    let after: Error | undefined
    for (const { action } of this.#due(name, context, false)) {
      if (action.delayMs !== undefined || action.park === true) throw new FailpointError(`${name}: a synchronous site cannot wait`)
      action.run?.(context)
      if (action.crash === true) this.crash()
      if (this.stopped) throw new FailpointError(`${name}: the world has stopped`)
      if (action.error !== undefined) throw errorOf(action.error, name)
      after ??= lostAnswer(name, action, wraps)
    }
    return after
  }

  #due(name: FailpointName, context: Context, asks: boolean): readonly Armed[] {
    if (this.#counting) this.#seen.set(name, (this.#seen.get(name) ?? 0) + 1)
    const all = this.#armed.get(name)
    if (all === undefined) return []
    return all.filter((armed) => {
      const { after = 0, times = Infinity, probability = 1, when, enable = false } = armed.action
      if (enable !== asks || (when !== undefined && !when(context))) return false
      armed.hits++
      if (armed.hits <= after || armed.fired >= times) return false
      if (probability < 1 && this.#random.u32() >= probability * 2 ** 32) return false
      armed.fired++
      armed.parking.arrive()
      return true
    })
  }

  #disarm(name: FailpointName, armed: Armed): void {
    const rest = (this.#armed.get(name) ?? []).filter((other) => other !== armed)
    if (rest.length === 0) this.#armed.delete(name)
    else this.#armed.set(name, rest)
    this.#look()
    armed.parking.release()
    if (armed.parking.overdue) throw new FailpointError(`${name}: parked for ${PARK_MS / 1000} s and not released`)
    if (armed.fired === 0 && armed.action.mayMiss !== true) {
      throw new FailpointError(`${name} never acted (${armed.hits} arrivals): the test did not test what it says; { mayMiss: true } where that is right`)
    }
  }

  #look(): void {
    this.active = this.#armed.size > 0 || this.#counting || this.stopped
  }

  #sleep(name: FailpointName, delayMs: number): Promise<void> {
    if (this.#timers === undefined) throw new FailpointError(`${name}: a delay needs the timers of the world: new FailpointRegistry(world.timers)`)
    return this.#timers.sleep(delayMs)
  }
}

function lostAnswer(name: FailpointName, { errorAfterEffect }: FailpointAction, wraps: boolean): Error | undefined {
  if (errorAfterEffect === undefined) return undefined
  if (!wraps) throw new FailpointError(`${name}: this site wraps no effect that an error could follow`)
  return errorOf(errorAfterEffect, name)
}

function never(): Promise<never> {
  return new Promise(() => {})
}
