// format/schema-record.ts: the payload of a `schema` record (kind 3): definitions travel inside the record, as canonical JSON.
//
//   u8 version | u53 time ms | 16 B writeId | text JSON { "create": [TableSchema, ...], "alter"?: [TableSchema, ...], "drop"?: [tableId, ...], "branch"?: id }
//
// Invariant: a list that this version does not know is refused, never skipped.

import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts'
import { WRITE_ID_BYTES } from './commit.ts'
import type { TableSchema } from './types.ts'

const SCHEMA_VERSION = 1
const PARTS = new Set(['create', 'alter', 'drop', 'branch'])

export interface SchemaRecord {
  readonly timeMs: number
  /** 16 bytes. */
  readonly writeId: Uint8Array
  /** New tables. */
  readonly create: readonly TableSchema[]
  /** The next version of tables that are there: table id and column ids stay, those of dropped columns are never used again. */
  readonly alter?: readonly TableSchema[]
  /** Ids of tables that are gone from here on. */
  readonly drop?: readonly number[]
  /** The branch whose definitions change; absent: main. */
  readonly branch?: number
}

export function encodeSchemaRecord(w: ByteWriter, { timeMs, writeId, create, alter = [], drop = [], branch = 0 }: SchemaRecord): void {
  w.u8(SCHEMA_VERSION)
  w.u53(timeMs)
  w.raw(writeId)
  const lists = { create, ...(alter.length === 0 ? {} : { alter }), ...(drop.length === 0 ? {} : { drop }), ...(branch === 0 ? {} : { branch }) }
  w.text(JSON.stringify(lists))
}

/** @throws DecodeError */
export function decodeSchemaRecord(r: ByteReader): SchemaRecord {
  const version = r.u8()
  if (version !== SCHEMA_VERSION) throw new DecodeError(`schema record version ${version}`, r.at - 1)
  const timeMs = r.u53()
  const writeId = r.raw(WRITE_ID_BYTES)
  const at = r.at
  let body: { create?: unknown; alter?: unknown; drop?: unknown; branch?: unknown }
  try {
    body = JSON.parse(r.text()) as typeof body
  } catch {
    throw new DecodeError('a schema record that is not JSON', at)
  }
  const { create, alter, drop, branch } = body
  const isKnown = Object.keys(body).every((part) => PARTS.has(part)) && isList(alter) && isList(drop) && (branch === undefined || Number.isInteger(branch))
  if (!Array.isArray(create) || !isKnown) throw new DecodeError('a schema record with unknown parts', at)
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a schema record`, r.at)
  return {
    timeMs,
    writeId,
    create: create as TableSchema[],
    ...(alter === undefined ? {} : { alter: alter as TableSchema[] }),
    ...(drop === undefined ? {} : { drop: drop as number[] }),
    ...(branch === undefined ? {} : { branch: branch as number }),
  }
}

function isList(value: unknown): boolean {
  return value === undefined || Array.isArray(value)
}

/** Names of the tables that it makes, changes or drops; a table that it renames under its new name. `nameOf`: before the record. */
export function changedTables({ create, alter = [], drop = [] }: SchemaRecord, nameOf: (tableId: number) => string | undefined): string[] {
  return [...create.map(({ name }) => name), ...alter.map(({ name }) => name), ...drop.map((id) => nameOf(id) ?? `table ${id}`)]
}
