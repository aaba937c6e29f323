import { describe, expect, it } from 'vitest'

import { prove } from './harness.ts'
import { SORT_MERGE } from './sort-merge.ts'

describe('at every length 0..257 and alignment 0..15, within its bounds and equal to its oracle', () => {
  it.each(Object.entries(SORT_MERGE))('%s', (name, cases) => {
    expect(prove(name, cases)).toBeGreaterThan(0)
  })
})
