// merge/check-unique.ts: unique constraints over the merged candidate: the rows that a merge writes, and those of the target that it leaves (recovery.md section 12).
//
// Invariant: what passes keeps every constraint of the target as it was looked at; what comes there later is a conflict by rule `keys`, whose hashes are told here.

import { HideSet, keysOf, refuseMerged } from '../engine/index.ts'
import { filterMany } from '../kernels/index.ts'
import { type ColumnBatch, KeyRun, type RowKeys } from '../table/index.ts'
import type { TableResult } from './write-merge.ts'

/** Hashes of the tuples that are written; none where the table has no constraint. @throws DuplicateKeyError */
export async function checkUnique(table: TableResult, op: string, between: () => Promise<void> | undefined): Promise<readonly Uint32Array[]> {
  const { bound, gone, hidden } = table
  const { state, view } = bound
  if (state.uniques.length === 0) return []
  const hides = new HideSet()
  for (const place of hidden) hides.add(place)
  // Those of the rows are added as the rows are looked at, which comes first.
  const keys: RowKeys[] = gone === undefined ? [] : [gone]
  const tuples = await refuseMerged({ state, view, schema: state.schema, batches: rowsOf(table, keys), keys, hidden: hides, op, seed: state.seed, between })
  return tuples === undefined ? [] : [...tuples.hashes()]
}

/** Every row that is written. */
async function* rowsOf({ taken, made, shape }: TableResult, keys: RowKeys[]): AsyncGenerator<ColumnBatch, undefined> {
  const note = (batch: ColumnBatch): ColumnBatch => {
    const found = keysOf(batch.columns, shape)
    const run = new KeyRun(found.stride)
    run.pushMany(found)
    keys.push(run)
    return batch
  }
  for (const { source, bits, rows } of taken.picks) yield note({ length: rows, columns: filterMany(await source.load(shape.columns), bits, source.rows, rows) })
  for (const batch of made) yield note(batch)
}
