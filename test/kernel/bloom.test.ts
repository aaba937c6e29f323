import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { CorruptionError } from '../../bindings/errors.ts'
import { BLOOM_HEADER_BYTES, BloomFilter, kernels, xxh3Column } from '../../bindings/kernels/index.ts'
import { hex, noise } from './bytes.ts'
import { OracleBloom } from './oracles/bloom.ts'
import { oracleXxh3 } from './oracles/xxh3.ts'

/** n hashes that look random. */
const hashes = (n: number, seed = 1): Uint32Array => new Uint32Array(noise(n * 8, seed).buffer)
const hashAt = (words: Uint32Array, i: number): bigint => (BigInt(words[2 * i + 1]!) << 32n) | BigInt(words[2 * i]!)

describe('split-block bloom filter', () => {
  it('equals a word-by-word build of the Parquet layout bit for bit', () => {
    fc.assert(
      fc.property(fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1590, max: 1700 })), fc.nat(500), fc.nat(), (blocks, n, seed) => {
        const keys = hashes(n, seed + 1)
        const filter = BloomFilter.buildWithBlocks(keys, blocks)
        const oracle = new OracleBloom(blocks)
        for (let i = 0; i < n; i++) oracle.insert(hashAt(keys, i))
        expect(hex(filter.bytes)).toBe(hex(new Uint8Array(oracle.words.buffer)))
        const others = hashes(200, seed + 77)
        const { bitmap, hits } = filter.probeMany(others)
        let expectedHits = 0
        for (let i = 0; i < 200; i++) {
          const expected = oracle.has(hashAt(others, i))
          expect(filter.probeOne(others[2 * i]!, others[2 * i + 1]!)).toBe(expected)
          expect(((bitmap[i >>> 3]! >>> (i & 7)) & 1) === 1).toBe(expected)
          if (expected) expectedHits++
        }
        expect(hits).toBe(expectedHits)
      }),
      { numRuns: 60 },
    )
  })

  it('finds every inserted key; absent keys hit at most 0.3 % at 16 bits a key', () => {
    const n = 100_000
    const keys = hashes(n, 5)
    const filter = BloomFilter.build(keys)
    expect(filter.keys).toBe(n)
    expect(filter.blocks).toBe(n / 16)
    expect(filter.probeMany(keys).hits).toBe(n)
    for (let i = 0; i < n; i += 97) expect(filter.probeOne(keys[2 * i]!, keys[2 * i + 1]!)).toBe(true)
    const absent = filter.probeMany(hashes(1_000_000, 6))
    expect(absent.hits).toBeLessThan(3000)
    expect(absent.hits).toBeGreaterThan(300)
  })

  it('sets and finds bit 31 in every word', () => {
    const salts = [0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31]
    for (let word = 0; word < 8; word++) {
      let low = 1
      while (Math.imul(low, salts[word]!) >>> 27 !== 31) low++
      const filter = BloomFilter.buildWithBlocks(Uint32Array.of(low, 0), 1)
      expect(new DataView(filter.bytes.buffer).getUint32(4 * word, true)).toBe(0x80000000)
      expect(filter.probeOne(low, 0)).toBe(true)
      expect(filter.probeMany(Uint32Array.of(low, 0)).hits).toBe(1)
    }
  })

  it('has one block at least; batches of 0, 1, 63, 64, 65 write no word past the bitmap', () => {
    const k = kernels()
    const filter = BloomFilter.build(new Uint32Array(0))
    expect(filter.blocks).toBe(1)
    expect(filter.probeOne(1, 2)).toBe(false)
    const keys = hashes(65)
    const one = BloomFilter.buildWithBlocks(keys, 1)
    for (const n of [0, 1, 63, 64, 65]) {
      const mark = k.arena.mark()
      const f = k.copyIn(one.bytes)
      const batch = k.arena.reserve(n * 8)
      k.u32.set(keys.subarray(0, 2 * n), batch >>> 2)
      const out = k.arena.reserve(32)
      k.u8.fill(0xcc, out, out + 32)
      expect(k.exports.sbbf_probe(f, 1, batch, n, out)).toBe(n)
      const words = Math.ceil(n / 64)
      const bits = k.u8.slice(out, out + 8 * words)
      expect(bits.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)).toBe(n)
      expect(k.u8.subarray(out + 8 * words, out + 32).every((byte) => byte === 0xcc)).toBe(true)
      k.arena.rewind(mark)
      expect(one.probeMany(keys.subarray(0, 2 * n)).hits).toBe(n)
    }
  })

  it('takes +0 and -0, and all NaNs, as one key each', () => {
    const column = (bits: bigint[]): Uint32Array =>
      xxh3Column(
        {
          layout: { kind: 'fixed', width: 8 },
          length: bits.length,
          nullCount: 0,
          validity: undefined,
          values: new Uint8Array(BigUint64Array.from(bits).buffer),
          offsets: undefined,
          children: [],
          dictionary: undefined,
        },
        'f64',
      )
    const filter = BloomFilter.buildWithBlocks(column([0n, 0x7ff8000000000000n]), 1000)
    expect(filter.probeMany(column([1n << 63n, 0xfff8000000000000n, 0x7ff0000000000001n, 0x7fffffffffffffffn])).hits).toBe(4)
  })

  it('finds keys in a filter past 2^21 blocks, where the product of high word and blocks needs more than 53 bits', () => {
    const blocks = (1 << 21) + 12_345
    const keys = hashes(1000, 11)
    keys[1] = 0xffffffff
    const filter = BloomFilter.buildWithBlocks(keys, blocks)
    for (let i = 0; i < 1000; i++) expect(filter.probeOne(keys[2 * i]!, keys[2 * i + 1]!)).toBe(true)
  })

  it('merges to the filter of both', () => {
    const a = hashes(300, 1)
    const b = hashes(300, 2)
    const both = new Uint32Array(1200)
    both.set(a)
    both.set(b, 600)
    const merged = BloomFilter.buildWithBlocks(a, 20).merge(BloomFilter.buildWithBlocks(b, 20))
    expect(hex(merged.bytes)).toBe(hex(BloomFilter.buildWithBlocks(both, 20).bytes))
    const k = kernels()
    const mark = k.arena.mark()
    const dst = k.copyIn(BloomFilter.buildWithBlocks(a, 20).bytes)
    k.exports.sbbf_merge(dst, k.copyIn(BloomFilter.buildWithBlocks(b, 20).bytes), 640)
    expect(hex(k.copyOut(dst, 640))).toBe(hex(merged.bytes))
    k.arena.rewind(mark)
  })
})

