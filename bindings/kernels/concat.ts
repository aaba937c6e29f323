// kernels/concat.ts: columns put one after the other.
//
// Dictionaries that differ are unified in first-seen order and their codes remapped; the codes widen from 1 to 2 to 4 bytes as the dictionary grows.
// A dict column beside a var one is decoded. Invariant: the result owns its buffers (a single input is returned as it is).
import { assert } from '../assert.ts'
import { OffsetOverflowError } from '../errors.ts'
import { bitmapBytes } from './bitmap.ts'
import { slice } from './columns.ts'
import { convertInts, decodeDictionary, unifyDictionaries } from './dictionary.ts'
import { scratch } from './scratch.ts'
import { childOf, dictionaryOf, emptyVec, makeVec, offsetsOf } from './vec-build.ts'
import type { Layout, Vec } from './vec.ts'

const INT32_MAX = 0x7fffffff
/** Below this the loop costs less than the copies. */
const KERNEL_ROWS_MIN = 1024

/**
 * All rows of `vs`, in order. Layouts must be alike but for dictionary encoding.
 *
 * @throws OffsetOverflowError above 2 GiB of var data or 2^31 list items; DictionaryOverflowError when codes of 4 bytes do not suffice
 */
export function concat(vs: readonly Vec[]): Vec {
  const head = vs[0]
  assert(head !== undefined, 'concat has at least one column')
  if (vs.length === 1) return head
  const filled = vs.filter((v) => v.length > 0)
  if (filled.length === 0) return head
  if (filled.length === 1) return filled[0]!
  return concatFilled(filled)
}

/** The columns of several batches, column by column. */
export function concatMany(batches: readonly (readonly Vec[])[]): Vec[] {
  const head = batches[0]
  assert(head !== undefined, 'concat has at least one batch')
  return head.map((_, column) => concat(batches.map((batch) => batch[column]!)))
}

function concatFilled(vs: readonly Vec[]): Vec {
  const head = vs[0]!
  const dicts = vs.filter((v) => v.layout.kind === 'dict').length
  if (dicts > 0 && dicts < vs.length) return concatFilled(vs.map((v) => (v.layout.kind === 'dict' ? decodeDictionary(v) : v)))
  for (const v of vs) assert(v.layout.kind === head.layout.kind, 'columns put together have one layout', v.layout.kind)
  let n = 0
  let nullCount = 0
  for (const v of vs) {
    n += v.length
    nullCount += v.nullCount
  }
  assert(n <= INT32_MAX, 'a column has at most 2^31 - 1 rows', n)
  const validity = nullCount === 0 ? undefined : concatBits(vs, n, (v) => v.validity)
  const base = { validity, nullCount }
  switch (head.layout.kind) {
    case 'fixed':
      return makeVec(head.layout, n, { ...base, values: concatFixed(vs, n, head.layout.width) })
    case 'bool':
      return makeVec(head.layout, n, { ...base, values: concatBits(vs, n, (v) => v.values) })
    case 'var': {
      const offsets = concatOffsets(vs, n)
      const values = new Uint8Array(offsets[n]!)
      let at = 0
      for (const v of vs) {
        const from = offsetsOf(v)
        values.set(v.values.subarray(from[0]!, from[v.length]!), at)
        at += from[v.length]! - from[0]!
      }
      return makeVec(head.layout, n, { ...base, offsets, values })
    }
    case 'list': {
      const items = vs.map((v) => {
        const from = offsetsOf(v)
        return slice(childOf(v, 0), from[0]!, from[v.length]!)
      })
      const child = concatChildren(items, childOf(head, 0).layout)
      return makeVec({ kind: 'list', item: child.layout }, n, { ...base, offsets: concatOffsets(vs, n), children: [child] })
    }
    case 'struct': {
      const children = head.layout.fields.map((_, i) => concat(vs.map((v) => childOf(v, i))))
      return makeVec({ kind: 'struct', fields: children.map((child) => child.layout) }, n, { ...base, children })
    }
    case 'fsl': {
      const { size } = head.layout
      const child = concatChildren(
        vs.map((v) => slice(childOf(v, 0), 0, v.length * size)),
        head.layout.item,
      )
      return makeVec({ kind: 'fsl', size, item: child.layout }, n, { ...base, children: [child] })
    }
    case 'dict':
      return concatDicts(vs, n, base)
  }
}

