// kernels/column-type.ts: Arrow types as plain data, what of them kernels can take, and the layout and order of their values.
//
// Read from the type objects of any Arrow library by shape (Schema.fbs numbers types the same in all). Large and view variants are named by what they
// become: offsets of 32 bits. Invariant: `layoutOfType(type)` is the layout of every column that has the type, but for the width of dictionary codes.
import { UnsupportedTypeError } from '../errors.ts'
import { ARROW, sourceType } from './arrow-source.ts'
import type { Layout, ValueKind } from './vec.ts'

export type ArrowTimeUnit = 's' | 'ms' | 'us' | 'ns'

export interface ArrowField {
  readonly name: string
  readonly nullable: boolean
  readonly type: ArrowType
}

/** An Arrow type. Units and widths as in Schema.fbs. */
export type ArrowType =
  | { readonly kind: 'bool' }
  | { readonly kind: 'int'; readonly bits: 8 | 16 | 32 | 64; readonly signed: boolean }
  | { readonly kind: 'float'; readonly bits: 16 | 32 | 64 }
  /** Values are unscaled integers: 12.34 of scale 2 is 1234n. */
  | { readonly kind: 'decimal'; readonly bits: 32 | 64 | 128 | 256; readonly precision: number; readonly scale: number }
  /** 'day' is an int32, 'ms' an int64. */
  | { readonly kind: 'date'; readonly unit: 'day' | 'ms' }
  /** s and ms are int32, us and ns int64. */
  | { readonly kind: 'time'; readonly unit: ArrowTimeUnit }
  | { readonly kind: 'timestamp'; readonly unit: ArrowTimeUnit; readonly timezone?: string }
  | { readonly kind: 'duration'; readonly unit: ArrowTimeUnit }
  | { readonly kind: 'utf8' }
  | { readonly kind: 'binary' }
  | { readonly kind: 'fixedSizeBinary'; readonly bytes: number }
  | { readonly kind: 'list'; readonly item: ArrowField }
  | { readonly kind: 'struct'; readonly fields: readonly ArrowField[] }
  | { readonly kind: 'fixedSizeList'; readonly size: number; readonly item: ArrowField }
  /** utf8 or binary as codes; `bits` and `signed` are those of the codes that go back to Arrow. */
  | {
      readonly kind: 'dictionary'
      readonly values: { readonly kind: 'utf8' } | { readonly kind: 'binary' }
      readonly bits: 8 | 16 | 32
      readonly signed: boolean
      readonly ordered: boolean
    }

type Loose = Readonly<Record<string, any>>

const UNITS: readonly ArrowTimeUnit[] = ['s', 'ms', 'us', 'ns']

/** The type behind a type object of an Arrow library. @throws UnsupportedTypeError */
export function readType(loose: object): ArrowType {
  const type = loose as Loose
  const { id, name, bits, signed, unit, precision, scale, size } = sourceType(type)
  const fields = (): ArrowField[] =>
    ((type['children'] as Loose[] | undefined) ?? []).map((field) => ({
      name: String(field['name']),
      nullable: (field['nullable'] as boolean | undefined) ?? true,
      type: readType(field['type'] as object),
    }))
  const item = (): ArrowField => {
    const [only] = fields()
    if (only === undefined) throw unsupported(name)
    return only
  }
  switch (id) {
    case ARROW.bool:
      return { kind: 'bool' }
    case ARROW.int:
      return { kind: 'int', bits: bits as 8, signed }
    case ARROW.float:
      return { kind: 'float', bits: bits as 16 }
    case ARROW.decimal:
      return { kind: 'decimal', bits: bits as 128, precision, scale }
    case ARROW.date:
      return { kind: 'date', unit: unit === 0 ? 'day' : 'ms' }
    case ARROW.time:
      return { kind: 'time', unit: UNITS[unit]! }
    case ARROW.timestamp: {
      const timezone = type['timezone'] as string | null | undefined
      const base = { kind: 'timestamp', unit: UNITS[unit]! } as const
      return timezone === undefined || timezone === null || timezone === '' ? base : { ...base, timezone }
    }
    case ARROW.duration:
      return { kind: 'duration', unit: UNITS[unit]! }
    case ARROW.utf8:
    case ARROW.largeUtf8:
    case ARROW.utf8View:
      return { kind: 'utf8' }
    case ARROW.binary:
    case ARROW.largeBinary:
    case ARROW.binaryView:
      return { kind: 'binary' }
    case ARROW.fixedSizeBinary:
      return { kind: 'fixedSizeBinary', bytes: size }
    case ARROW.list:
    case ARROW.largeList:
      return { kind: 'list', item: item() }
    case ARROW.struct:
      return { kind: 'struct', fields: fields() }
    case ARROW.fixedSizeList:
      return { kind: 'fixedSizeList', size, item: item() }
    case ARROW.dictionary: {
      const values = readType(type['dictionary'] as object)
      // Dictionaries of anything but byte strings are looked up: the kernels take their values plain.
      if (values.kind !== 'utf8' && values.kind !== 'binary') return values
      const ordered = ((type['isOrdered'] ?? type['ordered']) as boolean | undefined) ?? false
      return { kind: 'dictionary', values, bits: bits === 64 ? 32 : (bits as 32), signed, ordered }
    }
    default:
      throw unsupported(name)
  }
}

