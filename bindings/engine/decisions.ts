// engine/decisions.ts: which outcomes of writes are known or under way, and who may still be decided (recovery.md section 1).
//
// Invariant: a write that is decided, in the log or in its queue, is not decided again; one so old that its outcome may be forgotten neither.

import type { Catalog } from '../catalog/index.ts'
import { FencedError } from '../errors.ts'
import { toHex } from '../format/index.ts'
import { ulidText } from '../runtime/index.ts'

const GIVEN_IDS_MAX = 10_000

export interface Decided {
  readonly lsn: number
  readonly outcome: 'published' | 'rolledBack'
}

export class Decisions {
  private readonly catalog: Catalog
  /** Queued and not folded yet, by writeId as hex. */
  private readonly queued = new Map<string, Decided>()
  /** Ids that callers gave to commits without an Intent, which the fold does not keep: hex, oldest first. */
  private readonly given = new Set<string>()

  constructor(catalog: Catalog) {
    this.catalog = catalog
  }

  of(writeIdHex: string): Decided | undefined {
    return this.catalog.outcomes.of(writeIdHex) ?? this.queued.get(writeIdHex)
  }

  queue(writeIdHex: string, lsn: number, outcome: Decided['outcome']): void {
    this.queued.set(writeIdHex, { lsn, outcome })
  }

  /** Records up to `last` are folded. */
  settle(last: number): void {
    if (this.queued.size > 0) for (const [id, { lsn }] of this.queued) if (lsn <= last) this.queued.delete(id)
  }

  /** Records from `first` on never were. */
  takeBack(first: number): void {
    for (const [id, { lsn }] of this.queued) if (lsn >= first) this.queued.delete(id)
  }

  /** A commit without an Intent has this id, which its caller chose. */
  remember(writeIdHex: string): void {
    const { given } = this
    given.add(writeIdHex)
    if (given.size > GIVEN_IDS_MAX) given.delete(given.values().next().value!)
  }

  /** Sealed, decided, or among the last commits of this handle whose ids were given. */
  knows(writeIdHex: string): boolean {
    return this.given.has(writeIdHex) || this.catalog.outcomes.pending.has(writeIdHex) || this.of(writeIdHex) !== undefined
  }

  /** @throws FencedError (scope write): it was decided by somebody else, or it is so old that its outcome may be forgotten */
  admit(writeId: Uint8Array, baseLsn: number, isSealed: boolean): void {
    const id = toHex(writeId)
    const decision = this.of(id)
    const { outcomes } = this.catalog
    const isLost = isSealed ? !outcomes.pending.has(id) : baseLsn < outcomes.floor
    if (decision === undefined && !isLost) return
    const why =
      decision === undefined
        ? 'is so old that its outcome may be forgotten'
        : `was ${decision.outcome === 'published' ? 'published' : 'rolled back'} at LSN ${decision.lsn}`
    throw new FencedError(`write ${ulidText(writeId)} ${why}`, {
      details: { scope: 'write', held: BigInt(baseLsn), seen: BigInt(decision?.lsn ?? outcomes.floor) },
      hint: 'Ask store.outcome(writeId); stage the write again when it was rolled back.',
    })
  }
}
