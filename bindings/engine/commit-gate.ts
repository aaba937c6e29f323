// engine/commit-gate.ts: what stands between the log and the committer while commits wait for replicas (docs/shipping.md "Acknowledgement and promotion").
//
// The log says up to where records are durable here; the gate says up to where they are committed (C), and that alone drives the fold, the promises and the readers.
// Records in between are to the engine what queued ones are: admission sees them, readers do not. Without a gate the two are the same.

import { VarveError } from '../errors.ts'
import type { AckMode, ModeRecord } from '../format/index.ts'

/** Of one write. */
export interface AckOptions {
  /** Wait for more nodes than the store's mode asks for. */
  readonly ack?: AckMode
  /** Write although too few replicas are reachable: the outcome is open until they are back. */
  readonly allowIndeterminate?: boolean
}

export interface CommitGate {
  /** Records up to `last` are durable here. */
  durable(last: number): void
  /** In the step that queues a record, before it. @throws AckUnavailableError, AckModeWeakenedError: nothing is written */
  admit(o: AckOptions | undefined): void
  /** A record waits for its acknowledgement. */
  waiting(): void
  /** A change of the mode is queued. */
  queued(lsn: number, mode: ModeRecord): void
  /** Records from `first` on never were. */
  takeBack(first: number): void
  /** Resolves when a record that is folded is committed; undefined: it is. Nothing is answered from a record before. @throws AckTimeoutError */
  reached(lsn: number): Promise<void> | undefined
  /** Resolves when everything that an open found in the log is committed; undefined: it is. @throws AckTimeoutError */
  settled(): Promise<void> | undefined
}

/** Counts who has what; handed in by shipping. */
export interface Acker {
  /** Records up to `lsn` are durable on this node: of each group, in order, and once when it is attached. Must not throw. */
  durable(lsn: number): void
  /** C has moved. Must not throw. */
  committed?(lsn: number): void
  /** Highest LSN that is committed as this mode counts, by the acknowledgements so far; 0 = none. */
  committedIn(mode: AckMode): number
  /** Nodes on which the record is durable, this one included. */
  durableNodes(lsn: number): number
  /** @throws QuorumTooSmallError */
  neededNodes(mode: AckMode): number
  /** Nodes that can confirm a record now, this one included. */
  readonly reachable: number
  readonly ackTimeoutMs: number
  /** Writes are taken although too few nodes are reachable. */
  readonly allowIndeterminate: boolean
}

/** An acker in place. Disposed: nobody confirms any more. */
export interface Attached extends Disposable {
  /** To be called when what the acker would answer has changed: C is looked at again. */
  changed(): void
}

/** The record is in the log, here at least, and may yet be committed. */
export function isIndeterminate(error: unknown): boolean {
  return error instanceof VarveError && error.code === 'ship.ack-timeout'
}
