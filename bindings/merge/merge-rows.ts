// merge/merge-rows.ts: the three-way merge of one keyed table: which rows of the source are taken, which are made of both sides, which keys go.
//
//   rows of the base that a side no longer shows, rows of the target that the base did not show  ->  two piles, by key
//   rows of the source that the base did not show  ->  batch by batch against the piles  ->  plan-rows.ts decides each
//
// Where the target has the base's row still (the same identity, or the same values somewhere else) nothing of it is asked but its key.
// Invariant: every key that the source changed is decided exactly once; rows that are taken stay where they are and are told by their bits.

import {
  keysOf,
  type KeyedBatch,
  type Picked,
  Pile,
  portionsOf,
  readRows,
  type RowSelection,
  type RowShape,
  rowsNotInBoth,
  rowsOnlyIn,
  type TableAt,
} from '../engine/index.ts'
import {
  bitmapAnd,
  bitmapNone,
  bitmapToIndices,
  concat,
  type KeyColumn,
  keyColumnHashes,
  NO_ROW,
  popcount,
  sameValues,
  take,
  takeMany,
  type Vec,
} from '../kernels/index.ts'
import { type ColumnBatch, KeyRun } from '../table/index.ts'
import { columnVerdict, type MergeConflictKind, type RowFacts, rowVerdict } from './plan-rows.ts'

export interface TableSides {
  /** undefined: a side without the table. */
  readonly base: TableAt | undefined
  readonly theirs: TableAt | undefined
  readonly ours: TableAt | undefined
  /** All columns of the merged definition. */
  readonly shape: RowShape
  readonly seed: number
}

/** Rows of one conflict, as columns of the shape; read when they are asked for. */
export interface ConflictRows {
  readonly kind: MergeConflictKind
  readonly base: () => ColumnBatch | undefined
  readonly ours: () => ColumnBatch | undefined
  readonly theirs: () => ColumnBatch | undefined
}

/** ours, theirs: that side; a batch: that row; gone: none; open: nobody decides. */
export type Resolution = 'ours' | 'theirs' | 'gone' | 'open' | ColumnBatch

export interface RowMergeOptions {
  /** Columns that only one side changed are merged. */
  readonly byColumn: boolean
  readonly resolve: (conflict: ConflictRows) => Resolution
  readonly between: () => Promise<void> | undefined
}

export interface MergedRows {
  /** Rows of the source that go into the target as they are. */
  readonly taken: RowSelection
  readonly made: readonly ColumnBatch[]
  /** Keys whose rows go. */
  readonly gone: KeyRun
  /** Hashes of every key that is written or goes: low and high words. */
  readonly hashes: readonly Uint32Array[]
  readonly inserted: number
  readonly updated: number
  readonly deleted: number
}

/** A key that more than the source changed, or that the base does not have on its own. `NO_ROW`: not there. */
interface Asked {
  readonly theirs: number
  readonly base: number
  readonly ours: number
}

export async function mergeRows(sides: TableSides, o: RowMergeOptions): Promise<MergedRows> {
  const merger = new Merger(sides, o)
  await merger.run()
  return merger.merged()
}

class Merger {
  readonly #sides: TableSides
  readonly #o: RowMergeOptions
  readonly #bits = new Map<Picked, Uint8Array>()
  readonly #made: ColumnBatch[] = []
  readonly #gone: KeyRun
  readonly #hashes: Uint32Array[] = []
  #inserted = 0
  #updated = 0
  #deleted = 0
  #base!: Pile
  #ours!: Pile

  constructor(sides: TableSides, o: RowMergeOptions) {
    this.#sides = sides
    this.#o = o
    this.#gone = new KeyRun((sides.ours ?? sides.theirs ?? sides.base)!.state.keyLayout!.stride)
  }

