// errors-ship.ts: the error classes of shipping (docs/errors.md); handed out by `varve/ship`.
//
// `replicaId` and `sessionId` are in `details` wherever they are known.

import { type ErrorInit, VarveError } from './error-base.ts'
import { SHIP_CODES, type ShipErrorCode } from './error-codes-ship.ts'

export { SHIP_CODES, type ShipErrorCode } from './error-codes-ship.ts'

/** Base of the errors of shipping. */
export class ShipError extends VarveError {
  override readonly name: string = 'ShipError'
  constructor(code: ShipErrorCode, message: string, init: ErrorInit) {
    super(code, message, init, SHIP_CODES[code])
  }
}

/** A replica id that is none. */
export class InvalidReplicaIdError extends ShipError {
  override readonly name: string = 'InvalidReplicaIdError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.invalid-replica-id', message, init)
  }
}

/** An address that cannot be listened on or connected to. */
export class InvalidEndpointError extends ShipError {
  override readonly name: string = 'InvalidEndpointError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.invalid-endpoint', message, init)
  }
}

/** An endpoint older than the one held, or another one of the same version. */
export class StaleEndpointError extends ShipError {
  override readonly name: string = 'StaleEndpointError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.stale-endpoint', message, init)
  }
}

/** Of one number that was decided on twice (decision 0035). */
export const SECOND_DECISION_HINT =
  'One number was decided on twice, and a majority follows at most one of the two: fence the nodes anew, above it, and decide once. Or give the node that lost an empty folder.'

/** A node that was decided on, and asks to be decided on by the same number again. */
export const OWN_DECISION_HINT = 'Fence the nodes anew, above that epoch, and promote at the new one.'

/** An epoch below the one held. */
export class StaleEpochError extends ShipError {
  override readonly name: string = 'StaleEpochError'
  readonly held: number
  readonly seen: number
  constructor(message: string, init: ErrorInit<{ held: number; seen: number; mandate?: number; promised?: number; isSettled?: boolean }>) {
    super('ship.stale-epoch', message, init)
    this.held = init.details.held
    this.seen = init.details.seen
  }
}

/** A session at another epoch than its sender's. */
export class EpochMismatchError extends ShipError {
  override readonly name: string = 'EpochMismatchError'
  readonly held: number
  readonly seen: number
  constructor(message: string, init: ErrorInit<{ held: number; seen: number }>) {
    super('ship.epoch-mismatch', message, init)
    this.held = init.details.held
    this.seen = init.details.seen
  }
}

/** One replica id twice in an assignment. */
export class DuplicateReplicaError extends ShipError {
  override readonly name: string = 'DuplicateReplicaError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.duplicate-replica', message, init)
  }
}

/** No sender of that id. */
export class UnknownReplicaError extends ShipError {
  override readonly name: string = 'UnknownReplicaError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.unknown-replica', message, init)
  }
}

/** The sender was stopped. */
export class SenderStoppedError extends ShipError {
  override readonly name: string = 'SenderStoppedError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.sender-stopped', message, init)
  }
}

/** The replica has an active session. */
export class SessionActiveError extends ShipError {
  override readonly name: string = 'SessionActiveError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.session-active', message, init)
  }
}

/** The replica has no active session. */
export class NoSessionError extends ShipError {
  override readonly name: string = 'NoSessionError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.no-session', message, init)
  }
}

/** A session, epoch or endpoint version that is no longer current. */
export class SessionFencedError extends ShipError {
  override readonly name: string = 'SessionFencedError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.session-fenced', message, init)
  }
}

/** A rebuild call on a catch-up session, or the other way round. */
export class WrongSessionKindError extends ShipError {
  override readonly name: string = 'WrongSessionKindError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.wrong-session-kind', message, init)
  }
}

/** A step that its phase does not allow. */
export class PhaseError extends ShipError {
  override readonly name: string = 'PhaseError'
  readonly from: string
  readonly to: string
  constructor(message: string, init: ErrorInit<{ from: string; to: string }>) {
    super('ship.phase', message, init)
    this.from = init.details.from
    this.to = init.details.to
  }
}

/** Only a rebuild leads out of this state. */
export class RebuildRequiredError extends ShipError {
  override readonly name: string = 'RebuildRequiredError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.rebuild-required', message, init)
  }
}

