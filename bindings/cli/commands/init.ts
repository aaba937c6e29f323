// cli/commands/init.ts: `varve init <store> [--table defs.json]`: makes a store, and tables from definition files.
//
// A definition file is what `varve schema --json` prints: { "name", "columns": { "id": "int64", "delay": "int16 or null" }, "key": ["id"] }, or an array of these.
import { readFile } from 'node:fs/promises'
import { type AnyTable, table } from '../../index.ts'
import { columnOf, parseField } from '../column-type.ts'
import { type Run, withWriter } from '../command.ts'
import { asUsage, UsageError } from '../failure.ts'

const HINT = 'Write { "name": "flights", "columns": { "id": "int64", "delay": "int16 or null" }, "key": ["id"] }, or an array of these.'

export const run: Run = async (context, [path = ''], options) => {
  const files = (options['table'] as readonly string[] | undefined) ?? []
  const tables = (await Promise.all(files.map(readDefinitions))).flat()
  const result = await withWriter(path, context, 'must', async (store) => {
    if (tables.length > 0) await store.create(...tables)
    return { store: path, id: store.id, lsn: store.lsn, tables: tables.map(({ name }) => name) }
  })
  if (context.json) await context.out.json(result)
  else await context.out.lines([`${path}: new store ${result.id}${result.tables.length === 0 ? '' : `, tables ${result.tables.join(', ')}`}`])
  return undefined
}

async function readDefinitions(file: string): Promise<AnyTable[]> {
  const text = await asUsage(async () => await readFile(file, 'utf8'))
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw new UsageError(`${file}: ${(cause as Error).message}`, HINT, cause)
  }
  return await Promise.all((Array.isArray(parsed) ? parsed : [parsed]).map(async (one) => await asUsage(() => definitionOf(file, one))))
}

function definitionOf(file: string, value: unknown): AnyTable {
  const { name, columns, key, unique, index, ...rest } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  const unknown = Object.keys(rest).find((one) => !['rows', 'since'].includes(one))
  if (unknown !== undefined) throw new UsageError(`${file}: no property ${JSON.stringify(unknown)} in a definition`, HINT)
  if (typeof name !== 'string' || typeof columns !== 'object' || columns === null) throw new UsageError(`${file}: a definition has a name and columns`, HINT)
  const built = Object.fromEntries(Object.entries(columns).map(([column, type]) => [column, columnOfText(file, column, type)]))
  const lists = { key, unique, index }
  const given = Object.fromEntries(Object.entries(lists).filter(([, list]) => list !== undefined))
  for (const [what, list] of Object.entries(given)) if (!Array.isArray(list)) throw new UsageError(`${file}: "${what}" of ${name} is no array`, HINT)
  return table(name, built, given as { key: [] })
}

function columnOfText(file: string, column: string, type: unknown): ReturnType<typeof columnOf> {
  if (typeof type === 'string') return columnOf(parseField(type))
  const { type: text, nullable, default: value } = (typeof type === 'object' && type !== null ? type : {}) as Record<string, unknown>
  if (typeof text !== 'string') throw new UsageError(`${file}: column ${JSON.stringify(column)} has no type`, HINT)
  const field = parseField(text)
  const built = columnOf({ type: field.type, nullable: field.nullable || nullable === true })
  return value === undefined ? built : built.default(value as never)
}
