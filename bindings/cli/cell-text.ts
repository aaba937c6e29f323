// cli/cell-text.ts: values of a column as text (tables, CSV) and as JSON (NDJSON), both ways.
//
// Times are ISO text with the digits of their unit, with "Z" where the column has a time zone; 64-bit integers and decimals are decimal digits (JSON: strings);
// bytes are base64; lists and structs are JSON. Invariant: parse(format(value)) is the value, for every type and both forms.
import type { CellType, Field, Unit } from './column-type.ts'

/** A text or JSON value that is none of the column's type. */
export class CellFault extends Error {
  override readonly name: string = 'CellFault'
}

const UNITS_PER_SECOND: Readonly<Record<Unit, bigint>> = { s: 1n, ms: 1_000n, us: 1_000_000n, ns: 1_000_000_000n }
const DIGITS: Readonly<Record<Unit, number>> = { s: 0, ms: 3, us: 6, ns: 9 }
const US_PER_UNIT: Readonly<Record<Unit, number>> = { s: 1_000_000, ms: 1_000, us: 1, ns: 1 }
const DAY_SECONDS = 86_400n
const INTEGER = /^[+-]?\d+$/
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/
const DATE = /^(?:\d{4}|[+-]\d{6,7})-\d{2}-\d{2}$/
const TIMESTAMP = /^(\d{4}-\d{2}-\d{2}|[+-]\d{6}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)\s*(Z|[+-]\d{2}:?\d{2})?)?$/i
const TIME = /^(\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?$/
/** Numbers that JSON writes as text. */
const NO_JSON_NUMBER = /^(?:NaN|-?Infinity|-0)$/
/** Digits that a double always holds exactly. */
const SAFE_DIGITS = 15

/** A value as text; null is not handled here. */
export function cellText(type: CellType, value: unknown): string {
  switch (type.kind) {
    case 'timestamp':
      return timestampText(type, value)
    case 'time':
      return timeText(type.unit, BigInt(value as number | bigint))
    case 'binary':
    case 'fixedSizeBinary':
      return base64(value as Uint8Array)
    case 'json':
    case 'list':
    case 'fixedSizeList':
    case 'struct':
    case 'vector':
      return JSON.stringify(cellJson(type, value))
    default:
      return Object.is(value, -0) ? '-0' : String(value)
  }
}

/** A value, null included, as what JSON.stringify takes. */
export function cellJson(type: CellType, value: unknown): unknown {
  if (value === null || value === undefined) return null
  switch (type.kind) {
    case 'int':
      return type.bits === 64 ? String(value) : value
    case 'float':
      return floatJson(value as number)
    case 'timestamp':
    case 'time':
    case 'binary':
    case 'fixedSizeBinary':
      return cellText(type, value)
    case 'vector':
      return Array.from(value as Float32Array, floatJson)
    case 'list':
    case 'fixedSizeList':
      return Array.from(value as ArrayLike<unknown>, (item) => cellJson(type.item.type, item))
    case 'struct':
      return Object.fromEntries(type.fields.map((field) => [field.name, cellJson(field.type, (value as Record<string, unknown>)[field.name])]))
    default:
      return value
  }
}

/** The value that a text spells. CellFault: none of this type. */
export function cellFromText(type: CellType, text: string): unknown {
  switch (type.kind) {
    case 'utf8':
    case 'date':
    case 'uuid':
    case 'decimal':
      return type.kind === 'utf8' ? text : text.trim()
    case 'bool':
      return bool(text)
    case 'int':
      return integer(type, text.trim())
    case 'float':
      return float(text.trim())
    case 'timestamp':
      return timestampFromText(type, text.trim())
    case 'time':
      return timeFromText(type, text.trim())
    case 'binary':
    case 'fixedSizeBinary':
      return bytes(text)
    case 'json':
      return json(text)
    default:
      return cellFromJson(type, json(text))
  }
}

/** The value that a part of a JSON document spells; null stays null. CellFault: none of this type. */
export function cellFromJson(type: CellType, value: unknown): unknown {
  if (value === null || value === undefined || type.kind === 'json') return value ?? null
  switch (type.kind) {
    case 'list':
    case 'fixedSizeList':
      return array(type, value).map((item) => cellFromJson(type.item.type, item))
    case 'vector':
      return Float32Array.from(array(type, value), (item) => cellFromJson({ kind: 'float', bits: 32 }, item) as number)
    case 'struct': {
      if (typeof value !== 'object' || Array.isArray(value)) throw misfit(type, value)
      const fields = new Map<string, Field>(type.fields.map((field) => [field.name, field]))
      return Object.fromEntries(
        Object.entries(value).map(([name, item]) => {
          const field = fields.get(name)
          return [name, field === undefined ? item : cellFromJson(field.type, item)]
        }),
      )
    }
    case 'bool':
      if (typeof value === 'boolean') return value
      break
    case 'int':
      if (typeof value === 'bigint') return type.bits === 64 ? value : Number(value)
      if (typeof value === 'number' && Number.isInteger(value)) return type.bits === 64 ? BigInt(value) : value
      break
    case 'float':
      if (typeof value === 'number' || typeof value === 'bigint') return Number(value)
      break
    case 'timestamp':
    case 'time':
      if (typeof value === 'number' || typeof value === 'bigint') return cellFromText(type, String(value))
      break
    case 'decimal':
      if (typeof value === 'number' || typeof value === 'bigint') return String(value)
      break
    default:
  }
  if (typeof value === 'string') return cellFromText(type, value)
  throw misfit(type, value)
}

/** The narrowest of the types that are guessed from text and take this one; `seen` is what earlier values asked for. */
export function guessText(text: string, seen: CellType | undefined): CellType {
  const kinds = [() => boolGuess(text), () => integerGuess(text), () => (NUMBER.test(text.trim()) ? FLOAT : undefined), () => timeGuess(text)]
  for (const guess of kinds) {
    const type = guess()
    if (type !== undefined) return seen === undefined ? type : joined(seen, type)
  }
  return UTF8
}

/** As guessText, for a value of a JSON document. */
export function guessJson(value: unknown, seen: CellType | undefined): CellType {
  const type = jsonGuess(value)
  if (seen === undefined) return type
  // A number among texts stays a number: only JSON holds both.
  const both = isNumeric(seen) === isNumeric(type) && (seen.kind === 'bool') === (type.kind === 'bool')
  return both ? joined(seen, type) : JSON_TYPE
}

const BOOL: CellType = { kind: 'bool' }
const INT64: CellType = { kind: 'int', bits: 64, signed: true }
const FLOAT: CellType = { kind: 'float', bits: 64 }
const UTF8: CellType = { kind: 'utf8' }
const JSON_TYPE: CellType = { kind: 'json' }

function jsonGuess(value: unknown): CellType {
  switch (typeof value) {
    case 'boolean':
      return BOOL
    case 'bigint':
      return INT64
    case 'number':
      return Number.isInteger(value) ? INT64 : FLOAT
    case 'string':
      return NO_JSON_NUMBER.test(value) ? FLOAT : (timeGuess(value) ?? UTF8)
    default:
      return JSON_TYPE
  }
}

/** The type that takes both. */
function joined(a: CellType, b: CellType): CellType {
  if (a.kind === 'json' || b.kind === 'json') return JSON_TYPE
  if (a.kind === b.kind && a.kind !== 'timestamp') return a
  if (isNumeric(a) && isNumeric(b)) return FLOAT
  if (a.kind === 'timestamp' && b.kind === 'timestamp') {
    // A naive time and one with a zone do not mix without a guess at the former's zone.
    if (a.tz !== b.tz) return UTF8
    return DIGITS[a.unit] >= DIGITS[b.unit] ? a : b
  }
  if (a.kind === 'date' && b.kind === 'timestamp' && b.tz === undefined) return b
  if (b.kind === 'date' && a.kind === 'timestamp' && a.tz === undefined) return a
  return UTF8
}

function isNumeric(type: CellType): boolean {
  return type.kind === 'int' || type.kind === 'float'
}

function boolGuess(text: string): CellType | undefined {
  return /^(?:true|false)$/i.test(text.trim()) ? BOOL : undefined
}

/** Codes such as 00501 are no numbers: their zeros mean something. */
function integerGuess(text: string): CellType | undefined {
  const trimmed = text.trim()
  if (!INTEGER.test(trimmed)) return undefined
  if (/^[+-]?0\d/.test(trimmed)) return UTF8
  const value = BigInt(trimmed.replace('+', ''))
  return BigInt.asIntN(64, value) === value ? INT64 : UTF8
}

function timeGuess(text: string): CellType | undefined {
  const trimmed = text.trim()
  if (DATE.test(trimmed)) return dateSeconds(trimmed) === undefined ? undefined : { kind: 'date' }
  const match = TIMESTAMP.exec(trimmed)
  if (match?.[2] === undefined || timestampNs(trimmed) === undefined) return undefined
  const fractionDigits = /[.,](\d+)/.exec(match[2])?.[1]?.length ?? 0
  return { kind: 'timestamp', unit: fractionDigits > 6 ? 'ns' : fractionDigits > 3 ? 'us' : 'ms', ...(match[3] === undefined ? {} : { tz: 'UTC' }) }
}

function misfit(type: CellType, value: unknown): CellFault {
  const shown =
    typeof value === 'string' ? JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value) : typeof value === 'object' ? 'an object' : String(value)
  return new CellFault(`${shown} is no ${type.kind === 'int' ? `${type.signed ? '' : 'u'}int${type.bits}` : type.kind}`)
}

