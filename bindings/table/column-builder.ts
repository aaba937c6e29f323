// table/column-builder.ts: a growing column of the memory layer, in Arrow layout, filled from inline batches or Vecs.
//
// Invariant: rows below `length` never change; growth copies into new buffers and leaves old views whole, so a Vec handed out stays valid for ever.
// Bitmaps are shared with later rows of the same byte: view() copies and masks them.

import { assert } from '../assert.ts'
import { DecodeError } from '../format/index.ts'
import { type Layout, popcount, type Vec } from '../kernels/index.ts'

/** A place to read an inline batch from. */
export interface InlineCursor {
  readonly bytes: Uint8Array
  at: number
  readonly end: number
}

const NO_BYTES = new Uint8Array(0)
const ALL_NULL = 2
const HAS_NULLS = 1
const FIRST_ROWS = 64

export class ColumnBuilder {
  readonly layout: Layout
  length = 0
  nullCount = 0
  private validity: Uint8Array | undefined
  private values: Uint8Array
  private offsets: Int32Array | undefined
  private readonly children: readonly ColumnBuilder[]
  private readonly width: number
  private cached: Vec | undefined
  private rawCache: Vec | undefined

  constructor(layout: Layout, rows: number = FIRST_ROWS) {
    this.layout = layout
    this.width = layout.kind === 'fixed' ? layout.width : 0
    this.values =
      layout.kind === 'fixed' ? new Uint8Array(rows * layout.width) : layout.kind === 'bool' || layout.kind === 'var' ? new Uint8Array(rows) : NO_BYTES
    this.offsets = layout.kind === 'var' || layout.kind === 'list' ? new Int32Array(rows + 1) : undefined
    this.children =
      layout.kind === 'list' || layout.kind === 'fsl'
        ? [new ColumnBuilder(layout.item, rows)]
        : layout.kind === 'struct'
          ? layout.fields.map((field) => new ColumnBuilder(field, rows))
          : []
  }

  get byteLength(): number {
    let bytes = this.values.length + (this.offsets?.byteLength ?? 0) + (this.validity?.length ?? 0)
    for (const child of this.children) bytes += child.byteLength
    return bytes
  }

  /** Append `rows` rows of an inline batch node (docs/format.md section "Inline batch"). @throws DecodeError */
  appendInline(cursor: InlineCursor, rows: number): void {
    const { bytes } = cursor
    if (cursor.at >= cursor.end) throw new DecodeError('an inline batch that ends early', cursor.at)
    const flag = bytes[cursor.at++]!
    const nulls = flag & 3
    if (nulls === ALL_NULL) return this.appendNulls(rows)
    if (nulls === HAS_NULLS) {
      this.appendValidity(bytes, cursor.at, rows)
      cursor.at += (rows + 7) >> 3
    } else if (this.validity !== undefined) this.markValid(rows)
    const start = this.length
    this.length += rows
    const { layout } = this
    switch (layout.kind) {
      case 'fixed': {
        const n = rows * this.width
        this.readValues(cursor, start * this.width, n)
        return
      }
      case 'bool': {
        this.growValues((this.length + 7) >> 3)
        copyBits(bytes, take(cursor, (rows + 7) >> 3), this.values, start, rows)
        return
      }
      case 'var': {
        const before = this.offsets![start]!
        const total = this.readLengths(cursor, flag, start, rows)
        this.readValues(cursor, before, total)
        return
      }
      case 'list': {
        this.children[0]!.appendInline(cursor, this.readLengths(cursor, flag, start, rows))
        return
      }
      case 'fsl': {
        this.children[0]!.appendInline(cursor, rows * layout.size)
        return
      }
      case 'struct': {
        for (const child of this.children) child.appendInline(cursor, rows)
        return
      }
      default:
        throw new DecodeError('a dictionary in an inline batch', cursor.at)
    }
  }

  appendNulls(rows: number): void {
    if (rows === 0) return
    this.growValidity(this.length + rows)
    const start = this.length
    this.length += rows
    this.nullCount += rows
    switch (this.layout.kind) {
      case 'fixed':
        this.growValues(this.length * this.width)
        return
      case 'bool':
        this.growValues((this.length + 7) >> 3)
        return
      case 'var':
      case 'list':
        this.growOffsets(this.length)
        this.offsets!.fill(this.offsets![start]!, start + 1, this.length + 1)
        return
      case 'fsl':
        this.children[0]!.appendNulls(rows * this.layout.size)
        return
      default:
        for (const child of this.children) child.appendNulls(rows)
    }
  }

