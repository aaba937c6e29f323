// log/segment-reader.ts: what a segment file says: its head, all of its frames in one pass, its records as batches, a digest inside it.
//
// Invariant: every answer is made of verified bytes; what does not verify is CorruptionError with file, offset and LSN, never a shorter answer.
import { CorruptionError, HistoryUnavailableError, StoreTooNewError } from '../errors.ts'
import {
  DecodeError,
  FLAG_MORE,
  FRAME_HEADER_BYTES,
  frameBytes,
  KIND_FOOTER,
  KIND_MARK,
  LOCAL_SYNCED_BEFORE,
  MARK_BYTES,
  readFooterPayload,
  readMarkPayload,
  readSegmentHeader,
  SEGMENT_HEADER_BYTES,
  SEGMENT_VERSION,
  type SegmentFooter,
  toHex,
} from '../format/index.ts'
import type { Root, SegmentFile } from '../root/index.ts'

import { advanceOver } from './chain.ts'
import type { Digest, Epoch, LogBatch, Lsn } from './commit-log.ts'
import { hash64, sameBytes } from './digest.ts'
import { forEachFrame, FrameCursor, type FrameSource, scanFrames, scanKernel, type Window } from './frame-cursor.ts'
import { type DigestPoint, pointBefore, type SegmentInfo } from './segment-list.ts'
import { STOP } from './tail.ts'

export interface SegmentHead extends FrameSource {
  readonly firstLsn: number
  readonly mandate: number
  /** digestAt(firstLsn - 1), from the first mark. */
  readonly digest: Digest
}

/** Bytes of header and first mark. */
export const HEAD_BYTES: number = SEGMENT_HEADER_BYTES + MARK_BYTES

export async function readHead(file: SegmentFile, name: string, firstLsn: number, storeId: Uint8Array): Promise<SegmentHead> {
  const bytes = new Uint8Array(HEAD_BYTES)
  const n = await file.read(0, bytes)
  return headIn(bytes.subarray(0, n), name, firstLsn, storeId)
}

/** Header and first mark, which a segment begins with. Both were synced before it got its name, so anything wrong with them is damage. */
export function headIn(front: Uint8Array, name: string, firstLsn: number, storeId: Uint8Array): SegmentHead {
  const bytes = front.subarray(0, HEAD_BYTES)
  const n = bytes.length
  let header: ReturnType<typeof readSegmentHeader>
  try {
    header = readSegmentHeader(bytes.subarray(0, Math.min(n, SEGMENT_HEADER_BYTES)), hash64)
  } catch (cause) {
    if (!(cause instanceof DecodeError)) throw cause
    throw corrupt(name, cause.message, cause.offset, firstLsn, cause)
  }
  if ('version' in header) {
    throw new StoreTooNewError(`${name} has segment version ${header.version}; this varve reads ${SEGMENT_VERSION}`, {
      details: { found: header.version, supported: SEGMENT_VERSION },
    })
  }
  if (header.firstLsn !== firstLsn) throw corrupt(name, `its header says it begins at LSN ${header.firstLsn}`, 24, firstLsn)
  const scan = scanFrames(bytes.subarray(SEGMENT_HEADER_BYTES, n), firstLsn, header)
  if (scan.consumed !== MARK_BYTES || bytes[SEGMENT_HEADER_BYTES + 12] !== KIND_MARK) {
    throw corrupt(name, 'its first mark does not verify', SEGMENT_HEADER_BYTES, firstLsn)
  }
  const mark = readMarkPayload(bytes, SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES)
  if (!sameBytes(mark.storeId, storeId))
    throw corrupt(name, `it belongs to store ${toHex(mark.storeId)}, not to ${toHex(storeId)}`, SEGMENT_HEADER_BYTES, firstLsn)
  return { epoch: header.epoch, seed: header.seed, mandate: header.mandate, firstLsn, digest: mark.digest.slice() as Digest }
}

export interface SegmentScan {
  readonly stop: number
  readonly stopOffset: number
  readonly nextLsn: number
  /** End of the last append that is whole, and its last LSN. */
  readonly wholeEnd: number
  readonly wholeLsn: number
  /** Offset of the last frame that says everything before it was synced. */
  readonly lastSynced: number
  readonly lastSyncedLsn: number
  readonly points: DigestPoint[]
  readonly footer: SegmentFooter | undefined
}

export interface ScanStart {
  readonly offset: number
  readonly lsn: number
}

export interface ScanOptions {
  readonly start?: ScanStart
  /** File offset not to look beyond. */
  readonly limit?: number
  /** LSN behind which records do not count. */
  readonly until?: number
  /** The log, or the segment, is known to end at `until`, so the record there ends an append. */
  readonly closed?: boolean
  /** What lies at the start, where it was read before. */
  readonly held?: Uint8Array<ArrayBuffer>
  /** Told of each window. */
  readonly seen?: (window: Window) => void
}

