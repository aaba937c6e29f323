// catalog/catalog.ts: the folded state of a store: what a checkpoint holds (core.md section 3). Pure data and pure fold.
//
// Invariant: state(n) depends on records 1..n only, never on a clock, a node or the way it was reached: the fold of a prefix, or of a checkpoint and
// the rest, gives byte-identical checkpoints. It holds fragment references and positions, never rows.

import { assert } from '../assert.ts'
import type {
  CommitRecord,
  DeletionVectorRef,
  FlushRecord,
  FragmentHides,
  FragmentRef,
  RollbackRecord,
  SchemaRecord,
  SealRecord,
  TableChange,
  TableSchema,
} from '../format/index.ts'
import { Outcomes, TERM_MS, TERM_RECORDS } from './outcomes.ts'

export interface CatalogFragment {
  /** Record that made it live, and its place among that record's fragments: its identity. */
  readonly lsn: number
  readonly ordinal: number
  readonly ref: FragmentRef
  /** Replaces everything hidden before it. */
  readonly vector: DeletionVectorRef | undefined
  /** Rows hidden since `vector`, as a bitmap; undefined = none. */
  readonly hidden: Uint8Array | undefined
  readonly hiddenCount: number
}

export interface CatalogTable {
  readonly id: number
  readonly name: string
  /** Every version, ascending. */
  readonly schemas: readonly TableSchema[]
  readonly createdLsn: number
  /** Live rows. */
  readonly rows: number
  /** Last record that changed its rows or definition. */
  readonly lastLsn: number
  /** Row number the next inline row takes. */
  readonly nextRow: number
  /** Inline rows below this number, of commits up to flushedLsn, are in fragments or hidden. */
  readonly flushedRow: number
  readonly flushedLsn: number
  /** LSN from which on inline rows must be read again to rebuild the memory layer; 0 = none. */
  readonly inlineFrom: number
  readonly fragments: readonly CatalogFragment[]
}

