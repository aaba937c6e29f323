// engine/name-walk.ts: which files versions need, told by one pass over the log from the oldest of them (recovery.md section 10, "Vacuum").
//
// The catalog alone is folded, without rows. Fragment lists are shared between the versions that have them, so what a version costs here is one reference a table.
// Invariant: a file that a kept version, the newest version of any branch, a pending write or any record behind the oldest kept version names is in `kept`;
// one that something else holds is in its files.

import { type BranchEntry, type Branches, Catalog, type CatalogFragment, type CatalogTables, type Checkpoint } from '../catalog/index.ts'
import { newestCheckpoint } from './checkpoints.ts'
import { namesOf, namesOfChange, namesOfIntent, namesOfRefs, namesOfVectors } from './record-files.ts'
import { decodeRecord, KIND_COMMIT, KIND_FLUSH, KIND_OPTIMIZE, KIND_SEAL, type StateContext, type StateRecord, StoreState } from './state.ts'
import { PinUnresolvedError, VarveError } from '../errors.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import type { Root } from '../root/index.ts'

/** Something that holds one version back (`isPoint`), or that and everything behind it. */
export interface Holder {
  /** `tag v1`, `branch dev`, `reader`, ... */
  readonly by: string
  readonly branch: number
  readonly lsn: number
  readonly isPoint: boolean
}

export interface WalkSource {
  readonly root: Root
  readonly log: CommitLog
  readonly storeId: Uint8Array
  readonly context: StateContext
  /** As they are at the end of the pass. */
  readonly branches: Branches
}

export interface Marked {
  readonly kept: ReadonlySet<string>
  /** What each holder needs besides, whoever else does too. */
  readonly held: ReadonlyMap<string, ReadonlySet<string>>
}

type Lists = readonly (readonly CatalogFragment[])[]

/**
 * @param from  the oldest kept version
 * @param end  where the log ends for this pass
 * @throws PinUnresolvedError: a version that must be kept cannot be made; StorageError
 */
export async function markNames(source: WalkSource, from: number, end: number, holders: readonly Holder[]): Promise<Marked> {
  // A branch that is made of something newer while this goes on is behind the end.
  const forks = forksOf(source.branches).filter(({ fromLsn }) => fromLsn <= end)
  const lowest = [...holders, ...forks.map(({ name, fromLsn }) => ({ by: `branch ${name}`, lsn: fromLsn }))].reduce(
    (low, each) => (each.lsn < low.lsn ? each : low),
    { by: 'keep', lsn: from },
  )
  const walk = new NameWalk(from, holders, forks)
  try {
    await walk.run(source, await baseOf(source, lowest), end)
  } catch (error) {
    if (error instanceof VarveError && error.kind === 'corrupt' && !(error instanceof PinUnresolvedError)) throw unresolved(lowest, error.message, error)
    throw error
  }
  return walk.marked()
}

/**
 * Whether anything that can still be read needs a file: of a store that a vacuum has been at. Asked when one is missing; the first time costs a pass over the log.
 *
 * @param end  positions up to here
 */
export function neededFiles(source: WalkSource, floor: number, end: number): (name: string) => Promise<boolean> {
  let marked: Promise<Marked> | undefined
  return async (name) => {
    if (floor === 0) return true
    const tags = source.branches
      .tags()
      .map(({ name: by, branch, lsn }) => ({ by: `tag ${by}`, branch: source.branches.ownerAt(branch, lsn), lsn, isPoint: true }))
    const { kept, held } = await (marked ??= markNames(source, floor, end, tags))
    return kept.has(name) || [...held.values()].some((files) => files.has(name))
  }
}

