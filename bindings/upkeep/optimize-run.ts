// upkeep/optimize-run.ts: one run of optimize: plan from one snapshot, write, reindex, publish (recovery.md section 10).
//
//   plan -> INTENT -> groups written anew, indexes built -> final names -> gates -> one synchronous step: what was hidden meanwhile, queue the record -> retire
//
// Nothing is held while files are written: commits, flushes and loads go on. Invariant: the record removes fragments that live at that very step, and the rows of
// its fragments that live behind it are exactly the rows that lived in those: a run never brings a row back and never loses one.

import {
  type Engine,
  type FinishedTable,
  FUSED_BYTES_MAX,
  FUSED_FILES_MAX,
  FusedWrite,
  intentFiles,
  inTurn,
  promotedRef,
  rowGates,
  whileAlive,
} from '../engine/index.ts'
import { ClosedError, PendingIntentError } from '../errors.ts'
import { type Intent, type OptimizedPart, type Participant, type Reindexed, type TableSchema, toHex } from '../format/index.ts'
import { FP, ulidBytes } from '../runtime/index.ts'
import type { StagedFile } from '../staging/index.ts'
import { ColumnCache, FragmentReader, type LiveFragment, type TableState } from '../table/index.ts'
import { rollbackWrite, sealWrite, type WriteParts } from '../write/index.ts'
import { CompactedGroup } from './compact-group.ts'
import type { Pacer } from './pacer.ts'
import { type CompactionGroup, type CompactionPolicy, planCompaction } from './plan-compaction.ts'
import { reindex } from './reindex.ts'
import { RowSource } from './row-source.ts'
import { lacksIndex, type OptimizeTarget, shapeOf } from './shape.ts'

/** Decoded columns that a run keeps at hand: a batch or two of what it reads. */
const CACHE_BYTES = 32 * 1024 * 1024
/** Tables at a time. */
const LANES = 2

export interface PlanOptions {
  readonly tables: readonly TableState[]
  readonly policy: CompactionPolicy
  readonly target: OptimizeTarget
}

export interface RunOptions {
  /** Who seals it when it is large, or always; undefined: it is one record, whatever its size. */
  readonly sealer?: { readonly isAlways: boolean; readonly parts: WriteParts } | undefined
  readonly pacer: Pacer
  readonly signal: AbortSignal
}

/** What is to be done for one table. */
export interface TablePlan {
  readonly table: TableState
  /** The durable definition: a later one that is queued may be taken back. */
  readonly schema: TableSchema
  readonly groups: readonly CompactionGroup[]
  /** Fragments without an index that the table declares, which no group writes anew. */
  readonly lacking: readonly LiveFragment[]
  readonly fragments: readonly LiveFragment[]
}

export interface RunResult {
  /** undefined: there was nothing to publish. */
  readonly lsn: number | undefined
  /** Tables that others changed so that what was written for them is of no use. */
  readonly moved: readonly TableState[]
  /** Tables whose definition is another one now: they are worth another plan. */
  readonly redefined: readonly TableState[]
  /** Tables for which the time was too short. */
  readonly unfinished: readonly TableState[]
}

/** From the durable state, in one synchronous step. */
export function planTables({ parts: { state } }: Engine, { tables, policy, target }: PlanOptions): TablePlan[] {
  const plans: TablePlan[] = []
  for (const table of tables) {
    if (!table.isAt(state.applied)) continue
    const structure = table.at(state.applied)
    const { schema, fragments } = structure
    const groups = planCompaction(shapeOf(schema, structure, state.applied, target), policy)
    const rewritten = new Set(groups.flatMap(({ segments }) => segments.flat().map(idOf)))
    const lacking = fragments.filter((fragment) => lacksIndex(schema, fragment) && !rewritten.has(idOf(fragment)))
    if (groups.length > 0 || lacking.length > 0) plans.push({ table, schema, groups, lacking, fragments })
  }
  return plans
}

