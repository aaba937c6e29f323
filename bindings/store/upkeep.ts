// store/upkeep.ts: what a store does by itself: flush tables that have grown, write checkpoints, make writers wait when memory is full.
//
// Invariant: one job at a time; a failing job is reported and never fails a commit; nothing runs after stop().

import { ClosedError, VarveError } from '../errors.ts'
import { type Engine, flushTable, writeCheckpoint } from '../engine/index.ts'
import { DEFAULTS } from '../options.ts'
import type { Lsn } from '../log/index.ts'
import type { Events } from './events.ts'

/** Log bytes between two looks at the sizes of tables. */
const LOOK_BYTES = 512 * 1024
/** Log bytes since the checkpoint above which a clean close flushes and writes another. */
const CLOSE_BYTES = 1024 * 1024

export class Upkeep {
  private readonly engine: Engine
  private readonly storeId: Uint8Array
  private readonly events: Events
  private readonly automatic: boolean
  private readonly stopper = new AbortController()
  private running: Promise<void> | undefined
  private lookedBytes: number
  /** Log bytes at the newest checkpoint. */
  private checkpointBytes: number
  private checkpointLsn: number
  private waiting: (() => void)[] = []
  /** Rows in memory at the last look. */
  memoryBytes = 0

  constructor(engine: Engine, storeId: Uint8Array, events: Events, automatic: boolean, checkpointLsn: number) {
    this.engine = engine
    this.storeId = storeId
    this.events = events
    this.automatic = automatic
    this.checkpointLsn = checkpointLsn
    this.lookedBytes = engine.parts.log.bytes
    // What lies below the checkpoint found at open need not be replayed; its size is not known, so the count starts at what had to be read.
    this.checkpointBytes = engine.parts.log.bytes
  }

  get bytesSinceCheckpoint(): number {
    return Math.max(0, this.engine.parts.log.bytes - this.checkpointBytes)
  }

  /** After every group. */
  look(): void {
    const { log } = this.engine.parts
    if (log.bytes - this.lookedBytes < LOOK_BYTES) return
    this.lookedBytes = log.bytes
    this.memoryBytes = this.engine.memoryBytes()
    if (!this.automatic || this.running !== undefined || this.stopper.signal.aborted) return
    if (this.bytesSinceCheckpoint >= DEFAULTS.checkpointBytes || this.grown().length > 0) this.start()
  }

  private grown(): number[] {
    const limit = Math.min(DEFAULTS.flushBytes, this.engine.parts.limits.writeBytes / 2)
    return [...this.engine.parts.state.tables.values()].filter((table) => table.now.layer.byteLength >= limit).map((table) => table.id)
  }

  private start(): void {
    this.running = this.work()
      .catch((cause: unknown) => this.failed(cause))
      .finally(() => {
        this.running = undefined
        this.release()
      })
  }

  private async work(): Promise<void> {
    const { state } = this.engine.parts
    const due = this.bytesSinceCheckpoint >= DEFAULTS.checkpointBytes
    for (const table of state.tables.values()) {
      if (!due && !this.grown().includes(table.id)) continue
      await this.flush(table.id)
      if (this.stopper.signal.aborted) return
    }
    if (due) await this.checkpoint()
  }

  private async flush(tableId: number): Promise<void> {
    const { state, world } = this.engine.parts
    const table = state.tables.get(tableId)!
    const startedMs = world.clock.monoMs()
    const { rows } = await flushTable(this.engine, table, this.stopper.signal)
    this.memoryBytes = this.engine.memoryBytes()
    this.release()
    if (rows > 0) this.events.emit('upkeep', { job: 'flush', table: table.name, durationMs: world.clock.monoMs() - startedMs })
  }

  private async checkpoint(): Promise<void> {
    const { root, log, state, world } = this.engine.parts
    const startedMs = world.clock.monoMs()
    const bytes = log.bytes
    try {
      this.checkpointLsn = await writeCheckpoint(root, this.storeId, log, state.catalog)
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

  /** Flush every table now, then write a checkpoint; waits for a job under way. */
  async flushAll(): Promise<void> {
    while (this.running !== undefined) await this.running
    for (const table of this.engine.parts.state.tables.values()) await this.flush(table.id)
    if (this.engine.parts.state.catalog.lsn > this.checkpointLsn) await this.checkpoint()
  }

  /** Resolves at once while rows in memory are below memory.writeBytes; else when a flush has made room. */
  room(): Promise<void> | undefined {
    if (this.memoryBytes < this.engine.parts.limits.writeBytes) return undefined
    this.memoryBytes = this.engine.memoryBytes()
    if (this.memoryBytes < this.engine.parts.limits.writeBytes) return undefined
    if (this.running === undefined) this.start()
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  private release(): void {
    for (const resolve of this.waiting.splice(0)) resolve()
  }

  /** Before a clean close: leave little to read again, so that the next open costs the same whatever the history. */
  async settle(): Promise<void> {
    if (this.automatic && this.bytesSinceCheckpoint >= CLOSE_BYTES) await this.flushAll()
  }

  async stop(): Promise<void> {
    this.stopper.abort(new ClosedError('store.closed', 'the store is closing', { details: { what: 'store' } }))
    this.release()
    await this.running
  }
}
