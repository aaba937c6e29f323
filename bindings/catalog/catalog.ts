// catalog/catalog.ts: the folded state of a store: what a checkpoint holds (core.md section 3). Pure data and pure fold.
//
// Invariant: state(n) depends on records 1..n only, never on a clock, a node or the way it was reached: the fold of a prefix, or of a checkpoint and
// the rest, gives byte-identical checkpoints. It holds fragment references and positions, never rows.

import { assert } from '../assert.ts'
import type { CommitRecord, FlushRecord, RollbackRecord, SchemaRecord, SealRecord, VacuumRecord } from '../format/index.ts'
import { DeadNames } from './dead-names.ts'
import { Outcomes, TERM_MS, TERM_RECORDS } from './outcomes.ts'
import { foldAlter, type CatalogTable, foldChange, foldCreate, foldDrop, foldFlush } from './table-fold.ts'

export interface RememberedKey {
  readonly key: string
  /** SHA-256 of the request. */
  readonly request: Uint8Array
  readonly lsn: number
  readonly writeId: Uint8Array
  readonly timeMs: number
  readonly rows: number
}

export class Catalog {
  lsn = 0
  timeMs = 0
  /** Highest exclusive epoch seen. */
  fence = 0
  nextTableId = 1
  /** Every fragment referenced by a record above this is stored. */
  fragmentFloor = 0
  readonly tables: Map<number, CatalogTable> = new Map()
  /** In log order. */
  readonly keys: Map<string, RememberedKey> = new Map()
  /** Of writes with an Intent. */
  outcomes: Outcomes = new Outcomes()
  /** Of vacuums. */
  dead: DeadNames = new DeadNames()

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

  foldSchema(lsn: number, record: SchemaRecord): void {
    this.advance(lsn, record.timeMs)
    for (const schema of record.create) {
      foldCreate(this.tables, lsn, schema)
      this.nextTableId = Math.max(this.nextTableId, schema.tableId + 1)
    }
    for (const schema of record.alter ?? []) foldAlter(this.tables, lsn, schema)
    for (const id of record.drop ?? []) foldDrop(this.tables, id)
  }

  /** @returns false, and nothing else done: another outcome of this write came first */
  foldCommit(lsn: number, record: CommitRecord): boolean {
    this.advance(lsn, record.timeMs)
    if (record.isArmed === true && !this.outcomes.decide(lsn, record.writeId, 'published', record.timeMs)) return false
    let rows = 0
    for (const change of record.changes) {
      rows += change.inserted + change.updated + change.deleted
      foldChange(this.tables, lsn, change)
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

  foldVacuum(lsn: number, record: VacuumRecord): void {
    this.advance(lsn, record.timeMs)
    this.fragmentFloor = Math.max(this.fragmentFloor, record.floor)
    this.dead.add(lsn, record.timeMs, record.names)
  }

  /** @returns false, and nothing else done: it was rolled back before */
  foldFlush(lsn: number, record: FlushRecord): boolean {
    this.advance(lsn, record.timeMs)
    if (!this.outcomes.decide(lsn, record.writeId, 'published', record.timeMs)) return false
    foldFlush(this.tables, lsn, record)
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
