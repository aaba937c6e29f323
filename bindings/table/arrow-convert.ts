// table/arrow-convert.ts: a stretch of an Arrow node as a Vec of the column's type, without a JavaScript value per row.
//
// Only conversions without loss (api.md section 3): wider integers and floats, narrower or wider offsets, dictionary to plain meaning, time units that
// divide. Buffers are shared where layout and alignment allow. Invariant: every offset, code and length is checked against its buffer here, and utf8 is
// valid, so what leaves may be trusted; a wrong row is a CellFault, a wrong type a TypeFault.
import { layoutOf, type ColumnType, valueKindOf } from '../format/index.ts'
import {
  ARROW,
  type ArrowNode,
  asBytes,
  bitsOf,
  BufferFault,
  dictionaryVec,
  fixedBytes,
  localOffsets,
  MAP_NAMES,
  NO_NULLS,
  type Nulls,
  nullsOf,
  validityTest,
  type Vec,
} from '../kernels/index.ts'
import { typeFault, TypeFault } from './arrow-faults.ts'
import { convertBytes, textCheck } from './arrow-strings.ts'
import { type Cell, CellFault, nanFault, noValue } from './cells.ts'
import { convertDecimal, halfToFloat, integersOf, scale64, widen } from './arrow-numbers.ts'
import { isValid, numbersOf } from './vec-views.ts'

/** What was made of a dictionary last, by its identity. */
export type DictionaryCache = WeakMap<object, { readonly type: ColumnType; readonly entries: Vec }>

/** Rows [start, start + count) of `node` for `cell`. @throws TypeFault, CellFault (index within the stretch), BufferFault */
export function convert(node: ArrowNode, start: number, count: number, cell: Cell, cache: DictionaryCache): Vec {
  const vec = convertAny(node, start, count, cell, cache)
  if (vec.nullCount > 0 && !cell.nullable) throw noValue(cell, null, firstNull(vec))
  if (cell.isTuple && cell.type.kind === 'float') refuseNaN(vec, cell)
  return vec
}

function refuseNaN(vec: Vec, cell: Cell): void {
  const numbers = numbersOf(vec, valueKindOf(cell.type)!)
  for (let i = 0; i < numbers.length; i++) if (Number.isNaN(numbers[i]) && isValid(vec, i)) throw nanFault(i, cell.isKey)
}

/** As convert; nulls may be anywhere. */
function convertAny(node: ArrowNode, start: number, count: number, cell: Cell, cache: DictionaryCache): Vec {
  if (start + count > node.length) throw new BufferFault(`rows ${start}..${start + count} of ${node.length}`)
  const { type } = cell
  if (node.type.id === ARROW.null) return allNull(type, count)
  if (node.type.id === ARROW.dictionary) return fromDictionary(node, start, count, cell, cache)
  const nulls = nullsOf(node, start, count)
  switch (type.kind) {
    case 'bool':
      if (node.type.id !== ARROW.bool) throw typeFault(node.type, cell)
      return vecOf(type, count, nulls, bitsOf(node, start, count))
    case 'int':
    case 'float':
      return vecOf(type, count, nulls, numbers(node, start, count, cell))
    case 'utf8':
    case 'binary': {
      const text = type.kind === 'utf8'
      const { values, offsets } = convertBytes(node, start, count, text, () => typeFault(node.type, cell))
      const vec = vecOf(type, count, nulls, values, offsets)
      if (text) textCheck(vec, type.json === true)
      return vec
    }
    case 'fixedSizeBinary':
      if (node.type.id !== ARROW.fixedSizeBinary || node.type.size !== type.bytes) throw typeFault(node.type, cell)
      return vecOf(type, count, nulls, fixedBytes(node, start, count, type.bytes))
    case 'timestamp':
    case 'time':
    case 'date':
      return vecOf(type, count, nulls, times(node, start, count, cell, nulls))
    case 'decimal': {
      if (node.type.id !== ARROW.decimal) throw typeFault(node.type, cell)
      const bytes = fixedBytes(node, start, count, node.type.bits / 8)
      const same = node.type.bits === 128 && node.type.scale === type.scale && node.type.precision <= type.precision
      return vecOf(type, count, nulls, same ? bytes : convertDecimal(bytes, node.type, count, cell, type, validityTest(nulls)))
    }
    case 'list':
      return list(node, start, count, cell, nulls, cache)
    case 'fixedSizeList':
      return fixedList(node, start, count, cell, nulls, type.size, cache)
    case 'struct':
      return struct(node, start, count, cell, nulls, cache)
  }
}

