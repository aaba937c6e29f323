// upkeep/vacuum.ts: files that nothing needs any more go, and the log behind them (recovery.md section 10, "Vacuum"; log.md section 6).
//
//   sweep -> [ reclaim lock: oldest kept version -> mark -> list -> record ] -> deletes, in batches -> trim
//
// Invariant: a file is deleted only behind a record that names it, and only while the log says that it is dead for a good while yet; the record names nothing that
// the log, its queue or a pending write names. A crash anywhere leaves files too many, never one too few: the next run goes on.

import { type Branches, MAIN, TERM_MS, TERM_RECORDS } from '../catalog/index.ts'
import {
  type Engine,
  type EngineParts,
  type Holder,
  inTurn,
  KIND_BRANCH,
  KIND_VACUUM,
  markNames,
  namesOf,
  type StateContext,
  type StateRecord,
  type StoreState,
  type WalkSource,
} from '../engine/index.ts'
import { ContentionError, StorageError, VacuumError } from '../errors.ts'
import { type Intent, MAIN_BRANCH_ID, type Participant, toHex } from '../format/index.ts'
import type { Hold, Lsn, Reclaim } from '../log/index.ts'
import { FP, newUlidBytes } from '../runtime/index.ts'
import type { VacuumKeep, VacuumReport } from '../table/index.ts'
import { oldestKept, planTrim, type RetentionSource, type TrimPlan } from './retention.ts'
import { type Age, ageNeeded, type FoundFile, listUnkept, openIntents } from './vacuum-files.ts'

/** Names of one record: some 300 KiB. */
const RECORD_NAMES_MAX = 8192
const BATCH_NAMES_MAX = 1000
/** What must be left of the term of a name that is deleted. */
const MARGIN_MS = 24 * 3600 * 1000
const MARGIN_RECORDS = 1000
/** Of this machine's own clock, which stands still while it sleeps: no plan is believed for longer. */
const PLAN_MS = 3600 * 1000
/** Plans that others overtook. */
const ROUNDS = 8

export interface VacuumParts extends Pick<RetentionSource, 'lsnAt'> {
  readonly engine: Engine
  readonly storeId: Uint8Array
  readonly context: StateContext
  /** Positions below cannot be read, as things are now. */
  readonly floor: () => Promise<number>
  /** Writes whose owner is gone are decided, so that they hold nothing back. */
  readonly sweep: () => Promise<void>
}

export interface VacuumRun {
  readonly keep: VacuumKeep
  readonly dryRun: boolean
  readonly signal: AbortSignal | undefined
  readonly step: (phase: 'mark' | 'delete' | 'trim', done: number, total?: number) => void
}

/** What is to go, once it is named. */
interface Plan {
  readonly files: readonly FoundFile[]
  /** The fragment floor that goes with it. */
  readonly floor: number
  readonly heldBack: ReadonlyMap<string, number>
  readonly trim: TrimPlan
  readonly madeMs: number
}

/** @throws PinUnresolvedError, VacuumError, ContentionError, FencedError, StorageError; the signal's reason */
export function vacuum(parts: VacuumParts, run: VacuumRun): Promise<VacuumReport> {
  return new Vacuum(parts, run).run()
}

class Vacuum {
  private readonly parts: VacuumParts
  private readonly run_: VacuumRun
  private readonly id: Uint8Array
  private deleted = 0
  private bytes = 0
  private lsn: number | undefined

  constructor(parts: VacuumParts, run: VacuumRun) {
    this.parts = parts
    this.run_ = run
    this.id = newUlidBytes(parts.engine.parts.world)
  }

  async run(): Promise<VacuumReport> {
    const { engine } = this.parts
    const { log } = engine.parts
    if (!this.run_.dryRun) await this.parts.sweep()
    for (let round = 0; round < ROUNDS; round++) {
      if (log.shared) await engine.confirm()
      this.run_.signal?.throwIfAborted()
      const plan = await log.reclaim.exclusively(async () => {
        const made = await this.planned()
        if (made !== undefined && !this.run_.dryRun) await this.settle(made)
        return made
      })
      if (plan === undefined) continue
      if (this.run_.dryRun) return this.report(plan, plan.files, await log.trim(BigInt(plan.trim.upTo) as Lsn, { dryRun: true }))
      if (!(await this.delete(plan))) continue
      return this.report(plan, [], await this.trim(plan.trim))
    }
    throw new ContentionError(`vacuum: other vacuums or branches changed what is needed ${ROUNDS} times while it was worked out`, {
      details: { rounds: ROUNDS },
    })
  }

