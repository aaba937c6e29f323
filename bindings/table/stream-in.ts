// table/stream-in.ts: everything a write accepts, as batches of stored columns (api.md section 3): rows, columns, Arrow, IPC bytes, and streams of them.
//
// What is in memory comes out synchronously. Streams are pulled one batch ahead of the consumer at most: 65 536 rows or about 8 MiB, whichever is first.
// Invariant: row numbers in messages count over the whole input; the source's return() is called whenever it is not read to its end.
import { asBytes } from '../kernels/index.ts'
import { SchemaMismatchError } from '../errors.ts'
import { arrowToBatches, isArrowLike, TARGET_ROWS } from './arrow-in.ts'
import type { ColumnBatch } from './batch.ts'
import { isColumnData } from './column-data.ts'
import { columnsToBatches } from './columns-in.ts'
import { ipcBytesToBatches, ipcPiecesToBatches } from './ipc-in.ts'
import { showValue } from './physical.ts'
import { rowsToBatch } from './rows-in.ts'
import { bytesOfVec } from './vec-views.ts'
import type { TableView } from './view.ts'

export interface ToBatchesOptions {
  readonly signal?: AbortSignal | undefined
  /** Rows read so far, after each batch. */
  readonly onRows?: ((rows: number) => void) | undefined
  /** Most rows of a batch; 65 536. */
  readonly targetRows?: number | undefined
}

/** About this many bytes make a batch, whatever its rows. */
const TARGET_BYTES = 8 * 1024 * 1024
/** Rows measured before the size of the others is known. */
const SAMPLE_ROWS = 64

/**
 * The batches of whatever `append` and its like were given.
 *
 * @returns an Iterable for what is in memory (rows, columns, Arrow, a generator), an AsyncIterable for streams and IPC bytes
 * @throws SchemaMismatchError, NullKeyError; the signal's reason
 */
export function toBatches(view: TableView, data: unknown, o: ToBatchesOptions = {}): Iterable<ColumnBatch> | AsyncIterable<ColumnBatch> {
  const at = { ...o, targetRows: o.targetRows ?? TARGET_ROWS }
  if (data instanceof Uint8Array) return counted(ipcBytesToBatches(view, asBytes(data), at), o)
  if (typeof data !== 'object' || data === null) throw notRows(view, data)
  if (Array.isArray(data)) return countedSync(rowBatches(view, data as object[], 0, at.targetRows), o)
  const inMemory = bulkBatches(view, data, 0, at.targetRows)
  if (inMemory !== undefined) return countedSync(inMemory, o)
  const source = data as Partial<AsyncIterable<unknown> & Iterable<unknown> & ReadableStream<unknown>>
  if (typeof source[Symbol.asyncIterator] === 'function') return counted(streamBatches(view, source[Symbol.asyncIterator]!(), at), o)
  if (typeof source.getReader === 'function') return counted(streamBatches(view, readerOf(source as ReadableStream<unknown>), at), o)
  if (typeof source[Symbol.iterator] === 'function' && !ArrayBuffer.isView(data)) {
    return countedSync(generatorBatches(view, source[Symbol.iterator]!(), at.targetRows), o)
  }
  return countedSync(rowBatches(view, [data], 0, at.targetRows), o)
}

/** Whether toBatches gives an AsyncIterable. */
export function isAsyncBatches(batches: Iterable<ColumnBatch> | AsyncIterable<ColumnBatch>): batches is AsyncIterable<ColumnBatch> {
  return Symbol.asyncIterator in batches
}

function notRows(view: TableView, data: unknown): SchemaMismatchError {
  const table = view.schema.name
  return new SchemaMismatchError(`${table}: expected rows, columns(), Arrow or a stream of them, got ${showValue(data)}`, { details: { table } })
}

function bulkBatches(view: TableView, data: object, firstRow: number, targetRows: number): Iterable<ColumnBatch> | undefined {
  if (isColumnData(data)) return columnsToBatches(view, data, { firstRow, targetRows })
  return isArrowLike(data) ? arrowToBatches(view, data, { firstRow, targetRows }) : undefined
}

