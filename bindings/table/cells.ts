// table/cells.ts: one JavaScript value against one column type: what is accepted, what is refused and in which words (api.md sections 1 and 9).
//
// Every check returns the stored form (a number or bigint, text, bytes) or throws CellFault; nothing is rounded, cut or dropped silently.
// A fault knows its place in the array of cells it came from; callers turn that into "table.column.path row n".
import type { ColumnDef, ColumnType, FieldDef, TimeUnit } from '../format/index.ts'
import { describeType, fromPhysical, parseDecimal, physicalFromJson, showValue } from './physical.ts'
import { parseDate } from './text-forms.ts'
import type { ColumnSpec } from './view.ts'

/** Why a value cannot be stored. Never leaves the table folder: rows-in turns it into SchemaMismatchError or NullKeyError. */
export class CellFault extends Error {
  /** Place in the array of cells. */
  readonly index: number
  /** Below the column: ".seat", "[2]". */
  readonly path: string
  readonly nullKey: boolean
  constructor(index: number, path: string, reason: string, nullKey = false) {
    super(reason)
    this.index = index
    this.path = path
    this.nullKey = nullKey
  }
}

/** A column, or a value inside one, prepared for writing. */
export interface Cell {
  readonly type: ColumnType
  /** As messages spell the type: "int16". */
  readonly typeName: string
  /** Field name inside a struct; else of no meaning. */
  readonly name: string
  readonly nullable: boolean
  readonly isKey: boolean
  /** Part of the key or of a unique constraint: NaN, which equals nothing, is refused. */
  readonly isTuple: boolean
  readonly as: ColumnSpec['as']
  /** Stands in for undefined: the default, else null; undefined = must be given. */
  readonly fallback: unknown
  /** list and fixedSizeList: the item; struct: each field. */
  readonly children: readonly Cell[]
}

/** What writes a column of the definition. The code's default counts before the stored one. */
export function cellOf(column: ColumnDef, spec: ColumnSpec | undefined, isKey: boolean, isTuple: boolean = isKey): Cell {
  const fallback = spec !== undefined && spec.default !== undefined ? spec.default : storedDefault(column)
  return build(column, spec, isKey, isTuple, fallback)
}

function build(field: FieldDef, spec: ColumnSpec | undefined, isKey: boolean, isTuple: boolean, fallback: unknown): Cell {
  const { type, nullable } = field
  const inner: readonly FieldDef[] = type.kind === 'struct' ? type.fields : type.kind === 'list' || type.kind === 'fixedSizeList' ? [type.item] : []
  return {
    type,
    // How the strings are encoded is no matter of what may be written.
    typeName: type.kind === 'utf8' && !type.json ? 'utf8' : describeType(type),
    name: field.name,
    nullable,
    isKey,
    isTuple,
    as: spec?.as,
    fallback: fallback === undefined && nullable ? null : fallback,
    children: inner.map((child, i) => build(child, spec?.children?.[i], false, false, spec?.children?.[i]?.default)),
  }
}

/** The constant of a stored definition as a value that the checks accept; undefined = none. */
export function storedDefault(column: ColumnDef): unknown {
  return column.default === undefined ? undefined : fromPhysical(column.type, undefined, physicalFromJson(column.type, column.default))
}

const QUOTE_UNITS_MAX = 40

/** A string as JSON text, shortened. */
export function quote(text: string): string {
  return text.length > QUOTE_UNITS_MAX ? `${JSON.stringify(text.slice(0, QUOTE_UNITS_MAX)).slice(0, -1)}…"` : JSON.stringify(text)
}

export function wrongType(cell: Cell, value: unknown, index: number): CellFault {
  return new CellFault(index, '', `expected ${cell.typeName}${cell.nullable ? ' or null' : ''}, got ${showValue(value)}`)
}

/** A null or missing value where there must be one. */
export function noValue(cell: Cell, value: unknown, index: number): CellFault {
  if (value === undefined) return new CellFault(index, '', 'missing, and the column has no default')
  return cell.isKey ? new CellFault(index, '', 'a key cannot be null', true) : wrongType(cell, value, index)
}

function outside(cell: Cell, value: unknown, low: unknown, high: unknown, index: number): CellFault {
  return new CellFault(index, '', `${String(value)} is outside ${cell.typeName} (${String(low)}..${String(high)})`)
}

