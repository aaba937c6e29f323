// store/shipped.ts: what an open store knows of its shipping: that it ships, the numbers of its sessions, whether its writers are slowed. The rest is loaded by the
// first ship() (store/shipping.ts).

import type { Committer } from '../engine/index.ts'
import { InvalidConfigError } from '../errors.ts'
import type { SessionSequence } from '../ship/index.ts'
import type { ShipOptions } from './ship-options.ts'
import type { Shipping } from './shipping.ts'
import { Throttle } from './throttle.ts'
import type { Opened } from './wiring.ts'

export class Shipped {
  readonly o: Opened
  readonly committer: Committer
  readonly throttle: Throttle
  /** Session ids go on where an earlier ship() of this handle stopped. */
  sequence: SessionSequence | undefined
  private current: Shipping | undefined
  private isStarting = false

  constructor(o: Opened, committer: Committer) {
    this.o = o
    this.committer = committer
    this.throttle = new Throttle(o.world.timers)
  }

  async ship(o: ShipOptions): Promise<Shipping> {
    if (this.isStarting || this.current?.closed === false) {
      throw new InvalidConfigError('this store ships already', {
        details: { key: 'ship', value: 'open' },
        hint: 'Use assign() of what it returned, or close that first.',
      })
    }
    this.isStarting = true
    try {
      const { shipStore } = await import('./shipping.ts')
      return (this.current = await shipStore(this, o))
    } finally {
      this.isStarting = false
    }
  }

  async close(): Promise<void> {
    await this.current?.close()
  }
}
