// cli/commands/init.ts: `varve init <store> [--table defs.json]`: makes a store, and tables from definition files (cli/definitions.ts).
import { type Run, withWriter } from '../command.ts'
import { readDefinitions } from '../definitions.ts'

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
