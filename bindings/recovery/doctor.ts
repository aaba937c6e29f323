// recovery/doctor.ts: `varve doctor`: what is pending, damaged or drifting in a store, and who would do what about it; and the facts that stand by themselves.
//
// Invariant: read-only, without a lock, also in a store that does not open; an advice never points at a tool that refuses.
import { branchNumber, listCheckpoints, loadPosition, type StateView, type StoreState } from '../engine/index.ts'
import { CorruptionError, StorageError } from '../errors.ts'
import { type Intent, toHex } from '../format/index.ts'
import { type Epoch, type Lsn, readClean, type UnlockInfo, unlockInfo } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import type { Decision, LostHistory, RepairAction, RepairProblem } from '../table/index.ts'
import { Owners } from './owners.ts'
import { type PendingItem, pendingWrites } from './pending.ts'
import { type Look, reportOf, type RepairParts, steadyLook } from './repair.ts'
import { lostBehind } from './repair-lost.ts'
import { isNote, QUARANTINE_PREFIX } from './repair-quarantine.ts'
import { listStaging } from './sweep.ts'

/** Who does it: the next read-write open, its writer, a person, `varve repair`, whoever has a backup; nobody has to. */
export type DoctorWho = 'open' | 'writer' | 'you' | 'repair' | 'backup' | 'nobody'

export interface DoctorFinding {
  readonly area: 'pending' | 'damaged' | 'drifting'
  /** A writeId or the name of a file. */
  readonly what: string
  readonly detail: string
  readonly who: DoctorWho
  readonly advice: string
  /** It does not settle by itself. */
  readonly needsPerson: boolean
}

export interface DoctorWrite {
  readonly writeId: string
  readonly kind: string
  readonly mode: 'auto' | 'hold'
  readonly state: 'armed' | 'sealed' | 'unreadable'
  readonly ageMs: number
  readonly message?: string
  /** What a sweep would do, with the evidence. */
  readonly decision: Decision
}

export interface QuarantineFolder {
  readonly folder: string
  readonly files: number
  readonly bytes: number
  readonly notes: readonly { readonly kind: string; readonly from: string; readonly why: string; readonly at: string }[]
}

export interface DoctorFacts {
  readonly lock: UnlockInfo
  readonly log: {
    readonly layout: 'segments' | 'slots'
    readonly tail: Lsn
    /** The last LSN that holds together. */
    readonly head: Lsn
    readonly segments: number
    readonly bytes: number
    /** Nothing is missing behind its end: the newest segment was sealed. */
    readonly sealed: boolean
    readonly epochs: readonly { readonly epoch: Epoch; readonly firstLsn: Lsn }[]
  }
  /** LSNs, newest first. */
  readonly checkpoints: readonly Lsn[]
  /** LSN of the last clean close. */
  readonly clean: Lsn | undefined
  /** Writes that have files in staging/, decided ones included. */
  readonly staging: readonly string[]
  /** Pins of other processes. */
  readonly leases: readonly string[]
  readonly quarantine: readonly QuarantineFolder[]
}

export interface DoctorReport {
  /** Nothing here needs a person. */
  readonly ok: boolean
  readonly id: string
  readonly url: string
  readonly findings: readonly DoctorFinding[]
  readonly pending: readonly DoctorWrite[]
  /** What a cut of a damaged log would lose. */
  readonly lost?: LostHistory
  readonly facts: DoctorFacts
}

