// engine/cutter.ts: batches of one table's rows on their way into fragments: collected, cut, encoded on a worker, stored as files of a write.
//
// Invariant: a fragment holds a key at most once; rows that a later row replaced after they were cut are told by ownHides(); a failure shows at the next call.

import { type FragmentHides as HideList, type FragmentRef, type TableSchema, withGenerations } from '../format/index.ts'
import { bitmapAll, filter, popcount, type Vec } from '../kernels/index.ts'
import { fileKey, type StagedFile, type StagingArea } from '../staging/index.ts'
import { type ColumnBatch, type EncodedFragment, encodeFragmentOn, type TableState } from '../table/index.ts'
import { FP, type World } from '../runtime/index.ts'
import type { LoadPart } from './load-keys.ts'

/** Rows of one fragment. */
const FRAGMENT_ROWS = 262_144
/** Bytes of columns after which a fragment is cut, whatever its rows. */
const FRAGMENT_BYTES = 64 * 1024 * 1024
/** Fragments being encoded or written at a time: what bounds the memory of a load. */
const IN_FLIGHT = 2

interface Cut {
  readonly parts: readonly LoadPart[]
  /** Rows of the parts that are in the fragment: bitmaps, undefined = all. */
  readonly kept: readonly (Uint8Array | undefined)[]
  readonly ordinal: number
}

export interface CutterOptions {
  readonly world: World
  readonly table: TableState
  /** Of the rows. */
  readonly schema: TableSchema
  /** Armed before the first file. */
  readonly area: () => Promise<StagingArea>
  readonly signal: AbortSignal | undefined
}

export class Cutter {
  /** In the order they were cut; complete after drain(). */
  refs: FragmentRef[] = []
  /** Of each fragment, whether it was marked when it was cut. */
  marks: boolean[] = []
  /** What is staged, fragments and their indexes. */
  files: StagedFile[] = []
  private readonly o: CutterOptions
  private cuts: Cut[] = []
  private waiting: ColumnBatch[] = []
  private waitingParts: (LoadPart | undefined)[] = []
  private waitingRows = 0
  private waitingBytes = 0
  private readonly running = new Set<Promise<void>>()
  private failure: { error: unknown } | undefined
  /** Counts up when everything cut so far is given up. */
  private era = 0

  constructor(o: CutterOptions) {
    this.o = o
  }

  /** Rows that wait to be cut. */
  get rowsWaiting(): number {
    return this.waitingRows
  }

  /** Take a batch; resolves at once unless a fragment is full and others are under way. @param part  its keys, on keyed tables */
  async push(batch: ColumnBatch, part: LoadPart | undefined, mark: boolean = false): Promise<void> {
    this.check()
    this.waiting.push(batch)
    this.waitingParts.push(part)
    this.waitingRows += batch.length
    for (const vec of batch.columns) this.waitingBytes += vecBytes(vec)
    if (this.waitingRows >= FRAGMENT_ROWS || this.waitingBytes >= FRAGMENT_BYTES) await this.cut(mark)
  }

  /** Make a fragment of what waits, in the background. */
  async cut(mark: boolean = false): Promise<void> {
    const { waiting: batches, waitingParts: parts } = this
    const ordinal = this.refs.length
    this.clearWaiting()
    const kept: (Uint8Array | undefined)[] = []
    const filtered: ColumnBatch[] = []
    let rows = 0
    batches.forEach((batch, i) => {
      const bitmap = keptBitmap(parts[i], batch.length)
      kept.push(bitmap)
      const count = batch.length - (parts[i]?.dropped?.size ?? 0)
      rows += count
      if (count > 0) filtered.push(bitmap === undefined ? batch : { length: count, columns: batch.columns.map((column) => filter(column, bitmap, count)) })
    })
    if (rows === 0) return
    if (parts[0] !== undefined) this.cuts.push({ parts: parts as LoadPart[], kept, ordinal })
    this.refs.push(undefined as unknown as FragmentRef)
    this.marks.push(mark)
    while (this.running.size >= IN_FLIGHT) await Promise.race(this.running)
    const { failpoints } = this.o.world
    if (ordinal > 0 && failpoints.active) await failpoints.hit(FP.stage.betweenChunks, { table: this.o.table.name })
    this.check()
    const work = this.encode(filtered, ordinal, this.era)
      .catch((error: unknown) => {
        this.failure ??= { error }
      })
      .finally(() => this.running.delete(work))
    this.running.add(work)
  }

