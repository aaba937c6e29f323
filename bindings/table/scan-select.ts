// table/scan-select.ts: the pipeline of a scan: from the planned groups to filtered batches of the columns asked for, one batch at a time.
//
// Per group: where an index tells which rows may pass, only those are looked at. Per batch: skip by statistics, load the predicate's columns, predicate AND live rows to a bitmap, skip when empty, load the rest, filter; a batch of
// which every row is wanted passes through without a copy. While a batch is worked on, the next one that is not in memory is already being read.
// Invariant: batches come in storage order and rows keep their order in them; `next` does not return a promise when everything it needs is in memory.

import { assert } from '../assert.ts'
import type { ColumnDef } from '../format/index.ts'
import type { RowMarks } from '../indexes/index.ts'
import { bitmapAnd, filterMany, popcount, slice, type Vec } from '../kernels/index.ts'
import type { AccessPath, Selection } from './access-paths.ts'
import type { BatchSource, ColumnStats, SourceGroup } from './batch.ts'
import type { CompiledPredicate } from './predicate-eval.ts'
import type { Pace } from './pace.ts'
import { batchShare, type PlannedGroup } from './scan-plan.ts'

export interface SelectOptions {
  readonly groups: readonly PlannedGroup[]
  readonly where: CompiledPredicate | undefined
  /** Indexes that may tell which rows pass. */
  readonly paths: readonly AccessPath[]
  /** Handed out in this order; may be empty, then only `length` means something. */
  readonly columns: readonly ColumnDef[]
  /** Rows at most, over all batches. */
  readonly limit: number
  readonly signal: AbortSignal | undefined
  /** Called before each batch: throws when the scan must stop. */
  readonly check: () => void
  /** Batches of which at least this share is wanted come whole, with a filter: for callers that read each value once. None when left out. */
  readonly wholeFrom?: number | undefined
  /** True: groups and batches with these statistics hold nothing of interest. Asked when their turn comes. */
  readonly skip?: (stats: (columnId: number) => ColumnStats | undefined) => boolean
}

/** Rows of one stored batch that the scan wants. */
export interface Selected {
  readonly columns: readonly Vec[]
  readonly length: number
  readonly source: BatchSource
  /** Ascends in storage order, whatever the order of the groups. */
  readonly position: number
  /** Which stored rows these are; undefined: the first `length` ones. */
  readonly selection: Uint8Array | undefined
  /** Only with `wholeFrom`: the rows of the columns that are wanted. Undefined: all. */
  readonly filter?: Uint8Array | undefined
}

interface Step {
  readonly source: BatchSource
  readonly position: number
  /** All of the rows at hand pass. */
  readonly everyRow: boolean
  /** The live rows that an index left; undefined: all live ones. */
  readonly within: Uint8Array | undefined
}

/** In place of a step: which rows of the next group may pass is being read. */
const CHOOSING = Symbol('choosing')

/** More batches than any group has. */
const GROUP_BATCHES = 2 ** 24

interface Prefetch {
  readonly source: BatchSource
  readonly vecs: Promise<readonly Vec[]>
}

export class SelectCursor {
  readonly #o: SelectOptions
  /** Columns loaded first: the predicate's. */
  readonly #first: readonly ColumnDef[]
  /** The others that are handed out. */
  readonly #rest: readonly ColumnDef[]
  /** For each column handed out, its place in [...first, ...rest]. */
  readonly #places: readonly number[]
  readonly #stop = new AbortController()
  #group = 0
  #batch = 0
  /** First row of the batch in its group. */
  #row = 0
  /** What an index left of a group, and which group that is. */
  #chosen: Selection | undefined
  #chosenFor = -1
  #choosingFor = -1
  #choosing: Promise<void> | undefined
  #remaining: number
  #prefetch: Prefetch | undefined
  #unlink: (() => void) | undefined
  #scanned = 0

