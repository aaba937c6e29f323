// What does not fit its width is refused before anything is allocated: 32-bit offsets of a column, codes of a dictionary.
import { describe, expect, it } from 'vitest'

import { DictionaryOverflowError, OffsetOverflowError } from '../../../bindings/errors.ts'
import { codeWidth, concat, makeVec, take, type Vec } from '../../../bindings/kernels/index.ts'

const MiB = 1024 * 1024
const ROWS = 2049 // of a MiB each: past 2^31

/** One row of a MiB of text. */
const large: Vec = makeVec({ kind: 'var' }, 1, { values: new Uint8Array(MiB), offsets: Int32Array.of(0, MiB) })

describe('offsets past 2 GiB', () => {
  it('are refused when columns are joined', () => {
    expect(() => concat(Array.from({ length: ROWS }, () => large))).toThrow(OffsetOverflowError)
  })

  it('are refused when rows are picked', () => {
    expect(() => take(large, new Uint32Array(ROWS))).toThrow(OffsetOverflowError)
  })

  it('name the bytes that were asked for', () => {
    expect.assertions(1)
    try {
      take(large, new Uint32Array(ROWS))
    } catch (error) {
      expect(error).toMatchObject({ code: 'kernel.offset-overflow', details: { bytes: ROWS * MiB } })
    }
  })
})

describe('codes of a dictionary', () => {
  it.each([
    [0, 1],
    [256, 1],
    [257, 2],
    [65_536, 2],
    [65_537, 4],
    [0xffff_ffff, 4],
  ])('of %i entries take %i bytes', (entries, width) => {
    expect(codeWidth(entries)).toBe(width)
  })

  it('past 32 bits are refused', () => {
    expect(() => codeWidth(0x1_0000_0000)).toThrow(DictionaryOverflowError)
  })
})