export interface RememberedKey {
  readonly key: string
  /** SHA-256 of the request. */
  readonly request: Uint8Array
  readonly lsn: number
  readonly writeId: Uint8Array
  readonly timeMs: number
  readonly rows: number
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
type MutableTable = Mutable<CatalogTable>

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
      assert(!this.tables.has(schema.tableId), 'a new table has a new id', schema.tableId)
      this.tables.set(schema.tableId, {
        id: schema.tableId,
        name: schema.name,
        schemas: [schema],
        createdLsn: lsn,
        rows: 0,
        lastLsn: lsn,
        nextRow: 0,
        flushedRow: 0,
        flushedLsn: 0,
        inlineFrom: 0,
        fragments: [],
      })
      this.nextTableId = Math.max(this.nextTableId, schema.tableId + 1)
    }
  }

  /** @returns false, and nothing else done: another outcome of this write came first */
  foldCommit(lsn: number, record: CommitRecord): boolean {
    this.advance(lsn, record.timeMs)
    if (record.isArmed === true && !this.outcomes.decide(lsn, record.writeId, 'published', record.timeMs)) return false
    let rows = 0
    for (const change of record.changes) {
      rows += change.inserted + change.updated + change.deleted
      this.foldChange(lsn, change)
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

  private foldChange(lsn: number, change: TableChange): void {
    const table = this.tables.get(change.tableId) as MutableTable | undefined
    assert(table !== undefined, 'a commit names a table of the catalog', change.tableId)
    table.lastLsn = lsn
    table.rows += change.inserted - change.deleted
    if (change.op === 'replace') {
      table.fragments = []
      table.flushedRow = table.nextRow
      table.flushedLsn = lsn - 1
      table.inlineFrom = 0
    }
    if (change.fragments !== undefined) table.fragments = [...table.fragments, ...newFragments(lsn, change.fragments)]
    if (change.deletionVectors !== undefined) table.fragments = withVectors(table.fragments, change.deletionVectors, lsn)
    if (change.hides !== undefined) table.fragments = withHides(table.fragments, change.hides, lsn)
    if (change.inline !== undefined && change.inline.rows > 0) {
      if (table.inlineFrom === 0) table.inlineFrom = lsn
      table.nextRow += change.inline.rows
    }
  }

  /** @returns false, and nothing else done: it was rolled back before */
  foldFlush(lsn: number, record: FlushRecord): boolean {
    this.advance(lsn, record.timeMs)
    if (!this.outcomes.decide(lsn, record.writeId, 'published', record.timeMs)) return false
    const table = this.tables.get(record.tableId) as MutableTable | undefined
    assert(table !== undefined, 'a flush names a table of the catalog', record.tableId)
    assert(record.uptoLsn < lsn && record.uptoRow <= table.nextRow, 'a flush moves rows of commits before it', { uptoLsn: record.uptoLsn, lsn })
    let fragments: readonly CatalogFragment[] = [...table.fragments, ...newFragments(lsn, record.fragments)]
    if (record.deletionVectors.length > 0) fragments = withVectors(fragments, record.deletionVectors, lsn)
    if (record.hides.length > 0) fragments = withHides(fragments, record.hides, lsn)
    table.fragments = fragments
    table.flushedRow = record.uptoRow
    table.flushedLsn = record.uptoLsn
    table.inlineFrom = record.uptoRow === table.nextRow ? 0 : record.uptoLsn + 1
    return true
  }

  private advance(lsn: number, timeMs: number): void {
    assert(lsn === this.lsn + 1, 'records fold in LSN order', { lsn, after: this.lsn })
    this.lsn = lsn
    this.timeMs = Math.max(this.timeMs, timeMs)
    if (this.outcomes.decided.size > 0) this.outcomes.forget(lsn, this.timeMs)
  }

  private forgetKeys(): void {
    for (const remembered of this.keys.values()) {
      if (this.timeMs - remembered.timeMs <= TERM_MS || this.lsn - remembered.lsn <= TERM_RECORDS) return
      this.keys.delete(remembered.key)
    }
  }
}

function newFragments(lsn: number, refs: readonly FragmentRef[]): CatalogFragment[] {
  return refs.map((ref, ordinal) => ({ lsn, ordinal, ref, vector: undefined, hidden: undefined, hiddenCount: 0 }))
}

function withVectors(fragments: readonly CatalogFragment[], vectors: readonly DeletionVectorRef[], lsn: number): CatalogFragment[] {
  return replaceEach(fragments, vectors, lsn, (fragment, vector) => ({ ...fragment, vector, hidden: undefined, hiddenCount: 0 }))
}

function withHides(fragments: readonly CatalogFragment[], hides: readonly FragmentHides[], lsn: number): CatalogFragment[] {
  return replaceEach(fragments, hides, lsn, (fragment, hide) => {
    // The bitmap is updated in place: a catalog is the only owner of its bitmaps, and checkpoints are encoded at once.
    const hidden = fragment.hidden ?? new Uint8Array((fragment.ref.rows + 7) >> 3)
    for (const row of hide.rows) {
      assert(row < fragment.ref.rows, 'a hidden row is a row of its fragment', { row, rows: fragment.ref.rows })
      assert((hidden[row >> 3]! & (1 << (row & 7))) === 0, 'a row is hidden once', { fragment: `${fragment.lsn}.${fragment.ordinal}`, row })
      hidden[row >> 3]! |= 1 << (row & 7)
    }
    return { ...fragment, hidden, hiddenCount: fragment.hiddenCount + hide.rows.length }
  })
}

function replaceEach<T extends { readonly lsn: number; readonly ordinal: number }>(
  fragments: readonly CatalogFragment[],
  items: readonly T[],
  lsn: number,
  change: (fragment: CatalogFragment, item: T) => CatalogFragment,
): CatalogFragment[] {
  const changed = [...fragments]
  for (const item of items) {
    const at = changed.findIndex((fragment) => fragment.lsn === (item.lsn === 0 ? lsn : item.lsn) && fragment.ordinal === item.ordinal)
    assert(at >= 0, 'a hide names a live fragment', `${item.lsn}.${item.ordinal}`)
    changed[at] = change(changed[at]!, item)
  }
  return changed
}
