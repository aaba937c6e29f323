// cli/column-type.ts: column types as text, both ways: what TableInfo prints, `--type delay=int16` takes and definition files hold.
//
//   field     = type [ "or null" ]
//   type      = "bool" | "int8".."int64" | "uint8".."uint64" | "float32" | "float64" | "utf8" | "dictionary<utf8>" | "json" | "binary" | "uuid" | "date"
//             | "fixedSizeBinary(" n ")" | "timestamp[" unit [ ", " zone ] "]" | "time[" unit "]" | "decimal128(" precision ", " scale ")" | "vector(" n ")"
//             | "list<" field ">" | "fixedSizeList(" n ")<" field ">" | "struct<" name ": " field { ", " name ": " field } ">"     name: a JSON string
import { type Column, t } from '../index.ts'
import { UsageError } from './failure.ts'

export type Unit = 's' | 'ms' | 'us' | 'ns'

export type CellType =
  | { readonly kind: 'bool' | 'json' | 'binary' | 'uuid' | 'date' }
  | { readonly kind: 'int'; readonly bits: 8 | 16 | 32 | 64; readonly signed: boolean }
  | { readonly kind: 'float'; readonly bits: 32 | 64 }
  | { readonly kind: 'utf8'; readonly dictionary?: boolean }
  | { readonly kind: 'fixedSizeBinary' | 'vector'; readonly size: number }
  | { readonly kind: 'timestamp'; readonly unit: Unit; readonly tz?: string }
  | { readonly kind: 'time'; readonly unit: Unit }
  | { readonly kind: 'decimal'; readonly precision: number; readonly scale: number }
  | { readonly kind: 'list'; readonly item: Field }
  | { readonly kind: 'fixedSizeList'; readonly size: number; readonly item: Field }
  | { readonly kind: 'struct'; readonly fields: readonly NamedField[] }

export interface Field {
  readonly type: CellType
  readonly nullable: boolean
}

export interface NamedField extends Field {
  readonly name: string
}

type AnyColumn = Column<any, any, any>

const EXPECTED =
  'expected bool, int8..int64, uint8..uint64, float32, float64, utf8, dictionary<utf8>, json, binary, uuid, date, time[ms], timestamp[ms], decimal128(10, 2), ..., each with "or null" behind it if it may be null'

/** @throws UsageError: not a type */
export function parseField(text: string): Field {
  const cursor = new Cursor(text)
  const field = cursor.field()
  cursor.end()
  return field
}

/** The type as text; the inverse of parseField. */
export function typeText(type: CellType): string {
  switch (type.kind) {
    case 'int':
      return `${type.signed ? '' : 'u'}int${type.bits}`
    case 'float':
      return `float${type.bits}`
    case 'utf8':
      return type.dictionary === true ? 'dictionary<utf8>' : 'utf8'
    case 'fixedSizeBinary':
    case 'vector':
      return `${type.kind}(${type.size})`
    case 'timestamp':
      return `timestamp[${type.unit}${type.tz === undefined ? '' : `, ${type.tz}`}]`
    case 'time':
      return `time[${type.unit}]`
    case 'decimal':
      return `decimal128(${type.precision}, ${type.scale})`
    case 'list':
      return `list<${fieldText(type.item)}>`
    case 'fixedSizeList':
      return `fixedSizeList(${type.size})<${fieldText(type.item)}>`
    case 'struct':
      return `struct<${type.fields.map((field) => `${JSON.stringify(field.name)}: ${fieldText(field)}`).join(', ')}>`
    default:
      return type.kind
  }
}

export function fieldText(field: Field): string {
  return typeText(field.type) + (field.nullable ? ' or null' : '')
}

/** The column of a definition. */
export function columnOf(field: Field): AnyColumn {
  const column = plainColumn(field.type)
  return field.nullable ? column.nullable() : column
}

