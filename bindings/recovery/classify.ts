// recovery/classify.ts: what to do with a write that stopped half-way: the tables p1..p9 and d1..d12 of recovery.md section 5, first match wins.
//
// Pure: no I/O, no clock. What was seen comes as data (observe.ts makes it) and the decision is data; sweep, heal and `varve repair` act on it, doctor prints it.
// Of what this engine writes only deletes by position in tables without a key can be `Rebase` or lose a fragment (p5', d10'): every other position is computed
// when the write is published. An optimize is `Rebase` whatever its table: its writer knows where each row went, and nobody after it does.

import type { Intent, Participant } from '../format/index.ts'
import type { Decision, Evidence } from '../table/index.ts'

export type ParticipantClass = 'Regressed' | 'Gone' | 'FileMissing' | 'FileCorrupt' | 'Untouched' | 'Rebase' | 'Compatible' | 'Conflicting'

export interface ObservedFile {
  /** Where it was looked for, or found. */
  readonly name: string
  readonly state: 'present' | 'missing' | 'corrupt'
  /** How a damaged one differs. */
  readonly detail?: string
}

/** What a participant's table and files look like now. Same order as the participants of the intent. */
export interface ObservedParticipant {
  readonly tableId: number
  /** LSN of the last record that changed the table, decimal; undefined: no such table. */
  readonly version: string | undefined
  readonly incarnation: number | undefined
  /** Files of the seal; empty for an Armed write and where nobody needs to know. */
  readonly files: readonly ObservedFile[]
  /** Fragments of `removes` and `addresses`, as `<lsn>.<ordinal>`, that are no longer live at the deletion version they were read at. */
  readonly moved: readonly string[]
  readonly keyed: boolean
  /** For rule `keys` above the expected version: keys it wrote that were written since, as text, a few of them. */
  readonly overlap: readonly string[]
}

/** The file `staging/<writeId>/INTENT`. */
export type ObservedIntent =
  | { readonly state: 'ok' | 'absent'; readonly path: string }
  /** `mismatch`: readable, and of another write than the seal under its id. */
  | { readonly state: 'corrupt' | 'newer' | 'mismatch'; readonly path: string; readonly cause: string }

export interface Observed {
  /** The name of the staging directory, or the id in the seal. */
  readonly writeId: string
  readonly file: ObservedIntent
  /** A seal of this id is in the log and pending. */
  readonly sealed: boolean
  /** What the log says became of it. */
  readonly outcome: 'published' | 'rolledBack' | undefined
  /** Neither pending nor decided, and prepared below `outcomeFloor`: decided and forgotten, or never to be decided. */
  readonly forgotten: boolean
  /** The branch incarnation is in the fold. */
  readonly branchLive: boolean
  /** Unknown: nobody has watched it long enough. */
  readonly owner: 'alive' | 'dead' | 'unknown'
  /** The accepted definitions against those the write was prepared with. */
  readonly schema: 'same' | 'compatible' | 'incompatible'
  /** `holdUntil` lies before the time of the newest record, or before the time of whoever looked. */
  readonly expired: boolean
  /** A table is older than the write expects, and this node was promoted since it was prepared: that history was given up. */
  readonly givenUp: boolean
  readonly participants: readonly ObservedParticipant[]
}

const REFUSALS = { corrupt: 'CorruptIntentError', newer: 'IntentVersionError', mismatch: 'IntentMismatchError' } as const

/**
 * The decision for one write.
 *
 * @param intent  the sealed form where there is one, else the INTENT; undefined where it cannot be read or is not there
 */
