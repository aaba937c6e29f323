// upkeep/merge-runs.ts: the live rows of fragments whose keys overlap, as one sequence in key order, batch by batch.
//
// Each fragment in key order is a run that is read batch by batch; small ones and those in another order are sorted in memory first, in pieces. Each step takes
// from every run what is not behind a common key (the smallest of the keys that stand some rows ahead in each), and merges that with the kernel.
// Invariant: a step holds at most STEP_ROWS rows besides one batch a run; each row's place is told as it goes out.

import { assert } from '../assert.ts'
import type { ColumnDef } from '../format/index.ts'
import { compareRows, type KeyPart } from '../indexes/index.ts'
import { bitmapToIndices, concatMany, mergeRuns, slice, sortIndices, take, takeMany, type Vec } from '../kernels/index.ts'
import type { ColumnBatch } from '../table/index.ts'
import type { RowSource } from './row-source.ts'

/** Rows merged at a time: a few milliseconds of kernels. */
const STEP_ROWS = 131_072
/** Rows sorted in memory at a time. */
const SORT_ROWS = 65_536

export interface MergeOptions {
  readonly columns: readonly ColumnDef[]
  /** The key, as places in `columns`. */
  readonly parts: readonly KeyPart[]
  readonly signal: AbortSignal
  /** After each piece of work. */
  readonly pace: (bytes: number) => Promise<void> | undefined
}

/** Rows in key order with the place of each in `places`, a view for each source. */
interface Piece extends ColumnBatch {
  /** Number of each row over all sources. */
  readonly numbers: Uint32Array
}

interface Run {
  piece: Piece
  /** The key columns of the piece. */
  keys: readonly Vec[]
  /** Rows of the piece that have gone out. */
  at: number
  readonly next: () => Promise<Piece | undefined>
}

/** @param first  place of the first row in the output */
export async function* mergeSources(sources: readonly RowSource[], first: number, o: MergeOptions): AsyncGenerator<ColumnBatch, undefined> {
  const bases: number[] = []
  const places: Uint32Array[] = []
  let total = 0
  for (const source of sources) {
    bases.push(total)
    places.push(source.isMerged())
    total += source.rows
  }
  // One number a row: which source, and which of its rows.
  const tell = placesTold(bases, places, first)
  for await (const piece of mergedPieces(sources, bases, o)) {
    tell(piece.numbers)
    yield piece
  }
}

function placesTold(bases: readonly number[], places: readonly Uint32Array[], first: number): (numbers: Uint32Array) => void {
  let out = first
  let source = 0
  return (numbers) => {
    for (let i = 0; i < numbers.length; i++) {
      const number = numbers[i]!
      if (number < bases[source]! || number >= bases[source]! + places[source]!.length) source = sourceOf(bases, number)
      places[source]![number - bases[source]!] = out++
    }
  }
}

/** The last base at or below the number; fragments have rows, so bases ascend. */
function sourceOf(bases: readonly number[], number: number): number {
  let low = 0
  let high = bases.length
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (bases[middle]! <= number) low = middle
    else high = middle
  }
  return low
}

async function* mergedPieces(sources: readonly RowSource[], bases: readonly number[], o: MergeOptions): AsyncGenerator<Piece, undefined> {
  const runs = await openRuns(sources, bases, o)
  while (runs.length > 0) {
    for (let i = runs.length - 1; i >= 0; i--) if (!(await refill(runs[i]!, o))) runs.splice(i, 1)
    if (runs.length === 0) return
    const [only] = runs
    if (runs.length === 1) {
      const { piece, at } = only!
      only!.at = piece.length
      yield sliced(piece, at, piece.length)
      continue
    }
    yield step(runs, o.parts)
    const waiting = o.pace(0)
    if (waiting !== undefined) await waiting
  }
}

/** False: the run is over. */
async function refill(run: Run, o: MergeOptions): Promise<boolean> {
  while (run.at === run.piece.length) {
    const piece = await run.next()
    if (piece === undefined) return false
    run.piece = piece
    run.keys = o.parts.map((part) => piece.columns[part.index]!)
    run.at = 0
  }
  return true
}

