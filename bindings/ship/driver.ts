// ship/driver.ts: the loop of a primary that ships: one task per assigned replica (docs/shipping.md "Flow"). It decides nothing that planner or sender decide.
//
// Invariants: an assignment that says what is so already starts nothing; removing or rebuilding one replica touches no other; after close() no task, no link and
// no pin is left.
import { ClosedError } from '../errors.ts'

import { RebuildSlots } from './rebuild-slots.ts'
import type { AssignmentResult, Registry } from './registry.ts'
import { ReplicaTask, type TaskFacts, type TaskParts } from './replica-task.ts'
import type { Assignment, ReplicaId } from './types.ts'

export interface DriverOptions extends Omit<TaskParts, 'slots'> {
  readonly maxParallelRebuilds: number
}

export class ShippingDriver {
  readonly registry: Registry
  readonly #parts: TaskParts
  readonly #tasks = new Map<ReplicaId, ReplicaTask>()
  #closing: Promise<void> | undefined

  constructor({ maxParallelRebuilds, ...parts }: DriverOptions) {
    this.registry = parts.registry
    this.#parts = { ...parts, slots: new RebuildSlots(parts.world.timers, maxParallelRebuilds, () => parts.registry.all().length) }
  }

  /**
   * Makes the replicas those of the assignment; resolves when what went is gone, pins included.
   *
   * @throws DuplicateReplicaError, InvalidReplicaIdError, StaleEpochError, StaleEndpointError, InvalidEndpointError: nothing changed
   */
  async assign(assignment: Assignment): Promise<AssignmentResult> {
    if (this.#closing !== undefined) throw new ClosedError('store.closed', 'shipping is closed', { details: { what: 'shipping' } })
    const before = this.registry.epoch
    const result = this.registry.apply(assignment)
    const removed = result.removed.map((id) => this.#remove(id))
    for (const id of result.added) {
      const task = new ReplicaTask(this.registry.sender(id), this.#parts)
      this.#tasks.set(id, task)
      task.start()
    }
    const isRaised = this.registry.epoch > before
    const woken = isRaised ? this.#tasks.keys() : new Set([...result.updated, ...result.created, ...result.superseded])
    for (const id of woken) this.#tasks.get(id)?.wake()
    await Promise.all(removed)
    return result
  }

  /** @returns the replicas that it hit */
  raiseEpoch(epoch: number): ReplicaId[] {
    const hit = this.registry.raiseEpoch(epoch)
    for (const task of this.#tasks.values()) task.wake()
    return hit
  }

  /** @throws UnknownReplicaError, InvalidConfigError */
  clearHalt(id: ReplicaId, o: { readonly confirm: string }): boolean {
    const cleared = this.registry.clearHalt(id, o)
    if (cleared) this.#tasks.get(id)?.wake()
    return cleared
  }

  facts(id: ReplicaId): TaskFacts | undefined {
    return this.#tasks.get(id)?.facts()
  }

  /** Cancels everything and waits until pins and links are gone. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#tasks.values()].map((task) => task.stop('shipping_closed')))
    this.#tasks.clear()
    this.registry.stopAll()
  }

  async #remove(id: ReplicaId): Promise<void> {
    const task = this.#tasks.get(id)
    this.#tasks.delete(id)
    await task?.stop('sender_stopped')
  }
}
