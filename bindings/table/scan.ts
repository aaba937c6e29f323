// table/scan.ts: a lazy read of one version of a table, with every way to take its rows (api.md section 4).
//
// Nothing happens before the first use; the version taken then is kept, so that running a scan twice reads the same LSN. Every method makes its own run.
// Invariant: a run that ends, fails, is aborted or is left early releases what it holds at once.

import type { ColumnDef } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { World } from '../runtime/index.ts'
import { type LooseAggregate, Aggregation } from './aggregate.ts'
import { arrowTable, recordBatches } from './arrow-out.ts'
import type { ColumnBatch, TableVersion } from './batch.ts'
import { explainPlan } from './explain.ts'
import { orderedBatches } from './order.ts'
import { Pace } from './pace.ts'
import { type RowReader, rowReader } from './rows-out.ts'
import { type LooseScanOptions, planScan, resolveScan, type ScanPlan } from './scan-plan.ts'
import { eachSelected, SelectCursor } from './scan-select.ts'
import { columnsOf, ipcStream, splitBatch, type Steps } from './terminal.ts'
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
  /** Asked by each run: its version stays readable until what it gives is called. @throws HistoryUnavailableError */
  readonly hold?: ((version: TableVersion) => () => void) | undefined
  /** Told once which version is read. */
  readonly onRead?: (version: TableVersion) => void
}

/** Makes a scan; it does nothing until it is used. Errors in the options reject the first use. */
export function createScan<T extends AnyTable, R>(request: ScanRequest): Scan<T, R> {
  return new TableScan(request) as unknown as Scan<T, R>
}

type Row = Record<string, unknown>

/** A batch of a run; with a filter, only those of its rows count. */
interface RunBatch extends ColumnBatch {
  readonly filter?: Uint8Array | undefined
}

/** One run: batches of the columns asked for, in the scan's order. */
interface Run {
  readonly pace: Pace
  /** Stored rows passed so far. */
  readonly scannedRows: number
  next(): RunBatch | undefined | Promise<RunBatch | undefined>
  close(): void
}

interface RunOptions {
  /** The rows that an ordered run chooses come as they are stored. */
  readonly inStorageOrder?: boolean
  /** Share of rows from which a batch may come whole with a filter. */
  readonly wholeFrom?: number
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
    const make = await recordBatches(plan.select)
    for await (const batch of this.#batches(plan)) {
      for (const part of splitBatch(batch, plan.batchRows)) {
        yield make(part)
        this.#check()
      }
    }
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
    return arrowTable(plan.select, await this.#collected(plan, itself, plan.batchRows))
  }

  async toIpc(): Promise<Uint8Array> {
    const plan = await this.#planned()
    return this.#collected(plan, (batches) => ipcStream(plan.select, batches), plan.batchRows)
  }

  async toColumns(): Promise<Record<string, unknown>> {
    const plan = await this.#planned()
    return this.#collected(plan, (batches) => columnsOf(plan.select, batches))
  }

  async count(): Promise<number> {
    const plan = await this.#planned()
    if (plan.where === undefined) return Math.min(plan.limit, plan.version.liveRows)
    let rows = 0
    const visit = (batch: ColumnBatch): void => {
      rows += batch.length
    }
    await this.#each({ ...plan, order: [] }, [], visit, nothing)
    return rows
  }

