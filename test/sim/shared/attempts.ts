// What the processes of a simulation asked for, as data, and what they were told: to be held against the one history that the log has in the end.
//
// Invariant: an attempt is known by its writeId, which no other attempt has.

import { ConflictError } from '../../../bindings/index.ts'
import { type AnyRow, apply, type Change, keyOf, rowOf, rowsOf, type State, type TableName, textOf } from '../store-model.ts'

/** `count`: read a row, write it with n + 1. `sum`: count the events, write how many there are. */
export type Step = Change | { readonly op: 'count'; readonly key: number } | { readonly op: 'sum'; readonly key: number }

/**
 * ack: told that it is in the log. no: told, or known, that it is not and never will be. maybe: nobody said; at most once, and whole.
 * rolledBack: as no, by a record.
 */
export type Told = 'open' | 'ack' | 'no' | 'maybe' | 'rolledBack'

export interface Attempt {
  readonly writeId: string
  readonly who: string
  readonly steps: readonly Step[]
  readonly isStaged: boolean
  readonly key?: string | undefined
  /** What its store had seen when it was begun. */
  readonly startLsn: number
  told: Told
  lsn?: number
  rows?: number
  readonly conflicts: { readonly error: ConflictError; readonly headLsn: number }[]
}

/** Keys of counters are none of those that other writes use. */
export const COUNTERS: readonly number[] = [100_001, 100_002]
export const SUM = 100_010

export function counterRow(key: number, n: number): AnyRow {
  return { id: key, name: 'counter', n, tag: null }
}

/** The state after the steps; undefined: it could not follow this state. */
export function after(state: State, steps: readonly Step[]): { state: State; rows: number } | undefined {
  let at = state
  let rows = 0
  for (const step of steps) {
    const applied = step.op === 'count' || step.op === 'sum' ? { state: counted(at, step), rows: 1 } : apply(at, step)
    if (applied === undefined) return undefined
    at = applied.state
    rows += applied.rows
  }
  return { state: at, rows }
}

function counted(state: State, { op, key }: { readonly op: 'count' | 'sum'; readonly key: number }): State {
  const accounts = new Map(state.accounts as ReadonlyMap<string, AnyRow>)
  const at = textOf('accounts', keyOf('accounts', key))
  const n = op === 'sum' ? (state.events as readonly AnyRow[]).length : ((accounts.get(at)?.['n'] as number | undefined) ?? 0) + 1
  accounts.set(at, counterRow(key, n))
  return { ...state, accounts }
}

/** Keys that the steps write in a table, as they meet the state before; undefined: the table is not changed; all: a replace counts as a write of every key. */
export function keysWritten(before: State, steps: readonly Step[], name: TableName): Set<string> | 'all' | undefined {
  let keys: Set<string> | undefined
  let state = before
  for (const step of steps) {
    const next = after(state, [step])!.state
    const table = step.op === 'count' || step.op === 'sum' ? 'accounts' : step.table
    if (table === name) {
      if (step.op === 'replace' || (step.op === 'bulk' && step.how === 'replace')) return 'all'
      keys ??= new Set()
      for (const key of keysOf(state, next, step, name)) keys.add(key)
    }
    state = next
  }
  return keys
}

function keysOf(before: State, next: State, step: Step, name: TableName): Iterable<string> {
  if (name === 'events') return []
  if (step.op === 'count' || step.op === 'sum') return [textOf(name, keyOf(name, step.key))]
  const was = before[name] as ReadonlyMap<string, AnyRow>
  const is = next[name] as ReadonlyMap<string, AnyRow>
  const how = step.op === 'bulk' ? step.how : step.op
  if (how === 'deleteWhere') return [...was.keys()].filter((key) => !is.has(key))
  if (step.op === 'delete' || step.op === 'update') return step.keys.map((key) => textOf(name, rowOf(name, key, 0)))
  return rowsOf(step).map((row) => textOf(name, row))
}
