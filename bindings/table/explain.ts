// table/explain.ts: what a scan would read, from the plan alone (api.md section 4). Reads no data: of an index that is not in memory only its size is known.

import type { ColumnDef } from '../format/index.ts'
import type { AccessPath, Foreseen } from './access-paths.ts'
import { orderPaths } from './index-access.ts'
import type { PlannedGroup, ScanPlan } from './scan-plan.ts'
import type { Explain } from './types-read.ts'

/** Fragments by what becomes of them. */
interface Outlook {
  readonly read: readonly PlannedGroup[]
  /** Those of `read` that use an index, with what is known of it. */
  readonly indexed: ReadonlyMap<PlannedGroup, Foreseen>
  /** Left out because a filter, or an index, has no row that may pass. */
  readonly byBloom: number
  readonly byIndex: number
  /** The index that most of them use. */
  readonly path: AccessPath | undefined
  /** Live rows in fragments that have it. */
  readonly covered: number
}

export function explainPlan(plan: ScanPlan): Explain {
  const outlook = outlookOf(plan)
  const { read, indexed, byBloom, byIndex, path, covered } = outlook
  const memoryRows = plan.groups.reduce((sum, { group }) => sum + (group.kind === 'memory' ? group.liveRows : 0), 0)
  const bytes = read.reduce((sum, planned) => sum + bytesOf(plan, planned, indexed.get(planned)), 0)
  const pruned: Explain['pruned'] = []
  if (plan.pruned > 0) pruned.push({ fragments: plan.pruned, by: 'statistics' })
  if (byBloom > 0) pruned.push({ fragments: byBloom, by: 'bloom' })
  if (byIndex > 0) pruned.push({ fragments: byIndex, by: 'index' })
  return {
    lsn: plan.version.lsn as Explain['lsn'],
    fragments: read.length,
    pruned,
    bytes,
    ...(path === undefined ? {} : { index: path.label }),
    coverage: path === undefined || plan.version.liveRows === 0 ? 0 : covered / plan.version.liveRows,
    memoryRows,
    text: describe(plan, outlook, memoryRows, bytes),
  }
}

function outlookOf(plan: ScanPlan): Outlook {
  const read: PlannedGroup[] = []
  const indexed = new Map<PlannedGroup, Foreseen>()
  const uses = new Map<AccessPath, number>()
  const leading = plan.where === undefined && plan.limit < plan.storedRows
  const paths = leading ? orderPaths(plan.order, plan.limit, plan.version.schema) : plan.paths
  let byBloom = 0
  let byIndex = 0
  for (const planned of plan.groups) {
    const { group, everyRow } = planned
    if (group.kind !== 'fragment') continue
    const foreseen = paths.length === 0 || (everyRow && plan.where !== undefined) ? undefined : group.foresee?.(paths)
    if (foreseen !== undefined) uses.set(foreseen.path, (uses.get(foreseen.path) ?? 0) + 1)
    if (foreseen?.rows === 0) {
      if (foreseen.by === 'bloom') byBloom++
      else byIndex++
      continue
    }
    read.push(planned)
    if (foreseen !== undefined) indexed.set(planned, foreseen)
  }
  const [path] = [...uses].toSorted(([, a], [, b]) => b - a)[0] ?? []
  const covered = path === undefined ? 0 : plan.version.groups.reduce((sum, group) => sum + (group.covers?.(path) === true ? group.liveRows : 0), 0)
  return { read, indexed, byBloom, byIndex, path, covered }
}

/** Compressed bytes at most. Where an index tells how many rows there are, no more batches are read than rows; where it tells all, the predicate's columns are not. */
function bytesOf(plan: ScanPlan, { group, everyRow }: PlannedGroup, foreseen: Foreseen | undefined): number {
  const columns = group.bytesOf(columnsRead(plan, everyRow || foreseen?.path.isExact === true))
  if (foreseen?.rows === undefined) return columns + (foreseen?.bytes ?? 0)
  const batches = group.batches.length
  return foreseen.bytes + Math.ceil((columns * Math.min(batches, foreseen.rows)) / batches)
}

function columnsRead(plan: ScanPlan, everyRow: boolean): ColumnDef[] {
  const columns = new Map<number, ColumnDef>()
  if (!everyRow) for (const column of plan.where?.columns ?? []) columns.set(column.id, column)
  for (const { column } of plan.order) columns.set(column.column.id, column.column)
  for (const { column } of plan.select) columns.set(column.id, column)
  return [...columns.values()]
}

function describe(plan: ScanPlan, outlook: Outlook, memoryRows: number, bytes: number): string {
  const { read, indexed, byBloom, byIndex, path, covered } = outlook
  const whole = read.filter(({ everyRow }) => everyRow).length
  const lines = [
    `scan of ${plan.view.table.name} at LSN ${plan.version.lsn}: ${plan.version.liveRows} rows`,
    `  reads ${count(read.length, 'fragment')} (${size(bytes)} compressed) and ${count(memoryRows, 'row')} in memory`,
  ]
  for (const [fragments, by] of [
    [plan.pruned, 'statistics'],
    [byBloom, 'bloom filter'],
    [byIndex, 'index'],
  ] as const) {
    if (fragments > 0) lines.push(`  skips ${count(fragments, 'fragment')} by ${by}`)
  }
  if (path !== undefined) {
    const share = plan.version.liveRows === 0 ? 0 : covered / plan.version.liveRows
    const scanned = read.length - indexed.size
    lines.push(
      `  uses the index ${path.label}, which covers ${Math.floor(share * 1000) / 10} % of the rows${scanned > 0 ? `; scans ${count(scanned, 'fragment')} without it` : ''}`,
    )
  }
  if (plan.where !== undefined) {
    lines.push(
      `  filters by ${plan.where.columns.map(({ name }) => name).join(', ') || 'a constant'}${whole > 0 ? `; every row of ${count(whole, 'fragment')} passes` : ''}`,
    )
  }
  if (plan.order.length > 0) {
    const order = plan.order.map(({ column, descending }) => (descending ? `${column.name} desc` : column.name)).join(', ')
    lines.push(plan.limit < plan.storedRows ? `  keeps the first ${plan.limit} by ${order}` : `  sorts by ${order}`)
  } else if (plan.limit !== Infinity) {
    lines.push(`  stops after ${count(plan.limit, 'row')}`)
  }
  lines.push(`  gives ${plan.select.map(({ name }) => name).join(', ') || 'no columns'}`)
  return lines.join('\n')
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}

function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let n = bytes / 1024
  let unit = 0
  for (; n >= 1024 && unit < units.length - 1; unit++) n /= 1024
  return `${n.toFixed(1)} ${units[unit]}`
}
