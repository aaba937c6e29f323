// ship/classify.ts: what a replica needs, from its hello and one history (table of shipping.md section 5; row numbers in the comments are that table's).
//
// One pure function gives outcome and proof, so that they cannot disagree. Invariant: an LSN proves nothing by its number: a replica counts as equal only where
// its digest at the match point was compared and agrees, and nothing that was promised to it is ever cut away.

import { FencedError } from '../errors.ts'
import { HistoryMissingError, ProtocolVersionError, ReplicaMismatchError, StoreMismatchError } from '../errors-ship.ts'
import { digestQuestion, holdsElision, homonymsOf, matchPoint } from './match-point.ts'
import type { Agreement, EpochMark, Handshake, Hello, Outcome, ReplicaId, RetainedHistory } from './types.ts'

/** Of this side's hello. */
export const PROTOCOL_VERSION = 1

export interface ClassifyOptions {
  /** Files that nothing needs at the target may be left out of a replay. */
  readonly elision?: boolean
}

interface Facts {
  readonly R: number
  readonly RC: number
  readonly H: number
  readonly T: number
  readonly G: number
  readonly C: number
  /** null: no lineage. */
  readonly D: number | null
}

interface Ruling {
  readonly outcome: Outcome
  readonly reason: string
  readonly detail: string
  readonly start: number
  readonly target: number
  readonly truncateTo: number | null
  readonly elideDead: boolean
}

/**
 * @param agreement of the digests at digestQuestion(); it must be of the match point of this hello and this history
 * @throws HistoryMissingError
 * @throws RangeError: an agreement that does not answer what had to be asked, or positions that are no LSNs
 */
export function classify(hello: Hello, history: RetainedHistory | null, agreement: Agreement | null, o: ClassifyOptions = {}): Handshake {
  if (history === null) throw new HistoryMissingError(`no history to classify replica ${hello.replicaId} against`, { details: { replicaId: hello.replicaId } })
  const facts: Facts = {
    R: hello.durableLsn,
    RC: hello.committedLsn,
    H: history.headLsn,
    T: history.tailLsn,
    G: history.fragmentFloorLsn,
    C: history.committedLsn,
    D: matchPoint(hello, history),
  }
  for (const [name, value] of Object.entries(facts)) {
    if (value !== null && (!Number.isSafeInteger(value) || value < 0)) throw new RangeError(`${name} of replica ${hello.replicaId} is ${value}, not an LSN`)
  }
  const byTable =
    beforeMatch(facts, o) ?? ruleBySuccessor(hello, history) ?? ruleByMatch(facts, digestQuestion(hello, history), agreement, o) ?? ruleOnOurLine(facts, o)
  const { detail, ...ruling } = ruleByElision(byTable, hello, history) ?? byTable
  const recoverable = isRecoverable(ruling)
  const { R, RC, H, T, G, C, D } = facts
  return Object.freeze({
    ...ruling,
    proof: Object.freeze({
      recoverable,
      reason: ruling.reason,
      detail,
      replicaDurableLsn: R,
      replicaCommittedLsn: RC,
      committedLsn: C,
      tailLsn: T,
      headLsn: H,
      fragmentFloorLsn: G,
      matchLsn: D,
    }),
  })
}

/** Rows 1 to 3: what the numbers alone decide. */
function beforeMatch({ R, RC, H, T, G, C }: Facts, o: ClassifyOptions): Ruling | undefined {
  // 1: the replica was promised more than this log holds: this primary lost its own end, or is not the newest.
  if (RC > H) return stopped('halt', 'primary_behind', `replica committed=${RC}, head=${H}`, R)
  // 2
  if (R === 0 && T === 0 && G === 0) return replay(0, C, 'bootstrap', { T, H, G, exactDetail: C === 0 ? 'nothing is committed yet' : undefined }, o)
  // 3
  if (R < T) return stopped('needs_rebuild', 'gap_beyond_retention', `need ${R + 1}, tail=${T}`, R)
  return undefined
}

/**
 * Between 3 and 4: another primary wrote after what this one knows to be committed, and nobody has promoted this one since. Its records may have been acknowledged
 * by others without a word of that to this replica: an old primary that was started again must not cut them off, whatever epoch it has claimed.
 */
