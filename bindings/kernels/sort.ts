// kernels/sort.ts: orders of rows as u32 indices, and checking an order.
//
// Order of one key: values by their kind (bytes unsigned, floats with -0 = +0), NaN after every number and nulls last, in both directions. Everything is
// stable. Keys become u64 columns (sort-keys.ts); several keys are stable passes from the last to the first.
import { assert } from '../assert.ts'
import type { KernelInstance } from './instance.ts'
import { scratch } from './scratch.ts'
import { keyColumns } from './sort-keys.ts'
import type { ValueKind, Vec } from './vec.ts'

export interface SortKey {
  readonly vec: Vec
  readonly kind: ValueKind
  readonly descending?: boolean | undefined
}

/** Row numbers of n rows in the order of the keys. */
export function sortIndices(keys: readonly SortKey[], n: number): Uint32Array<ArrayBuffer> {
  return topK(keys, n, n)
}

/** The first `count` of `sortIndices`. */
export function topK(keys: readonly SortKey[], n: number, count: number): Uint32Array<ArrayBuffer> {
  for (const key of keys) assert(key.vec.length === n, 'sort keys have one length', key.vec.length)
  const kept = Math.min(count, n)
  if (n < 2 || kept === 0 || keys.length === 0) return Uint32Array.from({ length: kept }, (_, i) => i)
  return scratch((k) => {
    const rows = k.arena.reserve(n * 4)
    const candidates = kept * SELECTIVE < n ? leastRows(k, keys[0]!, kept, rows) : n
    if (candidates === n) k.exports.row_numbers(rows, 0, n)
    const at = sortInto(k, keys, rows, candidates) >>> 2
    return k.u32.slice(at, at + kept)
  })
}

export interface OrderCheck {
  readonly sorted: boolean
  /** Sorted without two equal neighbours. */
  readonly strict: boolean
  /** The first row that is less than the one before it, or -1. */
  readonly row: number
}

/** Whether n rows ascend by the keys (`descending` is not looked at). */
export function isSorted(keys: readonly SortKey[], n: number): OrderCheck {
  for (const key of keys) assert(key.vec.length === n, 'sort keys have one length', key.vec.length)
  if (n < 2) return { sorted: true, strict: true, row: -1 }
  return scratch((k) => {
    const signs = k.arena.reserve(n)
    const strict = k.arena.reserve(4)
    k.u8.fill(0, signs, signs + n)
    for (const key of keys) {
      const mark = k.arena.mark()
      const { keys: columns, validity, bytes } = keyColumns(k, { vec: key.vec, kind: key.kind })
      if (bytes !== undefined) k.exports.adjacent_bytes(bytes.offsets, bytes.data, validity, n, signs)
      else for (const column of columns) k.exports.adjacent_keys(column, validity, n, signs)
      k.arena.rewind(mark)
    }
    const row = k.exports.first_descent(signs, n, strict)
    if (row < n) return { sorted: false, strict: false, row }
    return { sorted: true, strict: k.u32[strict >>> 2] === 1, row: -1 }
  })
}

/** Below one row wanted in this many, rows that cannot be among them are left out before sorting. */
const SELECTIVE = 8

/** Writes the rows that are not behind `count` others by the first key alone, ascending; returns their number (all rows when nulls are needed). */
function leastRows(k: KernelInstance, key: SortKey, count: number, rows: number): number {
  const n = key.vec.length
  const mark = k.arena.mark()
  const { keys: columns, validity } = keyColumns(k, key)
  const heap = k.arena.reserve(count * 8)
  const valid = k.exports.least_keys(columns[0]!, validity, n, count, heap)
  const found = valid < count ? n : k.exports.rows_up_to(columns[0]!, validity, n, heap, rows)
  k.arena.rewind(mark)
  return found
}

/** Sorts n row numbers by all keys; returns where they lie then. */
function sortInto(k: KernelInstance, keys: readonly SortKey[], rows: number, n: number): number {
  let perm = rows
  let out = k.arena.reserve(n * 4)
  // n u64 keys twice, then n indices.
  const work = k.arena.reserve(n * 20)
  for (const key of keys.toReversed()) {
    const mark = k.arena.mark()
    const { keys: columns, validity, bytes } = keyColumns(k, key)
    for (const column of columns.toReversed()) {
      const valid = k.exports.sort_pass(column, validity, perm, n, out, work)
      if (bytes !== undefined) k.exports.sort_ties(bytes.offsets, bytes.data, work, valid, out, work + n * 16, key.descending === true ? 1 : 0)
      const before = perm
      perm = out
      out = before
    }
    k.arena.rewind(mark)
  }
  return perm
}
