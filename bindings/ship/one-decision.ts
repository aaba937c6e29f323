// ship/one-decision.ts: whose records of a number count, where two primaries were decided on with it (decision 0035). Pure.
//
// A node follows one decision of a number, so one of them at most has ever committed anything by it; the other one's log may be longer all the same. They are told
// apart by the first record of that number: its chain digest is another one in each log.
// Invariant: what is left out holds no record of that number that was ever acknowledged; where that cannot be told, nobody is left.

import { isOfOneNumber } from '../format/index.ts'
import type { AckMode, EpochMark } from './types.ts'

/** The first record of a log by the number of the mandate of its last one. */
export interface DecidedAt {
  readonly lsn: number
  /** digestAt(lsn), lower-case hex; '' where that is not known: the log was trimmed behind it. */
  readonly digest: string
  /** No record before it can have been of that number, as one that a trimmed log does not speak of. */
  readonly isExact: boolean
}

interface Claimant {
  readonly id: string
  readonly decidedAt: DecidedAt | undefined
  readonly committedLsn: number
}

/** Where that is; undefined: nobody decided on who wrote the last record. */
export function decidedIn(lineage: readonly EpochMark[] | null, tailLsn: number): Omit<DecidedAt, 'digest'> | undefined {
  const mandate = lineage?.at(-1)?.mandate ?? 0
  if (lineage === null || mandate === 0) return undefined
  const at = lineage.findIndex((mark) => isOfOneNumber(mandate, mark.mandate ?? 0))
  const { firstLsn: lsn } = lineage[at]!
  const before = lineage[at - 1]
  // A trimmed log does not say by which mandate the records were written that are gone.
  const isExact = lsn > tailLsn && (tailLsn === 0 || (before !== undefined && (before.firstLsn > tailLsn || before.mandate !== undefined)))
  return { lsn, isExact }
}

/**
 * Those of the claimants, whose logs end with mandates of one number, that are of the decision which may have committed something by it; all of them where none can have.
 *
 * @param claimants  the longest log first
 * @param helping  ids of those whose records are believed
 * @returns undefined: it cannot be told which one that is
 */
export function ofOneDecision<C extends Claimant>(
  claimants: readonly C[],
  mode: AckMode,
  nodes: number,
  helping: ReadonlySet<string>,
): readonly C[] | undefined {
  if (new Set(claimants.map(keyOf)).size <= 1) return claimants
  const committed = claimants.filter(isCommitted)
  if (committed.length > 0) {
    const keys = new Set(committed.map(keyOf))
    const rest = claimants.filter((each) => !keys.has(keyOf(each)))
    // None of the rest is long enough to hold more of what was acknowledged, if it is of the same decision after all.
    if (rest.length === 0 || keys.has(keyOf(claimants[0]!))) return claimants.filter((each) => keys.has(keyOf(each)))
    const isTold = [...rest, committed.find(isExact)].every((each) => each !== undefined && isExact(each))
    return isTold ? claimants.filter((each) => keys.has(keyOf(each))) : undefined
  }
  if (!claimants.every(isExact)) return undefined
  const possible = [...Map.groupBy(claimants, keyOf).values()].filter((branch) => {
    const holding = new Set(branch.map(({ id }) => id).filter((id) => helping.has(id))).size
    return holding + Math.max(0, nodes - helping.size) >= (mode === 'all' ? nodes : Math.floor(nodes / 2) + 1)
  })
  return possible.length === 0 ? claimants : possible.length === 1 ? possible[0] : undefined
}

function keyOf({ decidedAt }: Claimant): string {
  return decidedAt === undefined ? '' : `${decidedAt.lsn} ${decidedAt.digest}`
}

function isExact({ decidedAt }: Claimant): boolean {
  return decidedAt !== undefined && decidedAt.isExact && decidedAt.digest !== ''
}

/** It was told so of that record: a majority holds it, and follows nobody else by that number. */
function isCommitted({ decidedAt, committedLsn }: Claimant): boolean {
  return decidedAt !== undefined && committedLsn >= decidedAt.lsn
}
