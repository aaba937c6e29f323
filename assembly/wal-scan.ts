// wal-scan.ts: verify and seal the record frames of a segment or slot (kernels.md section 4).
//
//   0       8        12     13      14      16     24      32
//   | xxh3  | length | kind | flags | local | lsn  | epoch | payload | 0-7 zero bytes |    little-endian, 8-byte aligned
//
// Invariant: nothing of a frame is believed before its length was bounded by what remains and its checksum verified.
import { NONE, STOP_CAPACITY, STOP_CHECKSUM, STOP_END, STOP_EPOCH, STOP_FOOTER, STOP_LENGTH, STOP_PADDING, STOP_SEQUENCE, STOP_SHORT, STOP_ZEROS } from './status'
import { xxh3_64 } from './xxh3'

const HEADER: usize = 32
const LENGTH_MAX: u32 = 64 * 1024 * 1024 - 32
const KIND_LAST: u32 = 12
const KIND_MARK: u32 = 254
const KIND_FOOTER: u32 = 255

/**
 * Walks the frames in n bytes at p; writes the offset (from p) of each record frame to out, at most cap.
 * seedPtr: 8 bytes. result: u32 consumed, u32 stop, u64 nextLsn, u32 lastMark, u32 footer. `consumed` is the offset of the frame that stopped the scan;
 * behind it for Footer. Returns the count.
 */
export function wal_scan(p: usize, n: usize, firstLsn: u64, epoch: u64, seedPtr: usize, out: usize, cap: u32, result: usize): u32 {
  const seed = load<u64>(seedPtr)
  const end = p + n
  let at = p
  let lsn = firstLsn
  let count: u32 = 0
  let lastMark = NONE
  let footer = NONE
  let stop = STOP_END
  while (at < end) {
    if (count == cap) {
      stop = STOP_CAPACITY
      break
    }
    const left = end - at
    if (left < HEADER) {
      stop = STOP_SHORT
      break
    }
    const length = load<u32>(at, 8)
    if (length == 0 && isZeroHeader(at)) {
      stop = STOP_ZEROS
      break
    }
    if (length > LENGTH_MAX) {
      stop = STOP_LENGTH
      break
    }
    const total = (HEADER + length + 7) & ~(<usize>7)
    if (total > left) {
      stop = STOP_SHORT
      break
    }
    if (xxh3_64(at + 8, 24 + length, seed) != load<u64>(at)) {
      stop = STOP_CHECKSUM
      break
    }
    if (!isWellFormed(at) || !isPadded(at, length, total)) {
      stop = STOP_PADDING
      break
    }
    if (load<u64>(at, 16) != lsn) {
      stop = STOP_SEQUENCE
      break
    }
    if (load<u64>(at, 24) < epoch) {
      stop = STOP_EPOCH
      break
    }
    const kind: u32 = load<u8>(at, 12)
    const offset = <u32>(at - p)
    at += total
    if (kind <= KIND_LAST) {
      store<u32>(out + ((<usize>count) << 2), offset)
      count++
      lsn++
    } else if (kind == KIND_MARK) {
      lastMark = offset
    } else {
      footer = offset
      stop = STOP_FOOTER
      break
    }
  }
  store<u32>(result, <u32>(at - p))
  store<u32>(result, stop, 4)
  store<u64>(result, lsn, 8)
  store<u32>(result, lastMark, 16)
  store<u32>(result, footer, 20)
  return count
}

/** Offset of the first frame at an 8-byte step from p that verifies (any kind), or NONE. Cheap fields are looked at before anything is hashed. */
export function wal_resync(p: usize, n: usize, seedPtr: usize): u32 {
  const seed = load<u64>(seedPtr)
  for (let at: usize = 0; at < n && n - at >= HEADER; at += 8) {
    const frame = p + at
    if (!isWellFormed(frame)) continue
    const length = load<u32>(frame, 8)
    if (length > LENGTH_MAX) continue
    const total = (HEADER + length + 7) & ~(<usize>7)
    if (total > n - at) continue
    if (!isPadded(frame, length, total)) continue
    if (xxh3_64(frame + 8, 24 + length, seed) == load<u64>(frame)) return <u32>at
  }
  return NONE
}

/**
 * Makes a frame of the payload that already lies at p + 32: header, checksum, zero padding. Returns its total size, a multiple of 8; writes nothing behind it.
 */
export function frame_seal(p: usize, length: u32, kind: u32, flags: u32, local: u32, lsnLo: u32, lsnHi: u32, epochLo: u32, epochHi: u32, seedPtr: usize): u32 {
  const total = (HEADER + length + 7) & ~(<usize>7)
  // The padding is at most 7 bytes of the last 8: zero them one by one, the payload's own bytes stay.
  for (let at = p + HEADER + length; at < p + total; at++) store<u8>(at, 0)
  store<u32>(p, length, 8)
  store<u32>(p, (kind & 255) | ((flags & 255) << 8) | (local << 16), 12)
  store<u32>(p, lsnLo, 16)
  store<u32>(p, lsnHi, 20)
  store<u32>(p, epochLo, 24)
  store<u32>(p, epochHi, 28)
  store<u64>(p, xxh3_64(p + 8, 24 + length, load<u64>(seedPtr)))
  return <u32>total
}

/** As frame_seal, for a payload that lies elsewhere: copied to p + 32 first. */
export function frame_write(p: usize, payload: usize, length: u32, kind: u32, flags: u32, local: u32, lsnLo: u32, lsnHi: u32, epochLo: u32, epochHi: u32, seedPtr: usize): u32 {
  memory.copy(p + HEADER, payload, length)
  return frame_seal(p, length, kind, flags, local, lsnLo, lsnHi, epochLo, epochHi, seedPtr)
}

/** Kind on the list, no undefined bit in flags and local. */
// @ts-ignore: decorator
@inline
function isWellFormed(frame: usize): bool {
  const word = load<u32>(frame, 12)
  if (word & 0xfffefc00) return false
  const kind = word & 255
  return kind - 1 < KIND_LAST || kind >= KIND_MARK
}

// @ts-ignore: decorator
@inline
function isPadded(frame: usize, length: u32, total: usize): bool {
  const used = HEADER + length
  if (used == total) return true
  // The last word holds 1-7 payload or header bytes, then the padding.
  return load<u64>(frame + total - 8) >>> (<u64>((8 - (total - used)) << 3)) == 0
}

// @ts-ignore: decorator
@inline
function isZeroHeader(frame: usize): bool {
  return !v128.any_true(v128.or(v128.load(frame), v128.load(frame, 16)))
}
