// log/reclaim.ts: the reclaim lock of a log (log.md section 6): pins are granted and the tail is moved under it, one at a time.
//
// Invariant: T never passes a pin; so a pin that was granted is honoured and one that comes too late is refused, not broken.
import { PinRefusedError } from '../errors.ts'
import { Mutex } from '../runtime/index.ts'

import type { Lsn, Pin } from './commit-log.ts'

export class Reclaim {
  readonly #mutex = new Mutex()
  readonly #pins = new Map<string, { readonly lsn: number; readonly owner: string }>()
  #count = 0

  /** The lowest pinned LSN; Infinity without pins. */
  get floor(): number {
    let floor = Infinity
    for (const { lsn } of this.#pins.values()) floor = Math.min(floor, lsn)
    return floor
  }

  /** Holds records above `start`. @throws PinRefusedError below the tail */
  pin(start: Lsn, owner: string, tail: () => number): Promise<Pin> {
    return this.#mutex.run(() => {
      const lsn = Number(start)
      if (lsn < tail()) {
        throw new PinRefusedError(`LSN ${lsn} cannot be held: the log begins after ${tail()}`, {
          details: { asked: start, tail: BigInt(tail()), floor: BigInt(tail()) },
        })
      }
      const id = `${owner}-${++this.#count}`
      this.#pins.set(id, { lsn, owner })
      return { id, lsn: start, release: () => void this.#pins.delete(id) }
    })
  }

  /** Runs a trim; `move` gets the highest LSN that may go. */
  reclaim<T>(upTo: number, move: (limit: number) => Promise<T>): Promise<T> {
    return this.#mutex.run(() => move(Math.min(upTo, this.floor)))
  }
}
