// kernels/sha256.ts: SHA-256 of one message, of many, streaming, and the record hashes and chain digest of the log (log.md section 1).
//
// Where the host has crypto of its own (hardware instructions), it takes what it is quicker at: one message of 256 bytes or more, of many those of 896 or more
// (load.ts). The rest runs in Wasm, many messages four lanes at a time. Invariant: all ways give identical bytes.
import { InvalidConfigError } from '../errors.ts'
import { bytesIn, type KernelBytes, lengthOf, placeIn, viewOf } from './buffer.ts'
import { kernels } from './instance.ts'
import type { KernelInstance } from './instance.ts'
import { nativeSha256 } from './load.ts'
import type { NativeHasher, NativeSha256 } from './load.ts'

export const DIGEST_BYTES = 32
const BLOCK_BYTES = 64
/** Bytes copied into kernel memory at once when streaming without native crypto. */
const CHUNK_BYTES = 64 * 1024
/** Batches of small messages are copied in at most this many bytes at a time. */
const BATCH_BYTES = 1 << 20
const IV: readonly number[] = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]

/**
 * SHA-256 of bytes.
 *
 * @param bytes  any length; a KernelBuffer is read in place
 * @returns 32 bytes of its own
 * @throws InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @cost from 256 bytes on node:crypto where there is one (hardware instructions), else the module
 * @example sha256(new TextEncoder().encode('abc'))
 */
export function sha256(bytes: KernelBytes): Uint8Array<ArrayBuffer> {
  return sha256By(nativeSha256(), bytes)
}

/** SHA-256 by what a host offers. */
export function sha256By(native: NativeSha256 | undefined, bytes: KernelBytes): Uint8Array<ArrayBuffer> {
  return native !== undefined && lengthOf(bytes) >= native.oneBytesMin ? native.digest(viewOf(bytes)) : sha256Wasm(bytes)
}

/** SHA-256 without native crypto. */
export function sha256Wasm(bytes: KernelBytes): Uint8Array<ArrayBuffer> {
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const n = lengthOf(bytes)
    const at = bytesIn(k, bytes)
    const out = k.arena.reserve(DIGEST_BYTES)
    k.exports.sha256_digest(at, n, out)
    return k.copyOut(out, DIGEST_BYTES)
  } finally {
    k.arena.rewind(mark)
  }
}

/**
 * SHA-256 of each message, in order: small ones four at a time.
 *
 * @returns 32 bytes a message, back to back
 * @throws InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @cost one call for messages below 896 bytes (of two or three below 448 or 672), up to 1 MiB together; longer ones by node:crypto where there is one
 * @example sha256Many([a, b]).subarray(32) // that of b
 */
export function sha256Many(messages: readonly KernelBytes[]): Uint8Array<ArrayBuffer> {
  return sha256ManyBy(nativeSha256(), messages)
}

/** SHA-256 of each message by what a host offers. */
export function sha256ManyBy(native: NativeSha256 | undefined, messages: readonly KernelBytes[]): Uint8Array<ArrayBuffer> {
  const digests = new Uint8Array(messages.length * DIGEST_BYTES)
  const k = kernels()
  const batch: Batch = { k, messages, places: placesOf(k, messages), digests }
  const nativeMin = native === undefined ? Infinity : native.manyBytesMin * Math.min(1, messages.length / 4)
  const small: number[] = []
  let bytes = 0
  for (let i = 0; i < messages.length; i++) {
    const place = batch.places?.get(i)
    const length = place?.bytes ?? messages[i]!.byteLength
    if (length >= nativeMin) {
      const view = place === undefined ? viewOf(messages[i]!) : k.u8.subarray(place.at, place.at + length)
      digests.set(native!.digest(view), i * DIGEST_BYTES)
      continue
    }
    if (small.length > 0 && bytes + length > BATCH_BYTES) {
      hashBatch(batch, small, bytes)
      small.length = 0
      bytes = 0
    }
    small.push(i)
    bytes += length
  }
  if (small.length > 0) hashBatch(batch, small, bytes)
  return digests
}

