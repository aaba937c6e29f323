// What promotions in mode async gave up: records that only the old primary had, and whatever it wrote on top of them.
//
// A place is given up when the way to it leaves the log of a writer that came with a loss, in an epoch before that writer's. Everything else stays promised.

import type { Cluster } from '../cluster.ts'
import { ancestor, type Place } from '../history.ts'
import type { Writer } from '../writer.ts'

export class GivenUp {
  readonly #lines: { readonly place: Place; readonly epoch: number }[] = []
  #losses = 0

  /** A writer has opened on top of `place`. */
  opened(c: Cluster, writer: Writer, place: Place): void {
    if (c.losses === this.#losses) return
    this.#losses = c.losses
    this.#lines.push({ place, epoch: writer.epoch })
  }

  has(place: Place): boolean {
    return this.#lines.some((line) => {
      const shared = common(place, line.place)
      return shared !== place && ancestor(place, shared.lsn + 1)!.epoch < line.epoch
    })
  }

  /** The newest place on the way to `place` that was not given up. */
  kept(place: Place): Place {
    let at = place
    for (const line of this.#lines) if (this.has(at)) at = common(at, line.place)
    return at
  }
}

/** Where two ways part. */
function common(a: Place, b: Place): Place {
  let [x, y] = [a, b]
  while (x !== y) {
    if (x.lsn >= y.lsn) x = x.parent!
    else y = y.parent!
  }
  return x
}
