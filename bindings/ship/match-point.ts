// ship/match-point.ts: where two logs part (shipping.md section 5; the method is Kafka's leader-epoch truncation).
//
// Invariant: no two writers share an epoch, so within the newest epoch that both logs hold they agree up to the shorter one's end of it. The digest at that
// LSN proves it; nothing is believed for having the same number. (An old primary that is started again may come to the epoch that its successor has claimed: the
// same number, begun at another LSN or by another decision, is another epoch.)

import { mandateOfClaim } from '../format/index.ts'
import type { Elided, EpochMark, Hello, RetainedHistory } from './types.ts'

/** Highest LSN at which both logs agree by their lineages; null: the replica sent no lineage. 0: they share no epoch. */
export function matchPoint(hello: Hello, history: RetainedHistory): number | null {
  if (hello.lineage === null) return null
  const here = lastLsns(history.lineage, history.headLsn)
  const homonyms = homonymsOf(hello.lineage, hello, history)
  let match = 0
  let newest = 0
  for (const [epoch, last] of lastLsns(hello.lineage, hello.durableLsn)) {
    const own = here.get(epoch)
    if (own === undefined || epoch < newest || homonyms.has(epoch)) continue
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

/**
 * Whether `history` is that of the primary which called files dead, up to where they are: its epoch goes on here as far as that. On another line something may still
 * need them.
 */
export function holdsElision(history: RetainedHistory, { lsn, epoch, mandate }: Elided): boolean {
  const mark = history.lineage.find((each) => each.epoch === epoch)
  if (mark === undefined || (lastLsns(history.lineage, history.headLsn).get(epoch) ?? 0) < lsn) return false
  // A log of slots says no mandate with its records: there the epoch stands for it.
  return mark.mandate === undefined ? mandate === 0 || mandate === mandateOfClaim(epoch) : mark.mandate === mandate
}

/** Epochs of both lineages that are two: they began at different LSNs, or were written by different decisions, as far as that is known. */
export function homonymsOf(lineage: readonly EpochMark[], { tailLsn }: Hello, history: RetainedHistory): ReadonlySet<number> {
  const { tailLsn: tail, lacksMandates = false } = history
  const here = new Map(history.lineage.map((mark) => [mark.epoch, { ...known(mark, tail), ...(lacksMandates ? { mandate: undefined } : {}) }]))
  return new Set(lineage.flatMap((mark) => (areTwo(known(mark, tailLsn), here.get(mark.epoch)) ? [mark.epoch] : [])))
}

interface Known {
  readonly firstLsn: number | undefined
  readonly mandate: number | undefined
}

/** A log that was trimmed states its tail for epochs that began below it, and need not know who decided on them; where it has the beginning, no mandate is nobody's. */
function known({ firstLsn, mandate }: EpochMark, tailLsn: number): Known {
  const isExact = firstLsn > tailLsn + 1
  return { firstLsn: isExact ? firstLsn : undefined, mandate: mandate ?? (isExact ? 0 : undefined) }
}

function areTwo(a: Known, b: Known | undefined): boolean {
  const differ = (x: number | undefined, y: number | undefined): boolean => x !== undefined && y !== undefined && x !== y
  return b !== undefined && (differ(a.firstLsn, b.firstLsn) || differ(a.mandate, b.mandate))
}

/** Last LSN of each epoch, in ascending order of epochs. Marks above the end of the log count for nothing. */
function lastLsns(lineage: readonly EpochMark[], end: number): Map<number, number> {
  const last = new Map<number, number>()
  lineage.forEach((mark, i) => {
    if (mark.firstLsn <= end) last.set(mark.epoch, Math.min(end, (lineage[i + 1]?.firstLsn ?? end + 1) - 1))
  })
  return last
}
