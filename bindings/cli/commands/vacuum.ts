// cli/commands/vacuum.ts: `varve vacuum <store> --keep-days n | --keep-versions n`: files and log that no kept version needs.
import type { Progress, VacuumKeep, VacuumReport } from '../../index.ts'
import { type Run, wholeOption, withWriter } from '../command.ts'
import { UsageError } from '../failure.ts'
import { bytesText, countText, factLines, ProgressLine, tableLines } from '../render.ts'

export const run: Run = async (context, [path = ''], options) => {
  const keep = keepOf(options)
  const dryRun = options['dryRun'] === true
  return await withWriter(path, context, 'never', async (store) => {
    const line = new ProgressLine('vacuum')
    const onProgress = ({ phase, done, total }: Progress): void =>
      line.update(`${phase} ${countText(done)} files`, total === undefined || total === 0 ? undefined : done / total)
    let report: VacuumReport
    try {
      report = await store.vacuum({ keep, dryRun, signal: context.signal, onProgress })
    } finally {
      line.clear()
    }
    if (context.json) await context.out.json(report)
    else await context.out.lines(reportLines(report, dryRun))
    return undefined
  })
}

function keepOf(options: Readonly<Record<string, unknown>>): VacuumKeep {
  const days = wholeOption(options, 'keepDays', 0)
  const versions = wholeOption(options, 'keepVersions', 1)
  if (days === undefined && versions === undefined) {
    throw new UsageError('varve vacuum does not guess how much history to keep', 'Say --keep-days 7, --keep-versions 100, or both: what either keeps stays.')
  }
  return { ...(days === undefined ? {} : { days }), ...(versions === undefined ? {} : { versions }) }
}

function reportLines({ lsn, deleted, bytes, heldBack, floor, tail, checkpoints }: VacuumReport, dryRun: boolean): string[] {
  const files = `${countText(deleted)} ${deleted === 1 ? 'file' : 'files'}, ${bytesText(bytes)}`
  const facts = factLines([
    [dryRun ? 'would go' : 'deleted', files],
    ['checkpoints', countText(checkpoints)],
    ['readable from', `LSN ${floor}`],
    ['log begins after', `LSN ${tail}`],
    ...(lsn === undefined ? [] : ([['recorded at', `LSN ${lsn}`]] as const)),
  ])
  if (heldBack.length === 0) return facts
  const held = heldBack.map(({ by, bytes: size }) => [by, bytesText(size)])
  return [...facts, '', ...tableLines(['held back by', 'bytes'], held, ['left', 'right'])]
}
