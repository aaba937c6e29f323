// cli/formats/column-build.ts: cells of one column as what columns() takes best: typed arrays where no cell is null.
//
// Invariant: a number that the type cannot hold is never wrapped into an array: it goes as it is, and the store refuses and names it.
import { type Bulk, columns } from '../../index.ts'
import { CellFault } from '../cell-text.ts'
import type { CellType, NamedField } from '../column-type.ts'
import { CliError } from '../failure.ts'
import type { RowNumbers } from './source.ts'

const INT64_MIN = -(2n ** 63n)
const INT64_MAX = 2n ** 63n - 1n
const UINT64_MAX = 2n ** 64n - 1n

/** Cells already of the type's own values, or null. */
export function packed(type: CellType, cells: readonly unknown[]): ArrayLike<unknown> {
  if (cells.includes(null)) return cells
  switch (type.kind) {
    case 'int':
      return type.bits === 64 ? wideInts(type.signed, cells as bigint[]) : smallInts(type.bits, type.signed, cells as number[])
    case 'float':
      return type.bits === 32 ? Float32Array.from(cells as number[]) : Float64Array.from(cells as number[])
    case 'timestamp':
      return (type.unit === 'us' || type.unit === 'ns') && cells.every((cell) => typeof cell === 'bigint') ? wideInts(true, cells as bigint[]) : cells
    default:
      return cells
  }
}

function smallInts(bits: 8 | 16 | 32, signed: boolean, cells: readonly number[]): ArrayLike<number> {
  const { length } = cells
  const ints =
    bits === 8
      ? signed
        ? new Int8Array(length)
        : new Uint8Array(length)
      : bits === 16
        ? signed
          ? new Int16Array(length)
          : new Uint16Array(length)
        : signed
          ? new Int32Array(length)
          : new Uint32Array(length)
  for (let i = 0; i < length; i++) {
    const cell = cells[i]!
    ints[i] = cell
    // What an array of this width cannot hold goes as it is, so that the store names it.
    if (ints[i] !== cell) return cells
  }
  return ints
}

function wideInts(signed: boolean, cells: readonly bigint[]): ArrayLike<bigint> {
  const wide = signed ? new BigInt64Array(cells.length) : new BigUint64Array(cells.length)
  const [low, high] = signed ? [INT64_MIN, INT64_MAX] : [0n, UINT64_MAX]
  for (let i = 0; i < cells.length; i++) {
    const cell = cells[i]!
    if (cell < low || cell > high) return cells
    wide[i] = cell
  }
  return wide
}

/** One batch, with its row numbers if asked for. */
export function bulkOf(rows: number, data: Record<string, ArrayLike<unknown>>, numbers: RowNumbers | undefined): Bulk<any> {
  if (numbers === undefined) return columns(data) as Bulk<any>
  return columns({ [numbers.column]: takeNumbers(numbers, rows), ...data }) as Bulk<any>
}

export function takeNumbers(numbers: RowNumbers, rows: number): BigInt64Array {
  const first = numbers.next
  numbers.next += rows
  return rowNumbers(first, rows)
}

/** first, first + 1, ...: without a bigint for each. */
export function rowNumbers(first: number, rows: number): BigInt64Array {
  const ids = new BigInt64Array(rows)
  const words = new Int32Array(ids.buffer)
  for (let i = 0; i < rows; i++) {
    words[i * 2] = first + i
    words[i * 2 + 1] = Math.floor((first + i) / 2 ** 32)
  }
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
