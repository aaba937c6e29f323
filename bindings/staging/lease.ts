// staging/lease.ts: staging/<writeId>/LEASE: an object that changes while the owner of an open write lives, on roots without a lock (recovery.md section 7).
//
// An observer compares what it reads with what it read before, on its own clock. Liveness is courtesy: a wrong guess costs the owner its write, never a row.
// Invariant: no renewal is under way or will come after stop(); a failing one never fails the write.
import type { Root } from '../root/index.ts'
import { FP, type TimerHandle, type World } from '../runtime/index.ts'

import { leaseName } from './names.ts'

/** How long an owner that shows no sign of life counts as alive. */
export const LEASE_MS = 30_000
const RENEW_MS = LEASE_MS / 3

type LeaseWorld = Pick<World, 'clock' | 'timers' | 'failpoints' | 'logger'>

export class Lease {
  /** A renewal was sent: the object may be there. */
  isThere = false
  private readonly root: Root
  private readonly world: LeaseWorld
  private readonly writeId: string
  private timer: TimerHandle | undefined
  private running: Promise<void> | undefined
  private count = 0
  private renewedMs: number
  private stopped = false

  /** The first renewal comes after a third of the term: until then the INTENT itself is the sign. */
  constructor(root: Root, world: LeaseWorld, writeId: string) {
    this.root = root
    this.world = world
    this.writeId = writeId
    this.renewedMs = world.clock.monoMs()
    this.schedule()
  }

  async stop(): Promise<void> {
    this.stopped = true
    if (this.timer !== undefined) this.world.timers.clear(this.timer)
    this.timer = undefined
    await this.running
  }

  private schedule(): void {
    this.timer = this.world.timers.set(RENEW_MS, () => {
      this.running = this.renew().finally(() => {
        this.running = undefined
        if (!this.stopped) this.schedule()
      })
    })
  }

  private async renew(): Promise<void> {
    const { failpoints, clock, logger } = this.world
    const name = leaseName(this.writeId)
    const body = new TextEncoder().encode(`${JSON.stringify({ writeId: this.writeId, renewal: ++this.count })}\n`)
    this.isThere = true
    try {
      const put = (): Promise<unknown> => this.root.put(name, body)
      if (failpoints.active) await failpoints.around(FP.intent.lease, { writeId: this.writeId }, put)
      else await put()
      this.renewedMs = clock.monoMs()
    } catch (cause) {
      const sinceMs = clock.monoMs() - this.renewedMs
      if (sinceMs >= LEASE_MS) logger.log({ level: 'warn', code: 'lease.notRenewed', writeId: this.writeId, sinceMs, cause })
    }
  }
}
