// kernels/sort-keys.ts: a sort key in kernel memory: u64 columns whose unsigned order is the key's order, most significant first.
//
// Integers may be stored narrower than their kind says (physical narrowing at rest): the stored width counts, the kind gives the sign.
// Byte strings have the column of their first eight bytes and, for ties, the bytes themselves; dictionary codes have the ranks of their entries.
import { assert } from '../assert.ts'
import type { KernelInstance } from './instance.ts'
import type { SortKey } from './sort.ts'
import { dictionaryOf, offsetsOf, widthOf } from './vec-build.ts'
import type { ValueKind, Vec } from './vec.ts'

/** Codes of assembly/arrow-sort.ts and aggregate.ts. */
const INT_CODES: Readonly<Record<number, number>> = { 1: 0, 2: 1, 4: 2, 8: 3 }
export const KIND_BOOL = 10
const KIND_I64 = 3
const KIND_U64 = 7

/** The kernels' code of a numeric kind as it is stored, `width` bytes a row. */
export function kindCode(kind: ValueKind, width: number): number {
  if (kind === 'f32' || kind === 'f64') {
    assert(width === (kind === 'f32' ? 4 : 8), 'floats are stored as they are', { kind, width })
    return kind === 'f32' ? 8 : 9
  }
  const code = INT_CODES[width]
  assert(code !== undefined && kind !== 'bytes' && kind !== 'bool' && kind !== 'i128', 'a kind of numbers of 1, 2, 4 or 8 bytes', { kind, width })
  return kind.startsWith('u') ? code + 4 : code
}

export interface VarColumn {
  readonly offsets: number
  /** Where offset 0 would lie. */
  readonly data: number
}

export interface KeyColumns {
  readonly keys: readonly number[]
  /** 0 = no nulls. */
  readonly validity: number
  /** Set when the (one) column holds prefixes only. */
  readonly bytes: VarColumn | undefined
}

/** The columns of one key. Reserves scratch that the caller gives back. */
export function keyColumns(k: KernelInstance, key: SortKey): KeyColumns {
  const { vec, kind } = key
  const n = vec.length
  const desc = key.descending === true ? 1 : 0
  const validity = vec.validity === undefined ? 0 : k.copyIn(vec.validity.subarray(0, (n + 7) >>> 3))
  if (vec.layout.kind === 'var') {
    const bytes = varColumn(k, vec)
    const prefixes = k.arena.reserve(n * 8)
    k.exports.sort_keys_bytes(bytes.offsets, bytes.data, 0, 0, n, desc, prefixes)
    return { keys: [prefixes], validity, bytes }
  }
  if (vec.layout.kind === 'dict') return { keys: [rankColumn(k, vec, desc)], validity, bytes: undefined }
  return { keys: fixedColumns(k, vec, kind, desc), validity, bytes: undefined }
}

/** A var column copied in. */
export function varColumn(k: KernelInstance, v: Vec): VarColumn {
  const from = offsetsOf(v)
  const base = from[0]!
  const offsets = k.arena.reserve((v.length + 1) * 4)
  k.i32.set(from.subarray(0, v.length + 1), offsets >>> 2)
  return { offsets, data: k.copyIn(v.values.subarray(base, from[v.length]!)) - base }
}

function fixedColumns(k: KernelInstance, v: Vec, kind: ValueKind, desc: number): number[] {
  const n = v.length
  if (v.layout.kind === 'bool') {
    const src = k.copyIn(v.values.subarray(0, (n + 7) >>> 3))
    const out = k.arena.reserve(n * 8)
    k.exports.sort_keys_fixed(src, KIND_BOOL, 0, n, desc, out)
    return [out]
  }
  const width = widthOf(v.layout)
  const src = k.copyIn(v.values.subarray(0, n * width))
  const columns: number[] = []
  const numbers = (at: number, code: number): void => {
    const out = k.arena.reserve(n * 8)
    k.exports.sort_keys_fixed(src + at, code, width, n, desc, out)
    columns.push(out)
  }
  if (kind === 'bytes') {
    for (let at = 0; at < width || at === 0; at += 8) {
      const out = k.arena.reserve(n * 8)
      k.exports.sort_keys_bytes(0, src + at, width, Math.min(8, width - at), n, desc, out)
      columns.push(out)
    }
  } else if (kind === 'i128' && width === 16) {
    numbers(8, KIND_I64)
    numbers(0, KIND_U64)
  } else {
    numbers(0, kindCode(kind === 'i128' ? 'i64' : kind, width))
  }
  return columns
}

function rankColumn(k: KernelInstance, v: Vec, desc: number): number {
  const n = v.length
  const width = widthOf(v.layout)
  const dictionary = dictionaryOf(v)
  const out = k.arena.reserve(n * 8)
  const mark = k.arena.mark()
  const entries = dictionary.length
  const ranks = k.arena.reserve(entries * 4)
  rankRows(k, dictionary, ranks)
  const codes = k.copyIn(v.values.subarray(0, n * width))
  k.exports.sort_keys_codes(codes, width, n, ranks, entries, desc, out)
  k.arena.rewind(mark)
  return out
}

/** Ranks of the rows of a var column without nulls; equal strings share one. */
function rankRows(k: KernelInstance, v: Vec, ranks: number): void {
  const n = v.length
  if (n === 0) return
  const bytes = varColumn(k, v)
  const keys = k.arena.reserve(n * 8)
  k.exports.sort_keys_bytes(bytes.offsets, bytes.data, 0, 0, n, 0, keys)
  const perm = k.arena.reserve(n * 4)
  k.exports.row_numbers(perm, 0, n)
  const sorted = k.arena.reserve(n * 4)
  const work = k.arena.reserve(n * 20)
  k.exports.sort_pass(keys, 0, perm, n, sorted, work)
  k.exports.sort_ties(bytes.offsets, bytes.data, work, n, sorted, work + n * 16, 0)
  k.exports.sort_ranks(bytes.offsets, bytes.data, sorted, n, ranks)
}
