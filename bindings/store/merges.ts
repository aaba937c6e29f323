// store/merges.ts: merge() and revert(): names become positions, the common base is found, both ends are held, and merge/ does the rest (recovery.md section 13).
//
// Invariant: the source is one position, captured before anything is decided: what is written to it later is not in the merge.

import { type Branches, type Catalog, MAIN } from '../catalog/index.ts'
import { type Position, ReadPoint } from '../engine/index.ts'
import { InvalidConfigError } from '../errors.ts'
import { MAIN_BRANCH, MAIN_BRANCH_ID } from '../format/index.ts'
import { ancestry, type Lineage, mergeBase, MergedMeanwhile, mergeInto, revertTo } from '../merge/index.ts'
import { Mutex, ulidText } from '../runtime/index.ts'
import type { At, CommitResult, MergeOptions, MergeResult, RevertOptions } from '../table/index.ts'
import type { WriteParts } from '../write/index.ts'
import { checkKnown } from './known-options.ts'
import type { Pins } from './pins.ts'
import type { Opened } from './wiring.ts'

export interface MergesHost {
  readonly o: Opened
  readonly pins: Pins
  /** The tables of a branch as they are now. */
  readonly pointAt: (at: At) => Promise<ReadPoint>
  /** Runs while the branch is in memory. @throws StaleBranchError */
  readonly use: <T>(branch: number, run: (parts: WriteParts) => Promise<T>) => Promise<T>
}

const MERGE_OPTIONS = ['into', 'granularity', 'dryRun', 'onConflict', 'message', 'author', 'idempotencyKey', 'writeId', 'signal', 'onProgress']
const REVERT_OPTIONS = ['tables', 'message', 'author', 'idempotencyKey', 'writeId', 'signal', 'onProgress']

/** Times that the base is found again. */
const ATTEMPTS = 8

/** What is merged, and into what. */
interface Ends {
  readonly source: string
  readonly from: Position
  readonly theirs: ReadPoint
  readonly into: number
  readonly parts: WriteParts
}

export class Merges {
  readonly #host: MergesHost
  readonly #turns = new Map<number, Mutex>()

  constructor(host: MergesHost) {
    this.#host = host
  }

  async merge(source: string, o: MergeOptions): Promise<MergeResult> {
    checkMerge(o)
    const { history, branches, acknowledgement } = this.#host.o
    const from = await history.resolve(source, acknowledgement.committed)
    const into = await history.branchNamed(o.into ?? MAIN_BRANCH)
    using _held = branches.pin(from.branch)
    const theirs = await this.#host.pointAt(source)
    const pin = this.#host.pins.hold(theirs, 'reader')
    try {
      // One at a time into a branch: the next one begins with what this one has brought.
      return await this.#turnsOf(into).run(() =>
        this.#host.use(into, async (parts) => {
          for (let attempt = 1; ; attempt++) {
            o.signal?.throwIfAborted()
            try {
              return await this.#once({ source, from: { branch: from.branch, lsn: theirs.lsn }, theirs, into, parts }, o)
            } catch (error) {
              // By another writer of the log.
              if (!(error instanceof MergedMeanwhile) || attempt >= ATTEMPTS) throw error
            }
          }
        }),
      )
    } finally {
      pin.release()
    }
  }

  /** @throws MergedMeanwhile */
  async #once({ source, from, theirs, into, parts }: Ends, o: MergeOptions): Promise<MergeResult> {
    const { history, state } = this.#host.o
    const { catalog } = state
    const lineage = lineageOf(catalog)
    const target = { branch: into, lsn: state.applied }
    const head = headOf(catalog, from)
    // Everything of it is there: what was merged before, or a branch that nobody has written to.
    const isThere = (ancestry(target, lineage).get(head.branch) ?? -1) >= head.lsn
    // Under a key that is known it was merged by an earlier call, whose result is told again.
    const isAgain = o.idempotencyKey !== undefined && parts.engine.parts.committer.knows(o.idempotencyKey)
    if (isThere && !isAgain && !lacksTables(catalog, from, parts)) return nothing()
    const base = mergeBase(from, target, lineage)!
    const pin = this.#host.pins.hold(base, 'reader')
    try {
      const isFastForward = (): boolean => {
        const own = headOf(catalog, { branch: into, lsn: state.applied })
        return (ancestry(from, lineage).get(own.branch) ?? -1) >= own.lsn
      }
      const isMoved = (): boolean => catalog.merges.all.some((merge) => merge.into === into && merge.lsn > target.lsn)
      const merge = {
        source,
        sourceId: branchIdOf(catalog.branches, from.branch),
        sourceLsn: String(from.lsn),
        baseLsn: String(base.lsn),
        branch: from.branch,
        baseBranch: base.branch,
      }
      const start = new ReadPoint(await history.state(base), base.lsn)
      if (!isAgain && hasDoneNothing(catalog, head, base) && sameTables(theirs, start)) return nothing()
      return await mergeInto({ parts, source: theirs, base: start, merge, into: o.into ?? MAIN_BRANCH, isFastForward, isMoved }, o)
    } finally {
      pin.release()
    }
  }

  #turnsOf(into: number): Mutex {
    let turns = this.#turns.get(into)
    if (turns === undefined) this.#turns.set(into, (turns = new Mutex()))
    return turns
  }

  async revert(to: At, o: RevertOptions): Promise<CommitResult> {
    checkKnown('revert', o, REVERT_OPTIONS)
    const { tables, ...write } = o
    const point = await this.#host.pointAt(to)
    const pin = this.#host.pins.hold(point, 'reader')
    try {
      return await this.#host.use(MAIN, (parts) => {
        const ids = tables?.map((table) => parts.engine.binder.bind(table).state.id)
        return revertTo(parts, point, ids === undefined ? undefined : new Set(ids), write)
      })
    } finally {
      pin.release()
    }
  }
}

