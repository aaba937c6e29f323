// recovery/repair.ts: `varve repair`: first what keeps the store from opening, under the LOCK alone; then, with the log open, its files; each action noted,
// its original in quarantine, and told once by an audit record under the id of its note (recovery.md section 9).
//
//   look (no lock, no write) -> [confirm] LOCK, look again, log actions, release -> open the log, look again, file actions -> audit records -> clean close
//
// Invariant: without `confirm` nothing changes; a repair that was cut short anywhere is finished by the next one, and one that has nothing to do writes nothing.
// A readable INTENT stops it, for an open decides that write; unless the open itself is what has to be repaired.
import { givenUpOf, KIND_AUDIT, newestCheckpoint, type StateContext, StoreState, writeCheckpoint } from '../engine/index.ts'
import { CorruptionError, HistoryUnavailableError, InvalidConfigError, PendingIntentError } from '../errors.ts'
import { type AuditFacts, ByteWriter, encodeAudit } from '../format/index.ts'
import {
  type CommitLog,
  type CutPoint,
  type Lock,
  type Lsn,
  openObjectLog,
  openSegmentLog,
  type OpenRetry,
  readSurveyed,
  surveyAt,
  takeLock,
  unlockInfo,
} from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import { ulidBytes, type World } from '../runtime/index.ts'
import type { LostHistory, RepairAction, RepairProblem, RepairRefusal, RepairReport } from '../table/index.ts'
import { examineFiles, type FileAction, type FileFindings, type FileParts, readableRecords, runFileAction } from './repair-files.ts'
import { checkDropAfter, examineLog, type LogFindings, resumed, runLogAction } from './repair-log.ts'
import { lostBehind } from './repair-lost.ts'
import { type KeptNote, Quarantine } from './repair-quarantine.ts'
import { sweepStagingFolders } from './sweep.ts'

const REPAIR_ACTOR = 'varve:repair'
const RETRY: OpenRetry = { delaysMs: [50, 100, 200, 400, 800], cleanupStale: true }

/** Looks at a store that somebody writes to: what two in a row agree on is believed. */
const LOOKS_MAX = 6
const LOOK_AGAIN_MS = 60

export interface RepairParts {
  readonly root: Root
  readonly world: World
  /** A context to fold states in. */
  readonly context: () => StateContext
  readonly signal?: AbortSignal | undefined
  /** `staging/` cannot be listed: only doctor goes on, and says so. */
  readonly withoutStaging?: boolean
}

export interface RepairOptions {
  /** Default false: a preview. */
  readonly confirm?: boolean | undefined
  /** The last LSN to keep of a damaged log. */
  readonly dropAfter?: Lsn | undefined
}

/** What repair finds and would do. Takes no lock and writes nothing. */
export interface Look {
  readonly log: LogFindings
  /** undefined: the state cannot be had, so that files cannot be judged. */
  readonly files: FileFindings | undefined
  readonly quarantine: Quarantine
  /** The cut that has to be made, or was asked for. */
  readonly cut: CutPoint | undefined
}

/** @throws NotAStoreError, StoreTooNewError, InvalidConfigError (dropAfter), StorageError */
export async function lookAt(parts: RepairParts, dropAfter?: Lsn): Promise<Look> {
  const quarantine = await Quarantine.of(parts.root, parts.world)
  const log = await examineLog(parts, quarantine)
  // Done already, by a repair that was cut short behind it: only its audit record is missing.
  const isDone = log.cut === undefined && quarantine.openNote('cut-log')?.cut?.lsn === Number(dropAfter)
  const given = dropAfter === undefined || isDone ? undefined : await checkDropAfter(parts, log, Number(dropAfter))
  const cut = given ?? (log.mustCut ? log.cut : undefined)
  if (log.state === undefined || log.log === undefined) return { log, files: undefined, quarantine, cut }
  const { storeId } = log
  const end = cut === undefined ? log.log : readSurveyed(parts.root, parts.world, storeId, surveyAt(log.survey, cut))
  const state = cut === undefined || cut.lsn === log.state.applied ? log.state : await stateAt(parts, storeId, end)
  const files = await examineFiles({ ...parts, log: end, storeId, state, isShared: log.layout === 'slots' })
  // What the log says of itself is judged above; checkpoints behind a cut go with it.
  const known = new Set(log.actions.map(({ file }) => file))
  const isAbove = (file: string): boolean => cut !== undefined && file.startsWith('checkpoints/') && Number(file.slice(12, 32)) > cut.lsn
  const actions = files.actions.filter(({ kind, file }) => kind !== 'drop-checkpoint' || !(known.has(file) || isAbove(file)))
  return { log, files: { ...files, actions }, quarantine, cut }
}

