// What a store must hold, as plain Maps: the operations of a history as data, their effect on the model, and the comparison of a reader with it.
//
// Every test that needs "the right answer" (property, fault, power cut, damage) takes it from here. Keyed tables are Maps by the text of the key, the
// unkeyed one is a list compared without order.

import { expect } from 'vitest'

import {
  and,
  columns,
  eq,
  gte,
  isNull,
  type KeyedTable,
  lt,
  type ReadStore,
  type Snapshot,
  type Store,
  t,
  table,
  type Transaction,
  type WriteOptions,
} from '../../bindings/index.ts'

// One loose type for all: what is checked here are bytes, not types (those have tests of their own).
type Loose = KeyedTable & { readonly columns: Readonly<Record<string, unknown>> }

export const accounts: Loose = table(
  'accounts',
  { id: t.int32(), name: t.utf8(), n: t.int32().nullable(), tag: t.utf8().dictionary().nullable() },
  // Holds whatever is written, and is checked, indexed and sealed with every write; rows without an n are exempt.
  { key: ['id'], unique: [['n', 'id']] },
) as never
export const pairs: Loose = table(
  'pairs',
  { a: t.utf8(), b: t.int64(), v: t.float64().nullable(), flag: t.bool() },
  { key: ['a', 'b'], index: ['v', ['flag', 'b']] },
) as never
export const events: Loose = table('events', { at: t.int64(), kind: t.utf8(), n: t.int32().nullable() }) as never

export type TableName = 'accounts' | 'pairs' | 'events'
export const TABLES: Readonly<Record<TableName, Loose>> = { accounts, pairs, events }
const KEYS: Readonly<Record<TableName, readonly string[]>> = { accounts: ['id'], pairs: ['a', 'b'], events: [] }
export type AnyRow = Record<string, unknown>
export const NAMES: readonly TableName[] = ['accounts', 'pairs', 'events']

export type Form = 'rows' | 'columns' | 'stream'

/** One change of one table; rows are made from small numbers, so that scripts shrink and print well. */
export type Change =
  | { readonly op: 'upsert' | 'append' | 'replace'; readonly table: TableName; readonly keys: readonly number[]; readonly salt: number; readonly form: Form }
  | {
      readonly op: 'bulk'
      readonly how: 'upsert' | 'append' | 'replace'
      readonly table: TableName
      readonly start: number
      readonly count: number
      readonly salt: number
      readonly form: 'columns' | 'stream'
    }
  | { readonly op: 'update'; readonly table: 'accounts' | 'pairs'; readonly keys: readonly number[]; readonly salt: number }
  | { readonly op: 'delete'; readonly table: 'accounts' | 'pairs'; readonly keys: readonly number[] }
  | { readonly op: 'deleteWhere'; readonly table: TableName; readonly below: number | null }

export type State = { readonly [T in TableName]: ReadonlyMap<string, AnyRow> | readonly AnyRow[] }

const WORDS = ['', 'ash', 'birch', 'cedar', 'dune', 'élan', '\u{10000}']

/** The row of a small number: the same number and table give the same key, the salt decides about the rest. */
export function rowOf(name: TableName, key: number, salt: number): AnyRow {
  const mixed = (key * 31 + salt * 17) % 97
  const n = mixed % 5 === 0 ? null : mixed - 40
  if (name === 'accounts') return { id: key, name: `${WORDS[mixed % WORDS.length]}-${salt}`, n, tag: mixed % 4 === 0 ? null : WORDS[salt % WORDS.length]! }
  if (name === 'pairs') return { a: WORDS[key % WORDS.length]!, b: BigInt(Math.floor(key / WORDS.length)), v: n === null ? null : n / 4, flag: mixed % 2 === 0 }
  return { at: BigInt(key), kind: WORDS[mixed % WORDS.length]!, n }
}

export function keyOf(name: TableName, key: number): AnyRow {
  const row = rowOf(name, key, 0)
  return Object.fromEntries(KEYS[name].map((column) => [column, row[column]]))
}

