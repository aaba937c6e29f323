// table/definition.ts: table(), and definitions to and from stored schemas (api.md section 1, core.md section 5).
//
// A definition is frozen data: name, columns, key, unique, index, renamedFrom. What the reader chooses (`as`, `typed`) stays in the code;
// everything else is the stored TableSchema. Invariant: a definition that table() returned can be stored: names, keys and defaults were checked.

import { SchemaMismatchError, UnkeyableTypeError } from '../errors.ts'
import { declaredIndexes, valueKindOf } from '../format/index.ts'
import type { ColumnDef, ColumnType, TableSchema } from '../format/index.ts'
import { columnFromSpec, specOf } from './columns.ts'
import { checkColumnName, checkTableName, didYouMean } from './names.ts'
import { describeField, describeType, fromPhysical, Misfit, physicalFromJson, physicalToJson, toPhysical } from './physical.ts'
import type { Physical } from './physical.ts'
import type { AnyTable, Columns, KeyColumn, Predicate, Table, TableOptions } from './types.ts'
import type { ColumnSpec } from './view.ts'

/** What a table made by table() holds at run time. */
export interface TableDefinition {
  readonly name: string
  readonly columns: Columns
  readonly key: readonly string[]
  readonly unique: readonly (readonly string[])[]
  /** A column, or several in their order. */
  readonly index: readonly (string | readonly string[])[]
  readonly renamedFrom?: string
  where(p: Predicate<never>): Predicate<never>
}

type DefineOptions = Partial<Pick<TableDefinition, 'key' | 'unique' | 'index' | 'renamedFrom'>>

/**
 * Define a table: pure data, nothing is opened.
 *
 * @throws InvalidNameError, UnkeyableTypeError, UnsupportedTypeError; SchemaMismatchError: a key, unique or index column that is not there, a default that does not fit
 * @example const seats = table('seats', { flight: t.int64(), row: t.int16(), taken: t.bool().default(false) }, { key: ['flight', 'row'] })
 */
export function table<const N extends string, C extends Columns, const K extends readonly KeyColumn<C>[] = []>(
  name: N,
  columns: C,
  options?: TableOptions<C, K>,
): Table<N, C, K> {
  return define(name, columns, (options ?? {}) as DefineOptions) as unknown as Table<N, C, K>
}

/** The definition behind a table that was handed in. SchemaMismatchError: it was not made by table(). */
export function definitionOf(value: AnyTable): TableDefinition {
  const it = value as unknown as Partial<TableDefinition> | null | undefined
  if (typeof it !== 'object' || it === null || typeof it.name !== 'string' || typeof it.columns !== 'object' || !Array.isArray(it.key)) {
    throw new SchemaMismatchError(`expected a table made by table(), got ${value === null ? 'null' : typeof value}`, { details: { table: '' } })
  }
  return it as TableDefinition
}

/** The first stored version of a definition: version 1, column ids from 1 in definition order. */
export function schemaFromDefinition(def: AnyTable, tableId: number): TableSchema {
  const { name, columns, key, unique, index } = definitionOf(def)
  const ids = new Map(Object.keys(columns).map((column, i) => [column, i + 1]))
  const idOf = (column: string): number => ids.get(column) ?? 0
  return {
    tableId,
    version: 1,
    name,
    columns: Object.entries(columns).map(([column, builder], i) => columnDef(i + 1, name, column, specOf(builder))),
    key: key.map(idOf),
    unique: unique.map((one) => one.map(idOf)),
    index: index.map((one) => (typeof one === 'string' ? idOf(one) : one.map(idOf))),
  }
}

/** Whether storing the definition would change nothing: equal columns by name, key, constraints and indexes; their order does not count, but the key's does. */
export function sameDefinition(def: AnyTable, schema: TableSchema): boolean {
  const mine = schemaFromDefinition(def, schema.tableId)
  return mine.name === schema.name && canonical(mine) === canonical(schema)
}

