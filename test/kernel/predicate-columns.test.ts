// test/kernel/predicate-columns.test.ts: two columns compared row by row against comparing cell by cell, and long in-lists of every kind.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { InvariantError } from '../../bindings/errors.ts'
import {
  bitmapBytes,
  type CompareOp,
  compareColumns,
  type Constant,
  inList,
  kernels,
  type Layout,
  slice,
  type ValueKind,
  type Vec,
} from '../../bindings/kernels/index.ts'
import { type Cell, cellAt, cellOf, compareValues, kinds, layoutFor, rowsOfKind } from './value-model.ts'
import { lengths, randomOf, type Row, vecOf } from './vec-model.ts'

const OPS: readonly CompareOp[] = ['eq', 'ne', 'lt', 'le', 'gt', 'ge']

function holds(a: Cell, op: CompareOp, b: Cell): boolean {
  if (a === null || b === null || Number.isNaN(a) || Number.isNaN(b)) return false
  const sign = compareValues(a, b)
  return { eq: sign === 0, ne: sign !== 0, lt: sign < 0, le: sign <= 0, gt: sign > 0, ge: sign >= 0 }[op]
}

function chosen(bits: Uint8Array, n: number): number[] {
  expect(bits.length).toBe(bitmapBytes(n))
  const rows: number[] = []
  for (let i = 0; i < bits.length * 8; i++) if ((bits[i >>> 3]! >>> (i & 7)) & 1) rows.push(i)
  return rows
}

function expectSame(a: Vec, b: Vec, kind: ValueKind): void {
  const cells = Array.from({ length: a.length }, (_, i) => [cellAt(a, kind, i), cellAt(b, kind, i)] as const)
  for (const op of OPS) {
    const expected = cells.flatMap(([x, y], i) => (holds(x, op, y) ? [i] : []))
    expect(chosen(compareColumns(a, b, kind, op), a.length), `${kind} ${op}`).toEqual(expected)
  }
}

/** Layouts that can hold a kind: integers at rest may be narrower. */
function layoutsOf(kind: ValueKind): Layout[] {
  if (kind === 'bytes') return [...[0, 1, 2, 3, 4].map((choice) => layoutFor('bytes', choice)), { kind: 'dict', width: 4 }]
  const full = layoutFor(kind, 0)
  if (full.kind !== 'fixed' || !/^[iu](8|16|32|64)$/.test(kind)) return [full]
  return [1, 2, 4, 8].filter((width) => width <= full.width).map((width) => ({ kind: 'fixed', width }))
}

const pairs = fc
  .record({
    kind: fc.constantFrom(...kinds),
    left: fc.nat(9),
    right: fc.nat(9),
    n: lengths,
    seed: fc.integer(),
    few: fc.boolean(),
    nulls: fc.constantFrom(0, 0.2, 1),
  })
  .map(({ kind, left, right, n, seed, few, nulls }) => {
    const layouts = layoutsOf(kind)
    const random = randomOf(seed)
    const [a, b] = [layouts[left % layouts.length]!, layouts[right % layouts.length]!]
    const rows = rowsOfKind(kind, a, n, nulls, few, random)
    // Half of the cells are the other column's, where the layouts allow it, so that equal ones occur.
    const isSame = JSON.stringify(a) === JSON.stringify(b)
    const others: Row[] = rowsOfKind(kind, b, n, nulls === 1 ? 0.5 : nulls, few, random).map((row, i) => (isSame && random.chance(0.5) ? rows[i]! : row))
    return { kind, a: vecOf(a, rows, seed), b: vecOf(b, others, seed + 1) }
  })

