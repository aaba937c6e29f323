// table/predicate-leaf.ts: one comparison of a predicate as a test on physical values: what `gt("delay", 60.5)` means for an int16 column.
//
// Numbers (ints, dates, times, timestamps, decimals, floats) become closed ranges or lists in the column's own unit, so a constant between two
// representable values, or far outside of them, still gives the exact answer. Bytes (utf8, binary, uuid) become byte comparisons.
// Invariant: a test is false for null and NaN; for any other value it is what arithmetic says of the value and the user's constant
// (a constant for a float32 column is first rounded to float32, as a written value is).

import { SchemaMismatchError } from '../errors.ts'
import { layoutOf, valueKindOf } from '../format/index.ts'
import type { ColumnType } from '../format/index.ts'
import { describeType, integerRange, Misfit, parseDecimal, showValue, toPhysical } from './physical.ts'
import { dateText, parseDate } from './text-forms.ts'
import type { PredicateNode } from './predicate.ts'
import type { ViewColumn } from './view.ts'

/** A value in the form of its ValueKind, as in ColumnStats: number (up to 32 bits, floats, bool as 0 and 1), bigint (64 and 128 bits), bytes. */
export type Constant = number | bigint | Uint8Array

export type ByteOp = 'eq' | 'lt' | 'lte' | 'gt' | 'gte' | 'prefix'

export type Leaf =
  | { readonly test: 'never' }
  | { readonly test: 'null' }
  /** Any value but null. */
  | { readonly test: 'valid' }
  /** from <= x <= to; for floats this leaves out NaN. */
  | { readonly test: 'range'; readonly from: number | bigint; readonly to: number | bigint }
  /** Bools. */
  | { readonly test: 'bool'; readonly value: 0 | 1 }
  /** Ascending, without doubles, at least one. */
  | { readonly test: 'in'; readonly values: readonly Constant[] }
  | { readonly test: 'bytes'; readonly op: ByteOp; readonly value: Uint8Array }
  /** from <= x <= to by unsigned byte order. */
  | { readonly test: 'byteRange'; readonly from: Uint8Array; readonly to: Uint8Array }

type LeafNode = Exclude<PredicateNode, { op: 'and' | 'or' | 'not' | 'ne' }>
type Order = 'eq' | 'lt' | 'lte' | 'gt' | 'gte'

const NEVER: Leaf = { test: 'never' }
const VALID: Leaf = { test: 'valid' }
const DAY_MS = 86_400_000
const NS_PER_MS = 1_000_000n
const NS_PER_UNIT = { s: 1_000_000_000n, ms: NS_PER_MS, us: 1_000n, ns: 1n } as const
/** Beyond every 64-bit column, so that not being a safe integer does no harm. */
const BEYOND_64 = 2 ** 64
const FLOAT32_MAX = 3.4028234663852886e38
const FLOAT32_TINIEST = 2 ** -149
const encoder = new TextEncoder()

/**
 * The test of one comparison on a column.
 * @throws SchemaMismatchError a value of another type than the column's, a column that has no order or does not compare
 */
export function leafOf(table: string, column: ViewColumn, node: LeafNode): Leaf {
  if (node.op === 'isNull') return { test: 'null' }
  if (node.op === 'isNotNull') return VALID
  const { type } = column.column
  const kind = valueKindOf(type)
  if (kind === undefined) throw misfit(table, column, `${describeType(type)} cannot be compared`)
  if (kind === 'bool') return boolLeaf(table, column, node)
  const leaf = node.op === 'startsWith' ? prefixLeaf(column, node.prefix) : kind === 'bytes' ? bytesLeaf(type, node) : numberLeaf(type, node)
  if (leaf instanceof Misfit) throw misfit(table, column, leaf.reason)
  return leaf
}

/** Order of two constants of one kind: negative, 0 or positive. */
export function compareConstants(a: Constant, b: Constant): number {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return compareBytes(a, b)
  return a < b ? -1 : a > b ? 1 : 0
}

/** Unsigned byte order. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] as number) - (b[i] as number)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** The one constant that a test accepts, or the several; undefined: it accepts others. */
export function equalities(leaf: Leaf): readonly Constant[] | undefined {
  switch (leaf.test) {
    case 'never':
      return []
    case 'range':
      return leaf.from === leaf.to ? [leaf.from] : undefined
    case 'bool':
      return [leaf.value]
    case 'in':
      return leaf.values
    case 'bytes':
      return leaf.op === 'eq' ? [leaf.value] : undefined
    default:
      return undefined
  }
}

function misfit(table: string, column: ViewColumn, reason: string): SchemaMismatchError {
  return new SchemaMismatchError(`${table}.${column.name} in a predicate: ${reason}`, {
    details: { table, column: column.name },
    hint: 'Compare with a value of the type that the column has; for nulls use isNull.',
  })
}

