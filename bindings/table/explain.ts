// table/explain.ts: what a scan would read, from the plan alone (api.md section 4). Reads no data.

import type { ColumnDef } from '../format/index.ts'
import type { ScanPlan } from './scan-plan.ts'
import type { Explain } from './types-read.ts'

/** `coverage` is the share of rows that the index used covers: 0 while scans use none. */
export function explainPlan(plan: ScanPlan): Explain {
  const fragments = plan.groups.filter(({ group }) => group.kind === 'fragment')
  const memoryRows = plan.groups.reduce((sum, { group }) => sum + (group.kind === 'memory' ? group.liveRows : 0), 0)
  const bytes = fragments.reduce((sum, { group, everyRow }) => sum + group.bytesOf(columnsRead(plan, everyRow)), 0)
  const pruned: Explain['pruned'] = plan.pruned > 0 ? [{ fragments: plan.pruned, by: 'statistics' }] : []
  return {
    lsn: plan.version.lsn as Explain['lsn'],
    fragments: fragments.length,
    pruned,
    bytes,
    coverage: 0,
    memoryRows,
    text: describe(plan, fragments.length, memoryRows, bytes),
  }
}

function columnsRead(plan: ScanPlan, everyRow: boolean): ColumnDef[] {
  const columns = new Map<number, ColumnDef>()
  if (!everyRow) for (const column of plan.where?.columns ?? []) columns.set(column.id, column)
  for (const { column } of plan.order) columns.set(column.column.id, column.column)
  for (const { column } of plan.select) columns.set(column.id, column)
  return [...columns.values()]
}

function describe(plan: ScanPlan, fragments: number, memoryRows: number, bytes: number): string {
  const whole = plan.groups.filter(({ group, everyRow }) => group.kind === 'fragment' && everyRow).length
  const lines = [
    `scan of ${plan.view.table.name} at LSN ${plan.version.lsn}: ${plan.version.liveRows} rows`,
    `  reads ${count(fragments, 'fragment')} (${size(bytes)} compressed) and ${count(memoryRows, 'row')} in memory`,
  ]
  if (plan.pruned > 0) lines.push(`  skips ${count(plan.pruned, 'fragment')} by statistics`)
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
