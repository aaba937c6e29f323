// format/segment.ts: what a segment holds besides records: its header, marks and the footer (kernels.md section 4, log.md section 2).
//
//   header, 64 B:  VARVEWAL | u32 version | u32 header bytes | u64 epoch | u64 first lsn | u64 seed | u64 mandate | 8 zero | u64 xxh3 of the first 56 bytes
//   mark payload:  digestAt(lsn - 1) 32 B | store id 16 B
//   footer payload, packed:  u8 reason | u32 records | u64 first lsn | u64 last lsn | u64 bytes used | digestAt(last) 32 B
//
// The mandate is that of the epoch record (format/epoch.ts) that its records follow: 0 in files of older versions.
// Invariant: a header that does not verify is never believed, not even its version; `bytes used` is the offset of the footer frame itself.
import { DecodeError } from './bytes.ts'
import { frameBytes, readU53, writeU53 } from './frame.ts'

export const SEGMENT_HEADER_BYTES = 64
export const SEGMENT_VERSION = 1
export const MARK_PAYLOAD_BYTES = 48
export const MARK_BYTES: number = frameBytes(MARK_PAYLOAD_BYTES)
export const FOOTER_PAYLOAD_BYTES = 61
export const FOOTER_BYTES: number = frameBytes(FOOTER_PAYLOAD_BYTES)
export const DIGEST_BYTES = 32
export const STORE_ID_BYTES = 16

const MAGIC = new TextEncoder().encode('VARVEWAL')
const HASHED_BYTES = 56

/** XXH3-64 with seed 0, handed in so that this module stays free of kernel memory. */
export type Hash64 = (bytes: Uint8Array) => bigint

export interface SegmentHeader {
  readonly epoch: number
  readonly firstLsn: number
  readonly seed: bigint
  readonly mandate: number
}

/** Writes 64 bytes at the start of `into`. */
export function writeSegmentHeader(into: Uint8Array, header: SegmentHeader, hash: Hash64): void {
  const view = new DataView(into.buffer, into.byteOffset, SEGMENT_HEADER_BYTES)
  into.fill(0, 0, SEGMENT_HEADER_BYTES)
  into.set(MAGIC)
  view.setUint32(8, SEGMENT_VERSION, true)
  view.setUint32(12, SEGMENT_HEADER_BYTES, true)
  writeU53(view, 16, header.epoch)
  writeU53(view, 24, header.firstLsn)
  view.setBigUint64(32, header.seed, true)
  writeU53(view, 40, header.mandate)
  view.setBigUint64(HASHED_BYTES, hash(into.subarray(0, HASHED_BYTES)), true)
}

/**
 * The header of a segment.
 *
 * @returns the header, or the version when the bytes verify and the version is not ours
 * @throws DecodeError when they do not verify
 */
export function readSegmentHeader(bytes: Uint8Array, hash: Hash64): SegmentHeader | { readonly version: number } {
  if (bytes.length < SEGMENT_HEADER_BYTES) throw new DecodeError(`a segment header of ${SEGMENT_HEADER_BYTES} bytes expected, ${bytes.length} there`, 0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, SEGMENT_HEADER_BYTES)
  for (let i = 0; i < MAGIC.length; i++) if (bytes[i] !== MAGIC[i]) throw new DecodeError('no segment magic', i)
  if (view.getBigUint64(HASHED_BYTES, true) !== hash(bytes.subarray(0, HASHED_BYTES))) throw new DecodeError('segment header checksum mismatch', HASHED_BYTES)
  const version = view.getUint32(8, true)
  if (version !== SEGMENT_VERSION) return { version }
  if (view.getUint32(12, true) !== SEGMENT_HEADER_BYTES) throw new DecodeError('segment header length', 12)
  return { epoch: readU53(view, 16), firstLsn: readU53(view, 24), seed: view.getBigUint64(32, true), mandate: readU53(view, 40) }
}

/** Footer reasons: why the segment ends here. */
export const FOOTER_ROLLED = 1
export const FOOTER_CLOSED = 2
export const FOOTER_RECOVERED = 3

export interface SegmentFooter {
  readonly reason: number
  readonly records: number
  readonly firstLsn: number
  readonly lastLsn: number
  /** Offset of the footer frame in the segment. */
  readonly bytesUsed: number
  readonly digest: Uint8Array
}

/** Writes the payload of a mark: 48 bytes at `at`. */
export function writeMarkPayload(into: Uint8Array, at: number, digest: Uint8Array, storeId: Uint8Array): void {
  into.set(digest, at)
  into.set(storeId, at + DIGEST_BYTES)
}

/** Views of a mark's payload at `at`. */
export function readMarkPayload(bytes: Uint8Array, at: number): { readonly digest: Uint8Array; readonly storeId: Uint8Array } {
  return {
    digest: bytes.subarray(at, at + DIGEST_BYTES),
    storeId: bytes.subarray(at + DIGEST_BYTES, at + DIGEST_BYTES + STORE_ID_BYTES),
  }
}

/** Writes the payload of a footer: 61 bytes at `at`. */
export function writeFooterPayload(into: Uint8Array, at: number, footer: SegmentFooter): void {
  const view = new DataView(into.buffer, into.byteOffset + at, FOOTER_PAYLOAD_BYTES)
  view.setUint8(0, footer.reason)
  view.setUint32(1, footer.records, true)
  writeU53(view, 5, footer.firstLsn)
  writeU53(view, 13, footer.lastLsn)
  writeU53(view, 21, footer.bytesUsed)
  into.set(footer.digest, at + 29)
}

/** A footer's payload at `at`; the digest is a copy. */
export function readFooterPayload(bytes: Uint8Array, at: number): SegmentFooter {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, FOOTER_PAYLOAD_BYTES)
  return {
    reason: view.getUint8(0),
    records: view.getUint32(1, true),
    firstLsn: readU53(view, 5),
    lastLsn: readU53(view, 13),
    bytesUsed: readU53(view, 21),
    digest: bytes.slice(at + 29, at + 29 + DIGEST_BYTES),
  }
}
