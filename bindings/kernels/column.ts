// kernels/column.ts: columns of varve/kernels: a Vec that knows its Arrow type, made of Arrow vectors of any library, typed arrays or texts.
//
// Buffers of the source are shared where their layout and alignment allow, so they must not be written to while the column is used. Nothing of a column
// lies in kernel memory: kernels copy in and out in pieces. Invariant: what is made here was held against the lengths of its buffers.
import { InvalidConfigError } from '../errors.ts'
import { bitsOf, BufferFault, fixedBytes, localOffsets, nullsOf } from './arrow-buffers.ts'
import { ARROW, type ArrowNode, vectorSource } from './arrow-source.ts'
import { byteStrings, dictionaryVec } from './arrow-strings.ts'
import { refuseDetached, settled } from './buffer.ts'
import { type ArrowType, layoutOfType, readType } from './column-type.ts'
import { concat } from './concat.ts'
import { emptyVec, makeVec } from './vec-build.ts'
import type { Vec } from './vec.ts'

/**
 * A column in Arrow layout with its type. `V` is what constants and aggregates of its values are in JavaScript: number up to 32 bits and for floats, bigint for
 * 64 bits and decimals, string for utf8, Uint8Array for binary, boolean for bool; `any` when it was made of an Arrow vector.
 */
export interface Column<V = any> extends Vec {
  readonly type: ArrowType
  /** Not there: keeps columns of different values apart when types are checked. */
  readonly valueType?: V
}

/** A vector of an Arrow library: of apache-arrow or flechette, whatever its version. Told by shape. */
export interface ArrowVectorLike {
  readonly type: object
  readonly length: number
  readonly data: readonly object[]
}

type NumberArray = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array | Float64Array

/**
 * A column of the values of a typed array, which is shared.
 *
 * @throws InvalidConfigError (key `bytes`) for an array whose memory has moved
 * @cost no copy
 * @example columnOf(Int32Array.of(3, 1, 2))
 */
export function columnOf(values: NumberArray): Column<number>
export function columnOf(values: BigInt64Array | BigUint64Array): Column<bigint>
/**
 * A utf8 column; null and undefined are nulls.
 *
 * @throws OffsetOverflowError above 2 GiB of text
 * @cost one pass over the texts
 * @example columnOf(['SFO', null, 'LAX'])
 */
export function columnOf(values: readonly (string | null | undefined)[]): Column<string>
/**
 * A column of the rows of an Arrow vector: all its chunks, sliced or not. Large and view types get offsets of 32 bits; dictionaries of anything but utf8 and
 * binary are looked up.
 *
 * @throws UnsupportedTypeError null, map, union, interval, run-end encoded; InvalidConfigError (key `vector`) for what is no vector or contradicts its
 *   lengths; OffsetOverflowError above 2 GiB of texts
 * @cost no copy of the values of a single chunk at offset 0 or of fixed width; bitmaps and offsets are copied
 * @example columnOf(table.getChild('delay'))
 */
export function columnOf(vector: ArrowVectorLike): Column
export function columnOf(source: NumberArray | BigInt64Array | BigUint64Array | readonly (string | null | undefined)[] | ArrowVectorLike): Column {
  if (ArrayBuffer.isView(source)) return ofTypedArray(source as NumberArray)
  if (Array.isArray(source)) return ofTexts(source as readonly (string | null | undefined)[])
  return ofVector(source as ArrowVectorLike)
}

/** The column with the rows of `vec`: for kernels that give rows of a column. */
export function typed<V>(vec: Vec, type: ArrowType): Column<V> {
  return { ...vec, type }
}

const INT_BITS: Readonly<Record<string, ArrowType>> = {
  Int8Array: { kind: 'int', bits: 8, signed: true },
  Uint8Array: { kind: 'int', bits: 8, signed: false },
  Int16Array: { kind: 'int', bits: 16, signed: true },
  Uint16Array: { kind: 'int', bits: 16, signed: false },
  Int32Array: { kind: 'int', bits: 32, signed: true },
  Uint32Array: { kind: 'int', bits: 32, signed: false },
  BigInt64Array: { kind: 'int', bits: 64, signed: true },
  BigUint64Array: { kind: 'int', bits: 64, signed: false },
  Float32Array: { kind: 'float', bits: 32 },
  Float64Array: { kind: 'float', bits: 64 },
}

function ofTypedArray(values: NumberArray): Column<number> {
  // Buffer and other subclasses hold what their base holds.
  const type = INT_BITS[(values as { readonly [Symbol.toStringTag]: string })[Symbol.toStringTag]]
  if (type === undefined) throw invalid('a column is made of typed arrays of integers or floats', values)
  const vec = makeVec(layoutOfType(type), values.length, { values: aligned(onHeap(values)) })
  return typed(vec, type)
}

