// engine/unique.ts: unique constraints at admission: which tuples a write brings, and whether a row that stays has one of them (recovery.md section 12).
//
// Invariant: a row goes into the log only in the step in which no other row of its write and no live row that the write does not hide has one of its tuples.

import { ConflictError, DuplicateKeyError } from '../errors.ts'
import { NO_ROW, repeatedKeys, type Vec } from '../kernels/index.ts'
import {
  formatKey,
  type KeyLayout,
  keyObjectFromBytes,
  type Place,
  resolveView,
  rowsToBatch,
  tableFromSchema,
  type TableState,
  type TableView,
  type Tuples,
  type ViewColumn,
} from '../table/index.ts'
import { type HideSet, placesOf } from './admission.ts'
import type { Bound } from './bound.ts'
import { keyAtNow } from './key-at.ts'

/** A tuple that a row of the write and a row of the table would both have. */
export interface TakenTuple {
  readonly layout: KeyLayout
  readonly tuple: Uint8Array
  /** Number of the row in the write. */
  readonly row: number
  /** The other row. */
  readonly place: Place
}

/** Two rows of one write with the same tuple. */
export interface RepeatedTuple {
  readonly layout: KeyLayout
  readonly tuple: Uint8Array
  readonly first: number
  readonly second: number
}

/** The tuples of one batch of rows of a write. */
export class RowTuples {
  private readonly table: TableState
  private readonly tuples: readonly { readonly layout: KeyLayout; readonly of: Tuples }[]

  private constructor(table: TableState, tuples: RowTuples['tuples']) {
    this.table = table
    this.tuples = tuples
  }

  /** undefined: the table has no unique constraint. @param columns  stored columns in the order of the schema */
  static of(table: TableState, columns: readonly Vec[], rows: number): RowTuples | undefined {
    const { uniques } = table
    return uniques.length === 0
      ? undefined
      : new RowTuples(
          table,
          uniques.map((layout) => ({ layout, of: layout.tuples(columns, rows) })),
        )
  }

  /** The first two rows with the same tuple. */
  repeated(): RepeatedTuple | undefined {
    const { seed } = this.table
    for (const { layout, of } of this.tuples) {
      const before = repeatedKeys(of.keys, { lo: seed, hi: ~seed })
      if (before === undefined) continue
      const second = before.findIndex((row) => row !== NO_ROW)
      return { layout, tuple: tupleAt(of, second), first: rowOf(of, before[second]!), second: rowOf(of, second) }
    }
    return undefined
  }

  /** The first tuple that a live row has and `hides` leaves; a promise to wait for before asking again. `blocking`: read at once where something is missing. */
  taken(hides: HideSet, blocking: boolean): TakenTuple | undefined | Promise<void> {
    const waits: Promise<void>[] = []
    for (const { layout, of } of this.tuples) {
      const places = placesOf(this.table, of.keys, blocking, layout)
      if (places instanceof Promise) {
        waits.push(places)
        continue
      }
      const at = places.findIndex((place) => place !== undefined && !hides.has(place))
      if (at >= 0) return { layout, tuple: tupleAt(of, at), row: rowOf(of, at), place: places[at]! }
    }
    return waits.length === 0 ? undefined : Promise.all(waits).then(() => undefined)
  }
}

function tupleAt({ keys }: Tuples, i: number): Uint8Array {
  return keys.data.slice(keys.start(i), keys.end(i))
}

function rowOf({ rowOf: rows }: Tuples, i: number): number {
  return rows === undefined ? i : rows[i]!
}

/** What a message calls a row of the write. */
export type RowName = (row: number) => string

const byNumber: RowName = (row) => String(row)

/**
 * Rows of one call, which hide what is in `hides`.
 *
 * @param nameOf  of a row in messages; default: its number
 * @returns a promise to wait for before asking again
 * @throws DuplicateKeyError
 */
export function refuseTuples(
  tuples: RowTuples,
  table: TableState,
  view: TableView,
  hides: HideSet | undefined,
  blocking: boolean,
  o: { readonly op: string; readonly rowOf?: Uint32Array | undefined; readonly nameOf?: RowName },
): Promise<void> | undefined {
  const number = (row: number): number => (o.rowOf === undefined ? row : o.rowOf[row]!)
  const repeated = tuples.repeated()
  if (repeated !== undefined) {
    const { first, second } = repeated
    throw repeatedTupleError(table, view, { ...repeated, first: number(first), second: number(second) }, o.op, o.nameOf)
  }
  if (hides === undefined) return undefined
  const taken = tuples.taken(hides, blocking)
  if (taken === undefined || taken instanceof Promise) return taken
  return refuseTaken(table, view, { ...taken, row: number(taken.row) }, blocking, o.nameOf)
}

