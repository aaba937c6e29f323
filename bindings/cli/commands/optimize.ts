// cli/commands/optimize.ts: `optimize`: what a store does in the background where it pays, done now and wholly.
import type { OptimizeReport, Progress } from '../../index.ts'
import { listOption, type Run, textOption, wholeOption, withWriter } from '../command.ts'
import { countText, printable, ProgressLine, tableLines } from '../render.ts'

export const run: Run = async (context, [path = ''], options) => {
  const names = listOption(options, 'table')
  const branch = textOption(options, 'branch')
  const rows = wholeOption(options, 'targetRows', 1)
  const budgetMs = wholeOption(options, 'budget', 0)
  return await withWriter(path, context, 'never', async (store) => {
    const place = branch === undefined ? store : await store.branch(branch, { create: 'never' })
    const tables = names === undefined ? undefined : await Promise.all(names.map((name) => store.table(name)))
    const line = new ProgressLine('optimize')
    let report: OptimizeReport
    try {
      report = await place.optimize({
        signal: context.signal,
        onProgress: ({ done, unit }: Progress) => line.update(`${countText(done)} ${unit}`, undefined),
        ...(tables === undefined ? {} : { tables }),
        ...(rows === undefined ? {} : { target: { rows } }),
        ...(budgetMs === undefined ? {} : { budgetMs }),
      })
    } finally {
      line.clear()
    }
    if (context.json) await context.out.json(report)
    else await context.out.lines(reportLines(report))
    return undefined
  })
}

function reportLines({ lsn, tables, skipped }: OptimizeReport): string[] {
  const percent = (share: number): string => `${Math.floor(share * 100)} %`
  const rows = Object.entries(tables).map(([name, { fragmentsBefore, fragmentsAfter, coverageBefore, coverageAfter }]) => [
    name,
    countText(fragmentsBefore),
    countText(fragmentsAfter),
    percent(coverageBefore),
    percent(coverageAfter),
  ])
  return [
    lsn === undefined ? 'nothing to do' : `published as LSN ${lsn}`,
    ...(rows.length === 0 ? [] : ['', ...tableLines(['table', 'fragments', 'then', 'indexed', 'then'], rows)]),
    ...skipped.map(({ table, reason }) => `left: ${printable(table)}: ${printable(reason)}`),
  ]
}
