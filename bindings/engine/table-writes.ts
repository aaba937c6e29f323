// engine/table-writes.ts: what a transaction has written to one table: by key where there is one, else as rows and hidden places.
//
// Rows are kept as a view of every stored column reads them, whichever definition they came through, so that several definitions of one table agree.
// Invariant: nothing that the caller passed in is kept.

import { take } from '../kernels/index.ts'
import { batchBytes, batchesOf, type ColumnBatch, isRows, KeyLayout, KeyRun, type Place, type RowKeys, rowsToBatch } from '../table/index.ts'
import { HideSet } from './admission.ts'
import type { Bound } from './bound.ts'
import type { Row } from './read.ts'
import { keyText } from './tracker.ts'

export interface TableWrites {
  /** Every stored column. */
  readonly whole: Bound
  /** Keyed: the row as it shall be, or null = gone. */
  readonly byKey: Map<string, Row | null>
  /** Keys appended, with their row number in the call: they must not be in the snapshot. */
  readonly fresh: Map<string, number>
  /** Unkeyed: rows to add. */
  readonly added: Row[]
  /** Unkeyed: stored rows to hide. */
  readonly hidden: HideSet
  readonly hiddenPlaces: Place[]
  /** Everything older goes. */
  replaced: boolean
}

export function noWrites(whole: Bound): TableWrites {
  return { whole, byKey: new Map(), fresh: new Map(), added: [], hidden: new HideSet(), hiddenPlaces: [], replaced: false }
}

export function isUntouched(written: TableWrites): boolean {
  return !written.replaced && written.byKey.size === 0 && written.added.length === 0 && written.hidden.size === 0
}

/** What one call wants to write. */
export interface Intake {
  readonly rows: readonly Row[]
  /** Keyed tables: of each row. */
  readonly keys: RowKeys | undefined
  readonly bytes: number
}

/** Rough bytes of a row beside its values. */
const ROW_BYTES = 128

/** Checked, and as they will be read back. @throws SchemaMismatchError, NullKeyError */
export function intake({ view }: Bound, whole: Bound, data: unknown): Intake {
  const rows: Row[] = []
  const layout = KeyLayout.of(view.schema)
  const keys = layout === undefined ? undefined : new KeyRun(layout.stride)
  let bytes = 0
  for (const given of batchesOf(view, data)) {
    // Columns may be views on the caller's arrays, and so would be the values read from them.
    const batch = isRows(data) ? given : { length: given.length, columns: given.columns.map((column) => take(column, everyRow(given.length))) }
    for (let i = 0; i < batch.length; i++) rows.push(whole.read(batch.columns, i))
    if (keys !== undefined) layout!.push(batch.columns, 0, batch.length, keys)
    bytes += batchBytes(batch) + batch.length * ROW_BYTES
  }
  return { rows, keys, bytes }
}

function everyRow(rows: number): Uint32Array {
  return Uint32Array.from({ length: rows }, (_, i) => i)
}

export function keyTextAt(keys: RowKeys, row: number): string {
  return keyText(keys.data, keys.start(row), keys.end(row))
}

/** A row of every stored column as another definition reads it. */
export function rowAs(bound: Bound, whole: Bound, row: Row): Row {
  const { columns } = rowsToBatch(whole.view, [row])
  return bound.read(
    bound.view.columns.map((column) => columns[column.index]!),
    0,
  )
}

/** The rows written, as a batch of stored columns; undefined when there are none. */
export function ownBatch(written: TableWrites): ColumnBatch | undefined {
  const rows = [...written.added]
  for (const row of written.byKey.values()) if (row !== null) rows.push(row)
  return rows.length === 0 ? undefined : rowsToBatch(written.whole.view, rows)
}
