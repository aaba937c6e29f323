// kernels/merge.ts: sorted runs as one order: two in one pass over their keys, more by a tournament of pairwise stable merges, in kernel memory.
//
// One numeric key merges by its u64 column, one byte key by the eight bytes behind what all rows begin with, then by its bytes; anything else (composite, 16-byte or fixed-size binary keys) is encoded row by row
// as a byte string of the same order first. Invariant: runs ascend, nulls last; that is checked, never assumed.
import { assert } from '../assert.ts'
import { RunNotSortedError } from '../errors.ts'
import { popcountRange } from './bitmap.ts'
import { concat } from './concat.ts'
import { widen } from './dictionary.ts'
import type { KernelInstance } from './instance.ts'
import { bytesAt, compareRows, keysOfTexts, settleTies, sharedBytes } from './merge-texts.ts'
import { pieceRows } from './pieces.ts'
import { scratch } from './scratch.ts'
import { keyColumns, kindCode } from './sort-keys.ts'
import type { VarColumn } from './sort-keys.ts'
import { isSorted } from './sort.ts'
import type { SortKey } from './sort.ts'
import { offsetsOf, widthOf } from './vec-build.ts'
import type { Vec } from './vec.ts'

/**
 * The order that merges sorted runs: indices into the runs put one after the other. Ties keep the order of the runs.
 *
 * @param runs  per run its keys, most significant first; `descending` is not looked at
 * @throws RunNotSortedError with the row, counted inside its run
 */
export function mergeRuns(runs: readonly (readonly SortKey[])[]): Uint32Array<ArrayBuffer> {
  const filled = runs.filter((run) => run.length > 0 && run[0]!.vec.length > 0)
  const refuse = (i: number): void => refuseRun(runs, filled[i]!)
  const [head] = filled
  if (head === undefined) return new Uint32Array(0)
  if (filled.length === 1) {
    refuse(0)
    return Uint32Array.from({ length: head[0]!.vec.length }, (_, i) => i)
  }
  return scratch((k) => {
    if (head.length > 1) return mergeEncoded(k, filled, refuse)
    const keys = filled.map((run) => run[0]!)
    const parts = partsOf(keys, refuse)
    if (keys.every(isNumeric)) return mergeKeys(k, numberColumn(k, keys), parts, refuse)
    if (keys.every(({ vec }) => vec.layout.kind === 'var')) {
      return keys.length === 2 ? mergeTexts(k, keys, parts, refuse) : mergeBytes(k, varColumns(k, keys), parts, refuse)
    }
    const { keys: columns, bytes } = keyColumns(k, together(keys))
    if (bytes !== undefined) return mergeBytes(k, bytes, parts, refuse)
    return columns.length === 1 ? mergeKeys(k, columns[0]!, parts, refuse) : mergeEncoded(k, filled, refuse)
  })
}

interface RunPart {
  readonly start: number
  readonly length: number
  /** Rows before the nulls at the end. */
  readonly valid: number
}

/** Throws when run i does not ascend; returns when it does. */
type Refuse = (run: number) => void

function refuseRun(runs: readonly (readonly SortKey[])[], run: readonly SortKey[]): void {
  const { sorted, row } = isSorted(run, run[0]!.vec.length)
  if (sorted) return
  throw new RunNotSortedError(`run ${runs.indexOf(run)} is not sorted: row ${row} is less than the one before it`, { details: { row } })
}

/** The runs of one key; a null before a value is refused. */
function partsOf(keys: readonly SortKey[], refuse: Refuse): RunPart[] {
  let start = 0
  return keys.map(({ vec }, i) => {
    const valid = vec.length - vec.nullCount
    if (vec.validity !== undefined && popcountRange(vec.validity, 0, valid) !== valid) refuse(i)
    const part = { start, length: vec.length, valid }
    start += vec.length
    return part
  })
}

function isNumeric({ vec, kind }: SortKey): boolean {
  return vec.layout.kind === 'fixed' && vec.layout.width <= 8 && kind !== 'bytes'
}

/** The u64 keys of all runs, whatever their physical widths. */
function numberColumn(k: KernelInstance, keys: readonly SortKey[]): number {
  const column = k.arena.reserve(keys.reduce((sum, { vec }) => sum + vec.length, 0) * 8)
  let at = column
  for (const { vec, kind } of keys) {
    const width = widthOf(vec.layout)
    const code = kindCode(kind === 'i128' ? 'i64' : kind, width)
    const rows = pieceRows(width)
    for (let first = 0; first < vec.length; first += rows) {
      const n = Math.min(rows, vec.length - first)
      const mark = k.arena.mark()
      k.exports.sort_keys_fixed(k.copyIn(vec.values.subarray(first * width, (first + n) * width)), code, width, n, 0, at)
      k.arena.rewind(mark)
      at += n * 8
    }
  }
  return column
}

