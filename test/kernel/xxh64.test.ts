import { readFileSync } from 'node:fs'

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { CorruptionError, InvariantError } from '../../bindings/errors.ts'
import { BloomFilter, decodeParquetBloom, encodeParquetBloom, kernels, makeVec, xxh64, xxh64Column } from '../../bindings/kernels/index.ts'
import { hex, noise, sanityBuffer } from './bytes.ts'
import { OracleBloom } from './oracles/bloom.ts'
import { oracleXxh64 } from './oracles/xxh64.ts'

const PRIME32 = 2_654_435_761n
const { vectors } = JSON.parse(readFileSync(new URL('vectors/xxh64.json', import.meta.url), 'utf8')) as { vectors: [number, string, string][] }

// xxHash cli/xsum_sanity_check.c, XSUM_XXH64_testdata.
const PUBLISHED: [number, bigint, bigint][] = [
  [0, 0n, 0xef46db3751d8e999n],
  [0, PRIME32, 0xac75fda2929b17efn],
  [1, 0n, 0xe934a84adb052768n],
  [1, PRIME32, 0x5014607643a9b4c3n],
  [4, 0n, 0x9136a0dca57457een],
  [14, 0n, 0x8282dcc4994e35c8n],
  [14, PRIME32, 0xc3bd6bf63deb6df0n],
  [222, 0n, 0xb641ae8cb691c174n],
  [222, PRIME32, 0x20cb8ab7ae10c14an],
]

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const parts = (seed: bigint): { lo: number; hi: number } => ({ lo: Number(seed & 0xffffffffn), hi: Number(seed >> 32n) })
const hash = (bytes: Uint8Array, seed = 0n): bigint => {
  const { lo, hi } = xxh64(bytes, parts(seed))
  return (BigInt(hi) << 32n) | BigInt(lo)
}
const at = (hashes: Uint32Array, i: number): bigint => (BigInt(hashes[2 * i + 1]!) << 32n) | BigInt(hashes[2 * i]!)

describe('XXH64', () => {
  it('gives the published values', () => {
    const buffer = sanityBuffer(222)
    for (const [n, seed, expected] of PUBLISHED) expect(hash(buffer.subarray(0, n), seed), `length ${n}, seed ${seed}`).toBe(expected)
    expect(hash(text('Nobody inspects the spammish repetition'))).toBe(0xfbcea83c8a378bf1n)
  })

  it('gives the values of two other implementations at every length class and edge', () => {
    const buffer = sanityBuffer(600)
    expect(vectors.length).toBeGreaterThan(90)
    for (const [n, plain, seeded] of vectors) {
      expect(hash(buffer.subarray(0, n)).toString(16).padStart(16, '0'), `length ${n}`).toBe(plain)
      expect(hash(buffer.subarray(0, n), PRIME32).toString(16).padStart(16, '0'), `length ${n}, seeded`).toBe(seeded)
    }
  })

  it('equals the oracle for any bytes and seed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500, size: 'max' }), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (bytes, seed) => {
        expect(hash(bytes, seed)).toBe(oracleXxh64(bytes, seed))
      }),
      { numRuns: 150 },
    )
  })

  it('lengths 0..257 at 16 alignments, whatever follows the input', () => {
    const k = kernels()
    const data = noise(257)
    for (let n = 0; n <= 257; n++) {
      const expected = oracleXxh64(data.subarray(0, n), 5n)
      for (let shift = 0; shift < 16; shift++) {
        const mark = k.arena.mark()
        const out = k.arena.reserve(8)
        const p = k.arena.reserve(n + 64) + shift
        k.u8.fill(shift * 17, p, p + n + 32)
        k.u8.set(data.subarray(0, n), p)
        k.exports.xxh64(p, n, 5, 0, out)
        expect(k.view.getBigUint64(out, true), `length ${n}, alignment ${shift}`).toBe(expected)
        k.arena.rewind(mark)
      }
    }
  })
})

describe('XXH64 of columns', () => {
  it('values of every width hash as their stored bytes', () => {
    for (const width of [1, 2, 3, 4, 7, 8, 12, 16, 31, 32, 33, 100]) {
      const values = noise(width * 9, width)
      const hashes = xxh64Column(makeVec({ kind: 'fixed', width }, 9, { values }))
      for (let i = 0; i < 9; i++) expect(at(hashes, i), `width ${width}`).toBe(oracleXxh64(values.subarray(i * width, (i + 1) * width)))
    }
  })

  it('strings, with offsets that start past 0', () => {
    const values = noise(400)
    const offsets = Int32Array.of(10, 10, 11, 14, 22, 38, 70, 103, 399)
    const hashes = xxh64Column(makeVec({ kind: 'var' }, 8, { values, offsets }))
    for (let i = 0; i < 8; i++) expect(at(hashes, i)).toBe(oracleXxh64(values.subarray(offsets[i], offsets[i + 1])))
    expect(xxh64Column(makeVec({ kind: 'var' }, 0, { values, offsets: Int32Array.of(0) }))).toHaveLength(0)
  })

  it('refuses a layout that has no bytes of its own', () => {
    expect(() => xxh64Column(makeVec({ kind: 'bool' }, 3, { values: new Uint8Array(8) }))).toThrow(InvariantError)
  })
})