function concatChildren(items: readonly Vec[], layout: Layout): Vec {
  return items.some((item) => item.length > 0) ? concat(items) : (items[0] ?? emptyVec(layout))
}

function concatFixed(vs: readonly Vec[], n: number, width: number): Uint8Array {
  const out = new Uint8Array(n * width)
  let at = 0
  for (const v of vs) {
    assert(v.layout.kind === 'fixed' && v.layout.width === width, 'columns put together have one width', v.layout)
    out.set(v.values.subarray(0, v.length * width), at)
    at += v.length * width
  }
  return out
}

/** A bitmap of all rows; a part without one is all ones. */
function concatBits(vs: readonly Vec[], n: number, bitsOf: (v: Vec) => Uint8Array | undefined): Uint8Array {
  return scratch((k) => {
    const bytes = (n + 7) >>> 3
    const out = k.arena.reserve(bytes)
    let at = 0
    for (const v of vs) {
      const bits = bitsOf(v)
      if (bits === undefined) {
        k.exports.fill_bits(out, at, v.length)
      } else {
        const mark = k.arena.mark()
        k.exports.concat_bits(out, at, k.copyIn(bits.subarray(0, (v.length + 7) >>> 3)), 0, v.length)
        k.arena.rewind(mark)
      }
      at += v.length
    }
    const result = new Uint8Array(bitmapBytes(n))
    result.set(k.u8.subarray(out, out + bytes))
    return result
  })
}

function concatOffsets(vs: readonly Vec[], n: number): Int32Array<ArrayBuffer> {
  let total = 0
  for (const v of vs) total += offsetsOf(v)[v.length]! - offsetsOf(v)[0]!
  if (total > INT32_MAX)
    throw new OffsetOverflowError(`a column of ${total} bytes (or list items) passes the 2 GiB of its offsets`, { details: { bytes: total } })
  const out = new Int32Array(n + 1)
  let at = 0
  let base = 0
  for (const v of vs) {
    const from = offsetsOf(v)
    const delta = base - from[0]!
    if (delta === 0) out.set(from.subarray(0, v.length), at)
    else if (v.length < KERNEL_ROWS_MIN) for (let i = 0; i < v.length; i++) out[at + i] = from[i]! + delta
    else rebase(from.subarray(0, v.length), delta, out, at)
    at += v.length
    base = from[v.length]! + delta
  }
  out[n] = base
  return out
}

function rebase(from: Int32Array, delta: number, out: Int32Array, at: number): void {
  scratch((k) => {
    const p = k.arena.reserve(from.length * 4)
    k.i32.set(from, p >>> 2)
    k.exports.rebase_offsets(p, from.length, delta, p)
    out.set(k.i32.subarray(p >>> 2, (p >>> 2) + from.length), at)
  })
}

function concatDicts(vs: readonly Vec[], n: number, base: { validity: Uint8Array | undefined; nullCount: number }): Vec {
  const dictionaries = vs.map(dictionaryOf)
  const first = dictionaries[0]!
  const shared = dictionaries.every((dictionary) => dictionary === first)
  const unified = shared ? undefined : unifyDictionaries(dictionaries)
  const widest = Math.max(...vs.map((v) => (v.layout.kind === 'dict' ? v.layout.width : 1)))
  const width = Math.max(widest, unified?.width ?? 1) as 1 | 2 | 4
  const values = new Uint8Array(n * width)
  let at = 0
  for (let i = 0; i < vs.length; i++) {
    const v = vs[i]!
    values.set(convertInts(v.values, (v.layout as { width: 1 | 2 | 4 }).width, width, false, v.length, unified?.maps[i]), at)
    at += v.length * width
  }
  return makeVec({ kind: 'dict', width }, n, { ...base, values, dictionary: unified?.dictionary ?? first })
}