  /** Append all rows of a plain (not dictionary-encoded) Vec of the same layout. */
  appendVec(vec: Vec): void {
    const rows = vec.length
    assert(vec.layout.kind === this.layout.kind, 'a column takes its own layout', vec.layout.kind)
    if (rows === 0) return
    if (vec.nullCount > 0) this.appendValidity(vec.validity!, 0, rows)
    else if (this.validity !== undefined) this.markValid(rows)
    const start = this.length
    this.length += rows
    switch (this.layout.kind) {
      case 'fixed':
        this.growValues(this.length * this.width)
        this.values.set(vec.values.subarray(0, rows * this.width), start * this.width)
        return
      case 'bool':
        this.growValues((this.length + 7) >> 3)
        copyBits(vec.values, 0, this.values, start, rows)
        return
      case 'var': {
        const from = vec.offsets![0]!
        const base = this.appendOffsets(vec.offsets!, start, rows)
        this.growValues(base + vec.offsets![rows]! - from)
        this.values.set(vec.values.subarray(from, vec.offsets![rows]!), base)
        return
      }
      case 'list': {
        this.appendOffsets(vec.offsets!, start, rows)
        const child = vec.children[0]!
        assert(vec.offsets![0] === 0 && child.length === vec.offsets![rows]!, 'a list to append starts at its child', child.length)
        this.children[0]!.appendVec(child)
        return
      }
      default:
        for (let i = 0; i < this.children.length; i++) this.children[i]!.appendVec(vec.children[i]!)
    }
  }

  /** Forget the rows from `rows` on: nobody was shown them. */
  truncate(rows: number): void {
    if (rows >= this.length) return
    const childRows = this.childRows(rows)
    if (this.validity !== undefined) {
      clearBits(this.validity, rows, this.length)
      this.nullCount = rows - popcount(this.validity, rows)
    }
    if (this.layout.kind === 'bool') clearBits(this.values, rows, this.length)
    for (const child of this.children) child.truncate(childRows)
    this.length = rows
    this.cached = undefined
    this.rawCache = undefined
  }

  /** The first `rows` rows as a Vec. */
  view(rows: number): Vec {
    assert(rows <= this.length, 'a view shows rows that are there', rows)
    if (this.cached?.length === rows) return this.cached
    const validity = this.validity === undefined ? undefined : maskedCopy(this.validity, rows)
    const nullCount = validity === undefined ? 0 : rows - popcount(validity, rows)
    const { kind } = this.layout
    const vec: Vec = {
      layout: this.layout,
      length: rows,
      nullCount,
      validity: nullCount === 0 ? undefined : validity,
      values:
        kind === 'fixed'
          ? this.values.subarray(0, rows * this.width)
          : kind === 'bool'
            ? maskedCopy(this.values, rows)
            : kind === 'var'
              ? this.values.subarray(0, this.offsets![rows]!)
              : NO_BYTES,
      offsets: this.offsets?.subarray(0, rows + 1),
      children: this.children.map((child) => child.view(this.childRows(rows))),
      dictionary: undefined,
    }
    this.cached = vec
    return vec
  }

  /**
   * The buffers as they are, for reading single rows below `length` at once: no copy, nullCount and masks not exact. Not to be kept or handed to kernels.
   */
  raw(): Vec {
    if (this.rawCache?.length === this.length) return this.rawCache
    this.rawCache = {
      layout: this.layout,
      length: this.length,
      nullCount: this.nullCount,
      validity: this.validity,
      values: this.values,
      offsets: this.offsets,
      children: this.children.map((child) => child.raw()),
      dictionary: undefined,
    }
    return this.rawCache
  }

  private childRows(rows: number): number {
    return this.layout.kind === 'list' ? this.offsets![rows]! : this.layout.kind === 'fsl' ? rows * this.layout.size : rows
  }

  private readValues(cursor: InlineCursor, at: number, n: number): void {
    this.growValues(at + n)
    const from = take(cursor, n)
    // A loop for short values: making a view costs more than the bytes.
    if (n <= 32) for (let i = 0; i < n; i++) this.values[at + i] = cursor.bytes[from + i]!
    else this.values.set(cursor.bytes.subarray(from, from + n), at)
  }

