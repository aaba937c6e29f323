// ship/host.ts: what answers at a replica's endpoint: links one after the other or side by side, of which the newest may change things (docs/shipping.md "Replica").
//
// Invariant: a fence is durable before anything is applied under it, and nothing of an older one is applied after it, whatever epoch its sender has claimed by starting
// again (decision 0030); nothing here trusts the sender.

import { SECOND_DECISION_HINT, SessionFencedError, StaleEpochError, UnknownFrameError } from '../errors-ship.ts'
import { epochOfMandate, isOfOneNumber, isPromotion, mandateOfClaim, mandateOfPromotion, NO_DECISION } from '../format/index.ts'
import { EPOCH_MAX } from '../options.ts'
import { FP, Mutex } from '../runtime/index.ts'
import { type Greeting, HostLink, type LinkMode, type LinkOwner } from './host-link.ts'
import type { AcceptedFence, ReplicaParts } from './host-parts.ts'
import type { Link, LinkHost } from './types.ts'

export interface HostStatus {
  readonly connected: boolean
  /** Address of the primary; undefined without a link. */
  readonly peer: string | undefined
  readonly mode: LinkMode | undefined
  readonly epoch: number
  readonly session: number
  readonly receivedLsn: number
}

export class ReplicaHost implements LinkHost, LinkOwner {
  readonly parts: ReplicaParts
  private readonly links = new Map<HostLink, Promise<void>>()
  /** Files of links that are over. */
  private readonly storing = new Set<Promise<void>>()
  private readonly changed_: () => void
  private readonly turns = new Mutex()
  private newest: AcceptedFence
  private current: HostLink | undefined
  private closed: Error | undefined

  /** @param changed  told when status() says something else */
  constructor(parts: ReplicaParts, changed: () => void = () => undefined) {
    this.parts = parts
    this.changed_ = changed
    this.newest = { epoch: parts.followed, session: parts.session, promised: parts.promised, decision: parts.decision }
  }

  accept(link: Link): void {
    const served = new HostLink(this, link)
    const serving = served.serve().finally(() => {
      this.links.delete(served)
      const storing: Promise<void> = served.stored().then(() => void this.storing.delete(storing))
      this.storing.add(storing)
      if (this.current === served) this.current = undefined
      this.changed()
    })
    this.links.set(served, serving)
    if (this.closed !== undefined) void served.end(this.closed)
  }

  status(): HostStatus {
    const { current, newest, parts } = this
    return {
      connected: current !== undefined,
      peer: current?.peer,
      mode: current?.mode,
      epoch: newest.epoch,
      session: newest.session,
      receivedLsn: current?.receivedLsn ?? parts.durableLsn,
    }
  }

  take(link: HostLink, { epoch, session, mandate, decision, storeId }: Greeting): Promise<boolean> {
    return this.turns.run(async () => {
      if (this.closed !== undefined) throw this.closed
      checkBound(epoch, 2 * EPOCH_MAX)
      if (mandate > mandateOfPromotion(epoch))
        throw new UnknownFrameError(`epoch ${epoch} by mandate ${mandate}, which is above it`, { details: { epoch, mandate } })
      const { newest, parts } = this
      // A vote: before the epochs, which tell nothing of two decisions of one number. A promotion does not take it from a claim, which may have committed since the
      // fence; and a claim that has the majority is refused by who lost against it as one vote, not as somebody who was fenced.
      const isSecond = isOfOneNumber(mandate, newest.promised) && newest.decision !== NO_DECISION
      if (isSecond && decision !== newest.decision) throw votedFor(epoch, mandate, { promised: newest.promised, parts, isSettled: this.isSettled(mandate) })
      // Who was decided on later is newer, whatever its epoch: others may have come to any by starting again.
      const isLater = mandate > newest.promised
      if (!isLater && epoch < newest.epoch) return false
      // Of one epoch by two writers the answer would not tell: its epoch is the one that was asked with.
      if (mandate < newest.promised) throw undecided(epoch, mandate, newest.promised, parts)
      if (!isLater && epoch === newest.epoch && session < newest.session) return false
      const before = this.current
      this.current = link
      this.newest = { epoch, session, promised: mandate, decision }
      await this.over(before, fenced(`session ${epoch}.${session} took over`, parts))
      if (parts.storeId === undefined) await parts.found(storeId)
      await this.persist()
      return true
    })
  }

  fence(epoch: number): Promise<boolean> {
    return this.turns.run(async () => {
      if (this.closed !== undefined) throw this.closed
      checkBound(epoch, EPOCH_MAX)
      const { newest } = this
      if (epoch === newest.epoch && newest.session > 0) {
        throw new StaleEpochError(`epoch ${epoch} is that of a primary that ${this.parts.replicaId} has followed: to fence it takes more than ${epoch}`, {
          details: { held: epoch, seen: epoch },
        })
      }
      if (epoch < Math.max(newest.epoch, this.parts.epochSeen)) return false
      // Of an epoch that this node has written in itself nothing is promised yet: it took no session of it.
      const isNew = epoch > newest.epoch || newest.promised < mandateOfClaim(epoch)
      if (isNew) {
        const before = this.current
        this.current = undefined
        const promised = Math.max(newest.promised, mandateOfClaim(epoch))
        this.newest = { epoch, session: 0, promised, decision: promised === newest.promised ? newest.decision : NO_DECISION }
        await this.over(before, stale(before?.epoch ?? 0, epoch))
      }
      // One that is asked for again may not have become durable. Before the first contact there is nothing to be kept, nor for a primary of before to count on.
      if (this.parts.storeId !== undefined) await this.persist()
      if (isNew) this.changed()
      return true
    })
  }