/** @throws NotAStoreError, StoreTooNewError, StorageError */
export async function examineStore(given: RepairParts): Promise<DoctorReport> {
  const { root, world } = given
  const unlisted = await stagingFailure(root, world)
  const parts = unlisted === undefined ? given : { ...given, withoutStaging: true }
  const lock = await unlockInfo(root, world)
  const look = await steadyLook(parts)
  const isLive = lock.state === 'held' && lock.alive !== false
  const { actions, problems } = reportOf(false, look, undefined, [])
  const { log } = look
  const pending = log.state === undefined || unlisted !== undefined ? [] : await pendingIn(parts, log, log.state)
  const findings: DoctorFinding[] = [
    ...(lock.state === 'unreadable' ? [lockFinding(lock)] : []),
    ...pending.map((item) => pendingFinding(item)),
    ...actions.filter(({ kind }) => kind !== 'quarantine-orphan' && kind !== 'quarantine-intent').map((action) => damageFinding(action, pending)),
    ...problems.map(problemFinding),
    // What a write that cannot be seen has promoted looks like drift.
    ...(unlisted === undefined ? driftFindings(look, pending, isLive) : [unlisted]),
  ]
  const lost = log.cut === undefined ? undefined : await lostBehind(parts, log, log.cut)
  return {
    ok: !findings.some(({ needsPerson }) => needsPerson),
    id: toHex(log.storeId),
    url: root.url,
    findings,
    pending: pending.map(writeOf),
    ...(lost === undefined ? {} : { lost }),
    facts: await factsOf(parts, look, lock, unlisted === undefined ? await listStaging(root, world) : []),
  }
}

// pending

/** What is pending cannot be told: said as a finding, since the rest of the store can be looked at. */
async function stagingFailure(root: Root, world: World): Promise<DoctorFinding | undefined> {
  try {
    await listStaging(root, world)
    return undefined
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    return {
      area: 'damaged',
      what: 'staging/',
      detail: `it cannot be listed, so that pending writes and files that nothing names cannot be told: ${error.message}`,
      who: 'you',
      advice: 'Make it readable for this user, or look at the storage; no read-write open gets past it.',
      needsPerson: true,
    }
  }
}

async function pendingIn({ root, world, context }: RepairParts, { log, storeId }: Look['log'], state: StoreState): Promise<PendingItem[]> {
  const viewOf = async (intent: Intent): Promise<StateView | undefined> => {
    const branch = branchNumber(state.catalog.branches, intent)
    if (branch === undefined || branch === state.branch || log === undefined) return branch === undefined ? undefined : state
    const source = { root, log, storeId, context: context(), branches: () => state.catalog.branches, invalid: () => undefined }
    return await loadPosition(source, { branch, lsn: state.applied })
  }
  const owners = new Owners({ root, world, writerId: undefined, isExclusive: false, isLive: () => false })
  return await pendingWrites({ root, world, state, owners, viewOf, overlap: async () => [] })
}

function writeOf({ writeId, state, subject, decision, ageMs }: PendingItem): DoctorWrite {
  const { intent } = subject
  const message = intent?.message === undefined ? {} : { message: intent.message }
  return { writeId, kind: intent?.kind ?? 'unknown', mode: intent?.mode ?? 'auto', state, ageMs, ...message, decision }
}

function pendingFinding(item: PendingItem): DoctorFinding {
  const { writeId, state, decision } = item
  const why = [decision.reason, ...decision.evidence.map(({ what }) => what)].filter((text) => text !== undefined && text !== '').join('; ')
  const detail = `${state}, ${decision.kind}${why === '' ? '' : ` (${why})`}, rule ${decision.rule}`
  return { area: 'pending', what: writeId, detail, ...whoDecides(item) }
}

function whoDecides({ writeId, state, decision }: PendingItem): Pick<DoctorFinding, 'who' | 'advice' | 'needsPerson'> {
  switch (decision.kind) {
    case 'keep':
      return { who: 'you', advice: `Sealed and kept for its user: varve staged publish or rollback ${writeId}.`, needsPerson: false }
    case 'wait':
      return { who: 'writer', advice: 'Its writer may be at work; an open decides it once that one is gone.', needsPerson: false }
    case 'refuse':
      if (decision.reason === 'DamagedStagedWriteError')
        return { who: 'you', advice: `It cannot be published as it is: varve staged rollback ${writeId}, or put its files back.`, needsPerson: true }
      if (decision.reason === 'InvariantError' && state === 'sealed')
        return { who: 'backup', advice: 'A table is older than this write expects: restore the store from a backup.', needsPerson: true }
      return { who: 'repair', advice: 'varve repair --confirm moves what cannot be believed to quarantine.', needsPerson: true }
    default:
      return { who: 'open', advice: 'The next read-write open does it.', needsPerson: false }
  }
}

// damage

