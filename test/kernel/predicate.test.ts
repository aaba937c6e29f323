// test/kernel/predicate.test.ts: comparisons with constants against comparing cell by cell.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  between,
  bitmapBytes,
  type CompareOp,
  compareConst,
  type Constant,
  inList,
  isNullBitmap,
  kernels,
  notNullBitmap,
  slice,
  startsWith,
  type ValueKind,
  type Vec,
} from '../../bindings/kernels/index.ts'
import { bytesOf, lengths, randomOf, vecOf } from './vec-model.ts'
import { type Cell, cellAt, cellOf, compareValues, kinds, layoutFor, rowsOfKind } from './value-model.ts'

const OPS: readonly CompareOp[] = ['eq', 'ne', 'lt', 'le', 'gt', 'ge']

function holds(cell: Cell, op: CompareOp, constant: Constant): boolean {
  if (cell === null || Number.isNaN(cell)) return false
  const sign = compareValues(cell, constant)
  return { eq: sign === 0, ne: sign !== 0, lt: sign < 0, le: sign <= 0, gt: sign > 0, ge: sign >= 0 }[op]
}

/** The rows of a bitmap; throws when it is not padded with zeros. */
function chosen(bits: Uint8Array, n: number): number[] {
  expect(bits.length).toBe(bitmapBytes(n))
  const rows: number[] = []
  for (let i = 0; i < bits.length * 8; i++) if ((bits[i >>> 3]! >>> (i & 7)) & 1) rows.push(i)
  expect(rows.every((row) => row < n)).toBe(true)
  return rows
}

function matching(v: Vec, kind: ValueKind, test: (cell: Cell) => boolean): number[] {
  return Array.from({ length: v.length }, (_, i) => i).filter((i) => test(cellAt(v, kind, i)))
}

/** Columns of a kind and constants that are mostly among their values. */
const columns = fc
  .record({ kind: fc.constantFrom(...kinds), choice: fc.nat(5), n: lengths, seed: fc.integer(), few: fc.boolean(), nulls: fc.constantFrom(0, 0.2, 1) })
  .map(({ kind, choice, n, seed, few, nulls }) => {
    const random = randomOf(seed)
    const layout = layoutFor(kind, choice)
    const vec = vecOf(layout, rowsOfKind(kind, layout, n, nulls, few, random), seed)
    const constant = (): Constant => {
      const from = kind === 'bytes' ? layoutFor('bytes', random.below(3)) : layout
      for (;;) {
        const cell = n > 0 && random.chance(0.7) ? cellAt(vec, kind, random.below(n)) : cellOf(rowsOfKind(kind, from, 1, 0, few, random)[0]!, kind)
        if (cell !== null && !Number.isNaN(cell)) return cell
        if (nulls === 1 || n > 0) {
          const other = cellOf(rowsOfKind(kind, from, 1, 0, few, random)[0]!, kind)
          if (!Number.isNaN(other)) return other!
        }
      }
    }
    return { kind, vec, constant, random }
  })

