// table/top-rows.ts: the first `limit` rows of an order, in memory that does not grow with the table.
//
// Only the order columns are read at first: each batch leaves its best rows and where they are stored. Once there are `limit` of them the last one is a
// bound: later rows behind it are dropped by one comparison, batches and groups behind it by their statistics; so groups are visited best first. In the
// end the other columns are read from the batches that hold a winner.
// Invariant: candidates are kept in storage order, which decides between equal keys whatever the order of visits.

import {
  bitmapAll,
  bitmapToIndices,
  compareConst,
  type Constant,
  concat,
  concatMany,
  decodeDictionary,
  minMaxVec,
  popcount,
  slice,
  sortIndices,
  takeMany,
  topK,
  type ValueKind,
  type Vec,
} from '../kernels/index.ts'
import type { BatchSource, ColumnBatch, ColumnStats } from './batch.ts'
import { orderPaths } from './index-access.ts'
import { Held, inOrder, type OrderOptions, sortKeys, unite } from './order-parts.ts'
import { compareConstants } from './predicate-leaf.ts'
import type { OrderKey, PlannedGroup, ScanPlan } from './scan-plan.ts'
import { eachSelected, SelectCursor, type Selected } from './scan-select.ts'

/** At least one row is asked for. */
export async function topRows(o: OrderOptions): Promise<Iterable<ColumnBatch>> {
  const { plan, pace } = o
  const groups = bestFirst(plan)
  const pool = new Pool(o, groups === plan.groups)
  const cursor = new SelectCursor({
    groups,
    where: plan.where,
    paths: plan.where === undefined ? orderPaths(plan.order, plan.limit, plan.version.schema) : plan.paths,
    columns: unite([], plan.order),
    limit: Infinity,
    signal: o.signal,
    check: () => pace.check(),
    skip: (stats) => pool.isBehind(stats),
  })
  try {
    await eachSelected(cursor, pace, (selected) => pool.offer(selected))
  } finally {
    cursor.close()
  }
  const top = pool.finish()
  if (top === undefined) return []
  const columns = await fetchRows(o, top)
  if (o.inStorageOrder === true) return [{ length: top.rows.length, columns }]
  return inOrder(o, columns, sortIndices(sortKeys(top.keys, plan.order), top.rows.length))
}

/** The groups by their best value of the first order column; those that do not state it come first. The plan's own list when that changes nothing. */
function bestFirst(plan: ScanPlan): readonly PlannedGroup[] {
  const [{ column, descending }] = plan.order as readonly [OrderKey, ...OrderKey[]]
  const valued = plan.groups.map((planned) => {
    const stats = planned.group.stats(column.column.id)
    return { planned, value: descending ? stats?.max : stats?.min }
  })
  const sorted = valued.toSorted((a, b) => {
    if (a.value === undefined || b.value === undefined) return Number(a.value !== undefined) - Number(b.value !== undefined)
    return descending ? compareConstants(b.value, a.value) : compareConstants(a.value, b.value)
  })
  return sorted.every(({ planned }, i) => planned === plan.groups[i]) ? plan.groups : sorted.map(({ planned }) => planned)
}

/** Rows that may be among the first `limit`: their order columns, and where they are stored. */
interface Candidates {
  readonly keys: readonly Vec[]
  readonly sources: readonly Source[]
  /** Per row: place in `sources`, and row in that source. */
  readonly places: Uint32Array
  readonly rows: Uint32Array
}

interface Source {
  readonly batch: BatchSource
  /** Ascends in storage order. */
  readonly position: number
}

/** What a row has to be, by the first order column, to be among the first `limit`. */
interface Bound {
  readonly columnId: number
  readonly kind: ValueKind
  readonly op: 'lt' | 'le' | 'gt' | 'ge'
  readonly value: Constant
}

/** Few enough to sort in a blink, many enough that joining is rare. */
const POOL_ROWS_MIN = 65_536

class Pool {
  readonly #plan: ScanPlan
  readonly #held: Held
  /** Later visits are later in storage: of equal rows the earlier visited one wins. */
  readonly #inOrder: boolean
  #parts: Candidates[] = []
  #rows = 0
  #bound: Bound | undefined

  constructor(o: OrderOptions, inOrder: boolean) {
    this.#plan = o.plan
    this.#held = new Held(o)
    this.#inOrder = inOrder
  }