  private async encode(batches: readonly ColumnBatch[], ordinal: number, era: number): Promise<void> {
    const { world, schema, signal, area } = this.o
    // The INTENT becomes durable while the rows are encoded.
    const armed = area()
    armed.catch(() => undefined)
    const fragment = await encodeFragmentOn(world.workers, { schema, batches }, signal)
    const { ref, files } = await storeFragment(await armed, fragment)
    if (era !== this.era) return
    this.refs[ordinal] = ref
    this.files.push(...files)
  }

  /** Every file is stored when it resolves, or the first failure is thrown. */
  async drain(): Promise<void> {
    await this.settled()
    this.check()
  }

  /** Nothing is under way when it resolves. */
  async settled(): Promise<void> {
    await Promise.all(this.running)
  }

  /** Forget what was taken: a replace came. Files stay until the write is over. */
  async reset(): Promise<void> {
    this.clearWaiting()
    await Promise.all(this.running)
    this.era++
    this.refs = []
    this.marks = []
    this.files = []
    this.cuts = []
  }

  /** Rows of own fragments that a later row replaced, or that were deleted, after they were cut. */
  ownHides(): HideList[] {
    const lists: HideList[] = []
    for (const { parts, kept, ordinal } of this.cuts) {
      const rows: number[] = []
      let base = 0
      parts.forEach((part, i) => {
        const bitmap = kept[i]
        if (part.dropped !== undefined) {
          let at = base
          for (let row = 0; row < part.rows; row++) {
            const isKept = bitmap === undefined || ((bitmap[row >> 3]! >> (row & 7)) & 1) === 1
            if (isKept && part.dropped.has(row)) rows.push(at)
            if (isKept) at++
          }
        }
        base += bitmap === undefined ? part.rows : popcount(bitmap, part.rows)
      })
      if (rows.length > 0) lists.push({ lsn: 0, ordinal, rows: Uint32Array.from(rows) })
    }
    return lists
  }

  /** @throws what a fragment under way failed with */
  check(): void {
    if (this.failure !== undefined) throw this.failure.error
    this.o.signal?.throwIfAborted()
  }

  private clearWaiting(): void {
    this.waiting = []
    this.waitingParts = []
    this.waitingRows = 0
    this.waitingBytes = 0
  }
}

/** The fragment's files in the staging directory of a write; the reference has the generations they already have. */
export async function storeFragment(area: StagingArea, fragment: EncodedFragment): Promise<{ ref: FragmentRef; files: StagedFile[] }> {
  const { ref, index, indexes } = fragment
  const all = index === undefined ? indexes : [index, ...indexes]
  // Equal constraints over equal values may have one file.
  const distinct = [...new Map(all.map((each) => [each.digest, each])).values()]
  const files = await Promise.all([area.put('arrow', fragment.file, ref.digest), ...distinct.map((each) => area.put('idx', each.file, each.digest))])
  return { ref: promotedRef(ref, new Map(files.flatMap((each) => (each.gen === undefined ? [] : [[fileKey(each), each.gen]])))), files }
}

/** The reference under the generations that promotion gave its files. */
export function promotedRef(ref: FragmentRef, generations: ReadonlyMap<string, number>): FragmentRef {
  return generations.size === 0 ? ref : withGenerations(ref, (digest, ext) => generations.get(fileKey({ digest, ext })))
}

export function vecBytes(vec: Vec): number {
  let bytes = vec.values.length + (vec.offsets?.byteLength ?? 0) + (vec.validity?.length ?? 0)
  for (const child of vec.children) bytes += vecBytes(child)
  return bytes
}

function keptBitmap(part: LoadPart | undefined, rows: number): Uint8Array | undefined {
  if (part?.dropped === undefined || part.dropped.size === 0) return undefined
  const bitmap = bitmapAll(rows)
  for (const row of part.dropped) bitmap[row >> 3]! &= ~(1 << (row & 7))
  return bitmap
}
