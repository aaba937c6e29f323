// format/flatbuffer.ts: the part of FlatBuffers that Arrow metadata needs, both ways (flatbuffers.dev "Internals"; no generated code).
//
// A buffer starts with the u32 offset of its root table. A table starts with the i32 distance back to its vtable:
//   vtable: | u16 bytes of vtable | u16 bytes of table | u16 offset of slot 0 in the table, 0 = absent | slot 1 | ...
// Strings, vectors and tables lie behind the field that holds their u32 distance; so children are written after their parent and the field is patched.
// Invariant: offsets are relative to a buffer whose start is 8-byte aligned; a reader leaves its bytes for nothing: DecodeError instead. Offsets of a hostile
// buffer may meet in one place or go round in circles, so the work that a buffer causes is bounded by its length.
import { ByteWriter, DecodeError } from './bytes.ts'

const decoder = new TextDecoder()
const encoder = new TextEncoder()
const DEPTH_MAX = 64
/** What a table costs beside the bytes of its strings. A buffer whose parts do not overlap costs less than its length, however its parts are shared out. */
const TABLE_COST = 8
/** Headers are read more than once; several fields may share a name. */
const COST_MAX = { perByte: 16, base: 4096 }

export type FlatValue =
  | { readonly as: 'i8' | 'i16' | 'i32' | 'i64'; readonly value: number }
  | { readonly as: 'bool'; readonly value: boolean }
  | { readonly as: 'string'; readonly value: string }
  | { readonly as: 'table'; readonly value: FlatTable }
  | { readonly as: 'tables'; readonly value: readonly FlatTable[] }
  /** Vector of structs of 8-byte alignment, already laid out. */
  | { readonly as: 'structs'; readonly count: number; readonly value: Uint8Array }

/** Values by slot; undefined = absent (the schema's default). */
export type FlatTable = readonly (FlatValue | undefined)[]

/** The bytes of a buffer with `root`, padded to 8 bytes. Equal input gives equal bytes. */
export function encodeFlatbuffer(root: FlatTable): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter(512)
  out.u32(0)
  patch(out, 0, writeTable(out, root))
  align(out, 8, 0)
  return out.finish()
}

function widthOf(value: FlatValue): number {
  switch (value.as) {
    case 'i64':
      return 8
    case 'i16':
      return 2
    case 'i8':
    case 'bool':
      return 1
    default:
      return 4
  }
}

function writeTable(out: ByteWriter, table: FlatTable): number {
  // Wide fields first, so that each lands on its own alignment without holes.
  const order = table.flatMap((value, slot) => (value === undefined ? [] : [{ slot, value, width: widthOf(value) }])).sort((a, b) => b.width - a.width)
  let size = 4
  const offsets = new Uint16Array(table.length)
  for (const field of order) {
    size = Math.ceil(size / field.width) * field.width
    offsets[field.slot] = size
    size += field.width
  }
  const vtableBytes = 4 + 2 * table.length
  align(out, 8, vtableBytes)
  const vtable = out.at
  out.u16(vtableBytes)
  out.u16(size)
  for (const offset of offsets) out.u16(offset)
  const start = out.at
  out.reserve(size)
  out.bytes.fill(0, start, start + size)
  out.at += size
  out.view.setInt32(start, start - vtable, true)
  for (const { slot, value } of order) writeScalar(out, start + offsets[slot]!, value)
  for (let slot = 0; slot < table.length; slot++) {
    const value = table[slot]
    if (value !== undefined) writeChild(out, start + offsets[slot]!, value)
  }
  return start
}

function writeScalar(out: ByteWriter, at: number, value: FlatValue): void {
  if (value.as === 'i64') out.view.setBigInt64(at, BigInt(value.value), true)
  else if (value.as === 'i32') out.view.setInt32(at, value.value, true)
  else if (value.as === 'i16') out.view.setInt16(at, value.value, true)
  else if (value.as === 'i8') out.view.setInt8(at, value.value)
  else if (value.as === 'bool') out.view.setUint8(at, value.value ? 1 : 0)
}

function writeChild(out: ByteWriter, field: number, value: FlatValue): void {
  if (value.as === 'table') {
    patch(out, field, writeTable(out, value.value))
  } else if (value.as === 'string') {
    const bytes = encoder.encode(value.value)
    align(out, 4, 0)
    patch(out, field, out.at)
    out.u32(bytes.length)
    out.raw(bytes)
    out.u8(0)
  } else if (value.as === 'tables') {
    align(out, 4, 0)
    const vector = out.at
    patch(out, field, vector)
    out.u32(value.value.length)
    for (let i = 0; i < value.value.length; i++) out.u32(0)
    value.value.forEach((table, i) => patch(out, vector + 4 + 4 * i, writeTable(out, table)))
  } else if (value.as === 'structs') {
    align(out, 8, 4)
    patch(out, field, out.at)
    out.u32(value.count)
    out.raw(value.value)
  }
}

function patch(out: ByteWriter, field: number, target: number): void {
  out.view.setUint32(field, target - field, true)
}

