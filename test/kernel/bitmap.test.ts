// test/kernel/bitmap.test.ts: bitmap logic, counting and slicing at any bit offset, and expressions over bitmaps, against arrays of booleans.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import {
  bitmapAll,
  bitmapAnd,
  bitmapAndNot,
  bitmapBytes,
  bitmapEqual,
  type BitmapExpression,
  bitmapNone,
  bitmapNot,
  bitmapOr,
  bitmapToIndices,
  bitmapXor,
  copyPadded,
  evaluateBitmap,
  makeVec,
  popcount,
  slice,
} from '../../bindings/kernels/index.ts'
import { randomOf, selectionFor, SELECTION_SHAPES } from './vec-model.ts'

/** All lengths up to 257, those around where kernels take over, and one of several cache pages. */
const LENGTHS: readonly number[] = [...Array.from({ length: 258 }, (_, n) => n), 511, 512, 513, 519, 520, 576, 1000, 2047, 2048, 2049, 2055, 4099, 70_001]

/** Throws when the bitmap is not of n rows padded with zeros to 64, or holds other rows. */
function expectRows(bits: Uint8Array, n: number, holds: (i: number) => boolean, what: string): void {
  if (bits.length !== bitmapBytes(n)) throw new Error(`${what}: ${bits.length} bytes`)
  for (let i = 0; i < bits.length * 8; i++) {
    if ((((bits[i >>> 3]! >>> (i & 7)) & 1) === 1) !== (i < n && holds(i))) throw new Error(`${what}: bit ${i} of ${n}`)
  }
}

describe('bitmap logic', () => {
  it('equals that of booleans for every length and shape, and leaves its inputs alone', () => {
    for (const n of LENGTHS) {
      for (let shape = 0; shape < SELECTION_SHAPES; shape++) {
        const a = selectionFor(n, shape, n + 1)
        const b = selectionFor(n, (shape + n + 5) % SELECTION_SHAPES, n + 2)
        const [x, y] = [new Set(a.chosen), new Set(b.chosen)]
        const before = [a.bits.slice(), b.bits.slice()]
        const at = `${n} rows, shape ${shape}`
        expectRows(bitmapAnd(a.bits, b.bits, n), n, (i) => x.has(i) && y.has(i), `and, ${at}`)
        expectRows(bitmapOr(a.bits, b.bits, n), n, (i) => x.has(i) || y.has(i), `or, ${at}`)
        expectRows(bitmapAndNot(a.bits, b.bits, n), n, (i) => x.has(i) && !y.has(i), `and not, ${at}`)
        expectRows(bitmapXor(a.bits, b.bits, n), n, (i) => x.has(i) !== y.has(i), `xor, ${at}`)
        expectRows(bitmapNot(a.bits, n), n, (i) => !x.has(i), `not, ${at}`)
        expectRows(copyPadded(a.bits, n), n, (i) => x.has(i), `copy, ${at}`)
        expect(popcount(a.bits, n), at).toBe(x.size)
        expect(bitmapToIndices(a.bits, n), at).toEqual(Uint32Array.from(a.chosen))
        expect(bitmapEqual(a.bits, copyPadded(a.bits, n), n), at).toBe(true)
        expect([a.bits, b.bits]).toEqual(before)
      }
    }
  })

  it('notices any one bit of difference, and none behind the rows', () => {
    for (const n of [1, 8, 63, 64, 65, 511, 512, 513, 2051]) {
      const { bits } = selectionFor(n, 5, n)
      for (let i = 0; i < bits.length * 8; i++) {
        const other = bits.slice()
        other[i >>> 3]! ^= 1 << (i & 7)
        expect(bitmapEqual(bits, other, n)).toBe(i >= n)
      }
    }
  })

  it('takes bitmaps at any byte of a buffer', () => {
    const backing = new Uint8Array(320)
    const random = randomOf(4)
    for (let i = 0; i < backing.length; i++) backing[i] = random.u32()
    for (let start = 0; start < 16; start++) {
      for (const n of [100, 600, 2300]) {
        const bits = backing.subarray(start, start + Math.ceil(n / 8))
        const bit = (i: number): boolean => ((bits[i >>> 3]! >>> (i & 7)) & 1) === 1
        expectRows(bitmapNot(bits, n), n, (i) => !bit(i), `not at ${start}`)
        expectRows(bitmapXor(bits, bitmapAll(n), n), n, (i) => !bit(i), `xor at ${start}`)
        expect(popcount(bits, n)).toBe(Array.from({ length: n }, (_, i) => bit(i)).filter(Boolean).length)
      }
    }
  })

  it('counts long bitmaps piece by piece', () => {
    const { bits, chosen } = selectionFor(600_003, 5, 3)
    for (const n of [262_143, 262_144, 262_145, 524_288, 600_003]) expect(popcount(bits, n)).toBe(chosen.filter((row) => row < n).length)
    const column = makeVec({ kind: 'bool' }, 600_003, { values: bits, validity: bits })
    expect(slice(column, 5, 600_001).nullCount).toBe(599_996 - chosen.filter((row) => row >= 5 && row < 600_001).length)
  })

  it('slices and counts from every bit offset', () => {
    const { bits, chosen } = selectionFor(3000, 5, 9)
    const set = new Set(chosen)
    const column = makeVec({ kind: 'bool' }, 3000, { values: bits, validity: bits, nullCount: 3000 - chosen.length })
    for (let start = 0; start < 18; start++) {
      for (const n of [0, 1, 7, 8, 9, 63, 64, 65, 257, 511, 512, 513, 520, 1000, 2048, 2900]) {
        const part = slice(column, start, start + n)
        const values = copyPadded(part.values, n)
        expectRows(values, n, (i) => set.has(start + i), `slice of ${n} from ${start}`)
        expect(part.nullCount, `nulls of ${n} from ${start}`).toBe(n - popcount(values, n))
      }
    }
  })
})

