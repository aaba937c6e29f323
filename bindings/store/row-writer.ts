// store/row-writer.ts: writes of rows to one branch: each call is one commit that resolves once it is durable. A store handle has one for main, a Branch its own.

import { deleteKeys, deleteWhere, type Engine, inTurn, load, type LoadOp, updateRows, writeBatch, writeRows } from '../engine/index.ts'
import { concat } from '../kernels/index.ts'
import { isTraced, traced, type TraceMessage } from '../runtime/index.ts'
import {
  type AnyTable,
  batchBytes,
  type ColumnBatch,
  type CommitResult,
  INLINE_ROWS_MAX,
  isRows,
  keyless,
  type Predicate,
  type StageOptions,
  toBatches,
  type TransactOptions,
  type WriteOptions,
} from '../table/index.ts'
import type { StagedWriteHandle, Writes } from '../write/index.ts'
import { Reporter } from './progress.ts'
import type { Transactions } from './transactions.ts'
import { stageOptionsOf, withAgain } from './write-options.ts'

/** Above it a batch is staged however few bytes it has: the memory layer takes at most a chunk at a time. */
const INLINE_BATCH_ROWS_MAX = 16_384

export interface RowWriterParts {
  readonly engine: Engine
  readonly writes: Writes
  readonly transactions: Transactions
  /** Throws when the handle takes no writes, or not with these options. */
  readonly writable: (o?: WriteOptions) => void
  /** What comes before a write: healing, and room for rows in memory. undefined: nothing to wait for. */
  readonly ready: (o: WriteOptions | undefined) => Promise<void> | undefined
  readonly heal: () => Promise<void> | undefined
  /** What a write that asks for more replicas than the mode waits for, once it is committed. */
  readonly confirmed: (o: WriteOptions, written: Promise<CommitResult>) => Promise<CommitResult>
  /** What tracing channels are told. */
  readonly facts: (table: AnyTable | undefined) => { storeId: string; table?: string }
}

export class RowWriter {
  private readonly parts: RowWriterParts

  constructor(parts: RowWriterParts) {
    this.parts = parts
  }

  append(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write(table, 'append', data, o)
  }

  upsert(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write(table, 'upsert', data, o)
  }

  replace(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write(table, 'replace', data, o)
  }

  private write(table: AnyTable, op: LoadOp, data: unknown, o: WriteOptions | undefined): Promise<CommitResult> {
    if (!isTraced('commit')) return this.confirmed(o, this.writeNow(table, op, data, o))
    return traced('commit', this.parts.facts(table), () => this.confirmed(o, this.writeNow(table, op, data, o)), factsOf)
  }

  private confirmed(o: WriteOptions | undefined, written: Promise<CommitResult>): Promise<CommitResult> {
    return o?.ack === undefined ? written : this.parts.confirmed(o, written)
  }

