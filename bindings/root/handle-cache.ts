// root/handle-cache.ts: descriptors of immutable objects kept open between reads: a point read is then one system call instead of four.
//
// Invariant: a descriptor is either here or lent out, never both, and one that was lent before a drop() is closed when it comes back: what was deleted
// is not read again through it. Two reads of one object at a time use two descriptors; the second is closed when given back.
import type { FileHandle, FileStat } from '../runtime/index.ts'

const HANDLES_MAX = 64

export interface KeptHandle {
  readonly handle: FileHandle
  readonly stat: FileStat
  /** `generation` of the cache when the object was opened. */
  readonly born: number
}

export class HandleCache {
  /** In order of use, the oldest first. */
  readonly #kept = new Map<string, KeptHandle>()
  #generation = 0

  get generation(): number {
    return this.#generation
  }

  take(name: string): KeptHandle | undefined {
    const kept = this.#kept.get(name)
    if (kept !== undefined) this.#kept.delete(name)
    return kept
  }

  give(name: string, kept: KeptHandle): void {
    if (kept.born !== this.#generation || this.#kept.has(name)) return kept.handle.closeSync()
    this.#kept.set(name, kept)
    if (this.#kept.size <= HANDLES_MAX) return
    const [oldest, { handle }] = this.#kept.entries().next().value!
    this.#kept.delete(oldest)
    handle.closeSync()
  }

  /** Something was deleted: closes everything. Deletes come in bulk and rarely; opening again is cheap. */
  drop(): void {
    this.#generation++
    for (const { handle } of this.#kept.values()) handle.closeSync()
    this.#kept.clear()
  }
}