/** What of all runs is not behind the smallest key that stands some rows ahead. */
function step(runs: readonly Run[], parts: readonly KeyPart[]): Piece {
  const ahead = Math.max(1, Math.floor(STEP_ROWS / runs.length))
  let least: Run | undefined
  let row = 0
  for (const run of runs) {
    const candidate = Math.min(run.at + ahead, run.piece.length) - 1
    if (least !== undefined && compareRows(parts, run.keys, candidate, least.keys, row) >= 0) continue
    least = run
    row = candidate
  }
  const pieces: Piece[] = []
  for (const run of runs) {
    const end = run === least ? row + 1 : upperBound(run, parts, least!.keys, row)
    if (end > run.at) pieces.push(sliced(run.piece, run.at, end))
    run.at = end
  }
  return merged(pieces, parts)
}

/** The first row of the run from where it stands whose key is behind the given one. */
function upperBound(run: Run, parts: readonly KeyPart[], keys: readonly Vec[], row: number): number {
  let low = run.at
  let high = run.piece.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (compareRows(parts, run.keys, middle, keys, row) <= 0) low = middle + 1
    else high = middle
  }
  return low
}

function merged(pieces: readonly Piece[], parts: readonly KeyPart[]): Piece {
  if (pieces.length === 1) return pieces[0]!
  const order = mergeRuns(pieces.map(({ columns }) => parts.map((part) => ({ vec: columns[part.index]!, kind: part.kind }))))
  const columns = takeMany(concatMany(pieces.map((piece) => piece.columns)), order)
  return { length: order.length, columns, numbers: picked(joined(pieces), order) }
}

function sliced(piece: Piece, start: number, end: number): Piece {
  if (start === 0 && end === piece.length) return piece
  return { length: end - start, columns: piece.columns.map((column) => slice(column, start, end)), numbers: piece.numbers.subarray(start, end) }
}

function joined(pieces: readonly Piece[]): Uint32Array {
  const numbers = new Uint32Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    numbers.set(piece.numbers, at)
    at += piece.length
  }
  return numbers
}

function picked(numbers: Uint32Array, order: Uint32Array): Uint32Array {
  return order.map((row) => numbers[row]!)
}

/** Large fragments in key order are read as they are asked for; everything else is sorted in memory, in pieces of SORT_ROWS. */
async function openRuns(sources: readonly RowSource[], bases: readonly number[], o: MergeOptions): Promise<Run[]> {
  const runs: Run[] = []
  let loose: Piece[] = []
  let looseRows = 0
  const gather = (): void => {
    if (loose.length > 0) runs.push(runOf(sorted(loose, o.parts), o))
    loose = []
    looseRows = 0
  }
  for (const [i, source] of sources.entries()) {
    if (source.isSorted && source.rows >= SORT_ROWS) {
      runs.push(streamed(source, bases[i]!, o))
      continue
    }
    for (let batch = 0; batch < source.batchCount; batch++) {
      const piece = await load(source, bases[i]!, batch, o)
      if (piece.length === 0) continue
      if (looseRows + piece.length > SORT_ROWS) gather()
      loose.push(piece)
      looseRows += piece.length
    }
  }
  gather()
  return runs
}

const NOTHING: Piece = { length: 0, columns: [], numbers: new Uint32Array(0) }

function runOf(piece: Piece, o: MergeOptions): Run {
  return { piece, keys: o.parts.map((part) => piece.columns[part.index]!), at: 0, next: async () => undefined }
}

function streamed(source: RowSource, base: number, o: MergeOptions): Run {
  let batch = 0
  return { piece: NOTHING, keys: [], at: 0, next: async () => (batch < source.batchCount ? load(source, base, batch++, o) : undefined) }
}

function sorted(pieces: readonly Piece[], parts: readonly KeyPart[]): Piece {
  const numbers = joined(pieces)
  const columns = pieces.length === 1 ? pieces[0]!.columns : concatMany(pieces.map((piece) => piece.columns))
  const order = sortIndices(
    parts.map((part) => ({ vec: columns[part.index]!, kind: part.kind })),
    numbers.length,
  )
  return { length: numbers.length, columns: columns.map((column) => take(column, order)), numbers: picked(numbers, order) }
}

async function load(source: RowSource, base: number, batch: number, o: MergeOptions): Promise<Piece> {
  const { batch: loaded, live } = await source.load(batch, o.columns, o.signal)
  const rows = source.reader.rowsOf(batch)
  const start = base + source.startOf(batch)
  const numbers = live === undefined ? Uint32Array.from({ length: rows }, (_, row) => start + row) : bitmapToIndices(live, rows).map((row) => start + row)
  assert(numbers.length === loaded.length, 'each live row has a number', { rows: loaded.length, numbers: numbers.length })
  const waiting = o.pace(source.bytes / source.batchCount)
  if (waiting !== undefined) await waiting
  return { ...loaded, numbers }
}
