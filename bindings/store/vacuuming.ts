// store/vacuuming.ts: vacuum() of an open store: its options, what must be settled before, what its caller hears.

import { InvalidConfigError } from '../errors.ts'
import type { Engine } from '../engine/index.ts'
import type { VacuumOptions, VacuumReport } from '../table/index.ts'
import { checkKeep, vacuum } from '../upkeep/index.ts'
import { checkKnown } from './known-options.ts'
import { Reporter } from './progress.ts'
import type { Recovering } from './recovering.ts'
import type { Opened } from './wiring.ts'

const KNOWN: readonly string[] = ['keep', 'dryRun', 'signal', 'onProgress'] satisfies (keyof VacuumOptions)[]

export interface VacuumHost {
  readonly o: Opened
  readonly engine: Engine
  readonly recovering: Recovering
  /** Aborted when the store closes. */
  readonly closing: AbortSignal
}

/** @throws InvalidConfigError, DriftError, PinUnresolvedError, VacuumError, ContentionError, StorageError; the signal's reason */
export async function vacuumStore({ o, engine, recovering, closing }: VacuumHost, given: VacuumOptions): Promise<VacuumReport> {
  const { dryRun = false, signal, onProgress } = checked(given)
  const keep = checkKeep(given.keep)
  signal?.throwIfAborted()
  // A table that contradicts its records may need anything.
  await recovering.heal()
  await engine.parts.committer.drained()
  const reporter = new Reporter(o.world, onProgress)
  reporter.tell({ phase: 'mark', done: 0, unit: 'files' })
  const report = await vacuum(
    {
      engine,
      storeId: o.storeId,
      context: o.context,
      lsnAt: (timeMs, head) => o.history.lsnAt(timeMs, head),
      floor: () => o.history.floor(),
      sweep: () => recovering.sweepNow(),
    },
    {
      keep,
      dryRun,
      signal: signal === undefined ? closing : AbortSignal.any([signal, closing]),
      step: (phase, done, total) => reporter.step({ phase, done, unit: 'files', ...(total === undefined ? {} : { total }) }),
    },
  )
  reporter.tell({ phase: 'trim', done: report.deleted, total: report.deleted, unit: 'files' })
  return report
}

function checked(o: unknown): VacuumOptions {
  if (typeof o !== 'object' || o === null) checkKeep(undefined)
  checkKnown('vacuum', o as object, KNOWN)
  const { dryRun } = o as VacuumOptions
  if (dryRun !== undefined && typeof dryRun !== 'boolean')
    throw new InvalidConfigError('dryRun is true or false', { details: { key: 'dryRun', value: dryRun } })
  return o as VacuumOptions
}
