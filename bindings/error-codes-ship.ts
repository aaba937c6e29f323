// error-codes-ship.ts: the error codes of shipping, apart from error-codes.ts so that a process that ships nothing does not load them.

import type { ErrorInfo } from './error-codes.ts'

export type ShipErrorCode =
  | 'ship.invalid-replica-id'
  | 'ship.invalid-endpoint'
  | 'ship.stale-endpoint'
  | 'ship.stale-epoch'
  | 'ship.epoch-mismatch'
  | 'ship.duplicate-replica'
  | 'ship.unknown-replica'
  | 'ship.sender-stopped'
  | 'ship.session-active'
  | 'ship.no-session'
  | 'ship.session-fenced'
  | 'ship.wrong-session-kind'
  | 'ship.phase'
  | 'ship.rebuild-required'
  | 'ship.progress-regression'
  | 'ship.frozen-target'
  | 'ship.completion-rejected'
  | 'ship.not-ready'
  | 'ship.base-incomplete'
  | 'ship.no-tail'
  | 'ship.catch-up-budget'
  | 'ship.catch-up-not-converging'
  | 'ship.history-missing'
  | 'ship.history-moved'
  | 'ship.plan-consumed'
  | 'ship.executor-reused'
  | 'ship.cancelled'
  | 'ship.achieved-below-target'
  | 'ship.truncation-mismatch'
  | 'ship.truncation-not-required'
  | 'ship.truncation-unsafe'
  | 'ship.snapshot-above-truncation'
  | 'ship.committed-truncation'
  | 'ship.boundary-mismatch'
  | 'ship.manifest-hash'
  | 'ship.fragment-hash'
  | 'ship.fragment-missing'
  | 'ship.store-mismatch'
  | 'ship.replica-mismatch'
  | 'ship.protocol-version'
  | 'ship.divergent-entry'
  | 'ship.chain-digest'
  | 'ship.gap'
  | 'ship.entry-checksum'
  | 'ship.ack-timeout'
  | 'ship.ack-unavailable'
  | 'ship.ack-mode-weakened'
  | 'ship.ack-mode-mismatch'
  | 'ship.quorum-too-small'
  | 'ship.transport'
  | 'ship.frame-too-large'
  | 'ship.unknown-frame'
  | 'ship.frame-checksum'
  | 'ship.truncated-frame'
  | 'ship.auth'