/** A table made from the stored schema; values are read as the types' own defaults have it. */
export function tableFromSchema(schema: TableSchema): AnyTable {
  const names = new Map(schema.columns.map((column) => [column.id, column.name]))
  const nameOf = (id: number): string => names.get(id) ?? ''
  const columns = Object.fromEntries(schema.columns.map((column) => [column.name, columnFromSpec(specFromField(column))]))
  return freeze({
    name: schema.name,
    columns: Object.freeze(columns),
    key: schema.key.map(nameOf),
    unique: schema.unique.map((one) => one.map(nameOf)),
    index: schema.index.map((one) => (typeof one === 'number' ? nameOf(one) : Object.freeze(one.map(nameOf)))),
  })
}

/** A default in its stored JSON form. SchemaMismatchError: it does not fit the column. */
export function encodeDefault(table: string, column: string, spec: ColumnSpec): unknown {
  const physical = toPhysical(spec.type, spec.default, spec.children)
  if (physical instanceof Misfit) {
    throw new SchemaMismatchError(`${table}.${column}: default: ${physical.reason}`, { details: { table, column } })
  }
  return physicalToJson(physical)
}

/** The physical value of a stored column's default (physical.ts); undefined: it has none. */
export function decodeDefault(column: Omit<ColumnDef, 'id'>): Physical | undefined {
  return column.default === undefined ? undefined : physicalFromJson(column.type, column.default)
}

/** `flights(id int64, delay int16 or null; key id)`: a definition as messages show it. */
export function describeDefinition(
  name: string,
  columns: readonly { readonly name: string; readonly type: ColumnType; readonly nullable: boolean }[],
  key: readonly string[],
): string {
  const parts = columns.map((column) => `${column.name} ${describeField(column)}`)
  return `${name}(${parts.join(', ')}; ${key.length === 0 ? 'no key' : `key ${key.join(', ')}`})`
}

function define(name: string, columns: Columns, options: DefineOptions): TableDefinition {
  checkTableName(name)
  const entries = Object.entries(columns)
  if (entries.length === 0) throw new SchemaMismatchError(`${name}: a table has at least one column`, { details: { table: name } })
  for (const [column, builder] of entries) checkColumn(name, column, specOf(builder))
  const key = [...(options.key ?? [])]
  const unique = (options.unique ?? []).map((one) => Object.freeze([...one]))
  const index = checkedIndexes(name, columns, options.index ?? [])
  checkList(name, columns, 'key', key)
  for (const one of unique) {
    checkList(name, columns, 'unique', one)
    if (one.length === 0) throw new SchemaMismatchError(`${name} unique: names no column`, { details: { table: name } })
  }
  for (const column of key) {
    if (!specOf(columns[column]).nullable) continue
    throw new UnkeyableTypeError(`${name}.${column}: a key column cannot be nullable`, { details: { column } })
  }
  if (options.renamedFrom !== undefined) checkTableName(options.renamedFrom)
  return freeze({
    name,
    columns: Object.freeze({ ...columns }),
    key,
    unique,
    index,
    ...(options.renamedFrom === undefined ? {} : { renamedFrom: options.renamedFrom }),
  }) as unknown as TableDefinition
}

/** Each once; a list of one column is that column. */
function checkedIndexes(table: string, columns: Columns, declared: TableDefinition['index']): (string | readonly string[])[] {
  const seen = new Set<string>()
  return declared.map((one) => {
    const names = typeof one === 'string' ? [one] : [...one]
    if (names.length === 0) throw new SchemaMismatchError(`${table} index: names no column`, { details: { table } })
    checkList(table, columns, 'index', names)
    const text = JSON.stringify(names)
    if (seen.has(text)) throw new SchemaMismatchError(`${table} index: ${text} is declared twice`, { details: { table } })
    seen.add(text)
    return names.length === 1 ? names[0]! : Object.freeze(names)
  })
}

