// ship/recovery-log.ts: what happened to replicas and why: a bounded ring of events, for people, tests and the simulation. Nothing reads it to decide.
//
// Invariant: `seq` strictly grows and has no gap; an event that fell out of the ring is counted in `dropped`.

import { Subscribers } from './subscribers.ts'
import type { ReplicaId, SessionId } from './types.ts'

export type RecoveryEventName =
  | 'sender_added'
  | 'sender_removed'
  | 'endpoint_changed'
  | 'session_created'
  | 'session_superseded'
  | 'session_invalidated'
  | 'session_failed'
  | 'connected'
  | 'connect_failed'
  | 'handshake'
  | 'handshake_failed'
  | 'escalated'
  | 'plan_zero_gap'
  | 'plan_catchup'
  | 'plan_truncate_only'
  | 'plan_rebuild_snapshot_tail'
  | 'plan_rebuild_full_base'
  | 'plan_cancelled'
  | 'log_pin_failed'
  | 'snapshot_pin_failed'
  | 'full_base_pin_failed'
  | 'exec_catchup_started'
  | 'exec_rebuild_started'
  | 'exec_step'
  | 'truncation_recorded'
  | 'truncation_escalated'
  | 'budget_escalated'
  | 'installed'
  | 'second_catchup'
  | 'completion_rejected'
  | 'exec_completed'
  | 'exec_rebuild_completed'
  | 'exec_resources_released'
  | 'stream_opened'
  | 'stream_closed'
  | 'degraded'
  | 'retention_exceeded'
  | 'fenced'
  | 'halted'
  | 'halt_cleared'
  | 'promoted'
  | 'commit_advanced'
  | 'amnesia'

export interface RecoveryEvent {
  readonly seq: number
  /** Unix milliseconds. */
  readonly at: number
  /** null: of the store as a whole. */
  readonly replicaId: ReplicaId | null
  readonly sessionId: SessionId | null
  readonly event: RecoveryEventName
  /** Names the cause. */
  readonly detail: string
  readonly fields: Readonly<Record<string, unknown>>
}

export interface RecoveryLogOptions {
  readonly clock: { nowMs(): number }
  /** Events that are kept. Default 4,096. */
  readonly capacity?: number
  /** Keep `exec_step` events too. Default false. */
  readonly verbose?: boolean
}

const NO_FIELDS: Readonly<Record<string, unknown>> = Object.freeze({})

/** The events of shipping, the newest `capacity` of them. */
export class RecoveryLog {
  readonly #clock: { nowMs(): number }
  readonly #capacity: number
  readonly #verbose: boolean
  readonly #subscribers = new Subscribers<RecoveryEvent>()
  /** Event `seq` is at `(seq - 1) % capacity`. */
  readonly #ring: RecoveryEvent[] = []
  #seq = 0

  constructor(o: RecoveryLogOptions) {
    this.#clock = o.clock
    this.#capacity = o.capacity ?? 4_096
    this.#verbose = o.verbose ?? false
    if (!Number.isSafeInteger(this.#capacity) || this.#capacity < 1) throw new RangeError(`a recovery log of ${this.#capacity} events`)
  }

  /** Events that no longer fit. */
  get dropped(): number {
    return Math.max(0, this.#seq - this.#capacity)
  }

  append(
    event: RecoveryEventName,
    replicaId: ReplicaId | null,
    sessionId: SessionId | null,
    detail: string,
    fields: Readonly<Record<string, unknown>> = NO_FIELDS,
  ): void {
    if (event === 'exec_step' && !this.#verbose) return
    const at = this.#clock.nowMs()
    const entry: RecoveryEvent = Object.freeze({ seq: ++this.#seq, at, replicaId, sessionId, event, detail, fields: Object.freeze({ ...fields }) })
    this.#ring[(entry.seq - 1) % this.#capacity] = entry
    this.#subscribers.tell(entry)
  }

  /** Oldest first. */
  events(): RecoveryEvent[] {
    return this.since(0)
  }

  eventsFor(id: ReplicaId): RecoveryEvent[] {
    return this.since(0).filter((entry) => entry.replicaId === id)
  }

  /** What is kept of the events after `seq`, oldest first. */
  since(seq: number): RecoveryEvent[] {
    const events: RecoveryEvent[] = []
    for (let at = Math.max(seq, this.dropped); at < this.#seq; at++) events.push(this.#ring[at % this.#capacity]!)
    return events
  }

  /** Hears each event after it was kept; one that throws is dropped. @returns what ends the subscription */
  subscribe(fn: (event: RecoveryEvent) => void): () => void {
    return this.#subscribers.add(fn)
  }
}
