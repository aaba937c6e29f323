// table/column-fit.ts: a stored column as the schema wants it now: widened when the definition grew since the fragment was written.
//
// Invariant: a conversion loses nothing; types that never were one column's are refused.
import { UnsupportedTypeError } from '../errors.ts'
import { layoutOf, valueKindOf } from '../format/index.ts'
import type { ColumnDef, ColumnType, FragmentColumn, TableSchema } from '../format/index.ts'
import { widen } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { ColumnStats } from './batch.ts'
import { fixedVec } from './vec-views.ts'

/** `vec`, stored as `from`, in the layout of `column`. Dictionaries stay dictionaries. */
export function fitVec(vec: Vec, from: ColumnType, column: ColumnDef): Vec {
  const to = column.type
  if (from.kind === to.kind && from.kind !== 'int' && from.kind !== 'float') return vec
  if (from.kind === 'int' && to.kind === 'int' && from.signed === to.signed && from.bits === to.bits) return vec
  if (from.kind === 'int' && to.kind === 'int' && from.signed === to.signed && from.bits < to.bits) return widen(vec, from.bits / 8, to.bits / 8, from.signed)
  // An unsigned value fits every signed type that is wider.
  if (from.kind === 'int' && to.kind === 'int' && !from.signed && from.bits < to.bits) return widen(vec, from.bits / 8, to.bits / 8, false)
  if (from.kind === 'float' && to.kind === 'float' && from.bits <= to.bits) return from.bits === to.bits ? vec : doubles(vec)
  throw new UnsupportedTypeError(`column ${column.name}: stored as ${JSON.stringify(from)}, wanted as ${JSON.stringify(to)}`, { details: { type: from.kind } })
}

function doubles(vec: Vec): Vec {
  const from = new Float32Array(vec.values.buffer, vec.values.byteOffset, vec.length)
  return fixedVec(8, vec.length, Float64Array.from(from), vec.validity === undefined ? undefined : { bits: vec.validity, nullCount: vec.nullCount })
}

/** Bounds as the column's type has them now: 64-bit values are bigint. */
export function fitStats(stats: Omit<FragmentColumn, 'bytes'>, schema: TableSchema): ColumnStats {
  const column = schema.columns.find((candidate) => candidate.id === stats.id)
  const kind = column === undefined ? undefined : valueKindOf(column.type)
  const isWide = column !== undefined && kind !== undefined && kind !== 'bytes' && kind !== 'f64' && isWideLayout(column.type)
  if (!isWide || (typeof stats.min !== 'number' && typeof stats.max !== 'number')) return stats
  return {
    ...stats,
    ...(typeof stats.min === 'number' ? { min: BigInt(stats.min) } : {}),
    ...(typeof stats.max === 'number' ? { max: BigInt(stats.max) } : {}),
  }
}

function isWideLayout(type: ColumnType): boolean {
  const layout = layoutOf(type)
  return layout.kind === 'fixed' && layout.width >= 8
}
