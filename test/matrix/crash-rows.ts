// The tables of the crash matrix, what a store shows of them, and the plain model that it is held against.
//
// Invariant: the model knows nothing of the store: each step of a kind changes it by its own hand, and `textOf` of both must be equal.
import { type AnyTable, type Column, eq, gt, type Store, type Table, t, table } from '../../bindings/index.ts'

type Int = Column<number, number, 'number'>
type Text = Column<string, string, 'order'>

export const docs: Table<'docs', { id: Int; n: Int; body: Text }, ['id']> = table('docs', { id: t.int32(), n: t.int32(), body: t.utf8() }, { key: ['id'] })
export const notes: Table<'notes', { n: Int; body: Text }, []> = table('notes', { n: t.int32(), body: t.utf8() })
export const stock: Table<'stock', { sku: Text; count: Int }, ['sku']> = table('stock', { sku: t.utf8(), count: t.int32() }, { key: ['sku'] })
/** With indexes that only optimize builds. */
export const docsIndexed: AnyTable = table('docs', docs.columns, { key: ['id'], index: ['n', ['body', 'n']] }) as unknown as AnyTable
/** What the kind that applies makes of them; a program with the definitions above reads and writes them as before. */
export const docsLater: AnyTable = table(
  'docs',
  { ...docs.columns, more: t.utf8().default('later') },
  { key: ['id'], unique: [['body']] },
) as unknown as AnyTable
export const stockLater: AnyTable = table(
  'stock',
  { ...stock.columns, note: t.utf8().nullable() },
  { key: ['sku'], unique: [['sku', 'count']] },
) as unknown as AnyTable
/** Made by the kind that creates tables. */
export const extra: Table<'extra', { id: Int; body: Text }, ['id']> = table('extra', { id: t.int32(), body: t.utf8() }, { key: ['id'] })
/** Of so many rows that deleting most of them is a write with files. */
export const big: Table<'big', { n: Int }, []> = table('big', { n: t.int32() })
/** Written by whoever looks whether a store takes writes. */
export const probes: Table<'probes', { n: Int }, ['n']> = table('probes', { n: t.int32() }, { key: ['n'] })

/** The branch whose rows belong to what is looked at, as the table `docs@<branch>`; others are the means of a kind. */
export const BRANCH = 'looked-at'

/** A row as text under its key; of a table without one, how often the text is there. */
export type Rows = ReadonlyMap<string, Map<string, string>>
export type Effect = (rows: Map<string, Map<string, string>>) => void

export interface Doc {
  readonly id: number
  readonly n: number
  readonly body: string
}

export function docsOf(first: number, count: number, n: number): Doc[] {
  return Array.from({ length: count }, (_, i) => ({ id: first + i, n, body: `doc ${first + i} of ${n}` }))
}

export function notesOf(first: number, count: number): { n: number; body: string }[] {
  return Array.from({ length: count }, (_, i) => ({ n: first + i, body: `note ${first + i}` }))
}

export function stockOf(first: number, count: number, each: number): { sku: string; count: number }[] {
  return Array.from({ length: count }, (_, i) => ({ sku: `sku-${first + i}`, count: each }))
}

/** Rows that are there, or are there now, under their keys. */
export function putAll(name: 'docs' | 'stock' | 'extra', rows: readonly object[]): Effect {
  return (all) => {
    const into = tableOf(all, name)
    for (const row of rows) into.set(keyOf(name, row), JSON.stringify(row))
  }
}

export function addNotes(rows: readonly object[]): Effect {
  return (all) => {
    const into = tableOf(all, 'notes')
    for (const row of rows) into.set(JSON.stringify(row), String(Number(into.get(JSON.stringify(row)) ?? 0) + 1))
  }
}

export function dropRows(name: string, which: (row: Record<string, unknown>) => boolean): Effect {
  return (all) => {
    const from = tableOf(all, name)
    for (const [key, text] of from) if (which(JSON.parse(name === 'notes' ? key : text) as Record<string, unknown>)) from.delete(key)
  }
}

