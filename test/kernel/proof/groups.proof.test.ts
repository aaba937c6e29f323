import { describe, expect, it } from 'vitest'

import { GROUPED } from './groups.ts'
import { prove } from './harness.ts'

describe('at every length 0..257 and alignment 0..15, within its bounds and equal to its oracle', () => {
  it.each(Object.entries(GROUPED))('%s', (name, cases) => {
    expect(prove(name, cases)).toBeGreaterThan(0)
  })
})