/** One checkpoint older than the newest that would do: should that one go bad, what stands in for it replays the deletion vectors between them. */
async function baseOf({ root, log, storeId }: WalkSource, lowest: { readonly by: string; readonly lsn: number }): Promise<Checkpoint | undefined> {
  const newest = await newestCheckpoint(root, storeId, lowest.lsn)
  if (newest === undefined && log.tail > 0n) {
    throw unresolved(lowest, `no checkpoint at or below it can be read, and the log begins after ${log.tail}`)
  }
  const older = newest === undefined ? undefined : await newestCheckpoint(root, storeId, newest.lsn - 1)
  const begins = Math.max(Number(log.tail), log.reclaim.historyFloor())
  if (older !== undefined && older.lsn >= begins) return older
  // Below where this history begins files are gone, vectors too: nothing stands in for its first checkpoint.
  // A name that is older than that (what a base brings for a tag) has its own checkpoint, or the log from its start.
  return log.tail === 0n && (newest === undefined || begins === 0 || newest.lsn < begins) ? undefined : newest
}

function unresolved({ by, lsn }: { readonly by: string; readonly lsn: number }, why: string, cause?: unknown): PinUnresolvedError {
  return new PinUnresolvedError(`${by} holds the version of LSN ${lsn}, and what that needs cannot be told: ${why}`, { details: { pin: by }, cause })
}

/** Every branch that is alive or that one, or a tag, stands on; parents first. */
function forksOf(branches: Branches): BranchEntry[] {
  const forks = new Map<number, BranchEntry>()
  const add = (id: number): void => {
    for (let at = branches.numbered(id); at !== undefined && !forks.has(at.id); at = branches.numbered(at.parent)) forks.set(at.id, at)
  }
  for (const { id } of branches.live()) add(id)
  for (const { branch } of branches.tags()) add(branch)
  return [...forks.values()].toSorted((a, b) => a.id - b.id)
}

class NameWalk {
  private readonly from: number
  private readonly kept = new Set<string>()
  private readonly holdersAt: ReadonlyMap<number, readonly Holder[]>
  private readonly forksAt: ReadonlyMap<number, readonly BranchEntry[]>
  private readonly found: { readonly by: string; readonly lsn: number; readonly isPoint: boolean; readonly lists: Lists }[] = []
  /** Names of records behind the lowest range and not behind `from`. */
  private readonly trail: { readonly lsn: number; readonly names: readonly string[] }[] = []
  private readonly trailFrom: number
  private readonly liveNames: ReadonlyMap<number, string>
  private readonly namesOfList = new Map<readonly CatalogFragment[], readonly string[]>()

  constructor(from: number, holders: readonly Holder[], forks: readonly BranchEntry[]) {
    this.from = from
    this.trailFrom = Math.min(Infinity, ...holders.filter(({ isPoint }) => !isPoint).map(({ lsn }) => lsn))
    this.holdersAt = Map.groupBy(holders, ({ lsn }) => lsn)
    this.liveNames = new Map(forks.filter(({ isDeleted }) => !isDeleted).map(({ id, name }) => [id, name]))
    this.forksAt = Map.groupBy(forks, ({ fromLsn }) => fromLsn)
  }

  async run({ log, context }: WalkSource, base: Checkpoint | undefined, end: number): Promise<void> {
    const state = StoreState.ofCatalog(context, base?.catalog ?? new Catalog())
    for (const { fragments } of state.catalog.tables.values()) for (const { vector } of fragments) if (vector !== undefined) this.add(namesOfVectors([vector]))
    this.arrive(state)
    for await (const batch of log.read(BigInt(state.applied) as Lsn, { end: BigInt(end) as Lsn })) {
      let lsn = Number(batch.first)
      for (const offset of batch.offsets) {
        const record = state.resolve(lsn, decodeRecord(batch.bytes, offset, lsn))
        if (record.kind !== KIND_SEAL) this.meet(lsn, namesOf(record))
        state.fold(lsn, withoutRows(record))
        this.arrive(state)
        lsn++
      }
    }
    this.add(this.namesOfLists(listsOf(state.catalog.tables)))
    for (const [id, name] of this.liveNames) this.note(`branch ${name}`, state.applied, true, state.view(id)?.catalog.tables)
    for (const { intent, changes } of state.catalog.outcomes.pending.values()) this.add([...namesOfIntent(intent), ...changes.flatMap(namesOfChange)])
  }

