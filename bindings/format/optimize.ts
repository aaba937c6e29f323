// format/optimize.ts: the payload of an `optimize` record (kind 8): "these fragments now stand for those: the same live rows, in fewer files".
//
//   u8 version | 16 B writeId | u53 time ms | varint branch | varint seal LSN, 0 = it was not sealed | text recovery or "" | varint n | n table parts
//   part: varint tableId | varint n, n of (varint lsn, ordinal) removed | varint n, n fragments | hides | varint n, n of (varint lsn, ordinal, fragment) reindexed
//
// Parts of one table follow each other; its new fragments are numbered through all of them, and those of a part stand where the first fragment that the part
// removes stood. Invariant: rows, their order in a table without a key, and the version of a table stay. `hides` name rows of the new fragments (lsn 0) that
// were hidden while they were written; a reindexed fragment keeps its bytes and its identity.

import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts'
import { decodeHides, decodeList, encodeHides, type FragmentHides, WRITE_ID_BYTES } from './commit.ts'
import { decodeFragmentRef, encodeFragmentRef, type FragmentRef } from './fragment-ref.ts'
import { decodeFacts, encodeFacts, type RecoveryFacts } from './outcome.ts'

const OPTIMIZE_VERSION = 1

/** A live fragment of a table: the record that made it live, and its place there. */
export interface FragmentId {
  readonly lsn: number
  readonly ordinal: number
}

/** A fragment that has more indexes now. */
export interface Reindexed extends FragmentId {
  /** As before, but for its indexes. */
  readonly ref: FragmentRef
}

export interface OptimizedPart {
  readonly tableId: number
  readonly removes: readonly FragmentId[]
  /** None: no row of the removed ones lives. */
  readonly fragments: readonly FragmentRef[]
  readonly hides: readonly FragmentHides[]
  readonly reindexed: readonly Reindexed[]
}

export interface OptimizeRecord {
  /** 16 bytes; its INTENT has the same. */
  readonly writeId: Uint8Array
  readonly timeMs: number
  readonly branch: number
  /** The seal that it publishes; 0 = none. */
  readonly sealLsn: number
  readonly recovery?: RecoveryFacts
  readonly parts: readonly OptimizedPart[]
}

export function encodeOptimize(w: ByteWriter, record: OptimizeRecord): void {
  w.u8(OPTIMIZE_VERSION)
  w.raw(record.writeId)
  w.u53(record.timeMs)
  w.varint(record.branch)
  w.varint(record.sealLsn)
  encodeFacts(w, record.recovery)
  w.varint(record.parts.length)
  for (const { tableId, removes, fragments, hides, reindexed } of record.parts) {
    w.varint(tableId)
    w.varint(removes.length)
    for (const id of removes) encodeId(w, id)
    w.varint(fragments.length)
    for (const ref of fragments) encodeFragmentRef(w, ref)
    encodeHides(w, hides)
    w.varint(reindexed.length)
    for (const each of reindexed) {
      encodeId(w, each)
      encodeFragmentRef(w, each.ref)
    }
  }
}

/** @throws DecodeError */
export function decodeOptimize(r: ByteReader): OptimizeRecord {
  const version = r.u8()
  if (version !== OPTIMIZE_VERSION) throw new DecodeError(`optimize version ${version}`, r.at - 1)
  const writeId = r.raw(WRITE_ID_BYTES)
  const timeMs = r.u53()
  const branch = r.varint()
  const sealLsn = r.varint()
  const recovery = decodeFacts(r)
  const parts = decodeList(r, () => ({
    tableId: r.varint(),
    removes: decodeList(r, () => decodeId(r)),
    fragments: decodeList(r, () => decodeFragmentRef(r)),
    hides: decodeHides(r),
    reindexed: decodeList(r, () => ({ ...decodeId(r), ref: decodeFragmentRef(r) })),
  }))
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind an optimize`, r.at)
  return { writeId, timeMs, branch, sealLsn, ...(recovery === undefined ? {} : { recovery }), parts }
}

function encodeId(w: ByteWriter, { lsn, ordinal }: FragmentId): void {
  w.varint(lsn)
  w.varint(ordinal)
}

function decodeId(r: ByteReader): FragmentId {
  return { lsn: r.varint(), ordinal: r.varint() }
}
