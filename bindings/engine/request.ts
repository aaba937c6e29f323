// engine/request.ts: the digest of a request, which tells a retry under an idempotency key from another request.
//
// Data counts as its rows do, in windows of a fixed number of rows and in the canonical inline form: rows, columns, Arrow and streams in any chunks agree.

import { concat, encodeInline, Sha256, slice } from '../kernels/index.ts'
import type { ColumnBatch } from '../table/index.ts'

/** Rows of a window; every write that is small enough to be inline is one. */
const WINDOW_ROWS = 16_384

/** SHA-256 over operation, table and the bytes that carry the data. */
export function requestDigest(op: string, tableUid: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = new Sha256()
  hash.update(new TextEncoder().encode(`${op}:${tableUid}:`))
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** requestDigest of data that comes in batches. */
export class DataDigest {
  private readonly hash = new Sha256()
  private pieces: ColumnBatch[] = []
  private rows = 0

  constructor(op: string, tableUid: number) {
    this.hash.update(new TextEncoder().encode(`${op}:${tableUid}:`))
  }

  /** The batch must not change until the next call. */
  add({ columns, length }: ColumnBatch): void {
    for (let from = 0; from < length;) {
      const rows = Math.min(WINDOW_ROWS - this.rows, length - from)
      const end = from + rows
      const part = rows === length ? columns : columns.map((column) => slice(column, from, end))
      this.pieces.push({ length: rows, columns: part })
      this.rows += rows
      if (this.rows === WINDOW_ROWS) this.flush()
      from = end
    }
  }

  digest(): Uint8Array {
    this.flush()
    return this.hash.digest()
  }

  private flush(): void {
    const { pieces, rows } = this
    if (rows === 0) return
    const [first] = pieces
    const columns = pieces.length === 1 ? first!.columns : first!.columns.map((_, i) => concat(pieces.map((piece) => piece.columns[i]!)))
    this.hash.update(encodeInline(columns, 0, rows))
    this.pieces = []
    this.rows = 0
  }
}
