// table/input-kind.ts: telling apart what writes are given.

import { asBytes } from '../kernels/index.ts'
import { SchemaMismatchError } from '../errors.ts'
import { isArrowLike } from './arrow-in.ts'
import type { ColumnBatch } from './batch.ts'
import { isColumnData } from './column-data.ts'
import { ipcBatchesNow } from './ipc-now.ts'
import { isAsyncBatches, toBatches } from './stream-in.ts'
import { bytesOfVec } from './vec-views.ts'
import type { TableView } from './view.ts'

/** A row or an array of rows: nothing that is columns, Arrow, bytes or a stream. */
export function isRows(data: unknown): boolean {
  if (Array.isArray(data)) return true
  if (typeof data !== 'object' || data === null || ArrayBuffer.isView(data)) return false
  if (Symbol.iterator in data || Symbol.asyncIterator in data || 'getReader' in data) return false
  return !isColumnData(data) && !isArrowLike(data)
}

/** The batches of what a transaction was given: whatever is in memory. */
export function batchesOf(view: TableView, data: unknown): Iterable<ColumnBatch> {
  if (data instanceof Uint8Array) return ipcBatchesNow(view, asBytes(data))
  const batches = toBatches(view, data)
  if (!isAsyncBatches(batches)) return batches
  const table = view.schema.name
  throw new SchemaMismatchError(`${table}: a transaction takes rows, columns(), Arrow tables or bytes, not a stream`, {
    details: { table },
    hint: 'Write the stream outside the transaction: one append or upsert of it is one commit.',
  })
}

/** Bytes that a batch holds. */
export function batchBytes(batch: ColumnBatch): number {
  let bytes = 0
  for (const vec of batch.columns) bytes += bytesOfVec(vec)
  return bytes
}
