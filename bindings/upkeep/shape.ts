// upkeep/shape.ts: a table as the planner sees it, and how much of it its indexes cover.

import { layoutOf, type StatValue, type TableSchema } from '../format/index.ts'
import { lackingIndexes, type LiveFragment, type Structure } from '../table/index.ts'
import type { PlannedFragment, TableShape } from './plan-compaction.ts'

export interface OptimizeTarget {
  /** Of the rows of a fragment, as they lie in memory. */
  readonly bytes: number
  readonly rows: number
}

export const TARGET: OptimizeTarget = { bytes: 128 * 1024 * 1024, rows: 1024 * 1024 }

/** Bytes that a value of varying length takes besides its stored ones. */
const VARYING_BYTES = 8

/** `lsn`: what is durable; the structure is that of the table then. */
export function shapeOf(schema: TableSchema, { fragments }: Structure, lsn: number, target: OptimizeTarget): TableShape {
  const rowBytes = rowBytesOf(schema, fragments)
  return {
    isKeyed: schema.key.length > 0,
    targetRows: Math.max(1, Math.min(target.rows, Math.floor(target.bytes / rowBytes))),
    mergeRows: Math.max(1, Math.min(TARGET.rows, Math.floor(TARGET.bytes / rowBytes))),
    fragments: fragments.map((fragment) => plannedOf(schema, fragment, lsn)),
  }
}

function plannedOf(schema: TableSchema, { lsn, ordinal, ref, hides, reader }: LiveFragment, at: number): PlannedFragment {
  const base = { lsn, ordinal, rows: ref.rows, hidden: hides.countAt(at), isSorted: ref.sorted }
  const stats = schema.key.length === 0 ? undefined : reader.stats(schema.key[0]!)
  // A NaN is above every bound, and stands in none.
  const max: StatValue | undefined = stats?.hasNaN === true ? undefined : stats?.max
  return { ...base, min: stats?.min, max }
}

/** Of columns whose width is known, that; of the others twice what is stored, for they are compressed. */
function rowBytesOf(schema: TableSchema, fragments: readonly LiveFragment[]): number {
  let bytes = 0
  for (const { id, type } of schema.columns) {
    const layout = layoutOf(type)
    if (layout.kind === 'fixed') bytes += layout.width
    else if (layout.kind === 'bool') bytes += 1
    else {
      let stored = 0
      let rows = 0
      for (const { ref } of fragments) {
        stored += ref.columns.find((column) => column.id === id)?.bytes ?? 0
        rows += ref.rows
      }
      bytes += VARYING_BYTES + (rows === 0 ? 0 : (2 * stored) / rows)
    }
  }
  return Math.max(1, bytes)
}

/** Whether its table declares an index that the fragment has not, or whose file was found damaged. */
export function lacksIndex(schema: TableSchema, { ref, reader }: Pick<LiveFragment, 'ref' | 'reader'>): boolean {
  return lackingIndexes(schema, ref, reader).length > 0
}

/** Live rows behind every index of the table / live rows; rows in memory are behind none. */
export function coverageOf(schema: TableSchema, { fragments, layer }: Structure): number {
  let rows = layer.liveRows
  let covered = 0
  for (const fragment of fragments) {
    const live = fragment.ref.rows - fragment.hides.count
    rows += live
    if (!lacksIndex(schema, fragment)) covered += live
  }
  return rows === 0 || (schema.key.length === 0 && schema.unique.length === 0 && schema.index.length === 0) ? 1 : covered / rows
}
