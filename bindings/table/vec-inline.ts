// table/vec-inline.ts: one column as a node of an inline batch, in plain TypeScript: for the few rows of nested columns on the hot path.
//
// Invariant: byte for byte what the inline kernel writes for the same Vec.
import { assert } from '../assert.ts'
import type { Vec } from '../kernels/index.ts'
import { type ByteSink, reserve } from './byte-sink.ts'

/** Append `vec` (plain, not dictionary-encoded) and its children. */
export function putInlineVec(vec: Vec, out: ByteSink): void {
  putRows(vec, 0, vec.length, out)
}

function putRows(vec: Vec, start: number, end: number, out: ByteSink): void {
  const { layout } = vec
  const rows = end - start
  const nulls = nullsIn(vec, start, end)
  reserve(out, 1 + ((rows + 7) >> 3))
  if (rows > 0 && nulls === rows) {
    out.bytes[out.at++] = 2
    return
  }
  let flag = nulls === 0 ? 0 : 1
  let lengthBytes = 1
  if (layout.kind === 'var' || layout.kind === 'list') {
    let longest = 0
    for (let row = start; row < end; row++) longest = Math.max(longest, vec.offsets![row + 1]! - vec.offsets![row]!)
    lengthBytes = longest < 0x100 ? 1 : longest < 0x1_0000 ? 2 : 4
    flag |= (lengthBytes >> 1) << 2
  }
  out.bytes[out.at++] = flag
  if (nulls > 0) putBits(vec.validity!, start, end, out)
  switch (layout.kind) {
    case 'fixed':
      putRun(vec.values.subarray(start * layout.width, end * layout.width), out)
      return
    case 'bool':
      reserve(out, (rows + 7) >> 3)
      putBits(vec.values, start, end, out)
      return
    case 'var':
    case 'list': {
      const offsets = vec.offsets!
      reserve(out, rows * lengthBytes)
      for (let row = start; row < end; row++, out.at += lengthBytes) {
        const length = offsets[row + 1]! - offsets[row]!
        if (lengthBytes === 1) out.bytes[out.at] = length
        else if (lengthBytes === 2) out.view.setUint16(out.at, length, true)
        else out.view.setUint32(out.at, length, true)
      }
      if (layout.kind === 'var') putRun(vec.values.subarray(offsets[start], offsets[end]), out)
      else putRows(vec.children[0]!, offsets[start]!, offsets[end]!, out)
      return
    }
    case 'fsl':
      putRows(vec.children[0]!, start * layout.size, end * layout.size, out)
      return
    case 'struct':
      for (const child of vec.children) putRows(child, start, end, out)
      return
    default:
      assert(false, 'an inline column is not dictionary-encoded')
  }
}

function nullsIn(vec: Vec, start: number, end: number): number {
  if (vec.validity === undefined) return 0
  let nulls = 0
  for (let row = start; row < end; row++) if (((vec.validity[row >> 3]! >> (row & 7)) & 1) === 0) nulls++
  return nulls
}

function putBits(bits: Uint8Array, start: number, end: number, out: ByteSink): void {
  reserve(out, (end - start + 7) >> 3)
  for (let from = start; from < end; from += 8) {
    let byte = 0
    for (let row = from; row < end && row < from + 8; row++) byte |= ((bits[row >> 3]! >> (row & 7)) & 1) << (row - from)
    out.bytes[out.at++] = byte
  }
}

function putRun(bytes: Uint8Array, out: ByteSink): void {
  reserve(out, bytes.length)
  out.bytes.set(bytes, out.at)
  out.at += bytes.length
}
