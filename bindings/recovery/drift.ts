// recovery/drift.ts: a table whose rows are not those that its records and checkpoint count: writes are refused, with an advice that is true (recovery.md section 9).
//
// Looked for once, when a store opens, in what the open has in memory: it costs no I/O. A damaged checkpoint, a CLEAN ahead of its log and a missing segment or slot
// are found earlier and keep the store from opening; a file that nothing names is no drift for a writer (`varve doctor` tells of it, vacuum takes it).
// Invariant: nothing is guessed: the conflict is raised in all three cases, and what could not be classified says why.

import type { StoreState } from '../engine/index.ts'
import { DriftError } from '../errors.ts'
import { MAIN_BRANCH_ID } from '../format/index.ts'
import type { ObserveParts, Subject } from './observe.ts'
import { pendingWrites } from './pending.ts'

export interface Drift {
  readonly tableId: number
  readonly table: string
  readonly what: string
}

/** Tables that contradict themselves. */
export function driftOf({ catalog, tables }: Pick<StoreState, 'catalog' | 'tables'>): Drift[] {
  const found: Drift[] = []
  for (const { id, name, rows } of catalog.tables.values()) {
    const there = tables.get(id)?.liveRowsNow()
    if (there === rows) continue
    found.push({ tableId: id, table: name, what: there === undefined ? 'its rows are missing' : `it has ${there} rows, its records count ${rows}` })
  }
  return found
}

/** Which of the three answers it is. Pure. `pending`: what is pending, or why nobody could tell. */
export function driftError(found: readonly Drift[], branchId: string, pending: readonly Pick<Subject, 'intent'>[] | { readonly cause: unknown }): DriftError {
  const what = found.map((drift) => `table ${JSON.stringify(drift.table)}: ${drift.what}`).join('; ')
  if ('cause' in pending) {
    const { cause } = pending
    const why = cause instanceof Error ? cause.message : String(cause)
    return new DriftError(`${what}; drift could not be classified because ${why}: run varve repair, or reopen read-write if repair reports a pending write`, {
      details: { state: 'unknown' },
      hint: 'Run varve repair, or reopen the store read-write if repair reports a pending write.',
      cause,
    })
  }
  const drifting = new Set(found.map(({ tableId }) => tableId))
  const covers = ({ intent }: Pick<Subject, 'intent'>): boolean =>
    intent !== undefined && intent.branchId === branchId && intent.participants.some(({ tableId }) => drifting.has(tableId))
  if (pending.some(covers)) {
    return new DriftError(`${what}; a pending write must be rolled back or forward first: reopen read-write`, {
      details: { state: 'covered' },
      hint: 'Reopen the store read-write: a pending write must be rolled back or forward first.',
    })
  }
  return new DriftError(`${what}; run varve repair`, { details: { state: 'uncovered' }, hint: 'Run varve repair.' })
}

/** At the entry of every write. */
export class DriftGuard {
  private readonly parts: ObserveParts
  private found: readonly Drift[] = []

  constructor(parts: ObserveParts) {
    this.parts = parts
  }

  get hasDrifted(): boolean {
    return this.found.length > 0
  }

  /** Once the open has decided what was pending. */
  look(): void {
    this.found = driftOf(this.parts.state)
  }

  /** Rejects with what writers are told. */
  async refuse(): Promise<never> {
    throw driftError(this.found, MAIN_BRANCH_ID, await this.pending())
  }

  private async pending(): Promise<readonly Pick<Subject, 'intent'>[] | { readonly cause: unknown }> {
    try {
      return (await pendingWrites(this.parts, { files: false })).map(({ subject }) => subject)
    } catch (cause) {
      return { cause }
    }
  }
}
