// catalog/checkpoint.ts: the folded state as a self-checking file, `checkpoints/<lsn>.ckpt` (docs/format.md section "Checkpoint").
//
//   "VARVECKP" | u32 version | u32 body bytes | 16 B store id | u53 lsn | 32 B digestAt(lsn) | body | 32 B SHA-256 of all before
//
// Invariant: the bytes depend on the log prefix only: sorted maps, no creation time, writer or node. A file that fails its check is not believed.

import {
  ACK_MODES,
  ByteReader,
  ByteWriter,
  decodeAckMode,
  decodeFragmentRef,
  decodeList,
  decodeVectors,
  DecodeError,
  encodeFragmentRef,
  encodeVectors,
  WRITE_ID_BYTES,
} from '../format/index.ts'
import type { TableSchema } from '../format/index.ts'
import { bitmapToIndices, sha256 } from '../kernels/index.ts'
import { Branches } from './branches.ts'
import { Catalog } from './catalog.ts'
import { decodeDeadNames, encodeDeadNames } from './dead-names.ts'
import { Merges } from './merges.ts'
import { decodeOutcomes, encodeOutcomes } from './outcomes.ts'
import type { CatalogFragment, CatalogTable } from './table-fold.ts'

const MAGIC = new TextEncoder().encode('VARVECKP')
const VERSION = 2
/** Those of version 1 end behind the outcomes. */
const VERSIONS_READ: readonly number[] = [1, VERSION]
const HEADER_BYTES = 8 + 4 + 4 + 16 + 8 + 32
const CHECK_BYTES = 32

export interface Checkpoint {
  readonly storeId: Uint8Array
  readonly lsn: number
  /** digestAt(lsn) of the log. */
  readonly digest: Uint8Array
  readonly catalog: Catalog
}

export function checkpointName(lsn: number): string {
  return `checkpoints/${String(lsn).padStart(20, '0')}.ckpt`
}

/** The catalog as it is now; the digest of its LSN may come later, so the catalog is free to go on at once. */
export function checkpointBody(catalog: Catalog): Uint8Array<ArrayBuffer> {
  const w = new ByteWriter(4096)
  encodeCatalog(w, catalog)
  return w.finish()
}

export function encodeCheckpoint(storeId: Uint8Array, lsn: number, digest: Uint8Array, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const w = new ByteWriter(HEADER_BYTES + body.length + CHECK_BYTES)
  w.raw(MAGIC)
  w.u32(VERSION)
  w.u32(body.length)
  w.raw(storeId)
  w.u53(lsn)
  w.raw(digest)
  w.raw(body)
  w.raw(sha256(w.bytes.subarray(0, w.at)))
  return w.finish()
}