describe('evaluateBitmap', () => {
  const n = 2100
  const plain = (expression: BitmapExpression, i: number): boolean => {
    if (expression instanceof Uint8Array) return ((expression[i >>> 3]! >>> (i & 7)) & 1) === 1
    if (typeof expression === 'function') return plain(expression(), i)
    if ('not' in expression) return !plain(expression.not, i)
    return 'and' in expression ? expression.and.every((each) => plain(each, i)) : expression.or.some((each) => plain(each, i))
  }

  it('equals the expression asked of each row, and changes no bitmap that was given', () => {
    const { tree } = fc.letrec<{ tree: BitmapExpression; leaf: BitmapExpression; list: readonly BitmapExpression[] }>((tie) => ({
      leaf: fc.tuple(fc.nat(SELECTION_SHAPES - 1), fc.integer(), fc.boolean()).map(([shape, seed, lazy]) => {
        const { bits } = selectionFor(n, shape, seed)
        return lazy ? () => bits.slice(0, Math.ceil(n / 8)) : bits
      }),
      list: fc.array(tie('tree'), { maxLength: 3 }),
      tree: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        tie('leaf'),
        tie('list').map((and) => ({ and })),
        tie('list').map((or) => ({ or })),
        tie('tree').map((not) => ({ not })),
      ),
    }))
    fc.assert(
      fc.property(tree, (expression) => {
        const bits = evaluateBitmap(expression, n)
        expectRows(copyPadded(bits, n), n, (i) => plain(expression, i), 'first time')
        expectRows(copyPadded(evaluateBitmap(expression, n), n), n, (i) => plain(expression, i), 'second time')
      }),
      { numRuns: 200 },
    )
  })

  it('takes bitmaps that are short or have bits behind the rows', () => {
    const one = Uint8Array.of(1)
    for (const expression of [one, () => one.slice(), { or: [one, bitmapNone(n)] }, { or: [() => one.slice(), one] }, { and: [bitmapAll(n), one] }]) {
      expectRows(evaluateBitmap(expression, n), n, (i) => i === 0, 'short')
    }
    expectRows(evaluateBitmap({ not: () => one.slice() }, n), n, (i) => i > 0, 'not short')
    const junk = (): Uint8Array => new Uint8Array(bitmapBytes(n)).fill(0xff)
    for (const expression of [junk, junk(), { or: [bitmapNone(n), junk] }, { and: [junk, junk()] }])
      expectRows(evaluateBitmap(expression, n), n, () => true, 'junk')
    expectRows(evaluateBitmap({ not: junk }, n), n, () => false, 'not junk')
  })

  it('makes no leaf that cannot matter', () => {
    const made: string[] = []
    const leaf = (name: string, bits: Uint8Array) => (): Uint8Array => {
      made.push(name)
      return bits
    }
    evaluateBitmap({ and: [leaf('some', selectionFor(n, 2, 1).bits), leaf('none', bitmapNone(n)), leaf('never', bitmapAll(n))] }, n)
    evaluateBitmap({ or: [leaf('all', bitmapAll(n)), leaf('never', bitmapNone(n))] }, n)
    evaluateBitmap({ or: [leaf('empty', bitmapNone(n)), { and: [leaf('full', bitmapAll(n)), leaf('last', bitmapAll(n))] }] }, n)
    expect(made).toEqual(['some', 'none', 'all', 'empty', 'full', 'last'])
  })

  it('of nothing is every row for and, none for or', () => {
    expect(popcount(evaluateBitmap({ and: [] }, n), n)).toBe(n)
    expect(popcount(evaluateBitmap({ or: [] }, n), n)).toBe(0)
  })
})
