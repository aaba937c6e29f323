// upkeep/retention.ts: how far back versions are kept, and how far the log and the checkpoints behind them can go (log.md section 6).
//
// Invariant: T stays at or below what the second newest valid checkpoint replays, so that one bad checkpoint is survived, and at or below what every version that
// must be made again replays; at least two valid checkpoints stay.

import { type Checkpoint, checkpointName } from '../catalog/index.ts'
import { KIND_COMMIT, KIND_PUBLISH, KIND_SCHEMA, listCheckpoints, readCheckpoint } from '../engine/index.ts'
import { CorruptionError, InvalidConfigError } from '../errors.ts'
import { frameKind } from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import type { VacuumKeep } from '../table/index.ts'

const DAY_MS = 24 * 3600 * 1000

/** @throws InvalidConfigError */
export function checkKeep(keep: unknown): VacuumKeep {
  const fail = (why: string, value: unknown): never => {
    throw new InvalidConfigError(`keep: ${why}`, {
      details: { key: 'keep', value },
      hint: 'Say what stays: { days: 7 }, { versions: 100 }, or both. { versions: 1 } keeps the newest version of every branch.',
    })
  }
  if (typeof keep !== 'object' || keep === null) return fail('vacuum does not guess how much history to keep', keep)
  const { days, versions, ...rest } = keep as Record<string, unknown>
  const unknown = Object.keys(rest)[0]
  if (unknown !== undefined) return fail(`no option ${JSON.stringify(unknown)}`, keep)
  if (days === undefined && versions === undefined) return fail('vacuum does not guess how much history to keep', keep)
  if (days !== undefined && !(typeof days === 'number' && Number.isFinite(days) && days >= 0)) return fail('days is a number from 0 on', days)
  if (versions !== undefined && !(typeof versions === 'number' && Number.isSafeInteger(versions) && versions >= 1))
    return fail('versions is a whole number from 1 on', versions)
  return { ...(days === undefined ? {} : { days: days as number }), ...(versions === undefined ? {} : { versions: versions as number }) }
}

export interface RetentionSource {
  readonly root: Root
  readonly log: CommitLog
  readonly storeId: Uint8Array
  /** The last record at or before a time. */
  readonly lsnAt: (timeMs: number, head: number) => Promise<number>
}

/** The oldest LSN that `keep` wants to stay readable; with both rules the older one of theirs. */
export async function oldestKept(source: RetentionSource, keep: VacuumKeep, head: number, nowMs: number): Promise<number> {
  const byDays = keep.days === undefined ? head : await source.lsnAt(nowMs - keep.days * DAY_MS, head)
  const byVersions = keep.versions === undefined ? head : await nthVersion(source, keep.versions, head)
  return Math.min(byDays, byVersions)
}

/** Where the n-th newest version begins; the newest one is the head. 0: there are fewer. */
async function nthVersion({ root, log }: RetentionSource, n: number, head: number): Promise<number> {
  if (n === 1) return head
  const tail = Number(log.tail)
  const starts = [...(await listCheckpoints(root)).filter((lsn) => lsn < head && lsn > tail), tail]
  for (const start of starts) {
    const newest: number[] = []
    for await (const batch of log.read(BigInt(start) as Lsn, { end: BigInt(head) as Lsn })) {
      let lsn = Number(batch.first)
      for (const offset of batch.offsets) {
        const kind = frameKind(batch.bytes, offset)
        if (kind === KIND_COMMIT || kind === KIND_PUBLISH || kind === KIND_SCHEMA) {
          newest.push(lsn)
          if (newest.length > n) newest.shift()
        }
        lsn++
      }
    }
    if (newest.length === n) return newest[0]!
  }
  return 0
}

export interface TrimPlan {
  /** The log may be cut up to here, pins aside. */
  readonly upTo: number
  /** Checkpoints that nothing needs. */
  readonly drop: readonly string[]
}

/** @param versions  LSNs on main whose state must be makeable */
export async function planTrim({ root, storeId }: RetentionSource, versions: readonly number[]): Promise<TrimPlan> {
  const listed = await listCheckpoints(root)
  const read = new Map<number, Checkpoint | undefined>()
  const valid = async (lsn: number): Promise<Checkpoint | undefined> => {
    if (!read.has(lsn)) read.set(lsn, await readCheckpoint(root, storeId, lsn).catch(ignoreBad))
    return read.get(lsn)
  }
  const newest: Checkpoint[] = []
  for (const lsn of listed) {
    const checkpoint = await valid(lsn)
    if (checkpoint !== undefined) newest.push(checkpoint)
    if (newest.length === 2) break
  }
  if (newest.length < 2) return { upTo: 0, drop: [] }
  const needed = new Map<number, Checkpoint>(newest.map((each) => [each.lsn, each]))
  let upTo = Math.min(...newest.map(({ catalog }) => catalog.replayFrom))
  for (const version of new Set(versions)) {
    let base: Checkpoint | undefined
    for (const lsn of listed) if (lsn <= version && (base = await valid(lsn)) !== undefined) break
    if (base === undefined) upTo = 0
    else {
      needed.set(base.lsn, base)
      upTo = Math.min(upTo, base.catalog.replayFrom)
    }
  }
  // One that cannot be read is repair's to judge.
  const drop: string[] = []
  for (const lsn of listed) if (lsn < newest[1]!.lsn && !needed.has(lsn) && (await valid(lsn)) !== undefined) drop.push(checkpointName(lsn))
  return { upTo, drop }
}

function ignoreBad(error: unknown): undefined {
  if (error instanceof CorruptionError || isNotFound(error)) return undefined
  throw error
}
