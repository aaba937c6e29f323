// ship/handover.ts: whether a replica that reached its target may go over to the live stream, or must first catch up with what was written meanwhile.
//
// Pure. Invariant: a further round is granted only while rounds pay: each leaves less than half of the gap before it, and there are eight at most.
import { CatchUpNotConvergingError } from '../errors-ship.ts'
import type { ReplicaId } from './types.ts'

const ROUNDS_MAX = 8

export class Handover {
  readonly #maxLag: number
  #rounds = 0
  #gap = Infinity

  /** @param maxLag  records that the live stream may begin with */
  constructor(maxLag: number) {
    this.#maxLag = maxLag
  }

  /** A catch-up is complete, and the log goes `gap` records further. @param isSlowed  the writer is being slowed, so that a round may pay little and yet lead on @throws CatchUpNotConvergingError */
  next(id: ReplicaId, gap: number, isSlowed: boolean): 'stream' | 'round' {
    if (gap <= this.#maxLag) {
      this.reset()
      return 'stream'
    }
    const before = this.#gap
    this.#gap = gap
    const rounds = ++this.#rounds
    if (rounds >= ROUNDS_MAX || (!isSlowed && gap >= before / 2)) {
      this.reset()
      throw new CatchUpNotConvergingError(
        `replica ${id} is ${gap} records behind after ${rounds} rounds of catching up, ${before === Infinity ? 'the first' : `${before} before the last`}`,
        {
          details: { replicaId: id, gap, rounds },
        },
      )
    }
    return 'round'
  }

  reset(): void {
    this.#rounds = 0
    this.#gap = Infinity
  }
}
