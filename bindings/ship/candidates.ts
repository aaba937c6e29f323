// ship/candidates.ts: who may become the primary (shipping.md section 12, "Promotion"). Pure; varve elects nobody: the embedding service asks the nodes, and calls this.
//
// A record says what a node could read of its log now, after a restart, not what it advertised once. The longest log of the newest epoch of the newest mandate wins,
// whatever its node's state: it may hold committed writes that one in sync lacks. The mandate comes first: an epoch grows with every start of a primary that nobody
// decided on, and such a start has nothing that its successor has acknowledged (decision 0030). Enough records must be there for one of them to hold every committed write: each set of
// N - floor(N/2) voters meets every set that can have confirmed one. Invariant: no answer is a guess: too few records, or a longer log on a node that may not win, is
// no candidate.

import { CommittedTruncationError } from '../errors-ship.ts'
import { epochOfMandate, isOfOneNumber, weakerMode } from '../format/index.ts'
import { type DecidedAt, ofOneDecision } from './one-decision.ts'
import type { AckMode, ReplicaId, ReplicaState } from './types.ts'

/** What a node says of itself, asked now. The primary of before is one of them, when it can be asked. */
export interface NodeRecord {
  readonly id: ReplicaId
  /** Lower-case hex. */
  readonly storeId: string
  readonly role: 'voter' | 'learner'
  readonly state: ReplicaState
  readonly isRunning: boolean
  /** Highest epoch that it has seen. */
  readonly epochSeen: number
  /** Mandate under which the last record of its log was written; 0: nobody's. */
  readonly lastMandate: number
  /** Epoch of that record. */
  readonly lastEpoch: number
  /** The first record of that number, by which two decisions of one number are told apart; undefined: nobody's mandate. */
  readonly decidedAt: DecidedAt | undefined
  /** The highest LSN that it was ever told is committed. */
  readonly committedLsn: number
  /** The end of its log, as far as that can be read and verified. */
  readonly readableLsn: number
  /** Its log verifies from its base to `readableLsn`. */
  readonly isIntact: boolean
  /** The weakest mode by which what follows its log may have been acknowledged: that at `committedLsn`, or one that a record behind it names. */
  readonly ackMode: AckMode
  /** It may have lost what it once confirmed, and has not been in sync since. Counts in modes quorum and all, whose promises rest on what nodes confirmed. */
  readonly isAmnesic: boolean
}

export interface PromotionContext {
  /** Lower-case hex. */
  readonly storeId: string
  /** Highest epoch that the caller knows of. */
  readonly epoch: number
}

export interface Candidate {
  readonly id: ReplicaId
  readonly lastMandate: number
  readonly lastEpoch: number
  readonly readableLsn: number
  readonly state: ReplicaState
}

export interface Promotion {
  /** Equals, the first one to be preferred; empty: nobody may win. */
  readonly candidates: readonly Candidate[]
  /** Writes that were acknowledged may be on none of the nodes asked: promote() needs `acceptLossAbove`. */
  readonly mayLose: boolean
  readonly reason: 'ok' | 'too_few_records' | 'no_intact_log' | 'longest_log_not_eligible' | 'two_decisions'
  /** Names the numbers that decided. */
  readonly detail: string
}

const PREFERRED: readonly ReplicaState[] = ['in_sync', 'catching_up', 'degraded']

/**
 * @param mode   that of the log, as the caller knows it; where the longest log says a weaker one, which counts from when others committed it, that one is taken
 * @param nodes  N: the primary and its voters, present or not
 */
