// table/build-key-index.ts: the key index of a fragment that is there already, from its key columns: batch by batch, whatever its size.

import type { TableSchema } from '../format/index.ts'
import { encodeKeyIndex, keyHashes, keyParts } from '../indexes/index.ts'
import type { FragmentReader } from './fragment-reader.ts'

/** The bytes that whoever wrote the fragment would have given its index. @throws StorageError, CorruptionError fragment.corrupt */
export async function buildKeyIndex(reader: FragmentReader, schema: TableSchema, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  const { ref } = reader
  const parts = keyParts(schema)
  const columns = parts.map((part) => schema.columns[part.index]!)
  const hashes = new Uint32Array(2 * ref.rows)
  let at = 0
  for (let batch = 0; batch < reader.batchCount; batch++) {
    const vecs = await reader.load(batch, columns, signal)
    const count = reader.rowsOf(batch)
    hashes.set(keyHashes(parts, vecs, count).subarray(0, 2 * count), at)
    at += 2 * count
  }
  return encodeKeyIndex(hashes, ref.rows, ref.sorted)
}