/** int8..32 and uint8..32. */
export function smallInt(cell: Cell, value: unknown, low: number, high: number, index: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) throw wrongType(cell, value, index)
  if (value < low || value > high) throw outside(cell, value, low, high, index)
  return value
}

const I64_MIN = -(2n ** 63n)
const I64_MAX = 2n ** 63n - 1n
const U64_MAX = 2n ** 64n - 1n
const SAFE = BigInt(Number.MAX_SAFE_INTEGER)

/** int64 and uint64: a safe integer or a bigint in range. */
export function bigInt(cell: Cell, value: unknown, signed: boolean, index: number): number | bigint {
  if (typeof value === 'bigint') {
    if ((signed ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value)) !== value) {
      throw outside(cell, value, signed ? I64_MIN : 0, signed ? I64_MAX : U64_MAX, index)
    }
    if (cell.as === 'number' && (value > SAFE || value < -SAFE)) {
      throw new CellFault(index, '', `${value}n is not a safe integer, and the column is read as number`)
    }
    return value
  }
  if (typeof value !== 'number' || (!Number.isInteger(value) && !Number.isSafeInteger(value))) throw wrongType(cell, value, index)
  if (!Number.isSafeInteger(value)) throw new CellFault(index, '', `${value} is not a safe integer; write it as a bigint`)
  if (!signed && value < 0) throw outside(cell, value, 0, U64_MAX, index)
  return value
}

export function float(cell: Cell, value: unknown, single: boolean, index: number): number {
  if (typeof value !== 'number') throw wrongType(cell, value, index)
  // Rounding to the nearest float32 is what the type means; turning a finite number into infinity is loss.
  if (single && !Number.isFinite(Math.fround(value)) && Number.isFinite(value)) {
    throw outside(cell, value, -3.4028234663852886e38, 3.4028234663852886e38, index)
  }
  if (cell.isTuple && Number.isNaN(value)) throw nanFault(index, cell.isKey)
  return value
}

/** NaN where values are told apart. */
export function nanFault(index: number, isKey: boolean): CellFault {
  return new CellFault(index, '', `NaN cannot be in ${isKey ? 'a key' : 'a unique constraint'}`)
}

const DATE_MS_MAX = 8.64e15
const US_SAFE_MS = Math.floor(Number.MAX_SAFE_INTEGER / 1000)

/** The value of a timestamp column in its unit: numbers and bigints are in it already, a Date is converted exactly or refused. */
export function timestamp(cell: Cell, value: unknown, unit: TimeUnit, index: number): number | bigint {
  if (typeof value === 'number') {
    if (!Number.isInteger(value)) throw wrongType(cell, value, index)
    if (!Number.isSafeInteger(value)) throw new CellFault(index, '', `${value} is not a safe integer; write it as a bigint`)
    return readableDate(cell, value, unit, index)
  }
  if (typeof value === 'bigint') {
    if (BigInt.asIntN(64, value) !== value) throw outside(cell, value, I64_MIN, I64_MAX, index)
    if (cell.as === 'number' && (value > SAFE || value < -SAFE)) {
      throw new CellFault(index, '', `${value}n is not a safe integer, and the column is read as number`)
    }
    return readableDate(cell, value, unit, index)
  }
  if (!(value instanceof Date) && !isDate(value)) throw wrongType(cell, value, index)
  const ms = (value as Date).getTime()
  if (Number.isNaN(ms)) throw new CellFault(index, '', 'invalid Date')
  switch (unit) {
    case 'ms':
      return ms
    case 's':
      if (ms % 1000 !== 0) throw new CellFault(index, '', `${(value as Date).toISOString()} has more precision than ${cell.typeName} holds`)
      return ms / 1000
    case 'us':
      return ms >= -US_SAFE_MS && ms <= US_SAFE_MS ? ms * 1000 : BigInt(ms) * 1000n
    case 'ns': {
      const ns = BigInt(ms) * 1_000_000n
      if (BigInt.asIntN(64, ns) !== ns) throw new CellFault(index, '', `${(value as Date).toISOString()} is outside ${cell.typeName}`)
      return ns
    }
  }
}

/** A Date of another realm. */
function isDate(value: unknown): boolean {
  return Object.prototype.toString.call(value) === '[object Date]'
}