/** Progress that does not grow. */
export class ProgressRegressionError extends ShipError {
  override readonly name: string = 'ProgressRegressionError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.progress-regression', message, init)
  }
}

/** Progress beyond the frozen target. */
export class FrozenTargetError extends ShipError {
  override readonly name: string = 'FrozenTargetError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.frozen-target', message, init)
  }
}

/** A completion before everything it owes was done. */
export class CompletionRejectedError extends ShipError {
  override readonly name: string = 'CompletionRejectedError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.completion-rejected', message, init)
  }
}

/** A rebuild that is not complete. */
export class NotReadyError extends ShipError {
  override readonly name: string = 'NotReadyError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.not-ready', message, init)
  }
}

/** A tail replay before its base is there. */
export class BaseIncompleteError extends ShipError {
  override readonly name: string = 'BaseIncompleteError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.base-incomplete', message, init)
  }
}

/** A full base has no tail. */
export class NoTailError extends ShipError {
  override readonly name: string = 'NoTailError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.no-tail', message, init)
  }
}

/** A catch-up went over its budget. */
export class CatchUpBudgetError extends ShipError {
  override readonly name: string = 'CatchUpBudgetError'
  readonly verdict: string
  constructor(message: string, init: ErrorInit<{ verdict: string }>) {
    super('ship.catch-up-budget', message, init)
    this.verdict = init.details.verdict
  }
}

/** The writer is faster than the link. */
export class CatchUpNotConvergingError extends ShipError {
  override readonly name: string = 'CatchUpNotConvergingError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.catch-up-not-converging', message, init)
  }
}

/** No history to classify against. */
export class HistoryMissingError extends ShipError {
  override readonly name: string = 'HistoryMissingError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.history-missing', message, init)
  }
}

/** History was trimmed between reading and pinning it. */
export class HistoryMovedError extends ShipError {
  override readonly name: string = 'HistoryMovedError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.history-moved', message, init)
  }
}

/** A plan that another executor owns. */
export class PlanConsumedError extends ShipError {
  override readonly name: string = 'PlanConsumedError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.plan-consumed', message, init)
  }
}

/** An executor that has run. */
export class ExecutorReusedError extends ShipError {
  override readonly name: string = 'ExecutorReusedError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.executor-reused', message, init)
  }
}

/** The run was cancelled. */
export class CancelledError extends ShipError {
  override readonly name: string = 'CancelledError'
  readonly reason: string
  constructor(message: string, init: ErrorInit<{ reason: string }>) {
    super('ship.cancelled', message, init)
    this.reason = init.details.reason
  }
}

/** A rebuild that ended below its target. */
export class AchievedBelowTargetError extends ShipError {
  override readonly name: string = 'AchievedBelowTargetError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.achieved-below-target', message, init)
  }
}

/** A truncation other than the one owed. */
export class TruncationMismatchError extends ShipError {
  override readonly name: string = 'TruncationMismatchError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.truncation-mismatch', message, init)
  }
}

/** A truncation where none is owed. */
export class TruncationNotRequiredError extends ShipError {
  override readonly name: string = 'TruncationNotRequiredError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.truncation-not-required', message, init)
  }
}

/** The replica cannot get back to that LSN. */
export class TruncationUnsafeError extends ShipError {
  override readonly name: string = 'TruncationUnsafeError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.truncation-unsafe', message, init)
  }
}

/** A reader shows a version that would be cut away. */
export class SnapshotAboveTruncationError extends ShipError {
  override readonly name: string = 'SnapshotAboveTruncationError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.snapshot-above-truncation', message, init)
  }
}

/** It would cut below what was promised. */
export class CommittedTruncationError extends ShipError {
  override readonly name: string = 'CommittedTruncationError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.committed-truncation', message, init)
  }
}

/** A base at another LSN than agreed. */
export class BoundaryMismatchError extends ShipError {
  override readonly name: string = 'BoundaryMismatchError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.boundary-mismatch', message, init)
  }
}

/** A manifest that is not what its hash says. */
export class ManifestHashError extends ShipError {
  override readonly name: string = 'ManifestHashError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.manifest-hash', message, init)
  }
}

/** A file that is not what its hash says, several times. */
export class FragmentHashError extends ShipError {
  override readonly name: string = 'FragmentHashError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.fragment-hash', message, init)
  }
}

