// table/overlay.ts: a version of a table with something laid over it: rows hidden, rows added (what a transaction has written itself).

import { bitmapAll, bitmapAnd, bitmapToIndices, copyPadded, popcount, type Vec } from '../kernels/index.ts'
import type { ColumnDef } from '../format/index.ts'
import { accessPaths } from './access-paths.ts'
import type { BatchSource, ColumnBatch, SourceGroup, TableVersion } from './batch.ts'
import type { MemoryChunk } from './memory-layer.ts'
import type { Place } from './point-read.ts'
import type { CompiledPredicate } from './predicate-eval.ts'
import { mayMatch } from './prune.ts'
import type { Structure } from './table-state.ts'

/** `hidden`: rows of `base` that do not show, or 'all'. `own`: rows that show besides, in stored column order. */
export function overlayVersion(base: TableVersion, structure: Structure, hidden: readonly Place[] | 'all', own: ColumnBatch | undefined): TableVersion {
  const groups = hidden === 'all' ? [] : base.groups.map((group) => withoutRows(group, structure, hidden))
  if (own !== undefined) groups.push(ownGroup(base, own))
  return { lsn: base.lsn, schema: base.schema, liveRows: groups.reduce((sum, group) => sum + group.liveRows, 0), groups }
}

function withoutRows(group: SourceGroup, structure: Structure, hidden: readonly Place[]): SourceGroup {
  const byBatch = new Map<number, number[]>()
  const starts = new Map<MemoryChunk, number>()
  let shown = 0
  for (const chunk of structure.layer.chunks) if (chunk.rowsAt(Number.MAX_SAFE_INTEGER) > 0) starts.set(chunk, shown++)
  const batchRows = group.batches[0]?.rows ?? 1
  for (const { fragment, row } of hidden) {
    if (group.kind === 'memory') {
      if (fragment !== undefined) continue
      const chunk = structure.layer.chunkOf(row)
      push(byBatch, starts.get(chunk)!, row - chunk.base)
    } else if (fragment !== undefined && `${fragment.lsn}.${fragment.ordinal}` === group.id) push(byBatch, Math.floor(row / batchRows), row % batchRows)
  }
  if (byBatch.size === 0) return group
  const batches = group.batches.map((batch, i) => (byBatch.has(i) ? masked(batch, byBatch.get(i)!) : batch))
  const count = [...byBatch.values()].reduce((sum, rows) => sum + rows.length, 0)
  return {
    kind: group.kind,
    id: group.id,
    rows: group.rows,
    liveRows: group.liveRows - count,
    bytes: group.bytes,
    stats: (id) => group.stats(id),
    bytesOf: (columns) => group.bytesOf(columns),
    ...(group.select === undefined ? {} : { select: (paths, signal) => group.select!(paths, signal) }),
    ...(group.foresee === undefined ? {} : { foresee: (paths) => group.foresee!(paths) }),
    ...(group.covers === undefined ? {} : { covers: (path) => group.covers!(path) }),
    batches,
  }
}

function push(lists: Map<number, number[]>, at: number, row: number): void {
  const list = lists.get(at)
  if (list === undefined) lists.set(at, [row])
  else list.push(row)
}

function masked(batch: BatchSource, rows: readonly number[]): BatchSource {
  const before = batch.live()
  const live = before === undefined ? bitmapAll(batch.rows) : copyPadded(before, batch.rows)
  for (const row of rows) live[row >> 3]! &= ~(1 << (row & 7))
  return {
    rows: batch.rows,
    live: () => live,
    liveCount: popcount(live, batch.rows),
    load: (columns, signal) => batch.load(columns, signal),
    loadSync: (columns) => batch.loadSync(columns),
    ready: (columns) => batch.ready(columns),
  }
}

function ownGroup(base: TableVersion, own: ColumnBatch): SourceGroup {
  const loadSync = (columns: readonly ColumnDef[]): readonly Vec[] =>
    columns.map((column) => own.columns[base.schema.columns.findIndex((each) => each.id === column.id)]!)
  const batch: BatchSource = {
    rows: own.length,
    live: () => undefined,
    liveCount: own.length,
    load: (columns) => Promise.resolve(loadSync(columns)),
    loadSync,
    ready: () => true,
  }
  return { kind: 'memory', id: 'own', rows: own.length, liveRows: own.length, bytes: 0, stats: () => undefined, bytesOf: () => 0, batches: [batch] }
}

/** Places of the rows of a version that pass a predicate. */
export async function collectPlaces(version: TableVersion, structure: Structure, compiled: CompiledPredicate): Promise<Place[]> {
  const places: Place[] = []
  const chunks = structure.layer.chunks.filter((chunk) => chunk.rowsAt(Number(version.lsn)) > 0)
  const paths = accessPaths(compiled, version.schema)
  for (const group of version.groups) {
    if (!mayMatch(compiled, (id) => group.stats(id), group.rows)) continue
    const selection = await group.select?.(paths)
    const fragment = group.kind === 'fragment' ? structure.fragments.find((each) => `${each.lsn}.${each.ordinal}` === group.id) : undefined
    let base = 0
    for (let i = 0; i < group.batches.length; i++) {
      const batch = group.batches[i]!
      const live = batch.live()
      const within = selection?.rows.within(base, batch.rows)
      if (selection !== undefined && within === undefined) {
        base += batch.rows
        continue
      }
      const passing = selection?.isExact === true ? within! : compiled.eval(await batch.load(compiled.columns), batch.rows)
      const chosen = within === undefined ? passing : bitmapAnd(passing, within, batch.rows)
      const bitmap = live === undefined ? chosen : bitmapAnd(chosen, live, batch.rows)
      const start = group.kind === 'memory' ? chunks[i]!.base : base
      for (const row of bitmapToIndices(bitmap, batch.rows)) places.push({ fragment, row: start + row })
      base += batch.rows
    }
  }
  return places
}
