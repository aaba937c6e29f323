// table/columns.ts: `t`, the constructors of columns (api.md section 1).
//
// A column is an immutable builder around a ColumnSpec: every method returns a new one. Sizes are checked here; defaults where the column has a name (definition.ts).

import { UnsupportedTypeError } from '../errors.ts'
import type { ColumnType, FieldDef, TimeUnit } from '../format/index.ts'
import type { Column, Columns, InsertOf, RowOf, Utf8Column } from './types.ts'
import type { ColumnSpec } from './view.ts'

const DECIMAL_DIGITS_MAX = 38
const INT32_MAX = 2 ** 31 - 1

type Int = Column<number, number, 'number'>
type Big = Column<bigint, bigint, 'number'>
type Unit = 's' | 'ms' | 'us' | 'ns'
type AsOf<A, Else> = A extends 'number' ? number : A extends 'bigint' ? bigint : A extends 'string' ? string : A extends 'date' ? Date : Else

/** The column types. Columns are not null and must be written unless nullable() or default() says otherwise. */
export const t: {
  bool(): Column<boolean, boolean, 'equal'>
  int8(): Int
  int16(): Int
  int32(): Int
  uint8(): Int
  uint16(): Int
  uint32(): Int
  float32(): Int
  float64(): Int
  /** As "number": refuses what is not a safe integer, on write and on read (RangeError). */
  int64(): Big
  int64<A extends 'bigint' | 'number'>(o: { as: A }): Column<AsOf<A, bigint>, AsOf<A, bigint>, 'number'>
  uint64(): Big
  uint64<A extends 'bigint' | 'number'>(o: { as: A }): Column<AsOf<A, bigint>, AsOf<A, bigint>, 'number'>
  utf8(): Utf8Column<string>
  binary(): Column<Uint8Array, Uint8Array, 'order'>
  fixedSizeBinary(bytes: number): Column<Uint8Array, Uint8Array, 'order'>
  /** fixedSizeBinary(16), Arrow extension arrow.uuid; lower-case text. */
  uuid(): Column<string, string, 'order'>
  /** utf8, Arrow extension arrow.json; what JSON.stringify would drop is refused. */
  json<T = unknown>(): Column<T, T, 'none'>
  /** Default unit "ms". A number is in the column's unit. */
  timestamp(unit?: 's' | 'ms', o?: { tz?: string }): Column<Date, Date | number, 'order'>
  /** Date cannot hold these. */
  timestamp(unit: 'us' | 'ns', o?: { tz?: string }): Column<bigint, bigint | Date, 'order'>
  timestamp<A extends 'number' | 'bigint'>(unit: Unit, o: { as: A; tz?: string }): Column<AsOf<A, never>, AsOf<A, never> | Date, 'order'>
  /** "2026-11-21". */
  date(): Column<string, string, 'order'>
  /** date: UTC midnight; number: days since 1970. */
  date<A extends 'date' | 'number' | 'string'>(o: { as: A }): Column<AsOf<A, string>, AsOf<A, string>, 'order'>
  /** Since midnight. Default unit "ms". */
  time(unit?: 's' | 'ms'): Column<number, number, 'order'>
  time(unit: 'us' | 'ns'): Column<bigint, bigint, 'order'>
  /** "12.30"; more digits than scale: refused. */
  decimal128(precision: number, scale: number): Column<string, string | number | bigint, 'order'>
  list<T, I>(item: Column<T, I>): Column<T[], readonly I[], 'none'>
  struct<C extends Columns>(fields: C): Column<RowOf<C>, InsertOf<C>, 'none'>
  fixedSizeList<T, I>(size: number, item: Column<T, I>): Column<T[], readonly I[], 'none'>
  /** fixedSizeList of float32. */
  vector(size: number): Column<Float32Array, Float32Array | readonly number[], 'none'>
} = {
  bool: () => of({ kind: 'bool' }),
  int8: () => of({ kind: 'int', bits: 8, signed: true }),
  int16: () => of({ kind: 'int', bits: 16, signed: true }),
  int32: () => of({ kind: 'int', bits: 32, signed: true }),
  uint8: () => of({ kind: 'int', bits: 8, signed: false }),
  uint16: () => of({ kind: 'int', bits: 16, signed: false }),
  uint32: () => of({ kind: 'int', bits: 32, signed: false }),
  float32: () => of({ kind: 'float', bits: 32 }),
  float64: () => of({ kind: 'float', bits: 64 }),
  int64: (o?: { as: 'bigint' | 'number' }): any => of({ kind: 'int', bits: 64, signed: true }, as('int64', o, ['bigint', 'number'])),
  uint64: (o?: { as: 'bigint' | 'number' }): any => of({ kind: 'int', bits: 64, signed: false }, as('uint64', o, ['bigint', 'number'])),
  utf8: () => of({ kind: 'utf8' }),
  binary: () => of({ kind: 'binary' }),
  fixedSizeBinary: (bytes) => of({ kind: 'fixedSizeBinary', bytes: count('fixedSizeBinary', bytes) }),
  uuid: () => of({ kind: 'fixedSizeBinary', bytes: 16, uuid: true }),
  json: () => of({ kind: 'utf8', json: true }),
  timestamp: (unit: TimeUnit = 'ms', o: { as?: 'number' | 'bigint'; tz?: string } = {}): any =>
    of({ kind: 'timestamp', unit: checkUnit('timestamp', unit), ...timeZone(o.tz) }, as('timestamp', o, ['number', 'bigint'])),
  date: (o?: { as: 'date' | 'number' | 'string' }): any => of({ kind: 'date' }, as('date', o, ['date', 'number', 'string'])),
  time: (unit: TimeUnit = 'ms'): any => of({ kind: 'time', unit: checkUnit('time', unit) }),
  decimal128: (precision, scale) => of({ kind: 'decimal', ...decimal(precision, scale) }),
  list: (item) => of({ kind: 'list', item: fieldOf('item', item) }, { children: [specOf(item)] }),
  struct: (fields) => {
    const names = Object.keys(fields)
    if (names.length === 0) throw unsupported('struct<>', 'a struct has at least one field')
    return of({ kind: 'struct', fields: names.map((name) => fieldOf(name, fields[name])) }, { children: names.map((name) => specOf(fields[name])) })
  },
  fixedSizeList: (size, item) => of({ kind: 'fixedSizeList', size: count('fixedSizeList', size), item: fieldOf('item', item) }, { children: [specOf(item)] }),
  vector: (size) => {
    const item: FieldDef = { name: 'item', type: { kind: 'float', bits: 32 }, nullable: false }
    return of({ kind: 'fixedSizeList', size: count('vector', size), item, vector: true }, { children: [{ type: item.type, nullable: false }] })
  },
}

