// engine/diff.ts: what became of the rows of a keyed table between two versions: the net effect, at most one change per key (api.md section 6).
//
//   rows that only `from` shows -> a pile, by key     rows that only `to` shows -> batch by batch against the pile
//     in both, equal: moved only     in both: update     in `to` alone: insert     left in the pile: delete
//
// Either version may be the older one. Columns go by their id, so that one added or renamed between the versions is one column.
// Invariant: memory holds one portion of the rows that differ, whatever the size of the tables.

import { InvalidConfigError } from '../errors.ts'
import { type ColumnDef, valueKindOf } from '../format/index.ts'
import { bitmapAnd, bitmapNot, bitmapToIndices, NO_ROW, sameValues, takeMany, type Vec } from '../kernels/index.ts'
import { type AnyTable, type ColumnBatch, Pace } from '../table/index.ts'
import { type Bound, tableNotFound } from './bound.ts'
import type { FeedChange, Images } from './changes.ts'
import { Pile, portionsOf, readRows, type RowSelection, type RowShape, rowsOnlyIn, type TableAt } from './diff-rows.ts'
import type { ReadContext, ReadPoint, Row } from './read.ts'

/** Rows of one batch handed on. */
const BATCH_ROWS = 8192

/** Rows as columns: `before` and `after` have their rows in one order. */
export interface DiffBatch {
  readonly before: ColumnBatch | undefined
  readonly after: ColumnBatch | undefined
}

/** The two sides of one table; undefined: it was not there. */
export interface TablePair {
  readonly from: { readonly at: TableAt; readonly shape: RowShape } | undefined
  readonly to: { readonly at: TableAt; readonly shape: RowShape } | undefined
  readonly seed: number
}

/** The changes that make `to` of `from`. */
export async function* diffBatches({ from, to, seed }: TablePair, between: () => Promise<void> | undefined): AsyncGenerator<DiffBatch, undefined> {
  const gone = from === undefined ? NO_ROWS : rowsOnlyIn(from.at, to?.at)
  const come = to === undefined ? NO_ROWS : rowsOnlyIn(to.at, from?.at)
  const parts = from === undefined ? 1 : await portionsOf([gone], from.shape)
  for (let part = 0; part < parts; part++) {
    const portion = { part, parts }
    const pile = await Pile.of(from === undefined ? none() : readRows(gone, from.shape, portion, between), seed)
    const found = new Uint8Array(pile.rows)
    if (to !== undefined) {
      for await (const batch of readRows(come, to.shape, portion, between)) {
        const older = pile.find(batch.keys)
        const fresh: number[] = []
        const kept: number[] = []
        for (let row = 0; row < batch.length; row++) {
          if (older[row] === NO_ROW) fresh.push(row)
          else {
            kept.push(row)
            found[older[row]!] = 1
          }
        }
        if (fresh.length > 0) yield* cut(undefined, fresh.length === batch.length ? batch : taken(batch.columns, Uint32Array.from(fresh)))
        if (kept.length > 0)
          yield* cut(
            ...changed(
              pile,
              Uint32Array.from(kept, (row) => older[row]!),
              taken(batch.columns, Uint32Array.from(kept)),
            ),
          )
      }
    }
    const left: number[] = []
    for (let row = 0; row < pile.rows; row++) if (found[row] === 0) left.push(row)
    for (let at = 0; at < left.length; at += BATCH_ROWS) {
      await between()
      yield { before: taken(pile.columns, Uint32Array.from(left.slice(at, at + BATCH_ROWS))), after: undefined }
    }
  }
}

const NO_ROWS: RowSelection = { picks: [], rows: 0 }

async function* none(): AsyncGenerator<never, undefined> {
  // A table that was not there has no rows.
}

function taken(columns: readonly Vec[], rows: Uint32Array): ColumnBatch {
  return { length: rows.length, columns: takeMany(columns, rows) }
}

/** The rows that differ from those they replace. */
function changed(pile: Pile, older: Uint32Array, after: ColumnBatch): [before: ColumnBatch, after: ColumnBatch] {
  const before = taken(pile.columns, older)
  const same = sameRows(before.columns, after.columns, after.length)
  const rows = bitmapToIndices(bitmapNot(same, after.length), after.length)
  return rows.length === after.length ? [before, after] : [taken(before.columns, rows), taken(after.columns, rows)]
}

