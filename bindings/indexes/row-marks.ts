// indexes/row-marks.ts: rows of a fragment that an index names, in any order: as a list while they are few, else as a bitmap.
//
// Invariant: within() gives bitmaps that nobody changes and that hold no bit behind the rows asked for.
import { bitmapNone, popcountRange, sliceBits } from '../kernels/index.ts'

/** Up to so many rows a list costs less than clearing a bitmap of a whole fragment. */
const LIST_ROWS_MAX = 2048

export class RowMarks {
  readonly rows: number
  /** Rows added; none is added twice. */
  count = 0
  readonly #list: Uint32Array | undefined
  readonly #bitmap: Uint8Array | undefined
  #isSorted = false

  /** @param rows  of the fragment @param atMost  rows that will be added */
  constructor(rows: number, atMost: number) {
    this.rows = rows
    if (atMost <= LIST_ROWS_MAX) this.#list = new Uint32Array(atMost)
    else this.#bitmap = bitmapNone(rows)
  }

  add(row: number): void {
    if (this.#list !== undefined) this.#list[this.count++] = row
    else {
      this.#bitmap![row >>> 3]! |= 1 << (row & 7)
      this.count++
    }
  }

  /** Bits of rows start .. start + n - 1; undefined: none of them. */
  within(start: number, n: number): Uint8Array | undefined {
    if (this.#list !== undefined) return this.#listed(this.#list, start, n)
    return popcountRange(this.#bitmap!, start, start + n) === 0 ? undefined : sliceBits(this.#bitmap!, start, n)
  }

  #listed(list: Uint32Array, start: number, n: number): Uint8Array | undefined {
    if (!this.#isSorted) {
      list.subarray(0, this.count).sort()
      this.#isSorted = true
    }
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (list[middle]! < start) low = middle + 1
      else high = middle
    }
    if (low === this.count || list[low]! >= start + n) return undefined
    const bits = bitmapNone(n)
    for (; low < this.count && list[low]! < start + n; low++) bits[(list[low]! - start) >>> 3]! |= 1 << ((list[low]! - start) & 7)
    return bits
  }
}
