// Vecs from plain values and back, for tests of formats: a slow and obvious twin of what the readers do.
import { layoutOf } from '../../../bindings/format/index.ts'
import type { ColumnType, FieldDef } from '../../../bindings/format/index.ts'
import type { Vec } from '../../../bindings/kernels/index.ts'

export type Cell = null | boolean | number | bigint | string | Uint8Array | readonly Cell[] | { readonly [name: string]: Cell }

const NONE = { offsets: undefined, children: [], dictionary: undefined }

export function vecOf(type: ColumnType, cells: readonly Cell[]): Vec {
  const length = cells.length
  const nullCount = cells.filter((cell) => cell === null).length
  const validity = nullCount === 0 ? undefined : bitsFrom(cells.map((cell) => cell !== null))
  const layout = layoutOf(type)
  const base = { layout, length, nullCount, validity, ...NONE, values: new Uint8Array(0) }
  switch (layout.kind) {
    case 'bool':
      return { ...base, values: bitsFrom(cells.map((cell) => cell === true)) }
    case 'fixed': {
      const values = new Uint8Array(length * layout.width)
      cells.forEach((cell, i) => writeFixed(type, layout.width, new DataView(values.buffer, i * layout.width, layout.width), cell))
      return { ...base, values }
    }
    case 'var': {
      const parts = cells.map((cell) => (cell === null ? new Uint8Array(0) : typeof cell === 'string' ? new TextEncoder().encode(cell) : (cell as Uint8Array)))
      return { ...base, offsets: offsetsOf(parts.map((part) => part.length)), values: concat(parts) }
    }
    case 'list': {
      const lists = cells.map((cell) => (cell ?? []) as readonly Cell[])
      const item = (type as { item: FieldDef }).item
      return { ...base, offsets: offsetsOf(lists.map((list) => list.length)), children: [vecOf(item.type, lists.flat())] }
    }
    case 'struct': {
      const { fields } = type as { fields: readonly FieldDef[] }
      return {
        ...base,
        children: fields.map((field) =>
          vecOf(
            field.type,
            cells.map((cell) => (cell === null ? null : (cell as Record<string, Cell>)[field.name]!)),
          ),
        ),
      }
    }
    case 'fsl': {
      const { item, size } = type as { item: FieldDef; size: number }
      const blank: Cell[] = Array.from({ length: size }, () => null)
      return {
        ...base,
        children: [
          vecOf(
            item.type,
            cells.flatMap((cell) => (cell ?? blank) as readonly Cell[]),
          ),
        ],
      }
    }
    case 'dict':
      throw new Error('dictVecOf makes those')
  }
}

export function dictVecOf(cells: readonly (string | null)[], width: 1 | 2 | 4, extra: readonly string[] = []): Vec {
  const distinct = [...new Set([...extra, ...cells.filter((cell) => cell !== null)])]
  const Codes = width === 1 ? Uint8Array : width === 2 ? Uint16Array : Uint32Array
  const codes = Codes.from(cells.map((cell) => (cell === null ? 0 : distinct.indexOf(cell))))
  const nullCount = cells.filter((cell) => cell === null).length
  return {
    layout: { kind: 'dict', width },
    length: cells.length,
    nullCount,
    validity: nullCount === 0 ? undefined : bitsFrom(cells.map((cell) => cell !== null)),
    values: new Uint8Array(codes.buffer),
    ...NONE,
    dictionary: vecOf({ kind: 'utf8' }, distinct),
  }
}

export function cellsOf(type: ColumnType, vec: Vec): Cell[] {
  return Array.from({ length: vec.length }, (_, i) => cellAt(type, vec, i))
}

function cellAt(type: ColumnType, vec: Vec, i: number): Cell {
  if (vec.validity !== undefined && ((vec.validity[i >> 3]! >> (i & 7)) & 1) === 0) return null
  const { layout } = vec
  switch (layout.kind) {
    case 'bool':
      return ((vec.values[i >> 3]! >> (i & 7)) & 1) === 1
    case 'fixed':
      return readFixed(type, layout.width, vec.values.slice(i * layout.width, (i + 1) * layout.width))
    case 'var': {
      const bytes = vec.values.slice(vec.offsets![i]!, vec.offsets![i + 1]!)
      return type.kind === 'utf8' ? new TextDecoder().decode(bytes) : bytes
    }
    case 'dict': {
      const view = new DataView(vec.values.buffer, vec.values.byteOffset)
      const code = layout.width === 1 ? vec.values[i]! : layout.width === 2 ? view.getUint16(2 * i, true) : view.getUint32(4 * i, true)
      return cellAt(type, vec.dictionary!, code)
    }
    case 'list': {
      const item = (type as { item: FieldDef }).item.type
      return Array.from({ length: vec.offsets![i + 1]! - vec.offsets![i]! }, (_, k) => cellAt(item, vec.children[0]!, vec.offsets![i]! + k))
    }
    case 'struct': {
      const { fields } = type as { fields: readonly FieldDef[] }
      return Object.fromEntries(fields.map((field, f) => [field.name, cellAt(field.type, vec.children[f]!, i)]))
    }
    case 'fsl': {
      const item = (type as { item: FieldDef }).item.type
      return Array.from({ length: layout.size }, (_, k) => cellAt(item, vec.children[0]!, i * layout.size + k))
    }
  }
}

