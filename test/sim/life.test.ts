// The whole life of a store: every feature beside every other, from seeds.

import { describe, it } from 'vitest'

import { Life } from './life.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 12)
const SEED = process.env['VARVE_SEED']
const STEPS = Number(process.env['VARVE_STEPS'] ?? 60)

describe('a random life, on main and on branches', () => {
  const seeds = SEED === undefined ? Array.from({ length: RUNS }, (_, i) => i + 1) : [Number(SEED)]
  it.each(seeds)('seed %i shows at every step what plain Maps show', async (seed) => {
    const life = new Life(seed)
    try {
      await life.run(STEPS)
    } catch (error) {
      throw new Error(`seed ${seed} after ${life.done.join(' ')}`, { cause: error })
    }
  })
})
