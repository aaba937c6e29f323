// format/inline-commit.ts: a commit that does nothing but add inline rows to one table, as most do, read in place: one object for all records of a log that is read.
//
// Layout: format/commit.ts. Invariant: read() takes exactly what decodeCommit takes of this kind; what it does not take, broken or not, decodeCommit is asked about.

import { COMMIT_VERSION, type CommitRecord, type InlineRows, type Op, OPS, PART_INLINE, type TableChange, WRITE_ID_BYTES } from './commit.ts'

/** Past the end of whatever is read: it is not what it seemed to be. */
const BROKEN: number = Number.MAX_SAFE_INTEGER

type Written<T> = { -readonly [K in keyof T]: T[K] }

/** Good until the next read(). */
export class InlineCommit implements CommitRecord {
  branch = 0
  parent = 0
  timeMs = 0
  readonly changes: readonly [TableChange]
  readonly #inline: Written<InlineRows> = { rows: 0, bytes: new Uint8Array(0), start: 0, end: 0 }
  readonly #change: Written<TableChange> = { tableId: 0, schemaVersion: 0, op: 'append', inserted: 0, updated: 0, deleted: 0, inline: this.#inline }
  #bytes: Uint8Array = this.#inline.bytes
  #at = 0
  #writeIdAt = 0

  constructor() {
    this.changes = [this.#change]
  }

  /** A view, not a copy. */
  get writeId(): Uint8Array {
    return this.#bytes.subarray(this.#writeIdAt, this.#writeIdAt + WRITE_ID_BYTES)
  }

  /** The payload at `start` .. `end` of `bytes`. @returns false: it is another commit, or none */
  read(bytes: Uint8Array, start: number, end: number): boolean {
    // No flags: neither author nor message, nor anything else beside the changes.
    if (bytes[start] !== COMMIT_VERSION || bytes[start + 1] !== 0) return false
    this.#bytes = bytes
    this.#at = start + 2
    this.branch = this.#varint()
    this.parent = this.#varint()
    this.timeMs = this.#u53()
    this.#writeIdAt = this.#at
    this.#at += WRITE_ID_BYTES
    if (this.#varint() !== 1) return false
    const change = this.#change
    change.tableId = this.#varint()
    change.schemaVersion = this.#varint()
    const op: Op | undefined = OPS[bytes[this.#at]!]
    if (op === undefined || bytes[this.#at + 1] !== PART_INLINE) return false
    change.op = op
    this.#at += 2
    change.inserted = this.#varint()
    change.updated = this.#varint()
    change.deleted = this.#varint()
    const inline = this.#inline
    inline.rows = this.#varint()
    const length = this.#varint()
    inline.bytes = bytes
    inline.start = this.#at
    inline.end = end
    // What was read beyond the end shows here: the place only grows.
    return this.#at + length === end
  }

  #varint(): number {
    const byte = this.#bytes[this.#at]!
    if (byte < 0x80) {
      this.#at++
      return byte
    }
    let value = 0
    let scale = 1
    for (let i = 0; i < 8; i++) {
      const next = this.#bytes[this.#at++]!
      value += (next & 0x7f) * scale
      if (next < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break
        return value
      }
      scale *= 0x80
    }
    this.#at = BROKEN
    return 0
  }

  #u53(): number {
    const at = this.#at
    const bytes = this.#bytes
    this.#at += 8
    const low = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
    const high = (bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24)) >>> 0
    if (high >= 0x20_0000) this.#at = BROKEN
    return low + high * 0x1_0000_0000
  }
}
