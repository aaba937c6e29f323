// format/types.ts: column types and table schemas as they are stored (core.md section 5). Plain JSON-safe data.
//
// `as` and `typed` of the public API belong to the reader and are not here.

import type { Layout, ValueKind } from '../kernels/index.ts'

export type TimeUnit = 's' | 'ms' | 'us' | 'ns'

export type ColumnType =
  | { readonly kind: 'bool' }
  | { readonly kind: 'int'; readonly bits: 8 | 16 | 32 | 64; readonly signed: boolean }
  | { readonly kind: 'float'; readonly bits: 32 | 64 }
  /** `json`: Arrow extension arrow.json; `dictionary`: handed out as Dictionary<int32, utf8>. At rest both may be dictionaries. */
  | { readonly kind: 'utf8'; readonly dictionary?: true; readonly json?: true }
  | { readonly kind: 'binary' }
  /** `uuid`: 16 bytes, Arrow extension arrow.uuid. */
  | { readonly kind: 'fixedSizeBinary'; readonly bytes: number; readonly uuid?: true }
  /** int64. */
  | { readonly kind: 'timestamp'; readonly unit: TimeUnit; readonly tz?: string }
  /** int32 days (date32). */
  | { readonly kind: 'date' }
  /** s, ms: int32; us, ns: int64; since midnight. */
  | { readonly kind: 'time'; readonly unit: TimeUnit }
  | { readonly kind: 'decimal'; readonly precision: number; readonly scale: number }
  | { readonly kind: 'list'; readonly item: FieldDef }
  | { readonly kind: 'struct'; readonly fields: readonly FieldDef[] }
  /** `vector`: item is float32 and values are handed out as Float32Array. */
  | { readonly kind: 'fixedSizeList'; readonly size: number; readonly item: FieldDef; readonly vector?: true }

/** A named, typed, possibly nullable value: a column, a struct field, or the item of a list (name "item"). */
export interface FieldDef {
  readonly name: string
  readonly type: ColumnType
  readonly nullable: boolean
}

export interface ColumnDef extends FieldDef {
  /** Stable within the table; never used again after a drop. */
  readonly id: number
  /** JSON form of the constant (bigint as { $bigint: "1" }, bytes as { $base64 }, Date as its number in the column's unit); absent = no default. */
  readonly default?: unknown
  /** What rows older than the column read, where that is not `default`: the default it was added with, in the same form. null = null. */
  readonly initial?: unknown
}

/** One version of a table's definition. Columns in definition order. */
export interface TableSchema {
  readonly tableId: number
  readonly version: number
  readonly name: string
  readonly columns: readonly ColumnDef[]
  /** Column ids, in key order; empty = unkeyed. */
  readonly key: readonly number[]
  readonly unique: readonly (readonly number[])[]
  /** Declared indexes: of one column its id, of several their ids in order. */
  readonly index: readonly (number | readonly number[])[]
}

/** The columns of each declared index, in the order of the declarations. */
export function declaredIndexes(schema: Pick<TableSchema, 'index'>): readonly (readonly number[])[] {
  return schema.index.map((one) => (typeof one === 'number' ? [one] : one))
}

/** `origin, date`: what an index over these columns, or a key, is called in statistics and explanations. */
export function indexLabel(schema: Pick<TableSchema, 'columns'>, columns: readonly number[]): string {
  return columns.map((id) => schema.columns.find((column) => column.id === id)?.name ?? `column ${id}`).join(', ')
}

/** The plain (not dictionary-encoded) layout of a type. */
export function layoutOf(type: ColumnType): Layout {
  switch (type.kind) {
    case 'bool':
      return { kind: 'bool' }
    case 'int':
    case 'float':
      return { kind: 'fixed', width: type.bits / 8 }
    case 'utf8':
    case 'binary':
      return { kind: 'var' }
    case 'fixedSizeBinary':
      return { kind: 'fixed', width: type.bytes }
    case 'timestamp':
      return { kind: 'fixed', width: 8 }
    case 'date':
      return { kind: 'fixed', width: 4 }
    case 'time':
      return { kind: 'fixed', width: type.unit === 's' || type.unit === 'ms' ? 4 : 8 }
    case 'decimal':
      return { kind: 'fixed', width: 16 }
    case 'list':
      return { kind: 'list', item: layoutOf(type.item.type) }
    case 'struct':
      return { kind: 'struct', fields: type.fields.map((field) => layoutOf(field.type)) }
    case 'fixedSizeList':
      return { kind: 'fsl', size: type.size, item: layoutOf(type.item.type) }
  }
}

/** How values of a type compare and hash; undefined for types that do neither (json included: equal texts are not equal values). */
export function valueKindOf(type: ColumnType): ValueKind | undefined {
  switch (type.kind) {
    case 'bool':
      return 'bool'
    case 'int':
      return `${type.signed ? 'i' : 'u'}${type.bits}`
    case 'float':
      return `f${type.bits}`
    case 'utf8':
      return type.json ? undefined : 'bytes'
    case 'binary':
    case 'fixedSizeBinary':
      return 'bytes'
    case 'timestamp':
      return 'i64'
    case 'date':
      return 'i32'
    case 'time':
      return type.unit === 's' || type.unit === 'ms' ? 'i32' : 'i64'
    case 'decimal':
      return 'i128'
    default:
      return undefined
  }
}
