import { describe, expect, it } from 'vitest'

import { prove } from './harness.ts'
import { LOG_LZ4 } from './log-lz4.ts'

describe('at every length 0..257 and alignment 0..15, within its bounds and equal to its oracle', () => {
  it.each(Object.entries(LOG_LZ4))('%s', (name, cases) => {
    expect(prove(name, cases)).toBeGreaterThan(0)
  })
})