/**
 * Walks a segment to where the scan stops.
 *
 * An append ends with its last record; one that a replica got only the beginning of, or was cut back into, with the mark or footer behind it.
 */
export async function scanSegment(
  file: SegmentFile,
  head: { readonly epoch: number; readonly seed: bigint; readonly firstLsn: number },
  o: ScanOptions = {},
): Promise<SegmentScan> {
  const start = o.start ?? firstFrame(head)
  const until = o.until ?? Infinity
  const cursor = new FrameCursor(file, head, { ...start, limit: o.limit ?? file.size, held: o.held })
  const points: DigestPoint[] = []
  let footer: SegmentFooter | undefined
  let [wholeEnd, wholeLsn] = [start.offset, start.lsn - 1]
  let [lastSynced, lastSyncedLsn] = [start.offset, start.lsn]
  let lsn = start.lsn
  /** More records of an append are to come. */
  let isOpen = false
  let window: Window | undefined
  for (let next = await cursor.next(); next !== undefined; next = await cursor.next()) {
    window = next
    o.seen?.(next)
    const { base, bytes } = next
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    forEachFrame(next, (at, kind, flags, local) => {
      const closes = isOpen && lsn - 1 <= until && (kind === KIND_MARK || kind === KIND_FOOTER)
      if (lsn > until && kind !== KIND_FOOTER && !closes) {
        if (kind !== KIND_MARK) lsn++
        return
      }
      if ((local & LOCAL_SYNCED_BEFORE) !== 0) {
        lastSynced = base + at
        lastSyncedLsn = lsn
      }
      if (kind === KIND_MARK) {
        const { digest } = readMarkPayload(bytes, at + FRAME_HEADER_BYTES)
        points.push({ lsn: lsn - 1, offset: base + at, digest: digest.slice() as Digest })
        if (closes) [wholeEnd, wholeLsn, isOpen] = [base + at + MARK_BYTES, lsn - 1, false]
      } else if (kind === KIND_FOOTER) {
        footer = readFooterPayload(bytes, at + FRAME_HEADER_BYTES)
        if (closes) [wholeEnd, wholeLsn, isOpen] = [base + at, lsn - 1, false]
      } else {
        lsn++
        isOpen = (flags & FLAG_MORE) !== 0
        if (!isOpen || (o.closed === true && lsn - 1 === until)) {
          wholeEnd = base + at + frameBytes(view.getUint32(at + 8, true))
          wholeLsn = lsn - 1
        }
      }
    })
  }
  const stopOffset = window === undefined ? start.offset : window.base + window.consumed
  return { stop: window?.stop ?? STOP.end, stopOffset, nextLsn: lsn, wholeEnd, wholeLsn, lastSynced, lastSyncedLsn, points, footer }
}

export function firstFrame(head: { readonly firstLsn: number }): ScanStart {
  return { offset: SEGMENT_HEADER_BYTES, lsn: head.firstLsn }
}

