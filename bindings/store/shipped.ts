// store/shipped.ts: what an open store knows of its shipping: that it ships, the numbers of its sessions, whether its writers are slowed. The rest is loaded by the
// first ship() (store/shipping.ts).

import type { Committer } from '../engine/index.ts'
import { ClosedError, InvalidConfigError } from '../errors.ts'
import { lazily } from '../runtime/index.ts'
import type { SessionSequence } from '../ship/index.ts'
import type { ShipOptions } from './ship-options.ts'
import type { Shipping } from './shipping.ts'
import { Throttle } from './throttle.ts'
import type { Opened } from './wiring.ts'

const shipping = /* #__PURE__ */ lazily(() => import('./shipping.ts'))

export class Shipped {
  readonly o: Opened
  readonly committer: Committer
  readonly throttle: Throttle
  /** Session ids go on where an earlier ship() of this handle stopped. */
  sequence: SessionSequence | undefined
  private current: Shipping | undefined
  private starting: Promise<Shipping> | undefined
  /** Aborted when the store closes. */
  readonly closing: AbortController = new AbortController()

  constructor(o: Opened, committer: Committer) {
    this.o = o
    this.committer = committer
    this.throttle = new Throttle(o.world.timers)
  }

  async ship(o: ShipOptions): Promise<Shipping> {
    if (this.starting !== undefined || this.current?.closed === false) {
      throw new InvalidConfigError('this store ships already', {
        details: { key: 'ship', value: 'open' },
        hint: 'Use assign() of what it returned, or close that first.',
      })
    }
    try {
      return await (this.starting = this.start(o))
    } finally {
      this.starting = undefined
    }
  }

  private async start(o: ShipOptions): Promise<Shipping> {
    const { shipStore } = await shipping()
    // One that was told to close may still be letting go.
    await this.current?.close()
    this.current = await shipStore(this, o)
    if (!this.closing.signal.aborted) return this.current
    await this.current.close()
    throw this.closing.signal.reason
  }

  /** What is being started ends with it. */
  async close(): Promise<void> {
    this.closing.abort(new ClosedError('store.closed', 'the store was closed', { details: { what: 'store' } }))
    await this.starting?.catch(() => undefined)
    await this.current?.close()
  }
}
