// kernels/inline-encode.ts: columns to bodies of inline batches; the format is in inline.ts.
//
// Encoding is canonical: bitmaps only where some but not all rows are null (or too many to be all null), the narrowest length width, zero bytes and zero lengths under nulls.
// Invariant: inlineBytes is exact, so a body can be written straight into a log buffer. Columns of up to a few thousand rows; loops, no kernel.
import { assert } from '../assert.ts'
import { bitAt, bitmapAnd, bitmapNone, popcountRange, sliceBits } from './bitmap.ts'
import { take } from './columns.ts'
import { ALL_NULL_ROWS_MAX } from './inline.ts'
import { childOf, dictionaryOf, makeVec, offsetsOf } from './vec-build.ts'
import type { Layout, Vec } from './vec.ts'

/** Bytes of the body of rows start .. end - 1. */
export function inlineBytes(vecs: readonly Vec[], start: number, end: number): number {
  let bytes = 0
  for (const v of vecs) bytes += nodeBytes(v, start, end)
  return bytes
}

/** The body of rows start .. end - 1. */
export function encodeInline(vecs: readonly Vec[], start: number, end: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(inlineBytes(vecs, start, end))
  const at = encodeInlineInto(vecs, start, end, out, 0)
  assert(at === out.length, 'a body has the measured size', { at, measured: out.length })
  return out
}

/** Writes the body at `at`, which must have inlineBytes of room; returns where it ends. */
export function encodeInlineInto(vecs: readonly Vec[], start: number, end: number, target: Uint8Array, at: number): number {
  for (const v of vecs) at = writeNode(v, start, end, target, at)
  return at
}

const NO_NULLS = 0
const SOME_NULL = 1
const ALL_NULL = 2

function stateOf(v: Vec, start: number, end: number): number {
  if (v.validity === undefined || start === end) return NO_NULLS
  const valid = popcountRange(v.validity, start, end)
  if (valid === end - start) return NO_NULLS
  return valid === 0 && rowsWithin(v.layout, end - start) <= ALL_NULL_ROWS_MAX ? ALL_NULL : SOME_NULL
}

/** Rows of the largest node under n null rows. */
function rowsWithin(layout: Layout, n: number): number {
  if (layout.kind === 'fsl') return Math.max(n, rowsWithin(layout.item, n * layout.size))
  if (layout.kind === 'struct') return layout.fields.reduce((most, field) => Math.max(most, rowsWithin(field, n)), n)
  return n
}

function isValid(v: Vec, state: number, row: number): boolean {
  return state === NO_NULLS || bitAt(v.validity!, row)
}

/** Bytes (or items) of one row of a var, dict or list column; 0 under a null. */
function lengthAt(v: Vec, state: number, row: number): number {
  if (state === SOME_NULL && !bitAt(v.validity!, row)) return 0
  if (v.layout.kind === 'dict') {
    const offsets = offsetsOf(dictionaryOf(v))
    const code = codeAt(v, row)
    return offsets[code + 1]! - offsets[code]!
  }
  return v.offsets![row + 1]! - v.offsets![row]!
}

function codeAt(v: Vec, row: number): number {
  const { values } = v
  if (v.layout.kind !== 'dict' || v.layout.width === 1) return values[row]!
  if (v.layout.width === 2) return values[row * 2]! | (values[row * 2 + 1]! << 8)
  return (values[row * 4]! | (values[row * 4 + 1]! << 8) | (values[row * 4 + 2]! << 16) | (values[row * 4 + 3]! << 24)) >>> 0
}

function lengthWidth(longest: number): number {
  return longest < 0x100 ? 1 : longest < 0x1_0000 ? 2 : 4
}

/** Longest and total length of the rows. */
function lengthsOf(v: Vec, state: number, start: number, end: number): { longest: number; total: number } {
  let longest = 0
  let total = 0
  for (let row = start; row < end; row++) {
    const length = lengthAt(v, state, row)
    if (length > longest) longest = length
    total += length
  }
  return { longest, total }
}

function nodeBytes(v: Vec, start: number, end: number): number {
  const n = end - start
  const state = stateOf(v, start, end)
  if (state === ALL_NULL) return 1
  const head = 1 + (state === SOME_NULL ? (n + 7) >>> 3 : 0)
  switch (v.layout.kind) {
    case 'fixed':
      return head + n * v.layout.width
    case 'bool':
      return head + ((n + 7) >>> 3)
    case 'var':
    case 'dict': {
      const { longest, total } = lengthsOf(v, state, start, end)
      return head + n * lengthWidth(longest) + total
    }
    case 'list': {
      const { longest } = lengthsOf(v, state, start, end)
      const items = itemsOf(v, state, start, end)
      return head + n * lengthWidth(longest) + nodeBytes(items.child, items.start, items.end)
    }
    case 'struct': {
      let bytes = head
      for (let i = 0; i < v.children.length; i++) bytes += nodeBytes(fieldOf(v, i, state), start, end)
      return bytes
    }
    case 'fsl':
      return head + nodeBytes(fixedItemsOf(v, v.layout.size, state), start * v.layout.size, end * v.layout.size)
  }
}

