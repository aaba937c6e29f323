// kernels/wal.ts: typed face of the frame kernels: scan, resync, seal (kernels.md section 4; bytes of a frame: format/frame.ts).
//
// The hot forms work on offsets in an instance's memory (the log reads segments into its own arena); `scanBytes` and `encodeFrame` copy.
// Invariant: an emitted offset is that of a frame whose checksum, bits, padding, LSN and epoch were all verified.
import { bytesIn, type KernelBytes, lengthOf, viewOf } from './buffer.ts'
import { kernels } from './instance.ts'
import type { KernelInstance } from './instance.ts'

/** Why a scan stopped, by name; what it means is decided by whoever keeps the log. */
export const WAL_STOP = {
  end: 0,
  capacity: 1,
  zeros: 2,
  short: 3,
  length: 4,
  checksum: 5,
  sequence: 6,
  epoch: 7,
  padding: 8,
  footer: 9,
} as const
export type WalStop = (typeof WAL_STOP)[keyof typeof WAL_STOP]

const NAMES = ['end', 'capacity', 'zeros', 'short', 'length', 'checksum', 'sequence', 'epoch', 'padding', 'footer'] as const

/**
 * Name of a stop code, for messages.
 *
 * @example walStopName(WAL_STOP.checksum) // 'checksum'
 */
export function walStopName(stop: WalStop): string {
  return NAMES[stop]
}

const HEADER_BYTES = 32
const PAYLOAD_BYTES_MAX = 64 * 1024 * 1024 - HEADER_BYTES
const RESULT_BYTES = 24
const NONE = 0xffffffff
const TWO_32 = 4_294_967_296

export interface WalScan {
  /** Record frames found. */
  readonly count: number
  /** Offset of the frame that stopped the scan; behind it for footer; where to go on for capacity. */
  readonly consumed: number
  readonly stop: WalStop
  /** LSN the next record must have. */
  readonly nextLsn: bigint
  /** Offset of the last mark seen, -1 = none. */
  readonly lastMark: number
  /** Offset of the footer, -1 = none. */
  readonly footer: number
}

export interface WalScanInput {
  /** Address and size of the bytes to scan; the first frame begins at `p`. */
  readonly p: number
  readonly bytes: number
  /** LSN of the first record. */
  readonly firstLsn: bigint
  /** Epoch of the segment: frames of a lower one stop the scan. */
  readonly epoch: bigint
  /** Seed of the segment. */
  readonly seed: bigint
  /** Address of `capacity` u32 for the offsets (relative to `p`). */
  readonly out: number
  readonly capacity: number
}

/** Scan frames that lie in the instance's memory; offsets go to `out`. */
export function scanInPlace(k: KernelInstance, input: WalScanInput): WalScan {
  const mark = k.arena.mark()
  try {
    const at = k.arena.reserve(8 + RESULT_BYTES)
    const view = k.view
    view.setBigUint64(at, input.seed, true)
    const result = at + 8
    const count = k.exports.wal_scan(input.p, input.bytes, input.firstLsn, input.epoch, at, input.out, input.capacity, result) >>> 0
    return {
      count,
      consumed: view.getUint32(result, true),
      stop: view.getUint32(result + 4, true) as WalStop,
      nextLsn: view.getBigUint64(result + 8, true),
      lastMark: offsetOrNone(view.getUint32(result + 16, true)),
      footer: offsetOrNone(view.getUint32(result + 20, true)),
    }
  } finally {
    k.arena.rewind(mark)
  }
}

/** Offset from `p` of the first frame at an 8-byte step that verifies under `seed`, or -1. */
export function resyncInPlace(k: KernelInstance, p: number, bytes: number, seed: bigint): number {
  const mark = k.arena.mark()
  try {
    const at = k.arena.reserve(8)
    k.view.setBigUint64(at, seed, true)
    return offsetOrNone(k.exports.wal_resync(p, bytes, at) >>> 0)
  } finally {
    k.arena.rewind(mark)
  }
}

export interface WalBytesScan extends WalScan {
  /** Offsets of the record frames in the bytes scanned. */
  readonly offsets: Uint32Array<ArrayBuffer>
}

/**
 * Find the frames of a log in bytes, from the first one on: each one emitted has its checksum, padding, LSN and epoch verified.
 *
 * @param bytes  frames, the first one at byte 0; a KernelBuffer is read in place
 * @param o  LSN of the first record, epoch and seed of the segment; `capacity`: most offsets (all when left out; go on at `consumed`)
 * @returns offsets of the records, and why and where the scan stopped
 * @throws RangeError for a number that is out of range; InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @cost one pass at about the speed of `xxh3`, and one copy in
 * @example const { offsets, stop, consumed } = scanBytes(bytes, { firstLsn: 1n, epoch: 1n, seed })
 */
