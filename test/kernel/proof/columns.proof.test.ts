import { describe, expect, it } from 'vitest'

import { BITS_TAKE } from './bits-take.ts'
import { CONCAT_PREDICATE } from './concat-predicate.ts'
import { prove } from './harness.ts'

describe('at every length 0..257 and alignment 0..15, within its bounds and equal to its oracle', () => {
  it.each(Object.entries({ ...BITS_TAKE, ...CONCAT_PREDICATE }))('%s', (name, cases) => {
    expect(prove(name, cases)).toBeGreaterThan(0)
  })
})
