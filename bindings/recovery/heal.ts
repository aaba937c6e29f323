// recovery/heal.ts: at the entry of every write that could conflict: sealed writes whose owner is gone are decided first (recovery.md section 7).
//
// Invariant: with nothing to decide it costs a comparison of two numbers and no I/O on any root. It runs before the write looks at the state, so validation sees
// recovered rows. What it leaves (held writes, live owners, those deferred) slows no later write.

import { FP, newUlid } from '../runtime/index.ts'
import { LEASE_MS } from '../staging/index.ts'
import type { PendingSeal } from '../catalog/index.ts'
import { type RecoveryParts, settle } from './settle.ts'

export interface HealParts extends RecoveryParts {
  /** Counts up whenever a write of this handle stops being worked on: an owner may have gone. */
  readonly liveStamp: () => number
}

export class Healer {
  private readonly parts: HealParts
  private running: Promise<void> | undefined
  /** What was pending, and who was live, when everything that is pending was last looked at. */
  private seenPending = -1
  private seenLive = -1
  /** Deferred for an owner of another process that may live: not before this. */
  private againMs = 0
  private deferred = false
  /** How often pending writes were looked at; for tests of what heals cost. */
  looks = 0

  constructor(parts: HealParts) {
    this.parts = parts
  }

  /** undefined: nothing to wait for. @throws (the promise) StorageError and what a failed append throws: that write rejects, the next one tries again */
  heal(): Promise<void> | undefined {
    const { outcomes } = this.parts.state.catalog
    if (outcomes.pending.size === 0 || this.isSettled(outcomes.stamp)) return undefined
    if (this.running !== undefined) return this.running
    this.looks++
    this.seenPending = outcomes.stamp
    this.seenLive = this.parts.liveStamp()
    this.deferred = false
    const candidates = this.candidates()
    if (candidates.length === 0) return undefined
    this.running = this.run(candidates)
      .catch((error: unknown) => {
        this.seenPending = -1
        throw error
      })
      .finally(() => {
        this.running = undefined
      })
    return this.running
  }

  private isSettled(stamp: number): boolean {
    if (this.running !== undefined || this.seenPending !== stamp || this.seenLive !== this.parts.liveStamp()) return false
    return !this.deferred || this.parts.world.clock.monoMs() < this.againMs
  }

  private async run(candidates: readonly PendingSeal[]): Promise<void> {
    const { parts } = this
    const { failpoints } = parts.world
    const sweepId = newUlid(parts.world)
    let published = false
    for (const seal of candidates) {
      const { writeId, branch } = seal.intent
      if (failpoints.active) await failpoints.hit(FP.heal.enter, { writeId, branch })
      const decision = await settle(parts, writeId, { name: 'heal', sweepId })
      if (decision.kind === 'rollForward') published = true
      // A live owner of another process decides itself; whether it still lives is asked again later, by the first write after LEASE_MS.
      if (decision.kind === 'defer' || decision.kind === 'wait') this.deferred = true
    }
    this.againMs = parts.world.clock.monoMs() + LEASE_MS
    if (!published) return
    // The fold is the catalog, and it is current when a publish resolves: what waits now sees recovered rows and definitions.
    if (failpoints.active) await failpoints.hit(FP.heal.beforeReload, {})
    await parts.refresh()
  }

  /** Sealed, automatic, and not worked on by this handle: in the order of their ids. */
  private candidates(): PendingSeal[] {
    const { state, owners } = this.parts
    return [...state.catalog.outcomes.pending.values()]
      .filter(({ intent }) => intent.mode === 'auto' && !owners.isOurs(intent.writeId))
      .sort((a, b) => (a.intent.writeId < b.intent.writeId ? -1 : 1))
  }
}
