import { describe, expect, it } from 'vitest'

import { prove } from './harness.ts'
import { HASHES } from './hashes.ts'

describe('at every length 0..257 and alignment 0..15, within its bounds and equal to its oracle', () => {
  it.each(Object.entries(HASHES))('%s', (name, cases) => {
    expect(prove(name, cases)).toBeGreaterThan(0)
  })
})
