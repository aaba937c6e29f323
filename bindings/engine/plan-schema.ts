// engine/plan-schema.ts: from the definitions that a store has to those that are wanted: steps, and the record that makes them (recovery.md section 14). Pure.
//
// Tables and columns are matched by name, else by `renamedFrom`; identity is the id behind it, which a rename keeps and a drop retires. No step rewrites a row:
// what is stored is read through the newest definition (table/column-fit.ts). What existing rows must pass is left as `checks`.
// Invariant: whatever cannot be done, or would lose something unasked, is refused here; a plan only fails for rows that do not pass its checks.

import { DataLossRefusedError, InvalidConfigError, SchemaConflictError, UnsupportedMigrationError } from '../errors.ts'
import { canonicalJson, type ColumnDef, type ColumnType, type TableSchema } from '../format/index.ts'
import { type AnyTable, definitionOf, describeType, sameDefinition, schemaFromDefinition, type SchemaPlan, specOf, widened } from '../table/index.ts'

export type SchemaStep = SchemaPlan['steps'][number]

/** What the rows that are there must pass. */
export type SchemaCheck = NotNullCheck | UniqueCheck

/** Every live row has a value in the column. */
export interface NotNullCheck {
  readonly tableId: number
  readonly step: SchemaStep
  readonly column: ColumnDef
}

/** No two live rows have one tuple of these columns, which are there already. None: there is one row at most. */
export interface UniqueCheck {
  readonly tableId: number
  readonly step: SchemaStep
  readonly unique: readonly number[]
}

export interface SchemaChange {
  readonly steps: readonly SchemaStep[]
  readonly create: readonly TableSchema[]
  readonly alter: readonly TableSchema[]
  readonly drop: readonly number[]
  readonly checks: readonly SchemaCheck[]
}

export interface PlanOptions {
  /** Names of tables to drop; one that is not there is dropped already. */
  readonly drop?: readonly string[] | undefined
  readonly allowDataLoss?: boolean | undefined
  /** Id of the first new table. */
  readonly nextTableId: number
}

/** What a store has: every version of each definition, ascending. */
export type Accepted = readonly (readonly TableSchema[])[]

/**
 * What must change so that the store has these definitions; tables not named stay.
 *
 * @throws UnsupportedMigrationError, DataLossRefusedError, SchemaConflictError, InvalidConfigError
 */
export function planSchema(accepted: Accepted, wanted: readonly AnyTable[], o: PlanOptions): SchemaChange {
  const there = new Map(accepted.map((schemas) => [schemas.at(-1)!.name, schemas]))
  const tables = distinct(wanted)
  const claims = claimsOf(tables, there)
  const drop = [...new Set(o.drop ?? [])]
  const plan: Mutable = { steps: [], create: [], alter: [], drop: [], checks: [] }
  for (const name of drop) {
    if (tables.has(name) || claims.has(name))
      throw new InvalidConfigError(`table ${name} is both defined and dropped`, { details: { key: 'drop', value: name } })
  }
  for (const [name, table] of tables) {
    const schemas =
      claims.get(definitionOf(table).renamedFrom ?? '')?.name === name
        ? there.get(definitionOf(table).renamedFrom!)!
        : claims.has(name)
          ? undefined
          : there.get(name)
    if (schemas === undefined) {
      const schema = schemaFromDefinition(table, o.nextTableId + plan.create.length)
      plan.steps.push(step(name, 'addTable'))
      plan.create.push(schema)
    } else planTable(plan, table, schemas)
  }
  for (const name of drop) {
    const schemas = there.get(name)
    if (schemas === undefined) continue
    plan.steps.push(step(name, 'dropTable', undefined, true))
    plan.drop.push(schemas.at(-1)!.tableId)
  }
  const lossy = plan.steps.filter(({ losesData }) => losesData)
  if (lossy.length > 0 && o.allowDataLoss !== true) {
    throw new DataLossRefusedError(`${lossy.map((each) => describeStep(each)).join(', ')} would lose data`, { details: { steps: lossy } })
  }
  return plan
}

/** `dropColumn flights.delay` */
export function describeStep({ table, kind, column }: Pick<SchemaStep, 'table' | 'kind' | 'column'>): string {
  return `${kind} ${table}${column === undefined ? '' : `.${column}`}`
}

/**
 * Rows written through `from` are rows of `to` as they are: nothing was tightened between the two versions of one table. Whatever was prepared against `from` may
 * still be published.
 */
export function isCompatible(from: TableSchema, to: TableSchema): boolean {
  if (from.version >= to.version) return true
  const before = new Map(from.columns.map((column) => [column.id, column]))
  const uniques = new Set(from.unique.map((ids) => sortedIds(ids)))
  return to.columns.every(({ id, nullable }) => nullable || before.get(id)?.nullable !== true) && to.unique.every((ids) => uniques.has(sortedIds(ids)))
}

