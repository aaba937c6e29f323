// kernels/inline.ts: bodies of inline batches (rows inside commit records) to columns and back (docs/format.md).
//
// Preorder over columns and children, per node of n rows: u8 flag (bits 0-1 validity: 0 no nulls, 1 bitmap follows, 2 all null and nothing follows for the
// node and its children, 2^24 rows at most; bits 2-3 log2 of the length width), [bitmap], then fixed: n * width bytes; bool: bitmap; var: n lengths, bytes; list: n lengths,
// child; fsl: child of n * size rows; struct: children of n rows. Little-endian, unaligned, bits behind row n are 0.
// Invariant: the decoders here and the kernel accept the same bodies and give the same rows; no length is believed before it was held against the rest.
import { assert } from '../assert.ts'
import { bitmapNone } from './bitmap.ts'
import type { KernelInstance } from './instance.ts'
import { scratch } from './scratch.ts'
import { makeVec } from './vec-build.ts'
import type { Layout, Vec } from './vec.ts'

/** The first body that does not parse. */
export interface InlineFailure {
  readonly badBody: number
}

export function isInlineFailure(result: readonly Vec[] | InlineFailure): result is InlineFailure {
  return 'badBody' in result
}

/**
 * All bodies at `starts`, in order, appended into one Vec per column. One copy in, two kernel calls, whatever the number of bodies.
 *
 * @param ends  when given, a body must end exactly there; otherwise anywhere before the end of `bytes`
 * @throws KernelMemoryExhaustedError when the rows do not fit kernel memory
 */
export function decodeInline(
  bytes: Uint8Array,
  starts: Uint32Array,
  rowCounts: Uint32Array,
  layouts: readonly Layout[],
  ends?: Uint32Array,
): Vec[] | InlineFailure {
  return new InlineDecoder(layouts).decode(bytes, starts, rowCounts, ends)
}

const KIND_CODES: Readonly<Record<Layout['kind'], number>> = { fixed: 0, bool: 1, var: 2, list: 3, struct: 4, fsl: 5, dict: 2 }

// A node in kernel memory, in u32 words. Twin: assembly/inline-decode.ts.
const NODE_WORDS = 16
const ROWS = 5
const ITEMS = 6
const NULLS = 7
const VALIDITY = 8
const VALUES = 9
const OFFSETS = 10

interface Node {
  readonly layout: Layout
  readonly parent: number
}

/** The bulk decoder of one table's columns; keeps nothing but their shape. */
export class InlineDecoder {
  readonly #layouts: readonly Layout[]
  readonly #nodes: readonly Node[]
  /** The nodes as the kernel wants them, with zero totals. */
  readonly #template: Uint32Array

  constructor(layouts: readonly Layout[]) {
    this.#layouts = layouts
    const nodes: Node[] = []
    for (const layout of layouts) preorder(layout, -1, nodes)
    this.#nodes = nodes
    this.#template = new Uint32Array(nodes.length * NODE_WORDS)
    for (const [i, { layout, parent }] of nodes.entries()) {
      const size = layout.kind === 'fixed' ? layout.width : layout.kind === 'fsl' ? layout.size : 0
      this.#template.set([KIND_CODES[layout.kind], size, parent], i * NODE_WORDS)
    }
  }

