// root/handle-cache.ts: descriptors of immutable objects kept open between reads: a point read is then one system call instead of four.
//
// Invariant: a descriptor is either here or lent out, never both: two reads of one object at a time use two descriptors and the second is closed when given back.
import type { FileHandle, FileStat } from '../runtime/index.ts'

const HANDLES_MAX = 64

export interface KeptHandle {
  readonly handle: FileHandle
  readonly stat: FileStat
}

export class HandleCache {
  /** In order of use, the oldest first. */
  readonly #kept = new Map<string, KeptHandle>()

  take(name: string): KeptHandle | undefined {
    const kept = this.#kept.get(name)
    if (kept !== undefined) this.#kept.delete(name)
    return kept
  }

  give(name: string, kept: KeptHandle): void {
    if (this.#kept.has(name)) return kept.handle.closeSync()
    this.#kept.set(name, kept)
    if (this.#kept.size <= HANDLES_MAX) return
    const [oldest, { handle }] = this.#kept.entries().next().value!
    this.#kept.delete(oldest)
    handle.closeSync()
  }

  /** Closes one name's descriptor, or all. */
  drop(name?: string): void {
    for (const key of name === undefined ? [...this.#kept.keys()] : [name]) {
      this.#kept.get(key)?.handle.closeSync()
      this.#kept.delete(key)
    }
  }
}
