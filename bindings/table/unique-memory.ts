// table/unique-memory.ts: the tuples of one unique constraint among the rows of a memory layer: a hash index from canonical bytes to row number.
//
// Made when it is first asked, then kept up with the rows that came since. It answers for everything queued: older positions nobody asks.
// Invariant: of the rows with one tuple at most one is live, and it is the newest: a tuple is given again only once its row is hidden.

import type { Vec } from '../kernels/index.ts'
import { KERNEL_ROWS_MIN, type KeyLayout } from './key-layout.ts'
import { hashKey, KeyRun, MemoryIndex } from './memory-index.ts'
import type { MemoryChunk } from './memory-layer.ts'
import { missingVec } from './missing-column.ts'
import { isValid } from './vec-views.ts'

/** What it needs of its layer. */
export interface UniqueRows {
  readonly seed: number
  readonly base: number
  readonly chunks: readonly MemoryChunk[]
  /** Number of the next row. */
  readonly next: number
  chunkOf(row: number): MemoryChunk
}

/** The tuples of a chunk, by row. */
class ChunkTuples {
  /** Of an exempt row nothing of meaning. */
  readonly run: KeyRun
  /** Bits of the rows that have one. */
  present: Uint8Array<ArrayBuffer> = new Uint8Array(8)

  /** The columns as the chunk has them: it may be of an older definition than the constraint, or of a newer one. */
  readonly layout: KeyLayout

  constructor({ schema }: MemoryChunk, layout: KeyLayout) {
    this.layout = layout.fit(schema)
    this.run = new KeyRun(layout.stride)
  }

  /** Room for so many rows. */
  reserve(rows: number): void {
    if (rows <= this.present.length * 8) return
    const larger = new Uint8Array(Math.max((rows + 7) >> 3, this.present.length * 2))
    larger.set(this.present)
    this.present = larger
  }
}

export class UniqueMemory {
  private readonly layer: UniqueRows
  private readonly layout: KeyLayout
  private readonly index: MemoryIndex
  private readonly chunks = new Map<MemoryChunk, ChunkTuples>()
  private indexedRow: number

  constructor(layer: UniqueRows, layout: KeyLayout) {
    this.layer = layer
    this.layout = layout
    this.indexedRow = layer.base
    this.index = new MemoryIndex((ref, bytes, start, end) => {
      const row = layer.base + ref
      const chunk = layer.chunkOf(row)
      return this.chunks.get(chunk)!.run.equals(row - chunk.base, bytes, start, end)
    })
  }

  get byteLength(): number {
    let bytes = this.index.byteLength
    for (const { run, present } of this.chunks.values()) bytes += run.byteLength + present.length
    return bytes
  }

  /** Number of the newest row with the tuple, live or not, or -1. */
  find(bytes: Uint8Array, start: number, end: number): number {
    this.indexAll()
    const ref = this.index.find(hashKey(bytes, start, end, this.layer.seed), bytes, start, end)
    return ref < 0 ? -1 : this.layer.base + ref
  }

  /** Canonical tuple of a row; undefined: it is exempt. Good until the next row comes. */
  tupleOf(row: number): Uint8Array | undefined {
    this.indexAll()
    const chunk = this.layer.chunkOf(row)
    const at = row - chunk.base
    const { run, present } = this.chunks.get(chunk)!
    return ((present[at >> 3]! >> (at & 7)) & 1) === 1 ? run.data.subarray(run.start(at), run.end(at)) : undefined
  }

  private indexAll(): void {
    const { layer, layout } = this
    if (this.indexedRow >= layer.next) return
    for (const chunk of layer.chunks) {
      if (chunk.base + chunk.rows <= this.indexedRow) continue
      let tuples = this.chunks.get(chunk)
      if (tuples === undefined) this.chunks.set(chunk, (tuples = new ChunkTuples(chunk, layout)))
      const { run } = tuples
      tuples.reserve(chunk.rows)
      const from = run.rows
      // Kernels take exact columns; a few rows are read where they lie.
      const vecs = vecsOf(chunk, tuples.layout, chunk.rows - from >= KERNEL_ROWS_MIN)
      tuples.layout.pushVecs(vecs, from, chunk.rows, run)
      for (let at = from; at < chunk.rows; at++) {
        if (!isPresent(vecs, at)) continue
        tuples.present[at >> 3]! |= 1 << (at & 7)
        const start = run.start(at)
        const end = run.end(at)
        this.index.put(hashKey(run.data, start, end, layer.seed), run.data, start, end, chunk.base + at - layer.base)
      }
    }
    this.indexedRow = layer.next
  }
}

function vecsOf(chunk: MemoryChunk, { columns, defs }: KeyLayout, exact: boolean): Vec[] {
  return columns.map((id, i) => {
    const at = chunk.schema.columns.findIndex((column) => column.id === id && column.type === defs[i]!.type)
    if (at < 0) return chunk.view(defs[i]!, chunk.rows, missingVec)
    return exact ? chunk.columns[at]!.view(chunk.rows) : chunk.columns[at]!.raw()
  })
}

function isPresent(vecs: readonly Vec[], row: number): boolean {
  for (const vec of vecs) if (!isValid(vec, row)) return false
  return true
}
