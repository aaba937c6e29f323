// table/scan-plan.ts: what a scan will do, decided before any data is read: names against the view, options against their ranges, groups against statistics.
//
// Pure. Invariant: a group left out holds no live row that the predicate accepts; a group marked `everyRow` holds none that it refuses (so its rows
// need no filter). Both follow from statistics, which cover hidden rows too and therefore only err on the safe side.

import { InvalidConfigError, SchemaMismatchError, UnsupportedTypeError } from '../errors.ts'
import { valueKindOf } from '../format/index.ts'
import { type AccessPath, accessPaths } from './access-paths.ts'
import type { BatchSource, SourceGroup, TableVersion } from './batch.ts'
import { describeType } from './physical.ts'
import { didYouMean } from './names.ts'
import { type CompiledPredicate, compilePredicate } from './predicate-eval.ts'
import { matchingShare, type Share } from './prune.ts'
import type { At, Long } from './types-read.ts'
import type { Predicate } from './types.ts'
import type { TableView, ViewColumn } from './view.ts'

/** ScanOptions without the types of one table. */
export interface LooseScanOptions extends Long {
  readonly select?: readonly string[]
  readonly where?: Predicate<any>
  readonly orderBy?: string | readonly string[]
  readonly limit?: number
  readonly at?: At
  readonly batchRows?: number
}

export interface OrderKey {
  readonly column: ViewColumn
  readonly descending: boolean
}

/** Options held against a view. */
export interface ResolvedScan {
  readonly view: TableView
  readonly select: readonly ViewColumn[]
  readonly where: CompiledPredicate | undefined
  readonly order: readonly OrderKey[]
  /** Infinity: none. */
  readonly limit: number
  readonly batchRows: number
}

export interface PlannedGroup {
  readonly group: SourceGroup
  /** Place in the version's groups. */
  readonly ordinal: number
  readonly everyRow: boolean
}

export interface ScanPlan extends ResolvedScan {
  readonly version: TableVersion
  /** In storage order. */
  readonly groups: readonly PlannedGroup[]
  /** Indexes that the predicate could use, the best first. */
  readonly paths: readonly AccessPath[]
  /** Fragments left out because of their statistics. */
  readonly pruned: number
  /** Stored rows in the groups that are read. */
  readonly storedRows: number
}

const BATCH_ROWS = 65_536

const OPTION_NAMES = ['select', 'where', 'orderBy', 'limit', 'at', 'batchRows', 'signal', 'onProgress'] as const

/**
 * Checks options against the view.
 * @throws SchemaMismatchError an unknown column; InvalidConfigError an unknown option or a value out of range; UnsupportedTypeError a column that has no order
 */
export function resolveScan(view: TableView, options: LooseScanOptions): ResolvedScan {
  for (const name of Object.keys(options)) {
    if (!(OPTION_NAMES as readonly string[]).includes(name)) {
      throw new InvalidConfigError(`scan of ${view.table.name}: no option ${JSON.stringify(name)}${didYouMean(name, OPTION_NAMES)}`, {
        details: { key: name, value: (options as Record<string, unknown>)[name] },
      })
    }
  }
  const select = options.select === undefined ? view.columns : [...new Set(options.select)].map((name) => columnOf(view, name))
  const keys = typeof options.orderBy === 'string' ? [options.orderBy] : (options.orderBy ?? [])
  const order = keys.map((key) => orderKey(view, key))
  return {
    view,
    select,
    where: options.where === undefined ? undefined : compilePredicate(options.where, view),
    // A column that comes again decides nothing.
    order: order.filter((key, i) => order.findIndex(({ column }) => column === key.column) === i),
    limit: options.limit === undefined ? Infinity : count('limit', options.limit, 0),
    batchRows: options.batchRows === undefined ? BATCH_ROWS : count('batchRows', options.batchRows, 1),
  }
}

/** Chooses the groups to read. */
export function planScan(scan: ResolvedScan, version: TableVersion): ScanPlan {
  const groups: PlannedGroup[] = []
  let pruned = 0
  let storedRows = 0
  for (const [ordinal, group] of version.groups.entries()) {
    const share = scan.where === undefined ? 'all' : matchingShare(scan.where, (id) => group.stats(id), group.rows)
    if (share === 'none') {
      if (group.kind === 'fragment') pruned++
      continue
    }
    if (group.liveRows === 0) continue
    groups.push({ group, ordinal, everyRow: share === 'all' })
    storedRows += group.rows
  }
  const paths = scan.where === undefined ? [] : accessPaths(scan.where, version.schema)
  return { ...scan, version, groups, paths, pruned, storedRows }
}

/** Which share of a batch's rows the predicate accepts, as far as its own statistics tell. */
export function batchShare(where: CompiledPredicate, batch: BatchSource): Share {
  return batch.stats === undefined ? 'some' : matchingShare(where, (id) => batch.stats!(id), batch.rows)
}

/** The view's column of that name. @throws SchemaMismatchError */
export function columnOf(view: TableView, name: string): ViewColumn {
  const column = view.byName.get(name)
  if (column !== undefined) return column
  throw new SchemaMismatchError(`${view.table.name}: no column ${JSON.stringify(name)}${didYouMean(String(name), view.byName.keys())}`, {
    details: { table: view.table.name, column: String(name) },
  })
}

/** As columnOf, for a column that has an order. @throws SchemaMismatchError, UnsupportedTypeError */
export function sortableColumn(view: TableView, name: string, verb: string): ViewColumn {
  const column = columnOf(view, name)
  const kind = valueKindOf(column.column.type)
  if (kind !== undefined && kind !== 'bool') return column
  const type = describeType(column.column.type)
  throw new UnsupportedTypeError(`${view.table.name}.${name}: ${type} has no order, so it cannot be used for ${verb}`, { details: { type } })
}

/** Column names never end in " asc" or " desc" (api.md section 1), so the ending is always the direction. */
function orderKey(view: TableView, key: string): OrderKey {
  const descending = key.endsWith(' desc')
  const name = descending ? key.slice(0, -5) : key.endsWith(' asc') ? key.slice(0, -4) : key
  return { column: sortableColumn(view, name, 'orderBy'), descending }
}

function count(name: string, value: number, least: number): number {
  if (Number.isInteger(value) && value >= least) return value
  if (name === 'limit' && value === Infinity) return value
  throw new InvalidConfigError(`scan: ${name} must be a whole number of at least ${least}, got ${String(value)}`, { details: { key: name, value } })
}
