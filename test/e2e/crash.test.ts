// Fifty real processes killed with SIGKILL at random moments; `npm run crash -- --rounds N` runs more.

import { expect, it } from 'vitest'

import { runRounds } from '../crash/rounds.ts'

it('loses no acknowledged commit and tears none, whenever the process is killed', { timeout: 300_000 }, async () => {
  const seed = Number(process.env['VARVE_SEED'] ?? 20_261_121)
  const reports = await runRounds({ rounds: 50, seed, lifeMsMax: 150 })
  for (const { round, lost, wrong, problems } of reports)
    expect({ round, lost, wrong, problems }, `seed ${seed}`).toEqual({ round, lost: 0, wrong: 0, problems: [] })
  const sum = (column: 'acknowledged' | 'begun'): number => reports.reduce((total, report) => total + report[column], 0)
  expect(sum('acknowledged'), 'commits were acknowledged').toBeGreaterThan(500)
  expect(sum('begun'), 'and some were cut off').toBeGreaterThan(sum('acknowledged'))
})
