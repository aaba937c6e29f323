// engine/engine.ts: what the writers of an open store share: log, state, committer, caches, limits and the locks between them.
//
// Invariant: admission and queueing happen in one synchronous step; what must read first waits and starts that step again.

import type { ColumnDef, FragmentRef } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { CommitLog } from '../log/index.ts'
import type { GetOptions, Root } from '../root/index.ts'
import { Mutex, type World } from '../runtime/index.ts'
import { type StagingArea, stagingPrefix } from '../staging/index.ts'
import { type ColumnCache, FragmentReader, type TableState } from '../table/index.ts'
import { Binder, type Scratch, scratch } from './bound.ts'
import type { Committer } from './committer.ts'
import type { Intents } from './intents.ts'
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
  readonly state: StoreState
  readonly committer: Committer
  readonly tracker: WriteTracker
  readonly intents: Intents
  readonly world: World
  readonly cache: ColumnCache
  readonly limits: EngineLimits
  readonly missingColumn: (column: ColumnDef, rows: number) => Vec
  /** Throws when the store takes no more calls. */
  readonly check: () => void
}

export class Engine {
  readonly parts: EngineParts
  readonly binder: Binder
  readonly scratch: Scratch = scratch()
  /** Held by whoever moves or bulk-loads rows of a table: one at a time per table. */
  private readonly layoutLocks = new Map<number, Mutex>()
  /** Set by upkeep: resolves when memory is below its limit again. */
  roomWanted: (() => Promise<void>) | undefined

  constructor(parts: EngineParts) {
    this.parts = parts
    this.binder = new Binder(parts.state)
  }

  layoutLock(table: TableState): Mutex {
    let lock = this.layoutLocks.get(table.id)
    if (lock === undefined) this.layoutLocks.set(table.id, (lock = new Mutex()))
    return lock
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
    return new FragmentReader({ root: view, ref, schema: table.schema, cache, missing, log: (event) => world.logger.log(event) })
  }

  /** Bytes of rows not yet flushed. */
  memoryBytes(): number {
    let bytes = 0
    for (const table of this.parts.state.tables.values()) bytes += table.now.layer.byteLength
    return bytes
  }
}
