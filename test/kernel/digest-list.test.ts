// test/kernel/digest-list.test.ts: the digest list against a plain recursion over node:crypto, and what its paths prove.
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CHUNK_BYTES, DigestList, isChunkOf, rangeRoot } from '../../bindings/kernels/public.ts'
import { randomOf } from './vec-model.ts'

function hash(...parts: readonly Uint8Array[]): Uint8Array {
  const digest = createHash('sha256')
  for (const part of parts) digest.update(part)
  return new Uint8Array(digest.digest())
}

/** The top over leaves [first, end): the left side is the largest power of two below their number (the same tree as promoting odd nodes). */
function top(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 1) return leaves[0]!
  let left = 1
  while (left * 2 < leaves.length) left *= 2
  return hash(Uint8Array.of(1), top(leaves.slice(0, left)), top(leaves.slice(left)))
}

function oracle(bytes: Uint8Array): Uint8Array {
  const leaves: Uint8Array[] = []
  for (let at = 0; at < bytes.length || at === 0; at += CHUNK_BYTES) leaves.push(hash(Uint8Array.of(0), bytes.subarray(at, at + CHUNK_BYTES)))
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(bytes.length), true)
  return hash(Uint8Array.of(2), length, top(leaves))
}

function noise(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const random = randomOf(seed)
  return Uint8Array.from({ length: bytes }, () => random.below(256))
}

const edges = [
  0,
  1,
  CHUNK_BYTES - 1,
  CHUNK_BYTES,
  CHUNK_BYTES + 1,
  2 * CHUNK_BYTES,
  2 * CHUNK_BYTES + 1,
  3 * CHUNK_BYTES,
  5 * CHUNK_BYTES - 7,
  7 * CHUNK_BYTES,
  8 * CHUNK_BYTES,
]

describe('digest list', () => {
  it('has the root of a plain recursion, at the edges of chunks and at odd numbers of them', () => {
    for (const length of edges) {
      const bytes = noise(length, length)
      expect(rangeRoot(bytes), `${length} bytes`).toEqual(oracle(bytes))
      expect(new DigestList(bytes).chunks).toBe(Math.max(1, Math.ceil(length / CHUNK_BYTES)))
    }
  })

  it('gives no bytes the top SHA-256(00)', () => {
    expect(rangeRoot(new Uint8Array(0))).toEqual(hash(Uint8Array.of(2), new Uint8Array(8), hash(Uint8Array.of(0))))
  })

  it('proves each chunk with its path', () => {
    for (const length of edges) {
      const bytes = noise(length, length)
      const list = new DigestList(bytes)
      for (let chunk = 0; chunk < list.chunks; chunk++) {
        const part = bytes.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES)
        expect(isChunkOf(list.root, { length, chunk, bytes: part, path: list.path(chunk) }), `${length} bytes, chunk ${chunk}`).toBe(true)
      }
    }
  })

  it('accepts nothing else: a flipped bit of chunk, path or root, another place, another length, a path too short or too long', () => {
    const length = 6 * CHUNK_BYTES + 100
    const bytes = noise(length, 5)
    const list = new DigestList(bytes)
    const flipped = (source: Uint8Array, bit: number): Uint8Array => {
      const copy = source.slice()
      copy[bit >>> 3]! ^= 1 << (bit & 7)
      return copy
    }
    fc.assert(
      fc.property(fc.nat(list.chunks - 1), fc.nat(), (chunk, at) => {
        const part = bytes.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES)
        const path = list.path(chunk)
        const right = { length, chunk, bytes: part, path }
        expect(isChunkOf(list.root, right)).toBe(true)
        const wrong = [
          isChunkOf(flipped(list.root, at % 256), right),
          isChunkOf(list.root, { ...right, bytes: flipped(part, at % (part.length * 8)) }),
          isChunkOf(list.root, { ...right, path: flipped(path, at % (path.length * 8)) }),
          isChunkOf(list.root, { ...right, chunk: (chunk + 1 + (at % (list.chunks - 1))) % list.chunks }),
          isChunkOf(list.root, { ...right, length: length - 1 }),
          isChunkOf(list.root, { ...right, length: length + CHUNK_BYTES }),
          isChunkOf(list.root, { ...right, path: path.subarray(32) }),
          isChunkOf(list.root, { ...right, path: Uint8Array.from([...path, ...new Uint8Array(32)]) }),
          isChunkOf(list.root, { ...right, bytes: part.subarray(1) }),
          isChunkOf(list.root.subarray(1), right),
          isChunkOf(list.root, { ...right, chunk: -1 }),
          isChunkOf(list.root, { ...right, chunk: 0.5 }),
        ]
        expect(wrong).toEqual(wrong.map(() => false))
      }),
      { numRuns: 60 },
    )
  })

  it('keeps leaves and parents apart: a file made of two digests does not have the root of the file they came from', () => {
    const bytes = noise(2 * CHUNK_BYTES, 9)
    const list = new DigestList(bytes)
    const forged = list.chunkDigests.slice()
    expect(isChunkOf(list.root, { length: forged.length, chunk: 0, bytes: forged, path: new Uint8Array(0) })).toBe(false)
  })

  it('refuses a chunk that the file does not have', () => {
    for (const chunk of [1, -1, 0.5, NaN]) expect(() => new DigestList(noise(10, 1)).path(chunk)).toThrow(RangeError)
  })
})
