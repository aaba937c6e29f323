// recovery/repair-claims.ts: what VARVE, NODE, CLEAN and the checkpoints say of a store, held against what its log holds: what contradicts it, and what to do then.
//
// Invariant: reads only. The log decides; that it is shorter than something says is damage of the log, not of who says it.
import { checkpointName, decodeCheckpoint } from '../catalog/index.ts'
import { listCheckpoints, readCheckpoint } from '../engine/index.ts'
import { CorruptionError, NotAStoreError } from '../errors.ts'
import { DecodeError, FOOTER_BYTES, toHex } from '../format/index.ts'
import {
  CLEAN_NAME,
  cleanOf,
  type CleanMark,
  decodeIdentity,
  digestOf,
  IDENTITY_NAME,
  type LogExtent,
  type LogLayout,
  type LogSurvey,
  NODE_NAME,
  readClean,
  readNode,
  storeIdBytes,
  verifiedStoreId,
} from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import type { RepairAction, RepairProblem } from '../table/index.ts'

export type LogAction = RepairAction & { readonly why: string }

export interface KnownIdentity {
  readonly storeId: Uint8Array
  readonly layout: LogLayout
  readonly isForeign: boolean
}

export async function examineIdentity(root: Root, actions: LogAction[], problems: RepairProblem[]): Promise<KnownIdentity> {
  const logId = await verifiedStoreId(root)
  let storeId = logId
  let layout: LogLayout = 'segments'
  let garbage: CorruptionError | undefined
  try {
    const identity = decodeIdentity((await root.get(IDENTITY_NAME)).bytes)
    const known = storeIdBytes(identity)
    if (logId === undefined || toHex(logId) === toHex(known)) return { storeId: known, layout: identity.log, isForeign: false }
    problems.push({
      code: 'log.corrupt',
      file: IDENTITY_NAME,
      message: `${IDENTITY_NAME} names store ${identity.storeId}, the log is that of store ${toHex(logId)}`,
      advice: 'Put the right VARVE or the right log back; without VARVE, varve repair adopts the log.',
    })
    return { storeId: known, layout: identity.log, isForeign: true }
  } catch (error) {
    if (error instanceof CorruptionError) garbage = error
    else if (!isNotFound(error)) throw error
  }
  if (storeId === undefined) {
    storeId = await slotStoreId(root)
    layout = 'slots'
  }
  if (storeId === undefined) {
    if (garbage !== undefined) throw garbage
    throw new NotAStoreError(`${root.url} holds no varve store`, { details: { url: root.url } })
  }
  const why = garbage === undefined ? `${IDENTITY_NAME} is not there` : garbage.message
  actions.push({
    kind: 'adopt-log',
    file: IDENTITY_NAME,
    why,
    detail: `${why}; the log beside it is that of store ${toHex(storeId)}: ${IDENTITY_NAME} is written for it`,
    safe: true,
    done: false,
  })
  return { storeId, layout, isForeign: false }
}

/** Whose a log of slots is, which do not say it: what the last clean close or the newest checkpoint says. */
async function slotStoreId(root: Root): Promise<Uint8Array | undefined> {
  let hasSlots = false
  for await (const { name } of root.list('log/')) hasSlots ||= /^log\/\d{20}$/.test(name)
  if (!hasSlots) return undefined
  const found = await readClean(root).catch((error: unknown) => {
    if (error instanceof CorruptionError) return undefined
    throw error
  })
  if (found !== undefined) return found.storeId
  for (const lsn of await listCheckpoints(root)) {
    try {
      return decodeCheckpoint((await root.get(checkpointName(lsn))).bytes).storeId
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
    }
  }
  return undefined
}

export async function examineNode(root: Root, actions: LogAction[]): Promise<void> {
  try {
    await readNode(root)
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    actions.push({
      kind: 'drop-node',
      file: NODE_NAME,
      why: error.message,
      detail: `${error.message}; the next open writes it anew. Where this was a replica, only Replica.open may open it next`,
      safe: true,
      done: false,
    })
  }
}

export interface Claims {
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
export async function examineClaims(root: Root, storeId: Uint8Array, survey: LogSurvey, extent: LogExtent): Promise<Claims> {
  const actions: LogAction[] = []
  const problems: RepairProblem[] = []
  const { tail } = survey
  const { lastLsn } = extent
  let short: string | undefined
  let stated = 0
  let clean: CleanMark | undefined
  try {
    clean = cleanOf(survey.segments.generation, await readClean(root))
    if (clean !== undefined && toHex(clean.storeId) !== toHex(storeId))
      throw new CorruptionError('log.corrupt', `CLEAN belongs to store ${toHex(clean.storeId)}`, { details: { file: CLEAN_NAME } })
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
      } else if (lsn >= tail && (tail === 0 || checkpoint.catalog.replayFrom >= tail)) good.push(lsn)
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

/** The log has another digest there. Where the log itself cannot be read it contradicts nobody. */
async function contradicts(
  root: Root,
  { segments, lastLsn, digest }: LogExtent,
  claim: { readonly lsn: number; readonly digest: Uint8Array },
): Promise<boolean> {
  try {
    return toHex(await digestOf(root, segments, claim.lsn, { lsn: lastLsn, digest })) !== toHex(claim.digest)
  } catch (error) {
    if (error instanceof CorruptionError) return false
    throw error
  }
}
