// kernels/group-memory.ts: kernel memory for state that lives from batch to batch: an instance of its own, lent for one run of grouping.
//
// Groups do not live in the shared instance: linear memory never shrinks, so a million groups would stay in it for good, and they would take its room from
// commits and other reads. An instance that stayed small is kept for the next run; one that grew is left to the collector.
// Invariant: nothing lent is used after `release`; what a Room held stays in place until the Room grows, and then moves as a whole.
import { kernelLimitBytes, KernelInstance } from './instance.ts'

const KEPT_BYTES_MAX = 4 << 20

let idle: { readonly k: KernelInstance; readonly limitBytes: number } | undefined

export class GroupMemory {
  /** Of the hashes: unknown to whoever chooses the values. */
  readonly seed: number
  readonly limitBytes: number
  #k: KernelInstance | undefined
  /** Values of a piece as they are stored. */
  readonly raw: Room = new Room(this, false)
  /** The same as words. */
  readonly words: Room = new Room(this, false)
  readonly offsets: Room = new Room(this, false)
  readonly validity: Room = new Room(this, false)
  /** The rows of a piece that count. */
  readonly rows: Room = new Room(this, false)

  constructor(limitBytes: number = kernelLimitBytes(), seed: number = 0) {
    this.seed = seed
    this.limitBytes = limitBytes
  }

  /** The instance, taken at the first use. */
  get k(): KernelInstance {
    if (this.#k !== undefined) return this.#k
    if (idle?.limitBytes === this.limitBytes) {
      this.#k = idle.k
      idle = undefined
    } else {
      this.#k = new KernelInstance({ limitBytes: this.limitBytes })
    }
    return this.#k
  }

  /** A region that stays until the end. Zeroed. */
  take(bytes: number): number {
    const at = this.k.arena.reserve(bytes)
    this.k.u8.fill(0, at, at + bytes)
    return at
  }

  /** Gives everything back. Idempotent. */
  release(): void {
    const k = this.#k
    this.#k = undefined
    if (k === undefined) return
    k.arena.reset()
    if (k.arena.memoryBytes <= KEPT_BYTES_MAX) idle = { k, limitBytes: this.limitBytes }
  }
}

/** A region that grows. */
export class Room {
  readonly #memory: GroupMemory
  readonly #zeroed: boolean
  #at = 0
  #bytes = 0

  /** `zeroed`: bytes that were not written yet are 0. */
  constructor(memory: GroupMemory, zeroed: boolean) {
    this.#memory = memory
    this.#zeroed = zeroed
  }

  get at(): number {
    return this.#at
  }

  get bytes(): number {
    return this.#bytes
  }

  /**
   * Makes room for `bytes`; the first `used` are kept, all of them when zeroed.
   *
   * @returns where the region lies from now on
   * @throws KernelMemoryExhaustedError; the region is then as it was
   */
  ensure(bytes: number, used = 0): number {
    if (bytes <= this.#bytes) return this.#at
    const { k } = this.#memory
    const size = Math.max(bytes, this.#bytes * 2, 256)
    const at = k.arena.reserve(size)
    const kept = this.#zeroed ? this.#bytes : used
    k.u8.copyWithin(at, this.#at, this.#at + kept)
    if (this.#zeroed) k.u8.fill(0, at + kept, at + size)
    if (this.#bytes > 0) k.arena.release(this.#at)
    this.#at = at
    this.#bytes = size
    return at
  }
}
