// write/lifecycle.ts: every legal move of a staged write (recovery.md section 2). Pure; what a move does is in staged-write.ts, publish.ts and rollback.ts.
//
//   open --stage--> staged --seal--> sealed --publish--> published
//     '--- rollback / scope left / sweep --------------> rolledBack
//
// Invariant: `published` and `rolledBack` are the outcome and never change; the log decides which, a handle only remembers it.

import { AlreadyPublishedError, ClosedError } from '../errors.ts'

export type WriteState = 'open' | 'staged' | 'sealed' | 'published' | 'rolledBack'

/** stage: rows or deletions; seal: durable, no more rows; publish, rollback: the outcome. */
export type WriteMove = 'stage' | 'seal' | 'publish' | 'rollback'

// An empty write may be sealed: it is published as a commit of nothing, as an append of no rows is.
const MOVES = {
  open: { stage: 'staged', seal: 'sealed', rollback: 'rolledBack' },
  staged: { stage: 'staged', seal: 'sealed', rollback: 'rolledBack' },
  sealed: { publish: 'published', rollback: 'rolledBack' },
  published: {},
  rolledBack: {},
} as const satisfies Record<WriteState, Partial<Record<WriteMove, WriteState>>>

/** The state after the move; undefined: the write does not make it. */
export function stateAfter(state: WriteState, move: WriteMove): WriteState | undefined {
  return (MOVES[state] as Partial<Record<WriteMove, WriteState>>)[move]
}

export function isDecided(state: WriteState): boolean {
  return state === 'published' || state === 'rolledBack'
}

/** @throws ClosedError write.closed */
export function assertMove(state: WriteState, move: WriteMove, writeId: string): void {
  if (stateAfter(state, move) === undefined) throw closedWrite(state, writeId)
}

export function closedWrite(state: WriteState, writeId: string): ClosedError {
  const was = state === 'rolledBack' ? 'rolled back' : state
  return new ClosedError('write.closed', `staged write ${writeId} is ${was}`, {
    details: { what: 'staged write' },
    hint: state === 'sealed' ? 'Publish it or roll it back; stage another write for more rows.' : 'Stage another write.',
  })
}

export function alreadyPublished(writeId: string, lsn: number): AlreadyPublishedError {
  return new AlreadyPublishedError(`staged write ${writeId} was published at LSN ${lsn} and cannot be rolled back`, { details: { writeId, lsn: BigInt(lsn) } })
}
