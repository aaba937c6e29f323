// engine/conflict.ts: the error of a write that lost against another one, with the keys as people write them.

import { ConflictError } from '../errors.ts'
import type { TableChange } from '../format/index.ts'
import { formatKey, keyObjectFromBytes, resolveView, tableFromSchema, type TableState, type TableView } from '../table/index.ts'
import { keyBytesOf } from './key-text.ts'
import { isCompatible } from './plan-schema.ts'

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

/** A change that was prepared against an older definition is admitted while that one's rows are rows of this one. @throws ConflictError */
export function refuseOutdated(table: TableState, { schemaVersion, inline, fragments }: TableChange): void {
  if (inline === undefined && fragments === undefined) return
  const { schema, lastLsn } = table
  if (schemaVersion < schema.version && isCompatible(table.schemaOf(schemaVersion), schema)) return
  throw redefined(table.name, lastLsn)
}

/** The definition changed under a write. */
export function redefined(table: string, lsn: number): ConflictError {
  return new ConflictError(`${table}: its definition was changed while this write was prepared`, {
    details: { table, keys: [], total: 0, lsn: BigInt(lsn) },
    hint: 'Write it again.',
  })
}

function wholeView(table: TableState): TableView {
  return resolveView(tableFromSchema(table.schema), table.schema)
}
