// table/coverage.ts: how many of a table's live rows are behind each of its indexes (recovery.md section 10). Coverage decides what upkeep builds, never what
// a read finds: fragments without an index are scanned.

import { declaredIndexes, type FragmentRef, indexLabel, sortedIndexOf, type TableSchema } from '../format/index.ts'
import type { TableStats } from './types-stats.ts'

type Coverage = TableStats['coverage']

/**
 * Live rows behind the key's index and each declared one. Rows in memory count for the key, which the memory layer is indexed by, and for no other.
 *
 * @param rows  live rows of the table
 */
export function coverageOf(schema: TableSchema, rows: number, fragments: readonly { readonly ref: FragmentRef; readonly liveRows: number }[]): Coverage {
  const coverage: Coverage = {}
  const add = (columns: readonly number[], covered: number): void => {
    const label = indexLabel(schema, columns)
    // An index over the very columns of the key has its name: what is told is what both cover.
    const both = Math.min(covered, coverage[label]?.rows ?? covered)
    coverage[label] = { rows: both, share: rows === 0 ? 1 : both / rows }
  }
  const without = (has: (ref: FragmentRef) => boolean): number => fragments.reduce((sum, { ref, liveRows }) => sum + (has(ref) ? 0 : liveRows), 0)
  for (const columns of declaredIndexes(schema)) {
    add(
      columns,
      fragments.reduce((sum, { ref, liveRows }) => sum + (sortedIndexOf(ref, columns) === undefined ? 0 : liveRows), 0),
    )
  }
  if (schema.key.length > 0) add(schema.key, rows - without((ref) => ref.sorted || ref.index !== undefined))
  return coverage
}
