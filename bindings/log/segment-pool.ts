// log/segment-pool.ts: files that wait to become segments: prepared ahead with written zeros, or recycled from trimmed ones (log.md section 2).
//
// Names are free-<epoch><count>.wal in the folder of the log: no other handle ever makes one of them, so nobody's late unlink takes ours away.
// Invariant: only files that this handle created are in the pool; a recycled one is renamed and the directory synced before it is used again.
import { PoisonedError, StorageError } from '../errors.ts'
import type { Root, SegmentFile } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import type { Lock } from './lock.ts'

const FREE_MAX = 4
const COUNT_DIGITS = 6

export interface FreeSegment {
  readonly name: string
  readonly file: SegmentFile
  readonly size: number
}

export class SegmentPool {
  readonly #dir: string
  readonly #root: Root
  readonly #world: World
  readonly #lock: Lock
  #free: FreeSegment[] = []
  #count = 0
  #preparing: Promise<void> | undefined
  #unlinking: Promise<void> = Promise.resolve()
  /** Set when there was no room for a segment; cleared when there is. */
  short: StorageError | undefined

  /** `dir`: folder of the log. */
  constructor(root: Root, world: World, lock: Lock, dir: string) {
    this.#dir = dir
    this.#root = root
    this.#world = world
    this.#lock = lock
  }

  /** Whether a segment of `bytes` is at hand. */
  has(bytes: number): boolean {
    return this.#free.some((free) => free.size >= bytes)
  }

  get largest(): number {
    let bytes = 0
    for (const free of this.#free) bytes = Math.max(bytes, free.size)
    return bytes
  }

  /** Prepares one ahead, off the commit path; a failure for want of room is remembered in `short`, any other is logged and met again by take(). */
  prepare(bytes: number): void {
    if (this.#preparing !== undefined || this.has(bytes)) return
    this.#preparing = this.#create(bytes)
      .then((free) => {
        this.#free.push(free)
        this.short = undefined
      })
      .catch((error: unknown) => {
        if (isSpace(error)) this.short = error
        this.#world.logger.log({ level: 'warn', code: 'log.prepareFailed', bytes, error })
      })
      .finally(() => {
        this.#preparing = undefined
      })
  }

  /** A segment of at least `need` bytes, best of `wish`; smaller when the device has no room for that. @throws StorageError space */
  async take(need: number, wish: number): Promise<FreeSegment> {
    await this.#preparing
    const at = this.#free.findIndex((free) => free.size >= need)
    if (at >= 0) return this.#free.splice(at, 1)[0]!
    const sizes = [Math.max(need, wish), need]
    for (const size of sizes) {
      try {
        const free = await this.#create(size)
        this.short = undefined
        return free
      } catch (error) {
        if (!isSpace(error)) throw error
        this.short = error
      }
    }
    throw this.short ?? new Error('unreachable')
  }

  /** The birth of a segment: a file whose bytes are synced gets its name in the log. @throws FencedError */
  async giveName(free: FreeSegment, name: string): Promise<void> {
    if (!this.#lock.isCurrent()) throw this.#lock.fencedError()
    let status: string
    try {
      status = (await this.#root.link(free.name, name)).status
    } catch (error) {
      // A successor unlinked our free file when it opened.
      if (!this.#lock.isCurrent()) throw this.#lock.fencedError()
      throw error
    }
    if (status === 'exists') {
      if (!this.#lock.isCurrent()) throw this.#lock.fencedError()
      throw new PoisonedError(`${name} is there already although the LOCK is ours`, { details: { name } })
    }
    // The other name is of no use to anybody; its removal need not hold up the group.
    await this.#unlinking
    this.#unlinking = this.#root
      .delete(free.name)
      .catch((error: unknown) => this.#world.logger.log({ level: 'warn', code: 'log.unlinkFailed', name: free.name, error }))
  }

  /** Takes over a trimmed segment of this handle. @returns false when the pool is full */
  async recycle(name: string): Promise<boolean> {
    if (this.#free.length >= FREE_MAX) return false
    if (this.#world.failpoints.active) await this.#world.failpoints.hit(FP.log.recycle, { name })
    const freeName = this.#nextName()
    await this.#root.rename(name, freeName)
    const file = await this.#root.segment(freeName, { open: 'write' })
    this.#free.push({ name: freeName, file, size: file.size })
    return true
  }

  /** Removes what was prepared and not used; not when somebody else is the owner by now. */
  async drain(): Promise<void> {
    await this.#preparing
    await this.#unlinking
    const free = this.#free
    this.#free = []
    for (const { file } of free) await file.close()
    if (free.length > 0 && this.#lock.isCurrent()) await this.#root.delete(free.map(({ name }) => name))
  }

  drainSync(): void {
    for (const { file } of this.#free) {
      try {
        file.closeSync()
      } catch {
        // A call is under way in it: the descriptor ends with the process, and the next open unlinks the file.
      }
    }
    this.#free = []
  }

  async #create(size: number): Promise<FreeSegment> {
    if (!this.#lock.isCurrent()) throw this.#lock.fencedError()
    if (this.#world.failpoints.active) await this.#world.failpoints.hit(FP.log.preallocate, { size })
    const bytes = Math.ceil(size / 4096) * 4096
    for (;;) {
      const name = this.#nextName()
      try {
        return { name, file: await this.#root.segment(name, { preallocate: bytes }), size: bytes }
      } catch (error) {
        if (!(error instanceof StorageError && error.class === 'exists')) throw error
      }
    }
  }

  #nextName(): string {
    return `${this.#dir}free-${this.#lock.epoch}${String(++this.#count).padStart(COUNT_DIGITS, '0')}.wal`
  }
}

export function isSpace(error: unknown): error is StorageError {
  return error instanceof StorageError && error.class === 'space'
}
