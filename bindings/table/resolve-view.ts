// table/resolve-view.ts: holds the code's definition of a table against the stored one (api.md section 1: "the code's definition is a view").
//
// A stored column that the code does not name is not read; whoever writes rows fills it by its default, else null, else refuses the row (row-plan.ts).
// Checked once per table, store and schema version; the caller caches the result.
// Invariant: every column of a view is stored under that name with that very type and nullability, and the keys are equal.

import { SchemaMismatchError } from '../errors.ts'
import type { TableSchema } from '../format/index.ts'
import { specOf } from './columns.ts'
import { definitionOf, describeDefinition } from './definition.ts'
import { didYouMean } from './names.ts'
import { describeField } from './physical.ts'
import type { AnyTable } from './types.ts'
import type { TableView, ViewColumn } from './view.ts'

/**
 * The view that a definition has of a stored table: old programs keep working beside new ones.
 *
 * @throws SchemaMismatchError a column that the store lacks, another type, or another key; with both definitions
 */
export function resolveView(table: AnyTable, schema: TableSchema): TableView {
  const definition = definitionOf(table)
  const stored = new Map(schema.columns.map((column, index) => [column.name, { column, index }]))
  const columns: ViewColumn[] = []
  for (const [name, builder] of Object.entries(definition.columns)) {
    const spec = specOf(builder)
    const found = stored.get(name)
    if (found === undefined) throw mismatch(table, schema, `the store has no column ${JSON.stringify(name)}${didYouMean(name, stored.keys())}`, name)
    const inCode = describeField(spec)
    const inStore = describeField(found.column)
    if (inCode !== inStore) throw mismatch(table, schema, `column ${JSON.stringify(name)} is ${inCode} in the code and ${inStore} in the store`, name)
    columns.push({ name, column: found.column, spec, index: found.index })
  }
  const byName = new Map(columns.map((column) => [column.name, column]))
  const storedKey = keyNames(schema)
  if (storedKey.length !== definition.key.length || storedKey.some((name, i) => definition.key[i] !== name)) {
    throw mismatch(table, schema, `the key is ${list(definition.key)} in the code and ${list(storedKey)} in the store`)
  }
  const key = definition.key.flatMap((name) => byName.get(name) ?? [])
  return { table, schema, columns, byName, key }
}

function mismatch(table: AnyTable, schema: TableSchema, what: string, column?: string): SchemaMismatchError {
  const definition = definitionOf(table)
  const columns = Object.entries(definition.columns).map(([name, builder]) => ({ name, ...specOf(builder) }))
  const code = describeDefinition(definition.name, columns, definition.key)
  const stored = describeDefinition(schema.name, schema.columns, keyNames(schema))
  const details = { table: schema.name, column, code, stored }
  return new SchemaMismatchError(`${schema.name}: ${what}\n  code:  ${code}\n  store: ${stored}`, {
    details,
    hint: 'Make the definition in the code agree with the stored one, or change the stored one with apply().',
  })
}

function keyNames(schema: TableSchema): string[] {
  return schema.key.flatMap((id) => schema.columns.find((column) => column.id === id)?.name ?? [])
}

function list(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.map((name) => JSON.stringify(name)).join(', ')
}