function unsupported(name: string): UnsupportedTypeError {
  return new UnsupportedTypeError(`the kernels take no Arrow ${name}`, { details: { type: name } })
}

/** How the values of a type lie in memory. */
export function layoutOfType(type: ArrowType): Layout {
  switch (type.kind) {
    case 'bool':
      return { kind: 'bool' }
    case 'int':
    case 'float':
    case 'decimal':
      return { kind: 'fixed', width: type.bits / 8 }
    case 'date':
      return { kind: 'fixed', width: type.unit === 'day' ? 4 : 8 }
    case 'time':
      return { kind: 'fixed', width: type.unit === 's' || type.unit === 'ms' ? 4 : 8 }
    case 'timestamp':
    case 'duration':
      return { kind: 'fixed', width: 8 }
    case 'fixedSizeBinary':
      return { kind: 'fixed', width: type.bytes }
    case 'utf8':
    case 'binary':
      return { kind: 'var' }
    case 'list':
      return { kind: 'list', item: layoutOfType(type.item.type) }
    case 'struct':
      return { kind: 'struct', fields: type.fields.map((field) => layoutOfType(field.type)) }
    case 'fixedSizeList':
      return { kind: 'fsl', size: type.size, item: layoutOfType(type.item.type) }
    case 'dictionary':
      return { kind: 'dict', width: (type.bits / 8) as 1 | 2 | 4 }
  }
}

/** How values of a type compare, sort and hash. @throws UnsupportedTypeError for those without an order here: nested types, float16, decimal256 */
export function kindOfType(type: ArrowType): ValueKind {
  switch (type.kind) {
    case 'bool':
      return 'bool'
    case 'int':
      return `${type.signed ? 'i' : 'u'}${type.bits}`
    case 'float':
      if (type.bits === 16) break
      return `f${type.bits}`
    case 'decimal':
      if (type.bits === 256) break
      return `i${type.bits}`
    case 'date':
      return type.unit === 'day' ? 'i32' : 'i64'
    case 'time':
      return type.unit === 's' || type.unit === 'ms' ? 'i32' : 'i64'
    case 'timestamp':
    case 'duration':
      return 'i64'
    case 'utf8':
    case 'binary':
    case 'fixedSizeBinary':
    case 'dictionary':
      return 'bytes'
    default:
  }
  const name = typeName(type)
  throw new UnsupportedTypeError(`values of type ${name} have no order, sum or hash here`, { details: { type: name } })
}

/** As messages spell it: "int32". */
export function typeName(type: ArrowType): string {
  switch (type.kind) {
    case 'int':
      return `${type.signed ? 'int' : 'uint'}${type.bits}`
    case 'float':
      return `float${type.bits}`
    case 'decimal':
      return `decimal${type.bits}(${type.precision}, ${type.scale})`
    default:
      return type.kind
  }
}
