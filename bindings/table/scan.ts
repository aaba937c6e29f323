// table/scan.ts: a lazy read of one version of a table, with every way to take its rows (api.md section 4).
//
// Nothing happens before the first use; the version taken then is kept, so that running a scan twice reads the same LSN. Every method makes its own run.
// Invariant: a run that ends, fails, is aborted or is left early releases what it holds at once.

import type { ColumnDef } from '../format/index.ts'
import type { World } from '../runtime/index.ts'
import { type LooseAggregate, Aggregation } from './aggregate.ts'
import type { ColumnBatch, TableVersion } from './batch.ts'
import { explainPlan } from './explain.ts'
import { eachSelected, orderedBatches } from './order.ts'
import { Pace } from './pace.ts'
import { rowReader } from './rows-out.ts'
import { type LooseScanOptions, planScan, resolveScan, type ScanPlan } from './scan-plan.ts'
import { SelectCursor } from './scan-select.ts'
import { arrowBatches, arrowTable, columnsOf, ipcStream, splitBatch } from './terminal.ts'
import type { AnyTable } from './types.ts'
import type { ArrowTable, Explain, RecordBatch, Scan } from './types-read.ts'
import type { TableView } from './view.ts'

export interface ScanRequest {
  /** A function where the view depends on the schema of the version. */
  readonly view: TableView | ((version: TableVersion) => TableView)
  /** Asked once, at the first use; what it gives is kept. A rejection is not. */
  readonly version: () => Promise<TableVersion>
  readonly options: LooseScanOptions
  readonly world: World
  /** memory.sortBytes. */
  readonly sortBytes: number
  /** Throws ClosedError when the store was closed. */
  readonly check: () => void
  /** Told once which version is read. */
  readonly onRead?: (version: TableVersion) => void
}

/** Makes a scan; it does nothing until it is used. Errors in the options reject the first use. */
export function createScan<T extends AnyTable, R>(request: ScanRequest): Scan<T, R> {
  return new TableScan(request) as unknown as Scan<T, R>
}

type Row = Record<string, unknown>

/** One run: batches of the columns asked for, in the scan's order. */
interface Run {
  readonly pace: Pace
  /** Stored rows passed so far. */
  readonly scannedRows: number
  next(): ColumnBatch | undefined | Promise<ColumnBatch | undefined>
  close(): void
}

/** Rows made between two looks at the clock. */
const ROWS_PER_STEP = 1024

class TableScan {
  readonly #request: ScanRequest
  #plan: Promise<ScanPlan> | undefined

  constructor(request: ScanRequest) {
    this.#request = request
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<RecordBatch> {
    return this.batches()
  }

  async *batches(): AsyncGenerator<RecordBatch, undefined> {
    const plan = await this.#planned()
    const make = await arrowBatches(plan.select)
    for await (const batch of this.#batches(plan)) for (const part of splitBatch(batch, plan.batchRows)) yield make(part)
  }

  async *rows(): AsyncGenerator<Row, undefined> {
    const plan = await this.#planned()
    const read = rowReader(plan.select)
    for await (const batch of this.#batches(plan)) {
      for (let i = 0; i < batch.length; i++) {
        yield read(batch.columns, i)
        this.#check()
      }
    }
  }

  async toArray(): Promise<Row[]> {
    const plan = await this.#planned()
    return this.#rowsOf(plan)
  }

  async first(): Promise<Row | undefined> {
    const plan = await this.#planned()
    const rows = await this.#rowsOf({ ...plan, limit: Math.min(plan.limit, 1) })
    return rows[0]
  }

  async toArrow(): Promise<ArrowTable> {
    const plan = await this.#planned()
    return arrowTable(plan.select, await this.#collect(plan))
  }

  async toIpc(): Promise<Uint8Array> {
    const plan = await this.#planned()
    return ipcStream(plan.select, await this.#collect(plan))
  }

  async toColumns(): Promise<Record<string, unknown>> {
    const plan = await this.#planned()
    const batches = await this.#collect(plan)
    return columnsOf(plan.select, batches)
  }

  async count(): Promise<number> {
    const plan = await this.#planned()
    if (plan.where === undefined) return Math.min(plan.limit, plan.version.liveRows)
    let rows = 0
    await this.#each({ ...plan, order: [] }, [], (batch) => {
      rows += batch.length
    })
    return rows
  }

  async aggregate(spec: Readonly<Record<string, LooseAggregate>>, o: { readonly by?: readonly string[] } = {}): Promise<Row | Row[]> {
    const by = o.by ?? []
    const plan = await this.#planned()
    const aggregation = new Aggregation(plan.view, spec, by)
    if (plan.limit === Infinity) {
      // The order changes no result then, and statistics may answer for whole groups.
      const groups = plan.groups.filter(({ group, everyRow }) => !everyRow || !aggregation.addFromStatistics(group))
      await this.#each({ ...plan, groups, order: [] }, aggregation.columns, (batch) => aggregation.add(batch))
    } else {
      await this.#each(plan, aggregation.columns, (batch) => aggregation.add(batch), true)
    }
    return by.length > 0 ? aggregation.rows() : aggregation.row()
  }

  async explain(): Promise<Explain> {
    return explainPlan(await this.#planned())
  }

  /** The plan of this scan; made at the first use. A failure is not kept: the next use tries again. */
  #planned(): Promise<ScanPlan> {
    try {
      this.#check()
    } catch (error) {
      return Promise.reject(error as Error)
    }
    return (this.#plan ??= this.#makePlan().catch((error: unknown) => {
      this.#plan = undefined
      throw error
    }))
  }