/** Refused, rather than to publish over an undecided write. @throws PendingIntentError */
export function refusePending({ parts: { committer, store, intents } }: Engine, except?: string): void {
  const { branchId } = intents.branch
  if (!committer.hasSealed(branchId, except)) return
  const writeIds = [...store.catalog.outcomes.pending.values()].flatMap(({ intent }) => (intent.branchId === branchId ? [intent.writeId] : []))
  throw new PendingIntentError(`${writeIds.length} writes are sealed and not decided: optimize would move rows that they name`, {
    details: { writeIds },
    hint: 'Publish or roll back what store.staged() lists, then optimize again.',
  })
}

/**
 * Carry out plans as one write. Durable when it resolves.
 *
 * @throws PendingIntentError; the signal's reason; StorageError, CorruptionError: nothing has changed then
 */
export async function runOptimize(engine: Engine, plans: readonly TablePlan[], o: RunOptions): Promise<RunResult> {
  const run = new Run(engine, plans, o)
  return run.run()
}

/** What was written for one table. */
interface Written {
  readonly table: TableState
  readonly schema: TableSchema
  readonly groups: CompactedGroup[]
  readonly reindexed: { readonly fragment: LiveFragment; readonly ref: Reindexed['ref']; readonly files: readonly StagedFile[] }[]
}

class Run {
  private readonly engine: Engine
  private readonly plans: readonly TablePlan[]
  private readonly o: RunOptions
  private readonly planLsn: number
  private readonly fused: FusedWrite
  private readonly cache = new ColumnCache(CACHE_BYTES)
  private readonly written: Written[]
  private files: StagedFile[] = []
  private readonly unfinished = new Set<TableState>()
  /** Of its seal; 0: it is not sealed. */
  private sealLsn = 0
  /** A record may be in the log. */
  private isQueued = false

  constructor(engine: Engine, plans: readonly TablePlan[], o: RunOptions) {
    this.engine = engine
    this.plans = plans
    this.o = o
    this.planLsn = engine.parts.state.applied
    const [first, ...also] = plans.map(({ table }) => table)
    this.fused = new FusedWrite(engine, { kind: 'optimize', table: first!, also, op: 'compact' })
    // Which rows live is read off here, before anything else happens.
    this.written = plans.map(({ table, schema, groups, fragments }) => ({
      table,
      schema,
      groups: groups.map(({ segments, outputRows }) => {
        const sources = segments.map((segment) =>
          segment.map((member) =>
            this.source(
              table,
              fragments.find((each) => idOf(each) === idOf(member))!,
            ),
          ),
        )
        return new CompactedGroup(sources, outputRows)
      }),
      reindexed: [],
    }))
  }

  private source(table: TableState, fragment: LiveFragment): RowSource {
    const { root, world, missingColumn } = this.engine.parts
    const schema = table.schemaOf(fragment.ref.schemaVersion)
    const reader = new FragmentReader({ root, ref: fragment.ref, schema, cache: this.cache, missing: missingColumn, log: (event) => world.logger.log(event) })
    return new RowSource(fragment, reader, this.planLsn)
  }

  async run(): Promise<RunResult> {
    const { fused } = this
    const { failpoints } = this.engine.parts.world
    let result: RunResult
    try {
      if (failpoints.active) await failpoints.hit(FP.optimize.afterPlan, { writeId: fused.writeId })
      await fused.area()
      await this.write()
      await this.seal()
      result = await this.publish()
    } catch (error) {
      // As long as no record was queued, what it has staged is nobody's but its own: also when the store is closing.
      if (this.isPending) await this.rollBack(error)
      else if (error instanceof ClosedError && !this.isQueued) await fused.retire()
      else await fused.giveUp(error)
      throw error
    }
    if (result.lsn === undefined && this.isPending) await rollbackWrite(this.o.sealer!.parts, fused.writeId, 'moved')
    await fused.retire()
    return result
  }

