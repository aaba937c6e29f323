// inline-decode.ts: bodies of inline batches (rows inside commit records) appended to columns, many bodies in one call.
//
// A body is the preorder walk over the columns and their children; per node: u8 flag (bits 0-1 validity: 0 no nulls, 1 bitmap follows, 2 all null and
// nothing follows for the node and its children; bits 2-3 log2 of the length width), the bitmap, then fixed: raw bytes; bool: bitmap; var: lengths and
// bytes; list: lengths; struct, fsl: nothing. inline_measure finds the sizes and refuses what does not parse, inline_decode then fills the outputs.
// Invariant: every length is held against what remains of the input before it is used; totals stay below 2^31, so no sum wraps.
import { bits_popcount, concat_bits, fill_bits } from './arrow-bits'

// A node, 64 bytes. Twin: bindings/kernels/inline.ts.
const KIND: usize = 0 // 0 fixed, 1 bool, 2 var, 3 list, 4 struct, 5 fsl
const SIZE: usize = 4 // bytes of a fixed row, items of a fixed-size list
const PARENT: usize = 8 // node index, -1 = column
const ABSENT: usize = 12 // this body: nothing of the children follows
const CHILD_ROWS: usize = 16 // this body
const ROWS: usize = 20 // total before this body
const ITEMS: usize = 24 // var: bytes, list: child rows; total before this body
const NULLS: usize = 28
const VALIDITY: usize = 32 // outputs; validity 0 = the column has no nulls; bitmaps were zeroed
const VALUES: usize = 36
const OFFSETS: usize = 40

const NODE_SHIFT: usize = 6
const MAX: u64 = 0x7fffffff
/** All-null nodes have rows without bytes: this bounds what one body can make of nothing. */
const ALL_NULL_ROWS_MAX: u32 = 1 << 24

@inline
function length_at(p: usize, width: u32, i: u32): u32 {
  if (width == 0) return load<u8>(p + i)
  if (width == 1) return load<u16>(p + (<usize>i << 1))
  return load<u32>(p + (<usize>i << 2))
}