describe('compareColumns', () => {
  it('equals comparing cell by cell, for every kind, pair of layouts and operator', () => {
    fc.assert(
      fc.property(pairs, ({ kind, a, b }) => expectSame(a, b, kind)),
      { numRuns: 800 },
    )
  })

  it('holds for every length up to 257 and every kind', () => {
    for (const kind of kinds) {
      for (const layout of layoutsOf(kind)) {
        const random = randomOf(kind.length + 3)
        const [rows, others] = [rowsOfKind(kind, layout, 257, 0.1, true, random), rowsOfKind(kind, layout, 257, 0.1, true, random)]
        for (let n = 0; n <= 257; n += n < 70 ? 1 : 17) {
          const [a, b] = [vecOf(layout, rows.slice(0, n), n), vecOf(layout, others.slice(0, n), n + 1)]
          for (const op of ['lt', 'ne'] as const) {
            const expected = Array.from({ length: n }, (_, i) => i).filter((i) => holds(cellAt(a, kind, i), op, cellAt(b, kind, i)))
            expect(chosen(compareColumns(a, b, kind, op), n), `${kind} ${op} ${n}`).toEqual(expected)
          }
        }
      }
    }
  })

  it('tells the ends of every integer kind apart', () => {
    for (const [kind, width] of [
      ['i8', 1],
      ['u8', 1],
      ['i16', 2],
      ['u16', 2],
      ['i32', 4],
      ['u32', 4],
      ['i64', 8],
      ['u64', 8],
      ['i128', 16],
    ] as const) {
      const ends = ['00', 'ff', '80', '7f', '01'].flatMap((top) => ['00', 'ff', '01'].map((low) => (low.repeat(width) + top).slice(-2 * width)))
      const layout = { kind: 'fixed', width } as const
      const rows = ends.flatMap((row) => ends.map(() => row))
      const others = ends.flatMap(() => ends)
      expectSame(vecOf(layout, rows), vecOf(layout, others), kind)
    }
  })

  it('works in pieces on long columns and on slices', () => {
    for (const [kind, a, b] of [
      ['i32', { kind: 'fixed', width: 4 }, { kind: 'fixed', width: 2 }],
      ['f64', { kind: 'fixed', width: 8 }, { kind: 'fixed', width: 8 }],
      ['bool', { kind: 'bool' }, { kind: 'bool' }],
      ['bytes', { kind: 'var' }, { kind: 'dict', width: 1 }],
      ['bytes', { kind: 'dict', width: 2 }, { kind: 'fixed', width: 3 }],
    ] as const) {
      const random = randomOf(8)
      const [x, y] = [vecOf(a, rowsOfKind(kind, a, 50_003, 0.1, true, random)), vecOf(b, rowsOfKind(kind, b, 50_003, 0.1, true, random))]
      const [left, right] = [slice(x, 3, 50_000), slice(y, 5, 50_002)]
      const expected: number[] = []
      for (let i = 0; i < left.length; i++) if (holds(cellAt(left, kind, i), 'le', cellAt(right, kind, i))) expected.push(i)
      expect(chosen(compareColumns(left, right, kind, 'le'), left.length)).toEqual(expected)
    }
  })

  it('refuses columns of different lengths or forms', () => {
    const one = vecOf({ kind: 'fixed', width: 4 }, ['01000000'])
    const two = vecOf({ kind: 'fixed', width: 4 }, ['01000000', '02000000'])
    const wide = vecOf({ kind: 'fixed', width: 16 }, ['00'.repeat(16)])
    const bits = vecOf({ kind: 'bool' }, [true])
    expect(() => compareColumns(one, two, 'i32', 'eq')).toThrow(InvariantError)
    expect(() => compareColumns(one, wide, 'i128', 'eq')).toThrow(InvariantError)
    expect(() => compareColumns(one, bits, 'i32', 'eq')).toThrow(InvariantError)
    expect(() => compareColumns(one, bits, 'bool', 'eq')).toThrow(InvariantError)
    expect(() => compareColumns(one, bits, 'bytes', 'eq')).toThrow(InvariantError)
  })

  it('takes a code outside its dictionary, under a null, for no row', () => {
    const a = { ...vecOf({ kind: 'dict', width: 1 }, ['aa', null, 'bb']), values: Uint8Array.of(0, 200, 1) }
    const b = vecOf({ kind: 'var' }, ['aa', 'aa', 'aa'])
    expect(chosen(compareColumns(a, b, 'bytes', 'le'), 3)).toEqual([0])
    expect(chosen(compareColumns(b, a, 'bytes', 'le'), 3)).toEqual([0, 2])
  })

  it('writes no bit behind the last group of rows, at every alignment', () => {
    const k = kernels()
    const mark = k.arena.mark()
    const [a, b, out] = [k.arena.reserve(4200), k.arena.reserve(4200), k.arena.reserve(64)]
    const random = randomOf(2)
    for (let i = 0; i < 4200; i++) {
      k.u8[a + i] = random.u32()
      k.u8[b + i] = random.u32()
    }
    for (const [width, kind] of [
      [1, 0],
      [2, 1],
      [4, 0],
      [4, 2],
      [8, 1],
      [8, 2],
      [16, 0],
    ] as const) {
      const plain = new Map<string, string>()
      for (let shift = 0; shift < 16; shift++) {
        for (let n = 0; n <= 130; n += 13) {
          k.u8.fill(0xa5, out, out + 64)
          k.exports.compare_columns(a + shift, b, width, kind, n, 2, out)
          const end = out + Math.ceil(n / 16) * 2
          expect(k.u8.subarray(end, out + 64).every((byte) => byte === 0xa5)).toBe(true)
          // The same bytes elsewhere give the same bits.
          const moved = k.arena.reserve(4200)
          k.u8.copyWithin(moved, a + shift, a + shift + n * width)
          const first = Buffer.from(k.u8.subarray(out, end)).toString('hex')
          k.exports.compare_columns(moved, b, width, kind, n, 2, out)
          expect(Buffer.from(k.u8.subarray(out, end)).toString('hex')).toBe(first)
          plain.set(`${shift} ${n}`, first)
        }
      }
      expect(new Set(plain.values()).size).toBeGreaterThan(50)
    }
    k.arena.rewind(mark)
  })
})

