// table/column-data.ts: columns(), which marks an object of arrays as data by column (api.md section 3).

import type { ColumnData } from './types-read.ts'

/**
 * Equally long arrays by column; typed arrays are taken without a copy where the layout allows and must not be changed until the call resolves.
 *
 * @example await store.append(seats, columns({ flight: [7n, 7n], row: Int16Array.of(3, 4) }))
 */
export function columns<C extends Readonly<Record<string, ArrayLike<unknown>>>>(data: C): ColumnData<C> {
  return Object.freeze(new ColumnArrays(data))
}

/** Whether a value was made by columns(). */
export function isColumnData(value: unknown): value is ColumnData<Readonly<Record<string, ArrayLike<unknown>>>> {
  return value instanceof ColumnArrays
}

/** A class, so that no row with a column named "columns" is taken for it. */
class ColumnArrays<C> implements ColumnData<C> {
  readonly columns: C
  constructor(columns: C) {
    this.columns = columns
  }
}