function firstNull(vec: Vec): number {
  const valid = validityTest({ count: vec.nullCount, validity: vec.validity })
  let row = 0
  while (valid(row)) row++
  return row
}

const NO_BYTES = new Uint8Array(0)

function vecOf(type: ColumnType, length: number, nulls: Nulls, values: Uint8Array, offsets?: Int32Array, children: readonly Vec[] = []): Vec {
  return { layout: layoutOf(type), length, nullCount: nulls.count, validity: nulls.validity, values, offsets, children, dictionary: undefined }
}

/** A column of nulls, with children as empty as may be. */
function allNull(type: ColumnType, count: number): Vec {
  const nulls: Nulls = count === 0 ? NO_NULLS : { count, validity: new Uint8Array((count + 7) >> 3) }
  const layout = layoutOf(type)
  switch (type.kind) {
    case 'list':
      return vecOf(type, count, nulls, NO_BYTES, new Int32Array(count + 1), [allNull(type.item.type, 0)])
    case 'struct':
      return vecOf(
        type,
        count,
        nulls,
        NO_BYTES,
        undefined,
        type.fields.map((field) => allNull(field.type, count)),
      )
    case 'fixedSizeList':
      return vecOf(type, count, nulls, NO_BYTES, undefined, [allNull(type.item.type, count * type.size)])
    default:
      if (layout.kind === 'fixed') return vecOf(type, count, nulls, new Uint8Array(count * layout.width))
      return layout.kind === 'bool'
        ? vecOf(type, count, nulls, new Uint8Array((count + 7) >> 3))
        : vecOf(type, count, nulls, NO_BYTES, new Int32Array(count + 1))
  }
}

function numbers(node: ArrowNode, start: number, count: number, cell: Cell): Uint8Array {
  const { type: from } = node
  const to = cell.type as ColumnType & { kind: 'int' | 'float' }
  if (from.id === ARROW.int) {
    const fits =
      to.kind === 'int'
        ? from.signed === to.signed
          ? from.bits <= to.bits
          : !from.signed && from.bits < to.bits
        : // 24 and 53 bits of mantissa
          from.bits <= (to.bits === 32 ? 16 : 32)
    if (!fits) throw typeFault(from, cell)
    const bytes = fixedBytes(node, start, count, from.bits / 8)
    return to.kind === 'int' && from.bits === to.bits ? bytes : widen(integersOf(bytes, from.bits, from.signed, count), to, count)
  }
  if (from.id !== ARROW.float || to.kind !== 'float' || from.bits > to.bits) throw typeFault(from, cell)
  const bytes = fixedBytes(node, start, count, from.bits / 8)
  if (from.bits === to.bits) return bytes
  const source = from.bits === 16 ? halfToFloat(bytes, count) : new Float32Array(bytes.buffer, bytes.byteOffset, count)
  return asBytes(to.bits === 32 ? source : Float64Array.from(source))
}

/** Units in a second, by Arrow's number of the unit. */
const PER_SECOND = [1, 1e3, 1e6, 1e9]
const UNIT_PLACE = { s: 0, ms: 1, us: 2, ns: 3 } as const
const DAY_MS = 86_400_000

function times(node: ArrowNode, start: number, count: number, cell: Cell, nulls: Nulls): Uint8Array {
  const { type: from } = node
  const to = cell.type as ColumnType & { kind: 'timestamp' | 'time' | 'date' }
  const valid = validityTest(nulls)
  if (to.kind === 'date') {
    if (from.id !== ARROW.date) throw typeFault(from, cell)
    if (from.unit === 0) return fixedBytes(node, start, count, 4)
    const days = scale64(fixedBytes(node, start, count, 8), count, 1, DAY_MS, valid, cell)
    return narrow32(days, count, valid, cell)
  }
  // date64 counts milliseconds; some libraries keep instants in it.
  const instants = to.kind === 'timestamp' && from.id === ARROW.date && from.unit === 1
  if (!instants && from.id !== (to.kind === 'time' ? ARROW.time : ARROW.timestamp)) throw typeFault(from, cell)
  const have = PER_SECOND[from.unit]
  if (have === undefined) throw typeFault(from, cell)
  const want = PER_SECOND[UNIT_PLACE[to.unit]]!
  const wideFrom = to.kind === 'timestamp' || from.unit >= 2
  const wideTo = to.kind === 'timestamp' || UNIT_PLACE[to.unit] >= 2
  const bytes = fixedBytes(node, start, count, wideFrom ? 8 : 4)
  if (have === want) return bytes
  const wide = wideFrom ? bytes : widen(integersOf(bytes, 32, true, count), { kind: 'int', bits: 64, signed: true }, count)
  const scaled = scale64(wide, count, Math.max(1, want / have), Math.max(1, have / want), valid, cell)
  return wideTo ? scaled : narrow32(scaled, count, valid, cell)
}

