import { readFileSync } from 'node:fs'

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { Lz4CorruptError, Lz4TooLargeError, Lz4UnsupportedError } from '../../bindings/errors.ts'
import { KernelInstance, kernels, lz4BlockDecode, lz4BlockEncode, lz4FrameBound, lz4FrameDecode, lz4FrameEncode } from '../../bindings/kernels/index.ts'
import { concat, hex, noise } from './bytes.ts'
import { lz4Matches } from './oracles/lz4.ts'
import { lz4Wasm } from './oracles/lz4-wasm.ts'
import { oracleXxh32 } from './oracles/xxh3.ts'
import { sampleText } from './vectors/text.ts'

const SAMPLE = sampleText(150_000)
const sample = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(`vectors/${name}`, import.meta.url)))

/** Bytes with short periods, long runs and noise: what exercises every kind of match. */
const mixed = fc
  .array(
    fc.oneof(
      fc
        .tuple(fc.uint8Array({ minLength: 1, maxLength: 24 }), fc.integer({ min: 1, max: 60 }))
        .map(([unit, times]) => concat(Array.from({ length: times }, () => unit))),
      fc.uint8Array({ maxLength: 120 }),
      fc.integer({ min: 0, max: 1500 }).map((n) => SAMPLE.slice(n, n + 300)),
    ),
    { maxLength: 30 },
  )
  .map((parts) => concat(parts))

