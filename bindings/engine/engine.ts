// engine/engine.ts: what the writers of an open store share: log, state, committer, caches, limits and the locks between them.
//
// Invariant: admission and queueing happen in one synchronous step; what must read first waits and starts that step again.

import type { ColumnDef, FragmentRef } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { CommitLog } from '../log/index.ts'
import type { GetOptions, Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { type StagingArea, stagingPrefix } from '../staging/index.ts'
import { type ColumnCache, FragmentReader, type TableState } from '../table/index.ts'
import { Binder, type Scratch, scratch } from './bound.ts'
import type { Committer } from './committer.ts'
import type { GateOptions, GateRequest, Gates } from './gates.ts'
import type { LoadSealer } from './finish.ts'
import type { Intents } from './intents.ts'
import type { StateView } from './branch-state.ts'
import type { StoreState } from './state.ts'
import type { WriteTracker } from './tracker.ts'

export interface EngineLimits {
  readonly inlineLimitBytes: number
  readonly writeBytes: number
  readonly transactionBytes: number
  readonly sortBytes: number
  /** Further tries of a write that lost its slot in a shared log. */
  readonly publishRetries: number
}

export interface EngineParts {
  readonly root: Root
  readonly log: CommitLog
  /** Of its branch. */
  readonly state: StateView
  /** Every branch that is in memory, and the fold. */
  readonly store: StoreState
  readonly committer: Committer
  readonly tracker: WriteTracker
  /** Of all branches. */
  readonly gates: Gates
  readonly intents: Intents
  readonly world: World
  readonly cache: ColumnCache
  readonly limits: EngineLimits
  readonly missingColumn: (column: ColumnDef, rows: number) => Vec
  /** Throws when the store takes no more calls. */
  readonly check: () => void
  /** Files of a decided write could not be removed: the next sweep does it. */
  readonly retireDeferred: (writeId: string, cause: Error) => void
}

/** The gates of one table, and those before it in the order. */
export interface LayoutLock {
  /** @returns what gives it back */
  acquire(o?: GateOptions): Promise<() => void>
  run<T>(fn: () => Promise<T> | T, o?: GateOptions): Promise<T>
}

/** What a write of rows holds: definitions and its branch stay, its tables are its own. */
export function rowGates({ parts: { intents } }: Engine, tables: Iterable<TableState>): GateRequest {
  return { schema: 'shared', branches: { mode: 'shared', ids: [intents.branch.branchId] }, tables: Array.from(tables, (table) => table.uid) }
}

export class Engine {
  readonly parts: EngineParts
  readonly binder: Binder
  readonly scratch: Scratch = scratch()
  /** Set by whoever can seal: loads that are not fused with their record. */
  sealer: LoadSealer | undefined
  /** Set by upkeep: resolves when memory is below its limit again. */
  roomWanted: (() => Promise<void>) | undefined

  constructor(parts: EngineParts) {
    this.parts = parts
    this.binder = new Binder(parts.state)
  }

  get gates(): Gates {
    return this.parts.gates
  }

  /** Held by whoever moves or bulk-loads rows of a table: one at a time per table, and no definition changes meanwhile. */
  layoutLock(table: TableState): LayoutLock {
    return {
      acquire: async (o) => {
        const held = await this.gates.take(rowGates(this, [table]), o)
        return () => held[Symbol.dispose]()
      },
      run: async (fn, o) => {
        using _held = await this.gates.take(rowGates(this, [table]), o)
        return await fn()
      },
    }
  }

  /** A fragment that is staged and not promoted. */
  stagedReader(table: TableState, area: StagingArea, ref: FragmentRef): FragmentReader {
    const { root, cache, world, missingColumn } = this.parts
    const staged = (name: string): string => (root.caps.hardLink ? `${stagingPrefix(area.writeId)}${name.slice(name.lastIndexOf('/') + 1)}` : name)
    // A reader asks nothing else of its root.
    const view = {
      caps: root.caps,
      get: (name: string, o?: GetOptions) => root.get(staged(name), o),
      getSync: (name: string, o?: GetOptions) => root.getSync(staged(name), o),
    } as unknown as Root
    const missing = (column: ColumnDef, rows: number): Vec => missingColumn(column, rows)
    return new FragmentReader({ root: view, ref, schema: table.schemaOf(ref.schemaVersion), cache, missing, log: (event) => world.logger.log(event) })
  }

  private confirming: { readonly running: Promise<void>; next: Promise<void> | undefined } | undefined

  /** Shared logs: resolves when the state has every record that was in the log when it was called. Calls that wait share one look. */
  confirm(): Promise<void> {
    const { confirming } = this
    if (confirming === undefined) {
      const running = this.lookAtLog()
      this.confirming = { running, next: undefined }
      return running
    }
    // The look under way began before this call.
    return (confirming.next ??= confirming.running.catch(() => undefined).then(() => this.confirm()))
  }

  private async lookAtLog(): Promise<void> {
    const { log, state, committer } = this.parts
    try {
      await log.refresh()
      const head = Number(log.head)
      while (state.applied < head) {
        await committer.caughtUp()
        if (state.applied < head) await committer.drained()
      }
    } finally {
      this.confirming = undefined
    }
  }

  /** Bytes of rows not yet flushed, of all branches. */
  memoryBytes(): number {
    let bytes = 0
    for (const table of this.parts.store.everyTable()) bytes += table.now.layer.byteLength
    return bytes
  }
}
