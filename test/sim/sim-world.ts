// A World for whole-store simulations: files in memory, seeded randomness, and time that moves only when the test or a sleeper moves it.
//
// To be opened with `threads: 0`. A sleep ends at the next turn of the event loop and takes its milliseconds along; timers fire in advance() alone.

import '../loaded.ts'
import { FakeClock, FakeFiles, fakeWorld } from '../../bindings/testing/index.ts'
import { type Host, INLINE_ONLY, type MonoMs, seededRandom, soon, type UnixMs, type World } from '../../bindings/runtime/index.ts'

export interface SimWorld {
  readonly world: World
  readonly files: FakeFiles
  readonly time: FakeClock
  /** Moves the clocks without firing timers. */
  tick(ms: number): void
}

export function simWorld(o: { seed: number; files?: FakeFiles; host?: Partial<Host>; startMs?: number }): SimWorld {
  const files = o.files ?? new FakeFiles()
  const time = new FakeClock(o.startMs)
  const base = fakeWorld({ seed: o.seed, clock: time, files, ...(o.host === undefined ? {} : { host: o.host }) })
  let extraMs = 0
  const pace = seededRandom(o.seed ^ 0x5eed)
  const world: World = {
    ...base,
    clock: { nowMs: () => (base.clock.nowMs() + extraMs) as UnixMs, monoMs: () => (base.clock.monoMs() + extraMs) as MonoMs },
    // Workers take their time, so that commits come between the steps of a flush or load.
    workers: {
      ...INLINE_ONLY,
      run: async (task, options) => {
        for (let turns = pace.u32() % 12; turns > 0; turns--) await new Promise<void>((resolve) => soon(resolve))
        return INLINE_ONLY.run(task, options)
      },
    },
    timers: {
      ...base.timers,
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted === true) return reject(signal.reason as Error)
          extraMs += ms
          soon(() => (signal?.aborted === true ? reject(signal.reason as Error) : resolve()))
        }),
    },
  }
  return { world, files, time, tick: (ms) => void (extraMs += ms) }
}