/** Beside a writer names come and go between two reads: what is found only once was never wrong. */
export async function steadyLook(parts: RepairParts, dropAfter?: Lsn): Promise<Look> {
  const { root, world, signal } = parts
  let before: string | undefined
  for (let n = 1; ; n++) {
    const { state, alive } = await unlockInfo(root, world)
    const isLive = state === 'held' && alive !== false
    try {
      const look = await lookAt(parts, dropAfter)
      const { log, files } = look
      const found = [...log.actions, ...log.problems, ...(files?.actions ?? []), ...(files?.problems ?? [])].map((each) => each.file).join('\n')
      if (!isLive || found === '' || found === before || n === LOOKS_MAX) return look
      before = found
    } catch (error) {
      // A segment that was trimmed, or recycled, under the look.
      const isGone = isNotFound(error)
      const mayPass = isGone || error instanceof HistoryUnavailableError || error instanceof CorruptionError
      if (!isLive || !mayPass || n === LOOKS_MAX) throw error
    }
    await world.timers.sleep(LOOK_AGAIN_MS, signal, true)
  }
}

async function stateAt(parts: RepairParts, storeId: Uint8Array, log: CommitLog): Promise<StoreState> {
  return await StoreState.load(parts.context(), log, await newestCheckpoint(parts.root, storeId, Number(log.head)))
}

/**
 * Puts right what can be, in a store that may not open.
 *
 * @throws PendingIntentError, LockHeldError, OpenLockTimeoutError, NotAStoreError, StoreTooNewError, InvalidConfigError (dropAfter), StorageError
 */
export async function repairRoot(parts: RepairParts, o: RepairOptions = {}): Promise<RepairReport> {
  const look = await steadyLook(parts, o.dropAfter)
  const cut = look.cut ?? look.log.cut
  const lost = cut === undefined ? undefined : await lostBehind(parts, look.log, cut)
  if (o.confirm !== true) return reportOf(false, look, lost, [])
  const mayCut = look.cut === undefined || o.dropAfter !== undefined || resumed(look.quarantine, look.log.survey) !== undefined
  const isFixable = mayCut && look.log.problems.length === 0
  if (!isFixable) return reportOf(true, look, lost, [])
  const unreadable = look.files?.actions.filter(isIntent) ?? []
  const urgent = look.log.actions.filter(isWanted(look))
  if (urgent.length === 0 && unreadable.length === 0) refusePending(look.files)
  const done: RepairAction[] = []
  if (urgent.length > 0) done.push(...(await repairLog(parts, o.dropAfter)))
  const hasFiles = look.files === undefined || look.files.actions.length > 0
  const after = done.length > 0 || hasFiles || look.quarantine.open.length > 0 ? await repairFiles(parts, look.log) : undefined
  const folders = [...new Set([...look.quarantine.open, ...(after?.notes ?? [])].map(({ folder }) => folder))]
  return {
    confirmed: true,
    actions: [...done.map(plain), ...(after?.findings.actions ?? []).map(plain)],
    ...(lost === undefined ? {} : { lost }),
    problems: [...(after?.findings.problems ?? []), ...(after?.failed ?? [])],
    pending: after?.findings.pending ?? [],
    quarantine: folders,
  }
}

export function reportOf(confirmed: boolean, look: Look, lost: LostHistory | undefined, quarantine: readonly string[]): RepairReport {
  const { log, files, cut } = look
  const needs = cut === undefined ? {} : { needs: `--drop-after ${cut.lsn}` }
  return {
    confirmed,
    actions: [
      ...log.actions.map((action) => (action.kind === 'cut-log' ? { ...plain(action), ...needs } : plain(action))),
      ...(files?.actions ?? []).map(plain),
    ],
    ...(lost === undefined ? {} : { lost }),
    problems: [...log.problems, ...(files?.problems ?? []).filter(({ file }) => cut === undefined || file !== 'log')],
    pending: files?.pending ?? [],
    ...(confirmed || log.problems.length > 0 || log.actions.some(isWanted(look)) ? {} : refusalOf(files)),
    quarantine,
  }
}

function isIntent({ kind }: RepairAction): boolean {
  return kind === 'quarantine-intent'
}

/** A cut that the store can live without is made only when asked for. */
function isWanted({ cut }: Pick<Look, 'cut'>): (action: RepairAction) => boolean {
  return ({ kind }) => kind !== 'cut-log' || cut !== undefined
}

