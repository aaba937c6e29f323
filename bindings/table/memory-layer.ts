// table/memory-layer.ts: the rows that commits brought inline and no flush has moved yet: chunks of column builders and one key index.
//
// A row has a number (dense per table, in log order), the LSN that wrote it and the LSN that hid it. Every snapshot is a filter by LSN over the same
// chunks, so readers never wait and a commit that is not durable yet is simply above their LSN.
// Invariant: rows are added in LSN order; below a chunk's `rows` only `hiddenAt` changes, and only to LSNs above every one that can be read.

import { assert } from '../assert.ts'
import type { ColumnDef, TableSchema } from '../format/index.ts'
import { layoutOf } from '../format/index.ts'
import { compareConst, makeVec, popcount, type Vec } from '../kernels/index.ts'
import type { BatchSource, SourceGroup } from './batch.ts'
import { ColumnBuilder, type InlineCursor } from './column-builder.ts'
import { hashKey, KeyRun, MemoryIndex, type RowKeys } from './memory-index.ts'
import { fitVec } from './column-fit.ts'
import { KeyLayout } from './key-layout.ts'
import { UniqueMemory } from './unique-memory.ts'

export const CHUNK_ROWS = 65_536
const FIRST_ROWS = 64
const LIVE = Number.POSITIVE_INFINITY

export class MemoryChunk {
  /** Number of its first row. */
  readonly base: number
  readonly schema: TableSchema
  readonly columns: readonly ColumnBuilder[]
  /** Keys of the first `keys.rows` rows; the rest are made when a look-up needs them. */
  readonly keys: KeyRun | undefined
  rows = 0
  /** No further row is added. */
  sealed = false
  hidden = 0
  insertLsn: Float64Array = new Float64Array(FIRST_ROWS)
  hiddenAt: Float64Array = new Float64Array(FIRST_ROWS).fill(LIVE)
  /** Number of the key's previous row in the memory layer, or -1. */
  previous: Float64Array = new Float64Array(FIRST_ROWS)

  constructor(base: number, schema: TableSchema, keys: KeyLayout | undefined) {
    this.base = base
    this.schema = schema
    this.columns = schema.columns.map((column) => new ColumnBuilder(layoutOf(column.type), FIRST_ROWS))
    this.keys = keys === undefined ? undefined : new KeyRun(keys.stride)
  }

  get byteLength(): number {
    let bytes = this.insertLsn.byteLength * 3 + (this.keys?.byteLength ?? 0)
    for (const column of this.columns) bytes += column.byteLength
    return bytes
  }

  /** A column of its first `rows` rows as `column` of this or a newer definition has it. */
  view(column: ColumnDef, rows: number, missing: ColumnMapper): Vec {
    const at = this.schema.columns.findIndex((candidate) => candidate.id === column.id)
    return at < 0 ? missing(column, rows) : fitVec(this.columns[at]!.view(rows), this.schema.columns[at]!.type, column)
  }

  /** Rows written at or below `lsn`: a prefix. */
  rowsAt(lsn: number): number {
    if (this.rows === 0 || this.insertLsn[this.rows - 1]! <= lsn) return this.rows
    let low = 0
    let high = this.rows
    while (low < high) {
      const mid = (low + high) >> 1
      if (this.insertLsn[mid]! <= lsn) low = mid + 1
      else high = mid
    }
    return low
  }

  stamp(rows: number, lsn: number): void {
    const end = this.rows + rows
    if (end > this.insertLsn.length) {
      const capacity = Math.max(end, this.insertLsn.length * 2)
      this.insertLsn = larger(this.insertLsn, capacity)
      this.previous = larger(this.previous, capacity)
      const hiddenAt = new Float64Array(capacity).fill(LIVE, this.rows)
      hiddenAt.set(this.hiddenAt.subarray(0, this.rows))
      this.hiddenAt = hiddenAt
    }
    for (let row = this.rows; row < end; row++) {
      this.insertLsn[row] = lsn
      this.previous[row] = -1
    }
    this.rows = end
  }

