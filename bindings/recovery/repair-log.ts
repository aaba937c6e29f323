// recovery/repair-log.ts: what may keep a store from opening at all: VARVE, NODE, CLEAN, checkpoints, the log itself; found, and put right under the LOCK.
//
// Found without a lock and without a write, so that a preview is free. Invariant: the log arbitrates; nothing of it is taken away unless the caller named the
// LSN that stays, and everything taken away has its copy in quarantine first.
import { assert } from '../assert.ts'
import { checkpointName } from '../catalog/index.ts'
import { givenUpOf, listCheckpoints, newestCheckpoint, readCheckpoint, type StateContext, StoreState } from '../engine/index.ts'
import { CorruptIntentError, CorruptionError, IntentVersionError, InvalidConfigError, StorageError, VarveError } from '../errors.ts'
import { decodeIntent, FOOTER_BYTES, toHex, type Intent } from '../format/index.ts'
import {
  CLEAN_NAME,
  currentGeneration,
  type CommitLog,
  cutLog,
  type CutPoint,
  cutPointAt,
  type Digest,
  encodeClean,
  encodeIdentity,
  examine,
  type IsGivenUp,
  IDENTITY_NAME,
  type LogExtent,
  type LogLayout,
  type LogSurvey,
  type Lsn,
  openObjectLog,
  readClean,
  readNode,
  readSurveyed,
  SegmentList,
  surveyLog,
} from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { intentName, stagingPrefix } from '../staging/index.ts'
import type { RepairProblem } from '../table/index.ts'
import { type Claims, examineClaims, examineIdentity, examineNode, type LogAction } from './repair-claims.ts'
import type { KeptNote, Quarantine } from './repair-quarantine.ts'
import { listStaging } from './sweep.ts'

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

/** @throws NotAStoreError, StoreTooNewError, StorageError; damage is an answer */
export async function examineLog(parts: LogParts, quarantine: Quarantine): Promise<LogFindings> {
  const { root } = parts
  const actions: LogAction[] = []
  const problems: RepairProblem[] = []
  const { storeId, layout, isForeign } = await examineIdentity(root, actions, problems)
  if (layout === 'slots') return await examineSlots(parts, storeId, actions, problems)
  await examineNode(root, actions)
  const isGivenUp = givenUpOf(root, parts.world, storeId)
  const survey = await surveyLog(root, storeId, { isGivenUp })
  const nothing = { storeId, layout, survey, state: undefined, cut: undefined, mustCut: false, log: undefined, stated: survey.lastLsn }
  if (isForeign) return { ...nothing, actions: [], problems }
  // Damage below a checkpoint keeps no store from opening: then what an open believes counts, and the cut is the owner's choice.
  const opened = survey.damage === undefined ? undefined : await asOpened(root, storeId, isGivenUp)
  const extent = opened ?? survey
  const gap = opened === undefined ? survey.damage?.gapEnd : undefined
  if (gap !== undefined && (await isCoveredTrim(root, storeId, gap))) return { ...nothing, actions, problems: [...problems, coveredGap(survey, gap)] }
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

/** The log was trimmed once, as far as this perhaps, and a checkpoint replays nothing at or below it. */
async function isCoveredTrim(root: Root, storeId: Uint8Array, gapEnd: number): Promise<boolean> {
  const node = await readNode(root).catch((error: unknown) => {
    if (error instanceof CorruptionError) return undefined
    throw error
  })
  if ((node?.tailEpoch ?? 0) === 0) return false
  return ((await newestCheckpoint(root, storeId))?.catalog.replayFrom ?? 0) >= gapEnd
}

/** Nothing is dropped for what the newest version does not need. */
function coveredGap({ damage, names }: LogSurvey, gapEnd: number): RepairProblem {
  const { file, lsn, why } = damage!
  const next = names.find(({ firstLsn }) => firstLsn > gapEnd)!.name
  return {
    code: 'log.corrupt',
    file,
    message: `${file}: ${why}; LSN ${lsn} to ${gapEnd} are missing, and the newest checkpoint needs none of them`,
    advice: `Restore what is missing. Where the versions below are not needed, move every segment before ${next} out of the store: it opens without them.`,
  }
}

/** What a normal open would believe of a log that is damaged somewhere; undefined: it would refuse it. */
async function asOpened(root: Root, storeId: Uint8Array, isGivenUp: IsGivenUp): Promise<LogExtent | undefined> {
  const checkpoint = await newestCheckpoint(root, storeId)
  const floors = checkpoint === undefined ? [] : [{ lsn: checkpoint.lsn, digest: checkpoint.digest }]
  const clean = await readClean(root).catch((error: unknown) => {
    if (error instanceof CorruptionError) return undefined
    throw error
  })
  try {
    return await examine(root, { generation: await currentGeneration(root), storeId, clean, floors, isGivenUp })
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
      await root.put(IDENTITY_NAME, encodeIdentity(findings.storeId, Math.floor(world.clock.nowMs()), world.random.bytes(16), findings.layout))
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
      await cutLog(root, findings.survey.segments.generation, await cutPointAt(root, findings.survey, findings.survey.lastLsn), check)
      break
    }
    case 'cut-log':
      await runCut(work, action)
      break
    default:
      assert(false, 'an action of the log', action.kind)
  }
  action.done = true
}

