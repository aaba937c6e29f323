// log/object-read-log.ts: a handle on an object log that only reads (log.md section 4, "Read-only handles").
//
// No epoch, no writes. Invariant: what it shows was read as whole slots, with the floor looked at afterwards.
import { ClosedError, ReadOnlyError, StorageError } from '../errors.ts'
import type { TimerHandle, World } from '../runtime/index.ts'

import type { CommitLog, Epoch, LogBatch, LogListener, Lsn, Pin, Submission } from './commit-log.ts'
import { Reclaim } from './reclaim.ts'
import type { SlotChain } from './slot-chain.ts'
import { SlotView } from './slot-view.ts'
import { followSlots } from './slot-follow.ts'
import { Wakeups } from './wakeups.ts'

const POLL_MS_MIN = 50

export interface ObjectReadOptions {
  readonly world: World
  readonly follow: boolean
  readonly tailPollMs: number
}

export class ObjectReadLog extends SlotView implements CommitLog {
  readonly readOnly = true as const
  readonly epoch: Epoch = 0n as Epoch
  readonly #o: ObjectReadOptions
  readonly #listeners = new Set<LogListener>()
  readonly reclaim: Reclaim = new Reclaim()
  readonly #wakeups = new Wakeups()
  #timer: TimerHandle | undefined
  #pollMs = POLL_MS_MIN
  #told: number
  #closed = false
  #failed: Error | undefined

  /** @internal use openObjectLog */
  constructor(chain: SlotChain, o: ObjectReadOptions) {
    super(chain)
    this.#o = o
    this.#told = chain.head
    if (o.follow) this.#arm()
  }

  get submitted(): Lsn {
    return this.head
  }

  listen(listener: LogListener): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  submit(): Submission {
    throw new ReadOnlyError('the log was opened for reading only')
  }

  async append(): Promise<Submission> {
    return this.submit()
  }

  async trim(): Promise<Lsn> {
    throw new ReadOnlyError('the log was opened for reading only')
  }

  tailing(start: Lsn, o: { signal: AbortSignal }): AsyncIterable<LogBatch> {
    const check = () => {
      this.check()
      o.signal.throwIfAborted()
    }
    return followSlots(Number(start), {
      chain: this.chain,
      wakeups: this.#wakeups,
      timers: this.#o.world.timers,
      pollMsMax: this.#o.tailPollMs,
      look: () => this.refresh(),
      ended: () => this.#failed,
      check,
      signal: o.signal,
    })
  }

  async refresh(): Promise<Lsn> {
    this.check()
    await this.chain.exclusively(() => this.chain.extend())
    this.#tell()
    return this.head
  }

  pin(start: Lsn, owner: string): Promise<Pin> {
    return this.reclaim.pin(start, owner, () => this.chain.tail)
  }

  async sync(): Promise<Lsn> {
    return this.head
  }

  async close(): Promise<void> {
    this.closeSync()
  }

  closeSync(): void {
    this.#closed = true
    if (this.#timer !== undefined) this.#o.world.timers.clear(this.#timer)
    this.#wakeups.wake()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #tell(): void {
    if (this.chain.head <= this.#told) return
    this.#told = this.chain.head
    const lsn = this.head
    for (const listener of this.#listeners) listener.durable(lsn)
    this.#wakeups.wake()
  }

  #arm(): void {
    if (this.#closed || this.#failed !== undefined) return
    this.#timer = this.#o.world.timers.set(this.#pollMs, () => {
      const before = this.chain.head
      this.refresh().then(
        () => {
          this.#pollMs = this.chain.head > before ? POLL_MS_MIN : Math.min(this.#o.tailPollMs, this.#pollMs * 2)
          this.#arm()
        },
        (error: unknown) => {
          // The store is out of reach: it is looked for as long as somebody follows.
          if (!(error instanceof StorageError && error.retryable)) return this.#fail(error)
          this.#o.world.logger.log({ level: 'warn', code: 'log.behind', error })
          this.#pollMs = this.#o.tailPollMs
          this.#arm()
        },
      )
    })
  }

  #fail(error: unknown): void {
    if (this.#closed) return
    this.#failed = error as Error
    for (const listener of this.#listeners) listener.failed(this.#failed)
    this.#wakeups.wake()
  }

  protected override check(): void {
    if (this.#closed) throw new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } })
    if (this.#failed !== undefined) throw this.#failed
  }
}