function plain({ kind, file, detail, safe, done, needs }: RepairAction): RepairAction {
  return { kind, file, detail, safe, done, ...(needs === undefined ? {} : { needs }) }
}

/** Pending writes and nothing that is done beside them: what a confirmed repair says. */
function refusalOf(files: FileFindings | undefined): { refusal?: RepairRefusal } {
  if (files === undefined || files.pending.length === 0 || files.actions.some(isIntent)) return {}
  const [first, ...others] = files.pending
  const held = files.held.filter((writeId) => files.pending.includes(writeId))
  const steps = [
    ...(held.length < files.pending.length ? ['Open the store read-write, which decides what its writers left.'] : []),
    ...(held.length === 0
      ? []
      : [`Publish or roll back what is held, which no open decides: varve staged publish or varve staged rollback, ${held.join(', ')}.`]),
    'Then run varve repair again.',
  ]
  const who = others.length === 0 ? `write ${first} is` : `write ${first} and ${others.length} more are`
  return { refusal: { message: `${who} not decided; repair leaves files alone beside them`, advice: steps.join(' ') } }
}

function refusePending(files: FileFindings | undefined): void {
  const { refusal } = refusalOf(files)
  if (refusal !== undefined) throw new PendingIntentError(refusal.message, { details: { writeIds: files!.pending }, hint: refusal.advice })
}

// the log

async function repairLog(parts: RepairParts, dropAfter: Lsn | undefined): Promise<RepairAction[]> {
  const { root, world, signal } = parts
  const before = await examineLog(parts, await Quarantine.of(root, world))
  if (before.layout === 'slots') return await repairLocked(parts, undefined, undefined)
  const epochs = before.survey.segments.all.map(({ epoch }) => epoch)
  const lock = await takeLock(root, world, { retry: RETRY, epochFloor: async () => Math.max(0, ...epochs), signal })
  try {
    return await repairLocked(parts, dropAfter, lock)
  } finally {
    await lock.release()
  }
}

async function repairLocked(parts: RepairParts, dropAfter: Lsn | undefined, lock: Lock | undefined): Promise<RepairAction[]> {
  const quarantine = await Quarantine.of(parts.root, parts.world)
  const findings = await examineLog(parts, quarantine)
  // Asked for, and done by somebody meanwhile: nothing is left to cut.
  const given = dropAfter === undefined || findings.cut === undefined ? undefined : await checkDropAfter(parts, findings, Number(dropAfter))
  const cut = given ?? (findings.mustCut ? findings.cut : undefined)
  const check = (): void => {
    if (lock?.isCurrent() === false) throw lock.fencedError()
  }
  const actions = findings.actions.filter(isWanted({ cut }))
  for (const action of actions) await runLogAction({ parts, findings: { ...findings, cut }, quarantine, lock: lock?.epoch ?? 0, check }, action)
  return actions
}

// the files, with the log open

interface FilesDone {
  readonly findings: FileFindings
  readonly failed: readonly RepairProblem[]
  readonly notes: readonly KeptNote[]
}

async function repairFiles(parts: RepairParts, { storeId, layout }: LogFindings): Promise<FilesDone> {
  const { root, world, signal } = parts
  const checkpoint = await newestCheckpoint(root, storeId)
  const floors = checkpoint === undefined ? [] : [{ lsn: BigInt(checkpoint.lsn) as Lsn, digest: checkpoint.digest }]
  const isShared = layout === 'slots'
  const log: CommitLog = isShared
    ? await openObjectLog(root, { world, storeId, floors })
    : await openSegmentLog(root, {
        world,
        storeId,
        floors,
        openRetry: RETRY,
        isGivenUp: givenUpOf(root, world, storeId),
        ...(signal === undefined ? {} : { signal }),
      })
  try {
    const state = await StoreState.load(parts.context(), log, checkpoint)
    const quarantine = await Quarantine.of(root, world)
    const fileParts: FileParts = { ...parts, log, storeId, state, isShared }
    const done = await runFiles(fileParts, quarantine)
    if (!isShared) await sweepStagingFolders(root, world)
    if (quarantine.open.some(({ kind }) => kind === 'drop-checkpoint' || kind === 'cut-log')) await checkpointAgain(fileParts)
    const notes = await auditAll(fileParts, quarantine, done.findings, async (facts, id) => {
      const w = new ByteWriter()
      encodeAudit(w, { timeMs: Math.max(Math.floor(world.clock.nowMs()), state.catalog.timeMs), id, facts })
      return (await log.append([{ kind: KIND_AUDIT, payload: w.finish() }])).last
    })
    return { ...done, notes }
  } finally {
    await log.close()
  }
}

