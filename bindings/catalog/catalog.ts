// catalog/catalog.ts: the folded state of a store: what a checkpoint holds (core.md section 3). Pure data and pure fold.
//
// Invariant: state(n) depends on records 1..n only, never on a clock, a node or the way it was reached: the fold of a prefix, or of a checkpoint and
// the rest, gives byte-identical checkpoints. It holds fragment references and positions, never rows.

import { assert } from '../assert.ts'
import type {
  AckMode,
  BranchRecord,
  CommitRecord,
  FlushRecord,
  ModeRecord,
  OptimizeRecord,
  RollbackRecord,
  SchemaRecord,
  SealRecord,
  VacuumRecord,
} from '../format/index.ts'
import { Branches, MAIN } from './branches.ts'
import { DeadNames } from './dead-names.ts'
import { Merges } from './merges.ts'
import { Outcomes, TERM_MS, TERM_RECORDS } from './outcomes.ts'
import { type CatalogTable, type CatalogTables, foldAlter, foldChange, foldCreate, foldDrop, foldFlush, foldOptimize } from './table-fold.ts'

export interface RememberedKey {
  readonly key: string
  /** SHA-256 of the request. */
  readonly request: Uint8Array
  readonly lsn: number
  readonly writeId: Uint8Array
  readonly timeMs: number
  readonly rows: number
}

/** The acknowledgement mode of shipping. */
export interface AckState {
  readonly mode: AckMode
  /** Of the newest mode record; 0 = none, which is async. */
  readonly lsn: number
  /** Records up to here are committed by being in the log: they were written in mode async, or the mode was changed by force. */
  readonly floor: number
}

export class Catalog {
  lsn = 0
  timeMs = 0
  /** Highest exclusive epoch seen. */
  fence = 0
  nextTableId = 1
  /** Every fragment referenced by a record above this is stored. */
  fragmentFloor = 0
  /** Of main; in the state of a branch, and in withTables(), of that branch. */
  readonly tables: CatalogTables = new Map()
  branches: Branches = Branches.none()
  merges: Merges = new Merges()
  /** In log order. */
  readonly keys: Map<string, RememberedKey> = new Map()
  /** Of writes with an Intent. */
  outcomes: Outcomes = new Outcomes()
  /** Of vacuums. */
  dead: DeadNames = new DeadNames()
  ack: AckState = { mode: 'async', lsn: 0, floor: 0 }

  /** Records up to here are committed, by what the log itself says: no vacuum lets go of what is not. */
  get committedFloor(): number {
    return Math.max(this.ack.floor, this.fragmentFloor)
  }

  /** The same fold, now and later, with the tables of a branch. To be read, not folded into. */
  withTables(tables: CatalogTables): Catalog {
    return Object.create(this, { tables: { value: tables, enumerable: true } }) as Catalog
  }

  table(id: number): CatalogTable | undefined {
    return this.tables.get(id)
  }

  byName(name: string): CatalogTable | undefined {
    for (const table of this.tables.values()) if (table.name === name) return table
    return undefined
  }

  /** LSN after which the log must be read to have every row that is not in a fragment. */
  get replayFrom(): number {
    let from = this.lsn
    for (const table of this.tables.values()) if (table.inlineFrom > 0) from = Math.min(from, table.inlineFrom - 1)
    return from
  }

  foldEpoch(lsn: number, epoch: number, exclusive: boolean): void {
    this.advance(lsn, this.timeMs)
    if (exclusive) this.fence = Math.max(this.fence, epoch)
  }

  /** @param tables  of the branch that it changes; null: nobody keeps them */
  foldSchema(lsn: number, record: SchemaRecord, tables: CatalogTables | null = this.tables): void {
    this.advance(lsn, record.timeMs)
    for (const schema of record.create) {
      if (tables !== null) foldCreate(tables, lsn, schema)
      this.nextTableId = Math.max(this.nextTableId, schema.tableId + 1)
    }
    this.branches.touch(record.branch ?? MAIN, lsn)
    if (tables === null) return
    for (const schema of record.alter ?? []) foldAlter(tables, lsn, schema)
    for (const id of record.drop ?? []) foldDrop(tables, id)
  }