function boolLeaf(table: string, column: ViewColumn, node: LeafNode): Leaf {
  const values = node.op === 'eq' ? [node.value] : node.op === 'oneOf' ? node.values : undefined
  if (values === undefined) throw misfit(table, column, 'bool has no order')
  for (const value of values) {
    if (typeof value !== 'boolean') throw misfit(table, column, `expected bool, got ${showValue(value)}`)
  }
  const accepts = new Set(values)
  if (accepts.size === 2) return VALID
  return accepts.size === 0 ? NEVER : { test: 'bool', value: accepts.has(true) ? 1 : 0 }
}

// ---- numbers

/** Where a constant lies among the integers of a column: between floor and floor + 1, or on floor when exact; or beyond all of them. */
type Place = { readonly floor: bigint; readonly exact: boolean } | 'above' | 'below'

function numberLeaf(type: ColumnType, node: LeafNode): Leaf | Misfit {
  const range = integerRange(type)
  const bounds = range === undefined ? floatBounds(type) : integerBounds(type)
  if (node.op === 'oneOf') {
    const values: (number | bigint)[] = []
    for (const value of node.values) {
      const one = bounds('eq', value)
      if (one instanceof Misfit) return one
      if (one !== undefined && within(one[0], range)) values.push(one[0])
    }
    return inLeaf(values.map((value) => constantOf(type, value)))
  }
  const parts = partsOf(node)
  let from: number | bigint = range === undefined ? -Infinity : range[0]
  let to: number | bigint = range === undefined ? Infinity : range[1]
  for (const [op, value] of parts) {
    const bound = bounds(op, value)
    if (bound instanceof Misfit) return bound
    if (bound === undefined) return NEVER
    if (bound[0] > from) from = bound[0]
    if (bound[1] < to) to = bound[1]
  }
  if (from > to) return NEVER
  if (range !== undefined && from === range[0] && to === range[1]) return VALID
  return { test: 'range', from: constantOf(type, from), to: constantOf(type, to) }
}

function partsOf(node: LeafNode): [Order, unknown][] {
  switch (node.op) {
    case 'between':
      return [
        ['gte', node.from],
        ['lte', node.to],
      ]
    case 'eq':
    case 'gt':
    case 'gte':
    case 'lt':
    case 'lte':
      return [[node.op, node.value]]
    default:
      return []
  }
}

function within(value: number | bigint, range: readonly [bigint, bigint] | undefined): boolean {
  return range === undefined || (value >= range[0] && value <= range[1])
}

/** Integers up to 32 bits are numbers, wider ones bigints; -0 is 0. */
function constantOf(type: ColumnType, value: number | bigint): number | bigint {
  if (typeof value === 'number') return value + 0
  const layout = layoutOf(type)
  return layout.kind === 'fixed' && layout.width <= 4 ? Number(value) : value
}

type Bounds = (op: Order, value: unknown) => readonly [number | bigint, number | bigint] | undefined | Misfit

/** The closed range of integers that are op the constant; undefined: none. */
function integerBounds(type: ColumnType): Bounds {
  return (op, value) => {
    const place = placeOf(type, value)
    if (place instanceof Misfit) return place
    if (place === 'above') return op === 'lt' || op === 'lte' ? [-Infinity, Infinity] : undefined
    if (place === 'below') return op === 'gt' || op === 'gte' ? [-Infinity, Infinity] : undefined
    const { floor, exact } = place
    switch (op) {
      case 'eq':
        return exact ? [floor, floor] : undefined
      case 'gt':
        return [floor + 1n, Infinity]
      case 'gte':
        return [exact ? floor : floor + 1n, Infinity]
      case 'lt':
        return [-Infinity, exact ? floor - 1n : floor]
      case 'lte':
        return [-Infinity, floor]
    }
  }
}

function placeOf(type: ColumnType, value: unknown): Place | Misfit {
  if (value === Infinity) return 'above'
  if (value === -Infinity) return 'below'
  switch (type.kind) {
    case 'int':
      return type.bits === 64 ? wideInteger(type, value) : typeof value === 'number' ? realNumber(value) : expected(type, value)
    case 'timestamp':
      return value instanceof Date ? quotient(BigInt(value.getTime()) * NS_PER_MS, NS_PER_UNIT[type.unit]) : wideInteger(type, value)
    case 'time':
      return wideInteger(type, value)
    case 'date': {
      if (value instanceof Date) return quotient(BigInt(value.getTime()), BigInt(DAY_MS))
      if (typeof value === 'number') return realNumber(value)
      const days = typeof value === 'string' ? parseDate(value) : undefined
      return days === undefined ? expected(type, value) : { floor: BigInt(days), exact: true }
    }
    case 'decimal': {
      if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'bigint') return expected(type, value)
      const parsed = parseDecimal(value)
      if (parsed === undefined) return expected(type, value)
      return quotient(parsed.digits * 10n ** BigInt(type.scale), 10n ** BigInt(parsed.scale))
    }
    default:
      return expected(type, value)
  }
}

