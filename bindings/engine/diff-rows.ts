// engine/diff-rows.ts: which rows two versions of a keyed table do not share, and their columns and keys, in portions that fit memory.
//
// A fragment of both versions (one identity, "<lsn>.<ordinal>", or one file) is the same rows: only where one version hides what the other shows do they differ, which two
// bitmaps tell. A row of the memory layer is the same row when its number and the LSN that wrote it agree. What is left over is read; rows that were only
// moved (a flush, a compaction) are among it on both sides, and whoever joins them by key finds them equal.
// Invariant: a row that both versions show under one identity is in neither set; everything else that one version shows is in its set.

import type { ColumnDef } from '../format/index.ts'
import {
  bitmapAll,
  bitmapAnd,
  bitmapAndNot,
  bitmapNone,
  bitmapOr,
  canonicalKeys,
  concatMany,
  copyPadded,
  filterMany,
  type KeyColumn,
  keyColumnHashes,
  KeyTable,
  makeVec,
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

/** Rows of one batch. */
export interface Picked {
  readonly source: BatchSource
  readonly bits: Uint8Array
  readonly rows: number
  /** Where the batch is: in a fragment, or a chunk of the memory layer. */
  readonly fragment: LiveFragment | undefined
  readonly chunk: MemoryChunk | undefined
  /** Its first row there, or the number of its first row in memory. */
  readonly start: number
  /** Told of each row beside its columns: bitmaps over the batch. */
  readonly flags: readonly Uint8Array[]
}

/** Rows of one version, in storage order. */
export interface RowSelection {
  readonly picks: readonly Picked[]
  readonly rows: number
}

export interface KeyedBatch extends ColumnBatch {
  /** Of the shape, then the flags of the selection as bools. */
  readonly columns: readonly Vec[]
  readonly keys: KeyColumn
  readonly picked: Picked
  /** Which rows of it these are. */
  readonly bits: Uint8Array
}

/** One of several portions of all keys, by their hash. */
export interface Portion {
  readonly part: number
  readonly parts: number
}

/** One stored batch of a version. */
interface Stored {
  readonly source: BatchSource
  readonly fragment: LiveFragment | undefined
  readonly chunk: MemoryChunk | undefined
  readonly start: number
}

/** The rows that `x` shows and `y` does not show as the same rows. */
export function rowsOnlyIn(x: TableAt, y: TableAt | undefined): RowSelection {
  const own = ownBits(x, y)
  return selection(storedOf(x).map((stored, i) => ({ stored, bits: own(stored, i), flags: [] })))
}

/** The rows of `x` that one or both of the others do not show, with two flags: not in `y`, not in `z`. */
export function rowsNotInBoth(x: TableAt, y: TableAt | undefined, z: TableAt | undefined): RowSelection {
  const [ofY, ofZ] = [ownBits(x, y), ownBits(x, z)]
  return selection(
    storedOf(x).map((stored, i) => {
      const [a, b] = [ofY(stored, i), ofZ(stored, i)]
      const none = bitmapNone(stored.source.rows)
      return { stored, bits: a === undefined || b === undefined ? (a ?? b) : bitmapOr(a, b, stored.source.rows), flags: [a ?? none, b ?? none] }
    }),
  )
}

function selection(all: readonly { readonly stored: Stored; readonly bits: Uint8Array | undefined; readonly flags: readonly Uint8Array[] }[]): RowSelection {
  const picks: Picked[] = []
  for (const { stored, bits, flags } of all) {
    const { source, fragment, chunk, start } = stored
    const rows = bits === undefined ? 0 : popcount(bits, source.rows)
    if (rows > 0) picks.push({ source, bits: bits!, rows, fragment, chunk, start, flags })
  }
  return { picks, rows: picks.reduce((sum, each) => sum + each.rows, 0) }
}

function storedOf(x: TableAt): Stored[] {
  const { fragments, layer } = x.structure
  const chunks = layer.chunks.filter((chunk) => chunk.rowsAt(x.lsn) > 0)
  return x.state.version(x.lsn, x.structure).groups.flatMap((group, i) => {
    const fragment = fragments[i]
    let start = 0
    return group.batches.map((source, at) => {
      const chunk = fragment === undefined ? chunks[at]! : undefined
      const stored = { source, fragment, chunk, start: chunk?.base ?? start }
      start += source.rows
      return stored
    })
  })
}

/** Of each stored batch of `x` the rows that `y` does not show as the same rows; undefined: none. */
function ownBits(x: TableAt, y: TableAt | undefined): (stored: Stored, at: number) => Uint8Array | undefined {
  const theirs = y !== undefined && y.state.id === x.state.id ? y : undefined
  const shared = theirs === undefined ? undefined : sameFragments(x.structure, theirs.structure)
  const known = new Map<LiveFragment, Uint8Array | undefined>()
  return ({ source, fragment, chunk, start }) => {
    if (chunk !== undefined) return ownRows(chunk, source, theirs)
    const there = shared?.get(fragment!)
    if (there === undefined) return source.live() ?? bitmapAll(source.rows)
    if (!known.has(fragment!)) known.set(fragment!, hiddenOnlyIn(there, theirs!.lsn, fragment!, x.lsn))
    const own = known.get(fragment!)
    return own === undefined ? undefined : copyPadded(own.subarray(start >> 3), source.rows)
  }
}

/**
 * Of each fragment the one of the other version that holds the same rows: of its identity, or, where only one on either side has its file, of its file: that is
 * how a merge shares them.
 */
export function sameFragments(x: Structure, y: Structure): ReadonlyMap<LiveFragment, LiveFragment> {
  const byId = new Map(y.fragments.map((fragment) => [`${fragment.lsn}.${fragment.ordinal}`, fragment]))
  const same = new Map<LiveFragment, LiveFragment>()
  for (const fragment of x.fragments) {
    const there = byId.get(`${fragment.lsn}.${fragment.ordinal}`)
    if (there !== undefined) same.set(fragment, there)
  }
  const taken = new Set(same.values())
  const [ours, theirs] = [byFile(x.fragments.filter((each) => !same.has(each))), byFile(y.fragments.filter((each) => !taken.has(each)))]
  for (const [file, [fragment, ...more]] of ours) {
    const others = theirs.get(file)
    if (more.length === 0 && others?.length === 1) same.set(fragment!, others[0]!)
  }
  return same
}

function byFile(fragments: readonly LiveFragment[]): Map<string, LiveFragment[]> {
  const files = new Map<string, LiveFragment[]>()
  for (const fragment of fragments) {
    const list = files.get(fragment.ref.digest)
    if (list === undefined) files.set(fragment.ref.digest, [fragment])
    else list.push(fragment)
  }
  return files
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
  selected: RowSelection,
  shape: RowShape,
  portion: Portion,
  between: () => Promise<void> | undefined,
): AsyncGenerator<KeyedBatch, undefined> {
  for (const picked of selected.picks) {
    await between()
    const batch = portion.parts === 1 ? await readAll(picked, picked.bits, picked.rows, shape) : await readPortion(picked, shape, portion)
    if (batch !== undefined) yield batch
  }
}

async function readAll(picked: Picked, bits: Uint8Array, rows: number, shape: RowShape): Promise<KeyedBatch> {
  const { source, flags } = picked
  const stored = await source.load(shape.columns)
  const told = flags.map((values) => makeVec({ kind: 'bool' }, source.rows, { values }))
  const columns = filterMany([...stored, ...told], bits, source.rows, rows)
  return { length: rows, columns, keys: keysOf(columns, shape), picked, bits }
}

/** Keys first: a batch without a row of the portion costs no more. */
async function readPortion(picked: Picked, shape: RowShape, { part, parts }: Portion): Promise<KeyedBatch | undefined> {
  const { source, bits } = picked
  const keyColumns = await source.load(shape.keyAt.map((at) => shape.columns[at]!))
  const hashes = keyColumnHashes(canonicalKeys(keyColumns, shape.keyKinds, 0, source.rows))
  const inside = bitmapNone(source.rows)
  for (let row = 0; row < source.rows; row++) if ((hashes[2 * row + 1]! >>> 8) % parts === part) inside[row >> 3]! |= 1 << (row & 7)
  const chosen = bitmapAnd(bits, inside, source.rows)
  const count = popcount(chosen, source.rows)
  return count === 0 ? undefined : readAll(picked, chosen, count, shape)
}

const NO_KEYS: KeyColumn = { rows: 0, stride: 8, data: new Uint8Array(0), ends: undefined }

/** Keys of rows that have the columns of the shape; of a table without a key none. */
export function keysOf(columns: readonly Vec[], { keyAt, keyKinds }: RowShape): KeyColumn {
  if (keyAt.length === 0) return NO_KEYS
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
const PORTION_ROWS = 2 * 1024 * 1024
const PORTION_BYTES = 64 * 1024 * 1024
/** Not worth a look at what a row is. */
const FEW_ROWS = 256

/** Portions in which the rows that are held at a time fit their share of memory. */
export async function portionsOf(held: readonly RowSelection[], shape: RowShape): Promise<number> {
  const rows = held.reduce((sum, each) => sum + each.rows, 0)
  const first = held.flatMap(({ picks }) => picks)[0]
  if (first === undefined || rows <= FEW_ROWS) return 1
  // What a row is in memory, told by the first batch: rows of one table are much alike.
  const bytes = batchBytes({ length: first.source.rows, columns: await first.source.load(shape.columns) }) / first.source.rows
  return Math.max(1, Math.ceil(rows / PORTION_ROWS), Math.ceil((rows * bytes) / PORTION_BYTES))
}
