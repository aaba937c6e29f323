import { readFileSync } from 'node:fs'

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { kernels, xxh3, xxh3BigInt, xxh3Column, xxh3Into, xxh3Var } from '../../bindings/kernels/index.ts'
import type { ValueKind, Vec } from '../../bindings/kernels/index.ts'
import { noise, sanityBuffer } from './bytes.ts'
import { oracleXxh3, oracleXxh32 } from './oracles/xxh3.ts'

const PRIME64 = 11_400_714_785_074_694_797n
const { vectors } = JSON.parse(readFileSync(new URL('vectors/xxh3.json', import.meta.url), 'utf8')) as { vectors: [number, string, string][] }

// Published in xxHash v0.8 cli/xsum_sanity_check.c (XSUM_XXH3_testdata): independent of the generated file.
const PUBLISHED: [number, bigint, bigint][] = [
  [0, 0x2d06800538d394c2n, 0xa8a6b918b2f0364an],
  [1, 0xc44bdff4074eecdbn, 0x032be332dd766ef8n],
  [6, 0x27b56a84cd2d7325n, 0x84589c116ab59ab9n],
  [12, 0xa713daf0dfbb77e7n, 0xe7303e1b2336de0en],
  [24, 0xa3fe70bf9d3510ebn, 0x850e80fc35bdd690n],
  [48, 0x397da259ecba1f11n, 0xadc2cbaa44acc616n],
  [80, 0xbcdefbbb2c47c90an, 0xc6dd0cb699532e73n],
  [195, 0xcd94217ee362ec3an, 0xba68003d370cb3d9n],
  [403, 0xcdeb804d65c6dea4n, 0x6259f6ecfd6443fdn],
  [512, 0x617e49599013cb6bn, 0x3ce457de14c27708n],
  [2048, 0xdd59e2c3a5f038e0n, 0x66f81670669ababcn],
  [2240, 0x6e73a90539cf2948n, 0x757ba8487d1b5247n],
  [2367, 0xcb37aeb9e5d361edn, 0xd2db3415b942b42an],
]

describe('XXH3-64', () => {
  it('gives the published values of the sanity buffer, seed 0 and a prime seed', () => {
    const buffer = sanityBuffer(2367)
    for (const [n, plain, seeded] of PUBLISHED) {
      expect(xxh3BigInt(buffer.subarray(0, n)), `length ${n}`).toBe(plain)
      expect(xxh3BigInt(buffer.subarray(0, n), PRIME64), `length ${n}, seeded`).toBe(seeded)
    }
  })

  it('gives the values of the reference implementation at every length class and edge', () => {
    const buffer = sanityBuffer(2367)
    expect(vectors.length).toBeGreaterThan(350)
    for (const [n, plain, seeded] of vectors) {
      expect(xxh3BigInt(buffer.subarray(0, n)).toString(16).padStart(16, '0'), `length ${n}`).toBe(plain)
      expect(xxh3BigInt(buffer.subarray(0, n), PRIME64).toString(16).padStart(16, '0'), `length ${n}, seeded`).toBe(seeded)
    }
  })

  it('makes the secret of each seed anew: one after the other, also where half of them is the same', () => {
    const bytes = noise(1500)
    for (const seed of [1n, (1n << 32n) | 1n, (2n << 32n) | 1n, (2n << 32n) | 3n, 1n, 0n, 1n << 63n, 0n]) {
      expect(xxh3BigInt(bytes, seed), `seed ${seed}`).toBe(oracleXxh3(bytes, seed))
    }
  })

  it('equals the oracle for any bytes and seed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000, size: 'max' }), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (bytes, seed) => {
        expect(xxh3BigInt(bytes, seed)).toBe(oracleXxh3(bytes, seed))
      }),
      { numRuns: 150 },
    )
  })

  it('does not depend on alignment or on the 64 bytes after the input', () => {
    const k = kernels()
    const data = noise(1100)
    for (const n of [0, 3, 8, 16, 17, 100, 128, 129, 240, 241, 1024, 1025]) {
      const expected = oracleXxh3(data.subarray(0, n), 5n)
      for (let shift = 0; shift < 16; shift++) {
        const mark = k.arena.mark()
        const out = k.arena.reserve(8)
        const p = k.arena.reserve(n + 128) + shift
        k.u8.set(data.subarray(0, n), p)
        for (const filler of [0, 0xff]) {
          k.u8.fill(filler, p + n, p + n + 64)
          k.exports.xxh3(p, n, 5, 0, out)
          expect(k.view.getBigUint64(out, true), `length ${n}, alignment ${shift}`).toBe(expected)
        }
        k.arena.rewind(mark)
      }
    }
  })

  it('hashes into a caller array and as parts alike', () => {
    const bytes = noise(77)
    const out = new Uint32Array(4)
    xxh3Into(bytes, out, 2)
    expect({ lo: out[2], hi: out[3] }).toEqual(xxh3(bytes))
  })
})

