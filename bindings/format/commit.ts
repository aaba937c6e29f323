// format/commit.ts: the payload of a `commit` record (kind 2), docs/format.md section "Commit".
//
//   u8 version | u8 flags | varint branch | varint parent LSN | u53 time ms | 16 B writeId | [author] [message] [idempotency key, 32 B request digest]
//   | [merge: varint source branch, source LSN, base branch, base LSN] | varint n | n table changes
//   table change: varint tableId | varint schema version | u8 op | u8 parts | varint inserted, updated, deleted | the parts, in bit order
//
// Invariant: every effect on older rows is positional (row numbers of the memory layer, or fragment and row), so folding needs no key look-up
// and gives the same rows on every machine. Rows of a change are added after its hides, hides after a replace.

import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts'
import { decodeFragmentRef, encodeFragmentRef, type FragmentRef } from './fragment-ref.ts'
import { fromHex, toHex } from './hex.ts'

export const COMMIT_VERSION = 1
export const WRITE_ID_BYTES = 16

export const OPS = ['append', 'upsert', 'delete', 'replace'] as const
export type Op = (typeof OPS)[number]

/** Rows of one fragment, by position, ascending. `lsn` 0 = a fragment of this very record. */
export interface FragmentHides {
  readonly lsn: number
  readonly ordinal: number
  readonly rows: Uint32Array
}

/** A deletion vector file that replaces everything hidden in the fragment before. */
export interface DeletionVectorRef {
  readonly lsn: number
  readonly ordinal: number
  /** SHA-256 of the file, lower-case hex. */
  readonly digest: string
  readonly bytes: number
  /** Which file of that digest; absent = the first. */
  readonly gen?: number
  /** Rows hidden in all. */
  readonly hidden: number
}

/** An inline batch: `rows` rows in `bytes[start, end)` (format/inline layout). */
export interface InlineRows {
  readonly rows: number
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
}

export interface TableChange {
  readonly tableId: number
  readonly schemaVersion: number
  readonly op: Op
  readonly inserted: number
  readonly updated: number
  readonly deleted: number
  readonly inline?: InlineRows
  /** Row numbers of the table's memory layer, ascending. */
  readonly hideRows?: ArrayLike<number>
  readonly hides?: readonly FragmentHides[]
  readonly fragments?: readonly FragmentRef[]
  readonly deletionVectors?: readonly DeletionVectorRef[]
}

/** What was merged: branches by their numbers. */
export interface MergeParent {
  readonly source: number
  /** The source up to here is in the branch of this commit from now on. */
  readonly sourceLsn: number
  /** What both had in common. */
  readonly base: number
  readonly baseLsn: number
}

export interface CommitHeader {
  readonly branch: number
  readonly parent: number
  readonly timeMs: number
  /** 16 bytes. */
  readonly writeId: Uint8Array
  readonly author?: string
  readonly message?: string
  readonly idempotency?: { readonly key: string; readonly request: Uint8Array }
  /** An INTENT stood behind it: the fold keeps its outcome. */
  readonly isArmed?: true
  /** It is a merge. */
  readonly merge?: MergeParent
}

export interface CommitRecord extends CommitHeader {
  readonly changes: readonly TableChange[]
}

const HAS_AUTHOR = 1
const HAS_MESSAGE = 2
const HAS_IDEMPOTENCY = 4
const IS_ARMED = 8
const HAS_MERGE = 16
const FLAGS_KNOWN = 31

export const PART_INLINE = 1
const PART_HIDE_ROWS = 2
const PART_HIDES = 4
const PART_FRAGMENTS = 8
const PART_VECTORS = 16
const PARTS_KNOWN = 31

export function encodeCommit(w: ByteWriter, record: CommitRecord): void {
  encodeCommitHeader(w, record, record.changes.length)
  for (const change of record.changes) encodeChange(w, change)
}