function bool(text: string): boolean {
  switch (text.trim().toLowerCase()) {
    case 'true':
    case 't':
    case '1':
    case 'yes':
      return true
    case 'false':
    case 'f':
    case '0':
    case 'no':
      return false
    default:
      throw misfit(BOOL, text)
  }
}

function integer(type: CellType & { kind: 'int' }, text: string): number | bigint {
  if (!INTEGER.test(text)) throw misfit(type, text)
  if (type.bits === 64) {
    const value = text.length <= SAFE_DIGITS ? BigInt(Number(text)) : BigInt(text.replace('+', ''))
    if ((type.signed ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value)) !== value) throw new CellFault(`${text} is outside ${type.signed ? '' : 'u'}int64`)
    return value
  }
  const value = Number(text)
  const [low, high] = type.signed ? [-(2 ** (type.bits - 1)), 2 ** (type.bits - 1) - 1] : [0, 2 ** type.bits - 1]
  if (value < low || value > high) throw new CellFault(`${text} is outside ${type.signed ? '' : 'u'}int${type.bits} (${low}..${high})`)
  return value + 0
}

function float(text: string): number {
  if (NUMBER.test(text)) return Number(text)
  switch (text.toLowerCase()) {
    case 'nan':
      return NaN
    case 'inf':
    case '+inf':
    case 'infinity':
    case '+infinity':
      return Infinity
    case '-inf':
    case '-infinity':
      return -Infinity
    default:
      throw misfit(FLOAT, text)
  }
}

