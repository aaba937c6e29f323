// store/pins.ts: what open reads hold back: snapshots ("reader") and change feeds ("stream"), by position and age.
//
// Invariant: a pin held too long is told once per position; a feed that waits at the head holds nothing back and is never told.

import { newUlid, type TimerHandle, type World } from '../runtime/index.ts'

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
}

interface Entry {
  readonly id: string
  readonly owner: string
  lsn: number
  sinceMs: number
  told: boolean
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

  hold(lsn: number, owner: 'reader' | 'stream' | 'backup'): PinHandle {
    const { world, warnMs } = this.o
    const id = newUlid(world)
    const entry: Entry = { id, owner, lsn, sinceMs: world.clock.monoMs(), told: false, timer: world.timers.set(warnMs, () => this.look(entry)) }
    this.entries.set(id, entry)
    return {
      advance: (next) => {
        entry.lsn = next
        entry.sinceMs = world.clock.monoMs()
        entry.told = false
      },
      release: () => {
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
