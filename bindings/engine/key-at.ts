// engine/key-at.ts: the canonical key of a stored row.

import { type KeyLayout, KeyRun, type Place, type RowVecs, type TableState } from '../table/index.ts'
import type { Vec } from '../kernels/index.ts'
import { keyText } from './key-text.ts'

/** As keyText. */
export async function keyAt(table: TableState, layout: KeyLayout, place: Place): Promise<string> {
  return keyText(keyOf(table, layout, await table.readPlace(place, layout.defs, false)))
}

/** From memory; a promise: something must be read first, then ask again. undefined: the table has no key. */
export function keyAtNow(table: TableState, place: Place): Uint8Array | undefined | Promise<void> {
  const layout = table.keyLayout
  if (layout === undefined) return undefined
  const read = table.readPlace(place, layout.defs, false)
  return read instanceof Promise ? read.then(() => undefined) : keyOf(table, layout, read)
}

function keyOf(table: TableState, layout: KeyLayout, { vecs, row }: RowVecs): Uint8Array {
  const columns: (Vec | undefined)[] = Array.from(table.schema.columns, () => undefined)
  layout.parts.forEach((part, i) => {
    columns[part.index] = vecs[i]
  })
  const keys = new KeyRun(layout.stride)
  layout.push(columns, row, row + 1, keys)
  return keys.data.slice(keys.start(0), keys.end(0))
}