/** The key of a row as a text. */
export const textOf = (name: TableName, row: AnyRow): string => text(KEYS[name].map((column) => row[column]))

/** A text equal exactly for equal values. */
export function text(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v instanceof Uint8Array ? [...v] : v))
}

export const EMPTY: State = { accounts: new Map(), pairs: new Map(), events: [] }

export function rowsOf(change: Change): AnyRow[] {
  if (change.op === 'bulk') return Array.from({ length: change.count }, (_, i) => rowOf(change.table, change.start + i, change.salt))
  if (change.op === 'upsert' || change.op === 'append' || change.op === 'replace') return change.keys.map((key) => rowOf(change.table, key, change.salt))
  return []
}

const valueColumn = (name: TableName): string => (name === 'pairs' ? 'v' : 'n')

export interface Applied {
  readonly state: State
  /** What the store reports as `rows`. */
  readonly rows: number
}

/** The state after a change; undefined: a key is there twice. */
export function apply(state: State, change: Change): Applied | undefined {
  const name = change.table
  const how = change.op === 'bulk' ? change.how : change.op
  if (name === 'events') {
    const before = state.events as readonly AnyRow[]
    const given = rowsOf(change)
    if (how === 'deleteWhere') {
      const kept = before.filter((row) => !isBelow(name, row, (change as Change & { op: 'deleteWhere' }).below))
      return { state: { ...state, events: kept }, rows: before.length - kept.length }
    }
    if (how === 'replace') return { state: { ...state, events: given }, rows: given.length + before.length }
    return { state: { ...state, events: [...before, ...given] }, rows: given.length }
  }
  const before = state[name] as ReadonlyMap<string, AnyRow>
  const after = new Map(how === 'replace' ? [] : before)
  let rows = 0
  if (change.op === 'delete') {
    for (const key of new Set(change.keys)) if (after.delete(textOf(name, keyOf(name, key)))) rows++
  } else if (change.op === 'deleteWhere') {
    for (const [key, row] of before) if (isBelow(name, row, change.below) && after.delete(key)) rows++
  } else if (change.op === 'update') {
    for (const key of new Set(change.keys)) {
      const at = textOf(name, keyOf(name, key))
      const old = after.get(at)
      if (old === undefined) continue
      after.set(at, { ...old, ...patchOf(name, key, change.salt) })
      rows++
    }
  } else {
    const given = rowsOf(change)
    const seen = new Set<string>()
    for (const row of given) {
      const at = textOf(name, row)
      if (how !== 'upsert' && (seen.has(at) || (how === 'append' && before.has(at)))) return undefined
      seen.add(at)
      after.set(at, row)
    }
    rows = seen.size + (how === 'replace' ? before.size : 0)
  }
  return { state: { ...state, [name]: after }, rows }
}

/** Key and one column. */
export function patchOf(name: 'accounts' | 'pairs', key: number, salt: number): AnyRow {
  const row = rowOf(name, key, salt)
  return { ...keyOf(name, key), [valueColumn(name)]: row[valueColumn(name)] }
}

function isBelow(name: TableName, row: AnyRow, below: number | null): boolean {
  const value = row[valueColumn(name)] as number | null
  return below === null ? value === null : value !== null && value < below
}

export function whereOf(name: TableName, below: number | null): never {
  return (below === null ? isNull(valueColumn(name) as never) : lt(valueColumn(name) as never, below as never)) as never
}

type Write = (table: Loose, data: unknown, o?: WriteOptions) => Promise<{ lsn: bigint; rows: number; time: Date }>

/** Perform a change on a store. */
export function perform(store: Store, change: Change, o?: WriteOptions): Promise<{ lsn: bigint; rows: number; time: Date }> {
  const definition = TABLES[change.table]
  switch (change.op) {
    case 'update':
      return store.update(definition, change.keys.map((key) => patchOf(change.table, key, change.salt)) as never, o)
    case 'delete':
      return store.delete(definition, change.keys.map((key) => keyOf(change.table, key)) as never, o)
    case 'deleteWhere':
      return store.deleteWhere(definition, whereOf(change.table, change.below), o)
    default: {
      const how = change.op === 'bulk' ? change.how : change.op
      return (store[how] as Write)(definition, dataOf(change), o)
    }
  }
}

