// Seeded histories of several stores that share one log: two to four processes on one root, faults of its requests, deaths, held against one linear history.
//
//   VARVE_RUNS=5000 VARVE_SEED=1 vitest run test/sim/shared      or      npm run sim -- shared --seeds 5000 --seed 1
import { describe, expect, it } from 'vitest'

import { type SharedReport, simulateShared } from './shared/simulate.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 100)
const FIRST = Number(process.env['VARVE_SEED'] ?? 1)

describe('stores that share one log', () => {
  it('lose nothing, double nothing, and show one history, whatever fails and dies', async () => {
    const total = { commits: 0, looks: 0, deaths: 0, faults: 0, conflicts: 0, unknowns: 0, published: 0 }
    for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
      const report = await simulateShared({ seed })
      expect(report.failures).toEqual([])
      for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += report[key]
    }
    // The histories are worth something.
    expect(total.commits).toBeGreaterThan(RUNS * 15)
    expect(total.looks).toBeGreaterThan(RUNS * 4)
    if (RUNS < 50) return
    expect(total.deaths).toBeGreaterThan(RUNS / 20)
    expect(total.conflicts).toBeGreaterThan(RUNS / 2)
    expect(total.published).toBeGreaterThan(RUNS)
  }, 3_600_000)

  it('run the same way twice from one seed', async () => {
    const run = (): Promise<SharedReport> => simulateShared({ seed: FIRST + 6 })
    expect(await run()).toEqual(await run())
  })
})