  /** What is followed has committed a record of that number, as far as this node was told: no other decision of it ever will. */
  private isSettled(mandate: number): boolean {
    const { newest, parts } = this
    const first = parts.lineage?.find((mark) => isOfOneNumber(mandate, mark.mandate ?? 0))?.firstLsn
    return newest.session > 0 && first !== undefined && parts.committedLsn >= first
  }

  /** Ends a link; resolves when it does nothing any more: a truncation or an install that it had begun is done. */
  private async over(link: HostLink | undefined, reason: Error): Promise<void> {
    if (link === undefined) return
    await link.end(reason)
    await this.links.get(link)
  }

  private async persist(): Promise<void> {
    const { newest, parts } = this
    const { failpoints } = parts.world
    if (failpoints.active) await failpoints.hit(FP.ship.beforeEpochPersist, { ...newest })
    await parts.fence(newest)
    if (failpoints.active) await failpoints.hit(FP.ship.afterEpochPersist, { ...newest })
  }

  /** Of the newest fence that was accepted. */
  get epoch(): number {
    return this.newest.epoch
  }

  check(link: HostLink, epoch: number, session: number): void {
    const { newest, parts } = this
    if (epoch < newest.epoch) {
      throw stale(epoch, newest.epoch)
    }
    if (this.current !== link || epoch !== newest.epoch || session !== newest.session) {
      throw fenced(`session ${epoch}.${session}; ${newest.epoch}.${newest.session} is the one that was greeted`, parts)
    }
  }

  changed(): void {
    this.changed_()
  }

  /** Every link ends; resolves when nothing of them is on its way. */
  async close(reason: Error): Promise<void> {
    this.closed ??= reason
    for (const link of this.links.keys()) void link.end(this.closed)
    await Promise.all(this.links.values())
    await Promise.all(this.storing)
  }
}

/** Kept for good, such a number would leave no epoch to a primary. @throws UnknownFrameError */
function checkBound(epoch: number, max: number): void {
  if (epoch > max) throw new UnknownFrameError(`epoch ${epoch}; no primary has one above ${max}`, { details: { epoch } })
}

function stale(epoch: number, held: number): StaleEpochError {
  return new StaleEpochError(`epoch ${epoch}; ${held} was seen`, { details: { held, seen: epoch } })
}

/** Above the epoch of the fence by plain starts alone: the records that this node gave may have decided on somebody else, or it follows that one. */
function undecided(epoch: number, mandate: number, promised: number, { replicaId }: ReplicaParts): StaleEpochError {
  const held = epochOfMandate(promised)
  const details = { held, seen: epoch, mandate, promised }
  const since = `and nobody has decided since that the primary of epoch ${epoch} goes on`
  if (isPromotion(promised)) {
    // A claim of the same number is below the promotion.
    const next = held + 1
    return new StaleEpochError(
      `${replicaId} follows the node that was promoted at epoch ${held}, ${since}: follow that node too, or where it is gone for good promote a replica behind a new fence, or open that primary with { epoch: ${next} }`,
      {
        details,
        hint: `Follow the node that was promoted (Replica.open). Where it is gone for good: fence anew and promote a replica; or, where the writes of that node are given up: Store.open(root, { epoch: ${next} }), varve serve --epoch ${next}.`,
      },
    )
  }
  return new StaleEpochError(
    `${replicaId} was fenced at epoch ${held}, ${since}: promote a replica, or where none was promoted open that primary with { epoch: ${held} }`,
    {
      details,
      hint: `Promote a replica at epoch ${held} or above; where none was promoted: Store.open(root, { epoch: ${held} }), varve serve --epoch ${held}.`,
    },
  )
}

/** Two decisions of one number: one of them at most has a majority. */
function votedFor(
  epoch: number,
  mandate: number,
  { promised, parts, isSettled }: { readonly promised: number; readonly parts: ReplicaParts; readonly isSettled: boolean },
): StaleEpochError {
  const held = epochOfMandate(promised)
  const what = isPromotion(promised) ? `promoted at epoch ${held}` : `opened with { epoch: ${held} }`
  return new StaleEpochError(
    `${parts.replicaId} follows another node that was ${what}, by a decision of its own${isSettled ? ', and has committed since' : ''}: where that one is not the one to go on, fence the nodes anew, above ${held}, and decide once`,
    { details: { held, seen: epoch, mandate, promised, isSettled }, hint: SECOND_DECISION_HINT },
  )
}

function fenced(message: string, parts: ReplicaParts): SessionFencedError {
  return new SessionFencedError(message, { details: { replicaId: parts.replicaId } })
}
