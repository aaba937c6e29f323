// cli/definitions.ts: definitions of tables from files: JSON as `varve schema --json` prints it, or a module of TypeScript or JavaScript that exports tables.
//
// A definition in JSON: { "name", "columns": { "id": "int64", "delay": "int16 or null", "no": { "type": "int32", "default": 0, "renamedFrom": "number" } },
// "key": ["id"], "unique": [["mail"]], "index": ["origin", ["origin", "date"]], "renamedFrom": "older" }, or an array of these.
// Invariant: what definitionJson writes comes back as the same definition.
import { readFile } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type AnyTable, table, type TableInfo } from '../index.ts'
import { cellFromJson, cellJson } from './cell-text.ts'
import { columnOf, parseField } from './column-type.ts'
import { asUsage, UsageError } from './failure.ts'

export interface DefinitionJson {
  readonly name: string
  readonly columns: Readonly<Record<string, unknown>>
  readonly key: readonly string[]
  readonly unique?: readonly (readonly string[])[]
  readonly index?: readonly (string | readonly string[])[]
}

const HINT = 'Write { "name": "flights", "columns": { "id": "int64", "delay": "int16 or null" }, "key": ["id"] }, or an array of these.'
const MODULES: ReadonlySet<string> = new Set(['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs'])
/** Of what `varve tables --json` adds. */
const IGNORED: ReadonlySet<string> = new Set(['rows', 'since'])

/** @throws UsageError */
export async function readDefinitions(file: string): Promise<AnyTable[]> {
  return MODULES.has(extname(file)) ? await fromModule(file) : await fromJson(file)
}

async function fromModule(file: string): Promise<AnyTable[]> {
  const exported = await asUsage(async () => (await import(pathToFileURL(resolve(file)).href)) as Record<string, unknown>)
  const tables = Object.values(exported)
    .flatMap((value): unknown[] => (Array.isArray(value) ? value : [value]))
    .filter(isTable)
  if (tables.length === 0) throw new UsageError(`${file} exports no table`, 'Export what table() returns, by any name, or an array of these.')
  // One table exported twice is one table.
  return [...new Set(tables)]
}

/** The module may have its own copy of varve: what a table is shows in its parts. */
function isTable(value: unknown): value is AnyTable {
  if (typeof value !== 'object' || value === null) return false
  const { name, columns, key } = value as Partial<AnyTable>
  if (typeof name !== 'string' || typeof columns !== 'object' || !Array.isArray(key)) return false
  return Object.values(columns as object).every((column) => typeof (column as { spec?: unknown } | null)?.spec === 'object')
}

async function fromJson(file: string): Promise<AnyTable[]> {
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
  const { name, columns, key, unique, index, renamedFrom, ...rest } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  const unknown = Object.keys(rest).find((one) => !IGNORED.has(one))
  if (unknown !== undefined) throw new UsageError(`${file}: no property ${JSON.stringify(unknown)} in a definition`, HINT)
  if (typeof name !== 'string' || typeof columns !== 'object' || columns === null) throw new UsageError(`${file}: a definition has a name and columns`, HINT)
  const built = Object.fromEntries(Object.entries(columns).map(([column, type]) => [column, columnOfText(file, column, type)]))
  const lists = { key, unique, index }
  const given = Object.fromEntries(Object.entries(lists).filter(([, list]) => list !== undefined))
  for (const [what, list] of Object.entries(given)) if (!Array.isArray(list)) throw new UsageError(`${file}: "${what}" of ${name} is no array`, HINT)
  if (renamedFrom !== undefined && typeof renamedFrom !== 'string') throw new UsageError(`${file}: "renamedFrom" of ${name} is no name`, HINT)
  return table(name, built, { ...given, ...(renamedFrom === undefined ? {} : { renamedFrom }) } as { key: [] })
}

function columnOfText(file: string, column: string, type: unknown): ReturnType<typeof columnOf> {
  if (typeof type === 'string') return columnOf(parseField(type))
  const { type: text, nullable, default: value, renamedFrom } = (typeof type === 'object' && type !== null ? type : {}) as Record<string, unknown>
  if (typeof text !== 'string') throw new UsageError(`${file}: column ${JSON.stringify(column)} has no type`, HINT)
  const field = parseField(text)
  let built = columnOf({ type: field.type, nullable: field.nullable || nullable === true })
  if (value !== undefined) built = built.default(cellFromJson(field.type, value) as never)
  return typeof renamedFrom === 'string' ? built.renamedFrom(renamedFrom) : built
}

/** A stored definition as a file holds it. `stored`: the same table as store.table() gives it. */
export function definitionJson(info: TableInfo, stored: AnyTable): DefinitionJson {
  const columns = info.columns.map((column) => {
    const text = `${column.type}${column.nullable ? ' or null' : ''}`
    return [column.name, column.default === undefined ? text : { type: text, default: cellJson(parseField(text).type, column.default) }]
  })
  const { unique = [], index = [] } = stored as Pick<DefinitionJson, 'unique' | 'index'>
  const lists = { ...(unique.length === 0 ? {} : { unique }), ...(index.length === 0 ? {} : { index }) }
  return { name: info.name, columns: Object.fromEntries(columns), key: info.key, ...lists }
}
