// engine/diff-rows.ts: which rows two versions of a keyed table do not share, and their columns and keys, in portions that fit memory.
//
// A fragment of both versions (one identity, "<lsn>.<ordinal>") is the same rows: only where one version hides what the other shows do they differ, which two
// bitmaps tell. A row of the memory layer is the same row when its number and the LSN that wrote it agree. What is left over is read; rows that were only
// moved (a flush, a compaction) are among it on both sides, and whoever joins them by key finds them equal.
// Invariant: a row that both versions show under one identity is in neither set; everything else that one version shows is in its set.

import type { ColumnDef } from '../format/index.ts'
import {
  bitmapAll,
  bitmapAnd,
  bitmapAndNot,
  bitmapNone,
  canonicalKeys,
  concatMany,
  copyPadded,
  filterMany,
  type KeyColumn,
  keyColumnHashes,
  KeyTable,
  NO_ROW,
  popcount,
  type ValueKind,
  type Vec,
} from '../kernels/index.ts'
import { batchBytes, type BatchSource, type ColumnBatch, type LiveFragment, type MemoryChunk, type Structure, type TableState } from '../table/index.ts'

/** A table at one version. */
export interface TableAt {
  readonly state: TableState
  readonly structure: Structure
  readonly lsn: number
}

/** What is read of a row, and which of it is the key. */
export interface RowShape {
  readonly columns: readonly ColumnDef[]
  /** Places of the key columns, in key order. */
  readonly keyAt: readonly number[]
  readonly keyKinds: readonly ValueKind[]
}

interface Picked {
  readonly source: BatchSource
  readonly bits: Uint8Array
  readonly rows: number
}

/** Rows of one version, in storage order. */
export interface RowSelection {
  readonly picks: readonly Picked[]
  readonly rows: number
}

export interface KeyedBatch extends ColumnBatch {
  readonly keys: KeyColumn
}

/** One of several portions of all keys, by their hash. */
export interface Portion {
  readonly part: number
  readonly parts: number
}

/** The rows that `x` shows and `y` does not show as the same rows. */
export function rowsOnlyIn(x: TableAt, y: TableAt | undefined): RowSelection {
  const theirs = y !== undefined && y.state.id === x.state.id ? y : undefined
  const inTheirs = new Map(theirs?.structure.fragments.map((fragment) => [`${fragment.lsn}.${fragment.ordinal}`, fragment]))
  const picks: Picked[] = []
  const { groups } = x.state.version(x.lsn, x.structure)
  groups.forEach((group, i) => {
    const fragment = x.structure.fragments[i]
    if (fragment === undefined) {
      const chunks = x.structure.layer.chunks.filter((chunk) => chunk.rowsAt(x.lsn) > 0)
      group.batches.forEach((source, at) => pick(picks, source, ownRows(chunks[at]!, source, theirs)))
      return
    }
    const shared = inTheirs.get(group.id)
    const own = shared === undefined ? undefined : hiddenOnlyIn(shared, theirs!.lsn, fragment, x.lsn)
    if (shared !== undefined && own === undefined) return
    let start = 0
    for (const source of group.batches) {
      pick(picks, source, own === undefined ? (source.live() ?? bitmapAll(source.rows)) : copyPadded(own.subarray(start >> 3), source.rows))
      start += source.rows
    }
  })
  return { picks, rows: picks.reduce((sum, each) => sum + each.rows, 0) }
}

function pick(picks: Picked[], source: BatchSource, bits: Uint8Array): void {
  const rows = popcount(bits, source.rows)
  if (rows > 0) picks.push({ source, bits, rows })
}

/** Rows that `theirs` hides and `ours` shows; undefined: none. */
function hiddenOnlyIn(theirs: LiveFragment, theirLsn: number, ours: LiveFragment, lsn: number): Uint8Array | undefined {
  const hidden = theirs.hides.hiddenAt(theirLsn)
  if (hidden === undefined) return undefined
  const own = ours.hides.hiddenAt(lsn)
  if (own === hidden) return undefined
  return own === undefined ? hidden : bitmapAndNot(hidden, own, ours.ref.rows)
}

