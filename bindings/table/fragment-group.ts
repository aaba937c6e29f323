// table/fragment-group.ts: a fragment at one version as scans see it: batches, and which of their rows live.
import type { ColumnDef, TableSchema } from '../format/index.ts'
import { popcount } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'
import { foresee, hasIndex, selectRows } from './access-paths.ts'
import type { BatchSource, ColumnStats, SourceGroup } from './batch.ts'
import { newerStats } from './column-fit.ts'
import type { FragmentReader } from './fragment-reader.ts'

/** Bitmap of the rows of [start, end) that live, from bit 0; undefined = all. `start` is a multiple of 8. */
export type LiveRows = (start: number, end: number) => Uint8Array | undefined

/** Statistics of a fragment's columns as readers of `schema` understand them. */
export function fragmentStats(reader: FragmentReader, schema: TableSchema): (columnId: number) => ColumnStats | undefined {
  return (columnId) => statsAs(reader, schema, columnId, reader.stats(columnId))
}

function statsAs(reader: FragmentReader, schema: TableSchema, columnId: number, stats: ColumnStats | undefined): ColumnStats | undefined {
  // Most fragments are as new as the definition.
  if (stats === undefined || reader.ref.schemaVersion === schema.version) return stats
  const from = reader.typeOf(columnId)
  const column = schema.columns.find((each) => each.id === columnId)
  return from === undefined || column === undefined ? undefined : newerStats(stats, from, column)
}

/** `id`: "<lsn>.<ordinal>"; `schema`: of the version. */
export function fragmentGroup(reader: FragmentReader, id: string, live: LiveRows, liveRows: number, schema: TableSchema): SourceGroup {
  const { ref } = reader
  let batches: readonly BatchSource[] | undefined
  return {
    kind: 'fragment',
    id,
    rows: ref.rows,
    liveRows,
    bytes: ref.bytes,
    stats: fragmentStats(reader, schema),
    bytesOf: (columns) => reader.bytesOf(columns),
    select: (paths, signal) => selectRows(reader, paths, signal),
    foresee: (paths) => foresee(reader, paths),
    covers: (path) => hasIndex(reader, path),
    get batches() {
      return (batches ??= Array.from({ length: reader.batchCount }, (_, batch) => new FragmentBatch(reader, batch, live, liveRows === ref.rows, schema)))
    },
  }
}

class FragmentBatch implements BatchSource {
  readonly rows: number
  readonly #reader: FragmentReader
  readonly #batch: number
  readonly #liveRows: LiveRows
  readonly #schema: TableSchema
  #live: Uint8Array | undefined
  #liveCount: number

  constructor(reader: FragmentReader, batch: number, live: LiveRows, allLive: boolean, schema: TableSchema) {
    this.#reader = reader
    this.#batch = batch
    this.#liveRows = live
    this.#schema = schema
    this.rows = reader.rowsOf(batch)
    this.#liveCount = allLive ? this.rows : -1
  }

  live(): Uint8Array | undefined {
    if (this.#liveCount < 0) {
      const start = this.#batch * this.#reader.ref.batchRows
      this.#live = this.#liveRows(start, start + this.rows)
      this.#liveCount = this.#live === undefined ? this.rows : popcount(this.#live, this.rows)
    }
    return this.#live
  }

  get liveCount(): number {
    this.live()
    return this.#liveCount
  }

  stats(columnId: number): ColumnStats | undefined {
    return statsAs(this.#reader, this.#schema, columnId, this.#reader.batchStats(this.#batch, columnId))
  }

  load(columns: readonly ColumnDef[], signal?: AbortSignal): Promise<readonly Vec[]> {
    return this.#reader.load(this.#batch, columns, signal)
  }

  loadSync(columns: readonly ColumnDef[]): readonly Vec[] {
    return this.#reader.loadSync(this.#batch, columns)
  }

  ready(columns: readonly ColumnDef[]): boolean {
    return this.#reader.ready(this.#batch, columns)
  }
}