  /** Before a file of the plan goes. */
  private async settle({ files, trim }: Plan): Promise<void> {
    const { log, state } = this.parts.engine.parts
    // What is only buffered may be lost in a power cut, and the version that is the newest one then has files that this plan lets go.
    if (log.durableHead < log.head) await log.sync()
    // Whoever opens this root is shown what NODE calls committed, and finds no file of a version below this plan's floor.
    if (files.length > 0 || trim.upTo > 0) await log.settleCommitted?.(BigInt(state.applied) as Lsn)
  }

  private async report({ floor, heldBack, trim }: Plan, left: readonly FoundFile[], tail: Lsn): Promise<VacuumReport> {
    const held = [...heldBack].map(([by, bytes]) => ({ by, bytes })).toSorted((a, b) => b.bytes - a.bytes || (a.by < b.by ? -1 : 1))
    return {
      ...(this.lsn === undefined ? {} : { lsn: BigInt(this.lsn) as Lsn }),
      deleted: this.deleted + left.length,
      bytes: this.bytes + left.reduce((sum, { bytes }) => sum + bytes, 0),
      heldBack: held,
      floor: BigInt(Math.max(floor, await this.parts.floor())) as Lsn,
      tail,
      checkpoints: trim.drop.length,
    }
  }

  // plan

  /** Under the reclaim lock. undefined: somebody was quicker, and it is to be made again. */
  private async planned(): Promise<Plan | undefined> {
    const { store, log } = this.parts.engine.parts
    const named = new Set<string>()
    let isOvertaken = false
    const met = (record: StateRecord): void => {
      for (const name of namesOf(record)) named.add(name)
      // A position that got a name meanwhile may need what was found unneeded; what another vacuum named is its to delete.
      if (record.kind === KIND_BRANCH || (record.kind === KIND_VACUUM && toHex(record.vacuum.id) !== toHex(this.id))) isOvertaken = true
    }
    store.folded = met
    try {
      return await this.plan(named, () => isOvertaken, met)
    } finally {
      store.folded = undefined
      log.reclaim.planned = 0
    }
  }

