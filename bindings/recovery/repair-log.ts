// recovery/repair-log.ts: what may keep a store from opening at all: VARVE, NODE, CLEAN, checkpoints, the log itself; found, and put right under the LOCK.
//
// Found without a lock and without a write, so that a preview is free. Invariant: the log arbitrates; nothing of it is taken away unless the caller named the
// LSN that stays, and everything taken away has its copy in quarantine first.
import { checkpointName } from '../catalog/index.ts'
import { CorruptionError, InvalidConfigError, NotAStoreError, StorageError, VarveError } from '../errors.ts'
import {
  decodeRecord,
  KIND_COMMIT,
  KIND_EPOCH,
  KIND_FLUSH,
  KIND_PUBLISH,
  KIND_ROLLBACK,
  KIND_SCHEMA,
  KIND_SEAL,
  listCheckpoints,
  newestCheckpoint,
  readCheckpoint,
} from '../engine/index.ts'
import { type StateContext, type StateRecord, StoreState } from '../engine/index.ts'
import { FOOTER_BYTES, hexText } from '../format/index.ts'
import {
  CLEAN_NAME,
  type CleanMark,
  type CommitLog,
  cutLog,
  type CutPoint,
  cutPointAt,
  type Digest,
  decodeIdentity,
  digestOf,
  encodeClean,
  encodeIdentity,
  examine,
  IDENTITY_NAME,
  type LogExtent,
  type LogLayout,
  type LogSurvey,
  type Lsn,
  NODE_NAME,
  openObjectLog,
  readClean,
  readNode,
  readSurveyed,
  recordsBehind,
  SegmentList,
  storeIdBytes,
  surveyLog,
  verifiedStoreId,
} from '../log/index.ts'
import type { Root } from '../root/index.ts'
import { ulidText, type World } from '../runtime/index.ts'
import type { LostCommit, LostHistory, RepairAction, RepairProblem } from '../table/index.ts'
import type { KeptNote, Quarantine } from './repair-quarantine.ts'

export interface LogParts {
  readonly root: Root
  readonly world: World
  /** A context to fold states in. */
  readonly context: () => StateContext
  readonly signal?: AbortSignal | undefined
}

export interface LogFindings {
  readonly storeId: Uint8Array
  readonly layout: LogLayout
  /** Of segments; of slots an empty one: no LSN of theirs can be cut off. */
  readonly survey: LogSurvey
  /** The fold up to the last LSN that holds together; undefined: it cannot be had, `problems` say why. */
  readonly state: StoreState | undefined
  /** In the order in which they are to be done. */
  readonly actions: readonly LogAction[]
  readonly problems: readonly RepairProblem[]
  /** Where a damaged log can be cut; undefined: it is whole, or cannot be cut. */
  readonly cut: CutPoint | undefined
  /** The store does not open before the cut. */
  readonly mustCut: boolean
  /** What an open believes of the log; where it refuses the log, what holds together. Nothing to close. */
  readonly log: CommitLog | undefined
  /** The highest LSN that anything states. */
  readonly stated: number
}

export type LogAction = RepairAction & { readonly why: string }