  /** The names of a record. Deletion vectors are read by whoever makes a state from a checkpoint on, replaced ones too. */
  private meet(lsn: number, names: readonly string[]): void {
    if (lsn > this.from) this.add(names)
    else {
      this.add(names.filter((name) => name.endsWith('.dv')))
      if (lsn > this.trailFrom) this.trail.push({ lsn, names })
    }
  }

  /** The state is that of its LSN: branches that begin here get their tables, and whoever holds the version notes what it consists of. */
  private arrive(state: StoreState): void {
    const { applied, catalog, context } = state
    for (const { id, name, parent, isDeleted } of this.forksAt.get(applied) ?? []) {
      const tables = new Map([...(state.view(parent)?.catalog.tables ?? [])].map(([tableId, table]) => [tableId, { ...table }]))
      state.attach(StoreState.ofCatalog(context, catalog.withTables(tables), [{ branch: id, upto: Number.POSITIVE_INFINITY }]))
      if (!isDeleted) this.note(`branch ${name}`, applied, true, tables)
    }
    if (applied === this.from) {
      this.add(this.namesOfLists(listsOf(catalog.tables)))
      for (const { branch, catalog: own } of state.views()) {
        const name = this.liveNames.get(branch)
        if (name !== undefined) this.note(`branch ${name}`, applied, true, own.tables)
      }
    }
    for (const { by, branch, isPoint } of this.holdersAt.get(applied) ?? []) this.note(by, applied, isPoint, state.view(branch)?.catalog.tables)
  }

  private note(by: string, lsn: number, isPoint: boolean, tables: CatalogTables | undefined): void {
    if (tables === undefined) throw unresolved({ by, lsn }, 'the branch it stands on is not there')
    this.found.push({ by, lsn, isPoint, lists: listsOf(tables) })
  }

  private add(names: Iterable<string>): void {
    for (const name of names) this.kept.add(name)
  }

  private *namesOfLists(lists: Lists): Generator<string, undefined> {
    for (const list of lists) {
      let names = this.namesOfList.get(list)
      if (names === undefined) {
        names = list.flatMap(({ ref, vector }) => [...namesOfRefs([ref]), ...(vector === undefined ? [] : namesOfVectors([vector]))])
        this.namesOfList.set(list, names)
      }
      yield* names
    }
  }

  marked(): Marked {
    const held = new Map<string, Set<string>>()
    for (const { by, lsn, isPoint, lists } of this.found) {
      let files = held.get(by)
      if (files === undefined) held.set(by, (files = new Set()))
      const extra = (names: Iterable<string>): void => {
        for (const name of names) if (!this.kept.has(name)) files!.add(name)
      }
      extra(this.namesOfLists(lists))
      if (!isPoint) for (const each of this.trail) if (each.lsn > lsn) extra(each.names)
    }
    return { kept: this.kept, held }
  }
}

function listsOf(tables: CatalogTables): Lists {
  return [...tables.values()].map(({ fragments }) => fragments)
}

/** Which rows are hidden names no file; folding it would cost a bitmap a fragment. */
function withoutRows(record: StateRecord): StateRecord {
  if (record.kind === KIND_COMMIT) {
    const changes = record.commit.changes.map(({ hides: _hides, hideRows: _hideRows, ...change }) => change)
    return { ...record, commit: { ...record.commit, changes } }
  }
  if (record.kind === KIND_OPTIMIZE) {
    return { ...record, optimize: { ...record.optimize, parts: record.optimize.parts.map((part) => ({ ...part, hides: [] })) } }
  }
  return record.kind === KIND_FLUSH ? { ...record, flush: { ...record.flush, hides: [] } } : record
}
