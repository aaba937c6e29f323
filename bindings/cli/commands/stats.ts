// cli/commands/stats.ts: `stats`: what a store is made of, in numbers; and the tables that `top` draws again and again.
import type { Stats, TableStats } from '../../index.ts'
import { type Run, withReader } from '../command.ts'
import { bytesText, countText, durationText, factLines, tableLines } from '../render.ts'

export const run: Run = async (context, [path = '']) =>
  await withReader(path, context, async (store) => {
    const stats = await store.stats()
    if (context.json) await context.out.json({ id: store.id, ...stats })
    else await context.out.lines(statsLines(store.id, stats))
    return undefined
  })

export function statsLines(id: string, stats: Stats): string[] {
  const { log, commits, writes } = stats
  const facts: [string, string][] = [
    ['store', id],
    ['head', `LSN ${stats.lsn}`],
    [
      'log',
      `${bytesText(log.bytes)} in ${countText(log.segments)} ${log.segments === 1 ? 'segment' : 'segments'} from LSN ${log.tail}, ${bytesText(log.bytesSinceCheckpoint)} since the checkpoint`,
    ],
    ['readable from', `LSN ${log.floor}`],
    ['commits', `${numberText(commits.perSecond)}/s over ${durationText(commits.windowMs)}`],
  ]
  if (commits.latencyMs !== undefined) {
    const { p50, p99, p999, max } = commits.latencyMs
    facts.push(['latency', `p50 ${durationText(p50)}, p99 ${durationText(p99)}, p99.9 ${durationText(p999)}, most ${durationText(max)}`])
  }
  if (writes !== undefined) {
    facts.push([
      'written',
      `${bytesText(writes.logBytes + writes.fileBytes)} for ${bytesText(writes.committedBytes)}: ${numberText(writes.amplification)} times`,
    ])
  }
  facts.push(['pins', countText(stats.pins)], ['pending', countText(stats.pending)])
  const tables = tablesLines(stats)
  return tables.length === 0 ? factLines(facts) : [...factLines(facts), '', ...tables]
}

/** `more`: a further column beside the row count. */
export function tablesLines({ tables }: Stats, more?: { readonly heading: string; readonly cell: (name: string, table: TableStats) => string }): string[] {
  const rows = Object.entries(tables).map(([name, one]) => [
    name,
    countText(one.rows),
    ...(more === undefined ? [] : [more.cell(name, one)]),
    countText(one.memoryRows),
    countText(one.fragments),
    bytesText(one.bytes),
    percent(one.deletedShare),
    Object.entries(one.coverage)
      .map(([index, { share }]) => `${index} ${percent(share)}`)
      .join('; '),
  ])
  if (rows.length === 0) return []
  const headings = ['table', 'rows', ...(more === undefined ? [] : [more.heading]), 'in memory', 'fragments', 'bytes', 'deleted', 'indexed']
  return tableLines(headings, rows, ['left', ...headings.slice(2).map(() => 'right' as const)])
}

export function numberText(value: number): string {
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : countText(Math.round(value))
}

function percent(share: number): string {
  return `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`
}
