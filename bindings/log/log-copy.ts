// log/log-copy.ts: the records of one log written again into another root: what a backup and a restore have for a log.
//
//   segments   one epoch each, up to 16 MiB, sealed by their footer from the start       slots   one epoch each, up to 1 MiB; an epoch record begins one
//
// Record bytes stay as they are, and so digestAt(n) does; frames are sealed anew, under a seed and (in the marks of segments) a store id of the copy. Every file is
// put whole. Invariant: the files written so far hold whole appends only and end at `lsn`; nobody reads them before the mark of the copy says so (backup-mark.ts).
import { assert } from '../assert.ts'
import {
  ATTEMPT_BYTES,
  decodeEpochRecord,
  FLAG_MORE,
  FOOTER_BYTES,
  FOOTER_CLOSED,
  FOOTER_ROLLED,
  FRAME_HEADER_BYTES,
  KIND_EPOCH,
  readFrameHeader,
  WRITER_ID_BYTES,
  writeSegmentHeader,
} from '../format/index.ts'
import type { World } from '../runtime/index.ts'

import type { CleanMark } from './clean.ts'
import type { Digest, LogBatch, LogRecord, RecordKind } from './commit-log.ts'
import { hash64 } from './digest.ts'
import { sealFooter } from './footer.ts'
import { appendBytes, FRONT_OF, GroupBuffer } from './group-buffer.ts'
import type { LogLayout } from './identity.ts'
import { segmentName } from './segment-list.ts'
import { slotBytes, slotName } from './slot.ts'

const SEGMENT_BYTES = 16 * 1024 * 1024
const SLOT_BYTES = 1024 * 1024
const SLOT_RECORDS = 256
/** Frames made at one time; in a segment a mark stands before each. */
const GROUP_BYTES = 256 * 1024
const GROUP_RECORDS = 1024
/** Of frames, between two pauses. */
const PAUSE_BYTES = 128 * 1024

export interface LogCopyOptions {
  readonly world: World
  /** 16 bytes: of the copy. */
  readonly storeId: Uint8Array
  readonly layout: LogLayout
  /** Where the copy has got to: the first record added is the next one. */
  readonly lsn: number
  /** digestAt(lsn). */
  readonly digest: Digest
  /** Highest epoch of the records up to `lsn`. */
  readonly epoch: number
  /** By whose decision records of that epoch were written, where their epoch record is not copied (format/mandate.ts). */
  readonly mandateOf: (epoch: number) => number
  /** Told of each file. */
  readonly wrote: (bytes: number) => void
  /** Between pieces of work: lets others have their turn. */
  readonly pause: () => Promise<void> | undefined
  /** Default 16 MiB. */
  readonly segmentBytes?: number
}

/** Where files go: whole, durable but for their names. */
export interface CopyPlace {
  put(name: string, bytes: Uint8Array): Promise<void>
}

/** The segment being filled. */
interface Filling {
  readonly first: number
  readonly epoch: number
  readonly seed: bigint
  readonly mandate: number
  readonly parts: Uint8Array[]
  size: number
}

export class LogCopy {
  readonly #place: CopyPlace
  readonly #o: LogCopyOptions
  readonly #group: GroupBuffer
  readonly #digest: Digest
  readonly #segmentBytes: number
  /** Records of an append whose last one has not come yet, off the batch they came in. */
  #started: LogRecord[] = []
  #segment: Filling | undefined
  #seed = 0n
  #epoch: number
  #mandate: number
  #highest: number
  #next: number
  #last: Omit<CleanMark, 'storeId'> | undefined

  constructor(place: CopyPlace, o: LogCopyOptions) {
    this.#place = place
    this.#o = o
    this.#group = o.layout === 'slots' ? GroupBuffer.full(SLOT_BYTES, SLOT_RECORDS) : GroupBuffer.full(GROUP_BYTES, GROUP_RECORDS)
    this.#digest = o.digest.slice() as Digest
    this.#segmentBytes = o.segmentBytes ?? SEGMENT_BYTES
    this.#epoch = o.epoch
    this.#mandate = o.mandateOf(o.epoch)
    this.#highest = o.epoch
    this.#next = o.lsn + 1
  }

  /** The last LSN whose file is there, or will be after finish(). */
  get lsn(): number {
    return this.#next - 1
  }

