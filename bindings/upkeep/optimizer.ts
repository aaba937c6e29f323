// upkeep/optimizer.ts: optimize as a caller asks for it: tables flushed, then rounds of runs until nothing is left to do.
//
// Invariant: one run at a time in a handle; memory is bounded by the rows of a round, whatever the size of the store.

import { type Engine, flushTable, PARTICIPANTS_MAX } from '../engine/index.ts'
import { InvalidConfigError } from '../errors.ts'
import type { Lsn } from '../log/index.ts'
import { Mutex } from '../runtime/index.ts'
import type { OptimizeOptions, OptimizeReport, TableState } from '../table/index.ts'
import { planTables, refusePending, type RunOptions, type RunResult, runOptimize, type TablePlan } from './optimize-run.ts'
import { Pacer, type PacerOptions } from './pacer.ts'
import { type CompactionPolicy, THOROUGH } from './plan-compaction.ts'
import { coverageOf, type OptimizeTarget, TARGET } from './shape.ts'

/** Rows of one publish: where each of them went is known until then, in up to four bytes a row. */
const ROUND_ROWS = 32 * 1024 * 1024

export interface OptimizerParts {
  /** Of main. */
  readonly engine: Engine
  /** Aborted when the store closes. */
  readonly closing: AbortSignal
}

/** The branch whose tables are optimized; it stays in memory meanwhile. */
export interface OptimizePlace {
  readonly engine: Engine
  readonly sealer: RunOptions['sealer']
}

/** How one run goes about it. */
export interface RunStyle extends Pick<PacerOptions, 'bytesPerSecond' | 'budgetMs' | 'commits' | 'onRows'> {
  readonly policy: CompactionPolicy
  readonly target: OptimizeTarget
}

export class Optimizer {
  private readonly parts: OptimizerParts
  private readonly turns = new Mutex()
  /** Aborts the run in the background: somebody asks for all of it. */
  private background: AbortController | undefined

  constructor(parts: OptimizerParts) {
    this.parts = parts
  }

  /** @param onRows  told of rows as they are written anew @throws PendingIntentError, InvalidConfigError, the signal's reason, StorageError, CorruptionError */
  async optimize({ engine, sealer }: OptimizePlace, o: OptimizeOptions, onRows: (rows: number) => void): Promise<OptimizeReport> {
    const target = targetOf(o.target)
    const tables = tablesOf(engine, o)
    this.background?.abort(new DOMException('an optimize was asked for', 'AbortError'))
    return this.turns.run(async () => {
      const { closing } = this.parts
      const signal = o.signal === undefined ? closing : AbortSignal.any([o.signal, closing])
      signal.throwIfAborted()
      refusePending(engine)
      const report: OptimizeReport = { tables: {}, skipped: [] }
      // Rows in memory are behind no index.
      const before = tables.map((table) => this.measure(table))
      for (const table of tables) await flushTable(engine, table, signal)
      const pacer = this.pacer({ onRows, budgetMs: o.budgetMs })
      for (const some of o.perTable === true ? tables.map((table) => [table]) : [tables]) {
        const lsn = await this.rounds({ engine, sealer }, some, { policy: THOROUGH, target }, { pacer, signal, report })
        if (lsn !== undefined) report.lsn = BigInt(lsn) as Lsn
      }
      tables.forEach((table, i) => {
        const after = this.measure(table)
        const { fragments, coverage } = before[i]!
        report.tables[table.name] = { fragmentsBefore: fragments, fragmentsAfter: after.fragments, coverageBefore: coverage, coverageAfter: after.coverage }
      })
      return report
    })
  }

  /** Whether a run would do anything; of a table of any branch in memory. */
  hasWork(table: TableState, style: Pick<RunStyle, 'policy' | 'target'>): boolean {
    return planTables(this.parts.engine, { tables: [table], ...style }).length > 0
  }

  /** Resolves when no run is under way. */
  async idle(): Promise<void> {
    await this.turns.run(() => undefined)
  }

  /** A run in the background, unless one is under way. It ends early when somebody asks for an optimize. @param engine  of the table's branch */
  async inBackground(engine: Engine, table: TableState, style: RunStyle, signal: AbortSignal): Promise<RunResult | undefined> {
    if (this.turns.busy) return undefined
    return this.turns.run(async () => {
      this.background = new AbortController()
      try {
        const plans = planTables(engine, { tables: [table], ...style })
        if (plans.length === 0) return undefined
        refusePending(engine)
        return await runOptimize(engine, plans, { pacer: this.pacer(style), signal: AbortSignal.any([signal, this.background.signal]) })
      } finally {
        this.background = undefined
      }
    })
  }

  private async rounds(
    { engine, sealer }: OptimizePlace,
    tables: readonly TableState[],
    style: Pick<RunStyle, 'policy' | 'target'>,
    { pacer, signal, report }: { readonly pacer: Pacer; readonly signal: AbortSignal; readonly report: OptimizeReport },
  ): Promise<number | undefined> {
    let last: number | undefined
    for (;;) {
      const all = planTables(engine, { tables, ...style })
      const { now, hasMore } = firstOf(all)
      if (now.length === 0) return last
      if (pacer.isOver && last !== undefined) {
        for (const { table } of all) report.skipped.push({ table: table.name, reason: 'the budget was used up' })
        return last
      }
      const { lsn, moved, redefined, unfinished } = await runOptimize(engine, now, { pacer, signal, sealer })
      for (const table of new Set(moved)) report.skipped.push({ table: table.name, reason: 'its rows were moved by others meanwhile' })
      for (const table of unfinished) report.skipped.push({ table: table.name, reason: 'the budget was used up' })
      last = lsn ?? last
      if (moved.length > 0 || unfinished.length > 0) return last
      if (!hasMore && redefined.length === 0) return last
    }
  }

  private pacer(o: Partial<PacerOptions>): Pacer {
    const { world, check } = this.parts.engine.parts
    return new Pacer({ ...o, world, check })
  }

  private measure(table: TableState): { fragments: number; coverage: number } {
    const { schema, fragments } = table.now
    return { fragments: fragments.length, coverage: coverageOf(schema, table.now) }
  }
}

function tablesOf(engine: Engine, o: OptimizeOptions): TableState[] {
  if (o.tables === undefined) return [...engine.parts.state.tables.values()]
  return o.tables.map((table) => engine.binder.bind(table).state)
}

/** As much as one publish takes, at least one group. */
function firstOf(plans: readonly TablePlan[]): { now: TablePlan[]; hasMore: boolean } {
  const now: TablePlan[] = []
  let rows = 0
  let hasMore = false
  for (const plan of plans) {
    const groups = plan.groups.filter((group) => {
      const fits = rows === 0 || rows + group.rows <= ROUND_ROWS
      if (fits) rows += group.rows
      else hasMore = true
      return fits
    })
    if (groups.length === 0 && plan.lacking.length === 0) continue
    if (now.length === PARTICIPANTS_MAX) hasMore = true
    else now.push({ ...plan, groups })
  }
  return { now, hasMore }
}

/** @throws InvalidConfigError */
function targetOf(target: OptimizeOptions['target'] = {}): OptimizeTarget {
  const { bytes = TARGET.bytes, rows = TARGET.rows } = target
  for (const [key, value] of Object.entries({ bytes, rows })) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new InvalidConfigError(`target.${key} cannot be ${value}`, { details: { key: `target.${key}`, value } })
  }
  return { bytes, rows }
}
