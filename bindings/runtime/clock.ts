// runtime/clock.ts: the two clocks of a process and the timers that never keep it alive.
//
// `node:timers` rather than the globals: on Deno the global setTimeout gives a number, which cannot be unref'ed.
import { clearTimeout, setImmediate, setTimeout } from 'node:timers'

import type { MonoMs, TimerHandle, UnixMs, World } from './world.ts'

export const systemClock: World['clock'] = {
  nowMs: () => Date.now() as UnixMs,
  monoMs: () => performance.now() as MonoMs,
}

export const systemTimers: World['timers'] = {
  set(ms, fn) {
    const id = setTimeout(fn, ms)
    id.unref()
    return { id }
  },
  clear(handle: TimerHandle) {
    clearTimeout(handle.id as ReturnType<typeof setTimeout>)
  },
  sleep(ms, signal, keepAlive) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason)
      const id = setTimeout(() => {
        signal?.removeEventListener('abort', abort)
        resolve()
      }, ms)
      if (keepAlive !== true) id.unref()
      const abort = () => {
        clearTimeout(id)
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', abort, { once: true })
    })
  },
}

/** Runs `fn` after this turn of the event loop, in order of asking: how things in memory answer as late as real I/O would, without starving it. */
export function soon(fn: () => void): void {
  setImmediate(fn)
}