/** Rows in batches of at most the target, fewer where rows are large. */
function* rowBatches(view: TableView, rows: readonly object[], firstRow: number, targetRows: number): Generator<ColumnBatch, undefined> {
  let size = new RowSize(targetRows)
  if (rows.length > SAMPLE_ROWS) {
    try {
      size.learn(rowsToBatch(view, rows.slice(0, SAMPLE_ROWS), { firstRow }))
    } catch (cause) {
      // The error counts wrong rows: of more than the sample.
      rowsToBatch(view, rows.slice(0, targetRows), { firstRow })
      throw cause
    }
  }
  if (rows.length <= SAMPLE_ROWS) size = new RowSize(Math.max(1, rows.length))
  for (let start = 0; start < rows.length;) {
    const end = Math.min(rows.length, start + size.rows)
    const batch = rowsToBatch(view, start === 0 && end === rows.length ? rows : rows.slice(start, end), { firstRow: firstRow + start })
    size.learn(batch)
    yield batch
    start = end
  }
}

/** How many rows make a batch of TARGET_BYTES, going by those seen last. */
class RowSize {
  readonly #rowsMax: number
  rows: number
  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax
    this.rows = rowsMax
  }
  learn(batch: ColumnBatch): void {
    if (batch.length === 0) return
    let bytes = 0
    for (const column of batch.columns) bytes += bytesOfVec(column)
    this.rows = Math.max(1, Math.min(this.#rowsMax, Math.floor((TARGET_BYTES * batch.length) / Math.max(1, bytes))))
  }
}

/** Rows that came one by one. */
class PendingRows {
  readonly #view: TableView
  readonly #size: RowSize
  #rows: object[] = []
  #measured = false
  /** Rows of the input before the pending ones. */
  before = 0

  constructor(view: TableView, targetRows: number) {
    this.#view = view
    this.#size = new RowSize(targetRows)
  }

  get count(): number {
    return this.#rows.length
  }

  push(row: object): void {
    this.#rows.push(row)
  }

  /** A batch, once there are rows for one. */
  full(): ColumnBatch | undefined {
    if (!this.#measured && this.#rows.length >= SAMPLE_ROWS) {
      this.#measured = true
      this.#size.learn(rowsToBatch(this.#view, this.#rows, { firstRow: this.before }))
    }
    return this.#rows.length >= this.#size.rows ? this.flush() : undefined
  }

  /** Whatever is pending. */
  flush(): ColumnBatch | undefined {
    if (this.#rows.length === 0) return undefined
    const rows = this.#rows
    this.#rows = []
    const batch = rowsToBatch(this.#view, rows, { firstRow: this.before })
    this.before += rows.length
    this.#size.learn(batch)
    return batch
  }
}

/** A synchronous generator of rows; nothing runs ahead of the consumer but the rows of one batch. */
function* generatorBatches(view: TableView, source: Iterator<unknown>, targetRows: number): Generator<ColumnBatch, undefined> {
  const pending = new PendingRows(view, targetRows)
  let ended = false
  try {
    for (;;) {
      const step = pulled(
        () => {
          const next = source.next()
          ended = next.done === true
          return next
        },
        () => (ended = true),
      )
      if (step.done) break
      pending.push(step.value as object)
      const batch = pending.full()
      if (batch !== undefined) yield batch
    }
    const last = pending.flush()
    if (last !== undefined) yield last
  } finally {
    if (!ended) source.return?.()
  }
}

/** A source that threw is at its end: return() is not called on it. */
function pulled<T>(pull: () => T, onThrow: () => void): T {
  try {
    return pull()
  } catch (cause) {
    onThrow()
    throw cause
  }
}

/** An async iterable or stream of chunks: rows one by one or in arrays, columns, Arrow; bytes are pieces of Arrow IPC. */
async function* streamBatches(
  view: TableView,
  source: AsyncIterator<unknown>,
  o: { readonly signal?: AbortSignal | undefined; readonly targetRows: number },
): AsyncGenerator<ColumnBatch, undefined> {
  const pull = new Pull(source, o.signal)
  const pending = new PendingRows(view, o.targetRows)
  try {
    for (;;) {
      const chunk = await pull.next()
      if (chunk === undefined) break
      const { value } = chunk
      if (value instanceof Uint8Array) {
        const before = pending.flush()
        if (before !== undefined) yield before
        pending.before += yield* ipcRun(view, asBytes(value), pull, pending.before, o.targetRows)
      } else if (Array.isArray(value)) {
        for (const row of value as object[]) {
          pending.push(row)
          const batch = pending.full()
          if (batch !== undefined) yield batch
        }
      } else {
        const bulk = typeof value === 'object' && value !== null ? bulkOrNothing(view, value, pending, o.targetRows) : undefined
        if (bulk === undefined) {
          pending.push(value as object)
          const batch = pending.full()
          if (batch !== undefined) yield batch
        } else yield* bulk
      }
    }
    const last = pending.flush()
    if (last !== undefined) yield last
  } finally {
    await pull.end()
  }
}

function* bulkBatchesAfter(batches: Iterable<ColumnBatch>, pending: PendingRows, before: ColumnBatch | undefined): Generator<ColumnBatch, undefined> {
  if (before !== undefined) yield before
  for (const batch of batches) {
    pending.before += batch.length
    yield batch
  }
}

function bulkOrNothing(view: TableView, value: object, pending: PendingRows, targetRows: number): Iterable<ColumnBatch> | undefined {
  if (!isColumnData(value) && !isArrowLike(value)) return undefined
  const before = pending.flush()
  return bulkBatchesAfter(bulkBatches(view, value, pending.before, targetRows)!, pending, before)
}

/** Pieces of bytes are one IPC stream until something else comes. */
async function* ipcRun(view: TableView, first: Uint8Array, pull: Pull, firstRow: number, targetRows: number): AsyncGenerator<ColumnBatch, number> {
  let given = false
  const next = async (): Promise<Uint8Array | undefined> => {
    if (!given) {
      given = true
      return first
    }
    const chunk = await pull.next()
    if (chunk === undefined) return undefined
    if (chunk.value instanceof Uint8Array) return asBytes(chunk.value)
    pull.unread(chunk)
    return undefined
  }
  return yield* ipcPiecesToBatches(view, next, { firstRow, targetRows })
}

interface Chunk {
  readonly value: unknown
}

/** Pulls from an async iterator; a signal interrupts the wait. */
class Pull {
  readonly #source: AsyncIterator<unknown>
  readonly #signal: AbortSignal | undefined
  #ended = false
  #waiting = false
  #held: Chunk | undefined

  constructor(source: AsyncIterator<unknown>, signal: AbortSignal | undefined) {
    this.#source = source
    this.#signal = signal
  }

  /** Undefined at the end. Rejects with the signal's reason as soon as it aborts, also while the source is still at work. */
  async next(): Promise<Chunk | undefined> {
    this.#signal?.throwIfAborted()
    const held = this.#held
    this.#held = undefined
    if (held !== undefined) return held
    this.#waiting = true
    const step = await this.#orAbort(this.#pull())
    return step.done === true ? undefined : { value: step.value }
  }

  /** The chunk comes again with the next call. */
  unread(chunk: Chunk): void {
    this.#held = chunk
  }

  /** Tell a source that was not read to its end. Not waited for while it is still making a chunk: it may never come back. */
  async end(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    const returned = this.#source.return?.()
    if (returned === undefined) return
    if (this.#waiting) returned.catch(() => {})
    else await returned
  }

  async #pull(): Promise<IteratorResult<unknown>> {
    try {
      const step = await this.#source.next()
      if (step.done === true) this.#ended = true
      return step
    } catch (cause) {
      this.#ended = true
      throw cause
    } finally {
      this.#waiting = false
    }
  }

  #orAbort(step: Promise<IteratorResult<unknown>>): Promise<IteratorResult<unknown>> {
    const signal = this.#signal
    if (signal === undefined) return step
    return new Promise((resolve, reject) => {
      const stop = (): void => reject(signal.reason as Error)
      signal.addEventListener('abort', stop, { once: true })
      step.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
    })
  }
}

/** A web stream of a host whose streams are no async iterables. */
function readerOf(stream: ReadableStream<unknown>): AsyncIterator<unknown> {
  const reader = stream.getReader()
  return {
    async next() {
      const { done, value } = await reader.read()
      return done ? { done: true, value: undefined } : { done: false, value }
    },
    async return() {
      await reader.cancel()
      return { done: true, value: undefined }
    },
  }
}

function* countedSync(batches: Iterable<ColumnBatch>, o: ToBatchesOptions): Generator<ColumnBatch, undefined> {
  let rows = 0
  for (const batch of batches) {
    // Inside the loop, so that leaving it ends the source.
    o.signal?.throwIfAborted()
    rows += batch.length
    o.onRows?.(rows)
    yield batch
  }
  o.signal?.throwIfAborted()
}

async function* counted(batches: AsyncIterable<ColumnBatch>, o: ToBatchesOptions): AsyncGenerator<ColumnBatch, undefined> {
  let rows = 0
  for await (const batch of batches) {
    o.signal?.throwIfAborted()
    rows += batch.length
    o.onRows?.(rows)
    yield batch
  }
  o.signal?.throwIfAborted()
}
