// The whole store against plain Maps: random histories on memory and on a directory, with followers, snapshots, time travel, the feed and reopens.

import fc from 'fast-check'
import { describe, it } from 'vitest'

import type { OpenOptions } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { History, type Place, type Step, steps } from '../sim/history.ts'
import { simWorld } from '../sim/sim-world.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 25)

const options: fc.Arbitrary<OpenOptions> = fc.record({
  durability: fc.constantFrom('synced' as const, 'buffered' as const),
  segmentBytes: fc.constantFrom(64 * 1024, 16 * 1024 * 1024),
  inlineLimitBytes: fc.constantFrom(600, 600, 256 * 1024, 256 * 1024, 0),
  sealMode: fc.constantFrom('fused' as const, 'separate' as const),
  memory: fc.constantFrom({}, { cacheBytes: 0 }, { cacheBytes: 3000 }),
})
const script: fc.Arbitrary<Step[]> = fc.array(steps, { minLength: 1, maxLength: 30, size: 'max' })

function dirPlace(files: FakeFiles, chosen: OpenOptions, seed: number, process = 1): Place {
  const sim = simWorld({
    seed: seed + process,
    files,
    host: { pid: process, processStartTime: String(process) },
    startMs: 1_700_000_000_000 + process * 1_000_000,
  })
  return { root: '/data/store', sim, options: chosen, killed: () => dirPlace(files.restart(), chosen, seed, process + 1) }
}

async function run(place: Place, script: readonly Step[], follows: boolean): Promise<void> {
  const history = new History(place, { follows })
  await history.open()
  await history.run(script)
  await history.finish()
  await history.close()
}

describe('a random history', () => {
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
})