function wideInteger(type: ColumnType, value: unknown): Place | Misfit {
  if (typeof value === 'bigint') return { floor: value, exact: true }
  if (typeof value !== 'number') return expected(type, value)
  // Such a number already is not what was written in the source; compared with exact integers it would silently pick another row.
  if (!Number.isSafeInteger(Math.floor(value)) && Math.abs(value) < BEYOND_64) {
    return new Misfit(`${value} is not a safe integer; write it as a bigint`)
  }
  return realNumber(value)
}

function realNumber(value: number): Place {
  const floor = Math.floor(value)
  return { floor: BigInt(floor), exact: floor === value }
}

function quotient(dividend: bigint, divisor: bigint): Place {
  const remainder = dividend % divisor
  const truncated = dividend / divisor
  return { floor: remainder < 0n ? truncated - 1n : truncated, exact: remainder === 0n }
}

/** The closed range of floats that are op the constant. */
function floatBounds(type: ColumnType): Bounds {
  const single = type.kind === 'float' && type.bits === 32
  return (op, value) => {
    if (typeof value !== 'number') return expected(type, value)
    const rounded = single ? Math.fround(value) : value
    // A finite constant beyond float32 lies between its largest value and infinity.
    if (Number.isFinite(value) && !Number.isFinite(rounded)) {
      if (op === 'eq') return undefined
      const above = op === 'gt' || op === 'gte'
      if (value > 0) return above ? [Infinity, Infinity] : [-Infinity, FLOAT32_MAX]
      return above ? [-FLOAT32_MAX, Infinity] : [-Infinity, -Infinity]
    }
    switch (op) {
      case 'eq':
        return [rounded, rounded]
      case 'gt':
        return rounded === Infinity ? undefined : [nextUp(rounded, single), Infinity]
      case 'gte':
        return [rounded, Infinity]
      case 'lt':
        return rounded === -Infinity ? undefined : [-Infinity, -nextUp(-rounded, single)]
      case 'lte':
        return [-Infinity, rounded]
    }
  }
}

const bits = new DataView(new ArrayBuffer(8))

/** The smallest float greater than x; not for +Infinity. */
function nextUp(x: number, single: boolean): number {
  if (x === 0) return single ? FLOAT32_TINIEST : Number.MIN_VALUE
  if (single) {
    bits.setFloat32(0, x)
    bits.setInt32(0, bits.getInt32(0) + (x > 0 ? 1 : -1))
    return bits.getFloat32(0)
  }
  bits.setFloat64(0, x)
  bits.setBigInt64(0, bits.getBigInt64(0) + (x > 0 ? 1n : -1n))
  return bits.getFloat64(0)
}

// ---- bytes

function bytesLeaf(type: ColumnType, node: LeafNode): Leaf | Misfit {
  const width = type.kind === 'fixedSizeBinary' ? type.bytes : undefined
  if (node.op === 'oneOf') {
    const values: Uint8Array[] = []
    for (const value of node.values) {
      const bytes = bytesOf(type, value)
      if (bytes instanceof Misfit) return bytes
      if (width === undefined || bytes.length === width) values.push(bytes)
    }
    return inLeaf(values)
  }
  if (node.op === 'between') {
    const from = bytesOf(type, node.from)
    const to = bytesOf(type, node.to)
    if (from instanceof Misfit) return from
    if (to instanceof Misfit) return to
    const low = width === undefined ? from : firstOfWidth(from, width)
    const high = width === undefined ? to : lastOfWidth(to, width)
    if (low === undefined || high === undefined || compareBytes(low, high) > 0) return NEVER
    return compareBytes(low, high) === 0 ? { test: 'bytes', op: 'eq', value: low } : { test: 'byteRange', from: low, to: high }
  }
  const [part] = partsOf(node)
  if (part === undefined) return NEVER
  const bytes = bytesOf(type, part[1])
  if (bytes instanceof Misfit) return bytes
  return width === undefined || bytes.length === width ? { test: 'bytes', op: part[0], value: bytes } : ofOtherWidth(part[0], bytes, width)
}

function bytesOf(type: ColumnType, value: unknown): Uint8Array | Misfit {
  // Bytes of any length compare with those of a fixed one; a uuid is text and must be whole.
  if (type.kind === 'fixedSizeBinary' && !type.uuid) return value instanceof Uint8Array ? value : expected(type, value)
  const physical = toPhysical(type, value)
  if (physical instanceof Misfit) return physical
  return physical instanceof Uint8Array ? physical : encoder.encode(physical as string)
}