  /** Verified records, the next ones. */
  async add(batch: LogBatch): Promise<void> {
    assert(Number(batch.first) === this.#next + this.#started.length, 'records are copied in order', batch.first)
    const view = new DataView(batch.bytes.buffer, batch.bytes.byteOffset, batch.bytes.length)
    const epoch = Number(batch.epoch)
    let pausedAt = 0
    for (const at of batch.offsets) {
      const { kind, length, flags } = readFrameHeader(view, at)
      this.#started.push({ kind: kind as RecordKind, payload: batch.bytes.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + length) })
      if ((flags & FLAG_MORE) !== 0) continue
      const append = this.#started
      this.#started = []
      await this.#append(append, epoch)
      if (at - pausedAt < PAUSE_BYTES) continue
      pausedAt = at
      await this.#o.pause()
    }
    if (this.#started.length > 0) this.#started = this.#started.map(({ kind, payload }) => ({ kind, payload: payload.slice() }))
  }

  /** Everything is in files that are durable but for their names; `clean` states the last segment. What remains of an append that was cut is left out. */
  async finish(): Promise<{ readonly lsn: number; readonly digest: Digest; readonly clean: Omit<CleanMark, 'storeId'> | undefined }> {
    if (this.#o.layout === 'slots') await this.#flush(this.#group)
    else await this.#seal(FOOTER_CLOSED)
    return { lsn: this.lsn, digest: this.#digest.slice() as Digest, clean: this.#last }
  }

  async #append(records: readonly LogRecord[], epoch: number): Promise<void> {
    const bytes = appendBytes(records)
    const isSlots = this.#o.layout === 'slots'
    const begins = epoch !== this.#epoch || (isSlots && records[0]!.kind === KIND_EPOCH)
    if (isSlots) {
      if (begins || !this.#group.fits(bytes, records.length) || this.#group.bytes + bytes > SLOT_BYTES) await this.#flush(this.#group)
    } else if (this.#segment !== undefined && (begins || this.#filled() + bytes > this.#segmentBytes)) await this.#seal(FOOTER_ROLLED)
    if (epoch !== this.#epoch)
      this.#mandate = records[0]!.kind === KIND_EPOCH ? (decodeEpochRecord(records[0]!.payload).mandate ?? 0) : this.#o.mandateOf(epoch)
    this.#epoch = epoch
    this.#highest = Math.max(this.#highest, epoch)
    if (!isSlots) this.#segment ??= { first: this.#next, epoch, seed: this.#newSeed(), mandate: this.#mandate, parts: [], size: 0 }
    let group = this.#group
    if (!group.fits(bytes, records.length)) {
      await this.#flush(group)
      if (!group.fits(bytes, records.length)) group = GroupBuffer.jumbo(records)
    }
    if (group.count === 0) group.begin(this.#next, epoch, isSlots ? this.#newSeed() : this.#seed)
    group.add(records)
    this.#next += records.length
    if (group !== this.#group) await this.#flush(group)
  }

  #newSeed(): bigint {
    this.#seed = new DataView(this.#o.world.random.bytes(8).slice().buffer).getBigUint64(0, true)
    return this.#seed
  }

  /** Bytes of the segment with what waits for it, marks and footer included. */
  #filled(): number {
    return this.#segment!.size + FRONT_OF.header + this.#group.bytes + FRONT_OF.mark + FOOTER_BYTES
  }

  async #flush(group: GroupBuffer): Promise<void> {
    if (group.count === 0) return
    const segment = this.#segment
    if (segment === undefined) await this.#putSlot(group)
    else {
      group.finish(segment.seed, true, { digest: this.#digest, storeId: this.#o.storeId })
      const start = segment.size === 0 ? 'header' : 'mark'
      if (start === 'header') {
        const { epoch, first: firstLsn, seed, mandate } = segment
        writeSegmentHeader(group.header(), { epoch, firstLsn, seed, mandate }, hash64)
      }
      const bytes = group.view(start).slice()
      segment.parts.push(bytes)
      segment.size += bytes.length
    }
    group.advance(this.#digest)
    group.reset()
  }

  async #putSlot(group: GroupBuffer): Promise<void> {
    const { random } = this.#o.world
    group.finish(this.#seed, true)
    const header = {
      count: group.count,
      firstLsn: group.first,
      epoch: this.#epoch,
      highestEpoch: this.#highest,
      seed: this.#seed,
      writerId: random.bytes(WRITER_ID_BYTES),
      attempt: random.bytes(ATTEMPT_BYTES),
      digest: this.#digest,
    }
    await this.#put(slotName(group.first), slotBytes(header, group.view('frames')))
  }

  async #seal(reason: number): Promise<void> {
    await this.#flush(this.#group)
    const segment = this.#segment
    if (segment === undefined) return
    this.#segment = undefined
    const { first, epoch, seed, parts, size } = segment
    const records = this.#next - first
    const lastLsn = this.#next - 1
    parts.push(sealFooter({ reason, records, firstLsn: first, lastLsn, bytesUsed: size, digest: this.#digest }, epoch, seed))
    const bytes = new Uint8Array(size + FOOTER_BYTES)
    let at = 0
    for (const part of parts) {
      bytes.set(part, at)
      at += part.length
    }
    const name = segmentName(first)
    await this.#put(name, bytes)
    this.#last = { lsn: lastLsn, count: records, digest: this.#digest.slice(), segment: name, bytes: bytes.length }
  }

  async #put(name: string, bytes: Uint8Array): Promise<void> {
    await this.#place.put(name, bytes)
    this.#o.wrote(bytes.length)
  }
}