function ruleBySuccessor(hello: Hello, history: RetainedHistory): Ruling | undefined {
  const { lineage, durableLsn } = hello
  const { lineage: own, mandate, promotion = 0 } = history
  if (lineage === null || mandate === undefined) return undefined
  const homonyms = homonymsOf(lineage, hello, history)
  const isOurs = (epoch: number): boolean => own.some((mark) => mark.epoch === epoch) && !homonyms.has(epoch)
  // An epoch may be high by the starts of its node alone: who was decided on later is a successor, too.
  const decided = own.find(({ epoch }) => epoch === mandate)
  const isLater = (mark: EpochMark): boolean => mark.epoch > mandate || (decided !== undefined && (mark.mandate ?? 0) > (decided.mandate ?? 0))
  const successor = lineage.find((mark) => isLater(mark) && (mark.mandate ?? 0) >= promotion && mark.firstLsn <= durableLsn && !isOurs(mark.epoch))
  if (successor === undefined) return undefined
  const { epoch, firstLsn } = successor
  return stopped('halt', 'split_history', `a primary of epoch ${epoch} wrote from LSN ${firstLsn} on, and this one was not promoted since`, durableLsn)
}

/**
 * Over every row that lets it go on: by another primary's word files are missing that its records name, dead at an LSN that this log does not have. Here they may be
 * needed, and nobody would ask for them again; nor would it show anything before that LSN, however far it is.
 */
function ruleByElision(ruling: Ruling, { elided, durableLsn }: Hello, history: RetainedHistory): Ruling | undefined {
  if (elided === null || !isRecoverable(ruling) || holdsElision(history, elided)) return undefined
  const detail = `files up to ${elided.lsn} were left out by the word of a primary of epoch ${elided.epoch}, whose records up to there are not in this log; replica=${durableLsn}`
  return stopped('needs_rebuild', 'fragments_reclaimed', detail, durableLsn)
}

function isRecoverable({ outcome }: Pick<Ruling, 'outcome'>): boolean {
  return outcome === 'zero_gap' || outcome === 'catch_up'
}

/** Rows 4 to 7: histories that differ, or a replica that is ahead of what they share. */
function ruleByMatch(facts: Facts, asked: number | null, agreement: Agreement | null, o: ClassifyOptions): Ruling | undefined {
  const { R, RC, T, G, C, H, D } = facts
  if (D === null) return undefined
  if (agreement !== null && agreement.matchLsn !== D) throw new RangeError(`an agreement about ${agreement.matchLsn}, but the logs part at ${D}`)
  const agrees = agreement?.agrees
  if (asked !== null && agrees === false) {
    const at = `digests differ at ${D}, replica committed=${RC}`
    // 4a
    if (agreement?.replicaSound === false) return stopped('needs_rebuild', 'replica_corrupt', `${at}, and its own chain is broken`, R)
    if (RC === 0) return stopped('needs_rebuild', 'lineage_conflict', at, R)
    if (agreement?.replicaSound === undefined) throw new RangeError(`digests differ at ${D}, but the replica was not asked to verify its own chain`)
    // 4b
    return stopped('halt', 'split_history', `${at}, and both chains are sound`, R)
  }
  // The digest at R came with the hello.
  if (asked !== null && agrees === undefined && D === R) throw new RangeError(`digests at ${D} were not compared`)
  if (D === R) return undefined
  // 5
  if (D < RC) return stopped('halt', 'committed_truncation', `logs part at ${D}, replica committed=${RC}`, R)
  // 6
  if (D < T) return stopped('needs_rebuild', 'lineage_conflict', `logs part at ${D}, tail=${T}`, R)
  // The replica no longer knows its digest there (nor could it get back there): as good as a match below the tail.
  if (asked !== null && agrees === undefined) return stopped('needs_rebuild', 'lineage_conflict', `the replica cannot show its digest at ${D}`, R)
  // 7a
  const elideDead = D < C && D < G
  if (elideDead && o.elision !== true) return stopped('needs_rebuild', 'fragments_reclaimed', `need files of ${D + 1}..${C}, floor=${G}`, R)
  // 7b
  const target = Math.max(C, D)
  const detail = `${needed(D, target, T, H)}, truncate ${R} to ${D}`
  return { outcome: 'catch_up', reason: 'replica_ahead_needs_truncation', detail, start: D, target, truncateTo: D, elideDead }
}

