// format/slot.ts: the header of a slot, one object of a log that lies in an object store (log.md section 4).
//
//   0      8         12             16      20              24          32      40             48     56          72            88                    120
//   +------+---------+--------------+-------+---------------+-----------+-------+--------------+------+-----------+-------------+---------------------+------+
//   | magic| version | header bytes | count | payload bytes | first lsn | epoch | highest epoch| seed | writer id | attempt id  | digestAt(first - 1) | xxh3 |
//   +------+---------+--------------+-------+---------------+-----------+-------+--------------+------+-----------+-------------+---------------------+------+
//
// 128 bytes, little-endian; frames follow, exactly as in a segment, sealed with `seed`. Invariant: a header that does not verify is never believed, not even its
// version; the attempt id alone says whose the slot is; `highest epoch` is that of all records up to this slot's last one, so that one header is enough to
// choose the next epoch.
import { DecodeError } from './bytes.ts'
import { readU53, writeU53 } from './frame.ts'
import { DIGEST_BYTES, type Hash64 } from './segment.ts'

export const SLOT_HEADER_BYTES = 128
export const SLOT_VERSION = 1
export const ATTEMPT_BYTES = 16

const MAGIC = new TextEncoder().encode('VARVEOBJ')
const WRITER_AT = 56
const ATTEMPT_AT = 72
const DIGEST_AT = 88
const HASHED_BYTES = 120

export interface SlotHeader {
  /** Records in the slot; at least 1. */
  readonly count: number
  /** Bytes of the frames. */
  readonly payloadBytes: number
  readonly firstLsn: number
  readonly epoch: number
  readonly highestEpoch: number
  readonly seed: bigint
  readonly writerId: Uint8Array
  readonly attempt: Uint8Array
  /** digestAt(firstLsn - 1). */
  readonly digest: Uint8Array
}

/** Writes 128 bytes at the start of `into`. */
export function writeSlotHeader(into: Uint8Array, header: SlotHeader, hash: Hash64): void {
  const view = new DataView(into.buffer, into.byteOffset, SLOT_HEADER_BYTES)
  into.set(MAGIC)
  view.setUint32(8, SLOT_VERSION, true)
  view.setUint32(12, SLOT_HEADER_BYTES, true)
  view.setUint32(16, header.count, true)
  view.setUint32(20, header.payloadBytes, true)
  writeU53(view, 24, header.firstLsn)
  writeU53(view, 32, header.epoch)
  writeU53(view, 40, header.highestEpoch)
  view.setBigUint64(48, header.seed, true)
  into.set(header.writerId.subarray(0, ATTEMPT_AT - WRITER_AT), WRITER_AT)
  into.set(header.attempt.subarray(0, ATTEMPT_BYTES), ATTEMPT_AT)
  into.set(header.digest.subarray(0, DIGEST_BYTES), DIGEST_AT)
  view.setBigUint64(HASHED_BYTES, hash(into.subarray(0, HASHED_BYTES)), true)
}

/**
 * The header of a slot; bytes in it are copies.
 *
 * @returns the header, or the version when the bytes verify and the version is not ours
 * @throws DecodeError when they do not verify
 */
export function readSlotHeader(bytes: Uint8Array, hash: Hash64): SlotHeader | { readonly version: number } {
  if (bytes.length < SLOT_HEADER_BYTES) throw new DecodeError(`a slot header of ${SLOT_HEADER_BYTES} bytes expected, ${bytes.length} there`, 0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, SLOT_HEADER_BYTES)
  for (let i = 0; i < MAGIC.length; i++) if (bytes[i] !== MAGIC[i]) throw new DecodeError('no slot magic', i)
  if (view.getBigUint64(HASHED_BYTES, true) !== hash(bytes.subarray(0, HASHED_BYTES))) throw new DecodeError('slot header checksum mismatch', HASHED_BYTES)
  const version = view.getUint32(8, true)
  if (version !== SLOT_VERSION) return { version }
  if (view.getUint32(12, true) !== SLOT_HEADER_BYTES) throw new DecodeError('slot header length', 12)
  const count = view.getUint32(16, true)
  if (count === 0) throw new DecodeError('a slot without records', 16)
  return {
    count,
    payloadBytes: view.getUint32(20, true),
    firstLsn: readU53(view, 24),
    epoch: readU53(view, 32),
    highestEpoch: readU53(view, 40),
    seed: view.getBigUint64(48, true),
    writerId: bytes.slice(WRITER_AT, ATTEMPT_AT),
    attempt: bytes.slice(ATTEMPT_AT, DIGEST_AT),
    digest: bytes.slice(DIGEST_AT, HASHED_BYTES),
  }
}