/** What a column carries at run time. UnsupportedTypeError: not a column. */
export function specOf(column: unknown): ColumnSpec {
  const spec = (column as { spec?: ColumnSpec } | null | undefined)?.spec
  if (typeof spec !== 'object' || typeof spec.type?.kind !== 'string') {
    throw unsupported(typeof column, 'expected a column made by t, such as t.int32()')
  }
  return spec
}

/** A column from its spec; definitions read back from a store are made of these. */
export function columnFromSpec(spec: ColumnSpec): Column<unknown, unknown> {
  return new ColumnBuilder(spec) as unknown as Column<unknown, unknown>
}

class ColumnBuilder {
  readonly spec: ColumnSpec
  constructor(spec: ColumnSpec) {
    this.spec = Object.freeze(spec)
    Object.freeze(this)
  }
  nullable(): ColumnBuilder {
    return new ColumnBuilder({ ...this.spec, nullable: true })
  }
  default(value: unknown): ColumnBuilder {
    return new ColumnBuilder({ ...this.spec, default: constant(value) })
  }
  renamedFrom(name: string): ColumnBuilder {
    return new ColumnBuilder({ ...this.spec, renamedFrom: name })
  }
  typed(): this {
    return this
  }
  dictionary(): ColumnBuilder {
    const { type } = this.spec
    if (type.kind !== 'utf8' || type.json) throw unsupported(`dictionary<${type.kind}>`, 'only utf8 columns are dictionary-encoded')
    return new ColumnBuilder({ ...this.spec, type: { kind: 'utf8', dictionary: true } })
  }
}

function of<C>(type: ColumnType, rest: Partial<ColumnSpec> = {}): C {
  return new ColumnBuilder({ type: Object.freeze(type), nullable: false, ...rest }) as C
}

function fieldOf(name: string, column: unknown): FieldDef {
  const { type, nullable } = specOf(column)
  return { name, type, nullable }
}

/** Values handed in must not change the definition later. */
function constant(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? structuredClone(value) : value
}

function as(type: string, o: { as?: ColumnSpec['as'] } | undefined, allowed: readonly ColumnSpec['as'][]): Partial<ColumnSpec> {
  if (o?.as === undefined) return {}
  if (!allowed.includes(o.as)) throw unsupported(type, `as ${JSON.stringify(o.as)}: expected one of ${allowed.join(', ')}`)
  return { as: o.as }
}

function checkUnit(type: string, unit: TimeUnit): TimeUnit {
  if (unit === 's' || unit === 'ms' || unit === 'us' || unit === 'ns') return unit
  throw unsupported(`${type}[${String(unit)}]`, 'the units are s, ms, us and ns')
}

function timeZone(tz: string | undefined): { tz?: string } {
  if (tz === undefined) return {}
  if (typeof tz !== 'string' || tz === '') throw unsupported('timestamp', 'tz is a time zone name such as "UTC"')
  return { tz }
}

function decimal(precision: number, scale: number): { precision: number; scale: number } {
  const type = `decimal128(${precision}, ${scale})`
  if (!Number.isInteger(precision) || precision < 1 || precision > DECIMAL_DIGITS_MAX) throw unsupported(type, `precision is 1..${DECIMAL_DIGITS_MAX}`)
  if (!Number.isInteger(scale) || scale < 0 || scale > precision) throw unsupported(type, `scale is 0..${precision}`)
  return { precision, scale }
}

function count(type: string, n: number): number {
  if (!Number.isInteger(n) || n < 1 || n > INT32_MAX) throw unsupported(`${type}(${String(n)})`, `the size is 1..${INT32_MAX}`)
  return n
}

function unsupported(type: string, why: string): UnsupportedTypeError {
  return new UnsupportedTypeError(`${type}: ${why}`, { details: { type } })
}
