// kernels/arena.ts: who owns which bytes of an instance's linear memory.
//
// Two ways to take memory: regions that live (reserve outside any mark, release later; holes are reused first-fit), and scratch in stack order (mark,
// reserve, call, copy out, rewind), which costs a few additions. Offsets are 64-byte aligned and every region is followed by 16 readable bytes.
// Invariant: memory grows only inside `reserve`, never while a read into a view is pending; growth detaches every view, so holders keep offsets.
import { assert } from '../assert.ts'
import { KernelMemoryBusyError, KernelMemoryExhaustedError } from '../errors.ts'

const PAGE_BYTES = 65_536
const ALIGN = 64
/** Kernels read 16 bytes at a time and may run up to 15 past their input. */
const PADDING = 16
const GROW_BYTES_MIN = 1 << 20

interface Region {
  readonly offset: number
  /** Padding and alignment included. */
  bytes: number
  free: boolean
}

export interface ArenaLimits {
  /** Bound of the arena in bytes. */
  readonly limitBytes: number
  /** Refuse to grow at all after construction. */
  readonly fixed: boolean
}

export class Arena {
  readonly #memory: WebAssembly.Memory
  /** Where the arena begins; module statics lie before it. */
  readonly base: number
  readonly #fixed: boolean
  #limitBytes: number
  /** Where the limit lies in memory. */
  #limitEnd: number
  #regions: Region[] = []
  #top: number
  /** Bytes of memory. */
  #size: number
  /** What may be handed out without a look at limits: memory as it is, up to the limit. */
  #end: number
  /** Where the open stretches of scratch begin, outermost first. */
  #marks: number[] = []
  #pendingReads = 0

  constructor(memory: WebAssembly.Memory, base: number, limits: ArenaLimits) {
    this.#memory = memory
    this.base = base
    this.#top = base
    this.#size = memory.buffer.byteLength
    this.#fixed = limits.fixed
    this.#limitBytes = limits.limitBytes
    this.#limitEnd = base + limits.limitBytes
    this.#end = Math.min(this.#size, this.#limitEnd + ALIGN)
    if (limits.fixed) this.#grow(base + limits.limitBytes)
  }

  /** Bound of the arena in bytes. */
  get limitBytes(): number {
    return this.#limitBytes
  }

  /** Another bound from now on. What is handed out already stays, also above it. */
  limitTo(limitBytes: number): void {
    this.#limitBytes = limitBytes
    this.#limitEnd = this.base + limitBytes
    this.#end = Math.min(this.#size, this.#limitEnd + ALIGN)
  }

  /** Bytes of linear memory, statics included. */
  get memoryBytes(): number {
    return this.#size
  }

  /** Bytes handed out and not given back, padding included; holes below living regions count. */
  get usedBytes(): number {
    return this.#top - this.base
  }