function plainColumn(type: CellType): AnyColumn {
  switch (type.kind) {
    case 'bool':
      return t.bool()
    case 'json':
      return t.json()
    case 'binary':
      return t.binary()
    case 'uuid':
      return t.uuid()
    case 'date':
      return t.date()
    case 'int':
      return type.signed ? t[`int${type.bits}`]() : t[`uint${type.bits}`]()
    case 'float':
      return t[`float${type.bits}`]()
    case 'utf8':
      return type.dictionary === true ? t.utf8().dictionary() : t.utf8()
    case 'fixedSizeBinary':
      return t.fixedSizeBinary(type.size)
    case 'vector':
      return t.vector(type.size)
    case 'timestamp': {
      const zone = type.tz === undefined ? {} : { tz: type.tz }
      return t.timestamp(type.unit as 'ms', zone)
    }
    case 'time':
      return t.time(type.unit as 'ms')
    case 'decimal':
      return t.decimal128(type.precision, type.scale)
    case 'list':
      return t.list(columnOf(type.item))
    case 'fixedSizeList':
      return t.fixedSizeList(type.size, columnOf(type.item))
    case 'struct':
      return t.struct(Object.fromEntries(type.fields.map((field) => [field.name, columnOf(field)])))
  }
}

class Cursor {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  field(): Field {
    const type = this.#type()
    return { type, nullable: this.#take(/\s+or\s+null\b/y) !== undefined }
  }

  end(): void {
    if (this.#text.slice(this.#at).trim() !== '') throw this.#fault()
  }

  #type(): CellType {
    const word = this.#take(/\s*([a-zA-Z]+)/y)?.[1]?.toLowerCase()
    switch (word) {
      case 'bool':
      case 'json':
      case 'binary':
      case 'uuid':
      case 'date':
        return { kind: word }
      case 'utf':
        this.#must(/8\b/y)
        return { kind: 'utf8' }
      case 'dictionary':
        this.#must(/\s*<\s*utf8\s*>/y)
        return { kind: 'utf8', dictionary: true }
      case 'int':
      case 'uint':
        return { kind: 'int', bits: Number(this.#must(/(8|16|32|64)\b/y)[1]) as 64, signed: word === 'int' }
      case 'float':
        return { kind: 'float', bits: Number(this.#must(/(32|64)\b/y)[1]) as 64 }
      case 'fixedsizebinary':
        return { kind: 'fixedSizeBinary', size: this.#size() }
      case 'vector':
        return { kind: 'vector', size: this.#size() }
      case 'timestamp': {
        const [, unit, tz] = this.#must(/\s*\[\s*(s|ms|us|ns)\s*(?:,\s*([^\]]+?)\s*)?\]/y)
        return { kind: 'timestamp', unit: unit as Unit, ...(tz === undefined ? {} : { tz }) }
      }
      case 'time':
        return { kind: 'time', unit: this.#must(/\s*\[\s*(s|ms|us|ns)\s*\]/y)[1] as Unit }
      case 'decimal': {
        const [, precision, scale] = this.#must(/128\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)/y)
        return { kind: 'decimal', precision: Number(precision), scale: Number(scale) }
      }
      case 'list':
        return { kind: 'list', item: this.#item() }
      case 'fixedsizelist':
        return { kind: 'fixedSizeList', size: this.#size(), item: this.#item() }
      case 'struct':
        return { kind: 'struct', fields: this.#fields() }
      default:
        throw this.#fault()
    }
  }

  #fields(): NamedField[] {
    const fields: NamedField[] = []
    this.#must(/\s*</y)
    do {
      const name = JSON.parse(this.#must(/\s*("(?:[^"\\]|\\.)*")\s*:/y)[1]!) as string
      fields.push({ name, ...this.field() })
    } while (this.#take(/\s*,/y) !== undefined)
    this.#must(/\s*>/y)
    return fields
  }

  #item(): Field {
    this.#must(/\s*</y)
    const item = this.field()
    this.#must(/\s*>/y)
    return item
  }

  #size(): number {
    return Number(this.#must(/\s*\(\s*(\d+)\s*\)/y)[1])
  }

  #must(pattern: RegExp): RegExpExecArray {
    const match = this.#take(pattern)
    if (match === undefined) throw this.#fault()
    return match
  }

  #take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at
    const match = pattern.exec(this.#text)
    if (match === null) return undefined
    this.#at = pattern.lastIndex
    return match
  }

  #fault(): UsageError {
    const at = this.#at + (/^\s*/.exec(this.#text.slice(this.#at))?.[0].length ?? 0)
    return new UsageError(`type ${JSON.stringify(this.#text)}, character ${at + 1}: not a column type`, EXPECTED)
  }
}
