// store/optimizing.ts: optimize as a store handle offers it: asked for, and in the background; metered and told of.
//
// The code that does it is loaded by the open of a store with upkeep of its own, or by the first call: a program that only imports varve does without.

import { ClosedError, InvalidConfigError, PendingIntentError } from '../errors.ts'
import type { Engine } from '../engine/index.ts'
import type { AnyTable, OptimizeOptions, OptimizeReport, PendingWrite, TableState } from '../table/index.ts'
import type { AutoOptimize, Optimizer } from '../upkeep/index.ts'
import type { Writes } from '../write/index.ts'
import type { BranchWriter } from './branch-writers.ts'
import type { Events } from './events.ts'
import { checkKnown } from './known-options.ts'
import type { Metering } from './metering.ts'
import { Reporter } from './progress.ts'

const KNOWN: readonly string[] = ['tables', 'target', 'budgetMs', 'perTable', 'signal', 'onProgress'] satisfies (keyof OptimizeOptions)[]

export interface OptimizingParts {
  readonly engine: Engine
  readonly events: Events
  readonly metering: Metering
  /** Of main. */
  readonly writes: Writes
  /** Of the table's branch, in memory until it is disposed. */
  readonly lease: (table: TableState) => (Disposable & { readonly engine: Engine }) | undefined
  /** `sealMode: "separate"`: runs that are asked for are sealed before their files get their names. */
  readonly isSealed: boolean
  /** `upkeep: "auto"`. */
  readonly isAutomatic: boolean
}

interface Loaded {
  readonly optimizer: Optimizer
  readonly auto: AutoOptimize
}

export class Optimizing {
  private readonly parts: OptimizingParts
  private loading: Promise<Loaded> | undefined
  private loaded: Loaded | undefined
  private readonly stopper = new AbortController()

  constructor(parts: OptimizingParts) {
    this.parts = parts
  }

  /** Before a store that does it by itself is open, so that no look has to wait. */
  async ready(): Promise<void> {
    if (this.parts.isAutomatic) await this.load()
  }

  private load(): Promise<Loaded> {
    return (this.loading ??= import('../upkeep/index.ts').then((upkeep) => (this.loaded = this.made(upkeep))))
  }

  private made({ AutoOptimize: Auto, Optimizer: Runs }: typeof import('../upkeep/index.ts')): Loaded {
    const { engine, events, metering, lease } = this.parts
    const optimizer = new Runs({ engine, closing: this.stopper.signal })
    const auto = new Auto({
      engine,
      lease,
      optimizer,
      done: (table, { rows, durationMs }) => {
        metering.add('varve.optimize.rows', rows, table.name)
        events.emit('upkeep', { job: 'optimize', table: table.name, durationMs })
      },
      failed: (cause) => engine.parts.world.logger.log({ level: 'warn', code: 'upkeep.optimizeFailed', cause }),
    })
    return { optimizer, auto }
  }

  /** After a group of commits, or a flush. */
  look(): void {
    // A staged write that is open may have found rows by their position.
    if (this.parts.isAutomatic && this.parts.writes.openCount === 0) this.loaded?.auto.look()
  }

  /**
   * Tables of one branch, which stays in memory meanwhile.
   *
   * @param pending  writes that are not decided @throws PendingIntentError, InvalidConfigError, the signal's reason, StorageError, CorruptionError
   */
  async optimize({ engine, writes }: Pick<BranchWriter, 'engine' | 'writes'>, o: OptimizeOptions, pending: readonly PendingWrite[]): Promise<OptimizeReport> {
    checkOptimize(o)
    refuseUndecided(pending, engine.parts.intents.branch.name)
    const { metering, isSealed } = this.parts
    const reporter = new Reporter(engine.parts.world, o.onProgress)
    let done = 0
    reporter.tell({ phase: 'optimize', done, unit: 'rows' })
    const { optimizer } = await this.load()
    const report = await optimizer.optimize({ engine, sealer: { isAlways: isSealed, parts: writes } }, o, (rows) => {
      done += rows
      reporter.step({ phase: 'optimize', done, unit: 'rows' })
    })
    reporter.tell({ phase: 'optimize', done, unit: 'rows' })
    metering.add('varve.optimize.rows', done)
    return report
  }

  /** Whatever is under way ends, and takes away what it has staged. */
  async stop(): Promise<void> {
    this.stopper.abort(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
    const loaded = await this.loading
    await loaded?.auto.stop()
    await loaded?.optimizer.idle()
  }
}

/** @throws InvalidConfigError */
function checkOptimize(o: OptimizeOptions): void {
  const { tables, target, budgetMs, perTable } = checkKnown('optimize', o, KNOWN)
  const wrong = (key: string, value: unknown, wanted: string): InvalidConfigError =>
    new InvalidConfigError(`${key} is not ${wanted}`, { details: { key, value } })
  if (tables !== undefined && !(Array.isArray(tables) && tables.every((each) => typeof (each as Partial<AnyTable> | null)?.name === 'string')))
    throw wrong('tables', tables, 'a list of tables')
  if (target !== undefined) checkKnown('target', target, ['bytes', 'rows'])
  if (budgetMs !== undefined && !(typeof budgetMs === 'number' && budgetMs >= 0)) throw wrong('budgetMs', budgetMs, 'a number from 0')
  if (perTable !== undefined && typeof perTable !== 'boolean') throw wrong('perTable', perTable, 'true or false')
}

/** Loads and flushes under way are no hindrance: they and a run of optimize have the gates of their tables one after the other. @throws PendingIntentError */
function refuseUndecided(pending: readonly PendingWrite[], here: string): void {
  const writeIds = pending.flatMap(({ writeId, mode, state, branch }) => ((mode === 'hold' || state !== 'armed') && branch === here ? [writeId] : []))
  if (writeIds.length === 0) return
  throw new PendingIntentError(`${writeIds.length} writes are staged and not decided: optimize would move rows that they name`, {
    details: { writeIds },
    hint: 'Publish or roll back what store.staged() lists, then optimize again.',
  })
}