  constructor(o: SelectOptions) {
    this.#o = o
    this.#first = o.where?.columns ?? []
    this.#rest = o.columns.filter((column, i) => !has(this.#first, column) && o.columns.findIndex((c) => c.id === column.id) === i)
    const order = [...this.#first, ...this.#rest]
    this.#places = o.columns.map((column) => order.findIndex((c) => c.id === column.id))
    this.#remaining = o.limit
  }

  /** Stored rows passed so far, skipped ones included. */
  get scannedRows(): number {
    return this.#scanned
  }

  /**
   * The next batch; undefined at the end. A batch in which no row passed comes too, with length 0 and without columns: its caller gets its turn.
   * Not to be called again before a promise it gave has settled.
   */
  next(): Selected | undefined | Promise<Selected | undefined> {
    this.#o.check()
    const step = this.#advance()
    if (step === undefined) {
      this.close()
      return undefined
    }
    if (step === CHOOSING) return this.#choosing!.then(() => this.next())
    const first = this.#firstOf(step)
    if (this.#prefetch !== undefined || !isReady(step.source, first)) return this.#nextLater(step, first)
    return this.#restNow(step, this.#filtered(step, loadNow(step.source, first)))
  }

  /** Ends reads ahead at once. Idempotent. */
  close(): void {
    this.#group = this.#o.groups.length
    this.#unlink?.()
    this.#unlink = undefined
    if (this.#prefetch === undefined) return
    this.#prefetch = undefined
    this.#stop.abort()
  }

  /** Moves to the next batch that may hold wanted rows. */
  #advance(): Step | typeof CHOOSING | undefined {
    const step = this.#peek()
    if (step !== undefined && step !== CHOOSING) this.#pass(step.source)
    return step
  }

  #pass({ rows }: BatchSource): void {
    this.#batch++
    this.#row += rows
    this.#scanned += rows
  }

  /** As #advance, but stays before the batch it finds. */
  #peek(): Step | typeof CHOOSING | undefined {
    if (this.#remaining <= 0) return undefined
    const { groups, where, skip } = this.#o
    for (; this.#group < groups.length; this.#group++, this.#batch = 0, this.#row = 0) {
      const { group, everyRow, ordinal } = groups[this.#group]!
      if (this.#batch === 0 && skip?.((id) => group.stats(id)) === true) {
        this.#scanned += group.rows
        continue
      }
      // Where every row passes by its statistics no index of the predicate says more; one of an order does.
      const asks = this.#o.paths.length > 0 && (!everyRow || where === undefined)
      if (asks && this.#chosenFor !== this.#group && this.#mustChoose(group)) return CHOOSING
      const chosen = asks ? this.#chosen : undefined
      while (this.#batch < group.batches.length) {
        const source = group.batches[this.#batch]!
        const within = chosen === undefined ? undefined : liveWithin(chosen.rows, this.#row, source)
        const share = within === NO_ROWS ? 'none' : everyRow || where === undefined ? 'all' : batchShare(where, source)
        const skipped = share === 'none' || source.liveCount === 0 || (skip !== undefined && source.stats !== undefined && skip((id) => source.stats!(id)))
        if (!skipped) return { source, position: ordinal * GROUP_BATCHES + this.#batch, everyRow: share === 'all' || chosen?.isExact === true, within }
        this.#pass(source)
      }
    }
    return undefined
  }

  /** Asks the indexes of a group which of its rows may pass; true: they must be read first. */
  #mustChoose(group: SourceGroup): boolean {
    const place = this.#group
    if (this.#choosingFor === place) return true
    const hidden = group.rows - group.liveRows
    const paths = this.#o.paths.map((path) => (path.kind === 'order' ? { ...path, entries: path.entries + hidden } : path))
    const chosen = group.select?.(paths, this.#signal())
    if (!(chosen instanceof Promise)) {
      this.#chosen = chosen
      this.#chosenFor = place
      return false
    }
    this.#choosingFor = place
    this.#choosing = chosen.then((selection) => {
      this.#chosen = selection
      this.#chosenFor = place
    })
    // As of reads ahead: told to whoever asks for the next batch.
    this.#choosing.catch(() => {})
    return true
  }

  /** Columns without which it is not known which rows are wanted; without a predicate, all of them. */
  #firstOf(step: Step): readonly ColumnDef[] {
    return step.everyRow ? [...this.#first.filter((column) => has(this.#o.columns, column)), ...this.#rest] : this.#first
  }

  async #nextLater(step: Step, first: readonly ColumnDef[]): Promise<Selected | undefined> {
    const vecs = await this.#load(step.source, first)
    return this.#restNow(step, this.#filtered(step, vecs))
  }

  #restNow(step: Step, selected: Wanted | undefined): Selected | Promise<Selected | undefined> {
    if (selected === undefined) return { columns: [], length: 0, source: step.source, position: step.position, selection: undefined }
    const rest = step.everyRow ? [] : this.#rest
    return isReady(step.source, rest) ? this.#finish(step, selected, loadNow(step.source, rest)) : this.#finishLater(step, selected, rest)
  }

  async #finishLater(step: Step, selected: Wanted, rest: readonly ColumnDef[]): Promise<Selected | undefined> {
    const loading = step.source.load(rest, this.#signal())
    this.#readAhead(selected)
    return this.#finish(step, selected, await loading)
  }

  async #load(source: BatchSource, columns: readonly ColumnDef[]): Promise<readonly Vec[]> {
    const ahead = this.#prefetch
    this.#prefetch = undefined
    const loading = ahead?.source === source ? ahead.vecs : source.load(columns, this.#signal())
    // A predicate may leave any number of rows, so that only the limit of an unfiltered scan tells that no more batches are needed.
    if (this.#o.where !== undefined || source.liveCount < this.#remaining) this.#readAhead(undefined)
    return loading
  }

  /** Starts the next load while this batch is worked on. */
  #readAhead(selected: Wanted | undefined): void {
    if (this.#prefetch !== undefined || (selected !== undefined && selected.count >= this.#remaining)) return
    const step = this.#peek()
    if (step === undefined || step === CHOOSING) return
    const first = this.#firstOf(step)
    if (isReady(step.source, first)) return
    const vecs = step.source.load(first, this.#signal())
    // Observed when its batch comes up; until then, or when the scan ends first, a failure must not count as unhandled.
    vecs.catch(() => {})
    this.#prefetch = { source: step.source, vecs }
  }

  /** Which rows of the batch are wanted, from the columns loaded first; undefined: none. */
  #filtered(step: Step, vecs: readonly Vec[]): Wanted | undefined {
    const { source, within } = step
    let selection = within ?? source.live()
    let count = within === undefined ? source.liveCount : popcount(within, source.rows)
    if (!step.everyRow && this.#o.where !== undefined) {
      const matches = this.#o.where.eval(vecs, source.rows)
      selection = selection === undefined ? matches : bitmapAnd(matches, selection, source.rows)
      count = popcount(selection, source.rows)
      if (count === 0) return undefined
    }
    if (count === source.rows) selection = undefined
    if (count > this.#remaining) {
      count = this.#remaining
      if (selection !== undefined) selection = firstBits(selection, count)
    }
    return { vecs, selection, count }
  }

  #finish(step: Step, wanted: Wanted, rest: readonly Vec[]): Selected {
    const { source } = step
    const { selection, count } = wanted
    const loaded = step.everyRow ? this.#spread(wanted.vecs) : [...wanted.vecs, ...rest]
    let columns = this.#places.map((place) => loaded[place]!)
    if (selection !== undefined && columns.length > 0 && count >= source.rows * (this.#o.wholeFrom ?? 2)) {
      this.#remaining -= count
      return { columns, length: source.rows, source, position: step.position, selection, filter: selection }
    }
    if (columns.length === 0) columns = []
    else if (selection !== undefined) columns = filterMany(columns, selection, source.rows, count)
    else if (count < source.rows) columns = columns.map((vec) => slice(vec, 0, count))
    for (const vec of columns) assert(vec.length === count, 'a filtered column has the rows that the selection counts', vec.length)
    this.#remaining -= count
    return { columns, length: count, source, position: step.position, selection }
  }

  /** Vecs of #firstOf for a batch that needs no filter, at the places of [...first, ...rest]. */
  #spread(vecs: readonly Vec[]): (Vec | undefined)[] {
    let at = 0
    const first = this.#first.map((column) => (has(this.#o.columns, column) ? vecs[at++] : undefined))
    return [...first, ...vecs.slice(at)]
  }

  /** Aborts with the caller's signal, and when the scan is left early. */
  #signal(): AbortSignal {
    const { signal } = this.#o
    if (signal !== undefined && this.#unlink === undefined) {
      const abort = () => this.#stop.abort(signal.reason)
      signal.addEventListener('abort', abort, { once: true })
      this.#unlink = () => signal.removeEventListener('abort', abort)
    }
    return this.#stop.signal
  }
}

interface Wanted {
  readonly vecs: readonly Vec[]
  readonly selection: Uint8Array | undefined
  readonly count: number
}

/** Sources are not asked for nothing. */
function isReady(source: BatchSource, columns: readonly ColumnDef[]): boolean {
  return columns.length === 0 || source.ready(columns)
}

function loadNow(source: BatchSource, columns: readonly ColumnDef[]): readonly Vec[] {
  return columns.length === 0 ? [] : source.loadSync(columns)
}

function has(columns: readonly ColumnDef[], column: ColumnDef): boolean {
  return columns.some((c) => c.id === column.id)
}

const NO_ROWS = new Uint8Array(0)

/** Those of a batch's live rows that are chosen; NO_ROWS: none. @param start  the batch's first row among the chosen */
function liveWithin(chosen: RowMarks, start: number, source: BatchSource): Uint8Array {
  const rows = chosen.within(start, source.rows)
  if (rows === undefined) return NO_ROWS
  const live = source.live()
  if (live === undefined) return rows
  const both = bitmapAnd(rows, live, source.rows)
  return popcount(both, source.rows) === 0 ? NO_ROWS : both
}

/** A copy of a bitmap with only its first `count` set bits. */
function firstBits(bitmap: Uint8Array, count: number): Uint8Array {
  const first = new Uint8Array(bitmap.length)
  let left = count
  for (let i = 0; left > 0; i++) {
    let byte = bitmap[i]!
    for (let bit = 0; byte !== 0 && left > 0; bit++, byte >>= 1) {
      if ((byte & 1) === 0) continue
      first[i]! |= 1 << bit
      left--
    }
  }
  return first
}

interface BatchCursor<B> {
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