function floatJson(value: number): unknown {
  return Number.isFinite(value) && !Object.is(value, -0) ? value : cellText(FLOAT, value)
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CellFault(`${JSON.stringify(text.slice(0, 40))} is no JSON: ${(cause as Error).message}`)
  }
}

function array(type: CellType, value: unknown): unknown[] {
  if (!Array.isArray(value)) throw misfit(type, value)
  return value
}

function base64(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
}

function bytes(text: string): Uint8Array {
  const trimmed = text.trim()
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/.test(trimmed)) throw misfit({ kind: 'binary' }, text)
  return Uint8Array.from(Buffer.from(trimmed, 'base64'))
}

function timestampText(type: CellType & { kind: 'timestamp' }, value: unknown): string {
  const perSecond = UNITS_PER_SECOND[type.unit]
  if (value instanceof Date && Number.isNaN(value.getTime())) return 'invalid'
  const units = value instanceof Date ? (BigInt(value.getTime()) * perSecond) / 1000n : BigInt(value as number | bigint)
  const seconds = floorDiv(units, perSecond)
  const date = new Date(Number(seconds) * 1000)
  // Beyond what Date knows: the bare number, which reads back.
  if (Number.isNaN(date.getTime())) return units.toString()
  const fraction = type.unit === 's' ? '' : `.${(units - seconds * perSecond).toString().padStart(DIGITS[type.unit], '0')}`
  return date.toISOString().slice(0, -5) + fraction + (type.tz === undefined ? '' : 'Z')
}

function timestampFromText(type: CellType & { kind: 'timestamp' }, text: string): unknown {
  const us = plainUs(text)
  if (us % US_PER_UNIT[type.unit] === 0) return type.unit === 'ns' ? BigInt(us) * 1000n : BigInt(us / US_PER_UNIT[type.unit])
  if (INTEGER.test(text)) return BigInt(text.replace('+', ''))
  const ns = timestampNs(text)
  if (ns === undefined) throw misfit(type, text)
  const perUnit = UNITS_PER_SECOND.ns / UNITS_PER_SECOND[type.unit]
  if (ns % perUnit !== 0n) throw new CellFault(`${JSON.stringify(text)} has more digits than timestamp[${type.unit}] holds`)
  return ns / perUnit
}

