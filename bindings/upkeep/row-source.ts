// upkeep/row-source.ts: a fragment that is being written anew: its live rows as of the plan, batch by batch, and where each of them went.
//
// It reads through a cache of its own, so that a compaction puts nothing out of the store's. Invariant: a row that was live at the plan has one place in the
// output; what was hidden since is found by newlyHidden() at any time after.

import { assert } from '../assert.ts'
import type { ColumnDef } from '../format/index.ts'
import { bitmapAndNot, bitmapNot, bitmapToIndices, copyPadded, filterMany, popcount } from '../kernels/index.ts'
import type { ColumnBatch, FragmentReader, LiveFragment } from '../table/index.ts'

/** No live row of the plan. */
export const NOWHERE = 0xffffffff

export class RowSource {
  readonly lsn: number
  readonly ordinal: number
  readonly rows: number
  readonly isSorted: boolean
  readonly bytes: number
  readonly reader: FragmentReader
  /** Live rows at the plan. */
  readonly liveRows: number
  /** Rows hidden at the plan; undefined: none. */
  private readonly hidden: Uint8Array | undefined
  private readonly hiddenCount: number
  /** Of rows that go out one after the other: the place of the first. */
  private first = 0
  /** Of rows that are merged with others': the place of each. */
  private places: Uint32Array | undefined

  constructor({ lsn, ordinal, ref, hides }: LiveFragment, reader: FragmentReader, planLsn: number) {
    this.lsn = lsn
    this.ordinal = ordinal
    this.rows = ref.rows
    this.isSorted = ref.sorted
    this.bytes = ref.bytes
    this.reader = reader
    this.hidden = hides.hiddenAt(planLsn)?.slice()
    this.hiddenCount = hides.countAt(planLsn)
    this.liveRows = ref.rows - this.hiddenCount
  }

  get batchCount(): number {
    return this.reader.batchCount
  }

  /** Row of the fragment at which a batch begins. */
  startOf(batch: number): number {
    return batch * this.reader.ref.batchRows
  }

  /** The live rows of a batch, and which rows of it they are (undefined: all). */
  async load(batch: number, columns: readonly ColumnDef[], signal: AbortSignal): Promise<{ batch: ColumnBatch; live: Uint8Array | undefined }> {
    const rows = this.reader.rowsOf(batch)
    const vecs = await this.reader.load(batch, columns, signal)
    const start = this.startOf(batch)
    const live = this.hidden === undefined ? undefined : bitmapNot(copyPadded(this.hidden.subarray(start >> 3), rows), rows)
    if (live === undefined) return { batch: { length: rows, columns: vecs }, live }
    const count = popcount(live, rows)
    return { batch: { length: count, columns: count === rows ? vecs : filterMany(vecs, live, rows, count) }, live }
  }

  /** Its rows go out in their order from here on. */
  followsAt(first: number): void {
    this.first = first
  }

  /** Its rows are merged with others'; each is told by put(). */
  isMerged(): Uint32Array {
    this.places = new Uint32Array(this.rows).fill(NOWHERE)
    return this.places
  }

  /** Places in the output of the rows that `now` hides and the plan did not, in the order of the rows. */
  newlyHidden(now: Uint8Array | undefined, count: number): Uint32Array {
    if (now === undefined || count === this.hiddenCount) return new Uint32Array(0)
    assert(count > this.hiddenCount, 'what a plan saw deleted stays deleted', { planned: this.hiddenCount, now: count })
    const fresh = bitmapToIndices(this.hidden === undefined ? now : bitmapAndNot(now, this.hidden, this.rows), this.rows)
    if (this.places !== undefined) return fresh.map((row) => this.places![row]!)
    const older = this.hidden === undefined ? new Uint32Array(0) : bitmapToIndices(this.hidden, this.rows)
    let before = 0
    return fresh.map((row) => {
      while (before < older.length && older[before]! < row) before++
      return this.first + row - before
    })
  }
}