/** @throws NotAStoreError, StoreTooNewError, StorageError; damage is an answer */
export async function examineLog(parts: LogParts, quarantine: Quarantine): Promise<LogFindings> {
  const { root } = parts
  const actions: LogAction[] = []
  const problems: RepairProblem[] = []
  const { storeId, layout, isForeign } = await examineIdentity(root, actions, problems)
  if (layout === 'slots') return await examineSlots(parts, storeId, actions, problems)
  await examineNode(root, actions)
  const survey = await surveyLog(root, storeId)
  const nothing = { storeId, layout, survey, state: undefined, cut: undefined, mustCut: false, log: undefined, stated: survey.lastLsn }
  if (isForeign) return { ...nothing, actions: [], problems }
  // Damage below a checkpoint keeps no store from opening: then what an open believes counts, and the cut is the owner's choice.
  const opened = survey.damage === undefined ? undefined : await asOpened(root, storeId)
  const extent = opened ?? survey
  const claims = await examineClaims(root, storeId, survey, extent)
  actions.push(...claims.actions)
  problems.push(...claims.problems)
  let mustCut = (survey.damage !== undefined && opened === undefined) || claims.short !== undefined
  let end = survey.lastLsn
  let why = survey.damage === undefined ? claims.short : `${survey.damage.file} at offset ${survey.damage.offset}: ${survey.damage.why}`
  let state: StoreState | undefined
  if (claims.problems.length === 0) {
    const folded = await fold(parts, storeId, extent, claims.good, extent.lastLsn)
    state = folded.state
    if (folded.problem !== undefined) problems.push(folded.problem)
    if (folded.end !== undefined) {
      mustCut = true
      end = Math.min(end, folded.end)
      why = folded.why
    }
  }
  const log = readSurveyed(root, parts.world, storeId, extent)
  if (why === undefined) return { ...nothing, log, state, actions, problems }
  const { cut, action } = await planCut(
    root,
    survey,
    claims,
    end,
    mustCut ? why : `${why}; the store opens all the same: a checkpoint covers it`,
    quarantine,
    problems,
  )
  // A cut writes CLEAN anew, and takes the checkpoints above it away, by itself.
  const isAlone = action === undefined || !mustCut || cut!.lsn === 0
  const kept = isAlone ? actions : actions.filter(({ kind }) => kind !== 'drop-clean')
  if (action !== undefined) kept.push(action)
  return { ...nothing, log, state, actions: kept, problems, cut, mustCut, stated: Math.max(survey.lastLsn, claims.stated) }
}

/** What a normal open would believe of a log that is damaged somewhere; undefined: it would refuse it. */
async function asOpened(root: Root, storeId: Uint8Array): Promise<LogExtent | undefined> {
  const checkpoint = await newestCheckpoint(root, storeId)
  const floors = checkpoint === undefined ? [] : [{ lsn: checkpoint.lsn, digest: checkpoint.digest }]
  const clean = await readClean(root).catch((error: unknown) => {
    if (error instanceof CorruptionError) return undefined
    throw error
  })
  try {
    return await examine(root, { storeId, clean, floors })
  } catch (error) {
    if (error instanceof CorruptionError) return undefined
    throw error
  }
}

/** Slots are whole or not there, and nobody holds a LOCK: what can be put right is what lies beside them. */
async function examineSlots(parts: LogParts, storeId: Uint8Array, actions: LogAction[], problems: RepairProblem[]): Promise<LogFindings> {
  const { root, world } = parts
  const none = { names: [], segments: new SegmentList(), tail: 0, lastLsn: 0, digest: new Uint8Array(32) as Digest, sealed: true, damage: undefined }
  const nothing = { storeId, layout: 'slots' as const, survey: none, cut: undefined, mustCut: false, actions, problems }
  try {
    await readClean(root)
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    const detail = `${error.message}; it goes, the next clean close writes it`
    actions.push({ kind: 'drop-clean', file: CLEAN_NAME, why: error.message, detail, safe: true, done: false })
    return { ...nothing, log: undefined, state: undefined, stated: 0 }
  }
  try {
    const checkpoint = await newestCheckpoint(root, storeId)
    const floors = checkpoint === undefined ? [] : [{ lsn: BigInt(checkpoint.lsn) as Lsn, digest: checkpoint.digest }]
    const log = await openObjectLog(root, { world, storeId, floors, readOnly: true, follow: false })
    return { ...nothing, log, state: await StoreState.load(parts.context(), log, checkpoint), stated: Number(log.head) }
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    problems.push({ code: error.code, file: error.file, message: error.message, advice: 'Restore the store from a backup.' })
    return { ...nothing, log: undefined, state: undefined, stated: 0 }
  }
}

interface KnownIdentity {
  readonly storeId: Uint8Array
  readonly layout: LogLayout
  readonly isForeign: boolean
}