/** One body; returns where it ends, or 0 when it does not parse. */
function body(p: usize, end: usize, rows: u32, nodes: usize, nodesEnd: usize, write: bool): usize {
  for (let node = nodes; node < nodesEnd; node += 1 << NODE_SHIFT) {
    const parent = load<i32>(node, PARENT)
    let n = rows
    let absent = false
    if (parent >= 0) {
      const up = nodes + (<usize>parent << NODE_SHIFT)
      n = load<u32>(up, CHILD_ROWS)
      absent = load<u32>(up, ABSENT) != 0
    }
    const kind = load<u32>(node, KIND)
    const size = load<u32>(node, SIZE)
    const before = load<u32>(node, ROWS)
    if (<u64>before + n > MAX) return 0
    let flag: u32 = 2
    if (!absent) {
      if (p >= end) return 0
      flag = load<u8>(p++)
    }
    const state = flag & 3
    const width = flag >> 2
    if (state == 2 && n > ALL_NULL_ROWS_MAX) return 0
    if (state == 3 || width > 2 || (width && kind != 2 && kind != 3)) return 0
    const bitmapBytes = (n + 7) >> 3

    if (state == 1) {
      if (bitmapBytes > <u32>(end - p)) return 0
      if (n & 7 && load<u8>(p + bitmapBytes - 1) >> (<u8>n & 7)) return 0
      if (write) concat_bits(load<u32>(node, VALIDITY), before, p, 0, n)
      else store<u32>(node, load<u32>(node, NULLS) + n - bits_popcount(p, n), NULLS)
      p += bitmapBytes
    } else if (write) {
      if (state == 0 && load<u32>(node, VALIDITY)) fill_bits(load<u32>(node, VALIDITY), before, n)
    } else if (state == 2) {
      store<u32>(node, load<u32>(node, NULLS) + n, NULLS)
    }
    const none = state == 2

    if (kind == 0) {
      const bytes = <u64>n * size
      if (none) {
        if (write) memory.fill(<usize>load<u32>(node, VALUES) + <usize>before * size, 0, <usize>bytes)
      } else {
        if (bytes > <u64>(end - p)) return 0
        if (write) {
          const to = <usize>load<u32>(node, VALUES) + <usize>before * size
          // Bodies of one row are the usual case: spare them the call.
          if (bytes == 8) store<u64>(to, load<u64>(p))
          else if (bytes == 4) store<u32>(to, load<u32>(p))
          else if (bytes == 2) store<u16>(to, load<u16>(p))
          else memory.copy(to, p, <usize>bytes)
        }
        p += <usize>bytes
      }
    } else if (kind == 1) {
      if (!none) {
        if (bitmapBytes > <u32>(end - p)) return 0
        if (n & 7 && load<u8>(p + bitmapBytes - 1) >> (<u8>n & 7)) return 0
        if (write) concat_bits(load<u32>(node, VALUES), before, p, 0, n)
        p += bitmapBytes
      }
    } else if (kind == 4) {
      store<u32>(node, n, CHILD_ROWS)
    } else if (kind == 5) {
      const items = <u64>n * size
      if (items > MAX) return 0
      store<u32>(node, <u32>items, CHILD_ROWS)
    } else {
      const items = load<u32>(node, ITEMS)
      let sum: u64 = items
      const offsets: usize = write ? <usize>load<u32>(node, OFFSETS) + (<usize>before << 2) + 4 : 0
      if (none) {
        if (write) {
          for (let i: u32 = 0; i < n; i++) store<u32>(offsets + (<usize>i << 2), items)
        }
      } else {
        if (<u64>n << width > <u64>(end - p)) return 0
        if (write) {
          for (let i: u32 = 0; i < n; i++) {
            sum += length_at(p, width, i)
            store<u32>(offsets + (<usize>i << 2), <u32>sum)
          }
        } else {
          for (let i: u32 = 0; i < n; i++) sum += length_at(p, width, i)
        }
        p += <usize>n << width
      }
      if (sum > MAX) return 0
      const added = <u32>sum - items
      if (kind == 2) {
        if (added > <u32>(end - p)) return 0
        if (write) {
          const to = load<u32>(node, VALUES) + items
          if (added <= 16) {
            // 16 bytes of slack behind the column's bytes; what follows overwrites the excess.
            v128.store(to, v128.load(p))
          } else {
            memory.copy(to, p, added)
          }
        }
        p += added
      } else {
        store<u32>(node, added, CHILD_ROWS)
      }
      store<u32>(node, <u32>sum, ITEMS)
    }
    store<u32>(node, <u32>none, ABSENT)
    store<u32>(node, before + n, ROWS)
  }
  return p
}

function walk(bytes: usize, length: u32, starts: usize, ends: usize, counts: usize, bodies: u32, nodes: usize, nodeCount: u32, write: bool): u32 {
  const nodesEnd = nodes + (<usize>nodeCount << NODE_SHIFT)
  for (let i: u32 = 0; i < bodies; i++) {
    const at = <usize>i << 2
    const start = load<u32>(starts + at)
    const end = ends ? load<u32>(ends + at) : length
    if (end > length || start > end) return i
    const stop = body(bytes + start, bytes + end, load<u32>(counts + at), nodes, nodesEnd, write)
    if (!stop || (ends && stop != bytes + end)) return i
  }
  return bodies
}

/**
 * Sums rows, bytes and nulls into the nodes (zeroed by the caller). starts, counts and, if given, ends: u32 per body; a body must end at its end.
 * Returns the number of bodies, or the index of the first that does not parse.
 */
export function inline_measure(bytes: usize, length: u32, starts: usize, ends: usize, counts: usize, bodies: u32, nodes: usize, nodeCount: u32): u32 {
  return walk(bytes, length, starts, ends, counts, bodies, nodes, nodeCount, false)
}

/** Fills the outputs named in the nodes, whose totals were zeroed again; only after inline_measure of the same input returned `bodies`. */
export function inline_decode(bytes: usize, length: u32, starts: usize, ends: usize, counts: usize, bodies: u32, nodes: usize, nodeCount: u32): u32 {
  return walk(bytes, length, starts, ends, counts, bodies, nodes, nodeCount, true)
}
