import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { crc32c, crc32cCombine, kernels } from '../../bindings/kernels/index.ts'
import { noise } from './bytes.ts'
import { oracleCrc32c } from './oracles/crc32c.ts'
import { vectorsOf } from './vectors/run.ts'

describe('CRC-32C', () => {
  it('gives the values of RFC 3720 B.4 and the check value', () => {
    for (const [bytes, expected] of vectorsOf('crc32c.json')) expect(crc32c(bytes).toString(16).padStart(8, '0')).toBe(expected)
  })

  it('folds by distances whose polynomial is a multiple of the Castagnoli polynomial', () => {
    const polynomial = 0x1_1edc_6f41n
    const multiply = (a: bigint, b: bigint): bigint => {
      let product = 0n
      for (let x = a; b > 0n; b >>= 1n) {
        if (b & 1n) product ^= x
        x <<= 1n
        if (x >> 32n) x ^= polynomial
      }
      return product
    }
    const power = (n: number): bigint => {
      let result = 1n
      for (let x = 2n; n > 0; n >>>= 1, x = multiply(x, x)) if (n & 1) result = multiply(result, x)
      return result
    }
    expect(power(8 * 5275) ^ power(8 * (5275 - 767)) ^ power(8 * (5275 - 2524)) ^ 1n).toBe(0n)
    const near = [123, 145, 178, 195].reduce((sum, distance) => sum ^ power(8 * (266 - distance)), power(8 * 266))
    expect(near ^ 1n).toBe(0n)
  })

  it('equals the definition at every length 0..700 and at the edges of the fold', () => {
    const data = noise(16 * 16384 + 8)
    for (let n = 0; n <= 700; n++) expect(crc32c(data.subarray(0, n)), `length ${n}`).toBe(oracleCrc32c(data.subarray(0, n)))
    const edges = [
      5274,
      5275,
      5276,
      8191,
      8192,
      8193,
      8255,
      8256,
      16383,
      16384,
      16385,
      20_000,
      32_767,
      32_768,
      32_769,
      65_535,
      65_536,
      65_537,
      16 * 16_384 - 1,
      16 * 16_384,
      16 * 16_384 + 1,
    ]
    for (const n of edges) expect(crc32c(data.subarray(0, n), 0x12345678), `length ${n}`).toBe(oracleCrc32c(data.subarray(0, n), 0x12345678))
  })

  it('equals the definition at any length up to 20,000 and any alignment, whatever lies behind the input', () => {
    const k = kernels()
    const data = noise(20_100, 7)
    fc.assert(
      fc.property(fc.nat(20_000), fc.nat(15), fc.integer({ min: 0, max: 0xffffffff }), (n, shift, previous) => {
        const mark = k.arena.mark()
        const p = k.arena.reserve(n + 128) + shift
        k.u8.set(data.subarray(0, n), p)
        const expected = oracleCrc32c(data.subarray(0, n), previous)
        for (const filler of [0, 0xa5]) {
          k.u8.fill(filler, p + n, p + n + 64)
          expect(k.exports.crc32c(previous, p, n) >>> 0).toBe(expected)
        }
        k.arena.rewind(mark)
      }),
      { numRuns: 120 },
    )
  })

  it('continued or combined at any split, equals the whole', () => {
    const data = noise(30_000, 3)
    const whole = crc32c(data)
    fc.assert(
      fc.property(fc.nat(30_000), (split) => {
        const a = crc32c(data.subarray(0, split))
        expect(crc32c(data.subarray(split), a)).toBe(whole)
        expect(crc32cCombine(a, crc32c(data.subarray(split)), 30_000 - split)).toBe(whole)
      }),
      { numRuns: 100 },
    )
  })
})
