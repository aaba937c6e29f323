// ship/registry.ts: the replicas of one primary, and the only maker of their senders. An assignment is applied whole or not at all.
//
// Invariants: one sender per replica id for as long as it is assigned (identity kept); the epoch never goes down; lists and counts are in order of ids.

import { InvalidConfigError } from '../errors.ts'
import { DuplicateReplicaError, StaleEpochError, UnknownReplicaError } from '../errors-ship.ts'
import { checkedEndpoint, isNewerEndpoint } from './endpoint.ts'
import { replicaId } from './replica-id.ts'
import { checkedEpoch, type SenderChange, type SenderStatus, type ShipContext } from './sender-nouns.ts'
import { Sender } from './sender.ts'
import { Subscribers } from './subscribers.ts'
import type { Assignment, ReplicaAssignment, ReplicaId, ReplicaState, SessionKind } from './types.ts'

export interface AssignmentResult {
  readonly added: readonly ReplicaId[]
  readonly removed: readonly ReplicaId[]
  /** Kept, with another endpoint or role. */
  readonly updated: readonly ReplicaId[]
  readonly created: readonly ReplicaId[]
  readonly superseded: readonly ReplicaId[]
  readonly failed: readonly { readonly id: ReplicaId; readonly error: string }[]
}

export interface RegistryStatus {
  readonly epoch: number
  /** A newer primary was met, or a fence: its epoch; 0 = none. */
  readonly fencedBy: number
  readonly total: number
  readonly inSync: number
  /** Connecting and catching up. */
  readonly recovering: number
  readonly rebuilding: number
  readonly needsRebuild: number
  readonly degraded: number
  readonly disconnected: number
  readonly halted: number
  readonly stopped: number
  readonly senders: readonly SenderStatus[]
}

type Count = 'inSync' | 'recovering' | 'rebuilding' | 'needsRebuild' | 'degraded' | 'disconnected' | 'halted' | 'stopped'
const COUNTED: Readonly<Record<ReplicaState, Count>> = {
  disconnected: 'disconnected',
  connecting: 'recovering',
  catching_up: 'recovering',
  rebuilding: 'rebuilding',
  in_sync: 'inSync',
  degraded: 'degraded',
  needs_rebuild: 'needsRebuild',
  halted: 'halted',
  stopped: 'stopped',
}

const ROLES: readonly string[] = ['voter', 'learner'] satisfies ReplicaAssignment['role'][]

export class Registry {
  readonly #context: ShipContext
  readonly #senders = new Map<ReplicaId, Sender>()
  readonly #subscribers = new Subscribers<SenderChange>()
  readonly #fencedSubscribers = new Subscribers<number>()
  #epoch: number
  #fencedBy = 0
  /** Epochs below it are fenced: where a fence asked for a decision, the next one too. */
  #fencedBelow = 0
  /** They follow another decision of the same number. */
  readonly #lostVotes = new Set<ReplicaId>()
  #isOutvoted = false

  /** @param epoch of this primary: that of its writer */
  constructor(context: ShipContext, epoch: number) {
    this.#context = context
    this.#epoch = checkedEpoch(epoch)
  }

  get epoch(): number {
    return this.#epoch
  }
  /** Epoch of the newer primary, or of the fence, that was met; 0 = none. */
  get fencedBy(): number {
    return this.#fencedBy
  }

  /** Another decision of the same number has the votes: that is why it is fenced. */
  get isOutvoted(): boolean {
    return this.#isOutvoted
  }

  /** Nothing is shipped any more. */
  get isFenced(): boolean {
    return this.#fencedBelow > this.#epoch
  }

  /** @throws UnknownReplicaError */
  sender(id: ReplicaId): Sender {
    const sender = this.#senders.get(id)
    if (sender === undefined) throw new UnknownReplicaError(`replica ${id} is not assigned`, { details: { replicaId: id } })
    return sender
  }

  has(id: ReplicaId): boolean {
    return this.#senders.has(id)
  }

