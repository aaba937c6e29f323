// table/order.ts: the rows of a scan in the order asked for: everything sorted, or the first `limit` rows kept on the way (top-k).
//
// Top-k reads only the order columns at first and remembers where the best rows are stored; the other columns are then read from the batches that hold
// one of them. Invariant: stable in storage order; NaN after numbers and nulls last in both directions (kernels/sort); what is held in memory stays
// below `sortBytes`, else ResourceLimitError.

import { ResourceLimitError } from '../errors.ts'
import { type ColumnDef, valueKindOf } from '../format/index.ts'
import {
  bitmapAll,
  bitmapToIndices,
  compareConst,
  type Constant,
  concat,
  concatMany,
  minMaxVec,
  popcount,
  slice,
  type SortKey,
  sortIndices,
  takeMany,
  topK,
  type ValueKind,
  type Vec,
} from '../kernels/index.ts'
import type { BatchSource, ColumnBatch } from './batch.ts'
import type { Pace } from './pace.ts'
import type { OrderKey, ScanPlan } from './scan-plan.ts'
import { SelectCursor, type Selected } from './scan-select.ts'
import { bytesOfVec } from './vec-views.ts'

export interface OrderOptions {
  readonly plan: ScanPlan
  readonly columns: readonly ColumnDef[]
  readonly pace: Pace
  readonly signal: AbortSignal | undefined
  /** memory.sortBytes. */
  readonly sortBytes: number
  /** Top-k: hand the chosen rows out as they are stored, not as they are ordered. */
  readonly inStorageOrder?: boolean
}

/** The ordered rows in batches of at most batchRows. Nothing is handed out before the last source row was seen. */
export async function orderedBatches(o: OrderOptions): Promise<Iterable<ColumnBatch>> {
  if (o.plan.limit === 0) return []
  return o.plan.limit < o.plan.storedRows ? topRows(o) : sortedRows(o)
}

async function sortedRows(o: OrderOptions): Promise<Iterable<ColumnBatch>> {
  const { plan, pace } = o
  const columns = unite(o.columns, plan.order)
  const cursor = new SelectCursor({ ...plan, columns, limit: Infinity, signal: o.signal, check: () => pace.check() })
  const held = new Held(o)
  const batches: (readonly Vec[])[] = []
  try {
    await eachSelected(cursor, pace, (selected) => {
      held.add(selected.columns)
      batches.push(selected.columns)
    })
  } finally {
    cursor.close()
  }
  if (batches.length === 0) return []
  const whole: Vec[] = []
  for (const i of columns.keys()) {
    whole.push(concat(batches.map((batch) => batch[i]!)))
    const turn = pace.step(plan.storedRows)
    if (turn !== undefined) await turn
  }
  const keys = plan.order.map(({ column }) => whole[placeOf(columns, column.column)]!)
  const indices = sortIndices(sortKeys(keys, plan.order), whole[0]!.length)
  return slices(whole.slice(0, o.columns.length), indices.subarray(0, Math.min(plan.limit, indices.length)), plan.batchRows)
}

/** Rows that may be among the first `limit`: their order columns, and where they are stored. */
interface Candidates {
  readonly keys: readonly Vec[]
  readonly sources: readonly BatchSource[]
  /** Per row: place in `sources`, and row in that source. Ascending: storage order is the last resort of the sort. */
  readonly places: Uint32Array
  readonly rows: Uint32Array
}

async function topRows(o: OrderOptions): Promise<Iterable<ColumnBatch>> {
  const { plan, pace } = o
  const keyColumns = unite([], plan.order)
  const cursor = new SelectCursor({ ...plan, columns: keyColumns, limit: Infinity, signal: o.signal, check: () => pace.check() })
  const held = new Held(o)
  let pool: Candidates[] = []
  let pooled = 0
  let bound: Bound | undefined
  try {
    await eachSelected(cursor, pace, (selected) => {
      const candidates = bound === undefined ? candidatesOf(selected) : within(selected, bound)
      if (candidates.rows.length === 0) return
      const found = best(candidates, plan)
      // Every candidate was within the bound so far, so a bound of their own is no looser.
      bound = found.bound ?? bound
      held.add(found.kept.keys)
      pool.push(found.kept)
      pooled += found.kept.rows.length
      if (pooled < Math.max(2 * plan.limit, POOL_ROWS_MIN)) return
      const joined = best(join(pool), plan)
      bound = joined.bound ?? bound
      pool = [joined.kept]
      pooled = joined.kept.rows.length
      held.reset()
      held.add(joined.kept.keys)
    })
  } finally {
    cursor.close()
  }
  if (pool.length === 0) return []
  const top = best(join(pool), plan).kept
  const columns = await fetchRows(o, top)
  if (o.inStorageOrder === true) return [{ length: top.rows.length, columns }]
  return slices(columns, sortIndices(sortKeys(top.keys, plan.order), top.rows.length), plan.batchRows)
}

