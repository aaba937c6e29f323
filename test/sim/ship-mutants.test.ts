// Every seeded defect is noticed, by a seed that is known to notice it; where the dice fall otherwise by now, by one of the next seeds.
//
// All 2,000 seeds that a defect may take: `npm run sim -- ship --mutants --seeds 2000`.
import { describe, expect, it } from 'vitest'

import { MUTANTS } from './ship/mutants.ts'
import { runShards } from './ship/shards.ts'
import type { ShipReport } from './ship/simulate.ts'

/** By defect: a seed that notices it. */
const KNOWN: Readonly<Record<string, number>> = {
  'skip the fence check in recordProgress': 23,
  'LSN-only zero gap': 5,
  'complete without truncation': 24,
  'release pins before invalidation': 6,
  'count receivedLsn as durable': 15,
  'rank promotion by state before log': 3,
  'grant stream outside the append lock': 1,
  'tail replay before full base': 9,
  'chase C instead of the frozen target': 3,
  'forget release on the hook exception': 7,
  'install without the atomic switch': 60,
  'accept older-epoch commit by count alone': 5,
  'acknowledge what asks for more nodes by the mode alone': 3,
  'tell nobody of a replica that failed': 47,
  'begin to ship with what is there as on all nodes': 6,
  'count by a weaker mode before its record is committed': 14,
}
/** Without it: seeds of so many events, no more than so many of them. */
const EVENTS = 300
const FURTHER = 40

describe('a defect that is put into shipping', () => {
  it('has a seed', () => {
    expect(MUTANTS.map(({ name }) => name).toSorted()).toEqual(Object.keys(KNOWN).toSorted())
  })

  it('breaks an invariant of some seed', async () => {
    const caught = new Map<string, string>()
    const note = ({ mutant, failures }: ShipReport): void => {
      if (failures.length > 0) caught.set(mutant!, failures[0]!)
    }
    const known = Object.entries(KNOWN)
    await runShards(
      known.map(([mutant, seed]) => ({ mutant, seed, events: EVENTS })),
      note,
    )
    const missed = known.map(([mutant]) => mutant).filter((mutant) => !caught.has(mutant))
    for (const mutant of missed) {
      await runShards(
        Array.from({ length: FURTHER }, (_, i) => ({ mutant, seed: 101 + i, events: 4 * EVENTS })),
        (report) => {
          note(report)
          return !caught.has(mutant)
        },
      )
    }
    // By an invariant, not by a crash of the simulation.
    for (const [mutant, failure] of caught) expect(failure, mutant).toMatch(/: (I\d+ |ended|log|shown|unheard)/)
    expect(known.map(([mutant]) => mutant).filter((mutant) => !caught.has(mutant))).toEqual([])
  }, 600_000)
})
