// table/order-parts.ts: what both ways of ordering share: sort keys, the memory they may hold, and the slices they hand out.

import { ResourceLimitError } from '../errors.ts'
import { type ColumnDef, valueKindOf } from '../format/index.ts'
import { type SortKey, slice, take, trimKernels, type Vec } from '../kernels/index.ts'
import type { ColumnBatch } from './batch.ts'
import type { Pace } from './pace.ts'
import type { OrderKey, ScanPlan } from './scan-plan.ts'
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

/** A sort key and two row numbers: what sorting takes a row besides the columns. */
const WORK_BYTES = 16

/** Counts what is held against the limit. */
export class Held {
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

/**
 * The rows of the columns in that order, in batches of at most batchRows. Whole columns are gathered, one a turn: a batch at a time its rows would lie
 * scattered over all of the source, which is five times dearer.
 */
export async function inOrder({ plan, pace }: OrderOptions, columns: readonly Vec[], indices: Uint32Array): Promise<Iterable<ColumnBatch>> {
  const ordered: Vec[] = []
  for (const column of columns) {
    ordered.push(take(column, indices))
    const turn = pace.step(indices.length)
    if (turn !== undefined) await turn
  }
  // Sorting grows kernel memory with the rows; it is not kept for what may never come again.
  trimKernels()
  return cut(ordered, indices.length, plan.batchRows)
}

function* cut(columns: readonly Vec[], rows: number, batchRows: number): Generator<ColumnBatch, undefined> {
  for (let start = 0; start < rows; start += batchRows) {
    const end = Math.min(rows, start + batchRows)
    yield { length: end - start, columns: columns.map((column) => slice(column, start, end)) }
  }
}

/** `vecs` in the order of the keys. */
export function sortKeys(vecs: readonly Vec[], order: readonly OrderKey[]): SortKey[] {
  return order.map(({ column, descending }, i) => ({ vec: vecs[i]!, kind: valueKindOf(column.column.type)!, descending }))
}

/** `columns`, then the order columns that are not among them. */
export function unite(columns: readonly ColumnDef[], order: readonly OrderKey[]): ColumnDef[] {
  const united = [...columns]
  for (const { column } of order) if (placeOf(united, column.column) < 0) united.push(column.column)
  return united
}

export function placeOf(columns: readonly ColumnDef[], column: ColumnDef): number {
  return columns.findIndex((c) => c.id === column.id)
}