  /** Undo what LSNs from `lsn` on did. */
  takeBack(lsn: number): void {
    const kept = this.rowsAt(lsn - 1)
    for (let row = 0; row < this.rows; row++) {
      if (this.hiddenAt[row] === LIVE || (row < kept && this.hiddenAt[row]! < lsn)) continue
      this.hiddenAt[row] = LIVE
      this.hidden--
    }
    if (kept === this.rows) return
    for (const column of this.columns) column.truncate(kept)
    this.keys?.truncate(kept)
    this.rows = kept
  }

  /** Bitmap of the first `rows` rows that are not hidden at `lsn`; undefined = all live. */
  liveAt(lsn: number, rows: number): { bitmap: Uint8Array | undefined; count: number } {
    if (this.hidden === 0) return { bitmap: undefined, count: rows }
    const { buffer, byteOffset } = this.hiddenAt
    const hiddenAt = makeVec({ kind: 'fixed', width: 8 }, rows, { values: new Uint8Array(buffer, byteOffset, rows * 8) })
    const bitmap = compareConst(hiddenAt, 'f64', 'gt', lsn)
    const count = popcount(bitmap, rows)
    return count === rows ? { bitmap: undefined, count } : { bitmap, count }
  }
}

export class MemoryLayer {
  readonly chunks: readonly MemoryChunk[]
  /** undefined = unkeyed table. */
  readonly keyLayout: KeyLayout | undefined
  private index: MemoryIndex | undefined
  /** By layout id, those that were asked. */
  private readonly uniques = new Map<string, UniqueMemory>()
  readonly seed: number
  /** Row references of the indexes count from here. */
  readonly base: number
  private nextRow: number
  /** Rows below this number are in the index. */
  private indexedRow: number

  constructor(nextRow: number, keyLayout: KeyLayout | undefined, seed: number, chunks: readonly MemoryChunk[] = []) {
    this.chunks = chunks
    this.keyLayout = keyLayout
    this.seed = seed
    this.nextRow = nextRow
    this.base = chunks[0]?.base ?? nextRow
    this.index = this.emptyIndex()
    this.indexedRow = this.base
    this.indexAll()
  }

  private emptyIndex(): MemoryIndex | undefined {
    if (this.keyLayout === undefined) return undefined
    return new MemoryIndex((ref, bytes, start, end) => {
      const row = this.base + ref
      const chunk = this.chunkOf(row)
      return chunk.keys!.equals(row - chunk.base, bytes, start, end)
    })
  }

  /** Undo what LSNs from `lsn` on did: their records were never written. Nobody was shown them. */
  takeBack(lsn: number): void {
    const chunks = this.chunks as MemoryChunk[]
    for (const chunk of chunks) chunk.takeBack(lsn)
    while (chunks.length > 0 && chunks.at(-1)!.rows === 0) chunks.pop()
    const last = chunks.at(-1)
    this.nextRow = last === undefined ? this.base : last.base + last.rows
    // Slots of the index name the newest row of a key: made again at the next look-up.
    this.index = this.emptyIndex()
    this.indexedRow = this.base
    this.uniques.clear()
  }

  /** The tuples of a unique constraint, with everything queued. */
  unique(layout: KeyLayout): UniqueMemory {
    let held = this.uniques.get(layout.id)
    if (held === undefined) this.uniques.set(layout.id, (held = new UniqueMemory(this, layout)))
    return held
  }

  /** Number the next row takes. */
  get next(): number {
    return this.nextRow
  }

  get rows(): number {
    let rows = 0
    for (const chunk of this.chunks) rows += chunk.rows
    return rows
  }

  /** Not hidden by anything so far. */
  get liveRows(): number {
    let rows = 0
    for (const chunk of this.chunks) rows += chunk.rows - chunk.hidden
    return rows
  }

  get byteLength(): number {
    let bytes = this.index?.byteLength ?? 0
    for (const chunk of this.chunks) bytes += chunk.byteLength
    for (const unique of this.uniques.values()) bytes += unique.byteLength
    return bytes
  }

  /** The layer without its first chunks, which a flush has moved: a new index over what is left. Readers keep the old layer. */
  without(chunks: ReadonlySet<MemoryChunk>): MemoryLayer {
    return new MemoryLayer(
      this.nextRow,
      this.keyLayout,
      this.seed,
      this.chunks.filter((chunk) => !chunks.has(chunk)),
    )
  }

  /** From now on rows go to a new chunk; the ones there are ready to be flushed. */
  seal(): readonly MemoryChunk[] {
    for (const chunk of this.chunks) chunk.sealed = true
    return [...this.chunks]
  }

