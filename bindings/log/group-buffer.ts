// log/group-buffer.ts: the records of one group as the bytes that will be written, in memory that never moves.
//
//   | 48 spare | segment header 64 | mark 80 | frame | frame | ... | mark 80          one region of a fixed kernel instance
//
// The last mark is there only where a replica received the beginning of an append: it says that the records before it count although more were to follow.
//
// Records are framed where they lie, so a group is written without a copy: alone, behind a mark, or behind header and mark as the birth of a segment.
// Invariant: after finish() no byte changes until reset(); the first frame is sealed last, for only then is it known whether all before it is synced.
import { assert } from '../assert.ts'
import {
  frameBytes,
  FLAG_MORE,
  KIND_MARK,
  LOCAL_SYNCED_BEFORE,
  MARK_BYTES,
  MARK_PAYLOAD_BYTES,
  SEGMENT_HEADER_BYTES,
  writeMarkPayload,
} from '../format/index.ts'
import { KernelInstance } from '../kernels/index.ts'

import type { LogRecord } from './commit-log.ts'

export const GROUP_RECORDS_MAX = 1024
export const GROUP_BYTES_MAX: number = 4 * 1024 * 1024
/** What a handle begins with: most never need the full bound. */
const GROUP_BYTES_FIRST = 256 * 1024
/** An instance costs more than the buffers in it, whose pages nobody has touched: handles that are opened one after the other share one. */
const BUFFERS_OF_AN_INSTANCE = 8

const FRONT_BYTES = 192
const TWO_32 = 4_294_967_296

export type GroupStart = 'frames' | 'mark' | 'header'

/** Bytes that stand before the frames. */
export const FRONT_OF: Readonly<Record<GroupStart, number>> = { frames: 0, mark: MARK_BYTES, header: MARK_BYTES + SEGMENT_HEADER_BYTES }

export class GroupBuffer {
  /** LSN of the first record. */
  first = 0
  count = 0
  /** Bytes of the frames. */
  bytes = 0
  readonly capacityBytes: number
  readonly capacityRecords: number
  readonly #kernel: KernelInstance
  /** Views of memory that never grows. */
  readonly #u8: Uint8Array<ArrayBuffer>
  readonly #u32: Uint32Array<ArrayBuffer>
  readonly #frames: number
  readonly #offsets: number
  readonly #hashes: number
  readonly #seedAt: number
  readonly #stateAt: number
  #seed = -1n
  #finished = false
  /** digestAt(last), where the caller knew it before the group was written. */
  #chained: Uint8Array | undefined
  /** Store id: a mark follows the frames, and `bytes` has it. */
  #closedFor: Uint8Array | undefined
  /** Of all records. */
  epoch = 0
  /** By whose decision they were written, where the log does not say it of all (format/mandate.ts). */
  mandate = 0

  constructor(kernel: KernelInstance, capacityBytes: number, capacityRecords: number) {
    this.#kernel = kernel
    this.capacityBytes = capacityBytes
    this.capacityRecords = capacityRecords
    this.#frames = kernel.arena.reserve(FRONT_BYTES + capacityBytes + MARK_BYTES) + FRONT_BYTES
    this.#offsets = kernel.arena.reserve(capacityRecords * 4)
    this.#hashes = kernel.arena.reserve(capacityRecords * 32)
    this.#seedAt = kernel.arena.reserve(8)
    this.#stateAt = kernel.arena.reserve(32)
    this.#u8 = kernel.u8
    this.#u32 = kernel.u32
  }

  /** A buffer as a handle begins with. */
  static small(records: number = GROUP_RECORDS_MAX): GroupBuffer {
    if (records > GROUP_RECORDS_MAX) return sized(GROUP_BYTES_FIRST, records)
    const of = memoryFor(GROUP_BYTES_FIRST, GROUP_RECORDS_MAX)
    if (sharing === undefined) sharing = { kernel: new KernelInstance({ fixedBytes: BUFFERS_OF_AN_INSTANCE * of }), left: BUFFERS_OF_AN_INSTANCE }
    const { kernel } = sharing
    // Whoever has one keeps it, and with the last of them the instance goes.
    if (--sharing.left === 0) sharing = undefined
    return new GroupBuffer(kernel, GROUP_BYTES_FIRST, records)
  }

