// log/recent.ts: the newest groups of a log in memory, for those that follow its end closely (replicas): read once when they are written, never from the disk.
//
// Nobody follows: nothing is kept and a group costs one look at a number. Invariant: what is kept is acknowledged, dense, ends at the head, and is at most the bound.
import { advanceOver } from './chain.ts'
import type { Digest } from './commit-log.ts'
import { scanKernel } from './frame-cursor.ts'
import type { GroupBuffer } from './group-buffer.ts'

/** Of all followers together. */
const KEPT_BYTES_MAX = 8 * 1024 * 1024

/** One group as it was written, without its marks. */
export interface RecentGroup {
  readonly first: number
  readonly last: number
  readonly bytes: Uint8Array
  /** Of each record's frame in `bytes`. */
  readonly offsets: Uint32Array
  /** digestAt(last). */
  readonly digest: Digest
}

export class RecentGroups {
  #followers = 0
  #groups: RecentGroup[] = []
  #from = 0
  #bytes = 0

  /** Keeps what is written from now on, for as long as somebody follows. */
  follow(): Disposable {
    this.#followers++
    let isOver = false
    return {
      [Symbol.dispose]: () => {
        if (isOver) return
        isOver = true
        if (--this.#followers === 0) this.#clear()
      },
    }
  }

  /** The group that holds the record after `lsn`, if it is kept. */
  after(lsn: number): RecentGroup | undefined {
    let [low, high] = [this.#from, this.#groups.length]
    if (low === high || this.#groups[low]!.first > lsn + 1) return undefined
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#groups[middle]!.last <= lsn) low = middle + 1
      else high = middle
    }
    return this.#groups[low]
  }

  /** A group that is durable; its buffer is used again. @internal */
  add(group: GroupBuffer, digest: Digest): void {
    if (this.#followers === 0) return
    const { first, last } = group
    this.#groups.push({ first, last, bytes: group.view('frames').slice(), offsets: group.offsets(), digest: digest.slice() as Digest })
    this.#bytes += group.bytes
    while (this.#bytes > KEPT_BYTES_MAX) this.#bytes -= this.#groups[this.#from++]!.bytes.length
    if (this.#from > 1024 && this.#from > this.#groups.length / 2) {
      this.#groups = this.#groups.slice(this.#from)
      this.#from = 0
    }
  }

  #clear(): void {
    this.#groups = []
    this.#from = 0
    this.#bytes = 0
  }
}

/** The chain digest after records whose frames lie at `offsets` of `bytes`; they were verified. */
export function chainOver(digest: Digest, bytes: Uint8Array, offsets: Uint32Array): Digest {
  return advanceOver(scanKernel(), digest, bytes, offsets)
}
