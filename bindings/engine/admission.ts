// engine/admission.ts: may these rows follow what is there? Keys to positions: which older rows a write hides, and which keys it must not meet.
//
// Admission is made against the state with everything queued, synchronously, right before the record is queued: so it is first committer wins by itself.
// When an index or a column must be read first it says so with a promise; the caller waits and asks again.

import { DuplicateKeyError } from '../errors.ts'
import type { FragmentHides } from '../format/index.ts'
import { NO_ROW, repeatedKeys } from '../kernels/index.ts'
import {
  findKey,
  findKeysNow,
  findKeySync,
  formatKey,
  type FoundRows,
  type KeyLayout,
  keyObjectFromBytes,
  type LiveFragment,
  type Place,
  type RowKeys,
  type TableState,
  type TableView,
} from '../table/index.ts'
import { RowSet } from './row-set.ts'

/** The LSN that sees everything queued. */
export const NOW: number = Number.MAX_SAFE_INTEGER

/** Rows that a change hides, by position, each once. */
export class HideSet {
  readonly rows: Set<number> = new Set()
  /** By identity of the fragment: the objects are replaced, the numbers stay. */
  private readonly fragments: Map<string, { readonly lsn: number; readonly ordinal: number; readonly rows: RowSet }> = new Map()

  get size(): number {
    let size = this.rows.size
    for (const { rows } of this.fragments.values()) size += rows.size
    return size
  }

  add({ fragment, row }: Place): void {
    if (fragment === undefined) this.rows.add(row)
    else this.rowsOf(fragment).add(row)
  }

  has({ fragment, row }: Place): boolean {
    if (fragment === undefined) return this.rows.has(row)
    return this.fragments.get(`${fragment.lsn}.${fragment.ordinal}`)?.rows.has(row) ?? false
  }

  /** Without the rows that are no longer there to hide. */
  stillLive(table: TableState): HideSet {
    const live = new HideSet()
    const { layer, fragments } = table.now
    for (const row of this.rows) if (layer.isLive(row)) live.rows.add(row)
    for (const { lsn, ordinal, rows } of this.fragments.values()) {
      const fragment = fragments.find((each) => each.lsn === lsn && each.ordinal === ordinal)
      if (fragment === undefined) continue
      const kept = live.rowsOf(fragment)
      for (const row of rows.sorted()) if (!fragment.hides.isHidden(row, NOW)) kept.add(row)
    }
    return live
  }

  /** As a record has them: ascending. */
  parts(): { hideRows?: readonly number[]; hides?: readonly FragmentHides[] } {
    const hides: FragmentHides[] = []
    for (const { lsn, ordinal, rows } of this.fragments.values()) if (rows.size > 0) hides.push({ lsn, ordinal, rows: rows.sorted() })
    const hideRows = this.rows.size === 0 ? undefined : [...this.rows].sort((x, y) => x - y)
    return { ...(hideRows === undefined ? {} : { hideRows }), ...(hides.length === 0 ? {} : { hides }) }
  }

  /** Each row, while its fragment is one of the table's. */
  *places(table: TableState): Generator<Place, undefined> {
    for (const row of this.rows) yield { fragment: undefined, row }
    for (const { lsn, ordinal, rows } of this.fragments.values()) {
      const fragment = table.now.fragments.find((each) => each.lsn === lsn && each.ordinal === ordinal)
      if (fragment !== undefined) for (const row of rows.sorted()) yield { fragment, row }
    }
  }

  rowsOf({ lsn, ordinal, ref }: LiveFragment): RowSet {
    const id = `${lsn}.${ordinal}`
    let held = this.fragments.get(id)
    if (held === undefined) this.fragments.set(id, (held = { lsn, ordinal, rows: new RowSet(ref.rows) }))
    return held.rows
  }
}

/** Fewer keys cost less one by one than put together. */
const JOIN_ROWS_MIN = 64

/** Rounds of waiting for reads before admission reads blocking: a cache too small for its working set must not loop for ever. */
export const READ_ROUNDS = 3

/**
 * The live rows that hold these keys now (`layout` of a unique constraint: these tuples), or a promise to wait for before asking again.
 * `blocking`: read at once where something is missing.
 */
