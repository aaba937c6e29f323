// kernels/column-checks.ts: what is looked at before columns of callers reach the kernels, whose own assertions would call a wrong argument a bug of ours.
import { InvalidConfigError, InvariantError } from '../errors.ts'
import { refuseDetached, settled } from './buffer.ts'
import type { Column } from './column.ts'
import { type ArrowType, typeName } from './column-type.ts'

/**
 * @throws InvalidConfigError (key `column`) for what columnOf did not make: a vector or typed array itself, whose rows would be taken for none; (key `bytes`)
 *   for a column whose values were shared and then transferred
 */
export function checkColumn(column: Column): void {
  const { type, layout, values } = (column ?? {}) as Partial<Column>
  if (typeof type?.kind !== 'string' || layout === undefined || values === undefined) {
    throw new InvalidConfigError('a column is expected', {
      details: { key: 'column', value: Object.prototype.toString.call(column) },
      hint: 'Make one of the vector, typed array or texts with columnOf.',
    })
  }
  if (values.byteLength === 0) refuseDetached(values)
}

/** The rows that columns share. @throws RangeError; InvalidConfigError (key `column`) for what is no column */
export function sameRows(columns: readonly Column[]): number {
  for (const column of columns) checkColumn(column)
  const n = columns[0]?.length ?? 0
  for (const { length } of columns) if (length !== n) throw new RangeError(`columns of ${n} and ${length} rows: one length expected`)
  return n
}

/** Rows of a bitmap. @throws RangeError unless a whole number below 2^32 */
export function rowCount(n: number): number {
  if (!(Number.isInteger(n) && n >= 0 && n <= 0xffff_ffff)) throw new RangeError(`a bitmap of ${n} rows: a whole number from 0 to 4,294,967,295 expected`)
  return n
}

/**
 * A bitmap of n rows that stays what it is while kernels run.
 *
 * @throws RangeError unless it has n bits; InvalidConfigError (key `bytes`) for a stale view
 */
export function bitsOfRows(bitmap: Uint8Array, n: number): Uint8Array {
  const bits = settled(bitmap)
  if (bits.length * 8 < n) throw new RangeError(`a bitmap of ${bits.length} bytes for ${n} rows: ${(n + 7) >>> 3} expected`)
  return bits
}

/** As `bitsOfRows`; undefined = all rows. */
export function selectionOf(selection: Uint8Array | undefined, n: number): Uint8Array | undefined {
  return selection && bitsOfRows(selection, n)
}

/** @throws InvalidConfigError (key `column`) unless the types are one and the same, dictionaries counting as their values */
export function sameTypes(columns: readonly Column[]): void {
  for (const column of columns) checkColumn(column)
  const plain = ({ type }: Column): string => JSON.stringify(type.kind === 'dictionary' ? type.values : type)
  const [head] = columns
  for (const column of columns) if (plain(column) !== plain(head!)) throw wrongType(column.type, typeName(head!.type))
}

/** What `run` gives; rows that it finds out of bounds are the caller's. @throws RangeError */
export function inBounds<T>(run: () => T): T {
  try {
    return run()
  } catch (error) {
    if (!(error instanceof InvariantError)) throw error
    throw new RangeError(error.message.replace('invariant broken: ', ''), { cause: error })
  }
}

/** The error for a column of another type than the one expected. */
export function wrongType(type: ArrowType, expected: string): InvalidConfigError {
  const name = typeName(type)
  return new InvalidConfigError(`a column of type ${name}: ${expected} expected`, {
    details: { key: 'column', value: name },
    hint: 'Hand in a column of another type.',
  })
}

/** For what was handed in as apache-arrow and is not. */
export function noLibrary(arrow: unknown): InvalidConfigError {
  return new InvalidConfigError('the apache-arrow module is expected', {
    details: { key: 'arrow', value: Object.prototype.toString.call(arrow) },
    hint: "Hand in the whole module: import * as arrow from 'apache-arrow'.",
  })
}
