// log/slot-follow.ts: reading an object log and then waiting for more of it (log.md section 4, "Tailing").
//
// Invariant: every record once and in order; between looks it waits, twice as long each time that nothing was found.
import type { World } from '../runtime/index.ts'

import type { LogBatch } from './commit-log.ts'
import type { SlotChain } from './slot-chain.ts'
import type { Wakeups } from './wakeups.ts'

const POLL_MS_MIN = 50

export interface FollowOptions {
  readonly chain: SlotChain
  readonly wakeups: Wakeups
  readonly timers: World['timers']
  readonly pollMsMax: number
  /** Looks for records that others wrote. */
  readonly look: () => Promise<unknown>
  /** Why there will be no more. */
  readonly ended: () => Error | undefined
  readonly check: () => void
  readonly signal: AbortSignal
}

export async function* followSlots(start: number, o: FollowOptions): AsyncGenerator<LogBatch> {
  const { chain } = o
  let pollMs = POLL_MS_MIN
  for (let at = start; ;) {
    o.check()
    const end = o.ended()
    if (end !== undefined && at >= chain.head) throw end
    const before = at
    for await (const batch of chain.read(at, chain.head, o.check)) {
      yield batch
      at = Number(batch.last)
    }
    if (at > before) {
      pollMs = POLL_MS_MIN
      continue
    }
    await pause(pollMs, o)
    if (at < chain.head || o.ended() !== undefined) continue
    o.check()
    await o.look()
    pollMs = Math.min(o.pollMsMax, pollMs * 2)
  }
}

/** Until something was written here, or for so long. */
async function pause(ms: number, { timers, wakeups, signal }: FollowOptions): Promise<void> {
  const timer = timers.set(ms, () => wakeups.wake())
  try {
    await wakeups.wait(signal)
  } finally {
    timers.clear(timer)
  }
}
