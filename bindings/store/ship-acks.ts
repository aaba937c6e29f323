// store/ship-acks.ts: what replicas confirm, handed to what waits for it: the tracker counts, the gate of the store asks (docs/shipping.md "Acknowledgement and promotion").

import type { Acker, Attached } from '../engine/index.ts'
import { AckModeMismatchError } from '../errors-ship.ts'
import type { AckMode, AckSink, AckTracker, RecoveryLog, Registry, ReplicaId, ReplicaState, Sender, SessionId, Tape } from '../ship/index.ts'
import type { Shipped } from './shipped.ts'

export interface AcksParts {
  readonly shipped: Shipped
  readonly tracker: AckTracker
  readonly tape: Tape
  readonly registry: Registry
  readonly log: RecoveryLog
  readonly ackTimeoutMs: number
  readonly allowIndeterminate: boolean
}

/** Of how many moves of C one is kept in the log of events. */
const SAMPLE_MS = 1000

export class Acks implements AckSink, Acker {
  readonly ackTimeoutMs: number
  readonly allowIndeterminate: boolean
  private readonly parts: AcksParts
  private attached: Attached | undefined
  private sampledMs = -Infinity

  constructor(parts: AcksParts) {
    this.parts = parts
    this.ackTimeoutMs = parts.ackTimeoutMs
    this.allowIndeterminate = parts.allowIndeterminate
  }

  /** The mode that was asked for is that of the log, or becomes it in a log that names none. @throws AckModeMismatchError, QuorumTooSmallError */
  async open(mode: AckMode | undefined): Promise<void> {
    const { shipped, tracker } = this.parts
    const { acknowledgement, state } = shipped.o
    this.attached = await acknowledgement.attach(this)
    const held = acknowledgement.mode
    tracker.check(mode ?? held)
    if (mode === undefined || mode === held) return
    if (state.catalog.ack.lsn > 0) {
      throw new AckModeMismatchError(`the log says ${held}, not ${mode}`, { details: { held, asked: mode } })
    }
    await acknowledgement.setMode(mode)
  }

  close(): void {
    this.attached?.[Symbol.dispose]()
    this.attached = undefined
  }

  /** C, as far as it is durable here. */
  boundary(): number {
    const { shipped, tape } = this.parts
    const { acknowledgement } = shipped.o
    return acknowledgement.mode === 'async' ? tape.head : Math.min(tape.head, acknowledgement.committed)
  }

  assign(senders: readonly Sender[]): void {
    const { tracker } = this.parts
    tracker.assign(senders.filter(({ role }) => role === 'voter').map(({ id }) => id))
    for (const { id, state } of senders) tracker.state(id, state)
    this.attached?.changed()
  }

  state(id: ReplicaId, state: ReplicaState): void {
    this.parts.tracker.state(id, state)
    this.attached?.changed()
  }

  // of tasks

  follow(id: ReplicaId, session: SessionId, durableLsn: number | undefined): void {
    const { tracker, log, registry } = this.parts
    const forgotten = tracker.follow(id, session, durableLsn ?? 0)
    if (forgotten !== undefined && durableLsn !== undefined) {
      const { confirmed, durable } = forgotten
      log.append('amnesia', id, session, `it has confirmed ${confirmed} and holds ${durable}`, { confirmed, durable })
    }
    if (registry.has(id)) this.state(id, registry.sender(id).state)
  }

  unfollow(id: ReplicaId, session: SessionId): void {
    this.parts.tracker.unfollow(id, session)
    this.attached?.changed()
  }

  ack(id: ReplicaId, session: SessionId, durableLsn: number): void {
    if (this.parts.tracker.ack(id, session, durableLsn)) this.attached?.changed()
  }

  // of the gate

  durable(lsn: number): void {
    this.parts.tracker.local(lsn)
  }

  committed(lsn: number): void {
    const { tape, log, shipped } = this.parts
    tape.wake()
    const nowMs = shipped.o.world.clock.monoMs()
    if (nowMs - this.sampledMs < SAMPLE_MS) return
    this.sampledMs = nowMs
    log.append('commit_advanced', null, null, `to ${lsn}`, { lsn })
  }

  committedIn(mode: AckMode): number {
    return this.parts.tracker.committedIn(mode)
  }

  durableNodes(lsn: number): number {
    return this.parts.tracker.durableNodes(lsn)
  }

  neededNodes(mode: AckMode): number {
    return this.parts.tracker.neededNodes(mode)
  }

  neededReplicas(mode: AckMode): number {
    return this.parts.tracker.others(mode)
  }

  get reachable(): number {
    return this.parts.tracker.reachable
  }
}