  /** @param tables  of its branch; null: nobody keeps them @returns false, and nothing else done: another outcome of this write came first */
  foldCommit(lsn: number, record: CommitRecord, tables: CatalogTables | null = this.tables): boolean {
    this.advance(lsn, record.timeMs)
    if (record.isArmed === true && !this.outcomes.decide(lsn, record.writeId, 'published', record.timeMs)) return false
    this.branches.touch(record.branch, lsn)
    if (record.merge !== undefined) this.merges.fold(lsn, record.branch, record.merge)
    let rows = 0
    for (const change of record.changes) {
      rows += change.inserted + change.updated + change.deleted
      if (tables !== null) foldChange(tables, lsn, change)
    }
    if (record.idempotency !== undefined) {
      const { key, request } = record.idempotency
      this.keys.delete(key)
      this.keys.set(key, { key, request: request.slice(), lsn, writeId: record.writeId.slice(), timeMs: record.timeMs, rows })
    }
    if (this.keys.size > 0) this.forgetKeys()
    return true
  }

  /** The effect of a record that came too late: none. */
  foldSuperseded(lsn: number, timeMs: number): void {
    this.advance(lsn, timeMs)
    this.outcomes.superseded++
  }

  foldSeal(lsn: number, record: SealRecord): void {
    this.advance(lsn, record.timeMs)
    this.outcomes.seal(lsn, record)
  }

  foldRollback(lsn: number, record: RollbackRecord): void {
    this.advance(lsn, record.timeMs)
    this.outcomes.decide(lsn, record.writeId, 'rolledBack', record.timeMs)
  }

  /** Repair's notes change nothing. */
  foldAudit(lsn: number, timeMs: number): void {
    this.advance(lsn, timeMs)
  }

  foldMode(lsn: number, { timeMs, mode, forced }: ModeRecord): void {
    this.advance(lsn, timeMs)
    this.ack = { mode, lsn, floor: forced || this.ack.mode === 'async' ? lsn : this.ack.floor }
  }

  foldVacuum(lsn: number, record: VacuumRecord): void {
    this.advance(lsn, record.timeMs)
    this.fragmentFloor = Math.max(this.fragmentFloor, record.floor)
    this.dead.add(lsn, record.timeMs, record.names)
  }

  /** @param tables  of its branch; null: nobody keeps them @returns false, and nothing else done: it was rolled back before */
  foldFlush(lsn: number, record: FlushRecord, tables: CatalogTables | null = this.tables): boolean {
    this.advance(lsn, record.timeMs)
    if (!this.outcomes.decide(lsn, record.writeId, 'published', record.timeMs)) return false
    if (tables !== null) foldFlush(tables, lsn, record)
    return true
  }

  foldBranch(lsn: number, record: BranchRecord): void {
    this.advance(lsn, record.timeMs)
    this.branches.fold(lsn, record)
  }

  /** @param tables  of its branch; null: nobody keeps them @returns false, and nothing else done: another outcome of this write came first */
  foldOptimize(lsn: number, record: OptimizeRecord, tables: CatalogTables | null = this.tables): boolean {
    this.advance(lsn, record.timeMs)
    if (!this.outcomes.decide(lsn, record.writeId, 'published', record.timeMs)) return false
    if (tables !== null) foldOptimize(tables, lsn, record)
    return true
  }

  private advance(lsn: number, timeMs: number): void {
    assert(lsn === this.lsn + 1, 'records fold in LSN order', { lsn, after: this.lsn })
    this.lsn = lsn
    this.timeMs = Math.max(this.timeMs, timeMs)
    if (this.outcomes.decided.size > 0) this.outcomes.forget(lsn, this.timeMs)
    if (this.dead.batches.length > 0) this.dead.forget(lsn, this.timeMs)
  }

  private forgetKeys(): void {
    for (const remembered of this.keys.values()) {
      if (this.timeMs - remembered.timeMs <= TERM_MS || this.lsn - remembered.lsn <= TERM_RECORDS) return
      this.keys.delete(remembered.key)
    }
  }
}
