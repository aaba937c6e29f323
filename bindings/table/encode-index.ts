// table/encode-index.ts: one index of a fragment from its columns. Pure: runs in any thread.
//
// Invariant: the same fragment, columns and types give the same bytes, whichever thread made them and whenever: a damaged file is made again under its name.

import { type IndexRef, type TableSchema, toHex } from '../format/index.ts'
import { encodeKeyIndex, encodeSorted, encodeUniqueIndex, keyHashes, tupleHashes, tupleParts } from '../indexes/index.ts'
import { concat, sha256 } from '../kernels/index.ts'
import type { ColumnBatch } from './batch.ts'

/** One index of a fragment, by what it is over. */
export interface IndexSpec {
  readonly kind: 'key' | IndexRef['kind']
  /** Column ids. */
  readonly columns: readonly number[]
}

export interface BuiltIndex extends IndexSpec {
  readonly file: Uint8Array<ArrayBuffer>
  readonly bytes: number
  /** SHA-256 of the file, hex. */
  readonly digest: string
}

export interface EncodeIndexInput {
  readonly spec: IndexSpec
  /** Any version of the table that has the columns with the types to be indexed. */
  readonly schema: TableSchema
  /** SHA-256 of the fragment, hex. */
  readonly fragment: string
  readonly rows: number
  /** The fragment is in key order. */
  readonly sorted: boolean
  /** The columns of the index, in its order, of all rows. */
  readonly batches: readonly ColumnBatch[]
  /** Entries of a block of a sorted index; for tests. */
  readonly blockEntries?: number
}

export function encodeIndex({ spec, schema, fragment, rows, sorted, batches, blockEntries }: EncodeIndexInput): BuiltIndex {
  const vecs = spec.columns.map((_, i) => concat(batches.map((batch) => batch.columns[i]!)))
  const file = ((): Uint8Array<ArrayBuffer> => {
    switch (spec.kind) {
      case 'sorted': {
        const columns = spec.columns.map((id) => schema.columns.find((column) => column.id === id)!)
        return encodeSorted({ fragment, rows, columns, vecs, ...(blockEntries === undefined ? {} : { blockEntries }) })
      }
      case 'key':
        return encodeKeyIndex(keyHashes(tupleParts(schema, spec.columns), vecs, rows), rows, sorted)
      case 'unique': {
        const { hashes, rowOf } = tupleHashes(tupleParts(schema, spec.columns), vecs, rows)
        return encodeUniqueIndex(hashes, rowOf, rows)
      }
    }
  })()
  return { ...spec, file, bytes: file.length, digest: toHex(sha256(file)) }
}