export function placesOf(table: TableState, keys: RowKeys, blocking: boolean, layout: KeyLayout = table.keyLayout!): (Place | undefined)[] | Promise<void> {
  const structure = table.now
  if (keys.rows >= JOIN_ROWS_MIN && structure.fragments.length > 0) {
    const found = findKeysNow(structure, NOW, keys, layout)
    if (found !== undefined) return placesFrom(found, keys.rows)
  }
  const places: (Place | undefined)[] = []
  let waits: Promise<unknown>[] | undefined
  for (let row = 0; row < keys.rows; row++) {
    const start = keys.start(row)
    const end = keys.end(row)
    const layerRow = structure.layer.find(keys.data, start, end, NOW, layout)
    if (layerRow >= 0) {
      places.push({ fragment: undefined, row: layerRow })
      continue
    }
    if (structure.fragments.length === 0) {
      places.push(undefined)
      continue
    }
    const key = keys.data.subarray(start, end)
    const place = blocking ? findKeySync(structure, NOW, key, layout) : findKey(structure, NOW, key, layout)
    if (place instanceof Promise) (waits ??= []).push(place)
    else places.push(place)
  }
  if (waits !== undefined) return Promise.all(waits).then(() => undefined)
  return places
}

function placesFrom(found: readonly FoundRows[], count: number): (Place | undefined)[] {
  const places = Array.from<Place | undefined>({ length: count })
  for (const { fragment, rows, keys } of found) for (let i = 0; i < rows.length; i++) places[keys[i]!] = { fragment, row: rows[i]! }
  return places
}

/** @throws DuplicateKeyError for the first row whose key is there already */
export function refuseExisting(table: TableState, view: TableView, keys: RowKeys, places: readonly (Place | undefined)[], firstRow: number = 0): void {
  for (let row = 0; row < places.length; row++) {
    const place = places[row]
    if (place !== undefined) throw refuseKey(table, view, keys.data.subarray(keys.start(row), keys.end(row)), place, firstRow + row)
  }
}

/** @throws DuplicateKeyError for the first row whose key was found */
export function refuseFound(table: TableState, view: TableView, keys: RowKeys, found: readonly FoundRows[], firstRow: number): void {
  let first: { readonly key: number; readonly place: Place } | undefined
  for (const { fragment, rows, keys: numbers } of found) {
    numbers.forEach((key, i) => {
      if (first === undefined || key < first.key) first = { key, place: { fragment, row: rows[i]! } }
    })
  }
  if (first === undefined) return
  const { key, place } = first
  throw refuseKey(table, view, keys.data.subarray(keys.start(key), keys.end(key)), place, firstRow + key)
}

/** The error for a key that is there already. */
export function refuseKey(table: TableState, view: TableView, key: Uint8Array, place: Place, row: number): DuplicateKeyError {
  const values = keyObjectFromBytes(view, key)
  const since = place.fragment === undefined ? table.now.layer.lsnOf(place.row) : place.fragment.lsn
  return new DuplicateKeyError(`${table.name} row ${row}: key ${formatKey(values)} exists since LSN ${since}`, {
    details: { table: table.name, columns: keyNames(view), values, rows: [row] },
  })
}

/** Two rows of one call with the same key: the earlier and the later; undefined when all differ. */
export function duplicateIn(table: TableState, keys: RowKeys): { first: number; second: number } | undefined {
  const before = repeatedKeys(keys, { lo: table.seed, hi: ~table.seed })
  if (before === undefined) return undefined
  const second = before.findIndex((row) => row !== NO_ROW)
  return { first: before[second]!, second }
}

/** Of equal keys only the last row stays: the rows to keep, ascending; undefined when all do. */
export function lastOfEach(table: TableState, keys: RowKeys): Uint32Array | undefined {
  const before = repeatedKeys(keys, { lo: table.seed, hi: ~table.seed })
  if (before === undefined) return undefined
  const replaced = new Set(before)
  return Uint32Array.from({ length: keys.rows }, (_, row) => row).filter((row) => !replaced.has(row))
}

/** The error for a key that one call holds twice. */
export function duplicateKeyError(view: TableView, key: Uint8Array, first: number, second: number, op: string): DuplicateKeyError {
  const values = keyObjectFromBytes(view, key)
  return new DuplicateKeyError(`${view.schema.name} rows ${first} and ${second}: key ${formatKey(values)} twice in one ${op}; upsert keeps the last`, {
    details: { table: view.schema.name, columns: keyNames(view), values, rows: [first, second] },
  })
}

function keyNames(view: TableView): string[] {
  return view.key.map((column) => column.name)
}
