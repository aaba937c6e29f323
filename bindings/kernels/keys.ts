// kernels/keys.ts: canonical bytes and hashes of keys of one or several columns, a batch in one go (docs/format.md section "Keys").
//
//   integers, timestamps, dates, times: 8 bytes little-endian, sign- or zero-extended · bool: 1 byte · floats: float64, -0 as +0, one NaN · decimal: 16 bytes
//   fixed binary: its bytes · utf8, binary: their bytes · several columns: one after another, utf8 and binary behind their length as u32
//
// Invariant: two keys are equal exactly when their bytes are; the same value gives the same bytes from a dictionary, at any integer width and in any batch.
import { assert } from '../assert.ts'
import { OffsetOverflowError } from '../errors.ts'
import { xxh3Column } from './checksum.ts'
import { slice } from './columns.ts'
import type { KernelInstance } from './instance.ts'
import type { KeyColumn } from './key-table.ts'
import { scratch } from './scratch.ts'
import { dictionaryOf, offsetsOf, widthOf } from './vec-build.ts'
import type { ValueKind, Vec } from './vec.ts'

const LENGTH_BYTES = 4

/** Canonical keys in kernel memory: `ends` 0 = a fixed stride. */
interface Keys {
  readonly data: number
  readonly ends: number
  readonly stride: number
  readonly bytes: number
}

/**
 * Canonical bytes of the keys of rows from .. to - 1.
 *
 * @param vecs  the key columns in key order, without nulls; fixed, bool, var or dict
 * @throws OffsetOverflowError when they have 2 GiB or more together
 */
export function canonicalKeys(vecs: readonly Vec[], kinds: readonly ValueKind[], from: number = 0, to: number = vecs[0]!.length): KeyColumn {
  const rows = to - from
  return scratch((k) => {
    const { data, ends, stride, bytes } = writeKeys(k, cut(vecs, from, to), kinds, rows)
    return { rows, stride, data: k.copyOut(data, bytes), ends: ends === 0 ? undefined : k.u32.slice(ends >>> 2, (ends >>> 2) + rows) }
  })
}

/** XXH3-64 (seed 0) of the canonical bytes of each key, as (low, high) words. */
export function keyHashes(vecs: readonly Vec[], kinds: readonly ValueKind[], rows: number): Uint32Array<ArrayBuffer> {
  if (kinds.length === 1) return xxh3Column(vecs[0]!, kinds[0]!)
  return scratch((k) => {
    const out = k.arena.reserve(rows * 8)
    hash(k, writeKeys(k, vecs, kinds, rows), rows, out)
    return k.u32.slice(out >>> 2, (out >>> 2) + 2 * rows)
  })
}

/** XXH3-64 (seed 0) of keys that are canonical bytes already. */
export function keyColumnHashes(keys: KeyColumn): Uint32Array<ArrayBuffer> {
  const { rows, stride } = keys
  return scratch((k) => {
    const out = k.arena.reserve(rows * 8)
    const bytes = rows === 0 ? 0 : keys.ends === undefined ? rows * stride : keys.ends[rows - 1]!
    const data = k.copyIn(keys.data.subarray(0, bytes))
    let ends = 0
    if (keys.ends !== undefined) {
      ends = firstZero(k, rows)
      k.u32.set(keys.ends.subarray(0, rows), ends >>> 2)
    }
    hash(k, { data, ends, stride, bytes }, rows, out)
    return k.u32.slice(out >>> 2, (out >>> 2) + 2 * rows)
  })
}

/** Room for the ends of n keys with a 0 before them: together the offsets of a var column. */
function firstZero(k: KernelInstance, n: number): number {
  const offsets = k.arena.reserve((n + 1) * 4)
  k.u32[offsets >>> 2] = 0
  return offsets + 4
}

function hash(k: KernelInstance, { data, ends, stride }: Keys, rows: number, out: number): void {
  if (ends === 0) k.exports.xxh3_fixed(data, stride, rows, out)
  else k.exports.xxh3_var(ends - 4, data, rows, out)
}

function cut(vecs: readonly Vec[], from: number, to: number): readonly Vec[] {
  return vecs.map((vec) => (from === 0 && to === vec.length ? vec : slice(vec, from, to)))
}

/** Bytes of a part in every key; 0 = varying. */
function partBytes(vec: Vec, kind: ValueKind): number {
  if (kind === 'bytes') return vec.layout.kind === 'fixed' ? vec.layout.width : 0
  return kind === 'bool' ? 1 : kind === 'i128' ? 16 : 8
}