/** Rows 8 to 11: everything the replica holds is on our line (D = R), or it cannot say (no lineage). */
function ruleOnOurLine(facts: Facts, o: ClassifyOptions): Ruling {
  const { R, RC, T, G, H, C, D } = facts
  // 10, 11
  if (R < C) return replay(R, C, 'gap_within_retention', { T, H, G }, o)
  const nothing = { outcome: 'zero_gap', start: R, target: R, truncateTo: null, elideDead: false } as const
  // 8, 8'
  if (R === C) return { ...nothing, reason: D === null ? 'zero_gap_unverified' : 'zero_gap', detail: `replica=${R} committed=${C} head=${H}` }
  // 9
  if (D !== null) return { ...nothing, reason: 'ahead_consistent', detail: `replica=${R} committed=${C} head=${H}, digests agree at ${R}` }
  // 9''
  if (RC > C) return stopped('halt', 'committed_truncation', `replica committed=${RC}, committed=${C}, and it sent no lineage`, R)
  // 9'
  const detail = `${needed(C, C, T, H)}, truncate ${R} to ${C}`
  return { outcome: 'catch_up', reason: 'replica_ahead_needs_truncation', detail, start: C, target: C, truncateTo: C, elideDead: false }
}

function replay(
  start: number,
  target: number,
  reason: string,
  at: { T: number; H: number; G: number; exactDetail?: string | undefined },
  o: ClassifyOptions,
): Ruling {
  const elideDead = start < at.G
  if (elideDead && o.elision !== true) return stopped('needs_rebuild', 'fragments_reclaimed', `need files of ${start + 1}..${target}, floor=${at.G}`, start)
  const detail = at.exactDetail ?? needed(start, target, at.T, at.H)
  return { outcome: start === target ? 'zero_gap' : 'catch_up', reason, detail, start, target, truncateTo: null, elideDead }
}

function needed(start: number, target: number, T: number, H: number): string {
  return `need ${start === target ? 'nothing' : `${start + 1}..${target}`}, tail=${T} head=${H}`
}

function stopped(outcome: 'needs_rebuild' | 'halt', reason: string, detail: string, at: number): Ruling {
  return { outcome, reason, detail, start: at, target: at, truncateTo: null, elideDead: false }
}

/** Who may say hello to a sender. */
export interface Expected {
  readonly replicaId: ReplicaId
  /** Lower-case hex. */
  readonly storeId: string
  readonly epoch: number
}

export interface Refusal {
  readonly reason: 'protocol_version' | 'store_mismatch' | 'replica_mismatch' | 'fenced'
  readonly error: ProtocolVersionError | StoreMismatchError | ReplicaMismatchError | FencedError
}

/** Why a hello is refused before anything is classified; undefined: it is not. */
export function refuseHello(hello: Hello, expected: Expected): Refusal | undefined {
  const { replicaId, storeId, epoch } = expected
  if (hello.protocol !== PROTOCOL_VERSION) {
    const message = `replica ${replicaId} speaks protocol ${hello.protocol}, this side ${PROTOCOL_VERSION}`
    return { reason: 'protocol_version', error: new ProtocolVersionError(message, { details: { replicaId, held: PROTOCOL_VERSION, seen: hello.protocol } }) }
  }
  if (hello.replicaId !== replicaId) {
    const message = `replica ${hello.replicaId} answers at the endpoint of ${replicaId}`
    return { reason: 'replica_mismatch', error: new ReplicaMismatchError(message, { details: { replicaId, seen: hello.replicaId } }) }
  }
  if (hello.storeId !== '' && hello.storeId !== storeId) {
    const message = `replica ${replicaId} holds store ${hello.storeId}, not ${storeId}`
    return { reason: 'store_mismatch', error: new StoreMismatchError(message, { details: { replicaId, held: storeId, seen: hello.storeId } }) }
  }
  if (hello.epochSeen > epoch) {
    const message = `replica ${replicaId} has seen epoch ${hello.epochSeen}, this primary is at ${epoch}`
    return { reason: 'fenced', error: new FencedError(message, { details: { scope: 'primary', held: BigInt(epoch), seen: BigInt(hello.epochSeen) } }) }
  }
  return undefined
}
