// ship/sender-nouns.ts: what senders share and what they tell: the numbers of sessions, changes, frozen copies.

import { EPOCH_MAX } from '../options.ts'
import type { RecoveryLog } from './recovery-log.ts'
import type { SessionStatus } from './session.ts'
import type { Endpoint, ReplicaAssignment, ReplicaId, ReplicaState, SessionId } from './types.ts'

/** Numbers of sessions: one per open store, so that ids never repeat within an epoch (and each open takes a new epoch). */
export class SessionSequence {
  readonly #last = new Map<number, number>()

  next(epoch: number): SessionId {
    const seq = (this.#last.get(epoch) ?? 0) + 1
    this.#last.set(epoch, seq)
    return Object.freeze({ epoch, seq })
  }
}

/** What every sender of one primary shares. */
export interface ShipContext {
  /** Lower-case hex. */
  readonly storeId: string
  readonly clock: { nowMs(): number; monoMs(): number }
  readonly log: RecoveryLog
  readonly sequence: SessionSequence
}

/** The driver's end of a live stream. */
export interface LiveStream {
  /** Stops sending at once; may be called from within a sender's method, must not throw. */
  close(reason: string): void
}

export interface SenderChange {
  readonly replicaId: ReplicaId
  readonly from: ReplicaState
  readonly to: ReplicaState
  readonly reason: string
  /** The session that ended with it: whoever works for it must stop. */
  readonly ended: SessionId | null
}

/** A frozen copy of what a sender knows. */
export interface SenderStatus {
  readonly replicaId: ReplicaId
  readonly role: ReplicaAssignment['role']
  readonly state: ReplicaState
  /** Of the last change of state; '' at first. */
  readonly reason: string
  readonly epoch: number
  readonly endpoint: Endpoint
  readonly session: SessionStatus | null
  /** A live stream is open. */
  readonly streaming: boolean
  /** As the replica last said: R and RC. */
  readonly durableLsn: number
  readonly committedLsn: number
}

/** @throws RangeError */
export function checkedEpoch(epoch: number): number {
  if (!Number.isSafeInteger(epoch) || epoch < 1 || epoch > 2 * EPOCH_MAX)
    throw new RangeError(`an epoch is an integer from 1 to ${2 * EPOCH_MAX}, not ${epoch}`)
  return epoch
}