function nothing(): MergeResult {
  return { fastForward: false, tables: {}, conflicts: [] }
}

/** The one is made of the other, with no merge in between: what differs, if anything, is its rows and definitions. */
function hasDoneNothing({ branches, merges }: Catalog, head: Position, base: Position): boolean {
  let { branch, lsn } = head
  for (;;) {
    const since = branch === base.branch ? base.lsn : 0
    if (merges.all.some((merge) => merge.into === branch && merge.lsn > since && merge.lsn <= lsn)) return false
    if (branch === base.branch) return true
    const entry = branches.numbered(branch)
    if (entry === undefined) return false
    lsn = Math.min(lsn, entry.fromLsn)
    branch = entry.parent
  }
}

/** No record between the two has changed a table. */
function sameTables(a: ReadPoint, b: ReadPoint): boolean {
  const last = (point: ReadPoint): string =>
    [...point.tableIds()]
      .map((id) => `${id}:${point.at(id)!.state.lastLsn}`)
      .toSorted()
      .join()
  return last(a) === last(b)
}

function lineageOf({ branches, merges }: Catalog): Lineage {
  const isKnown = (branch: number): boolean => branch === MAIN || branches.numbered(branch) !== undefined
  return {
    origin: (branch) => {
      const entry = branches.numbered(branch)
      return entry === undefined ? undefined : { branch: entry.parent, lsn: entry.fromLsn }
    },
    // Nothing can be read any more of a branch that is forgotten.
    merges: merges.all.filter(({ into, source }) => isKnown(into) && isKnown(source)),
  }
}

/** The last record of the branch, up to a position: on the branch itself, or where that has done nothing, on what it was made of. */
function headOf(catalog: Catalog, { branch, lsn }: Position): Position {
  const { branches } = catalog
  let last = branches.numbered(branch)?.head
  if (last === undefined) {
    last = 0
    for (const table of catalog.tables.values()) last = Math.max(last, table.lastLsn)
    for (const merge of catalog.merges.all) if (merge.into === branch) last = Math.max(last, merge.lsn)
  }
  const head = Math.min(lsn, last)
  return { branch: branches.ownerAt(branch, head), lsn: head }
}

/** Main has dropped a table that the target has: nothing that is left tells when. */
function lacksTables({ tables }: Catalog, { branch }: Position, { engine }: WriteParts): boolean {
  return branch === MAIN && [...engine.parts.state.tables.keys()].some((id) => !tables.has(id))
}

function branchIdOf(branches: Branches, branch: number): string {
  const entry = branches.numbered(branch)
  return entry === undefined ? MAIN_BRANCH_ID : ulidText(entry.branchId)
}

/** @throws InvalidConfigError */
function checkMerge(o: MergeOptions): void {
  checkKnown('merge', o, MERGE_OPTIONS)
  const { into, granularity, dryRun, onConflict } = o
  if (into !== undefined && typeof into !== 'string') throw wrong('into', into)
  if (granularity !== undefined && granularity !== 'column' && granularity !== 'row') throw wrong('granularity', granularity)
  if (dryRun !== undefined && typeof dryRun !== 'boolean') throw wrong('dryRun', dryRun)
  if (onConflict !== undefined && typeof onConflict !== 'function' && !['fail', 'ours', 'theirs'].includes(onConflict)) throw wrong('onConflict', onConflict)
}

function wrong(key: string, value: unknown): InvalidConfigError {
  return new InvalidConfigError(`${key}: ${String(value)} cannot be`, { details: { key, value } })
}
