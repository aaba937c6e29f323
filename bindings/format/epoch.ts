// format/epoch.ts: payload of the `epoch` record (kind 1), the first record of every writer (log.md section 1).
//
//   u64 epoch | writer id 16 B | u8 mode (1 exclusive, 2 shared) | u64 mandate         33 bytes, little-endian; 25 without the mandate, which is 0 then
//
// The mandate (format/mandate.ts) is of all records up to the next epoch record: it tells logs apart whose epochs grew by plain starts alone (decision 0030).
// Invariant: the epoch in the payload equals the epoch of the frame that carries it.
import { DecodeError } from './bytes.ts'
import { readU53, writeU53 } from './frame.ts'

export const EPOCH_PAYLOAD_BYTES = 25
const DECIDED_BYTES: number = EPOCH_PAYLOAD_BYTES + 8
export const WRITER_ID_BYTES = 16
export const KIND_EPOCH = 1

export interface EpochRecord {
  readonly epoch: number
  readonly writerId: Uint8Array
  /** An exclusive epoch fences every earlier writer; a shared one fences nobody. */
  readonly mode: 'exclusive' | 'shared'
  /** By whose decision the writer writes; absent: nobody's. */
  readonly mandate?: number
}

export function encodeEpochRecord(record: EpochRecord): Uint8Array<ArrayBuffer> {
  const { mandate = 0 } = record
  const bytes = new Uint8Array(mandate === 0 ? EPOCH_PAYLOAD_BYTES : DECIDED_BYTES)
  const view = new DataView(bytes.buffer)
  writeU53(view, 0, record.epoch)
  if (mandate > 0) writeU53(view, EPOCH_PAYLOAD_BYTES, mandate)
  bytes.set(record.writerId.subarray(0, WRITER_ID_BYTES), 8)
  bytes[24] = record.mode === 'exclusive' ? 1 : 2
  return bytes
}

/** @throws DecodeError when it is no epoch record */
export function decodeEpochRecord(payload: Uint8Array): EpochRecord {
  if (payload.length !== EPOCH_PAYLOAD_BYTES && payload.length !== DECIDED_BYTES)
    throw new DecodeError(`an epoch record of ${EPOCH_PAYLOAD_BYTES} or ${DECIDED_BYTES} bytes expected, ${payload.length} there`, 0)
  const mode = payload[24]
  if (mode !== 1 && mode !== 2) throw new DecodeError(`epoch mode ${mode}`, 24)
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length)
  const mandate = payload.length === DECIDED_BYTES ? readU53(view, EPOCH_PAYLOAD_BYTES) : 0
  return {
    epoch: readU53(view, 0),
    writerId: payload.slice(8, 24),
    mode: mode === 1 ? 'exclusive' : 'shared',
    ...(mandate === 0 ? {} : { mandate }),
  }
}
