// cli/commands/schema.ts: `varve schema [show] <store> [table]`, `varve schema diff|apply <store> <file>`: definitions as they are, and as a file wants them.
import { type SchemaPlan, Store, type TableInfo } from '../../index.ts'
import { atOption, type Context, listOption, type Run, tableInfo, withReader, withWriter } from '../command.ts'
import { definitionJson, readDefinitions } from '../definitions.ts'
import { EXIT, UsageError } from '../failure.ts'
import { tableLines } from '../render.ts'

const FILE_HINT = 'A file of definitions: JSON as varve schema --json prints it, or a module that exports tables.'

export const run: Run = async (context, [first = '', second, third], options) => {
  switch (first) {
    case 'diff':
      return await diff(context, ...placeAndFile(first, second, third), options)
    case 'apply':
      return await apply(context, ...placeAndFile(first, second, third), options)
    case 'show':
      if (second === undefined) throw new UsageError('varve schema show needs a store', 'varve schema show ./data')
      return await show(context, second, third, options)
    default:
      if (third !== undefined) throw new UsageError(`no varve schema ${JSON.stringify(first)}`, 'There is: show, diff, apply.')
      return await show(context, first, second, options)
  }
}

function placeAndFile(what: string, path: string | undefined, file: string | undefined): [path: string, file: string] {
  if (path === undefined || file === undefined) throw new UsageError(`varve schema ${what} needs a store and a file`, FILE_HINT)
  return [path, file]
}

async function show(context: Context, path: string, name: string | undefined, options: Readonly<Record<string, unknown>>): Promise<undefined> {
  await withReader(path, context, async (store) => {
    const at = atOption(options)
    const infos = name === undefined ? await store.tables(at) : [await tableInfo(store, name, at)]
    if (context.json) {
      const definitions: object[] = []
      for (const info of infos) definitions.push(definitionJson(info, await store.table(info.name, at)))
      return await context.out.json(name === undefined ? definitions : definitions[0])
    }
    const stored = await Promise.all(infos.map((info) => store.table(info.name, at)))
    const lines = infos.flatMap((info, i) => {
      const { unique = [], index = [] } = definitionJson(info, stored[i]!)
      const rows = info.columns.map((column) => [column.name, column.type, column.nullable ? 'null' : 'not null', defaultText(column)])
      return [
        ...(i === 0 ? [] : ['']),
        `${info.name}  ${info.key.length === 0 ? 'no key' : `key ${info.key.join(', ')}`}`,
        ...unique.map((columns) => `  unique ${columns.join(', ')}`),
        ...index.map((columns) => `  index ${typeof columns === 'string' ? columns : columns.join(', ')}`),
        ...tableLines(['column', 'type', 'null', 'default'], rows),
      ]
    })
    await context.out.lines(lines)
  })
}

/** What apply would do. It looks at rows too, as apply does, and so takes the lock; no definition changes. */
async function diff(context: Context, path: string, file: string, options: Readonly<Record<string, unknown>>): Promise<number> {
  const plan = await planned(context, path, file, { ...options, dryRun: true, allowDataLoss: true })
  return plan.steps.length === 0 ? EXIT.ok : EXIT.problems
}

async function apply(context: Context, path: string, file: string, options: Readonly<Record<string, unknown>>): Promise<undefined> {
  await planned(context, path, file, options)
}

async function planned(context: Context, path: string, file: string, options: Readonly<Record<string, unknown>>): Promise<SchemaPlan> {
  const tables = await readDefinitions(file)
  const drop = listOption(options, 'drop')
  const dryRun = options['dryRun'] === true
  return await withWriter(path, context, 'never', async (store: Store) => {
    const plan = await store.apply(tables, {
      dryRun,
      allowDataLoss: options['allowDataLoss'] === true,
      signal: context.signal,
      ...(drop === undefined ? {} : { drop }),
    })
    if (context.json) await context.out.json(plan)
    else await context.out.lines(planLines(plan, dryRun))
    return plan
  })
}

function planLines({ steps, lsn }: SchemaPlan, dryRun: boolean): string[] {
  if (steps.length === 0) return ['the store has these definitions']
  const rows = steps.map(({ table, kind, column, losesData }) => [kind, table, column ?? '', losesData ? 'loses data' : ''])
  const end = dryRun ? 'nothing was changed' : `done, LSN ${lsn}`
  return [...tableLines(['step', 'table', 'column', ''], rows), end]
}

function defaultText(column: TableInfo['columns'][number]): string {
  const value = column.default
  if (value === undefined) return ''
  if (value instanceof Uint8Array) return `0x${Buffer.from(value).toString('hex')}`
  return typeof value === 'string' || (typeof value === 'object' && !(value instanceof Date)) ? JSON.stringify(value) : String(value)
}
