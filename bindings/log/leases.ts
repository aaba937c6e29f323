// log/leases.ts: pins that reclaimers in other processes honour: `leases/<pin id>` (log.md section 6).
//
// The pinner writes its lease, then reads head and floor; the reclaimer raises the floor, then lists leases: one of the two always sees the other. A lease is
// renewed every 20 s and has expired once an observer saw it unchanged for 60 s on its own monotonic clock. Invariant: no two clocks are compared, and a pin whose
// own renewals were too far apart is not relied on before the floor was looked at again.
import { PinRefusedError } from '../errors.ts'
import { isNotFound, readAgain, type RetryOptions, type Root } from '../root/index.ts'
import { newUlid, type TimerHandle, type World } from '../runtime/index.ts'

import type { Lsn, Pin } from './commit-log.ts'
import { decodeSealed, encodeSealed } from './sealed-json.ts'

const PREFIX = 'leases/'
const FORMAT = 1
const RENEW_MS = 20_000
const EXPIRE_MS = 60_000

export interface LeaseOptions {
  readonly world: World
  readonly retry?: Partial<RetryOptions> | undefined
  /** T, read from the store now. */
  readonly floor: () => Promise<number>
}

interface Held {
  readonly lsn: number
  readonly owner: string
  seq: number
  renewedMs: number
  timer: TimerHandle | undefined
  /** The newest write of it. */
  writing: Promise<void>
  lost: PinRefusedError | undefined
  readonly onLost: () => void
}

/** The leases of one handle, and what it knows of those of others. */
export class Leases {
  readonly #root: Root
  readonly #o: LeaseOptions
  readonly #held = new Map<string, Held>()
  /** Given back here, and perhaps still there: they hold nothing for this handle. */
  readonly #gone = new Set<string>()
  /** Those on their way out. */
  readonly #going = new Set<Promise<void>>()
  /** Of others: what each said when it was last seen to change, and when that was on our clock. */
  readonly #seen = new Map<string, { readonly seq: number; readonly atMs: number }>()

  constructor(root: Root, o: LeaseOptions) {
    this.#root = root
    this.#o = o
  }

