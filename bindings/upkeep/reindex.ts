// upkeep/reindex.ts: the indexes that a table declares and a fragment has not, built from the fragment as it stands.

import type { FragmentRef } from '../format/index.ts'
import type { StagedFile, StagingArea } from '../staging/index.ts'
import { buildKeyIndex, type FragmentReader, type LiveFragment, type TableState } from '../table/index.ts'

/** @returns the reference with them, and their files in the staging area */
export async function reindex(
  table: TableState,
  { ref }: Pick<LiveFragment, 'ref'>,
  reader: FragmentReader,
  area: StagingArea,
  signal: AbortSignal,
): Promise<{ ref: FragmentRef; files: StagedFile[] }> {
  const file = await area.put('idx', await buildKeyIndex(reader, table.schemaOf(ref.schemaVersion), signal))
  const { digest, bytes, gen = 0 } = file
  return { ref: { ...ref, index: { digest, bytes, ...(gen === 0 ? {} : { gen }) } }, files: [file] }
}