describe('compareConst', () => {
  it('equals comparing cell by cell, for every kind, layout and operator', () => {
    fc.assert(
      fc.property(columns, ({ kind, vec, constant }) => {
        const c = constant()
        for (const op of OPS) expect(chosen(compareConst(vec, kind, op, c), vec.length), op).toEqual(matching(vec, kind, (cell) => holds(cell, op, c)))
      }),
      { numRuns: 800 },
    )
  })

  it('takes constants that the column cannot hold', () => {
    const ints: [ValueKind, number, Constant[]][] = [
      ['i8', 1, [-129, -128, 127, 128, 0.5, -0.5, 1e300, -1e300, Infinity, -Infinity, NaN]],
      ['u8', 1, [-1, 0, 255, 256, 0.5, 254.5, Infinity, -Infinity]],
      ['i32', 4, [-(2 ** 31) - 1, 2 ** 31, 1.5]],
      ['u32', 4, [-1, 2 ** 32, 2 ** 32 - 1]],
      ['i64', 8, [-(2n ** 63n) - 1n, 2n ** 63n, -(2n ** 63n), 2n ** 63n - 1n, 0.5]],
      ['u64', 8, [-1n, 2n ** 64n, 2n ** 64n - 1n, 2n ** 63n]],
      ['i128', 16, [-(2n ** 127n) - 1n, 2n ** 127n, 2n ** 64n, -1n]],
      ['f32', 4, [0.1, 1e300, -1e300, Math.fround(0.1), 2 ** -150, -(2 ** -150), 0, -0, Infinity, -Infinity, NaN, 16_777_217]],
      ['f64', 8, [0.1, 0, -0, Infinity, -Infinity, NaN, 5e-324, -5e-324]],
    ]
    for (const [kind, width, constants] of ints) {
      const vec = vecOf({ kind: 'fixed', width }, rowsOfKind(kind, { kind: 'fixed', width }, 200, 0.1, false, randomOf(width)), 3)
      for (const c of constants) {
        for (const op of OPS) {
          const expected = Number.isNaN(c) ? [] : matching(vec, kind, (cell) => holds(cell, op, c))
          expect(chosen(compareConst(vec, kind, op, c), vec.length), `${kind} ${op} ${String(c)}`).toEqual(expected)
        }
      }
    }
  })

  it('reads integers that are stored narrower than their kind', () => {
    for (const [kind, width] of [
      ['i64', 2],
      ['u64', 1],
      ['i32', 1],
      ['u32', 2],
      ['i64', 4],
    ] as const) {
      const layout = { kind: 'fixed', width } as const
      const vec = vecOf(layout, rowsOfKind(kind, layout, 100, 0.1, false, randomOf(9)))
      const big = kind.endsWith('64')
      for (const c of [0, 1, 200, 40_000, -1, 2 ** 40]) {
        for (const op of OPS) {
          const constant = big ? BigInt(c) : c
          expect(chosen(compareConst(vec, kind, op, constant), 100)).toEqual(matching(vec, kind, (cell) => holds(cell, op, constant)))
        }
      }
    }
  })

  it('works in pieces on long columns, and on slices', () => {
    for (const [kind, layout] of [
      ['i32', { kind: 'fixed', width: 4 }],
      ['i64', { kind: 'fixed', width: 8 }],
      ['bytes', { kind: 'var' }],
      ['bytes', { kind: 'dict', width: 2 }],
      ['bytes', { kind: 'fixed', width: 16 }],
    ] as const) {
      const rows = rowsOfKind(kind, layout, 50_003, 0.1, false, randomOf(21))
      const vec = slice(vecOf(layout, rows), 3, 50_000)
      const c = cellAt(vec, kind, vec.length - 1) ?? cellAt(vec, kind, vec.length - 2)
      expect(chosen(compareConst(vec, kind, 'le', c!), vec.length)).toEqual(matching(vec, kind, (cell) => holds(cell, 'le', c!)))
    }
  })

  it('writes no bit behind the last group of rows', () => {
    const k = kernels()
    const mark = k.arena.mark()
    const [p, ranges, out] = [k.arena.reserve(4096), k.arena.reserve(64), k.arena.reserve(64)]
    k.u8.fill(0, p, p + 4096)
    k.u8.fill(0, ranges, ranges + 64)
    for (let n = 0; n <= 130; n++) {
      for (const run of [
        () => k.exports.range_8(p, n, ranges, 1, out),
        () => k.exports.range_16(p, n, ranges, 1, out),
        () => k.exports.range_32(p, n, ranges, 1, 0, out),
        () => k.exports.range_64(p, n, ranges, 1, 0, out),
        () => k.exports.range_128(p, n, ranges, 1, out),
        () => k.exports.codes_to_bits(p, 1, n, ranges, 1, out),
      ]) {
        k.u8.fill(0xa5, out, out + 64)
        run()
        const end = out + Math.ceil(n / 16) * 2
        expect(k.u8.subarray(end, out + 64).every((byte) => byte === 0xa5)).toBe(true)
      }
    }
    k.arena.rewind(mark)
  })
})

describe('the other predicates', () => {
  it('between includes both ends', () => {
    fc.assert(
      fc.property(columns, ({ kind, vec, constant }) => {
        const [low, high] = [constant(), constant()]
        const expected = matching(vec, kind, (cell) => holds(cell, 'ge', low) && holds(cell, 'le', high))
        expect(chosen(between(vec, kind, low, high), vec.length)).toEqual(expected)
      }),
      { numRuns: 500 },
    )
  })

  it('inList equals looking for each value, in short and long lists', () => {
    fc.assert(
      fc.property(columns, fc.constantFrom(0, 1, 3, 16, 17, 60), ({ kind, vec, constant }, size) => {
        const values = Array.from({ length: size }, constant)
        const expected = matching(vec, kind, (cell) => values.some((value) => holds(cell, 'eq', value)))
        expect(chosen(inList(vec, kind, values), vec.length)).toEqual(expected)
      }),
      { numRuns: 500 },
    )
  })

  it('startsWith equals comparing prefixes', () => {
    fc.assert(
      fc.property(
        columns.filter(({ kind }) => kind === 'bytes'),
        fc.nat(20),
        ({ vec, constant }, length) => {
          const prefix = (constant() as Uint8Array).subarray(0, length)
          const expected = matching(vec, 'bytes', (cell) => cell !== null && Buffer.compare((cell as Uint8Array).subarray(0, prefix.length), prefix) === 0)
          expect(chosen(startsWith(vec, prefix), vec.length)).toEqual(expected)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('tells null rows from the others', () => {
    fc.assert(
      fc.property(columns, ({ kind, vec }) => {
        expect(chosen(isNullBitmap(vec), vec.length)).toEqual(matching(vec, kind, (cell) => cell === null))
        expect(chosen(notNullBitmap(vec), vec.length)).toEqual(matching(vec, kind, (cell) => cell !== null))
      }),
    )
  })

  it('reads every code of a dictionary of 256 entries', () => {
    const rows = Array.from({ length: 255 }, (_, i) => i.toString(16).padStart(2, '0'))
    const vec = vecOf({ kind: 'dict', width: 1 }, rows)
    for (const op of OPS) {
      const c = bytesOf('81')
      expect(chosen(compareConst(vec, 'bytes', op, c), 255)).toEqual(matching(vec, 'bytes', (cell) => holds(cell, op, c)))
    }
  })
})