  private writeNow(table: AnyTable, op: LoadOp, data: unknown, o: WriteOptions | undefined): Promise<CommitResult> {
    try {
      this.parts.writable(o)
      if (op === 'upsert' && table.key.length === 0) throw keyless(this.parts.engine.binder.bind(table).view)
      const room = this.parts.ready(o)
      if (room !== undefined) return room.then(() => this.writeNow(table, op, data, o))
      if (op !== 'replace' && isRows(data)) {
        const rows = Array.isArray(data) ? (data as readonly object[]) : [data as object]
        if (rows.length > 0 && rows.length <= INLINE_ROWS_MAX && o?.onProgress === undefined) {
          if (this.parts.engine.parts.log.shared) return this.writeRowsInTurn(table, op, rows, o)
          const written = writeRows(this.parts.engine, table, op, rows, o)
          if (written !== undefined) return written
        }
      }
      return this.writeData(table, op, data, o)
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  private async writeRowsInTurn(table: AnyTable, op: 'append' | 'upsert', rows: readonly object[], o: WriteOptions | undefined): Promise<CommitResult> {
    const written = await inTurn(this.parts.engine, o, async (again) => writeRows(this.parts.engine, table, op, rows, withAgain(o, again)))
    return written ?? this.writeData(table, op, rows, o)
  }

  /** Inline when it is small, staged as fragments when it is large. */
  private async writeData(table: AnyTable, op: LoadOp, data: unknown, o: WriteOptions | undefined): Promise<CommitResult> {
    const { view } = this.parts.engine.binder.bind(table)
    const source = toBatches(view, data, o?.signal === undefined ? {} : { signal: o.signal })
    const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
    const head: ColumnBatch[] = []
    let bytes = 0
    let rows = 0
    try {
      for (;;) {
        const next = await iterator.next()
        if (next.done === true) break
        head.push(next.value)
        rows += next.value.length
        bytes += batchBytes(next.value)
        if (bytes > this.parts.engine.parts.limits.inlineLimitBytes || rows > INLINE_BATCH_ROWS_MAX)
          return await load(this.parts.engine, table, op, joined(head, iterator), o, view.schema)
      }
    } finally {
      await iterator.return?.(undefined as never)
    }
    o?.signal?.throwIfAborted()
    return this.reported(op, table.name, o, () =>
      inTurn(this.parts.engine, o, (again) =>
        writeBatch(this.parts.engine, table, op, oneBatch(head, view.schema.columns.length), withAgain(o, again), view.schema),
      ),
    )
  }

  /** For commits that are one step: progress is their beginning and their end. */
  private async reported(phase: string, table: string, o: WriteOptions | undefined, write: () => Promise<CommitResult>): Promise<CommitResult> {
    if (o?.onProgress === undefined) return write()
    const reporter = new Reporter(this.parts.engine.parts.world, o.onProgress)
    reporter.tell({ phase, done: 0, unit: 'rows', table })
    const result = await write()
    reporter.tell({ phase, done: result.rows, unit: 'rows', table })
    return result
  }

  update(table: AnyTable, patch: object | readonly object[], o?: WriteOptions): Promise<CommitResult> {
    return this.attempt('update', table, o, () =>
      inTurn(this.parts.engine, o, async () =>
        updateRows(this.parts.engine, table, Array.isArray(patch) ? (patch as readonly object[]) : [patch as object], o),
      ),
    )
  }

  delete(table: AnyTable, key: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.attempt('delete', table, o, () =>
      inTurn(this.parts.engine, o, async (again) =>
        deleteKeys(this.parts.engine, table, Array.isArray(key) ? (key as readonly unknown[]) : [key], withAgain(o, again)),
      ),
    )
  }

  deleteWhere(table: AnyTable, where: Predicate<any>, o?: WriteOptions): Promise<CommitResult> {
    return this.attempt('deleteWhere', table, o, () => inTurn(this.parts.engine, o, () => deleteWhere(this.parts.engine, table, where, o)))
  }

  private attempt(phase: string, table: AnyTable, o: WriteOptions | undefined, write: () => Promise<CommitResult>): Promise<CommitResult> {
    const fn = o?.onProgress === undefined ? write : () => this.reported(phase, table.name, o, write)
    const written = (): Promise<CommitResult> => this.confirmed(o, this.attemptNow(o, fn))
    return isTraced('commit') ? traced('commit', this.parts.facts(table), written, factsOf) : written()
  }

  private attemptNow(o: WriteOptions | undefined, fn: () => Promise<CommitResult>): Promise<CommitResult> {
    try {
      this.parts.writable(o)
      const room = this.parts.ready(o)
      return room === undefined ? fn() : room.then(() => this.attemptNow(o, fn))
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  // transactions

  transact<R>(fn: (tx: never) => Promise<R> | R, o: TransactOptions = {}): Promise<R> {
    if (!isTraced('commit')) return this.parts.transactions.run(fn, o)
    let committed: CommitResult | undefined
    const onCommitted = (result: CommitResult): void => {
      committed = result
      o.onCommitted?.(result)
    }
    return traced(
      'commit',
      this.parts.facts(undefined),
      () => this.parts.transactions.run(fn, { ...o, onCommitted }),
      () => (committed === undefined ? {} : factsOf(committed)),
    )
  }

  // staged writes

  async stage(given?: string | StageOptions): Promise<StagedWriteHandle> {
    const o = stageOptionsOf(given)
    this.parts.writable(o)
    await this.parts.heal()
    return this.parts.writes.stage(o)
  }
}

/** The batches read already, then the rest. */
async function* joined(head: readonly ColumnBatch[], rest: Iterator<ColumnBatch> | AsyncIterator<ColumnBatch>): AsyncGenerator<ColumnBatch, undefined> {
  yield* head
  for (;;) {
    const next = await rest.next()
    if (next.done === true) return
    yield next.value
  }
}

function oneBatch(batches: readonly ColumnBatch[], columnCount: number): ColumnBatch {
  if (batches.length === 1) return batches[0]!
  const filled = batches.filter((batch) => batch.length > 0)
  if (filled.length <= 1) return filled[0] ?? batches[0] ?? { length: 0, columns: [] }
  return {
    length: filled.reduce((sum, batch) => sum + batch.length, 0),
    columns: Array.from({ length: columnCount }, (_, i) => concat(filled.map((batch) => batch.columns[i]!))),
  }
}

/** What a tracing channel is told of a commit. */
export function factsOf({ lsn, writeId, rows }: CommitResult): TraceMessage {
  return { lsn, writeId, rows }
}
