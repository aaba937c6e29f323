// cli/commands/audit.ts: `varve audit <store>`: every record of the log, who it is by, and what recovery and repair did.
import { type AuditRow, lsn } from '../../index.ts'
import { type Context, listOption, type Run, wholeOption, withReader } from '../command.ts'
import { jsonLine } from '../output.ts'
import { printable, TableLayout } from '../render.ts'

const BATCH_ROWS = 200

export const run: Run = async (context, [path = ''], options) =>
  await withReader(path, context, async (store) => {
    const from = wholeOption(options, 'from', 0)
    const kinds = listOption(options, 'kind')
    const rows = store.audit({ ...(from === undefined ? {} : { from: lsn(from) }), ...(kinds === undefined ? {} : { kinds }) })
    if (context.json) for await (const row of rows) await context.out.write(jsonLine(row))
    else await print(context, rows)
    return undefined
  })

/** A batch at a time: a log may be long. */
async function print(context: Context, rows: AsyncIterable<AuditRow>): Promise<void> {
  let layout: TableLayout | undefined
  let batch: string[][] = []
  const write = async (): Promise<void> => {
    const isFirst = layout === undefined
    const table = (layout ??= new TableLayout(['LSN', 'time', 'kind', 'by', 'write', 'what'], batch, ['right']))
    await context.out.lines([...(isFirst ? table.head() : []), ...batch.map((row) => table.line(row))])
    batch = []
  }
  for await (const row of rows) {
    context.signal.throwIfAborted()
    batch.push(cellsOf(row))
    if (batch.length === BATCH_ROWS) await write()
  }
  if (batch.length > 0) await write()
  if (layout === undefined) await context.out.lines(['no such records'])
}

function cellsOf({ lsn: at, time, kind, by, for: whose, writeId, tables, reason, outcomes }: AuditRow): string[] {
  const parts = outcomes?.map(({ table, op, outcome }) => `${table}: ${op} ${outcome}`) ?? [...tables]
  const what = [parts.join(', '), ...(whose === undefined ? [] : [`for ${whose}`]), ...(reason === undefined ? [] : [reason])].filter((text) => text !== '')
  // Before the first record that has a time there is none.
  return [String(at), time.getTime() === 0 ? '' : time.toISOString(), kind, by, writeId ?? '', printable(what.join('; '))]
}
