// bench/upkeep/flights.ts: the flights table as upkeep meets it: loaded in pieces, one fragment a piece.
import { readFileSync } from 'node:fs'

import { type AnyTable, columns, Store, t, table } from '../../bindings/index.ts'
import type { Flights } from '../data.ts'

const definition = { id: t.int64(), date: t.timestamp('ms'), delay: t.int16(), distance: t.int16(), origin: t.utf8(), destination: t.utf8() }

export const flights: AnyTable = table('flights', definition, { key: ['id'] })
export const unkeyed: AnyTable = table('flights', definition)

/** Bytes of a row as a user has it: numbers at their width, three letters and an offset for a text. */
export const ROW_BYTES: number = 8 + 8 + 2 + 2 + 7 + 7

/** Rows `from` up to `to`, every `step`-th, ids moved by `shift`. */
export function piece(data: Flights, from: number, to: number, step: number = 1, shift: number = 0): Record<string, unknown> {
  const rows = Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step)
  return columns({
    id: BigInt64Array.from(rows, (row) => BigInt(data.id[row]! + shift)),
    date: rows.map((row) => new Date(data.date[row]!)),
    delay: Int16Array.from(rows, (row) => data.delay[row]!),
    distance: Int16Array.from(rows, (row) => data.distance[row]!),
    origin: rows.map((row) => data.origin[row]!),
    destination: rows.map((row) => data.destination[row]!),
  }) as unknown as Record<string, unknown>
}

/** A store in which nothing happens by itself and each append is a fragment. */
export function openManual(folder: string): Promise<Store> {
  return Store.open(folder, { upkeep: 'manual', inlineLimitBytes: 0 })
}

/** Bytes that this process has handed to write calls so far. */
export function writtenBytes(): number {
  return Number(/wchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1] ?? Number.NaN)
}
