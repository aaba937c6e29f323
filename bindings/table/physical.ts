// table/physical.ts: user values <-> physical values of a column type, one value at a time: defaults, predicates, keys asked for.
//
// Physical forms: bool boolean · ints, dates, times up to 32 bits and floats number · 64-bit ints, timestamps, times, decimals (unscaled) bigint
// · utf8 string (json: its text) · binary, uuid Uint8Array · list array · struct object · vector array of numbers.
// Invariant: a conversion loses nothing, or it is refused with a reason; two spellings of one value have one physical form.

import type { ColumnType, TimeUnit } from '../format/index.ts'
import { fromBase64, toBase64 } from './base64.ts'
import { dateText, parseDate, uuidText } from './text-forms.ts'
import type { ColumnSpec } from './view.ts'

export type Physical = boolean | number | bigint | string | Uint8Array | null | readonly Physical[] | { readonly [field: string]: Physical }

/** Why a value does not fit: `expected int16, got string "late"`. */
export class Misfit {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

const UNITS_PER_SECOND: Readonly<Record<TimeUnit, bigint>> = { s: 1n, ms: 1_000n, us: 1_000_000n, ns: 1_000_000_000n }
const DAY_MS = 86_400_000
const DAY_SECONDS = 86_400n
const INT64_MAX = 2n ** 63n - 1n
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/

/** The physical form of a value that may be written to the type. */
export function toPhysical(type: ColumnType, value: unknown, children?: readonly ColumnSpec[]): Physical | Misfit {
  switch (type.kind) {
    case 'bool':
      return typeof value === 'boolean' ? value : expected(type, value)
    case 'int':
      return type.bits === 64 ? bigInt(type, value) : smallInt(type, value)
    case 'float':
      if (typeof value !== 'number') return expected(type, value)
      return type.bits === 32 ? Math.fround(value) : value
    case 'utf8':
      if (type.json) return jsonText(value)
      if (typeof value !== 'string') return expected(type, value)
      return value.isWellFormed() ? value : new Misfit('not well-formed Unicode (a lone surrogate)')
    case 'binary':
      return value instanceof Uint8Array ? Uint8Array.from(value) : expected(type, value)
    case 'fixedSizeBinary':
      if (type.uuid) return uuidBytes(value)
      if (!(value instanceof Uint8Array)) return expected(type, value)
      return value.byteLength === type.bytes ? Uint8Array.from(value) : new Misfit(`${value.byteLength} bytes, expected ${type.bytes}`)
    case 'timestamp':
      return timestamp(type, value)
    case 'date':
      return days(type, value)
    case 'time':
      return timeOfDay(type, value)
    case 'decimal':
      return decimal(type, value)
    case 'list':
      return items(type, type.item, value, children?.[0])
    case 'fixedSizeList': {
      const list = value instanceof Float32Array ? Array.from(value) : value
      if (Array.isArray(list) && list.length !== type.size) return new Misfit(`${list.length} items, expected ${type.size}`)
      return items(type, type.item, list, children?.[0])
    }
    case 'struct':
      return struct(type, value, children)
  }
}

/** The value that a reader with `as` gets for a physical form; the inverse of toPhysical. */
export function fromPhysical(type: ColumnType, as: ColumnSpec['as'], value: Physical, children?: readonly ColumnSpec[]): unknown {
  if (value === null) return null
  switch (type.kind) {
    case 'int':
      return as === 'number' ? Number(value) : value
    case 'utf8':
      return type.json ? JSON.parse(value as string) : value
    case 'binary':
      return Uint8Array.from(value as Uint8Array)
    case 'fixedSizeBinary':
      return type.uuid ? uuidText(value as Uint8Array, 0) : Uint8Array.from(value as Uint8Array)
    case 'timestamp':
      if (as === 'number') return Number(value)
      if (as === 'bigint' || type.unit === 'us' || type.unit === 'ns') return value
      return new Date(Number(value) * (type.unit === 's' ? 1000 : 1))
    case 'date':
      if (as === 'number') return value
      return as === 'date' ? new Date((value as number) * DAY_MS) : dateText(value as number)
    case 'decimal':
      return decimalText(value as bigint, type.scale)
    case 'list':
      return (value as readonly Physical[]).map((item) => fromPhysical(type.item.type, children?.[0]?.as, item, children?.[0]?.children))
    case 'fixedSizeList': {
      const list = (value as readonly Physical[]).map((item) => fromPhysical(type.item.type, children?.[0]?.as, item, children?.[0]?.children))
      return type.vector ? Float32Array.from(list as number[]) : list
    }
    case 'struct': {
      const fields = value as Readonly<Record<string, Physical>>
      return Object.fromEntries(
        type.fields.map((field, i) => [field.name, fromPhysical(field.type, children?.[i]?.as, fields[field.name] ?? null, children?.[i]?.children)]),
      )
    }
    default:
      return value
  }
}

/** The form of a physical value in JSON: bigint as { $bigint }, bytes as { $base64 }, what JSON numbers lack as { $number }. */
export function physicalToJson(value: Physical): unknown {
  if (typeof value === 'bigint') return { $bigint: value.toString() }
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0) ? value : { $number: Object.is(value, -0) ? '-0' : String(value) }
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Uint8Array) return { $base64: toBase64(value) }
  if (Array.isArray(value)) return value.map(physicalToJson)
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, physicalToJson(item as Physical)]))
}

