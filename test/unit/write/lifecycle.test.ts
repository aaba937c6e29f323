// Every state of a staged write with every move: the table of recovery.md section 2.
import { describe, expect, it } from 'vitest'

import { alreadyPublished, assertMove, isDecided, stateAfter, type WriteMove, type WriteState } from '../../../bindings/write/lifecycle.ts'

const MOVES: readonly WriteMove[] = ['stage', 'seal', 'publish', 'rollback']
const TABLE: Readonly<Record<WriteState, readonly (WriteState | undefined)[]>> = {
  open: ['staged', 'sealed', undefined, 'rolledBack'],
  staged: ['staged', 'sealed', undefined, 'rolledBack'],
  sealed: [undefined, undefined, 'published', 'rolledBack'],
  published: [undefined, undefined, undefined, undefined],
  rolledBack: [undefined, undefined, undefined, undefined],
}

describe('the life of a staged write', () => {
  const cells = Object.entries(TABLE).flatMap(([state, row]) => MOVES.map((move, i) => [state as WriteState, move, row[i]] as const))

  it.each(cells)('%s, %s: %s', (state, move, after) => {
    expect(stateAfter(state, move)).toBe(after)
    if (after === undefined) expect(() => assertMove(state, move, '01X')).toThrow(expect.objectContaining({ code: 'write.closed', what: 'staged write' }))
    else expect(() => assertMove(state, move, '01X')).not.toThrow()
  })

  it('ends in an outcome that no move leaves', () => {
    for (const [state, row] of Object.entries(TABLE)) expect(isDecided(state as WriteState)).toBe(row.every((after) => after === undefined))
  })

  it('names write and position in the error of a roll-back that comes too late', () => {
    expect(alreadyPublished('01X', 7)).toMatchObject({ code: 'write.already-published', writeId: '01X', lsn: 7n })
  })
})
