// store/replica-leftovers.ts: what a base has left behind on a replica: readers of the state before, the log of that, and the files that nothing of the base names
// (docs/shipping.md "A new base").
//
// Invariant: nothing of it goes while somebody reads it, nor before there is something of the base to show; a file that a record on its way may name stays.

import type { World } from '../runtime/index.ts'
import type { ReplicaUpkeep } from './replica-upkeep.ts'

export interface LeftoversParts {
  readonly world: Pick<World, 'logger'>
  /** The replica is closing. */
  readonly signal: AbortSignal
  /** Of what readers are shown; undefined: nothing yet, or what a base has replaced. */
  readonly upkeep: () => ReplicaUpkeep | undefined
  readonly dropOldLogs: () => Promise<void>
}

export class Leftovers {
  private readonly parts: LeftoversParts
  /** Clean-ups that are under way, or wait for readers. */
  private readonly cleaning = new Set<Promise<void>>()
  /** States that are still read: what they show is not in the log of now, whose holds do not know of it. */
  private readBefore = 0
  /** Files that lay here when a base came, until it is known which of them are needed; and those that records on their way have named since. */
  private strays: Set<string> | undefined
  private claimed: Set<string> | undefined
  /** Some of them are being deleted. */
  private deleting: Promise<void> | undefined

  constructor(parts: LeftoversParts) {
    this.parts = parts
  }

  get isReadBefore(): boolean {
    return this.readBefore > 0
  }

  /** A base is the state now. @param there  every file that lies here */
  from(there: Set<string>): void {
    this.claimed = new Set()
    this.strays = there
  }

  /** From when it resolves on the file is not deleted as one that nothing names. */
  async claim(name: string): Promise<void> {
    this.claimed?.add(name)
    await this.deleting
  }

  /** Records that named them were cut off. */
  leave(names: ReadonlySet<string>): void {
    for (const name of names) {
      this.strays?.add(name)
      this.claimed?.delete(name)
    }
  }

  /** Cleans up when those are done who read the state before. */
  behind(readers: Promise<unknown>): void {
    this.readBefore++
    this.cleanUp(readers.finally(() => this.readBefore--))
  }

  /** Cleans up where nobody waits to do it: a base came when nothing could be read. */
  look(): void {
    if (this.strays !== undefined && this.cleaning.size === 0) this.cleanUp(Promise.resolve())
  }

  /** Nothing is under way any more. */
  async settled(): Promise<void> {
    await Promise.all(this.cleaning)
  }

  private cleanUp(readers: Promise<unknown>): void {
    const cleaning = readers
      .then(() => this.clean())
      .catch((cause: unknown) => {
        if (!this.parts.signal.aborted) this.parts.world.logger.log({ level: 'warn', code: 'replica.cleanUpFailed', cause })
      })
    this.cleaning.add(cleaning)
    void cleaning.finally(() => this.cleaning.delete(cleaning))
  }

  private async clean(): Promise<void> {
    const { signal, dropOldLogs } = this.parts
    const upkeep = this.parts.upkeep()
    if (signal.aborted || upkeep === undefined || this.isReadBefore) return
    await dropOldLogs()
    const { strays, claimed } = this
    if (strays !== undefined && claimed !== undefined) {
      await upkeep.clean(strays, claimed, (deleting) => {
        this.deleting = deleting
      })
      // Another base may have come meanwhile.
      if (this.strays === strays) this.strays = this.claimed = this.deleting = undefined
    }
    upkeep.look()
  }
}