  /** Some tables at a time; a failure of one ends them all. */
  private async write(): Promise<void> {
    const stopper = new AbortController()
    const signal = AbortSignal.any([this.o.signal, stopper.signal])
    const queue = this.plans.map((plan, i) => ({ plan, written: this.written[i]! }))
    const lane = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) await this.writeTable(next.plan, next.written, signal)
    }
    const lanes = Array.from({ length: LANES }, () =>
      lane().catch((error: unknown) => {
        stopper.abort(error)
        throw error
      }),
    )
    for (const each of await Promise.allSettled(lanes)) if (each.status === 'rejected') throw stopper.signal.reason as Error
  }

  private async writeTable({ table, schema, lacking }: TablePlan, written: Written, signal: AbortSignal): Promise<void> {
    const { world } = this.engine.parts
    const { failpoints } = world
    const { pacer } = this.o
    if (failpoints.active) await failpoints.hit(FP.optimize.beforeCompact, { table: table.name })
    let done = 0
    for (const group of written.groups) {
      if (done > 0 && pacer.isOver) break
      await group.write({ world, schema, area: this.fused.area, pacer, signal })
      this.files.push(...group.files)
      done++
    }
    // Out of time: what was not begun stays as it is.
    if (written.groups.splice(done).length > 0) this.unfinished.add(table)
    if (failpoints.active) await failpoints.hit(FP.optimize.afterCompact, { table: table.name })
    if (failpoints.active) await failpoints.hit(FP.optimize.beforeReindex, { table: table.name })
    for (const fragment of lacking) {
      if (done > 0 && pacer.isOver) {
        this.unfinished.add(table)
        break
      }
      const { reader } = this.source(table, fragment)
      const pace = (): Promise<void> | undefined => pacer.step(fragment.ref.bytes / reader.batchCount, signal)
      const { ref, files } = await reindex(schema, fragment, reader, { area: await this.fused.area(), workers: this.engine.parts.world.workers, signal, pace })
      written.reindexed.push({ fragment, ref, files })
      this.files.push(...files)
      done++
      await pacer.wrote(
        files.reduce((sum, file) => sum + file.bytes, 0),
        signal,
      )
    }
    if (failpoints.active) await failpoints.hit(FP.optimize.afterReindex, { table: table.name })
  }

  /** Sealed, and not decided. */
  private get isPending(): boolean {
    const { committer, store } = this.engine.parts
    const id = toHex(ulidBytes(this.fused.writeId))
    return store.catalog.outcomes.pending.has(id) && committer.decisionOf(id) === undefined
  }

  /** It failed behind its seal: what is certain to be over is recorded so; anything else is for recovery to decide, which loses no work. */
  private async rollBack(error: unknown): Promise<void> {
    const { fused } = this
    const isRefused = error instanceof PendingIntentError || (this.o.signal.aborted && error === this.o.signal.reason)
    if (isRefused && this.engine.parts.committer.failure === undefined) {
      await rollbackWrite(this.o.sealer!.parts, fused.writeId, error instanceof PendingIntentError ? 'conflict' : 'aborted')
      return fused.retire()
    }
    await fused.settle()
  }

  /** From here on recovery publishes it, if its writer does not (recovery.md section 2). */
  private async seal(): Promise<void> {
    const { sealer, signal } = this.o
    const { files } = this
    if (sealer === undefined || files.length === 0) return
    const isLarge = files.length > FUSED_FILES_MAX || files.reduce((sum, file) => sum + file.bytes, 0) > FUSED_BYTES_MAX
    if (!sealer.isAlways && !isLarge) return
    const finished = this.written.map((written) => finishedTable(this.fused.intent!, written))
    // Without an idempotency key there is no earlier result.
    this.sealLsn = (await sealWrite(sealer.parts, await this.fused.area(), this.fused.intent!, finished, { request: undefined, signal })) as number
  }

  private async publish(): Promise<RunResult> {
    const { engine, fused } = this
    const { signal } = this.o
    const { failpoints } = engine.parts.world
    const tables = this.plans.map(({ table }) => table)
    return whileAlive(async () => {
      const generations = await fused.promote(this.files)
      if (failpoints.active) await failpoints.hit(FP.optimize.beforePublish, { writeId: fused.writeId })
      // Whoever moves or loads rows of a table has its gate: what they found in its fragments stays found until their record is queued.
      using _gates = await engine.gates.take(rowGates(engine, tables), { signal })
      return inTurn(engine, { signal }, async () => this.queue(generations))
    })
  }

  /** What was hidden meanwhile, and the record: one synchronous step up to its queueing. */
  private async queue(generations: ReadonlyMap<string, number>): Promise<RunResult> {
    const { engine, fused } = this
    const { committer, check } = engine.parts
    this.o.signal.throwIfAborted()
    check()
    const writeId = ulidBytes(fused.writeId)
    refusePending(engine, toHex(writeId))
    const moved: TableState[] = []
    const unfinished = [...this.unfinished]
    // With the gates held a definition that is not durable is none of this log's.
    const redefined = this.written.flatMap(({ table, schema }) => (table.isDropped || table.schema.version === schema.version ? [] : [table]))
    const parts = this.written.flatMap((written) => (redefined.includes(written.table) ? [] : this.partsOf(written, generations, moved)))
    if (parts.length === 0) return { lsn: undefined, moved, redefined, unfinished }
    const tables = this.plans.flatMap(({ table }) => (parts.some(({ tableId }) => tableId === table.id) ? [table] : []))
    this.isQueued = true
    const lsn = await committer.optimize(tables, { writeId, sealLsn: this.sealLsn, parts }, fused.armed!.baseLsn)
    return { lsn, moved, redefined, unfinished }
  }

  /** A group whose fragments are not all there any more (a replace, another optimize) is left out: its files are nobody's, and vacuum takes them. */
  private partsOf({ table, groups, reindexed }: Written, generations: ReadonlyMap<string, number>, moved: TableState[]): OptimizedPart[] {
    const { state } = this.engine.parts
    if (state.tables.get(table.id) !== table) {
      moved.push(table)
      return []
    }
    const { fragments } = table.now
    const parts: OptimizedPart[] = []
    let ordinal = 0
    for (const group of groups) {
      const hides = group.hides(fragments, ordinal)
      if (hides === undefined) {
        moved.push(table)
        continue
      }
      const refs = group.refs(generations)
      ordinal += refs.length
      parts.push({
        tableId: table.id,
        removes: group.sources.map(({ lsn, ordinal: number }) => ({ lsn, ordinal: number })),
        fragments: refs,
        hides,
        reindexed: [],
      })
    }
    const still = reindexed.filter(({ fragment }) => fragments.some((each) => idOf(each) === idOf(fragment)))
    if (still.length === 0) return parts
    const named = still.map(({ fragment: { lsn, ordinal: number }, ref }) => ({ lsn, ordinal: number, ref: promotedRef(ref, generations) }))
    return [...parts, { tableId: table.id, removes: [], fragments: [], hides: [], reindexed: named }]
  }
}