  private async plan(named: ReadonlySet<string>, isOvertaken: () => boolean, met: (record: StateRecord) => void): Promise<Plan | undefined> {
    const { parts, run_ } = this
    const { engine, storeId, context } = parts
    const { root, log, state, world } = engine.parts
    const source: RetentionSource = { root, log, storeId, lsnAt: parts.lsnAt }
    const madeMs = world.clock.monoMs()
    run_.step('mark', 0)
    const head = state.applied
    const { branches, dead } = state.catalog
    const wasDead = dead.batches
    const wanted = Math.max(state.catalog.fragmentFloor, await oldestKept(source, run_.keep, head, world.clock.nowMs()))
    const elsewhere = (await log.heldElsewhere?.()) ?? []
    const open = log.shared ? await openIntents(engine) : []
    // From here to `planned` is one step: a hold that is granted later is at or above the floor, and needs nothing that goes.
    const holders = [...holdersOf(engine.parts, elsewhere), ...heldByWrites(engine, open)].filter(({ lsn }) => lsn < wanted)
    const floor = Math.max(state.catalog.fragmentFloor, Math.min(wanted, ...holders.filter(({ isPoint }) => !isPoint).map(({ lsn }) => lsn)))
    log.reclaim.planned = floor
    const marked = await markNames({ root, log, storeId, context, branches }, wanted, head, holders)
    run_.signal?.throwIfAborted()
    const found = await listUnkept(root, marked.kept, run_.signal)
    const age = await ageNeeded(engine)
    if (world.failpoints.active) await world.failpoints.hit(FP.vacuum.afterMark, {})
    const { doomed, heldBack } = sorted(found, withReads(marked.held, log.reclaim.list()), age)
    const planned = await planTrim(source, [floor, ...holders.map(({ lsn }) => lsn), ...forksOnMain(state.catalog.branches)])
    const trim = { upTo: planned.upTo, drop: unheld(planned.drop, log.reclaim) }
    const moves = trim.drop.length > 0 || (await log.trim(BigInt(trim.upTo) as Lsn, { dryRun: true })) > log.tail
    const isNeeded = doomed.length > 0 || moves
    if (run_.dryRun || !isNeeded) return { files: doomed, floor: isNeeded ? floor : 0, heldBack, trim, madeMs }
    const isFresh = (name: string): boolean => this.hasMargin(name, madeMs)
    const toName = doomed.filter(({ name }) => !wasDead.some(({ names }) => names.has(name)) || !isFresh(name))
    const gone = new Set(doomed.filter(({ name }) => isFresh(name)).map(({ name }) => name))
    for (let at = 0; at < toName.length || (at === 0 && moves && floor > state.catalog.fragmentFloor); at += RECORD_NAMES_MAX) {
      const chunk = toName.slice(at, at + RECORD_NAMES_MAX).map(({ name }) => name)
      const recorded = await this.record(
        chunk,
        floor,
        moves,
        (name) => {
          const wasNamed = wasDead.some(({ names }) => names.has(name))
          return named.has(name) || (wasNamed && !state.catalog.dead.has(name))
        },
        met,
        isOvertaken,
      )
      if (recorded === undefined) return undefined
      for (const name of recorded.names) gone.add(name)
      this.lsn = recorded.lsn ?? this.lsn
    }
    // A lease that was laid before its owner could see the record is honoured until it goes; the owner sees the record and gives it back.
    const late = ((await log.heldElsewhere?.()) ?? []).filter(({ lsn }) => lsn < floor)
    const files = late.length > 0 ? [] : doomed.filter(({ name }) => gone.has(name) && !named.has(name))
    for (const { owner } of late)
      heldBack.set(
        owner,
        doomed.reduce((sum, { bytes }) => sum + bytes, 0),
      )
    return { files, floor: 0, heldBack, trim: late.length > 0 ? { upTo: 0, drop: [] } : trim, madeMs }
  }

  /** One record; none when nothing is left to name and nothing is trimmed. undefined: the plan is overtaken. */
  private record(
    names: readonly string[],
    floor: number,
    isTrimming: boolean,
    isKept: (name: string) => boolean,
    met: (record: StateRecord) => void,
    isOvertaken: () => boolean,
  ): Promise<{ readonly lsn?: number; readonly names: readonly string[] } | undefined> {
    const { engine } = this.parts
    const { committer, log, state } = engine.parts
    return inTurn(engine, { signal: this.run_.signal }, async () => {
      // One step with the queueing: what is on its way to the log counts as if it were there.
      for (const record of committer.onTheirWay()) met(record)
      if (isOvertaken()) return undefined
      const left = names.filter((name) => !isKept(name))
      if (left.length === 0 && !(isTrimming && floor > state.catalog.fragmentFloor)) return { names: [] }
      return { lsn: await log.reclaim.recording(committer.vacuum({ id: this.id, floor, names: left })), names: left }
    })
  }

  /** The log says that the name is dead, and will for a good while. */
  private hasMargin(name: string, madeMs: number): boolean {
    const { state, world } = this.parts.engine.parts
    const { timeMs, lsn } = state.catalog
    const batch = state.catalog.dead.batchOf(name)
    if (batch === undefined || world.clock.monoMs() - madeMs > PLAN_MS) return false
    return timeMs - batch.timeMs <= TERM_MS - MARGIN_MS && lsn - batch.lsn <= TERM_RECORDS - MARGIN_RECORDS
  }

  // deletes

