// kernels/digest-list.ts: the digest list of a file: a tree of SHA-256 over chunks of 64 KiB, so that a part of it is proven without the rest (kernels.md 3.4).
//
//   leaf = SHA-256(00 | chunk)   parent = SHA-256(01 | left | right), an odd last node goes up unchanged   root = SHA-256(02 | u64 length | top)
//
// The first bytes keep leaves, parents and roots apart, as in RFC 6962 section 2.1. Invariant: a chunk is accepted only under the root of the very file, at
// its very place and length. No bytes: the top is SHA-256(00).
import { type KernelBytes, settled } from './buffer.ts'
import { DIGEST_BYTES, Sha256, sha256, sha256Many } from './sha256.ts'

/** Bytes of a chunk; the last one may be shorter. */
export const CHUNK_BYTES: number = 64 * 1024

const LEAF = Uint8Array.of(0)

/**
 * Root of the digest list of a file: 32 bytes.
 *
 * @throws InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @cost one SHA-256 over all bytes
 * @example const root = rangeRoot(file)
 */
export function rangeRoot(bytes: KernelBytes): Uint8Array<ArrayBuffer> {
  return new DigestList(bytes).root
}

/**
 * The digests of a file's chunks and what stands above them.
 *
 * @example new DigestList(file).path(3) // proves chunk 3
 */
export class DigestList {
  /** Bytes of the file. */
  readonly length: number
  /** 32 bytes. */
  readonly root: Uint8Array<ArrayBuffer>
  /** From the leaves up to one top: digests back to back. */
  readonly #levels: readonly Uint8Array<ArrayBuffer>[]

  /** @throws InvalidConfigError, KernelMemoryExhaustedError as `xxh3` */
  constructor(file: KernelBytes) {
    const bytes = settled(file)
    this.length = bytes.byteLength
    const levels = [leavesOf(bytes)]
    for (let level = levels[0]!; level.byteLength > DIGEST_BYTES; level = levels.at(-1)!) levels.push(parentsOf(level))
    this.#levels = levels
    this.root = rootOf(this.length, levels.at(-1)!)
  }

  /** Chunks of the file; 1 of no bytes for an empty one. */
  get chunks(): number {
    return this.#levels[0]!.byteLength / DIGEST_BYTES
  }

  /** SHA-256(00 | chunk) of each chunk, back to back. A view: do not change it. */
  get chunkDigests(): Uint8Array {
    return this.#levels[0]!
  }

  /**
   * What `isChunkOf` needs beside the chunk: the neighbour's digest on each level on which there is one, from the leaves up.
   *
   * @throws RangeError for a chunk that the file does not have
   */
  path(chunk: number): Uint8Array<ArrayBuffer> {
    if (!(Number.isInteger(chunk) && chunk >= 0 && chunk < this.chunks)) throw new RangeError(`chunk ${chunk} of a file of ${this.chunks} chunks`)
    const digests: Uint8Array[] = []
    for (let level = 0, at = chunk; level < this.#levels.length - 1; level++, at >>>= 1) {
      const neighbour = digestAt(this.#levels[level]!, at ^ 1)
      if (neighbour.byteLength > 0) digests.push(neighbour)
    }
    return joined(digests)
  }
}

/**
 * Whether these bytes are that chunk of the file that has the root.
 *
 * @param o.length  bytes of the whole file
 * @param o.chunk   which one, from 0
 * @param o.path    as `DigestList.path` gives it
 * @throws InvalidConfigError, KernelMemoryExhaustedError as `xxh3`; what does not fit is false
 * @example isChunkOf(list.root, { length: file.length, chunk: 3, bytes, path: list.path(3) })
 */
export function isChunkOf(root: Uint8Array, o: { length: number; chunk: number; bytes: KernelBytes; path: Uint8Array }): boolean {
  const [expected, bytes, path] = [settled(root), settled(o.bytes), settled(o.path)]
  const chunks = Math.max(1, Math.ceil(o.length / CHUNK_BYTES))
  if (!Number.isInteger(o.chunk) || o.chunk < 0 || o.chunk >= chunks) return false
  if (bytes.byteLength !== Math.min(CHUNK_BYTES, o.length - o.chunk * CHUNK_BYTES)) return false
  let digest = leafOf(bytes)
  let used = 0
  for (let at = o.chunk, count = chunks; count > 1; at >>>= 1, count = (count + 1) >>> 1) {
    if ((at ^ 1) >= count) continue
    const neighbour = path.subarray(used, (used += DIGEST_BYTES))
    if (neighbour.byteLength < DIGEST_BYTES) return false
    digest = sha256((at & 1) === 0 ? parentMessage(digest, neighbour) : parentMessage(neighbour, digest))
  }
  if (used !== path.byteLength) return false
  const found = rootOf(o.length, digest)
  return expected.byteLength === DIGEST_BYTES && found.every((byte, i) => byte === expected[i])
}

function leavesOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.byteLength === 0) return leafOf(bytes)
  const leaves = new Uint8Array(Math.ceil(bytes.byteLength / CHUNK_BYTES) * DIGEST_BYTES)
  for (let start = 0, at = 0; start < bytes.byteLength; start += CHUNK_BYTES, at += DIGEST_BYTES) {
    leaves.set(leafOf(bytes.subarray(start, start + CHUNK_BYTES)), at)
  }
  return leaves
}

function leafOf(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Sha256().update(LEAF).update(chunk).digest()
}

function parentsOf(level: Uint8Array): Uint8Array<ArrayBuffer> {
  const nodes = level.byteLength / DIGEST_BYTES
  const messages = Array.from({ length: nodes >>> 1 }, (_, i) => parentMessage(digestAt(level, 2 * i), digestAt(level, 2 * i + 1)))
  const parents = sha256Many(messages)
  return nodes % 2 === 0 ? parents : joined([parents, digestAt(level, nodes - 1)])
}

function parentMessage(left: Uint8Array, right: Uint8Array): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(1 + 2 * DIGEST_BYTES)
  message[0] = 1
  message.set(left, 1)
  message.set(right, 1 + DIGEST_BYTES)
  return message
}

function rootOf(length: number, top: Uint8Array): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(9 + DIGEST_BYTES)
  message[0] = 2
  new DataView(message.buffer).setBigUint64(1, BigInt(length), true)
  message.set(top, 9)
  return sha256(message)
}

/** Empty behind the end. */
function digestAt(level: Uint8Array, i: number): Uint8Array {
  return level.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.byteLength
  }
  return all
}