  /**
   * Take `bytes` of memory; contents are unspecified.
   *
   * @returns a 64-byte aligned offset; 16 bytes after the region are readable
   * @throws KernelMemoryExhaustedError when the limit would be passed; KernelMemoryBusyError when memory must grow while a read is pending
   */
  reserve(bytes: number): number {
    const size = Math.ceil((bytes + PADDING) / ALIGN) * ALIGN
    if (this.#marks.length === 0) return this.#reserveRegion(size)
    const offset = this.#top
    const end = offset + size
    if (end > this.#end) this.#grow(end)
    this.#top = end
    return offset
  }

  /** Give a region back. Scratch (taken inside a mark) is given back by rewind; releasing it is allowed and does nothing. */
  release(offset: number): void {
    const at = this.#find(offset)
    if (at < 0) {
      assert(this.#marks.length > 0, 'released region was reserved', offset)
      return
    }
    const region = this.#regions[at]!
    assert(!region.free, 'region is released once', offset)
    region.free = true
    const next = this.#regions[at + 1]
    if (next?.free) {
      region.bytes += next.bytes
      this.#regions.splice(at + 1, 1)
    }
    const before = this.#regions[at - 1]
    if (before?.free) {
      before.bytes += region.bytes
      this.#regions.splice(at, 1)
    }
    if (this.#marks.length === 0) this.#trim()
  }

  /** Give everything back. Memory itself stays. */
  reset(): void {
    this.#regions = []
    this.#top = this.base
    this.#marks = []
  }

  /** Start of a scratch stretch: what is reserved from here on is given back by `rewind`. Nests. */
  mark(): number {
    this.#marks.push(this.#top)
    return this.#marks.length
  }

  /**
   * End of the stretch started by the `mark` that returned this value, and of those begun inside it and not ended: an error may pass over an inner one.
   * Call that of the outermost in `finally`.
   */
  rewind(mark: number): void {
    assert(mark > 0 && mark <= this.#marks.length, 'rewind follows its mark', mark)
    this.#top = this.#marks[mark - 1]!
    this.#marks.length = mark - 1
    if (mark === 1 && this.#regions.at(-1)?.free) this.#trim()
  }

  /** A view of a region; detached by the next growth. */
  view(offset: number, bytes: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory.buffer, offset, bytes) as Uint8Array<ArrayBuffer>
  }

  /** Whether all of these bytes are handed out: inside one living region, or scratch. */
  holds(offset: number, bytes: number): boolean {
    if (offset < this.base || bytes > this.#top - offset) return false
    const at = this.#findLast(offset)
    if (at < 0) return true
    const { offset: start, bytes: size, free } = this.#regions[at]!
    // Scratch lies behind the regions.
    if (offset >= start + size) return at === this.#regions.length - 1
    return !free && bytes <= start + size - offset
  }

  /** An asynchronous read or write into a view starts: growth is refused until `endRead`. */
  beginRead(): void {
    this.#pendingReads++
  }

  endRead(): void {
    assert(this.#pendingReads > 0, 'endRead follows beginRead')
    this.#pendingReads--
  }

  #reserveRegion(size: number): number {
    for (let i = 0; i < this.#regions.length; i++) {
      const region = this.#regions[i]!
      if (!region.free || region.bytes < size) continue
      region.free = false
      if (region.bytes > size) {
        this.#regions.splice(i + 1, 0, { offset: region.offset + size, bytes: region.bytes - size, free: true })
        region.bytes = size
      }
      return region.offset
    }
    const offset = this.#top
    const end = offset + size
    if (end > this.#end) this.#grow(end)
    this.#top = end
    this.#regions.push({ offset, bytes: size, free: false })
    return offset
  }

  /** A free region at the top goes back to the bump pointer. */
  #trim(): void {
    const last = this.#regions.at(-1)
    if (last === undefined || !last.free) return
    this.#regions.pop()
    this.#top = last.offset
  }

  #find(offset: number): number {
    const at = this.#findLast(offset)
    return at >= 0 && this.#regions[at]!.offset === offset ? at : -1
  }

  /** The last region that begins at or before the offset, or -1. */
  #findLast(offset: number): number {
    let low = 0
    let high = this.#regions.length
    while (low < high) {
      const mid = (low + high) >>> 1
      if (this.#regions[mid]!.offset <= offset) low = mid + 1
      else high = mid
    }
    return low - 1
  }

  #grow(end: number): void {
    const limit = this.#limitBytes
    // The last region's rounding may pass a limit that is no multiple of 64; one alignment of slack keeps `reserve(limit - padding)` legal.
    if (end > this.#limitEnd + ALIGN) {
      throw new KernelMemoryExhaustedError(`kernel memory: ${end - this.base} bytes wanted, the limit is ${limit}`, {
        details: { wanted: end - this.base, limit },
      })
    }
    if (this.#pendingReads > 0) throw new KernelMemoryBusyError(`kernel memory must grow to ${end} bytes while ${this.#pendingReads} reads are pending`)
    if (end <= this.#size) return
    const generous = this.#fixed ? end + ALIGN : Math.min(this.#limitEnd + ALIGN, Math.max(end, this.#size + GROW_BYTES_MIN, Math.ceil(this.#size * 1.25)))
    const pages = Math.ceil((generous - this.#size) / PAGE_BYTES)
    try {
      this.#memory.grow(pages)
    } catch (cause) {
      throw new KernelMemoryExhaustedError(`kernel memory: the host refused ${pages} more pages for ${end - this.base} bytes`, {
        details: { wanted: end - this.base, limit },
        cause,
      })
    }
    this.#size = this.#memory.buffer.byteLength
    this.#end = Math.min(this.#size, this.#limitEnd + ALIGN)
  }
}