/** One key of all runs as one column, at the widest of their physical widths. */
function together(keys: readonly SortKey[]): SortKey {
  const { kind } = keys[0]!
  const fixed = (vec: Vec): number => (vec.layout.kind === 'fixed' ? vec.layout.width : 0)
  const widest = Math.max(...keys.map(({ vec }) => fixed(vec)))
  const wide = ({ vec }: SortKey): Vec => (fixed(vec) === widest || kind === 'bytes' ? vec : widen(vec, fixed(vec), widest, !kind.startsWith('u')))
  return { kind, vec: concat(keys.map(wide)) }
}

/** What decides between rows of equal keys: their bytes behind the shared ones; no offsets = nothing, they are equal. */
interface Ties extends VarColumn {
  readonly shared: number
}

const NO_TIES: Ties = { offsets: 0, data: 0, shared: 0 }

/** A merged stretch: where its row numbers and its keys lie. */
interface Stretch {
  readonly rows: number
  readonly keys: number
  readonly count: number
}

function mergeKeys(k: KernelInstance, column: number, parts: readonly RunPart[], refuse: Refuse): Uint32Array<ArrayBuffer> {
  for (const [i, part] of parts.entries()) if (k.exports.keys_descent(column + part.start * 8, part.valid) < part.valid) refuse(i)
  return parts.length === 2 ? withNulls(mergePair(k, parts, column, 0), parts) : tournament(k, parts, column, NO_TIES)
}

/** The rows of two runs in order, in kernel memory. */
function mergePair(k: KernelInstance, parts: readonly RunPart[], column: number, ties: number): Uint32Array<ArrayBuffer> {
  const [a, b] = parts
  const n = a!.valid + b!.valid
  const rows = k.arena.reserve(n * 4)
  k.exports.merge_pair(column, a!.start, a!.valid, b!.start, b!.valid, rows, ties)
  return k.u32.subarray(rows >>> 2, (rows >>> 2) + n)
}

/** Equal keys among this many rows are ordered one by one. */
const ROWS_A_TIE = 64

/**
 * Two runs of byte strings: by the eight bytes behind those that all rows share. Pieces of them pass through kernel memory, where their keys stay; where keys
 * are equal, the bytes are looked at on the heap, or copied in where that is common.
 */
function mergeTexts(k: KernelInstance, keys: readonly SortKey[], parts: readonly RunPart[], refuse: Refuse): Uint32Array<ArrayBuffer> {
  const column = k.arena.reserve(parts.reduce((sum, part) => sum + part.length, 0) * 8)
  const bytesOf = (run: number, row: number): Uint8Array => bytesAt(keys[run]!.vec, row)
  const ends = parts.flatMap(({ valid }, run) => (valid > 0 ? [bytesOf(run, 0), bytesOf(run, valid - 1)] : []))
  const shared = sharedBytes(ends)
  const like = k.copyIn((ends[0] ?? new Uint8Array(0)).subarray(0, shared))
  for (const [i, { start, valid }] of parts.entries()) if (!keysOfTexts(k, keys[i]!.vec, valid, like, shared, column + start * 8)) refuse(i)
  const ties = k.arena.reserve((1 + parts[0]!.valid) * 4)
  const order = mergePair(k, parts, column, ties)
  if (k.u32[ties >>> 2]! * ROWS_A_TIE > order.length) return tournament(k, parts, column, { ...varColumns(k, keys), shared })
  // Asked is always a row of the second run against one of the first.
  const [a, b] = keys
  settleTies(k, column, order, ties, (y, x) => compareRows(b!.vec, y - parts[1]!.start, a!.vec, x))
  return withNulls(order, parts)
}

/** By the eight bytes behind those that all rows share, then by all bytes. */
function mergeBytes(k: KernelInstance, { offsets, data }: VarColumn, parts: readonly RunPart[], refuse: Refuse): Uint32Array<ArrayBuffer> {
  const column = k.arena.reserve(parts.reduce((sum, part) => sum + part.length, 0) * 8)
  const { u8, u32 } = k
  const ends = parts.flatMap(({ start, valid }) => (valid > 0 ? [start, start + valid - 1] : []))
  const at = (row: number): number => data + u32[(offsets >>> 2) + row]!
  const shared = sharedBytes(ends.map((row) => u8.subarray(at(row), at(row + 1))))
  for (const [i, { start, valid }] of parts.entries()) {
    if (k.exports.keys_behind(offsets + start * 4, data, at(ends[0] ?? 0), shared, valid, column + start * 8) < valid) refuse(i)
  }
  return tournament(k, parts, column, { offsets, data, shared })
}