  merged(): MergedRows {
    const picks = [...this.#bits].map(([picked, bits]) => ({ ...picked, bits, rows: popcount(bits, picked.source.rows) }))
    return {
      taken: { picks, rows: picks.reduce((sum, each) => sum + each.rows, 0) },
      made: this.#made,
      gone: this.#gone,
      hashes: this.#hashes,
      inserted: this.#inserted,
      updated: this.#updated,
      deleted: this.#deleted,
    }
  }

  async run(): Promise<void> {
    const { base, theirs, ours, shape, seed } = this.#sides
    const { between } = this.#o
    const come = theirs === undefined ? NONE : rowsOnlyIn(theirs, base)
    const left = base === undefined ? NONE : rowsNotInBoth(base, theirs, ours)
    const new_ = ours === undefined ? NONE : rowsOnlyIn(ours, base)
    const parts = await portionsOf([left, new_], shape)
    for (let part = 0; part < parts; part++) {
      const portion = { part, parts }
      this.#base = await Pile.of(readRows(left, shape, portion, between), seed)
      this.#ours = await Pile.of(readRows(new_, shape, portion, between), seed)
      const isMet = new Uint8Array(this.#base.rows)
      for await (const batch of readRows(come, shape, portion, between)) this.#batch(batch, isMet)
      await this.#removals(isMet)
    }
  }

  /** Rows that the source has and the base had not. */
  #batch(batch: KeyedBatch, isMet: Uint8Array): void {
    const base = this.#base.find(batch.keys)
    const ours = this.#ours.find(batch.keys)
    const fresh: number[] = []
    const alone: number[] = []
    const asked: Asked[] = []
    for (let row = 0; row < batch.length; row++) {
      const [b, t] = [base[row]!, ours[row]!]
      if (b !== NO_ROW) isMet[b] = 1
      if (t === NO_ROW && b === NO_ROW) fresh.push(row)
      else if (t === NO_ROW && !this.#isGone(b, OURS)) alone.push(row)
      else asked.push({ theirs: row, base: b, ours: t })
    }
    this.#take(batch, fresh)
    this.#inserted += fresh.length
    if (alone.length > 0) {
      const at = Uint32Array.from(alone)
      const same = this.#same(
        this.#rows(
          this.#base,
          at.map((row) => base[row]!),
        ),
        this.#of(batch.columns, at),
      ).all
      const changed = alone.filter((_, i) => !bit(same, i))
      this.#take(batch, changed)
      this.#updated += changed.length
    }
    if (asked.length > 0) this.#decide(batch, asked)
  }

