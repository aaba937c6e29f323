// log/frame-cursor.ts: a segment's frames in windows of bounded size, each verified by the scan kernel before anything looks at it.
//
// Invariant: `bytes` up to `consumed` hold whole frames whose checksums, LSNs and epochs are good; nothing behind `consumed` is believed. Windows are on the
// JavaScript heap and belong to whoever asked: readers hand out views of them.
import { frameBytes, LOCAL_SYNCED_BEFORE, readU53 } from '../format/index.ts'
import { KernelInstance } from '../kernels/index.ts'
import type { SegmentFile } from '../root/index.ts'

import { STOP } from './tail.ts'

/** The first window is small: most looks find little that is new, and zeros behind it. */
export const WINDOW_BYTES_FIRST: number = 64 * 1024
const WINDOW_BYTES_MAX = 4 * 1024 * 1024
const WINDOW_GROWTH = 4
const SCAN_CAP = 65_536
const NONE = 0xffff_ffff
const FRAME_BYTES_MAX = 64 * 1024 * 1024
/** Longest stretch that is searched for later frames at once: any frame fits behind each start in its first quarter. */
const RESYNC_BYTES = 80 * 1024 * 1024
const KERNEL_LIMIT_BYTES = 512 * 1024 * 1024

export interface FrameSource {
  readonly epoch: number
  readonly seed: bigint
}

export interface Window {
  /** File offset of bytes[0]. */
  readonly base: number
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Record frames in `bytes`. */
  readonly offsets: Uint32Array
  readonly consumed: number
  readonly firstLsn: number
  readonly nextLsn: number
  readonly stop: number
  /** There is no window behind this one. */
  readonly final: boolean
}

export class FrameCursor {
  readonly #file: SegmentFile
  readonly #source: FrameSource
  #offset: number
  #lsn: number
  #limit: number
  #windowBytes = WINDOW_BYTES_FIRST
  #ended = false
  /** What lies at the first offset, where the caller has read it. */
  #held: Uint8Array<ArrayBuffer> | undefined

  /** @param limit  file offset behind the last byte that may be looked at; `isWanted`: all before it will be read, so windows are large from the first one on */
  constructor(
    file: SegmentFile,
    source: FrameSource,
    at: {
      readonly offset: number
      readonly lsn: number
      readonly limit: number
      readonly isWanted?: boolean
      readonly held?: Uint8Array<ArrayBuffer> | undefined
    },
  ) {
    this.#file = file
    this.#source = source
    this.#offset = at.offset
    this.#lsn = at.lsn
    this.#limit = at.limit
    if (at.isWanted === true) this.#windowBytes = WINDOW_BYTES_MAX
    this.#held = at.held
  }