  private readLengths(cursor: InlineCursor, flag: number, start: number, rows: number): number {
    this.growOffsets(start + rows)
    const offsets = this.offsets!
    const first = offsets[start]!
    const { bytes } = cursor
    const width = 1 << ((flag >> 2) & 3)
    if (width > 4) throw new DecodeError('a length width of 8', cursor.at)
    let from = take(cursor, rows * width)
    let end = first
    for (let i = 1; i <= rows; i++, from += width) {
      end +=
        width === 1
          ? bytes[from]!
          : width === 2
            ? bytes[from]! | (bytes[from + 1]! << 8)
            : (bytes[from]! | (bytes[from + 1]! << 8) | (bytes[from + 2]! << 16)) + bytes[from + 3]! * 0x100_0000
      if (end > 0x7fff_ffff) throw new DecodeError('lengths past 2 GiB', cursor.at)
      offsets[start + i] = end
    }
    return end - first
  }

  private appendOffsets(source: Int32Array, start: number, rows: number): number {
    this.growOffsets(start + rows)
    const offsets = this.offsets!
    const base = offsets[start]!
    const shift = base - source[0]!
    for (let i = 1; i <= rows; i++) offsets[start + i] = source[i]! + shift
    return base
  }

  private appendValidity(bytes: Uint8Array, from: number, rows: number): void {
    if (from + ((rows + 7) >> 3) > bytes.length) throw new DecodeError('a validity bitmap that ends early', from)
    this.growValidity(this.length + rows)
    copyBits(bytes, from, this.validity!, this.length, rows)
    let valid = 0
    for (let i = 0; i < rows; i++) valid += (bytes[from + (i >> 3)]! >> (i & 7)) & 1
    this.nullCount += rows - valid
  }

  private markValid(rows: number): void {
    this.growValidity(this.length + rows)
    for (let i = this.length; i < this.length + rows; i++) this.validity![i >> 3]! |= 1 << (i & 7)
  }

  private growValidity(rows: number): void {
    const bytes = (rows + 7) >> 3
    if (this.validity === undefined) {
      this.validity = new Uint8Array(Math.max(bytes, FIRST_ROWS >> 3))
      for (let i = 0; i < this.length; i++) this.validity[i >> 3]! |= 1 << (i & 7)
    } else if (bytes > this.validity.length) this.validity = grown(this.validity, bytes)
  }

  private growValues(bytes: number): void {
    if (bytes > this.values.length) this.values = grown(this.values, bytes)
  }

  private growOffsets(rows: number): void {
    if (rows < this.offsets!.length) return
    const larger = new Int32Array(Math.max(rows + 1, this.offsets!.length * 2))
    larger.set(this.offsets!)
    this.offsets = larger
  }
}

function take(cursor: InlineCursor, n: number): number {
  if (n > cursor.end - cursor.at) throw new DecodeError(`${n} bytes of an inline batch expected, ${cursor.end - cursor.at} left`, cursor.at)
  const at = cursor.at
  cursor.at += n
  return at
}

function grown(bytes: Uint8Array, needed: number): Uint8Array {
  const larger = new Uint8Array(Math.max(needed, bytes.length * 2))
  larger.set(bytes)
  return larger
}

/** Copy `n` bits from bit 0 of source[from] to bit `at` of target, whose bits from there on are zero. */
function copyBits(source: Uint8Array, from: number, target: Uint8Array, at: number, n: number): void {
  if ((at & 7) === 0) {
    const whole = n >> 3
    for (let i = 0; i < whole; i++) target[(at >> 3) + i] = source[from + i]!
    for (let i = whole * 8; i < n; i++) target[(at + i) >> 3]! |= ((source[from + (i >> 3)]! >> (i & 7)) & 1) << ((at + i) & 7)
    return
  }
  for (let i = 0; i < n; i++) target[(at + i) >> 3]! |= ((source[from + (i >> 3)]! >> (i & 7)) & 1) << ((at + i) & 7)
}

function clearBits(bitmap: Uint8Array, start: number, end: number): void {
  for (let i = start; i < end; i++) bitmap[i >> 3]! &= ~(1 << (i & 7))
}

function maskedCopy(bitmap: Uint8Array, rows: number): Uint8Array {
  const copy = bitmap.slice(0, (rows + 7) >> 3)
  if ((rows & 7) !== 0) copy[copy.length - 1]! &= (1 << (rows & 7)) - 1
  return copy
}