export function candidates(records: readonly NodeRecord[], mode: AckMode, nodes: number, context: PromotionContext): Promotion {
  const { storeId, epoch } = context
  const mayLose = mode === 'async'
  const none = (reason: Promotion['reason'], detail: string): Promotion => ({ candidates: [], mayLose, reason, detail })
  const ours = records.filter((record) => record.storeId === storeId)
  const intact = ours.filter(({ isIntact }) => isIntact)
  const helping = new Set(intact.filter((record) => record.role === 'voter' && isBelieved(record, mode)).map(({ id }) => id))
  const needed = recordsNeeded(mode, nodes)
  if (helping.size < needed) return none('too_few_records', `${helping.size} of ${needed} voters with an intact log, mode ${mode}, ${nodes} nodes`)
  const mandate = Math.max(0, ...intact.map(({ lastMandate }) => lastMandate))
  const isClaimant = ({ lastMandate }: NodeRecord): boolean => lastMandate === mandate || isOfOneNumber(lastMandate, mandate)
  const [claimants, others] = [intact.filter(isClaimant), intact.filter((record) => !isClaimant(record))]
  const counting = mode === 'async' ? claimants : ofOneDecision(claimants.toSorted(byLog), mode, nodes, helping)
  if (counting === undefined) {
    const wrote = claimants.map(({ id, decidedAt }) => `${id} from LSN ${decidedAt?.lsn} on`).join(', ')
    return none('two_decisions', `epoch ${epochOfMandate(mandate)} was decided on twice, and which of them was followed takes more records: ${wrote}`)
  }
  const [longest] = [...counting, ...others].toSorted(byLog)
  if (longest === undefined) return none('no_intact_log', `${records.length} records`)
  // Whoever knows of a change to a weaker mode has more of the log than who does not: it was committed by the mode before.
  const counted = weakerMode(mode, longest.ackMode)
  if (counted !== mode) return candidates(records, counted, nodes, context)
  const where = `LSN ${longest.readableLsn} of epoch ${longest.lastEpoch}, mandate ${longest.lastMandate}`
  const eligible = counting.filter((record) => byLog(record, longest) === 0 && isEligible(record, epoch, mode)).toSorted(byPreference)
  if (eligible.length === 0) return none('longest_log_not_eligible', `the longest log is that of ${longest.id} (${longest.state}, ${longest.role}): ${where}`)
  return {
    candidates: eligible.map(({ id, lastMandate, lastEpoch, readableLsn, state }) => ({ id, lastMandate, lastEpoch, readableLsn, state })),
    mayLose,
    reason: 'ok',
    detail: `${where}, ${helping.size} records, mode ${mode}`,
  }
}

/** What a promotion against the rules of candidates() gives up. */
export interface ForcedPromotion {
  readonly id: ReplicaId
  readonly lastMandate: number
  readonly lastEpoch: number
  readonly readableLsn: number
  /** The versions that are given up, as far as any record tells: above the first, up to the second. Equal: none that is known. */
  readonly above: number
  readonly upTo: number
}

/**
 * Promote that node, whatever the others hold: everything above `acceptLossAbove` may be lost.
 *
 * @throws CommittedTruncationError: its log cannot be written on, or ends below `acceptLossAbove`, so that more would be lost than was accepted
 */
export function forcePromotion(
  records: readonly NodeRecord[],
  id: ReplicaId,
  o: PromotionContext & { readonly acceptLossAbove: number | undefined },
): ForcedPromotion {
  const record = records.find((each) => each.id === id)
  const refuse = (why: string): never => {
    throw new CommittedTruncationError(`${id} is not promoted: ${why}`, {
      details: { replicaId: id, ...(o.acceptLossAbove === undefined ? {} : { acceptLossAbove: o.acceptLossAbove }) },
      hint: 'Pass acceptLossAbove: the LSN above which everything may be lost.',
    })
  }
  if (record === undefined) return refuse('nothing is known of it')
  if (record.storeId !== o.storeId) return refuse(`it is a replica of store ${record.storeId}`)
  if (!record.isIntact || record.state === 'rebuilding') return refuse('its log is not whole')
  if (!record.isRunning || record.state === 'stopped') return refuse('it does not run')
  if (record.epochSeen > o.epoch) return refuse(`it has seen epoch ${record.epochSeen}, the caller ${o.epoch}`)
  if (o.acceptLossAbove === undefined) return refuse('it may lack what was acknowledged, and no loss was accepted')
  if (record.readableLsn < o.acceptLossAbove) return refuse(`its log ends at LSN ${record.readableLsn}`)
  const upTo = records.reduce((last, each) => (each.storeId === o.storeId && each.isIntact ? Math.max(last, each.readableLsn) : last), record.readableLsn)
  return { id, lastMandate: record.lastMandate, lastEpoch: record.lastEpoch, readableLsn: record.readableLsn, above: record.readableLsn, upTo }
}

/** So many voters hold every committed write between them. */
function recordsNeeded(mode: AckMode, nodes: number): number {
  return mode === 'quorum' ? nodes - Math.floor(nodes / 2) : 1
}

/** In mode async nothing rests on what nodes confirmed. */
function isBelieved({ isAmnesic }: NodeRecord, mode: AckMode): boolean {
  return mode === 'async' || !isAmnesic
}

function isEligible(record: NodeRecord, epoch: number, mode: AckMode): boolean {
  const { role, isRunning, epochSeen, state } = record
  return role === 'voter' && isRunning && isBelieved(record, mode) && epochSeen <= epoch && PREFERRED.includes(state)
}

/** The longest first: by whose decision it was written last, then by last epoch, then by length. */
function byLog(a: NodeRecord, b: NodeRecord): number {
  return b.lastMandate - a.lastMandate || b.lastEpoch - a.lastEpoch || b.readableLsn - a.readableLsn
}

function byPreference(a: NodeRecord, b: NodeRecord): number {
  return PREFERRED.indexOf(a.state) - PREFERRED.indexOf(b.state) || (a.id < b.id ? -1 : 1)
}