/** What the seal says of a table. */
function finishedTable({ participants }: Intent, { table, schema, groups, reindexed }: Written): FinishedTable {
  const armed = participants.find(({ tableId }) => tableId === table.id)!
  const refs = groups.flatMap((group) => group.refs(NO_GENERATIONS))
  // A damaged file that was made again has the digest of the old one.
  const extra = reindexed.flatMap(({ ref, files }) => intentFiles([ref], () => false).filter(({ digest }) => files.some((file) => file.digest === digest)))
  const participant: Participant = {
    ...armed,
    files: [...intentFiles(refs, () => false), ...extra],
    removes: groups.flatMap(({ sources }) => sources.map((source) => ({ fragment: idOf(source), deletions: String(source.rows - source.liveRows) }))),
    groups: groups.map((group) => ({ removes: group.sources.length, fragments: group.refs(NO_GENERATIONS).length })),
    reindexed: reindexed.map(({ fragment, ref: { index, indexes } }) => ({
      fragment: idOf(fragment),
      ...(index === undefined ? {} : { index }),
      ...(indexes === undefined ? {} : { indexes }),
    })),
  }
  if (refs.length === 0) return { participant, changes: [] }
  const change = { tableId: table.id, schemaVersion: schema.version, op: 'append', inserted: 0, updated: 0, deleted: 0, fragments: refs } as const
  return { participant, changes: [change] }
}

const NO_GENERATIONS: ReadonlyMap<string, number> = new Map()

function idOf({ lsn, ordinal }: { readonly lsn: number; readonly ordinal: number }): string {
  return `${lsn}.${ordinal}`
}
