// log/recent.ts: the newest groups of a log in memory, for those that follow its end closely (replicas): read once when they are written, never from the disk.
//
// Nobody follows: nothing is kept and a group costs one look at a number. A group comes as soon as it is written, while its sync is under way; where it was not
// written ahead of its sync, behind that. Invariant: what is kept is dense, at most the bound, and ends at the head or one group above it; no byte of it changes.
import { advanceOver } from './chain.ts'
import type { Digest } from './commit-log.ts'
import { scanKernel } from './frame-cursor.ts'
import type { GroupBuffer } from './group-buffer.ts'

/** Of all followers together. */
const KEPT_BYTES_MAX = 8 * 1024 * 1024

/** Somebody who follows a log closely. */
export interface Follower {
  /** A group has come. Must not throw. */
  readonly added?: () => void
  /** Groups are sent on before they are synced here, and others wait for that longer than for the sync. */
  readonly isAhead?: () => boolean
}

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
  readonly #followers = new Set<Follower>()
  #groups: RecentGroup[] = []
  #from = 0
  #bytes = 0
  /** LSN of the last record that came, kept or not. */
  #newest = 0

  /** Keeps what is written from now on, for as long as somebody follows. */
  follow(follower: Follower = {}): Disposable {
    const own = { ...follower }
    this.#followers.add(own)
    return {
      [Symbol.dispose]: () => {
        if (this.#followers.delete(own) && this.#followers.size === 0) this.#clear()
      },
    }
  }

  /** Somebody sends groups on before they are synced here. */
  get isAhead(): boolean {
    for (const { isAhead } of this.#followers) if (isAhead?.() === true) return true
    return false
  }

  /** LSN of the last record that is kept; 0: none is. */
  get end(): number {
    return this.#from < this.#groups.length ? this.#groups.at(-1)!.last : 0
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

  /** A group that is written; its buffer is used again. Twice is fine. @internal */
  add(group: GroupBuffer, digest: Digest): void {
    const { first, last } = group
    if (this.#followers.size === 0 || last <= this.#newest) return
    this.#newest = last
    this.#groups.push({ first, last, bytes: group.view('frames').slice(), offsets: group.offsets(), digest: digest.slice() as Digest })
    this.#bytes += group.bytes
    while (this.#bytes > KEPT_BYTES_MAX) this.#bytes -= this.#groups[this.#from++]!.bytes.length
    if (this.#from > 1024 && this.#from > this.#groups.length / 2) {
      this.#groups = this.#groups.slice(this.#from)
      this.#from = 0
    }
    for (const { added } of this.#followers) added?.()
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
