// cli/commands/backup.ts: `backup` and `restore`: a store into another place, and back.
import { type BackupReport, type Progress, Store } from '../../index.ts'
import { atOption, type Context, type Run, withReader } from '../command.ts'
import { bytesText, countText, factLines, printable, ProgressLine } from '../render.ts'

export const runBackup: Run = async (context, [path = '', target = ''], options) => {
  const at = atOption(options)
  return await withReader(path, context, async (store) => {
    const report = await shown(context, 'backup', (o) => store.backup(target, { ...o, ...(at === undefined ? {} : { at }) }))
    return await told(context, `${printable(target)} holds store ${store.id} up to LSN ${report.lsn}`, report)
  })
}

export const runRestore: Run = async (context, [from = '', to = ''], options) => {
  const at = atOption(options)
  const newId = options['newId'] === true
  const report = await shown(context, 'restore', (o) => Store.restore(from, to, { ...o, newId, ...(at === undefined ? {} : { at }) }))
  return await told(context, `${printable(to)} is a store as of LSN ${report.lsn}`, report)
}

async function shown<T>(context: Context, label: string, work: (o: { signal: AbortSignal; onProgress: (p: Progress) => void }) => Promise<T>): Promise<T> {
  const line = new ProgressLine(label)
  const onProgress = ({ phase, done, total, unit }: Progress): void => {
    const text = unit === 'bytes' ? bytesText(done) : `${countText(done)} ${unit}`
    line.update(`${phase} ${text}`, total === undefined || total === 0 ? undefined : done / total)
  }
  try {
    return await work({ signal: context.signal, onProgress })
  } finally {
    line.clear()
  }
}

async function told(context: Context, what: string, report: BackupReport): Promise<undefined> {
  if (context.json) {
    await context.out.json(report)
    return undefined
  }
  const writes = (ids: readonly string[]): string => (ids.length === 0 ? 'none' : ids.join(', '))
  await context.out.lines([
    what,
    ...factLines([
      ['copied', `${filesText(report.copied)}, ${bytesText(report.copiedBytes)}`],
      ['all', `${filesText(report.files)}, ${bytesText(report.bytes)}`],
      ['digest', Buffer.from(report.digest).toString('hex')],
      ['sealed writes', writes(report.pending)],
      ...(report.pendingLost.length === 0 ? [] : ([['without files', writes(report.pendingLost)]] as const)),
    ]),
  ])
  return undefined
}

function filesText(n: number): string {
  return `${countText(n)} ${n === 1 ? 'file' : 'files'}`
}
