// ship/match-point.ts: where two logs part (shipping.md section 5; the method is Kafka's leader-epoch truncation).
//
// Invariant: no two writers share an epoch, so within the newest epoch that both logs hold they agree up to the shorter one's end of it. The digest at that
// LSN proves it; nothing is believed for having the same number.

import type { EpochMark, Hello, RetainedHistory } from './types.ts'

/** Highest LSN at which both logs agree by their lineages; null: the replica sent no lineage. 0: they share no epoch. */
export function matchPoint(hello: Hello, history: RetainedHistory): number | null {
  if (hello.lineage === null) return null
  const here = lastLsns(history.lineage, history.headLsn)
  let match = 0
  let newest = 0
  for (const [epoch, last] of lastLsns(hello.lineage, hello.durableLsn)) {
    const own = here.get(epoch)
    if (own === undefined || epoch < newest) continue
    newest = epoch
    match = Math.min(own, last, hello.durableLsn, history.headLsn)
  }
  return match
}

/** The LSN whose digests must be compared before `classify`; null: nothing is to compare (no lineage, nothing in common, or below the tail). */
export function digestQuestion(hello: Hello, history: RetainedHistory): number | null {
  const match = matchPoint(hello, history)
  return match === null || match === 0 || match < history.tailLsn ? null : match
}

/** Whether `history` still has what a replay of (start, end] reads; `exact`: with every file that the records name. */
export function isReplayable(history: RetainedHistory, startExclusive: number, endInclusive: number, exact = true): boolean {
  if (startExclusive > endInclusive || endInclusive > history.headLsn) return false
  if (startExclusive === endInclusive) return true
  return startExclusive >= history.tailLsn && (!exact || startExclusive >= history.fragmentFloorLsn)
}

/** Last LSN of each epoch, in ascending order of epochs. Marks above the end of the log count for nothing. */
function lastLsns(lineage: readonly EpochMark[], end: number): Map<number, number> {
  const last = new Map<number, number>()
  lineage.forEach((mark, i) => {
    if (mark.firstLsn <= end) last.set(mark.epoch, Math.min(end, (lineage[i + 1]?.firstLsn ?? end + 1) - 1))
  })
  return last
}
