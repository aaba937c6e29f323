// bench/kernels/wal-scan.ts: checksum and order of every frame in 16 MiB of log, beside a loop over Buffer with zlib.crc32 as its checksum.
//
// The frames are made in kernel memory, as the log reads its segments there; "with-copies" scans bytes of the JavaScript heap.
import { crc32 } from 'node:zlib'

import { encodeFrame, kernels, scanBytes } from '../../bindings/kernels/index.ts'
import { entrant, KIB, type KernelSuite, MIB, noise, race, sizeName } from './suite.ts'

const SEED = 0x1234_5678n
const HEADER_BYTES = 32
const SEGMENT_BYTES = 16 * MIB
/** Payload -> least ratio. */
const TARGETS: Readonly<Record<number, number>> = { 64: 8, [KIB]: 3.5, [64 * KIB]: 2.5 }

export async function walScan(suite: KernelSuite): Promise<void> {
  const k = kernels()
  for (const payloadBytes of suite.isQuick ? [64, KIB] : [64, 72, KIB, 64 * KIB]) {
    const payload = noise(payloadBytes, 2)
    const frames: Uint8Array[] = []
    for (let lsn = 1, bytes = 0; bytes < SEGMENT_BYTES; lsn++) {
      frames.push(encodeFrame(payload, { kind: 1, flags: 0, local: 0, lsn, epoch: 1 }, SEED))
      bytes += frames.at(-1)!.length
    }
    const segment = new Uint8Array(Buffer.concat(frames))
    const crcs = withCrcs(segment)
    const p = suite.place(segment)
    const seed = suite.room(8)
    const result = suite.room(24)
    const offsets = suite.room(4 * (frames.length + 1))
    k.view.setBigUint64(seed, SEED, true)
    const isAll = (count: number): boolean => count === frames.length
    const target = TARGETS[payloadBytes]
    await race(suite, {
      name: `wal-scan.${sizeName(payloadBytes)}`,
      unit: 'frames/s',
      amount: frames.length,
      ours: {
        'in-memory': entrant(() => k.exports.wal_scan(p, segment.length, 1n, 1n, seed, offsets, frames.length + 1, result), isAll),
        'with-copies': entrant(() => scanBytes(segment, { firstLsn: 1n, epoch: 1n, seed: SEED }).count, isAll),
      },
      peers: { 'buffer+zlib.crc32': entrant(() => scanBuffer(crcs), isAll) },
      ...(target === undefined ? {} : { targets: { 'in-memory': { 'buffer+zlib.crc32': target } } }),
    })
  }
}

/** The same frames with a CRC-32 in the place of the hash. */
function withCrcs(segment: Uint8Array): Buffer {
  const log = Buffer.from(segment)
  for (let at = 0; at < log.length;) {
    const length = log.readUInt32LE(at + 8)
    log.writeUInt32LE(crc32(log.subarray(at + 8, at + HEADER_BYTES + length)), at)
    at += (HEADER_BYTES + length + 7) & ~7
  }
  return log
}

/** Offsets of the frames that verify and count up, as a log in plain JavaScript finds them. */
function scanBuffer(log: Buffer): number {
  const offsets: number[] = []
  for (let at = 0, lsn = 1; log.length - at >= HEADER_BYTES; lsn++) {
    const length = log.readUInt32LE(at + 8)
    if (length > log.length - at - HEADER_BYTES) break
    if (crc32(log.subarray(at + 8, at + HEADER_BYTES + length)) !== log.readUInt32LE(at)) break
    if (log.readUInt32LE(at + 16) !== lsn || log.readUInt32LE(at + 20) !== 0) break
    offsets.push(at)
    at += (HEADER_BYTES + length + 7) & ~7
  }
  return offsets.length
}
