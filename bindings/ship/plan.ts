// ship/plan.ts: plans as they are owned: made by the planner, run by one executor, their pins given back once.
//
// Invariant: a plan is frozen when it is built; of cancelling and running exactly one happens first, and whoever owns it releases its pins.

import { PlanConsumedError } from '../errors-ship.ts'
import type { Sender } from './sender.ts'
import type { Fence, Handshake, RecoveryPlan, ShipPin } from './types.ts'

/** What runs a plan. */
export interface PlanOwner {
  cancel(reason: string): void
}

interface Entry {
  owner: PlanOwner | undefined
  isCancelled: boolean
  isReleased: boolean
}

export class Plans {
  readonly #entries = new WeakMap<RecoveryPlan, Entry>()

  made(plan: RecoveryPlan): RecoveryPlan {
    if (plan.rebuild !== null) Object.freeze(plan.rebuild)
    Object.freeze(plan.pins)
    Object.freeze(plan)
    this.#entries.set(plan, { owner: undefined, isCancelled: false, isReleased: false })
    return plan
  }

  /** @throws PlanConsumedError: another executor has it, or it was cancelled */
  claim(plan: RecoveryPlan, owner: PlanOwner): void {
    const entry = this.#of(plan)
    if (entry.owner !== undefined || entry.isCancelled) {
      const why = entry.isCancelled ? 'was cancelled' : 'belongs to another executor'
      throw new PlanConsumedError(`the plan for replica ${plan.replicaId} ${why}`, {
        details: { replicaId: plan.replicaId, sessionId: plan.fence.sessionId },
      })
    }
    entry.owner = owner
  }

  /** @returns who runs it, or undefined where it was nobody's until now; null: cancelled before */
  cancel(plan: RecoveryPlan): PlanOwner | undefined | null {
    const entry = this.#of(plan)
    if (entry.owner !== undefined) return entry.owner
    if (entry.isCancelled) return null
    entry.isCancelled = true
    return undefined
  }

  /** @returns false: they were given back before */
  release(plan: RecoveryPlan): boolean {
    const entry = this.#of(plan)
    if (entry.isReleased) return false
    entry.isReleased = true
    releaseAll(plan.pins)
    return true
  }

  #of(plan: RecoveryPlan): Entry {
    const entry = this.#entries.get(plan)
    if (entry === undefined) throw new PlanConsumedError('a plan that this planner did not make', { details: { replicaId: plan.replicaId } })
    return entry
  }
}

/** The last one first. */
export function releaseAll(pins: readonly ShipPin[]): void {
  for (const pin of pins.toReversed()) pin.release()
}

/** Why a plan with that fence is none of the session that is active now. undefined: no other epoch, address or session is why. */
export function outdated(sender: Sender, { epoch, endpointVersion, sessionId }: Fence): 'epoch_bump' | 'address_change' | 'superseded' | undefined {
  if (sender.epoch !== epoch) return 'epoch_bump'
  if (sender.endpoint.version !== endpointVersion) return 'address_change'
  const active = sender.session()
  return active !== null && active.id.seq !== sessionId.seq ? 'superseded' : undefined
}

/** Nothing to stream: it owes a truncation alone. */
export function isTruncationOnly({ outcome, start, target }: Pick<Handshake, 'outcome' | 'start' | 'target'>): boolean {
  return outcome === 'catch_up' && start === target
}
