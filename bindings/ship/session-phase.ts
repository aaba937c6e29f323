// ship/session-phase.ts: the state machines of shipping as data: every legal move of a session, and where each way of ending one leads its sender.
// (Tables of shipping.md section 3.) Anything that is not in here is a PhaseError, or not a reason.

import { PhaseError } from '../errors-ship.ts'
import type { RecoveryEventName } from './recovery-log.ts'
import type { ReplicaId, ReplicaState, SessionId, SessionKind, SessionPhase } from './types.ts'

export type Move =
  | 'beginConnect'
  | 'recordHandshake'
  | 'beginCatchUp'
  | 'completeCatchUp'
  | 'beginTransfer'
  | 'beginTailReplay'
  | 'completeRebuild'
  | 'invalidate'

/** `completed` and `invalidated` have no way out. */
export const MOVES: Readonly<Record<Move, Partial<Record<SessionPhase, SessionPhase>>>> = {
  beginConnect: { init: 'connecting' },
  recordHandshake: { connecting: 'handshake' },
  beginCatchUp: { handshake: 'catchup' },
  completeCatchUp: { handshake: 'completed', catchup: 'completed' },
  beginTransfer: { handshake: 'transfer' },
  beginTailReplay: { transfer: 'tail_replay' },
  completeRebuild: { transfer: 'completed', tail_replay: 'completed' },
  invalidate: {
    init: 'invalidated',
    connecting: 'invalidated',
    handshake: 'invalidated',
    catchup: 'invalidated',
    transfer: 'invalidated',
    tail_replay: 'invalidated',
  },
}

/** Kinds of session, and the path that each takes. */
export const PATHS: Readonly<Record<SessionKind, 'catchup' | 'rebuild'>> = {
  bootstrap: 'catchup',
  catchup: 'catchup',
  reassign: 'catchup',
  rebuild: 'rebuild',
}

/** @throws PhaseError */
export function phaseAfter(from: SessionPhase, move: Move, replicaId: ReplicaId, sessionId: SessionId): SessionPhase {
  const to = MOVES[move][from]
  if (to === undefined) throw phaseError(from, Object.values(MOVES[move])[0]!, move, replicaId, sessionId)
  return to
}

export function phaseError(from: SessionPhase, to: SessionPhase, what: string, replicaId: ReplicaId, sessionId: SessionId): PhaseError {
  const details = { from, to, replicaId, sessionId }
  return new PhaseError(`${what} of session ${sessionText(sessionId)} of replica ${replicaId} in phase ${from}`, { details })
}

/** `e.s` */
export function sessionText(id: SessionId): string {
  return `${id.epoch}.${id.seq}`
}

/** Where a session that fails leaves its sender. `to` undefined: where it was before it reached out. */
interface Ending {
  readonly catchup: ReplicaState | undefined
  readonly rebuild: ReplicaState | undefined
  /** What is logged before the end of the session. */
  readonly event?: RecoveryEventName
  /** Ended from outside: `session_invalidated`; by itself: `session_failed`. */
  readonly outside?: true
}

/** Why a session fails. */
export type EndReason =
  | 'connect_failed'
  | 'protocol_version'
  | 'replica_mismatch'
  | 'store_mismatch'
  | 'transport_failed'
  | 'transfer_failed'
  | 'hash_mismatch'
  | 'log_pin_failed'
  | 'log_pin_failed_during_rebuild'
  | 'snapshot_pin_failed'
  | 'full_base_pin_failed'
  | 'history_moved'
  | 'completion_rejected'
  | 'not_converging'
  | 'truncation_unsafe'
  | 'committed_truncation'
  | 'budget_duration_exceeded'
  | 'budget_entries_exceeded'
  | 'budget_bytes_exceeded'
  | 'budget_progress_stalled'
  | 'retention_exceeded'
  | 'lease_lost'

export const ENDINGS: Readonly<Record<EndReason, Ending>> = {
  connect_failed: { catchup: undefined, rebuild: undefined, event: 'connect_failed' },
  protocol_version: { catchup: 'disconnected', rebuild: 'disconnected', event: 'handshake_failed' },
  replica_mismatch: { catchup: 'disconnected', rebuild: 'disconnected', event: 'handshake_failed' },
  store_mismatch: { catchup: 'halted', rebuild: 'halted', event: 'handshake_failed' },
  transport_failed: { catchup: 'degraded', rebuild: 'needs_rebuild' },
  transfer_failed: { catchup: 'degraded', rebuild: 'needs_rebuild' },
  // Of a catch-up: bytes that were wrong on the way, or in the primary's file. What the replica holds is as good as before.
  hash_mismatch: { catchup: 'degraded', rebuild: 'needs_rebuild' },
  log_pin_failed: { catchup: 'disconnected', rebuild: 'needs_rebuild', event: 'log_pin_failed' },
  log_pin_failed_during_rebuild: { catchup: 'disconnected', rebuild: 'needs_rebuild', event: 'log_pin_failed' },
  snapshot_pin_failed: { catchup: 'needs_rebuild', rebuild: 'needs_rebuild', event: 'snapshot_pin_failed' },
  full_base_pin_failed: { catchup: 'needs_rebuild', rebuild: 'needs_rebuild', event: 'full_base_pin_failed' },
  history_moved: { catchup: 'disconnected', rebuild: 'needs_rebuild' },
  completion_rejected: { catchup: 'degraded', rebuild: 'needs_rebuild', event: 'completion_rejected' },
  not_converging: { catchup: 'degraded', rebuild: 'needs_rebuild' },
  truncation_unsafe: { catchup: 'needs_rebuild', rebuild: 'needs_rebuild', event: 'truncation_escalated' },
  committed_truncation: { catchup: 'halted', rebuild: 'halted' },
  budget_duration_exceeded: { catchup: 'needs_rebuild', rebuild: 'needs_rebuild', event: 'budget_escalated' },
  budget_entries_exceeded: { catchup: 'needs_rebuild', rebuild: 'needs_rebuild', event: 'budget_escalated' },
  budget_bytes_exceeded: { catchup: 'needs_rebuild', rebuild: 'needs_rebuild', event: 'budget_escalated' },
  budget_progress_stalled: { catchup: 'needs_rebuild', rebuild: 'needs_rebuild', event: 'budget_escalated' },
  retention_exceeded: { catchup: 'needs_rebuild', rebuild: 'needs_rebuild', event: 'retention_exceeded', outside: true },
  lease_lost: { catchup: 'disconnected', rebuild: 'needs_rebuild', outside: true },
}

/** Where the end of a live stream leads; a reason that is not in here (the driver closed it): disconnected. */
export const STREAM_ENDINGS: Readonly<Record<string, ReplicaState>> = {
  stream_send_failed: 'degraded',
  ack_timeout: 'degraded',
  lag_exceeded: 'degraded',
  transport_failed: 'degraded',
  lease_lost: 'degraded',
  retention_exceeded: 'needs_rebuild',
}