/** Whole rows as update and transactions have them, named by their keys in messages. */
export interface RowsToAdmit {
  readonly bound: Bound
  readonly rows: readonly Readonly<Record<string, unknown>>[]
  /** Older rows that go; undefined: all of them. */
  readonly hides: HideSet | undefined
  readonly op: string
  /** A tuple that another write took above this LSN is a conflict: whoever asked may decide again. */
  readonly since?: number
}

/** @returns a promise to wait for before asking again @throws DuplicateKeyError, ConflictError */
export function refuseRowTuples({ bound, rows, hides, op, since }: RowsToAdmit, blocking: boolean): Promise<void> | undefined {
  const { state, view } = bound
  if (state.uniques.length === 0 || rows.length === 0) return undefined
  const tuples = RowTuples.of(state, rowsToBatch(view, rows).columns, rows.length)!
  const nameOf = (row: number): string => `key ${formatKey(Object.fromEntries(view.key.map(({ name }) => [name, rows[row]![name]])))}`
  if (since !== undefined && hides !== undefined) {
    const taken = tuples.taken(hides, blocking)
    if (taken instanceof Promise) return taken
    if (taken !== undefined && lsnOf(state, taken.place) > since) throw lostTuple(state, view, taken)
  }
  return refuseTuples(tuples, state, view, hides, blocking, { op, ...(view.key.length === 0 ? {} : { nameOf }) })
}

/** LSN of the record that brought the row to where it is. */
function lsnOf(table: TableState, { fragment, row }: Place): number {
  return fragment === undefined ? table.now.layer.lsnOf(row) : fragment.lsn
}

/** The error of a write that came second to a tuple. */
export function lostTuple(table: TableState, view: TableView, { layout, tuple, place }: Omit<TakenTuple, 'row'>): ConflictError {
  const lsn = lsnOf(table, place)
  return new ConflictError(`${table.name}: LSN ${lsn} took unique ${tupleOf(view, layout, tuple).text} first`, {
    details: { table: table.name, keys: [], total: 0, lsn: BigInt(lsn) },
  })
}

/** @returns a promise to wait for before asking again: the key of the other row must be read first @throws DuplicateKeyError */
export function refuseTaken(table: TableState, view: TableView, taken: TakenTuple, blocking: boolean, nameOf: RowName = byNumber): Promise<void> {
  const key = keyAtNow(table, taken.place)
  if (key instanceof Promise && !blocking) return key
  throw takenTupleError(table, view, taken, key instanceof Promise ? undefined : key, nameOf)
}

/** As refuseTaken, from where nobody asks again. @throws DuplicateKeyError */
export async function refuseTakenLoud(table: TableState, view: TableView, taken: TakenTuple): Promise<never> {
  const key = keyAtNow(table, taken.place)
  if (key instanceof Promise) await key
  const read = keyAtNow(table, taken.place)
  throw takenTupleError(table, view, taken, read instanceof Promise ? undefined : read)
}

/** @param key  canonical, of the other row */
export function takenTupleError(
  table: TableState,
  view: TableView,
  { layout, tuple, row, place }: TakenTuple,
  key: Uint8Array | undefined,
  nameOf: RowName = byNumber,
): DuplicateKeyError {
  const other = key === undefined ? '' : `, in the row with key ${formatKey(keyObjectFromBytes(view, key))}`
  const { values, text, columns } = tupleOf(view, layout, tuple)
  const subject = nameOf === byNumber ? `row ${row}` : nameOf(row)
  return new DuplicateKeyError(`${table.name} ${subject}: unique ${text} exists since LSN ${lsnOf(table, place)}${other}`, {
    details: { table: table.name, columns, values, rows: [row] },
  })
}

/** The error for a tuple that one write brings twice. */
export function repeatedTupleError(
  table: TableState,
  view: TableView,
  { layout, tuple, first, second }: RepeatedTuple,
  op: string,
  nameOf: RowName = byNumber,
): DuplicateKeyError {
  const { values, text, columns } = tupleOf(view, layout, tuple)
  const subject = nameOf === byNumber ? `rows ${first} and ${second}` : `${nameOf(first)} and ${nameOf(second)}`
  return new DuplicateKeyError(`${table.name} ${subject}: unique ${text} twice in one ${op}`, {
    details: { table: table.name, columns, values, rows: [first, second] },
  })
}

/** A tuple as people write it. A constraint may name columns that the code does not. */
export function tupleOf(
  view: TableView,
  layout: KeyLayout,
  tuple: Uint8Array,
): { readonly values: Record<string, unknown>; readonly text: string; readonly columns: string[] } {
  let whole: TableView | undefined
  const columns = layout.columns.map((id): ViewColumn => {
    const known = view.columns.find(({ column }) => column.id === id)
    if (known !== undefined) return known
    whole ??= resolveView(tableFromSchema(view.schema), view.schema)
    return whole.columns.find(({ column }) => column.id === id)!
  })
  const values = keyObjectFromBytes(view, tuple, columns)
  return { values, text: formatKey(values), columns: columns.map(({ name }) => name) }
}
