// table/key-layout.ts: tuples of columns that no two live rows have in common: the key of a table and its unique constraints, as canonical bytes of stored rows
// (docs/format.md section "Keys"). One way for the memory layer, loads, upserts, merges and indexes.
//
// Invariant: equal tuples give equal bytes, whatever the physical types; a row with a null in a constraint's columns has no tuple.

import type { ColumnDef, TableSchema } from '../format/index.ts'
import { type KeyPart, presentRows, tupleParts } from '../indexes/index.ts'
import { canonicalKeys, type Vec, xxh3 } from '../kernels/index.ts'
import { type ByteSink, byteSink } from './byte-sink.ts'
import { keyBytesFromVecs } from './key-values.ts'
import { KeyRun } from './memory-index.ts'

/** Fewer rows cost less one by one than the copies into kernel memory. */
export const KERNEL_ROWS_MIN = 8

/** The tuples of some rows; those that a null exempts are left out. */
export interface Tuples {
  readonly keys: KeyRun
  /** Of each its row, ascending; undefined: every row has one. */
  readonly rowOf: Uint32Array | undefined
}

const layouts = new WeakMap<TableSchema, KeyLayout>()
const constraints = new WeakMap<TableSchema, Map<string, KeyLayout>>()

interface Hash64 {
  readonly lo: number
  readonly hi: number
}

export class KeyLayout {
  /** Column ids. */
  readonly columns: readonly number[]
  readonly isKey: boolean
  /** Of the columns: tells the tuples of one table apart. */
  readonly id: string
  readonly defs: readonly ColumnDef[]
  readonly parts: readonly KeyPart[]
  /** Bytes of every key, 0 = varying. */
  readonly stride: number
  private readonly sink: ByteSink = byteSink(64)
  private hashMask: Hash64 | undefined

  private constructor(schema: TableSchema, columns: readonly number[], isKey: boolean) {
    this.columns = columns
    this.isKey = isKey
    this.id = columns.join()
    this.parts = tupleParts(schema, columns)
    this.defs = this.parts.map((part) => schema.columns[part.index]!)
    this.stride = this.parts.some((part) => part.bytes === 0) ? 0 : this.parts.reduce((sum, part) => sum + part.bytes, 0)
  }

  /** undefined for an unkeyed table. `schema`: of the columns that it is to read; their places may differ from version to version, the keys do not. */
  static of(schema: TableSchema): KeyLayout | undefined {
    if (schema.key.length === 0) return undefined
    let layout = layouts.get(schema)
    if (layout === undefined) layouts.set(schema, (layout = new KeyLayout(schema, schema.key, true)))
    return layout
  }

  /** Of the unique constraints of a definition. */
  static uniques(schema: TableSchema): readonly KeyLayout[] {
    return schema.unique.map((columns) => KeyLayout.unique(schema, columns))
  }

  /** Of a unique constraint, in force or to be. @param columns  ids, all of them in the definition */
  static unique(schema: TableSchema, columns: readonly number[]): KeyLayout {
    let known = constraints.get(schema)
    if (known === undefined) constraints.set(schema, (known = new Map()))
    const id = columns.join()
    let layout = known.get(id)
    if (layout === undefined) known.set(id, (layout = new KeyLayout(schema, columns, false)))
    return layout
  }

  /** The same constraint for rows of another version of the definition; a column that they are older than is as it is here. */
  fit(schema: TableSchema): KeyLayout {
    const has = (id: number): boolean => schema.columns.some((column) => column.id === id)
    if (this.columns.every(has)) return KeyLayout.unique(schema, this.columns)
    return new KeyLayout({ ...schema, columns: [...schema.columns, ...this.defs.filter(({ id }) => !has(id))] }, this.columns, false)
  }

  /** Append the keys of rows [from, to) to `keys`. `columns`: the table's columns, or at least those of the key, at their schema places. */
  push(columns: readonly (Vec | undefined)[], from: number, to: number, keys: KeyRun): void {
    // A write without rows may come without columns.
    if (from === to) return
    this.pushVecs(
      this.parts.map((part) => columns[part.index]!),
      from,
      to,
      keys,
    )
  }

  /** As push, of the columns of the tuple alone. Nulls give bytes that mean nothing. */
  pushVecs(vecs: readonly Vec[], from: number, to: number, keys: KeyRun): void {
    const { parts, sink } = this
    const kinds = parts.map((part) => part.kind)
    // 64-bit integers are stored as they are.
    if (parts.length === 1 && (kinds[0] === 'i64' || kinds[0] === 'u64')) {
      return keys.pushMany({ rows: to - from, stride: 8, data: vecs[0]!.values.subarray(from * 8, to * 8), ends: undefined })
    }
    if (to - from >= KERNEL_ROWS_MIN) return keys.pushMany(canonicalKeys(vecs, kinds, from, to))
    for (let row = from; row < to; row++) {
      sink.at = 0
      keyBytesFromVecs(vecs, kinds, row, sink)
      keys.push(sink.bytes, 0, sink.at)
    }
  }

  /** One key. */
  runOf(key: Uint8Array): KeyRun {
    const run = new KeyRun(this.stride)
    run.push(key, 0, key.length)
    return run
  }

  /** XXH3-64 of a key as `.keys` files have it: of a constraint's tuples under a mask of their own, so that they are not taken for keys. */
  hashOf(key: Uint8Array): Hash64 {
    const { lo, hi } = xxh3(key)
    const mask = this.mask()
    return { lo: (lo ^ mask.lo) >>> 0, hi: (hi ^ mask.hi) >>> 0 }
  }

  /** The same of many XXH3-64, (low, high) words, in place. */
  masked(hashes: Uint32Array): Uint32Array {
    const { lo, hi } = this.mask()
    for (let i = 0; i < hashes.length; i += 2) {
      hashes[i]! ^= lo
      hashes[i + 1]! ^= hi
    }
    return hashes
  }

  private mask(): Hash64 {
    return (this.hashMask ??= this.isKey ? { lo: 0, hi: 0 } : xxh3(new TextEncoder().encode(`unique ${this.id}`)))
  }

  /** The tuples of the first `rows` rows. `columns` as of push. */
  tuples(columns: readonly (Vec | undefined)[], rows: number): Tuples {
    const keys = new KeyRun(this.stride)
    if (rows === 0) return { keys, rowOf: undefined }
    const present = presentRows(
      this.parts.map((part) => columns[part.index]!),
      rows,
    )
    if (present.rows > 0) this.pushVecs(present.vecs, 0, present.rows, keys)
    return { keys, rowOf: present.rowOf }
  }
}
