// upkeep/auto-optimize.ts: optimize in the background: when a table has many small fragments, many deleted rows, or fragments without a declared index.
//
// Invariant: one run of one table at a time, at a bounded rate, behind commits; nothing is begun after stop(); a failure is told and harms no commit.

import type { Engine } from '../engine/index.ts'
import { PendingIntentError, StaleBranchError, VarveError } from '../errors.ts'
import type { Structure, TableState } from '../table/index.ts'
import type { Optimizer, RunStyle } from './optimizer.ts'
import { FRUGAL } from './plan-compaction.ts'
import { TARGET } from './shape.ts'

/** Bytes of files that a run reads and writes a second. */
const BYTES_PER_SECOND = 64 * 1024 * 1024
/** After it no further group of fragments is begun. */
const RUN_MS = 5000
/** Looks that pass after a run that failed. */
const PAUSE_LOOKS = 16

export interface AutoOptimizeParts {
  /** Of main. */
  readonly engine: Engine
  /** Who writes to a table: its branch stays in memory until it is disposed. undefined: it is not there any more. */
  readonly lease: (table: TableState) => (Disposable & { readonly engine: Engine }) | undefined
  readonly optimizer: Optimizer
  /** A run is over; `rows` were written anew. */
  readonly done: (table: TableState, run: { readonly rows: number; readonly durationMs: number }) => void
  readonly failed: (cause: unknown) => void
}

export class AutoOptimize {
  private readonly parts: AutoOptimizeParts
  private readonly stopper = new AbortController()
  private running: Promise<void> | undefined
  /** Where there was nothing to do: no look until something changes. */
  private readonly seen = new WeakMap<TableState, { readonly structure: Structure; readonly hidden: number }>()
  private pause = 0

  constructor(parts: AutoOptimizeParts) {
    this.parts = parts
  }

  /** Now and then, and after each flush. Costs a step for each table, and one for each fragment of those that changed. */
  look(): void {
    if (this.running !== undefined || this.stopper.signal.aborted) return
    if (this.pause > 0) {
      this.pause--
      return
    }
    const table = this.due()
    if (table === undefined) return
    this.running = this.run(table).finally(() => {
      this.running = undefined
      // There may be more to do: of this table, or of another.
      this.look()
    })
  }

  /** Of every branch in memory. */
  private due(): TableState | undefined {
    const { engine, optimizer } = this.parts
    for (const table of engine.parts.store.everyTable()) {
      const structure = table.now
      const hidden = structure.fragments.reduce((sum, { hides }) => sum + hides.count, 0)
      const seen = this.seen.get(table)
      if (seen?.structure === structure && seen.hidden === hidden) continue
      if (optimizer.hasWork(table, STYLE)) return table
      this.seen.set(table, { structure, hidden })
    }
    return undefined
  }

  private async run(table: TableState): Promise<void> {
    const { engine, optimizer, done, failed } = this.parts
    const { committer, world } = engine.parts
    const startedMs = world.clock.monoMs()
    let rows = 0
    const commits = (): Promise<void> | undefined => (committer.inFlight > 0 ? committer.drained() : undefined)
    const onRows = (count: number): void => {
      rows += count
    }
    try {
      using lease = this.parts.lease(table)
      if (lease === undefined) return
      const result = await optimizer.inBackground(lease.engine, table, { ...STYLE, commits, onRows }, this.stopper.signal)
      if (result?.lsn === undefined) this.pause = PAUSE_LOOKS
      else done(table, { rows, durationMs: world.clock.monoMs() - startedMs })
    } catch (cause) {
      this.pause = PAUSE_LOOKS
      const isExpected =
        this.stopper.signal.aborted || cause instanceof PendingIntentError || cause instanceof StaleBranchError || (cause as Error).name === 'AbortError'
      if (!isExpected && !(cause instanceof VarveError && cause.kind === 'closed')) failed(cause)
    }
  }

  async stop(): Promise<void> {
    this.stopper.abort(new DOMException('the store is closing', 'AbortError'))
    await this.running
  }
}

const STYLE: RunStyle = { policy: FRUGAL, target: TARGET, bytesPerSecond: BYTES_PER_SECOND, budgetMs: RUN_MS }
