// write/rollback.ts: the end of a write that is not to be: a record first, so that every writer knows, and only then its files.
//
// Invariant: nothing of a write is deleted before its outcome is durable (recovery.md section 1).

import { inTurn } from '../engine/index.ts'
import { FencedError, LsnTakenError } from '../errors.ts'
import type { RecoveryFacts } from '../format/index.ts'
import { ulidBytes } from '../runtime/index.ts'
import { alreadyPublished } from './lifecycle.ts'
import { idHex, type WriteParts } from './parts.ts'

export interface RollbackOptions {
  /** Of an armed write: the LSN it was prepared against. A sealed one has it in its seal. */
  readonly baseLsn?: number
  /** The seal that the decision was made about, 0 = none: of a write that was sealed since, nothing has been decided. Unsaid: whatever is there. */
  readonly sealLsn?: number
  readonly recovery?: RecoveryFacts
}

/**
 * Record the roll-back of a write; durable when it resolves. Its files are left to retireWrite().
 *
 * @param writeId  ULID text
 * @returns the LSN of the outcome: of an earlier roll-back, when there is one
 * @throws AlreadyPublishedError; FencedError (scope write) when its outcome may be forgotten; ContentionError; with `sealLsn` LsnTakenError when it was sealed, or
 * sealed again, behind that, and when its slot was lost
 */
export function rollbackWrite(parts: WriteParts, writeId: string, reason: string, o: RollbackOptions = {}): Promise<number> {
  // Whoever decided about what was seen decides again after a lost slot; whoever wants an end, wants it of whatever is there then.
  return o.sealLsn === undefined ? inTurn(parts.engine, undefined, () => queueRollback(parts, writeId, reason, o)) : queueRollback(parts, writeId, reason, o)
}

async function queueRollback(parts: WriteParts, writeId: string, reason: string, o: RollbackOptions): Promise<number> {
  const { committer, state } = parts.engine.parts
  const id = idHex(writeId)
  for (;;) {
    // On a handle that is over nothing that was queued is ever told: waiting for it would never end.
    committer.assertAlive()
    const decided = committer.decisionOf(id)
    if (decided !== undefined) {
      // What is queued may be lost with its group; only what is durable is an outcome.
      if (state.catalog.outcomes.of(id) === undefined) {
        await committer.drained()
        continue
      }
      if (decided.outcome === 'published') throw alreadyPublished(writeId, decided.lsn)
      return decided.lsn
    }
    const seal = state.catalog.outcomes.pending.get(id)
    if (o.sealLsn !== undefined && (seal?.lsn ?? 0) !== o.sealLsn) {
      throw new LsnTakenError(`write ${writeId} was sealed after its roll-back was decided`, { details: { head: BigInt(state.applied) } })
    }
    const baseLsn = seal === undefined ? (o.baseLsn ?? state.applied) : Number(seal.intent.baseLsn)
    const record = { writeId: ulidBytes(writeId), sealLsn: seal?.lsn ?? 0, reason, ...(o.recovery === undefined ? {} : { recovery: o.recovery }) }
    try {
      return await committer.rollback(record, baseLsn)
    } catch (error) {
      // Somebody else was quicker: look whether the goal holds.
      if (!(error instanceof FencedError && error.scope === 'write') || committer.decisionOf(id) === undefined) throw error
    }
  }
}
