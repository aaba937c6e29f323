// table/access-paths.ts: which indexes a predicate could use, and which of them one fragment does: the cost rule of scans.
//
// Where eq and oneOf fix the whole key, or the columns of a unique constraint, its rows are looked up; else a declared index gives ranges (index-access.ts).
// A fragment's own figures decide: the index that leaves the fewest rows, and none where it leaves so many that reading all is as good.
// Invariant: a selection holds every row of the fragment that passes; undefined means: not known, scan.

import type { ColumnDef, TableSchema } from '../format/index.ts'
import { declaredIndexes, indexLabel, valueKindOf } from '../format/index.ts'
import { RowMarks } from '../indexes/index.ts'
import { keyColumnHashes, makeVec, NO_ROW, type Vec } from '../kernels/index.ts'
import type { Estimate } from './fragment-indexes.ts'
import type { FragmentReader } from './fragment-reader.ts'
import { type OrderPath, type SortedAccess, sortedAccess } from './index-access.ts'
import { KeyLayout } from './key-layout.ts'
import { KeyRun } from './memory-index.ts'
import { type CompiledPredicate, conjuncts, tupleEquality } from './predicate-eval.ts'
import { type Constant, equalities } from './predicate-leaf.ts'
import { fixedVec, vecOfValue } from './vec-views.ts'

export type AccessPath = ({ readonly kind: 'sorted' } & SortedAccess) | TuplePath | OrderPath

/** Keys, or tuples of a unique constraint, that rows must have. */
export interface TuplePath {
  readonly kind: 'tuple'
  readonly label: string
  readonly layout: KeyLayout
  readonly keys: KeyRun
  /** XXH3-64 of each, (low, high) words. */
  readonly hashes: Uint32Array
  readonly isExact: boolean
}

/** Rows of a fragment that may pass. */
export interface Selection {
  readonly rows: RowMarks
  /** All of them pass. */
  readonly isExact: boolean
}

/** What a fragment would do, as far as memory tells. */
export interface Foreseen {
  readonly path: AccessPath
  readonly by: 'bloom' | 'index'
  /** Rows at most; 0: the fragment is left out. Undefined: the index was not read yet. */
  readonly rows: number | undefined
  /** Of the index, to be read: at most that share of it up to which it is used. */
  readonly bytes: number
}

/**
 * An index is used while it leaves at most one row in this many for certain: measured with everything in memory, marking its rows then costs what evaluating
 * the predicate on all rows does. The blocks on the borders of a range are not counted: they are few, and must be read to know.
 */
const SELECTIVE = 32

/** The best first. Empty: the predicate says nothing that an index holds. */
export function accessPaths(predicate: CompiledPredicate, schema: TableSchema): AccessPath[] {
  const paths: AccessPath[] = []
  if (schema.key.length > 0) paths.push(...tuplePath(predicate, schema, KeyLayout.of(schema)!))
  for (const columns of schema.unique) paths.push(...tuplePath(predicate, schema, KeyLayout.unique(schema, columns)))
  const sorted = declaredIndexes(schema).flatMap((columns) => sortedAccess(predicate, schema, columns) ?? [])
  for (const access of sorted.toSorted((a, b) => b.depth - a.depth)) paths.push({ kind: 'sorted', ...access })
  return paths
}

function tuplePath(predicate: CompiledPredicate, schema: TableSchema, layout: KeyLayout): TuplePath[] {
  const tuples = tupleEquality(predicate, layout.columns)
  if (tuples === undefined) return []
  const keys = new KeyRun(layout.stride)
  for (const tuple of tuples) {
    layout.pushVecs(
      layout.defs.map((column, i) => vecOfConstant(column, tuple[i]!)),
      0,
      1,
      keys,
    )
  }
  const isExact = conjuncts(predicate.root).every(
    (node) => node.op === 'leaf' && layout.columns.includes(node.column.id) && equalities(node.leaf) !== undefined && node.leaf.test !== 'never',
  )
  return [{ kind: 'tuple', label: indexLabel(schema, layout.columns), layout, keys, hashes: keyColumnHashes(keys), isExact }]
}

function vecOfConstant({ type }: ColumnDef, value: Constant): Vec {
  const kind = valueKindOf(type)!
  if (value instanceof Uint8Array) {
    if (type.kind === 'fixedSizeBinary') return fixedVec(type.bytes, 1, value)
    return makeVec({ kind: 'var' }, 1, { offsets: Int32Array.of(0, value.length), values: value })
  }
  return kind === 'bool' ? makeVec({ kind: 'bool' }, 1, { values: Uint8Array.of(Number(value)) }) : vecOfValue(kind, value)
}