interface Batch {
  readonly k: KernelInstance
  readonly messages: readonly KernelBytes[]
  readonly places: ReadonlyMap<number, Place> | undefined
  readonly digests: Uint8Array
}

interface Place {
  readonly at: number
  readonly bytes: number
}

/** Messages that lie in kernel memory; looked up before memory grows, which detaches views of it. */
function placesOf(k: KernelInstance, messages: readonly KernelBytes[]): Map<number, Place> | undefined {
  let places: Map<number, Place> | undefined
  for (let i = 0; i < messages.length; i++) {
    const at = placeIn(k, messages[i]!)
    if (at < 0) continue
    places ??= new Map()
    places.set(i, { at, bytes: messages[i]!.byteLength })
  }
  return places
}

function hashBatch({ k, messages, places, digests }: Batch, which: readonly number[], bytes: number): void {
  const mark = k.arena.mark()
  try {
    const n = which.length
    const pairs = k.arena.reserve(n * 8)
    const out = k.arena.reserve(n * DIGEST_BYTES)
    let next = k.arena.reserve(bytes)
    const { u8, u32 } = k
    for (let i = 0; i < n; i++) {
      const place = places?.get(which[i]!)
      const pair = (pairs >>> 2) + 2 * i
      if (place === undefined) {
        const message = viewOf(messages[which[i]!]!)
        u8.set(message, next)
        u32[pair] = next
        u32[pair + 1] = message.byteLength
        next += message.byteLength
      } else {
        u32[pair] = place.at
        u32[pair + 1] = place.bytes
      }
    }
    k.exports.sha256_batch(pairs, n, out)
    // Runs of neighbours at once: a view and a copy each cost more than the few bytes do.
    for (let i = 0, run = 0; i < n; i = run) {
      while (run < n && which[run]! - which[i]! === run - i) run++
      digests.set(u8.subarray(out + i * DIGEST_BYTES, out + run * DIGEST_BYTES), which[i]! * DIGEST_BYTES)
    }
  } finally {
    k.arena.rewind(mark)
  }
}

/**
 * Streaming SHA-256: update any number of times, then digest once.
 *
 * @example new Sha256().update(head).update(body).digest()
 */
export class Sha256 {
  readonly #native: NativeHasher | undefined
  readonly #words: Uint32Array | undefined
  readonly #pending: Uint8Array | undefined
  #bytes = 0
  #done = false

  /** @param useNative  false: Wasm even where native crypto is there */
  constructor(useNative = true) {
    this.#native = useNative ? nativeSha256()?.hasher() : undefined
    if (this.#native === undefined) {
      this.#words = Uint32Array.from(IV)
      this.#pending = new Uint8Array(BLOCK_BYTES)
    }
  }

  /** Take the next bytes; they are not kept. @throws InvalidConfigError as `xxh3`, and (key `hash`) after the digest */
  update(bytes: KernelBytes): this {
    this.#unfinished()
    if (this.#native !== undefined) {
      this.#native.update(viewOf(bytes))
      return this
    }
    const k = kernels()
    const n = lengthOf(bytes)
    // Views of kernel memory are taken anew for each stretch: it may grow in between.
    const at = placeIn(k, bytes)
    const heap = at < 0 ? viewOf(bytes) : undefined
    const part = (start: number, end: number): Uint8Array => heap?.subarray(start, end) ?? k.u8.subarray(at + start, at + end)
    const pending = this.#pending!
    let from = 0
    const held = this.#bytes % BLOCK_BYTES
    this.#bytes += n
    if (held > 0) {
      from = Math.min(BLOCK_BYTES - held, n)
      pending.set(part(0, from), held)
      if (held + from < BLOCK_BYTES) return this
      this.#compress(pending)
    }
    while (n - from >= BLOCK_BYTES) {
      const whole = Math.min(CHUNK_BYTES, n - from) & ~(BLOCK_BYTES - 1)
      this.#compress(part(from, from + whole))
      from += whole
    }
    pending.set(part(from, n))
    return this
  }