  chunkOf(row: number): MemoryChunk {
    const { chunks } = this
    let at = chunks.length - 1
    if (at >= 0 && row < chunks[at]!.base) {
      let low = 0
      while (low < at) {
        const mid = (low + at + 1) >> 1
        if (chunks[mid]!.base <= row) low = mid
        else at = mid - 1
      }
    }
    const chunk = chunks[at]
    assert(chunk !== undefined && row >= chunk.base && row < chunk.base + chunk.rows, 'a row number of the memory layer', row)
    return chunk
  }

  /** LSN that wrote the row. */
  lsnOf(row: number): number {
    const chunk = this.chunkOf(row)
    return chunk.insertLsn[row - chunk.base]!
  }

  /** The row is here and nothing has hidden it. */
  isLive(row: number): boolean {
    if (!this.has(row)) return false
    const chunk = this.chunkOf(row)
    return chunk.hiddenAt[row - chunk.base] === LIVE
  }

  /** Canonical key of a row that is here. */
  keyOf(row: number): Uint8Array {
    if (this.indexedRow < this.nextRow) this.indexAll()
    const { keys, base } = this.chunkOf(row)
    return keys!.data.subarray(keys!.start(row - base), keys!.end(row - base))
  }

  /** Number of the first row that was written above `lsn`; `next`: there is none. */
  firstAbove(lsn: number): number {
    for (const chunk of this.chunks) {
      const rows = chunk.rowsAt(lsn)
      if (rows < chunk.rows) return chunk.base + rows
    }
    return this.nextRow
  }

  has(row: number): boolean {
    const first = this.chunks[0]
    return first !== undefined && row >= first.base && row < this.nextRow
  }

  /**
   * Add an inline batch written by `lsn`. `keys`: canonical key bytes of its rows when the caller has them; without, they are made from the columns when
   * a look-up first needs them (replay). @throws DecodeError
   */
  appendInline(cursor: InlineCursor, rows: number, lsn: number, schema: TableSchema, keys?: RowKeys): void {
    const chunk = this.chunkFor(rows, schema)
    if (keys !== undefined && this.indexedRow < this.nextRow) this.indexAll()
    for (const column of chunk.columns) column.appendInline(cursor, rows)
    const start = chunk.rows
    chunk.stamp(rows, lsn)
    this.nextRow += rows
    if (keys === undefined || chunk.keys === undefined) return
    assert(keys.rows === rows, 'keyed rows come with their keys', keys.rows)
    for (let row = 0; row < rows; row++) {
      chunk.keys.push(keys.data, keys.start(row), keys.end(row))
      this.indexRow(chunk, start + row)
    }
    this.indexedRow = this.nextRow
  }

  /** Add decoded rows, each with the LSN that wrote it (replay in bulk). */
  appendVecs(vecs: readonly Vec[], rows: number, lsns: ArrayLike<number>, schema: TableSchema): void {
    const chunk = this.chunkFor(rows, schema)
    for (let i = 0; i < vecs.length; i++) chunk.columns[i]!.appendVec(vecs[i]!)
    const start = chunk.rows
    chunk.stamp(rows, lsns[0]!)
    for (let row = 0; row < rows; row++) chunk.insertLsn[start + row] = lsns[row]!
    this.nextRow += rows
  }

  private indexAll(): void {
    if (this.index === undefined) return
    for (const chunk of this.chunks) {
      if (chunk.base + chunk.rows <= this.indexedRow) continue
      const keys = chunk.keys!
      if (keys.rows < chunk.rows) {
        const layout = KeyLayout.of(chunk.schema)!
        const needed = new Set(layout.parts.map((part) => part.index))
        layout.push(
          chunk.columns.map((column, i) => (needed.has(i) ? column.view(chunk.rows) : undefined)),
          keys.rows,
          chunk.rows,
          keys,
        )
      }
      for (let row = Math.max(0, this.indexedRow - chunk.base); row < chunk.rows; row++) this.indexRow(chunk, row)
    }
    this.indexedRow = this.nextRow
  }

  private indexRow(chunk: MemoryChunk, row: number): void {
    const keys = chunk.keys!
    const start = keys.start(row)
    const end = keys.end(row)
    const before = this.index!.put(hashKey(keys.data, start, end, this.seed), keys.data, start, end, chunk.base + row - this.base)
    chunk.previous[row] = before < 0 ? -1 : before + this.base
  }