async function examineIdentity(root: Root, actions: LogAction[], problems: RepairProblem[]): Promise<KnownIdentity> {
  const logId = await verifiedStoreId(root)
  let garbage: CorruptionError | undefined
  try {
    const identity = decodeIdentity((await root.get(IDENTITY_NAME)).bytes)
    const storeId = storeIdBytes(identity)
    if (logId === undefined || hexText(logId) === hexText(storeId)) return { storeId, layout: identity.log, isForeign: false }
    problems.push({
      code: 'log.corrupt',
      file: IDENTITY_NAME,
      message: `${IDENTITY_NAME} names store ${identity.storeId}, the log is that of store ${hexText(logId)}`,
      advice: 'Put the right VARVE or the right log back; without VARVE, varve repair adopts the log.',
    })
    return { storeId, layout: identity.log, isForeign: true }
  } catch (error) {
    if (error instanceof CorruptionError) garbage = error
    else if (!isNotFound(error)) throw error
  }
  if (logId === undefined) {
    if (garbage !== undefined) throw garbage
    throw new NotAStoreError(`${root.url} holds no varve store`, { details: { url: root.url } })
  }
  const why = garbage === undefined ? `${IDENTITY_NAME} is not there` : garbage.message
  actions.push({
    kind: 'adopt-log',
    file: IDENTITY_NAME,
    why,
    detail: `${why}; the log beside it is that of store ${hexText(logId)}: ${IDENTITY_NAME} is written for it`,
    safe: true,
    done: false,
  })
  return { storeId: logId, layout: 'segments', isForeign: false }
}

async function examineNode(root: Root, actions: LogAction[]): Promise<void> {
  try {
    await readNode(root)
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    actions.push({ kind: 'drop-node', file: NODE_NAME, why: error.message, detail: `${error.message}; the next open writes it anew`, safe: true, done: false })
  }
}

interface Claims {
  readonly actions: readonly LogAction[]
  readonly problems: readonly RepairProblem[]
  readonly clean: CleanMark | undefined
  /** Checkpoints that may be folded from, newest first. */
  readonly good: readonly number[]
  /** Every checkpoint file. */
  readonly all: readonly number[]
  /** The log is shorter than something says, or says something else: why. */
  readonly short: string | undefined
  readonly stated: number
}

/** What CLEAN and the checkpoints say of the log, held against what it holds. */
async function examineClaims(root: Root, storeId: Uint8Array, survey: LogSurvey, extent: LogExtent): Promise<Claims> {
  const actions: LogAction[] = []
  const problems: RepairProblem[] = []
  const { tail } = survey
  const { lastLsn } = extent
  let short: string | undefined
  let stated = 0
  let clean: CleanMark | undefined
  try {
    clean = await readClean(root)
    if (clean !== undefined && hexText(clean.storeId) !== hexText(storeId))
      throw new CorruptionError('log.corrupt', `CLEAN belongs to store ${hexText(clean.storeId)}`, { details: { file: CLEAN_NAME } })
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    clean = undefined
    actions.push(dropClean(error.message, survey))
  }
  if (clean !== undefined) {
    stated = clean.lsn
    const newest = survey.segments.newest
    const isNewest = newest?.name === clean.segment && survey.names.at(-1)?.name === clean.segment
    if (lastLsn < clean.lsn) short = `the log holds together up to LSN ${lastLsn}; CLEAN says it reached ${clean.lsn}`
    else if (clean.lsn >= tail && (await contradicts(root, extent, clean))) short = `the digest of the log at LSN ${clean.lsn} is not the one that CLEAN states`
    else if (isNewest && survey.damage === undefined && (!survey.sealed || clean.bytes !== newest!.used + FOOTER_BYTES)) {
      if (clean.lsn === lastLsn) actions.push(sealAgain(newest!.name, lastLsn))
      else short = `CLEAN says that ${clean.segment} was closed at LSN ${clean.lsn}; its records go on to ${lastLsn}`
    }
  }
  const good: number[] = []
  const all = await listCheckpoints(root)
  const bad: { file: string; why: string; isSafe: boolean }[] = []
  for (const lsn of all) {
    const file = checkpointName(lsn)
    try {
      const checkpoint = await readCheckpoint(root, storeId, lsn)
      stated = Math.max(stated, lsn)
      if (lsn > lastLsn) short ??= `the log holds together up to LSN ${lastLsn}; ${file} was made at ${lsn}`
      else if (lsn >= tail && (await contradicts(root, extent, checkpoint))) {
        // The log is right where CLEAN, made later, says so too.
        const isAttested = clean !== undefined && short === undefined && clean.lsn >= lsn
        bad.push({ file, why: 'its digest is not that of the log', isSafe: isAttested })
      } else if (lsn >= tail) good.push(lsn)
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      bad.push({ file, why: error.message, isSafe: true })
    }
  }
  if (tail > 0 && good.length === 0) {
    problems.push({
      code: 'checkpoint.corrupt',
      file: bad[0]?.file ?? 'checkpoints/',
      message: `the log begins after LSN ${tail} and no checkpoint that can be believed reaches that far`,
      advice: 'Restore the store from a backup.',
    })
  } else {
    for (const { file, why, isSafe } of bad) actions.push(dropCheckpoint(file, why, isSafe))
  }
  return { actions, problems, clean, good, all, short, stated }
}

