// format/flush.ts: the payload of a `flush` record (kind 7): "the rows of table t that commits up to LSN x brought inline are now in these fragments".
//
//   u8 version | 16 B writeId | [version 2: varint branch] | varint tableId | u53 time ms | varint upto LSN | varint upto row number | fragments | hides | deletion vectors
//
// Version 1 is a flush of main, and main's are still written so.
// Invariant: same rows, other place. `hides` name rows of the new fragments (lsn 0) that were hidden while the flush ran.

import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts'
import { decodeHides, decodeList, decodeVectors, type DeletionVectorRef, encodeHides, encodeVectors, type FragmentHides, WRITE_ID_BYTES } from './commit.ts'
import { decodeFragmentRef, encodeFragmentRef, type FragmentRef } from './fragment-ref.ts'

const FLUSH_VERSION = 1
const FLUSH_VERSION_BRANCH = 2

export interface FlushRecord {
  /** 16 bytes; its INTENT has the same. */
  readonly writeId: Uint8Array
  /** Its number; 0 = main. */
  readonly branch: number
  readonly tableId: number
  readonly timeMs: number
  /** Last commit whose inline rows moved. */
  readonly uptoLsn: number
  /** Row numbers below this moved (or were hidden). */
  readonly uptoRow: number
  readonly fragments: readonly FragmentRef[]
  readonly hides: readonly FragmentHides[]
  /** Older fragments whose many inline hides now stand in a file. */
  readonly deletionVectors: readonly DeletionVectorRef[]
}

export function encodeFlush(w: ByteWriter, record: FlushRecord): void {
  w.u8(record.branch === 0 ? FLUSH_VERSION : FLUSH_VERSION_BRANCH)
  w.raw(record.writeId)
  if (record.branch !== 0) w.varint(record.branch)
  w.varint(record.tableId)
  w.u53(record.timeMs)
  w.varint(record.uptoLsn)
  w.varint(record.uptoRow)
  w.varint(record.fragments.length)
  for (const ref of record.fragments) encodeFragmentRef(w, ref)
  encodeHides(w, record.hides)
  encodeVectors(w, record.deletionVectors)
}

/** @throws DecodeError */
export function decodeFlush(r: ByteReader): FlushRecord {
  const version = r.u8()
  if (version !== FLUSH_VERSION && version !== FLUSH_VERSION_BRANCH) throw new DecodeError(`flush version ${version}`, r.at - 1)
  const record: FlushRecord = {
    writeId: r.raw(WRITE_ID_BYTES),
    branch: version === FLUSH_VERSION ? 0 : r.varint(),
    tableId: r.varint(),
    timeMs: r.u53(),
    uptoLsn: r.varint(),
    uptoRow: r.varint(),
    fragments: decodeList(r, () => decodeFragmentRef(r)),
    hides: decodeHides(r),
    deletionVectors: decodeVectors(r),
  }
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a flush`, r.at)
  return record
}