  /** The 32 bytes of all that was taken. Once. @throws InvalidConfigError (key `hash`) the second time */
  digest(): Uint8Array<ArrayBuffer> {
    this.#unfinished()
    this.#done = true
    if (this.#native !== undefined) return this.#native.digest()
    const held = this.#bytes % BLOCK_BYTES
    const tail = new Uint8Array(held < 56 ? BLOCK_BYTES : 2 * BLOCK_BYTES)
    tail.set(this.#pending!.subarray(0, held))
    tail[held] = 0x80
    const view = new DataView(tail.buffer)
    view.setUint32(tail.byteLength - 8, Math.floor(this.#bytes / 0x20000000))
    view.setUint32(tail.byteLength - 4, (this.#bytes * 8) >>> 0)
    this.#compress(tail)
    const out = new Uint8Array(DIGEST_BYTES)
    const words = new DataView(out.buffer)
    for (let i = 0; i < 8; i++) words.setUint32(4 * i, this.#words![i]!)
    return out
  }

  #unfinished(): void {
    if (!this.#done) return
    throw new InvalidConfigError('a running SHA-256 is used after its digest', {
      details: { key: 'hash', value: 'finished' },
      hint: 'Make a new Sha256 for the next bytes.',
    })
  }

  #compress(blocks: Uint8Array): void {
    const k = kernels()
    const mark = k.arena.mark()
    try {
      const count = blocks.byteLength / BLOCK_BYTES
      const at = bytesIn(k, blocks)
      const state = k.arena.reserve(DIGEST_BYTES)
      k.u32.set(this.#words!, state >>> 2)
      k.exports.sha256(state, at, count)
      this.#words!.set(k.u32.subarray(state >>> 2, (state >>> 2) + 8))
    } finally {
      k.arena.rewind(mark)
    }
  }
}

/**
 * Advance the chain digest over frames that lie in the instance's memory: digestAt(n) = SHA-256(digestAt(n - 1) || SHA-256(record bytes of n)).
 *
 * @param digest  32 bytes, digestAt before the first record; not changed
 * @param p  where the frames begin; `offsets` (count u32 at that address) are relative to it
 * @param every  all digests instead of the last one only
 * @returns 32 bytes, or count x 32 when `every`
 */
export function chainInPlace(
  k: KernelInstance,
  digest: Uint8Array,
  p: number,
  offsets: number,
  count: number,
  o?: { every?: boolean },
): Uint8Array<ArrayBuffer> {
  const mark = k.arena.mark()
  try {
    const state = k.arena.reserve(DIGEST_BYTES)
    const hashes = k.arena.reserve(count * DIGEST_BYTES)
    const every = o?.every === true ? k.arena.reserve(count * DIGEST_BYTES) : 0
    k.u8.set(digest.subarray(0, DIGEST_BYTES), state)
    k.exports.record_hashes(p, offsets, count, hashes)
    k.exports.chain_advance(state, hashes, count, every)
    return every === 0 ? k.copyOut(state, DIGEST_BYTES) : k.copyOut(every, count * DIGEST_BYTES)
  } finally {
    k.arena.rewind(mark)
  }
}

/** As `chainInPlace` for frames on the JavaScript heap: `offsets` are those of the record frames in `bytes`. */
export function chainDigest(digest: Uint8Array, bytes: Uint8Array, offsets: Uint32Array, o?: { every?: boolean }): Uint8Array<ArrayBuffer> {
  if (offsets.length === 0) return o?.every === true ? new Uint8Array(0) : new Uint8Array(digest.subarray(0, DIGEST_BYTES))
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const list = k.arena.reserve(offsets.length * 4)
    const p = k.copyIn(bytes)
    k.u32.set(offsets, list >>> 2)
    return chainInPlace(k, digest, p, list, offsets.length, o)
  } finally {
    k.arena.rewind(mark)
  }
}
