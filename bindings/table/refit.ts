// table/refit.ts: a batch of columns made for one version of a definition as another version has it: a definition may change while a write reads its data.
//
// Invariant: what the newer version demands is checked here again; what it does not know is left out.

import { SchemaMismatchError } from '../errors.ts'
import type { TableSchema } from '../format/index.ts'
import type { ColumnBatch } from './batch.ts'
import { fitVec } from './column-fit.ts'
import { missingVec } from './missing-column.ts'

/** @throws SchemaMismatchError a null where the newer version takes none */
export function refitBatch(batch: ColumnBatch, from: TableSchema, to: TableSchema): ColumnBatch {
  if (from === to || batch.columns.length === 0) return batch
  const columns = to.columns.map((column) => {
    const place = from.columns.findIndex(({ id }) => id === column.id)
    // It is written now: the default that holds now, not the one of older rows.
    const { initial: _initial, ...now } = column
    const vec = place < 0 ? missingVec(now, batch.length) : fitVec(batch.columns[place]!, from.columns[place]!.type, column)
    if (vec.nullCount > 0 && !column.nullable) {
      throw new SchemaMismatchError(`${to.name}.${column.name}: the definition changed while the rows were read, and takes no null any more`, {
        details: { table: to.name, column: column.name },
      })
    }
    return vec
  })
  return { length: batch.length, columns }
}
