// store/optimizing.ts: optimize as a store handle offers it: asked for, and in the background; metered and told of.

import type { Engine } from '../engine/index.ts'
import type { OptimizeOptions, OptimizeReport } from '../table/index.ts'
import { AutoOptimize, Optimizer } from '../upkeep/index.ts'
import type { Events } from './events.ts'
import type { Metering } from './metering.ts'
import { Reporter } from './progress.ts'

export interface OptimizingParts {
  readonly engine: Engine
  readonly events: Events
  readonly metering: Metering
  /** `upkeep: "auto"`. */
  readonly isAutomatic: boolean
}

export class Optimizing {
  private readonly parts: OptimizingParts
  private readonly optimizer: Optimizer
  private readonly auto: AutoOptimize
  private readonly stopper = new AbortController()

  constructor(parts: OptimizingParts) {
    const { engine, events, metering } = parts
    this.parts = parts
    this.optimizer = new Optimizer({ engine, closing: this.stopper.signal })
    this.auto = new AutoOptimize({
      engine,
      optimizer: this.optimizer,
      done: (table, { rows, durationMs }) => {
        metering.add('varve.optimize.rows', rows, table.name)
        events.emit('upkeep', { job: 'optimize', table: table.name, durationMs })
      },
      failed: (cause) => engine.parts.world.logger.log({ level: 'warn', code: 'upkeep.optimizeFailed', cause }),
    })
  }

  /** After a group of commits, or a flush. */
  look(): void {
    if (this.parts.isAutomatic) this.auto.look()
  }

  /** @throws PendingIntentError, InvalidConfigError, the signal's reason, StorageError, CorruptionError */
  async optimize(o: OptimizeOptions): Promise<OptimizeReport> {
    const { metering, engine } = this.parts
    const reporter = new Reporter(engine.parts.world, o.onProgress)
    let done = 0
    reporter.tell({ phase: 'optimize', done, unit: 'rows' })
    const report = await this.optimizer.optimize(o, (rows) => {
      done += rows
      reporter.step({ phase: 'optimize', done, unit: 'rows' })
    })
    reporter.tell({ phase: 'optimize', done, unit: 'rows' })
    metering.add('varve.optimize.rows', done)
    return report
  }

  /** Whatever is under way ends, and takes away what it has staged. */
  async stop(): Promise<void> {
    this.stopper.abort(new DOMException('the store is closing', 'AbortError'))
    await this.auto.stop()
    await this.optimizer.idle()
  }
}
