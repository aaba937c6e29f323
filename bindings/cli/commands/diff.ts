// cli/commands/diff.ts: `varve diff <store> <from> <to>`: what became of rows between two positions, branches or tags, a line a change.
import type { AnyTable, At, ReadStore } from '../../index.ts'
import { cellText } from '../cell-text.ts'
import type { NamedField } from '../column-type.ts'
import { atOption, fieldsOf, listOption, type Run, tableInfo, wholeOption, withReader } from '../command.ts'
import { UsageError } from '../failure.ts'
import { ndjsonLine } from '../formats/sink.ts'
import { printable } from '../render.ts'

const MARKS = { insert: '+', update: '~', delete: '-' } as const
type Row = Readonly<Record<string, unknown>>

export const run: Run = async (context, [path = '', from = '', to = ''], options) =>
  await withReader(path, context, async (store) => {
    const [older, newer] = [positionOf(from), positionOf(to)]
    const limit = wholeOption(options, 'limit', 1)
    let count = 0
    for (const { table, fields } of await tablesOf(store, listOption(options, 'table'), older, newer)) {
      const line = ndjsonLine(fields)
      for await (const change of store.diff(older, newer, { tables: [table], images: 'both', signal: context.signal })) {
        if (limit !== undefined && count === limit) return undefined
        count++
        const [before, after] = [change.before as Row | undefined, change.after as Row | undefined]
        if (context.json) {
          const json = (row: Row | undefined): unknown => (row === undefined ? undefined : JSON.parse(line(row)))
          await context.out.write(`${JSON.stringify({ table: table.name, kind: change.kind, before: json(before), after: json(after) })}\n`)
        } else await context.out.lines([`${MARKS[change.kind]} ${table.name} ${changeText(fields, table.key, before, after)}`])
      }
    }
    if (count === 0 && !context.json) await context.out.lines(['no rows differ'])
    return undefined
  })

function positionOf(text: string): At {
  return atOption({ at: text })!
}

/** Those asked for, or every table with a key; as they are on the later side, or where that has none, on the earlier. */
async function tablesOf(
  store: ReadStore,
  names: readonly string[] | undefined,
  older: At,
  newer: At,
): Promise<{ readonly table: AnyTable; readonly fields: readonly NamedField[] }[]> {
  const [before, after] = [await store.tables(older), await store.tables(newer)]
  const keyed = [...new Set([...after, ...before].filter(({ key }) => key.length > 0).map(({ name }) => name))]
  const found: { table: AnyTable; fields: readonly NamedField[] }[] = []
  for (const name of names ?? keyed) {
    const at = after.some((info) => info.name === name) ? newer : older
    const info = await tableInfo(store, name, at)
    if (info.key.length === 0) throw new UsageError(`table ${name} has no key`, 'A diff is told by key; varve log --table shows its commits.')
    found.push({ table: await store.table(name, at), fields: fieldsOf(info) })
  }
  return found
}

/** The key, then what changed. */
function changeText(fields: readonly NamedField[], key: readonly string[], before: Row | undefined, after: Row | undefined): string {
  const cell = (field: NamedField, row: Row): string => {
    const value = row[field.name]
    return value === null || value === undefined ? 'null' : printable(cellText(field.type, value))
  }
  const parts: string[] = []
  for (const field of fields) {
    const row = after ?? before!
    const [old, now] = [before === undefined ? undefined : cell(field, before), cell(field, row)]
    if (key.includes(field.name) || before === undefined || after === undefined) parts.push(`${field.name}=${now}`)
    else if (old !== now) parts.push(`${field.name}=${old} -> ${now}`)
  }
  return parts.join(' ')
}
