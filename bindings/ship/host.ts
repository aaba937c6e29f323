// ship/host.ts: what answers at a replica's endpoint: links one after the other or side by side, of which the newest may change things (docs/shipping.md "Replica").
//
// Invariant: a fence is durable before anything is applied under it, and nothing of an older one is applied after it; nothing here trusts the sender.

import { SessionFencedError, StaleEpochError } from '../errors-ship.ts'
import { FP, Mutex } from '../runtime/index.ts'
import { HostLink, type LinkMode, type LinkOwner } from './host-link.ts'
import type { ReplicaParts } from './host-parts.ts'
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
  private readonly changed_: () => void
  private readonly turns = new Mutex()
  private newest: { readonly epoch: number; readonly session: number }
  private current: HostLink | undefined
  private closed: Error | undefined

  /** @param changed  told when status() says something else */
  constructor(parts: ReplicaParts, changed: () => void = () => undefined) {
    this.parts = parts
    this.changed_ = changed
    this.newest = { epoch: parts.epochSeen, session: parts.session }
  }

  accept(link: Link): void {
    const served = new HostLink(this, link)
    const serving = served.serve().finally(() => {
      this.links.delete(served)
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

  take(link: HostLink, epoch: number, session: number, storeId: Uint8Array): Promise<boolean> {
    return this.turns.run(async () => {
      if (this.closed !== undefined) throw this.closed
      const { newest, parts } = this
      if (epoch < newest.epoch || (epoch === newest.epoch && session < newest.session)) return false
      const before = this.current
      this.current = link
      this.newest = { epoch, session }
      await this.over(before, fenced(`session ${epoch}.${session} took over`, parts))
      if (parts.storeId === undefined) await parts.found(storeId)
      await this.persist()
      return true
    })
  }

  fence(epoch: number): Promise<boolean> {
    return this.turns.run(async () => {
      if (this.closed !== undefined) throw this.closed
      if (epoch <= this.newest.epoch) return epoch === this.newest.epoch
      const before = this.current
      this.current = undefined
      this.newest = { epoch, session: 0 }
      await this.over(before, stale(before?.epoch ?? 0, epoch))
      // Before the first contact there is nothing to be kept, and nothing that a primary of before could count on.
      if (this.parts.storeId !== undefined) await this.persist()
      this.changed()
      return true
    })
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
    if (failpoints.active) await failpoints.hit(FP.ship.beforeEpochPersist, newest)
    await parts.fence(newest.epoch, newest.session)
    if (failpoints.active) await failpoints.hit(FP.ship.afterEpochPersist, newest)
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
  }
}

function stale(epoch: number, held: number): StaleEpochError {
  return new StaleEpochError(`epoch ${epoch}; ${held} was seen`, { details: { held, seen: epoch } })
}

function fenced(message: string, parts: ReplicaParts): SessionFencedError {
  return new SessionFencedError(message, { details: { replicaId: parts.replicaId } })
}