let lastDay = ''
let lastDayUs = NaN

/**
 * Microseconds since 1970 of the common spellings: "2001-02-03T04:05:06", with or without ".789" or ".789012" and "Z". NaN: another spelling, or none.
 * Imports spend their time here: texts of one day follow each other, and a double holds microseconds of 285 years.
 */
function plainUs(text: string): number {
  const length = text.length - (text.endsWith('Z') ? 1 : 0)
  if (length !== 19 && length !== 23 && length !== 26) return NaN
  const between = text.charCodeAt(10)
  if ((between !== 0x54 && between !== 0x20) || text.charCodeAt(13) !== 0x3a || text.charCodeAt(16) !== 0x3a) return NaN
  const day = text.slice(0, 10)
  if (day !== lastDay) {
    const seconds = DATE.test(day) ? dateSeconds(day) : undefined
    lastDay = day
    lastDayUs = seconds === undefined ? NaN : Number(seconds) * 1_000_000
  }
  const [hours, minutes, seconds] = [digits(text, 11, 13), digits(text, 14, 16), digits(text, 17, 19)]
  if (hours > 23 || minutes > 59 || seconds > 59) return NaN
  let fraction = 0
  if (length > 19) fraction = text.charCodeAt(19) === 0x2e ? digits(text, 20, length) * (length === 23 ? 1000 : 1) : NaN
  const us = lastDayUs + ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction
  return Number.isSafeInteger(us) ? us : NaN
}

/** The number that the digits spell; NaN where one is none. */
function digits(text: string, start: number, end: number): number {
  let value = 0
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9) return NaN
    value = value * 10 + digit
  }
  return value
}

/** Nanoseconds since 1970; a text without a zone is UTC. */
function timestampNs(text: string): bigint | undefined {
  const match = TIMESTAMP.exec(text)
  if (match === null) return undefined
  const date = dateSeconds(match[1]!)
  const time = timeNs(match[2] ?? '00:00')
  if (date === undefined || time === undefined) return undefined
  return date * UNITS_PER_SECOND.ns + time - zoneNs(match[3])
}

function dateSeconds(text: string): bigint | undefined {
  const ms = Date.parse(`${text}T00:00:00Z`)
  if (Number.isNaN(ms)) return undefined
  // Some engines carry the 30th of February over into March.
  return new Date(ms).toISOString().startsWith(text) ? BigInt(ms / 1000) : undefined
}

function zoneNs(zone: string | undefined): bigint {
  if (zone === undefined || zone.toUpperCase() === 'Z') return 0n
  const digits = zone.slice(1).replace(':', '')
  const seconds = BigInt(digits.slice(0, 2)) * 3600n + BigInt(digits.slice(2)) * 60n
  return (zone.startsWith('-') ? -seconds : seconds) * UNITS_PER_SECOND.ns
}

function timeNs(text: string): bigint | undefined {
  const match = TIME.exec(text)
  if (match === null) return undefined
  const [hours, minutes, seconds] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)]
  if (hours > 23 || minutes > 59 || seconds > 59) return undefined
  return BigInt(hours * 3600 + minutes * 60 + seconds) * UNITS_PER_SECOND.ns + BigInt((match[4] ?? '').padEnd(9, '0'))
}

function timeText(unit: Unit, units: bigint): string {
  const perSecond = UNITS_PER_SECOND[unit]
  const seconds = Number(units / perSecond)
  const two = (n: number): string => n.toString().padStart(2, '0')
  const fraction = unit === 's' ? '' : `.${(units % perSecond).toString().padStart(DIGITS[unit], '0')}`
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}${fraction}`
}

function timeFromText(type: CellType & { kind: 'time' }, text: string): number | bigint {
  const perUnit = UNITS_PER_SECOND.ns / UNITS_PER_SECOND[type.unit]
  const ns = INTEGER.test(text) ? BigInt(text.replace('+', '')) * perUnit : timeNs(text)
  if (ns === undefined || ns < 0n || ns >= DAY_SECONDS * UNITS_PER_SECOND.ns) throw misfit(type, text)
  if (ns % perUnit !== 0n) throw new CellFault(`${JSON.stringify(text)} has more digits than time[${type.unit}] holds`)
  const units = ns / perUnit
  return type.unit === 's' || type.unit === 'ms' ? Number(units) : units
}

function floorDiv(a: bigint, b: bigint): bigint {
  const quotient = a / b
  return a % b < 0n ? quotient - 1n : quotient
}
