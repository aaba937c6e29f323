// table/point-read.ts: where a key's row is: memory layer, else the fragments newest first; no promise and no I/O when everything asked is in memory.
//
// Invariant: at one LSN a key has at most one live row, and a fragment holds a key at most once.

import type { ColumnDef } from '../format/index.ts'
import { slice, xxh3 } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'
import { fitVec } from './column-fit.ts'
import type { Accept } from './fragment-keys.ts'
import type { KeyLayout } from './key-layout.ts'
import type { LiveFragment, Structure } from './table-state.ts'

const FILTER_FIRST_MIN = 4
const WORD_BYTES = 8
const INDEXES_AT_ONCE = 8

/** A live row: in the memory layer (`fragment` undefined, `row` = row number), or in a fragment. */
export interface Place {
  readonly fragment: LiveFragment | undefined
  readonly row: number
  /** The columns wanted along with it, of its batch, where they had to be read. */
  readonly vecs?: readonly Vec[]
}

/** The row of `key` (canonical bytes; with the `layout` of a unique constraint: the row of its tuple) as readers at `lsn` see it. A promise only when an index or a column must be read first. */
export function findKey(
  structure: Structure,
  lsn: number,
  key: Uint8Array,
  layout?: KeyLayout,
  want?: readonly ColumnDef[],
): Place | undefined | Promise<Place | undefined> {
  const row = structure.layer.find(key, 0, key.length, lsn, layout)
  if (row >= 0) return { fragment: undefined, row }
  const { fragments } = structure
  if (fragments.length === 0) return undefined
  return findInFragments(fragments, fragments.length - 1, { lsn, key, layout, want })
}

interface Sought {
  readonly lsn: number
  readonly key: Uint8Array
  readonly layout: KeyLayout | undefined
  readonly want: readonly ColumnDef[] | undefined
}

function findInFragments(fragments: readonly LiveFragment[], from: number, sought: Sought): Place | undefined | Promise<Place | undefined> {
  const { lsn, key, layout, want } = sought
  // Bounds of one word cost less than a look into a filter. Others are compared by type: among many fragments their filters say no sooner.
  const boundsFirst = key.length === WORD_BYTES
  let hash = from >= FILTER_FIRST_MIN && !boundsFirst ? xxh3(key) : undefined
  for (let i = from; i >= 0; i--) {
    const fragment = fragments[i]!
    if (boundsFirst && !fragment.reader.mayHold(key, layout)) continue
    if (hash !== undefined && fragment.reader.lacks(hash.lo, hash.hi, layout)) continue
    if (!boundsFirst && !fragment.reader.mayHold(key, layout)) continue
    hash ??= xxh3(key)
    if (!fragment.reader.isIndexed(layout)) openIndexes(fragments, i, key, layout)
    const row = fragment.reader.lookup(hash.lo, hash.hi, key, layout, liveRows(fragment, lsn, layout), want)
    if (typeof row !== 'number') {
      return row.then((found) => (isLive(fragment, found.row, lsn) ? { fragment, ...found } : findInFragments(fragments, i - 1, sought)))
    }
    if (isLive(fragment, row, lsn)) return { fragment, row }
  }
  return undefined
}

/** The first look-ups of a process: indexes of fragments that may hold the key are read some at the same time. */
function openIndexes(fragments: readonly LiveFragment[], from: number, key: Uint8Array, layout: KeyLayout | undefined): void {
  let begun = 0
  for (let i = from; i >= 0 && begun < INDEXES_AT_ONCE; i--) {
    const { reader } = fragments[i]!
    if (reader.isIndexed(layout) || !reader.mayHold(key, layout)) continue
    begun++
    // Whoever needs it meets the error.
    reader.openIndex(layout).catch(() => undefined)
  }
}

/** A fragment may have the tuple of a constraint in hidden rows too; undefined: its key is in one row. */
export function liveRows({ hides }: LiveFragment, lsn: number, layout: KeyLayout | undefined): Accept | undefined {
  return layout === undefined || layout.isKey ? undefined : (row) => !hides.isHidden(row, lsn)
}

function isLive(fragment: LiveFragment, row: number, lsn: number): boolean {
  return row >= 0 && !fragment.hides.isHidden(row, lsn)
}

/** The same, blocking: memory and local roots. */
export function findKeySync(structure: Structure, lsn: number, key: Uint8Array, layout?: KeyLayout): Place | undefined {
  const row = structure.layer.find(key, 0, key.length, lsn, layout)
  if (row >= 0) return { fragment: undefined, row }
  let hash: { lo: number; hi: number } | undefined
  for (let i = structure.fragments.length - 1; i >= 0; i--) {
    const fragment = structure.fragments[i]!
    if (!fragment.reader.mayHold(key, layout)) continue
    hash ??= xxh3(key)
    const found = fragment.reader.lookupSync(hash.lo, hash.hi, key, layout, liveRows(fragment, lsn, layout))
    if (isLive(fragment, found, lsn)) return { fragment, row: found }
  }
  return undefined
}

/** The columns that hold a place's row, and its row in them. */
export interface RowVecs {
  readonly vecs: readonly Vec[]
  readonly row: number
}

export function readPlace(
  structure: Structure,
  place: Place,
  columns: readonly ColumnDef[],
  missing: (column: ColumnDef, rows: number) => Vec,
): RowVecs | Promise<RowVecs> {
  const { fragment, row } = place
  if (fragment === undefined) return readLayer(structure, row, columns, missing)
  const { batchRows } = fragment.ref
  const batch = Math.floor(row / batchRows)
  const at = row - batch * batchRows
  if (fragment.reader.ready(batch, columns)) return { vecs: fragment.reader.loadSync(batch, columns), row: at }
  return fragment.reader.loadRow(batch, columns).then((vecs) => ({ vecs, row: at }))
}

export function readPlaceSync(structure: Structure, place: Place, columns: readonly ColumnDef[], missing: (column: ColumnDef, rows: number) => Vec): RowVecs {
  const { fragment, row } = place
  if (fragment === undefined) return readLayer(structure, row, columns, missing)
  const { batchRows } = fragment.ref
  const batch = Math.floor(row / batchRows)
  return { vecs: fragment.reader.loadSync(batch, columns), row: row - batch * batchRows }
}

function readLayer(structure: Structure, row: number, columns: readonly ColumnDef[], missing: (column: ColumnDef, rows: number) => Vec): RowVecs {
  const chunk = structure.layer.chunkOf(row)
  const at = row - chunk.base
  const { schema } = chunk
  const placeOf = (column: ColumnDef): number => schema.columns.findIndex((candidate) => candidate.id === column.id)
  if (schema === structure.schema) return { vecs: columns.map((column) => chunk.columns[placeOf(column)]!.raw()), row: at }
  // Rows of an older definition: only this one is converted.
  const vecs = columns.map((column) => {
    const place = placeOf(column)
    return place < 0 ? missing(column, 1) : fitVec(slice(chunk.columns[place]!.view(chunk.rows), at, at + 1), schema.columns[place]!.type, column)
  })
  return { vecs, row: 0 }
}