/** Zero bytes until `before` more bytes end on a multiple of `unit`. */
function align(out: ByteWriter, unit: number, before: number): void {
  while ((out.at + before) % unit !== 0) out.u8(0)
}

/** The root table of `bytes`. The readers of one buffer are for one pass over it. */
export function readFlatbuffer(bytes: Uint8Array): FlatReader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const work = { left: COST_MAX.perByte * bytes.length + COST_MAX.base }
  return new FlatReader({ view, work }, follow(view, 0), 0)
}

interface FlatSource {
  readonly view: DataView
  /** What may still be read. */
  readonly work: { left: number }
}

/** A table to read slot by slot. Absent slots give the stated default. */
export class FlatReader {
  readonly #source: FlatSource
  readonly #view: DataView
  readonly #at: number
  readonly #vtable: number
  readonly #slots: number
  readonly #depth: number

  constructor(source: FlatSource, at: number, depth: number) {
    if (depth > DEPTH_MAX) throw new DecodeError('tables nested too deep', at)
    const { view } = source
    this.#source = source
    this.#view = view
    this.#at = at
    this.#pay(TABLE_COST)
    this.#vtable = at - view.getInt32(within(view, at, 4), true)
    const bytes = view.getUint16(within(view, this.#vtable, 4), true)
    within(view, this.#vtable, bytes)
    this.#slots = (bytes - 4) >> 1
    this.#depth = depth
  }

  has(slot: number): boolean {
    return this.#field(slot, 1) !== 0
  }
  bool(slot: number, absent: boolean = false): boolean {
    const at = this.#field(slot, 1)
    return at === 0 ? absent : this.#view.getUint8(at) !== 0
  }
  i8(slot: number, absent: number = 0): number {
    const at = this.#field(slot, 1)
    return at === 0 ? absent : this.#view.getInt8(at)
  }
  i16(slot: number, absent: number = 0): number {
    const at = this.#field(slot, 2)
    return at === 0 ? absent : this.#view.getInt16(at, true)
  }
  i32(slot: number, absent: number = 0): number {
    const at = this.#field(slot, 4)
    return at === 0 ? absent : this.#view.getInt32(at, true)
  }
  /** Values outside the safe integers are refused. */
  i64(slot: number, absent: number = 0): number {
    const at = this.#field(slot, 8)
    return at === 0 ? absent : safe(this.#view.getBigInt64(at, true), at)
  }
  string(slot: number): string | undefined {
    const at = this.#field(slot, 4)
    if (at === 0) return undefined
    const start = follow(this.#view, at)
    const length = this.#view.getUint32(within(this.#view, start, 4), true)
    within(this.#view, start + 4, length)
    this.#pay(length)
    return decoder.decode(new Uint8Array(this.#view.buffer, this.#view.byteOffset + start + 4, length))
  }
  table(slot: number): FlatReader | undefined {
    const at = this.#field(slot, 4)
    return at === 0 ? undefined : new FlatReader(this.#source, follow(this.#view, at), this.#depth + 1)
  }
  tables(slot: number): FlatReader[] {
    const vector = this.#vector(slot, 4)
    const found: FlatReader[] = []
    for (let i = 0; i < vector.count; i++) found.push(new FlatReader(this.#source, follow(this.#view, vector.start + 4 * i), this.#depth + 1))
    return found
  }
  /** A view of a vector of structs of `width` bytes. */
  structs(slot: number, width: number): { count: number; view: DataView } {
    const vector = this.#vector(slot, width)
    return { count: vector.count, view: new DataView(this.#view.buffer, this.#view.byteOffset + vector.start, vector.count * width) }
  }

  #pay(cost: number): void {
    this.#source.work.left -= cost
    if (this.#source.work.left < 0) throw new DecodeError('tables and strings that overlap', this.#at)
  }

  #vector(slot: number, width: number): { start: number; count: number } {
    const at = this.#field(slot, 4)
    if (at === 0) return { start: 0, count: 0 }
    const start = follow(this.#view, at)
    const count = this.#view.getUint32(within(this.#view, start, 4), true)
    within(this.#view, start + 4, count * width)
    return { start: start + 4, count }
  }

  /** Offset of the field in the buffer; 0 = absent. */
  #field(slot: number, bytes: number): number {
    if (slot >= this.#slots) return 0
    const offset = this.#view.getUint16(this.#vtable + 4 + 2 * slot, true)
    return offset === 0 ? 0 : within(this.#view, this.#at + offset, bytes)
  }
}

/** An i64 of a struct as a safe integer. */
export function structI64(view: DataView, at: number): number {
  return safe(view.getBigInt64(at, true), at)
}

function safe(value: bigint, at: number): number {
  const number = Number(value)
  if (!Number.isSafeInteger(number)) throw new DecodeError(`integer ${value} is not safe`, at)
  return number
}

function follow(view: DataView, at: number): number {
  const target = at + view.getUint32(within(view, at, 4), true)
  return within(view, target, 4)
}

function within(view: DataView, at: number, bytes: number): number {
  if (at < 0 || bytes > view.byteLength - at) throw new DecodeError(`${bytes} bytes of a flatbuffer, ${view.byteLength} in all`, at)
  return at
}