/** The same inside a transaction. */
export async function performIn(tx: Transaction, change: Change): Promise<number | undefined> {
  const definition = TABLES[change.table]
  switch (change.op) {
    case 'update':
      return tx.update(definition, change.keys.map((key) => patchOf(change.table, key, change.salt)) as never)
    case 'delete':
      return void tx.delete(definition, change.keys.map((key) => keyOf(change.table, key)) as never)
    case 'deleteWhere':
      return tx.deleteWhere(definition, whereOf(change.table, change.below))
    default: {
      const how = change.op === 'bulk' ? change.how : change.op
      return void (tx[how] as (table: Loose, data: unknown) => void)(definition, change.form === 'columns' ? dataOf(change) : rowsOf(change))
    }
  }
}

export function dataOf(change: Change): unknown {
  const rows = rowsOf(change)
  const form = (change as { form: Form }).form
  if (form === 'rows') return rows
  if (form === 'stream') return pieces(rows)
  const names = Object.keys(TABLES[change.table].columns)
  return columns(Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name])])))
}

async function* pieces(rows: readonly AnyRow[]): AsyncGenerator<AnyRow[]> {
  for (let at = 0; at < rows.length; at += 100) yield rows.slice(at, at + 100)
}

// comparing

export function stateRows(state: State, name: TableName): readonly AnyRow[] {
  const rows = state[name]
  return Array.isArray(rows) ? (rows as readonly AnyRow[]) : [...(rows as ReadonlyMap<string, AnyRow>).values()]
}

const sorted = (name: TableName, rows: readonly AnyRow[]): string[] => rows.map((row) => rowText(name, row)).sort()

/** Rows of the readable tables as texts, for a comparison of whole states. */
export function stateText(state: State): string {
  return text(NAMES.map((name) => stateTexts(state, name)))
}

/** As expect(got).toEqual(right), but cheap while all is well. */
export function same(got: unknown, right: unknown, label: string): void {
  if (text(got) !== text(right)) expect(got, label).toEqual(right)
}

const COLUMNS: Readonly<Record<TableName, readonly string[]>> = {
  accounts: ['id', 'name', 'n', 'tag'],
  pairs: ['a', 'b', 'v', 'flag'],
  events: ['at', 'kind', 'n'],
}

/** A row as a text, equal exactly for equal rows of that table: a missing or further column shows. */
export function rowText(name: TableName, row: AnyRow | undefined): string {
  if (row === undefined) return 'nothing'
  const columns = COLUMNS[name]
  let out = ''
  for (const column of columns) {
    const value = row[column]
    out += typeof value === 'string' ? `"${value}"|` : typeof value === 'bigint' ? `${value}n|` : `${String(value)}|`
  }
  return Object.keys(row).length === columns.length ? out : `${out} of ${Object.keys(row).join()}`
}

const sortedTexts = new WeakMap<object, string[]>()

/** Rows of a model state as sorted texts; states share tables, so each is made once. */
function stateTexts(state: State, name: TableName): string[] {
  let texts = sortedTexts.get(state[name])
  if (texts === undefined) sortedTexts.set(state[name], (texts = sorted(name, stateRows(state, name))))
  return texts
}

function sameRows(name: TableName, got: readonly AnyRow[], right: readonly string[], label: string): void {
  const texts = sorted(name, got)
  if (texts.length !== right.length || texts.some((each, i) => each !== right[i])) expect(texts, label).toEqual(right)
}

type Readable = Pick<ReadStore, 'get' | 'getMany' | 'has' | 'scan'> & Partial<Pick<Snapshot, 'getSync'>>

/** Keys looked up one by one in each comparison of a table. */
const KEYS_COMPARED = 120

