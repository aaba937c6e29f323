// store/pins.ts: what open reads hold back: snapshots ("reader"), change feeds ("stream") and backups, by position and age; and reads under way, which nobody lists.
//
// Every one is a hold of the log's reclaim lock, so that vacuum and trim know of it.
//
// Invariant: a pin held too long is told once per position; a feed that waits at the head holds nothing back and is never told.

import type { Branches } from '../catalog/index.ts'
import type { HeldPoint } from '../engine/index.ts'
import { HistoryUnavailableError, PinRefusedError } from '../errors.ts'
import type { HoldHandle, Lsn, Reclaim } from '../log/index.ts'
import { newUlid, type TimerHandle, ulidMs, type World } from '../runtime/index.ts'
import type { PinId, PinInfo } from '../table/index.ts'

export interface HeldPin {
  readonly id: string
  readonly owner: string
  readonly lsn: number
  readonly sinceMs: number
}

export interface PinHandle {
  /** The reader has gone on to `lsn`. */
  advance(lsn: number): void
  /** Twice is fine. */
  release(): void
}

export interface PinsOptions {
  readonly world: World
  /** memory.snapshotWarnMs. */
  readonly warnMs: number
  readonly head: () => number
  readonly held: (lsn: number, heldMs: number) => void
  readonly reclaim: Reclaim
  /** T. */
  readonly tail: () => number
  /** Shared logs: makes other processes honour a pin. */
  readonly lease: ((lsn: number) => Promise<{ release(): void }>) | undefined
  /** Whether a tag or a branch keeps that version anyway. */
  readonly isNamed: (branch: number, lsn: number) => boolean
}

/** Of reads that are under way: they come and go. */
const BRIEF = 'read'
/** Of snapshots that other processes are told of. */
export const LEASED = 'reader elsewhere'

interface Entry {
  readonly id: string
  readonly owner: string
  lsn: number
  sinceMs: number
  told: boolean
  readonly hold: HoldHandle
  timer: TimerHandle
}

export class Pins {
  private readonly o: PinsOptions
  private readonly entries = new Map<string, Entry>()

  constructor(o: PinsOptions) {
    this.o = o
  }

  get size(): number {
    return this.entries.size
  }

  list(): HeldPin[] {
    return [...this.entries.values()].map(({ id, owner, lsn, sinceMs }) => ({ id, owner, lsn, sinceMs }))
  }

  /** Pins that others took of the log of this handle. */
  others(): { readonly id: string; readonly owner: string; readonly lsn: number; readonly sinceMs: number | undefined }[] {
    const own = new Set([...this.entries.values()].map(({ hold }) => hold.id))
    // A lease is the other half of a pin that is listed.
    return this.o.reclaim.list().filter(({ id, owner }) => owner !== BRIEF && owner !== LEASED && !own.has(id))
  }

  /** While one read goes on. @throws HistoryUnavailableError */
  brief(point: HeldPoint): () => void {
    const { lsn } = point
    try {
      return this.take(point, BRIEF).release
    } catch (error) {
      if (!(error instanceof PinRefusedError)) throw error
      throw new HistoryUnavailableError(`LSN ${lsn} is below the floor ${error.floor}: a vacuum took what it needs`, {
        details: { asked: BigInt(lsn), floor: error.floor },
        cause: error,
      })
    }
  }

  /** While a version that is not committed is put together: before the first look at what it is made of. Where a truncation comes between it stands no more. */
  uncommitted(point: HeldPoint): HoldHandle {
    return this.take(point, BRIEF, true)
  }

  /** As hold(), and for vacuums of other processes too. @throws PinRefusedError; StorageError */
  async holdEverywhere(point: HeldPoint, owner: 'reader'): Promise<PinHandle> {
    const pin = this.hold(point, owner)
    const { lease, isNamed } = this.o
    if (lease === undefined || isNamed(point.branch, point.lsn)) return pin
    try {
      const laid = await lease(point.lsn)
      return {
        advance: (next) => pin.advance(next),
        release: () => {
          laid.release()
          pin.release()
        },
      }
    } catch (error) {
      pin.release()
      throw error
    }
  }

  private take({ lsn, branch, files }: HeldPoint, owner: string, yields = false): HoldHandle {
    const { reclaim, tail, isNamed } = this.o
    const isPoint = owner === 'reader' || owner === BRIEF
    const isKept = isPoint && lsn < Math.max(reclaim.planned, reclaim.fragmentFloor()) && isNamed(branch, lsn)
    return reclaim.hold(lsn, tail(), { owner, branch, isPoint, isKept, yields, ...(files === undefined ? {} : { files }) })
  }

  /** @throws PinRefusedError: what it would read is gone, or about to go */
  hold(point: HeldPoint, owner: 'reader' | 'stream' | 'backup'): PinHandle {
    const { lsn } = point
    const { world, warnMs } = this.o
    const hold = this.take(point, owner)
    const id = newUlid(world)
    const entry: Entry = { id, owner, lsn, sinceMs: world.clock.monoMs(), told: false, hold, timer: world.timers.set(warnMs, () => this.look(entry)) }
    this.entries.set(id, entry)
    return {
      advance: (next) => {
        entry.lsn = next
        hold.advance(next)
        entry.sinceMs = world.clock.monoMs()
        entry.told = false
      },
      release: () => {
        hold.release()
        if (this.entries.delete(id)) world.timers.clear(entry.timer)
      },
    }
  }

  private look(entry: Entry): void {
    const { world, warnMs, head, held } = this.o
    if (!this.entries.has(entry.id)) return
    const now = world.clock.monoMs()
    const isFeed = entry.owner === 'stream'
    if (isFeed && entry.lsn >= head()) entry.sinceMs = now
    const heldMs = now - entry.sinceMs
    if (heldMs >= warnMs && !entry.told) {
      entry.told = true
      held(entry.lsn, heldMs)
    }
    // A snapshot stands still: told once is told for good.
    if (isFeed || !entry.told) entry.timer = world.timers.set(Math.max(1, entry.told ? warnMs : warnMs - heldMs), () => this.look(entry))
  }
}

/** Everything that keeps history: what is read here, pins of the log, branches and tags. */
export function pinsOf(pins: Pins, branches: Branches, { clock }: Pick<World, 'clock'>): PinInfo[] {
  const info = (id: string, owner: string, lsn: number, heldMs: number): PinInfo => ({
    id: id as PinId,
    owner,
    lsn: BigInt(lsn) as Lsn,
    heldMs: Math.max(0, heldMs),
  })
  const now = clock.nowMs()
  return [
    ...pins.list().map(({ id, owner, lsn, sinceMs }) => info(id, owner, lsn, clock.monoMs() - sinceMs)),
    ...pins.others().map(({ id, owner, lsn, sinceMs }) => info(id, owner, lsn, sinceMs === undefined ? 0 : clock.monoMs() - sinceMs)),
    ...branches.live().map(({ name, fromLsn, branchId }) => info(`branch ${name}`, `branch ${name}`, fromLsn, now - ulidMs(branchId))),
    ...branches.tags().map(({ name, lsn, timeMs }) => info(`tag ${name}`, `tag ${name}`, lsn, now - timeMs)),
  ]
}
