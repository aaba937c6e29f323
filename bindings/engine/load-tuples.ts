// engine/load-tuples.ts: the tuples of unique constraints among the rows that one write stages: which of its own rows have one in common, where a tuple is among
// them, and which older rows have it (recovery.md section 12).
//
// Two rows may have a tuple in common for a while: what counts are the rows that stay in the end. So a write that may drop rows is judged when it has them all.
// Invariant: every row taken has its tuples here; row numbers are those of the write.

import type { TableSchema } from '../format/index.ts'
import { type Hash64Parts, KeyTable, keyColumnHashes, NO_ROW } from '../kernels/index.ts'
import { findKeys, type FoundRows, KeyLayout, type KeyRun, type Place, type Structure, type TableState, type Tuples } from '../table/index.ts'
import type { ColumnBatch } from '../table/index.ts'
import { lastAt } from './last-at.ts'
import { type HideSet, NOW } from './admission.ts'
import { keyText } from './key-text.ts'
import type { RepeatedTuple, TakenTuple } from './unique.ts'

/** The tuples of one batch under one constraint. */
interface Part {
  /** Number of its first tuple. */
  readonly from: number
  /** Number of the batch's first row in the write. */
  readonly base: number
  readonly tuples: Tuples
}

/** Older rows with tuples of a part. */
interface Found {
  readonly part: Part
  readonly rows: readonly FoundRows[]
}

class Constraint {
  readonly layout: KeyLayout
  readonly parts: Part[] = []
  found: Found[] = []
  /** Rows of each tuple that came more than once, as keyText. */
  readonly repeats = new Map<string, number[]>()
  private readonly table: KeyTable
  private count = 0

  constructor(layout: KeyLayout, seed: Hash64Parts) {
    this.layout = layout
    this.table = new KeyTable(layout.stride, seed)
  }

  /** @returns the first repeated tuple */
  add(tuples: Tuples, base: number): RepeatedTuple | undefined {
    const part: Part = { from: this.count, base, tuples }
    this.parts.push(part)
    const { keys } = tuples
    this.count += keys.rows
    const distinct = this.table.size
    const before = this.table.put(keys)
    if (this.table.size - distinct === keys.rows) return undefined
    let repeated: RepeatedTuple | undefined
    for (let i = 0; i < keys.rows; i++) {
      const earlier = before[i]!
      if (earlier === NO_ROW) continue
      const tuple = tupleAt(keys, i)
      const text = keyText(tuple)
      const rows = this.repeats.get(text) ?? [this.rowOf(earlier)]
      const row = rowIn(part, i)
      repeated ??= { layout: this.layout, tuple, first: rows.at(-1)!, second: row }
      rows.push(row)
      this.repeats.set(text, rows)
    }
    return repeated
  }

  /** Of each of `keys` the row that has the tuple and stays, or -1. */
  rowsOf(keys: KeyRun, isGone: (row: number) => boolean): number[] {
    return Array.from(this.table.find(keys), (number, i) => {
      if (number === NO_ROW) return -1
      const rows = this.repeats.size === 0 ? undefined : this.repeats.get(keyText(keys.data, keys.start(i), keys.end(i)))
      return (rows ?? [this.rowOf(number)]).find((row) => !isGone(row)) ?? -1
    })
  }

  private rowOf(number: number): number {
    const part = lastAt(this.parts, number, ({ from }) => from)
    return rowIn(part, number - part.from)
  }
}

export class LoadTuples {
  private readonly state: TableState
  private readonly constraints: readonly Constraint[]

  private constructor(state: TableState, schema: TableSchema, seed: number) {
    this.state = state
    this.constraints = KeyLayout.uniques(schema).map((layout) => new Constraint(layout, { lo: seed, hi: ~seed }))
  }

  /** undefined: the table has no unique constraint. @param schema  of the rows @param seed  unknown to whoever chooses values */
  static of(state: TableState, schema: TableSchema, seed: number): LoadTuples | undefined {
    return schema.unique.length === 0 ? undefined : new LoadTuples(state, schema, seed)
  }

  /** Take the next batch, whose first row has the number `base`. @returns the first tuple that came before, dropped rows included */
  add({ columns, length }: ColumnBatch, base: number): RepeatedTuple | undefined {
    let repeated: RepeatedTuple | undefined
    for (const constraint of this.constraints) {
      const found = constraint.add(constraint.layout.tuples(columns, length), base)
      repeated ??= found
    }
    return repeated
  }

  /** The first two rows that stay and have a tuple in common. */
  repeated(isGone: (row: number) => boolean): RepeatedTuple | undefined {
    for (const { layout, repeats } of this.constraints) {
      for (const rows of repeats.values()) {
        const staying = rows.filter((row) => !isGone(row))
        if (staying.length > 1) return { layout, tuple: this.tupleOf(layout, staying[0]!), first: staying[0]!, second: staying[1]! }
      }
    }
    return undefined
  }