/** Live rows of a chunk of the memory layer that are not live in the other version's. */
function ownRows(chunk: MemoryChunk, source: BatchSource, theirs: TableAt | undefined): Uint8Array {
  const live = source.live() ?? bitmapAll(source.rows)
  if (theirs === undefined || theirs.structure.layer.chunks.length === 0) return live
  const { layer } = theirs.structure
  const other = bitmapNone(source.rows)
  for (let row = 0; row < source.rows;) {
    const number = chunk.base + row
    if (!layer.has(number)) {
      row++
      continue
    }
    const there = layer.chunkOf(number)
    const end = Math.min(source.rows, row + there.base + there.rows - number)
    for (; row < end; row++) {
      const at = chunk.base + row - there.base
      const isSame = there.insertLsn[at] === chunk.insertLsn[row] && there.insertLsn[at]! <= theirs.lsn && there.hiddenAt[at]! > theirs.lsn
      if (isSame) other[row >> 3]! |= 1 << (row & 7)
    }
  }
  return bitmapAndNot(live, other, source.rows)
}

/** The selected rows of one portion, batch by batch. @param between  called before each batch is read */
export async function* readRows(
  selection: RowSelection,
  shape: RowShape,
  portion: Portion,
  between: () => Promise<void> | undefined,
): AsyncGenerator<KeyedBatch, undefined> {
  for (const { source, bits, rows } of selection.picks) {
    await between()
    const batch = portion.parts === 1 ? await readAll(source, bits, rows, shape) : await readPortion(source, bits, shape, portion)
    if (batch !== undefined) yield batch
  }
}

async function readAll(source: BatchSource, bits: Uint8Array, rows: number, shape: RowShape): Promise<KeyedBatch> {
  const columns = filterMany(await source.load(shape.columns), bits, source.rows, rows)
  return { length: rows, columns, keys: keysOf(columns, shape) }
}

/** Keys first: a batch without a row of the portion costs no more. */
async function readPortion(source: BatchSource, bits: Uint8Array, shape: RowShape, { part, parts }: Portion): Promise<KeyedBatch | undefined> {
  const keyColumns = await source.load(shape.keyAt.map((at) => shape.columns[at]!))
  const hashes = keyColumnHashes(canonicalKeys(keyColumns, shape.keyKinds, 0, source.rows))
  const inside = bitmapNone(source.rows)
  for (let row = 0; row < source.rows; row++) if ((hashes[2 * row + 1]! >>> 8) % parts === part) inside[row >> 3]! |= 1 << (row & 7)
  const chosen = bitmapAnd(bits, inside, source.rows)
  const count = popcount(chosen, source.rows)
  return count === 0 ? undefined : readAll(source, chosen, count, shape)
}

function keysOf(columns: readonly Vec[], { keyAt, keyKinds }: RowShape): KeyColumn {
  return canonicalKeys(
    keyAt.map((at) => columns[at]!),
    keyKinds,
  )
}

/** Rows in memory, found by key. */
export class Pile {
  readonly rows: number
  readonly columns: readonly Vec[]
  /** In the order of the rows. */
  readonly keys: readonly KeyColumn[]
  readonly #table: KeyTable | undefined

  private constructor(rows: number, columns: readonly Vec[], keys: readonly KeyColumn[], table: KeyTable | undefined) {
    this.rows = rows
    this.columns = columns
    this.keys = keys
    this.#table = table
  }

  static async of(batches: AsyncIterable<KeyedBatch>, seed: number): Promise<Pile> {
    const parts: (readonly Vec[])[] = []
    const keys: KeyColumn[] = []
    let table: KeyTable | undefined
    let rows = 0
    for await (const batch of batches) {
      table ??= new KeyTable(batch.keys.stride, { lo: seed, hi: ~seed })
      table.put(batch.keys)
      parts.push(batch.columns)
      keys.push(batch.keys)
      rows += batch.length
    }
    return new Pile(rows, parts.length === 0 ? [] : parts.length === 1 ? parts[0]! : concatMany(parts), keys, table)
  }

  /** Of each key its row, or NO_ROW. */
  find(keys: KeyColumn): Uint32Array {
    return this.#table === undefined ? new Uint32Array(keys.rows).fill(NO_ROW) : this.#table.find(keys)
  }
}

/** Rows and bytes of columns that are held at a time. */
const PORTION_ROWS = 1024 * 1024
const PORTION_BYTES = 64 * 1024 * 1024
/** Not worth a look at what a row is. */
const FEW_ROWS = 256

/** Portions in which the rows that are held at a time fit their share of memory. */
export async function portionsOf(selection: RowSelection, shape: RowShape): Promise<number> {
  const first = selection.picks[0]
  if (first === undefined || selection.rows <= FEW_ROWS) return 1
  // What a row is in memory, told by the first batch: rows of one table are much alike.
  const bytes = batchBytes({ length: first.source.rows, columns: await first.source.load(shape.columns) }) / first.source.rows
  return Math.max(1, Math.ceil(selection.rows / PORTION_ROWS), Math.ceil((selection.rows * bytes) / PORTION_BYTES))
}
