// store/upkeep.ts: what a store does by itself: flush tables that have grown, write checkpoints, make writers wait when memory is full.
//
// Invariant: one job at a time; a failing job is reported and never fails a commit; nothing runs after stop().

import { ClosedError, StaleBranchError, VarveError } from '../errors.ts'
import { type Engine, flushTable, writeCheckpoint } from '../engine/index.ts'
import { DEFAULTS } from '../options.ts'
import type { Lsn } from '../log/index.ts'
import type { TableState } from '../table/index.ts'
import type { Acknowledging } from './acknowledging.ts'
import type { Events } from './events.ts'
import type { Metering } from './metering.ts'
import type { Reporter } from './progress.ts'

/** Log bytes between two looks at the sizes of tables. */
const LOOK_BYTES = 512 * 1024
/** Failed flushes after which writers that need room are refused. */
const FAILURES_MAX = 3
/** Log bytes since the checkpoint above which a clean close flushes and writes another. */
const CLOSE_BYTES = 1024 * 1024

/** Between two tries to make room for writers that wait. */
const RETRY_MS = 100

export interface UpkeepParts {
  readonly storeId: Uint8Array
  readonly events: Events
  readonly metering: Metering
  /** LSN of the newest checkpoint; 0 = none. */
  readonly checkpointLsn: number
  readonly acknowledgement: Pick<Acknowledging, 'isFrozen'>
  /** Told at each look, and after each job: whoever has work of its own to do in the background. */
  readonly looked: () => void
}

/** What writes to a table, in memory until it is disposed; undefined: its branch, or the table, is no longer there. */
export type TableLease = (table: TableState) => (Disposable & { readonly engine: Engine }) | undefined

export class Upkeep {
  private readonly engine: Engine
  private readonly lease: TableLease
  private readonly storeId: Uint8Array
  private readonly events: Events
  private readonly metering: Metering
  private readonly looked: () => void
  private readonly automatic: boolean
  private readonly acknowledgement: UpkeepParts['acknowledgement']
  private readonly stopper = new AbortController()
  private running: Promise<void> | undefined
  private lookedBytes: number
  /** Log bytes at the newest checkpoint. */
  private checkpointBytes: number
  private checkpointLsn: number
  private waiting: (() => void)[] = []
  /** Jobs that failed one after the other, and why the last one did. */
  private failures: { count: number; cause: unknown } = { count: 0, cause: undefined }
  /** What was left when a flush freed nothing. */
  private floorBytes = 0
  /** Rows in memory at the last look. */
  memoryBytes = 0

  /** @param engine  of main */
  constructor(engine: Engine, { storeId, events, metering, checkpointLsn, acknowledgement, looked }: UpkeepParts, automatic: boolean, lease: TableLease) {
    this.lease = lease
    this.acknowledgement = acknowledgement
    this.engine = engine
    this.storeId = storeId
    this.events = events
    this.metering = metering
    this.looked = looked
    this.automatic = automatic
    this.checkpointLsn = checkpointLsn
    this.lookedBytes = engine.parts.log.bytes
    // What the open had to read counts: else many short sessions would never come to a checkpoint.
    this.checkpointBytes = engine.parts.log.bytes - engine.parts.store.replayedBytes
  }

  get bytesSinceCheckpoint(): number {
    return Math.max(0, this.engine.parts.log.bytes - this.checkpointBytes)
  }

  /** After every group. */
  look(): void {
    const { log } = this.engine.parts
    if (log.bytes - this.lookedBytes < LOOK_BYTES) return
    this.lookedBytes = log.bytes
    this.looked()
    this.memoryBytes = this.engine.memoryBytes()
    if (!this.automatic || this.running !== undefined || this.stopper.signal.aborted) return
    if (this.bytesSinceCheckpoint >= DEFAULTS.checkpointBytes || this.grown().length > 0) this.start()
  }

  private grown(): TableState[] {
    const limit = Math.min(DEFAULTS.flushBytes, this.engine.parts.limits.writeBytes / 2)
    return this.tables().filter((table) => table.now.layer.byteLength >= limit)
  }

  /** Of every branch in memory. */
  private tables(): TableState[] {
    return [...this.engine.parts.store.everyTable()]
  }

  private start(): void {
    this.running = this.work()
      .then(() => {
        this.failures = { count: 0, cause: undefined }
        this.looked()
      })
      .catch(async (cause: unknown) => {
        this.failures = { count: this.failures.count + 1, cause }
        this.failed(cause)
        // Writers that wait for room ask again: not in a loop that does nothing else.
        if (this.waiting.length > 0) await this.engine.parts.world.timers.sleep(RETRY_MS, this.stopper.signal, true).catch(() => undefined)
      })
      .finally(() => {
        this.running = undefined
        this.release()
      })
  }

  private async work(): Promise<void> {
    const due = this.bytesSinceCheckpoint >= DEFAULTS.checkpointBytes
    const before = this.engine.memoryBytes()
    for (const table of due ? this.tables() : this.chosen(before)) {
      await this.flush(table)
      if (this.stopper.signal.aborted) return
    }
    this.memoryBytes = this.engine.memoryBytes()
    this.floorBytes = this.memoryBytes < before ? 0 : this.memoryBytes
    if (due) await this.checkpoint()
  }

