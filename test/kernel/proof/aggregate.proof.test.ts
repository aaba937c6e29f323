import { describe, expect, it } from 'vitest'

import { AGGREGATE, INLINE } from './aggregate-inline.ts'
import { prove } from './harness.ts'

describe('at every length 0..257 and alignment 0..15, within its bounds and equal to its oracle', () => {
  it.each(Object.entries({ ...AGGREGATE, ...INLINE }))('%s', (name, cases) => {
    expect(prove(name, cases)).toBeGreaterThan(0)
  })
})
