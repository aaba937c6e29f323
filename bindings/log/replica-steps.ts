// log/replica-steps.ts: the steps by which a replica cuts its log or begins a new one, each of which may crash and be repeated (shipping.md sections 7 and 8).
//
//   truncate   INTENT -> CLEAN at D -> checkpoints above D go -> segments go, newest first, footer at D -> INTENT goes
//   install    INTENT -> bases/<g + 1>, the switch -> NODE -> checkpoints of the base in their place, all others go -> INTENT goes
//
// Invariant: at every point the next open finds the log before or the log after; what is deleted was given up by a durable word before.
import { CorruptionError } from '../errors.ts'
import { OWN_DECISION_HINT, SECOND_DECISION_HINT, StaleEpochError } from '../errors-ship.ts'
import {
  decodeIntent,
  encodeIntent,
  epochOfMandate,
  hasVoted,
  INTENT_NAME,
  INTENT_VERSION,
  type Intent,
  MAIN_BRANCH,
  MAIN_BRANCH_ID,
  STAGING_PREFIX,
  stagedName,
  toHex,
} from '../format/index.ts'
import { getIfThere, type Root } from '../root/index.ts'
import { FP, newUlid, type World } from '../runtime/index.ts'

import { type Base, baseName, currentGeneration, Generation, listBases, logDir } from './bases.ts'
import { CLEAN_NAME, encodeClean, readClean } from './clean.ts'
import type { Digest } from './commit-log.ts'
import { headOf, listSegments } from './examine.ts'
import { encodeNode, NODE_NAME, type NodeFacts, readNode } from './node-state.ts'
import { corrupt, foldFrom, scanSegment } from './segment-reader.ts'
import { type DigestPoint, pointBefore, type SegmentInfo } from './segment-list.ts'
import { cutLog, type CutPoint } from './survey.ts'

const CHECKPOINTS = 'checkpoints/'

export interface StepParts {
  readonly root: Root
  readonly world: World
  readonly storeId: Uint8Array
  /** Number of our LOCK. */
  readonly lock: number
  /** The LOCK is still ours; throws otherwise. */
  readonly check: () => void
}

/** Durable when it resolves. @returns its write id */
export async function writeLogIntent({ root, world, lock }: StepParts, kind: 'truncate' | 'install', lsn: number, generation: number): Promise<string> {
  const writeId = newUlid(world)
  const { host } = world
  const intent: Intent = {
    schemaVersion: INTENT_VERSION,
    writeId,
    kind,
    mode: 'auto',
    branch: MAIN_BRANCH,
    branchId: MAIN_BRANCH_ID,
    baseLsn: String(lsn),
    schemaDigest: '',
    owner: { writerId: writeId, epoch: String(lock), host: host.name, pid: host.pid, started: host.processStartTime },
    createdAt: new Date(world.clock.nowMs()).toISOString(),
    participants: [],
    registrations: [],
    tombstones: [],
    generation,
    nonce: toHex(world.random.bytes(16)),
  }
  await root.putIfAbsent(stagedName(writeId, INTENT_NAME), encodeIntent(intent))
  return writeId
}

/**
 * Before anything else looks at the log: finishes what was begun, or takes it back where it was not decided, and removes the logs of older generations.
 *
 * @returns the one that counts
 */
export async function sweepLogIntents(parts: StepParts): Promise<Generation> {
  const { root, check } = parts
  const bases = await listBases(root)
  const generation = await currentGeneration(root, bases)
  for (const intent of await logIntents(root)) {
    check()
    if (intent.kind === 'truncate') await truncateSteps(parts, generation, Number(intent.baseLsn))
    else if (generation.base?.install === intent.writeId) {
      await recordInstall(root, generation.base)
      await settleInstall(parts, generation.base)
    }
    await root.delete(stagedName(intent.writeId, INTENT_NAME))
  }
  await dropLog(root, generation.number + 1, check)
  await dropOlder(root, generation.number, check, bases)
  return new Generation(generation.base)
}

/** What an install changes in NODE, where the handle that did it had no time to. */
async function recordInstall(root: Root, base: Base): Promise<void> {
  const node = await readNode(root)
  if (node === undefined) return
  await root.put(NODE_NAME, encodeNode({ ...node, seq: node.seq + 1, ...factsOfInstall(base) }))
}

/**
 * Of the log that a base begins. What was left out of the one before is no matter of it: every file of its version is here, so the floor may go down too.
 * Said again by whoever finishes the install: until its INTENT is gone nothing is received behind it, and no floor is raised.
 */
export function factsOfInstall({ baseLsn }: Base): Partial<NodeFacts> {
  return { historyFloorLsn: baseLsn, floorEpoch: 0, floorMandate: 0, tailEpoch: 0, tailFrom: 0, tailBelow: 0, ownFrom: 0, isWhole: false }
}

async function logIntents(root: Root): Promise<Intent[]> {
  const found: Intent[] = []
  for await (const { name } of root.list(STAGING_PREFIX)) {
    if (!name.endsWith(`/${INTENT_NAME}`)) continue
    const bytes = await getIfThere(root, name)
    // Those of staged writes are of a time when this was a primary: the next promotion decides them.
    const intent = bytes === undefined ? undefined : decodeIntent(bytes, name)
    if (intent?.kind === 'truncate' || intent?.kind === 'install') found.push(intent)
  }
  return found
}

