// The durable-state simulation of test/sim/durable/ over fixed seeds: at least 10,000 states after crashes, and after crashes of their recoveries.

import { expect, it } from 'vitest'

import { simulate } from './durable/simulate.ts'

const STATES = Number(process.env['VARVE_STATES'] ?? 10_000)
const STATES_PER_SEED = 150

it('opens every state that a crash may leave, with all that was promised, and recovers twice as once', { timeout: 3_600_000 }, async () => {
  const failures: string[] = []
  let states = 0
  for (let seed = Number(process.env['VARVE_SEED'] ?? 1); states < STATES && failures.length === 0; seed++) {
    const report = await simulate({ seed, states: STATES_PER_SEED })
    states += report.states
    failures.push(...report.failures)
  }
  expect(failures.join('\n')).toBe('')
  expect(states).toBeGreaterThanOrEqual(STATES)
})
