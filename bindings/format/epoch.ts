// format/epoch.ts: payload of the `epoch` record (kind 1), the first record of every writer (log.md section 1).
//
//   u64 epoch | writer id 16 B | u8 mode (1 exclusive, 2 shared)         25 bytes, little-endian
//
// Invariant: the epoch in the payload equals the epoch of the frame that carries it.
import { DecodeError } from './bytes.ts'
import { readU53, writeU53 } from './frame.ts'

export const EPOCH_PAYLOAD_BYTES = 25
export const WRITER_ID_BYTES = 16
export const KIND_EPOCH = 1

export interface EpochRecord {
  readonly epoch: number
  readonly writerId: Uint8Array
  /** An exclusive epoch fences every earlier writer; a shared one fences nobody. */
  readonly mode: 'exclusive' | 'shared'
}

export function encodeEpochRecord(record: EpochRecord): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(EPOCH_PAYLOAD_BYTES)
  writeU53(new DataView(bytes.buffer), 0, record.epoch)
  bytes.set(record.writerId.subarray(0, WRITER_ID_BYTES), 8)
  bytes[24] = record.mode === 'exclusive' ? 1 : 2
  return bytes
}

/** @throws DecodeError when it is no epoch record */
export function decodeEpochRecord(payload: Uint8Array): EpochRecord {
  if (payload.length !== EPOCH_PAYLOAD_BYTES) throw new DecodeError(`an epoch record of ${EPOCH_PAYLOAD_BYTES} bytes expected, ${payload.length} there`, 0)
  const mode = payload[24]
  if (mode !== 1 && mode !== 2) throw new DecodeError(`epoch mode ${mode}`, 24)
  return {
    epoch: readU53(new DataView(payload.buffer, payload.byteOffset, EPOCH_PAYLOAD_BYTES), 0),
    writerId: payload.slice(8, 24),
    mode: mode === 1 ? 'exclusive' : 'shared',
  }
}
