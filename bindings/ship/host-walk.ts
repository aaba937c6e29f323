// ship/host-walk.ts: where the records of an `entries` message begin (docs/format.md "Frames").
//
// The checksums of the frames are seeded with the primary's segment, which a replica does not know: what vouches for these bytes is the checksum of the message
// and, in the end, the chain digest. Invariant: nothing outside of `bytes` is looked at, whatever they say.

import { decodeRecord, type StateRecord } from '../engine/index.ts'
import { EntryChecksumError } from '../errors-ship.ts'
import { FRAME_HEADER_BYTES, frameBytes, KIND_FOOTER, KIND_MARK, readU53 } from '../format/index.ts'

/** Offsets of the records `first`..`first + count - 1`; marks and footers between them are passed over. @throws EntryChecksumError */
export function walkFrames(bytes: Uint8Array, first: number, count: number): Uint32Array {
  // Before room is made for so many.
  if (count * FRAME_HEADER_BYTES > bytes.length) throw broken(first, `${count} records were announced, in ${bytes.length} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const offsets = new Uint32Array(count)
  let found = 0
  let at = 0
  while (at < bytes.length) {
    const total = at + FRAME_HEADER_BYTES <= bytes.length ? frameBytes(view.getUint32(at + 8, true)) : Infinity
    if (at + total > bytes.length) throw broken(first + found, `a frame at byte ${at} passes the end of ${bytes.length} bytes`)
    const kind = bytes[at + 12]!
    if (kind !== KIND_MARK && kind !== KIND_FOOTER) {
      const lsn = readU53(view, at + 16)
      if (found === count || lsn !== first + found) throw broken(first + found, `a record says that it is ${lsn}`)
      offsets[found++] = at
    }
    at += total
  }
  if (found !== count) throw broken(first + found, `${count} records were announced, ${found} are there`)
  return offsets
}

/** As walkFrames, and what the records are. @throws CorruptionError, StoreTooNewError */
export function decodeRecords(bytes: Uint8Array, first: number, count: number): { readonly offsets: Uint32Array; readonly records: StateRecord[] } {
  const offsets = walkFrames(bytes, first, count)
  const records: StateRecord[] = []
  for (let i = 0; i < count; i++) records.push(decodeRecord(bytes, offsets[i]!, first + i))
  return { offsets, records }
}

function broken(lsn: number, why: string): EntryChecksumError {
  return new EntryChecksumError(`record ${lsn}: ${why}`, { details: { lsn: BigInt(lsn) } })
}
