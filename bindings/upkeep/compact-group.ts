// upkeep/compact-group.ts: one group of fragments written anew: its live rows in their new order, cut into fragments of equal size, encoded on a worker thread.
//
// Invariant: memory is bounded by the fragment that is gathered, the one that is encoded and a batch of each fragment that is merged, whatever the table's size.

import { promotedRef, storeFragment } from '../engine/index.ts'
import type { FragmentHides, FragmentRef, TableSchema } from '../format/index.ts'
import { keyParts } from '../indexes/index.ts'
import { slice } from '../kernels/index.ts'
import type { World } from '../runtime/index.ts'
import type { StagedFile, StagingArea } from '../staging/index.ts'
import { type ColumnBatch, FragmentRows, type LiveFragment } from '../table/index.ts'
import { mergeSources } from './merge-runs.ts'
import type { Pacer } from './pacer.ts'
import { NOWHERE, type RowSource } from './row-source.ts'

export interface CompactOptions {
  readonly world: World
  readonly schema: TableSchema
  /** Armed before the first file. */
  readonly area: () => Promise<StagingArea>
  readonly pacer: Pacer
  readonly signal: AbortSignal
}

/** What a group has become. */
export class CompactedGroup {
  readonly sources: readonly RowSource[]
  private readonly outputRows: number
  private staged: FragmentRef[] = []
  files: StagedFile[] = []

  constructor(segments: readonly (readonly RowSource[])[], outputRows: number) {
    this.segments = segments
    this.sources = segments.flat()
    this.outputRows = outputRows
  }

  private readonly segments: readonly (readonly RowSource[])[]

  /** Write its fragments to the staging area. */
  async write(o: CompactOptions): Promise<void> {
    const { schema, world, signal, pacer } = o
    let encoding: Promise<void> | undefined
    let rows = new FragmentRows(world.workers)
    const cut = async (): Promise<void> => {
      const full = rows
      rows = new FragmentRows(world.workers)
      await encoding
      const ordinal = this.staged.length
      this.staged.push(undefined as unknown as FragmentRef)
      // The INTENT becomes durable while the rows are encoded. One at a time: what bounds the memory of a run.
      encoding = Promise.all([full.encode(schema, signal), o.area()]).then(async ([encoded, area]) => {
        const { ref, files } = await storeFragment(area, encoded)
        this.staged[ordinal] = ref
        this.files.push(...files)
        await pacer.wrote(
          files.reduce((sum, file) => sum + file.bytes, 0),
          signal,
        )
      })
      // It is waited for at the next cut.
      encoding.catch(() => undefined)
    }
    try {
      for await (const batch of this.batches(o)) {
        for (let at = 0; at < batch.length;) {
          const end = Math.min(batch.length, at + this.outputRows - rows.rows)
          rows.push(sliced(batch, at, end))
          at = end
          if (rows.rows === this.outputRows) await cut()
        }
        pacer.rows(batch.length)
      }
      if (rows.rows > 0) await cut()
    } finally {
      // Nothing is under way when it is over, however that came about.
      await encoding?.catch(() => undefined)
    }
    await encoding
  }

  private async *batches({ schema, signal, pacer }: CompactOptions): AsyncGenerator<ColumnBatch, undefined> {
    const { columns } = schema
    const pace = (bytes: number): Promise<void> | undefined => pacer.step(bytes, signal)
    let first = 0
    for (const segment of this.segments) {
      const [only] = segment
      const isAsItIs = segment.length === 1 && (schema.key.length === 0 || only!.isSorted)
      if (!isAsItIs) yield* mergeSources(segment, first, { columns, parts: keyParts(schema), signal, pace })
      else {
        only!.followsAt(first)
        for (let batch = 0; batch < only!.batchCount; batch++) {
          const { batch: rows } = await only!.load(batch, columns, signal)
          if (rows.length > 0) yield rows
          const waiting = pace(only!.bytes / only!.batchCount)
          if (waiting !== undefined) await waiting
        }
      }
      first += segment.reduce((sum, source) => sum + source.liveRows, 0)
    }
  }

  /** Its fragments under their final names. */
  refs(generations: ReadonlyMap<string, number>): FragmentRef[] {
    return this.staged.map((ref) => promotedRef(ref, generations))
  }

  /** Rows of its fragments that were hidden since the plan; undefined: one of the fragments it was made of is not there any more. @param ordinal  of its first one */
  hides(live: readonly LiveFragment[], ordinal: number): FragmentHides[] | undefined {
    const places: Uint32Array[] = []
    for (const source of this.sources) {
      const now = live.find(({ lsn, ordinal: number }) => lsn === source.lsn && number === source.ordinal)
      if (now === undefined) return undefined
      places.push(source.newlyHidden(now.hides.hiddenAt(Number.MAX_SAFE_INTEGER), now.hides.count))
    }
    const lists = this.staged.map((): number[] => [])
    for (const list of places) for (const place of list) if (place !== NOWHERE) lists[Math.floor(place / this.outputRows)]!.push(place % this.outputRows)
    return lists.flatMap((rows, i) => (rows.length === 0 ? [] : [{ lsn: 0, ordinal: ordinal + i, rows: Uint32Array.from(rows).sort() }]))
  }
}

function sliced(batch: ColumnBatch, start: number, end: number): ColumnBatch {
  if (start === 0 && end === batch.length) return batch
  return { length: end - start, columns: batch.columns.map((column) => slice(column, start, end)) }
}
