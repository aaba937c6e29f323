// Staged writes against plain Maps: random histories with writes that are staged, sealed, published and rolled back between any two other steps.

import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'

import type { OpenOptions } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import type { Place } from '../sim/history.ts'
import { simWorld } from '../sim/sim-world.ts'
import { StagedHistory, type StagedStep, stagedSteps } from '../sim/staged-history.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 25)

const options: fc.Arbitrary<OpenOptions> = fc.record({
  segmentBytes: fc.constantFrom(64 * 1024, 16 * 1024 * 1024),
  inlineLimitBytes: fc.constantFrom(600, 256 * 1024, 0),
  sealMode: fc.constantFrom('fused' as const, 'separate' as const),
  memory: fc.constantFrom({}, { cacheBytes: 0 }),
})
const script: fc.Arbitrary<StagedStep[]> = fc.array(stagedSteps, { minLength: 1, maxLength: 25, size: 'max' })

function dirPlace(files: FakeFiles, chosen: OpenOptions, seed: number, process = 1): Place {
  const sim = simWorld({
    seed: seed + process,
    files,
    host: { pid: process, processStartTime: String(process), isAlive: (pid) => pid >= process },
    startMs: 1_700_000_000_000 + process * 1_000_000,
  })
  return { root: '/data/store', sim, options: chosen, killed: () => dirPlace(files.restart(), chosen, seed, process + 1) }
}

describe('a random history with staged writes', () => {
  let published = 0
  let conflicts = 0

  beforeEach(() => {
    published = 0
    conflicts = 0
  })

  async function run(place: Place, script: readonly StagedStep[], follows: boolean): Promise<void> {
    const history = new StagedHistory(place, { follows, checks: false })
    await history.open()
    await history.runStaged(script)
    await history.finish()
    await history.close()
    published += history.published
    conflicts += history.conflicts
  }

  it('on memory shows at every step what plain Maps show', () =>
    fc.assert(
      fc.asyncProperty(script, options, fc.nat(1000), (steps, chosen, seed) =>
        run({ root: new MemoryRoot(), sim: simWorld({ seed }), options: chosen }, steps, false),
      ),
      { numRuns: RUNS },
    ))

  it('on a directory, with a follower, kills and reopens, shows at every step what plain Maps show', () =>
    fc.assert(
      fc.asyncProperty(script, options, fc.nat(1000), (steps, chosen, seed) => run(dirPlace(new FakeFiles(), chosen, seed), steps, true)),
      { numRuns: RUNS },
    ))

  it('both ways to end are taken by the histories of one seed', async () => {
    const drawn = fc.sample(fc.tuple(script, options), { seed: 11, numRuns: 100 })
    for (const [steps, chosen] of drawn) {
      await run({ root: new MemoryRoot(), sim: simWorld({ seed: 11 }), options: chosen }, steps, false)
      if (published > 0 && conflicts > 0) break
    }
    expect(published).toBeGreaterThan(0)
    expect(conflicts).toBeGreaterThan(0)
  })
})