  /** Look for the tuples of the newest batch among the rows of the table. @returns the first of them that is there */
  async look(structure: Structure, between: () => Promise<void> | undefined): Promise<TakenTuple | undefined> {
    let taken: TakenTuple | undefined
    for (const constraint of this.constraints) {
      const first = await this.lookPart(constraint, constraint.parts.at(-1)!, structure, between)
      taken ??= first
    }
    return taken
  }

  /** Look for all tuples again. */
  async lookAgain(structure: Structure, between: () => Promise<void> | undefined): Promise<void> {
    for (const constraint of this.constraints) {
      constraint.found = []
      for (const part of constraint.parts) await this.lookPart(constraint, part, structure, between)
    }
  }

  private async lookPart(constraint: Constraint, part: Part, structure: Structure, between: () => Promise<void> | undefined): Promise<TakenTuple | undefined> {
    const { layout } = constraint
    const { layer, fragments } = structure
    if (part.tuples.keys.rows === 0 || (layer.liveRows === 0 && fragments.length === 0)) return undefined
    const rows = await findKeys(structure, NOW, part.tuples.keys, layout, between)
    if (rows.length === 0) return undefined
    constraint.found.push({ part, rows })
    const { fragment, rows: there, keys } = rows[0]!
    return { layout, tuple: tupleAt(part.tuples.keys, keys[0]!), row: rowIn(part, keys[0]!), place: { fragment, row: there[0]! } }
  }

  /** Rows that were found, live then. */
  *places(): Generator<Place, undefined> {
    for (const { found } of this.constraints) {
      for (const { rows: lists } of found) for (const { fragment, rows } of lists) for (const row of rows) yield { fragment, row }
    }
  }

  /** The first tuple of a row that stays which a row has that was found, is still live and that `hides` leaves. */
  taken(hides: HideSet, isGone: (row: number) => boolean): TakenTuple | undefined {
    const { layer, fragments } = this.state.now
    for (const { layout, found } of this.constraints) {
      for (const { part, rows: lists } of found) {
        for (const { fragment, rows, keys } of lists) {
          const now = fragment === undefined ? undefined : fragments.find((each) => each.lsn === fragment.lsn && each.ordinal === fragment.ordinal)
          for (let i = 0; i < rows.length; i++) {
            const row = rowIn(part, keys[i]!)
            const isLive = fragment === undefined ? layer.isLive(rows[i]!) : now !== undefined && !now.hides.isHidden(rows[i]!, NOW)
            if (!isLive || isGone(row)) continue
            const place = { fragment, row: rows[i]! }
            if (!hides.has(place)) return { layout, tuple: tupleAt(part.tuples.keys, keys[i]!), row, place }
          }
        }
      }
    }
    return undefined
  }

  /** The same among the rows that came to memory above `lsn`. */
  takenSince(lsn: number, hides: HideSet, isGone: (row: number) => boolean): TakenTuple | undefined {
    for (const constraint of this.constraints) {
      for (const { row: late, run } of lateTuples(this.state, constraint.layout, lsn)) {
        const [row] = constraint.rowsOf(run, isGone)
        const place = { fragment: undefined, row: late }
        if (row! >= 0 && !hides.has(place)) return { layout: constraint.layout, tuple: tupleAt(run, 0), row: row!, place }
      }
    }
    return undefined
  }

  /** Hashes for the `.keys` file, (low, high) words, of each constraint in parts. */
  *hashes(): Generator<Uint32Array, undefined> {
    for (const { layout, parts } of this.constraints)
      for (const { tuples } of parts) if (tuples.keys.rows > 0) yield layout.masked(keyColumnHashes(tuples.keys))
  }

  /** Tuples taken, under every constraint. */
  get count(): number {
    return this.constraints.reduce((sum, { parts }) => sum + parts.reduce((rows, { tuples }) => rows + tuples.keys.rows, 0), 0)
  }

  private tupleOf(layout: KeyLayout, row: number): Uint8Array {
    for (const part of this.constraints.find((each) => each.layout === layout)!.parts) {
      const { keys, rowOf } = part.tuples
      const i = rowOf === undefined ? row - part.base : rowOf.indexOf(row - part.base)
      if (i >= 0 && i < keys.rows) return tupleAt(keys, i)
    }
    return new Uint8Array(0)
  }
}

/** Tuples of the live rows that came to memory above `lsn`, each a run of one. */
export function* lateTuples(state: TableState, layout: KeyLayout, lsn: number): Generator<{ readonly row: number; readonly run: KeyRun }, undefined> {
  const { layer } = state.now
  const unique = layer.unique(layout)
  for (let row = layer.firstAbove(lsn); row < layer.next; row++) {
    if (!layer.isLive(row)) continue
    const tuple = unique.tupleOf(row)
    if (tuple !== undefined) yield { row, run: layout.runOf(tuple) }
  }
}

function rowIn({ base, tuples: { rowOf } }: Part, i: number): number {
  return base + (rowOf === undefined ? i : rowOf[i]!)
}

function tupleAt(keys: KeyRun, i: number): Uint8Array {
  return keys.data.slice(keys.start(i), keys.end(i))
}