/** Folded anew: what was in memory may come from the checkpoint that went. */
async function checkpointAgain({ root, storeId, log, context, world }: FileParts): Promise<void> {
  const state = await StoreState.load(context(), log, await newestCheckpoint(root, storeId))
  await writeCheckpoint(root, storeId, log, state.catalog, world.failpoints)
}

async function runFiles(parts: FileParts, quarantine: Quarantine): Promise<{ findings: FileFindings; failed: RepairProblem[] }> {
  const findings = await examineFiles(parts)
  const failed: RepairProblem[] = []
  for (const action of findings.actions) {
    parts.signal?.throwIfAborted()
    // Beside an undecided write nothing is touched but what keeps the store from opening.
    if (findings.pending.length > 0 && action.kind !== 'quarantine-intent') continue
    const failure = await runFileAction(parts, quarantine, action)
    if (failure !== undefined)
      failed.push({ code: 'index.corrupt', file: action.file, message: failure, advice: 'Reads build it in memory; vacuum and optimize replace it.' })
  }
  return { findings, failed }
}

/** One audit record for each note whose action is done; those that are in the log already only get their mark. */
async function auditAll(parts: FileParts, quarantine: Quarantine, findings: FileFindings, append: AppendAudit): Promise<KeptNote[]> {
  const isOpen = (note: KeptNote): boolean => findings.actions.some(({ kind, file, done }) => !done && kind === note.kind && file === note.from)
  const notes = quarantine.open.filter((note) => !isOpen(note))
  if (notes.length === 0) return []
  const checkpoint = (await newestCheckpoint(parts.root, parts.storeId))?.lsn ?? 0
  const told = await auditsIn(parts.log, checkpoint, new Set(notes.map(({ id }) => id)))
  for (const note of notes) await quarantine.close(note, told.get(note.id) ?? (await append(auditOf(note, findings), ulidBytes(note.id))))
  return notes
}

/** @returns the LSN of the record */
export type AppendAudit = (facts: AuditFacts, id: Uint8Array) => Promise<Lsn>

function auditOf(note: KeptNote, findings: FileFindings): AuditFacts {
  const tables = findings.actions.find((action: FileAction) => action.kind === note.kind && action.file === note.from)?.tables ?? []
  const { kind, why, from, folder, cut, id } = note
  return {
    kind,
    by: REPAIR_ACTOR,
    reason: why,
    tables,
    file: from,
    quarantine: folder,
    note: id,
    ...(cut === undefined ? {} : { keptLsn: cut.lsn, digest: cut.digest }),
  }
}

/** By the id of the note. */
async function auditsIn(log: CommitLog, checkpoint: number, ids: ReadonlySet<string>): Promise<Map<string, Lsn>> {
  const found = new Map<string, Lsn>()
  for await (const each of readableRecords(log, checkpoint)) {
    if (each === 'gap' || each.record.kind !== KIND_AUDIT) continue
    const note = each.record.audit.facts['note']
    if (typeof note === 'string' && ids.has(note)) found.set(note, BigInt(each.lsn) as Lsn)
  }
  return found
}

// a store that is open

/**
 * The part of repair that an open handle can do: its log was whole enough to open. Files that nothing names are told of and stay: another write of this
 * handle may be about to name them.
 *
 * @param audit  append one audit record
 */
export async function repairOpen(parts: FileParts, audit: AppendAudit, o: RepairOptions): Promise<RepairReport> {
  if (o.dropAfter !== undefined)
    throw new InvalidConfigError(`dropAfter ${o.dropAfter}: the log of an open store is not damaged`, { details: { key: 'dropAfter', value: o.dropAfter } })
  if (o.confirm !== true) {
    const findings = await examineFiles(parts)
    const { actions, problems, pending } = findings
    return { confirmed: false, actions: actions.map(plain), problems, pending, ...refusalOf(findings), quarantine: [] }
  }
  const quarantine = await Quarantine.of(parts.root, parts.world)
  const { findings, failed } = await runFiles(parts, quarantine)
  if (!findings.actions.some(({ done }) => done)) refusePending(findings)
  if (findings.actions.some(({ kind, done }) => done && kind === 'drop-checkpoint')) {
    await checkpointAgain(parts)
  }
  const notes = await auditAll(parts, quarantine, findings, audit)
  const folders = [...new Set(notes.map(({ folder }) => folder))]
  return { confirmed: true, actions: findings.actions.map(plain), problems: [...findings.problems, ...failed], pending: findings.pending, quarantine: folders }
}