/** Rows that are equal in every column. */
function sameRows(a: readonly Vec[], b: readonly Vec[], rows: number): Uint8Array {
  let same: Uint8Array | undefined
  a.forEach((column, i) => {
    const equal = sameValues(column, b[i]!)
    same = same === undefined ? equal : bitmapAnd(same, equal, rows)
  })
  return same!
}

function* cut(before: ColumnBatch | undefined, after: ColumnBatch): Generator<DiffBatch, undefined> {
  if (after.length > 0) yield { before, after }
}

export interface DiffOptions {
  readonly tables: readonly AnyTable[]
  readonly images: Images
  readonly signal: AbortSignal | undefined
}

/** The changes of tables between two positions, row by row. @throws TableNotFoundError, SchemaMismatchError, InvalidConfigError for a table without a key */
export async function* diffPoints(from: ReadPoint, to: ReadPoint, o: DiffOptions, context: ReadContext): AsyncGenerator<FeedChange, undefined> {
  const pairs = o.tables.map((table) => ({ table, ...pairOf(table, from, to) }))
  for (const { table, pair, bound } of pairs) {
    const { world, check } = context
    const pace = new Pace({ ...(o.signal === undefined ? {} : { signal: o.signal }), world, check, table: table.name, phase: 'diff', total: undefined })
    for await (const { before, after } of diffBatches(pair, () => pace.step(undefined))) {
      for (let row = 0; row < (after ?? before)!.length; row++) {
        pace.check()
        yield changeOf(table.name, bound, o.images, before, after, row)
      }
    }
  }
}

function changeOf(table: string, bound: Bound, images: Images, before: ColumnBatch | undefined, after: ColumnBatch | undefined, row: number): FeedChange {
  const old = before === undefined || (images !== 'both' && after !== undefined) ? undefined : bound.read(before.columns, row)
  const told = old === undefined || images !== 'both' ? {} : { before: old }
  if (after !== undefined) return { table, kind: before === undefined ? 'insert' : 'update', after: bound.read(after.columns, row), ...told }
  return { table, kind: 'delete', key: keyOf(bound, old!), ...told }
}

function keyOf(bound: Bound, row: Row): Row {
  return Object.fromEntries(bound.view.key.map((column) => [column.name, row[column.name]]))
}

/** A definition of the code held against both versions: against the later one, or where that has no such table, against the earlier. */
function pairOf(table: AnyTable, from: ReadPoint, to: ReadPoint): { readonly pair: TablePair; readonly bound: Bound } {
  if (table.key.length === 0) throw unkeyed(table.name)
  const inTo = to.has(table.name) ? to.bind(table) : undefined
  const inFrom = from.has(table.name) && (inTo === undefined || from.at(inTo.state.id) === undefined) ? from.bind(table) : undefined
  const bound = inTo ?? inFrom
  if (bound === undefined) throw tableNotFound(table.name)
  // Columns go by id within a table; one that was dropped and made again under its name has its own.
  const older = from.at((inFrom ?? bound).state.id)
  const newer = to.at(bound.state.id)
  const pair = {
    from: older === undefined ? undefined : { at: older, shape: shapeOf(bound, (inFrom ?? bound).columns) },
    to: newer === undefined ? undefined : { at: newer, shape: shapeOf(bound, bound.columns) },
    seed: bound.state.seed,
  }
  return { pair, bound }
}

function shapeOf({ view }: Bound, columns: readonly ColumnDef[]): RowShape {
  const keyAt = view.key.map((key) => view.columns.indexOf(key))
  return { columns, keyAt, keyKinds: keyAt.map((at) => valueKindOf(columns[at]!.type)!) }
}

function unkeyed(table: string): InvalidConfigError {
  return new InvalidConfigError(`table ${JSON.stringify(table)} has no key: a diff is told by key`, {
    details: { key: 'tables', value: table },
    hint: 'Leave it out; store.changes() tells the rows that were appended and deleted.',
  })
}