describe('a filter of a Parquet file', () => {
  const file = new Uint8Array(readFileSync(new URL('../data/parquet-testing/bloom_filter.xxhash.bin', import.meta.url)))
  const inserted = ['hello', 'parquet', 'bloom', 'filter']
  const column = (words: readonly string[]): Uint32Array => {
    const values = text(words.join(''))
    const offsets = new Int32Array(words.length + 1)
    words.forEach((word, i) => (offsets[i + 1] = offsets[i]! + text(word).length))
    return xxh64Column(makeVec({ kind: 'var' }, words.length, { values, offsets }))
  }

  it('as parquet-mr wrote it is read, and finds what was put in', () => {
    const filter = decodeParquetBloom(file, 'bloom_filter.xxhash.bin')
    expect(filter.blocks).toBe(32)
    expect(filter.probeMany(column(inserted)).hits).toBe(4)
    for (const word of inserted) expect(filter.probeOne(xxh64(text(word)).lo, xxh64(text(word)).hi), word).toBe(true)
    const absent = Array.from({ length: 1000 }, (_, i) => `absent${i}`)
    expect(filter.probeMany(column(absent)).hits).toBe(0)
  })

  it('built from the same hashes has the same bytes, ours and a plain build alike', () => {
    const ours = BloomFilter.buildWithBlocks(column(inserted), 32)
    expect(hex(encodeParquetBloom(ours))).toBe(hex(file))
    const plain = new OracleBloom(32)
    for (const word of inserted) plain.insert(oracleXxh64(text(word)))
    expect(hex(new Uint8Array(plain.words.buffer))).toBe(hex(file.subarray(16)))
  })

  it('of any size comes back from its bytes, and leaves what follows alone', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 600 }), fc.nat(300), fc.nat(), fc.uint8Array({ maxLength: 40 }), (blocks, n, seed, rest) => {
        const filter = BloomFilter.buildWithBlocks(new Uint32Array(noise(8 * n, seed + 1).buffer), blocks)
        const bytes = new Uint8Array([...encodeParquetBloom(filter), ...rest])
        expect(hex(decodeParquetBloom(bytes, 'test').bytes)).toBe(hex(filter.bytes))
      }),
      { numRuns: 50 },
    )
  })

  it('passes over fields that it does not know', () => {
    // 5: i64 300, 6: binary "ab", 7: struct { 1: double }, 8: true, 9: byte 1
    const known = file.subarray(0, 15)
    const unknown = [0x16, 0xd8, 0x04, 0x18, 2, 97, 98, 0x1c, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x13, 1, 0]
    const longer = new Uint8Array([...known, ...unknown, ...file.subarray(16)])
    expect(hex(decodeParquetBloom(longer, 'test').bytes)).toBe(hex(file.subarray(16)))
  })

  it('that is damaged or of another kind is refused by name', () => {
    const changed = (offset: number, value: number): Uint8Array => {
      const copy = file.slice()
      copy[offset] = value
      return copy
    }
    // The length is a zigzag varint.
    const ofSize = (...varint: number[]): Uint8Array => new Uint8Array([0x15, ...varint, ...file.subarray(3)])
    const cases: [Uint8Array, RegExp][] = [
      [ofSize(0), /: 0 bytes of blocks stated$/],
      [ofSize(0x60), /: 48 bytes of blocks stated$/],
      [ofSize(0xc0, 0x80, 0x80, 0x80, 0x01), /: 134217760 bytes of blocks stated$/],
      [new Uint8Array(0), /header ends early/],
      [file.subarray(0, 10), /header ends early/],
      [file.subarray(0, 1039), /1024 bytes of blocks stated, 1023 there/],
      [changed(4, 0x2c), /algorithm 2/],
      [changed(8, 0x2c), /hash 2/],
      [changed(12, 0x2c), /compression 2/],
      [changed(2, 0x7f), /bytes of blocks stated/],
      [changed(3, 0x19), /field of type 9/],
      [new Uint8Array([0x15, ...Array.from({ length: 12 }, () => 0xff)]), /more than ten bytes/],
      [new Uint8Array([0x58, 0xff, 0xff, 0xff, 0xff, 0x0f]), /header ends early/],
      [new Uint8Array(Array.from({ length: 40 }, () => 0x5c)), /field of type 12/],
    ]
    for (const [bytes, message] of cases) {
      expect(() => decodeParquetBloom(bytes, 'test')).toThrow(CorruptionError)
      expect(() => decodeParquetBloom(bytes, 'test')).toThrow(message)
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        try {
          decodeParquetBloom(bytes, 'test')
        } catch (error) {
          expect(error).toBeInstanceOf(CorruptionError)
        }
      }),
    )
  })
})
