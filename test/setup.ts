// What every test file begins with: the seed of its properties, and for a long run how many seeds they are given.
//
// Invariant: without VARVE_SEED no property draws a seed of its own, so that two runs of the same tree try the same inputs. `VARVE_SEED=random` becomes a number in
// vitest.config.ts, one for the whole run.

import fc from 'fast-check'
import { expect, vi } from 'vitest'

const DEFAULT_SEED = 20_261_121

const seed = Number(process.env['VARVE_SEED'] ?? DEFAULT_SEED)
const times = Number(process.env['VARVE_TIMES'] ?? 1)
/** No property of a long run begins another round that would end later. */
const limitMs = Number(process.env['VARVE_SECONDS'] ?? 50) * 1000
for (const [name, value] of Object.entries({ VARVE_SEED: seed, VARVE_TIMES: times, VARVE_SECONDS: limitMs })) {
  if (!Number.isSafeInteger(value)) throw new Error(`${name} is a whole number, not ${process.env[name]}`)
}
fc.configureGlobal({ seed })

// Round after round with the next seed, each as the gate would run it: what fails in one is found again with its seed alone.
if (times !== 1) {
  vi.setConfig({ testTimeout: 4 * limitMs })
  vi.doMock(import('fast-check'), async (original) => {
    const module = await original()
    const assert = (<Ts>(property: fc.IRawProperty<Ts>, given: fc.Parameters<Ts> = {}): unknown => {
      const startedMs = performance.now()
      let round = 0
      const once = (): unknown => module.assert(property, { ...given, seed: (given.seed ?? seed) + round++ })
      const goesOn = (): boolean => round < times && ((performance.now() - startedMs) * (round + 1)) / round < limitMs
      const report = (): void =>
        console.log(`${round} rounds of ${given.numRuns ?? 100} runs, seeds from ${given.seed ?? seed}: ${expect.getState().currentTestName}`)
      if (!property.isAsync()) {
        do once()
        while (goesOn())
        return report()
      }
      return (async () => {
        do await once()
        while (goesOn())
        report()
      })()
    }) as typeof fc.assert
    return { ...module, assert, default: { ...module.default, assert } }
  })
}
