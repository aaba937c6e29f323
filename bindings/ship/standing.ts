// ship/standing.ts: where a replica stands (its state and why), what it owes, and who hears of changes. Owned by its Sender.
//
// Invariants: a debt outlives sessions: needs_rebuild comes back after every end but a completed rebuild; halted is left by clearHalt only, stopped never.

import type { RecoveryLog } from './recovery-log.ts'
import type { SenderChange } from './sender-nouns.ts'
import { Subscribers } from './subscribers.ts'
import type { ReplicaId, ReplicaState, SessionId } from './types.ts'

/** Halts that say: two histories. Who clears one gives the replica's up, so that a rebuild is owed. */
const OVERRULED_BY_REBUILD: ReadonlySet<string> = new Set(['split_history', 'committed_truncation'])

export class Standing {
  readonly #id: ReplicaId
  readonly #log: RecoveryLog
  readonly #subscribers = new Subscribers<SenderChange>()
  #state: ReplicaState = 'disconnected'
  #reason = ''
  #owesRebuild = false
  /** The reason of a halt that an operator cleared, until a rebuild has paid for it. */
  #overruled: string | null = null
  /** A session that ended and was not told of yet. */
  #ended: SessionId | null = null

  constructor(id: ReplicaId, log: RecoveryLog) {
    this.#id = id
    this.#log = log
  }

  get state(): ReplicaState {
    return this.#state
  }
  get reason(): string {
    return this.#reason
  }
  get owesRebuild(): boolean {
    return this.#owesRebuild
  }

  subscribe(fn: (change: SenderChange) => void): () => void {
    return this.#subscribers.add(fn)
  }

  /** Told with the next change. */
  sessionEnded(id: SessionId): void {
    this.#ended = id
  }

  /** Moves on, unless a halt or a debt says otherwise; then tells what changed and which session ended. */
  enter(to: ReplicaState, reason: string, detail: string = reason): void {
    if (this.#state === 'halted' && to !== 'stopped') return this.stay()
    if (to === 'needs_rebuild') this.#owesRebuild = true
    const isOwed = this.#owesRebuild && (to === 'disconnected' || to === 'degraded')
    if (isOwed) return this.#state === 'needs_rebuild' ? this.stay() : this.#become('needs_rebuild', reason)
    if (to === 'halted' || to === 'degraded') this.#log.append(to, this.#id, this.#ended, detail === reason ? reason : `${reason}: ${detail}`, { reason })
    this.#become(to, reason)
  }

  /** Tells of a session that ended without a change of state. */
  stay(): void {
    this.#become(this.#state, this.#reason)
  }

  /** A rebuild was completed: nothing is owed any more. */
  rebuilt(): void {
    this.#owesRebuild = false
    this.#overruled = null
  }

  /** Whether an operator has cleared a halt of that reason, and a rebuild may therefore go on. */
  isOverruled(reason: string): boolean {
    return this.#overruled === reason
  }

  /** Where the halt was about two histories the replica's own is given up. */
  clearHalt(): void {
    const reason = this.#reason
    if (OVERRULED_BY_REBUILD.has(reason)) {
      this.#overruled = reason
      this.#owesRebuild = true
    }
    this.#log.append('halt_cleared', this.#id, null, reason, { reason })
    this.#become(this.#owesRebuild ? 'needs_rebuild' : 'disconnected', 'halt_cleared')
  }

  #become(to: ReplicaState, reason: string): void {
    const from = this.#state
    const ended = this.#ended
    this.#ended = null
    if (from === to && ended === null && (to === 'disconnected' || reason === this.#reason)) return
    this.#state = to
    this.#reason = reason
    this.#subscribers.tell(Object.freeze({ replicaId: this.#id, from, to, reason, ended }))
  }
}
