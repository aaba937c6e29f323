// store/ship-pins.ts: pins of shipping: granted under the reclaim lock, limited in age and in the log that they keep (docs/shipping.md "Pins").
//
// Invariant: an owner is told that its pin goes before it goes; a pin is released once, whoever asks first; none outlives the handle. One of a log that stands at the
// head holds nothing back, for however long; its age counts from when a look finds log above it.

import type { HoldHandle, HoldOptions, Lsn, Pin } from '../log/index.ts'
import { FP, newUlid, type TimerHandle } from '../runtime/index.ts'
import { type PinKind, type PinLimit, sessionText, type ShipPin } from '../ship/index.ts'
import { LEASED } from './pins.ts'
import type { Opened } from './wiring.ts'

const LOOK_MS = 1000

/** 0 switches a limit off. */
export interface ShipPinLimits {
  /** Log that came since the pin was granted and that it keeps. */
  readonly maxPinnedBytes: number
  /** Since it was granted, last advanced, or began to hold log back; not of a rebuild's. */
  readonly maxPinAgeMs: number
}

const DEFAULT_LIMITS: ShipPinLimits = { maxPinnedBytes: 1024 * 1024 * 1024, maxPinAgeMs: 600_000 }

export interface PinRequest {
  readonly kind: PinKind
  readonly lsn: number
  readonly owner: ShipPin['owner']
  /** Of a rebuild, which takes as long as it takes. */
  readonly isAgeless: boolean
}

export class ShipPins implements Disposable {
  private readonly o: Pick<Opened, 'log' | 'world'>
  private readonly limits: ShipPinLimits
  private readonly held = new Set<HeldShipPin>()
  private timer: TimerHandle | undefined

  constructor(o: Pick<Opened, 'log' | 'world'>, limits: Partial<ShipPinLimits>) {
    this.o = o
    this.limits = { ...DEFAULT_LIMITS, ...limits }
  }

  /**
   * @param more  asked when it is granted: what is held besides the log above `lsn`
   * @param look  at what is held then, before anything can be taken away: refuses
   * @throws PinRefusedError, StorageError (the lease of a shared log)
   */
  async grant(
    request: PinRequest,
    more: () => Partial<HoldOptions> & { readonly lsn?: number },
    look: () => Promise<void> = () => Promise.resolve(),
  ): Promise<HeldShipPin> {
    const { log, world } = this.o
    const { kind, lsn, owner } = request
    if (world.failpoints.active) await world.failpoints.hit(FP.ship.pin, { kind, lsn })
    const id = newUlid(world)
    const hold = await log.reclaim.granting(async () => {
      const { lsn: from = lsn, ...besides } = more()
      const held = log.reclaim.hold(from, Number(log.tail), { owner: ownerText(owner), sinceMs: world.clock.monoMs(), ...besides })
      try {
        await look()
      } catch (error) {
        held.release()
        throw error
      }
      return held
    })
    let lease: Pin | undefined
    if (log.shared) {
      try {
        lease = await log.pin(BigInt(lsn) as Lsn, LEASED)
      } catch (error) {
        hold.release()
        throw error
      }
    }
    const pin = new HeldShipPin(request, id, hold, lease, {
      monoMs: () => world.clock.monoMs(),
      head: Number(log.head),
      isAtHead: (at) => BigInt(at) >= log.durableHead,
      released: () => {
        try {
          if (world.failpoints.active) world.failpoints.hitSync(FP.ship.release, { kind, lsn })
        } catch (cause) {
          world.logger.log({ level: 'warn', code: 'ship.pinRelease', pin: id, cause })
        }
        this.held.delete(pin)
        if (this.held.size === 0) this.rest()
      },
    })
    this.held.add(pin)
    this.watch()
    return pin
  }

  /** While something is made of a version. */
  hold({ lsn, owner }: { readonly lsn: number; readonly owner: string }): Disposable {
    const { log, world } = this.o
    const hold = log.reclaim.hold(lsn, Number(log.tail), { owner, sinceMs: world.clock.monoMs() })
    return { [Symbol.dispose]: () => hold.release() }
  }

