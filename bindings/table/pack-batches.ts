// table/pack-batches.ts: a copy of batches whose buffers all lie in one ArrayBuffer, so that it can be moved to another thread in one piece.
//
// Invariant: rows are equal; a dictionary that Vecs share is copied once and shared again; every buffer is aligned to 8 bytes.
import { slice } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { ColumnBatch } from './batch.ts'

export interface PackedBatches {
  readonly batches: readonly ColumnBatch[]
  readonly buffer: ArrayBuffer
}

export function packBatches(batches: readonly ColumnBatch[]): PackedBatches {
  const trimmed = batches.map((batch) => batch.columns.map(trim))
  const dictionaries = new Set<Vec>()
  let bytes = 0
  for (const columns of trimmed) for (const vec of columns) bytes += measure(vec, dictionaries)
  const packer = new Packer(bytes)
  return { batches: batches.map((batch, i) => ({ length: batch.length, columns: trimmed[i]!.map((vec) => packer.vec(vec)) })), buffer: packer.buffer }
}

/** Only the bytes that the rows use. */
function trim(vec: Vec): Vec {
  const { layout, length } = vec
  const validity = vec.validity?.subarray(0, (length + 7) >> 3)
  switch (layout.kind) {
    case 'fixed':
    case 'dict':
      return { ...vec, validity, values: vec.values.subarray(0, length * layout.width) }
    case 'bool':
      return { ...vec, validity, values: vec.values.subarray(0, (length + 7) >> 3) }
    case 'var': {
      const offsets = rebased(vec.offsets!, length)
      const first = vec.offsets![0]!
      return { ...vec, validity, offsets, values: vec.values.subarray(first, first + offsets[length]!) }
    }
    case 'list': {
      const first = vec.offsets![0]!
      const offsets = rebased(vec.offsets!, length)
      return { ...vec, validity, offsets, children: [trim(slice(vec.children[0]!, first, first + offsets[length]!))] }
    }
    default:
      return { ...vec, validity, children: vec.children.map(trim) }
  }
}

function rebased(offsets: Int32Array, length: number): Int32Array {
  const first = offsets[0]!
  const used = offsets.subarray(0, length + 1)
  return first === 0 ? used : used.map((offset) => offset - first)
}

function measure(vec: Vec, dictionaries: Set<Vec>): number {
  let bytes = round8(vec.validity?.byteLength ?? 0) + round8(vec.values.byteLength) + round8(vec.offsets?.byteLength ?? 0)
  for (const child of vec.children) bytes += measure(child, dictionaries)
  const { dictionary } = vec
  if (dictionary !== undefined && !dictionaries.has(dictionary)) {
    dictionaries.add(dictionary)
    bytes += measure(trim(dictionary), dictionaries)
  }
  return bytes
}

class Packer {
  readonly buffer: ArrayBuffer
  readonly #bytes: Uint8Array
  readonly #dictionaries = new Map<Vec, Vec>()
  #at = 0

  constructor(bytes: number) {
    this.buffer = new ArrayBuffer(bytes)
    this.#bytes = new Uint8Array(this.buffer)
  }

  vec(vec: Vec): Vec {
    return {
      ...vec,
      validity: vec.validity === undefined ? undefined : this.#copy(vec.validity),
      values: this.#copy(vec.values),
      offsets: vec.offsets === undefined ? undefined : this.#offsets(vec.offsets),
      children: vec.children.map((child) => this.vec(child)),
      dictionary: vec.dictionary === undefined ? undefined : this.#dictionary(vec.dictionary),
    }
  }

  #dictionary(dictionary: Vec): Vec {
    let packed = this.#dictionaries.get(dictionary)
    if (packed === undefined) this.#dictionaries.set(dictionary, (packed = this.vec(trim(dictionary))))
    return packed
  }

  #offsets(offsets: Int32Array): Int32Array {
    const bytes = this.#copy(new Uint8Array(offsets.buffer, offsets.byteOffset, offsets.byteLength))
    return new Int32Array(this.buffer, bytes.byteOffset, offsets.length)
  }

  #copy(bytes: Uint8Array): Uint8Array {
    const at = this.#at
    this.#bytes.set(bytes, at)
    this.#at += round8(bytes.byteLength)
    return this.#bytes.subarray(at, at + bytes.byteLength)
  }
}

function round8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}
