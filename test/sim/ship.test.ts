// Seeded runs of a cluster: a writer and replicas on disks that lose what was not synced, over a network that loses and damages what is sent.
//
//   VARVE_RUNS=2000 VARVE_SEED=1 vitest run test/sim/ship.test.ts      or      npm run sim -- ship --seeds 20000 --seed 1
import { describe, expect, it } from 'vitest'

import { simulateShip } from './ship/simulate.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 60)
const FIRST = Number(process.env['VARVE_SEED'] ?? 1)

describe('a cluster that ships its log', () => {
  it('keeps every invariant after every event', async () => {
    let acked = 0
    for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
      const { failures, trace, acked: told } = await simulateShip({ seed })
      expect(failures, trace.join('\n')).toEqual([])
      acked += told
    }
    // The histories are worth something.
    expect(acked).toBeGreaterThan(RUNS * 100)
  }, 3_600_000)

  it('runs the same way twice from one seed, bit for bit', async () => {
    const seed = FIRST + 6
    const [first, second] = [await simulateShip({ seed }), await simulateShip({ seed })]
    expect(second).toEqual(first)
    expect((await simulateShip({ seed: seed + 1 })).hash).not.toBe(first.hash)
  })
})