/** What will be read as a Date must be one: s and ms without `as`. */
function readableDate(cell: Cell, value: number | bigint, unit: TimeUnit, index: number): number | bigint {
  if (cell.as !== undefined || unit === 'us' || unit === 'ns') return value
  const high = unit === 's' ? DATE_MS_MAX / 1000 : DATE_MS_MAX
  if (value > high || value < -high) throw new CellFault(index, '', `${value} is outside what a Date holds (${-high}..${high})`)
  return value
}

const DAY_MS = 86_400_000
/** Days since 1970-01-01, from "2026-11-21", a Date at UTC midnight, or the number itself. */
export function date(cell: Cell, value: unknown, index: number): number {
  if (typeof value === 'string') {
    const days = parseDate(value)
    if (days === undefined) throw new CellFault(index, '', `${quote(value)} is not a date (YYYY-MM-DD)`)
    return smallInt(cell, days, -2147483648, 2147483647, index)
  }
  if (typeof value === 'number') return smallInt(cell, value, -2147483648, 2147483647, index)
  if (!(value instanceof Date) && !isDate(value)) throw wrongType(cell, value, index)
  const ms = (value as Date).getTime()
  if (Number.isNaN(ms)) throw new CellFault(index, '', 'invalid Date')
  if (ms % DAY_MS !== 0) throw new CellFault(index, '', `${(value as Date).toISOString()} is not UTC midnight; date holds whole days`)
  return ms / DAY_MS
}

const DAY_OF_UNIT: Readonly<Record<TimeUnit, number>> = { s: 86_400, ms: 86_400_000, us: 86_400_000_000, ns: 86_400_000_000_000 }

/** Time since midnight in the column's unit. */
export function time(cell: Cell, value: unknown, unit: TimeUnit, index: number): number {
  const n = typeof value === 'bigint' ? Number(value) : value
  if (typeof n !== 'number' || !Number.isInteger(n)) throw wrongType(cell, value, index)
  const high = DAY_OF_UNIT[unit] - 1
  if (n < 0 || n > high) throw outside(cell, value, 0, high, index)
  return n
}

/** Literals longer than this are refused unread: hostile text must not cost quadratic time. */
const DECIMAL_UNITS_MAX = 400

/** The unscaled integer of a decimal. */
export function decimal(cell: Cell, value: unknown, precision: number, scale: number, index: number): bigint {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'bigint') throw wrongType(cell, value, index)
  const parsed = typeof value === 'string' && value.length > DECIMAL_UNITS_MAX ? undefined : parseDecimal(value)
  if (parsed === undefined) {
    throw typeof value === 'string' ? new CellFault(index, '', `${quote(value)} is not a decimal number`) : wrongType(cell, value, index)
  }
  const shift = scale - parsed.scale
  let unscaled = parsed.digits
  if (shift >= 0) unscaled *= 10n ** BigInt(shift)
  else {
    const divisor = 10n ** BigInt(-shift)
    if (unscaled % divisor !== 0n) throw new CellFault(index, '', `${String(value)} has more than ${scale} digits after the point`)
    unscaled /= divisor
  }
  const bound = 10n ** BigInt(precision)
  if (unscaled >= bound || unscaled <= -bound) throw new CellFault(index, '', `${String(value)} is outside ${cell.typeName}`)
  return unscaled
}

/** Bytes of a binary column, as handed in (copied by the caller). */
export function binary(cell: Cell, value: unknown, index: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw wrongType(cell, value, index)
  return value
}

/** Bytes of a fixedSizeBinary column that is not a uuid. */
export function fixedBinary(cell: Cell, value: unknown, bytes: number, index: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw wrongType(cell, value, index)
  if (value.length !== bytes) throw new CellFault(index, '', `${value.length} bytes, expected ${cell.typeName}`)
  return value
}

export function notUuid(cell: Cell, value: unknown, index: number): CellFault {
  return typeof value === 'string' ? new CellFault(index, '', `${quote(value)} is not a uuid`) : wrongType(cell, value, index)
}

export function loneSurrogate(value: string, index: number): CellFault {
  return new CellFault(index, '', `${quote(value)} has a lone surrogate, which UTF-8 cannot hold`)
}
