// I1: what was acknowledged stays where it was.

import type { Checker } from '../checker.ts'
import { ancestor, isBefore, type Place, type Write } from '../history.ts'

/** I1. Each write acknowledged is at its LSN, with its digest, in the log of every later writer. */
export function ackedIsKept(): Checker {
  const name = 'I1 no acknowledged write is lost'
  /** The newest acknowledged place: every later writer stands on it. */
  let kept: Place | undefined
  /** Told since the log was looked at last. */
  let fresh: Write[] = []
  const settle = (place: Place): string | undefined => {
    for (const write of fresh) {
      const at = ancestor(place, write.lsn!)
      if (at?.writeId !== write.id)
        return `write ${write.id} was acknowledged at LSN ${write.lsn}, where ${at === undefined ? 'nothing' : (at.writeId ?? 'no write')} is`
      if (kept === undefined || at.lsn > kept.lsn) kept = at
    }
    fresh = []
    return undefined
  }
  return {
    name,
    acknowledged: (_, write) => void fresh.push(write),
    opened(c, machine, place) {
      const wrong = settle(place)
      if (wrong !== undefined) return c.fail(name, `${wrong}, says the log of ${machine.name} at its start`)
      if (kept !== undefined && !isBefore(kept, place)) {
        c.fail(name, `${machine.name} writes on behind LSN ${place.lsn}, and LSN ${kept.lsn} with write ${kept.writeId} was acknowledged`)
      }
    },
    event(c) {
      const place = c.writer === undefined ? undefined : c.places.get(c.writer.process.machine)
      if (fresh.length === 0 || place === undefined) return
      const wrong = settle(place)
      if (wrong !== undefined) c.fail(name, wrong)
    },
  }
}