  /** See decodeInline. Columns declared dict come as var. */
  decode(bytes: Uint8Array, starts: Uint32Array, rowCounts: Uint32Array, ends?: Uint32Array): Vec[] | InlineFailure {
    const bodies = starts.length
    assert(rowCounts.length === bodies && (ends === undefined || ends.length === bodies), 'every body has a start and a row count', bodies)
    return scratch((k) => {
      const input = k.copyIn(bytes)
      const at = wordsIn(k, starts)
      const counts = wordsIn(k, rowCounts)
      const stops = ends === undefined ? 0 : wordsIn(k, ends)
      const nodes = wordsIn(k, this.#template)
      const count = this.#nodes.length
      const parsed = k.exports.inline_measure(input, bytes.length, at, stops, counts, bodies, nodes, count) >>> 0
      if (parsed !== bodies) return { badBody: parsed }
      const totals = k.u32.slice(nodes >>> 2, (nodes >>> 2) + count * NODE_WORDS)
      const outputs = this.#reserve(k, totals)
      k.u32.set(outputs, nodes >>> 2)
      const filled = k.exports.inline_decode(input, bytes.length, at, stops, counts, bodies, nodes, count)
      assert(filled === bodies, 'what was measured decodes', filled)
      let next = 0
      return this.#layouts.map((layout) => {
        const [vec, after] = this.#read(k, layout, next, totals, outputs)
        next = after
        return vec
      })
    })
  }

  /** Memory for every node; returns the nodes with their outputs and zero totals. */
  #reserve(k: KernelInstance, totals: Uint32Array): Uint32Array {
    const nodes = this.#template.slice()
    for (const [i, { layout }] of this.#nodes.entries()) {
      const at = i * NODE_WORDS
      const rows = totals[at + ROWS]!
      if (totals[at + NULLS]! > 0) nodes[at + VALIDITY] = zeroed(k, Math.ceil(rows / 8))
      if (layout.kind === 'fixed') nodes[at + VALUES] = k.arena.reserve(rows * layout.width + 16)
      else if (layout.kind === 'bool') nodes[at + VALUES] = zeroed(k, Math.ceil(rows / 8))
      else if (layout.kind === 'var' || layout.kind === 'dict') nodes[at + VALUES] = k.arena.reserve(totals[at + ITEMS]! + 16)
      if (layout.kind === 'var' || layout.kind === 'dict' || layout.kind === 'list') {
        nodes[at + OFFSETS] = k.arena.reserve((rows + 1) * 4)
        k.u32[nodes[at + OFFSETS]! >>> 2] = 0
      }
    }
    return nodes
  }

  /** The column of node i out of kernel memory, and the node after its subtree. */
  #read(k: KernelInstance, layout: Layout, i: number, totals: Uint32Array, outputs: Uint32Array): readonly [Vec, number] {
    const at = i * NODE_WORDS
    const rows = totals[at + ROWS]!
    const nullCount = totals[at + NULLS]!
    const bits = (from: number): Uint8Array => {
      const out = bitmapNone(rows)
      out.set(k.u8.subarray(from, from + Math.ceil(rows / 8)))
      return out
    }
    const base = { nullCount, validity: nullCount === 0 ? undefined : bits(outputs[at + VALIDITY]!) }
    const offsets = (): Int32Array => k.i32.slice(outputs[at + OFFSETS]! >>> 2, (outputs[at + OFFSETS]! >>> 2) + rows + 1)
    switch (layout.kind) {
      case 'fixed':
        return [makeVec(layout, rows, { ...base, values: k.copyOut(outputs[at + VALUES]!, rows * layout.width) }), i + 1]
      case 'bool':
        return [makeVec(layout, rows, { ...base, values: bits(outputs[at + VALUES]!) }), i + 1]
      case 'var':
      case 'dict':
        return [makeVec(VAR, rows, { ...base, offsets: offsets(), values: k.copyOut(outputs[at + VALUES]!, totals[at + ITEMS]!) }), i + 1]
      case 'list':
      case 'fsl': {
        const [child, after] = this.#read(k, layout.item, i + 1, totals, outputs)
        const whole: Layout = layout.kind === 'list' ? { kind: 'list', item: child.layout } : { ...layout, item: child.layout }
        return [makeVec(whole, rows, { ...base, offsets: layout.kind === 'list' ? offsets() : undefined, children: [child] }), after]
      }
      case 'struct': {
        let next = i + 1
        const children = layout.fields.map((field) => {
          const [child, after] = this.#read(k, field, next, totals, outputs)
          next = after
          return child
        })
        return [makeVec({ kind: 'struct', fields: children.map((child) => child.layout) }, rows, { ...base, children }), next]
      }
    }
  }
}

const VAR = { kind: 'var' } as const

function preorder(layout: Layout, parent: number, nodes: Node[]): void {
  const at = nodes.length
  nodes.push({ layout, parent })
  if (layout.kind === 'list' || layout.kind === 'fsl') preorder(layout.item, at, nodes)
  else if (layout.kind === 'struct') for (const field of layout.fields) preorder(field, at, nodes)
}

function wordsIn(k: KernelInstance, words: Uint32Array): number {
  const at = k.arena.reserve(words.length * 4)
  k.u32.set(words, at >>> 2)
  return at
}

function zeroed(k: KernelInstance, bytes: number): number {
  const at = k.arena.reserve(bytes)
  k.u8.fill(0, at, at + bytes)
  return at
}

/**
 * One body of a few rows, without a kernel call; it must end exactly at `end`.
 *
 * @returns undefined when it does not parse
 */
