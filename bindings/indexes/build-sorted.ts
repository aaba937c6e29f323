// indexes/build-sorted.ts: the sorted index of one fragment from its columns (indexes/sorted-index.ts has the format). Pure: runs in any thread.
//
// The kernels sort row numbers by the columns; keys are then made in that order, one after another, each compressed against the one before.
// Invariant: equal columns give equal bytes, so that a damaged file can be made again under its name.
import { assert } from '../assert.ts'
import { ByteWriter, type ColumnDef, fromHex, valueKindOf, writeCheck, xxh3Bytes } from '../format/index.ts'
import { sortIndices, type Vec } from '../kernels/index.ts'
import { keyBytesMax, keyCode, type PartWriter, partWriter } from './index-keys.ts'
import { BLOCK_ENTRIES, CHECK_BYTES, FIXED_BYTES, headerBytes, MODE_ASCENDING, packedBytes, SORTED_MAGIC, SORTED_VERSION } from './sorted-index.ts'

export interface SortedInput {
  /** SHA-256 of the fragment, hex. */
  readonly fragment: string
  readonly rows: number
  /** In the order of the index. */
  readonly columns: readonly ColumnDef[]
  /** One per column, of all rows of the fragment. */
  readonly vecs: readonly Vec[]
  /** For tests. */
  readonly blockEntries?: number
}

export function encodeSorted(input: SortedInput): Uint8Array<ArrayBuffer> {
  const { rows, columns, vecs, blockEntries = BLOCK_ENTRIES } = input
  assert(rows > 0 && rows < 2 ** 26, 'an index has 1 .. 2^26 - 1 rows', rows)
  const order = sortIndices(
    columns.map(({ type }, i) => ({ vec: vecs[i]!, kind: valueKindOf(type)! })),
    rows,
  )
  const writers = columns.map(({ type }, i) => partWriter(vecs[i]!, type))
  const directory = new ByteWriter(4096)
  const blocks = new ByteWriter(rows * 4 + 1024)
  const keys = new BlockWriter(writers)
  const firstKeys = new KeyWriter()
  for (let from = 0; from < rows; from += blockEntries) {
    const start = blocks.at
    const first = keys.block(order.subarray(from, Math.min(rows, from + blockEntries)), blocks)
    directory.varint(blocks.at - start)
    directory.raw(xxh3Bytes(blocks.bytes.subarray(start, blocks.at)))
    firstKeys.put(directory, first, first.length)
  }
  firstKeys.put(directory, keys.key, keys.length)
  return assembled(input, blockEntries, directory.finish(), blocks.finish())
}

function assembled({ fragment, rows, columns }: SortedInput, blockEntries: number, directory: Uint8Array, blocks: Uint8Array): Uint8Array<ArrayBuffer> {
  const length = headerBytes(columns.length)
  const file = new Uint8Array(length + directory.length + blocks.length)
  const view = new DataView(file.buffer)
  ;[SORTED_MAGIC, SORTED_VERSION, rows, blockEntries, Math.ceil(rows / blockEntries), directory.length].forEach((word, i) => view.setUint32(4 * i, word, true))
  file.set(xxh3Bytes(directory), 24)
  file.set(fromHex(fragment), 32)
  view.setUint16(64, columns.length, true)
  columns.forEach(({ id, type }, i) => {
    view.setUint32(FIXED_BYTES + 6 * i, id, true)
    view.setUint16(FIXED_BYTES + 6 * i + 4, keyCode(type), true)
  })
  assert(length % CHECK_BYTES === 0, 'the header ends in its check', length)
  writeCheck(file.subarray(0, length))
  file.set(directory, length)
  file.set(blocks, length + directory.length)
  return file
}

/** Keys one after another, each less what it shares with the one before. */
class KeyWriter {
  #before = new Uint8Array(64)
  #length = 0

  put(out: ByteWriter, key: Uint8Array, length: number): void {
    let shared = 0
    const most = Math.min(this.#length, length)
    while (shared < most && this.#before[shared] === key[shared]) shared++
    out.varint(shared)
    out.blob(key.subarray(shared, length))
    if (this.#before.length < length) this.#before = new Uint8Array(2 * length)
    this.#before.set(key.subarray(0, length))
    this.#length = length
  }
}

class BlockWriter {
  /** Of the last entry. */
  key: Uint8Array
  length = 0
  readonly #writers: readonly PartWriter[]
  #spare: Uint8Array
  readonly #keys = new ByteWriter(16 * 1024)

  constructor(writers: readonly PartWriter[]) {
    this.#writers = writers
    this.key = new Uint8Array(keyBytesMax(writers.length))
    this.#spare = new Uint8Array(this.key.length)
  }

  /** Writes the block of these rows; returns a copy of its first key. */
  block(rows: Uint32Array, out: ByteWriter): Uint8Array {
    packRows(rows, out)
    const runs: number[] = []
    const keys = this.#keys
    keys.at = 0
    // Where each key but the first ends, so that the length of its run can follow it.
    const ends: number[] = []
    let first: Uint8Array | undefined
    for (let i = 0; i < rows.length; i++) {
      const { key: before, length: beforeLength } = this
      const key = this.#spare
      let length = 0
      for (const write of this.#writers) length = write(rows[i]!, key, length)
      this.#spare = before
      this.key = key
      this.length = length
      if (first === undefined) {
        first = key.slice(0, length)
        runs.push(1)
        ends.push(0)
        continue
      }
      let shared = 0
      const most = Math.min(beforeLength, length)
      while (shared < most && before[shared] === key[shared]) shared++
      if (shared === length && length === beforeLength) {
        runs[runs.length - 1]!++
        continue
      }
      keys.varint(shared)
      keys.blob(key.subarray(shared, length))
      runs.push(1)
      ends.push(keys.at)
    }
    out.varint(runs.length)
    if (runs.length === 1 || runs.length === rows.length) out.raw(keys.bytes.subarray(0, keys.at))
    else {
      let at = 0
      runs.forEach((run, i) => {
        out.raw(keys.bytes.subarray(at, ends[i]))
        out.varint(run)
        at = ends[i]!
      })
    }
    return first!
  }
}

function packRows(rows: Uint32Array, out: ByteWriter): void {
  const n = rows.length
  let least = rows[0]!
  let most = rows[0]!
  let step = 0
  let ascending = true
  for (let i = 1; i < n; i++) {
    const row = rows[i]!
    const delta = row - rows[i - 1]!
    if (delta < 0) ascending = false
    else if (delta > step) step = delta
    if (row < least) least = row
    else if (row > most) most = row
  }
  const bits = 32 - Math.clz32(ascending ? step : most - least)
  out.u8(ascending ? MODE_ASCENDING : 0)
  out.u8(bits)
  out.varint(least)
  const bytes = packedBytes(n, bits)
  out.reserve(bytes)
  const target = out.bytes.subarray(out.at, out.at + bytes).fill(0)
  out.at += bytes
  let before = least
  for (let i = 0, bit = 0; i < n; i++, bit += bits) {
    const value = ascending ? rows[i]! - before : rows[i]! - least
    before = rows[i]!
    // 26 bits and a shift of 7 are 33: the low 32 as a word, the rest by itself.
    const shift = bit & 7
    let at = bit >>> 3
    let word = (value << shift) >>> 0
    for (let left = shift + bits; left > 0 && at < bytes; left -= 8, word >>>= 8) target[at++]! |= word & 255
    if (shift + bits > 32) target[(bit >>> 3) + 4]! |= value >>> (32 - shift)
  }
}
