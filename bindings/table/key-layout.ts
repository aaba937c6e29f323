// table/key-layout.ts: the canonical keys of stored rows (docs/format.md section "Keys"), for the memory layer's index and for loads.

import type { TableSchema } from '../format/index.ts'
import { type KeyPart, keyParts } from '../indexes/index.ts'
import { canonicalKeys, type Vec } from '../kernels/index.ts'
import { type ByteSink, byteSink } from './byte-sink.ts'
import { keyBytesFromVecs } from './key-values.ts'
import type { KeyRun } from './memory-index.ts'

/** Fewer rows cost less one by one than the copies into kernel memory. */
const KERNEL_ROWS_MIN = 8

export class KeyLayout {
  readonly parts: readonly KeyPart[]
  /** Bytes of every key, 0 = varying. */
  readonly stride: number
  private readonly sink: ByteSink = byteSink(64)

  private constructor(parts: readonly KeyPart[]) {
    this.parts = parts
    this.stride = parts.some((part) => part.bytes === 0) ? 0 : parts.reduce((sum, part) => sum + part.bytes, 0)
  }

  /** undefined for an unkeyed table. */
  static of(schema: TableSchema): KeyLayout | undefined {
    return schema.key.length === 0 ? undefined : new KeyLayout(keyParts(schema))
  }

  /** Append the keys of rows [from, to) to `keys`. `columns`: the table's columns, or at least those of the key, at their schema places. */
  push(columns: readonly (Vec | undefined)[], from: number, to: number, keys: KeyRun): void {
    // A write without rows may come without columns.
    if (from === to) return
    const { parts, sink } = this
    const vecs = parts.map((part) => columns[part.index]!)
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
}