/** Comparison of fixed-width values with a constant of another length. */
function ofOtherWidth(op: Order, bytes: Uint8Array, width: number): Leaf {
  if (op === 'eq') return NEVER
  if (op === 'gt' || op === 'gte') {
    const first = firstOfWidth(bytes, width)
    return first === undefined ? NEVER : { test: 'bytes', op: 'gte', value: first }
  }
  const last = lastOfWidth(bytes, width)
  return last === undefined ? NEVER : { test: 'bytes', op: 'lte', value: last }
}

/** The first value of `width` bytes that is >= a constant of any length; undefined: none. */
function firstOfWidth(bytes: Uint8Array, width: number): Uint8Array | undefined {
  const padded = new Uint8Array(width)
  padded.set(bytes.subarray(0, width))
  if (bytes.length <= width) return padded
  for (let i = width - 1; i >= 0; i--) {
    const byte = padded[i] as number
    padded[i] = byte + 1
    if (byte < 255) return padded
  }
  return undefined
}

/** The last value of `width` bytes that is <= a constant of any length; undefined: none. */
function lastOfWidth(bytes: Uint8Array, width: number): Uint8Array | undefined {
  const padded = new Uint8Array(width)
  padded.set(bytes.subarray(0, width))
  if (bytes.length >= width) return padded
  // Shorter: the constant with zeros behind it is greater; one step down from there.
  for (let i = width - 1; i >= 0; i--) {
    const byte = padded[i] as number
    padded[i] = byte - 1
    if (byte > 0) return padded
  }
  return undefined
}

function inLeaf(values: readonly Constant[]): Leaf {
  const sorted = values.toSorted(compareConstants)
  const distinct = sorted.filter((value, i) => i === 0 || compareConstants(value, sorted[i - 1] as Constant) !== 0)
  const [only] = distinct
  if (only === undefined) return NEVER
  if (distinct.length > 1) return { test: 'in', values: distinct }
  return only instanceof Uint8Array ? { test: 'bytes', op: 'eq', value: only } : { test: 'range', from: only, to: only }
}

// ---- prefixes: of utf8, and of the text of uuids and dates

function prefixLeaf(column: ViewColumn, prefix: unknown): Leaf | Misfit {
  const { type } = column.column
  if (typeof prefix !== 'string') return new Misfit(`expected a string to start with, got ${showValue(prefix)}`)
  if (prefix === '') return VALID
  if (type.kind === 'utf8') {
    return prefix.isWellFormed() ? { test: 'bytes', op: 'prefix', value: encoder.encode(prefix) } : new Misfit('not well-formed Unicode (a lone surrogate)')
  }
  if (type.kind === 'fixedSizeBinary' && type.uuid) return uuidPrefix(prefix.toLowerCase())
  if (type.kind === 'date' && (column.spec.as ?? 'string') === 'string') return datePrefix(prefix)
  return new Misfit(`${describeType(type)} is not read as text, which startsWith needs`)
}

function uuidPrefix(prefix: string): Leaf {
  if (prefix.length > 36) return NEVER
  for (let i = 0; i < prefix.length; i++) {
    const isDash = i === 8 || i === 13 || i === 18 || i === 23
    if (isDash ? prefix[i] !== '-' : !/[0-9a-f]/.test(prefix[i] as string)) return NEVER
  }
  const digits = prefix.replaceAll('-', '')
  const from = fromHex(digits.padEnd(32, '0'))
  return digits.length === 32 ? { test: 'bytes', op: 'eq', value: from } : { test: 'byteRange', from, to: fromHex(digits.padEnd(32, 'f')) }
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16))
}

/** Within the years 0000..9999 the order of texts is the order of days, so a prefix is a range. */
function datePrefix(prefix: string): Leaf | Misfit {
  if (prefix.startsWith('+') || prefix.startsWith('-')) return new Misfit('startsWith on a date takes the years 0000 to 9999')
  const first = parseDate('0000-01-01') as number
  const end = (parseDate('9999-12-31') as number) + 1
  const from = search(first, end, (day) => dateText(day) >= prefix)
  const to = search(from, end, (day) => !dateText(day).startsWith(prefix))
  return from === to ? NEVER : { test: 'range', from, to: to - 1 }
}

/** The first number in [start, end) that passes, or end; those that pass must follow those that do not. */
function search(start: number, end: number, passes: (n: number) => boolean): number {
  let low = start
  let high = end
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (passes(middle)) high = middle
    else low = middle + 1
  }
  return low
}

function expected(type: ColumnType, value: unknown): Misfit {
  return new Misfit(`expected ${describeType(type)}, got ${showValue(value)}`)
}