export function decodeInlineOne(bytes: Uint8Array, start: number, end: number, rowCount: number, layouts: readonly Layout[]): Vec[] | undefined {
  if (start > end || end > bytes.length || rowCount > INT32_MAX) return undefined
  const reader: Reader = { bytes, at: start, end }
  const vecs: Vec[] = []
  for (const layout of layouts) {
    const vec = readNode(reader, layout, rowCount, false)
    if (vec === undefined) return undefined
    vecs.push(vec)
  }
  return reader.at === end ? vecs : undefined
}

const INT32_MAX = 0x7fffffff
/** Rows without bytes: bounds what a body can make of nothing. */
export const ALL_NULL_ROWS_MAX: number = 1 << 24
const SOME_NULL = 1
const ALL_NULL = 2

interface Reader {
  readonly bytes: Uint8Array
  at: number
  readonly end: number
}

/** `absent`: a parent is all null, so this node has no bytes. */
function readNode(r: Reader, layout: Layout, n: number, absent: boolean): Vec | undefined {
  if (n > INT32_MAX) return undefined
  let flag = ALL_NULL
  if (!absent) {
    if (r.at >= r.end) return undefined
    flag = r.bytes[r.at++]!
  }
  const state = flag & 3
  const width = flag >>> 2
  const lengths = layout.kind === 'var' || layout.kind === 'dict' || layout.kind === 'list'
  if (state === 3 || width > 2 || (width > 0 && !lengths)) return undefined
  const none = state === ALL_NULL
  if (none && n > ALL_NULL_ROWS_MAX) return undefined
  let validity: Uint8Array | undefined
  if (state === SOME_NULL) {
    validity = readBits(r, n)
    if (validity === undefined) return undefined
  } else if (none && n > 0) {
    validity = bitmapNone(n)
  }
  switch (layout.kind) {
    case 'fixed': {
      const bytes = n * layout.width
      if (none) return makeVec(layout, n, { validity, values: new Uint8Array(bytes) })
      if (bytes > r.end - r.at) return undefined
      const values = new Uint8Array(bytes)
      values.set(r.bytes.subarray(r.at, r.at + bytes))
      r.at += bytes
      return makeVec(layout, n, { validity, values })
    }
    case 'bool': {
      const values = none ? bitmapNone(n) : readBits(r, n)
      return values && makeVec(layout, n, { validity, values })
    }
    case 'var':
    case 'dict':
    case 'list': {
      const offsets = none ? new Int32Array(n + 1) : readLengths(r, n, 1 << width)
      if (offsets === undefined) return undefined
      const total = offsets[n]!
      if (layout.kind === 'list') {
        const child = readNode(r, layout.item, total, none)
        return child && makeVec({ kind: 'list', item: child.layout }, n, { validity, offsets, children: [child] })
      }
      if (total > r.end - r.at) return undefined
      const values = r.bytes.slice(r.at, r.at + total)
      r.at += total
      return makeVec(VAR, n, { validity, offsets, values })
    }
    case 'struct': {
      const children: Vec[] = []
      for (const field of layout.fields) {
        const child = readNode(r, field, n, none)
        if (child === undefined) return undefined
        children.push(child)
      }
      return makeVec({ kind: 'struct', fields: children.map((child) => child.layout) }, n, { validity, children })
    }
    case 'fsl': {
      const child = readNode(r, layout.item, n * layout.size, none)
      return child && makeVec({ ...layout, item: child.layout }, n, { validity, children: [child] })
    }
  }
}

/** A bitmap of n rows; undefined when cut short or with bits behind row n. */
function readBits(r: Reader, n: number): Uint8Array | undefined {
  const bytes = Math.ceil(n / 8)
  if (bytes > r.end - r.at) return undefined
  if (n & 7 && r.bytes[r.at + bytes - 1]! >>> (n & 7)) return undefined
  const out = bitmapNone(n)
  out.set(r.bytes.subarray(r.at, r.at + bytes))
  r.at += bytes
  return out
}

/** n lengths as offsets; undefined when cut short or when they pass 2^31 together. */
function readLengths(r: Reader, n: number, width: number): Int32Array | undefined {
  if (n * width > r.end - r.at) return undefined
  const offsets = new Int32Array(n + 1)
  let total = 0
  for (let i = 0; i < n; i++) {
    let length = r.bytes[r.at]!
    if (width > 1) length += r.bytes[r.at + 1]! * 0x100
    if (width > 2) length += r.bytes[r.at + 2]! * 0x1_0000 + r.bytes[r.at + 3]! * 0x100_0000
    r.at += width
    total += length
    if (total > INT32_MAX) return undefined
    offsets[i + 1] = total
  }
  return offsets
}