function writeKeys(k: KernelInstance, vecs: readonly Vec[], kinds: readonly ValueKind[], rows: number): Keys {
  const parts = vecs.map((vec, i) => partBytes(vec, kinds[i]!))
  const fixed = parts.reduce((sum, bytes) => sum + bytes, 0)
  if (!parts.includes(0)) {
    const data = k.arena.reserve(rows * fixed)
    let at = data
    vecs.forEach((vec, i) => {
      writeFixed(k, vec, kinds[i]!, parts[i]!, rows, at, fixed, 0)
      at += parts[i]!
    })
    return { data, ends: 0, stride: fixed, bytes: rows * fixed }
  }
  const prefix = vecs.length > 1 ? LENGTH_BYTES : 0
  const columns = vecs.map((vec, i) => (parts[i] === 0 ? varIn(k, vec, rows) : undefined))
  const ends = firstZero(k, rows)
  const cursors = k.arena.reserve(rows * 4)
  k.u32.fill(fixed, ends >>> 2, (ends >>> 2) + rows)
  for (const column of columns) {
    if (column !== undefined) k.exports.key_measure(column.offsets, column.codes, column.width, column.entries, prefix, rows, ends)
  }
  const bytes = k.exports.key_places(ends, cursors, rows)
  if (bytes < 0) throw new OffsetOverflowError(`the keys of ${rows} rows have 2 GiB or more together`, { details: { bytes: 2 ** 31 } })
  const data = k.arena.reserve(bytes)
  vecs.forEach((vec, i) => {
    const c = columns[i]
    if (c !== undefined) k.exports.key_bytes(c.offsets, c.data, c.codes, c.width, c.entries, prefix, rows, data, cursors)
    else writeFixed(k, vec, kinds[i]!, parts[i]!, rows, data, 0, cursors)
  })
  return { data, ends, stride: 0, bytes }
}

function writeFixed(k: KernelInstance, vec: Vec, kind: ValueKind, bytes: number, rows: number, out: number, stride: number, cursors: number): void {
  const mark = k.arena.mark()
  try {
    if (kind === 'bool') {
      k.exports.key_bools(k.copyIn(vec.values.subarray(0, (rows + 7) >>> 3)), rows, out, stride, cursors)
      return
    }
    const width = widthOf(vec.layout)
    const p = k.copyIn(vec.values.subarray(0, rows * width))
    if (kind === 'bytes' || kind === 'i128') k.exports.key_fixed(p, bytes, rows, out, stride, cursors)
    else if (kind === 'f32' || kind === 'f64') k.exports.key_floats(p, width, rows, out, stride, cursors)
    else k.exports.key_ints(p, width, Number(kind.startsWith('i')), rows, out, stride, cursors)
  } finally {
    k.arena.rewind(mark)
  }
}

/** A var column in kernel memory; width 0 = no codes. */
interface VarIn {
  readonly offsets: number
  readonly data: number
  readonly codes: number
  readonly width: number
  readonly entries: number
}

function varIn(k: KernelInstance, vec: Vec, rows: number): VarIn {
  const isDict = vec.layout.kind === 'dict'
  const source = isDict ? dictionaryOf(vec) : vec
  const entries = isDict ? source.length : rows
  assert(entries > 0 || rows === 0, 'a dictionary of rows has entries', entries)
  const from = offsetsOf(source)
  const first = from[0]!
  const offsets = k.arena.reserve((entries + 1) * 4)
  const data = k.copyIn(source.values.subarray(first, from[entries]!)) - first
  k.i32.set(from.subarray(0, entries + 1), offsets >>> 2)
  const width = isDict ? widthOf(vec.layout) : 0
  return { offsets, data, codes: isDict ? k.copyIn(vec.values.subarray(0, rows * width)) : 0, width, entries }
}

/**
 * Of each key its row in a strictly ascending column of 64-bit integers, or NO_ROW. Keys that ascend too walk the column once.
 *
 * @param column  (low, high) words of the column
 * @param keys  (low, high) words of the keys
 */
export function searchWords64(column: Uint32Array, signed: boolean, keys: Uint32Array): Uint32Array<ArrayBuffer> {
  const count = keys.length >>> 1
  return scratch((k) => {
    const at = k.arena.reserve(column.length * 4)
    k.u32.set(column, at >>> 2)
    const asked = k.arena.reserve(keys.length * 4)
    k.u32.set(keys, asked >>> 2)
    const out = k.arena.reserve(count * 4)
    k.exports.search_words(at, column.length >>> 1, Number(signed), asked, count, out)
    return k.u32.slice(out >>> 2, (out >>> 2) + count)
  })
}