/** The inverse of physicalToJson; the type tells a struct with a field "$number" from a number. */
export function physicalFromJson(type: ColumnType, json: unknown): Physical {
  if (json === null) return null
  switch (type.kind) {
    case 'list':
    case 'fixedSizeList':
      return (json as unknown[]).map((item) => physicalFromJson(type.item.type, item))
    case 'struct': {
      const fields = json as Readonly<Record<string, unknown>>
      return Object.fromEntries(type.fields.map((field) => [field.name, physicalFromJson(field.type, fields[field.name] ?? null)]))
    }
    default:
  }
  if (typeof json !== 'object') return json as Physical
  if ('$bigint' in json) return BigInt(json.$bigint as string)
  if ('$number' in json) return Number(json.$number)
  return fromBase64((json as { $base64: string }).$base64)
}

/** `int16`, `timestamp[ms, UTC]`, `list<int32 or null>`: how messages and TableInfo name a type. */
export function describeType(type: ColumnType): string {
  switch (type.kind) {
    case 'int':
      return `${type.signed ? 'int' : 'uint'}${type.bits}`
    case 'float':
      return `float${type.bits}`
    case 'utf8':
      return type.json ? 'json' : type.dictionary ? 'dictionary<utf8>' : 'utf8'
    case 'fixedSizeBinary':
      return type.uuid ? 'uuid' : `fixedSizeBinary(${type.bytes})`
    case 'timestamp':
      return `timestamp[${type.unit}${type.tz === undefined ? '' : `, ${type.tz}`}]`
    case 'time':
      return `time[${type.unit}]`
    case 'decimal':
      return `decimal128(${type.precision}, ${type.scale})`
    case 'list':
      return `list<${describeField(type.item)}>`
    case 'struct':
      return `struct<${type.fields.map((field) => `${JSON.stringify(field.name)}: ${describeField(field)}`).join(', ')}>`
    case 'fixedSizeList':
      return type.vector ? `vector(${type.size})` : `fixedSizeList(${type.size})<${describeField(type.item)}>`
    default:
      return type.kind
  }
}

/** The type, with ` or null` where it may be. */
export function describeField(field: { readonly type: ColumnType; readonly nullable: boolean }): string {
  return describeType(field.type) + (field.nullable ? ' or null' : '')
}