  /** @returns undefined behind the final window */
  async next(): Promise<Window | undefined> {
    if (this.#ended) return undefined
    let want = this.#windowBytes
    this.#windowBytes = Math.min(WINDOW_BYTES_MAX, want * WINDOW_GROWTH)
    for (;;) {
      const bytes = await this.#read(Math.min(want, this.#limit - this.#offset))
      const scan = scanFrames(bytes, this.#lsn, this.#source)
      const more = this.#offset + bytes.length < this.#limit
      if (scan.stop === STOP.short && more && scan.consumed === 0) {
        // One frame is longer than the window: read it whole, if the file has that much.
        const total = bytes.length >= 12 ? frameBytes(new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true)) : WINDOW_BYTES_MAX
        if (total > want && total <= this.#limit - this.#offset) {
          want = total
          continue
        }
      }
      const final = !(more && (scan.stop === STOP.end || (scan.stop === STOP.short && scan.consumed > 0)))
      const window: Window = { base: this.#offset, bytes, firstLsn: this.#lsn, final, ...scan }
      this.#offset += scan.consumed
      this.#lsn = scan.nextLsn
      this.#ended = final
      return window
    }
  }

  async #read(want: number): Promise<Uint8Array<ArrayBuffer>> {
    const held = this.#held
    this.#held = undefined
    if (held !== undefined && want <= held.length) return held.subarray(0, want)
    const bytes = new Uint8Array(Math.max(0, want))
    const n = bytes.length === 0 ? 0 : await this.#file.read(this.#offset, bytes)
    if (n === bytes.length) return bytes
    this.#limit = this.#offset + n
    return bytes.subarray(0, n)
  }
}

/** Runs the scan kernel over bytes that begin with a frame. */
export function scanFrames(bytes: Uint8Array, firstLsn: number, source: FrameSource): Pick<Window, 'offsets' | 'consumed' | 'nextLsn' | 'stop'> {
  const kernel = scanKernel()
  const { arena, exports } = kernel
  const mark = arena.mark()
  try {
    const p = kernel.copyIn(bytes)
    const seedAt = arena.reserve(8)
    const result = arena.reserve(24)
    const cap = Math.min(SCAN_CAP, (bytes.length >>> 5) + 1)
    const out = arena.reserve(cap * 4)
    kernel.view.setBigUint64(seedAt, source.seed, true)
    const parts: Uint32Array[] = []
    let consumed = 0
    let lsn = firstLsn
    for (;;) {
      const count = exports.wal_scan(p + consumed, bytes.length - consumed, BigInt(lsn), BigInt(source.epoch), seedAt, out, cap, result) >>> 0
      const part = kernel.u32.slice(out >>> 2, (out >>> 2) + count)
      if (consumed > 0) for (let i = 0; i < part.length; i++) part[i]! += consumed
      parts.push(part)
      const { view } = kernel
      consumed += view.getUint32(result, true)
      lsn = readU53(view, result + 8)
      const stop = view.getUint32(result + 4, true)
      if (stop !== STOP.capacity) return { offsets: join(parts), consumed, nextLsn: lsn, stop }
    }
  } finally {
    arena.rewind(mark)
  }
}

/** Which frames of a verified window carry what, in order; stops behind `consumed`. Records, marks and footers alike. */
export function forEachFrame(window: Window, visit: (at: number, kind: number, flags: number, local: number) => void): void {
  const words = new Uint32Array(window.bytes.buffer, window.bytes.byteOffset, window.bytes.length >>> 2)
  for (let at = 0; at < window.consumed;) {
    const length = words[(at >>> 2) + 2]!
    const head = words[(at >>> 2) + 3]!
    visit(at, head & 255, (head >>> 8) & 255, head >>> 16)
    at += frameBytes(length)
  }
}

/**
 * The first frame at or behind `from` that verifies, says that everything before it was synced, and has an LSN of at least `lsn`.
 *
 * @param window  read before: where it goes from `from` to the end of the file, the file is not read again
 * @returns its file offset
 */
export async function findSyncedFrame(file: SegmentFile, source: FrameSource, from: number, lsn: number, window?: Window): Promise<number | undefined> {
  if (window !== undefined && from >= window.base && window.base + window.bytes.length >= file.size) {
    const found = searchIn(window.bytes.subarray(from - window.base), source, lsn, LOCAL_SYNCED_BEFORE)
    return found === undefined ? undefined : from + found.offset
  }
  return (await search(file, source, from, lsn, LOCAL_SYNCED_BEFORE))?.offset
}

/** The first frame at or behind `from`, a multiple of 8, that verifies and has an LSN of at least `lsn`. It proves nothing about what lies before it. */
export function findFrame(file: SegmentFile, source: FrameSource, from: number, lsn: number): Promise<{ offset: number; lsn: number } | undefined> {
  return search(file, source, from, lsn, 0)
}

async function search(file: SegmentFile, source: FrameSource, from: number, lsn: number, local: number): Promise<{ offset: number; lsn: number } | undefined> {
  for (let start = from; start < file.size;) {
    const bytes = new Uint8Array(Math.min(RESYNC_BYTES, file.size - start))
    const n = await file.read(start, bytes)
    const last = start + n >= file.size || n < bytes.length
    const found = searchIn(bytes.subarray(0, n), source, lsn, local)
    if (found !== undefined) return { offset: start + found.offset, lsn: found.lsn }
    if (last) return undefined
    start += RESYNC_BYTES - FRAME_BYTES_MAX
  }
  return undefined
}

/** `local`: bits that the frame must have. */
function searchIn(bytes: Uint8Array, source: FrameSource, lsn: number, local: number): { offset: number; lsn: number } | undefined {
  const kernel = scanKernel()
  const { arena, exports } = kernel
  const mark = arena.mark()
  try {
    const p = kernel.copyIn(bytes)
    const seedAt = arena.reserve(8)
    kernel.view.setBigUint64(seedAt, source.seed, true)
    for (let at = 0; at < bytes.length;) {
      const found = exports.wal_resync(p + at, bytes.length - at, seedAt) >>> 0
      if (found === NONE) return undefined
      at += found
      const { view } = kernel
      const its = readU53(view, p + at + 16)
      if ((view.getUint16(p + at + 14, true) & local) === local && its >= lsn) return { offset: at, lsn: its }
      at += frameBytes(view.getUint32(p + at + 8, true))
    }
    return undefined
  } finally {
    arena.rewind(mark)
  }
}

let instance: KernelInstance | undefined

/** An instance of the log's own: reading must not make the shared one grow under a pending read. */
export function scanKernel(): KernelInstance {
  instance ??= new KernelInstance({ limitBytes: KERNEL_LIMIT_BYTES })
  return instance
}

function join(parts: readonly Uint32Array[]): Uint32Array {
  if (parts.length === 1) return parts[0]!
  const all = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
