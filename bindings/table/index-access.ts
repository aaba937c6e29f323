// table/index-access.ts: what a predicate asks of an index: ranges of keys that hold every row which may pass (indexes/index-keys.ts).
//
// For an index over a, b, c: while a column is fixed by eq, oneOf or isNull, each value lengthens the beginnings of the keys; the first column that has only
// bounds (gt, between, startsWith, ...) ends them. What other conditions say is left to the predicate. An `or` gives the ranges of its branches together.
// Invariant: a row that passes has its key in a range; when `isExact` is true, every row in a range passes.

import type { ColumnDef, TableSchema } from '../format/index.ts'
import { declaredIndexes, indexLabel } from '../format/index.ts'
import { behind, BEHIND_NUMBERS, compareKeys, FIRST_VALUE, keyBytesMax, type KeyRange, NULL_PART, putConstant, putPrefix } from '../indexes/index.ts'
import { type CompiledNode, type CompiledPredicate, conjuncts } from './predicate-eval.ts'
import type { OrderKey } from './scan-plan.ts'
import { compareConstants, type Constant, equalities, type Leaf } from './predicate-leaf.ts'

/** What is asked of one declared index. */
export interface SortedAccess {
  readonly columns: readonly ColumnDef[]
  /** `origin, date`. */
  readonly label: string
  /** Ascending, apart from each other. None: no row passes. */
  readonly ranges: readonly KeyRange[]
  readonly isExact: boolean
  /** Columns whose conditions the ranges hold: of two indexes the one with more is asked first. */
  readonly depth: number
}

/** The first rows of an order, by an index whose columns it begins with. */
export interface OrderPath {
  readonly kind: 'order'
  /** Of the index. */
  readonly columns: readonly ColumnDef[]
  readonly label: string
  /** Columns of the index that the order begins with. */
  readonly prefix: number
  readonly descending: boolean
  /** Rows wanted, and those that may be hidden. */
  readonly entries: number
  readonly isExact: true
}

/** Indexes that lead to the first `limit` rows of an order. Descending ones by their first column alone: in the others nulls would stand first. */
export function orderPaths(order: readonly OrderKey[], limit: number, schema: TableSchema): OrderPath[] {
  const [first] = order
  if (first === undefined || limit === Infinity || limit === 0) return []
  return declaredIndexes(schema).flatMap((ids): OrderPath[] => {
    const columns = ids.map((id) => schema.columns.find((column) => column.id === id)!)
    let prefix = 0
    if (first.descending) prefix = first.column.column.id === ids[0] ? 1 : 0
    else while (prefix < Math.min(ids.length, order.length) && order[prefix]!.column.column.id === ids[prefix] && !order[prefix]!.descending) prefix++
    return prefix === 0 ? [] : [{ kind: 'order', columns, label: indexLabel(schema, ids), prefix, descending: first.descending, entries: limit, isExact: true }]
  })
}

/** More ranges than that are not asked for: reading all is as good. */
const RANGES_MAX = 1024

/** Undefined: the predicate says nothing about the first column of the index. */
export function sortedAccess(predicate: CompiledPredicate, schema: TableSchema, ids: readonly number[]): SortedAccess | undefined {
  const columns = ids.map((id) => schema.columns.find((column) => column.id === id)!)
  const branches = predicate.root.op === 'or' ? predicate.root.of : [predicate.root]
  const found: Branch[] = []
  for (const branch of branches) {
    const one = branchOf(conjuncts(branch), columns)
    if (one === undefined) return undefined
    found.push(one)
  }
  const ranges = merged(found.flatMap((each) => each.ranges))
  if (ranges.length > RANGES_MAX) return undefined
  const depth = Math.min(...found.map((each) => each.depth))
  return { columns, label: indexLabel(schema, ids), ranges, isExact: found.every((each) => each.isExact), depth }
}

interface Branch {
  readonly ranges: readonly KeyRange[]
  readonly isExact: boolean
  readonly depth: number
}

function branchOf(nodes: readonly CompiledNode[], columns: readonly ColumnDef[]): Branch | undefined {
  if (nodes.some((node) => node.op === 'leaf' && node.leaf.test === 'never')) return { ranges: [], isExact: true, depth: columns.length }
  let prefixes: Uint8Array[] = [new Uint8Array(0)]
  let isExact = true
  let used = 0
  let depth = 0
  for (const column of columns) {
    const leaves = nodes.flatMap((node) => (node.op === 'leaf' && node.column.id === column.id ? [node.leaf] : []))
    const points = pointsOf(column, leaves)
    if (points !== undefined) {
      if (prefixes.length * points.parts.length > RANGES_MAX) break
      prefixes = prefixes.flatMap((prefix) => points.parts.map((part) => joined(prefix, part)))
      isExact &&= points.isExact
      used += points.used
      depth++
      continue
    }
    const bounds = boundsOf(column, leaves)
    if (bounds === undefined) break
    const ranges = prefixes.flatMap((prefix) => rangeOf(prefix, bounds) ?? [])
    return { ranges, isExact: isExact && bounds.isExact && used + bounds.used === nodes.length, depth: depth + 1 }
  }
  if (depth === 0) return undefined
  return { ranges: prefixes.map((prefix) => ({ from: prefix, to: behind(prefix) })), isExact: isExact && used === nodes.length, depth }
}

