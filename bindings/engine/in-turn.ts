// engine/in-turn.ts: writes to a shared log: one that lost its slot is decided again against what the winners wrote (recovery.md section 4).
//
// Invariant: a write is tried at most publishRetries + 1 times; a definite conflict is not tried again, and is told only when what it met is durable.

import { ConflictError, ContentionError, DuplicateKeyError, LsnTakenError } from '../errors.ts'
import type { AdmitOptions } from './admitted.ts'
import type { Engine } from './engine.ts'

const BACKOFF_MS = 5
const BACKOFF_MAX_MS = 1000

export interface TurnOptions {
  readonly signal?: AbortSignal | undefined
}

/**
 * Run a write that admits and queues in one step. On a log of one writer that is all; on a shared one it runs again after a lost slot, with full jitter in
 * between and `conflictsSince` the LSN it first saw.
 *
 * @throws ContentionError when each try lost
 */
export function inTurn<T>(engine: Engine, o: TurnOptions | undefined, write: (again: AdmitOptions | undefined) => Promise<T>): Promise<T> {
  return engine.parts.log.shared ? turns(engine, o, write) : write(undefined)
}

async function turns<T>(engine: Engine, o: TurnOptions | undefined, write: (again: AdmitOptions | undefined) => Promise<T>): Promise<T> {
  const { committer, tracker, state, world, limits } = engine.parts
  await committer.caughtUp()
  const conflictsSince = state.applied
  tracker.begin()
  try {
    for (let round = 0; ; round++) {
      try {
        return await write(round === 0 ? undefined : { conflictsSince })
      } catch (error) {
        if (error instanceof ConflictError || error instanceof DuplicateKeyError) {
          const { rewinds } = committer
          await committer.drained()
          if (committer.rewinds === rewinds) throw error
        } else if (!(error instanceof LsnTakenError)) throw error
        if (round >= limits.publishRetries) {
          throw new ContentionError(`other writers were faster ${round + 1} times`, { details: { rounds: round + 1 }, cause: error })
        }
      }
      const most = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** round)
      await world.timers.sleep(world.random.u32() % (most + 1), o?.signal, true)
      await committer.caughtUp()
    }
  } finally {
    tracker.end()
  }
}