function encodeCommitHeader(w: ByteWriter, header: CommitHeader, changeCount: number): void {
  w.reserve(64)
  w.u8(COMMIT_VERSION)
  w.u8(
    (header.author === undefined ? 0 : HAS_AUTHOR) |
      (header.message === undefined ? 0 : HAS_MESSAGE) |
      (header.idempotency === undefined ? 0 : HAS_IDEMPOTENCY) |
      (header.isArmed === true ? IS_ARMED : 0) |
      (header.merge === undefined ? 0 : HAS_MERGE),
  )
  w.varint(header.branch)
  w.varint(header.parent)
  w.u53(header.timeMs)
  w.raw(header.writeId)
  if (header.author !== undefined) w.text(header.author)
  if (header.message !== undefined) w.text(header.message)
  if (header.idempotency !== undefined) {
    w.text(header.idempotency.key)
    w.raw(header.idempotency.request)
  }
  if (header.merge !== undefined) {
    const { source, sourceLsn, base, baseLsn } = header.merge
    for (const each of [source, sourceLsn, base, baseLsn]) w.varint(each)
  }
  w.varint(changeCount)
}

export function encodeChange(w: ByteWriter, change: TableChange): void {
  const { inline, hideRows, hides, fragments, deletionVectors } = change
  w.varint(change.tableId)
  w.varint(change.schemaVersion)
  w.u8(OPS.indexOf(change.op))
  w.u8(
    (inline === undefined ? 0 : PART_INLINE) |
      (hideRows === undefined || hideRows.length === 0 ? 0 : PART_HIDE_ROWS) |
      (hides === undefined || hides.length === 0 ? 0 : PART_HIDES) |
      (fragments === undefined || fragments.length === 0 ? 0 : PART_FRAGMENTS) |
      (deletionVectors === undefined || deletionVectors.length === 0 ? 0 : PART_VECTORS),
  )
  w.varint(change.inserted)
  w.varint(change.updated)
  w.varint(change.deleted)
  if (inline !== undefined) {
    const length = inline.end - inline.start
    w.varint(inline.rows)
    w.varint(length)
    w.reserve(length)
    // A copy loop for short bodies: making a view costs more than the bytes.
    if (length < 64) for (let i = inline.start; i < inline.end; i++) w.bytes[w.at++] = inline.bytes[i]!
    else w.raw(inline.bytes.subarray(inline.start, inline.end))
  }
  if (hideRows !== undefined && hideRows.length > 0) w.ascending(hideRows)
  if (hides !== undefined && hides.length > 0) encodeHides(w, hides)
  if (fragments !== undefined && fragments.length > 0) {
    w.varint(fragments.length)
    for (const ref of fragments) encodeFragmentRef(w, ref)
  }
  if (deletionVectors !== undefined && deletionVectors.length > 0) encodeVectors(w, deletionVectors)
}

export function encodeHides(w: ByteWriter, hides: readonly FragmentHides[]): void {
  w.varint(hides.length)
  for (const hide of hides) {
    w.varint(hide.lsn)
    w.varint(hide.ordinal)
    w.ascending(hide.rows)
  }
}

export function decodeHides(r: ByteReader): FragmentHides[] {
  return decodeList(r, () => {
    const lsn = r.varint()
    const ordinal = r.varint()
    return { lsn, ordinal, rows: rowNumbers(r) }
  })
}

export function encodeVectors(w: ByteWriter, vectors: readonly DeletionVectorRef[]): void {
  w.varint(vectors.length)
  for (const vector of vectors) {
    w.varint(vector.lsn)
    w.varint(vector.ordinal)
    w.raw(fromHex(vector.digest))
    w.varint(vector.bytes)
    w.varint(vector.gen ?? 0)
    w.varint(vector.hidden)
  }
}

export function decodeVectors(r: ByteReader): DeletionVectorRef[] {
  return decodeList(r, () => {
    const lsn = r.varint()
    const ordinal = r.varint()
    const digest = toHex(r.raw(32))
    const bytes = r.varint()
    const gen = r.varint()
    return { lsn, ordinal, digest, bytes, ...(gen === 0 ? {} : { gen }), hidden: r.varint() }
  })
}

