// catalog/table-fold.ts: what records do to the tables of one branch. Pure.
//
// Invariant: fragments keep their identity (the record that made them live, and their place there); a row is hidden once and never comes back.

import { assert } from '../assert.ts'
import type { DeletionVectorRef, FlushRecord, FragmentHides, FragmentId, FragmentRef, OptimizeRecord, TableChange, TableSchema } from '../format/index.ts'

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

/** The tables of one branch, by id. */
export type CatalogTables = Map<number, CatalogTable>

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
type MutableTable = Mutable<CatalogTable>

export function foldCreate(tables: CatalogTables, lsn: number, schema: TableSchema): void {
  assert(!tables.has(schema.tableId), 'a new table has a new id', schema.tableId)
  tables.set(schema.tableId, {
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
}

/** The next version of a definition. */
export function foldAlter(tables: CatalogTables, lsn: number, schema: TableSchema): void {
  const table = tables.get(schema.tableId) as MutableTable | undefined
  assert(table !== undefined, 'a definition is changed of a table of the catalog', schema.tableId)
  assert(schema.version === table.schemas.at(-1)!.version + 1, 'versions of a definition are dense', schema.version)
  table.schemas = [...table.schemas, schema]
  table.name = schema.name
  table.lastLsn = lsn
}

export function foldDrop(tables: CatalogTables, tableId: number): void {
  assert(tables.delete(tableId), 'a table that is dropped is one of the catalog', tableId)
}

export function foldChange(tables: CatalogTables, lsn: number, change: TableChange): void {
  const table = tables.get(change.tableId) as MutableTable | undefined
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

/** The outcome of the flush is the caller's to decide. */
export function foldFlush(tables: CatalogTables, lsn: number, record: FlushRecord): void {
  const table = tables.get(record.tableId) as MutableTable | undefined
  assert(table !== undefined, 'a flush names a table of the catalog', record.tableId)
  assert(record.uptoLsn < lsn && record.uptoRow <= table.nextRow, 'a flush moves rows of commits before it', { uptoLsn: record.uptoLsn, lsn })
  let fragments: readonly CatalogFragment[] = [...table.fragments, ...newFragments(lsn, record.fragments)]
  if (record.deletionVectors.length > 0) fragments = withVectors(fragments, record.deletionVectors, lsn)
  if (record.hides.length > 0) fragments = withHides(fragments, record.hides, lsn)
  table.fragments = fragments
  table.flushedRow = record.uptoRow
  table.flushedLsn = record.uptoLsn
  table.inlineFrom = record.uptoRow === table.nextRow ? 0 : record.uptoLsn + 1
}

/** The outcome of the optimize is the caller's to decide. Its tables keep their rows and versions. */
export function foldOptimize(tables: CatalogTables, lsn: number, record: OptimizeRecord): void {
  const added = new Map<number, number>()
  for (const { tableId, removes, fragments, hides, reindexed } of record.parts) {
    const table = tables.get(tableId) as MutableTable | undefined
    assert(table !== undefined, 'an optimize names a table of the catalog', tableId)
    const first = added.get(tableId) ?? 0
    added.set(tableId, first + fragments.length)
    const made = newFragments(lsn, fragments, first)
    let list = replaceEach(table.fragments, reindexed, lsn, (fragment, { ref }) => {
      assert(fragment.ref.digest === ref.digest, 'a reindexed fragment keeps its bytes', ref.digest)
      return { ...fragment, ref }
    })
    list = exchanged(list, removes, made)
    table.fragments = hides.length === 0 ? list : withHides(list, hides, lsn)
  }
}

/** The list without the removed fragments, the new ones where the first of them stood. */
export function exchanged<T extends FragmentId>(list: readonly T[], removes: readonly FragmentId[], made: readonly T[]): T[] {
  assert(removes.length > 0 || made.length === 0, 'new fragments stand for others', made.length)
  const gone = new Set(removes.map(({ lsn, ordinal }) => `${lsn}.${ordinal}`))
  const kept: T[] = []
  let at = -1
  for (const fragment of list) {
    if (gone.delete(`${fragment.lsn}.${fragment.ordinal}`)) at = at < 0 ? kept.length : at
    else kept.push(fragment)
  }
  assert(gone.size === 0, 'an optimize removes live fragments', [...gone])
  if (at >= 0) kept.splice(at, 0, ...made)
  return kept
}

function newFragments(lsn: number, refs: readonly FragmentRef[], first: number = 0): CatalogFragment[] {
  return refs.map((ref, i) => ({ lsn, ordinal: first + i, ref, vector: undefined, hidden: undefined, hiddenCount: 0 }))
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
