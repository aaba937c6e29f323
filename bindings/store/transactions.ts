// store/transactions.ts: the life of transact(): one snapshot and one run of the caller's function an attempt, a commit, and another attempt on a conflict.
//
// Invariant: the tracker is begun before the snapshot is taken and ended after the commit was decided, so that no write between the two is overlooked.
import { type Engine, inTurn, type ReadContext, ReadPoint, TransactionState } from '../engine/index.ts'
import { ClosedError, ConflictError } from '../errors.ts'
import type { CommitResult, TransactOptions, WriteOptions } from '../table/index.ts'
import { Reporter } from './progress.ts'
import { transactionHandle } from './transaction-handle.ts'
import { retriesOf } from './write-options.ts'

const JITTER_MS_MAX = 50

export interface TransactionsOptions {
  readonly engine: Engine
  readonly context: ReadContext
  /** Throws when the handle takes no writes, or not with these options. */
  writable(o?: WriteOptions): void
  /** The healing to wait for, if any. */
  heal(o?: WriteOptions): Promise<void> | undefined
  /** What a transaction that asks for more replicas than the mode waits for, once it is committed. */
  confirmed(o: WriteOptions, written: Promise<CommitResult>): Promise<CommitResult>
  /** Settles when no sealed write under that idempotency key is undecided. */
  keyFree(key: string, signal: AbortSignal | undefined): Promise<void> | undefined
  /** Settles when memory takes more rows. */
  room(signal: AbortSignal | undefined): Promise<void> | undefined
  conflicted(): void
  /** Of the functions that run, on all branches. */
  readonly running: Set<AbortController>
}

export class Transactions {
  readonly #o: TransactionsOptions

  constructor(o: TransactionsOptions) {
    this.#o = o
  }

  async run<R>(fn: (tx: never) => Promise<R> | R, o: TransactOptions): Promise<R> {
    this.#o.writable(o)
    const retries = retriesOf(o)
    const { committer, state, tracker, world } = this.#o.engine.parts
    const reporter = new Reporter(world, o.onProgress)
    reporter.tell({ phase: 'transact', done: 0, unit: 'rows' })
    for (let attempt = 0; ; attempt++) {
      for (let healing = this.#o.heal(o); healing !== undefined; healing = this.#o.heal(o)) await healing
      tracker.begin()
      let release: (() => void) | undefined
      try {
        // What is queued now is part of the snapshot: the tracker knows only what comes later.
        await committer.drained()
        release = this.#o.context.hold?.({ lsn: state.applied, branch: state.branch })
        const tx = new TransactionState(this.#o.engine, this.#o.context, new ReadPoint(state, state.applied), o)
        const result = await this.#attempted(tx, fn, attempt, o.signal)
        if (o.idempotencyKey !== undefined) await this.#o.keyFree(o.idempotencyKey, o.signal)
        for (let room = this.#o.room(o.signal); room !== undefined; room = this.#o.room(o.signal)) await room
        this.#o.writable(o)
        const committed = await inTurn(this.#o.engine, o, () => tx.commit(o)).catch((error: unknown) => {
          if (!(error instanceof ConflictError)) throw error
          this.#o.conflicted()
          if (attempt >= retries) throw error
          return error
        })
        if (!(committed instanceof ConflictError)) {
          if (committed !== undefined) {
            if (o.ack !== undefined) await this.#o.confirmed(o, Promise.resolve(committed))
            reporter.tell({ phase: 'transact', done: committed.rows, unit: 'rows' })
            this.#tell(o.onCommitted, committed)
          }
          return result
        }
      } finally {
        release?.()
        tracker.end()
      }
      await world.timers.sleep(1 + (world.random.u32() % JITTER_MS_MAX), o.signal, true)
      this.#o.writable(o)
    }
  }

  /** One run of `fn`. What it throws passes through as it is; its handle is closed when it settles. */
  async #attempted<R>(tx: TransactionState, fn: (tx: never) => Promise<R> | R, attempt: number, outer: AbortSignal | undefined): Promise<R> {
    const abort = new AbortController()
    const signal = outer === undefined ? abort.signal : AbortSignal.any([outer, abort.signal])
    this.#o.running.add(abort)
    try {
      const result = await fn(transactionHandle(tx, attempt, signal) as never)
      outer?.throwIfAborted()
      this.#o.writable()
      return result
    } finally {
      tx.close()
      this.#o.running.delete(abort)
      abort.abort(new ClosedError('transaction.closed', 'the transaction has settled', { details: { what: 'transaction' } }))
    }
  }

  #tell(listener: ((result: CommitResult) => void) | undefined, result: CommitResult): void {
    try {
      listener?.(result)
    } catch (cause) {
      this.#o.engine.parts.world.logger.log({ level: 'error', code: 'transact.onCommitted', cause })
    }
  }
}