/** Few enough to sort in a blink, many enough that joining is rare. */
const POOL_ROWS_MIN = 65_536

function candidatesOf(selected: Selected): Candidates {
  const { length, selection, source } = selected
  return {
    keys: selected.columns,
    sources: [source],
    places: new Uint32Array(length),
    rows: selection === undefined ? bitmapToIndices(bitmapAll(length), length) : bitmapToIndices(selection, source.rows),
  }
}

/** What a later row has to be at least, by the first order column, to be among the first `limit`. */
interface Bound {
  readonly kind: ValueKind
  readonly op: 'lt' | 'le' | 'gt' | 'ge'
  readonly value: Constant
}

/** The best `limit` of the candidates, still in storage order; with a bound where there are that many, and the last of them is a plain value. */
function best(candidates: Candidates, plan: ScanPlan): { kept: Candidates; bound: Bound | undefined } {
  if (candidates.rows.length < plan.limit) return { kept: candidates, bound: undefined }
  const keys = sortKeys(candidates.keys, plan.order)
  const ordered = topK(keys, candidates.rows.length, plan.limit)
  const [first] = keys
  const last = ordered.at(-1)!
  const value = minMaxVec(slice(first!.vec, last, last + 1), first!.kind)?.min
  const strict = keys.length === 1
  const op = first!.descending === true ? (strict ? 'gt' : 'ge') : strict ? 'lt' : 'le'
  return { kept: pick(candidates, ordered.sort()), bound: value === undefined ? undefined : { kind: first!.kind, op, value } }
}

/** The rows of a batch within the bound. Null and NaN come after every value, so that a bound leaves them out as comparisons do. */
function within(selected: Selected, bound: Bound): Candidates {
  const bits = compareConst(selected.columns[0]!, bound.kind, bound.op, bound.value)
  const count = popcount(bits, selected.length)
  if (count === 0) return { keys: selected.columns, sources: [], places: NO_ROWS, rows: NO_ROWS }
  if (count === selected.length) return candidatesOf(selected)
  const chosen = bitmapToIndices(bits, selected.length)
  const stored = selected.selection === undefined ? undefined : bitmapToIndices(selected.selection, selected.source.rows)
  return {
    keys: takeMany(selected.columns, chosen),
    sources: [selected.source],
    places: new Uint32Array(count),
    rows: stored === undefined ? chosen : chosen.map((i) => stored[i]!),
  }
}

const NO_ROWS = new Uint32Array(0)

function pick(candidates: Candidates, rows: Uint32Array): Candidates {
  return {
    keys: takeMany(candidates.keys, rows),
    sources: candidates.sources,
    places: rows.map((i) => candidates.places[i]!),
    rows: rows.map((i) => candidates.rows[i]!),
  }
}

function join(pool: readonly Candidates[]): Candidates {
  if (pool.length === 1) return pool[0]!
  const length = pool.reduce((sum, { rows }) => sum + rows.length, 0)
  const sources: BatchSource[] = []
  const places = new Uint32Array(length)
  const rows = new Uint32Array(length)
  let at = 0
  for (const part of pool) {
    for (let i = 0; i < part.rows.length; i++) places[at + i] = part.places[i]! + sources.length
    rows.set(part.rows, at)
    sources.push(...part.sources)
    at += part.rows.length
  }
  return { keys: pool[0]!.keys.map((_, k) => concat(pool.map((part) => part.keys[k]!))), sources, places, rows }
}