/** Everything between the INTENT and its end. @returns where the log ends now */
export async function truncateSteps(parts: StepParts, generation: Generation, lsn: number): Promise<CutPoint> {
  const { root, world, storeId, check } = parts
  const { failpoints } = world
  const cut = await cutPointIn(root, generation, lsn, storeId)
  const clean = await readClean(root)
  if (clean !== undefined && (clean.generation ?? 0) === generation.number && clean.lsn > lsn) {
    check()
    // It names no segment: which footer it would speak of changes under it.
    await root.put(CLEAN_NAME, encodeClean({ storeId, lsn, count: 0, digest: cut.digest, segment: '', bytes: 0, generation: generation.number }))
  }
  const above = (await checkpointNames(root)).filter((name) => lsnOf(name) > lsn)
  check()
  if (above.length > 0) await root.delete(above)
  if (failpoints.active) await failpoints.hit(FP.ship.afterDropCheckpoints, { lsn })
  await cutLog(root, generation, cut, check)
  if (failpoints.active) await failpoints.hit(FP.ship.afterCut, { lsn })
  return cut
}

/** The end of record `lsn`, whatever lies behind it. */
async function cutPointIn(root: Root, generation: Generation, lsn: number, storeId: Uint8Array): Promise<CutPoint> {
  const at = (await listSegments(root, generation.dir)).findLast(({ firstLsn }) => firstLsn <= lsn)
  if (at === undefined) {
    if (lsn !== generation.tailLsn) throw corrupt(generation.dir, `there is no segment that holds LSN ${lsn}`, 0, lsn)
    return { info: undefined, lsn, offset: 0, digest: generation.tailDigest }
  }
  const { name, firstLsn } = at
  const head = await headOf(root, name, firstLsn, storeId)
  const file = await root.segment(name, { open: 'read' })
  try {
    const scan = await scanSegment(file, head, { until: lsn, closed: true })
    if (scan.wholeLsn !== lsn) throw corrupt(name, `its records end at LSN ${scan.wholeLsn}; the log is to be cut at ${lsn}`, scan.stopOffset, scan.nextLsn)
    const points = scan.points.filter((point) => point.lsn <= lsn && point.offset < scan.wholeEnd)
    const start: DigestPoint = pointBefore(points, lsn)!
    const digest: Digest = await foldFrom(file, head, start, lsn, scan.wholeEnd, name)
    const { epoch, seed, mandate } = head
    const info: SegmentInfo = {
      name,
      firstLsn,
      lastLsn: lsn,
      epoch,
      seed,
      mandate,
      used: scan.wholeEnd,
      size: file.size,
      sealed: true,
      own: false,
      points,
      allPoints: true,
    }
    return { info, lsn, offset: scan.wholeEnd, digest }
  } finally {
    await file.close()
  }
}

/** Where a checkpoint of a base lies until the switch: the generation before may have another one of its name. */
export function placeOf(generation: number, checkpoint: string): string {
  return `${logDir(generation)}${checkpoint.slice(CHECKPOINTS.length)}`
}

/** Behind the switch: `checkpoints/` becomes that of the base. */
export async function settleInstall({ root, check }: StepParts, base: Base): Promise<void> {
  const names = base.checkpoints.map(checkpointName)
  for (const name of names) {
    const bytes = await getIfThere(root, placeOf(base.generation, name))
    check()
    if (bytes !== undefined) await root.put(name, bytes)
    else if (!(await root.exists(name)))
      throw new CorruptionError('checkpoint.corrupt', `${name}: ${baseName(base.generation)} names it, and it is not there`, { details: { file: name } })
  }
  const others = (await checkpointNames(root)).filter((name) => !names.includes(name))
  check()
  if (others.length > 0) await root.delete(others)
  await root.delete(names.map((name) => placeOf(base.generation, name)))
}

/** Logs of the generations before `current`. @param bases  those there are, where the caller has just looked */
export async function dropOlder(root: Root, current: number, check: () => void, bases?: readonly number[]): Promise<void> {
  const older = (bases ?? (await listBases(root))).filter((number) => number < current)
  for (const generation of [...(current > 0 ? [0] : []), ...older]) await dropLog(root, generation, check)
  check()
  // A base goes when its log is gone: else nobody would look for that again.
  if (older.length > 0) await root.delete(older.map(baseName))
}

/** The folder of one log that is not the one that counts. */
export async function dropLog(root: Root, generation: number, check: () => void): Promise<void> {
  const dir = logDir(generation)
  for await (const _ of root.list(dir, { limit: 1 })) {
    check()
    await root.deletePrefix(dir)
  }
}

function checkpointName(lsn: number): string {
  return `${CHECKPOINTS}${String(lsn).padStart(20, '0')}.ckpt`
}

async function checkpointNames(root: Root): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list(CHECKPOINTS)) if (/^checkpoints\/\d{20}\.ckpt$/.test(name)) names.push(name)
  return names
}

/** @param checkpoint `checkpoints/<lsn>.ckpt` */
export function lsnOf(checkpoint: string): number {
  return Number(checkpoint.slice(CHECKPOINTS.length, -'.ckpt'.length))
}

/** Whom this node follows, or has promised itself to, it cannot pass for: it would vote twice. @throws StaleEpochError */
export function checkVote(root: Root, decided: number, before: NodeFacts): void {
  if (!hasVoted(decided, before)) return
  const [held, seen] = [epochOfMandate(before.promised), epochOfMandate(decided)]
  const isOwn = before.mandate === before.promised
  throw new StaleEpochError(`${root.url} is not promoted at epoch ${seen}: it ${isOwn ? 'was itself decided on' : 'follows what was decided'} at ${held}`, {
    details: { held, seen },
    hint: isOwn ? OWN_DECISION_HINT : SECOND_DECISION_HINT,
  })
}
