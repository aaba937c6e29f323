// cli/commands/get.ts: `varve get <store> <table> <key>`: one row by its key. Exit code 1 when there is none.
import type { KeyedTable, TableInfo } from '../../index.ts'
import { CellFault, cellFromJson, cellFromText, cellText } from '../cell-text.ts'
import type { NamedField } from '../column-type.ts'
import { atOption, fieldsOf, type Run, tableInfo, withReader } from '../command.ts'
import { EXIT, UsageError } from '../failure.ts'
import { ndjsonLine } from '../formats/sink.ts'
import { factLines, printable } from '../render.ts'

export const run: Run = async (context, [path = '', name = '', text = ''], options) =>
  await withReader(path, context, async (store) => {
    const at = atOption(options)
    const info = await tableInfo(store, name, at)
    const fields = fieldsOf(info)
    const key = keyOf(info, fields, text)
    const table = (await store.table(name, at)) as KeyedTable
    const row = await store.get(table, key as never, { signal: context.signal, ...(at === undefined ? {} : { at }) })
    if (row === undefined) {
      if (context.json) await context.out.write('null\n')
      else process.stderr.write(`${name} has no row with key ${printable(text)}\n`)
      return EXIT.failed
    }
    if (context.json) await context.out.write(ndjsonLine(fields)(row))
    else {
      const cells = fields.map((field): [string, string] => {
        const value = (row as Record<string, unknown>)[field.name]
        return [field.name, value === null || value === undefined ? 'null' : printable(cellText(field.type, value))]
      })
      await context.out.lines(factLines(cells))
    }
    return undefined
  })

/** A bare value for a key of one column, `a=1,b=x`, or a JSON object. */
export function keyOf(info: TableInfo, fields: readonly NamedField[], text: string): Record<string, unknown> {
  const parts = info.key.map((name) => fields.find((field) => field.name === name)!)
  if (parts.length === 0) throw new UsageError(`table ${info.name} has no key`, 'Use varve scan with --where.')
  const example = parts.length === 1 ? `42, or ${parts[0]!.name}=42` : parts.map(({ name }) => `${name}=...`).join(',')
  const given = spelled(info, parts, text, example)
  return Object.fromEntries(
    parts.map((field) => {
      const value = given.get(field.name)
      if (value === undefined || value === null) throw new UsageError(`the key has no ${JSON.stringify(field.name)}`, `Write the key as ${example}.`)
      try {
        return [field.name, typeof value === 'string' ? cellFromText(field.type, value) : cellFromJson(field.type, value)]
      } catch (cause) {
        if (cause instanceof CellFault)
          throw new UsageError(`key column ${JSON.stringify(field.name)}: ${cause.message}`, `Write the key as ${example}.`, cause)
        throw cause
      }
    }),
  )
}

function spelled(info: TableInfo, parts: readonly NamedField[], text: string, example: string): Map<string, unknown> {
  if (text.startsWith('{')) {
    try {
      return checked(info, new Map(Object.entries(JSON.parse(text) as object)), example)
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause
      throw new UsageError(`the key is no JSON: ${cause.message}`, `Write the key as ${example}.`, cause)
    }
  }
  const [only] = parts
  if (parts.length === 1 && !text.startsWith(`${only!.name}=`)) return new Map([[only!.name, text]])
  const pairs = text.split(',').map((pair): [string, unknown] => {
    const at = pair.indexOf('=')
    if (at < 1) throw new UsageError(`key part ${JSON.stringify(pair)} is not column=value`, `Write the key as ${example}; values with commas as JSON.`)
    return [pair.slice(0, at).trim(), pair.slice(at + 1)]
  })
  return checked(info, new Map(pairs), example)
}

function checked(info: TableInfo, given: Map<string, unknown>, example: string): Map<string, unknown> {
  const unknown = [...given.keys()].find((name) => !info.key.includes(name))
  if (unknown !== undefined) throw new UsageError(`${JSON.stringify(unknown)} is no key column of ${info.name}`, `Write the key as ${example}.`)
  return given
}
