// I1: what was acknowledged stays where it was.

import type { Checker } from '../checker.ts'
import type { Cluster } from '../cluster.ts'
import { ancestor, isBefore, type Place, type Write } from '../history.ts'
import type { Machine } from '../machine.ts'
import { GivenUp } from './given-up.ts'

/** I1. Each write acknowledged under quorum or all is at its LSN, with its digest, in the log of every later writer; in mode async in that of its own machine. */
export function ackedIsKept(): Checker {
  const name = 'I1 no acknowledged write is lost'
  /** The newest acknowledged place: every later writer stands on it. */
  let kept: Place | undefined
  /** Told since the log of the machine was looked at last. */
  const givenUp = new GivenUp()
  const fresh: { readonly write: Write; readonly machine: Machine }[] = []
  const settle = ({ tree }: Cluster, machine: Machine, place: Place): string | undefined => {
    for (const { write } of fresh.filter((each) => each.machine === machine)) {
      const at = ancestor(place, write.lsn!)
      if (at === undefined || !tree.isOf(at, write)) {
        const found = at?.lsn === write.lsn ? (at?.writeId ?? 'no write') : 'nothing'
        return `write ${write.id} was acknowledged at LSN ${write.lsn}, where ${found} is in the log of ${machine.name}`
      }
      if (at.parent!.mode !== 'async' && (kept === undefined || at.lsn > kept.lsn)) kept = at
    }
    for (let i = fresh.length - 1; i >= 0; i--) if (fresh[i]!.machine === machine) fresh.splice(i, 1)
    return undefined
  }
  return {
    name,
    acknowledged: (_, write, writer) => void fresh.push({ write, machine: writer.process.machine }),
    opened(c, writer, place) {
      givenUp.opened(c, writer, place)
      // What a majority would have kept is looked at by itself.
      if (kept !== undefined) kept = givenUp.kept(kept)
      // A former primary that somebody starts is of another opinion; what it acknowledges is looked at.
      if (writer.process.machine !== c.primary && c.unasked.has(writer.process.machine)) return
      if (kept !== undefined && !isBefore(kept, place)) {
        c.fail(
          name,
          `${writer.name} writes on behind LSN ${place.lsn} in epoch ${writer.epoch}, and LSN ${kept.lsn} with write ${kept.writeId} was acknowledged`,
        )
      }
    },
    event(c) {
      if (fresh.length === 0) return
      for (const machine of new Set(fresh.map((each) => each.machine))) {
        if (c.nodes.get(machine)?.state === 'opening') continue
        const wrong = settle(c, machine, c.places.get(machine)!)
        if (wrong !== undefined) c.fail(name, wrong)
      }
    },
  }
}