/** Writes that build on what goes; CLEAN, which must never state more than the log will hold; the checkpoints above; then the log, from its end. */
async function runCut({ parts: { root, world }, findings: { survey, storeId, cut }, quarantine, lock, check }: LogWork, action: LogAction): Promise<void> {
  const at = cut!
  const above = (await listCheckpoints(root)).filter((lsn) => lsn > at.lsn).map(checkpointName)
  const later = survey.names.filter(({ firstLsn }) => firstLsn > at.lsn).map(({ name }) => name)
  const inPlace = at.info === undefined ? [] : [at.info.name]
  const staged = await stagedAbove(root, world, at.lsn)
  const originals = [...((await root.head(CLEAN_NAME)) === undefined ? [] : [CLEAN_NAME]), ...above, ...staged, ...inPlace, ...later]
  const digest = toHex(at.digest)
  const isResumed = resumed(quarantine, survey)?.lsn === at.lsn
  const given = { kind: action.kind, what: action.detail, why: action.why, from: `log/ after LSN ${at.lsn}`, originals, cut: { lsn: at.lsn, digest, lock } }
  const note = await quarantine.note(given, { isResumed })
  await quarantine.keep(note, { inPlace })
  check()
  // While the log still is refused: nobody may meet these writes with the shorter log.
  for (const name of staged) await root.delete(name)
  check()
  if (at.info === undefined) await root.delete(CLEAN_NAME)
  else {
    const { name, firstLsn } = at.info
    const mark = {
      storeId,
      lsn: at.lsn,
      count: at.lsn - firstLsn + 1,
      digest: at.digest,
      segment: name,
      bytes: at.offset + FOOTER_BYTES,
      generation: survey.segments.generation.number,
    }
    await root.put(CLEAN_NAME, encodeClean(mark))
  }
  check()
  if (above.length > 0) await root.delete(above)
  await cutLog(root, survey.segments.generation, at, check)
}

/** Files of unsealed writes that were prepared against what the cut takes away: no open could decide them. INTENT last. */
async function stagedAbove(root: Root, world: World, lsn: number): Promise<string[]> {
  const staged: string[] = []
  for (const writeId of await listStaging(root, world)) {
    const path = intentName(writeId)
    let intent: Intent
    try {
      intent = decodeIntent((await root.get(path)).bytes, path)
    } catch (error) {
      // What cannot be read is another action's.
      if (error instanceof CorruptIntentError || error instanceof IntentVersionError || isNotFound(error)) continue
      throw error
    }
    const versions = intent.participants.map(({ expectedVersion }) => Number(expectedVersion))
    if (Math.max(Number(intent.baseLsn), ...versions) <= lsn) continue
    const names: string[] = []
    for await (const { name } of root.list(stagingPrefix(writeId))) if (name !== path) names.push(name)
    staged.push(...names, path)
  }
  return staged
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
