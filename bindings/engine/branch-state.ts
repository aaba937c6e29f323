// engine/branch-state.ts: the tables of a branch in a live state: made at first use, from then on kept up to date record by record (docs/branches.md).
//
// Invariant: the tables and the catalog of a view are those of its branch at the LSN of the state that it belongs to, queued records included in the tables.

import { assert } from '../assert.ts'
import type { Catalog } from '../catalog/index.ts'
import type { TableState } from '../table/index.ts'
import type { StateContext, StoreState } from './state.ts'

/** The tables of one branch at the LSN of a state, as readers and writers see them. A StoreState is the view of main, or of the branch that it was loaded for. */
export interface StateView {
  /** Number of the branch; 0 = main. */
  readonly branch: number
  readonly applied: number
  /** Its `tables` are those of the branch; the rest is the store's. */
  readonly catalog: Catalog
  readonly tables: Map<number, TableState>
  readonly context: StateContext
  byName(name: string): TableState | undefined
}

export class BranchState implements StateView {
  readonly branch: number
  readonly catalog: Catalog
  readonly tables: Map<number, TableState>
  readonly context: StateContext
  private readonly store: StoreState
  /** Where it stopped to be kept up to date. */
  private stoppedAt: number | undefined

  /** @param loaded  the branch at the LSN of `store`; its tables are taken over */
  constructor(store: StoreState, loaded: StoreState) {
    assert(loaded.applied === store.applied, 'a branch is attached at the LSN of the state', { branch: loaded.applied, state: store.applied })
    this.store = store
    this.branch = loaded.branch
    this.context = store.context
    this.tables = loaded.tables
    this.catalog = store.catalog.withTables(loaded.catalog.tables)
  }

  get applied(): number {
    return this.stoppedAt ?? this.store.applied
  }

  /** Its tables are no longer kept up to date: who holds it reads it as it is now. */
  stop(): void {
    this.stoppedAt = this.store.applied
  }

  byName(name: string): TableState | undefined {
    for (const table of this.tables.values()) if (table.name === name && !table.isDropped) return table
    return undefined
  }

  /** Records of it are queued. */
  get isAhead(): boolean {
    const { applied } = this
    for (const { lastLsn, now } of this.tables.values()) if (lastLsn > applied || now.lsn > applied) return true
    return false
  }
}
