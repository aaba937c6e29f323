// table/fragment-hides.ts: which rows of one fragment are hidden, at every LSN that can still be read.
//
// One bitmap holds everything hidden so far; a short history of who hid what and when lets an older snapshot look past it.
// Invariant: rows are hidden in LSN order and never come back. fork() starts a new history, so that histories stay short: older snapshots keep the old object.

import { assert } from '../assert.ts'
import { bitmapNot, copyPadded } from '../kernels/index.ts'

interface HideEvent {
  readonly lsn: number
  /** Rows hidden by it; or the whole bitmap as it was before. */
  readonly rows: ArrayLike<number> | undefined
  readonly before: Uint8Array | undefined
  readonly countBefore: number
}

const EVENTS_MAX = 4096
const ROWS_MAX = 4096

export class FragmentHides {
  readonly rows: number
  private bitmap: Uint8Array | undefined
  private events: HideEvent[] = []
  private lastLsn = 0
  private hiddenCount = 0
  private liveCache: { lsn: number; bitmap: Uint8Array } | undefined

  constructor(rows: number, hidden?: Uint8Array, count: number = 0) {
    this.rows = rows
    this.bitmap = hidden
    this.hiddenCount = count
  }

  /** Hidden by everything so far. */
  get count(): number {
    return this.hiddenCount
  }

  /** Time to fork: the history has grown long. */
  get isLong(): boolean {
    return this.events.length > EVENTS_MAX
  }

  hide(rows: ArrayLike<number>, lsn: number): void {
    if (rows.length === 0) return
    assert(lsn >= this.lastLsn, 'rows are hidden in LSN order', lsn)
    this.events.push(
      rows.length > ROWS_MAX
        ? { lsn, rows: undefined, before: this.bitmap?.slice() ?? new Uint8Array((this.rows + 7) >> 3), countBefore: this.hiddenCount }
        : { lsn, rows, before: undefined, countBefore: this.hiddenCount },
    )
    this.bitmap ??= new Uint8Array((this.rows + 7) >> 3)
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!
      assert(row < this.rows && (this.bitmap[row >> 3]! & (1 << (row & 7))) === 0, 'a row of the fragment is hidden once', row)
      this.bitmap[row >> 3]! |= 1 << (row & 7)
    }
    this.hiddenCount += rows.length
    this.lastLsn = lsn
    this.liveCache = undefined
  }

  /** Undo what LSNs from `lsn` on did. */
  takeBack(lsn: number): void {
    while (this.events.length > 0 && this.events.at(-1)!.lsn >= lsn) {
      const { rows, before, countBefore } = this.events.pop()!
      if (before !== undefined) this.bitmap = before
      else for (let k = 0; k < rows!.length; k++) this.bitmap![rows![k]! >> 3]! &= ~(1 << (rows![k]! & 7))
      this.hiddenCount = countBefore
    }
    this.lastLsn = Math.min(this.lastLsn, lsn - 1)
    this.liveCache = undefined
  }

  /** The state now, without its history: for readers from here on. */
  fork(): FragmentHides {
    const fork = new FragmentHides(this.rows, this.bitmap?.slice(), this.hiddenCount)
    fork.lastLsn = this.lastLsn
    return fork
  }

  isHidden(row: number, lsn: number): boolean {
    if (this.bitmap === undefined || (this.bitmap[row >> 3]! & (1 << (row & 7))) === 0) return false
    for (let i = this.events.length - 1; i >= 0 && this.events[i]!.lsn > lsn; i--) {
      const { rows, before } = this.events[i]!
      if (before !== undefined) {
        if ((before[row >> 3]! & (1 << (row & 7))) === 0) return false
      } else for (let k = 0; k < rows!.length; k++) if (rows![k] === row) return false
    }
    return true
  }

  countAt(lsn: number): number {
    if (lsn >= this.lastLsn) return this.hiddenCount
    let count = this.hiddenCount
    for (let i = this.events.length - 1; i >= 0 && this.events[i]!.lsn > lsn; i--) count = this.events[i]!.countBefore
    return count
  }

  /** Bitmap of hidden rows at `lsn`; undefined = none. Not to be changed. */
  hiddenAt(lsn: number): Uint8Array | undefined {
    if (this.bitmap === undefined) return undefined
    if (lsn >= this.lastLsn) return this.bitmap
    let bitmap = this.bitmap.slice()
    for (let i = this.events.length - 1; i >= 0 && this.events[i]!.lsn > lsn; i--) {
      const { rows, before } = this.events[i]!
      if (before !== undefined) bitmap = before.slice()
      else for (let k = 0; k < rows!.length; k++) bitmap[rows![k]! >> 3]! &= ~(1 << (rows![k]! & 7))
    }
    return bitmap
  }

  /** Bitmap of live rows of [start, end) at `lsn`, from bit 0; undefined = all. `start` is a multiple of 8. */
  liveAt(lsn: number, start: number, end: number): Uint8Array | undefined {
    if (this.bitmap === undefined || this.countAt(lsn) === 0) return undefined
    if (this.liveCache?.lsn !== lsn) {
      const hidden = this.hiddenAt(lsn)!
      this.liveCache = { lsn, bitmap: bitmapNot(hidden, this.rows) }
    }
    return copyPadded(this.liveCache.bitmap.subarray(start >> 3), end - start)
  }
}