export function dropCheckpoint(file: string, why: string, isSafe: boolean): LogAction {
  const detail = `${why}; a checkpoint is a cache of the log: it goes, and a new one is written${isSafe ? '' : '. The log decides, though nothing else attests it'}`
  return { kind: 'drop-checkpoint', file, why, detail, safe: isSafe, done: false }
}

function dropClean(why: string, { sealed, damage, names }: LogSurvey): LogAction {
  const isSafe = (sealed && damage === undefined) || names.length === 0
  const detail = isSafe
    ? `${why}; the footer of the newest segment says that nothing behind it is missing: CLEAN goes, the next clean close writes it`
    : `${why}; the newest segment has no footer, so whether commits behind its end are missing cannot be told: CLEAN goes, the next clean close writes it`
  return { kind: 'drop-clean', file: CLEAN_NAME, why, detail, safe: isSafe, done: false }
}

function sealAgain(file: string, lsn: number): LogAction {
  const why = 'its footer, which CLEAN names, does not verify'
  return {
    kind: 'seal-log',
    file,
    why,
    detail: `${why}; every record up to LSN ${lsn} is there, with the digest that CLEAN states: the footer is written again`,
    safe: true,
    done: false,
  }
}

interface Folded {
  readonly state: StoreState | undefined
  readonly problem?: RepairProblem
  /** The record after it contradicts those before. */
  readonly end?: number
  readonly why?: string
}

async function fold(parts: LogParts, storeId: Uint8Array, extent: LogExtent, good: readonly number[], end: number): Promise<Folded> {
  const log = readSurveyed(parts.root, parts.world, storeId, extent)
  const from = good.find((lsn) => lsn <= end)
  const load = async (upTo: number): Promise<StoreState> => {
    const checkpoint = from === undefined ? undefined : await readCheckpoint(parts.root, storeId, from)
    return await StoreState.load(parts.context(), log, checkpoint, upTo)
  }
  try {
    return { state: await load(end) }
  } catch (error) {
    if (!(error instanceof CorruptionError || isNotFound(error))) throw error
    const lsn = error instanceof CorruptionError && error.code === 'log.corrupt' ? Number(error.lsn ?? 0n) : 0
    if (lsn > 0) {
      const before = await load(lsn - 1).catch(() => undefined)
      return { state: before, end: lsn - 1, why: (error as Error).message }
    }
    const file = error instanceof CorruptionError ? error.file : String((error as StorageError).details['name'])
    const advice = 'Restore this file, or the store, from a backup.'
    return { state: undefined, problem: { code: (error as VarveError).code, file, message: (error as Error).message, advice } }
  }
}

async function planCut(
  root: Root,
  survey: LogSurvey,
  claims: Claims,
  end: number,
  why: string,
  quarantine: Quarantine,
  problems: RepairProblem[],
): Promise<{ cut: CutPoint | undefined; action: LogAction | undefined }> {
  const cut = await cutPointAt(root, survey, Math.min(end, resumed(quarantine, survey)?.lsn ?? end))
  const file = survey.damage?.file ?? cut.info?.name ?? 'log/'
  const reaches = survey.tail === 0 || claims.good.some((lsn) => lsn <= cut.lsn)
  if ((cut.info === undefined && survey.tail > 0) || !reaches) {
    const message = `${why}; nothing before it can be opened by itself: the log begins after LSN ${survey.tail}`
    problems.push({ code: 'log.corrupt', file, message, advice: 'Restore the store from a backup.' })
    return { cut: undefined, action: undefined }
  }
  const detail = `${why}; what is after LSN ${cut.lsn} is cut off`
  return { cut, action: { kind: 'cut-log', file, why, detail, safe: false, done: false, needs: `--drop-after ${cut.lsn}` } }
}