  async aggregate(spec: Readonly<Record<string, LooseAggregate>>, o: { readonly by?: readonly string[] } = {}): Promise<Row | Row[]> {
    const by = o.by ?? []
    const plan = await this.#planned()
    using aggregation = new Aggregation(plan.view, spec, by, this.#request.world.random.u32())
    const add = (batch: RunBatch): void => aggregation.add(batch, batch.filter)
    const finish = (): Steps<Row | Row[]> => aggregation.results()
    const { wholeFrom } = aggregation
    if (plan.limit < plan.storedRows) return await this.#each(plan, aggregation.columns, add, finish, { inStorageOrder: true, wholeFrom })
    // Without a limit that counts the order changes no result, and statistics may answer for whole groups.
    const groups = plan.groups.filter(({ group, everyRow }) => !everyRow || !aggregation.addFromStatistics(group))
    return await this.#each({ ...plan, groups, order: [] }, aggregation.columns, add, finish, { wholeFrom })
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

  #run(plan: ScanPlan, columns: readonly ColumnDef[], o?: RunOptions): Run {
    const release = this.#request.hold?.(plan.version)
    const run = this.#unheld(plan, columns, o)
    if (release === undefined) return run
    const close = run.close.bind(run)
    run.close = () => {
      release()
      close()
    }
    return run
  }

  #unheld(plan: ScanPlan, columns: readonly ColumnDef[], { inStorageOrder = false, wholeFrom }: RunOptions = {}): Run {
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
    const { groups, where, paths, limit } = plan
    return Object.assign(new SelectCursor({ groups, where, paths, columns, limit, signal, wholeFrom, check: () => pace.check() }), { pace })
  }

  /** Shows every batch to `visit`, then runs `finish`, all at the pace. */
  async #each<F>(
    plan: ScanPlan,
    columns: readonly ColumnDef[],
    visit: (batch: RunBatch, pace: Pace) => void | Promise<void>,
    finish: () => Steps<F>,
    options: RunOptions = {},
  ): Promise<F> {
    const run = this.#run(plan, columns, options)
    try {
      await eachSelected(run, run.pace, (batch) => visit(batch, run.pace))
      const steps = finish()
      for (;;) {
        const step = steps.next()
        if (step.done === true) {
          run.pace.finish(run.scannedRows)
          return step.value
        }
        const turn = run.pace.step(run.scannedRows)
        if (turn !== undefined) await turn
      }
    } finally {
      run.close()
    }
  }

  #collected<F>(plan: ScanPlan, finish: (batches: readonly ColumnBatch[]) => Steps<F>, batchRows = Infinity): Promise<F> {
    const batches: ColumnBatch[] = []
    return this.#each(
      plan,
      plan.select.map(({ column }) => column),
      (batch) => {
        for (const part of splitBatch(batch, batchRows)) batches.push(part)
      },
      () => finish(batches),
    )
  }

  async #rowsOf(plan: ScanPlan): Promise<Row[]> {
    const rows: Row[] = []
    const read = rowReader(plan.select)
    const columns = plan.select.map(({ column }) => column)
    const visit = ({ columns: vecs, length }: ColumnBatch, pace: Pace): Promise<void> | undefined => {
      const first = Math.min(length, ROWS_PER_STEP)
      for (let i = 0; i < first; i++) rows.push(read(vecs, i))
      return first === length ? undefined : pushRows(rows, read, vecs, length, pace)
    }
    await this.#each(plan, columns, visit, nothing)
    return rows
  }

  /** As an iterator; leaving it early closes the run. */
  async *#batches(plan: ScanPlan): AsyncGenerator<ColumnBatch, undefined> {
    const run = this.#run(
      plan,
      plan.select.map(({ column }) => column),
    )
    try {
      for (;;) {
        const next = run.next()
        const batch = next instanceof Promise ? await next : next
        if (batch === undefined) break
        if (batch.length > 0) yield batch
        const turn = run.pace.step(run.scannedRows)
        if (turn !== undefined) await turn
      }
      run.pace.finish(run.scannedRows)
    } finally {
      run.close()
    }
  }
}

/** The rows of a long batch behind its first ROWS_PER_STEP. */
async function pushRows(rows: Row[], read: RowReader, vecs: readonly Vec[], length: number, pace: Pace): Promise<void> {
  for (let from = ROWS_PER_STEP; from < length; from += ROWS_PER_STEP) {
    const turn = pace.step(undefined)
    if (turn !== undefined) await turn
    const to = Math.min(length, from + ROWS_PER_STEP)
    for (let i = from; i < to; i++) rows.push(read(vecs, i))
  }
}

function* nothing(): Steps<undefined> {}

// oxlint-disable-next-line require-yield -- nothing is left to do
function* itself<B>(batches: B): Steps<B> {
  return batches
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
