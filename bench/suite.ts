// bench/suite.ts: what every part of a suite is given: the contenders, the sizes of this run, and where to put what it finds.
import type { Contender } from './contender.ts'
import type { Outcome } from './report.ts'

export interface Sizes {
  readonly rounds: number
  /** Length of one turn where operations are counted against a clock. */
  readonly turnMs: number
  /** Opens and appends per depth of history: a ratio near 1 needs more rounds than a rate. */
  readonly historyRounds: number
}

export const FULL: Sizes = { rounds: 5, turnMs: 1000, historyRounds: 25 }
export const QUICK: Sizes = { rounds: 3, turnMs: 250, historyRounds: 5 }

export interface Suite {
  readonly contenders: readonly Contender[]
  readonly sizes: Sizes
  add(outcome: Outcome): void
  /** A figure beside the results: sizes, syncs, delays, CPU. */
  fact(name: string, value: unknown): void
  say(line: string): void
}

/** Those that take part in a task; the rest is said once. */
export function takingPart(suite: Suite, task: string): readonly Contender[] {
  return suite.contenders.filter((contender) => {
    const reason = contender.skips?.[task]
    if (reason !== undefined) suite.say(`${task}: without ${contender.name}: ${reason}`)
    return reason === undefined
  })
}