/** A file that the log names is not there. */
export class FragmentMissingError extends ShipError {
  override readonly name: string = 'FragmentMissingError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.fragment-missing', message, init)
  }
}

/** A replica of another store. */
export class StoreMismatchError extends ShipError {
  override readonly name: string = 'StoreMismatchError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.store-mismatch', message, init)
  }
}

/** Another replica answers at that endpoint. */
export class ReplicaMismatchError extends ShipError {
  override readonly name: string = 'ReplicaMismatchError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.replica-mismatch', message, init)
  }
}

/** A protocol that this side does not speak. */
export class ProtocolVersionError extends ShipError {
  override readonly name: string = 'ProtocolVersionError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.protocol-version', message, init)
  }
}

/** A record that differs from the one held at its LSN. */
export class DivergentEntryError extends ShipError {
  override readonly name: string = 'DivergentEntryError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.divergent-entry', message, init)
  }
}

/** Records whose chain digest is not the one stated. */
export class ChainDigestError extends ShipError {
  override readonly name: string = 'ChainDigestError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.chain-digest', message, init)
  }
}

/** Records that do not follow the last one. */
export class GapError extends ShipError {
  override readonly name: string = 'GapError'
  readonly expected: bigint
  readonly got: bigint
  constructor(message: string, init: ErrorInit<{ expected: bigint; got: bigint }>) {
    super('ship.gap', message, init)
    this.expected = init.details.expected
    this.got = init.details.got
  }
}

/** A record that fails its checksum. */
export class EntryChecksumError extends ShipError {
  override readonly name: string = 'EntryChecksumError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.entry-checksum', message, init)
  }
}

/** Too few replicas confirmed the write in time; its outcome is open. */
export class AckTimeoutError extends ShipError {
  override readonly name: string = 'AckTimeoutError'
  readonly lsn: bigint
  readonly durableNodes: number
  readonly neededNodes: number
  constructor(message: string, init: ErrorInit<{ lsn: bigint; durableNodes: number; neededNodes: number }>) {
    super('ship.ack-timeout', message, init)
    this.lsn = init.details.lsn
    this.durableNodes = init.details.durableNodes
    this.neededNodes = init.details.neededNodes
  }
}

/** Too few replicas are reachable; nothing was written. */
export class AckUnavailableError extends ShipError {
  override readonly name: string = 'AckUnavailableError'
  readonly reachable: number
  readonly neededNodes: number
  constructor(message: string, init: ErrorInit<{ reachable: number; neededNodes: number }>) {
    super('ship.ack-unavailable', message, init)
    this.reachable = init.details.reachable
    this.neededNodes = init.details.neededNodes
  }
}

/** A write asked for less than the store's mode. */
export class AckModeWeakenedError extends ShipError {
  override readonly name: string = 'AckModeWeakenedError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.ack-mode-weakened', message, init)
  }
}

/** The log says another acknowledgement mode. */
export class AckModeMismatchError extends ShipError {
  override readonly name: string = 'AckModeMismatchError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.ack-mode-mismatch', message, init)
  }
}

/** A quorum needs three nodes. */
export class QuorumTooSmallError extends ShipError {
  override readonly name: string = 'QuorumTooSmallError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.quorum-too-small', message, init)
  }
}

/** A connection failed, stalled or was reset. */
export class TransportError extends ShipError {
  override readonly name: string = 'TransportError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.transport', message, init)
  }
}

/** A frame over the bound. */
export class FrameTooLargeError extends ShipError {
  override readonly name: string = 'FrameTooLargeError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.frame-too-large', message, init)
  }
}

/** A frame of no known type. */
export class UnknownFrameError extends ShipError {
  override readonly name: string = 'UnknownFrameError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.unknown-frame', message, init)
  }
}

/** A frame that fails its checksum. */
export class FrameChecksumError extends ShipError {
  override readonly name: string = 'FrameChecksumError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.frame-checksum', message, init)
  }
}

/** A connection that ended inside a frame. */
export class TruncatedFrameError extends ShipError {
  override readonly name: string = 'TruncatedFrameError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.truncated-frame', message, init)
  }
}

/** The other side does not know the shared key. */
export class AuthError extends ShipError {
  override readonly name: string = 'AuthError'
  constructor(message: string, init: ErrorInit = { details: {} }) {
    super('ship.auth', message, init)
  }
}
