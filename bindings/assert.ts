// assert.ts: broken invariants are bugs; they stop the operation with InvariantError, in production too.
import { InvariantError } from './errors.ts'

/** Throws InvariantError unless `condition`; one condition per call. */
export function assert(condition: boolean, expected: string, observed?: unknown): asserts condition {
  if (!condition) throw new InvariantError(`invariant broken: ${expected}`, { details: { expected, observed } })
}
