// ship/rebuild-source.ts: what a rebuild starts from (table of shipping.md section 8, and what section 8 says of RC: no base below it). Pure, from one history.
//
// Invariant: live state never stands in for an older point: a base is a trusted checkpoint with its tail, or a base frozen at the target.

import { HistoryMissingError } from '../errors-ship.ts'
import type { RetainedHistory } from './types.ts'

export interface RebuildDecision {
  readonly source: 'snapshot_tail' | 'full_base'
  /** K of a snapshot; the lowest base that will do of a full base. */
  readonly baseLsn: number
  readonly target: number
  readonly reason:
    | 'no_committed_boundary'
    | 'no_checkpoint'
    | 'untrusted_checkpoint'
    | 'checkpoint_above_committed'
    | 'checkpoint_below_promised'
    | 'trusted_checkpoint_unreplayable_tail'
    | 'trusted_checkpoint_replayable_tail'
}

/** @throws HistoryMissingError */
export function decideSource(history: RetainedHistory | null, replicaCommittedLsn: number): RebuildDecision {
  if (history === null) throw new HistoryMissingError('no history to choose the source of a rebuild from')
  const { checkpoint, headLsn, tailLsn, fragmentFloorLsn } = history
  const promised = Math.max(history.committedLsn, replicaCommittedLsn)
  const target = promised === 0 ? headLsn : promised
  const full = (reason: RebuildDecision['reason']): RebuildDecision => ({ source: 'full_base', baseLsn: target, target, reason })
  if (promised === 0) return full('no_committed_boundary')
  if (checkpoint === null || checkpoint.lsn === 0) return full('no_checkpoint')
  if (!checkpoint.trusted) return full('untrusted_checkpoint')
  const base = checkpoint.lsn
  if (base > promised) return full('checkpoint_above_committed')
  // An empty tail needs them too: the stream goes on from there.
  if (base < tailLsn || base < fragmentFloorLsn || target > headLsn) return full('trusted_checkpoint_unreplayable_tail')
  // The replica holds what it was promised, and lets no base below that take its place: a replica in good order would be halted.
  if (base < replicaCommittedLsn) return full('checkpoint_below_promised')
  return { source: 'snapshot_tail', baseLsn: base, target, reason: 'trusted_checkpoint_replayable_tail' }
}