describe('LZ4 block', () => {
  it('round-trips any bytes through its own and the peer decoder, and decodes what the peer encodes', async () => {
    const peer = await lz4Wasm()
    fc.assert(
      fc.property(mixed, (bytes) => {
        const packed = lz4BlockEncode(bytes, bytes.length + Math.ceil(bytes.length / 255) + 16)!
        expect(hex(lz4BlockDecode(packed, bytes.length))).toBe(hex(bytes))
        expect(hex(peer.decodeBlock(packed, bytes.length))).toBe(hex(bytes))
        const theirs = peer.encodeBlock(bytes)
        expect(hex(lz4BlockDecode(theirs, bytes.length))).toBe(hex(bytes))
      }),
      { numRuns: 200 },
    )
  })

  it('round-trips every period 1..40 at every length 0..257', () => {
    for (let period = 1; period <= 40; period++) {
      const unit = noise(period, period)
      const bytes = Uint8Array.from({ length: 257 }, (_, i) => unit[i % period]!)
      for (let n = 0; n <= 257; n++) {
        const packed = lz4BlockEncode(bytes.subarray(0, n), n + 20)!
        expect(hex(lz4BlockDecode(packed, n)), `period ${period}, length ${n}`).toBe(hex(bytes.subarray(0, n)))
      }
    }
  })

  it('keeps the end conditions of the format: the last 5 bytes are literals, and no match begins in the last 12', () => {
    // A run to the very end, so that the last match is as long as the encoder lets it be.
    for (let n = 0; n <= 300; n++) {
      for (const bytes of [new Uint8Array(n), concat([noise(n % 40, n + 1), new Uint8Array(n)])]) {
        const matches = lz4Matches(lz4BlockEncode(bytes, bytes.length + 20)!)
        for (const { start, end } of matches) {
          expect(start, `${bytes.length} bytes`).toBeLessThanOrEqual(bytes.length - 12)
          expect(end, `${bytes.length} bytes`).toBeLessThanOrEqual(bytes.length - 5)
        }
        if (n >= 20) expect(matches.length).toBeGreaterThan(0)
      }
    }
  })

  it('finds what is 65,535 bytes back, and nothing further: a distance has 16 bits', () => {
    const marker = noise(16)
    for (const [distance, found] of [
      [65_535, true],
      [65_536, false],
    ] as const) {
      const bytes = concat([marker, new Uint8Array(distance - 16), marker, noise(30, 2)])
      const packed = lz4BlockEncode(bytes)!
      expect(hex(lz4BlockDecode(packed, bytes.length))).toBe(hex(bytes))
      expect(lz4Matches(packed).some((match) => match.distance === distance)).toBe(found)
    }
  })

  it('round-trips long matches at distances around 256', () => {
    for (const period of [16, 17, 100, 255, 256, 257, 1000]) {
      const unit = noise(period, period)
      for (const n of [255, 256, 259, 260, 261, 300, 511, 2 * period, 5000, 70_000]) {
        const bytes = Uint8Array.from({ length: period + n }, (_, i) => unit[i % period]!)
        const packed = lz4BlockEncode(bytes, bytes.length + 300)!
        expect(hex(lz4BlockDecode(packed, bytes.length)), `period ${period}, length ${n}`).toBe(hex(bytes))
      }
    }
  })

  it('packs text at least as small as the peer, 64 KiB of zeros to under 300 bytes', async () => {
    const peer = await lz4Wasm()
    expect(lz4BlockEncode(SAMPLE)!.length).toBeLessThanOrEqual(peer.encodeBlock(SAMPLE).length * 1.01)
    expect(lz4BlockEncode(new Uint8Array(65_536))!.length).toBeLessThan(300)
  })

  it('says so when the output would pass its bound, and never writes past it', () => {
    const k = new KernelInstance({ fixedBytes: 1 << 20 })
    const text = SAMPLE.subarray(0, 2000)
    const src = k.copyIn(text)
    const dst = k.arena.reserve(4096)
    const whole = k.exports.lz4_block_encode(src, text.length, dst, 4096)
    expect(whole).toBeGreaterThan(0)
    for (let cap = 0; cap < 2200; cap += 7) {
      k.u8.fill(0xcc, dst, dst + 4096)
      const made = k.exports.lz4_block_encode(src, text.length, dst, cap)
      expect(made).toBeLessThanOrEqual(cap)
      if (cap >= whole + 16) expect(made).toBe(whole)
      if (cap < whole) expect(made).toBeLessThan(0)
      expect(k.u8.subarray(dst + cap, dst + 4096).every((byte) => byte === 0xcc)).toBe(true)
    }
    expect(lz4BlockEncode(noise(1000))).toBeUndefined()
  })

  it('decodes within its output bound only', () => {
    const k = new KernelInstance({ fixedBytes: 1 << 20 })
    const text = concat([SAMPLE.subarray(0, 700), new Uint8Array(100), SAMPLE.subarray(0, 90)])
    const packed = lz4BlockEncode(text)!
    const src = k.copyIn(packed)
    const dst = k.arena.reserve(2048)
    for (let cap = 0; cap <= text.length + 20; cap++) {
      k.u8.fill(0xcc, dst, dst + 2048)
      const made = k.exports.lz4_block_decode(src, packed.length, dst, cap, dst)
      expect(made, `cap ${cap}`).toBe(cap >= text.length ? text.length : -2)
      expect(
        k.u8.subarray(dst + cap, dst + 2048).every((byte) => byte === 0xcc),
        `cap ${cap}`,
      ).toBe(true)
    }
    expect(hex(k.copyOut(dst, text.length))).toBe(hex(text))
  })

  it('refuses truncation at every byte', () => {
    const text = SAMPLE.subarray(0, 600)
    const packed = lz4BlockEncode(text)!
    for (let n = 0; n < packed.length; n++) expect(() => lz4BlockDecode(packed.subarray(0, n), 600), `cut at ${n}`).toThrow(/lz4/)
  })

  it('refuses distance 0, distances before the history, and endless lengths', () => {
    const bad: [string, number[]][] = [
      ['distance 0', [0x10, 65, 0, 0, 0x50, 1, 2, 3, 4, 5]],
      ['distance past the start', [0x10, 65, 2, 0, 0x50, 1, 2, 3, 4, 5]],
      ['literals past the input', [0xf0, 200, 1, 2, 3]],
      ['literal length without end', [0xf0, 255, 255, 255]],
      ['match length without end', [0x1f, 65, 1, 0, 255, 255]],
      ['ends in a match', [0x10, 65, 1, 0]],
      ['half a distance', [0x10, 65, 1]],
      ['empty', []],
    ]
    for (const [why, bytes] of bad) expect(() => lz4BlockDecode(Uint8Array.from(bytes), Math.min(200, bytes.length * 255)), why).toThrow(Lz4CorruptError)
  })

  it('never traps or writes outside on noise', () => {
    const k = new KernelInstance({ fixedBytes: 1 << 16 })
    const src = k.arena.reserve(400)
    const dst = k.arena.reserve(1024)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(900), (bytes, cap) => {
        k.u8.set(bytes, src)
        k.u8.fill(0xcc, dst, dst + 1024)
        const made = k.exports.lz4_block_decode(src, bytes.length, dst, cap, dst)
        expect(made).toBeLessThanOrEqual(cap)
        expect(k.u8.subarray(dst + cap, dst + 1024).every((byte) => byte === 0xcc)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })
})

describe('LZ4 frame', () => {
  it('reads the samples of the lz4 tool: linked and independent blocks, checksums, content size, several frames with a skippable one', () => {
    for (const name of ['linked-checksums.lz4', 'independent.lz4', 'two-frames.lz4']) {
      expect(hex(lz4FrameDecode(sample(name), SAMPLE.length)) === hex(SAMPLE), name).toBe(true)
    }
    expect(lz4FrameDecode(sample('zeros.lz4'), 1000).every((byte) => byte === 0)).toBe(true)
  })

  it('refuses each flipped bit of a frame with checksums', () => {
    const frame = sample('zeros.lz4')
    const lastToken = frame.length - 8 - 6
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const bad = frame.slice()
      bad[bit >>> 3]! ^= 1 << (bit & 7)
      // The match nibble of a block's last token means nothing: without block checksums its four bits are free.
      if (bit >= lastToken * 8 && bit < lastToken * 8 + 4) expect(lz4FrameDecode(bad, 1000).every((byte) => byte === 0)).toBe(true)
      else expect(() => lz4FrameDecode(bad, 1000), `bit ${bit}`).toThrow(Lz4CorruptError)
    }
    const large = sample('linked-checksums.lz4')
    for (let bit = 0; bit < large.length * 8; bit += 1999) {
      const bad = large.slice()
      bad[bit >>> 3]! ^= 1 << (bit & 7)
      expect(() => lz4FrameDecode(bad, SAMPLE.length), `bit ${bit}`).toThrow(Lz4CorruptError)
    }
  })

  it('refuses truncation at every byte and another length than the stated one', () => {
    const frame = sample('zeros.lz4')
    for (let n = 4; n < frame.length; n++) expect(() => lz4FrameDecode(frame.subarray(0, n), 1000)).toThrow(Lz4CorruptError)
    const text = SAMPLE.subarray(0, 5000)
    const packed = lz4FrameEncode(text)
    for (const stated of [0, 4999, 5001, 6000]) expect(() => lz4FrameDecode(packed, stated)).toThrow(Lz4CorruptError)
    expect(() => lz4FrameDecode(new Uint8Array(0), 0)).not.toThrow()
    expect(() => lz4FrameDecode(concat([packed, Uint8Array.of(1)]), 5000)).toThrow(Lz4CorruptError)
  })

  it('refuses a stated size that the input cannot reach before it allocates', () => {
    const before = kernels().memory.buffer.byteLength
    expect(() => lz4FrameDecode(noise(20), 2 ** 31)).toThrow(Lz4TooLargeError)
    expect(kernels().memory.buffer.byteLength).toBe(before)
  })

  it('names what it does not support', () => {
    const header = (flg: number, bd: number, ...rest: number[]): Uint8Array => {
      const fields = Uint8Array.of(flg, bd, ...rest)
      return concat([Uint8Array.of(0x04, 0x22, 0x4d, 0x18), fields, Uint8Array.of((oracleXxh32(fields) >>> 8) & 255), new Uint8Array(40)])
    }
    const feature = (bytes: Uint8Array): unknown => {
      try {
        lz4FrameDecode(bytes, 100)
      } catch (error) {
        return error instanceof Lz4UnsupportedError ? error.feature : error
      }
      return undefined
    }
    expect(feature(header(0x61, 0x70, 1, 2, 3, 4))).toBe('dictionary')
    expect(feature(header(0xa0, 0x70))).toBe('version')
    expect(feature(header(0x62, 0x70))).toBe('reserved bits')
    expect(feature(header(0x60, 0xf0))).toBe('reserved bits')
    expect(feature(Uint8Array.of(0x02, 0x21, 0x4c, 0x18, 0, 0))).toBe('legacy frame')
    expect(() => lz4FrameDecode(header(0x60, 0x30), 100)).toThrow(Lz4CorruptError)
    // A content size that lies.
    expect(() => lz4FrameDecode(header(0x68, 0x70, 9, 0, 0, 0, 0, 0, 0, 0), 100)).toThrow(Lz4CorruptError)
  })

  it('writes the header of the bridge, ends with 0, and round-trips at every size around the edges', () => {
    const frame = lz4FrameEncode(SAMPLE)
    expect(hex(frame.subarray(0, 7))).toBe('04224d18607073')
    expect(hex(frame.subarray(-4))).toBe('00000000')
    for (let n = 0; n <= 257; n++) expect(hex(lz4FrameDecode(lz4FrameEncode(SAMPLE.subarray(0, n)), n))).toBe(hex(SAMPLE.subarray(0, n)))
    fc.assert(
      fc.property(mixed, (bytes) => {
        const packed = lz4FrameEncode(bytes)
        expect(packed.length).toBeLessThanOrEqual(lz4FrameBound(bytes.length))
        expect(hex(lz4FrameDecode(packed, bytes.length))).toBe(hex(bytes))
      }),
      { numRuns: 60 },
    )
  })

  it('cuts a buffer over 4 MiB into blocks and stores what does not shrink raw', () => {
    const big = new Uint8Array(9 * 1024 * 1024 + 5)
    big.set(noise(5 * 1024 * 1024), 0)
    const packed = lz4FrameEncode(big)
    const sizes: number[] = []
    const view = new DataView(packed.buffer)
    for (let at = 7; ;) {
      const word = view.getUint32(at, true)
      sizes.push(word)
      if (word === 0) break
      at += 4 + (word & 0x7fffffff)
    }
    expect(sizes.length).toBe(4)
    expect(sizes[0]).toBe((0x80000000 | (4 * 1024 * 1024)) >>> 0)
    expect(Buffer.compare(lz4FrameDecode(packed, big.length), big)).toBe(0)
    const random = noise(100_000)
    expect(lz4FrameEncode(random).length).toBeLessThanOrEqual(100_000 * 1.005)
  })
})