  async #makePlan(): Promise<ScanPlan> {
    const { view, options } = this.#request
    // Options are checked before anything is read, where the view is known.
    const early = typeof view === 'function' ? undefined : resolveScan(view, options)
    const version = await this.#request.version()
    this.#check()
    const plan = planScan(early ?? resolveScan((view as (version: TableVersion) => TableView)(version), options), version)
    this.#request.onRead?.(version)
    return plan
  }

  #check(): void {
    this.#request.options.signal?.throwIfAborted()
    this.#request.check()
  }

  #run(plan: ScanPlan, columns: readonly ColumnDef[], inStorageOrder: boolean): Run {
    const { options, world, check, sortBytes } = this.#request
    const { signal, onProgress } = options
    const pace = new Pace({
      world,
      check,
      table: plan.view.table.name,
      phase: 'scan',
      total: plan.storedRows,
      ...(signal === undefined ? {} : { signal }),
      ...(onProgress === undefined ? {} : { onProgress }),
    })
    if (plan.order.length > 0) return new OrderedRun({ plan, columns, pace, signal, sortBytes, inStorageOrder })
    const { groups, where, limit } = plan
    return Object.assign(new SelectCursor({ groups, where, columns, limit, signal, check: () => pace.check() }), { pace })
  }

  async #each(plan: ScanPlan, columns: readonly ColumnDef[], visit: (batch: ColumnBatch) => void, inStorageOrder = false): Promise<void> {
    const run = this.#run(plan, columns, inStorageOrder)
    try {
      await eachSelected(run, run.pace, visit)
      run.pace.finish(run.scannedRows)
    } finally {
      run.close()
    }
  }

  async #collect(plan: ScanPlan): Promise<ColumnBatch[]> {
    const batches: ColumnBatch[] = []
    await this.#each(
      plan,
      plan.select.map(({ column }) => column),
      (batch) => {
        for (const part of splitBatch(batch, plan.batchRows)) batches.push(part)
      },
    )
    return batches
  }

  async #rowsOf(plan: ScanPlan): Promise<Row[]> {
    const rows: Row[] = []
    const read = rowReader(plan.select)
    const run = this.#run(
      plan,
      plan.select.map(({ column }) => column),
      false,
    )
    try {
      for (;;) {
        const next = run.next()
        const batch = next instanceof Promise ? await next : next
        if (batch === undefined) break
        for (let from = 0; from < batch.length; from += ROWS_PER_STEP) {
          const to = Math.min(batch.length, from + ROWS_PER_STEP)
          for (let i = from; i < to; i++) rows.push(read(batch.columns, i))
          const turn = run.pace.step(run.scannedRows)
          if (turn !== undefined) await turn
        }
      }
      run.pace.finish(run.scannedRows)
      return rows
    } finally {
      run.close()
    }
  }

  /** As an iterator; leaving it early closes the run. */
  async *#batches(plan: ScanPlan): AsyncGenerator<ColumnBatch, undefined> {
    const run = this.#run(
      plan,
      plan.select.map(({ column }) => column),
      false,
    )
    try {
      for (;;) {
        const next = run.next()
        const batch = next instanceof Promise ? await next : next
        if (batch === undefined) break
        yield batch
        const turn = run.pace.step(run.scannedRows)
        if (turn !== undefined) await turn
      }
      run.pace.finish(run.scannedRows)
    } finally {
      run.close()
    }
  }
}

/** A run whose batches exist only once every row was seen. */
class OrderedRun implements Run {
  readonly pace: Pace
  scannedRows = 0
  readonly #options: Parameters<typeof orderedBatches>[0]
  #batches: Iterator<ColumnBatch> | undefined

  constructor(options: Parameters<typeof orderedBatches>[0]) {
    this.pace = options.pace
    this.#options = options
  }

  next(): ColumnBatch | undefined | Promise<ColumnBatch | undefined> {
    if (this.#batches === undefined) return this.#sort()
    this.pace.check()
    const next = this.#batches.next()
    return next.done === true ? undefined : next.value
  }

  close(): void {
    this.#batches = [][Symbol.iterator]()
  }

  async #sort(): Promise<ColumnBatch | undefined> {
    const batches = await orderedBatches(this.#options)
    this.#batches ??= batches[Symbol.iterator]()
    this.scannedRows = this.#options.plan.storedRows
    return this.next()
  }
}