describe('hashes of columns', () => {
  const fixed = (values: ArrayBufferView, width: number): Vec => ({
    layout: { kind: 'fixed', width },
    length: values.byteLength / width,
    nullCount: 0,
    validity: undefined,
    values: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    offsets: undefined,
    children: [],
    dictionary: undefined,
  })
  const wide = (value: bigint): bigint => {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigInt64(0, value, true)
    return oracleXxh3(bytes)
  }
  const at = (hashes: Uint32Array, i: number): bigint => (BigInt(hashes[2 * i + 1]!) << 32n) | BigInt(hashes[2 * i]!)

  it('integers of every width hash as their extended 8 bytes', () => {
    const cases: [ArrayBufferView & { [i: number]: number | bigint; length: number }, ValueKind][] = [
      [Int8Array.of(0, 1, -1, 127, -128), 'i8'],
      [Uint8Array.of(0, 1, 255), 'u8'],
      [Int16Array.of(0, -1, 32767, -32768), 'i16'],
      [Uint16Array.of(0, 65535), 'u16'],
      [Int32Array.of(0, -1, 2 ** 31 - 1, -(2 ** 31)), 'i32'],
      [Uint32Array.of(0, 2 ** 32 - 1), 'u32'],
      [BigInt64Array.of(0n, -1n, 2n ** 63n - 1n, -(2n ** 63n)), 'i64'],
      [BigUint64Array.of(0n, 2n ** 64n - 1n), 'u64'],
    ]
    for (const [values, kind] of cases) {
      const hashes = xxh3Column(fixed(values, values.byteLength / values.length), kind)
      for (let i = 0; i < values.length; i++) expect(at(hashes, i), `${kind} ${values[i]}`).toBe(wide(BigInt(values[i]!)))
    }
  })

  it('floats: -0 is +0, all NaNs are one, a float32 hashes as the same float64', () => {
    const bits = BigUint64Array.of(0n, 1n << 63n, 0x7ff8000000000000n, 0xfff8000000000001n, 0x7ff0000000000123n, 0x3ff8000000000000n)
    const doubles = xxh3Column(fixed(bits, 8), 'f64')
    expect(at(doubles, 1)).toBe(at(doubles, 0))
    expect(at(doubles, 3)).toBe(at(doubles, 2))
    expect(at(doubles, 4)).toBe(at(doubles, 2))
    expect(at(doubles, 0)).toBe(wide(0n))
    expect(at(doubles, 5)).toBe(wide(0x3ff8000000000000n))
    const singles = xxh3Column(fixed(Float32Array.of(0, -0, Number.NaN, 1.5), 4), 'f32')
    expect([0, 1, 2, 3].map((i) => at(singles, i))).toEqual([at(doubles, 0), at(doubles, 0), at(doubles, 2), at(doubles, 5)])
  })

  it('booleans hash as one byte, other fixed widths as their bytes', () => {
    const bools: Vec = { ...fixed(Uint8Array.of(0b101), 1), layout: { kind: 'bool' }, length: 3 }
    const hashes = xxh3Column(bools, 'bool')
    expect([0, 1, 2].map((i) => at(hashes, i))).toEqual([1, 0, 1].map((b) => oracleXxh3(Uint8Array.of(b))))
    for (const width of [1, 3, 12, 16, 20, 300]) {
      const values = noise(width * 5)
      const wideHashes = xxh3Column(fixed(values, width), 'bytes')
      for (let i = 0; i < 5; i++) expect(at(wideHashes, i)).toBe(oracleXxh3(values.subarray(i * width, (i + 1) * width)))
    }
    expect(at(xxh3Column(fixed(noise(16), 16), 'i128'), 0)).toBe(oracleXxh3(noise(16)))
  })

  it('var columns, with offsets that start past 0, and dictionary columns', () => {
    const data = noise(5000)
    const offsets = Int32Array.from([10, 10, 11, 14, 22, 38, 166, 406, 407, 4999])
    const hashes = xxh3Var(offsets, data, 9)
    for (let i = 0; i < 9; i++) expect(at(hashes, i)).toBe(oracleXxh3(data.subarray(offsets[i], offsets[i + 1])))
    const dictionary: Vec = {
      layout: { kind: 'var' },
      length: 9,
      nullCount: 0,
      validity: undefined,
      values: data,
      offsets,
      children: [],
      dictionary: undefined,
    }
    for (const width of [1, 2, 4] as const) {
      const codes = width === 1 ? Uint8Array.of(8, 0, 3) : width === 2 ? Uint16Array.of(8, 0, 3) : Uint32Array.of(8, 0, 3)
      const vec: Vec = { ...fixed(codes, width), layout: { kind: 'dict', width }, dictionary }
      const byCode = xxh3Column(vec, 'bytes')
      expect([0, 1, 2].map((i) => at(byCode, i))).toEqual([8, 0, 3].map((code) => at(hashes, code)))
    }
  })

  it('a batch of pairs equals one call each', () => {
    const k = kernels()
    const mark = k.arena.mark()
    const data = noise(2000)
    const p = k.copyIn(data)
    const sizes = [0, 1, 5, 9, 17, 129, 241, 1500]
    const pairs = k.arena.reserve(sizes.length * 8)
    const out = k.arena.reserve(sizes.length * 8)
    sizes.forEach((n, i) => k.u32.set([p + i, n], (pairs >>> 2) + 2 * i))
    k.exports.xxh3_batch(pairs, sizes.length, out)
    sizes.forEach((n, i) => expect(k.view.getBigUint64(out + 8 * i, true)).toBe(oracleXxh3(data.subarray(i, i + n))))
    k.arena.rewind(mark)
  })
})

describe('XXH32', () => {
  it('equals the oracle at lengths 0..100 and the published values', () => {
    const k = kernels()
    const hash = (bytes: Uint8Array): number => {
      const mark = k.arena.mark()
      const value = k.exports.xxh32(k.copyIn(bytes), bytes.length, 0) >>> 0
      k.arena.rewind(mark)
      return value
    }
    expect(hash(new Uint8Array(0))).toBe(0x02cc5d05)
    const buffer = sanityBuffer(222)
    // XSUM_XXH32_testdata, seed 0
    expect(hash(buffer.subarray(0, 1))).toBe(0xcf65b03e)
    expect(hash(buffer.subarray(0, 14))).toBe(0x1208e7e2)
    expect(hash(buffer)).toBe(0x5bd11dbd)
    for (let n = 0; n <= 100; n++) expect(hash(buffer.subarray(0, n)), `length ${n}`).toBe(oracleXxh32(buffer.subarray(0, n)))
  })
})
