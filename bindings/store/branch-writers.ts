// store/branch-writers.ts: who writes to a branch: an engine of its own over the tables of its view; log, committer, gates, tracker and limits are the store's.
//
// Invariant: a view is in memory for as long as a call on it runs, and while one of its staged writes is open.

import { branchNumber, type BranchViews, Engine, type StateView } from '../engine/index.ts'
import type { Intent } from '../format/index.ts'
import { ulidText } from '../runtime/index.ts'
import type { TableState } from '../table/index.ts'
import type { Writes } from '../write/index.ts'
import type { RowWriter } from './row-writer.ts'

/** What writes to one branch. */
export interface BranchWriter {
  readonly engine: Engine
  readonly writes: Writes
  readonly rows: RowWriter
}

export class BranchWriters {
  private readonly main: BranchWriter
  private readonly views: BranchViews
  private readonly make: (engine: Engine, writes: Writes) => BranchWriter
  private readonly known = new WeakMap<StateView, BranchWriter>()

  constructor(main: BranchWriter, views: BranchViews, make: (engine: Engine, writes: Writes) => BranchWriter) {
    this.main = main
    this.views = views
    this.make = make
  }

  /** Of a branch that is in memory. */
  of(view: StateView): BranchWriter {
    const { parts } = this.main.engine
    if (view === parts.store) return this.main
    let writer = this.known.get(view)
    if (writer === undefined) {
      const { name, branchId } = view.catalog.branches.numbered(view.branch)!
      const intents = parts.intents.on(view.catalog, { name, branchId: ulidText(branchId) })
      const engine = new Engine({ ...parts, state: view, intents })
      writer = this.make(
        engine,
        this.main.writes.on(engine, () => this.views.pin(view.branch)),
      )
      this.known.set(view, writer)
    }
    return writer
  }

  /** For upkeep: undefined when its branch, or the table, is no longer in memory. */
  leaseTable(table: TableState): (Disposable & { readonly engine: Engine }) | undefined {
    const view = this.main.engine.parts.store.view(table.branch)
    if (view?.tables.get(table.id) !== table) return undefined
    const pin = this.views.pin(view.branch)
    return { engine: this.of(view).engine, [Symbol.dispose]: () => pin[Symbol.dispose]() }
  }

  /** For recovery: whose write it was. undefined: the branch is gone. @throws StorageError, CorruptionError */
  async lease(intent: Intent): Promise<(Disposable & { readonly parts: Writes }) | undefined> {
    const branch = branchNumber(this.main.engine.parts.store.catalog.branches, intent)
    if (branch === undefined) return undefined
    const pin = this.views.pin(branch)
    try {
      return { parts: this.of(await this.views.view(branch)).writes, [Symbol.dispose]: () => pin[Symbol.dispose]() }
    } catch (error) {
      pin[Symbol.dispose]()
      throw error
    }
  }

  /** Runs while the branch is in memory. @throws StaleBranchError, StorageError, CorruptionError */
  async use<T>(branch: number, fn: (writer: BranchWriter) => Promise<T>): Promise<T> {
    using _pin = this.views.pin(branch)
    return await fn(this.of(await this.views.view(branch)))
  }
}