/** @throws DecodeError whatever is wrong with the bytes */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  if (bytes.length < HEADER_BYTES + CHECK_BYTES) throw new DecodeError('a checkpoint that is too short', bytes.length)
  const check = sha256(bytes.subarray(0, bytes.length - CHECK_BYTES))
  for (let i = 0; i < CHECK_BYTES; i++) if (check[i] !== bytes[bytes.length - CHECK_BYTES + i]) throw new DecodeError('a checkpoint whose check fails', i)
  const r = new ByteReader(bytes, 0, bytes.length - CHECK_BYTES)
  const magic = r.raw(MAGIC.length)
  if (!MAGIC.every((byte, i) => byte === magic[i])) throw new DecodeError('not a checkpoint', 0)
  const version = r.u32()
  if (!VERSIONS_READ.includes(version)) throw new DecodeError(`checkpoint version ${version}`, 8)
  const bodyBytes = r.u32()
  if (bodyBytes !== bytes.length - HEADER_BYTES - CHECK_BYTES) throw new DecodeError('a checkpoint of another length', 12)
  const storeId = r.raw(16).slice()
  const lsn = r.u53()
  const digest = r.raw(32).slice()
  const catalog = decodeCatalog(r, lsn)
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a checkpoint`, r.at)
  return { storeId, lsn, digest, catalog }
}

function encodeCatalog(w: ByteWriter, catalog: Catalog): void {
  w.u53(catalog.timeMs)
  w.varint(catalog.fence)
  w.varint(catalog.nextTableId)
  w.varint(catalog.fragmentFloor)
  const tables = [...catalog.tables.values()].sort((a, b) => a.id - b.id)
  w.varint(tables.length)
  for (const table of tables) encodeTable(w, table)
  const keys = [...catalog.keys.values()].sort((a, b) => a.lsn - b.lsn)
  w.varint(keys.length)
  for (const remembered of keys) {
    w.text(remembered.key)
    w.raw(remembered.request)
    w.varint(remembered.lsn)
    w.raw(remembered.writeId)
    w.u53(remembered.timeMs)
    w.varint(remembered.rows)
  }
  encodeOutcomes(w, catalog.outcomes)
  encodeDeadNames(w, catalog.dead)
  w.blob(catalog.branches.encode())
  catalog.merges.encode(w)
  // Only where there is a mode record: a version that does not know this section does not know the record either.
  const { mode, lsn, floor } = catalog.ack
  if (lsn === 0) return
  w.u8(ACK_MODES.indexOf(mode))
  w.varint(lsn)
  w.varint(floor)
}

function decodeCatalog(r: ByteReader, lsn: number): Catalog {
  const catalog = new Catalog()
  catalog.lsn = lsn
  catalog.timeMs = r.u53()
  catalog.fence = r.varint()
  catalog.nextTableId = r.varint()
  catalog.fragmentFloor = r.varint()
  for (const table of decodeList(r, () => decodeTable(r))) catalog.tables.set(table.id, table)
  const keys = decodeList(r, () => ({
    key: r.text(),
    request: r.raw(32).slice(),
    lsn: r.varint(),
    writeId: r.raw(WRITE_ID_BYTES).slice(),
    timeMs: r.u53(),
    rows: r.varint(),
  }))
  for (const remembered of keys) catalog.keys.set(remembered.key, remembered)
  catalog.outcomes = decodeOutcomes(r)
  // Sections came one after the other: what a checkpoint lacks is empty.
  if (r.left > 0) catalog.dead = decodeDeadNames(r)
  if (r.left > 0) catalog.branches = Branches.of(r.blob().slice())
  if (r.left > 0) catalog.merges = Merges.decode(r)
  if (r.left > 0) catalog.ack = { mode: decodeAckMode(r), lsn: r.varint(), floor: r.varint() }
  return catalog
}

function encodeTable(w: ByteWriter, table: CatalogTable): void {
  w.varint(table.id)
  w.text(table.name)
  w.text(JSON.stringify(table.schemas))
  w.varint(table.createdLsn)
  w.varint(table.rows)
  w.varint(table.lastLsn)
  w.varint(table.nextRow)
  w.varint(table.flushedRow)
  w.varint(table.flushedLsn)
  w.varint(table.inlineFrom)
  w.varint(table.fragments.length)
  for (const fragment of table.fragments) encodeFragment(w, fragment)
}

function decodeTable(r: ByteReader): CatalogTable {
  return {
    id: r.varint(),
    name: r.text(),
    schemas: JSON.parse(r.text()) as TableSchema[],
    createdLsn: r.varint(),
    rows: r.varint(),
    lastLsn: r.varint(),
    nextRow: r.varint(),
    flushedRow: r.varint(),
    flushedLsn: r.varint(),
    inlineFrom: r.varint(),
    fragments: decodeList(r, () => decodeFragment(r)),
  }
}

function encodeFragment(w: ByteWriter, fragment: CatalogFragment): void {
  w.varint(fragment.lsn)
  w.varint(fragment.ordinal)
  encodeFragmentRef(w, fragment.ref)
  encodeVectors(w, fragment.vector === undefined ? [] : [fragment.vector])
  w.ascending(fragment.hidden === undefined ? [] : bitmapToIndices(fragment.hidden, fragment.ref.rows))
}

function decodeFragment(r: ByteReader): CatalogFragment {
  const lsn = r.varint()
  const ordinal = r.varint()
  const ref = decodeFragmentRef(r)
  const [vector] = decodeVectors(r)
  const rows = r.ascending()
  let hidden: Uint8Array | undefined
  if (rows.length > 0) {
    hidden = new Uint8Array((ref.rows + 7) >> 3)
    for (const row of rows) {
      if (row >= ref.rows) throw new DecodeError(`hidden row ${row} of ${ref.rows}`, r.at)
      hidden[row >> 3]! |= 1 << (row & 7)
    }
  }
  return { lsn, ordinal, ref, vector, hidden, hiddenCount: rows.length }
}
