// kernels/buffer.ts: bytes in kernel memory that a caller owns, so that what is read there is hashed, scanned or decoded without a copy.
//
// Linear memory moves when it grows, and every view of it is then detached. So a buffer keeps an offset and makes its view when asked; a view that went
// stale is refused, never read as if it were empty. Invariant: while a `fill` runs, memory does not grow and the region is not given away.
import { InvalidConfigError } from '../errors.ts'
import { kernels } from './instance.ts'
import type { KernelInstance } from './instance.ts'

/** Bytes to read: on the JavaScript heap (copied in), or in kernel memory (used where they are). */
export type KernelBytes = Uint8Array | KernelBuffer

let placeOf: (buffer: KernelBuffer) => { readonly k: KernelInstance; readonly offset: number }

/** Bytes in kernel memory; made by `allocate`. Hand in the buffer itself wherever a kernel takes bytes: it is read in place. */
export class KernelBuffer {
  readonly byteLength: number
  readonly #k: KernelInstance
  #offset: number
  #fills = 0
  #released = false

  static {
    placeOf = (buffer) => {
      buffer.#alive()
      return { k: buffer.#k, offset: buffer.#offset }
    }
  }

  /** @internal */
  constructor(k: KernelInstance, byteLength: number) {
    this.#k = k
    this.byteLength = byteLength
    this.#offset = k.arena.reserve(byteLength)
  }

  /**
   * A view of the bytes, borrowed: it is valid until the next call that needs more kernel memory, so ask again rather than keep it.
   *
   * @throws InvalidConfigError (key `buffer`) after release
   */
  get bytes(): Uint8Array<ArrayBuffer> {
    this.#alive()
    return this.#k.arena.view(this.#offset, this.byteLength)
  }

  /**
   * Let something asynchronous write into the buffer: memory stands still until the promise of `write` has settled.
   *
   * @param write  gets a view of all bytes that stays valid until then
   * @returns what `write` resolves to
   * @throws InvalidConfigError (key `buffer`) after release. While it runs, calls that need more kernel memory throw KernelMemoryBusyError
   * @example const { bytesRead } = await buffer.fill((view) => file.read(view))
   */
  async fill<T>(write: (view: Uint8Array<ArrayBuffer>) => Promise<T>): Promise<T> {
    const view = this.bytes
    this.#k.arena.beginRead()
    this.#fills++
    try {
      return await write(view)
    } finally {
      this.#fills--
      this.#k.arena.endRead()
      if (this.#released) this.#giveBack()
    }
  }

  /** Whether `release` was called. */
  get released(): boolean {
    return this.#released
  }

  /** Give the memory back, when a running `fill` has ended. Calling it again does nothing. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.#giveBack()
  }

  /** As `release`: `using buffer = allocate(n)`. */
  [Symbol.dispose](): void {
    this.release()
  }

  #giveBack(): void {
    if (this.#fills > 0) return
    this.#k.arena.release(this.#offset)
  }

  #alive(): void {
    if (!this.#released) return
    throw new InvalidConfigError(`a kernel buffer of ${this.byteLength} bytes is used after its release`, {
      details: { key: 'buffer', value: 'released' },
      hint: 'Allocate a buffer of its own, or release it later.',
    })
  }
}

/**
 * Take memory of the kernels. It is held until `release` (or the end of a `using` block): the collector does not give it back.
 *
 * @param bytes  size; contents are unspecified
 * @throws RangeError unless a whole number from 0 on; KernelMemoryExhaustedError { wanted, limit }; KernelMemoryBusyError when memory must grow while a `fill` runs
 * @cost no copy; memory grows when there is no room
 * @example using buffer = allocate(1 << 20)
 */
export function allocate(bytes: number): KernelBuffer {
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`a kernel buffer of ${bytes} bytes: a whole number from 0 on expected`)
  return new KernelBuffer(kernels(), bytes)
}

/**
 * How many bytes are handed in. Ask before they are copied in: a growth in between would detach a view that was good.
 *
 * @throws InvalidConfigError (key `bytes`) for anything but a Uint8Array or a KernelBuffer, whose bytes would be taken for others
 */
export function lengthOf(bytes: KernelBytes): number {
  if (!(bytes instanceof Uint8Array || bytes instanceof KernelBuffer)) checkArray(bytes, 'Uint8Array')
  return bytes.byteLength
}

/** Throws InvalidConfigError (key `bytes`) unless it is a typed array of that kind, of whatever realm; subclasses such as Buffer are. */
function checkArray(given: unknown, kind: 'Uint8Array' | 'Uint32Array'): void {
  if (ArrayBuffer.isView(given) && (given as Partial<Uint8Array>)[Symbol.toStringTag] === kind) return
  throw new InvalidConfigError(`a ${kind} is expected`, {
    details: { key: 'bytes', value: Object.prototype.toString.call(given) },
    hint: kind === 'Uint8Array' ? 'Hand in a Uint8Array, such as new Uint8Array(buffer) or new TextEncoder().encode(text).' : 'Hand in a Uint32Array.',
  })
}

/**
 * Where bytes lie in kernel memory, or -1 when they are on the JavaScript heap.
 *
 * @throws InvalidConfigError for a view whose memory has moved or was given back, a released buffer, or what is no bytes
 */
export function placeIn(k: KernelInstance, bytes: KernelBytes): number {
  lengthOf(bytes)
  if (!(bytes instanceof KernelBuffer)) return placeOfView(k, bytes)
  const place = placeOf(bytes)
  return place.k === k ? place.offset : -1
}

function placeOfView(k: KernelInstance, view: Uint8Array | Uint32Array): number {
  if (isOnHeap(k, view)) return -1
  if (view.buffer === k.memory.buffer) {
    if (k.arena.holds(view.byteOffset, view.byteLength)) return view.byteOffset
    throw stale('a view of kernel memory that was given back')
  }
  // A detached view says that it has no bytes.
  if (view.byteLength === 0) refuseDetached(view)
  return -1
}

/**
 * The offset of bytes in kernel memory: in place when they are there already, else copied to scratch of the caller. For reading only. Call it before
 * anything else is reserved: growth in between would detach a view that was good when it was handed in. Errors as `placeIn`, but for those of `lengthOf`.
 */
export function bytesIn(k: KernelInstance, bytes: KernelBytes): number {
  // Every caller has asked for the length, so this is a view or a buffer.
  if (isOnHeap(k, bytes)) return k.copyIn(bytes as Uint8Array)
  const at = placeIn(k, bytes)
  return at >= 0 ? at : k.copyIn(viewOf(bytes))
}

/** The common case, told without asking a small array for its buffer, which would have to be made: nothing is handed out below the arena's base. */
function isOnHeap(k: KernelInstance, view: ArrayBufferView | KernelBuffer): boolean {
  return (view as ArrayBufferView).byteOffset < k.arena.base && view.byteLength > 0
}

/** The bytes as a view that is valid now: for what is computed without kernel memory. Errors as `bytesIn`. */
export function viewOf(bytes: KernelBytes): Uint8Array {
  if (bytes instanceof KernelBuffer) return bytes.bytes
  placeIn(kernels(), bytes)
  return bytes
}

/** Bytes that stay what they are while kernels run: a copy of those that lie in kernel memory. Errors as `bytesIn`. */
export function settled(bytes: KernelBytes): Uint8Array {
  const view = viewOf(bytes)
  return placeIn(kernels(), view) < 0 ? view : view.slice()
}

/** The same for words: hashes, row numbers. @throws InvalidConfigError (key `bytes`) for a stale view, and for what is no Uint32Array */
export function settledWords(words: Uint32Array): Uint32Array {
  checkArray(words, 'Uint32Array')
  return placeOfView(kernels(), words) < 0 ? words : words.slice()
}

/** Throws for a view whose memory has moved, or has become too short for it. */
export function refuseDetached(view: ArrayBufferView): void {
  const { detached, resizable } = view.buffer as ArrayBuffer
  if (detached || (resizable && isOutOfBounds(view))) throw stale('a view whose memory has moved or was transferred')
}

/** A view says that it is empty then, as an empty one does; only use tells them apart. */
function isOutOfBounds(view: ArrayBufferView): boolean {
  try {
    ;(view as Uint8Array).at(0)
    return false
  } catch {
    return true
  }
}

function stale(what: string): InvalidConfigError {
  return new InvalidConfigError(`the bytes handed in are ${what}`, {
    details: { key: 'bytes', value: 'stale view' },
    hint: 'Hand in the buffer itself, or take a new view of it just before the call.',
  })
}