  /** False: the plan is too old, and what is left is to be planned again. */
  private async delete({ files, madeMs }: Plan): Promise<boolean> {
    const { engine } = this.parts
    const { root, log, world } = engine.parts
    const { failpoints } = world
    const ordered = files.toSorted((a, b) => (a.name < b.name ? -1 : 1))
    const end = this.deleted + ordered.length
    try {
      for (let at = 0; at < ordered.length; at += BATCH_NAMES_MAX) {
        const batch = ordered.slice(at, at + BATCH_NAMES_MAX)
        this.run_.step('delete', this.deleted, end)
        if (failpoints.active) await failpoints.hit(at === 0 ? FP.vacuum.beforeDelete : FP.vacuum.betweenDeletes, { done: at })
        this.run_.signal?.throwIfAborted()
        if (log.shared) await engine.confirm()
        log.assertOwned?.()
        if (!batch.every(({ name }) => this.hasMargin(name, madeMs))) return false
        for (const group of root.caps.syncDir ? byFolder(batch) : [batch]) await this.deleteGroup(group)
      }
    } catch (cause) {
      if (!(cause instanceof StorageError)) throw cause
      const left = end - this.deleted
      throw new VacuumError(`${this.deleted} files are deleted, ${left} are left: ${cause.message}`, { details: { deleted: this.deleted, left }, cause })
    }
    return true
  }

  private async deleteGroup(group: readonly FoundFile[]): Promise<void> {
    const { root } = this.parts.engine.parts
    let gone = group
    try {
      await root.delete(group.map(({ name }) => name))
    } catch (error) {
      gone = await this.goneOf(group)
      throw error
    } finally {
      this.deleted += gone.length
      this.bytes += gone.reduce((sum, { bytes }) => sum + bytes, 0)
    }
  }

  /** After a delete that failed: what of it happened. What cannot be told counts as there. */
  private async goneOf(group: readonly FoundFile[]): Promise<FoundFile[]> {
    const { root } = this.parts.engine.parts
    const there = await Promise.all(group.map(({ name }) => root.exists(name).catch(() => true)))
    return group.filter((_, i) => !there[i])
  }

  // trim

  /** @returns T */
  private async trim({ upTo, drop }: TrimPlan): Promise<Lsn> {
    const { root, log, world } = this.parts.engine.parts
    this.run_.step('trim', this.deleted)
    if (upTo === 0 && drop.length === 0) return log.tail
    if (world.failpoints.active) await world.failpoints.hit(FP.checkpoint.beforeTrim, { upTo })
    log.assertOwned?.()
    // Before the log below them: one that is left has its records.
    // One that was pinned since the plan was made stays.
    if (drop.length > 0) await log.reclaim.exclusively(() => root.delete(unheld(drop, log.reclaim)))
    const tail = upTo > Number(log.tail) ? await log.trim(BigInt(upTo) as Lsn) : log.tail
    return tail
  }
}

/** Everything that holds a version: tags, readers, feeds, backups and log pins of this process, and pins of others by their leases. Branches are held in any case. */
function holdersOf({ log, state }: Pick<EngineParts, 'log' | 'state'>, elsewhere: readonly { readonly owner: string; readonly lsn: number }[]): Holder[] {
  const { branches, merges } = state.catalog
  const bases = merges.bases((branch) => branches.isLive(branch))
  return [
    ...bases.map(({ branch, lsn, into }) => ({ by: `merge into ${branches.nameOf(into)}`, branch: branches.ownerAt(branch, lsn), lsn, isPoint: true })),
    ...branches.tags().map(({ name, branch, lsn }) => ({ by: `tag ${name}`, branch: branches.ownerAt(branch, lsn), lsn, isPoint: true })),
    ...log.reclaim
      .list()
      .filter(({ files, isPoint }) => files === undefined || !isPoint)
      .map(({ owner, branch, lsn, isPoint }) => ({ by: owner, branch: branches.ownerAt(branch, lsn), lsn, isPoint })),
    ...elsewhere.map(({ owner, lsn }) => ({ by: owner, branch: MAIN, lsn, isPoint: false })),
  ]
}

/** With what reads of this process show, by the files that they know. */
function withReads(held: ReadonlyMap<string, ReadonlySet<string>>, holds: readonly Hold[]): ReadonlyMap<string, ReadonlySet<string>> {
  const all = new Map([...held].map(([by, files]) => [by, new Set(files)]))
  for (const { owner, files } of holds) {
    if (files === undefined) continue
    const there = all.get(owner) ?? new Set()
    for (const name of files()) there.add(name)
    all.set(owner, there)
  }
  return all
}