export function classify(observed: Observed, intent: Intent | undefined): Decision {
  const { writeId, file, sealed, outcome } = observed
  const evidence: Evidence[] = []
  const unreadable = file.state === 'corrupt' || file.state === 'newer'
  const logDecides = outcome !== undefined || (sealed && file.state !== 'mismatch')
  if ('cause' in file) evidence.push({ rule: logDecides ? "d1'" : 'd1', what: file.cause, files: [file.path] })
  const decide = (rule: string, kind: Decision['kind'], what: string, reason?: string): Decision => ({
    kind,
    writeId,
    rule,
    ...(reason === undefined ? {} : { reason }),
    ...(unreadable && sealed ? { shadowed: true } : {}),
    evidence: [...evidence, { rule, what }],
  })

  // A fused record and a rollback are the log's word as much as a seal: only an INTENT that stands alone needs to be readable.
  if (!logDecides && 'cause' in file) {
    return { kind: 'refuse', writeId, rule: 'd1', reason: REFUSALS[file.state], evidence }
  }
  if (outcome !== undefined) return decide('d2', 'retire', `the log says ${outcome}`)
  if (observed.forgotten) return decide("d2'", 'retire', 'prepared below the outcome floor')
  if (intent === undefined) return decide('d2', 'retire', 'no INTENT: its write was decided')

  const classes = intent.participants.map((participant, i) => {
    const seen = classifyParticipant(observed.participants[i]!, participant)
    evidence.push({ rule: seen.rule, what: `${seen.class}: ${seen.what}`, table: participant.name, ...(seen.files === undefined ? {} : { files: seen.files }) })
    return seen.class
  })
  const has = (...wanted: readonly ParticipantClass[]): boolean => classes.some((each) => wanted.includes(each))

  if (has('Regressed') && !observed.givenUp) return decide('d3', 'refuse', 'a table is older than the write expects', 'InvariantError')
  if (!observed.branchLive) return decide('d4', 'discard', `branch ${intent.branch} (${intent.branchId}) is gone`, 'branch-deleted')
  if (has('Regressed')) return decide("d3'", 'rollback', 'prepared on versions that were given up before this node was promoted', 'given-up')
  if (!sealed) {
    if (observed.owner !== 'dead') return decide('d5', 'wait', observed.owner === 'alive' ? 'its writer lives' : 'its writer may live')
    return decide('d6', 'rollback', 'never sealed, and its writer is gone', 'unsealed')
  }
  const held = intent.mode === 'hold'
  if (has('FileMissing', 'FileCorrupt')) {
    if (held) return decide('d8', 'refuse', 'held, and a file is damaged: its user decides', 'DamagedStagedWriteError')
    return decide('d7', 'rollback', 'a file is damaged', 'damaged')
  }
  if (held) {
    if (observed.expired) return decide('d12', 'rollback', `held until ${intent.holdUntil}`, 'expired')
    return decide('d12', 'keep', 'held for its user')
  }
  const schemaMoved = intent.kind === 'schema' ? observed.schema !== 'same' : observed.schema === 'incompatible'
  if (schemaMoved) return decide('d9', 'rollback', 'the definitions have changed', 'schema')
  if (has('Conflicting', 'Gone')) return decide('d10', 'rollback', 'another write won', 'conflict')
  if (has('Rebase')) {
    if (observed.owner === 'alive') return decide("d10'", 'rebase', 'rows it names have moved')
    return decide("d10'", 'rollback', 'rows it names have moved', 'moved')
  }
  return decide('d11', 'rollForward', 'sealed, and nothing contradicts it')
}

interface Seen {
  readonly class: ParticipantClass
  readonly rule: string
  readonly what: string
  readonly files?: readonly string[]
}

/** Its table is older than the write expects. */
export function isBehind({ version }: ObservedParticipant, { expectedVersion }: Participant): boolean {
  return version !== undefined && BigInt(version) < BigInt(expectedVersion)
}

/** One participant against its table and files. */
export function classifyParticipant(observed: ObservedParticipant, participant: Participant): Seen {
  const { version, files, moved, overlap } = observed
  const expected = BigInt(participant.expectedVersion)
  if (isBehind(observed, participant)) return { class: 'Regressed', rule: 'p1', what: `version ${version}, expected ${expected}` }
  if (version === undefined || observed.incarnation !== participant.incarnation) {
    const now = observed.incarnation === undefined ? 'no such table' : `incarnation ${observed.incarnation}`
    return { class: 'Gone', rule: 'p2', what: `${now}, prepared against ${participant.incarnation}` }
  }
  const missing = files.filter((file) => file.state === 'missing')
  if (missing.length > 0) return { class: 'FileMissing', rule: 'p3', what: missing.map(describeFile).join('; '), files: missing.map((file) => file.name) }
  const corrupt = files.filter((file) => file.state === 'corrupt')
  if (corrupt.length > 0) return { class: 'FileCorrupt', rule: 'p4', what: corrupt.map(describeFile).join('; '), files: corrupt.map((file) => file.name) }
  // Before p5: an optimize moves rows and leaves the version of their table as it is.
  if (moved.length > 0) {
    const what = `fragments ${moved.join(', ')} are not as they were read`
    return { class: observed.keyed || participant.op === 'compact' ? 'Rebase' : 'Conflicting', rule: "p5'", what }
  }
  if (BigInt(version) === expected) return { class: 'Untouched', rule: 'p5', what: `version ${version}` }
  const newer = `version ${version}, expected ${expected}`
  if (participant.rule === 'commute') return { class: 'Compatible', rule: 'p6', what: `${newer}, commutes` }
  if (participant.rule === 'keys') {
    if (overlap.length === 0) return { class: 'Compatible', rule: 'p7', what: `${newer}, other keys` }
    return { class: 'Conflicting', rule: 'p8', what: `${newer}, written since: ${overlap.join(', ')}` }
  }
  return { class: 'Conflicting', rule: 'p9', what: newer }
}

function describeFile({ name, state, detail }: ObservedFile): string {
  return detail === undefined ? `${name} is ${state}` : `${name} is ${state}: ${detail}`
}
