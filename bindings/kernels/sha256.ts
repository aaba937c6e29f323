// kernels/sha256.ts: SHA-256 of one message, of many, streaming, and the record hashes and chain digest of the log (log.md section 1).
//
// A single message of 1 KiB or more goes to the host's crypto where there is one (hardware instructions); many small ones run four lanes at a time in
// Wasm. Invariant: all ways give identical bytes.
import { assert } from '../assert.ts'
import { kernels } from './instance.ts'
import type { KernelInstance } from './instance.ts'
import { nativeSha256 } from './load.ts'
import type { NativeHasher } from './load.ts'

export const DIGEST_BYTES = 32
const BLOCK_BYTES = 64
const NATIVE_BYTES_MIN = 1024
/** Bytes copied into kernel memory at once when streaming without native crypto. */
const CHUNK_BYTES = 64 * 1024
/** Batches of small messages are copied in at most this many bytes at a time. */
const BATCH_BYTES = 1 << 20
const IV: readonly number[] = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]

/** SHA-256 of bytes: 32 bytes. */
export function sha256(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.byteLength >= NATIVE_BYTES_MIN) {
    const native = nativeSha256()
    if (native !== undefined) return native().update(bytes).digest()
  }
  return sha256Wasm(bytes)
}

/** SHA-256 without native crypto. */
export function sha256Wasm(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const out = k.arena.reserve(DIGEST_BYTES)
    const at = k.copyIn(bytes)
    k.exports.sha256_digest(at, bytes.byteLength, out)
    return k.copyOut(out, DIGEST_BYTES)
  } finally {
    k.arena.rewind(mark)
  }
}

/** SHA-256 of each message, in order: 32 bytes each, back to back. */
export function sha256Many(messages: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const digests = new Uint8Array(messages.length * DIGEST_BYTES)
  const native = nativeSha256()
  const small: number[] = []
  let bytes = 0
  for (let i = 0; i < messages.length; i++) {
    const message = messages[i]!
    if (native !== undefined && message.byteLength >= NATIVE_BYTES_MIN) {
      digests.set(native().update(message).digest(), i * DIGEST_BYTES)
      continue
    }
    if (small.length > 0 && bytes + message.byteLength > BATCH_BYTES) {
      hashBatch(messages, small, bytes, digests)
      small.length = 0
      bytes = 0
    }
    small.push(i)
    bytes += message.byteLength
  }
  if (small.length > 0) hashBatch(messages, small, bytes, digests)
  return digests
}

function hashBatch(messages: readonly Uint8Array[], which: readonly number[], bytes: number, digests: Uint8Array): void {
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const n = which.length
    const pairs = k.arena.reserve(n * 8)
    const out = k.arena.reserve(n * DIGEST_BYTES)
    let at = k.arena.reserve(bytes)
    const { u8, u32 } = k
    for (let i = 0; i < n; i++) {
      const message = messages[which[i]!]!
      u8.set(message, at)
      u32[(pairs >>> 2) + 2 * i] = at
      u32[(pairs >>> 2) + 2 * i + 1] = message.byteLength
      at += message.byteLength
    }
    k.exports.sha256_batch(pairs, n, out)
    for (let i = 0; i < n; i++) digests.set(u8.subarray(out + i * DIGEST_BYTES, out + (i + 1) * DIGEST_BYTES), which[i]! * DIGEST_BYTES)
  } finally {
    k.arena.rewind(mark)
  }
}

/** Streaming SHA-256: update any number of times, then digest once. */
export class Sha256 {
  readonly #native: NativeHasher | undefined
  readonly #words: Uint32Array | undefined
  readonly #pending: Uint8Array | undefined
  #bytes = 0
  #done = false

  /** @param useNative  false: Wasm even where native crypto is there */
  constructor(useNative = true) {
    this.#native = useNative ? nativeSha256()?.() : undefined
    if (this.#native === undefined) {
      this.#words = Uint32Array.from(IV)
      this.#pending = new Uint8Array(BLOCK_BYTES)
    }
  }

  update(bytes: Uint8Array): this {
    assert(!this.#done, 'Sha256 is updated before its digest')
    if (this.#native !== undefined) {
      this.#native.update(bytes)
      return this
    }
    const pending = this.#pending!
    let from = 0
    const held = this.#bytes % BLOCK_BYTES
    this.#bytes += bytes.byteLength
    if (held > 0) {
      from = Math.min(BLOCK_BYTES - held, bytes.byteLength)
      pending.set(bytes.subarray(0, from), held)
      if (held + from < BLOCK_BYTES) return this
      this.#compress(pending)
    }
    while (bytes.byteLength - from >= BLOCK_BYTES) {
      const whole = Math.min(CHUNK_BYTES, (bytes.byteLength - from) & ~(BLOCK_BYTES - 1))
      this.#compress(bytes.subarray(from, from + whole))
      from += whole
    }
    pending.set(bytes.subarray(from))
    return this
  }

  digest(): Uint8Array<ArrayBuffer> {
    assert(!this.#done, 'Sha256 gives its digest once')
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

  #compress(blocks: Uint8Array): void {
    const k = kernels()
    const mark = k.arena.mark()
    try {
      const state = k.arena.reserve(DIGEST_BYTES)
      const at = k.copyIn(blocks)
      k.u32.set(this.#words!, state >>> 2)
      k.exports.sha256(state, at, blocks.byteLength / BLOCK_BYTES)
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