  /** Those over a limit, or whose lease is about to be lost: first their owners hear of it, then they go. */
  check(): PinLimit[] {
    const told: PinLimit[] = []
    for (const pin of [...this.held].toSorted((a, b) => a.lsn - b.lsn)) {
      const limit = this.limitOf(pin)
      if (limit === undefined || !pin.valid) continue
      told.push(limit)
      try {
        pin.onLimit?.(limit)
      } catch (cause) {
        this.o.world.logger.log({ level: 'warn', code: 'ship.pinLimit', pin: pin.id, cause })
      }
      pin.release()
    }
    return told
  }

  private limitOf(pin: HeldShipPin): PinLimit | undefined {
    const { maxPinnedBytes, maxPinAgeMs } = this.limits
    if (pin.lease?.lost?.() !== undefined || pin.lease?.isExpiring?.() === true) return 'lease_lost'
    if (maxPinAgeMs > 0 && !pin.isAgeless && pin.ageMs() > maxPinAgeMs) return 'retention_exceeded'
    return maxPinnedBytes > 0 && this.pinnedBytes(pin) > maxPinnedBytes ? 'retention_exceeded' : undefined
  }

  /** Of the log that came while it was held, what would be free without it: what was there before is there for other reasons too. */
  private pinnedBytes(pin: HeldShipPin): number {
    const { log } = this.o
    const from = Math.max(pin.lsn, pin.headThen)
    if (log.bytesAbove !== undefined) return log.bytesAbove(from)
    const records = Number(log.head) - Number(log.tail)
    return records === 0 ? 0 : (log.bytes * (Number(log.head) - from)) / records
  }

  private watch(): void {
    this.timer ??= this.o.world.timers.set(LOOK_MS, () => {
      this.timer = undefined
      this.check()
      if (this.held.size > 0) this.watch()
    })
  }

  private rest(): void {
    if (this.timer !== undefined) this.o.world.timers.clear(this.timer)
    this.timer = undefined
  }

  [Symbol.dispose](): void {
    for (const pin of this.held) pin.release()
  }
}

class HeldShipPin implements ShipPin {
  readonly id: string
  readonly kind: PinKind
  readonly owner: ShipPin['owner']
  readonly isAgeless: boolean
  readonly lease: Pin | undefined
  /** H when it was granted. */
  readonly headThen: number
  onLimit: ShipPin['onLimit']
  private at: number
  /** undefined: when last looked at it held nothing back. */
  private since: number | undefined
  private isValid = true
  private readonly hold: HoldHandle
  private readonly o: {
    readonly monoMs: () => number
    readonly head: number
    /** There is no log above it that a reader could miss. */
    readonly isAtHead: (lsn: number) => boolean
    readonly released: () => void
  }

  constructor({ kind, lsn, owner, isAgeless }: PinRequest, id: string, hold: HoldHandle, lease: Pin | undefined, o: HeldShipPin['o']) {
    this.id = id
    this.kind = kind
    this.owner = owner
    this.isAgeless = isAgeless
    this.at = lsn
    this.hold = hold
    this.lease = lease
    this.o = o
    this.headThen = o.head
    this.ageMs()
  }

  get lsn(): number {
    return this.at
  }

  /** For how long it has held log back, counted from the look that found it so: this is one. */
  ageMs(): number {
    const now = this.o.monoMs()
    this.since = this.kind === 'log' && this.o.isAtHead(this.at) ? undefined : (this.since ?? now)
    return now - (this.since ?? now)
  }

  get valid(): boolean {
    return this.isValid && this.lease?.lost?.() === undefined
  }

  advance(lsn: number): void {
    if (this.kind !== 'log' || lsn <= this.at || !this.isValid) return
    this.at = lsn
    this.since = undefined
    this.ageMs()
    this.hold.advance(lsn)
  }

  release(): void {
    if (!this.isValid) return
    this.isValid = false
    this.hold.release()
    this.lease?.release()
    this.o.released()
  }

  [Symbol.dispose](): void {
    this.release()
  }
}

function ownerText(owner: ShipPin['owner']): string {
  return typeof owner === 'string' ? owner : `session ${sessionText(owner)}`
}
