// log/slot.ts: slots of an object log: their names, making one of a group, and believing one that was read (log.md section 4).
//
// Invariant: what parseSlot returns has a verified header, whole frames of exactly the LSNs the header states and no byte besides; whether the slot is part of the
// log (it may be void, below the floor) is for the chain to say.
import { CorruptionError, StoreTooNewError } from '../errors.ts'
import {
  DecodeError,
  decodeEpochRecord,
  type EpochRecord,
  FLAG_MORE,
  FRAME_HEADER_BYTES,
  KIND_EPOCH,
  readFrameHeader,
  readSlotHeader,
  SLOT_HEADER_BYTES,
  SLOT_VERSION,
  type SlotHeader,
  writeSlotHeader,
} from '../format/index.ts'

import { hash64 } from './digest.ts'
import { scanFrames } from './frame-cursor.ts'
import { corrupt } from './segment-reader.ts'
import { LOG_PREFIX } from './segment-list.ts'
import { STOP } from './tail.ts'

const NAME = /^log\/(\d{20})$/

export interface Slot {
  readonly name: string
  readonly header: SlotHeader
  readonly first: number
  readonly last: number
  /** The frames alone. */
  readonly frames: Uint8Array
  /** Offset of each frame. */
  readonly offsets: Uint32Array
  /** Set when the slot begins with an epoch record. */
  readonly epochRecord: EpochRecord | undefined
}

export function slotName(firstLsn: number): string {
  return `${LOG_PREFIX}${String(firstLsn).padStart(20, '0')}`
}

/** @returns undefined for a name that is not a slot's */
export function slotLsnOf(name: string): number | undefined {
  const digits = NAME.exec(name)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/** The bytes of a slot. */
export function slotBytes(header: Omit<SlotHeader, 'payloadBytes'>, frames: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(SLOT_HEADER_BYTES + frames.length)
  bytes.set(frames, SLOT_HEADER_BYTES)
  writeSlotHeader(bytes, { ...header, payloadBytes: frames.length }, hash64)
  return bytes
}

/** The attempt id of an object found under a slot's name. */
export function attemptOfSlot(bytes: Uint8Array): Uint8Array | undefined {
  try {
    const header = readSlotHeader(bytes, hash64)
    return 'version' in header ? undefined : header.attempt
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}

/** The header of a slot whose first bytes are given. @throws CorruptionError, StoreTooNewError */
export function parseSlotHeader(bytes: Uint8Array, first: number): SlotHeader {
  const name = slotName(first)
  let header: ReturnType<typeof readSlotHeader>
  try {
    header = readSlotHeader(bytes, hash64)
  } catch (cause) {
    if (!(cause instanceof DecodeError)) throw cause
    throw corrupt(name, cause.message, cause.offset, first, cause)
  }
  if ('version' in header) {
    throw new StoreTooNewError(`${name} has slot version ${header.version}; this varve reads ${SLOT_VERSION}`, {
      details: { found: header.version, supported: SLOT_VERSION },
    })
  }
  if (header.firstLsn !== first) throw corrupt(name, `its header says it begins at LSN ${header.firstLsn}`, 24, first)
  return header
}

/** A whole slot, verified. @throws CorruptionError, StoreTooNewError */
export function parseSlot(bytes: Uint8Array<ArrayBuffer>, first: number): Slot {
  const name = slotName(first)
  const header = parseSlotHeader(bytes, first)
  // A copy on its own: what readers are handed begins at offset 0 of an aligned buffer.
  const frames = bytes.slice(SLOT_HEADER_BYTES)
  const last = first + header.count - 1
  if (frames.length !== header.payloadBytes) throw corrupt(name, `${header.payloadBytes} bytes of frames expected, ${frames.length} there`, 20, first)
  const scan = scanFrames(frames, first, header)
  const offset = SLOT_HEADER_BYTES + scan.consumed
  if (scan.stop !== STOP.end || scan.nextLsn !== last + 1) throw corrupt(name, `a frame of LSN ${scan.nextLsn} does not verify`, offset, scan.nextLsn)
  const view = new DataView(frames.buffer)
  if (scan.offsets.length !== header.count) throw corrupt(name, `${header.count} records expected, ${scan.offsets.length} there`, 16, first)
  const end = readFrameHeader(view, scan.offsets.at(-1)!)
  if ((end.flags & FLAG_MORE) !== 0) throw corrupt(name, 'its last append is not whole', offset, last)
  if (end.epoch !== header.epoch) throw corrupt(name, `a record of epoch ${end.epoch} in a slot of epoch ${header.epoch}`, offset, last)
  return { name, header, first, last, frames, offsets: scan.offsets, epochRecord: epochRecordOf(frames, view, header, name) }
}

function epochRecordOf(frames: Uint8Array, view: DataView, header: SlotHeader, name: string): EpochRecord | undefined {
  const { kind, length } = readFrameHeader(view, 0)
  if (kind !== KIND_EPOCH) return undefined
  try {
    const record = decodeEpochRecord(frames.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + length))
    if (record.epoch === header.epoch) return record
    throw corrupt(name, `an epoch record of ${record.epoch} in a slot of epoch ${header.epoch}`, SLOT_HEADER_BYTES, header.firstLsn)
  } catch (cause) {
    if (cause instanceof CorruptionError || !(cause instanceof DecodeError)) throw cause
    throw corrupt(name, cause.message, SLOT_HEADER_BYTES + FRAME_HEADER_BYTES + cause.offset, header.firstLsn, cause)
  }
}