/** The rows of a fragment by the path that leaves the fewest; a promise where something must be read. */
export function selectRows(reader: FragmentReader, paths: readonly AccessPath[], signal?: AbortSignal): Selection | undefined | Promise<Selection | undefined> {
  for (const path of paths) {
    if (path.kind === 'order' && leads(reader, path)) return selectLeading(reader, path, signal)
    if (path.kind !== 'tuple' || !serves(reader, path)) continue
    const { keys, hashes, layout } = path
    const asked = inside(reader, path)
    if (asked.length === 0) return { rows: new RowMarks(reader.ref.rows, 0), isExact: true }
    const found = reader.lookupManyNow(keys, hashes, asked, layout)
    if (found !== undefined) return selected(reader, path, found)
    return reader.lookupMany(keys, hashes, asked, layout).then((rows) => selected(reader, path, rows))
  }
  const sorted = paths.filter((path) => path.kind === 'sorted' && reader.indexes.has(path.columns)) as ({ kind: 'sorted' } & SortedAccess)[]
  if (sorted.length === 0) return undefined
  const figures = sorted.map((path) => reader.indexes.peek(path))
  if (figures.includes(undefined)) return selectSorted(reader, sorted, signal)
  const best = cheapest(reader, sorted, figures)
  if (best === undefined) return undefined
  const rows = reader.indexes.rowsNow(best)
  return rows === undefined ? selectSorted(reader, [best], signal) : { rows, isExact: best.isExact }
}

async function selectSorted(reader: FragmentReader, paths: readonly SortedAccess[], signal?: AbortSignal): Promise<Selection | undefined> {
  const figures = await Promise.all(paths.map((path) => reader.indexes.estimate(path, signal)))
  const best = cheapest(reader, paths, figures)
  const rows = best === undefined ? undefined : await reader.indexes.rows(best, signal)
  return rows === undefined ? undefined : { rows, isExact: best!.isExact }
}

async function selectLeading(reader: FragmentReader, path: OrderPath, signal?: AbortSignal): Promise<Selection | undefined> {
  const access = await reader.indexes.leading(path, signal)
  return access === undefined ? undefined : selectSorted(reader, [access], signal)
}

/** The fragment has the index, and rows enough for the first of them to be few. */
function leads({ ref, indexes }: FragmentReader, { columns, entries }: OrderPath): boolean {
  return entries * SELECTIVE <= ref.rows && indexes.has(columns)
}

/** Bytes of an index that cost about what marking a row does. */
const ROW_BYTES = 4

/** The path that costs least of those that leave few enough rows. */
function cheapest<P extends SortedAccess>(reader: FragmentReader, paths: readonly P[], figures: readonly (Estimate | undefined)[]): P | undefined {
  let best: P | undefined
  let least = Infinity
  paths.forEach((path, i) => {
    const figure = figures[i]
    if (figure === undefined || !isSelective(reader, figure)) return
    const cost = figure.rows + figure.bytes / ROW_BYTES
    if (cost >= least) return
    best = path
    least = cost
  })
  return best
}

function isSelective({ ref }: FragmentReader, { atLeast }: Estimate): boolean {
  return atLeast * SELECTIVE <= ref.rows
}

/** What selectRows would do, without any I/O. */
export function foresee(reader: FragmentReader, paths: readonly AccessPath[]): Foreseen | undefined {
  for (const path of paths) {
    if (path.kind === 'tuple') {
      if (!serves(reader, path)) continue
      const { hashes, layout } = path
      const left = inside(reader, path).filter((key) => !reader.lacks(hashes[2 * key]!, hashes[2 * key + 1]!, layout))
      return { path, by: 'bloom', rows: left.length, bytes: 0 }
    }
    if (path.kind === 'order' ? !leads(reader, path) : !reader.indexes.has(path.columns)) continue
    const access = path.kind === 'order' ? reader.indexes.leadingNow(path) : path
    const estimate = access === undefined ? undefined : reader.indexes.peek(access)
    if (estimate === undefined) return { path, by: 'index', rows: undefined, bytes: Math.ceil(reader.indexes.bytesOf(path.columns) / SELECTIVE) }
    if (isSelective(reader, estimate)) return { path, by: 'index', rows: estimate.rows, bytes: estimate.bytes }
  }
  return undefined
}

/** The fragment has the index of a path. */
export function hasIndex({ ref, indexes }: FragmentReader, path: AccessPath): boolean {
  if (path.kind !== 'tuple') return indexes.has(path.columns)
  const { isKey, id } = path.layout
  return isKey ? ref.index !== undefined : ref.indexes?.some(({ kind, columns }) => kind === 'unique' && columns.join() === id) === true
}

/** It has it, and is large enough for so many look-ups. */
function serves(reader: FragmentReader, path: TuplePath): boolean {
  return hasIndex(reader, path) && (path.keys.rows === 1 || path.keys.rows * SELECTIVE <= reader.ref.rows)
}

/** Keys that the bounds of the fragment do not rule out. */
function inside(reader: FragmentReader, { keys, layout }: TuplePath): Uint32Array {
  const all = Uint32Array.from({ length: keys.rows }, (_, key) => key)
  return reader.within(keys, all, false, layout)
}

function selected(reader: FragmentReader, { isExact }: TuplePath, found: Uint32Array): Selection {
  const rows = new RowMarks(reader.ref.rows, found.length)
  for (const row of found) if (row !== NO_ROW) rows.add(row)
  return { rows, isExact }
}