/** Reads the asked-for columns of the chosen rows, in storage order. */
async function fetchRows(o: OrderOptions, top: Candidates): Promise<readonly Vec[]> {
  const parts: (readonly Vec[])[] = []
  const held = new Held(o)
  let from = 0
  while (from < top.rows.length) {
    const place = top.places[from]!
    let to = from + 1
    while (to < top.rows.length && top.places[to] === place) to++
    const source = top.sources[place]!
    o.pace.check()
    const loaded = o.columns.length === 0 ? [] : source.ready(o.columns) ? source.loadSync(o.columns) : await source.load(o.columns, o.signal)
    const taken = loaded.length === 0 ? [] : takeMany(loaded, top.rows.subarray(from, to))
    held.add(taken)
    parts.push(taken)
    const turn = o.pace.step(o.plan.storedRows)
    if (turn !== undefined) await turn
    from = to
  }
  return concatMany(parts)
}

export interface BatchCursor<B> {
  readonly scannedRows: number
  next(): B | undefined | Promise<B | undefined>
}

/** Runs the cursor to its end, at the pace; batches without rows are not shown. */
export async function eachSelected<B extends { readonly length: number }>(
  cursor: BatchCursor<B>,
  pace: Pace,
  visit: (batch: B) => void | Promise<void>,
): Promise<void> {
  for (;;) {
    let selected = cursor.next()
    if (selected instanceof Promise) {
      selected = await selected
      pace.rested()
    }
    if (selected === undefined) return
    const visited = selected.length > 0 ? visit(selected) : undefined
    if (visited !== undefined) await visited
    const turn = pace.step(cursor.scannedRows)
    if (turn !== undefined) await turn
  }
}

/** A sort key and two row numbers: what sorting takes a row besides the columns. */
const WORK_BYTES = 16

/** Counts what is held against the limit. */
class Held {
  readonly #o: OrderOptions
  readonly #dictionaries = new Set<Vec>()
  #bytes = 0

  constructor(o: OrderOptions) {
    this.#o = o
  }

  reset(): void {
    this.#bytes = 0
    this.#dictionaries.clear()
  }

  add(vecs: readonly Vec[]): void {
    this.#bytes += (vecs[0]?.length ?? 0) * WORK_BYTES
    for (const vec of vecs) {
      this.#bytes += bytesOfVec(vec)
      if (vec.dictionary === undefined) continue
      // The batches of a fragment share their dictionaries.
      if (this.#dictionaries.has(vec.dictionary)) this.#bytes -= bytesOfVec(vec.dictionary)
      this.#dictionaries.add(vec.dictionary)
    }
    const { sortBytes, plan } = this.#o
    if (this.#bytes <= sortBytes) return
    const what = plan.limit === Infinity ? 'orderBy without a limit' : `orderBy with a limit of ${plan.limit}`
    throw new ResourceLimitError(`scan of ${plan.view.table.name}: ${what} holds more than memory.sortBytes (${sortBytes} bytes)`, {
      details: { limit: 'memory.sortBytes', asked: this.#bytes },
      hint: 'Ask for fewer rows or columns, or raise memory.sortBytes.',
    })
  }
}

function* slices(columns: readonly Vec[], indices: Uint32Array, batchRows: number): Iterable<ColumnBatch> {
  for (let from = 0; from < indices.length; from += batchRows) {
    const rows = indices.subarray(from, Math.min(indices.length, from + batchRows))
    yield { length: rows.length, columns: columns.length === 0 ? [] : takeMany(columns, rows) }
  }
}

function sortKeys(vecs: readonly Vec[], order: readonly OrderKey[]): SortKey[] {
  return order.map(({ column, descending }, i) => ({ vec: vecs[i]!, kind: valueKindOf(column.column.type)!, descending }))
}

/** `columns`, then the order columns that are not among them. */
function unite(columns: readonly ColumnDef[], order: readonly OrderKey[]): ColumnDef[] {
  const united = [...columns]
  for (const { column } of order) if (placeOf(united, column.column) < 0) united.push(column.column)
  return united
}

function placeOf(columns: readonly ColumnDef[], column: ColumnDef): number {
  return columns.findIndex((c) => c.id === column.id)
}