  private chunkFor(rows: number, schema: TableSchema): MemoryChunk {
    const last = this.chunks.at(-1)
    if (last !== undefined && !last.sealed && last.schema === schema && last.rows + rows <= CHUNK_ROWS) return last
    assert(rows <= CHUNK_ROWS, 'an inline batch fits a chunk', rows)
    if (last !== undefined) last.sealed = true
    const chunk = new MemoryChunk(this.nextRow, schema, this.keyLayout)
    ;(this.chunks as MemoryChunk[]).push(chunk)
    return chunk
  }

  /** Number of the key's live row at `lsn`, or -1. @param layout  of a unique constraint: its tuple's live row, at an LSN that sees everything queued */
  find(bytes: Uint8Array, start: number, end: number, lsn: number, layout?: KeyLayout): number {
    if (this.chunks.length === 0) return -1
    if (layout?.isKey === false) {
      const row = this.unique(layout).find(bytes, start, end)
      return row >= 0 && this.isLive(row) ? row : -1
    }
    if (this.index === undefined) return -1
    if (this.indexedRow < this.nextRow) this.indexAll()
    const ref = this.index.find(hashKey(bytes, start, end, this.seed), bytes, start, end)
    if (ref < 0) return -1
    for (let row = ref + this.base; row >= this.base;) {
      const chunk = this.chunkOf(row)
      const at = row - chunk.base
      if (chunk.insertLsn[at]! <= lsn) return chunk.hiddenAt[at]! > lsn ? row : -1
      row = chunk.previous[at]!
    }
    return -1
  }

  /** Hide a row for every reader at `lsn` or later. */
  hide(row: number, lsn: number): void {
    const chunk = this.chunkOf(row)
    const at = row - chunk.base
    assert(chunk.hiddenAt[at] === LIVE, 'a row is hidden once', row)
    chunk.hiddenAt[at] = lsn
    chunk.hidden++
  }

  /** Hide the live rows below number `row` that are not in `moved` chunks. */
  hideBelow(row: number, moved: ReadonlySet<MemoryChunk>, lsn: number): void {
    for (const chunk of this.chunks) {
      if (moved.has(chunk) || chunk.base >= row) continue
      for (let at = 0; at < row - chunk.base; at++) {
        if (chunk.hiddenAt[at] !== LIVE) continue
        chunk.hiddenAt[at] = lsn
        chunk.hidden++
      }
    }
  }

  /** The layer as readers at `lsn` see it. */
  group(lsn: number, missing: ColumnMapper): SourceGroup {
    const batches = this.chunks.map((chunk) => chunkSource(chunk, lsn, missing)).filter((batch) => batch.rows > 0)
    let rows = 0
    let liveRows: number | undefined
    for (const batch of batches) rows += batch.rows
    return {
      kind: 'memory',
      id: 'memory',
      rows,
      get liveRows() {
        return (liveRows ??= batches.reduce((sum, batch) => sum + batch.liveCount, 0))
      },
      bytes: 0,
      stats: () => undefined,
      bytesOf: () => 0,
      batches,
    }
  }
}

/** A column that rows of an older schema version lack: `rows` rows of its default, or of nulls. */
export type ColumnMapper = (column: ColumnDef, rows: number) => Vec

function chunkSource(chunk: MemoryChunk, lsn: number, missing: ColumnMapper): BatchSource {
  const rows = chunk.rowsAt(lsn)
  let live: { bitmap: Uint8Array | undefined; count: number } | undefined
  const alive = (): { bitmap: Uint8Array | undefined; count: number } => (live ??= chunk.liveAt(lsn, rows))
  const loadSync = (columns: readonly ColumnDef[]): readonly Vec[] => columns.map((column) => chunk.view(column, rows, missing))
  return {
    rows,
    live: () => alive().bitmap,
    get liveCount() {
      return alive().count
    },
    load: (columns) => Promise.resolve(loadSync(columns)),
    loadSync,
    ready: () => true,
  }
}

function larger(values: Float64Array, capacity: number): Float64Array {
  const copy = new Float64Array(capacity)
  copy.set(values)
  return copy
}
