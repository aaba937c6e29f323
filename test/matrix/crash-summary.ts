// The cells of the crash matrix: which there are, which of them run by default, and what they came to as a table that is kept beside the test.
//
// Invariant: which cells are chosen depends on their own names alone, so that a new point or kind moves no other.
import { FAILPOINTS, type FailpointName, PLANNED } from '../../bindings/runtime/index.ts'
import { type Cell, FAULTS, FINDS, type Fault, type Found } from './crash-cell.ts'
import type { Layout, Passed } from './crash-ground.ts'
import { hash } from './crash-hash.ts'
import type { Kind } from './crash-kinds.ts'

export type PassedBy = ReadonlyMap<Layout, Passed>

/** Every cell of a kind: each point that it passes, at its first, middle and last arrival. */
export function cellsOf(kind: Kind, passed: PassedBy): Cell[] {
  const cells: Cell[] = []
  for (const [layout, { arrivals, wraps }] of passed) {
    for (const point of FAILPOINTS) {
      const count = arrivals.get(point) ?? 0
      if (count === 0) continue
      for (const arrival of new Set([0, count >> 1, count - 1])) {
        for (const fault of FAULTS) {
          if (fault === 'lost' && !wraps.has(point)) continue
          for (const find of FINDS) cells.push({ kind, layout, point, arrival, fault, find })
        }
      }
    }
  }
  return cells
}

/** One of each kind, point and fault; of a kill two. */
export function chosen(cells: readonly Cell[]): Cell[] {
  const byFault = new Map<string, Cell[]>()
  for (const cell of cells) {
    const key = `${cell.kind.name} ${cell.point} ${cell.fault}`
    byFault.set(key, [...(byFault.get(key) ?? []), cell])
  }
  return [...byFault].flatMap(([key, of]) => {
    const first = oneOf(key, of)
    const second = of[0]!.fault === 'killed' ? oneOf(`${key} again`, of) : first
    return first === second ? [first] : [first, second]
  })
}

/** Layout, arrival and finding each by a hash of its own, so that their number does not decide which go together. */
function oneOf(key: string, of: readonly Cell[]): Cell {
  const layout = pick(key, 'layout', [...new Set(of.map((cell) => cell.layout))])
  const there = of.filter((cell) => cell.layout === layout)
  const arrivals = [...new Set(there.map((cell) => cell.arrival))]
  const arrival = arrivals[hash(`${key} arrival`) % 3] ?? arrivals[0]
  const find = pick(key, 'find', FINDS)
  return there.find((cell) => cell.arrival === arrival && cell.find === find)!
}

function pick<T>(key: string, what: string, from: readonly T[]): T {
  return from[hash(`${key} ${what}`) % from.length]!
}

export interface Result {
  readonly cell: Cell
  readonly found?: Found
  readonly error?: unknown
}

export function nameOfCell({ kind, layout, point, arrival, fault, find }: Cell): string {
  return `${kind.name} | ${layout} | ${point} #${arrival} | ${fault} | ${find}`
}

const STATES = ['before', 'after', 'sealed', 'same'] as const

/** Per kind and point what was told and found; then what no kind passes; then the total. */
export function summary(kinds: readonly { readonly kind: Kind; readonly passed: PassedBy }[], results: readonly Result[]): string {
  const lines: string[] = []
  const everywhere = new Set<FailpointName>()
  for (const { kind, passed } of kinds) {
    const points = FAILPOINTS.filter((point) => [...passed.values()].some(({ arrivals }) => arrivals.has(point)))
    for (const point of points) everywhere.add(point)
    const own = results.filter(({ cell }) => cell.kind === kind)
    lines.push(`${kind.name}: ${points.length} points, ${own.length} cells, ${[...passed.keys()].join(' ')}`)
    for (const point of points) {
      const at = own.filter(({ cell }) => cell.point === point)
      if (at.length > 0) lines.push(`  ${point.padEnd(24)} ${tally(at)}`)
    }
    lines.push(`  not passed: ${grouped(FAILPOINTS.filter((point) => !points.includes(point) && !PLANNED.has(point)))}`)
  }
  lines.push('', `passed by no kind: ${grouped(FAILPOINTS.filter((point) => !everywhere.has(point) && !PLANNED.has(point)))}`, '', total(results))
  return `${lines.join('\n')}\n`
}

export function total(results: readonly Result[]): string {
  const counts = new Map<string, number>()
  for (const { found } of results) {
    const state = found === undefined ? 'red' : (STATES as readonly string[]).includes(found.state) ? found.state : 'in part'
    counts.set(state, (counts.get(state) ?? 0) + 1)
  }
  const told = results.filter(({ found }) => found !== undefined && found.told !== 'ok' && found.told !== 'killed').length
  const texts: Readonly<Record<string, string>> = {
    before: 'as before',
    after: 'as after',
    sealed: 'sealed',
    same: 'without a difference to see',
    'in part': 'after some of the commits',
    red: 'red',
  }
  const parts = Object.entries(texts).flatMap(([state, text]) => (counts.has(state) ? [`${counts.get(state)} ${text}`] : []))
  return `${results.length} cells: ${parts.join(', ')}; ${told} callers were told an error`
}

function tally(results: readonly Result[]): string {
  const counts = new Map<string, number>()
  const order: Record<Fault, number> = { killed: 0, error: 1, lost: 2 }
  for (const { cell, found } of results.toSorted((a, b) => order[a.cell.fault] - order[b.cell.fault])) {
    const told = found === undefined ? 'red' : cell.fault === 'killed' ? 'killed' : `${cell.fault}, ${found.told}`
    const key = `${told}: ${found?.state ?? ''}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return [...counts].map(([what, count]) => `${what}${count === 1 ? '' : ` x${count}`}`).join(' | ')
}

/** `log.{roll,trim} sweep.*` */
function grouped(points: readonly FailpointName[]): string {
  const groups = new Map<string, string[]>()
  for (const point of points) {
    const [group, name] = point.split('.') as [string, string]
    groups.set(group, [...(groups.get(group) ?? []), name])
  }
  if (groups.size === 0) return 'none'
  const sizeOf = (group: string): number => FAILPOINTS.filter((point) => point.startsWith(`${group}.`) && !PLANNED.has(point)).length
  return [...groups].map(([group, names]) => (names.length === sizeOf(group) ? `${group}.*` : `${group}.{${names.join(',')}}`)).join(' ')
}