export function scanBytes(bytes: KernelBytes, o: { firstLsn: bigint; epoch: bigint; seed: bigint; capacity?: number }): WalBytesScan {
  for (const name of ['firstLsn', 'epoch', 'seed'] as const) checkU64(name, o[name])
  if (o.capacity !== undefined) checkWhole('capacity', o.capacity, Number.MAX_SAFE_INTEGER)
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const n = lengthOf(bytes)
    const p = bytesIn(k, bytes)
    // No frame is shorter than its header, so that many offsets always fit.
    const most = Math.floor(n / HEADER_BYTES) + 1
    const capacity = Math.min(most, o.capacity ?? most)
    const out = k.arena.reserve(capacity * 4)
    const scan = scanInPlace(k, { p, bytes: n, firstLsn: o.firstLsn, epoch: o.epoch, seed: o.seed, out, capacity })
    return { ...scan, offsets: k.u32.slice(out >>> 2, (out >>> 2) + scan.count) }
  } finally {
    k.arena.rewind(mark)
  }
}

/**
 * Offset of the first frame that verifies, at or behind `start`, or -1: what is left behind a damaged one.
 *
 * @param seed  of the segment
 * @param start  a multiple of 8
 * @throws RangeError for a start or seed that is none; InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @example resyncBytes(bytes, seed, damagedAt + 8)
 */
export function resyncBytes(bytes: KernelBytes, seed: bigint, start = 0): number {
  checkU64('seed', seed)
  if (!(Number.isSafeInteger(start) && start >= 0 && start % 8 === 0)) throw new RangeError(`start ${start}: a multiple of 8 from 0 on expected`)
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const rest = viewOf(bytes).subarray(start)
    const n = rest.byteLength
    const found = resyncInPlace(k, bytesIn(k, rest), n, seed)
    return found < 0 ? -1 : start + found
  } finally {
    k.arena.rewind(mark)
  }
}

export interface FrameFields {
  readonly kind: number
  readonly flags: number
  readonly local: number
  readonly lsn: number
  readonly epoch: number
}

/**
 * Make a frame of the payload that already lies at p + 32 of the instance's memory: header, checksum, zero padding.
 *
 * @param seedPtr  address of the segment's seed, 8 bytes
 * @returns bytes of the whole frame, a multiple of 8
 */
export function sealFrame(k: KernelInstance, p: number, length: number, f: FrameFields, seedPtr: number): number {
  return k.exports.frame_seal(p, length, f.kind, f.flags, f.local, f.lsn, f.lsn / TWO_32, f.epoch, f.epoch / TWO_32, seedPtr)
}

/**
 * A whole frame of a payload: header, checksum, zero padding to 8 bytes.
 *
 * @param payload  at most 64 MiB - 32
 * @param f  kind and flags below 2^8, local bits below 2^16, LSN and epoch below 2^53
 * @param seed  of the segment
 * @throws RangeError for a payload, field or seed that does not fit; InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @example encodeFrame(payload, { kind: 1, flags: 0, local: 0, lsn: 1, epoch: 1 }, seed)
 */
export function encodeFrame(payload: KernelBytes, f: FrameFields, seed: bigint): Uint8Array<ArrayBuffer> {
  const n = lengthOf(payload)
  if (n > PAYLOAD_BYTES_MAX) throw new RangeError(`a frame payload of ${n} bytes: ${PAYLOAD_BYTES_MAX} at most`)
  checkWhole('kind', f.kind, 0xff)
  checkWhole('flags', f.flags, 0xff)
  checkWhole('local', f.local, 0xffff)
  checkWhole('lsn', f.lsn, Number.MAX_SAFE_INTEGER)
  checkWhole('epoch', f.epoch, Number.MAX_SAFE_INTEGER)
  checkU64('seed', seed)
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const from = bytesIn(k, payload)
    const seedPtr = k.arena.reserve(8)
    const p = k.arena.reserve(HEADER_BYTES + n + 8)
    k.view.setBigUint64(seedPtr, seed, true)
    k.u8.copyWithin(p + HEADER_BYTES, from, from + n)
    return k.copyOut(p, sealFrame(k, p, n, f, seedPtr))
  } finally {
    k.arena.rewind(mark)
  }
}

function offsetOrNone(offset: number): number {
  return offset === NONE ? -1 : offset
}

function checkWhole(name: string, value: number, max: number): void {
  if (!(Number.isInteger(value) && value >= 0 && value <= max)) throw new RangeError(`${name} ${value}: a whole number from 0 to ${max} expected`)
}

function checkU64(name: string, value: bigint): void {
  if (!(typeof value === 'bigint' && value >= 0n && value < 1n << 64n)) throw new RangeError(`${name} ${value}: a bigint from 0 to 2^64 - 1 expected`)
}