  /** In order of ids. */
  all(): Sender[] {
    return [...this.#senders.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** Changes of every sender, also of those that come later. @returns what ends the subscription */
  subscribe(fn: (change: SenderChange) => void): () => void {
    return this.#subscribers.add(fn)
  }

  /** Told once for each newer primary that is met, after every sender was fenced. @returns what ends the subscription */
  onFenced(fn: (seen: number) => void): () => void {
    return this.#fencedSubscribers.add(fn)
  }

  /**
   * Makes the replicas those of the assignment, then attaches the sessions it asks for.
   *
   * @throws DuplicateReplicaError, InvalidReplicaIdError, InvalidEndpointError, StaleEpochError, StaleEndpointError: nothing changed
   */
  apply(assignment: Assignment): AssignmentResult {
    const wanted = this.#validated(assignment)
    const removed: ReplicaId[] = []
    for (const sender of this.all()) {
      // A stopped sender refuses everything: one that is assigned again is a new one.
      if (wanted.has(sender.id) && sender.state !== 'stopped') continue
      removed.push(sender.id)
      this.#remove(sender)
    }
    this.#epoch = assignment.epoch
    const added: ReplicaId[] = []
    const updated: ReplicaId[] = []
    for (const replica of wanted.values()) {
      const sender = this.#senders.get(replica.id)
      if (sender === undefined) {
        added.push(replica.id)
        this.#add(replica)
        continue
      }
      const isMoved = sender.updateEndpoint(replica.endpoint)
      const isOther = sender.updateRole(replica.role)
      if (isMoved || isOther) updated.push(replica.id)
      sender.updateEpoch(assignment.epoch)
    }
    return Object.freeze({ added, removed, updated, ...this.#recover(assignment) })
  }

  /** @returns the replicas whose session or stream ended by it, in order of ids */
  raiseEpoch(epoch: number): ReplicaId[] {
    if (checkedEpoch(epoch) <= this.#epoch) return []
    this.#epoch = epoch
    return this.all()
      .filter((sender) => sender.state !== 'stopped' && sender.updateEpoch(epoch))
      .map((sender) => sender.id)
  }

  /**
   * A newer primary exists, as `by` showed: every sender stops shipping.
   *
   * @param below  epochs that may ship no more; above `seen` where this primary has passed the epoch of a fence and nobody has decided that it goes on
   */
  fence(seen: number, by: ReplicaId, below: number = seen): void {
    if (below <= this.#epoch || below <= this.#fencedBelow) return
    this.#fencedBy = seen
    this.#fencedBelow = below
    for (const sender of this.all()) sender.fence(seen, by, below)
    this.#fencedSubscribers.tell(seen)
  }

  /**
   * A node follows another decision of the same number (decision 0035): one vote, while others may still make the majority.
   *
   * @param isSettled  the other one is known to have it
   * @returns whether this primary's decision can no longer have one
   */
  outvoted(by: ReplicaId, isSettled: boolean): boolean {
    this.#lostVotes.add(by)
    const voters = this.all().filter(({ role }) => role === 'voter')
    const nodes = 1 + voters.length
    const lost = voters.filter(({ id }) => this.#lostVotes.has(id)).length
    this.#isOutvoted ||= isSettled || nodes - lost <= Math.floor(nodes / 2)
    return this.#isOutvoted
  }

  /** A node follows this primary, whatever it has said before. */
  voted(by: ReplicaId): void {
    this.#lostVotes.delete(by)
  }

  /** @throws UnknownReplicaError, InvalidConfigError (`confirm` must be the replica's id) @returns false: it was not halted */
  clearHalt(id: ReplicaId, o: { readonly confirm: string }): boolean {
    return this.sender(id).clearHalt(o)
  }

  status(): RegistryStatus {
    const senders = this.all().map((sender) => sender.status())
    const counts: Record<Count, number> = { inSync: 0, recovering: 0, rebuilding: 0, needsRebuild: 0, degraded: 0, disconnected: 0, halted: 0, stopped: 0 }
    for (const sender of senders) counts[COUNTED[sender.state]]++
    return Object.freeze({ epoch: this.#epoch, fencedBy: this.#fencedBy, total: senders.length, ...counts, senders: Object.freeze(senders) })
  }

  stopAll(): void {
    for (const sender of this.all()) sender.stop()
  }

  /** Everything that can be wrong with an assignment, before anything is touched. In order of ids. */
  #validated(assignment: Assignment): Map<ReplicaId, ReplicaAssignment> {
    if (checkedEpoch(assignment.epoch) < this.#epoch) {
      throw new StaleEpochError(`an assignment of epoch ${assignment.epoch}, this registry is at ${this.#epoch}`, {
        details: { held: this.#epoch, seen: assignment.epoch },
      })
    }
    const wanted = new Map<ReplicaId, ReplicaAssignment>()
    for (const replica of [...assignment.replicas].sort((a, b) => (a.id < b.id ? -1 : 1))) {
      const id = replicaId(replica.id)
      if (wanted.has(id)) throw new DuplicateReplicaError(`replica ${id} is assigned twice`, { details: { replicaId: id } })
      const endpoint = checkedEndpoint(replica.endpoint)
      const held = this.#senders.get(id)
      if (held !== undefined && held.state !== 'stopped') isNewerEndpoint(id, held.endpoint, endpoint)
      if (!ROLES.includes(replica.role)) {
        throw new InvalidConfigError(`replica ${id}: role is voter or learner`, { details: { key: 'role', value: replica.role } })
      }
      wanted.set(id, { id, endpoint, role: replica.role })
    }
    return wanted
  }

  #recover(assignment: Assignment): Pick<AssignmentResult, 'created' | 'superseded' | 'failed'> {
    const created: ReplicaId[] = []
    const superseded: ReplicaId[] = []
    const failed: { id: ReplicaId; error: string }[] = []
    for (const [name, kind] of Object.entries(assignment.recover ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)) as [ReplicaId, SessionKind][]) {
      try {
        const sender = this.sender(name)
        if (sender.session() === null) {
          sender.attach(assignment.epoch, kind)
          created.push(name)
        } else {
          sender.supersede(kind, 'assignment')
          superseded.push(name)
        }
      } catch (error) {
        failed.push({ id: name, error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) })
      }
    }
    return { created, superseded, failed }
  }

  #add(replica: ReplicaAssignment): void {
    const sender = new Sender(this.#context, replica, this.#epoch, (seen, by) => this.fence(seen, by))
    if (this.#fencedBy > 0) sender.fence(this.#fencedBy, replica.id, this.#fencedBelow)
    this.#senders.set(replica.id, sender)
    this.#context.log.append('sender_added', replica.id, null, `${replica.role} at ${replica.endpoint.data}`, {
      endpoint: replica.endpoint,
      role: replica.role,
    })
    sender.subscribe((change) => this.#subscribers.tell(change))
  }

  #remove(sender: Sender): void {
    sender.stop()
    this.#senders.delete(sender.id)
    this.#context.log.append('sender_removed', sender.id, null, 'no longer assigned')
  }
}