/** Without what a hold names. */
function unheld(names: readonly string[], reclaim: Reclaim): readonly string[] {
  if (names.length === 0) return names
  const held = new Set(reclaim.list().flatMap(({ files }) => [...(files?.() ?? [])]))
  return names.filter((name) => !held.has(name))
}

/** The version of main that each branch and tag is made of. */
function forksOnMain(branches: Branches): number[] {
  const ids = [...branches.live().map(({ id }) => id), ...branches.tags().map(({ branch }) => branch)]
  return ids.map((id) => branches.path(id)[0]!.upto).filter(Number.isFinite)
}

/** How far a log can be cut that follows another one: as far as its vacuums have let go of, and nobody here reads. */
export async function planFollowedTrim(source: RetentionSource, { log, state }: Pick<EngineParts, 'log' | 'state'>): Promise<TrimPlan> {
  const { branches, fragmentFloor } = state.catalog
  const { upTo, drop } = await planTrim(source, [fragmentFloor, ...holdersOf({ log, state }, []).map(({ lsn }) => lsn), ...forksOnMain(branches)])
  return { upTo, drop: unheld(drop, log.reclaim) }
}

/** Every file that a version from `from` on needs, or a name that is alive: a branch, a tag, what the next merge begins with. */
export async function neededNames(source: Omit<WalkSource, 'branches'>, state: StoreState, from: number): Promise<ReadonlySet<string>> {
  const { log } = source
  const marked = await markNames({ ...source, branches: state.catalog.branches }, from, Number(log.head), holdersOf({ log, state }, []))
  return new Set([marked.kept, ...marked.held.values()].flatMap((names) => [...names]))
}

/** What undecided writes are compared with when they are published: of tables that changed since, everything from then on. */
function heldByWrites({ parts: { store } }: Engine, open: readonly Intent[]): Holder[] {
  const { catalog } = store
  const floor = catalog.fragmentFloor
  const holders: Holder[] = []
  const isIdle = ({ tableId }: Participant, since: number): boolean => (catalog.table(tableId)?.lastLsn ?? 0) <= since
  const add = (writeId: string, lsn: number): void => void holders.push({ by: `write ${writeId}`, branch: MAIN, lsn: Math.max(floor, lsn), isPoint: false })
  for (const { intent } of catalog.outcomes.pending.values()) {
    for (const participant of intent.participants) {
      const since = Number(participant.expectedVersion)
      // Tables of other branches are not at hand here.
      if (participant.rule === 'keys' && !(intent.branchId === MAIN_BRANCH_ID && isIdle(participant, since))) add(intent.writeId, since)
    }
  }
  for (const { writeId, baseLsn, branchId, participants } of open) {
    const since = participants
      .filter((each) => branchId !== MAIN_BRANCH_ID || !isIdle(each, Number(each.expectedVersion)))
      .map((each) => Number(each.expectedVersion))
    add(writeId, Math.min(Number(baseLsn), ...since))
  }
  return holders
}

/** What goes, and what keeps the rest: first what somebody holds, then what is too young. */
function sorted(
  found: readonly FoundFile[],
  held: ReadonlyMap<string, ReadonlySet<string>>,
  age: Age | undefined,
): { readonly doomed: FoundFile[]; readonly heldBack: Map<string, number> } {
  const heldBack = new Map<string, number>()
  const holders = [...held].filter(([, files]) => files.size > 0)
  const add = (by: string, bytes: number): void => void heldBack.set(by, (heldBack.get(by) ?? 0) + bytes)
  const doomed = found.filter(({ name, bytes, timeMs }) => {
    const by = holders.filter(([, files]) => files.has(name)).map(([holder]) => holder)
    if (by.length === 0 && age !== undefined && !(timeMs !== undefined && timeMs < age.beforeMs)) by.push(age.by)
    for (const each of by) add(each, bytes)
    return by.length === 0
  })
  return { doomed, heldBack }
}

/** One folder, one sync. */
function byFolder(files: readonly FoundFile[]): FoundFile[][] {
  return [...Map.groupBy(files, ({ name }) => name.slice(0, name.lastIndexOf('/'))).values()]
}