function writeFixed(type: ColumnType, width: number, view: DataView, cell: Cell): void {
  if (cell === null) return
  if (type.kind === 'fixedSizeBinary') new Uint8Array(view.buffer, view.byteOffset, width).set(cell as Uint8Array)
  else if (type.kind === 'float' && width === 4) view.setFloat32(0, cell as number, true)
  else if (type.kind === 'float') view.setFloat64(0, cell as number, true)
  else {
    let rest = BigInt(cell as number | bigint)
    for (let i = 0; i < width; i++, rest >>= 8n) view.setUint8(i, Number(rest & 255n))
  }
}

function readFixed(type: ColumnType, width: number, bytes: Uint8Array): Cell {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  if (type.kind === 'fixedSizeBinary') return bytes
  if (type.kind === 'float') return width === 4 ? view.getFloat32(0, true) : view.getFloat64(0, true)
  let value = 0n
  for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!)
  if (type.kind !== 'int' || type.signed) value = BigInt.asIntN(8 * width, value)
  return width <= 4 ? Number(value) : value
}

function bitsFrom(bits: readonly boolean[]): Uint8Array {
  const bytes = new Uint8Array((bits.length + 7) >> 3)
  bits.forEach((bit, i) => {
    if (bit) bytes[i >> 3]! |= 1 << (i & 7)
  })
  return bytes
}

function offsetsOf(lengths: readonly number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1)
  lengths.forEach((length, i) => (offsets[i + 1] = offsets[i]! + length))
  return offsets
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Small deterministic generator (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export const int = (bits: 8 | 16 | 32 | 64, signed = true): ColumnType => ({ kind: 'int', bits, signed })
const item = (type: ColumnType, nullable = true): FieldDef => ({ name: 'item', type, nullable })

/** One of every column type. */
export const ALL_TYPES: readonly ColumnType[] = [
  { kind: 'bool' },
  int(8),
  int(16),
  int(32),
  int(64),
  int(8, false),
  int(16, false),
  int(32, false),
  int(64, false),
  { kind: 'float', bits: 32 },
  { kind: 'float', bits: 64 },
  { kind: 'utf8' },
  { kind: 'utf8', json: true },
  { kind: 'binary' },
  { kind: 'fixedSizeBinary', bytes: 5 },
  { kind: 'fixedSizeBinary', bytes: 16, uuid: true },
  { kind: 'timestamp', unit: 's' },
  { kind: 'timestamp', unit: 'ms', tz: 'UTC' },
  { kind: 'timestamp', unit: 'us' },
  { kind: 'timestamp', unit: 'ns' },
  { kind: 'date' },
  { kind: 'time', unit: 's' },
  { kind: 'time', unit: 'ms' },
  { kind: 'time', unit: 'us' },
  { kind: 'time', unit: 'ns' },
  { kind: 'decimal', precision: 20, scale: 2 },
  { kind: 'list', item: item(int(16)) },
  { kind: 'list', item: item({ kind: 'utf8' }) },
  { kind: 'list', item: item({ kind: 'list', item: item({ kind: 'bool' }) }) },
  {
    kind: 'struct',
    fields: [
      { name: 'a', type: int(32), nullable: true },
      { name: 'b', type: { kind: 'utf8' }, nullable: true },
    ],
  },
  { kind: 'fixedSizeList', size: 3, item: item({ kind: 'float', bits: 32 }, false), vector: true },
  { kind: 'fixedSizeList', size: 2, item: item({ kind: 'utf8' }) },
]

/** A random cell of the type; null now and then when `nulls`. */
export function randomCell(type: ColumnType, random: () => number, nulls: boolean): Cell {
  if (nulls && random() < 0.2) return null
  const below = (n: number): number => Math.floor(random() * n)
  switch (type.kind) {
    case 'bool':
      return random() < 0.5
    case 'int': {
      const raw = (BigInt(below(2 ** 32)) << 32n) | BigInt(below(2 ** 32))
      const value = type.signed ? BigInt.asIntN(type.bits, raw) : BigInt.asUintN(type.bits, raw)
      return type.bits === 64 ? value : Number(value)
    }
    case 'float':
      return Math.fround((random() - 0.5) * 1e6)
    case 'utf8':
      return type.json ? JSON.stringify({ n: below(9) }) : ['', 'a', 'ab', 'Zürich', 'x'.repeat(40), '日本'][below(6)]!
    case 'binary':
      return Uint8Array.from({ length: below(9) }, () => below(256))
    case 'fixedSizeBinary':
      return Uint8Array.from({ length: type.bytes }, () => below(256))
    case 'timestamp':
      return BigInt(below(2 ** 40)) - 2n ** 39n
    case 'date':
      return below(40_000) - 20_000
    case 'time':
      return type.unit === 's' ? below(86_400) : type.unit === 'ms' ? below(86_400_000) : BigInt(below(86_400_000)) * 1000n
    case 'decimal':
      return (BigInt(below(2 ** 32)) - 2n ** 31n) * 1_000_000_007n
    case 'list':
      return Array.from({ length: below(4) }, () => randomCell(type.item.type, random, nulls && type.item.nullable))
    case 'fixedSizeList':
      return Array.from({ length: type.size }, () => randomCell(type.item.type, random, nulls && type.item.nullable))
    case 'struct':
      return Object.fromEntries(type.fields.map((field) => [field.name, randomCell(field.type, random, nulls && field.nullable)]))
  }
}