/** The byte strings of all runs in kernel memory, one run after the other. */
function varColumns(k: KernelInstance, keys: readonly SortKey[]): VarColumn {
  const sizes = keys.map(({ vec }) => offsetsOf(vec)[vec.length]! - offsetsOf(vec)[0]!)
  const offsets = k.arena.reserve((keys.reduce((sum, { vec }) => sum + vec.length, 0) + 1) * 4)
  const data = k.arena.reserve(sizes.reduce((sum, size) => sum + size, 0))
  const { i32, u8 } = k
  let row = offsets
  let end = 0
  for (const [i, { vec }] of keys.entries()) {
    const from = offsetsOf(vec)
    u8.set(vec.values.subarray(from[0]!, from[vec.length]!), data + end)
    i32.set(from.subarray(0, vec.length + 1), row >>> 2)
    k.exports.rebase_offsets(row, vec.length + 1, end - from[0]!, row)
    row += vec.length * 4
    end += sizes[i]!
  }
  return { offsets, data }
}

function mergeEncoded(k: KernelInstance, runs: readonly (readonly SortKey[])[], refuse: Refuse): Uint32Array<ArrayBuffer> {
  let total = 0
  // Nulls are part of the encoded key.
  const parts = runs.map((run) => {
    const { length } = run[0]!.vec
    total += length
    return { start: total - length, length, valid: length }
  })
  const keys = runs[0]!.map((_, i) => together(runs.map((run) => run[i]!)))
  return mergeBytes(k, encodeRows(k, keys, total), parts, refuse)
}

/** Merges neighbours, round after round, between two buffers; the keys of `column`, by row, are carried along with the rows. */
function tournament(k: KernelInstance, parts: readonly RunPart[], column: number, { offsets, data, shared }: Ties): Uint32Array<ArrayBuffer> {
  const valid = parts.reduce((sum, part) => sum + part.valid, 0)
  const sides = [0, 1].map(() => ({ rows: k.arena.reserve(valid * 4), keys: k.arena.reserve(valid * 8) }))
  const stretch = (side: number, at: number, count: number): Stretch => ({ rows: sides[side]!.rows + at * 4, keys: sides[side]!.keys + at * 8, count })
  let at = 0
  let round = parts.map((part) => {
    // The first round reads the keys where they are.
    const made = { ...stretch(0, at, part.valid), keys: column + part.start * 8 }
    k.exports.row_numbers(made.rows, part.start, part.valid)
    at += part.valid
    return made
  })
  for (let side = 1; round.length > 1; side ^= 1) {
    const next: Stretch[] = []
    at = 0
    for (let i = 0; i < round.length; i += 2) {
      const a = round[i]!
      const b = round[i + 1] ?? { rows: 0, keys: 0, count: 0 }
      const to = stretch(side, at, a.count + b.count)
      k.exports.merge_keys(offsets, data, shared, a.keys, a.rows, a.count, b.keys, b.rows, b.count, to.keys, to.rows)
      next.push(to)
      at += to.count
    }
    round = next
  }
  const all = round[0]!
  assert(all.count === valid, 'a merge keeps every row', { merged: all.count, valid })
  return withNulls(k.u32.subarray(all.rows >>> 2, (all.rows >>> 2) + valid), parts)
}

/** The merged rows, then the null rows of each run in turn. */
function withNulls(merged: Uint32Array<ArrayBuffer>, parts: readonly RunPart[]): Uint32Array<ArrayBuffer> {
  const total = parts.reduce((sum, part) => sum + part.length, 0)
  if (total === merged.length) return merged.slice()
  const out = new Uint32Array(total)
  out.set(merged)
  let at = merged.length
  for (const part of parts) for (let row = part.start + part.valid; row < part.start + part.length; row++) out[at++] = row
  return out
}

/** Rows of several keys as byte strings in kernel memory. */
function encodeRows(k: KernelInstance, keys: readonly SortKey[], n: number): VarColumn {
  const columns = keys.map((key) => keyColumns(k, key))
  const offsets = k.arena.reserve((n + 1) * 4)
  const lengths = offsets + 4
  k.u8.fill(0, offsets, offsets + (n + 1) * 4)
  for (const { keys: parts, validity, bytes } of columns) {
    for (const _ of parts) k.exports.encode_measure(bytes?.offsets ?? 0, bytes?.data ?? 0, validity, n, lengths)
  }
  const i32 = k.i32
  const first = offsets >>> 2
  let total = 0
  for (let i = 1; i <= n; i++) {
    total += i32[first + i]!
    i32[first + i] = total
  }
  const data = k.arena.reserve(total)
  const cursors = k.arena.reserve(n * 4)
  k.u8.copyWithin(cursors, offsets, offsets + n * 4)
  for (const { keys: parts, validity, bytes } of columns) {
    if (bytes !== undefined) k.exports.encode_bytes(bytes.offsets, bytes.data, validity, n, cursors, data)
    else for (const column of parts) k.exports.encode_keys(column, validity, n, cursors, data)
  }
  return { offsets, data }
}