interface Points {
  readonly parts: readonly Uint8Array[]
  readonly isExact: boolean
  /** Leaves that they say everything about. */
  readonly used: number
}

/** The values that a column must have; undefined: no leaf lists them. */
function pointsOf(column: ColumnDef, leaves: readonly Leaf[]): Points | undefined {
  if (leaves.some(({ test }) => test === 'null')) {
    // A null passes no other test: with one, no row passes, and the predicate says so.
    return { parts: [Uint8Array.of(NULL_PART)], isExact: true, used: leaves.filter(({ test }) => test === 'null').length }
  }
  let values: readonly Constant[] | undefined
  let used = 0
  for (const leaf of leaves) {
    const accepted = equalities(leaf)
    if (accepted === undefined) continue
    used++
    values = values === undefined ? accepted : values.filter((a) => accepted.some((b) => compareConstants(a, b) === 0))
  }
  if (values === undefined) return undefined
  const parts = values.map((value) => part((out) => putConstant(column.type, value, out, 0)))
  return { parts: parts.map(({ bytes }) => bytes), isExact: parts.every((each) => each.isExact), used }
}

interface Bounds {
  readonly from: Uint8Array
  readonly to: Uint8Array | undefined
  readonly isExact: boolean
  readonly used: number
}

/** The ends between which a column's parts must lie; undefined: no leaf bounds them. */
function boundsOf(column: ColumnDef, leaves: readonly Leaf[]): Bounds | undefined {
  let bounds: Bounds | undefined
  for (const leaf of leaves) {
    const one = leafBounds(column, leaf)
    if (one === undefined) continue
    bounds = bounds === undefined ? one : both(bounds, one)
  }
  return bounds
}

function leafBounds(column: ColumnDef, leaf: Leaf): Bounds | undefined {
  const { type } = column
  const point = (value: Constant): Part => part((out) => putConstant(type, value, out, 0))
  const least = Uint8Array.of(FIRST_VALUE)
  const end = Uint8Array.of(BEHIND_NUMBERS)
  switch (leaf.test) {
    case 'valid':
      // NaN is a value too.
      return { from: least, to: Uint8Array.of(NULL_PART), isExact: true, used: 1 }
    case 'range':
    case 'byteRange': {
      const from = point(leaf.from)
      const to = point(leaf.to)
      return { from: from.bytes, to: behind(to.bytes), isExact: from.isExact && to.isExact, used: 1 }
    }
    case 'bytes': {
      if (leaf.op === 'prefix') {
        const { bytes, isExact } = part((out) => putPrefix(leaf.value, out, 0))
        return { from: bytes, to: behind(bytes), isExact, used: 1 }
      }
      const { bytes, isExact } = point(leaf.value)
      // Other values share the key of one that was cut: they are looked at.
      if (leaf.op === 'lt') return { from: least, to: isExact ? bytes : behind(bytes), isExact, used: 1 }
      if (leaf.op === 'lte') return { from: least, to: behind(bytes), isExact, used: 1 }
      if (leaf.op === 'gt') return { from: isExact ? behind(bytes)! : bytes, to: end, isExact, used: 1 }
      return { from: bytes, to: end, isExact, used: 1 }
    }
    default:
      return undefined
  }
}

function both(a: Bounds, b: Bounds): Bounds {
  const from = compareKeys(a.from, b.from) >= 0 ? a.from : b.from
  const to = a.to === undefined ? b.to : b.to === undefined || compareKeys(a.to, b.to) <= 0 ? a.to : b.to
  return { from, to, isExact: a.isExact && b.isExact, used: a.used + b.used }
}

function rangeOf(prefix: Uint8Array, { from, to }: Bounds): KeyRange | undefined {
  const start = joined(prefix, from)
  const end = to === undefined ? behind(prefix) : joined(prefix, to)
  return end !== undefined && compareKeys(start, end) >= 0 ? undefined : { from: start, to: end }
}

interface Part {
  readonly bytes: Uint8Array
  readonly isExact: boolean
}

const scratch = new Uint8Array(keyBytesMax(1))

function part(put: (out: Uint8Array) => { readonly end: number; readonly isExact: boolean }): Part {
  const { end, isExact } = put(scratch)
  return { bytes: scratch.slice(0, end), isExact }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length)
  out.set(a)
  out.set(b, a.length)
  return out
}

/** Sorted, with those that overlap made one. */
function merged(ranges: readonly KeyRange[]): KeyRange[] {
  const out: KeyRange[] = []
  for (const range of ranges.toSorted((a, b) => compareKeys(a.from, b.from))) {
    const last = out.at(-1)
    if (last === undefined || (last.to !== undefined && compareKeys(last.to, range.from) < 0)) out.push(range)
    else if (last.to !== undefined && (range.to === undefined || compareKeys(last.to, range.to) < 0)) out[out.length - 1] = { from: last.from, to: range.to }
  }
  return out
}
