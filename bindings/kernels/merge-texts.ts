// kernels/merge-texts.ts: byte strings on their way to a merge: keys of eight bytes, made piece by piece, and the order of the rows whose keys are equal.
//
// Byte strings stay on the heap: what a merge needs of them in kernel memory is their keys. Invariant: keys are written only for runs that ascend.
import type { KernelInstance } from './instance.ts'
import { pieceEnd } from './pieces.ts'
import { offsetsOf } from './vec-build.ts'
import type { Vec } from './vec.ts'

/** A view of one row of a var column. */
export function bytesAt(v: Vec, row: number): Uint8Array {
  const offsets = offsetsOf(v)
  return v.values.subarray(offsets[row]!, offsets[row + 1]!)
}

/** How many bytes the first and last rows of all runs, and so all rows of sorted runs, begin with in common. */
export function sharedBytes(ends: readonly Uint8Array[]): number {
  const [like] = ends
  let shared = like?.length ?? 0
  for (const end of ends) {
    const most = Math.min(shared, end.length)
    for (shared = 0; shared < most && end[shared] === like![shared];) shared++
  }
  return shared
}

/** Keys of the first n rows; false when they do not ascend. */
export function keysOfTexts(k: KernelInstance, v: Vec, n: number, like: number, shared: number, column: number): boolean {
  const from = offsetsOf(v)
  let first = 0
  while (first < n) {
    const end = pieceEnd(from, first, n)
    // The row before a piece is part of it, for their order.
    const begin = Math.max(0, first - 1)
    const mark = k.arena.mark()
    const offsets = k.arena.reserve((end - begin + 1) * 4)
    const data = k.copyIn(v.values.subarray(from[begin]!, from[end]!)) - from[begin]!
    k.i32.set(from.subarray(begin, end + 1), offsets >>> 2)
    const made = k.exports.keys_behind(offsets, data, like, shared, end - begin, column + begin * 8)
    k.arena.rewind(mark)
    if (made < end - begin) return false
    first = end
  }
  return true
}

/** As compareByteStrings, row i of a against row j of b; without views of them. */
export function compareRows(a: Vec, i: number, b: Vec, j: number): number {
  const [from, other] = [offsetsOf(a), offsetsOf(b)]
  let p = from[i]!
  let q = other[j]!
  const length = from[i + 1]! - p - (other[j + 1]! - q)
  for (const end = length < 0 ? from[i + 1]! : p + other[j + 1]! - q; p < end; p++, q++) if (a.values[p] !== b.values[q]) return a.values[p]! - b.values[q]!
  return length
}

/**
 * Merges the rows of equal keys by their bytes. `ties`: from merge_pair, how many rows of the first run there are whose key is one of the second's, and where
 * in `order` they lie; the second run's rows of that key follow them.
 */
export function settleTies(k: KernelInstance, column: number, order: Uint32Array, ties: number, compare: (a: number, b: number) => number): void {
  const at = ties >>> 2
  if (k.u32[at] === 0) return
  const places = k.u32.slice(at + 1, at + 1 + k.u32[at]!).sort()
  const keys = k.u32.subarray(column >>> 2)
  const isSameKey = (a: number, b: number): boolean => keys[2 * a] === keys[2 * b] && keys[2 * a + 1] === keys[2 * b + 1]
  for (let i = 0; i < places.length;) {
    const first = (places[i]! - order.byteOffset) >>> 2
    let middle = first
    while (i < places.length && places[i] === order.byteOffset + middle * 4) {
      middle++
      i++
    }
    // Equal rows, and others that lie in order already.
    if (compare(order[middle]!, order[middle - 1]!) >= 0) continue
    let end = middle + 1
    while (end < order.length && isSameKey(order[first]!, order[end]!)) end++
    const a = order.slice(first, middle)
    let x = 0
    let y = middle
    for (let to = first; x < a.length; to++) order[to] = y < end && compare(order[y]!, a[x]!) < 0 ? order[y++]! : a[x++]!
  }
}