  offer(selected: Selected): void {
    const candidates = this.#bound === undefined ? allOf(selected) : within(selected, this.#bound)
    if (candidates === undefined) return
    this.#keep(this.#best(candidates))
    if (this.#rows < Math.max(2 * this.#plan.limit, POOL_ROWS_MIN)) return
    const joined = this.#best(join(this.#parts))
    this.#parts = []
    this.#rows = 0
    this.#held.reset()
    this.#keep(joined)
  }

  /** Whether no row with these statistics is within the bound; nulls and NaN never are. */
  isBehind(stats: (columnId: number) => ColumnStats | undefined): boolean {
    if (this.#bound === undefined) return false
    const { columnId, op, value } = this.#bound
    const known = stats(columnId)
    const nearest = op === 'lt' || op === 'le' ? known?.min : known?.max
    if (nearest === undefined) return false
    const sign = compareConstants(nearest, value as Exclude<Constant, boolean>)
    return op === 'lt' ? sign >= 0 : op === 'le' ? sign > 0 : op === 'gt' ? sign <= 0 : sign < 0
  }

  /** The winners, in storage order; undefined: no row at all. */
  finish(): Candidates | undefined {
    return this.#parts.length === 0 ? undefined : this.#best(join(this.#parts))
  }

  #keep(candidates: Candidates): void {
    this.#held.add(candidates.keys)
    this.#parts.push(candidates)
    this.#rows += candidates.rows.length
  }

  /** The best `limit` of the candidates. Where there are that many, the last of them is the new bound: all were within the old one. */
  #best(candidates: Candidates): Candidates {
    const { limit, order } = this.#plan
    if (candidates.rows.length < limit) return { ...candidates, keys: candidates.keys.map(slim) }
    const keys = sortKeys(candidates.keys, order)
    const chosen = topK(keys, candidates.rows.length, limit)
    const first = keys[0]!
    const last = chosen.at(-1)!
    // Null and NaN have no extreme: they bound nothing.
    const value = minMaxVec(slice(first.vec, last, last + 1), first.kind)?.min
    const strict = this.#inOrder && keys.length === 1
    const op = first.descending === true ? (strict ? 'gt' : 'ge') : strict ? 'lt' : 'le'
    if (value !== undefined) this.#bound = { columnId: order[0]!.column.column.id, kind: first.kind, op, value }
    return pick(candidates, chosen.sort())
  }
}

/** A few rows must not keep a large dictionary alive. */
function slim(vec: Vec): Vec {
  return vec.dictionary !== undefined && vec.length < vec.dictionary.length ? decodeDictionary(vec) : vec
}

function allOf(selected: Selected): Candidates {
  const { length, selection, source, position } = selected
  return {
    keys: selected.columns,
    sources: [{ batch: source, position }],
    places: new Uint32Array(length),
    rows: selection === undefined ? bitmapToIndices(bitmapAll(length), length) : bitmapToIndices(selection, source.rows),
  }
}

/** The rows of a batch within the bound. Null and NaN come after every value, so that the bound leaves them out as comparisons do. */
function within(selected: Selected, bound: Bound): Candidates | undefined {
  const { columns, length, selection, source, position } = selected
  const bits = compareConst(columns[0]!, bound.kind, bound.op, bound.value)
  const count = popcount(bits, length)
  if (count === 0) return undefined
  if (count === length) return allOf(selected)
  const chosen = bitmapToIndices(bits, length)
  const stored = selection === undefined ? undefined : bitmapToIndices(selection, source.rows)
  return {
    keys: takeMany(columns, chosen).map(slim),
    sources: [{ batch: source, position }],
    places: new Uint32Array(count),
    rows: stored === undefined ? chosen : chosen.map((i) => stored[i]!),
  }
}

function pick(candidates: Candidates, rows: Uint32Array): Candidates {
  return {
    keys: takeMany(candidates.keys, rows).map(slim),
    sources: candidates.sources,
    places: rows.map((i) => candidates.places[i]!),
    rows: rows.map((i) => candidates.rows[i]!),
  }
}

/** All candidates as one list, in storage order. */
function join(pool: readonly Candidates[]): Candidates {
  if (pool.length === 1) return pool[0]!
  const length = pool.reduce((sum, { rows }) => sum + rows.length, 0)
  const sources: Source[] = []
  const places = new Uint32Array(length)
  const rows = new Uint32Array(length)
  let at = 0
  for (const part of pool) {
    for (let i = 0; i < part.rows.length; i++) places[at + i] = part.places[i]! + sources.length
    rows.set(part.rows, at)
    for (const source of part.sources) sources.push(source)
    at += part.rows.length
  }
  return inStorageOrder({ keys: pool[0]!.keys.map((_, k) => concat(pool.map((part) => part.keys[k]!))), sources, places, rows })
}

/** The rows of one source already ascend and stand together, so that a counting sort by source is enough. */
function inStorageOrder(candidates: Candidates): Candidates {
  const { keys, sources, places, rows } = candidates
  if (sources.every(({ position }, i) => i === 0 || sources[i - 1]!.position < position)) return candidates
  const order = sources.map((_, i) => i).toSorted((a, b) => sources[a]!.position - sources[b]!.position)
  const ranks = new Uint32Array(sources.length)
  for (const [rank, place] of order.entries()) ranks[place] = rank
  const starts = new Uint32Array(sources.length + 1)
  for (const place of places) starts[ranks[place]! + 1]!++
  for (let rank = 0; rank < sources.length; rank++) starts[rank + 1]! += starts[rank]!
  const moved = new Uint32Array(places.length)
  for (let i = 0; i < places.length; i++) moved[starts[ranks[places[i]!]!]!++] = i
  return {
    keys: takeMany(keys, moved),
    sources: order.map((place) => sources[place]!),
    places: moved.map((i) => ranks[places[i]!]!),
    rows: moved.map((i) => rows[i]!),
  }
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
    const { batch } = top.sources[place]!
    o.pace.check()
    const loaded = o.columns.length === 0 ? [] : batch.ready(o.columns) ? batch.loadSync(o.columns) : await batch.load(o.columns, o.signal)
    const taken = loaded.length === 0 ? [] : takeMany(loaded, top.rows.subarray(from, to))
    held.add(taken)
    parts.push(taken)
    const turn = o.pace.step(o.plan.storedRows)
    if (turn !== undefined) await turn
    from = to
  }
  return concatMany(parts)
}
