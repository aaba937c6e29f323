// testing/fake-clock.ts: time that stands still until a test moves it, and a whole World around it.
//
// Invariant: timers fire in order of their time, then of their making, each at its own moment; nothing fires outside advance().
import {
  FailpointRegistry,
  INLINE_ONLY,
  seededRandom,
  silentLogger,
  soon,
  type Host,
  type MonoMs,
  type TimerHandle,
  type UnixMs,
  type World,
} from '../runtime/index.ts'

import { FakeFiles } from './fake-files.ts'
import { FakeNetwork } from './fake-network.ts'
import { stoppable } from './stoppable-world.ts'

/** I/O that answers on a later turn, with what follows from it. */
const TURNS = 4

interface FakeTimer {
  readonly id: number
  readonly atMs: number
  readonly fn: () => void
}

/** Wall clock and monotonic clock start together; `step` moves the wall clock alone. */
export class FakeClock {
  readonly clock: World['clock'] = { nowMs: () => (this.#wallMs + this.#monoMs) as UnixMs, monoMs: () => this.#monoMs as MonoMs }
  readonly timers: World['timers'] = {
    set: (ms, fn) => this.#set(ms, fn),
    clear: (handle) => this.#clear(handle),
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted === true) return reject(signal.reason)
        const abort = (): void => {
          this.#clear(handle)
          reject(signal?.reason)
        }
        const handle = this.#set(ms, () => {
          signal?.removeEventListener('abort', abort)
          resolve()
        })
        signal?.addEventListener('abort', abort, { once: true })
      }),
  }
  #wallMs: number
  #monoMs = 0
  #nextId = 1
  #waiting: FakeTimer[] = []

  readonly #turns: number

  /** @param o.turns  turns of the event loop between two timers; 1 is enough where nothing but promises runs */
  constructor(startMs = 1_700_000_000_000, o: { readonly turns?: number } = {}) {
    this.#wallMs = startMs
    this.#turns = o.turns ?? TURNS
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#waiting.length
  }

  /** Moves time on, firing what falls due; between two timers the microtasks and I/O callbacks of this process run. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#monoMs + ms
    await breathe(this.#turns)
    for (;;) {
      const next = this.#waiting[0]
      if (next === undefined || next.atMs > endMs) break
      this.#waiting.shift()
      this.#monoMs = Math.max(this.#monoMs, next.atMs)
      next.fn()
      await breathe(this.#turns)
    }
    this.#monoMs = endMs
  }

  /** The wall clock jumps (an administrator, a leap): timers and the monotonic clock do not notice. */
  step(ms: number): void {
    this.#wallMs += ms
  }

  #set(ms: number, fn: () => void): TimerHandle {
    const timer: FakeTimer = { id: this.#nextId++, atMs: this.#monoMs + Math.max(0, ms), fn }
    this.#waiting.splice(this.#firstAfter(timer.atMs), 0, timer)
    return timer as TimerHandle
  }

  #clear(handle: TimerHandle): void {
    const { atMs } = handle as FakeTimer
    for (let at = this.#firstAfter(atMs) - 1; this.#waiting[at]?.atMs === atMs; at--) {
      if (this.#waiting[at] === handle) return void this.#waiting.splice(at, 1)
    }
  }

  /** Where the first one stands that is later than that. */
  #firstAfter(atMs: number): number {
    let low = 0
    for (let high = this.#waiting.length; low < high;) {
      const middle = (low + high) >>> 1
      if (this.#waiting[middle]!.atMs <= atMs) low = middle + 1
      else high = middle
    }
    return low
  }
}

export interface FakeWorldOptions {
  readonly seed?: number
  readonly clock?: FakeClock
  readonly files?: World['files']
  readonly network?: World['network']
  readonly failpoints?: World['failpoints']
  readonly host?: Partial<Host>
}

/** A World without the machine: manual time, seeded randomness, files in memory, one process that is alive until a failpoint crashes it. */
export function fakeWorld(o: FakeWorldOptions = {}): World {
  const time = o.clock ?? new FakeClock()
  const host: Host = {
    name: 'fake',
    pid: 1,
    bootId: 'boot-1',
    processStartTime: '1',
    isAlive: (pid, startTime) => pid === (o.host?.pid ?? 1) && startTime === (o.host?.processStartTime ?? '1'),
    ...o.host,
  }
  return stoppable({
    clock: time.clock,
    timers: time.timers,
    random: seededRandom(o.seed ?? 1),
    logger: silentLogger,
    failpoints: o.failpoints ?? new FailpointRegistry(time.timers, { seed: o.seed ?? 1 }),
    workers: INLINE_ONLY,
    network: o.network ?? new FakeNetwork(),
    files: o.files ?? new FakeFiles(),
    host,
    env: {},
  })
}

/** Lets everything run that is ready: a few turns of the event loop, with their microtasks. */
function breathe(turns: number): Promise<void> {
  return new Promise((resolve) => {
    let left = turns
    const turn = (): void => (left-- > 0 ? soon(turn) : resolve())
    turn()
  })
}
