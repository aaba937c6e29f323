// ship/piece-memory.ts: memory of the pieces of files that come over a connection, used again and again.
//
// A buffer per piece would be garbage outside of the heap, and what is there makes V8 mark all of the heap every few dozen megabytes, which cost a
// replica more than hashing the files. Invariant: what was given back is lent to one piece at a time; what is not given back is ordinary memory.
import { FILE_PIECE_BYTES_MAX } from '../format/index.ts'

/** A piece, and the fields of its message. */
const BUFFER_BYTES: number = FILE_PIECE_BYTES_MAX + 1024
/** A shorter payload has memory of its own: many of them would hold several times what they count for. */
const PAYLOAD_BYTES_MIN: number = FILE_PIECE_BYTES_MAX / 2
const SPARE_MAX = 32
/** Type of a `fragment` frame. */
const FRAGMENT = 8

export class PieceMemory {
  readonly #spare: ArrayBuffer[] = []
  readonly #lent = new WeakSet<ArrayBufferLike>()

  /** For the payload of a frame. @returns undefined: it is no piece of a file, or a short one */
  take(type: number, bytes: number): Uint8Array | undefined {
    if (type !== FRAGMENT || bytes < PAYLOAD_BYTES_MIN || bytes > BUFFER_BYTES) return undefined
    const buffer = this.#spare.pop() ?? new ArrayBuffer(BUFFER_BYTES)
    this.#lent.add(buffer)
    return new Uint8Array(buffer, 0, bytes)
  }

  /** Nobody looks at them any more. What was not taken here, or is back already, is left alone. */
  give({ buffer }: Uint8Array): void {
    if (this.#lent.delete(buffer) && this.#spare.length < SPARE_MAX) this.#spare.push(buffer as ArrayBuffer)
  }

  /** Nothing is kept for later. */
  drop(): void {
    this.#spare.length = 0
  }
}