  /** Lays a lease beside a pin that is granted here; the caller looks at head and floor afterwards. @throws StorageError */
  async lay(pin: Pin, owner: string): Promise<Pin> {
    const id = newUlid(this.#o.world)
    const held: Held = {
      lsn: Number(pin.lsn),
      owner,
      seq: 0,
      renewedMs: this.#o.world.clock.monoMs(),
      timer: undefined,
      writing: Promise.resolve(),
      lost: undefined,
      onLost: pin.release,
    }
    this.#held.set(id, held)
    try {
      await this.#write(id, held)
    } catch (error) {
      this.#drop(id)
      throw error
    }
    // Unless all were given back meanwhile.
    if (this.#held.get(id) === held) this.#arm(id, held)
    const release = (): void => {
      pin.release()
      this.#drop(id)
    }
    const isExpiring = (): boolean => this.#o.world.clock.monoMs() - held.renewedMs >= EXPIRE_MS - RENEW_MS
    return { id: `${owner}-${id}`, lsn: pin.lsn, release, lost: () => held.lost, isExpiring }
  }

  /** The lowest LSN that a live lease of another handle holds; Infinity without one. */
  async lowest(): Promise<number> {
    return Math.min(Infinity, ...(await this.others()).map(({ lsn }) => lsn))
  }

  /** Live leases of other handles. One never seen before is live. */
  async others(): Promise<{ readonly owner: string; readonly lsn: number }[]> {
    const { world, retry } = this.#o
    const names = await readAgain(world, () => this.#names(), retry)
    for (const name of this.#seen.keys()) if (!names.includes(name)) this.#seen.delete(name)
    const live: { readonly owner: string; readonly lsn: number }[] = []
    for (const name of names) {
      const id = name.slice(PREFIX.length)
      if (this.#held.has(id) || this.#gone.has(id)) continue
      const lease = await readAgain(world, () => this.#read(name), retry)
      if (lease === undefined) continue
      const before = this.#seen.get(name)
      const nowMs = world.clock.monoMs()
      if (before === undefined || before.seq !== lease.seq) this.#seen.set(name, { seq: lease.seq, atMs: nowMs })
      else if (nowMs - before.atMs >= EXPIRE_MS) {
        // Whoever laid it lays it again when it comes back, and looks at the floor first.
        await this.#root.delete(name).catch(() => {})
        continue
      }
      live.push({ owner: lease.owner, lsn: lease.lsn })
    }
    return live
  }

  /** Gives all of them back. Nothing is written behind it: a renewal that is under way would lay its lease again. */
  async close(): Promise<void> {
    const all = [...this.#held]
    for (const [, { timer }] of all) if (timer !== undefined) this.#o.world.timers.clear(timer)
    this.#held.clear()
    await Promise.allSettled(all.map(([, { writing }]) => writing))
    if (all.length > 0) await this.#root.delete(all.map(([id]) => PREFIX + id)).catch(() => {})
    await Promise.all(this.#going)
  }

  #arm(id: string, held: Held): void {
    held.timer = this.#o.world.timers.set(RENEW_MS, () => void this.#renew(id, held))
  }

  async #renew(id: string, held: Held): Promise<void> {
    if (this.#held.get(id) !== held) return
    const { world, floor } = this.#o
    try {
      held.seq++
      await this.#write(id, held)
      // Too late for an observer, perhaps: what it held may be gone.
      const late = world.clock.monoMs() - held.renewedMs >= EXPIRE_MS
      const tail = late ? await floor() : 0
      if (tail > held.lsn) {
        held.lost = refused(held, tail)
        held.onLost()
        this.#drop(id)
        return
      }
      held.renewedMs = world.clock.monoMs()
    } catch (error) {
      world.logger.log({ level: 'warn', code: 'log.leaseNotRenewed', pin: id, error })
    }
    if (this.#held.get(id) === held) this.#arm(id, held)
  }

  /** At once for this handle; for others when its object is gone, or has expired. */
  #drop(id: string): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    if (held.timer !== undefined) this.#o.world.timers.clear(held.timer)
    this.#held.delete(id)
    this.#gone.add(id)
    // Behind a renewal that is under way: it would lay the lease again.
    const going: Promise<void> = held.writing
      .catch(() => {})
      .then(() => this.#root.delete(PREFIX + id))
      .then(
        () => void this.#gone.delete(id),
        () => {},
      )
      .then(() => void this.#going.delete(going))
    this.#going.add(going)
  }

  #write(id: string, held: Held): Promise<void> {
    const { world, retry } = this.#o
    const bytes = encodeSealed({ format: FORMAT, pin: id, owner: held.owner, lsn: held.lsn, seq: held.seq })
    held.writing = readAgain(world, () => this.#root.put(PREFIX + id, bytes).then(() => {}), retry)
    return held.writing
  }

  async #names(): Promise<string[]> {
    const names: string[] = []
    for await (const { name } of this.#root.list(PREFIX)) names.push(name)
    return names
  }

  /** @returns undefined for a lease that is gone; one that cannot be read holds everything until it expires */
  async #read(name: string): Promise<{ readonly lsn: number; readonly seq: number; readonly owner: string } | undefined> {
    try {
      const { lsn, seq, owner } = decodeSealed((await this.#root.get(name)).bytes) ?? {}
      return { lsn: typeof lsn === 'number' ? lsn : 0, seq: typeof seq === 'number' ? seq : -1, owner: typeof owner === 'string' ? owner : name }
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw error
    }
  }
}

function refused({ lsn, owner }: Held, tail: number): PinRefusedError {
  return new PinRefusedError(`the lease of ${owner} on LSN ${lsn} expired before it was renewed, and the log begins after ${tail} now`, {
    details: { asked: BigInt(lsn) as Lsn, tail: BigInt(tail), floor: BigInt(tail) },
  })
}
