// upkeep/reindex.ts: the indexes that a table declares and a fragment has not, built from the fragment as it stands.

import type { FragmentRef, TableSchema } from '../format/index.ts'
import type { Workers } from '../runtime/index.ts'
import type { StagedFile, StagingArea } from '../staging/index.ts'
import { buildIndexes, type BuiltIndex, type FragmentReader, lackingIndexes, type LiveFragment, withIndexes } from '../table/index.ts'

export interface ReindexOptions {
  readonly area: StagingArea
  readonly workers: Workers
  readonly signal: AbortSignal
  /** Called before each batch that is read. */
  readonly pace: () => Promise<void> | undefined
}

/** @param schema  the definition that is durable @param reader  what it reads with @returns the reference with them, and their files in the staging area */
export async function reindex(
  schema: TableSchema,
  fragment: Pick<LiveFragment, 'ref' | 'reader'>,
  reader: FragmentReader,
  { area, workers, signal, pace }: ReindexOptions,
): Promise<{ ref: FragmentRef; files: StagedFile[] }> {
  const specs = lackingIndexes(schema, fragment.ref, fragment.reader)
  const built: Omit<BuiltIndex, 'file'>[] = []
  const files = new Map<string, StagedFile>()
  for await (const { file, ...index } of buildIndexes({ reader, schema, specs, workers, signal, between: pace })) {
    files.set(index.digest, await area.put('idx', file, index.digest))
    built.push(index)
  }
  return { ref: withIndexes(fragment.ref, built, (digest) => files.get(digest)?.gen), files: [...files.values()] }
}