describe('long in-lists', () => {
  it('equal looking each value up, for every kind', () => {
    for (const kind of kinds) {
      if (kind === 'bool') continue
      for (const layout of layoutsOf(kind)) {
        const random = randomOf(kind.length)
        const vec = vecOf(layout, rowsOfKind(kind, layout, 2000, 0.1, false, random))
        const among = Array.from({ length: 400 }, (_, i) => cellAt(vec, kind, i)).filter((cell) => cell !== null)
        const others = rowsOfKind(kind, layout, 400, 0, false, random).map((row) => cellOf(row, kind))
        const values = [...among, ...others] as Constant[]
        const key = (cell: Cell | Constant): string => (cell instanceof Uint8Array ? Buffer.from(cell).toString('hex') : String(cell === 0 ? 0 : cell))
        const set = new Set(values.filter((value) => !Number.isNaN(value)).map(key))
        const expected = Array.from({ length: 2000 }, (_, i) => i).filter((i) => {
          const cell = cellAt(vec, kind, i)
          return cell !== null && !Number.isNaN(cell) && set.has(key(cell))
        })
        expect(chosen(inList(vec, kind, values), 2000), kind).toEqual(expected)
        expect(expected.length).toBeGreaterThan(100)
      }
    }
  })

  it('take -0 for 0 and NaN for nothing', () => {
    const cells = [0, -0, NaN, 1, Infinity]
    const values = [...Array.from({ length: 30 }, (_, i) => i + 100), NaN, -0, Infinity]
    const f64 = vecOf(
      { kind: 'fixed', width: 8 },
      cells.map((cell) => Buffer.from(Float64Array.of(cell).buffer).toString('hex')),
    )
    const f32 = vecOf(
      { kind: 'fixed', width: 4 },
      cells.map((cell) => Buffer.from(Float32Array.of(cell).buffer).toString('hex')),
    )
    expect(chosen(inList(f64, 'f64', values), 5)).toEqual([0, 1, 4])
    expect(chosen(inList(f32, 'f32', values), 5)).toEqual([0, 1, 4])
  })
})
