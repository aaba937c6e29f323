// format/mandate.ts: by whose decision a primary writes, as one number that can be compared (decision 0030). In NODE, in a hello, and with the records that it writes.
//
//   0 nobody decided anything: plain starts alone | 2e: opened with { epoch: e } | 2e + 1: promoted by who had fenced the nodes at e
//
// The epoch says who wrote later, and grows with every start; the mandate grows only where somebody decides. It is what Paxos calls a ballot: a fence at e asks nodes
// to promise that nothing below 2e is followed any more. One number may be decided on twice by mistake, so each decision has an id beside it: a node follows one decision
// of a number (decision 0035). Invariant: a promotion is above a claim of the same epoch: who is opened with the epoch of a fence that was
// believed to have come to nothing does not pass for the node that was promoted at it.

/** Lower-case hex; of who writes by nobody's decision: none. */
export const NO_DECISION = ''
export const DECISION_BYTES = 16

/** Of a log without a NODE, whose epochs nobody can claim twice: its number tells. */
export function decisionOfEpoch(epoch: number): string {
  return epoch.toString(16).padStart(2 * DECISION_BYTES, '0')
}

/** Of who opens a store with `{ epoch }`; and what a fence at that epoch demands at least. */
export function mandateOfClaim(epoch: number): number {
  return 2 * epoch
}

/** @param epoch  that of the fence */
export function mandateOfPromotion(epoch: number): number {
  return 2 * epoch + 1
}

export function isPromotion(mandate: number): boolean {
  return mandate % 2 === 1
}

/** From `firstLsn` on records are of this epoch. */
export interface Mark {
  readonly epoch: number
  readonly firstLsn: number
  /** By which its writer wrote; absent: nobody's. */
  readonly mandate?: number
}

/** A mark of a lineage: a mandate is told where there is one. */
export function markOf(epoch: number | bigint, firstLsn: number | bigint, mandate: number | undefined): Mark {
  const mark = { epoch: Number(epoch), firstLsn: Number(firstLsn) }
  return mandate === undefined || mandate === 0 ? mark : { ...mark, mandate }
}

/** The epoch that was decided on. */
export function epochOfMandate(mandate: number): number {
  return Math.floor(mandate / 2)
}

/** Whether both came of one number: of what follows one of them no other one is followed. */
export function isOfOneNumber(a: number, b: number): boolean {
  return epochOfMandate(a) > 0 && epochOfMandate(a) === epochOfMandate(b)
}

/** Whether who has promised that, and follows that decision (or none yet), cannot take one of the mandate: it would vote twice, or against its promise. */
export function hasVoted(mandate: number, { promised, decision }: { readonly promised: number; readonly decision: string }): boolean {
  return mandate <= promised || (isOfOneNumber(mandate, promised) && decision !== NO_DECISION)
}