  /** A buffer of the full bound. */
  static full(bytes: number = GROUP_BYTES_MAX, records: number = GROUP_RECORDS_MAX): GroupBuffer {
    return sized(bytes, records)
  }

  /** A buffer of its own for frames of this many bytes. */
  static of(bytes: number, records: number): GroupBuffer {
    return sized(bytes, records)
  }

  /** A buffer of its own for one append that no usual one holds. */
  static jumbo(records: readonly LogRecord[]): GroupBuffer {
    return sized(appendBytes(records), records.length)
  }

  get last(): number {
    return this.first + this.count - 1
  }

  fits(bytes: number, records: number): boolean {
    return this.bytes + bytes <= this.capacityBytes && this.count + records <= this.capacityRecords
  }

  begin(first: number, epoch: number, seed: bigint, mandate: number = 0): void {
    assert(this.count === 0, 'a group begins empty', this.count)
    this.first = first
    this.epoch = epoch
    this.mandate = mandate
    this.#finished = false
    this.#setSeed(seed)
  }

  reset(): void {
    this.count = 0
    this.bytes = 0
    this.#chained = undefined
    this.#closedFor = undefined
  }

  /** Frames one append; the caller has asked `fits`. */
  add(records: readonly LogRecord[]): void {
    const n = records.length
    for (let i = 0; i < n; i++) {
      const record = records[i]!
      const payload = record.payload
      const at = this.#frames + this.bytes
      this.#u8.set(payload, at + 32)
      const words = this.#u32
      words[(this.#offsets >>> 2) + this.count] = this.bytes
      const flags = i + 1 < n ? FLAG_MORE : 0
      // What seal() needs to know again: length, kind and flags.
      words[(at >>> 2) + 2] = payload.length
      words[(at >>> 2) + 3] = record.kind | (flags << 8)
      if (this.count > 0) this.#seal(this.count, at, 0)
      this.count++
      this.bytes += frameBytes(payload.length)
    }
  }

  /**
   * Takes frames of another log, the next ones of this, as they are but for seed and `local` bits. They lie in the memory of `source` at `at`, divisible by 8, plus
   * `offsets[from]` .. `offsets[to - 1]`; between two of them there may be marks. The caller has verified them and asked `fits`.
   *
   * @param digest digestAt of the last of them
   */
  addFrames(source: KernelInstance, at: number, offsets: Uint32Array, from: number, to: number, digest: Uint8Array): void {
    const words = this.#u32
    const theirs = source.u32
    const list = this.#offsets >>> 2
    for (let run = from; run < to;) {
      const start = offsets[run]!
      let end = start
      let next = run
      while (next < to && offsets[next] === end) {
        end += frameBytes(theirs[((at + end) >>> 2) + 2]!)
        next++
      }
      // One copy for what lies together.
      this.#u8.set(source.u8.subarray(at + start, at + end), this.#frames + this.bytes)
      for (; run < next; run++) {
        const frame = this.#frames + this.bytes + offsets[run]! - start
        words[list + this.count] = frame - this.#frames
        words[(frame >>> 2) + 3]! &= 0xffff
        if (this.count > 0) this.#seal(this.count, frame, 0)
        this.count++
      }
      this.bytes += end - start
    }
    this.#chained = digest
  }

  /** No more records come although the last one says so: a mark behind it closes the append. The caller has asked `fits` for it. */
  close(storeId: Uint8Array): void {
    const last = this.#u32[(this.#offsets >>> 2) + this.count - 1]!
    if ((this.#u8[this.#frames + last + 13]! & FLAG_MORE) === 0) return
    this.#closedFor = storeId
    this.bytes += MARK_BYTES
  }

  /** Seals what is left to seal. `seed` is that of the segment the group goes to; `markDigest`: a mark opens the group and carries this digest. */
  finish(seed: bigint, syncedBefore: boolean, mark?: { readonly digest: Uint8Array; readonly storeId: Uint8Array }): void {
    assert(!this.#finished && this.count > 0, 'a group is finished once, with records')
    this.#finished = true
    const words = this.#u32
    if (seed !== this.#seed) {
      // The segment was changed since these frames were sealed.
      this.#setSeed(seed)
      for (let i = 1; i < this.count; i++) this.#seal(i, this.#frames + words[(this.#offsets >>> 2) + i]!, 0)
    }
    const local = syncedBefore ? LOCAL_SYNCED_BEFORE : 0
    this.#seal(0, this.#frames, mark === undefined ? local : 0)
    if (this.#closedFor !== undefined) this.#mark(this.#frames + this.bytes - MARK_BYTES, this.count, 0, this.#chained!, this.#closedFor)
    if (mark !== undefined) this.#mark(this.#frames - MARK_BYTES, 0, local, mark.digest, mark.storeId)
  }

  #mark(at: number, index: number, local: number, digest: Uint8Array, storeId: Uint8Array): void {
    writeMarkPayload(this.#u8, at + 32, digest, storeId)
    this.#u32[(at >>> 2) + 2] = MARK_PAYLOAD_BYTES
    this.#u32[(at >>> 2) + 3] = KIND_MARK
    this.#seal(index, at, local)
  }

  /** Where a segment header of 64 bytes goes. */
  header(): Uint8Array {
    const at = this.#frames - FRONT_OF.header
    return this.#u8.subarray(at, at + SEGMENT_HEADER_BYTES)
  }

  /** The bytes to write; a view that stays valid. */
  view(start: GroupStart): Uint8Array {
    return this.#u8.subarray(this.#frames - FRONT_OF[start], this.#frames + this.bytes)
  }

  /** Advances the chain digest (32 bytes, in place) over all records of the group. */
  advance(digest: Uint8Array): void {
    if (this.#chained !== undefined) return digest.set(this.#chained)
    const exports = this.#kernel.exports
    const u8 = this.#u8
    exports.record_hashes(this.#frames, this.#offsets, this.count, this.#hashes)
    u8.set(digest, this.#stateAt)
    exports.chain_advance(this.#stateAt, this.#hashes, this.count, 0)
    for (let i = 0; i < 32; i++) digest[i] = u8[this.#stateAt + i]!
  }

  /** Offsets of the frames from the first one. */
  offsets(): Uint32Array {
    const at = this.#offsets >>> 2
    return this.#u32.slice(at, at + this.count)
  }

  #seal(index: number, at: number, local: number): void {
    const words = this.#u32
    const head = words[(at >>> 2) + 3]!
    const lsn = this.first + index
    this.#kernel.exports.frame_seal(
      at,
      words[(at >>> 2) + 2]!,
      head & 255,
      (head >>> 8) & 255,
      local,
      lsn >>> 0,
      (lsn / TWO_32) >>> 0,
      this.epoch >>> 0,
      (this.epoch / TWO_32) >>> 0,
      this.#seedAt,
    )
  }

  #setSeed(seed: bigint): void {
    if (seed === this.#seed) return
    this.#seed = seed
    this.#kernel.view.setBigUint64(this.#seedAt, seed, true)
  }
}

/** The instance that the next small buffers lie in. */
let sharing: { readonly kernel: KernelInstance; left: number } | undefined

function sized(bytes: number, records: number): GroupBuffer {
  return new GroupBuffer(new KernelInstance({ fixedBytes: memoryFor(bytes, records) }), bytes, records)
}

/** Bytes that the frames of one append take. */
export function appendBytes(records: readonly LogRecord[]): number {
  let bytes = 0
  for (let i = 0; i < records.length; i++) bytes += frameBytes(records[i]!.payload.length)
  return bytes
}

/** Arena bytes of one buffer: its regions, each with padding and alignment. */
function memoryFor(bytes: number, records: number): number {
  return FRONT_BYTES + bytes + MARK_BYTES + records * 36 + 5 * 128 + 40
}