export const SHIP_CODES: Readonly<Record<ShipErrorCode, ErrorInfo>> = {
  'ship.invalid-replica-id': {
    class: 'InvalidReplicaIdError',
    kind: 'invalid',
    hint: 'Use 1 to 128 bytes of letters, digits, dot, underscore, colon and hyphen.',
    meaning: 'A replica id that is none.',
  },
  'ship.invalid-endpoint': {
    class: 'InvalidEndpointError',
    kind: 'invalid',
    hint: 'Give a host and a port that the other side can reach.',
    meaning: 'An address that cannot be listened on or connected to.',
  },
  'ship.stale-endpoint': {
    class: 'StaleEndpointError',
    kind: 'fenced',
    hint: 'Read the current assignment and raise the version.',
    meaning: 'An endpoint older than the one held, or another one of the same version.',
  },
  'ship.stale-epoch': { class: 'StaleEpochError', kind: 'fenced', hint: 'Stop: a newer writer exists.', meaning: 'An epoch below the one held.' },
  'ship.epoch-mismatch': {
    class: 'EpochMismatchError',
    kind: 'fenced',
    hint: 'Attach at the epoch of the sender.',
    meaning: "A session at another epoch than its sender's.",
  },
  'ship.duplicate-replica': {
    class: 'DuplicateReplicaError',
    kind: 'invalid',
    hint: 'Name each replica once.',
    meaning: 'One replica id twice in an assignment.',
  },
  'ship.unknown-replica': { class: 'UnknownReplicaError', kind: 'invalid', hint: 'Assign the replica first.', meaning: 'No sender of that id.' },
  'ship.sender-stopped': { class: 'SenderStoppedError', kind: 'closed', hint: 'Assign the replica again.', meaning: 'The sender was stopped.' },
  'ship.session-active': {
    class: 'SessionActiveError',
    kind: 'conflict',
    hint: 'Supersede it, or wait for its end.',
    meaning: 'The replica has an active session.',
  },
  'ship.no-session': { class: 'NoSessionError', kind: 'conflict', hint: 'Attach a session first.', meaning: 'The replica has no active session.' },
  'ship.session-fenced': {
    class: 'SessionFencedError',
    kind: 'fenced',
    hint: 'Drop it: a newer session, epoch or endpoint counts.',
    meaning: 'A session, epoch or endpoint version that is no longer current.',
  },
  'ship.wrong-session-kind': {
    class: 'WrongSessionKindError',
    kind: 'invalid',
    hint: 'Attach a session of the kind that the call is for.',
    meaning: 'A rebuild call on a catch-up session, or the other way round.',
  },
  'ship.phase': { class: 'PhaseError', kind: 'invalid', hint: 'Call the steps of a session in their order.', meaning: 'A step that its phase does not allow.' },
  'ship.rebuild-required': {
    class: 'RebuildRequiredError',
    kind: 'conflict',
    hint: 'Attach a session of kind rebuild.',
    meaning: 'Only a rebuild leads out of this state.',
  },
  'ship.progress-regression': {
    class: 'ProgressRegressionError',
    kind: 'invalid',
    hint: 'Report progress that grows.',
    meaning: 'Progress that does not grow.',
  },
  'ship.frozen-target': {
    class: 'FrozenTargetError',
    kind: 'invalid',
    hint: 'Stop at the target of the session.',
    meaning: 'Progress beyond the frozen target.',
  },
  'ship.completion-rejected': {
    class: 'CompletionRejectedError',
    kind: 'invalid',
    hint: "Finish the session's work first.",
    meaning: 'A completion before everything it owes was done.',
  },
  'ship.not-ready': { class: 'NotReadyError', kind: 'invalid', hint: 'Finish transfer and tail first.', meaning: 'A rebuild that is not complete.' },
  'ship.base-incomplete': {
    class: 'BaseIncompleteError',
    kind: 'invalid',
    hint: 'Finish the transfer first.',
    meaning: 'A tail replay before its base is there.',
  },
  'ship.no-tail': { class: 'NoTailError', kind: 'invalid', hint: 'Complete after the transfer.', meaning: 'A full base has no tail.' },
  'ship.catch-up-budget': {
    class: 'CatchUpBudgetError',
    kind: 'unavailable',
    hint: 'Raise the budget, or let the replica be rebuilt.',
    meaning: 'A catch-up went over its budget.',
  },
  'ship.catch-up-not-converging': {
    class: 'CatchUpNotConvergingError',
    kind: 'unavailable',
    hint: "Slow the writer down (backpressure: 'throttle'), or give the link more room.",
    meaning: 'The writer is faster than the link.',
  },
  'ship.history-missing': { class: 'HistoryMissingError', kind: 'invalid', hint: 'Read the history first.', meaning: 'No history to classify against.' },
  'ship.history-moved': {
    class: 'HistoryMovedError',
    kind: 'unavailable',
    hint: 'Plan again.',
    meaning: 'History was trimmed between reading and pinning it.',
  },
  'ship.plan-consumed': { class: 'PlanConsumedError', kind: 'invalid', hint: 'Make a plan for each executor.', meaning: 'A plan that another executor owns.' },
  'ship.executor-reused': { class: 'ExecutorReusedError', kind: 'invalid', hint: 'Make an executor for each run.', meaning: 'An executor that has run.' },
  'ship.cancelled': { class: 'CancelledError', kind: 'closed', hint: 'Nothing: it was asked for.', meaning: 'The run was cancelled.' },
  'ship.achieved-below-target': {
    class: 'AchievedBelowTargetError',
    kind: 'corrupt',
    hint: 'Report it: this is a defect of varve.',
    meaning: 'A rebuild that ended below its target.',
  },
  'ship.truncation-mismatch': {
    class: 'TruncationMismatchError',
    kind: 'invalid',
    hint: 'Record the truncation that is owed.',
    meaning: 'A truncation other than the one owed.',
  },
  'ship.truncation-not-required': {
    class: 'TruncationNotRequiredError',
    kind: 'invalid',
    hint: 'Go on without it.',
    meaning: 'A truncation where none is owed.',
  },
  'ship.truncation-unsafe': {
    class: 'TruncationUnsafeError',
    kind: 'conflict',
    hint: 'Rebuild the replica.',
    meaning: 'The replica cannot get back to that LSN.',
  },
  'ship.snapshot-above-truncation': {
    class: 'SnapshotAboveTruncationError',
    kind: 'conflict',
    hint: 'Close the reader, or rebuild the replica.',
    meaning: 'A reader shows a version that would be cut away.',
  },
  'ship.committed-truncation': {
    class: 'CommittedTruncationError',
    kind: 'fenced',
    hint: 'Stop: find out which history is the right one.',
    meaning: 'It would cut below what was promised.',
  },
  'ship.boundary-mismatch': {
    class: 'BoundaryMismatchError',
    kind: 'corrupt',
    hint: 'Start the transfer again.',
    meaning: 'A base at another LSN than agreed.',
  },
  'ship.manifest-hash': {
    class: 'ManifestHashError',
    kind: 'corrupt',
    hint: 'Start the transfer again.',
    meaning: 'A manifest that is not what its hash says.',
  },
  'ship.fragment-hash': {
    class: 'FragmentHashError',
    kind: 'corrupt',
    hint: 'Verify the primary: varve verify.',
    meaning: 'A file that is not what its hash says, several times.',
  },
  'ship.fragment-missing': {
    class: 'FragmentMissingError',
    kind: 'corrupt',
    hint: 'Verify the primary: varve verify.',
    meaning: 'A file that the log names is not there.',
  },
  'ship.store-mismatch': {
    class: 'StoreMismatchError',
    kind: 'invalid',
    hint: 'Point the assignment at a replica of this store.',
    meaning: 'A replica of another store.',
  },
  'ship.replica-mismatch': {
    class: 'ReplicaMismatchError',
    kind: 'invalid',
    hint: 'Check the endpoints of the assignment.',
    meaning: 'Another replica answers at that endpoint.',
  },
  'ship.protocol-version': {
    class: 'ProtocolVersionError',
    kind: 'unsupported',
    hint: 'Upgrade the older side.',
    meaning: 'A protocol that this side does not speak.',
  },
  'ship.divergent-entry': {
    class: 'DivergentEntryError',
    kind: 'corrupt',
    hint: 'Let the primary decide: it asks for a truncation or a rebuild.',
    meaning: 'A record that differs from the one held at its LSN.',
  },
  'ship.chain-digest': {
    class: 'ChainDigestError',
    kind: 'corrupt',
    hint: 'Let the primary send it again; verify both sides if it stays.',
    meaning: 'Records whose chain digest is not the one stated.',
  },
  'ship.gap': { class: 'GapError', kind: 'unavailable', hint: 'Send from the LSN that is expected.', meaning: 'Records that do not follow the last one.' },
  'ship.entry-checksum': { class: 'EntryChecksumError', kind: 'unavailable', hint: 'Send it again.', meaning: 'A record that fails its checksum.' },
  'ship.ack-timeout': {
    class: 'AckTimeoutError',
    kind: 'unavailable',
    hint: 'Ask store.waitCommitted(lsn): the write may still be committed.',
    meaning: 'Too few replicas confirmed the write in time; its outcome is open.',
  },
  'ship.ack-unavailable': {
    class: 'AckUnavailableError',
    kind: 'unavailable',
    hint: 'Wait until enough replicas are connected.',
    meaning: 'Too few replicas are reachable; nothing was written.',
  },
  'ship.ack-mode-weakened': {
    class: 'AckModeWeakenedError',
    kind: 'invalid',
    hint: "Ask for the store's mode or a stronger one.",
    meaning: "A write asked for less than the store's mode.",
  },
  'ship.ack-mode-mismatch': {
    class: 'AckModeMismatchError',
    kind: 'invalid',
    hint: 'Give the mode of the log, or change it with store.setAckMode().',
    meaning: 'The log says another acknowledgement mode.',
  },
  'ship.quorum-too-small': { class: 'QuorumTooSmallError', kind: 'invalid', hint: 'Assign two voters or more.', meaning: 'A quorum needs three nodes.' },
  'ship.transport': {
    class: 'TransportError',
    kind: 'unavailable',
    hint: 'Wait: the driver connects again.',
    meaning: 'A connection failed, stalled or was reset.',
  },
  'ship.frame-too-large': { class: 'FrameTooLargeError', kind: 'invalid', hint: 'Check who talks to this port.', meaning: 'A frame over the bound.' },
  'ship.unknown-frame': { class: 'UnknownFrameError', kind: 'invalid', hint: 'Upgrade the older side.', meaning: 'A frame of no known type.' },
  'ship.frame-checksum': {
    class: 'FrameChecksumError',
    kind: 'unavailable',
    hint: 'Wait: the driver connects again.',
    meaning: 'A frame that fails its checksum.',
  },
  'ship.truncated-frame': {
    class: 'TruncatedFrameError',
    kind: 'unavailable',
    hint: 'Wait: the driver connects again.',
    meaning: 'A connection that ended inside a frame.',
  },
  'ship.auth': { class: 'AuthError', kind: 'invalid', hint: 'Give both sides the same key.', meaning: 'The other side does not know the shared key.' },
}
