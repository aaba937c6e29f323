// format/frame.ts: one frame of the log, in a segment or a slot (kernels.md section 4).
//
//   0       8        12     13      14       16    24      32            (bytes)
//   +-------+--------+------+-------+--------+-----+-------+----------+
//   | xxh3  | length | kind | flags | local  | lsn | epoch | payload… |   little-endian, 8-byte aligned, padded with zeros
//   +-------+--------+------+-------+--------+-----+-------+----------+
//
// Invariant: xxh3 (seeded per segment) covers bytes 8 .. 32 + length; record bytes for the chain digest are the same bytes with `local` taken as 0.

export const FRAME_HEADER_BYTES = 32
/** Longest payload: a frame never passes 64 MiB. */
export const PAYLOAD_BYTES_MAX: number = 64 * 1024 * 1024 - FRAME_HEADER_BYTES

export const KIND_MARK = 254
export const KIND_FOOTER = 255

/** More records of the same append follow: they are whole together or not there. (Bit 0: the payload is an LZ4 block; not written yet.) */
export const FLAG_MORE = 2
/** Everything before this frame in the log was synced when it was written. */
export const LOCAL_SYNCED_BEFORE = 1

const KIND_OFFSET = 12
const TWO_32 = 4_294_967_296

/** Bytes a frame of this payload takes, padding included. */
export function frameBytes(payloadBytes: number): number {
  return (FRAME_HEADER_BYTES + payloadBytes + 7) & ~7
}

/** Writes everything of the header but the checksum. `at` is a byte offset divisible by 8 into the memory of `words`. */
export function writeFrameHeader(words: Uint32Array, at: number, length: number, kind: number, flags: number, local: number, lsn: number, epoch: number): void {
  const i = at >>> 2
  words[i + 2] = length
  words[i + 3] = kind | (flags << 8) | (local << 16)
  words[i + 4] = lsn
  words[i + 5] = lsn / TWO_32
  words[i + 6] = epoch
  words[i + 7] = epoch / TWO_32
}

export interface FrameHeader {
  readonly length: number
  readonly kind: number
  readonly flags: number
  readonly local: number
  readonly lsn: number
  readonly epoch: number
}

/** The kind of a verified frame, alone. */
export function frameKind(bytes: Uint8Array, at: number): number {
  return bytes[at + KIND_OFFSET]!
}

/** Reads a header; the caller has verified the frame, or bounds what it reads before it believes it. */
export function readFrameHeader(view: DataView, at: number): FrameHeader {
  return {
    length: view.getUint32(at + 8, true),
    kind: view.getUint8(at + KIND_OFFSET),
    flags: view.getUint8(at + 13),
    local: view.getUint16(at + 14, true),
    lsn: readU53(view, at + 16),
    epoch: readU53(view, at + 24),
  }
}

/** A u64 as a number; past 2^53 it loses precision, which no LSN or epoch reaches. */
export function readU53(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32
}

export function writeU53(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_32, true)
  view.setUint32(at + 4, Math.floor(value / TWO_32), true)
}
