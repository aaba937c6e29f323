// recovery/owners.ts: does the writer of an INTENT still live? A courtesy, not safety: the log decides, and a wrong guess costs somebody a FencedError.
//
// Invariant: `dead` is said only of a writer that is provably gone or lost the store: our own that settled, one that an exclusive epoch outranks, a process of
// this host that ended, or one whose LEASE stood still for LEASE_MS of this observer's own monotonic clock. No wall clocks are compared.

import type { Intent } from '../format/index.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { LEASE_MS, leaseName } from '../staging/index.ts'

export type Liveness = 'alive' | 'dead' | 'unknown'

export interface OwnersOptions {
  readonly root: Root
  readonly world: World
  /** Of this open handle; undefined for a reader. */
  readonly writerId: string | undefined
  /** This handle holds the store alone (LOCK and a newer epoch): whoever was before lost it. */
  readonly isExclusive: boolean
  /** Whether a write of this handle is still being worked on. */
  readonly isLive: (writeId: string) => boolean
}

interface Watched {
  readonly tag: string | undefined
  readonly sinceMs: number
}

export class Owners {
  private readonly o: OwnersOptions
  private readonly watched = new Map<string, Watched>()

  constructor(o: OwnersOptions) {
    this.o = o
  }

  /** This handle works on it. */
  isOurs(writeId: string): boolean {
    return this.o.isLive(writeId)
  }

  /** At most one head of a LEASE. `unknown`: ask again after LEASE_MS. */
  async liveness({ writeId, owner }: Intent): Promise<Liveness> {
    const { world, writerId, isExclusive, isLive } = this.o
    if (isLive(writeId)) return 'alive'
    if (owner.writerId === writerId || isExclusive) return 'dead'
    const { host } = world
    if (owner.host === host.name && owner.pid !== undefined) {
      const alive = host.isAlive(owner.pid, owner.started ?? '')
      if (alive === false) return 'dead'
      // Another handle of this very process: only its LEASE tells whether its writer still works.
      if (alive === true && owner.pid !== host.pid) return 'alive'
    }
    return this.watch(writeId)
  }

  private async watch(writeId: string): Promise<Liveness> {
    const { root, world } = this.o
    const lease = await root.head(leaseName(writeId))
    const now = world.clock.monoMs()
    const seen = this.watched.get(writeId)
    if (seen === undefined || seen.tag !== lease?.tag) {
      this.watched.set(writeId, { tag: lease?.tag, sinceMs: now })
      return seen === undefined ? 'unknown' : 'alive'
    }
    return now - seen.sinceMs >= LEASE_MS ? 'dead' : 'unknown'
  }

  forget(writeId: string): void {
    this.watched.delete(writeId)
  }
}