function writeNode(v: Vec, start: number, end: number, out: Uint8Array, at: number): number {
  const n = end - start
  const state = stateOf(v, start, end)
  const flagAt = at++
  out[flagAt] = state
  if (state === ALL_NULL) return at
  if (state === SOME_NULL) at = writeBits(v.validity!, start, n, out, at)
  switch (v.layout.kind) {
    case 'fixed': {
      const { width } = v.layout
      copyBytes(v.values, start * width, n * width, out, at)
      if (state === SOME_NULL) for (let i = 0; i < n; i++) if (!bitAt(v.validity!, start + i)) out.fill(0, at + i * width, at + (i + 1) * width)
      return at + n * width
    }
    case 'bool': {
      const stop = writeBits(v.values, start, n, out, at)
      if (state === SOME_NULL) for (let i = 0; i < n; i++) if (!bitAt(v.validity!, start + i)) out[at + (i >>> 3)]! &= ~(1 << (i & 7))
      return stop
    }
    case 'var':
    case 'dict':
    case 'list':
      return writeLengths(v, state, start, end, out, flagAt, at)
    case 'struct':
      for (let i = 0; i < v.children.length; i++) at = writeNode(fieldOf(v, i, state), start, end, out, at)
      return at
    case 'fsl':
      return writeNode(fixedItemsOf(v, v.layout.size, state), start * v.layout.size, end * v.layout.size, out, at)
  }
}

/** Lengths and what they measure; the width goes into the flag. */
function writeLengths(v: Vec, state: number, start: number, end: number, out: Uint8Array, flagAt: number, at: number): number {
  const width = lengthWidth(lengthsOf(v, state, start, end).longest)
  out[flagAt]! |= (width >>> 1) << 2
  for (let row = start; row < end; row++) {
    const length = lengthAt(v, state, row)
    out[at++] = length
    if (width > 1) out[at++] = length >>> 8
    if (width > 2) {
      out[at++] = length >>> 16
      out[at++] = length >>> 24
    }
  }
  if (v.layout.kind === 'list') {
    const items = itemsOf(v, state, start, end)
    return writeNode(items.child, items.start, items.end, out, at)
  }
  if (v.layout.kind === 'var' && state === NO_NULLS) {
    const from = v.offsets![start]!
    const bytes = v.offsets![end]! - from
    copyBytes(v.values, from, bytes, out, at)
    return at + bytes
  }
  const source = v.layout.kind === 'dict' ? dictionaryOf(v) : v
  for (let row = start; row < end; row++) {
    if (!isValid(v, state, row)) continue
    const i = v.layout.kind === 'dict' ? codeAt(v, row) : row
    const from = source.offsets![i]!
    const bytes = source.offsets![i + 1]! - from
    copyBytes(source.values, from, bytes, out, at)
    at += bytes
  }
  return at
}

const SHORT_BYTES = 48

function copyBytes(source: Uint8Array, from: number, bytes: number, out: Uint8Array, at: number): void {
  if (bytes > SHORT_BYTES) out.set(source.subarray(from, from + bytes), at)
  else for (let i = 0; i < bytes; i++) out[at + i] = source[from + i]!
}

function writeBits(bits: Uint8Array, start: number, n: number, out: Uint8Array, at: number): number {
  const bytes = (n + 7) >>> 3
  if (n === 1) {
    out[at] = bitAt(bits, start) ? 1 : 0
    return at + 1
  }
  out.set(sliceBits(bits, start, n).subarray(0, bytes), at)
  if (n & 7) out[at + bytes - 1]! &= (1 << (n & 7)) - 1
  return at + bytes
}

/** The items of list rows as one stretch of a child column; items under null lists are left out. */
function itemsOf(v: Vec, state: number, start: number, end: number): { child: Vec; start: number; end: number } {
  const child = childOf(v, 0)
  const offsets = offsetsOf(v)
  const plain = { child, start: offsets[start]!, end: offsets[end]! }
  if (state === NO_NULLS) return plain
  const rows: number[] = []
  let hidden = false
  for (let row = start; row < end; row++) {
    if (!isValid(v, state, row)) hidden ||= offsets[row + 1]! > offsets[row]!
    else for (let item = offsets[row]!; item < offsets[row + 1]!; item++) rows.push(item)
  }
  if (!hidden) return plain
  return { child: take(child, Uint32Array.from(rows)), start: 0, end: rows.length }
}

/** A field of a struct; where the struct is null the field is null too, so that its bytes are zero. */
function fieldOf(v: Vec, i: number, state: number): Vec {
  const child = childOf(v, i)
  return state === SOME_NULL ? masked(child, v.validity!) : child
}

function fixedItemsOf(v: Vec, size: number, state: number): Vec {
  const child = childOf(v, 0)
  if (state !== SOME_NULL) return child
  const items = bitmapNone(child.length)
  for (let row = 0; row < v.length; row++) {
    if (!bitAt(v.validity!, row)) continue
    for (let item = row * size; item < (row + 1) * size; item++) items[item >>> 3]! |= 1 << (item & 7)
  }
  return masked(child, items)
}

function masked(child: Vec, mask: Uint8Array): Vec {
  const validity = child.validity === undefined ? mask : bitmapAnd(child.validity, mask, child.length)
  return makeVec(child.layout, child.length, { ...child, validity, nullCount: undefined })
}