interface Mutable {
  readonly steps: SchemaStep[]
  readonly create: TableSchema[]
  readonly alter: TableSchema[]
  readonly drop: number[]
  readonly checks: SchemaCheck[]
}

function step(table: string, kind: string, column?: string, losesData = false): SchemaStep {
  return { table, kind, ...(column === undefined ? {} : { column }), rewrites: false, losesData }
}

function distinct(wanted: readonly AnyTable[]): ReadonlyMap<string, AnyTable> {
  const tables = new Map<string, AnyTable>()
  for (const table of wanted) {
    const { name } = definitionOf(table)
    const twin = tables.get(name)
    if (twin === undefined) tables.set(name, table)
    else if (!sameDefinition(table, schemaFromDefinition(twin, 1))) throw conflict(`table ${name} is defined twice`, name)
  }
  return tables
}

/** Names of tables that get another name, with the definition that takes them. */
function claimsOf(tables: ReadonlyMap<string, AnyTable>, there: ReadonlyMap<string, unknown>): ReadonlyMap<string, AnyTable> {
  const claims = new Map<string, AnyTable>()
  for (const table of tables.values()) {
    const { name, renamedFrom } = definitionOf(table)
    // A name that is there already was renamed before.
    if (renamedFrom === undefined || there.has(name) || !there.has(renamedFrom)) continue
    const other = claims.get(renamedFrom)
    if (other !== undefined) throw conflict(`tables ${other.name} and ${name} are both renamed from ${renamedFrom}`, name)
    claims.set(renamedFrom, table)
  }
  return claims
}

function planTable(plan: Mutable, table: AnyTable, schemas: readonly TableSchema[]): void {
  const old = schemas.at(-1)!
  const { name } = definitionOf(table)
  const wanted = schemaFromDefinition(table, old.tableId)
  const steps: SchemaStep[] = []
  const checks: SchemaCheck[] = []
  if (old.name !== name) steps.push(step(name, 'renameTable'))
  const sources = columnSources(table, old)
  let nextId = Math.max(...schemas.flatMap(({ columns }) => columns.map(({ id }) => id))) + 1
  const kept = new Map<number, ColumnDef>()
  const added: ColumnDef[] = []
  // From the ids of the definition (places) to stored ones.
  const ids = new Map<number, number>()
  for (const column of wanted.columns) {
    const source = sources.get(column.name)
    if (source === undefined) {
      if (!column.nullable && column.default === undefined) {
        throw unsupported(step(name, 'addColumn', column.name), 'rows that are there would have no value: make it nullable, or give it a default')
      }
      ids.set(column.id, nextId)
      added.push({ ...column, id: nextId++ })
      steps.push(step(name, 'addColumn', column.name))
      continue
    }
    ids.set(column.id, source.id)
    kept.set(source.id, changeColumn(name, old, source, column, steps, checks))
  }
  for (const column of old.columns) if (!kept.has(column.id)) steps.push(step(name, 'dropColumn', column.name, true))
  const mapped = (list: readonly number[]): number[] => list.map((id) => ids.get(id)!)
  const key = mapped(wanted.key)
  if (key.join() !== old.key.join()) throw unsupported(step(name, 'changeKey'), 'the key of a table stays')
  const unique = wanted.unique.map(mapped)
  const index = wanted.index.map((each) => (typeof each === 'number' ? ids.get(each)! : mapped(each)))
  listSteps(steps, checks, name, old, unique, index, [...kept.values(), ...added])
  if (steps.length === 0) return
  const columns = [...old.columns.flatMap(({ id }) => kept.get(id) ?? []), ...added]
  plan.steps.push(...steps)
  plan.checks.push(...checks)
  plan.alter.push({ tableId: old.tableId, version: old.version + 1, name, columns, key, unique, index } as TableSchema)
}

/** The stored column behind each column of the definition that has one. */
function columnSources(table: AnyTable, old: TableSchema): ReadonlyMap<string, ColumnDef> {
  const { name, columns } = definitionOf(table)
  const stored = new Map(old.columns.map((column) => [column.name, column]))
  const sources = new Map<string, ColumnDef>()
  const claimed = new Map<string, string>()
  for (const [column, builder] of Object.entries(columns)) {
    const { renamedFrom } = specOf(builder)
    if (renamedFrom === undefined || stored.has(column) || !stored.has(renamedFrom)) continue
    if (claimed.has(renamedFrom))
      throw conflict(`${name}: columns ${claimed.get(renamedFrom)} and ${column} are both renamed from ${renamedFrom}`, name, column)
    claimed.set(renamedFrom, column)
    sources.set(column, stored.get(renamedFrom)!)
  }
  for (const column of Object.keys(columns)) if (stored.has(column) && !claimed.has(column)) sources.set(column, stored.get(column)!)
  return sources
}