/** Every way to read gives what the model has. `light`: rows and counts only. */
export async function compare(reader: Readable, state: State, what: string, o: { at?: never; light?: boolean; keys?: readonly number[] } = {}): Promise<void> {
  const at = o.at === undefined ? {} : { at: o.at }
  for (const name of NAMES) {
    const definition = TABLES[name]
    const expected = stateRows(state, name)
    const label = `${what}: ${name}`
    const got = (await reader.scan(definition, at).toArray()) as unknown as AnyRow[]
    sameRows(name, got, stateTexts(state, name), `${label}, rows`)
    same(await reader.scan(definition, at).count(), expected.length, `${label}, count`)
    if (o.light === true) continue
    await compareScans(reader, definition, name, expected, at, label)
    if (name !== 'events') await compareKeys(reader, definition, name, expected, at, label, o.keys ?? [0, 1, 7, 40, 99, 1000])
  }
}

async function compareScans(reader: Readable, definition: Loose, name: TableName, expected: readonly AnyRow[], at: object, label: string): Promise<void> {
  const column = valueColumn(name) as 'n'
  const values = expected.map((row) => row[column] as number | null).filter((value) => value !== null)
  const sums = (await reader
    .scan(definition, at)
    .aggregate({ rows: 'count', values: { count: column }, sum: { sum: column }, low: { min: column }, high: { max: column } } as never)) as AnyRow
  const right = {
    rows: expected.length,
    values: values.length,
    sum: values.reduce((sum, value) => sum + value, 0),
    low: values.length === 0 ? null : Math.min(...values),
    high: values.length === 0 ? null : Math.max(...values),
  }
  same(sums, right, `${label}, aggregates`)
  const limit = name === 'pairs' ? -1.5 : -5
  const wanted = expected.filter((row) => row[column] !== null && (row[column] as number) >= limit && (row[column] as number) < -limit)
  const filtered = (await reader
    .scan(definition, { ...at, where: and(gte(column as never, limit as never), lt(column as never, -limit as never)) as never })
    .toArray()) as unknown as AnyRow[]
  sameRows(name, filtered, sorted(name, wanted), `${label}, filtered`)
  const none = expected.filter((row) => row[column] === null)
  same(await reader.scan(definition, { ...at, where: isNull(column as never) as never }).count(), none.length, `${label}, nulls`)
}

async function compareKeys(
  reader: Readable,
  definition: Loose,
  name: 'accounts' | 'pairs' | 'events',
  expected: readonly AnyRow[],
  at: object,
  label: string,
  extra: readonly number[],
): Promise<void> {
  const byKey = new Map(expected.map((row) => [textOf(name, row), row]))
  // Of a large table some, others each time.
  const stride = Math.ceil(expected.length / KEYS_COMPARED)
  const some = expected.filter((_, i) => (i + expected.length) % stride === 0)
  const wanted = [...some.map((row) => Object.fromEntries(KEYS[name].map((column) => [column, row[column]]))), ...extra.map((key) => keyOf(name, key))]
  const rows = await reader.getMany(definition, wanted as never, at)
  for (let i = 0; i < wanted.length; i++) {
    const found = byKey.get(textOf(name, wanted[i]!))
    const right = rowText(name, found)
    const check = (row: unknown, how: string): void => {
      if (rowText(name, row as AnyRow | undefined) !== right) expect(row, `${label}, ${how} of ${text(wanted[i])}`).toEqual(found)
    }
    check(rows[i], 'getMany')
    if (i % 7 === 0 || i >= some.length) {
      check(await reader.get(definition, wanted[i] as never, at), 'get')
      same(await reader.has(definition, wanted[i] as never, at), found !== undefined, `${label}, has`)
      if (reader.getSync !== undefined) check(reader.getSync(definition, wanted[i] as never), 'getSync')
    }
    if (i < 3 && name === 'accounts' && found !== undefined) {
      const scanned = (await reader.scan(definition, { ...at, where: eq('id' as never, found['id'] as never) as never }).toArray()) as unknown as AnyRow[]
      sameRows(name, scanned, [right], `${label}, scan by key`)
    }
  }
}
