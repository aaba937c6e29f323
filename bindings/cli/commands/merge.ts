// cli/commands/merge.ts: `varve merge <store> <source>`: a branch into another one. Exit code 1 and the rows in conflict when nobody said what shall be.
import { type MergeConflict, MergeConflictError, type MergeOptions, type MergeResult } from '../../index.ts'
import { type Context, type Run, textOption, withWriter } from '../command.ts'
import { EXIT, UsageError } from '../failure.ts'
import { countText, printable, tableLines } from '../render.ts'

/** Conflicts that a person reads. */
const SHOWN = 20

export const run: Run = async (context, [path = '', source = ''], options) =>
  await withWriter(path, context, 'never', async (store) => {
    const [message, author, into] = ['message', 'author', 'into'].map((name) => textOption(options, name))
    const o: MergeOptions = {
      signal: context.signal,
      dryRun: options['dryRun'] === true,
      granularity: oneOf(options, 'granularity', ['column', 'row']),
      onConflict: oneOf(options, 'onConflict', ['fail', 'ours', 'theirs']),
      ...(message === undefined ? {} : { message }),
      ...(author === undefined ? {} : { author }),
      ...(into === undefined ? {} : { into }),
    }
    try {
      const result = await store.merge(source, o)
      if (context.json) await context.out.json({ ...result, dryRun: o.dryRun })
      else await context.out.lines(resultLines(source, into ?? 'main', result, o))
      return o.dryRun === true && o.onConflict === 'fail' && result.conflicts.length > 0 ? EXIT.failed : undefined
    } catch (error) {
      if (!(error instanceof MergeConflictError)) throw error
      await tell(context, error)
      throw error
    }
  })

function oneOf<const T extends string>(options: Readonly<Record<string, unknown>>, name: string, values: readonly T[]): T {
  const text = textOption(options, name) ?? values[0]!
  const found = values.find((value) => value === text)
  if (found !== undefined) return found
  const flag = name.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
  throw new UsageError(`--${flag}: ${JSON.stringify(text)} is none of ${values.join(', ')}`, 'See --help.')
}

function resultLines(source: string, into: string, { lsn, fastForward, tables, conflicts }: MergeResult, { dryRun, onConflict }: MergeOptions): string[] {
  const names = `${printable(source)} into ${printable(into)}`
  if (lsn === undefined && dryRun !== true) return [`nothing to merge: ${printable(into)} has all of ${printable(source)}`]
  const head = dryRun === true ? `would merge ${names}` : `merged ${names}${fastForward ? ', which had nothing of its own,' : ''} at LSN ${lsn}`
  const rows = Object.entries(tables).map(([name, count]) => [name, countText(count.inserted), countText(count.updated), countText(count.deleted)])
  const lines = [head, ...(rows.length === 0 ? ['no rows differ'] : tableLines(['table', '+', '~', '-'], rows, ['left', 'right', 'right', 'right']))]
  if (conflicts.length === 0) return lines
  return [...lines, onConflict === 'fail' ? 'in conflict:' : `in conflict, decided as ${String(onConflict)}:`, ...conflictLines(conflicts)]
}

function conflictLines(conflicts: readonly MergeConflict[]): string[] {
  const rows = conflicts.slice(0, SHOWN).map(({ table, kind, key, ours, theirs }) => [table, kind, textOf(key), textOf(ours), textOf(theirs)])
  const more = conflicts.length > SHOWN ? [`and ${conflicts.length - SHOWN} more, or more than these`] : []
  return [...tableLines(['table', 'conflict', 'key', 'ours', 'theirs'], rows), ...more]
}

function textOf(row: object | undefined): string {
  if (row === undefined) return 'no row'
  return printable(JSON.stringify(row, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)))
}

/** A person sees the rows; a program gets them with the error. */
async function tell(context: Context, { conflicts }: MergeConflictError): Promise<void> {
  if (!context.json) await context.out.lines(conflictLines(conflicts as readonly MergeConflict[]))
}
