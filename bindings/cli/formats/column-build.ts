// cli/formats/column-build.ts: cells of one column as what columns() takes best: typed arrays where no cell is null.
import { type Bulk, columns } from '../../index.ts'
import { CellFault } from '../cell-text.ts'
import type { CellType, NamedField } from '../column-type.ts'
import { CliError } from '../failure.ts'
import type { RowNumbers } from './source.ts'

/** Cells already of the type's own values, or null. */
export function packed(type: CellType, cells: readonly unknown[]): ArrayLike<unknown> {
  if (cells.includes(null)) return cells
  switch (type.kind) {
    case 'int':
      return type.bits === 64 ? wideInts(type.signed, cells as bigint[]) : smallInts(type.bits, type.signed, cells as number[])
    case 'float':
      return type.bits === 32 ? Float32Array.from(cells as number[]) : Float64Array.from(cells as number[])
    case 'timestamp':
      return (type.unit === 'us' || type.unit === 'ns') && cells.every((cell) => typeof cell === 'bigint') ? BigInt64Array.from(cells as bigint[]) : cells
    default:
      return cells
  }
}

function smallInts(bits: 8 | 16 | 32, signed: boolean, cells: readonly number[]): ArrayLike<number> {
  if (bits === 8) return signed ? Int8Array.from(cells) : Uint8Array.from(cells)
  if (bits === 16) return signed ? Int16Array.from(cells) : Uint16Array.from(cells)
  return signed ? Int32Array.from(cells) : Uint32Array.from(cells)
}

function wideInts(signed: boolean, cells: readonly bigint[]): ArrayLike<bigint> {
  return signed ? BigInt64Array.from(cells) : BigUint64Array.from(cells)
}

/** One batch, with its row numbers if asked for. */
export function bulkOf(rows: number, data: Record<string, ArrayLike<unknown>>, numbers: RowNumbers | undefined): Bulk<any> {
  if (numbers === undefined) return columns(data) as Bulk<any>
  return columns({ [numbers.column]: takeNumbers(numbers, rows), ...data }) as Bulk<any>
}

export function takeNumbers(numbers: RowNumbers, rows: number): BigInt64Array {
  const ids = new BigInt64Array(rows)
  for (let i = 0; i < rows; i++) ids[i] = numbers.next++
  return ids
}

/** A cell that does not fit its column: where, and what would help. */
export function misfit(name: string, row: number, field: NamedField, fault: unknown): unknown {
  if (!(fault instanceof CellFault)) return fault
  return new CliError(
    `${name} row ${row}, column ${JSON.stringify(field.name)}: ${fault.message}`,
    `Correct the row, or import with --type ${field.name}=utf8.`,
    fault,
  )
}