/** The cut of a repair that was cut short, as long as nobody has written since. */
export function resumed(quarantine: Quarantine, survey: LogSurvey): KeptNote['cut'] {
  const cut = quarantine.openNote('cut-log')?.cut
  if (cut === undefined || cut.lsn > survey.lastLsn) return undefined
  return survey.segments.all.some((segment) => segment.epoch >= cut.lock) ? undefined : cut
}

/** What the cut takes away. Names of tables are those of the state before, and of tables made behind the cut. */
export async function lostBehind({ root }: LogParts, { survey, storeId, state, stated }: LogFindings, cut: CutPoint): Promise<LostHistory> {
  const names = new Map([...(state?.catalog.tables.values() ?? [])].map(({ id, name }) => [id, name]))
  const commits: LostCommit[] = []
  let through = Math.max(stated, cut.lsn)
  let readable = 0
  for await (const { lsn, bytes } of recordsBehind(root, survey, cut.lsn, storeId)) {
    through = Math.max(through, lsn)
    readable++
    try {
      const commit = lostCommit(lsn, decodeRecord(bytes, 0, lsn), names)
      if (commit !== undefined) commits.push(commit)
    } catch (error) {
      if (!(error instanceof VarveError)) throw error
      commits.push({ lsn: BigInt(lsn) as Lsn, kind: 'unreadable', tables: [] })
    }
  }
  return { after: BigInt(cut.lsn) as Lsn, through: BigInt(through) as Lsn, commits, unreadable: Math.max(0, through - cut.lsn - readable) }
}

/** undefined: a record that brings nothing (epoch, flush, audit). */
function lostCommit(lsn: number, record: StateRecord, names: Map<number, string>): LostCommit | undefined {
  const at = { lsn: BigInt(lsn) as Lsn }
  switch (record.kind) {
    case KIND_SCHEMA: {
      for (const { tableId, name } of record.schema.create) names.set(tableId, name)
      const tables = record.schema.create.map(({ name }) => ({ table: name, inserted: 0, updated: 0, deleted: 0 }))
      return { ...at, kind: 'schema', time: new Date(record.schema.timeMs), writeId: ulidText(record.schema.writeId), tables }
    }
    case KIND_COMMIT:
    case KIND_PUBLISH: {
      const { timeMs, writeId, author, message, changes } = record.kind === KIND_COMMIT ? record.commit : record.publish.commit
      const tables = changes.map(({ tableId, inserted, updated, deleted }) => ({ table: names.get(tableId) ?? `#${tableId}`, inserted, updated, deleted }))
      const notes = { ...(author === undefined ? {} : { author }), ...(message === undefined ? {} : { message }) }
      return { ...at, kind: 'commit', time: new Date(timeMs), writeId: ulidText(writeId), ...notes, tables }
    }
    case KIND_SEAL:
      return { ...at, kind: 'seal', time: new Date(record.seal.timeMs), writeId: ulidText(record.seal.writeId), tables: [] }
    case KIND_ROLLBACK:
      return { ...at, kind: 'rollback', time: new Date(record.rollback.timeMs), writeId: ulidText(record.rollback.writeId), tables: [] }
    case KIND_EPOCH:
    case KIND_FLUSH:
    default:
      return undefined
  }
}

export interface LogWork {
  readonly parts: LogParts
  readonly findings: LogFindings
  readonly quarantine: Quarantine
  /** Number of the LOCK that this repair holds. */
  readonly lock: number
  /** The LOCK is still ours; throws otherwise. */
  readonly check: () => void
}