export function patchDocs(ids: readonly number[], patch: Partial<Doc>): Effect {
  return (all) => {
    const into = tableOf(all, 'docs')
    for (const id of ids) {
      const there = into.get(String(id))
      if (there !== undefined) into.set(String(id), JSON.stringify({ ...(JSON.parse(there) as Doc), ...patch }))
    }
  }
}

export function empty(name: string): Effect {
  return (all) => tableOf(all, name).clear()
}

/** `big` has the rows 0 to count - 1. */
export function bigHas(count: number): Effect {
  const facts = { rows: count, sum: (count * (count - 1)) / 2, last: count - 1 }
  return (all) => void all.set('big', new Map([['all', JSON.stringify(facts)]]))
}

export function create(name: string): Effect {
  return (all) => void all.set(name, new Map())
}

export function all(...effects: readonly Effect[]): Effect {
  return (rows) => effects.forEach((effect) => effect(rows))
}

export function after(rows: Rows, effect: Effect | undefined): Rows {
  const copy = new Map([...rows].map(([name, each]) => [name, new Map(each)]))
  effect?.(copy)
  return copy
}

export function textOf(rows: Rows): string {
  return [...rows]
    .filter(([name]) => name !== 'probes')
    .map(
      ([name, each]) =>
        `${name}: ${[...each]
          .map(([key, text]) => `${key}=${text}`)
          .sort()
          .join(' ')}`,
    )
    .sort()
    .join('\n')
}

/** What the store has, by a scan; point reads and counts must agree with it. */
export async function readRows(store: Pick<Store, 'tables' | 'scan' | 'get' | 'branches'>): Promise<Rows> {
  const found = new Map<string, Map<string, string>>()
  for (const { name, rows } of await store.tables()) {
    const into = new Map<string, string>()
    found.set(name, into)
    const [def] = [docs, notes, stock, extra, big, probes].filter((each) => each.name === name)
    if (def === undefined) throw new Error(`a table nobody made: ${name}`)
    if (name === 'big') {
      into.set('all', JSON.stringify(await store.scan(big).aggregate({ rows: 'count', sum: { sum: 'n' }, last: { max: 'n' } })))
      continue
    }
    let seen = 0
    for await (const row of store.scan(def).rows()) {
      seen++
      if (name === 'notes') addNotes([row])(found)
      else {
        const key = keyOf(name, row)
        if (into.has(key)) throw new Error(`${name} has two rows of key ${key}`)
        into.set(key, JSON.stringify(row))
      }
    }
    if (seen !== rows) throw new Error(`${name}: ${seen} rows in a scan, ${rows} counted`)
  }
  for (const { name } of (await store.branches()).filter((each) => each.name === BRANCH)) {
    const into = new Map<string, string>()
    found.set(`docs@${name}`, into)
    for await (const row of store.scan(docs, { at: name }).rows()) {
      if (into.has(keyOf('docs', row))) throw new Error(`docs of ${name} has two rows of key ${keyOf('docs', row)}`)
      into.set(keyOf('docs', row), JSON.stringify(row))
    }
  }
  const one = found.get('docs')?.values().next().value
  if (one !== undefined) {
    const { id } = JSON.parse(one) as Doc
    if (JSON.stringify(await store.get(docs, id)) !== one) throw new Error(`docs: a get of ${id} tells another row than a scan`)
    const wide = [...found.get('docs')!.values()].filter((text) => (JSON.parse(text) as Doc).n > 2).length
    if ((await store.scan(docs, { where: gt('n', 2) }).count()) !== wide) throw new Error('docs: a count tells another number than a scan')
    if ((await store.scan(docs, { where: eq('id', id) }).count()) !== 1) throw new Error(`docs: key ${id} is not found by a count`)
  }
  return found
}

function tableOf(all: Map<string, Map<string, string>>, name: string): Map<string, string> {
  const found = all.get(name)
  if (found === undefined) throw new Error(`no table ${name} in the model`)
  return found
}

function keyOf(name: string, row: object): string {
  const { id, sku, n } = row as { id?: number; sku?: string; n?: number }
  return String(name === 'stock' ? sku : name === 'probes' ? n : id)
}
