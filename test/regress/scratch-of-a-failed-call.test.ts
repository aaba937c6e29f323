// A call that failed inside a nested stretch of scratch left the arena one stretch deep: what was reserved to live from then on lay in scratch, and the next
// call wrote over it; nothing was ever given back.
import { expect, it } from 'vitest'

import { KernelMemoryExhaustedError } from '../../bindings/errors.ts'
import { KernelInstance } from '../../bindings/kernels/index.ts'

it('an error that passes over an inner mark leaves no stretch of scratch open', () => {
  const { arena } = new KernelInstance({ limitBytes: 1 << 16 })
  const outer = arena.mark()
  arena.reserve(100)
  arena.mark()
  expect(() => arena.reserve(1 << 20)).toThrow(KernelMemoryExhaustedError)
  arena.rewind(outer)
  expect(arena.usedBytes).toBe(0)

  const living = arena.reserve(100)
  const inner = arena.mark()
  arena.rewind(inner)
  expect(arena.reserve(100)).not.toBe(living)
  arena.release(living)
  expect(arena.reserve(100)).toBe(living)
})