function damageFinding(action: RepairAction, pending: readonly PendingItem[]): DoctorFinding {
  const { kind, file, detail, needs, safe } = action
  // Repair does not touch files beside an undecided write; what keeps the store from opening it does.
  const isBlocked = kind === 'rebuild-index' && pending.some(({ decision }) => decision.kind !== 'refuse')
  const command = `varve repair --confirm${needs === undefined ? '' : ` ${needs}`}`
  const advice = isBlocked ? `After the pending writes are decided: ${command}.` : `${command}${safe ? '' : ', after a look at what it loses'}.`
  return { area: 'damaged', what: file, detail: `${kind}: ${detail}`, who: 'repair', advice, needsPerson: true }
}

/** No writer gets past it, repair neither. */
function lockFinding({ number }: UnlockInfo): DoctorFinding {
  const advice = 'If no process has the store open: varve unlock --force.'
  return { area: 'damaged', what: `LOCK.${number}`, detail: 'it cannot be read: its check does not match', who: 'you', advice, needsPerson: true }
}

function problemFinding({ file, message, advice }: RepairProblem): DoctorFinding {
  return { area: 'damaged', what: file, detail: message, who: 'backup', advice, needsPerson: true }
}

// drift

/** Files that nothing names (recovery.md section 9): no drift for writers, and told. */
function driftFindings({ files, log }: Look, pending: readonly PendingItem[], isLive: boolean): DoctorFinding[] {
  if (files === undefined) return []
  const area = 'drifting'
  return files.orphans.map((what) => {
    const detail = 'no record, checkpoint or intent names it'
    if (isLive || log.layout === 'slots')
      return { area, what, detail: `${detail}; a writer may be about to`, who: 'nobody', advice: 'Look again when no write is under way.', needsPerson: false }
    if (pending.length > 0)
      return {
        area,
        what,
        detail: `${detail}; a pending write may have promoted it`,
        who: 'open',
        advice: 'A pending write must be rolled back or forward first: reopen read-write.',
        needsPerson: false,
      }
    return { area, what, detail, who: 'nobody', advice: 'Harmless; varve repair --confirm moves it to quarantine.', needsPerson: false }
  })
}

// facts

async function factsOf({ root }: RepairParts, { log }: Look, lock: UnlockInfo, staging: readonly string[]): Promise<DoctorFacts> {
  const { survey, layout } = log
  const names: string[] = []
  for await (const { name } of root.list('leases/')) names.push(name)
  return {
    lock,
    log: {
      layout,
      tail: log.log?.tail ?? (BigInt(survey.tail) as Lsn),
      head: log.log?.head ?? (BigInt(survey.lastLsn) as Lsn),
      segments: log.log?.segments ?? survey.names.length,
      bytes: log.log?.bytes ?? survey.segments.bytes,
      sealed: survey.sealed,
      epochs: log.log?.lineage ?? [],
    },
    checkpoints: (await listCheckpoints(root)).map((lsn) => BigInt(lsn) as Lsn),
    clean: await cleanOf(root),
    staging,
    leases: names,
    quarantine: await quarantineOf(root),
  }
}

async function cleanOf(root: Root): Promise<Lsn | undefined> {
  try {
    const mark = await readClean(root)
    return mark === undefined ? undefined : (BigInt(mark.lsn) as Lsn)
  } catch (error) {
    if (error instanceof CorruptionError) return undefined
    throw error
  }
}

async function quarantineOf(root: Root): Promise<QuarantineFolder[]> {
  const folders = new Map<string, { files: number; bytes: number; notes: QuarantineFolder['notes'][number][] }>()
  for await (const { name, size } of root.list(QUARANTINE_PREFIX)) {
    const slash = name.indexOf('/', QUARANTINE_PREFIX.length)
    const folder = slash < 0 ? QUARANTINE_PREFIX.slice(0, -1) : name.slice(0, slash)
    const entry = folders.get(folder) ?? { files: 0, bytes: 0, notes: [] }
    folders.set(folder, entry)
    const note = await isNote(root, name)
    if (note === undefined) {
      entry.files++
      entry.bytes += size
    } else if (note !== 'audited') entry.notes.push({ kind: note.kind, from: note.from, why: note.why, at: note.at })
  }
  return [...folders].map(([folder, entry]) => ({ folder, ...entry }))
}