/** Do one action. Each step may crash and be repeated. */
export async function runLogAction(work: LogWork, action: LogAction): Promise<void> {
  const { parts, findings, quarantine, check } = work
  const { root, world } = parts
  const note = { kind: action.kind, what: action.detail, why: action.why, from: action.file, originals: [action.file] }
  check()
  switch (action.kind) {
    case 'adopt-log': {
      await quarantine.keep(await quarantine.note(note))
      check()
      await root.put(IDENTITY_NAME, encodeIdentity(findings.storeId, Math.floor(world.clock.nowMs()), world.random.bytes(16)))
      break
    }
    case 'drop-node':
    case 'drop-clean':
    case 'drop-checkpoint':
      await quarantine.keep(await quarantine.note(note))
      check()
      await root.delete(action.file)
      break
    case 'seal-log': {
      await quarantine.keep(await quarantine.note(note), { inPlace: [action.file] })
      await cutLog(root, await cutPointAt(root, findings.survey, findings.survey.lastLsn), check)
      break
    }
    case 'cut-log':
      await runCut(work, action)
      break
    default:
      throw new Error(`no action of the log: ${action.kind}`)
  }
  action.done = true
}

/** CLEAN first: it must never state more than the log will hold. Then the checkpoints above, then the log, from its end. */
async function runCut({ parts: { root }, findings: { survey, storeId, cut }, quarantine, lock, check }: LogWork, action: LogAction): Promise<void> {
  const at = cut!
  const above = (await listCheckpoints(root)).filter((lsn) => lsn > at.lsn).map(checkpointName)
  const later = survey.names.filter(({ firstLsn }) => firstLsn > at.lsn).map(({ name }) => name)
  const inPlace = at.info === undefined ? [] : [at.info.name]
  const originals = [...((await root.head(CLEAN_NAME)) === undefined ? [] : [CLEAN_NAME]), ...above, ...inPlace, ...later]
  const digest = hexText(at.digest)
  const isResumed = resumed(quarantine, survey)?.lsn === at.lsn
  const given = { kind: action.kind, what: action.detail, why: action.why, from: `log/ after LSN ${at.lsn}`, originals, cut: { lsn: at.lsn, digest, lock } }
  const note = await quarantine.note(given, { isResumed })
  await quarantine.keep(note, { inPlace })
  check()
  if (at.info === undefined) await root.delete(CLEAN_NAME)
  else {
    const { name, firstLsn } = at.info
    const mark = { storeId, lsn: at.lsn, count: at.lsn - firstLsn + 1, digest: at.digest, segment: name, bytes: at.offset + FOOTER_BYTES }
    await root.put(CLEAN_NAME, encodeClean(mark))
  }
  check()
  if (above.length > 0) await root.delete(above)
  await cutLog(root, at, check)
}

/** @throws InvalidConfigError: the log cannot be cut there */
export async function checkDropAfter({ root }: LogParts, { cut, survey }: LogFindings, dropAfter: number): Promise<CutPoint> {
  const refuse = (why: string): InvalidConfigError =>
    new InvalidConfigError(`dropAfter ${dropAfter}: ${why}`, { details: { key: 'dropAfter', value: dropAfter } })
  if (cut === undefined) throw refuse('the log is not damaged; nothing of it is dropped')
  if (dropAfter > cut.lsn) throw refuse(`the log holds together up to LSN ${cut.lsn} only`)
  if (dropAfter < survey.tail) throw refuse(`the log begins after LSN ${survey.tail}`)
  if (dropAfter === cut.lsn) return cut
  const at = await cutPointAt(root, survey, dropAfter)
  if (at.lsn !== dropAfter) throw refuse(`it is inside of an append; ${at.lsn} is not`)
  return at
}

/** The log has another digest there. Where the log itself cannot be read it contradicts nobody. */
async function contradicts(
  root: Root,
  { segments, lastLsn, digest }: LogExtent,
  claim: { readonly lsn: number; readonly digest: Uint8Array },
): Promise<boolean> {
  try {
    return hexText(await digestOf(root, segments, claim.lsn, { lsn: lastLsn, digest })) !== hexText(claim.digest)
  } catch (error) {
    if (error instanceof CorruptionError) return false
    throw error
  }
}

export function isNotFound(error: unknown): boolean {
  return error instanceof StorageError && error.class === 'notFound'
}