  /** Tables that have grown; when memory is full the largest ones too, until half of it is free. */
  private chosen(bytes: number): TableState[] {
    const chosen = new Set(this.grown())
    const { limits } = this.engine.parts
    if (bytes < limits.writeBytes) return [...chosen]
    const sizes = this.tables()
      .map((table) => ({ table, bytes: table.now.layer.byteLength }))
      .toSorted((a, b) => b.bytes - a.bytes)
    let left = sizes.reduce((sum, { table, bytes: size }) => (chosen.has(table) ? sum : sum + size), 0)
    for (const size of sizes) {
      if (left < limits.writeBytes / 2) break
      if (chosen.has(size.table)) continue
      chosen.add(size.table)
      left -= size.bytes
    }
    return [...chosen]
  }

  private async flush(table: TableState): Promise<number> {
    const { world } = this.engine.parts
    const startedMs = world.clock.monoMs()
    using lease = this.lease(table)
    // Of a branch that was deleted, or dropped from memory, nothing needs to move.
    if (lease === undefined) return 0
    const { rows } = await flushTable(lease.engine, table, this.stopper.signal).catch((error: unknown) => {
      if (error instanceof StaleBranchError) return { rows: 0 }
      throw error
    })
    this.memoryBytes = this.engine.memoryBytes()
    this.release()
    if (rows === 0) return 0
    this.metering.add('varve.flush.rows', rows, table.name)
    this.events.emit('upkeep', { job: 'flush', table: table.name, durationMs: world.clock.monoMs() - startedMs })
    return rows
  }

  private async checkpoint(): Promise<void> {
    // No checkpoint is above C.
    if (this.acknowledgement.isFrozen) return
    const { root, log, state, world } = this.engine.parts
    const startedMs = world.clock.monoMs()
    const bytes = log.bytes
    try {
      this.checkpointLsn = await writeCheckpoint(root, this.storeId, log, state.catalog, world.failpoints)
      this.checkpointBytes = bytes
      this.events.emit('upkeep', { job: 'checkpoint', durationMs: world.clock.monoMs() - startedMs })
    } catch (cause) {
      this.events.emit('checkpointFailed', { lsn: BigInt(state.catalog.lsn) as Lsn, cause })
      throw cause
    }
  }

  private failed(cause: unknown): void {
    if (this.stopper.signal.aborted || (cause instanceof VarveError && cause.kind === 'closed')) return
    this.engine.parts.world.logger.log({ level: 'warn', code: 'upkeep.failed', cause })
  }

  /** Flush every table now, then write a checkpoint; waits for a job under way. An abort ends it between two tables. */
  async flushAll(reporter?: Reporter, signal?: AbortSignal): Promise<void> {
    while (this.running !== undefined) await (signal === undefined ? this.running : orAborted(this.running, signal))
    this.stopper.signal.throwIfAborted()
    const work = this.everything(reporter, signal)
    // stop() waits for it as for any other job.
    this.running = work
      .catch(() => undefined)
      .finally(() => {
        this.running = undefined
        this.release()
      })
    await work
  }

  private async everything(reporter: Reporter | undefined, signal: AbortSignal | undefined): Promise<void> {
    const { state } = this.engine.parts
    let done = 0
    reporter?.tell({ phase: 'flush', done, unit: 'rows' })
    for (const table of this.tables()) {
      signal?.throwIfAborted()
      done += await this.flush(table)
      reporter?.step({ phase: 'flush', done, unit: 'rows', table: table.name })
    }
    if (state.catalog.lsn > this.checkpointLsn) await this.checkpoint()
    reporter?.tell({ phase: 'flush', done, unit: 'rows' })
  }

  /** undefined while rows in memory are below memory.writeBytes; else resolves when there may be room: ask again. Rejects with the signal's reason. */
  room(signal: AbortSignal | undefined): Promise<void> | undefined {
    const { writeBytes } = this.engine.parts.limits
    if (this.memoryBytes < writeBytes) return undefined
    this.memoryBytes = this.engine.memoryBytes()
    // What a flush could not make smaller is no reason to wait.
    if (this.memoryBytes < writeBytes || this.memoryBytes <= this.floorBytes || this.stopper.signal.aborted) return undefined
    if (this.running === undefined) this.start()
    // No flush gets through (a full disk): better told than waited for. Each call tries again, so that it ends when there is room.
    if (this.failures.count >= FAILURES_MAX && this.failures.cause instanceof VarveError) throw this.failures.cause
    const freed = new Promise<void>((resolve) => this.waiting.push(resolve))
    return signal === undefined ? freed : orAborted(freed, signal)
  }

  private release(): void {
    for (const resolve of this.waiting.splice(0)) resolve()
  }

  /** Before a clean close: leave little to read again, so that the next open costs the same whatever the history. */
  async settle(): Promise<void> {
    if (this.automatic && !this.acknowledgement.isFrozen && this.bytesSinceCheckpoint >= CLOSE_BYTES) await this.flushAll()
  }

  async stop(): Promise<void> {
    this.stopper.abort(new ClosedError('store.closed', 'the store is closing', { details: { what: 'store' } }))
    this.release()
    await this.running
  }
}

function orAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
