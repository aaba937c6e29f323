// table/column-fit.ts: a stored column as a newer definition wants it: widened on the way out, its statistics with it.
//
// What may be widened is listed once, in `widening`: the planner of schema changes asks the same list. The rows stay as they were written; only optimize writes them anew.
// Invariant: a conversion loses nothing, keeps order and equality, and never turns a value into null or back; types that never were one column's are refused.
import { UnsupportedTypeError } from '../errors.ts'
import { layoutOf, valueKindOf } from '../format/index.ts'
import type { ColumnDef, ColumnType, FragmentColumn, TableSchema } from '../format/index.ts'
import { widen } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { ColumnStats } from './batch.ts'
import { type Physical, physicalFromJson, physicalToJson } from './physical.ts'
import { fixedVec } from './vec-views.ts'

const DAY_SECONDS = 86_400

type Widening = 'none' | 'int' | 'float' | 'days'

/** How values of `from` become values of `to`; undefined: not without a loss. */
function widening(from: ColumnType, to: ColumnType): Widening | undefined {
  // How strings are encoded is the fragment's own choice.
  if (from.kind === 'utf8' && to.kind === 'utf8') return from.json === to.json ? 'none' : undefined
  if (from.kind === 'int' && to.kind === 'int') return (from.signed === to.signed || !from.signed) && from.bits < to.bits ? 'int' : undefined
  if (from.kind === 'float' && to.kind === 'float') return from.bits < to.bits ? 'float' : undefined
  // Finer units do not reach every date.
  if (from.kind === 'date' && to.kind === 'timestamp') return to.unit === 's' || to.unit === 'ms' ? 'days' : undefined
  return undefined
}

function unitsPerDay(to: ColumnType): number {
  return to.kind === 'timestamp' && to.unit === 'ms' ? DAY_SECONDS * 1000 : DAY_SECONDS
}

/** The column with a wider type, its constants with it; undefined: `to` does not hold every value of it. */
export function widened(column: ColumnDef, to: ColumnType): ColumnDef | undefined {
  const how = widening(column.type, to)
  if (how === undefined) return undefined
  const constant = (json: unknown): unknown => (json === null ? null : physicalToJson(wideConstant(physicalFromJson(column.type, json), how, to)))
  return {
    ...column,
    type: to,
    ...(column.default === undefined ? {} : { default: constant(column.default) }),
    ...(column.initial === undefined ? {} : { initial: constant(column.initial) }),
  }
}

function wideConstant(value: Physical, how: Widening, to: ColumnType): Physical {
  if (how === 'days') return BigInt((value as number) * unitsPerDay(to))
  return how === 'int' && to.kind === 'int' && to.bits === 64 ? BigInt(value as number) : value
}

/** `vec`, stored as `from`, in the layout of `column`. Dictionaries stay dictionaries. */
export function fitVec(vec: Vec, from: ColumnType, column: ColumnDef): Vec {
  const to = column.type
  if (from.kind === to.kind && from.kind !== 'int' && from.kind !== 'float') return vec
  if (from.kind === 'int' && to.kind === 'int' && from.signed === to.signed && from.bits === to.bits) return vec
  if (from.kind === 'float' && to.kind === 'float' && from.bits === to.bits) return vec
  const how = widening(from, to)
  if (how === 'int' && from.kind === 'int' && to.kind === 'int') return widen(vec, from.bits / 8, to.bits / 8, from.signed)
  if (how === 'float') return doubles(vec)
  if (how === 'days') return instants(vec, unitsPerDay(to))
  throw new UnsupportedTypeError(`column ${column.name}: stored as ${JSON.stringify(from)}, wanted as ${JSON.stringify(to)}`, { details: { type: from.kind } })
}

function doubles(vec: Vec): Vec {
  const from = new Float32Array(vec.values.buffer, vec.values.byteOffset, vec.length)
  return fixedVec(8, vec.length, Float64Array.from(from), validityOf(vec))
}

function instants(vec: Vec, perDay: number): Vec {
  const days = new Int32Array(vec.values.buffer, vec.values.byteOffset, vec.length)
  const units = new BigInt64Array(vec.length)
  for (let i = 0; i < days.length; i++) units[i] = BigInt(days[i]! * perDay)
  return fixedVec(8, vec.length, units, validityOf(vec))
}

function validityOf(vec: Vec): { bits: Uint8Array; nullCount: number } | undefined {
  return vec.validity === undefined ? undefined : { bits: vec.validity, nullCount: vec.nullCount }
}

/** Bounds as the column's type has them: 64-bit values are bigint. */
export function fitStats(stats: Omit<FragmentColumn, 'bytes'>, schema: TableSchema): ColumnStats {
  const column = schema.columns.find((candidate) => candidate.id === stats.id)
  return column === undefined ? stats : wideStats(stats, column.type)
}

function wideStats(stats: ColumnStats, type: ColumnType): ColumnStats {
  const kind = valueKindOf(type)
  const isWide = kind !== undefined && kind !== 'bytes' && kind !== 'f64' && isWideLayout(type)
  if (!isWide || (typeof stats.min !== 'number' && typeof stats.max !== 'number')) return stats
  return {
    ...stats,
    ...(typeof stats.min === 'number' ? { min: BigInt(stats.min) } : {}),
    ...(typeof stats.max === 'number' ? { max: BigInt(stats.max) } : {}),
  }
}

/** Statistics of a column stored as `from`, as readers of the newer definition understand them. */
export function newerStats(stats: ColumnStats, from: ColumnType, column: ColumnDef): ColumnStats {
  const how = widening(from, column.type)
  if (how === undefined || how === 'none') return stats
  if (how !== 'days') return wideStats(stats, column.type)
  const perDay = BigInt(unitsPerDay(column.type))
  const { min, max } = stats
  return {
    ...stats,
    ...(min === undefined ? {} : { min: BigInt(min as number) * perDay }),
    ...(max === undefined ? {} : { max: BigInt(max as number) * perDay }),
  }
}

function isWideLayout(type: ColumnType): boolean {
  const layout = layoutOf(type)
  return layout.kind === 'fixed' && layout.width >= 8
}