  /** Rows of the base that the source has no more. */
  async #removals(isMet: Uint8Array): Promise<void> {
    const { shape } = this.#sides
    const left: number[] = []
    for (let row = 0; row < this.#base.rows; row++) if (isMet[row] === 0 && this.#isGone(row, THEIRS)) left.push(row)
    for (let from = 0; from < left.length; from += STEP_ROWS) {
      await this.#o.between()
      const base = Uint32Array.from(left.slice(from, from + STEP_ROWS))
      const keys = keysOf(this.#rows(this.#base, base).columns, shape)
      const ours = this.#ours.find(keys)
      const free: number[] = []
      const asked: Asked[] = []
      base.forEach((row, i) => {
        if (ours[i] === NO_ROW && !this.#isGone(row, OURS)) free.push(i)
        else asked.push({ theirs: NO_ROW, base: row, ours: ours[i]! })
      })
      this.#remove(keys, free)
      if (asked.length > 0) this.#decide(undefined, asked)
    }
  }

  #decide(batch: KeyedBatch | undefined, asked: readonly Asked[]): void {
    const base = this.#rows(this.#base, pick(asked, 'base'))
    const ours = this.#rows(this.#ours, pick(asked, 'ours'))
    const theirs = this.#of(batch?.columns ?? [], pick(asked, 'theirs'))
    const [theirsAsBase, oursAsBase, theirsAsOurs] = [this.#same(theirs, base), this.#same(ours, base), this.#same(theirs, ours)]
    const take: number[] = []
    const remove: number[] = []
    const mixed = new Mixer(ours, theirs)
    const columns = this.#sides.shape.columns.length
    const whose = (column: number, i: number): ReturnType<typeof columnVerdict> =>
      columnVerdict(bit(theirsAsBase.columns[column]!, i), bit(oursAsBase.columns[column]!, i), bit(theirsAsOurs.columns[column]!, i))
    const isApart = (i: number): boolean => {
      for (let column = 0; column < columns; column++) if (whose(column, i) === 'conflict') return false
      return true
    }
    asked.forEach(({ theirs: s, base: b, ours: t }, i) => {
      const facts: RowFacts = {
        inBase: b !== NO_ROW,
        inTheirs: s !== NO_ROW,
        inOurs: t !== NO_ROW,
        theirsAsBase: bit(theirsAsBase.all, i),
        oursAsBase: bit(oursAsBase.all, i),
        theirsAsOurs: bit(theirsAsOurs.all, i),
        isApart: this.#o.byColumn && b !== NO_ROW && s !== NO_ROW && t !== NO_ROW && isApart(i),
      }
      const verdict = rowVerdict(facts)
      if (verdict === 'keep') return
      if (verdict === 'mix') {
        const isTheirs = (column: number): boolean => whose(column, i) === 'theirs'
        // What the source changed, the target has changed to the same: its row is the result.
        if (this.#sides.shape.columns.some((_, column) => isTheirs(column))) mixed.add(i, isTheirs)
        return
      }
      let end: Resolution
      if (verdict === 'take' || verdict === 'remove') end = 'theirs'
      else {
        const one = (rows: ColumnBatch, at: number) => () => (at === NO_ROW ? undefined : this.#of(rows.columns, Uint32Array.of(i)))
        end = this.#o.resolve({ kind: verdict, base: one(base, b), ours: one(ours, t), theirs: one(theirs, s) })
        // What is not in conflict in a row that both changed stays what each side made it.
        if (verdict === 'bothChanged' && this.#o.byColumn && (end === 'ours' || end === 'theirs')) {
          const other = end === 'theirs'
          const isOurs = (column: number): boolean => whose(column, i) === 'ours' || (!other && whose(column, i) === 'conflict')
          if (this.#sides.shape.columns.every((_, column) => isOurs(column))) return
          return mixed.add(i, (column) => {
            const side = whose(column, i)
            return side === 'theirs' || (other && side === 'conflict')
          })
        }
      }
      if (end === 'open' || end === 'ours') return
      if (end === 'gone' || (end === 'theirs' && s === NO_ROW)) {
        if (t !== NO_ROW) remove.push(i)
        return
      }
      // Given as the target has it: nothing is to be done.
      if (end !== 'theirs' && t !== NO_ROW && bit(this.#same(end, this.#of(ours.columns, Uint32Array.of(i))).all, 0)) return
      if (t === NO_ROW) this.#inserted++
      else this.#updated++
      if (end === 'theirs') take.push(s)
      else this.#make(end)
    })
    if (batch !== undefined) this.#take(batch, take)
    if (remove.length > 0) this.#remove(keysOf(this.#of(ours.columns, Uint32Array.from(remove)).columns, this.#sides.shape), undefined)
    const rows = mixed.finish()
    if (rows === undefined) return
    this.#updated += rows.length
    this.#make(rows)
  }

  #take(batch: KeyedBatch, rows: readonly number[]): void {
    if (rows.length === 0) return
    const { picked, bits } = batch
    let taken = this.#bits.get(picked)
    if (taken === undefined) this.#bits.set(picked, (taken = bitmapNone(picked.source.rows)))
    const isWhole = rows.length === batch.length
    const places = bitmapToIndices(bits, picked.source.rows)
    for (const row of rows) {
      const at = places[row]!
      taken[at >> 3]! |= 1 << (at & 7)
    }
    const hashes = keyColumnHashes(batch.keys)
    this.#hashes.push(isWhole ? hashes : Uint32Array.from({ length: rows.length * 2 }, (_, i) => hashes[2 * rows[i >> 1]! + (i & 1)]!))
  }

  #make(rows: ColumnBatch): void {
    this.#made.push(rows)
    this.#hashes.push(keyColumnHashes(keysOf(rows.columns, this.#sides.shape)))
  }

  /** @param which  of the keys; undefined: all */
  #remove(keys: KeyColumn, which: readonly number[] | undefined): void {
    const before = this.#gone.rows
    const run = new KeyRun(keys.stride)
    run.pushMany(keys)
    if (which === undefined || which.length === keys.rows) this.#gone.pushMany(keys)
    else for (const row of which) this.#gone.push(run.data, run.start(row), run.end(row))
    const count = this.#gone.rows - before
    if (count === 0) return
    this.#deleted += count
    const gone = new KeyRun(keys.stride)
    for (let row = before; row < this.#gone.rows; row++) gone.push(this.#gone.data, this.#gone.start(row), this.#gone.end(row))
    this.#hashes.push(keyColumnHashes(gone))
  }

  #isGone(base: number, side: number): boolean {
    return bit(this.#base.columns[this.#sides.shape.columns.length + side]!.values, base)
  }

  /** Rows of a pile; NO_ROW gives nulls. */
  #rows(pile: Pile, rows: Uint32Array): ColumnBatch {
    return this.#of(pile.columns, rows)
  }

  #of(columns: readonly Vec[], rows: Uint32Array): ColumnBatch {
    return { length: rows.length, columns: columns.length === 0 ? [] : takeMany(columns.slice(0, this.#sides.shape.columns.length), rows) }
  }

  /** Where two batches have the same values, by column and in all; a side without any rows agrees in nothing. */
  #same(a: ColumnBatch, b: ColumnBatch): { readonly all: Uint8Array; readonly columns: readonly Uint8Array[] } {
    const none = bitmapNone(a.length)
    if (a.columns.length === 0 || b.columns.length === 0) return { all: none, columns: this.#sides.shape.columns.map(() => none) }
    const columns = a.columns.map((column, i) => sameValues(column, b.columns[i]!))
    return { all: columns.reduce((all, each) => bitmapAnd(all, each, a.length)), columns }
  }
}

const NONE: RowSelection = { picks: [], rows: 0 }
const STEP_ROWS = 65_536
/** Flags of rowsNotInBoth(base, theirs, ours). */
const THEIRS = 0
const OURS = 1

/** Rows put together of columns of both sides. */
class Mixer {
  readonly #ours: ColumnBatch
  readonly #theirs: ColumnBatch
  readonly #rows: number[] = []
  readonly #isTheirs: ((column: number) => boolean)[] = []

  constructor(ours: ColumnBatch, theirs: ColumnBatch) {
    this.#ours = ours
    this.#theirs = theirs
  }

  add(row: number, isTheirs: (column: number) => boolean): void {
    this.#rows.push(row)
    this.#isTheirs.push(isTheirs)
  }

  finish(): ColumnBatch | undefined {
    const n = this.#rows.length
    if (n === 0) return undefined
    const rows = Uint32Array.from(this.#rows)
    const columns = this.#ours.columns.map((column, c) => {
      const both = concat([take(column, rows), take(this.#theirs.columns[c]!, rows)])
      return take(
        both,
        Uint32Array.from(this.#isTheirs, (isTheirs, i) => (isTheirs(c) ? n + i : i)),
      )
    })
    return { length: n, columns }
  }
}

function pick(asked: readonly Asked[], side: keyof Asked): Uint32Array {
  return Uint32Array.from(asked, (each) => each[side])
}

function bit(bits: Uint8Array, at: number): boolean {
  return ((bits[at >> 3]! >> (at & 7)) & 1) === 1
}
