import { createHash, hash } from 'node:crypto'

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { chainDigest, encodeFrame, kernels, Sha256, sha256, sha256Many } from '../../bindings/kernels/index.ts'
import { findNativeSha256, type NativeSha256 } from '../../bindings/kernels/load.ts'
import { sha256By, sha256ManyBy, sha256Wasm } from '../../bindings/kernels/sha256.ts'
import { concat, hex, noise } from './bytes.ts'
import { vectorsOf } from './vectors/run.ts'

const native = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Published by NIST. */
const VECTORS = vectorsOf('sha256.json')

describe('SHA-256', () => {
  it('gives the NIST values by scalar, by host and streaming', () => {
    for (const [message, digest] of VECTORS) {
      expect(hex(sha256Wasm(message))).toBe(digest)
      expect(hex(sha256(message))).toBe(digest)
      expect(hex(new Sha256(false).update(message).digest())).toBe(digest)
      expect(hex(new Sha256().update(message).digest())).toBe(digest)
    }
  })

  it('gives the NIST values in every lane', () => {
    for (const [message, digest] of VECTORS) {
      for (let lane = 0; lane < 4; lane++) {
        const others = [noise(10), noise(200), noise(64)]
        const messages = [...others.slice(0, lane), message, ...others.slice(lane)]
        expect(hex(batch(messages)[lane]!)).toBe(digest)
      }
    }
  })

  it('scalar equals node:crypto at every length 0..257, and the x4 kernel at equal block counts', () => {
    const data = noise(300)
    for (let n = 0; n <= 257; n++) expect(hex(sha256Wasm(data.subarray(0, n))), `length ${n}`).toBe(native(data.subarray(0, n)))
    const k = kernels()
    const mark = k.arena.mark()
    const blocks = k.copyIn(noise(4 * 128))
    const state4 = k.arena.reserve(128)
    const state = k.arena.reserve(32)
    const iv = Uint32Array.from({ length: 8 }, (_, i) => i * 0x01010101)
    for (let w = 0; w < 8; w++) k.u32.fill(iv[w]!, (state4 >>> 2) + 4 * w, (state4 >>> 2) + 4 * w + 4)
    k.exports.sha256_x4(state4, blocks, blocks + 128, blocks + 256, blocks + 384, 2)
    for (let lane = 0; lane < 4; lane++) {
      k.u32.set(iv, state >>> 2)
      k.exports.sha256(state, blocks + 128 * lane, 2)
      for (let w = 0; w < 8; w++) expect(k.u32[(state4 >>> 2) + 4 * w + lane]).toBe(k.u32[(state >>> 2) + w])
    }
    k.arena.rewind(mark)
  })

  it('many messages of any lengths equal one at a time', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(700), { maxLength: 40 }), (lengths) => {
        const data = noise(2000)
        const messages = lengths.map((n, i) => data.subarray(i, i + n))
        const digests = sha256Many(messages)
        messages.forEach((message, i) => expect(hex(digests.subarray(32 * i, 32 * i + 32))).toBe(native(message)))
      }),
      { numRuns: 60 },
    )
  })

  it('messages of one length, which go in step, equal one at a time amid others', () => {
    // A multiple of 64 ends in a block that the length alone gives; lengths alternate, so it is made anew.
    const runs = fc.array(fc.tuple(fc.oneof(fc.constantFrom(0, 64, 128, 256, 576), fc.nat(639)), fc.integer({ min: 1, max: 9 })), { maxLength: 8 })
    fc.assert(
      fc.property(runs, (made) => {
        const data = noise(2000)
        const messages = made.flatMap(([n, count]) => Array.from({ length: count }, (_, i) => data.subarray(i * 7 + n, i * 7 + 2 * n)))
        expect(batch(messages).map(hex)).toEqual(messages.map(native))
      }),
      { numRuns: 100 },
    )
  })

  it('many messages pass the copy bound and mix with large ones', () => {
    const data = noise(4000)
    const messages = Array.from({ length: 3000 }, (_, i) => data.subarray(i % 500, (i % 500) + (i % 7 === 0 ? 1500 : 900)))
    const digests = sha256Many(messages)
    for (const i of [0, 1, 7, 1164, 1165, 2999]) expect(hex(digests.subarray(32 * i, 32 * i + 32))).toBe(native(messages[i]!))
  })

  describe('whatever the host offers', () => {
    const host = (crypto: object | undefined, versions: Record<string, string> = {}): NativeSha256 | undefined =>
      findNativeSha256({ process: { versions, getBuiltinModule: () => crypto } })
    const ways = {
      'no crypto': host(undefined),
      'createHash alone': host({ createHash }),
      'hash at one go': host({ createHash, hash }),
      'a cheap call, as in Bun': host({ createHash, hash }, { bun: '1' }),
    }

    it('takes the host for one message of 256 bytes or more and for many of 896, always where a call is cheap, never where there is none', () => {
      const bounds = Object.values(ways).map((way) => [way?.oneBytesMin, way?.manyBytesMin])
      expect(bounds).toEqual([
        [undefined, undefined],
        [256, 896],
        [256, 896],
        [0, 0],
      ])
      expect(findNativeSha256({})).toBeUndefined()
    })

    it.each([
      [1, 224],
      [2, 448],
      [3, 672],
      [4, 896],
      [9, 896],
    ])('of %i messages it takes those of %i bytes or more', (count, least) => {
      const asked: number[] = []
      const way: NativeSha256 = {
        ...host({ createHash, hash })!,
        digest: (bytes) => {
          asked.push(bytes.byteLength)
          return new Uint8Array(hash('sha256', bytes, 'buffer'))
        },
      }
      for (const n of [least - 1, least])
        sha256ManyBy(
          way,
          Array.from({ length: count }, () => noise(n)),
        )
      expect(asked).toEqual(Array.from({ length: count }, () => least))
    })

    it.each(Object.entries(ways))('gives the same digests: %s', (_, way) => {
      const data = noise(3000)
      const lengths = [0, 1, 55, 56, 63, 64, 65, 191, 192, 255, 256, 257, 895, 896, 897, 1023, 1024, 3000]
      const messages = lengths.map((n) => data.subarray(0, n))
      const expected = messages.map(native)
      expect(messages.map((message) => hex(sha256By(way, message)))).toEqual(expected)
      expect(hex(sha256ManyBy(way, messages))).toBe(expected.join(''))
      for (let few = 1; few < 4; few++)
        for (const from of [0, 9, 12]) expect(hex(sha256ManyBy(way, messages.slice(from, from + few)))).toBe(expected.slice(from, from + few).join(''))
      expect(Object.getPrototypeOf(sha256By(way, data))).toBe(Uint8Array.prototype)
      if (way !== undefined) expect(hex(way.hasher().update(data.subarray(0, 100)).update(data.subarray(100)).digest())).toBe(native(data))
    })
  })

  it('counts more than 2^32 bits, without the host, too', () => {
    const piece = new Uint8Array(64 << 20)
    const [ours, theirs] = [new Sha256(false), createHash('sha256')]
    for (let i = 0; i < 8; i++) {
      ours.update(piece)
      theirs.update(piece)
    }
    ours.update(Uint8Array.of(1))
    expect(hex(ours.digest())).toBe(theirs.update(Uint8Array.of(1)).digest('hex'))
  })

  it('streams in any pieces, with and without the host', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(200), { maxLength: 20 }), fc.boolean(), (cuts, host) => {
        const data = noise(cuts.reduce((sum, n) => sum + n, 0))
        const hash = new Sha256(host)
        let from = 0
        for (const n of cuts) {
          hash.update(data.subarray(from, from + n))
          from += n
        }
        expect(hex(hash.digest())).toBe(native(data))
      }),
      { numRuns: 60 },
    )
    const large = noise(200_001)
    expect(hex(new Sha256(false).update(large.subarray(0, 33)).update(large.subarray(33)).digest())).toBe(native(large))
  })
})

