// Branches as plain Maps: histories of several branches as a graph of states, and the three-way merge of two of them by the table of the specification, cell by
// cell, without a look at how the store does it.

export type Row = Readonly<Record<string, unknown>>
export type Rows = ReadonlyMap<string, Row>

/** What a branch was at one point; never changed. */
export interface Node {
  readonly index: number
  readonly parents: readonly Node[]
  readonly tables: ReadonlyMap<string, Rows>
  /** Of the table without a key: texts. */
  readonly log: readonly string[]
}

export type Side = 'fail' | 'ours' | 'theirs'

export interface Merged {
  readonly tables: ReadonlyMap<string, Rows>
  readonly log: readonly string[]
  /** `table key kind`. */
  readonly conflicts: readonly string[]
}

/** A text that is equal exactly for values that are stored as the same bytes. */
export function textOf(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) =>
    typeof v === 'bigint'
      ? `${v}n`
      : typeof v === 'number'
        ? Object.is(v, -0)
          ? '-0'
          : String(v)
        : v instanceof Uint8Array || v instanceof Float32Array
          ? [...v].map((x) => textOf(x))
          : v,
  )
}

const same = (a: Row | undefined, b: Row | undefined): boolean =>
  a === undefined || b === undefined ? a === b : Object.keys(a).every((name) => textOf(a[name]) === textOf(b[name]))

function ancestors(node: Node): Set<Node> {
  const all = new Set<Node>()
  const open = [node]
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (all.has(at)) continue
    all.add(at)
    open.push(...at.parents)
  }
  return all
}

/** The common ancestors that are in no other one: more than one after merges to and fro. */
export function bases(a: Node, b: Node): Node[] {
  const theirs = ancestors(b)
  const common = [...ancestors(a)].filter((node) => theirs.has(node))
  return common.filter((node) => !common.some((other) => other !== node && ancestors(other).has(node)))
}

export const isIn = (node: Node, other: Node): boolean => ancestors(other).has(node)

export function merge(base: Node, theirs: Node, ours: Node, side: Side, byColumn: boolean): Merged {
  const conflicts: string[] = []
  const tables = new Map<string, Rows>()
  for (const [name, target] of ours.tables) {
    const [before, source] = [base.tables.get(name)!, theirs.tables.get(name)!]
    const rows = new Map(target)
    for (const key of new Set([...before.keys(), ...source.keys(), ...target.keys()])) {
      const row = mergedRow(before.get(key), source.get(key), target.get(key), side, byColumn, (kind) => conflicts.push(`${name} ${key} ${kind}`))
      if (row === undefined) rows.delete(key)
      else rows.set(key, row)
    }
    tables.set(name, rows)
  }
  const log = mergedLog(base.log, theirs.log, ours.log, side, () => conflicts.push('log  bothChanged'))
  return { tables, log, conflicts }
}

function mergedRow(
  b: Row | undefined,
  s: Row | undefined,
  t: Row | undefined,
  side: Side,
  byColumn: boolean,
  conflict: (kind: string) => void,
): Row | undefined {
  const decided = (kind: string): Row | undefined => {
    conflict(kind)
    return side === 'theirs' ? s : t
  }
  if (same(s, b)) return t
  if (same(t, b)) return s
  if (same(s, t)) return t
  if (b === undefined) return decided('bothAdded')
  if (s === undefined) return decided('deletedChanged')
  if (t === undefined) return decided('changedDeleted')
  if (!byColumn) return decided('bothChanged')
  const row: Record<string, unknown> = {}
  let isConflict = false
  for (const name of Object.keys(b)) {
    const [was, theirs, ours] = [textOf(b[name]), textOf(s[name]), textOf(t[name])]
    const both = theirs !== was && ours !== was && theirs !== ours
    isConflict ||= both
    row[name] = theirs === was ? t[name] : ours === was || (both && side === 'theirs') ? s[name] : t[name]
  }
  if (isConflict) conflict('bothChanged')
  return row
}

function mergedLog(base: readonly string[], theirs: readonly string[], ours: readonly string[], side: Side, conflict: () => void): readonly string[] {
  const [gone, removed] = [less(base, theirs), less(base, ours)]
  if (gone.length > 0 && removed.length > 0) {
    conflict()
    return side === 'theirs' ? theirs : ours
  }
  return [...less(ours, gone), ...less(theirs, base)]
}

/** As multisets. */
function less(all: readonly string[], other: readonly string[]): string[] {
  const left = new Map<string, number>()
  for (const text of other) left.set(text, (left.get(text) ?? 0) + 1)
  return all.filter((text) => {
    const count = left.get(text) ?? 0
    if (count > 0) left.set(text, count - 1)
    return count === 0
  })
}
