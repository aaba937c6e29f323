// table/build-indexes.ts: indexes for a fragment that is there already: those it lacks, or whose file is damaged (recovery.md section 10, reindex).
//
// One index at a time: its columns are read, copied and handed to a thread, so that memory is bounded by the widest index of one fragment.
// Invariant: the fragment itself is not changed; a reference keeps every index that was not built anew.

import { declaredIndexes, type FragmentRef, type IndexRef, sortedIndexOf, type TableSchema } from '../format/index.ts'
import type { Workers } from '../runtime/index.ts'
import type { ColumnBatch } from './batch.ts'
import type { BuiltIndex, EncodeIndexInput, IndexSpec } from './encode-index.ts'
import type { FragmentReader } from './fragment-reader.ts'
import { encodeIndexOn } from './worker-tasks.ts'

/** Indexes that the definition asks for and the fragment does not name. @param reader  also those it found damaged */
export function lackingIndexes(schema: TableSchema, ref: FragmentRef, reader?: FragmentReader): IndexSpec[] {
  const lacking: IndexSpec[] = []
  if (schema.key.length > 0 && ref.index === undefined) lacking.push({ kind: 'key', columns: schema.key })
  for (const columns of schema.unique) if (uniqueIndexOf(ref, columns) === undefined) lacking.push({ kind: 'unique', columns })
  for (const columns of declaredIndexes(schema)) {
    const defs = columns.map((id) => schema.columns.find((column) => column.id === id)!)
    if (sortedIndexOf(ref, columns) === undefined || reader?.indexes.isDamaged(defs) === true) lacking.push({ kind: 'sorted', columns })
  }
  return lacking
}

export interface BuildIndexesOptions {
  readonly reader: FragmentReader
  /** The table's definition as it is now. */
  readonly schema: TableSchema
  readonly specs: readonly IndexSpec[]
  readonly workers: Workers
  readonly signal?: AbortSignal | undefined
  /** Called before each index and each batch that is read for it: to yield, to pause, to throw. */
  readonly between?: () => Promise<void> | undefined
  /** Entries of a block of a sorted index; for tests. */
  readonly blockEntries?: number
}

/**
 * The files of the indexes asked for, one after another as they are made; whoever takes one stores it before asking for the next.
 * @throws CorruptionError, StorageError of the fragment
 */
export async function* buildIndexes(o: BuildIndexesOptions): AsyncGenerator<BuiltIndex, undefined> {
  const { reader, schema, workers, signal, between } = o
  const { ref } = reader
  for (const spec of o.specs) {
    const columns = spec.columns.map((id) => schema.columns.find((column) => column.id === id)!)
    const batches: ColumnBatch[] = []
    for (let batch = 0; batch < reader.batchCount; batch++) {
      const turn = between?.()
      if (turn !== undefined) await turn
      batches.push({ length: reader.rowsOf(batch), columns: await reader.load(batch, columns, signal) })
    }
    const input: EncodeIndexInput = {
      spec,
      schema,
      fragment: ref.digest,
      rows: ref.rows,
      sorted: ref.sorted,
      batches,
      ...(o.blockEntries === undefined ? {} : { blockEntries: o.blockEntries }),
    }
    yield await encodeIndexOn(workers, input, signal)
  }
}

/** The reference with these indexes, in place of those over the same. @param gens  of files that are not the first of their digest */
export function withIndexes(
  ref: FragmentRef,
  built: readonly Omit<BuiltIndex, 'file'>[],
  gens: (digest: string) => number | undefined = () => undefined,
): FragmentRef {
  let { index } = ref
  const indexes = [...(ref.indexes ?? [])]
  for (const { kind, columns, digest, bytes } of built) {
    const gen = gens(digest) ?? 0
    const stored = { digest, bytes, ...(gen === 0 ? {} : { gen }) }
    if (kind === 'key') {
      index = stored
      continue
    }
    const at = indexes.findIndex((each) => each.kind === kind && isOver(each, columns))
    indexes.splice(at < 0 ? indexes.length : at, at < 0 ? 0 : 1, { kind, columns, ...stored })
  }
  return { ...ref, ...(index === undefined ? {} : { index }), ...(indexes.length === 0 ? {} : { indexes }) }
}

function uniqueIndexOf(ref: FragmentRef, columns: readonly number[]): IndexRef | undefined {
  return ref.indexes?.find((each) => each.kind === 'unique' && isOver(each, columns))
}

function isOver(index: IndexRef, columns: readonly number[]): boolean {
  return index.columns.length === columns.length && index.columns.every((id, i) => id === columns[i])
}
