// kernels/arrow-buffers.ts: rows of an Arrow node's buffers, each length checked before it is used.
//
// Invariant: what these functions return lies inside its buffer. Values may be fewer than rows where the missing rows are null: libraries that pad a
// batch to equal lengths extend the bitmap only.
import type { ArrowNode } from './arrow-source.ts'
import { popcount } from './bitmap.ts'

/** Buffers that contradict their lengths. */
export class BufferFault extends Error {}

export interface Nulls {
  readonly count: number
  readonly validity: Uint8Array | undefined
}

export const NO_NULLS: Nulls = { count: 0, validity: undefined }

export function nullsOf(node: ArrowNode, start: number, count: number): Nulls {
  if (node.validity === undefined || count === 0) return NO_NULLS
  const from = node.bitOffset + start
  if ((from + count + 7) >> 3 > node.validity.length) throw new BufferFault(`a validity bitmap of ${node.validity.length} bytes for ${from + count} rows`)
  const validity = copyBits(node.validity, from, count)
  const nulls = count - popcount(validity, count)
  return nulls === 0 ? NO_NULLS : { count: nulls, validity }
}

export function validityTest(nulls: Nulls): (row: number) => boolean {
  const { validity } = nulls
  return validity === undefined ? () => true : (row) => ((validity[row >> 3]! >> (row & 7)) & 1) === 1
}

export function bitsOf(node: ArrowNode, start: number, count: number): Uint8Array {
  const from = node.bitOffset + start
  if ((from + count + 7) >> 3 > node.values.length) {
    const have = Math.max(0, node.values.length * 8 - node.bitOffset)
    if (!tailIsNull(node, have, start + count)) throw new BufferFault(`a bitmap of ${node.values.length} bytes for ${from + count} rows`)
    const padded = new Uint8Array((from + count + 7) >> 3)
    padded.set(node.values)
    return copyBits(padded, from, count)
  }
  return copyBits(node.values, from, count)
}

/** Bits [from, from + count) moved to bit 0; trailing bits are zero. */
function copyBits(bits: Uint8Array, from: number, count: number): Uint8Array {
  const first = from >> 3
  const shift = from & 7
  const bytes = (count + 7) >> 3
  const out = bits.slice(first, first + bytes)
  if (shift !== 0) for (let i = 0; i < bytes; i++) out[i] = (bits[first + i]! >> shift) | ((bits[first + i + 1] ?? 0) << (8 - shift))
  if ((count & 7) !== 0) out[bytes - 1]! &= (1 << (count & 7)) - 1
  return out
}

/** Whether rows [from, to) are null. */
function tailIsNull(node: ArrowNode, from: number, to: number): boolean {
  const { validity, bitOffset } = node
  if (validity === undefined) return false
  for (let row = from; row < to; row++) {
    const bit = bitOffset + row
    if ((validity[bit >> 3]! >> (bit & 7)) & 1) return false
  }
  return true
}

/** Room made for missing values, at most: a stated width alone must not allocate. */
const PADDED_BYTES_MAX = 2 ** 28

/** The bytes of rows of a fixed width, aligned to 8. */
export function fixedBytes(node: ArrowNode, start: number, count: number, width: number): Uint8Array {
  const end = (start + count) * width
  if (end > node.values.length) {
    const have = Math.floor(node.values.length / width)
    if (!tailIsNull(node, have, start + count)) throw new BufferFault(`${node.values.length} bytes of values for ${start + count} rows of ${width}`)
    if (count * width > PADDED_BYTES_MAX) throw new BufferFault(`${count} rows of ${width} bytes without values`)
    const padded = new Uint8Array(count * width)
    padded.set(node.values.subarray(start * width, have * width))
    return padded
  }
  const bytes = node.values.subarray(start * width, end)
  // SharedArrayBuffer and odd places: an own copy.
  return bytes.byteOffset % 8 === 0 ? bytes : bytes.slice()
}

export function asBytes(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength)
}

/** First and last child row, and offsets from 0 on. */
export function localOffsets(node: ArrowNode, start: number, count: number, limit: number): { first: number; last: number; offsets: Int32Array } {
  if (count === 0) return { first: 0, last: 0, offsets: new Int32Array(1) }
  const offsets = longEnough(node, start + count)
  const out = new Int32Array(count + 1)
  if (offsets instanceof Int32Array) {
    const first = offsets[start]!
    let before = 0
    for (let i = 0; i <= count; i++) {
      const offset = offsets[start + i]! - first
      if (offset < before) {
        // Room behind the last value that the library never filled.
        if (!tailIsNull(node, start + i - 1, start + count)) throw new BufferFault(`offset ${offsets[start + i]} of row ${start + i} goes back`)
        out.fill(before, i)
        break
      }
      out[i] = offset
      before = offset
    }
    if (first < 0 || first + before > limit) throw new BufferFault(`offsets ${first}..${first + before} of ${limit}`)
    return { first, last: first + before, offsets: out }
  }
  const first = Number(offsets[start]!)
  const last = Number(offsets[start + count]!)
  if (!(first >= 0 && last >= first && last <= limit)) throw new BufferFault(`offsets ${first}..${last} of ${limit}`)
  let before = 0
  for (let i = 0; i <= count; i++) {
    const offset = Number(offsets[start + i]!) - first
    if (!(offset >= before && offset <= 0x7fff_ffff)) throw new BufferFault(`offset ${offsets[start + i]} of row ${start + i} goes back, or passes 2 GiB`)
    out[i] = offset
    before = offset
  }
  return { first, last, offsets: out }
}

function longEnough(node: ArrowNode, rows: number): Int32Array | BigInt64Array {
  const { offsets } = node
  if (offsets !== undefined && offsets.length > rows) return offsets
  const have = Math.max(0, (offsets?.length ?? 0) - 1)
  if (!tailIsNull(node, have, rows)) throw new BufferFault(`${offsets?.length ?? 0} offsets for ${rows} rows`)
  const padded = new BigInt64Array(rows + 1)
  for (let i = 0; i <= rows; i++) padded[i] = offsets === undefined || offsets.length === 0 ? 0n : BigInt(offsets[Math.min(i, have)]!)
  return padded
}
