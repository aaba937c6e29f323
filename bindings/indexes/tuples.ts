// indexes/tuples.ts: the rows of a batch that a unique constraint is about: those without a null in any of its columns (recovery.md section 12).
//
// Invariant: what is left out is exempt and nothing else is; the order of the rows stays.
import { bitmapAnd, bitmapToIndices, filterMany, keyHashes, popcount, type Vec } from '../kernels/index.ts'
import type { KeyPart } from './key-parts.ts'

export interface PresentRows {
  /** Without nulls. */
  readonly vecs: readonly Vec[]
  readonly rows: number
  /** Of each row its place in the batch, ascending; undefined: no row is left out. */
  readonly rowOf: Uint32Array<ArrayBuffer> | undefined
}

/** @param vecs  columns of `rows` rows */
export function presentRows(vecs: readonly Vec[], rows: number): PresentRows {
  let present: Uint8Array | undefined
  for (const { validity, nullCount } of vecs) {
    if (validity === undefined || nullCount === 0) continue
    present = present === undefined ? validity : bitmapAnd(present, validity, rows)
  }
  if (present === undefined) return { vecs, rows, rowOf: undefined }
  const count = popcount(present, rows)
  return count === rows
    ? { vecs, rows, rowOf: undefined }
    : { vecs: filterMany(vecs, present, rows, count), rows: count, rowOf: bitmapToIndices(present, rows) }
}

export interface TupleHashes {
  /** (low, high) words, one pair a row that is not exempt. */
  readonly hashes: Uint32Array
  /** As PresentRows. */
  readonly rowOf: Uint32Array<ArrayBuffer> | undefined
}

/** XXH3-64 of the canonical bytes of each tuple. */
export function tupleHashes(parts: readonly KeyPart[], columns: readonly Vec[], count: number): TupleHashes {
  const { vecs, rows, rowOf } = presentRows(columns, count)
  const kinds = parts.map((part) => part.kind)
  return { hashes: rows === 0 ? new Uint32Array(0) : keyHashes(vecs, kinds, rows), rowOf }
}
