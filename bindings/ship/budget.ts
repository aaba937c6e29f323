// ship/budget.ts: the limits of a recovery and the verdict on what it spent so far. Pure: the caller brings the time.
//
// Invariant: every comparison is strict, a limit of 0 is off, and a clock that went backwards counts as no time at all.

import type { BudgetVerdict, CatchUpBudget } from './types.ts'

/** Of a catch-up, unless told otherwise: a replica that needs more than this is cheaper to rebuild. */
export const CATCH_UP_BUDGET: CatchUpBudget = Object.freeze({
  maxDurationMs: 30_000,
  maxEntries: 1_000_000,
  maxBytes: 8 * 2 ** 30,
  progressDeadlineMs: 5_000,
})

/** Of a rebuild: only a standstill ends it; bytes sent, and what the replica says that it has done with its own, are its progress. */
export const REBUILD_BUDGET: CatchUpBudget = Object.freeze({ maxDurationMs: 0, maxEntries: 0, maxBytes: 0, progressDeadlineMs: 15_000 })

export interface Spent {
  readonly startedAt: number
  readonly lastProgressAt: number
  readonly entries: number
  readonly bytes: number
}

/** @throws RangeError: a limit that is negative or no number */
export function resolveBudget(budget: Partial<CatchUpBudget> | undefined, defaults: CatchUpBudget): CatchUpBudget {
  if (budget === undefined) return defaults
  const resolved = { ...defaults, ...budget }
  for (const [name, limit] of Object.entries(resolved)) {
    if (typeof limit !== 'number' || !(limit >= 0)) throw new RangeError(`budget ${name} is ${String(limit)}: 0 (off) or more`)
  }
  return Object.freeze(resolved)
}

/** The first limit that is passed, in the order duration, entries, bytes, standstill. */
export function budgetVerdict(budget: CatchUpBudget, spent: Spent, now: number): BudgetVerdict {
  if (budget.maxDurationMs > 0 && now - spent.startedAt > budget.maxDurationMs) return 'duration_exceeded'
  if (budget.maxEntries > 0 && spent.entries > budget.maxEntries) return 'entries_exceeded'
  if (budget.maxBytes > 0 && spent.bytes > budget.maxBytes) return 'bytes_exceeded'
  if (budget.progressDeadlineMs > 0 && now - spent.lastProgressAt > budget.progressDeadlineMs) return 'progress_stalled'
  return 'ok'
}

/** How often a timer looks at the budget while an I/O call is out; undefined: no limit of time. */
export function budgetCheckMs(budget: CatchUpBudget): number | undefined {
  if (budget.progressDeadlineMs === 0) return budget.maxDurationMs === 0 ? undefined : 1_000
  return Math.min(budget.progressDeadlineMs / 4, 1_000)
}
