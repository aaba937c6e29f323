// What diff() must tell of two versions whose models are known: exactly the keys whose rows differ, each once, with the rows of both sides.

import { expect } from 'vitest'

import type { At, ReadStore } from '../../bindings/index.ts'
import { accounts, type AnyRow, pairs, type State, text, textOf } from './store-model.ts'

export interface KnownVersion {
  readonly at: At
  readonly state: State
}

const sorted = (row: AnyRow | undefined): string => (row === undefined ? '-' : text(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1))))

/** The net effect by table and key: `kind before after`. */
function expected(from: State, to: State): Map<string, string> {
  const all = new Map<string, string>()
  for (const name of ['accounts', 'pairs'] as const) {
    const [older, newer] = [from[name] as ReadonlyMap<string, AnyRow>, to[name] as ReadonlyMap<string, AnyRow>]
    for (const key of new Set([...older.keys(), ...newer.keys()])) {
      const [before, after] = [older.get(key), newer.get(key)]
      if (sorted(before) === sorted(after)) continue
      all.set(`${name} ${key}`, `${before === undefined ? 'insert' : after === undefined ? 'delete' : 'update'} ${sorted(before)} ${sorted(after)}`)
    }
  }
  return all
}

export async function checkDiff(store: ReadStore, from: KnownVersion, to: KnownVersion): Promise<void> {
  const found = new Map<string, string>()
  for await (const change of store.diff(from.at, to.at, { tables: [accounts, pairs], images: 'both' })) {
    const key = `${change.table} ${textOf(change.table as 'accounts' | 'pairs', (change.after ?? change.key) as AnyRow)}`
    expect(found.has(key), `diff ${String(from.at)}..${String(to.at)}: ${key} once`).toBe(false)
    found.set(key, `${change.kind} ${sorted(change.before as AnyRow | undefined)} ${sorted(change.after as AnyRow | undefined)}`)
  }
  const inOrder = (map: Map<string, string>): [string, string][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1))
  expect(inOrder(found), `diff ${String(from.at)}..${String(to.at)}`).toEqual(inOrder(expected(from.state, to.state)))
}
