// log/reclaim.ts: the reclaim lock of a log (log.md section 6): what holds history back is granted, and history is taken away, one at a time.
//
// Two kinds of hold: a pin keeps the log above its LSN and every file that the state there or a later record names; a reader keeps the files of the one state it
// shows. Invariant: neither T nor the fragment floor passes a hold; so one that was granted is honoured, and one that comes too late is refused, not broken.
import { PinRefusedError } from '../errors.ts'
import { Mutex } from '../runtime/index.ts'

import type { Lsn, Pin } from './commit-log.ts'

export interface Hold {
  readonly id: string
  readonly owner: string
  readonly lsn: number
  /** Number of the branch whose state at `lsn` is read; 0 = main. */
  readonly branch: number
  /** One state; else everything from there on. */
  readonly isPoint: boolean
  /** Of a point: the files of that state, where they are at hand: its branch may be deleted meanwhile. Else files that it needs besides. */
  readonly files: (() => Iterable<string>) | undefined
  /** Records above it are kept; at or below `lsn`. */
  readonly logLsn: number
  /** On the monotonic clock; undefined: its owner keeps the time. */
  readonly sinceMs: number | undefined
  /** It ends where a truncation takes the version away, and refuses none. */
  readonly yields: boolean
}

export interface HoldHandle {
  readonly id: string
  /** Neither released, nor ended by a truncation. */
  readonly stands: boolean
  /** The reader has gone on. */
  advance(lsn: number): void
  /** Twice is fine. */
  release(): void
}

export interface HoldOptions {
  readonly owner: string
  readonly branch?: number
  readonly isPoint?: boolean
  readonly files?: () => Iterable<string>
  /** Default `lsn`. Given: the log behind it must be there, of a point too. */
  readonly logLsn?: number
  readonly sinceMs?: number
  /** What a tag or a branch holds anyway, below the floor too. */
  readonly isKept?: boolean
  /** Its owner can begin again. */
  readonly yields?: boolean
}

type Entry = { -readonly [K in keyof Hold]: Hold[K] }

export class Reclaim {
  readonly #mutex = new Mutex()
  readonly #holds = new Map<string, Entry>()
  #count = 0
  /** Set while a vacuum is under way: what lies below is about to go. */
  planned = 0
  /** G by the record of a vacuum that waits to be committed. */
  recorded: number | undefined
  /** Each takes a hold that waits for the lock. */
  readonly #waiting = new Set<() => unknown>()
  /** G: files that older states need may be gone. The store that folds the log tells. */
  fragmentFloor: () => number = () => 0
  /** Versions below it lack files for good: a base, a copy, or a catch-up that left them out began here. The opener tells. */
  historyFloor: () => number = () => 0

  /** The lowest LSN held; Infinity without holds. */
  get floor(): number {
    let floor = Infinity
    for (const { logLsn } of this.#holds.values()) floor = Math.min(floor, logLsn)
    return floor
  }

  list(): Hold[] {
    return [...this.#holds.values()].map((hold) => ({ ...hold }))
  }

  /** At once. @throws PinRefusedError below what may be gone */
  hold(lsn: number, tail: number, o: HoldOptions): HoldHandle {
    const floor = Math.max(this.planned, this.fragmentFloor())
    const logLsn = o.logLsn ?? lsn
    const isBehind = logLsn < tail && (o.logLsn !== undefined || o.isPoint !== true)
    if (o.isKept !== true && (lsn < floor || isBehind)) {
      const why = isBehind || lsn < tail ? `the log begins after ${tail}` : `files of versions below ${floor} may be gone`
      throw new PinRefusedError(`LSN ${lsn} cannot be held: ${why}`, {
        details: { asked: BigInt(lsn), tail: BigInt(tail), floor: BigInt(Math.max(tail, floor)) },
      })
    }
    const { owner } = o
    const entry: Entry = {
      id: `${owner}-${++this.#count}`,
      owner,
      lsn,
      branch: o.branch ?? 0,
      isPoint: o.isPoint ?? false,
      files: o.files,
      logLsn,
      sinceMs: o.sinceMs,
      yields: o.yields ?? false,
    }
    this.#holds.set(entry.id, entry)
    const advance = (next: number): void => {
      entry.lsn = next
      entry.logLsn = next
    }
    const holds = this.#holds
    return {
      id: entry.id,
      get stands() {
        return holds.has(entry.id)
      },
      advance,
      release: () => void holds.delete(entry.id),
    }
  }

  /** What lies above is being cut off. */
  cut(last: number): void {
    for (const { id, lsn, yields } of this.#holds.values()) if (yields && lsn > last) this.#holds.delete(id)
  }

  /** Holds records above `start`, behind whatever is being taken away. @throws PinRefusedError */
  pin(start: Lsn, owner: string, tail: () => number): Promise<Pin> {
    return this.#mutex.run(() => {
      const { id, release } = this.hold(Number(start), tail(), { owner })
      return { id, lsn: start, release }
    })
  }

  /** Runs a trim; `move` gets the highest LSN that may go. One that only looks waits for nobody. */
  async reclaim<T>(upTo: number, dryRun: boolean, move: (limit: number) => Promise<T>): Promise<T> {
    const limited = (): Promise<T> => move(Math.min(upTo, this.floor))
    return dryRun ? limited() : this.#mutex.run(limited)
  }

  /** Runs what decides that files may go: no pin is granted and no tail moves meanwhile, but for recording(). */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.#mutex.run(work)
  }

  /**
   * Within exclusively(), of what has planned: the record that says so is on its way. It may wait for replicas, and what those wait for may be a hold: granting()
   * waits no longer until it resolves. Nothing goes before that, and nothing that goes then is needed at `planned` or above.
   */
  async recording<T>(committed: Promise<T>): Promise<T> {
    this.recorded = this.planned
    for (const take of this.#waiting) take()
    try {
      return await committed
    } finally {
      this.recorded = undefined
    }
  }

  /** Runs what takes a hold, in its first step, and then looks whether what it needs is there: behind whatever is being taken away. */
  granting<T>(work: () => Promise<T>): Promise<T> {
    if (this.recorded !== undefined) return work()
    return new Promise((resolve, reject) => {
      let taken: Promise<void> | undefined
      const take = (): Promise<void> => {
        this.#waiting.delete(take)
        return (taken ??= work().then(resolve, reject))
      }
      this.#waiting.add(take)
      void this.#mutex.run(() => taken ?? take())
    })
  }
}