function freeze(parts: Omit<TableDefinition, 'where'>): AnyTable {
  const where = (p: Predicate<never>): Predicate<never> => p
  const definition = { ...parts, key: Object.freeze(parts.key), unique: Object.freeze(parts.unique), index: Object.freeze(parts.index) }
  // Not enumerable, so that a definition prints, compares and clones as data.
  Object.defineProperty(definition, 'where', { value: where })
  return Object.freeze(definition) as unknown as AnyTable
}

function checkColumn(table: string, column: string, spec: ColumnSpec): void {
  checkColumnName(table, column)
  if (spec.renamedFrom !== undefined) checkColumnName(table, spec.renamedFrom)
  if (spec.default !== undefined) encodeDefault(table, column, spec)
  checkFields(table, spec.type)
}

/** Names inside structs follow the rules of column names. */
function checkFields(table: string, type: ColumnType): void {
  if (type.kind === 'list' || type.kind === 'fixedSizeList') checkFields(table, type.item.type)
  if (type.kind !== 'struct') return
  for (const field of type.fields) {
    checkColumnName(table, field.name)
    checkFields(table, field.type)
  }
}

function checkList(table: string, columns: Columns, what: string, names: readonly string[]): void {
  for (const [i, column] of names.entries()) {
    const builder = Object.hasOwn(columns, column) ? columns[column] : undefined
    if (builder === undefined) {
      const near = didYouMean(column, Object.keys(columns))
      throw new SchemaMismatchError(`${table} ${what}: no column ${JSON.stringify(column)}${near}`, { details: { table, column } })
    }
    if (names.indexOf(column) !== i) {
      throw new SchemaMismatchError(`${table} ${what}: column ${JSON.stringify(column)} is named twice`, { details: { table, column } })
    }
    const { type } = specOf(builder)
    if (valueKindOf(type) === undefined) {
      throw new UnkeyableTypeError(`${table}.${column}: ${describeType(type)} cannot be part of ${what === 'key' ? 'a key' : what}`, { details: { column } })
    }
  }
}

function columnDef(id: number, table: string, name: string, spec: ColumnSpec): ColumnDef {
  const base = { id, name, type: spec.type, nullable: spec.nullable }
  return spec.default === undefined ? base : { ...base, default: encodeDefault(table, name, spec) }
}

/** What a column of a definition carries, from its stored form. */
export function specFromField(column: Omit<ColumnDef, 'id'>): ColumnSpec {
  const children = childSpecs(column.type)
  const base: ColumnSpec = { type: column.type, nullable: column.nullable, ...(children === undefined ? {} : { children }) }
  const physical = decodeDefault(column)
  return physical === undefined ? base : { ...base, default: fromPhysical(column.type, undefined, physical) }
}

function childSpecs(type: ColumnType): readonly ColumnSpec[] | undefined {
  const fields = type.kind === 'struct' ? type.fields : type.kind === 'list' || type.kind === 'fixedSizeList' ? [type.item] : undefined
  return fields?.map((field) => {
    const children = childSpecs(field.type)
    return { type: field.type, nullable: field.nullable, ...(children === undefined ? {} : { children }) }
  })
}

/** A text that is equal for equal definitions, whatever the ids and the order of columns. */
function canonical(schema: TableSchema): string {
  const names = new Map(schema.columns.map((column) => [column.id, column.name]))
  const nameOf = (id: number): string => names.get(id) ?? ''
  const columns = schema.columns.map((column) => [column.name, sortKeys(column.type), column.nullable, sortKeys(column.default)]).toSorted(byText)
  const unique = schema.unique.map((one) => one.map(nameOf).toSorted()).toSorted(byText)
  return JSON.stringify([
    columns,
    schema.key.map(nameOf),
    unique,
    declaredIndexes(schema)
      .map((one) => one.map(nameOf))
      .toSorted(byText),
  ])
}

function byText(a: unknown, b: unknown): number {
  const [x, y] = [JSON.stringify(a), JSON.stringify(b)]
  return x < y ? -1 : x > y ? 1 : 0
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([name, item]) => [name, sortKeys(item)]),
  )
}