function changeColumn(table: string, schema: TableSchema, old: ColumnDef, wanted: ColumnDef, steps: SchemaStep[], checks: SchemaCheck[]): ColumnDef {
  const { name } = wanted
  if (old.name !== name) steps.push(step(table, 'renameColumn', name))
  let from = old
  if (canonicalJson(old.type) !== canonicalJson(wanted.type)) {
    const wide = widened(old, wanted.type)
    if (wide === undefined) throw unsupported(step(table, isNarrower(old.type, wanted.type) ? 'narrow' : 'retype', name), typesOf(old.type, wanted.type))
    // Keys are the same values under either integer or float type; days and instants are not.
    if (old.type.kind !== wanted.type.kind && [...schema.key, ...schema.unique.flat()].includes(old.id)) {
      throw unsupported(step(table, 'retype', name), `${typesOf(old.type, wanted.type)} in a key`)
    }
    steps.push(step(table, 'widen', name))
    from = wide
  }
  if (!old.nullable && wanted.nullable) steps.push(step(table, 'allowNull', name))
  if (old.nullable && !wanted.nullable) {
    const forbid = step(table, 'forbidNull', name)
    steps.push(forbid)
    checks.push({ tableId: schema.tableId, step: forbid, column: old })
  }
  const { default: _default, initial: _initial, ...rest } = from
  const next = { ...rest, name, type: wanted.type, nullable: wanted.nullable, ...(wanted.default === undefined ? {} : { default: wanted.default }) }
  const isSame = canonicalJson(from.default ?? null) === canonicalJson(wanted.default ?? null)
  if (!isSame) steps.push(step(table, 'setDefault', name))
  // Rows older than the column go on reading what it was added with.
  if (from.initial !== undefined) return { ...next, initial: from.initial }
  return isSame ? next : { ...next, initial: from.default ?? null }
}

function listSteps(
  steps: SchemaStep[],
  checks: SchemaCheck[],
  table: string,
  old: TableSchema,
  unique: readonly (readonly number[])[],
  index: readonly (number | readonly number[])[],
  columns: readonly ColumnDef[],
): void {
  const nameOf = (id: number): string => [...columns, ...old.columns].find((column) => column.id === id)?.name ?? String(id)
  const names = (ids: readonly number[]): string => ids.map((id) => nameOf(id)).join(', ')
  const uniqueBefore = new Map(old.unique.map((ids) => [sortedIds(ids), ids]))
  const uniqueNow = new Map(unique.map((ids) => [sortedIds(ids), ids]))
  for (const [ids, list] of uniqueNow) {
    if (uniqueBefore.has(ids)) continue
    const add = step(table, 'addUnique', names(list))
    steps.push(add)
    const there = list.filter((id) => old.columns.some((column) => column.id === id))
    // Older rows have one and the same value in a new column; null exempts them.
    const isExempt = columns.some(({ id, default: value }) => list.includes(id) && !there.includes(id) && value === undefined)
    if (!isExempt) checks.push({ tableId: old.tableId, step: add, unique: there })
  }
  for (const [ids, list] of uniqueBefore) if (!uniqueNow.has(ids)) steps.push(step(table, 'dropUnique', names(list)))
  const asList = (each: number | readonly number[]): readonly number[] => (typeof each === 'number' ? [each] : each)
  const indexBefore = new Map((old.index as readonly (number | readonly number[])[]).map((each) => [asList(each).join(), asList(each)]))
  const indexNow = new Map(index.map((each) => [asList(each).join(), asList(each)]))
  for (const [ids, list] of indexNow) if (!indexBefore.has(ids)) steps.push(step(table, 'addIndex', names(list)))
  for (const [ids, list] of indexBefore) if (!indexNow.has(ids)) steps.push(step(table, 'dropIndex', names(list)))
}

function sortedIds(ids: readonly number[]): string {
  return ids.toSorted((a, b) => a - b).join()
}

function isNarrower(from: ColumnType, to: ColumnType): boolean {
  return widened({ id: 0, name: '', nullable: true, type: to }, from) !== undefined && to.kind !== 'utf8'
}

function typesOf(from: ColumnType, to: ColumnType): string {
  return `${describeType(from)} to ${describeType(to)}`
}

function unsupported(one: SchemaStep, why: string): UnsupportedMigrationError {
  const { table, kind, column } = one
  return new UnsupportedMigrationError(`${describeStep(one)}: ${why}`, { details: { step: { table, kind, ...(column === undefined ? {} : { column }) } } })
}

function conflict(message: string, table: string, column?: string): SchemaConflictError {
  return new SchemaConflictError(message, { details: { table, column } })
}
