// engine/row-set.ts: row numbers of one fragment, each once: a Set while they are few, a bitmap when they are many.

import { bitmapToIndices } from '../kernels/index.ts'

const FEW = 256

export class RowSet {
  /** Rows of the fragment. */
  readonly rows: number
  size = 0
  private few: Set<number> | undefined = new Set()
  private bitmap: Uint8Array | undefined

  constructor(rows: number) {
    this.rows = rows
  }

  has(row: number): boolean {
    return this.few === undefined ? (this.bitmap![row >> 3]! & (1 << (row & 7))) !== 0 : this.few.has(row)
  }

  add(row: number): void {
    if (this.few !== undefined) {
      this.few.add(row)
      this.size = this.few.size
      if (this.size > FEW) this.widen()
      return
    }
    const bit = 1 << (row & 7)
    if ((this.bitmap![row >> 3]! & bit) !== 0) return
    this.bitmap![row >> 3]! |= bit
    this.size++
  }

  private widen(): void {
    this.bitmap = new Uint8Array(((this.rows + 63) >> 6) << 3)
    for (const row of this.few!) this.bitmap[row >> 3]! |= 1 << (row & 7)
    this.few = undefined
  }

  /** Ascending. */
  sorted(): Uint32Array {
    return this.few === undefined ? bitmapToIndices(this.bitmap!, this.rows) : Uint32Array.from(this.few).sort()
  }
}