/** int64 to int32, exactly. */
function narrow32(bytes: Uint8Array, count: number, valid: (row: number) => boolean, cell: Cell): Uint8Array {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, count * 2)
  const out = new Int32Array(count)
  for (let i = 0; i < count; i++) {
    const low = words[2 * i]!
    if (words[2 * i + 1] !== low >> 31 && valid(i)) throw new CellFault(i, '', `a value is outside ${cell.typeName}`)
    out[i] = low
  }
  return asBytes(out)
}

function list(node: ArrowNode, start: number, count: number, cell: Cell, nulls: Nulls, cache: DictionaryCache): Vec {
  const { id, size } = node.type
  const child = id === ARROW.map ? entriesOf(node) : node.children[0]
  const fixed = id === ARROW.fixedSizeList
  if ((id !== ARROW.list && id !== ARROW.largeList && id !== ARROW.map && !fixed) || child === undefined) throw typeFault(node.type, cell)
  const item = cell.children[0]!
  const { first, last, offsets } = fixed
    ? { first: start * size, last: (start + count) * size, offsets: Int32Array.from({ length: count + 1 }, (_, i) => i * size) }
    : localOffsets(node, start, count, child.length)
  const rowOf = (at: number): number => {
    let row = 0
    while (offsets[row + 1]! <= at) row++
    return row
  }
  const valid = validityTest(nulls)
  const items = below(
    () => convertAny(child, first, last - first, item, cache),
    (at) => ({ row: rowOf(at), path: `[${at - offsets[rowOf(at)]!}]` }),
    '[]',
  )
  checkItems(items, item, (at) => ({ row: rowOf(at), path: `[${at - offsets[rowOf(at)]!}]` }), valid)
  return vecOf(cell.type, count, nulls, NO_BYTES, offsets, [plain(items)])
}

/** The key-value pairs of a map; what they are called is left to the writer. */
function entriesOf(node: ArrowNode): ArrowNode | undefined {
  const child = node.children[0]
  return child?.children.length === 2 ? { ...child, type: { ...child.type, fieldNames: MAP_NAMES } } : undefined
}

function fixedList(node: ArrowNode, start: number, count: number, cell: Cell, nulls: Nulls, size: number, cache: DictionaryCache): Vec {
  const child = node.children[0]
  if (node.type.id !== ARROW.fixedSizeList || node.type.size !== size || child === undefined) throw typeFault(node.type, cell)
  const place = (at: number): { row: number; path: string } => ({ row: Math.floor(at / size), path: `[${at % size}]` })
  const items = below(() => convertAny(child, start * size, count * size, cell.children[0]!, cache), place, '[]')
  checkItems(items, cell.children[0]!, place, validityTest(nulls))
  return vecOf(cell.type, count, nulls, NO_BYTES, undefined, [plain(items)])
}

function struct(node: ArrowNode, start: number, count: number, cell: Cell, nulls: Nulls, cache: DictionaryCache): Vec {
  if (node.type.id !== ARROW.struct) throw typeFault(node.type, cell)
  const names = node.type.fieldNames
  if (names.some((name) => !cell.children.some((field) => field.name === name))) throw typeFault(node.type, cell)
  const valid = validityTest(nulls)
  const children = cell.children.map((field) => {
    const child = node.children[names.indexOf(field.name)]
    const place = (at: number): { row: number; path: string } => ({ row: at, path: `.${field.name}` })
    if (child === undefined) {
      if (!field.nullable) throw typeFault(node.type, cell)
      return allNull(field.type, count)
    }
    const vec = below(() => convertAny(child, start, count, field, cache), place, `.${field.name}`)
    checkItems(vec, field, place, valid)
    return plain(vec)
  })
  return vecOf(cell.type, count, nulls, NO_BYTES, undefined, children)
}