function ofTexts(texts: readonly (string | null | undefined)[]): Column<string> {
  const encoder = new TextEncoder()
  const n = texts.length
  const offsets = new Int32Array(n + 1)
  const validity = new Uint8Array((n + 7) >>> 3)
  // Three bytes are the most that a UTF-16 unit takes.
  let bytes: Uint8Array<ArrayBuffer> = new Uint8Array(Math.max(64, 16 * n))
  let at = 0
  for (let i = 0; i < n; i++) {
    const text = texts[i]
    if (text !== null && text !== undefined) {
      if (typeof text !== 'string') throw invalid(`value ${i} of a text column is no string`, text)
      if (at + 3 * text.length > bytes.length) bytes = longer(bytes, at + 3 * text.length)
      at += encoder.encodeInto(text, bytes.subarray(at)).written
      validity[i >>> 3]! |= 1 << (i & 7)
    }
    offsets[i + 1] = at
  }
  return typed(makeVec({ kind: 'var' }, n, { validity, offsets, values: bytes.subarray(0, at) }), { kind: 'utf8' })
}

function longer(bytes: Uint8Array, wanted: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(Math.max(wanted, bytes.length * 2))
  out.set(bytes)
  return out
}

function ofVector(vector: ArrowVectorLike): Column {
  const source = typeof vector === 'object' && vector !== null ? vectorSource(vector) : undefined
  if (source === undefined) throw invalid('a column is made of an Arrow vector, a typed array or texts', vector)
  const type = readType(source.type)
  try {
    const pieces = source.chunks.filter((chunk) => chunk.length > 0).map((chunk) => rowsOf(chunk, 0, chunk.length))
    return typed(pieces.length === 0 ? emptyVec(layoutOfType(type)) : concat(pieces), type)
  } catch (fault) {
    if (!(fault instanceof BufferFault)) throw fault
    throw invalid(`the Arrow vector contradicts itself: ${fault.message}`, vector, fault)
  }
}

/** Rows of a node as a Vec. */
function rowsOf(node: ArrowNode, start: number, count: number): Vec {
  if (start + count > node.length) throw new BufferFault(`rows ${start}..${start + count} of ${node.length}`)
  const nulls = nullsOf(node, start, count)
  const base = { validity: nulls.validity, nullCount: nulls.count }
  const { id, size } = node.type
  switch (id) {
    case ARROW.bool:
      return makeVec({ kind: 'bool' }, count, { ...base, values: bitsOf(node, start, count) })
    case ARROW.utf8:
    case ARROW.largeUtf8:
    case ARROW.utf8View:
    case ARROW.binary:
    case ARROW.largeBinary:
    case ARROW.binaryView: {
      const { values, offsets } = byteStrings(node, start, count)
      return makeVec({ kind: 'var' }, count, { ...base, offsets, values: onHeap(values) })
    }
    case ARROW.list:
    case ARROW.largeList: {
      const child = childOf(node, 0)
      const { first, last, offsets } = localOffsets(node, start, count, child.length)
      const items = rowsOf(child, first, last - first)
      return makeVec({ kind: 'list', item: items.layout }, count, { ...base, offsets, children: [items] })
    }
    case ARROW.fixedSizeList: {
      const items = rowsOf(childOf(node, 0), start * size, count * size)
      return makeVec({ kind: 'fsl', size, item: items.layout }, count, { ...base, children: [items] })
    }
    case ARROW.struct: {
      const children = node.type.fieldNames.map((_, i) => rowsOf(childOf(node, i), start, count))
      return makeVec({ kind: 'struct', fields: children.map((child) => child.layout) }, count, { ...base, children })
    }
    case ARROW.dictionary: {
      const source = node.dictionary!
      const pieces = source.chunks().map((chunk) => rowsOf(chunk, 0, chunk.length))
      const entries = pieces.length === 0 ? emptyVec({ kind: 'var' }) : concat(pieces)
      return dictionaryVec(node, start, count, entries.layout, entries, nulls)
    }
    default: {
      const width = widthOfNode(node)
      return makeVec({ kind: 'fixed', width }, count, { ...base, values: onHeap(fixedBytes(node, start, count, width)) })
    }
  }
}

function widthOfNode(node: ArrowNode): number {
  const { id, bits, unit, size } = node.type
  if (id === ARROW.fixedSizeBinary) return size
  if (id === ARROW.date) return unit === 0 ? 4 : 8
  if (id === ARROW.time) return unit < 2 ? 4 : 8
  if (id === ARROW.timestamp || id === ARROW.duration) return 8
  return bits / 8
}

function childOf(node: ArrowNode, i: number): ArrowNode {
  const child = node.children[i]
  if (child === undefined) throw new BufferFault(`a nested vector without child ${i}`)
  return child
}

/** Bytes that stay where they are: a column outlives growth of kernel memory. */
function onHeap(view: ArrayBufferView): Uint8Array {
  // A stale view has no place any more, so it is refused before another is made of it.
  if (view.byteLength === 0) refuseDetached(view)
  return settled(new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength))
}

function aligned(bytes: Uint8Array): Uint8Array {
  return (bytes.byteOffset & 7) === 0 ? bytes : bytes.slice()
}

function invalid(why: string, value: unknown, cause?: unknown): InvalidConfigError {
  const details = { key: 'vector', value: Object.prototype.toString.call(value) }
  return new InvalidConfigError(why, { details, hint: 'Hand in a vector of an Arrow library, a typed array, or an array of strings.', cause })
}