describe('chain digest', () => {
  it('folds SHA-256 over the record bytes with `local` as 0, and gives every step', () => {
    const payloads = [0, 1, 7, 8, 23, 32, 40, 64, 100, 1000, 70_000].map((n) => noise(n, n + 1))
    const frames = payloads.map((payload, i) => encodeFrame(payload, { kind: 1 + (i % 12), flags: i % 4, local: i & 1, lsn: 9 + i, epoch: 2 }, 99n))
    const bytes = concat(frames)
    const offsets = new Uint32Array(frames.length)
    for (let i = 1; i < frames.length; i++) offsets[i] = offsets[i - 1]! + frames[i - 1]!.length
    const expected: string[] = []
    let digest = createHash('sha256').update('start').digest()
    const start = new Uint8Array(digest)
    frames.forEach((frame, i) => {
      const record = frame.slice(8, 32 + payloads[i]!.length)
      record[6] = 0
      record[7] = 0
      digest = createHash('sha256').update(digest).update(createHash('sha256').update(record).digest()).digest()
      expected.push(digest.toString('hex'))
    })
    const before = hex(bytes)
    expect(hex(chainDigest(start, bytes, offsets))).toBe(expected.at(-1))
    expect(hex(chainDigest(start, bytes, offsets, { every: true }))).toBe(expected.join(''))
    expect(hex(bytes)).toBe(before)
    // Cut anywhere, the fold goes on.
    for (let cut = 0; cut <= frames.length; cut++) {
      const head = chainDigest(start, bytes, offsets.subarray(0, cut))
      expect(hex(chainDigest(head, bytes, offsets.subarray(cut)))).toBe(expected.at(-1))
    }
  })

  it('does not see `local`, sees every other bit of the record', () => {
    const frame = encodeFrame(noise(50), { kind: 1, flags: 0, local: 0, lsn: 1, epoch: 1 }, 1n)
    const digest = (bytes: Uint8Array): string => hex(chainDigest(new Uint8Array(32), bytes, Uint32Array.of(0)))
    const plain = digest(frame)
    for (let byte = 0; byte < frame.length; byte++) {
      if (byte >= 8 && byte < 12) continue
      const other = frame.slice()
      other[byte]! ^= 0x10
      const covered = byte >= 8 && byte < 82 && byte !== 14 && byte !== 15
      expect(digest(other) !== plain, `byte ${byte}`).toBe(covered)
    }
  })
})

function batch(messages: readonly Uint8Array[]): Uint8Array[] {
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const pairs = k.arena.reserve(messages.length * 8)
    const out = k.arena.reserve(messages.length * 32)
    messages.forEach((message, i) => {
      const p = k.copyIn(message)
      k.u32.set([p, message.length], (pairs >>> 2) + 2 * i)
    })
    k.exports.sha256_batch(pairs, messages.length, out)
    return messages.map((_, i) => k.copyOut(out + 32 * i, 32))
  } finally {
    k.arena.rewind(mark)
  }
}
