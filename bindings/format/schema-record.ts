// format/schema-record.ts: the payload of a `schema` record (kind 3): definitions travel inside the record, as canonical JSON.
//
//   u8 version | u53 time ms | 16 B writeId | text JSON { "create": [TableSchema, ...] }

import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts'
import { WRITE_ID_BYTES } from './commit.ts'
import type { TableSchema } from './types.ts'

const SCHEMA_VERSION = 1

export interface SchemaRecord {
  readonly timeMs: number
  /** 16 bytes. */
  readonly writeId: Uint8Array
  /** New tables. Later format versions add other lists; an unknown list is refused, never skipped. */
  readonly create: readonly TableSchema[]
}

export function encodeSchemaRecord(w: ByteWriter, record: SchemaRecord): void {
  w.u8(SCHEMA_VERSION)
  w.u53(record.timeMs)
  w.raw(record.writeId)
  w.text(JSON.stringify({ create: record.create }))
}

/** @throws DecodeError */
export function decodeSchemaRecord(r: ByteReader): SchemaRecord {
  const version = r.u8()
  if (version !== SCHEMA_VERSION) throw new DecodeError(`schema record version ${version}`, r.at - 1)
  const timeMs = r.u53()
  const writeId = r.raw(WRITE_ID_BYTES)
  const at = r.at
  let body: { create?: unknown }
  try {
    body = JSON.parse(r.text()) as { create?: unknown }
  } catch {
    throw new DecodeError('a schema record that is not JSON', at)
  }
  if (!Array.isArray(body.create) || Object.keys(body).length !== 1) throw new DecodeError('a schema record with unknown parts', at)
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a schema record`, r.at)
  return { timeMs, writeId, create: body.create as TableSchema[] }
}