/** Nulls of a child that may have none are allowed under a null parent only. */
function checkItems(vec: Vec, cell: Cell, place: (at: number) => { row: number; path: string }, parentValid: (row: number) => boolean): void {
  if (vec.nullCount === 0 || cell.nullable) return
  const valid = validityTest({ count: vec.nullCount, validity: vec.validity })
  for (let i = 0; i < vec.length; i++) {
    if (valid(i)) continue
    const { row, path } = place(i)
    if (parentValid(row)) throw new CellFault(row, path, noValue(cell, null, i).message)
  }
}

function below<T>(make: () => T, place: (at: number) => { row: number; path: string }, path: string): T {
  try {
    return make()
  } catch (fault) {
    if (fault instanceof TypeFault) throw new TypeFault(path + fault.path, fault.from, fault.to)
    if (!(fault instanceof CellFault)) throw fault
    const at = place(fault.index)
    throw new CellFault(at.row, at.path + fault.path, fault.message)
  }
}

function fromDictionary(node: ArrowNode, start: number, count: number, cell: Cell, cache: DictionaryCache): Vec {
  const source = node.dictionary!
  const { type } = cell
  if (source.type.id === ARROW.dictionary) throw typeFault(node.type, cell)
  const known = cache.get(source.identity)
  const entries =
    known?.type === type
      ? known.entries
      : joined(
          source.chunks().map((chunk) => convertAny(chunk, 0, chunk.length, { ...cell, nullable: true }, cache)),
          type,
        )
  cache.set(source.identity, { type, entries })
  return dictionaryVec(node, start, count, layoutOf(type), entries, nullsOf(node, start, count))
}

/** Dictionaries that came in pieces as one; nested types do not come as dictionaries. */
function joined(pieces: readonly Vec[], type: ColumnType): Vec {
  if (pieces.length === 1) return pieces[0]!
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
  const layout = layoutOf(type)
  if (pieces.length === 0 || (layout.kind !== 'var' && layout.kind !== 'fixed')) {
    if (length > 0) throw new BufferFault(`a dictionary of ${layout.kind} values in ${pieces.length} pieces`)
    return allNull(type, 0)
  }
  const bytes = pieces.map((piece) =>
    layout.kind === 'var' ? piece.values.subarray(piece.offsets![0], piece.offsets![piece.length]) : piece.values.subarray(0, piece.length * layout.width),
  )
  const values = new Uint8Array(bytes.reduce((sum, run) => sum + run.length, 0))
  const offsets = layout.kind === 'var' ? new Int32Array(length + 1) : undefined
  const bits = new Uint8Array((length + 7) >> 3)
  let nulls = 0
  let row = 0
  let at = 0
  for (const [p, piece] of pieces.entries()) {
    values.set(bytes[p]!, at)
    const valid = validityTest({ count: piece.nullCount, validity: piece.validity })
    for (let i = 0; i < piece.length; i++, row++) {
      if (valid(i)) bits[row >> 3]! |= 1 << (row & 7)
      else nulls++
      if (offsets !== undefined) offsets[row + 1] = at + piece.offsets![i + 1]! - piece.offsets![0]!
    }
    at += bytes[p]!.length
  }
  return vecOf(type, length, nulls === 0 ? NO_NULLS : { count: nulls, validity: bits }, values, offsets)
}

/** Inside nested columns nothing is dictionary-encoded. */
function plain(vec: Vec): Vec {
  if (vec.layout.kind !== 'dict') return vec
  const { dictionary, length } = vec as Vec & { dictionary: Vec }
  const { width } = vec.layout
  const codes =
    width === 1
      ? vec.values
      : width === 2
        ? new Uint16Array(vec.values.buffer, vec.values.byteOffset, length)
        : new Uint32Array(vec.values.buffer, vec.values.byteOffset, length)
  const valid = validityTest({ count: vec.nullCount, validity: vec.validity })
  const offsets = new Int32Array(length + 1)
  for (let i = 0; i < length; i++) {
    const code = codes[i]!
    const bytes = valid(i) ? dictionary.offsets![code + 1]! - dictionary.offsets![code]! : 0
    if (offsets[i]! + bytes > 0x7fff_ffff) throw new BufferFault('more than 2 GiB of values in one column')
    offsets[i + 1] = offsets[i]! + bytes
  }
  const values = new Uint8Array(offsets[length]!)
  for (let i = 0; i < length; i++) {
    const start = offsets[i]!
    if (offsets[i + 1]! > start) values.set(dictionary.values.subarray(dictionary.offsets![codes[i]!], dictionary.offsets![codes[i]! + 1]), start)
  }
  return { ...vec, layout: { kind: 'var' }, values, offsets, dictionary: undefined }
}