/** Verified records start < lsn <= end of one segment, in batches. `digestAt` answers batch.digest(). */
export async function* readSegment(
  root: Root,
  info: SegmentInfo,
  start: number,
  end: number,
  o: { readonly digestAt: (lsn: Lsn) => Promise<Digest>; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<LogBatch> {
  const { kept } = info
  if (kept !== undefined) {
    for (const window of kept) {
      o.signal?.throwIfAborted()
      const last = window.nextLsn - 1
      if (last > start && window.offsets.length > 0) yield batchOf(window, info, start, Math.min(last, end), o.digestAt)
      if (last >= end) return
    }
    throw corrupt(info.name, `its records end before LSN ${end}`, info.used, end)
  }
  const file = await root.segment(info.name, { open: 'read' })
  try {
    const point = pointBefore(info.points, start)
    const from = point === undefined ? firstFrame(info) : { offset: point.offset, lsn: point.lsn + 1 }
    const cursor = new FrameCursor(file, info, { ...from, limit: info.used, isWanted: end >= info.lastLsn })
    for (;;) {
      o.signal?.throwIfAborted()
      const window = await cursor.next()
      if (window === undefined) throw corrupt(info.name, `its records end before LSN ${end}`, info.used, end)
      const last = window.nextLsn - 1
      if (last > start && window.offsets.length > 0) yield batchOf(window, info, start, Math.min(last, end), o.digestAt)
      if (last >= end) return
      if (window.final) {
        throw corrupt(info.name, `a frame of LSN ${window.nextLsn} does not verify (scan stop ${window.stop})`, window.base + window.consumed, window.nextLsn)
      }
    }
  } finally {
    await file.close()
  }
}

/** digestAt(lsn) for an LSN in firstLsn - 1 .. lastLsn of this segment: from the last mark before it, one short fold. */
export async function digestInside(root: Root, info: SegmentInfo, lsn: number): Promise<Digest> {
  const known = info.kept === undefined ? undefined : foldOver(info.kept, pointBefore(info.points, lsn), lsn)
  if (known !== undefined) return known
  const file = await root.segment(info.name, { open: 'read' })
  try {
    if (!info.allPoints) await loadPoints(file, info)
    const point = pointBefore(info.points, lsn)
    if (point === undefined) throw corrupt(info.name, `no mark before LSN ${lsn}`, SEGMENT_HEADER_BYTES, lsn)
    return await foldFrom(file, info, point, lsn, info.used, info.name)
  } finally {
    await file.close()
  }
}

/** As foldFrom, over windows that were read before. @returns undefined when they do not hold all that is needed */
export function foldOver(windows: readonly Window[], point: DigestPoint | undefined, lsn: number): Digest | undefined {
  if (point === undefined || (windows[0]?.firstLsn ?? Infinity) > point.lsn + 1) return undefined
  let { digest } = point
  let done = point.lsn
  for (const { bytes, offsets, consumed, firstLsn } of windows) {
    if (done >= lsn) break
    const wanted = offsets.subarray(Math.max(0, done + 1 - firstLsn), Math.max(0, lsn + 1 - firstLsn))
    digest = advanceOver(scanKernel(), digest, bytes.subarray(0, consumed), wanted)
    done += wanted.length
  }
  return done === lsn ? digest : undefined
}

/** Folds from a point to `lsn`; all frames between must lie before `limit`. */
export async function foldFrom(file: SegmentFile, source: FrameSource, point: DigestPoint, lsn: number, limit: number, name: string): Promise<Digest> {
  let { digest } = point
  let done = point.lsn
  const cursor = new FrameCursor(file, source, { offset: point.offset, lsn: point.lsn + 1, limit })
  while (done < lsn) {
    const window = await cursor.next()
    if (window === undefined) throw corrupt(name, `its records end before LSN ${lsn}`, limit, lsn)
    const wanted = window.offsets.subarray(0, lsn - done)
    digest = advanceOver(scanKernel(), digest, window.bytes, wanted)
    done += wanted.length
    if (window.final && done < lsn) {
      throw corrupt(name, `a frame of LSN ${window.nextLsn} does not verify (scan stop ${window.stop})`, window.base + window.consumed, window.nextLsn)
    }
  }
  return digest
}

async function loadPoints(file: SegmentFile, info: SegmentInfo): Promise<void> {
  const start = info.points.at(-1) ?? { offset: SEGMENT_HEADER_BYTES, lsn: info.firstLsn - 1 }
  const scan = await scanSegment(file, info, { start: { offset: start.offset, lsn: start.lsn + 1 }, limit: info.used })
  info.points = [...info.points, ...scan.points.filter((point) => point.lsn > start.lsn)]
  info.allPoints = true
}

function batchOf(window: Window, info: SegmentInfo, start: number, end: number, digestAt: (lsn: Lsn) => Promise<Digest>): LogBatch {
  const first = Math.max(window.firstLsn, start + 1)
  const from = first - window.firstLsn
  const listed = window.offsets.subarray(from, end - window.firstLsn + 1)
  const shift = listed[0]!
  const lastAt = listed.at(-1)!
  const until = lastAt + frameBytes(new DataView(window.bytes.buffer, window.bytes.byteOffset).getUint32(lastAt + 8, true))
  return new Batch(first, end, info.epoch, window.bytes.subarray(shift, until), shift === 0 ? listed : listed.map((offset) => offset - shift), digestAt)
}

/** Records as one run of bytes and the offsets of their frames. */
export class Batch implements LogBatch {
  readonly first: Lsn
  readonly last: Lsn
  readonly epoch: Epoch
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  readonly #digestAt: (lsn: Lsn) => Promise<Digest>

  constructor(first: number, last: number, epoch: number, bytes: Uint8Array, offsets: Uint32Array, digestAt: (lsn: Lsn) => Promise<Digest>) {
    this.first = BigInt(first) as Lsn
    this.last = BigInt(last) as Lsn
    this.epoch = BigInt(epoch) as Epoch
    this.bytes = bytes
    this.offsets = offsets
    this.#digestAt = digestAt
  }

  frames(): readonly Uint8Array[] {
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length)
    return Array.from(this.offsets, (at) => this.bytes.subarray(at, at + frameBytes(view.getUint32(at + 8, true))))
  }

  digest(): Promise<Digest> {
    return this.#digestAt(this.last)
  }
}

export function corrupt(file: string, why: string, offset: number, lsn: number, cause?: unknown): CorruptionError {
  return new CorruptionError('log.corrupt', `${file} at offset ${offset}: ${why}`, {
    details: { file, offset, lsn: BigInt(lsn) },
    ...(cause === undefined ? {} : { cause }),
  })
}

export function unavailable(asked: number, tail: number, head: number, cause?: unknown): HistoryUnavailableError {
  return new HistoryUnavailableError(`LSN ${asked} is not in the log: it holds what is after ${tail}, up to ${head}`, {
    details: { asked: BigInt(asked), floor: BigInt(tail) },
    ...(cause === undefined ? {} : { cause }),
  })
}
