// engine/conflict.ts: the error of a write that lost against another one, with the keys as people write them.

import { ConflictError } from '../errors.ts'
import { formatKey, keyObjectFromBytes, resolveView, tableFromSchema, type TableState, type TableView } from '../table/index.ts'
import { keyBytesOf } from './key-text.ts'

const KEYS_SHOWN = 100

/** `keys`: canonical, as keyText; none: the table as a whole. `lsn` wrote first. */
export function conflict(table: TableState, keys: readonly string[], lsn: number, view: TableView = wholeView(table), hint?: string): ConflictError {
  const shown = keys.slice(0, KEYS_SHOWN).map((text) => keyObjectFromBytes(view, keyBytesOf(text)))
  const what = shown.length === 0 ? 'it' : `key ${formatKey(shown[0]!)}${keys.length > 1 ? ` and ${keys.length - 1} more` : ''}`
  return new ConflictError(`${table.name}: LSN ${lsn} changed ${what} first`, {
    details: { table: table.name, keys: shown, total: keys.length, lsn: BigInt(lsn) },
    ...(hint === undefined ? {} : { hint }),
  })
}

function wholeView(table: TableState): TableView {
  return resolveView(tableFromSchema(table.schema), table.schema)
}