/** A value as messages show it: `string "late"`, `42n`, `invalid Date`. */
export function showValue(value: unknown): string {
  if (typeof value === 'string') return `string ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'number' || typeof value === 'boolean' || value === null || value === undefined) return String(value)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid Date' : `Date ${value.toISOString()}`
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object') return value.constructor?.name && value.constructor !== Object ? value.constructor.name : 'an object'
  return typeof value
}

/** Smallest and largest physical value of an integer-like type; undefined for others. */
export function integerRange(type: ColumnType): readonly [bigint, bigint] | undefined {
  switch (type.kind) {
    case 'int': {
      const bits = BigInt(type.bits)
      return type.signed ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n]
    }
    case 'timestamp':
      return [-INT64_MAX - 1n, INT64_MAX]
    case 'time':
      return type.unit === 's' || type.unit === 'ms' ? [-(2n ** 31n), 2n ** 31n - 1n] : [-INT64_MAX - 1n, INT64_MAX]
    case 'date':
      return [-(2n ** 31n), 2n ** 31n - 1n]
    case 'decimal':
      return [-(10n ** BigInt(type.precision)) + 1n, 10n ** BigInt(type.precision) - 1n]
    default:
      return undefined
  }
}

/** An unscaled decimal as text with exactly `scale` digits after the point. */
export function decimalText(unscaled: bigint, scale: number): string {
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0')
  const sign = unscaled < 0n ? '-' : ''
  return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}

/** A decimal number as numerator / 10^exponent, exactly; numbers count as the shortest text that gives them. Undefined: not a finite number. */
export function parseDecimal(value: string | number | bigint): { readonly digits: bigint; readonly scale: number } | undefined {
  if (typeof value === 'bigint') return { digits: value, scale: 0 }
  const match = DECIMAL.exec(String(value))
  if (match === null) return undefined
  const whole = match[2] ?? ''
  const fraction = match[3] ?? ''
  if (whole === '' && fraction === '') return undefined
  const magnitude = BigInt(whole + fraction)
  const scale = fraction.length - Number(match[4] ?? 0)
  const digits = match[1] === '-' ? -magnitude : magnitude
  return scale >= 0 ? { digits, scale } : { digits: digits * 10n ** BigInt(-scale), scale: 0 }
}

function expected(type: ColumnType, value: unknown): Misfit {
  if (value instanceof Date && Number.isNaN(value.getTime())) return new Misfit('invalid Date')
  return new Misfit(`expected ${describeType(type)}, got ${showValue(value)}`)
}

function within(type: ColumnType, value: bigint): Misfit | undefined {
  const range = integerRange(type)
  if (range === undefined || (value >= range[0] && value <= range[1])) return undefined
  return new Misfit(`${value} is outside ${describeType(type)} (${range[0]}..${range[1]})`)
}

function smallInt(type: ColumnType, value: unknown): number | Misfit {
  if (typeof value !== 'number' || Number.isNaN(value)) return expected(type, value)
  if (!Number.isInteger(value)) return new Misfit(`expected ${describeType(type)}, got ${value}`)
  return within(type, BigInt(value)) ?? value + 0
}

function bigInt(type: ColumnType, value: unknown): bigint | Misfit {
  if (typeof value === 'bigint') return within(type, value) ?? value
  if (typeof value !== 'number' || !Number.isInteger(value)) return expected(type, value)
  if (!Number.isSafeInteger(value)) return new Misfit(`${value} is not a safe integer; write it as a bigint`)
  return within(type, BigInt(value)) ?? BigInt(value)
}

function timestamp(type: ColumnType & { kind: 'timestamp' }, value: unknown): bigint | Misfit {
  if (!(value instanceof Date)) return bigInt(type, value)
  const ms = value.getTime()
  if (Number.isNaN(ms)) return new Misfit('invalid Date')
  if (type.unit === 's' && ms % 1000 !== 0) return new Misfit(`Date ${value.toISOString()} has more precision than ${describeType(type)} holds`)
  const units = (BigInt(ms) * UNITS_PER_SECOND[type.unit]) / 1000n
  return within(type, units) ?? units
}

function days(type: ColumnType, value: unknown): number | Misfit {
  if (typeof value === 'number') return smallInt(type, value)
  if (value instanceof Date) {
    const ms = value.getTime()
    if (Number.isNaN(ms)) return new Misfit('invalid Date')
    return ms % DAY_MS === 0 ? ms / DAY_MS : new Misfit(`Date ${value.toISOString()} has more precision than date holds`)
  }
  if (typeof value !== 'string') return expected(type, value)
  const parsed = parseDate(value)
  return parsed === undefined ? new Misfit(`expected date as "2026-11-21", got ${showValue(value)}`) : smallInt(type, parsed)
}

function timeOfDay(type: ColumnType & { kind: 'time' }, value: unknown): number | bigint | Misfit {
  const units = bigInt(type, value)
  if (units instanceof Misfit) return units
  const end = DAY_SECONDS * UNITS_PER_SECOND[type.unit]
  if (units < 0n || units >= end) return new Misfit(`${units} is outside ${describeType(type)} (0..${end - 1n})`)
  return type.unit === 's' || type.unit === 'ms' ? Number(units) : units
}

function decimal(type: ColumnType & { kind: 'decimal' }, value: unknown): bigint | Misfit {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'bigint') return expected(type, value)
  const parsed = parseDecimal(value)
  if (parsed === undefined) return expected(type, value)
  const shift = type.scale - parsed.scale
  const divisor = shift < 0 ? 10n ** BigInt(-shift) : 1n
  if (parsed.digits % divisor !== 0n) return new Misfit(`${value} has more digits than ${describeType(type)} holds`)
  const unscaled = shift < 0 ? parsed.digits / divisor : parsed.digits * 10n ** BigInt(shift)
  return within(type, unscaled) === undefined ? unscaled : new Misfit(`${value} is outside ${describeType(type)}`)
}

function uuidBytes(value: unknown): Uint8Array | Misfit {
  if (typeof value !== 'string' || !UUID.test(value)) return new Misfit(`expected uuid, got ${showValue(value)}`)
  const hex = value.replaceAll('-', '')
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16))
}

function items(type: ColumnType, item: { readonly type: ColumnType; readonly nullable: boolean }, value: unknown, spec?: ColumnSpec): Physical | Misfit {
  if (!Array.isArray(value)) return expected(type, value)
  const out: Physical[] = []
  for (const [i, one] of value.entries()) {
    const physical = element(item, one, spec)
    if (physical instanceof Misfit) return new Misfit(`item ${i}: ${physical.reason}`)
    out.push(physical)
  }
  return out
}

function struct(type: ColumnType & { kind: 'struct' }, value: unknown, children?: readonly ColumnSpec[]): Physical | Misfit {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return expected(type, value)
  const given = value as Readonly<Record<string, unknown>>
  const unknown = Object.keys(given).find((name) => !type.fields.some((field) => field.name === name))
  if (unknown !== undefined) return new Misfit(`no field ${JSON.stringify(unknown)}`)
  const out: Record<string, Physical> = {}
  for (const [i, field] of type.fields.entries()) {
    const physical = element(field, Object.hasOwn(given, field.name) ? given[field.name] : undefined, children?.[i])
    if (physical instanceof Misfit) return new Misfit(`field ${JSON.stringify(field.name)}: ${physical.reason}`)
    out[field.name] = physical
  }
  return out
}

function element(field: { readonly type: ColumnType; readonly nullable: boolean }, value: unknown, spec?: ColumnSpec): Physical | Misfit {
  const given = value === undefined ? spec?.default : value
  if (given === undefined || given === null) {
    if (field.nullable) return null
    return new Misfit(`expected ${describeType(field.type)}, got ${String(given)}`)
  }
  return toPhysical(field.type, given, spec?.children)
}

/** JSON text of a value; refused when JSON.stringify would drop or change a part of it to null. */
function jsonText(value: unknown): string | Misfit {
  const dropped = droppedByJson(value, '')
  if (dropped !== undefined) return new Misfit(`JSON cannot hold ${dropped}`)
  const text = JSON.stringify(value)
  return text.isWellFormed() ? text : new Misfit('not well-formed Unicode (a lone surrogate)')
}

function droppedByJson(value: unknown, path: string): string | undefined {
  const at = path === '' ? '' : ` at ${path}`
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : `${value}${at}`
  if (value === undefined || typeof value === 'bigint' || typeof value === 'function' || typeof value === 'symbol') return `${typeof value}${at}`
  if (typeof value !== 'object' || value === null) return undefined
  if ('toJSON' in value && typeof value.toJSON === 'function') return droppedByJson((value.toJSON as () => unknown)(), path)
  for (const [name, item] of Object.entries(value)) {
    const found = droppedByJson(item, `${path}/${name}`)
    if (found !== undefined) return found
  }
  return undefined
}