describe('bloom filter at rest', () => {
  it('has the header of the format and reads back, at any alignment', () => {
    const filter = BloomFilter.build(hashes(1000, 3))
    const bytes = filter.encode()
    const view = new DataView(bytes.buffer)
    expect(new TextDecoder().decode(bytes.subarray(0, 4))).toBe('VBLM')
    expect([view.getUint32(4, true), view.getUint32(8, true), view.getUint32(12, true)]).toEqual([1, filter.blocks, 1])
    expect(view.getBigUint64(16, true)).toBe(1000n)
    const covered = new Uint8Array(bytes.length - 8)
    covered.set(bytes.subarray(0, 24))
    covered.set(bytes.subarray(32), 24)
    expect(view.getBigUint64(24, true)).toBe(oracleXxh3(covered))
    const shifted = new Uint8Array(bytes.length + 3)
    shifted.set(bytes, 3)
    const read = BloomFilter.decode(shifted.subarray(3), 'k.vbl')
    expect({ keys: read.keys, bytes: hex(read.bytes) }).toEqual({ keys: 1000, bytes: hex(filter.bytes) })
  })

  it('of another version or hash is refused, though its check is right', () => {
    for (const [at, value, why] of [
      [4, 2, /version 2, expected 1/],
      [12, 2, /hash 2, expected 1/],
    ] as const) {
      const bytes = BloomFilter.build(hashes(30, 3)).encode()
      const view = new DataView(bytes.buffer)
      view.setUint32(at, value, true)
      view.setBigUint64(24, oracleXxh3(new Uint8Array([...bytes.subarray(0, 24), ...bytes.subarray(32)])), true)
      expect(() => BloomFilter.decode(bytes, 'k.vbl')).toThrow(CorruptionError)
      expect(() => BloomFilter.decode(bytes, 'k.vbl')).toThrow(why)
    }
  })

  it('refuses every flipped bit, truncation and a lying block count', () => {
    const bytes = BloomFilter.build(hashes(30, 3)).encode()
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const bad = bytes.slice()
      bad[bit >>> 3]! ^= 1 << (bit & 7)
      expect(() => BloomFilter.decode(bad, 'k.vbl'), `bit ${bit}`).toThrow(CorruptionError)
    }
    for (let n = 0; n < bytes.length; n++) expect(() => BloomFilter.decode(bytes.subarray(0, n), 'k.vbl')).toThrow(/k\.vbl/)
    const lying = new Uint8Array(BLOOM_HEADER_BYTES + 32)
    lying.set(bytes.subarray(0, 32))
    new DataView(lying.buffer).setUint32(8, 0x0800_0001, true)
    expect(() => BloomFilter.decode(lying, 'k.vbl')).toThrow(CorruptionError)
  })
})