/** @throws DecodeError */
export function decodeCommit(r: ByteReader): CommitRecord {
  const version = r.u8()
  if (version !== COMMIT_VERSION) throw new DecodeError(`commit version ${version}`, r.at - 1)
  const flags = r.u8()
  if ((flags & ~FLAGS_KNOWN) !== 0) throw new DecodeError(`commit flags ${flags}`, r.at - 1)
  const branch = r.varint()
  const parent = r.varint()
  const timeMs = r.u53()
  const writeId = r.raw(WRITE_ID_BYTES)
  const author = (flags & HAS_AUTHOR) === 0 ? undefined : r.text()
  const message = (flags & HAS_MESSAGE) === 0 ? undefined : r.text()
  const idempotency = (flags & HAS_IDEMPOTENCY) === 0 ? undefined : { key: r.text(), request: r.raw(32) }
  const merge = (flags & HAS_MERGE) === 0 ? undefined : { source: r.varint(), sourceLsn: r.varint(), base: r.varint(), baseLsn: r.varint() }
  const count = r.varint()
  const changes: TableChange[] = []
  for (let i = 0; i < count; i++) changes.push(decodeChange(r))
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a commit`, r.at)
  // Most commits have nothing else, and a log of them is read one by one.
  if (flags === 0) return { branch, parent, timeMs, writeId, changes }
  return {
    branch,
    parent,
    timeMs,
    writeId,
    ...(author === undefined ? {} : { author }),
    ...(message === undefined ? {} : { message }),
    ...(idempotency === undefined ? {} : { idempotency }),
    ...((flags & IS_ARMED) === 0 ? {} : { isArmed: true as const }),
    ...(merge === undefined ? {} : { merge }),
    changes,
  }
}

export function decodeChange(r: ByteReader): TableChange {
  const tableId = r.varint()
  const schemaVersion = r.varint()
  const opNumber = r.u8()
  const op = OPS[opNumber]
  if (op === undefined) throw new DecodeError(`operation ${opNumber}`, r.at - 1)
  const parts = r.u8()
  if ((parts & ~PARTS_KNOWN) !== 0) throw new DecodeError(`change parts ${parts}`, r.at - 1)
  const inserted = r.varint()
  const updated = r.varint()
  const deleted = r.varint()
  let inline: InlineRows | undefined
  if ((parts & PART_INLINE) !== 0) {
    const rows = r.varint()
    const length = r.varint()
    const start = r.at
    if (length > r.left) throw new DecodeError(`an inline batch of ${length} bytes, ${r.left} left`, start)
    r.at += length
    inline = { rows, bytes: r.bytes, start, end: r.at }
  }
  const hideRows = (parts & PART_HIDE_ROWS) === 0 ? undefined : r.ascending()
  const hides = (parts & PART_HIDES) === 0 ? undefined : decodeHides(r)
  const fragments = (parts & PART_FRAGMENTS) === 0 ? undefined : decodeList(r, () => decodeFragmentRef(r))
  const deletionVectors = (parts & PART_VECTORS) === 0 ? undefined : decodeVectors(r)
  if (parts === PART_INLINE) return { tableId, schemaVersion, op, inserted, updated, deleted, inline: inline! }
  return {
    tableId,
    schemaVersion,
    op,
    inserted,
    updated,
    deleted,
    ...(inline === undefined ? {} : { inline }),
    ...(hideRows === undefined ? {} : { hideRows }),
    ...(hides === undefined ? {} : { hides }),
    ...(fragments === undefined ? {} : { fragments }),
    ...(deletionVectors === undefined ? {} : { deletionVectors }),
  }
}

export function decodeList<T>(r: ByteReader, item: () => T): T[] {
  const count = r.varint()
  if (count > r.left) throw new DecodeError(`a list of ${count} items in ${r.left} bytes`, r.at)
  const items: T[] = []
  for (let i = 0; i < count; i++) items.push(item())
  return items
}

/** Row numbers inside one fragment: below 2^32. */
export function rowNumbers(r: ByteReader): Uint32Array {
  const rows = r.ascending()
  if (!(rows instanceof Uint32Array)) throw new DecodeError('a row number past 2^32', r.at)
  return rows
}
