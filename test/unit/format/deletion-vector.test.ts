import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { DecodeError, decodeRowBitmap, decodeRowSet, encodeRowBitmap, encodeRowSet, rowsOfBitmap } from '../../../bindings/format/index.ts'

const row = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 65_000, max: 66_000 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }))

describe('a row set', () => {
  it('holds what a Set holds', () => {
    fc.assert(
      fc.property(fc.uniqueArray(row, { maxLength: 400 }), (rows) => {
        const sorted = rows.sort((a, b) => a - b)
        expect(Array.from(decodeRowSet(encodeRowSet(sorted)))).toEqual(sorted)
      }),
    )
  })

  it('takes the smallest container: runs, arrays, bitmaps', () => {
    const header = 12 + 8
    const every = (step: number, count: number): number[] => Array.from({ length: count }, (_, i) => i * step)
    expect(encodeRowSet(every(1, 65_536)).length).toBe(header + 8 + 4)
    expect(encodeRowSet(every(3, 100)).length).toBe(header + 8 + 200)
    expect(encodeRowSet(every(2, 32_768)).length).toBe(header + 8 + 8192)
    expect(encodeRowSet(every(65_536, 3)).length).toBe(header + 3 * 10)
    expect(encodeRowSet([]).length).toBe(header)
    for (const rows of [every(1, 65_536), every(2, 32_768), every(1, 200_000)]) expect(Array.from(decodeRowSet(encodeRowSet(rows)))).toEqual(rows)
  })

  it('is a bitmap and back', () => {
    const bitmap = Uint8Array.of(0b1000_0001, 0, 0xff)
    expect(Array.from(rowsOfBitmap(bitmap, 20))).toEqual([0, 7, 16, 17, 18, 19])
    expect(decodeRowBitmap(encodeRowBitmap(bitmap, 24), 24)).toEqual(bitmap)
    expect(() => decodeRowBitmap(encodeRowBitmap(bitmap, 24), 23)).toThrow(DecodeError)
  })

  it('is refused when any bit was flipped or byte cut', () => {
    const bytes = encodeRowSet([1, 2, 3, 9, 70_000, 70_002])
    for (let at = 0; at < bytes.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const broken = bytes.slice()
        broken[at]! ^= 1 << bit
        expect(() => decodeRowSet(broken)).toThrow(DecodeError)
      }
      expect(() => decodeRowSet(bytes.slice(0, at))).toThrow(DecodeError)
    }
  })
})
